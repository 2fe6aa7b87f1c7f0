"""The page's arithmetic in the browser that runs it: exact beyond 2^53, wrong texts refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from afterbell.gateway.routes.page import PAGE_FOLDER

MARKET = "{ticks_per_usd: 100, lot_exponent: 4}"


@pytest.fixture(scope="module")
def units(browser: Browser) -> Iterator[Page]:
    """Open an empty page with units.js in `units`; no venue is needed."""
    page = browser.new_page()
    source = (PAGE_FOLDER / "units.js").read_text(encoding="utf-8")
    page.evaluate(
        """async (source) => {
          const address = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
          window.units = await import(address);
        }""",
        source,
    )
    yield page
    page.close()


def run(page: Page, expression: str) -> Any:
    return page.evaluate(f"() => {{ const u = window.units; const market = {MARKET}; return String({expression}); }}")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("u.formatQuote(123456789012345678901n)", "123,456,789,012,345.67"),
        ("u.formatQuote(-1n)", "−0.01"),
        ("u.formatQuote(1999999n)", "1.99"),
        ("u.formatQuote(0n)", "0.00"),
        ("u.formatSignedQuote(2500000n)", "+2.50"),
        ("u.formatPrice(4447, market)", "44.47"),
        ("u.formatPrice(100000000n, market)", "1,000,000.00"),
        ("u.formatSize(15000, market)", "1.50"),
        ("u.formatSize(15001, market)", "1.5001"),
        ("u.formatSize(-50000n, market)", "−5.00"),
        ("u.formatSize(50000n, market, 0)", "5"),
        ("u.formatPpm(400)", "0.04%"),
        ("u.parsePrice('44.47', market)", "4447"),
        ("u.parsePrice('1,044.5', market)", "104450"),
        ("u.parsePrice('.5', market)", "50"),
        ("u.parsePrice('44.470', market)", "4447"),
        ("u.parseSize('0.0001', market)", "1"),
        ("u.parseQuote('90071992547409.930001')", "90071992547409930001"),
        ("u.partOf(100n, 400)", "1"),
        ("u.partOf(0n, 400)", "0"),
        ("u.notional(-10000n, 4447n)", "44470000"),
        ("u.formatMoment(1109800800000)", "2 Mar 2005 22:00:00"),
    ],
)
def test_units__exact_number__exact_text(units: Page, expression: str, text: str) -> None:
    assert run(units, expression) == text


@pytest.mark.parametrize("text", ["", "abc", "-1", "1e5", "1.2.3", "44.471", "0x10", "９", "1" * 16])
def test_units__no_plain_number__refused_in_words(units: Page, text: str) -> None:
    found = units.evaluate(
        f"""(text) => {{
          try {{ window.units.parsePrice(text, {MARKET}); return "accepted"; }}
          catch (error) {{ return error instanceof window.units.BadNumber ? error.message : "wrong error"; }}
        }}""",
        text,
    )

    assert found.startswith(("Enter a price", "The price "))
