"""The venue clock never decreases and, in replay, never reaches the next step before it is told."""

from __future__ import annotations

import pytest

from afterbell.adapters.clock import ReplayClock, SystemClock


class Hand:
    """A clock hand the test turns. Units: nanoseconds."""

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns

    def __call__(self) -> int:
        return self.time_ns

    def move_ms(self, change_ms: int) -> None:
        self.time_ns += change_ms * 1_000_000


def test_system_clock__wall_jumps_back__holds() -> None:
    wall = Hand(5_000_999_999)
    clock = SystemClock(wall_ns=wall)
    assert clock.now_ms() == 5_000

    wall.move_ms(-3_000)

    assert clock.now_ms() == 5_000
    wall.move_ms(3_001)
    assert clock.now_ms() == 5_001


def test_system_clock__floor_ahead_of_wall__starts_at_the_floor() -> None:
    clock = SystemClock(floor_ms=9_000, wall_ns=Hand(5_000_000_000))

    assert clock.now_ms() == 9_000


def test_replay_clock__inside_a_step__runs_at_wall_speed_below_the_next() -> None:
    hand = Hand(77)
    clock = ReplayClock(step_ms=600_000, next_step_ms=1_200_000, monotonic_ns=hand)
    assert clock.now_ms() == 600_000

    hand.move_ms(250)
    assert clock.now_ms() == 600_250

    hand.move_ms(10_000_000)
    assert clock.now_ms() == 1_199_999


def test_replay_clock__advanced__starts_at_the_step() -> None:
    hand = Hand(0)
    clock = ReplayClock(step_ms=600_000, next_step_ms=1_200_000, monotonic_ns=hand)
    hand.move_ms(40)

    clock.advance_to(1_200_000, 1_800_000)

    assert clock.now_ms() == 1_200_000
    assert (clock.step_ms, clock.next_step_ms) == (1_200_000, 1_800_000)
    hand.move_ms(1)
    assert clock.now_ms() == 1_200_001


def test_replay_clock__last_step_known__runs_on() -> None:
    hand = Hand(0)
    clock = ReplayClock(step_ms=600_000, monotonic_ns=hand)

    hand.move_ms(5_000_000)

    assert clock.now_ms() == 5_600_000


def test_replay_clock__restart_after_a_later_frame__holds_until_history_catches_up() -> None:
    hand = Hand(0)
    clock = ReplayClock(step_ms=600_000, floor_ms=600_500, monotonic_ns=hand)
    assert clock.now_ms() == 600_500

    hand.move_ms(499)
    assert clock.now_ms() == 600_500
    hand.move_ms(2)
    assert clock.now_ms() == 600_501


def test_replay_clock__step_goes_back__is_refused() -> None:
    clock = ReplayClock(step_ms=600_000, monotonic_ns=Hand(0))

    with pytest.raises(ValueError, match="must not go back"):
        clock.advance_to(599_999, None)


def test_replay_clock__next_step_not_later__is_refused() -> None:
    with pytest.raises(ValueError, match="must be later"):
        ReplayClock(step_ms=600_000, next_step_ms=600_000, monotonic_ns=Hand(0))
