"""Deposits with a signature: permits that anybody may have used up, authorizations that anybody may carry.

Signed by eth_account against two tokens: our test stablecoin and OpenZeppelin's ERC20Permit with ERC3009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.contracts.tokens import (
    SIGNED_TOKEN,
    Authorization,
    Signature,
    collateral_of,
    key_word_of,
    make_signed_token,
    sign,
    sign_authorization,
    sign_permit,
)
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, T, account_of, address_of, refused
from tests.support.chain import OUTSIDER, ZERO_ADDRESS, Chain, Reverted

OWNER: Final = address_of(MAKER)
PAYER: Final = address_of(TAKER)
KEY: Final = address_of(THIRD)
OTHER_KEY: Final = "0x" + "cd" * 20
DAY_S: Final = 86_400
# expires in a day, 1,000 USDC an order, markets 1 and 3, trade only; bits as contracts/README.md has them
LIMITS: Final = (T + DAY_S) | 1_000 * USDC << 40 | 0b101 << 104 | 1 << 136
LINKED: Final = 1 << 255
RICH: Final = 1_000 * USDC


@dataclass(frozen=True, slots=True)
class Wallet:
    """A chain, and the domain its token signs under."""

    chain: Chain
    domain: tuple[str, str]

    def permit(self, quote: int, **changes: Any) -> Signature:
        return sign_permit(MAKER, self.chain, quote, domain=self.domain, **changes)

    def authorize(self, authorization: Authorization) -> Signature:
        return sign_authorization(MAKER, self.chain, authorization, self.domain)

    def deposit_with_permit(
        self, signature: Signature, *, owner: str = OWNER, subaccount: int = 0, quote: int = 100 * USDC,
        deadline: int = T, key: str = ZERO_ADDRESS, limits: int = 0, sender: str = OWNER,
    ) -> int:  # fmt: skip
        return int(
            self.chain.call(
                "Vault", "deposit_with_permit", owner, subaccount, quote, deadline, *signature, key, limits,
                sender=sender,
            )
        )  # fmt: skip

    def balance(self, address: str) -> int:
        return int(self.chain.call("token", "balanceOf", address))

    def events(self) -> dict[str, dict[str, Any]]:
        return {event.name: event.args for event in self.chain.events()}


def build(kind: str) -> Wallet:
    make_token = make_signed_token if kind == "openzeppelin" else None
    chain = Chain.deploy(make_token=make_token)
    chain.call("token", "mint", OWNER, RICH)
    return Wallet(chain, SIGNED_TOKEN if kind == "openzeppelin" else ("Test USD Coin", "2"))


@pytest.fixture(scope="module")
def wallets() -> dict[str, Wallet]:
    return {kind: build(kind) for kind in ("ours", "openzeppelin")}


@pytest.fixture(params=["ours", "openzeppelin"])
def wallet(request: pytest.FixtureRequest, wallets: dict[str, Wallet]) -> Iterator[Wallet]:
    """Lend each token in turn."""
    with wallets[request.param].chain.undone():
        yield wallets[request.param]


@pytest.fixture
def ours(wallets: dict[str, Wallet]) -> Iterator[Wallet]:
    """Lend our token alone, where its own reasons are expected."""
    with wallets["ours"].chain.undone():
        yield wallets["ours"]


# Approved before, with a key.


def test_deposit_and_link__approved__credits_and_links_the_callers_own_account(ours: Wallet) -> None:
    """100 USDC: OWNER -> Vault; credited to OWNER's subaccount 7, which the key may trade."""
    ours.chain.call("token", "approve", ours.chain.addresses["Vault"], 100 * USDC, sender=OWNER)

    direct_op = ours.chain.call("Vault", "deposit_and_link", 7, 100 * USDC, KEY, LIMITS, sender=OWNER)

    events = ours.events()
    assert direct_op == 1
    assert events["Deposited"] == {"sender": OWNER.lower(), "account": account_of(MAKER, 7), "quote": 100 * USDC}
    assert events["CollateralDeposited"]["direct_op"] == 1
    assert events["DirectOperation"] == {
        "account": account_of(MAKER, 7), "direct_op": 2, "kind": 2, "key": int(KEY, 16), "value": LIMITS | LINKED,
        "time_s": T,
    }  # fmt: skip
    assert collateral_of(ours.chain, MAKER, 7) == 100 * USDC
    assert key_word_of(ours.chain, MAKER, KEY, 7) == LIMITS | LINKED
    assert key_word_of(ours.chain, MAKER, KEY) == 0


@pytest.mark.parametrize(
    ("key", "limits", "reason"),
    [
        (ZERO_ADDRESS, LIMITS, "operations: bad key"),
        (OWNER, LIMITS, "operations: bad key"),
        (KEY, 0, "operations: bad key"),
        (KEY, LIMITS | 1 << 138, "operations: bad key"),
    ],
)
def test_deposit_and_link__key_refused__takes_no_money(ours: Wallet, key: str, limits: int, reason: str) -> None:
    ours.chain.call("token", "approve", ours.chain.addresses["Vault"], 100 * USDC, sender=OWNER)

    with refused(reason):
        ours.chain.call("Vault", "deposit_and_link", 0, 100 * USDC, key, limits, sender=OWNER)

    assert ours.balance(OWNER) == RICH
    assert collateral_of(ours.chain, MAKER) == 0


def test_deposit_and_link__key_linked_before__takes_no_money(ours: Wallet) -> None:
    ours.chain.call("token", "approve", ours.chain.addresses["Vault"], 100 * USDC, sender=OWNER)
    ours.chain.call("Vault", "deposit_and_link", 0, 60 * USDC, KEY, LIMITS, sender=OWNER)

    with refused("operations: key in use"):
        ours.chain.call("Vault", "deposit_and_link", 0, 40 * USDC, KEY, LIMITS, sender=OWNER)

    assert collateral_of(ours.chain, MAKER) == 60 * USDC


# Permits.


def test_permit__valid_with_a_key__deposits_and_links_in_one_transaction(wallet: Wallet) -> None:
    """100 USDC: OWNER -> Vault; nothing approved before, nothing left approved after."""
    direct_op = wallet.deposit_with_permit(wallet.permit(100 * USDC), subaccount=3, key=KEY, limits=LIMITS)

    events = wallet.events()
    vault = wallet.chain.addresses["Vault"]
    assert direct_op == 1
    assert events["Deposited"] == {"sender": OWNER.lower(), "account": account_of(MAKER, 3), "quote": 100 * USDC}
    assert (events["DirectOperation"]["direct_op"], events["DirectOperation"]["kind"]) == (2, 2)
    assert collateral_of(wallet.chain, MAKER, 3) == 100 * USDC
    assert key_word_of(wallet.chain, MAKER, KEY, 3) == LIMITS | LINKED
    assert wallet.chain.call("token", "allowance", OWNER, vault) == 0
    assert wallet.balance(OWNER) == RICH - 100 * USDC
    assert wallet.balance(vault) == wallet.chain.call("Vault", "tracked_quote") == 100 * USDC


def test_permit__for_another_account_without_a_key__credits_it(wallet: Wallet) -> None:
    wallet.deposit_with_permit(wallet.permit(100 * USDC), owner=PAYER, subaccount=1)

    assert collateral_of(wallet.chain, TAKER, 1) == 100 * USDC
    assert "DirectOperation" not in wallet.events()


def test_permit__for_another_account_with_a_key__reverts(ours: Wallet) -> None:
    with refused("deposit: key of another"):
        ours.deposit_with_permit(ours.permit(100 * USDC), owner=PAYER, key=KEY, limits=LIMITS)

    assert key_word_of(ours.chain, TAKER, KEY) == 0


def test_permit__without_a_key__ignores_limits(ours: Wallet) -> None:
    ours.deposit_with_permit(ours.permit(100 * USDC), limits=2**256 - 1)

    assert collateral_of(ours.chain, MAKER) == 100 * USDC


def test_permit__used_up_by_a_front_runner__still_deposits(wallet: Wallet) -> None:
    """The attacker takes the signature out of the pool and brings it to the token first; the second try fails alone."""
    signature = wallet.permit(100 * USDC)
    vault = wallet.chain.addresses["Vault"]
    wallet.chain.call("token", "permit", OWNER, vault, 100 * USDC, T, *signature, sender=OUTSIDER)
    with pytest.raises(Reverted):
        wallet.chain.call("token", "permit", OWNER, vault, 100 * USDC, T, *signature, sender=OUTSIDER)

    wallet.deposit_with_permit(signature, key=KEY, limits=LIMITS)

    assert collateral_of(wallet.chain, MAKER) == 100 * USDC
    assert key_word_of(wallet.chain, MAKER, KEY) == LIMITS | LINKED
    assert wallet.chain.call("token", "nonces", OWNER) == 1


def test_permit__worthless_beside_an_allowance__still_deposits(wallet: Wallet) -> None:
    wallet.chain.call("token", "approve", wallet.chain.addresses["Vault"], 100 * USDC, sender=OWNER)

    wallet.deposit_with_permit((27, bytes(32), bytes(32)))

    assert collateral_of(wallet.chain, MAKER) == 100 * USDC


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ({"deadline": T - 1}, {"deadline": T - 1}),
        ({"deadline": T + 1}, {}),
        ({"value": 100 * USDC - 1}, {}),
        ({"spender": OUTSIDER}, {}),
        ({"nonce": 1}, {}),
        ({"owner": PAYER}, {}),
    ],
    ids=["expired", "other deadline", "other sum", "other spender", "other nonce", "other owner"],
)
def test_permit__bad_and_nothing_allowed__reverts_with_the_reason(
    wallet: Wallet, signed: dict[str, Any], sent: dict[str, Any]
) -> None:
    with refused("deposit: allowance"):
        wallet.deposit_with_permit(wallet.permit(100 * USDC, **signed), **sent)

    assert wallet.balance(OWNER) == RICH


def test_permit__over_less_than_the_deposit__reverts(wallet: Wallet) -> None:
    with refused("deposit: allowance"):
        wallet.deposit_with_permit(wallet.permit(100 * USDC), quote=100 * USDC + 1)


def test_permit__of_somebody_else_brought_by_a_thief__moves_nothing(wallet: Wallet) -> None:
    """The permit is taken as the caller's own: for a thief it is a bad signature."""
    with refused("deposit: allowance"):
        wallet.deposit_with_permit(wallet.permit(100 * USDC), owner=OUTSIDER, sender=OUTSIDER)

    assert wallet.balance(OWNER) == RICH
    assert wallet.chain.call("token", "allowance", OWNER, wallet.chain.addresses["Vault"]) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quote": 0}, "deposit: zero"),
        ({"quote": 2**64}, "deposit: too large"),
        ({"owner": ZERO_ADDRESS}, "deposit: owner"),
    ],
)
def test_permit__bad_argument__reverts(ours: Wallet, changes: dict[str, Any], reason: str) -> None:
    ours.chain.call("token", "approve", ours.chain.addresses["Vault"], 2**64, sender=OWNER)

    with refused(reason):
        ours.deposit_with_permit(ours.permit(100 * USDC), **changes)


# Authorizations.

TO_SELF: Final = Authorization(sender=OWNER, owner=OWNER, subaccount=4, key=KEY, limits=LIMITS)
TO_OTHER: Final = Authorization(sender=OWNER, owner=PAYER)


def test_authorization__carried_by_anybody__deposits_and_links_for_the_signer(wallet: Wallet) -> None:
    """100 USDC: OWNER -> Vault, by a signature; OWNER sends no transaction and needs no gas."""
    direct_op = TO_SELF.carry(wallet.chain, wallet.authorize(TO_SELF), sender=OUTSIDER)

    events = wallet.events()
    assert direct_op == 1
    assert events["Deposited"] == {"sender": OWNER.lower(), "account": account_of(MAKER, 4), "quote": 100 * USDC}
    assert events["CollateralDeposited"] == {
        "account": account_of(MAKER, 4), "direct_op": 1, "sender": OWNER.lower(), "quote": 100 * USDC
    }  # fmt: skip
    assert (events["DirectOperation"]["direct_op"], events["DirectOperation"]["value"]) == (2, LIMITS | LINKED)
    assert collateral_of(wallet.chain, MAKER, 4) == 100 * USDC
    assert key_word_of(wallet.chain, MAKER, KEY, 4) == LIMITS | LINKED
    assert wallet.balance(OWNER) == RICH - 100 * USDC
    assert wallet.chain.call("Vault", "tracked_quote") == wallet.balance(wallet.chain.addresses["Vault"])


def test_authorization__for_another_account_without_a_key__credits_it(wallet: Wallet) -> None:
    TO_OTHER.carry(wallet.chain, wallet.authorize(TO_OTHER), sender=OUTSIDER)

    assert collateral_of(wallet.chain, TAKER) == 100 * USDC
    assert "DirectOperation" not in wallet.events()


def test_authorization__for_another_account_with_a_key__reverts(ours: Wallet) -> None:
    """Who pays for an account must not get a key to it."""
    authorization = TO_OTHER.changed(key=KEY, limits=LIMITS)

    with refused("deposit: key of another"):
        authorization.carry(ours.chain, ours.authorize(authorization), sender=OWNER)

    assert key_word_of(ours.chain, TAKER, KEY) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"subaccount": 5},
        {"key": OTHER_KEY},
        {"key": ZERO_ADDRESS},
        {"key": ZERO_ADDRESS, "limits": 0},
        {"limits": LIMITS & ~(1 << 136)},
        {"salt": bytes(32)},
        {"quote": 100 * USDC - 1},
        {"valid_after": 1},
        {"valid_before": 2**40 + 1},
        {"owner": OUTSIDER, "key": ZERO_ADDRESS, "limits": 0},
    ],
    ids=lambda changes: "+".join(changes) if isinstance(changes, dict) else None,
)
def test_authorization__carried_with_anything_changed__is_refused(wallet: Wallet, changes: dict[str, Any]) -> None:
    """Who carries it can neither redirect it nor strip it of its key: every argument is in what was signed."""
    signature = wallet.authorize(TO_SELF)

    with pytest.raises(Reverted):
        TO_SELF.changed(**changes).carry(wallet.chain, signature, sender=OUTSIDER)

    assert wallet.balance(OWNER) == RICH
    TO_SELF.carry(wallet.chain, signature, sender=OUTSIDER)
    assert collateral_of(wallet.chain, MAKER, 4) == 100 * USDC


def test_authorization__sender_changed__is_refused(wallet: Wallet) -> None:
    wallet.chain.call("token", "mint", PAYER, RICH)
    signature = wallet.authorize(TO_OTHER)

    with pytest.raises(Reverted):
        TO_OTHER.changed(sender=PAYER).carry(wallet.chain, signature, sender=OUTSIDER)

    assert wallet.balance(PAYER) == RICH


def test_authorization__taken_to_the_token_itself__moves_nothing(ours: Wallet) -> None:
    """Money that reached the vault past it would be credited to nobody."""
    signature = ours.authorize(TO_SELF)
    arguments = (OWNER, ours.chain.addresses["Vault"], 100 * USDC, 0, 2**40, TO_SELF.nonce, *signature)

    with refused("test token: caller not payee"):
        ours.chain.call("token", "receiveWithAuthorization", *arguments, sender=OUTSIDER)
    with refused("test token: signature"):
        ours.chain.call("token", "transferWithAuthorization", *arguments, sender=OUTSIDER)

    assert ours.balance(ours.chain.addresses["Vault"]) == 0


def test_authorization__signed_for_the_sibling_function__is_refused(ours: Wallet) -> None:
    signature = sign(MAKER, ours.chain, "TransferWithAuthorization", TO_SELF.message(ours.chain))

    with refused("test token: signature"):
        TO_SELF.carry(ours.chain, signature, sender=OUTSIDER)


def test_authorization__carried_twice__deposits_once(wallet: Wallet) -> None:
    signature = wallet.authorize(TO_OTHER)
    TO_OTHER.carry(wallet.chain, signature, sender=OUTSIDER)

    with pytest.raises(Reverted):
        TO_OTHER.carry(wallet.chain, signature, sender=OUTSIDER)

    assert collateral_of(wallet.chain, TAKER) == 100 * USDC
    assert wallet.chain.call("token", "authorizationState", OWNER, TO_OTHER.nonce) is True


def test_authorization__same_deposit_with_another_salt__is_another(wallet: Wallet) -> None:
    for salt in (b"\x01" * 32, b"\x02" * 32):
        again = TO_OTHER.changed(salt=salt)
        again.carry(wallet.chain, wallet.authorize(again), sender=OUTSIDER)

    assert collateral_of(wallet.chain, TAKER) == 200 * USDC


def test_authorization__cancelled_by_its_signer__is_refused(ours: Wallet) -> None:
    signature = ours.authorize(TO_SELF)
    cancel = sign(MAKER, ours.chain, "CancelAuthorization", {"authorizer": OWNER, "nonce": TO_SELF.nonce})
    ours.chain.call("token", "cancelAuthorization", OWNER, TO_SELF.nonce, *cancel, sender=OUTSIDER)

    assert ours.events()["AuthorizationCanceled"] == {"authorizer": OWNER.lower(), "nonce": TO_SELF.nonce}
    with refused("test token: authorization used"):
        TO_SELF.carry(ours.chain, signature, sender=OUTSIDER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid_after": T}, "test token: not valid yet"),
        ({"valid_before": T}, "test token: authorization expired"),
    ],
)
def test_authorization__outside_its_time__is_refused(ours: Wallet, changes: dict[str, Any], reason: str) -> None:
    authorization = TO_SELF.changed(**changes)

    with refused(reason):
        authorization.carry(ours.chain, ours.authorize(authorization), sender=OUTSIDER)


def test_authorization__in_its_only_second__is_taken(wallet: Wallet) -> None:
    authorization = TO_SELF.changed(valid_after=T - 1, valid_before=T + 1)

    authorization.carry(wallet.chain, wallet.authorize(authorization), sender=OUTSIDER)

    assert collateral_of(wallet.chain, MAKER, 4) == 100 * USDC


def test_authorization__key_linked_meanwhile__takes_no_money_and_stays_usable(wallet: Wallet) -> None:
    """The whole deposit fails with its key: the money stays where it was, the nonce is not consumed."""
    wallet.chain.call("Operations", "link_key", 4, KEY, LIMITS, sender=OWNER)

    with refused("operations: key in use"):
        TO_SELF.carry(wallet.chain, wallet.authorize(TO_SELF), sender=OUTSIDER)

    assert wallet.balance(OWNER) == RICH
    assert wallet.chain.call("token", "authorizationState", OWNER, TO_SELF.nonce) is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quote": 0}, "deposit: zero"),
        ({"quote": 2**64}, "deposit: too large"),
        ({"owner": ZERO_ADDRESS}, "deposit: owner"),
    ],
)
def test_authorization__bad_argument__reverts(ours: Wallet, changes: dict[str, Any], reason: str) -> None:
    authorization = TO_OTHER.changed(**changes)

    with refused(reason):
        authorization.carry(ours.chain, ours.authorize(authorization), sender=OUTSIDER)


def test_authorization__nonce__is_what_wallets_outside_compute() -> None:
    """A golden value, so that page, SDK and relayer can hold theirs to it: made with ethers' AbiCoder and keccak256."""
    authorization = Authorization(
        sender="0x" + "11" * 20, owner="0x" + "11" * 20, subaccount=7, key="0x" + "22" * 20, limits=5, salt=b"\x33" * 32
    )

    assert authorization.nonce.hex() == "6c730d89a4100345605268054955ae0d0c4e49b38ff26719637d7a59cd3cbb64"
