"""Judge an order by its own numbers: flags, size, steps, expiry. Must not: look at accounts, prices or signatures."""

from __future__ import annotations

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import StatusCode
from afterbell.domain.ids import LIQUIDATION_LANE, OPERATION_LANE
from afterbell.domain.order import KNOWN_FLAGS, MAX_LIFETIME_S, TriggerKind
from afterbell.domain.units import compute_notional_quote
from afterbell.domain.words import RulesWord


def has_unknown_flags(record: OrderRecord) -> bool:
    """Tell whether an order asks for something that does not exist or contradicts itself."""
    if record.flags & ~KNOWN_FLAGS or record.lane == OPERATION_LANE:
        return True
    if record.lane == LIQUIDATION_LANE and not record.is_liquidation:
        return True
    if record.post_only and record.time_in_force.is_immediate:
        return True
    is_known_kind = TriggerKind.NONE < record.trigger_kind <= TriggerKind.INDEX_AT_OR_BELOW
    return record.has_trigger and not is_known_kind


def check_order_size(record: OrderRecord, rules: RulesWord) -> StatusCode:
    """Return the code of the checks of size and limit against steps, minimum and cap, or OK."""
    if record.size_lots == 0:
        return StatusCode.ZERO_SIZE
    # Both are unsigned, so the remainder has no sign to get wrong.
    if record.size_lots % rules.size_step_lots or record.limit_ticks % rules.price_step_ticks:
        return StatusCode.OFF_STEP
    is_small = compute_notional_quote(record.size_lots, record.limit_ticks) < rules.min_notional_quote
    if is_small and not record.reduce_only:
        return StatusCode.BELOW_MINIMUM
    if record.size_lots > rules.open_interest_cap_lots:
        return StatusCode.SIZE_TOO_LARGE
    return StatusCode.OK


def check_expiry(expiry_s: int, matched_at_s: int) -> StatusCode:
    """Return EXPIRED, EXPIRY_TOO_FAR or OK: alive while matched_at <= expiry <= matched_at + 30 days."""
    if matched_at_s > expiry_s:
        return StatusCode.EXPIRED
    if expiry_s > matched_at_s + MAX_LIFETIME_S:
        return StatusCode.EXPIRY_TOO_FAR
    return StatusCode.OK
