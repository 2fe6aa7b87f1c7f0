"""The vault: exact deposits and claims by pull. Signed deposits, odd tokens and wallets have files of their own."""

from __future__ import annotations

import pytest
from pyrevm import AccountInfo

from tests.contracts.venue import MAKER, TAKER, USDC, Venue, account_of, address_of, refused
from tests.support.chain import OUTSIDER, ZERO_ADDRESS, Chain, encode_call

OWNER = address_of(MAKER)
ACCOUNT = account_of(MAKER)


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

    with refused("test token: allowance"):
        chain.call("Vault", "deposit", OWNER, 0, 100, sender=OUTSIDER)

    assert collateral(chain, ACCOUNT) == 0


def test_deposit__more_than_the_sender_holds__reverts(chain: Chain) -> None:
    approve(chain, 100, minted=99)

    with refused("test token: balance"):
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


@pytest.mark.parametrize("caller", ["Operations", "token", OUTSIDER])
def test_add_claim__of_anybody_but_the_clearinghouse__reverts(chain: Chain, caller: str) -> None:
    chain.deposit(ACCOUNT, USDC)
    sender = chain.addresses.get(caller, caller)
    chain.evm.insert_account_info(sender, AccountInfo(nonce=1))  # a sender with code is no sender (EIP-3607)

    with refused("caller: not clearinghouse"):
        chain.transact(sender, chain.addresses["Vault"], encode_call("Vault", "add_claim", OWNER, USDC))

    assert chain.call("Vault", "claims_quote", OWNER) == 0


# Wiring.


@pytest.mark.parametrize("place", [0, 1, 2])
def test_vault__wired_to_zero__is_not_deployed(chain: Chain, place: int) -> None:
    neighbours = [chain.addresses["token"], chain.addresses["Clearinghouse"], OUTSIDER]
    neighbours[place] = ZERO_ADDRESS

    with refused("wiring: zero address"):
        chain.create("Vault", *neighbours)
