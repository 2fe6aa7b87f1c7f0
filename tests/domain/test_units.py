from fractions import Fraction
from math import ceil, floor, trunc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain import units

NUMERATORS = st.integers(min_value=-(2**192), max_value=2**192)
DENOMINATORS = st.integers(min_value=1, max_value=2**64)


@given(NUMERATORS, DENOMINATORS)
def test_division__any_sign__rounds_as_its_name_says(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)

    assert units.div_down(numerator, denominator) == floor(exact)
    assert units.div_up(numerator, denominator) == ceil(exact)
    assert units.div_toward_zero(numerator, denominator) == trunc(exact)


@given(NUMERATORS, st.integers(-(2**64), 2**64), DENOMINATORS)
def test_mul_div__any_sign__divides_once_after_multiplying(left: int, right: int, denominator: int) -> None:
    exact = Fraction(left * right, denominator)

    assert units.mul_div_down(left, right, denominator) == floor(exact)
    assert units.mul_div_up(left, right, denominator) == ceil(exact)


@pytest.mark.parametrize("denominator", [0, -1])
def test_division__denominator_not_positive__raises(denominator: int) -> None:
    for divide in (units.div_down, units.div_up, units.div_toward_zero):
        with pytest.raises(ZeroDivisionError, match="denominator must be positive"):
            divide(1, denominator)


def test_lot_and_tick__apple__multiply_to_one_quote_unit() -> None:
    """0.0001 unit x 0.01 USD = 0.000001 USD."""
    assert units.lots_per_unit(4) == 10_000
    assert units.ticks_per_usd(4) == 100
    assert all(units.lots_per_unit(k) * units.ticks_per_usd(k) == units.QUOTE_PER_USDC for k in range(7))


def test_lot_and_tick__decimals_out_of_range__raises() -> None:
    with pytest.raises(ValueError, match="decimals"):
        units.lots_per_unit(7)


def test_seq__instant_after_genesis__counts_whole_milliseconds() -> None:
    genesis_s = 1_700_000_000

    assert units.seq_at(1_700_000_001_002_999_999, genesis_s) == 1_002
    assert units.seq_to_nanoseconds(1_002, genesis_s) == 1_700_000_001_002_000_000


@given(st.integers(0, 2**60))
def test_time__there_and_back__is_exact(time_ms: int) -> None:
    assert units.nanoseconds_to_milliseconds(units.milliseconds_to_nanoseconds(time_ms)) == time_ms
    assert units.milliseconds_to_seconds(time_ms) == time_ms // 1_000
    assert units.seconds_to_milliseconds(units.milliseconds_to_seconds(time_ms)) <= time_ms
    assert units.nanoseconds_to_seconds(units.seconds_to_nanoseconds(time_ms)) == time_ms


def test_clamp__inside_and_outside__draws_to_the_nearest_end() -> None:
    assert [units.clamp(number, 3, 5) for number in (2, 3, 4, 5, 6)] == [3, 3, 4, 5, 5]
