"""`ape run deploy`, `govern` and `rotate_sequencer`, as a deployer, a governor and a guardian type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afterbell.adapters.anvil import Anvil
from afterbell.domain.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[2]
# Test accounts of a development node: keys of 0, 5 and 6, addresses of 1, 7 and 9.
GOVERNOR_KEY = "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"
GUARDIAN_KEY = "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"
DEPLOYER_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
SEQUENCER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
STANDBY = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"
NOBODY = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
# 13 contracts, the calendar, 5 markets, guardian, announcer, standby, 4 governorships offered and taken.
N_TRANSACTIONS = 30


class Shell:
    """A person at a terminal, with a local chain and key files of their own."""

    def __init__(self, anvil: Anvil, folder: Path, network: str = "ethereum:local") -> None:
        self.anvil = anvil
        self.folder = folder
        self.network = network
        keys = (("governor", GOVERNOR_KEY), ("guardian", GUARDIAN_KEY), ("deployer", DEPLOYER_KEY))
        for name, key in keys:
            path = folder / f"{name}.key"
            path.write_text(key)
            path.chmod(0o600)

    def run(self, *words: str) -> str:
        """Run `ape run …` on the chain and return what it said."""
        return self.ape(
            *("run", *words, "--network", f"{self.network}:{self.anvil.url}"),
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

    def wait(self, seconds: int) -> None:
        """Let the next block come so much later."""
        block: Any = self.anvil.call("eth_getBlockByNumber", "latest", False)
        self.anvil.call("evm_setNextBlockTimestamp", int(block["timestamp"], 16) + seconds)
        self.anvil.call("evm_mine")

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
    assert "nonce 29   Timelock.accept CorporateActions" in first
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
    assert f"scheduled {call_id}: WAITING" in scheduled
    assert "cancelled: CANCELLED" in shell.run("govern", "cancel", call_id, *shell.key("guardian"))

    rotated = shell.run("rotate_sequencer", "--to", STANDBY, *shell.key("guardian"), "--revoke-old")
    assert f"sequencer  {SEQUENCER} -> {STANDBY.lower()}" in rotated
    assert f"rotated: {STANDBY} settles now" in rotated


FORTNIGHT_S = 14 * 86_400
# Test accounts 1 to 8 by role.
ROLES = (
    *("--sequencer", SEQUENCER),
    *("--publisher", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    *("--publisher", "0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
    *("--proposer", "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
    *("--executor", "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
    *("--guardian", "0x976EA74026E726554dB657fA54763abd0C3a0aa9"),
    *("--standby", STANDBY),
    *("--announcer", "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
)


@pytest.mark.parametrize(("network", "chain_id"), [("base:sepolia", 84_532), ("base:mainnet", 8_453)])
def test_ape_run__l2_by_name__deployed_listed_and_configured(tmp_path: Path, network: str, chain_id: int) -> None:
    """The way of a real venue: every role named, nothing asked, a fortnight between word and deed."""
    plan = tmp_path / "plan.yaml"
    text = (ROOT / "scripts" / "plans" / "local.yaml").read_text()
    plan.write_text(text.replace("synthetic: true}", "synthetic: true}\n  - {market_id: 6, symbol: NVDA}"))
    with Anvil.start(genesis_s=1_900_000_000, log_path=tmp_path / "anvil.log", chain_id=chain_id) as anvil:
        shell = Shell(anvil, tmp_path, network)
        governor = shell.key("governor")

        made = shell.run("deploy", *shell.key("deployer"), "--plan", "scripts/plans/local.yaml", *ROLES, "--yes")
        assert f"30 transactions sent; chain {chain_id}" in made
        assert parse_manifest((tmp_path / "manifest.json").read_bytes()).chain_id == chain_id

        listed = shell.run("list_market", *governor, "--plan", str(plan), "NVDA", "--yes")
        assert "effect  market 6 NVDA: not listed -> listed" in listed
        assert "effect  market 6 NVDA reference_ticks: 20000" in listed
        assert "now     it would succeed" in listed
        words = ("configure", *governor, "AAPL", "--rules", "REGULAR:band_ppm=90000", "--tiers", "100000+30000")
        dry = shell.run(*words, "--dry-run")
        configured = shell.run(*words, "--yes")
        for said in (dry, configured):
            assert "effect  AAPL REGULAR band_ppm: 100000 -> 90000  (trades and mark lie closer to it)" in said
            assert (
                "effect  AAPL tiers: 100000+25000, 250000+25000, 500000+50000 -> 100000+30000  "
                "(edge in USDC + maintenance ppm above it)" in said
            )
            assert (
                "effect  AAPL REGULAR: of 0 accounts with a position: liquidatable 0 -> 0; "
                "below initial margin 0 -> 0; over the cap 0 -> 0" in said
            )
        assert "dry run: nothing sent" in dry
        shell.wait(FORTNIGHT_S + 1)
        (listing,) = re.findall(r"scheduled (0x[0-9a-f]{64})", listed)
        rules, tiers = re.findall(r"scheduled (0x[0-9a-f]{64})", configured)
        assert "made: DONE" in shell.run("govern", "execute", listing, *governor, "--yes")
        assert "made: DONE" in shell.run("govern", "execute", rules, *governor, "--yes")
        # Rules that changed are not changed again before every match under the old ones has settled.
        shell.wait(601)
        assert "made: DONE" in shell.run("govern", "execute", tiers, *governor, "--yes")
        assert "3 scheduled" in shell.run("govern", "list")
