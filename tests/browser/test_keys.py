"""Session keys in the page: made, read in words, linked, used, limited, revoked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.screen import Screen, open_screen
from tests.browser.wallet import InjectedWallet

pytestmark = pytest.mark.alone


@pytest.fixture
def screen(browser: Browser, venue_url: str) -> Iterator[Screen]:
    opened = open_screen(browser, venue_url, wallets=(InjectedWallet(venue_url),))
    opened.connect("test.fox")
    opened.fund()
    opened.deposit("10000", way="approval")
    yield opened
    opened.page.context.close()


def make_key(screen: Screen, *, notional: str = "1000", way: str = "venue") -> None:
    screen.click("open-key")
    screen.at("key-notional").fill(notional)
    screen.at("key-market-MSFT").uncheck()
    screen.at("key-way").select_option(way)
    expect(screen.at("key-words")).to_contain_text("AAPL, IBM")
    expect(screen.at("key-words")).to_contain_text("it can never withdraw")
    screen.click("key-submit")
    screen.agree()
    expect(screen.at("key-status")).to_contain_text("signs orders up to 1,000")


def place_far(screen: Screen, size: str) -> None:
    screen.click("kind-limit", "tab-orders")
    screen.at("price").fill(f"{screen.mark() * 0.95:.2f}")
    screen.at("size").fill(size)
    screen.click("submit")


def test_key__linked_through_the_venue__orders_and_cancels_need_no_prompt(screen: Screen) -> None:
    assert screen.wallet is not None
    make_key(screen)
    n_signed = len(screen.wallet.signed())
    assert screen.wallet.signed()[-1]["primaryType"] == "LinkKey"
    assert screen.wallet.signed()[-1]["message"]["maxNotionalQuote"] == "1000000000"

    place_far(screen, "2")
    expect(screen.at("order")).to_have_count(1)
    screen.click("cancel-order")

    expect(screen.at("orders-empty")).to_be_visible()
    assert len(screen.wallet.signed()) == n_signed
    screen.click("tab-keys")
    expect(screen.at("key")).to_have_attribute("data-status", "active")
    expect(screen.at("key")).to_contain_text("this browser")
    assert screen.problems == []


def test_key__order_outside_its_limits__wallet_asked_and_told_why(screen: Screen) -> None:
    make_key(screen)
    screen.at("price").fill(f"{screen.mark() * 0.95:.2f}")
    screen.at("size").fill("40")
    expect(screen.at("signing")).to_contain_text("signs orders up to 1,000.00 USDC; this one is larger")
    screen.click("market-selector", "market-MSFT")
    expect(screen.at("ask").first).to_be_visible()
    screen.quick_price("bid")
    screen.at("size").fill("1")

    expect(screen.at("signing")).to_contain_text("may not trade MSFT; the wallet signs")
    screen.click("submit")

    expect(screen.at("review")).to_be_visible()
    assert screen.problems == []


def test_key__revoked__live_orders_end_and_wallet_signs_again(screen: Screen) -> None:
    make_key(screen)
    place_far(screen, "2")
    expect(screen.at("order")).to_have_count(1)

    screen.click("tab-keys", "revoke-key", "revoke-venue")
    screen.agree()

    expect(screen.at("key")).to_have_attribute("data-status", "revoked")
    expect(screen.at("key-status")).to_contain_text("Your session key is revoked")
    screen.click("tab-orders")
    expect(screen.at("orders-empty")).to_be_visible()
    place_far(screen, "2")
    expect(screen.at("review")).to_be_visible()
    assert screen.problems == []


def test_key__linked_and_revoked_on_chain__each_a_transaction_of_the_owner(screen: Screen) -> None:
    assert screen.wallet is not None
    make_key(screen, way="chain")
    place_far(screen, "2")
    expect(screen.at("order")).to_have_count(1)
    n_sent = len(screen.wallet.asked("eth_sendTransaction"))

    screen.click("tab-keys", "revoke-key", "revoke-chain")
    screen.agree()

    expect(screen.at("key")).to_have_attribute("data-status", re.compile("revoked"))
    screen.click("tab-orders")
    expect(screen.at("orders-empty")).to_be_visible()
    assert len(screen.wallet.asked("eth_sendTransaction")) == n_sent + 1
    assert screen.problems == []
