"""`ape run list_market`: open a market of a plan on a venue that stands, through the Timelock.

    ape run list_market --network … --key var/keys/governor.key --plan scripts/plans/next.yaml NVDA

The market is described as in the plan a venue is deployed from: sessions, tiers, caps, reference price. Everything it
starts with is shown before anything is sent; --dry-run sends nothing.
"""

from __future__ import annotations

from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from scripts._accounts import ACCOUNT, DRY_RUN, KEY, MANIFEST, YES
from scripts._proposals import DELAY, propose, said

from afterbell.adapters.deployment_plan import find_local_plan, read_markets


@click.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@DELAY
@click.option("--plan", "plan_path", type=click.Path(path_type=Path, exists=True), help="Where it stands [local.yaml].")
@click.argument("symbol")
@DRY_RUN
@YES
def cli(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    delay_s: int | None,
    plan_path: Path | None,
    symbol: str,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show the market and its rules, then schedule its listing. Proposers only."""
    with said(provider, manifest_path) as governance:
        markets = {market.symbol: market for market in read_markets(plan_path or find_local_plan())}
        if symbol not in markets:
            raise click.UsageError(f"a market of the plan is required ({', '.join(markets)}), found {symbol}")
        propose(
            provider, governance, [governance.build_listing(markets[symbol])],
            alias=alias, key_path=key_path, delay_s=delay_s, is_dry=is_dry, is_sure=is_sure,
        )  # fmt: skip
