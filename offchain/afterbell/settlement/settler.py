"""Bring every sealed batch to the chain, in sequence order, exactly once, and journal what the chain did with it.

    sealed -> submitted -> mined -> checked against the prediction -> ConfirmBatch journalled

The contract's fence (sequence = last + 1, previous head = head) makes a repetition harmless, so every doubt is settled
by reading sequence and head from the chain and never by a guess. Lost answers and silent nodes are waited out. A mined
result that differs from the prediction is a fault: it is raised, the process stops, nothing is skipped.

Must not: change a batch, judge a fill, touch the engine except through ConfirmBatch.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import structlog

from afterbell import failpoints
from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.codes import describe_code
from afterbell.domain.commands import ConfirmBatch
from afterbell.domain.errors import Faulted
from afterbell.domain.events import BatchConfirmed, BatchSealed, Event
from afterbell.domain.hashing import keccak
from afterbell.domain.words import BatchWord
from afterbell.ports import (
    CallReverted,
    Chain,
    ChainLog,
    ChainTime,
    ChainUnavailable,
    CommandSubmitter,
    Frame,
    Receipt,
    TransactionRefused,
)
from afterbell.settlement.calldata import (
    BATCH_FAILURES_TOPIC,
    BATCH_SETTLED_TOPIC,
    build_settle_calldata,
    find_settled_batch,
)
from afterbell.settlement.sender import Flight, NonceConsumed, TransactionSender
from afterbell.waiting import sleep_ms

_log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")

BATCH_SELECTOR: Final = keccak(b"batch_word()")[:4]
HEAD_SELECTOR: Final = keccak(b"head()")[:4]
_FIRST_DELAY_MS: Final = 50
_LONGEST_DELAY_MS: Final = 5_000
_MAX_CLOCK_TRIES: Final = 20
_MAX_FENCED_TRIES: Final = 5
_FENCED: Final = ("batch: sequence", "batch: head")
"""Reverts that say another submission of the same batch came first."""
N_KEPT_BATCHES: Final = 256
"""Confirmed batches kept for submission again after a reorganisation of the chain."""


class SettlementFaulted(Faulted):
    """Chain and engine disagree about a batch."""


class SubmissionRecorder(Protocol):
    """Shows people that a batch is on its way (readmodel/projector.py); may be told twice."""

    async def record_batch_submitted(self, sequence: int, transaction: bytes) -> None: ...


class ResultChecker(Protocol):
    """Compares chain and engine after a mined batch (settlement/reconciler.py)."""

    async def check_batch(self, batch: BatchSealed, block: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlerSettings:
    """How batches are submitted."""

    clearinghouse: bytes
    genesis_block: int
    gas_limit: int = 16_700_000
    """Below 2^24, the most one transaction may ask for since EIP-7825."""
    max_in_flight: int = 1


@dataclass(slots=True, kw_only=True)
class _Submission:
    batch: BatchSealed
    flight: Flight


class Settler:
    """Follow sealed batches (EventSink) and settle them in one task (`run`)."""

    def __init__(
        self,
        *,
        chain: Chain,
        sender: TransactionSender,
        settings: SettlerSettings,
        chain_time: ChainTime | None = None,
        recorder: SubmissionRecorder | None = None,
    ) -> None:
        self._chain = chain
        self._sender = sender
        self._settings = settings
        self._chain_time = chain_time
        self._recorder = recorder
        self._submitter: CommandSubmitter | None = None
        self._checker: ResultChecker | None = None
        self._batches: OrderedDict[int, BatchSealed] = OrderedDict()
        self._heads: dict[int, bytes] = {}
        self._last_sealed = 0
        self._last_confirmed = 0
        self._next = 1
        """Sequence of the batch to submit next; everything below it is on chain."""
        self._submissions: deque[_Submission] = deque()
        self._n_reverts = 0
        self._has_rolled_back = False
        self._changed = asyncio.Event()
        self._confirmed = asyncio.Event()
        self.is_chain_answering = True

    # ------------------------------------------------------------- EventSink

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Note sealed and confirmed batches; also called for every frame replayed at start."""
        for event in events:
            if isinstance(event, BatchSealed):
                self._batches[event.sequence] = event
                self._heads[event.sequence] = event.head
                if event.sequence == 1:
                    self._heads[0] = event.previous_head
                self._last_sealed = event.sequence
                self._changed.set()
                if self._submitter is not None:  # not for what is replayed at start
                    failpoints.reach("batch.sealed")
            elif isinstance(event, BatchConfirmed):
                self._last_confirmed = max(self._last_confirmed, event.sequence)
                self._forget_old()

    # --------------------------------------------------------------- queries

    @property
    def n_unsettled(self) -> int:
        """Count batches sealed and not yet both on chain and confirmed."""
        return self._last_sealed - self._n_settled

    @property
    def oldest_unsettled_s(self) -> int | None:
        """Return when the oldest batch that is not confirmed was matched, None if all are."""
        batch = self._batches.get(self._n_settled + 1)
        return None if batch is None else batch.matched_at_s

    @property
    def _n_settled(self) -> int:
        return min(self._last_confirmed, self._next - 1)

    async def wait_until_settled(self) -> None:
        """Return when every batch sealed so far is mined, checked and confirmed."""
        while self.n_unsettled:
            self._confirmed.clear()
            await self._confirmed.wait()

    def note_rollback(self) -> None:
        """Ask the chain again where it stands: a batch it had is gone (indexer/follower.py)."""
        self._has_rolled_back = True
        self._changed.set()

    # ------------------------------------------------------------------ task

    async def resume(self) -> None:
        """Find the chain's last batch among ours; call once, after the journal was replayed and before `run`.

        Raises: SettlementFaulted if no sealed batch has the chain's head: wrong journal or chain, a second sequencer.
        """
        sequence, head = await self._patiently(self._read_chain, "read the last batch")
        if sequence > self._last_sealed:
            raise SettlementFaulted(
                f"the chain has batch {sequence}, the journal ends with batch {self._last_sealed}: this journal is old "
                "or not the one of this chain, or another sequencer runs; restore the newest journal"
            )
        expected = self._heads.get(sequence)
        if expected is not None and expected != head:
            raise SettlementFaulted(
                f"batch {sequence} has head 0x{head.hex()} on chain and 0x{expected.hex()} in the journal: "
                "the journal belongs to another history of this chain; refuse to start"
            )
        oldest = min(self._batches, default=sequence + 1)
        if sequence + 1 < oldest:
            raise SettlementFaulted(
                f"the chain is back at batch {sequence}, but batches before {oldest} are no longer kept for "
                "submission: start the chain from a newer saved state"
            )
        if sequence < self._last_confirmed:
            _log.warning("chain.rolled_back", sequence=sequence, last_confirmed=self._last_confirmed)
        self._next = sequence + 1
        _log.info(
            "settler.resumed", sequence=sequence, last_sealed=self._last_sealed, last_confirmed=self._last_confirmed
        )

    def connect(self, submitter: CommandSubmitter, checker: ResultChecker | None) -> None:
        """Name the sequencer and the reconciler; both need the state that replay builds, so they come last."""
        self._submitter = submitter
        self._checker = checker

    async def run(self) -> None:
        """Settle until cancelled. Raises: SettlementFaulted, Faulted."""
        await self._patiently(self._sender.reconcile_nonce, "read the nonce")
        await self._confirm_mined()
        while True:
            self._changed.clear()
            if self._has_rolled_back:
                self._has_rolled_back = False
                await self._start_over("the chain took a batch back")
            while len(self._submissions) < self._settings.max_in_flight:
                batch = self._batches.get(self._next + len(self._submissions))
                if batch is None:
                    break
                try:
                    self._submissions.append(await self._patiently(lambda b=batch: self._submit(b), "submit a batch"))  # type: ignore[misc]  # mypy cannot infer the default argument of a lambda
                except NonceConsumed as error:
                    await self._start_over(str(error))
            if not self._submissions:
                await self._changed.wait()
                continue
            await self._finish_first()

    # ------------------------------------------------------------- internals

    async def _submit(self, batch: BatchSealed) -> _Submission:
        if self._chain_time is not None:
            await self._set_block_time(batch, self._chain_time)
        else:
            self._must_be_young(batch, (await self._chain.get_block()).time_s)
        flight = await self._sender.launch(
            to=self._settings.clearinghouse,
            calldata=build_settle_calldata(batch.previous_head, batch.payload),
            gas=self._settings.gas_limit,
        )
        failpoints.reach("batch.submitted")
        if self._recorder is not None:
            await self._recorder.record_batch_submitted(batch.sequence, flight.hashes[-1])
        return _Submission(batch=batch, flight=flight)

    async def _set_block_time(self, batch: BatchSealed, chain_time: ChainTime) -> None:
        """Let the local chain follow the replay: by its own time, the clock may have stepped far ahead."""
        for _ in range(_MAX_CLOCK_TRIES):
            block = await self._chain.get_block()
            time_s = max(block.time_s + 1, batch.matched_at_s)
            self._must_be_young(batch, time_s)
            try:
                await chain_time.set_next_block_time(time_s)
                return
            except TransactionRefused as error:
                # Somebody else's block came between the two requests: look again.
                _log.info("chain.clock_moved", time_s=time_s, reason=error.reason)
        raise Faulted(f"the chain refused every block time for batch {batch.sequence}")

    def _must_be_young(self, batch: BatchSealed, block_time_s: int) -> None:
        age_s = block_time_s - batch.matched_at_s
        if age_s > SETTLE_LAG_S:
            raise SettlementFaulted(
                f"batch {batch.sequence} was matched {age_s} s before the chain's next block, at most {SETTLE_LAG_S} s "
                "are settled: backlog this old must be sealed again with a later matched_at, which this version cannot "
                "do; bring the chain's clock back or start a new instance"
            )

    async def _finish_first(self) -> None:
        """Wait for the oldest submission and book what became of it."""
        submission = self._submissions[0]
        batch = submission.batch
        try:
            receipt = await self._sender.land(submission.flight)
        except NonceConsumed as error:
            await self._start_over(str(error))
            return
        failpoints.reach("batch.mined")
        if receipt.is_success:
            self._submissions.popleft()
            await self._book(batch, receipt, receipt.logs)
            return
        sequence, _ = await self._patiently(self._read_chain, "read the last batch")
        if sequence >= batch.sequence:
            await self._start_over("another submission of this batch came first")
            return
        reason = await self._explain(batch, receipt)
        self._n_reverts += 1
        if reason in _FENCED and self._n_reverts < _MAX_FENCED_TRIES:
            # The node that answered is behind the one that mined, or an earlier submission of ours failed first.
            await self._start_over(reason)
            return
        raise SettlementFaulted(
            f"batch {batch.sequence} reverted on chain: {reason}; transaction 0x{receipt.transaction.hex()}, "
            f"gas {receipt.gas_used} of {self._settings.gas_limit}; trading stops, the journal keeps every order"
        )

    async def _explain(self, batch: BatchSealed, receipt: Receipt) -> str:
        """Return the revert string by making the same call on the state its block left: a revert changed nothing."""
        calldata = build_settle_calldata(batch.previous_head, batch.payload)
        try:
            await self._chain.call(self._settings.clearinghouse, calldata, receipt.block, sender=self._sender.address)
        except CallReverted as error:
            return error.reason or "no reason given"
        except ChainUnavailable as error:
            return f"reason unknown ({error})"
        return "reason unknown"

    async def _start_over(self, reason: str) -> None:
        """Forget what is in flight, ask the chain where it stands, book what it has."""
        _log.warning("settler.started_over", reason=reason, n_in_flight=len(self._submissions))
        self._submissions.clear()
        await self._patiently(self._sender.reconcile_nonce, "read the nonce")
        await self._confirm_mined()

    async def _confirm_mined(self) -> None:
        """Book every batch the chain has and the journal has not: mined while we looked away."""
        sequence, head = await self._patiently(self._read_chain, "read the last batch")
        expected = self._heads.get(sequence)
        if expected is not None and expected != head:
            raise SettlementFaulted(
                f"batch {sequence} has head 0x{head.hex()} on chain, 0x{expected.hex()} was predicted: results diverged"
            )
        self._next = min(self._next, sequence + 1)
        for missing in range(self._last_confirmed + 1, sequence + 1):
            batch = self._batches.get(missing)
            if batch is None:
                raise SettlementFaulted(f"the chain has batch {missing}, which we never sealed: another sequencer runs")
            receipt = await self._patiently(lambda n=missing: self._find_mined(n), "find a mined batch")  # type: ignore[misc]  # as above
            await self._book(batch, receipt, receipt.logs)
        self._next = max(self._next, sequence + 1)

    async def _find_mined(self, sequence: int) -> Receipt:
        """Return the receipt of the transaction that settled a batch, whoever sent it."""
        head_block = await self._chain.get_block()
        logs = await self._chain.get_logs(
            [self._settings.clearinghouse],
            [[BATCH_SETTLED_TOPIC, BATCH_FAILURES_TOPIC], [sequence.to_bytes(32, "big")]],
            self._settings.genesis_block,
            head_block.number,
        )
        if not logs:
            raise ChainUnavailable(f"the chain has batch {sequence} but shows no log of it yet")
        receipt = await self._chain.get_receipt(logs[-1].transaction)
        if receipt is None:
            raise ChainUnavailable(f"the chain shows a log of batch {sequence} but no receipt yet")
        return receipt

    async def _book(self, batch: BatchSealed, receipt: Receipt, logs: Sequence[ChainLog]) -> None:
        """Check a mined batch against its prediction, journal the confirmation, compare the words."""
        settled = find_settled_batch(logs, self._settings.clearinghouse, batch.sequence)
        if settled is None:
            raise SettlementFaulted(
                f"transaction 0x{receipt.transaction.hex()} succeeded without settling batch {batch.sequence}"
            )
        payload_hash = keccak(batch.payload)
        if settled.payload_hash != payload_hash:
            raise SettlementFaulted(
                f"batch {batch.sequence} on chain has payload 0x{settled.payload_hash.hex()}, "
                f"ours is 0x{payload_hash.hex()}: another sequencer runs"
            )
        codes = settled.failure_codes or bytes(len(batch.codes))
        if codes != batch.codes:
            raise SettlementFaulted(_describe_codes(batch, codes))
        if settled.head != batch.head:
            raise SettlementFaulted(
                f"batch {batch.sequence} has head 0x{settled.head.hex()} on chain, 0x{batch.head.hex()} was predicted"
            )
        if batch.sequence > self._last_confirmed:
            if self._submitter is None:
                raise Faulted("the settler must be connected before it runs")
            await self._submitter.submit(
                ConfirmBatch(
                    sequence=batch.sequence,
                    head=settled.head,
                    codes=codes,
                    block=receipt.block,
                    transaction=receipt.transaction,
                    gas_used=receipt.gas_used,
                )
            )
            self._last_confirmed = max(self._last_confirmed, batch.sequence)
        self._next = max(self._next, batch.sequence + 1)
        failpoints.reach("batch.confirmed")
        if self._checker is not None:
            checker = self._checker
            await self._patiently(lambda: checker.check_batch(batch, receipt.block), "reconcile a batch")
        self._n_reverts = 0
        self._confirmed.set()
        _log.info(
            "batch.settled",
            sequence=batch.sequence,
            block=receipt.block,
            transaction=receipt.transaction.hex(),
            gas_used=receipt.gas_used,
            n_fills=len(batch.fill_ids),
            n_orders=batch.n_orders,
            n_failures=settled.n_failures,
            matched_at_s=batch.matched_at_s,
        )

    async def _read_chain(self) -> tuple[int, bytes]:
        """Return (sequence, head) of the chain's last batch."""
        word, head = await self._chain.call_many(
            [(self._settings.clearinghouse, BATCH_SELECTOR), (self._settings.clearinghouse, HEAD_SELECTOR)]
        )
        return BatchWord.unpack(int.from_bytes(word, "big")).sequence, head

    async def _patiently(self, ask: Callable[[], Awaitable[_Answer]], purpose: str) -> _Answer:
        """Repeat a harmless question until the node answers, ever more slowly."""
        delay_ms = _FIRST_DELAY_MS
        while True:
            try:
                answer = await ask()
            except NonceConsumed:
                raise
            except ChainUnavailable as error:
                self.is_chain_answering = False
                _log.warning("chain.unavailable", purpose=purpose, reason=str(error), delay_ms=delay_ms)
                await sleep_ms(delay_ms)
                delay_ms = min(2 * delay_ms, _LONGEST_DELAY_MS)
            else:
                self.is_chain_answering = True
                return answer

    def _forget_old(self) -> None:
        while self._batches:
            oldest = next(iter(self._batches))
            if oldest > self._last_confirmed - N_KEPT_BATCHES:
                return
            del self._batches[oldest]


def _describe_codes(batch: BatchSealed, codes: bytes) -> str:
    """Name the first code that differs: an operation, an order or a fill of the batch."""
    if len(codes) != len(batch.codes):
        return f"batch {batch.sequence} has {len(codes)} codes on chain, {len(batch.codes)} were predicted"
    place = next(index for index, (mined, ours) in enumerate(zip(codes, batch.codes, strict=True)) if mined != ours)
    if place < batch.n_operations:
        what = f"operation {place}"
    elif place < batch.n_operations + batch.n_orders:
        what = f"order {place - batch.n_operations}"
    else:
        index = place - batch.n_operations - batch.n_orders
        what = f"fill {index} (fill_id {batch.fill_ids[index]})"
    found, expected = describe_code(codes[place]), describe_code(batch.codes[place])
    return f"batch {batch.sequence}, {what}: {found} on chain, {expected} predicted"
