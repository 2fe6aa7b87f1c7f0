"""Venue: bring the processes up in order, watch them, take them down in order, and say what was saved.

    up    chain -> contracts -> publishers -> exchange -> programs
    down  programs -> exchange (seals, settles, closes the journal) -> publishers -> chain (saves its state)

Chain and exchange are the venue: if one dies, everything stops and the last lines say why. A publisher or the programs
may die: it is said, nothing is restarted. Must not: know what the processes do inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx
from eth_account import Account
from rich.console import Console

from afterbell.adapters.anvil import Anvil
from afterbell.adapters.deployment import KeySender, connect, deploy
from afterbell.adapters.keys import read_or_create_key
from afterbell.domain.errors import AfterbellError
from afterbell.domain.manifest import Manifest
from afterbell.sdk import SdkError
from afterbell.signing.keys import SigningKey
from afterbell.supervisor.check import CheckFailed, check_fill
from afterbell.supervisor.children import (
    Child,
    ChildFailed,
    describe_end,
    describe_status,
    must_run,
    read_tail,
    start_child,
    stop_child,
    wait_for_address,
)
from afterbell.supervisor.progress import Progress, describe_now
from afterbell.supervisor.state import N_PUBLISHERS, VenueState

HOST: Final = "127.0.0.1"
DEFAULT_RPC_PORT: Final = 8545
_GENESIS_LEAD_S: Final = 3_600
"""The chain begins an hour before the first step: contracts and first deposits need blocks, a second each."""
_GAS_WEI: Final = 10**24
_START_TIMEOUT_S: Final = 120.0
_READY_TIMEOUT_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 45.0
_WATCH_S: Final = 0.5
_STATUS_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """What the user chose. check_timeout_s: None unless this is a check."""

    port: int
    speed_ppm: int
    check_timeout_s: int | None = None


@dataclass(slots=True, kw_only=True)
class _Running:
    """What runs now."""

    anvil: Anvil | None = None
    manifest: Manifest | None = None
    publishers: list[Child] = field(default_factory=list)
    publisher_urls: list[str] = field(default_factory=list)
    exchange: Child | None = None
    programs: Child | None = None
    url: str = ""
    is_healthy: bool = True


async def run_venue(state: VenueState, settings: UpSettings, console: Console) -> int:
    """Run until a signal, a death or the end of a check; return the exit status."""
    must_be_free(settings.port)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    running = _Running()
    status = 0
    try:
        started = asyncio.create_task(_start(state, settings, console, running))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({started, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            console.print("stopping before everything was up …")
            started.cancel()
            await asyncio.gather(started, return_exceptions=True)
        else:
            await started
            status = await _watch(state, settings, console, running, waiting)
        waiting.cancel()
    except ChildFailed as error:
        console.print(str(error), style="bold red", markup=False)
        status = 1
    finally:
        is_clean = await _stop(state, console, running)
    return status if is_clean else 1


def must_be_free(port: int) -> None:
    """Raise a ChildFailed that says what to do when a port is taken; 0 is always free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ChildFailed(
                f"port {port} cannot be used: {error.strerror}; choose another with --port, or 0 for any free one"
            ) from error


def _choose_rpc_port(*, is_check: bool) -> int:
    """Return the usual port of a local node if it is free; any other will do."""
    if is_check:
        return 0
    try:
        must_be_free(DEFAULT_RPC_PORT)
    except ChildFailed:
        return 0
    return DEFAULT_RPC_PORT


# --------------------------------------------------------------------- up


async def _start(state: VenueState, settings: UpSettings, console: Console, running: _Running) -> None:
    with _step(console, "chain") as say:
        running.anvil = await asyncio.to_thread(
            Anvil.start,
            genesis_s=state.history.start_s - _GENESIS_LEAD_S,
            log_path=state.logs_dir / "anvil.log",
            state_path=state.chain_state_path,
            port=_choose_rpc_port(is_check=settings.check_timeout_s is not None),
        )
        say(f"anvil at {running.anvil.url}" + (", state of the last run" if state.is_resumed else ""))
    with _step(console, "contracts") as say:
        say(await asyncio.to_thread(_deploy, state, running))
    with _step(console, "publishers") as say:
        for index in range(1, N_PUBLISHERS + 1):
            running.publishers.append(
                await start_child(
                    f"publisher-{index}",
                    ["publisher", "--index", str(index), "--data-dir", str(state.data_dir)],
                    logs_dir=state.logs_dir,
                    logs=[state.logs_dir / f"publisher-{index}.log"],
                )
            )
        running.publisher_urls = list(
            await asyncio.gather(*(wait_for_address(child, _START_TIMEOUT_S) for child in running.publishers))
        )
        say(f"{len(running.publisher_urls)}, of which {state.plan.threshold} must agree on a price")
    with _step(console, "exchange") as say:
        running.exchange = await start_child(
            "exchange",
            [
                "exchange",
                *("--data-dir", str(state.data_dir)),
                *("--host", HOST),
                *("--port", str(settings.port)),
                *("--rpc", running.anvil.url),
            ],
            logs_dir=state.logs_dir,
            logs=[state.logs_dir / "exchange.log"],
            environment={
                "AFTERBELL_PUBLISHER_URLS": json.dumps(running.publisher_urls),
                "AFTERBELL_SPEED_PPM": str(settings.speed_ppm),
            },
        )
        running.url = await wait_for_address(running.exchange, _START_TIMEOUT_S)
        await _wait_until_ready(running.exchange, running.url)
        say(f"ready at {running.url}")
    with _step(console, "programs") as say:
        running.programs = await start_child(
            "programs",
            ["programs", "--url", running.url, "--data-dir", str(state.data_dir)],
            logs_dir=state.logs_dir,
        )
        say("two market makers, three takers, on the public SDK")
    _print_summary(state, settings, console, running)


def _deploy(state: VenueState, running: _Running) -> str:
    """Deploy or check the contracts; return what to tell."""
    assert running.anvil is not None
    deployer = read_or_create_key(state.keys_dir / "deployer.key")
    roles = state.plan.roles
    # Whoever may send a transaction of the venue's own needs gas; the roles beside the sequencer use `ape run`.
    single = (SigningKey(deployer).address, roles.sequencer, roles.announcer, roles.guardian)
    for address in {*single, *roles.standbys, *roles.executors}:
        running.anvil.call("anvil_setBalance", "0x" + address.hex(), hex(_GAS_WEI))
    web3 = connect(running.anvil.url)
    done = deploy(web3, KeySender(web3, Account.from_key(deployer)), state.plan, manifest_path=state.manifest_path)
    running.manifest = done.manifest
    # From here on the manifest names this chain: it must be found again after a crash of this process.
    running.anvil.save_state()
    if done.n_transactions == 0:
        return "as the manifest says, nothing to deploy"
    return f"{done.n_transactions} transactions, clearinghouse {done.manifest.addresses['clearinghouse']}"


async def _wait_until_ready(exchange: Child, url: str) -> None:
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    found = "no answer"
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        while time.monotonic() < deadline_s:
            must_run(exchange)
            with contextlib.suppress(httpx.HTTPError, ValueError):
                response = await client.get(f"{url}/readyz")
                found = response.text
                if response.is_success:
                    return
            await asyncio.sleep(0.1)
    raise ChildFailed(describe_end(exchange, f"exchange was not ready within {_READY_TIMEOUT_S:.0f} s: {found}"))


@contextlib.contextmanager
def _step(console: Console, name: str) -> Iterator[_Saying]:
    """Print a line when a part is up, with how long it took."""
    begun_s = time.monotonic()
    saying = _Saying()
    if console.is_terminal:
        with console.status(f"{name} …"):
            yield saying
    else:
        yield saying
    console.print(f"[green]✓[/green] {name:<11} {saying.text}  [dim]{time.monotonic() - begun_s:.1f} s[/dim]")


class _Saying:
    """Holds what a step has to tell."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        self.text = text


def _print_summary(state: VenueState, settings: UpSettings, console: Console, running: _Running) -> None:
    assert running.manifest is not None
    assert running.anvil is not None
    history = state.history
    console.print()
    console.print(f"  page and API     [bold]{running.url}[/bold]   (schema: {running.url}/openapi.json)")
    console.print(f"  chain            {running.anvil.url}   (chain id {running.manifest.chain_id})")
    for name, address in running.manifest.addresses.items():
        console.print(f"  {name:<16} {address}")
    for symbol, market in sorted(history.markets.items()):
        label = "[yellow]SYNTHETIC PRICE[/yellow]" if market.is_synthetic else market.source
        console.print(f"  {symbol:<16} {label}")
    console.print(
        f"  replay           from {history.days[0]} to {history.days[-1]}, "
        f"at most {settings.speed_ppm / 1_000_000:g} trading day(s) a minute"
    )
    console.print(f"  state and logs   {state.data_dir}")
    if settings.check_timeout_s is None:
        console.print("  Ctrl-C stops everything in order; the next `up` goes on from there.\n")


# ------------------------------------------------------------------ watch


async def _watch(
    state: VenueState, settings: UpSettings, console: Console, running: _Running, stopping: asyncio.Task[bool]
) -> int:
    """Wait for a signal, a death, or the end of the check."""
    deaths = asyncio.create_task(_wait_for_death(console, running))
    waits: set[asyncio.Task[object]] = {stopping, deaths}
    checking: asyncio.Task[None] | None = None
    if settings.check_timeout_s is not None:
        console.print("\ncheck: one trade, followed until it is final on chain")
        checking = asyncio.create_task(
            check_fill(
                running.url,
                timeout_s=settings.check_timeout_s,
                report=lambda line: console.print(f"  {line}", markup=False),
            )
        )
        waits.add(checking)
    showing = asyncio.create_task(_show_progress(console, running)) if checking is None else None
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (deaths, showing, checking):
            if task is not None and not task.done():
                task.cancel()
    if checking is not None and checking.done() and not checking.cancelled():
        return _judge_check(state, console, checking)
    if deaths.done() and not deaths.cancelled():
        console.print(deaths.result(), style="bold red", markup=False)
        return 1
    return 0 if checking is None else 1


def _judge_check(state: VenueState, console: Console, checking: asyncio.Task[None]) -> int:
    error = checking.exception()
    if error is None:
        console.print("[bold green]check passed: a fill is final on chain[/bold green]")
        return 0
    if not isinstance(error, CheckFailed | SdkError):
        raise error
    console.print(f"check failed: {error}", style="bold red", markup=False)
    for name in ("exchange.log", "programs.out", "publisher-1.log"):
        path = state.logs_dir / name
        with contextlib.suppress(OSError):
            for line in read_tail(path):
                console.print(f"  {name}: {line[:300]}", markup=False)
    return 1


async def _wait_for_death(console: Console, running: _Running) -> str:
    """Return why the venue cannot go on; tell of parts it can go on without."""
    told: set[str] = set()
    while True:
        if running.anvil is not None and not running.anvil.is_running:
            running.is_healthy = False
            return (
                "the chain (anvil) ended; see logs/anvil.log. What was mined since it was saved is gone: the next `up` "
                "submits the journal's batches again, and refuses to if deposits were lost too."
            )
        if running.exchange is not None and not running.exchange.is_running:
            running.is_healthy = False
            ended = describe_status(running.exchange.process.returncode)
            return describe_end(running.exchange, f"exchange ended with {ended}; stopping the rest")
        for child in [*running.publishers, *([running.programs] if running.programs else [])]:
            if not child.is_running and child.name not in told:
                told.add(child.name)
                ended = describe_status(child.process.returncode)
                console.print(
                    describe_end(child, f"{child.name} ended with {ended}; it is not restarted, the venue goes on"),
                    style="bold yellow",
                    markup=False,
                )
        await asyncio.sleep(_WATCH_S)


async def _show_progress(console: Console, running: _Running) -> None:
    """Say where the venue is: on a terminal in one line at its bottom, elsewhere in a line per trading day."""
    progress = Progress(console)
    async with httpx.AsyncClient(trust_env=False, timeout=2.0, base_url=running.url) as client:
        with console.status("") if console.is_terminal else contextlib.nullcontext() as line:
            while True:
                with contextlib.suppress(httpx.HTTPError, ValueError, KeyError, IndexError):
                    markets = (await client.get("/v1/markets")).json()["markets"]
                    progress.tell_halts(markets)
                    clock = (await client.get("/v1/clock")).json()
                    batch = (await client.get("/v1/batches", params={"limit": 1})).json()["batches"][0]
                    if line is None:
                        progress.tell_day(clock, batch, markets)
                    else:
                        line.update(describe_now(clock, batch, markets))
                await asyncio.sleep(_STATUS_S)


# ------------------------------------------------------------------- down


async def _stop(state: VenueState, console: Console, running: _Running) -> bool:
    """Take everything down in order and say what was saved; return whether every part ended as it should."""
    if running.anvil is None:
        return True
    console.print("\nstopping …")
    try:
        is_clean = await _stop_children(console, running)
    finally:
        is_saved = await _stop_chain(state, console, running.anvil, is_deployed=running.manifest is not None)
    return is_clean and is_saved


async def _stop_children(console: Console, running: _Running) -> bool:
    """Stop programs, exchange and publishers, in this order."""
    is_clean = running.is_healthy
    if running.programs is not None:
        is_clean &= _tell(console, running.programs, await stop_child(running.programs, _STOP_TIMEOUT_S))
    if running.exchange is not None:
        was_running = running.exchange.is_running
        has_ended = await stop_child(running.exchange, _STOP_TIMEOUT_S)
        is_clean &= _tell(console, running.exchange, has_ended) and (
            not was_running or running.exchange.process.returncode == 0
        )
        for line in running.exchange.read_output().splitlines():
            if line.startswith("exchange: stopped"):
                console.print(f"  {line}", markup=False)
    for child in running.publishers:
        is_clean &= _tell(console, child, await stop_child(child, _STOP_TIMEOUT_S))
    return is_clean


async def _stop_chain(state: VenueState, console: Console, anvil: Anvil, *, is_deployed: bool) -> bool:
    """Save the chain, unless nothing was deployed on it yet, and end it."""
    if not anvil.is_running:
        console.print("  the chain was not saved: it had ended", style="bold red")
        return False
    try:
        await asyncio.to_thread(anvil.stop, is_saving=is_deployed)
    except AfterbellError as error:
        console.print(f"  the chain's state was not saved: {error}", style="bold red", markup=False)
        return False
    if is_deployed:
        size = state.chain_state_path.stat().st_size
        console.print(f"  chain saved: {state.chain_state_path.name}, {size:,} bytes")
        console.print(
            f"  keys, journal, read model and logs are in {state.data_dir}; `afterbell up` goes on from there"
        )
    return True


def _tell(console: Console, child: Child, has_ended: bool) -> bool:
    if not has_ended:
        console.print(f"  {child.name} did not end within {_STOP_TIMEOUT_S:.0f} s and was killed", style="bold red")
    return has_ended
