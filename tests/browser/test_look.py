"""How the page looks and is reached: light, dark, a telephone's width, contrast, names for screen readers."""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.screen import open_screen
from tests.browser.wallet import InjectedWallet

pytestmark = pytest.mark.alone
# WCAG 2.2, 1.4.3: ordinary text.
MIN_CONTRAST: Final = 4.5
# Relative luminance as WCAG defines it, of what is really painted behind the text.
MEASURE_CONTRAST: Final = """
() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const over = (top, under) => { const a = top[3] ?? 1; return [0, 1, 2].map((i) => top[i] * a + under[i] * (1 - a)); };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => (layer.length < 3 ? under : over(layer, under)), [255, 255, 255]);
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const style = getComputedStyle(node);
    const isOut = node.closest("[disabled], .sr, .skip") || style.visibility === "hidden";
    if (!hasText || !node.offsetParent || isOut) continue;
    const under = background(node);
    const [a, b] = [light(over(parse(style.color), under)), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([Math.round(ratio * 100) / 100, node.textContent.trim().slice(0, 40), node.className]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}
"""
FIND_NAMELESS: Final = """
() => [...document.querySelectorAll("button, input, select, [role=tab], [role=option], a")]
  .filter((node) => node.offsetParent)
  .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.[0]?.textContent.trim()
    || node.title || node.querySelector("img[alt]")?.alt))
  .map((node) => node.outerHTML.slice(0, 120))
"""


# The axes of the chart are canvases too: all must lie inside its box.
FIND_OVERFLOWING_CANVAS: Final = """
() => {
  const box = document.getElementById("chart").getBoundingClientRect();
  return [...document.querySelectorAll("#chart canvas")].map((canvas) => canvas.getBoundingClientRect())
    .filter((found) => found.right > box.right + 1 || found.bottom > box.bottom + 1).length;
}
"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_colours__as_the_system_says__every_text_readable(browser: Browser, venue_url: str, scheme: str) -> None:
    screen = open_screen(browser, venue_url, color_scheme=scheme, wallets=(InjectedWallet(venue_url),))
    screen.connect("test.fox")
    expect(screen.at("ask").first).to_be_visible()
    screen.click("tab-batches")
    expect(screen.at("batch").first).to_be_visible()

    measured: list[list[Any]] = screen.page.evaluate(MEASURE_CONTRAST)

    screen.screenshot(f"page-{scheme}.png")
    assert len(measured) > 80
    assert [row for row in measured if row[0] < MIN_CONTRAST] == []
    assert screen.page.evaluate(FIND_NAMELESS) == []
    assert screen.problems == []
    screen.page.context.close()


def test_switch__pressed__other_colours_and_remembered(browser: Browser, venue_url: str) -> None:
    screen = open_screen(browser, venue_url, color_scheme="dark")
    read = "getComputedStyle(document.body).backgroundColor"
    dark = screen.page.evaluate(read)

    screen.click("theme")

    light = screen.page.evaluate(read)
    screen.page.reload()
    assert light != dark
    assert screen.page.evaluate(read) == light
    screen.page.context.close()


def test_telephone__everything_reachable_without_sideways_scrolling(browser: Browser, venue_url: str) -> None:
    screen = open_screen(browser, venue_url, width=390, height=844, wallets=(InjectedWallet(venue_url),))
    screen.connect("test.fox")
    screen.fund()
    screen.deposit("5000", way="approval")
    expect(screen.at("ask").first).to_be_visible()
    screen.click("kind-market")
    screen.at("size").fill("2")
    screen.click("submit")
    screen.agree()
    screen.expect_toast("Bought 2.00 AAPL")
    screen.click("tab-fills")
    expect(screen.at("fill").first).to_be_visible()
    for name in ("stat-mark", "chart", "ticket", "open-deposit", "book", "tab-batches"):
        screen.at(name).scroll_into_view_if_needed()
        expect(screen.at(name)).to_be_visible()

    width = screen.page.evaluate("document.documentElement.scrollWidth")
    sideways = screen.page.evaluate(
        "document.querySelector('.table-wrap').scrollWidth - document.querySelector('.table-wrap').clientWidth"
    )

    overflowing = screen.page.evaluate(FIND_OVERFLOWING_CANVAS)
    screen.page.evaluate("window.scrollTo(0, 0)")
    screen.screenshot("page-telephone.png", is_full=True)
    assert (width, sideways, overflowing) == (390, 0, 0)
    assert screen.problems == []
    screen.page.context.close()
