"""Plan the batches whose gas is measured: who trades, which orders, which fills; and sign them.

Every scenario is one batch. Makers post (GTC, post-only), takers take (IOC). Each account has one owner key, which
signs. In a *full* scenario a session key signs instead, for the owner's subaccount 7, every account has at least two
open markets, and the batch carries fresh prices with evidence and funding. A round is the same batch again with fresh
orders (higher seqs): after the first round every account
holds a position in its markets and every word it writes was written before, which is the steady state that is measured.
Lanes: an order that is alone in its account uses lane 0, which lives in the account word; takers reuse it one order
after the other; a maker with several orders at once gives each a lane of its own (0, 2, 3: the account word and one
lane word). Must not: know a chain.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from afterbell.domain.batch import (
    AccountRecord,
    BatchHeader,
    FillRow,
    OrderRecord,
    Payload,
    build_order_record,
)
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import AccountId, build_account_id
from afterbell.domain.order import Order, SignedOrder, TimeInForce
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import digest

FILL_LOTS: Final = 1_000
_LIMIT_CALLDATA: Final = {"distinct_50": 240, "mixed_200": 45, "full_distinct_50": 245, "full_mixed_200": 50}
"""Bytes of calldata a fill (issue 4, Numbers)."""
_LIMIT_FULL_GAS: Final = {
    "full_one_fill": 142_000,
    "full_distinct_50": 57_000,
    "full_makers_5x50": 34_000,
    "full_mixed_200": 12_000,
}
MAX_FEE_PPM: Final = 500
TAKER_FEE_PPM: Final = 450
MAKER_FEE_PPM: Final = 150
LIFETIME_S: Final = 3_600
FULL_SUBACCOUNT: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOrder:
    """One order of a scenario. `turn` orders the orders of one lane in time."""

    trader: int
    market_id: int
    is_maker: bool
    lane: int
    turn: int
    size_lots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One batch to measure. Fills are (maker order, taker order, lots) by index into `orders`."""

    name: str
    n_traders: int
    market_ids: tuple[int, ...]
    orders: tuple[PlannedOrder, ...]
    fills: tuple[tuple[int, int, int], ...]
    limit_gas: int
    quoted: str
    limit_calldata_bytes: int | None = None
    is_full: bool = False
    """Session keys, a subaccount, further open markets, prices and funding in the batch."""
    held_market_ids: tuple[int, ...] = ()
    """Markets in which every account holds a position before, without trading there."""

    @property
    def n_words(self) -> int:
        """Count the storage words the batch must change.

        One per account, per position, per lane word beside lane 0, per market's totals; the batch word and the head.
        """
        accounts = {order.trader for order in self.orders}
        positions = {(order.trader, order.market_id) for order in self.orders}
        lanes = {(order.trader, order.lane >> 1) for order in self.orders if order.lane > 0}
        markets = {order.market_id for order in self.orders}
        # A price word and an index word of every market whose accounts must be fresh.
        n_prices = 2 * len(self.priced_market_ids) if self.is_full else 0
        return len(accounts) + len(positions) + len(lanes) + len(markets) + n_prices + 2

    @property
    def priced_market_ids(self) -> tuple[int, ...]:
        """Return the markets accounts hold positions in."""
        return tuple(sorted({*self.market_ids, *self.held_market_ids}))

    def in_market(self, market_id: int) -> Scenario:
        """Return the same batch of one market in another one: what makes accounts hold it."""
        return replace(self, orders=tuple(replace(order, market_id=market_id) for order in self.orders))


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """What signing needs to know of an instance."""

    domain_separator: bytes
    epochs: dict[int, int]
    limit_ticks: dict[int, int]


def build_scenarios(market_ids: Sequence[int]) -> list[Scenario]:
    """Return the four batches on the first of three listed markets or on all three, and the same with everything on."""
    first, second, third = market_ids[:3]
    scenarios = [
        _plan_distinct(
            "one_fill",
            first,
            1,
            limit_gas=100_000,
            quoted="prototype 109,485; dYdX v1 259,523; IDEX 321,346; Vertex + checks 452,062",
        ),
        _plan_distinct(
            "distinct_50",
            first,
            50,
            limit_gas=45_000,
            quoted="prototype 50,057; dYdX v1 177,680; Vertex + checks 277,118",
        ),
        _plan_makers(first),
        _plan_mixed((first, second, third)),
    ]
    scenarios = [replace(one, limit_calldata_bytes=_LIMIT_CALLDATA.get(one.name)) for one in scenarios]
    return scenarios + [_turn_everything_on(one, second) for one in scenarios]


def _turn_everything_on(scenario: Scenario, other_market_id: int) -> Scenario:
    """Return a scenario with session keys, subaccounts, prices in the batch; accounts of one market hold another."""
    name = f"full_{scenario.name}"
    return replace(
        scenario,
        name=name,
        is_full=True,
        limit_gas=_LIMIT_FULL_GAS[name],
        limit_calldata_bytes=_LIMIT_CALLDATA.get(name),
        held_market_ids=() if len(scenario.market_ids) > 1 else (other_market_id,),
        quoted="",
    )


def _plan_distinct(name: str, market_id: int, n_fills: int, *, limit_gas: int, quoted: str) -> Scenario:
    """Return n fills between 2n accounts."""
    orders = tuple(
        PlannedOrder(trader=trader, market_id=market_id, is_maker=trader % 2 == 0, lane=0, turn=0, size_lots=FILL_LOTS)
        for trader in range(2 * n_fills)
    )
    fills = tuple((2 * position, 2 * position + 1, FILL_LOTS) for position in range(n_fills))
    return Scenario(
        name=name,
        n_traders=2 * n_fills,
        market_ids=(market_id,),
        orders=orders,
        fills=fills,
        limit_gas=limit_gas,
        quoted=quoted,
    )


def _plan_makers(market_id: int) -> Scenario:
    """Return 50 fills of 5 makers' orders with 50 takers' orders."""
    n_makers, n_takers = 5, 50
    makers = tuple(
        PlannedOrder(
            trader=trader,
            market_id=market_id,
            is_maker=True,
            lane=0,
            turn=0,
            size_lots=FILL_LOTS * n_takers // n_makers,
        )
        for trader in range(n_makers)
    )
    takers = tuple(
        PlannedOrder(trader=trader, market_id=market_id, is_maker=False, lane=0, turn=0, size_lots=FILL_LOTS)
        for trader in range(n_makers, n_makers + n_takers)
    )
    fills = tuple((taker % n_makers, n_makers + taker, FILL_LOTS) for taker in range(n_takers))
    return Scenario(
        name="makers_5x50",
        n_traders=n_makers + n_takers,
        market_ids=(market_id,),
        orders=makers + takers,
        fills=fills,
        limit_gas=27_000,
        quoted="prototype 30,165; dYdX v1 135,852; Vertex + checks 222,317",
    )


def _plan_mixed(market_ids: tuple[int, int, int]) -> Scenario:
    """Return 200 fills of 75 orders: 5 makers and 20 takers, each with one order in each of 3 markets.

    A taker meets 4 makers in the first market and 3 in each of the others: 20 x (4 + 3 + 3) = 200.
    """
    n_makers, n_takers = 5, 20
    meetings = (4, 3, 3)
    maker_lanes = (0, 2, 3)
    makers = tuple(
        PlannedOrder(
            trader=trader,
            market_id=market_id,
            is_maker=True,
            lane=maker_lanes[position],
            turn=0,
            size_lots=FILL_LOTS * n_takers * meetings[position] // n_makers,
        )
        for position, market_id in enumerate(market_ids)
        for trader in range(n_makers)
    )
    takers = tuple(
        PlannedOrder(
            trader=n_makers + taker,
            market_id=market_id,
            is_maker=False,
            lane=0,
            turn=position,
            size_lots=FILL_LOTS * meetings[position],
        )
        for position, market_id in enumerate(market_ids)
        for taker in range(n_takers)
    )
    fills = tuple(
        (position * n_makers + (taker + meeting) % n_makers, len(makers) + position * n_takers + taker, FILL_LOTS)
        for position in range(len(market_ids))
        for taker in range(n_takers)
        for meeting in range(meetings[position])
    )
    return Scenario(
        name="mixed_200",
        n_traders=n_makers + n_takers,
        market_ids=market_ids,
        orders=makers + takers,
        fills=fills,
        limit_gas=10_500,
        quoted="prototype 12,305",
    )


def build_keys(source: random.Random, n_keys: int) -> list[SigningKey]:
    """Return keys that depend on the seed alone."""
    return [SigningKey(source.randbytes(31).rjust(32, b"\x01")) for _ in range(n_keys)]


def account_of(key: SigningKey, *, is_full: bool = False) -> AccountId:
    """Return the account a key's owner trades with."""
    return build_account_id(key.address, FULL_SUBACCOUNT if is_full else 0)


def session_key_of(owner: SigningKey) -> SigningKey:
    """Return the session key of an owner in a full scenario."""
    return SigningKey(keccak(b"bench session key" + owner.address))


def build_payload(
    scenario: Scenario, keys: Sequence[SigningKey], venue: Venue, header: BatchHeader, *, first_seq: int
) -> Payload:
    """Return the scenario's batch with freshly signed orders, seqs from first_seq on."""
    records: dict[int, list[tuple[int, int, int, OrderRecord]]] = {}
    for position, plan in enumerate(scenario.orders):
        record = _sign(plan, keys[plan.trader], venue, header, first_seq, is_full=scenario.is_full)
        account_id = account_of(keys[plan.trader], is_full=scenario.is_full)
        records.setdefault(account_id, []).append((plan.lane, plan.turn, position, record))
    accounts = []
    index_of: dict[int, int] = {}
    for account in sorted(records):
        own = sorted(records[account], key=lambda entry: entry[:3])
        for _, _, position, _ in own:
            index_of[position] = len(index_of)
        accounts.append(AccountRecord(account_id=AccountId(account), orders=tuple(entry[3] for entry in own)))
    fills = tuple(
        FillRow(maker_order=index_of[maker], taker_order=index_of[taker], size_lots=size_lots)
        for maker, taker, size_lots in scenario.fills
    )
    return Payload(header=header, fills=fills, accounts=tuple(accounts))


def _sign(
    plan: PlannedOrder, key: SigningKey, venue: Venue, header: BatchHeader, first_seq: int, *, is_full: bool
) -> OrderRecord:
    order = Order(
        owner=key.address,
        subaccount=FULL_SUBACCOUNT if is_full else 0,
        market_id=plan.market_id,
        epoch=venue.epochs[plan.market_id],
        is_buy=not plan.is_maker,
        size_lots=plan.size_lots,
        limit_ticks=venue.limit_ticks[plan.market_id],
        max_fee_ppm=MAX_FEE_PPM,
        expiry_s=header.matched_at_s + LIFETIME_S,
        lane=plan.lane,
        seq=first_seq + plan.turn,
        post_only=plan.is_maker,
        time_in_force=TimeInForce.GTC if plan.is_maker else TimeInForce.IOC,
    )
    signer = session_key_of(key) if is_full else key
    r, vs = signer.sign(digest(order, venue.domain_separator))
    signed = SignedOrder(order=order, r=r, vs=vs)
    return build_order_record(signed, taker_fee_ppm=TAKER_FEE_PPM, maker_fee_ppm=MAKER_FEE_PPM, session_key=is_full)


def compute_signature_offsets(payload: Payload) -> list[int]:
    """Return where r of each order lies in the payload, in table order (orders here carry no trigger)."""
    n_head_bytes = 64 + 32 * ((8 * len(payload.fills) + 31) // 32) + 32 * len(payload.rows)
    at = n_head_bytes + 32 * ((len(payload.evidence) + 31) // 32) + 160 * len(payload.operations)
    offsets = []
    for account in payload.accounts:
        at += 32
        for _ in account.orders:
            offsets.append(at + 32)
            at += 96
    return offsets
