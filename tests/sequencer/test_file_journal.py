"""The journal file: what was written comes back, and nothing else is ever believed."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterbell.adapters.file_journal import (
    FileJournal,
    JournalCorrupted,
    JournalInUse,
    JournalWriteFailed,
    read_journal,
)
from afterbell.domain.commands import Command, HaltMarket, ListMarket

CHAIN_ID = 31337
CLEARINGHOUSE = bytes(range(20))


def open_journal(path: Path) -> FileJournal:
    return FileJournal(path, chain_id=CHAIN_ID, clearinghouse=CLEARINGHOUSE)


def halt(reason: str) -> Command:
    return HaltMarket(market=1, reason=reason)


def write_frames(path: Path, n_frames: int) -> list[int]:
    """Write frames 1..n and return where each begins, and the end."""
    journal = open_journal(path)
    offsets = []
    for number in range(1, n_frames + 1):
        offsets.append(journal.n_bytes)
        journal.append([(1_000 + number, halt(f"reason {number}"))])
    journal.sync()
    offsets.append(journal.n_bytes)
    journal.close()
    return offsets


def test_journal__frames_written__bytes_are_the_documented_format(tmp_path: Path) -> None:
    """The frame is rebuilt here by hand from offchain/README.md."""
    path = tmp_path / "journal.log"
    journal = open_journal(path)

    journal.append([(7, halt("split"))])
    journal.sync()

    hash_0 = sha256(b"afterbell journal v1" + (31337).to_bytes(8, "big") + CLEARINGHOUSE).digest()
    payload = msgspec.msgpack.encode({"type": "HaltMarket", "market": 1, "reason": "split"})
    stamp = (1).to_bytes(8, "big") + (7).to_bytes(8, "big")
    body = stamp + payload + sha256(hash_0 + stamp + payload).digest()
    expected = (len(body) + 4).to_bytes(4, "big") + crc32(body).to_bytes(4, "big") + body
    assert path.read_bytes() == expected
    assert journal.head_hash == body[-32:]
    assert journal.next_sequence == 2


def test_journal__reopened__continues_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    write_frames(path, 3)

    journal = open_journal(path)
    journal.append([(2_000, halt("after"))])
    frames = list(journal.read())

    assert [frame.sequence for frame in frames] == [1, 2, 3, 4]
    assert [frame.time_ms for frame in frames] == [1_001, 1_002, 1_003, 2_000]
    assert [frame.command for frame in frames] == [*(halt(f"reason {n}") for n in (1, 2, 3)), halt("after")]
    assert frames[-1].hash == journal.head_hash
    assert journal.torn_tail is None


def test_journal__group_appended__is_one_write_and_all_frames(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.log")

    frames = journal.append([(5, halt("a")), (5, halt("b")), (6, halt("c"))])

    assert [frame.sequence for frame in frames] == [1, 2, 3]
    assert list(journal.read()) == list(frames)


def test_journal__time_decreases__is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.log")
    journal.append([(5, halt("a"))])
    before = journal.n_bytes

    with pytest.raises(ValueError, match="must not decrease"):
        journal.append([(6, halt("b")), (4, halt("c"))])

    assert (journal.n_bytes, journal.next_sequence) == (before, 2)
    assert len(list(journal.read())) == 1


def test_journal__torn_anywhere_in_the_last_frame__is_cut_off_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    offsets = write_frames(path, 3)
    whole = path.read_bytes()
    for end in range(offsets[2] + 1, offsets[3]):
        path.write_bytes(whole[:end])

        journal = open_journal(path)

        assert journal.torn_tail is not None
        assert (journal.torn_tail.offset, journal.torn_tail.n_bytes) == (offsets[2], end - offsets[2])
        assert journal.next_sequence == 3
        assert path.read_bytes() == whole[: offsets[2]]
        journal.close()


@settings(max_examples=300, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_journal__any_bit_flipped__stops_with_the_offset_of_its_frame(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    """Also a flipped length must not pass for a torn tail: that would drop acknowledged frames."""
    path = tmp_path_factory.mktemp("flip") / "journal.log"
    offsets = write_frames(path, 4)
    damaged = bytearray(path.read_bytes())
    index = int(position * len(damaged))
    damaged[index] ^= 1 << bit
    path.write_bytes(damaged)

    with pytest.raises(JournalCorrupted) as caught:
        open_journal(path)

    assert caught.value.offset == max(offset for offset in offsets if offset <= index)
    assert str(caught.value.offset) in str(caught.value)
    assert caught.value.required and caught.value.found
    assert path.read_bytes() == damaged


def test_journal__length_of_each_frame_flipped__is_corruption_not_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    offsets = write_frames(path, 4)
    whole = path.read_bytes()
    for offset in offsets[:-1]:
        for bit in range(32):
            damaged = bytearray(whole)
            damaged[offset + 3 - bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)

            with pytest.raises(JournalCorrupted) as caught:
                open_journal(path)

            assert caught.value.offset == offset


def test_journal__frame_removed__is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    offsets = write_frames(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[1]] + whole[offsets[2] :])

    with pytest.raises(JournalCorrupted, match="required sequence 2, found 3"):
        open_journal(path)


def test_journal__of_another_instance__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    write_frames(path, 1)

    with pytest.raises(JournalCorrupted, match="chain and instance"):
        FileJournal(path, chain_id=CHAIN_ID + 1, clearinghouse=CLEARINGHOUSE)


def test_journal__frame_of_an_unknown_command__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    journal = open_journal(path)
    stamp = (1).to_bytes(8, "big") + (1).to_bytes(8, "big")
    payload = msgspec.msgpack.encode({"type": "PrintMoney", "quote": 1})
    body = stamp + payload + sha256(journal.head_hash + stamp + payload).digest()
    journal.close()
    path.write_bytes((len(body) + 4).to_bytes(4, "big") + crc32(body).to_bytes(4, "big") + body)

    with pytest.raises(JournalCorrupted, match="a command this version knows"):
        open_journal(path)


def test_journal__second_writer__is_refused_until_the_first_closes(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    first = open_journal(path)

    with pytest.raises(JournalInUse):
        open_journal(path)

    first.close()
    open_journal(path).close()


def test_journal__read_without_lock__sees_a_writers_frames(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    journal = open_journal(path)
    frames = journal.append([(5, halt("a")), (5, halt("b"))])

    actual = list(read_journal(path, chain_id=CHAIN_ID, clearinghouse=CLEARINGHOUSE))

    assert actual == list(frames)


def test_journal__sync_fails__is_final(tmp_path: Path) -> None:
    """The descriptor is replaced by a pipe, which the kernel refuses to sync."""
    journal = open_journal(tmp_path / "journal.log")
    read_end, write_end = os.pipe()
    os.dup2(write_end, journal._descriptor)

    with pytest.raises(JournalWriteFailed, match="fdatasync failed"):
        journal.sync()
    with pytest.raises(JournalWriteFailed, match="restart from the file"):
        journal.append([(5, halt("a"))])

    os.close(read_end)
    os.close(write_end)


def test_journal__disk_full__is_final(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.log")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._descriptor)

    with pytest.raises(JournalWriteFailed, match="wrote 0 of"):
        journal.append([(5, halt("a"))])
    with pytest.raises(JournalWriteFailed):
        journal.sync()

    os.close(full)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.text(max_size=40)), max_size=20))
def test_journal__any_commands__read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    path = tmp_path_factory.mktemp("roundtrip") / "journal.log"
    journal = open_journal(path)
    commands: list[tuple[int, Command]] = []
    time_ms = 0
    for wait_ms, text in steps:
        time_ms += wait_ms
        commands.append(
            (
                time_ms,
                ListMarket(market=1, symbol=text, epoch=1, lot_exponent=4, ticks_per_usd=100, synthetic=False),
            )
        )
    for pair in commands:
        journal.append([pair])
    journal.sync()
    journal.close()

    actual = [(frame.time_ms, frame.command) for frame in open_journal(path).read()]

    assert actual == commands
