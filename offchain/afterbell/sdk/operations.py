"""Signed operations: withdrawals, transfers between subaccounts, session keys; signed, or approved on chain.

    prepare → sign and submit                                  an owner with a key
    prepare → approve_operation, or the wallet's own way → submit     a contract wallet (a Safe), which cannot sign

Must not: move tokens; money.py does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from afterbell.domain.ids import address_hex, parse_address_hex
from afterbell.domain.order import LinkKey, Operation, RevokeKey, Withdraw
from afterbell.domain.order import Transfer as SignedTransfer
from afterbell.domain.words import SessionKeyWord
from afterbell.sdk.account import ReadCalls
from afterbell.sdk.errors import ApiRejected, NotFinalInTime, NotFound, SdkError
from afterbell.sdk.terms import DEFAULT_KEY_LIFETIME_S, DEFAULT_LIFETIME_S, Amount, KeyTerms
from afterbell.sdk.values import SessionKey, Transfer, to_quote
from afterbell.sdk.wallet import encode_call

_POLL_S: Final = 0.2
_N_RESIGN: Final = 8
_Answer = TypeVar("_Answer", Transfer, SessionKey)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedOperation:
    """An operation before anybody stands for it.

    A contract wallet sends `approval_calldata` to `approval_contract` in a transaction of its own; once that is mined,
    `submit_operation` carries it. digest: "0x" and 64 hex digits, also the id of a withdrawal or transfer.
    """

    path: str
    name: str
    fields: dict[str, Any]
    digest: str
    approval_contract: str
    approval_calldata: str
    message: Operation


class OperationCalls(ReadCalls):
    """Withdrawals, transfers between subaccounts, session keys."""

    # ------------------------------------------------------------ withdrawals

    async def withdraw(
        self, usdc: Amount | None = None, *, quote: int | None = None, recipient: str | None = None
    ) -> Transfer:
        """Sign a withdrawal; it becomes a claim on chain with the next batch, paid out by `claim`.

        Give either usdc, Decimal or text, or quote, exact quote units (1e-6 USDC). recipient: by default the owner; a
        session key that is not trade-only may name no other. Raises: TypeError for an int as usdc; ApiRejected.
        """
        return await self._carry(
            lambda: self.prepare_withdrawal(usdc, quote=quote, recipient=recipient),
            Transfer,
            lambda prepared: self.withdrawal(prepared.digest),
        )

    async def withdrawal(self, withdrawal_id: str) -> Transfer:
        """Return where a withdrawal stands: accepted, sealed, submitted, mined, claimable, paid or rejected."""
        return await self._transport.get(f"/v1/withdrawals/{withdrawal_id}", Transfer)

    async def prepare_withdrawal(
        self,
        usdc: Amount | None = None,
        *,
        quote: int | None = None,
        recipient: str | None = None,
        lifetime_s: int = DEFAULT_LIFETIME_S,
    ) -> PreparedOperation:
        """Return a withdrawal to be approved on chain (`submit_operation`). Arguments as `withdraw`."""
        to = parse_address_hex(recipient.lower()) if recipient is not None else self._must_have_owner()
        message = Withdraw(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            quote=to_quote(usdc, quote),
            recipient=to,
            expiry_s=await self._now_s() + lifetime_s,
            seq=await self._next_operation_seq(),
        )
        fields = {"quote": str(message.quote), "recipient": address_hex(to)}
        return await self._prepare("/v1/withdrawals", "withdrawal", message, fields)

    # ------------------------------------------------------------ between subaccounts

    async def transfer(self, to_subaccount: int, usdc: Amount | None = None, *, quote: int | None = None) -> Transfer:
        """Sign a transfer to another subaccount of the owner; it counts there at once and is mined with the next batch.

        Give either usdc, Decimal or text, or quote, exact quote units. What may go is what could be withdrawn. Only the
        owner signs transfers. Raises: MoneyRefused, MarginRefused, ….
        """
        return await self._carry(
            lambda: self.prepare_transfer(to_subaccount, usdc, quote=quote),
            Transfer,
            lambda prepared: self.find_transfer(prepared.digest),
        )

    async def find_transfer(self, transfer_id: str) -> Transfer:
        """Return where a transfer stands: accepted, sealed, submitted, mined, final or rejected."""
        return await self._transport.get(f"/v1/transfers/{transfer_id}", Transfer)

    async def prepare_transfer(
        self,
        to_subaccount: int,
        usdc: Amount | None = None,
        *,
        quote: int | None = None,
        lifetime_s: int = DEFAULT_LIFETIME_S,
    ) -> PreparedOperation:
        """Return a transfer to be approved on chain (`submit_operation`). Arguments as `transfer`."""
        message = SignedTransfer(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            quote=to_quote(usdc, quote),
            to_subaccount=to_subaccount,
            expiry_s=await self._now_s() + lifetime_s,
            seq=await self._next_operation_seq(),
        )
        fields = {"quote": str(message.quote), "to_subaccount": str(to_subaccount)}
        return await self._prepare("/v1/transfers", "transfer", message, fields)

    # ------------------------------------------------------------ session keys

    async def link_key(
        self,
        key: str | KeyTerms,
        max_notional: Amount | None = None,
        *,
        max_notional_quote: int | None = None,
        markets: tuple[str, ...] | None = None,
        trade_only: bool = True,
        reduce_only: bool = False,
        lifetime_s: int = DEFAULT_KEY_LIFETIME_S,
        expiry_s: int | None = None,
    ) -> SessionKey:
        """Let the key of an address sign for the account, within limits; signed by the owner, carried by the venue.

        max_notional: the most one order may be worth, in USDC as text or Decimal (or max_notional_quote, an int of
        quote units). markets: symbols, by default all listed now. trade_only: else it may withdraw too, to the owner
        alone. Or all of it as KeyTerms, as a deposit takes them. It may trade at once: `AsyncClient(url,
        key=session_key, owner=…)`. Raises: KeyRefused BAD_KEY, ….
        """
        terms = key if isinstance(key, KeyTerms) else KeyTerms(
            key=key, max_notional=max_notional, max_notional_quote=max_notional_quote, markets=markets,
            trade_only=trade_only, reduce_only=reduce_only, lifetime_s=lifetime_s, expiry_s=expiry_s,
        )  # fmt: skip
        return await self._carry(lambda: self.prepare_link_key(terms), SessionKey, self._find_key)

    async def revoke_key(self, key: str) -> SessionKey:
        """Take every limit from a session key; its live orders are cancelled at once. It may be linked again."""
        return await self._carry(lambda: self.prepare_revoke_key(key), SessionKey, self._find_key)

    async def prepare_link_key(self, terms: KeyTerms, *, lifetime_s: int = DEFAULT_LIFETIME_S) -> PreparedOperation:
        """Return the link of a session key to be approved on chain. lifetime_s: of the operation, not of the key."""
        word = await self._read_key_terms(terms)
        message = LinkKey(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            key=parse_address_hex(terms.key.lower()),
            key_expiry_s=word.expiry_s,
            max_notional_quote=word.max_notional_quote,
            markets=word.markets,
            trade_only=word.trade_only,
            reduce_only=word.reduce_only,
            expiry_s=await self._now_s() + lifetime_s,
            seq=await self._next_operation_seq(),
        )
        fields = {
            "key": address_hex(message.key),
            "key_expiry_s": message.key_expiry_s,
            "max_notional_quote": str(message.max_notional_quote),
            "markets": [market for market in range(1, 33) if word.allows_market(market)],
            "trade_only": message.trade_only,
            "reduce_only": message.reduce_only,
        }
        return await self._prepare("/v1/keys", "link_key", message, fields)

    async def prepare_revoke_key(self, key: str, *, lifetime_s: int = DEFAULT_LIFETIME_S) -> PreparedOperation:
        """Return the revocation of a session key to be approved on chain."""
        message = RevokeKey(
            owner=self._must_have_owner(),
            subaccount=self._subaccount,
            key=parse_address_hex(key.lower()),
            expiry_s=await self._now_s() + lifetime_s,
            seq=await self._next_operation_seq(),
        )
        return await self._prepare("/v1/keys/revoke", "revoke_key", message, {"key": address_hex(message.key)})

    # ------------------------------------------------------------ directly on chain

    async def link_key_on_chain(self, terms: KeyTerms, *, timeout_s: float = 60.0) -> str:
        """Link a session key by a transaction of the owner, without the venue; return its hash.

        Only a key never linked before. It binds at once; the venue knows it after its confirmations.
        """
        limits = (await self._read_key_terms(terms)).pack()
        key = parse_address_hex(terms.key.lower())
        return await self._send_direct(
            encode_call("link_key(uint80,address,uint256)", self._subaccount, key, limits), timeout_s
        )

    async def revoke_key_on_chain(self, key: str, *, timeout_s: float = 60.0) -> str:
        """Revoke a session key by a transaction of the owner, without the venue; return its hash.

        Binds matches more than five minutes later; the key is dead for good.
        """
        address = parse_address_hex(key.lower())
        return await self._send_direct(encode_call("revoke_key(uint80,address)", self._subaccount, address), timeout_s)

    async def cancel_all_on_chain(self, *, min_seq_ms: int | None = None, timeout_s: float = 60.0) -> str:
        """Kill every order signed before now by a transaction of the owner, without the venue; return its hash.

        Binds matches more than five minutes later; a second one is refused for ten. min_seq_ms: the lowest seq that
        stays alive, milliseconds since the venue's genesis, by default that of the chain's newest block.
        """
        wallet = await self._must_have_owners_wallet()
        if min_seq_ms is None:
            block = await wallet.node.request("eth_getBlockByNumber", "latest", False)
            genesis_s = (await self.venue()).genesis_s
            min_seq_ms = min((int(block["timestamp"], 16) - genesis_s) * 1000, await self._now_seq())
        return await self._send_direct(
            encode_call("cancel_all(uint80,uint40)", self._subaccount, min_seq_ms), timeout_s
        )

    async def approve_operation(self, prepared: PreparedOperation, *, timeout_s: float = 60.0) -> str:
        """Stand for an operation by a transaction instead of a signature; return its hash.

        For an owner that is an account with code (EIP-7702). A Safe sends `prepared.approval_calldata` to
        `prepared.approval_contract` itself; see examples/contract_wallet.py.
        """
        return await self._send_direct(bytes.fromhex(prepared.approval_calldata[2:]), timeout_s)

    async def submit_operation(self, prepared: PreparedOperation, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Have the venue carry an operation the owner has approved on chain; return its answer.

        Waits while the venue has not seen the approval yet. Raises: SignatureRefused NOT_APPROVED after timeout_s.
        """
        body = {prepared.name: prepared.fields, "approved": True}
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return await self._transport.post(prepared.path, body, dict[str, Any], is_repeatable=True)
            except ApiRejected as refusal:
                if refusal.code != "NOT_APPROVED" or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(_POLL_S)

    async def wait_for_key(self, key: str, *, status: str = "active", timeout_s: float = 60.0) -> SessionKey:
        """Return a session key once it has this status (linking, active, expired, revoked). Raises: SdkError."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            known = {found.key: found for found in await self.keys()}.get(key.lower())
            if known is not None and known.status == status:
                return known
            if time.monotonic() > deadline_s:
                raise SdkError(
                    f"key {key} is {known.status if known else 'unknown'}, not {status}, after {timeout_s} s"
                )
            await asyncio.sleep(_POLL_S)

    async def wait_for_withdrawal(
        self, withdrawal_id: str, *, status: str = "claimable", timeout_s: float = 60.0
    ) -> Transfer:
        """Return a withdrawal once it has come as far as `status`: sealed, submitted, mined, claimable or paid.

        Raises: NotFinalInTime, at once if the chain rejected it.
        """
        life = ("accepted", "sealed", "submitted", "mined", "claimable", "paid")
        wanted = life.index(status)
        deadline_s = time.monotonic() + timeout_s
        while True:
            transfer = await self.withdrawal(withdrawal_id)
            if transfer.status == "rejected":
                raise NotFinalInTime(f"withdrawal {withdrawal_id} is rejected: {transfer.code}", transfer)
            if life.index(transfer.status) >= wanted:
                return transfer
            if time.monotonic() > deadline_s:
                raise NotFinalInTime(
                    f"withdrawal {withdrawal_id} is {transfer.status}, not {status}, after {timeout_s} s", transfer
                )
            await asyncio.sleep(_POLL_S)

    # ------------------------------------------------------------ inside

    async def _prepare(self, path: str, name: str, message: Operation, fields: dict[str, Any]) -> PreparedOperation:
        operations = (await self.venue()).addresses.get("operations", "")
        message_digest = self._digest(message)
        shared = {"account": self.account_id, "expiry_s": message.expiry_s, "nonce": str(message.nonce)}
        return PreparedOperation(
            path=path,
            name=name,
            fields=shared | fields,
            digest="0x" + message_digest.hex(),
            approval_contract=operations,
            approval_calldata="0x" + encode_call("approve(bytes32)", message_digest).hex(),
            message=message,
        )

    async def _carry(
        self,
        prepare: Callable[[], Awaitable[PreparedOperation]],
        answer: type[_Answer],
        find: Callable[[PreparedOperation], Awaitable[_Answer]],
    ) -> _Answer:
        """Sign and send an operation; sign anew when another client of the account has used a later nonce."""
        async with self._operation_lock:
            for attempt in range(_N_RESIGN):
                prepared = await prepare()
                body = {prepared.name: prepared.fields, "signature": self._sign(prepared.message)[1]}
                try:
                    return await self._transport.post(prepared.path, body, answer, is_repeatable=True)
                except ApiRejected as refusal:
                    if refusal.is_repeat:
                        with contextlib.suppress(NotFound):
                            return await find(prepared)  # An earlier copy was carried out.
                    if refusal.code != "NONCE_CONSUMED" or attempt + 1 == _N_RESIGN:
                        raise
                # The other's clock was ahead by less than a second: soon ours is later.
                await asyncio.sleep(_POLL_S)
                await self.clock()
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _find_key(self, prepared: PreparedOperation) -> SessionKey:
        for known in await self.keys():
            if prepared.digest in (known.operation_id, known.revocation_id):
                return known
        raise NotFound("UNKNOWN_KEY", f"no key was linked or revoked by {prepared.digest}")

    async def _send_direct(self, calldata: bytes, timeout_s: float) -> str:
        wallet = await self._must_have_owners_wallet()
        return await wallet.send(await self._address("operations"), calldata, timeout_s=timeout_s)

    async def _read_key_terms(self, terms: KeyTerms) -> SessionKeyWord:
        listed = {market.symbol: market.market for market in await self.markets()}
        symbols = tuple(listed) if terms.markets is None else terms.markets
        unknown = [symbol for symbol in symbols if symbol not in listed]
        if unknown or not symbols:
            found = ", ".join(unknown) or "no market"
            raise NotFound("UNKNOWN_MARKET", "a key needs listed markets", required=", ".join(listed), found=found)
        now_s = await self._now_s()
        return SessionKeyWord(
            expiry_s=now_s + terms.lifetime_s if terms.expiry_s is None else terms.expiry_s,
            max_notional_quote=to_quote(terms.max_notional, terms.max_notional_quote),
            markets=sum(1 << (listed[symbol] - 1) for symbol in set(symbols)),
            trade_only=terms.trade_only,
            reduce_only=terms.reduce_only,
        )
