"""Keep the journal in one append-only file: hash-chained frames, one writer, durable before acknowledged.

Frame (big-endian; offchain/README.md, "Journal"):

    length u32 | crc32 u32 | sequence u64 | time_ms u64 | payload | hash 32 bytes
    length counts what follows it; crc32 covers what follows the crc; sequence starts at 1
    hash = sha256(previous hash ‖ sequence ‖ time_ms ‖ payload)

A file that ends inside a frame is a torn tail: its frame was never durable, so never acknowledged; it is cut off and
reported. Everything else that does not fit stops the start with the offset. Must not: repair, skip or reorder anything.

    Faulted
    ├── JournalCorrupted     a frame on disk is not what was written
    ├── JournalWriteFailed   write or fdatasync failed: what is on disk is unknown, the process must stop
    └── JournalInUse         another writer holds the file
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final
from zlib import crc32

import msgspec
import structlog

from afterbell.adapters.command_codec import decode_command, encode_command
from afterbell.domain.commands import Command
from afterbell.domain.errors import Faulted

_log = structlog.get_logger(__name__)

MAX_FRAME_BYTES: Final = 1 << 20
"""Longest frame after its length field; the largest command (evidence of 32 markets) needs a few thousand."""
_LENGTH: Final = Struct(">I")
_CRC: Final = Struct(">I")
_STAMP: Final = Struct(">QQ")
_HEAD: Final = Struct(">IIQQ")
_N_HASH_BYTES: Final = 32
_MIN_LENGTH: Final = _CRC.size + _STAMP.size + 1 + _N_HASH_BYTES
_READ_BYTES: Final = 1 << 20
_GENESIS_LABEL: Final = b"afterbell journal v1"


class JournalCorrupted(Faulted):
    """A frame on disk is not what was written; nothing after `offset` can be trusted."""

    def __init__(self, path: Path, offset: int, required: str, found: str) -> None:
        super().__init__(f"journal {path}, byte {offset}: required {required}, found {found}; restore it from a copy")
        self.path = path
        self.offset = offset
        self.required = required
        self.found = found


class JournalWriteFailed(Faulted):
    """The disk refused a write or a sync; pages may be lost, so a retry would lie."""


class JournalInUse(Faulted):
    """A second writer asked for the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFrame:
    """One frame as read or written. Implements ports.Frame."""

    sequence: int
    time_ms: int
    command: Command
    hash: bytes
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TornTail:
    """What was cut off at the start: a frame the crash interrupted."""

    offset: int
    n_bytes: int


def compute_genesis_hash(chain_id: int, clearinghouse: bytes) -> bytes:
    """Return hash 0: it ties the file to one instance."""
    if len(clearinghouse) != 20:
        raise ValueError(f"clearinghouse must be 20 bytes, found {len(clearinghouse)}")
    return sha256(_GENESIS_LABEL + chain_id.to_bytes(8, "big") + clearinghouse).digest()


def compute_frame_hash(previous_hash: bytes, sequence: int, time_ms: int, payload: bytes) -> bytes:
    """Return the hash of a frame."""
    return sha256(previous_hash + _STAMP.pack(sequence, time_ms) + payload).digest()


class FileJournal:
    """The one writer of a journal file. Implements ports.Journal; `close` gives the lock back."""

    def __init__(self, path: Path, *, chain_id: int, clearinghouse: bytes) -> None:
        """Open or create the file, lock it, check every frame, cut off a torn tail.

        Raises: JournalInUse, JournalCorrupted, JournalWriteFailed.
        """
        self.path = path
        self.torn_tail: TornTail | None = None
        self._genesis_hash = compute_genesis_hash(chain_id, clearinghouse)
        self._is_failed = False
        self._next_sequence: int = 1
        self._last_time_ms: int = 0
        self._head_hash: bytes = self._genesis_hash
        self._n_bytes: int = 0
        self._descriptor = _open_locked(path)
        try:
            self._adopt_file()
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def head_hash(self) -> bytes:
        """Hash of the last frame, or hash 0."""
        return self._head_hash

    @property
    def genesis_hash(self) -> bytes:
        """Hash 0, before the first frame."""
        return self._genesis_hash

    @property
    def next_sequence(self) -> int:
        """Sequence the next frame will carry; the first is 1."""
        return self._next_sequence

    @property
    def last_time_ms(self) -> int:
        """Time of the last frame, 0 when there is none."""
        return self._last_time_ms

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return self._n_bytes

    def append(self, commands: Sequence[tuple[int, Command]]) -> Sequence[FileFrame]:
        """Write (time_ms, command) frames in one system call; not durable before `sync`.

        Raises: JournalWriteFailed; ValueError, before anything is written, if a time decreases, a frame is too long
        or a command cannot be encoded.
        """
        self._must_be_usable()
        frames: list[FileFrame] = []
        buffer = bytearray()
        sequence, time_ms, head_hash = self._next_sequence, self._last_time_ms, self._head_hash
        for command_time_ms, command in commands:
            if command_time_ms < time_ms:
                raise ValueError(f"journal time must not decrease: last {time_ms} ms, found {command_time_ms} ms")
            time_ms = command_time_ms
            payload = encode_command(command)
            if len(payload) + _MIN_LENGTH - 1 > MAX_FRAME_BYTES:
                raise ValueError(f"a frame must be at most {MAX_FRAME_BYTES} bytes, found {len(payload)} of payload")
            offset = self._n_bytes + len(buffer)
            head_hash = compute_frame_hash(head_hash, sequence, time_ms, payload)
            body = _STAMP.pack(sequence, time_ms) + payload + head_hash
            buffer += _LENGTH.pack(_CRC.size + len(body)) + _CRC.pack(crc32(body)) + body
            frames.append(FileFrame(sequence=sequence, time_ms=time_ms, command=command, hash=head_hash, offset=offset))
            sequence += 1
        self._write(buffer)
        self._next_sequence, self._last_time_ms, self._head_hash = sequence, time_ms, head_hash
        self._n_bytes += len(buffer)
        return frames

    def sync(self) -> None:
        """Make everything appended durable. Raises: JournalWriteFailed; final, the process must stop."""
        self._must_be_usable()
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._is_failed = True
            raise JournalWriteFailed(f"journal {self.path}: fdatasync failed ({error}); check the disk") from error

    def read(self) -> Iterator[FileFrame]:
        """Yield all frames from the first, checking each again. Raises: JournalCorrupted."""
        end = self._n_bytes
        with self.path.open("rb") as file:
            for frame, _ in _scan(file, self.path, end, self._genesis_hash):
                yield frame

    def close(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._is_failed = True

    def _adopt_file(self) -> None:
        size = os.fstat(self._descriptor).st_size
        with self.path.open("rb") as file:
            for frame, end in _scan(file, self.path, size, self._genesis_hash):
                self._next_sequence = frame.sequence + 1
                self._last_time_ms = frame.time_ms
                self._head_hash = frame.hash
                self._n_bytes = end
        if self._n_bytes == size:
            return
        try:
            os.ftruncate(self._descriptor, self._n_bytes)
            os.fsync(self._descriptor)
        except OSError as error:
            raise JournalWriteFailed(f"journal {self.path}: cannot cut off the torn tail ({error})") from error
        self.torn_tail = TornTail(offset=self._n_bytes, n_bytes=size - self._n_bytes)
        _log.warning("journal.tail_cut", path=str(self.path), offset=self._n_bytes, n_bytes=size - self._n_bytes)

    def _write(self, buffer: bytearray) -> None:
        view = memoryview(buffer)
        n_written = 0
        try:
            while n_written < len(view):
                n_written += os.write(self._descriptor, view[n_written:])
        except OSError as error:
            self._is_failed = True
            raise JournalWriteFailed(
                f"journal {self.path}: wrote {n_written} of {len(view)} bytes ({error}); stop, check space and disk"
            ) from error

    def _must_be_usable(self) -> None:
        if self._is_failed:
            raise JournalWriteFailed(f"journal {self.path}: closed, or a write failed before; restart from the file")


def read_journal(path: Path, *, chain_id: int, clearinghouse: bytes) -> Iterator[FileFrame]:
    """Yield the frames of a file without locking or changing it; a torn tail ends it. Raises: JournalCorrupted."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for frame, _ in _scan(file, path, size, compute_genesis_hash(chain_id, clearinghouse)):
            yield frame


def _open_locked(path: Path) -> int:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalInUse(f"journal {path} has another writer; stop it first") from error
    if is_new:  # the name must survive a power cut as the frames do
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return descriptor


def _scan(file: BinaryIO, path: Path, size: int, genesis_hash: bytes) -> Iterator[tuple[FileFrame, int]]:
    """Yield (frame, offset behind it) up to the torn tail, if any. Raises: JournalCorrupted."""
    reader = _Reader(file, size)
    offset, sequence, time_ms, head_hash = 0, 1, 0, genesis_hash
    while offset < size:
        length_field = reader.read_at(offset, _LENGTH.size)
        if len(length_field) < _LENGTH.size:
            return
        length = _LENGTH.unpack(length_field)[0]
        if not _MIN_LENGTH <= length <= MAX_FRAME_BYTES:
            raise JournalCorrupted(path, offset, f"a length in [{_MIN_LENGTH}, {MAX_FRAME_BYTES}]", f"{length}")
        if offset + _LENGTH.size + length > size:
            _must_be_torn(reader.read_at(offset, size - offset), path, offset, sequence)
            return
        frame_bytes = reader.read_at(offset + _LENGTH.size, length)
        crc = _CRC.unpack_from(frame_bytes)[0]
        body = frame_bytes[_CRC.size :]
        if crc32(body) != crc:
            raise JournalCorrupted(path, offset, f"crc {crc:08x}", f"{crc32(body):08x}")
        found_sequence, found_time_ms = _STAMP.unpack_from(body)
        if found_sequence != sequence:
            raise JournalCorrupted(path, offset, f"sequence {sequence}", f"{found_sequence}")
        payload = body[_STAMP.size : -_N_HASH_BYTES]
        head_hash = compute_frame_hash(head_hash, found_sequence, found_time_ms, payload)
        if body[-_N_HASH_BYTES:] != head_hash:
            found = body[-_N_HASH_BYTES:].hex()
            raise JournalCorrupted(path, offset, f"hash {head_hash.hex()} (chain and instance)", found)
        if found_time_ms < time_ms:
            raise JournalCorrupted(path, offset, f"a time of at least {time_ms} ms", f"{found_time_ms} ms")
        try:
            command = decode_command(payload)
        except msgspec.DecodeError as error:
            raise JournalCorrupted(path, offset, "a command this version knows", str(error)) from error
        frame = FileFrame(
            sequence=found_sequence, time_ms=found_time_ms, command=command, hash=head_hash, offset=offset
        )
        offset += _LENGTH.size + length
        sequence, time_ms = sequence + 1, found_time_ms
        yield frame, offset


def _must_be_torn(tail: bytes, path: Path, offset: int, sequence: int) -> None:
    """Tell an interrupted write from a damaged length field: behind a torn write nothing whole can stand.

    Without this a flipped bit in the length of an acknowledged frame would silently cut off all that follows it.
    """
    if len(tail) < _LENGTH.size + _MIN_LENGTH:
        return
    if _CRC.unpack_from(tail, _LENGTH.size)[0] == crc32(tail[_LENGTH.size + _CRC.size :]):
        raise JournalCorrupted(path, offset, f"length {len(tail) - _LENGTH.size}", f"{_LENGTH.unpack_from(tail)[0]}")
    # A later whole frame carries a sequence just above this one; its eight bytes are the anchor to look for.
    for later in (sequence + 1, sequence + 2):
        position = tail.find(later.to_bytes(8, "big"), _LENGTH.size + _MIN_LENGTH)
        while position >= 0:
            start = position - _LENGTH.size - _CRC.size
            length, crc, _, _ = _HEAD.unpack_from(tail.ljust(start + _HEAD.size, b"\0"), start)
            end = start + _LENGTH.size + length
            if length >= _MIN_LENGTH and end <= len(tail) and crc32(tail[position:end]) == crc:
                raise JournalCorrupted(
                    path, offset, "a length that ends inside the file", f"frame {later} whole at byte {offset + start}"
                )
            position = tail.find(later.to_bytes(8, "big"), position + 1)


class _Reader:
    """Read ranges of a file through one buffer that moves forward."""

    __slots__ = ("_buffer", "_file", "_size", "_start")

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._start = 0
        self._buffer = b""

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return up to n_bytes from `offset`, fewer at the end of the file."""
        n_bytes = min(n_bytes, self._size - offset)
        begin = offset - self._start
        if begin < 0 or begin + n_bytes > len(self._buffer):
            self._file.seek(offset)
            self._buffer = self._file.read(max(n_bytes, min(_READ_BYTES, self._size - offset)))
            self._start, begin = offset, 0
        return self._buffer[begin : begin + n_bytes]
