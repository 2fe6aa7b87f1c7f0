"""Name everything the gateway is given; bootstrap builds it, create_app receives it, nothing is global.

Must not: build anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from afterbell.domain.commands import Command
from afterbell.domain.events import Event
from afterbell.domain.ids import parse_address_hex
from afterbell.domain.manifest import Manifest
from afterbell.engine.state import EngineState
from afterbell.gateway.metrics import Metrics
from afterbell.ports import ApprovalReader, Frame, Relayer
from afterbell.readmodel.queries import Candle, ReadModel
from afterbell.signing.typed_data import TypedDataDomain, exchange_domain

if TYPE_CHECKING:
    from afterbell.gateway.stream import StreamHub


class CommandSink(Protocol):
    """The sequencer as the gateway sees it."""

    async def submit(self, command: Command) -> tuple[Frame, Sequence[Event]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStatus:
    """The venue clock for people. `speed` is text because it may be a fraction."""

    mode: str
    step: int | None = None
    step_time_ms: int | None = None
    next_step_ms: int | None = None
    speed: str = "1"


class VenueClock(Protocol):
    """ports.Clock."""

    def now_ms(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FaucetGrant:
    """What the faucet sent."""

    usdc_quote: int
    gas_wei: int
    transactions: tuple[bytes, ...]


class Faucet(Protocol):
    """Gives test USDC and gas on a local chain. Raises: Unavailable."""

    async def __call__(self, address: bytes) -> FaucetGrant: ...


class JsonRpc(Protocol):
    """One JSON-RPC call to the local node. Raises: Unavailable. Returns the node's answer with "result" or "error"."""

    async def __call__(self, method: str, params: Sequence[Any]) -> Mapping[str, Any]: ...


class PriceHistory(Protocol):
    """Daily bars of the stock from before the venue's own prices, oldest first, for charts only."""

    def __call__(self, symbol: str, before_s: int, limit: int) -> Sequence[Candle]: ...


class FrameWaiter(Protocol):
    """The projector as the gateway sees it."""

    @property
    def projected_sequence(self) -> int: ...

    async def wait_for(self, sequence: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueInfo:
    """What the manifest says about this instance. addresses: contract name → "0x" + 40 hex digits."""

    name: str = "Afterbell"
    chain_id: int
    genesis_s: int
    addresses: Mapping[str, str]
    confirmations_blocks: int = 2
    is_local_chain: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_manifest(
        cls, manifest: Manifest, *, confirmations_blocks: int = 2, is_local_chain: bool = True
    ) -> VenueInfo:
        """Read the public part of a manifest."""
        return cls(
            chain_id=manifest.chain_id,
            genesis_s=manifest.genesis_s,
            addresses=dict(manifest.addresses),
            confirmations_blocks=confirmations_blocks,
            is_local_chain=is_local_chain,
        )

    @property
    def clearinghouse(self) -> bytes:
        """Return the contract whose domain owners sign under."""
        return parse_address_hex(self.addresses["clearinghouse"])

    def domain(self) -> TypedDataDomain:
        """Return the EIP-712 domain of orders and operations."""
        return exchange_domain(self.chain_id, self.clearinghouse)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """Bounds against one client hurting others; a rate of 0 is no bound."""

    max_body_bytes: int = 32_768
    """A batch of twenty orders has about 14,000."""
    n_reads_per_s: int = 1_000
    """Reads of one address in a second, and whatever else it sends that no owner has signed."""
    n_requests_per_s: int = 1_000
    """Signed requests of one owner in a second, cancels not counted."""
    n_faucet_per_minute: int = 30
    """Grants to one address of the network."""
    n_relayed_per_minute: int = 60
    """Transactions the relayer sends for one address of the network."""
    max_clients: int = 512
    max_channels_per_client: int = 64
    max_queued_messages: int = 1_024
    max_stream_message_bytes: int = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One part of the venue; `reason` says why it is not ready."""

    name: str
    is_ready: bool
    reason: str = ""

    @classmethod
    def of(cls, name: str, problem: str | None) -> Readiness:
        """Return a part that is ready unless there is a problem."""
        return cls(name=name, is_ready=not problem, reason=problem or "")


def always_ready() -> Sequence[Readiness]:
    """Answer readiness where nothing can be missing."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The gateway's collaborators. `state` returns the live engine state, read on the event loop's thread."""

    venue: VenueInfo
    submitter: CommandSink
    state: Callable[[], EngineState]
    readmodel: ReadModel
    projector: FrameWaiter
    hub: StreamHub
    clock: VenueClock
    clock_status: Callable[[], ClockStatus]
    faucet: Faucet | None = None
    rpc: JsonRpc | None = None
    history: PriceHistory | None = None
    approvals: ApprovalReader | None = None
    relayer: Relayer | None = None
    readiness: Callable[[], Sequence[Readiness]] = always_ready
    metrics: Metrics = field(default_factory=Metrics)
    limits: GatewayLimits = GatewayLimits()
    node_modules: Path | None = None
    """Folder of ethers and lightweight-charts, served under /vendor; None: that of the checkout."""
