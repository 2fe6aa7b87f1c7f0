"""Hold every word of the Clearinghouse, and the Vault beside it, as one value.

Words stay packed under the contract's own keys, so that comparing two states is comparing integers. Must not: know how
a batch moves it; execution.py and settlement.py do. Twin: the storage of contracts/Clearinghouse.vy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, unique
from typing import Final

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.errors import DirectRefused, InvariantBroken
from afterbell.domain.ids import (
    MAX_MARKETS,
    account_key,
    lane_key,
    overflow_key,
    position_key,
    rules_binds_after_key,
    rules_key,
    rules_successor_key,
    session_key_id,
    tier_key,
)
from afterbell.domain.units import Quote
from afterbell.domain.words import (
    ACCOUNT_FLAG_OVERFLOW,
    RULES_FLAG_CHANGING,
    AccountWord,
    BatchWord,
    IndexWord,
    LaneWord,
    OverflowWord,
    PositionWord,
    PriceWord,
    RulesWord,
    TierWord,
    TotalsWord,
    validate_collateral,
)

FIRST_EPOCH: Final = 1


@unique
class Mode(IntEnum):
    """What the operator word says about the whole venue."""

    NORMAL = 0
    EXIT = 1
    """Every market counts as one without openings."""
    SETTLED = 2
    """No batch and no deposit; never left."""


@dataclass(slots=True, kw_only=True)
class ChainState:
    """Every word of the Clearinghouse, and the Vault beside it. Absent key = zero word, as in storage.

    accounts, positions, lanes, rules: contract keys (ids.py) -> 256-bit words; rules hold successors and tiers too.
    overflows: the contract keeps them in `accounts` under the same keys. prices, indices, totals: market id -> word.
    session_keys: ids.session_key_id -> word. claims: recipient's 20 bytes -> unpaid quote. approvals: (owner's 20
    bytes, digest) that Operations is known to hold.
    """

    accounts: dict[int, int] = field(default_factory=dict)
    overflows: dict[int, int] = field(default_factory=dict)
    session_keys: dict[int, int] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    lanes: dict[int, int] = field(default_factory=dict)
    prices: dict[int, int] = field(default_factory=dict)
    indices: dict[int, int] = field(default_factory=dict)
    totals: dict[int, int] = field(default_factory=dict)
    rules: dict[int, int] = field(default_factory=dict)
    batch_word: int = 0
    head: bytes = bytes(32)
    direct_op: int = 0
    mode: Mode = Mode.NORMAL
    claims: dict[bytes, int] = field(default_factory=dict)
    tracked_quote: int = 0
    approvals: set[tuple[bytes, bytes]] = field(default_factory=set)
    flags: dict[int, int] = field(default_factory=dict)
    """Of Liquidations, which batches ask: account id -> when it was flagged."""
    genesis_s: int = 0
    """GENESIS_S: seqs count milliseconds from here."""
    forbidden_recipients: frozenset[bytes] = frozenset()
    """Vault, Clearinghouse and token: a withdrawal to one of them would be stuck."""

    def copy(self) -> ChainState:
        """Return an independent copy."""
        return replace(
            self,
            accounts=dict(self.accounts),
            overflows=dict(self.overflows),
            session_keys=dict(self.session_keys),
            positions=dict(self.positions),
            lanes=dict(self.lanes),
            prices=dict(self.prices),
            indices=dict(self.indices),
            totals=dict(self.totals),
            rules=dict(self.rules),
            claims=dict(self.claims),
            approvals=set(self.approvals),
            flags=dict(self.flags),
        )

    @property
    def batch(self) -> BatchWord:
        """Return the batch word."""
        return BatchWord.unpack(self.batch_word)

    def account(self, account_id: int) -> AccountWord:
        """Return an account's word; all zero if it never existed."""
        return AccountWord.unpack(self.accounts.get(account_key(account_id), 0))

    def effective_min_seq(self, account_id: int, matched_at_s: int) -> int:
        """Return the lowest seq that lives in a batch matched at this second."""
        account = self.account(account_id)
        if not account.flags & ACCOUNT_FLAG_OVERFLOW:
            return account.min_seq
        overflow = OverflowWord.unpack(self.overflows.get(overflow_key(account_id), 0))
        is_bound = matched_at_s > overflow.pending_since_s + SETTLE_LAG_S
        return max(account.min_seq, overflow.bound_min_seq, overflow.pending_min_seq if is_bound else 0)

    def flagged_at_s(self, account_id: int) -> int:
        """Return when Liquidations flagged an account; 0 = not."""
        return self.flags.get(account_id, 0)

    def session_key_word(self, account_id: int, key: bytes) -> int:
        """Return what a key may sign for an account; 0 if it was never linked or revoked."""
        return self.session_keys.get(session_key_id(account_id, key), 0)

    def position(self, account_id: int, market_id: int) -> PositionWord:
        """Return a position's word."""
        return PositionWord.unpack(self.positions.get(position_key(account_id, market_id), 0))

    def open_positions(self, account_id: int) -> dict[int, PositionWord]:
        """Return market -> position for every market in the account's list."""
        return {
            market_id: self.position(account_id, market_id)
            for market_id in self.account(account_id).open_markets
            if market_id
        }

    def lane(self, account_id: int, lane: int) -> tuple[int, int]:
        """Return (seq, filled_lots) of a lane."""
        if lane == 0:
            account = self.account(account_id)
            return account.lane0_seq, account.lane0_filled_lots
        word = LaneWord.unpack(self.lanes.get(lane_key(account_id, lane), 0))
        return (word.odd_seq, word.odd_filled_lots) if lane & 1 else (word.even_seq, word.even_filled_lots)

    def price(self, market_id: int) -> PriceWord:
        """Return a market's price word; epoch 0 if it is not listed."""
        return PriceWord.unpack(self.prices.get(market_id, 0))

    def index(self, market_id: int) -> IndexWord:
        """Return a market's index word."""
        return IndexWord.unpack(self.indices.get(market_id, 0))

    def totals_of(self, market_id: int) -> TotalsWord:
        """Return a market's totals word."""
        return TotalsWord.unpack(self.totals.get(market_id, 0))

    def _rules_key_of(self, market_id: int, session: int, matched_at_s: int) -> int:
        """Return the key of the rules word that binds a batch matched at this second."""
        key = rules_key(market_id, session)
        is_changing = self.rules.get(key, 0) & RULES_FLAG_CHANGING
        if is_changing and matched_at_s > self.rules[rules_binds_after_key(market_id, session)]:
            return rules_successor_key(market_id, session)
        return key

    def rules_word_of(self, market_id: int, session: int, matched_at_s: int) -> int:
        """Return the rules word that binds a batch matched at this second; 0 if rules were never set."""
        return self.rules.get(self._rules_key_of(market_id, session, matched_at_s), 0)

    def rules_of(self, market_id: int, session: int, matched_at_s: int) -> RulesWord | None:
        """Return the rules that bind a batch matched at this second with their tiers, or None if never set."""
        key = self._rules_key_of(market_id, session, matched_at_s)
        word = self.rules.get(key, 0)
        if not word:
            return None
        rules = RulesWord.unpack(word)
        return (
            replace(rules, tiers=TierWord.unpack(self.rules.get(tier_key(key), 0)).tiers) if rules.is_tiered else rules
        )

    def compute_conservation_gap_quote(self) -> Quote:
        """Return what is missing from the identity of contracts/README.md ("Words"); zero, always.

        Formula: tracked - unpaid claims - (collateral - net entry + pots + fees); insurance is an account (D-020).
        """
        totals = [TotalsWord.unpack(word) for word in self.totals.values()]
        batch = self.batch
        owed_quote = (
            batch.collateral_quote
            - sum(total.net_entry_quote for total in totals)
            + sum(total.pot_quote for total in totals)
            + batch.fees_quote
        )
        return Quote(self.tracked_quote - sum(self.claims.values()) - owed_quote)

    def validate_invariants(self) -> None:
        """Recompute every running total from the words. Raises: InvariantBroken."""
        accounts = [AccountWord.unpack(word) for word in self.accounts.values()]
        if sum(account.collateral_quote for account in accounts) != self.batch.collateral_quote:
            raise InvariantBroken("sum of collateral differs from the batch word")
        lots: dict[int, int] = {}
        longs: dict[int, int] = {}
        entries: dict[int, int] = {}
        for key, word in self.positions.items():
            market_id, position = key & 0xFFFF, PositionWord.unpack(word)
            lots[market_id] = lots.get(market_id, 0) + position.size_lots
            longs[market_id] = longs.get(market_id, 0) + max(position.size_lots, 0)
            entries[market_id] = entries.get(market_id, 0) + position.entry_quote
            is_listed_open = market_id in AccountWord.unpack(self.accounts.get(key >> 16 << 16, 0)).open_markets
            if (position.size_lots != 0) != is_listed_open or (position.size_lots == 0 and position.entry_quote != 0):
                raise InvariantBroken(f"position {key:#x} disagrees with its account's list or its own entry")
        for market_id in {*lots, *self.totals}:
            totals = self.totals_of(market_id)
            if lots.get(market_id, 0) != 0:
                raise InvariantBroken(f"lots of market {market_id} sum to {lots[market_id]}")
            if longs.get(market_id, 0) != totals.open_interest_lots:
                raise InvariantBroken(f"open interest of market {market_id} differs from its totals word")
            if entries.get(market_id, 0) != totals.net_entry_quote:
                raise InvariantBroken(f"net entry of market {market_id} differs from its totals word")
        gap_quote = self.compute_conservation_gap_quote()
        if gap_quote:
            raise InvariantBroken(f"{gap_quote} quote units are missing")


def apply_deposit(state: ChainState, account_id: int, quote: int) -> int:
    """Credit a deposit; return its direct operation number.

    Raises: DirectRefused `clearinghouse: settled`, FieldOutOfRange; state unchanged.
    """
    if state.mode == Mode.SETTLED:
        raise DirectRefused("clearinghouse: settled")
    account, batch = state.account(account_id), state.batch
    validate_collateral(account.collateral_quote + quote)
    account_word = replace(account, collateral_quote=account.collateral_quote + quote).pack()
    batch_word = replace(batch, collateral_quote=batch.collateral_quote + quote).pack()
    store_word(state.accounts, account_key(account_id), account_word)
    state.batch_word = batch_word
    state.tracked_quote += quote
    state.direct_op += 1
    return state.direct_op


def pay_claim(state: ChainState, recipient: bytes) -> int:
    """Pay everything a recipient may claim; return the quote paid."""
    quote = state.claims.pop(recipient, 0)
    state.tracked_quote -= quote
    return quote


def list_market(state: ChainState, market_id: int) -> None:
    """List a market at epoch 1. Raises: ValueError if the id is out of range or taken."""
    if not 1 <= market_id <= MAX_MARKETS or market_id in state.prices:
        raise ValueError(f"market id must be free and in [1, {MAX_MARKETS}], found {market_id}")
    state.prices[market_id] = PriceWord(epoch=FIRST_EPOCH).pack()


def set_rules(state: ChainState, market_id: int, session: int, rules_word: int, tier_word: int = 0) -> None:
    """Write the first rules of a market in a session, with their tiers; direct.py changes them later."""
    key = rules_key(market_id, session)
    state.rules[key] = rules_word
    store_word(state.rules, tier_key(key), tier_word)


def store_word(words: dict[int, int], key: int, word: int) -> None:
    """Write a word; a zero word leaves no key, as in storage."""
    if word:
        words[key] = word
    else:
        words.pop(key, None)
