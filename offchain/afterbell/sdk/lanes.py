"""Lanes: give every concurrent order a lane of its own and every signature a strictly rising seq.

An order's nonce is (lane, seq). A lane remembers its newest seq, an older one is dead, and an accepted newer one
replaces the lane's order. So two live orders must not share a lane, and within a lane seqs must arrive in rising order:
a lane is held while a request is on its way and for as long as its order rests. Keys of one account do not see each
other's requests, so every session key hands out lanes of a block of its own. Must not: talk to anything.
"""

from __future__ import annotations

import heapq
from typing import Final

from afterbell.domain.hashing import keccak
from afterbell.domain.ids import LIQUIDATION_LANE

N_BLOCK_LANES: Final = 256
_N_BLOCKS: Final = 254
"""Blocks of session keys: lanes 256 to 65,279. The owner's lanes begin at 0."""


def first_lane_of(signer: bytes, owner: bytes | None) -> int:
    """Return where a signer's lanes begin: 0 for the owner, a block that follows from the address for a session key.

    Two keys of an account share a block with probability 1/254; they then need two subaccounts, as two processes with
    one key do.
    """
    if owner is None or signer == owner:
        return 0
    return N_BLOCK_LANES * (1 + int.from_bytes(keccak(signer), "big") % _N_BLOCKS)


class LaneBook:
    """Which lanes of one account are held, by which orders, and the last seq signed in each."""

    def __init__(self, first_lane: int = 0) -> None:
        """first_lane: the lowest lane handed out."""
        self._held: dict[int, frozenset[str]] = {}
        self._lane_of: dict[str, int] = {}
        self._freed: list[int] = []
        self._first_lane = first_lane
        self._next_fresh = first_lane
        self._last_seq: dict[int, int] = {}
        self._seq_before: dict[int, int] = {}
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
                self._held[lane] = frozenset()
                return lane
        while self._next_fresh in self._held or self._next_fresh in self._reserved:
            self._next_fresh += 1
        if self._next_fresh >= LIQUIDATION_LANE:
            raise RuntimeError("all 65534 lanes hold an order: cancel some, or use another subaccount")
        lane = self._next_fresh
        self._next_fresh += 1
        self._held[lane] = frozenset()
        return lane

    def reserve(self, lane: int) -> None:
        """Leave a lane to the caller for good: it is never handed out."""
        self._reserved.add(lane)

    def hold(self, lane: int, *order_ids: str) -> None:
        """Hold a lane for the order, or the two of an OCO, that may be there."""
        self._forget_orders(lane)
        self._held[lane] = frozenset(order_ids)
        self._lane_of |= dict.fromkeys(order_ids, lane)

    def release(self, lane: int, order_id: str = "") -> None:
        """Free a lane; with an order id only if it still belongs to that order. The end of one of an OCO ends both."""
        held_by = self._held.get(lane)
        if held_by is None or (order_id and held_by and order_id not in held_by):
            return
        self._forget_orders(lane)
        del self._held[lane]
        # Below the first one they are another signer's.
        if self._first_lane <= lane < self._next_fresh:
            heapq.heappush(self._freed, lane)

    def release_order(self, order_id: str) -> None:
        """Free the lane of an order that has ended, if one is held for it."""
        lane = self._lane_of.get(order_id)
        if lane is not None:
            self.release(lane, order_id)

    def is_held(self, lane: int) -> bool:
        """Tell whether a lane is taken, by orders or a request under way."""
        return lane in self._held

    def held_by(self, lane: int) -> frozenset[str]:
        """Return the order ids a lane is held for, none while a request is under way or when it is free."""
        return self._held.get(lane, frozenset())

    def next_seq(self, lane: int, now_seq: int) -> int:
        """Return a seq above every earlier one of the lane, at the venue's time if that is later."""
        before = self._last_seq.get(lane, -1)
        seq = max(now_seq, before + 1)
        self._last_seq[lane], self._seq_before[lane] = seq, before
        return seq

    def forget_seq(self, lane: int) -> None:
        """Take back the last seq of a lane: the venue refused it as too far ahead, so it was never used.

        The one before it stays: a seq at or below that would be dead.
        """
        self._last_seq[lane] = self._seq_before.get(lane, -1)

    def _forget_orders(self, lane: int) -> None:
        for order_id in self._held.get(lane, ()):
            self._lane_of.pop(order_id, None)
