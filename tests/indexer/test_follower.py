"""The follower against a chain whose answers the test writes: order, gaps, confirmations, restarts, finality."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from afterbell.domain.commands import AdoptDirectOperation, Command, ConfirmBatch, CreditDeposit
from afterbell.domain.errors import Faulted
from afterbell.domain.events import BatchConfirmed, DepositCredited, Event
from afterbell.domain.words import BatchWord
from afterbell.indexer.decoder import CLAIM_PAID_TOPIC, DEPOSITED_TOPIC, DIRECT_OPERATION_TOPIC
from afterbell.indexer.follower import BATCH_SELECTOR, Follower, FollowerSettings
from afterbell.ports import Block, ChainLog, ChainUnavailable, Frame, Receipt

CLEARINGHOUSE, VAULT, SENDER = b"\xc1" * 20, b"\xd2" * 20, b"\xe3" * 20
ACCOUNT = 0xAA << 80


@dataclass
class ScriptedChain:
    """Implements ports.Chain from lists."""

    head: int = 10
    logs: list[ChainLog] = field(default_factory=list)
    n_deposits: int | None = None
    hidden: set[int] = field(default_factory=set)
    receipts: dict[bytes, int] = field(default_factory=dict)
    sequence: int = 0

    async def get_block(self, number: int | None = None) -> Block:
        shown = self.head if number is None else number
        return Block(number=shown, hash=bytes(32), parent_hash=bytes(32), time_s=shown, base_fee_wei=0)

    async def call(self, to: bytes, calldata: bytes, block: int | None = None, *, sender: bytes | None = None) -> bytes:
        if calldata[:4] == BATCH_SELECTOR:
            return BatchWord(sequence=self.sequence).pack().to_bytes(32, "big")
        last = self.head if block is None else block
        counted = sum(1 for log in self.logs if len(log.topics) == 3 and log.block <= last)
        n_deposits = counted if self.n_deposits is None else self.n_deposits
        return (n_deposits << 160 | 0xABC).to_bytes(32, "big")

    async def call_many(self, calls: Sequence[tuple[bytes, bytes]], block: int | None = None) -> list[bytes]:
        return [await self.call(to, calldata, block) for to, calldata in calls]

    async def get_logs(
        self, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]], from_block: int, to_block: int
    ) -> list[ChainLog]:
        return [
            log
            for number, log in enumerate(self.logs)
            if from_block <= log.block <= to_block and number not in self.hidden
        ]

    async def get_receipt(self, transaction: bytes) -> Receipt | None:
        if transaction not in self.receipts:
            return None
        return Receipt(
            transaction=transaction,
            block=self.receipts[transaction],
            block_hash=bytes(32),
            is_success=True,
            gas_used=1,
            logs=(),
        )

    async def count_transactions(self, address: bytes, *, pending: bool) -> int:
        return 0

    async def send_raw_transaction(self, raw: bytes) -> None:
        raise AssertionError("the follower must not send")

    def add_deposit(self, direct_op: int, *, block: int, quote: int = 1_000) -> None:
        self.logs.append(
            ChainLog(
                address=CLEARINGHOUSE,
                topics=(DEPOSITED_TOPIC, ACCOUNT.to_bytes(32, "big"), direct_op.to_bytes(32, "big")),
                payload=SENDER.rjust(32, b"\0") + quote.to_bytes(32, "big"),
                block=block,
                block_hash=bytes(32),
                transaction=direct_op.to_bytes(32, "big"),
                log_index=direct_op,
            )
        )

    def add_direct(self, direct_op: int, *, kind: int, subject: int, word: int, time_s: int, block: int) -> None:
        self.logs.append(
            ChainLog(
                address=CLEARINGHOUSE,
                topics=(DIRECT_OPERATION_TOPIC, ACCOUNT.to_bytes(32, "big"), direct_op.to_bytes(32, "big")),
                payload=b"".join(number.to_bytes(32, "big") for number in (kind, subject, word, time_s)),
                block=block,
                block_hash=bytes(32),
                transaction=direct_op.to_bytes(32, "big"),
                log_index=direct_op,
            )
        )


@dataclass(frozen=True)
class JournalledFrame:
    """Implements ports.Frame."""

    sequence: int
    command: Command
    time_ms: int = 0
    hash: bytes = bytes(32)


class Writer:
    """Implements ports.CommandSubmitter: notes what it is given and tells the follower, as the sequencer does."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.adopted: list[CreditDeposit | AdoptDirectOperation] = []

    @property
    def credited(self) -> list[CreditDeposit]:
        return [command for command in self.adopted if isinstance(command, CreditDeposit)]

    async def submit(self, command: Command) -> tuple[Frame, list[Event]]:
        assert isinstance(command, (CreditDeposit, AdoptDirectOperation))
        self.adopted.append(command)
        frame = JournalledFrame(len(self.adopted), command)
        events: list[Event] = [_credited(command)] if isinstance(command, CreditDeposit) else []
        self.follower.publish(frame, events)
        return frame, events


class Recorder:
    """Implements the follower's ChainRecorder."""

    def __init__(self, cursor: int = 0) -> None:
        self.cursor = cursor
        self.final_blocks: list[int] = []
        self.paid: list[tuple[bytes, int]] = []
        self.rollbacks: list[bool] = []

    async def read_chain_cursor(self) -> int:
        return self.cursor

    async def record_chain_cursor(self, block: int, block_hash: bytes) -> None:
        self.cursor = block

    async def record_claim_paid(self, recipient: bytes, transaction: bytes, block: int) -> None:
        self.paid.append((recipient, block))

    async def record_final_block(self, block: int) -> None:
        self.final_blocks.append(block)

    async def wait_for(self, sequence: int) -> None:
        return


def _credited(command: CreditDeposit) -> Event:
    return DepositCredited(
        direct_op=command.direct_op,
        account=command.account,
        quote=command.quote,
        collateral_quote=command.quote,
        block=command.block,
        transaction=command.transaction,
    )


SETTINGS = FollowerSettings(clearinghouse=CLEARINGHOUSE, vault=VAULT, first_block=1)


def _follow(chain: ScriptedChain, settings: FollowerSettings = SETTINGS) -> tuple[Follower, Writer, Recorder]:
    recorder = Recorder()
    follower = Follower(chain=chain, settings=settings, recorder=recorder)
    writer = Writer(follower)
    follower.connect(writer, lambda: recorder.rollbacks.append(True))
    return follower, writer, recorder


def test_follower__deposits_in_order__credits_each_once() -> None:
    chain = ScriptedChain()
    chain.add_deposit(1, block=3, quote=5)
    chain.add_deposit(2, block=7, quote=6)
    follower, writer, _ = _follow(chain)

    asyncio.run(follower.follow_once())
    chain.head = 11
    asyncio.run(follower.follow_once())

    assert [(command.direct_op, command.quote, command.block) for command in writer.credited] == [(1, 5, 3), (2, 6, 7)]
    assert writer.credited[0].sender == SENDER
    assert writer.credited[0].account == ACCOUNT


def test_follower__deposit_cancel_all_revocation__adopted_in_the_contracts_order() -> None:
    chain = ScriptedChain()
    chain.add_deposit(1, block=3)
    chain.add_direct(2, kind=1, subject=0, word=7 << 40 | 5, time_s=1_000, block=4)
    chain.add_direct(3, kind=3, subject=0xABCD, word=1 << 255, time_s=1_001, block=4)
    follower, writer, _ = _follow(chain)

    asyncio.run(follower.follow_once())
    chain.head = 12
    asyncio.run(follower.follow_once())

    assert [command.direct_op for command in writer.adopted] == [1, 2, 3]
    cancelled, revoked = writer.adopted[1:]
    assert cancelled == AdoptDirectOperation(
        direct_op=2,
        kind=1,
        account=ACCOUNT,
        subject=bytes(32),
        word=(7 << 40 | 5).to_bytes(32, "big"),
        time_s=1_000,
        block=4,
        transaction=(2).to_bytes(32, "big"),
    )
    assert isinstance(revoked, AdoptDirectOperation)
    assert (revoked.kind, revoked.subject[-2:], revoked.word[0]) == (3, b"\xab\xcd", 0x80)
    assert follower.last_direct_op == 3


def test_follower__cancel_all_withheld_by_the_node__the_deposit_after_it_waits() -> None:
    chain = ScriptedChain()
    chain.add_direct(1, kind=1, subject=0, word=5, time_s=1_000, block=3)
    chain.add_deposit(2, block=4)
    chain.hidden = {0}
    follower, writer, _ = _follow(chain)

    with pytest.raises(ChainUnavailable, match="after direct operation 0 the node shows 2: logs are missing"):
        asyncio.run(follower.follow_once())

    assert writer.adopted == []


def test_follower__read_through_a_block__returns_when_everything_before_is_adopted() -> None:
    chain = ScriptedChain(head=8)
    chain.add_deposit(1, block=8)
    follower, writer, _ = _follow(
        chain, FollowerSettings(clearinghouse=CLEARINGHOUSE, vault=VAULT, first_block=1, poll_ms=5)
    )

    async def read() -> None:
        reading = asyncio.ensure_future(follower.read_through(9))
        await asyncio.sleep(0.05)
        assert not reading.done()
        chain.head = 9
        await asyncio.wait_for(reading, 5)

    asyncio.run(read())

    assert [command.direct_op for command in writer.adopted] == [1]


def test_follower__log_withheld_by_the_node__waits_until_the_node_shows_it() -> None:
    chain = ScriptedChain()
    chain.add_deposit(1, block=3)
    chain.add_deposit(2, block=4)
    chain.hidden = {0}
    follower, writer, _ = _follow(chain)

    with pytest.raises(ChainUnavailable, match="logs are missing"):
        asyncio.run(follower.follow_once())
    chain.hidden = set()
    asyncio.run(follower.follow_once())

    assert [command.direct_op for command in writer.credited] == [1, 2]


def test_follower__last_log_withheld__is_noticed_by_the_contracts_counter() -> None:
    chain = ScriptedChain()
    chain.add_deposit(1, block=3)
    chain.add_deposit(2, block=4)
    chain.hidden = {1}
    follower, writer, _ = _follow(chain)

    with pytest.raises(ChainUnavailable, match="counts 2 direct operations at block 10, the node showed 1"):
        asyncio.run(follower.follow_once())
    chain.hidden = set()
    asyncio.run(follower.follow_once())

    assert [command.direct_op for command in writer.credited] == [1, 2]


def test_follower__three_confirmations_asked__credits_at_depth_three() -> None:
    chain = ScriptedChain(head=8)
    chain.add_deposit(1, block=7)
    follower, writer, _ = _follow(chain, replace(SETTINGS, deposit_confirmations=3))

    asyncio.run(follower.follow_once())
    assert writer.credited == []
    chain.head = 9
    asyncio.run(follower.follow_once())

    assert [command.direct_op for command in writer.credited] == [1]


def test_follower__restarted_after_a_deposit__does_not_credit_it_again() -> None:
    chain = ScriptedChain()
    chain.add_deposit(1, block=3)
    chain.add_deposit(2, block=3)
    follower, writer, _ = _follow(chain)
    first = CreditDeposit(
        direct_op=1, account=ACCOUNT, quote=1_000, sender=SENDER, block=3, transaction=(1).to_bytes(32, "big")
    )
    follower.publish(JournalledFrame(1, first), [_credited(first)])

    asyncio.run(follower.follow_once())

    assert [command.direct_op for command in writer.credited] == [2]


def test_follower__chain_forgot_a_credited_deposit__faults() -> None:
    chain = ScriptedChain(n_deposits=0)
    follower, _, _ = _follow(chain)
    first = CreditDeposit(
        direct_op=1, account=ACCOUNT, quote=1_000, sender=SENDER, block=3, transaction=(1).to_bytes(32, "big")
    )
    follower.publish(JournalledFrame(1, first), [_credited(first)])

    with pytest.raises(Faulted, match="direct operation 1 was adopted, but the chain counts only 0"):
        asyncio.run(follower.follow_once())


def test_follower__claim_paid__is_recorded() -> None:
    chain = ScriptedChain()
    chain.logs.append(
        ChainLog(
            address=VAULT,
            topics=(CLAIM_PAID_TOPIC, SENDER.rjust(32, b"\0")),
            payload=(77).to_bytes(32, "big"),
            block=5,
            block_hash=bytes(32),
            transaction=bytes(32),
            log_index=0,
        )
    )
    follower, _, recorder = _follow(chain)

    asyncio.run(follower.follow_once())

    assert recorder.paid == [(SENDER, 5)]


def test_follower__claim_of_a_batch_not_confirmed_yet__waits_for_it() -> None:
    chain = ScriptedChain(sequence=1)
    chain.logs.append(
        ChainLog(
            address=VAULT,
            topics=(CLAIM_PAID_TOPIC, SENDER.rjust(32, b"\0")),
            payload=(77).to_bytes(32, "big"),
            block=5,
            block_hash=bytes(32),
            transaction=bytes(32),
            log_index=0,
        )
    )
    follower, _, recorder = _follow(chain)

    with pytest.raises(ChainUnavailable, match="batch 1 is mined and not confirmed yet"):
        asyncio.run(follower.follow_once())
    chain.receipts[_confirm(follower, 1, 4)] = 4
    asyncio.run(follower.follow_once())

    assert recorder.paid == [(SENDER, 5)]


def _confirm(follower: Follower, sequence: int, block: int) -> bytes:
    transaction = sequence.to_bytes(32, "big")
    command = ConfirmBatch(
        sequence=sequence, head=bytes(32), codes=b"", block=block, transaction=transaction, gas_used=1
    )
    event = BatchConfirmed(sequence=sequence, block=block, transaction=transaction, gas_used=1)
    follower.publish(JournalledFrame(sequence, command), [event])
    return transaction


def test_follower__second_block_on_a_batch__records_it_final() -> None:
    chain = ScriptedChain(head=10)
    follower, _, recorder = _follow(chain)
    chain.receipts[_confirm(follower, 1, 10)] = 10

    asyncio.run(follower.follow_once())
    assert recorder.final_blocks == []
    chain.head = 11
    asyncio.run(follower.follow_once())

    assert recorder.final_blocks == [10]


def test_follower__confirmed_batch_mined_again_elsewhere__is_final() -> None:
    chain = ScriptedChain(head=20, sequence=2)
    follower, _, recorder = _follow(chain)
    _confirm(follower, 2, 10)

    asyncio.run(follower.follow_once())

    assert recorder.final_blocks == [19]
    assert recorder.rollbacks == []


def test_follower__confirmed_batch_vanished__tells_the_settler_and_waits() -> None:
    chain = ScriptedChain(head=20, sequence=2)
    follower, _, recorder = _follow(chain)
    transaction = _confirm(follower, 3, 12)

    asyncio.run(follower.follow_once())
    assert recorder.final_blocks == []
    assert recorder.rollbacks == [True]

    chain.sequence = 3
    chain.receipts[transaction] = 12
    asyncio.run(follower.follow_once())
    assert recorder.final_blocks == [19]
