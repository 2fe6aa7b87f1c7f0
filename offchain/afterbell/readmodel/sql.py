"""Write many rows at once, in the words both databases share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from afterbell.readmodel.tables import Base

Row: TypeAlias = dict[str, Any]
"""Column → what it holds. Keyed by column, not by attribute: TransferRow.transaction is transaction_hash."""


def _dialect_insert(connection: Connection, table: type[Base]) -> Any:
    """Return INSERT with ON CONFLICT: the same words in both dialects, from two modules."""
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    return module.insert(table)


def insert_missing(connection: Connection, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert the rows whose keys are not there yet."""
    if rows:
        connection.execute(_dialect_insert(connection, table).on_conflict_do_nothing(), rows)


def upsert(connection: Connection, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows, or replace what they name; all have the same columns."""
    if not rows:
        return
    statement = _dialect_insert(connection, table)
    keys = [column.name for column in table.__table__.primary_key]
    updates = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=updates), rows)


def execute_many(connection: Connection, statement: Any, rows: Sequence[Row]) -> None:
    """Run a statement once for each set of parameters."""
    if rows:
        connection.execute(statement, rows)
