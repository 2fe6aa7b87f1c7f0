"""Every command comes back from the journal as it went in."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from afterbell.adapters.command_codec import decode_command, encode_command
from afterbell.domain.commands import (
    AdoptDirectOperation,
    AdoptPrices,
    CancelAll,
    CancelOrder,
    Command,
    ConfirmBatch,
    CreditDeposit,
    HaltMarket,
    LinkKey,
    ListMarket,
    RequestTransfer,
    RequestWithdrawal,
    RevokeKey,
    SealBatch,
    SetMarketRules,
)
from tests.engine.support import Venue

ACCOUNT = (1 << 240) - 1
SIGNED = {"expiry_s": 1, "nonce": (1 << 56) - 1, "r": b"\x01" * 32, "vs": b"\x02" * 32}
COMMANDS: list[Command] = [
    ListMarket(market=1, symbol="AAPL", epoch=1, lot_exponent=4, ticks_per_usd=100, synthetic=True),
    SetMarketRules(market=1, session=2, rules_word=b"\xff" * 32),
    AdoptPrices(
        rows=((1, 2, 3, 4), (2, 2, 3, 4)), stated=((1, (1 << 40) - 1, 3, 4, 5, 6), (2, 1, 1, 1, 1, 1)), evidence=b"\0\1"
    ),
    Venue().build_order(1, is_buy=True, size_lots=(1 << 48) - 1, limit_ticks=1, client_id="ü"),
    CancelOrder(account=ACCOUNT, order_nonce=7, **SIGNED),  # type: ignore[arg-type]
    CancelAll(account=0, min_seq_ms=7, **SIGNED),  # type: ignore[arg-type]
    RequestWithdrawal(
        withdrawal_id=b"\x03" * 32,
        account=ACCOUNT,
        quote=(1 << 64) - 1,
        recipient=b"\x04" * 20,
        **SIGNED,  # type: ignore[arg-type]
    ),
    RequestTransfer(
        transfer_id=b"\x10" * 32,
        account=ACCOUNT,
        to_subaccount=(1 << 64) - 1,
        quote=(1 << 64) - 1,
        **SIGNED,  # type: ignore[arg-type]
    ),
    LinkKey(
        operation_id=b"\x0a" * 32,
        account=ACCOUNT,
        key=b"\x0b" * 20,
        key_expiry_s=(1 << 40) - 1,
        max_notional_quote=(1 << 64) - 1,
        markets=(1 << 32) - 1,
        trade_only=True,
        reduce_only=False,
        **SIGNED,  # type: ignore[arg-type]
    ),
    RevokeKey(operation_id=b"\x0c" * 32, account=ACCOUNT, key=b"\x0d" * 20, **SIGNED),  # type: ignore[arg-type]
    AdoptDirectOperation(
        direct_op=2,
        kind=3,
        account=ACCOUNT,
        subject=b"\x0e" * 32,
        word=b"\xff" * 32,
        time_s=(1 << 40) - 1,
        block=1,
        transaction=b"\x0f" * 32,
        after_batch=9,
        records=b"\xff" * 96,
        price_word=b"\x01" * 32,
        index_word=b"\x02" * 32,
    ),
    CreditDeposit(direct_op=1, account=ACCOUNT, quote=1, sender=b"\x05" * 20, block=1, transaction=b"\x06" * 32),
    SealBatch(journal_hash=b"\x07" * 32),
    ConfirmBatch(sequence=1, head=b"\x08" * 32, codes=b"\0\x30", block=1, transaction=b"\x09" * 32, gas_used=1),
    HaltMarket(market=1, reason="split"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_codec__command__round_trips(command: Command) -> None:
    actual = decode_command(encode_command(command))

    assert actual == command
    assert type(actual) is type(command)


def test_codec__all_commands__are_tested() -> None:
    assert {type(command) for command in COMMANDS} == set(get_args(Command))


def test_codec__account__is_thirty_bytes() -> None:
    payload = msgspec.msgpack.decode(encode_command(COMMANDS[4]))

    assert payload["type"] == "CancelOrder"
    assert payload["account"] == b"\xff" * 30


@pytest.mark.parametrize("account", [-1, 1 << 240])
def test_codec__account_outside_240_bits__is_refused(account: int) -> None:
    with pytest.raises(ValueError, match="does not fit the journal"):
        encode_command(CancelOrder(account=account, order_nonce=7, **SIGNED))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "Unknown"},
        {"type": "HaltMarket", "market": 1},
        {"type": "HaltMarket", "market": 1, "reason": "", "x": 1},
    ],
)
def test_codec__fields_no_command_has__are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_command(msgspec.msgpack.encode(fields))
