"""What becomes of an order whose answer is lost: placed once, certainly not placed, or named; never twice.

The proxies of support.py lose requests and answers and deliver copies twice and late. What really happened is asked of
the engine, past the proxy.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterbell.domain.ids import build_account_id, lane_of
from afterbell.engine import queries
from afterbell.sdk import ApiRejected, ApiUnavailable, OrderNotPlaced, OrderTerms, PlacedOrder, UnknownOrder
from afterbell.signing.keys import address_of
from tests.gateway.venue import Venue
from tests.sdk.support import MAKER, LosesAnswers, Unreliable, app_transport, build_client, playing

ACCOUNT = build_account_id(address_of(MAKER.to_bytes(32, "big")), 0)


def live_ids(venue: Venue) -> set[str]:
    """Ask the engine itself for the maker's live orders."""
    return {"0x" + order.order_id.hex() for order in queries.read_open_orders(venue.services.state(), ACCOUNT)}


@pytest.mark.anyio
async def test_place__answer_lost_for_good__asks_for_the_order_and_finds_it(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders", 1)
        async with build_client(venue, MAKER, losing, n_retries=0) as maker:
            order = await maker.place("AAPL", "BUY", "1", "99.00")

            assert order.status == "OPEN" and live_ids(venue) == {order.order_id}
            assert len(losing.bodies) == 1


@pytest.mark.anyio
async def test_place__request_lost_for_good__nonce_is_killed_and_the_copy_comes_too_late(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders", 1, before=True)
        async with build_client(venue, MAKER, losing, n_retries=0) as maker:
            with pytest.raises(OrderNotPlaced) as caught:
                await maker.place("AAPL", "BUY", "1", "99.00")
            late = await venue.http.post("/v1/orders", json=json.loads(losing.bodies[0]))
            again = await maker.place("AAPL", "BUY", "1", "99.00")

            assert (late.status_code, late.json()["error"]["code"]) == (409, "DEAD_LANE")
            assert caught.value.order_id != again.order_id
            assert live_ids(venue) == {again.order_id} and lane_of(again.nonce) == 0


@pytest.mark.anyio
async def test_place__venue_stays_away__error_names_the_order_and_it_is_resolved_later(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders", 1)
        away = LosesAnswers(losing, "/v1/orders/", 10_000, before=True)
        async with build_client(venue, MAKER, away, n_retries=0, timeout_s=0.3) as maker:
            with pytest.raises(ApiUnavailable) as caught:
                await maker.place("AAPL", "BUY", "1", "99.00")
            assert not isinstance(caught.value, OrderNotPlaced)
            second = asyncio.create_task(maker.place("AAPL", "BUY", "1", "98.00"))
            other = await second
            away.n = 0
            order = await maker.resolve_order(caught.value.order_id)

            assert order.status == "OPEN" and live_ids(venue) == {order.order_id, other.order_id}
            assert lane_of(other.nonce) != lane_of(order.nonce), "the lane of an order in doubt is nobody's"


@pytest.mark.anyio
async def test_place__answer_lost_then_cancelled__lane_is_free_again(tmp_path: Path) -> None:
    """The order is there and its answer lost: asked for, it holds its lane until it is cancelled."""
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders", 1)
        async with build_client(venue, MAKER, losing, n_retries=0) as maker:
            await maker.venue()
            order = await maker.place("AAPL", "BUY", "1", "99.00")
            await maker.cancel(order)

            assert lane_of((await maker.place("AAPL", "BUY", "1", "98.00")).nonce) == lane_of(order.nonce)


@pytest.mark.anyio
async def test_cancel__answer_lost__counts_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders/cancel", 1)
        async with build_client(venue, MAKER, losing) as maker:
            order = await maker.place("AAPL", "BUY", "1", "99.00")

            assert await maker.cancel(order) == (order.order_id,)
            with pytest.raises(UnknownOrder):
                await maker.cancel(order)


@pytest.mark.anyio
async def test_batch__answer_lost__every_order_is_there_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders/batch", 2)
        async with build_client(venue, MAKER, losing) as maker:
            terms = [OrderTerms.limit("AAPL", "BUY", "1", 9_900 - 5 * n) for n in range(5)]
            placed = await maker.place_many(terms)
            assert live_ids(venue) == {order.order_id for order in placed if isinstance(order, PlacedOrder)}
            assert len(live_ids(venue)) == 5
            losing.n = 1
            ended = await maker.cancel_many([order for order in placed if isinstance(order, PlacedOrder)])

            assert len(ended) == 5 and not any(isinstance(outcome, Exception) for outcome in ended)
            assert live_ids(venue) == set()


@pytest.mark.anyio
async def test_batch__answer_lost_for_good__each_order_is_resolved(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders/batch", 1)
        never = LosesAnswers(app_transport(venue), "/v1/orders/batch", 1, before=True)
        terms = [OrderTerms.limit("AAPL", "BUY", "1", 9_900 - 5 * n) for n in range(3)]
        async with build_client(venue, MAKER, losing, n_retries=0) as maker:
            placed = await maker.place_many(terms)
        async with build_client(venue, MAKER, never, n_retries=0) as maker:
            lost = await maker.place_many(terms)

        assert [isinstance(order, PlacedOrder) for order in placed] == [True] * 3
        assert [type(error) for error in lost] == [OrderNotPlaced] * 3
        assert len(live_ids(venue)) == 3


async def trade_through(folder: Path, seed: int, n_orders: int) -> Counter[str]:
    """Place, amend and cancel through a bad network; return what was met. Raises: AssertionError."""
    async with playing(folder) as (venue, _maker, _taker):
        network = Unreliable(app_transport(venue), seed)
        async with build_client(venue, MAKER, network, n_retries=2, timeout_s=2.0) as maker:
            expected: dict[str, int] = {}
            for n in range(n_orders):
                venue.clock.advance(3_000)
                try:
                    order = await maker.place("AAPL", "BUY", 2_000 + 100 * n, 9_900 - 5 * (n % 20))
                except OrderNotPlaced:
                    network.seen["not placed"] += 1
                    continue
                expected[order.order_id] = order.size_lots
                if n % 3 == 1:
                    try:
                        amended = await maker.amend(order, size=order.size_lots + 100)
                    except OrderNotPlaced:
                        network.seen["not amended"] += 1
                        continue
                    del expected[order.order_id]
                    expected[amended.order_id] = amended.size_lots
                    order = amended
                if n % 3 == 2:
                    try:
                        await maker.cancel(order)
                    except (ApiUnavailable, ApiRejected):
                        # Its answers were lost: what became of it is asked past the network.
                        if order.order_id in live_ids(venue):
                            continue
                    del expected[order.order_id]
        found = queries.read_open_orders(venue.services.state(), ACCOUNT)
        assert {"0x" + order.order_id.hex(): order.size_lots for order in found} == expected
        return network.seen


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1 << 30))
def test_orders__any_network__each_is_live_exactly_as_the_client_was_told(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    asyncio.run(trade_through(tmp_path_factory.mktemp("network"), seed, 12))


def test_orders__bad_network_for_long__meets_every_trouble(tmp_path: Path) -> None:
    """A network that never fails proves nothing."""
    seen = asyncio.run(trade_through(tmp_path, 7, 60))

    assert min(seen[trouble] for trouble in ("request lost", "answer lost", "twice", "late")) > 3, seen
