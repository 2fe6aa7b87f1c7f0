"""Amendments, batches of orders, client ids, triggers and OCO over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from afterbell.domain.order import TimeInForce, TriggerKind
from tests.gateway.test_orders import refusal
from tests.gateway.venue import Participant, Venue

Play = Callable[..., Any]


async def place(venue: Venue, person: Participant, **fields: Any) -> Any:
    order = person.order(**({"is_buy": True, "limit_ticks": 9_900} | fields))
    response = await venue.post("/v1/orders", person.order_body(order))
    assert response.status_code == 200, response.text
    return order, response.json()


# ------------------------------------------------------------------------- amend


def test_amend__smaller_at_the_same_price__replaces_and_names_it(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        order, placed = await place(venue, maker)
        smaller = maker.order(is_buy=True, limit_ticks=9_900, size_lots=4_000)
        amended = (await venue.post("/v1/orders/amend", maker.amend_body(order, smaller, client_id="b"))).json()
        again = (await venue.post("/v1/orders/amend", maker.amend_body(order, smaller, client_id="b"))).json()
        shown = await venue.get(f"/v1/orders/{amended['order_id']}")
        return placed, amended, again, shown, await venue.get(f"/v1/orders/{placed['order_id']}")

    placed, amended, again, shown, old = play(scenario)

    assert (amended["status"], amended["remaining_lots"], amended["amends"]) == ("OPEN", 4_000, placed["order_id"])
    assert (again["is_repeat"], again["order_id"]) == (True, amended["order_id"])
    assert shown == amended
    assert (old["status"], old["reason"], old["remaining_lots"]) == ("CANCELLED", "AMENDED", 0)


AMEND_CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int, str]] = {
    "filled meanwhile": ({}, {"filled_lots": 100}, 409, "FILLED_MEANWHILE"),
    "another lane": ({"lane": 3}, {}, 422, "NOT_AMENDABLE"),
    "another market": ({"market": 2}, {}, 422, "NOT_AMENDABLE"),
    "unknown order": ({}, {"order_id": "0x" + "12" * 32}, 404, "UNKNOWN_ORDER"),
    "other signature": ({}, {"signature": "0x" + "11" * 65}, 400, "BAD_SIGNATURE"),
}


@pytest.mark.parametrize("case", AMEND_CASES)
def test_amend__not_what_the_caller_believes__refused_and_the_order_stays(play: Play, case: str) -> None:
    fields, changes, expected_status, code = AMEND_CASES[case]

    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        order, placed = await place(venue, maker)
        new = maker.order(**({"is_buy": True, "limit_ticks": 9_905} | fields))
        refused = await refusal(venue, "/v1/orders/amend", maker.amend_body(order, new) | changes)
        return refused, await venue.get(f"/v1/orders/{placed['order_id']}")

    (status, error), order = play(scenario)

    assert (status, error["code"]) == (expected_status, code)
    assert error["required"] and error["found"] and error["action"]
    assert order["status"] == "OPEN"


# ------------------------------------------------------------------------- batch


def test_batch__cancel_place_amend_and_a_bad_one__each_on_its_own_in_order(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        first, _ = await place(venue, maker, lane=1)
        second, _ = await place(venue, maker, lane=2, limit_ticks=9_895)
        amended = maker.order(is_buy=True, limit_ticks=9_890, lane=2)
        items = [
            {"cancel": maker.cancel_body(first)},
            {"place": maker.order_body(maker.order(is_buy=True, limit_ticks=9_885, lane=3), client_id="c")},
            {"place": maker.order_body(maker.order(is_buy=True, limit_ticks=9_999, lane=4))},
            {"amend": maker.amend_body(second, amended)},
            {"cancel": maker.cancel_body(first)},
        ]
        answer = await venue.post("/v1/orders/batch", {"items": items})
        return answer, await venue.get("/v1/markets/AAPL/book")

    answer, book = play(scenario)

    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [result["status"] for result in results] == [200, 200, 422, 200, 404]
    assert [(result["error"] or {}).get("code") for result in results] == [
        None,
        None,
        "OFF_STEP",
        None,
        "UNKNOWN_ORDER",
    ]
    assert len(results[0]["result"]["order_ids"]) == 1 and results[1]["result"]["client_id"] == "c"
    assert results[2]["result"] is None and results[2]["error"]["action"]
    assert [level["price_ticks"] for level in book["bids"]] == [9_890, 9_885]


def test_batch__cancel_all_between_two_orders__takes_only_the_first(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        first = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900, lane=1))
        everything = maker.cancel_all_body()
        second = maker.order_body(maker.order(is_buy=True, limit_ticks=9_895, lane=2))
        body = {"items": [{"place": first}, {"cancel_all": everything}, {"place": second}]}
        answer = await venue.post("/v1/orders/batch", body)
        return answer.json()["results"], await venue.get("/v1/markets/AAPL/book")

    results, book = play(scenario)

    assert results[1]["result"]["order_ids"] == [results[0]["result"]["order_id"]]
    assert [level["price_ticks"] for level in book["bids"]] == [9_895]


def test_batch__twenty_orders__all_taken_and_twenty_one_are_not(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        items = [
            {"place": maker.order_body(maker.order(is_buy=True, limit_ticks=9_900, lane=lane, size_lots=2_000))}
            for lane in range(21)
        ]
        too_many = await venue.post("/v1/orders/batch", {"items": items})
        whole = await venue.post("/v1/orders/batch", {"items": items[:20]})
        return too_many, whole, await venue.get("/v1/markets/AAPL/book")

    too_many, whole, book = play(scenario)

    assert (too_many.status_code, too_many.json()["error"]["code"]) == (400, "MALFORMED_REQUEST")
    assert [result["status"] for result in whole.json()["results"]] == [200] * 20
    assert [(level["size_lots"], level["n_orders"]) for level in book["bids"]] == [(40_000, 20)]


@pytest.mark.parametrize("item", [{}, {"place": None}, {"place": 1}, {"cancel": {}, "place": {}}, {"faucet": {}}])
def test_batch__item_of_no_kind__whole_batch_malformed_and_nothing_done(play: Play, item: Any) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        good = {"place": maker.order_body(maker.order(is_buy=True, limit_ticks=9_900))}
        answer = await venue.post("/v1/orders/batch", {"items": [good, item]})
        return answer, await venue.get("/v1/markets/AAPL/book")

    answer, book = play(scenario)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "MALFORMED_REQUEST")
    assert all(field["field"].startswith("items.1") for field in error["details"]["fields"])
    assert book["bids"] == []


# -------------------------------------------------------------------- client ids


def test_client_order__by_its_id__same_as_by_order_id(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, other = await venue.participant(1), await venue.participant(2)
        body = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900), client_id="desk:7.a-1")
        placed = (await venue.post("/v1/orders", body)).json()
        base = "/v1/accounts/{}/client-orders/desk:7.a-1"
        missing = await venue.http.get(base.format(other.account_hex))
        strange = await venue.http.get(f"/v1/accounts/{maker.account_hex}/client-orders/" + "x" * 37)
        return placed, await venue.get(base.format(maker.account_hex)), missing, strange

    placed, found, missing, strange = play(scenario)

    assert found == placed
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "UNKNOWN_ORDER")
    assert "same bytes" in missing.json()["error"]["action"]
    assert (strange.status_code, strange.json()["error"]["code"]) == (400, "MALFORMED_REQUEST")


def test_client_id__of_a_live_order__second_refused_and_the_first_still_found(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        first = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900, lane=1), client_id="one")
        placed = (await venue.post("/v1/orders", first)).json()
        second = maker.order_body(maker.order(is_buy=True, limit_ticks=9_895, lane=2), client_id="one")
        refused = await refusal(venue, "/v1/orders", second)
        return placed, refused, await venue.get(f"/v1/accounts/{maker.account_hex}/client-orders/one")

    placed, (status, error), found = play(scenario)

    assert (status, error["code"], found["order_id"]) == (409, "DUPLICATE_CLIENT_ID", placed["order_id"])


def test_unknown_order__action_says_how_to_be_certain(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return (await venue.http.get("/v1/orders/0x" + "12" * 32)).json()["error"]

    error = play(scenario)

    assert error["code"] == "UNKNOWN_ORDER"
    assert error["action"] == "to be certain, send the same bytes again (it counts once) or cancel its nonce"


# --------------------------------------------------------------- triggers and OCO


def test_stop__waits_then_fills_when_its_trigger_is_met__status_told(play: Play) -> None:
    """Sell stop at mark <= 99.00 with 98.00 as worst price; the mark falls to 98.90, a bid waits at 98.50."""

    async def scenario(venue: Venue) -> Any:
        holder, bidder = await venue.participant(1), await venue.participant(2)
        await place(venue, bidder, limit_ticks=9_850)
        stop = holder.order(
            is_buy=False,
            limit_ticks=9_800,
            trigger_ticks=9_900,
            trigger_kind=TriggerKind.MARK_AT_OR_BELOW,
            time_in_force=TimeInForce.IOC,
        )
        waiting = (await venue.post("/v1/orders", holder.order_body(stop))).json()
        opened = await venue.get(f"/v1/accounts/{holder.account_hex}/orders")
        await venue.adopt_prices(9_890, 10_000)
        return waiting, opened["orders"], await venue.get(f"/v1/orders/{waiting['order_id']}")

    waiting, opened, filled = play(scenario)

    assert (waiting["status"], waiting["remaining_lots"]) == ("WAITING", 10_000)
    assert (waiting["trigger_ticks"], waiting["trigger_kind"]) == (9_900, 2)
    assert opened == [waiting]
    assert (filled["status"], filled["filled_lots"], filled["remaining_lots"]) == ("FILLED", 10_000, 0)
    assert [fill["price_ticks"] for fill in filled["fills"]] == [9_850]


def test_oco__one_fills_partly_then_whole__other_shrinks_then_ends(play: Play) -> None:
    """Take profit at 101.00 and a stop at 99.00 share 1 share: 0.4 filled leaves 0.6 to both, then none."""

    async def scenario(venue: Venue) -> Any:
        holder, taker = await venue.participant(1), await venue.participant(2)
        profit, first = await place(venue, holder, is_buy=False, limit_ticks=10_100, lane=5)
        _, second = await place(
            venue,
            holder,
            is_buy=False,
            limit_ticks=9_800,
            lane=5,
            seq=profit.seq,
            trigger_ticks=9_900,
            trigger_kind=TriggerKind.MARK_AT_OR_BELOW,
        )
        await place(venue, taker, limit_ticks=10_100, size_lots=4_000, time_in_force=TimeInForce.IOC)
        partly = [await venue.get(f"/v1/orders/{order['order_id']}") for order in (first, second)]
        await place(venue, taker, limit_ticks=10_100, size_lots=6_000, time_in_force=TimeInForce.IOC)
        ended = [await venue.get(f"/v1/orders/{order['order_id']}") for order in (first, second)]
        return first, second, partly, ended

    first, second, partly, ended = play(scenario)

    assert (first["oco_order_id"], second["oco_order_id"]) == (None, first["order_id"])
    assert partly[0]["oco_order_id"] == second["order_id"]
    assert [(order["status"], order["filled_lots"], order["remaining_lots"]) for order in partly] == [
        ("OPEN", 4_000, 6_000),
        ("WAITING", 0, 6_000),
    ]
    assert [(order["status"], order["reason"], order["remaining_lots"]) for order in ended] == [
        ("FILLED", None, 0),
        ("CANCELLED", "OCO", 0),
    ]


def test_fok__too_little_in_the_book__refused_whole(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await place(venue, maker, is_buy=False, limit_ticks=10_000, size_lots=4_000)
        order = taker.order(is_buy=True, time_in_force=TimeInForce.FOK)
        answer = await venue.post("/v1/orders", taker.order_body(order))
        return answer.json(), await venue.get("/v1/markets/AAPL/book")

    answer, book = play(scenario)

    assert (answer["status"], answer["reason"], answer["filled_lots"]) == ("CANCELLED", "CANNOT_FILL", 0)
    assert [level["size_lots"] for level in book["asks"]] == [4_000]
