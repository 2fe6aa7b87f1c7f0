"""Fixtures of the SDK's tests: asyncio, and one real venue for those that need the chain."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from afterbell.domain.hashing import keccak
from afterbell.sdk import Client, OrderTerms, PlacedOrder, SdkError
from tests.support.venue import MAKER, open_venue, serve_publishers

SYMBOL = "AAPL"
_START_S = 120


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def real_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run anvil, the deployed contracts, publishers and `afterbell exchange`; yield the gateway's address.

    A trading day lasts ten minutes, so that all tests together see one session.
    """
    with open_venue(tmp_path_factory.mktemp("real") / "venue") as venue:
        data_dir = venue.make_data_dir()
        with serve_publishers(venue, data_dir) as publisher_urls:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "afterbell", "exchange"),
                    *("--data-dir", str(data_dir), "--port", "0", "--rpc", venue.anvil.url),
                ],
                env={
                    **os.environ,
                    "AFTERBELL_PUBLISHER_URLS": json.dumps(publisher_urls),
                    "AFTERBELL_SPEED_PPM": "100000",
                    "AFTERBELL_SEAL_INTERVAL_MS": "150",
                    "AFTERBELL_POLL_MS": "50",
                    "PYTHONUNBUFFERED": "1",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                url = _read_address(process)
                _wait_for_prices(url)
                yield url
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


@pytest.fixture
def quote(real_url: str) -> Iterator[Callable[[], tuple[PlacedOrder, ...]]]:
    """Yield a function that has somebody quote 0.3 % around the mark, ten shares a side; its quotes go in the end."""
    with Client(real_url, key=keccak(b"test actor " + MAKER.name.encode())) as maker:

        def place() -> tuple[PlacedOrder, ...]:
            market = maker.market(SYMBOL)
            assert market.rules is not None
            step = market.rules.price_step_ticks
            bid, ask = market.mark_ticks * 997 // 1000 // step * step, market.mark_ticks * 1003 // 1000 // step * step
            placed = maker.place_many(
                [
                    OrderTerms.limit(SYMBOL, "BUY", "10", bid, lane=1),
                    OrderTerms.limit(SYMBOL, "SELL", "10", ask, lane=2),
                ]
            )
            return tuple(order for order in placed if isinstance(order, PlacedOrder))

        yield place
        with contextlib.suppress(SdkError):
            maker.cancel_all()


def _read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            return found.group(1)
    raise AssertionError("the exchange ended before it listened: " + "".join(seen[-20:]))


def _wait_for_prices(url: str) -> None:
    deadline_s = time.monotonic() + _START_S
    with Client(url) as client:
        while time.monotonic() < deadline_s:
            market = client.market(SYMBOL)
            if market.mark_ticks and market.rules is not None and market.rules.is_opening_allowed:
                return
            time.sleep(0.2)
    raise AssertionError(f"no prices in {_START_S} s")


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    """Return where an example may write."""
    return tmp_path / "candles.csv"
