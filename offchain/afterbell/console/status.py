"""`afterbell status`: is a venue ready, where are its prices, how far is settlement.

Exit status: 0 ready, 1 not ready (the part and its reason are named), 2 unreachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click
import httpx

from afterbell.console.connection import DEFAULT_URL, EXIT_REFUSED, EXIT_UNUSABLE
from afterbell.console.render import print_json, print_table, utc
from afterbell.sdk import AsyncClient, SdkError
from afterbell.sdk.values import Market

_N_BATCHES = 5
_TIMEOUT_S = 10


@click.command()
@click.option("--url", default=DEFAULT_URL, show_default=True, envvar="AFTERBELL_URL", help="The venue.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of tables.")
def status(url: str, is_json: bool) -> None:
    """Show whether a venue is ready, its prices and its batches.

    Exit status 0: ready. 1: a part is not ready, and it is named. 2: the venue cannot be reached.
    """
    try:
        found = asyncio.run(_read(url))
    except (SdkError, httpx.HTTPError, ValueError) as error:
        click.echo(f"afterbell status: no answer from {url}: {error}; is `afterbell up` running?", err=True)
        raise SystemExit(EXIT_UNUSABLE) from error
    if is_json:
        print_json(found)
    else:
        _print(url, found)
    if not found["readiness"]["is_ready"]:
        raise SystemExit(EXIT_REFUSED)


async def _read(url: str) -> dict[str, Any]:
    async with AsyncClient(url) as client, httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as http:
        venue, clock, markets = await asyncio.gather(client.venue(), client.clock(), client.markets())
        readiness, batches = await asyncio.gather(http.get("/readyz"), http.get("/v1/batches?limit=5"))
        batches.raise_for_status()
        return {
            "venue": venue,
            "clock": clock,
            "readiness": readiness.json(),
            "markets": markets,
            "batches": batches.json()["batches"],
        }


def _print(url: str, found: Mapping[str, Any]) -> None:
    clock, venue = found["clock"], found["venue"]
    click.echo(
        f"{venue.name} at {url}, chain {venue.chain_id}, venue time {utc(clock.venue_time_ms)} UTC "
        f"({clock.mode}{f', {clock.speed} days a minute' if clock.mode == 'replay' else ''})"
    )
    print_table("Parts", ("part", "ready", "reason"), _list_parts(found["readiness"]), empty="none told")
    print_table(
        "Markets",
        ("market", "session", "mark USD", "external USD", "bid", "ask", "open interest", "halted"),
        [_row_of(market) for market in found["markets"]],
        empty="none listed",
    )
    print_table(
        "Last batches",
        ("batch", "status", "fills", "failures", "gas", "transaction"),
        [
            (
                batch["sequence"],
                batch["status"],
                batch["n_fills"],
                sum(1 for code in bytes.fromhex(batch.get("codes", "0x")[2:]) if code),
                batch.get("gas_used") or "–",
                batch.get("transaction") or "–",
            )
            for batch in found["batches"]
        ],
        empty="none sealed yet",
    )


def _list_parts(readiness: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    parts = readiness.get("parts")
    if parts is None:
        return [(name, "yes" if ready else "NO", "") for name, ready in readiness["checks"].items()]
    return [(part["name"], "yes" if part["ready"] else "NO", part.get("reason") or "") for part in parts]


def _row_of(market: Market) -> tuple[object, ...]:
    def price(ticks: int | None) -> str:
        return f"{market.to_usd(ticks):f}" if ticks else "–"

    return (
        market.symbol + (" (synthetic)" if market.is_synthetic else ""),
        market.session,
        price(market.mark_ticks),
        price(market.external_ticks),
        price(market.best_bid_ticks),
        price(market.best_ask_ticks),
        f"{market.to_shares(market.open_interest_lots):f}",
        market.halt_reason or "–",
    )
