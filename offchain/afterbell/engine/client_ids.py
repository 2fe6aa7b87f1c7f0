"""Remember the client ids of accepted orders, so that one id never stands for two orders.

Kept: the last MAX_CLIENT_IDS of each account. A refused order leaves its id free. Must not: answer a repeat; the
gateway does, without a command.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.codes import RejectReason
from afterbell.engine.book import OpenOrder
from afterbell.engine.refusals import Refusal
from afterbell.engine.state import EngineState

MAX_CLIENT_IDS: Final = 1_000


def check_client_id(state: EngineState, order: OpenOrder) -> Refusal | None:
    """Refuse a client id that another order of the account has."""
    known = state.client_ids.get(order.account, {}).get(order.client_id)
    if not order.client_id or known is None or known == order.order_id:
        return None
    return Refusal(
        reason=RejectReason.DUPLICATE_CLIENT_ID,
        required=f"a client id that none of the account's last {MAX_CLIENT_IDS} orders has",
        found=f"{order.client_id!r} of order 0x{known.hex()}",
        action="ask for that order, or choose a new client id",
    )


def remember_client_id(state: EngineState, order: OpenOrder) -> None:
    """Keep the client id of an accepted order; the oldest beyond the bound is forgotten."""
    if not order.client_id:
        return
    known = state.client_ids.setdefault(order.account, {})
    known[order.client_id] = order.order_id
    if len(known) > MAX_CLIENT_IDS:
        del known[next(iter(known))]
