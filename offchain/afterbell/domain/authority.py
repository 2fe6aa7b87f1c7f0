"""Decide who stands behind an order or an operation: the owner, one of its session keys, or an approved digest.

Signatures are recovered by the caller's `recover`. Without one the caller has checked them itself and names the session
key where one signed. Must not: change anything. Twin: contracts/Clearinghouse.vy for orders, Operations.check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from afterbell.domain.batch import OPERATION_APPROVED, OPERATION_SESSION_KEY, OperationRow, OrderRecord
from afterbell.domain.chain_state import ChainState
from afterbell.domain.codes import StatusCode
from afterbell.domain.digests import build_digest, compute_root_of, hash_operation, hash_order, hash_order_tree
from afterbell.domain.errors import Faulted
from afterbell.domain.ids import ZERO_ADDRESS, owner_of
from afterbell.domain.order import Operation
from afterbell.domain.session_keys import check_operation_key, check_order_key, find_spent_seq, latest_key_seq
from afterbell.domain.words import PriceWord

Recover: TypeAlias = Callable[[bytes, bytes, bytes], bytes | None]
"""(digest, r, vs) -> signer's 20 bytes, or None. signing.keys.recover is the real one."""


def check_order_authority(
    state: ChainState,
    account_id: int,
    record: OrderRecord,
    price: PriceWord,
    matched_at_s: int,
    *,
    get_key_word: Callable[[int, bytes], int],
    domain_separator: bytes | None,
    recover: Recover | None,
    signer: bytes | None,
) -> StatusCode:
    """Return BAD_SIGNATURE, KEY_EXPIRED, KEY_LIMIT or OK.

    get_key_word: (account id, key) -> session key word after the operations of the batch.
    """
    if domain_separator is not None and recover is not None:
        signed_hash = hash_order(record.to_order(account_id, price.epoch - record.is_previous_epoch))
        if record.is_bulk:
            signed_hash = hash_order_tree(compute_root_of(signed_hash, record.proof))
        signer = recover(build_digest(domain_separator, signed_hash), record.r, record.vs)
        if signer is None or signer == ZERO_ADDRESS:
            return StatusCode.BAD_SIGNATURE
        if not record.is_key_signed:
            return StatusCode.OK if signer == owner_of(account_id) else StatusCode.BAD_SIGNATURE
    if not record.is_key_signed:
        return StatusCode.OK
    word = get_key_word(account_id, _must_be_named(signer))
    code = check_order_key(word, record, price, matched_at_s)
    return code or _check_key_seq(state, record.seq, matched_at_s)


def check_operation_authority(
    state: ChainState,
    row: OperationRow,
    message: Operation,
    matched_at_s: int,
    *,
    get_key_word: Callable[[int, bytes], int],
    domain_separator: bytes | None,
    recover: Recover | None,
    signer: bytes | None,
) -> StatusCode:
    """Return BAD_SIGNATURE, KEY_EXPIRED, KEY_LIMIT or OK.

    get_key_word: (account id, key) -> session key word at this moment of the batch.
    """
    is_key_signed = row.flags == OPERATION_SESSION_KEY
    if domain_separator is not None and recover is not None:
        digest = build_digest(domain_separator, hash_operation(message))
        if row.flags == OPERATION_APPROVED:
            is_approved = (message.owner, digest) in state.approvals
            return StatusCode.OK if is_approved else StatusCode.BAD_SIGNATURE
        signer = recover(digest, row.r, row.vs)
        if signer is None or signer == ZERO_ADDRESS:
            return StatusCode.BAD_SIGNATURE
        if not is_key_signed:
            return StatusCode.OK if signer == message.owner else StatusCode.BAD_SIGNATURE
    if not is_key_signed:
        return StatusCode.OK
    word = get_key_word(message.account_id, _must_be_named(signer))
    code = check_operation_key(word, message, matched_at_s)
    return code or _check_key_seq(state, find_spent_seq(message), matched_at_s)


def _check_key_seq(state: ChainState, seq: int, matched_at_s: int) -> StatusCode:
    is_future = seq > latest_key_seq(matched_at_s, state.genesis_s)
    return StatusCode.KEY_LIMIT if is_future else StatusCode.OK


def _must_be_named(signer: bytes | None) -> bytes:
    if signer is None:
        raise Faulted("who leaves the signature unchecked must name the session key that signed")
    return signer
