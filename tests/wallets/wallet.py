"""What a wallet signs for the venue, made by eth_account, and how a batch carries what a session key signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from eth_account.messages import SignableMessage, encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from afterbell.domain.batch import OperationRow, OrderRecord, build_operation_row
from afterbell.domain.hashing import keccak
from afterbell.domain.order import Withdraw
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import USDC, Venue
from tests.support.chain import CHAIN_ID, START_S

SESSION_KEY: Final = SigningKey(b"\x5e" * 32)
SESSION_ADDRESS: Final = str(to_checksum_address(SESSION_KEY.address))
LIMITS: Final = (START_S + 86_400) | 5_000 * USDC << 40 | 0b11 << 104 | 1 << 136
"""A day, 5,000 USDC an order, markets 1 and 2, trade only."""
LINKED: Final = 1 << 255
APPROVED: Final = 2
_SESSION_KEY_FLAG: Final = 1 << 7
_OPERATION_LANE: Final = 65_535
_WITHDRAW: Final = [
    ("owner", "address"), ("subaccount", "uint80"), ("quote", "uint64"), ("recipient", "address"), ("expiry", "uint40"),
    ("nonce", "uint56"),
]  # fmt: skip


def order_by_key(
    venue: Venue, owner: str, *, signer: SigningKey = SESSION_KEY, **changes: Any
) -> tuple[int, OrderRecord]:
    """Return (account, record) of an order for an owner's account that a session key signed."""
    account, record = venue.order(signer, owner=bytes.fromhex(owner[2:]), **changes)
    return account, replace(record, flags=record.flags | _SESSION_KEY_FLAG)


def withdrawal(venue: Venue, owner: str, quote: int) -> Withdraw:
    """Return the message that takes `quote` to the owner itself."""
    venue.seq += 1
    address = bytes.fromhex(owner[2:])
    return Withdraw(owner=address, quote=quote, recipient=address, expiry_s=venue.chain.time_s + 600, seq=venue.seq)


def as_typed_data(venue: Venue, message: Withdraw) -> SignableMessage:
    """Return the message as a wallet gets it."""
    return encode_typed_data(
        {
            "name": "Afterbell",
            "version": "1",
            "chainId": CHAIN_ID,
            "verifyingContract": venue.chain.addresses["Clearinghouse"],
        },
        {"Withdraw": [{"name": name, "type": kind} for name, kind in _WITHDRAW]},
        {
            "owner": "0x" + message.owner.hex(),
            "subaccount": message.subaccount,
            "quote": message.quote,
            "recipient": "0x" + message.recipient.hex(),
            "expiry": message.expiry_s,
            "nonce": _OPERATION_LANE << 40 | message.seq,
        },
    )


def digest_of(signable: SignableMessage) -> bytes:
    """Return keccak(0x19 ‖ version ‖ header ‖ body), EIP-191."""
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def sign_withdrawal(venue: Venue, message: Withdraw, account: LocalAccount) -> OperationRow:
    """Return the row signed by an owner's wallet."""
    signed = account.sign_message(as_typed_data(venue, message))
    vs = signed.s | (signed.v - 27) << 255
    return build_operation_row(message, r=signed.r.to_bytes(32, "big"), vs=vs.to_bytes(32, "big"))


def approved_withdrawal(message: Withdraw) -> OperationRow:
    """Return the row that refers to an approval on chain."""
    return build_operation_row(message, r=bytes(32), vs=bytes(32), flags=APPROVED)


def key_word(venue: Venue, owner: str) -> int:
    """Return the session key word of the owner's first account."""
    return int(venue.chain.call("Clearinghouse", "session_key_word", int(owner, 16) << 80, SESSION_ADDRESS))
