"""A short true history on real contracts.

Deposits, prices with evidence, fills of both signs, a close to zero, a failed fill, an ignored report, withdrawals, a
paid claim and an unpaid one, cancellations, a heartbeat.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from afterbell.bench.local_venue import LocalVenue, Mined
from afterbell.bench.scenarios import build_keys
from afterbell.domain.batch import (
    AccountRecord,
    FillRow,
    OperationRow,
    OrderRecord,
    Payload,
    build_operation_row,
    build_order_record,
    encode,
)
from afterbell.domain.ids import AccountId, build_account_id, build_nonce
from afterbell.domain.order import CancelAll, CancelOrder, Order, SignedOrder, TimeInForce, Withdraw
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import digest

AAPL, MSFT = 1, 2
Operation = Withdraw | CancelOrder | CancelAll


@dataclass(frozen=True, slots=True, kw_only=True)
class Participants:
    """Who trades. third trades with subaccount 7."""

    maker: SigningKey
    taker: SigningKey
    third: SigningKey
    paid: bytes
    waiting: bytes


def account_of(key: SigningKey, subaccount: int = 0) -> AccountId:
    return build_account_id(key.address, subaccount)


class Trader:
    """Sign orders and operations and settle them."""

    def __init__(self, venue: LocalVenue) -> None:
        self.venue = venue

    def order(self, key: SigningKey, market: int, lots: int, ticks: int, seq: int, **fields: object) -> Order:
        """Return an order: positive lots buy."""
        return Order(
            owner=key.address,
            market_id=market,
            is_buy=lots > 0,
            size_lots=abs(lots),
            limit_ticks=ticks,
            max_fee_ppm=500,
            expiry_s=self.venue.time_s + 3_600,
            seq=seq,
            **fields,  # type: ignore[arg-type]  # subaccount, lane and flags, by name
        )

    def settle(
        self,
        orders: Sequence[tuple[SigningKey, Order]],
        fills: Sequence[tuple[int, int, int]],
        operations: Sequence[tuple[SigningKey, Operation]] = (),
    ) -> Mined:
        """Settle one batch; fills are (maker, taker, lots) by index into `orders`, operations run after them."""
        records: dict[int, list[tuple[int, int, OrderRecord]]] = {}
        for position, (key, order) in enumerate(orders):
            r, vs = key.sign(digest(order, self.venue.domain_separator))
            record = build_order_record(SignedOrder(order=order, r=r, vs=vs), taker_fee_ppm=450, maker_fee_ppm=150)
            records.setdefault(order.account_id, []).append((order.lane, position, record))
        for _, message in operations:
            records.setdefault(message.account_id, [])
        index_of: dict[int, int] = {}
        accounts = []
        for account in sorted(records):
            own = sorted(records[account], key=lambda entry: entry[:2])
            for _, position, _ in own:
                index_of[position] = len(index_of)
            accounts.append(AccountRecord(account_id=AccountId(account), orders=tuple(entry[2] for entry in own)))
        payload = Payload(
            header=self.venue.next_header(),
            fills=tuple(
                FillRow(maker_order=index_of[maker], taker_order=index_of[taker], size_lots=lots)
                for maker, taker, lots in fills
            ),
            operations=tuple(self._sign(key, message, len(fills), sorted(records)) for key, message in operations),
            accounts=tuple(accounts),
        )
        return self.venue.settle(encode(payload))

    def _sign(self, key: SigningKey, message: Operation, n_fills: int, accounts: list[int]) -> OperationRow:
        r, vs = key.sign(digest(message, self.venue.domain_separator))
        place = accounts.index(message.account_id)
        return build_operation_row(message, before_fill=n_fills, account_index=place, r=r, vs=vs)


def trade(venue: LocalVenue) -> Participants:
    """Run the history; every batch is one transaction. Twelve direct operations and batches in all."""
    maker, taker, third, paid, waiting = build_keys(random.Random(5), 5)
    people = Participants(maker=maker, taker=taker, third=third, paid=paid.address, waiting=waiting.address)
    trader = Trader(venue)
    venue.deposit(maker, 10_000_000_000)
    venue.deposit(taker, 5_000_000_000)
    venue.deposit(third, 2_000_000_000, subaccount=7)
    venue.set_prices(dict.fromkeys(venue.market_ids, 10000))
    _open(trader, people)
    # Same publish time again: every report is ignored as NOT_NEWER, the mark does not move.
    stale = venue.build_price_payload({AAPL: 10_100}, publish_time_s=venue_last_publish_s(venue))
    venue.settle(encode(stale))
    venue.pass_time(venue.time_s + 30)
    venue.anvil.call("evm_mine")
    venue.set_prices({AAPL: 10_100, MSFT: 9_900})
    _close(trader, people)
    _withdraw(trader, people)
    venue.claim(people.paid)
    trader.settle([], [])
    venue.deposit(taker, 1_000_000)
    return people


def venue_last_publish_s(venue: LocalVenue) -> int:
    """Return the publish time of AAPL's last accepted report."""
    word = int.from_bytes(venue.call(venue.clearinghouse, "price_word(uint256)", AAPL), "big")
    return word >> 120 & 0xFFFFFFFFFF


def _open(trader: Trader, people: Participants) -> None:
    """Taker buys 10,000 lots of AAPL; third sells 4,000 of MSFT; the third fill is more than the order has left."""
    orders = [
        (people.maker, trader.order(people.maker, AAPL, -20_000, 10_000, 100, lane=2, post_only=True)),
        (people.maker, trader.order(people.maker, MSFT, 4_000, 10_000, 100, lane=3)),
        (people.taker, trader.order(people.taker, AAPL, 10_000, 10_000, 100, time_in_force=TimeInForce.IOC)),
        (people.third, trader.order(people.third, MSFT, -4_000, 9_990, 100, subaccount=7)),
    ]
    mined = trader.settle(orders, [(0, 2, 10_000), (1, 3, 4_000), (0, 2, 100)])
    assert mined.codes[-3:] == bytes([0, 0, 41 + 64]), mined.codes.hex()


def _close(trader: Trader, people: Participants) -> None:
    """Taker sells all its AAPL to third: back to zero, its profit becomes collateral."""
    orders = [
        (people.third, trader.order(people.third, AAPL, 10_000, 10_100, 200, subaccount=7, lane=4)),
        (people.taker, trader.order(people.taker, AAPL, -10_000, 10_050, 200, reduce_only=True)),
    ]
    mined = trader.settle(orders, [(0, 1, 10_000)])
    assert mined.codes == b"", mined.codes.hex()


def _withdraw(trader: Trader, people: Participants) -> None:
    """Taker and third withdraw, maker cancels one order, third cancels everything up to a seq."""
    expiry_s = trader.venue.time_s + 600
    operations: list[tuple[SigningKey, Operation]] = [
        (
            people.taker,
            Withdraw(
                owner=people.taker.address, quote=1_000_000_000, recipient=people.paid, expiry_s=expiry_s, seq=300
            ),
        ),
        (
            people.third,
            Withdraw(
                owner=people.third.address,
                subaccount=7,
                quote=25_000_000,
                recipient=people.waiting,
                expiry_s=expiry_s,
                seq=300,
            ),
        ),
        (
            people.maker,
            CancelOrder(owner=people.maker.address, order_nonce=build_nonce(2, 100), expiry_s=expiry_s, seq=300),
        ),
        (
            people.third,
            CancelAll(owner=people.third.address, subaccount=7, min_seq=250, expiry_s=expiry_s, seq=301),
        ),
    ]
    mined = trader.settle([], [], operations)
    assert mined.codes == b"", mined.codes.hex()
