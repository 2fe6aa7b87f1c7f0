"""Show the table of crash points below the results; with workers, the file alone has it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

TABLE_PATH: Final = Path(__file__).resolve().parents[2] / "artifacts" / "crash.txt"
_BEGUN_S: Final = time.time()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what this run wrote."""
    if TABLE_PATH.exists() and TABLE_PATH.stat().st_mtime >= _BEGUN_S:
        terminalreporter.section("crash points")
        terminalreporter.write_line(TABLE_PATH.read_text().rstrip())
