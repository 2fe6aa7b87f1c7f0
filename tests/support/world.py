"""A seeded world that makes batches: mostly honest ones, with every kind of flaw mixed in.

It knows the model only: what a batch does is decided by domain.settlement.apply_batch (tests/domain) and by the
deployed contract (tests/parity). Everything random comes from one random.Random, so a seed names a world.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from afterbell.domain.batch import (
    SETTLE_LAG_S,
    AccountRecord,
    BatchHeader,
    FillRow,
    OrderRecord,
    Payload,
    PriceRow,
    build_order_record,
    encode,
)
from afterbell.domain.calendar import Boundary, Calendar
from afterbell.domain.digests import build_proof, build_tree, hash_order
from afterbell.domain.direct import DirectKind, DirectOperation, apply_direct
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence, join_sections
from afterbell.domain.ids import LIQUIDATION_LANE, OPERATION_LANE, build_account_id
from afterbell.domain.oracle import OracleMarket, OracleState, ReportVerdict, SignedSource
from afterbell.domain.order import Order, SignedOrder, TimeInForce, TriggerKind
from afterbell.domain.prices import MarketUpdate, update
from afterbell.domain.settlement import (
    BatchResult,
    ChainState,
    Execution,
    TableOrder,
    apply_batch,
    apply_deposit,
    list_market,
    set_rules,
)
from afterbell.domain.units import PPM, PRICE_SCALE
from afterbell.domain.words import IndexWord, PriceWord, RulesWord
from afterbell.signing.keys import CURVE_ORDER, SigningKey, recover
from afterbell.signing.typed_data import OrderTree, PriceRoot, digest
from tests.support.key_ring import KeyRing
from tests.support.random_direct import TIERS
from tests.support.random_liquidations import plan_liquidations
from tests.support.random_operations import make_operations

DAY_S = 86_400
START_S = 1_900_000_000
N_OWNERS = 9
N_MARKETS = 9
UNLISTED_MARKETS = (0, 20, 33, 255)
TICKS_PER_USD = 100
REPORT_CONFIDENCE_PPM = 5_000


def build_calendar() -> tuple[Boundary, ...]:
    """Return sessions that change every few hundred seconds, for as long as any run lasts."""
    boundaries = []
    at_s = START_S - 100
    for _ in range(280):
        for session, length_s in ((2, 2_900), (3, 250), (4, 300), (5, 450), (1, 200)):
            boundaries.append(Boundary(start_s=at_s, session=session))
            at_s += length_s
    return (*boundaries, Boundary(start_s=at_s, session=0))


@dataclass(slots=True)
class Batch:
    """One batch ready to settle, in every form a test may want."""

    table: Payload
    payload: bytes
    updates: tuple[MarketUpdate, ...]
    block_time_s: int
    previous_head: bytes
    verdicts: tuple[ReportVerdict, ...] = ()
    approvals: tuple[tuple[bytes, bytes], ...] = ()
    """(owner, digest) to approve before the batch settles."""


@dataclass(slots=True)
class _Planned:
    """An order on its way into a table, with what its fills need to know."""

    account: int
    record: OrderRecord
    fills: list[int] = field(default_factory=list)


class World:
    """Actors with keys, markets, the model's state, and a clock that only moves forward."""

    def __init__(
        self,
        seed: int,
        *,
        domain_separator: bytes,
        price_domain_separator: bytes,
        forbidden_recipients: tuple[bytes, ...] = (),
        is_huge: bool = False,
    ) -> None:
        """Open an empty world. is_huge: numbers at the ends of their lanes ("Why the lanes suffice")."""
        self.is_huge = is_huge
        self.random = Random(seed)
        self.domain_separator = domain_separator
        self.price_domain_separator = price_domain_separator
        self.keys = [SigningKey((0xA11CE + 1000 * i).to_bytes(32, "big")) for i in range(N_OWNERS)]
        self.key_of = {key.address: key for key in self.keys}
        self.publishers = sorted(
            (SigningKey((0xFEED + i).to_bytes(32, "big")) for i in range(3)), key=lambda key: key.address
        )
        self.state = ChainState(forbidden_recipients=frozenset(forbidden_recipients))
        source = SignedSource(
            publishers=frozenset(key.address for key in self.publishers),
            threshold=2,
            domain_separator=price_domain_separator,
            recover=self.recover,
        )
        self.calendar = build_calendar()
        self.oracle = OracleState(sources={0: source}, calendar=Calendar(self.calendar))
        self.accounts = [
            build_account_id(key.address, subaccount) for key in self.keys for subaccount in (0, 7)[: 1 + (i_even(key))]
        ]
        self.time_s = START_S
        self.seq = 1_000
        self.usd_e8: dict[int, int] = {}
        self.pool: list[tuple[int, OrderRecord]] = []
        self.nonces: dict[int, int] = {}
        self.preview: Execution | None = None
        self.ring = KeyRing(self.random)
        self.to_approve: list[tuple[bytes, bytes]] = []
        self.mirror: ChainState | None = None
        """What a sequencer knows that has not heard yet of the latest direct operations."""
        self.unheard: list[DirectOperation] = []
        self.times_in_force = tuple(TimeInForce)
        self.n_operations_choices = (0, 0, 0, 1, 1, 2, 2, 4)
        self._recovered: dict[tuple[bytes, bytes, bytes], bytes | None] = {}

    # What the chain needs to be told too.

    def rules_for(self, market_id: int, session: int) -> RulesWord | None:
        """Return the rules of a market: ordinary ones, with a few markets that make a code reachable."""
        if market_id == 5 and session == 8:
            return None  # a session nobody gave rules to
        rules = RulesWord(
            # Below, at and above the tenth that a withdrawal leaves in any case; odd rates make rounding matter.
            initial_margin_ppm=(100_000, 80_001, 150_003)[market_id % 3],
            settlement_margin_ppm=60_001,
            maintenance_margin_ppm=45_000 + 1_003 * market_id,
            band_ppm=80_000 if session == 2 else 50_000,
            mark_step_ppm=5_000,
            max_age_s=0 if session == 5 else (150 if market_id == 8 else 1_500),
            open_interest_cap_lots=40_000_000,
            is_opening_allowed=session not in (6, 7),
            is_funding_on=True,
            size_step_lots=1 + market_id % 3,
            price_step_ticks=1 + market_id % 2,
            min_notional_quote=1_000_000,
            max_fee_ppm=900,
        )
        if self.is_huge:
            return replace(rules, open_interest_cap_lots=2**40 - 1, max_fee_ppm=65_535, min_notional_quote=2**32 - 1)
        if market_id == 3:
            return replace(rules, open_interest_cap_lots=33_000)
        if market_id in (4, 6):
            return replace(rules, account_share=40)  # 24,414 lots
        return rules

    def oracle_market(self, market_id: int) -> OracleMarket:
        """Return how the oracle reads a market."""
        return OracleMarket(
            ticks_per_usd=TICKS_PER_USD,
            max_confidence_ppm=REPORT_CONFIDENCE_PPM,
        )

    def list_markets(self) -> list[tuple[int, int, int]]:
        """List every market in the model; return (market, session, rules word) for the chain to be told."""
        written = []
        for market_id in range(1, N_MARKETS + 1):
            list_market(self.state, market_id)
            self.oracle.markets[market_id] = self.oracle_market(market_id)
            low, high = (10**7, 4 * 10**7) if self.is_huge else (20, 400)
            self.usd_e8[market_id] = (
                250 if market_id == 3 and not self.is_huge else self.random.randint(low, high)
            ) * PRICE_SCALE
            for session in range(9):
                rules = self.rules_for(market_id, session)
                if rules is not None:
                    tiers = TIERS[market_id].pack() if market_id in TIERS else 0
                    word = replace(rules, is_tiered=bool(tiers)).pack()
                    set_rules(self.state, market_id, session, word, tiers)
                    written.append((market_id, session, word))
        return written

    def deposit(self, account: int, quote: int) -> None:
        """Credit the model."""
        for state in self.states():
            apply_deposit(state, account, quote)

    def states(self) -> list[ChainState]:
        """Return the chain's state, and the mirror's if that one differs for now."""
        return [self.state] if self.mirror is None else [self.state, self.mirror]

    def hear(self) -> None:
        """Tell the mirror of everything it has not heard, in the chain's order."""
        assert self.mirror is not None
        for done in self.unheard:
            apply_direct(self.mirror, done.kind, done.account_id, done.subject, done.word, done.time_s)
        self.unheard = []

    def unheard_links(self) -> dict[int, bytes]:
        """Return account -> key for every direct link a mirror has not heard of."""
        return {
            done.account_id: done.subject.to_bytes(20, "big")
            for done in self.unheard
            if done.kind == DirectKind.LINK_KEY
        }

    def must_hear(self, matched_at_s: int) -> bool:
        """Tell whether an honest sequencer has read the chain by now: nothing unheard binds this batch."""
        return any(matched_at_s > done.time_s + SETTLE_LAG_S for done in self.unheard)

    def random_deposit(self) -> tuple[int, int]:
        """Choose an account and a sum: some rich, some always short of margin."""
        account = self.random.choice(self.accounts)
        choices = (20_000, 5_000_000, 3_000_000_000, 60_000_000_000)
        if self.is_huge:
            choices = (20_000, 2**60, 2**63, 2**64 - 1_001)
        quote = self.random.choice(choices)
        return account, quote + self.random.randrange(1_000)

    def random_index_word(self, market_id: int) -> int:
        """Return an index word a little away from the market's: both signs, not whole quote units."""
        index = self.state.index(market_id)
        spread = 10**12 * (2**28 if self.is_huge else 30)
        return IndexWord(
            long_index_e12=index.long_index_e12 + self.random.randint(-spread, spread),
            short_index_e12=index.short_index_e12 + self.random.randint(-spread, spread),
        ).pack()

    def recover(self, message: bytes, r: bytes, vs: bytes) -> bytes | None:
        """Recover with memory: resting orders come back batch after batch."""
        key = (message, r, vs)
        if key not in self._recovered:
            if len(self._recovered) > 20_000:
                self._recovered.clear()
            self._recovered[key] = recover(message, r, vs)
        return self._recovered[key]

    # Batches.

    def next_batch(self) -> Batch:
        """Make the next batch. The state does not move."""
        self.time_s = self._choose_time()
        matched_at_s = self.time_s
        evidence = self._make_evidence(matched_at_s)
        rows = self._make_rows(evidence, matched_at_s)
        moved = update(self.oracle, self.state, rows, evidence, matched_at_s)
        preview = Execution(self.state.copy(), matched_at_s)
        preview.apply_prices(moved.markets, rows)
        self.pool = [kept for kept in self.pool if self._is_alive(kept) or self.random.random() < 0.7]
        planned, pairs = self._plan(preview, matched_at_s, rows)
        self.preview = preview
        batch = self.assemble(
            planned, pairs, rows=rows, evidence=evidence, updates=moved.markets, matched_at_s=matched_at_s
        )
        batch.verdicts = moved.verdicts
        return batch

    def _choose_time(self) -> int:
        """Return the time of the next batch: a little later, at times the last or first second of a stated session."""
        price = self.state.price(self.random.randint(1, N_MARKETS))
        end_s = price.external_time_s + 60 * price.session_minutes - self.random.randint(0, 1)
        if self.random.random() < 0.3 and self.time_s <= end_s <= self.time_s + 600:
            return end_s
        return self.time_s + self.random.choice((0, 1, 2, 5, 30, 200))

    def assemble(
        self,
        planned: list[tuple[int, OrderRecord]],
        pairs: list[tuple[int, int, int]],
        *,
        rows: tuple[PriceRow, ...] = (),
        evidence: bytes = b"",
        updates: tuple[MarketUpdate, ...] = (),
        matched_at_s: int | None = None,
        with_operations: bool = True,
    ) -> Batch:
        """Sort orders into a table, translate (maker, taker, lots) of list positions into rows, encode."""
        matched_at_s = self.time_s if matched_at_s is None else matched_at_s
        by_account: dict[int, list[int]] = {}
        for place, (account, _) in enumerate(planned):
            by_account.setdefault(account, []).append(place)
        for account in self.random.sample(self.accounts, 2):
            by_account.setdefault(account, [])
        accounts = []
        index_of: dict[int, int] = {}
        for account in sorted(by_account):
            places = sorted(by_account[account], key=lambda place: planned[place][1].lane)
            for place in places:
                index_of[place] = len(index_of)
            accounts.append(AccountRecord(account_id=account, orders=tuple(planned[place][1] for place in places)))
        fills = tuple(
            FillRow(maker_order=index_of[maker], taker_order=index_of[taker], size_lots=lots)
            for maker, taker, lots in pairs
        )
        self.to_approve = []
        operations = make_operations(self, accounts, matched_at_s) if with_operations else ()
        table = Payload(
            header=BatchHeader(
                sequence=self.state.batch.sequence + 1,
                matched_at_s=matched_at_s,
                direct_op=self.random.randint(0, (self.mirror or self.state).direct_op),
                journal_hash=self.random.randbytes(32),
            ),
            fills=fills,
            rows=rows,
            evidence=evidence,
            operations=operations,
            accounts=tuple(accounts),
        )
        return Batch(
            table=table,
            payload=encode(table),
            updates=updates,
            block_time_s=matched_at_s + self.random.choice((0, 0, 3, 299, 300)),
            previous_head=self.state.head,
            approvals=tuple(self.to_approve),
        )

    def find_edge(self, batch: Batch) -> tuple[int, int] | None:
        """Return (account, slack) of a side of a fill that settles and opens: slack = equity - settlement margin after.

        Collateral lowered by the slack makes the fill pass by nothing; by one unit more, fail.
        """
        execution = self.execute_operations(batch)
        orders = []
        for index, record in batch.table.list_orders():
            account = batch.table.accounts[index].account_id
            code = execution.check_order(
                account,
                record,
                sequence=batch.table.header.sequence,
                domain_separator=self.domain_separator,
                recover=self.recover,
            )
            orders.append(TableOrder(account_id=account, record=record, code=code))
        for fill in batch.table.fills:
            sides = (orders[fill.maker_order], orders[fill.taker_order])
            side = self.random.choice(sides)
            before = execution.position(side.account_id, side.record.market_id).size_lots if side.code == 0 else 0
            if execution.apply_fill(*sides, fill.size_lots).is_settled:
                after = execution.position(side.account_id, side.record.market_id).size_lots
                health = execution.health(side.account_id)
                if abs(after) > abs(before):
                    return side.account_id, health.equity_quote - health.settlement_margin_quote
        return None

    def execute_operations(self, batch: Batch) -> Execution:
        """Return a batch after its prices and operations."""
        execution = Execution(self.state.copy(), batch.table.header.matched_at_s)
        execution.apply_prices(batch.updates, batch.table.rows)
        for row in batch.table.operations:
            execution.apply_operation(row, domain_separator=self.domain_separator, recover=self.recover)
        return execution

    def nudge_collateral(self, account: int, change_quote: int) -> None:
        """Move collateral as if it had been deposited or paid out, without a trace in events."""
        word, batch = self.state.account(account), self.state.batch
        self.state.accounts[account << 16] = replace(word, collateral_quote=word.collateral_quote + change_quote).pack()
        self.state.batch_word = replace(batch, collateral_quote=batch.collateral_quote + change_quote).pack()
        self.state.tracked_quote += change_quote

    def settle(self, batch: Batch, state: ChainState | None = None) -> BatchResult:
        """Move the model by a batch, and the oracle's too unless another state is given."""
        oracles = [self.oracle]

        def update_prices(
            words: ChainState, rows: tuple[PriceRow, ...], evidence: bytes, matched_at_s: int
        ) -> tuple[MarketUpdate, ...]:
            moved = update(self.oracle, words, rows, evidence, matched_at_s)
            oracles.append(moved.oracle)
            return moved.markets

        result = apply_batch(
            self.state if state is None else state,
            batch.payload,
            previous_head=batch.previous_head,
            block_time_s=batch.block_time_s,
            update_prices=update_prices,
            domain_separator=self.domain_separator,
            recover=self.recover,
        )
        if state is None:
            self.oracle = oracles[-1]
        return result

    # Prices.

    def _make_evidence(self, matched_at_s: int) -> bytes:
        """Return evidence of one signed section, or none."""
        is_first = self.state.batch.sequence == 0
        if not is_first and self.random.random() < 0.45:
            return b""
        publish_time_s = matched_at_s - self.random.choice((0, 0, 0, 1, 5, 59, 60))
        if not is_first and self.random.random() < 0.06:
            publish_time_s = matched_at_s + self.random.choice((-61, 1, -300))
        markets = [
            market_id
            for market_id in range(1, N_MARKETS + 1)
            # Market 9 is never priced by its first reports: its fills find no band.
            if (is_first and market_id != 9) or (not is_first and self.random.random() < 0.7)
        ]
        if not is_first and self.random.random() < 0.03:
            markets.append(31)
        reports = [self._make_report(market_id, is_first=is_first) for market_id in markets]
        if not reports:
            return b""
        self.random.shuffle(reports)
        root, proven = build_proven_reports(reports, publish_time_s)
        if not is_first and len(proven) > 2 and self.random.random() < 0.2:
            proven = proven[:-1]
        message = digest(PriceRoot(root=root, publish_time_s=publish_time_s), self.price_domain_separator)
        signers = self.publishers if self.random.random() < 0.5 else self.publishers[:2]
        section = encode_evidence(
            Evidence(
                publish_time_s=publish_time_s,
                root=root,
                signatures=tuple(key.sign(message) for key in signers),
                reports=proven,
            )
        )
        return join_sections([section])

    def _make_report(self, market_id: int, *, is_first: bool) -> PriceReport:
        step_ppm = self.random.choice((500, 2_000, 15_000, 120_000 if self.random.random() < 0.1 else 3_000))
        price_e8 = self.usd_e8.get(market_id, PRICE_SCALE)
        price_e8 += price_e8 * self.random.randint(-step_ppm, step_ppm) // PPM
        ceiling = 42_949_000 if self.is_huge else 900
        self.usd_e8[market_id] = min(max(price_e8, PRICE_SCALE), ceiling * PRICE_SCALE)
        session = 2 if is_first else self.random.choice((2,) * 60 + (1, 3, 4, 5, 5, 6, 7, 8, 0))
        confidence_e8 = price_e8 // 1_000
        if not is_first and self.random.random() < 0.03:
            price_e8, confidence_e8, session = self.random.choice(
                ((0, 0, 2), (price_e8, price_e8, 2), (price_e8, 0, 9), (price_e8, 0, 255), (1, 0, 2), (2**64 - 1, 0, 2))
            )
        return PriceReport(market_id=market_id, session=session, price_e8=price_e8, confidence_e8=confidence_e8)

    def _make_rows(self, evidence: bytes, matched_at_s: int) -> tuple[PriceRow, ...]:
        if self.state.batch.sequence and self.random.random() < 0.5:
            return ()
        reported = {
            one.market_id: one.price.external_ticks
            for one in update(self.oracle, self.state, (), evidence, matched_at_s).markets
        }
        rows = []
        for market_id in range(1, N_MARKETS + 1):
            external_ticks = reported.get(market_id) or self.state.price(market_id).external_ticks
            if not external_ticks or (self.state.batch.sequence and self.random.random() < 0.4):
                continue
            spread = max(external_ticks // 8, 1)
            auction_ticks = 0
            if self.random.random() < 0.08:
                auction_ticks = external_ticks + self.random.randint(-spread // 4, spread // 4)
            rows.append(
                PriceRow(
                    market_id=market_id,
                    mark_ticks=max(
                        external_ticks + self.random.randint(-spread, spread) // self.random.choice((1, 20)), 0
                    ),
                    index_ticks=max(external_ticks + self.random.randint(-spread, spread), 0),
                    auction_ticks=auction_ticks,
                    premium_ppb=self.random.choice(
                        (0, 41_095, self.random.randint(-600_000, 700_000), self.random.randint(-(2**31), 2**31 - 1))
                    ),
                    funding=int(self.random.random() < 0.4),
                )
            )
        return tuple(rows)

    # Orders and fills.

    def _plan(
        self, preview: Execution, matched_at_s: int, rows: tuple[PriceRow, ...]
    ) -> tuple[list[tuple[int, OrderRecord]], list[tuple[int, int, int]]]:
        """Return orders, and fills as (maker, taker, lots) over list positions."""
        rng = self.random
        planned: list[tuple[int, OrderRecord]] = []
        pairs: list[tuple[int, int, int]] = []
        n_groups = 40 if rng.random() < 0.02 else rng.choice((0, 1, 2, 2, 3, 4, 6, 7, 9, 12))
        for _ in range(n_groups):
            market_id = rng.choice((1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9))
            self._plan_group(preview, market_id, matched_at_s, planned, pairs)
            if len(planned) > 96 or len(pairs) > 180:
                break
        self._plan_liquidations(preview, matched_at_s, planned, pairs)
        if planned and rng.random() < 0.2:
            pairs += [
                (rng.randrange(len(planned)), rng.randrange(len(planned)), rng.choice((0, 1, 6, 600)))
                for _ in range(rng.randint(1, 3))
            ]
        if rng.random() < 0.5:
            rng.shuffle(pairs)
        return planned, pairs

    def _plan_liquidations(
        self,
        preview: Execution,
        matched_at_s: int,
        planned: list[tuple[int, OrderRecord]],
        pairs: list[tuple[int, int, int]],
    ) -> None:
        """Add liquidation orders, each with a maker that meets its limit."""
        for account, record in plan_liquidations(self, preview, matched_at_s):
            others = [other for other in self.accounts if account_owner(other) != account_owner(account)]
            maker = self._choose_account(record.market_id, others)
            made = self._make_order(
                preview, maker, record.market_id, not record.is_buy, matched_at_s, crossing_ticks=record.limit_ticks
            )
            if self.random.random() < 0.8 and made.limit_ticks > 0:
                # A rich maker that takes it all.
                maker = max(others, key=lambda other: preview.health(other).free_collateral_quote)
                made = self._make_order(
                    preview, maker, record.market_id, not record.is_buy, matched_at_s,
                    crossing_ticks=record.limit_ticks, size_lots=record.size_lots,
                )  # fmt: skip
            planned += [(account, record), (maker, made)]
            pairs.append((len(planned) - 1, len(planned) - 2, min(record.size_lots, made.size_lots)))

    def _plan_group(
        self,
        preview: Execution,
        market_id: int,
        matched_at_s: int,
        planned: list[tuple[int, OrderRecord]],
        pairs: list[tuple[int, int, int]],
    ) -> None:
        """Add one taker and the makers it meets."""
        rng = self.random
        taker_buys = rng.random() < 0.5
        resting = [
            (account, record)
            for account, record in self.pool
            if record.market_id == market_id and record.is_buy != taker_buys and (account, record) not in planned
        ]
        makers: list[int] = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            if resting and rng.random() < 0.4:
                planned.append(resting.pop(rng.randrange(len(resting))))
            else:
                account = self._choose_account(market_id)
                planned.append((account, self._make_order(preview, account, market_id, not taker_buys, matched_at_s)))
                if rng.random() < 0.5:
                    self._keep(planned[-1])
            makers.append(len(planned) - 1)
            if rng.random() < 0.08:
                makers += self._plan_twins(planned, matched_at_s)
        limits = [planned[maker][1].limit_ticks for maker in makers]
        reference_ticks = max(limits) if taker_buys else min(limits)
        maker_owners = {account_owner(planned[maker][0]) for maker in makers}
        others = [account for account in self.accounts if account_owner(account) not in maker_owners]
        taker_account = self._choose_account(market_id, self.accounts if rng.random() < 0.04 else others)
        planned.append(
            (
                taker_account,
                self._make_order(
                    preview, taker_account, market_id, taker_buys, matched_at_s, crossing_ticks=reference_ticks
                ),
            )
        )
        taker = len(planned) - 1
        step_lots = 1 + market_id % 3
        for maker in makers:
            size_lots = min(planned[maker][1].size_lots, planned[taker][1].size_lots // len(makers) or 1)
            for _ in range(rng.choice((1, 1, 2))):
                lots = rng.choice((size_lots, size_lots // 2, rng.randint(0, size_lots))) // step_lots * step_lots
                if rng.random() < 0.02:
                    lots = size_lots * 2 + 1
                pairs.append((maker, taker, min(lots, 2**48 - 1)))

    def _choose_account(self, market_id: int, among: list[int] | None = None) -> int:
        """Choose who trades a market; an account mostly keeps to the same five, so that few hit the bound of six."""
        among = among or self.accounts
        at_home = [account for account in among if (account % 10_007 + market_id) % 9 < 5]
        return self.random.choice(at_home if at_home and self.random.random() < 0.93 else among)

    def _is_alive(self, planned: tuple[int, OrderRecord]) -> bool:
        account, record = planned
        seq, filled_lots = self.state.lane(account, record.lane)
        return (
            record.expiry_s >= self.time_s
            and seq <= record.seq
            and (seq < record.seq or filled_lots < record.size_lots)
            and record.seq >= self.state.effective_min_seq(account, self.time_s)
        )

    def _plan_twins(self, planned: list[tuple[int, OrderRecord]], matched_at_s: int) -> list[int]:
        """Add orders that share the last one's lane and seq: one-cancels-other, at times with a dead one between."""
        account, record = planned[-1]
        has_odd_trigger = record.has_trigger and not 1 <= record.trigger_kind <= 4
        if record.is_previous_epoch or has_odd_trigger or not 1 <= record.market_id <= N_MARKETS:
            return []
        order = record.to_order(account, self.state.price(record.market_id).epoch)
        if self.random.random() < 0.5:
            planned.append((account, self._record(replace(order, expiry_s=matched_at_s - 1))))
        planned.append((account, self._record(replace(order, size_lots=order.size_lots * 2))))
        return [len(planned) - 1]

    def _keep(self, planned: tuple[int, OrderRecord]) -> None:
        self.pool.append(planned)
        if len(self.pool) > 60:
            self.pool.pop(self.random.randrange(30))

    def _make_order(
        self,
        preview: Execution,
        account: int,
        market_id: int,
        is_buy: bool,
        matched_at_s: int,
        *,
        crossing_ticks: int = 0,
        size_lots: int = 0,
    ) -> OrderRecord:
        """Return a signed order that a fill may well settle, or one with exactly one flaw."""
        rng = self.random
        price = preview.price(market_id)
        low, high = preview.band(market_id) or (8_000, 12_000)
        middle = (low + high) // 2
        limit_ticks = rng.randint((low + middle) // 2, (middle + high) // 2)
        if crossing_ticks:
            limit_ticks = crossing_ticks + (1 if is_buy else -1) * rng.choice((0, 0, 1, middle // 50))
            if rng.random() < 0.03:
                limit_ticks = crossing_ticks - (10 if is_buy else -10)
        if rng.random() < 0.02:
            limit_ticks = rng.choice((low - 5, high + 5, low, high))
        limit_ticks = max(limit_ticks, 2) // 2 * 2
        step_lots = 1 + market_id % 3
        notional = rng.choice((2_000_000, 20_000_000, 100_000_000, 400_000_000, 3_000_000_000))
        if self.is_huge:
            notional = rng.choice((2**34, 2**50, 2**62, 2**65, 2**67))
        elif market_id == 3:
            notional = min(notional, 400_000_000)  # orders fit under its low cap, their sum does not
        is_given = size_lots > 0
        size_lots = size_lots or min(max(notional // limit_ticks // step_lots, 1), 2**44) * step_lots
        held = preview.position(account, market_id).size_lots
        reduce_only = rng.random() < 0.03
        rules = self.rules_for(market_id, 2)
        if rules and rules.account_share and not is_given and rng.random() < 0.4:
            # Up to the cap of one account, or a step beyond; or a flip that ends smaller than it began.
            size_lots = max(rules.account_cap_lots - (held if is_buy else -held), 1) + rng.choice((0, step_lots))
            if held and (held < 0) == is_buy and rng.random() < 0.7:
                size_lots = max(abs(held) * 9 // 5 // step_lots, 1) * step_lots
        elif held and not is_given and (held < 0) == is_buy and rng.random() < 0.5:
            size_lots = abs(held)
            reduce_only = rng.random() < 0.3
            if rng.random() < 0.2:
                size_lots = size_lots * 2
            size_lots = max(size_lots // step_lots, 1) * step_lots
        self.seq += rng.randint(1, 3)
        max_fee_ppm = rng.choice((900, 500, 1_500))
        post_only = rng.random() < (0.02 if crossing_ticks else 0.3)
        order = Order(
            owner=account_owner(account),
            subaccount=account & (1 << 80) - 1,
            market_id=market_id,
            epoch=price.epoch,
            is_buy=is_buy,
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            max_fee_ppm=max_fee_ppm,
            expiry_s=matched_at_s + rng.choice((0, 600, DAY_S, DAY_S, DAY_S, 30 * DAY_S)),
            lane=rng.choice((0, 0, 0, 1, 2, 3, 4, 5, rng.randrange(LIQUIDATION_LANE))),
            seq=self.seq,
            reduce_only=reduce_only,
            post_only=post_only,
            time_in_force=TimeInForce.GTC if post_only else rng.choice(self.times_in_force),
            **self._make_trigger(price, likely_met=rng.random() < 0.9),
        )
        key = self.ring.choose_signer(account, self.state, matched_at_s)
        if key and rng.random() < 0.03:
            latest = (matched_at_s + SETTLE_LAG_S - self.state.genesis_s) * 1_000
            seq = min(latest + rng.randint(0, 1), 2**40 - 1)
            order = replace(order, lane=rng.randrange(20_000, 60_000), seq=seq)
        maker_fee_ppm = rng.choice((0, 0, 100, 333, 500))
        taker_fee_ppm = rng.choice((450, 500, 337))
        previous_epoch = False
        if price.epoch > 1 and reduce_only and rng.random() < 0.5:
            previous_epoch = True
            order = replace(order, epoch=price.epoch - 1)
        if rng.random() < 0.07:
            return self._make_flawed(order, preview, matched_at_s, previous_epoch=previous_epoch)
        return self._record(
            order,
            taker_fee_ppm=taker_fee_ppm,
            maker_fee_ppm=maker_fee_ppm,
            previous_epoch=previous_epoch,
            key=key,
        )

    def _make_trigger(self, price: PriceWord, *, likely_met: bool) -> dict[str, object]:
        if self.random.random() < 0.85:
            return {}
        kind = self.random.choice(tuple(TriggerKind)[1:])
        ticks = price.mark_ticks if kind <= TriggerKind.MARK_AT_OR_BELOW else price.index_ticks
        away = self.random.choice((0, 0, 1, 50))
        is_rising = kind in (TriggerKind.MARK_AT_OR_ABOVE, TriggerKind.INDEX_AT_OR_ABOVE)
        ticks += away if is_rising != likely_met else -away
        return {"trigger_kind": kind, "trigger_ticks": max(ticks, 0)}

    def _record(
        self,
        order: Order,
        *,
        taker_fee_ppm: int = 450,
        maker_fee_ppm: int = 0,
        previous_epoch: bool = False,
        key: SigningKey | None = None,
    ) -> OrderRecord:
        """Sign an order, at times in a tree with others, by a session key or, without one, by its owner."""
        message, proof = digest(order, self.domain_separator), None
        if self.random.random() < 0.12:
            leaves = [self.random.randbytes(32) for _ in range(self.random.choice((0, 1, 2, 5, 255)))]
            place = self.random.randint(0, len(leaves))
            levels = build_tree([*leaves[:place], hash_order(order), *leaves[place:]])
            message, proof = digest(OrderTree(root=levels[-1][0]), self.domain_separator), build_proof(levels, place)
        r, vs = self.ring.sign(key, message) if key else self.key_of[order.owner].sign(message)
        return build_order_record(
            SignedOrder(order=order, r=r, vs=vs, proof=proof),
            taker_fee_ppm=taker_fee_ppm,
            maker_fee_ppm=maker_fee_ppm,
            previous_epoch=previous_epoch,
            session_key=key is not None,
        )

    def _make_flawed(self, order: Order, preview: Execution, matched_at_s: int, *, previous_epoch: bool) -> OrderRecord:
        """Return an order with one flaw, signed as it stands (the signature flaws excepted)."""
        rng = self.random
        flaw = rng.randrange(21)
        changed: dict[int, dict[str, object]] = {
            0: {"market_id": rng.choice(UNLISTED_MARKETS)},
            1: {"size_lots": 0},
            2: {"size_lots": order.size_lots * 3 + 1, "limit_ticks": order.limit_ticks + 1},
            3: {"size_lots": 6, "limit_ticks": 2, "reduce_only": rng.random() < 0.5},
            4: {"size_lots": 40_000_002 // 6 * 6 + 6},
            5: {"expiry_s": matched_at_s - rng.choice((1, 1_000))},
            6: {"expiry_s": matched_at_s + 30 * DAY_S + rng.choice((1, 10**6))},
            7: {"seq": rng.randrange(1_000)},
            8: {"epoch": order.epoch + 1},
            9: {"lane": rng.choice((OPERATION_LANE, LIQUIDATION_LANE))},
            10: {"seq": max(order.seq - rng.randint(1, 400), 0), "lane": 0},
        }
        if flaw in changed:
            return self._record(replace(order, **changed[flaw]), previous_epoch=previous_epoch)
        record = self._record(order, previous_epoch=previous_epoch)
        if flaw == 11:
            return replace(record, taker_fee_ppm=record.max_fee_ppm + 1)
        if flaw == 12:
            return replace(record, maker_fee_ppm=901)
        if flaw == 13:
            # Bit 7 says that a session key signed: the owner did.
            return replace(record, flags=record.flags | 1 << rng.choice((7, 7, *range(10, 16))))
        if flaw == 14:
            immediate = rng.choice((TimeInForce.IOC, TimeInForce.FOK))
            return self._record(replace(order, post_only=True, time_in_force=immediate))
        if flaw == 15:
            return replace(record, flags=record.flags | 1 << 6, trigger_kind=rng.choice((0, 5, 255)), trigger_ticks=1)
        if flaw == 16:
            return replace(record, flags=record.flags ^ 1 << 5)
        if flaw == 17:
            return replace(record, r=rng.choice((bytes(32), rng.randbytes(32), CURVE_ORDER.to_bytes(32, "big"))))
        if flaw == 18:
            # The same signature in its high-s form.
            s = int.from_bytes(record.vs, "big")
            parity, s = s >> 255, s & (1 << 255) - 1
            high = (CURVE_ORDER - s) & (1 << 255) - 1
            return replace(record, vs=((1 - parity) << 255 | high).to_bytes(32, "big"))
        if flaw == 19 and record.is_bulk:
            # One proof word more, fewer, other or none at all: another root.
            proof = record.proof
            changed_proofs = (proof[1:], (*proof[:7], rng.randbytes(32)), proof[::-1])
            return replace(record, proof=rng.choice(changed_proofs))
        if flaw == 20:
            proof = () if record.is_bulk else (rng.randbytes(32),)
            return replace(record, flags=record.flags ^ 1 << 9, proof=proof)
        return replace(record, vs=rng.choice((bytes(32), rng.randbytes(32))))


def account_owner(account: int) -> bytes:
    """Return the owner's 20 bytes."""
    return (account >> 80).to_bytes(20, "big")


def i_even(key: SigningKey) -> int:
    """Give every other owner a second subaccount, by the last bit of its address."""
    return key.address[-1] & 1
