"""Nothing the contracts can say goes untested: every reason of errors.vy, every event, every code.

A test counts when the reason stands in it as a whole string, in this folder or in the parity suite's list of reverts.
Each of those strings is an expectation there, so this file only has to see that none is missing.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from afterbell.domain.codes import ReportCode, StatusCode
from tests.support.chain import Chain, Reverted, artifacts

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).resolve()
MODULES: Final = ROOT / "contracts" / "modules"
CONTRACTS: Final = (
    "Clearinghouse",
    "Operations",
    "Vault",
    "PriceOracle",
    "SignedPriceSource",
    "MarketRegistry",
    "CorporateActions",
    "Liquidations",
    "Exits",
    "Timelock",
)


@cache
def expected_strings() -> frozenset[str]:
    """Return the string literals of the tests; `"reason, variant"` counts as the reason."""
    paths = [path for path in HERE.parent.glob("test_*.py") if path != HERE]
    paths.append(ROOT / "tests" / "parity" / "test_reverts.py")
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value, node.value.split(",", maxsplit=1)[0]}
    return frozenset(found)


def read_constants(module: str) -> dict[str, str]:
    pattern = re.compile(r"^([A-Z_0-9]+): constant\([^=]*\) = (.+)$", re.MULTILINE)
    return dict(pattern.findall((MODULES / module).read_text()))


REASONS: Final = {name: text.strip('"') for name, text in read_constants("errors.vy").items()}
EVENTS: Final = sorted(
    (contract, entry["name"])
    for contract in CONTRACTS
    for entry in artifacts()[contract].abi
    if entry["type"] == "event"
)


@pytest.mark.parametrize("name", REASONS)
def test_reason__of_the_contracts__is_expected_by_a_test(name: str) -> None:
    assert REASONS[name] in expected_strings()


@pytest.mark.parametrize("name", REASONS)
def test_reason__of_the_contracts__is_used_by_one(name: str) -> None:
    """A reason nobody raises is a promise nobody keeps."""
    sources = [path.read_text() for path in (ROOT / "contracts").rglob("*.vy") if path.name != "errors.vy"]

    assert any(re.search(rf"\b(errors|refusals)\.{name}\b", source) for source in sources)


def test_refusals__of_the_clearinghouse__are_the_reasons_of_the_same_name() -> None:
    """The Clearinghouse keeps its reasons as numbers; Operations reverts with the text of each on its behalf."""
    source = (MODULES / "refusals.vy").read_text()
    found = re.findall(r"^([A-Z_0-9]+): constant\(uint256\) = (\d+)$", source, re.MULTILINE)
    chain = Chain.deploy()

    assert [int(number) for _, number in found] == list(range(1, len(found) + 1))
    for name, number in found:
        with pytest.raises(Reverted) as caught:
            chain.call("Operations", "refuse", int(number))
        assert caught.value.reason == REASONS[name]
        assert re.search(rf"refusals\.{name}\b", (ROOT / "contracts" / "Clearinghouse.vy").read_text())


def test_reasons__of_the_contracts__are_unique_and_short() -> None:
    assert len(set(REASONS.values())) == len(REASONS)
    assert all(len(reason) <= 32 and ": " in reason for reason in REASONS.values())


def test_reasons__written_in_tests__exist() -> None:
    """A reason that no contract knows any more would be a test that cannot fail for it."""
    subjects = {reason.split(":")[0] for reason in REASONS.values()}
    shaped = {text for text in expected_strings() if re.fullmatch(r"(\w+): [a-z ]+", text) and "," not in text}
    unknown = {text for text in shaped if text.split(":")[0] in subjects} - set(REASONS.values())

    assert unknown == set()


@pytest.mark.parametrize(("contract", "event"), EVENTS)
def test_event__of_the_contracts__is_expected_by_a_test(contract: str, event: str) -> None:
    assert event in expected_strings(), f"{contract} logs {event}, no test looks at it"


def test_codes__of_the_contracts__equal_the_domains() -> None:
    constants = {name: int(text) for name, text in read_constants("codes.vy").items()}
    reports = {code.name: int(code) for code in ReportCode if code}
    # one name for two codes: a market unknown to an order, and to a report
    reports["REPORT_UNKNOWN_MARKET"] = reports.pop("UNKNOWN_MARKET")
    statuses = {code.name: int(code) for code in StatusCode if code}

    assert constants == statuses | reports | {"TAKER_SIDE": 64}
