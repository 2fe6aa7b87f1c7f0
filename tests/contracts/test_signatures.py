"""Signatures: one form only, one signer only, every signed bit counts, and nothing signed here counts elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, Final

import pytest

from afterbell.domain.batch import encode
from afterbell.domain.codes import StatusCode
from afterbell.domain.digests import ORDER_TYPE
from afterbell.domain.ids import AccountId
from afterbell.domain.order import (
    CancelAll,
    CancelOrder,
    LinkKey,
    RevokeKey,
    TimeInForce,
    Transfer,
    TriggerKind,
    Withdraw,
)
from afterbell.signing.keys import CURVE_ORDER
from afterbell.signing.typed_data import digest, exchange_domain, parse_type
from tests.contracts.venue import (
    MAKER,
    RULES,
    STRANGER,
    TAKER,
    THIRD,
    TICKS,
    USDC,
    Venue,
    account_of,
)
from tests.support.chain import CHAIN_ID, Chain

ACCOUNT = account_of(MAKER)
PARITY: Final = 1 << 255
BAD: Final = StatusCode.BAD_SIGNATURE


@pytest.fixture(scope="module")
def opened() -> Venue:
    """Return one venue for tests that fill nothing. Its rules refuse as little as they can: the signature has to."""
    rules = replace(RULES, size_step_lots=1, price_step_ticks=1, min_notional_quote=0)
    return Venue.open(rules=replace(rules, open_interest_cap_lots=20_000_000))


def order_codes(venue: Venue, account: int, record: Any) -> list[int]:
    settled = venue.settle([(account, record)])
    return settled.orders


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


# Forms of a signature.


def test_order_signature__of_the_owner__passes(opened: Venue) -> None:
    assert order_codes(opened, *opened.order(MAKER, is_buy=True)) == [0]


def test_order_signature__in_any_other_form__fails(opened: Venue) -> None:
    """High s, the twin (n - s, other parity), the wrong parity, zeros, numbers outside the group."""
    account, record = opened.order(MAKER, is_buy=True)
    r = int.from_bytes(record.r, "big")
    vs = int.from_bytes(record.vs, "big")
    s, parity = vs & (PARITY - 1), vs >> 255
    high = CURVE_ORDER - s
    forms = {
        "high s in the low 255 bits": (r, high & (PARITY - 1) | parity << 255),
        "high s as it is": (r, high),
        "malleated twin": (r, (high & (PARITY - 1)) | (parity ^ 1) << 255),
        "other parity": (r, vs ^ PARITY),
        "s zero": (r, parity << 255),
        "r zero": (0, vs),
        "both zero": (0, 0),
        "both zero, parity": (0, PARITY),
        "s just above half": (r, CURVE_ORDER // 2 + 1),
        "s = n": (r, CURVE_ORDER & (PARITY - 1)),
        "r = n": (CURVE_ORDER, vs),
        "r beyond the field": (2**256 - 1, vs),
        "r + 1": (r + 1, vs),
        "s + 1": (r, vs + 1),
        "swapped": (vs, r),
    }
    codes = {
        name: order_codes(opened, account, replace(record, r=word(a), vs=word(b))) for name, (a, b) in forms.items()
    }
    assert codes == {name: [BAD] for name in forms}


def test_operation_signature__in_any_other_form__fails_and_consumes_nothing(opened: Venue) -> None:
    row = opened.withdraw(MAKER, USDC)
    vs = int.from_bytes(row.vs, "big")
    high = CURVE_ORDER - (vs & (PARITY - 1))
    before = opened.lane(ACCOUNT, 65_535)
    for r, other in (
        (row.r, word(vs ^ PARITY)), (row.r, word(high & (PARITY - 1) | ~vs & PARITY)), (row.r, word(high)),
        (bytes(32), row.vs), (row.r, bytes(32)), (bytes(32), bytes(32)), (row.vs, row.r),
    ):  # fmt: skip
        assert opened.settle(operations=[replace(row, r=r, vs=other)]).operations == [BAD]
    assert opened.lane(ACCOUNT, 65_535) == before


def test_order_signature__of_somebody_else__fails(opened: Venue) -> None:
    for signer in (TAKER, STRANGER):
        assert order_codes(opened, *opened.order(MAKER, is_buy=True, signer=signer)) == [BAD]
        assert opened.settle(operations=[opened.operation(_withdraw(opened), signer=signer)]).operations == [BAD]


@pytest.mark.parametrize("r", [0, 1, 2**255])
def test_signature__that_recovers_zero__does_not_make_the_zero_address_an_owner(opened: Venue, r: int) -> None:
    """ecrecover answers zero for a signature nobody made; account 1 belongs to owner zero, subaccount 1."""
    _, record = opened.order(MAKER, is_buy=True, record_changes={"r": word(r), "vs": bytes(32)})
    row = opened.withdraw(MAKER, USDC)

    settled = opened.settle([(1, record)], operations=[replace(row, account_id=AccountId(1), r=word(r), vs=bytes(32))])

    assert (settled.orders, settled.operations) == ([BAD], [BAD])


# Every signed bit.


def _withdraw(venue: Venue, **changes: Any) -> Withdraw:
    message = Withdraw(
        owner=MAKER.address, subaccount=0, quote=5 * USDC, recipient=MAKER.address, expiry_s=venue.chain.time_s + 60,
        seq=venue.seq + 1_000_000,
    )  # fmt: skip
    return replace(message, **changes)


# Fields of the order record and how many bits each has; the owner and the subaccount stand in the account record.
ORDER_BITS: Final = {
    "market_id": 8, "size_lots": 48, "limit_ticks": 40, "max_fee_ppm": 16, "expiry_s": 40, "lane": 16, "seq": 40,
    "trigger_kind": 8, "trigger_ticks": 40, "flags": 16,
}  # fmt: skip
UNSIGNED_ORDER_FIELDS: Final = {"taker_fee_ppm", "maker_fee_ppm", "r", "vs", "proof"}


@pytest.mark.parametrize("field", ORDER_BITS)
def test_order__any_bit_of_a_signed_field_flipped__never_passes(opened: Venue, field: str) -> None:
    """A flip either breaks a rule asked before the signature or the signature itself: the code is never zero."""
    account, record = opened.order(
        MAKER, is_buy=True, trigger_kind=TriggerKind.INDEX_AT_OR_ABOVE, trigger_ticks=TICKS, market_id=4, lane=40,
        max_fee_ppm=700,
    )  # fmt: skip
    flipped = [
        replace(record, **{field: getattr(record, field) ^ 1 << bit})
        for bit in range(ORDER_BITS[field])
        # without has_trigger the record is a word shorter: the trigger then reads as zero, tried below
        if not (field == "flags" and bit == 6)
    ]
    assert order_codes(opened, account, record) == [0]
    codes = [order_codes(opened, account, one)[0] for one in flipped]
    assert 0 not in codes
    assert BAD in codes


def test_order__record_fields__are_all_signed_or_named_here(opened: Venue) -> None:
    _, record = opened.order(MAKER, is_buy=True)

    assert set(type(record).__slots__) == set(ORDER_BITS) | UNSIGNED_ORDER_FIELDS


def test_order__fee_rates_chosen_by_the_sequencer__are_free_up_to_the_signed_maximum(opened: Venue) -> None:
    def code(fees: tuple[int, int]) -> int:
        return order_codes(opened, *opened.order(MAKER, is_buy=True, max_fee_ppm=500, fees=fees))[0]

    assert [code((0, 0)), code((500, 500))] == [0, 0]
    assert [code((501, 0)), code((0, 501))] == [StatusCode.FEE_ABOVE_MAXIMUM] * 2


def test_order__trigger_left_out_by_the_sequencer__fails(opened: Venue) -> None:
    """A stop order without its condition would be a market order."""
    account, record = opened.order(
        MAKER, is_buy=True, trigger_kind=TriggerKind.MARK_AT_OR_ABOVE, trigger_ticks=2 * TICKS
    )
    assert order_codes(opened, account, record) == [StatusCode.TRIGGER_NOT_MET]

    bare = replace(record, flags=record.flags & ~(1 << 6), trigger_kind=0, trigger_ticks=0)

    assert order_codes(opened, account, bare) == [BAD]


@pytest.mark.parametrize("kind", [0, 5, 255])
def test_order__trigger_of_unknown_kind__fails_even_when_signed(opened: Venue, kind: int) -> None:
    account, record = opened.order(
        MAKER, is_buy=True, trigger_kind=kind, trigger_ticks=1,
        record_changes={"flags": 1 | 1 << 6},
    )  # fmt: skip
    assert order_codes(opened, account, record) == [StatusCode.UNKNOWN_FLAGS]


@pytest.mark.parametrize("bit", range(10, 16))
def test_order__reserved_flag__is_refused(opened: Venue, bit: int) -> None:
    """Nobody may have signed what a bit will mean one day."""
    account, record = opened.order(MAKER, is_buy=True)

    assert order_codes(opened, account, replace(record, flags=record.flags | 1 << bit)) == [StatusCode.UNKNOWN_FLAGS]


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 4])
def test_order__flag_that_is_signed__cannot_be_turned(opened: Venue, bit: int) -> None:
    account, record = opened.order(MAKER, is_buy=True)
    turned = replace(record, flags=record.flags ^ 1 << bit)

    # post-only with an immediate order is a rule of its own; here it never comes to that
    assert order_codes(opened, account, turned) == [BAD]


@pytest.mark.parametrize("bit", [*range(80), 80, 100, 239])
def test_order__bit_of_subaccount_or_owner_flipped__fails(opened: Venue, bit: int) -> None:
    account, record = opened.order(MAKER, is_buy=True)

    assert order_codes(opened, account ^ 1 << bit, record) == [BAD]


def test_order__of_another_epoch__fails() -> None:
    """Epoch 2 is injected: the epoch is hashed in, so an order of epoch 1 lives on only as previous_epoch, reducing."""
    venue = Venue.open()
    old_plain = venue.order(MAKER, is_buy=True)
    old_reducing = venue.order(MAKER, is_buy=True, reduce_only=True)
    assert order_codes(venue, *old_plain) == [0]
    venue.chain.write_word("prices", 1, replace(venue.price(), epoch=2).pack())

    flagged = [(account, replace(record, flags=record.flags | 1 << 5)) for account, record in (old_plain, old_reducing)]

    assert venue.settle([old_plain]).orders == [BAD]
    assert venue.settle([flagged[0]]).orders == [StatusCode.WRONG_EPOCH]
    assert venue.settle([flagged[1]]).orders == [0]
    assert venue.settle([venue.order(MAKER, is_buy=True, epoch=2)]).orders == [0]


def test_order__previous_epoch_at_epoch_one__is_refused(opened: Venue) -> None:
    account, record = opened.order(MAKER, is_buy=True, reduce_only=True, epoch=0)

    assert order_codes(opened, account, replace(record, flags=record.flags | 1 << 5)) == [StatusCode.WRONG_EPOCH]


OPERATION_BITS: Final = {"value": 256, "expiry_s": 40, "seq": 40, "operand": 160}
MESSAGES: Final[dict[str, Callable[[Venue], Any]]] = {
    "Withdraw": lambda venue: venue.withdraw(MAKER, 5 * USDC),
    "CancelOrder": lambda venue: venue.cancel(MAKER, 9 << 40 | 77),
    "CancelAll": lambda venue: venue.cancel_all(MAKER, 3),
    "Transfer": lambda venue: venue.operation(
        Transfer(
            owner=MAKER.address, quote=5 * USDC, to_subaccount=3, expiry_s=venue.chain.time_s + 60,
            seq=venue.seq + 1_000_000,
        )
    ),
    "LinkKey": lambda venue: venue.operation(
        LinkKey(
            owner=MAKER.address, key=STRANGER.address, key_expiry_s=venue.chain.time_s, max_notional_quote=5, markets=6,
            trade_only=True, expiry_s=venue.chain.time_s + 60, seq=venue.seq + 1_000_000,
        )
    ),
    "RevokeKey": lambda venue: venue.operation(
        RevokeKey(
            owner=MAKER.address, key=STRANGER.address, expiry_s=venue.chain.time_s + 60, seq=venue.seq + 1_000_000
        )
    ),
}  # fmt: skip
CANCELLATIONS: Final = ("CancelOrder", "CancelAll")
OPERATION_FLIPS = [
    (name, field)
    for name, field in product(MESSAGES, OPERATION_BITS)
    if not (field == "operand" and name in CANCELLATIONS)
]


@pytest.mark.parametrize(("name", "field"), OPERATION_FLIPS)
def test_operation__any_bit_of_a_signed_field_flipped__never_passes(opened: Venue, name: str, field: str) -> None:
    row = MESSAGES[name](opened)
    operations = [replace(row, **{field: getattr(row, field) ^ 1 << bit}) for bit in range(OPERATION_BITS[field])]
    before = opened.chain.call("Clearinghouse", "account_word", ACCOUNT), opened.lane(ACCOUNT, 65_535)
    allowed = {BAD, StatusCode.UNKNOWN_OPERATION, StatusCode.EXPIRED, StatusCode.EXPIRY_TOO_FAR}

    codes: list[int] = []
    for at in range(0, len(operations), 16):
        codes += opened.settle(operations=operations[at : at + 16]).operations

    assert set(codes) <= allowed
    # nothing but zero is a word 1 of a revocation
    assert (BAD in codes) is ((name, field) != ("RevokeKey", "value"))
    assert before == (opened.chain.call("Clearinghouse", "account_word", ACCOUNT), opened.lane(ACCOUNT, 65_535))


@pytest.mark.parametrize("name", MESSAGES)
def test_operation__bit_of_owner_or_subaccount_flipped__fails(opened: Venue, name: str) -> None:
    row = MESSAGES[name](opened)
    account = row.account_id
    flipped = [account ^ 1 << bit for bit in (0, 1, 40, 79, 80, 160, 239)]

    operations = [replace(row, account_id=AccountId(other)) for other in flipped]
    assert opened.settle(operations=operations).operations == [BAD] * 7


@pytest.mark.parametrize("name", MESSAGES)
def test_operation__recipient_of_a_cancellation__is_not_signed_and_not_used(opened: Venue, name: str) -> None:
    row = MESSAGES[name](opened)
    settled = opened.settle(operations=[replace(row, operand=2**160 - 1)])

    # a subaccount has 80 bits
    wide = {"Transfer": StatusCode.UNKNOWN_OPERATION}.get(name, BAD)
    assert settled.operations == [0 if name in CANCELLATIONS else wide]


# Other types, contracts, chains, accounts.


@pytest.mark.parametrize(
    ("signed", "claimed"),
    [(kind, other) for kind, other in product((1, 2, 3, 5), (0, 1, 2, 3, 4, 5, 6, 7, 8, 255)) if kind != other],
)
def test_operation__of_one_kind_sent_as_another__fails(opened: Venue, signed: int, claimed: int) -> None:
    """The same numbers everywhere: quote = order nonce = min_seq = limits. Kinds 0, 4, 7, 8 and 255 nobody can sign.

    A revocation has no word 1, so here it is never well formed.
    """
    common = {"owner": MAKER.address, "expiry_s": opened.chain.time_s + 60, "seq": opened.seq + 2_000_000}
    messages: dict[int, Any] = {
        1: Withdraw(quote=77, recipient=MAKER.address, **common),
        2: CancelOrder(order_nonce=77, **common),
        3: CancelAll(min_seq=77, **common),
        5: LinkKey(key=MAKER.address, key_expiry_s=77, max_notional_quote=0, markets=0, **common),
    }
    row = opened.operation(messages[signed])
    assert row.value == 77
    recipient = int.from_bytes(MAKER.address, "big")
    expected = BAD if claimed in (1, 2, 3, 5) else StatusCode.UNKNOWN_OPERATION

    settled = opened.settle(operations=[replace(row, kind=claimed, operand=recipient)])

    assert settled.operations == [expected]


@pytest.mark.parametrize(("signed", "claimed"), [(2, 6), (3, 6), (6, 2), (6, 3)])
def test_operation__revocation_and_cancellation_of_nothing__are_not_one(
    opened: Venue, signed: int, claimed: int
) -> None:
    """With word 1 zero: CancelOrder and RevokeKey have the same number of fields, and nothing else in common."""
    common = {"owner": MAKER.address, "expiry_s": opened.chain.time_s + 60, "seq": opened.seq + 2_000_000}
    messages: dict[int, Any] = {
        2: CancelOrder(order_nonce=0, **common),
        3: CancelAll(min_seq=0, **common),
        6: RevokeKey(key=bytes(20), **common),
    }
    row = opened.operation(messages[signed])

    assert opened.settle(operations=[replace(row, kind=claimed)]).operations == [BAD]


def test_order__signature_of_an_operation_as_an_order_and_back__fails(opened: Venue) -> None:
    account, record = opened.order(MAKER, is_buy=True)
    row = opened.withdraw(MAKER, USDC)

    settled = opened.settle(
        [(account, replace(record, r=row.r, vs=row.vs))],
        operations=[replace(row, r=record.r, vs=record.vs)],
    )

    assert (settled.orders, settled.operations) == ([BAD], [BAD])


@pytest.mark.parametrize(("chain_id", "contract"), [(CHAIN_ID + 1, None), (1, None), (CHAIN_ID, b"\xc1" * 20)])
def test_message__signed_for_another_chain_or_contract__fails(
    opened: Venue, chain_id: int, contract: bytes | None
) -> None:
    here = bytes.fromhex(opened.chain.addresses["Clearinghouse"][2:])
    elsewhere = exchange_domain(chain_id, contract or here).separator()
    assert exchange_domain(CHAIN_ID, here).separator() == opened.chain.domain_separator

    settled = opened.settle(
        [opened.order(MAKER, is_buy=True, domain=elsewhere)],
        operations=[opened.operation(_withdraw(opened), domain=elsewhere)],
    )

    assert (settled.orders, settled.operations) == ([BAD], [BAD])


def test_message__on_a_twin_deployment_of_another_chain__fails_there() -> None:
    """Same deployer, same nonces, same addresses, another chain id: what was signed here is worth nothing there."""
    here, there = Venue.open(), Venue.open(chain_id=CHAIN_ID + 1)
    assert here.chain.addresses == there.chain.addresses
    order, withdrawal = here.order(MAKER, is_buy=True), here.withdraw(MAKER, USDC)

    settled = there.settle([order], operations=[withdrawal])

    assert (settled.orders, settled.operations) == ([BAD], [BAD])
    settled = here.settle([order], operations=[withdrawal])
    assert settled.is_clean


def test_message__after_the_chain_id_changed__needs_the_new_one() -> None:
    """A fork of the chain takes the contracts with it; the separator is computed again there."""
    venue = Venue.open()
    old = venue.chain.domain_separator
    forked = fork(venue.chain, CHAIN_ID + 7)
    here = bytes.fromhex(venue.chain.addresses["Clearinghouse"][2:])
    new = exchange_domain(CHAIN_ID + 7, here).separator()
    venue = Venue(forked, seq=venue.seq)
    assert venue.chain.domain_separator == new

    settled = venue.settle([venue.order(MAKER, is_buy=True, domain=old), venue.order(MAKER, is_buy=True, domain=new)])

    assert settled.orders == [BAD, 0]


def fork(chain: Chain, chain_id: int) -> Chain:
    """Return the same contracts and the Clearinghouse's storage on a machine with another chain id."""
    evm = Chain._new_machine(chain.time_s, chain_id)
    for name, address in chain.addresses.items():
        if name in chain.contracts:
            evm.insert_account_info(address, chain.evm.basic(address))
    copied = Chain(evm=evm, addresses=chain.addresses, contracts=chain.contracts, time_s=chain.time_s)
    clearinghouse = chain.addresses["Clearinghouse"]
    for variable in ("batch", "operator", "head"):
        copied.write_value(variable, int(chain.evm.storage(clearinghouse, chain._slot(variable))))
    for market in range(1, 9):
        copied.write_word("prices", market, chain.read_word("prices", market))
        copied.write_word("rules", market << 8 | 2, chain.read_word("rules", market << 8 | 2))
    for key in (MAKER, TAKER):
        slot = account_of(key) << 16
        copied.write_word("accounts", slot, chain.read_word("accounts", slot))
    vault = chain.addresses["Vault"]
    for slot in range(4):
        evm.insert_account_storage(vault, slot, chain.evm.storage(vault, slot))
    return copied


def test_order__for_one_subaccount__fails_on_the_others(opened: Venue) -> None:
    _, record = opened.order(MAKER, is_buy=True, subaccount=3)

    settled = opened.settle([(account_of(MAKER, subaccount), record) for subaccount in (0, 3, 4)])

    assert settled.orders == [BAD, 0, BAD]


# One fill keeps everyone else's.


def test_settle__some_signatures_bad__settles_the_fills_of_the_others() -> None:
    venue = Venue.open()
    venue.chain.deposit(account_of(THIRD), 10_000 * USDC)
    forged = venue.order(MAKER, is_buy=False, signer=STRANGER)
    good = venue.order(THIRD, is_buy=False)
    bid = venue.order(TAKER, is_buy=True, time_in_force=TimeInForce.IOC)

    settled = venue.settle([forged, good, bid], [(0, 2, 500), (1, 2, 500)])

    assert settled.fills == [StatusCode.ORDER_INVALID, 0]
    assert venue.position(account_of(TAKER)).size_lots == 500


# What is signed is what the contract hashes.


@pytest.mark.parametrize("with_trigger", [False, True])
def test_lens__order_digest__equals_the_wallets(opened: Venue, with_trigger: bool) -> None:
    trigger = {"trigger_kind": TriggerKind.INDEX_AT_OR_BELOW, "trigger_ticks": 33_333} if with_trigger else {}
    account, record = opened.order(MAKER, is_buy=True, subaccount=2**80 - 1, lane=65_534, reduce_only=True, **trigger)
    payload = encode(opened.table([(account, record)]))
    at = len(payload) - (128 if with_trigger else 96)
    words = [int.from_bytes(payload[at + 32 * i : at + 32 * i + 32], "big") for i in range(4 if with_trigger else 3)]
    expected = digest(record.to_order(account, 1), opened.chain.domain_separator)

    assert opened.chain.call("Lens", "order_digest", account, 1, words[0], words[3] if with_trigger else 0) == expected


@pytest.mark.parametrize("name", MESSAGES)
def test_lens__operation_digest__equals_the_wallets(opened: Venue, name: str) -> None:
    row = MESSAGES[name](opened)
    account = row.account_id
    expected = digest(row.to_message(), opened.chain.domain_separator)
    # not read for cancellations
    second = 7 if name in CANCELLATIONS else row.operand

    found = opened.chain.call("Lens", "operation_digest", account, row.kind, row.value, second, row.expiry_s, row.seq)

    assert found == expected


def test_order__type_string__has_the_fields_this_file_flips() -> None:
    """A field added to the type string must be flipped here too."""
    names = {field["name"] for field in parse_type(ORDER_TYPE)[1]}

    assert names == {
        "owner", "subaccount", "market", "epoch", "isBuy", "sizeLots", "limitTicks", "maxFeePpm", "expiry", "nonce",
        "reduceOnly", "postOnly", "timeInForce", "triggerTicks", "triggerKind",
    }  # fmt: skip
