"""The `afterbell` command: a table of sub-commands, each loaded only when it is called.

A command lives beside the code it starts; the table below is the only thing to extend. `afterbell --help` therefore
costs no import of the chain, the database or the engine. Settings of a command may stand in afterbell.toml
(configuration.py). Must not: do work itself.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from afterbell.configuration import (
    CLIENT_COMMANDS,
    CLIENT_SETTINGS,
    CLIENT_TABLE,
    CONFIG_VARIABLE,
    ConfigUnusable,
    find_config,
    load_config,
    must_know_settings,
)

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    # name: (module:attribute of a click.Command, one line for `afterbell --help`)
    "account": ("afterbell.console.account:account", "Show an account, deposit, withdraw, order, cancel."),
    "bench": ("afterbell.bench:bench", "Measure the parts and print a table."),
    "exchange": ("afterbell.bootstrap.exchange:exchange", "Run sequencer, settler, indexer, replay and gateway."),
    "keys": ("afterbell.console.keys:keys", "Make key files; link, list and revoke session keys."),
    "programs": ("afterbell.programs:programs", "Run trading programs on the public SDK."),
    "publisher": ("afterbell.supervisor.publisher_process:publisher", "Serve signed price reports of one publisher."),
    "status": ("afterbell.console.status:status", "Show whether a venue is ready, its prices and its batches."),
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigUnusable as error:
            raise click.ClickException(str(error)) from error
        except click.BadParameter as error:
            if error.ctx is not None and error.param is not None and error.param.name is not None:
                source = error.ctx.get_parameter_source(error.param.name)
                is_from_file = source is None and error.param.name in (error.ctx.default_map or {})
                if is_from_file or source is click.core.ParameterSource.DEFAULT_MAP:
                    error.message += f" (set in {ctx.obj})"
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the table's own lines, so that help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "AFTERBELL"}
)
@click.version_option(package_name="afterbell")
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Settings as TOML.  [default: ${CONFIG_VARIABLE}, else ./afterbell.toml; see afterbell.example.toml]",
)
@click.pass_context
def main(ctx: click.Context, config_path: Path | None) -> None:
    """Afterbell: perpetual futures on single stocks around the clock."""
    path = find_config(config_path)
    if path is not None:
        # Processes this one starts read the same file.
        os.environ[CONFIG_VARIABLE] = str(path.resolve())
    tables = load_config(path, COMMANDS)
    ctx.obj = path
    name = ctx.invoked_subcommand
    command = None if name is None else main.get_command(ctx, name)
    if name is not None and command is not None:
        ctx.default_map = {name: _read_settings(path, tables, name, command)}


def _read_settings(
    path: Path | None, tables: dict[str, dict[str, Any]], name: str, command: click.Command
) -> dict[str, Any]:
    """Return what click takes as defaults: parameter name -> value; of a group also sub-command -> its own."""
    settings: dict[str, Any] = {}
    if name in CLIENT_COMMANDS:
        settings |= _name_parameters(path, CLIENT_TABLE, tables.get(CLIENT_TABLE, {}), command)
    return settings | _name_parameters(path, name, tables.get(name, {}), command)


def _name_parameters(path: Path | None, table: str, found: dict[str, Any], command: click.Command) -> dict[str, Any]:
    names: dict[str, str] = {}
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and parameter.name is not None:
                names[option[2:]] = parameter.name
    groups = command.commands if isinstance(command, click.Group) else {}
    known = {*names, *groups}
    if table == CLIENT_TABLE:
        must_know_settings(path, table, found, CLIENT_SETTINGS)
    if table in (CLIENT_TABLE, "exchange"):
        # [client] serves commands that take a part of it; the rest of [exchange] is settings.py's.
        return {names[key.replace("_", "-")]: value for key, value in found.items() if key.replace("_", "-") in names}
    must_know_settings(path, table, found, known)
    settings: dict[str, Any] = {}
    for key, value in found.items():
        dashed = key.replace("_", "-")
        if dashed in groups:
            if not isinstance(value, dict):
                raise ConfigUnusable(f"{path}: [{table}.{key}] must be a table, found {value!r}")
            settings[dashed] = _name_parameters(path, f"{table}.{dashed}", value, groups[dashed])
        else:
            settings[names[dashed]] = value
    return settings


if __name__ == "__main__":
    main()
