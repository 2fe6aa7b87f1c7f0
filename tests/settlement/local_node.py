"""A bare anvil for tests that need a node and no contracts: a free port, gone with the test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNDED_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""The first account of the mnemonic every anvil starts with; public knowledge."""
CHAIN_ID = 31_337


def find_anvil() -> str:
    """Return the anvil of the checkout, or of the machine."""
    local = ROOT / "node_modules" / ".bin" / "anvil"
    return str(local) if local.exists() else str(shutil.which("anvil"))


@contextmanager
def run_bare_anvil(*arguments: str) -> Iterator[str]:
    """Yield the address of a fresh node."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [find_anvil(), "--port", str(port), "--chain-id", str(CHAIN_ID), "--silent", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
                urllib.request.urlopen(
                    urllib.request.Request(url, body, {"content-type": "application/json"}), timeout=1
                ).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)
