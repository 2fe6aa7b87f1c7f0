"""Every example of the SDK runs as it stands against a real venue: chain, contracts, publishers, exchange process."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable
from pathlib import Path

import pytest

import afterbell.sdk.examples
from afterbell.sdk import Client, LiveBook, PlacedOrder
from afterbell.sdk.examples.candles_to_csv import write_candles
from afterbell.sdk.examples.contract_wallet import act_as_contract_wallet
from afterbell.sdk.examples.deposit_with_permit import deposit_with_permit
from afterbell.sdk.examples.quote_both_sides import quote_both_sides
from afterbell.sdk.examples.resilient_stream import main as follow
from afterbell.sdk.examples.session_key import trade_with_session_key
from afterbell.sdk.examples.stop_and_take_profit import protect
from afterbell.sdk.examples.take import take
from afterbell.sdk.examples.withdraw import withdraw

pytestmark = pytest.mark.alone
USDC = 10**6
SYMBOL = "AAPL"
Quote = Callable[[], tuple[PlacedOrder, ...]]


def test_examples__every_file__is_run_here() -> None:
    files = {path.stem for path in Path(afterbell.sdk.examples.__file__).parent.glob("*.py")} - {"__init__"}
    source = Path(__file__).read_text()

    assert {name for name in files if f"afterbell.sdk.examples.{name} import" in source} == files


def test_deposit_with_permit__all_ways__are_credited(real_url: str) -> None:
    transfers = deposit_with_permit(real_url)

    assert [(transfer.quote, transfer.status) for transfer in transfers] == [(100 * USDC, "credited")] * 4
    own, friend = transfers[0].account, transfers[3].account
    assert [transfer.account for transfer in transfers] == [own, own, own, friend] and own != friend
    assert len({transfer.transaction for transfer in transfers}) == 4
    with Client(real_url, owner="0x" + own[2:42]) as reader:
        assert reader.account().collateral_quote == 300 * USDC


def test_take__somebody_sells__fill_becomes_final(real_url: str, quote: Quote) -> None:
    _, ask = quote()
    fills = take(real_url, SYMBOL)

    assert sum(fill.size_lots for fill in fills) == 5_000
    assert {fill.status for fill in fills} == {"final"} and all(fill.transaction for fill in fills)
    assert fills[0].price_ticks <= ask.limit_ticks


def test_quote_both_sides__amended_in_the_end__rests(real_url: str) -> None:
    quotes = asyncio.run(quote_both_sides(real_url, SYMBOL))

    assert {(placed.is_buy, placed.remaining_lots, placed.status) for placed in quotes} == {
        (True, 5_000, "OPEN"),
        (False, 5_000, "OPEN"),
    }


def test_stop_and_take_profit__position__has_two_exits_of_one_nonce(real_url: str, quote: Quote) -> None:
    quote()
    stop, profit = protect(real_url, SYMBOL)

    assert (stop.status, profit.status, stop.nonce) == ("WAITING", "WAITING", profit.nonce)
    assert (stop.trigger_kind, profit.trigger_kind) == (2, 1)
    assert stop.limit_ticks < stop.trigger_ticks < profit.trigger_ticks


def test_session_key__linked_with_the_deposit__trades_and_dies(real_url: str) -> None:
    order, key = trade_with_session_key(real_url, SYMBOL)

    assert (order.status, order.reason, order.signer) == ("CANCELLED", "KEY_REVOKED", key.key)
    assert key.status == "revoked"


def test_withdraw__each_step__ends_paid(real_url: str) -> None:
    paid = withdraw(real_url)

    assert (paid.status, paid.quote) == ("paid", 40 * USDC)
    assert paid.transaction and paid.paid_transaction and paid.transaction != paid.paid_transaction
    assert [step.status for step in paid.steps][-1] == "paid"


def test_contract_wallet__approves_instead_of_signing__key_and_money_move(real_url: str) -> None:
    key, withdrawal = act_as_contract_wallet(real_url)

    assert (key.status, key.max_notional_quote) == ("active", 50 * USDC)
    assert (withdrawal.quote, withdrawal.status in ("mined", "claimable")) == (30 * USDC, True)


def test_candles_to_csv__real_prices__exact_numbers(real_url: str, csv_path: Path) -> None:
    n_candles = write_candles(csv_path, real_url, SYMBOL)

    rows = list(csv.DictReader(csv_path.read_text().splitlines()))
    assert len(rows) == n_candles > 0
    assert all(float(row["low"]) <= float(row["open"]) <= float(row["high"]) for row in rows)


def test_resilient_stream__book_and_account__follow(real_url: str, quote: Quote) -> None:
    async def play() -> tuple[LiveBook, int]:
        following = asyncio.create_task(follow(real_url, SYMBOL, 3))
        while not following.done():
            await asyncio.to_thread(quote)
            await asyncio.sleep(0.3)
        return await following

    book, free_quote = asyncio.run(play())

    assert book.symbol == SYMBOL and book.sequence > 0 and free_quote == 0
