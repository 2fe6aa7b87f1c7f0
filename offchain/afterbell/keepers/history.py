"""Price history of all markets as one timeline: the price at a second, its session, and the step that comes next.

Publishers read prices from it, the replay keeper reads steps from it; each process builds its own from the same files.
Trading days are the days on which some real market has a bar; a market without a bar on such a day, before its first or
after its last, is CLOSED at its last close. From the day of a split on, a market is HALTED at the close before it.
Must not: read files or a clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Final

from afterbell.domain.calendar import Boundary
from afterbell.domain.session import Session
from afterbell.keepers.bars import BadHistory, DailyBar, Split, find_split, validate_ascending
from afterbell.keepers.paths import compute_price_e8
from afterbell.keepers.sessions import compute_close_s, compute_day, compute_midnight_s, compute_open_s
from afterbell.keepers.synthetic import build_synthetic_bars

DEFAULT_START: Final = date(2005, 3, 1)
"""The day after the last split in the bundled data (AAPL, 2005-02-28)."""
DEFAULT_SEED: Final = "afterbell"
BUNDLED_SOURCE: Final = "bokeh_sampledata stocks.csv.gz (raw daily bars, public domain)"
DEFAULT_STEP_S: Final = 600
MAX_CLOSED_STEP_S: Final = 6 * 3600
"""Closed time passes in steps of at most six hours: the venue's heartbeat."""
_AFTERWARDS_S: Final = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketBars:
    """The bars of one market and where they come from. Shapes: days ascending, at least one."""

    symbol: str
    bars: tuple[DailyBar, ...]
    is_synthetic: bool
    source: str

    def __post_init__(self) -> None:
        if not self.bars:
            raise BadHistory(f"{self.symbol}: no bars in {self.source}")
        validate_ascending(self.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one market shows at one second. Units: 1e-8 USD per share."""

    price_e8: int
    session: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A market that stops for good at a second of the replay."""

    symbol: str
    time_s: int
    reason: str


class PriceHistory:
    """All markets from a start day to the end of their data."""

    def __init__(
        self, markets: Sequence[MarketBars], *, start: date, seed: str = DEFAULT_SEED, step_s: int = DEFAULT_STEP_S
    ) -> None:
        """Join markets into one timeline. Raises: BadHistory when nothing real trades on or after `start`."""
        if step_s <= 0:
            raise ValueError(f"step_s must be positive, found {step_s}")
        self.seed = seed
        self.step_s = step_s
        self.markets: Mapping[str, MarketBars] = {market.symbol: market for market in markets}
        self.days = tuple(
            sorted(
                {bar.day for market in markets if not market.is_synthetic for bar in market.bars if bar.day >= start}
            )
        )
        if not self.days:
            raise BadHistory(f"no real market has a bar on or after {start}: choose an earlier --start")
        self._opens = [compute_open_s(day) for day in self.days]
        self._n_steps_before = list(accumulate((self.count_steps_of_day(open_s) for open_s in self._opens), initial=0))
        self._bar_days = {symbol: [bar.day for bar in market.bars] for symbol, market in self.markets.items()}
        self._splits: dict[str, Split] = {}
        for symbol, market in self.markets.items():
            split = find_split(market.bars, self.days[0])
            if split is not None:
                self._splits[symbol] = split

    @property
    def start_s(self) -> int:
        """Return the first step: the first open."""
        return self._opens[0]

    @property
    def end_s(self) -> int:
        """Return the last step: the last close."""
        return compute_close_s(self.days[-1])

    def build_calendar(self) -> tuple[Boundary, ...]:
        """Return the session calendar of the replayed days, as PriceOracle takes it: REGULAR and CLOSED.

        What the reports name besides (HALTED) is stricter and counts. After the data the market stays CLOSED for years.
        """
        boundaries = []
        for day, open_s in zip(self.days, self._opens, strict=True):
            boundaries.append(Boundary(start_s=open_s, session=Session.REGULAR))
            boundaries.append(Boundary(start_s=compute_close_s(day), session=Session.CLOSED))
        boundaries.append(Boundary(start_s=self.end_s + _AFTERWARDS_S, session=Session.UNKNOWN))
        return tuple(boundaries)

    @property
    def synthetic_symbols(self) -> frozenset[str]:
        """Return the markets whose prices are made up."""
        return frozenset(symbol for symbol, market in self.markets.items() if market.is_synthetic)

    def compute_next_step_s(self, time_s: int) -> int | None:
        """Return the step after `time_s`, or None at the end of the data.

        In session: the next multiple of `step_s` since the open, or the close. Closed: at most six hours on, or the
        next open.
        """
        if time_s < self.start_s:
            return self.start_s
        index = bisect_right(self._opens, time_s) - 1
        open_s, close_s = self._opens[index], compute_close_s(self.days[index])
        if time_s < close_s:
            return min(open_s + ((time_s - open_s) // self.step_s + 1) * self.step_s, close_s)
        if index + 1 == len(self._opens):
            return None
        return min(time_s + MAX_CLOSED_STEP_S, self._opens[index + 1])

    def count_steps_of_day(self, time_s: int) -> int:
        """Return how many steps lie from the open at or before `time_s` to the next open; for pacing."""
        index = max(bisect_right(self._opens, time_s) - 1, 0)
        session_s = compute_close_s(self.days[index]) - self._opens[index]
        n_session = -(-session_s // self.step_s)
        if index + 1 == len(self._opens):
            return n_session
        closed_s = self._opens[index + 1] - compute_close_s(self.days[index])
        return n_session + -(-closed_s // MAX_CLOSED_STEP_S)

    def count_steps(self, time_s: int) -> int:
        """Return how many steps of an unbroken replay lie from the start to `time_s`, both included.

        A venue started again in closed hours steps at other times until the next open; this count never falls.
        """
        if time_s < self.start_s:
            return 0
        index = bisect_right(self._opens, time_s) - 1
        open_s, close_s = self._opens[index], compute_close_s(self.days[index])
        n_before = self._n_steps_before[index]
        if time_s < close_s:
            return n_before + (time_s - open_s) // self.step_s + 1
        n_session = -(-(close_s - open_s) // self.step_s)
        n_closed = (time_s - close_s) // MAX_CLOSED_STEP_S if index + 1 < len(self._opens) else 0
        return n_before + n_session + n_closed + 1

    def observe(self, symbol: str, time_s: int) -> Observation | None:
        """Return price and session of a market, or None before its first bar opens.

        Raises: KeyError for an unknown symbol.
        """
        split = self._splits.get(symbol)
        if split is not None and time_s >= compute_midnight_s(split.day):
            return Observation(price_e8=split.previous_close_e8, session=Session.HALTED)
        day = compute_day(time_s)
        bars = self.markets[symbol].bars
        index = bisect_left(self._bar_days[symbol], day)
        if index < len(bars) and bars[index].day == day and time_s >= compute_open_s(day):
            bar = bars[index]
            if time_s < compute_close_s(day):
                second = time_s - compute_open_s(day)
                price_e8 = compute_price_e8(bar, second, self.seed, symbol)
                return Observation(price_e8=price_e8, session=Session.REGULAR)
            return Observation(price_e8=bar.close_e8, session=Session.CLOSED)
        if index == 0:
            return None
        return Observation(price_e8=bars[index - 1].close_e8, session=Session.CLOSED)

    def find_halts(self, time_s: int) -> tuple[Halt, ...]:
        """Return the markets halted at `time_s`, by symbol."""
        return tuple(
            Halt(symbol=symbol, time_s=compute_midnight_s(split.day), reason=split.describe(symbol))
            for symbol, split in sorted(self._splits.items())
            if time_s >= compute_midnight_s(split.day)
        )


def build_history(
    symbols: Sequence[str],
    real: Mapping[str, MarketBars],
    *,
    start: date | None = None,
    seed: str = DEFAULT_SEED,
    step_s: int = DEFAULT_STEP_S,
) -> PriceHistory:
    """Join real bars of `symbols` and make up, labelled, the bars of those that have none.

    Without `start` the replay begins on 2005-03-01 or, if later, on the first day of the latest supplied history that
    begins after it, so that whoever supplies a file sees it trade.
    """
    chosen = [real[symbol] for symbol in symbols if symbol in real]
    if not chosen:
        raise BadHistory(f"no real history for any of {', '.join(symbols)}: the replay needs at least one")
    if start is None:
        supplied = [market.bars[0].day for market in chosen if market.source != BUNDLED_SOURCE]
        start = max([DEFAULT_START, *supplied])
    last_start = max(market.bars[-1].day for market in chosen)
    if start > last_start:
        raise BadHistory(f"--start must not be after the last bar, {last_start}; found {start}")
    # Made-up bars follow the real calendar from the first real day, so that a later start shows the same prices.
    days = sorted({bar.day for market in chosen for bar in market.bars})
    chosen += [
        MarketBars(
            symbol=symbol,
            bars=build_synthetic_bars(symbol, days, seed),
            is_synthetic=True,
            source="synthetic: made up from a seed, no real prices",
        )
        for symbol in symbols
        if symbol not in real
    ]
    return PriceHistory(chosen, start=start, seed=seed, step_s=step_s)
