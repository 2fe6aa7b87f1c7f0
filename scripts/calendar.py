"""`ape run calendar`: extend or correct the session calendar, through the Timelock.

    ape run calendar --network … --key var/keys/governor.key --year 2027
    ape run calendar --network … --key … --year 2027 --from 2027-07-01      in place of everything from that day on

Shown before anything is sent: how many windows, the first and the last, and the session at sample times (first days of
months, half days, holidays and their eves) as the chain has it and as it would be. Several calls are made in the order
shown, each only after the one before. --dry-run sends nothing.
"""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from scripts._accounts import ACCOUNT, DRY_RUN, KEY, MANIFEST, YES
from scripts._exchange_days import read_days_around
from scripts._proposals import DELAY, propose, said

from afterbell.adapters.calendar_change import CalendarChange, plan_change
from afterbell.adapters.session_table import at_new_york, build_boundaries, describe_second, list_samples
from afterbell.domain.session import Session


@click.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@DELAY
@click.option("--year", type=int, required=True, help="Year of the exchange's days.")
@click.option(
    "--from", "first_day", type=click.DateTime(["%Y-%m-%d"]), help="Replace from this day on [extend from January 1]."
)
@DRY_RUN
@YES
def cli(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    delay_s: int | None,
    year: int,
    first_day: datetime | None,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show the table and its effect, then schedule it. Proposers only."""
    with said(provider, manifest_path) as governance:
        first, end = date(year, 1, 1) if first_day is None else first_day.date(), date(year + 1, 1, 1)
        if not date(year, 1, 1) <= first < end:
            raise click.UsageError(f"--from must lie in {year}, found {first}")
        days = read_days_around(year)
        boundaries = build_boundaries(days, first, end)
        samples = [one for one in list_samples(days, year) if one >= at_new_york(first, time(0))]
        change = plan_change(governance, boundaries, samples, is_replacing=first_day is not None)
        show(change)
        propose(
            provider,
            governance,
            change.calls,
            alias=alias,
            key_path=key_path,
            delay_s=delay_s,
            is_dry=is_dry,
            is_sure=is_sure,
        )


def show(change: CalendarChange) -> None:
    """Print what the calendar becomes."""
    first, last = change.boundaries[0], change.boundaries[-1]
    click.echo(f"windows {len(change.boundaries) - 1}, in {len(change.calls)} calls")
    click.echo(f"first   {describe_second(first.start_s)}: {Session(first.session).name}")
    click.echo(f"end     {describe_second(last.start_s)}: UNKNOWN from there")
    for sample in change.samples:
        mark = " " if sample.before == sample.after else "*"
        click.echo(f"{mark} {describe_second(sample.time_s)}: {sample.before.name} -> {sample.after.name}")
