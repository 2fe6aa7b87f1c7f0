"""Ports: what the services need from the outside, as Protocols. Adapters implement them; bootstrap wires them.

Imports domain only. Nothing here does anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import Command
from afterbell.domain.errors import AfterbellError, Rejected, Unavailable
from afterbell.domain.events import Event


class Clock(Protocol):
    """The one venue clock."""

    def now_ms(self) -> int:
        """Return venue time, milliseconds since the UNIX epoch; never decreases."""


class Frame(Protocol):
    """One journal frame."""

    @property
    def sequence(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def command(self) -> Command: ...
    @property
    def hash(self) -> bytes: ...


class Journal(Protocol):
    """Hash-chained, durable, single-writer log of commands (offchain/README.md, Journal)."""

    @property
    def genesis_hash(self) -> bytes:
        """Hash 0, which ties the journal to one instance."""

    @property
    def head_hash(self) -> bytes: ...
    @property
    def next_sequence(self) -> int: ...
    def append(self, commands: Sequence[tuple[int, Command]]) -> Sequence[Frame]:
        """Write (time_ms, command) frames to the file; not durable before `sync`."""

    def sync(self) -> None:
        """Make everything appended durable; any error is final: the process must stop."""

    def read(self) -> Iterator[Frame]:
        """Yield all frames from the first, checking length, crc, sequence and hash."""


class EventSink(Protocol):
    """Receives applied frames with their events, in order, after they are durable."""

    def publish(self, frame: Frame, events: Sequence[Event]) -> None: ...


class CommandSubmitter(Protocol):
    """The way every part hands a command to the single writer."""

    async def submit(self, command: Command) -> tuple[Frame, list[Event]]:
        """Return the command's frame and events once it is durable and applied."""


# The chain. Addresses are 20 bytes, hashes 32; `block` None means the latest.


class ChainUnavailable(Unavailable):
    """The node did not answer, or not in time; the request may or may not have been carried out."""


class TransactionRefused(AfterbellError):
    """The node answered and refused a transaction; `reason` is its text in lower case."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the node refused the transaction: {reason}")
        self.reason = reason.lower()


class CallReverted(AfterbellError):
    """A call reverted; `reason` is the revert string, empty if there was none."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"call reverted: {reason or 'no reason given'}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block header."""

    number: int
    hash: bytes
    parent_hash: bytes
    time_s: int
    base_fee_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLog:
    """One log of a mined transaction."""

    address: bytes
    topics: tuple[bytes, ...]
    payload: bytes
    block: int
    block_hash: bytes
    transaction: bytes
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a mined transaction."""

    transaction: bytes
    block: int
    block_hash: bytes
    is_success: bool
    gas_used: int
    logs: tuple[ChainLog, ...]


class Chain(Protocol):
    """A node. Every method raises ChainUnavailable when the node does not answer; callers own the retry policy."""

    async def get_block(self, number: int | None = None) -> Block: ...

    async def call(self, to: bytes, calldata: bytes, block: int | None = None, *, sender: bytes | None = None) -> bytes:
        """Return what a call returns, without a transaction. Raises: CallReverted."""

    async def call_many(self, calls: Sequence[tuple[bytes, bytes]], block: int | None = None) -> list[bytes]:
        """Run many views in one request, in order. Raises: CallReverted."""

    async def get_logs(
        self, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]], from_block: int, to_block: int
    ) -> list[ChainLog]:
        """Return logs in chain order; `topics` per position, an empty position matches anything."""

    async def get_receipt(self, transaction: bytes) -> Receipt | None: ...

    async def count_transactions(self, address: bytes, *, pending: bool) -> int:
        """Return the next nonce of an address, with or without what waits in the pool."""

    async def send_raw_transaction(self, raw: bytes) -> None:
        """Hand in a signed transaction. Raises: TransactionRefused, ChainUnavailable (then it may be in the pool)."""


class ChainTime(Protocol):
    """Sets the local chain's clock in replay; absent on a chain that has its own time."""

    async def set_next_block_time(self, time_s: int) -> None:
        """Give the next block this timestamp. Raises: TransactionRefused when the chain is already past it."""

    async def mine_block(self, time_s: int) -> None:
        """Mine a block at this time, or later if others were mined meanwhile."""


# What the gateway asks of the chain for a client.


class ApprovalReader(Protocol):
    """Reads digests that owners approved on chain (contracts/README.md, Direct operations)."""

    async def is_approved(self, owner: bytes, digest: bytes) -> bool:
        """Return Operations.is_approved(owner, digest) of the latest block. Raises: ChainUnavailable."""


class RelayRefused(Rejected):
    """The relayer sent nothing, because the chain would refuse it; the fields go to the client as they are.

    reason: NOTHING_TO_CLAIM, TOKEN_REFUSED (the token or the vault reverts: `found` has its words), BAD_SIGNATURE,
    NONCE_CONSUMED (the authorization was used or cancelled) or EXPIRED.
    """

    def __init__(self, reason: RejectReason, message: str, *, required: str, found: str, action: str) -> None:
        super().__init__(reason, message)
        self.required = required
        self.found = found
        self.action = action


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositAuthorization:
    """A deposit signed as EIP-3009 ReceiveWithAuthorization (contracts/README.md, Deposits); nobody else may fill it.

    sender, owner and key are 20 bytes (key zero: none), salt, r and s 32; limits are bits 0-137 of a session key word.
    """

    sender: bytes
    owner: bytes
    subaccount: int
    quote: int
    valid_after_s: int
    valid_before_s: int
    salt: bytes
    key: bytes
    limits: int
    v: int
    r: bytes
    s: bytes


class Relayer(Protocol):
    """Sends what anybody may send, and pays its gas. Returns as soon as the node has taken the transaction.

    Both methods raise RelayRefused when a trial run of the call reverts, ChainUnavailable when the node does not
    answer (then the transaction may be on its way; asking again is harmless).
    """

    async def claim(self, recipient: bytes) -> bytes:
        """Send Vault.claim(recipient); return the transaction's hash."""

    async def deposit_with_authorization(self, authorization: DepositAuthorization) -> bytes:
        """Send Vault.deposit_with_authorization(...); return the transaction's hash."""
