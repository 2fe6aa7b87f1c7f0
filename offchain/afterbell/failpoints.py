"""Die on purpose at a named point, so that tests can prove what a crash leaves behind.

`AFTERBELL_CRASH_AT=name[:n]` kills the process with SIGKILL the n-th time `name` is reached (n = 1 if not given).
SIGKILL and not an exception: nothing may run afterwards, as with a power cut. Names: offchain/README.md, "Crash
points". Without the variable a point costs one comparison. Must not: do anything else.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "AFTERBELL_CRASH_AT"
POINTS: Final = frozenset(
    {
        "order.received",
        "journal.appended",
        "journal.synced",
        "order.applied",
        "order.acknowledged",
        "batch.sealed",
        "batch.submitted",
        "batch.mined",
        "batch.confirmed",
        "deposit.seen",
        "readmodel.projected",
    }
)


class _Countdown:
    """Count how often the armed point was reached. Raises: ValueError for a name nobody reaches."""

    __slots__ = ("n_left", "name")

    def __init__(self, setting: str) -> None:
        name, _, count = setting.partition(":")
        if name and name not in POINTS:
            raise ValueError(f"{VARIABLE} must name one of {sorted(POINTS)}, found {name!r}")
        self.name = name
        self.n_left = int(count) if count else 1


_ARMED: Final = _Countdown(os.environ.get(VARIABLE, ""))


def reach(name: str) -> None:
    """Note that the point `name` was reached; does not return when it is the armed one and its turn has come."""
    if name != _ARMED.name:
        return
    _ARMED.n_left -= 1
    if _ARMED.n_left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
