"""Hold one market as values: prices, rules of every session, indices, totals; and the questions asked of it.

Must not: change anything; prices.py and settlement.py build the next state. Twin: contracts/README.md, "settle()".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from afterbell.domain.ids import MarketId
from afterbell.domain.units import PPM, IndexE12, Ticks, mul_div_down
from afterbell.domain.words import IndexWord, PriceWord, RulesWord, TotalsWord


def is_fresh(price: PriceWord, rules: RulesWord | None, matched_at_s: int) -> bool:
    """Tell whether the prices may carry risk: rules given, both prices set, the external one young enough.

    max_age_s 0 = no limit. A session without rules has no margin either, so it must never look fresh.
    """
    if rules is None or price.mark_ticks == 0 or price.external_ticks == 0:
        return False
    return rules.max_age_s == 0 or price.external_time_s + rules.max_age_s >= matched_at_s


def compute_band(external_ticks: int, band_ppm: int) -> tuple[Ticks, Ticks]:
    """Return (lowest, highest) price allowed around the external price.

    Formula: external ∓ external x band_ppm / 1e6. Rounding: the width rounds down, so the band never grows; a lowest
    price below zero counts as zero.
    """
    width_ticks = mul_div_down(external_ticks, band_ppm, PPM)
    return Ticks(max(external_ticks - width_ticks, 0)), Ticks(external_ticks + width_ticks)


def compute_valuation_ticks(size_lots: int, mark_ticks: int, external_ticks: int) -> Ticks:
    """Return the price at which a position is valued: the worse of mark and external (long lower, short higher)."""
    return Ticks(min(mark_ticks, external_ticks) if size_lots > 0 else max(mark_ticks, external_ticks))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """One market at one moment. `rules` has an entry per session that was set."""

    market_id: MarketId
    price: PriceWord
    index: IndexWord = field(default_factory=IndexWord)
    totals: TotalsWord = field(default_factory=TotalsWord)
    rules: Mapping[int, RulesWord] = field(default_factory=dict)

    @property
    def is_listed(self) -> bool:
        """Tell whether the market exists."""
        return self.price.epoch > 0

    @property
    def rules_now(self) -> RulesWord | None:
        """Return the rules of the session now, or None if that session was never given any."""
        return self.rules.get(self.price.session)

    def is_fresh(self, matched_at_s: int) -> bool:
        """Tell whether risk may be taken at matched_at_s. A session without rules is never fresh."""
        return is_fresh(self.price, self.rules_now, matched_at_s)

    def band(self) -> tuple[Ticks, Ticks] | None:
        """Return (lowest, highest) allowed price, or None when there is no external price or no rule."""
        rules = self.rules_now
        if rules is None or self.price.external_ticks == 0:
            return None
        return compute_band(self.price.external_ticks, rules.band_ppm)

    def is_inside_band(self, price_ticks: int) -> bool:
        """Tell whether a fill may happen at this price; without an external price none may."""
        band = self.band()
        return band is not None and band[0] <= price_ticks <= band[1]

    def valuation_ticks(self, size_lots: int) -> Ticks:
        """Return the worse of mark and external for a position of this sign."""
        return compute_valuation_ticks(size_lots, self.price.mark_ticks, self.price.external_ticks)

    def index_e12(self, size_lots: int) -> IndexE12:
        """Return the funding index of the side a position of this sign is on. Units: 1e-12 quote per lot."""
        return IndexE12(self.index.long_index_e12 if size_lots > 0 else self.index.short_index_e12)
