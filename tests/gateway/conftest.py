"""Run asynchronous tests on a venue of their own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from afterbell.gateway.services import GatewayLimits
from afterbell.readmodel.database import open_database, sqlite_dsn
from tests.gateway.venue import Venue, open_venue

Scenario: TypeAlias = Callable[[Venue], Awaitable[Any]]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one empty database; copies of it start in a fifth of the time."""
    path = tmp_path_factory.mktemp("migrated") / "readmodel.sqlite"
    open_database(sqlite_dsn(path)).dispose()
    return path


@pytest.fixture
def play(tmp_path: Path, migrated: Path) -> Callable[..., Any]:
    """Return a function that runs a scenario on a fresh venue and gives back what it returns."""
    shutil.copy(migrated, tmp_path / "readmodel.sqlite")

    def run(scenario: Scenario, *, limits: GatewayLimits | None = None) -> Any:
        async def live() -> Any:
            async with open_venue(tmp_path, limits=limits) as venue:
                async with asyncio.timeout(60):
                    return await scenario(venue)

        return asyncio.run(live())

    return run
