"""The replay keeper's order of doing things, with fakes on its ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest

from afterbell.adapters.history import read_bundled_bars
from afterbell.domain.commands import AdoptPrices, Command, HaltMarket, SealBatch
from afterbell.domain.events import Event
from afterbell.domain.prices import AcceptedReport
from afterbell.domain.session import Session
from afterbell.keepers.collection import CollectedPrices, PricesUnavailable
from afterbell.keepers.history import PriceHistory, build_history
from afterbell.keepers.replay import MarketPrices, ReplayKeeper, build_adopt_prices, compute_step_wall_ms

SYMBOLS = ("AAPL", "MSFT", "IBM", "GOOG")
MARKET_IDS = {symbol: index + 1 for index, symbol in enumerate(SYMBOLS)}


class Venue:
    """Clock, submitter, collector, settler and markets in one, writing down what it is asked."""

    def __init__(self, history: PriceHistory, stop_after: int, now_s: int, n_failures: int = 0) -> None:
        self.history = history
        self.calls: list[Any] = []
        self._stop_after = stop_after
        self._now_s = now_s
        self._n_failures = n_failures
        self._halted: set[int] = set()
        self.stopped = asyncio.Event()
        self._n_asked = 0

    def now_ms(self) -> int:
        return self._now_s * 1000

    def advance_to(self, step_ms: int, next_step_ms: int | None) -> None:
        self.calls.append(("advance", step_ms // 1000, next_step_ms and next_step_ms // 1000))

    async def submit(self, command: Command) -> tuple[Any, Sequence[Event]]:
        self.calls.append(command)
        if isinstance(command, HaltMarket):
            self._halted.add(command.market)
        if isinstance(command, AdoptPrices):
            self._stop_after -= 1
            if self._stop_after == 0:
                self.stopped.set()
                await asyncio.Event().wait()
        return None, []

    async def collect(self, time_s: int, last_times_s: dict[int, int]) -> CollectedPrices:
        if self._n_failures:
            self._n_failures -= 1
            raise PricesUnavailable("nobody there")
        accepted = []
        for symbol, market_id in MARKET_IDS.items():
            observed = self.history.observe(symbol, time_s)
            assert observed is not None
            accepted.append(
                AcceptedReport(
                    market_id=market_id,
                    external_ticks=observed.price_e8 // 10**6,
                    external_time_s=time_s,
                    session=observed.session,
                )
            )
        return CollectedPrices(time_s=time_s, evidence=b"evidence", accepted=tuple(accepted))

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        self.calls.append("held")
        yield
        self.calls.append("released")

    async def bring_chain_to(self, time_s: int) -> None:
        self.calls.append(f"chain at {time_s}")

    async def wait_until_settled(self) -> None:
        self.calls.append("settled")

    def has_unsettled(self) -> bool:
        """Somebody's stop is met by a seal made while clients are held, once a step."""
        self._n_asked += 1
        return self._n_asked % 2 == 1

    def read_markets(self) -> dict[int, MarketPrices]:
        return {
            market_id: MarketPrices(
                market_id=market_id,
                symbol=symbol,
                external_ticks=0,
                external_time_s=0,
                is_halted=market_id in self._halted,
            )
            for symbol, market_id in MARKET_IDS.items()
        }


def _keeper(venue: Venue, speed_ppm: int = 10**12) -> ReplayKeeper:
    return ReplayKeeper(
        history=venue.history,
        clock=venue,
        collector=venue,  # type: ignore[arg-type]
        submitter=venue,  # type: ignore[arg-type]
        barrier=venue,
        read_markets=venue.read_markets,
        wait_until_settled=venue.wait_until_settled,
        has_unsettled=venue.has_unsettled,
        speed_ppm=speed_ppm,
    )


async def _run(venue: Venue) -> None:
    task = asyncio.ensure_future(_keeper(venue).run())
    done, _ = await asyncio.wait(
        {task, asyncio.ensure_future(venue.stopped.wait())}, timeout=10, return_when="FIRST_COMPLETED"
    )
    assert done
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
def history() -> PriceHistory:
    return build_history(SYMBOLS, read_bundled_bars())


@pytest.mark.anyio
async def test_replay__two_steps__settled_held_chain_moved_adopted_released(
    history: PriceHistory,
) -> None:
    """AAPL opens 2005-03-01 at 44.99: mark and index follow external, in ticks of a cent."""
    venue = Venue(history, stop_after=2, now_s=history.start_s - 100)

    await _run(venue)

    start_s = history.start_s
    kinds = [call if isinstance(call, str | tuple) else type(call).__name__ for call in venue.calls]
    assert kinds == [
        *["SealBatch", "settled", "held", "SealBatch", "settled", "SealBatch", "settled", f"chain at {start_s}"],
        ("advance", start_s, start_s + 600),
        *["AdoptPrices", "released"],
        *["SealBatch", "settled", "held", "SealBatch", "settled", "SealBatch", "settled", f"chain at {start_s + 600}"],
        ("advance", start_s + 600, start_s + 1200),
        "AdoptPrices",
    ]
    adopted = venue.calls[9]
    assert isinstance(adopted, AdoptPrices)
    assert adopted.rows[0] == (1, 4_499, 4_499, 0)
    assert adopted.reports[0] == (1, 4_499, start_s, Session.REGULAR)
    assert adopted.evidence == b"evidence"


class QueueVenue(Venue):
    """A venue whose sequencer has not come to an order yet when clients are held: no batch is open, one will be."""

    n_queued = 0
    n_open = 0

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        self.n_queued = 1
        yield

    async def submit(self, command: Command) -> tuple[Any, Sequence[Event]]:
        self.n_open += self.n_queued
        self.n_queued = 0
        if isinstance(command, SealBatch):
            self.n_open = 0
        return await super().submit(command)

    def has_unsettled(self) -> bool:
        return self.n_open > 0

    async def bring_chain_to(self, time_s: int) -> None:
        self.calls.append(("unmatched", self.n_queued))


@pytest.mark.anyio
async def test_replay__order_still_in_the_queue_when_clients_are_held__sealed_before_the_chain_moves(
    history: PriceHistory,
) -> None:
    """Matched after the chain's jump it would be older than the chain settles, and the exchange would fault."""
    venue = QueueVenue(history, stop_after=2, now_s=history.start_s - 100)

    await _run(venue)

    assert [call for call in venue.calls if isinstance(call, tuple) and call[0] == "unmatched"] == [
        ("unmatched", 0),
        ("unmatched", 0),
    ]


@pytest.mark.anyio
async def test_replay__started_again_in_the_middle__goes_on_after_the_clock(history: PriceHistory) -> None:
    venue = Venue(history, stop_after=1, now_s=history.start_s + 601)

    await _run(venue)

    (advanced,) = [call for call in venue.calls if isinstance(call, tuple)]
    assert advanced == ("advance", history.start_s + 1200, history.start_s + 1800)


@pytest.mark.anyio
async def test_replay__publishers_away__history_stands_still_until_they_return(history: PriceHistory) -> None:
    venue = Venue(history, stop_after=1, now_s=0, n_failures=2)

    await _run(venue)

    assert sum(isinstance(call, AdoptPrices) for call in venue.calls) == 1
    assert sum(isinstance(call, tuple) for call in venue.calls) == 1


@pytest.mark.anyio
async def test_replay__split_day__market_is_halted_once_before_its_prices() -> None:
    """From Friday's close on, steps of six hours: the halt comes with the first one on Monday in New York."""
    history = build_history(SYMBOLS, read_bundled_bars(), start=date(2005, 2, 24))
    friday_close_s = 1_109_365_200
    venue = Venue(history, stop_after=13, now_s=friday_close_s)

    await _run(venue)

    halts = [call for call in venue.calls if isinstance(call, HaltMarket)]
    assert [halt.market for halt in halts] == [1]
    assert "2:1 split" in halts[0].reason
    before = [call for call in venue.calls[: venue.calls.index(halts[0])] if isinstance(call, tuple)]
    monday_s = 1_109_566_800  # 2005-02-28 05:00 UTC, midnight in New York
    assert before[-1][1] >= monday_s > before[-2][1]


@pytest.mark.anyio
async def test_replay__end_of_data__returns_and_says_so(history: PriceHistory) -> None:
    venue = Venue(history, stop_after=99, now_s=history.end_s - 700)
    keeper = _keeper(venue)

    await asyncio.wait_for(keeper.run(), 10)

    assert keeper.status.is_finished
    assert venue.calls[-1] == "released"
    assert [call for call in venue.calls if isinstance(call, tuple)][-1] == ("advance", history.end_s, None)


def test_pace__one_day_a_minute__42_steps_share_it() -> None:
    """60,000 ms over 42 steps: 1,428 ms each; at twice the speed half of it."""
    assert compute_step_wall_ms(42, 1_000_000) == 1_428
    assert compute_step_wall_ms(42, 2_000_000) == 714


def test_adopt_prices__market_without_a_new_report__keeps_a_row_at_its_external_price() -> None:
    report = AcceptedReport(market_id=2, external_ticks=2_520, external_time_s=1, session=Session.REGULAR)
    markets = {
        1: MarketPrices(market_id=1, symbol="AAPL", external_ticks=4_499, external_time_s=0, is_halted=False),
        2: MarketPrices(market_id=2, symbol="MSFT", external_ticks=2_500, external_time_s=0, is_halted=False),
        3: MarketPrices(market_id=3, symbol="IBM", external_ticks=0, external_time_s=0, is_halted=False),
    }

    command = build_adopt_prices(CollectedPrices(time_s=1, evidence=b"", accepted=(report,)), markets)

    assert command.rows == ((1, 4_499, 4_499, 0), (2, 2_520, 2_520, 0))
