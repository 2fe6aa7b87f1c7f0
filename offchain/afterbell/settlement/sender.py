"""Own one key and its nonces: sign, hand in, follow, replace. One writer per key.

    nonce        counted here; read from the node's pending count at start and after a loss, never guessed
    identity     a transaction's hash is known before it is sent, so a lost answer is no question: ask for its receipt
    replacement  same nonce, fees + 12.5 %; at most one of the replacements can ever be mined

Must not: know what it sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import structlog
from eth_account import Account
from eth_account.signers.local import LocalAccount

from afterbell.domain.errors import Faulted, Unavailable
from afterbell.domain.units import div_up
from afterbell.ports import Chain, ChainUnavailable, Receipt, TransactionRefused
from afterbell.waiting import sleep_ms

_log = structlog.get_logger(__name__)

PRIORITY_FEE_WEI: Final = 1_000_000_000
_REPLACEMENT_PERMILLE: Final = 1_130
"""A little above the 12.5 % that nodes ask of a replacement."""
_FIRST_POLL_MS: Final = 4
_LONGEST_POLL_MS: Final = 250
_ALREADY_KNOWN: Final = ("already known", "already imported", "known transaction")
_FEE_TOO_LOW: Final = ("underpriced", "less than block base fee", "fee too low", "max fee per gas", "fee cap less")


class NonceConsumed(Unavailable):
    """Another transaction took the nonce, or ours was dropped: the caller looks at the chain and decides."""


@dataclass(slots=True, kw_only=True)
class Flight:
    """A transaction on its way: one nonce, one or more signed versions of it."""

    to: bytes
    calldata: bytes
    value_wei: int
    gas: int
    nonce: int
    max_fee_wei: int
    priority_fee_wei: int
    raw: bytes = b""
    hashes: list[bytes] = field(default_factory=list)


class TransactionSender:
    """Send transactions of one key, in nonce order."""

    def __init__(self, *, chain: Chain, private_key: bytes, chain_id: int, receipt_timeout_ms: int = 5_000) -> None:
        self._chain = chain
        self._account: LocalAccount = Account.from_key(private_key)
        self._chain_id = chain_id
        self._receipt_timeout_ms = receipt_timeout_ms
        self._nonce: int | None = None
        self.address: bytes = bytes.fromhex(self._account.address[2:])

    async def reconcile_nonce(self) -> None:
        """Take the next nonce from the node; call before the first flight and after flights were given up."""
        self._nonce = await self._chain.count_transactions(self.address, pending=True)

    async def launch(self, *, to: bytes, calldata: bytes, gas: int, value_wei: int = 0) -> Flight:
        """Sign with the next nonce and hand in. Raises: ChainUnavailable, NonceConsumed, Faulted.

        When the node does not answer, the flight keeps its nonce and handing in is repeated until it does: the same
        bytes, so that nothing can happen twice.
        """
        if self._nonce is None:
            await self.reconcile_nonce()
        block = await self._chain.get_block()
        assert self._nonce is not None  # set just above
        flight = Flight(
            to=to,
            calldata=calldata,
            value_wei=value_wei,
            gas=gas,
            nonce=self._nonce,
            # Twice the base fee outlives six full blocks at the protocol's fastest rise.
            max_fee_wei=2 * block.base_fee_wei + PRIORITY_FEE_WEI,
            priority_fee_wei=PRIORITY_FEE_WEI,
        )
        self._sign(flight)
        self._nonce += 1
        await self._hand_in(flight)
        return flight

    async def land(self, flight: Flight) -> Receipt:
        """Wait until some version of the flight is mined; hand in again and raise fees while it is not.

        Raises: NonceConsumed, Faulted. Lost answers are waited out here.
        """
        n_rounds = 0
        while True:
            receipt = await self._poll(flight)
            if receipt is not None:
                return receipt
            n_rounds += 1
            _log.warning(
                "transaction.delayed", transaction=flight.hashes[-1].hex(), nonce=flight.nonce, n_rounds=n_rounds
            )
            try:
                if await self._chain.count_transactions(self.address, pending=False) > flight.nonce:
                    # Mined between the last look and now, or the nonce went to somebody else.
                    receipt = await self._find_receipt(flight)
                    if receipt is not None:
                        return receipt
                    raise NonceConsumed(f"nonce {flight.nonce} was used by a transaction we do not know")
                if await self._chain.count_transactions(self.address, pending=True) < flight.nonce:
                    self._nonce = None
                    raise NonceConsumed(f"the chain took transactions back: nonce {flight.nonce} waits behind a gap")
                if n_rounds % 2 == 0:
                    self._raise_fees(flight)
                await self._hand_in(flight)
            except ChainUnavailable as error:
                _log.warning("chain.unavailable", reason=str(error))

    # -------------------------------------------------------------- internals

    def _sign(self, flight: Flight) -> None:
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": self._chain_id,
                "nonce": flight.nonce,
                "to": flight.to,
                "value": flight.value_wei,
                "gas": flight.gas,
                "maxFeePerGas": flight.max_fee_wei,
                "maxPriorityFeePerGas": flight.priority_fee_wei,
                "data": flight.calldata,
            }
        )
        flight.raw = bytes(signed.raw_transaction)
        flight.hashes.append(bytes(signed.hash))

    def _raise_fees(self, flight: Flight) -> None:
        flight.max_fee_wei = div_up(flight.max_fee_wei * _REPLACEMENT_PERMILLE, 1_000)
        flight.priority_fee_wei = div_up(flight.priority_fee_wei * _REPLACEMENT_PERMILLE, 1_000)
        self._sign(flight)

    async def _hand_in(self, flight: Flight) -> None:
        """Hand in the newest version until the node answers; harmless to repeat, the bytes are the same."""
        delay_ms = _FIRST_POLL_MS
        while True:
            try:
                if await self._offer(flight):
                    return
            except ChainUnavailable as error:
                _log.warning("chain.unavailable", reason=str(error), nonce=flight.nonce)
                delay_ms = min(2 * delay_ms, 8 * _LONGEST_POLL_MS)
                await sleep_ms(delay_ms)

    async def _offer(self, flight: Flight) -> bool:
        """Hand in once; True when the node has it, False when it was priced anew. Raises: NonceConsumed, Faulted."""
        try:
            await self._chain.send_raw_transaction(flight.raw)
        except TransactionRefused as error:
            if any(text in error.reason for text in _ALREADY_KNOWN):
                return True
            if "nonce too low" in error.reason:
                if await self._find_receipt(flight) is not None:
                    return True  # it was mined and the answer was lost
                self._nonce = None
                raise NonceConsumed(f"nonce {flight.nonce} is used up and not by this transaction") from error
            if any(text in error.reason for text in _FEE_TOO_LOW):
                block = await self._chain.get_block()
                flight.max_fee_wei = max(flight.max_fee_wei, 2 * block.base_fee_wei + flight.priority_fee_wei)
                self._raise_fees(flight)
                _log.warning("transaction.repriced", nonce=flight.nonce, max_fee_wei=flight.max_fee_wei)
                return False
            self._nonce = None
            raise Faulted(
                f"the node refuses our transaction with nonce {flight.nonce}: {error.reason}; "
                f"look at the funds and the nonce of 0x{self.address.hex()}"
            ) from error
        return True

    async def _poll(self, flight: Flight) -> Receipt | None:
        """Look for a receipt until the timeout; a node that does not answer is the same as no receipt yet."""
        delay_ms, waited_ms = _FIRST_POLL_MS, 0
        while True:
            try:
                receipt = await self._find_receipt(flight)
            except ChainUnavailable as error:
                _log.warning("chain.unavailable", reason=str(error), nonce=flight.nonce)
                receipt = None
            if receipt is not None:
                return receipt
            if waited_ms >= self._receipt_timeout_ms:
                return None
            await sleep_ms(delay_ms)
            waited_ms += delay_ms
            delay_ms = min(2 * delay_ms, _LONGEST_POLL_MS)

    async def _find_receipt(self, flight: Flight) -> Receipt | None:
        for transaction in reversed(flight.hashes):
            receipt = await self._chain.get_receipt(transaction)
            if receipt is not None:
                return receipt
        return None
