"""A hostile sequencer forms what batches it likes: users lose what they signed, funding, a banded liquidation."""

from __future__ import annotations

import os

from tests.machine.adversary import run

IS_DEEP = os.environ.get("AFTERBELL_PROFILE") == "deep"


def test_user__hostile_sequencer__loses_no_more_than_signed() -> None:
    n_fills = n_liquidated = 0
    for seed in range(60 if IS_DEEP else 3):
        batches, liquidations = run(1_500 if IS_DEEP else 500, seed)
        n_fills += batches
        n_liquidated += liquidations
    assert n_fills > 150
    assert n_liquidated > 0
