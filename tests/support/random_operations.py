"""Random operations of a random world: by owners, session keys and approvals; most pass, some have one flaw."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from afterbell.domain.batch import (
    OPERATION_APPROVED,
    OPERATION_SESSION_KEY,
    SETTLE_LAG_S,
    AccountRecord,
    OperationRow,
    build_operation_row,
)
from afterbell.domain.ids import LIQUIDATION_LANE, OPERATION_LANE, AccountId, owner_of, subaccount_of
from afterbell.domain.order import CancelAll, CancelOrder, LinkKey, Operation, RevokeKey, Transfer, Withdraw
from afterbell.signing.typed_data import digest

if TYPE_CHECKING:
    from tests.support.world import World

DAY_S = 86_400


def make_operations(world: World, accounts: list[AccountRecord], matched_at_s: int) -> tuple[OperationRow, ...]:
    """Return a few operations. Digests to approve are added to world.to_approve."""
    n_operations = world.random.choice(world.n_operations_choices)
    return tuple(_make_operation(world, accounts, matched_at_s) for _ in range(n_operations))


def _make_operation(world: World, accounts: list[AccountRecord], matched_at_s: int) -> OperationRow:
    rng = world.random
    trading = [record for record in accounts if record.orders]
    record = AccountRecord(account_id=AccountId(rng.choice([*world.accounts, *world.unheard_links()])))
    if trading and rng.random() < 0.5:
        record = rng.choice(trading)
    if world.unheard_links() and rng.random() < 0.5:
        record = AccountRecord(account_id=AccountId(next(iter(world.unheard_links()))))
    account = record.account_id
    seq = max(world.nonces.get(account, 0) + rng.choice((1, 1, 1, 1, 1, 5, 0, -1)), 0)
    expiry_s = matched_at_s + rng.choice((0, 60, DAY_S, 30 * DAY_S) * 5 + (-1, 30 * DAY_S + 1))
    # Before the first fill the largest possible withdrawal is known: ask for it, and for one unit more.
    is_at_edge = world.preview is not None and rng.random() < 0.12
    message = _make_message(world, record, matched_at_s, expiry_s=expiry_s, seq=seq, is_at_edge=is_at_edge)
    if isinstance(message, CancelOrder) and rng.random() < 0.15:
        # The latest seq a session key may spend, or the one after it; in a lane that nobody needs.
        latest = (matched_at_s + SETTLE_LAG_S - world.state.genesis_s) * 1_000
        order_nonce = rng.randrange(60_000, LIQUIDATION_LANE) << 40 | min(latest + rng.randint(0, 1), 2**40 - 1)
        message = replace(message, order_nonce=order_nonce)
    r, vs, flags = _sign(world, account, message)
    row = build_operation_row(message, r=r, vs=vs, flags=flags)
    flaw = rng.random()
    if flaw < 0.03:
        row = replace(row, kind=rng.choice((0, 7, 255)))
    elif flaw < 0.06:
        row = replace(row, value=row.value | 1 << rng.choice((64, 138, 255)))
    elif flaw < 0.08:
        row = replace(row, operand=row.operand | 1 << 80)
    elif flaw < 0.10:
        row = replace(row, flags=rng.choice((0, 1, 2, 3, 4, 255)))
    world.nonces[account] = max(world.nonces.get(account, 0), seq)
    return row


def _make_message(
    world: World, record: AccountRecord, matched_at_s: int, *, expiry_s: int, seq: int, is_at_edge: bool
) -> Operation:
    rng = world.random
    account = record.account_id
    owner = owner_of(account)
    common = {"owner": owner, "subaccount": subaccount_of(account), "expiry_s": expiry_s, "seq": seq}
    kind = rng.random()
    late_key = world.unheard_links().get(account)
    if late_key and rng.random() < 0.7:
        # A key that a mirror does not know yet is linked or revoked in a batch: the chain has both, in its order.
        kind = rng.uniform(0.75, 1)
    if is_at_edge or kind < 0.45:
        collateral = min(max(world.state.account(account).collateral_quote, 0), 2**64 - 1)
        quote = rng.choice((0, 1, collateral, collateral // 3, collateral // 2, 2**64 - 1, rng.randrange(10**9)))
        if is_at_edge and world.preview is not None:
            quote = min(world.preview.health(account).withdrawable_quote + rng.randint(0, 1), 2**64 - 1)
        forbidden = sorted(world.state.forbidden_recipients)
        recipient = rng.choice((owner, owner, owner, rng.randbytes(20), bytes(20), *forbidden))
        if rng.random() < 0.35:
            return Transfer(**common, quote=quote, to_subaccount=rng.choice((0, 7, 7, 11, 2**80 - 1)))
        return Withdraw(**common, quote=quote, recipient=recipient)
    if kind < 0.62:
        target = rng.choice(record.orders) if record.orders and rng.random() < 0.8 else None
        lane = rng.choice((0, 5, LIQUIDATION_LANE, OPERATION_LANE))
        nonce = target.lane << 40 | target.seq if target else lane << 40 | world.seq
        nonce += rng.choice((0, 0, 0, 1, -1))
        return CancelOrder(**common, order_nonce=max(nonce, 0))
    if kind < 0.75:
        return CancelAll(**common, min_seq=rng.choice((world.seq + 1, world.seq, world.seq - 5, world.seq - 60, 0)))
    key = late_key or world.ring.choose_address(account, owner)
    if kind < 0.94:
        limits = world.ring.make_limits(matched_at_s)
        return LinkKey(
            **common,
            key=key,
            key_expiry_s=limits.expiry_s,
            max_notional_quote=limits.max_notional_quote,
            markets=limits.markets,
            trade_only=limits.trade_only,
            reduce_only=limits.reduce_only,
        )
    return RevokeKey(**common, key=key)


def _sign(world: World, account: int, message: Operation) -> tuple[bytes, bytes, int]:
    """Return (r, vs, flags) of the owner, of a key, of an approval (at times by somebody else), of a stranger."""
    rng = world.random
    message_digest = digest(message, world.domain_separator)
    who = rng.random()
    if who < 0.15:
        approver = message.owner if rng.random() < 0.7 else rng.choice(world.keys).address
        if rng.random() < 0.9:
            world.to_approve.append((approver, message_digest))
        return bytes(32), bytes(32), OPERATION_APPROVED
    if who < 0.4:
        key = rng.choice(world.ring.linkable)
        living = world.ring.living(account, world.state, world.time_s)
        if living and rng.random() < 0.85:
            key = rng.choice(living)
        return *world.ring.sign(key, message_digest), OPERATION_SESSION_KEY
    signer = world.key_of[message.owner] if who < 0.96 else rng.choice(world.keys)
    return *signer.sign(message_digest), 0
