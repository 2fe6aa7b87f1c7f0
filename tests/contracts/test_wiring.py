"""Constructors: every contract names real neighbours, and those that must name each other do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.contracts.venue import refused
from tests.support.chain import DEPLOYER, GENESIS_S, GOVERNOR, OUTSIDER, ZERO_ADDRESS, Chain, predict_address

ARGUMENTS: Final = (
    "vault", "oracle", "registry", "operations", "liquidations", "exits", "corporate_actions", "token", "sequencer",
    "genesis_s",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared_chain() -> Chain:
    return Chain.deploy()


@pytest.fixture
def chain(shared_chain: Chain) -> Iterator[Chain]:
    """Lend a deployed chain; the deployer's nonce goes back too."""
    nonce, addresses = shared_chain.nonce, dict(shared_chain.addresses)
    with shared_chain.undone():
        yield shared_chain
    shared_chain.nonce, shared_chain.addresses = nonce, addresses


def build_neighbours(chain: Chain, **named: Any) -> dict[str, Any]:
    """Deploy every neighbour that names the Clearinghouse created next; what is `named` differs."""
    here = predict_address(DEPLOYER, chain.nonce + 6)
    vault, operations = predict_address(DEPLOYER, chain.nonce), predict_address(DEPLOYER, chain.nonce + 2)
    chain.create(
        "Vault", chain.addresses["token"], named.get("vault_names", here), named.get("vault_operations", operations)
    )
    source = chain.addresses["SignedPriceSource"]
    chain.create("PriceOracle", GOVERNOR, source, named.get("oracle_names", here), GOVERNOR, GOVERNOR)
    chain.create("Operations", named.get("operations_name", here), named.get("operations_vault", vault))
    chain.create("Liquidations", named.get("liquidations_name", here), GOVERNOR)
    chain.create("Exits", named.get("exits_name", here), vault, ZERO_ADDRESS)
    chain.create("CorporateActions", GOVERNOR, named.get("corporate_actions_name", here), GOVERNOR, GOVERNOR, GOVERNOR)
    return {
        "vault": vault,
        "oracle": chain.addresses["PriceOracle"],
        "registry": GOVERNOR,
        "operations": operations,
        "liquidations": chain.addresses["Liquidations"],
        "exits": chain.addresses["Exits"],
        "corporate_actions": chain.addresses["CorporateActions"],
        "token": chain.addresses["token"],
        "sequencer": GOVERNOR,
        "genesis_s": GENESIS_S,
        "here": here,
    }


def create(chain: Chain, neighbours: dict[str, Any]) -> str:
    return chain.create("Clearinghouse", *(neighbours[name] for name in ARGUMENTS))


def test_clearinghouse__neighbours_that_name_it__is_deployed_and_names_them(chain: Chain) -> None:
    neighbours = build_neighbours(chain)

    assert create(chain, neighbours) == neighbours["here"]

    for getter in (
        "vault",
        "oracle",
        "registry",
        "operations",
        "liquidations",
        "exits",
        "corporate_actions",
        "genesis_s",
    ):
        answer = chain.call("Clearinghouse", getter.upper())
        assert str(answer).lower() == str(neighbours[getter]).lower()


@pytest.mark.parametrize(
    "named",
    ["vault_names", "vault_operations", "oracle_names", "operations_name", "operations_vault", "liquidations_name",
     "exits_name", "corporate_actions_name"],
)  # fmt: skip
def test_clearinghouse__a_neighbour_that_names_another__is_not_deployed(chain: Chain, named: str) -> None:
    """A second Clearinghouse cannot borrow the vault, the oracle or the Operations of the first."""
    neighbours = build_neighbours(chain, **{named: OUTSIDER})

    with refused("wiring: not mutual"):
        create(chain, neighbours)


def test_clearinghouse__another_token_than_the_vaults__is_not_deployed(chain: Chain) -> None:
    with refused("wiring: not mutual"):
        create(chain, build_neighbours(chain) | {"token": OUTSIDER})


@pytest.mark.parametrize("place", ["oracle", "registry", "sequencer"])
def test_clearinghouse__wired_to_zero__is_not_deployed(chain: Chain, place: str) -> None:
    with refused("wiring: zero address"):
        create(chain, build_neighbours(chain) | {place: ZERO_ADDRESS})


@pytest.mark.parametrize(("place", "reason"), [(0, "wiring: zero address"), (1, "wiring: zero address")])
def test_operations__wired_to_zero__is_not_deployed(chain: Chain, place: int, reason: str) -> None:
    arguments = [chain.addresses["Clearinghouse"], chain.addresses["Vault"]]
    arguments[place] = ZERO_ADDRESS

    with refused(reason):
        chain.create("Operations", *arguments)


@pytest.mark.parametrize("is_late", [False, True])
def test_clearinghouse__genesis_in_the_future__is_not_deployed(chain: Chain, is_late: bool) -> None:
    neighbours = build_neighbours(chain) | {"genesis_s": chain.time_s + is_late}

    if is_late:
        with refused("batch: matched at"):
            create(chain, neighbours)
    else:
        assert create(chain, neighbours) == neighbours["here"]
