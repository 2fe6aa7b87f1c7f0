"""Every kind of order through the page, signed by a wallet extension: placed, shown, changed, cancelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.screen import TIMEOUT_MS, Screen, open_screen
from tests.browser.wallet import InjectedWallet

pytestmark = pytest.mark.alone
MARK_AT_OR_ABOVE = "1"
MARK_AT_OR_BELOW = "2"


@pytest.fixture(scope="module")
def funded(browser: Browser, venue_url: str) -> Iterator[Screen]:
    """Return a page whose wallet has 50,000 USDC of collateral; each test leaves no order and no position behind."""
    wallet = InjectedWallet(venue_url)
    opened = open_screen(browser, venue_url, wallets=(wallet,))
    opened.connect("test.fox")
    opened.fund()
    opened.deposit("50000", way="approval")
    opened.expect_text("collateral", r"^50,000\.00 USDC$")
    yield opened
    opened.page.context.close()


@pytest.fixture
def screen(funded: Screen) -> Iterator[Screen]:
    funded.click("tab-orders")
    assert funded.wallet is not None
    funded.wallet.requests.clear()
    # The market makers begin after the venue.
    expect(funded.at("ask").first).to_be_visible(timeout=2 * TIMEOUT_MS)
    yield funded
    funded.click("tab-orders")
    if funded.at("cancel-all").is_visible():
        funded.click("cancel-all")
        funded.agree()
    expect(funded.at("orders-empty")).to_be_visible()
    assert funded.problems == []


def last_message(screen: Screen) -> dict[str, Any]:
    assert screen.wallet is not None
    message: dict[str, Any] = screen.wallet.signed()[-1]["message"]
    return message


def fill_form(screen: Screen, kind: str, *, side: str = "buy", **fields: str) -> None:
    screen.click(f"side-{side}", f"kind-{kind}")
    if screen.at("post-only").is_enabled():
        screen.at("post-only").uncheck()
    screen.at("reduce-only").uncheck()
    for name, text in fields.items():
        screen.at(name.replace("_", "-")).fill(text)


def send(screen: Screen) -> None:
    screen.click("submit")
    screen.agree()


def take(screen: Screen, done: str, prepare: Callable[[], None]) -> None:
    """Send a market order until it fills: history may step past its worst price between reading and signing."""
    toasts = screen.at("toasts")
    for _ in range(6):
        prepare()
        send(screen)
        expect(toasts).to_contain_text(re.compile(f"{done}|Nothing filled"))
        if done in toasts.inner_text():
            return
        expect(toasts).not_to_contain_text("Nothing filled")
    raise AssertionError(f"no {done!r} in six tries")


def place_stop_near(screen: Screen, side: str, cent: float, worst: float) -> None:
    """Place a stop a cent from the mark; if the mark moves onto the trigger meanwhile, the page says so: again."""
    answered = screen.at("review").or_(screen.at("ticket-error")).filter(visible=True)
    for _ in range(8):
        fill_form(
            screen,
            "stop",
            side=side,
            trigger=f"{screen.mark() + cent:.2f}",
            price=far_price(screen, worst),
            size="2",
        )
        screen.click("submit")
        expect(answered).to_be_visible()
        if screen.at("review").is_visible():
            screen.agree()
            return
    pytest.fail("the mark moved onto the trigger eight times")


def far_price(screen: Screen, part: float) -> str:
    return f"{screen.mark() * part:.2f}"


def test_limit__rests_then_changed_then_cancelled__each_signed_once(screen: Screen) -> None:
    price, better = far_price(screen, 0.95), far_price(screen, 0.955)
    fill_form(screen, "limit", price=price, size="3")
    screen.at("post-only").check()
    expect(screen.at("signing")).to_contain_text("never as a taker")
    send(screen)
    expect(screen.at("order")).to_contain_text(re.compile(rf"Buy\s*{price}.*post-only"))

    screen.click("amend-order")
    screen.at("amend-price").fill(better)
    screen.at("amend-size").fill("2")
    screen.click("amend-submit")
    screen.agree()

    expect(screen.at("order")).to_have_count(1)
    expect(screen.at("order")).to_contain_text(better)
    expect(screen.at("order")).to_contain_text("0.00 / 2.00")
    message = last_message(screen)
    assert (message["sizeLots"], message["limitTicks"]) == ("20000", str(round(float(better) * 100)))
    screen.click("cancel-order")
    screen.agree()
    expect(screen.at("orders-empty")).to_be_visible()
    screen.click("tab-history")
    expect(screen.at("past-order").first).to_contain_text("you cancelled it")
    assert screen.wallet is not None and len(screen.wallet.signed()) == 3


def test_market__signed_worst_price_is_half_a_percent_beyond_the_best(screen: Screen) -> None:
    best_ask = 0

    def buy() -> None:
        nonlocal best_ask
        fill_form(screen, "market", slippage="0.5", size="4")
        best_ask = int(screen.at("ask").last.locator("span").first.inner_text().replace(",", "").replace(".", ""))

    take(screen, "Bought 4.00 AAPL", buy)
    message = last_message(screen)
    # The book may have moved a little between reading and signing.
    assert abs(int(message["limitTicks"]) - best_ask * 1005 // 1000) <= best_ask // 100
    assert message["timeInForce"] == "2"

    screen.click("tab-positions")
    expect(screen.at("position")).to_contain_text("Long 4.00")

    def close() -> None:
        screen.click("tab-positions")
        screen.click("close-position")
        expect(screen.at("signing")).to_contain_text("only to make your position smaller")

    take(screen, "Sold 4.00 AAPL", close)

    expect(screen.at("positions-empty")).to_be_visible()
    assert last_message(screen)["reduceOnly"] is True


def test_stop__waits_outside_the_book_with_its_trigger_signed(screen: Screen) -> None:
    trigger, worst = far_price(screen, 1.05), far_price(screen, 1.06)
    fill_form(screen, "stop", trigger=trigger, price=worst, size="2")
    expect(screen.at("signing")).to_contain_text(f"When the mark at or above {trigger} USD: buy 2 shares")

    send(screen)

    expect(screen.at("order")).to_have_attribute("data-status", "WAITING")
    expect(screen.at("order")).to_contain_text(f"mark at or above {trigger}")
    message = last_message(screen)
    assert message["triggerKind"] == MARK_AT_OR_ABOVE
    assert message["triggerTicks"] == str(round(float(trigger) * 100))


def test_stops__mark_moves_through_one__fills_without_another_signature(screen: Screen) -> None:
    """A buy stop a cent above the mark, a sell stop a cent below: the next moves of the mark trigger at least one."""
    screen.click("tab-fills")
    n_fills = screen.at("fill").count()
    for side, cent, worst in (("buy", 0.01, 1.04), ("sell", -0.01, 0.96)):
        place_stop_near(screen, side, cent, worst)
    assert screen.wallet is not None
    n_signed = len(screen.wallet.signed())

    expect(screen.at("fill").nth(n_fills)).to_be_visible(timeout=2 * TIMEOUT_MS)

    assert len(screen.wallet.signed()) == n_signed
    screen.click("tab-history")
    expect(screen.page.locator("[data-testid=past-order][data-status=FILLED]").first).to_contain_text("mark at or")


def test_take_profit__sell_waits_for_a_better_price(screen: Screen) -> None:
    trigger = far_price(screen, 1.05)
    fill_form(screen, "take", side="sell", trigger=trigger, price=trigger, size="2")
    send(screen)

    expect(screen.at("order")).to_contain_text(f"mark at or above {trigger}")
    assert last_message(screen)["isBuy"] is False


def test_oco__two_signatures_one_nonce__cancel_ends_both(screen: Screen) -> None:
    profit, trigger, worst = (far_price(screen, part) for part in (1.05, 0.95, 0.94))
    fill_form(screen, "oco", side="sell", trigger=trigger, stop_price=worst, price=profit, size="2")
    screen.click("submit")
    expect(screen.at("review")).to_contain_text("1 of 2")
    screen.click("review-agree")
    expect(screen.at("review")).to_contain_text("2 of 2")
    screen.agree()

    expect(screen.at("order")).to_have_count(2)
    assert screen.wallet is not None
    first, second = (signed["message"] for signed in screen.wallet.signed())
    assert first["nonce"] == second["nonce"]
    assert (first["triggerKind"], second["triggerKind"]) == ("0", MARK_AT_OR_BELOW)
    screen.at("cancel-order").first.click()
    screen.agree()
    expect(screen.at("orders-empty")).to_be_visible()


def test_fill_or_kill__larger_than_the_book__nothing_filled_said_in_words(screen: Screen) -> None:
    fill_form(screen, "limit", price=far_price(screen, 1.005), size="2500")
    screen.at("force").select_option("FOK")
    expect(screen.at("signing")).to_contain_text("fills whole at once, or not at all")
    screen.click("submit")
    screen.agree()

    expect(screen.page.locator("body")).to_contain_text(
        re.compile("could not fill whole|INSUFFICIENT_MARGIN|CANNOT_FILL")
    )
    screen.at("force").select_option("GTC")


def test_cancel_all_on_chain__mined__orders_leave_the_book(screen: Screen) -> None:
    fill_form(screen, "limit", price=far_price(screen, 0.95), size="3")
    send(screen)
    expect(screen.at("order")).to_have_count(1)

    screen.click("cancel-all-on-chain", "cancel-on-chain-agree")
    screen.agree()

    expect(screen.at("orders-empty")).to_be_visible()
    assert screen.wallet is not None and len(screen.wallet.asked("eth_sendTransaction")) == 1


def test_order__keyboard_only__placed_and_cancelled(screen: Screen) -> None:
    """No mouse: letters choose, Tab and Enter do the rest."""
    keyboard = screen.page.keyboard
    price = far_price(screen, 0.95)
    screen.page.locator("body").focus()
    screen.page.evaluate("document.activeElement.blur()")
    for key in "slbp":
        keyboard.press(key)
    keyboard.press("Control+a")
    keyboard.type(price)
    keyboard.press("Escape")
    for _ in range(4):  # bid, mark, ask, size
        keyboard.press("Tab")
    keyboard.press("Control+a")
    keyboard.type("3")
    keyboard.press("Enter")
    expect(screen.at("review-agree")).to_be_focused()
    keyboard.press("Enter")
    expect(screen.at("review")).to_have_count(0)
    expect(screen.at("order")).to_have_count(1)

    screen.at("cancel-order").focus()
    keyboard.press("Enter")
    expect(screen.at("review-agree")).to_be_focused()
    keyboard.press("Enter")

    expect(screen.at("orders-empty")).to_be_visible()
    keyboard.press("?")
    expect(screen.at("shortcuts")).to_contain_text("cancel all orders")
    keyboard.press("Escape")
    expect(screen.at("shortcuts")).to_have_count(0)


def test_book__arrow_keys_and_enter__take_a_price(screen: Screen) -> None:
    screen.click("kind-limit")
    screen.at("price").fill("")
    screen.at("book").focus()
    screen.page.keyboard.press("ArrowDown")
    screen.page.keyboard.press("ArrowDown")
    screen.page.keyboard.press("Enter")

    assert re.fullmatch(r"\d+\.\d\d", screen.at("price").input_value())
