"""Transfers between subaccounts of one owner: taken, refused, shown to both sides, told on the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afterbell.domain.ids import account_hex, build_account_id
from tests.gateway.test_keys import link
from tests.gateway.test_orders import refusal
from tests.gateway.venue import USDC, Venue

Play = Callable[..., Any]


def test_transfer__from_request_to_final__both_subaccounts_show_it(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        receiver = account_hex(build_account_id(owner.key.address, 7))
        taken = (await venue.post("/v1/transfers", owner.transfer_body(5 * USDC, 7))).json()
        path = f"/v1/transfers/{taken['transfer_id']}"
        transaction = await venue.mine(await venue.seal())
        mined = await venue.get(path)
        await venue.finalise()
        final = await venue.get(path)
        received = (await venue.get(f"/v1/accounts/{receiver}/transfers"))["transfers"]
        money = (await venue.get(f"/v1/accounts/{receiver}"))["collateral_quote"]
        return owner, receiver, taken, mined, final, received, money, "0x" + transaction.hex()

    owner, receiver, taken, mined, final, received, money, transaction = play(scenario)

    assert (taken["kind"], taken["status"], taken["other_account"]) == ("sent", "accepted", receiver)
    assert [(step["status"], step["transaction"]) for step in mined["steps"]] == [
        ("accepted", None),
        ("sealed", None),
        ("submitted", transaction),
        ("mined", transaction),
    ]
    assert (final["status"], final["steps"][-1]["status"]) == ("final", "final")
    (shown,) = received
    assert (shown["kind"], shown["quote"], shown["status"]) == ("received", str(5 * USDC), "final")
    assert (shown["account"], shown["other_account"]) == (receiver, owner.account_hex)
    assert money == str(5 * USDC)


def test_transfer__more_than_free__refused_with_what_may_go(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1, 10 * USDC)
        return await refusal(venue, "/v1/transfers", owner.transfer_body(11 * USDC, 7))

    status, error = play(scenario)

    assert (status, error["code"], error["required"]) == (422, "MARGIN", "at most 10000000 quote")


def test_transfer__to_the_same_subaccount__refused(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        return await refusal(venue, "/v1/transfers", owner.transfer_body(USDC, 0))

    status, error = play(scenario)

    assert (status, error["code"]) == (422, "BAD_RECIPIENT")


def test_transfer__signed_by_a_session_key__refused_for_the_owner(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        holder = await link(venue, owner)
        return await refusal(venue, "/v1/transfers", holder.transfer_body(USDC, 7))

    status, error = play(scenario)

    assert (status, error["code"]) == (422, "KEY_LIMIT")
    assert "owner" in error["required"]


def test_transfer__sent_twice__counts_once(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        owner = await venue.participant(1)
        body = owner.transfer_body(USDC, 7)
        await venue.post("/v1/transfers", body)
        return await refusal(venue, "/v1/transfers", body)

    status, error = play(scenario)

    assert (status, error["code"]) == (409, "NONCE_CONSUMED")
