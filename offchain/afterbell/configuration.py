"""Read afterbell.toml: one file with a table per command, each setting as optional as on the command line.

    option on the command line  >  environment AFTERBELL_…  >  afterbell.toml  >  default

The file is `--config FILE`, else $AFTERBELL_CONFIG, else afterbell.toml in the working directory if there is one.
Tables are named like commands ([up], [exchange], [verify] …); [client] serves `status`, `account` and `keys`. A table
or a setting nobody knows is refused: a typo must not become a default. Must not: hold secrets; keys are files.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from afterbell.domain.errors import AfterbellError

CONFIG_VARIABLE: Final = "AFTERBELL_CONFIG"
DEFAULT_NAME: Final = "afterbell.toml"
CLIENT_TABLE: Final = "client"
CLIENT_COMMANDS: Final = ("account", "keys", "status")
"""Commands that read [client] under their own table."""
CLIENT_SETTINGS: Final = ("json", "key-file", "owner", "rpc", "subaccount", "url")


class ConfigUnusable(AfterbellError):
    """The configuration file is missing, no TOML, or says something nobody understands."""


def find_config(chosen: Path | None) -> Path | None:
    """Return the file to read: the one chosen, the one of the environment, the one here, or none."""
    if chosen is not None:
        return chosen
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return Path(DEFAULT_NAME) if Path(DEFAULT_NAME).is_file() else None


def load_config(path: Path | None, tables: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return table -> setting -> value; empty without a file. `tables` are those that may stand in it.

    Raises: ConfigUnusable, naming file, table and what was expected.
    """
    if path is None:
        return {}
    try:
        parsed = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigUnusable(f"the configuration {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigUnusable(f"{path} must be TOML: {error}") from error
    known = sorted({*tables, CLIENT_TABLE})
    for name, table in parsed.items():
        if not isinstance(table, dict):
            raise ConfigUnusable(f"{path}: {name!r} stands outside a table; put it under one of {_list_tables(known)}")
        if name not in known:
            raise ConfigUnusable(f"{path}: [{name}] is no table{_suggest(name, known)}; known: {_list_tables(known)}")
    return parsed


def must_know_settings(path: Path | None, table: str, found: Iterable[str], known: Iterable[str]) -> None:
    """Refuse settings of a table that nobody reads. Raises: ConfigUnusable."""
    names = sorted({name.replace("_", "-") for name in known})
    for name in found:
        if name.replace("_", "-") not in names:
            raise ConfigUnusable(
                f"{path}: [{table}] has no setting {name!r}{_suggest(name, names)}; it takes {', '.join(names)}"
            )


def read_table(table: str, known: Iterable[str]) -> Mapping[str, Any]:
    """Return one table of the file in force, names with underscores. Raises: ConfigUnusable."""
    path = find_config(None)
    if path is None:
        return {}
    found = load_config(path, [table, *_tables_of(path)]).get(table, {})
    must_know_settings(path, table, found, known)
    return {name.replace("-", "_"): value for name, value in found.items()}


def _tables_of(path: Path) -> list[str]:
    # Whoever reads a single table does not judge the others.
    try:
        return list(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list_tables(names: list[str]) -> str:
    return ", ".join(f"[{name}]" for name in names)
