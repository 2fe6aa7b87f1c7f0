"""AsyncClient: everything a program does with the venue, on asyncio.

It keeps what signing needs: the venue's domain, its clock (asked at most every two seconds, then carried on at wall
speed, which is never ahead of a replayed clock), the markets' atoms and a lane for each order. Twin: sync.py.

    async with AsyncClient("http://127.0.0.1:8720", private_key="0x…") as client:
        await client.faucet()
        await client.deposit("1000")                                     # 1,000 USDC
        order = await client.place("AAPL", "BUY", "1.5", "45.10", time_in_force="IOC")
        done = await client.wait_for_order(order.order_id, status="final")
        print(done.fills)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import httpx
import msgspec

from afterbell.domain.ids import (
    OPERATION_LANE,
    account_hex,
    address_hex,
    build_account_id,
    build_nonce,
    lane_of,
    parse_address_hex,
    seq_of,
)
from afterbell.domain.order import CancelAll, CancelOrder, Order, TimeInForce, Withdraw
from afterbell.sdk.errors import ApiRejected, ApiUnavailable, NotFinalInTime, SdkError, UnknownOrder
from afterbell.sdk.lanes import LaneBook
from afterbell.sdk.transport import Transport
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
    to_quote,
)
from afterbell.sdk.wallet import Wallet, encode_call
from afterbell.signing.keys import SigningKey, join_signature
from afterbell.signing.typed_data import Message, TypedDataDomain, digest

SideName: TypeAlias = Literal["BUY", "SELL"]
TimeInForceName: TypeAlias = Literal["GTC", "GTT", "IOC", "FOK"]
Size: TypeAlias = Decimal | int | str
"""An int is lots; a Decimal or text is shares."""
Price: TypeAlias = Decimal | int | str
"""An int is ticks; a Decimal or text is USD."""
Amount: TypeAlias = Decimal | str
"""USDC; an exact number of quote units (1e-6 USDC) goes into `quote=` instead."""

DEFAULT_URL: Final = "http://127.0.0.1:8720"
DEFAULT_LIFETIME_S: Final = 86_400
_CLOCK_AGE_S: Final = 2.0
_MARKETS_AGE_S: Final = 30.0
_N_RESIGN: Final = 3
_POLL_S: Final = 0.1
_STATUS_RANK: Final = {"matched": 0, "submitted": 1, "mined": 2, "final": 3}

FillStatusName: TypeAlias = Literal["matched", "submitted", "mined", "final"]


class _Markets(msgspec.Struct, frozen=True):
    markets: tuple[Market, ...]


class _Trades(msgspec.Struct, frozen=True):
    trades: tuple[Trade, ...]


class _Candles(msgspec.Struct, frozen=True):
    candles: tuple[Candle, ...]


class _Orders(msgspec.Struct, frozen=True):
    orders: tuple[PlacedOrder, ...]


class _Fills(msgspec.Struct, frozen=True):
    fills: tuple[Fill, ...]


class _Positions(msgspec.Struct, frozen=True):
    positions: tuple[Position, ...]


class _Transfers(msgspec.Struct, frozen=True):
    transfers: tuple[Transfer, ...]


class _Cancelled(msgspec.Struct, frozen=True):
    order_ids: tuple[str, ...]


class AsyncClient:
    """A client of one venue, for one account if it has a key.

    Use it from one event loop; share it between tasks freely. Two processes with one key must trade on two subaccounts:
    lanes are handed out per process.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        private_key: bytes | str | None = None,
        subaccount: int = 0,
        rpc_url: str | None = None,
        timeout_s: float = 10.0,
        n_retries: int = 4,
        http_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare; nothing is sent before the first call.

        private_key: 32 bytes or hex; without it only public reads work. rpc_url: a node for deposits and claims, by
        default the venue's relay. n_retries: how often a request without an answer is repeated; a signed one keeps its
        bytes, and so its id: it cannot take effect twice.
        """
        self._transport = Transport(url, timeout_s=timeout_s, n_retries=n_retries, http_transport=http_transport)
        key = bytes.fromhex(private_key.removeprefix("0x")) if isinstance(private_key, str) else private_key
        self._private_key = key
        self._signer = SigningKey(key) if key is not None else None
        self._subaccount = subaccount
        self._rpc_url = rpc_url or f"{self._transport.url}/v1/rpc"
        self._timeout_s = timeout_s
        self._venue: Venue | None = None
        self._separator = b""
        self._markets: dict[str, Market] = {}
        self._markets_read_s = float("-inf")
        self._clock_read_s = float("-inf")
        self._clock_ms = 0
        self._lanes = LaneBook()
        self._lane_locks: dict[int, asyncio.Lock] = {}
        self._start_lock = asyncio.Lock()
        self._are_lanes_known = False
        self._wallet: Wallet | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. Resting orders stay."""
        await self._transport.close()
        if self._wallet is not None:
            await self._wallet.close()

    # Who we are.

    @property
    def url(self) -> str:
        """Address of the venue."""
        return self._transport.url

    @property
    def owner(self) -> str:
        """Address that signs, "0x" and 40 hex digits. Raises: SdkError without a key."""
        return address_hex(self._must_have_signer().address)

    @property
    def account_id(self) -> str:
        """Account that trades, "0x" and 60 hex digits: owner and subaccount."""
        return account_hex(build_account_id(self._must_have_signer().address, self._subaccount))

    # Public reads.

    async def venue(self) -> Venue:
        """Return chain, addresses, EIP-712 domain, genesis and bounds; asked once."""
        if self._venue is None:
            venue = await self._transport.get("/v1/venue", Venue)
            domain = TypedDataDomain(
                name=venue.domain.name,
                chain_id=venue.domain.chain_id,
                verifying_contract=parse_address_hex(venue.domain.verifying_contract),
            )
            self._separator = domain.separator()
            self._venue = venue
        return self._venue

    async def clock(self) -> ClockReading:
        """Return venue time. Units: milliseconds since the UNIX epoch."""
        started_s = time.monotonic()
        reading = await self._transport.get("/v1/clock", ClockReading)
        # The reading is at least as old as the answer took to come back; taking the start keeps us from running ahead.
        self._clock_read_s, self._clock_ms = max(started_s, self._clock_read_s), reading.venue_time_ms
        return reading

    async def now_ms(self) -> int:
        """Return venue time as this client carries it: asked at most every two seconds."""
        if time.monotonic() - self._clock_read_s > _CLOCK_AGE_S:
            await self.clock()
        return self._clock_ms + int((time.monotonic() - self._clock_read_s) * 1000)

    async def markets(self) -> tuple[Market, ...]:
        """Return every market with its prices and rules now."""
        answer = await self._transport.get("/v1/markets", _Markets)
        self._markets = {market.symbol: market for market in answer.markets}
        self._markets_read_s = time.monotonic()
        return answer.markets

    async def market(self, symbol: str) -> Market:
        """Return one market now."""
        return await self._transport.get(f"/v1/markets/{symbol}", Market)

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """Return the aggregated book, best first. Units: ticks and lots."""
        return await self._transport.get(f"/v1/markets/{symbol}/book", Book, depth=depth)

    async def trades(self, symbol: str, limit: int = 50) -> tuple[Trade, ...]:
        """Return the last trades, newest first."""
        return (await self._transport.get(f"/v1/markets/{symbol}/trades", _Trades, limit=limit)).trades

    async def candles(self, symbol: str, interval_s: int = 3600, limit: int = 200) -> tuple[Candle, ...]:
        """Return candles of the mark price, oldest first."""
        answer = await self._transport.get(
            f"/v1/markets/{symbol}/candles", _Candles, interval_s=interval_s, limit=limit
        )
        return answer.candles

    # Orders.

    async def place(
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
        """Sign and send one order; return it as the venue acknowledged it, after its frame is on disk.

        size: int lots, or Decimal/text shares. price: worst price, int ticks, or Decimal/text USD. lifetime_s: venue
        seconds until it expires, at most 30 days; `expiry_s` sets the venue second itself. max_fee_ppm: the highest
        rate signed for, by default the venue's rates now. lane: by default one nobody else uses, freed when the order
        is gone; with a lane of your own a new order replaces the one before it there in one step.

        A request without an answer is repeated with the same bytes: it has one order id and cannot become two orders.
        Raises: ApiRejected (and its kinds), ApiUnavailable, TypeError and ValueError for a float or a broken atom.
        """
        self._must_have_signer()
        await self._learn_lanes()
        if lane is not None:
            async with self._lane_locks.setdefault(lane, asyncio.Lock()):
                self._lanes.reserve(lane)
                return await self._place_in(
                    lane, symbol, side, size, price, TimeInForce[time_in_force], post_only, reduce_only, lifetime_s,
                    expiry_s, max_fee_ppm, client_id,
                )  # fmt: skip
        return await self._place_in(
            self._lanes.acquire(), symbol, side, size, price, TimeInForce[time_in_force], post_only, reduce_only,
            lifetime_s, expiry_s, max_fee_ppm, client_id,
        )  # fmt: skip

    async def _place_in(
        self,
        lane: int,
        symbol: str,
        side: SideName,
        size: Size,
        price: Price,
        time_in_force: TimeInForce,
        post_only: bool,
        reduce_only: bool,
        lifetime_s: int,
        expiry_s: int | None,
        max_fee_ppm: int | None,
        client_id: str,
    ) -> PlacedOrder:
        """Sign in a held lane; sign anew only after a refusal that proves the former message took no effect."""
        order_id = ""
        for attempt in range(_N_RESIGN):
            try:
                market = await self._market_of(symbol)
                order = Order(
                    owner=self._must_have_signer().address,
                    subaccount=self._subaccount,
                    market_id=market.market,
                    epoch=market.epoch,
                    is_buy=_read_side(side),
                    size_lots=market.to_lots(size),
                    limit_ticks=market.to_ticks(price),
                    max_fee_ppm=_default_fee_ppm(market) if max_fee_ppm is None else max_fee_ppm,
                    expiry_s=expiry_s if expiry_s is not None else await self._now_s() + lifetime_s,
                    lane=lane,
                    seq=self._lanes.next_seq(lane, await self._now_seq()),
                    reduce_only=reduce_only,
                    post_only=post_only,
                    time_in_force=time_in_force,
                )
                order.validate_ranges()
                order_digest, signature = self._sign(order)
                order_id = "0x" + order_digest.hex()
                placed = await self._post_order(order, order_id, signature, client_id)
            except ApiRejected as refusal:
                is_curable = refusal.code in ("SEQ_TOO_FAR_AHEAD", "WRONG_EPOCH") and attempt + 1 < _N_RESIGN
                if not is_curable:
                    self._lanes.release(lane)
                    raise
                if refusal.code == "SEQ_TOO_FAR_AHEAD":
                    self._lanes.forget_seq(lane)
                    await self.clock()
                else:
                    await self.markets()
                continue
            except ApiUnavailable as error:
                # It may rest: the lane stays held under its id until the venue says what became of it.
                self._lanes.hold(lane, order_id)
                raise ApiUnavailable(str(error), order_id=order_id) from error
            except BaseException:
                self._lanes.hold(lane, order_id) if order_id else self._lanes.release(lane)
                raise
            self._follow(placed)
            return placed
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _post_order(self, order: Order, order_id: str, signature: str, client_id: str) -> PlacedOrder:
        body = {"order": _order_body(order), "signature": signature, "client_id": client_id}
        try:
            placed = await self._transport.post("/v1/orders", body, PlacedOrder, is_repeatable=True)
        except ApiRejected as refusal:
            if not refusal.is_repeat and refusal.code != "DUPLICATE_ORDER":
                raise
            # An earlier copy of these bytes may have arrived, and then the venue refuses this one (its lane is taken,
            # its seq is old): the order itself says what became of it.
            try:
                placed = await self._read_order(order_id)
            except UnknownOrder:
                raise refusal from None
        if placed.status == "REJECTED":
            raise ApiRejected(placed.reason or "REJECTED", f"order {order_id} was refused")
        return placed

    async def _read_order(self, order_id: str) -> PlacedOrder:
        """Read an order that must exist; the read model may be a moment behind the acknowledgement."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return await self._transport.get(f"/v1/orders/{order_id}", PlacedOrder)
            except UnknownOrder:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(_POLL_S)

    async def cancel(self, order: PlacedOrder | str) -> tuple[str, ...]:
        """Cancel one resting order, given itself or its id; return the ids that left the book. Raises: UnknownOrder.

        Binding off chain; on chain the order is dead once its lane moves on or it expires.
        """
        placed = await self.order(order) if isinstance(order, str) else order
        cancel = CancelOrder(
            owner=self._must_have_signer().address,
            subaccount=self._subaccount,
            order_nonce=placed.nonce,
            expiry_s=await self._now_s() + DEFAULT_LIFETIME_S,
            seq=self._lanes.next_seq(OPERATION_LANE, await self._now_seq()),
        )
        fields = {
            "account": self.account_id,
            "order_nonce": str(cancel.order_nonce),
            "expiry_s": cancel.expiry_s,
            "nonce": str(cancel.nonce),
        }
        body = {"cancel": fields, "signature": self._sign(cancel)[1]}
        try:
            answer = await self._transport.post("/v1/orders/cancel", body, _Cancelled, is_repeatable=True)
        except ApiRejected as refusal:
            if not refusal.is_repeat or (await self.order(placed.order_id)).is_open:
                raise
            answer = _Cancelled((placed.order_id,))
        self._lanes.release(lane_of(placed.nonce), placed.order_id)
        return answer.order_ids

    async def cancel_all(self) -> tuple[str, ...]:
        """Cancel every resting order of the account signed up to now; return the ids that left the book."""
        now_seq = await self._now_seq()
        cancel = CancelAll(
            owner=self._must_have_signer().address,
            subaccount=self._subaccount,
            min_seq=now_seq + 1,
            expiry_s=await self._now_s() + DEFAULT_LIFETIME_S,
            seq=self._lanes.next_seq(OPERATION_LANE, now_seq),
        )
        fields = {
            "account": self.account_id,
            "min_seq_ms": cancel.min_seq,
            "expiry_s": cancel.expiry_s,
            "nonce": str(cancel.nonce),
        }
        body = {"cancel_all": fields, "signature": self._sign(cancel)[1]}
        try:
            answer = await self._transport.post("/v1/orders/cancel-all", body, _Cancelled, is_repeatable=True)
        except ApiRejected as refusal:
            if not refusal.is_repeat:
                raise
            return await self.cancel_all()  # Signed anew: cancelling twice harms nobody.
        for lane, order_id in self._lanes.held_orders().items():
            if order_id in answer.order_ids:
                self._lanes.release(lane, order_id)
        return answer.order_ids

    async def order(self, order_id: str) -> PlacedOrder:
        """Return an order and the life of its fills. Raises: UnknownOrder."""
        placed = await self._transport.get(f"/v1/orders/{order_id}", PlacedOrder)
        self._follow(placed)
        return placed

    async def orders(self, *, only_open: bool = False, limit: int = 200) -> tuple[PlacedOrder, ...]:
        """Return the account's orders, newest first."""
        path = f"/v1/accounts/{self.account_id}/orders"
        answer = await self._transport.get(path, _Orders, status="open" if only_open else "all", limit=limit)
        for placed in answer.orders:
            self._follow(placed)
        return answer.orders

    async def wait_for_order(
        self, order_id: str, *, status: FillStatusName = "final", timeout_s: float = 60.0
    ) -> PlacedOrder:
        """Return the order once it has fills and every one reached `status` (or was rejected by the chain).

        Raises: NotFinalInTime, at once if the order is gone without a fill.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            placed = await self._read_order(order_id)
            if placed.fills and all(_has_reached(fill, status) for fill in placed.fills):
                return placed
            if not placed.fills and not placed.is_open and placed.filled_lots == 0:
                raise NotFinalInTime(f"order {order_id} is {placed.status} ({placed.reason}) without a fill", placed)
            if time.monotonic() > deadline_s:
                seen = ", ".join(fill.status for fill in placed.fills) or "no fill"
                raise NotFinalInTime(f"order {order_id} not {status} within {timeout_s} s: {seen}", placed)
            await asyncio.sleep(_POLL_S)

    # The account.

    async def account(self) -> AccountSnapshot:
        """Return collateral, equity, margins and positions now. Units: quote, 1e-6 USDC."""
        return await self._transport.get(f"/v1/accounts/{self.account_id}", AccountSnapshot)

    async def positions(self) -> tuple[Position, ...]:
        """Return the open positions. Units: lots (long > 0), ticks, quote."""
        return (await self._transport.get(f"/v1/accounts/{self.account_id}/positions", _Positions)).positions

    async def fills(self, limit: int = 100) -> tuple[Fill, ...]:
        """Return the account's fills, newest first, each with its place on chain."""
        return (await self._transport.get(f"/v1/accounts/{self.account_id}/fills", _Fills, limit=limit)).fills

    async def transfers(self, limit: int = 100) -> tuple[Transfer, ...]:
        """Return deposits and withdrawals, newest first."""
        path = f"/v1/accounts/{self.account_id}/transfers"
        return (await self._transport.get(path, _Transfers, limit=limit)).transfers

    # Money.

    async def faucet(self) -> None:
        """Ask for test USDC and gas; local chain only."""
        await self._transport.post("/v1/faucet", {"address": self.owner}, dict[str, Any])

    async def deposit(
        self, usdc: Amount | None = None, *, quote: int | None = None, timeout_s: float = 60.0
    ) -> Transfer:
        """Move test or real USDC from the owner's wallet into the account; return once the venue credited it.

        Give either usdc, Decimal or text, or quote, exact quote units (1e-6 USDC). Two transactions the first time
        (approve, deposit). Raises: TypeError for an int as usdc; WalletFailed; SdkError when mined but not credited in
        time (it will be: the chain has it).
        """
        amount_quote = to_quote(usdc, quote)
        wallet, addresses = await self._must_have_wallet(), (await self.venue()).addresses
        token, vault = (parse_address_hex(addresses[name]) for name in ("token", "vault"))
        await wallet.approve_if_needed(token, vault, amount_quote, timeout_s=timeout_s)
        calldata = encode_call(
            "deposit(address,uint80,uint256)", self._must_have_signer().address, self._subaccount, amount_quote
        )
        transaction = await wallet.send(vault, calldata, timeout_s=timeout_s)
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            for transfer in await self.transfers():
                if transfer.transaction == transaction and transfer.kind == "deposit" and transfer.status == "credited":
                    return transfer
            await asyncio.sleep(_POLL_S)
        raise SdkError(f"deposit {transaction} is mined but was not credited within {timeout_s} s")

    async def withdraw(
        self, usdc: Amount | None = None, *, quote: int | None = None, recipient: str | None = None
    ) -> Transfer:
        """Sign a withdrawal; it becomes a claim on chain with the next batch, paid out by `claim`.

        Give either usdc, Decimal or text, or quote, exact quote units (1e-6 USDC). recipient: by default the owner.
        Raises: TypeError for an int as usdc; ApiRejected.
        """
        amount_quote = to_quote(usdc, quote)
        to = parse_address_hex(recipient) if recipient is not None else self._must_have_signer().address
        withdraw = Withdraw(
            owner=self._must_have_signer().address,
            subaccount=self._subaccount,
            quote=amount_quote,
            recipient=to,
            expiry_s=await self._now_s() + DEFAULT_LIFETIME_S,
            seq=self._lanes.next_seq(OPERATION_LANE, await self._now_seq()),
        )
        withdraw.validate_ranges()
        fields = {
            "account": self.account_id,
            "quote": str(withdraw.quote),
            "recipient": address_hex(to),
            "expiry_s": withdraw.expiry_s,
            "nonce": str(withdraw.nonce),
        }
        message_digest, signature = self._sign(withdraw)
        withdrawal_id = "0x" + message_digest.hex()
        body = {"withdrawal": fields, "signature": signature}
        try:
            return await self._transport.post("/v1/withdrawals", body, Transfer, is_repeatable=True)
        except ApiRejected as refusal:
            if not refusal.is_repeat:
                raise
            return await self.withdrawal(withdrawal_id)

    async def withdrawal(self, withdrawal_id: str) -> Transfer:
        """Return where a withdrawal stands: accepted, sealed, submitted, mined, claimable, paid or rejected."""
        return await self._transport.get(f"/v1/withdrawals/{withdrawal_id}", Transfer)

    async def claim(self, *, recipient: str | None = None, timeout_s: float = 60.0) -> str:
        """Have the vault pay what the recipient may claim; anybody may ask for it. Return the transaction hash."""
        to = parse_address_hex(recipient) if recipient is not None else self._must_have_signer().address
        wallet, addresses = await self._must_have_wallet(), (await self.venue()).addresses
        vault = parse_address_hex(addresses["vault"])
        return await wallet.send(vault, encode_call("claim(address)", to), timeout_s=timeout_s)

    async def wallet_quote(self) -> int:
        """Return the token balance of the owner's wallet. Units: quote."""
        wallet, addresses = await self._must_have_wallet(), (await self.venue()).addresses
        owner = self._must_have_signer().address
        return await wallet.call(parse_address_hex(addresses["token"]), encode_call("balanceOf(address)", owner))

    # Streams.

    def stream(self, *channels: str, reconnect: bool = True) -> AsyncIterator[StreamMessage]:
        """Yield messages of channels.

        `book:AAPL`, `trades:AAPL`, `prices`, `batches`, `clock`, `account` (this one) or `account:0x…`.
        Each channel starts with a snapshot; after a lost connection or a missing message it starts again with one.
        Raises: ApiRejected for an unknown channel; ApiUnavailable when the connection ends and `reconnect` is off.
        """
        named = [f"account:{self.account_id}" if channel == "account" else channel for channel in channels]
        return self._transport.stream(named, reconnect=reconnect)

    # Inside.

    def _must_have_signer(self) -> SigningKey:
        if self._signer is None:
            raise SdkError("this needs a key: give AsyncClient(private_key=…)")
        return self._signer

    async def _must_have_wallet(self) -> Wallet:
        if self._wallet is None:
            self._must_have_signer()
            venue = await self.venue()
            self._wallet = Wallet(
                rpc_url=self._rpc_url,
                private_key=self._private_key or b"",
                chain_id=venue.chain_id,
                timeout_s=self._timeout_s,
            )
        return self._wallet

    async def _market_of(self, symbol: str) -> Market:
        if symbol not in self._markets or time.monotonic() - self._markets_read_s > _MARKETS_AGE_S:
            await self.markets()
        try:
            return self._markets[symbol]
        except KeyError:
            raise ApiRejected(
                "UNKNOWN_MARKET", f"no market {symbol}", required=", ".join(sorted(self._markets)), found=symbol
            ) from None

    async def _now_s(self) -> int:
        return await self.now_ms() // 1000

    async def _now_seq(self) -> int:
        return await self.now_ms() - (await self.venue()).genesis_s * 1000

    def _sign(self, message: Message) -> tuple[bytes, str]:
        """Return (digest, 65-byte signature in hex). `venue()` must have been asked."""
        message_digest = digest(message, self._separator)
        return message_digest, "0x" + join_signature(*self._must_have_signer().sign(message_digest)).hex()

    async def _learn_lanes(self) -> None:
        """Before the first order: hold the lanes of orders that an earlier process left on the book."""
        async with self._start_lock:
            if not self._are_lanes_known:
                await self.venue()
                for placed in await self.orders(only_open=True):
                    self._lanes.hold(lane_of(placed.nonce), placed.order_id)
                    self._lanes.next_seq(lane_of(placed.nonce), seq_of(placed.nonce))
                self._are_lanes_known = True

    def _follow(self, placed: PlacedOrder) -> None:
        """Hold an order's lane while it rests, free it when it is gone."""
        lane = lane_of(placed.nonce)
        if placed.is_open:
            if self._lanes.held_by(lane) == "":
                self._lanes.hold(lane, placed.order_id)
        else:
            self._lanes.release(lane, placed.order_id)


def _read_side(side: str) -> bool:
    if side not in ("BUY", "SELL"):
        raise ValueError(f"side must be BUY or SELL, found {side!r}")
    return side == "BUY"


def _default_fee_ppm(market: Market) -> int:
    """Return the higher of the venue's rates: the chain checks both against the signed maximum."""
    if market.rules is None:
        return 0
    return max(market.rules.taker_fee_ppm, market.rules.maker_fee_ppm)


def _has_reached(fill: Fill, status: str) -> bool:
    return fill.status == "rejected" or _STATUS_RANK.get(fill.status, -1) >= _STATUS_RANK[status]


def _order_body(order: Order) -> dict[str, Any]:
    return {
        "account": account_hex(order.account_id),
        "market": order.market_id,
        "epoch": order.epoch,
        "is_buy": order.is_buy,
        "size_lots": order.size_lots,
        "limit_ticks": order.limit_ticks,
        "max_fee_ppm": order.max_fee_ppm,
        "expiry_s": order.expiry_s,
        "nonce": str(build_nonce(order.lane, order.seq)),
        "reduce_only": order.reduce_only,
        "post_only": order.post_only,
        "time_in_force": TimeInForce(order.time_in_force).name,
        "trigger_ticks": order.trigger_ticks,
        "trigger_kind": int(order.trigger_kind),
    }
