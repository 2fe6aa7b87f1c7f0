"""Stand between clients and the sequencer: closed while the venue stops, lags too far behind, or steps in history.

A replay step jumps the chain's clock by minutes or hours. Whatever was matched before must be on chain before, and
whatever somebody did directly on chain must be known before the first match after it, because direct operations bind by
that clock (contracts/README.md, Direct operations). So a step is: hold clients, settle, move the chain, read it, adopt
prices, release. Cancels pass while clients are held: they open no batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import CancelAll, CancelOrder, Command, PlaceOrder
from afterbell.domain.errors import Rejected
from afterbell.domain.events import Event
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.indexer.follower import Follower
from afterbell.ports import Chain, ChainTime, ChainUnavailable, Clock, CommandSubmitter, Frame
from afterbell.settlement.settler import Settler
from afterbell.waiting import sleep_ms, within_ms

_log = structlog.get_logger(__name__)

_LONGEST_HOLD_MS: Final = 5_000
"""A client waits this long at a step before it is told to come again."""
_RETRY_MS: Final = 100


class TradingGate:
    """The sequencer as the gateway sees it."""

    def __init__(self, *, sequencer: CommandSubmitter, settler: Settler, clock: Clock) -> None:
        self._sequencer = sequencer
        self._settler = settler
        self._clock = clock
        self._open = asyncio.Event()
        self._open.set()
        self.is_stopping = False

    async def submit(self, command: Command) -> tuple[Frame, list[Event]]:
        """Pass a command on. Raises: Rejected NOT_READY for what opens a batch; cancels always pass."""
        if not isinstance(command, (CancelOrder, CancelAll)):
            if not self._open.is_set():
                await self._wait_for_step()
            if isinstance(command, PlaceOrder):
                self._must_be_open()
        return await self._sequencer.submit(command)

    def hold(self) -> None:
        """Let clients wait until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Let clients pass."""
        self._open.set()

    @property
    def is_settling(self) -> bool:
        """Tell whether fills made now can be expected on chain in time."""
        oldest_s = self._settler.oldest_unsettled_s
        return oldest_s is None or milliseconds_to_seconds(self._clock.now_ms()) - oldest_s <= SETTLE_LAG_S // 2

    async def _wait_for_step(self) -> None:
        try:
            await within_ms(_LONGEST_HOLD_MS, self._open.wait())
        except TimeoutError:
            raise Rejected(
                RejectReason.NOT_READY, "history is stepping and the chain is not there yet; send it again in a second"
            ) from None

    def _must_be_open(self) -> None:
        if self.is_stopping:
            raise Rejected(RejectReason.NOT_READY, "the exchange is stopping; send the order again after the restart")
        if not self.is_settling:
            raise Rejected(
                RejectReason.NOT_READY,
                f"settlement lags more than {SETTLE_LAG_S // 2} s behind matching; cancels are taken, orders are not",
            )


class StepBarrier:
    """What the replay keeper does around the jump of a step."""

    def __init__(
        self, *, gate: TradingGate, chain: Chain, chain_time: ChainTime, follower: Follower, confirmations: int
    ) -> None:
        """Take the parts. confirmations: blocks that hold a direct operation before it is adopted."""
        self._gate = gate
        self._chain = chain
        self._chain_time = chain_time
        self._follower = follower
        self._confirmations = confirmations

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Keep clients waiting inside the block."""
        self._gate.hold()
        try:
            yield
        finally:
            self._gate.release()

    async def bring_chain_to(self, time_s: int) -> None:
        """Return when the chain's clock is at `time_s` or later and everything made directly before is adopted.

        Waits for a node that does not answer. Nothing may be matched and not mined meanwhile.
        """
        while True:
            try:
                block = await self._chain.get_block()
                if block.time_s < time_s:
                    for offset_s in range(self._confirmations):
                        await self._chain_time.mine_block(time_s + offset_s)
                    block = await self._chain.get_block()
                await self._follower.read_through(block.number - (self._confirmations - 1))
            except ChainUnavailable as error:
                _log.warning("chain.unavailable", purpose="step", reason=str(error))
                await sleep_ms(_RETRY_MS)
            else:
                return
