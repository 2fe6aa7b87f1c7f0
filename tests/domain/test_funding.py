"""Funding by hand, in fractions: no number here comes from the code under test.

Our rate: f8 = premium + clamp(carry - premium, -0.05 %, 0.05 %), at most 2 % in 8 hours; carry 41,095 ppb, 4.5 % a
year. With the carry of 0.01 % (100,000 ppb) the same formula gives the hourly vectors of reference/domain.md section 7.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain import funding
from afterbell.domain.funding import accrue, compute_rate_ppb, compute_step_e12
from afterbell.domain.words import IndexWord, PriceWord, TotalsWord
from tests.domain.test_prices import RULES

T = 1_900_000_000
H = 3_600
PRICE = PriceWord(
    mark_ticks=10_000, index_ticks=10_000, external_ticks=10_000, external_time_s=T, mark_time_s=T, session=2, epoch=1,
    session_minutes=10,
)  # fmt: skip
TOTALS = TotalsWord(open_interest_lots=5)


def by_hand(premium: Fraction, carry: Fraction = Fraction(41_095, 10**9)) -> Fraction:
    """Return the rate of 8 hours."""
    premium = max(Fraction(-4, 100), min(premium, Fraction(4, 100)))
    interest = max(Fraction(-5, 10_000), min(carry - premium, Fraction(5, 10_000)))
    return max(Fraction(-2, 100), min(premium + interest, Fraction(2, 100)))


# premium, hourly rate in per cent, of domain.md section 7
@pytest.mark.parametrize(
    ("premium", "hourly"),
    [("0", "0.00125"), ("0.0003", "0.00125"), ("0.0006", "0.00125"), ("-0.001", "-0.00625"), ("0.01", "0.11875")],
)
def test_rate__vectors_of_the_market__with_its_carry(
    premium: str, hourly: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last per cent premium is inside the cap of 2 % in 8 hours, so nothing else of ours differs."""
    monkeypatch.setattr(funding, "CARRY_PPB", 100_000)
    ppb = int(Fraction(premium) * 10**9)

    assert Fraction(compute_rate_ppb(ppb), 8 * 10**9) * 100 == Fraction(hourly)
    assert by_hand(Fraction(premium), Fraction(1, 10_000)) / 8 * 100 == Fraction(hourly)


@pytest.mark.parametrize(
    ("premium_ppb", "rate_ppb"),
    [
        (0, 41_095),  # carry alone
        (41_095, 41_095),
        (541_095, 41_095),  # the last premium that carry takes back whole
        (541_096, 41_096),
        (-458_905, 41_095),
        (-458_906, 41_094),
        (10_000_000, 9_500_000),
        (20_500_000, 20_000_000),  # the cap of 2 %
        (20_500_001, 20_000_000),
        (40_000_001, 20_000_000),
        (2**31 - 1, 20_000_000),
        (-20_500_000, -20_000_000),
        (-(2**31), -20_000_000),
    ],
)
def test_rate__premium__at_every_edge(premium_ppb: int, rate_ppb: int) -> None:
    assert compute_rate_ppb(premium_ppb) == rate_ppb


@given(st.integers(-(2**31), 2**31 - 1))
def test_rate__any_premium__is_the_fraction(premium_ppb: int) -> None:
    assert Fraction(compute_rate_ppb(premium_ppb), 10**9) == by_hand(Fraction(premium_ppb, 10**9))


def test_step__one_hour_of_carry__by_hand() -> None:
    """41,095e-9 of 10,000 ticks in 8 h is 0.41095 quote a lot; one hour 0.05136875."""
    assert compute_step_e12(0, 10_000, H) == 51_368_750_000


@given(st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**33), st.integers(0, 8 * H))
def test_step__any__is_the_fraction_toward_zero_and_within_the_cap(premium_ppb: int, ticks: int, seconds: int) -> None:
    exact = by_hand(Fraction(premium_ppb, 10**9)) * ticks * seconds / (8 * H) * 10**12
    step = compute_step_e12(premium_ppb, ticks, seconds)

    assert abs(exact) - 1 < abs(step) <= abs(exact)
    assert step * exact >= 0
    assert abs(step) <= Fraction(25, 10_000) * ticks * Fraction(seconds, H) * 10**12  # 0.25 % an hour


def index(last_s: int) -> IndexWord:
    return IndexWord(long_index_e12=7, short_index_e12=-9, funding_time_s=last_s, reserve_ticks=3)


def gained(last_s: int, now_s: int, window_start_s: int = 0, **changes: Any) -> int:
    price = replace(PRICE, external_time_s=now_s)
    given_: dict[str, Any] = {"price": price, "rules": RULES, "totals": TOTALS}
    after = accrue(
        index(last_s), premium_ppb=0, window_start_s=window_start_s, matched_at_s=now_s, **(given_ | changes)
    )
    assert after.funding_time_s == now_s
    assert after.reserve_ticks == 3
    assert after.long_index_e12 - 7 == after.short_index_e12 + 9
    return after.long_index_e12 - 7


HOUR = 51_368_750_000


def test_accrual__hour_after_hour__adds_up() -> None:
    assert [gained(T, T + n * H) for n in range(4)] == [0, HOUR, 2 * HOUR, 3 * HOUR]


@pytest.mark.parametrize(("hours", "counted"), [(8, 8), (9, 8), (72, 8), (87_600, 8)])
def test_accrual__after_a_silence__counts_eight_hours_at_most(hours: int, counted: int) -> None:
    assert gained(T, T + hours * H) == counted * HOUR


def test_accrual__weekend_of_72_hours__counts_only_what_lies_in_the_window_now() -> None:
    """T54: Friday's close to Monday's open plus twenty minutes: a third of an hour, not eight of them."""
    monday_s = T + 72 * H
    assert gained(T, monday_s + 1_200, window_start_s=monday_s) == HOUR // 3
    assert gained(T, monday_s, window_start_s=monday_s) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": None},
        {"rules": replace(RULES, is_funding_on=False)},
        {"totals": TotalsWord()},
        {"price": replace(PRICE, external_time_s=T + H - 61)},  # too old
        {"price": replace(PRICE, external_time_s=T + H, session_minutes=0)},
        {"price": replace(PRICE, external_time_s=T + H, mark_ticks=0)},
    ],
)
def test_accrual__where_nothing_may_accrue__moves_the_clock_alone(changes: dict[str, Any]) -> None:
    assert gained(T, T + H, **changes) == 0


def test_accrual__first_of_a_market__starts_the_clock() -> None:
    assert gained(0, T) == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_accrual__at_the_end_of_the_range__stands_still(sign: int) -> None:
    """An index stays inside 2^88 for ever; a position of it can still be closed."""
    edge = sign * ((1 << 88) - 1)
    at_edge = IndexWord(long_index_e12=edge, short_index_e12=0, funding_time_s=T)
    after = accrue(
        at_edge, price=replace(PRICE, external_time_s=T + H), rules=RULES, totals=TOTALS,
        premium_ppb=sign * 10**7, window_start_s=0, matched_at_s=T + H,
    )  # fmt: skip

    assert (after.long_index_e12, after.short_index_e12, after.funding_time_s) == (edge, 0, T + H)
