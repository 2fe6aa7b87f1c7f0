# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Vault
@license AGPL-3.0-only
@notice Holds the stablecoin. Deposits credit an account of the Clearinghouse; what a batch withdraws becomes a claim of its
        recipient, paid when anybody asks. Settlement never touches the token, so a paused token or a refused recipient
        stops that recipient's claim and nothing else.
@dev Every way in ends alike: the balance is compared before and after, so that neither what a token answers nor what it
     leaves unimplemented behind a fallback counts, only what arrived.
@custom:security Accounting reads tracked_quote, never the token's balance: donations change nothing. A session key is linked
        only by the owner of the account, as caller or by a signature that names the key.
@custom:invariants tracked_quote = total_claims_quote + what the Clearinghouse owes; the token balance is never below tracked_quote.
@custom:kill None: nobody can stop a claim.
"""

from ethereum.ercs import IERC20

from interfaces import IClearinghouse
from interfaces import IOperations
from interfaces import IVault
from modules import errors

implements: IVault


interface IAuthorizedToken:
    def receiveWithAuthorization(
        sender: address,
        to: address,
        quote: uint256,
        valid_after: uint256,
        valid_before: uint256,
        nonce: bytes32,
        v: uint8,
        r: bytes32,
        s: bytes32,
    ): nonpayable


MAX_DEPOSIT_QUOTE: constant(uint256) = 2**64 - 1

# the stablecoin, 6 decimals
TOKEN: public(immutable(address))
# credits deposits and adds claims
CLEARINGHOUSE: public(immutable(address))
# links the session keys that come with deposits
OPERATIONS: public(immutable(address))

# quote this contract answers for: deposits less paid claims; written by deposits and claim
tracked_quote: public(uint256)
# sum of unpaid claims; written by add_claim and claim
total_claims_quote: public(uint256)
# unpaid quote by recipient; written by add_claim and claim
claims_quote: public(HashMap[address, uint256])


@deploy
def __init__(token: address, clearinghouse: address, operations: address):
    """
    @notice Wires the vault; the Clearinghouse is deployed next and checks that it is the one named here.
    @param token The stablecoin.
    @param clearinghouse Address the Clearinghouse will have.
    @param operations Operations.
    """
    assert token != empty(address) and clearinghouse != empty(address) and operations != empty(address), errors.NO_ADDRESS
    TOKEN = token
    CLEARINGHOUSE = clearinghouse
    OPERATIONS = operations


@external
def deposit(owner: address, subaccount: uint80, quote: uint256) -> uint256:
    """
    @notice Moves approved stablecoin of the caller into an account, which may be anybody's.
    @param owner Owner of the account, not zero.
    @param subaccount Subaccount number.
    @param quote Sum in quote units, 1..2^64 - 1.
    @return Number of the direct operation.
    """
    return self._deposit_approved(owner, subaccount, quote)


@external
def deposit_and_link(subaccount: uint80, quote: uint256, key: address, limits: uint256) -> uint256:
    """
    @notice Moves approved stablecoin of the caller into the caller's own account and links a session key to it.
    @param subaccount Subaccount number.
    @param quote Sum in quote units, 1..2^64 - 1.
    @param key Session key; Operations refuses zero.
    @param limits Bits 0-137 of a session key word.
    @return Number of the deposit as a direct operation; the link has the next.
    """
    direct_op: uint256 = self._deposit_approved(msg.sender, subaccount, quote)
    extcall IOperations(OPERATIONS).link_key_for(self._account_id(msg.sender, subaccount), key, limits)
    return direct_op


@external
def deposit_with_permit(
    owner: address,
    subaccount: uint80,
    quote: uint256,
    deadline: uint256,
    v: uint8,
    r: bytes32,
    s: bytes32,
    key: address,
    limits: uint256,
) -> uint256:
    """
    @notice Deposits like `deposit` with the approval in the same transaction, and links a session key if one is named.
    @dev The permit is tried, its outcome ignored: anybody may have used it up before, and then the allowance is there. A
         token without permit may answer anything. What decides is the allowance, then what arrived.
    @param owner Owner of the account; the caller if a key is named.
    @param subaccount Subaccount number.
    @param quote Sum in quote units, 1..2^64 - 1, which the permit is over.
    @param deadline Last second of the permit.
    @param v Recovery id of the caller's EIP-2612 signature.
    @param r Its first half.
    @param s Its second half.
    @param key Session key, zero for none.
    @param limits Bits 0-137 of a session key word; ignored without a key.
    @return Number of the deposit as a direct operation; the link has the next.
    """
    assert key == empty(address) or owner == msg.sender, errors.DEPOSIT_KEY_OWNER
    # safe to ignore: it can change nothing but an allowance the caller signed, and returns into no memory (no max_outsize)
    permitted: bool = raw_call(
        TOKEN,
        abi_encode(
            msg.sender,
            self,
            quote,
            deadline,
            v,
            r,
            s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    assert staticcall IERC20(TOKEN).allowance(msg.sender, self) >= quote, errors.DEPOSIT_ALLOWANCE
    direct_op: uint256 = self._deposit_approved(owner, subaccount, quote)
    self._link_if_named(owner, subaccount, key, limits)
    return direct_op


@external
def deposit_with_authorization(
    sender: address,
    owner: address,
    subaccount: uint80,
    quote: uint256,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
    key: address,
    limits: uint256,
) -> uint256:
    """
    @notice Deposits by an EIP-3009 signature of the sender, and links a session key if one is named. Anybody may carry it.
    @dev The authorization's nonce is keccak(abi_encode(account_id, key, limits, salt)): who carries it can change neither
         account nor key. Only receiveWithAuthorization will do, which nobody but this contract can use up.
    @param sender Who pays and signed.
    @param owner Owner of the account; the sender if a key is named.
    @param subaccount Subaccount number.
    @param quote Sum in quote units, 1..2^64 - 1.
    @param valid_after Second after which the authorization holds.
    @param valid_before Second before which it holds.
    @param salt Makes authorizations for the same account differ.
    @param v Recovery id of the sender's signature.
    @param r Its first half.
    @param s Its second half.
    @param key Session key, zero for none.
    @param limits Bits 0-137 of a session key word; without a key only hashed.
    @return Number of the deposit as a direct operation; the link has the next.
    """
    assert key == empty(address) or owner == sender, errors.DEPOSIT_KEY_OWNER
    self._check_deposit(owner, quote)
    nonce: bytes32 = keccak256(abi_encode(self._account_id(owner, subaccount), key, limits, salt))
    before_quote: uint256 = staticcall IERC20(TOKEN).balanceOf(self)
    extcall IAuthorizedToken(TOKEN).receiveWithAuthorization(
        sender, self, quote, valid_after, valid_before, nonce, v, r, s
    )
    direct_op: uint256 = self._credit(sender, owner, subaccount, quote, before_quote)
    self._link_if_named(owner, subaccount, key, limits)
    return direct_op


@external
def add_claim(recipient: address, quote: uint256):
    """
    @notice Turns withdrawn collateral into a claim. Only the Clearinghouse.
    @param recipient Who may be paid.
    @param quote Sum in quote units.
    """
    assert msg.sender == CLEARINGHOUSE, errors.NOT_CLEARINGHOUSE
    self.claims_quote[recipient] += quote
    self.total_claims_quote += quote
    log IVault.ClaimAdded(recipient=recipient, quote=quote)


@external
def claim(recipient: address) -> uint256:
    """
    @notice Pays a recipient's whole claim. Anybody may ask; the money goes to the recipient alone.
    @param recipient Whose claim to pay.
    @return Quote paid.
    """
    quote: uint256 = self.claims_quote[recipient]
    assert quote > 0, errors.NOTHING_TO_CLAIM
    self.claims_quote[recipient] = 0
    self.total_claims_quote -= quote
    self.tracked_quote -= quote
    log IVault.ClaimPaid(recipient=recipient, quote=quote)
    assert extcall IERC20(TOKEN).transfer(recipient, quote, default_return_value=True), errors.TOKEN_REFUSED
    return quote


@internal
def _deposit_approved(owner: address, subaccount: uint80, quote: uint256) -> uint256:
    """
    @notice Pulls approved stablecoin of the caller and credits it.
    @dev The token comes first because what arrived decides; the lock of this contract and the one of the Clearinghouse hold
         against a token that calls back.
    @param owner Owner of the account.
    @param subaccount Subaccount number.
    @param quote Quote units.
    @return Number of the direct operation.
    """
    self._check_deposit(owner, quote)
    before_quote: uint256 = staticcall IERC20(TOKEN).balanceOf(self)
    assert extcall IERC20(TOKEN).transferFrom(msg.sender, self, quote, default_return_value=True), errors.TOKEN_REFUSED
    return self._credit(msg.sender, owner, subaccount, quote, before_quote)


@internal
@pure
def _check_deposit(owner: address, quote: uint256):
    """
    @notice Reverts for an owner or a sum that cannot be credited.
    @param owner Owner of the account.
    @param quote Quote units.
    """
    assert quote > 0, errors.ZERO_DEPOSIT
    assert quote <= MAX_DEPOSIT_QUOTE, errors.DEPOSIT_TOO_LARGE
    assert owner != empty(address), errors.DEPOSIT_OWNER


@internal
def _credit(sender: address, owner: address, subaccount: uint80, quote: uint256, before_quote: uint256) -> uint256:
    """
    @notice Credits what arrived, if it is exactly what was announced.
    @param sender Who paid.
    @param owner Owner of the account.
    @param subaccount Subaccount number.
    @param quote Quote units announced.
    @param before_quote Token balance before they came.
    @return Number of the direct operation.
    """
    assert staticcall IERC20(TOKEN).balanceOf(self) == before_quote + quote, errors.INEXACT_DEPOSIT
    self.tracked_quote += quote
    account_id: uint256 = self._account_id(owner, subaccount)
    log IVault.Deposited(sender=sender, account=account_id, quote=quote)
    return extcall IClearinghouse(CLEARINGHOUSE).credit_deposit(account_id, sender, quote)


@internal
def _link_if_named(owner: address, subaccount: uint80, key: address, limits: uint256):
    """
    @notice Links a session key, if one is named; the caller has made sure that the owner wants it.
    @param owner Owner of the account.
    @param subaccount Subaccount number.
    @param key Session key, zero for none.
    @param limits Bits 0-137 of a session key word.
    """
    if key != empty(address):
        extcall IOperations(OPERATIONS).link_key_for(self._account_id(owner, subaccount), key, limits)


@internal
@pure
def _account_id(owner: address, subaccount: uint80) -> uint256:
    """
    @notice Packs an account id.
    @param owner Owner of the account.
    @param subaccount Subaccount number.
    @return owner << 80 | subaccount.
    """
    return (convert(owner, uint256) << 80) | convert(subaccount, uint256)
