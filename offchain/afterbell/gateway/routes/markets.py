"""Serve markets: rules and prices, books, trades, candles."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Query

from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine import queries
from afterbell.engine.queries import MarketView
from afterbell.gateway.deps import CaughtUp, Limit, MarketPath, ServicesDep
from afterbell.gateway.errors import ERROR_RESPONSES
from afterbell.gateway.schemas import BookOut, CandlesOut, MarketOut, MarketsOut, TradesOut
from afterbell.gateway.services import Services
from afterbell.gateway.views import build_candle, build_levels, build_market, build_trade
from afterbell.readmodel.queries import Candle

router = APIRouter(prefix="/v1/markets", tags=["markets"], responses=ERROR_RESPONSES)
_DAY_S: Final = 86_400
_MAX_SPLIT_RATIO: Final = 20
_SEARCH_FACTOR: Final = 4
"""Closed hours have few prices: look this many times further back for enough candles."""


def _read_views(services: Services) -> Sequence[MarketView]:
    return queries.read_markets(services.state(), milliseconds_to_seconds(services.clock.now_ms()))


async def _build_markets(services: Services, views: Sequence[MarketView]) -> list[MarketOut]:
    day_ago_ms = services.clock.now_ms() - _DAY_S * 1_000
    marks = await services.readmodel.run(
        lambda: [services.readmodel.get_mark_at(view.market, day_ago_ms) for view in views]
    )
    return [build_market(view, day_ago_ticks=mark) for view, mark in zip(views, marks, strict=True)]


@router.get("")
async def get_markets(services: CaughtUp) -> MarketsOut:
    """Return every listed market."""
    return MarketsOut(markets=await _build_markets(services, _read_views(services)))


@router.get("/{symbol}")
async def get_market(services: CaughtUp, market: MarketPath) -> MarketOut:
    """Return one market."""
    views = [view for view in _read_views(services) if view.market == market]
    return (await _build_markets(services, views))[0]


@router.get("/{symbol}/book")
async def get_book(
    services: ServicesDep,
    symbol: str,
    market: MarketPath,
    depth: Annotated[int, Query(ge=1, le=1000, description="levels of each side")] = 50,
) -> BookOut:
    """Return aggregated levels, best first; `sequence` is that of the channel book:SYMBOL."""
    books = services.hub.books
    return BookOut(
        symbol=symbol,
        market=market,
        sequence=books.sequence(market),
        bids=build_levels(books.levels(market, is_bid=True, depth=depth)),
        asks=build_levels(books.levels(market, is_bid=False, depth=depth)),
    )


@router.get("/{symbol}/trades")
async def get_trades(services: CaughtUp, symbol: str, market: MarketPath, limit: Limit = 100) -> TradesOut:
    """Return the last fills, newest first."""
    fills = await services.readmodel.run(services.readmodel.read_trades, market, limit)
    return TradesOut(symbol=symbol, trades=[build_trade(fill, services.hub.symbols) for fill in fills])


@router.get("/{symbol}/candles")
async def get_candles(
    services: CaughtUp,
    symbol: str,
    market: MarketPath,
    interval_s: Annotated[int, Query(ge=60, le=7 * _DAY_S, description="multiple of 60")] = 3_600,
    limit: Annotated[int, Query(ge=1, le=1500)] = 300,
    before_s: Annotated[int | None, Query(ge=0, le=2**40, description="candles that begin before this time")] = None,
) -> CandlesOut:
    """Return candles of mark with the volume of fills, oldest first, intervals without a price left out.

    Daily candles go back before the venue's first price, with the bars of the stock itself where they are known.
    """
    interval_s -= interval_s % 60
    end_s = milliseconds_to_seconds(services.clock.now_ms()) + 1 if before_s is None else before_s
    end_s += -end_s % interval_s
    begin_s = max(end_s - _SEARCH_FACTOR * limit * interval_s, 0)
    begin_s -= begin_s % interval_s
    candles = await services.readmodel.run(
        services.readmodel.read_candles, market, interval_s=interval_s, from_s=begin_s, to_s=end_s
    )
    candles = candles[-limit:]
    if interval_s == _DAY_S and services.history is not None and len(candles) < limit:
        candles = _prepend_history(services, symbol, candles, end_s, limit)
    return CandlesOut(symbol=symbol, interval_s=interval_s, candles=[build_candle(candle) for candle in candles])


def _prepend_history(services: Services, symbol: str, candles: list[Candle], end_s: int, limit: int) -> list[Candle]:
    if services.history is None:
        return candles
    first_s = candles[0].time_s if candles else end_s
    earlier = services.history(symbol, first_s, limit - len(candles))
    return join_history(earlier, candles)


def join_history(earlier: Sequence[Candle], candles: list[Candle]) -> list[Candle]:
    """Return raw daily bars before the venue's own candles, in the unit of the newest.

    For the eye only: a share of before a split is shown as what it became, so that the chart has no cliff where
    nobody lost anything. Rounding: down.
    """
    joined = deque(candles)
    numerator, denominator = 1, 1
    for bar in reversed(earlier):
        if joined:
            n_new, n_old = find_split_ratio(bar.close_ticks * numerator // denominator, joined[0].open_ticks)
            numerator, denominator = numerator * n_old, denominator * n_new
        joined.appendleft(
            replace(
                bar,
                open_ticks=bar.open_ticks * numerator // denominator,
                high_ticks=bar.high_ticks * numerator // denominator,
                low_ticks=bar.low_ticks * numerator // denominator,
                close_ticks=bar.close_ticks * numerator // denominator,
            )
        )
    return list(joined)


def find_split_ratio(close_ticks: int, open_ticks: int) -> tuple[int, int]:
    """Return (shares after, shares before) of the split that a gap between two days looks like, (1, 1) for none.

    Whole ratios from 2 to 20, either way, met within 3 %. Twin: keepers/bars.py, where a split after the start halts
    its market; here nothing hangs on it but a drawing.
    """
    for ratio in range(2, _MAX_SPLIT_RATIO + 1):
        if abs(open_ticks * ratio - close_ticks) * 100 <= 3 * close_ticks:
            return ratio, 1
        if abs(open_ticks - close_ticks * ratio) * 100 <= 3 * close_ticks * ratio:
            return 1, ratio
    return 1, 1
