"""Contracts of others, from npm: what our own meet in the world, in the bytes their authors published or wrote.

`published` reads what a package ships compiled; `compiled` is tests/support/counterparts.sol, compiled once by npm's
solc and kept in .build. Neither is code of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
NODE_MODULES: Final = ROOT / "node_modules"
SOURCE: Final = Path(__file__).with_suffix(".sol")
COMPILE: Final = Path(__file__).with_name("compile_solidity.cjs")
_PROXIES: Final = "@openzeppelin/contracts/build/contracts"
_SAFE: Final = "@safe-global/safe-smart-account/build/artifacts/contracts"
PUBLISHED: Final = {
    "TransparentUpgradeableProxy": f"{_PROXIES}/TransparentUpgradeableProxy.json",
    "Safe": f"{_SAFE}/Safe.sol/Safe.json",
    "SafeProxyFactory": f"{_SAFE}/proxies/SafeProxyFactory.sol/SafeProxyFactory.json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterpart:
    """One contract of somebody else."""

    abi: list[dict[str, Any]]
    creation_code: bytes


@cache
def published(name: str) -> Counterpart:
    """Return a contract as its package ships it."""
    read = json.loads((NODE_MODULES / PUBLISHED[name]).read_text())
    return Counterpart(abi=read["abi"], creation_code=bytes.fromhex(read["bytecode"].removeprefix("0x")))


@cache
def compiled(name: str) -> Counterpart:
    """Return a contract of counterparts.sol."""
    read = json.loads(_compile_once().read_text())[name]
    return Counterpart(abi=read["abi"], creation_code=bytes.fromhex(read["creation_code"]))


def _compile_once() -> Path:
    lock = (ROOT / "package-lock.json").read_bytes()
    key = hashlib.sha256(SOURCE.read_bytes() + COMPILE.read_bytes() + lock).hexdigest()[:16]
    kept = ROOT / ".build" / "solidity" / f"{key}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        node = shutil.which("node")
        assert node, "node is required, found none on PATH: run `make install`"
        result = subprocess.run(
            [node, str(COMPILE), str(SOURCE), str(ROOT)], capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, result.stderr
        # several test processes may compile at once; each replaces the file by the same whole one
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(result.stdout)
        partial.replace(kept)
    return kept
