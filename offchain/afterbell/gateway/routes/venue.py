"""Serve what the venue is: addresses, domain, bounds, clock, health."""

from __future__ import annotations

from fastapi import APIRouter, Response

from afterbell.domain import batch as batch_format
from afterbell.domain.digests import (
    CANCEL_ALL_TYPE,
    CANCEL_ORDER_TYPE,
    DOMAIN_NAME,
    DOMAIN_VERSION,
    ORDER_TYPE,
    WITHDRAW_TYPE,
)
from afterbell.domain.ids import MAX_SUBACCOUNT, address_hex
from afterbell.domain.order import MAX_LIFETIME_S
from afterbell.gateway.deps import ServicesDep
from afterbell.gateway.schemas import BoundsOut, ClockOut, DomainOut, ReadyOut, VenueOut
from afterbell.gateway.services import Services

router = APIRouter(tags=["venue"])
SETTLE_LAG_S = 300


@router.get("/v1/venue")
async def get_venue(services: ServicesDep) -> VenueOut:
    """Return what a client must know before it signs."""
    venue = services.venue
    return VenueOut(
        name=venue.name,
        chain_id=venue.chain_id,
        is_local_chain=venue.is_local_chain,
        genesis_s=venue.genesis_s,
        confirmations_blocks=venue.confirmations_blocks,
        addresses=dict(venue.addresses),
        domain=DomainOut(
            name=DOMAIN_NAME,
            version=DOMAIN_VERSION,
            chain_id=venue.chain_id,
            verifying_contract=address_hex(venue.clearinghouse),
        ),
        types={
            "Order": ORDER_TYPE,
            "Withdraw": WITHDRAW_TYPE,
            "CancelOrder": CANCEL_ORDER_TYPE,
            "CancelAll": CANCEL_ALL_TYPE,
        },
        bounds=BoundsOut(
            max_orders=batch_format.MAX_ORDERS,
            max_fills=batch_format.MAX_FILLS,
            max_accounts=batch_format.MAX_ACCOUNTS,
            max_operations=batch_format.MAX_OPERATIONS,
            max_open_markets=6,
            max_subaccount=str(MAX_SUBACCOUNT),
            max_order_lifetime_s=MAX_LIFETIME_S,
            settle_lag_s=SETTLE_LAG_S,
            max_seq_ahead_ms=services.state().config.max_seq_ahead_ms,
        ),
        labels=dict(venue.labels),
    )


@router.get("/v1/clock")
async def get_clock(services: ServicesDep) -> ClockOut:
    """Return venue time; sign with it, never with your own clock."""
    return build_clock(services)


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """Answer as long as the process turns."""
    return {"status": "up"}


@router.get("/readyz", responses={503: {"model": ReadyOut}})
async def get_readiness(services: ServicesDep, response: Response) -> ReadyOut:
    """Tell whether every part is ready; 503 until then."""
    checks = dict(services.readiness())
    is_ready = all(checks.values())
    if not is_ready:
        response.status_code = 503
    return ReadyOut(is_ready=is_ready, checks=checks)


def build_clock(services: Services) -> ClockOut:
    """Show the venue clock."""
    status = services.clock_status()
    return ClockOut.model_validate(
        {
            "venue_time_ms": services.clock.now_ms(),
            "step": status.step,
            "step_time_ms": status.step_time_ms,
            "next_step_ms": status.next_step_ms,
            "speed": status.speed,
            "mode": status.mode,
        }
    )
