"""Wait in milliseconds: the one place where a duration becomes the float seconds of asyncio.

Must not: know the venue clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")


async def sleep_ms(delay_ms: int) -> None:
    """Pause this task."""
    await asyncio.sleep(delay_ms / 1_000)


async def end_task(task: asyncio.Task[Any], *, patience_ms: int = 1_000) -> None:
    """Cancel a task and return when it has ended, whatever it ended with.

    Asked again while it runs on: asyncio.wait_for of this Python may swallow a cancellation that meets a result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=patience_ms / 1_000)


async def within_ms(limit_ms: int, awaitable: Awaitable[_Answer]) -> _Answer:
    """Return what `awaitable` returns. Raises: TimeoutError after `limit_ms`; the awaitable is cancelled then."""
    return await asyncio.wait_for(awaitable, limit_ms / 1_000)
