"""Take signed transfers between subaccounts and tell their life: accepted, sealed, submitted, mined, final."""

from __future__ import annotations

from fastapi import APIRouter

from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import RequestTransfer
from afterbell.domain.events import TransferAccepted, TransferRejected
from afterbell.domain.ids import account_hex, address_hex, owner_of, parse_account_hex, subaccount_of
from afterbell.domain.order import Transfer
from afterbell.gateway.deps import CaughtUp, DeskDep, parse_digest
from afterbell.gateway.entry import authorise, must_be_operation, must_be_owner
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.requests import TransferIn
from afterbell.gateway.schemas import TransferOut, TransferStepOut
from afterbell.gateway.views import build_transfer

router = APIRouter(prefix="/v1/transfers", tags=["transfers"], responses=ERROR_RESPONSES)


@router.post("")
async def request_transfer(desk: DeskDep, request: TransferIn) -> TransferOut:
    """Move collateral to another subaccount of the owner with the open batch; it counts there at once."""
    fields = request.transfer
    account = parse_account_hex(fields.account)
    message = Transfer(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        quote=fields.quote,
        to_subaccount=fields.to_subaccount,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = await authorise(desk, message, request.signature, is_approved=request.approved, named=request.domain)
    must_be_owner(checked, message.owner, "move collateral between subaccounts")
    frame, events = await desk.services.submitter.submit(
        RequestTransfer(
            transfer_id=checked.digest,
            account=account,
            to_subaccount=fields.to_subaccount,
            quote=fields.quote,
            expiry_s=fields.expiry_s,
            nonce=fields.nonce,
            r=checked.r,
            vs=checked.vs,
            is_approved=checked.is_approved,
        )
    )
    for event in events:
        if isinstance(event, TransferRejected):
            raise ApiError(
                RejectReason(event.reason),
                f"the transfer is refused: {event.reason}",
                required=event.required,
                found=event.found,
                action=event.action,
                details={"transfer_id": "0x" + event.transfer_id.hex()},
            )
    accepted = next(event for event in events if isinstance(event, TransferAccepted))
    return TransferOut(
        transfer_id="0x" + accepted.transfer_id.hex(),
        account=fields.account,
        kind="sent",
        quote=str(accepted.quote),
        status="accepted",
        counterparty=address_hex(message.owner),
        other_account=account_hex(accepted.receiver),
        time_ms=frame.time_ms,
        sequence=accepted.sequence,
        transaction=None,
        block=None,
        paid_transaction=None,
        code=None,
        steps=[TransferStepOut(status="accepted", transaction=None, block=None, time_ms=frame.time_ms)],
    )


@router.get("/{transfer_id}")
async def get_transfer(services: CaughtUp, transfer_id: str) -> TransferOut:
    """Return where a transfer stands, as its sender sees it."""
    digest = parse_digest(transfer_id, "a transfer id")
    transfer = await services.readmodel.run(services.readmodel.get_transfer, "0x" + digest.hex())
    if transfer is None or transfer.kind != "sent":
        raise ApiError(
            RejectReason.UNKNOWN_ORDER,
            "no such transfer",
            required="the id of a transfer sent to this instance",
            found=transfer_id,
            action="the id is the EIP-712 digest; GET /v1/accounts/{account}/transfers lists yours",
        )
    return build_transfer(transfer)
