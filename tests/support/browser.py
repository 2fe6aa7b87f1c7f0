"""Find the browser of this machine: $CHROMIUM, else /usr/bin/chromium, else the one `make install` unpacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

ROOT: Final = Path(__file__).resolve().parents[2]
SYSTEM_BROWSER: Final = Path("/usr/bin/chromium")
UNPACKED_BROWSER: Final = ROOT / ".build" / "browser" / "chromium"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class BrowserMissing(Exception):
    """No Chromium where one is looked for."""


def find_browser() -> Path:
    """Return an executable Chromium. Raises: BrowserMissing."""
    named = os.environ.get("CHROMIUM")
    candidates = [Path(named)] if named else [SYSTEM_BROWSER, UNPACKED_BROWSER]
    for path in candidates:
        if os.access(path, os.X_OK):
            return path
    raise BrowserMissing(
        f"no Chromium at {' or '.join(str(path) for path in candidates)}: run `make install`, or set CHROMIUM to one"
    )


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
