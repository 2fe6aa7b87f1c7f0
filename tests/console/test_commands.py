"""The commands as people type them, against a real exchange on a real chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from afterbell.cli import main
from afterbell.configuration import CONFIG_VARIABLE
from afterbell.domain.hashing import keccak
from afterbell.sdk import Client
from tests.crash.exchange_process import ExchangeProcess
from tests.support.venue import MAKER, open_venue, serve_publishers


@dataclass(frozen=True)
class Terminal:
    """A shell with a venue and key files."""

    url: str
    folder: Path

    def run(self, *arguments: str, key: str | None = "trader.key", status: int = 0) -> Result:
        environment = {"AFTERBELL_URL": self.url, CONFIG_VARIABLE: "", "COLUMNS": "200"}
        if key is not None:
            environment["AFTERBELL_KEY_FILE"] = str(self.folder / key)
        result = CliRunner(env=environment).invoke(main, arguments)
        assert result.exit_code == status, result.output
        return result

    def ask(self, *arguments: str, key: str | None = "trader.key") -> Any:
        return json.loads(self.run(*arguments, "--json", key=key).output)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("console")
    with open_venue(folder / "venue") as venue:
        data_dir = venue.make_data_dir()
        with serve_publishers(venue, data_dir) as publishers:
            exchange = ExchangeProcess(venue, data_dir, publishers)
            try:
                url = asyncio.run(exchange.wait_for_address())
                assert url is not None, exchange.read_output()
                terminal = Terminal(url, folder)
                terminal.run("keys", "new", str(folder / "trader.key"), key=None)
                terminal.run("account", "faucet")
                terminal.run("account", "deposit", "2000")
                with Client(url, key=keccak(b"test actor " + MAKER.name.encode())) as maker:
                    _quote(maker)
                    yield terminal
            finally:
                exchange.kill()


def _quote(maker: Client) -> None:
    """Offer a hundred shares on both sides, far enough to last a few days of the replay."""
    for _ in range(200):
        market = maker.market("AAPL")
        if market.mark_ticks:
            break
    band = (market.band_low_ticks or 1, market.band_high_ticks or 2**30)
    maker.limit("AAPL", "BUY", "100", max(market.mark_ticks * 98 // 100, band[0] + 1), lane=1)
    maker.limit("AAPL", "SELL", "100", min(market.mark_ticks * 102 // 100, band[1] - 1), lane=2)


def test_status__running_venue__names_every_part_and_market(terminal: Terminal) -> None:
    output = terminal.run("status").output
    found = terminal.ask("status")

    assert all(part["name"] in output and part["ready"] for part in found["readiness"]["parts"])
    assert "AAPL" in output
    assert found["markets"][0]["symbol"] == "AAPL"
    sequences = [batch["sequence"] for batch in found["batches"]]
    assert sequences and sequences == sorted(sequences, reverse=True)


@pytest.mark.parametrize("method", ["approve", "permit", "authorization"])
def test_account__deposit__is_credited_by_every_method(terminal: Terminal, method: str) -> None:
    before_quote = int(terminal.ask("account", "show")["collateral_quote"])

    (transfer,) = terminal.ask("account", "deposit", "12.5", "--method", method)

    assert (transfer["kind"], transfer["status"], int(transfer["quote"])) == ("deposit", "credited", 12_500_000)
    assert int(terminal.ask("account", "show")["collateral_quote"]) == before_quote + 12_500_000


def test_account__buy_then_look__shows_order_fill_and_position(terminal: Terminal) -> None:
    placed = terminal.ask("account", "order", "aapl", "buy", "0.5", "--slippage", "0.05")

    assert (placed["status"], placed["filled_lots"], placed["time_in_force"]) == ("FILLED", 5_000, "IOC")
    fill = next(fill for fill in terminal.ask("account", "fills") if fill["order_id"] == placed["order_id"])
    assert (fill["size_lots"], fill["role"]) == (5_000, "taker")
    shown = terminal.run("account", "show").output
    assert "Positions" in shown
    assert "AAPL" in shown
    assert "0.5" in terminal.run("account", "fills").output


def test_account__limit_order__rests_and_is_cancelled(terminal: Terminal) -> None:
    placed = terminal.ask("account", "order", "AAPL", "sell", "1", "--limit", _far_price(terminal), "--post-only")

    assert placed["order_id"] in {order["order_id"] for order in terminal.ask("account", "orders", "--open")}
    assert terminal.ask("account", "cancel", placed["order_id"])["order_ids"] == [placed["order_id"]]
    history = {order["order_id"]: order["status"] for order in terminal.ask("account", "orders")}
    assert history[placed["order_id"]] == "CANCELLED"


def test_account__cancel_all__takes_every_order(terminal: Terminal) -> None:
    placed = [terminal.ask("account", "order", "AAPL", "sell", "1", "--limit", _far_price(terminal)) for _ in range(2)]

    assert set(terminal.ask("account", "cancel-all")["order_ids"]) == {order["order_id"] for order in placed}


def test_account__withdraw__is_paid_through_the_relayer(terminal: Terminal) -> None:
    (transfer,) = terminal.ask("account", "withdraw", "3")

    assert (transfer["status"], int(transfer["quote"])) == ("paid", 3_000_000)
    assert transfer["paid_transaction"].startswith("0x")
    refused = terminal.run("account", "claim", status=1)
    assert "NOTHING_TO_CLAIM" in refused.output
    assert transfer["transaction"] in terminal.run("account", "transfers").output


def test_keys__link_trade_revoke__the_key_trades_inside_its_limits_until_revoked(terminal: Terminal) -> None:
    owner = terminal.run("keys", "address", str(terminal.folder / "trader.key")).output.strip()
    address = terminal.run("keys", "new", str(terminal.folder / "session.key")).output.strip()
    order = ("account", "--owner", owner, "order", "AAPL", "buy", "0.2", "--slippage", "0.05")
    assert "BAD_SIGNATURE" in terminal.run(*order, key="session.key", status=1).output

    (linked,) = terminal.ask("keys", "link", address, "--max-notional", "500", "--market", "aapl", "--lifetime", "12h")
    assert (linked["key"], linked["status"], linked["max_notional_quote"]) == (address, "active", 500_000_000)
    terminal.run(*order, key="session.key")
    too_much = ("account", "--owner", owner, "order", "AAPL", "buy", "50", "--slippage", "0.05")
    assert "KEY_LIMIT" in terminal.run(*too_much, key="session.key", status=1).output
    assert address in terminal.run("keys", "list").output
    (revoked,) = terminal.ask("keys", "revoke", address)

    assert revoked["status"] == "revoked"
    assert "KEY_EXPIRED" in terminal.run(*order, key="session.key", status=1).output


def test_keys__encrypted_file__opens_with_its_passphrase_alone(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = terminal.folder / "encrypted.key"
    monkeypatch.setenv("AFTERBELL_PASSPHRASE", "correct horse")
    address = terminal.run("keys", "new", str(path), "--encrypt").output.strip()

    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["address"].lower() == address[2:]
    assert terminal.run("keys", "address", str(path)).output.strip() == address
    monkeypatch.setenv("AFTERBELL_PASSPHRASE", "wrong")
    assert "wrong passphrase" in terminal.run("keys", "address", str(path), status=2).output


def test_keys__new_over_an_existing_file__is_refused_and_keeps_it(terminal: Terminal) -> None:
    before = (terminal.folder / "trader.key").read_bytes()

    result = terminal.run("keys", "new", str(terminal.folder / "trader.key"), status=1)

    assert "exists already: a key is never overwritten" in result.output
    assert (terminal.folder / "trader.key").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("account", "order", "AAPL", "buy", "1"), 2, "exactly one of --limit, --worst and --slippage"),
        (("account", "order", "AAPL", "buy", "-1", "--limit", "1"), 2, "No such option: -1"),
        (("account", "order", "AAPL", "buy", "0", "--limit", "1"), 2, "above zero is required"),
        (("account", "order", "AAPL", "buy", "1", "--limit", "nan"), 2, "above zero is required"),
        (("account", "order", "NONE", "buy", "1", "--limit", "1"), 1, "UNKNOWN_MARKET"),
        (("account", "order", "AAPL", "buy", "0.00001", "--limit", "40"), 2, "not a whole number"),
        (("account", "deposit", "0.0000001"), 2, "not a whole number"),
        (("account", "withdraw", "900000"), 1, "MARGIN"),
        (("keys", "link", "0x12", "--max-notional", "1"), 2, "address"),
        (("keys", "link", "0x" + "11" * 20, "--max-notional", "1", "--lifetime", "2 weeks"), 2, "a lifetime like 90m"),
        (("keys", "link", "0x" + "11" * 20, "--max-notional", "1", "--lifetime", "181d"), 2, "at most 180d"),
    ],
)
def test_commands__unusable_input__is_named(
    terminal: Terminal, arguments: tuple[str, ...], status: int, words: str
) -> None:
    assert words in terminal.run(*arguments, status=status).output


def test_commands__without_a_key__say_how_to_get_one(terminal: Terminal) -> None:
    assert "`afterbell keys new FILE` makes one" in terminal.run("account", "deposit", "1", key=None, status=2).output


def test_commands__key_file_open_to_others__is_refused(terminal: Terminal) -> None:
    path = terminal.folder / "open.key"
    path.write_text("11" * 32)
    path.chmod(0o644)

    assert "chmod 600" in terminal.run("account", "show", key="open.key", status=2).output


def test_commands__no_venue__say_so(terminal: Terminal) -> None:
    lost = Terminal("http://127.0.0.1:9", terminal.folder)

    assert "is `afterbell up` running?" in lost.run("status", status=2).output
    assert "127.0.0.1:9" in lost.run("account", "show", status=1).output


def _far_price(terminal: Terminal) -> str:
    """A price above the market and inside the band."""
    market = next(one for one in terminal.ask("status")["markets"] if one["symbol"] == "AAPL")
    return str((market["band_high_ticks"] - 1) / 100) if market["band_high_ticks"] else "100"
