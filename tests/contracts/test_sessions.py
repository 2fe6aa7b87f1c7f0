"""Sessions as PriceOracle finds them: calendar, overrides, reports and halts, and until when they are stated.

All times count from T. The calendar here: PRE until T + 100, REGULAR until T + 1,000, CLOSED until T + 5,000,
then UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.calendar import Boundary, Calendar, pack_boundaries
from afterbell.domain.errors import DirectRefused
from afterbell.domain.words import PriceWord
from tests.contracts.venue import (
    MAKER,
    PUBLISHERS,
    RULES,
    TAKER,
    TICKS,
    USDC,
    Report,
    T,
    Venue,
    account_of,
    address_of,
    refused,
)
from tests.support.chain import GOVERNOR, OUTSIDER, SEQUENCER, Chain

GUARDIAN = "0x" + "9A" * 20
PRE, REGULAR, POST, OVERNIGHT, CLOSED, HALTED, CORPORATE_ACTION, DISRUPTED = range(1, 9)
WINDOWS = [(-1_000, PRE), (100, REGULAR), (1_000, CLOSED), (5_000, 0)]
LAG = 300


def boundaries(*windows: tuple[int, int]) -> list[Boundary]:
    return [Boundary(start_s=T + after_s, session=session) for after_s, session in windows]


def pack(*windows: tuple[int, int]) -> list[int]:
    return pack_boundaries(boundaries(*windows))


def append(chain: Chain, *windows: tuple[int, int], sender: str = GOVERNOR) -> None:
    chain.call("PriceOracle", "append_windows", pack(*windows), sender=sender)


def open_venue(windows: Sequence[tuple[int, int]] = WINDOWS) -> Venue:
    """Return a venue whose chain has a calendar of its own and a guardian; market 1 was never reported."""
    chain = Chain.deploy(calendar=(), publishers=[address_of(key) for key in PUBLISHERS[:3]], threshold=2)
    chain.call("MarketRegistry", "set_guardian", GUARDIAN, sender=GOVERNOR)
    if windows:
        append(chain, *windows)
    return Venue(chain)


@pytest.fixture
def venue() -> Venue:
    return open_venue()


def priced(venue: Venue) -> Venue:
    """List market 1 and write a price of now."""
    venue.chain.list_market(1, RULES.pack())
    venue.chain.write_word(
        "prices", 1, PriceWord(mark_ticks=TICKS, external_ticks=TICKS, external_time_s=T, mark_time_s=T, epoch=1).pack()
    )
    return venue


def look(venue: Venue, after_s: int) -> tuple[int, int]:
    """Settle a row at T + after_s; return session and minutes of market 1."""
    venue.chain.set_time(T + after_s)
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)])
    price = venue.price()
    return price.session, price.session_minutes


# The calendar.


@pytest.mark.parametrize(
    ("after_s", "session", "minutes"),
    [
        (0, PRE, 1),  # until T + 100: one whole minute
        (99, PRE, 1),
        (100, REGULAR, 16),  # until T + 1,000
        (999, REGULAR, 16),
        (1_000, CLOSED, 83),
        (4_999, CLOSED, 83),
        (5_000, 0, 65_535),
        (10**8, 0, 65_535),
    ],
)
def test_calendar__at_and_beside_a_boundary__names_session_and_minutes(
    venue: Venue, after_s: int, session: int, minutes: int
) -> None:
    assert look(priced(venue), after_s) == (session, minutes)


def test_calendar__walked_second_by_second__is_the_models(venue: Venue) -> None:
    calendar = Calendar(tuple(boundaries(*WINDOWS)))
    for after_s in range(-2_000, 6_000, 37):
        window = calendar.window_at(T + after_s)
        found = venue.chain.call("PriceOracle", "window_at", T + after_s)
        assert tuple(found) == (window.session, window.start_s, window.end_s)


@pytest.mark.parametrize("windows", [[], [(10, REGULAR), (20, 0)]])
def test_calendar__none_or_not_begun__is_unknown(windows: list[tuple[int, int]]) -> None:
    assert look(priced(open_venue(windows)), 0)[0] == 0


def test_calendar__row_before_the_window_last_looked_at__is_refused(venue: Venue) -> None:
    """Batches never go back in time, so nobody meets it; a view asked about the past does."""
    look(priced(venue), 1_200)

    with refused("calendar: look back"):
        venue.chain.call("PriceOracle", "window_at", T + 999)
    assert venue.chain.call("PriceOracle", "window_at", T + 1_000)[0] == CLOSED


def test_calendar__appended__goes_on_from_its_end(venue: Venue) -> None:
    append(venue.chain, (5_000, OVERNIGHT), (6_000, PRE), (7_000, 0))
    append(venue.chain, (8_000, REGULAR), (9_000, 0))

    priced(venue)
    assert [look(venue, after_s)[0] for after_s in (5_000, 6_000, 7_000, 8_000, 9_000)] == [
        OVERNIGHT,
        PRE,
        0,
        REGULAR,
        0,
    ]
    assert venue.chain.call("PriceOracle", "n_boundaries") == 8
    assert list(venue.chain.call("PriceOracle", "boundary", 6)) == [T + 8_000, REGULAR]
    assert list(venue.chain.call("PriceOracle", "boundary", 8)) == [0, 0]


def test_calendar__replaced_from_a_time__keeps_what_lies_before(venue: Venue) -> None:
    """Thanksgiving was forgotten: from T + 900 on closed. A window looked at already ends where it now ends."""
    assert look(priced(venue), 200) == (REGULAR, 16)
    calldata = pack((900, CLOSED), (6_000, REGULAR), (7_000, 0))
    venue.chain.call("PriceOracle", "replace_windows", T + 900, calldata, sender=GOVERNOR)
    assert [(event.name, event.args["from_s"]) for event in venue.chain.events()] == [("CalendarChanged", T + 900)]
    assert list(venue.chain.events()[0].args["words"]) == calldata

    assert [look(venue, after_s) for after_s in (300, 900, 6_000)] == [(REGULAR, 15), (CLOSED, 100), (REGULAR, 116)]
    assert venue.chain.call("PriceOracle", "n_boundaries") == 5


def test_calendar__year_of_boundaries__is_found_anywhere(venue: Venue) -> None:
    """140 boundaries a call, each call ending UNKNOWN where the next begins."""
    last = 5_000
    for _ in range(3):
        windows = [(last + 60 * i, 1 + i % 5) for i in range(139)]
        last += 60 * 139
        append(venue.chain, *windows, (last, 0))
    priced(venue)
    assert venue.chain.call("PriceOracle", "n_boundaries") == 3 + 3 * 139 + 1
    assert look(venue, 5_000 + 60 * 138)[0] == 1 + 138 % 5
    assert look(venue, 5_000 + 60 * 139 * 3 - 1)[0] == 1 + 138 % 5
    assert look(venue, 5_000 + 60 * 139 * 3)[0] == 0


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        ([], "calendar: order"),
        ([(4_999, CLOSED), (6_000, 0)], "calendar: order"),
        ([(6_000, CLOSED), (6_000, 0)], "calendar: order"),
        ([(7_000, CLOSED), (6_000, 0)], "calendar: order"),
        ([(6_000, 9), (7_000, 0)], "calendar: session"),
        ([(6_000, REGULAR)], "calendar: end not unknown"),
        ([(6_000, REGULAR), (7_000, CLOSED)], "calendar: end not unknown"),
    ],
)
def test_calendar__bad_table__is_refused_by_contract_and_model(
    venue: Venue, windows: list[tuple[int, int]], reason: str
) -> None:
    with refused(reason):
        append(venue.chain, *windows)
    with pytest.raises(DirectRefused, match=reason):
        Calendar(tuple(boundaries(*WINDOWS))).appended(boundaries(*windows), T)


@pytest.mark.parametrize(("now_s", "is_late"), [(5_000 - LAG - 1, False), (5_000 - LAG, True), (6_000, True)])
def test_calendar__changed_too_late__is_refused(venue: Venue, now_s: int, is_late: bool) -> None:
    """Whatever a batch may have been matched under stays as it was, for SETTLE_LAG and the moment itself."""
    venue.chain.set_time(T + now_s)
    windows = [(5_000, REGULAR), (7_000, 0)]
    model = Calendar(tuple(boundaries(*WINDOWS)))
    if not is_late:
        append(venue.chain, *windows)
        model.appended(boundaries(*windows), T + now_s)
        venue.chain.call("PriceOracle", "replace_windows", T + 5_000, pack(*windows), sender=GOVERNOR)
        return
    with refused("calendar: too early"):
        append(venue.chain, *windows)
    with refused("calendar: too early"):
        venue.chain.call("PriceOracle", "replace_windows", T + 5_000, pack(*windows), sender=GOVERNOR)
    with pytest.raises(DirectRefused, match="calendar: too early"):
        model.appended(boundaries(*windows), T + now_s)
    with pytest.raises(DirectRefused, match="calendar: too early"):
        model.replaced(T + 5_000, boundaries(*windows), T + now_s)


def test_calendar__replaced_from_another_time_than_it_begins__is_refused(venue: Venue) -> None:
    with refused("calendar: order"):
        venue.chain.call("PriceOracle", "replace_windows", T + 901, pack((900, CLOSED), (950, 0)), sender=GOVERNOR)
    with refused("calendar: order"):
        venue.chain.call("PriceOracle", "replace_windows", T + 901, [], sender=GOVERNOR)


@pytest.mark.parametrize("sender", [OUTSIDER, SEQUENCER, GUARDIAN])
def test_calendar__written_by_others_than_the_governor__reverts(venue: Venue, sender: str) -> None:
    with refused("caller: not governor"):
        append(venue.chain, (6_000, 0), sender=sender)
    with refused("caller: not governor"):
        venue.chain.call("PriceOracle", "replace_windows", T + 900, pack((900, 0)), sender=sender)


# Freshness ends with the session.


@pytest.mark.parametrize(("after_s", "code"), [(999, 0), (1_019, 0), (1_020, 45), (1_080, 45)])
def test_freshness__of_a_session_that_ended__ends_with_it(after_s: int, code: int) -> None:
    """No age limit here, and still nobody opens in CLOSED on a session stated until T + 1,020 (D-019)."""
    venue = open_venue([(-100, REGULAR), (1_020, CLOSED), (9_000, 0)])
    venue.chain.list_market(1, replace(RULES, max_age_s=0).pack())
    for key in (MAKER, TAKER):
        venue.chain.deposit(account_of(key), 10_000 * USDC)
    venue.set_prices({1: TICKS})
    assert venue.price().session_minutes == 17

    venue.chain.set_time(T + after_s)

    assert venue.trade(1_000).fills == [code]


# Overrides.


def override(venue: Venue, session: int, until_s: int, *, sender: str = SEQUENCER) -> None:
    venue.chain.call("PriceOracle", "override_session", 1, session, T + until_s, sender=sender)


@pytest.mark.parametrize(
    ("session", "is_stricter"),
    [(0, True), (PRE, False), (REGULAR, False), (POST, False), (OVERNIGHT, True), (CLOSED, True), (HALTED, True),
     (CORPORATE_ACTION, True), (DISRUPTED, True), (9, False), (255, False)],
)  # fmt: skip
def test_override__during_pre__takes_stricter_sessions_alone(venue: Venue, session: int, is_stricter: bool) -> None:
    priced(venue)
    if not is_stricter:
        with refused("override: not stricter"):
            override(venue, session, 60)
        return
    override(venue, session, 60)
    assert look(venue, 0)[0] == session


@pytest.mark.parametrize(("until_s", "is_fine"), [(-1, False), (0, True), (86_400, True), (86_401, False)])
def test_override__end__lies_within_a_day(venue: Venue, until_s: int, is_fine: bool) -> None:
    priced(venue)
    if is_fine:
        override(venue, HALTED, until_s)
        return
    with refused("override: until"):
        override(venue, HALTED, until_s)


def test_override__of_the_sequencer__counts_from_now_to_its_last_second(venue: Venue) -> None:
    priced(venue)
    venue.chain.set_time(T + 200)
    override(venue, HALTED, 500)

    venue.chain.set_time(T + 300)
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)], matched_at_s=T + 199)
    assert venue.price().session == REGULAR  # matched before it was made
    # until T + 501, the first second it does not count for, would be 8 minutes; REGULAR's own age limit is one
    assert [look(venue, after_s) for after_s in (300, 500, 501)] == [(HALTED, 1), (HALTED, 1), (REGULAR, 16)]


def test_override__of_the_guardian__binds_what_is_matched_after_the_lag(venue: Venue) -> None:
    """An honest sequencer could not know of it before: what it acknowledged stands (D-011)."""
    priced(venue)
    override(venue, HALTED, 2_000, sender=GUARDIAN)

    assert [look(venue, after_s)[0] for after_s in (LAG, LAG + 1, 2_000, 2_001)] == [REGULAR, HALTED, HALTED, CLOSED]


def test_override__made_and_cleared__is_logged_with_its_times(venue: Venue) -> None:
    priced(venue)
    chain = venue.chain
    made = []
    for sender, from_s in ((SEQUENCER, T), (GUARDIAN, T + LAG + 1)):
        override(venue, HALTED, 2_000, sender=sender)
        made += [event.args for event in chain.events() if event.name == "SessionOverridden"]
        assert made[-1] == {
            "market": 1, "by": sender.lower(), "session": HALTED, "from_s": from_s, "until_s": T + 2_000
        }  # fmt: skip
    chain.call("PriceOracle", "clear_override", 1, sender=SEQUENCER)
    (cleared,) = [event.args for event in chain.events() if event.name == "SessionOverridden"]
    assert (cleared["session"], cleared["from_s"], cleared["until_s"]) == (0, 0, 0)


def test_override__of_both__the_strictest_counts_and_each_clears_its_own(venue: Venue) -> None:
    """The sequencer shortens nothing the guardian set."""
    priced(venue)
    override(venue, DISRUPTED, 3_000, sender=GUARDIAN)
    override(venue, HALTED, 800)
    assert look(venue, 700)[0] == HALTED

    venue.chain.call("PriceOracle", "clear_override", 1, sender=SEQUENCER)
    assert look(venue, 710)[0] == DISRUPTED
    venue.chain.call("PriceOracle", "clear_override", 1, sender=SEQUENCER)
    assert look(venue, 720)[0] == DISRUPTED
    venue.chain.call("PriceOracle", "clear_override", 1, sender=GUARDIAN)
    assert look(venue, 730)[0] == REGULAR


def test_override__milder_than_the_calendar_later__does_not_count(venue: Venue) -> None:
    """OVERNIGHT is stricter than PRE, not than CLOSED."""
    priced(venue)
    override(venue, OVERNIGHT, 4_000)

    assert [look(venue, after_s) for after_s in (500, 1_000)] == [(OVERNIGHT, 1), (CLOSED, 83)]


@pytest.mark.parametrize(("max_age_s", "minutes"), [(0, 10), (1, 1), (60, 1), (61, 2), (3_600, 10)])
def test_override__to_closed__leaves_the_calendars_own_age_limit(venue: Venue, max_age_s: int, minutes: int) -> None:
    """Else a sequencer declares REGULAR closed, whose prices have no age, and trades all day on this morning's."""
    priced(venue)
    venue.chain.write_word("rules", 1 << 8 | REGULAR, replace(RULES, max_age_s=max_age_s).pack())
    venue.chain.write_word("rules", 1 << 8 | CLOSED, replace(RULES, max_age_s=0).pack())
    venue.chain.set_time(T + 300)
    override(venue, CLOSED, 600)

    assert look(venue, 300) == (CLOSED, minutes)


@pytest.mark.parametrize("sender", [OUTSIDER, GOVERNOR])
def test_override__by_anybody_else__reverts(venue: Venue, sender: str) -> None:
    priced(venue)
    with refused("caller: not guardian"):
        override(venue, HALTED, 60, sender=sender)
    with refused("caller: not guardian"):
        venue.chain.call("PriceOracle", "clear_override", 1, sender=sender)


def test_override__of_a_market_not_listed__reverts(venue: Venue) -> None:
    with refused("market: not listed"):
        override(venue, HALTED, 60)


# Reports.


@pytest.mark.parametrize(
    ("reported", "session"),
    [(0, 0), (PRE, PRE), (REGULAR, PRE), (POST, PRE), (OVERNIGHT, OVERNIGHT), (CLOSED, CLOSED), (HALTED, HALTED),
     (CORPORATE_ACTION, CORPORATE_ACTION), (DISRUPTED, DISRUPTED)],
)  # fmt: skip
def test_report__session_it_names__counts_if_stricter_and_until_the_next(reported: int, session: int) -> None:
    """In PRE. A row without a report later is still under it; POST is no stricter than PRE."""
    venue = open_venue([(-9, PRE), (900, 0)])
    venue.chain.list_market(1, RULES.pack())
    venue.settle(evidence=venue.evidence([Report(session=reported)]))
    assert (venue.price().session, venue.price().session_minutes) == (session, 15)

    assert look(venue, 10)[0] == session

    venue.wait(5)
    venue.settle(evidence=venue.evidence([Report(session=REGULAR)]))
    assert venue.price().session == PRE


@pytest.mark.parametrize(
    ("session", "mark"), [(REGULAR, 10_100), (DISRUPTED, 10_100), (HALTED, TICKS), (CORPORATE_ACTION, TICKS)]
)
def test_mark__while_halted__stands(venue: Venue, session: int, mark: int) -> None:
    """1 % for 3 s elsewhere."""
    priced(venue)
    venue.chain.set_time(T + 103)
    if session != REGULAR:
        override(venue, session, 900)
    venue.chain.write_word(
        "prices", 1,
        PriceWord(mark_ticks=TICKS, external_ticks=TICKS, external_time_s=T + 103, mark_time_s=T + 100, epoch=1).pack(),
    )  # fmt: skip

    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=10_900, index_ticks=TICKS)])

    assert venue.price().mark_ticks == mark
