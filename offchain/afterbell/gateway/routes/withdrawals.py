"""Take signed withdrawals and tell their life: accepted, sealed, submitted, mined, claimable, paid."""

from __future__ import annotations

from fastapi import APIRouter

from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import RequestWithdrawal
from afterbell.domain.events import WithdrawalAccepted, WithdrawalRejected
from afterbell.domain.ids import owner_of, parse_account_hex, parse_address_hex, subaccount_of
from afterbell.domain.order import Withdraw
from afterbell.gateway.deps import CaughtUp, DeskDep, parse_digest
from afterbell.gateway.entry import authorise, must_be_operation
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.requests import WithdrawIn
from afterbell.gateway.schemas import TransferOut, TransferStepOut
from afterbell.gateway.views import build_transfer

router = APIRouter(prefix="/v1/withdrawals", tags=["withdrawals"], responses=ERROR_RESPONSES)


@router.post("")
async def request_withdrawal(desk: DeskDep, request: WithdrawIn) -> TransferOut:
    """Carry a withdrawal in the open batch; once final anybody may claim it for the recipient (POST /v1/claims)."""
    fields = request.withdrawal
    account = parse_account_hex(fields.account)
    message = Withdraw(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        quote=fields.quote,
        recipient=parse_address_hex(fields.recipient),
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = await authorise(desk, message, request.signature, is_approved=request.approved, named=request.domain)
    frame, events = await desk.services.submitter.submit(
        RequestWithdrawal(
            withdrawal_id=checked.digest,
            account=account,
            quote=fields.quote,
            recipient=message.recipient,
            expiry_s=fields.expiry_s,
            nonce=fields.nonce,
            r=checked.r,
            vs=checked.vs,
            signer=checked.signer,
            is_approved=checked.is_approved,
        )
    )
    for event in events:
        if isinstance(event, WithdrawalRejected):
            raise ApiError(
                RejectReason(event.reason),
                f"the withdrawal is refused: {event.reason}",
                required=event.required,
                found=event.found,
                action=event.action,
                details={"withdrawal_id": "0x" + event.withdrawal_id.hex()},
            )
    accepted = next(event for event in events if isinstance(event, WithdrawalAccepted))
    return TransferOut(
        transfer_id="0x" + accepted.withdrawal_id.hex(),
        account=fields.account,
        kind="withdrawal",
        quote=str(accepted.quote),
        status="accepted",
        counterparty="0x" + accepted.recipient.hex(),
        time_ms=frame.time_ms,
        sequence=accepted.sequence,
        transaction=None,
        block=None,
        paid_transaction=None,
        code=None,
        steps=[TransferStepOut(status="accepted", transaction=None, block=None, time_ms=frame.time_ms)],
    )


@router.get("/{withdrawal_id}")
async def get_withdrawal(services: CaughtUp, withdrawal_id: str) -> TransferOut:
    """Return where a withdrawal stands."""
    digest = parse_digest(withdrawal_id, "a withdrawal id")
    transfer = await services.readmodel.run(services.readmodel.get_transfer, "0x" + digest.hex())
    if transfer is None:
        raise ApiError(
            RejectReason.UNKNOWN_ORDER,
            "no such withdrawal",
            required="the id of a withdrawal sent to this instance",
            found=withdrawal_id,
            action="the id is the EIP-712 digest; GET /v1/accounts/{account}/transfers lists yours",
        )
    return build_transfer(transfer)
