"""Dividends: shorts pay longs whole ticks a lot, once; nobody gets out before, no old price or order comes after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from afterbell.domain.batch import OrderRecord, PriceRow
from afterbell.domain.corporate_actions import ActionKind
from afterbell.domain.order import Withdraw
from afterbell.domain.position import compute_pending_quote
from afterbell.signing.keys import SigningKey
from tests.contracts.corporate import (
    DAY_S,
    GUARDIAN,
    LAG_S,
    Exchange,
    digest_of,
    fill_book,
    find_day,
    read_history,
)
from tests.contracts.venue import MAKER, TAKER, USDC, Report, account_of, refused

DIVIDEND = ActionKind.DIVIDEND
USD = 10**8
BAD_SIGNATURE, WRONG_EPOCH, ORDER_INVALID, EXPIRED, MARGIN = 3, 13, 32, 5, 48
PREVIOUS_EPOCH = 1 << 5


@pytest.fixture(scope="module")
def opened() -> Exchange:
    return Exchange.open()


@pytest.fixture
def exchange(opened: Exchange) -> Iterator[Exchange]:
    with opened.venue.chain.undone():
        yield opened


def pendings(exchange: Exchange, accounts: list[int]) -> list[int]:
    return [compute_pending_quote(exchange.venue.position(account), exchange.index()) for account in accounts]


def refresh(exchange: Exchange, cents: int = 10_000) -> None:
    """Report a price a second later."""
    exchange.venue.wait(1)
    exchange.report(cents * 10**6)


# What it pays.


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_reserved", [False, True])
def test_dividend__random_books__each_side_moves_by_lots_times_ticks_and_nobody_else_gains(
    exchange: Exchange, seed: int, is_reserved: bool
) -> None:
    random = Random(seed)
    accounts = fill_book(exchange, random)
    price_e8 = random.randrange(USD // 200, 5 * USD)
    # at 1-to-1, 100 ticks a USD; half a tick counts as one
    ticks = (price_e8 * 100 * 2 + USD) // (2 * USD)
    announcement = exchange.schedule(DIVIDEND, price_e8=price_e8)
    lots = [exchange.venue.position(account).size_lots for account in accounts]
    equities, pending, price = exchange.equities(accounts), pendings(exchange, accounts), exchange.venue.price()
    books = [exchange.venue.account(account).collateral_quote for account in accounts], exchange.venue.totals()
    if is_reserved:
        exchange.venue.chain.set_time(announcement.reserve_s + LAG_S + 1)
        exchange.call("reserve", 1)
        shorts = [min(size, 0) * ticks for size in lots]
        reserved = {account: equities[account] + part for account, part in zip(accounts, shorts, strict=True)}
        assert exchange.equities(accounts) == reserved

    exchange.activate_after(announcement)

    assert pendings(exchange, accounts) == [was - size * ticks for was, size in zip(pending, lots, strict=True)]
    assert exchange.equities(accounts) == equities
    assert sum(lots) == 0
    after = exchange.venue.price()
    assert (after.mark_ticks, after.external_ticks) == (price.mark_ticks - ticks, price.external_ticks - ticks)
    assert (after.index_ticks, after.epoch, exchange.index().reserve_ticks) == (after.external_ticks, 2, 0)
    # nothing is booked before a position is touched
    assert books == (
        [exchange.venue.account(account).collateral_quote for account in accounts], exchange.venue.totals(),
    )  # fmt: skip


def test_dividend__both_close_afterwards__the_short_has_paid_the_long(exchange: Exchange) -> None:
    """1,000 lots at 100.00, a dividend of 1.00, both out at 99.00: the dividend gives what the price takes, 0.10."""
    venue = exchange.venue
    venue.trade()
    long, short = account_of(TAKER), account_of(MAKER)
    announcement = exchange.schedule(DIVIDEND)
    exchange.activate_after(announcement)
    refresh(exchange, 9_900)

    orders = venue.pair(
        maker_buys=True, maker={"limit_ticks": 9_900, "epoch": 2}, taker={"limit_ticks": 9_900, "epoch": 2}
    )
    assert venue.settle(orders, [(0, 1, 1_000)]).is_clean

    # what is missing are the fees: 100 and 450 ppm of 10.00 and of 9.90 USDC
    assert venue.account(short).collateral_quote == 10_000 * USDC - 1_000 - 990
    assert venue.account(long).collateral_quote == 10_000 * USDC - 4_500 - 4_455
    assert venue.totals().pot_quote == 0


def test_dividend__two_shares_in_a_unit__pays_twice(exchange: Exchange) -> None:
    """After 2 for 1 a unit has two shares: 0.0625 a share are 0.125 a unit, 12.5 ticks, rounded to 13."""
    exchange.activate_after(exchange.schedule(ActionKind.SPLIT, num=2))
    exchange.venue.wait(1)
    exchange.report(50 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)

    exchange.activate_after(exchange.schedule(DIVIDEND, price_e8=USD // 16))

    assert exchange.venue.price().external_ticks == 10_000 - 13
    assert exchange.index().long_index_e12 == exchange.index().short_index_e12 == -13 * 10**12


def test_dividend__real_special_one_of_microsoft_in_2004__longs_and_shorts_lose_nothing_to_it() -> None:
    """MSFT went ex 3.00 + 0.08 on 2004-11-15, from 29.97 to 27.35 at the open: 0.46 more than the fall."""
    days = read_history("MSFT")
    place = find_day(days, "2004-11-15")
    close_e8, open_e8 = days[place - 1].close_e8, days[place].open_e8
    assert [close_e8, open_e8] == [int(Decimal(price) * USD) for price in ("29.97", "27.35")]
    exchange = Exchange.open(is_priced=False)
    exchange.report(close_e8)
    accounts = fill_book(exchange, Random(2004), ticks=2_997)
    lots = [exchange.venue.position(account).size_lots for account in accounts]
    equities = exchange.equities(accounts)

    # 10.3 %, above the maintenance margin of 5 %
    with refused("action: notice"):
        exchange.announce(DIVIDEND, price_e8=308 * USD // 100, ahead_s=4 * DAY_S)
    announcement = exchange.announce(DIVIDEND, price_e8=308 * USD // 100, ahead_s=5 * DAY_S)
    exchange.venue.chain.set_time(announcement.effective_s - 60)
    exchange.call("confirm", 1, digest_of(announcement), sender=GUARDIAN)
    exchange.activate_after(announcement)

    # the price falls exactly D: nobody gains or loses
    refresh(exchange, 2_997 - 308)
    assert exchange.equities(accounts) == equities
    # and then the rest of that morning, 0.46 up
    for _ in range(3):
        exchange.venue.wait(60)
        exchange.report(open_e8)
    assert exchange.equities(accounts) == {
        account: equities[account] + size * 46 for account, size in zip(accounts, lots, strict=True)
    }


def test_dividend__mark_away_from_the_external_price__keeps_its_distance(exchange: Exchange) -> None:
    announcement = exchange.schedule(DIVIDEND)
    exchange.venue.wait(3)
    exchange.report(100 * USD, mark_ticks=10_095)
    assert exchange.venue.price().mark_ticks == 10_095

    exchange.activate_after(announcement)

    assert exchange.venue.price().mark_ticks == 9_995


# The reservation.


def short_of(exchange: Exchange, collateral_quote: int, lots: int) -> SigningKey:
    """Open a short at 100.00 against the maker with so much behind it."""
    key = SigningKey(b"\x51" * 32)
    exchange.venue.chain.deposit(account_of(key), collateral_quote)
    terms: dict[str, Any] = {"size_lots": lots}
    orders = [
        exchange.venue.order(MAKER, is_buy=True, fees=(0, 0), **terms),
        exchange.venue.order(key, is_buy=False, fees=(0, 0), **terms),
    ]
    assert exchange.venue.settle(orders, [(0, 1, lots)]).is_clean
    return key


def withdraw(exchange: Exchange, key: SigningKey, quote: int) -> int:
    """Return the code of a withdrawal at a fresh price."""
    refresh(exchange)
    exchange.venue.seq += 1
    message = Withdraw(
        owner=key.address, quote=quote, recipient=key.address, expiry_s=exchange.now_s + 60, seq=exchange.venue.seq
    )
    (code,) = exchange.venue.settle(operations=[exchange.venue.operation(message, signer=key)]).operations
    return code


def test_reserve__short_that_wants_out_before_the_ex_date__leaves_the_dividend_behind(exchange: Exchange) -> None:
    """10,000 lots short at 100.00 are 100 USDC, margin 10. With 15 behind them 5 are free, less 1 of dividend."""
    short = short_of(exchange, 15 * USDC, 10_000)
    announcement = exchange.schedule(DIVIDEND)
    exchange.venue.chain.set_time(announcement.reserve_s + LAG_S + 1)
    refresh(exchange)
    exchange.call("reserve", 1)

    # the margin of the short is asked of 101.00, too: 10.1 instead of 10
    assert withdraw(exchange, short, 4 * USDC - 100_000 + 1) == MARGIN
    assert withdraw(exchange, short, 4 * USDC - 100_000) == 0

    exchange.activate_after(announcement)
    # the stock did not fall at all: the worst for a short, and what was kept back covers it
    refresh(exchange, 10_000)
    for _ in range(4):
        exchange.venue.wait(60)
        exchange.report(100 * USD)
    health = exchange.health(account_of(short))
    assert health.equity_quote == 15 * USDC - (4 * USDC - 100_000) - USDC
    assert health.equity_quote >= health.initial_margin_quote


def test_reserve__without_it__the_short_could_have_left_less(exchange: Exchange) -> None:
    short = short_of(exchange, 15 * USDC, 10_000)
    exchange.schedule(DIVIDEND)

    assert withdraw(exchange, short, 5 * USDC) == 0


def test_reserve__before_a_batch_of_its_time_is_dead__refused(exchange: Exchange) -> None:
    announcement = exchange.schedule(DIVIDEND)
    exchange.venue.chain.set_time(announcement.reserve_s + LAG_S)
    with refused("action: too early"):
        exchange.call("reserve", 1)
    exchange.venue.wait(1)

    exchange.call("reserve", 1)

    (word, event) = exchange.venue.chain.events()[-2:]
    assert (event.name, event.args) == ("DividendReserved", {"market": 1, "ticks": 100})
    assert word.name == "DirectOperation"
    with refused("action: reserved"):
        exchange.call("reserve", 1)


def test_reserve__nothing_or_another_kind_or_unconfirmed__refused(exchange: Exchange) -> None:
    with refused("action: none"):
        exchange.call("reserve", 1)
    exchange.schedule(ActionKind.SPLIT)
    with refused("action: kind"):
        exchange.call("reserve", 1)
    exchange.announce(DIVIDEND, market_id=2, price_e8=3 * USD)
    exchange.venue.wait(2 * DAY_S - 1)
    with refused("action: unconfirmed"):
        exchange.call("reserve", 2)


def test_reserve__cancelled_dividend__is_returned(exchange: Exchange) -> None:
    short = short_of(exchange, 15 * USDC, 10_000)
    announcement = exchange.schedule(DIVIDEND)
    exchange.venue.chain.set_time(announcement.reserve_s + LAG_S + 1)
    exchange.call("reserve", 1)
    assert exchange.health(account_of(short)).equity_quote == 14 * USDC

    exchange.call("cancel", 1, sender=GUARDIAN)

    assert exchange.health(account_of(short)).equity_quote == 15 * USDC
    assert exchange.index().reserve_ticks == 0


# What is in flight.


def test_batch_in_flight__matched_before_the_halt__is_settled_before_the_dividend_or_never(exchange: Exchange) -> None:
    """Bought with the dividend, at 100.00, 40 s before the halt and settled within it: the buyer gets it."""
    venue = exchange.venue
    announcement = exchange.schedule(DIVIDEND)
    venue.chain.set_time(announcement.effective_s - 90)
    exchange.report(100 * USD)
    venue.wait(50)
    matched_at_s = exchange.now_s
    first, second = venue.pair(), venue.pair()
    venue.chain.set_time(matched_at_s + LAG_S)
    with refused("action: too early"):
        exchange.call("activate", 1)

    assert venue.settle(first, [(0, 1, 1_000)], matched_at_s=matched_at_s).is_clean

    before = exchange.equities()
    venue.chain.set_time(announcement.effective_s + LAG_S + 1)
    exchange.call("activate", 1)
    assert exchange.equities() == before
    assert pendings(exchange, [account_of(TAKER), account_of(MAKER)]) == [-100_000, 100_000]
    with refused("batch: matched at"):
        venue.settle(second, [(0, 1, 1_000)], matched_at_s=matched_at_s)
    # nor does another time help: the epoch is part of what was signed
    refresh(exchange, 9_900)
    assert venue.settle(second, [(0, 1, 1_000)]).orders == [EXPIRED, EXPIRED]
    assert venue.settle(venue.pair(), [(0, 1, 1_000)]).orders == [BAD_SIGNATURE, BAD_SIGNATURE]


def test_batch_in_flight__report_from_before_the_halt__does_not_bring_the_old_price_back(exchange: Exchange) -> None:
    """Published 20 s before, matched just within the halt, settled after activation: the price stays lowered."""
    venue = exchange.venue
    announcement = exchange.schedule(DIVIDEND)
    exchange.activate_after(announcement)

    matched_at_s = announcement.effective_s + 1
    evidence = venue.evidence([Report()], publish_time_s=announcement.effective_s - 20)
    venue.settle(
        rows=[PriceRow(market_id=1, mark_ticks=10_000, index_ticks=10_000)],
        evidence=evidence,
        matched_at_s=matched_at_s,
    )

    assert venue.price().external_ticks == 9_900
    # and one from within it does
    evidence = venue.evidence([Report(price_e8=99 * USD)], publish_time_s=announcement.effective_s + 1)
    venue.settle(evidence=evidence, matched_at_s=matched_at_s)
    assert venue.price().external_time_s == announcement.effective_s + 1


def with_previous_epoch(order: tuple[int, OrderRecord]) -> tuple[int, OrderRecord]:
    return order[0], replace(order[1], flags=order[1].flags | PREVIOUS_EPOCH)


def test_orders__of_the_epoch_before__are_dead_but_those_that_only_reduce(exchange: Exchange) -> None:
    venue = exchange.venue
    venue.trade()
    expiry_s = exchange.now_s + 20 * DAY_S
    opening = venue.order(TAKER, is_buy=True, expiry_s=expiry_s)
    closing = venue.order(TAKER, is_buy=False, expiry_s=expiry_s, reduce_only=True, limit_ticks=9_900)
    exchange.activate_after(exchange.schedule(DIVIDEND))
    refresh(exchange, 9_900)

    def other(is_buy: bool) -> tuple[int, OrderRecord]:
        return venue.order(MAKER, is_buy=is_buy, limit_ticks=9_900, epoch=venue.price().epoch, lane=7)

    assert venue.settle([other(False), opening], [(0, 1, 1_000)]).orders == [0, BAD_SIGNATURE]
    assert venue.settle([other(False), with_previous_epoch(opening)], [(0, 1, 1_000)]).orders == [0, WRONG_EPOCH]
    assert venue.settle([other(True), closing], [(0, 1, 1_000)]).orders == [0, BAD_SIGNATURE]
    # half of it now, under the epoch before
    assert venue.settle([other(True), with_previous_epoch(closing)], [(0, 1, 500)]).is_clean
    assert venue.position(account_of(TAKER)).size_lots == 500
    # two epochs later it is dead as well
    exchange.activate_after(exchange.schedule(ActionKind.STEP))
    refresh(exchange, 9_900)
    settled = venue.settle([other(True), with_previous_epoch(closing)], [(0, 1, 500)])
    assert (settled.orders, settled.fills) == ([0, BAD_SIGNATURE], [ORDER_INVALID + 64])


# What is too large, and who is liquidated when.


def test_dividend__above_what_the_price_has_become__is_refused_and_cancelled(exchange: Exchange) -> None:
    """40.00 announced of 100.00; the stock falls to 39.50 before the day."""
    announcement = exchange.schedule(DIVIDEND, price_e8=40 * USD, ahead_s=6 * DAY_S)
    cents = 10_000
    while cents > 3_950:
        cents = max(cents * 91 // 100, 3_950)
        for _ in range(2):
            exchange.venue.wait(60)
            exchange.report(cents * 10**6)
    assert exchange.venue.price().external_ticks == 3_950
    exchange.venue.chain.set_time(announcement.effective_s + LAG_S + 1)
    with refused("action: dividend above price"):
        exchange.call("activate", 1)

    exchange.call("cancel", 1, sender=GUARDIAN)

    refresh(exchange, 3_950)
    assert exchange.venue.price().session == 2


@pytest.mark.parametrize("is_told", [False, True])
def test_halt__account_under_water__is_liquidatable_before_and_after_but_not_within(
    exchange: Exchange, is_told: bool
) -> None:
    """A short of 100 USDC with 6 behind it, its maintenance margin 5 %, and a price of 101.50.

    Within the halt the sequencer may say so by a row (is_told) or keep silent: its last statement ends there.
    """
    venue = exchange.venue
    short = account_of(short_of(exchange, 1_006 * USDC // 100, 10_000))
    announcement = exchange.schedule(DIVIDEND)
    venue.chain.set_time(announcement.effective_s - 120)
    for _ in range(2):
        venue.wait(30)
        exchange.report(107 * USD)
    assert venue.price().mark_ticks == venue.price().external_ticks == 10_700
    with venue.chain.undone():
        venue.chain.call("Liquidations", "flag", short)
    venue.chain.set_time(announcement.effective_s)
    if is_told:
        exchange.report(106 * USD, mark_ticks=10_700)
    for seconds in (0, 60, 240, 1):
        venue.wait(seconds)
        with refused("liquidations: healthy"):
            venue.chain.call("Liquidations", "flag", short)
    exchange.call("activate", 1)
    with refused("liquidations: healthy"):
        venue.chain.call("Liquidations", "flag", short)

    refresh(exchange, 10_600)

    venue.chain.call("Liquidations", "flag", short)
