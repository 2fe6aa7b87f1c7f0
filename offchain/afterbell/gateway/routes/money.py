"""Have the venue's relayer send what anybody may send: claims of withdrawals, deposits signed with EIP-3009."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter

from afterbell.domain.codes import RejectReason
from afterbell.domain.errors import AfterbellError
from afterbell.domain.ids import address_hex, parse_address_hex
from afterbell.gateway.deps import Desk, DeskDep
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.requests import ClaimIn, DepositAuthorizationIn
from afterbell.gateway.schemas import RelayedOut
from afterbell.ports import DepositAuthorization, Relayer, RelayRefused
from afterbell.signing.keys import split_signature

router = APIRouter(prefix="/v1", tags=["money"], responses=ERROR_RESPONSES)


@router.post("/claims")
async def claim(desk: DeskDep, request: ClaimIn) -> RelayedOut:
    """Send `Vault.claim` for a recipient: everything that is mined and not paid yet goes there, and nowhere else."""
    recipient = parse_address_hex(request.recipient)
    return await _relay(desk, "claim", lambda relayer: relayer.claim(recipient))


@router.post("/deposits/authorization")
async def deposit_with_authorization(desk: DeskDep, request: DepositAuthorizationIn) -> RelayedOut:
    """Send a deposit the sender has signed; without gas of its own, and only as it was signed."""
    fields = request.authorization
    sender = parse_address_hex(fields.sender)
    try:
        r, vs = split_signature(bytes.fromhex(request.signature[2:]))
    except ValueError as error:
        raise ApiError(
            RejectReason.BAD_SIGNATURE,
            "the signature has no valid form",
            required=f"a low-s signature of {address_hex(sender)}, 64 or 65 bytes",
            found=str(error),
            action="sign ReceiveWithAuthorization under the token's own domain",
        ) from error
    compact = int.from_bytes(vs, "big")
    authorization = DepositAuthorization(
        sender=sender,
        owner=parse_address_hex(fields.owner),
        subaccount=fields.subaccount,
        quote=fields.quote,
        valid_after_s=fields.valid_after_s,
        valid_before_s=fields.valid_before_s,
        salt=bytes.fromhex(fields.salt[2:]),
        key=parse_address_hex(fields.key),
        limits=fields.limits,
        # EIP-2098 keeps the parity in the top bit of s.
        v=27 + (compact >> 255),
        r=r,
        s=(compact & ((1 << 255) - 1)).to_bytes(32, "big"),
    )
    return await _relay(desk, "deposit", lambda relayer: relayer.deposit_with_authorization(authorization))


async def _relay(desk: Desk, kind: str, send: Callable[[Relayer], Awaitable[bytes]]) -> RelayedOut:
    services, notes = desk.services, desk.notes
    if services.relayer is None:
        raise ApiError(
            RejectReason.NOT_READY,
            "no relayer runs here",
            required="a venue with a relayer",
            found="none",
            action="send the transaction with a wallet of your own",
        )
    notes.take(desk.limiters.relayed, notes.address)
    count = services.metrics.relayed
    try:
        transaction = await send(services.relayer)
    except RelayRefused as error:
        count.labels(kind, error.reason.value).inc()
        raise
    except AfterbellError:
        count.labels(kind, "unavailable").inc()
        raise
    count.labels(kind, "sent").inc()
    return RelayedOut(transaction="0x" + transaction.hex())
