"""The real exchange as a process, and clients that trade with it over HTTP and write down every answer they got."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from afterbell.domain.ids import account_hex
from afterbell.domain.manifest import Manifest
from afterbell.domain.order import Order, TimeInForce
from afterbell.signing.keys import join_signature
from afterbell.signing.typed_data import digest, exchange_domain
from tests.support.venue import MAKER, SECOND_TAKER, TAKER, Actor, Venue

_START_TIMEOUT_S: Final = 60
_LISTENING: Final = re.compile(r"listening on (http://\S+)")
EXPIRY_S: Final = 1_111_600_000
AAPL: Final = 1
SIZE_LOTS: Final = 10_000


class ExchangeProcess:
    """`afterbell exchange` on a data directory."""

    def __init__(self, venue: Venue, data_dir: Path, publishers: Sequence[str], *, crash_at: str = "") -> None:
        self.output = data_dir / "exchange.out"
        self._begin = self.output.stat().st_size if self.output.exists() else 0
        environment = {
            **os.environ,
            "AFTERBELL_CRASH_AT": crash_at,
            "AFTERBELL_PUBLISHER_URLS": "[" + ",".join(f'"{url}"' for url in publishers) + "]",
            "AFTERBELL_SEAL_INTERVAL_MS": "150",
            "AFTERBELL_POLL_MS": "20",
            "PYTHONUNBUFFERED": "1",
        }
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "afterbell", "exchange"),
                    *("--data-dir", str(data_dir), "--port", "0", "--rpc", venue.anvil.url),
                ],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def read_output(self) -> str:
        """Return what it printed in this run."""
        with self.output.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace")

    async def wait_for_address(self) -> str | None:
        """Return where it listens, None if it died first."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            found = _LISTENING.search(self.read_output())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                return None
            await asyncio.sleep(0.02)
        raise AssertionError(f"the exchange did not listen: {self.read_output()}")

    async def wait_for_end(self, timeout_s: int = 60) -> int:
        """Return the exit status."""
        return await asyncio.to_thread(self.process.wait, timeout_s)

    async def stop(self) -> int:
        """Ask it to stop in order; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.wait_for_end()

    def kill(self) -> None:
        """Make sure that nothing is left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Ledger:
    """What the clients know: orders sent, and the answers that reached them."""

    sent: list[str] = field(default_factory=list)
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def n_answered(self) -> int:
        return len(self.accepted) + len(self.refused)


class Trader:
    """Signs and posts orders of the test's actors; every order has a seq of its own."""

    def __init__(self, url: str, manifest: Manifest, ledger: Ledger) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=10, trust_env=False)
        self._manifest = manifest
        self._ledger = ledger
        self._separator = exchange_domain(manifest.chain_id, manifest.get_address("clearinghouse")).separator()
        self._last_seq = 0

    async def close(self) -> None:
        await self._client.aclose()

    async def wait_until_ready(self) -> None:
        """Return when orders can be matched. Raises: httpx.HTTPError when the exchange dies meanwhile."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            response = await self._client.get("/readyz")
            accounts = [await self._client.get(f"/v1/accounts/{account_hex(actor.account)}") for actor in _ACTORS]
            if response.is_success and all(int(_collateral(answer)) > 0 for answer in accounts):
                return
            assert time.monotonic() < deadline, f"not ready: {response.text}"
            await asyncio.sleep(0.05)

    async def trade(self) -> None:
        """Quote on both sides of the mark and hit the quotes, several orders at once."""
        shown = await self._client.get("/v1/markets/AAPL")
        if not shown.is_success:
            raise httpx.ReadError("the exchange died under the request")
        mark_ticks = shown.json()["mark_ticks"]
        await asyncio.gather(
            self.place(MAKER, is_buy=True, limit_ticks=mark_ticks - 2, lane=1),
            self.place(MAKER, is_buy=False, limit_ticks=mark_ticks + 2, lane=2),
            self.place(MAKER, is_buy=False, limit_ticks=mark_ticks + 3, lane=3),
        )
        await asyncio.gather(
            self.place(TAKER, is_buy=True, limit_ticks=mark_ticks + 5, is_ioc=True),
            self.place(SECOND_TAKER, is_buy=False, limit_ticks=mark_ticks - 5, is_ioc=True),
        )

    async def place(self, actor: Actor, *, is_buy: bool, limit_ticks: int, lane: int = 0, is_ioc: bool = False) -> None:
        """Sign, post, write down. Raises: httpx.HTTPError when no answer came."""
        shown = await self._client.get("/v1/clock")
        if not shown.is_success:
            raise httpx.ReadError("the exchange died under the request")
        clock = shown.json()
        self._last_seq = max(self._last_seq + 1, clock["venue_time_ms"] - self._manifest.genesis_s * 1_000)
        order = Order(
            owner=actor.key.address,
            market_id=AAPL,
            is_buy=is_buy,
            size_lots=SIZE_LOTS,
            limit_ticks=limit_ticks,
            max_fee_ppm=1_000,
            expiry_s=EXPIRY_S,
            lane=lane,
            seq=self._last_seq,
            time_in_force=TimeInForce.IOC if is_ioc else TimeInForce.GTC,
        )
        order_id = digest(order, self._separator)
        r, vs = actor.key.sign(order_id)
        shown_id = "0x" + order_id.hex()
        self._ledger.sent.append(shown_id)
        response = await self._client.post(
            "/v1/orders",
            json={
                "order": {
                    "account": account_hex(actor.account),
                    "market": order.market_id,
                    "epoch": order.epoch,
                    "is_buy": order.is_buy,
                    "size_lots": order.size_lots,
                    "limit_ticks": order.limit_ticks,
                    "max_fee_ppm": order.max_fee_ppm,
                    "expiry_s": order.expiry_s,
                    "nonce": str(order.nonce),
                    "time_in_force": order.time_in_force.name,
                },
                "signature": "0x" + join_signature(r, vs).hex(),
            },
        )
        if not response.headers.get("content-type", "").startswith("application/json"):
            # The last word of a dying server is plain text, and no answer to the order.
            raise httpx.ReadError("the exchange died under the request")
        answer = response.json()
        if response.is_success:
            assert answer["order_id"] == shown_id
            self._ledger.accepted[shown_id] = answer
        elif "order_id" in answer["error"].get("details", {}):
            self._ledger.refused[shown_id] = answer["error"]["code"]
        else:
            # Not journalled: stopping, overloaded, or the sequencer died under the request.
            assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer


async def trade_until_death(
    exchange: ExchangeProcess, url: str, manifest: Manifest, ledger: Ledger, *, kill_after_ms: int | None = None
) -> None:
    """Trade until the process is gone; kill it oneself after a time, if one is given."""
    trader = Trader(url, manifest, ledger)
    deadline = time.monotonic() + 60
    try:
        with contextlib.suppress(httpx.HTTPError):
            await trader.wait_until_ready()
            if kill_after_ms is not None:
                asyncio.get_running_loop().call_later(kill_after_ms / 1_000, exchange.process.kill)
            while exchange.process.poll() is None:
                assert time.monotonic() < deadline, "the crash point was never reached"
                await trader.trade()
    finally:
        await trader.close()


_ACTORS: Final = (MAKER, TAKER, SECOND_TAKER)


def _collateral(answer: httpx.Response) -> str:
    return str(answer.json().get("collateral_quote", "0")) if answer.is_success else "0"
