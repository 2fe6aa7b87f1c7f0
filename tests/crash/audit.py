"""Audit what a venue left behind: clients' answers, journal, read model and chain must tell one story."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from afterbell.adapters.file_journal import FileJournal
from afterbell.adapters.web3_chain import Web3Chain
from afterbell.domain.commands import PlaceOrder
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    DepositCredited,
    FillMatched,
    FillRejected,
    OrderAccepted,
    OrderRejected,
)
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import account_bytes
from afterbell.domain.words import PositionWord
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.queries import ReadModel
from afterbell.sequencer.recovery import replay
from afterbell.settlement.calldata import BATCH_SETTLED_TOPIC, build_view_calldata, find_settled_batch
from afterbell.settlement.reconciler import Reconciler
from tests.crash.exchange_process import AAPL, Ledger
from tests.support.venue import ACTORS, DEPOSIT_QUOTE, Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found, for the table."""

    n_sent: int
    n_answered: int
    n_journalled: int
    n_fills: int
    n_batches: int
    n_words: int


class _Story:
    """The journal, replayed into an engine of its own."""

    def __init__(self, venue: Venue, data_dir: Path) -> None:
        manifest = venue.manifest
        clearinghouse = manifest.get_address("clearinghouse")
        self.state = EngineState(
            EngineConfig(
                chain_id=manifest.chain_id,
                clearinghouse=clearinghouse,
                vault=manifest.get_address("vault"),
                token=manifest.get_address("token"),
                genesis_s=manifest.genesis_s,
            )
        )
        self.placed: Counter[str] = Counter()
        self.accepted: dict[str, OrderAccepted] = {}
        self.refused: dict[str, str] = {}
        self.fills: dict[int, FillMatched] = {}
        self.rejected_fills: set[int] = set()
        self.sealed: dict[int, BatchSealed] = {}
        self.confirmed: Counter[int] = Counter()
        self.deposits: list[DepositCredited] = []
        self.n_frames = 0
        journal = FileJournal(data_dir / "journal.log", chain_id=manifest.chain_id, clearinghouse=clearinghouse)
        try:
            for frame, events in replay(journal, self.state):
                self.n_frames = frame.sequence
                if isinstance(frame.command, PlaceOrder):
                    self.placed["0x" + frame.command.order_id.hex()] += 1
                for event in events:
                    self._note(event)
        finally:
            journal.close()

    def _note(self, event: object) -> None:
        match event:
            case OrderAccepted():
                self.accepted["0x" + event.order_id.hex()] = event
            case OrderRejected():
                self.refused["0x" + event.order_id.hex()] = event.reason
            case FillMatched():
                assert event.fill_id not in self.fills
                self.fills[event.fill_id] = event
            case FillRejected():
                self.rejected_fills.add(event.fill_id)
            case BatchSealed():
                assert event.sequence not in self.sealed
                self.sealed[event.sequence] = event
            case BatchConfirmed():
                self.confirmed[event.sequence] += 1
            case DepositCredited():
                self.deposits.append(event)
            case _:
                pass


async def audit(venue: Venue, data_dir: Path, ledger: Ledger) -> Audit:
    """Check everything; the exchange must have stopped in order."""
    story = _Story(venue, data_dir)
    _check_answers(ledger, story)
    _check_read_model(data_dir, ledger, story)
    _check_batches(story)
    chain = Web3Chain(venue.anvil.url)
    try:
        await _check_mined(venue, chain, story)
        await _check_positions(venue, chain, story)
        n_words = await Reconciler(
            chain=chain,
            clearinghouse=venue.manifest.get_address("clearinghouse"),
            genesis_block=venue.manifest.deployed_at_block,
            mirror=lambda: story.state.chain,
        ).check_all()
    finally:
        await chain.close()
    return Audit(
        n_sent=len(ledger.sent),
        n_answered=ledger.n_answered,
        n_journalled=len(story.placed),
        n_fills=len(story.fills),
        n_batches=len(story.sealed),
        n_words=n_words,
    )


def _check_answers(ledger: Ledger, story: _Story) -> None:
    """Every answer a client got is in the journal, once, with the fate it was told."""
    assert set(story.placed) <= set(ledger.sent)
    for order_id, answer in ledger.accepted.items():
        assert story.placed[order_id] == 1, (
            f"acknowledged order {order_id} is journalled {story.placed[order_id]} times"
        )
        assert story.accepted[order_id].filled_lots == sum(fill["size_lots"] for fill in answer["fills"])
    for order_id, reason in ledger.refused.items():
        assert story.placed[order_id] == 1
        assert story.refused[order_id] == reason


def _check_read_model(data_dir: Path, ledger: Ledger, story: _Story) -> None:
    """Every answered order has a row with a fate, every fill is mined or final, every deposit is there once."""
    database = open_database(sqlite_dsn(data_dir / "readmodel.sqlite"))
    model = ReadModel(database)
    try:
        assert model.read_projected_sequence() == story.n_frames
        for order_id in [*ledger.accepted, *ledger.refused]:
            order = model.get_order(bytes.fromhex(order_id[2:]))
            assert order is not None, f"the read model lost order {order_id}"
            assert order.status in ("OPEN", "FILLED", "CANCELLED", "REJECTED")
            assert (order.status == "REJECTED") == (order_id in ledger.refused)
            fills = model.read_fills_of_order(order.order_id)
            assert sum(fill.size_lots for fill in fills) == order.filled_lots
            assert {fill.status for fill in fills} <= {"mined", "final", "rejected"}
        for actor in ACTORS:
            transfers = model.read_transfers(account_bytes(actor.account), limit=10, before=None)
            assert [transfer.quote for transfer in transfers] == [DEPOSIT_QUOTE]
    finally:
        model.close()
        database.dispose()


def _check_batches(story: _Story) -> None:
    """Every fill lies in exactly one batch; batches are numbered without gaps and confirmed once each."""
    carried = Counter(fill_id for batch in story.sealed.values() for fill_id in batch.fill_ids)
    assert set(carried) == set(story.fills)
    assert set(carried.values()) <= {1}
    assert sorted(story.sealed) == list(range(1, len(story.sealed) + 1))
    assert story.confirmed == Counter(dict.fromkeys(story.sealed, 1))
    # What the listing did directly comes before them.
    first = story.deposits[0].direct_op
    assert [deposit.direct_op for deposit in story.deposits] == list(range(first, first + len(ACTORS)))


async def _check_mined(venue: Venue, chain: Web3Chain, story: _Story) -> None:
    """Every sealed batch was settled on chain exactly once, with our payload and our head, in order."""
    clearinghouse = venue.manifest.get_address("clearinghouse")
    last = (await chain.get_block()).number
    logs = await chain.get_logs([clearinghouse], [[BATCH_SETTLED_TOPIC]], venue.manifest.deployed_at_block, last)
    assert [int.from_bytes(log.topics[1], "big") for log in logs] == sorted(story.sealed)
    for sequence, batch in story.sealed.items():
        settled = find_settled_batch(logs, clearinghouse, sequence)
        assert settled is not None
        assert settled.payload_hash == keccak(batch.payload)
        assert settled.head == batch.head
        assert settled.n_failures == sum(1 for code in batch.codes if code)


async def _check_positions(venue: Venue, chain: Web3Chain, story: _Story) -> None:
    """The positions on chain are the sum of the fills, computed without engine or contract."""
    expected = Counter(dict.fromkeys((actor.account for actor in ACTORS), 0))
    for fill_id, fill in story.fills.items():
        if fill_id not in story.rejected_fills:
            signed_lots = fill.size_lots if fill.taker_is_buy else -fill.size_lots
            expected[fill.taker_account] += signed_lots
            expected[fill.maker_account] -= signed_lots
    for account, lots in expected.items():
        word = await chain.call(
            venue.manifest.get_address("clearinghouse"),
            build_view_calldata(b"position_word(uint256,uint256)", account, AAPL),
        )
        assert PositionWord.unpack(int.from_bytes(word, "big")).size_lots == lots
