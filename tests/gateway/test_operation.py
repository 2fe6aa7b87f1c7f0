"""What operators and well-behaved clients rely on: request ids, rate limits told ahead, metrics, readiness, logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog

from afterbell.gateway.app import create_app
from afterbell.gateway.limits import BucketState, RateLimited, RateLimiter
from afterbell.gateway.metrics import Gauge, Metrics
from afterbell.gateway.services import GatewayLimits, Readiness
from tests.gateway.test_reads import trade
from tests.gateway.venue import Venue

Play = Callable[..., Any]
S = 1_000_000_000


# ------------------------------------------------------------------- rate limits


class HandTime:
    """Nanoseconds that move when a test says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_bucket__five_in_ten_seconds__told_and_refilled_by_the_clock() -> None:
    """One share is 2 s: five at once empty it, full again after 10 s; after 4 s two more pass."""
    clock = HandTime()
    limiter = RateLimiter(n_per_period=5, period_s=10, now_ns=clock)

    burst = [limiter.take("a") for _ in range(5)]
    with pytest.raises(RateLimited) as refused:
        limiter.take("a")
    clock.now_ns = 4 * S
    later = [limiter.take("a"), limiter.take("a")]

    assert [(state.n_remaining, state.reset_s) for state in burst if state] == [(4, 2), (3, 4), (2, 6), (1, 8), (0, 10)]
    assert refused.value.bucket == BucketState(n_limit=5, n_remaining=0, reset_s=10)
    assert (refused.value.required, refused.value.retry_after_s) == ("at most 5 in 10 s", 2)
    assert [(state.n_remaining, state.reset_s) for state in later if state] == [(1, 8), (0, 10)]
    with pytest.raises(RateLimited):
        limiter.must_have_room("a")
    limiter.must_have_room("b")


def test_reads__by_address__headers_count_down_and_then_429(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return [await venue.http.get("/v1/clock") for _ in range(4)], await venue.http.get("/healthz")

    answers, health = play(scenario, limits=GatewayLimits(n_reads_per_s=3, n_requests_per_s=0))

    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"3"}
    assert answers[0].headers["ratelimit-remaining"] == "2" and answers[0].headers["ratelimit-reset"] == "1"
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(answer.json()["error"]["code"] == "RATE_LIMITED" for answer in refused)
    assert "ratelimit-limit" not in health.headers and health.status_code == 200


def test_signed_requests__by_owner__cancels_alone_or_together_always_pass(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, other = await venue.participant(1), await venue.participant(2)
        orders = [maker.order(is_buy=True, limit_ticks=9_900, lane=lane) for lane in range(40)]
        placed = [await venue.post("/v1/orders", maker.order_body(order)) for order in orders]
        assert placed[-1].status_code == 429, "the bucket must be empty for what follows to mean anything"
        mine = [order for order, answer in zip(orders, placed, strict=True) if answer.status_code == 200]
        refused = await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=True, lane=50)))
        cancelled = await venue.post("/v1/orders/cancel", maker.cancel_body(mine[0]))
        together = {"items": [{"cancel": maker.cancel_body(mine[1])}, {"cancel_all": maker.cancel_all_body()}]}
        batch = await venue.post("/v1/orders/batch", together)
        another = await venue.post("/v1/orders", other.order_body(other.order(is_buy=True, limit_ticks=9_900)))
        return placed, refused, cancelled, batch, another

    placed, refused, cancelled, batch, another = play(scenario, limits=GatewayLimits(n_requests_per_s=2))

    assert placed[0].headers["ratelimit-limit"] == "2" and placed[0].headers["ratelimit-remaining"] == "1"
    assert cancelled.status_code == 200 and "ratelimit-limit" not in cancelled.headers
    assert [result["status"] for result in batch.json()["results"]] == [200, 200]
    assert "ratelimit-limit" not in batch.headers
    assert another.status_code == 200
    if refused.status_code == 429:  # a slow machine may have refilled one share
        assert refused.headers["ratelimit-remaining"] == "0" and int(refused.headers["retry-after"]) >= 1


def test_garbage__sent_fast__counts_by_address_and_leaves_the_owner_alone(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        body = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900), signature="0x" + "11" * 65)
        unsigned = [await venue.post("/v1/orders", body) for _ in range(12)]
        cancel = await venue.post("/v1/orders/cancel", {})
        return [answer.status_code for answer in unsigned], cancel.status_code

    statuses, cancel = play(scenario, limits=GatewayLimits(n_reads_per_s=5, n_requests_per_s=5))

    assert statuses[:5] == [400] * 5 and 429 in statuses
    assert cancel == 400


# ------------------------------------------------------------------- request ids


def test_request_id__given__echoed_and_in_the_log_with_the_order(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        body = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900))
        with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
            answer = await venue.http.post("/v1/orders", json=body, headers={"X-Request-Id": "desk-7:a.b_c"})
            error = await venue.http.post("/v1/orders", json={}, headers={"X-Request-Id": "bad"})
        return answer, error, [line for line in lines if line["event"] == "request.answered"]

    answer, error, lines = play(scenario)

    assert (answer.headers["x-request-id"], error.headers["x-request-id"]) == ("desk-7:a.b_c", "bad")
    assert [(line["request_id"], line["status"], line["route"], line["method"]) for line in lines] == [
        ("desk-7:a.b_c", 200, "/v1/orders", "POST"),
        ("bad", 400, "/v1/orders", "POST"),
    ]
    assert lines[0]["order_ids"] == [answer.json()["order_id"]] and lines[0]["taken_us"] > 0
    assert "signature" not in str(lines)


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "ä".encode().decode("latin-1")])
def test_request_id__none_or_not_plain__one_of_ours(play: Play, given: str) -> None:
    async def scenario(venue: Venue) -> Any:
        headers = [(b"X-Request-Id", given.encode("latin-1"))] if given else []
        return [(await venue.http.get("/v1/clock", headers=headers)).headers["x-request-id"] for _ in range(2)]

    first, second = play(scenario)

    assert len(first) == 32 and first != second and given != first


# ----------------------------------------------------------------------- metrics


def read_sample(text: str, name: str) -> float:
    """Return one sample by its full name with labels."""
    (found,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(found.rpartition(" ")[2])


def test_metrics__after_a_trade__counted_by_outcome(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        venue.services.metrics.gauges.append(
            Gauge(name="afterbell_test", help="x", read=lambda: {"a": 1, "b": 2.5}, label="which")
        )
        venue.services.metrics.gauges.append(Gauge(name="afterbell_absent", help="x", read=lambda: None))
        maker, taker = await venue.participant(1), await venue.participant(2)
        await trade(venue, maker, taker)
        await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True, limit_ticks=9_999)))
        await venue.http.get("/v1/orders/0x" + "12" * 32)
        await venue.http.get("/v1/nothing/at/all")
        await venue.mine(await venue.seal())
        answer = await venue.http.get("/metrics")
        return answer.headers["content-type"], answer.text

    media_type, text = play(scenario)

    assert media_type.startswith("text/plain")
    expected = {
        'afterbell_orders_total{outcome="accepted",reason=""}': 2,
        'afterbell_orders_total{outcome="rejected",reason="OFF_STEP"}': 1,
        'afterbell_fills_total{market="1",outcome="matched"}': 1,
        'afterbell_batches_total{step="sealed"}': 1,
        'afterbell_batches_total{step="confirmed"}': 1,
        "afterbell_settlement_gas_total": 90_000,
        'afterbell_journal_frames_total{command="PlaceOrder"}': 3,
        'afterbell_requests_total{method="POST",route="/v1/orders",status="200"}': 2,
        'afterbell_requests_total{method="POST",route="/v1/orders",status="422"}': 1,
        'afterbell_requests_total{method="GET",route="/v1/orders/{order_id}",status="404"}': 1,
        'afterbell_requests_total{method="GET",route="unknown",status="404"}': 1,
        'afterbell_request_seconds_count{method="POST",route="/v1/orders"}': 3,
        'afterbell_test{which="b"}': 2.5,
    }
    assert {name: read_sample(text, name) for name in expected} == expected
    assert read_sample(text, "afterbell_journal_sync_seconds_count") >= 5
    assert "afterbell_absent" not in text


def test_metrics__relayer_and_limits__counted(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        for _ in range(2):
            await venue.post("/v1/claims", {"recipient": "0x" + "ab" * 20})
        return (await venue.http.get("/metrics")).text

    text = play(scenario, limits=GatewayLimits(n_relayed_per_minute=1))

    assert read_sample(text, 'afterbell_relayed_total{kind="claim",outcome="sent"}') == 1
    assert read_sample(text, 'afterbell_rate_limited_total{route="/v1/claims"}') == 1


def test_metrics__two_venues_in_one_process__do_not_add_up() -> None:
    first, second = Metrics(), Metrics()

    first.gas.inc(7)

    assert read_sample(first.render().decode(), "afterbell_settlement_gas_total") == 7
    assert read_sample(second.render().decode(), "afterbell_settlement_gas_total") == 0


# --------------------------------------------------------------------- readiness


def test_readiness__one_part_is_not__503_with_its_reason(play: Play) -> None:
    parts = (Readiness.of("sequencer", None), Readiness.of("chain", "the node does not answer"))

    async def scenario(venue: Venue) -> Any:
        app = create_app(replace(venue.services, readiness=lambda: parts, metrics=Metrics()))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://venue") as http:
            return await http.get("/readyz")

    answer = play(scenario)

    assert answer.status_code == 503
    assert answer.json() == {
        "is_ready": False,
        "parts": [
            {"name": "sequencer", "ready": True, "reason": ""},
            {"name": "chain", "ready": False, "reason": "the node does not answer"},
        ],
    }
