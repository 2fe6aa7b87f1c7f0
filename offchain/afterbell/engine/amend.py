"""Judge an amendment: a new signed order that replaces a named one, if that is still what the caller believes.

The new size counts from zero, because its seq is new to the lane. Must not: change anything; orders.py does.
"""

from __future__ import annotations

from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import PlaceOrder
from afterbell.engine.book import OpenOrder
from afterbell.engine.refusals import Refusal
from afterbell.engine.state import EngineState


def check_amend(state: EngineState, command: PlaceOrder, order: OpenOrder) -> Refusal | None:
    """Refuse a replacement whose named order is not live, not of its kind, or has filled meanwhile."""
    if not command.amends:
        return None
    named = state.orders.get(command.amends)
    if named is None or named.account != order.account:
        return Refusal(
            reason=RejectReason.UNKNOWN_ORDER,
            required="a live order of this account to amend",
            found=f"0x{command.amends.hex()}",
            action="look at the open orders; it may have filled, expired or been cancelled",
        )
    old, new = named.record, order.record
    if (old.lane, old.market_id, old.is_buy) != (new.lane, new.market_id, new.is_buy) or named.partner_id:
        return Refusal(
            reason=RejectReason.NOT_AMENDABLE,
            required=f"lane {old.lane}, market {old.market_id}, {_side(old.is_buy)}, and no OCO",
            found=f"lane {new.lane}, market {new.market_id}, {_side(new.is_buy)}"
            + (", an order of an OCO" if named.partner_id else ""),
            action="cancel the order and sign a new one",
        )
    if named.filled_lots != command.amends_filled_lots:
        return Refusal(
            reason=RejectReason.FILLED_MEANWHILE,
            required=f"{named.filled_lots} lots, what the order has filled",
            found=f"{command.amends_filled_lots} lots",
            action="sign the amendment anew with what is left of it",
        )
    return None


def keeps_priority(old: OpenOrder, new: OpenOrder) -> bool:
    """Tell whether an amended order keeps its turn: both rest, at one price, and it asks for no more."""
    return (
        not (old.is_waiting or new.is_waiting or new.record.time_in_force.is_immediate)
        and new.record.limit_ticks == old.record.limit_ticks
        and new.remaining_lots <= old.remaining_lots
    )


def _side(is_buy: bool) -> str:
    return "buy" if is_buy else "sell"
