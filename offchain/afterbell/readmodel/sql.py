"""Write many rows at once, in the words both databases share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from afterbell.readmodel.tables import Base

Row: TypeAlias = dict[str, Any]
"""Column → what it holds. Keyed by column, not by attribute: TransferRow.transaction is transaction_hash."""


# A statement costs more to build than to run, so each is built once.


@lru_cache(maxsize=64)
def _build_insert(dialect: str, table: type[Base]) -> Any:
    """Return INSERT with ON CONFLICT: the same words in both dialects, from two modules."""
    module = postgresql if dialect == "postgresql" else sqlite
    return module.insert(table).on_conflict_do_nothing()


@lru_cache(maxsize=64)
def _build_upsert(dialect: str, table: type[Base], columns: tuple[str, ...]) -> Any:
    module = postgresql if dialect == "postgresql" else sqlite
    statement = module.insert(table)
    keys = [column.name for column in table.__table__.primary_key]
    updates = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=updates)


def insert_missing(connection: Connection, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert the rows whose keys are not there yet."""
    if rows:
        connection.execute(_build_insert(connection.dialect.name, table), rows)


def upsert(connection: Connection, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows, or replace what they name; all have the same columns."""
    if rows:
        connection.execute(_build_upsert(connection.dialect.name, table, tuple(rows[0])), rows)


def execute_many(connection: Connection, statement: Any, rows: Sequence[Row]) -> None:
    """Run a statement once for each set of parameters."""
    if rows:
        connection.execute(statement, rows)
