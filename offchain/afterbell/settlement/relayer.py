"""Send for others what anybody may send: claims and signed deposits, with a key of its own that holds nothing but gas.

    trial run -> refused in words, or handed in at once; the same request again while it is under way gets the same hash

A claim pays its recipient and nobody else, an authorization names account and key: whoever carries them cannot change
them, so a relayer needs no trust and holds no money. Must not: share the sequencer's key, whose nonces are the
settler's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

import structlog

from afterbell.domain.codes import RejectReason
from afterbell.domain.errors import Faulted
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import ZERO_ADDRESS
from afterbell.ports import CallReverted, Chain, ChainUnavailable, DepositAuthorization, RelayRefused
from afterbell.settlement.sender import Flight, NonceConsumed, TransactionSender

_log = structlog.get_logger(__name__)

CLAIM_SELECTOR: Final = keccak(b"claim(address)")[:4]
DEPOSIT_SELECTOR: Final = keccak(
    b"deposit_with_authorization(address,address,uint80,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32,"
    b"address,uint256)"
)[:4]
_CLAIM_GAS: Final = 250_000
_DEPOSIT_GAS: Final = 450_000
"""Room for a proxy token; the local one needs less than half."""
_WORD: Final = 32


class TransactionRelayer:
    """Implements ports.Relayer."""

    def __init__(
        self,
        *,
        chain: Chain,
        sender: TransactionSender,
        vault: bytes,
        fund: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        """Take a sender whose key nobody else uses. fund: gives its address gas, on a local chain."""
        self._chain = chain
        self._sender = sender
        self._vault = vault
        self._fund = fund
        self._turn = asyncio.Lock()
        self._under_way: dict[Hashable, bytes] = {}
        self._landings: set[asyncio.Task[None]] = set()

    @property
    def n_under_way(self) -> int:
        """Count transactions handed in and not mined yet."""
        return len(self._landings)

    async def claim(self, recipient: bytes) -> bytes:
        """Send Vault.claim(recipient); return the transaction's hash. Raises: RelayRefused, ChainUnavailable."""
        return await self._relay(("claim", recipient), CLAIM_SELECTOR + recipient.rjust(_WORD, b"\0"), _CLAIM_GAS)

    async def deposit_with_authorization(self, authorization: DepositAuthorization) -> bytes:
        """Send a signed deposit; return the transaction's hash. Raises: RelayRefused, ChainUnavailable."""
        numbers = (
            int.from_bytes(authorization.sender, "big"),
            int.from_bytes(authorization.owner, "big"),
            authorization.subaccount,
            authorization.quote,
            authorization.valid_after_s,
            authorization.valid_before_s,
            int.from_bytes(authorization.salt, "big"),
            authorization.v,
            int.from_bytes(authorization.r, "big"),
            int.from_bytes(authorization.s, "big"),
            int.from_bytes(authorization.key or ZERO_ADDRESS, "big"),
            authorization.limits,
        )
        calldata = DEPOSIT_SELECTOR + b"".join(number.to_bytes(_WORD, "big") for number in numbers)
        return await self._relay(("deposit", calldata), calldata, _DEPOSIT_GAS)

    async def wait_until_mined(self) -> None:
        """Return when nothing handed in so far is under way any more."""
        await asyncio.gather(*self._landings, return_exceptions=True)

    async def stop(self) -> None:
        """Stop following what is under way; the chain has it."""
        for landing in self._landings:
            landing.cancel()
        await asyncio.gather(*self._landings, return_exceptions=True)

    # -------------------------------------------------------------- internals

    async def _relay(self, name: Hashable, calldata: bytes, gas: int) -> bytes:
        async with self._turn:
            found = self._under_way.get(name)
            if found is not None:
                return found
            try:
                await self._chain.call(self._vault, calldata, sender=self._sender.address)
            except CallReverted as error:
                raise _refuse(error.reason) from error
            try:
                if self._fund is not None:
                    await self._fund(self._sender.address)
                flight = await self._sender.launch(to=self._vault, calldata=calldata, gas=gas)
            except NonceConsumed as error:
                raise ChainUnavailable(f"the relayer lost its place in the queue; ask again: {error}") from error
            except Faulted as error:
                raise ChainUnavailable(f"the relayer cannot send: {error}") from error
            self._under_way[name] = flight.hashes[0]
            landing = asyncio.create_task(self._land(name, flight), name="relayed transaction")
            self._landings.add(landing)
            landing.add_done_callback(self._landings.discard)
            return flight.hashes[0]

    async def _land(self, name: Hashable, flight: Flight) -> None:
        try:
            receipt = await self._sender.land(flight)
        except (NonceConsumed, Faulted) as error:
            _log.warning("relayed.lost", transaction=flight.hashes[-1].hex(), reason=str(error))
        else:
            _log.info(
                "relayed.mined",
                transaction=receipt.transaction.hex(),
                block=receipt.block,
                is_success=receipt.is_success,
                gas_used=receipt.gas_used,
            )
        finally:
            self._under_way.pop(name, None)


_VALID: Final = "an authorization that is valid by the chain's clock"
_WORDS: Final[tuple[tuple[str, RejectReason, str, str], ...]] = (
    # what the revert says, reason, required, action
    (
        "claim: nothing",
        RejectReason.NOTHING_TO_CLAIM,
        "a withdrawal that is mined and not paid yet",
        "look at the withdrawal's life (GET /v1/withdrawals/{id})",
    ),
    ("expired", RejectReason.EXPIRED, _VALID, "sign a new one by the venue clock"),
    ("not valid yet", RejectReason.EXPIRED, _VALID, "wait, or sign anew"),
    ("not yet valid", RejectReason.EXPIRED, _VALID, "wait, or sign anew"),
    ("authorization", RejectReason.NONCE_CONSUMED, "an authorization not used or cancelled before", "sign a new salt"),
    (
        "signature",
        RejectReason.BAD_SIGNATURE,
        "the sender's signature over exactly these fields",
        "sign for this token, vault and account; the nonce is keccak(abi_encode(account_id, key, limits, salt))",
    ),
)


def _refuse(found: str) -> RelayRefused:
    for text, reason, required, action in _WORDS:
        if text in found.lower():
            return RelayRefused(reason, "the chain would refuse this", required=required, found=found, action=action)
    return RelayRefused(
        RejectReason.TOKEN_REFUSED,
        "the token or the vault would refuse this",
        required="a transfer the token carries out",
        found=found or "a revert without a reason",
        action="look at balance, pause and blacklist of the token; nothing was sent and nothing is lost",
    )
