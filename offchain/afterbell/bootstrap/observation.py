"""Tell operators how the parts of one exchange stand: /readyz part by part, gauges for Prometheus.

Must not: change anything; what it reads may be read from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from afterbell.bootstrap.core import Core
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.gateway.metrics import Gauge
from afterbell.gateway.services import Readiness
from afterbell.gateway.stream import StreamHub

MAX_READ_MODEL_LAG: Final = 10_000
"""Frames: beyond, what clients read is too old to act on."""


def read_readiness(core: Core, *, has_started: bool, has_prices: bool) -> Sequence[Readiness]:
    """Return every part a client needs before it trades, with what is wrong."""
    fault = core.sequencer.fault
    stopping = "the exchange is stopping" if core.gate.is_stopping else None
    return (
        Readiness.of("started", None if has_started else "the exchange is starting"),
        Readiness.of("sequencer", f"faulted: {type(fault).__name__}" if fault is not None else stopping),
        Readiness.of("chain", None if core.settler.is_chain_answering else "the node does not answer"),
        Readiness.of("settlement", _describe_settlement(core)),
        Readiness.of("readmodel", _describe_read_model(core)),
        Readiness.of("prices", None if has_prices else "no market has a verified price yet"),
    )


def _describe_settlement(core: Core) -> str | None:
    if core.gate.is_settling:
        return None
    return f"the oldest of {core.settler.n_unsettled} batches is {_read_oldest_age_s(core)} s old; orders are refused"


def _describe_read_model(core: Core) -> str | None:
    n_behind = _read_lag(core)
    return f"{n_behind} frames behind the journal" if n_behind > MAX_READ_MODEL_LAG else None


def _read_oldest_age_s(core: Core) -> int:
    oldest_s = core.settler.oldest_unsettled_s
    return 0 if oldest_s is None else max(milliseconds_to_seconds(core.clock.now_ms()) - oldest_s, 0)


def _read_lag(core: Core) -> int:
    return core.journal.next_sequence - 1 - core.projector.projected_sequence


def build_gauges(core: Core, hub: StreamHub, *, count_relayed: Callable[[], int | None]) -> list[Gauge]:
    """Return what is asked for at each scrape."""

    def gauge(name: str, text: str, read: Callable[[], float | dict[str, float] | None], label: str = "") -> Gauge:
        return Gauge(name=f"afterbell_{name}", help=text, read=read, label=label)

    return [
        gauge("open_orders", "Live orders, resting or waiting.", lambda: len(core.state.orders)),
        gauge("commands_waiting", "Commands in the sequencer's queue.", lambda: core.sequencer.n_waiting),
        gauge("journal_sequence", "Sequence of the last journal frame.", lambda: core.journal.next_sequence - 1),
        gauge(
            "batches_by_status", "Batches, by where they stand.", lambda: dict(core.readmodel.count_batches()), "status"
        ),
        gauge("unsettled_batches", "Sealed batches that are not mined.", lambda: core.settler.n_unsettled),
        gauge("oldest_unsettled_fill_seconds", "Venue time since its match.", lambda: _read_oldest_age_s(core)),
        gauge("indexer_head_block", "Newest block the indexer has seen.", lambda: core.follower.head_block),
        gauge("indexer_lag_blocks", "Blocks seen and not read yet.", lambda: core.follower.n_blocks_behind),
        gauge("readmodel_lag_frames", "Journal frames without rows.", lambda: _read_lag(core)),
        gauge("stream_clients", "Open stream connections.", lambda: hub.n_clients),
        gauge("stream_dropped", "Stream connections dropped for reading too slowly.", lambda: hub.n_dropped),
        gauge("relayed_under_way", "Relayed transactions that are not mined.", count_relayed),
    ]
