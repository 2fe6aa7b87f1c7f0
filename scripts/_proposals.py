"""Propose calls through the Timelock: the whole plan is shown, agreed to, then scheduled call by call.

`ape run` takes a file whose name begins with an underscore for no command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from ape.api import ProviderAPI
from scripts._accounts import agree, choose_sender

from afterbell.adapters.deployment import read_manifest
from afterbell.adapters.governance import Call, Governance, ScheduledCall
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.domain.errors import AfterbellError

DELAY = click.option(
    "--delay", "delay_s", type=int, help="Seconds until it may be made [the Timelock's least, 14 days or more]."
)


@contextmanager
def said(provider: ProviderAPI, manifest_path: Path) -> Iterator[Governance]:
    """Yield the Timelock of a manifest; errors of ours end as one line."""
    try:
        yield Governance(provider.web3, read_manifest(manifest_path), compile_contracts())
    except (AfterbellError, OSError) as error:
        raise click.ClickException(str(error)) from error


def propose(
    provider: ProviderAPI,
    governance: Governance,
    calls: Sequence[Call],
    *,
    alias: str | None,
    key_path: Path | None,
    delay_s: int | None,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show every call with its effect, ask, then schedule them in this order."""
    for call in calls:
        click.echo("\n".join(governance.describe_call(call)))
    click.echo(f"delay   {governance.read_delay_s() if delay_s is None else delay_s} s from now")
    agree(provider, is_dry=is_dry, is_sure=is_sure)
    sender = choose_sender(provider, alias, key_path, None)
    for call in calls:
        governance.schedule(sender, call, delay_s=delay_s)
        click.echo(f"scheduled 0x{call.call_id.hex()}: {describe_state(governance.must_find(call.call_id))}")


def describe_state(scheduled: ScheduledCall) -> str:
    """Return what has become of a call."""
    ready = datetime.fromtimestamp(scheduled.ready_at_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return scheduled.state.name + (f", may be made from {ready}" if scheduled.ready_at_s else "")
