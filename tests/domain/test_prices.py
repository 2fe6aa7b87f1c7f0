"""Numbers: external 10,000 ticks, band 10 % = 9,000..11,000, step 1 % per 3 s."""

from dataclasses import replace

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.errors import BatchReverted
from afterbell.domain.market import compute_band, compute_valuation_ticks, is_fresh
from afterbell.domain.prices import apply_price_row
from afterbell.domain.words import PriceWord, RulesWord

T = 1_900_000_000
RULES = RulesWord(
    initial_margin_ppm=100_000, settlement_margin_ppm=60_000, maintenance_margin_ppm=50_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=10**6, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=1, price_step_ticks=1, min_notional_quote=0, max_fee_ppm=1_000,
)  # fmt: skip
PRICE = PriceWord(
    mark_ticks=10_000,
    index_ticks=10_000,
    external_ticks=10_000,
    external_time_s=T,
    mark_time_s=T,
    session=2,
    epoch=1,
    session_minutes=1_000,
)


def row(mark_ticks: int, index_ticks: int = 10_000) -> PriceRow:
    return PriceRow(market_id=1, mark_ticks=mark_ticks, index_ticks=index_ticks)


@pytest.mark.parametrize(
    ("row_mark", "elapsed_s", "mark", "mark_moved"),
    [
        (10_500, 0, 10_000, False),  # no whole step yet
        (10_500, 2, 10_000, False),
        (10_500, 3, 10_100, True),  # one step of 1 %
        (10_500, 6, 10_200, True),
        (10_050, 6, 10_050, True),  # the target is nearer than two steps
        (9_000, 8, 9_800, True),
        (20_000, 3_600, 11_000, True),  # twenty steps reach 12,000; the band ends at 11,000
        (0, 3_600, 9_000, True),
        (10_000, 30, 10_000, True),  # it stays, but it was allowed to move
    ],
)
def test_mark__row_and_elapsed_time__moves_by_at_most_its_steps(
    row_mark: int, elapsed_s: int, mark: int, mark_moved: bool
) -> None:
    after = apply_price_row(replace(PRICE, external_time_s=T + elapsed_s), RULES, row(row_mark), T + elapsed_s)

    assert after.mark_ticks == mark
    assert after.mark_time_s == (T + elapsed_s if mark_moved else T)


def test_mark__external_fell_out_of_reach__the_step_wins_over_the_band() -> None:
    """Mark 10,000, external 5,300: target at most 5,830, twenty steps of 1 % reach only 8,000."""
    fallen = replace(PRICE, external_ticks=5_300, external_time_s=T + 3_600)

    after = apply_price_row(fallen, RULES, row(5_300), T + 3_600)

    assert after.mark_ticks == 8_000


def test_mark__never_set__jumps_to_the_target() -> None:
    after = apply_price_row(replace(PRICE, mark_ticks=0, mark_time_s=0), RULES, row(12_000), T)

    assert (after.mark_ticks, after.mark_time_s) == (11_000, T)


def test_mark__so_small_that_a_step_is_nothing__keeps_its_time() -> None:
    """99 x 1 % = 0.99 ticks, rounded down to none; two steps are 1.98, one tick."""
    tiny = replace(PRICE, mark_ticks=99, external_ticks=99)

    assert apply_price_row(tiny, RULES, row(105), T + 3).mark_time_s == T
    assert apply_price_row(tiny, RULES, row(105), T + 6).mark_ticks == 100


def test_index__external_fresh__is_the_external() -> None:
    assert apply_price_row(PRICE, RULES, row(10_000, index_ticks=10_900), T + 60).index_ticks == 10_000


def test_index__external_old__follows_the_row_inside_the_band() -> None:
    assert apply_price_row(PRICE, RULES, row(10_000, index_ticks=10_900), T + 61).index_ticks == 10_900
    assert apply_price_row(PRICE, RULES, row(10_000, index_ticks=99_999), T + 61).index_ticks == 11_000
    assert apply_price_row(PRICE, RULES, row(10_000, index_ticks=0), T + 61).index_ticks == 9_000


def test_row__no_external_price_yet__reverts() -> None:
    with pytest.raises(BatchReverted, match="prices: no external"):
        apply_price_row(PriceWord(epoch=1), RULES, row(10_000), T)


def test_fresh__age_at_and_past_its_limit__ends_after_the_limit() -> None:
    assert is_fresh(PRICE, RULES, T + 60)
    assert not is_fresh(PRICE, RULES, T + 61)
    assert is_fresh(PRICE, replace(RULES, max_age_s=0), T + 59_999)


def test_fresh__session_stated_for_two_minutes__ends_with_the_second() -> None:
    """Whatever the age limit: a price is stated for 120 s after it was published, the last of them excluded."""
    stated = replace(PRICE, session_minutes=2)

    assert is_fresh(stated, replace(RULES, max_age_s=0), T + 119)
    assert not is_fresh(stated, replace(RULES, max_age_s=0), T + 120)
    assert not is_fresh(replace(PRICE, session_minutes=0), replace(RULES, max_age_s=0), T)


def test_fresh__a_price_or_the_rules_missing__is_never_fresh() -> None:
    for missing in ({"mark_ticks": 0}, {"external_ticks": 0}):
        assert not is_fresh(replace(PRICE, **missing), replace(RULES, max_age_s=0), T)
    assert not is_fresh(PRICE, None, T)


def test_band__odd_price__width_rounds_down() -> None:
    """15 x 10 % = 1.5, so one tick each way."""
    assert compute_band(15, 100_000) == (14, 16)
    assert compute_band(10_000, 0) == (10_000, 10_000)


def test_valuation__long_and_short__take_the_worse_price() -> None:
    assert compute_valuation_ticks(1, 90, 95) == 90
    assert compute_valuation_ticks(-1, 90, 95) == 95


def test_valuation__dividend_announced__makes_shorts_dearer_alone() -> None:
    assert compute_valuation_ticks(1, 90, 95, 7) == 90
    assert compute_valuation_ticks(-1, 90, 95, 7) == 102
