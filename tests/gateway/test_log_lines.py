"""Log lines are JSON, whoever writes them, and keep what they are about."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from afterbell.adapters.log_lines import close_logging, configure_logging


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Stand where stderr stands."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    return written


@pytest.fixture
def lines(tmp_path: Path, terminal: io.StringIO) -> Iterator[Path]:
    """Log to a file as a process does, and put everything back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    path = tmp_path / "logs" / "process.log"
    file = configure_logging(path, level="INFO", process="exchange")
    yield path
    close_logging(file)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_line__event_with_fields__is_json_with_request_and_batch(lines: Path) -> None:
    log = structlog.get_logger("test")

    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.info("batch.sealed", sequence=7, order_ids=["0xab"])
    log.debug("too.quiet")

    (line,) = [json.loads(text) for text in lines.read_text().splitlines()]
    assert (line["event"], line["level"], line["process"]) == ("batch.sealed", "info", "exchange")
    assert (line["request_id"], line["sequence"], line["order_ids"]) == ("r-1", 7, ["0xab"])
    assert line["timestamp"].endswith("Z")


def test_log_line__of_a_library_with_quotes_and_an_error__is_json_too(lines: Path) -> None:
    try:
        raise ValueError('it said "no"')
    except ValueError:
        logging.getLogger("some.library").exception('a "quoted" %s', "warning\nof two lines")

    (line,) = [json.loads(text) for text in lines.read_text().splitlines()]
    assert (line["event"], line["logger"], line["level"]) == (
        'a "quoted" warning\nof two lines',
        "some.library",
        "error",
    )
    assert 'ValueError: it said "no"' in line["exception"] and line["process"] == "exchange"


def test_log_line__warning__repeated_on_the_terminal_for_people(lines: Path, terminal: io.StringIO) -> None:
    log = structlog.get_logger("test")

    log.info("batch.settled", sequence=7)
    log.warning("chain.unavailable", delay_ms=100)

    assert terminal.getvalue() == "warning: chain.unavailable delay_ms=100\n"
    assert len(lines.read_text().splitlines()) == 2
