"""The trading programs: what makers quote, and that makers and takers trade with each other on the real gateway."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain.ids import lane_of
from afterbell.programs.makers import MarketMaker
from afterbell.programs.quoting import QuoteStyle, build_quotes
from afterbell.programs.takers import MomentumTaker, NoiseTaker
from afterbell.sdk import AsyncClient, Market, MarketRules, generate_key
from tests.gateway.venue import USDC, Venue, open_venue

STYLE = QuoteStyle(
    n_levels=2,
    half_spread_ppm=1_000,
    level_gap_ppm=500,
    level_quote=1_000 * USDC,
    limit_quote=10_000 * USDC,
    skew_ppm=2_000,
)


def _market(external_ticks: int = 10_000, *, is_halted: bool = False, price_step_ticks: int = 1) -> Market:
    return Market(
        market=1,
        symbol="AAPL",
        epoch=1,
        lot_exponent=4,
        ticks_per_usd=100,
        session="REGULAR",
        mark_ticks=external_ticks,
        index_ticks=external_ticks,
        external_ticks=external_ticks,
        external_time_s=0,
        band_low_ticks=external_ticks * 9 // 10,
        band_high_ticks=external_ticks * 11 // 10,
        best_bid_ticks=None,
        best_ask_ticks=None,
        open_interest_lots=0,
        is_synthetic=False,
        is_halted=is_halted,
        halt_reason="",
        rules=MarketRules(
            initial_margin_ppm=200_000,
            maintenance_margin_ppm=100_000,
            band_ppm=100_000,
            max_age_s=60,
            open_interest_cap_lots=10**10,
            size_step_lots=100,
            price_step_ticks=price_step_ticks,
            min_notional_quote=5 * USDC,
            max_fee_ppm=1_000,
            taker_fee_ppm=400,
            maker_fee_ppm=100,
            is_opening_allowed=True,
        ),
    )


def test_quotes__no_inventory__stand_symmetrically_around_the_external_price() -> None:
    """At 100.00 USD: 10 and 15 basis points away, 1,000 USDC a level = 10 shares = 100,000 lots."""
    quotes = build_quotes(_market(), 0, STYLE)

    assert [(quote.is_buy, quote.price_ticks, quote.size_lots) for quote in quotes] == [
        (True, 9_990, 100_000),
        (False, 10_010, 100_000),
        (True, 9_985, 100_000),
        (False, 10_015, 100_000),
    ]


def test_quotes__long_at_half_the_limit__lean_down_by_half_the_skew() -> None:
    """5,000 USDC long: the centre moves down by 10 basis points, to 9,990 ticks."""
    quotes = build_quotes(_market(), 500_000, STYLE)

    assert [quote.price_ticks for quote in quotes] == [9_980, 10_000, 9_975, 10_005]


def test_quotes__at_the_limit__only_the_side_that_reduces() -> None:
    assert {quote.is_buy for quote in build_quotes(_market(), 1_000_000, STYLE)} == {False}
    assert {quote.is_buy for quote in build_quotes(_market(), -1_000_000, STYLE)} == {True}


def test_quotes__halted_or_without_a_price__none() -> None:
    assert build_quotes(_market(is_halted=True), 0, STYLE) == ()
    assert build_quotes(_market(0), 0, STYLE) == ()


@given(st.integers(100, 10**6), st.integers(-2_000_000, 2_000_000), st.integers(1, 20))
def test_quotes__any_price_and_inventory__never_cross_and_stay_on_steps(
    external_ticks: int, position_lots: int, price_step_ticks: int
) -> None:
    quotes = build_quotes(_market(external_ticks, price_step_ticks=price_step_ticks), position_lots, STYLE)

    bids = [quote.price_ticks for quote in quotes if quote.is_buy]
    asks = [quote.price_ticks for quote in quotes if not quote.is_buy]
    assert all(ticks % price_step_ticks == 0 for ticks in bids + asks)
    assert not bids or not asks or max(bids) < min(asks)


def _client(venue: Venue, number: int) -> AsyncClient:
    transport = httpx.ASGITransport(app=venue.app, raise_app_exceptions=True)
    return AsyncClient("http://venue", key=number.to_bytes(32, "big"), http_transport=transport)


@pytest.mark.anyio
async def test_maker__price_moves__quotes_follow_in_the_same_lanes(tmp_path: Path) -> None:
    async with open_venue(tmp_path) as venue, asyncio.timeout(60):
        await venue.participant(21, 1_000_000 * USDC)
        async with _client(venue, 21) as client:
            maker = MarketMaker("maker", client, STYLE, target_quote=0)
            await maker.trade_once()
            before = await client.orders(only_open=True)
            await maker.trade_once()
            unchanged = await client.orders(only_open=True)
            await venue.adopt_prices(10_100, 10_000)
            await maker.trade_once()
            after = await client.orders(only_open=True)

        assert len(before) == 2 * 4
        assert {order.order_id for order in unchanged} == {order.order_id for order in before}
        assert {lane_of(order.nonce) for order in after} == {lane_of(order.nonce) for order in before}
        # 101.00 USD -+ 10.1 and 15.15 ticks, bids down and asks up to the step of 5.
        assert sorted(order.limit_ticks for order in after if order.market == 1) == [10_080, 10_085, 10_115, 10_120]


@pytest.mark.anyio
async def test_maker__with_a_session_key__links_it_once_and_quotes_with_it(tmp_path: Path) -> None:
    async with open_venue(tmp_path) as venue, asyncio.timeout(120):
        await venue.participant(21, 1_000_000 * USDC)
        session = generate_key()
        transport = httpx.ASGITransport(app=venue.app, raise_app_exceptions=True)
        async with _client(venue, 21) as owner:
            client = AsyncClient("http://venue", key=session.private_key, owner=owner.owner, http_transport=transport)
            maker = MarketMaker("maker", client, STYLE, target_quote=0, owner_client=owner)
            await maker.trade_once()
            await maker.trade_once()
            orders = await owner.orders(only_open=True)
            keys = await owner.keys()
            await maker.close()

    assert len(orders) == 2 * 4 and {order.signer for order in orders} == {session.address}
    assert [(key.key, key.max_notional_quote, key.trade_only) for key in keys] == [
        (session.address, 2_000 * USDC, True)
    ]


@pytest.mark.anyio
async def test_maker__quote_shrinks__is_amended_and_keeps_its_place(tmp_path: Path) -> None:
    """At 100.00 a level of 1,000 USDC is 100,000 lots; a style of 600 USDC wants 60,000 at the same prices."""
    smaller = replace(STYLE, level_quote=600 * USDC)
    async with open_venue(tmp_path) as venue, asyncio.timeout(120):
        await venue.participant(21, 1_000_000 * USDC)
        async with _client(venue, 21) as client:
            await MarketMaker("maker", client, STYLE, target_quote=0).trade_once()
            before = {order.order_id for order in await client.orders(only_open=True)}
            await MarketMaker("maker", client, smaller, target_quote=0).trade_once()
            after = await client.orders(only_open=True)

    assert {order.amends for order in after} == before
    assert {order.remaining_lots for order in after} == {60_000}


@pytest.mark.anyio
async def test_takers__against_a_maker__trade(tmp_path: Path) -> None:
    async with open_venue(tmp_path) as venue, asyncio.timeout(60):
        for number in (21, 22, 23):
            await venue.participant(number, 1_000_000 * USDC)
        async with _client(venue, 21) as quoting, _client(venue, 22) as noisy, _client(venue, 23) as following:
            maker = MarketMaker("maker", quoting, STYLE, target_quote=0)
            noise = NoiseTaker(
                "noise",
                noisy,
                seed="test",
                target_quote=0,
                order_quote=500 * USDC,
                limit_quote=5_000 * USDC,
                interval_s=1.0,
            )
            momentum = MomentumTaker(
                "momentum",
                following,
                seed="test",
                target_quote=0,
                order_quote=500 * USDC,
                limit_quote=5_000 * USDC,
                interval_s=1.0,
            )
            await maker.trade_once()
            await noise.trade_once()
            await momentum.trade_once()
            assert len(await noisy.fills()) == 1
            assert await following.fills() == ()
            await venue.adopt_prices(10_100, 10_000)
            await maker.trade_once()
            await momentum.trade_once()

            (fill,) = await following.fills()
            assert (fill.symbol, fill.is_buy) == ("AAPL", True)
