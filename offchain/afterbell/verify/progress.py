"""Show how far a long job is, on stderr, without disturbing what it prints. Must not: decide anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """A progress bar that is told what happens now and how much is done."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=None)

    def begin(self, what: str, n_steps: int | None) -> None:
        """Start a new stretch of work."""
        if self._progress is not None and self._task is not None:
            self._progress.reset(self._task, total=n_steps, description=what)

    def advance(self, n_steps: int = 1) -> None:
        """Count steps as done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, n_steps)


@contextmanager
def show_progress() -> Iterator[Steps]:
    """Yield a bar drawn on stderr; when stderr is no terminal, one that stays silent."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield Steps(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Steps(progress)
