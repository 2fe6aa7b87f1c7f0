"""One venue with one history for all tests of the verifier; each test puts back what it alters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from afterbell.bench.local_venue import LocalVenue
from tests.verify.trading_history import Participants, trade


@dataclass(frozen=True, slots=True, kw_only=True)
class Traded:
    """A venue with its history."""

    venue: LocalVenue
    people: Participants


@pytest.fixture(scope="session")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traded]:
    with LocalVenue.start(tmp_path_factory.mktemp("verify")) as venue:
        yield Traded(venue=venue, people=trade(venue))
