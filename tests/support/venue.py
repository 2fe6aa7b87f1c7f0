"""A real local venue for tests: anvil with the deployed contracts, funded accounts, publishers on real history.

Deployed once per test session and taken back with evm_revert, so that every test starts from the same chain: contracts,
a maker and two takers with collateral, no batch yet.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvicorn
from eth_account import Account
from starlette.applications import Starlette

from afterbell.adapters.anvil import Anvil, AnvilFailed
from afterbell.adapters.deployment import KeySender, connect, deploy
from afterbell.adapters.deployment_plan import Roles, find_local_plan, read_plan
from afterbell.adapters.history import read_bundled_bars, write_replay_settings
from afterbell.adapters.keys import read_key, read_or_create_key
from afterbell.adapters.publishers import LastTimeFile, build_publisher_app
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import build_account_id
from afterbell.domain.manifest import Manifest
from afterbell.keepers.history import DEFAULT_START, PriceHistory
from afterbell.keepers.publisher import Publisher
from afterbell.settlement.calldata import build_settle_calldata
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import price_domain

DEPOSIT_QUOTE: Final = 50_000 * 10**6
N_DAYS: Final = 20
GENESIS_S: Final = 1_109_600_000
"""2005-02-28, the day before the history starts."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody with a key and an account."""

    name: str
    key: SigningKey

    @property
    def account(self) -> int:
        return build_account_id(self.key.address, 0)


def build_actor(name: str) -> Actor:
    return Actor(name, SigningKey(keccak(b"test actor " + name.encode())))


MAKER, TAKER, SECOND_TAKER = build_actor("maker"), build_actor("taker"), build_actor("second taker")
ACTORS: Final = (MAKER, TAKER, SECOND_TAKER)


@dataclass(slots=True)
class Venue:
    """One chain with everything deployed."""

    anvil: Anvil
    root: Path
    manifest: Manifest
    history: PriceHistory
    snapshot: object = None
    n_listed: int = 0
    """Direct operations of the listing: margin tiers. Those of a test come after."""
    n_folders: int = field(default=0)

    def rewind(self) -> None:
        """Put the chain back to where it was after deployment and deposits."""
        if self.snapshot is not None:
            self.anvil.call("evm_revert", self.snapshot)
        self.snapshot = self.anvil.call("evm_snapshot")

    def make_data_dir(self) -> Path:
        """Return a fresh data directory of this deployment: manifest, keys, history; no journal."""
        self.n_folders += 1
        folder = self.root / f"run-{self.n_folders}"
        shutil.copytree(self.root / "template", folder)
        return folder

    def transact(self, actor: Actor, to: bytes, calldata: bytes) -> None:
        """Mine a transaction of an actor."""
        self._transact_from("0x" + actor.key.address.hex(), to, calldata)

    def _transact_from(self, sender: str, to: bytes, calldata: bytes) -> None:
        self.anvil.call("anvil_setBalance", sender, hex(10**22))
        transaction = self.anvil.call(
            "eth_sendTransaction",
            {"from": sender, "to": "0x" + to.hex(), "data": "0x" + calldata.hex(), "gas": hex(1_000_000)},
        )
        deadline = time.monotonic() + 10
        while (receipt := self.anvil.call("eth_getTransactionReceipt", transaction)) is None:
            assert time.monotonic() < deadline, "not mined"
            time.sleep(0.005)
        assert isinstance(receipt, dict) and receipt["status"] == "0x1", receipt

    def deposit(self, actor: Actor, quote: int = DEPOSIT_QUOTE) -> None:
        """Mint, approve, deposit."""
        sender = "0x" + actor.key.address.hex()
        self.anvil.call("anvil_impersonateAccount", sender)
        token, vault = self.manifest.get_address("token"), self.manifest.get_address("vault")
        owner, spender = int.from_bytes(actor.key.address, "big"), int.from_bytes(vault, "big")
        self.transact(actor, token, build_call("mint(address,uint256)", owner, quote))
        self.transact(actor, token, build_call("approve(address,uint256)", spender, quote))
        self.transact(actor, vault, build_call("deposit(address,uint80,uint256)", owner, 0, quote))
        self.anvil.call("anvil_stopImpersonatingAccount", sender)

    def claim(self, caller: Actor, recipient: Actor) -> None:
        """Let anybody have a recipient's claim paid."""
        sender = "0x" + caller.key.address.hex()
        self.anvil.call("anvil_impersonateAccount", sender)
        owner = int.from_bytes(recipient.key.address, "big")
        self.transact(caller, self.manifest.get_address("vault"), build_call("claim(address)", owner))
        self.anvil.call("anvil_stopImpersonatingAccount", sender)

    def count_direct(self) -> int:
        """Return how many direct operations the chain has counted."""
        clearinghouse = "0x" + self.manifest.get_address("clearinghouse").hex()
        call = {"to": clearinghouse, "data": "0x" + build_call("operator_word()").hex()}
        return int(str(self.anvil.call("eth_call", call, "latest")), 16) >> 160 & (1 << 40) - 1

    def read_batch(self) -> tuple[int, int, bytes]:
        """Return (sequence, matched_at_s, head) of the last batch on chain."""
        clearinghouse = "0x" + self.manifest.get_address("clearinghouse").hex()
        word, head = (
            self.anvil.call("eth_call", {"to": clearinghouse, "data": "0x" + build_call(view).hex()}, "latest")
            for view in ("batch_word()", "head()")
        )
        number = int(str(word), 16)
        return number & (1 << 40) - 1, number >> 40 & (1 << 40) - 1, bytes.fromhex(str(head)[2:])

    def settle_as_rival(self, previous_head: bytes, payload: bytes, matched_at_s: int) -> None:
        """Settle a batch with the sequencer's key, as a second sequencer would."""
        self.anvil.call("anvil_impersonateAccount", self.manifest.sequencer)
        with contextlib.suppress(AnvilFailed):  # the chain may be past this second already
            self.anvil.call("evm_setNextBlockTimestamp", matched_at_s)
        calldata = build_settle_calldata(previous_head, payload)
        self._transact_from(self.manifest.sequencer, self.manifest.get_address("clearinghouse"), calldata)

    def build_publishers(self, data_dir: Path) -> list[Publisher]:
        """Return the publishers with their real code, keys and reading of the history."""
        domain = price_domain(self.manifest.chain_id, self.manifest.get_address("signed_price_source"))
        return [
            Publisher(
                # One reading for all: building it takes a second, and that readings agree is tested elsewhere.
                history=self.history,
                market_ids={market.symbol: market.market_id for market in self.manifest.markets},
                key=SigningKey(read_key(path)),
                domain=domain,
                last_time=LastTimeFile(data_dir / f"{path.stem}.last"),
            )
            for path in sorted((data_dir / "keys").glob("publisher*"))
        ]


def build_call(signature: str, *arguments: int) -> bytes:
    """Return calldata of a function whose arguments are single words."""
    return keccak(signature.encode())[:4] + b"".join(argument.to_bytes(32, "big") for argument in arguments)


@contextmanager
def open_venue(root: Path) -> Iterator[Venue]:
    """Start the chain, deploy, fund, and stop it in the end."""
    template = root / "template"
    template.mkdir(parents=True)
    with Anvil.start(genesis_s=GENESIS_S, log_path=root / "anvil.log") as anvil:
        manifest = _deploy(anvil, template)
        history = _write_short_history(root / "bars", template, [market.symbol for market in manifest.markets])
        venue = Venue(anvil, root, manifest, history)
        venue.n_listed = venue.count_direct()
        for actor in ACTORS:
            venue.deposit(actor)
        venue.rewind()
        yield venue


def _write_short_history(folder: Path, data_dir: Path, symbols: Sequence[str]) -> PriceHistory:
    """Set a replay up on the first weeks of the real bars: every process of a test reads it at its start."""
    folder.mkdir()
    bundled = read_bundled_bars()
    files = {}
    for symbol in symbols:
        bars = bundled.get(symbol, bundled["IBM"]).bars
        lines = [
            f"{bar.day},{_format_e8(bar.open_e8)},{_format_e8(bar.high_e8)},{_format_e8(bar.low_e8)},"
            f"{_format_e8(bar.close_e8)}"
            for bar in bars
            if bar.day >= DEFAULT_START
        ]
        files[symbol] = folder / f"{symbol}.csv"
        files[symbol].write_text("Date,Open,High,Low,Close\n" + "\n".join(lines[:N_DAYS]) + "\n")
    return write_replay_settings(data_dir, symbols, files=files)


def _format_e8(price_e8: int) -> str:
    whole, rest = divmod(price_e8, 10**8)
    return f"{whole}.{rest:08d}"


def _deploy(anvil: Anvil, template: Path) -> Manifest:
    """Deploy the plan of `make up` with keys made here."""
    keys = template / "keys"
    names = ("sequencer", "governor", "announcer", "guardian", "standby", "publisher-1", "publisher-2", "publisher-3")
    sequencer, governor, announcer, guardian, standby, *publishers = (
        SigningKey(read_or_create_key(keys / f"{name}.key")).address for name in names
    )
    roles = Roles(
        sequencer=sequencer, publishers=tuple(publishers), proposers=(governor,), executors=(governor,),
        announcer=announcer, guardian=guardian, standbys=(standby,),
    )  # fmt: skip
    plan = read_plan(find_local_plan(), roles=roles)
    deployer = Account.from_key(read_or_create_key(keys / "deployer.key"))
    for address in (
        deployer.address,
        *("0x" + one.hex() for one in (sequencer, governor, announcer, guardian, standby)),
    ):
        anvil.call("anvil_setBalance", address, hex(10**24))
    web3 = connect(anvil.url)
    return deploy(web3, KeySender(web3, deployer), plan, manifest_path=template / "manifest.json").manifest


@contextmanager
def serve_apps(apps: Sequence[Starlette]) -> Iterator[list[str]]:
    """Serve ASGI applications on free ports, each in a thread; yield their addresses."""
    servers = [
        uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off"))
        for app in apps
    ]
    threads = [threading.Thread(target=server.run, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        addresses = []
        for server in servers:
            while not server.started:
                threading.Event().wait(0.01)
            addresses.append(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        yield addresses
    finally:
        for server in servers:
            server.should_exit = True
        for thread in threads:
            thread.join(10)


@contextmanager
def serve_publishers(venue: Venue, data_dir: Path) -> Iterator[list[str]]:
    """Serve the publishers of a data directory over HTTP."""
    with serve_apps([build_publisher_app(publisher) for publisher in venue.build_publishers(data_dir)]) as addresses:
        yield addresses
