"""Options every client command shares, and the SDK client they make.

A key comes from a file and nowhere else: 64 hex digits readable by the owner alone, or an encrypted Ethereum keystore
whose passphrase is asked for (or $AFTERBELL_PASSPHRASE). Must not: take a key on the command line, where others see it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from eth_account import Account

from afterbell.adapters.keys import KeyUnusable, read_key
from afterbell.domain.errors import AfterbellError
from afterbell.sdk import AsyncClient, Client, SdkError

DEFAULT_URL: Final = "http://127.0.0.1:8720"
PASSPHRASE_VARIABLE: Final = "AFTERBELL_PASSPHRASE"
EXIT_REFUSED: Final = 1
EXIT_UNUSABLE: Final = 2

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which venue, whose account."""

    url: str
    key_file: Path | None
    owner: str | None
    subaccount: int
    rpc_url: str | None
    is_json: bool

    def open(self) -> Client:
        """Return a client; with a key if a key file was named. Raises: KeyUnusable."""
        return Client(**self._arguments())

    def open_async(self) -> AsyncClient:
        """Return the same client for coroutines. Raises: KeyUnusable."""
        return AsyncClient(**self._arguments())

    def _arguments(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "key": None if self.key_file is None else read_key_file(self.key_file),
            "owner": self.owner,
            "subaccount": self.subaccount,
            "rpc_url": self.rpc_url,
        }

    def must_have_key(self) -> Path:
        """Return the key file. Raises: click.UsageError without one."""
        if self.key_file is None:
            raise click.UsageError(
                "this signs and so needs a key: give --key-file FILE ($AFTERBELL_KEY_FILE, or key-file in [client] of "
                "afterbell.toml); `afterbell keys new FILE` makes one"
            )
        return self.key_file


class ClientGroup(click.Group):
    """A group whose sub-commands take `--json` too, where people look for it."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a sub-command with the option."""
        cmd.params.append(
            click.Option(
                ["--json", "is_json"], is_flag=True, expose_value=False, callback=_choose_json,
                help="Print JSON instead of tables.",
            )
        )  # fmt: skip
        super().add_command(cmd, name)


def _choose_json(ctx: click.Context, _: click.Parameter, is_json: bool) -> None:
    if is_json:
        ctx.obj = dataclasses.replace(ctx.obj, is_json=True)


def client_options(function: _Function) -> _Function:
    """Add the shared options; the command gets a Connection as its first argument after the context."""

    @click.option("--url", default=DEFAULT_URL, show_default=True, envvar="AFTERBELL_URL", help="The venue.")
    @click.option(
        "--key-file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="AFTERBELL_KEY_FILE",
        help="Private key: 64 hex digits readable by you alone, or an encrypted keystore.",
    )
    @click.option("--owner", metavar="0x…", envvar="AFTERBELL_OWNER",
                  help="Owner of the account, when the key is a session key or there is no key.")  # fmt: skip
    @click.option("--subaccount", type=click.IntRange(min=0), default=0, show_default=True, help="Subaccount number.")
    @click.option("--rpc", "rpc_url", metavar="URL", envvar="AFTERBELL_RPC_URL",
                  help="A node for your own transactions.  [default: the venue's relay, local chain only]")  # fmt: skip
    @click.option("--json", "is_json", is_flag=True, help="Print JSON instead of tables.")
    @click.pass_context
    @functools.wraps(function)
    def command(
        ctx: click.Context,
        /,
        url: str,
        key_file: Path | None,
        owner: str | None,
        subaccount: int,
        rpc_url: str | None,
        is_json: bool,
        **rest: Any,
    ) -> Any:
        ctx.obj = Connection(
            url=url, key_file=key_file, owner=owner, subaccount=subaccount, rpc_url=rpc_url, is_json=is_json
        )
        return function(**rest)

    return command  # type: ignore[return-value]  # click's decorators return what they are given


def read_key_file(path: Path) -> bytes:
    """Return the 32 bytes of a private key. Raises: KeyUnusable, naming the file and what to do."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnusable(f"a key file is required at {path}: {error}") from error
    if not text.startswith("{"):
        return read_key(path)
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if passphrase is None:
        passphrase = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
    try:
        return bytes(Account.decrypt(json.loads(text), passphrase))
    except (ValueError, KeyError, TypeError) as error:
        raise KeyUnusable(f"{path} cannot be opened: wrong passphrase, or no Ethereum keystore ({error})") from error


def tell_errors(function: _Function) -> _Function:
    """Turn what the SDK raises into words and an exit status: 1 refused, 2 unusable or unreachable."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SdkError as error:
            click.echo(f"afterbell: {error}", err=True)
            raise SystemExit(EXIT_REFUSED) from error
        except (AfterbellError, TypeError, ValueError) as error:
            click.echo(f"afterbell: {error}", err=True)
            raise SystemExit(EXIT_UNUSABLE) from error

    return command  # type: ignore[return-value]  # as above
