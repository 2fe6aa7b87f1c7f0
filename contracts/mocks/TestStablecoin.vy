# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title TestStablecoin
@license AGPL-3.0-only
@notice A stablecoin for local chains that behaves as the largest regulated one does: 6 decimals, EIP-2612 permits, EIP-3009
        authorizations, a pause that stops everything, a blacklist that bites whoever sends, receives, spends or signs, and
        no transfer to itself or to zero. It may stand alone or behind an upgradeable proxy. Anyone may mint.
@dev Left out of its model: signatures of contract wallets in permits and authorizations (overloads, which Vyper has not).
@custom:security Test only: open mint.
"""

from ethereum.ercs import IERC20

implements: IERC20


event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


event AuthorizationCanceled:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


name: public(constant(String[13])) = "Test USD Coin"
symbol: public(constant(String[5])) = "tUSDC"
decimals: public(constant(uint8)) = 6
# of the EIP-712 domain
version: public(constant(String[1])) = "2"

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
PERMIT_TYPEHASH: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
TRANSFER_TYPEHASH: constant(bytes32) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
RECEIVE_TYPEHASH: constant(bytes32) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
CANCEL_TYPEHASH: constant(bytes32) = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)")
# secp256k1 order / 2: EIP-2 low s
HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

# who may pause and blacklist
admin: public(address)
# stops every transfer, approval and authorization
is_paused: public(bool)
# may neither send, receive, spend nor sign
is_blacklisted: public(HashMap[address, bool])
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
# number of the next permit by owner
nonces: public(HashMap[address, uint256])
# authorizations used or cancelled, by authorizer and nonce
authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@deploy
def __init__():
    """
    @notice Makes the deployer admin.
    """
    self.admin = msg.sender


@external
def initialize(admin: address):
    """
    @notice Names the admin of a proxy that stands on this code; once.
    @param admin Who may pause and blacklist.
    """
    assert self.admin == empty(address), "test token: initialized"
    self.admin = admin


@external
def mint(to: address, quote: uint256):
    """
    @notice Makes new tokens, as many as anyone likes.
    @param to Who gets them.
    @param quote Base units, 1e-6.
    """
    self.totalSupply += quote
    self.balanceOf[to] += quote
    log IERC20.Transfer(sender=empty(address), receiver=to, value=quote)


@external
def set_paused(is_paused: bool):
    """
    @notice Stops or resumes transfers.
    @param is_paused Whether to stop.
    """
    assert msg.sender == self.admin, "test token: not admin"
    self.is_paused = is_paused


@external
def set_blacklisted(account: address, is_blacklisted: bool):
    """
    @notice Puts an address on the blacklist or takes it off.
    @param account The address.
    @param is_blacklisted Whether it is on.
    """
    assert msg.sender == self.admin, "test token: not admin"
    self.is_blacklisted[account] = is_blacklisted


@external
def approve(spender: address, quote: uint256) -> bool:
    """
    @notice Lets another address move the caller's tokens.
    @param spender Who may.
    @param quote Up to how many.
    @return True.
    """
    self._approve(msg.sender, spender, quote)
    return True


@external
def transfer(to: address, quote: uint256) -> bool:
    """
    @notice Moves the caller's tokens.
    @param to Recipient.
    @param quote Base units.
    @return True.
    """
    self._move(msg.sender, to, quote)
    return True


@external
def transferFrom(owner: address, to: address, quote: uint256) -> bool:
    """
    @notice Moves approved tokens of another address.
    @param owner Whose.
    @param to Recipient.
    @param quote Base units.
    @return True.
    """
    assert not self.is_blacklisted[msg.sender], "test token: blacklisted"
    allowed_quote: uint256 = self.allowance[owner][msg.sender]
    assert allowed_quote >= quote, "test token: allowance"
    if allowed_quote != max_value(uint256):
        self.allowance[owner][msg.sender] = allowed_quote - quote
    self._move(owner, to, quote)
    return True


@external
def permit(owner: address, spender: address, quote: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Approves by signature (EIP-2612); anybody may bring it.
    @param owner Whose tokens; the signer.
    @param spender Who may move them.
    @param quote Up to how many.
    @param deadline Last second.
    @param v Recovery id.
    @param r First half.
    @param s Second half.
    """
    assert block.timestamp <= deadline, "test token: permit expired"
    nonce: uint256 = self.nonces[owner]
    self.nonces[owner] = nonce + 1
    self._check_signature(
        owner, keccak256(abi_encode(PERMIT_TYPEHASH, owner, spender, quote, nonce, deadline)), v, r, s
    )
    self._approve(owner, spender, quote)


@external
def transferWithAuthorization(
    sender: address,
    to: address,
    quote: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Moves tokens by their holder's signature (EIP-3009); anybody may bring it.
    @param sender Whose tokens; the signer.
    @param to Recipient.
    @param quote Base units.
    @param valid_after Second after which it holds.
    @param valid_before Second before which it holds.
    @param nonce Chosen by the signer, used once.
    @param v Recovery id.
    @param r First half.
    @param s Second half.
    """
    self._move_authorized(TRANSFER_TYPEHASH, sender, to, quote, valid_after, valid_before, nonce, v, r, s)


@external
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
):
    """
    @notice Moves tokens to the caller by their holder's signature (EIP-3009); only the recipient may bring it.
    @param sender Whose tokens; the signer.
    @param to Recipient, the caller.
    @param quote Base units.
    @param valid_after Second after which it holds.
    @param valid_before Second before which it holds.
    @param nonce Chosen by the signer, used once.
    @param v Recovery id.
    @param r First half.
    @param s Second half.
    """
    assert to == msg.sender, "test token: caller not payee"
    self._move_authorized(RECEIVE_TYPEHASH, sender, to, quote, valid_after, valid_before, nonce, v, r, s)


@external
def cancelAuthorization(authorizer: address, nonce: bytes32, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Makes an authorization void that was not used yet, by signature (EIP-3009).
    @param authorizer Who signed it.
    @param nonce Its nonce.
    @param v Recovery id.
    @param r First half.
    @param s Second half.
    """
    assert not self.is_paused, "test token: paused"
    assert not self.authorizationState[authorizer][nonce], "test token: authorization used"
    self._check_signature(authorizer, keccak256(abi_encode(CANCEL_TYPEHASH, authorizer, nonce)), v, r, s)
    self.authorizationState[authorizer][nonce] = True
    log AuthorizationCanceled(authorizer=authorizer, nonce=nonce)


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    """
    @notice Returns what permits and authorizations are signed under.
    @return EIP-712 domain separator.
    """
    return self._domain_separator()


@internal
def _approve(owner: address, spender: address, quote: uint256):
    """
    @notice Sets an allowance unless paused or blacklisted.
    @param owner Whose tokens.
    @param spender Who may move them.
    @param quote Up to how many.
    """
    assert not self.is_paused, "test token: paused"
    assert not self.is_blacklisted[owner] and not self.is_blacklisted[spender], "test token: blacklisted"
    self.allowance[owner][spender] = quote
    log IERC20.Approval(owner=owner, spender=spender, value=quote)


@internal
def _move(owner: address, to: address, quote: uint256):
    """
    @notice Moves tokens unless paused or blacklisted.
    @param owner Whose.
    @param to Recipient, neither zero nor this contract.
    @param quote Base units.
    """
    assert not self.is_paused, "test token: paused"
    assert not self.is_blacklisted[owner] and not self.is_blacklisted[to], "test token: blacklisted"
    assert to != empty(address) and to != self, "test token: recipient"
    assert self.balanceOf[owner] >= quote, "test token: balance"
    self.balanceOf[owner] -= quote
    self.balanceOf[to] += quote
    log IERC20.Transfer(sender=owner, receiver=to, value=quote)


@internal
def _move_authorized(
    typehash: bytes32,
    sender: address,
    to: address,
    quote: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Moves tokens by an EIP-3009 signature.
    @param typehash Which of the two messages was signed.
    @param sender Whose tokens; the signer.
    @param to Recipient.
    @param quote Base units.
    @param valid_after Second after which it holds.
    @param valid_before Second before which it holds.
    @param nonce Chosen by the signer, used once.
    @param v Recovery id.
    @param r First half.
    @param s Second half.
    """
    assert block.timestamp > valid_after, "test token: not valid yet"
    assert block.timestamp < valid_before, "test token: authorization expired"
    assert not self.authorizationState[sender][nonce], "test token: authorization used"
    self._check_signature(
        sender, keccak256(abi_encode(typehash, sender, to, quote, valid_after, valid_before, nonce)), v, r, s
    )
    self.authorizationState[sender][nonce] = True
    log AuthorizationUsed(authorizer=sender, nonce=nonce)
    self._move(sender, to, quote)


@internal
@view
def _check_signature(signer: address, struct_hash: bytes32, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Reverts unless the signer signed.
    @param signer Who must have signed, not zero.
    @param struct_hash What was signed.
    @param v Recovery id, 27 or 28.
    @param r First half.
    @param s Second half, low.
    """
    digest: bytes32 = keccak256(concat(x"1901", self._domain_separator(), struct_hash))
    is_canonical: bool = convert(s, uint256) <= HALF_ORDER and (v == 27 or v == 28)
    assert is_canonical and signer != empty(address), "test token: signature"
    assert ecrecover(digest, v, r, s) == signer, "test token: signature"


@internal
@view
def _domain_separator() -> bytes32:
    """
    @notice Computes the domain separator of this address on this chain.
    @return EIP-712 domain separator.
    """
    return keccak256(abi_encode(DOMAIN_TYPEHASH, keccak256(name), keccak256(version), chain.id, self))
