"""Final settlement: one tally, one ratio, one claim each; nobody waits for anybody, nothing is paid twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest

from tests.contracts.leaving import Exodus, insurance_account, open_exodus
from tests.contracts.venue import MAKER, TAKER, THIRD, TICKS, USDC, account_of, address_of, refused
from tests.support.chain import DEPLOYER, OUTSIDER

LONG, SHORT, OTHER = account_of(TAKER), account_of(MAKER), account_of(THIRD)
LOTS = 100_000
"""1,000 USDC at 10,000 ticks. Fees: 0.45 USDC the long's, 0.10 the short's."""
LONG_FEE, SHORT_FEE = 450_000, 100_000


@pytest.fixture(scope="module")
def shared() -> Exodus:
    """Both sides put up 100 USDC; somebody else holds 50 in collateral alone."""
    exodus = open_exodus(deposit_quote=101 * USDC, lots=LOTS)
    exodus.deposit(THIRD, 50 * USDC)
    return exodus


@pytest.fixture
def exodus(shared: Exodus) -> Iterator[Exodus]:
    with shared.venue.chain.undone():
        yield shared.lent()


def crash(exodus: Exodus, ticks: int) -> None:
    """Let the last batches report a price, twice because it jumps; then the sequencer is heard no more."""
    for _ in range(2):
        exodus.wait(60)
        exodus.set_prices({1: ticks})
    assert exodus.venue.price().external_ticks == ticks
    exodus.settle_finally()


def test_tally__everything_in_one_call__fixes_the_ratio_and_pays_in_full(exodus: Exodus) -> None:
    """At 10,400: the long gains 40, the short loses 40; fees of 0.55 are nobody's claim and stay."""
    crash(exodus, 10_400)
    assert exodus.venue.chain.call("Exits", "tally_progress") == (0, 252 * USDC, 1, 0, False, 0)

    assert exodus.tally([LONG, SHORT, OTHER]) is True
    assert [event.name for event in exodus.logged] == ["AccountTallied"] * 3 + ["RatioFixed"]
    equities = [141 * USDC - LONG_FEE, 61 * USDC - SHORT_FEE, 50 * USDC]
    assert exodus.venue.chain.call("Exits", "tally_progress") == (
        252 * USDC, 252 * USDC, 0, sum(equities), True, 252 * USDC
    )  # fmt: skip
    assert [exodus.claim(account) for account in (LONG, SHORT, OTHER)] == equities
    chain = exodus.venue.chain
    for key, equity in zip((TAKER, MAKER, THIRD), equities, strict=True):
        assert chain.call("Vault", "claim", address_of(key)) == equity
    assert chain.call("Vault", "tracked_quote") == LONG_FEE + SHORT_FEE


def test_claim__assets_short_of_equities__pays_one_ratio_to_all(exodus: Exodus) -> None:
    """At 8,000 the long has lost 200 of 101 USDC: 99.45 short of nothing. Assets 252; the short's 301 - 0.1 less what
    cannot be had, like the other's 50: 252 for 350.9."""
    crash(exodus, 8_000)
    assert exodus.tally([OTHER, SHORT, LONG]) is True

    equities = {SHORT: 301 * USDC - SHORT_FEE, OTHER: 50 * USDC}
    total = sum(equities.values())
    assert total == 350_900_000
    shares = {account: equity * 252 * USDC // total for account, equity in equities.items()}
    assert shares == {SHORT: 216_092_333, OTHER: 35_907_666}
    for account, share in shares.items():
        assert exodus.venue.chain.call("Exits", "claimable_quote", account) == share
        assert exodus.claim(account) == share
    with refused("exits: nothing to claim"):
        exodus.claim(LONG)
    assert exodus.venue.chain.call("Vault", "total_claims_quote") == 252 * USDC - 1


def test_claim__insurance_of_a_market__belongs_to_nobody_and_fills_the_gap_first(exodus: Exodus) -> None:
    """100 USDC of insurance cover the 98.9 that the long above lacks after 0.55 of fees: all are paid in full."""
    insurance = exodus.deposit(insurance_account(exodus), 100 * USDC)
    crash(exodus, 8_000)
    assert exodus.tally([OTHER, SHORT, LONG]) is False
    assert exodus.tally([insurance]) is True

    assert exodus.claim(SHORT) == 301 * USDC - SHORT_FEE
    assert exodus.claim(OTHER) == 50 * USDC
    with refused("exits: nothing to claim"):
        exodus.claim(insurance)
    # 352 paid in, 350.9 paid out
    tracked = exodus.venue.chain.call("Vault", "tracked_quote")
    assert tracked - exodus.venue.chain.call("Vault", "total_claims_quote") == 1_100_000


@pytest.mark.parametrize("order", list(permutations((LONG, SHORT, OTHER))))
def test_tally__any_order_one_by_one__ends_alike(exodus: Exodus, order: tuple[int, ...]) -> None:
    crash(exodus, 8_000)
    assert [exodus.tally([account]) for account in order] == [False, False, True]
    assert [exodus.claim(account) for account in sorted((SHORT, OTHER))] == sorted(
        (216_092_333, 35_907_666), reverse=SHORT < OTHER
    )


def test_tally__collateral_all_in_but_a_position_missing__is_not_complete(exodus: Exodus) -> None:
    """The long has taken all of its collateral out against its gain: what it still has, only its position tells."""
    for _ in range(2):
        exodus.wait(60)
        exodus.set_prices({1: 12_000})
    assert exodus.venue.settle(operations=[exodus.venue.withdraw(TAKER, 101 * USDC)]).is_clean
    exodus.sync()
    exodus.settle_finally()

    assert exodus.tally([SHORT, OTHER]) is False
    assert exodus.exits.tallied_collateral_quote == exodus.state.batch.collateral_quote
    assert exodus.tally([LONG]) is True
    assert exodus.tallied_equity(LONG) == 200 * USDC - LONG_FEE


def test_tally__twice_in_one_call_and_in_two__counts_once(exodus: Exodus) -> None:
    crash(exodus, TICKS)
    assert exodus.tally([LONG, LONG]) is False
    assert exodus.tally([LONG]) is False
    assert exodus.exits.tallied_collateral_quote == 101 * USDC
    assert exodus.tally([SHORT, LONG, SHORT, OTHER]) is True


def test_tally__accounts_that_never_were__change_nothing(exodus: Exodus) -> None:
    crash(exodus, TICKS)
    nobody = list(range(1 << 90, (1 << 90) + 61))
    exodus.accounts += nobody[:2]
    exodus.exits.tallies = {}
    chain = exodus.venue.chain
    assert chain.call("Exits", "tally", [*nobody, LONG, SHORT, OTHER]) is True
    assert chain.call("Exits", "claimable_quote", nobody[0]) == 0


def test_tally__account_under_a_second_name__is_refused(exodus: Exodus) -> None:
    """2^240 higher it would be the same words once more."""
    crash(exodus, TICKS)
    with refused("exits: account id"):
        exodus.tally([LONG, LONG | 1 << 240])


def test_tally__before_final_settlement__is_refused(exodus: Exodus) -> None:
    with refused("exits: not settled"):
        exodus.tally([LONG])


def test_tally__after_the_ratio_is_fixed__is_refused(exodus: Exodus) -> None:
    crash(exodus, TICKS)
    exodus.tally([LONG, SHORT, OTHER])
    with refused("exits: ratio fixed"):
        exodus.tally([LONG])


def test_claim__before_all_are_tallied_and_twice__is_refused(exodus: Exodus) -> None:
    crash(exodus, TICKS)
    exodus.tally([LONG, SHORT])
    with refused("exits: nothing to claim"):
        exodus.claim(LONG)
    exodus.tally([OTHER])
    assert exodus.claim(LONG) == 101 * USDC - LONG_FEE
    assert exodus.logged[0].name == "SettlementClaimed"
    assert exodus.logged[0].args == {
        "account": LONG, "owner": address_of(TAKER).lower(), "quote": 101 * USDC - LONG_FEE
    }  # fmt: skip
    with refused("exits: nothing to claim"):
        exodus.claim(LONG)


def test_claim__between_claims_of_others_and_donations__is_the_same(exodus: Exodus) -> None:
    """The ratio is fixed: what the Vault pays or is given meanwhile changes nobody's share."""
    chain = exodus.venue.chain
    crash(exodus, 8_000)
    exodus.tally([LONG, SHORT, OTHER])
    exodus.claim(SHORT)
    chain.call("Vault", "claim", address_of(MAKER))
    exodus.sync()
    chain.call("token", "mint", chain.addresses["Vault"], 1_000 * USDC)
    assert exodus.claim(OTHER) == 35_907_666


def test_claim__unpaid_claims_from_before__are_not_shared(exodus: Exodus) -> None:
    """What left an account before stands apart from the assets that are divided."""
    exodus.request_withdrawal(OTHER, 20 * USDC)
    exodus.wait(6 * 3_600)
    exodus.force_withdrawal(OTHER)
    crash(exodus, 8_000)
    exodus.tally([LONG, SHORT, OTHER])
    assert exodus.exits.assets_quote == 232 * USDC
    assert exodus.venue.claim_of(address_of(THIRD)) == 20 * USDC


def test_claim__blacklisted_owner__waits_alone(exodus: Exodus) -> None:
    chain = exodus.venue.chain
    crash(exodus, TICKS)
    exodus.tally([LONG, SHORT, OTHER])
    chain.call("token", "set_blacklisted", address_of(TAKER), True, sender=DEPLOYER)
    for account in (LONG, SHORT, OTHER):
        exodus.claim(account)
    assert chain.call("Vault", "claim", address_of(MAKER)) > 0
    assert chain.call("Vault", "claim", address_of(THIRD)) == 50 * USDC
    with refused("test token: blacklisted"):
        chain.call("Vault", "claim", address_of(TAKER))


def test_claim__pending_funding__counts_and_its_dust_stays(exodus: Exodus) -> None:
    """Indices of 1.5 quote a lot for longs and shorts: the long pays 150,000 more, the short gets as much."""
    word = 1_500_000_000_000 | 1_500_000_000_000 << 96
    exodus.venue.chain.write_word("indices", 1, word)
    exodus.sync()
    crash(exodus, TICKS)
    exodus.tally([LONG, SHORT, OTHER])
    assert exodus.claim(LONG) == 101 * USDC - LONG_FEE - 150_000
    assert exodus.claim(SHORT) == 101 * USDC - SHORT_FEE + 150_000


def test_final_settlement__empty_venue__is_complete_with_nobody(exodus: Exodus) -> None:
    empty = open_exodus(deposit_quote=0)
    empty.settle_finally()
    assert empty.tally([]) is True
    with refused("exits: nothing to claim"):
        empty.claim(int(OUTSIDER, 16) << 80)
