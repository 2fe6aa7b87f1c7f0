"""The page in a real browser against a whole running venue: what a person sees and does, from test wallet to claim."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, expect

from tests.support.browser import ROOT

pytestmark = pytest.mark.alone

TIMEOUT_MS: Final = 30_000
SCREENSHOTS: Final = ROOT / "artifacts"
# Counts pixels of a canvas that are clearly green or red: candles, not grid or text.
COUNT_CANDLE_PIXELS: Final = """
() => [...document.querySelectorAll('[data-testid=chart] canvas')].reduce((sum, canvas) => {
  const { width, height } = canvas;
  if (!width || !height) return sum;
  // Read a copy made for reading: Chromium warns on the console about repeated reads of the page's own canvas.
  const copy = Object.assign(document.createElement('canvas'), { width, height });
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  let found = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    const [r, g, b] = [pixels[i], pixels[i + 1], pixels[i + 2]];
    if ((g > 150 && r < 90) || (r > 200 && g < 120 && b < 140)) found += 1;
  }
  return sum + found;
}, 0)
"""
# In one go: rows are replaced with every change of the book.
READ_BEST_PRICES: Final = """
() => [document.querySelector('[data-testid=bid] span').textContent,
       [...document.querySelectorAll('[data-testid=ask]')].at(-1).querySelector('span').textContent]
"""


@dataclass
class Screen:
    """A page and everything that went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def at(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def expect_text(self, name: str, pattern: str, timeout_ms: int = TIMEOUT_MS) -> None:
        expect(self.at(name).first).to_have_text(re.compile(pattern), timeout=timeout_ms)

    def wait_for_number(self, script: str, at_least: int) -> None:
        """Ask until a script's number is high enough; the page's policy forbids Playwright's own waiting, an eval."""
        deadline = time.monotonic() + TIMEOUT_MS / 1_000
        while (found := self.page.evaluate(script)) < at_least:
            assert time.monotonic() < deadline, f"{script.strip()[:60]}: found {found}, required {at_least}"
            self.page.wait_for_timeout(100)

    def quick_price(self, kind: str) -> None:
        self.page.locator(f"#quick-prices [data-price={kind}]").click()

    def note_console(self, message: ConsoleMessage) -> None:
        # A refusal (4xx) and a moment of NOT_READY (503) are answers; the browser calls each an error.
        is_answer = re.search(r"status of (4\d\d|503)", message.text) is not None
        if message.type in ("error", "warning") and not is_answer:
            self.problems.append(f"console {message.type}: {message.text}")

    def note_response(self, response: Response) -> None:
        if response.status >= 500 and response.status != 503:
            self.problems.append(f"{response.status} {response.url}")


def open_screen(browser: Browser, url: str, *, width: int = 1440, height: int = 860) -> Screen:
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    screen = Screen(page)
    page.on("console", screen.note_console)
    page.on("pageerror", lambda error: screen.problems.append(f"page error: {error}"))
    page.on("response", screen.note_response)
    page.goto(url)
    expect(screen.at("connection")).to_have_class(re.compile("live"), timeout=TIMEOUT_MS)
    return screen


@pytest.fixture
def screen(browser: Browser, venue_url: str) -> Iterator[Screen]:
    opened = open_screen(browser, venue_url)
    yield opened
    opened.page.context.close()


def test_page__venue_runs__prices_chart_book_and_clock_live(screen: Screen) -> None:
    screen.expect_text("stat-mark", r"^\d[\d,]*\.\d\d$")
    screen.expect_text("stat-session", r"^(REGULAR|PRE|POST|OVERNIGHT|CLOSED)$")
    screen.expect_text("venue-time", r"^\w{3} \d+ \w{3} \d{4}, \d\d:\d\d:\d\d UTC$")
    expect(screen.at("bid").first).to_be_visible(timeout=TIMEOUT_MS)
    expect(screen.at("ask").first).to_be_visible(timeout=TIMEOUT_MS)
    screen.wait_for_number(COUNT_CANDLE_PIXELS, 300)
    n_messages = screen.page.evaluate("window.afterbell.stream.nMessages")
    screen.wait_for_number("window.afterbell.stream.nMessages", n_messages + 4)

    best_bid, best_ask = screen.page.evaluate(READ_BEST_PRICES)

    assert float(best_bid.replace(",", "")) < float(best_ask.replace(",", ""))
    assert screen.problems == []


def test_selector__synthetic_market__labelled(screen: Screen) -> None:
    screen.at("market-selector").click()
    screen.at("market-TSLA").click()

    screen.expect_text("stat-label", "^SYNTHETIC PRICE$")
    expect(screen.page).to_have_title(re.compile("TSLA"))
    assert screen.problems == []


def test_person__wallet_to_claim__deposits_trades_sees_finality_withdraws(screen: Screen) -> None:
    screen.at("create-wallet").click()
    screen.expect_text("wallet-usdc", r"^100,000\.00 USDC$")
    screen.at("transfer-quote").fill("25000")
    screen.at("transfer-submit").click()
    screen.expect_text("collateral", r"^25,000\.00 USDC$")

    fill_against_the_book(screen)

    screen.at("tab-fills").click()
    expect(screen.at("fill").first).to_have_attribute("data-status", re.compile("mined|final"), timeout=TIMEOUT_MS)
    expect(screen.at("fill").first).to_have_attribute("data-status", "final", timeout=TIMEOUT_MS)
    screen.at("fill").first.click()
    expect(screen.at("timeline").locator("li.done")).to_have_count(4)
    expect(screen.at("timeline")).to_contain_text(re.compile(r"transaction 0x[0-9a-f]{64}"))
    screen.page.keyboard.press("Escape")

    screen.at("tab-positions").click()
    expect(screen.at("position").first).to_contain_text("Long 5.00")
    rest_and_cancel(screen)
    withdraw_and_claim(screen)

    take_screenshot(screen)
    assert screen.problems == []


def is_answered_order(response: Response) -> bool:
    return response.url.endswith("/v1/orders") and response.status != 503


def fill_against_the_book(screen: Screen) -> None:
    """Buy 5 shares at once. The book may move between reading it and sending: then the order is sent again."""
    screen.at("force-ioc").click()
    for _ in range(5):
        screen.quick_price("ask")
        screen.at("size").fill("5")
        expect(screen.at("signing")).to_contain_text("You sign: buy 5 shares of")
        with screen.page.expect_response(is_answered_order) as answer:
            screen.at("submit").click()
        placed: dict[str, Any] = answer.value.json()
        if placed.get("filled_lots") == 50_000:
            return
        assert "error" not in placed, placed
        if placed["filled_lots"]:
            pytest.fail(f"filled in part: {placed}")
    pytest.fail("nobody sold at the best ask in five tries")


def rest_and_cancel(screen: Screen) -> None:
    """Rest far from the market, see it in the table, take it back."""
    screen.at("force-gtc").click()
    screen.quick_price("mark")
    price = float(screen.at("price").input_value())
    screen.at("price").fill(f"{price * 0.97:.2f}")
    screen.at("size").fill("3")
    screen.at("post-only").check()
    screen.at("submit").click()
    screen.at("tab-orders").click()
    expect(screen.at("order").first).to_contain_text("post-only", timeout=TIMEOUT_MS)
    screen.at("cancel-order").first.click()
    expect(screen.at("orders-empty")).to_be_visible(timeout=TIMEOUT_MS)


def withdraw_and_claim(screen: Screen) -> None:
    """Take 1,000.50 USDC out: signed, batched, claimed from the vault back into the wallet."""
    screen.at("tab-withdraw").click()
    screen.at("transfer-quote").fill("1000.5")
    screen.at("transfer-submit").click()
    screen.at("tab-transfers").click()
    withdrawal = screen.page.locator("[data-testid=transfer][data-kind=withdrawal]")
    expect(withdrawal).to_have_attribute("data-status", re.compile("mined|claimable"), timeout=TIMEOUT_MS)
    screen.at("tab-claim").click()
    expect(screen.at("transfer-submit")).to_be_enabled(timeout=TIMEOUT_MS)
    screen.at("transfer-submit").click()
    screen.expect_text("wallet-usdc", r"^76,000\.50 USDC$")
    expect(withdrawal).to_have_attribute("data-status", "paid", timeout=TIMEOUT_MS)


def take_screenshot(screen: Screen) -> None:
    screen.at("tab-fills").click()
    screen.page.wait_for_timeout(500)
    SCREENSHOTS.mkdir(exist_ok=True)
    screen.page.screenshot(path=SCREENSHOTS / "page.png")


def test_ticket__wrong_numbers__said_in_words_and_nothing_sent(screen: Screen) -> None:
    screen.at("price").fill("12.345")
    screen.at("size").fill("1")
    screen.expect_text("signing", "more than 2 decimals")
    screen.at("price").fill("abc")
    screen.expect_text("signing", "plain number")
    screen.at("price").fill("40")
    screen.at("size").fill("0.001")
    screen.expect_text("signing", "multiple of")
    screen.at("size").fill("0.01")
    screen.expect_text("signing", "worth at least")

    expect(screen.at("submit")).to_be_disabled()


def test_ticket__no_collateral__refusal_of_the_venue_in_words(screen: Screen) -> None:
    screen.at("create-wallet").click()
    screen.expect_text("wallet-usdc", r"^100,000\.00 USDC$")
    expect(screen.at("ask").first).to_be_visible(timeout=TIMEOUT_MS)
    screen.quick_price("ask")
    screen.at("size").fill("10")
    screen.at("submit").click()

    screen.expect_text("ticket-error", r"INSUFFICIENT_MARGIN")


def test_page__narrow_screen__everything_reachable_without_sideways_scrolling(browser: Browser, venue_url: str) -> None:
    screen = open_screen(browser, venue_url, width=390, height=844)
    for name in ("stat-mark", "chart", "ticket", "create-wallet", "book", "tab-fills"):
        screen.at(name).scroll_into_view_if_needed()
        expect(screen.at(name)).to_be_visible()

    width = screen.page.evaluate("document.documentElement.scrollWidth")

    screen.page.context.close()
    assert width <= 390 and screen.problems == []
