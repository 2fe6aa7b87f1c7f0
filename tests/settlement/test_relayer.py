"""The relayer on a real chain: carries claims and signed deposits, refuses in words what the chain would refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest

from afterbell.adapters.web3_chain import Web3Chain
from afterbell.domain.codes import RejectReason
from afterbell.domain.hashing import keccak
from afterbell.ports import ChainUnavailable, DepositAuthorization, RelayRefused
from afterbell.settlement.relayer import TransactionRelayer
from afterbell.settlement.sender import TransactionSender
from afterbell.signing.keys import join_signature
from tests.support.venue import SECOND_TAKER, TAKER, Actor, Venue, build_actor, build_call

RELAYER = build_actor("relayer")
QUOTE = 250 * 10**6
KEY = bytes.fromhex("11" * 20)
LIMITS = (10**9 << 40) | (0b11 << 104) | (1 << 136)
_Answer = TypeVar("_Answer")


@asynccontextmanager
async def relaying(venue: Venue, *, is_funded: bool = True) -> AsyncIterator[TransactionRelayer]:
    chain = Web3Chain(venue.anvil.url)
    sender = TransactionSender(
        chain=chain, private_key=keccak(b"test actor relayer"), chain_id=venue.manifest.chain_id, receipt_timeout_ms=500
    )

    async def fund(address: bytes) -> None:
        await chain.set_balance(address, 10**21)

    relayer = TransactionRelayer(
        chain=chain, sender=sender, vault=venue.manifest.get_address("vault"), fund=fund if is_funded else None
    )
    try:
        yield relayer
    finally:
        await relayer.stop()
        await chain.close()


def run(venue: Venue, ask: Callable[[TransactionRelayer], Awaitable[_Answer]], *, is_funded: bool = True) -> _Answer:
    """Ask a relayer, and return its answer once everything it sent is mined."""

    async def body() -> _Answer:
        async with relaying(venue, is_funded=is_funded) as relayer:
            answer = await ask(relayer)
            async with asyncio.timeout(20):
                await relayer.wait_until_mined()
            return answer

    return asyncio.run(body())


def read_word(venue: Venue, contract: str, view: str, *arguments: int) -> int:
    to = "0x" + venue.manifest.get_address(contract).hex()
    return int(
        str(venue.anvil.call("eth_call", {"to": to, "data": "0x" + build_call(view, *arguments).hex()}, "latest")), 16
    )


def now_s(venue: Venue) -> int:
    block = venue.anvil.call("eth_getBlockByNumber", "latest", False)
    assert isinstance(block, dict)
    return int(block["timestamp"], 16)


def authorize(
    venue: Venue, sender: Actor, *, key: bytes = bytes(20), limits: int = 0, salt: int = 1
) -> DepositAuthorization:
    """Sign a deposit into the sender's own account; typed data spelled out here, not taken from the SDK."""
    token, vault = venue.manifest.get_address("token"), venue.manifest.get_address("vault")
    mint = build_call("mint(address,uint256)", int.from_bytes(sender.key.address, "big"), QUOTE)
    venue.anvil.call("anvil_impersonateAccount", "0x" + sender.key.address.hex())
    venue.transact(sender, token, mint)
    venue.anvil.call("anvil_stopImpersonatingAccount", "0x" + sender.key.address.hex())
    valid_before_s = now_s(venue) + 3_600

    def word(field: bytes | int) -> bytes:
        return field.rjust(32, b"\0") if isinstance(field, bytes) else field.to_bytes(32, "big")

    nonce = keccak(b"".join(word(field) for field in (sender.account, key, limits, salt)))
    type_hash = keccak(
        b"ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,"
        b"bytes32 nonce)"
    )
    fields = (type_hash, sender.key.address, vault, QUOTE, 0, valid_before_s, nonce)
    separator = read_word(venue, "token", "DOMAIN_SEPARATOR()").to_bytes(32, "big")
    message = keccak(b"\x19\x01" + separator + keccak(b"".join(word(field) for field in fields)))
    signature = join_signature(*sender.key.sign(message))
    return DepositAuthorization(
        sender=sender.key.address,
        owner=sender.key.address,
        subaccount=0,
        quote=QUOTE,
        valid_after_s=0,
        valid_before_s=valid_before_s,
        salt=salt.to_bytes(32, "big"),
        key=key,
        limits=limits,
        v=signature[64],
        r=signature[:32],
        s=signature[32:64],
    )


def collateral_quote(venue: Venue, actor: Actor) -> int:
    return read_word(venue, "clearinghouse", "account_word(uint256)", actor.account) & (1 << 72) - 1


def test_relayer__signed_deposit_of_a_wallet_without_gas__is_credited(venue: Venue) -> None:
    before_quote = collateral_quote(venue, TAKER)
    authorization = authorize(venue, TAKER)

    transaction = run(venue, lambda relayer: relayer.deposit_with_authorization(authorization))

    receipt = venue.anvil.call("eth_getTransactionReceipt", "0x" + transaction.hex())
    assert isinstance(receipt, dict)
    assert receipt["status"] == "0x1"
    assert receipt["from"] == "0x" + RELAYER.key.address.hex()
    assert collateral_quote(venue, TAKER) == before_quote + QUOTE


def test_relayer__signed_deposit_with_a_key__links_it_in_the_same_transaction(venue: Venue) -> None:
    limits = LIMITS | now_s(venue) + 86_400
    authorization = authorize(venue, TAKER, key=KEY, limits=limits)

    run(venue, lambda relayer: relayer.deposit_with_authorization(authorization))

    word = read_word(
        venue, "clearinghouse", "session_key_word(uint256,address)", TAKER.account, int.from_bytes(KEY, "big")
    )
    assert word == limits | 1 << 255


def test_relayer__the_same_deposit_again__is_refused_as_used(venue: Venue) -> None:
    authorization = authorize(venue, TAKER)
    run(venue, lambda relayer: relayer.deposit_with_authorization(authorization))

    with pytest.raises(RelayRefused) as refusal:
        run(venue, lambda relayer: relayer.deposit_with_authorization(authorization))

    assert refusal.value.reason is RejectReason.NONCE_CONSUMED


@pytest.mark.parametrize("change", ["key", "owner", "quote", "salt"])
def test_relayer__deposit_altered_on_the_way__is_refused_for_its_signature(venue: Venue, change: str) -> None:
    """A relayer, or whoever stands before it, can change neither account nor key nor sum."""
    signed = authorize(venue, TAKER)
    altered = {
        "key": replace(signed, key=KEY, limits=LIMITS | now_s(venue) + 86_400),
        "owner": replace(signed, owner=SECOND_TAKER.key.address),
        "quote": replace(signed, quote=QUOTE - 1),
        "salt": replace(signed, salt=(2).to_bytes(32, "big")),
    }[change]

    with pytest.raises(RelayRefused) as refusal:
        run(venue, lambda relayer: relayer.deposit_with_authorization(altered))

    assert refusal.value.reason is RejectReason.BAD_SIGNATURE
    assert "nonce is keccak" in refusal.value.action


def test_relayer__deposit_out_of_time__is_refused_as_expired(venue: Venue) -> None:
    authorization = replace(authorize(venue, TAKER), valid_before_s=now_s(venue) - 1)

    with pytest.raises(RelayRefused) as refusal:
        run(venue, lambda relayer: relayer.deposit_with_authorization(authorization))

    assert refusal.value.reason is RejectReason.EXPIRED


def test_relayer__nothing_to_claim__is_refused_and_nothing_is_sent(venue: Venue) -> None:
    with pytest.raises(RelayRefused) as refusal:
        run(venue, lambda relayer: relayer.claim(TAKER.key.address))

    assert refusal.value.reason is RejectReason.NOTHING_TO_CLAIM
    assert int(str(venue.anvil.call("eth_getTransactionCount", "0x" + RELAYER.key.address.hex(), "latest")), 16) == 0


def test_relayer__asked_twice_before_it_is_mined__sends_once(venue: Venue) -> None:
    authorization = authorize(venue, TAKER)
    venue.anvil.call("evm_setAutomine", False)
    try:

        async def body() -> tuple[bytes, bytes]:
            async with relaying(venue) as relayer:
                first = await relayer.deposit_with_authorization(authorization)
                second = await relayer.deposit_with_authorization(authorization)
                assert relayer.n_under_way == 1
                return first, second

        first, second = asyncio.run(body())
    finally:
        venue.anvil.call("evm_setAutomine", True)

    assert first == second


def test_relayer__without_gas__says_so_and_can_be_asked_again(venue: Venue) -> None:
    authorization = authorize(venue, TAKER)
    venue.anvil.call("anvil_setBalance", "0x" + RELAYER.key.address.hex(), "0x0")

    with pytest.raises(ChainUnavailable, match=r"the relayer cannot send: .*look at the funds"):
        run(venue, lambda relayer: relayer.deposit_with_authorization(authorization), is_funded=False)
    run(venue, lambda relayer: relayer.deposit_with_authorization(authorization))

    assert collateral_quote(venue, TAKER) >= QUOTE
