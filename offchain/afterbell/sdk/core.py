"""Core: what every part of a client shares: the venue, its clock, the markets' atoms, the key that signs.

The venue's clock is asked at most every two seconds, then carried on at wall speed, which is never ahead of a replayed
clock; nothing is ever signed with local time. Must not: place, move or read anything; the parts beside it do.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Final, Self

import httpx
import msgspec

from afterbell.domain.errors import FieldOutOfRange
from afterbell.domain.ids import (
    MAX_SUBACCOUNT,
    OPERATION_LANE,
    account_hex,
    address_hex,
    build_account_id,
    parse_address_hex,
)
from afterbell.domain.order import Operation, Order
from afterbell.sdk.errors import NotFound, SdkError
from afterbell.sdk.lanes import LaneBook, first_lane_of
from afterbell.sdk.transport import Transport
from afterbell.sdk.values import ClockReading, Market, RateLimit, Venue
from afterbell.sdk.wallet import Node, Wallet
from afterbell.signing.keys import SigningKey, join_signature
from afterbell.signing.typed_data import TypedDataDomain, digest

DEFAULT_URL: Final = "http://127.0.0.1:8720"
_CLOCK_AGE_S: Final = 2.0
_MARKETS_AGE_S: Final = 30.0


class _Markets(msgspec.Struct, frozen=True):
    markets: tuple[Market, ...]


class Core:
    """A connection to one venue, for one account if it has a key."""

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
        """Prepare; nothing is sent before the first call.

        key: 32 bytes or hex of the key that signs, the owner's or a session key (`private_key` is its older name);
        without it only reads work. owner: address whose account it is, needed with a session key, or to read without a
        key. rpc_url: a node for deposits and claims, by default the venue's relay. n_retries: how often a request
        without an answer, or refused for its rate, is repeated; a signed one keeps its bytes, and so its id: it cannot
        take effect twice. timeout_s: of one request, and of the search for an order whose answer was lost.
        """
        if key is not None and private_key is not None:
            raise TypeError("give key or private_key, which are the same, found both")
        if not 0 <= subaccount <= MAX_SUBACCOUNT:
            raise ValueError(f"subaccount must be between 0 and 2^80 - 1, found {subaccount}")
        self._transport = Transport(url, timeout_s=timeout_s, n_retries=n_retries, http_transport=http_transport)
        given = private_key if key is None else key
        self._private_key = bytes.fromhex(given.removeprefix("0x")) if isinstance(given, str) else given
        self._signer = SigningKey(self._private_key) if self._private_key is not None else None
        self._owner = parse_address_hex(owner.lower()) if owner is not None else None
        if self._owner is None and self._signer is not None:
            self._owner = self._signer.address
        self._subaccount = subaccount
        self._rpc_url = rpc_url or f"{self._transport.url}/v1/rpc"
        self._timeout_s = timeout_s
        self._venue: Venue | None = None
        self._separator = b""
        self._markets: dict[str, Market] = {}
        self._markets_read_s = float("-inf")
        self._clock_read_s = float("-inf")
        self._clock_ms = 0
        self._lanes = LaneBook(first_lane_of(self._signer.address, self._owner) if self._signer is not None else 0)
        self._lane_locks: dict[int, asyncio.Lock] = {}
        self._start_lock = asyncio.Lock()
        self._are_lanes_known = False
        self._unresolved: dict[str, int] = {}
        """Nonces of orders whose fate is unknown, by order id."""
        self._operation_lock = asyncio.Lock()
        self._node: Node | None = None
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
        if self._node is not None:
            await self._node.close()

    # ------------------------------------------------------------ who we are

    @property
    def url(self) -> str:
        """Address of the venue."""
        return self._transport.url

    @property
    def owner(self) -> str:
        """Address the account belongs to, "0x" and 40 hex digits. Raises: SdkError without key and owner."""
        return address_hex(self._must_have_owner())

    @property
    def signer(self) -> str:
        """Address that signs: the owner, or the session key. Raises: SdkError without a key."""
        return address_hex(self._must_have_signer().address)

    @property
    def is_session_key(self) -> bool:
        """Tell whether this client signs with a key that is not the owner's."""
        return self._signer is not None and self._signer.address != self._owner

    @property
    def account_id(self) -> str:
        """Account that trades, "0x" and 60 hex digits: owner and subaccount."""
        return account_hex(build_account_id(self._must_have_owner(), self._subaccount))

    @property
    def rate_limit(self) -> RateLimit | None:
        """What was left in the bucket the last request counted in, None while the venue has named none."""
        return self._transport.rate_limit

    # ------------------------------------------------------------ the venue

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
        """Return one market now. Raises: NotFound."""
        return await self._transport.get(f"/v1/markets/{symbol}", Market)

    # ------------------------------------------------------------ inside

    def _must_have_owner(self) -> bytes:
        if self._owner is None:
            raise SdkError(
                "an account is needed: give its key, or its owner to read (--key-file, --owner; in Python key=, owner=)"
            )
        return self._owner

    def _must_have_signer(self) -> SigningKey:
        if self._signer is None:
            raise SdkError("this needs a key: give key=…")
        return self._signer

    async def _must_have_node(self) -> Node:
        if self._node is None:
            self._node = Node(rpc_url=self._rpc_url, timeout_s=self._timeout_s)
        return self._node

    async def _must_have_wallet(self) -> Wallet:
        """Return the wallet of the key, which pays gas and tokens of its own."""
        self._must_have_signer()
        if self._wallet is None:
            self._wallet = Wallet(
                node=await self._must_have_node(),
                private_key=self._private_key or b"",
                chain_id=(await self.venue()).chain_id,
            )
        return self._wallet

    async def _must_have_owners_wallet(self) -> Wallet:
        if self.is_session_key:
            raise SdkError(f"this needs the key of the owner {self.owner}; {self.signer} is a session key")
        return await self._must_have_wallet()

    async def _address(self, contract: str) -> bytes:
        addresses = (await self.venue()).addresses
        try:
            return parse_address_hex(addresses[contract])
        except KeyError:
            raise SdkError(f"the venue names no contract {contract}, only {', '.join(sorted(addresses))}") from None

    async def _market_of(self, symbol: str, *, is_fresh: bool = False) -> Market:
        if is_fresh or symbol not in self._markets or time.monotonic() - self._markets_read_s > _MARKETS_AGE_S:
            await self.markets()
        try:
            return self._markets[symbol]
        except KeyError:
            raise NotFound(
                "UNKNOWN_MARKET", f"no market {symbol}", required=", ".join(sorted(self._markets)), found=symbol
            ) from None

    async def _now_s(self) -> int:
        return await self.now_ms() // 1000

    async def _now_seq(self) -> int:
        return await self.now_ms() - (await self.venue()).genesis_s * 1000

    async def _next_operation_seq(self) -> int:
        return self._lanes.next_seq(OPERATION_LANE, await self._now_seq())

    def _digest(self, message: Order | Operation) -> bytes:
        """Return what is signed; `venue()` must have been asked. Raises: ValueError for a field beyond its type."""
        try:
            message.validate_ranges()
        except FieldOutOfRange as error:
            raise ValueError(str(error)) from error  # What a caller gave, not a fault of ours.
        return digest(message, self._separator)

    def _sign(self, message: Order | Operation) -> tuple[str, str]:
        """Return (digest, 65-byte signature), both in hex. `venue()` must have been asked."""
        message_digest = self._digest(message)
        signature = join_signature(*self._must_have_signer().sign(message_digest))
        return "0x" + message_digest.hex(), "0x" + signature.hex()
