# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Operations
@license AGPL-3.0-only
@notice Runs the signed operations of a batch, and takes what owners do directly on chain: cancel everything, link and revoke
        session keys, approve the digest of an operation. Gives the texts of what the Clearinghouse refuses.
@dev The Clearinghouse has no room for this code (contracts/README.md, D-009, D-016). Words stand there; this contract computes them.
@custom:security The Clearinghouse trusts what it writes there. `run` answers to the Clearinghouse alone and asks for each
        operation's signature; direct calls act on accounts of msg.sender, and link_key_for answers to the Vault alone.
@custom:invariants What is taken away here binds SETTLE_LAG later: a fill matched before the sequencer could read of it stands.
@custom:kill None: nobody can stop an owner's cancellation or revocation.
"""

from modules import codes
from modules import errors
from modules import margin
from modules import order_checks
from modules import refusals
from modules import session_key
from modules import typed_data
from interfaces import IClearinghouse
from interfaces import IOperations
from interfaces import IVault

implements: IOperations

MAX_EXPIRY_S: constant(uint256) = 30 * 86_400
MAX_OPERATIONS: constant(uint256) = 16
# five words each
OPERATION_BYTES: constant(uint256) = 160
MAX_OPEN_MARKETS: constant(uint256) = 6

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M80: constant(uint256) = 2**80 - 1
M88: constant(uint256) = 2**88 - 1
M160: constant(uint256) = 2**160 - 1

# flags byte of an operation
SESSION_KEY: constant(uint256) = 1
APPROVED: constant(uint256) = 2

# kinds of direct operations, events and records of the Clearinghouse
DIRECT_CANCEL_ALL: constant(uint256) = 1
DIRECT_LINK_KEY: constant(uint256) = 2
DIRECT_REVOKE_KEY: constant(uint256) = 3

# kinds of words a batch's operations write
LANE_WORD: constant(uint256) = 1
ACCOUNT_WORD: constant(uint256) = 2
KEY_WORD: constant(uint256) = 3
# rules word: flags and parts of the Clearinghouse's rules map, as market offsets of rules_word
RULES_CHANGING: constant(uint256) = 1 << 170
RULES_TIERED: constant(uint256) = 1 << 171
SUCCESSOR: constant(uint256) = 256
BINDS_AFTER: constant(uint256) = 512
TIERS: constant(uint256) = 1024

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


# ---------------------------------------------------------------- clearinghouse


@external
def run(
    domain: bytes32, operations: Bytes[MAX_OPERATIONS * OPERATION_BYTES], matched_at_s: uint256, sequence: uint256
) -> uint256:
    """
    @notice Runs the operations of a batch in order, on the words as they stand. One that fails is skipped with its code.
    @dev Called by settle after the prices and before the accounts of the batch. Reads no clock.
    @param domain Domain separator of the Clearinghouse.
    @param operations Whole operations, five words each.
    @param matched_at_s Time of the batch.
    @param sequence Sequence of the batch.
    @return One code a byte, the first in the highest; in the low bits how many are not zero.
    """
    assert msg.sender == CLEARINGHOUSE, errors.NOT_CLEARINGHOUSE
    all_codes: uint256 = 0
    for i: uint256 in range(len(operations) // OPERATION_BYTES, bound=MAX_OPERATIONS):
        at: uint256 = i * OPERATION_BYTES
        operation: uint256 = extract32(operations, at, output_type=uint256)
        detail: uint256 = extract32(operations, at + 32, output_type=uint256)
        subject: uint256 = extract32(operations, at + 64, output_type=uint256)
        code: uint256 = self._check(
            domain,
            operation,
            detail,
            subject,
            extract32(operations, at + 96, output_type=uint256),
            extract32(operations, at + 128, output_type=uint256),
            matched_at_s,
        )
        account_id: uint256 = (operation << 16) >> 16
        # the signature holds: the nonce is consumed, whatever else fails
        if code == 0 or code > codes.NONCE_CONSUMED:
            if not self._consume_lane(account_id, typed_data.OPERATION_LANE, (detail >> 176) & M40, False):
                code = codes.NONCE_CONSUMED
        if code == 0:
            code = self._perform(operation >> 248, account_id, detail & M160, subject, matched_at_s, sequence)
        if code != 0:
            # 16 codes above, their number below
            all_codes = (all_codes | (code << (248 - 8 * i))) + 1
    return all_codes


@external
@view
def check(
    domain: bytes32,
    operation: uint256,
    detail: uint256,
    subject: uint256,
    r: uint256,
    vs: uint256,
    matched_at_s: uint256,
) -> uint256:
    """
    @notice Checks everything about an operation but its nonce and the account's money, for whoever wants to know beforehand.
    @param domain Domain separator of the Clearinghouse.
    @param operation Word 0.
    @param detail Word 1.
    @param subject Word 2.
    @param r First half of the signature.
    @param vs Second half.
    @param matched_at_s Time of the batch it would be in.
    @return Code of the first failure, 0 for none.
    """
    return self._check(domain, operation, detail, subject, r, vs, matched_at_s)


@external
@pure
@reentrant
def order_code(
    order: uint256, trigger: uint256, price: uint256, rules: uint256, matched_at_s: uint256, min_seq: uint256
) -> uint256:
    """
    @notice Checks everything about an order that needs no signature and no fill, one by one.
    @param order Word 0.
    @param trigger Trigger word, zero without has_trigger.
    @param price Price word of its market after the batch's prices.
    @param rules Rules word of its market.
    @param matched_at_s Time of the batch.
    @param min_seq Effective minimum of its account.
    @return Code of the first failure, 0 for none.
    """
    return order_checks._order_code(order, trigger, price, rules, matched_at_s, min_seq)


@external
@pure
@reentrant
def fill_code(
    maker: uint256,
    taker: uint256,
    lots: uint256,
    crossing: uint256,
    price: uint256,
    bounds: uint256,
    maker_filled: uint256,
    taker_filled: uint256,
) -> uint256:
    """
    @notice Names the first reason why two orders cannot meet. Only asked when there is one.
    @param maker Word of the maker's place.
    @param taker Word of the taker's place.
    @param lots Lots of the fill.
    @param crossing Bit 255 when a limit does not reach the price.
    @param price Price of the fill.
    @param bounds Bounds word of the market.
    @param maker_filled The lane's record less the order's seq << 48, after the fill.
    @param taker_filled The same of the taker.
    @return The fill's code.
    """
    return order_checks._fill_code(maker, taker, lots, crossing, price, bounds, maker_filled, taker_filled)


@external
@view
@reentrant
def refuse(reason: uint256) -> bool:
    """
    @notice Reverts with the text of a reason, on behalf of the Clearinghouse.
    @param reason One of modules/refusals.vy.
    @return Never.
    """
    raise refusals._text(reason)


@external
@view
@reentrant
def describe_domain() -> Bytes[480]:
    """
    @notice Encodes what eip712Domain of the Clearinghouse returns, EIP-5267.
    @return fields 0x0f, name, version, chain id, the Clearinghouse, no salt, no extensions.
    """
    fields: bytes1 = 0x0f
    return abi_encode(
        fields, "Afterbell", "1", chain.id, CLEARINGHOUSE, empty(bytes32), empty(DynArray[uint256, 1])
    )


# ---------------------------------------------------------------- internal


@internal
@view
def _check(
    domain: bytes32,
    operation: uint256,
    detail: uint256,
    subject: uint256,
    r: uint256,
    vs: uint256,
    matched_at_s: uint256,
) -> uint256:
    """
    @notice Checks everything about an operation of a batch that needs neither its nonce nor the account's money.
    @dev The nonce is asked for between the codes below NONCE_CONSUMED and those above it.
    @param domain Domain separator of the Clearinghouse.
    @param operation Word 0.
    @param detail Word 1: expiry, seq, operand.
    @param subject Word 2.
    @param r First half of the signature.
    @param vs Second half.
    @param matched_at_s Time of the batch.
    @return Code of the first failure, 0 for none.
    """
    kind: uint256 = operation >> 248
    flags: uint256 = (operation >> 240) & 255
    operand: uint256 = detail & M160
    if flags > APPROVED or not self._is_shaped(kind, subject, operand):
        return codes.UNKNOWN_OPERATION
    expiry_s: uint256 = detail >> 216
    seq: uint256 = (detail >> 176) & M40
    if matched_at_s > expiry_s:
        return codes.EXPIRED
    if expiry_s > matched_at_s + MAX_EXPIRY_S:
        return codes.EXPIRY_TOO_FAR
    account_id: uint256 = (operation << 16) >> 16
    owner: uint256 = account_id >> 80
    digest: bytes32 = typed_data._operation_digest(domain, account_id << 16, kind, subject, operand, expiry_s, seq)
    if flags == APPROVED:
        if not self.is_approved[convert(owner, address)][digest]:
            return codes.BAD_SIGNATURE
    else:
        signer: address = typed_data._recovered(digest, r, vs)
        if signer == empty(address):
            return codes.BAD_SIGNATURE
        if flags == SESSION_KEY:
            code: uint256 = self._key_code(account_id, signer, kind, seq, subject, operand, matched_at_s)
            if code != 0:
                return code
        elif convert(signer, uint256) != owner:
            return codes.BAD_SIGNATURE
    # NONCE_CONSUMED comes here
    if kind == typed_data.KIND_WITHDRAW:
        if subject == 0:
            return codes.ZERO_WITHDRAWAL
        if self._is_bad_recipient(convert(operand, address)):
            return codes.BAD_RECIPIENT
    elif kind == typed_data.KIND_TRANSFER:
        if subject == 0:
            return codes.ZERO_WITHDRAWAL
        if operand == account_id & M80:
            return codes.BAD_RECIPIENT
    elif kind == typed_data.KIND_CANCEL_ORDER:
        if subject >> 40 >= typed_data.LIQUIDATION_LANE:
            return codes.BAD_CANCEL
    elif kind == typed_data.KIND_LINK_KEY:
        if not session_key._is_link(owner, operand, subject, matched_at_s):
            return codes.BAD_KEY
    return 0


@internal
def _perform(
    kind: uint256, account_id: uint256, operand: uint256, subject: uint256, matched_at_s: uint256, sequence: uint256
) -> uint256:
    """
    @notice Carries out an operation that passed every check but margin.
    @param kind Kind of the operation.
    @param account_id owner << 80 | subaccount.
    @param operand Recipient, receiving subaccount or key.
    @param subject Word 2.
    @param matched_at_s Time of the batch.
    @param sequence Sequence of the batch.
    @return STALE_PRICE, MARGIN or 0.
    """
    if kind == typed_data.KIND_WITHDRAW or kind == typed_data.KIND_TRANSFER:
        code: uint256 = self._withdrawal_code(account_id, subject, matched_at_s)
        if code != 0:
            return code
        if kind == typed_data.KIND_WITHDRAW:
            extcall IClearinghouse(CLEARINGHOUSE).withdraw_to_claim(account_id, convert(operand, address), subject)
        else:
            receiver_id: uint256 = (account_id >> 80 << 80) | operand
            extcall IClearinghouse(CLEARINGHOUSE).transfer(account_id, receiver_id, subject)
            log IOperations.CollateralTransferred(
                account=account_id, receiver=receiver_id, sequence=convert(sequence, uint64), quote=subject
            )
    elif kind == typed_data.KIND_CANCEL_ORDER:
        done: bool = self._consume_lane(account_id, subject >> 40, subject & M40, True)
        log IOperations.OrderCancelled(account=account_id, nonce=convert(subject, uint64))
    elif kind == typed_data.KIND_CANCEL_ALL:
        word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
        min_seq: uint256 = max((word >> 72) & M40, subject)
        extcall IClearinghouse(CLEARINGHOUSE).write_operation(
            ACCOUNT_WORD, account_id, 0, (word & ~(M40 << 72)) | (min_seq << 72)
        )
        log IOperations.AllCancelled(account=account_id, min_seq=convert(min_seq, uint64))
    else:
        key: address = convert(operand, address)
        word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).session_key_word(account_id, key)
        # a revoked key keeps its revocation for good
        word = subject | (word & session_key.REVOKED_MASK) | session_key.LINKED
        extcall IClearinghouse(CLEARINGHOUSE).write_operation(KEY_WORD, account_id, operand, word)
        log IOperations.KeyChanged(account=account_id, key=key, word=word)
    return 0


@internal
def _consume_lane(account_id: uint256, lane: uint256, seq: uint256, is_equal_enough: bool) -> bool:
    """
    @notice Leaves nothing to fill for a seq of a lane and everything before it, unless the lane is beyond it.
    @param account_id owner << 80 | subaccount.
    @param lane 0..65535.
    @param seq Seq to consume.
    @param is_equal_enough Whether a lane that stands at this very seq is consumed too.
    @return Whether it was consumed.
    """
    if lane == 0:
        word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
        if not self._is_behind((word >> 112) & M40, seq, is_equal_enough):
            return False
        extcall IClearinghouse(CLEARINGHOUSE).write_operation(
            ACCOUNT_WORD, account_id, 0, (word & ~(M88 << 112)) | (seq << 112) | (M48 << 152)
        )
        return True
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).lane_word(account_id, lane)
    # the odd lane of a word starts at bit 88
    bit: uint256 = (lane & 1) * 88
    if not self._is_behind((word >> bit) & M40, seq, is_equal_enough):
        return False
    extcall IClearinghouse(CLEARINGHOUSE).write_operation(
        LANE_WORD, account_id, lane >> 1, (word & ~(M88 << bit)) | ((seq | (M48 << 40)) << bit)
    )
    return True


@internal
@pure
def _is_behind(lane_seq: uint256, seq: uint256, is_equal_enough: bool) -> bool:
    """
    @notice Tells whether a lane may be moved to a seq.
    @param lane_seq Seq of the lane.
    @param seq Where to.
    @param is_equal_enough Whether the same seq will do.
    @return Whether it may.
    """
    return lane_seq < seq or (is_equal_enough and lane_seq == seq)


@internal
@view
def _withdrawal_code(account_id: uint256, quote: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Checks whether an account can spare a sum: every open market is fresh, and what stays covers initial margin and a
            tenth of notional, all at the worse of mark and external price.
    @param account_id owner << 80 | subaccount.
    @param quote Sum in quote units, < 2^64.
    @param matched_at_s Time of the batch.
    @return STALE_PRICE, MARGIN or 0.
    """
    account_word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    # words of the Clearinghouse: no sum below leaves 2^96
    equity_quote: int256 = (convert(convert(account_word << 184, bytes32), int256) >> 184) - convert(quote, int256)
    required_quote: uint256 = 0
    is_stale: bool = False
    open_markets: uint256 = (account_word >> 200) & M48
    for _: uint256 in range(MAX_OPEN_MARKETS):
        if open_markets == 0:
            break
        market: uint256 = open_markets & 255
        open_markets >>= 8
        price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
        rules: uint256 = 0
        tiers: uint256 = 0
        rules, tiers = self._rules_and_tiers(market, (price >> 200) & 255, matched_at_s)
        if not margin._is_fresh(price, rules, matched_at_s):
            is_stale = True
        value_quote: int256 = 0
        notional_quote: uint256 = 0
        value_quote, notional_quote = margin._value(
            staticcall IClearinghouse(CLEARINGHOUSE).position_word(account_id, market),
            price,
            staticcall IClearinghouse(CLEARINGHOUSE).index_word(market),
        )
        equity_quote += value_quote
        required_quote += max(margin._initial_quote(notional_quote, rules, tiers), (notional_quote + 9) // 10)
    if is_stale:
        return codes.STALE_PRICE
    if equity_quote < convert(required_quote, int256):
        return codes.MARGIN
    return 0


@internal
@view
def _rules_and_tiers(market: uint256, session: uint256, matched_at_s: uint256) -> (uint256, uint256):
    """
    @notice Reads the rules a batch is under.
    @param market Market id.
    @param session Session now.
    @param matched_at_s Time of the batch.
    @return Rules word and tier word, 0 without tiers.
    """
    at: uint256 = market
    rules: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).rules_word(at, session)
    if rules & RULES_CHANGING != 0:
        if matched_at_s > staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market + BINDS_AFTER, session):
            at = market + SUCCESSOR
            rules = staticcall IClearinghouse(CLEARINGHOUSE).rules_word(at, session)
    if rules & RULES_TIERED == 0:
        return rules, 0
    return rules, staticcall IClearinghouse(CLEARINGHOUSE).rules_word(at + TIERS, session)


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
def _is_shaped(kind: uint256, subject: uint256, operand: uint256) -> bool:
    """
    @notice Tells whether a kind exists and its words fit their types.
    @param kind Kind of the operation.
    @param subject Word 2.
    @param operand Low 160 bits of word 1, not read for cancellations.
    @return Whether they do.
    """
    if kind == typed_data.KIND_CANCEL_ORDER:
        return subject >> 56 == 0
    if kind == typed_data.KIND_CANCEL_ALL:
        return subject >> 40 == 0
    if kind == typed_data.KIND_WITHDRAW:
        return subject >> 64 == 0
    if kind == typed_data.KIND_TRANSFER:
        return subject >> 64 == 0 and operand >> 80 == 0
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
    @param subject Word 2: order nonce or minimum seq of a cancellation.
    @param recipient Low 160 bits of word 1.
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
