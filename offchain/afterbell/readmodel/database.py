"""Open the read model's database: engine, pragmas, migration to the newest schema.

The DSN decides: `sqlite:///path/readmodel.sqlite` (default) or `postgresql+psycopg://…`. SQLite runs in WAL, so that
readers never wait for the projector. Must not: hold queries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event

_MIGRATIONS = Path(__file__).with_name("migrations")


def sqlite_dsn(path: Path) -> str:
    """Return the DSN of a SQLite file."""
    return f"sqlite:///{path}"


def open_database(dsn: str) -> Engine:
    """Return an engine on the migrated database."""
    engine = create_engine(dsn, pool_pre_ping=not dsn.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
    migrate(engine)
    return engine


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; idempotent."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _set_pragmas(connection: Any, _record: Any) -> None:
    # NORMAL may lose the last transactions at a power cut, never corrupt: the journal replays them.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()
