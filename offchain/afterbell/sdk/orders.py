"""Orders: place, amend, cancel, ask.

An order's id is the digest of what was signed: nothing counts twice, and an order is placed, or certainly not, or named
in the error. Must not: know how an order travels; order_sending.py does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from afterbell.domain.ids import lane_of, seq_of
from afterbell.domain.order import CancelAll, TriggerKind
from afterbell.sdk.errors import ApiRejected, ApiUnavailable, NotFinalInTime, OrderNotPlaced, SdkError
from afterbell.sdk.order_sending import CURABLE, N_RESIGN, POLL_S, Cancelled, OrderSending, SignedOrder
from afterbell.sdk.terms import (
    DEFAULT_LIFETIME_S,
    OrderTerms,
    Price,
    PriceKind,
    SideName,
    Size,
    Slippage,
    TimeInForceName,
    Trigger,
    must_be_one,
)
from afterbell.sdk.values import Fill, PlacedOrder

FillStatusName: TypeAlias = Literal["matched", "submitted", "mined", "final"]
_STATUS_RANK: Final = {"matched": 0, "submitted": 1, "mined": 2, "final": 3}


class OrderCalls(OrderSending):
    """Everything about orders."""

    # ------------------------------------------------------------ placing

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
        trigger: Trigger | None = None,
    ) -> PlacedOrder:
        """Sign and send one order; return it as the venue acknowledged it, after its frame is on disk.

        size: int lots, or Decimal/text shares. price: worst price, int ticks, or Decimal/text USD. lifetime_s: venue
        seconds until it expires, at most 30 days; `expiry_s` sets the venue second itself. max_fee_ppm: the highest
        rate signed for, by default the venue's rates now. client_id: up to 36 of A-Z a-z 0-9 _ . : -, one order each.
        lane: by default one nobody else uses, freed when the order is gone; with a lane of your own a new order
        replaces the one before it there in one step. trigger: it waits until that price is reached.

        A request without an answer is repeated with the same bytes: it has one order id and cannot become two orders;
        in the end the order itself is asked for (`resolve_order`). Raises: ApiRejected (and its kinds), OrderNotPlaced,
        ApiUnavailable naming the order if its fate is unknown, TypeError and ValueError for a float or a broken atom.
        """
        return await self.submit(
            OrderTerms(
                symbol=symbol, side=side, size=size, price=price, time_in_force=time_in_force, post_only=post_only,
                reduce_only=reduce_only, lifetime_s=lifetime_s, expiry_s=expiry_s, max_fee_ppm=max_fee_ppm,
                client_id=client_id, lane=lane, trigger=trigger,
            )
        )  # fmt: skip

    async def submit(self, terms: OrderTerms) -> PlacedOrder:
        """Sign and send the order of these terms; otherwise like `place`."""
        self._must_have_signer()
        await self._learn_lanes()
        if terms.lane is not None:
            async with self._lane_locks.setdefault(terms.lane, asyncio.Lock()):
                self._lanes.reserve(terms.lane)
                return await self._submit_in(terms.lane, terms)
        return await self._submit_in(self._lanes.acquire(), terms)

    async def limit(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        price: Price,
        *,
        post_only: bool = False,
        reduce_only: bool = False,
        lifetime_s: int = DEFAULT_LIFETIME_S,
        client_id: str = "",
        lane: int | None = None,
    ) -> PlacedOrder:
        """Place an order that rests until it is filled, cancelled or expired."""
        return await self.submit(
            OrderTerms.limit(
                symbol, side, size, price, post_only=post_only, reduce_only=reduce_only, lifetime_s=lifetime_s,
                client_id=client_id, lane=lane,
            )
        )  # fmt: skip

    async def market_order(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        *,
        worst_price: Price | None = None,
        max_slippage: Slippage | None = None,
        reduce_only: bool = False,
        client_id: str = "",
    ) -> PlacedOrder:
        """Fill what can be filled at once, at `worst_price` or better, and give up the rest (IOC).

        max_slippage: instead of a price, how far from the mark now; int ppm, or Decimal/text fraction ("0.005").
        """
        return await self.submit(
            OrderTerms.market(
                symbol, side, size, worst_price=worst_price, max_slippage=max_slippage, reduce_only=reduce_only,
                client_id=client_id,
            )
        )  # fmt: skip

    async def fok(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        price: Price,
        *,
        reduce_only: bool = False,
        client_id: str = "",
    ) -> PlacedOrder:
        """Fill all of it at once, at `price` or better, or nothing: then it is CANCELLED with reason CANNOT_FILL."""
        return await self.place(
            symbol, side, size, price, time_in_force="FOK", reduce_only=reduce_only, client_id=client_id
        )

    async def gtt(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        price: Price,
        *,
        expiry_s: int | None = None,
        lifetime_s: int | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        client_id: str = "",
    ) -> PlacedOrder:
        """Place an order that rests until a venue second (`expiry_s`), or for `lifetime_s` venue seconds."""
        must_be_one(expiry_s, lifetime_s, "expiry_s", "lifetime_s")
        return await self.place(
            symbol, side, size, price, time_in_force="GTT", expiry_s=expiry_s, lifetime_s=lifetime_s or 0,
            post_only=post_only, reduce_only=reduce_only, client_id=client_id,
        )  # fmt: skip

    async def stop(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        trigger_price: Price,
        *,
        price: Price | None = None,
        worst_price: Price | None = None,
        max_slippage: Slippage | None = None,
        on: PriceKind = "mark",
        reduce_only: bool = True,
        lifetime_s: int = 30 * 86_400,
        client_id: str = "",
    ) -> PlacedOrder:
        """Place an order that acts when the price goes against a position: SELL at or below, BUY at or above.

        The trigger is part of what is signed: the chain checks it too. Exactly one of price (then it rests at that
        limit), worst_price and max_slippage from the trigger price (then it takes what there is, once).
        """
        return await self.submit(
            OrderTerms.stop(
                symbol, side, size, trigger_price, price=price, worst_price=worst_price, max_slippage=max_slippage,
                on=on, reduce_only=reduce_only, lifetime_s=lifetime_s, client_id=client_id,
            )
        )  # fmt: skip

    async def take_profit(
        self,
        symbol: str,
        side: SideName,
        size: Size,
        trigger_price: Price,
        *,
        price: Price | None = None,
        worst_price: Price | None = None,
        max_slippage: Slippage | None = None,
        on: PriceKind = "mark",
        reduce_only: bool = True,
        lifetime_s: int = 30 * 86_400,
        client_id: str = "",
    ) -> PlacedOrder:
        """Place an order that acts when the price favours a position: SELL at or above, BUY at or below."""
        return await self.submit(
            OrderTerms.take_profit(
                symbol, side, size, trigger_price, price=price, worst_price=worst_price, max_slippage=max_slippage,
                on=on, reduce_only=reduce_only, lifetime_s=lifetime_s, client_id=client_id,
            )
        )  # fmt: skip

    async def oco(self, first: OrderTerms, second: OrderTerms) -> tuple[PlacedOrder, PlacedOrder]:
        """Place two orders of one market that share what is filled: the end of one ends the other.

        They are signed with equal lane and seq, so the chain knows it too. If the second is refused, the first is
        cancelled and the refusal raised. Raises: as `place`; ValueError for two markets.
        """
        if first.symbol != second.symbol:
            raise ValueError(f"an OCO is of one market, found {first.symbol} and {second.symbol}")
        if first.lane is not None or second.lane is not None:
            raise ValueError("an OCO takes a lane of its own: give neither order one")
        self._must_have_signer()
        await self._learn_lanes()
        lane = self._lanes.acquire()
        seq = self._lanes.next_seq(lane, await self._now_seq())
        signed: list[SignedOrder] = []
        try:
            signed = [await self._build(terms, lane, seq) for terms in (first, second)]
            outcomes = await self._send_many(signed)
        except BaseException:
            self._lanes.hold(lane, *(order.order_id for order in signed)) if signed else self._lanes.release(lane)
            raise
        placed = [outcome for outcome in outcomes if isinstance(outcome, PlacedOrder)]
        refusals = [outcome for outcome in outcomes if isinstance(outcome, SdkError)]
        self._lanes.hold(lane, *(order.order_id for order in signed))
        if not refusals:
            for order in placed:
                self._follow(order)
            return placed[0], placed[1]
        if placed and placed[0].is_live:
            await self.cancel(placed[0])
        if not isinstance(refusals[0], ApiUnavailable) or isinstance(refusals[0], OrderNotPlaced):
            self._lanes.release(lane)
        raise refusals[0]

    async def place_many(self, terms: Sequence[OrderTerms]) -> tuple[PlacedOrder | SdkError, ...]:
        """Sign and send several orders, 20 to a request; return for each the order or the error it met, in order.

        Orders do not wait for one another: a refusal of one changes nothing for the rest. Two of them must not name the
        same lane. Raises: TypeError and ValueError before anything is sent.
        """
        named = [order.lane for order in terms if order.lane is not None]
        if len(set(named)) != len(named):
            raise ValueError("two orders of one call name the same lane")
        self._must_have_signer()
        await self._learn_lanes()
        locks = [self._lane_locks.setdefault(lane, asyncio.Lock()) for lane in sorted(named)]
        for lock in locks:
            await lock.acquire()
        lanes: list[int] = []
        signed: list[SignedOrder] = []
        try:
            for order in terms:
                if order.lane is not None:
                    self._lanes.reserve(order.lane)
                lanes.append(self._lanes.acquire() if order.lane is None else order.lane)
                signed.append(await self._build(order, lanes[-1]))
            outcomes = list(await self._send_many(signed))
            for index, outcome in enumerate(outcomes):
                if isinstance(outcome, ApiRejected) and outcome.code in CURABLE:
                    outcomes[index] = await self._submit_anew(lanes[index], terms[index], outcome)
        except BaseException:
            for index, lane in enumerate(lanes):
                # What was signed may have been sent.
                self._lanes.hold(lane, signed[index].order_id) if index < len(signed) else self._lanes.release(lane)
            raise
        finally:
            for lock in locks:
                lock.release()
        for message, outcome in zip(signed, outcomes, strict=True):
            self._settle_lane(message, outcome)
        return tuple(outcomes)

    async def amend(
        self,
        order: PlacedOrder | str,
        *,
        size: Size | None = None,
        price: Price | None = None,
        post_only: bool | None = None,
        lifetime_s: int = DEFAULT_LIFETIME_S,
        client_id: str = "",
    ) -> PlacedOrder:
        """Replace a live order, given itself or its id, by one of another size or price, in one step.

        size: what the new order may fill, by default what is left of the old one. It happens only if the old order is
        live and has filled exactly what `order` says (an id: what it has filled now): nothing is ever filled twice. The
        same price and no more lots keep the place in the queue. Raises: Superseded FILLED_MEANWHILE or NOT_AMENDABLE;
        UnknownOrder when it is not live any more; otherwise as `place`.
        """
        named = await self.order(order) if isinstance(order, str) else order
        await self._learn_lanes()
        lane = lane_of(named.nonce)
        async with self._lane_locks.setdefault(lane, asyncio.Lock()):
            terms = OrderTerms(
                symbol=named.symbol, side="BUY" if named.is_buy else "SELL",
                size=named.remaining_lots if size is None else size,
                price=named.limit_ticks if price is None else price,
                time_in_force=named.time_in_force,
                post_only=named.post_only if post_only is None else post_only, reduce_only=named.reduce_only,
                lifetime_s=lifetime_s, client_id=client_id, lane=lane, trigger=_read_named_trigger(named),
            )  # fmt: skip
            self._lanes.next_seq(lane, seq_of(named.nonce))  # Whoever placed it: the new seq must be higher.
            for attempt in range(N_RESIGN):
                signed = await self._build(terms, lane)
                body = {"order_id": named.order_id, "filled_lots": named.filled_lots, **signed.body}
                try:
                    placed = await self._post_order("/v1/orders/amend", body, signed)
                except OrderNotPlaced:
                    raise  # The old order stands, and holds its lane.
                except ApiRejected as refusal:
                    if refusal.code not in CURABLE or attempt + 1 == N_RESIGN:
                        raise
                    await self._cure(lane, refusal)
                    continue
                except BaseException:
                    self._lanes.hold(lane, signed.order_id)
                    raise
                self._lanes.hold(lane, placed.order_id)
                self._follow(placed)
                return placed
            raise AssertionError("unreachable: the last attempt returns or raises")

    # ------------------------------------------------------------ ending

    async def cancel(self, order: PlacedOrder | str) -> tuple[str, ...]:
        """Cancel one live order, given itself or its id; return the ids that ended: two for an OCO.

        Binding off chain; on chain the order is dead once its lane moves on or it expires. Raises: UnknownOrder.
        """
        placed = await self.order(order) if isinstance(order, str) else order
        try:
            ended = await self._kill_nonce(placed.nonce)
        except ApiRejected as refusal:
            if not refusal.is_repeat or (await self.order(placed.order_id)).is_live:
                raise
            ended = (placed.order_id,)
        self._lanes.release(lane_of(placed.nonce), placed.order_id)
        return ended

    async def cancel_many(self, orders: Sequence[PlacedOrder | str]) -> tuple[tuple[str, ...] | SdkError, ...]:
        """Cancel several live orders, 20 to a request; return for each the ids that ended or the error it met."""
        placed = [await self.order(order) if isinstance(order, str) else order for order in orders]
        items = [{"cancel": await self._build_cancel(order.nonce)} for order in placed]
        outcomes: list[tuple[str, ...] | SdkError] = []
        for order, outcome in zip(placed, await self._post_items(items), strict=True):
            ended: tuple[str, ...] | SdkError
            if not isinstance(outcome, SdkError):
                ended = msgspec.convert(outcome, Cancelled).order_ids
            elif (
                isinstance(outcome, ApiRejected)
                and outcome.is_repeat
                and not (await self.order(order.order_id)).is_live
            ):
                ended = (order.order_id,)
            else:
                ended = outcome
            if not isinstance(ended, SdkError):
                self._lanes.release(lane_of(order.nonce), order.order_id)
            outcomes.append(ended)
        return tuple(outcomes)

    async def cancel_all(self) -> tuple[str, ...]:
        """Cancel every live order of the account signed up to now; return the ids that ended."""
        now_seq = await self._now_seq()
        cancel = CancelAll(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            min_seq=now_seq + 1,
            expiry_s=await self._now_s() + DEFAULT_LIFETIME_S,
            seq=await self._next_operation_seq(),
        )
        fields = {
            "account": self.account_id,
            "min_seq_ms": cancel.min_seq,
            "expiry_s": cancel.expiry_s,
            "nonce": str(cancel.nonce),
        }
        body = {"cancel_all": fields, "signature": self._sign(cancel)[1]}
        try:
            answer = await self._transport.post("/v1/orders/cancel-all", body, Cancelled, is_repeatable=True)
        except ApiRejected as refusal:
            if not refusal.is_repeat:
                raise
            return await self.cancel_all()  # Signed anew: cancelling twice harms nobody.
        for order_id in answer.order_ids:
            self._lanes.release_order(order_id)
        return answer.order_ids

    # ------------------------------------------------------------ asking

    async def order(self, order_id: str) -> PlacedOrder:
        """Return an order and the life of its fills. Raises: UnknownOrder."""
        placed = await self._transport.get(f"/v1/orders/{order_id}", PlacedOrder)
        self._follow(placed)
        return placed

    async def order_by_client_id(self, client_id: str) -> PlacedOrder:
        """Return the account's order with this client id. Raises: UnknownOrder."""
        placed = await self._transport.get(f"/v1/accounts/{self.account_id}/client-orders/{client_id}", PlacedOrder)
        self._follow(placed)
        return placed

    async def orders(
        self,
        *,
        only_open: bool = False,
        limit: int = 200,
        market: str | None = None,
        before: int | None = None,
    ) -> tuple[PlacedOrder, ...]:
        """Return the account's orders, newest first. only_open: those that can still fill, waiting ones too.

        `iterate_orders` walks through all pages.
        """
        page = await self._read_orders(only_open=only_open, limit=limit, market=market, before=before)
        return page.orders

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
            if not placed.fills and not placed.is_live and placed.filled_lots == 0:
                raise NotFinalInTime(f"order {order_id} is {placed.status} ({placed.reason}) without a fill", placed)
            if time.monotonic() > deadline_s:
                seen = ", ".join(fill.status for fill in placed.fills) or "no fill"
                raise NotFinalInTime(f"order {order_id} not {status} within {timeout_s} s: {seen}", placed)
            await asyncio.sleep(POLL_S)

    async def resolve_order(self, order_id: str) -> PlacedOrder:
        """Find out for certain what became of an order that an ApiUnavailable of this client named.

        Asks for it; if the venue does not know it, kills its nonce and asks again. Raises: OrderNotPlaced: it never
        took effect and never will; ApiUnavailable: the venue is still away; UnknownOrder: not an order of this client.
        """
        nonce = self._unresolved.get(order_id)
        if nonce is None:
            return await self.order(order_id)
        try:
            placed = await self._resolve(order_id, nonce, timeout_s=self._timeout_s)
        except OrderNotPlaced:
            self._lanes.release_order(order_id)
            raise
        self._follow(placed)
        return placed


def _read_named_trigger(placed: PlacedOrder) -> Trigger | None:
    if placed.trigger_kind == TriggerKind.NONE:
        return None
    return Trigger(
        price=placed.trigger_ticks,
        is_above=placed.trigger_kind in (TriggerKind.MARK_AT_OR_ABOVE, TriggerKind.INDEX_AT_OR_ABOVE),
        kind="mark" if placed.trigger_kind in (TriggerKind.MARK_AT_OR_ABOVE, TriggerKind.MARK_AT_OR_BELOW) else "index",
    )


def _has_reached(fill: Fill, status: str) -> bool:
    return fill.status == "rejected" or _STATUS_RANK.get(fill.status, -1) >= _STATUS_RANK[status]
