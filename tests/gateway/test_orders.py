"""Orders over HTTP: acknowledged with their fills, their life told to the end, every refusal with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from afterbell.domain.commands import HaltMarket
from afterbell.domain.order import TimeInForce
from tests.gateway.venue import CHAIN_ID, CLEARINGHOUSE, GENESIS_S, USDC, Venue

Play = Callable[..., Any]


async def refusal(venue: Venue, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    response = await venue.post(path, body)
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["message"] and set(error) == {"code", "message", "required", "found", "action", "details"}
    return response.status_code, error


def test_order__crosses_a_resting_one__answer_shows_the_fill(play: Play) -> None:
    """Maker sells 2 shares (20,000 lots) at 100.00, taker buys 1.5: 150 USDC notional, fees 100 and 400 ppm."""

    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        resting = await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=False, size_lots=20_000)))
        taking = await venue.post(
            "/v1/orders", taker.order_body(taker.order(is_buy=True, size_lots=15_000), client_id="mine-1")
        )
        return resting.json(), taking.json()

    resting, taking = play(scenario)

    assert (resting["status"], resting["remaining_lots"], resting["fills"]) == ("OPEN", 20_000, [])
    assert (taking["status"], taking["filled_lots"], taking["client_id"]) == ("FILLED", 15_000, "mine-1")
    (fill,) = taking["fills"]
    assert (fill["role"], fill["is_buy"], fill["status"], fill["symbol"]) == ("taker", True, "matched", "AAPL")
    assert (fill["price_ticks"], fill["size_lots"], fill["notional_quote"]) == (10_000, 15_000, str(150 * USDC))
    assert fill["fee_quote"] == str(60_000)


def test_order__life_of_its_fill__matched_submitted_mined_final(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=False)))
        order = (await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True)))).json()
        seen = []

        async def look() -> None:
            (fill,) = (await venue.get(f"/v1/orders/{order['order_id']}"))["fills"]
            seen.append((fill["status"], fill["transaction"], fill["block"]))

        await look()
        batch = await venue.seal()
        await look()
        transaction = "0x" + (await venue.submit_batch(batch)).hex()
        await look()
        await venue.mine(batch)
        await look()
        await venue.finalise()
        await look()
        return seen, transaction, (await venue.get(f"/v1/batches/{batch.sequence}"))

    seen, transaction, batch = play(scenario)

    assert seen == [
        ("matched", None, None),
        ("matched", None, None),
        ("submitted", transaction, None),
        ("mined", transaction, 3),
        ("final", transaction, 3),
    ]
    assert (batch["status"], batch["n_fills"], batch["n_failures"], len(batch["fills"])) == ("final", 1, 0, 1)


def test_account__after_a_fill__positions_money_and_history(play: Play) -> None:
    """Taker: long 1 share at 100.00 plus fee 0.04 USDC; deposit 1,000; at mark 100.00 equity is 999.96."""

    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2, 1_000 * USDC)
        await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=False)))
        await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True)))
        base = f"/v1/accounts/{taker.account_hex}"
        return [
            await venue.get(base + part) for part in ("", "/positions", "/fills", "/orders?status=all", "/transfers")
        ]

    account, positions, fills, orders, transfers = play(scenario)

    (position,) = positions["positions"]
    assert account["equity_quote"] == str(999_960_000) and account["collateral_quote"] == str(1_000 * USDC)
    assert (position["size_lots"], position["entry_quote"], position["symbol"]) == (10_000, "100040000", "AAPL")
    assert position["unrealised_pnl_quote"] == "-40000" and position["initial_margin_quote"] == str(10 * USDC)
    assert [fill["role"] for fill in fills["fills"]] == ["taker"]
    assert [(order["status"], len(order["fills"])) for order in orders["orders"]] == [("FILLED", 1)]
    (deposit,) = transfers["transfers"]
    assert (deposit["kind"], deposit["quote"], deposit["status"]) == ("deposit", str(1_000 * USDC), "credited")


def test_cancel__resting_order__leaves_the_book(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        order = maker.order(is_buy=True, limit_ticks=9_900)
        placed = (await venue.post("/v1/orders", maker.order_body(order))).json()
        cancelled = await venue.post("/v1/orders/cancel", maker.cancel_body(order))
        again = await venue.post("/v1/orders/cancel", maker.cancel_body(order))
        book = await venue.get("/v1/markets/AAPL/book")
        shown = await venue.get(f"/v1/orders/{placed['order_id']}")
        return placed, cancelled.json(), again, book, shown

    placed, cancelled, again, book, shown = play(scenario)

    assert cancelled["order_ids"] == [placed["order_id"]] and book["bids"] == []
    assert (shown["status"], shown["reason"], shown["remaining_lots"]) == ("CANCELLED", "USER", 0)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "UNKNOWN_ORDER")


def test_cancel_all__several_orders__all_leave_and_others_stay(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, other = await venue.participant(1), await venue.participant(2)
        for lane, ticks in enumerate((9_900, 9_895, 9_890)):
            await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=True, limit_ticks=ticks, lane=lane)))
        await venue.post("/v1/orders", other.order_body(other.order(is_buy=True, limit_ticks=9_880)))
        cancelled = await venue.post("/v1/orders/cancel-all", maker.cancel_all_body())
        return cancelled.json(), await venue.get("/v1/markets/AAPL/book")

    cancelled, book = play(scenario)

    assert len(cancelled["order_ids"]) == 3
    assert [(level["price_ticks"], level["size_lots"], level["n_orders"]) for level in book["bids"]] == [
        (9_880, 10_000, 1)
    ]


def test_order__ioc_finds_nothing__cancelled_at_once(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        order = taker.order(is_buy=True, time_in_force=TimeInForce.IOC)
        return (await venue.post("/v1/orders", taker.order_body(order))).json()

    order = play(scenario)

    assert (order["status"], order["reason"], order["filled_lots"], order["fills"]) == ("CANCELLED", "IOC", 0, [])


RULE_CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "expired": ({"lifetime_s": -10}, 422, "EXPIRED"),
    "expires too late": ({"lifetime_s": 31 * 86_400}, 422, "EXPIRY_TOO_FAR"),
    "wrong epoch": ({"epoch": 9}, 422, "WRONG_EPOCH"),
    "size off step": ({"size_lots": 10_050}, 422, "OFF_STEP"),
    "price off step": ({"limit_ticks": 9_999}, 422, "OFF_STEP"),
    "below minimum": ({"size_lots": 500}, 422, "BELOW_MINIMUM"),
    "no size": ({"size_lots": 0}, 422, "ZERO_SIZE"),
    "too large": ({"size_lots": 10_000_100}, 422, "SIZE_TOO_LARGE"),
    "too dear": ({"size_lots": 9_000_000, "max_fee_ppm": 500}, 422, "INSUFFICIENT_MARGIN"),
    "fee too high to sign for": ({"max_fee_ppm": 1}, 422, "FEE_ABOVE_MAXIMUM"),
    "unknown market": ({"market": 9}, 404, "UNKNOWN_MARKET"),
    "far ahead of the clock": ({"seq": 10**12}, 422, "SEQ_TOO_FAR_AHEAD"),
    "post-only and immediate": ({"post_only": True, "time_in_force": TimeInForce.IOC}, 422, "UNKNOWN_FLAGS"),
    "lane of operations": ({"lane": 65_535}, 422, "UNKNOWN_FLAGS"),
}


@pytest.mark.parametrize("case", RULE_CASES)
def test_order__breaks_a_rule__refused_with_reason_and_action(play: Play, case: str) -> None:
    changes, status, code = RULE_CASES[case]

    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2, 1_000 * USDC)
        fields: dict[str, Any] = {"is_buy": True} | changes
        return await refusal(venue, "/v1/orders", taker.order_body(taker.order(**fields)))

    found_status, error = play(scenario)

    assert (found_status, error["code"]) == (status, code)
    assert error["required"] and error["found"] and error["action"]


def test_order__post_only_would_take__refused(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=False)))
        return await refusal(venue, "/v1/orders", taker.order_body(taker.order(is_buy=True, post_only=True)))

    status, error = play(scenario)

    assert (status, error["code"]) == (422, "WOULD_TAKE")


def test_order__sent_twice__second_answer_is_its_present_state(play: Play) -> None:
    """Filled between the two: 40 of 100 lots steps, so the repeat shows the fill and places nothing."""

    async def scenario(venue: Venue) -> Any:
        maker, taker = await venue.participant(1), await venue.participant(2)
        body = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900), client_id="mine")
        first = (await venue.post("/v1/orders", body)).json()
        await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=False, limit_ticks=9_900, size_lots=4_000)))
        second = await venue.post("/v1/orders", body)
        return first, second, await venue.get("/v1/markets/AAPL/book"), venue.services.hub.last_sequence

    first, second, book, n_frames = play(scenario)

    again = second.json()
    assert (first["is_repeat"], second.status_code, again["is_repeat"]) == (False, 200, True)
    assert again["order_id"] == first["order_id"] and again["client_id"] == "mine"
    assert (again["status"], again["filled_lots"], again["remaining_lots"]) == ("OPEN", 4_000, 6_000)
    assert [fill["size_lots"] for fill in again["fills"]] == [4_000]
    assert [level["size_lots"] for level in book["bids"]] == [6_000]
    assert n_frames == 13  # nine of the start, two deposits, two orders: the repeat is not journalled


def test_order__sent_again_after_it_ended__told_how(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        order = maker.order(is_buy=True, limit_ticks=9_900)
        body = maker.order_body(order)
        await venue.post("/v1/orders", body)
        await venue.post("/v1/orders/cancel", maker.cancel_body(order))
        return (await venue.post("/v1/orders", body)).json()

    again = play(scenario)

    assert (again["status"], again["reason"], again["is_repeat"]) == ("CANCELLED", "USER", True)


def test_order__two_copies_at_once__one_order_and_one_repeat(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        body = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900))
        answers = await asyncio.gather(*(venue.post("/v1/orders", body) for _ in range(3)))
        return [answer.json() for answer in answers], await venue.get("/v1/markets/AAPL/book")

    answers, book = play(scenario)

    assert sorted(answer["is_repeat"] for answer in answers) == [False, True, True]
    assert [(level["size_lots"], level["n_orders"]) for level in book["bids"]] == [(10_000, 1)]


def test_order__refused_and_sent_again__judged_again(play: Play) -> None:
    """What was never accepted is no repeat: with money it is taken."""

    async def scenario(venue: Venue) -> Any:
        poor = await venue.participant(2, 0)
        body = poor.order_body(poor.order(is_buy=True, limit_ticks=9_900))
        first = await venue.post("/v1/orders", body)
        await venue.participant(2)
        return first, await venue.post("/v1/orders", body)

    first, second = play(scenario)

    assert (first.status_code, first.json()["error"]["code"]) == (422, "INSUFFICIENT_MARGIN")
    assert (second.status_code, second.json()["is_repeat"]) == (200, False)


def test_order__older_than_its_lane__dead(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1)
        old = maker.order_body(maker.order(is_buy=True, limit_ticks=9_900))
        await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=True, limit_ticks=9_895)))
        return await refusal(venue, "/v1/orders", old)

    status, error = play(scenario)

    assert (status, error["code"]) == (409, "DEAD_LANE")


def test_order__market_halted__refused_with_the_reason(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        await venue.sequencer.submit(HaltMarket(market=1, reason="split 4:1 in the price file"))
        market = await venue.get("/v1/markets/AAPL")
        return market, await refusal(venue, "/v1/orders", taker.order_body(taker.order(is_buy=True)))

    market, (status, error) = play(scenario)

    assert (market["is_halted"], market["halt_reason"]) == (True, "split 4:1 in the price file")
    assert (status, error["code"]) == (422, "MARKET_HALTED")


def test_order__unsigned__told_which_digest_to_sign(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        body = taker.order_body(taker.order(is_buy=True))
        del body["signature"]
        return taker, await refusal(venue, "/v1/orders", body)

    taker, (status, error) = play(scenario)

    assert (status, error["code"], error["found"]) == (400, "BAD_SIGNATURE", "none")
    assert error["details"]["expected_signer"] == taker.address_hex and len(error["details"]["digest"]) == 66


def test_order__signed_by_another_key__told_who_signed(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker, outsider = await venue.participant(2), await venue.participant(3)
        order = taker.order(is_buy=True)
        body = taker.order_body(order, signature=outsider.sign(order))
        return taker, outsider, await refusal(venue, "/v1/orders", body)

    taker, outsider, (status, error) = play(scenario)

    assert (status, error["code"]) == (400, "BAD_SIGNATURE")
    assert error["details"]["recovered_signer"] == outsider.address_hex
    assert error["details"]["expected_signer"] == taker.address_hex


def test_order__changed_after_signing__signature_refused(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        body = taker.order_body(taker.order(is_buy=True))
        body["order"]["size_lots"] += 100
        return await refusal(venue, "/v1/orders", body)

    status, error = play(scenario)

    assert (status, error["code"]) == (400, "BAD_SIGNATURE")


@pytest.mark.parametrize("names_its_domain", [True, False])
def test_order__signed_for_another_chain__told_so(play: Play, names_its_domain: bool) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        order = taker.order(is_buy=True)
        body = taker.order_body(order, signature=taker.sign(order, chain_id=1))
        if names_its_domain:
            body["domain"] = {"chain_id": 1, "verifying_contract": "0x" + CLEARINGHOUSE.hex()}
        return await refusal(venue, "/v1/orders", body)

    status, error = play(scenario)

    assert (status, error["code"]) == (400, "WRONG_CHAIN")
    assert str(CHAIN_ID) in error["required"] and "chain id 1" in error["found"]


def test_order__64_byte_signature_and_own_domain__accepted(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        taker = await venue.participant(2)
        order = taker.order(is_buy=True, limit_ticks=9_900)
        body = taker.order_body(order, domain={"chain_id": CHAIN_ID})
        full = bytes.fromhex(body["signature"][2:])
        parity = (full[64] - 27) << 255
        body["signature"] = "0x" + (full[:32] + (int.from_bytes(full[32:64], "big") | parity).to_bytes(32, "big")).hex()
        return await venue.post("/v1/orders", body)

    response = play(scenario)

    assert response.status_code == 200 and response.json()["status"] == "OPEN"


def test_withdrawal__life__accepted_to_paid(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        person = await venue.participant(2, 1_000 * USDC)
        taken = (await venue.post("/v1/withdrawals", person.withdraw_body(250 * USDC))).json()
        path = f"/v1/withdrawals/{taken['transfer_id']}"
        seen = [taken["status"], (await venue.get(path))["status"]]
        batch = await venue.seal()
        seen.append((await venue.get(path))["status"])
        await venue.mine(batch)
        seen.append((await venue.get(path))["status"])
        await venue.finalise()
        seen.append((await venue.get(path))["status"])
        await venue.recorder.record_claim_paid(person.key.address, b"\x99" * 32, venue.n_blocks + 1)
        paid = await venue.get(path)
        seen.append(paid["status"])
        return seen, paid, await venue.get(f"/v1/accounts/{person.account_hex}")

    seen, paid, account = play(scenario)

    assert seen == ["accepted", "accepted", "sealed", "mined", "claimable", "paid"]
    assert paid["paid_transaction"] == "0x" + "99" * 32 and paid["quote"] == str(250 * USDC)
    assert account["collateral_quote"] == str(750 * USDC)


def test_withdrawal__more_than_there_is__refused(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        person = await venue.participant(2, 1_000 * USDC)
        return await refusal(venue, "/v1/withdrawals", person.withdraw_body(1_001 * USDC))

    status, error = play(scenario)

    assert status == 422 and error["code"] in ("INSUFFICIENT_MARGIN", "MARGIN") and error["action"]


def test_withdrawal__sent_twice__nonce_consumed(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        person = await venue.participant(2, 1_000 * USDC)
        body = person.withdraw_body(10 * USDC)
        await venue.post("/v1/withdrawals", body)
        return await refusal(venue, "/v1/withdrawals", body)

    status, error = play(scenario)

    assert (status, error["code"]) == (409, "NONCE_CONSUMED")


def test_operation__nonce_outside_its_lane__told_how_to_build_it(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        person = await venue.participant(2)
        body = person.withdraw_body(10 * USDC)
        body["withdrawal"]["nonce"] = str(int(body["withdrawal"]["nonce"]) & ((1 << 40) - 1))
        return await refusal(venue, "/v1/withdrawals", body)

    status, error = play(scenario)

    assert (status, error["code"]) == (400, "MALFORMED_REQUEST") and "65535" in error["required"]


def test_orders__many_at_once__all_acknowledged_and_found(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        maker = await venue.participant(1, 10_000_000 * USDC)
        bodies = [
            maker.order_body(maker.order(is_buy=True, limit_ticks=9_900 - 5 * (lane % 20), lane=lane))
            for lane in range(60)
        ]
        responses = await asyncio.gather(*(venue.post("/v1/orders", body) for body in bodies))
        page = await venue.get(f"/v1/accounts/{maker.account_hex}/orders?status=all&limit=500")
        return [response.status_code for response in responses], page

    statuses, page = play(scenario)

    assert statuses == [200] * 60 and len(page["orders"]) == 60
    assert page["orders"][0]["seq_ms"] > GENESIS_S // 1_000_000
