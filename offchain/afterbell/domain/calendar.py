"""Look up the session of the stock market in a table of UTC windows, and change the table as the governor may.

The table is data: scripts/calendar.py makes it from exchange calendars. Before its first boundary and from its last on
the session is UNKNOWN. Must not: know a time zone. Twin: contracts/modules/calendar.vy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.errors import DirectRefused
from afterbell.domain.session import MAX_SESSION, Session

FOREVER_S: Final = (1 << 40) - 1
"""End of a window without a next boundary."""
MAX_CALL_WORDS: Final = 28
"""Words of five boundaries that one call of the Timelock can carry."""
_N_PER_WORD: Final = 5
_N_BOUNDARY_BITS: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """From this second on the market is in this session."""

    start_s: int
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The session of a time and the window [start, end) it stands in."""

    session: int
    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Boundaries by ascending start."""

    boundaries: tuple[Boundary, ...] = ()

    def window_at(self, time_s: int) -> Window:
        """Return the window of a time."""
        n_before = bisect_right(self.boundaries, time_s, key=lambda boundary: boundary.start_s)
        end_s = self.boundaries[n_before].start_s if n_before < len(self.boundaries) else FOREVER_S
        if not n_before:
            return Window(session=Session.UNKNOWN, start_s=0, end_s=end_s)
        last = self.boundaries[n_before - 1]
        return Window(session=last.session, start_s=last.start_s, end_s=end_s)

    def appended(self, boundaries: Sequence[Boundary], now_s: int) -> Calendar:
        """Return the table extended; its end may be taken over. Raises: DirectRefused with the contract's reason."""
        kept = self.boundaries
        if kept and boundaries:
            if boundaries[0].start_s < kept[-1].start_s:
                raise DirectRefused("calendar: order")
            if kept[-1].start_s <= now_s + SETTLE_LAG_S:
                raise DirectRefused("calendar: too early")
            if boundaries[0].start_s == kept[-1].start_s:
                kept = kept[:-1]
        return self._joined(kept, boundaries)

    def replaced(self, from_s: int, boundaries: Sequence[Boundary], now_s: int) -> Calendar:
        """Return the table with everything from a time on replaced. Raises: DirectRefused, the contract's reason."""
        if from_s <= now_s + SETTLE_LAG_S:
            raise DirectRefused("calendar: too early")
        if not boundaries or boundaries[0].start_s != from_s:
            raise DirectRefused("calendar: order")
        kept = tuple(boundary for boundary in self.boundaries if boundary.start_s < from_s)
        return self._joined(kept, boundaries)

    @staticmethod
    def _joined(kept: tuple[Boundary, ...], boundaries: Sequence[Boundary]) -> Calendar:
        joined = (*kept, *boundaries)
        if not boundaries or any(
            later.start_s <= earlier.start_s
            for earlier, later in zip((Boundary(start_s=0, session=0), *joined), joined, strict=False)
        ):
            raise DirectRefused("calendar: order")
        if any(boundary.session > MAX_SESSION for boundary in boundaries):
            raise DirectRefused("calendar: session")
        if boundaries[-1].session != Session.UNKNOWN:
            raise DirectRefused("calendar: end not unknown")
        return Calendar(joined)


def pack_boundaries(boundaries: Iterable[Boundary]) -> list[int]:
    """Return boundaries as the contract takes them, five a word from bit 0: start u40 << 8 | session u8."""
    packed = [boundary.start_s << 8 | boundary.session for boundary in boundaries]
    return [
        sum(number << _N_BOUNDARY_BITS * place for place, number in enumerate(packed[first : first + _N_PER_WORD]))
        for first in range(0, len(packed), _N_PER_WORD)
    ]


def unpack_boundaries(words: Iterable[int]) -> list[Boundary]:
    """Read packed boundaries; a zero ends a word."""
    boundaries = []
    for word in words:
        for place in range(_N_PER_WORD):
            number = word >> _N_BOUNDARY_BITS * place & (1 << _N_BOUNDARY_BITS) - 1
            if not number:
                break
            boundaries.append(Boundary(start_s=number >> 8, session=number & 0xFF))
    return boundaries
