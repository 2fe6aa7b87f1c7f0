"""Kill the exchange with SIGKILL at every crash point, restart it, and audit what is left.

One round a point in `make test`, five in `make deep PART=crash`, AFTERBELL_CRASH_ROUNDS for any other number: each
round kills at a later visit of the point. The table of outcomes goes to the terminal and to artifacts/crash.txt.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest

from tests.conftest import PROFILE
from tests.crash.audit import Audit, audit
from tests.crash.conftest import TABLE_PATH
from tests.crash.exchange_process import ExchangeProcess, Ledger, Trader, trade_until_death
from tests.support.venue import Venue, open_venue, serve_publishers

ROUNDS: Final = int(os.environ.get("AFTERBELL_CRASH_ROUNDS", "5" if PROFILE == "deep" else "1"))
SIGKILLED: Final = -9

# The visit at which the first round kills: late enough for trades to be under way. 100 frames list
# markets, their tiers and deposits.
FIRST_VISIT: Final = {
    "order.received": 12,
    "journal.appended": 125,
    "journal.synced": 70,
    "order.applied": 14,
    "order.acknowledged": 13,
    "batch.sealed": 4,
    "batch.submitted": 4,
    "batch.mined": 4,
    "batch.confirmed": 4,
    "deposit.seen": 2,
    "readmodel.projected": 40,
}
LATER_BY: Final = {"deposit.seen": 0, "journal.appended": 17}
N_TRADES_AFTER: Final = 3
RANDOM_MOMENT: Final = "after ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One line of the table."""

    point: str
    visit: int
    found: Audit
    restart_ms: int


@dataclass(slots=True)
class Table:
    """What happened at every point."""

    outcomes: list[Outcome] = field(default_factory=list)

    def format(self) -> str:
        columns = ("sent", "answered", "journalled", "fills", "batches", "words", "restart")
        lines = [f"{'killed at':<24} " + " ".join(f"{column:>10}" for column in columns) + "  outcome"]
        for outcome in self.outcomes:
            found = outcome.found
            numbers = (
                found.n_sent,
                found.n_answered,
                found.n_journalled,
                found.n_fills,
                found.n_batches,
                found.n_words,
            )
            lines.append(
                f"{outcome.point + ':' + str(outcome.visit):<24} "
                + " ".join(f"{number:>10}" for number in (*numbers, f"{outcome.restart_ms} ms"))
                + "  nothing lost, nothing twice, engine = chain"
            )
        return "\n".join(lines)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    with open_venue(tmp_path_factory.mktemp("crash")) as venue:
        yield venue


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    TABLE_PATH.parent.mkdir(exist_ok=True)
    TABLE_PATH.write_text(table.format() + "\n")


async def _run_round(venue: Venue, point: str, visit: int) -> Outcome:
    """Start, trade, die, start again, trade, stop, audit.

    point RANDOM_MOMENT: killed from outside, `visit` ms after trading began.
    """
    venue.rewind()
    data_dir = venue.make_data_dir()
    ledger = Ledger()
    processes: list[ExchangeProcess] = []
    try:
        with serve_publishers(venue, data_dir) as publishers:
            is_random = point == RANDOM_MOMENT
            doomed = ExchangeProcess(venue, data_dir, publishers, crash_at="" if is_random else f"{point}:{visit}")
            processes.append(doomed)
            url = await doomed.wait_for_address()
            if url is not None:
                await trade_until_death(doomed, url, venue.manifest, ledger, kill_after_ms=visit if is_random else None)
            assert await doomed.wait_for_end() == SIGKILLED, doomed.read_output()

            begun = time.monotonic_ns()
            survivor = ExchangeProcess(venue, data_dir, publishers)
            processes.append(survivor)
            url = await survivor.wait_for_address()
            assert url is not None, survivor.read_output()
            trader = Trader(url, venue.manifest, ledger)
            await trader.wait_until_ready()
            restart_ms = (time.monotonic_ns() - begun) // 1_000_000
            n_before = len(ledger.accepted)
            for _ in range(N_TRADES_AFTER):
                await trader.trade()
            await trader.close()
            assert len(ledger.accepted) > n_before, "the restarted exchange takes no orders"
            assert await survivor.stop() == 0, survivor.read_output()
        found = await audit(venue, data_dir, ledger)
    finally:
        for process in processes:
            process.kill()
    return Outcome(point=point, visit=visit, found=found, restart_ms=restart_ms)


@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize("point", FIRST_VISIT)
def test_exchange__killed_at_a_crash_point__loses_nothing_and_settles_nothing_twice(
    deployed: Venue, table: Table, point: str, round_number: int
) -> None:
    visit = FIRST_VISIT[point] + round_number * LATER_BY.get(point, 3)

    outcome = asyncio.run(asyncio.wait_for(_run_round(deployed, point, visit), 180))

    table.outcomes.append(outcome)
    assert outcome.found.n_fills > 0


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(4 * ROUNDS))
def test_exchange__killed_at_any_moment__loses_nothing_and_settles_nothing_twice(
    deployed: Venue, table: Table, seed: int
) -> None:
    moment_ms = Random(seed).randrange(300, 6_000)

    outcome = asyncio.run(asyncio.wait_for(_run_round(deployed, RANDOM_MOMENT, moment_ms), 180))

    table.outcomes.append(outcome)
