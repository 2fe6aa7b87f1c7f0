"""A small venue on the deployed contracts: eight markets at 10,000 ticks, keys that sign, one batch at a time.

What a test wants to attack it changes here by one argument; everything else is honest. Prices: 100 USD, ticks of 0.01,
band 10 %, settlement margin 6 %, initial 10 %; 450 ppm for takers, 100 for makers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
from eth_utils.address import to_checksum_address

from afterbell.domain.batch import (
    AccountRecord,
    BatchHeader,
    FillRow,
    OperationRow,
    OrderRecord,
    Payload,
    PriceRow,
    build_operation_row,
    build_order_record,
    encode,
)
from afterbell.domain.digests import build_proof, build_tree
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import AccountId
from afterbell.domain.order import (
    CancelAll,
    CancelOrder,
    Operation,
    Order,
    SignedOrder,
    TimeInForce,
    Transfer,
    Withdraw,
)
from afterbell.domain.words import AccountWord, BatchWord, LaneWord, PositionWord, PriceWord, RulesWord, TotalsWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest
from tests.support.chain import CHAIN_ID, SEQUENCER, START_S, Chain, Event, Reverted

USDC: Final = 1_000_000
T: Final = START_S
TICKS: Final = 10_000
E8_PER_TICK: Final = 10**6
REGULAR: Final = 2
MAKER, TAKER, THIRD = (SigningKey(bytes([number]) * 32) for number in (0x11, 0x22, 0x33))
PUBLISHERS: Final = sorted(
    (SigningKey((0xFEED + number).to_bytes(32, "big")) for number in range(4)), key=lambda key: key.address
)
STRANGER: Final = SigningKey(b"\x77" * 32)
RULES: Final = RulesWord(
    initial_margin_ppm=100_000, settlement_margin_ppm=60_000, maintenance_margin_ppm=50_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=1_000_000, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=10, price_step_ticks=5, min_notional_quote=USDC, max_fee_ppm=1_000,
)  # fmt: skip


def address_of(key: SigningKey) -> str:
    return str(to_checksum_address(key.address))


def account_of(key: SigningKey, subaccount: int = 0) -> int:
    return int.from_bytes(key.address, "big") << 80 | subaccount


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """Expect a revert with exactly this reason. An empty one is the compiler's own check."""
    with pytest.raises(Reverted) as caught:
        yield
    assert caught.value.reason == reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One leaf, packed here by hand: the domain's own packing is not trusted by these tests."""

    market: int = 1
    session: int = REGULAR
    price_e8: int = TICKS * E8_PER_TICK
    confidence_e8: int = 0

    def pack(self) -> bytes:
        return (
            bytes([self.market, self.session])
            + self.price_e8.to_bytes(8, "big")
            + self.confidence_e8.to_bytes(8, "big")
            + bytes(14)
        )


def build_evidence(
    reports: Sequence[Report],
    *,
    publish_time_s: int,
    domain_separator: bytes,
    signers: Sequence[SigningKey] | None = None,
    source_id: int = 0,
    carried: Sequence[int] | None = None,
    sort: bool = True,
) -> bytearray:
    """Return evidence of one section over a tree of all reports that carries some of them."""
    moment = publish_time_s.to_bytes(4, "big")
    leaves = [keccak(keccak(report.pack() + bytes([source_id]) + moment)) for report in reports]
    levels = build_tree(leaves)
    root = levels[-1][0]
    message = digest(PriceRoot(root=root, publish_time_s=publish_time_s), domain_separator)
    chosen = list(PUBLISHERS[:2] if signers is None else signers)
    if sort:
        chosen.sort(key=lambda key: key.address)
    indices = range(len(reports)) if carried is None else carried
    section = bytearray([source_id]) + moment + bytes([len(chosen), len(indices)]) + root
    for signer in chosen:
        section += b"".join(signer.sign(message))
    for index in indices:
        proof = build_proof(levels, index)
        section += reports[index].pack() + bytes([len(proof)]) + b"".join(proof)
    return bytearray(len(section).to_bytes(2, "big")) + section


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a batch said: codes in the order the test named things, and every log."""

    operations: list[int]
    orders: list[int]
    fills: list[int]
    events: list[Event]

    def position_changes(self) -> dict[int, tuple[int, int]]:
        """Return (change, resulting word) by account id << 16 | market, out of the batch's one log of positions."""
        logs = self.named("PositionsChanged")
        assert len(logs) <= 1
        records = logs[0]["records"] if logs else ()
        return {records[i]: (records[i + 1], records[i + 2]) for i in range(0, len(records), 3)}

    @property
    def is_clean(self) -> bool:
        return not any(self.operations + self.orders + self.fills)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event.args for event in self.events if event.name == name]


@dataclass(slots=True)
class Venue:
    """A chain with listed, priced markets and rich maker and taker."""

    chain: Chain
    seq: int = 100
    index_of: dict[int, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        *,
        rules: RulesWord = RULES,
        n_markets: int = 8,
        token: str = "TestStablecoin",
        make_token: Callable[[Chain], str] | None = None,
        make_uptime_feed: Callable[[Chain], str] | None = None,
        chain_id: int = CHAIN_ID,
        deposit_quote: int = 10_000 * USDC,
        is_priced: bool = True,
        machine: Any = None,
    ) -> Venue:
        chain = Chain.deploy(
            token=token, make_token=make_token, publishers=[address_of(key) for key in PUBLISHERS[:3]], threshold=2,
            chain_id=chain_id, machine=machine, make_uptime_feed=make_uptime_feed,
        )  # fmt: skip
        venue = cls(chain)
        for market in range(1, n_markets + 1):
            chain.list_market(market, rules.pack())
        if is_priced:
            # 16 reports with their proofs fit one evidence
            for first in range(1, n_markets + 1, 16):
                venue.set_prices(dict.fromkeys(range(first, min(first + 16, n_markets + 1)), TICKS))
        if deposit_quote:
            for key in (MAKER, TAKER):
                chain.deposit(account_of(key), deposit_quote)
        return venue

    # Making messages.

    def order(
        self,
        key: SigningKey,
        *,
        is_buy: bool,
        signer: SigningKey | None = None,
        record_changes: dict[str, Any] | None = None,
        fees: tuple[int, int] = (100, 450),
        domain: bytes | None = None,
        **changes: Any,
    ) -> tuple[int, OrderRecord]:
        """Return (account, record) of 1,000 lots at 10,000 ticks with changes, signed as it then stands."""
        self.seq += 1
        order = Order(
            owner=key.address, market_id=1, is_buy=is_buy, size_lots=1_000, limit_ticks=TICKS, max_fee_ppm=500,
            expiry_s=self.chain.time_s + 60, lane=1 if is_buy else 2, seq=self.seq,
        )  # fmt: skip
        order = replace(order, **changes)
        r, vs = (signer or key).sign(digest(order, domain or self.chain.domain_separator))
        record = build_order_record(SignedOrder(order=order, r=r, vs=vs), maker_fee_ppm=fees[0], taker_fee_ppm=fees[1])
        return order.account_id, replace(record, **(record_changes or {}))

    def operation(
        self,
        message: Operation,
        *,
        signer: SigningKey | None = None,
        domain: bytes | None = None,
        account: int | None = None,
    ) -> OperationRow:
        """Return the row of a signed operation; `account` claims it for another account."""
        keys = {key.address: key for key in (MAKER, TAKER, THIRD)}
        r, vs = (signer or keys[message.owner]).sign(digest(message, domain or self.chain.domain_separator))
        row = build_operation_row(message, r=r, vs=vs)
        return row if account is None else replace(row, account_id=AccountId(account))

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def withdraw(self, key: SigningKey, quote: int, *, recipient: str | None = None, **changes: Any) -> OperationRow:
        message = Withdraw(
            owner=key.address, quote=quote, recipient=bytes.fromhex((recipient or address_of(key))[2:]),
            expiry_s=self.chain.time_s + 60, seq=self._next_seq(),
        )  # fmt: skip
        return self.operation(replace(message, **changes))

    def transfer(self, key: SigningKey, quote: int, to_subaccount: int, **changes: Any) -> OperationRow:
        message = Transfer(
            owner=key.address, quote=quote, to_subaccount=to_subaccount, expiry_s=self.chain.time_s + 60,
            seq=self._next_seq(),
        )  # fmt: skip
        return self.operation(replace(message, **changes))

    def cancel(self, key: SigningKey, order: OrderRecord | int, **changes: Any) -> OperationRow:
        nonce = order if isinstance(order, int) else order.lane << 40 | order.seq
        message = CancelOrder(
            owner=key.address, order_nonce=nonce, expiry_s=self.chain.time_s + 60, seq=self._next_seq()
        )
        return self.operation(replace(message, **changes))

    def cancel_all(self, key: SigningKey, min_seq: int, **changes: Any) -> OperationRow:
        message = CancelAll(owner=key.address, min_seq=min_seq, expiry_s=self.chain.time_s + 60, seq=self._next_seq())
        return self.operation(replace(message, **changes))

    def pair(
        self, *, maker_buys: bool = False, maker: dict[str, Any] | None = None, taker: dict[str, Any] | None = None
    ) -> list[tuple[int, OrderRecord]]:
        """Return a maker's and a taker's order that cross."""
        return [
            self.order(MAKER, is_buy=maker_buys, **(maker or {})),
            self.order(TAKER, is_buy=not maker_buys, **({"time_in_force": TimeInForce.IOC} | (taker or {}))),
        ]

    # Settling.

    def evidence(self, reports: Sequence[Report], **changes: Any) -> bytes:
        """Return evidence two publishers signed just now, with changes."""
        defaults: dict[str, Any] = {
            "publish_time_s": self.chain.time_s,
            "domain_separator": self.chain.price_domain_separator,
        }
        return bytes(build_evidence(reports, **(defaults | changes)))

    def table(
        self,
        orders: Sequence[tuple[int, OrderRecord]] = (),
        fills: Sequence[tuple[int, int, int]] = (),
        operations: Sequence[OperationRow] = (),
        *,
        rows: Sequence[PriceRow] = (),
        evidence: bytes = b"",
        extra_accounts: Sequence[int] = (),
        **header: Any,
    ) -> Payload:
        """Return the next batch; fills name orders by their place in `orders`."""
        accounts = sorted({account for account, _ in orders} | set(extra_accounts))
        self.index_of = {}
        records = []
        for account in accounts:
            places = [place for place, (owner, _) in enumerate(orders) if owner == account]
            places.sort(key=lambda place: orders[place][1].lane)
            for place in places:
                self.index_of[place] = len(self.index_of)
            records.append(
                AccountRecord(account_id=account, orders=tuple(orders[place][1] for place in places))  # type: ignore[arg-type]
            )
        first = BatchHeader(sequence=self.chain.sequence + 1, matched_at_s=self.chain.time_s)
        return Payload(
            header=replace(first, **header),
            fills=tuple(
                FillRow(maker_order=self.index_of[maker], taker_order=self.index_of[taker], size_lots=lots)
                for maker, taker, lots in fills
            ),
            rows=tuple(rows),
            evidence=evidence,
            operations=tuple(operations),
            accounts=tuple(records),
        )

    def settle(
        self,
        orders: Sequence[tuple[int, OrderRecord]] = (),
        fills: Sequence[tuple[int, int, int]] = (),
        operations: Sequence[OperationRow] = (),
        **table: Any,
    ) -> Settled:
        """Settle the next batch and check what holds after every batch."""
        payload = self.table(orders, fills, operations, **table)
        self.chain.settle(encode(payload))
        settled = self._read(payload)
        self.check_books()
        return settled

    def _read(self, payload: Payload) -> Settled:
        events = self.chain.events()
        n_operations, n_orders = len(payload.operations), payload.n_orders
        codes = bytes(n_operations + n_orders + len(payload.fills))
        for event in events:
            if event.name == "BatchFailures":
                codes = event.args["codes"]
        return Settled(
            operations=list(codes[:n_operations]),
            orders=[codes[n_operations + self.index_of[place]] for place in range(n_orders)],
            fills=list(codes[n_operations + n_orders :]),
            events=events,
        )

    def trade(
        self, lots: int = 1_000, *, maker_buys: bool = False, maker: dict[str, Any] | None = None,
        taker: dict[str, Any] | None = None, **table: Any,
    ) -> Settled:  # fmt: skip
        """Settle one fill between maker and taker."""
        return self.settle(self.pair(maker_buys=maker_buys, maker=maker, taker=taker), [(0, 1, lots)], **table)

    def set_prices(self, ticks: dict[int, int], **changes: Any) -> Settled:
        """Report prices and move marks as far as they may."""
        reports = [Report(market=market, price_e8=price * E8_PER_TICK) for market, price in ticks.items()]
        rows = [PriceRow(market_id=market, mark_ticks=price, index_ticks=price) for market, price in ticks.items()]
        return self.settle(rows=rows, evidence=self.evidence(reports, **changes))

    def wait(self, seconds: int) -> None:
        self.chain.set_time(self.chain.time_s + seconds)

    # Reading.

    def account(self, account: int) -> AccountWord:
        return AccountWord.unpack(self.chain.call("Clearinghouse", "account_word", account))

    def position(self, account: int, market: int = 1) -> PositionWord:
        return PositionWord.unpack(self.chain.call("Clearinghouse", "position_word", account, market))

    def lane(self, account: int, lane: int) -> tuple[int, int]:
        """Return (seq, filled lots)."""
        if lane == 0:
            word = self.account(account)
            return word.lane0_seq, word.lane0_filled_lots
        pair = LaneWord.unpack(self.chain.call("Clearinghouse", "lane_word", account, lane))
        return (pair.odd_seq, pair.odd_filled_lots) if lane & 1 else (pair.even_seq, pair.even_filled_lots)

    def price(self, market: int = 1) -> PriceWord:
        return PriceWord.unpack(self.chain.call("Clearinghouse", "price_word", market))

    def totals(self, market: int = 1) -> TotalsWord:
        return TotalsWord.unpack(self.chain.call("Clearinghouse", "totals_word", market))

    def batch(self) -> BatchWord:
        return BatchWord.unpack(self.chain.call("Clearinghouse", "batch_word"))

    def claim_of(self, recipient: str) -> int:
        return int(self.chain.call("Vault", "claims_quote", recipient))

    def balance_of(self, address: str) -> int:
        return int(self.chain.call("token", "balanceOf", address))

    def check_books(self) -> None:
        """Hold the solvency identity, computed here from raw words: no contract of ours adds it up for us."""
        chain = self.chain
        batch = self.batch()
        totals = [TotalsWord.unpack(chain.read_word("totals", market)) for market in range(1, 33)]
        owed = (
            batch.collateral_quote + batch.fees_quote
            - sum(total.net_entry_quote - total.pot_quote for total in totals)
        )  # fmt: skip
        assert owed + chain.call("Vault", "total_claims_quote") == chain.call("Vault", "tracked_quote")


__all__ = ["SEQUENCER", "Settled", "Venue"]
