"""Hold one number beside what was run beside it; write a list of them as table and JSON. Must not: measure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number of ours.

    reference: what was measured beside it in the same run, same unit. ratio: ours to it, value / reference.
    limit: what the number may not pass (None: no limit). beside: what the reference is, for people.
    """

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    limit: int | None = None
    beside: str = ""
    quoted: str = ""

    @property
    def is_within_limit(self) -> bool:
        """Tell whether the number keeps its limit."""
        return self.limit is None or self.value <= self.limit

    def to_json(self) -> dict[str, object]:
        """Return the five fields every benchmark writes."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference,
            "ratio": self.ratio,
        }


def compare(
    name: str,
    value: float,
    unit: str,
    *,
    reference: float | None,
    beside: str = "",
    limit: int | None = None,
    quoted: str = "",
) -> Measurement:
    """Return a measurement with its ratio."""
    ratio = None if not reference else round(value / reference, 4)
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        reference=reference,
        ratio=ratio,
        limit=limit,
        beside=beside,
        quoted=quoted,
    )


def write_json(measurements: Sequence[Measurement], path: Path) -> None:
    """Write the list of measurements."""
    path.write_text(json.dumps([measurement.to_json() for measurement in measurements], indent=2) + "\n")


def print_table(measurements: Sequence[Measurement], console: Console) -> None:
    """Print the measurements for people, with limits and quoted figures."""
    table = Table(title="afterbell bench")
    table.add_column("name", no_wrap=True)
    for heading in ("value", "limit", "reference", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("reference is")
    table.add_column("quoted, not run here")
    for measurement in measurements:
        style = "" if measurement.is_within_limit else "bold red"
        table.add_row(
            measurement.name,
            show_number(measurement.value),
            "-" if measurement.limit is None else show_number(measurement.limit),
            "-" if measurement.reference is None else show_number(measurement.reference),
            "-" if measurement.ratio is None else f"{measurement.ratio:.2f}",
            measurement.unit,
            measurement.beside,
            measurement.quoted,
            style=style,
        )
    console.print(table)


def show_number(number: float) -> str:
    """Return a number as people read it: whole numbers with thousands marks, others with two decimals."""
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 1000 else f"{number:,.2f}"
