"""Run asynchronous tests on a venue of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from afterbell.gateway.services import GatewayLimits
from tests.gateway.venue import Venue, open_venue

Scenario: TypeAlias = Callable[[Venue], Awaitable[Any]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs a scenario on a fresh venue and gives back what it returns."""

    def run(scenario: Scenario, *, limits: GatewayLimits | None = None) -> Any:
        async def live() -> Any:
            async with open_venue(tmp_path, limits=limits) as venue:
                async with asyncio.timeout(60):
                    return await scenario(venue)

        return asyncio.run(live())

    return run
