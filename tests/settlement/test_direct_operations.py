"""What is made directly on chain reaches the engine in time, and no moment of it can make chain and engine disagree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from afterbell.adapters.keys import read_key
from afterbell.bootstrap.gate import StepBarrier
from afterbell.domain.events import FillMatched, OrderCancelled, OrderRejected
from afterbell.domain.ids import rules_key, rules_successor_key
from afterbell.domain.order import TimeInForce
from afterbell.domain.words import RulesWord, SessionKeyWord
from afterbell.settlement.settler import SettlementFaulted
from afterbell.signing.keys import SigningKey
from tests.settlement.core_venue import AAPL, CoreVenue, run_core
from tests.support.venue import ACTORS, MAKER, SECOND_TAKER, TAKER, Actor, Venue, build_call

SIZE_LOTS = 10_000
STEP_S = 600
KEY = bytes.fromhex("22" * 20)


def _run(scenario: Awaitable[None]) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario, 90)

    asyncio.run(main())


async def _open(live: CoreVenue) -> None:
    await live.core.follower.follow_once()
    await live.wait_for_deposits(len(ACTORS))
    await live.adopt_prices(live.start_s)


async def _transact(venue: Venue, actor: Actor, contract: str, signature: str, *arguments: int) -> None:
    """Mine an actor's transaction in a thread: the venue's loop goes on."""
    sender = "0x" + actor.key.address.hex()

    def send() -> None:
        venue.anvil.call("anvil_impersonateAccount", sender)
        venue.transact(actor, venue.manifest.get_address(contract), build_call(signature, *arguments))
        venue.anvil.call("anvil_stopImpersonatingAccount", sender)

    await asyncio.to_thread(send)


async def _cancel_all(venue: Venue, live: CoreVenue, actor: Actor) -> int:
    """Cancel everything an actor has signed until now; return the lowest seq that lives."""
    min_seq_ms = live.clock.time_ms - live.core.config.genesis_s * 1_000 + 1
    await _transact(venue, actor, "operations", "cancel_all(uint80,uint40)", 0, min_seq_ms)
    return min_seq_ms


def _barrier(live: CoreVenue) -> StepBarrier:
    core = live.core
    return StepBarrier(gate=core.gate, chain=core.chain, chain_time=core.chain, follower=core.follower, confirmations=1)


async def _step(live: CoreVenue, time_s: int) -> None:
    """Step as the replay keeper does."""
    await live.seal_and_settle()
    barrier = _barrier(live)
    async with barrier.holding():
        await barrier.bring_chain_to(time_s)
        await live.adopt_prices(time_s)


def test_direct__cancel_all__takes_the_orders_off_the_book_at_once(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            mark_ticks = live.mark_ticks()
            await live.place(MAKER, is_buy=False, size_lots=SIZE_LOTS, limit_ticks=mark_ticks, lane=1)
            await live.seal_and_settle()

            await _cancel_all(venue, live, MAKER)
            await live.wait_for_deposits(len(ACTORS) + 1)
            taken = await live.place(TAKER, is_buy=True, size_lots=SIZE_LOTS, limit_ticks=mark_ticks, lane=1)

            assert not any(isinstance(event, FillMatched) for event in taken)
            assert live.core.state.orders.keys() == {event.order_id for event in taken if hasattr(event, "order_id")}

    _run(scenario())


def test_direct__cancel_all_just_before_a_step__binds_no_fill_the_engine_made(venue: Venue) -> None:
    """The follower sleeps, so the barrier alone brings the cancel-all home; the order is gone before it can fill."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir(), poll_ms=60_000) as live:
            await _open(live)
            mark_ticks = live.mark_ticks()
            await live.place(MAKER, is_buy=False, size_lots=SIZE_LOTS, limit_ticks=mark_ticks, lane=1)
            await live.seal_and_settle()
            await _cancel_all(venue, live, MAKER)

            await _step(live, live.start_s + STEP_S)
            taken = await live.place(TAKER, is_buy=True, size_lots=SIZE_LOTS, limit_ticks=mark_ticks, lane=1)
            await live.seal_and_settle()

            assert not any(isinstance(event, FillMatched) for event in taken)
            assert await live.core.reconciler.check_all() > 0

    _run(scenario())


def test_direct__step_without_the_barrier__stops_the_venue(venue: Venue) -> None:
    """What the barrier is for: the same moment without it makes a fill the chain refuses, and the venue must stop."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir(), poll_ms=60_000, is_stopped_in_order=False) as live:
            await _open(live)
            mark_ticks = live.mark_ticks()
            await live.place(MAKER, is_buy=False, size_lots=SIZE_LOTS, limit_ticks=mark_ticks, lane=1)
            await live.seal_and_settle()
            await _cancel_all(venue, live, MAKER)

            await live.adopt_prices(live.start_s + STEP_S)
            await live.place(TAKER, is_buy=True, size_lots=SIZE_LOTS, limit_ticks=mark_ticks, lane=1)
            await live.seal_and_settle()

    with pytest.raises(ExceptionGroup) as stopped:
        _run(scenario())
    assert stopped.group_contains(SettlementFaulted, match="order 0: SEQ_BELOW_MINIMUM on chain, OK predicted")


def test_direct__fill_before_the_lag_is_over__stands(venue: Venue) -> None:
    """An owner who cancels on chain right after a match cannot void it: the batch lands with every fill."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir(), poll_ms=60_000) as live:
            await _open(live)
            await live.seal_and_settle()
            matched = await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            assert any(isinstance(event, FillMatched) for event in matched)

            await _cancel_all(venue, live, MAKER)
            await _transact(venue, TAKER, "operations", "revoke_key(uint80,address)", 0, int.from_bytes(KEY, "big"))
            await live.seal_and_settle()

            assert live.core.state.chain.position(TAKER.account, AAPL).size_lots == SIZE_LOTS
            await live.core.follower.follow_once()
            assert await live.core.reconciler.check_all() > 0

    _run(scenario())


def test_direct__keys_and_cancel_alls_unseen_at_a_batch__are_no_difference(venue: Venue) -> None:
    """Reconciliation of a batch meets words that only the chain has moved; heard of, all words agree."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir(), poll_ms=60_000) as live:
            await _open(live)
            await live.seal_and_settle()
            limits = SessionKeyWord(
                expiry_s=live.start_s + 86_400, max_notional_quote=10**9, markets=1, trade_only=True
            ).pack()
            number = int.from_bytes(KEY, "big")
            await _transact(venue, TAKER, "operations", "link_key(uint80,address,uint256)", 0, number, limits)
            await _cancel_all(venue, live, SECOND_TAKER)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.trade(MAKER, SECOND_TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            assert live.core.state.chain.session_key_word(TAKER.account, KEY) == 0

            await live.core.follower.follow_once()

            assert live.core.state.chain.session_key_word(TAKER.account, KEY) == limits | 1 << 255
            assert live.core.state.chain.account(SECOND_TAKER.account).flags == 1
            assert await live.core.reconciler.check_all() > 0

    _run(scenario())


def test_direct__order_signed_before_a_cancel_all__is_refused_after_it(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.seal_and_settle()
            min_seq_ms = await _cancel_all(venue, live, MAKER)
            await live.wait_for_deposits(len(ACTORS) + 1)

            # CoreVenue signs one millisecond later each time, so this one is the first that lives
            assert live.clock.time_ms + 1 - live.core.config.genesis_s * 1_000 == min_seq_ms
            live.clock.time_ms -= 1
            dead = await live.place(MAKER, is_buy=False, size_lots=SIZE_LOTS, limit_ticks=live.mark_ticks(), lane=1)
            alive = await live.place(MAKER, is_buy=False, size_lots=SIZE_LOTS, limit_ticks=live.mark_ticks(), lane=2)

            assert [event.reason for event in dead if isinstance(event, OrderRejected)] == ["SEQ_BELOW_MINIMUM"]
            assert not any(isinstance(event, (OrderRejected, OrderCancelled)) for event in alive)

    _run(scenario())


def test_direct__guardian_tightens__binds_the_step_after_and_every_word_agrees(venue: Venue) -> None:
    """Openings switched off by the guardian: fills of this step stand, the next step refuses them, closing works."""
    guardian = Actor("guardian", SigningKey(read_key(venue.root / "template" / "keys" / "guardian.key")))

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.seal_and_settle()
            session = live.core.state.chain.price(AAPL).session
            rules = RulesWord.unpack(live.core.state.chain.rules[rules_key(AAPL, session)])
            tightened = replace(rules, is_opening_allowed=False).pack()
            await _transact(
                venue, guardian, "market_registry", "tighten_rules(uint256,uint256,uint256)", AAPL, session, tightened
            )
            # the tier word that goes with the rules, then the rules
            await live.wait_for_deposits(len(ACTORS) + 2)
            assert live.core.state.chain.rules[rules_successor_key(AAPL, session)] == tightened

            before = await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await _step(live, live.start_s + STEP_S)
            opening = await live.trade(MAKER, SECOND_TAKER, size_lots=SIZE_LOTS)
            closing = await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS, taker_buys=False)
            await live.seal_and_settle()

            assert any(isinstance(event, FillMatched) for event in before)
            assert not any(isinstance(event, FillMatched) for event in opening)
            assert any(isinstance(event, FillMatched) for event in closing)
            assert await live.core.reconciler.check_all() > 0

    _run(scenario())


def test_direct__restart_after_every_kind__replays_to_the_same_words(venue: Venue) -> None:
    async def scenario(folder: Path) -> None:
        async with run_core(venue, folder) as live:
            await _open(live)
            await live.seal_and_settle()
            limits = SessionKeyWord(
                expiry_s=live.start_s + 86_400, max_notional_quote=10**9, markets=1, trade_only=True
            ).pack()
            number = int.from_bytes(KEY, "big")
            await _transact(venue, TAKER, "operations", "link_key(uint80,address,uint256)", 0, number, limits)
            await _transact(venue, TAKER, "operations", "revoke_key(uint80,address)", 0, number)
            await _cancel_all(venue, live, MAKER)
            await live.wait_for_deposits(len(ACTORS) + 3)
            words = (dict(live.core.state.chain.session_keys), dict(live.core.state.chain.overflows))

        async with run_core(venue, folder) as again:
            assert (again.core.state.chain.session_keys, again.core.state.chain.overflows) == words
            assert again.core.follower.last_direct_op == again.n_listed + len(ACTORS) + 3

    _run(scenario(venue.make_data_dir()))


async def _act_as(venue: Venue, sibling: str, signature: str, *words: int) -> None:
    """Have a sibling contract call the Clearinghouse: its rules are tested elsewhere, here its effects."""
    sender = "0x" + venue.manifest.get_address(sibling).hex()

    def send() -> None:
        venue.anvil.call("anvil_impersonateAccount", sender)
        call = build_call(signature, *(word % (1 << 256) for word in words))
        venue._transact_from(sender, venue.manifest.get_address("clearinghouse"), call)
        venue.anvil.call("anvil_stopImpersonatingAccount", sender)

    await asyncio.to_thread(send)


async def _take_over(venue: Venue, loser: Actor, taker: Actor, *, size_lots: int, price_ticks: int) -> None:
    """Move lots of a long position from one account to another at a price, as Liquidations does."""
    paid_quote = size_lots * price_ticks
    deltas = sorted([(loser.account, -size_lots, -paid_quote, 0), (taker.account, size_lots, paid_quote, 0)])
    signature = "apply_deltas(uint256,(uint256,int256,int256,int256)[],int256)"
    words = [AAPL, 96, 0, len(deltas), *(number for delta in deltas for number in delta)]
    await _act_as(venue, "liquidations", signature, *words)


def test_sibling__a_position_taken_over__the_venue_trades_on_with_the_words_of_the_chain(venue: Venue) -> None:
    """The taker's long goes to the second taker on chain; every word agrees, and the second taker can sell it."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            await _take_over(venue, TAKER, SECOND_TAKER, size_lots=SIZE_LOTS, price_ticks=live.mark_ticks())
            await live.wait_for_deposits(len(ACTORS) + 1)

            execution = live.core.state.read_execution(0)
            assert execution.position(TAKER.account, AAPL).size_lots == 0
            assert execution.position(SECOND_TAKER.account, AAPL).size_lots == SIZE_LOTS
            assert await live.core.reconciler.check_all() > 0
            await live.trade(MAKER, SECOND_TAKER, size_lots=SIZE_LOTS, taker_buys=False)
            await live.seal_and_settle()
            assert live.core.state.chain.totals_of(AAPL).open_interest_lots == 0
            assert await live.core.reconciler.check_all() > 0

    _run(scenario())


def test_sibling__acts_while_a_batch_is_open__the_fill_it_voids_is_rejected_as_on_chain(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            # Sold twice: once to the maker in the open batch, once on chain.
            await live.place(MAKER, is_buy=True, size_lots=SIZE_LOTS, limit_ticks=live.mark_ticks(), lane=2)
            sold = await live.place(
                TAKER,
                is_buy=False,
                size_lots=SIZE_LOTS,
                limit_ticks=live.mark_ticks(),
                time_in_force=TimeInForce.IOC,
                reduce_only=True,
            )
            assert any(isinstance(event, FillMatched) for event in sold)
            await _take_over(venue, TAKER, SECOND_TAKER, size_lots=SIZE_LOTS, price_ticks=live.mark_ticks())
            await live.wait_for_deposits(len(ACTORS) + 1)
            await live.seal_and_settle()

            assert live.core.state.chain.position(TAKER.account, AAPL).size_lots == 0
            assert live.core.state.chain.position(SECOND_TAKER.account, AAPL).size_lots == SIZE_LOTS
            assert await live.core.reconciler.check_all() > 0

    _run(scenario())


def test_sibling__market_moved_mode_changed_exit_paid__restart_ends_with_the_same_words(venue: Venue) -> None:
    async def scenario(folder: Path) -> None:
        async with run_core(venue, folder) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            price, index = live.core.state.chain.price(AAPL), live.core.state.chain.index(AAPL)
            moved = replace(price, epoch=price.epoch + 1).pack(), replace(index, reserve_ticks=9).pack()
            await _act_as(venue, "corporate_actions", "move_market(uint256,uint256,uint256)", AAPL, *moved)
            recipient = int.from_bytes(SECOND_TAKER.key.address, "big")
            withdraw = "withdraw_to_claim(uint256,address,uint256)"
            await _act_as(venue, "exits", withdraw, SECOND_TAKER.account, recipient, 7_000_000)
            await _act_as(venue, "exits", "set_mode(uint256)", 1)
            await live.wait_for_deposits(len(ACTORS) + 3)

            chain = live.core.state.chain
            assert (chain.price(AAPL).epoch, chain.index(AAPL).reserve_ticks, chain.mode) == (price.epoch + 1, 9, 1)
            assert chain.claims == {SECOND_TAKER.key.address: 7_000_000}
            refused = await live.trade(MAKER, SECOND_TAKER, size_lots=SIZE_LOTS)
            assert isinstance(refused[0], OrderRejected)
            assert await live.core.reconciler.check_all() > 0
            expected = chain.copy()

        async with run_core(venue, folder) as again:
            assert again.core.state.chain == expected

    _run(scenario(venue.make_data_dir()))
