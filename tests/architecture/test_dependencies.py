"""Every package imported is one that pyproject.toml names: what stands here by chance is missing elsewhere."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"afterbell", "tests", "scripts"}


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_names(requirements: list[str]) -> set[str]:
    return {_normalise(re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]) for requirement in requirements}


RUNTIME = _read_names(PROJECT["dependencies"])
DEV = RUNTIME | _read_names([line for extra in PROJECT["optional-dependencies"].values() for line in extra])


def _find_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize(
    ("folder", "declared"),
    [("offchain", RUNTIME), ("scripts", DEV), ("tests", DEV)],
    ids=["offchain", "scripts", "tests"],
)
def test_imports__searched__are_of_declared_packages(folder: str, declared: set[str]) -> None:
    distributions = packages_distributions()
    undeclared = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module in set(_find_imports(path.read_text())) - set(sys.stdlib_module_names) - OURS:
            names = {_normalise(name) for name in distributions.get(module, [f"{module} (not installed)"])}
            if not names & declared:
                undeclared[f"{path.relative_to(ROOT)}: {module}"] = sorted(names)

    assert undeclared == {}
