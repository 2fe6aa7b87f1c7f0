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


class Venue:
    """A running `afterbell up` in a folder of its own, which can be stopped and started again under its address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        output = self._folder / "up.log"
        port = self.url.rsplit(":", 1)[1].rstrip("/") if self.url else "0"
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "afterbell", "up", "--data-dir", str(self._folder / "var"), "--port", port],
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        self.url = self._wait_until_up(output)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_up(self, output: Path) -> str:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            text = output.read_text(errors="replace")
            found = _ADDRESS.search(text)
            if found and _is_ready(found[1]):
                return found[1]
            if self._process.poll() is not None:
                pytest.fail(f"`afterbell up` ended with {self._process.returncode}:\n{text[-3000:]}")
            time.sleep(0.2)
        pytest.fail(
            f"`afterbell up` was not ready in {_START_TIMEOUT_S} s:\n{output.read_text(errors='replace')[-3000:]}"
        )


@pytest.fixture(scope="session")
def own_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Run a venue of the tests' own, which may be restarted."""
    venue = Venue(tmp_path_factory.mktemp("venue"))
    try:
        venue.start()
        yield venue
    finally:
        venue.stop()


@pytest.fixture(scope="session")
def venue_url(request: pytest.FixtureRequest) -> str:
    """Return the address of a running venue; $AFTERBELL_TEST_URL names one that runs already."""
    running = os.environ.get("AFTERBELL_TEST_URL")
    if running:
        return running
    venue: Venue = request.getfixturevalue("own_venue")
    return venue.url


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
