"""Splits: equity to the unit, prices in the wrong order, wrong ratios, and real ones of AAPL, MSFT and TSLA."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from afterbell.domain.calendar import Boundary, pack_boundaries
from afterbell.domain.corporate_actions import ActionKind
from tests.contracts.corporate import (
    DAY_S,
    GUARDIAN,
    LAG_S,
    Exchange,
    fill_book,
    find_day,
    read_history,
    read_words,
)
from tests.contracts.venue import MAKER, TAKER, account_of, refused
from tests.support.chain import GOVERNOR

SPLIT = ActionKind.SPLIT
CORPORATE_ACTION, REGULAR, POST, CLOSED = 7, 2, 3, 5
USD = 10**8


@pytest.fixture(scope="module")
def opened() -> Exchange:
    return Exchange.open()


@pytest.fixture
def exchange(opened: Exchange) -> Iterator[Exchange]:
    with opened.venue.chain.undone():
        yield opened


# Equity.


@pytest.mark.parametrize("seed", range(8))
def test_split__random_books__no_word_and_no_equity_moves(exchange: Exchange, seed: int) -> None:
    random = Random(seed)
    accounts = fill_book(exchange, random)
    num, den = random.choice([(2, 1), (3, 1), (5, 1), (1, 10), (3, 2), (7, 3), (100, 1), (1, 100), (2_515, 2_494)])
    announcement = exchange.schedule(SPLIT, num=num, den=den)
    words, equities = read_words(exchange, accounts), exchange.equities(accounts)

    exchange.activate_after(announcement)

    assert exchange.multiplier() == (num, den)
    assert exchange.equities(accounts) == equities
    assert read_words(exchange, accounts) == words
    exchange.venue.wait(1)
    exchange.report(100 * USD * den // num, mark_ticks=10_000)
    exchange.call("reopen", 1)
    exchange.venue.wait(1)
    exchange.report(100 * USD * den // num, mark_ticks=10_000)
    # price a share rounds down to 1e-8 USD, so a unit is worth at most a tick less
    assert exchange.venue.price().external_ticks in (9_999, 10_000)
    assert exchange.venue.price().session == REGULAR


def test_reverse_split__odd_sizes__no_lot_is_lost(exchange: Exchange) -> None:
    """10 old shares for a new one: whoever holds 1,310 lots, 0.0131 new shares, keeps them."""
    venue = exchange.venue
    for lots in (1_010, 170, 130):
        terms = {"size_lots": lots}
        assert venue.trade(lots, maker=terms, taker=terms).is_clean
    sizes = [venue.position(account_of(key)).size_lots for key in (MAKER, TAKER)]
    announcement = exchange.schedule(SPLIT, num=1, den=10)

    exchange.activate_after(announcement)

    assert [venue.position(account_of(key)).size_lots for key in (MAKER, TAKER)] == sizes
    venue.wait(1)
    # a share is 1,000 USD now
    exchange.report(1_000 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)
    venue.wait(1)
    exchange.report(1_010 * USD, mark_ticks=10_100)
    assert venue.price().external_ticks == 10_100


def test_split__orders_signed_before__live_on_at_their_price(exchange: Exchange) -> None:
    venue = exchange.venue
    resting = venue.order(MAKER, is_buy=False, expiry_s=exchange.now_s + 20 * DAY_S)
    announcement = exchange.schedule(SPLIT, num=5)
    exchange.activate_after(announcement)
    venue.wait(1)
    exchange.report(20 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)
    venue.wait(1)
    exchange.report(20 * USD, mark_ticks=10_000)

    settled = venue.settle([resting, venue.order(TAKER, is_buy=True)], [(0, 1, 1_000)])

    assert settled.is_clean
    assert venue.price().epoch == 1
    # 1,000 lots at 10,000 ticks: 0.1 units, half a share of 20 USD
    assert venue.position(account_of(TAKER)).entry_quote == 10_000_000 + 4_500


# The halt.


def test_halt__from_the_effective_second__and_fresh_no_longer(exchange: Exchange) -> None:
    announcement = exchange.schedule(SPLIT)
    exchange.venue.chain.set_time(announcement.effective_s - 30)

    exchange.report(100 * USD)

    price = exchange.venue.price()
    assert price.session == REGULAR
    # stated for the whole minutes until the halt: none of 30 s
    assert price.session_minutes == 0
    exchange.venue.chain.set_time(announcement.effective_s)
    exchange.report(100 * USD)
    assert exchange.venue.price().session == CORPORATE_ACTION


def test_activate__before_every_earlier_match_is_dead__refused(exchange: Exchange) -> None:
    """A batch matched in the last second before the halt may come SETTLE_LAG later; at the next second it may not."""
    venue = exchange.venue
    announcement = exchange.schedule(SPLIT)
    venue.chain.set_time(announcement.effective_s + LAG_S)
    with refused("action: too early"):
        exchange.call("activate", 1)
    assert venue.settle(matched_at_s=announcement.effective_s).is_clean

    venue.chain.set_time(announcement.effective_s + LAG_S + 1)
    exchange.call("activate", 1)

    with refused("batch: matched at"):
        venue.settle(matched_at_s=announcement.effective_s)


def test_activate__silent_sequencer__is_not_asked(exchange: Exchange) -> None:
    """No batch since days before: the split happens all the same, and the frozen price is the last one."""
    announcement = exchange.schedule(SPLIT, ahead_s=9 * DAY_S)

    exchange.activate_after(announcement)

    assert exchange.multiplier() == (2, 1)


# Prices in the wrong order.


def test_price_before_the_multiplier__moves_nothing_and_reopens_nothing(exchange: Exchange) -> None:
    """5 for 1: shares trade at 20 USD while the market still counts one share a unit. It would be -80 %."""
    venue = exchange.venue
    venue.trade()
    equities = exchange.equities()
    announcement = exchange.schedule(SPLIT, num=5)
    venue.chain.set_time(announcement.effective_s + LAG_S + 1)

    exchange.report(20 * USD)

    assert venue.price().external_ticks == venue.price().mark_ticks == 10_000
    assert exchange.equities() == equities
    exchange.call("activate", 1)
    # what was observed before activation is forgotten
    with refused("action: no report"):
        exchange.call("reopen", 1)
    assert exchange.equities() == equities


def test_multiplier_before_the_price__stays_halted(exchange: Exchange) -> None:
    """The shares have not been split yet and trade at 100 USD: a unit of five would be +400 %."""
    announcement = exchange.schedule(SPLIT, num=5)
    exchange.activate_after(announcement)
    exchange.venue.wait(1)

    exchange.report(100 * USD)

    assert exchange.venue.price().external_ticks == 10_000
    with refused("action: discontinuous"):
        exchange.call("reopen", 1)
    exchange.venue.wait(60)
    exchange.report(20 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)


def test_wrong_direction__stays_halted_until_the_governor_corrects_it(exchange: Exchange) -> None:
    announcement = exchange.schedule(SPLIT, num=1, den=5)
    exchange.activate_after(announcement)
    venue = exchange.venue
    venue.wait(1)
    exchange.report(20 * USD, mark_ticks=10_000)
    with refused("action: discontinuous"):
        exchange.call("reopen", 1)
    with refused("caller: not governor"):
        exchange.call("correct_split", 1, 25, 1, sender=GUARDIAN)
    with refused("action: ratio"):
        exchange.call("correct_split", 1, 0, 1, sender=GOVERNOR)

    exchange.call("correct_split", 1, 25, 1, sender=GOVERNOR)

    assert exchange.multiplier() == (5, 1)
    # the report of before was read with the wrong ratio
    with refused("action: no report"):
        exchange.call("reopen", 1)
    venue.wait(1)
    exchange.report(20 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)
    with refused("action: none"):
        exchange.call("correct_split", 1, 25, 1, sender=GOVERNOR)


def test_correct_split__not_activated_or_of_another_kind__refused(exchange: Exchange) -> None:
    announcement = exchange.schedule(SPLIT)
    with refused("action: not activated"):
        exchange.call("correct_split", 1, 2, 1, sender=GOVERNOR)
    exchange.call("cancel", 1, sender=GUARDIAN)
    exchange.activate_after(replace(exchange.schedule(ActionKind.RENAME), ex_date=announcement.ex_date))

    with refused("action: kind"):
        exchange.call("correct_split", 1, 2, 1, sender=GOVERNOR)


# Reopening.


@pytest.mark.parametrize(("cents", "agrees"), [(8_000, True), (7_999, False), (12_000, True), (12_001, False)])
def test_reopen__twenty_percent__and_not_a_tick_more(exchange: Exchange, cents: int, agrees: bool) -> None:
    exchange.activate_after(exchange.schedule(SPLIT, num=2))
    exchange.venue.wait(1)
    exchange.report(cents * 10**6 // 2, mark_ticks=10_000)

    if not agrees:
        with refused("action: discontinuous"):
            exchange.call("reopen", 1)
        return
    exchange.call("reopen", 1)

    (event,) = exchange.venue.chain.events()
    assert (event.name, event.args) == (
        "MarketReopened",
        {"market": 1, "observed_ticks": cents, "publish_time_s": exchange.now_s, "reopened_s": exchange.now_s},
    )
    assert exchange.call("halt_from", 1) == 0


def test_reopen__report_of_the_second_of_activation_or_too_old__refused(exchange: Exchange) -> None:
    exchange.activate_after(exchange.schedule(SPLIT, num=2))
    venue = exchange.venue
    exchange.report(50 * USD, mark_ticks=10_000)
    with refused("action: no report"):
        exchange.call("reopen", 1)
    venue.wait(1)
    exchange.report(50 * USD, mark_ticks=10_000)
    venue.wait(601)
    with refused("action: no report"):
        exchange.call("reopen", 1)
    venue.wait(-1)

    exchange.call("reopen", 1)


def test_reopen__governor__needs_no_report(exchange: Exchange) -> None:
    exchange.activate_after(exchange.schedule(SPLIT, num=2))
    with refused("action: no report"):
        exchange.call("reopen", 1)

    exchange.call("reopen", 1, sender=GOVERNOR)

    assert exchange.call("halt_from", 1) == 0


def test_reopen__before_activation_or_without_an_action__refused(exchange: Exchange) -> None:
    with refused("action: none"):
        exchange.call("reopen", 1)
    exchange.schedule(SPLIT)
    with refused("action: not activated"):
        exchange.call("reopen", 1)


@pytest.mark.parametrize("sessions", [(CLOSED,), (POST, CLOSED)], ids=["weekend", "half day"])
def test_split__while_the_market_is_closed__reopens_into_the_calendars_session(
    exchange: Exchange, sessions: tuple[int, ...]
) -> None:
    """Effective four hours after an early or ordinary close; a source that speaks then lets the market reopen."""
    venue = exchange.venue
    close_s = exchange.now_s + 2 * DAY_S
    table = [Boundary(start_s=close_s + 3_600 * place, session=session) for place, session in enumerate(sessions)]
    table += [Boundary(start_s=close_s + 2 * DAY_S, session=REGULAR), Boundary(start_s=close_s + 99 * DAY_S, session=0)]
    venue.chain.call("PriceOracle", "replace_windows", close_s, pack_boundaries(table), sender=GOVERNOR)
    announcement = exchange.schedule(SPLIT, ahead_s=2 * DAY_S + 4 * 3_600)

    exchange.activate_after(announcement)
    venue.wait(1)
    exchange.report(50 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)
    venue.wait(1)
    exchange.report(50 * USD, mark_ticks=10_000)

    # the reports say REGULAR, the calendar is stricter
    assert venue.price().session == CLOSED
    venue.chain.set_time(close_s + 2 * DAY_S + 1)
    exchange.report(51 * USD, mark_ticks=10_200)
    assert (venue.price().session, venue.price().external_ticks) == (REGULAR, 10_200)


# Real splits.


def play(exchange: Exchange, close_e8: int, open_e8: int, num: int, seed: int) -> None:
    """Hold a random book over a night in which `num` shares were given for one, prices as paid."""
    venue = exchange.venue
    before_ticks = close_e8 // 10**6
    exchange.report(close_e8)
    accounts = fill_book(exchange, Random(seed), ticks=before_ticks)
    equities = exchange.equities(accounts)
    lots = [venue.position(account).size_lots for account in accounts]
    announcement = exchange.schedule(SPLIT, num=num)
    venue.chain.set_time(announcement.effective_s + 60)
    # already in new shares, while the market counts old ones
    exchange.report(open_e8, mark_ticks=before_ticks)
    assert exchange.equities(accounts) == equities

    exchange.activate_after(announcement)

    assert exchange.equities(accounts) == equities
    venue.wait(1)
    exchange.report(open_e8, mark_ticks=before_ticks)
    exchange.call("reopen", 1)
    after_ticks = open_e8 * num // 10**6
    # mark steps are 1 % per 3 s; reports beyond 10 % need a second one
    for _ in range(8):
        venue.wait(60)
        exchange.report(open_e8, mark_ticks=after_ticks)
    price = venue.price()
    assert price.external_ticks == price.mark_ticks == after_ticks
    moved = {account: size * (after_ticks - before_ticks) for account, size in zip(accounts, lots, strict=True)}
    assert exchange.equities(accounts) == {account: equities[account] + moved[account] for account in accounts}
    assert sum(lots) == 0


@pytest.mark.parametrize(
    ("ticker", "date", "close", "first"),
    [
        ("AAPL", "2000-06-21", "101.25", "50.5"),
        ("AAPL", "2005-02-28", "88.99", "44.68"),
        ("MSFT", "2003-02-18", "48.3", "24.62"),
    ],
)
def test_split__real_two_for_one__equity_follows_the_stock(ticker: str, date: str, close: str, first: str) -> None:
    days = read_history(ticker)
    place = find_day(days, date)
    before, after = days[place - 1], days[place]
    assert [before.close_e8, after.open_e8] == [int(Decimal(price) * USD) for price in (close, first)]

    play(Exchange.open(is_priced=False), before.close_e8, after.open_e8, 2, seed=place)


@pytest.fixture(scope="module")
def tesla() -> dict[str, tuple[Decimal, Decimal]]:
    """Open and close by date, as adjusted for both splits; the file is no part of the repository."""
    places = [Path(os.environ.get("AFTERBELL_SHARED_DATA", "")), Path(__file__).parents[3] / "shared" / "data"]
    for folder in places:
        if (folder / "TSLA_daily.csv").is_file():
            with (folder / "TSLA_daily.csv").open() as file:
                return {row["date"]: (Decimal(row["open"]), Decimal(row["close"])) for row in csv.DictReader(file)}
    pytest.skip("no shared data folder: set AFTERBELL_SHARED_DATA to run this test")


@pytest.mark.parametrize(
    ("last", "first", "num", "factor"),
    [("2020-08-28", "2020-08-31", 5, 15), ("2022-08-24", "2022-08-25", 3, 3)],
)
def test_split__tesla__equity_follows_the_stock(
    tesla: dict[str, tuple[Decimal, Decimal]], last: str, first: str, num: int, factor: int
) -> None:
    """Undo the file's adjustment: before the split a share cost `factor` times what stands there, whole cents."""
    close_e8 = int(tesla[last][1] * factor * 100) * 10**6
    open_e8 = int(tesla[first][0] * (factor // num) * 100) * 10**6
    assert close_e8 > 900 * USD

    play(Exchange.open(is_priced=False), close_e8, open_e8, num, seed=num)
