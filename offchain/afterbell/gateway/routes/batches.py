"""Serve batches: what was sealed, submitted, mined, final, and the fills each carries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from afterbell.domain.codes import RejectReason
from afterbell.gateway.deps import Before, CaughtUp, Limit
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.schemas import BatchDetailOut, BatchesOut
from afterbell.gateway.views import build_batch, build_trade

router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=ERROR_RESPONSES)


@router.get("")
async def get_batches(services: CaughtUp, limit: Limit = 50, before: Before = None) -> BatchesOut:
    """Return batches, newest first."""
    readmodel = services.readmodel
    views = await readmodel.run(readmodel.read_batches, limit=limit, before=before)
    return BatchesOut(batches=[build_batch(view) for view in views])


@router.get("/{sequence}")
async def get_batch(services: CaughtUp, sequence: Annotated[int, Path(ge=0, lt=2**40)]) -> BatchDetailOut:
    """Return one batch with its fills."""
    readmodel = services.readmodel
    view = await readmodel.run(readmodel.get_batch, sequence)
    if view is None:
        raise ApiError(
            RejectReason.UNKNOWN_BATCH,
            "no such batch",
            required="the sequence of a sealed batch",
            found=str(sequence),
            action="GET /v1/batches",
        )
    fills = await readmodel.run(readmodel.read_fills_of_batch, sequence)
    return BatchDetailOut(
        **build_batch(view).model_dump(), fills=[build_trade(fill, services.hub.symbols) for fill in fills]
    )
