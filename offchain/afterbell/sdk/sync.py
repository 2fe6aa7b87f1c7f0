"""Client: AsyncClient for programs without asyncio; same names, same units, same errors.

Runs an event loop in a thread of its own. Every call blocks until its answer; use one Client from several threads
freely.

    with Client("http://127.0.0.1:8720", private_key="0x…") as client:
        client.faucet()
        client.deposit("1000")
        print(client.place("IBM", "SELL", "2", "93.10").status)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from afterbell.sdk.client import (
    DEFAULT_LIFETIME_S,
    DEFAULT_URL,
    Amount,
    AsyncClient,
    FillStatusName,
    Price,
    SideName,
    Size,
    TimeInForceName,
)
from afterbell.sdk.values import (
    AccountSnapshot,
    Book,
    Candle,
    ClockReading,
    Fill,
    Market,
    PlacedOrder,
    Position,
    StreamMessage,
    Trade,
    Transfer,
    Venue,
)

_Answer = TypeVar("_Answer")


class Client:
    """A blocking client of one venue; see AsyncClient for what each call does."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        private_key: bytes | str | None = None,
        subaccount: int = 0,
        rpc_url: str | None = None,
        timeout_s: float = 10.0,
        n_retries: int = 4,
    ) -> None:
        """Start the loop's thread; nothing is sent before the first call."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="afterbell-client", daemon=True)
        self._thread.start()
        self._inner = AsyncClient(
            url,
            private_key=private_key,
            subaccount=subaccount,
            rpc_url=rpc_url,
            timeout_s=timeout_s,
            n_retries=n_retries,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and stop the thread. Resting orders stay."""
        if self._loop.is_closed():
            return
        self._run(self._inner.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, call: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    @property
    def url(self) -> str:
        """Address of the venue."""
        return self._inner.url

    @property
    def owner(self) -> str:
        """Address that signs."""
        return self._inner.owner

    @property
    def account_id(self) -> str:
        """Account that trades."""
        return self._inner.account_id

    def venue(self) -> Venue:
        """Return chain, addresses, EIP-712 domain, genesis and bounds."""
        return self._run(self._inner.venue())

    def clock(self) -> ClockReading:
        """Return venue time."""
        return self._run(self._inner.clock())

    def now_ms(self) -> int:
        """Return venue time as the client carries it."""
        return self._run(self._inner.now_ms())

    def markets(self) -> tuple[Market, ...]:
        """Return every market now."""
        return self._run(self._inner.markets())

    def market(self, symbol: str) -> Market:
        """Return one market now."""
        return self._run(self._inner.market(symbol))

    def book(self, symbol: str, depth: int = 20) -> Book:
        """Return the aggregated book, best first."""
        return self._run(self._inner.book(symbol, depth))

    def trades(self, symbol: str, limit: int = 50) -> tuple[Trade, ...]:
        """Return the last trades, newest first."""
        return self._run(self._inner.trades(symbol, limit))

    def candles(self, symbol: str, interval_s: int = 3600, limit: int = 200) -> tuple[Candle, ...]:
        """Return candles of the mark price, oldest first."""
        return self._run(self._inner.candles(symbol, interval_s, limit))

    def place(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        price: Price,
        *,
        time_in_force: TimeInForceName = "GTC",
        post_only: bool = False,
        reduce_only: bool = False,
        lifetime_s: int = DEFAULT_LIFETIME_S,
        expiry_s: int | None = None,
        max_fee_ppm: int | None = None,
        client_id: str = "",
        lane: int | None = None,
    ) -> PlacedOrder:
        """Sign and send one order; int lots and ticks, or Decimal/text shares and USD."""
        return self._run(
            self._inner.place(
                symbol,
                side,
                size,
                price,
                time_in_force=time_in_force,
                post_only=post_only,
                reduce_only=reduce_only,
                lifetime_s=lifetime_s,
                expiry_s=expiry_s,
                max_fee_ppm=max_fee_ppm,
                client_id=client_id,
                lane=lane,
            )
        )

    def cancel(self, order: PlacedOrder | str) -> tuple[str, ...]:
        """Cancel one resting order."""
        return self._run(self._inner.cancel(order))

    def cancel_all(self) -> tuple[str, ...]:
        """Cancel every resting order of the account."""
        return self._run(self._inner.cancel_all())

    def order(self, order_id: str) -> PlacedOrder:
        """Return an order and the life of its fills."""
        return self._run(self._inner.order(order_id))

    def orders(self, *, only_open: bool = False, limit: int = 200) -> tuple[PlacedOrder, ...]:
        """Return the account's orders, newest first."""
        return self._run(self._inner.orders(only_open=only_open, limit=limit))

    def wait_for_order(
        self, order_id: str, *, status: FillStatusName = "final", timeout_s: float = 60.0
    ) -> PlacedOrder:
        """Return the order once all its fills reached `status`."""
        return self._run(self._inner.wait_for_order(order_id, status=status, timeout_s=timeout_s))

    def account(self) -> AccountSnapshot:
        """Return collateral, equity, margins and positions now."""
        return self._run(self._inner.account())

    def positions(self) -> tuple[Position, ...]:
        """Return the open positions."""
        return self._run(self._inner.positions())

    def fills(self, limit: int = 100) -> tuple[Fill, ...]:
        """Return the account's fills, newest first."""
        return self._run(self._inner.fills(limit))

    def transfers(self, limit: int = 100) -> tuple[Transfer, ...]:
        """Return deposits and withdrawals, newest first."""
        return self._run(self._inner.transfers(limit))

    def faucet(self) -> None:
        """Ask for test USDC and gas; local chain only."""
        self._run(self._inner.faucet())

    def deposit(self, usdc: Amount | None = None, *, quote: int | None = None, timeout_s: float = 60.0) -> Transfer:
        """Deposit either usdc, Decimal or text, or quote, exact quote units (1e-6 USDC)."""
        return self._run(self._inner.deposit(usdc, quote=quote, timeout_s=timeout_s))

    def withdraw(
        self, usdc: Amount | None = None, *, quote: int | None = None, recipient: str | None = None
    ) -> Transfer:
        """Sign a withdrawal of either usdc, Decimal or text, or quote, exact quote units (1e-6 USDC)."""
        return self._run(self._inner.withdraw(usdc, quote=quote, recipient=recipient))

    def withdrawal(self, withdrawal_id: str) -> Transfer:
        """Return where a withdrawal stands."""
        return self._run(self._inner.withdrawal(withdrawal_id))

    def claim(self, *, recipient: str | None = None, timeout_s: float = 60.0) -> str:
        """Have the vault pay a claim; return the transaction hash."""
        return self._run(self._inner.claim(recipient=recipient, timeout_s=timeout_s))

    def wallet_quote(self) -> int:
        """Return the token balance of the owner's wallet."""
        return self._run(self._inner.wallet_quote())

    def stream(self, *channels: str, reconnect: bool = True) -> Iterator[StreamMessage]:
        """Yield messages of channels, blocking between them."""
        messages = self._inner.stream(*channels, reconnect=reconnect)

        async def read_next() -> StreamMessage:
            return await anext(messages)

        while True:
            try:
                yield self._run(read_next())
            except StopAsyncIteration:
                return
