"""Whatever a client sends, the answer is an error in the API's shape with a 4xx status, never a fault of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterbell.gateway.services import GatewayLimits
from tests.gateway.venue import Venue, open_venue

Play = Callable[..., Any]
POSTS = (
    "/v1/orders",
    "/v1/orders/amend",
    "/v1/orders/batch",
    "/v1/orders/cancel",
    "/v1/orders/cancel-all",
    "/v1/keys",
    "/v1/keys/revoke",
    "/v1/withdrawals",
    "/v1/claims",
    "/v1/deposits/authorization",
    "/v1/faucet",
    "/v1/rpc",
)
CLIENT_STATUSES = {200, 400, 404, 405, 409, 413, 422, 429}


def must_be_polite(status: int, body: bytes) -> None:
    assert status in CLIENT_STATUSES, (status, body)
    if status != 200:
        error = json.loads(body)["error"]
        assert error["code"] and error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1e400",
        b"NaN",
        b"[" * 8_000,
        b"9" * 6_000,
        b'{"order": null}',
        b'{"a": "\\ud800"}',
        b'{"order": {"account": "\\ud800"}, "signature": "\\udfff"}',
        b"\xff\xfe\x00",
        b'{"order":' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"}",
    ],
)
def test_post__no_json_or_no_fields__malformed(play: Play, body: bytes) -> None:
    async def scenario(venue: Venue) -> Any:
        headers = {"content-type": "application/json"}
        return [await venue.http.post(path, content=body, headers=headers) for path in POSTS]

    responses = play(scenario)

    assert [response.status_code for response in responses] == [400] * len(POSTS)
    assert {response.json()["error"]["code"] for response in responses} == {"MALFORMED_REQUEST"}


@pytest.mark.parametrize(
    ("body", "message", "found"),
    [
        (b"{", "the body must be JSON; not JSON at byte 1: Expecting property name enclosed in double quotes", ""),
        (b'{"a": nope}', "the body must be JSON; not JSON at byte 6: Expecting value", "nope}"),
        ('{"é": nope}'.encode(), "the body must be JSON; not JSON at byte 7: Expecting value", "nope}"),
        (b"", "the body must be a JSON object; there is none", ""),
    ],
)
def test_post__not_json__told_where_and_why(play: Play, body: bytes, message: str, found: str) -> None:
    async def scenario(venue: Venue) -> Any:
        return await venue.http.post("/v1/orders", content=body, headers={"content-type": "application/json"})

    error = play(scenario).json()["error"]

    assert (error["message"], error["found"]) == (message, found)
    assert error["details"]["fields"] == [{"field": "", "problem": message, "found": found}]


@pytest.mark.parametrize(
    ("headers", "found"), [({}, "no content-type"), ({"content-type": "text/plain"}, "text/plain")]
)
def test_post__another_content_type__told_to_send_json(play: Play, headers: dict[str, str], found: str) -> None:
    async def scenario(venue: Venue) -> Any:
        return await venue.http.post("/v1/orders", content=b'{"order": {}}', headers=headers)

    error = play(scenario).json()["error"]

    assert (error["code"], error["found"]) == ("MALFORMED_REQUEST", found)
    assert error["message"] == "the body must be JSON; send content-type: application/json"


BAD_FIELDS: dict[str, tuple[str, Any]] = {
    "float size": ("size_lots", 1.5),
    "whole float size": ("size_lots", 100.0),
    "boolean size": ("size_lots", True),
    "text size": ("size_lots", "100"),
    "negative size": ("size_lots", -1),
    "size above uint48": ("size_lots", 1 << 48),
    "price above uint40": ("limit_ticks", 1 << 40),
    "huge price": ("limit_ticks", 10**300),
    "fee above uint16": ("max_fee_ppm", 1 << 16),
    "nonce above uint56": ("nonce", str(1 << 56)),
    "signed nonce": ("nonce", "-1"),
    "hex nonce": ("nonce", "0x10"),
    "nonce in other digits": ("nonce", "१२३"),
    "market above uint8": ("market", 256),
    "market by symbol": ("market", "AAPL"),
    "boolean by number": ("is_buy", 1),
    "boolean by text": ("is_buy", "true"),
    "unknown time in force": ("time_in_force", "DAY"),
    "trigger kind": ("trigger_kind", 5),
    "short account": ("account", "0x12"),
    "account in capitals": ("account", "0x" + "AB" * 30),
    "no account": ("account", None),
    "unknown field": ("leverage", 5),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_order__field_outside_its_type__named(play: Play, case: str) -> None:
    name, found = BAD_FIELDS[case]

    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        body = taker.order_body(taker.order(is_buy=True))
        body["order"][name] = found
        return await venue.post("/v1/orders", body)

    response = play(scenario)

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "MALFORMED_REQUEST")
    assert f"order.{name}" in {field["field"] for field in error["details"]["fields"]}


@pytest.mark.parametrize(
    "signature", ["", "0x", "0x12", "12" * 65, "0x" + "zz" * 65, "0x" + "00" * 66, 5, ["0x"], "0x" + "é" * 130]
)
def test_order__signature_of_no_shape__malformed(play: Play, signature: Any) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        return await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True), signature=signature))

    response = play(scenario)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize("signature", ["0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "ff" * 64, "0x" + "11" * 64 + "63"])
def test_order__signature_of_no_key__bad_signature(play: Play, signature: str) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        return await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True), signature=signature))

    response = play(scenario)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "BAD_SIGNATURE")


def test_body__above_the_limit__refused_before_it_is_read(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return await venue.http.post("/v1/orders", content=b" " * 40_000)

    response = play(scenario)

    assert response.status_code == 413 and "32768 bytes" in response.json()["error"]["required"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/markets/NOPE", 404, "UNKNOWN_MARKET"),
        ("/v1/markets/%00/book", 404, "UNKNOWN_MARKET"),
        ("/v1/markets/AAPL/book?depth=0", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/book?depth=x", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/candles?interval_s=1", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/candles?end_s=99999999999999999999", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/candles?interval_s=600", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/candles?kind=index", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/candles?start_s=-1", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/candles?limit=1501", 400, "MALFORMED_REQUEST"),
        ("/v1/markets/AAPL/trades?limit=501", 400, "MALFORMED_REQUEST"),
        ("/v1/orders/0x12", 400, "MALFORMED_REQUEST"),
        ("/v1/orders/0x" + "12" * 32, 404, "UNKNOWN_ORDER"),
        ("/v1/withdrawals/0x" + "12" * 32, 404, "UNKNOWN_ORDER"),
        ("/v1/accounts/0x12", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "AB" * 30, 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "ab" * 30 + "/fills?before=-1", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "ab" * 30 + "/fills?market=NOPE", 404, "UNKNOWN_MARKET"),
        ("/v1/accounts/0x" + "ab" * 30 + "/orders?status=dead", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "ab" * 30 + "/orders?market=%F0%9F%94%94", 404, "UNKNOWN_MARKET"),
        ("/v1/accounts/0x" + "ab" * 30 + "/funding?limit=0", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "ab" * 30 + "/transfers?before=99999999999999999999", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x12/keys", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "ab" * 30 + "/client-orders/%00", 400, "MALFORMED_REQUEST"),
        ("/v1/accounts/0x" + "ab" * 30 + "/client-orders/a", 404, "UNKNOWN_ORDER"),
        ("/v1/batches/99", 404, "UNKNOWN_BATCH"),
        ("/v1/batches/-1", 400, "MALFORMED_REQUEST"),
        ("/v1/batches/1e3", 400, "MALFORMED_REQUEST"),
        ("/v1/nothing", 404, "NOT_FOUND"),
        ("/page/..%2Fapp.py", 404, "NOT_FOUND"),
        ("/vendor/other.js", 404, "NOT_FOUND"),
    ],
)
def test_get__nothing_there__says_what_is(play: Play, path: str, status: int, code: str) -> None:
    async def scenario(venue: Venue) -> Any:
        return await venue.http.get(path)

    response = play(scenario)

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), response.text
    assert error["required"] or error["action"]


def test_method__not_allowed__told_in_the_same_shape(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return await venue.http.delete("/v1/orders")

    response = play(scenario)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["required"]) == (405, "METHOD_NOT_ALLOWED", "POST")
    assert response.headers["allow"] == "POST" and error["found"] == "DELETE /v1/orders"


def test_requests__faster_than_the_limit__rate_limited_with_a_wait(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        bodies = [taker.order_body(taker.order(is_buy=True, limit_ticks=9_900)) for _ in range(12)]
        return [await venue.post("/v1/orders", body) for body in bodies]

    responses = play(scenario, limits=GatewayLimits(n_requests_per_s=5))

    limited = [response for response in responses if response.status_code == 429]
    assert responses[0].status_code == 200 and limited
    assert limited[0].json()["error"]["code"] == "RATE_LIMITED" and limited[0].headers["retry-after"] == "1"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(["0x" + "ab" * 30, "0x" + "ab" * 65, "0x" + "ab" * 20, "AAPL", "GTC", "eth_chainId", "1", "2.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
ORDER_FIELDS = (
    *("account", "market", "epoch", "is_buy", "size_lots", "limit_ticks", "max_fee_ppm", "expiry_s", "nonce"),
    *("reduce_only", "post_only", "time_in_force", "trigger_ticks", "trigger_kind", "order_nonce", "min_seq_ms"),
    *("quote", "recipient", "address", "method", "params", "id", "jsonrpc", "key", "key_expiry_s", "markets"),
    *("max_notional_quote", "trade_only", "sender", "owner", "subaccount", "salt", "limits", "valid_after_s"),
    *("place", "amend", "cancel", "filled_lots", "order_id"),
)
BODY_FIELDS = (
    *("order", "cancel", "cancel_all", "withdrawal", "link_key", "revoke_key", "authorization", "recipient"),
    *("signature", "approved", "client_id", "domain", "items"),
)
bodies = st.dictionaries(
    st.sampled_from([*BODY_FIELDS, *ORDER_FIELDS]),
    json_values
    | st.dictionaries(st.sampled_from(ORDER_FIELDS), json_values)
    | st.lists(st.dictionaries(st.sampled_from(ORDER_FIELDS), json_values), max_size=3),
)


def test_fuzz__any_body_on_any_post__never_a_fault(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        context = open_venue(tmp_path)
        venue = runner.run(context.__aenter__())

        @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
        @given(path=st.sampled_from(POSTS), body=bodies | json_values)
        def fuzz(path: str, body: Any) -> None:
            content = json.dumps(body).encode()
            response = runner.run(venue.http.post(path, content=content))
            if path == "/v1/rpc" and response.status_code == 404:
                return
            must_be_polite(response.status_code, response.content)

        @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
        @given(path=st.sampled_from(POSTS), content=st.binary(max_size=300))
        def fuzz_bytes(path: str, content: bytes) -> None:
            response = runner.run(venue.http.post(path, content=content))
            must_be_polite(response.status_code, response.content)

        fuzz()
        fuzz_bytes()
        runner.run(context.__aexit__(None, None, None))


def test_fuzz__order_with_a_valid_signature_and_any_numbers__accepted_or_refused(tmp_path: Path) -> None:
    """What passes the gateway reaches journal and engine: they must hold any numbers of the signed types."""
    with asyncio.Runner() as runner:
        context = open_venue(tmp_path)
        venue = runner.run(context.__aenter__())
        taker = runner.run(venue.participant(2))

        def edge(n_bits: int) -> st.SearchStrategy[int]:
            top = (1 << n_bits) - 1
            return st.sampled_from([0, 1, 100, 10_000, top - 1, top]) | st.integers(0, top)

        @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
        @given(
            size_lots=edge(48),
            limit_ticks=edge(40),
            epoch=st.sampled_from([0, 1, 2, (1 << 32) - 1]),
            max_fee_ppm=edge(16),
            lane=edge(16),
            seq=edge(40) | st.none(),
            is_buy=st.booleans(),
            reduce_only=st.booleans(),
            post_only=st.booleans(),
        )
        def fuzz(**fields: Any) -> None:
            response = runner.run(venue.post("/v1/orders", taker.order_body(taker.order(**fields))))
            must_be_polite(response.status_code, response.content)

        fuzz()
        seal = runner.run(venue.seal()) if venue.sequencer.state.has_open_batch else None
        runner.run(context.__aexit__(None, None, None))
        assert seal is not None


BAD_KEY_FIELDS: dict[str, tuple[str, Any]] = {
    "market by symbol": ("markets", ["AAPL"]),
    "market zero": ("markets", [0]),
    "market above 32": ("markets", [33]),
    "one market alone": ("markets", 1),
    "more markets than there are": ("markets", [1] * 33),
    "float notional": ("max_notional_quote", 1.5),
    "notional above uint64": ("max_notional_quote", str(1 << 64)),
    "flag by number": ("trade_only", 1),
    "short key": ("key", "0x12"),
    "no expiry": ("key_expiry_s", None),
    "lane of an order": ("nonce", "5"),
}


@pytest.mark.parametrize("case", BAD_KEY_FIELDS)
def test_key__field_outside_its_type__malformed(play: Play, case: str) -> None:
    name, found = BAD_KEY_FIELDS[case]

    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        body = owner.link_body(owner.link_key(b"\x12" * 20))
        body["link_key"][name] = found
        return await venue.post("/v1/keys", body)

    response = play(scenario)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "MALFORMED_REQUEST")


def test_fuzz__key_and_withdrawal_with_a_valid_signature_and_any_numbers__accepted_or_refused(tmp_path: Path) -> None:
    """What passes the gateway reaches journal and engine: they must hold any numbers of the signed types."""
    with asyncio.Runner() as runner:
        context = open_venue(tmp_path)
        venue = runner.run(context.__aenter__())
        owner = runner.run(venue.participant(2))

        def edge(n_bits: int) -> st.SearchStrategy[int]:
            top = (1 << n_bits) - 1
            return st.sampled_from([0, 1, 1_300_000_000, top - 1, top]) | st.integers(0, top)

        @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
        @given(
            key=st.sampled_from([bytes(20), b"\x12" * 20, owner.key.address, b"\xff" * 20]),
            key_expiry_s=edge(40),
            max_notional_quote=edge(64),
            markets=edge(32),
            trade_only=st.booleans(),
            reduce_only=st.booleans(),
            expiry_s=edge(40) | st.none(),
            seq=edge(40) | st.none(),
        )
        def fuzz(**fields: Any) -> None:
            given_fields = {name: found for name, found in fields.items() if found is not None}
            message = owner.link_key(given_fields.pop("key"), **given_fields)
            response = runner.run(venue.post("/v1/keys", owner.link_body(message)))
            must_be_polite(response.status_code, response.content)
            response = runner.run(venue.post("/v1/keys/revoke", owner.revoke_body(fields["key"])))
            must_be_polite(response.status_code, response.content)

        @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
        @given(quote=edge(64))
        def fuzz_withdrawals(quote: int) -> None:
            response = runner.run(venue.post("/v1/withdrawals", owner.withdraw_body(quote)))
            must_be_polite(response.status_code, response.content)

        fuzz()
        fuzz_withdrawals()
        seal = runner.run(venue.seal()) if venue.sequencer.state.has_open_batch else None
        runner.run(context.__aexit__(None, None, None))
        assert seal is not None and not any(seal.codes)
