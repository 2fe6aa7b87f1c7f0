"""The stream over a real socket: snapshot, gap-free deltas, slow clients dropped, nonsense answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from afterbell.gateway.services import GatewayLimits
from tests.gateway.test_reads import trade
from tests.gateway.venue import USDC, Venue

Play = Callable[..., Any]
GOLDEN_CHECKSUM = 442_850_428


@asynccontextmanager
async def listening(venue: Venue, *, buffer_bytes: int = 0) -> AsyncIterator[str]:
    """Serve the venue's app on a free port. `buffer_bytes`: how much of an answer the kernel takes, 0: its default."""
    listener = socket.create_server(("127.0.0.1", 0))
    if buffer_bytes:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    config = uvicorn.Config(venue.app, log_level="error", lifespan="off", ws="websockets-sansio")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/v1/stream"
    finally:
        server.should_exit = True
        await serving
        listener.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ClientConnection]:
    """Connect and take the greeting."""
    async with connect(url) as connection:
        assert (await receive(connection))["kind"] == "hello"
        yield connection


async def subscribe(connection: ClientConnection, *channels: str) -> None:
    await connection.send(json.dumps({"op": "subscribe", "channels": list(channels)}))


async def receive(connection: ClientConnection, seconds: int = 20) -> dict[str, Any]:
    while True:
        message = json.loads(await asyncio.wait_for(connection.recv(), seconds))
        if message.get("kind") != "heartbeat":
            return message  # type: ignore[no-any-return]


async def receive_until(
    connection: ClientConnection, is_wanted: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while not messages or not is_wanted(messages[-1]):
        messages.append(await receive(connection))
    return messages


def fold_book(messages: list[dict[str, Any]]) -> tuple[dict[int, int], dict[int, int]]:
    """Build bids and asks from a snapshot and its deltas, checking that no delta is missing."""
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    sequence = None
    for message in messages:
        if message["kind"] == "snapshot":
            assert message["previous_sequence"] is None
        else:
            assert message["previous_sequence"] == sequence
        sequence = message["sequence"]
        for side, name in zip(sides, ("bids", "asks"), strict=True):
            for price_ticks, size_lots, _ in message["data"][name]:
                if size_lots:
                    side[price_ticks] = size_lots
                else:
                    side.pop(price_ticks, None)
    return sides


def test_book__snapshot_and_deltas__equal_the_book(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=True, limit_ticks=9_900, lane=9)))
        async with listening(venue) as url, connected(url) as connection:
            await subscribe(connection, "book:AAPL")
            messages = [await receive(connection)]
            for lane in range(5):
                order = maker.order(is_buy=False, limit_ticks=10_000 + 5 * lane, lane=lane, size_lots=2_000)
                await venue.post("/v1/orders", maker.order_body(order))
                if lane % 2:
                    await asyncio.sleep(0.01)
            await venue.post(
                "/v1/orders", taker.order_body(taker.order(is_buy=True, size_lots=5_000, limit_ticks=10_050))
            )
            book = await venue.get("/v1/markets/AAPL/book")
            messages += await receive_until(connection, lambda message: message["sequence"] >= book["sequence"])
        return messages, book

    messages, book = play(scenario)

    bids, asks = fold_book(messages)
    assert [message["kind"] for message in messages[:2]] == ["snapshot", "delta"]
    assert bids == {9_900: 10_000} and asks == {10_010: 1_000, 10_015: 2_000, 10_020: 2_000}
    assert asks == {level["price_ticks"]: level["size_lots"] for level in book["asks"]}


def test_book__second_client_joins_later__both_fold_to_the_same(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        async with listening(venue) as url, connected(url) as early, connected(url) as late:
            await subscribe(early, "book:AAPL")
            early_messages = [await receive(early)]
            late_messages = []
            for lane in range(10):
                order = maker.order(is_buy=True, limit_ticks=9_900 - 5 * lane, lane=lane)
                await venue.post("/v1/orders", maker.order_body(order))
                if lane == 5:
                    await subscribe(late, "book:AAPL")
                    late_messages.append(await receive(late))
            early_messages += await receive_until(early, lambda message: message["sequence"] == 10)
            late_messages += await receive_until(late, lambda message: message["sequence"] == 10)
        return early_messages, late_messages

    early_messages, late_messages = play(scenario)

    assert fold_book(early_messages) == fold_book(late_messages)


def test_account__a_fill_and_its_life__order_fill_money_and_every_step(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2, 1_000 * USDC)
        async with listening(venue) as url, connected(url) as connection:
            await subscribe(connection, f"account:{taker.account_hex}")
            messages = [await receive(connection)]
            await trade(venue, maker, taker)
            messages += await receive_until(connection, lambda message: "fills" in message["data"])
            batch = await venue.seal()
            transaction = await venue.mine(batch)
            await venue.finalise()

            def is_final(message: dict[str, Any]) -> bool:
                return any(life["status"] == "final" for life in message["data"].get("life", []))

            messages += await receive_until(connection, is_final)
        return messages, transaction

    messages, transaction = play(scenario)

    snapshot, deltas = messages[0]["data"], messages[1:]
    assert snapshot["account"]["equity_quote"] == str(1_000 * USDC) and snapshot["orders"] == []
    (fill,) = [fill for message in deltas for fill in message["data"].get("fills", [])]
    assert (fill["role"], fill["price_ticks"], fill["status"]) == ("taker", 10_000, "matched")
    orders = [order for message in deltas for order in message["data"].get("orders", [])]
    assert orders[-1]["status"] == "FILLED" and orders[-1]["order_id"] == fill["order_id"]
    life = [step for message in deltas for step in message["data"].get("life", [])]
    assert [step["status"] for step in life] == ["submitted", "mined", "final"]
    assert {step["transaction"] for step in life} == {"0x" + transaction.hex()}
    assert all(step["fill_ids"] == [fill["fill_id"]] for step in life)
    assert deltas[-1]["data"]["account"]["positions"][0]["size_lots"] == 10_000
    sequences = [message["sequence"] for message in messages]
    assert [message["previous_sequence"] for message in deltas] == sequences[:-1]


def test_prices_trades_batches_clock__one_connection__each_its_own_sequence(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        async with listening(venue) as url, connected(url) as connection:
            await subscribe(connection, "prices", "trades:AAPL", "batches", "clock")
            snapshots = [await receive(connection) for _ in range(4)]
            await trade(venue, maker, taker)
            await venue.adopt_prices(10_050, 10_050)
            seen: dict[str, list[Any]] = {}
            while not {"prices", "trades:AAPL", "batches", "clock"} <= set(seen):
                message = await receive(connection)
                seen.setdefault(message["channel"], []).append(message)
        return snapshots, seen

    snapshots, seen = play(scenario)

    assert [message["channel"] for message in snapshots] == ["prices", "trades:AAPL", "batches", "clock"]
    assert seen["trades:AAPL"][0]["data"]["trades"][0]["price_ticks"] == 10_000
    assert seen["prices"][-1]["data"]["prices"][0]["symbol"] == "AAPL"
    assert seen["batches"][0]["data"]["batches"][0]["status"] == "sealed"
    assert seen["clock"][0]["data"]["mode"] == "replay"


def test_client__too_slow__dropped_with_a_word_and_nobody_else(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        slow = venue.hub.connect()  # a client whose writer never comes
        venue.hub.subscribe(slow, "book:AAPL")
        async with listening(venue) as url, connected(url) as connection:
            await subscribe(connection, "book:AAPL")
            messages = [await receive(connection)]
            for n in range(12):
                order = maker.order(is_buy=True, limit_ticks=9_900 - 5 * n, lane=n)
                await venue.post("/v1/orders", maker.order_body(order))
                messages += await receive_until(connection, lambda message, n=n: message["sequence"] > n)  # type: ignore[misc]
        return await slow.take(), await slow.take(), slow.is_dropped, messages

    last_word, end, is_dropped, messages = play(scenario, limits=GatewayLimits(max_queued_messages=4))

    assert json.loads(last_word)["error"]["code"] == "OVERLOADED" and end is None and is_dropped
    assert len(fold_book(messages)[0]) == 12


def test_client__stops_reading_its_socket__dropped_with_a_word(play: Play) -> None:
    """It asks for snapshot after snapshot and takes none; small socket buffers let the server feel it."""

    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        for n in range(100):
            order = maker.order(is_buy=True, limit_ticks=9_900 - 5 * n, lane=n)
            await venue.post("/v1/orders", maker.order_body(order))
        async with listening(venue, buffer_bytes=4_096) as url:
            greedy = socket.socket()
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            greedy.setblocking(False)
            host, port = url.removeprefix("ws://").removesuffix("/v1/stream").split(":")
            await asyncio.get_running_loop().sock_connect(greedy, (host, int(port)))
            async with connect(url, sock=greedy, max_queue=1) as connection:
                for _ in range(300):
                    await subscribe(connection, "book:AAPL")
                messages = []
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        messages.append(await receive(connection))
                return messages, connection.close_code

    messages, close_code = play(scenario, limits=GatewayLimits(max_queued_messages=16))

    assert messages[-1]["error"]["code"] == "OVERLOADED" and "resume" in messages[-1]["error"]["action"]
    assert 1 < len(messages) < 302
    assert close_code == 1013


def test_client__connection_lost__resumes_with_exactly_the_missed_deltas(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)

        async def place(lane: int) -> None:
            order = maker.order(is_buy=True, limit_ticks=9_900 - 5 * lane, lane=lane)
            await venue.post("/v1/orders", maker.order_body(order))

        async with listening(venue) as url, connected(url) as lasting:
            await subscribe(lasting, "book:AAPL")
            await receive(lasting)
            async with connect(url) as first:
                hello = await receive(first)
                await subscribe(first, "book:AAPL", "prices")
                messages = [await receive(first), await receive(first)]
            for lane in range(3):
                await place(lane)
                await receive(lasting)
            async with connect(url) as second:
                same_life = await receive(second)
                resume = {"stream_id": hello["stream_id"]} | {
                    message["channel"]: message["sequence"] for message in messages
                }
                wish = {"op": "subscribe", "channels": ["book:AAPL", "prices"], "resume": resume}
                await second.send(json.dumps(wish))
                resumed = [await receive(second) for _ in range(5)]
                await place(3)
                live = await receive(second)
                await second.send(json.dumps(wish | {"resume": resume | {"stream_id": "another life"}}))
                anew = [await receive(second), await receive(second)]
        return hello, same_life, messages, resumed, live, anew

    hello, same_life, messages, resumed, live, anew = play(scenario)

    assert hello["kind"] == "hello" and hello["heartbeat_ms"] > 0 and hello == same_life
    assert resumed[0] == {"channel": "book:AAPL", "kind": "resumed", "sequence": 0}
    assert [(delta["previous_sequence"], delta["sequence"]) for delta in resumed[1:4]] == [(0, 1), (1, 2), (2, 3)]
    assert fold_book([messages[0], *resumed[1:4], live])[0] == {
        9_900: 10_000,
        9_895: 10_000,
        9_890: 10_000,
        9_885: 10_000,
    }
    assert resumed[4] == {"channel": "prices", "kind": "resumed", "sequence": messages[1]["sequence"]}
    assert [(message["channel"], message["kind"]) for message in anew] == [
        ("book:AAPL", "snapshot"),
        ("prices", "snapshot"),
    ]


def test_book__golden_checksum__is_the_one_of_the_readme(play: Play) -> None:
    """CRC-32 (zlib's, IEEE 802.3) of "9900:10000,9895:2000,10010:3000", as in the trailer of gzip."""

    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        for lane, (is_buy, limit_ticks, size_lots) in enumerate(
            ((True, 9_895, 2_000), (True, 9_900, 10_000), (False, 10_010, 3_000))
        ):
            order = maker.order(is_buy=is_buy, limit_ticks=limit_ticks, size_lots=size_lots, lane=lane)
            await venue.post("/v1/orders", maker.order_body(order))
        async with listening(venue) as url, connected(url) as connection:
            await subscribe(connection, "book:AAPL")
            return await receive(connection)

    assert play(scenario)["checksum"] == GOLDEN_CHECKSUM


def test_connection__silent__hears_heartbeats_with_venue_time(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        venue.hub.heartbeat_ms = 20
        async with listening(venue) as url, connected(url) as connection:
            return [json.loads(await asyncio.wait_for(connection.recv(), 20)) for _ in range(2)], venue.clock.now_ms()

    beats, now_ms = play(scenario)

    assert beats == [{"kind": "heartbeat", "venue_time_ms": now_ms}] * 2


def test_client__nonsense__told_and_kept(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        async with listening(venue) as url, connected(url) as connection:
            answers = []
            for text in (
                "{",
                "[]",
                '{"op": "shout"}',
                '{"op": "subscribe", "channels": [1]}',
                '{"op": "subscribe", "channels": ["book:NOPE"]}',
                '{"op": "subscribe", "channels": ["account:0x12"]}',
                '{"op": "subscribe", "channels": ["everything"]}',
                '{"op": "subscribe", "channels": ["prices"], "resume": [1]}',
                '{"op": "subscribe", "channels": ["prices"], "resume": {"prices": true}}',
                '{"op": "subscribe", "channels": ["prices"], "resume": {"prices": -1}}',
                '{"op": "subscribe", "channels": ["prices"], "resume": {"stream_id": 7}}',
                "[" * 5_000,
                "x" * 10_000,
            ):
                await connection.send(text)
                answers.append((await receive(connection))["error"])
            await connection.send(b"\x00\x01")
            answers.append((await receive(connection))["error"])
            await connection.send('{"op": "ping"}')
            return answers, await receive(connection)

    answers, pong = play(scenario)

    codes = [error["code"] for error in answers]
    assert codes == ["MALFORMED_REQUEST"] * 4 + ["UNKNOWN_MARKET"] + ["MALFORMED_REQUEST"] * 9
    assert all(error["message"] and error["required"] and error["found"] and error["action"] for error in answers)
    assert (answers[4]["required"], answers[4]["found"]) == ("a symbol of /v1/markets", "NOPE")
    assert pong == {"op": "pong"}


def test_client__unsubscribes__hears_no_more_and_is_forgotten_when_it_leaves(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        async with listening(venue) as url:
            async with connected(url) as connection:
                await subscribe(connection, "book:AAPL", "trades:AAPL")
                await receive(connection)
                await receive(connection)
                await connection.send('{"op": "unsubscribe", "channels": ["book:AAPL"]}')
                await connection.send('{"op": "ping"}')
                pong = await receive(connection)
                await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=True, limit_ticks=9_900)))
                await asyncio.sleep(0.05)
                await connection.send('{"op": "ping"}')
                next_message = await receive(connection)
            async with asyncio.timeout(5):
                while venue.hub.n_clients:  # noqa: ASYNC110 - the hub tells nobody when a client leaves
                    await asyncio.sleep(0.01)
        return pong, next_message

    assert play(scenario) == ({"op": "pong"}, {"op": "pong"})


def test_clients__above_the_limit__refused(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        async with listening(venue) as url, connect(url) as first, connect(url) as second:
            await first.send('{"op": "ping"}')
            await receive(first)
            return await receive(second)

    answer = play(scenario, limits=GatewayLimits(max_clients=1))

    assert answer["error"]["code"] == "OVERLOADED"
