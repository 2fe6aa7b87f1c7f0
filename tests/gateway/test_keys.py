"""Session keys over HTTP: linked by the owner, trading within limits, revoked; approvals instead of signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from afterbell.gateway.app import create_app
from afterbell.gateway.metrics import Metrics
from afterbell.gateway.services import Services
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.queries import ReadModel
from afterbell.signing.keys import SigningKey, join_signature
from tests.gateway.test_orders import refusal
from tests.gateway.venue import USDC, Participant, Venue

Play = Callable[..., Any]
KEY = SigningKey((77).to_bytes(32, "big"))


class KeyHolder(Participant):
    """Signs with a session key for somebody else's account."""

    def __init__(self, owner: Participant) -> None:
        super().__init__(77, owner.venue)
        self.session_key = self.key
        self.key = owner.key
        self.account, self.account_hex, self.address_hex = owner.account, owner.account_hex, owner.address_hex

    def sign(self, message: Any, *, chain_id: int = 31337) -> str:
        return "0x" + join_signature(*self.session_key.sign(self.digest(message, chain_id=chain_id))).hex()


async def link(venue: Venue, owner: Participant, **changes: Any) -> KeyHolder:
    response = await venue.post("/v1/keys", owner.link_body(owner.link_key(KEY.address, **changes)))
    assert response.status_code == 200, response.text
    return KeyHolder(owner)


async def keys_of(venue: Venue, owner: Participant) -> Any:
    return (await venue.get(f"/v1/accounts/{owner.account_hex}/keys"))["keys"]


def test_key__linked_mined_expired__status_and_transaction_told(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        message = owner.link_key(KEY.address, markets=0b11, reduce_only=True)
        linked = (await venue.post("/v1/keys", owner.link_body(message))).json()
        seen = [linked["status"]]
        batch = await venue.seal()
        seen += [key["status"] for key in await keys_of(venue, owner)]
        transaction = await venue.mine(batch)
        (mined,) = await keys_of(venue, owner)
        venue.clock.advance(86_400_000 + 1_000)
        seen += [mined["status"]] + [key["status"] for key in await keys_of(venue, owner)]
        return linked, mined, seen, owner.digest(message), transaction

    linked, mined, seen, digest, transaction = play(scenario)

    assert seen == ["linking", "linking", "active", "expired"]
    assert (linked["key"], linked["operation_id"]) == ("0x" + KEY.address.hex(), "0x" + digest.hex())
    assert (linked["markets"], linked["max_notional_quote"]) == ([1, 2], str(1_000 * USDC))
    assert (linked["trade_only"], linked["reduce_only"], linked["transaction"]) == (True, True, None)
    assert (mined["sequence"], mined["transaction"], mined["block"]) == (1, "0x" + transaction.hex(), 2)
    assert (mined["revoked_at_ms"], mined["code"]) == (None, None)


def test_key__signs_orders_and_cancels__taken_for_the_owner(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        holder = await link(venue, owner)
        order = holder.order(is_buy=True, limit_ticks=9_900)
        placed = await venue.post("/v1/orders", holder.order_body(order))
        smaller = holder.order(is_buy=True, limit_ticks=9_900, size_lots=9_000)
        amended = await venue.post("/v1/orders/amend", holder.amend_body(order, smaller))
        cancelled = await venue.post("/v1/orders/cancel", holder.cancel_body(smaller))
        placed_again = await venue.post("/v1/orders", holder.order_body(holder.order(is_buy=True, limit_ticks=9_905)))
        everything = await venue.post("/v1/orders/cancel-all", holder.cancel_all_body())
        return [answer.json() for answer in (placed, amended, cancelled, placed_again, everything)]

    placed, amended, cancelled, placed_again, everything = play(scenario)

    assert (placed["status"], placed["signer"]) == ("OPEN", "0x" + KEY.address.hex())
    assert (amended["amends"], amended["signer"]) == (placed["order_id"], "0x" + KEY.address.hex())
    assert cancelled["order_ids"] == [amended["order_id"]]
    assert everything["order_ids"] == [placed_again["order_id"]]


KEY_CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another market": ({}, {"market": 2}, "KEY_LIMIT"),
    "too large": ({"max_notional_quote": 99 * USDC}, {}, "KEY_LIMIT"),
    "not reducing": ({"reduce_only": True}, {}, "KEY_LIMIT"),
}


@pytest.mark.parametrize("case", KEY_CASES)
def test_key__order_beyond_its_limits__refused_with_words(play: Play, case: str) -> None:
    limits, order, code = KEY_CASES[case]

    async def scenario(venue: Venue) -> Any:
        holder = await link(venue, await venue.participant(1), **limits)
        return await refusal(venue, "/v1/orders", holder.order_body(holder.order(is_buy=True, **order)))

    status, error = play(scenario)

    assert (status, error["code"]) == (422, code)
    assert error["required"] and error["found"] and error["action"]


def test_key__expired__order_refused_as_such(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        holder = await link(venue, owner, key_expiry_s=venue.now_s + 100)
        venue.clock.advance(60_000)
        await venue.adopt_prices(10_000, 10_000)
        return await refusal(venue, "/v1/orders", holder.order_body(holder.order(is_buy=True)))

    status, error = play(scenario)

    assert (status, error["code"]) == (422, "KEY_EXPIRED")


def test_key__of_another_account__bad_signature_names_who_signed(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner, other = await venue.participant(1), await venue.participant(2)
        await link(venue, owner)
        thief = KeyHolder(other)
        return await refusal(venue, "/v1/orders", thief.order_body(thief.order(is_buy=True)))

    status, error = play(scenario)

    assert (status, error["code"]) == (400, "BAD_SIGNATURE")
    assert error["details"]["recovered_signer"] == "0x" + KEY.address.hex() and len(error["details"]["digest"]) == 66


def test_key__revoked__its_orders_leave_and_new_ones_are_refused(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        holder = await link(venue, owner)
        await venue.mine(await venue.seal())
        placed = (
            await venue.post("/v1/orders", holder.order_body(holder.order(is_buy=True, limit_ticks=9_900)))
        ).json()
        body = owner.revoke_body(KEY.address)
        revoked = await venue.post("/v1/keys/revoke", body)
        order = await venue.get(f"/v1/orders/{placed['order_id']}")
        refused = await refusal(venue, "/v1/orders", holder.order_body(holder.order(is_buy=True, limit_ticks=9_900)))
        again = await refusal(venue, "/v1/keys/revoke", body)
        return revoked.json(), order, refused, again

    revoked, order, refused, again = play(scenario)

    assert (revoked["status"], revoked["max_notional_quote"]) == ("revoked", str(1_000 * USDC))
    assert revoked["revoked_at_ms"] is not None and len(revoked["revocation_id"]) == 66
    assert (order["status"], order["reason"]) == ("CANCELLED", "KEY_REVOKED")
    assert (refused[0], refused[1]["code"]) == (422, "KEY_EXPIRED")
    assert (again[0], again[1]["code"]) == (409, "NONCE_CONSUMED")


def test_revocation__of_a_key_nobody_linked__dead_before_it_lived(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        revoked = await venue.post("/v1/keys/revoke", owner.revoke_body(KEY.address))
        return revoked.json(), await keys_of(venue, owner)

    revoked, keys = play(scenario)

    assert (revoked["status"], revoked["markets"], revoked["operation_id"]) == ("revoked", [], None)
    assert keys == [revoked]


@pytest.mark.parametrize(
    "changes", [{"markets": 0}, {"max_notional_quote": 0}, {"key": bytes(20)}, {"key_expiry_s": 2_000_000_000}]
)
def test_key__limits_that_cannot_be__bad_key(play: Play, changes: dict[str, Any]) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        fields = {"key": KEY.address} | changes
        message = owner.link_key(fields.pop("key"), **fields)
        return await refusal(venue, "/v1/keys", owner.link_body(message))

    status, error = play(scenario)

    assert (status, error["code"]) == (422, "BAD_KEY")
    assert error["required"] and error["found"]


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/keys/revoke"])
def test_key__links_or_revokes_keys_itself__owner_alone_may(play: Play, path: str) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        holder = await link(venue, owner)
        body = holder.revoke_body(KEY.address)
        if path == "/v1/keys":
            body = holder.link_body(holder.link_key(b"\x12" * 20))
        return await refusal(venue, path, body)

    status, error = play(scenario)

    assert (status, error["code"]) == (422, "KEY_LIMIT")
    assert "0x" + KEY.address.hex() in error["found"]


@pytest.mark.parametrize(("trade_only", "expected"), [(True, (422, "KEY_LIMIT")), (False, (200, None))])
def test_key__withdraws_to_the_owner__only_if_it_may(play: Play, trade_only: bool, expected: Any) -> None:
    async def scenario(venue: Venue) -> Any:
        holder = await link(venue, await venue.participant(1), trade_only=trade_only)
        response = await venue.post("/v1/withdrawals", holder.withdraw_body(10 * USDC))
        return response.status_code, response.json().get("error", {}).get("code")

    assert play(scenario) == expected


# ------------------------------------------------------- approvals of a contract wallet


def test_approved_link__digest_approved_on_chain__taken_without_a_signature(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        message = owner.link_key(KEY.address)
        body = owner.link_body(message, approved=True)
        del body["signature"]
        before = await refusal(venue, "/v1/keys", body)
        venue.approvals.approved.add((owner.key.address, owner.digest(message)))
        after = await venue.post("/v1/keys", body)
        batch = await venue.seal()
        return before, after.json(), owner.digest(message), batch

    (status, error), linked, digest, batch = play(scenario)

    assert (status, error["code"], error["details"]["digest"]) == (422, "NOT_APPROVED", "0x" + digest.hex())
    assert f"0x{digest.hex()}" in error["required"] and error["action"]
    assert linked["status"] == "linking" and linked["operation_id"] == "0x" + digest.hex()
    assert (batch.operation_ids, batch.codes) == ((digest,), b"\0")


def test_approved_withdrawal_and_revocation__approved_on_chain__taken(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        await link(venue, owner)
        message = owner.withdraw_message(5 * USDC)
        body = owner.withdraw_body(5 * USDC, message) | {"approved": True, "signature": None}
        venue.approvals.approved.add((owner.key.address, owner.digest(message)))
        withdrawn = await venue.post("/v1/withdrawals", body)
        revocation = owner.revoke_body(KEY.address, approved=True, signature=None)
        refused = await refusal(venue, "/v1/keys/revoke", revocation)
        return withdrawn.json(), refused

    withdrawn, (status, error) = play(scenario)

    assert (withdrawn["status"], withdrawn["quote"]) == ("accepted", str(5 * USDC))
    assert (status, error["code"]) == (422, "NOT_APPROVED")


def test_approved__and_signed__malformed(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        return await refusal(venue, "/v1/keys", owner.link_body(owner.link_key(KEY.address), approved=True))

    status, error = play(scenario)

    assert (status, error["code"], error["found"]) == (400, "MALFORMED_REQUEST", "both")


def test_approved__node_does_not_answer__not_ready(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        venue.approvals.is_down = True
        body = owner.link_body(owner.link_key(KEY.address), approved=True, signature=None)
        return await venue.post("/v1/keys", body)

    response = play(scenario)

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["code"] == "NOT_READY"


async def post_to(services: Services, path: str, body: Any) -> httpx.Response:
    """Ask a gateway of other parts on the same sequencer."""
    app = create_app(replace(services, metrics=Metrics()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://venue") as http:
        return await http.post(path, json=body)


def test_approved__where_the_chain_is_not_asked__not_ready_and_what_to_do(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        body = owner.link_body(owner.link_key(KEY.address), approved=True, signature=None)
        return await post_to(replace(venue.services, approvals=None), "/v1/keys", body)

    answer = play(scenario)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["action"]) == (503, "NOT_READY", "sign the operation instead")


def test_key__read_model_far_behind__told_that_it_is_taken(play: Play, tmp_path: Path) -> None:
    """The gateway reads an empty database: the operation is journalled all the same."""

    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        database = open_database(sqlite_dsn(tmp_path / "behind.sqlite"))
        behind = ReadModel(database)
        message = owner.link_key(KEY.address)
        answer = await post_to(replace(venue.services, readmodel=behind), "/v1/keys", owner.link_body(message))
        behind.close()
        database.dispose()
        return answer, owner.digest(message), await keys_of(venue, owner)

    answer, digest, keys = play(scenario)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "NOT_READY")
    assert error["details"] == {"operation_id": "0x" + digest.hex()} and "do not sign it again" in error["action"]
    assert [key["operation_id"] for key in keys] == ["0x" + digest.hex()]
