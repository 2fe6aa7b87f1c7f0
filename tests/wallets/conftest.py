"""One venue on a real node for the package, put back after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.venue import Venue
from tests.support.node_chain import NodeMachine, open_machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeMachine]:
    with open_machine(tmp_path_factory.mktemp("node")) as machine:
        yield machine


@pytest.fixture(scope="session")
def opened(machine: NodeMachine) -> Venue:
    """A venue with two priced markets; MAKER and TAKER hold 10,000 USDC of collateral each."""
    return Venue.open(machine=machine, n_markets=2)


@pytest.fixture
def venue(opened: Venue) -> Iterator[Venue]:
    seq = opened.seq
    checkpoint = opened.chain.evm.snapshot()
    yield opened
    opened.chain.evm.revert(checkpoint)
    opened.seq = seq
