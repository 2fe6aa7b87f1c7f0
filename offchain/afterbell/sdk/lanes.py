"""Lanes: give every concurrent order a lane of its own and every signature a strictly rising seq.

An order's nonce is (lane, seq). A lane remembers its newest seq, an older one is dead, and an accepted newer one
replaces the lane's order. So two live orders must not share a lane, and within a lane seqs must arrive in rising order:
a lane is held while a request is on its way and for as long as its order rests. Must not: talk to anything.
"""

from __future__ import annotations

import heapq

from afterbell.domain.ids import OPERATION_LANE


class LaneBook:
    """Which lanes of one account are held, and the last seq signed in each."""

    def __init__(self) -> None:
        self._held: dict[int, str] = {}
        self._freed: list[int] = []
        self._next_fresh = 0
        self._last_seq: dict[int, int] = {}
        self._reserved: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def acquire(self) -> int:
        """Hold and return the lowest free lane: low lanes share words on chain and cost less gas.

        Raises: RuntimeError.
        """
        while self._freed:
            lane = heapq.heappop(self._freed)
            if lane not in self._held and lane not in self._reserved:
                self._held[lane] = ""
                return lane
        while self._next_fresh in self._held or self._next_fresh in self._reserved:
            self._next_fresh += 1
        if self._next_fresh >= OPERATION_LANE:
            raise RuntimeError("all 65535 lanes hold an order: cancel some, or use another subaccount")
        lane = self._next_fresh
        self._next_fresh += 1
        self._held[lane] = ""
        return lane

    def reserve(self, lane: int) -> None:
        """Leave a lane to the caller for good: it is never handed out."""
        self._reserved.add(lane)

    def hold(self, lane: int, order_id: str = "") -> None:
        """Hold a lane for an order that is already there."""
        self._held[lane] = order_id

    def release(self, lane: int, order_id: str = "") -> None:
        """Free a lane; with an order id only if it still belongs to that order."""
        held_by = self._held.get(lane)
        if held_by is None or (order_id and held_by not in ("", order_id)):
            return
        del self._held[lane]
        if lane < self._next_fresh:
            heapq.heappush(self._freed, lane)

    def held_by(self, lane: int) -> str | None:
        """Return the order id a lane is held for, "" while a request is under way, None when free."""
        return self._held.get(lane)

    def held_orders(self) -> dict[int, str]:
        """Return lanes held by resting orders."""
        return {lane: order_id for lane, order_id in self._held.items() if order_id}

    def next_seq(self, lane: int, now_seq: int) -> int:
        """Return a seq above every earlier one of the lane, at the venue's time if that is later."""
        seq = max(now_seq, self._last_seq.get(lane, -1) + 1)
        self._last_seq[lane] = seq
        return seq

    def forget_seq(self, lane: int) -> None:
        """Take back the last seq of a lane: the venue refused it as too far ahead, so it was never used."""
        self._last_seq.pop(lane, None)
