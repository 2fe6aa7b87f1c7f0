"""Hold everything the engine knows: mirror of the chain, open batch, books, lanes; and hash it.

`chain` is what the contract will hold after the last sealed batch. What the open batch has done since lives in its
Execution, the same machine the mirror runs at the seal. Must not: decide; apply.py and its neighbours do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from afterbell.domain.batch import (
    MAX_ACCOUNTS,
    MAX_FILLS,
    MAX_OPERATIONS,
    MAX_ORDERS,
    MAX_PAYLOAD_BYTES,
    N_ACCOUNT_BYTES,
    N_FILL_BYTES,
    N_HEADER_BYTES,
    N_OPERATION_BYTES,
    N_ORDER_BYTES,
    N_ROW_BYTES,
    N_TRIGGER_BYTES,
    N_WORD_BYTES,
    OperationRow,
)
from afterbell.domain.digests import DOMAIN_NAME, build_domain_separator
from afterbell.domain.ids import AccountId
from afterbell.domain.settlement import ChainState, Execution, TableOrder
from afterbell.domain.units import div_down
from afterbell.domain.words import RulesWord
from afterbell.engine.adopted_prices import AdoptedPrices
from afterbell.engine.book import Book, OpenOrder
from afterbell.engine.trigger_book import TriggerBook

MAX_MAKERS_PER_TAKER: Final = 48
MAX_RECENT_BATCHES: Final = 64
_TAKER_BYTES: Final = (1 + MAX_MAKERS_PER_TAKER) * (N_ACCOUNT_BYTES + N_ORDER_BYTES + N_TRIGGER_BYTES) + (
    MAX_MAKERS_PER_TAKER * N_FILL_BYTES
)
"""What one taker can add to a payload at most; more than an operation adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What an instance is fixed to. Part of the meaning of its journal: change nothing without a new journal."""

    chain_id: int
    clearinghouse: bytes
    vault: bytes
    token: bytes
    genesis_s: int
    maker_fee_ppm: int = 100
    taker_fee_ppm: int = 400
    max_makers_per_taker: int = MAX_MAKERS_PER_TAKER
    max_open_orders_per_account: int = 200
    max_seq_ahead_ms: int = 1_000
    impact_notional_quote: int = 5_000_000_000
    """What the impact prices of the funding premium trade: 5,000 USDC."""


@dataclass(slots=True, kw_only=True)
class MarketInfo:
    """What the engine knows of a market beyond the words of the mirror."""

    market: int
    symbol: str
    lot_exponent: int
    ticks_per_usd: int
    synthetic: bool
    halt_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFill:
    """One fill of the open batch."""

    fill_id: int
    maker_order_id: bytes
    taker_order_id: bytes
    size_lots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOperation:
    """One operation of the open batch."""

    digest: bytes
    row: OperationRow
    signer: bytes
    """Owner or session key, 20 bytes."""
    receiver: AccountId | None = None
    """Of a transfer: the account that gets the sum."""

    @property
    def account(self) -> AccountId:
        """Return the account whose owner ordered it."""
        return self.row.account_id

    @property
    def accounts(self) -> tuple[AccountId, ...]:
        """Return the accounts whose words it writes."""
        return (self.account,) if self.receiver is None else (self.account, self.receiver)


@dataclass(slots=True, kw_only=True)
class OpenBatch:
    """What the next payload will hold. `orders` has every order with a fill, by id, in order of first use."""

    execution: Execution
    prices: AdoptedPrices = field(default_factory=AdoptedPrices)
    fills: list[BatchFill] = field(default_factory=list)
    operations: list[BatchOperation] = field(default_factory=list)
    orders: dict[bytes, TableOrder] = field(default_factory=dict)
    """Order id -> every order with a fill, in order of first use."""
    signers: dict[bytes, bytes] = field(default_factory=dict)
    """Order id -> owner or session key, 20 bytes, of every order in `orders`."""
    n_triggers: int = 0
    """Orders of `orders` with a trigger; each is a word longer in the payload."""
    accounts: dict[AccountId, None] = field(default_factory=dict)
    """Accounts with a fill. Operations run first on chain, so one of these accounts must wait for the next batch."""

    @property
    def n_bytes(self) -> int:
        """Return the length of its payload, at most: padding counted whole."""
        return (
            N_HEADER_BYTES
            + len(self.fills) * N_FILL_BYTES
            + len(self.prices.rows) * N_ROW_BYTES
            + len(self.prices.evidence)
            + 3 * N_WORD_BYTES
            + len(self.operations) * N_OPERATION_BYTES
            + len(self.accounts) * N_ACCOUNT_BYTES
            + len(self.orders) * N_ORDER_BYTES
            + self.n_triggers * N_TRIGGER_BYTES
        )

    @property
    def is_half_full(self) -> bool:
        """Tell whether it holds more than half of any bound: then one more taker might not fit."""
        return (
            len(self.orders) > MAX_ORDERS // 2
            or self.n_bytes + _TAKER_BYTES > MAX_PAYLOAD_BYTES
            or len(self.accounts) > MAX_ACCOUNTS // 2
            or len(self.fills) > MAX_FILLS // 2
            or len(self.operations) > MAX_OPERATIONS // 2
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """What the chain must answer for a sealed batch that is not confirmed yet."""

    sequence: int
    head: bytes
    codes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PremiumSamples:
    """Samples of one market's premium since funding last accrued (engine/funding.py)."""

    sum_ppb: int = 0
    n_minutes: int = 0

    @property
    def mean_ppb(self) -> int:
        """Return their mean, toward zero; zero without samples."""
        if self.n_minutes == 0:
            return 0
        mean_ppb = div_down(abs(self.sum_ppb), self.n_minutes)
        return mean_ppb if self.sum_ppb >= 0 else -mean_ppb


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentBatch:
    """What a sealed batch wrote, as far as it does not commute with what siblings write directly."""

    sequence: int
    positions: frozenset[tuple[int, int]]
    """(account, market) of its fills."""
    prices: frozenset[int]
    """Markets with a row or a report."""
    indices: frozenset[int]
    """Markets whose index it moved."""


class EngineState:
    """All state. Changed only by apply.apply; read through queries."""

    def __init__(self, config: EngineConfig) -> None:
        """Begin empty: no market, no account, sequence 0, head zero."""
        self.config = config
        self.domain_separator = build_domain_separator(
            name=DOMAIN_NAME, chain_id=config.chain_id, verifying_contract=config.clearinghouse
        )
        self.chain = ChainState(
            genesis_s=config.genesis_s,
            forbidden_recipients=frozenset({config.vault, config.clearinghouse, config.token}),
        )
        self.markets: dict[int, MarketInfo] = {}
        self.books: dict[int, Book] = {}
        self.orders: dict[bytes, OpenOrder] = {}
        """Every live order, resting in a book or waiting for its trigger."""
        self.account_orders: dict[AccountId, dict[bytes, OpenOrder]] = {}
        self.triggers = TriggerBook()
        self.lane_orders: dict[int, list[OpenOrder]] = {}
        """account << 16 | lane -> the live orders of that lane: one, or the two of an OCO."""
        self.lane_seqs: dict[int, int] = {}
        """account << 16 | lane -> highest seq accepted or cancelled; it and everything below are dead."""
        self.min_seqs: dict[AccountId, int] = {}
        """Off-chain CancelAll: orders with a lower seq are dead."""
        self.client_ids: dict[AccountId, dict[str, bytes]] = {}
        """Client ids of each account's last accepted orders, oldest first -> order id."""
        self.expiries: list[tuple[int, bytes]] = []
        """Heap of (expiry_s, order id); entries of orders that left are dropped when they surface."""
        self.premiums: dict[int, PremiumSamples] = {}
        """Market -> premium samples since its funding last accrued."""
        self.sampled_minute = 0
        self.recent: deque[RecentBatch] = deque(maxlen=MAX_RECENT_BATCHES)
        """What the last sealed batches touched: a direct operation the chain saw before one of them may not fit."""
        self.batch: OpenBatch | None = None
        self.sealed: deque[SealedBatch] = deque()
        self.next_fill_id = 1
        self.next_order_number = 1
        self.last_time_ms = 0
        self._draft: Execution | None = None

    def rules_of(self, market: int, session: int, matched_at_s: int) -> RulesWord | None:
        """Return the rules that bind a batch matched at this second, or None if they were never set."""
        return self.chain.rules_of(market, session, matched_at_s)

    @property
    def has_open_batch(self) -> bool:
        """Tell whether a seal would have an effect."""
        return self.batch is not None

    @property
    def is_open_batch_half_full(self) -> bool:
        """Tell whether the next order needs a seal before it."""
        return self.batch is not None and self.batch.is_half_full

    @property
    def next_batch_sequence(self) -> int:
        """Sequence of the open batch, or of the next to open."""
        return self.chain.batch.sequence + 1

    def execution(self, time_s: int) -> Execution:
        """Return the open batch's machine, or a draft at this second that the first fill or operation makes one."""
        if self.batch is not None:
            return self.batch.execution
        if self._draft is None or self._draft.matched_at_s != time_s:
            self._draft = Execution(self.chain, time_s)
        return self._draft

    def read_execution(self, time_s: int) -> Execution:
        """Return a machine for questions only; asking leaves no trace in the state."""
        return self.batch.execution if self.batch is not None else Execution(self.chain, time_s)

    def must_open_batch(self, time_s: int) -> OpenBatch:
        """Return the open batch, opening one matched at this second if there is none."""
        if self.batch is None:
            self.batch = OpenBatch(execution=self.execution(time_s))
            self._draft = None
        return self.batch

    def drop_draft(self) -> None:
        """Forget the draft: the mirror under it is about to change."""
        self._draft = None


def compute_state_hash(state: EngineState) -> bytes:
    """Return 32 bytes that two engines share if and only if they hold the same state.

    sha256 over the repr of plain tuples of int, bytes, str and bool: every part is sorted or has an order of its own,
    so neither hash seeds nor insertion histories show.
    """
    chain, batch = state.chain, state.batch
    parts: list[object] = [
        state.config,
        [sorted(words.items()) for words in (chain.accounts, chain.positions, chain.lanes, chain.prices)],
        [sorted(words.items()) for words in (chain.indices, chain.totals, chain.rules)],
        [sorted(words.items()) for words in (chain.overflows, chain.session_keys, chain.claims)],
        sorted(chain.approvals),
        (chain.batch_word, chain.head, chain.direct_op, chain.tracked_quote, chain.mode),
        [state.markets[market] for market in sorted(state.markets)],
        [
            [_order_parts(order) for side in (book.bids, book.asks) for order in side.iterate_orders()]
            for _, book in sorted(state.books.items())
        ],
        [_order_parts(order) for market in sorted(state.markets) for order in state.triggers.list_waiting(market)],
        state.triggers.is_pending,
        [(account, list(ids.items())) for account, ids in sorted(state.client_ids.items())],
        sorted(state.lane_seqs.items()),
        sorted(state.min_seqs.items()),
        list(state.sealed),
        [(one.sequence, sorted(one.positions), sorted(one.prices), sorted(one.indices)) for one in state.recent],
        (sorted(state.premiums.items()), state.sampled_minute, chain.mode),
        (state.next_fill_id, state.next_order_number, state.last_time_ms),
    ]
    if batch is not None:
        execution = batch.execution
        parts += [
            (execution.matched_at_s, batch.prices),
            (batch.fills, batch.operations, list(batch.orders.items()), list(batch.signers.items())),
            [
                (account, execution.collateral_quote(account), sorted(execution.positions(account).items()))
                for account in sorted({*batch.accounts, *(one for each in batch.operations for one in each.accounts)})
            ],
        ]
    digest = sha256()
    for part in parts:
        digest.update(repr(part).encode())
        digest.update(b"\n")
    return digest.digest()


def _order_parts(order: OpenOrder) -> tuple[object, ...]:
    return (
        order.order_id,
        order.account,
        order.record,
        order.epoch,
        order.client_id,
        order.accepted_ms,
        order.signer,
        order.order_number,
        order.partner_id,
        order.is_waiting,
        order.filled_lots,
        order.remaining_lots,
    )
