"""Measure gas of money and keys on a real anvil: deposits, claims, session keys, direct cancel-all; whole transactions.

Steady state: the account exists, the wallet keeps a balance. Beside each stands what cannot be avoided: for money the
token's own transfer between two holders, for state one cold SSTORE of a new word in a bare transaction. Must not: write
storage by any other way than transactions.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Final

from afterbell.bench.floor import build_creation_code, build_floor_runtime
from afterbell.bench.local_venue import LocalVenue, build_call
from afterbell.bench.measurement import Measurement, compare
from afterbell.bench.scenarios import build_keys
from afterbell.domain.batch import Payload, build_operation_row, encode
from afterbell.domain.errors import InvariantBroken
from afterbell.domain.hashing import keccak
from afterbell.domain.order import LinkKey, Withdraw
from afterbell.domain.words import SessionKeyWord
from afterbell.signing.keys import SigningKey, join_signature
from afterbell.signing.typed_data import digest

_WORD: Final = 32
_QUOTE: Final = 10**9
_FUNDS_QUOTE: Final = 10**12
_DAY_S: Final = 86_400
_PERMIT_TYPE: Final = b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
_RECEIVE_TYPE: Final = (
    b"ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,"
    b"bytes32 nonce)"
)
_TRANSFER: Final = "the token's own transfer between two holders"
_STORE: Final = "a bare transaction that writes one new word"


def measure_money(seed: int) -> list[Measurement]:
    """Return gas of every way money goes in and out, and of keys."""
    with tempfile.TemporaryDirectory(prefix="afterbell-bench-") as folder, LocalVenue.start(Path(folder)) as venue:
        return _Money(venue, seed).measure()


class _Money:
    def __init__(self, venue: LocalVenue, seed: int) -> None:
        self._venue = venue
        self._keys = build_keys(random.Random(seed), 12)
        self._owner = self._keys[0]
        self._n_keys = 1
        self._separator = venue.call(venue.token, "DOMAIN_SEPARATOR()")
        self._operations = venue.manifest.get_address("operations")

    def measure(self) -> list[Measurement]:
        venue, owner = self._venue, self._owner
        for key in self._keys[:2]:
            venue.transact(key.address, venue.token, _call("mint(address,uint256)", key.address, _FUNDS_QUOTE))
        venue.transact(owner.address, venue.token, _call("approve(address,uint256)", venue.vault, 2**256 - 1))
        deposit = _call("deposit(address,uint80,uint256)", owner.address, 0, _QUOTE)
        venue.transact(owner.address, venue.vault, deposit)
        transfer_gas = self._measure_transfer()
        store_gas = self._measure_store()
        gas = {
            "deposit": (venue.transact(owner.address, venue.vault, deposit).gas_used, transfer_gas),
            "deposit_and_link": (
                venue.transact(
                    owner.address,
                    venue.vault,
                    _call(
                        "deposit_and_link(uint80,uint256,address,uint256)", 0, _QUOTE, self._next_key(), self._limits()
                    ),
                ).gas_used,
                transfer_gas,
            ),
            "deposit_with_permit": (self._deposit_with_permit(), transfer_gas),
            "deposit_with_authorization": (self._deposit_with_authorization(), transfer_gas),
            "claim": (self._claim(), transfer_gas),
            "link_key": (
                venue.transact(
                    owner.address,
                    self._operations,
                    _call("link_key(uint80,address,uint256)", 0, self._next_key(), self._limits()),
                ).gas_used,
                store_gas,
            ),
            "link_key_batched": (self._link_in_batch(), store_gas),
            "revoke_key": (
                venue.transact(
                    owner.address, self._operations, _call("revoke_key(uint80,address)", 0, self._next_key())
                ).gas_used,
                store_gas,
            ),
            "cancel_all": (
                venue.transact(owner.address, self._operations, _call("cancel_all(uint80,uint40)", 0, 1)).gas_used,
                store_gas,
            ),
        }
        return [
            compare(
                f"gas.{name}",
                ours,
                "gas",
                reference=floor,
                beside=_TRANSFER if floor == transfer_gas else _STORE,
            )
            for name, (ours, floor) in gas.items()
        ]

    # -------------------------------------------------------------- beside

    def _measure_transfer(self) -> int:
        call = _call("transfer(address,uint256)", self._keys[1].address, 1)
        return self._venue.transact(self._owner.address, self._venue.token, call).gas_used

    def _measure_store(self) -> int:
        floor = self._venue.create(build_creation_code(build_floor_runtime([], 1)))
        return self._venue.transact(self._owner.address, floor, b"").gas_used

    # -------------------------------------------------------------- deposits

    def _deposit_with_permit(self) -> int:
        venue, holder = self._venue, self._keys[1]
        deadline_s = venue.time_s + _DAY_S
        gas = 0
        for nonce in range(2):  # the second one finds the account and the nonce's slot warm in the trie
            message = self._token_digest(_PERMIT_TYPE, holder.address, venue.vault, _QUOTE, nonce, deadline_s)
            call = _call(
                "deposit_with_permit(address,uint80,uint256,uint256,uint8,bytes32,bytes32,address,uint256)",
                *(holder.address, 0, _QUOTE, deadline_s),
                *_split(holder, message),
                *(0, 0),
            )
            gas = venue.transact(holder.address, venue.vault, call).gas_used
        return gas

    def _deposit_with_authorization(self) -> int:
        venue, holder, relayer = self._venue, self._keys[1], self._keys[2]
        account_id = int.from_bytes(holder.address, "big") << 80
        gas = 0
        for salt in (1, 2):
            valid_before_s = venue.time_s + _DAY_S
            nonce = keccak(_words(account_id, 0, 0, salt))
            message = self._token_digest(
                _RECEIVE_TYPE, holder.address, venue.vault, _QUOTE, 0, valid_before_s, int.from_bytes(nonce, "big")
            )
            call = _call(
                "deposit_with_authorization(address,address,uint80,uint256,uint256,uint256,bytes32,uint8,bytes32,"
                "bytes32,address,uint256)",
                *(holder.address, holder.address, 0, _QUOTE, 0, valid_before_s, salt),
                *_split(holder, message),
                *(0, 0),
            )
            gas = venue.transact(relayer.address, venue.vault, call).gas_used
        return gas

    def _token_digest(self, type_string: bytes, *fields: bytes | int) -> bytes:
        return keccak(b"\x19\x01" + self._separator + keccak(keccak(type_string) + _words(*fields)))

    # ----------------------------------------------------- operations, keys

    def _claim(self) -> int:
        """Withdraw to a holder in a batch, then have the claim paid."""
        venue, owner = self._venue, self._owner
        message = Withdraw(
            owner=owner.address, quote=_QUOTE, recipient=self._keys[1].address, expiry_s=venue.time_s + _DAY_S, seq=1
        )
        self._settle_operation(message)
        call = _call("claim(address)", self._keys[1].address)
        return venue.transact(self._keys[2].address, venue.vault, call).gas_used

    def _link_in_batch(self) -> int:
        """Return what a LINK_KEY adds to a batch: with it less without it."""
        venue = self._venue
        empty = Payload(header=venue.next_header())
        without = venue.settle(encode(empty)).gas_used
        limits = SessionKeyWord.unpack(self._limits())
        message = LinkKey(
            owner=self._owner.address,
            key=self._next_key(),
            key_expiry_s=limits.expiry_s,
            max_notional_quote=limits.max_notional_quote,
            markets=limits.markets,
            trade_only=limits.trade_only,
            reduce_only=limits.reduce_only,
            expiry_s=venue.time_s + _DAY_S,
            seq=2,
        )
        return self._settle_operation(message) - without

    def _settle_operation(self, message: Withdraw | LinkKey) -> int:
        r, vs = self._owner.sign(digest(message, self._venue.domain_separator))
        payload = Payload(
            header=self._venue.next_header(),
            operations=(build_operation_row(message, r=r, vs=vs),),
        )
        settled = self._venue.settle(encode(payload))
        if settled.codes:
            raise InvariantBroken(f"{type(message).__name__} must succeed, found code {settled.codes.hex()}")
        return settled.gas_used

    def _next_key(self) -> bytes:
        self._n_keys += 1
        return keccak(b"bench session key" + bytes([self._n_keys]))[12:]

    def _limits(self) -> int:
        return SessionKeyWord(
            expiry_s=self._venue.time_s + 30 * _DAY_S, max_notional_quote=10**12, markets=0b1111, trade_only=True
        ).pack()


def _words(*fields: bytes | int) -> bytes:
    return b"".join(
        field.rjust(_WORD, b"\0") if isinstance(field, bytes) else field.to_bytes(_WORD, "big") for field in fields
    )


def _call(signature: str, *fields: bytes | int) -> bytes:
    return build_call(signature) + _words(*fields)


def _split(key: SigningKey, message: bytes) -> tuple[int, bytes, bytes]:
    """Return (v, r, s) of a digest."""
    signature = join_signature(*key.sign(message))
    return signature[64], signature[:32], signature[32:64]
