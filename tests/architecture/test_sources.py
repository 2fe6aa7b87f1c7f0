"""Rules of STYLE.md a machine checks well: integers where money is computed, pragmas in every Vyper file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "offchain" / "afterbell"
INTEGER_PACKAGES = ("domain", "engine", "settlement")


def _find_inexact(source: str) -> Iterator[str]:
    """Yield line and reason for each float, complex or Decimal and each true division."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float() | complex()):
                yield f"{node.lineno}: literal {node.value!r}"
            case ast.Name(id="float" | "complex" | "Decimal" | "Fraction"):
                yield f"{node.lineno}: {node.id}"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield f"{node.lineno}: true division"
            case ast.Import(names=names) if {name.name for name in names} & {"math", "decimal", "fractions", "random"}:
                yield f"{node.lineno}: import of {names[0].name}"
            case ast.ImportFrom(module="math" | "decimal" | "fractions" | "random"):
                yield f"{node.lineno}: import from {node.module}"


def _find_bare_division(source: str) -> Iterator[str]:
    """Yield line of each // on a value: Vyper truncates, Python floors, so units.py names every rounding."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.BinOp(left=ast.Name(id=name), op=ast.FloorDiv()) if name.isupper():
                pass  # half of a bound
            case ast.BinOp(op=ast.FloorDiv()) | ast.AugAssign(op=ast.FloorDiv()):
                yield f"{node.lineno}: bare //"


def _modules(package: str) -> list[Path]:
    modules = sorted((PACKAGE / package).rglob("*.py"))
    assert modules, package
    return modules


@pytest.mark.parametrize("package", INTEGER_PACKAGES)
def test_integer_packages__searched__hold_no_float(package: str) -> None:
    found = [f"{path.name}:{hit}" for path in _modules(package) for hit in _find_inexact(path.read_text())]

    assert found == []


@pytest.mark.parametrize("package", INTEGER_PACKAGES)
def test_integer_packages__searched__divide_by_named_helpers_only(package: str) -> None:
    found = [
        f"{path.name}:{hit}"
        for path in _modules(package)
        if path.name != "units.py"
        for hit in _find_bare_division(path.read_text())
    ]

    assert found == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fee = notional * 0.001", ["1: literal 0.001"]),
        ("fee = notional / 1000", ["1: true division"]),
        ("fee /= 2", ["1: true division"]),
        ("fee = float(notional)", ["1: float"]),
        ("import math", ["1: import of math"]),
        ("fee = div_up(notional * rate, 1_000_000)", []),
    ],
)
def test_search_for_floats__planted__is_found(source: str, expected: list[str]) -> None:
    assert list(_find_inexact(source)) == expected


def test_search_for_divisions__planted__is_found() -> None:
    assert list(_find_bare_division("price = notional // lots\nhalf = MAX_FILLS // 2")) == ["1: bare //"]


def _vyper_files() -> list[Path]:
    files = sorted(path for kind in ("*.vy", "*.vyi") for path in (ROOT / "contracts").rglob(kind))
    assert files
    return files


def _find_missing_pragmas(name: str, source: str) -> list[str]:
    required = {"version": r"^# ?pragma version 0\.4\.3$"}
    if name.endswith(".vy"):
        required["nonreentrancy"] = r"^# ?pragma nonreentrancy (on|off)$"
        if name[0].isupper():
            # Only what is deployed is compiled with these; a module takes its importer's.
            required["evm-version"] = r"^# ?pragma evm-version (cancun|prague)$"
            required["optimize"] = r"^# ?pragma optimize (gas|codesize|none)$"
    return [what for what, pattern in required.items() if not re.search(pattern, source, re.MULTILINE)]


def test_vyper_files__every_one__states_its_pragmas() -> None:
    missing = {
        str(path.relative_to(ROOT)): found
        for path in _vyper_files()
        if (found := _find_missing_pragmas(path.name, path.read_text()))
    }

    assert missing == {}


def test_vyper_files__every_one__names_the_licence_of_what_it_may_import() -> None:
    """Timelock.vy imports snekmate, AGPL-3.0-only, and all of contracts/ with it (contracts/README.md, D-001)."""
    others = [
        path.name
        for path in _vyper_files()
        if re.findall("^@license (.+)$", path.read_text(), re.M) != ["AGPL-3.0-only"]
    ]

    assert others == []
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (ROOT / "contracts" / "LICENSE").read_text()[:80]


def test_pragma_search__file_without__names_each() -> None:
    assert _find_missing_pragmas("Vault.vy", "# pragma version 0.4.0\n") == [
        "version",
        "nonreentrancy",
        "evm-version",
        "optimize",
    ]
