"""One desk for the package, put back as it was after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.desk import Desk


@pytest.fixture(scope="session")
def shared_desk() -> Desk:
    """Deploy and fund once."""
    return Desk.open()


@pytest.fixture
def desk(shared_desk: Desk) -> Iterator[Desk]:
    """Lend the desk; whatever a test does is undone."""
    with shared_desk.chain.undone():
        yield shared_desk
