"""Tokens that are not what they seem, on every way in and out: what arrived counts, and a callback meets the lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.contracts.tokens import collateral_of
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, T, Venue, account_of, address_of, refused
from tests.support.chain import OUTSIDER, ZERO_ADDRESS, Chain, Reverted, artifacts, encode_call

OWNER: Final = address_of(MAKER)
OTHER: Final = address_of(TAKER)
KEY: Final = address_of(THIRD)
LIMITS: Final = (T + 60) | 1 << 40 | 1 << 104
NOTHING, FALSE, TRUE = b"", bytes(32), (1).to_bytes(32, "big")
SIGNATURE: Final = (27, bytes(32), bytes(32))
QUOTE: Final = 50 * USDC


def deposit(chain: Chain) -> None:
    chain.call("Vault", "deposit", OWNER, 0, QUOTE, sender=OWNER)


def deposit_and_link(chain: Chain) -> None:
    chain.call("Vault", "deposit_and_link", 0, QUOTE, KEY, LIMITS, sender=OWNER)


def deposit_with_permit(chain: Chain) -> None:
    chain.call("Vault", "deposit_with_permit", OWNER, 0, QUOTE, T, *SIGNATURE, ZERO_ADDRESS, 0, sender=OWNER)


def deposit_with_authorization(chain: Chain) -> None:
    arguments = (OWNER, OWNER, 0, QUOTE, 0, T + 1, bytes(32), *SIGNATURE, ZERO_ADDRESS, 0)
    chain.call("Vault", "deposit_with_authorization", *arguments, sender=OUTSIDER)


PULLED: Final = (deposit, deposit_and_link, deposit_with_permit)
ALL: Final = (*PULLED, deposit_with_authorization)
Way = Callable[[Chain], None]


@pytest.fixture
def chain() -> Chain:
    """An owner with money and an allowance, a token that answers nothing."""
    chain = Chain.deploy(token="AwkwardToken")
    chain.call("token", "mint", OWNER, 10 * QUOTE)
    chain.call("token", "approve", chain.addresses["Vault"], 10 * QUOTE, sender=OWNER)
    return chain


# What a token answers.


@pytest.mark.parametrize("answer", [NOTHING, TRUE], ids=["nothing", "true"])
@pytest.mark.parametrize("way", ALL)
def test_deposit__token_moves_all_and_answers_nothing_or_true__is_credited(
    chain: Chain, way: Way, answer: bytes
) -> None:
    chain.call("token", "set_answer", answer)

    way(chain)

    assert collateral_of(chain, MAKER) == chain.call("Vault", "tracked_quote") == QUOTE


@pytest.mark.parametrize("way", PULLED)
def test_deposit__token_moves_all_and_answers_false__is_refused(chain: Chain, way: Way) -> None:
    """False on success: by its own word the token refused, and what it took in the call goes back with the revert."""
    chain.call("token", "set_answer", FALSE)

    with refused("token: refused"):
        way(chain)

    assert chain.call("token", "balanceOf", OWNER) == 10 * QUOTE
    assert collateral_of(chain, MAKER) == 0


@pytest.mark.parametrize("answer", [NOTHING, TRUE], ids=["nothing", "true"])
@pytest.mark.parametrize("way", ALL)
def test_deposit__token_moves_nothing_without_reverting__is_refused(chain: Chain, way: Way, answer: bytes) -> None:
    """Also what a token without receiveWithAuthorization does if its fallback swallows unknown calls."""
    chain.call("token", "set_answer", answer)
    chain.call("token", "set_idle", True)

    with refused("deposit: inexact"):
        way(chain)

    assert collateral_of(chain, MAKER) == chain.call("Vault", "tracked_quote") == 0


def test_deposit_with_permit__token_swallows_the_permit__is_refused(chain: Chain) -> None:
    chain.call("token", "approve", chain.addresses["Vault"], 0, sender=OWNER)
    chain.call("token", "set_idle", True)

    with refused("deposit: allowance"):
        deposit_with_permit(chain)


@pytest.mark.parametrize("way", ALL)
def test_deposit__token_takes_a_fee__is_refused(chain: Chain, way: Way) -> None:
    """One unit missing of 50 USDC is one unit the vault would owe without having it."""
    chain.call("token", "set_fee", 1)

    with refused("deposit: inexact"):
        way(chain)

    assert collateral_of(chain, MAKER) == 0


@pytest.mark.parametrize("way", ALL)
def test_deposit__donation_in_the_vault__changes_nothing(chain: Chain, way: Way) -> None:
    chain.call("token", "mint", chain.addresses["Vault"], 777 * USDC)

    way(chain)

    assert collateral_of(chain, MAKER) == chain.call("Vault", "tracked_quote") == QUOTE


def test_deposit__donation_while_the_token_moves__is_refused(chain: Chain) -> None:
    """More than announced arrived: whose it is nobody can say, so nothing is credited."""
    vault = chain.addresses["Vault"]
    chain.call("token", "set_callback", chain.addresses["token"], encode_call("AwkwardToken", "mint", vault, 1))

    with refused("deposit: inexact"):
        deposit(chain)


# Claims.


def open_with_claim() -> Venue:
    """A venue whose MAKER deposited 50 USDC and may claim 20 of them."""
    venue = Venue.open(token="AwkwardToken", deposit_quote=QUOTE)
    venue.settle(operations=[venue.withdraw(MAKER, 20 * USDC)])
    return venue


def test_claim__token_answers_nothing__is_paid() -> None:
    venue = open_with_claim()

    assert venue.chain.call("Vault", "claim", OWNER) == 20 * USDC

    assert venue.balance_of(OWNER) == 20 * USDC
    venue.check_books()


def test_claim__token_answers_false__reverts_and_the_claim_stays() -> None:
    venue = open_with_claim()
    venue.chain.call("token", "set_answer", FALSE)

    with refused("token: refused"):
        venue.chain.call("Vault", "claim", OWNER)

    assert venue.claim_of(OWNER) == 20 * USDC
    venue.chain.call("token", "set_answer", TRUE)
    assert venue.chain.call("Vault", "claim", OWNER) == 20 * USDC


def test_claim__token_takes_a_fee_later__recipient_bears_it() -> None:
    """20 USDC leave the vault, the token keeps one unit on the way: nobody else pays."""
    venue = open_with_claim()
    venue.chain.call("token", "set_fee", 1)

    venue.chain.call("Vault", "claim", OWNER)

    assert venue.balance_of(OWNER) == 20 * USDC - 1
    assert venue.balance_of(venue.chain.addresses["Vault"]) == venue.chain.call("Vault", "tracked_quote") == 80 * USDC
    venue.check_books()


# A token that calls back.


def list_calls() -> dict[str, bytes]:
    """Return a call of every external function of the Vault, such that the token itself could make it outside."""
    arguments: dict[str, tuple[Any, ...]] = {
        "deposit": (OTHER, 0, 1),
        "deposit_and_link": (0, 1, KEY, LIMITS),
        "deposit_with_permit": (OTHER, 0, 1, T, *SIGNATURE, ZERO_ADDRESS, 0),
        "deposit_with_authorization": (OTHER, OTHER, 0, 1, 0, T + 1, bytes(32), *SIGNATURE, ZERO_ADDRESS, 0),
        "add_claim": (OTHER, 1),
        "claim": (OTHER,),
        "claims_quote": (OTHER,),
    }
    names = [entry["name"] for entry in artifacts()["Vault"].abi if entry["type"] == "function"]
    return {name: encode_call("Vault", name, *arguments.get(name, ())) for name in names}


CALLS: Final = list_calls()
IMMUTABLE: Final = {"TOKEN", "CLEARINGHOUSE", "OPERATIONS"}
"""What never changes may be read at any time."""


@pytest.fixture(scope="module")
def venue() -> Venue:
    """Both may claim; owner, taker and the token itself hold money and have allowed the vault to take it."""
    venue = Venue.open(token="AwkwardToken", deposit_quote=QUOTE)
    venue.settle(operations=[venue.withdraw(MAKER, 20 * USDC), venue.withdraw(TAKER, 10 * USDC)])
    vault, token = venue.chain.addresses["Vault"], venue.chain.addresses["token"]
    for holder in (OWNER, OTHER, token):
        venue.chain.call("token", "mint", holder, 10 * QUOTE)
    for holder in (OWNER, OTHER):
        venue.chain.call("token", "approve", vault, 10 * QUOTE, sender=holder)
    venue.chain.call("token", "approve_own", vault, 10 * QUOTE)
    return venue


def claim(chain: Chain) -> None:
    chain.call("Vault", "claim", OWNER)


@pytest.mark.parametrize("name", sorted(set(CALLS) - IMMUTABLE))
@pytest.mark.parametrize("way", [*ALL, claim])
def test_token__calls_the_vault_back_in_the_middle__meets_the_lock(venue: Venue, way: Way, name: str) -> None:
    """The money in flight is counted once, and even a view would lie: between balance and ledger all doors are shut."""
    chain = venue.chain
    with chain.undone():
        chain.call("token", "set_callback", chain.addresses["Vault"], CALLS[name])

        way(chain)

        assert chain.call("token", "n_callbacks") == 1
        assert chain.call("token", "n_callbacks_succeeded") == 0
        assert venue.claim_of(OTHER) == 10 * USDC
        assert collateral_of(chain, TAKER) == 40 * USDC
        venue.check_books()


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"add_claim"}))
def test_token__calls_the_vault_with_nothing_running__is_answered(venue: Venue, name: str) -> None:
    """The negative of the one above: it is the lock that stops these calls, nothing else about them."""
    chain = venue.chain
    with chain.undone():
        chain.call("token", "set_callback", chain.addresses["Vault"], CALLS[name])

        chain.call("token", "call_back")

        assert chain.call("token", "n_callbacks_succeeded") == 1


def test_token__calls_back_in_the_permit__meets_the_lock(venue: Venue) -> None:
    """Nothing allowed yet, so the permit is where the callback happens: before the transfer, and it is refused too."""
    chain = venue.chain
    with chain.undone():
        chain.call("token", "approve", chain.addresses["Vault"], 0, sender=OWNER)
        chain.call("token", "set_callback", chain.addresses["Vault"], CALLS["deposit"])

        deposit_with_permit(chain)

        assert (chain.call("token", "n_callbacks"), chain.call("token", "n_callbacks_succeeded")) == (1, 0)
        assert collateral_of(chain, MAKER) == 30 * USDC + QUOTE


def test_token__calls_the_ledger_in_the_middle_of_a_deposit__changes_no_sum(venue: Venue) -> None:
    """The Clearinghouse is not locked then; what the token may ask of it is what anybody may."""
    chain = venue.chain
    calls = (
        ("Clearinghouse", encode_call("Clearinghouse", "credit_deposit", account_of(TAKER), OTHER, 1)),
        ("Operations", encode_call("Operations", "link_key_for", account_of(MAKER), KEY, LIMITS)),
        ("Operations", encode_call("Operations", "link_key", 0, KEY, LIMITS)),
    )
    for contract, calldata in calls:
        with chain.undone():
            chain.call("token", "set_callback", chain.addresses[contract], calldata)

            deposit(chain)

            assert collateral_of(chain, MAKER) == 30 * USDC + QUOTE
            assert collateral_of(chain, TAKER) == 40 * USDC
            assert chain.call("Clearinghouse", "session_key_word", account_of(MAKER), KEY) == 0
            venue.check_books()


def test_token__reverts_in_a_deposit__takes_everything_back(chain: Chain) -> None:
    """More than the allowance: the token's own check answers, nothing is left half done."""
    chain.call("token", "approve", chain.addresses["Vault"], QUOTE - 1, sender=OWNER)

    with pytest.raises(Reverted):
        deposit(chain)

    assert chain.call("Vault", "tracked_quote") == 0
