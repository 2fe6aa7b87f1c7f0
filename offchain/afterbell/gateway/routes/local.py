"""Serve what only a local chain has: the faucet and a narrow way to the node."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from afterbell.domain.codes import RejectReason
from afterbell.domain.ids import address_hex, parse_address_hex
from afterbell.gateway.deps import LimitersDep, Notes, ServicesDep
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError, shorten
from afterbell.gateway.requests import FaucetIn, RpcIn
from afterbell.gateway.rpc import ALLOWED_METHODS
from afterbell.gateway.schemas import FaucetOut

router = APIRouter(prefix="/v1", tags=["local chain"], responses=ERROR_RESPONSES)


def _not_here(what: str) -> ApiError:
    return ApiError(
        RejectReason.UNSUPPORTED,
        f"there is no {what} here",
        status=404,
        required="a local chain",
        found="a chain with real money, or a venue started without it",
        action="use your own wallet and node",
    )


@router.post("/faucet")
async def fund_address(services: ServicesDep, limiters: LimitersDep, notes: Notes, request: FaucetIn) -> FaucetOut:
    """Send test USDC and gas to an address."""
    if services.faucet is None or not services.venue.is_local_chain:
        raise _not_here("faucet")
    address = parse_address_hex(request.address)
    notes.take(limiters.faucet, notes.address)
    grant = await services.faucet(address)
    return FaucetOut(
        address=address_hex(address),
        usdc_quote=str(grant.usdc_quote),
        gas_wei=str(grant.gas_wei),
        transactions=["0x" + transaction.hex() for transaction in grant.transactions],
    )


@router.post("/rpc")
async def call_node(services: ServicesDep, request: RpcIn) -> dict[str, Any]:
    """Pass a JSON-RPC call on to the local node."""
    if services.rpc is None or not services.venue.is_local_chain:
        raise _not_here("node")
    if request.method not in ALLOWED_METHODS:
        raise ApiError(
            RejectReason.UNSUPPORTED,
            "this method is not passed on",
            status=400,
            required=", ".join(sorted(ALLOWED_METHODS)),
            found=shorten(request.method),
            action="start a node of your own for anything else",
        )
    return {"jsonrpc": "2.0", "id": request.id} | dict(await services.rpc(request.method, request.params))
