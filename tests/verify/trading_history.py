"""A short true history on real contracts.

Deposits, prices with evidence, fills of both signs, a close to zero, a failed fill, an ignored report, withdrawals, a
paid claim and an unpaid one, cancellations, a heartbeat; session keys linked directly, by signature, by approval and
with a deposit, orders and a cancellation they sign, revocations, a cancel-all and tighter rules made on chain.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from afterbell.bench.local_venue import LocalVenue, Mined, build_call
from afterbell.bench.scenarios import build_keys
from afterbell.domain.batch import (
    OPERATION_APPROVED,
    OPERATION_SESSION_KEY,
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
from afterbell.domain.order import (
    CancelAll,
    CancelOrder,
    LinkKey,
    Operation,
    Order,
    RevokeKey,
    SignedOrder,
    TimeInForce,
    Transfer,
    Withdraw,
)
from afterbell.domain.words import SessionKeyWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import digest

AAPL, MSFT = 1, 2
ALL_MARKETS = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Participants:
    """Who trades. third trades with subaccount 7; each has a session key of the same name."""

    maker: SigningKey
    taker: SigningKey
    third: SigningKey
    maker_key: SigningKey
    taker_key: SigningKey
    third_key: SigningKey
    late_key: SigningKey
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
        operations: Sequence[tuple[SigningKey | None, Operation]] = (),
    ) -> Mined:
        """Settle one batch; fills are (maker, taker, lots) by index into `orders`, operations run before them.

        Who signs what is not its own signs as a session key; nobody stands for an approved digest.
        """
        records: dict[int, list[tuple[int, int, OrderRecord]]] = {}
        for position, (key, order) in enumerate(orders):
            r, vs = key.sign(digest(order, self.venue.domain_separator))
            record = build_order_record(
                SignedOrder(order=order, r=r, vs=vs),
                taker_fee_ppm=450,
                maker_fee_ppm=150,
                session_key=key.address != order.owner,
            )
            records.setdefault(order.account_id, []).append((order.lane, position, record))
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
            operations=tuple(self._sign(key, message) for key, message in operations),
            accounts=tuple(accounts),
        )
        return self.venue.settle(encode(payload))

    def _sign(self, key: SigningKey | None, message: Operation) -> OperationRow:
        r, vs, flags = bytes(32), bytes(32), OPERATION_APPROVED
        if key is not None:
            r, vs = key.sign(digest(message, self.venue.domain_separator))
            flags = 0 if key.address == message.owner else OPERATION_SESSION_KEY
        return build_operation_row(message, r=r, vs=vs, flags=flags)


def trade(venue: LocalVenue) -> Participants:
    """Run the history; every batch is one transaction. Ten batches; deposits, keys, rules and siblings in between."""
    maker, taker, third, paid, waiting, maker_key, taker_key, third_key, late_key = build_keys(random.Random(5), 9)
    people = Participants(
        maker=maker, taker=taker, third=third, paid=paid.address, waiting=waiting.address,
        maker_key=maker_key, taker_key=taker_key, third_key=third_key, late_key=late_key,
    )  # fmt: skip
    trader = Trader(venue)
    venue.deposit(maker, 10_000_000_000)
    venue.deposit(taker, 5_000_000_000)
    venue.deposit(third, 2_000_000_000, subaccount=7)
    link_directly(venue, third, 7, third_key)
    venue.set_prices(dict.fromkeys(venue.market_ids, 10000))
    _open(trader, people)
    # Same publish time again: every report is ignored as NOT_NEWER, the mark does not move.
    stale = venue.build_price_payload({AAPL: 10_100}, publish_time_s=venue_last_publish_s(venue))
    venue.settle(encode(stale))
    venue.pass_time(venue.time_s + 30)
    venue.anvil.call("evm_mine")
    _price_with_funding(venue, {AAPL: 10_100, MSFT: 9_900})
    venue.pass_time(venue.time_s + 600)
    venue.anvil.call("evm_mine")
    _price_with_funding(venue, {AAPL: 10_100, MSFT: 9_900})
    _link(trader, people)
    _close(trader, people)
    _withdraw(trader, people)
    _act_directly(venue, people)
    act_as_siblings(venue, people)
    venue.claim(people.paid)
    trader.settle([], [])
    _deposit_and_link(venue, taker, 1_000_000, late_key)
    return people


def build_limits(venue: LocalVenue) -> int:
    """Return the limits of a session key: a day, 10,000 USDC an order, every market, trade only."""
    return SessionKeyWord(
        expiry_s=venue.time_s + 86_400, max_notional_quote=10**10, markets=ALL_MARKETS, trade_only=True
    ).pack()


def link_directly(venue: LocalVenue, owner: SigningKey, subaccount: int, key: SigningKey) -> None:
    """Link a key on chain."""
    words = (subaccount, int.from_bytes(key.address, "big"), build_limits(venue))
    call_operations(venue, owner, "link_key(uint80,address,uint256)", *words)


def call_operations(venue: LocalVenue, owner: SigningKey, function: str, *words: int) -> None:
    """Have an owner call Operations."""
    operations = venue.manifest.get_address("operations")
    venue.transact(owner.address, operations, build_call(function, *words))


def _deposit_and_link(venue: LocalVenue, owner: SigningKey, quote: int, key: SigningKey) -> None:
    """Deposit and link in one transaction: two direct operations."""
    vault = int.from_bytes(venue.vault, "big")
    mint = build_call("mint(address,uint256)", int.from_bytes(owner.address, "big"), quote)
    venue.transact(owner.address, venue.token, mint)
    venue.transact(owner.address, venue.token, build_call("approve(address,uint256)", vault, quote))
    words = (0, quote, int.from_bytes(key.address, "big"), build_limits(venue))
    call = build_call("deposit_and_link(uint80,uint256,address,uint256)", *words)
    venue.transact(owner.address, venue.vault, call)


def build_link(venue: LocalVenue, owner: SigningKey, key: SigningKey) -> LinkKey:
    """Return the signed form of a link."""
    return LinkKey(
        owner=owner.address,
        key=key.address,
        key_expiry_s=venue.time_s + 86_400,
        max_notional_quote=10**10,
        markets=ALL_MARKETS,
        expiry_s=venue.time_s + 600,
        seq=250,
    )


def _link(trader: Trader, people: Participants) -> None:
    """The taker approves the digest of its link on chain, the maker signs its own."""
    venue = trader.venue
    approved = build_link(venue, people.taker, people.taker_key)
    approved_digest = digest(approved, venue.domain_separator)
    call_operations(venue, people.taker, "approve(bytes32)", int.from_bytes(approved_digest, "big"))
    signed = build_link(venue, people.maker, people.maker_key)
    mined = trader.settle([], [], [(None, approved), (people.maker, signed)])
    assert mined.codes == b"", mined.codes.hex()


def _act_directly(venue: LocalVenue, people: Participants) -> None:
    """Third revokes its key, the maker cancels everything old, the guardian narrows a band."""
    third_key = int.from_bytes(people.third_key.address, "big")
    call_operations(venue, people.third, "revoke_key(uint80,address)", 7, third_key)
    call_operations(venue, people.maker, "cancel_all(uint80,uint40)", 0, 90)
    guardian = bytes.fromhex(venue.manifest.guardian[2:])
    rules = int.from_bytes(venue.call(venue.clearinghouse, "rules_word(uint256,uint256)", MSFT, 5), "big")
    tighter = build_call("tighten_rules(uint256,uint256,uint256)", MSFT, 5, rules - (1_000 << 60))
    venue.transact(guardian, venue.manifest.get_address("market_registry"), tighter)


def _price_with_funding(venue: LocalVenue, ticks: dict[int, int]) -> None:
    """Price markets by rows that accrue funding; the first such row only starts its clock."""
    header = venue.next_header()
    rows, evidence = venue.build_prices(ticks, header.matched_at_s, is_funding=True)
    venue.settle(encode(Payload(header=header, rows=rows, evidence=evidence)))


def apply_deltas(
    venue: LocalVenue, market: int, deltas: Sequence[tuple[int, int, int, int]], pot_change_quote: int = 0
) -> Mined:
    """Have Liquidations move positions: (account, lots, entry, collateral) each, accounts ascending."""
    signature = "apply_deltas(uint256,(uint256,int256,int256,int256)[],int256)"
    words = [market, 96, pot_change_quote, len(deltas), *(number for delta in sorted(deltas) for number in delta)]
    call = build_call(signature, *(word % (1 << 256) for word in words))
    return venue.transact(venue.manifest.get_address("liquidations"), venue.clearinghouse, call)


def act_as_siblings(venue: LocalVenue, people: Participants) -> None:
    """Liquidations takes 1,000 lots of third over, a dividend moves MSFT, Exits pays and enters and leaves its mode."""
    third, maker = account_of(people.third, 7), account_of(people.maker)
    apply_deltas(venue, MSFT, [(third, 1_000, 9_950_000, -20), (maker, -1_000, -9_950_000, 20)])
    price = int.from_bytes(venue.call(venue.clearinghouse, "price_word(uint256)", MSFT), "big")
    index = int.from_bytes(venue.call(venue.clearinghouse, "index_word(uint256)", MSFT), "big")
    # Epoch 2, and a reserve of 7 ticks announced.
    call = build_call("move_market(uint256,uint256,uint256)", MSFT, price + (1 << 208), index | 7 << 232)
    venue.transact(venue.manifest.get_address("corporate_actions"), venue.clearinghouse, call)
    exits = venue.manifest.get_address("exits")
    paid = int.from_bytes(people.waiting, "big")
    call = build_call("withdraw_to_claim(uint256,address,uint256)", maker, paid, 3_000_000)
    venue.transact(exits, venue.clearinghouse, call)
    for mode in (1, 0):
        venue.transact(exits, venue.clearinghouse, build_call("set_mode(uint256)", mode))


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
    """Taker sells all its AAPL to third: back to zero, its profit becomes collateral. Both sign by session keys."""
    orders = [
        (people.third_key, trader.order(people.third, AAPL, 10_000, 10_100, 200, subaccount=7, lane=4)),
        (people.taker_key, trader.order(people.taker, AAPL, -10_000, 10_050, 200, reduce_only=True)),
    ]
    mined = trader.settle(orders, [(0, 1, 10_000)])
    assert mined.codes == b"", mined.codes.hex()


def _withdraw(trader: Trader, people: Participants) -> None:
    """Taker and third withdraw, third moves 5 USDC to subaccount 8, keys and orders are cancelled."""
    expiry_s = trader.venue.time_s + 600
    operations: list[tuple[SigningKey | None, Operation]] = [
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
            people.maker_key,
            CancelOrder(owner=people.maker.address, order_nonce=build_nonce(2, 100), expiry_s=expiry_s, seq=300),
        ),
        (
            people.third,
            Transfer(
                owner=people.third.address, subaccount=7, quote=5_000_000, to_subaccount=8, expiry_s=expiry_s, seq=301
            ),
        ),
        (
            people.maker,
            RevokeKey(owner=people.maker.address, key=people.maker_key.address, expiry_s=expiry_s, seq=301),
        ),
        (
            people.third,
            CancelAll(owner=people.third.address, subaccount=7, min_seq=250, expiry_s=expiry_s, seq=302),
        ),
    ]
    mined = trader.settle([], [], operations)
    assert mined.codes == b"", mined.codes.hex()
