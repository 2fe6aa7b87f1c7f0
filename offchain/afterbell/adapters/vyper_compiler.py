"""Compile contracts/ with the venv's Vyper and keep each result beside the checkout, keyed by what went into it.

Evm version and optimiser stand as pragmas in each source: sources and compiler version alone decide the bytes.
Must not: deploy, or trust a file whose key it did not compute from the sources that are there now.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from afterbell.adapters.project import find_project_root
from afterbell.domain.errors import AfterbellError

_FORMATS: Final = ("abi", "bytecode", "bytecode_runtime", "layout", "method_identifiers")
_N_WORKERS: Final = 2
_N_KEPT_BUILDS: Final = 4
"""Of one contract."""
_IMPORT: Final = re.compile(r"^from (\w+|\.) import (\w+)", re.MULTILINE)


class CompilationFailed(AfterbellError):
    """A contract does not compile; the message is the compiler's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One deployable contract."""

    name: str
    abi: list[dict[str, Any]]
    creation_code: bytes
    runtime_code: bytes
    """Without immutables: what stands on chain has them appended."""
    layout: Mapping[str, Any]
    method_identifiers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """All deployable contracts of one state of the sources."""

    source_hash: str
    compiler: str
    contracts: Mapping[str, Artifact]

    def __getitem__(self, name: str) -> Artifact:
        return self.contracts[name]


def find_compiler() -> str:
    """Return the compiler's version."""
    return f"vyper {version('vyper')}"


def compile_contracts(*, is_forced: bool = False) -> Artifacts:
    """Return every contract of contracts/ and contracts/mocks/, compiled now or earlier from the same sources.

    is_forced: compile even if a result is kept. Raises: CompilationFailed, CheckoutMissing.
    """
    root = find_project_root()
    contracts = root / "contracts"
    source_hash = compute_source_hash(contracts)
    builds = root / ".build" / "contracts"
    with _lock(builds):
        sources = sorted([*contracts.glob("*.vy"), *(contracts / "mocks").glob("*.vy")])
        with ThreadPoolExecutor(_N_WORKERS) as pool:
            artifacts = list(
                pool.map(
                    lambda source: _load_or_compile(source, contracts, builds / source.stem, is_forced=is_forced),
                    sources,
                )
            )
    return Artifacts(
        source_hash=source_hash,
        compiler=find_compiler(),
        contracts={artifact.name: artifact for artifact in artifacts},
    )


def compile_contract(name: str) -> Artifact:
    """Return one contract, compiled now or earlier; others need not compile. Raises: CompilationFailed."""
    contracts = find_project_root() / "contracts"
    builds = find_project_root() / ".build" / "contracts"
    source = next(path for path in (contracts / f"{name}.vy", contracts / "mocks" / f"{name}.vy") if path.exists())
    with _lock(builds):
        return _load_or_compile(source, contracts, builds / name, is_forced=False)


def compute_source_hash(contracts: Path) -> str:
    """Return sha256 over compiler and library version and every source with its relative path; 64 digits."""
    return _hash_sources(contracts, {path for kind in ("*.vy", "*.vyi") for path in contracts.rglob(kind)})


def _hash_sources(contracts: Path, paths: set[Path]) -> str:
    # snekmate is imported from beside the compiler: Vyper searches site-packages too.
    digest = hashlib.sha256(f"{find_compiler()} snekmate {version('snekmate')}".encode())
    for path in sorted(paths):
        for part in (str(path.relative_to(contracts)).encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _find_imports(source: Path, contracts: Path) -> set[Path]:
    """Return a source and everything of ours it imports, however far."""
    found: set[Path] = set()
    waiting = {source}
    while waiting:
        path = waiting.pop()
        found.add(path)
        for folder, name in _IMPORT.findall(path.read_text()):
            at = path.parent if folder == "." else contracts / folder
            named = {at / f"{name}{suffix}" for suffix in (".vy", ".vyi")}
            waiting |= {one for one in named if one.exists()} - found
    return found


def _load_or_compile(source: Path, contracts: Path, folder: Path, *, is_forced: bool) -> Artifact:
    kept = folder / f"{_hash_sources(contracts, _find_imports(source, contracts))[:16]}.json"
    if is_forced or not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps(_compile(source, contracts)))
        partial.replace(kept)
        _drop_old_builds(folder, kept)
    read = json.loads(kept.read_text())
    return Artifact(
        name=source.stem,
        abi=read["abi"],
        creation_code=bytes.fromhex(read["bytecode"].removeprefix("0x")),
        runtime_code=bytes.fromhex(read["bytecode_runtime"].removeprefix("0x")),
        layout=read["layout"],
        method_identifiers=read["method_identifiers"],
    )


def _compile(source: Path, contracts: Path) -> dict[str, Any]:
    compiler = Path(sys.executable).with_name("vyper")
    result = subprocess.run(
        [str(compiler), "-f", ",".join(_FORMATS), "--path", str(contracts), str(source)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode != 0:
        raise CompilationFailed(f"{source.name} must compile:\n{result.stderr.strip()}")
    # One line a format, in the order asked for; the two codes are bare hexadecimal text.
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    if len(lines) != len(_FORMATS):
        raise CompilationFailed(f"{source.name}: {len(_FORMATS)} outputs are required, found {len(lines)}")
    return {
        name: line if name.startswith("bytecode") else json.loads(line)
        for name, line in zip(_FORMATS, lines, strict=True)
    }


@contextmanager
def _lock(builds: Path) -> Iterator[None]:
    """Let one process compile at a time: the others find the result."""
    builds.mkdir(parents=True, exist_ok=True)
    with (builds / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _drop_old_builds(folder: Path, current: Path) -> None:
    others = [path for path in folder.iterdir() if path != current]
    for path in sorted(others, key=lambda path: path.stat().st_mtime_ns, reverse=True)[_N_KEPT_BUILDS - 1 :]:
        path.unlink(missing_ok=True)
