"""Every contract fits the limit of EIP-170 as deployed, immutables included; how much room each has is in a snapshot.

After a change run with AFTERBELL_UPDATE_SNAPSHOTS=1 and commit the numbers: who grows a contract sees what is left.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.chain import Chain, artifacts

LIMIT_BYTES = 24_576
N_PADDING = 33
SNAPSHOT = Path(__file__).parent.parent / "snapshots" / "sizes.json"
CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"


def measure_sizes() -> dict[str, int]:
    """Return the size of every contract of contracts/ on chain: its runtime code and its immutables behind it."""
    sizes = {}
    for path in sorted(CONTRACTS.glob("*.vy")):
        artifact = artifacts()[path.stem]
        parts = artifact.layout.get("code_layout", {}).values()
        sizes[path.stem] = len(artifact.runtime_code) + sum(part["length"] for part in parts)
    return sizes


def test_sizes__every_contract__below_the_limit_and_as_in_the_snapshot() -> None:
    sizes = measure_sizes()
    found = {name: {"bytes": size, "margin": LIMIT_BYTES - size} for name, size in sizes.items()}
    if os.environ.get("AFTERBELL_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(found, indent=2) + "\n")

    assert min(sizes.values()) > 0
    assert max(sizes.values()) <= LIMIT_BYTES, sizes
    assert found == json.loads(SNAPSHOT.read_text())


def test_sizes__computed__are_those_on_chain() -> None:
    chain = Chain.deploy()
    sizes = measure_sizes()

    codes = {name: chain.evm.get_code(chain.addresses[name]) or b"" for name in chain.contracts if name in sizes}
    # revm hands out code with the 33 zero bytes its interpreter wants behind it.
    assert all(code.endswith(bytes(N_PADDING)) for code in codes.values())
    deployed = {name: len(code) - N_PADDING for name, code in codes.items()}

    assert len(deployed) > 10
    assert deployed == {name: sizes[name] for name in deployed}
