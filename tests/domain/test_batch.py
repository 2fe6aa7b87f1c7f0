import json
from dataclasses import replace
from pathlib import Path

import pytest

from afterbell.domain.batch import (
    MAX_PAYLOAD_BYTES,
    OPERATION_APPROVED,
    OPERATION_SESSION_KEY,
    AccountRecord,
    BatchHeader,
    FillRow,
    OperationKind,
    OperationRow,
    OrderRecord,
    Payload,
    PriceRow,
    build_operation_row,
    compute_encoded_bytes,
    compute_head,
    decode,
    encode,
    hash_payload,
)
from afterbell.domain.errors import FieldOutOfRange, MalformedBatch
from afterbell.domain.ids import build_account_id
from afterbell.domain.order import CancelAll, CancelOrder, LinkKey, RevokeKey, Transfer, Withdraw
from tests.support.world import World

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "batch.json").read_text())
R, VS = b"\xa1" * 32, b"\xb2" * 32

# The table that tests/vectors/build.py lays out by hand.
FIRST_ORDER = OrderRecord(
    market_id=1, flags=0b10_0000_0101, lane=3, seq=99, size_lots=200, limit_ticks=15_000, max_fee_ppm=500,
    taker_fee_ppm=450, maker_fee_ppm=100, expiry_s=1_900_000_060, r=R, vs=VS, proof=(b"\xd1" * 32, b"\xd2" * 32),
)  # fmt: skip
SECOND_ORDER = OrderRecord(
    market_id=1, flags=0b101_0000, lane=0, seq=100, size_lots=100, limit_ticks=15_000, max_fee_ppm=500,
    taker_fee_ppm=450, maker_fee_ppm=100, expiry_s=1_900_000_060, r=R, vs=VS, trigger_kind=1, trigger_ticks=15_000,
)  # fmt: skip
WITHDRAWAL = OperationRow(
    kind=OperationKind.WITHDRAW, account_id=build_account_id(b"\x22" * 20, 0), expiry_s=1_900_000_060, seq=5,
    value=1_000_000, operand=int("ab" * 20, 16), r=R, vs=VS,
)  # fmt: skip
TABLE = Payload(
    header=BatchHeader(sequence=9, matched_at_s=1_900_000_000, direct_op=4, journal_hash=b"\x77" * 32),
    fills=(FillRow(maker_order=0, taker_order=1, size_lots=100),),
    rows=(
        PriceRow(market_id=1, mark_ticks=15_000, index_ticks=15_001, premium_ppb=-2, funding=1),
        PriceRow(market_id=2, mark_ticks=100, index_ticks=101, auction_ticks=102),
    ),
    evidence=b"\xab\xcd\xef",
    operations=(WITHDRAWAL,),
    accounts=(
        AccountRecord(account_id=build_account_id(b"\x11" * 20, 7), orders=(FIRST_ORDER,)),
        AccountRecord(account_id=build_account_id(b"\x22" * 20, 0), orders=(SECOND_ORDER,)),
    ),
)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def test_encode__table_with_every_section__equals_the_bytes_laid_out_by_hand() -> None:
    assert encode(TABLE).hex() == VECTOR["payload"][2:]


def test_decode__bytes_laid_out_by_hand__equals_the_table() -> None:
    assert decode(unhex(VECTOR["payload"])) == TABLE


OWNER, KEY = b"\x11" * 20, b"\xe1" * 20
ACCOUNT = build_account_id(OWNER, 7)
SIGNED = {"owner": OWNER, "subaccount": 7, "expiry_s": 1_900_000_060}
LINK = LinkKey(
    **SIGNED, seq=5, key=KEY, key_expiry_s=1_900_000_060, max_notional_quote=1_000_000, markets=0b101, trade_only=True,
    reduce_only=True,
)  # fmt: skip
OPERATIONS = [
    (LINK, 0),
    (RevokeKey(**SIGNED, seq=6, key=KEY), OPERATION_APPROVED),
    (Withdraw(**SIGNED, seq=7, quote=1_000_000, recipient=OWNER), OPERATION_SESSION_KEY),
    (CancelOrder(**SIGNED, seq=8, order_nonce=3 << 40 | 99), OPERATION_SESSION_KEY),
    (CancelAll(**SIGNED, seq=9, min_seq=1_000), 0),
    (Transfer(**SIGNED, seq=10, quote=1_000_000, to_subaccount=11), 0),
]
TABLE_WITH_KEYS = Payload(
    header=TABLE.header,
    operations=tuple(
        build_operation_row(
            message,
            r=bytes(32) if flags == OPERATION_APPROVED else R,
            vs=bytes(32) if flags == OPERATION_APPROVED else VS,
            flags=flags,
        )
        for message, flags in OPERATIONS
    ),
    accounts=(AccountRecord(account_id=ACCOUNT, orders=(replace(FIRST_ORDER, flags=0b1000_0011, proof=()),)),),
)


def test_encode__operations_by_owner_key_and_approval__equal_the_bytes_laid_out_by_hand() -> None:
    assert encode(TABLE_WITH_KEYS).hex() == VECTOR["payload_with_keys"][2:]


def test_decode__operations_laid_out_by_hand__are_the_messages_that_were_signed() -> None:
    decoded = decode(unhex(VECTOR["payload_with_keys"]))

    assert decoded == TABLE_WITH_KEYS
    assert [(row.to_message(), row.flags) for row in decoded.operations] == OPERATIONS
    assert decoded.accounts[0].orders[0].is_key_signed and not FIRST_ORDER.is_key_signed


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        (0, {"value": 1 << 138}), (0, {"flags": 3}), (0, {"flags": 4}), (1, {"value": 1}), (2, {"value": 1 << 64}),
        (3, {"value": 1 << 56}), (4, {"value": 1 << 40}), (4, {"kind": 0}), (4, {"kind": 7}), (5, {"value": 1 << 64}),
        (5, {"operand": 1 << 80}),
    ],
)  # fmt: skip
def test_operation__beyond_its_type_or_unknown_flag__is_no_message(place: int, changes: dict) -> None:
    assert replace(TABLE_WITH_KEYS.operations[place], **changes).to_message() is None


@pytest.mark.parametrize("place", [3, 4])
def test_operation__operand_of_a_cancellation__is_ignored(place: int) -> None:
    row = replace(TABLE_WITH_KEYS.operations[place], operand=2**160 - 1)

    assert row.to_message() == OPERATIONS[place][0]


def test_head__with_and_without_failures__equals_the_vector() -> None:
    previous_head, payload_hash = unhex(VECTOR["previous_head"]), hash_payload(unhex(VECTOR["payload"]))

    assert payload_hash.hex() == VECTOR["payload_hash"][2:]
    assert compute_head(previous_head, payload_hash, bytes(4)).hex() == VECTOR["head_without_failures"][2:]
    assert compute_head(previous_head, payload_hash, unhex(VECTOR["codes"])).hex() == VECTOR["head_with_codes"][2:]


def test_codec__two_hundred_random_batches__round_trips_and_knows_its_length() -> None:
    world = World(4, domain_separator=bytes(32), price_domain_separator=bytes(32))
    world.list_markets()
    for _ in range(200):
        batch = world.next_batch()
        world.settle(batch)

        assert decode(batch.payload) == batch.table
        assert len(batch.payload) == compute_encoded_bytes(
            n_fills=len(batch.table.fills),
            n_rows=len(batch.table.rows),
            n_evidence_bytes=len(batch.table.evidence),
            n_operations=len(batch.table.operations),
            n_accounts=len(batch.table.accounts),
            n_orders=batch.table.n_orders,
            n_triggers=sum(order.has_trigger for _, order in batch.table.list_orders()),
            n_proof_words=sum(1 + len(order.proof) for _, order in batch.table.list_orders() if order.is_bulk),
        )


def test_decode__reserved_bytes_and_padding_not_zero__are_ignored() -> None:
    payload = bytearray(encode(TABLE))
    payload[31] = payload[64 + 8] = payload[-1] = 0xFF

    assert decode(bytes(payload)) == TABLE


def with_accounts(*accounts: AccountRecord) -> Payload:
    return replace(TABLE, accounts=accounts)


def poke_into(table: Payload, offset: int, *values: int) -> bytes:
    """Return an encoded table with bytes overwritten."""
    payload = bytearray(encode(table))
    payload[offset : offset + len(values)] = bytes(values)
    return bytes(payload)


def poke(offset: int, *values: int) -> bytes:
    return poke_into(TABLE, offset, *values)


FIRST, SECOND = TABLE.accounts
PROOF_AT = 64 + 32 + 2 * 32 + 32 + 160 + 32 + 96
PROOF_LAST = replace(TABLE, fills=(), accounts=(FIRST,))
LANES_DOWN = replace(FIRST, orders=(FIRST_ORDER, replace(FIRST_ORDER, lane=2)))
MALFORMED = {
    "batch: version": poke(0, 1),
    "batch: length": encode(TABLE)[:-1],
    "batch: length, one more": encode(TABLE) + b"\0",
    "batch: length, header only in part": encode(TABLE)[:63],
    "batch: length, above the bound": encode(TABLE) + bytes(MAX_PAYLOAD_BYTES),
    "batch: too many, rows": poke(16, 33),
    "batch: too many, operations": poke(17, 17),
    "batch: too many, accounts": poke(18, 113),
    "batch: too many, orders": poke(19, 113),
    "batch: too many, fills": poke(20, 0, 209),
    "batch: too many, evidence": poke(22, 16, 1),
    "batch: fill index, maker": encode(replace(TABLE, fills=(FillRow(maker_order=2, taker_order=1, size_lots=1),))),
    "batch: fill index, taker": encode(replace(TABLE, fills=(FillRow(maker_order=0, taker_order=2, size_lots=1),))),
    "batch: fill index, an account's place": poke(64, 2),
    "batch: fill index, the first account's place": poke(65, 0),
    "batch: fill index, beyond the last place": poke(64, 4),
    "batch: length, a proof of nine words": poke(PROOF_AT + 31, 9),
    "batch: length, a proof longer than memory": poke(PROOF_AT, 1),
    "batch: length, a proof beyond the end": encode(PROOF_LAST)[:-32],
    "prices: market order": encode(replace(TABLE, rows=TABLE.rows[::-1])),
    "prices: market order, twice": encode(replace(TABLE, rows=(TABLE.rows[0], TABLE.rows[0]))),
    "batch: account order": encode(with_accounts(SECOND, FIRST)),
    "batch: account order, twice": encode(with_accounts(FIRST, FIRST)),
    "batch: account order, account zero": encode(with_accounts(replace(FIRST, account_id=0), SECOND)),
    "batch: lane order": encode(with_accounts(LANES_DOWN, SECOND)),
    "batch: length, an order more than there is": poke(19, 3),
    "batch: order count, too many": poke_into(replace(TABLE, fills=(), operations=()), 19, 1),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_decode__one_flaw__raises_the_contracts_revert_string(name: str) -> None:
    with pytest.raises(MalformedBatch) as caught:
        decode(MALFORMED[name])

    assert caught.value.reason == name.split(",", maxsplit=1)[0]


@pytest.mark.parametrize(
    "order",
    [replace(FIRST_ORDER, size_lots=2**48), replace(FIRST_ORDER, seq=2**40), replace(FIRST_ORDER, limit_ticks=-1)],
)
def test_encode__field_out_of_range__raises_instead_of_wrapping(order: OrderRecord) -> None:
    with pytest.raises(FieldOutOfRange):
        encode(with_accounts(replace(FIRST, orders=(order,)), SECOND))
