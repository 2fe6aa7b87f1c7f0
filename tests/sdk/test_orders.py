"""Every kind of order through the SDK, on the real gateway and engine."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from afterbell.domain.ids import lane_of, seq_of
from afterbell.sdk import (
    ApiRejected,
    InsufficientMargin,
    OrderRefused,
    OrderTerms,
    PlacedOrder,
    Superseded,
    Trigger,
    UnknownOrder,
)
from tests.gateway.venue import USDC
from tests.sdk.support import build_client, playing


@pytest.mark.anyio
async def test_market_order__worst_price__fills_what_crosses_and_gives_up_the_rest(tmp_path: Path) -> None:
    """Asks: 1 share at 100.00, 1 at 100.50, 1 at 101.00. Three shares at 100.50 or better: two are bought."""
    async with playing(tmp_path) as (_, maker, taker):
        for price in ("100.00", "100.50", "101.00"):
            await maker.limit("AAPL", "SELL", "1", price)
        order = await taker.market_order("AAPL", "BUY", "3", worst_price="100.50")

        assert (order.time_in_force, order.limit_ticks, order.filled_lots) == ("IOC", 10_050, 20_000)
        assert (order.status, order.reason) == ("CANCELLED", "IOC")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("side", "slippage", "limit_ticks"),
    [
        ("BUY", 5_000, 10_050),  # 100.00 + 0.5 %
        ("SELL", "0.005", 9_950),
        ("BUY", Decimal("0.00037"), 10_000),  # 10,003.7 ticks: down to the step of 5
        ("SELL", Decimal("0.00037"), 10_000),  # 9,996.3 ticks: up to the step of 5
        ("BUY", "0.2", 10_500),  # the band ends at 5 %
        ("SELL", 200_000, 9_500),
    ],
)
async def test_market_order__slippage__is_a_limit_never_worse_than_asked(
    tmp_path: Path, side: Any, slippage: Any, limit_ticks: int
) -> None:
    async with playing(tmp_path) as (_, _maker, taker):
        order = await taker.market_order("AAPL", side, "1", max_slippage=slippage)

        assert (order.limit_ticks, order.status) == (limit_ticks, "CANCELLED")


@pytest.mark.anyio
async def test_market_order__float_or_no_bound__is_refused_here(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, _maker, taker):
        for terms in ({}, {"max_slippage": 0.01}, {"worst_price": 100.5}, {"worst_price": "1", "max_slippage": 1}):
            with pytest.raises(TypeError):
                await taker.market_order("AAPL", "BUY", "1", **terms)
        with pytest.raises(ValueError, match="between 0 and 1"):
            await taker.market_order("AAPL", "BUY", "1", max_slippage="1.5")
        assert await taker.orders() == ()


@pytest.mark.anyio
async def test_fok__not_all_there__ends_without_a_fill(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, taker):
        await maker.limit("AAPL", "SELL", "1", "100.00")
        lacking = await taker.fok("AAPL", "BUY", "2", "100.00")
        whole = await taker.fok("AAPL", "BUY", "1", "100.00")

        assert (lacking.status, lacking.reason, lacking.filled_lots) == ("CANCELLED", "CANNOT_FILL", 0)
        assert (whole.status, whole.filled_lots) == ("FILLED", 10_000)


@pytest.mark.anyio
async def test_gtt__until_a_venue_second__expires_then(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker):
        order = await maker.gtt("AAPL", "BUY", "1", "99.00", expiry_s=venue.now_s + 30)
        assert (order.time_in_force, order.expiry_s) == ("GTT", venue.now_s + 30)
        await venue.adopt_prices(10_000, 10_000)  # a minute passes
        await maker.limit("AAPL", "BUY", "1", "98.00")

        assert ((await maker.order(order.order_id)).status, (await maker.order(order.order_id)).reason) == (
            "CANCELLED",
            "EXPIRED",
        )
        with pytest.raises(TypeError, match="exactly one of expiry_s and lifetime_s"):
            await maker.gtt("AAPL", "BUY", "1", "99.00")


@pytest.mark.anyio
async def test_stop__mark_falls_to_it__sells_what_it_protects(tmp_path: Path) -> None:
    """Long 1 share from 100.00; the stop at 99.00 waits, acts at 98.95 and takes the bid at 98.50."""
    async with playing(tmp_path) as (venue, maker, taker):
        await maker.limit("AAPL", "SELL", "1", "100.00")
        await taker.market_order("AAPL", "BUY", "1", worst_price="100.00")
        stop = await taker.stop("AAPL", "SELL", "1", "99.00", max_slippage="0.02")
        await maker.limit("AAPL", "BUY", "1", "98.50")
        assert (stop.status, stop.trigger_ticks, stop.trigger_kind, stop.reduce_only) == ("WAITING", 9_900, 2, True)
        assert stop.limit_ticks == 9_705, "2 % below 99.00 is 97.02, up to the step of 0.05"
        assert [order.order_id for order in await taker.orders(only_open=True)] == [stop.order_id]
        for ticks in (9_950, 9_895):
            await venue.adopt_prices(ticks, 10_000)
            await venue.adopt_prices(ticks, 10_000)

        done = await taker.order(stop.order_id)
        assert (done.status, done.filled_lots, done.fills[0].price_ticks) == ("FILLED", 10_000, 9_850)
        assert await taker.positions() == ()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("call", "side", "on", "trigger_kind"),
    [
        ("stop", "BUY", "mark", 1),
        ("stop", "SELL", "index", 4),
        ("take_profit", "SELL", "mark", 1),
        ("take_profit", "BUY", "index", 4),
    ],
)
async def test_triggers__side_and_price_kind__decide_the_direction(
    tmp_path: Path, call: str, side: Any, on: Any, trigger_kind: int
) -> None:
    """Kinds: 1 mark at or above, 2 mark at or below, 3 index at or above, 4 index at or below."""
    async with playing(tmp_path) as (_, maker, _taker):
        trigger = "101.00" if trigger_kind in (1, 3) else "99.00"
        place = maker.stop if call == "stop" else maker.take_profit
        order = await place("AAPL", side, "1", trigger, price=trigger, on=on, reduce_only=False)

        assert (order.status, order.trigger_kind, order.time_in_force) == ("WAITING", trigger_kind, "GTC")


@pytest.mark.anyio
async def test_place__trigger_of_ones_own__waits(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        trigger = Trigger(price=10_100, is_above=True, kind="index")
        order = await maker.place("AAPL", "BUY", "1", "101.00", trigger=trigger)

        assert (order.status, order.trigger_kind, order.trigger_ticks) == ("WAITING", 3, 10_100)


@pytest.mark.anyio
async def test_oco__one_fills__the_other_ends(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, taker):
        await maker.limit("AAPL", "SELL", "1", "100.00")
        await taker.market_order("AAPL", "BUY", "1", worst_price="100.00")
        stop_loss, profit = await taker.oco(
            OrderTerms.stop("AAPL", "SELL", "1", "99.00", max_slippage="0.02"),
            OrderTerms.limit("AAPL", "SELL", "1", "102.00", reduce_only=True),
        )
        assert (stop_loss.nonce, stop_loss.status, profit.status) == (profit.nonce, "WAITING", "OPEN")
        await maker.market_order("AAPL", "BUY", "1", worst_price="102.00")

        ended = await taker.order(stop_loss.order_id)
        assert ((await taker.order(profit.order_id)).status, ended.status, ended.reason) == (
            "FILLED",
            "CANCELLED",
            "OCO",
        )
        after = await taker.limit("AAPL", "BUY", "1", "99.00")
        assert lane_of(after.nonce) == 0 or lane_of(after.nonce) == lane_of(profit.nonce)
        assert venue.now_s


@pytest.mark.anyio
async def test_oco__second_is_refused__first_is_taken_back(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        with pytest.raises(OrderRefused) as caught:
            await maker.oco(
                OrderTerms.limit("AAPL", "BUY", "1", "99.00"), OrderTerms.limit("AAPL", "BUY", "1", "99.01")
            )

        assert caught.value.reason == "OFF_STEP"
        assert await maker.orders(only_open=True) == ()
        assert lane_of((await maker.limit("AAPL", "BUY", "1", "99.00")).nonce) == 0
        with pytest.raises(ValueError, match="one market"):
            await maker.oco(
                OrderTerms.limit("AAPL", "BUY", "1", "99.00"), OrderTerms.limit("TSLA", "BUY", "1", "99.00")
            )


@pytest.mark.anyio
async def test_oco__cancel_of_one__ends_both(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        first, second = await maker.oco(
            OrderTerms.limit("AAPL", "BUY", "1", "99.00"), OrderTerms.limit("AAPL", "SELL", "1", "101.00")
        )

        assert set(await maker.cancel(second)) == {first.order_id, second.order_id}


@pytest.mark.anyio
async def test_amend__size_down_and_up__is_one_order_in_the_same_lane(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, taker):
        ahead = await maker.limit("AAPL", "SELL", "2", "100.00")
        behind = await taker.limit("AAPL", "SELL", "2", "100.00")
        smaller = await maker.amend(ahead, size="1")
        assert (lane_of(smaller.nonce), smaller.remaining_lots, smaller.amends) == (
            lane_of(ahead.nonce),
            10_000,
            ahead.order_id,
        )
        moved = await maker.amend(smaller.order_id, price="100.05")

        assert (moved.limit_ticks, moved.remaining_lots, moved.status) == (10_005, 10_000, "OPEN")
        assert [order.order_id for order in await maker.orders(only_open=True)] == [moved.order_id]
        assert (await maker.order(ahead.order_id)).reason == "AMENDED"
        assert behind.status == "OPEN"


@pytest.mark.anyio
async def test_amend__filled_meanwhile__is_refused_and_the_order_stands(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, taker):
        resting = await maker.limit("AAPL", "SELL", "2", "100.00")
        await taker.market_order("AAPL", "BUY", "1", worst_price="100.00")
        with pytest.raises(Superseded) as caught:
            await maker.amend(resting, size="2")
        now = await maker.order(resting.order_id)
        amended = await maker.amend(now, price="100.10")

        assert caught.value.reason == "FILLED_MEANWHILE"
        assert (now.status, now.remaining_lots, amended.remaining_lots) == ("OPEN", 10_000, 10_000)
        await maker.cancel(amended)
        with pytest.raises(UnknownOrder):
            await maker.amend(amended, size="1")


@pytest.mark.anyio
async def test_amend__waiting_stop__keeps_its_trigger(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        stop = await maker.stop("AAPL", "BUY", "1", "101.00", worst_price="103.00", reduce_only=False)
        amended = await maker.amend(stop, price="102.00")

        assert (amended.status, amended.trigger_ticks, amended.trigger_kind, amended.limit_ticks) == (
            "WAITING",
            10_100,
            1,
            10_200,
        )


@pytest.mark.anyio
async def test_place_many__twenty_five__in_order_and_a_refusal_stands_alone(tmp_path: Path) -> None:
    """25 orders go out in two requests, 20 and 5; the one off the step is refused, its lane is free again."""
    async with playing(tmp_path) as (_, maker, _taker):
        terms = [OrderTerms.limit("AAPL", "BUY", "0.2", 9_700 - 5 * n) for n in range(25)]
        terms[7] = OrderTerms.limit("AAPL", "BUY", "0.2", 9_701)
        outcomes = await maker.place_many(terms)

        refusal = outcomes[7]
        assert isinstance(refusal, OrderRefused) and refusal.reason == "OFF_STEP" and refusal.required
        placed = [outcome for outcome in outcomes if isinstance(outcome, PlacedOrder)]
        assert [order.limit_ticks for order in placed] == [9_700 - 5 * n for n in range(25) if n != 7]
        assert lane_of((await maker.limit("AAPL", "BUY", "0.2", "96.00")).nonce) == 7
        cancelled = await maker.cancel_many([*placed[:3], placed[3].order_id, placed[0]])
        assert cancelled[:4] == tuple((order.order_id,) for order in placed[:4])
        assert isinstance(cancelled[4], UnknownOrder)


@pytest.mark.anyio
async def test_place_many__lanes_of_ones_own__replace_in_one_step(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        first = await maker.place_many([OrderTerms.limit("AAPL", "BUY", "1", 9_900 - 5 * n, lane=n) for n in (3, 4)])
        second = await maker.place_many([OrderTerms.limit("AAPL", "BUY", "1", 9_800 - 5 * n, lane=n) for n in (3, 4)])

        live = {order.order_id for order in await maker.orders(only_open=True)}
        assert live == {order.order_id for order in second if isinstance(order, PlacedOrder)}
        assert len(first) == len(live) == 2
        with pytest.raises(ValueError, match="same lane"):
            await maker.place_many([OrderTerms.limit("AAPL", "BUY", "1", 9_900, lane=3)] * 2)


@pytest.mark.anyio
async def test_client_id__asked_for__names_one_order(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        order = await maker.limit("AAPL", "BUY", "1", "99.00", client_id="quote-1")
        assert (await maker.order_by_client_id("quote-1")).order_id == order.order_id
        with pytest.raises(Superseded) as caught:
            await maker.limit("AAPL", "BUY", "1", "98.00", client_id="quote-1")

        assert caught.value.reason == "DUPLICATE_CLIENT_ID"
        with pytest.raises(UnknownOrder):
            await maker.order_by_client_id("quote-2")


@pytest.mark.anyio
async def test_history__many_orders__iterators_walk_all_pages(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, taker):
        for n in range(7):
            await maker.limit("AAPL", "SELL", "0.2", 10_000 + 5 * n)
        await taker.market_order("AAPL", "BUY", "1.4", worst_price="101.00")
        first = await maker.orders(limit=3)
        rest = await maker.orders(limit=3, market="AAPL")
        everything = [order.order_id async for order in maker.iterate_orders()]
        fills = [fill.fill_id async for fill in taker.iterate_fills()]

        assert [order.order_id for order in first] == everything[:3] == [order.order_id for order in rest]
        assert len(set(everything)) == 7 and len(set(fills)) == 7 and fills == sorted(fills, reverse=True)
        assert [transfer.kind async for transfer in maker.iterate_transfers()] == ["deposit"]
        assert [payment async for payment in maker.iterate_funding()] == []
        assert [order async for order in maker.iterate_orders(only_open=True)] == []


@pytest.mark.anyio
async def test_refusal__is_a_type__with_reason_required_found_action(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        await venue.participant(13, 1_000 * USDC)
        async with build_client(venue, 13) as poor:
            with pytest.raises(InsufficientMargin) as caught:
                await poor.limit("AAPL", "BUY", "900", "100.00")

        refusal = caught.value
        assert isinstance(refusal, ApiRejected)
        assert (refusal.reason, refusal.code) == ("INSUFFICIENT_MARGIN", "INSUFFICIENT_MARGIN")
        assert refusal.required and refusal.found and refusal.action and refusal.http_status == 422


@pytest.mark.anyio
async def test_seqs__of_one_lane__rise(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        orders = [await maker.limit("AAPL", "BUY", "1", 9_900 - 5 * n, lane=2) for n in range(4)]

        assert sorted(seq_of(order.nonce) for order in orders) == [seq_of(order.nonce) for order in orders]
