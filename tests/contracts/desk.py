"""A small venue for unit tests: three priced markets, funded actors named by role, and batches in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from eth_utils.address import to_checksum_address

from afterbell.domain.batch import (
    OPERATION_APPROVED,
    OPERATION_SESSION_KEY,
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
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence, join_sections
from afterbell.domain.ids import OPERATION_LANE, AccountId, build_account_id
from afterbell.domain.order import (
    CancelAll,
    CancelOrder,
    LinkKey,
    Operation,
    Order,
    RevokeKey,
    SignedOrder,
    Withdraw,
)
from afterbell.domain.session import Session
from afterbell.domain.words import RulesWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest
from tests.support.chain import GOVERNOR, Chain, Event

PRICE_TICKS: Final = 10_000
"""100 USD at lot exponent 4: one lot is 0.01 USD of notional, 10,000 quote units."""
DEPOSIT_QUOTE: Final = 10_000_000_000
MARKET: Final = 1
MARKETS: Final = tuple(range(1, 9))
LOTS: Final = 1_000
FEE_PPM: Final = 500
DAY_S: Final = 86_400
SETTLE_LAG_S: Final = 300

RULES: Final = RulesWord(
    initial_margin_ppm=200_000,
    settlement_margin_ppm=150_000,
    maintenance_margin_ppm=100_000,
    band_ppm=100_000,
    mark_step_ppm=10_000,
    max_age_s=600,
    open_interest_cap_lots=2 * 10**8,
    is_opening_allowed=True,
    is_funding_on=True,
    size_step_lots=10,
    price_step_ticks=5,
    min_notional_quote=5_000_000,
    max_fee_ppm=1_000,
)


def signing_key(name: str) -> SigningKey:
    """Return the key of a role."""
    return SigningKey(name.encode().rjust(32, b"\x01"))


def address_of(key: SigningKey) -> str:
    """Return the address of a key as the ABI wants it."""
    return str(to_checksum_address(key.address))


def as_address(key: SigningKey | bytes) -> bytes:
    """Return the 20 bytes of a key or of an address."""
    return key if isinstance(key, bytes) else key.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """What became of a batch's parts, in the order the test gave them."""

    operations: list[int]
    orders: list[int]
    fills: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A signed order and the account that trades with it."""

    account_id: AccountId
    record: OrderRecord


@dataclass(slots=True)
class Desk:
    """A chain, its roles and the seq of the next order."""

    chain: Chain
    publisher: SigningKey
    maker: SigningKey = field(default_factory=lambda: signing_key("maker"))
    taker: SigningKey = field(default_factory=lambda: signing_key("taker"))
    outsider: SigningKey = field(default_factory=lambda: signing_key("outsider"))
    seq: int = 1_000
    logged: list[Event] = field(default_factory=list)
    """Events of the last batch."""

    @classmethod
    def open(cls, *, rules: RulesWord = RULES, chain_id: int = 31_337) -> Desk:
        """Return a desk whose markets are priced at PRICE_TICKS and whose maker and taker are funded."""
        publisher = signing_key("publisher")
        chain = Chain.deploy(publishers=["0x" + publisher.address.hex()], chain_id=chain_id)
        for market in MARKETS:
            chain.list_market(market, rules.pack())
        desk = cls(chain=chain, publisher=publisher)
        chain.deposit(desk.account(desk.maker), DEPOSIT_QUOTE)
        chain.deposit(desk.account(desk.taker), DEPOSIT_QUOTE)
        desk.settle_prices(PRICE_TICKS)
        return desk

    @staticmethod
    def account(key: SigningKey, subaccount: int = 0) -> AccountId:
        """Return an account of a key."""
        return build_account_id(key.address, subaccount)

    def header(self, **changes: Any) -> BatchHeader:
        """Return a correct header, then with `changes`."""
        header = BatchHeader(sequence=self.chain.sequence + 1, matched_at_s=self.chain.time_s)
        return replace(header, **changes)

    # Prices.

    def evidence(
        self, ticks: int, *, session: int = Session.REGULAR, publish_time_s: int | None = None, **report: Any
    ) -> bytes:
        """Return signed evidence that every market costs `ticks`."""
        time_s = self.chain.time_s if publish_time_s is None else publish_time_s
        reports = [
            PriceReport(
                market_id=market,
                session=session,
                price_e8=report.get("price_e8", ticks * 10**6),
                confidence_e8=report.get("confidence_e8", 0),
            )
            for market in report.get("markets", MARKETS)
        ]
        root, proven = build_proven_reports(reports, time_s)
        message = digest(PriceRoot(root=root, publish_time_s=time_s), self.chain.price_domain_separator)
        section = encode_evidence(
            Evidence(publish_time_s=time_s, root=root, signatures=(self.publisher.sign(message),), reports=proven)
        )
        return join_sections([section])

    def settle_prices(self, ticks: int, *, session: int = Session.REGULAR, mark_ticks: int | None = None) -> None:
        """Settle a batch that prices every market."""
        rows = tuple(
            PriceRow(market_id=market, mark_ticks=mark_ticks or ticks, index_ticks=ticks) for market in MARKETS
        )
        self.settle_payload(Payload(header=self.header(), rows=rows, evidence=self.evidence(ticks, session=session)))

    def age_prices(self, seconds: int) -> None:
        """Let time pass; a batch without prices follows it."""
        self.chain.set_time(self.chain.time_s + seconds)

    def set_rules(self, rules: RulesWord, market: int = MARKET) -> None:
        """Change the rules of the regular session and let the lag pass after which they bind."""
        entries = [(Session.REGULAR, rules.pack())]
        self.chain.call("MarketRegistry", "set_rules", market, entries, sender=GOVERNOR)
        self.age_prices(SETTLE_LAG_S + 1)

    # Orders.

    def order(
        self,
        key: SigningKey,
        *,
        buy: bool,
        lots: int = LOTS,
        ticks: int = PRICE_TICKS,
        subaccount: int = 0,
        maker_fee_ppm: int = 0,
        taker_fee_ppm: int = 0,
        previous_epoch: bool = False,
        signer: SigningKey | None = None,
        by_key: SigningKey | None = None,
        domain_separator: bytes | None = None,
        **changes: Any,
    ) -> Placed:
        """Return a signed order of a key: a fresh seq in lane 0 unless told otherwise. by_key: a session key signs."""
        self.seq += 1
        fields: dict[str, Any] = {
            "owner": key.address,
            "subaccount": subaccount,
            "market_id": MARKET,
            "epoch": 1,
            "is_buy": buy,
            "size_lots": lots,
            "limit_ticks": ticks,
            "max_fee_ppm": FEE_PPM,
            "expiry_s": self.chain.time_s + DAY_S,
            "lane": 0,
            "seq": self.seq,
        }
        order = Order(**(fields | changes))
        r, vs = (by_key or signer or key).sign(digest(order, domain_separator or self.chain.domain_separator))
        record = build_order_record(
            SignedOrder(order=order, r=r, vs=vs),
            taker_fee_ppm=taker_fee_ppm,
            maker_fee_ppm=maker_fee_ppm,
            previous_epoch=previous_epoch,
            session_key=by_key is not None,
        )
        return Placed(account_id=build_account_id(key.address, subaccount), record=record)

    def pair(self, lots: int = LOTS, **changes: Any) -> list[Placed]:
        """Return a selling maker and a buying taker that cross."""
        return [
            self.order(self.maker, buy=False, lots=lots, **changes),
            self.order(self.taker, buy=True, lots=lots, **changes),
        ]

    # Operations.

    def operation(
        self,
        message: Operation,
        key: SigningKey,
        *,
        signer: SigningKey | None = None,
        by_key: SigningKey | None = None,
    ) -> OperationRow:
        """Return an operation of a key's account, signed by it unless told otherwise. by_key: a session key signs."""
        r, vs = (by_key or signer or key).sign(digest(message, self.chain.domain_separator))
        flags = OPERATION_SESSION_KEY if by_key else 0
        return build_operation_row(message, r=r, vs=vs, flags=flags)

    def approved(self, message: Operation) -> OperationRow:
        """Return an operation that claims its owner's approval on chain, without a signature."""
        return build_operation_row(message, r=bytes(32), vs=bytes(32), flags=OPERATION_APPROVED)

    def withdraw(
        self,
        key: SigningKey,
        quote: int,
        recipient: bytes,
        *,
        signer: SigningKey | None = None,
        by_key: SigningKey | None = None,
        **changes: Any,
    ) -> OperationRow:
        """Return a signed withdrawal."""
        message = Withdraw(**self.common(key) | {"quote": quote, "recipient": recipient} | changes)
        return self.operation(message, key, signer=signer, by_key=by_key)

    def cancel_order(
        self,
        key: SigningKey,
        order_nonce: int,
        *,
        by_key: SigningKey | None = None,
        **changes: Any,
    ) -> OperationRow:
        """Return a signed cancellation of one lane up to a seq."""
        message = CancelOrder(**self.common(key) | {"order_nonce": order_nonce} | changes)
        return self.operation(message, key, by_key=by_key)

    def cancel_all(
        self, key: SigningKey, min_seq: int, *, by_key: SigningKey | None = None, **changes: Any
    ) -> OperationRow:
        """Return a signed cancellation of everything older than a seq."""
        message = CancelAll(**self.common(key) | {"min_seq": min_seq} | changes)
        return self.operation(message, key, by_key=by_key)

    def link_message(self, key: SigningKey, session_key: SigningKey | bytes, **changes: Any) -> LinkKey:
        """Return what links a session key for a day, in every market, for orders up to 100 USDC."""
        fields: dict[str, Any] = {
            "key": as_address(session_key),
            "key_expiry_s": self.chain.time_s + DAY_S,
            "max_notional_quote": 100_000_000,
            "markets": 2**32 - 1,
        }
        return LinkKey(**self.common(key) | fields | changes)

    def link_key(
        self,
        key: SigningKey,
        session_key: SigningKey | bytes,
        *,
        by_key: SigningKey | None = None,
        **changes: Any,
    ) -> OperationRow:
        """Return a signed link of a session key."""
        message = self.link_message(key, session_key, **changes)
        return self.operation(message, key, by_key=by_key)

    def revoke_key(
        self,
        key: SigningKey,
        session_key: SigningKey | bytes,
        *,
        by_key: SigningKey | None = None,
        **changes: Any,
    ) -> OperationRow:
        """Return a signed revocation of a session key."""
        message = RevokeKey(**self.common(key) | {"key": as_address(session_key)} | changes)
        return self.operation(message, key, by_key=by_key)

    # What owners do directly on chain.

    def direct(self, key: SigningKey, function: str, *arguments: Any) -> Any:
        """Call Operations as the owner; keep the events. Raises: Reverted."""
        result = self.chain.call("Operations", function, *arguments, sender=address_of(key))
        self.logged = self.chain.events()
        return result

    def key_word(self, key: SigningKey, session_key: SigningKey, subaccount: int = 0) -> int:
        """Return a session key word."""
        account = self.account(key, subaccount)
        return int(self.chain.call("Clearinghouse", "session_key_word", account, address_of(session_key)))

    def common(self, key: SigningKey) -> dict[str, Any]:
        """Return the fields every operation has, with a fresh seq."""
        self.seq += 1
        return {
            "owner": key.address,
            "subaccount": 0,
            "expiry_s": self.chain.time_s + DAY_S,
            "seq": self.seq,
        }

    # Batches.

    def settle(
        self,
        orders: Sequence[Placed] = (),
        fills: Sequence[tuple[int, int, int]] = (),
        *,
        operations: Sequence[OperationRow] = (),
        rows: tuple[PriceRow, ...] = (),
        evidence: bytes = b"",
        **header: Any,
    ) -> Codes:
        """Settle orders and (maker, taker, lots) by the positions in `orders`; return the codes in the same order."""
        ids = sorted({placed.account_id for placed in orders})
        accounts: list[AccountRecord] = []
        table_index: dict[int, int] = {}
        for account_id in ids:
            own = [i for i, placed in enumerate(orders) if placed.account_id == account_id]
            own.sort(key=lambda i: orders[i].record.lane)
            for i in own:
                table_index[i] = len(table_index)
            accounts.append(AccountRecord(account_id=account_id, orders=tuple(orders[i].record for i in own)))
        payload = Payload(
            header=self.header(**header),
            fills=tuple(
                FillRow(maker_order=table_index[maker], taker_order=table_index[taker], size_lots=lots)
                for maker, taker, lots in fills
            ),
            rows=rows,
            evidence=evidence,
            operations=tuple(operations),
            accounts=tuple(accounts),
        )
        codes = self.settle_payload(payload)
        n_operations, n_orders = len(operations), len(orders)
        of_orders = codes[n_operations : n_operations + n_orders]
        return Codes(
            operations=list(codes[:n_operations]),
            orders=[of_orders[table_index[i]] for i in range(n_orders)],
            fills=list(codes[n_operations + n_orders :]),
        )

    def settle_payload(self, payload: Payload) -> bytes:
        """Settle and return all codes."""
        self.chain.settle(encode(payload))
        self.logged = self.chain.events()
        for event in self.logged:
            if event.name == "BatchFailures":
                return bytes(event.args["codes"])
        n_orders = sum(len(account.orders) for account in payload.accounts)
        return bytes(len(payload.operations) + n_orders + len(payload.fills))

    # Questions.

    def events(self, name: str) -> list[Event]:
        """Return the last batch's events of one name."""
        return [event for event in self.logged if event.name == name]

    def position_changes(self) -> dict[AccountId, int]:
        """Return what the last log of positions says of each account: size, realised quote and fees, packed."""
        records = self.events("PositionsChanged")[0].args["records"]
        return {AccountId(records[i] >> 16): records[i + 1] for i in range(0, len(records), 3)}

    def position(self, key: SigningKey, market: int = MARKET) -> tuple[int, int]:
        """Return (size_lots, entry_quote)."""
        word = self.chain.call("Clearinghouse", "position_word", self.account(key), market)
        size, entry = word & (1 << 64) - 1, word >> 64 & (1 << 96) - 1
        return size - (size >> 63 << 64), entry - (entry >> 95 << 96)

    def collateral(self, key: SigningKey) -> int:
        """Return collateral in quote units."""
        word = int(self.chain.call("Clearinghouse", "account_word", self.account(key))) & (1 << 72) - 1
        return word - (word >> 71 << 72)

    def lane(self, key: SigningKey, lane: int = 0) -> tuple[int, int]:
        """Return (seq, filled_lots) as the Lens shows it."""
        seq, filled_lots, _ = self.chain.call("Lens", "lane_state", self.account(key), lane)
        return int(seq), int(filled_lots)

    def is_solvent(self) -> bool:
        """Tell whether both sides of the identity agree."""
        return bool(self.chain.call("MarketLens", "solvency")[7])


def order_nonce(lane: int, seq: int) -> int:
    """Return lane ‖ seq."""
    return lane << 40 | seq


OPERATIONS: Final = OPERATION_LANE
