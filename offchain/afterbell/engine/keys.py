"""Judge and word what a session key may sign now, and end the orders of one that may not any more.

The chain's rule (domain/session_keys.py) decides, with two things the engine knows earlier: the clock, which runs on
while a batch is open, and a revocation made on chain, which binds there SETTLE_LAG later. Must not: change a key.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.events import Event
from afterbell.domain.ids import AccountId
from afterbell.domain.order import Operation, Withdraw
from afterbell.domain.session_keys import check_operation_key, check_order_key, latest_key_seq
from afterbell.domain.settlement import Execution
from afterbell.domain.units import compute_notional_quote
from afterbell.domain.words import PriceWord, SessionKeyWord
from afterbell.engine.book import OpenOrder
from afterbell.engine.refusals import Refusal
from afterbell.engine.removal import cancel_each
from afterbell.engine.state import EngineState

KEY_REVOKED: Final = "KEY_REVOKED"
KEY_CODES: Final = (StatusCode.BAD_SIGNATURE, StatusCode.KEY_EXPIRED, StatusCode.KEY_LIMIT)
"""What Execution.check_order answers about the session key of an order."""


def check_order_signer(state: EngineState, order: OpenOrder, execution: Execution, now_s: int) -> Refusal | None:
    """Refuse an order whose session key is not linked, over, or limited below it. No key: nothing to ask."""
    if not order.signer:
        return None
    word = execution.session_key_word(order.account, order.signer)
    refusal = _check_alive(word, order.signer, now_s)
    if refusal is not None:
        return refusal
    price = execution.price(order.record.market_id)
    if check_order_key(word, order.record, price, now_s) == StatusCode.OK:
        return check_key_seq(state, execution, order.record.seq)
    return _refuse_order_limit(SessionKeyWord.unpack(word), order.record, price)


def check_operation_signer(
    execution: Execution, account: AccountId, signer: bytes, message: Operation, now_s: int
) -> Refusal | None:
    """Refuse an operation that a session key signed and may not. No key: nothing to ask."""
    if not signer:
        return None
    word = execution.session_key_word(account, signer)
    refusal = _check_alive(word, signer, now_s)
    if refusal is not None:
        return refusal
    if check_operation_key(word, message, now_s) == StatusCode.OK:
        return None
    found = f"0x{message.recipient.hex()}" if isinstance(message, Withdraw) else type(message).__name__
    return Refusal(
        reason=RejectReason.KEY_LIMIT,
        required=f"a cancel, or, for a key that is not trade-only, a withdrawal to 0x{message.owner.hex()}",
        found=found + (", signed by a trade-only key" if SessionKeyWord.unpack(word).trade_only else ""),
        action="sign with the owner's key",
    )


def check_key_seq(state: EngineState, execution: Execution, seq: int) -> Refusal | None:
    """Refuse a seq that a key may not spend in the open batch, because its match is long ago (contracts, D-015)."""
    latest_seq = latest_key_seq(execution.matched_at_s, state.chain.genesis_s)
    if seq <= latest_seq:
        return None
    return Refusal(
        reason=RejectReason.KEY_LIMIT,
        required=f"a seq up to {latest_seq} ms since genesis while the batch of {execution.matched_at_s} s is open",
        found=f"{seq} ms, signed by a session key",
        action="send the same message again once that batch is sealed",
    )


def cancel_orders_of_key(state: EngineState, account: AccountId, key: bytes) -> list[Event]:
    """Cancel the live orders a revoked key has signed, oldest first."""
    own = state.account_orders.get(account, {}).values()
    return cancel_each(state, [order for order in own if order.signer == key], KEY_REVOKED)


def _check_alive(word: int, signer: bytes, now_s: int) -> Refusal | None:
    key = SessionKeyWord.unpack(word)
    if not key.is_linked:
        return Refusal(
            reason=RejectReason.UNKNOWN_KEY,
            required="a session key linked to the account",
            found=f"0x{signer.hex()}",
            action="link the key first (POST /v1/keys), or sign with the owner's key",
        )
    if key.revoked_at_s:
        found = f"revoked on chain at {key.revoked_at_s} s"
    elif now_s > key.expiry_s:
        found = f"{key.expiry_s} s" if key.expiry_s else "revoked"
    else:
        return None
    return Refusal(
        reason=RejectReason.KEY_EXPIRED,
        required=f"a session key that lives at {now_s} s",
        found=found,
        action="link a new key, or sign with the owner's key",
    )


def _refuse_order_limit(key: SessionKeyWord, record: OrderRecord, price: PriceWord) -> Refusal:
    worst_ticks = max(record.limit_ticks, price.mark_ticks, price.external_ticks)
    if not key.allows_market(record.market_id):
        markets = [market for market in range(1, 33) if key.allows_market(market)]
        required, found = f"one of the key's markets {markets}", f"market {record.market_id}"
    elif key.reduce_only and not record.reduce_only:
        required, found = "a reduce-only order, the only kind the key may sign", "an order that may open"
    else:
        required = f"a notional of at most {key.max_notional_quote} quote at the worst of limit, mark and external"
        found = f"{compute_notional_quote(record.size_lots, worst_ticks)} quote"
    return Refusal(
        reason=RejectReason.KEY_LIMIT,
        required=required,
        found=found,
        action="stay within the key's limits, or sign with the owner's key",
    )
