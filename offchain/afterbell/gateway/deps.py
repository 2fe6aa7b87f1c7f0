"""Name what routes ask for; FastAPI's Depends appears here and nowhere else.

All of them are coroutines, also those that await nothing: FastAPI runs a plain function in a thread, which costs more
than the whole rest of a request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path, Query
from starlette.requests import HTTPConnection

from afterbell.domain.codes import RejectReason
from afterbell.domain.ids import AccountId, account_bytes, parse_account_hex
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine import queries
from afterbell.gateway.errors import ApiError, shorten
from afterbell.gateway.limits import Limiters
from afterbell.gateway.observe import RequestNotes
from afterbell.gateway.services import Services
from afterbell.gateway.signatures import KeyTest, SignatureChecker

_CATCH_UP_S = 2
MAX_LIMIT = 500


async def _services(connection: HTTPConnection) -> Services:
    return cast(Services, connection.app.state.services)


async def _limiters(connection: HTTPConnection) -> Limiters:
    return cast(Limiters, connection.app.state.limiters)


async def _notes(connection: HTTPConnection) -> RequestNotes:
    return cast(RequestNotes, connection.state.notes)


@dataclass(frozen=True, slots=True)
class Desk:
    """What one request needs to enter something signed."""

    services: Services
    signatures: SignatureChecker
    limiters: Limiters
    notes: RequestNotes

    def count(self, owner: bytes) -> None:
        """Count a signed request. Raises: RateLimited."""
        self.notes.take(self.limiters.signed, owner)

    def key_test(self, account: AccountId) -> KeyTest:
        """Return whether an address is a session key of the account; the engine judges its limits."""

        def is_key(signer: bytes) -> bool:
            now_s = milliseconds_to_seconds(self.services.clock.now_ms())
            return queries.is_session_key(self.services.state(), account, signer, now_s)

        return is_key


async def _desk(connection: HTTPConnection) -> Desk:
    state = connection.app.state
    return Desk(state.services, state.signatures, state.limiters, connection.state.notes)


async def _account(account: Annotated[str, Path(description='"0x" and 60 hex digits: owner, subaccount')]) -> AccountId:
    try:
        return parse_account_hex(account)
    except ValueError as error:
        raise ApiError(
            RejectReason.MALFORMED_REQUEST,
            "not an account",
            required='"0x" and 60 lower-case hex digits: owner (20 bytes) and subaccount (10 bytes)',
            found=shorten(account),
            action="append 20 zeros to the owner's address for its first account",
        ) from error


async def _market(
    services: Annotated[Services, Depends(_services)], symbol: Annotated[str, Path(description="AAPL, …")]
) -> int:
    return _find_market(services, symbol)


async def _market_filter(
    services: Annotated[Services, Depends(_services)],
    market: Annotated[str | None, Query(description="only this symbol")] = None,
) -> int | None:
    return None if market is None else _find_market(services, market)


def _find_market(services: Services, symbol: str) -> int:
    market = services.hub.markets.get(symbol)
    if market is None:
        raise ApiError(
            RejectReason.UNKNOWN_MARKET,
            "no such market",
            required="a symbol of /v1/markets",
            found=shorten(symbol),
            action="GET /v1/markets",
        )
    return market


async def _caught_up(services: Annotated[Services, Depends(_services)]) -> Services:
    return await catch_up(services)


async def catch_up(services: Services) -> Services:
    """Wait a moment until the read model has what was acknowledged before this request: read your own writes."""
    if services.projector.projected_sequence < services.hub.last_sequence:
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                await services.projector.wait_for(services.hub.last_sequence)
        except TimeoutError:
            return services  # old rows are better than none
    return services


def parse_digest(text: str, what: str) -> bytes:
    """Read "0x" and 64 hex digits. Raises: ApiError."""
    try:
        if len(text) != 66 or not text.startswith("0x"):
            raise ValueError(text)
        return bytes.fromhex(text[2:])
    except ValueError as error:
        raise ApiError(
            RejectReason.MALFORMED_REQUEST,
            f"not {what}",
            required='"0x" and 64 hex digits',
            found=shorten(text),
            action=f"use {what} as the API returned it",
        ) from error


ServicesDep = Annotated[Services, Depends(_services)]
CaughtUp = Annotated[Services, Depends(_caught_up)]
DeskDep = Annotated[Desk, Depends(_desk)]
LimitersDep = Annotated[Limiters, Depends(_limiters)]
Notes = Annotated[RequestNotes, Depends(_notes)]
AccountPath = Annotated[AccountId, Depends(_account)]
MarketPath = Annotated[int, Depends(_market)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="at most so many, newest first")]
Before = Annotated[int | None, Query(ge=0, le=2**53, description="the `next_before` of the page before")]
MarketFilter = Annotated[int | None, Depends(_market_filter)]


def row_key(account: AccountId) -> bytes:
    """Return an account as the read model keys it."""
    return account_bytes(account)
