"""Compare the events a transaction should have logged with those found, and say the difference field by field.

Must not: know how the expected ones came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from afterbell.verify.chain_events import ChainEvent, Value
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.layout import (
    INDEX,
    OVERFLOW,
    POSITION,
    POSITION_CHANGE,
    PRICE,
    RULES,
    SESSION_KEY,
    Lane,
    differing_lanes,
    show_lane,
)

_WORDS: Final[Mapping[tuple[str, str], tuple[Lane, ...]]] = {
    ("PositionChanged", "change"): POSITION_CHANGE,
    ("PositionChanged", "position"): POSITION,
    ("PriceChanged", "price"): PRICE,
    ("IndexChanged", "index"): INDEX,
    ("MarketRulesSet", "rules"): RULES,
    ("KeyChanged", "word"): SESSION_KEY,
}
_DIRECT_WORDS: Final[Mapping[Value, tuple[Lane, ...]]] = {1: OVERFLOW, 2: SESSION_KEY, 3: SESSION_KEY, 4: RULES}
"""Kind of a direct operation -> what its value is."""
_SUBJECTS: Final = ("account", "market", "recipient", "sequence", "session", "nonce", "direct_op", "receiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedEvent:
    """An event that must have been logged."""

    contract: str
    name: str
    values: Mapping[str, Value]

    @property
    def subject(self) -> tuple[object, ...]:
        """Return what the event is about: two events of one subject are the same event, perhaps altered."""
        return _subject(self.contract, self.name, self.values)


def expect(name: str, *, contract: str = "clearinghouse", **values: Value) -> ExpectedEvent:
    """Return an event that must have been logged."""
    return ExpectedEvent(contract=contract, name=name, values=values)


def _subject(contract: str, name: str, values: Mapping[str, Value]) -> tuple[object, ...]:
    return (contract, name, *(values.get(key) for key in _SUBJECTS))


def compare_events(
    expected: Sequence[ExpectedEvent], found: Sequence[ChainEvent], sequence: int | None, findings: Findings
) -> None:
    """Add a finding for every event that is missing, altered, or there without reason. The order is not compared."""
    left: dict[tuple[object, ...], list[ChainEvent]] = {}
    for event in found:
        left.setdefault(_subject(event.contract, event.name, event.values), []).append(event)
    for wanted in expected:
        findings.count("events expected by the replay")
        candidates = left.get(wanted.subject, [])
        same = next((event for event in candidates if event.values == wanted.values), None)
        if same is not None:
            candidates.remove(same)
        elif candidates:
            _add_differences(wanted, candidates.pop(0), sequence, findings)
        else:
            findings.add(
                _build_finding(
                    wanted.name, wanted.values, sequence, "event", show_values(wanted.values), "no such event"
                )
            )
    for events in left.values():
        for event in events:
            findings.add(
                _build_finding(event.name, event.values, sequence, "event", "no such event", show_values(event.values))
            )


def _add_differences(wanted: ExpectedEvent, event: ChainEvent, sequence: int | None, findings: Findings) -> None:
    for name, value in wanted.values.items():
        found = event.values[name]
        if value == found:
            continue
        lanes = _WORDS.get((wanted.name, name))
        if (wanted.name, name) == ("DirectOperation", "value"):
            lanes = _DIRECT_WORDS.get(wanted.values["kind"])
        if lanes is None or not isinstance(value, int) or not isinstance(found, int):
            unit = name.rpartition("_")[2] if isinstance(value, int) else "bytes"
            findings.add(
                _build_finding(wanted.name, wanted.values, sequence, name, show(value), show(found), unit=unit)
            )
            continue
        for lane in differing_lanes(lanes, value, found):
            findings.add(
                _build_finding(
                    wanted.name,
                    wanted.values,
                    sequence,
                    f"{name}.{lane.name}",
                    show_lane(lane, value),
                    show_lane(lane, found),
                    unit=lane.unit,
                )
            )


def _build_finding(
    name: str,
    values: Mapping[str, Value],
    sequence: int | None,
    field: str,
    expected: str,
    found: str,
    *,
    unit: str = "event",
) -> Finding:
    account, market, recipient = values.get("account"), values.get("market"), values.get("recipient")
    return Finding(
        what=f"event {name}",
        account=account if isinstance(account, int) else None,
        market=market if isinstance(market, int) else None,
        recipient=recipient if isinstance(recipient, bytes) else None,
        sequence=sequence,
        field=field,
        unit=unit,
        expected=f"{expected} (replay)",
        found=f"{found} (logs)",
    )


def show(value: Value) -> str:
    """Return a value for people."""
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def show_values(values: Mapping[str, Value]) -> str:
    """Return all values of an event for people; accounts and markets stand in the subject."""
    return ", ".join(f"{name} {show(value)}" for name, value in values.items() if name not in ("account", "market"))
