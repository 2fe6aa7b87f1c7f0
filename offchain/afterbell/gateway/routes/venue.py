"""Serve what the venue is: addresses, domain, bounds, clock, health."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST as METRICS_MEDIA_TYPE

from afterbell.domain import batch as batch_format
from afterbell.domain.digests import (
    CANCEL_ALL_TYPE,
    CANCEL_ORDER_TYPE,
    DOMAIN_NAME,
    DOMAIN_VERSION,
    LINK_KEY_TYPE,
    ORDER_TYPE,
    REVOKE_KEY_TYPE,
    TRANSFER_TYPE,
    WITHDRAW_TYPE,
)
from afterbell.domain.ids import MAX_SUBACCOUNT, address_hex
from afterbell.domain.order import MAX_KEY_LIFETIME_S, MAX_LIFETIME_S
from afterbell.domain.words import MAX_OPEN_MARKETS
from afterbell.gateway.deps import ServicesDep
from afterbell.gateway.requests import MAX_BATCH_ITEMS
from afterbell.gateway.schemas import BoundsOut, ClockOut, DomainOut, PartOut, ReadyOut, VenueOut
from afterbell.gateway.services import Services

router = APIRouter(tags=["venue"])


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
            "Transfer": TRANSFER_TYPE,
            "LinkKey": LINK_KEY_TYPE,
            "RevokeKey": REVOKE_KEY_TYPE,
        },
        bounds=BoundsOut(
            max_orders=batch_format.MAX_ORDERS,
            max_fills=batch_format.MAX_FILLS,
            max_accounts=batch_format.MAX_ACCOUNTS,
            max_operations=batch_format.MAX_OPERATIONS,
            max_open_markets=MAX_OPEN_MARKETS,
            max_subaccount=str(MAX_SUBACCOUNT),
            max_order_lifetime_s=MAX_LIFETIME_S,
            max_key_lifetime_s=MAX_KEY_LIFETIME_S,
            max_batch_items=MAX_BATCH_ITEMS,
            settle_lag_s=batch_format.SETTLE_LAG_S,
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
    parts = services.readiness()
    is_ready = all(part.is_ready for part in parts)
    if not is_ready:
        response.status_code = 503
    return ReadyOut(
        is_ready=is_ready,
        parts=[PartOut(name=part.name, ready=part.is_ready, reason=part.reason) for part in parts],
    )


@router.get("/metrics", include_in_schema=False)
async def get_metrics(services: ServicesDep) -> Response:
    """Return what Prometheus collects; some gauges ask the database, so it is not done on the loop."""
    return Response(await services.readmodel.run(services.metrics.render), media_type=METRICS_MEDIA_TYPE)


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
