"""Take cancels: of one nonce, or of everything older than a moment. Resting and waiting orders alike.

A cancel kills the nonce, not only the order (D-108). Must not: touch books beside removal.py.
"""

from __future__ import annotations

from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.commands import CancelAll, CancelOrder
from afterbell.domain.events import CancelRejected, Event
from afterbell.domain.ids import (
    MAX_ACCOUNT_ID,
    N_ADDRESS_BYTES,
    AccountId,
    lane_of,
    owner_of,
    seq_of,
    subaccount_of,
)
from afterbell.domain.order import MAX_LIFETIME_S
from afterbell.domain.order import CancelAll as SignedCancelAll
from afterbell.domain.order import CancelOrder as SignedCancelOrder
from afterbell.domain.order_checks import check_expiry
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine.entry import limit_time_ms, seq_time_ms
from afterbell.engine.keys import check_operation_signer
from afterbell.engine.refusals import Refusal, refuse_malformed
from afterbell.engine.removal import cancel_each
from afterbell.engine.state import EngineState

USER = "USER"


def cancel_order(state: EngineState, command: CancelOrder, time_ms: int) -> list[Event]:
    """Cancel the live orders of one nonce; it is dead from now on, even if its order arrives later."""
    account = AccountId(command.account)
    refusal = _check_cancel(state, command, time_ms)
    if refusal is not None:
        return [_reject_cancel(command, refusal)]
    lane_key = account << 16 | lane_of(command.order_nonce)
    seq = seq_of(command.order_nonce)
    if seq_time_ms(state, seq) <= limit_time_ms(state, time_ms):
        state.lane_seqs[lane_key] = max(state.lane_seqs.get(lane_key, 0), seq)
    named = [order for order in state.lane_orders.get(lane_key, []) if order.nonce == command.order_nonce]
    if not named:
        refusal = Refusal(
            reason=RejectReason.UNKNOWN_ORDER,
            required="the nonce of a live order",
            found=f"nonce {command.order_nonce} (lane {lane_of(command.order_nonce)}, seq {seq})",
            action="look at the open orders; it may have filled, expired or been cancelled",
        )
        return [_reject_cancel(command, refusal)]
    return cancel_each(state, named, USER)


def cancel_all(state: EngineState, command: CancelAll, time_ms: int) -> list[Event]:
    """Cancel every live order with a lower seq, oldest first; lower seqs are dead from now on."""
    account = AccountId(command.account)
    refusal = _check_cancel(state, command, time_ms)
    limit_ms = limit_time_ms(state, time_ms)
    if refusal is None and seq_time_ms(state, command.min_seq_ms) > limit_ms:
        refusal = Refusal(
            reason=RejectReason.SEQ_TOO_FAR_AHEAD,
            required=f"a min_seq at or before {limit_ms - state.config.genesis_s * 1_000} ms since genesis",
            found=f"{command.min_seq_ms} ms",
            action="use the venue clock (GET /v1/clock): a later one would lock the account",
        )
    if refusal is not None:
        return [_reject_cancel(command, refusal)]
    state.min_seqs[account] = max(state.min_seqs.get(account, 0), command.min_seq_ms)
    return cancel_below(state, account, command.min_seq_ms)


def cancel_below(state: EngineState, account: AccountId, min_seq_ms: int) -> list[Event]:
    """Cancel every live order of an account with a seq below min_seq_ms, oldest first."""
    own = state.account_orders.get(account, {}).values()
    return cancel_each(state, [order for order in own if order.record.seq < min_seq_ms], USER)


def _check_cancel(state: EngineState, command: CancelOrder | CancelAll, time_ms: int) -> Refusal | None:
    time_s = milliseconds_to_seconds(time_ms)
    if not 0 <= command.account <= MAX_ACCOUNT_ID:
        return refuse_malformed(f"account {command.account:#x}")
    if command.signer and len(command.signer) != N_ADDRESS_BYTES:
        return refuse_malformed(f"signer of {len(command.signer)} bytes")
    code = check_expiry(command.expiry_s, time_s)
    if code == StatusCode.OK:
        account = AccountId(command.account)
        message = _build_message(command)
        return check_operation_signer(state.execution(time_s), account, command.signer, message, time_s)
    return Refusal(
        reason=RejectReason.EXPIRED if code == StatusCode.EXPIRED else RejectReason.EXPIRY_TOO_FAR,
        required=f"an expiry in [{time_s}, {time_s + MAX_LIFETIME_S}] s",
        found=f"{command.expiry_s} s",
        action="sign the cancel anew by the venue clock (GET /v1/clock)",
    )


def _build_message(command: CancelOrder | CancelAll) -> SignedCancelOrder | SignedCancelAll:
    owner, subaccount = owner_of(command.account), subaccount_of(command.account)
    expiry_s, seq = command.expiry_s, seq_of(command.nonce)
    if isinstance(command, CancelOrder):
        return SignedCancelOrder(
            owner=owner, subaccount=subaccount, order_nonce=command.order_nonce, expiry_s=expiry_s, seq=seq
        )
    return SignedCancelAll(owner=owner, subaccount=subaccount, min_seq=command.min_seq_ms, expiry_s=expiry_s, seq=seq)


def _reject_cancel(command: CancelOrder | CancelAll, refusal: Refusal) -> CancelRejected:
    return CancelRejected(
        account=command.account,
        nonce=command.order_nonce if isinstance(command, CancelOrder) else command.nonce,
        reason=refusal.reason.value,
        required=refusal.required,
        found=refusal.found,
        action=refusal.action,
    )
