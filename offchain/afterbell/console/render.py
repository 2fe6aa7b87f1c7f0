"""Print answers: a table for people, JSON for programs. Must not: compute; the numbers come exact from the SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import click
import msgspec
from rich.console import Console
from rich.table import Table

from afterbell.domain.units import QUOTE_PER_USDC


def print_json(found: object) -> None:
    """Print one JSON document; wide integers as text, as the API writes them."""
    click.echo(json.dumps(msgspec.to_builtins(found), indent=2, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under a title, or what it means that there are none."""
    console = Console(width=None if Console().is_terminal else 240, highlight=False)
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    filled = [tuple(str(cell) for cell in row) for row in rows]
    for row in filled:
        table.add_row(*row)
    console.print(table if filled else f"{title}: {empty}")


def usdc(quote: int | None) -> str:
    """Return quote units as USDC, exactly."""
    return "–" if quote is None else f"{Decimal(quote) / QUOTE_PER_USDC:,f}"


def shorten(text: str | None, n_head: int = 10) -> str:
    """Return the beginning and end of a hash."""
    if not text:
        return "–"
    return text if len(text) <= n_head + 6 else f"{text[:n_head]}…{text[-4:]}"


def utc(time_ms: int | None) -> str:
    """Return venue time for people."""
    if not time_ms:
        return "–"
    return datetime.fromtimestamp(time_ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
