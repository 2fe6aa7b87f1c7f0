"""The model of exits by itself: its words, its clock, and settlements worked out by hand.

Most of its proofs stand in tests/contracts/test_exits_*.py, which run it beside the contract.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.account_risk import Holding
from afterbell.domain.chain_state import ChainState, Mode, apply_deposit
from afterbell.domain.errors import DirectRefused, FieldOutOfRange
from afterbell.domain.exit_requests import (
    Cause,
    ExitsState,
    RequestWord,
    cancel_request,
    request_close,
    request_withdrawal,
)
from afterbell.domain.exits import (
    Uptime,
    enter_exit_mode,
    force_withdrawal,
    is_alive,
    is_silent,
    observe,
    start_final_settlement,
    value_conservatively,
)
from afterbell.domain.final_settlement import claim, compute_claimable_quote, tally
from afterbell.domain.ids import build_account_id
from afterbell.domain.words import BatchWord, RulesWord

NOW_S = 1_900_000_000
DAY_S = 86_400
OWNER, OTHER, INSURANCE, VAULT = (bytes([number]) * 20 for number in (0x11, 0x22, 0x33, 0x44))
ACCOUNT, SECOND = build_account_id(OWNER, 0), build_account_id(OTHER, 7)
RULES = RulesWord(
    initial_margin_ppm=100_000, settlement_margin_ppm=60_000, maintenance_margin_ppm=50_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=1_000_000, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=10, price_step_ticks=5, min_notional_quote=1, max_fee_ppm=1_000,
)  # fmt: skip


def funded(*, first: int = 100, second: int = 50) -> tuple[ChainState, ExitsState]:
    state = ChainState(genesis_s=NOW_S - DAY_S, forbidden_recipients=frozenset({VAULT}))
    state.batch_word = BatchWord(sequence=1, matched_at_s=NOW_S).pack()
    apply_deposit(state, ACCOUNT, first)
    apply_deposit(state, SECOND, second)
    return state, ExitsState()


def settled(state: ChainState, exits: ExitsState) -> None:
    enter_exit_mode(state, exits, now_s=NOW_S + DAY_S + 1)
    start_final_settlement(state, exits, now_s=NOW_S + 8 * DAY_S + 1)


def test_request_word__every_field_at_its_largest__comes_back() -> None:
    word = RequestWord(
        remaining=2**64 - 1, requested_at_s=2**40 - 1, worst_ticks=2**40 - 2, observed_at_s=2**40 - 3, elapsed_s=3_600,
        waiting_since_s=2**40 - 4, is_long=True, is_running=False, is_overdue=True,
    )  # fmt: skip
    packed = word.pack()
    assert packed >> 240 == 0b101
    assert (packed & 2**64 - 1, packed >> 184 & 0xFFFF) == (2**64 - 1, 3_600)
    assert RequestWord.unpack(packed) == word


def test_request_word__a_number_too_wide__is_refused() -> None:
    with pytest.raises(FieldOutOfRange):
        RequestWord(remaining=2**64, requested_at_s=0).pack()


def test_advance__between_looks__counts_only_what_ran_and_stops_at_the_hour() -> None:
    request = RequestWord(remaining=1, requested_at_s=NOW_S)
    first = request.advance(NOW_S + 10, is_halted=False)
    assert (first.elapsed_s, first.is_running) == (0, True)
    second = first.advance(NOW_S + 110, is_halted=False)
    assert second.elapsed_s == 100
    halted = second.advance(NOW_S + 500, is_halted=True)
    assert (halted.elapsed_s, halted.is_running) == (100, False)
    resumed = halted.advance(NOW_S + 900, is_halted=False)
    assert (resumed.elapsed_s, resumed.is_running) == (100, True)
    assert resumed.advance(NOW_S + 90_000, is_halted=False).elapsed_s == 3_600


@pytest.mark.parametrize(
    ("age_s", "edge"), [(DAY_S - 1, 1_000), (DAY_S, 2_000), (4 * DAY_S, 5_000), (99 * DAY_S, 5_000)]
)
@pytest.mark.parametrize("size_lots", [1, -1])
def test_value_conservatively__stale_price__moves_to_the_edge_worse_for_the_position(
    age_s: int, edge: int, size_lots: int
) -> None:
    holding = Holding(
        market_id=1, size_lots=size_lots, mark_ticks=10_000, external_ticks=10_000, external_time_s=NOW_S - age_s,
        reserve_ticks=0, session=2, rules=RULES, is_fresh=False,
    )  # fmt: skip
    assert value_conservatively(holding, NOW_S).external_ticks == 10_000 - size_lots * edge
    assert value_conservatively(replace(holding, is_fresh=True), NOW_S).external_ticks == 10_000
    halted = value_conservatively(replace(holding, is_fresh=True, session=6), NOW_S)
    assert (halted.external_ticks, halted.is_fresh) == (10_000 - size_lots * edge, False)


def test_value_conservatively__band_wider_than_half__stays_as_wide_as_it_is() -> None:
    holding = Holding(
        market_id=1, size_lots=1, mark_ticks=10_000, external_ticks=10_000, external_time_s=NOW_S - 9 * DAY_S,
        reserve_ticks=0, session=2, rules=replace(RULES, band_ppm=700_000), is_fresh=False,
    )  # fmt: skip
    assert value_conservatively(holding, NOW_S).external_ticks == 3_000


def test_request_withdrawal__refused__leaves_nothing_behind() -> None:
    state, exits = funded()
    with pytest.raises(DirectRefused, match="exits: recipient"):
        request_withdrawal(state, exits, ACCOUNT, 1, VAULT, now_s=NOW_S)
    with pytest.raises(DirectRefused, match="exits: nothing asked"):
        request_withdrawal(state, exits, ACCOUNT, 0, OWNER, now_s=NOW_S)
    with pytest.raises(DirectRefused, match="exits: no position"):
        request_close(state, exits, ACCOUNT, 1, 1, 1, now_s=NOW_S)
    with pytest.raises(DirectRefused, match="exits: no request"):
        cancel_request(exits, ACCOUNT, 0)
    assert exits == ExitsState()


def test_force_withdrawal__in_two_parts__pays_what_there_is_each_time() -> None:
    state, exits = funded()
    request_withdrawal(state, exits, ACCOUNT, 150, OTHER, now_s=NOW_S)
    assert force_withdrawal(state, exits, ACCOUNT, now_s=NOW_S + 6 * 3_600) == 100
    apply_deposit(state, ACCOUNT, 70)
    assert force_withdrawal(state, exits, ACCOUNT, now_s=NOW_S + 6 * 3_600) == 50
    assert (state.claims, exits.requests, state.account(ACCOUNT).collateral_quote) == ({OTHER: 150}, {}, 20)
    state.validate_invariants()


def test_observe__withdrawal__has_no_clock() -> None:
    state, exits = funded()
    request_withdrawal(state, exits, ACCOUNT, 1, OWNER, now_s=NOW_S)
    with pytest.raises(DirectRefused, match="exits: no request"):
        observe(state, exits, ACCOUNT, 0, now_s=NOW_S + DAY_S)


def test_observe__position_gone__ends_the_request() -> None:
    state, exits = funded()
    exits.requests[ACCOUNT << 16 | 1] = RequestWord(remaining=5, requested_at_s=NOW_S, is_long=True).pack()
    assert observe(state, exits, ACCOUNT, 1, now_s=NOW_S + 1) is Cause.NO_POSITION
    assert exits.requests == {}


@pytest.mark.parametrize(
    ("after_s", "uptime", "expected"),
    [
        (DAY_S, None, False),
        (DAY_S + 1, None, True),
        (DAY_S + 1, Uptime(is_up=True, since_s=NOW_S), True),
        (DAY_S + 1, Uptime(is_up=True, since_s=NOW_S + 1), False),
        (DAY_S + 1, Uptime(is_up=False, since_s=NOW_S), False),
        (2 * DAY_S, Uptime(is_up=False, since_s=NOW_S), False),
        (2 * DAY_S + 1, Uptime(is_up=False, since_s=NOW_S), True),
    ],
)
def test_is_silent__last_batch_and_feed__at_every_edge(after_s: int, uptime: Uptime | None, expected: bool) -> None:
    state, _ = funded()
    assert is_silent(state, NOW_S + after_s, uptime) is expected


def test_is_alive__last_batch_an_hour_ago__no_more() -> None:
    state, _ = funded()
    assert is_alive(state, NOW_S + 3_599)
    assert not is_alive(state, NOW_S + 3_600)


def test_final_settlement__assets_short_by_a_third__pays_floors_of_one_ratio() -> None:
    """150 owed and 100 there: 100 x 2/3 = 66, 50 x 2/3 = 33; one unit is left."""
    state, exits = funded()
    settled(state, exits)
    state.tracked_quote -= 50
    assert tally(state, exits, [SECOND], insurance_owner=INSURANCE) is False
    assert tally(state, exits, [SECOND, ACCOUNT, ACCOUNT], insurance_owner=INSURANCE) is True

    assert [claim(state, exits, account) for account in (ACCOUNT, SECOND)] == [66, 33]
    assert compute_claimable_quote(exits, ACCOUNT) == 0
    with pytest.raises(DirectRefused, match="exits: nothing to claim"):
        claim(state, exits, ACCOUNT)


def test_final_settlement__insurance__is_counted_and_claims_nothing() -> None:
    state, exits = funded()
    insurance = build_account_id(INSURANCE, 1)
    apply_deposit(state, insurance, 1_000)
    settled(state, exits)
    assert tally(state, exits, [ACCOUNT, SECOND], insurance_owner=INSURANCE) is False
    assert tally(state, exits, [insurance], insurance_owner=INSURANCE) is True
    assert (exits.assets_quote, exits.positive_equity_quote) == (1_150, 150)
    assert [compute_claimable_quote(exits, account) for account in (ACCOUNT, SECOND, insurance)] == [100, 50, 0]


def test_final_settlement__started__deposits_end_and_nothing_else_starts() -> None:
    state, exits = funded()
    settled(state, exits)
    assert state.mode is Mode.SETTLED
    with pytest.raises(DirectRefused, match="clearinghouse: settled"):
        apply_deposit(state, ACCOUNT, 1)
    with pytest.raises(DirectRefused, match="exits: settled"):
        request_withdrawal(state, exits, ACCOUNT, 1, OWNER, now_s=NOW_S)
    with pytest.raises(DirectRefused, match="exits: mode"):
        enter_exit_mode(state, exits, now_s=NOW_S + 99 * DAY_S)
