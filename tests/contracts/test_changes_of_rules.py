"""A change of rules stands beside the rules in force until every batch that binds them has come."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.session import Session
from tests.contracts.desk import DAY_S, MARKET, PRICE_TICKS, RULES, SETTLE_LAG_S, Desk
from tests.contracts.venue import refused
from tests.support.chain import GOVERNOR

REGULAR_RULES: Final = MARKET << 8 | Session.REGULAR
CHANGING: Final = 1 << 170


def direct_op(desk: Desk) -> int:
    return int(desk.chain.call("Clearinghouse", "operator_word")) >> 160


def set_rules(desk: Desk, *entries: tuple[int, int]) -> None:
    desk.chain.call("MarketRegistry", "set_rules", MARKET, list(entries), sender=GOVERNOR)
    desk.logged = desk.chain.events()


def rules_words(desk: Desk) -> tuple[int, int, int]:
    """Return the word, its successor and the time it binds after."""
    rules, successor, binds_after_s = (
        desk.chain.call("Clearinghouse", "rules_word", MARKET + offset, Session.REGULAR) for offset in (0, 256, 512)
    )
    return rules, successor, binds_after_s


def test_set_rules__listed_market__stand_beside_the_old_until_they_bind(desk: Desk) -> None:
    number, old = direct_op(desk), RULES.pack()
    new = replace(RULES, band_ppm=50_000).pack()

    set_rules(desk, (Session.REGULAR, new))

    assert rules_words(desk) == (old | CHANGING, new, desk.chain.time_s + SETTLE_LAG_S)
    assert [(event.name, event.args) for event in desk.logged] == [
        (
            "DirectOperation",
            {
                "account": 0,
                "direct_op": number + 1,
                "kind": 4,
                "key": REGULAR_RULES,
                "value": new,
                "time_s": desk.chain.time_s,
            },
        )
    ]


def test_list_market__first_rules__are_stored_and_logged_without_a_number(desk: Desk) -> None:
    number, word = direct_op(desk), RULES.pack()

    desk.chain.list_market(9, word)

    logged = [event.args for event in desk.chain.events() if event.name == "MarketRulesSet"]
    assert logged == [{"market": 9, "session": session, "rules": word} for session in range(9)]
    assert direct_op(desk) == number
    assert [desk.chain.call("Clearinghouse", "rules_word", 9 + part, 0) for part in (0, 256, 512)] == [word, 0, 0]


@pytest.mark.parametrize(("late_s", "codes"), [(0, [0, 8]), (1, [8, 8])])
def test_set_rules__order_checks__use_what_binds(desk: Desk, late_s: int, codes: list[int]) -> None:
    """1,000 lots at 10,000 are 10 USDC: above the old minimum of 5, below the new one of 20. 490 lots: below both."""
    orders = [desk.order(desk.taker, buy=True), desk.order(desk.taker, buy=True, lots=490, lane=2)]
    set_rules(desk, (Session.REGULAR, replace(RULES, min_notional_quote=20_000_000).pack()))
    desk.age_prices(SETTLE_LAG_S + late_s)

    assert desk.settle(orders).orders == codes


@pytest.mark.parametrize(("late_s", "mark_ticks"), [(0, 10_900), (1, 10_500)])
def test_set_rules__price_rows__use_the_band_that_binds(desk: Desk, late_s: int, mark_ticks: int) -> None:
    """External 10,000; the old band ends at 11,000, the new one at 10,500; the mark may move 20 % in 300 s."""
    set_rules(desk, (Session.REGULAR, replace(RULES, band_ppm=50_000).pack()))
    desk.age_prices(SETTLE_LAG_S + late_s)

    desk.settle(rows=(PriceRow(market_id=MARKET, mark_ticks=10_900, index_ticks=PRICE_TICKS),))

    assert desk.chain.read_word("prices", MARKET) & 2**40 - 1 == mark_ticks


def test_set_rules__again__waits_until_every_batch_sees_the_first(desk: Desk) -> None:
    """Binds after + 300 s is the last second a batch under the old rules could still come."""
    first, second = (replace(RULES, band_ppm=band_ppm).pack() for band_ppm in (50_000, 60_000))
    set_rules(desk, (Session.REGULAR, first))
    binds_after_s = desk.chain.time_s + SETTLE_LAG_S
    for wait_s in (0, SETTLE_LAG_S + 1, SETTLE_LAG_S - 1):
        desk.age_prices(wait_s)
        with refused("rules: pending"):
            set_rules(desk, (Session.REGULAR, second))
    assert desk.chain.time_s == binds_after_s + SETTLE_LAG_S
    set_rules(desk, (Session.PRE, second))
    desk.age_prices(1)
    set_rules(desk, (Session.REGULAR, second))

    assert rules_words(desk) == (first | CHANGING, second, desk.chain.time_s + SETTLE_LAG_S)


def test_set_rules__changed_twice__the_first_change_binds_meanwhile(desk: Desk) -> None:
    first, second = replace(RULES, min_notional_quote=20_000_000), replace(RULES, min_notional_quote=30_000_000)
    orders = [
        desk.order(desk.taker, buy=True, lots=lots, lane=lane, expiry_s=desk.chain.time_s + DAY_S)
        for lane, lots in ((1, 1_000), (2, 2_000), (3, 3_000))
    ]
    set_rules(desk, (Session.REGULAR, first.pack()))
    desk.age_prices(2 * SETTLE_LAG_S + 1)
    set_rules(desk, (Session.REGULAR, second.pack()))

    assert desk.settle(orders, matched_at_s=desk.chain.time_s - SETTLE_LAG_S).orders == [8, 0, 0]
    desk.age_prices(SETTLE_LAG_S)
    assert desk.settle(orders).orders == [8, 0, 0]
    desk.age_prices(1)
    assert desk.settle(orders).orders == [8, 8, 0]


def test_set_rules__one_session__leaves_the_others_numbered_one_by_one(desk: Desk) -> None:
    number, new = direct_op(desk), replace(RULES, band_ppm=50_000).pack()

    set_rules(desk, (Session.PRE, new), (Session.POST, new))

    assert [(event.args["direct_op"], event.args["key"]) for event in desk.logged] == [
        (number + 1, MARKET << 8 | Session.PRE),
        (number + 2, MARKET << 8 | Session.POST),
    ]
    assert rules_words(desk) == (RULES.pack(), 0, 0)
    assert desk.chain.call("Clearinghouse", "rules_word", MARKET + 1, Session.PRE) == RULES.pack()
