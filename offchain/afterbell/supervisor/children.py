"""Children: start the venue's processes, know when one dies, stop them in order.

Each child has a session of its own, so that Ctrl-C reaches the supervisor alone; what it prints goes to a file in
logs/, and the supervisor waits there for the line that says where it listens. Must not: restart anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from afterbell.domain.errors import AfterbellError

_LISTENING: Final = re.compile(r"listening on (http://\S+)")
_POLL_S: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1
# Loaded here: between fork and exec nothing may be imported. Other systems than Linux have no prctl and go without.
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_N_TAIL_LINES: Final = 15


class ChildFailed(AfterbellError):
    """A process of the venue ended, or did not come up in time."""


@dataclass(slots=True, kw_only=True)
class Child:
    """One running process. `output` is the file with what it printed in this run, from byte `begin` on."""

    name: str
    process: asyncio.subprocess.Process
    output: Path
    begin: int
    logs: tuple[Path, ...] = ()

    @property
    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self.process.returncode is None

    def read_output(self) -> str:
        """Return what it printed in this run."""
        with self.output.open("rb") as file:
            file.seek(self.begin)
            return file.read().decode(errors="replace")

    def read_last_lines(self) -> list[str]:
        """Return the last lines it printed and logged, for whoever must find out why it died."""
        lines = [f"{self.output.name}: {line}" for line in self.read_output().splitlines()[-_N_TAIL_LINES:]]
        for path in self.logs:
            with contextlib.suppress(OSError):
                lines += [f"{path.name}: {line[:400]}" for line in read_tail(path)]
        return lines


def read_tail(path: Path, n_lines: int = _N_TAIL_LINES) -> list[str]:
    """Return the last lines of a file without reading all of it."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - 16_384, 0))
        return file.read().decode(errors="replace").splitlines()[-n_lines:]


async def start_child(
    name: str,
    arguments: Sequence[str],
    *,
    logs_dir: Path,
    environment: Mapping[str, str] | None = None,
    logs: Sequence[Path] = (),
) -> Child:
    """Start `afterbell <arguments>` with this Python. The folder of logs must be there."""
    output = logs_dir / f"{name}.out"
    with output.open("ab") as file:
        begin = file.tell()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "afterbell",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    return Child(name=name, process=process, output=output, begin=begin, logs=tuple(logs))


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the supervisor dies, whatever it dies of."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def wait_for_address(child: Child, timeout_s: float) -> str:
    """Return the address a child prints when it listens. Raises: ChildFailed with its last lines."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = _LISTENING.search(child.read_output())
        if found is not None:
            return found.group(1)
        must_run(child)
        await asyncio.sleep(_POLL_S)
    raise ChildFailed(describe_end(child, f"{child.name} did not listen within {timeout_s:.0f} s"))


def must_run(child: Child) -> None:
    """Raise ChildFailed with the last lines of a child that has ended."""
    if not child.is_running:
        raise ChildFailed(describe_end(child, f"{child.name} ended with {describe_status(child.process.returncode)}"))


def describe_end(child: Child, what: str) -> str:
    """Return `what` and the child's last lines."""
    return "\n  ".join([what, *child.read_last_lines()])


def describe_status(status: int | None) -> str:
    """Return a process's end in words."""
    if status is None:
        return "no status"
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"status {status}"


async def stop_child(child: Child, timeout_s: float) -> bool:
    """Ask a child to end and wait; kill it after the time. Return whether it ended by itself."""
    if not child.is_running:
        return True
    with contextlib.suppress(ProcessLookupError):
        child.process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(child.process.wait(), timeout_s)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.process.kill()
        await child.process.wait()
        return False
    return True
