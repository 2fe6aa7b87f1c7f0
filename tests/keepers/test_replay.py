"""The replay keeper's order of doing things, with fakes on its ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from afterbell.adapters.history import read_bundled_bars
from afterbell.domain.calendar import Boundary, Calendar
from afterbell.domain.chain_state import ChainState
from afterbell.domain.commands import AdoptPrices, Command, HaltMarket, SealBatch
from afterbell.domain.events import Event
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence, join_sections
from afterbell.domain.oracle import OracleMarket, OracleState, SignedSource
from afterbell.domain.session import Session
from afterbell.domain.words import PriceWord
from afterbell.keepers.collection import CollectedPrices, PricesUnavailable
from afterbell.keepers.history import PriceHistory, build_history
from afterbell.keepers.replay import MarketPrices, ReplayKeeper, build_adopt_prices, compute_step_wall_ms
from afterbell.signing.keys import SigningKey, recover
from afterbell.signing.typed_data import PriceRoot, digest

SYMBOLS = ("AAPL", "MSFT", "IBM", "GOOG")
MARKET_IDS = {symbol: index + 1 for index, symbol in enumerate(SYMBOLS)}
PUBLISHER = SigningKey(b"\x21" * 32)
SEPARATOR = b"\x22" * 32
WINDOW = (Boundary(start_s=1_000_000_000, session=Session.REGULAR), Boundary(start_s=4_000_000_000, session=0))


def sign(reports: Sequence[PriceReport], time_s: int) -> bytes:
    """Return evidence by one publisher."""
    root, proven = build_proven_reports(reports, time_s)
    signature = PUBLISHER.sign(digest(PriceRoot(root=root, publish_time_s=time_s), SEPARATOR))
    evidence = Evidence(publish_time_s=time_s, root=root, signatures=(signature,), reports=proven)
    return join_sections([encode_evidence(evidence)])


def make_oracle() -> OracleState:
    source = SignedSource(
        publishers=frozenset([PUBLISHER.address]), threshold=1, domain_separator=SEPARATOR, recover=recover
    )
    return OracleState(
        markets={market: OracleMarket(ticks_per_usd=100, max_confidence_ppm=1) for market in MARKET_IDS.values()},
        sources={0: source},
        calendar=Calendar(WINDOW),
    )


def make_words(externals: dict[int, int]) -> ChainState:
    """Return listed markets; ticks of the last report, a day before everything here."""
    return ChainState(
        prices={
            market: PriceWord(external_ticks=ticks, external_time_s=min(ticks, 1_000_000_000), epoch=1).pack()
            for market, ticks in externals.items()
        }
    )


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

    async def collect(self, time_s: int) -> CollectedPrices:
        if self._n_failures:
            self._n_failures -= 1
            raise PricesUnavailable("nobody there")
        reports = []
        for symbol, market_id in MARKET_IDS.items():
            observed = self.history.observe(symbol, time_s)
            assert observed is not None
            reports.append(PriceReport(market_id=market_id, session=observed.session, price_e8=observed.price_e8))
        return CollectedPrices(time_s=time_s, evidence=sign(reports, time_s))

    async def read_oracle(self, time_s: int) -> OracleState:
        self.calls.append(f"oracle at {time_s}")
        return make_oracle()

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
        read_words=lambda: make_words(dict.fromkeys(MARKET_IDS.values(), 0)),
        oracle=venue,
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
        f"oracle at {start_s}",
        ("advance", start_s, start_s + 600),
        *["AdoptPrices", "released"],
        *["SealBatch", "settled", "held", "SealBatch", "settled", "SealBatch", "settled", f"chain at {start_s + 600}"],
        f"oracle at {start_s + 600}",
        ("advance", start_s + 600, start_s + 1200),
        "AdoptPrices",
    ]
    adopted = venue.calls[10]
    assert isinstance(adopted, AdoptPrices)
    assert adopted.rows[0] == (1, 4_499, 4_499, 0)
    # until the window's end, 4,000,000,000: more minutes than 16 bits hold
    assert adopted.stated[0] == (1, 4_499, start_s, Session.REGULAR, 65_535, 1_000_000_000)
    assert adopted.evidence[2] == 0


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
    report = PriceReport(market_id=2, session=Session.REGULAR, price_e8=2_520_000_000)
    words = make_words({1: 4_499, 2: 2_500, 3: 0, 4: 0})

    command = build_adopt_prices(
        CollectedPrices(time_s=2_000_000_000, evidence=sign([report], 2_000_000_000)), make_oracle(), words
    )

    assert command.rows == ((1, 4_499, 4_499, 0), (2, 2_520, 2_520, 0))
    assert [(one[0], one[1], one[2]) for one in command.stated] == [(1, 4_499, 4_499), (2, 2_520, 2_000_000_000)]


def test_adopt_prices__report_the_oracle_ignores__states_the_price_before() -> None:
    """25.00 to 28.00 is a jump of 12 %, which one source alone must repeat a minute later."""
    report = PriceReport(market_id=2, session=Session.REGULAR, price_e8=2_800_000_000)
    words = make_words({2: 2_500})

    command = build_adopt_prices(
        CollectedPrices(time_s=2_000_000_000, evidence=sign([report], 2_000_000_000)),
        replace(make_oracle(), markets={2: OracleMarket(ticks_per_usd=100, max_confidence_ppm=1)}),
        words,
    )

    assert command.rows == ((2, 2_500, 2_500, 0),)
    assert command.stated[0][:3] == (2, 2_500, 2_500)
