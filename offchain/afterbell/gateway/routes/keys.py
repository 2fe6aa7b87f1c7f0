"""Link and revoke session keys: operations of the owner alone, carried by the open batch."""

from __future__ import annotations

from fastapi import APIRouter

from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import LinkKey, RevokeKey
from afterbell.domain.events import KeyOperationRejected
from afterbell.domain.ids import AccountId, owner_of, parse_account_hex, parse_address_hex, subaccount_of
from afterbell.domain.order import LinkKey as LinkKeyMessage
from afterbell.domain.order import RevokeKey as RevokeKeyMessage
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.gateway.deps import Desk, DeskDep, catch_up, row_key
from afterbell.gateway.entry import authorise, must_be_operation, must_be_owner
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.requests import LinkKeyIn, RevokeKeyIn
from afterbell.gateway.schemas import KeyOut
from afterbell.gateway.views import build_key

router = APIRouter(prefix="/v1/keys", tags=["session keys"], responses=ERROR_RESPONSES)


@router.post("")
async def link_key(desk: DeskDep, request: LinkKeyIn) -> KeyOut:
    """Let a key sign for the account within limits; its orders are taken at once."""
    fields = request.link_key
    account, key = parse_account_hex(fields.account), parse_address_hex(fields.key)
    message = LinkKeyMessage(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        key=key,
        key_expiry_s=fields.key_expiry_s,
        max_notional_quote=fields.max_notional_quote,
        markets=sum(1 << (market - 1) for market in set(fields.markets)),
        trade_only=fields.trade_only,
        reduce_only=fields.reduce_only,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = await authorise(desk, message, request.signature, is_approved=request.approved, named=request.domain)
    must_be_owner(checked, message.owner, "link or revoke keys")
    command = LinkKey(
        operation_id=checked.digest,
        account=account,
        key=key,
        key_expiry_s=message.key_expiry_s,
        max_notional_quote=message.max_notional_quote,
        markets=message.markets,
        trade_only=message.trade_only,
        reduce_only=message.reduce_only,
        expiry_s=message.expiry_s,
        nonce=fields.nonce,
        r=checked.r,
        vs=checked.vs,
        is_approved=checked.is_approved,
    )
    return await _carry_out(desk, command, account, key)


@router.post("/revoke")
async def revoke_key(desk: DeskDep, request: RevokeKeyIn) -> KeyOut:
    """Take every limit from a key; its live orders are cancelled at once."""
    fields = request.revoke_key
    account, key = parse_account_hex(fields.account), parse_address_hex(fields.key)
    message = RevokeKeyMessage(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        key=key,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = await authorise(desk, message, request.signature, is_approved=request.approved, named=request.domain)
    must_be_owner(checked, message.owner, "link or revoke keys")
    command = RevokeKey(
        operation_id=checked.digest,
        account=account,
        key=key,
        expiry_s=message.expiry_s,
        nonce=fields.nonce,
        r=checked.r,
        vs=checked.vs,
        is_approved=checked.is_approved,
    )
    return await _carry_out(desk, command, account, key)


async def _carry_out(desk: Desk, command: LinkKey | RevokeKey, account: AccountId, key: bytes) -> KeyOut:
    services = desk.services
    _, events = await services.submitter.submit(command)
    for event in events:
        if isinstance(event, KeyOperationRejected) and event.operation_id == command.operation_id:
            raise ApiError(
                RejectReason(event.reason),
                f"the operation is refused: {event.reason}",
                required=event.required,
                found=event.found,
                action=event.action,
                details={"operation_id": "0x" + event.operation_id.hex()},
            )
    await catch_up(services)
    view = await services.readmodel.run(services.readmodel.get_key, row_key(account), key)
    if view is None:
        raise ApiError(
            RejectReason.NOT_READY,
            "the operation is taken, but it cannot be shown yet",
            action="GET /v1/accounts/{account}/keys in a moment; do not sign it again",
            details={"operation_id": "0x" + command.operation_id.hex()},
        )
    return build_key(view, milliseconds_to_seconds(services.clock.now_ms()))
