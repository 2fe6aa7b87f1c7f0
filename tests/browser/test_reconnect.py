"""A server that goes away and comes back: said, caught up, nothing twice, no reload."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Venue
from tests.browser.screen import Screen, open_screen
from tests.browser.wallet import InjectedWallet

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif("AFTERBELL_TEST_URL" in os.environ, reason="restarts the venue: needs one of its own"),
]


@pytest.fixture
def screen(browser: Browser, own_venue: Venue) -> Iterator[Screen]:
    opened = open_screen(browser, own_venue.url, wallets=(InjectedWallet(own_venue.url),))
    yield opened
    opened.page.context.close()


def test_stream__connection_cut__resumed_with_what_was_missed(screen: Screen) -> None:
    screen.page.evaluate("window.afterbell.stream.socket.close()")

    screen.wait_for_number("window.afterbell.stream.nResumed", 3)

    assert screen.page.evaluate("window.afterbell.stream.nMismatches") == 0
    assert screen.problems == []


def list_rows(screen: Screen, kind: str) -> list[str]:
    """Return the keys of a table's rows."""
    keys: list[str] = screen.at(kind).evaluate_all("rows => rows.map((row) => row.dataset.key)")
    return keys


def test_server__restarted__page_recovers_without_reload_and_rows_stay_single(screen: Screen, own_venue: Venue) -> None:
    screen.connect("test.fox")
    screen.fund()
    screen.deposit("20000", way="approval")
    screen.click("kind-market")
    screen.at("slippage").fill("2")
    screen.at("size").fill("3")
    screen.click("submit")
    screen.agree()
    screen.expect_toast("Bought 3.00 AAPL")
    screen.click("kind-limit", "tab-orders")
    screen.at("price").fill(f"{screen.mark() * 0.95:.2f}")
    screen.at("size").fill("2")
    screen.click("submit")
    screen.agree()
    expect(screen.at("order")).to_have_count(1)
    screen.click("tab-fills")
    expect(screen.at("fill").first).to_have_attribute("data-status", "final")
    fills = list_rows(screen, "fill")
    screen.page.evaluate("window.wasHere = true")

    screen.is_restarting = True
    own_venue.stop()
    expect(screen.at("reconnecting")).to_be_visible()
    own_venue.start()

    expect(screen.at("reconnecting")).to_be_hidden()
    expect(screen.at("collateral")).not_to_have_text("–")
    screen.wait_for_number(
        "window.afterbell.stream.nMessages", screen.page.evaluate("window.afterbell.stream.nMessages") + 3
    )
    expect(screen.at("fill").first).to_be_visible()
    found = list_rows(screen, "fill")
    assert set(fills) <= set(found) and len(set(found)) == len(found)
    screen.click("tab-orders")
    # History goes on while the venue is away from the page: it may have come to the order's price.
    if found == fills:
        expect(screen.at("order")).to_have_count(1)
        screen.click("cancel-order")
        screen.agree()
    expect(screen.at("orders-empty")).to_be_visible()
    assert screen.page.evaluate("window.wasHere") is True
    assert screen.problems == []
