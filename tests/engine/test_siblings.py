"""What siblings do past every batch reaches mirror, open batch and books, and never lets engine and chain part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.commands import AdoptDirectOperation
from afterbell.domain.deltas import Delta, apply_deltas, move_market, set_mode, withdraw_to_claim
from afterbell.domain.direct import DirectKind
from afterbell.domain.events import (
    BatchSealed,
    CollateralExited,
    Event,
    FillRejected,
    MarketMoved,
    ModeChanged,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    PositionAdjusted,
    WithdrawalRejected,
)
from afterbell.domain.outcomes import PositionChange
from afterbell.domain.words import IndexWord
from afterbell.engine.apply import CommandRefused
from afterbell.engine.queries import read_account
from afterbell.engine.state import compute_state_hash
from tests.engine.contract import Contract
from tests.engine.support import USDC, Venue, account, open_venue, owner

LOSER, TAKER, OTHER = 1, 2, 3


class Twin:
    """A venue and the chain its batches settle on; siblings act on the chain, the venue hears of it."""

    def __init__(self) -> None:
        self.venue = open_venue()
        self.contract = Contract()
        self.n_heard = 0
        self.catch_up()

    @property
    def chain(self) -> ChainState:
        return self.contract.chain

    def catch_up(self) -> None:
        """Settle on chain whatever the venue has sealed."""
        for (_, _, command), events in list(zip(self.venue.frames, self.venue.outcomes, strict=True))[self.n_heard :]:
            if not isinstance(command, AdoptDirectOperation):
                self.contract.follow(command, events)
        self.n_heard = len(self.venue.frames)

    def trade(self, size_lots: int = 1_000) -> None:
        """LOSER goes long, TAKER short, at 10,000; sealed and settled."""
        self.venue.place(TAKER, "sell", size_lots, 10_000)
        self.venue.place(LOSER, "buy", size_lots, 10_000)
        self.venue.seal()
        self.catch_up()

    def deltas(self, deltas: list[Delta], pot_change_quote: int = 0, after_batch: int | None = None) -> list[Event]:
        """Let a sibling move positions on chain, and let the venue hear of it."""
        ordered = sorted(deltas, key=lambda delta: delta.account_id)
        changes = apply_deltas(self.chain, 1, ordered, pot_change_quote)
        return self.hear(
            DirectKind.APPLY_DELTAS,
            subject=1,
            word=pot_change_quote % (1 << 256),
            records=b"".join(map(record_of, changes)),
            after_batch=after_batch,
        )

    def hear(self, kind: int, **fields: object) -> list[Event]:
        """Adopt a direct operation; fields as `command`."""
        return self.venue.send(self.command(kind, **fields))  # type: ignore[arg-type]

    def command(
        self,
        kind: int,
        *,
        number: int = 0,
        subject: int = 0,
        word: int = 0,
        after_batch: int | None = None,
        records: bytes = b"",
        price_word: bytes = b"",
        index_word: bytes = b"",
    ) -> AdoptDirectOperation:
        """Return the chain's last direct operation as the follower tells it."""
        return AdoptDirectOperation(
            direct_op=self.chain.direct_op,
            kind=kind,
            account=number,
            subject=subject.to_bytes(32, "big"),
            word=word.to_bytes(32, "big"),
            time_s=self.venue.time_s,
            block=9,
            transaction=b"\x55" * 32,
            after_batch=self.chain.batch.sequence if after_batch is None else after_batch,
            records=records,
            price_word=price_word,
            index_word=index_word,
        )

    def must_agree(self) -> None:
        """Seal, settle, and compare every word of engine and chain."""
        self.venue.seal()
        self.catch_up()
        assert self.chain == self.venue.state.chain
        self.chain.validate_invariants()


def record_of(change: PositionChange) -> bytes:
    place = change.account_id << 16 | change.market_id
    return b"".join(word.to_bytes(32, "big") for word in (place, change.change_word, change.position_word))


def liquidate(size_lots: int = 1_000, price_ticks: int = 9_900, fee_quote: int = 0) -> list[Delta]:
    """LOSER's long of that many lots goes to OTHER at a price, OTHER getting a fee out of LOSER's collateral."""
    paid_quote = size_lots * price_ticks
    return [
        Delta(account_id=account(LOSER), size_lots=-size_lots, entry_quote=-paid_quote, collateral_quote=-fee_quote),
        Delta(account_id=account(OTHER), size_lots=size_lots, entry_quote=paid_quote, collateral_quote=fee_quote),
    ]


def cancelled(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.account, event.reason) for event in events if isinstance(event, OrderCancelled)]


def test_deltas__a_position_taken_over__engine_has_the_words_of_the_chain() -> None:
    """1,000 lots bought at 10,000 for a fee of 4,000 quote go at 9,900: 104,000 quote lost, 50 more in fees."""
    twin = Twin()
    twin.trade()
    before_quote = twin.chain.account(account(LOSER)).collateral_quote

    events = twin.deltas(liquidate(fee_quote=50))

    adjusted = {event.account: event for event in events if isinstance(event, PositionAdjusted)}
    assert adjusted[account(LOSER)].size_lots == 0
    assert adjusted[account(LOSER)].realised_quote == -104_000 - 50
    assert adjusted[account(OTHER)].size_change_lots == adjusted[account(OTHER)].size_lots == 1_000
    assert twin.chain == twin.venue.state.chain
    assert twin.chain.account(account(LOSER)).collateral_quote == before_quote - 104_050
    summary = read_account(twin.venue.state, account(OTHER), twin.venue.time_s)
    assert [(position.market, position.size_lots) for position in summary.positions] == [(1, 1_000)]
    twin.must_agree()


def test_deltas__funding_is_due__is_settled_and_told() -> None:
    """The index of longs rose by 3 quote a lot: LOSER pays 3,000 when its 1,000 lots are touched."""
    twin = Twin()
    twin.trade()
    for chain in (twin.chain, twin.venue.state.chain):
        chain.indices[1] = IndexWord(long_index_e12=3 * 10**12, short_index_e12=3 * 10**12).pack()

    events = twin.deltas(liquidate())

    paid = {event.account: event.funding_quote for event in events if isinstance(event, PositionAdjusted)}
    assert paid == {account(LOSER): 3_000, account(OTHER): 0}
    assert twin.chain.totals_of(1).pot_quote == 3_000
    twin.must_agree()


def test_deltas__orders_of_the_account__those_without_position_or_margin_leave() -> None:
    """A reduce-only ask has nothing to reduce any more; bids of an account without money leave, others stay."""
    twin = Twin()
    venue = twin.venue
    twin.trade()
    venue.place(LOSER, "sell", 1_000, 10_100, lane=1, reduce_only=True)
    venue.place(LOSER, "buy", 5_000, 9_800, lane=2)
    venue.place(OTHER, "buy", 500, 9_800)
    collateral_quote = twin.chain.account(account(LOSER)).collateral_quote

    events = twin.deltas(liquidate(fee_quote=collateral_quote - 104_000))

    assert cancelled(events) == [(account(LOSER), "REDUCE_ONLY"), (account(LOSER), "INSUFFICIENT_MARGIN")]
    assert [order.account for order in venue.state.orders.values()] == [account(OTHER)]
    assert read_account(venue.state, account(LOSER), venue.time_s).equity_quote == 0
    twin.must_agree()


def test_deltas__while_a_batch_is_open__what_it_cannot_hold_any_more_is_refused_at_the_seal() -> None:
    """A reduce-only sale of 1,000 is matched, then the position is taken over on chain: the fill cannot settle."""
    twin = Twin()
    venue = twin.venue
    twin.trade()
    venue.place(TAKER, "buy", 1_000, 10_000)
    (fill, accepted) = venue.place(LOSER, "sell", 1_000, 10_000, reduce_only=True)
    assert isinstance(accepted, OrderAccepted) and accepted.filled_lots == 1_000

    twin.deltas(liquidate())
    events = venue.seal()

    assert [event.fill_id for event in events if isinstance(event, FillRejected)] == [fill.fill_id]  # type: ignore[attr-defined]
    (sealed,) = [event for event in events if isinstance(event, BatchSealed)]
    assert sealed.codes[-1] == 43 + 64  # REDUCE_ONLY, taker's side
    twin.must_agree()


def test_deltas__fills_of_others_in_the_open_batch__settle_all_the_same() -> None:
    twin = Twin()
    venue = twin.venue
    twin.trade()
    venue.deposit(4, USDC)
    venue.place(TAKER, "sell", 500, 10_000)
    venue.place(4, "buy", 500, 10_000)
    twin.contract.deposit(4, USDC, venue.time_s)
    twin.n_heard = len(venue.frames)

    twin.deltas(liquidate())
    (sealed,) = [event for event in venue.seal() if isinstance(event, BatchSealed)]

    assert len(sealed.fill_ids) == 1 and not any(sealed.codes)
    twin.must_agree()


def test_deltas__fill_of_the_same_account_in_the_open_batch__is_run_again_over_the_new_words() -> None:
    """OTHER bought 500 lots in the open batch and gets 1,000 more on chain: 1,500, in engine and mirror alike."""
    twin = Twin()
    venue = twin.venue
    twin.trade()
    venue.place(TAKER, "sell", 500, 10_000)
    venue.place(OTHER, "buy", 500, 10_000)

    twin.deltas(liquidate())

    assert venue.state.read_execution(0).position(account(OTHER), 1).size_lots == 1_500
    (sealed,) = [event for event in venue.seal() if isinstance(event, BatchSealed)]
    assert not any(sealed.codes)
    twin.must_agree()


def test_deltas__made_before_a_batch_that_touches_the_same_position__stops_before_it_is_journalled() -> None:
    """The batch was sealed on the words before the liquidation; nothing is changed, so that nothing diverges."""
    twin = Twin()
    venue = twin.venue
    twin.trade()
    command_base = twin.chain.batch.sequence
    changes = apply_deltas(twin.chain, 1, sorted(liquidate(), key=lambda delta: delta.account_id))
    venue.place(TAKER, "buy", 1_000, 10_000)
    venue.place(LOSER, "sell", 1_000, 10_000)
    venue.seal()
    command = twin.command(
        DirectKind.APPLY_DELTAS, subject=1, records=b"".join(map(record_of, changes)), after_batch=command_base
    )
    before = compute_state_hash(venue.state)

    with pytest.raises(CommandRefused, match="made after batch 1 and before batch 2, which was sealed without knowing"):
        venue.send(command)
    assert compute_state_hash(venue.state) == before


def test_deltas__made_before_a_batch_of_others__is_adopted() -> None:
    """The batch in between fills 2 and 4 alone: it commutes with what was done to 1 and 3."""
    twin = Twin()
    venue = twin.venue
    twin.trade()
    changes = apply_deltas(twin.chain, 1, sorted(liquidate(), key=lambda delta: delta.account_id))
    after_batch = twin.chain.batch.sequence
    venue.place(TAKER, "sell", 500, 10_000)
    venue.place(4, "buy", 500, 10_000)
    venue.seal()
    twin.catch_up()

    twin.venue.send(
        twin.command(
            DirectKind.APPLY_DELTAS, subject=1, records=b"".join(map(record_of, changes)), after_batch=after_batch
        )
    )

    twin.must_agree()


@pytest.mark.parametrize(
    ("place", "message"),
    [(1, "deltas: sum"), (2, "deltas: words")],
    ids=["another change", "another word"],
)
def test_deltas__words_that_do_not_follow_from_the_mirror__are_refused(place: int, message: str) -> None:
    """One quote unit more in the change, or in the entry of the resulting word."""
    twin = Twin()
    twin.trade()
    changes = apply_deltas(twin.chain, 1, sorted(liquidate(), key=lambda delta: delta.account_id))
    records = bytearray(b"".join(map(record_of, changes)))
    records[32 * place + 23] ^= 1
    if place == 2:
        # The same unit in the other record, so that the sums still close.
        records[96 + 32 * place + 23] ^= 1
    before = compute_state_hash(twin.venue.state)

    with pytest.raises(CommandRefused, match="does not lead from the mirror's words"):
        twin.hear(DirectKind.APPLY_DELTAS, subject=1, records=bytes(records))
    assert compute_state_hash(twin.venue.state) == before


def test_market__moved_by_a_corporate_action__prices_index_and_epoch_follow() -> None:
    """A dividend of 100 ticks: mark, index and external fall by it, longs get it, the epoch is the next."""
    twin = Twin()
    twin.trade()
    price, index = twin.chain.price(1), IndexWord(long_index_e12=-100 * 10**12, short_index_e12=-100 * 10**12)
    lower = replace(price, mark_ticks=9_900, index_ticks=9_900, external_ticks=9_900, epoch=2)
    equity_quote = read_account(twin.venue.state, account(LOSER), twin.venue.time_s).equity_quote
    move_market(twin.chain, 1, lower.pack(), index.pack())

    events = twin.hear(
        DirectKind.MOVE_MARKET,
        subject=1,
        price_word=lower.pack().to_bytes(32, "big"),
        index_word=index.pack().to_bytes(32, "big"),
    )

    (moved,) = [event for event in events if isinstance(event, MarketMoved)]
    assert (moved.market, int.from_bytes(moved.price_word, "big")) == (1, lower.pack())
    assert twin.chain == twin.venue.state.chain
    assert read_account(twin.venue.state, account(LOSER), twin.venue.time_s).equity_quote == equity_quote
    (refused,) = twin.venue.place(4, "buy", 500, 9_900)
    assert isinstance(refused, OrderRejected) and refused.reason == "WRONG_EPOCH"
    assert isinstance(twin.venue.place(4, "buy", 500, 9_900, epoch=2)[-1], OrderAccepted)
    twin.must_agree()


def test_market__moved_before_a_batch_with_its_prices__stops() -> None:
    twin = Twin()
    twin.trade()
    price = twin.chain.price(1)
    after_batch = twin.chain.batch.sequence
    move_market(twin.chain, 1, replace(price, epoch=2).pack(), 0)
    twin.venue.time_ms += 3_000
    twin.venue.prices(10_010)
    twin.venue.seal()

    with pytest.raises(CommandRefused, match=f"before batch {after_batch + 1}"):
        twin.hear(DirectKind.MOVE_MARKET, subject=1, after_batch=after_batch)


def test_exit__a_withdrawal_by_exits__leaves_collateral_and_becomes_a_claim() -> None:
    twin = Twin()
    withdraw_to_claim(twin.chain, account(OTHER), owner(77), 40 * USDC)

    (exited,) = twin.hear(
        DirectKind.WITHDRAW_TO_CLAIM,
        number=account(OTHER),
        subject=int.from_bytes(owner(77), "big"),
        word=40 * USDC,
    )

    assert isinstance(exited, CollateralExited)
    assert (exited.account, exited.quote, exited.recipient) == (account(OTHER), 40 * USDC, owner(77))
    assert twin.venue.state.chain.claims == {owner(77): 40 * USDC}
    twin.must_agree()


def test_exit__a_withdrawal_of_the_open_batch_is_not_covered_any_more__is_refused_at_the_seal() -> None:
    twin = Twin()
    twin.venue.withdraw(OTHER, 60_000 * USDC)
    withdraw_to_claim(twin.chain, account(OTHER), owner(OTHER), 50_000 * USDC)
    twin.hear(
        DirectKind.WITHDRAW_TO_CLAIM,
        number=account(OTHER),
        subject=int.from_bytes(owner(OTHER), "big"),
        word=50_000 * USDC,
    )

    events = twin.venue.seal()

    assert [event.reason for event in events if isinstance(event, WithdrawalRejected)] == ["MARGIN"]
    twin.must_agree()


def test_mode__exit__only_reduces_until_it_is_left() -> None:
    twin = Twin()
    venue = twin.venue
    twin.trade()
    venue.place(OTHER, "buy", 500, 9_900)
    venue.place(LOSER, "sell", 500, 10_000, lane=1, reduce_only=True)
    set_mode(twin.chain, Mode.EXIT)

    events = twin.hear(DirectKind.SET_MODE, word=1)

    assert isinstance(events[0], ModeChanged)
    assert cancelled(events) == [(account(OTHER), "OPENING_NOT_ALLOWED")]
    (refused,) = venue.place(4, "sell", 100, 10_100)
    assert isinstance(refused, OrderRejected)
    assert (refused.reason, "exit mode" in refused.found) == ("OPENING_NOT_ALLOWED", True)
    venue.place(TAKER, "buy", 500, 10_000, reduce_only=True)
    assert twin.venue.state.read_execution(0).position(account(LOSER), 1).size_lots == 500
    twin.must_agree()

    set_mode(twin.chain, Mode.NORMAL)
    twin.hear(DirectKind.SET_MODE, word=0)
    assert isinstance(venue.place(4, "sell", 100, 10_100)[-1], OrderAccepted)
    twin.must_agree()


def test_mode__settled__every_order_leaves_and_nothing_more_is_taken() -> None:
    twin = Twin()
    venue = twin.venue
    venue.seal()
    twin.catch_up()
    venue.state.sealed.clear()  # the settler has confirmed them
    venue.place(OTHER, "buy", 500, 9_900)
    set_mode(twin.chain, Mode.SETTLED)

    events = twin.hear(DirectKind.SET_MODE, word=2)

    assert cancelled(events) == [(account(OTHER), "SETTLED")]
    (order,) = venue.place(4, "sell", 100, 10_100)
    (withdrawal,) = venue.withdraw(4, USDC)
    assert isinstance(order, OrderRejected) and isinstance(withdrawal, WithdrawalRejected)
    assert (order.reason, withdrawal.reason) == ("SETTLED", "SETTLED")
    assert "Exits" in order.action
    with pytest.raises(CommandRefused, match="final settlement has begun"):
        venue.prices(10_000)


def test_mode__settled_while_fills_are_not_on_chain__stops_and_says_so() -> None:
    twin = Twin()
    twin.venue.place(LOSER, "sell", 300, 10_000)
    twin.venue.place(TAKER, "buy", 300, 10_000)
    set_mode(twin.chain, Mode.SETTLED)

    with pytest.raises(CommandRefused, match=r"final settlement has begun on chain .* 1 batches were not settled"):
        twin.hear(DirectKind.SET_MODE, word=2)


def test_siblings__replayed_from_the_journal__end_in_the_same_state() -> None:
    twin = Twin()
    twin.trade()
    twin.venue.place(LOSER, "sell", 500, 10_050, lane=1, reduce_only=True)
    twin.venue.withdraw(4, USDC)
    twin.deltas(liquidate(400))
    twin.must_agree()

    other = Venue()
    for time_ms, _, command in twin.venue.frames:
        other.time_ms = time_ms
        other.send(command)

    assert compute_state_hash(other.state) == compute_state_hash(twin.venue.state)
