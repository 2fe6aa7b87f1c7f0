"""Seeded integers: the same words give the same number on every machine, for ever.

SHA-256 rather than `random`: its sequence is documented by a standard, needs no state, and any moment of a path can be
asked for on its own, so separate publisher processes agree without talking.
"""

from __future__ import annotations

import hashlib


def draw_below(bound: int, *words: object) -> int:
    """Return a number in [0, bound), evenly spread for bounds far below 2^256. Raises: ValueError."""
    if bound <= 0:
        raise ValueError(f"bound must be positive, found {bound}")
    digest = hashlib.sha256("|".join(str(word) for word in words).encode()).digest()
    return int.from_bytes(digest, "big") % bound


def draw_between(low: int, high: int, *words: object) -> int:
    """Return a number in [low, high]."""
    return low + draw_below(high - low + 1, *words)


def draw_bell_ppm(*words: object) -> int:
    """Return a number with mean 0 and standard deviation 1,000,000 (one sigma in ppm), never beyond six sigma.

    Formula: the sum of twelve even draws from [0, 1e6] less 6e6 (variance 12 x 1e12 / 12).
    """
    return sum(draw_between(0, 1_000_000, i, *words) for i in range(12)) - 6_000_000
