"""Bulk orders: one signature over a tree of orders, each proven by its path, each with its own lane, seq and fills."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import StatusCode
from afterbell.domain.digests import ORDER_TREE_TYPE
from afterbell.domain.hashing import keccak
from afterbell.domain.order import Order
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import struct_hash
from tests.contracts.venue import MAKER, STRANGER, TAKER, TICKS, Venue, account_of

BAD = StatusCode.BAD_SIGNATURE
BULK = 1 << 9


@pytest.fixture(scope="module")
def opened() -> Venue:
    return Venue.open()


def asks(venue: Venue, lanes: tuple[int, ...] = (5, 6, 7)) -> list[Order]:
    """Return three asks of the maker."""
    venue.seq += 10
    return [
        Order(
            owner=MAKER.address, market_id=1, is_buy=False, size_lots=1_000, limit_ticks=TICKS, max_fee_ppm=500,
            expiry_s=venue.chain.time_s + 60, lane=lane, seq=venue.seq + place,
        )
        for place, lane in enumerate(lanes)
    ]  # fmt: skip


def parent(a: bytes, b: bytes) -> bytes:
    return keccak(min(a, b) + max(a, b))


def signed(
    venue: Venue, orders: list[Order], signer: SigningKey = MAKER, **fields: Any
) -> list[tuple[int, OrderRecord]]:
    """Return the records of three orders under one root: ((0, 1), 2), hashed here by hand."""
    a, b, c = (struct_hash(order) for order in orders)
    root = parent(parent(a, b), c)
    struct = keccak(keccak(ORDER_TREE_TYPE.encode()) + root)
    r, vs = signer.sign(keccak(b"\x19\x01" + venue.chain.domain_separator + struct))
    proofs = ((b, c), (a, c), (parent(a, b),))
    return [
        (
            account_of(MAKER),
            OrderRecord(
                market_id=order.market_id, flags=BULK, lane=order.lane, seq=order.seq, size_lots=order.size_lots,
                limit_ticks=order.limit_ticks, max_fee_ppm=order.max_fee_ppm, taker_fee_ppm=450, maker_fee_ppm=100,
                expiry_s=order.expiry_s, r=r, vs=vs, proof=proof, **fields,
            ),
        )
        for order, proof in zip(orders, proofs, strict=True)
    ]  # fmt: skip


def test_bulk__three_orders_under_one_signature__fill_each_in_its_lane(opened: Venue) -> None:
    with opened.chain.undone():
        records = signed(opened, asks(opened))
        bid = opened.order(TAKER, is_buy=True, size_lots=3_000)

        settled = opened.settle([*records, bid], [(0, 3, 100), (1, 3, 200), (2, 3, 300)])

        assert settled.is_clean
        assert [opened.lane(account_of(MAKER), lane)[1] for lane in (5, 6, 7)] == [100, 200, 300]


def test_bulk__signed_by_somebody_else__fails(opened: Venue) -> None:
    assert opened.settle(signed(opened, asks(opened), signer=STRANGER)).orders == [BAD] * 3


@pytest.mark.parametrize("bit", [0, 7, 100, 255])
def test_bulk__any_bit_of_a_proof_flipped__fails(opened: Venue, bit: int) -> None:
    account, record = signed(opened, asks(opened))[0]
    for place in range(2):
        proof = list(record.proof)
        proof[place] = (int.from_bytes(proof[place], "big") ^ 1 << bit).to_bytes(32, "big")
        assert opened.settle([(account, replace(record, proof=tuple(proof)))]).orders == [BAD]


@pytest.mark.parametrize(
    ("field", "change"),
    [("lane", 1), ("seq", 1), ("size_lots", 10), ("limit_ticks", 5), ("max_fee_ppm", 1), ("expiry_s", -1)],
)
def test_bulk__field_of_a_leaf_changed__fails(opened: Venue, field: str, change: int) -> None:
    account, record = signed(opened, asks(opened))[1]

    changed = replace(record, **{field: getattr(record, field) + change})

    assert opened.settle([(account, changed)]).orders == [BAD]


def test_bulk__without_its_flag_or_its_path__fails(opened: Venue) -> None:
    """The root's signature signs no order by itself, and an order's signature no root."""
    account, record = signed(opened, asks(opened))[0]

    assert opened.settle([(account, replace(record, flags=0, proof=()))]).orders == [BAD]
    assert opened.settle([(account, replace(record, proof=()))]).orders == [BAD]
    assert opened.settle([(account, replace(record, proof=record.proof[:1]))]).orders == [BAD]
    _, plain = opened.order(MAKER, is_buy=False)
    assert opened.settle([(account, replace(plain, flags=plain.flags | BULK))]).orders == [BAD]


def test_bulk__on_another_chain__fails() -> None:
    home, away = Venue.open(), Venue.open(chain_id=1)

    records = signed(home, asks(home))

    assert home.settle(records).orders == [0] * 3
    assert away.settle(records).orders == [BAD] * 3
