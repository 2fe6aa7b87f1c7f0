"""`ape run govern`: changes of the governor, through the Timelock; each shows the decoded call and its effect.

    ape run govern schedule --network … --key var/keys/governor.key MarketRegistry.set_guardian 0x…
    ape run govern schedule --network … --key … MarketRegistry.set_rules 1 REGULAR:band_ppm=90000
    ape run govern list     --network …
    ape run govern execute  --network … --key … ID        14 days later
    ape run govern cancel   --network … --key var/keys/guardian.key ID

--dry-run shows the plan and sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from scripts._accounts import ACCOUNT, DRY_RUN, KEY, MANIFEST, YES, agree, choose_sender
from scripts._proposals import DELAY, describe_state, propose, said

from afterbell.adapters.governance import NO_PREDECESSOR, Governance, ScheduledCall


@click.group(short_help="Changes of the governor, through the Timelock")
def cli() -> None:
    """Schedule, make, cancel and list calls of the Timelock."""


@cli.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@DELAY
@click.option("--after", "after", metavar="ID", help="A scheduled call that must be made before.")
@click.argument("function", metavar="CONTRACT.FUNCTION")
@click.argument("arguments", nargs=-1)
@DRY_RUN
@YES
def schedule(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    delay_s: int | None,
    after: str | None,
    function: str,
    arguments: Sequence[str],
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show what a call would change, then schedule it. Proposers only."""
    with said(provider, manifest_path) as governance:
        call = governance.build_call(function, arguments, predecessor=to_id(after) if after else NO_PREDECESSOR)
        propose(
            provider,
            governance,
            [call],
            alias=alias,
            key_path=key_path,
            delay_s=delay_s,
            is_dry=is_dry,
            is_sure=is_sure,
        )


@cli.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@click.argument("call_id", metavar="ID")
@DRY_RUN
@YES
def execute(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    call_id: str,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show what a scheduled call would change now, then make it. Executors only."""
    with said(provider, manifest_path) as governance:
        found = show(governance, call_id)
        agree(provider, is_dry=is_dry, is_sure=is_sure)
        governance.execute(choose_sender(provider, alias, key_path, None), found.call)
        click.echo(f"made: {describe_state(governance.must_find(found.call.call_id))}")


@cli.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@click.argument("call_id", metavar="ID")
@DRY_RUN
@YES
def cancel(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    call_id: str,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show what a scheduled call would change, then cancel it. Guardian only."""
    with said(provider, manifest_path) as governance:
        found = show(governance, call_id)
        agree(provider, is_dry=is_dry, is_sure=is_sure)
        governance.cancel(choose_sender(provider, alias, key_path, None), found.call.call_id)
        click.echo(f"cancelled: {describe_state(governance.must_find(found.call.call_id))}")


@cli.command(name="list", cls=ConnectedProviderCommand)
@MANIFEST
def list_calls(provider: ProviderAPI, manifest_path: Path) -> None:
    """Show every call that was ever scheduled, and what became of it."""
    with said(provider, manifest_path) as governance:
        found = governance.list_calls()
        for one in found:
            click.echo("\n".join([*governance.describe_call(one.call), f"state   {describe_state(one)}", ""]))
        click.echo(f"{len(found)} scheduled")


def show(governance: Governance, call_id: str) -> ScheduledCall:
    found = governance.must_find(to_id(call_id))
    click.echo("\n".join([*governance.describe_call(found.call), f"state   {describe_state(found)}"]))
    return found


def to_id(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise click.BadParameter(f"an id of 64 digits is required, found {text}")
    return raw
