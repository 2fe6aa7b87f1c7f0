"""`ape run rotate_sequencer`: let an approved standby settle from now on, and nobody else.

The guardian, the sequencer that settles now, or the Timelock may. A stolen key is taken off the standbys besides:

    ape run rotate_sequencer --network ethereum:local:http://127.0.0.1:8545 --key var/keys/guardian.key \\
        --to 0x… --revoke-old

The process started with the standby's key goes on from the chain's sequence and head. On a venue of `afterbell up`:
stop it, exchange var/keys/sequencer.key and standby.key, start it again.
"""

from __future__ import annotations

from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from scripts._accounts import ACCOUNT, DRY_RUN, KEY, MANIFEST, YES, agree, choose_sender, to_bytes

from afterbell.adapters.deployment import read_manifest
from afterbell.adapters.governance import Governance
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.domain.errors import AfterbellError


@click.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@click.option("--to", "standby", required=True, help="The standby that settles from now on.")
@click.option("--revoke-old", is_flag=True, help="Take the old sequencer off the standbys too; guardian only.")
@DRY_RUN
@YES
def cli(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    standby: str,
    revoke_old: bool,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show who settles now and who would, then rotate."""
    to = to_bytes(standby)
    try:
        sender = choose_sender(provider, alias, key_path, local_index=None)
        governance = Governance(provider.web3, read_manifest(manifest_path), compile_contracts())
        old = governance.read_sequencer()
        click.echo(f"sequencer  {old} -> 0x{to.hex()}")
        click.echo(f"standby    {'approved' if governance.is_standby(to) else 'NOT approved: this would be refused'}")
        click.echo(f"signed by  0x{sender.address.hex()}")
        if revoke_old:
            click.echo(f"revoked    {old}, which may not be rotated to again")
        agree(provider, is_dry=is_dry, is_sure=is_sure)
        governance.rotate_sequencer(sender, to)
        if revoke_old:
            governance.revoke_sequencer(sender, to_bytes(old))
        click.echo(f"rotated: {governance.read_sequencer()} settles now")
    except (AfterbellError, OSError) as error:
        raise click.ClickException(str(error)) from error
