"""Lanes of one account: never two live orders in one, seqs that only rise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afterbell.sdk.lanes import LaneBook, first_lane_of


def test_first_lane__owner_and_session_keys__blocks_of_256_below_the_lane_of_operations() -> None:
    owner = b"\x01" * 20
    blocks = {first_lane_of(number.to_bytes(20, "big"), owner) for number in range(1, 2_000)}

    assert first_lane_of(owner, owner) == first_lane_of(owner, None) == 0
    assert min(blocks) == 256
    assert max(blocks) + 255 == 65_279 < 65_535
    assert all(first_lane % 256 == 0 for first_lane in blocks)


def test_acquire__order_of_another_signer_ended__its_lane_stays_the_others() -> None:
    lanes = LaneBook(first_lane=512)
    lanes.hold(0, "0xaa")
    assert lanes.acquire() == 512

    lanes.release_order("0xaa")

    assert lanes.acquire() == 513


def test_acquire__free_lanes__lowest_first() -> None:
    lanes = LaneBook()
    assert [lanes.acquire() for _ in range(3)] == [0, 1, 2]

    lanes.release(1)

    assert [lanes.acquire(), lanes.acquire()] == [1, 3]


def test_release__order_that_no_longer_holds_the_lane__changes_nothing() -> None:
    lanes = LaneBook()
    lane = lanes.acquire()
    lanes.hold(lane, "0xaa")

    lanes.release(lane, "0xbb")

    assert lanes.held_by(lane) == {"0xaa"}


def test_hold__two_orders_of_an_oco__the_end_of_one_frees_the_lane() -> None:
    lanes = LaneBook()
    lane = lanes.acquire()
    lanes.hold(lane, "0xaa", "0xbb")

    lanes.release_order("0xcc")
    assert lanes.is_held(lane)
    lanes.release_order("0xbb")

    assert not lanes.is_held(lane) and lanes.acquire() == lane


def test_reserve__lane_of_the_caller__is_never_handed_out() -> None:
    lanes = LaneBook()
    lanes.reserve(0)

    assert lanes.acquire() == 1


@given(st.lists(st.integers(0, 1000), max_size=50))
def test_next_seq__whatever_the_clock_says__rises_strictly(clock: list[int]) -> None:
    lanes = LaneBook()

    seqs = [lanes.next_seq(5, now_seq) for now_seq in clock]

    assert all(later > earlier for earlier, later in zip(seqs, seqs[1:], strict=False))
    assert all(seq >= now_seq for seq, now_seq in zip(seqs, clock, strict=True))


def test_forget_seq__one_too_far_ahead__the_next_is_still_above_the_one_before() -> None:
    lanes = LaneBook()
    assert [lanes.next_seq(3, 1_000), lanes.next_seq(3, 9_000)] == [1_000, 9_000]

    lanes.forget_seq(3)

    assert lanes.next_seq(3, 1_000) == 1_001


@given(st.lists(st.one_of(st.just("acquire"), st.integers(0, 20)), max_size=100))
def test_acquire_and_release__any_order__no_lane_twice(steps: list[str | int]) -> None:
    lanes, held = LaneBook(), set[int]()
    for step in steps:
        if isinstance(step, int):
            lanes.release(step)
            held.discard(step)
        else:
            lane = lanes.acquire()
            assert lane not in held
            held.add(lane)
    assert len(lanes) == len(held)
