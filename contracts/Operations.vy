# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Operations
@license AGPL-3.0-only
@notice Says who may order an operation of a batch, and takes what owners do directly on chain: cancel everything, link and
        revoke session keys, approve the digest of an operation.
@dev The Clearinghouse has no room for this code (contracts/README.md, D-009). Words stand there; this contract computes them.
@custom:security Writes words through Clearinghouse.record_direct, which trusts it: every function but link_key_for acts on
        accounts of msg.sender alone, and link_key_for answers to the Vault alone.
@custom:invariants What is taken away here binds SETTLE_LAG later: a fill matched before the sequencer could read of it stands.
@custom:kill None: nobody can stop an owner's cancellation or revocation.
"""

from modules import codes
from modules import errors
from modules import session_key
from modules import typed_data
from interfaces import IClearinghouse
from interfaces import IOperations
from interfaces import IVault

implements: IOperations

MAX_EXPIRY_S: constant(uint256) = 30 * 86_400

M40: constant(uint256) = 2**40 - 1

# flags byte of an operation
SESSION_KEY: constant(uint256) = 1
APPROVED: constant(uint256) = 2

# kinds of direct operations, events and records of the Clearinghouse
DIRECT_CANCEL_ALL: constant(uint256) = 1
DIRECT_LINK_KEY: constant(uint256) = 2
DIRECT_REVOKE_KEY: constant(uint256) = 3

# whose words are computed here
CLEARINGHOUSE: public(immutable(address))
# the only caller of link_key_for
VAULT: public(immutable(address))

# digests of operations an owner stands for without a signature; written by approve, never taken back
is_approved: public(HashMap[address, HashMap[bytes32, bool]])


@deploy
def __init__(clearinghouse: address, vault: address):
    """
    @notice Wires the neighbours, both deployed later; the Clearinghouse checks that all three name each other.
    @param clearinghouse Address the Clearinghouse will have.
    @param vault Address the Vault will have.
    """
    assert clearinghouse != empty(address) and vault != empty(address), errors.NO_ADDRESS
    CLEARINGHOUSE = clearinghouse
    VAULT = vault


# ---------------------------------------------------------------- owners


@external
def cancel_all(subaccount: uint80, min_seq: uint40) -> uint256:
    """
    @notice Kills every order of the caller's account with a lower seq, in batches matched later than now + SETTLE_LAG.
    @param subaccount Subaccount number.
    @param min_seq Lowest seq that stays alive: milliseconds since genesis, at most now + SETTLE_LAG.
    @return Number of the direct operation.
    """
    genesis_s: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).GENESIS_S()
    # a later one would kill orders nobody has signed yet
    assert (
        convert(min_seq, uint256) <= (block.timestamp + session_key.SETTLE_LAG_S - genesis_s) * 1000
    ), errors.CANCEL_MIN_SEQ
    account_id: uint256 = self._account_id(subaccount)
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).overflow_word(account_id)
    pending_min_seq: uint256 = word & M40
    # from then on every batch that can still come sees the one before as bound
    assert block.timestamp > ((word >> 40) & M40) + 2 * session_key.SETTLE_LAG_S, errors.CANCEL_PENDING
    return extcall IClearinghouse(CLEARINGHOUSE).record_direct(
        DIRECT_CANCEL_ALL,
        account_id,
        0,
        convert(min_seq, uint256) | (block.timestamp << 40) | (max(word >> 80, pending_min_seq) << 80),
    )


@external
def link_key(subaccount: uint80, key: address, limits: uint256) -> uint256:
    """
    @notice Lets a key sign for the caller's account at once, within limits. Once per key: changes go through a batch.
    @param subaccount Subaccount number.
    @param key Address of the key: not zero, not the caller.
    @param limits Bits 0 to 137 of a session key word, contracts/README.md.
    @return Number of the direct operation.
    """
    return self._link_key(self._account_id(subaccount), key, limits)


@external
def revoke_key(subaccount: uint80, key: address) -> uint256:
    """
    @notice Ends a key of the caller's account for good, in batches matched later than now + SETTLE_LAG.
    @dev A key not linked yet may be revoked too: a link on its way in a batch then finds it dead.
    @param subaccount Subaccount number.
    @param key Address of the key.
    @return Number of the direct operation.
    """
    account_id: uint256 = self._account_id(subaccount)
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).session_key_word(account_id, key)
    assert word & session_key.REVOKED_MASK == 0, errors.KEY_REVOKED
    return extcall IClearinghouse(CLEARINGHOUSE).record_direct(
        DIRECT_REVOKE_KEY,
        account_id,
        convert(key, uint256),
        word | (block.timestamp << session_key.REVOKED_BIT),
    )


@external
def approve(digest: bytes32):
    """
    @notice Stands for the caller's signature under an operation, for contract wallets. It still executes once, by its nonce.
    @param digest EIP-712 digest of the operation, as Lens.operation_digest gives it.
    """
    self.is_approved[msg.sender][digest] = True
    log IOperations.DigestApproved(owner=msg.sender, digest=digest)


# ---------------------------------------------------------------- vault


@external
def link_key_for(account_id: uint256, key: address, limits: uint256) -> uint256:
    """
    @notice Links a key with a deposit. Only the Vault, which knows that the owner asked for it.
    @param account_id owner << 80 | subaccount, < 2^240.
    @param key Address of the key.
    @param limits Bits 0 to 137 of a session key word.
    @return Number of the direct operation.
    """
    assert msg.sender == VAULT, errors.NOT_VAULT
    return self._link_key(account_id, key, limits)


# ---------------------------------------------------------------- views


@external
@view
def check(
    domain: bytes32,
    account_key: uint256,
    operation: uint256,
    subject: uint256,
    recipient: uint256,
    r: uint256,
    vs: uint256,
    matched_at_s: uint256,
) -> uint256:
    """
    @notice Checks everything about an operation of a batch that needs neither its nonce nor the tables of the batch.
    @dev Called by settle, which asks for the nonce between the codes below NONCE_CONSUMED and those above it. Reads no clock.
    @param domain Domain separator of the Clearinghouse.
    @param account_key Account id << 16, low bits ignored.
    @param operation Word 0.
    @param subject Word 1.
    @param recipient Word 2.
    @param r First half of the signature.
    @param vs Second half.
    @param matched_at_s Time of the batch.
    @return Code of the first failure, 0 for none.
    """
    kind: uint256 = operation >> 248
    flags: uint256 = (operation >> 144) & 255
    if flags > APPROVED or not self._is_shaped(kind, subject, recipient):
        return codes.UNKNOWN_OPERATION
    expiry_s: uint256 = (operation >> 192) & M40
    if matched_at_s > expiry_s:
        return codes.EXPIRED
    if expiry_s > matched_at_s + MAX_EXPIRY_S:
        return codes.EXPIRY_TOO_FAR
    owner: uint256 = account_key >> 96
    digest: bytes32 = typed_data._operation_digest(
        domain, account_key, kind, subject, recipient, expiry_s, (operation >> 152) & M40
    )
    if flags == APPROVED:
        if not self.is_approved[convert(owner, address)][digest]:
            return codes.BAD_SIGNATURE
    else:
        signer: address = typed_data._recovered(digest, r, vs)
        if signer == empty(address):
            return codes.BAD_SIGNATURE
        if flags == SESSION_KEY:
            seq: uint256 = (operation >> 152) & M40
            code: uint256 = self._key_code(account_key >> 16, signer, kind, seq, subject, recipient, matched_at_s)
            if code != 0:
                return code
        elif convert(signer, uint256) != owner:
            return codes.BAD_SIGNATURE
    # settle puts NONCE_CONSUMED here
    if kind == typed_data.KIND_WITHDRAW:
        if subject == 0:
            return codes.ZERO_WITHDRAWAL
        if self._is_bad_recipient(convert(recipient, address)):
            return codes.BAD_RECIPIENT
    elif kind == typed_data.KIND_CANCEL_ORDER:
        if subject >> 40 == typed_data.OPERATION_LANE:
            return codes.BAD_CANCEL
    elif kind == typed_data.KIND_LINK_KEY:
        if not session_key._is_link(owner, recipient, subject, matched_at_s):
            return codes.BAD_KEY
    return 0


# ---------------------------------------------------------------- internal


@internal
@view
def _account_id(subaccount: uint80) -> uint256:
    """
    @notice Names an account of the caller.
    @param subaccount Subaccount number.
    @return owner << 80 | subaccount.
    """
    return (convert(msg.sender, uint256) << 80) | convert(subaccount, uint256)


@internal
def _link_key(account_id: uint256, key: address, limits: uint256) -> uint256:
    """
    @notice Writes a key whose word is still zero.
    @param account_id owner << 80 | subaccount.
    @param key Address of the key.
    @param limits Bits 0 to 137 of a session key word.
    @return Number of the direct operation.
    """
    assert limits >> session_key.N_LIMIT_BITS == 0 and session_key._is_link(
        account_id >> 80, convert(key, uint256), limits, block.timestamp
    ), errors.KEY_NOT_ALLOWED
    assert staticcall IClearinghouse(CLEARINGHOUSE).session_key_word(account_id, key) == 0, errors.KEY_IN_USE
    return extcall IClearinghouse(CLEARINGHOUSE).record_direct(
        DIRECT_LINK_KEY, account_id, convert(key, uint256), limits | session_key.LINKED
    )


@internal
@pure
def _is_shaped(kind: uint256, subject: uint256, recipient: uint256) -> bool:
    """
    @notice Tells whether a kind exists and its words fit their types.
    @param kind Kind of the operation.
    @param subject Word 1.
    @param recipient Word 2, not read for cancellations.
    @return Whether they do.
    """
    if kind == typed_data.KIND_CANCEL_ORDER:
        return subject >> 56 == 0
    if kind == typed_data.KIND_CANCEL_ALL:
        return subject >> 40 == 0
    if recipient >> 160 != 0:
        return False
    if kind == typed_data.KIND_WITHDRAW:
        return subject >> 64 == 0
    if kind == typed_data.KIND_LINK_KEY:
        return subject >> session_key.N_LIMIT_BITS == 0
    return kind == typed_data.KIND_REVOKE_KEY and subject == 0


@internal
@view
def _key_code(
    account_id: uint256,
    signer: address,
    kind: uint256,
    seq: uint256,
    subject: uint256,
    recipient: uint256,
    matched_at_s: uint256,
) -> uint256:
    """
    @notice Checks whether a session key may order an operation. It may cancel, and withdraw to its owner.
    @param account_id owner << 80 | subaccount.
    @param signer Who signed, not zero.
    @param kind Kind of the operation.
    @param seq Its seq.
    @param subject Word 1: order nonce or minimum seq of a cancellation.
    @param recipient Word 2.
    @param matched_at_s Time of the batch.
    @return BAD_SIGNATURE, KEY_EXPIRED, KEY_LIMIT or 0.
    """
    # as it stands within the batch: this view of the Clearinghouse answers while settle runs
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).session_key_word(account_id, signer)
    code: uint256 = session_key._code(word, matched_at_s)
    if code != 0:
        return code
    # nonces and lanes only rise: a seq of the far future would lock the owner out long after the key has gone
    latest_seq: uint256 = session_key._latest_seq(matched_at_s, staticcall IClearinghouse(CLEARINGHOUSE).GENESIS_S())
    if seq > latest_seq:
        return codes.KEY_LIMIT
    if kind == typed_data.KIND_CANCEL_ORDER or kind == typed_data.KIND_CANCEL_ALL:
        return codes.KEY_LIMIT if subject & M40 > latest_seq else 0
    if kind == typed_data.KIND_WITHDRAW and word & session_key.TRADE_ONLY == 0 and recipient == account_id >> 80:
        return 0
    return codes.KEY_LIMIT


@internal
@view
def _is_bad_recipient(recipient: address) -> bool:
    """
    @notice Tells whether a withdrawal would send the stablecoin where nobody can use it.
    @param recipient Who would receive.
    @return True for zero, the Vault, the Clearinghouse and the token.
    """
    return (
        recipient == empty(address)
        or recipient == VAULT
        or recipient == CLEARINGHOUSE
        or recipient == staticcall IVault(VAULT).TOKEN()
    )
