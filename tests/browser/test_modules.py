"""The page's arithmetic beyond units.js, in the browser that runs it; every expected number is worked out by hand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, Route

from afterbell.gateway.routes.page import PAGE_FOLDER, VENDOR_FILES, find_node_modules

ORIGIN: Final = "http://page.test"
MARKET: Final = """{market: 1, symbol: "AAPL", ticks_per_usd: 100, lot_exponent: 4, mark_ticks: 4000, index_ticks: 4000,
  band_low_ticks: 3600, band_high_ticks: 4400, rules: {initial_margin_ppm: 200000, maintenance_margin_ppm: 100000,
  price_step_ticks: 1, size_step_lots: 100, min_notional_quote: "5000000", taker_fee_ppm: 400}}"""


def answer_from_folder(route: Route) -> None:
    """Serve the page's modules as the venue does; no venue is needed."""
    folder, name = route.request.url.removeprefix(ORIGIN + "/").partition("/")[::2]
    if folder == "page":
        route.fulfill(path=PAGE_FOLDER / name, content_type="text/javascript")
    elif folder == "vendor":
        route.fulfill(path=find_node_modules() / VENDOR_FILES[name], content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.route(f"{ORIGIN}/**", answer_from_folder)
    page.goto(ORIGIN)
    page.evaluate(
        """async () => {
          for (const name of ["preview", "order_form", "checksum", "typed_data", "words"]) {
            window[name] = await import(`/page/${name}.js`);
          }
        }"""
    )
    yield page
    page.close()


def run(page: Page, expression: str) -> Any:
    return page.evaluate(f"() => {{ const market = {MARKET}; const found = {expression}; return String(found); }}")


@pytest.mark.parametrize("text", ["", "4499:5,4498:7,4501:1", "1:1"])
def test_crc32__text__equals_zlib(modules: Page, text: str) -> None:
    assert run(modules, f"checksum.crc32({text!r})") == str(zlib.crc32(text.encode()))


def test_checksum__twelve_levels_a_side__best_ten_of_each(modules: Page) -> None:
    bids = [(100 - i, i + 1) for i in range(12)]
    asks = [(101 + i, i + 3) for i in range(12)]
    expected = zlib.crc32(",".join(f"{price}:{size}" for price, size in bids[:10] + asks[:10]).encode())

    shown = [[{"priceTicks": price, "sizeLots": size} for price, size in side] for side in (bids, asks)]
    found = modules.evaluate("([bids, asks]) => checksum.checksumOf({bids, asks})", shown)

    assert found == expected


def liquidation(page: Page, money: str, *, is_buy: bool, size_lots: int, price_ticks: int) -> str:
    leg = f"{{market, isBuy: {str(is_buy).lower()}, sizeLots: {size_lots}n}}"
    return str(run(page, f"preview.liquidationAfter({money}, {leg}, {size_lots * price_ticks}n, 0n)"))


EMPTY: Final = '{equity_quote: "%d", maintenance_margin_quote: "0", positions: []}'


def test_liquidation__long_from_nothing__equity_meets_a_tenth_of_notional(modules: Page) -> None:
    """100 shares at 40.00 with 1,000: at x, 1,000 + 100 x - 4,000 = 10 x, so x = 33.33…, shown as 33.34."""
    money = EMPTY % 1_000_000_000

    assert liquidation(modules, money, is_buy=True, size_lots=1_000_000, price_ticks=4_000) == "3334"


def test_liquidation__short_from_nothing__rounded_down(modules: Page) -> None:
    """100 shares sold at 40.00 with 1,000: 1,000 + 4,000 - 100 x = 10 x, so x = 45.45…, shown as 45.45."""
    money = EMPTY % 1_000_000_000

    assert liquidation(modules, money, is_buy=False, size_lots=1_000_000, price_ticks=4_000) == "4545"


def test_liquidation__equity_above_the_whole_notional__none(modules: Page) -> None:
    assert liquidation(modules, EMPTY % 5_000_000_000, is_buy=True, size_lots=1_000_000, price_ticks=4_000) == "null"


def test_liquidation__half_of_a_long_sold__what_is_left_counts(modules: Page) -> None:
    """1,000 and long 100 from 40.00; 50 sold at 40.00: 1,000 + 50 x - 2,000 = 5 x, x = 22.22…, shown as 22.23."""
    held = (
        '{market: 1, size_lots: 1000000, entry_quote: "4000000000", unrealised_pnl_quote: "0",'
        ' maintenance_margin_quote: "400000000"}'
    )
    money = f'{{equity_quote: "1000000000", maintenance_margin_quote: "400000000", positions: [{held}]}}'

    assert liquidation(modules, money, is_buy=False, size_lots=500_000, price_ticks=4_000) == "2223"


@pytest.mark.parametrize(
    ("best_ticks", "is_buy", "slippage_ppm", "expected"),
    [
        (4_007, True, 5_000, 4_027),  # 4027.035: a buyer's worst price rounds down
        (3_993, False, 5_000, 3_974),  # 3973.035: a seller's rounds up
        (4_300, True, 50_000, 4_400),  # the band ends at 44.00
        (3_700, False, 50_000, 3_600),
    ],
)
def test_worst_price__of_a_market_order__rounded_for_the_signer_and_inside_the_band(
    modules: Page, best_ticks: int, is_buy: bool, slippage_ppm: int, expected: int
) -> None:
    found = run(modules, f"order_form.worstTicks({best_ticks}, {str(is_buy).lower()}, {slippage_ppm}n, market)")

    assert found == str(expected)


def test_walk_book__size_over_two_levels__exact_cost(modules: Page) -> None:
    levels = "[{priceTicks: 4001, sizeLots: 300}, {priceTicks: 4003, sizeLots: 500}, {priceTicks: 4100, sizeLots: 900}]"

    found = run(modules, f"Object.values(preview.walkBook({levels}, 1000n, 4050n, true))")

    assert found == f"800,{300 * 4001 + 500 * 4003}"


def test_limits__packed__bits_as_the_contract_reads_them(modules: Page) -> None:
    limits = (
        "{keyExpiryS: 1109800800, maxNotionalQuote: 10000000000n, markets: [1, 3, 32],"
        " isTradeOnly: true, isReduceOnly: false}"
    )

    found = int(run(modules, f"typed_data.packLimits({limits})"))

    assert found & (1 << 40) - 1 == 1_109_800_800
    assert found >> 40 & (1 << 64) - 1 == 10_000_000_000
    assert found >> 104 & (1 << 32) - 1 == 0b1000_0000_0000_0000_0000_0000_0000_0101
    assert found >> 136 == 1
