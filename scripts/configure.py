"""`ape run configure`: change rules, tiers, reference price or sources of a listed market, through the Timelock.

    ape run configure --network … --key var/keys/governor.key AAPL --rules REGULAR:band_ppm=90000,max_age_s=30
    ape run configure --network … --key … AAPL --rules ALL:account_share=16384 --tiers 100000+25000,250000+50000
    ape run configure --network … --key … AAPL --sources 0:3 --reference 21000

What is shown before anything is sent: every field that changes, old and new, what it means, and how many of the
accounts that hold the market would be liquidatable, below initial margin or over the cap, in each session. Several
changes are made in the order shown, each only after the one before. --dry-run sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from scripts._accounts import ACCOUNT, DRY_RUN, KEY, MANIFEST, YES
from scripts._proposals import DELAY, propose, said

from afterbell.adapters.governance import NO_PREDECESSOR, NO_SOURCE, Call


@click.command(cls=ConnectedProviderCommand)
@ACCOUNT
@KEY
@MANIFEST
@DELAY
@click.argument("market")
@click.option("--rules", "rules", multiple=True, metavar="SESSION:FIELD=NUMBER,…", help="ALL for every session.")
@click.option("--tiers", metavar="EDGE+ADD,…", help="Edges in USDC, adds in ppm of maintenance margin; or none.")
@click.option(
    "--reference", "reference_ticks", type=int, help="Price now, roughly, at which caps are held against quote."
)
@click.option("--sources", metavar="PRIMARY:SECOND", help="Ids of the price sources; second may be none.")
@DRY_RUN
@YES
def cli(
    provider: ProviderAPI,
    alias: str | None,
    key_path: Path | None,
    manifest_path: Path,
    delay_s: int | None,
    market: str,
    rules: Sequence[str],
    tiers: str | None,
    reference_ticks: int | None,
    sources: str | None,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Show what would change for whom, then schedule it. Proposers only."""
    with said(provider, manifest_path) as governance:
        market_id = str(governance.find_market(market))
        wanted: list[tuple[str, list[str]]] = []
        if sources is not None:
            primary, _, second = sources.partition(":")
            ids = [primary, str(NO_SOURCE) if second in ("", "none") else second]
            wanted.append(("PriceOracle.set_market_sources", ids))
        if reference_ticks is not None:
            wanted.append(("MarketRegistry.set_reference", [str(reference_ticks)]))
        if rules:
            wanted.append(("MarketRegistry.set_rules", [*rules]))
        if tiers is not None:
            wanted.append(("MarketRegistry.set_tiers", [tiers]))
        calls: list[Call] = []
        for function, words in wanted:
            before = calls[-1].call_id if calls else NO_PREDECESSOR
            calls.append(governance.build_call(function, [market_id, *words], predecessor=before))
        if not calls:
            raise click.UsageError("--rules, --tiers, --reference or --sources is required: what is to change?")
        propose(
            provider, governance, calls, alias=alias, key_path=key_path, delay_s=delay_s, is_dry=is_dry, is_sure=is_sure
        )
