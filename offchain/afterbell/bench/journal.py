"""Measure the journal: durable frames a second in groups as the sequencer writes them, beside a bare file.

The bare file gets the very bytes of the same groups with one write and one fdatasync each, on the same disk, the two
turn by turn so that both meet the same moments of it. Must not: keep what it wrote.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from time import perf_counter_ns
from typing import Final

from afterbell.adapters.file_journal import FileJournal
from afterbell.bench.measurement import Measurement, compare
from afterbell.domain.commands import PlaceOrder

GROUP_SIZES: Final = (1, 64)
N_GROUPS: Final = 300
_NS_PER_S: Final = 1_000_000_000


def build_order_command(source: random.Random) -> PlaceOrder:
    """Return an order with fields of the usual size."""
    return PlaceOrder(
        order_id=source.randbytes(32),
        owner=source.randbytes(20),
        subaccount=0,
        market=source.randint(1, 5),
        epoch=1,
        is_buy=source.random() < 0.5,
        size_lots=source.randint(1_000, 100_000),
        limit_ticks=source.randint(5_000, 50_000),
        max_fee_ppm=500,
        expiry_s=1_110_000_000,
        nonce=source.getrandbits(56),
        reduce_only=False,
        post_only=False,
        time_in_force=0,
        trigger_ticks=0,
        trigger_kind=0,
        r=source.randbytes(32),
        vs=source.randbytes(32),
    )


def measure_journal(seed: int) -> list[Measurement]:
    """Return durable frames a second, per size of group."""
    source = random.Random(seed)
    commands = [(1_000, build_order_command(source)) for _ in range(max(GROUP_SIZES))]
    # Where the state of a venue lies by default, the working directory: a temporary folder may be memory, not disk.
    with tempfile.TemporaryDirectory(prefix=".bench-journal-", dir=Path.cwd()) as folder:
        return [_measure_groups(Path(folder), commands[:size]) for size in GROUP_SIZES]


def _measure_groups(folder: Path, commands: list[tuple[int, PlaceOrder]]) -> Measurement:
    size = len(commands)
    journal = FileJournal(folder / f"journal-{size}.log", chain_id=1, clearinghouse=bytes(20))
    bare = os.open(folder / f"bare-{size}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    journal_ns = bare_ns = 0
    try:
        for _ in range(N_GROUPS):
            n_bytes = journal.n_bytes
            started_ns = perf_counter_ns()
            journal.append(commands)
            journal.sync()
            journal_ns += perf_counter_ns() - started_ns
            group = bytes(journal.n_bytes - n_bytes)
            started_ns = perf_counter_ns()
            os.write(bare, group)
            os.fdatasync(bare)
            bare_ns += perf_counter_ns() - started_ns
    finally:
        os.close(bare)
        journal.close()
    n_frames = N_GROUPS * size
    return compare(
        f"journal.durable_frames_group_{size}",
        round(n_frames * _NS_PER_S / journal_ns),
        "frames/s",
        reference=round(n_frames * _NS_PER_S / bare_ns),
        beside="bare file: same bytes, one write and one fdatasync a group",
    )
