"""Read lists of events in tests: short values instead of whole structs."""

from __future__ import annotations

from afterbell.domain.events import (
    BatchSealed,
    CancelRejected,
    Event,
    FillMatched,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderRejected,
)
from tests.engine.support import Venue


def accepted_of(events: list[Event]) -> OrderAccepted:
    """Return the one OrderAccepted."""
    (accepted,) = [event for event in events if isinstance(event, OrderAccepted)]
    return accepted


def reason_of(events: list[Event]) -> str:
    """Return why the one order or cancel was refused; its words must be there too."""
    (event,) = events
    assert isinstance(event, OrderRejected | CancelRejected), event
    assert event.required and event.found and event.action
    return event.reason


def fills_of(events: list[Event]) -> list[tuple[int, int]]:
    """Return (price_ticks, size_lots) of each fill."""
    return [(event.price_ticks, event.size_lots) for event in events if isinstance(event, FillMatched)]


def cancels_of(events: list[Event]) -> list[tuple[bytes, str, int]]:
    """Return (order id, reason, remaining lots) of each cancellation."""
    return [
        (event.order_id, event.reason, event.remaining_lots) for event in events if isinstance(event, OrderCancelled)
    ]


def reduced_of(events: list[Event]) -> list[tuple[bytes, int]]:
    return [(event.order_id, event.remaining_lots) for event in events if isinstance(event, OrderReduced)]


def kinds_of(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def book_of(venue: Venue, market: int = 1) -> list[tuple[str, int, int]]:
    """Return (side, limit_ticks, remaining_lots) of every resting order, bids first, each side best first."""
    book = venue.state.books[market]
    return [
        (name, order.record.limit_ticks, order.remaining_lots)
        for name, side in (("bid", book.bids), ("ask", book.asks))
        for order in side.iterate_orders()
    ]


def sealed_clean(venue: Venue) -> BatchSealed:
    """Seal; the mirror must settle everything."""
    (sealed,) = [event for event in venue.seal() if isinstance(event, BatchSealed)]
    assert not any(sealed.codes)
    return sealed
