"""What a lens answers, by the names of its fields."""

from __future__ import annotations

from typing import Any

from tests.support.chain import Chain, artifacts


def look(chain: Chain, contract: str, function: str, *args: Any) -> Any:
    """Call a view and return its structs as dicts, however deep."""
    entry = next(
        entry for entry in artifacts()[contract].abi if entry["type"] == "function" and entry["name"] == function
    )
    answer = chain.call(contract, function, *args)
    return _name(entry["outputs"][0], answer) if len(entry["outputs"]) == 1 else answer


def _name(part: dict[str, Any], answer: Any) -> Any:
    if part["type"].endswith("]"):
        inner = part | {"type": part["type"][: part["type"].rindex("[")]}
        return [_name(inner, one) for one in answer]
    if part["type"] == "tuple":
        return {one["name"]: _name(one, value) for one, value in zip(part["components"], answer, strict=True)}
    return answer
