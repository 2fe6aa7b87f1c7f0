"""Name every lane of every storage word, so that a difference between two words can be said in words and units.

Its one job: the bit tables of contracts/README.md as data. Written apart from domain/words.py on purpose: the auditor
reads words with its own eyes. Must not: know a rule. Twin: contracts/README.md, "Words".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One lane of a word: `n_bits` at `offset`, two's complement if signed."""

    name: str
    unit: str
    offset: int
    n_bits: int
    is_signed: bool = False

    def read(self, word: int) -> int:
        """Return the lane's number."""
        lane = word >> self.offset & ((1 << self.n_bits) - 1)
        return lane - (1 << self.n_bits) if self.is_signed and lane >> (self.n_bits - 1) else lane


def _lanes(*rows: tuple[str, str, int, int] | tuple[str, str, int, int, bool]) -> tuple[Lane, ...]:
    """Build lanes from (name, unit, first bit, last bit[, signed])."""
    return tuple(
        Lane(name=row[0], unit=row[1], offset=row[2], n_bits=row[3] - row[2] + 1, is_signed=len(row) == 5)
        for row in rows
    )


POSITION: Final = _lanes(
    ("size_lots", "lots", 0, 63, True),
    ("entry_quote", "quote", 64, 159, True),
    ("index_snapshot_e12", "1e-12 quote per lot", 160, 255, True),
)
ACCOUNT: Final = _lanes(
    ("collateral_quote", "quote", 0, 71, True),
    ("min_seq", "ms since genesis", 72, 111),
    ("lane0_seq", "ms since genesis", 112, 151),
    ("lane0_filled_lots", "lots", 152, 199),
    ("open_markets", "market ids, sorted", 200, 247),
    ("flags", "bits", 248, 255),
)
OVERFLOW: Final = _lanes(
    ("pending_min_seq", "ms since genesis", 0, 39),
    ("pending_since_s", "UNIX s", 40, 79),
    ("bound_min_seq", "ms since genesis", 80, 119),
    ("reserved", "bits", 120, 255),
)
SESSION_KEY: Final = _lanes(
    ("expiry_s", "UNIX s", 0, 39),
    ("max_notional_quote", "quote", 40, 103),
    ("markets", "bits", 104, 135),
    ("trade_only", "yes or no", 136, 136),
    ("reduce_only", "yes or no", 137, 137),
    ("reserved", "bits", 138, 143),
    ("revoked_at_s", "UNIX s", 144, 183),
    ("reserved above", "bits", 184, 254),
    ("linked", "yes or no", 255, 255),
)
LANES: Final = _lanes(
    ("even_seq", "ms since genesis", 0, 39),
    ("even_filled_lots", "lots", 40, 87),
    ("odd_seq", "ms since genesis", 88, 127),
    ("odd_filled_lots", "lots", 128, 175),
    ("reserved", "bits", 176, 255),
)
PRICE: Final = _lanes(
    ("mark_ticks", "ticks", 0, 39),
    ("index_ticks", "ticks", 40, 79),
    ("external_ticks", "ticks", 80, 119),
    ("external_time_s", "UNIX s", 120, 159),
    ("mark_time_s", "UNIX s", 160, 199),
    ("session", "session", 200, 207),
    ("epoch", "epoch", 208, 239),
    ("session_minutes", "minutes", 240, 255),
)
RULES: Final = _lanes(
    ("initial_margin_ppm", "ppm", 0, 19),
    ("settlement_margin_ppm", "ppm", 20, 39),
    ("maintenance_margin_ppm", "ppm", 40, 59),
    ("band_ppm", "ppm", 60, 79),
    ("mark_step_ppm", "ppm per 3 s", 80, 95),
    ("max_age_s", "s", 96, 111),
    ("open_interest_cap_lots", "lots", 112, 151),
    ("account_share", "of 65,536", 152, 167),
    ("flags", "bits", 168, 175),
    ("size_step_lots", "lots", 176, 191),
    ("price_step_ticks", "ticks", 192, 207),
    ("min_notional_quote", "quote", 208, 239),
    ("max_fee_ppm", "ppm", 240, 255),
)
INDEX: Final = _lanes(
    ("long_index_e12", "1e-12 quote per lot", 0, 95, True),
    ("short_index_e12", "1e-12 quote per lot", 96, 191, True),
    ("funding_time_s", "UNIX s", 192, 231),
    ("reserve_ticks", "ticks", 232, 255),
)
TIERS: Final = _lanes(
    ("edge_1_usdc", "USDC", 0, 47),
    ("add_1_ppm", "ppm", 48, 67),
    ("edge_2_usdc", "USDC", 68, 115),
    ("add_2_ppm", "ppm", 116, 135),
    ("edge_3_usdc", "USDC", 136, 183),
    ("add_3_ppm", "ppm", 184, 203),
    ("reserved", "bits", 204, 255),
)
TOTALS: Final = _lanes(
    ("open_interest_lots", "lots", 0, 63),
    ("net_entry_quote", "quote", 64, 159, True),
    ("pot_quote", "quote", 160, 255, True),
)
BATCH: Final = _lanes(
    ("sequence", "batches", 0, 39),
    ("matched_at_s", "UNIX s", 40, 79),
    ("fees_quote", "quote", 80, 159),
    ("collateral_quote", "quote", 160, 255, True),
)
POSITION_CHANGE: Final = _lanes(
    ("size_change_lots", "lots", 0, 63, True),
    ("realised_quote", "quote", 64, 159, True),
    ("fees_quote", "quote", 160, 255),
)
WORDS: Final[Mapping[str, tuple[Lane, ...]]] = {
    "account": ACCOUNT,
    "position": POSITION,
    "overflow": OVERFLOW,
    "session key": SESSION_KEY,
    "lanes": LANES,
    "price": PRICE,
    "rules": RULES,
    "tiers": TIERS,
    "index": INDEX,
    "totals": TOTALS,
    "batch": BATCH,
}


def read_lane(lanes: tuple[Lane, ...], name: str, word: int) -> int:
    """Return the named lane of a word."""
    return next(lane for lane in lanes if lane.name == name).read(word)


def sort_open_markets(lane: int) -> tuple[int, ...]:
    """Return the non-zero market ids of an open-markets lane, ascending: the slots carry no order."""
    return tuple(sorted(market for market in lane.to_bytes(6, "little") if market))


def show_lane(lane: Lane, word: int) -> str:
    """Return a lane as text for people."""
    number = lane.read(word)
    if lane.name == "open_markets":
        return " ".join(map(str, sort_open_markets(number))) or "none"
    if lane.unit in ("hash", "address"):
        return f"0x{number:0{64 if lane.unit == 'hash' else 40}x}"
    if lane.name.endswith("filled_lots") and number == (1 << 48) - 1:
        return "consumed"
    return str(number)


def differing_lanes(lanes: tuple[Lane, ...], expected: int, found: int) -> list[Lane]:
    """Return the lanes in which two words differ; open markets are compared as a set."""
    return [
        lane
        for lane in lanes
        if lane.read(expected) != lane.read(found) and show_lane(lane, expected) != show_lane(lane, found)
    ]
