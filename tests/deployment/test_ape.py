"""`ape run deploy`, as a deployer types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from afterbell.adapters.anvil import Anvil
from afterbell.domain.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[2]


def _ape_run_deploy(anvil: Anvil, folder: Path) -> str:
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        # ape finds vyper on PATH, and must not find the person's own accounts and settings.
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "APE_DATA_FOLDER": str(folder / "ape"),
    }
    command = [str(binaries / "ape"), "run", "deploy", "--network", f"ethereum:local:{anvil.url}"]
    result = subprocess.run(
        [*command, "--manifest", str(folder / "manifest.json")],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_ape_run_deploy__twice__deploys_once(tmp_path: Path) -> None:
    with Anvil.start(genesis_s=1_109_683_800, log_path=tmp_path / "anvil.log") as anvil:
        first = _ape_run_deploy(anvil, tmp_path)
        manifest = (tmp_path / "manifest.json").read_bytes()
        second = _ape_run_deploy(anvil, tmp_path)

    assert "12 transactions sent" in first
    assert "already deployed, nothing sent" in second
    assert (tmp_path / "manifest.json").read_bytes() == manifest
    assert parse_manifest(manifest).chain_id == 31337
