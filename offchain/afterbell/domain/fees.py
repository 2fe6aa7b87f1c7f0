"""Charge fees. Must not: know who pays; settlement.py does. Rates are never negative: there are no rebates."""

from __future__ import annotations

from afterbell.domain.units import PPM, Quote, mul_div_up


def compute_fee_quote(notional_quote: int, rate_ppm: int) -> Quote:
    """Return ceil(notional x rate / 1e6)."""
    return Quote(mul_div_up(notional_quote, rate_ppm, PPM))
