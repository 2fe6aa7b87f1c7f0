"""Client: AsyncClient for programs without asyncio; same names, same units, same errors.

Runs an event loop in a thread of its own. Every call blocks until its answer; use one Client from several threads
freely. Each method is AsyncClient's own, waited for: its signature and docstring are the same.

    with Client("http://127.0.0.1:8720", key="0x…") as client:
        client.faucet()
        client.deposit("1000")
        print(client.place("IBM", "SELL", "2", "93.10").status)
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from afterbell.sdk.client import AsyncClient
from afterbell.sdk.core import DEFAULT_URL
from afterbell.sdk.values import RateLimit

_Answer = TypeVar("_Answer")
_Terms = ParamSpec("_Terms")


def _blocking(
    call: Callable[Concatenate[AsyncClient, _Terms], Coroutine[Any, Any, _Answer]],
) -> Callable[Concatenate[Client, _Terms], _Answer]:
    """Return the call as one that waits for its answer."""

    def wait(self: Client, /, *args: _Terms.args, **terms: _Terms.kwargs) -> _Answer:
        return self._run(call(self._inner, *args, **terms))

    functools.update_wrapper(wait, call)
    return wait


def _iterating(
    call: Callable[Concatenate[AsyncClient, _Terms], AsyncGenerator[_Answer, None]],
) -> Callable[Concatenate[Client, _Terms], Generator[_Answer, None, None]]:
    """Return the call as an ordinary iterator that waits for each entry; closing it closes the stream behind it."""

    def iterate(self: Client, /, *args: _Terms.args, **terms: _Terms.kwargs) -> Generator[_Answer, None, None]:
        entries = call(self._inner, *args, **terms)
        self._iterated.add(entries)

        async def read_next() -> _Answer:
            return await anext(entries)

        async def close() -> None:
            await entries.aclose()

        try:
            while True:
                try:
                    entry = self._run(read_next())
                except StopAsyncIteration:
                    return
                yield entry
        finally:
            self._iterated.discard(entries)
            if not self._loop.is_closed():  # A closed client has ended its streams already.
                self._run(close())

    functools.update_wrapper(iterate, call)
    return iterate


class Client:
    """A blocking client of one venue; see AsyncClient for what each call does."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: bytes | str | None = None,
        owner: str | None = None,
        private_key: bytes | str | None = None,
        subaccount: int = 0,
        rpc_url: str | None = None,
        timeout_s: float = 10.0,
        n_retries: int = 4,
        http_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Start the loop's thread; nothing is sent before the first call. Arguments: see AsyncClient."""
        self._inner = AsyncClient(
            url, key=key, owner=owner, private_key=private_key, subaccount=subaccount, rpc_url=rpc_url,
            timeout_s=timeout_s, n_retries=n_retries, http_transport=http_transport,
        )  # fmt: skip
        self._iterated: set[AsyncGenerator[Any, None]] = set()
        """What is being iterated: streams hold connections."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="afterbell-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and stop the thread; calls of other threads end too. Resting orders stay."""
        if self._loop.is_closed():
            return
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """End calls of other threads, then the streams that are open, then the connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for entries in list(self._iterated):
            await entries.aclose()
        await self._inner.aclose()

    def _run(self, call: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    @property
    def url(self) -> str:
        """Address of the venue."""
        return self._inner.url

    @property
    def owner(self) -> str:
        """Address the account belongs to."""
        return self._inner.owner

    @property
    def signer(self) -> str:
        """Address that signs."""
        return self._inner.signer

    @property
    def is_session_key(self) -> bool:
        """Tell whether this client signs with a key that is not the owner's."""
        return self._inner.is_session_key

    @property
    def account_id(self) -> str:
        """Account that trades."""
        return self._inner.account_id

    @property
    def rate_limit(self) -> RateLimit | None:
        """What was left in the bucket the last request counted in."""
        return self._inner.rate_limit

    # The venue and its markets.
    venue = _blocking(AsyncClient.venue)
    clock = _blocking(AsyncClient.clock)
    now_ms = _blocking(AsyncClient.now_ms)
    markets = _blocking(AsyncClient.markets)
    market = _blocking(AsyncClient.market)
    book = _blocking(AsyncClient.book)
    trades = _blocking(AsyncClient.trades)
    candles = _blocking(AsyncClient.candles)
    batches = _blocking(AsyncClient.batches)

    # Orders.
    place = _blocking(AsyncClient.place)
    submit = _blocking(AsyncClient.submit)
    limit = _blocking(AsyncClient.limit)
    market_order = _blocking(AsyncClient.market_order)
    fok = _blocking(AsyncClient.fok)
    gtt = _blocking(AsyncClient.gtt)
    stop = _blocking(AsyncClient.stop)
    take_profit = _blocking(AsyncClient.take_profit)
    oco = _blocking(AsyncClient.oco)
    place_many = _blocking(AsyncClient.place_many)
    amend = _blocking(AsyncClient.amend)
    cancel = _blocking(AsyncClient.cancel)
    cancel_many = _blocking(AsyncClient.cancel_many)
    cancel_all = _blocking(AsyncClient.cancel_all)
    cancel_all_on_chain = _blocking(AsyncClient.cancel_all_on_chain)
    order = _blocking(AsyncClient.order)
    order_by_client_id = _blocking(AsyncClient.order_by_client_id)
    orders = _blocking(AsyncClient.orders)
    iterate_orders = _iterating(AsyncClient.iterate_orders)
    wait_for_order = _blocking(AsyncClient.wait_for_order)
    resolve_order = _blocking(AsyncClient.resolve_order)

    # The account and its history.
    account = _blocking(AsyncClient.account)
    positions = _blocking(AsyncClient.positions)
    fills = _blocking(AsyncClient.fills)
    transfers = _blocking(AsyncClient.transfers)
    funding = _blocking(AsyncClient.funding)
    iterate_fills = _iterating(AsyncClient.iterate_fills)
    iterate_transfers = _iterating(AsyncClient.iterate_transfers)
    iterate_funding = _iterating(AsyncClient.iterate_funding)

    # Session keys and operations.
    keys = _blocking(AsyncClient.keys)
    link_key = _blocking(AsyncClient.link_key)
    revoke_key = _blocking(AsyncClient.revoke_key)
    link_key_on_chain = _blocking(AsyncClient.link_key_on_chain)
    revoke_key_on_chain = _blocking(AsyncClient.revoke_key_on_chain)
    wait_for_key = _blocking(AsyncClient.wait_for_key)
    prepare_withdrawal = _blocking(AsyncClient.prepare_withdrawal)
    prepare_link_key = _blocking(AsyncClient.prepare_link_key)
    prepare_revoke_key = _blocking(AsyncClient.prepare_revoke_key)
    approve_operation = _blocking(AsyncClient.approve_operation)
    submit_operation = _blocking(AsyncClient.submit_operation)

    # Money.
    faucet = _blocking(AsyncClient.faucet)
    deposit = _blocking(AsyncClient.deposit)
    withdraw = _blocking(AsyncClient.withdraw)
    withdrawal = _blocking(AsyncClient.withdrawal)
    transfer = _blocking(AsyncClient.transfer)
    find_transfer = _blocking(AsyncClient.find_transfer)
    prepare_transfer = _blocking(AsyncClient.prepare_transfer)
    wait_for_withdrawal = _blocking(AsyncClient.wait_for_withdrawal)
    claim = _blocking(AsyncClient.claim)
    claimable_quote = _blocking(AsyncClient.claimable_quote)
    wallet_quote = _blocking(AsyncClient.wallet_quote)

    # Streams.
    stream = _iterating(AsyncClient.stream)
    live_book = _iterating(AsyncClient.live_book)
    live_account = _iterating(AsyncClient.live_account)
