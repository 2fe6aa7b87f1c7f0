"""What a regulated stablecoin does, bare and behind an upgradeable proxy: pause, blacklist, decimals, upgrade.

What stops, stops alone: settlement never meets the token, a claim that cannot be paid waits, and every other is paid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from pyrevm import AccountInfo

from tests.contracts.tokens import (
    Authorization,
    collateral_of,
    make_proxied,
    proxy_admin,
    sign,
    sign_authorization,
    sign_permit,
    upgrade,
)
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, T, Venue, account_of, address_of, refused
from tests.support.chain import DEPLOYER, OUTSIDER, ZERO_ADDRESS, Chain, Reverted

OWNER: Final = address_of(MAKER)
OTHER: Final = address_of(TAKER)
RICH: Final = 1_000 * USDC
QUOTE: Final = 100 * USDC
TO_SELF: Final = Authorization(sender=OWNER, owner=OWNER)


@pytest.fixture(scope="module")
def venues() -> dict[str, Venue]:
    opened = {"bare": Venue.open(), "proxied": Venue.open(make_token=make_proxied)}
    for venue in opened.values():
        venue.chain.call("token", "mint", OWNER, RICH)
        venue.chain.call("token", "approve", venue.chain.addresses["Vault"], RICH, sender=OWNER)
    return opened


@pytest.fixture(params=["bare", "proxied"])
def venue(request: pytest.FixtureRequest, venues: dict[str, Venue]) -> Iterator[Venue]:
    with venues[request.param].chain.undone():
        yield venues[request.param]


@pytest.fixture
def proxied(venues: dict[str, Venue]) -> Iterator[Venue]:
    with venues["proxied"].chain.undone():
        yield venues["proxied"]


def pause(venue: Venue, *, is_paused: bool = True) -> None:
    venue.chain.call("token", "set_paused", is_paused, sender=DEPLOYER)


def blacklist(venue: Venue, address: str, *, is_listed: bool = True) -> None:
    venue.chain.call("token", "set_blacklisted", address, is_listed, sender=DEPLOYER)


def deposit(chain: Chain, *, quote: int = QUOTE, owner: str = OWNER, sender: str = OWNER) -> None:
    chain.call("Vault", "deposit", owner, 0, quote, sender=sender)


def carry(chain: Chain) -> None:
    TO_SELF.carry(chain, sign_authorization(MAKER, chain, TO_SELF), sender=OUTSIDER)


def deposit_by_permit(chain: Chain) -> None:
    """Deposit with nothing allowed before."""
    chain.call("token", "approve", chain.addresses["Vault"], 0, sender=OWNER)
    signature = sign_permit(MAKER, chain, QUOTE)
    chain.call("Vault", "deposit_with_permit", OWNER, 0, QUOTE, T, *signature, ZERO_ADDRESS, 0, sender=OWNER)


# Units.


def test_decimals__six__are_quote_units(venue: Venue) -> None:
    """1 USDC = 10^6 base units of the token = 10^6 quote units of the ledger."""
    assert venue.chain.call("token", "decimals") == 6

    before = collateral_of(venue.chain, MAKER)
    deposit(venue.chain, quote=1)
    deposit(venue.chain, quote=10**6)

    assert collateral_of(venue.chain, MAKER) - before == 10**6 + 1


# The token itself: what the later tests lean on.


@pytest.mark.parametrize("to", [ZERO_ADDRESS, "token"])
def test_token__sent_to_zero_or_to_itself__refuses(venue: Venue, to: str) -> None:
    with refused("test token: recipient"):
        venue.chain.call("token", "transfer", venue.chain.addresses.get(to, to), 1, sender=OWNER)


@pytest.mark.parametrize("function", ["set_paused", "set_blacklisted"])
def test_token__administered_by_an_outsider__refuses(venue: Venue, function: str) -> None:
    arguments = [True] if function == "set_paused" else [OWNER, True]

    with refused("test token: not admin"):
        venue.chain.call("token", function, *arguments, sender=OUTSIDER)


def test_token__initialized_again__refuses(venue: Venue) -> None:
    with refused("test token: initialized"):
        venue.chain.call("token", "initialize", OUTSIDER, sender=OUTSIDER)


def test_token__high_s_or_odd_recovery_id__is_no_signature(venue: Venue) -> None:
    """The other root of the same signature must not make two of one."""
    chain = venue.chain
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    v, r, s = sign_authorization(MAKER, chain, TO_SELF)
    mirrored = (55 - v, r, (order - int.from_bytes(s, "big")).to_bytes(32, "big"))

    for bad in (mirrored, (v - 27, r, s), (v, bytes(32), s)):
        with refused("test token: signature"):
            TO_SELF.carry(chain, bad, sender=OUTSIDER)


def test_token__permit_after_its_deadline__refuses(venue: Venue) -> None:
    signature = sign_permit(MAKER, venue.chain, QUOTE, deadline=T - 1)

    with refused("test token: permit expired"):
        venue.chain.call("token", "permit", OWNER, venue.chain.addresses["Vault"], QUOTE, T - 1, *signature)


def test_token__authorized_transfer__moves_once_and_says_so(venue: Venue) -> None:
    """100 USDC: OWNER -> OTHER, brought by an outsider."""
    message = TO_SELF.message(venue.chain) | {"to": OTHER}
    signature = sign(MAKER, venue.chain, "TransferWithAuthorization", message)
    arguments = (OWNER, OTHER, QUOTE, 0, 2**40, TO_SELF.nonce, *signature)

    venue.chain.call("token", "transferWithAuthorization", *arguments, sender=OUTSIDER)

    events = {event.name: event.args for event in venue.chain.events()}
    assert events["AuthorizationUsed"] == {"authorizer": OWNER.lower(), "nonce": TO_SELF.nonce}
    assert venue.balance_of(OTHER) == QUOTE
    with refused("test token: authorization used"):
        venue.chain.call("token", "transferWithAuthorization", *arguments, sender=OUTSIDER)


# Pause.


@pytest.mark.parametrize("step", [deposit, carry])
def test_pause__while_a_deposit_comes__refuses_it_until_resumed(venue: Venue, step: Callable[[Chain], None]) -> None:
    before = collateral_of(venue.chain, MAKER)
    pause(venue)

    with refused("test token: paused"):
        step(venue.chain)
    pause(venue, is_paused=False)
    step(venue.chain)

    assert collateral_of(venue.chain, MAKER) - before == QUOTE


def test_pause__while_a_permit_comes__refuses_it_until_resumed(venue: Venue) -> None:
    """The token takes no permit while paused, so nothing is allowed; the same permit serves afterwards."""
    before = collateral_of(venue.chain, MAKER)
    venue.chain.call("token", "approve", venue.chain.addresses["Vault"], 0, sender=OWNER)
    arguments = (OWNER, 0, QUOTE, T, *sign_permit(MAKER, venue.chain, QUOTE), ZERO_ADDRESS, 0)
    pause(venue)

    with refused("deposit: allowance"):
        venue.chain.call("Vault", "deposit_with_permit", *arguments, sender=OWNER)
    pause(venue, is_paused=False)
    venue.chain.call("Vault", "deposit_with_permit", *arguments, sender=OWNER)

    assert collateral_of(venue.chain, MAKER) - before == QUOTE


def test_pause__while_a_batch_settles__stops_claims_alone(venue: Venue) -> None:
    """12 USDC withdrawn beside a fill: the batch is clean, the claim waits for the token, then is paid whole."""
    pause(venue)

    settled = venue.settle(venue.pair(), [(0, 1, 1_000)], [venue.withdraw(TAKER, 12 * USDC)])

    assert settled.is_clean
    with refused("test token: paused"):
        venue.chain.call("Vault", "claim", OTHER)
    assert venue.claim_of(OTHER) == 12 * USDC
    assert venue.trade().is_clean
    pause(venue, is_paused=False)
    assert venue.chain.call("Vault", "claim", OTHER) == 12 * USDC
    assert venue.balance_of(OTHER) == 12 * USDC
    venue.check_books()


# Blacklist.


def test_blacklist__of_a_recipient__stops_that_claim_and_nothing_else(venue: Venue) -> None:
    """OWNER is blacklisted: its withdrawal settles beside a fill and another withdrawal, its claim waits."""
    blacklist(venue, OWNER)

    settled = venue.settle(
        venue.pair(), [(0, 1, 1_000)], [venue.withdraw(MAKER, 30 * USDC), venue.withdraw(TAKER, 12 * USDC)]
    )

    assert settled.is_clean
    with refused("test token: blacklisted"):
        venue.chain.call("Vault", "claim", OWNER)
    assert venue.claim_of(OWNER) == 30 * USDC
    assert venue.chain.call("Vault", "claim", OTHER) == 12 * USDC
    assert venue.trade().is_clean
    blacklist(venue, OWNER, is_listed=False)
    assert venue.chain.call("Vault", "claim", OWNER) == 30 * USDC
    venue.check_books()


def test_blacklist__of_the_owner__another_recipient_gets_the_rest(venue: Venue) -> None:
    """30 USDC of OWNER, blacklisted: claimed by a recipient it named in a signed withdrawal."""
    third = address_of(THIRD)
    blacklist(venue, OWNER)

    venue.settle(operations=[venue.withdraw(MAKER, 30 * USDC, recipient=third)])

    assert venue.chain.call("Vault", "claim", third) == 30 * USDC
    assert venue.balance_of(third) == 30 * USDC


def test_blacklist__of_the_vault__stops_deposits_and_claims_until_lifted(venue: Venue) -> None:
    vault = venue.chain.addresses["Vault"]
    blacklist(venue, vault)

    settled = venue.settle(venue.pair(), [(0, 1, 1_000)], [venue.withdraw(TAKER, 12 * USDC)])

    assert settled.is_clean
    for step in (deposit, carry):
        with refused("test token: blacklisted"):
            step(venue.chain)
    with refused("test token: blacklisted"):
        venue.chain.call("Vault", "claim", OTHER)
    blacklist(venue, vault, is_listed=False)
    assert venue.chain.call("Vault", "claim", OTHER) == 12 * USDC
    venue.check_books()


@pytest.mark.parametrize("step", [deposit, carry])
def test_blacklist__of_the_payer__refuses_the_deposit(venue: Venue, step: Callable[[Chain], None]) -> None:
    blacklist(venue, OWNER)

    with refused("test token: blacklisted"):
        step(venue.chain)


def test_blacklist__of_an_accounts_owner__another_may_still_deposit_for_it(venue: Venue) -> None:
    """The ledger knows no blacklist: OTHER pays margin for OWNER's position."""
    before = collateral_of(venue.chain, MAKER)
    blacklist(venue, OWNER)

    venue.chain.deposit(account_of(MAKER), QUOTE, sender=OTHER)

    assert collateral_of(venue.chain, MAKER) - before == QUOTE


# The proxy.


def test_proxy__of_openzeppelin__signatures_name_the_proxy(proxied: Venue) -> None:
    before = collateral_of(proxied.chain, MAKER)

    carry(proxied.chain)
    deposit_by_permit(proxied.chain)

    assert collateral_of(proxied.chain, MAKER) - before == 2 * QUOTE
    assert proxied.chain.addresses["token"] != proxied.chain.addresses["TestStablecoin"]


def test_proxy__called_by_its_admin__does_not_reach_the_token(proxied: Venue) -> None:
    admin = proxy_admin(proxied.chain)
    account = proxied.chain.evm.basic(admin)
    proxied.chain.evm.insert_account_info(admin, AccountInfo(nonce=1))  # a sender with code is no sender (EIP-3607)

    try:
        with pytest.raises(Reverted):
            proxied.chain.call("token", "decimals", sender=admin)
    finally:
        proxied.chain.evm.insert_account_info(admin, account)
    assert proxied.chain.call("token", "decimals") == 6


def test_proxy__upgraded_to_a_token_with_a_fee__refuses_deposits_and_pays_claims(proxied: Venue) -> None:
    """The issuer changes the code under the vault: what is owed stays owed, what would arrive short is not credited.

    The new code finds the storage of the old: balances stand elsewhere in it, so the vault's is minted again.
    """
    chain = proxied.chain
    proxied.settle(operations=[proxied.withdraw(TAKER, 12 * USDC)])
    tracked_quote = chain.call("Vault", "tracked_quote")
    old = chain.addresses["TestStablecoin"]

    upgrade(chain, chain.create("AwkwardToken"))
    chain.contracts["token"] = "AwkwardToken"
    try:
        chain.call("token", "mint", chain.addresses["Vault"], tracked_quote)
        chain.call("token", "set_fee", 1)
        with refused("deposit: inexact"):
            chain.deposit(account_of(MAKER), QUOTE, sender=OTHER)
        assert chain.call("Vault", "claim", OTHER) == 12 * USDC
        assert proxied.trade().is_clean
    finally:
        upgrade(chain, old)
        chain.contracts["token"] = "TestStablecoin"

    deposit(chain)
    assert chain.call("Vault", "tracked_quote") == tracked_quote - 12 * USDC + QUOTE


def test_proxy__upgraded_to_code_that_is_no_token__stops_money_and_no_trade(proxied: Venue) -> None:
    chain = proxied.chain
    proxied.settle(operations=[proxied.withdraw(TAKER, 12 * USDC)])
    old = chain.addresses["TestStablecoin"]

    upgrade(chain, chain.addresses["Lens"])
    with pytest.raises(Reverted):
        deposit(chain)
    with pytest.raises(Reverted):
        chain.call("Vault", "claim", OTHER)
    assert proxied.trade().is_clean
    upgrade(chain, old)

    assert chain.call("Vault", "claim", OTHER) == 12 * USDC
