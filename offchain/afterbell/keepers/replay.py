"""Replay: lead the venue through history, one step after another (offchain/README.md, "Time").

A step at time T: k of n publishers sign T; what traded before is sealed and mined; clients are held; the chain's clock
is brought to T and read, and the oracle with it, to say what it will make of the evidence; the venue clock advances to
T; AdoptPrices opens the batch; clients are released. Signatures are there before the clock moves, so that nobody trades
at T on prices of the step before. The next step comes after its share of the wall time of a trading day, and never
before the chain has caught up. Must not: decide prices; publishers do, and the contract bounds them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from afterbell.domain.commands import AdoptPrices, HaltMarket, SealBatch
from afterbell.domain.oracle import OracleState
from afterbell.domain.prices import Words, state_markets
from afterbell.domain.units import milliseconds_to_seconds, seconds_to_milliseconds
from afterbell.keepers.collection import CollectedPrices, PriceCollector, PricesUnavailable
from afterbell.keepers.history import PriceHistory
from afterbell.ports import CommandSubmitter
from afterbell.waiting import sleep_ms

_log = structlog.get_logger(__name__)

DAY_WALL_MS: Final = 60_000
"""Wall time of one trading day, open to next open, at speed 1."""
_RETRY_MS: Final = 500
_SPEED_SCALE: Final = 1_000_000


class SteppedClock(Protocol):
    """The venue clock of a replay (adapters/clock.py)."""

    def now_ms(self) -> int: ...

    def advance_to(self, step_ms: int, next_step_ms: int | None) -> None: ...


class OracleReader(Protocol):
    """What the oracle keeps on chain (adapters/chain_oracle.py)."""

    async def read_oracle(self, time_s: int) -> OracleState: ...


class Barrier(Protocol):
    """What keeps clients and chain together at a step (bootstrap/gate.py)."""

    def holding(self) -> AbstractAsyncContextManager[None]: ...

    async def bring_chain_to(self, time_s: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPrices:
    """What the engine holds of a market now; no ticks before its first report."""

    market_id: int
    symbol: str
    external_ticks: int
    is_halted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStatus:
    """Where the replay is."""

    step_s: int | None
    next_step_s: int | None
    speed_ppm: int
    is_finished: bool


class ReplayKeeper:
    """Drive steps until the data ends or the task is cancelled."""

    def __init__(
        self,
        *,
        history: PriceHistory,
        clock: SteppedClock,
        collector: PriceCollector,
        submitter: CommandSubmitter,
        barrier: Barrier,
        read_markets: Callable[[], Mapping[int, MarketPrices]],
        read_words: Callable[[], Words],
        oracle: OracleReader,
        wait_until_settled: Callable[[], Awaitable[None]],
        has_unsettled: Callable[[], bool],
        speed_ppm: int = _SPEED_SCALE,
    ) -> None:
        """Take everything the steps need.

        has_unsettled: whether a batch is open or on its way. speed_ppm: trading days a minute, in millionths.
        """
        if speed_ppm <= 0:
            raise ValueError(f"speed must be positive, found {speed_ppm} ppm of one trading day a minute")
        self._history = history
        self._clock = clock
        self._collector = collector
        self._submitter = submitter
        self._barrier = barrier
        self._read_markets = read_markets
        self._read_words = read_words
        self._oracle = oracle
        self._wait_until_settled = wait_until_settled
        self._has_unsettled = has_unsettled
        self._speed_ppm = speed_ppm
        self._step_s: int | None = None
        self._is_finished = False

    @property
    def status(self) -> ReplayStatus:
        """Return where the replay is."""
        next_step_s = None if self._step_s is None else self._history.compute_next_step_s(self._step_s)
        return ReplayStatus(
            step_s=self._step_s,
            next_step_s=next_step_s,
            speed_ppm=self._speed_ppm,
            is_finished=self._is_finished,
        )

    async def run(self) -> None:
        """Step from the clock's time to the end of the data, then return: the venue stays up on its last prices."""
        step_s = self._history.compute_next_step_s(milliseconds_to_seconds(self._clock.now_ms()))
        _log.info(
            "replay.started",
            first_step=_format_utc(step_s),
            end=_format_utc(self._history.end_s),
            synthetic=sorted(self._history.synthetic_symbols),
            sources={symbol: market.source for symbol, market in self._history.markets.items()},
        )
        while step_s is not None:
            begun_ns = time.monotonic_ns()
            await self._begin_step(step_s)
            await self._pace(step_s, begun_ns)
            step_s = self._history.compute_next_step_s(step_s)
        async with self._barrier.holding():
            await self._settle()
        self._is_finished = True
        _log.warning(
            "replay.finished",
            reason="the price history ends here; the venue stays up on its last prices, session CLOSED",
            end=_format_utc(self._history.end_s),
        )

    async def _begin_step(self, step_s: int) -> None:
        prices = await self._collect(step_s)
        await self._settle_once()  # most of it, while people go on trading
        async with self._barrier.holding():
            await self._settle()
            await self._barrier.bring_chain_to(step_s)
            oracle = await self._oracle.read_oracle(step_s)
            next_step_s = self._history.compute_next_step_s(step_s)
            self._clock.advance_to(
                seconds_to_milliseconds(step_s), None if next_step_s is None else seconds_to_milliseconds(next_step_s)
            )
            self._step_s = step_s
            await self._halt_split_markets(step_s)
            command = build_adopt_prices(prices, oracle, self._read_words())
            await self._submitter.submit(command)
        _log.info("step.begun", venue_time=_format_utc(step_s), prices={one[0]: one[1] for one in command.stated})

    async def _settle(self) -> None:
        """Seal until nothing is open or on its way; ends soon, because clients are held.

        Once at least: an order let through just before may still wait in the sequencer's queue and would open a batch
        after the look at it; a seal comes behind it.
        """
        await self._settle_once()
        while self._has_unsettled():
            await self._settle_once()

    async def _settle_once(self) -> None:
        await self._submitter.submit(SealBatch(journal_hash=b""))
        await self._wait_until_settled()

    async def _halt_split_markets(self, step_s: int) -> None:
        for halt in self._history.find_halts(step_s):
            for market in self._read_markets().values():
                if market.symbol == halt.symbol and not market.is_halted:
                    _log.warning("market.halted", symbol=halt.symbol, reason=halt.reason)
                    await self._submitter.submit(HaltMarket(market=market.market_id, reason=halt.reason))

    async def _collect(self, step_s: int) -> CollectedPrices:
        """Collect until it succeeds: without k publishers history stands still."""
        while True:
            try:
                return await self._collector.collect(step_s)
            except PricesUnavailable as error:
                _log.error("prices.missing", problem=str(error), venue_time=_format_utc(step_s))
                await sleep_ms(_RETRY_MS)

    async def _pace(self, step_s: int, begun_ns: int) -> None:
        """Sleep what is left of the step's share of a trading day's wall time."""
        share_ms = compute_step_wall_ms(self._history.count_steps_of_day(step_s), self._speed_ppm)
        spent_ms = (time.monotonic_ns() - begun_ns) // 1_000_000
        await sleep_ms(max(share_ms - spent_ms, 0))


def compute_step_wall_ms(n_steps_of_day: int, speed_ppm: int) -> int:
    """Return the wall time of one step: a trading day takes a minute at speed 1,000,000 ppm, whatever its steps."""
    return DAY_WALL_MS * _SPEED_SCALE // (max(n_steps_of_day, 1) * speed_ppm)


def build_adopt_prices(prices: CollectedPrices, oracle: OracleState, words: Words) -> AdoptPrices:
    """Return the command that opens a batch with these prices: for now mark and index follow external, in every market.

    Markets without a new report keep their external price and get a row with it, so that marks go on catching up.
    """
    reported = state_markets(oracle, words, [], prices.evidence, prices.time_s).markets
    with_price = {market.market_id for market in reported}
    with_price |= {market_id for market_id in oracle.markets if words.price(market_id).external_ticks}
    stated = state_markets(oracle, words, sorted(with_price), prices.evidence, prices.time_s)
    for verdict in stated.verdicts:
        if verdict.code:
            _log.warning(
                "report.ignored", market=verdict.report.market_id, code=verdict.code.name, venue_time_s=prices.time_s
            )
    return AdoptPrices(
        rows=tuple((market.market_id, market.external_ticks, market.external_ticks, 0) for market in stated.markets),
        stated=tuple(
            (
                market.market_id,
                market.external_ticks,
                market.external_time_s,
                int(market.session),
                market.session_minutes,
                market.window_start_s,
            )
            for market in stated.markets
        ),
        evidence=prices.evidence,
    )


def _format_utc(time_s: int | None) -> str:
    return "end of data" if time_s is None else datetime.fromtimestamp(time_s, tz=UTC).isoformat()
