"""From orders to words on chain: real core, real node, real contracts; restarts and lost answers in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from afterbell.adapters.web3_chain import Web3Chain
from afterbell.domain.batch import BatchHeader, Payload, encode
from afterbell.domain.errors import Rejected
from afterbell.domain.events import FillMatched
from afterbell.domain.words import AccountWord, PositionWord, read_unsigned
from afterbell.settlement.calldata import BATCH_SETTLED_TOPIC, build_view_calldata
from afterbell.settlement.reconciler import StateDiverged
from afterbell.settlement.settler import SettlementFaulted
from tests.settlement.core_venue import AAPL, CoreVenue, run_core
from tests.settlement.fault_proxy import Rule, serve_fault_proxy
from tests.support.venue import ACTORS, DEPOSIT_QUOTE, MAKER, SECOND_TAKER, TAKER, Actor, Venue

SIZE_LOTS = 10_000
"""One share."""


def _run(scenario: Awaitable[None]) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario, 90)

    asyncio.run(main())


async def _read_word(venue: Venue, signature: bytes, *arguments: int) -> int:
    chain = Web3Chain(venue.anvil.url)
    try:
        word = await chain.call(venue.manifest.get_address("clearinghouse"), build_view_calldata(signature, *arguments))
    finally:
        await chain.close()
    return int.from_bytes(word, "big")


async def _position(venue: Venue, actor: Actor) -> PositionWord:
    return PositionWord.unpack(await _read_word(venue, b"position_word(uint256,uint256)", actor.account, AAPL))


async def _sequence_on_chain(venue: Venue) -> int:
    return read_unsigned(await _read_word(venue, b"batch_word()"), 40, 0)


async def _count_settled_logs(venue: Venue) -> dict[int, int]:
    """Return batch sequence -> how often it was settled."""
    chain = Web3Chain(venue.anvil.url)
    try:
        last = (await chain.get_block()).number
        logs = await chain.get_logs(
            [venue.manifest.get_address("clearinghouse")],
            [[BATCH_SETTLED_TOPIC]],
            venue.manifest.deployed_at_block,
            last,
        )
    finally:
        await chain.close()
    counts: dict[int, int] = {}
    for log in logs:
        sequence = int.from_bytes(log.topics[1], "big")
        counts[sequence] = counts.get(sequence, 0) + 1
    return counts


async def _open(live: CoreVenue) -> None:
    """Credit the deposits, take the first prices."""
    await live.wait_for_deposits(len(ACTORS))
    await live.adopt_prices(live.start_s)


def test_settlement__one_trade__is_mined_as_predicted_and_confirmed(venue: Venue) -> None:
    """Maker sells one share to the taker at the mark; each pays a fee; collateral stays while the position is open."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            events = await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            fill = next(event for event in events if isinstance(event, FillMatched))
            await live.seal_and_settle()

            notional_quote = SIZE_LOTS * fill.price_ticks
            taker, maker = await _position(venue, TAKER), await _position(venue, MAKER)
            # Fees of 400 and 100 ppm, rounded up.
            assert taker.size_lots == SIZE_LOTS
            assert taker.entry_quote == notional_quote - (-notional_quote * 400 // 10**6)
            assert maker.size_lots == -SIZE_LOTS
            assert maker.entry_quote == -notional_quote - (-notional_quote * 100 // 10**6)
            account = AccountWord.unpack(await _read_word(venue, b"account_word(uint256)", TAKER.account))
            assert account.collateral_quote == DEPOSIT_QUOTE
            assert await _sequence_on_chain(venue) == 1
            assert await live.core.reconciler.check_all() > 10
        assert await _count_settled_logs(venue) == {1: 1}

    _run(scenario())


def test_settlement__many_batches__chain_and_engine_hold_the_same_words(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.seal_and_settle()
            for number in range(6):
                if number % 2:
                    await live.adopt_prices(live.start_s + 600 * number)
                await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS, taker_buys=number % 3 != 0)
                await live.trade(TAKER, SECOND_TAKER, size_lots=SIZE_LOTS // 2, taker_buys=number % 2 == 0)
                await live.seal_and_settle()

            assert await live.core.reconciler.check_all() > 10
            assert await _sequence_on_chain(venue) == live.core.state.chain.batch.sequence

    _run(scenario())


def test_settlement__batches_in_flight_together__land_in_order(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir(), max_batches_in_flight=8) as live:
            await _open(live)
            await live.seal()
            for _ in range(6):
                await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
                await live.seal()
            await live.seal_and_settle()

            assert await live.core.reconciler.check_all() > 10
        assert await _count_settled_logs(venue) == dict.fromkeys(range(1, 8), 1)

    _run(scenario())


def test_settlement__deposit_between_batches__does_not_look_like_a_difference(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            for _ in range(3):
                await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
                await asyncio.gather(live.seal_and_settle(), asyncio.to_thread(venue.deposit, TAKER, 1_000_000))
            await live.wait_for_deposits(len(ACTORS) + 3)
            assert await live.core.reconciler.check_all() > 10

    _run(scenario())


def test_settlement__died_with_an_open_batch__restart_settles_it(venue: Venue) -> None:
    async def scenario() -> None:
        data_dir = venue.make_data_dir()
        async with run_core(venue, data_dir, is_stopped_in_order=False) as live:
            await _open(live)
            await live.seal_and_settle()
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
        assert (await _position(venue, TAKER)).size_lots == 0

        async with run_core(venue, data_dir) as live:
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()

            assert (await _position(venue, TAKER)).size_lots == 2 * SIZE_LOTS
            assert await live.core.reconciler.check_all() > 10
        assert await _count_settled_logs(venue) == {1: 1, 2: 1}

    _run(scenario())


def test_settlement__died_after_submitting__restart_confirms_what_was_mined(venue: Venue) -> None:
    async def scenario() -> None:
        data_dir = venue.make_data_dir()
        async with (
            serve_fault_proxy(venue.anvil.url) as proxy,
            run_core(venue, data_dir, rpc_url=proxy.url, is_stopped_in_order=False) as live,
        ):
            await _open(live)
            # The transaction is mined, but no answer about it ever arrives.
            proxy.add(*(Rule(method="eth_getTransactionReceipt", fault="lose_response") for _ in range(1_000)))
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal()
            async with asyncio.timeout(10):
                while await _sequence_on_chain(venue) == 0:  # noqa: ASYNC110  # the chain tells nobody
                    await asyncio.sleep(0.02)
        assert live.core.settler.n_unsettled == 1

        async with run_core(venue, data_dir) as live:
            await asyncio.wait_for(live.core.settler.wait_until_settled(), 10)
            assert await live.core.reconciler.check_all() > 10
        assert await _count_settled_logs(venue) == {1: 1}

    _run(scenario())


@pytest.mark.parametrize(
    "rules",
    [
        [Rule(method="eth_sendRawTransaction", fault="lose_response")],
        [Rule(method="eth_sendRawTransaction", fault="lose_request")],
        [Rule(method="eth_sendRawTransaction", fault="status_500")] * 3,
        [Rule(method="eth_sendRawTransaction", fault="hang")],
        [Rule(method="eth_sendRawTransaction", fault="error", error_message="replacement transaction underpriced")],
        [Rule(method="eth_getTransactionReceipt", fault="lose_response")] * 4,
        [Rule(method="eth_getTransactionReceipt", fault="status_429")] * 4,
        [Rule(method="evm_setNextBlockTimestamp", fault="lose_response")],
        [Rule(method="eth_getBlockByNumber", fault="not_json")] * 3,
        [Rule(method="eth_call", fault="lose_response")] * 2,
        [Rule(method="eth_getTransactionCount", fault="status_500")],
    ],
    ids=lambda rules: f"{len(rules)} x {rules[0].fault} {rules[0].method}",
)
def test_settlement__node_fails__every_batch_lands_exactly_once(venue: Venue, rules: list[Rule]) -> None:
    async def scenario() -> None:
        async with (
            serve_fault_proxy(venue.anvil.url) as proxy,
            run_core(venue, venue.make_data_dir(), rpc_url=proxy.url, rpc_timeout_ms=500) as live,
        ):
            await _open(live)
            for _ in range(2):
                proxy.add(*rules)
                await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
                await live.seal_and_settle()

            proxy.rules.clear()
            assert (await _position(venue, TAKER)).size_lots == 2 * SIZE_LOTS
            assert await live.core.reconciler.check_all() > 10
            assert await _count_settled_logs(venue) == {1: 1, 2: 1}

    _run(scenario())


def test_settlement__another_sender_uses_the_key__goes_on(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.seal_and_settle()
            address = venue.manifest.sequencer
            venue.anvil.call("anvil_impersonateAccount", address)
            venue.anvil.call("eth_sendTransaction", {"from": address, "to": address, "gas": hex(60_000)})
            venue.anvil.call("anvil_stopImpersonatingAccount", address)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()

            assert await live.core.reconciler.check_all() > 10

    _run(scenario())


def test_settlement__journal_lost__refuses_to_start(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()

        with pytest.raises(SettlementFaulted, match="the chain has batch 1, the journal ends with batch 0"):
            await _start_and_stop(venue, venue.make_data_dir())

    _run(scenario())


def test_settlement__journal_of_another_history__refuses_to_start(venue: Venue) -> None:
    async def scenario() -> None:
        data_dir = venue.make_data_dir()
        async with run_core(venue, data_dir) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
        venue.rewind()
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=2 * SIZE_LOTS)
            await live.seal_and_settle()

        with pytest.raises(SettlementFaulted, match="batch 1 has head 0x"):
            await _start_and_stop(venue, data_dir)

    _run(scenario())


def test_settlement__chain_rolled_back__submits_the_missing_batches_again(venue: Venue) -> None:
    async def scenario() -> None:
        data_dir = venue.make_data_dir()
        async with run_core(venue, data_dir) as live:
            await _open(live)
            await live.seal_and_settle()
            snapshot = venue.anvil.call("evm_snapshot")
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
        venue.anvil.call("evm_revert", snapshot)
        assert await _sequence_on_chain(venue) == 1

        async with run_core(venue, data_dir) as live:
            async with asyncio.timeout(10):
                while await _sequence_on_chain(venue) < 2:  # noqa: ASYNC110  # the chain tells nobody
                    await asyncio.sleep(0.02)
            assert await live.core.reconciler.check_all() > 10

    _run(scenario())


def test_settlement__chain_rolled_back_while_running__submits_the_lost_batch_again(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir(), receipt_timeout_ms=200) as live:
            await _open(live)
            await live.seal_and_settle()
            snapshot = venue.anvil.call("evm_snapshot")
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            venue.anvil.call("evm_revert", snapshot)
            assert await _sequence_on_chain(venue) == 1
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal()
            async with asyncio.timeout(20):
                while await _sequence_on_chain(venue) < 3:  # noqa: ASYNC110  # the chain tells nobody
                    await asyncio.sleep(0.02)
            await live.core.settler.wait_until_settled()

            assert (await _position(venue, TAKER)).size_lots == 2 * SIZE_LOTS
            assert await live.core.reconciler.check_all() > 10
        assert await _count_settled_logs(venue) == {1: 1, 2: 1, 3: 1}

    _run(scenario())


def test_settlement__chain_silent_for_half_the_lag__orders_are_refused_until_it_answers(venue: Venue) -> None:
    async def scenario() -> None:
        async with (
            serve_fault_proxy(venue.anvil.url) as proxy,
            run_core(venue, venue.make_data_dir(), rpc_url=proxy.url) as live,
        ):
            await _open(live)
            proxy.add(*(Rule(method="evm_setNextBlockTimestamp", fault="status_500") for _ in range(1_000)))
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal()
            live.clock.move_to_s(live.start_s + 151)

            with pytest.raises(Rejected, match="settlement lags more than 150 s"):
                await live.place(MAKER, is_buy=True, size_lots=SIZE_LOTS, limit_ticks=live.mark_ticks())
            proxy.rules.clear()
            await asyncio.wait_for(live.core.settler.wait_until_settled(), 20)
            await live.adopt_prices(live.start_s + 600)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)

    _run(scenario())


def test_settlement__backlog_older_than_the_lag__stops_and_says_why(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            venue.anvil.call("evm_setNextBlockTimestamp", live.start_s + 1_000)
            venue.anvil.call("evm_mine")
            await live.seal_and_settle()

    with pytest.raises(ExceptionGroup) as raised:
        _run(scenario())

    assert raised.group_contains(SettlementFaulted, match="batch 1 was matched 100[12] s before the chain's next block")


def test_settlement__word_changed_on_chain__stops_and_names_the_account(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            mirror = live.core.state.chain
            mirror.accounts[TAKER.account << 16] += 1

            with pytest.raises(
                StateDiverged, match=f"{TAKER.account:060x} differs .* collateral_quote 50000000001 expected"
            ):
                await live.core.reconciler.check_all()
            mirror.accounts[TAKER.account << 16] -= 1

    _run(scenario())


async def _start_and_stop(venue: Venue, data_dir: Path) -> None:
    """Run a core for a moment; raise the single error of its task group as itself."""
    try:
        async with run_core(venue, data_dir):
            pass
    except ExceptionGroup as group:
        (error,) = group.exceptions
        raise error from group


def test_settlement__withdrawal__becomes_a_claim_and_is_seen_paid(venue: Venue) -> None:
    """The taker withdraws 1,000 USDC: collateral falls at the batch, the vault pays when anybody asks."""

    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            withdrawal_id = await live.withdraw(TAKER, quote=1_000_000_000)
            await live.seal_and_settle()
            account = AccountWord.unpack(await _read_word(venue, b"account_word(uint256)", TAKER.account))
            assert account.collateral_quote == DEPOSIT_QUOTE - 1_000_000_000
            assert await live.core.reconciler.check_all() > 10

            await asyncio.to_thread(venue.claim, MAKER, TAKER)
            async with asyncio.timeout(10):
                while (await _transfer_status(live, withdrawal_id)) != "paid":  # noqa: ASYNC110  # it is polled for
                    await asyncio.sleep(0.02)
            assert await live.core.reconciler.check_all() > 10

    _run(scenario())


async def _transfer_status(live: CoreVenue, withdrawal_id: bytes) -> str:
    model = live.core.readmodel
    transfer = await model.run(model.get_transfer, "0x" + withdrawal_id.hex())
    return "" if transfer is None else transfer.status


def test_settlement__another_sequencer_settles__stops_and_says_so(venue: Venue) -> None:
    async def scenario() -> None:
        async with run_core(venue, venue.make_data_dir()) as live:
            await _open(live)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            rival = encode(Payload(header=BatchHeader(sequence=1, matched_at_s=live.start_s)))
            venue.settle_as_rival(live.core.state.chain.head, rival, live.start_s)
            await live.seal_and_settle()

    with pytest.raises(ExceptionGroup) as raised:
        _run(scenario())

    assert raised.group_contains(SettlementFaulted, match="batch 1 has head 0x.* was predicted: results diverged")
