"""`ape run deploy`: the ape front end of offchain/afterbell/adapters/deployment.py.

A local chain; the first test account deploys, the next ones are sequencer, publishers, governor, guardian, standby and
announcer:

    ape run deploy --network ethereum:local:http://127.0.0.1:8545

Any other chain, every role named; the plan is shown and asked about first, --dry-run shows it alone:

    ape run deploy --network ethereum:sepolia:node --account deployer --plan scripts/plans/sepolia.yaml \\
        --manifest deployments/sepolia.json --sequencer 0x… --publisher 0x… --publisher 0x… --publisher 0x… \\
        --proposer 0x… --executor 0x… --announcer 0x… --guardian 0x… --standby 0x…

Run again, it checks what the manifest names and changes nothing; interrupted, it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from scripts._accounts import ACCOUNT, DRY_RUN, KEY, MANIFEST, YES, agree, choose_sender, is_local, to_bytes

from afterbell.adapters.deployment import Deployment, deploy
from afterbell.adapters.deployment_plan import Roles, find_local_plan, read_plan
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.domain.errors import AfterbellError

# Test accounts of a local chain by role; 0 deploys.
SEQUENCER, PUBLISHERS, GOVERNOR, GUARDIAN, STANDBY, ANNOUNCER = 1, (2, 3, 4), 5, 6, 7, 8


@click.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@click.option("--plan", "plan_path", type=click.Path(path_type=Path, exists=True), help="What to list [local.yaml].")
@MANIFEST
@click.option("--sequencer", help="Address that may settle batches.")
@click.option("--publisher", "publishers", multiple=True, help="Address that signs prices; once for each.")
@click.option("--proposer", "proposers", multiple=True, help="Address that schedules calls of the Timelock; each.")
@click.option("--executor", "executors", multiple=True, help="Address that makes them afterwards; once for each.")
@click.option("--announcer", help="Address that announces splits, dividends and the like a day ahead.")
@click.option("--guardian", help="Address that tightens, halts, rotates and cancels at once; none of the others.")
@click.option("--standby", "standbys", multiple=True, help="Sequencer that may be rotated to; once for each.")
@click.option("--with-history", multiple=True, metavar="SYMBOL", help="Market whose prices are not made up after all.")
@DRY_RUN
@YES
@click.pass_context
def cli(
    context: click.Context,
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    plan_path: Path | None,
    manifest_path: Path,
    with_history: Sequence[str],
    is_dry: bool,
    is_sure: bool,
    **roles: str | Sequence[str] | None,
) -> None:
    """Show the plan, deploy the contracts, list its markets, hand over to the Timelock, write the manifest."""
    sender = choose_sender(provider, alias, key_path, local_index=0)
    if is_local(provider):
        roles = name_local_roles(provider, roles)
    missing = [name for name, people in roles.items() if not people and name != "standbys"]
    if not is_local(provider) and plan_path is None:
        missing.append("plan")
    if missing:
        raise click.UsageError(f"outside a local network these must be named: {', '.join(missing)}", context)

    def review(lines: Sequence[str]) -> None:
        click.echo("\n".join(lines))
        agree(provider, is_dry=is_dry, is_sure=is_sure)

    try:
        plan = read_plan(
            plan_path or find_local_plan(),
            roles=Roles(
                **{
                    name: to_bytes(people) if isinstance(people, str) else tuple(to_bytes(one) for one in people)
                    for name, people in roles.items()
                }
            ),
            with_history=with_history,
        )
        made = deploy(
            provider.web3,
            sender,
            plan,
            manifest_path=manifest_path,
            # What is deployed for good is compiled now, whatever is kept from before.
            artifacts=None if manifest_path.exists() else compile_contracts(is_forced=True),
            report=click.echo,
            review=review,
        )
    except AfterbellError as error:
        raise click.ClickException(str(error)) from error
    show(made, manifest_path)


def name_local_roles(
    provider: ProviderAPI, given: dict[str, str | Sequence[str] | None]
) -> dict[str, str | Sequence[str] | None]:
    """Return the roles with test accounts for those nobody named."""
    accounts = provider.account_manager.test_accounts
    defaults = {
        "sequencer": accounts[SEQUENCER].address,
        "publishers": [accounts[index].address for index in PUBLISHERS],
        "proposers": [accounts[GOVERNOR].address],
        "executors": [accounts[GOVERNOR].address],
        "announcer": accounts[ANNOUNCER].address,
        "guardian": accounts[GUARDIAN].address,
        "standbys": [accounts[STANDBY].address],
    }
    return {name: given[name] or default for name, default in defaults.items()}


def show(made: Deployment, manifest_path: Path) -> None:
    did = f"{made.n_transactions} transactions sent" if made.n_transactions else "already deployed, nothing sent"
    click.echo(f"{did}; chain {made.manifest.chain_id}, genesis {made.manifest.genesis_s}, manifest {manifest_path}")
    for name, address in made.manifest.addresses.items():
        click.echo(f"  {name:<20} {address}")
