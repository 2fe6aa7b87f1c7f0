"""Trader: what every program shares: money at the start, a loop that outlives the venue's restarts, expected errors.

Programs trade through the public SDK like anybody else and know nothing of the venue's inside.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from afterbell.sdk import ApiRejected, ApiUnavailable, AsyncClient, SdkError

_log = structlog.get_logger(__name__)
_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_MAX_GRANTS: Final = 4
_ORDINARY: Final = frozenset(
    {
        "WOULD_TAKE",
        "NO_LIQUIDITY",
        "PRICE_OUTSIDE_BAND",
        "OPENING_NOT_ALLOWED",
        "STALE_PRICE",
        "MARKET_HALTED",
        "SELF_TRADE",
        "EXPIRED",
        "UNKNOWN_ORDER",
        "DEAD_LANE",
        "FILLED_MEANWHILE",
        "CANNOT_FILL",
        "INSUFFICIENT_MARGIN",
    }
)
"""Refusals that belong to trading: the next round sees new prices."""


class Trader:
    """One program with one account. Subclasses trade in `trade_once`."""

    def __init__(
        self,
        name: str,
        client: AsyncClient,
        *,
        target_quote: int,
        interval_s: float,
        owner_client: AsyncClient | None = None,
    ) -> None:
        """Take a client with a key. target_quote: collateral it wants to hold before it trades.

        owner_client: the client of the account's owner, where `client` signs with a session key; it moves the money.
        """
        self.name = name
        self.client = client
        self.owner_client = owner_client or client
        self.n_orders = 0
        self.n_refused = 0
        self._target_quote = target_quote
        self._interval_s = interval_s

    async def run(self) -> None:
        """Fund, then trade until cancelled; whatever the venue does, try again."""
        pause_s = _PAUSE_S
        is_funded = False
        while True:
            try:
                if not is_funded:
                    await self.fund()
                    is_funded = True
                await self.trade_once()
                pause_s = _PAUSE_S
                await asyncio.sleep(self._interval_s)
            except (ApiUnavailable, SdkError) as error:
                _log.warning("program.waits", program=self.name, problem=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def fund(self) -> None:
        """Bring collateral to the target with faucet and deposit, one transaction; what is there already counts."""
        account = await self.client.account()
        if account.collateral_quote >= self._target_quote // 2:
            return
        owner = self.owner_client
        for _ in range(_MAX_GRANTS):
            if await owner.wallet_quote() >= self._target_quote:
                break
            await owner.faucet()
        quote = min(self._target_quote, await owner.wallet_quote())
        transfer = await owner.deposit(quote=quote, method="permit")
        _log.info("program.funded", program=self.name, account=self.client.account_id, quote=transfer.quote)

    async def close(self) -> None:
        """Close all connections. Resting orders stay."""
        await self.client.aclose()
        await self.owner_client.aclose()

    async def trade_once(self) -> None:
        """Look once and send what the program wants."""
        raise NotImplementedError

    def note_refusal(self, refusal: ApiRejected) -> None:
        """Count a refusal that belongs to trading; raise one that does not, so that the loop pauses."""
        self.n_refused += 1
        if refusal.code not in _ORDINARY:
            raise refusal
        _log.debug("order.refused", program=self.name, code=refusal.code)
