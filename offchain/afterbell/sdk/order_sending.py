"""Sending: sign orders, send them as often as it takes, and find out for certain what became of each.

A request without an answer is sent again with the same bytes; if there is still none, the order itself is asked for,
and if the venue does not know it, its nonce is killed, so that a copy still on its way does nothing. Must not: read
what a caller may ask for; orders.py does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from afterbell.domain.ids import account_hex, build_nonce, lane_of, seq_of
from afterbell.domain.order import CancelOrder, Order, TimeInForce
from afterbell.sdk.core import Core
from afterbell.sdk.errors import (
    ApiRejected,
    ApiUnavailable,
    OrderNotPlaced,
    SdkError,
    UnknownOrder,
    build_rejection,
)
from afterbell.sdk.terms import (
    DEFAULT_LIFETIME_S,
    OrderTerms,
    compute_worst_ticks,
    read_side,
    read_slippage_ppm,
    read_time_in_force,
    read_trigger,
)
from afterbell.sdk.transport import FIRST_PAUSE_S, LONGEST_PAUSE_S
from afterbell.sdk.values import Market, PlacedOrder

MAX_PAGE: Final = 500
CURABLE: Final = frozenset({"SEQ_TOO_FAR_AHEAD", "WRONG_EPOCH"})
"""Refusals that reading clock or markets again cures; the refused message took no effect."""
POLL_S: Final = 0.1
N_RESIGN: Final = 3
_Item: TypeAlias = "dict[str, Any] | SdkError"


class OrdersPage(msgspec.Struct, frozen=True):
    """One page of orders, newest first."""

    orders: tuple[PlacedOrder, ...]
    next_before: int | None = None


class Cancelled(msgspec.Struct, frozen=True):
    order_ids: tuple[str, ...]


class _BatchResult(msgspec.Struct, frozen=True):
    status: int
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class _BatchAnswer(msgspec.Struct, frozen=True):
    results: tuple[_BatchResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOrder:
    """An order and its signature: what is sent, as often as it takes."""

    order: Order
    order_id: str
    body: dict[str, Any]


class OrderSending(Core):
    """How orders travel."""

    async def iterate_orders(
        self, *, only_open: bool = False, market: str | None = None
    ) -> AsyncGenerator[PlacedOrder, None]:
        """Yield all orders of the account, newest first, page by page."""
        before: int | None = None
        while True:
            page = await self._read_orders(only_open=only_open, limit=MAX_PAGE, market=market, before=before)
            for placed in page.orders:
                yield placed
            if page.next_before is None:
                return
            before = page.next_before

    # ------------------------------------------------------------ inside: signing

    async def _build(self, terms: OrderTerms, lane: int, seq: int | None = None) -> SignedOrder:
        """Sign the order of these terms in a lane; without a seq the lane's next one."""
        market = await self._market_of(terms.symbol, is_fresh=terms.max_slippage is not None)
        is_buy = read_side(terms.side)
        trigger_kind, trigger_ticks = read_trigger(terms.trigger, market)
        order = Order(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            market_id=market.market,
            epoch=market.epoch,
            is_buy=is_buy,
            size_lots=market.to_lots(terms.size),
            limit_ticks=_read_limit_ticks(terms, market, is_buy=is_buy, trigger_ticks=trigger_ticks),
            max_fee_ppm=_default_fee_ppm(market) if terms.max_fee_ppm is None else terms.max_fee_ppm,
            expiry_s=terms.expiry_s if terms.expiry_s is not None else await self._now_s() + terms.lifetime_s,
            lane=lane,
            seq=self._lanes.next_seq(lane, await self._now_seq()) if seq is None else seq,
            reduce_only=terms.reduce_only,
            post_only=terms.post_only,
            time_in_force=read_time_in_force(terms.time_in_force),
            trigger_ticks=trigger_ticks,
            trigger_kind=trigger_kind,
        )
        await self.venue()
        return self._sign_order(order, terms.client_id)

    def _sign_order(self, order: Order, client_id: str) -> SignedOrder:
        order_id, signature = self._sign(order)
        body = {"order": _order_body(order), "signature": signature, "client_id": client_id}
        return SignedOrder(order=order, order_id=order_id, body=body)

    # ------------------------------------------------------------ inside: sending

    async def _submit_in(self, lane: int, terms: OrderTerms) -> PlacedOrder:
        """Sign in a held lane; sign anew only after a refusal that proves the former message took no effect."""
        for attempt in range(N_RESIGN):
            signed: SignedOrder | None = None
            try:
                signed = await self._build(terms, lane)
                placed = await self._post_order("/v1/orders", signed.body, signed)
            except ApiRejected as refusal:
                is_curable = refusal.code in CURABLE and attempt + 1 < N_RESIGN
                if not is_curable:
                    self._lanes.release(lane)
                    raise
                await self._cure(lane, refusal)
                continue
            except OrderNotPlaced:
                self._lanes.release(lane)
                raise
            except BaseException:
                # Sent, it may rest: the lane stays held under its id until the venue says what became of it.
                self._lanes.hold(lane, signed.order_id) if signed is not None else self._lanes.release(lane)
                raise
            self._follow(placed)
            return placed
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _cure(self, lane: int, refusal: ApiRejected) -> None:
        """Learn anew what a curable refusal says is out of date."""
        if refusal.code == "SEQ_TOO_FAR_AHEAD":
            self._lanes.forget_seq(lane)
            await self.clock()
        else:
            await self.markets()

    async def _submit_anew(self, lane: int, terms: OrderTerms, refusal: ApiRejected) -> PlacedOrder | SdkError:
        """Sign an order anew whose refusal is curable; return what it meets."""
        await self._cure(lane, refusal)
        try:
            return await self._submit_in(lane, terms)
        except SdkError as error:
            return error

    async def _post_order(self, path: str, body: dict[str, Any], signed: SignedOrder) -> PlacedOrder:
        try:
            placed = await self._transport.post(path, body, PlacedOrder, is_repeatable=True)
        except ApiRejected as refusal:
            placed = await self._ask_after(refusal, signed.order_id)
        except ApiUnavailable:
            placed = await self._resolve(signed.order_id, signed.order.nonce, timeout_s=self._timeout_s)
        return _must_be_accepted(placed)

    async def _ask_after(self, refusal: ApiRejected, order_id: str) -> PlacedOrder:
        """Return the order if the refusal met a second copy of it. Raises: the refusal."""
        if not refusal.is_repeat and refusal.code != "DUPLICATE_ORDER":
            raise refusal
        try:
            return await self._transport.get(f"/v1/orders/{order_id}", PlacedOrder)
        except UnknownOrder:
            raise refusal from None

    async def _send_many(self, signed: Sequence[SignedOrder]) -> tuple[PlacedOrder | SdkError, ...]:
        items = await self._post_items([{"place": order.body} for order in signed])
        pairs = zip(signed, items, strict=True)
        return tuple(await asyncio.gather(*(self._conclude(order, item) for order, item in pairs)))

    async def _conclude(self, signed: SignedOrder, item: _Item) -> PlacedOrder | SdkError:
        try:
            if isinstance(item, ApiRejected):
                placed = await self._ask_after(item, signed.order_id)
            elif isinstance(item, SdkError):
                placed = await self._resolve(signed.order_id, signed.order.nonce, timeout_s=self._timeout_s)
            else:
                placed = msgspec.convert(item, PlacedOrder, strict=False)
            return _must_be_accepted(placed)
        except SdkError as error:
            return error

    async def _post_items(self, items: Sequence[dict[str, Any]]) -> list[_Item]:
        """Send items of the batch route; return each one's result or error, in order."""
        n_items = (await self.venue()).bounds.max_batch_items
        outcomes: list[_Item] = []
        for start in range(0, len(items), n_items):
            chunk = items[start : start + n_items]
            try:
                answer, is_repeat = await self._transport.post_noting_repeat(
                    "/v1/orders/batch", {"items": chunk}, _BatchAnswer
                )
            except (ApiRejected, ApiUnavailable) as error:
                outcomes += [error] * len(chunk)
                continue
            for result in answer.results:
                if result.error is None:
                    outcomes.append(result.result or {})
                    continue
                refusal = build_rejection(result.error, result.status)
                refusal.is_repeat = is_repeat
                outcomes.append(refusal)
        return outcomes

    async def _resolve(self, order_id: str, nonce: int, *, timeout_s: float) -> PlacedOrder:
        self._unresolved[order_id] = nonce
        deadline_s, pause_s, is_dead = time.monotonic() + timeout_s, FIRST_PAUSE_S, False
        while True:
            try:
                placed = await self._transport.get(f"/v1/orders/{order_id}", PlacedOrder)
                del self._unresolved[order_id]
                if placed.status == "REJECTED" and placed.reason == "DEAD_LANE":
                    raise _build_not_placed(order_id)  # The copy that arrived came after its nonce was dead.
                return placed
            except UnknownOrder:
                if is_dead:
                    # Asked after its nonce was dead: it was not there before, and cannot come any more.
                    del self._unresolved[order_id]
                    raise _build_not_placed(order_id) from None
                problem = "the venue does not know it, and did not take the cancellation of its nonce"
            except ApiUnavailable as error:
                problem = str(error)
            if not is_dead:
                is_dead = await self._try_to_kill(nonce)
            if time.monotonic() > deadline_s and not is_dead:
                raise ApiUnavailable(f"the fate of order {order_id} is unknown: {problem}", order_id=order_id)
            if time.monotonic() > deadline_s + timeout_s:
                raise ApiUnavailable(f"order {order_id} is dead or ended, unknown which: {problem}", order_id=order_id)
            if not is_dead:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _try_to_kill(self, nonce: int) -> bool:
        """Cancel a nonce whatever became of its order; return whether the venue has taken it."""
        try:
            await self._kill_nonce(nonce)
        except UnknownOrder:
            return True  # No live order has it; it is dead all the same.
        except (ApiRejected, ApiUnavailable):
            return False
        return True

    async def _kill_nonce(self, nonce: int) -> tuple[str, ...]:
        body = await self._build_cancel(nonce)
        answer = await self._transport.post("/v1/orders/cancel", body, Cancelled, is_repeatable=True)
        return answer.order_ids

    async def _build_cancel(self, order_nonce: int) -> dict[str, Any]:
        now_s = await self._now_s()
        cancel = CancelOrder(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            order_nonce=order_nonce,
            expiry_s=now_s + DEFAULT_LIFETIME_S,
            seq=await self._next_operation_seq(),
        )
        fields = {
            "account": self.account_id,
            "order_nonce": str(cancel.order_nonce),
            "expiry_s": cancel.expiry_s,
            "nonce": str(cancel.nonce),
        }
        return {"cancel": fields, "signature": self._sign(cancel)[1]}

    # ------------------------------------------------------------ inside: asking, lanes

    async def _read_order(self, order_id: str) -> PlacedOrder:
        """Read an order that must exist; the read model may be a moment behind the acknowledgement."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return await self._transport.get(f"/v1/orders/{order_id}", PlacedOrder)
            except UnknownOrder:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(POLL_S)

    async def _read_orders(self, *, only_open: bool, limit: int, market: str | None, before: int | None) -> OrdersPage:
        status = "open" if only_open else "all"
        page = await self._transport.get(
            f"/v1/accounts/{self.account_id}/orders",
            OrdersPage,
            status=status,
            limit=limit,
            market=market,
            before=before,
        )
        for placed in page.orders:
            self._follow(placed)
        return page

    async def _learn_lanes(self) -> None:
        """Before the first order: hold the lanes of orders that an earlier process left on the book."""
        async with self._start_lock:
            if not self._are_lanes_known:
                await self.venue()
                async for placed in self.iterate_orders(only_open=True):
                    self._lanes.hold(
                        lane_of(placed.nonce), placed.order_id, *self._lanes.held_by(lane_of(placed.nonce))
                    )
                    self._lanes.next_seq(lane_of(placed.nonce), seq_of(placed.nonce))
                self._are_lanes_known = True

    def _settle_lane(self, signed: SignedOrder, outcome: PlacedOrder | SdkError) -> None:
        if isinstance(outcome, PlacedOrder):
            self._follow(outcome)
        elif isinstance(outcome, ApiUnavailable) and not isinstance(outcome, OrderNotPlaced):
            self._lanes.hold(signed.order.lane, signed.order_id)
        else:
            self._lanes.release(signed.order.lane)

    def _follow(self, placed: PlacedOrder) -> None:
        """Hold an order's lane while it can fill, free it when it is gone."""
        lane = lane_of(placed.nonce)
        if not placed.is_live:
            self._lanes.release(lane, placed.order_id)
        elif self._lanes.is_held(lane) and not self._lanes.held_by(lane):
            self._lanes.hold(lane, placed.order_id)


def _build_not_placed(order_id: str) -> OrderNotPlaced:
    return OrderNotPlaced(
        f"order {order_id} did not reach the venue in time, and its nonce is dead now: place it anew", order_id=order_id
    )


def _must_be_accepted(placed: PlacedOrder) -> PlacedOrder:
    if placed.status == "REJECTED":
        code = placed.reason or "REJECTED"
        raise build_rejection({"code": code, "message": f"order {placed.order_id} was refused"}, 0)
    return placed


def _read_limit_ticks(terms: OrderTerms, market: Market, *, is_buy: bool, trigger_ticks: int) -> int:
    if terms.price is not None:
        return market.to_ticks(terms.price)
    if terms.max_slippage is None:
        raise TypeError("an order needs a price or max_slippage, found neither")
    reference_ticks = trigger_ticks or market.mark_ticks
    if reference_ticks == 0:
        raise SdkError(f"{terms.symbol} has no mark yet to measure slippage from: give a worst_price")
    slippage_ppm = read_slippage_ppm(terms.max_slippage)
    # The band is that of now; a triggered order acts later, in another one.
    bandless = (
        market if not trigger_ticks else msgspec.structs.replace(market, band_low_ticks=None, band_high_ticks=None)
    )
    return compute_worst_ticks(bandless, reference_ticks, is_buy=is_buy, slippage_ppm=slippage_ppm)


def _default_fee_ppm(market: Market) -> int:
    """Return the higher of the venue's rates: the chain checks both against the signed maximum."""
    if market.rules is None:
        return 0
    return max(market.rules.taker_fee_ppm, market.rules.maker_fee_ppm)


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
