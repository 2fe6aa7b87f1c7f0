"""The gas of a settled fill may fall, never rise: four batches, exact to the unit, against a snapshot.

Whole transactions in steady state on a cold machine (tests/support/cold.py): 21,000 + calldata + execution. The targets
are the limits of `afterbell bench gas`; which of them are not met, and why, stands in contracts/README.md D-006. After
an improvement run with AFTERBELL_UPDATE_SNAPSHOTS=1 and commit the smaller numbers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.contracts.gas import measure

SNAPSHOT = Path(__file__).parent.parent / "snapshots" / "gas.json"


def test_gas__four_scenarios__not_above_the_snapshot() -> None:
    measured = measure()
    actual = {gas.scenario.name: gas.total for gas in measured}
    if os.environ.get("AFTERBELL_UPDATE_SNAPSHOTS"):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(actual, indent=2) + "\n")

    expected = json.loads(SNAPSHOT.read_text())

    assert actual.keys() == expected.keys()
    assert all(actual[name] <= expected[name] for name in expected), (actual, expected)
