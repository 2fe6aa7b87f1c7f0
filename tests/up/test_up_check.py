"""`afterbell up` itself: every process real, stopped in order, started again, and one fill final on chain at the end.

`make up-check` runs the same command on a fresh directory; here it goes on from a venue that was stopped with Ctrl-C.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from afterbell.sdk import Client

START_TIMEOUT_S = 180
pytestmark = pytest.mark.alone


def _start(folder: Path, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "afterbell", "up", "--data-dir", str(folder), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def _wait_for(process: subprocess.Popen[bytes], output: Path, pattern: str) -> re.Match[str]:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        found = re.search(pattern, output.read_text())
        if found is not None:
            return found
        assert process.poll() is None, output.read_text()
        time.sleep(0.2)
    process.kill()
    raise AssertionError(f"no {pattern!r} within {START_TIMEOUT_S} s:\n{output.read_text()}")


def _kill_child(process: subprocess.Popen[bytes], *words: str) -> None:
    """SIGKILL the child of `up` whose command line holds all words."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _read_parent(folder) == process.pid:
            arguments = (folder / "cmdline").read_text().split("\0")
            if all(word in arguments for word in words):
                os.kill(int(folder.name), signal.SIGKILL)
                return
    raise AssertionError(f"no child with {words}")


def _read_parent(folder: Path) -> int | None:
    try:
        # The name in parentheses may hold anything; the parent is the second field after it.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_up__publisher_dies_then_ctrl_c_then_again__trades_on_to_a_final_fill(tmp_path: Path) -> None:
    folder, output = tmp_path / "venue", tmp_path / "first.out"
    process = _start(folder, output, "--port", "0", "--speed", "4")
    try:
        url = _wait_for(process, output, r"page and API\s+(http://\S+)").group(1)
        _kill_child(process, "publisher", "2")
        _wait_for(process, output, r"publisher-2 ended with signal SIGKILL; it is not restarted")
        with Client(url) as client:
            first = client.clock()
            deadline_s = time.monotonic() + 60
            while client.clock().venue_time_ms < first.venue_time_ms + 1_200_000:
                assert time.monotonic() < deadline_s, "history must go on with two of three publishers"
                time.sleep(0.5)
            last_ms = client.clock().venue_time_ms
            assert {market.symbol: market.is_synthetic for market in client.markets()} == {
                "AAPL": False,
                "MSFT": False,
                "IBM": False,
                "GOOG": False,
                "TSLA": True,
            }
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, output.read_text()
    finally:
        process.kill()
    said = output.read_text()
    assert "0 of them not on chain yet" in said
    assert "chain saved: anvil-state.json" in said

    again, output = None, tmp_path / "second.out"
    try:
        again = _start(folder, output, "--check", "--speed", "4")
        assert again.wait(400) == 0, output.read_text()
    finally:
        if again is not None:
            again.kill()
    said = output.read_text()
    assert "nothing to deploy" in said
    assert re.search(
        r"fill \d+: 2\.0000 AAPL at [\d.]+ USD, batch \d+: final, block \d+, transaction 0x[0-9a-f]{64}", said
    )
    assert "check passed" in said
    steps = re.findall(r'"venue_time": "([^"]+)", "reports"', (folder / "logs" / "exchange.log").read_text())
    assert steps == sorted(set(steps)), "no step of history was taken twice"
    assert last_ms > 0
