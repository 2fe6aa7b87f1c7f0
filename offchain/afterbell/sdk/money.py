"""Money: deposits in every way the vault takes, claims, the wallet's balance.

Must not: sign anything of the exchange; operations.py does.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any, Final, Literal, TypeAlias

import msgspec

from afterbell.domain.hashing import keccak
from afterbell.domain.ids import ZERO_ADDRESS, account_hex, address_hex, build_account_id, parse_address_hex
from afterbell.sdk.errors import NotFinalInTime, SdkError
from afterbell.sdk.operations import OperationCalls
from afterbell.sdk.terms import Amount, KeyTerms
from afterbell.sdk.values import Transfer, to_quote
from afterbell.sdk.wallet import Wallet, encode_call, encode_words

DepositMethod: TypeAlias = Literal["approve", "permit", "authorization"]
_POLL_S: Final = 0.2
_SIGNED_FOR_S: Final = 3_600
_SIGNED_FOR_REPLAYED_S: Final = 7 * 86_400
"""On a local chain time follows a replay, which steps hours at once."""


class _Transfers(msgspec.Struct, frozen=True):
    transfers: tuple[Transfer, ...]


class _Relayed(msgspec.Struct, frozen=True):
    transaction: str


class MoneyCalls(OperationCalls):
    """Money in, and paid out."""

    async def faucet(self) -> None:
        """Ask for test USDC and gas for the key's address; local chain only."""
        await self._transport.post("/v1/faucet", {"address": self.signer}, dict[str, Any])

    async def deposit(
        self,
        usdc: Amount | None = None,
        *,
        quote: int | None = None,
        timeout_s: float = 60.0,
        method: DepositMethod = "approve",
        owner: str | None = None,
        subaccount: int | None = None,
        link: KeyTerms | None = None,
    ) -> Transfer:
        """Move USDC from the key's wallet into an account; return once the venue has credited it.

        Give either usdc, Decimal or text, or quote, exact quote units (1e-6 USDC). method: "approve", a transaction the
        first time and then one a deposit; "permit", always one, the approval signed inside; "authorization", none: the
        venue's relayer sends what was signed, and the wallet needs no gas. owner, subaccount: into another account, by
        default this client's. link: in the same transaction the first link of a session key, own accounts only.
        Raises: TypeError for an int as usdc; WalletFailed; MoneyRefused, SignatureRefused from the relayer;
        NotFinalInTime when mined but not credited in time (it will be: the chain has it).
        """
        amount_quote = to_quote(usdc, quote)
        wallet = await self._must_have_wallet()
        to_owner = self._must_have_owner() if owner is None else parse_address_hex(owner.lower())
        to_subaccount = subaccount if subaccount is not None else self._subaccount if owner is None else 0
        if link is not None and to_owner != wallet.address:
            raise SdkError("a deposit links a key only to an account of the wallet that pays")
        key, limits = ZERO_ADDRESS, 0
        if link is not None:
            key, limits = parse_address_hex(link.key.lower()), (await self._read_key_terms(link)).pack()
        target = (to_owner, to_subaccount)
        if method == "approve":
            transaction = await self._deposit_approved(wallet, target, amount_quote, key, limits, timeout_s)
        elif method == "permit":
            transaction = await self._deposit_permitted(wallet, target, amount_quote, key, limits, timeout_s)
        elif method == "authorization":
            transaction = await self._deposit_authorized(wallet, target, amount_quote, key, limits, timeout_s)
        else:
            raise ValueError(f"method must be approve, permit or authorization, found {method!r}")
        return await self._wait_credited(account_hex(build_account_id(*target)), transaction, timeout_s)

    async def claim(self, *, recipient: str | None = None, timeout_s: float = 60.0, relayed: bool = False) -> str:
        """Have the vault pay what the recipient may claim; anybody may ask for it. Return the transaction hash.

        recipient: by default the owner. relayed: the venue sends the transaction and pays its gas. Returns once it is
        mined. Raises: WalletFailed; MoneyRefused NOTHING_TO_CLAIM, TOKEN_REFUSED from the relayer.
        """
        to = parse_address_hex(recipient.lower()) if recipient is not None else self._must_have_owner()
        if relayed:
            sent = await self._transport.post("/v1/claims", {"recipient": address_hex(to)}, _Relayed)
            await (await self._must_have_node()).wait_mined(sent.transaction, timeout_s=timeout_s)
            return sent.transaction
        wallet = await self._must_have_wallet()
        return await wallet.send(await self._address("vault"), encode_call("claim(address)", to), timeout_s=timeout_s)

    async def claimable_quote(self, *, recipient: str | None = None) -> int:
        """Return what the vault owes a recipient now, as the chain has it. Units: quote."""
        to = parse_address_hex(recipient.lower()) if recipient is not None else self._must_have_owner()
        node = await self._must_have_node()
        return await node.call_number(await self._address("vault"), encode_call("claims_quote(address)", to))

    async def wallet_quote(self, *, address: str | None = None) -> int:
        """Return a wallet's balance of the token, by default that of the key. Units: quote."""
        holder = parse_address_hex(address.lower()) if address is not None else self._must_have_signer().address
        node = await self._must_have_node()
        return await node.call_number(await self._address("token"), encode_call("balanceOf(address)", holder))

    # ------------------------------------------------------------ inside

    async def _deposit_approved(
        self, wallet: Wallet, target: tuple[bytes, int], quote: int, key: bytes, limits: int, timeout_s: float
    ) -> str:
        token, vault = await self._address("token"), await self._address("vault")
        await wallet.approve_if_needed(token, vault, quote, timeout_s=timeout_s)
        calldata = encode_call("deposit(address,uint80,uint256)", *target, quote)
        if key != ZERO_ADDRESS:
            calldata = encode_call("deposit_and_link(uint80,uint256,address,uint256)", target[1], quote, key, limits)
        return await wallet.send(vault, calldata, timeout_s=timeout_s)

    async def _deposit_permitted(
        self, wallet: Wallet, target: tuple[bytes, int], quote: int, key: bytes, limits: int, timeout_s: float
    ) -> str:
        token, vault = await self._address("token"), await self._address("vault")
        deadline_s = await self._signed_until_s()
        v, r, s = await wallet.sign_permit(token, vault, quote, deadline_s)
        calldata = encode_call(
            "deposit_with_permit(address,uint80,uint256,uint256,uint8,bytes32,bytes32,address,uint256)",
            *target, quote, deadline_s, v, r, s, key, limits,
        )  # fmt: skip
        return await wallet.send(vault, calldata, timeout_s=timeout_s)

    async def _deposit_authorized(
        self, wallet: Wallet, target: tuple[bytes, int], quote: int, key: bytes, limits: int, timeout_s: float
    ) -> str:
        token, vault = await self._address("token"), await self._address("vault")
        valid_before_s, salt = await self._signed_until_s(), secrets.token_bytes(32)
        # Account, key and limits are inside the token's nonce: whoever carries this can change none of them.
        nonce = keccak(encode_words(build_account_id(*target), key, limits, salt))
        signature = await wallet.sign_authorization(token, vault, quote, 0, valid_before_s, nonce)
        authorization = {
            "sender": address_hex(wallet.address),
            "owner": address_hex(target[0]),
            "subaccount": str(target[1]),
            "quote": str(quote),
            "valid_after_s": 0,
            "valid_before_s": valid_before_s,
            "salt": "0x" + salt.hex(),
            "key": address_hex(key),
            "limits": str(limits),
        }
        body = {"authorization": authorization, "signature": "0x" + signature.hex()}
        # The token burns the nonce: a second copy cannot deposit twice.
        sent = await self._transport.post("/v1/deposits/authorization", body, _Relayed, is_repeatable=True)
        await wallet.node.wait_mined(sent.transaction, timeout_s=timeout_s)
        return sent.transaction

    async def _signed_until_s(self) -> int:
        is_local = (await self.venue()).is_local_chain
        return await self._now_s() + (_SIGNED_FOR_REPLAYED_S if is_local else _SIGNED_FOR_S)

    async def _wait_credited(self, account: str, transaction: str, timeout_s: float) -> Transfer:
        deadline_s = time.monotonic() + timeout_s
        while True:
            answer = await self._transport.get(f"/v1/accounts/{account}/transfers", _Transfers, limit=100)
            for transfer in answer.transfers:
                if transfer.transaction == transaction and transfer.kind == "deposit" and transfer.status == "credited":
                    return transfer
            if time.monotonic() > deadline_s:
                # Known by its transaction alone so far; the venue names it once it has its confirmations.
                mined = Transfer(
                    transfer_id="", account=account, kind="deposit", quote=0, status="mined", counterparty="",
                    time_ms=0, transaction=transaction,
                )  # fmt: skip
                raise NotFinalInTime(f"deposit {transaction} is mined, not credited within {timeout_s} s", mined)
            await asyncio.sleep(_POLL_S)
