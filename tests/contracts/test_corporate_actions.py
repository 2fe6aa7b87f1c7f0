"""Who may announce what, how long ahead, and what a stolen key of each role can do with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Any

import pytest

from afterbell.domain.corporate_actions import ActionKind, Announcement
from tests.contracts.corporate import ANNOUNCER, DAY_S, GUARDIAN, LAG_S, Exchange, digest_of
from tests.contracts.venue import refused
from tests.support.chain import GOVERNOR, OUTSIDER, START_S

SPLIT, DIVIDEND, CASH_SETTLEMENT = ActionKind.SPLIT, ActionKind.DIVIDEND, ActionKind.CASH_SETTLEMENT
STOCK_MERGER, RENAME, STEP = ActionKind.STOCK_MERGER, ActionKind.RENAME, ActionKind.STEP
EVERY = tuple(ActionKind)
USD = 10**8
NAME = "CorporateActions"
REGULAR, CORPORATE_ACTION = 2, 7


@pytest.fixture(scope="module")
def opened() -> Exchange:
    return Exchange.open()


@pytest.fixture
def exchange(opened: Exchange) -> Iterator[Exchange]:
    with opened.venue.chain.undone():
        yield opened


def announced(exchange: Exchange) -> dict[str, Any]:
    (event,) = exchange.venue.chain.events()
    assert event.name == "ActionAnnounced"
    return event.args


# Who.


@pytest.mark.parametrize("kind", EVERY)
def test_announce__stranger__refused(exchange: Exchange, kind: ActionKind) -> None:
    for sender in (OUTSIDER, GUARDIAN):
        with refused("caller: not announcer"):
            exchange.announce(kind, sender=sender)


@pytest.mark.parametrize("kind", EVERY)
def test_announce__each_kind__says_everything_and_whether_one_key_is_enough(
    exchange: Exchange, kind: ActionKind
) -> None:
    announcement = exchange.announce(kind)

    said = announced(exchange)
    assert said["needs_confirmation"] == (kind not in (DIVIDEND, STEP))
    assert said["digest"] == digest_of(announcement)
    # 1 USD a share is 100 ticks of 0.01 USD; 101 USD are 10,100
    assert said["ticks"] == {DIVIDEND: 100, CASH_SETTLEMENT: 10_100}.get(kind, 0)
    names = ("kind", "ex_date", "effective_s", "reserve_s", "num", "den", "price_e8", "symbol")
    assert {name: said[name] for name in names} == {name: getattr(announcement, name) for name in names}
    assert exchange.call("halt_from", 1) == announcement.effective_s
    assert exchange.call("halt_from", 2) == 0


def test_announce__governor__needs_nobody_besides(exchange: Exchange) -> None:
    exchange.announce(SPLIT, sender=GOVERNOR)

    assert not announced(exchange)["needs_confirmation"]


def test_announcer__dismissed_by_the_guardian__announces_nothing_until_the_governor_names_one(
    exchange: Exchange,
) -> None:
    exchange.call("dismiss_announcer", sender=GUARDIAN)
    with refused("caller: not announcer"):
        exchange.announce(STEP)
    with refused("caller: not governor"):
        exchange.call("set_announcer", ANNOUNCER, sender=GUARDIAN)
    with refused("wiring: zero address"):
        exchange.call("set_announcer", "0x" + "00" * 20, sender=GOVERNOR)

    exchange.call("set_announcer", ANNOUNCER, sender=GOVERNOR)

    exchange.announce(STEP)


def test_dismiss__announcer_or_stranger__refused(exchange: Exchange) -> None:
    for sender in (ANNOUNCER, OUTSIDER):
        with refused("caller: not guardian"):
            exchange.call("dismiss_announcer", sender=sender)


def test_confirm__stranger_or_announcer__refused(exchange: Exchange) -> None:
    announcement = exchange.announce(SPLIT)

    for sender in (ANNOUNCER, OUTSIDER):
        with refused("caller: not guardian"):
            exchange.call("confirm", 1, digest_of(announcement), sender=sender)


def test_confirm__twice_or_unneeded__refused(exchange: Exchange) -> None:
    announcement = exchange.schedule(SPLIT)
    with refused("action: nothing to confirm"):
        exchange.call("confirm", 1, digest_of(announcement), sender=GUARDIAN)
    with refused("action: none"):
        exchange.call("confirm", 2, digest_of(announcement), sender=GUARDIAN)


def test_confirm__terms_that_are_not_the_ones_read__refused(exchange: Exchange) -> None:
    """What a guardian signed for one announcement does not confirm another put in its place."""
    read = exchange.announce(SPLIT)
    exchange.call("cancel", 1, sender=GUARDIAN)
    exchange.announce(SPLIT, num=3)

    with refused("action: digest"):
        exchange.call("confirm", 1, digest_of(read), sender=GUARDIAN)


@pytest.mark.parametrize("kind", [SPLIT, CASH_SETTLEMENT, STOCK_MERGER, RENAME])
def test_unconfirmed__effective_time__halts_and_waits_for_the_second_key(exchange: Exchange, kind: ActionKind) -> None:
    """A split that everybody forgot to confirm must not reach anybody as a fall of the price."""
    announcement = exchange.announce(kind)
    exchange.venue.chain.set_time(announcement.effective_s + 3 * DAY_S)
    exchange.report(100 * USD)
    assert exchange.venue.price().session == CORPORATE_ACTION
    with refused("action: unconfirmed"):
        exchange.call("activate", 1)
    with refused("action: not activated"):
        exchange.call("reopen", 1)

    exchange.call("confirm", 1, digest_of(announcement), sender=GUARDIAN)

    exchange.call("activate", 1)


# When.


@pytest.mark.parametrize("kind", [SPLIT, CASH_SETTLEMENT, STOCK_MERGER, RENAME, STEP, DIVIDEND])
def test_notice__a_day__and_not_a_second_less(exchange: Exchange, kind: ActionKind) -> None:
    with refused("action: notice"):
        exchange.announce(kind, ahead_s=DAY_S - 1)

    exchange.announce(kind, ahead_s=DAY_S)


def test_notice__ninety_days__and_not_a_second_more(exchange: Exchange) -> None:
    with refused("action: notice"):
        exchange.announce(STEP, ahead_s=90 * DAY_S + 1)

    exchange.announce(STEP, ahead_s=90 * DAY_S)


def test_notice__dividend_above_the_maintenance_margin__five_days(exchange: Exchange) -> None:
    """Maintenance margin is 5 % of 100 USD: 5.00 is within, 5.01 above."""
    exchange.announce(DIVIDEND, price_e8=5 * USD, ahead_s=DAY_S)
    exchange.call("cancel", 1, sender=GUARDIAN)
    with refused("action: notice"):
        exchange.announce(DIVIDEND, price_e8=501 * USD // 100, ahead_s=5 * DAY_S - 1)

    exchange.announce(DIVIDEND, price_e8=501 * USD // 100, ahead_s=5 * DAY_S)


def test_notice__final_price_outside_the_band__seven_days(exchange: Exchange) -> None:
    """The band is 10 % of 100 USD: 90.00 and 110.00 are within, a tick further is outside."""
    for cents in (9_000, 11_000):
        exchange.announce(CASH_SETTLEMENT, price_e8=cents * 10**6, ahead_s=DAY_S)
        exchange.call("cancel", 1, sender=GUARDIAN)
    for cents in (8_999, 11_001):
        with refused("action: notice"):
            exchange.announce(CASH_SETTLEMENT, price_e8=cents * 10**6, ahead_s=7 * DAY_S - 1)
        exchange.announce(CASH_SETTLEMENT, price_e8=cents * 10**6, ahead_s=7 * DAY_S)
        exchange.call("cancel", 1, sender=GUARDIAN)


def test_ex_date__a_day_from_another_midnight__refused(exchange: Exchange) -> None:
    """An effective time belongs to the ex-date it begins or lies in, so that a date mistyped is no second action."""
    midnight_s = (START_S // DAY_S + 3) * DAY_S
    day = midnight_s // DAY_S
    for ex_date in (day - 2, day + 2, 2**256 - 1, 20_300_317):
        with refused("action: ex date"):
            exchange.announce(STEP, effective_s=midnight_s, ex_date=ex_date)
    # 20:00 New York on the evening before, in winter and summer, and 04:00 on the day
    for effective_s in (midnight_s + 3_600, midnight_s, midnight_s + 9 * 3_600, midnight_s - 3_600):
        exchange.announce(STEP, effective_s=effective_s, ex_date=day)
        exchange.call("cancel", 1, sender=GUARDIAN)


def test_reserve_time__past_or_too_near_or_too_far__refused(exchange: Exchange) -> None:
    effective_s = exchange.now_s + 10 * DAY_S
    for reserve_s in (effective_s - 3_599, effective_s - 5 * DAY_S - 1, 0, 2**256 - 1):
        with refused("action: reserve time"):
            exchange.announce(DIVIDEND, ahead_s=10 * DAY_S, reserve_s=reserve_s)
    with refused("action: reserve time"):
        exchange.announce(DIVIDEND, reserve_s=exchange.now_s - 1)
    for reserve_s in (effective_s - 3_600, effective_s - 5 * DAY_S):
        exchange.announce(DIVIDEND, ahead_s=10 * DAY_S, reserve_s=reserve_s)
        exchange.call("cancel", 1, sender=GUARDIAN)


# What.


def test_kind__none_of_the_six__refused(exchange: Exchange) -> None:
    for kind in (0, 7, 2**200):
        with refused("action: kind"):
            exchange.announce(STEP, kind=kind)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (SPLIT, {"price_e8": 1}),
        (SPLIT, {"reserve_s": START_S + DAY_S}),
        (SPLIT, {"source_id": 1}),
        (SPLIT, {"second_source_id": 256}),
        (SPLIT, {"symbol": "X"}),
        (DIVIDEND, {"num": 1}),
        (DIVIDEND, {"den": 1}),
        (DIVIDEND, {"symbol": "X"}),
        (DIVIDEND, {"price_e8": 2**64}),
        (CASH_SETTLEMENT, {"reserve_s": START_S + DAY_S}),
        (CASH_SETTLEMENT, {"num": 1}),
        (STOCK_MERGER, {"symbol": ""}),
        (STOCK_MERGER, {"price_e8": 1}),
        (STOCK_MERGER, {"source_id": 256}),
        (RENAME, {"symbol": ""}),
        (RENAME, {"num": 1, "den": 2}),
        (RENAME, {"second_source_id": 257}),
        (STEP, {"num": 2, "den": 1}),
        (STEP, {"price_e8": 1}),
    ],
)
def test_fields__one_that_the_kind_does_not_have__refused(
    exchange: Exchange, kind: ActionKind, changes: dict[str, Any]
) -> None:
    with refused("action: fields"):
        exchange.announce(kind, **changes)


@pytest.mark.parametrize("kind", [SPLIT, STOCK_MERGER])
def test_ratio__outside_one_to_a_hundred__refused(exchange: Exchange, kind: ActionKind) -> None:
    for num, den in ((0, 1), (1, 0), (1, 1), (7, 7), (101, 1), (1, 101), (10**9 + 1, 10**9), (10**9, 10**9 + 1)):
        with refused("action: ratio"):
            exchange.announce(kind, num=num, den=den)
    for num, den in ((100, 1), (1, 100), (10**9, 10**9 - 1)):
        exchange.announce(kind, num=num, den=den)
        exchange.call("cancel", 1, sender=GUARDIAN)


def test_dividend__nothing_or_more_than_half_the_price__refused(exchange: Exchange) -> None:
    """Half a tick rounds up to one; 50.00 of 100.00 is the most."""
    for price_e8 in (0, USD // 200 - 1, 5_000 * 10**6 + USD // 200):
        with refused("action: dividend"):
            exchange.announce(DIVIDEND, price_e8=price_e8, ahead_s=6 * DAY_S)
    for price_e8, ticks in ((USD // 200, 1), (5_000 * 10**6 + USD // 200 - 1, 5_000)):
        exchange.announce(DIVIDEND, price_e8=price_e8, ahead_s=6 * DAY_S)
        assert announced(exchange)["ticks"] == ticks
        exchange.call("cancel", 1, sender=GUARDIAN)


def test_final_price__nothing_or_beyond_what_a_price_may_be__refused(exchange: Exchange) -> None:
    for price_e8 in (USD // 200 - 1, 2**32 * 10**6):
        with refused("action: final price"):
            exchange.announce(CASH_SETTLEMENT, price_e8=price_e8, ahead_s=8 * DAY_S)


def test_announce__market_without_a_price__refused(exchange: Exchange) -> None:
    for market in (0, 3, 1_026, 2**200):
        with refused("action: no external price"):
            exchange.announce(STEP, market_id=market)


# Once, and one at a time.


def test_announce__while_another_stands__refused_in_this_market_alone(exchange: Exchange) -> None:
    exchange.announce(STEP)

    with refused("action: another stands"):
        exchange.announce(SPLIT, ahead_s=3 * DAY_S)
    exchange.announce(SPLIT, market_id=2)


@pytest.mark.parametrize("kind", [SPLIT, DIVIDEND, STOCK_MERGER, RENAME, STEP])
def test_activate__the_same_action_again__refused(exchange: Exchange, kind: ActionKind) -> None:
    announcement = exchange.schedule(kind)
    exchange.activate_after(announcement)
    with refused("action: activated" if kind not in (DIVIDEND, STEP) else "action: none"):
        exchange.call("activate", 1)
    if kind not in (DIVIDEND, STEP):
        exchange.call("reopen", 1, sender=GOVERNOR)
    later_s = exchange.now_s + DAY_S

    # effective a day later, still within a day of the same ex-date's end
    again = replace(announcement, effective_s=later_s, reserve_s=later_s - 3_600 if kind is DIVIDEND else 0)
    with refused("action: done"):
        exchange.call("announce", astuple(again), sender=ANNOUNCER)
    exchange.call("announce", astuple(replace(again, ex_date=again.ex_date + 1)), sender=ANNOUNCER)


def test_announce__after_a_cancellation__the_true_one_follows(exchange: Exchange) -> None:
    """A wrong announcement does not use up the right one's date."""
    wrong = exchange.announce(DIVIDEND, price_e8=2 * USD)
    exchange.call("cancel", 1, sender=GUARDIAN)

    right = exchange.announce(DIVIDEND, price_e8=1 * USD)

    assert right.ex_date == wrong.ex_date
    exchange.activate_after(right)


# Cancelling.


@pytest.mark.parametrize("kind", [DIVIDEND, CASH_SETTLEMENT, STEP])
@pytest.mark.parametrize("sender", [GUARDIAN, GOVERNOR])
def test_cancel__before_and_within_the_halt__ends_it(exchange: Exchange, kind: ActionKind, sender: str) -> None:
    for wait_s in (0, 2 * DAY_S + LAG_S + 1):
        announcement = exchange.schedule(kind)
        exchange.venue.wait(wait_s)
        exchange.call("cancel", 1, sender=sender)

        (event,) = exchange.venue.chain.events()
        assert (event.name, event.args) == (
            "ActionCancelled", {"market": 1, "kind": kind, "ex_date": announcement.ex_date},
        )  # fmt: skip
        assert exchange.call("halt_from", 1) == 0
        for function in ("activate", "reopen"):
            with refused("action: none"):
                exchange.call(function, 1)


@pytest.mark.parametrize("kind", [SPLIT, STOCK_MERGER, RENAME])
@pytest.mark.parametrize("is_late", [False, True])
def test_cancel__of_what_changes_a_unit__halts_until_a_price_of_the_halt_agrees(
    exchange: Exchange, kind: ActionKind, is_late: bool
) -> None:
    """The announcement was false and prices go on: the market is back with the first report of the halt."""
    announcement = exchange.schedule(kind)
    exchange.venue.wait(2 * DAY_S + 100 if is_late else 0)
    exchange.call("cancel", 1, sender=GUARDIAN)
    for function, *arguments in (("cancel",), ("confirm", digest_of(announcement)), ("activate",)):
        with refused("action: none"):
            exchange.call(function, 1, *arguments, sender=GUARDIAN)
    if not is_late:
        exchange.report(100 * USD)
        with refused("action: no report"):
            exchange.call("reopen", 1)
    exchange.venue.chain.set_time(announcement.effective_s + 200)
    exchange.report(100 * USD)
    assert exchange.venue.price().session == CORPORATE_ACTION

    exchange.call("reopen", 1)

    exchange.venue.wait(1)
    exchange.report(101 * USD)
    assert exchange.venue.price().session == REGULAR
    assert exchange.venue.price().external_ticks == 10_100


def test_cancel__of_a_split_that_was_true__no_price_agrees_until_the_split_is_made(exchange: Exchange) -> None:
    """A stolen guardian cancels a 5 for 1: nobody is liquidated at 20.00, and the split is announced once more."""
    exchange.venue.trade()
    equities = exchange.equities()
    cancelled = exchange.schedule(SPLIT, num=5)
    exchange.venue.chain.set_time(cancelled.effective_s - 1)
    exchange.call("cancel", 1, sender=GUARDIAN)
    exchange.venue.wait(2)
    exchange.report(20 * USD, mark_ticks=10_000)
    with refused("action: discontinuous"):
        exchange.call("reopen", 1)
    for kind in (DIVIDEND, CASH_SETTLEMENT, STEP):
        with refused("action: another stands"):
            exchange.announce(kind)

    again = exchange.schedule(SPLIT, num=5, ahead_s=DAY_S)

    # the halt goes on meanwhile, it does not wait for the new effective time
    assert exchange.call("halt_from", 1) == cancelled.effective_s
    exchange.venue.wait(3_600)
    exchange.report(20 * USD, mark_ticks=10_000)
    assert (exchange.venue.price().session, exchange.venue.price().external_ticks) == (CORPORATE_ACTION, 10_000)
    assert exchange.equities() == equities
    exchange.activate_after(again)
    exchange.venue.wait(1)
    exchange.report(20 * USD, mark_ticks=10_000)
    exchange.call("reopen", 1)
    assert exchange.equities() == equities


def test_cancel__announcer_or_stranger__refused(exchange: Exchange) -> None:
    exchange.announce(STEP)

    for caller in (ANNOUNCER, OUTSIDER):
        with refused("caller: not guardian"):
            exchange.call("cancel", 1, sender=caller)


@pytest.mark.parametrize("kind", [SPLIT, CASH_SETTLEMENT, STOCK_MERGER, RENAME])
def test_cancel__after_activation__refused(exchange: Exchange, kind: ActionKind) -> None:
    exchange.activate_after(exchange.schedule(kind))

    for sender in (GUARDIAN, GOVERNOR):
        with refused("action: activated"):
            exchange.call("cancel", 1, sender=sender)


# A stolen announcer, and nobody awake.


def test_stolen_announcer__dividends_of_its_own__two_percent_in_twenty_days(exchange: Exchange) -> None:
    """2.00 of 100.00 goes alone, 2.01 does not, and the next not before 20 days."""
    exchange.announce(DIVIDEND, price_e8=201 * USD // 100)
    assert announced(exchange)["needs_confirmation"]
    exchange.call("cancel", 1, sender=GUARDIAN)
    first = exchange.announce(DIVIDEND, price_e8=2 * USD)
    assert not announced(exchange)["needs_confirmation"]
    exchange.activate_after(first)

    next_s = first.effective_s + 20 * DAY_S
    for effective_s, needs_confirmation in ((next_s - 1, True), (next_s, False)):
        exchange.announce(
            DIVIDEND, effective_s=effective_s, ex_date=effective_s // DAY_S, reserve_s=effective_s - DAY_S
        )
        assert announced(exchange)["needs_confirmation"] == needs_confirmation
        exchange.call("cancel", 1, sender=GUARDIAN)


def test_stolen_guardian__alone__announces_nothing(exchange: Exchange) -> None:
    for kind in EVERY:
        with refused("caller: not announcer"):
            exchange.announce(kind, sender=GUARDIAN)
    for function, *arguments in (("correct_split", 2, 1), ("set_announcer", GUARDIAN)):
        markets = [1] if function == "correct_split" else []
        with refused("caller: not governor"):
            exchange.call(function, *markets, *arguments, sender=GUARDIAN)


# Not while words are counted.


def test_final_settlement__has_begun__nothing_moves(exchange: Exchange) -> None:
    """The tally adds up words one account at a time: an action between two of them would end it for good."""
    chain = exchange.venue.chain
    exchange.schedule(DIVIDEND)
    exchange.venue.wait(2 * DAY_S + LAG_S + 1)
    operator = chain.call("Clearinghouse", "operator_word")
    chain.write_value("operator", operator | 2 << 200)

    calls: list[tuple[Any, ...]] = [
        ("announce", astuple(exchange.announcement(STEP, market_id=2))), ("cancel", 1), ("reserve", 1), ("activate", 1),
        ("reopen", 1), ("settle_positions", 1, []), ("correct_split", 1, 2, 1),
    ]  # fmt: skip
    for function, *arguments in calls:
        with refused("action: venue settled"):
            exchange.call(function, *arguments, sender=GOVERNOR)


def test_action_id__names_market_kind_and_date(exchange: Exchange) -> None:
    announcement: Announcement = exchange.schedule(STEP)
    name = exchange.call("action_id", 1, STEP, announcement.ex_date)
    assert not exchange.call("is_activated", name)

    exchange.activate_after(announcement)

    assert exchange.call("is_activated", name)
    assert not exchange.call("is_activated", exchange.call("action_id", 1, STEP, announcement.ex_date + 1))


def test_events__a_whole_life__say_what_was_done_when(exchange: Exchange) -> None:
    def logged() -> list[tuple[str, dict[str, Any]]]:
        return [(event.name, event.args) for event in exchange.venue.chain.events() if event.contract == NAME]

    exchange.call("dismiss_announcer", sender=GUARDIAN)
    assert logged() == [("AnnouncerSet", {"announcer": "0x" + "00" * 20})]
    exchange.call("set_announcer", ANNOUNCER, sender=GOVERNOR)
    assert logged() == [("AnnouncerSet", {"announcer": ANNOUNCER.lower()})]
    split = exchange.announce(SPLIT)
    exchange.call("confirm", 1, digest_of(split), sender=GUARDIAN)
    assert logged() == [("ActionConfirmed", {"market": 1, "digest": digest_of(split)})]
    exchange.activate_after(split)
    done = {"market": 1, "kind": 1, "ex_date": split.ex_date, "ticks": 0, "activated_s": exchange.now_s}
    assert logged() == [("ActionActivated", done)]
    exchange.call("correct_split", 1, 3, 2, sender=GOVERNOR)
    corrected = {"market": 1, "num": 3, "den": 2, "activated_s": exchange.now_s}
    assert logged() == [("SplitCorrected", corrected)]
    exchange.call("reopen", 1, sender=GOVERNOR)
    reopened = {"market": 1, "observed_ticks": 0, "publish_time_s": 0, "reopened_s": exchange.now_s}
    assert logged() == [("MarketReopened", reopened)]


def test_constructor__an_address_missing__refused(exchange: Exchange) -> None:
    chain = exchange.venue.chain
    for place in range(5):
        arguments: list[str] = [GOVERNOR] * 5
        arguments[place] = "0x" + "00" * 20
        with refused("wiring: zero address"):
            chain.create(NAME, *arguments)
