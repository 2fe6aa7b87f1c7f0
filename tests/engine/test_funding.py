"""Funding on the running engine: premiums sampled from the books, accrued once an hour, settled and told by fills."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import OrderRecord, PriceRow, decode
from afterbell.domain.commands import AdoptPrices
from afterbell.domain.events import BatchSealed, FillMatched, IndexAccrued
from afterbell.domain.session import Session
from afterbell.domain.words import IndexWord
from afterbell.engine.book import OpenOrder
from afterbell.engine.funding import compute_impact_ticks, compute_premium_ppb
from afterbell.engine.state import compute_state_hash
from tests.engine.contract import Contract
from tests.engine.support import GENESIS_S, RULES, SESSION_MINUTES, START_MS, USDC, Venue, account, open_venue

FUNDED = replace(RULES, is_funding_on=True, max_age_s=0)
HOUR_S = 3_600
FIRST_HOUR_S = (START_MS // 1_000 // HOUR_S + 1) * HOUR_S
HALF_HOUR_E12 = 25_684_375_000
"""What longs pay in half an hour at 10,000 ticks while the book has no premium: 4.5 % a year, 41,095 ppb in 8 hours."""


def open_funded(ticks: int = 10_000) -> Venue:
    """A market with funding on; 1 and 2 hold 1,000 lots against each other, 3 and 4 have money to quote with."""
    venue = Venue()
    venue.list_market(rules=FUNDED)
    for number in range(1, 5):
        venue.deposit(number, 1_000_000 * USDC)
    venue.prices(ticks)
    venue.place(2, "sell", 1_000, ticks)
    venue.place(1, "buy", 1_000, ticks)
    venue.seal()
    return venue


def price_at(venue: Venue, time_s: int, ticks: int = 10_000) -> list[IndexAccrued]:
    """Adopt prices at a second and seal; return what accrued."""
    venue.time_ms = time_s * 1_000
    events = venue.prices(ticks)
    venue.seal()
    return [event for event in events if isinstance(event, IndexAccrued)]


def row_of(venue: Venue) -> PriceRow:
    """Return the row of the last batch."""
    sealed = [event for event in venue.events if isinstance(event, BatchSealed)][-1]
    (row,) = decode(sealed.payload).rows
    return row


def must_settle(venue: Venue) -> None:
    contract = Contract()
    for (_, _, command), events in zip(venue.frames, venue.outcomes, strict=True):
        contract.follow(command, events)
    assert contract.chain == venue.state.chain
    contract.chain.validate_invariants()


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


def test_funding__an_hour_without_a_premium__longs_pay_the_carry_exactly() -> None:
    """Books empty: f8 = 41,095 ppb. An hour: 41,095 x 10,000 x 3,600 / 28,800 x 1e3 = 51,368,750,000e-12 quote a lot.

    The first prices, half an hour before the hour, only set the time; then half an hour and an hour accrue. 1,000 lots
    pay 77.053 quote, the long rounded up to 78, the short gets 77: the pot keeps the rest.
    """
    venue = open_funded()
    (half,) = price_at(venue, FIRST_HOUR_S)
    assert half.long_index_e12 == HALF_HOUR_E12

    (accrued,) = price_at(venue, FIRST_HOUR_S + HOUR_S)

    assert (accrued.premium_ppb, accrued.funding_time_s) == (0, FIRST_HOUR_S + HOUR_S)
    assert accrued.long_index_e12 == accrued.short_index_e12 == HALF_HOUR_E12 + 51_368_750_000
    venue.place(3, "buy", 1_000, 10_000)
    (closing, *_) = venue.place(1, "sell", 1_000, 10_000, reduce_only=True)
    assert isinstance(closing, FillMatched) and closing.taker_funding_quote == 78
    venue.place(3, "sell", 1_000, 10_000, lane=1)
    (buying, *_) = venue.place(2, "buy", 1_000, 10_000, reduce_only=True)
    assert isinstance(buying, FillMatched) and buying.taker_funding_quote == -77
    venue.seal()
    assert venue.state.chain.totals_of(1).pot_quote == 1
    must_settle(venue)


def test_funding__several_prices_an_hour__accrue_once() -> None:
    venue = open_funded()
    price_at(venue, FIRST_HOUR_S)
    rows = []
    for minute in (10, 59, 60, 70, 119, 120):
        price_at(venue, FIRST_HOUR_S + minute * 60)
        rows.append(row_of(venue).funding)

    assert rows == [0, 0, 1, 0, 0, 1]
    assert venue.state.chain.index(1).funding_time_s == FIRST_HOUR_S + 2 * HOUR_S
    must_settle(venue)


def test_funding__bids_above_the_index__premium_is_their_mean_over_the_minutes() -> None:
    """5,000 USDC sold into a bid of 500,000 lots at 10,040: 0.4 % above for 15 of 60 minutes: mean 1,000,000 ppb."""
    venue = open_funded()
    price_at(venue, FIRST_HOUR_S)
    venue.time_ms = (FIRST_HOUR_S + 45 * 60) * 1_000
    venue.place(3, "buy", 500_000, 10_040)

    (accrued,) = price_at(venue, FIRST_HOUR_S + HOUR_S)

    assert accrued.premium_ppb == row_of(venue).premium_ppb == 1_000_000
    # f8 = 1,000,000 + clamp(41,095 - 1,000,000, +-500,000) = 500,000 ppb; an eighth of it on 10,000 ticks.
    assert accrued.long_index_e12 - HALF_HOUR_E12 == 500_000 * 10_000 * 1_000 // 8
    must_settle(venue)


def test_funding__session_without_funding__accrues_nothing() -> None:
    """CLOSED rules have funding off: the time is taken, the index stands."""
    venue = open_funded()
    venue.set_rules(rules=RULES, session=Session.CLOSED)
    price_at(venue, FIRST_HOUR_S)
    venue.time_ms = (FIRST_HOUR_S + HOUR_S) * 1_000

    events = venue.prices(10_000, session=Session.CLOSED)

    assert not [event for event in events if isinstance(event, IndexAccrued)]
    index = venue.state.read_execution(0).index(1)
    assert (index.long_index_e12, index.funding_time_s) == (HALF_HOUR_E12, FIRST_HOUR_S + HOUR_S)


def test_funding__replayed_from_the_journal__same_premiums_and_state() -> None:
    venue = open_funded()
    price_at(venue, FIRST_HOUR_S)
    venue.place(3, "buy", 500_000, 10_020)
    price_at(venue, FIRST_HOUR_S + 40 * 60)
    price_at(venue, FIRST_HOUR_S + HOUR_S)

    other = Venue()
    for time_ms, _, command in venue.frames:
        other.time_ms = time_ms
        other.send(command)

    assert compute_state_hash(other.state) == compute_state_hash(venue.state)
    assert venue.state.chain.index(1).long_index_e12 > 0


@pytest.mark.parametrize(
    ("quotes", "premium_ppb"),
    [
        ([("buy", 500_000, 10_100)], 10_000_000),
        ([("sell", 600_000, 9_900)], -10_000_000),
        # 4,999.9 USDC: not deep enough, the side adds nothing.
        ([("buy", 495_030, 10_100)], 0),
        # 2,525 USDC at 10,100, the rest at 10,000: 5,000 / 497,500 lots = 10,050.25, down to 10,050.
        ([("buy", 250_000, 10_100), ("buy", 500_000, 10_000)], 5_000_000),
        ([("buy", 600_000, 9_990), ("sell", 600_000, 10_010)], 0),
    ],
)
def test_premium__of_a_book__is_that_of_its_impact_prices(quotes: list[tuple[str, int, int]], premium_ppb: int) -> None:
    """Index 10,000; 5,000 USDC are 5e9 quote."""
    venue = open_funded()
    venue.time_ms += 3_000
    for lane, (side, size_lots, limit_ticks) in enumerate(quotes):
        venue.place(3, side, size_lots, limit_ticks, lane=lane)

    assert compute_premium_ppb(venue.state, 1, 10_000) == premium_ppb


def test_impact_price__rounds_against_the_premium() -> None:
    """3 lots at 7 and 4 at 4 for 30 quote: 21 + 3 x 4 = 33 for 6 lots = 5.5: a bid counts 5, an ask 6."""
    venue = open_venue()
    venue.state.books[1].bids.add(_order(3, 7))
    venue.state.books[1].bids.add(_order(4, 4))

    assert compute_impact_ticks(venue.state.books[1].bids, 30, rounds_up=False) == 5
    assert compute_impact_ticks(venue.state.books[1].bids, 30, rounds_up=True) == 6


def _order(lots: int, ticks: int) -> OpenOrder:
    record = OrderRecord(
        market_id=1, flags=1, lane=ticks, seq=1, size_lots=lots, limit_ticks=ticks, max_fee_ppm=0, taker_fee_ppm=0,
        maker_fee_ppm=0, expiry_s=0, r=bytes(32), vs=bytes(32),
    )  # fmt: skip
    return OpenOrder(
        order_id=bytes([lots]) * 32, account=account(1), record=record, epoch=1, nonce=1, client_id="", accepted_ms=0,
        remaining_lots=lots,
    )  # fmt: skip


def test_session__its_statement_ends_within_the_lag__only_reducing_orders_are_taken() -> None:
    """Stated for 10 minutes: openings end 300 s before, as the session 300 s from now is unknown; closing goes on."""
    venue = open_funded()
    ends_s = venue.time_s + 600
    stated = (1, 10_000, venue.time_s, 2, 10, venue.time_s)
    _adopt_stated(venue, stated)

    venue.time_ms = (ends_s - 301) * 1_000
    assert venue.place(3, "buy", 500, 9_900)[0].__class__.__name__ == "OrderAccepted"
    venue.time_ms = (ends_s - 300) * 1_000
    (refused,) = venue.place(4, "buy", 500, 9_900)

    assert (refused.reason, f"until {ends_s} s" in refused.found) == ("STALE_PRICE", True)  # type: ignore[union-attr]
    assert venue.place(1, "sell", 500, 10_100, reduce_only=True)[0].__class__.__name__ == "OrderAccepted"
    assert ends_s > GENESIS_S and SESSION_MINUTES > 10


def _adopt_stated(venue: Venue, stated: tuple[int, int, int, int, int, int]) -> None:
    venue.send(AdoptPrices(rows=((1, 10_000, 10_000, 0),), stated=(stated,), evidence=b""))
