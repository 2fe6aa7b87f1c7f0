"""What anybody may read: venue, clock, markets, books, trades, candles, schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afterbell.domain.digests import ORDER_TYPE
from afterbell.domain.session import Session
from afterbell.gateway import requests, schemas
from afterbell.gateway.routes.markets import join_history
from afterbell.gateway.services import GatewayLimits
from afterbell.readmodel.queries import Candle
from tests.gateway.venue import CHAIN_ID, CLEARINGHOUSE, GENESIS_S, START_S, Participant, Venue

Play = Callable[..., Any]


async def trade(venue: Venue, maker: Participant, taker: Participant, ticks: int = 10_000) -> None:
    await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=False, limit_ticks=ticks)))
    await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True, limit_ticks=ticks)))


def test_venue__always__names_what_is_signed(play: Play) -> None:
    venue_out = play(lambda venue: venue.get("/v1/venue"))

    assert (venue_out["chain_id"], venue_out["genesis_s"]) == (CHAIN_ID, GENESIS_S)
    assert venue_out["domain"] == {
        "name": "Afterbell",
        "version": "1",
        "chain_id": CHAIN_ID,
        "verifying_contract": "0x" + CLEARINGHOUSE.hex(),
    }
    assert venue_out["types"]["Order"] == ORDER_TYPE and venue_out["bounds"]["max_seq_ahead_ms"] == 1_000


def test_clock__replay__tells_step_and_mode(play: Play) -> None:
    clock = play(lambda venue: venue.get("/v1/clock"))

    assert clock["venue_time_ms"] == (START_S + 60) * 1_000
    assert (clock["mode"], clock["step"], clock["speed"]) == ("replay", 7, "1")


def test_markets__prices_moved_within_a_day__change_band_and_labels(play: Play) -> None:
    """From 100.00 to 101.00 in more than a day: +1.00 %, band 5 % of external 101.00: 95.95 to 106.05."""

    async def scenario(venue: Venue) -> Any:
        venue.clock.advance(86_400_000 - 30_000)
        for _ in range(5):
            await venue.adopt_prices(10_100, 10_100)
        return (await venue.get("/v1/markets"))["markets"]

    aapl, tsla = play(scenario)

    assert (aapl["symbol"], aapl["mark_ticks"], aapl["external_ticks"]) == ("AAPL", 10_100, 10_100)
    assert (aapl["change_ticks"], aapl["change_ppm"]) == (100, 10_000)
    assert (aapl["band_low_ticks"], aapl["band_high_ticks"]) == (9_595, 10_605)
    assert (aapl["session"], aapl["is_fresh"], aapl["lots_per_share"]) == ("REGULAR", True, 10_000)
    assert aapl["rules"]["taker_fee_ppm"] == 400 and aapl["rules"]["min_notional_quote"] == "10000000"
    assert (aapl["label"], tsla["label"], tsla["is_synthetic"]) == ("TRUSTED PRICE", "SYNTHETIC PRICE", True)


def test_market__session_without_rules__said_so(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        await venue.adopt_prices(10_000, 10_000, session=Session.CLOSED)
        return await venue.get("/v1/markets/AAPL")

    market = play(scenario)

    assert (market["session"], market["rules"], market["is_fresh"]) == ("CLOSED", None, False)


def test_book__orders_at_two_prices__aggregated_best_first(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        for lane, (is_buy, ticks) in enumerate(
            [(True, 9_900), (True, 9_950), (True, 9_950), (False, 10_050), (False, 10_100)]
        ):
            order = maker.order(is_buy=is_buy, limit_ticks=ticks, lane=lane)
            await venue.post("/v1/orders", maker.order_body(order))
        return await venue.get("/v1/markets/AAPL/book"), await venue.get("/v1/markets/AAPL/book?depth=1")

    book, top = play(scenario)

    assert [tuple(level.values()) for level in book["bids"]] == [(9_950, 20_000, 2), (9_900, 10_000, 1)]
    assert [tuple(level.values()) for level in book["asks"]] == [(10_050, 10_000, 1), (10_100, 10_000, 1)]
    assert (len(top["bids"]), len(top["asks"]), book["sequence"]) == (1, 1, 5)


def test_trades_and_candles__fills_at_mark__newest_trade_first_and_volume_counted(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await trade(venue, maker, taker)
        await trade(venue, maker, taker, 10_005)
        return (
            await venue.get("/v1/markets/AAPL/trades"),
            await venue.get("/v1/markets/AAPL/candles?interval_s=3600"),
            await venue.get("/v1/markets/TSLA/trades"),
        )

    trades, candles, others = play(scenario)

    assert [(row["fill_id"], row["price_ticks"], row["taker_is_buy"]) for row in trades["trades"]] == [
        (2, 10_005, True),
        (1, 10_000, True),
    ]
    (candle,) = candles["candles"]
    assert candle["volume_lots"] == 20_000 and candle["close_ticks"] == 10_000 and candle["time_s"] % 3_600 == 0
    assert others["trades"] == []


def test_candles__of_trades_in_a_range__prices_volume_and_count(play: Play) -> None:
    """Two fills in the first minute (100.00 and 100.05, one share each), one at 100.10 an hour later."""

    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await trade(venue, maker, taker)
        await trade(venue, maker, taker, 10_005)
        first_s = venue.now_s - venue.now_s % 60
        venue.clock.advance(3_600_000 - 60_000)
        await venue.adopt_prices(10_000, 10_000)
        await trade(venue, maker, taker, 10_010)
        base = "/v1/markets/AAPL/candles?kind=trades&interval_s=60"
        whole = await venue.get(base)
        early = await venue.get(f"{base}&start_s={first_s}&end_s={first_s + 60}")
        late = await venue.get(f"{base}&start_s={first_s + 60}")
        newest = await venue.get(f"{base}&limit=1")
        return first_s, whole, early, late, newest

    first_s, whole, early, late, newest = play(scenario)

    assert (whole["kind"], whole["interval_s"]) == ("trades", 60)
    first, second = whole["candles"]
    assert first == {
        "time_s": first_s,
        "open_ticks": 10_000,
        "high_ticks": 10_005,
        "low_ticks": 10_000,
        "close_ticks": 10_005,
        "volume_lots": 20_000,
        "volume_quote": "200050000",
        "n_trades": 2,
    }
    assert (second["time_s"], second["open_ticks"], second["n_trades"]) == (first_s + 3_600, 10_010, 1)
    assert [page["candles"] for page in (early, late, newest)] == [[first], [second], [second]]


def test_history__more_than_a_page__walked_to_its_end_without_gap_or_twin(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        for _ in range(5):
            await trade(venue, maker, taker)
        await venue.participant(2)
        pages: dict[str, list[Any]] = {}
        for name, number in (("fills", "fill_id"), ("orders", "order_id"), ("transfers", "transfer_id")):
            pages[name], before = [], ""
            while True:
                path = f"/v1/accounts/{taker.account_hex}/{name}?limit=2{before}&status=all"
                page = await venue.get(path)
                pages[name].append([row[number] for row in page[name]])
                if page["next_before"] is None:
                    break
                before = f"&before={page['next_before']}"
        return pages

    pages = play(scenario)

    assert pages["fills"] == [[5, 4], [3, 2], [1]]
    assert [len(page) for page in pages["orders"]] == [2, 2, 1]
    assert len({order_id for page in pages["orders"] for order_id in page}) == 5
    assert pages["transfers"] == [["d3", "d2"], []]


def test_history__of_one_market__leaves_the_others_out(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await trade(venue, maker, taker)
        base = f"/v1/accounts/{taker.account_hex}"
        return [
            await venue.get(f"{base}/{part}market={symbol}")
            for part in ("fills?", "orders?status=closed&")
            for symbol in ("AAPL", "TSLA")
        ]

    aapl_fills, tsla_fills, aapl_orders, tsla_orders = play(scenario)

    assert (len(aapl_fills["fills"]), tsla_fills["fills"]) == (1, [])
    assert ([order["symbol"] for order in aapl_orders["orders"]], tsla_orders["orders"]) == (["AAPL"], [])


def test_funding__index_never_moved__empty(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await trade(venue, maker, taker)
        return taker, await venue.get(f"/v1/accounts/{taker.account_hex}/funding")

    taker, funding = play(scenario)

    assert funding == {"account": taker.account_hex, "payments": [], "next_before": None}


def test_position__liquidation_price__last_mark_that_covers_maintenance(play: Play) -> None:
    """Deposit 20, long 1 share at 100.00, fee 0.04: 80.04 owed / 0.95 = 84.2527, so 84.26 is the last healthy mark."""

    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2, 20_000_000)
        await trade(venue, maker, taker)
        (position,) = (await venue.get(f"/v1/accounts/{taker.account_hex}/positions"))["positions"]
        return position

    assert play(scenario)["liquidation_price_ticks"] == 8_426


def test_account__never_seen__zeros(play: Play) -> None:
    account = play(lambda venue: venue.get("/v1/accounts/0x" + "ab" * 20 + "00" * 10))

    assert (account["is_known"], account["equity_quote"], account["positions"]) == (False, "0", [])


def test_batches__sealed_one_by_one__newest_first(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        first = await venue.seal()
        await venue.mine(first)
        await trade(venue, maker, taker)
        await venue.seal()
        return await venue.get("/v1/batches"), await venue.get("/v1/batches?before=2")

    batches, older = play(scenario)

    assert [(batch["sequence"], batch["status"], batch["n_fills"]) for batch in batches["batches"]] == [
        (2, "sealed", 1),
        (1, "mined", 0),
    ]
    assert [batch["sequence"] for batch in older["batches"]] == [1]


def test_faucet__local_chain__grants_and_limits(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        address = "0x" + "Ab" * 20
        first = await venue.post("/v1/faucet", {"address": address})
        second = await venue.post("/v1/faucet", {"address": address})
        return first, second, venue.granted

    first, second, granted = play(scenario, limits=GatewayLimits(n_faucet_per_minute=1))

    assert (first.status_code, first.json()["usdc_quote"]) == (200, "10000000000")
    assert second.status_code == 429 and granted == [b"\xab" * 20]


def test_openapi__every_shape__has_a_whole_example_that_fits_it(play: Play) -> None:
    shapes = play(lambda venue: venue.get("/openapi.json"))["components"]["schemas"]

    assert {"PlaceOrderIn", "OrderOut", "ErrorOut"} < set(shapes)
    for name, shape in shapes.items():
        model = getattr(schemas, name, None) or getattr(requests, name)
        example = shape.get("example")
        assert example is not None, f"{name} shows no example"
        checked = model.model_validate(example, strict=True)
        if name.endswith("In"):
            assert set(shape.get("required", ())) <= set(example), name
        else:
            assert checked.model_dump(mode="json") == example, f"{name}: the venue would answer more or other fields"
            assert set(shape["properties"]) == set(example), name


def test_openapi__bad_signature_example__names_what_to_compare(play: Play) -> None:
    shapes = play(lambda venue: venue.get("/openapi.json"))["components"]["schemas"]

    error = shapes["ErrorOut"]["example"]["error"]

    assert error["code"] == "BAD_SIGNATURE"
    assert set(error["details"]) == {"digest", "expected_signer", "recovered_signer"}


def test_openapi__every_route__refers_to_shapes_and_an_error_shape(play: Play) -> None:
    schema = play(lambda venue: venue.get("/openapi.json"))

    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method == "post":
                assert "$ref" in operation["requestBody"]["content"]["application/json"]["schema"], path
            if path not in ("/v1/rpc", "/healthz"):
                assert "$ref" in operation["responses"]["200"]["content"]["application/json"]["schema"], path
            if path.startswith("/v1/") and path not in ("/v1/venue", "/v1/clock"):
                assert "422" in operation["responses"] and "503" in operation["responses"], path


def test_readiness__all_parts_up__ready(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return await venue.get("/healthz"), await venue.get("/readyz")

    assert play(scenario) == ({"status": "up"}, {"is_ready": True, "parts": []})


def bar(day: int, open_ticks: int, close_ticks: int) -> Candle:
    return Candle(
        time_s=day * 86_400,
        open_ticks=open_ticks,
        high_ticks=max(open_ticks, close_ticks),
        low_ticks=min(open_ticks, close_ticks),
        close_ticks=close_ticks,
        volume_lots=0,
    )


def test_history__two_splits_before_the_venue_began__drawn_in_todays_unit() -> None:
    """3:1 into day 2, then 2:1 into the venue's first day: 600 of day 1 is 100 today, 200 of day 2 is 100."""
    joined = join_history([bar(1, 594, 600), bar(2, 202, 200)], [bar(3, 101, 103)])

    assert [(candle.open_ticks, candle.close_ticks) for candle in joined] == [(99, 100), (101, 100), (101, 103)]


def test_history__a_crash_is_no_split__left_as_it_was() -> None:
    joined = join_history([bar(1, 100, 100), bar(2, 62, 60)], [bar(3, 58, 57)])

    assert [candle.close_ticks for candle in joined] == [100, 60, 57]
