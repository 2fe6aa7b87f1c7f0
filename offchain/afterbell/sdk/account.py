"""Reads: the public ones beside venue and markets, and the account's money and history.

Must not: sign anything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, TypeAlias, TypeVar

import msgspec

from afterbell.sdk.order_sending import MAX_PAGE
from afterbell.sdk.orders import OrderCalls
from afterbell.sdk.values import (
    AccountSnapshot,
    BatchSummary,
    Book,
    Candle,
    Fill,
    FundingPayment,
    Position,
    SessionKey,
    Trade,
    Transfer,
)

CandleKind: TypeAlias = Literal["mark", "trades"]
_Entry = TypeVar("_Entry")


class _Trades(msgspec.Struct, frozen=True):
    trades: tuple[Trade, ...]


class _Candles(msgspec.Struct, frozen=True):
    candles: tuple[Candle, ...]


class _Batches(msgspec.Struct, frozen=True):
    batches: tuple[BatchSummary, ...]


class _Positions(msgspec.Struct, frozen=True):
    positions: tuple[Position, ...]


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[SessionKey, ...]


class _Fills(msgspec.Struct, frozen=True):
    fills: tuple[Fill, ...]
    next_before: int | None = None


class _Transfers(msgspec.Struct, frozen=True):
    transfers: tuple[Transfer, ...]
    next_before: int | None = None


class _Payments(msgspec.Struct, frozen=True):
    payments: tuple[FundingPayment, ...]
    next_before: int | None = None


class ReadCalls(OrderCalls):
    """Everything that is only read."""

    # ------------------------------------------------------------ public

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """Return the aggregated book, best first. Units: ticks and lots. `live_book` keeps one up to date."""
        return await self._transport.get(f"/v1/markets/{symbol}/book", Book, depth=depth)

    async def trades(self, symbol: str, limit: int = 50) -> tuple[Trade, ...]:
        """Return the last trades, newest first."""
        return (await self._transport.get(f"/v1/markets/{symbol}/trades", _Trades, limit=limit)).trades

    async def candles(
        self,
        symbol: str,
        interval_s: int = 3600,
        limit: int = 200,
        *,
        kind: CandleKind = "mark",
        start_s: int | None = None,
        end_s: int | None = None,
    ) -> tuple[Candle, ...]:
        """Return candles, oldest first. kind: of the mark price, or of the trades. Units: venue seconds, ticks, lots.

        interval_s: 60, 300, 900, 3600, 14400 or 86400. start_s, end_s: between these venue seconds, by default the
        newest.
        """
        answer = await self._transport.get(
            f"/v1/markets/{symbol}/candles", _Candles, interval_s=interval_s, limit=limit, kind=kind, start_s=start_s,
            end_s=end_s,
        )  # fmt: skip
        return answer.candles

    async def batches(self, limit: int = 50) -> tuple[BatchSummary, ...]:
        """Return the venue's batches with their transactions, newest first."""
        return (await self._transport.get("/v1/batches", _Batches, limit=limit)).batches

    # ------------------------------------------------------------ the account

    async def account(self) -> AccountSnapshot:
        """Return collateral, equity, margins and positions now. Units: quote, 1e-6 USDC."""
        return await self._transport.get(f"/v1/accounts/{self.account_id}", AccountSnapshot)

    async def positions(self) -> tuple[Position, ...]:
        """Return the open positions. Units: lots (long > 0), ticks, quote."""
        return (await self._transport.get(f"/v1/accounts/{self.account_id}/positions", _Positions)).positions

    async def keys(self) -> tuple[SessionKey, ...]:
        """Return the account's session keys with their limits, revoked and expired ones too."""
        return (await self._transport.get(f"/v1/accounts/{self.account_id}/keys", _Keys)).keys

    async def fills(self, limit: int = 100, *, before: int | None = None) -> tuple[Fill, ...]:
        """Return the account's fills, newest first, each with its place on chain. `iterate_fills` walks all pages."""
        return (await self._page("fills", _Fills, limit, before)).fills

    async def transfers(self, limit: int = 100, *, before: int | None = None) -> tuple[Transfer, ...]:
        """Return deposits and withdrawals, newest first, each step with its transaction."""
        return (await self._page("transfers", _Transfers, limit, before)).transfers

    async def funding(self, limit: int = 100, *, before: int | None = None) -> tuple[FundingPayment, ...]:
        """Return funding payments, newest first. Units: quote, positive: the account paid."""
        return (await self._page("funding", _Payments, limit, before)).payments

    async def iterate_fills(self) -> AsyncGenerator[Fill, None]:
        """Yield all fills of the account, newest first, page by page."""
        before: int | None = None
        while True:
            page = await self._page("fills", _Fills, MAX_PAGE, before)
            for fill in page.fills:
                yield fill
            if page.next_before is None:
                return
            before = page.next_before

    async def iterate_transfers(self) -> AsyncGenerator[Transfer, None]:
        """Yield all deposits and withdrawals of the account, newest first, page by page."""
        before: int | None = None
        while True:
            page = await self._page("transfers", _Transfers, MAX_PAGE, before)
            for transfer in page.transfers:
                yield transfer
            if page.next_before is None:
                return
            before = page.next_before

    async def iterate_funding(self) -> AsyncGenerator[FundingPayment, None]:
        """Yield all funding payments of the account, newest first, page by page."""
        before: int | None = None
        while True:
            page = await self._page("funding", _Payments, MAX_PAGE, before)
            for payment in page.payments:
                yield payment
            if page.next_before is None:
                return
            before = page.next_before

    async def _page(self, what: str, page: type[_Entry], limit: int, before: int | None) -> _Entry:
        return await self._transport.get(f"/v1/accounts/{self.account_id}/{what}", page, limit=limit, before=before)
