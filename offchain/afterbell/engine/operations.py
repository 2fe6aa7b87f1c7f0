"""Carry signed operations in the open batch: withdrawals, transfers, links and revocations of session keys.

Each runs by the contract's rule when it comes in; its account has no fill in the batch yet (batching.find_obstacle), so
running before all fills, as the chain does, is the same. One the rule refuses is answered and not carried, so its nonce
stays unused. A key linked here signs orders of the same batch; the orders of one revoked here leave at once.
Must not: pay anything, or check a signature or an approval; the gateway has.
"""

from __future__ import annotations

from typing import TypeAlias

from afterbell.domain.batch import OPERATION_APPROVED, OPERATION_SESSION_KEY, build_operation_row
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.commands import LinkKey, RequestTransfer, RequestWithdrawal, RevokeKey
from afterbell.domain.digests import build_digest, hash_operation
from afterbell.domain.direct import approve
from afterbell.domain.errors import Faulted, FieldOutOfRange
from afterbell.domain.events import (
    Event,
    KeyLinked,
    KeyOperationRejected,
    KeyRevoked,
    TransferAccepted,
    TransferRejected,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import (
    MAX_ACCOUNT_ID,
    N_ADDRESS_BYTES,
    N_SUBACCOUNT_BITS,
    OPERATION_LANE,
    ZERO_ADDRESS,
    AccountId,
    build_account_id,
    lane_of,
    owner_of,
    seq_of,
    subaccount_of,
)
from afterbell.domain.margin import is_withdrawal_covered
from afterbell.domain.order import MAX_KEY_LIFETIME_S, MAX_LIFETIME_S, Operation, Transfer, Withdraw
from afterbell.domain.order import LinkKey as SignedLinkKey
from afterbell.domain.order import RevokeKey as SignedRevokeKey
from afterbell.domain.order_checks import check_expiry
from afterbell.domain.session_keys import has_bad_limits
from afterbell.domain.settlement import Execution
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.domain.words import SessionKeyWord
from afterbell.engine.batching import refuse_obstacle
from afterbell.engine.entry import N_SIGNATURE_WORD_BYTES, limit_time_ms, seq_time_ms
from afterbell.engine.keys import cancel_orders_of_key, check_key_seq, check_operation_signer
from afterbell.engine.refusals import Refusal, refuse_malformed
from afterbell.engine.state import BatchOperation, EngineState

OperationCommand: TypeAlias = RequestWithdrawal | RequestTransfer | LinkKey | RevokeKey


def request_operation(state: EngineState, command: OperationCommand, time_ms: int) -> list[Event]:
    """Put a signed or approved operation into the open batch (opened if need be), or reject it."""
    time_s = milliseconds_to_seconds(time_ms)
    message = _read_message(command)
    if isinstance(message, Refusal):
        return [_reject(command, message)]
    refusal = refuse_obstacle(state, command) or _check(state, command, message, time_ms)
    if refusal is not None:
        return [_reject(command, refusal)]
    batch = state.must_open_batch(time_s)
    digest, signer = _digest_of(command), _signer_of(command)
    flags = OPERATION_SESSION_KEY if signer else 0
    if command.is_approved:
        flags = OPERATION_APPROVED
        approve(state.chain, message.owner, digest)
    row = build_operation_row(message, r=command.r, vs=command.vs, flags=flags)
    code = batch.execution.apply_operation(row, domain_separator=None, recover=None, signer=signer or None)
    if code != StatusCode.OK:
        raise Faulted(f"operation 0x{digest.hex()} passed its checks and failed with {code.name}")
    batch.operations.append(
        BatchOperation(
            digest=digest,
            row=row,
            signer=signer or message.owner,
            receiver=message.to_account_id if isinstance(message, Transfer) else None,
        )
    )
    return _accept(state, batch.execution, command)


def _accept(state: EngineState, execution: Execution, command: OperationCommand) -> list[Event]:
    account = AccountId(command.account)
    if isinstance(command, RequestWithdrawal):
        return [
            WithdrawalAccepted(
                withdrawal_id=command.withdrawal_id,
                sequence=state.next_batch_sequence,
                account=account,
                quote=command.quote,
                recipient=command.recipient,
            )
        ]
    if isinstance(command, RequestTransfer):
        return [
            TransferAccepted(
                transfer_id=command.transfer_id,
                sequence=state.next_batch_sequence,
                account=account,
                receiver=_receiver_of(command),
                quote=command.quote,
            )
        ]
    word = execution.session_key_word(account, command.key).to_bytes(32, "big")
    if isinstance(command, LinkKey):
        return [
            KeyLinked(
                operation_id=command.operation_id,
                sequence=state.next_batch_sequence,
                account=account,
                key=command.key,
                word=word,
            )
        ]
    revoked = KeyRevoked(
        operation_id=command.operation_id,
        sequence=state.next_batch_sequence,
        account=account,
        key=command.key,
        word=word,
    )
    return [revoked, *cancel_orders_of_key(state, account, command.key)]


def _digest_of(command: OperationCommand) -> bytes:
    if isinstance(command, RequestWithdrawal):
        return command.withdrawal_id
    return command.transfer_id if isinstance(command, RequestTransfer) else command.operation_id


def _signer_of(command: OperationCommand) -> bytes:
    return command.signer if isinstance(command, RequestWithdrawal) else b""


def _receiver_of(command: RequestTransfer) -> AccountId:
    return build_account_id(owner_of(command.account), command.to_subaccount)


def _read_message(command: OperationCommand) -> Operation | Refusal:
    if not 0 <= command.account <= MAX_ACCOUNT_ID:
        return refuse_malformed(f"account {command.account:#x}")
    if len(command.r) != N_SIGNATURE_WORD_BYTES or len(command.vs) != N_SIGNATURE_WORD_BYTES:
        return refuse_malformed(f"r of {len(command.r)} bytes, vs of {len(command.vs)} bytes")
    if lane_of(command.nonce) != OPERATION_LANE:
        return refuse_malformed(f"nonce in lane {lane_of(command.nonce)} (operations use lane {OPERATION_LANE})")
    signer = _signer_of(command)
    if signer and (len(signer) != N_ADDRESS_BYTES or command.is_approved):
        return refuse_malformed(f"signer of {len(signer)} bytes, approved: {command.is_approved}")
    message = _build_message(command)
    try:
        message.validate_ranges()
    except FieldOutOfRange as error:
        return refuse_malformed(str(error))
    return message


def _build_message(command: OperationCommand) -> Withdraw | Transfer | SignedLinkKey | SignedRevokeKey:
    owner, subaccount, seq = owner_of(command.account), subaccount_of(command.account), seq_of(command.nonce)
    if isinstance(command, RequestWithdrawal):
        return Withdraw(
            owner=owner,
            subaccount=subaccount,
            quote=command.quote,
            recipient=command.recipient,
            expiry_s=command.expiry_s,
            seq=seq,
        )
    if isinstance(command, RequestTransfer):
        return Transfer(
            owner=owner,
            subaccount=subaccount,
            quote=command.quote,
            to_subaccount=command.to_subaccount,
            expiry_s=command.expiry_s,
            seq=seq,
        )
    if isinstance(command, LinkKey):
        return SignedLinkKey(
            owner=owner,
            subaccount=subaccount,
            key=command.key,
            key_expiry_s=command.key_expiry_s,
            max_notional_quote=command.max_notional_quote,
            markets=command.markets,
            trade_only=command.trade_only,
            reduce_only=command.reduce_only,
            expiry_s=command.expiry_s,
            seq=seq,
        )
    return SignedRevokeKey(owner=owner, subaccount=subaccount, key=command.key, expiry_s=command.expiry_s, seq=seq)


def _check(state: EngineState, command: OperationCommand, message: Operation, time_ms: int) -> Refusal | None:
    """Check in the contract's order, with the engine's own seq window in front."""
    time_s = milliseconds_to_seconds(time_ms)
    account = AccountId(command.account)
    execution = state.execution(time_s)
    digest = build_digest(state.domain_separator, hash_operation(message))
    if digest != _digest_of(command):
        return Refusal(
            reason=RejectReason.BAD_SIGNATURE,
            required=f"the digest of the operation, 0x{digest.hex()}",
            found=f"0x{_digest_of(command).hex()}",
            action="hash the message for this chain and contract (GET /v1/venue)",
        )
    limit_ms = limit_time_ms(state, time_ms)
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
    now_s = max(time_s, execution.matched_at_s)
    refusal = check_operation_signer(execution, account, _signer_of(command), message, now_s)
    if refusal is None and _signer_of(command):
        refusal = check_key_seq(state, execution, message.seq)
    if refusal is not None:
        return refusal
    last_seq, _ = execution.lane(account, OPERATION_LANE)
    if message.seq <= last_seq:
        return Refusal(
            reason=RejectReason.NONCE_CONSUMED,
            required=f"a seq above {last_seq}, the account's last operation",
            found=f"seq {message.seq}",
            action="sign anew with the venue clock's time",
        )
    if isinstance(message, Withdraw):
        return _check_withdrawal(state, execution, account, message)
    if isinstance(message, Transfer):
        return _check_transfer(execution, account, message)
    if isinstance(message, SignedLinkKey):
        return _check_link(execution, account, message)
    return None


def _check_link(execution: Execution, account: AccountId, message: SignedLinkKey) -> Refusal | None:
    revoked_at_s = SessionKeyWord.unpack(execution.session_key_word(account, message.key)).revoked_at_s
    if revoked_at_s:
        return Refusal(
            reason=RejectReason.BAD_KEY,
            required="a key that was never revoked on chain: that is for good",
            found=f"0x{message.key.hex()}, revoked at {revoked_at_s} s",
            action="link a new key",
        )
    if has_bad_limits(message.owner, message.key, message.limits_word, execution.matched_at_s):
        latest_s = execution.matched_at_s + MAX_KEY_LIFETIME_S
        return Refusal(
            reason=RejectReason.BAD_KEY,
            required=f"a key that is neither zero nor the owner, an expiry up to {latest_s} s, a market, a notional",
            found=f"key 0x{message.key.hex()}, expiry {message.key_expiry_s} s, markets {message.markets:#x}, "
            f"{message.max_notional_quote} quote",
            action="sign the link of a fresh key with limits",
        )
    return None


def _check_withdrawal(
    state: EngineState, execution: Execution, account: AccountId, message: Withdraw
) -> Refusal | None:
    if message.quote == 0:
        return _refuse_zero()
    if message.recipient == ZERO_ADDRESS or message.recipient in state.chain.forbidden_recipients:
        return Refusal(
            reason=RejectReason.BAD_RECIPIENT,
            required="a recipient that is neither zero nor one of the venue's contracts",
            found=f"0x{message.recipient.hex()}",
            action="sign with your own address",
        )
    return _check_covered(execution, account, message.quote)


def _check_transfer(execution: Execution, account: AccountId, message: Transfer) -> Refusal | None:
    if message.quote == 0:
        return _refuse_zero()
    if message.to_subaccount == message.subaccount:
        return Refusal(
            reason=RejectReason.BAD_RECIPIENT,
            required="another subaccount of the same owner",
            found=f"subaccount {message.to_subaccount}, which pays",
            action="name the subaccount that is to receive",
        )
    return _check_covered(execution, account, message.quote)


def _refuse_zero() -> Refusal:
    return Refusal(
        reason=RejectReason.ZERO_WITHDRAWAL, required="more than 0 quote", found="0 quote", action="sign a sum"
    )


def _check_covered(execution: Execution, account: AccountId, quote: int) -> Refusal | None:
    """Refuse to take out what the account's positions need, or anything on stale prices."""
    health = execution.health(account)
    if health.is_stale:
        return Refusal(
            reason=RejectReason.STALE_PRICE,
            required="fresh prices of every market the account holds",
            found=f"a stale one among markets {sorted(execution.positions(account))}",
            action="wait for the next price report, or close the position",
        )
    if not is_withdrawal_covered(health, quote):
        return Refusal(
            reason=RejectReason.MARGIN,
            required=f"at most {health.withdrawable_quote} quote",
            found=f"{quote} quote",
            action="take out less, or reduce positions first",
        )
    return None


def _reject(command: OperationCommand, refusal: Refusal) -> Event:
    if isinstance(command, RequestWithdrawal):
        return WithdrawalRejected(
            withdrawal_id=command.withdrawal_id,
            account=command.account,
            quote=command.quote,
            reason=refusal.reason.value,
            required=refusal.required,
            found=refusal.found,
            action=refusal.action,
        )
    if isinstance(command, RequestTransfer):
        return TransferRejected(
            transfer_id=command.transfer_id,
            account=command.account,
            receiver=command.account >> N_SUBACCOUNT_BITS << N_SUBACCOUNT_BITS | max(command.to_subaccount, 0),
            quote=command.quote,
            reason=refusal.reason.value,
            required=refusal.required,
            found=refusal.found,
            action=refusal.action,
        )
    return KeyOperationRejected(
        operation_id=command.operation_id,
        account=command.account,
        key=command.key,
        reason=refusal.reason.value,
        required=refusal.required,
        found=refusal.found,
        action=refusal.action,
    )
