# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Vault
@license Apache-2.0
@notice Holds the stablecoin. Deposits credit an account of the Clearinghouse; what a batch withdraws becomes a claim of its
        recipient, paid when anybody asks. Settlement never touches the token, so a paused token or a refused recipient
        stops that recipient's claim and nothing else.
@custom:security Accounting reads tracked_quote, never the token's balance: donations change nothing.
@custom:invariants tracked_quote = total_claims_quote + what the Clearinghouse owes; the token balance is never below tracked_quote.
@custom:kill None: nobody can stop a claim.
"""

from ethereum.ercs import IERC20

from interfaces import IClearinghouse
from interfaces import IVault
from modules import errors

implements: IVault

MAX_DEPOSIT_QUOTE: constant(uint256) = 2**64 - 1

# the stablecoin, 6 decimals
TOKEN: public(immutable(address))
# credits deposits and adds claims
CLEARINGHOUSE: public(immutable(address))

# quote this contract answers for: deposits less paid claims
tracked_quote: public(uint256)
# sum of unpaid claims
total_claims_quote: public(uint256)
# unpaid quote by recipient; written by add_claim and claim
claims_quote: public(HashMap[address, uint256])


@deploy
def __init__(token: address, clearinghouse: address):
    """
    @notice Wires the vault; the Clearinghouse is deployed next and checks that it is the one named here.
    @param token The stablecoin.
    @param clearinghouse Address the Clearinghouse will have.
    """
    assert token != empty(address) and clearinghouse != empty(address), errors.NO_ADDRESS
    TOKEN = token
    CLEARINGHOUSE = clearinghouse


@external
def deposit(owner: address, subaccount: uint80, quote: uint256) -> uint256:
    """
    @notice Moves approved stablecoin of the caller into an account, which may be anybody's.
    @dev The token comes first because what arrived decides; the lock of this contract and the one of the Clearinghouse hold
         against a token that calls back.
    @param owner Owner of the account, not zero.
    @param subaccount Subaccount number.
    @param quote Sum in quote units, 1..2^64 - 1.
    @return Number of the direct operation.
    """
    assert quote > 0, errors.ZERO_DEPOSIT
    assert quote <= MAX_DEPOSIT_QUOTE, errors.DEPOSIT_TOO_LARGE
    assert owner != empty(address), errors.DEPOSIT_OWNER
    before_quote: uint256 = staticcall IERC20(TOKEN).balanceOf(self)
    assert extcall IERC20(TOKEN).transferFrom(msg.sender, self, quote, default_return_value=True), errors.TOKEN_REFUSED
    assert staticcall IERC20(TOKEN).balanceOf(self) == before_quote + quote, errors.INEXACT_DEPOSIT
    self.tracked_quote += quote
    account_id: uint256 = (convert(owner, uint256) << 80) | convert(subaccount, uint256)
    log IVault.Deposited(sender=msg.sender, account=account_id, quote=quote)
    return extcall IClearinghouse(CLEARINGHOUSE).credit_deposit(account_id, msg.sender, quote)


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
