"""`afterbell keys …`: key files of your own, and session keys of an account.

A session key signs orders within limits the owner set and can never move money to anybody but the owner. Key files:
64 hex digits readable by you alone, or with --encrypt an Ethereum keystore.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click
from eth_account import Account

from afterbell.console.account import AMOUNT
from afterbell.console.connection import (
    PASSPHRASE_VARIABLE,
    ClientGroup,
    Connection,
    client_options,
    read_key_file,
    tell_errors,
)
from afterbell.console.render import print_json, print_table, usdc, utc
from afterbell.domain.ids import address_hex
from afterbell.sdk import Client
from afterbell.sdk.terms import KeyTerms
from afterbell.sdk.values import SessionKey
from afterbell.signing.keys import SigningKey

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400}
_MAX_DAYS: Final = 180
_pass_connection = click.make_pass_decorator(Connection)


class _Lifetime(click.ParamType):
    """How long: 90m, 12h, 30d."""

    name = "lifetime"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", str(value))
        if found is None:
            self.fail(f"a lifetime like 90m, 12h or 30d is required, found {value!r}", param, ctx)
        lifetime_s = int(found[1]) * _SECONDS[found[2]]
        if lifetime_s > _MAX_DAYS * _SECONDS["d"]:
            self.fail(f"at most {_MAX_DAYS}d are allowed, found {value!r}", param, ctx)
        return lifetime_s


@click.group(cls=ClientGroup)
@client_options
def keys() -> None:
    """Make key files; link, list and revoke session keys.

    Linking and revoking is signed by the owner's key (--key-file).
    """


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--encrypt", is_flag=True, help=f"Ask for a passphrase (or ${PASSPHRASE_VARIABLE}) and write a keystore.")
@_pass_connection
@tell_errors
def new(connection: Connection, file: Path, encrypt: bool) -> None:
    """Make a private key in FILE, which must not exist, and print its address."""
    private_key = secrets.token_bytes(32)
    text = private_key.hex() + "\n"
    if encrypt:
        passphrase = os.environ.get(PASSPHRASE_VARIABLE)
        if passphrase is None:
            passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
        text = json.dumps(Account.encrypt(private_key, passphrase), indent=2) + "\n"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise click.ClickException(f"{file} exists already: a key is never overwritten; choose another name") from error
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    _say_address(connection, private_key, file)


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_pass_connection
@tell_errors
def address(connection: Connection, file: Path) -> None:
    """Print the address of the key in FILE."""
    _say_address(connection, read_key_file(file), file)


@keys.command("list")
@_pass_connection
@tell_errors
def list_keys(connection: Connection) -> None:
    """List the session keys of the account."""
    with connection.open() as client:
        _show(connection, client, client.keys())


@keys.command()
@click.argument("key", metavar="ADDRESS")
@click.option("--max-notional", type=AMOUNT, required=True, help="Most USDC one order may be worth.")
@click.option("--market", "markets", multiple=True, metavar="SYMBOL", help="Repeat for more.  [default: all listed]")
@click.option("--lifetime", type=_Lifetime(), default="30d", show_default=True, help="90m, 12h, 30d; at most 180d.")
@click.option("--trade-only/--may-withdraw", default=True, show_default=True,
              help="A key that may withdraw can do so to the owner's own address alone.")  # fmt: skip
@click.option("--reduce-only", is_flag=True, help="It may only shrink positions.")
@click.option("--on-chain", is_flag=True, help="By a transaction of your own instead of through the venue.")
@_pass_connection
@tell_errors
def link(
    connection: Connection,
    key: str,
    max_notional: Decimal,
    markets: tuple[str, ...],
    lifetime: int,
    trade_only: bool,
    reduce_only: bool,
    on_chain: bool,
) -> None:
    """Let the key of ADDRESS sign orders for the account, within limits."""
    connection.must_have_key()
    terms = KeyTerms(
        key=key,
        max_notional=max_notional,
        markets=tuple(symbol.upper() for symbol in markets) or None,
        trade_only=trade_only,
        reduce_only=reduce_only,
        lifetime_s=lifetime,
    )
    with connection.open() as client:
        if on_chain:
            client.link_key_on_chain(terms)
        else:
            client.link_key(
                key, max_notional, markets=terms.markets, trade_only=trade_only, reduce_only=reduce_only,
                lifetime_s=lifetime,
            )  # fmt: skip
        _show(connection, client, (client.wait_for_key(key),))


@keys.command()
@click.argument("key", metavar="ADDRESS")
@click.option("--on-chain", is_flag=True, help="By a transaction of your own, which binds the sequencer too. For good.")
@_pass_connection
@tell_errors
def revoke(connection: Connection, key: str, on_chain: bool) -> None:
    """End a session key; its live orders are cancelled."""
    connection.must_have_key()
    with connection.open() as client:
        if on_chain:
            client.revoke_key_on_chain(key)
        else:
            client.revoke_key(key)
        _show(connection, client, (client.wait_for_key(key, status="revoked"),))


def _show(connection: Connection, client: Client, found: tuple[SessionKey, ...]) -> None:
    if connection.is_json:
        print_json(found)
        return
    symbols = {market.market: market.symbol for market in client.markets()}
    print_table(
        "Session keys",
        ("key", "status", "until", "most an order", "markets", "may", "transaction"),
        [
            (
                key.key,
                key.status if key.code is None else f"{key.status}: {key.code}",
                utc(key.key_expiry_s * 1_000),
                usdc(key.max_notional_quote),
                ", ".join(symbols.get(market, str(market)) for market in key.markets) or "–",
                ("reduce" if key.reduce_only else "trade") + ("" if key.trade_only else ", withdraw to the owner"),
                key.transaction or "–",
            )
            for key in found
        ],
        empty="none",
    )


def _say_address(connection: Connection, private_key: bytes, file: Path) -> None:
    found = address_hex(SigningKey(private_key).address)
    if connection.is_json:
        print_json({"address": found, "file": str(file)})
    else:
        click.echo(found)
