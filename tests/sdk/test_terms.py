"""Terms: what a caller writes becomes ticks and lots exactly, and a slippage is never exceeded by rounding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.sdk.terms import OrderTerms, compute_worst_ticks, read_slippage_ppm
from afterbell.sdk.values import Market, MarketRules


def build_market(step_ticks: int = 1, band: tuple[int, int] | None = None) -> Market:
    rules = MarketRules(
        initial_margin_ppm=0, maintenance_margin_ppm=0, band_ppm=0, max_age_s=0, open_interest_cap_lots=0,
        size_step_lots=1, price_step_ticks=step_ticks, min_notional_quote=0, max_fee_ppm=0, taker_fee_ppm=0,
        maker_fee_ppm=0, is_opening_allowed=True,
    )  # fmt: skip
    low, high = band or (None, None)
    return Market(
        market=1, symbol="AAPL", epoch=1, lot_exponent=4, ticks_per_usd=100, session="REGULAR", mark_ticks=10_000,
        index_ticks=10_000, external_ticks=10_000, external_time_s=0, band_low_ticks=low, band_high_ticks=high,
        best_bid_ticks=None, best_ask_ticks=None, open_interest_lots=0, is_synthetic=False, is_halted=False,
        halt_reason="", rules=rules,
    )  # fmt: skip


@given(
    reference_ticks=st.integers(1, 1 << 32),
    slippage_ppm=st.integers(0, 1_000_000),
    step_ticks=st.integers(1, 100),
    is_buy=st.booleans(),
)
def test_worst_ticks__any_price_and_step__never_beyond_the_slippage_and_as_close_as_a_step(
    reference_ticks: int, slippage_ppm: int, step_ticks: int, is_buy: bool
) -> None:
    """The bound in exact fractions: reference x (1 +- slippage)."""
    worst_ticks = compute_worst_ticks(
        build_market(step_ticks), reference_ticks, is_buy=is_buy, slippage_ppm=slippage_ppm
    )

    slippage = Fraction(slippage_ppm, 1_000_000)
    bound = reference_ticks * (1 + slippage if is_buy else 1 - slippage)
    assert worst_ticks % step_ticks == 0
    if is_buy:
        assert worst_ticks <= bound < worst_ticks + step_ticks
    else:
        assert max(worst_ticks - step_ticks, 0) < bound <= worst_ticks or worst_ticks == step_ticks


def test_worst_ticks__beyond_the_band__stands_at_its_edge() -> None:
    market = build_market(10, band=(9_505, 10_495))

    assert compute_worst_ticks(market, 10_000, is_buy=True, slippage_ppm=200_000) == 10_490
    assert compute_worst_ticks(market, 10_000, is_buy=False, slippage_ppm=200_000) == 9_510


@pytest.mark.parametrize(
    ("given", "ppm"), [(5_000, 5_000), ("0.005", 5_000), (Decimal("0.000001"), 1), ("1", 10**6), (0, 0)]
)
def test_slippage__int_is_ppm_and_text_a_fraction__exactly(given: Any, ppm: int) -> None:
    assert read_slippage_ppm(given) == ppm


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (0.005, TypeError),
        (True, TypeError),
        ("0.0000001", ValueError),
        (-1, ValueError),
        ("1.1", ValueError),
        ("x", ValueError),
    ],
)
def test_slippage__anything_else__is_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_slippage_ppm(given)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (1.5, TypeError),
        ("nan", ValueError),
        ("inf", ValueError),
        ("1e400", ValueError),
        ("1" * 300, ValueError),
        ("", ValueError),
    ],
)
def test_atoms__no_exact_number__is_refused(number: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        build_market().to_lots(number)


def test_atoms__more_digits_than_the_ordinary_context__stay_exact() -> None:
    """33 digits: Decimal's ordinary context keeps 28 and would round the last ones away."""
    assert build_market().to_lots("12345678901234567890123456789.1234") == 123456789012345678901234567891234


@pytest.mark.parametrize(
    "terms",
    [{}, {"price": 1, "worst_price": 1}, {"price": 1, "max_slippage": 1}, {"worst_price": 1, "max_slippage": 1}],
)
def test_stop__not_exactly_one_price__is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="found"):
        OrderTerms.stop("AAPL", "SELL", 1, 9_900, **terms)
    with pytest.raises(TypeError, match="found"):
        OrderTerms.take_profit("AAPL", "SELL", 1, 9_900, **terms)
