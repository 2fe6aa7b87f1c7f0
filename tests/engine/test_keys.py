"""Session keys: linked and revoked through the batch, usable from the next one on, held to their limits."""

from __future__ import annotations

import msgspec
import pytest

from afterbell.domain.batch import decode
from afterbell.domain.events import (
    BatchSealed,
    CancelRejected,
    Event,
    KeyLinked,
    KeyOperationRejected,
    KeyRevoked,
    OrderRejected,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import build_nonce
from afterbell.domain.order import FLAG_SESSION_KEY, TriggerKind
from afterbell.domain.words import SessionKeyWord
from afterbell.engine.batching import needs_seal_before
from afterbell.engine.state import compute_state_hash
from tests.engine.contract import Contract
from tests.engine.outcomes import accepted_of, book_of, cancels_of, fills_of, kinds_of, sealed_clean
from tests.engine.support import USDC, Venue, account, open_venue, owner

KEY, OTHER_KEY = 81, 82


def linked_venue(**limits: object) -> Venue:
    """Account 1 has linked KEY and the batch is sealed."""
    venue = open_venue()
    (linked,) = venue.link_key(1, KEY, **limits)  # type: ignore[arg-type]
    assert isinstance(linked, KeyLinked)
    sealed_clean(venue)
    return venue


def refusal_of(events: list[Event]) -> OrderRejected | CancelRejected | KeyOperationRejected | WithdrawalRejected:
    (event,) = events
    assert isinstance(event, OrderRejected | CancelRejected | KeyOperationRejected | WithdrawalRejected), event
    assert event.required and event.found and event.action
    return event


def must_settle(venue: Venue) -> Contract:
    """Seal and let a contract that recovers every signature settle all batches; it ends with the mirror's words."""
    if venue.state.has_open_batch:
        venue.seal()
    contract = Contract()
    again = open_again(venue, contract)
    assert contract.chain == venue.state.chain
    assert compute_state_hash(again.state) == compute_state_hash(venue.state)
    return contract


def open_again(venue: Venue, contract: Contract) -> Venue:
    again = Venue()
    for time_ms, _, command in venue.frames:
        again.time_ms = time_ms
        contract.follow(command, again.send(command))
    return again


def test_link__accepted__is_the_word_the_chain_will_hold() -> None:
    venue = open_venue()

    (linked,) = venue.link_key(1, KEY, max_notional_quote=7 * USDC, markets=0b10, trade_only=True)

    assert isinstance(linked, KeyLinked)
    word = SessionKeyWord.unpack(int.from_bytes(linked.word, "big"))
    assert (linked.account, linked.key, linked.sequence) == (account(1), owner(KEY), 1)
    assert word == SessionKeyWord(
        expiry_s=venue.time_s + 86_400,
        max_notional_quote=7 * USDC,
        markets=0b10,
        trade_only=True,
        is_linked=True,
    )
    sealed = sealed_clean(venue)
    assert sealed.operation_ids == (linked.operation_id,)
    assert venue.state.chain.session_key_word(account(1), owner(KEY)) == word.pack()
    must_settle(venue)


def test_link__in_the_open_batch__its_first_order_trades_in_the_same_batch() -> None:
    """No waiting for the client: link, then order, in one breath; operations run before orders on chain."""
    venue = open_venue()
    venue.place(2, "sell", 500, 10_000)
    venue.link_key(1, KEY)
    command = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=10_000, key=KEY)
    assert not needs_seal_before(venue.state, command)

    events = venue.send(command)

    assert fills_of(events) == [(10_000, 500)]
    assert accepted_of(events).signer == owner(KEY)
    sealed = sealed_clean(venue)
    assert sealed.n_operations == 1
    flags = [order.flags for record in decode(sealed.payload).accounts for order in record.orders]
    assert sorted(bool(flag & FLAG_SESSION_KEY) for flag in flags) == [False, True]
    must_settle(venue)


def test_link__same_key_for_another_account__needs_no_seal() -> None:
    venue = linked_venue()
    venue.link_key(2, KEY)

    assert not needs_seal_before(
        venue.state, venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_000, key=KEY)
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_notional_quote": 0}, "BAD_KEY"),
        ({"markets": 0}, "BAD_KEY"),
        ({"lifetime_s": 180 * 86_400 + 1}, "BAD_KEY"),
        ({"key": 1}, "BAD_KEY"),
        ({"markets": 1 << 32}, "MALFORMED_REQUEST"),
        ({"expiry_s": 0}, "EXPIRED"),
    ],
)
def test_link__breaks_one_rule__is_rejected_and_keeps_its_nonce(fields: dict[str, object], reason: str) -> None:
    venue = open_venue()
    terms: dict[str, object] = {"key": KEY, "seq": venue.now_seq()} | fields

    assert refusal_of(venue.link_key(1, **terms)).reason == reason  # type: ignore[arg-type]
    assert isinstance(venue.link_key(1, KEY, seq=terms["seq"])[0], KeyLinked)  # type: ignore[arg-type]
    assert isinstance(venue.link_key(1, OTHER_KEY, lifetime_s=180 * 86_400)[0], KeyLinked)


def test_link__digest_of_other_limits__is_a_bad_signature() -> None:
    venue = open_venue()
    venue.link_key(1, KEY)
    command = venue.frames[-1][2]

    events = venue.send(msgspec.structs.replace(command, max_notional_quote=5 * USDC))

    assert refusal_of(events).reason == "BAD_SIGNATURE"


def test_link__nonce_used_by_a_withdrawal__is_consumed() -> None:
    venue = open_venue()
    venue.withdraw(1, USDC)

    assert refusal_of(venue.link_key(1, KEY, seq=venue.now_seq() - 1)).reason == "NONCE_CONSUMED"


@pytest.mark.parametrize(
    ("limits", "order", "reason", "found"),
    [
        ({}, {"key": OTHER_KEY}, "UNKNOWN_KEY", "0x" + owner(OTHER_KEY).hex()),
        ({"markets": 0b10}, {}, "KEY_LIMIT", "market 1"),
        ({"reduce_only": True}, {}, "KEY_LIMIT", "an order that may open"),
        # 500 lots at the worst of limit 9,990, mark and external 10,000 = 5,000,000 quote.
        ({"max_notional_quote": 4_999_999}, {}, "KEY_LIMIT", "5000000 quote"),
        ({"lifetime_s": 10}, {"after_s": 11}, "KEY_EXPIRED", None),
    ],
)
def test_key_order__beyond_a_limit__is_rejected(
    limits: dict[str, object], order: dict[str, object], reason: str, found: str | None
) -> None:
    venue = linked_venue(**limits)
    venue.time_ms += 1_000 * int(order.pop("after_s", 0))  # type: ignore[call-overload]
    terms: dict[str, object] = {"key": KEY} | order

    refusal = refusal_of(venue.place(1, "buy", 500, 9_990, **terms))

    assert refusal.reason == reason
    assert found is None or refusal.found == found


@pytest.mark.parametrize(
    ("limits", "after_s"),
    [({"markets": 0b01}, 0), ({"max_notional_quote": 5_000_000}, 0), ({"lifetime_s": 10}, 10)],
)
def test_key_order__just_inside_a_limit__is_accepted(limits: dict[str, object], after_s: int) -> None:
    venue = linked_venue(**limits)
    venue.time_ms += 1_000 * after_s - 1

    assert accepted_of(venue.place(1, "buy", 500, 9_990, key=KEY)).resting_lots == 500


def test_key_order__key_runs_out_while_a_batch_is_open__is_rejected_by_the_clock() -> None:
    """The chain would still take it, by the batch's time; the engine promises nothing in a dead key's name."""
    venue = linked_venue(lifetime_s=10)
    venue.place(2, "sell", 500, 10_000)
    venue.place(3, "buy", 500, 10_000)
    assert venue.state.has_open_batch
    venue.time_ms += 11_000

    assert refusal_of(venue.place(1, "buy", 500, 9_990, key=KEY)).reason == "KEY_EXPIRED"


def test_key__seq_beyond_the_lag_after_an_old_open_batch__is_put_off_and_passes_after_the_seal() -> None:
    """A key spends seqs up to match + 300 s. The batch stays open longer: neither order nor withdrawal may join it."""
    venue = linked_venue()
    venue.place(2, "sell", 500, 10_000)
    venue.place(3, "buy", 500, 10_000)
    opened_ms = venue.time_s * 1_000
    venue.time_ms = opened_ms + 300_000

    assert isinstance(
        venue.withdraw(1, USDC, nonce=build_nonce(65535, venue.now_seq()), key=KEY)[0], WithdrawalAccepted
    )
    late = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_990, key=KEY, seq=venue.now_seq() + 1)
    assert refusal_of(venue.send(late)).reason == "KEY_LIMIT"
    assert refusal_of(venue.withdraw(1, USDC, key=KEY)).reason == "KEY_LIMIT"
    assert accepted_of(venue.place(1, "buy", 500, 9_980, lane=1)).resting_lots == 500
    sealed_clean(venue)
    venue.prices(10_000)

    assert accepted_of(venue.send(late)).resting_lots == 500
    must_settle(venue)


def test_key_order__of_another_account__is_unknown() -> None:
    venue = linked_venue()

    assert refusal_of(venue.place(2, "buy", 500, 9_990, key=KEY)).reason == "UNKNOWN_KEY"


def test_key_order__signer_not_an_address__is_malformed() -> None:
    venue = linked_venue()
    command = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_990, key=KEY)

    assert refusal_of(venue.send(msgspec.structs.replace(command, signer=b"\x01"))).reason == "MALFORMED_REQUEST"


def test_key_order__key_expires_before_the_order__leaves_with_the_key() -> None:
    venue = linked_venue(lifetime_s=20)
    accepted = accepted_of(venue.place(1, "buy", 500, 9_990, key=KEY, lifetime_s=3_600))
    own = accepted_of(venue.place(1, "buy", 500, 9_980, lane=1))
    venue.time_ms += 21_000

    assert cancels_of(venue.deposit(2, USDC)) == [(accepted.order_id, "KEY_EXPIRED", 500)]
    assert own.order_id in venue.state.orders


def test_key_order__key_linked_again_for_longer__stays() -> None:
    venue = linked_venue(lifetime_s=20)
    venue.place(1, "buy", 500, 9_990, key=KEY, lifetime_s=3_600)
    venue.link_key(1, KEY, lifetime_s=1_000)
    sealed_clean(venue)
    venue.time_ms += 21_000

    assert cancels_of(venue.deposit(2, USDC)) == []
    assert book_of(venue) == [("bid", 9_990, 500)]


def test_key_order__price_rises_beyond_its_keys_notional__the_maker_is_out_when_its_turn_comes() -> None:
    """500 lots x 10,000 fit 5 USDC exactly; at 10,001 they do not, and the chain would say KEY_LIMIT."""
    venue = linked_venue(max_notional_quote=5_000_000)
    accepted = accepted_of(venue.place(1, "buy", 500, 9_990, key=KEY))
    venue.time_ms += 3_000
    venue.prices(10_001)

    events = venue.place(2, "sell", 500, 9_990)

    assert cancels_of(events) == [(accepted.order_id, "KEY_LIMIT", 500)]
    sealed_clean(venue)


def test_key_order__waits_for_a_trigger__is_judged_at_entry_and_when_it_is_met() -> None:
    venue = linked_venue(lifetime_s=100)
    stop: dict[str, object] = {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_100}
    assert refusal_of(venue.place(1, "buy", 500, 10_200, key=OTHER_KEY, **stop)).reason == "UNKNOWN_KEY"
    accepted = accepted_of(venue.place(1, "buy", 500, 10_200, key=KEY, **stop))
    assert accepted.is_waiting
    venue.place(2, "sell", 500, 10_150)
    venue.time_ms += 60_000

    events = venue.prices(10_100)

    assert fills_of(events) == [(10_150, 500)]
    must_settle(venue)


def test_revoke__accepted__orders_of_the_key_leave_and_no_other() -> None:
    venue = linked_venue()
    by_key = accepted_of(venue.place(1, "buy", 500, 9_990, lane=1, key=KEY))
    by_owner = accepted_of(venue.place(1, "buy", 500, 9_980, lane=2))

    revoked, *after = venue.revoke_key(1, KEY)

    assert isinstance(revoked, KeyRevoked)
    assert SessionKeyWord.unpack(int.from_bytes(revoked.word, "big")) == SessionKeyWord(is_linked=True)
    assert cancels_of(after) == [(by_key.order_id, "KEY_REVOKED", 500)]
    assert list(venue.state.orders) == [by_owner.order_id]
    assert refusal_of(venue.place(1, "buy", 500, 9_990, lane=3, key=KEY)).reason == "KEY_EXPIRED"
    must_settle(venue)


def test_revoke__after_a_fill_of_the_same_batch__the_fill_stands() -> None:
    """The chain judges orders by the keys the batch began with."""
    venue = linked_venue()
    venue.place(2, "sell", 500, 10_000)
    assert fills_of(venue.place(1, "buy", 500, 10_000, key=KEY)) == [(10_000, 500)]
    venue.revoke_key(1, KEY)

    sealed_clean(venue)
    must_settle(venue)


def test_revoke__batched__may_be_linked_again() -> None:
    venue = linked_venue()
    venue.revoke_key(1, KEY)
    venue.link_key(1, KEY)

    assert accepted_of(venue.place(1, "buy", 500, 9_990, key=KEY)).resting_lots == 500
    must_settle(venue)


def test_revoke__one_order_of_an_oco_is_the_keys__the_other_leaves_with_it() -> None:
    venue = linked_venue()
    by_owner = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4))
    by_key = accepted_of(venue.place(1, "sell", 500, 10_200, lane=4, seq=venue.now_seq(), key=KEY))

    events = venue.revoke_key(1, KEY)

    assert cancels_of(events) == [(by_key.order_id, "KEY_REVOKED", 500), (by_owner.order_id, "OCO", 500)]


def test_cancel__signed_by_a_key__counts_while_the_key_lives() -> None:
    venue = linked_venue(trade_only=True, lifetime_s=60)
    one = accepted_of(venue.place(1, "buy", 500, 9_990, lane=1))
    two = accepted_of(venue.place(1, "buy", 500, 9_990, lane=2))

    assert cancels_of(venue.cancel(1, one.nonce, key=KEY)) == [(one.order_id, "USER", 500)]
    assert refusal_of(venue.cancel(1, two.nonce, key=OTHER_KEY)).reason == "UNKNOWN_KEY"
    assert cancels_of(venue.cancel_all(1, key=KEY)) == [(two.order_id, "USER", 500)]
    venue.time_ms += 61_000
    assert refusal_of(venue.cancel_all(1, key=KEY)).reason == "KEY_EXPIRED"


def test_withdrawal__signed_by_a_key__goes_to_the_owner_alone_and_never_trade_only() -> None:
    venue = linked_venue()

    assert refusal_of(venue.withdraw(1, USDC, recipient=owner(77), key=KEY)).reason == "KEY_LIMIT"
    assert isinstance(venue.withdraw(1, USDC, key=KEY)[0], WithdrawalAccepted)
    assert refusal_of(venue.withdraw(1, USDC, key=OTHER_KEY)).reason == "UNKNOWN_KEY"
    must_settle(venue)

    trade_only = linked_venue(trade_only=True)
    assert refusal_of(trade_only.withdraw(1, USDC, key=KEY)).reason == "KEY_LIMIT"


def test_withdrawal__key_linked_in_the_same_batch__may_sign_it() -> None:
    """Operations, unlike orders, see keys as they stand at that moment."""
    venue = open_venue()
    venue.link_key(1, KEY)

    assert isinstance(venue.withdraw(1, USDC, key=KEY)[0], WithdrawalAccepted)
    assert kinds_of(venue.seal()) == ["BatchSealed"]
    must_settle(venue)


def test_approved__operations_of_a_contract_wallet__ride_without_a_signature() -> None:
    """The owner approved the digests on chain; the mirror must know, or its own check fails at the seal."""
    venue = open_venue()
    (linked,) = venue.link_key(1, KEY, is_approved=True)
    (withdrawn,) = venue.withdraw(1, USDC, is_approved=True)
    assert isinstance(linked, KeyLinked)
    assert isinstance(withdrawn, WithdrawalAccepted)

    sealed = sealed_clean(venue)

    assert [row.flags for row in decode(sealed.payload).operations] == [2, 2]
    (revoked,) = venue.revoke_key(1, KEY, is_approved=True)
    assert isinstance(revoked, KeyRevoked)
    sealed_clean(venue)
    assert venue.state.chain.approvals == {
        (owner(1), linked.operation_id),
        (owner(1), withdrawn.withdrawal_id),
        (owner(1), revoked.operation_id),
    }


def test_approved__refused_operation__leaves_no_approval() -> None:
    venue = open_venue()

    assert refusal_of(venue.link_key(1, KEY, markets=0, is_approved=True)).reason == "BAD_KEY"
    assert venue.state.chain.approvals == set()


def test_approved__with_a_session_key__is_malformed() -> None:
    venue = linked_venue()

    assert refusal_of(venue.withdraw(1, USDC, key=KEY, is_approved=True)).reason == "MALFORMED_REQUEST"


def test_seal__mirror_refuses_a_link__is_said_as_a_rejected_key_operation() -> None:
    """The approval is taken out of the mirror behind the engine's back, as no rule allows."""
    venue = open_venue()
    venue.link_key(1, KEY, is_approved=True)
    venue.state.chain.approvals.clear()

    events = venue.seal()

    refused = [event for event in events if isinstance(event, KeyOperationRejected)]
    assert [(event.reason, event.key) for event in refused] == [("BAD_SIGNATURE", owner(KEY))]
    assert [event.codes for event in events if isinstance(event, BatchSealed)] == [b"\x03"]
    assert venue.state.chain.session_keys == {}


def test_state_hash__key_differs__differs() -> None:
    first, second = linked_venue(), linked_venue(max_notional_quote=999 * USDC)

    assert compute_state_hash(first.state) != compute_state_hash(second.state)
