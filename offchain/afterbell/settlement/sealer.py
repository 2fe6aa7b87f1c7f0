"""Ask for a seal in a steady rhythm, so that no fill waits long for the chain.

While the chain lags behind, batches are left to grow: one larger batch costs less than many small ones, and the
sequencer cuts a full one by itself. Must not: decide what is in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from afterbell.domain.commands import SealBatch
from afterbell.ports import CommandSubmitter
from afterbell.waiting import sleep_ms

MAX_UNSETTLED: Final = 4


class Sealer:
    """One task (`run`)."""

    def __init__(
        self,
        *,
        submitter: CommandSubmitter,
        has_open_batch: Callable[[], bool],
        count_unsettled: Callable[[], int],
        interval_ms: int,
    ) -> None:
        self._submitter = submitter
        self._has_open_batch = has_open_batch
        self._count_unsettled = count_unsettled
        self._interval_ms = interval_ms

    async def run(self) -> None:
        """Seal until cancelled."""
        while True:
            await sleep_ms(self._interval_ms)
            if self._has_open_batch() and self._count_unsettled() < MAX_UNSETTLED:
                await self._submitter.submit(SealBatch(journal_hash=b""))
