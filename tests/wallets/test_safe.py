"""A Safe trades: it deposits, links a session key and approves its withdrawal, each by a transaction of two owners."""

from __future__ import annotations

from typing import Final

import pytest

from afterbell.domain.codes import StatusCode
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import TAKER, USDC, Venue, refused
from tests.support.chain import OUTSIDER
from tests.wallets.safe import OWNERS, Safe, SafeFactory
from tests.wallets.wallet import (
    LIMITS,
    LINKED,
    SESSION_ADDRESS,
    approved_withdrawal,
    as_typed_data,
    digest_of,
    key_word,
    order_by_key,
    sign_withdrawal,
    withdrawal,
)

DEPOSIT: Final = 1_000 * USDC


@pytest.fixture(scope="session")
def factory(opened: Venue) -> SafeFactory:
    return SafeFactory.deploy(opened.chain)


@pytest.fixture
def safe(factory: SafeFactory, venue: Venue) -> Safe:
    """A Safe that has deposited 1,000 USDC."""
    safe = factory.create(1)
    venue.chain.call("token", "mint", safe.address, DEPOSIT)
    safe.call("token", "approve", venue.chain.addresses["Vault"], DEPOSIT)
    safe.call("Vault", "deposit", safe.address, 0, DEPOSIT)
    return safe


def account_id(safe: Safe) -> int:
    return int(safe.address, 16) << 80


def test_safe__whole_life__deposits_trades_by_key_and_is_paid(safe: Safe, venue: Venue) -> None:
    """1,000 USDC in; 1,000 lots bought at 10,000 ticks cost 10 USDC of notional and 450 ppm of it, 0.0045 USDC, in fee;
    sold back at the same price for another 0.0045; 300 USDC out: 1,000 - 0.009 - 300 = 699.991 stay.
    """
    account = account_id(safe)
    assert venue.account(account).collateral_quote == DEPOSIT

    safe.call("Operations", "link_key", 0, SESSION_ADDRESS, LIMITS)
    assert key_word(venue, safe.address) == LIMITS | LINKED

    for is_buy in (True, False):
        maker = venue.order(TAKER, is_buy=not is_buy)
        settled = venue.settle([maker, order_by_key(venue, safe.address, is_buy=is_buy)], [(0, 1, 1_000)])
        assert settled.is_clean
    assert venue.account(account).collateral_quote == DEPOSIT - 9_000

    message = withdrawal(venue, safe.address, 300 * USDC)
    safe.call("Operations", "approve", digest_of(as_typed_data(venue, message)))
    settled = venue.settle(operations=[approved_withdrawal(message)])
    assert settled.is_clean
    assert settled.named("ClaimAdded") == [{"recipient": safe.address.lower(), "quote": 300 * USDC}]

    venue.chain.call("Vault", "claim", safe.address, sender=OUTSIDER)
    assert venue.balance_of(safe.address) == 300 * USDC
    assert venue.account(account).collateral_quote == 699_991_000
    venue.check_books()


def test_safe__signed_by_one_owner_of_two__links_nothing(safe: Safe, venue: Venue) -> None:
    with refused("GS020"):
        safe.call("Operations", "link_key", 0, SESSION_ADDRESS, LIMITS, n_signers=1)

    assert key_word(venue, safe.address) == 0


def test_order__signed_by_an_owner_of_the_safe__is_not_the_safes(safe: Safe, venue: Venue) -> None:
    """One signature of an owner is not the Safe's, whether it claims to be the owner's or a key's."""
    owner = SigningKey(b"\xa1" * 32)
    assert owner.address == bytes.fromhex(OWNERS[0].address[2:])
    own = venue.order(owner, is_buy=True, owner=bytes.fromhex(safe.address[2:]))
    as_key = order_by_key(venue, safe.address, signer=owner, is_buy=True, lane=3)

    settled = venue.settle([own, as_key])

    assert settled.orders == [StatusCode.BAD_SIGNATURE, StatusCode.BAD_SIGNATURE]


def test_withdrawal__without_approval__is_refused(safe: Safe, venue: Venue) -> None:
    message = withdrawal(venue, safe.address, 300 * USDC)

    settled = venue.settle(operations=[approved_withdrawal(message), sign_withdrawal(venue, message, OWNERS[0])])

    assert settled.operations == [StatusCode.BAD_SIGNATURE, StatusCode.BAD_SIGNATURE]
    assert venue.account(account_id(safe)).collateral_quote == DEPOSIT


def test_withdrawal__approved_by_another_safe_of_the_same_owners__is_refused(
    factory: SafeFactory, safe: Safe, venue: Venue
) -> None:
    message = withdrawal(venue, safe.address, 300 * USDC)
    twin = factory.create(2)
    twin.call("Operations", "approve", digest_of(as_typed_data(venue, message)))

    settled = venue.settle(operations=[approved_withdrawal(message)])

    assert settled.operations == [StatusCode.BAD_SIGNATURE]


def test_withdrawal__approved_once__is_paid_once(safe: Safe, venue: Venue) -> None:
    """The approval stays for ever; what ends it is the nonce."""
    message = withdrawal(venue, safe.address, 300 * USDC)
    safe.call("Operations", "approve", digest_of(as_typed_data(venue, message)))

    settled = venue.settle(operations=[approved_withdrawal(message), approved_withdrawal(message)])

    assert settled.operations == [StatusCode.OK, StatusCode.NONCE_CONSUMED]
    assert venue.claim_of(safe.address) == 300 * USDC


def test_key__revoked_by_the_safe__dies_after_the_lag(safe: Safe, venue: Venue) -> None:
    """SETTLE_LAG is 300 s: what was matched before the sequencer could read of it still settles."""
    safe.call("Operations", "link_key", 0, SESSION_ADDRESS, LIMITS)
    safe.call("Operations", "revoke_key", 0, SESSION_ADDRESS)
    revoked_at_s = key_word(venue, safe.address) >> 144 & 2**40 - 1

    codes = []
    for time_s in (revoked_at_s + 300, revoked_at_s + 301):
        venue.chain.set_time(time_s)
        venue.set_prices({1: 10_000})
        codes += venue.settle([order_by_key(venue, safe.address, is_buy=True)]).orders

    assert codes == [StatusCode.OK, StatusCode.KEY_EXPIRED]
