"""The gas of a settled fill may fall, never rise: four batches, exact to the unit, against a snapshot and the targets.

Whole transactions in steady state on a cold machine (tests/support/cold.py): 21,000 + calldata + execution. After an
improvement run with AFTERBELL_UPDATE_SNAPSHOTS=1 and commit the smaller numbers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.contracts.gas import measure

SNAPSHOT = Path(__file__).parent.parent / "snapshots" / "gas.json"


def test_gas__four_scenarios__not_above_the_snapshot_nor_the_targets() -> None:
    measured = measure()
    actual = {gas.scenario.name: gas.total for gas in measured}
    if os.environ.get("AFTERBELL_UPDATE_SNAPSHOTS"):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(actual, indent=2) + "\n")

    expected = json.loads(SNAPSHOT.read_text())

    assert actual.keys() == expected.keys()
    assert all(actual[name] <= expected[name] for name in expected), (actual, expected)
    assert all(gas.per_fill <= gas.scenario.limit_gas for gas in measured), [gas.per_fill for gas in measured]
