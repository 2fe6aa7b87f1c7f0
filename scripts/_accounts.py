"""Who signs in a script: an ape account, a key file of this venue, or a test account of a local chain.

`ape run` takes a file whose name begins with an underscore for no command.
"""

from __future__ import annotations

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.utils.misc import LOCAL_NETWORK_NAME
from eth_account import Account

from afterbell.adapters.deployment import DeploymentFailed, KeySender, Sender, build_transaction
from afterbell.adapters.keys import read_key

# Fields of a transaction that ape names in its own way.
FIELDS = {"from": "sender", "to": "receiver", "gas": "gas_limit"}
ACCOUNT = click.option("--account", "alias", help="Alias of the ape account that signs.")
KEY = click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path),
    help="Key file that signs instead: var/keys/guardian.key.",
)
MANIFEST = click.option(
    "--manifest", "manifest_path", type=click.Path(path_type=Path), default=Path("var/manifest.json"), show_default=True
)
DRY_RUN = click.option("--dry-run", "is_dry", is_flag=True, help="Show the plan and send nothing.")
YES = click.option("--yes", "is_sure", is_flag=True, help="Do not ask before sending.")


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


def is_local(provider: ProviderAPI) -> bool:
    return provider.network.name == LOCAL_NETWORK_NAME


def choose_sender(provider: ProviderAPI, alias: str | None, key_path: Path | None, local_index: int | None) -> Sender:
    """Return who signs. local_index: the test account that does on a local chain when nobody is named."""
    if key_path is not None:
        return KeySender(provider.web3, Account.from_key(read_key(key_path)))
    if alias is not None:
        return ApeSender(provider.account_manager.load(alias), provider)
    if local_index is None or not is_local(provider):
        raise click.UsageError("--account or --key is required: who signs?")
    return ApeSender(provider.account_manager.test_accounts[local_index], provider)


def to_bytes(address: str) -> bytes:
    try:
        raw = bytes.fromhex(address.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise click.BadParameter(f"an address of 40 digits is required, found {address}")
    return raw


def agree(provider: ProviderAPI, *, is_dry: bool, is_sure: bool) -> None:
    """End here on a dry run; ask on any chain that is not local."""
    if is_dry:
        click.echo("dry run: nothing sent")
        raise click.exceptions.Exit(0)
    if not is_sure and not is_local(provider):
        click.confirm("send this?", abort=True)
