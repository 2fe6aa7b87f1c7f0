"""Direct operations: adopted in the chain's order, binding there later, obeyed here at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.commands import AdoptDirectOperation
from afterbell.domain.events import (
    BatchSealed,
    CancelAllAdopted,
    FillRejected,
    KeyLinked,
    KeyRevoked,
    RulesAdopted,
)
from afterbell.domain.ids import AccountId
from afterbell.domain.session import Session
from afterbell.domain.words import SessionKeyWord
from afterbell.engine.apply import CommandRefused
from afterbell.engine.state import compute_state_hash
from tests.engine.contract import Contract
from tests.engine.outcomes import accepted_of, book_of, cancels_of, fills_of, kinds_of, reason_of, sealed_clean
from tests.engine.support import RULES, USDC, account, open_venue, owner

KEY = 81
LAG_S = 300


class Twin:
    """A venue and its chain; the chain mines when told, so that both may hear of things in different order."""

    def __init__(self) -> None:
        self.venue = open_venue()
        self.contract = Contract()
        self.n_heard = 0
        self.hear()
        for number in range(1, 5):
            self.contract.deposit(number, 100_000 * USDC, 0)

    def hear(self) -> None:
        """Let the chain see the frames since: genesis at once, sealed batches wait."""
        for (_, _, command), events in list(zip(self.venue.frames, self.venue.outcomes, strict=True))[self.n_heard :]:
            self.contract.hear(command, events)
        self.n_heard = len(self.venue.frames)

    def seal(self) -> None:
        sealed_clean(self.venue)
        self.hear()

    def must_agree(self) -> None:
        """Seal, mine everything; both hold the same words."""
        if self.venue.state.has_open_batch:
            self.seal()
        self.contract.settle()
        assert self.contract.chain == self.venue.state.chain
        self.venue.state.chain.validate_invariants()


def test_cancel_all__adopted__older_orders_leave_at_once_and_stay_barred() -> None:
    twin = Twin()
    venue = twin.venue
    old = accepted_of(venue.place(1, "buy", 500, 9_990, lane=1))
    limit_seq = venue.now_seq() + 1
    new = accepted_of(venue.place(1, "buy", 500, 9_980, lane=2))
    done = twin.contract.cancel_all(1, limit_seq, venue.time_s)

    adopted, *after = venue.adopt(done)

    assert adopted == CancelAllAdopted(
        direct_op=5,
        account=account(1),
        min_seq_ms=limit_seq,
        since_s=venue.time_s,
        block=5,
        transaction=b"\x77" * 32,
    )
    assert cancels_of(after) == [(old.order_id, "USER", 500)]
    assert new.order_id in venue.state.orders
    assert reason_of(venue.place(1, "buy", 500, 9_990, lane=3, seq=limit_seq - 1)) == "SEQ_BELOW_MINIMUM"
    assert accepted_of(venue.place(1, "buy", 500, 9_990, lane=3, seq=limit_seq)).resting_lots == 500
    twin.must_agree()


def test_cancel_all__fill_matched_before_it_was_heard__settles_after_it() -> None:
    """On chain the cancel comes first, the batch 200 s later: matched before the lag is over, it is not bound."""
    twin = Twin()
    venue = twin.venue
    venue.seal()
    twin.hear()
    venue.place(2, "sell", 500, 10_000)
    venue.time_ms += 20_000
    done = twin.contract.cancel_all(1, venue.now_seq() + 1_000, venue.time_s - 10)
    venue.time_ms += 20_000
    assert fills_of(venue.place(1, "buy", 500, 10_000)) == [(10_000, 500)]

    venue.adopt(done)
    twin.contract.time_s = venue.time_s + 200
    twin.must_agree()

    assert venue.state.chain.position(account(1), 1).size_lots == 500


def test_cancel_all__bound__the_chain_refuses_what_the_engine_refused_long_before() -> None:
    """After since + 300 s the effective minimum is the new one, in mirror and chain alike."""
    twin = Twin()
    venue = twin.venue
    min_seq = venue.now_seq() + 100
    done = twin.contract.cancel_all(1, min_seq, venue.time_s)
    venue.adopt(done)

    since_s = done.time_s
    assert venue.state.chain.effective_min_seq(account(1), since_s + LAG_S) == 0
    assert venue.state.chain.effective_min_seq(account(1), since_s + LAG_S + 1) == min_seq
    twin.must_agree()


def test_cancel_all__heard_too_late__fills_of_the_open_batch_are_refused_as_on_chain() -> None:
    """The clock jumped 600 s past the cancel before it was read: the mirror undoes the fill, the chain agrees."""
    twin = Twin()
    venue = twin.venue
    venue.place(2, "sell", 500, 10_000)
    venue.seal()
    twin.hear()
    twin.contract.settle()
    done = twin.contract.cancel_all(1, venue.now_seq() + 1_000, venue.time_s)
    venue.time_ms += 600_000
    venue.prices(10_000)
    seq = venue.now_seq() - 599_500
    assert fills_of(venue.place(1, "buy", 500, 10_000, seq=seq)) == [(10_000, 500)]
    venue.adopt(done)

    events = venue.seal()
    twin.hear()
    twin.contract.settle()

    assert [event.code for event in events if isinstance(event, FillRejected)] in ([32], [32 + 64])
    assert twin.contract.chain == venue.state.chain
    assert venue.state.chain.position(account(1), 1).size_lots == 0


def test_key_link__adopted__signs_at_once_even_in_the_open_batch() -> None:
    twin = Twin()
    venue = twin.venue
    venue.place(2, "sell", 500, 10_000)
    assert venue.state.has_open_batch
    done = twin.contract.link_key(1, KEY, venue.time_s)

    (linked,) = venue.adopt(done)

    assert isinstance(linked, KeyLinked)
    assert (linked.operation_id, linked.key, linked.word) == (b"", owner(KEY), done.word.to_bytes(32, "big"))
    assert fills_of(venue.place(1, "buy", 500, 10_000, key=KEY)) == [(10_000, 500)]
    twin.must_agree()


def test_key_link__heard_after_a_batched_link_of_the_same_key__the_batch_wins_on_both_sides() -> None:
    twin = Twin()
    venue = twin.venue
    done = twin.contract.link_key(1, KEY, venue.time_s)
    venue.link_key(1, KEY, max_notional_quote=7 * USDC)
    twin.seal()

    (linked,) = venue.adopt(done)

    assert isinstance(linked, KeyLinked)
    assert SessionKeyWord.unpack(int.from_bytes(linked.word, "big")).max_notional_quote == 7 * USDC
    twin.must_agree()


def test_key_revocation__adopted__orders_leave_at_once_and_the_key_is_dead_for_good() -> None:
    twin = Twin()
    venue = twin.venue
    venue.link_key(1, KEY)
    accepted = accepted_of(venue.place(1, "buy", 500, 9_990, key=KEY))
    twin.hear()
    twin.contract.settle()
    done = twin.contract.revoke_key(1, KEY, venue.time_s)

    revoked, *after = venue.adopt(done)

    assert isinstance(revoked, KeyRevoked)
    assert SessionKeyWord.unpack(int.from_bytes(revoked.word, "big")).revoked_at_s == done.time_s
    assert cancels_of(after) == [(accepted.order_id, "KEY_REVOKED", 500)]
    assert reason_of(venue.place(1, "buy", 500, 9_990, key=KEY)) == "KEY_EXPIRED"
    (refused,) = venue.link_key(1, KEY)
    assert refused.reason == "BAD_KEY"  # type: ignore[union-attr]
    twin.must_agree()


def test_key_revocation__fill_of_the_key_matched_before_it_was_heard__settles_after_it() -> None:
    twin = Twin()
    venue = twin.venue
    venue.link_key(1, KEY)
    venue.place(2, "sell", 500, 10_000)
    twin.seal()
    twin.contract.settle()
    done = twin.contract.revoke_key(1, KEY, venue.time_s)
    venue.time_ms += 50_000
    assert fills_of(venue.place(1, "buy", 500, 10_000, key=KEY)) == [(10_000, 500)]

    venue.adopt(done)

    twin.must_agree()
    assert venue.state.chain.position(account(1), 1).size_lots == 500


def test_rules__adopted__bind_batches_matched_after_the_lag_in_engine_and_chain() -> None:
    """Openings are switched off: until since + 300 s they pass, one second later they are refused."""
    twin = Twin()
    venue = twin.venue
    word = replace(RULES, is_opening_allowed=False).pack()
    done = twin.contract.change_rules(1, Session.REGULAR, word, venue.time_s)

    (adopted,) = venue.adopt(done)

    since_s = done.time_s
    assert adopted == RulesAdopted(
        direct_op=5, market=1, session=2, rules_word=word.to_bytes(32, "big"), binds_after_s=since_s + LAG_S
    )
    twin.seal()
    venue.time_ms = (since_s + LAG_S) * 1_000
    venue.prices(10_000)
    assert accepted_of(venue.place(1, "buy", 500, 9_990)).resting_lots == 500
    venue.time_ms += 1_000
    assert accepted_of(venue.place(1, "buy", 500, 9_990, lane=1)).resting_lots == 500  # still the batch of before
    twin.seal()
    venue.prices(10_000)
    assert reason_of(venue.place(1, "buy", 500, 9_990, lane=2)) == "OPENING_NOT_ALLOWED"
    events = venue.place(2, "sell", 500, 9_990)
    assert reason_of(events) == "OPENING_NOT_ALLOWED"
    twin.must_agree()


def build(**changes: object) -> AdoptDirectOperation:
    fields: dict[str, object] = {
        "direct_op": 5,
        "kind": 1,
        "account": account(1),
        "subject": bytes(32),
        "word": bytes(32),
        "time_s": 1_700_000_000,
        "block": 1,
        "transaction": bytes(32),
    }
    return AdoptDirectOperation(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direct_op": 4}, "direct operation 5 must come next, found 4"),
        ({"direct_op": 6}, "direct operation 5 must come next, found 6"),
        ({"kind": 9}, "kind 9"),
        ({"kind": 5, "subject": b"\1"}, "deltas: records"),
        ({"kind": 5, "subject": b"\1", "records": bytes(95)}, "96 bytes each"),
        ({"kind": 5, "subject": b"\2", "records": bytes(96)}, "market 2"),
        ({"kind": 6, "subject": b"\1", "price_word": bytes(31)}, "another length"),
        ({"kind": 7, "subject": b"\xff" * 32}, "quote to 0xff"),
        ({"kind": 8, "word": (3).to_bytes(32, "big")}, "mode 3"),
        ({"kind": 8, "word": (2).to_bytes(32, "big")}, "1 batches were not settled"),
        ({"kind": 0}, "kind 0"),
        ({"account": AccountId(1 << 240)}, "account"),
        ({"word": bytes(31)}, "word of 31 bytes"),
        ({"kind": 2, "subject": b"\xff" * 32}, "key 0xff"),
        ({"kind": 4, "subject": (9 << 8 | 2).to_bytes(32, "big")}, "market 9"),
        ({"kind": 4, "subject": (1 << 8 | 9).to_bytes(32, "big")}, "session 9"),
    ],
)
def test_direct_operation__does_not_fit__is_refused_and_changes_nothing(
    changes: dict[str, object], message: str
) -> None:
    venue = open_venue()
    before = compute_state_hash(venue.state)

    with pytest.raises(CommandRefused, match=message):
        venue.send(build(**changes))

    assert compute_state_hash(venue.state) == before


def test_direct_operation__shares_its_numbers_with_deposits() -> None:
    twin = Twin()
    venue = twin.venue
    twin.contract.deposit(1, USDC, venue.time_s)
    venue.deposit(1, USDC)

    events = venue.adopt(twin.contract.link_key(1, KEY, venue.time_s))

    assert kinds_of(events) == ["KeyLinked"]
    assert venue.state.chain.direct_op == 6
    twin.must_agree()


def test_direct_operation__in_an_open_batch__is_in_its_header() -> None:
    twin = Twin()
    twin.venue.adopt(twin.contract.link_key(1, KEY, twin.venue.time_s))

    sealed = sealed_clean(twin.venue)

    assert isinstance(sealed, BatchSealed)
    assert int.from_bytes(sealed.payload[11:16], "big") == 5
    assert book_of(twin.venue) == []
