"""Every contract fits the limit of EIP-170 as deployed, immutables included."""

from __future__ import annotations

from tests.support.chain import Chain

LIMIT_BYTES = 24_576


def test_sizes__every_contract__below_the_limit() -> None:
    chain = Chain.deploy()

    sizes = {name: len(chain.evm.get_code(chain.addresses[name]) or b"") for name in chain.contracts}

    assert min(sizes.values()) > 0
    assert max(sizes.values()) <= LIMIT_BYTES, sizes
