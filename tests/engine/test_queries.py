"""What the engine tells about accounts, books and markets, in numbers worked out by hand."""

from __future__ import annotations

import pytest

from afterbell.domain.commands import HaltMarket
from afterbell.engine.queries import (
    BookLevel,
    find_order,
    read_account,
    read_book,
    read_markets,
    read_open_orders,
)
from tests.engine.support import USDC, Venue, account, open_venue


def long_and_short() -> Venue:
    """Participant 5 (2 USDC) is long 1,000 lots from participant 1 at 10,000; the price then falls to 9,900."""
    venue = open_venue()
    venue.deposit(5, 2 * USDC)
    venue.place(1, "sell", 1_000, 10_000)
    venue.place(5, "buy", 1_000, 10_000)
    venue.seal()
    venue.time_ms += 6_000
    venue.prices(9_900)
    return venue


def test_account__long_under_water__is_valued_at_the_worse_price() -> None:
    """Entry 10,000,000 + fee 4,000, worth 9,900,000: PnL -104,000; margins are 10 % and 5 % of 9.9 USDC."""
    venue = long_and_short()

    summary = read_account(venue.state, account(5), venue.time_s)

    assert (summary.collateral_quote, summary.equity_quote) == (2_000_000, 1_896_000)
    assert summary.unrealised_pnl_quote == -104_000
    assert (summary.initial_margin_quote, summary.maintenance_margin_quote) == (990_000, 495_000)
    assert (summary.order_margin_quote, summary.free_collateral_quote) == (0, 906_000)
    assert summary.withdrawable_quote == 906_000
    assert summary.health_ppm == 3_830_303  # 1,896,000 / 495,000
    (position,) = summary.positions
    assert (position.size_lots, position.entry_quote, position.entry_price_ticks) == (1_000, 10_004_000, 10_004)
    assert (position.mark_ticks, position.valuation_ticks) == (9_900, 9_900)
    # Excess 1,401,000 / (1,000 x 0.95) = 1,474.7 ticks lower: 8,425.3, shown as 8,426.
    assert position.liquidation_price_ticks == 8_426


def test_account__short_in_profit__entry_is_what_was_received() -> None:
    """Received 10,000,000 - fee 1,000; worth 9,900,000 at 9,900: PnL 99,000."""
    venue = long_and_short()

    (position,) = read_account(venue.state, account(1), venue.time_s).positions

    assert (position.size_lots, position.entry_quote, position.unrealised_pnl_quote) == (-1_000, -9_999_000, 99_000)
    assert position.entry_price_ticks == 9_999
    assert position.liquidation_price_ticks is not None
    assert position.liquidation_price_ticks > 10_000_000  # 100,000 USDC against 1,000 lots


def test_account__liquidation_estimate__maintenance_is_just_met_there() -> None:
    """Long 1,000 at p = 9,900, equity 1,896,000: at 8,426 equity 422,000 >= 421,300; at 8,425 421,000 < 421,250."""
    at_estimate, below = (1_896_000 - 1_000 * (9_900 - ticks) for ticks in (8_426, 8_425))

    assert at_estimate >= 8_426 * 1_000 * 5 // 100
    assert below < 8_425 * 1_000 * 5 // 100


def test_account__open_orders__reserve_margin() -> None:
    """A bid of 900 at 9,800 would make the long 1,900: 1,900 x 9,900 x 10 % = 1,881,000; fee ceil(3,528.0)."""
    venue = long_and_short()
    venue.place(5, "buy", 900, 9_800)

    summary = read_account(venue.state, account(5), venue.time_s)

    # The position holds 990,000 of it already.
    assert summary.order_margin_quote == 1_881_000 + 3_528 - 990_000
    assert summary.free_collateral_quote == 1_896_000 - 1_881_000 - 3_528
    assert summary.n_open_orders == 1


def test_account__never_seen__is_unknown_and_zero() -> None:
    venue = open_venue()

    summary = read_account(venue.state, account(1_234), venue.time_s)

    assert not summary.is_known
    assert (summary.collateral_quote, summary.equity_quote, summary.health_ppm) == (0, 0, None)


def test_account__prices_too_old__cannot_withdraw() -> None:
    venue = long_and_short()
    venue.seal()

    summary = read_account(venue.state, account(5), venue.time_s + 61)

    assert summary.is_stale
    assert summary.withdrawable_quote == 0


def test_orders__resting__are_listed_oldest_first() -> None:
    venue = open_venue()
    venue.place(1, "sell", 500, 10_010, lane=2, client_id="a")
    venue.place(1, "buy", 300, 9_990, lane=1, client_id="b")
    venue.place(2, "buy", 200, 10_010)

    first, second = read_open_orders(venue.state, account(1))

    assert (first.client_id, first.size_lots, first.filled_lots, first.remaining_lots) == ("a", 500, 200, 300)
    assert (second.client_id, second.is_buy, second.limit_ticks) == ("b", True, 9_990)
    assert find_order(venue.state, first.order_id) == first
    assert find_order(venue.state, bytes(32)) is None


def test_book__levels__are_summed_best_first_to_the_depth_asked() -> None:
    venue = open_venue()
    for lane, (side, size_lots, ticks) in enumerate(
        [("buy", 200, 9_990), ("buy", 300, 9_995), ("buy", 400, 9_990), ("sell", 500, 10_005), ("sell", 600, 10_001)]
    ):
        venue.place(1, side, size_lots, ticks, lane=lane)

    book = read_book(venue.state, 1, 10)

    assert book.bids == (
        BookLevel(price_ticks=9_995, size_lots=300, n_orders=1),
        BookLevel(price_ticks=9_990, size_lots=600, n_orders=2),
    )
    assert [level.price_ticks for level in book.asks] == [10_001, 10_005]
    assert len(read_book(venue.state, 1, 1).bids) == 1
    with pytest.raises(KeyError):
        read_book(venue.state, 2, 1)


def test_market__now__shows_prices_rules_and_halt() -> None:
    venue = long_and_short()
    venue.place(1, "buy", 300, 9_890)

    (market,) = read_markets(venue.state, venue.time_s)

    assert (market.mark_ticks, market.external_ticks, market.session, market.is_fresh) == (9_900, 9_900, 2, True)
    assert (market.best_bid_ticks, market.best_ask_ticks, market.open_interest_lots) == (9_890, None, 1_000)
    assert (market.initial_margin_ppm, market.taker_fee_ppm, market.is_halted) == (100_000, 400, False)
    venue.send(HaltMarket(market=1, reason="split"))
    (market,) = read_markets(venue.state, venue.time_s)
    assert (market.is_halted, market.halt_reason) == (True, "split")
