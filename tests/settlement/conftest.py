"""One deployed chain for all settlement tests, put back before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.venue import Venue, open_venue


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    with open_venue(tmp_path_factory.mktemp("settlement")) as venue:
        yield venue


@pytest.fixture
def venue(deployed: Venue) -> Venue:
    deployed.rewind()
    return deployed
