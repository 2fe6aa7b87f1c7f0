"""Fixtures of the keepers' tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real TSLA files; they are not part of the repository, so tests skip without them."""
    places = [Path(os.environ.get("AFTERBELL_SHARED_DATA", "")), Path(__file__).parents[3] / "shared" / "data"]
    for folder in places:
        if (folder / "TSLA_daily.csv").is_file():
            return folder
    pytest.skip("no shared data folder: set AFTERBELL_SHARED_DATA to run this test")


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"
