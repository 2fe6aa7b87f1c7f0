"""The vault: exact deposits, claims by pull, and a token that misbehaves in every way tokens do."""

from __future__ import annotations

import pytest

from tests.contracts.venue import MAKER, TAKER, USDC, Venue, account_of, address_of, refused
from tests.support.chain import DEPLOYER, OUTSIDER, ZERO_ADDRESS, Chain

OWNER = address_of(MAKER)
ACCOUNT = account_of(MAKER)
ODD_TOKENS = ("SilentToken", "RefusingToken")


@pytest.fixture
def chain() -> Chain:
    return Chain.deploy()


def approve(chain: Chain, quote: int, *, minted: int | None = None) -> None:
    chain.call("token", "mint", OUTSIDER, quote if minted is None else minted)
    chain.call("token", "approve", chain.addresses["Vault"], quote, sender=OUTSIDER)


def collateral(chain: Chain, account: int) -> int:
    return int(chain.call("Clearinghouse", "account_word", account)) & (1 << 72) - 1


# Deposits.


def test_deposit__approved__credits_the_named_account_and_says_so(chain: Chain) -> None:
    """100 USDC: OUTSIDER -> Vault; credited to MAKER's subaccount 5."""
    approve(chain, 100 * USDC)

    direct_op = chain.call("Vault", "deposit", OWNER, 5, 100 * USDC, sender=OUTSIDER)

    events = {event.name: event.args for event in chain.events()}
    assert direct_op == 1
    assert events["Deposited"] == {"sender": OUTSIDER.lower(), "account": ACCOUNT + 5, "quote": 100 * USDC}
    assert events["CollateralDeposited"] == {
        "account": ACCOUNT + 5, "direct_op": 1, "sender": OUTSIDER.lower(), "quote": 100 * USDC
    }  # fmt: skip
    assert collateral(chain, ACCOUNT + 5) == 100 * USDC
    assert collateral(chain, ACCOUNT) == 0
    assert chain.call("Vault", "tracked_quote") == 100 * USDC
    assert chain.call("token", "balanceOf", chain.addresses["Vault"]) == 100 * USDC
    assert chain.call("Clearinghouse", "operator_word") >> 160 == 1
    assert chain.call("Clearinghouse", "batch_word") >> 160 == 100 * USDC


def test_deposit__not_approved__reverts_and_credits_nothing(chain: Chain) -> None:
    approve(chain, 99, minted=100)

    with refused(""):
        chain.call("Vault", "deposit", OWNER, 0, 100, sender=OUTSIDER)

    assert collateral(chain, ACCOUNT) == 0


def test_deposit__more_than_the_sender_holds__reverts(chain: Chain) -> None:
    approve(chain, 100, minted=99)

    with refused(""):
        chain.call("Vault", "deposit", OWNER, 0, 100, sender=OUTSIDER)


@pytest.mark.parametrize(
    ("owner", "quote", "reason"),
    [
        (OWNER, 0, "deposit: zero"),
        (OWNER, 2**64, "deposit: too large"),
        (ZERO_ADDRESS, 1, "deposit: owner"),
    ],
)
def test_deposit__bad_argument__reverts(chain: Chain, owner: str, quote: int, reason: str) -> None:
    approve(chain, 2**64)

    with refused(reason):
        chain.call("Vault", "deposit", owner, 0, quote, sender=OUTSIDER)


def test_deposit__of_the_largest_sum__is_credited_whole(chain: Chain) -> None:
    approve(chain, 2**64 - 1)

    chain.call("Vault", "deposit", OWNER, 2**80 - 1, 2**64 - 1, sender=OUTSIDER)

    assert collateral(chain, ACCOUNT | 2**80 - 1) == 2**64 - 1


def test_deposit__collateral_would_leave_its_lane__reverts(chain: Chain) -> None:
    """int72 holds up to 2^71 - 1: 127 deposits of 2^64 fit, what remains below is 2^64 - 1."""
    chain.write_word("accounts", ACCOUNT << 16, 2**71 - 5)
    approve(chain, 10)

    chain.call("Vault", "deposit", OWNER, 0, 4, sender=OUTSIDER)
    with refused("word: collateral range"):
        chain.call("Vault", "deposit", OWNER, 0, 1, sender=OUTSIDER)

    assert chain.call("Clearinghouse", "account_word", ACCOUNT) == 2**71 - 1


def test_deposit__sum_of_collateral_would_leave_its_lane__reverts(chain: Chain) -> None:
    chain.write_value("batch", 2**95 - 5 << 160)
    approve(chain, 10)

    chain.call("Vault", "deposit", OWNER, 0, 4, sender=OUTSIDER)
    with refused("word: batch range"):
        chain.call("Vault", "deposit", OWNER, 0, 1, sender=OUTSIDER)


def test_deposit__takes_collateral_back_above_zero__keeps_every_other_bit(chain: Chain) -> None:
    """A debt of 5 and 12 USDC in: 7. Borrowing across the lane would change min_seq beside it."""
    others = (0x0605_0403_0201 << 200) | (7 << 152) | (9 << 112) | (1_234 << 72)
    chain.write_word("accounts", ACCOUNT << 16, others | (2**72 - 5 * USDC))
    approve(chain, 12 * USDC)

    chain.call("Vault", "deposit", OWNER, 0, 12 * USDC, sender=OUTSIDER)

    assert chain.call("Clearinghouse", "account_word", ACCOUNT) == others | 7 * USDC


# Tokens that are not what they seem.


@pytest.mark.parametrize("token", ODD_TOKENS)
def test_deposit__odd_token_that_moves_everything__credited(token: str) -> None:
    chain = Chain.deploy(token=token)

    chain.deposit(ACCOUNT, 50 * USDC)

    assert collateral(chain, ACCOUNT) == 50 * USDC
    assert chain.call("Vault", "tracked_quote") == 50 * USDC


@pytest.mark.parametrize(
    ("token", "reason"), [("SilentToken", "deposit: inexact"), ("RefusingToken", "token: refused")]
)
def test_deposit__token_moves_nothing_without_reverting__reverts(token: str, reason: str) -> None:
    chain = Chain.deploy(token=token)
    chain.call("token", "set_refusing", True)

    with refused(reason):
        chain.deposit(ACCOUNT, 50 * USDC)

    assert collateral(chain, ACCOUNT) == 0
    assert chain.call("Vault", "tracked_quote") == 0


@pytest.mark.parametrize("token", ODD_TOKENS)
def test_deposit__token_takes_a_fee__reverts(token: str) -> None:
    """One unit missing of 50 USDC is one unit the vault would owe without having it."""
    chain = Chain.deploy(token=token)
    chain.call("token", "set_fee", 1)

    with refused("deposit: inexact"):
        chain.deposit(ACCOUNT, 50 * USDC)

    assert collateral(chain, ACCOUNT) == 0


@pytest.mark.parametrize("token", ODD_TOKENS)
def test_claim__token_takes_a_fee_later__recipient_bears_it(token: str) -> None:
    """50 USDC in, 50 leave the vault, the token keeps 1 unit: tracked goes to zero, nobody else pays."""
    venue = Venue.open(token=token, deposit_quote=50 * USDC)
    venue.settle(operations=[venue.withdraw(MAKER, 50 * USDC)])
    venue.chain.call("token", "set_fee", 1)

    venue.chain.call("Vault", "claim", OWNER)

    assert venue.balance_of(OWNER) == 50 * USDC - 1
    assert venue.balance_of(venue.chain.addresses["Vault"]) == 50 * USDC
    venue.check_books()


def test_claim__token_answers_false__reverts_and_the_claim_stays() -> None:
    venue = Venue.open(token="RefusingToken", deposit_quote=50 * USDC)
    venue.settle(operations=[venue.withdraw(MAKER, 20 * USDC)])
    venue.chain.call("token", "set_refusing", True)

    with refused("token: refused"):
        venue.chain.call("Vault", "claim", OWNER)

    assert venue.claim_of(OWNER) == 20 * USDC
    venue.chain.call("token", "set_refusing", False)
    assert venue.chain.call("Vault", "claim", OWNER) == 20 * USDC


def test_deposit__address_without_code_as_token__reverts() -> None:
    """A call to an address without code succeeds and returns nothing: the compiler asks for code."""
    chain = Chain.deploy()
    chain.addresses["Nothing"] = OUTSIDER
    chain.create("Vault", OUTSIDER, chain.addresses["Clearinghouse"], OUTSIDER)

    with refused(""):
        chain.call("Vault", "deposit", OWNER, 0, 1)


# Donations.


def test_donation__to_the_vault__changes_no_number_and_no_later_deposit() -> None:
    venue = Venue.open()
    vault = venue.chain.addresses["Vault"]
    numbers = ("tracked_quote", "total_claims_quote")
    before = [venue.chain.call("Vault", name) for name in numbers]
    words = venue.chain.call("Clearinghouse", "batch_word"), venue.chain.call("Clearinghouse", "account_word", ACCOUNT)

    venue.chain.call("token", "mint", vault, 777 * USDC)

    assert [venue.chain.call("Vault", name) for name in numbers] == before
    assert words == (
        venue.chain.call("Clearinghouse", "batch_word"), venue.chain.call("Clearinghouse", "account_word", ACCOUNT)
    )  # fmt: skip
    venue.chain.deposit(ACCOUNT, USDC)
    assert venue.chain.call("Vault", "tracked_quote") == before[0] + USDC
    venue.check_books()


# Claims.


def test_claim__after_a_withdrawal__pays_the_recipient_whoever_asks() -> None:
    """30 USDC: MAKER's collateral -> claim of TAKER's address -> TAKER's address, asked for by a third."""
    venue = Venue.open()
    recipient = address_of(TAKER)
    settled = venue.settle(operations=[venue.withdraw(MAKER, 30 * USDC, recipient=recipient)])

    assert settled.named("ClaimAdded") == [{"recipient": recipient.lower(), "quote": 30 * USDC}]
    assert settled.named("CollateralWithdrawn") == [
        {"account": ACCOUNT, "recipient": recipient.lower(), "sequence": 2, "quote": 30 * USDC}
    ]
    assert venue.claim_of(recipient) == 30 * USDC
    paid = venue.chain.call("Vault", "claim", recipient, sender=OUTSIDER)
    events = {event.name: event.args for event in venue.chain.events()}
    assert paid == 30 * USDC
    assert events["ClaimPaid"] == {"recipient": recipient.lower(), "quote": 30 * USDC}
    assert venue.balance_of(recipient) == 30 * USDC
    assert venue.balance_of(OUTSIDER) == 0
    assert venue.chain.call("Vault", "tracked_quote") == 2 * 10_000 * USDC - 30 * USDC
    venue.check_books()


def test_claim__twice__pays_once() -> None:
    venue = Venue.open()
    venue.settle(operations=[venue.withdraw(MAKER, 30 * USDC)])
    venue.chain.call("Vault", "claim", OWNER)

    with refused("claim: nothing"):
        venue.chain.call("Vault", "claim", OWNER)

    assert venue.balance_of(OWNER) == 30 * USDC


def test_claim__of_somebody_without_one__reverts(chain: Chain) -> None:
    with refused("claim: nothing"):
        chain.call("Vault", "claim", OUTSIDER)


def test_claim__two_withdrawals_of_one_batch__add_up() -> None:
    venue = Venue.open()

    venue.settle(operations=[venue.withdraw(MAKER, 30 * USDC), venue.withdraw(TAKER, 12 * USDC, recipient=OWNER)])

    assert venue.claim_of(OWNER) == 42 * USDC


def test_claim__recipient_blacklisted__stops_that_claim_and_nothing_else() -> None:
    """MAKER's address is blacklisted: its withdrawal settles beside a fill and another withdrawal, its claim waits."""
    venue = Venue.open()
    venue.chain.call("token", "set_blacklisted", OWNER, True, sender=DEPLOYER)
    orders = venue.pair()

    settled = venue.settle(
        orders, [(0, 1, 1_000)], [venue.withdraw(MAKER, 30 * USDC), venue.withdraw(TAKER, 12 * USDC)]
    )

    assert settled.is_clean
    with refused("test token: blacklisted"):
        venue.chain.call("Vault", "claim", OWNER)
    assert venue.claim_of(OWNER) == 30 * USDC
    assert venue.chain.call("Vault", "claim", address_of(TAKER)) == 12 * USDC
    assert venue.trade().is_clean
    venue.chain.call("token", "set_blacklisted", OWNER, False, sender=DEPLOYER)
    assert venue.chain.call("Vault", "claim", OWNER) == 30 * USDC
    venue.check_books()


def test_settle__token_paused_or_vault_blacklisted__goes_on_and_claims_wait() -> None:
    venue = Venue.open()
    venue.chain.call("token", "set_paused", True, sender=DEPLOYER)
    venue.chain.call("token", "set_blacklisted", venue.chain.addresses["Vault"], True, sender=DEPLOYER)

    settled = venue.settle(venue.pair(), [(0, 1, 1_000)], [venue.withdraw(TAKER, 12 * USDC)])

    assert settled.is_clean
    with refused("test token: paused"):
        venue.chain.call("Vault", "claim", address_of(TAKER))
    with refused("test token: blacklisted"):
        venue.chain.deposit(ACCOUNT, USDC)
    venue.chain.call("token", "set_paused", False, sender=DEPLOYER)
    with refused("test token: blacklisted"):
        venue.chain.call("Vault", "claim", address_of(TAKER))
    venue.chain.call("token", "set_blacklisted", venue.chain.addresses["Vault"], False, sender=DEPLOYER)
    assert venue.chain.call("Vault", "claim", address_of(TAKER)) == 12 * USDC


# Wiring.


@pytest.mark.parametrize("place", [0, 1, 2])
def test_vault__wired_to_zero__is_not_deployed(chain: Chain, place: int) -> None:
    neighbours = [chain.addresses["token"], chain.addresses["Clearinghouse"], OUTSIDER]
    neighbours[place] = ZERO_ADDRESS

    with refused("wiring: zero address"):
        chain.create("Vault", *neighbours)
