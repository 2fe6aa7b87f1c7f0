"""Compose an instance without prices and HTTP: journal, engine, sequencer, settler, indexer, read model.

    start: chain checked -> journal replayed into every part -> tasks -> what the chain mined meanwhile is confirmed
    stop:  last seal -> settled -> sequencer -> read model -> files

A fault in any task ends the task group it runs in, and with it the process: nothing is skipped (D-101).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from afterbell.adapters.file_journal import FileJournal
from afterbell.adapters.web3_chain import ChainFaulted, Web3Chain, must_match_deployment
from afterbell.bootstrap.gate import TradingGate
from afterbell.domain.commands import Command, ListMarket, SealBatch, SetMarketRules
from afterbell.domain.events import Event
from afterbell.domain.manifest import Manifest
from afterbell.domain.words import RULES_FLAG_CHANGING, PriceWord
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.gateway.metrics import Metrics
from afterbell.gateway.recorder import LiveRecorder
from afterbell.gateway.stream import StreamHub
from afterbell.indexer.follower import Follower, FollowerSettings
from afterbell.ports import ChainUnavailable, Clock, EventSink, Frame
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.projector import Projector
from afterbell.readmodel.queries import ReadModel
from afterbell.sequencer.genesis import GenesisMarket, build_genesis_commands
from afterbell.sequencer.recovery import replay
from afterbell.sequencer.sequencer import Sequencer
from afterbell.settings import ExchangeSettings
from afterbell.settlement.calldata import build_view_calldata
from afterbell.settlement.reconciler import Reconciler
from afterbell.settlement.sealer import Sealer
from afterbell.settlement.sender import TransactionSender
from afterbell.settlement.settler import Settler, SettlerSettings
from afterbell.waiting import end_task, sleep_ms, within_ms

_log = structlog.get_logger(__name__)

_CHAIN_TRIES: Final = 60
_CHAIN_DELAY_MS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """What an orderly stop leaves behind."""

    n_frames: int
    last_sealed: int
    n_unsettled: int
    projected_sequence: int


class Core:
    """Journal, engine, sequencer, settler, indexer and read model of one instance, without prices and without HTTP."""

    def __init__(
        self,
        *,
        settings: ExchangeSettings,
        manifest: Manifest,
        chain: Web3Chain,
        sequencer_key: bytes,
        build_clock: Callable[[int], Clock],
        sets_block_time: bool,
        hub: StreamHub | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Open the files, replay the journal. Blocks. build_clock is given the clock's floor, the last frame's time."""
        self.settings = settings
        self.manifest = manifest
        self.chain = chain
        clearinghouse = manifest.get_address("clearinghouse")
        self.config = EngineConfig(
            chain_id=manifest.chain_id,
            clearinghouse=clearinghouse,
            vault=manifest.get_address("vault"),
            token=manifest.get_address("token"),
            genesis_s=manifest.genesis_s,
        )
        self.state = EngineState(self.config)
        self.journal = FileJournal(settings.journal_path, chain_id=manifest.chain_id, clearinghouse=clearinghouse)
        self.clock = build_clock(self.journal.last_time_ms)
        self.database = open_database(
            settings.database_dsn.get_secret_value() or sqlite_dsn(settings.data_dir / "readmodel.sqlite")
        )
        self.projector = Projector(self.database)
        self.readmodel = ReadModel(self.database)
        self.hub = hub
        recorder = self.projector if hub is None else LiveRecorder(self.projector, hub)
        self.settler = Settler(
            chain=chain,
            sender=TransactionSender(
                chain=chain,
                private_key=sequencer_key,
                chain_id=manifest.chain_id,
                receipt_timeout_ms=settings.receipt_timeout_ms,
            ),
            settings=SettlerSettings(
                clearinghouse=clearinghouse,
                genesis_block=manifest.deployed_at_block,
                gas_limit=settings.settle_gas_limit,
                max_in_flight=settings.max_batches_in_flight,
            ),
            chain_time=chain if sets_block_time else None,
            recorder=recorder,
        )
        self.follower = Follower(
            chain=chain,
            settings=FollowerSettings(
                clearinghouse=clearinghouse,
                vault=manifest.get_address("vault"),
                first_block=manifest.deployed_at_block,
                deposit_confirmations=settings.deposit_confirmations,
                final_confirmations=settings.final_confirmations,
                poll_ms=settings.poll_ms,
            ),
            recorder=recorder,
        )
        self.reconciler = Reconciler(
            chain=chain,
            clearinghouse=clearinghouse,
            genesis_block=manifest.deployed_at_block,
            mirror=lambda: self.state.chain,
        )
        self._seen_genesis: set[tuple[int, int]] = set()
        self._replay()
        self.sequencer = Sequencer(
            state=self.state,
            journal=self.journal if metrics is None else metrics.time_syncs(self.journal),
            clock=self.clock,
            sinks=(*self._replay_sinks(), self.projector, *(() if metrics is None else (metrics,))),
            last_time_ms=self.journal.last_time_ms,
        )
        self.settler.connect(self.sequencer, self.reconciler)
        self.follower.connect(self.sequencer, self.settler.note_rollback)
        self.gate = TradingGate(sequencer=self.sequencer, settler=self.settler, clock=self.clock)
        self.sealer = Sealer(
            submitter=self.sequencer,
            has_open_batch=lambda: self.state.has_open_batch,
            count_unsettled=lambda: self.settler.n_unsettled,
            interval_ms=settings.seal_interval_ms,
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # ----------------------------------------------------------------- start

    def _replay(self) -> None:
        """Fold the journal into the engine and show every frame to settler, indexer and read model."""

        def frames() -> Iterator[tuple[Frame, Sequence[Event]]]:
            for frame, events in replay(self.journal, self.state):
                self._note_genesis(frame.command)
                for sink in self._replay_sinks():
                    sink.publish(frame, events)
                yield frame, events

        n_projected = self.projector.catch_up(frames())
        _log.info(
            "journal.replayed",
            n_frames=self.journal.next_sequence - 1,
            n_projected=n_projected,
            n_bytes=self.journal.n_bytes,
        )

    def _replay_sinks(self) -> tuple[EventSink, ...]:
        sinks: tuple[EventSink, ...] = (self.settler, self.follower)
        return sinks if self.hub is None else (*sinks, self.hub)

    def _note_genesis(self, command: Command) -> None:
        if isinstance(command, ListMarket):
            self._seen_genesis.add((command.market, -1))
        elif isinstance(command, SetMarketRules):
            self._seen_genesis.add((command.market, command.session))

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Check the chain, start the tasks, list what the journal does not list yet.

        Raises: ChainFaulted, SettlementFaulted, StateDiverged: this journal and this chain do not belong together.
        """
        await self.must_match_chain()
        await self.settler.resume()
        self._tasks["sequencer"] = tasks.create_task(self.sequencer.run(), name="sequencer")
        self._tasks["projector"] = tasks.create_task(self.projector.run(), name="projector")
        await self._list_markets()
        self._tasks["settler"] = tasks.create_task(self.settler.run(), name="settler")
        self._tasks["follower"] = tasks.create_task(self.follower.run(), name="follower")
        await self.settler.wait_until_settled()
        if not self.state.has_open_batch:
            n_words = await self.reconciler.check_all()
            _log.info("state.reconciled", n_words=n_words, sequence=self.state.chain.batch.sequence)
        self._tasks["sealer"] = tasks.create_task(self.sealer.run(), name="sealer")

    async def must_match_chain(self) -> None:
        """Check chain id, code and rules against the manifest; wait for a node that is still starting."""
        for attempt in range(_CHAIN_TRIES):
            try:
                await must_match_deployment(
                    self.chain, chain_id=self.manifest.chain_id, code_hashes=self.manifest.build_code_hashes()
                )
                await self._must_match_rules()
                return
            except ChainUnavailable as error:
                if attempt + 1 == _CHAIN_TRIES:
                    raise
                _log.warning("chain.unavailable", purpose="check the deployment", reason=str(error))
                await sleep_ms(_CHAIN_DELAY_MS)

    async def _must_match_rules(self) -> None:
        """Compare the rules a new journal begins with; changes since come as direct operations and are reconciled."""
        clearinghouse = self.config.clearinghouse
        for market in self.manifest.markets:
            if (market.market_id, -1) in self._seen_genesis:
                continue
            rules = market.build_rules_words()
            calls = [(clearinghouse, build_view_calldata(b"price_word(uint256)", market.market_id))]
            calls += [
                (clearinghouse, build_view_calldata(b"rules_word(uint256,uint256)", market.market_id, session))
                for session in rules
            ]
            price, *found = await self.chain.call_many(calls)
            epoch = PriceWord.unpack(int.from_bytes(price, "big")).epoch
            if epoch != market.epoch:
                raise ChainFaulted(f"{market.symbol} must have epoch {market.epoch}, the chain has {epoch}")
            for session, word in zip(rules, found, strict=True):
                first = int.from_bytes(word, "big") & ~RULES_FLAG_CHANGING
                if first != int.from_bytes(rules[session], "big"):
                    raise ChainFaulted(
                        f"the rules of {market.symbol} in session {session} differ: manifest 0x{rules[session].hex()}, "
                        f"chain 0x{word.hex()}; they were changed more than once before the first start: deploy anew, "
                        "or write the rules of the deployment block into the manifest"
                    )

    async def _list_markets(self) -> None:
        """Journal the markets of the manifest that are not journalled yet; all in one group."""
        commands = build_genesis_commands(
            tuple(
                GenesisMarket(
                    market=market.market_id,
                    symbol=market.symbol,
                    epoch=market.epoch,
                    lot_exponent=market.lot_exponent,
                    ticks_per_usd=market.ticks_per_usd,
                    synthetic=market.synthetic,
                    rules_words=market.build_rules_words(),
                )
                for market in self.manifest.markets
            )
        )
        missing = [
            command
            for command in commands
            if (isinstance(command, ListMarket) and (command.market, -1) not in self._seen_genesis)
            or (isinstance(command, SetMarketRules) and (command.market, command.session) not in self._seen_genesis)
        ]
        await asyncio.gather(*(self.sequencer.submit(command) for command in missing))

    # ------------------------------------------------------------------ stop

    async def stop(self) -> StopReport:
        """Seal what is open, settle it, end the tasks in order. The gateway and the replay have ended before."""
        self.gate.is_stopping = True
        await self._end("sealer")
        while self.state.has_open_batch:  # stops without room in one batch act in the next
            await self.sequencer.submit(SealBatch(journal_hash=b""))
        try:
            await within_ms(self.settings.stop_timeout_ms, self.settler.wait_until_settled())
        except TimeoutError:
            _log.warning("settler.unfinished", n_unsettled=self.settler.n_unsettled)
        await self._end("settler")
        await self._end("follower")
        self.sequencer.stop()
        await self._tasks["sequencer"]
        self.projector.stop()
        await self._tasks["projector"]
        return StopReport(
            n_frames=self.journal.next_sequence - 1,
            last_sealed=self.state.chain.batch.sequence,
            n_unsettled=self.settler.n_unsettled,
            projected_sequence=self.projector.projected_sequence,
        )

    def abandon(self) -> None:
        """Cancel every task where it stands, as an end without warning would; what is journalled stays."""
        for task in self._tasks.values():
            task.cancel()

    async def _end(self, name: str) -> None:
        """Cancel a task and wait for its end."""
        await end_task(self._tasks[name])

    def close(self) -> None:
        """Close the files; call when no task runs any more, also after a fault."""
        self.journal.close()
        self.database.dispose()
