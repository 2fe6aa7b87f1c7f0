# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title calendar
@license AGPL-3.0-only
@notice What the stock market does when: contiguous windows of UTC, as the boundaries between them. The chain knows neither New
        York nor holidays; a table made off chain says it, PROTOCOL.md section 2.
@dev Five boundaries a word, each start_s u40 and session u8. A cursor remembers the window of the last look, which only moves
     forward, so that a batch reads one word. Twin: offchain/afterbell/domain/calendar.py.
"""

from . import errors
from . import governed

uses: governed

# 28 words of five are the most a call of the Timelock (1,024 bytes) can carry
MAX_WORDS: constant(uint256) = 28
MAX_BOUNDARIES: constant(uint256) = 2**16
SETTLE_LAG: constant(uint256) = 300
# end of a window without a next boundary
FOREVER: constant(uint256) = 2**40 - 1
MAX_SESSION: constant(uint256) = 8
M8: constant(uint256) = 2**8 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1


# from this boundary on the table is now what the words say
event CalendarChanged:
    from_s: uint256
    words: DynArray[uint256, MAX_WORDS]


# boundary i at bits 48 x (i mod 5) of word i // 5: session u8 | start_s u40; written by append_windows and replace_windows
boundaries: HashMap[uint256, uint256]
# cursor: n_boundaries u32 | next boundary u32 | start_s u40 | end_s u40 | session u8 of the window last looked at;
# written by every update that enters a later window, and with the table
cursor: uint256


@deploy
def __init__():
    """
    @notice Starts without a table: the session is UNKNOWN.
    """
    self.cursor = FOREVER << 104


@external
def append_windows(words: DynArray[uint256, MAX_WORDS]):
    """
    @notice Extends the table. Only the governor. A table that is not empty changes only later than SETTLE_LAG from now.
    @dev The first boundary may stand where the table ended, whose session was UNKNOWN.
    @param words Boundaries, five a word from bit 0, a zero ends a word; starts ascend, the last session is UNKNOWN.
    """
    governed._check_governor()
    count: uint256 = self.cursor & M32
    assert len(words) > 0, errors.CALENDAR_ORDER
    start_s: uint256 = (words[0] >> 8) & M40
    if count > 0:
        last_start_s: uint256 = self._boundary(count - 1) >> 8
        assert start_s >= last_start_s, errors.CALENDAR_ORDER
        assert last_start_s > block.timestamp + SETTLE_LAG, errors.CALENDAR_PAST
        if start_s == last_start_s:
            count -= 1
    self._write(count, words)


@external
def replace_windows(from_s: uint256, words: DynArray[uint256, MAX_WORDS]):
    """
    @notice Replaces every window from a time on, later than SETTLE_LAG from now. Only the governor.
    @param from_s Start of the first new window.
    @param words As for append_windows.
    """
    governed._check_governor()
    assert from_s > block.timestamp + SETTLE_LAG, errors.CALENDAR_PAST
    assert len(words) > 0 and (words[0] >> 8) & M40 == from_s, errors.CALENDAR_ORDER
    count: uint256 = self.cursor & M32
    for i: uint256 in range(MAX_BOUNDARIES):
        if count == 0 or self._boundary(count - 1) >> 8 < from_s:
            break
        count -= 1
    self._write(count, words)


@external
@view
def window_at(time_s: uint256) -> (uint256, uint256, uint256):
    """
    @notice Says what the table has for a time, not before the window last looked at.
    @param time_s UNIX seconds.
    @return Session, start and end of the window.
    """
    window: uint256 = self._window_at(time_s)
    return window >> 144, (window >> 64) & M40, (window >> 104) & M40


@external
@view
def boundary(i: uint256) -> (uint256, uint256):
    """
    @notice Returns a boundary of the table.
    @param i From 0.
    @return Start and session; zero and zero beyond the table.
    """
    if i >= self.cursor & M32:
        return 0, 0
    found: uint256 = self._boundary(i)
    return found >> 8, found & M8


@external
@view
def n_boundaries() -> uint256:
    """
    @notice Counts the boundaries of the table.
    @return Their number.
    """
    return self.cursor & M32


@internal
def _enter(time_s: uint256) -> uint256:
    """
    @notice Moves the cursor to the window of a time.
    @param time_s UNIX seconds.
    @return The cursor: 64-103 start, 104-143 end, 144-151 session.
    """
    window: uint256 = self.cursor
    if time_s >= (window >> 104) & M40 or time_s < (window >> 64) & M40:
        window = self._window_at(time_s)
        self.cursor = window
    return window


@internal
@view
def _window_at(time_s: uint256) -> uint256:
    """
    @notice Walks from the cursor to the window of a time.
    @param time_s UNIX seconds.
    @return The cursor as it would stand there.
    """
    window: uint256 = self.cursor
    assert time_s >= (window >> 64) & M40, errors.CALENDAR_LOOK_BACK
    for i: uint256 in range(MAX_BOUNDARIES):
        if time_s < (window >> 104) & M40:
            break
        window = self._next(window)
    return window


@internal
@view
def _next(window: uint256) -> uint256:
    """
    @notice Steps to the window that the next boundary starts.
    @param window A cursor with a next boundary.
    @return The cursor after the step.
    """
    count: uint256 = window & M32
    i: uint256 = (window >> 32) & M32
    # only a time beyond the year 36812 asks for what follows the last boundary
    assert i < count, errors.CALENDAR_LOOK_BACK
    found: uint256 = self._boundary(i)
    end_s: uint256 = FOREVER
    if i + 1 < count:
        end_s = self._boundary(i + 1) >> 8
    return count | ((i + 1) << 32) | ((found >> 8) << 64) | (end_s << 104) | ((found & M8) << 144)


@internal
@view
def _boundary(i: uint256) -> uint256:
    """
    @notice Reads a boundary.
    @param i Its number.
    @return start_s << 8 | session.
    """
    return (self.boundaries[i // 5] >> (48 * (i % 5))) & M48


@internal
def _write(kept: uint256, words: DynArray[uint256, MAX_WORDS]):
    """
    @notice Writes boundaries after the ones that stay, and brings the cursor up to date.
    @param kept Number of boundaries that stay.
    @param words Packed boundaries.
    """
    count: uint256 = kept
    previous_s: uint256 = 0
    if kept > 0:
        previous_s = self._boundary(kept - 1) >> 8
    session: uint256 = 0
    for word: uint256 in words:
        for j: uint256 in range(5):
            found: uint256 = (word >> (48 * j)) & M48
            if found == 0:
                break
            assert found >> 8 > previous_s, errors.CALENDAR_ORDER
            session = found & M8
            assert session <= MAX_SESSION, errors.CALENDAR_SESSION
            previous_s = found >> 8
            bit: uint256 = 48 * (count % 5)
            self.boundaries[count // 5] = (self.boundaries[count // 5] & ~(M48 << bit)) | (found << bit)
            count += 1
    assert count > kept, errors.CALENDAR_ORDER
    assert count <= MAX_BOUNDARIES, errors.CALENDAR_ORDER
    # whoever forgets to extend the table finds every market without openings, not in yesterday's session
    assert session == 0, errors.CALENDAR_OPEN_END
    # the window the cursor stands in stays, what ends it may be new
    window: uint256 = self.cursor
    end_s: uint256 = self._boundary((window >> 32) & M32) >> 8
    self.cursor = (window & ~(M32 | (M40 << 104))) | count | (end_s << 104)
    log CalendarChanged(from_s=self._boundary(kept) >> 8, words=words)
