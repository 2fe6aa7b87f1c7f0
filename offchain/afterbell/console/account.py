"""`afterbell account …`: look at an account, move money, order and cancel, from a terminal.

Amounts are USDC, sizes shares, prices USD, all as exact decimals. `--json` prints what the venue answered. Exit status:
0 done, 1 refused (why, and what to do, on stderr), 2 unusable input or no answer.
"""

from __future__ import annotations

import itertools
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import click

from afterbell.console.connection import ClientGroup, Connection, client_options, tell_errors
from afterbell.console.render import print_json, print_table, shorten, usdc, utc
from afterbell.sdk import Client
from afterbell.sdk.values import Fill, Market, PlacedOrder, Transfer

_LIMIT: Final = click.IntRange(1, 10_000)
_pass_connection = click.make_pass_decorator(Connection)


class _Amount(click.ParamType):
    """An exact decimal above zero."""

    name = "decimal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"a number is required, found {value!r}", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"a number above zero is required, found {value!r}", param, ctx)
        return amount


AMOUNT: Final = _Amount()


@click.group(cls=ClientGroup)
@client_options
def account() -> None:
    """Show an account, deposit, withdraw, order, cancel.

    Reads need --owner or a key, everything else a key (--key-file). Amounts in USDC, sizes in shares, prices in USD.
    """


@account.command()
@_pass_connection
@tell_errors
def show(connection: Connection) -> None:
    """Show money, margin and positions."""
    with connection.open() as client:
        found = client.account()
        markets = _by_symbol(client)
    if connection.is_json:
        print_json(found)
        return
    print_table(
        f"Account {found.account}",
        ("collateral", "equity", "free", "withdrawable", "in orders", "maintenance margin", "health"),
        [
            (
                usdc(found.collateral_quote),
                usdc(found.equity_quote),
                usdc(found.free_quote),
                usdc(found.withdrawable_quote),
                usdc(found.order_margin_quote),
                usdc(found.maintenance_margin_quote),
                "–" if found.health_ppm is None else f"{Decimal(found.health_ppm).scaleb(-4):f} %",
            )
        ],
        empty="nothing",
    )
    rows = []
    for position in found.positions:
        market = markets[position.symbol]
        rows.append(
            (
                position.symbol,
                f"{market.to_shares(position.size_lots):f}",
                _usd(market, position.entry_ticks),
                _usd(market, position.mark_ticks),
                _usd(market, position.liquidation_price_ticks),
                usdc(position.unrealised_pnl_quote),
            )
        )
    print_table(
        "Positions", ("market", "shares", "entry", "mark", "liquidation", "unrealised"), rows, empty="none open"
    )


@account.command()
@click.option("--open", "only_open", is_flag=True, help="Only orders that can still fill.")
@click.option("--limit", type=_LIMIT, default=50, show_default=True, help="How many, newest first.")
@_pass_connection
@tell_errors
def orders(connection: Connection, only_open: bool, limit: int) -> None:
    """List orders, newest first."""
    with connection.open() as client:
        found = client.orders(only_open=True) if only_open else tuple(itertools.islice(client.iterate_orders(), limit))
        markets = _by_symbol(client)
    if connection.is_json:
        print_json(found)
        return
    print_table(
        "Orders",
        ("order", "market", "side", "shares", "filled", "limit", "kind", "status", "why"),
        [_order_row(order, markets[order.symbol]) for order in found[:limit]],
        empty="none",
    )


@account.command()
@click.option("--limit", type=_LIMIT, default=50, show_default=True, help="How many, newest first.")
@_pass_connection
@tell_errors
def fills(connection: Connection, limit: int) -> None:
    """List fills with where they stand on chain, newest first."""
    with connection.open() as client:
        found = tuple(itertools.islice(client.iterate_fills(), limit))
        markets = _by_symbol(client)
    if connection.is_json:
        print_json(found)
        return
    print_table(
        "Fills",
        ("fill", "time", "market", "side", "shares", "price", "fee", "role", "batch", "status", "transaction"),
        [_fill_row(fill, markets[fill.symbol]) for fill in found],
        empty="none",
    )


@account.command()
@click.option("--limit", type=_LIMIT, default=50, show_default=True, help="How many, newest first.")
@_pass_connection
@tell_errors
def transfers(connection: Connection, limit: int) -> None:
    """List deposits, withdrawals and transfers between subaccounts, newest first."""
    with connection.open() as client:
        found = tuple(itertools.islice(client.iterate_transfers(), limit))
    _show_transfers(connection, found)


@account.command()
@click.option("--limit", type=_LIMIT, default=50, show_default=True, help="How many, newest first.")
@_pass_connection
@tell_errors
def funding(connection: Connection, limit: int) -> None:
    """List funding payments, newest first."""
    with connection.open() as client:
        found = tuple(itertools.islice(client.iterate_funding(), limit))
    if connection.is_json:
        print_json(found)
        return
    print_table(
        "Funding",
        ("time", "market", "paid", "fill", "batch"),
        [
            (
                utc(one.time_ms),
                one.symbol,
                usdc(one.quote),
                "direct" if one.fill_id is None else one.fill_id,
                "–" if one.sequence is None else one.sequence,
            )
            for one in found
        ],
        empty="none",
    )


@account.command()
@_pass_connection
@tell_errors
def faucet(connection: Connection) -> None:
    """Ask for test USDC and gas; local chain only."""
    connection.must_have_key()
    with connection.open() as client:
        client.faucet()
        quote = client.wallet_quote()
    _say(connection, {"wallet_quote": str(quote)}, f"the wallet holds {usdc(quote)} USDC")


@account.command()
@click.argument("amount", type=AMOUNT)
@click.option(
    "--method",
    type=click.Choice(["approve", "permit", "authorization"]),
    default="permit",
    show_default=True,
    help="approve: an approval first; permit: one transaction; authorization: none of yours, the venue sends it.",
)
@click.option("--for", "owner", metavar="0x…", help="Into another owner's account.")
@_pass_connection
@tell_errors
def deposit(
    connection: Connection, amount: Decimal, method: Literal["approve", "permit", "authorization"], owner: str | None
) -> None:
    """Deposit AMOUNT USDC; returns when the venue has credited it."""
    connection.must_have_key()
    with connection.open() as client:
        _show_transfers(connection, (client.deposit(amount, method=method, owner=owner),))


@account.command()
@click.argument("amount", type=AMOUNT)
@click.option("--to", "recipient", metavar="0x…", help="Who may claim it.  [default: the owner]")
@click.option(
    "--claim/--no-claim", default=True, show_default=True, help="Wait until it is claimable and have it paid."
)
@_pass_connection
@tell_errors
def withdraw(connection: Connection, amount: Decimal, recipient: str | None, claim: bool) -> None:
    """Withdraw AMOUNT USDC: signed, carried by a batch, then paid by the vault."""
    connection.must_have_key()
    with connection.open() as client:
        transfer = client.withdraw(amount, recipient=recipient)
        if claim:
            client.wait_for_withdrawal(transfer.transfer_id, status="claimable")
            client.claim(recipient=recipient, relayed=True)
            transfer = client.wait_for_withdrawal(transfer.transfer_id, status="paid")
        _show_transfers(connection, (transfer,))


@account.command()
@click.argument("amount", type=AMOUNT)
@click.option("--to", "to_subaccount", required=True, type=click.IntRange(0), help="Subaccount of the same owner.")
@_pass_connection
@tell_errors
def transfer(connection: Connection, amount: Decimal, to_subaccount: int) -> None:
    """Move AMOUNT USDC to another subaccount of the same owner; it counts there at once."""
    connection.must_have_key()
    with connection.open() as client:
        _show_transfers(connection, (client.transfer(to_subaccount, amount),))


@account.command()
@click.option("--recipient", metavar="0x…", help="Whose claim.  [default: the owner]")
@click.option("--own-gas", is_flag=True, help="Send the transaction yourself instead of through the venue.")
@_pass_connection
@tell_errors
def claim(connection: Connection, recipient: str | None, own_gas: bool) -> None:
    """Have the vault pay what is claimable."""
    if own_gas:
        connection.must_have_key()
    with connection.open() as client:
        transaction = client.claim(recipient=recipient, relayed=not own_gas)
    _say(connection, {"transaction": transaction}, f"paid by transaction {transaction}")


@account.command()
@click.argument("symbol")
@click.argument("side", type=click.Choice(["buy", "sell"], case_sensitive=False))
@click.argument("shares", type=AMOUNT)
@click.option("--limit", "price", type=AMOUNT, help="Limit in USD: rests until filled, cancelled or 30 days old.")
@click.option("--worst", type=AMOUNT, help="Worst price in USD of a market order: fills at once or not at all.")
@click.option("--slippage", type=AMOUNT, help="Worst price as a fraction of the mark, 0.01 is 1 %.")
@click.option("--post-only", is_flag=True, help="Refused if it would take.")
@click.option("--reduce-only", is_flag=True, help="May only shrink a position.")
@click.option("--fok", is_flag=True, help="Fills whole or not at all; with --limit.")
@click.option("--client-id", default="", help="Your own name for it; the same name twice is refused.")
@_pass_connection
@tell_errors
def order(
    connection: Connection,
    symbol: str,
    side: str,
    shares: Decimal,
    price: Decimal | None,
    worst: Decimal | None,
    slippage: Decimal | None,
    post_only: bool,
    reduce_only: bool,
    fok: bool,
    client_id: str,
) -> None:
    """Buy or sell SHARES of SYMBOL: with --limit a limit order, with --worst or --slippage a market order."""
    connection.must_have_key()
    if sum(found is not None for found in (price, worst, slippage)) != 1:
        raise click.UsageError("give exactly one of --limit, --worst and --slippage: every order has a worst price")
    if price is None and (post_only or fok):
        raise click.UsageError("--post-only and --fok go with --limit")
    side_name: Literal["BUY", "SELL"] = "BUY" if side.lower() == "buy" else "SELL"
    symbol = symbol.upper()
    with connection.open() as client:
        if price is None:
            placed = client.market_order(
                symbol, side_name, shares, worst_price=worst, max_slippage=slippage, reduce_only=reduce_only,
                client_id=client_id,
            )  # fmt: skip
        elif fok:
            placed = client.fok(symbol, side_name, shares, price, reduce_only=reduce_only, client_id=client_id)
        else:
            placed = client.limit(
                symbol, side_name, shares, price, post_only=post_only, reduce_only=reduce_only, client_id=client_id
            )
        markets = _by_symbol(client)
    if connection.is_json:
        print_json(placed)
        return
    print_table(
        "Order",
        ("order", "market", "side", "shares", "filled", "limit", "kind", "status", "why"),
        [_order_row(placed, markets[placed.symbol], n_head=66)],
        empty="none",
    )


@account.command()
@click.argument("order_id")
@_pass_connection
@tell_errors
def cancel(connection: Connection, order_id: str) -> None:
    """Cancel one order."""
    connection.must_have_key()
    with connection.open() as client:
        cancelled = client.cancel(order_id)
    _say(connection, {"order_ids": cancelled}, f"cancelled {len(cancelled)}: {', '.join(cancelled) or 'none was open'}")


@account.command("cancel-all")
@click.option("--on-chain", is_flag=True, help="By a transaction of your own, which binds the sequencer too.")
@_pass_connection
@tell_errors
def cancel_all(connection: Connection, on_chain: bool) -> None:
    """Cancel every order of the account."""
    connection.must_have_key()
    with connection.open() as client:
        if on_chain:
            transaction = client.cancel_all_on_chain()
            _say(
                connection,
                {"transaction": transaction},
                f"mined in transaction {transaction}: it binds every match later than five minutes after its block",
            )
            return
        cancelled = client.cancel_all()
    _say(connection, {"order_ids": cancelled}, f"cancelled {len(cancelled)} orders")


# ---------------------------------------------------------------- rows


def _by_symbol(client: Client) -> dict[str, Market]:
    return {market.symbol: market for market in client.markets()}


def _usd(market: Market, price_ticks: int | None) -> str:
    return "–" if not price_ticks else f"{market.to_usd(price_ticks):f}"


def _order_row(order: PlacedOrder, market: Market, n_head: int = 10) -> tuple[object, ...]:
    return (
        shorten(order.order_id, n_head),
        order.symbol,
        "buy" if order.is_buy else "sell",
        f"{market.to_shares(order.size_lots):f}",
        f"{market.to_shares(order.filled_lots):f}",
        _usd(market, order.limit_ticks),
        order.time_in_force,
        order.status,
        order.reason or "–",
    )


def _fill_row(fill: Fill, market: Market) -> tuple[object, ...]:
    return (
        fill.fill_id,
        utc(fill.time_ms),
        fill.symbol,
        "buy" if fill.is_buy else "sell",
        f"{market.to_shares(fill.size_lots):f}",
        _usd(market, fill.price_ticks),
        usdc(fill.fee_quote),
        fill.role,
        fill.sequence,
        fill.status if fill.code is None else f"{fill.status}: {fill.code}",
        fill.transaction or "–",
    )


def _show_transfers(connection: Connection, found: tuple[Transfer, ...]) -> None:
    if connection.is_json:
        print_json(found)
        return
    print_table(
        "Transfers",
        ("time", "kind", "USDC", "status", "batch", "transaction", "paid by"),
        [
            (
                utc(transfer.time_ms),
                transfer.kind,
                usdc(transfer.quote),
                transfer.status if transfer.code is None else f"{transfer.status}: {transfer.code}",
                transfer.sequence or "–",
                transfer.transaction or "–",
                transfer.paid_transaction or "–",
            )
            for transfer in found
        ],
        empty="none",
    )


def _say(connection: Connection, found: dict[str, Any], words: str) -> None:
    if connection.is_json:
        print_json(found)
    else:
        click.echo(words)
