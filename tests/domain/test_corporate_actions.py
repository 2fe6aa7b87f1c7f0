"""The model of corporate actions on its own: numbers worked out by hand, from Eurex's circular where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.chain_state import ChainState, Mode, apply_deposit, list_market, set_rules
from afterbell.domain.corporate_actions import (
    ActionKind,
    Announcement,
    CorporateActionsState,
    Venue,
    activate,
    announce,
    cancel,
    compute_action_ticks,
    confirm,
    correct_split,
    reopen,
    reserve,
    settle_positions,
)
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import account_key, position_key
from afterbell.domain.oracle import Observation, OracleMarket, OracleState, compute_external_ticks
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.prices import state_markets
from afterbell.domain.session import Session
from afterbell.domain.words import IndexWord, PositionWord, PriceWord, RulesWord, TotalsWord

T = 1_900_000_000
DAY_S = 86_400
LAG_S = 300
USD = 10**8
USDC = 10**6
LONG, SHORT, OTHER = (number << 80 for number in (1, 2, 3))
RULES = RulesWord(
    initial_margin_ppm=100_000, settlement_margin_ppm=60_000, maintenance_margin_ppm=50_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=1_000_000, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=10, price_step_ticks=5, min_notional_quote=USDC, max_fee_ppm=1_000,
)  # fmt: skip
EX_DATE = (T + 2 * DAY_S) // DAY_S


@pytest.fixture
def venue() -> Venue:
    """One market at 100.00 (ticks of a cent), LONG 3,000 lots against SHORT 2,000 and OTHER 1,000."""
    chain = ChainState(genesis_s=T - 1_000)
    list_market(chain, 1)
    for session in range(9):
        set_rules(chain, 1, session, RULES.pack())
    chain.prices[1] = PriceWord(
        mark_ticks=10_000, index_ticks=10_000, external_ticks=10_000, external_time_s=T, mark_time_s=T, session=2,
        epoch=1, session_minutes=9,
    ).pack()  # fmt: skip
    # odd on purpose: dividends are whole ticks on top of whatever funding left
    chain.indices[1] = IndexWord(long_index_e12=7, short_index_e12=-123_456_789_012_345).pack()
    for account in (LONG, SHORT, OTHER):
        apply_deposit(chain, account, 1_000 * USDC)
    for account, lots in ((LONG, 3_000), (SHORT, -2_000), (OTHER, -1_000)):
        snapshot_e12 = 7 if lots > 0 else -123_456_789_012_345
        position = PositionWord(size_lots=lots, entry_quote=lots * 10_000, index_snapshot_e12=snapshot_e12)
        chain.positions[position_key(account, 1)] = position.pack()
        chain.accounts[account_key(account)] |= 1 << 200
    chain.totals[1] = TotalsWord(open_interest_lots=3_000).pack()
    chain.validate_invariants()
    oracle = OracleState(markets={1: OracleMarket(ticks_per_usd=100, max_confidence_ppm=5_000)})
    return Venue(chain=chain, oracle=oracle, actions=CorporateActionsState())


def plain(kind: ActionKind, **changes: Any) -> Announcement:
    terms: dict[ActionKind, dict[str, Any]] = {
        ActionKind.SPLIT: {"num": 2, "den": 1},
        ActionKind.DIVIDEND: {"price_e8": USD, "reserve_s": T + DAY_S},
        ActionKind.CASH_SETTLEMENT: {"price_e8": 103 * USD},
        ActionKind.STOCK_MERGER: {"num": 3, "den": 2, "source_id": 4, "second_source_id": 256, "symbol": "NEW"},
        ActionKind.RENAME: {"second_source_id": 7, "symbol": "NEW"},
        ActionKind.STEP: {},
    }
    whole: dict[str, Any] = {"market_id": 1, "kind": kind, "ex_date": EX_DATE, "effective_s": T + 2 * DAY_S}
    return Announcement(**(whole | terms[kind] | changes))


def schedule(venue: Venue, announcement: Announcement, now_s: int = T) -> int:
    """Announce as the governor, which nobody needs to confirm; return when it may be activated."""
    announce(venue, announcement, is_governor=True, now_s=now_s)
    return announcement.effective_s + LAG_S + 1


def refused(reason: str) -> Any:
    return pytest.raises(DirectRefused, match=f"^{reason}$")


# Ticks.


@pytest.mark.parametrize(
    ("price_e8", "num", "den", "ticks"),
    [
        (26_000_000, 1, 1, 26),  # 0.26, Binance's example
        (12_500_000, 1, 1, 13),  # 12.5 ticks: half up
        (12_499_999, 1, 1, 12),
        (499_999, 1, 1, 0),
        (500_000, 1, 1, 1),
        (25_000_000, 15, 1, 375),  # TSLA after both splits
        (25_000_000, 1, 3, 8),  # 8.33
        (5_000_000, 1, 10, 1),  # half a tick of a tenth of a share
    ],
)
def test_ticks__of_a_sum_a_share__rounded_half_up(price_e8: int, num: int, den: int, ticks: int) -> None:
    market = OracleMarket(ticks_per_usd=100, max_confidence_ppm=1, multiplier_num=num, multiplier_den=den)

    assert compute_action_ticks(price_e8, market) == ticks


# Splits.


def test_split__activated__the_multiplier_moves_and_no_word(venue: Venue) -> None:
    before = venue.chain.copy()
    now_s = schedule(venue, plain(ActionKind.SPLIT))

    activate(venue, 1, now_s=now_s)

    assert venue.chain == before
    assert compute_external_ticks(50 * USD, venue.oracle.markets[1]) == 10_000
    assert venue.oracle.halts_from_s == {1: T + 2 * DAY_S}


def test_split__eurex_ratio_of_a_special_dividend__values_five_settlements_as_published(venue: Venue) -> None:
    """Inditex 2018-10-31: 25.15 - 0.165 regular, 0.21 special: R = 0.99159496, prices x R, sizes / R.

    A spin-off or special dividend by ratio is a split of 1 / R: what a unit is worth does not move.
    """
    num, den = 24_985, 24_775
    schedule(venue, plain(ActionKind.SPLIT, num=num, den=den))
    activate(venue, 1, now_s=T + 2 * DAY_S + LAG_S + 1)

    market = venue.oracle.markets[1]
    for before, after in (("24.9813", "24.7713"), ("24.9737", "24.7638"), ("24.9492", "24.7395")):
        cum_ticks, ex_e8 = int(before.replace(".", "")) // 100, int(after.replace(".", "")) * 10_000
        assert abs(compute_external_ticks(ex_e8, market) - cum_ticks) <= 1
    assert 100 * num * 10_000 // den == 1_008_476  # 100.8476 shares for 100


def test_split__report_after_activation_agrees__reopens(venue: Venue) -> None:
    now_s = schedule(venue, plain(ActionKind.SPLIT))
    activate(venue, 1, now_s=now_s)
    for price_e8, publish_time_s, reason in (
        (50 * USD, now_s, "action: no report"),
        (50 * USD, now_s - 100, "action: no report"),
        (0, now_s + 1, "action: no report"),
        (60_01 * 10**6, now_s + 1, "action: discontinuous"),
        (39_99 * 10**6, now_s + 1, "action: discontinuous"),
        (100 * USD, now_s + 1, "action: discontinuous"),
    ):
        venue.oracle.primaries[1] = Observation(price_e8=price_e8, publish_time_s=publish_time_s)
        with refused(reason):
            reopen(venue, 1, is_governor=False, now_s=now_s + 2)
    venue.oracle.primaries[1] = Observation(price_e8=60 * USD, publish_time_s=now_s + 1)
    with refused("action: no report"):
        reopen(venue, 1, is_governor=False, now_s=now_s + 602)

    reopen(venue, 1, is_governor=False, now_s=now_s + 601)

    assert venue.oracle.halts_from_s == {}


def test_split__wrong_way_round__is_corrected_by_the_square(venue: Venue) -> None:
    now_s = schedule(venue, plain(ActionKind.SPLIT, num=1, den=5))
    activate(venue, 1, now_s=now_s)

    correct_split(venue, 1, 25, 1, now_s=now_s + 10)

    market = venue.oracle.markets[1]
    assert (market.multiplier_num, market.multiplier_den) == (5, 1)
    assert venue.actions.actions[1].activated_s == now_s + 10


# Dividends.


def test_dividend__activated__whole_ticks_from_shorts_to_longs(venue: Venue) -> None:
    """1.00 a share: 100 ticks. 3,000 lots receive 300,000, 2,000 and 1,000 pay 200,000 and 100,000."""
    accounts = (LONG, SHORT, OTHER)

    def pendings() -> list[int]:
        index = venue.chain.index(1)
        return [compute_pending_quote(venue.chain.position(account, 1), index) for account in accounts]

    assert pendings() == [0, 0, 0]
    now_s = schedule(venue, plain(ActionKind.DIVIDEND))
    reserve(venue, 1, now_s=T + DAY_S + LAG_S + 1)
    assert venue.chain.index(1).reserve_ticks == 100

    activate(venue, 1, now_s=now_s)

    assert pendings() == [-300_000, 200_000, 100_000]
    price, index = venue.chain.price(1), venue.chain.index(1)
    assert (price.mark_ticks, price.index_ticks, price.external_ticks, price.epoch) == (9_900, 9_900, 9_900, 2)
    assert (price.external_time_s, price.session_minutes) == (T + 2 * DAY_S, 0)
    assert index == IndexWord(long_index_e12=7 - 10**14, short_index_e12=-123_456_789_012_345 - 10**14)
    assert venue.oracle.halts_from_s == {}
    venue.chain.validate_invariants()


def test_dividend__announcer_alone__two_percent_every_twenty_days(venue: Venue) -> None:
    for price_e8, is_waiting in ((2 * USD, False), (201 * USD // 100, True)):
        action = announce(venue, plain(ActionKind.DIVIDEND, price_e8=price_e8), is_governor=False, now_s=T)
        assert action.is_waiting == is_waiting
        cancel(venue, 1)
    first = plain(ActionKind.DIVIDEND)
    activate(venue, 1, now_s=schedule(venue, first))
    for days, is_waiting in ((19, True), (20, False)):
        effective_s = first.effective_s + days * DAY_S
        later = plain(
            ActionKind.DIVIDEND, effective_s=effective_s, ex_date=EX_DATE + days, reserve_s=effective_s - DAY_S
        )
        action = announce(venue, later, is_governor=False, now_s=first.effective_s + DAY_S)
        assert action.is_waiting == is_waiting
        cancel(venue, 1)


def test_dividend__cancelled_after_its_reservation__gives_it_back(venue: Venue) -> None:
    schedule(venue, plain(ActionKind.DIVIDEND))
    reserve(venue, 1, now_s=T + DAY_S + LAG_S + 1)

    cancel(venue, 1)

    assert venue.chain.index(1).reserve_ticks == 0


def test_dividend__above_the_price_by_then__refused_and_nothing_changed(venue: Venue) -> None:
    times = {"effective_s": T + 6 * DAY_S, "ex_date": EX_DATE + 4, "reserve_s": T + 5 * DAY_S}
    now_s = schedule(venue, plain(ActionKind.DIVIDEND, price_e8=50 * USD, **times))
    price = venue.chain.price(1)
    venue.chain.prices[1] = PriceWord(
        mark_ticks=5_000, index_ticks=1, external_ticks=5_001, external_time_s=T, epoch=price.epoch
    ).pack()
    before = venue.chain.copy()

    with refused("action: dividend above price"):
        activate(venue, 1, now_s=now_s)

    assert venue.chain == before
    assert venue.actions.activated == set()


# Endings.


@pytest.mark.parametrize(
    "groups",
    [
        [[LONG, SHORT, OTHER]],
        [[LONG, SHORT], [LONG, OTHER]],
        [[LONG, OTHER], [LONG, SHORT]],
        [[LONG, OTHER], [SHORT, LONG, OTHER]],
    ],
)
def test_cash_settlement__any_grouping__pays_alike(venue: Venue, groups: list[list[int]]) -> None:
    """Final price 103.00: 3,000 lots bought at 100.00 gain 0.90 USDC, 2,000 and 1,000 sold lose 0.60 and 0.30."""
    activate(venue, 1, now_s=schedule(venue, plain(ActionKind.CASH_SETTLEMENT)))

    for group in groups:
        settle_positions(venue, 1, sorted(group), cover=_nobody_owes)
        venue.chain.validate_invariants()

    assert [venue.chain.account(account).collateral_quote for account in (LONG, SHORT, OTHER)] == [
        1_000_900_000, 999_400_000, 999_700_000,
    ]  # fmt: skip
    assert venue.chain.totals_of(1).pot_quote == venue.chain.totals_of(1).open_interest_lots == 0


def _nobody_owes(account_id: int, market_id: int) -> None:
    raise AssertionError(f"account {account_id} must not owe in market {market_id}")


def test_cash_settlement__more_shorts_than_longs_named__closes_the_first_named(venue: Venue) -> None:
    activate(venue, 1, now_s=schedule(venue, plain(ActionKind.CASH_SETTLEMENT)))
    settle_positions(venue, 1, [LONG, OTHER], cover=_nobody_owes)

    sizes = [venue.chain.position(account, 1).size_lots for account in (LONG, SHORT, OTHER)]

    assert sizes == [2_000, -2_000, 0]
    with refused("action: nothing cancels"):
        settle_positions(venue, 1, [LONG, OTHER], cover=_nobody_owes)


def test_cash_settlement__account_without_positions_that_owes__is_handed_on(venue: Venue) -> None:
    chain = venue.chain
    times = {"effective_s": T + 8 * DAY_S, "ex_date": EX_DATE + 6}
    now_s = schedule(venue, plain(ActionKind.CASH_SETTLEMENT, price_e8=700 * USD, **times))
    # 2,000 lots short from 100.00 to 700.00 lose 120 USDC; 3 are there
    chain.accounts[account_key(SHORT)] -= 997 * USDC
    chain.batch_word -= 997 * USDC << 160
    activate(venue, 1, now_s=now_s)
    owing = []

    settle_positions(venue, 1, [LONG, SHORT], cover=lambda account, market: owing.append((account, market)))

    assert owing == [(SHORT, 1)]
    assert chain.account(SHORT).collateral_quote == -117 * USDC


def test_stock_merger__activated__sources_follow_without_an_overlap(venue: Venue) -> None:
    venue.oracle.primaries[1] = Observation(price_e8=100 * USD, publish_time_s=T)
    now_s = schedule(venue, plain(ActionKind.STOCK_MERGER))

    activate(venue, 1, now_s=now_s)

    market = venue.oracle.markets[1]
    assert (market.multiplier_num, market.multiplier_den) == (3, 2)
    assert (market.source_id, market.second_source_id) == (4, None)
    assert not market.is_primary(0, now_s)
    assert venue.oracle.primaries[1].price_e8 == 0
    assert venue.chain.price(1).epoch == 2


# The halt, as prices see it.


@pytest.mark.parametrize("kind", ActionKind)
def test_halt__announced_action__is_the_session_from_its_first_second(venue: Venue, kind: ActionKind) -> None:
    schedule(venue, plain(kind))

    def session_at(matched_at_s: int) -> int:
        row = PriceRow(market_id=1, mark_ticks=10_000, index_ticks=10_000)
        (stated,) = state_markets(venue.oracle, venue.chain, [row.market_id], b"", matched_at_s).markets
        return stated.session

    assert session_at(T + 2 * DAY_S - 1) != Session.CORPORATE_ACTION
    assert session_at(T + 2 * DAY_S) == Session.CORPORATE_ACTION


def test_unconfirmed__at_its_effective_time__halts_and_waits(venue: Venue) -> None:
    """A split that everybody forgot to confirm must not reach anybody as a fall of the price."""
    announcement = plain(ActionKind.SPLIT)
    announce(venue, announcement, is_governor=False, now_s=T)
    assert venue.oracle.is_halted(1, announcement.effective_s)
    with refused("action: digest"):
        confirm(venue, 1, plain(ActionKind.SPLIT, num=3))
    with refused("action: unconfirmed"):
        activate(venue, 1, now_s=announcement.effective_s + DAY_S)

    confirm(venue, 1, announcement)

    activate(venue, 1, now_s=announcement.effective_s + DAY_S)


def test_cancelled_split__was_true__stays_halted_and_the_right_one_follows(venue: Venue) -> None:
    first = plain(ActionKind.SPLIT, num=3)
    announce(venue, first, is_governor=True, now_s=T)
    cancel(venue, 1)
    assert venue.oracle.halts_from_s == {1: first.effective_s}
    now_s = first.effective_s + 10
    # 2 for 1 at 50.00, counted as one share a unit
    venue.oracle.primaries[1] = Observation(price_e8=50 * USD, publish_time_s=now_s - 1)
    with refused("action: discontinuous"):
        reopen(venue, 1, is_governor=False, now_s=now_s)
    with refused("action: another stands"):
        announce(venue, plain(ActionKind.STEP), is_governor=True, now_s=T)
    second = plain(ActionKind.SPLIT, effective_s=first.effective_s + DAY_S, ex_date=EX_DATE + 1)

    announce(venue, second, is_governor=True, now_s=first.effective_s)

    assert venue.oracle.halts_from_s == {1: first.effective_s}
    activate(venue, 1, now_s=second.effective_s + LAG_S + 1)
    venue.oracle.primaries[1] = Observation(price_e8=50 * USD, publish_time_s=second.effective_s + LAG_S + 2)
    reopen(venue, 1, is_governor=False, now_s=second.effective_s + LAG_S + 2)
    assert venue.oracle.halts_from_s == {}


def test_cancelled_split__was_false__reopens_on_the_first_price_of_the_halt(venue: Venue) -> None:
    announcement = plain(ActionKind.SPLIT)
    announce(venue, announcement, is_governor=True, now_s=T)
    cancel(venue, 1)
    for publish_time_s in (announcement.effective_s - 1, announcement.effective_s):
        venue.oracle.primaries[1] = Observation(price_e8=100 * USD, publish_time_s=publish_time_s)
        with refused("action: no report"):
            reopen(venue, 1, is_governor=False, now_s=announcement.effective_s + 1)
    venue.oracle.primaries[1] = Observation(price_e8=100 * USD, publish_time_s=announcement.effective_s + 1)

    reopen(venue, 1, is_governor=False, now_s=announcement.effective_s + 1)

    assert venue.oracle.halts_from_s == {}
    with refused("action: none"):
        activate(venue, 1, now_s=announcement.effective_s + DAY_S)


def test_refusal__of_any_kind__leaves_everything_as_it_was(venue: Venue) -> None:
    chain, oracle = venue.chain.copy(), venue.oracle.copy()
    calls: tuple[Callable[[], None], ...] = (
        lambda: activate(venue, 1, now_s=T), lambda: cancel(venue, 1), lambda: reserve(venue, 1, now_s=T),
    )  # fmt: skip
    for mode, reason in ((Mode.NORMAL, "action: none"), (Mode.SETTLED, "action: venue settled")):
        venue.chain.mode = mode
        for call in calls:
            with refused(reason):
                call()
    venue.chain.mode = Mode.NORMAL

    assert (venue.chain, venue.oracle) == (chain, oracle)
