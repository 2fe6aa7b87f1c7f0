"""Session keys through the SDK: linked, trading within their limits, revoked; a wrong key says who signed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from afterbell.sdk import AsyncClient, KeyRefused, KeyTerms, NotFound, SdkError, SignatureRefused, generate_key
from tests.gateway.venue import USDC, Venue
from tests.sdk.support import app_transport, playing


def build_session_client(venue: Venue, private_key: str, owner: str) -> AsyncClient:
    return AsyncClient("http://venue", key=private_key, owner=owner, http_transport=app_transport(venue))


@pytest.mark.anyio
async def test_session_key__linked__trades_for_the_owner_at_once(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, taker):
        session = generate_key()
        linked = await maker.link_key(session.address, "500", markets=("AAPL",), lifetime_s=3_600)
        assert (linked.status, linked.max_notional_quote, linked.markets) == ("linking", 500 * USDC, (1,))
        assert (linked.trade_only, linked.reduce_only, linked.key_expiry_s) == (True, False, venue.now_s + 3_600)
        async with build_session_client(venue, session.private_key, maker.owner) as client:
            assert (client.owner, client.signer, client.is_session_key) == (maker.owner, session.address, True)
            assert client.account_id == maker.account_id
            order = await client.limit("AAPL", "SELL", "2", "100.00")
            assert (order.account, order.signer) == (maker.account_id, session.address)
            taken = await taker.market_order("AAPL", "BUY", "1", worst_price="100.00")
            assert taken.filled_lots == 10_000
            amended = await client.amend(await client.order(order.order_id), price="100.50")
            assert await client.cancel(amended) == (amended.order_id,)
            assert await client.cancel_all() == ()

        assert maker.is_session_key is False
        await venue.seal()
        for batch in venue.sealed.batches:
            await venue.mine(batch)
        assert (await maker.keys())[0].status == "active"


@pytest.mark.anyio
async def test_session_key__beside_its_owner__neither_replaces_the_others_order(tmp_path: Path) -> None:
    """A page with the owner's key and a program with a session key quote at once: four orders rest, in four lanes."""
    async with playing(tmp_path) as (venue, maker, _taker):
        session = generate_key()
        await maker.link_key(session.address, "5000", markets=("AAPL",))
        async with build_session_client(venue, session.private_key, maker.owner) as client:
            placed = []
            for price in ("98.00", "98.50"):
                placed.append(await maker.limit("AAPL", "BUY", "1", price))
                placed.append(await client.limit("AAPL", "BUY", "1", price))

            resting = {order.order_id for order in await maker.orders(only_open=True)}

            assert resting == {order.order_id for order in placed}
            assert len({order.nonce >> 40 for order in placed}) == 4


@pytest.mark.anyio
async def test_session_key__beyond_its_limits__is_refused_as_a_key(tmp_path: Path) -> None:
    """500 USDC an order: 5 shares at 100.00 pass, 5.01 do not. TSLA is not among its markets."""
    async with playing(tmp_path) as (venue, maker, _taker):
        session = generate_key()
        # as one value, the way a deposit takes them
        await maker.link_key(KeyTerms(key=session.address, max_notional_quote=500 * USDC, markets=("AAPL",)))
        async with build_session_client(venue, session.private_key, maker.owner) as client:
            await client.limit("AAPL", "BUY", "5", "99.00")
            for call in (
                client.limit("AAPL", "BUY", "5.01", "99.00"),
                client.limit("TSLA", "BUY", "1", "99.00"),
                client.withdraw("1"),
                client.link_key(generate_key().address, "1"),
            ):
                with pytest.raises(KeyRefused) as caught:
                    await call
                assert caught.value.reason == "KEY_LIMIT" and caught.value.required
            with pytest.raises(SdkError, match="is a session key"):
                await client.revoke_key_on_chain(session.address)


@pytest.mark.anyio
async def test_session_key__not_trade_only__withdraws_to_the_owner_alone(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, taker):
        session = generate_key()
        await maker.link_key(session.address, "500", trade_only=False)
        async with build_session_client(venue, session.private_key, maker.owner) as client:
            withdrawing = asyncio.create_task(client.withdraw("25"))
            while not withdrawing.done():  # the owner's client has used the newest nonce: time must pass
                await asyncio.sleep(0.05)
                venue.clock.advance(100)
            transfer = await withdrawing
            with pytest.raises(KeyRefused):
                await client.withdraw("25", recipient=taker.owner)

        assert (transfer.counterparty, transfer.quote) == (maker.owner, 25 * USDC)


@pytest.mark.anyio
async def test_session_key__revoked__its_orders_end_and_it_signs_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker):
        session = generate_key()
        await maker.link_key(session.address, "500")
        async with build_session_client(venue, session.private_key, maker.owner) as client:
            order = await client.limit("AAPL", "BUY", "1", "99.00")
            revoked = await maker.revoke_key(session.address)
            with pytest.raises((KeyRefused, SignatureRefused)):
                await client.limit("AAPL", "BUY", "1", "99.00")

        assert revoked.status == "revoked"
        ended = await maker.order(order.order_id)
        assert (ended.status, ended.reason) == ("CANCELLED", "KEY_REVOKED")


@pytest.mark.anyio
async def test_signature__of_a_stranger__says_who_signed(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker):
        stranger = generate_key()
        async with build_session_client(venue, stranger.private_key, maker.owner) as client:
            with pytest.raises(SignatureRefused) as caught:
                await client.limit("AAPL", "BUY", "1", "99.00")

        refusal = caught.value
        assert (refusal.recovered_signer, refusal.expected_signer) == (stranger.address, maker.owner)
        assert len(refusal.digest) == 66


@pytest.mark.anyio
async def test_key_terms__nonsense__is_refused_here_or_in_words(tmp_path: Path) -> None:
    async with playing(tmp_path) as (_, maker, _taker):
        key = generate_key().address
        with pytest.raises(TypeError, match="found neither"):
            await maker.link_key(key)
        with pytest.raises(TypeError, match="Decimal or text, found float"):
            await maker.link_key(key, 10.5)  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="NVDA"):
            await maker.link_key(key, "10", markets=("NVDA",))
        with pytest.raises(KeyRefused) as caught:
            await maker.link_key(maker.owner, "10")
        assert caught.value.reason == "BAD_KEY"
        assert await maker.keys() == ()


@pytest.mark.anyio
async def test_client__owner_without_a_key__reads_and_signs_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker):
        client = AsyncClient("http://venue", owner=maker.owner, http_transport=app_transport(venue))
        async with client:
            assert (await client.account()).collateral_quote == 100_000 * USDC
            with pytest.raises(SdkError, match="give key="):
                await client.limit("AAPL", "BUY", "1", "99.00")
        with pytest.raises(TypeError, match="found both"):
            AsyncClient("http://venue", key=b"\x01" * 32, private_key=b"\x01" * 32)


def test_generated_key__printed__keeps_its_secret() -> None:
    first, second = generate_key(), generate_key()

    assert first.private_key not in repr(first) and first.address in repr(first)
    assert first.private_key != second.private_key and len(first.private_key) == 66
