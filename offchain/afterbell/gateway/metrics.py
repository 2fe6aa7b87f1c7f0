"""Count for Prometheus what the venue does; /metrics prints it.

Counters move where something happens (requests, frames), gauges are asked for when somebody looks: bootstrap names what
the gateway cannot see. One registry per application, so that two venues in one process do not add up. Must not: decide
anything; nothing here is read by the venue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from afterbell.domain.commands import Command
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    Event,
    FillMatched,
    FillRejected,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderTriggered,
)
from afterbell.ports import Frame, Journal

_NS_PER_S: Final = 1_000_000_000
_REQUEST_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SYNC_BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One number asked for at each scrape; None leaves it out. With a label, `read` gives a number for each of its."""

    name: str
    help: str
    read: Callable[[], float | dict[str, float] | None]
    label: str = ""


class _Gauges(Collector):
    """Asks every gauge when Prometheus does."""

    def __init__(self, gauges: list[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for gauge in self._gauges:
            found = gauge.read()
            if found is None:
                continue
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=[gauge.label] if gauge.label else [])
            if isinstance(found, dict):
                for label, number in found.items():
                    family.add_metric([label], number)
            else:
                family.add_metric([], found)
            yield family


@dataclass(slots=True)
class Metrics:
    """Everything counted. Implements ports.EventSink."""

    registry: CollectorRegistry = field(default_factory=lambda: CollectorRegistry(auto_describe=False))
    gauges: list[Gauge] = field(default_factory=list)
    requests: Counter = field(init=False)
    request_seconds: Histogram = field(init=False)
    rate_limited: Counter = field(init=False)
    relayed: Counter = field(init=False)
    orders: Counter = field(init=False)
    fills: Counter = field(init=False)
    frames: Counter = field(init=False)
    batches: Counter = field(init=False)
    gas: Counter = field(init=False)
    sync_seconds: Histogram = field(init=False)

    def __post_init__(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"afterbell_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"afterbell_{name}", text, labels, registry=self.registry, buckets=buckets)

        self.requests = counter("requests", "HTTP requests answered.", "route", "method", "status")
        self.request_seconds = histogram("request_seconds", "Time to answer.", _REQUEST_BUCKETS_S, "route", "method")
        self.rate_limited = counter("rate_limited", "Requests refused with 429.", "route")
        self.relayed = counter("relayed", "Claims and signed deposits.", "kind", "outcome")
        self.orders = counter("orders", "What became of orders.", "outcome", "reason")
        self.fills = counter("fills", "Fills matched, or refused by the chain's rule.", "market", "outcome")
        self.frames = counter("journal_frames", "Journal frames applied.", "command")
        self.batches = counter("batches", "Batches sealed and confirmed.", "step")
        self.gas = counter("settlement_gas", "Gas used by confirmed batches.")
        self.sync_seconds = histogram("journal_sync_seconds", "Time to make a group durable.", _SYNC_BUCKETS_S)
        self.registry.register(_Gauges(self.gauges))

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Count a frame that was applied now; those replayed at a start are not shown to this."""
        self.frames.labels(type(frame.command).__name__).inc()
        for event in events:
            match event:
                case OrderAccepted():
                    self.orders.labels("waiting" if event.is_waiting else "accepted", "").inc()
                case OrderTriggered():
                    self.orders.labels("triggered", "").inc()
                case OrderRejected():
                    self.orders.labels("rejected", event.reason).inc()
                case OrderCancelled():
                    self.orders.labels("cancelled", event.reason).inc()
                case FillMatched():
                    self.fills.labels(str(event.market), "matched").inc()
                case FillRejected():
                    self.fills.labels(str(event.market), "rejected").inc()
                case BatchSealed():
                    self.batches.labels("sealed").inc()
                case BatchConfirmed():
                    self.batches.labels("confirmed").inc()
                    self.gas.inc(event.gas_used)
                case _:
                    pass

    def render(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)

    def time_syncs(self, journal: Journal) -> Journal:
        """Return the journal with its syncs timed."""
        return _TimedJournal(journal, self.sync_seconds)


class _TimedJournal:
    """A journal whose syncs are timed. Implements ports.Journal."""

    def __init__(self, journal: Journal, seconds: Histogram) -> None:
        self._journal = journal
        self._seconds = seconds

    @property
    def genesis_hash(self) -> bytes:
        return self._journal.genesis_hash

    @property
    def head_hash(self) -> bytes:
        return self._journal.head_hash

    @property
    def next_sequence(self) -> int:
        return self._journal.next_sequence

    def append(self, commands: Sequence[tuple[int, Command]]) -> Sequence[Frame]:
        return self._journal.append(commands)

    def sync(self) -> None:
        begun_ns = time.perf_counter_ns()
        self._journal.sync()
        self._seconds.observe((time.perf_counter_ns() - begun_ns) / _NS_PER_S)

    def read(self) -> Iterator[Frame]:
        return self._journal.read()
