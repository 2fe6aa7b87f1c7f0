"""Plan a change of the session calendar: the calls of the Timelock, and what it does at sample times.

Must not: send; scripts/calendar.py does. Rules of the table: contracts/modules/calendar.vy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from afterbell.adapters.deployment_steps import split_calendar
from afterbell.adapters.governance import NO_PREDECESSOR, BadCall, Call
from afterbell.domain.calendar import Boundary, Calendar, pack_boundaries
from afterbell.domain.session import Session


class CalendarGovernance(Protocol):
    """What a plan asks of adapters.governance.Governance."""

    def read_session(self, time_s: int) -> Session | None: ...

    def read_calendar_end_s(self) -> int: ...

    def build_call(self, name: str, words: Sequence[str], *, predecessor: bytes = NO_PREDECESSOR) -> Call: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The session of one second, as the chain has it and as it would be."""

    time_s: int
    before: Session
    after: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarChange:
    """A table, the calls that write it, and its effect."""

    boundaries: tuple[Boundary, ...]
    calls: tuple[Call, ...]
    samples: tuple[Sample, ...]


def plan_change(
    governance: CalendarGovernance, boundaries: Sequence[Boundary], sample_times_s: Sequence[int], *, is_replacing: bool
) -> CalendarChange:
    """Return the calls that append a table, or put it in place of everything from its first boundary on.

    Raises: BadCall when it would be refused: appended before the end of what there is.
    """
    first_s, end_s = boundaries[0].start_s, governance.read_calendar_end_s()
    if not is_replacing and first_s < end_s:
        raise BadCall(
            f"the calendar goes on until {end_s}; a table that begins at {first_s} can only replace: "
            "name the day with --from"
        )
    calls: list[Call] = []
    for place, part in enumerate(split_calendar(boundaries)):
        words = ",".join(map(str, pack_boundaries(part)))
        before = calls[-1].call_id if calls else NO_PREDECESSOR
        if is_replacing and place == 0:
            call = governance.build_call("PriceOracle.replace_windows", [str(first_s), words], predecessor=before)
        else:
            call = governance.build_call("PriceOracle.append_windows", [words], predecessor=before)
        calls.append(call)
    table = Calendar(tuple(boundaries))
    samples = tuple(
        Sample(
            time_s=time_s,
            before=governance.read_session(time_s) or Session.UNKNOWN,
            after=Session(table.window_at(time_s).session),
        )
        for time_s in sample_times_s
    )
    return CalendarChange(boundaries=tuple(boundaries), calls=tuple(calls), samples=samples)
