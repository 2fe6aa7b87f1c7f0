"""A signature binds every field, one contract, one chain, one account, one kind of message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import OrderRecord
from afterbell.domain.ids import AccountId
from afterbell.domain.order import FLAG_IS_BUY, FLAG_POST_ONLY, FLAG_REDUCE_ONLY, Withdraw
from afterbell.signing.keys import CURVE_ORDER
from afterbell.signing.typed_data import digest
from tests.contracts.desk import LOTS, Desk, Placed, signing_key

BAD_SIGNATURE = 3
S_MASK = (1 << 255) - 1


def _code(desk: Desk, placed: Placed) -> int:
    return desk.settle([placed]).orders[0]


def _with(placed: Placed, **changes: object) -> Placed:
    return replace(placed, record=replace(placed.record, **changes))  # type: ignore[arg-type]


def test_signature__owners__valid_as_the_lens_digests_it(desk: Desk) -> None:
    assert _code(desk, desk.order(desk.maker, buy=False)) == 0


CHANGED: list[tuple[str, dict[str, int]]] = [
    ("market", {"market_id": 2}),
    ("side", {"flags": FLAG_IS_BUY}),
    ("reduce only", {"flags": FLAG_REDUCE_ONLY}),
    ("post only", {"flags": FLAG_POST_ONLY}),
    ("time in force 1", {"flags": 1 << 3}),
    ("time in force 2", {"flags": 1 << 4}),
    ("lane", {"lane": 1}),
    ("seq", {"seq": 1 << 39}),
    ("size", {"size_lots": LOTS + 10}),
    ("limit", {"limit_ticks": 10_005}),
    ("max fee", {"max_fee_ppm": 501}),
    ("expiry", {"expiry_s": 1_900_000_002}),
]


@pytest.mark.parametrize("changes", [case[1] for case in CHANGED], ids=[case[0] for case in CHANGED])
def test_signature__field_changed_after_signing__refused(desk: Desk, changes: dict[str, int]) -> None:
    placed = desk.order(desk.maker, buy=False, lane=0)

    assert _code(desk, _with(placed, **changes)) == BAD_SIGNATURE


def test_signature__owner_or_subaccount_changed__refused(desk: Desk) -> None:
    placed = desk.order(desk.maker, buy=False)

    for account_id in (desk.account(desk.maker, 1), desk.account(desk.taker), AccountId(placed.account_id ^ 1 << 79)):
        assert _code(desk, replace(placed, account_id=account_id)) == BAD_SIGNATURE


def test_signature__trigger_changed_or_dropped__refused(desk: Desk) -> None:
    placed = desk.order(desk.maker, buy=False, trigger_kind=1, trigger_ticks=9_000)

    assert _code(desk, placed) == 0
    assert _code(desk, _with(placed, trigger_ticks=9_001)) == BAD_SIGNATURE
    assert _code(desk, _with(placed, trigger_kind=3)) == BAD_SIGNATURE
    assert _code(desk, _with(placed, flags=placed.record.flags & ~(1 << 6))) == BAD_SIGNATURE


def test_signature__another_key__refused(desk: Desk) -> None:
    assert _code(desk, desk.order(desk.maker, buy=False, signer=desk.taker)) == BAD_SIGNATURE


@pytest.mark.parametrize("bit", range(0, 512, 7))
def test_signature__one_bit_flipped__refused(desk: Desk, bit: int) -> None:
    record: OrderRecord = desk.order(desk.maker, buy=False).record
    flipped = (int.from_bytes(record.r + record.vs, "big") ^ 1 << bit).to_bytes(64, "big")

    broken = Placed(account_id=desk.account(desk.maker), record=replace(record, r=flipped[:32], vs=flipped[32:]))
    assert _code(desk, broken) == BAD_SIGNATURE


@pytest.mark.parametrize("key", ["maker", "zero"])
@pytest.mark.parametrize("r", [0, 1, CURVE_ORDER, (1 << 256) - 1])
@pytest.mark.parametrize("vs", [0, 1, 1 << 255, (1 << 256) - 1])
def test_signature__degenerate__never_passes_even_for_owner_zero(desk: Desk, key: str, r: int, vs: int) -> None:
    placed = _with(desk.order(desk.maker, buy=False), r=r.to_bytes(32, "big"), vs=vs.to_bytes(32, "big"))
    if key == "zero":
        placed = replace(placed, account_id=AccountId(1))

    assert _code(desk, placed) == BAD_SIGNATURE


def test_signature__high_s_twin__refused(desk: Desk) -> None:
    placed = desk.order(desk.maker, buy=False)
    vs = int.from_bytes(placed.record.vs, "big")
    twin = (CURVE_ORDER - (vs & S_MASK)) | ((vs >> 255 ^ 1) << 255)

    assert _code(desk, _with(placed, vs=(twin & (1 << 256) - 1).to_bytes(32, "big"))) == BAD_SIGNATURE


def test_signature__another_contract_or_chain__refused(desk: Desk) -> None:
    other_chain = Desk.open(chain_id=31_338).chain.domain_separator

    assert other_chain != desk.chain.domain_separator
    assert _code(desk, desk.order(desk.maker, buy=False, domain_separator=other_chain)) == BAD_SIGNATURE
    prices = desk.chain.price_domain_separator
    assert _code(desk, desk.order(desk.maker, buy=False, domain_separator=prices)) == BAD_SIGNATURE


def test_signature__of_one_operation__is_not_another(desk: Desk) -> None:
    """CancelAll and CancelOrder carry the same numbers; their type hashes differ."""
    account, cancel = desk.cancel_all(desk.maker, 5)

    assert desk.settle(operations=[(account, replace(cancel, kind=2))]).operations == [BAD_SIGNATURE]
    assert desk.settle(operations=[(account, replace(cancel, seq=cancel.seq + 1))]).operations == [BAD_SIGNATURE]
    assert desk.settle(operations=[(account, replace(cancel, expiry_s=cancel.expiry_s - 1))]).operations == [
        BAD_SIGNATURE
    ]
    assert desk.settle(operations=[(account, replace(cancel, value=6))]).operations == [BAD_SIGNATURE]
    assert desk.settle(operations=[(account, cancel)]).operations == [0]


def test_digest__lens__is_what_wallets_sign(desk: Desk) -> None:
    """The chain's digest of a withdrawal equals the signing package's."""
    key = signing_key("maker")
    message = Withdraw(owner=key.address, subaccount=3, quote=7, recipient=b"\xcc" * 20, expiry_s=9, seq=11)
    account = desk.account(key, 3)

    on_chain = desk.chain.call("Lens", "operation_digest", account, 1, 7, "0x" + "cc" * 20, 9, 11)

    assert on_chain == digest(message, desk.chain.domain_separator)
