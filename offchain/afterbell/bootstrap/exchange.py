"""Run one exchange: an instance (core.py), its prices and its gateway, in one event loop and one task group.

    start: core -> replay -> gateway, so that nobody is served by a venue that cannot settle
    stop (SIGTERM, SIGINT): no new orders -> gateway -> replay -> last batch settled -> files closed -> a report

A fault ends the process with exit status 1 and its cause on stderr and in the log; the journal holds whatever was
acknowledged, and the next start goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import ValidationError

from afterbell.adapters.approvals import ChainApprovals
from afterbell.adapters.chain_oracle import ChainOracle
from afterbell.adapters.clock import ReplayClock, SystemClock
from afterbell.adapters.faucet import LocalFaucet
from afterbell.adapters.history import has_replay_settings, load_history
from afterbell.adapters.keys import read_key, read_or_create_key
from afterbell.adapters.log_lines import close_logging, configure_logging
from afterbell.adapters.publishers import HttpRootFetcher
from afterbell.adapters.web3_chain import Web3Chain
from afterbell.bootstrap.core import Core, StopReport
from afterbell.bootstrap.gate import StepBarrier
from afterbell.bootstrap.observation import build_gauges, read_readiness
from afterbell.cli import data_dir_option
from afterbell.domain.errors import AfterbellError
from afterbell.domain.evidence import SIGNED_SOURCE_ID
from afterbell.domain.manifest import Manifest, ManifestMarket, parse_manifest
from afterbell.domain.oracle import OracleMarket, SignedSource, compute_external_ticks
from afterbell.domain.units import milliseconds_to_seconds, seconds_to_milliseconds
from afterbell.engine.queries import read_markets
from afterbell.gateway.app import create_app
from afterbell.gateway.metrics import Metrics
from afterbell.gateway.rpc import LocalRpc
from afterbell.gateway.services import ClockStatus, GatewayLimits, Readiness, Services, VenueInfo
from afterbell.gateway.stream import StreamHub
from afterbell.keepers.collection import PriceCollector
from afterbell.keepers.history import PriceHistory
from afterbell.keepers.replay import MarketPrices, ReplayKeeper
from afterbell.keepers.sessions import compute_open_s
from afterbell.ports import Clock
from afterbell.readmodel.queries import Candle
from afterbell.settings import ExchangeSettings
from afterbell.settlement.relayer import TransactionRelayer
from afterbell.settlement.sender import TransactionSender
from afterbell.signing.keys import recover
from afterbell.signing.typed_data import price_domain
from afterbell.waiting import end_task

_log = structlog.get_logger(__name__)

_LOCAL_CHAIN_ID: Final = 31337
_SPEED_SCALE: Final = 1_000_000
_GATEWAY_STOP_S: Final = 10
_RELAYER_WEI: Final = 10**21
"""What a local chain gives the relayer before it sends."""


class ManifestMissing(AfterbellError):
    """There is no deployment to run."""


class Exchange:
    """The process `afterbell exchange`."""

    def __init__(self, settings: ExchangeSettings, manifest: Manifest) -> None:
        """Open files and replay the journal. Blocks."""
        self.settings = settings
        self.manifest = manifest
        self.is_local = manifest.chain_id == _LOCAL_CHAIN_ID
        self.history = load_history(settings.data_dir) if has_replay_settings(settings.data_dir) else None
        self._replay_clock: ReplayClock | None = None
        self._system_clock: SystemClock | None = None
        self.chain = Web3Chain(settings.rpc_url, timeout_ms=settings.rpc_timeout_ms)
        self.hub = StreamHub(clock=_LateClock(self), clock_status=self.read_clock_status)
        self.metrics = Metrics()
        self.core = Core(
            settings=settings,
            manifest=manifest,
            chain=self.chain,
            sequencer_key=read_key(settings.keys_dir / "sequencer.key"),
            build_clock=self._build_clock,
            sets_block_time=self.is_local,
            hub=self.hub,
            metrics=self.metrics,
        )
        self.hub.attach_state(lambda: self.core.state)
        self._fetchers = tuple(HttpRootFetcher(url) for url in settings.publisher_urls)
        self.keeper = self._build_keeper()
        self._rpc = LocalRpc(settings.rpc_url) if self.is_local else None
        self._faucet = self._build_faucet()
        self._relayer = self._build_relayer()
        self.metrics.gauges += build_gauges(
            self.core, self.hub, count_relayed=lambda: None if self._relayer is None else self._relayer.n_under_way
        )
        self._has_started = False

    # ----------------------------------------------------------------- clock

    @property
    def clock(self) -> Clock:
        """The venue clock."""
        clock = self._replay_clock or self._system_clock
        assert clock is not None  # built before anybody can ask
        return clock

    def _build_clock(self, floor_ms: int) -> Clock:
        """Follow the history if there is one, else the wall; never before the journal's last frame."""
        if self.history is None:
            self._system_clock = SystemClock(floor_ms=floor_ms)
            return self._system_clock
        step_ms = max(floor_ms, seconds_to_milliseconds(self.manifest.genesis_s))
        next_step_s = self.history.compute_next_step_s(milliseconds_to_seconds(step_ms))
        self._replay_clock = ReplayClock(
            step_ms=step_ms,
            next_step_ms=None if next_step_s is None else seconds_to_milliseconds(next_step_s),
            floor_ms=floor_ms,
        )
        return self._replay_clock

    def read_clock_status(self) -> ClockStatus:
        """Return the clock for people."""
        if self._replay_clock is None:
            return ClockStatus(mode="live")
        if self.keeper is None or self.history is None:
            return ClockStatus(mode=self._replay_clock.mode, step_time_ms=self._replay_clock.step_ms)
        status = self.keeper.status
        return ClockStatus(
            mode=self._replay_clock.mode,
            step=self.history.count_steps(milliseconds_to_seconds(self._replay_clock.step_ms)),
            step_time_ms=self._replay_clock.step_ms,
            next_step_ms=self._replay_clock.next_step_ms,
            speed=_format_speed(status.speed_ppm),
        )

    # ---------------------------------------------------------------- prices

    def _build_keeper(self) -> ReplayKeeper | None:
        if self.history is None or self._replay_clock is None or not self._fetchers:
            return None
        manifest = self.manifest
        publishers = frozenset(bytes.fromhex(address[2:]) for address in manifest.publishers)
        domain = price_domain(manifest.chain_id, manifest.get_address("signed_price_source"))
        collector = PriceCollector(
            fetchers=self._fetchers, publishers=publishers, threshold=manifest.threshold, domain=domain
        )
        source = SignedSource(
            publishers=publishers,
            threshold=manifest.threshold,
            domain_separator=domain.separator(),
            recover=recover,
        )
        oracle = ChainOracle(
            chain=self.chain,
            price_oracle=manifest.get_address("price_oracle"),
            corporate_actions=manifest.get_address("corporate_actions"),
            market_ids=[market.market_id for market in manifest.markets],
            sources={SIGNED_SOURCE_ID: source},
        )
        return ReplayKeeper(
            history=self.history,
            clock=self._replay_clock,
            collector=collector,
            submitter=self.core.sequencer,
            barrier=self._build_barrier(),
            read_markets=self._read_market_prices,
            read_words=lambda: self.core.state.chain,
            oracle=oracle,
            wait_until_settled=self.core.settler.wait_until_settled,
            has_unsettled=lambda: self.core.state.has_open_batch or self.core.settler.n_unsettled > 0,
            speed_ppm=self.settings.speed_ppm,
        )

    def _build_barrier(self) -> StepBarrier:
        # Closed until the first step: after a crash between the chain's jump and the clock's, a match of now would be
        # older than the chain takes.
        self.core.gate.hold()
        return StepBarrier(
            gate=self.core.gate,
            chain=self.chain,
            chain_time=self.chain,
            follower=self.core.follower,
            confirmations=self.settings.deposit_confirmations,
        )

    def _read_market_prices(self) -> Mapping[int, MarketPrices]:
        now_s = milliseconds_to_seconds(self.clock.now_ms())
        return {
            view.market: MarketPrices(
                market_id=view.market,
                symbol=view.symbol,
                external_ticks=view.external_ticks,
                is_halted=view.is_halted,
            )
            for view in read_markets(self.core.state, now_s)
        }

    def _build_faucet(self) -> LocalFaucet | None:
        if not self.is_local:
            return None
        return LocalFaucet(
            chain=self.chain,
            private_key=read_or_create_key(self.settings.keys_dir / "faucet.key"),
            chain_id=self.manifest.chain_id,
            token=self.manifest.get_address("token"),
        )

    def _build_relayer(self) -> TransactionRelayer | None:
        """Relay with a key of its own: made and funded on a local chain, elsewhere only if the operator has one."""
        path = self.settings.keys_dir / "relayer.key"
        if not self.is_local and not path.exists():
            return None

        async def fund(address: bytes) -> None:
            await self.chain.set_balance(address, _RELAYER_WEI)

        return TransactionRelayer(
            chain=self.chain,
            sender=TransactionSender(
                chain=self.chain,
                private_key=read_or_create_key(path),
                chain_id=self.manifest.chain_id,
                receipt_timeout_ms=self.settings.receipt_timeout_ms,
            ),
            vault=self.manifest.get_address("vault"),
            fund=fund if self.is_local else None,
        )

    # --------------------------------------------------------------- gateway

    def build_app(self) -> FastAPI:
        """Return the gateway's application."""
        symbols = {market.symbol: market for market in self.manifest.markets}
        services = Services(
            venue=VenueInfo(
                chain_id=self.manifest.chain_id,
                genesis_s=self.manifest.genesis_s,
                addresses=self.manifest.addresses,
                confirmations_blocks=self.settings.final_confirmations,
                is_local_chain=self.is_local,
                labels={symbol: "SYNTHETIC PRICE" for symbol, market in symbols.items() if market.synthetic},
            ),
            submitter=self.core.gate,
            state=lambda: self.core.state,
            readmodel=self.core.readmodel,
            projector=self.core.projector,
            hub=self.hub,
            clock=self.clock,
            clock_status=self.read_clock_status,
            faucet=self._faucet,
            rpc=self._rpc,
            relayer=self._relayer,
            approvals=ChainApprovals(chain=self.chain, operations=self.manifest.get_address("operations")),
            metrics=self.metrics,
            history=None if self.history is None else _DailyCandles(self.history, self.manifest),
            readiness=self.read_readiness,
            limits=GatewayLimits(),
        )
        return create_app(services)

    def read_readiness(self) -> Sequence[Readiness]:
        """Return what a client needs before it trades."""
        has_prices = any(price.external_ticks for price in self._read_market_prices().values())
        return read_readiness(self.core, has_started=self._has_started, has_prices=has_prices)

    # ------------------------------------------------------------------- run

    async def run(self, stop: asyncio.Event, listener: socket.socket) -> StopReport:
        """Run until `stop` is set; return what was saved. Raises: ExceptionGroup of what faulted."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self.core.start(tasks)
                hub = tasks.create_task(self.hub.run(), name="hub")
                keeper = None
                if self.keeper is not None:
                    keeper = tasks.create_task(self.keeper.run(), name="replay")
                server = _Server(
                    uvicorn.Config(self.build_app(), log_config=None, access_log=False, timeout_graceful_shutdown=3)
                )
                serving = tasks.create_task(server.serve(sockets=[listener]), name="gateway")
                self._has_started = True
                # Connections are taken from here on, by the backlog at first: whoever reads the line below may ask.
                listener.listen()
                host, port = listener.getsockname()[:2]
                _log.info("exchange.started", host=host, port=port)
                click.echo(f"exchange: listening on http://{host}:{port}")

                await stop.wait()

                _log.info("exchange.stopping")
                self.core.gate.is_stopping = True
                self.hub.stop()
                server.should_exit = True
                await asyncio.wait([serving], timeout=_GATEWAY_STOP_S)
                if not serving.done():
                    _log.warning("gateway.cancelled", reason=f"it did not end within {_GATEWAY_STOP_S} s")
                    await end_task(serving)
                _log.info("gateway.stopped")
                if keeper is not None:
                    await end_task(keeper)
                    _log.info("replay.stopped")
                report = await self.core.stop()
                await end_task(hub)
                return report
        finally:
            for fetcher in self._fetchers:
                await fetcher.close()
            if self._relayer is not None:
                await self._relayer.stop()
            if self._rpc is not None:
                await self._rpc.close()
            await self.chain.close()
            self.core.close()


class _LateClock:
    """The exchange's clock for parts that are built before it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.clock.now_ms()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the exchange decides in which order its parts stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _DailyCandles:
    """Implements gateway.services.PriceHistory from the replay's own bars."""

    def __init__(self, history: PriceHistory, manifest: Manifest) -> None:
        self._history = history
        self._markets = {market.symbol: _oracle_market(market) for market in manifest.markets}

    def __call__(self, symbol: str, before_s: int, limit: int) -> Sequence[Candle]:
        market, bars = self._markets[symbol], self._history.markets.get(symbol)
        if bars is None:
            return []
        earlier = [bar for bar in bars.bars if compute_open_s(bar.day) < before_s]
        return [
            Candle(
                time_s=compute_open_s(bar.day),
                open_ticks=compute_external_ticks(bar.open_e8, market),
                high_ticks=compute_external_ticks(bar.high_e8, market),
                low_ticks=compute_external_ticks(bar.low_e8, market),
                close_ticks=compute_external_ticks(bar.close_e8, market),
                volume_lots=0,
            )
            for bar in earlier[-limit:]
        ]


def _oracle_market(market: ManifestMarket) -> OracleMarket:
    return OracleMarket(
        multiplier_num=market.multiplier_num,
        multiplier_den=market.multiplier_den,
        ticks_per_usd=market.ticks_per_usd,
        max_confidence_ppm=market.max_confidence_ppm,
    )


def _format_speed(speed_ppm: int) -> str:
    """Return trading days a minute as exact text."""
    whole, rest = divmod(speed_ppm, _SPEED_SCALE)
    return str(whole) if rest == 0 else f"{whole}.{rest:06d}".rstrip("0")


# ----------------------------------------------------------------- the command


def open_listener(host: str, port: int) -> socket.socket:
    """Bind the gateway's address, so that a port in use is found before anything starts."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise click.ClickException(f"{host}:{port} cannot be used: {error.strerror}; choose another --port") from error
    return listener


async def _run(settings: ExchangeSettings, manifest: Manifest, listener: socket.socket) -> StopReport:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await Exchange(settings, manifest).run(stop, listener)


def _describe_bad_settings(error: ValidationError) -> str:
    """Name each setting that cannot be used, what is required and what was found."""
    problems = [
        f"{problem['loc'][0] if problem['loc'] else 'settings'}: {problem['msg'].lower()}, found {problem['input']!r}"
        for problem in error.errors()
    ]
    return (
        f"a setting cannot be used: {'; '.join(problems)}; "
        "correct it on the command line, in the environment (AFTERBELL_…) or under [exchange]"
    )


@click.command()
@data_dir_option
@click.option("--host", default=None, help="Address of the gateway.  [default: 127.0.0.1]")
@click.option("--port", type=int, default=None, help="Port of the gateway, 0 takes a free one.  [default: 8720]")
@click.option("--rpc", "rpc_url", default=None, help="The chain's node.  [default: http://127.0.0.1:8545]")
def exchange(data_dir: Path, host: str | None, port: int | None, rpc_url: str | None) -> None:
    """Run sequencer, settler, indexer, replay and gateway until SIGTERM or Ctrl-C."""
    chosen = {"host": host, "port": port, "rpc_url": rpc_url}
    try:
        # What the command line names wins over the environment.
        settings = ExchangeSettings(
            data_dir=data_dir,
            **{name: found for name, found in chosen.items() if found is not None},  # type: ignore[arg-type]  # the options' own types
        )
    except ValidationError as error:
        raise click.ClickException(_describe_bad_settings(error)) from error
    listener = open_listener(settings.host, settings.port)
    log_file = configure_logging(settings.log_path, level=settings.log_level, process="exchange")
    _log.info("exchange.starting", settings=settings.model_dump(mode="json"))
    try:
        report = uvloop.run(_run(settings, _read_manifest(settings.manifest_path), listener))
    except Exception as error:  # noqa: BLE001  # the border of the process: whatever it was is told and logged
        causes = list(_list_causes(error))
        _log.critical("exchange.faulted", causes=causes, exc_info=error)
        for cause in causes:
            click.echo(f"exchange: stopped: {cause}", err=True)
        sys.exit(1)
    else:
        _log.info("exchange.stopped", **{name: getattr(report, name) for name in report.__slots__})
        click.echo(
            f"exchange: stopped in order. Journal: {report.n_frames} frames. Batches: {report.last_sealed} sealed, "
            f"{report.n_unsettled} of them not on chain yet. Read model: up to frame {report.projected_sequence}."
        )
    finally:
        listener.close()
        close_logging(log_file)


def _read_manifest(path: Path) -> Manifest:
    """Read the deployment. Raises: BadManifest, ManifestMissing."""
    try:
        return parse_manifest(path.read_bytes())
    except OSError as error:
        raise ManifestMissing(
            f"a manifest is required at {path}: start with `afterbell up`, or deploy first"
        ) from error


def _list_causes(error: BaseException) -> Iterator[str]:
    """Yield every single error of nested groups in words."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _list_causes(inner)
    else:
        yield f"{type(error).__name__}: {error}"
