"""Apply one operation of a batch: withdrawals, cancellations, transfers, session keys. All come before every fill.

Must not: recover signatures itself. Twin: contracts/Operations.vy, contracts/README.md, "settle()" step 4.
"""

from __future__ import annotations

from afterbell.domain.authority import Recover, check_operation_authority
from afterbell.domain.batch import OperationRow
from afterbell.domain.codes import StatusCode
from afterbell.domain.errors import Faulted
from afterbell.domain.ids import LIQUIDATION_LANE, OPERATION_LANE, ZERO_ADDRESS, lane_of, seq_of, session_key_id
from afterbell.domain.margin import is_withdrawal_covered
from afterbell.domain.order import CancelOrder, LinkKey, RevokeKey, Transfer, Withdraw
from afterbell.domain.order_checks import check_expiry
from afterbell.domain.outcomes import AllKilled, KeyChanged, OrderKilled, Transferred, Withdrawn
from afterbell.domain.session_keys import has_bad_limits
from afterbell.domain.words import CONSUMED_LOTS
from afterbell.domain.working import Workbench


def apply_operation(
    bench: Workbench,
    row: OperationRow,
    *,
    domain_separator: bytes | None,
    recover: Recover | None,
    signer: bytes | None,
) -> StatusCode:
    """Apply one operation, or return its code. From NONCE_CONSUMED on its nonce is spent either way.

    Raises: Faulted when the account, or the one a transfer goes to, has fills already: on chain the operation comes
    first, so it belongs to the next batch.
    """
    message = row.to_message()
    if message is None:
        return StatusCode.UNKNOWN_OPERATION
    code = check_expiry(row.expiry_s, bench.matched_at_s) or check_operation_authority(
        bench.state,
        row,
        message,
        bench.matched_at_s,
        get_key_word=bench.session_key_word,
        domain_separator=domain_separator,
        recover=recover,
        signer=signer,
    )
    if code:
        return code
    account = bench.account(message.account_id)
    _must_be_unfilled(bench, message.account_id)
    if row.seq <= bench.lane(message.account_id, OPERATION_LANE)[0]:
        return StatusCode.NONCE_CONSUMED
    account.lanes[OPERATION_LANE] = (row.seq, CONSUMED_LOTS)
    if isinstance(message, Withdraw):
        return _withdraw(bench, message)
    if isinstance(message, Transfer):
        return _transfer(bench, message)
    if isinstance(message, CancelOrder):
        return _cancel_order(bench, message)
    if isinstance(message, LinkKey):
        if has_bad_limits(message.owner, message.key, message.limits_word, bench.matched_at_s):
            return StatusCode.BAD_KEY
        return _change_key(bench, message, message.limits_word)
    if isinstance(message, RevokeKey):
        return _change_key(bench, message, 0)
    account.min_seq = max(account.min_seq, message.min_seq)
    bench.effects.append(AllKilled(account_id=message.account_id, min_seq=account.min_seq))
    return StatusCode.OK


def consume_lane(bench: Workbench, account_id: int, lane: int, seq: int) -> None:
    """Leave a lane consumed at `seq`, unless it has moved further."""
    if seq >= bench.lane(account_id, lane)[0]:
        bench.account(account_id).lanes[lane] = (seq, CONSUMED_LOTS)


def _must_be_unfilled(bench: Workbench, account_id: int) -> None:
    if bench.account(account_id).changes:
        raise Faulted("an operation comes before the fills of its batch: seal the batch, then apply it to the next")


def _check_leaving(bench: Workbench, account_id: int, quote: int) -> StatusCode:
    """Return why an account may not give up `quote`, or OK."""
    health = bench.account(account_id).health()
    if health.is_stale:
        return StatusCode.STALE_PRICE
    return StatusCode.OK if is_withdrawal_covered(health, quote) else StatusCode.MARGIN


def _withdraw(bench: Workbench, message: Withdraw) -> StatusCode:
    if message.quote == 0:
        return StatusCode.ZERO_WITHDRAWAL
    if message.recipient == ZERO_ADDRESS or message.recipient in bench.state.forbidden_recipients:
        return StatusCode.BAD_RECIPIENT
    code = _check_leaving(bench, message.account_id, message.quote)
    if code:
        return code
    bench.account(message.account_id).move_collateral(-message.quote)
    bench.effects.append(Withdrawn(account_id=message.account_id, recipient=message.recipient, quote=message.quote))
    return StatusCode.OK


def _transfer(bench: Workbench, message: Transfer) -> StatusCode:
    if message.quote == 0:
        return StatusCode.ZERO_WITHDRAWAL
    if message.to_subaccount == message.subaccount:
        return StatusCode.BAD_RECIPIENT
    _must_be_unfilled(bench, message.to_account_id)
    code = _check_leaving(bench, message.account_id, message.quote)
    if code:
        return code
    bench.account(message.account_id).move_collateral(-message.quote)
    bench.account(message.to_account_id).move_collateral(message.quote)
    bench.effects.append(
        Transferred(account_id=message.account_id, receiver_id=message.to_account_id, quote=message.quote)
    )
    return StatusCode.OK


def _cancel_order(bench: Workbench, message: CancelOrder) -> StatusCode:
    lane = lane_of(message.order_nonce)
    if lane in (LIQUIDATION_LANE, OPERATION_LANE):
        return StatusCode.BAD_CANCEL
    consume_lane(bench, message.account_id, lane, seq_of(message.order_nonce))
    bench.effects.append(OrderKilled(account_id=message.account_id, nonce=message.order_nonce))
    return StatusCode.OK


def _change_key(bench: Workbench, message: LinkKey | RevokeKey, limits: int) -> StatusCode:
    bench.key_limits[session_key_id(message.account_id, message.key)] = limits
    word = bench.session_key_word(message.account_id, message.key)
    bench.effects.append(KeyChanged(account_id=message.account_id, key=message.key, word=word))
    return StatusCode.OK
