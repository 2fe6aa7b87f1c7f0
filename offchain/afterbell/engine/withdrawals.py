"""Carry signed withdrawals: the contract's rule at the point of the open batch where it will run.

A withdrawal the rule refuses is answered and not carried, so its nonce stays unused. Must not: pay anything; the
Vault does.
"""

from __future__ import annotations

from afterbell.domain.batch import build_operation_row
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.commands import RequestWithdrawal
from afterbell.domain.digests import build_digest, hash_withdraw
from afterbell.domain.errors import Faulted, FieldOutOfRange
from afterbell.domain.events import Event, WithdrawalAccepted, WithdrawalRejected
from afterbell.domain.execution import check_expiry
from afterbell.domain.ids import (
    MAX_ACCOUNT_ID,
    OPERATION_LANE,
    ZERO_ADDRESS,
    AccountId,
    lane_of,
    owner_of,
    seq_of,
    subaccount_of,
)
from afterbell.domain.margin import is_withdrawal_covered
from afterbell.domain.order import MAX_LIFETIME_S, Withdraw
from afterbell.domain.settlement import Execution
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine.entry import N_SIGNATURE_WORD_BYTES, seq_time_ms
from afterbell.engine.refusals import Refusal, refuse_malformed
from afterbell.engine.state import BatchOperation, EngineState


def request_withdrawal(state: EngineState, command: RequestWithdrawal, time_ms: int) -> list[Event]:
    """Put a signed withdrawal into the open batch (opened if need be), or reject it."""
    time_s = milliseconds_to_seconds(time_ms)
    message = _read_withdraw(command)
    if isinstance(message, Refusal):
        return [_reject(command, message)]
    account = AccountId(command.account)
    refusal = _check_withdraw(state, command, message, time_ms)
    if refusal is not None:
        return [_reject(command, refusal)]
    batch = state.must_open_batch(time_s)
    row = build_operation_row(message, before_fill=len(batch.fills), account_index=0, r=command.r, vs=command.vs)
    code = batch.execution.apply_operation(account, row, domain_separator=None, recover=None)
    if code != StatusCode.OK:
        raise Faulted(f"withdrawal 0x{command.withdrawal_id.hex()} passed its checks and failed with {code.name}")
    batch.operations.append(BatchOperation(digest=command.withdrawal_id, account=account, row=row))
    batch.accounts.setdefault(account)
    return [
        WithdrawalAccepted(
            withdrawal_id=command.withdrawal_id,
            sequence=state.next_batch_sequence,
            account=account,
            quote=command.quote,
            recipient=command.recipient,
        )
    ]


def _read_withdraw(command: RequestWithdrawal) -> Withdraw | Refusal:
    if not 0 <= command.account <= MAX_ACCOUNT_ID:
        return refuse_malformed(f"account {command.account:#x}")
    if len(command.r) != N_SIGNATURE_WORD_BYTES or len(command.vs) != N_SIGNATURE_WORD_BYTES:
        return refuse_malformed(f"r of {len(command.r)} bytes, vs of {len(command.vs)} bytes")
    if lane_of(command.nonce) != OPERATION_LANE:
        return refuse_malformed(f"nonce in lane {lane_of(command.nonce)} (operations use lane {OPERATION_LANE})")
    message = Withdraw(
        owner=owner_of(command.account),
        subaccount=subaccount_of(command.account),
        quote=command.quote,
        recipient=command.recipient,
        expiry_s=command.expiry_s,
        seq=seq_of(command.nonce),
    )
    try:
        message.validate_ranges()
    except FieldOutOfRange as error:
        return refuse_malformed(str(error))
    return message


def _check_withdraw(state: EngineState, command: RequestWithdrawal, message: Withdraw, time_ms: int) -> Refusal | None:
    """Check in the contract's order, with the engine's own seq window in front."""
    time_s = milliseconds_to_seconds(time_ms)
    account = AccountId(command.account)
    execution = state.execution(time_s)
    digest = build_digest(state.domain_separator, hash_withdraw(message))
    if digest != command.withdrawal_id:
        return Refusal(
            reason=RejectReason.BAD_SIGNATURE,
            required=f"the digest of the withdrawal, 0x{digest.hex()}",
            found=f"0x{command.withdrawal_id.hex()}",
            action="hash the message for this chain and contract (GET /v1/venue)",
        )
    limit_ms = time_ms + state.config.max_seq_ahead_ms
    if seq_time_ms(state, message.seq) > limit_ms:
        return Refusal(
            reason=RejectReason.SEQ_TOO_FAR_AHEAD,
            required=f"a seq of at most {limit_ms - state.config.genesis_s * 1_000} ms since genesis",
            found=f"{message.seq} ms",
            action="take the seq from the venue clock (GET /v1/clock)",
        )
    code = check_expiry(message.expiry_s, execution.matched_at_s)
    if code == StatusCode.OK and message.expiry_s < time_s:
        code = StatusCode.EXPIRED
    if code != StatusCode.OK:
        return Refusal(
            reason=RejectReason.EXPIRED if code == StatusCode.EXPIRED else RejectReason.EXPIRY_TOO_FAR,
            required=f"an expiry in [{time_s}, {execution.matched_at_s + MAX_LIFETIME_S}] s",
            found=f"{message.expiry_s} s",
            action="sign anew by the venue clock (GET /v1/clock)",
        )
    last_seq, _ = execution.lane(account, OPERATION_LANE)
    if message.seq <= last_seq:
        return Refusal(
            reason=RejectReason.NONCE_CONSUMED,
            required=f"a seq above {last_seq}, the account's last operation",
            found=f"seq {message.seq}",
            action="sign anew with the venue clock's time",
        )
    return _check_effect(state, execution, account, message)


def _check_effect(state: EngineState, execution: Execution, account: AccountId, message: Withdraw) -> Refusal | None:
    if message.quote == 0:
        return Refusal(
            reason=RejectReason.ZERO_WITHDRAWAL, required="more than 0 quote", found="0 quote", action="sign a sum"
        )
    if message.recipient == ZERO_ADDRESS or message.recipient in state.chain.forbidden_recipients:
        return Refusal(
            reason=RejectReason.BAD_RECIPIENT,
            required="a recipient that is neither zero nor one of the venue's contracts",
            found=f"0x{message.recipient.hex()}",
            action="sign with your own address",
        )
    health = execution.health(account)
    if health.is_stale:
        return Refusal(
            reason=RejectReason.STALE_PRICE,
            required="fresh prices of every market the account holds",
            found=f"a stale one among markets {sorted(execution.positions(account))}",
            action="wait for the next price report, or close the position",
        )
    if not is_withdrawal_covered(health, message.quote):
        return Refusal(
            reason=RejectReason.MARGIN,
            required=f"at most {health.withdrawable_quote} quote",
            found=f"{message.quote} quote",
            action="withdraw less, or reduce positions first",
        )
    return None


def _reject(command: RequestWithdrawal, refusal: Refusal) -> WithdrawalRejected:
    return WithdrawalRejected(
        withdrawal_id=command.withdrawal_id,
        account=command.account,
        quote=command.quote,
        reason=refusal.reason.value,
        required=refusal.required,
        found=refusal.found,
        action=refusal.action,
    )
