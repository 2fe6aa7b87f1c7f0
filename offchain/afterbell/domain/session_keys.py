"""Judge what a session key may sign, and what may be linked as one.

A key is an address with limits; its word lies in the Clearinghouse (words.SessionKeyWord). Must not: recover signatures
or change a word. Twin: contracts/Clearinghouse.vy for orders, contracts/Operations.vy for operations and direct links.
"""

from __future__ import annotations

from afterbell.domain.batch import SETTLE_LAG_S, OrderRecord
from afterbell.domain.codes import StatusCode
from afterbell.domain.ids import ZERO_ADDRESS, seq_of
from afterbell.domain.order import MAX_KEY_LIFETIME_S, CancelAll, CancelOrder, Operation, Withdraw
from afterbell.domain.units import compute_notional_quote, seconds_to_milliseconds
from afterbell.domain.words import KEY_LIMITS_MASK, PriceWord, SessionKeyWord


def check_key(word: int, matched_at_s: int) -> StatusCode:
    """Return BAD_SIGNATURE (not linked), KEY_EXPIRED or OK. A revocation on chain binds SETTLE_LAG later."""
    key = SessionKeyWord.unpack(word)
    if not key.is_linked:
        return StatusCode.BAD_SIGNATURE
    is_revoked = key.revoked_at_s != 0 and matched_at_s > key.revoked_at_s + SETTLE_LAG_S
    if matched_at_s > key.expiry_s or is_revoked:
        return StatusCode.KEY_EXPIRED
    return StatusCode.OK


def check_order_key(word: int, record: OrderRecord, price: PriceWord, matched_at_s: int) -> StatusCode:
    """Return the code of an order signed by a key: as check_key, then KEY_LIMIT.

    Formula: size x max(limit, mark, external) <= maximum notional, exact in quote.
    """
    code = check_key(word, matched_at_s)
    if code:
        return code
    key = SessionKeyWord.unpack(word)
    worst_ticks = max(record.limit_ticks, price.mark_ticks, price.external_ticks)
    if (
        not key.allows_market(record.market_id)
        or (key.reduce_only and not record.reduce_only)
        or compute_notional_quote(record.size_lots, worst_ticks) > key.max_notional_quote
    ):
        return StatusCode.KEY_LIMIT
    return StatusCode.OK


def check_operation_key(word: int, message: Operation, matched_at_s: int) -> StatusCode:
    """Return the code of an operation signed by a key: as check_key, then KEY_LIMIT.

    A key may cancel; unless trade_only it may also withdraw, to the owner's own address. It never links or revokes.
    """
    code = check_key(word, matched_at_s)
    if code or isinstance(message, CancelOrder | CancelAll):
        return code
    is_own_withdrawal = isinstance(message, Withdraw) and message.recipient == message.owner
    if SessionKeyWord.unpack(word).trade_only or not is_own_withdrawal:
        return StatusCode.KEY_LIMIT
    return StatusCode.OK


def latest_key_seq(matched_at_s: int, genesis_s: int) -> int:
    """Return the latest seq a key may spend, in an order, a nonce, or whatever it cancels; KEY_LIMIT beyond.

    Nonces and lanes only rise: a seq of the far future would lock the owner out long after the key has gone.
    """
    return seconds_to_milliseconds(matched_at_s + SETTLE_LAG_S - genesis_s)


def find_spent_seq(message: Operation) -> int:
    """Return the latest seq an operation spends: its own, or the one it cancels up to."""
    if isinstance(message, CancelOrder):
        return max(message.seq, seq_of(message.order_nonce))
    return max(message.seq, message.min_seq) if isinstance(message, CancelAll) else message.seq


def has_bad_limits(owner: bytes, key: bytes, limits: int, now_s: int) -> bool:
    """Tell whether a key must not be linked like this: BAD_KEY in a batch, `operations: bad key` on chain."""
    word = SessionKeyWord.unpack(limits)
    return (
        limits > KEY_LIMITS_MASK
        or key in (ZERO_ADDRESS, owner)
        or word.expiry_s > now_s + MAX_KEY_LIFETIME_S
        or word.markets == 0
        or word.max_notional_quote == 0
    )
