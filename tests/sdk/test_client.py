"""The public SDK against the real gateway, engine and journal; only the chain is told by hand (tests/gateway/venue.py).

Prices: both markets stand at 10,000 ticks = 100 USD; a lot is 0.0001 share; the taker rate is 400 ppm.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from afterbell.domain.ids import lane_of, seq_of
from afterbell.sdk import (
    ApiRejected,
    AsyncClient,
    Client,
    InsufficientMargin,
    MoneyRefused,
    NotFinalInTime,
    PlacedOrder,
    UnknownOrder,
)
from tests.gateway.test_stream import listening
from tests.gateway.venue import USDC, open_venue
from tests.sdk.support import MAKER, ClockAhead, LosesAnswers, app_transport, build_client, playing


@pytest.mark.anyio
async def test_public_reads__without_a_key__work(tmp_path: Path) -> None:
    async with (
        open_venue(tmp_path) as venue,
        AsyncClient("http://venue", http_transport=app_transport(venue)) as client,
    ):
        assert (await client.venue()).chain_id == 31337
        assert (await client.clock()).venue_time_ms == venue.clock.now_ms()
        markets = await client.markets()
        assert [(market.symbol, market.is_synthetic) for market in markets] == [("AAPL", False), ("TSLA", True)]
        assert (await client.market("AAPL")).external_ticks == 10_000
        assert (await client.book("AAPL")).bids == ()
        assert await client.trades("AAPL") == ()
        assert isinstance(await client.candles("AAPL"), tuple)


@pytest.mark.anyio
async def test_place__decimal_and_integers__mean_the_same(tmp_path: Path) -> None:
    """1.5 shares are 15,000 lots, 99.50 USD are 9,950 ticks."""
    async with playing(tmp_path) as (_, maker, _taker):
        first = await maker.place("AAPL", "BUY", Decimal("1.5"), "99.50")
        second = await maker.place("AAPL", "BUY", 15_000, 9_950)

        for order in (first, second):
            assert (order.size_lots, order.limit_ticks, order.status) == (15_000, 9_950, "OPEN")
        book = await maker.book("AAPL")
        assert [(level.price_ticks, level.size_lots, level.n_orders) for level in book.bids] == [(9_950, 30_000, 2)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("size", "price", "error"),
    [
        (1.5, 9_950, TypeError),
        (15_000, 99.5, TypeError),
        ("0.00001", 9_950, ValueError),
        (15_000, "99.505", ValueError),
        (1 << 48, 9_950, ValueError),
        (-1, 9_950, ValueError),
    ],
)
async def test_place__float_or_broken_atom__is_refused_here(
    tmp_path: Path, size: Any, price: Any, error: type[Exception]
) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        with pytest.raises(error):
            await maker.place("AAPL", "BUY", size, price)
        assert await maker.orders() == ()


@pytest.mark.anyio
async def test_trade__maker_and_taker__both_see_the_fill_become_final(tmp_path: Path) -> None:
    """One share at 100.00 USD: the taker pays ceil(100e6 x 400 / 1e6) = 40,000 quote units, the maker 10,000."""
    async with playing(tmp_path) as (venue, maker, taker):
        resting = await maker.place("AAPL", "SELL", "1", "100.00", post_only=True)
        taken = await taker.place("AAPL", "BUY", "1", "100.50", time_in_force="IOC")

        assert (taken.filled_lots, taken.status) == (10_000, "FILLED")
        with pytest.raises(NotFinalInTime, match="matched"):
            await taker.wait_for_order(taken.order_id, timeout_s=0)
        await venue.mine(await venue.seal())
        await venue.finalise()
        done = await taker.wait_for_order(taken.order_id, timeout_s=5)
        (fill,) = done.fills
        assert (fill.price_ticks, fill.fee_quote, fill.role, fill.status) == (10_000, 40_000, "taker", "final")
        (sold,) = await maker.fills()
        assert (sold.order_id, sold.fee_quote, sold.role) == (resting.order_id, 10_000, "maker")
        (position,) = await taker.positions()
        assert position.size_lots == 10_000
        account = await taker.account()
        assert account.collateral_usdc == Decimal(100_000)
        assert account.n_open_orders == 0


@pytest.mark.anyio
async def test_wait_for_order__cancelled_without_a_fill__ends_at_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        order = await maker.place("AAPL", "BUY", "1", "99.00", time_in_force="IOC")

        with pytest.raises(NotFinalInTime, match="CANCELLED"):
            await maker.wait_for_order(order.order_id, timeout_s=30)


@pytest.mark.anyio
async def test_place__answer_lost__retries_the_same_bytes_and_finds_its_one_order(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders", 2)
        async with build_client(venue, MAKER, losing) as maker:
            order = await maker.place("AAPL", "BUY", "1", "99.00")

            assert len(losing.bodies) == 3
            assert len(set(losing.bodies)) == 1
            assert order.status == "OPEN"
            assert [found.order_id for found in await maker.orders()] == [order.order_id]
        book = await taker.book("AAPL")
        assert [(level.size_lots, level.n_orders) for level in book.bids] == [(10_000, 1)]


@pytest.mark.anyio
async def test_cancel_and_withdraw__answer_lost__count_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(LosesAnswers(app_transport(venue), "/v1/orders/cancel", 1), "/v1/withdrawals", 1)
        async with build_client(venue, MAKER, losing) as maker:
            order = await maker.place("AAPL", "BUY", "1", "99.00")
            assert await maker.cancel(order) == (order.order_id,)
            assert (await maker.withdraw("250")).quote == 250 * USDC
            assert (await maker.account()).collateral_quote == 99_750 * USDC


@pytest.mark.anyio
async def test_place__request_lost__is_sent_again(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        losing = LosesAnswers(app_transport(venue), "/v1/orders", 1, before=True)
        async with build_client(venue, MAKER, losing) as maker:
            assert (await maker.place("AAPL", "BUY", "1", "99.00")).status == "OPEN"


@pytest.mark.anyio
async def test_place__clock_read_wrongly__is_read_again_and_signed_anew(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        maker = build_client(venue, MAKER, ClockAhead(app_transport(venue)))
        async with maker:
            assert (await maker.place("AAPL", "BUY", "1", "99.00")).status == "OPEN"


@pytest.mark.anyio
async def test_place__thirty_at_once__each_rests_in_a_lane_of_its_own(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        orders = await asyncio.gather(*(maker.place("AAPL", "BUY", "0.2", 9_600 + 5 * n) for n in range(30)))

        assert {order.status for order in orders} == {"OPEN"}
        assert {lane_of(order.nonce) for order in orders} == set(range(30))
        assert len(await maker.orders(only_open=True)) == 30


@pytest.mark.anyio
async def test_lanes__order_gone__lane_is_used_again_with_a_higher_seq(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        first = await maker.place("AAPL", "BUY", "1", "99.00")
        assert await maker.cancel(first) == (first.order_id,)
        second = await maker.place("AAPL", "BUY", "1", "99.00")

        assert lane_of(second.nonce) == lane_of(first.nonce) == 0
        assert seq_of(second.nonce) > seq_of(first.nonce)
        with pytest.raises(ApiRejected):
            await maker.cancel(first)


@pytest.mark.anyio
async def test_lanes__new_process_same_key__leaves_resting_orders_alone(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker):
        resting = await maker.place("AAPL", "BUY", "1", "99.00")
        async with build_client(venue, MAKER) as restarted:
            added = await restarted.place("AAPL", "BUY", "1", "98.00")

            assert lane_of(added.nonce) != lane_of(resting.nonce)
            assert len(await restarted.orders(only_open=True)) == 2


@pytest.mark.anyio
async def test_lane_of_ones_own__new_order__replaces_the_one_before(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        await maker.place("AAPL", "BUY", "1", "99.00", lane=7)
        second = await maker.place("AAPL", "BUY", "1", "98.00", lane=7)

        assert [order.order_id for order in await maker.orders(only_open=True)] == [second.order_id]
        assert lane_of((await maker.place("AAPL", "BUY", "1", "97.00")).nonce) != 7


@pytest.mark.anyio
async def test_cancel_all__three_orders__all_leave_and_new_ones_are_taken(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        placed = [await maker.place("AAPL", "BUY", "1", 9_900 - 5 * n) for n in range(3)]

        assert set(await maker.cancel_all()) == {order.order_id for order in placed}
        assert await maker.orders(only_open=True) == ()
        assert (await maker.place("AAPL", "BUY", "1", "99.00")).status == "OPEN"


@pytest.mark.anyio
async def test_refusal__too_little_collateral__is_a_type_that_says_how_much(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        async with build_client(venue, 13) as poor:
            with pytest.raises(InsufficientMargin) as caught:
                await poor.place("AAPL", "BUY", "1", "99.00")

        assert caught.value.code == "INSUFFICIENT_MARGIN"
        assert caught.value.required
        assert caught.value.found


@pytest.mark.anyio
async def test_refusal__unknown_market_and_order__have_their_codes(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        with pytest.raises(ApiRejected) as caught:
            await maker.place("NVDA", "BUY", "1", "99.00")
        assert caught.value.code == "UNKNOWN_MARKET"
        with pytest.raises(UnknownOrder):
            await maker.order("0x" + "5a" * 32)


@pytest.mark.anyio
async def test_refusal__post_only_that_would_take__frees_its_lane(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, taker):
        await maker.place("AAPL", "SELL", "1", "100.00")
        with pytest.raises(ApiRejected) as caught:
            await taker.place("AAPL", "BUY", "1", "100.00", post_only=True)

        assert caught.value.code == "WOULD_TAKE"
        assert lane_of((await taker.place("AAPL", "BUY", "1", "99.00")).nonce) == 0


@pytest.mark.anyio
async def test_withdraw__signed_by_the_owner__is_accepted_and_shown(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        transfer = await maker.withdraw("250")

        assert (transfer.kind, transfer.quote, transfer.counterparty) == ("withdrawal", 250 * USDC, maker.owner)
        assert (await maker.withdrawal(transfer.transfer_id)).quote == 250 * USDC
        assert {shown.kind for shown in await maker.transfers()} == {"deposit", "withdrawal"}
        assert (await maker.account()).collateral_quote == 99_750 * USDC


@pytest.mark.anyio
async def test_transfer__to_another_subaccount__is_taken_and_shown(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        transfer = await maker.transfer(3, "250")
        receiver = f"{maker.owner}{3:020x}"

        assert (transfer.kind, transfer.quote, transfer.other_account) == ("sent", 250 * USDC, receiver)
        assert (await maker.find_transfer(transfer.transfer_id)).quote == 250 * USDC
        assert (await maker.account()).collateral_quote == 99_750 * USDC
        assert {shown.kind for shown in await maker.transfers()} == {"deposit", "sent"}
        with pytest.raises(MoneyRefused) as caught:
            await maker.transfer(0, "1")
        assert caught.value.code == "BAD_RECIPIENT"


@pytest.mark.anyio
async def test_withdraw__quote_units__are_exact(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        assert (await maker.withdraw(quote=250_000_001)).quote == 250_000_001


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"usdc": 1000}, r'write "1000" or Decimal\(1000\) for USDC, quote=1000 for quote units'),
        ({"usdc": 2.5}, "Decimal or text, found float"),
        ({}, "found neither"),
        ({"usdc": "1", "quote": 1}, "found both"),
        ({"quote": "1"}, "quote must be an int"),
    ],
)
async def test_money__not_clearly_usdc_or_quote_units__is_refused_here(
    tmp_path: Path, terms: dict[str, Any], words: str
) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        with pytest.raises(TypeError, match=words):
            await maker.withdraw(**terms)
        with pytest.raises(TypeError, match=words):
            await maker.deposit(**terms)
        assert {shown.kind for shown in await maker.transfers()} == {"deposit"}


@pytest.mark.anyio
async def test_faucet__local_chain__is_asked_for_the_owner(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker):
        await maker.faucet()

        assert ["0x" + address.hex() for address in venue.granted] == [maker.owner]


def _http_url(stream_url: str) -> str:
    return stream_url.replace("ws://", "http://").removesuffix("/v1/stream")


@pytest.mark.anyio
async def test_stream__book_and_account__snapshot_then_deltas_without_gap(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker), listening(venue) as stream_url:
        client = AsyncClient(_http_url(stream_url), private_key=MAKER.to_bytes(32, "big"))
        async with client:
            stream = client.stream("book:AAPL", "account")
            kinds = [(await anext(stream)) for _ in range(2)]
            assert {message.kind for message in kinds} == {"snapshot"}
            last = {message.channel: message.sequence for message in kinds}
            await client.place("AAPL", "BUY", "1", "99.00")
            message = await anext(stream)
            while message.channel != "book:AAPL":
                message = await anext(stream)

            assert message.kind == "delta"
            assert message.previous_sequence == last["book:AAPL"]
            await stream.aclose()


@pytest.mark.anyio
async def test_stream__unknown_channel__is_a_rejection(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker), listening(venue) as stream_url:
        client = AsyncClient(_http_url(stream_url))
        async with client:
            with pytest.raises(ApiRejected):
                await anext(client.stream("book:NVDA"))


@pytest.mark.anyio
async def test_sync_client__same_calls__block_and_answer(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, taker), listening(venue) as stream_url:

        def trade() -> tuple[PlacedOrder, int]:
            with Client(_http_url(stream_url), private_key=MAKER.to_bytes(32, "big")) as client:
                order = client.place("AAPL", "SELL", "1", "100.00")
                assert client.order(order.order_id).status == "OPEN"
                first = next(client.stream("book:AAPL"))
                assert first.kind == "snapshot"
                assert client.account().n_open_orders == 1
                return order, len(client.markets())

        order, n_markets = await asyncio.to_thread(trade)

        assert n_markets == 2
        assert [level.size_lots for level in (await taker.book("AAPL")).asks] == [order.size_lots]


@pytest.mark.anyio
async def test_sync_client__closed_while_a_stream_is_open__ends_it_quietly(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker), listening(venue) as stream_url:

        def follow() -> list[str]:
            with Client(_http_url(stream_url)) as client:
                updates, messages = client.live_book("AAPL"), client.stream("prices")
                kinds = [next(updates).event, next(messages).kind]
            updates.close()
            messages.close()
            client.close()
            return kinds

        assert await asyncio.to_thread(follow) == ["", "snapshot"]
        async with asyncio.timeout(10):
            while venue.hub.n_clients:  # noqa: ASYNC110 - the hub tells nobody when a client leaves
                await asyncio.sleep(0.01)
