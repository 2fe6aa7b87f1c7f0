"""Serve markets: rules and prices, books, trades, candles."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Query

from afterbell.domain.codes import RejectReason
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine import queries
from afterbell.engine.queries import MarketView
from afterbell.gateway.deps import CaughtUp, Limit, MarketPath, ServicesDep
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.schemas import BookOut, CandleKindName, CandlesOut, MarketOut, MarketsOut, TradesOut
from afterbell.gateway.services import PriceHistory, Services
from afterbell.gateway.views import build_candle, build_levels, build_market, build_trade
from afterbell.readmodel.queries import Candle
from afterbell.readmodel.tables import CANDLE_INTERVALS_S, CandleKind

router = APIRouter(prefix="/v1/markets", tags=["markets"], responses=ERROR_RESPONSES)
_DAY_S: Final = 86_400
_MAX_SPLIT_RATIO: Final = 20
_INTERVALS_TEXT: Final = "one of " + ", ".join(str(interval_s) for interval_s in CANDLE_INTERVALS_S) + " s"


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
    kind: Annotated[CandleKindName, Query(description="whose prices: the mark's or those of fills")] = "mark",
    interval_s: Annotated[int, Query(description=_INTERVALS_TEXT)] = 3_600,
    start_s: Annotated[int, Query(ge=0, le=2**40, description="candles that begin then or later")] = 0,
    end_s: Annotated[int | None, Query(ge=0, le=2**40, description="candles that begin before; without: now")] = None,
    limit: Annotated[int, Query(ge=1, le=1500, description="the newest so many")] = 300,
) -> CandlesOut:
    """Return candles, oldest first; intervals without a price are left out.

    A candle of the mark opens where the one before closed. Daily candles of the mark go back before the venue's first
    price, with the bars of the stock itself where they are known.
    """
    if interval_s not in CANDLE_INTERVALS_S:
        raise ApiError(
            RejectReason.MALFORMED_REQUEST,
            "there are no candles of that interval",
            required=_INTERVALS_TEXT,
            found=f"{interval_s} s",
            action="take one of these and add up its candles",
        )
    last_s = milliseconds_to_seconds(services.clock.now_ms()) + 1 if end_s is None else end_s
    candles = await services.readmodel.run(
        services.readmodel.read_candles,
        market,
        kind=CandleKind(kind),
        interval_s=interval_s,
        start_s=start_s,
        end_s=last_s,
        limit=limit,
    )
    if kind == "mark" and interval_s == _DAY_S and services.history is not None and len(candles) < limit:
        candles = _prepend_history(services.history, symbol, candles, start_s=start_s, end_s=last_s, limit=limit)
    return CandlesOut(
        symbol=symbol, kind=kind, interval_s=interval_s, candles=[build_candle(candle) for candle in candles]
    )


def _prepend_history(
    history: PriceHistory, symbol: str, candles: list[Candle], *, start_s: int, end_s: int, limit: int
) -> list[Candle]:
    first_s = candles[0].time_s if candles else end_s
    earlier = history(symbol, first_s, limit - len(candles))
    return join_history([bar for bar in earlier if bar.time_s >= start_s], candles)


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
