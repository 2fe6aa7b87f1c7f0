"""A change of the calendar: the calls it takes, and its effect at sample times. The chain is its model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scripts._exchange_days import build_year

from afterbell.adapters.calendar_change import plan_change
from afterbell.adapters.governance import NO_PREDECESSOR, BadCall, Call
from afterbell.domain.calendar import Boundary, Calendar, unpack_boundaries
from afterbell.domain.session import Session

NOW_S = 1_700_000_000


class Governor:
    """Keeps the words it is asked to build calls of; has a calendar until 2027."""

    def __init__(self) -> None:
        self.calendar = Calendar(build_year(2026))
        self.built: list[tuple[str, list[str], bytes]] = []

    def read_session(self, time_s: int) -> Session | None:
        return Session(self.calendar.window_at(time_s).session)

    def read_calendar_end_s(self) -> int:
        return self.calendar.boundaries[-1].start_s

    def build_call(self, name: str, words: Sequence[str], *, predecessor: bytes = NO_PREDECESSOR) -> Call:
        self.built.append((name, list(words), predecessor))
        return Call(target=bytes(20), calldata=repr((name, words)).encode(), predecessor=predecessor)

    def execute(self) -> Calendar:
        """Apply the calls as the contract would."""
        calendar = self.calendar
        for name, words, _ in self.built:
            boundaries = unpack_boundaries(map(int, words[-1].split(",")))
            if name.endswith("replace_windows"):
                calendar = calendar.replaced(int(words[0]), boundaries, NOW_S)
            else:
                calendar = calendar.appended(boundaries, NOW_S)
        return calendar


def test_append__of_a_year__takes_the_calls_it_needs_one_after_another() -> None:
    """1,242 boundaries or so, 139 a call and one that ends it: nine calls; executed they are both years."""
    governor, table = Governor(), build_year(2027)

    change = plan_change(governor, table, [table[5].start_s], is_replacing=False)

    assert len(change.calls) == -(-(len(table) - 1) // 139)
    assert [predecessor for _, _, predecessor in governor.built] == [
        NO_PREDECESSOR, *(call.call_id for call in change.calls[:-1])
    ]  # fmt: skip
    assert {name for name, _, _ in governor.built} == {"PriceOracle.append_windows"}
    assert governor.execute().boundaries == (*build_year(2026)[:-1], *table)
    assert (change.samples[0].before, change.samples[0].after) == (Session.UNKNOWN, Session(table[5].session))


def test_replace__from_a_day_on__keeps_what_lies_before() -> None:
    governor, table = Governor(), build_year(2026)
    later = [Boundary(start_s=table[600].start_s, session=Session.CLOSED), *table[601:]]

    change = plan_change(governor, later, [table[600].start_s], is_replacing=True)

    assert [name for name, _, _ in governor.built][:2] == ["PriceOracle.replace_windows", "PriceOracle.append_windows"]
    assert governor.execute().boundaries == (*table[:600], *later)
    assert change.samples[0].after == Session.CLOSED


def test_append__before_the_end_of_what_there_is__is_refused() -> None:
    with pytest.raises(BadCall, match="--from"):
        plan_change(Governor(), build_year(2026), [], is_replacing=False)
