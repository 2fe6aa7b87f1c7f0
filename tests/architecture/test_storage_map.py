"""The storage map of contracts/README.md is what the compiler lays out, slot for slot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afterbell.adapters.vyper_compiler import compile_contracts

README = Path(__file__).parents[2] / "contracts" / "README.md"
CONTRACTS = (
    "Clearinghouse",
    "Operations",
    "Vault",
    "PriceOracle",
    "MarketRegistry",
    "CorporateActions",
    "Liquidations",
    "Exits",
    "SignedPriceSource",
    "PythSource",
    "ChainlinkSource",
    "ChainlinkStreamsSource",
    "Timelock",
    "Lens",
)


def read_map() -> set[tuple[str, int, str]]:
    section = README.read_text().split("## Storage map")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (\d+) \| ([\w.]+) \|", section, flags=re.MULTILINE)
    return {(contract, int(slot), variable) for contract, slot, variable in rows}


def list_variables(layout: Mapping[str, Any], prefix: str = "") -> dict[str, int]:
    """Return every variable with its slot; a module's variables stand under the module's name."""
    found: dict[str, int] = {}
    for name, entry in layout.items():
        if "slot" in entry:
            found[prefix + name] = entry["slot"]
        else:
            found |= list_variables(entry, f"{name}.")
    return found


def test_storage_map__readme__equals_the_compilers_layout() -> None:
    artifacts = compile_contracts()

    laid_out = {
        (contract, slot, variable)
        for contract in CONTRACTS
        for variable, slot in list_variables(artifacts[contract].layout.get("storage_layout", {})).items()
    }

    assert len(laid_out) > 20
    assert read_map() == laid_out
