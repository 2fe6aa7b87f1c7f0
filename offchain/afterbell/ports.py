"""Ports: what the services need from the outside, as Protocols. Adapters implement them; bootstrap wires them.

Imports domain only. Nothing here does anything.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from afterbell.domain.commands import Command
from afterbell.domain.events import Event


class Clock(Protocol):
    """The one venue clock."""

    def now_ms(self) -> int:
        """Return venue time, milliseconds since the UNIX epoch; never decreases."""


class Frame(Protocol):
    """One journal frame."""

    @property
    def sequence(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def command(self) -> Command: ...
    @property
    def hash(self) -> bytes: ...


class Journal(Protocol):
    """Hash-chained, durable, single-writer log of commands (offchain/README.md, Journal)."""

    @property
    def head_hash(self) -> bytes: ...
    @property
    def next_sequence(self) -> int: ...
    def append(self, commands: Sequence[tuple[int, Command]]) -> Sequence[Frame]:
        """Write (time_ms, command) frames to the file; not durable before `sync`."""

    def sync(self) -> None:
        """Make everything appended durable; any error is final: the process must stop."""

    def read(self) -> Iterator[Frame]:
        """Yield all frames from the first, checking length, crc, sequence and hash."""


class EventSink(Protocol):
    """Receives applied frames with their events, in order, after they are durable."""

    def publish(self, frame: Frame, events: Sequence[Event]) -> None: ...
