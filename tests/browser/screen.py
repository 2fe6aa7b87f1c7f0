"""A page in a browser with everything that went wrong on it, and the few moves every test makes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, expect

from tests.browser.wallet import InjectedWallet
from tests.support.browser import ROOT

TIMEOUT_MS: Final = 60_000
SCREENSHOTS: Final = ROOT / "artifacts"
# Venue and page share two cores with a chain: expectations wait longer than Playwright's five seconds.
expect.set_options(timeout=TIMEOUT_MS)


@dataclass
class Screen:
    """A page, its wallet if it has one, and its problems: console messages, exceptions, answers with 5xx."""

    page: Page
    wallet: InjectedWallet | None = None
    is_restarting: bool = False
    problems: list[str] = field(default_factory=list)

    def at(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def click(self, *names: str) -> None:
        for name in names:
            self.at(name).click()

    def expect_text(self, name: str, pattern: str) -> None:
        expect(self.at(name).first).to_have_text(re.compile(pattern))

    def expect_toast(self, pattern: str) -> None:
        expect(self.at("toasts")).to_contain_text(re.compile(pattern))

    def wait_for_number(self, script: str, at_least: int) -> None:
        """Ask until a script's number is high enough; the page's policy forbids Playwright's own waiting, an eval."""
        deadline = time.monotonic() + TIMEOUT_MS / 1_000
        while (found := self.page.evaluate(script)) < at_least:
            assert time.monotonic() < deadline, f"{script.strip()[:60]}: found {found}, required {at_least}"
            self.page.wait_for_timeout(100)

    def quick_price(self, kind: str) -> None:
        self.page.locator(f"#quick-prices [data-price={kind}]").click()

    def mark(self) -> float:
        return float(self.at("stat-mark").inner_text().replace(",", ""))

    def screenshot(self, name: str, *, is_full: bool = False) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=SCREENSHOTS / name, full_page=is_full)

    # Moves.

    def connect(self, rdns: str) -> None:
        self.click("wallet-button", f"wallet-{rdns}")
        expect(self.at("wallet-button")).to_have_class(re.compile("connected"))

    def fund(self) -> None:
        self.click("fund-wallet")
        self.expect_text("wallet-usdc", r"^100,000\.00 USDC$")

    def deposit(self, usdc: str, *, way: str | None = None) -> None:
        """Deposit through the dialog; a wallet that asks is answered."""
        self.click("open-deposit")
        self.at("funds-quote").fill(usdc)
        if way is not None:
            self.at("funds-way").select_option(way)
        self.click("funds-submit")
        while self.at("step").last.get_attribute("data-state") != "done":
            self.agree_if_asked()
            self.page.wait_for_timeout(100)
            if self.at("funds-error").is_visible():
                pytest.fail(self.at("funds-error").inner_text())
        self.click("funds-close")

    def agree_if_asked(self) -> None:
        if self.at("review-agree").is_visible() and self.at("review-agree").is_enabled():
            self.click("review-agree")

    def agree(self) -> None:
        """Answer the page's own question; the wallet is asked next."""
        self.at("review-agree").click()
        expect(self.at("review")).to_have_count(0)

    # What went wrong.

    def note_console(self, message: ConsoleMessage) -> None:
        # A refusal (4xx) and a moment of NOT_READY (503) are answers; the browser calls each an error.
        is_answer = re.search(r"status of (4\d\d|503)", message.text) is not None
        is_gone = self.is_restarting and re.search(r"ERR_CONNECTION|WebSocket|ERR_EMPTY|ERR_SOCKET", message.text)
        if message.type in ("error", "warning") and not is_answer and not is_gone:
            self.problems.append(f"console {message.type}: {message.text}")

    def note_response(self, response: Response) -> None:
        if response.status >= 500 and response.status != 503:
            self.problems.append(f"{response.status} {response.url}")


def open_screen(
    browser: Browser,
    url: str,
    *,
    width: int = 1440,
    height: int = 860,
    wallets: tuple[InjectedWallet, ...] = (),
    **options: Any,
) -> Screen:
    """Open the page in a context of its own, with these wallets announced."""
    page = browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
    screen = Screen(page, wallets[0] if wallets else None)
    page.on("console", screen.note_console)
    page.on("pageerror", lambda error: screen.problems.append(f"page error: {error}"))
    page.on("response", screen.note_response)
    for wallet in wallets:
        wallet.install(page)
    page.goto(url)
    expect(screen.at("connection")).to_have_class(re.compile("live"))
    expect(screen.at("venue-time")).not_to_have_text("–")
    return screen
