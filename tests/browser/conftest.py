"""One running venue and one browser for all tests of the page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser

from tests.support.browser import ROOT, open_browser

_START_TIMEOUT_S: Final = 240
_STOP_TIMEOUT_S: Final = 60
_ADDRESS: Final = re.compile(r"page and API\s+(http://\S+)")


@pytest.fixture(scope="session")
def venue_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `afterbell up` in a folder of its own; $AFTERBELL_TEST_URL names a running one instead."""
    running = os.environ.get("AFTERBELL_TEST_URL")
    if running:
        yield running
        return
    folder = tmp_path_factory.mktemp("venue")
    output = folder / "up.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "afterbell", "up", "--data-dir", str(folder / "var"), "--port", "0"],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        yield _wait_until_up(process, output)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        text = output.read_text(errors="replace")
        found = _ADDRESS.search(text)
        if found and _is_ready(found[1]):
            return found[1]
        if process.poll() is not None:
            pytest.fail(f"`afterbell up` ended with {process.returncode}:\n{text[-3000:]}")
        time.sleep(0.2)
    pytest.fail(f"`afterbell up` was not ready in {_START_TIMEOUT_S} s:\n{output.read_text(errors='replace')[-3000:]}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Open a browser for one module: while Playwright is open, its event loop keeps other tests from their own."""
    with open_browser() as opened:
        yield opened
