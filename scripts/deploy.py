"""`ape run deploy`: the ape front end of offchain/afterbell/adapters/deployment.py.

A local chain; the first test account deploys, the next ones are sequencer and publishers:

    ape run deploy --network ethereum:local:http://127.0.0.1:8545

Any other chain, every role named:

    ape run deploy --network ethereum:sepolia:node --account deployer --plan scripts/plans/sepolia.yaml \\
        --manifest deployments/sepolia.json --sequencer 0x… --publisher 0x… --publisher 0x… --publisher 0x…

Run again, it checks what the manifest names and changes nothing; interrupted, it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand
from ape.utils.misc import LOCAL_NETWORK_NAME

from afterbell.adapters.deployment import Deployment, DeploymentFailed, build_transaction, deploy
from afterbell.adapters.deployment_plan import find_local_plan, read_plan
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.domain.errors import AfterbellError

N_LOCAL_PUBLISHERS = 3
# Fields of a transaction that ape names in its own way.
FIELDS = {"from": "sender", "to": "receiver", "gas": "gas_limit"}


class ApeSender:
    """deployment.Sender over an ape account: a key file, a hardware wallet, a test account."""

    def __init__(self, account: AccountAPI, provider: ProviderAPI) -> None:
        self._account = account
        self._provider = provider

    @property
    def address(self) -> bytes:
        return to_bytes(self._account.address)

    def send(self, *, to: bytes | None, calldata: bytes, nonce: int) -> bytes:
        # ape signs and no more: its node provider takes a local chain's id from its settings instead of from the node.
        fields = build_transaction(self._provider.web3, sender=self.address, to=to, calldata=calldata, nonce=nonce)
        transaction = self._account.sign_transaction(
            self._provider.network.ecosystem.create_transaction(**{FIELDS.get(key, key): fields[key] for key in fields})
        )
        if transaction is None:
            raise DeploymentFailed(f"account {self._account.alias} must sign, it refused")
        return bytes(self._provider.web3.eth.send_raw_transaction(transaction.serialize_transaction()))


def to_bytes(address: str) -> bytes:
    raw = bytes.fromhex(address.removeprefix("0x"))
    if len(raw) != 20:
        raise click.BadParameter(f"an address of 40 digits is required, found {address}")
    return raw


def choose_account(context: click.Context, provider: ProviderAPI, alias: str | None) -> AccountAPI:
    manager = provider.account_manager
    if alias is not None:
        return manager.load(alias)
    if provider.network.name != LOCAL_NETWORK_NAME:
        raise click.UsageError("--account is required outside a local network", context)
    return manager.test_accounts[0]


@click.command(cls=ConnectedProviderCommand)
@click.option("--account", "alias", help="Alias of the ape account that deploys and governs [local: test account 0].")
@click.option("--plan", "plan_path", type=click.Path(path_type=Path, exists=True), help="What to list [local.yaml].")
@click.option(
    "--manifest", "manifest_path", type=click.Path(path_type=Path), default=Path("var/manifest.json"), show_default=True
)
@click.option("--sequencer", help="Address that may settle batches.")
@click.option("--publisher", "publishers", multiple=True, help="Address that signs prices; once for each.")
@click.option("--with-history", multiple=True, metavar="SYMBOL", help="Market whose prices are not made up after all.")
@click.pass_context
def cli(
    context: click.Context,
    provider: ProviderAPI,
    alias: str | None,
    plan_path: Path | None,
    manifest_path: Path,
    sequencer: str | None,
    publishers: Sequence[str],
    with_history: Sequence[str],
) -> None:
    """Deploy the contracts, list the plan's markets, write the manifest."""
    account = choose_account(context, provider, alias)
    if provider.network.name == LOCAL_NETWORK_NAME:
        others = [provider.account_manager.test_accounts[index].address for index in range(1, 2 + N_LOCAL_PUBLISHERS)]
        sequencer = sequencer or others[0]
        publishers = publishers or others[1:]
    if sequencer is None or not publishers or (plan_path is None and provider.network.name != LOCAL_NETWORK_NAME):
        raise click.UsageError("--plan, --sequencer and --publisher are required outside a local network", context)
    try:
        plan = read_plan(
            plan_path or find_local_plan(),
            sequencer=to_bytes(sequencer),
            publishers=[to_bytes(publisher) for publisher in publishers],
            with_history=with_history,
        )
        made = deploy(
            provider.web3,
            ApeSender(account, provider),
            plan,
            manifest_path=manifest_path,
            # What is deployed for good is compiled now, whatever is kept from before.
            artifacts=None if manifest_path.exists() else compile_contracts(is_forced=True),
            report=click.echo,
        )
    except AfterbellError as error:
        raise click.ClickException(str(error)) from error
    show(made, manifest_path)


def show(made: Deployment, manifest_path: Path) -> None:
    did = f"{made.n_transactions} transactions sent" if made.n_transactions else "already deployed, nothing sent"
    click.echo(f"{did}; chain {made.manifest.chain_id}, genesis {made.manifest.genesis_s}, manifest {manifest_path}")
    for name, address in made.manifest.addresses.items():
        click.echo(f"  {name:<20} {address}")
