"""What must hold after every call, read from raw storage by code of its own: nothing here asks the model or a contract
of ours to add anything up. The invariants are numbered in contracts/README.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Final

from afterbell.domain.hashing import keccak
from tests.support.chain import Chain, artifacts

N_MARKETS: Final = 4
FIRST_BITS_OF_LIST: Final = 200
E12: Final = 10**12
MARK_STEP_S: Final = 3
MAX_MARK_STEPS: Final = 20
MAX_RATE_PER_8H: Final = Fraction(2, 100)
FUNDING_CATCH_UP_S: Final = 8 * 3_600


class Broken(AssertionError):
    """An invariant does not hold."""


@cache
def slot_of(variable: str, key: int | None = None) -> int:
    """Return where a variable of the Clearinghouse stands, or an entry of a map."""
    slot = int(artifacts()["Clearinghouse"].layout["storage_layout"][variable]["slot"])
    if key is None:
        return slot
    return int.from_bytes(keccak(slot.to_bytes(32, "big") + key.to_bytes(32, "big")), "big")


def bits(word: int, low: int, n_bits: int) -> int:
    return word >> low & (1 << n_bits) - 1


def signed(word: int, low: int, n_bits: int) -> int:
    value = bits(word, low, n_bits)
    return value - (1 << n_bits) if value >> n_bits - 1 else value


def require(condition: bool, invariant: str, *found: object) -> None:
    if not condition:
        raise Broken(f"{invariant}: {', '.join(map(str, found))}")


@dataclass(frozen=True, slots=True)
class Position:
    """A position word, taken apart."""

    lots: int
    entry_quote: int
    snapshot: int


@dataclass(slots=True)
class Books:
    """Every word of the Clearinghouse that the known accounts and markets can have, at one moment."""

    accounts: dict[int, int] = field(default_factory=dict)
    positions: dict[tuple[int, int], Position] = field(default_factory=dict)
    prices: dict[int, int] = field(default_factory=dict)
    indices: dict[int, int] = field(default_factory=dict)
    totals: dict[int, int] = field(default_factory=dict)
    lanes: dict[int, int] = field(default_factory=dict)
    batch: int = 0
    operator: int = 0
    head: bytes = b""
    tracked_quote: int = 0
    unpaid_quote: int = 0
    balance_quote: int = 0

    @classmethod
    def read(cls, chain: Chain, accounts: Iterable[int], lane_keys: Iterable[int]) -> Books:
        address, storage = chain.addresses["Clearinghouse"], chain.evm.storage

        def word(variable: str, key: int | None = None) -> int:
            return int(storage(address, slot_of(variable, key)))

        books = cls(head=word("head").to_bytes(32, "big"), batch=word("batch"), operator=word("operator"))
        for account in accounts:
            books.accounts[account] = word("accounts", account << 16)
            for market in range(1, N_MARKETS + 1):
                held = word("positions", account << 16 | market)
                books.positions[account, market] = Position(
                    signed(held, 0, 64), signed(held, 64, 96), signed(held, 160, 96)
                )
        for market in range(1, N_MARKETS + 1):
            books.prices[market] = word("prices", market)
            books.indices[market] = word("indices", market)
            books.totals[market] = word("totals", market)
        for key in lane_keys:
            books.lanes[key] = word("lanes", key)
        books.tracked_quote = chain.call("Vault", "tracked_quote")
        books.unpaid_quote = chain.call("Vault", "total_claims_quote")
        books.balance_quote = chain.call("token", "balanceOf", chain.addresses["Vault"])
        return books

    # Readings of words.

    def collateral_quote(self, account: int) -> int:
        return signed(self.accounts[account], 0, 72)

    def open_markets(self, account: int) -> list[int]:
        listed = [bits(self.accounts[account], FIRST_BITS_OF_LIST + 8 * slot, 8) for slot in range(6)]
        return [market for market in listed if market]

    def pot_quote(self, market: int) -> int:
        return signed(self.totals[market], 160, 96)

    def side_index(self, market: int, lots: int) -> int:
        return signed(self.indices[market], 96 if lots < 0 else 0, 96)

    def pending_quote(self, account: int, market: int) -> int:
        """Return what the position owes since its last touch, rounded up: a payer pays the part of a unit too."""
        position = self.positions[account, market]
        owed = position.lots * (self.side_index(market, position.lots) - position.snapshot)
        return -(-owed // E12)

    def equity_quote(self, account: int, ticks: dict[int, int]) -> int:
        """Return collateral and what closing everything at `ticks` would realise."""
        equity = self.collateral_quote(account)
        for market in range(1, N_MARKETS + 1):
            position = self.positions[account, market]
            if position.lots:
                equity += position.lots * ticks[market] - position.entry_quote - self.pending_quote(account, market)
        return equity

    def marks(self) -> dict[int, int]:
        return {market: bits(word, 0, 40) for market, word in self.prices.items()}

    def externals(self) -> dict[int, int]:
        return {market: bits(word, 80, 40) for market, word in self.prices.items()}

    @property
    def sequence(self) -> int:
        return bits(self.batch, 0, 40)

    @property
    def direct_op(self) -> int:
        return bits(self.operator, 160, 40)

    @property
    def mode(self) -> int:
        return bits(self.operator, 200, 8)

    # Invariants of one moment.

    def check(
        self,
        *,
        given_quote: int,
        n_touches: dict[int, int],
        is_donated: bool,
        spread_quote: dict[int, int],
        rounding_quote: int,
    ) -> None:
        """Hold everything that is true at any moment. given_quote: deposits less claims paid, counted by the test."""
        require(self.tracked_quote == given_quote, "I-1 tracked", self.tracked_quote, given_quote)
        require(
            self.balance_quote == self.tracked_quote or (is_donated and self.balance_quote > self.tracked_quote),
            "I-1 balance",
            self.balance_quote,
            self.tracked_quote,
        )
        collateral = sum(map(self.collateral_quote, self.accounts))
        entries = sum(position.entry_quote for position in self.positions.values())
        pots, fees = sum(map(self.pot_quote, self.totals)), bits(self.batch, 80, 80)
        owed = collateral - entries + pots + fees
        require(
            owed == self.tracked_quote - self.unpaid_quote, "I-1 identity", owed, self.tracked_quote, self.unpaid_quote
        )
        require(collateral == signed(self.batch, 160, 96), "I-2 sum of collateral", collateral)
        for market, total in self.totals.items():
            held = [self.positions[account, market] for account in self.accounts]
            require(
                sum(position.entry_quote for position in held) == signed(total, 64, 96), "I-2 sum of entries", market
            )
            longs = sum(position.lots for position in held if position.lots > 0)
            shorts = -sum(position.lots for position in held if position.lots < 0)
            require(longs == shorts == bits(total, 0, 64), "I-3 open interest", market, longs, shorts, total)
            # each touch rounds up by less than one unit
            pending = sum(self.pending_quote(account, market) for account in self.accounts)
            slack = self.pot_quote(market) + pending
            limit = n_touches.get(market, 0) + len(held) + rounding_quote
            require(-spread_quote.get(market, 0) <= slack <= limit, "I-4 pot", market, slack, limit)
        for account in self.accounts:
            held_in = {market for market in self.totals if self.positions[account, market].lots}
            listed = self.open_markets(account)
            require(
                len(listed) == len(set(listed)) and set(listed) == held_in, "I-5 open markets", hex(account), listed
            )
            for market in set(self.totals) - held_in:
                require(
                    self.positions[account, market].entry_quote == 0, "I-5 entry without size", hex(account), market
                )
            require(bool(listed) or self.collateral_quote(account) >= 0, "I-10 negative without position", hex(account))
        for market, word in self.prices.items():
            external = bits(word, 80, 40)
            require(external < 1 << 32 and bits(word, 200, 8) <= 8, "I-9 price word", market, hex(word))

    # Invariants of one step.

    def check_after(self, old: Books, *, elapsed_s: int) -> None:
        """Hold what no call may do."""
        require(self.sequence - old.sequence in (0, 1), "I-6 sequence", old.sequence, self.sequence)
        require(bits(self.batch, 40, 40) >= bits(old.batch, 40, 40), "I-6 matched at")
        require(self.direct_op >= old.direct_op, "I-6 direct operations", old.direct_op, self.direct_op)
        require((self.head == old.head) == (self.sequence == old.sequence), "I-7 head moves with batches alone")
        require(old.mode != 2 or self.mode == 2, "I-6 settled is for ever", self.mode)
        for account, word in self.accounts.items():
            before = old.accounts.get(account, 0)
            require(bits(word, 72, 40) >= bits(before, 72, 40), "I-6 min_seq", hex(account))
            lane, lane_before = bits(word, 112, 88), bits(before, 112, 88)
            self._check_lane(lane, lane_before, account)
        for key, word in self.lanes.items():
            for low in (0, 88):
                self._check_lane(bits(word, low, 88), bits(old.lanes.get(key, 0), low, 88), key)
        for market, word in self.prices.items():
            self._check_price(market, word, old.prices[market])
        for market, index in self.indices.items():
            self._check_index(market, index, old.indices[market], elapsed_s)

    @staticmethod
    def _check_lane(lane: int, before: int, where: int) -> None:
        seq, seq_before = bits(lane, 0, 40), bits(before, 0, 40)
        require(seq >= seq_before, "I-6 lane seq", hex(where))
        require(seq > seq_before or bits(lane, 40, 48) >= bits(before, 40, 48), "I-6 lane filled", hex(where))

    @staticmethod
    def _check_price(market: int, word: int, before: int) -> None:
        require(bits(word, 208, 32) >= bits(before, 208, 32), "I-6 epoch", market)
        for low in (120, 160):
            require(bits(word, low, 40) >= bits(before, low, 40), "I-6 price times", market, low)

    def _check_index(self, market: int, index: int, before: int, elapsed_s: int) -> None:
        require(bits(index, 192, 40) >= bits(before, 192, 40), "I-6 funding time", market)
        longs, shorts = (signed(index, low, 96) - signed(before, low, 96) for low in (0, 96))
        if bits(index, 192, 40) != bits(before, 192, 40) and longs == shorts != 0:
            ticks = bits(self.prices[market], 40, 40)
            dt = min(bits(index, 192, 40) - bits(before, 192, 40), FUNDING_CATCH_UP_S)
            cap = MAX_RATE_PER_8H * ticks * E12 * dt / FUNDING_CATCH_UP_S
            require(abs(longs) <= cap, "I-11 funding cap", market, longs, float(cap), elapsed_s)
