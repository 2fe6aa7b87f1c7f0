"""Run anvil as a process of its own, its block times on the venue's clock, its state saved on request.

Block times. anvil gives a new block the machine's time plus an offset. Here every block is one second after its
parent unless `evm_setNextBlockTimestamp` named another time (the settler does, before each batch), so a chain in replay
lives in the year of its prices and no bound of a contract is loosened. After a start from saved state the clock has to
be told the last block's time again, or the first block jumps to the present.

State. `--state` rewrites its file in place, and a reader or a crash can find it torn; so the state is asked for over
RPC and written beside, then renamed. What was mined after the last save is lost when anvil itself is killed.

Must not: deploy, sign, or outlive the one who started it without being asked to: call `stop`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from afterbell.adapters.project import find_project_root
from afterbell.domain.errors import AfterbellError, Unavailable

LOCAL_CHAIN_ID: Final = 31337
HARDFORK: Final = "prague"
N_DEV_ACCOUNTS: Final = 10
_BLOCK_INTERVAL_S: Final = 1
_START_TIMEOUT_S: Final = 30
_STOP_TIMEOUT_S: Final = 15
_RPC_TIMEOUT_S: Final = 60
_BINARY: Final = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
_LISTENING: Final = "Listening on "


class AnvilMissing(AfterbellError):
    """No anvil binary where one is looked for."""


class AnvilFailed(Unavailable):
    """anvil ended, or did not answer, or refused a request it must carry out."""


class SavedStateUnreadable(AfterbellError):
    """The saved state is not what `save_state` writes."""


def find_anvil() -> Path:
    """Return the binary: $ANVIL, else the one npm installed into the checkout.

    Raises: AnvilMissing.
    """
    named = os.environ.get("ANVIL")
    path = Path(named) if named else find_project_root() / _BINARY
    if not os.access(path, os.X_OK):
        raise AnvilMissing(f"an executable anvil is required at {path}: run `make up`, or name another with $ANVIL")
    return path


class Anvil:
    """One running anvil. Use `start`; a context manager stops it without saving."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, state_path: Path | None) -> None:
        self._process = process
        self._state_path = state_path
        self._next_id = 1
        self.port = port

    @classmethod
    def start(
        cls,
        *,
        genesis_s: int,
        log_path: Path,
        state_path: Path | None = None,
        port: int = 0,
        chain_id: int = LOCAL_CHAIN_ID,
    ) -> Anvil:
        """Start anvil and return when it answers.

        genesis_s: time of block 0 of a new chain; a chain with saved state goes on from its last block instead.
        port: 0 takes a free one. state_path: read now if it exists, written by `save_state`.
        Raises: AnvilMissing, AnvilFailed, SavedStateUnreadable.
        """
        command = [str(find_anvil()), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id)]
        command += ["--hardfork", HARDFORK, "--accounts", str(N_DEV_ACCOUNTS), "--color", "never"]
        base_s = genesis_s
        if state_path is not None and state_path.exists():
            base_s = _read_last_block_time(state_path)
            command += ["--load-state", str(state_path)]
        command += ["--timestamp", str(base_s)]
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            begin = log.tell()
            # A session of its own: Ctrl-C reaches the supervisor alone, which stops the parts in order.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            anvil = cls(process, _must_find_port(process, log_path, begin), state_path)
            anvil.call("anvil_setBlockTimestampInterval", _BLOCK_INTERVAL_S)
            # Requests are its log otherwise, several a second.
            anvil.call("anvil_setLoggingEnabled", False)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return anvil

    @property
    def url(self) -> str:
        """Return the RPC address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self._process.poll() is None

    def call(self, method: str, *parameters: object) -> object:
        """Make one RPC request and return its result.

        Raises: AnvilFailed.
        """
        body = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": parameters}
        self._next_id += 1
        request = urllib.request.Request(
            self.url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}
        )
        # A proxy of the environment must not be asked for a loopback address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_RPC_TIMEOUT_S) as response:
                answer = json.load(response)
        except (OSError, urllib.error.URLError, json.JSONDecodeError) as error:
            raise AnvilFailed(f"{method}: no answer from anvil at {self.url}: {error}") from error
        if "error" in answer:
            raise AnvilFailed(f"{method}: {answer['error']}")
        return answer.get("result")

    def save_state(self) -> None:
        """Write the chain's state to the state file, whole or not at all.

        Raises: AnvilFailed; ValueError without a state file.
        """
        if self._state_path is None:
            raise ValueError("anvil was started without a state file")
        dump = self.call("anvil_dumpState")
        if not isinstance(dump, str):
            raise AnvilFailed(f"anvil_dumpState: hexadecimal text is required, found {type(dump).__name__}")
        partial = self._state_path.with_suffix(".partial")
        self._state_path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(_without_traces(gzip.decompress(bytes.fromhex(dump[2:]))))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._state_path)

    def stop(self, *, is_saving: bool = False) -> None:
        """End the process, after saving its state if asked to. Does nothing when it has ended.

        Raises: AnvilFailed when the state could not be saved; the process is ended all the same.
        """
        try:
            if is_saving and self.is_running:
                self.save_state()
        finally:
            if self.is_running:
                self._process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STOP_TIMEOUT_S)
            if self.is_running:
                self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End the process as a crash would."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _must_find_port(process: subprocess.Popen[bytes], log_path: Path, begin: int) -> int:
    """Wait for anvil to say where it listens; the log is the only place that names a port it chose itself."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        with log_path.open("rb") as log:
            log.seek(begin)
            said = log.read().decode("utf-8", "replace")
        address = said.partition(_LISTENING)[2]
        if "\n" in address:
            return int(address.split("\n", 1)[0].rpartition(":")[2])
        if process.poll() is not None:
            last = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise AnvilFailed(f"anvil ended with status {process.returncode}: {last[0]}; its log is {log_path}")
        if time.monotonic() > deadline:
            raise AnvilFailed(f"anvil did not listen within {_START_TIMEOUT_S} s; its log is {log_path}")
        time.sleep(0.01)


def _read_last_block_time(state_path: Path) -> int:
    try:
        return int(json.loads(state_path.read_bytes())["block"]["timestamp"], 16)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SavedStateUnreadable(
            f"{state_path} must hold the state of a stopped chain: {error!r}; remove the data folder to begin anew"
        ) from error


def _without_traces(state: bytes) -> bytes:
    """Drop the call traces of past transactions: nobody reads them, and they are nine tenths of a long-lived state."""
    document = json.loads(state)
    for transaction in document.get("transactions", ()):
        transaction["info"]["traces"] = []
    return json.dumps(document, separators=(",", ":")).encode()
