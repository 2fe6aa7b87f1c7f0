"""Follow blocks from the deployment on: adopt direct operations, report paid claims, tell when a batch is final.

    direct operation   a deposit, cancel-all, key link or revocation, change of rules, or what a sibling did
                       (liquidation, exit, corporate action); numbered by the contract (direct_op), adopted in that
                       order without gaps, after `deposit_confirmations`
    batch              final when `final_confirmations` blocks hold it: its own block counts as the first

The cursor is derived, not stored: the block of the last direct operation in the journal. Logs read again are recognised
by their direct_op. The contract's counter, not the log query, says how many there are: a node that withholds a log is
noticed. Must not: submit transactions or decide what an operation does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from afterbell import failpoints
from afterbell.domain.commands import AdoptDirectOperation, CreditDeposit
from afterbell.domain.errors import Faulted
from afterbell.domain.events import BatchConfirmed, Event
from afterbell.domain.hashing import keccak
from afterbell.domain.words import BatchWord
from afterbell.indexer.decoder import (
    CLAIM_PAID_TOPIC,
    DEPOSITED_TOPIC,
    DIRECT_OPERATION_TOPIC,
    EFFECT_TOPICS,
    add_effects,
    decode_claim_payment,
    decode_direct_operation,
    is_by_sibling,
    read_direct_op,
)
from afterbell.ports import Chain, ChainLog, ChainUnavailable, CommandSubmitter, Frame
from afterbell.waiting import sleep_ms

_log = structlog.get_logger(__name__)

OPERATOR_SELECTOR: Final = keccak(b"operator_word()")[:4]
BATCH_SELECTOR: Final = keccak(b"batch_word()")[:4]
_MAX_BLOCKS_PER_QUERY: Final = 2_000
_LONGEST_DELAY_MS: Final = 5_000


class ChainRecorder(Protocol):
    """Keeps what only the chain knows (readmodel/projector.py); every call may come twice and then changes nothing."""

    async def read_chain_cursor(self) -> int: ...

    async def record_chain_cursor(self, block: int, block_hash: bytes) -> None: ...

    async def record_claim_paid(self, recipient: bytes, transaction: bytes, block: int) -> None: ...

    async def record_final_block(self, block: int) -> None: ...

    async def wait_for(self, sequence: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerSettings:
    """What to follow and how long to wait for it to settle down."""

    clearinghouse: bytes
    vault: bytes
    first_block: int
    deposit_confirmations: int = 1
    final_confirmations: int = 2
    poll_ms: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mined:
    sequence: int
    frame: int
    block: int
    transaction: bytes


class Follower:
    """Follow one chain in one task (`run`); also an EventSink, from which it learns what is done already."""

    def __init__(self, *, chain: Chain, settings: FollowerSettings, recorder: ChainRecorder | None = None) -> None:
        self._chain = chain
        self._settings = settings
        self._recorder = recorder
        self._submitter: CommandSubmitter | None = None
        self._note_rollback: Callable[[], None] = _ignore
        self._last_direct_op = 0
        self._next_block = settings.first_block
        self._head = 0
        self._seen_block = 0
        self._last_read = 0
        self._turn = asyncio.Lock()
        self._unfinal: deque[_Mined] = deque()
        self._last_confirmed = 0
        self._last_frame = 0

    def connect(self, submitter: CommandSubmitter, note_rollback: Callable[[], None]) -> None:
        """Name the sequencer, which replay builds after this, and whom to tell that a confirmed batch is gone."""
        self._submitter = submitter
        self._note_rollback = note_rollback

    # ------------------------------------------------------------- EventSink

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Learn from the journal what is credited and what is mined; also called for every frame replayed at start."""
        self._last_frame = frame.sequence
        if isinstance(frame.command, (CreditDeposit, AdoptDirectOperation)):
            self._last_direct_op = frame.command.direct_op
            self._next_block = max(self._next_block, frame.command.block)
        for event in events:
            if isinstance(event, BatchConfirmed):
                self._last_confirmed = event.sequence
                self._unfinal.append(
                    _Mined(
                        sequence=event.sequence, frame=frame.sequence, block=event.block, transaction=event.transaction
                    )
                )

    # --------------------------------------------------------------- queries

    @property
    def last_direct_op(self) -> int:
        """Number of the last direct operation adopted."""
        return self._last_direct_op

    @property
    def head_block(self) -> int:
        """Newest block seen, read or not."""
        return self._seen_block

    @property
    def n_blocks_behind(self) -> int:
        """Blocks that are old enough to be read and are not."""
        return max(self._seen_block - (self._settings.deposit_confirmations - 1) - (self._next_block - 1), 0)

    # ------------------------------------------------------------------ task

    async def run(self) -> None:
        """Follow until cancelled. Raises: Faulted when the chain took back a direct operation that was adopted."""
        if self._recorder is not None:
            # The read model may be behind the journal: claims are read again from where it stands.
            self._next_block = min(
                self._next_block, max(await self._recorder.read_chain_cursor() + 1, self._settings.first_block)
            )
        delay_ms = self._settings.poll_ms
        while True:
            try:
                await self.follow_once()
                delay_ms = self._settings.poll_ms
            except ChainUnavailable as error:
                _log.warning("chain.unavailable", purpose="follow blocks", reason=str(error), delay_ms=delay_ms)
                delay_ms = min(2 * delay_ms, _LONGEST_DELAY_MS)
            await sleep_ms(delay_ms)

    async def follow_once(self) -> None:
        """Read what the chain added since the last time. Raises: ChainUnavailable, Faulted."""
        async with self._turn:
            block = await self._chain.get_block()
            self._seen_block = block.number
            if block.number != self._head:
                last = block.number - (self._settings.deposit_confirmations - 1)
                await self._read_until(last)
                if self._recorder is not None and last == block.number:
                    await self._recorder.record_chain_cursor(block.number, block.hash)
                self._head = block.number
                self._last_read = last
            await self._finish_batches(block.number)

    async def read_through(self, block: int) -> None:
        """Return once everything made directly on chain up to `block` is adopted. Raises: ChainUnavailable, Faulted."""
        while self._last_read < block:
            await self.follow_once()
            if self._last_read < block:
                await sleep_ms(self._settings.poll_ms)

    # ------------------------------------------------------------- internals

    async def _read_until(self, last: int) -> None:
        """Read every block up to `last`, then ask the contract whether that was everything."""
        first = self._next_block
        while self._next_block <= last:
            to_block = min(last, self._next_block + _MAX_BLOCKS_PER_QUERY - 1)
            await self._read_range(self._next_block, to_block)
            self._next_block = to_block + 1
        word = int.from_bytes(await self._chain.call(self._settings.clearinghouse, OPERATOR_SELECTOR, last), "big")
        n_direct = read_direct_op(word)
        if n_direct < self._last_direct_op:
            raise Faulted(
                f"direct operation {self._last_direct_op} was adopted, but the chain counts only {n_direct} at block "
                f"{last}: the chain was rolled back below a deposit or another direct operation"
            )
        if n_direct > self._last_direct_op:
            self._next_block = min(first, self._next_block)
            raise ChainUnavailable(
                f"the contract counts {n_direct} direct operations at block {last}, the node showed "
                f"{self._last_direct_op}: logs are missing"
            )

    async def _read_range(self, from_block: int, to_block: int) -> None:
        logs = await self._chain.get_logs(
            [self._settings.clearinghouse, self._settings.vault],
            [[DEPOSITED_TOPIC, DIRECT_OPERATION_TOPIC, CLAIM_PAID_TOPIC]],
            from_block,
            to_block,
        )
        for log in logs:
            if log.address == self._settings.clearinghouse and log.topics[0] != CLAIM_PAID_TOPIC:
                command = decode_direct_operation(log)
                if command.direct_op > self._last_direct_op + 1:
                    raise ChainUnavailable(
                        f"after direct operation {self._last_direct_op} the node shows {command.direct_op}: "
                        "logs are missing"
                    )
                if command.direct_op > self._last_direct_op:
                    if isinstance(command, AdoptDirectOperation) and is_by_sibling(command):
                        command = await self._complete(command, log)
                    await self._adopt(command)
            elif log.address == self._settings.vault and log.topics[:1] == (CLAIM_PAID_TOPIC,) and self._recorder:
                paid = decode_claim_payment(log)
                await self._wait_for_batches(paid.block)
                await self._recorder.record_claim_paid(paid.recipient, paid.transaction, paid.block)

    async def _complete(self, command: AdoptDirectOperation, log: ChainLog) -> AdoptDirectOperation:
        """Read what a sibling did beside its DirectOperation, and which batch the chain had settled before."""
        logs = await self._chain.get_logs([self._settings.clearinghouse], [list(EFFECT_TOPICS)], log.block, log.block)
        word = await self._chain.call(self._settings.clearinghouse, BATCH_SELECTOR, log.block - 1)
        return add_effects(command, log, logs, BatchWord.unpack(int.from_bytes(word, "big")).sequence)

    async def _wait_for_batches(self, block: int) -> None:
        """Let the read model know every batch up to `block`, or it would not know which withdrawals a claim pays.

        Raises: ChainUnavailable while the settler has not confirmed them: the range is read again.
        """
        word = await self._chain.call(self._settings.clearinghouse, BATCH_SELECTOR, block)
        sequence = BatchWord.unpack(int.from_bytes(word, "big")).sequence
        if sequence > self._last_confirmed:
            raise ChainUnavailable(f"batch {sequence} is mined and not confirmed yet, its claims are read again")
        if self._recorder is not None:
            await self._recorder.wait_for(self._last_frame)

    async def _adopt(self, command: CreditDeposit | AdoptDirectOperation) -> None:
        if isinstance(command, CreditDeposit):
            failpoints.reach("deposit.seen")
        if self._submitter is None:
            raise Faulted("the follower must be connected before it runs")
        await self._submitter.submit(command)
        self._last_direct_op = command.direct_op
        account = f"0x{command.account:060x}"
        if isinstance(command, CreditDeposit):
            _log.info(
                "deposit.credited",
                direct_op=command.direct_op,
                account=account,
                quote=str(command.quote),
                block=command.block,
            )
        else:
            _log.info(
                "direct_operation.adopted",
                direct_op=command.direct_op,
                kind=command.kind,
                account=account,
                block=command.block,
            )

    async def _finish_batches(self, head: int) -> None:
        """Call final whatever lies deep enough; the newest such batch vouches for those before it."""
        final_block = head - (self._settings.final_confirmations - 1)
        deep = [mined for mined in self._unfinal if mined.block <= final_block]
        if not deep:
            return
        newest = deep[-1]
        receipt = await self._chain.get_receipt(newest.transaction)
        is_moved = receipt is None or receipt.block != newest.block or not receipt.is_success
        if is_moved and not await self._still_holds(newest):
            return
        if self._recorder is not None:
            await self._recorder.wait_for(newest.frame)
            await self._recorder.record_final_block(final_block)
        while self._unfinal and self._unfinal[0].sequence <= newest.sequence:
            self._unfinal.popleft()
        _log.info("batch.finalised", sequence=newest.sequence, block=newest.block)

    async def _still_holds(self, mined: _Mined) -> bool:
        """Tell whether the chain has a batch, if only in another transaction than the journal says.

        After a reorganisation it may not: the settler is told, and the batch becomes final later.
        """
        word = await self._chain.call(self._settings.clearinghouse, BATCH_SELECTOR)
        sequence = BatchWord.unpack(int.from_bytes(word, "big")).sequence
        if sequence >= mined.sequence:
            return True
        _log.warning("chain.rolled_back", sequence=sequence, last_confirmed=mined.sequence)
        self._note_rollback()
        return False


def _ignore() -> None:
    """Stand in until `connect` names somebody."""
