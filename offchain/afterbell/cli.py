"""The `afterbell` command: a table of sub-commands, each loaded only when it is called.

A command lives beside the code it starts; the table below is the only thing to extend. `afterbell --help` therefore
costs no import of the chain, the database or the engine. Must not: do work itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    # name: (module:attribute of a click.Command, one line for `afterbell --help`)
    "bench": ("afterbell.bench:bench", "Measure the parts and print a table."),
    "exchange": ("afterbell.bootstrap.exchange:exchange", "Run sequencer, settler, indexer, replay and gateway."),
    "programs": ("afterbell.programs:programs", "Run trading programs on the public SDK."),
    "publisher": ("afterbell.supervisor.publisher_process:publisher", "Serve signed price reports of one publisher."),
    "up": ("afterbell.supervisor.command:up", "Start everything on this machine."),
    "verify": ("afterbell.verify:verify", "Recompute balances, positions and totals from chain data and compare."),
}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def data_dir_option(function: _Function) -> _Function:
    """Add `--data-dir`, the one directory that holds all state (offchain/README.md, Processes)."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("var"),
        show_default=True,
        envvar="AFTERBELL_DATA_DIR",
        help="Directory that holds all state.",
    )(function)


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module_name, _, attribute = entry[0].partition(":")
        command = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry[0]} must be a click command, found {type(command).__name__}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the table's own lines, so that help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="afterbell")
def main() -> None:
    """Afterbell: perpetual futures on single stocks around the clock."""


if __name__ == "__main__":
    main()
