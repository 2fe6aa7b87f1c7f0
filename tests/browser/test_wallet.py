"""Wallets as browsers have them: found, remembered, refused, locked, on the wrong chain; each said in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.screen import Screen, open_screen
from tests.browser.wallet import ALREADY_PENDING, MAINNET, USER_REJECTED, InjectedWallet

pytestmark = pytest.mark.alone


@pytest.fixture
def wallet(venue_url: str) -> InjectedWallet:
    return InjectedWallet(venue_url)


@pytest.fixture
def screen(browser: Browser, venue_url: str, wallet: InjectedWallet) -> Iterator[Screen]:
    opened = open_screen(browser, venue_url, wallets=(wallet,))
    yield opened
    opened.page.context.close()


def test_wallets__two_announced__listed_with_name_and_icon_and_remembered(
    browser: Browser, venue_url: str, wallet: InjectedWallet
) -> None:
    other = InjectedWallet(venue_url, name="Second Wallet", rdns="test.second")
    screen = open_screen(browser, venue_url, wallets=(wallet, other))
    screen.click("wallet-button")
    expect(screen.at("wallet-test.fox")).to_contain_text("Test Fox")
    expect(screen.at("wallet-test.fox").locator("img")).to_have_attribute("src", re.compile("^data:image/svg"))

    screen.click("wallet-test.second")
    expect(screen.at("address")).to_have_attribute("aria-label", re.compile(other.address))
    screen.page.reload()

    expect(screen.at("address")).to_have_attribute("aria-label", re.compile(other.address))
    assert len(other.asked("eth_requestAccounts")) == 1, "the second visit must not prompt"
    assert wallet.asked("eth_requestAccounts") == []
    assert screen.problems == []
    screen.page.context.close()


def test_wallets__none_installed__says_what_to_do_and_offers_the_test_wallet(browser: Browser, venue_url: str) -> None:
    screen = open_screen(browser, venue_url)

    screen.click("connect-here")

    screen.expect_text("no-wallet", "No wallet was found.*Install an Ethereum wallet")
    expect(screen.at("wallet-test")).to_be_visible()
    assert screen.problems == []
    screen.page.context.close()


def test_connect__rejected__said_in_words_and_can_be_tried_again(screen: Screen, wallet: InjectedWallet) -> None:
    wallet.refuse_once("eth_requestAccounts", USER_REJECTED)
    screen.click("wallet-button", "wallet-test.fox")
    screen.expect_text("wallet-error", "You rejected the request in Test Fox. Nothing was signed")

    screen.click("wallet-test.fox")

    expect(screen.at("address")).to_have_attribute("aria-label", re.compile(wallet.address))
    assert screen.problems == []


def test_connect__locked__said_in_words(screen: Screen, wallet: InjectedWallet) -> None:
    wallet.is_locked = True

    screen.click("wallet-button", "wallet-test.fox")

    screen.expect_text("wallet-error", "Test Fox is locked.*Unlock it")
    expect(screen.at("submit")).to_be_disabled()
    assert screen.problems == []


def test_connect__request_already_pending__said_in_words(screen: Screen, wallet: InjectedWallet) -> None:
    wallet.refuse_once("eth_requestAccounts", ALREADY_PENDING)

    screen.click("wallet-button", "wallet-test.fox")

    screen.expect_text("wallet-error", "Test Fox already shows a request. Open its window, answer it there")
    assert screen.problems == []


def test_connect__unknown_chain__added_switched_and_usable(screen: Screen, wallet: InjectedWallet) -> None:
    wallet.chain_id = MAINNET
    wallet.known_chains = {MAINNET}

    screen.connect("test.fox")

    expect(screen.at("chain-banner")).to_be_hidden()
    assert [int(params[0]["chainId"], 16) for params in wallet.asked("wallet_addEthereumChain")] == [31337]
    assert wallet.chain_id == 31337
    assert screen.problems == []


def test_connect__switch_refused__banner_names_both_chains_and_offers_the_switch(
    screen: Screen, wallet: InjectedWallet
) -> None:
    wallet.chain_id = MAINNET
    wallet.refuse_once("wallet_switchEthereumChain", USER_REJECTED)
    screen.connect("test.fox")
    expect(screen.at("chain-banner")).to_contain_text("Test Fox is on chain 1; this venue is on chain 31337")
    screen.expect_toast("You rejected the request in Test Fox")

    screen.click("chain-switch")

    expect(screen.at("chain-banner")).to_be_hidden()
    assert screen.problems == []


def test_wallet__leaves_chain_changes_account_locks__page_follows(screen: Screen, wallet: InjectedWallet) -> None:
    screen.connect("test.fox")
    wallet.leave_chain(MAINNET)
    expect(screen.at("chain-banner")).to_be_visible()
    wallet.leave_chain(31337)
    expect(screen.at("chain-banner")).to_be_hidden()

    wallet.switch_account()
    expect(screen.at("address")).to_have_attribute("aria-label", re.compile(wallet.address))

    wallet.lock()
    expect(screen.at("wallet-button")).to_have_text("Connect wallet")
    screen.expect_toast("Test Fox is locked")
    assert screen.problems == []


def test_order__signature_rejected_then_signed__said_in_words_and_tried_again(
    screen: Screen, wallet: InjectedWallet
) -> None:
    screen.connect("test.fox")
    expect(screen.at("ask").first).to_be_visible()
    screen.quick_price("bid")
    screen.at("size").fill("2")
    wallet.refuse_once("eth_signTypedData_v4", USER_REJECTED)
    screen.click("submit")

    # The question is asked in words before the wallet is.
    expect(screen.at("review")).to_contain_text(re.compile("buy 2 shares of AAPL"))
    assert wallet.signed() == []
    screen.click("review-agree")
    screen.expect_text("review-error", "You rejected the request in Test Fox. Nothing was signed or sent")
    screen.agree()

    # Without collateral the venue refuses; it judged the wallet's signature first.
    screen.expect_text("ticket-error", "INSUFFICIENT_MARGIN")
    assert screen.problems == []


def test_order__details__show_exactly_what_the_wallet_gets(screen: Screen, wallet: InjectedWallet) -> None:
    screen.connect("test.fox")
    screen.at("price").fill("40.25")
    screen.at("size").fill("1.5")
    screen.click("submit")
    screen.at("details").locator("summary").click()
    shown = screen.at("details").locator("pre").inner_text()

    screen.agree()

    (asked,) = wallet.asked("eth_signTypedData_v4")
    signed = json.loads(asked[1])
    assert json.loads(shown) == signed
    message = signed["message"]
    assert (message["sizeLots"], message["limitTicks"], message["isBuy"]) == ("15000", "4025", True)
    assert message["owner"] == wallet.address
    assert screen.problems == []
