"""Hold everything the engine knows; one value, one hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What an instance is fixed to. Part of the meaning of its journal: change nothing without a new journal."""

    chain_id: int
    clearinghouse: bytes
    vault: bytes
    token: bytes
    genesis_s: int
    maker_fee_ppm: int = 100
    taker_fee_ppm: int = 400
    max_makers_per_taker: int = 48
    max_open_orders_per_account: int = 200
    max_seq_ahead_ms: int = 1_000


class EngineState:
    """All state: mirror of the chain, open batch, books, lanes. Changed only by apply.apply; read through queries."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config


def compute_state_hash(state: EngineState) -> bytes:
    """Return 32 bytes that two engines share if and only if they hold the same state."""
    raise NotImplementedError
