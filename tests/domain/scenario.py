"""A quiet market with a rich maker and taker, and one way to change one thing at a time.

Market 1: external, mark, index 10,000 ticks; band 10 %; settlement margin 6 %; fees 100 and 450 ppm. Everything is
signed with real keys.
"""

from __future__ import annotations

from dataclasses import replace

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
from afterbell.domain.calendar import Boundary, Calendar
from afterbell.domain.ids import subaccount_of
from afterbell.domain.oracle import OracleMarket, OracleState
from afterbell.domain.order import Operation, Order, SignedOrder, TimeInForce
from afterbell.domain.prices import MarketUpdate, update
from afterbell.domain.settlement import (
    BatchResult,
    ChainState,
    apply_batch,
    apply_deposit,
    list_market,
    set_rules,
)
from afterbell.domain.words import PriceWord, RulesWord
from afterbell.signing.keys import SigningKey, recover
from afterbell.signing.typed_data import digest, exchange_domain

T = 1_900_000_000
DOMAIN = exchange_domain(31_337, b"\xc1" * 20).separator()
VAULT = b"\xaa" * 20
MAKER, TAKER, OUTSIDER = (SigningKey(bytes([number]) * 32) for number in (0x11, 0x22, 0x33))
USDC = 1_000_000
RULES = RulesWord(
    initial_margin_ppm=100_000, settlement_margin_ppm=60_000, maintenance_margin_ppm=50_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=1_000_000, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=10, price_step_ticks=5, min_notional_quote=USDC, max_fee_ppm=1_000,
)  # fmt: skip
PRICE = PriceWord(
    mark_ticks=10_000,
    index_ticks=10_000,
    external_ticks=10_000,
    external_time_s=T,
    mark_time_s=T,
    session=2,
    epoch=1,
    session_minutes=10_000,
)


class Scenario:
    """One chain state and the next batch on it."""

    def __init__(self, *, rules: RulesWord = RULES, price: PriceWord = PRICE, collateral_quote: int = 10_000 * USDC):
        self.state = ChainState(genesis_s=T - 1_000, forbidden_recipients=frozenset({VAULT}))
        for market_id in range(1, 9):
            list_market(self.state, market_id)
            set_rules(self.state, market_id, 2, rules.pack())
            self.state.prices[market_id] = price.pack()
        self.maker = self.account_of(MAKER)
        self.taker = self.account_of(TAKER)
        for account in (self.maker, self.taker):
            apply_deposit(self.state, account, collateral_quote)
        self.seq = 100
        calendar = Calendar((Boundary(start_s=T - 1_000, session=2), Boundary(start_s=T + 10**7, session=0)))
        market = OracleMarket(ticks_per_usd=100, max_confidence_ppm=5_000)
        self.oracle = OracleState(calendar=calendar, markets=dict.fromkeys(range(1, 9), market))

    def update_prices(
        self, state: ChainState, rows: tuple[PriceRow, ...], evidence: bytes, matched_at_s: int
    ) -> tuple[MarketUpdate, ...]:
        """Ask the oracle's model, which forgets the batch: nothing here is reported twice."""
        return update(self.oracle, state, rows, evidence, matched_at_s).markets

    @staticmethod
    def account_of(key: SigningKey, subaccount: int = 0) -> int:
        return int.from_bytes(key.address, "big") << 80 | subaccount

    def order(
        self, key: SigningKey, *, is_buy: bool, record_changes: dict | None = None, signer: SigningKey | None = None,
        session_key: SigningKey | None = None, **changes: object,
    ) -> tuple[int, OrderRecord]:  # fmt: skip
        """Return (account, record) of 1,000 lots at 10,000 ticks (10 USDC) with changes, signed as it then stands.

        signer: whose signature stands under an owner's order; session_key: who signs one marked as a key's.
        """
        self.seq += 1
        order = Order(
            owner=key.address, market_id=1, is_buy=is_buy, size_lots=1_000, limit_ticks=10_000, max_fee_ppm=500,
            expiry_s=T + 60, lane=1 if is_buy else 2, seq=self.seq,
        )  # fmt: skip
        order = replace(order, **changes)
        r, vs = (session_key or signer or key).sign(digest(order, DOMAIN))
        record = build_order_record(
            SignedOrder(order=order, r=r, vs=vs), taker_fee_ppm=450, maker_fee_ppm=100,
            session_key=session_key is not None,
        )  # fmt: skip
        return order.account_id, replace(record, **(record_changes or {}))

    def operation(
        self, message: Operation, *, signer: SigningKey | None = None,
        session_key: SigningKey | None = None, approved: bool = False,
    ) -> OperationRow:  # fmt: skip
        """Return the row of an operation. An approved one carries no signature."""
        keys = {key.address: key for key in (MAKER, TAKER, OUTSIDER)}
        r, vs = bytes(32), bytes(32)
        if not approved:
            r, vs = (session_key or signer or keys[message.owner]).sign(digest(message, DOMAIN))
        flags = OPERATION_APPROVED if approved else OPERATION_SESSION_KEY if session_key else 0
        return build_operation_row(message, r=r, vs=vs, flags=flags)

    def settle(
        self,
        orders: list[tuple[int, OrderRecord]] | None = None,
        fills: list[tuple[int, int, int]] | None = None,
        operations: list[OperationRow] | None = None,
        *,
        rows: tuple[PriceRow, ...] = (),
        matched_at_s: int = T,
        block_time_s: int | None = None,
        previous_head: bytes | None = None,
        **header_changes: object,
    ) -> BatchResult:
        """Settle a batch; fills name orders by their place in `orders`, codes come back in that order too."""
        orders, fills, operations = orders or [], fills or [], operations or []
        accounts = sorted({account for account, _ in orders})
        index_of: dict[int, int] = {}
        records = []
        for account in accounts:
            places = [place for place, (owner, _) in enumerate(orders) if owner == account]
            places.sort(key=lambda place: orders[place][1].lane)
            for place in places:
                index_of[place] = len(index_of)
            records.append(AccountRecord(account_id=account, orders=tuple(orders[place][1] for place in places)))
        self.index_of = index_of
        header = BatchHeader(sequence=self.state.batch.sequence + 1, matched_at_s=matched_at_s)
        payload = Payload(
            header=replace(header, **header_changes),
            fills=tuple(
                FillRow(maker_order=index_of[maker], taker_order=index_of[taker], size_lots=lots)
                for maker, taker, lots in fills
            ),
            rows=rows,
            operations=tuple(operations),
            accounts=tuple(records),
        )
        return apply_batch(
            self.state,
            encode(payload),
            previous_head=self.state.head if previous_head is None else previous_head,
            block_time_s=matched_at_s if block_time_s is None else block_time_s,
            update_prices=self.update_prices,
            domain_separator=DOMAIN,
            recover=recover,
        )

    def order_code(self, result: BatchResult, place: int) -> int:
        return result.order_codes[self.index_of[place]]

    def trade(
        self, *, lots: int = 1_000, maker_buys: bool = False, maker: dict | None = None, taker: dict | None = None,
    ) -> BatchResult:  # fmt: skip
        """Settle one fill between maker and taker with changes to their orders."""
        orders = [
            self.order(MAKER, is_buy=maker_buys, **(maker or {})),
            self.order(TAKER, is_buy=not maker_buys, time_in_force=TimeInForce.IOC, **(taker or {})),
        ]
        return self.settle(orders, [(0, 1, lots)])

    def size_of(self, account: int, market_id: int = 1) -> int:
        return self.state.position(account, market_id).size_lots

    def set_price(self, market_id: int = 1, **changes: int) -> None:
        self.state.prices[market_id] = replace(self.state.price(market_id), **changes).pack()

    def set_rules(self, market_id: int = 1, session: int = 2, **changes: object) -> None:
        set_rules(self.state, market_id, session, replace(RULES, **changes).pack())


__all__ = ["DOMAIN", "MAKER", "OUTSIDER", "TAKER", "USDC", "VAULT", "Scenario", "T", "subaccount_of"]
