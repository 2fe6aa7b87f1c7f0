"""Withdrawals run by the contract's rule at their point of the batch; deposits count at once."""

from __future__ import annotations

import msgspec
import pytest

from afterbell.domain.events import (
    BatchSealed,
    DepositCredited,
    Event,
    FillMatched,
    TransferAccepted,
    TransferRejected,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import build_nonce
from afterbell.engine.queries import read_account
from tests.engine.contract import Contract
from tests.engine.support import CONFIG, USDC, Venue, account, open_venue, owner


def reason_of(events: list[Event]) -> str:
    (event,) = events
    assert isinstance(event, WithdrawalRejected), event
    assert event.required and event.found and event.action
    return event.reason


def collateral_quote(venue: Venue, number: int) -> int:
    return read_account(venue.state, account(number), venue.time_s).collateral_quote


def test_withdrawal__accepted__leaves_collateral_and_becomes_a_claim_at_the_seal() -> None:
    """100,000 USDC, 40 USDC go to another address."""
    venue = open_venue()

    (accepted,) = venue.withdraw(1, 40 * USDC, recipient=owner(77))
    *_, sealed = venue.seal()

    assert isinstance(accepted, WithdrawalAccepted)
    assert (accepted.sequence, accepted.quote, accepted.recipient) == (1, 40 * USDC, owner(77))
    assert isinstance(sealed, BatchSealed)
    assert (sealed.n_operations, sealed.codes, sealed.operation_ids) == (1, b"\0", (accepted.withdrawal_id,))
    assert collateral_quote(venue, 1) == 99_960 * USDC
    assert venue.state.chain.claims == {owner(77): 40 * USDC}
    venue.state.chain.validate_invariants()


def test_withdrawal__everything_free__one_unit_more_is_refused() -> None:
    """1,000 lots long at 10,000: margin 10 % = 1 USDC, fee 400 ppm of 10 USDC = 4,000 quote stay behind."""
    venue = open_venue()
    venue.deposit(5, 10 * USDC)
    venue.place(1, "sell", 1_000, 10_000)
    venue.place(5, "buy", 1_000, 10_000)
    free_quote = 10 * USDC - 1 * USDC - 4_000

    assert reason_of(venue.withdraw(5, free_quote + 1)) == "MARGIN"
    assert isinstance(venue.withdraw(5, free_quote)[0], WithdrawalAccepted)
    assert not any(venue.seal()[-1].codes)  # type: ignore[union-attr]


def sealed_batches(venue: Venue) -> list[tuple[int, int, int]]:
    """Return (n_operations, fills, failures) of every batch sealed so far."""
    return [
        (event.n_operations, len(event.fill_ids), sum(code != 0 for code in event.codes))
        for event in venue.events
        if isinstance(event, BatchSealed)
    ]


def test_withdrawal__after_a_fill_of_its_account__begins_a_new_batch() -> None:
    """Two fills of 1 and 2, a withdrawal by 2, one more fill: operations run first on chain, so the batch is cut."""
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 100, 10_000)
    venue.place(2, "buy", 100, 10_000)
    venue.withdraw(2, USDC)
    venue.place(2, "buy", 100, 10_000)
    venue.seal()

    assert sealed_batches(venue) == [(0, 2, 0), (1, 1, 0)]
    must_settle(venue)


def test_withdrawal__after_fills_of_others__joins_their_batch() -> None:
    """It runs before their fills on chain and after them here: the same, because nothing of theirs is its own."""
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.withdraw(3, USDC)
    venue.seal()

    assert sealed_batches(venue) == [(1, 1, 0)]
    must_settle(venue)


def test_transfer__to_another_subaccount__moves_exactly_the_sum() -> None:
    """100,000 USDC in subaccount 0; 30,000 go to subaccount 7 of the same owner and can be traded there at once."""
    venue = open_venue()

    (accepted,) = venue.transfer(1, 30_000 * USDC, 7)

    assert isinstance(accepted, TransferAccepted)
    assert (accepted.sequence, accepted.account, accepted.receiver) == (1, account(1), account(1, 7))
    assert read_account(venue.state, account(1, 7), venue.time_s).collateral_quote == 30_000 * USDC
    assert collateral_quote(venue, 1) == 70_000 * USDC
    venue.place(2, "sell", 300, 10_000)
    assert isinstance(venue.place(1, "buy", 300, 10_000, subaccount=7)[0], FillMatched)
    venue.seal()
    assert sealed_batches(venue) == [(1, 1, 0)]
    assert venue.state.chain.account(account(1)).collateral_quote == 70_000 * USDC
    venue.state.chain.validate_invariants()
    must_settle(venue)


@pytest.mark.parametrize("filled_subaccount", [0, 7])
def test_transfer__either_account_filled_before__begins_a_new_batch(filled_subaccount: int) -> None:
    venue = open_venue()
    venue.transfer(1, 30_000 * USDC, 7)
    venue.seal()
    venue.place(2, "sell", 300, 10_000)
    venue.place(1, "buy", 300, 10_000, subaccount=filled_subaccount)

    venue.transfer(1, USDC, 7)
    venue.seal()

    assert sealed_batches(venue) == [(1, 0, 0), (0, 1, 0), (1, 0, 0)]
    must_settle(venue)


def test_transfer__what_the_position_needs__stays() -> None:
    """1,000 lots long at 10,000 need a tenth of 10 USDC = 1 USDC; with the fee of 4,000 quote 8.996 of 10 may go."""
    venue = open_venue()
    venue.deposit(5, 10 * USDC)
    venue.place(1, "sell", 1_000, 10_000)
    venue.place(5, "buy", 1_000, 10_000)

    (refused,) = venue.transfer(5, 8_996_001, 1)

    assert isinstance(refused, TransferRejected)
    assert (refused.reason, refused.receiver) == ("MARGIN", account(5, 1))
    assert isinstance(venue.transfer(5, 8_996_000, 1)[0], TransferAccepted)
    venue.seal()
    must_settle(venue)


@pytest.mark.parametrize(
    ("quote", "to_subaccount", "reason"),
    [
        (0, 7, "ZERO_WITHDRAWAL"),
        (1, 0, "BAD_RECIPIENT"),
        (100_001 * USDC, 7, "MARGIN"),
    ],
)
def test_transfer__breaks_one_rule__is_rejected(quote: int, to_subaccount: int, reason: str) -> None:
    venue = open_venue()

    (rejected,) = venue.transfer(1, quote, to_subaccount)

    assert isinstance(rejected, TransferRejected)
    assert rejected.reason == reason
    assert rejected.required and rejected.found and rejected.action
    assert venue.state.batch is not None and not venue.state.batch.operations


@pytest.mark.parametrize("changes", [{"quote": 1 << 64}, {"to_subaccount": 1 << 80}, {"nonce": 5}, {"r": b""}])
def test_transfer__field_beyond_its_type__is_rejected(changes: dict[str, object]) -> None:
    venue = open_venue()
    venue.transfer(1, USDC, 7)
    command = msgspec.structs.replace(venue.frames[-1][2], **changes)

    (rejected,) = venue.send(command)

    assert isinstance(rejected, TransferRejected)
    assert rejected.reason == "MALFORMED_REQUEST"


def must_settle(venue: Venue) -> None:
    """Every batch passes a contract that recovers signatures, with the codes its seal predicted, and ends the same."""
    contract = Contract()
    for (_, _, command), events in zip(venue.frames, venue.outcomes, strict=True):
        contract.follow(command, events)
    assert contract.chain == venue.state.chain


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"quote": 0}, "ZERO_WITHDRAWAL"),
        ({"recipient": bytes(20)}, "BAD_RECIPIENT"),
        ({"recipient": CONFIG.vault}, "BAD_RECIPIENT"),
        ({"recipient": CONFIG.clearinghouse}, "BAD_RECIPIENT"),
        ({"recipient": CONFIG.token}, "BAD_RECIPIENT"),
        ({"lifetime_s": -1}, "EXPIRED"),
        ({"lifetime_s": 30 * 86_400 + 1}, "EXPIRY_TOO_FAR"),
        ({"recipient": b"\x01" * 19}, "MALFORMED_REQUEST"),
        ({"quote": 100_001 * USDC}, "MARGIN"),
    ],
)
def test_withdrawal__breaks_one_rule__is_rejected_and_keeps_its_nonce(fields: dict[str, object], reason: str) -> None:
    venue = open_venue()
    terms: dict[str, object] = {"quote": USDC, "nonce": build_nonce(65535, venue.now_seq())} | fields

    assert reason_of(venue.withdraw(1, **terms)) == reason  # type: ignore[arg-type]
    assert isinstance(venue.withdraw(1, USDC, nonce=terms["nonce"])[0], WithdrawalAccepted)  # type: ignore[arg-type]


def test_withdrawal__nonce_used_before__is_rejected() -> None:
    venue = open_venue()
    nonce = build_nonce(65535, venue.now_seq())
    venue.withdraw(1, USDC, nonce=nonce)

    assert reason_of(venue.withdraw(1, 2 * USDC, nonce=nonce)) == "NONCE_CONSUMED"
    venue.seal()
    assert reason_of(venue.withdraw(1, 2 * USDC, nonce=nonce - 1)) == "NONCE_CONSUMED"


def test_withdrawal__seq_ahead_of_the_clock__is_rejected() -> None:
    venue = open_venue()

    assert reason_of(venue.withdraw(1, USDC, nonce=build_nonce(65535, venue.now_seq() + 1_002))) == "SEQ_TOO_FAR_AHEAD"


def test_withdrawal__prices_stale__is_rejected_only_with_a_position() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.seal()
    venue.time_ms += 61_000

    assert reason_of(venue.withdraw(1, USDC)) == "STALE_PRICE"
    assert isinstance(venue.withdraw(3, USDC)[0], WithdrawalAccepted)


def test_deposit__while_a_batch_is_open__can_be_traded_and_withdrawn_at_once() -> None:
    """Nothing, then 2 USDC in the middle of a batch: 1,000 lots need 1.004 USDC; 0.9 USDC leave again."""
    venue = open_venue()
    venue.place(1, "sell", 2_000, 10_000)
    venue.place(2, "buy", 200, 10_000)

    (credited,) = venue.deposit(7, 2 * USDC)
    (fill, _) = venue.place(7, "buy", 1_000, 10_000)
    (withdrawn,) = venue.withdraw(7, 900_000)

    assert isinstance(credited, DepositCredited)
    assert credited.collateral_quote == 2 * USDC
    assert isinstance(fill, FillMatched)
    assert isinstance(withdrawn, WithdrawalAccepted)
    assert not any(venue.seal()[-1].codes)  # type: ignore[union-attr]
    venue.state.chain.validate_invariants()


def test_deposit__to_an_account_of_the_open_batch__reaches_engine_and_mirror() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)

    (credited,) = venue.deposit(2, 5 * USDC)
    venue.seal()

    assert isinstance(credited, DepositCredited)
    assert credited.collateral_quote == 100_005 * USDC
    assert collateral_quote(venue, 2) == 100_005 * USDC
    venue.state.chain.validate_invariants()
