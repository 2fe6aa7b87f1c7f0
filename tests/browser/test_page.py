"""The page in a real browser against a whole running venue: what a person sees and does, from test wallet to claim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.screen import Screen, open_screen

pytestmark = pytest.mark.alone

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


@pytest.fixture
def screen(browser: Browser, venue_url: str) -> Iterator[Screen]:
    opened = open_screen(browser, venue_url)
    yield opened
    opened.page.context.close()


def test_page__venue_runs__prices_chart_book_and_clock_live(screen: Screen) -> None:
    screen.expect_text("stat-mark", r"^\d[\d,]*\.\d\d$")
    screen.expect_text("stat-session", r"^(REGULAR|PRE|POST|OVERNIGHT|CLOSED)$")
    screen.expect_text("venue-time", r"^\w{3} \d+ \w{3} \d{4}, \d\d:\d\d:\d\d UTC$")
    expect(screen.at("bid").first).to_be_visible()
    expect(screen.at("ask").first).to_be_visible()
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


def test_person__test_wallet_to_claim__deposits_trades_sees_finality_withdraws(screen: Screen) -> None:
    """100,000 from the faucet, 25,000 in, 1,000.50 out again: 76,000.50 in the wallet, to the cent."""
    screen.click("wallet-button", "wallet-test")
    screen.expect_text("wallet-usdc", r"^100,000\.00 USDC$")
    screen.deposit("25000")
    screen.expect_text("collateral", r"^25,000\.00 USDC$")

    buy_at_market(screen, "5")

    screen.click("tab-fills")
    expect(screen.at("fill").first).to_have_attribute("data-status", "final")
    screen.at("show-life").first.click()
    expect(screen.at("timeline").locator("li.done")).to_have_count(4)
    expect(screen.at("timeline")).to_contain_text(re.compile(r"transaction 0x[0-9a-f]{64}"))
    screen.page.keyboard.press("Escape")
    screen.click("tab-positions")
    expect(screen.at("position").first).to_contain_text("Long 5.00")
    expect(screen.at("position").first.locator("[data-label=Liquidation]")).to_have_text(re.compile(r"none|\d+\.\d\d"))

    screen.click("open-withdraw")
    screen.at("funds-quote").fill("1000.5")
    screen.click("funds-submit")
    expect(screen.at("funds-submit")).to_have_text("Claim; the venue pays the gas")
    expect(screen.at("funds-submit")).to_be_enabled()
    screen.click("funds-submit")
    screen.expect_text("wallet-usdc", r"^76,000\.50 USDC$")
    screen.click("funds-close", "tab-transfers")
    withdrawal = screen.page.locator("[data-testid=transfer][data-kind=withdrawal]")
    expect(withdrawal).to_have_attribute("data-status", "paid")
    assert screen.problems == []


def buy_at_market(screen: Screen, shares: str) -> None:
    """Buy at once at most 2 % beyond the best price."""
    screen.click("kind-market")
    screen.at("slippage").fill("2")
    screen.at("size").fill(shares)
    expect(screen.at("signing")).to_contain_text(f"You sign: buy {shares} shares of")
    screen.click("submit")
    screen.expect_toast(f"Bought {shares}")


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

    screen.at("price").fill("")
    screen.click("kind-stop")
    screen.at("trigger").fill(f"{screen.mark() * 0.9:.2f}")
    screen.at("price").fill("40")
    screen.at("size").fill("1")
    screen.expect_text("signing", "would act at once")

    expect(screen.at("submit")).to_be_disabled()
    assert screen.problems == []


def test_ticket__no_collateral__refusal_of_the_venue_in_words(screen: Screen) -> None:
    screen.click("wallet-button", "wallet-test")
    screen.expect_text("wallet-usdc", r"^100,000\.00 USDC$")
    expect(screen.at("ask").first).to_be_visible()
    screen.quick_price("ask")
    screen.at("size").fill("10")
    screen.at("submit").click()

    screen.expect_text("ticket-error", r"INSUFFICIENT_MARGIN")


# As a program would place them; a venue that says slower is obeyed.
PLACE_MANY: Final = """
async () => {
  const { legs } = window.afterbell.ticket.read();
  for (let n = 0; n < 55; n += 1) {
    try { await window.afterbell.orders.place(legs); } catch (error) {
      if (error.code !== "RATE_LIMITED") throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      n -= 1;
    }
  }
}
"""


def test_history__more_than_a_page__older_rows_on_demand(screen: Screen) -> None:
    screen.click("wallet-button", "wallet-test")
    screen.expect_text("wallet-usdc", r"^100,000\.00 USDC$")
    screen.deposit("20000")
    screen.at("price").fill(f"{screen.mark() * 0.94:.2f}")
    screen.at("size").fill("1")
    screen.page.evaluate(PLACE_MANY)
    screen.click("tab-orders")
    expect(screen.at("order")).to_have_count(55)
    screen.page.reload()
    screen.click("tab-history")
    expect(screen.at("past-order")).to_have_count(50)

    screen.click("more")

    expect(screen.at("past-order")).to_have_count(55)
    expect(screen.at("more")).to_be_hidden()
    screen.click("tab-orders", "cancel-all")
    expect(screen.at("orders-empty")).to_be_visible()
    assert screen.problems == []
