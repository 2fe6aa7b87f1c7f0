"""Market maker: keeps a two-sided book of several levels in every market.

Each quote has a lane of its own for good: a new quote sent in the lane replaces the old one in one step, with no moment
without a quote and no cancel to send (lane recycling). All quotes of a round go out in one request; one that only
shrinks is amended, which keeps its place in the queue. The quotes are signed by a session key that can do nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from afterbell.domain.ids import lane_of
from afterbell.programs.quoting import Quote, QuoteStyle, build_quotes
from afterbell.programs.trader import Trader
from afterbell.sdk import ApiRejected, AsyncClient, Market, OrderTerms, PlacedOrder, SdkError

_log = structlog.get_logger(__name__)
_FIRST_LANE: Final = 1
"""Lane 0 is cheapest for takers; quotes start behind it."""
_MAX_SLOTS: Final = 32
_DAY_S: Final = 86_400
_LIFETIME_S: Final = 7 * _DAY_S
_RENEW_BEFORE_S: Final = 3 * _DAY_S
_KEY_LIFETIME_S: Final = 170 * _DAY_S
_RENEW_KEY_BEFORE_S: Final = 30 * _DAY_S


@dataclass(slots=True)
class _Round:
    """What one look at the venue wants done."""

    # Quotes that retreat go first: after a move of the price, those that follow it would meet our own old ones.
    retreating: list[OrderTerms] = field(default_factory=list)
    following: list[OrderTerms] = field(default_factory=list)
    shrinking: list[tuple[PlacedOrder, int]] = field(default_factory=list)
    unwanted: list[PlacedOrder] = field(default_factory=list)


class MarketMaker(Trader):
    """One maker."""

    def __init__(
        self,
        name: str,
        client: AsyncClient,
        style: QuoteStyle,
        *,
        target_quote: int,
        interval_s: float = 0.4,
        owner_client: AsyncClient | None = None,
    ) -> None:
        super().__init__(name, client, target_quote=target_quote, interval_s=interval_s, owner_client=owner_client)
        self._style = style
        self._key_expiry_s = 0

    async def trade_once(self) -> None:
        """Bring the book to what the style wants now: replace what is off, cancel what is not wanted."""
        await self._renew_key()
        markets = await self.client.markets()
        account = await self.client.account()
        resting = {lane_of(order.nonce): order for order in await self.client.orders(only_open=True, limit=500)}
        positions_lots = {position.market: position.size_lots for position in account.positions}
        now_s = await self.client.now_ms() // 1000
        wanted = _Round()
        for market in markets:
            self._plan(market, positions_lots.get(market.market, 0), resting, now_s, wanted)
        for outcome in await self.client.cancel_many(wanted.unwanted):
            self._note(outcome)
        for quotes in (wanted.retreating, wanted.following):
            self.n_orders += len(quotes)
            for placed in await self.client.place_many(quotes):
                self._note(placed)
        for order, size_lots in wanted.shrinking:
            try:
                await self.client.amend(order, size=size_lots, lifetime_s=_LIFETIME_S)
            except ApiRejected as refusal:
                self.note_refusal(refusal)

    def _plan(
        self, market: Market, position_lots: int, resting: dict[int, PlacedOrder], now_s: int, wanted: _Round
    ) -> None:
        quotes = {_lane_of(market, quote.slot): quote for quote in build_quotes(market, position_lots, self._style)}
        for lane, quote in quotes.items():
            order = resting.get(lane)
            if order is None or not _is_good(order, quote, now_s):
                jobs = wanted.retreating if _is_retreat(order, quote) else wanted.following
                jobs.append(self._build_terms(market, lane, quote))
            elif order.remaining_lots > quote.size_lots:
                wanted.shrinking.append((order, quote.size_lots))
        for slot in range(_MAX_SLOTS):
            order = resting.get(_lane_of(market, slot))
            if order is not None and _lane_of(market, slot) not in quotes and not market.is_halted:
                wanted.unwanted.append(order)

    def _build_terms(self, market: Market, lane: int, quote: Quote) -> OrderTerms:
        return OrderTerms.limit(
            market.symbol,
            "BUY" if quote.is_buy else "SELL",
            quote.size_lots,
            quote.price_ticks,
            post_only=True,
            lifetime_s=_LIFETIME_S,
            lane=lane,
        )

    def _note(self, outcome: PlacedOrder | Sequence[str] | SdkError) -> None:
        if isinstance(outcome, ApiRejected):
            self.note_refusal(outcome)
        elif isinstance(outcome, SdkError):
            raise outcome

    async def _renew_key(self) -> None:
        """Link the session key, if there is one, before it would expire; a level's notional twice is all it may do."""
        if not self.client.is_session_key:
            return
        now_s = await self.client.now_ms() // 1000
        if self._key_expiry_s > now_s + _RENEW_KEY_BEFORE_S:
            return
        known = {key.key: key for key in await self.client.keys() if key.status in ("active", "linking")}
        key = known.get(self.client.signer)
        if key is None or key.key_expiry_s <= now_s + _RENEW_KEY_BEFORE_S:
            key = await self.owner_client.link_key(
                self.client.signer, max_notional_quote=2 * self._style.level_quote, lifetime_s=_KEY_LIFETIME_S
            )
            _log.info("key.linked", program=self.name, key=key.key, key_expiry_s=key.key_expiry_s)
        self._key_expiry_s = key.key_expiry_s


def _lane_of(market: Market, slot: int) -> int:
    return _FIRST_LANE + (market.market - 1) * _MAX_SLOTS + slot


def _is_retreat(order: PlacedOrder | None, quote: Quote) -> bool:
    """Tell whether a new quote stands farther from the other side than the order it replaces."""
    if order is None:
        return False
    return quote.price_ticks < order.limit_ticks if quote.is_buy else quote.price_ticks > order.limit_ticks


def _is_good(order: PlacedOrder, quote: Quote, now_s: int) -> bool:
    """Tell whether a resting order may stay: same side and price, more than half its size left, not about to expire."""
    return (
        order.is_buy == quote.is_buy
        and order.limit_ticks == quote.price_ticks
        and 2 * order.remaining_lots > quote.size_lots
        and order.expiry_s - now_s > _RENEW_BEFORE_S
    )
