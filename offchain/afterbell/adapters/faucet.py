"""Give test USDC and gas to anybody who asks, on a local chain.

Its own key, funded by anvil's word, so that it never meets the sequencer's nonces. One grant at a time. Must not: exist
on a chain with real money; bootstrap builds it for the local chain id alone, where the token has an open mint.
"""

from __future__ import annotations

import asyncio
from typing import Final

from afterbell.adapters.web3_chain import Web3Chain
from afterbell.domain.hashing import keccak
from afterbell.gateway.services import FaucetGrant
from afterbell.ports import ChainUnavailable
from afterbell.settlement.sender import NonceConsumed, TransactionSender

GRANT_QUOTE: Final = 100_000 * 10**6
"""100,000 test USDC."""
GRANT_WEI: Final = 10**18
_OWN_FUNDS_WEI: Final = 10**27
_MINT_SELECTOR: Final = keccak(b"mint(address,uint256)")[:4]
_MINT_GAS: Final = 120_000
_TRANSFER_GAS: Final = 60_000


class LocalFaucet:
    """Implements gateway.services.Faucet."""

    def __init__(self, *, chain: Web3Chain, private_key: bytes, chain_id: int, token: bytes) -> None:
        self._chain = chain
        self._sender = TransactionSender(chain=chain, private_key=private_key, chain_id=chain_id)
        self._token = token
        self._turn = asyncio.Lock()
        self._is_funded = False

    async def __call__(self, address: bytes) -> FaucetGrant:
        """Mint and send. Raises: ChainUnavailable."""
        async with self._turn:
            if not self._is_funded:
                await self._chain.set_balance(self._sender.address, _OWN_FUNDS_WEI)
                await self._sender.reconcile_nonce()
                self._is_funded = True
            mint = _MINT_SELECTOR + address.rjust(32, b"\0") + GRANT_QUOTE.to_bytes(32, "big")
            try:
                flights = [
                    await self._sender.launch(to=self._token, calldata=mint, gas=_MINT_GAS),
                    await self._sender.launch(to=address, calldata=b"", gas=_TRANSFER_GAS, value_wei=GRANT_WEI),
                ]
                receipts = [await self._sender.land(flight) for flight in flights]
            except NonceConsumed as error:
                self._is_funded = False
                raise ChainUnavailable(f"the faucet lost its place in the queue; ask again: {error}") from error
        if not all(receipt.is_success for receipt in receipts):
            raise ChainUnavailable("the chain refused the grant: the token has no open mint or the address no receiver")
        return FaucetGrant(
            usdc_quote=GRANT_QUOTE,
            gas_wei=GRANT_WEI,
            transactions=tuple(receipt.transaction for receipt in receipts),
        )
