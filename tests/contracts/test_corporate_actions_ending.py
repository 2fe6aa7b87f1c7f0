"""Markets that end for cash or become another company: every grouping pays alike, ids stay, feeds and names follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from afterbell.domain.corporate_actions import ActionKind
from afterbell.domain.order import Withdraw
from afterbell.signing.keys import SigningKey
from tests.contracts.corporate import DAY_S, GUARDIAN, LAG_S, Exchange, fill_book
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, account_of, refused
from tests.support.chain import GOVERNOR, OUTSIDER

CASH_SETTLEMENT, STOCK_MERGER, RENAME, STEP = (
    ActionKind.CASH_SETTLEMENT, ActionKind.STOCK_MERGER, ActionKind.RENAME, ActionKind.STEP,
)  # fmt: skip
USD = 10**8
CORPORATE_ACTION = 7
OUTSIDER_ACCOUNT = 1 << 80 | 7
STALE = 45


@pytest.fixture(scope="module")
def opened() -> Exchange:
    return Exchange.open()


@pytest.fixture
def exchange(opened: Exchange) -> Iterator[Exchange]:
    with opened.venue.chain.undone():
        yield opened


def settle_all(exchange: Exchange, accounts: Sequence[int], random: Random) -> int:
    """Settle random groups until no position is left; return how many calls it took."""
    n_calls = 0
    while any(exchange.venue.position(account).size_lots for account in accounts):
        group = sorted(random.sample(list(accounts), random.randrange(2, len(accounts) + 1)))
        sizes = [exchange.venue.position(account).size_lots for account in group]
        if min(sizes) < 0 < max(sizes):
            exchange.call("settle_positions", 1, group)
            exchange.venue.check_books()
            n_calls += 1
        else:
            with refused("action: nothing cancels"):
                exchange.call("settle_positions", 1, group)
    return n_calls


def collaterals(exchange: Exchange, accounts: Sequence[int]) -> list[int]:
    return [exchange.venue.account(account).collateral_quote for account in accounts]


def end_book(exchange: Exchange, seed: int, **changes: Any) -> tuple[list[int], list[int]]:
    """Fill a book, end its market, and return (accounts, what each is owed: collateral and its ledger at the end)."""
    accounts = fill_book(exchange, Random(seed))
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT, **changes))
    final_ticks = exchange.venue.price().external_ticks
    index, owed = exchange.index(), []
    for account in accounts:
        position = exchange.venue.position(account)
        growth = index.long_index_e12 if position.size_lots > 0 else index.short_index_e12
        growth -= position.index_snapshot_e12
        pending = -(-position.size_lots * growth // 10**12) if position.size_lots else 0
        ledger = position.size_lots * final_ticks - position.entry_quote - pending
        owed.append(exchange.venue.account(account).collateral_quote + ledger)
    return accounts, owed


# Cash.


@pytest.mark.parametrize("seed", range(6))
def test_cash_settlement__any_grouping__pays_everybody_the_same(exchange: Exchange, seed: int) -> None:
    accounts, owed = end_book(exchange, seed)

    results = []
    for order in range(4):
        with exchange.venue.chain.undone():
            settle_all(exchange, accounts, Random(order))
            results.append(collaterals(exchange, accounts))
            totals = exchange.venue.totals()
            assert (totals.open_interest_lots, totals.net_entry_quote) == (0, 0)
            # dust alone: each touch rounded up by less than a unit
            assert 0 <= totals.pot_quote < 100
            assert all(not any(exchange.venue.account(account).open_markets) for account in accounts)
    assert results == [owed] * 4


def test_cash_settlement__activated__every_price_is_the_final_one_and_nothing_opens(exchange: Exchange) -> None:
    venue = exchange.venue
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT, price_e8=109_999 * USD // 1_000))

    # 109.999 rounds to 110.00
    price = venue.price()
    assert (price.mark_ticks, price.index_ticks, price.external_ticks) == (11_000, 11_000, 11_000)
    assert (price.session, price.epoch, price.session_minutes) == (CORPORATE_ACTION, 2, 0)
    venue.wait(10)
    exchange.report(130 * USD, mark_ticks=13_000)
    price = venue.price()
    assert (price.mark_ticks, price.external_ticks, price.session) == (11_000, 11_000, CORPORATE_ACTION)
    terms = {"epoch": 2, "limit_ticks": 11_000}
    settled = venue.settle(venue.pair(maker=terms, taker=terms), [(0, 1, 1_000)])
    assert settled.fills == [STALE]
    # it never reopens, and nothing else is announced for it
    for sender in (OUTSIDER, GOVERNOR):
        with refused("action: kind"):
            exchange.call("reopen", 1, sender=sender)
    with refused("action: another stands"):
        exchange.announce(STEP)


def test_cash_settlement__no_price_named__is_the_last_external_one(exchange: Exchange) -> None:
    venue = exchange.venue
    announcement = exchange.schedule(CASH_SETTLEMENT, price_e8=0)
    venue.wait(100)
    exchange.report(97 * USD)

    events = exchange.activate_after(announcement)

    assert events[-1].args["ticks"] == 9_700
    assert venue.price().mark_ticks == venue.price().external_ticks == 9_700


def test_cash_settlement__users__are_paid_out_of_the_vault(exchange: Exchange) -> None:
    """1,000 lots at 100.00 end at 101.00: 0.10 USDC from the short to the long; both take everything out."""
    venue = exchange.venue
    venue.trade()
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT))
    long, short = account_of(TAKER), account_of(MAKER)

    exchange.call("settle_positions", 1, sorted([long, short]))

    owed = {long: 10_000 * USDC + 100_000 - 4_500, short: 10_000 * USDC - 100_000 - 1_000}
    for key in (TAKER, MAKER):
        assert venue.account(account_of(key)).collateral_quote == owed[account_of(key)]
        row = venue.withdraw(key, owed[account_of(key)])
        assert venue.settle(operations=[row]).operations == [0]
        recipient = "0x" + key.address.hex()
        venue.chain.call("Vault", "claim", recipient)
        assert venue.balance_of(recipient) == owed[account_of(key)]
    assert venue.totals().pot_quote == 0


def test_settle_positions__wrong_market_or_time_or_order__refused(exchange: Exchange) -> None:
    venue = exchange.venue
    venue.trade()
    accounts = sorted([account_of(TAKER), account_of(MAKER)])
    with refused("action: kind"):
        exchange.call("settle_positions", 1, accounts)
    announcement = exchange.schedule(CASH_SETTLEMENT)
    with refused("action: not activated"):
        exchange.call("settle_positions", 1, accounts)
    exchange.activate_after(announcement)
    for group in ([], accounts[:1], [OUTSIDER_ACCOUNT]):
        with refused("action: nothing cancels"):
            exchange.call("settle_positions", 1, group)
    with refused("deltas: account order"):
        exchange.call("settle_positions", 1, accounts[::-1])

    # strangers among them are passed over
    exchange.call("settle_positions", 1, sorted([*accounts, OUTSIDER_ACCOUNT]))

    assert venue.totals().open_interest_lots == 0


def test_settle_positions__account_named_twice__is_closed_once_or_refused(exchange: Exchange) -> None:
    """The short has twice the lots of the long: naming the long twice must not close more than it has."""
    venue = exchange.venue
    venue.chain.deposit(account_of(THIRD), 1_000 * USDC)
    venue.trade()
    orders = [venue.order(MAKER, is_buy=False), venue.order(THIRD, is_buy=True)]
    assert venue.settle(orders, [(0, 1, 1_000)]).is_clean
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT))
    short, long = account_of(MAKER), account_of(TAKER)

    with refused("deltas: account order"):
        exchange.call("settle_positions", 1, sorted([short, long, long]))
    exchange.call("settle_positions", 1, sorted([short, short, long]))

    assert venue.position(long).size_lots == 0
    assert venue.position(short).size_lots == -1_000


def test_settle_positions__thirty_four_accounts__fit_one_call(exchange: Exchange) -> None:
    venue = exchange.venue
    keys = [SigningKey(bytes([0x61 + number]) * 32) for number in range(34)]
    for key in keys:
        venue.chain.deposit(account_of(key), 100 * USDC)
    for buyer, seller in zip(keys[:17], keys[17:], strict=True):
        orders = [venue.order(seller, is_buy=False), venue.order(buyer, is_buy=True)]
        assert venue.settle(orders, [(0, 1, 1_000)]).is_clean
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT))

    exchange.call("settle_positions", 1, sorted(account_of(key) for key in keys))

    assert venue.totals().open_interest_lots == 0
    paid = [venue.account(account_of(key)).collateral_quote for key in keys]
    assert paid == [100 * USDC + 100_000 - 4_500] * 17 + [100 * USDC - 100_000 - 1_000] * 17


def test_settle_positions__account_that_cannot_pay__goes_to_insurance(exchange: Exchange) -> None:
    """A short of 100 USDC with 11 behind it, taken over at 115: 15 owed, 4 missing. Insurance has them."""
    venue = exchange.venue
    short = SigningKey(b"\x51" * 32)
    venue.chain.deposit(account_of(short), 11 * USDC)
    orders = [
        venue.order(MAKER, is_buy=True, fees=(0, 0), size_lots=10_000),
        venue.order(short, is_buy=False, fees=(0, 0), size_lots=10_000),
    ]
    assert venue.settle(orders, [(0, 1, 10_000)]).is_clean
    insurance = venue.chain.call("Liquidations", "insurance_account", 1)
    venue.chain.deposit(insurance, 1_000 * USDC)
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT, price_e8=115 * USD, ahead_s=8 * DAY_S))

    exchange.call("settle_positions", 1, sorted([account_of(short), account_of(MAKER)]))

    assert venue.account(account_of(short)).collateral_quote == 0
    assert venue.account(account_of(MAKER)).collateral_quote == 10_015 * USDC
    assert venue.account(insurance).collateral_quote == 996 * USDC
    venue.check_books()


# Another company.


def test_stock_merger__three_for_two__shares_sources_and_name_follow_and_no_equity_moves(exchange: Exchange) -> None:
    """Two shares at 100.00 become three of the acquirer at 66.67."""
    venue = exchange.venue
    venue.trade()
    source = venue.chain.addresses["SignedPriceSource"]
    other = venue.chain.create("SignedPriceSource", GOVERNOR, [OUTSIDER], 1)
    venue.chain.addresses["SignedPriceSource"] = source
    venue.chain.call("PriceOracle", "set_source", 9, other, sender=GOVERNOR)
    announcement = exchange.schedule(STOCK_MERGER, source_id=9, second_source_id=0)
    equities, price = exchange.equities(), venue.price()

    exchange.activate_after(announcement)

    assert exchange.equities() == equities
    assert venue.price() == price.__class__.unpack(price.pack() + (1 << 208))
    assert exchange.multiplier() == (3, 2)
    assert venue.chain.call("MarketRegistry", "symbols", 1) == "OTHER"
    assert exchange.call("halt_from", 1) == announcement.effective_s
    with refused("action: no report"):
        exchange.call("reopen", 1)
    # the old source is the second one now: its word alone reopens nothing
    venue.wait(1)
    exchange.report(6_667 * USD // 100, mark_ticks=10_000)
    with refused("action: no report"):
        exchange.call("reopen", 1)


def test_stock_merger__same_source__reopens_when_the_acquirers_price_agrees(exchange: Exchange) -> None:
    exchange.activate_after(exchange.schedule(STOCK_MERGER))
    exchange.venue.wait(1)
    exchange.report(100 * USD)
    with refused("action: discontinuous"):
        exchange.call("reopen", 1)
    exchange.venue.wait(1)
    exchange.report(6_667 * USD // 100, mark_ticks=10_000)

    exchange.call("reopen", 1)

    exchange.venue.wait(1)
    exchange.report(6_667 * USD // 100, mark_ticks=10_000)
    # 66.67 x 3 / 2, rounded down
    assert exchange.venue.price().external_ticks == 10_000


def test_rename__ticker_changes__market_id_positions_and_prices_stay(exchange: Exchange) -> None:
    venue = exchange.venue
    venue.trade()
    sizes = [venue.position(account_of(key)) for key in (MAKER, TAKER)]
    equities = exchange.equities()
    announcement = exchange.schedule(RENAME)

    exchange.activate_after(announcement)

    assert venue.chain.call("MarketRegistry", "symbols", 1) == "NEW"
    assert [venue.position(account_of(key)) for key in (MAKER, TAKER)] == sizes
    assert exchange.equities() == equities
    assert (exchange.multiplier(), venue.price().epoch) == ((1, 1), 2)
    venue.wait(1)
    exchange.report(101 * USD)
    exchange.call("reopen", 1)
    venue.wait(1)
    exchange.report(101 * USD)
    assert (venue.price().session, venue.price().external_ticks) == (2, 10_100)


def test_rename__source_that_does_not_exist__is_refused_and_cancelled(exchange: Exchange) -> None:
    announcement = exchange.schedule(RENAME, source_id=77)
    exchange.venue.chain.set_time(announcement.effective_s + LAG_S + 1)
    with refused("source: unknown"):
        exchange.call("activate", 1)

    exchange.call("cancel", 1, sender=GUARDIAN)

    exchange.report(100 * USD)
    exchange.call("reopen", 1)
    assert exchange.call("halt_from", 1) == 0
    assert exchange.venue.chain.call("MarketRegistry", "symbols", 1) == "STOCK1"


def test_step__activated__reopens_at_once_with_the_next_epoch(exchange: Exchange) -> None:
    venue = exchange.venue
    announcement = exchange.announce(STEP)
    venue.chain.set_time(announcement.effective_s + 1)
    exchange.report(100 * USD)
    assert venue.price().session == CORPORATE_ACTION

    exchange.activate_after(announcement)

    assert exchange.call("halt_from", 1) == 0
    venue.wait(1)
    exchange.report(100 * USD)
    assert (venue.price().session, venue.price().epoch) == (2, 2)
    assert venue.trade(maker={"epoch": 2}, taker={"epoch": 2}).is_clean


def test_withdrawal__position_in_an_ended_market__waits_until_it_is_settled(exchange: Exchange) -> None:
    venue = exchange.venue
    venue.trade()
    exchange.activate_after(exchange.schedule(CASH_SETTLEMENT))

    def withdraw() -> int:
        venue.seq += 1
        message = Withdraw(
            owner=TAKER.address, quote=USDC, recipient=TAKER.address, expiry_s=exchange.now_s + 60, seq=venue.seq
        )
        (code,) = venue.settle(operations=[venue.operation(message)]).operations
        return code

    assert withdraw() == STALE
    exchange.call("settle_positions", 1, sorted([account_of(TAKER), account_of(MAKER)]))
    assert withdraw() == 0
