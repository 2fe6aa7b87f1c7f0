"""Operations: approvals that stand for signatures, the flags byte, and what `check` answers by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain.batch import (
    OPERATION_APPROVED,
    OPERATION_SESSION_KEY,
    OperationRow,
    Payload,
    encode,
)
from afterbell.domain.order import CancelAll, CancelOrder, Operation, RevokeKey, Withdraw
from afterbell.signing.typed_data import digest
from tests.contracts.desk import DAY_S, OPERATIONS, Desk, address_of, order_nonce, signing_key

KEY: Final = signing_key("session")
RECIPIENT: Final = b"\xaa" * 20
ALL_ONES: Final = (1 << 48) - 1
MAX_EXPIRY_S: Final = 30 * DAY_S


def approve(desk: Desk, message: Operation, owner: Any = None) -> bytes:
    """Approve the digest of a message on chain, as the taker unless told otherwise."""
    signed = digest(message, desk.chain.domain_separator)
    desk.direct(owner or desk.taker, "approve", signed)
    return signed


def withdrawal(desk: Desk, **changes: Any) -> Withdraw:
    return Withdraw(**desk.common(desk.taker) | {"quote": 5, "recipient": RECIPIENT} | changes)


MESSAGES: Final[dict[str, Callable[[Desk], Operation]]] = {
    "withdraw to anybody": withdrawal,
    "cancel order": lambda desk: CancelOrder(**desk.common(desk.taker) | {"order_nonce": order_nonce(3, 9)}),
    "cancel all": lambda desk: CancelAll(**desk.common(desk.taker) | {"min_seq": 9}),
    "link key": lambda desk: desk.link_message(desk.taker, KEY),
    "revoke key": lambda desk: RevokeKey(**desk.common(desk.taker) | {"key": KEY.address}),
}


# Approvals.


@pytest.mark.parametrize("name", MESSAGES)
def test_approve__digest_of_an_operation__stands_for_the_signature_once(desk: Desk, name: str) -> None:
    """As a Safe does it: a transaction of its own, then the batch refers to it. The nonce makes it one time."""
    message = MESSAGES[name](desk)
    claimed = desk.approved(message)
    assert desk.settle(operations=[claimed]).operations == [3]

    signed = approve(desk, message)

    assert [(event.contract, event.name, event.args) for event in desk.logged] == [
        ("Operations", "DigestApproved", {"owner": address_of(desk.taker).lower(), "digest": signed})
    ]
    assert desk.chain.call("Operations", "is_approved", address_of(desk.taker), signed)
    assert desk.settle(operations=[claimed, claimed]).operations == [0, 17]
    assert desk.lane(desk.taker, OPERATIONS) == (message.seq, ALL_ONES)


def test_approve__twice__is_the_same(desk: Desk) -> None:
    message = withdrawal(desk)
    approve(desk, message)
    approve(desk, message)

    assert desk.settle(operations=[desk.approved(message)]).operations == [0]


def test_approve__is_no_direct_operation(desk: Desk) -> None:
    before = desk.chain.call("Clearinghouse", "operator_word")

    approve(desk, withdrawal(desk))

    assert desk.chain.call("Clearinghouse", "operator_word") == before


def test_approved__digest_of_another_owner__bad_signature(desk: Desk) -> None:
    """The maker approves the taker's withdrawal: it is not the maker's to approve, and the maker loses nothing."""
    message = withdrawal(desk)
    approve(desk, message, owner=desk.maker)
    row = desk.approved(message)

    operations = [row, replace(row, account_id=desk.account(desk.maker))]

    assert desk.settle(operations=operations).operations == [3, 3]


def test_approved__by_a_session_key__bad_signature(desk: Desk) -> None:
    desk.settle(operations=[desk.link_key(desk.taker, KEY)])
    message = CancelAll(**desk.common(desk.taker) | {"min_seq": 9})
    approve(desk, message, owner=KEY)

    assert desk.settle(operations=[desk.approved(message)]).operations == [3]


@pytest.mark.parametrize(
    "changes",
    [
        {"quote": 6},
        {"recipient": b"\xab" * 20},
        {"subaccount": 1},
        {"seq": 2_000_000},
        {"expiry_s": 1_900_000_001},
    ],
)
def test_approved__another_message__bad_signature(desk: Desk, changes: dict[str, Any]) -> None:
    message = withdrawal(desk)
    approve(desk, message)

    assert desk.settle(operations=[desk.approved(replace(message, **changes))]).operations == [3]


def test_approved__signature_beside_it__is_ignored(desk: Desk) -> None:
    message = withdrawal(desk)
    approve(desk, message)
    row = desk.approved(message)

    assert desk.settle(operations=[replace(row, r=b"\xff" * 32, vs=b"\xff" * 32)]).operations == [0]


def test_approved__without_the_flag__needs_the_signature(desk: Desk) -> None:
    message = withdrawal(desk)
    approve(desk, message)
    row = desk.approved(message)

    assert desk.settle(operations=[replace(row, flags=0)]).operations == [3]


@pytest.mark.parametrize(("late_s", "code"), [(0, 0), (1, 5)])
def test_approved__at_its_expiry__then_after(desk: Desk, late_s: int, code: int) -> None:
    message = withdrawal(desk, expiry_s=desk.chain.time_s + 10)
    approve(desk, message)
    desk.age_prices(10 + late_s)

    assert desk.settle(operations=[desk.approved(message)]).operations == [code]


# The flags byte and the bytes behind it.


@pytest.mark.parametrize("flags", [3, 4, 5, 6, 8, 128, 255])
def test_flags__both_or_reserved__unknown(desk: Desk, flags: int) -> None:
    """Session key and approved together say nothing; a flag not built yet says nothing."""
    desk.settle(operations=[desk.link_key(desk.taker, KEY)])
    message = CancelAll(**desk.common(desk.taker) | {"min_seq": 9})
    approve(desk, message)
    row = desk.operation(message, desk.taker, by_key=KEY)

    assert desk.settle(operations=[replace(row, flags=flags)]).operations == [16]
    assert desk.settle(operations=[row]).operations == [0]


def test_operation__reserved_bytes__are_hashed_and_ignored(desk: Desk) -> None:
    """Two bytes of word 1, and the operand of a cancellation."""
    row = desk.cancel_all(desk.taker, 9)
    payload = encode(Payload(header=desk.header(), operations=(row,)))
    at = payload.index(row.r) - 2 * 32
    assert payload[at + 10 : at + 32] == bytes(22)
    dirty = payload[: at + 10] + b"\xff" * 22 + payload[at + 32 :]

    desk.chain.settle(dirty)

    names = [event.name for event in desk.chain.events()]
    assert names == ["AllCancelled", "BatchSettled"]


# The order of the checks.


def flawed(desk: Desk, row: OperationRow, **changes: Any) -> OperationRow:
    return replace(row, account_id=desk.account(desk.taker), **changes)


def test_check__several_flaws__the_earlier_code_wins(desk: Desk) -> None:
    """UNKNOWN, EXPIRED, TOO FAR, SIGNATURE, KEY EXPIRED, KEY LIMIT, NONCE, then what the words say."""
    now_s = desk.chain.time_s
    desk.settle(operations=[desk.link_key(desk.taker, KEY, trade_only=True, key_expiry_s=now_s + 100)])
    late = desk.withdraw(desk.taker, 0, bytes(20), expiry_s=now_s - 1, by_key=KEY)
    far = desk.withdraw(desk.taker, 0, bytes(20), expiry_s=now_s + MAX_EXPIRY_S + 1, by_key=desk.maker)
    foreign = desk.withdraw(desk.taker, 0, bytes(20), by_key=desk.maker)
    limited = desk.withdraw(desk.taker, 0, bytes(20), by_key=KEY, seq=0)
    old = desk.withdraw(desk.taker, 0, bytes(20), seq=0)
    operations = [
        flawed(desk, late, flags=3),
        flawed(desk, late),
        flawed(desk, far),
        flawed(desk, foreign),
        flawed(desk, limited),
        flawed(desk, old),
        desk.withdraw(desk.taker, 0, bytes(20)),
        desk.withdraw(desk.taker, 10**18, bytes(20)),
        desk.withdraw(desk.taker, 10**18, RECIPIENT),
    ]

    assert desk.settle(operations=operations).operations == [16, 5, 6, 3, 15, 17, 18, 19, 48]
    desk.age_prices(101)
    assert desk.settle(operations=[flawed(desk, limited)]).operations == [14]


def test_check__codes_that_consume_the_nonce__are_those_above_it(desk: Desk) -> None:
    """18 to 21: a second try with the same nonce is refused by the nonce, of any kind."""
    failing = [
        desk.withdraw(desk.taker, 0, RECIPIENT),
        desk.withdraw(desk.taker, 5, bytes(20)),
        desk.cancel_order(desk.taker, order_nonce(OPERATIONS, 5)),
        desk.link_key(desk.taker, KEY, markets=0),
    ]

    for operation, code in zip(failing, (18, 19, 20, 21), strict=True):
        again = desk.cancel_all(desk.taker, 1, seq=operation.seq)
        assert desk.settle(operations=[operation, again]).operations == [code, 17]


def test_check__called_by_anybody__answers_without_a_clock(desk: Desk) -> None:
    """A wallet or a relayer can ask beforehand, for any time: here a withdrawal that expires in a day."""
    message = withdrawal(desk)
    row = desk.operation(message, desk.taker)

    def ask(matched_at_s: int, flags: int = 0) -> int:
        word = row.kind << 248 | flags << 240 | row.account_id
        detail = row.expiry_s << 216 | row.seq << 176 | row.operand
        signature = (int.from_bytes(row.r, "big"), int.from_bytes(row.vs, "big"))
        domain = desk.chain.domain_separator
        return int(desk.chain.call("Operations", "check", domain, word, detail, row.value, *signature, matched_at_s))

    assert ask(message.expiry_s) == 0
    assert ask(message.expiry_s + 1) == 5
    assert ask(message.expiry_s - MAX_EXPIRY_S) == 0
    assert ask(message.expiry_s - MAX_EXPIRY_S - 1) == 6
    assert ask(message.expiry_s, OPERATION_SESSION_KEY) == 3
    assert ask(message.expiry_s, OPERATION_APPROVED) == 3
    approve(desk, message)
    assert ask(message.expiry_s, OPERATION_APPROVED) == 0


def test_operations__deployed__names_its_neighbours(desk: Desk) -> None:
    for name in ("CLEARINGHOUSE", "VAULT"):
        found = desk.chain.call("Operations", name)
        assert found.lower() == desk.chain.addresses[name.capitalize()].lower()
