"""Say why something is refused: a stable reason, what was required, what was found with its unit, what to do.

Must not: decide whether to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.errors import Faulted
from afterbell.domain.order import MAX_LIFETIME_S
from afterbell.domain.session import Session
from afterbell.domain.units import compute_notional_quote
from afterbell.domain.words import MAX_OPEN_MARKETS, RulesWord


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal in words."""

    reason: RejectReason
    required: str
    found: str
    action: str


def refuse_malformed(detail: str) -> Refusal:
    """Word a field that does not fit its signed type."""
    return Refusal(
        reason=RejectReason.MALFORMED_REQUEST,
        required="every field inside its signed type (contracts/README.md, Typed data)",
        found=detail,
        action="build the message with the SDK",
    )


def refuse_order_code(
    code: StatusCode, record: OrderRecord, rules: RulesWord | None, matched_at_s: int, session: int
) -> Refusal:
    """Word an order code of the chain's rule (Execution.check_order)."""
    reason = RejectReason.of_code(code)
    if reason is None:
        raise Faulted(f"an order cannot fail with {code.name}")
    required, found, action = _word_order_code(code, record, rules, matched_at_s, session)
    return Refusal(reason=reason, required=required, found=found, action=action)


def _word_order_code(
    code: StatusCode, record: OrderRecord, rules: RulesWord | None, matched_at_s: int, session: int
) -> tuple[str, str, str]:
    if code == StatusCode.UNKNOWN_MARKET or rules is None:
        return (
            "a listed market with rules for the session now",
            f"market {record.market_id} in session {Session(session).name}",
            "choose a market of GET /v1/markets, or wait for another session",
        )
    if code == StatusCode.UNKNOWN_FLAGS:
        return (
            "flags that go together and a lane below 65534",
            f"flags {record.flags:#06x}, lane {record.lane}",
            "sign without post_only on IOC or FOK, in another lane",
        )
    if code == StatusCode.ZERO_SIZE:
        return "a size above 0 lots", "0 lots", "sign a size of at least one step"
    if code == StatusCode.OFF_STEP:
        return (
            f"size a multiple of {rules.size_step_lots} lots, limit a multiple of {rules.price_step_ticks} ticks",
            f"{record.size_lots} lots at {record.limit_ticks} ticks",
            "round size and limit to the steps",
        )
    if code == StatusCode.BELOW_MINIMUM:
        return (
            f"a notional of at least {rules.min_notional_quote} quote",
            f"{compute_notional_quote(record.size_lots, record.limit_ticks)} quote",
            "sign a larger size, or reduce_only",
        )
    if code == StatusCode.SIZE_TOO_LARGE:
        return (
            f"at most {rules.open_interest_cap_lots} lots",
            f"{record.size_lots} lots",
            "split the order, or trade less",
        )
    if code == StatusCode.FEE_ABOVE_MAXIMUM:
        rate_ppm = max(record.maker_fee_ppm, record.taker_fee_ppm)
        return (
            f"a signed fee limit of at least {rate_ppm} ppm (market cap {rules.max_fee_ppm} ppm)",
            f"{record.max_fee_ppm} ppm",
            "sign a higher max_fee_ppm",
        )
    if code == StatusCode.EXPIRED:
        return (
            f"an expiry at or after {matched_at_s} s",
            f"{record.expiry_s} s",
            "sign a later expiry by the venue clock (GET /v1/clock)",
        )
    if code == StatusCode.EXPIRY_TOO_FAR:
        return (
            f"an expiry at or before {matched_at_s + MAX_LIFETIME_S} s",
            f"{record.expiry_s} s",
            "sign an expiry within 30 days of the venue clock",
        )
    if code == StatusCode.SEQ_BELOW_MINIMUM:
        return "a seq above the account's min_seq", f"seq {record.seq}", "sign with the venue clock's time as seq"
    return f"an order the chain accepts ({code.name})", f"nonce lane {record.lane}, seq {record.seq}", "sign it anew"


def refuse_opening(code: StatusCode, market: int, session: int, found: str) -> Refusal:
    """Word why a side that is not reducing may not trade: OPENING_NOT_ALLOWED, STALE_PRICE or TOO_MANY_MARKETS."""
    if code == StatusCode.OPENING_NOT_ALLOWED:
        return Refusal(
            reason=RejectReason.OPENING_NOT_ALLOWED,
            required="a session that allows openings, or an order that only reduces",
            found=f"market {market} in session {Session(session).name}" + (f", {found}" if found else ""),
            action="reduce the position, or wait for the session to change",
        )
    if code == StatusCode.TOO_MANY_MARKETS:
        return Refusal(
            reason=RejectReason.TOO_MANY_MARKETS,
            required=f"at most {MAX_OPEN_MARKETS} markets per account",
            found=found,
            action="close a position, or use another subaccount",
        )
    return Refusal(
        reason=RejectReason.STALE_PRICE,
        required="fresh prices of this market and of every market the account holds",
        found=found,
        action="wait for the next price report, or reduce the position",
    )
