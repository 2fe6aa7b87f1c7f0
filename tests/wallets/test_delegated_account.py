"""An EIP-7702 account trades: its address has code, its key still signs, and no change of code stops an order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from eth_abi.abi import encode as abi_encode

from afterbell.domain.batch import build_operation_row
from afterbell.domain.codes import StatusCode
from afterbell.domain.hashing import keccak
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import TAKER, USDC, Venue, refused
from tests.support.chain import OUTSIDER, ZERO_ADDRESS
from tests.support.counterparts import compiled
from tests.wallets.delegated import DelegatedAccount, encode_batch
from tests.wallets.wallet import (
    LIMITS,
    LINKED,
    SESSION_ADDRESS,
    SESSION_KEY,
    as_typed_data,
    digest_of,
    key_word,
    order_by_key,
    sign_withdrawal,
    withdrawal,
)

SECRET: Final = b"\x70" * 32
DEPOSIT: Final = 1_000 * USDC
OWN_KEY: Final = SigningKey(SECRET)


@pytest.fixture(scope="session")
def executor(opened: Venue) -> str:
    return opened.chain.create_code(compiled("DelegatedAccount").creation_code)


@pytest.fixture
def account(venue: Venue) -> DelegatedAccount:
    """A plain account that holds 1,000 USDC and has delegated to nobody yet."""
    account = DelegatedAccount.make(venue.chain, SECRET)
    venue.chain.call("token", "mint", account.address, DEPOSIT)
    return account


def start(account: DelegatedAccount, executor: str) -> None:
    """Delegate, approve, deposit and link a key: one transaction, one signature."""
    vault = account.chain.addresses["Vault"]
    account.delegate(
        executor,
        [
            account.call("token", "approve", vault, DEPOSIT),
            account.call("Vault", "deposit_and_link", 0, DEPOSIT, SESSION_ADDRESS, LIMITS),
        ],
    )


def ledger_id(account: DelegatedAccount) -> int:
    return int(account.address, 16) << 80


def test_account__whole_life__starts_in_one_transaction_trades_by_key_and_is_paid(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    """1,000 USDC in; 10 USDC bought and sold back at 450 ppm, 0.0045 USDC each; 300 out by the account's signature."""
    assert account.code == b""

    start(account, executor)
    assert account.code == bytes.fromhex("ef0100" + executor[2:])
    assert venue.account(ledger_id(account)).collateral_quote == DEPOSIT
    assert key_word(venue, account.address) == LIMITS | LINKED
    assert venue.balance_of(account.address) == 0

    for is_buy in (True, False):
        maker = venue.order(TAKER, is_buy=not is_buy)
        settled = venue.settle([maker, order_by_key(venue, account.address, is_buy=is_buy)], [(0, 1, 1_000)])
        assert settled.is_clean

    message = withdrawal(venue, account.address, 300 * USDC)
    assert venue.settle(operations=[sign_withdrawal(venue, message, account.key)]).is_clean
    venue.chain.call("Vault", "claim", account.address, sender=OUTSIDER)
    assert venue.balance_of(account.address) == 300 * USDC
    assert venue.account(ledger_id(account)).collateral_quote == 699_991_000
    venue.check_books()


def test_account__with_code__its_own_signature_on_an_order_counts(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    start(account, executor)

    settled = venue.settle([venue.order(OWN_KEY, is_buy=True), venue.order(TAKER, is_buy=False)], [(1, 0, 1_000)])

    assert settled.is_clean


def test_account__code_gone_between_order_and_batch__voids_nothing(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    """What a wallet does with its code after signing changes no answer of the venue: signatures alone are asked."""
    start(account, executor)
    own = venue.order(OWN_KEY, is_buy=True)
    by_key = order_by_key(venue, account.address, is_buy=True, lane=5)

    account.clear()
    assert account.code == b""
    settled = venue.settle(
        [own, by_key, venue.order(TAKER, is_buy=False, size_lots=2_000)], [(2, 0, 1_000), (2, 1, 1_000)]
    )

    assert settled.is_clean


def test_account__code_appears_between_order_and_batch__voids_nothing(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    venue.chain.deposit(ledger_id(account), DEPOSIT)
    own = venue.order(OWN_KEY, is_buy=True)

    account.delegate(executor)
    settled = venue.settle([own, venue.order(TAKER, is_buy=False)], [(1, 0, 1_000)])

    assert settled.is_clean


def test_account__batch_of_calls_by_an_outsider__is_refused(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    """The executor answers the account alone: nobody links a key through its code."""
    account.delegate(executor)
    calls = [account.call("Operations", "link_key", 0, SESSION_ADDRESS, LIMITS)]

    with refused((keccak(b"AccountUnauthorized(address)")[:4] + abi_encode(["address"], [OUTSIDER])).hex()):
        venue.chain.transact(OUTSIDER, account.address, encode_batch(calls))

    assert key_word(venue, account.address) == 0
    account.execute(calls)
    assert key_word(venue, account.address) == LIMITS | LINKED


def test_account__deposit_and_bad_key_in_one_batch__takes_nothing(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    vault = venue.chain.addresses["Vault"]

    with refused("operations: bad key"):
        account.delegate(
            executor,
            [
                account.call("token", "approve", vault, DEPOSIT),
                account.call("Vault", "deposit_and_link", 0, DEPOSIT, ZERO_ADDRESS, LIMITS),
            ],
        )

    assert venue.balance_of(account.address) == DEPOSIT
    assert venue.chain.call("token", "allowance", account.address, vault) == 0
    assert venue.account(ledger_id(account)).collateral_quote == 0


def test_withdrawal__of_the_account_signed_by_its_session_key__is_refused(
    account: DelegatedAccount, executor: str, venue: Venue
) -> None:
    """The key is trade only; passed off as the owner's, its signature is nobody's."""
    start(account, executor)
    message = withdrawal(venue, account.address, 300 * USDC)
    r, vs = SESSION_KEY.sign(digest_of(as_typed_data(venue, message)))
    own = build_operation_row(message, r=r, vs=vs)
    by_key = replace(own, flags=1)

    settled = venue.settle(operations=[own, by_key])

    assert settled.operations == [StatusCode.BAD_SIGNATURE, StatusCode.KEY_LIMIT]
    assert venue.account(ledger_id(account)).collateral_quote == DEPOSIT
