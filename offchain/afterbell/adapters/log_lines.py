"""Write structlog's events as JSON lines to one file per process, warnings to the terminal too.

Fields name what a line is about: request_id, order_ids, the sequence of a batch. Wall-clock timestamps, because an
operator compares them with other machines; venue time is a field where it matters.
Must not: log secrets or signatures; whoever logs leaves them out.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger


class _WarningsToTerminal:
    """Repeat warnings and worse on stderr, in a form for people."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
        if method_name in ("warning", "error", "critical", "exception"):
            fields = " ".join(f"{name}={found}" for name, found in event_dict.items() if name not in _OWN_FIELDS)
            print(f"{method_name}: {event_dict.get('event')} {fields}".rstrip(), file=self._terminal, flush=True)
        return event_dict


_OWN_FIELDS = frozenset({"event", "level", "timestamp", "process", "exception"})


def configure_logging(path: Path, *, level: str, process: str) -> TextIO:
    """Send every log line of this process to `path`; return the file, which the caller closes last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", buffering=1)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _WarningsToTerminal(sys.stderr),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=file),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)
    # Libraries that log through the standard library: their warnings belong into the same file, in the same form.
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    return file


def close_logging(file: TextIO) -> None:
    """Undo configure_logging and close its file: nothing logs after this."""
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers.clear()
    file.close()
