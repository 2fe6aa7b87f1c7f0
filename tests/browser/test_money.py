"""Money in and out with a wallet extension: three ways in, a key in the same step, two ways to claim."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.screen import Screen, open_screen
from tests.browser.wallet import USER_REJECTED, InjectedWallet

pytestmark = pytest.mark.alone


@pytest.fixture
def screen(browser: Browser, venue_url: str) -> Iterator[Screen]:
    opened = open_screen(browser, venue_url, wallets=(InjectedWallet(venue_url),))
    opened.connect("test.fox")
    opened.fund()
    yield opened
    opened.page.context.close()


# Signatures and transactions each way takes, of the wallet.
@pytest.mark.parametrize(
    ("way", "n_signatures", "n_transactions"), [("authorization", 1, 0), ("permit", 1, 1), ("approval", 0, 2)]
)
def test_deposit__each_way__credited_with_every_step_shown(
    screen: Screen, way: str, n_signatures: int, n_transactions: int
) -> None:
    screen.deposit("1234.56", way=way)

    screen.expect_text("collateral", r"^1,234\.56 USDC$")
    screen.expect_text("wallet-usdc", r"^98,765\.44 USDC$")
    screen.click("tab-transfers")
    expect(screen.at("transfer")).to_have_attribute("data-status", "credited")
    expect(screen.at("transfer").locator(".hash").first).to_have_attribute("aria-label", re.compile("0x[0-9a-f]{64}"))
    assert screen.wallet is not None
    assert len(screen.wallet.signed()) == n_signatures
    assert len(screen.wallet.asked("eth_sendTransaction")) == n_transactions
    assert screen.problems == []


def test_deposit__signature_rejected__said_at_the_step_and_nothing_moved(screen: Screen) -> None:
    assert screen.wallet is not None
    screen.wallet.refuse_once("eth_signTypedData_v4", USER_REJECTED)
    screen.click("open-deposit")
    screen.at("funds-quote").fill("500")
    screen.click("funds-submit")
    expect(screen.at("review")).to_contain_text("500.000000 USDC into your own account")
    screen.click("review-agree")
    screen.expect_text("review-error", "You rejected the request in Test Fox")

    screen.click("review-cancel")

    expect(screen.at("funds-submit")).to_be_enabled()
    screen.expect_text("wallet-usdc", r"^100,000\.00 USDC$")
    assert screen.problems == []


def test_deposit__more_than_the_wallet_holds__said_in_words(screen: Screen) -> None:
    screen.click("open-deposit")
    screen.at("funds-quote").fill("100000.01")
    screen.click("funds-submit")

    screen.expect_text("funds-error", r"Your wallet holds 100,000\.00 USDC; enter less")


def test_deposit_with_key__one_signature__next_order_needs_no_prompt(screen: Screen) -> None:
    """The whole way in: one signature deposits and links; the order after it asks nobody."""
    screen.click("open-deposit")
    expect(screen.at("funds-way")).to_have_value("authorization")
    screen.at("funds-quote").fill("20000")
    screen.at("funds-link").check()
    screen.click("funds-submit")
    screen.at("key-notional").fill("5000")
    screen.click("key-submit")
    expect(screen.at("review")).to_contain_text("worth at most 5,000.00 USDC")
    screen.agree()
    expect(screen.at("step").last).to_have_attribute("data-state", "done")
    screen.click("funds-close")
    expect(screen.at("key-status")).to_contain_text("signs orders up to 5,000")
    expect(screen.at("ask").first).to_be_visible()

    screen.click("kind-market")
    screen.at("size").fill("2")
    expect(screen.at("signing")).to_contain_text("Signed by your session key, without a prompt")
    screen.click("submit")

    screen.expect_toast("Bought 2.00 AAPL")
    assert screen.wallet is not None and len(screen.wallet.signed()) == 1
    assert screen.problems == []


@pytest.mark.parametrize("button", ["funds-submit", "claim-own"])
def test_withdraw__signed_batched_claimed__usdc_back_to_the_cent(screen: Screen, button: str) -> None:
    """3,000 in, 750.25 out: 97,750.25 in the wallet, 2,249.75 stay."""
    screen.deposit("3000", way="approval")
    screen.click("open-withdraw")
    screen.at("funds-quote").fill("750.25")
    screen.click("funds-submit")
    expect(screen.at("review")).to_contain_text("750.250000 USDC from your account")
    screen.agree()
    expect(screen.at(button)).to_be_visible()
    expect(screen.at(button)).to_be_enabled()
    screen.click(button)
    if button == "claim-own":
        screen.agree()

    screen.expect_text("wallet-usdc", r"^97,750\.25 USDC$")
    screen.expect_text("collateral", r"^2,249\.75 USDC$")
    screen.click("funds-close", "tab-transfers")
    expect(screen.page.locator("[data-testid=transfer][data-kind=withdrawal]")).to_have_attribute("data-status", "paid")
    assert screen.problems == []
