"""`ape run deploy`, `govern` and `rotate_sequencer`, as a deployer, a governor and a guardian type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from afterbell.adapters.anvil import Anvil
from afterbell.domain.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[2]
# Test accounts of a development node: keys of 5 and 6, addresses of 1, 7 and 8.
GOVERNOR_KEY = "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"
GUARDIAN_KEY = "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"
SEQUENCER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
STANDBY = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"
NOBODY = "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"
# 9 contracts, 5 markets, guardian, standby, 3 governorships offered and taken.
N_TRANSACTIONS = 22


class Shell:
    """A person at a terminal, with a local chain and key files of their own."""

    def __init__(self, anvil: Anvil, folder: Path) -> None:
        self.anvil = anvil
        self.folder = folder
        for name, key in (("governor", GOVERNOR_KEY), ("guardian", GUARDIAN_KEY)):
            path = folder / f"{name}.key"
            path.write_text(key)
            path.chmod(0o600)

    def run(self, *words: str) -> str:
        """Run `ape run …` on the chain and return what it said."""
        return self.ape(
            *("run", *words, "--network", f"ethereum:local:{self.anvil.url}"),
            *("--manifest", str(self.folder / "manifest.json")),
        )

    def ape(self, *words: str) -> str:
        """Run ape in the checkout and return what it said."""
        binaries = Path(sys.executable).parent
        environment = {
            **os.environ,
            # ape finds vyper on PATH, and must not find the person's own accounts and settings.
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "APE_DATA_FOLDER": str(self.folder / "ape"),
        }
        result = subprocess.run(
            [str(binaries / "ape"), *words],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = result.stdout + result.stderr
        assert result.returncode == 0, said
        return said

    def key(self, name: str) -> tuple[str, str]:
        return "--key", str(self.folder / f"{name}.key")

    @property
    def block(self) -> int:
        return int(str(self.anvil.call("eth_blockNumber")), 16)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Anvil.start(genesis_s=1_109_683_800, log_path=tmp_path / "anvil.log") as anvil:
        yield Shell(anvil, tmp_path)


def test_ape_compile__contract_that_imports_snekmate__finds_it_in_the_venv(shell: Shell) -> None:
    assert "contracts/Timelock.vy" in shell.ape("compile", "--force", "Timelock")


def test_ape_run__deployer_governor_and_guardian__each_does_a_part(shell: Shell) -> None:
    """What the scripts do lies in adapters/; this shows that their words reach it. A run costs seconds: few of them."""
    first = shell.run("deploy")
    manifest = (shell.folder / "manifest.json").read_bytes()
    second = shell.run("deploy")

    assert f"standby    {STANDBY}  may be rotated to" in first
    assert "nonce 21   Timelock.accept MarketRegistry" in first
    assert f"{N_TRANSACTIONS} transactions sent" in first
    assert "already deployed, nothing sent" in second
    assert (shell.folder / "manifest.json").read_bytes() == manifest
    assert parse_manifest(manifest).chain_id == 31337
    assert shell.block == N_TRANSACTIONS

    # A call is seen before it is sent, under the same id.
    words = ("govern", "schedule", "MarketRegistry.approve_sequencer", NOBODY)
    dry = shell.run(*words, "--dry-run")
    assert f"effect  standby {NOBODY}: False -> True" in dry
    assert shell.block == N_TRANSACTIONS
    scheduled = shell.run(*words, *shell.key("governor"))
    call_id = re.findall(r"0x[0-9a-f]{64}", scheduled)[-1]
    assert call_id in dry
    assert "scheduled: WAITING" in scheduled
    assert "cancelled: CANCELLED" in shell.run("govern", "cancel", call_id, *shell.key("guardian"))

    rotated = shell.run("rotate_sequencer", "--to", STANDBY, *shell.key("guardian"), "--revoke-old")
    assert f"sequencer  {SEQUENCER} -> {STANDBY.lower()}" in rotated
    assert f"rotated: {STANDBY} settles now" in rotated
