"""Trading programs on the public SDK: market makers and takers that give a local venue its book. `afterbell programs`.

Examples as much as furniture: everything they do, a stranger's program can do. Must not: import anything but the SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from pathlib import Path
from typing import Final

import click
import structlog

from afterbell.programs.makers import MarketMaker
from afterbell.programs.quoting import QuoteStyle
from afterbell.programs.takers import MomentumTaker, NoiseTaker
from afterbell.programs.trader import Trader
from afterbell.sdk import AsyncClient, SdkError

_log = structlog.get_logger(__name__)
_USDC: Final = 10**6
_REPORT_S: Final = 30.0


@click.command()
@click.option("--url", default="http://127.0.0.1:8720", show_default=True, help="Address of the venue.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var"),
    show_default=True,
    help="Keys of the programs are kept in its folder keys/.",
)
@click.option("--seed", default="afterbell", show_default=True, help="Seed of what takers draw.")
def programs(url: str, data_dir: Path, seed: str) -> None:
    """Run market makers and takers until stopped."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_programs(url, data_dir, seed))


async def run_programs(url: str, data_dir: Path, seed: str) -> None:
    """Run all programs in one task group until SIGTERM or SIGINT; then take their quotes off the book."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    traders = build_traders(url, data_dir / "keys", seed)
    tasks = [asyncio.create_task(trader.run(), name=trader.name) for trader in traders]
    tasks.append(asyncio.create_task(_report(traders), name="report"))
    waiting = asyncio.create_task(stopping.wait(), name="stop")
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in [waiting, *tasks]:
        task.cancel()
    await asyncio.gather(waiting, *tasks, return_exceptions=True)
    for trader in traders:
        if isinstance(trader, MarketMaker):
            with contextlib.suppress(SdkError):
                await trader.client.cancel_all()
        await trader.close()
    for task in done - {waiting}:
        task.result()  # A program never returns: what it raised ends the process with its traceback.


def build_traders(url: str, keys: Path, seed: str) -> list[Trader]:
    """Return two makers and three takers, each with a key of its own; the makers quote with session keys."""

    def client(name: str) -> AsyncClient:
        return AsyncClient(url, key=_read_or_create_key(keys / f"program-{name}.key"))

    def maker(name: str, style: QuoteStyle, interval_s: float) -> MarketMaker:
        owner = client(name)
        session_key = _read_or_create_key(keys / f"program-{name}-session.key")
        return MarketMaker(
            name,
            AsyncClient(url, key=session_key, owner=owner.owner),
            style,
            target_quote=300_000 * _USDC,
            interval_s=interval_s,
            owner_client=owner,
        )

    tight = QuoteStyle(
        n_levels=3,
        half_spread_ppm=600,
        level_gap_ppm=500,
        level_quote=3_000 * _USDC,
        limit_quote=40_000 * _USDC,
        skew_ppm=1_500,
    )
    wide = QuoteStyle(
        n_levels=3,
        half_spread_ppm=1_400,
        level_gap_ppm=1_200,
        level_quote=6_000 * _USDC,
        limit_quote=60_000 * _USDC,
        skew_ppm=3_000,
    )
    return [
        maker("maker-tight", tight, 0.4),
        maker("maker-wide", wide, 0.9),
        NoiseTaker(
            "taker-noise",
            client("taker-noise"),
            seed=f"{seed}/noise",
            target_quote=100_000 * _USDC,
            order_quote=1_500 * _USDC,
            limit_quote=10_000 * _USDC,
            interval_s=0.6,
        ),
        NoiseTaker(
            "taker-small",
            client("taker-small"),
            seed=f"{seed}/small",
            target_quote=50_000 * _USDC,
            order_quote=400 * _USDC,
            limit_quote=4_000 * _USDC,
            interval_s=0.8,
        ),
        MomentumTaker(
            "taker-momentum",
            client("taker-momentum"),
            seed=f"{seed}/momentum",
            target_quote=100_000 * _USDC,
            order_quote=2_500 * _USDC,
            limit_quote=15_000 * _USDC,
            interval_s=1.0,
        ),
    ]


async def _report(traders: list[Trader]) -> None:
    while True:
        await asyncio.sleep(_REPORT_S)
        for trader in traders:
            _log.info("program.counted", program=trader.name, n_orders=trader.n_orders, n_refused=trader.n_refused)


def _read_or_create_key(path: Path) -> bytes:
    """Return a program's key, made on first use, readable by its owner alone: restarts keep account and positions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    return bytes.fromhex(path.read_text().strip())
