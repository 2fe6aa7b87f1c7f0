"""Imports point one way (DESIGN 4): the contracts of pyproject.toml are run, and shown to be able to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "offchain")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "offchain" / "afterbell",
        tmp_path / "offchain" / "afterbell",
        ignore=shutil.ignore_patterns("__pycache__", "page"),
    )
    return tmp_path


def test_imports__as_they_are__point_one_way() -> None:
    result = _lint_imports(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("domain/units.py", "afterbell.engine"),
        ("engine/book.py", "afterbell.sequencer"),
        ("sequencer/sequencer.py", "afterbell.settlement"),
        ("settlement/settler.py", "afterbell.adapters.web3_chain"),
        ("sdk/__init__.py", "afterbell.engine.book"),
        ("verify/fold.py", "afterbell.engine.apply"),
    ],
)
def test_imports__one_against_the_direction__is_named(copy: Path, importer: str, imported: str) -> None:
    planted = copy / "offchain" / "afterbell" / importer
    planted.write_text(f"import {imported}\n" + planted.read_text())

    result = _lint_imports(copy)

    module = "afterbell." + importer.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert result.returncode == 1
    assert f"{module} -> {imported}" in result.stdout, result.stdout
