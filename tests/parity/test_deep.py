"""The long version of the parity suite, for `make deep PART=parity`."""

from __future__ import annotations

import pytest

from tests.parity.plant import main as plant_bugs
from tests.parity.run import run

pytestmark = pytest.mark.deep


@pytest.mark.parametrize("is_huge", [False, True])
@pytest.mark.parametrize("seed", range(100, 110))
def test_parity__three_thousand_random_batches__model_equals_chain(seed: int, is_huge: bool) -> None:
    assert run(seed, 3_000, is_huge=is_huge).n_batches == 3_000


def test_parity__each_planted_bug__makes_the_suite_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["plant"])

    assert plant_bugs() == 0
