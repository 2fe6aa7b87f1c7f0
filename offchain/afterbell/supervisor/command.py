"""The `up` command: options in, exit status out."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TextIO, cast

import click
from rich.console import Console

from afterbell.domain.errors import AfterbellError
from afterbell.supervisor.state import erase_state, lock_directory, open_state
from afterbell.supervisor.venue import UpSettings, run_venue

DEFAULT_PORT: Final = 8720
_PPM: Final = 1_000_000
_LOWEST_SPEED: Final = Decimal("0.05")
"""Slower, a step of ten venue minutes takes longer than a report may be old."""
_CHECK_TIMEOUT_S: Final = 180


def _read_speed(_: Any, __: Any, text: str) -> int:
    """Return trading days a minute in millionths."""
    try:
        speed = Decimal(text)
    except InvalidOperation as error:
        raise click.BadParameter(f"a number of trading days a minute is required, found {text!r}") from error
    if not speed.is_finite() or not _LOWEST_SPEED <= speed <= 1000:
        raise click.BadParameter(f"required {_LOWEST_SPEED} to 1000 trading days a minute, found {text}")
    return int(speed * _PPM)


def _read_histories(_: Any, __: Any, texts: tuple[str, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for text in texts:
        symbol, separator, name = text.partition("=")
        if not separator or not symbol or not name:
            raise click.BadParameter(f"SYMBOL=FILE is required, found {text!r}")
        path = Path(name)
        if not path.is_file():
            raise click.BadParameter(f"{symbol}: no file {name}")
        files[symbol.upper()] = path
    return files


def _read_day(_: Any, __: Any, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"a day as YYYY-MM-DD is required, found {text!r}") from error


@contextmanager
def _choose_directory(data_dir: Path | None, *, is_check: bool) -> Iterator[Path]:
    """Yield the directory given; without one, var/, or for a check a new one that is removed afterwards."""
    if data_dir is not None:
        yield data_dir
    elif is_check:
        with tempfile.TemporaryDirectory(prefix="afterbell-check-") as name:
            yield Path(name)
    else:
        yield Path("var")


class _Terminal:
    """Standard output that may vanish: when a terminal is closed, stopping in order matters more than saying so."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.encoding = file.encoding

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()


@click.command()
@click.option("--speed", "speed_ppm", default="1", show_default=True, callback=_read_speed,
              help="Replayed trading days a minute, at most.")  # fmt: skip
@click.option("--start", default=None, callback=_read_day, metavar="YYYY-MM-DD",
              help="First day of the replay.  [default: 2005-03-01, or a supplied history's first day]")  # fmt: skip
@click.option("--history", "files", multiple=True, callback=_read_histories, metavar="SYMBOL=FILE",
              help="Daily bars of a market as CSV: date, open, high, low, close.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65_535), default=None,
              help=f"Port of page and API, 0 takes a free one.  [default: {DEFAULT_PORT}]")  # fmt: skip
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), default=None,
              help="Directory that holds all state.  [default: var]")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Erase the state of an earlier run first.")
@click.option("--check", is_flag=True, help="Run until a fill is final on chain, print its life, stop, exit 0.")
def up(
    speed_ppm: int,
    start: date | None,
    files: dict[str, Path],
    port: int | None,
    data_dir: Path | None,
    fresh: bool,
    check: bool,
) -> None:
    """Start everything on this machine: chain, contracts, publishers, exchange, page, trading programs.

    Ctrl-C stops it in order; the next `up` goes on from there.
    """
    console = Console(file=cast(TextIO, _Terminal(sys.stdout)), highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        directory = stack.enter_context(_choose_directory(data_dir, is_check=check))
        try:
            stack.enter_context(lock_directory(directory))
            if fresh:
                erase_state(directory)
            state = open_state(directory, files=files, start=start)
            settings = UpSettings(
                port=port if port is not None else (0 if check else DEFAULT_PORT),
                speed_ppm=speed_ppm,
                check_timeout_s=_CHECK_TIMEOUT_S if check else None,
            )
            status = asyncio.run(run_venue(state, settings, console))
        except AfterbellError as error:
            console.print(f"afterbell up: {error}", style="bold red", markup=False)
            status = 1
    raise SystemExit(status)
