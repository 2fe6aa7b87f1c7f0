"""What reverts a whole batch: sender, header, encoding; and what the head commits to."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from afterbell.domain.batch import AccountRecord, FillRow, Payload, PriceRow, encode
from afterbell.domain.hashing import keccak
from tests.contracts.desk import LOTS, MARKET, PRICE_TICKS, Desk, Placed
from tests.support.chain import OUTSIDER, Reverted


def _reason(desk: Desk, payload: bytes, **options: Any) -> str:
    with pytest.raises(Reverted) as caught:
        desk.chain.settle(payload, **options)
    return caught.value.reason


def _table(desk: Desk) -> Payload:
    """Return a batch of one maker and one taker, one account each, with one fill."""
    orders = sorted(desk.pair(), key=lambda placed: placed.account_id)
    return Payload(
        header=desk.header(),
        fills=(FillRow(maker_order=0, taker_order=1, size_lots=LOTS),),
        accounts=tuple(AccountRecord(account_id=p.account_id, orders=(p.record,)) for p in orders),
    )


def test_settle__empty_batch__moves_head_and_sequence(desk: Desk) -> None:
    payload = encode(Payload(header=desk.header(journal_hash=b"\x07" * 32)))
    before = desk.chain.head

    desk.chain.settle(payload)

    event = desk.chain.events()[0].args
    assert event["head"] == desk.chain.head == keccak(before + keccak(payload) + bytes(32))
    assert event["journal_hash"] == b"\x07" * 32
    assert desk.chain.sequence == event["sequence"]


def test_settle__failures__head_commits_to_the_codes(desk: Desk) -> None:
    table = _table(desk)
    payload = encode(replace(table, fills=(FillRow(maker_order=0, taker_order=1, size_lots=0),)))
    before = desk.chain.head

    desk.chain.settle(payload)

    failures, settled = desk.chain.events()
    assert (failures.name, failures.args["codes"], settled.args["n_failures"]) == ("BatchFailures", b"\0\0\x21", 1)
    assert desk.chain.head == keccak(before + keccak(payload) + keccak(b"\0\0\x21"))


def test_settle__header__every_field_is_checked(desk: Desk) -> None:
    header = desk.header()

    def reason(**changes: Any) -> str:
        return _reason(desk, encode(Payload(header=replace(header, **changes))))

    good = encode(Payload(header=header))
    assert _reason(desk, good, sender=OUTSIDER) == "batch: not sequencer"
    assert _reason(desk, good, previous_head=b"\1" * 32) == "batch: head"
    assert _reason(desk, b"\x01" + good[1:]) == "batch: version"
    assert reason(sequence=header.sequence + 1) == "batch: sequence"
    assert reason(sequence=header.sequence - 1) == "batch: sequence"
    assert reason(matched_at_s=desk.chain.time_s + 1) == "batch: matched at"
    assert reason(matched_at_s=desk.chain.time_s - 1) == "batch: matched at"  # before the last batch
    assert reason(direct_op=3) == "batch: direct op"  # two deposits were made
    desk.chain.settle(encode(Payload(header=replace(header, direct_op=2))))


def test_settle__matched_at__as_old_as_the_settle_lag(desk: Desk) -> None:
    matched_at_s = desk.chain.time_s
    desk.age_prices(301)
    assert _reason(desk, encode(Payload(header=desk.header(matched_at_s=matched_at_s)))) == "batch: matched at"

    desk.chain.settle(encode(Payload(header=desk.header(matched_at_s=matched_at_s + 1))))


def test_settle__same_batch_again__refused(desk: Desk) -> None:
    payload, head = encode(_table(desk)), desk.chain.head
    desk.chain.settle(payload)

    assert _reason(desk, payload, previous_head=head) == "batch: head"
    assert _reason(desk, payload) == "batch: sequence"


def test_settle__length__exact_to_the_byte(desk: Desk) -> None:
    payload = encode(_table(desk))

    for length in (0, 63, 64, 95, 96, 127, 159, 160, len(payload) - 97, len(payload) - 96, len(payload) - 1):
        assert _reason(desk, payload[:length]) == "batch: length", length
    assert _reason(desk, payload + b"\0") == "batch: length"
    desk.chain.settle(payload)


def test_settle__counts__above_their_bounds(desk: Desk) -> None:
    good = encode(Payload(header=desk.header()))
    for at, count in ((16, 33), (17, 17), (18, 113), (19, 113)):
        assert _reason(desk, good[:at] + bytes([count]) + good[at + 1 :]) == "batch: too many"
    assert _reason(desk, good[:20] + struct.pack(">H", 209) + good[22:]) == "batch: too many"
    assert _reason(desk, good[:22] + struct.pack(">H", 4_097) + good[24:]) == "batch: too many"


def test_settle__tables__ascend_and_add_up(desk: Desk) -> None:
    table = _table(desk)
    first, second = table.accounts
    payload = encode(table)

    assert _reason(desk, encode(replace(table, accounts=(second, first)))) == "batch: account order"
    assert _reason(desk, encode(replace(table, accounts=(first, first)))) == "batch: account order"
    assert _reason(desk, payload[:19] + b"\x01" + payload[20:]) == "batch: order count"
    assert _reason(desk, encode(replace(table, fills=(FillRow(maker_order=0, taker_order=2, size_lots=1),)))) == (
        "batch: fill index"
    )
    no_orders = Payload(header=desk.header(), fills=table.fills * 5)
    assert _reason(desk, encode(no_orders)) == "batch: fill index"


def test_settle__lanes__sorted(desk: Desk) -> None:
    orders: list[Placed] = [desk.order(desk.maker, buy=False, lane=lane) for lane in (3, 2)]
    account = AccountRecord(account_id=orders[0].account_id, orders=tuple(placed.record for placed in orders))

    assert _reason(desk, encode(Payload(header=desk.header(), accounts=(account,)))) == "batch: lane order"


def test_settle__price_rows__known_markets_in_order(desk: Desk) -> None:
    def rows(*markets: int) -> bytes:
        return encode(
            Payload(
                header=desk.header(),
                rows=tuple(PriceRow(market_id=m, mark_ticks=PRICE_TICKS, index_ticks=PRICE_TICKS) for m in markets),
            )
        )

    assert _reason(desk, rows(2, 1)) == "prices: market order"
    assert _reason(desk, rows(1, 1)) == "prices: market order"
    assert _reason(desk, rows(0)) == "prices: market order"
    assert _reason(desk, rows(20)) == "prices: unknown market"
    assert _reason(desk, rows(33)) == "prices: unknown market"
    assert _reason(desk, rows(255)) == "prices: unknown market"
    desk.chain.write_word("prices", MARKET, 1 << 208)
    assert _reason(desk, rows(1)) == "prices: no external"
    desk.chain.settle(rows(2, 3))


@pytest.mark.parametrize(
    ("variable", "word"),
    [("accounts", (1 << 71) - 1), ("positions", ((1 << 92) - 1) << 64)],
    ids=["collateral", "entry"],
)
def test_settle__number_leaves_its_lane__reverts(desk: Desk, variable: str, word: int) -> None:
    """States nobody reaches: the largest collateral, an entry at its bound."""
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    taker = desk.account(desk.taker) << 16
    if variable == "accounts":
        kept = desk.chain.read_word("accounts", taker) >> 72 << 72
        desk.chain.write_word("accounts", taker, kept | word)
        orders = [desk.order(desk.maker, buy=True, ticks=10_500), desk.order(desk.taker, buy=False, ticks=10_500)]
        expected = "word: collateral range"
    else:
        desk.chain.write_word("accounts", taker, desk.chain.read_word("accounts", taker) >> 72 << 72 | (1 << 71) - 1)
        desk.chain.write_word("positions", taker | MARKET, (-(1 << 92) & (1 << 96) - 1) << 64 | LOTS)
        orders = [desk.order(desk.maker, buy=True), desk.order(desk.taker, buy=False)]
        expected = "word: entry range"
    table = [(0, 1, LOTS if variable == "accounts" else 10)]

    with pytest.raises(Reverted, match=expected):
        desk.settle(orders, table)
