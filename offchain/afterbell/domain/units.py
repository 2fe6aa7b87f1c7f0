"""Name the units and be the only place where one becomes another.

One lot x one tick = one quote unit (1e-6 USDC) in every market, so a notional is exact (contracts/README.md, D-002).
Vyper truncates toward zero, Python floors: no bare `//` or `%` on anything that may be negative, use the named helpers.
Must not: hold Decimal or float; text for people is made at the edge.
"""

from __future__ import annotations

from typing import Final, NewType

Lots = NewType("Lots", int)
"""Size atom of a market; signed where it is a position (long > 0)."""
Ticks = NewType("Ticks", int)
"""Price atom of a market; never negative."""
Quote = NewType("Quote", int)
"""1e-6 USDC."""
Ppm = NewType("Ppm", int)
"""Millionths."""
IndexE12 = NewType("IndexE12", int)
"""1e-12 quote per lot: funding indices and their snapshots."""
PriceE8 = NewType("PriceE8", int)
"""1e-8 USD per share: what price reports carry."""
Seconds = NewType("Seconds", int)
"""UNIX seconds, or a duration in seconds."""
Milliseconds = NewType("Milliseconds", int)
"""Venue milliseconds since genesis (a seq), or a duration."""
Nanoseconds = NewType("Nanoseconds", int)
"""UNIX nanoseconds of the sequencer."""

PPM: Final = 1_000_000
INDEX_SCALE: Final = 10**12
PRICE_SCALE: Final = 10**8
QUOTE_PER_USDC: Final = 10**6
_MS_PER_S: Final = 1_000
_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000


def _must_be_positive(denominator: int) -> None:
    if denominator <= 0:
        raise ZeroDivisionError(f"denominator must be positive, found {denominator}")


def div_down(numerator: int, denominator: int) -> int:
    """Divide rounding toward minus infinity: what somebody receives or may take."""
    _must_be_positive(denominator)
    return numerator // denominator


def div_up(numerator: int, denominator: int) -> int:
    """Divide rounding toward plus infinity: what somebody owes, a fee, a requirement."""
    _must_be_positive(denominator)
    return -(-numerator // denominator)


def div_toward_zero(numerator: int, denominator: int) -> int:
    """Divide as Vyper does, dropping the fraction."""
    _must_be_positive(denominator)
    return numerator // denominator if numerator >= 0 else -(-numerator // denominator)


def mul_div_down(left: int, right: int, denominator: int) -> int:
    """Multiply, then divide once, rounding down."""
    return div_down(left * right, denominator)


def mul_div_up(left: int, right: int, denominator: int) -> int:
    """Multiply, then divide once, rounding up."""
    return div_up(left * right, denominator)


def clamp(number: int, low: int, high: int) -> int:
    """Return the nearest number to `number` inside [low, high]; low wins if they cross."""
    return max(low, min(number, high))


def compute_notional_quote(size_lots: int, price_ticks: int) -> Quote:
    """Return abs(size) x price, exact. Units: lots x ticks = quote."""
    return Quote(abs(size_lots) * price_ticks)


def lots_per_unit(size_decimals: int) -> int:
    """Return 10^k: lots in one unit (share x multiplier) of a market whose lot is 10^-k units."""
    return _power_of_ten(size_decimals)


def ticks_per_usd(size_decimals: int) -> int:
    """Return 10^(6-k): ticks in one USD of a market whose lot is 10^-k units; one lot x one tick is one quote unit."""
    return _power_of_ten(6 - size_decimals)


def _power_of_ten(exponent: int) -> int:
    if not 0 <= exponent <= 6:
        raise ValueError(f"decimals must lie in [0, 6], found {exponent}")
    return int(10**exponent)


def seconds_to_milliseconds(time_s: int) -> Milliseconds:
    """Convert exactly."""
    return Milliseconds(time_s * _MS_PER_S)


def milliseconds_to_seconds(time_ms: int) -> Seconds:
    """Convert, rounding down."""
    return Seconds(div_down(time_ms, _MS_PER_S))


def nanoseconds_to_seconds(time_ns: int) -> Seconds:
    """Convert, rounding down: the second in which the instant lies."""
    return Seconds(div_down(time_ns, _NS_PER_S))


def nanoseconds_to_milliseconds(time_ns: int) -> Milliseconds:
    """Convert, rounding down."""
    return Milliseconds(div_down(time_ns, _NS_PER_MS))


def milliseconds_to_nanoseconds(time_ms: int) -> Nanoseconds:
    """Convert exactly."""
    return Nanoseconds(time_ms * _NS_PER_MS)


def seconds_to_nanoseconds(time_s: int) -> Nanoseconds:
    """Convert exactly."""
    return Nanoseconds(time_s * _NS_PER_S)


def seq_at(time_ns: int, genesis_s: int) -> Milliseconds:
    """Return the seq of an instant: milliseconds since the instance's genesis, rounded down."""
    return Milliseconds(div_down(time_ns - genesis_s * _NS_PER_S, _NS_PER_MS))


def seq_to_nanoseconds(seq: int, genesis_s: int) -> Nanoseconds:
    """Return the first instant that has this seq."""
    return Nanoseconds(genesis_s * _NS_PER_S + seq * _NS_PER_MS)
