"""Build the ASGI application from the services it is given."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from afterbell.gateway import requests, schemas
from afterbell.gateway.errors import install_error_handlers
from afterbell.gateway.limits import BodyLimit, Limiters, RateLimiter
from afterbell.gateway.observe import Observe
from afterbell.gateway.routes import (
    accounts,
    batches,
    keys,
    local,
    markets,
    money,
    orders,
    stream,
    transfers,
    venue,
    withdrawals,
)
from afterbell.gateway.routes.page import install_page
from afterbell.gateway.services import GatewayLimits, Services
from afterbell.gateway.signatures import SignatureChecker

_DESCRIPTION = """Perpetual futures on single stocks, settled on chain.

Orders, cancellations, withdrawals and session keys are EIP-712 messages of the account's owner, orders and
cancellations also of a session key the owner has linked; everything else is a public read.
Sign with venue time (`/v1/clock`), never with your own clock. `*_quote` are 1e-6 USDC as decimal strings; one lot times
one tick is one quote unit."""


class _Gateway(FastAPI):
    """FastAPI, but its schema keeps the nulls of examples, which FastAPI drops although they mean something here."""

    def openapi(self) -> dict[str, Any]:
        """Return the schema behind /openapi.json."""
        if self.openapi_schema is None:
            for name, shape in super().openapi()["components"]["schemas"].items():
                model = getattr(schemas, name, None) or getattr(requests, name, None)
                if model is not None:
                    shape["example"] = model.model_config["json_schema_extra"]["example"]
        return super().openapi()


def _build_limiters(limits: GatewayLimits) -> Limiters:
    return Limiters(
        reads=RateLimiter(n_per_period=limits.n_reads_per_s),
        signed=RateLimiter(n_per_period=limits.n_requests_per_s),
        faucet=RateLimiter(n_per_period=limits.n_faucet_per_minute, period_s=60),
        relayed=RateLimiter(n_per_period=limits.n_relayed_per_minute, period_s=60),
    )


def create_app(services: Services) -> FastAPI:
    """Return the gateway; whoever runs it also runs services.hub and the projector."""
    app = _Gateway(title="Afterbell", version="1", description=_DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.signatures = SignatureChecker(services.venue.domain())
    app.state.limiters = _build_limiters(services.limits)
    install_error_handlers(app)
    app.add_middleware(BodyLimit, max_body_bytes=services.limits.max_body_bytes)
    # Added last, so it is the outermost.
    app.add_middleware(Observe, limiters=app.state.limiters, metrics=services.metrics)
    # Routes are tried in this order: the busiest first.
    for part in (orders, stream, accounts, markets, keys, withdrawals, transfers, money, venue, batches, local):
        app.include_router(part.router)
    install_page(app, services.node_modules)
    return app
