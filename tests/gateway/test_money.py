"""The relayer's routes: claims and signed deposits sent for others, and what is said when they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from afterbell.domain.codes import RejectReason
from afterbell.gateway.app import create_app
from afterbell.gateway.services import GatewayLimits
from afterbell.ports import ChainUnavailable, DepositAuthorization, RelayRefused
from tests.gateway.test_orders import refusal
from tests.gateway.venue import USDC, Venue

Play = Callable[..., Any]
R, S = b"\x21" * 32, b"\x22" * 32
SIGNATURE = "0x" + (R + S + b"\x1c").hex()
COMPACT = "0x" + (R + bytes([0x22 | 0x80]) + b"\x22" * 31).hex()
"""The same with the odd parity in the top bit of s."""
AUTHORIZATION: dict[str, Any] = {
    "sender": "0x" + "Aa" * 20,
    "owner": "0x" + "bb" * 20,
    "subaccount": "7",
    "quote": "1250000000",
    "valid_after_s": 0,
    "valid_before_s": 2_000_000_000,
    "salt": "0x" + "2c" * 32,
}
NOTHING = RelayRefused(
    RejectReason.NOTHING_TO_CLAIM,
    "the chain would refuse this",
    required="a withdrawal that is mined and not paid yet",
    found="claim: nothing",
    action="look at the withdrawal's life",
)


def test_claim__something_to_claim__transaction_told(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        answer = await venue.post("/v1/claims", {"recipient": "0x" + "Ab" * 20})
        return answer, venue.relayer.sent

    answer, sent = play(scenario)

    assert (answer.status_code, answer.json()) == (200, {"transaction": "0x" + "99" * 32})
    assert sent == [b"\xab" * 20]


def test_claim__nothing_there__refused_in_the_relayers_words(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        venue.relayer.refusal = NOTHING
        return await refusal(venue, "/v1/claims", {"recipient": "0x" + "ab" * 20})

    status, error = play(scenario)

    assert (status, error["code"], error["found"]) == (422, "NOTHING_TO_CLAIM", "claim: nothing")
    assert error["required"] == "a withdrawal that is mined and not paid yet" and error["action"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (RejectReason.TOKEN_REFUSED, 422),
        (RejectReason.BAD_SIGNATURE, 400),
        (RejectReason.NONCE_CONSUMED, 409),
        (RejectReason.EXPIRED, 422),
    ],
)
def test_deposit__refused_for_any_reason__status_and_code_fit(play: Play, reason: RejectReason, expected: int) -> None:
    async def scenario(venue: Venue) -> Any:
        venue.relayer.refusal = RelayRefused(reason, "no", required="a", found="b" * 1_000, action="c")
        body = {"authorization": AUTHORIZATION, "signature": SIGNATURE}
        return await refusal(venue, "/v1/deposits/authorization", body)

    status, error = play(scenario)

    assert (status, error["code"], error["required"], error["action"]) == (expected, reason.value, "a", "c")
    assert len(error["found"]) < 300


@pytest.mark.parametrize("signature", [SIGNATURE, COMPACT])
def test_deposit__signed_either_way__sent_as_it_was_signed(play: Play, signature: str) -> None:
    async def scenario(venue: Venue) -> Any:
        body = {"authorization": AUTHORIZATION | {"key": "0x" + "cc" * 20, "limits": str(1 << 137)}}
        answer = await venue.post("/v1/deposits/authorization", body | {"signature": signature})
        return answer, venue.relayer.sent

    answer, sent = play(scenario)

    assert (answer.status_code, answer.json()) == (200, {"transaction": "0x" + "99" * 32})
    assert sent == [
        DepositAuthorization(
            sender=b"\xaa" * 20,
            owner=b"\xbb" * 20,
            subaccount=7,
            quote=1_250 * USDC,
            valid_after_s=0,
            valid_before_s=2_000_000_000,
            salt=b"\x2c" * 32,
            key=b"\xcc" * 20,
            limits=1 << 137,
            v=28,
            r=R,
            s=S,
        )
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signature": "0x" + "ff" * 65}, "BAD_SIGNATURE"),
        ({"signature": None}, "MALFORMED_REQUEST"),
        ({"authorization": AUTHORIZATION | {"quote": str(1 << 64)}}, "MALFORMED_REQUEST"),
        ({"authorization": AUTHORIZATION | {"limits": str(1 << 138)}}, "MALFORMED_REQUEST"),
        ({"authorization": AUTHORIZATION | {"subaccount": str(1 << 80)}}, "MALFORMED_REQUEST"),
        ({"authorization": AUTHORIZATION | {"salt": "0x12"}}, "MALFORMED_REQUEST"),
    ],
)
def test_deposit__malformed__refused_and_nothing_sent(play: Play, changes: dict[str, Any], code: str) -> None:
    async def scenario(venue: Venue) -> Any:
        body = {"authorization": AUTHORIZATION, "signature": SIGNATURE} | changes
        return await refusal(venue, "/v1/deposits/authorization", body), venue.relayer.sent

    (status, error), sent = play(scenario)

    assert (status, error["code"], sent) == (400, code, [])


def test_relayer__node_does_not_answer__try_again(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        venue.relayer.refusal = ChainUnavailable("no answer within 5000 ms")
        return await venue.post("/v1/claims", {"recipient": "0x" + "ab" * 20})

    answer = play(scenario)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NOT_READY")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/v1/claims", "/v1/deposits/authorization"])
def test_relayer__none_runs__not_ready_and_what_to_do(play: Play, path: str) -> None:
    async def scenario(venue: Venue) -> Any:
        app = create_app(replace(venue.services, relayer=None))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://venue") as http:
            body: dict[str, Any] = {"recipient": "0x" + "ab" * 20}
            if path != "/v1/claims":
                body = {"authorization": AUTHORIZATION, "signature": SIGNATURE}
            return await http.post(path, json=body)

    answer = play(scenario)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "NOT_READY")
    assert error["required"] == "a venue with a relayer" and error["action"]


def test_relayer__asked_too_often__limited_by_address(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return [await venue.post("/v1/claims", {"recipient": "0x" + "ab" * 20}) for _ in range(3)]

    answers = play(scenario, limits=GatewayLimits(n_relayed_per_minute=2))

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30


def test_withdrawal__from_request_to_payment__every_step_with_its_transaction(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        withdrawn = (await venue.post("/v1/withdrawals", owner.withdraw_body(5 * USDC))).json()
        path = f"/v1/withdrawals/{withdrawn['transfer_id']}"
        lives = [withdrawn["steps"]]
        batch = await venue.seal()
        transaction = await venue.mine(batch)
        lives.append((await venue.get(path))["steps"])
        await venue.finalise()
        await venue.recorder.record_claim_paid(owner.key.address, b"\x44" * 32, venue.n_blocks)
        lives.append((await venue.get(path))["steps"])
        listed = (await venue.get(f"/v1/accounts/{owner.account_hex}/transfers"))["transfers"]
        return lives, "0x" + transaction.hex(), listed

    (accepted, mined, paid), transaction, listed = play(scenario)

    assert [step["status"] for step in accepted] == ["accepted"]
    assert [(step["status"], step["transaction"], step["block"]) for step in mined] == [
        ("accepted", None, None),
        ("sealed", None, None),
        ("submitted", transaction, None),
        ("mined", transaction, 2),
    ]
    assert all(step["time_ms"] for step in mined if step["status"] != "submitted")
    assert [(step["status"], step["transaction"], step["block"]) for step in paid[4:]] == [
        ("claimable", transaction, 2),
        ("paid", "0x" + "44" * 32, 2),
    ]
    assert listed[0]["steps"] == paid
    assert [(step["status"], step["block"]) for step in listed[1]["steps"]] == [("credited", 1)]
