"""Model = chain, unit for unit: codes, head, every word, every event, after each of thousands of random batches.

Each seed must by itself reach every status code of orders, operations and fills (both sides where a code names one),
every code of reports of one source, every kind of direct operation and every reason one is refused for, and every step
of siblings, so the suite needs no luck spread over workers. Between batches a second model falls behind, as a sequencer
does that reads the chain late, and catches up: it must not have noticed. Counts are printed.
"""

from __future__ import annotations

import pytest

from tests.parity.run import run

N_BATCHES = 600


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_parity__six_hundred_random_batches__model_equals_chain(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    counts = run(seed, N_BATCHES)

    with capsys.disabled():
        print(f"\nparity, seed {seed}: {counts.table()}")  # noqa: T201  (the counts are part of what the suite shows)
    assert counts.n_batches == N_BATCHES
    assert counts.n_settled_fills >= 1_700
    assert counts.n_key_fills >= 200
    assert counts.n_tree_fills >= 200
    assert counts.n_liquidations >= 10
    assert counts.n_liquidation_edges >= 10
    assert counts.n_mirrored >= 60
    assert counts.missing() == []


def test_parity__numbers_at_the_ends_of_their_lanes__model_equals_chain() -> None:
    """Prices near 2^32 ticks, orders near 2^40 lots, deposits of 2^64 - 1: "Why the lanes suffice", tried."""
    counts = run(9, 200, is_huge=True)

    assert counts.n_settled_fills >= 400
