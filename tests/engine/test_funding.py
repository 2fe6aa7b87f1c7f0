"""A fill settles the funding its positions owe, and says so. Nothing moves an index yet: the test does."""

from __future__ import annotations

from afterbell.domain.events import FillMatched
from afterbell.domain.words import IndexWord
from tests.engine.support import USDC, open_venue


def test_fill__index_moved_since_the_last_touch__event_names_what_each_side_pays() -> None:
    """Long 1,000 lots x 5 quote a lot pays 5,000; short 1,000 x 5 receives 5,000; the new taker owes nothing."""
    venue = open_venue()
    venue.deposit(5, 20 * USDC)
    venue.place(1, "sell", 1_000, 10_000)
    venue.place(5, "buy", 1_000, 10_000)
    venue.seal()
    venue.state.chain.indices[1] = IndexWord(long_index_e12=5 * 10**12, short_index_e12=5 * 10**12).pack()
    venue.state.drop_draft()

    venue.place(1, "sell", 1_000, 10_000)
    events = venue.place(5, "buy", 500, 10_000)

    (fill,) = [event for event in events if isinstance(event, FillMatched)]
    assert (fill.maker_funding_quote, fill.taker_funding_quote) == (-5_000, 5_000)
