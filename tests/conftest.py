"""Profiles of the whole suite: how long a test may look for a counterexample.

    quick   while writing        AFTERBELL_PROFILE=quick pytest tests/engine
    ci      `make test`, the default
    deep    `make deep PART=…`: also the tests marked `deep`
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

PROFILE: Final = os.environ.get("AFTERBELL_PROFILE", "ci")

settings.register_profile("quick", max_examples=20, deadline=None)
# Two cores shared by two workers: a deadline would measure the neighbour. The same examples every time, so that a
# change and not the day decides; `deep` looks elsewhere.
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "deep", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(PROFILE)


@pytest.fixture(scope="session")
def profile() -> str:
    """Return quick, ci or deep: for tests that scale their rounds themselves."""
    return PROFILE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests marked `deep` to `make deep`."""
    if PROFILE == "deep":
        return
    for item in items:
        if item.get_closest_marker("deep") is not None:
            item.add_marker(pytest.mark.skip(reason="only in `make deep`"))
