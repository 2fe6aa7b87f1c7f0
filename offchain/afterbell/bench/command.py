"""`afterbell bench NAME…`: run benchmarks, print a table, write JSON.

A benchmark is a function of a seed that returns measurements; the table below is the only thing to extend, and a module
is imported only when its benchmark runs. Must not: measure itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from afterbell.bench.measurement import Measurement, print_table, write_json

Benchmark = Callable[[int], list[Measurement]]

BENCHMARKS: Final[dict[str, tuple[str, str]]] = {
    # name: (module:function(seed), one line for people)
    "gas": (
        "afterbell.bench.gas:measure_gas",
        "gas and calldata per settled fill on a real anvil, beside their physical floor",
    ),
    "journal": (
        "afterbell.bench.journal:measure_journal",
        "durable journal frames a second, beside a bare fdatasync file",
    ),
    "money": (
        "afterbell.bench.money:measure_money",
        "gas of deposits, claims, session keys and a direct cancel-all, beside the token's transfer or one new word",
    ),
    "settle": (
        "afterbell.bench.settle:measure_settle",
        "fills a second of the model and of anvil, beside bare signature checks and the floor",
    ),
}
ALL: Final = "all"
DEFAULT_SEED: Final = 7


def load_benchmark(name: str) -> Benchmark:
    """Return the function of a benchmark. Raises: KeyError for an unknown name."""
    module_name, _, attribute = BENCHMARKS[name][0].partition(":")
    benchmark: Benchmark = getattr(importlib.import_module(module_name), attribute)
    return benchmark


def parse_names(names: tuple[str, ...]) -> list[str]:
    """Return the benchmarks to run, `all` spelled out. Raises: click.BadParameter."""
    unknown = [name for name in names if name != ALL and name not in BENCHMARKS]
    if unknown:
        raise click.BadParameter(
            f"required one of {', '.join([*BENCHMARKS, ALL])}; found {', '.join(unknown)}; `afterbell bench` lists them"
        )
    return list(BENCHMARKS) if ALL in names else list(dict.fromkeys(names))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the list of {name, value, unit, reference, ratio} here.",
)
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Decides keys and sizes.")
def bench(names: tuple[str, ...], json_path: Path | None, seed: int) -> None:
    """Run benchmarks by NAME, or `all`; without a name list them.

    Each number stands beside what was run beside it in the same run. Exit code 1 when a number passes its limit.
    """
    console = Console(width=None if Console().is_terminal else 180)
    if not names:
        for name, (_, description) in BENCHMARKS.items():
            click.echo(f"{name:10}{description}")
        click.echo(f"{ALL:10}every one of them")
        return
    measurements: list[Measurement] = []
    for name in parse_names(names):
        measurements += load_benchmark(name)(seed)
    print_table(measurements, console)
    if json_path is not None:
        write_json(measurements, json_path)
    beyond = [measurement for measurement in measurements if not measurement.is_within_limit]
    for measurement in beyond:
        click.echo(
            f"{measurement.name}: required at most {measurement.limit} {measurement.unit}; found {measurement.value}",
            err=True,
        )
    if beyond:
        raise SystemExit(1)
