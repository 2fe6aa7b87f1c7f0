"""Who bears a loss: insurance up to its cap, winners, then everybody who holds the market. Nobody else, no unit more.

A long of 1,000,000 lots bought at 10,000 ticks with 2,000 USDC of collateral is worth nothing at 8,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import pytest

from tests.contracts.ladder import (
    DAY_S,
    HOUR_S,
    KEEPER,
    KEEPER_ID,
    LAG_S,
    LONG_ID,
    LOTS,
    OTHER,
    OTHER_ID,
    SHORT,
    SHORT_ID,
    Ladder,
    key_of,
    open_pair,
)
from tests.contracts.venue import USDC, account_of, refused
from tests.support.chain import OUTSIDER, encode_call

BANKRUPT: Final = 7_900
"""100 ticks a lot below nothing: 100 USDC are missing."""
LOSS: Final = 100 * USDC


@pytest.fixture(scope="module")
def shared() -> Ladder:
    return open_pair()


@pytest.fixture
def ladder(shared: Ladder) -> Iterator[Ladder]:
    """Lend the venue, without insurance; whatever a test does is undone."""
    with shared.venue.chain.undone():
        yield shared.lent()


def flag_and_wait(ladder: Ladder, account: int = LONG_ID, *, seconds: int = LAG_S + 1) -> None:
    ladder.flag(account)
    ladder.wait(seconds)


def sum_wealth(ladder: Ladder, *accounts: int) -> int:
    return sum(ladder.equity(account) for account in accounts)


# Insurance.


@pytest.mark.parametrize("insurance_quote", [5 * LOSS, 5 * LOSS - 1, 0])
def test_liquidate__the_only_two_accounts__insurance_exact_or_nothing(ladder: Ladder, insurance_quote: int) -> None:
    """A fifth of 500 USDC is what is missing. The short takes the long over: the market is empty afterwards."""
    ladder.deposit(ladder.insurance_id(), insurance_quote)
    ladder.put_price(BANKRUPT)
    flag_and_wait(ladder)

    if insurance_quote < 5 * LOSS:
        with refused("liquidations: bankrupt"):
            ladder.liquidate(LONG_ID, taker=SHORT_ID)
        return
    ladder.liquidate(LONG_ID, taker=SHORT_ID)

    assert ladder.named("InsurancePaid") == [{"market": 1, "account": LONG_ID, "quote": LOSS, "left_quote": 0}]
    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == BANKRUPT
    assert ladder.named("AccountLiquidated")[0]["insurance_quote"] == LOSS
    assert ladder.collateral(LONG_ID) == 0
    # 2,100 ticks a lot won
    assert ladder.collateral(SHORT_ID) == 22_100 * USDC
    assert ladder.collateral(ladder.insurance_id()) == 4 * LOSS
    totals = ladder.venue.totals()
    assert (totals.open_interest_lots, totals.net_entry_quote, totals.pot_quote) == (0, 0, 0)
    assert LONG_ID not in ladder.state.flags


def test_liquidate__bankrupt__only_the_whole_position(ladder: Ladder) -> None:
    """Recapitalised with a part of its position left, an account would speculate with what insurance paid."""
    ladder.deposit(ladder.insurance_id(), 5 * LOSS)
    ladder.put_price(BANKRUPT)
    flag_and_wait(ladder)

    with refused("liquidations: lots"):
        ladder.liquidate(LONG_ID, LOTS - 10_000)


def test_liquidate__bankrupt_at_the_mark_alone__taken_at_the_external_price_without_insurance(ladder: Ladder) -> None:
    """Mark 7,900, external 8,400: who takes it over pays 8,400, and 400 ticks a lot are the account's own."""
    ladder.deposit(ladder.insurance_id(), 100 * LOSS)
    ladder.put_price(BANKRUPT, 8_400)
    flag_and_wait(ladder)

    ladder.liquidate(LONG_ID)

    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == 8_400
    assert ladder.named("InsurancePaid") == []
    # -100 + 0.0005 l - 0.000042 l >= 15 % of (1,000,000 - l) x 7,900: 1,285,000,000 / 1,643, up to ten; fee 42 a lot
    assert ladder.venue.position(LONG_ID).size_lots == LOTS - 782_110
    assert ladder.collateral(LONG_ID) == 2_000 * USDC - 782_110 * 42


def test_liquidate__bankrupt_at_both__insurance_pays_at_the_better_price(ladder: Ladder) -> None:
    """Mark 7,500, external 7,900: 500 or 100 ticks a lot are missing, 100 are paid."""
    ladder.deposit(ladder.insurance_id(), 5 * LOSS)
    ladder.put_price(7_500, BANKRUPT)
    flag_and_wait(ladder)

    ladder.liquidate(LONG_ID)

    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == BANKRUPT
    assert ladder.collateral(ladder.insurance_id()) == 4 * LOSS


def test_insurance__draws_of_a_day__a_fifth_of_what_it_held_at_the_first() -> None:
    """Two longs fail on one day; 1,000 USDC allow 200: 100 for the first, 99.99 are too little for the second."""
    ladder = open_pair(insurance_quote=10 * LOSS - 50, long_quote=2_000 * USDC, short_quote=50_000 * USDC)
    ladder.deposit(OTHER_ID, 2_000 * USDC)
    ladder.trade(OTHER, SHORT)
    ladder.put_price(BANKRUPT)
    ladder.flag(LONG_ID)
    flag_and_wait(ladder, OTHER_ID)
    ladder.liquidate(LONG_ID)
    # deposits of the day raise nothing
    ladder.deposit(ladder.insurance_id(), 100 * LOSS)

    with refused("liquidations: bankrupt"):
        ladder.liquidate(OTHER_ID)
    assert ladder.venue.chain.call("Liquidations", "insurance_left_quote", 1) == LOSS - 10
    ladder.wait(DAY_S - ladder.now_s % DAY_S)
    # the old flag counts no more
    flag_and_wait(ladder, OTHER_ID)

    ladder.liquidate(OTHER_ID)

    # a fifth of 10 x LOSS - 50 - LOSS + 100 x LOSS, rounded down
    assert ladder.liquidations.draws[1].left_quote == (109 * LOSS - 50) * 20 // 100 - LOSS


def test_liquidate__loss_over_two_markets__each_insurance_pays_its_share() -> None:
    """A long in both markets, 100 USDC missing: maintenance shares it 1 : 2, rounded down, the last market the rest."""
    ladder = open_pair(long_quote=6_200 * USDC, short_quote=100_000 * USDC)
    ladder.trade(key_of("long"), SHORT, 2 * LOTS, market=2)
    ladder.deposit(ladder.insurance_id(1), 1_000 * USDC)
    ladder.deposit(ladder.insurance_id(2), 1_000 * USDC)
    ladder.put_price(BANKRUPT)
    ladder.put_price(BANKRUPT, market=2)
    flag_and_wait(ladder)
    # 6,200 - 3 x 2,100 = -100 USDC
    assert ladder.equity(LONG_ID) == -LOSS

    ladder.liquidate(LONG_ID, market=2)

    paid = {event["market"]: event["quote"] for event in ladder.named("InsurancePaid")}
    assert paid == {1: 33_333_334, 2: 66_666_666}
    assert ladder.equity(LONG_ID) == 0
    assert ladder.venue.position(LONG_ID).size_lots == LOTS


# Auto-deleveraging.


def open_and_nominate(ladder: Ladder, *accounts: int) -> int:
    adl_id = ladder.open_adl(LONG_ID)
    for account in accounts:
        ladder.nominate(adl_id, account)
    return adl_id


def test_adl__the_only_two_accounts__closed_at_the_bankruptcy_price(ladder: Ladder) -> None:
    ladder.put_price(BANKRUPT)

    adl_id = ladder.open_adl(LONG_ID)
    assert ladder.named("AdlOpened") == [
        {
            "adl_id": 1, "account": LONG_ID, "market": 1, "lots": LOTS, "mark_ticks": BANKRUPT, "price_ticks": 8_000,
        }
    ]  # fmt: skip
    ladder.nominate(adl_id, SHORT_ID)
    ladder.wait(900)
    with refused("liquidations: too early"):
        ladder.execute_adl(adl_id)
    ladder.wait(1)
    closed = ladder.execute_adl(adl_id)

    assert closed == LOTS
    assert ladder.named("AdlExecuted") == [
        {"adl_id": adl_id, "lots": LOTS, "price_ticks": 8_000, "n_counterparties": 1}
    ]
    assert ladder.collateral(LONG_ID) == 0
    # all the long had, and nothing more
    assert ladder.collateral(SHORT_ID) == 22_000 * USDC
    totals = ladder.venue.totals()
    assert (totals.open_interest_lots, totals.net_entry_quote, totals.pot_quote) == (0, 0, 0)
    with refused("liquidations: no adl"):
        ladder.execute_adl(adl_id)


def test_adl__short_account__closed_downward() -> None:
    """A short of 10,000 USDC with 2,000 at 12,300: 300 a lot are missing, longs sell to it at 12,000."""
    ladder = open_pair(long_quote=20_000 * USDC, short_quote=2_000 * USDC)
    ladder.put_price(12_300)

    adl_id = ladder.open_adl(SHORT_ID)
    ladder.nominate(adl_id, LONG_ID)
    ladder.wait(901)
    ladder.execute_adl(adl_id)

    assert ladder.liquidations.adls[adl_id].price_ticks == 12_000
    assert ladder.collateral(SHORT_ID) == 0
    assert ladder.collateral(LONG_ID) == 22_000 * USDC


def test_adl__price_rounded_against_the_winner__the_rest_goes_to_the_pot() -> None:
    """One unit more is missing: 7,900 + 100.000001 is 8,001 in whole ticks, of which the account keeps nothing."""
    ladder = open_pair(long_quote=2_000 * USDC - 1)
    ladder.put_price(BANKRUPT)
    adl_id = open_and_nominate(ladder, SHORT_ID)
    ladder.wait(901)

    ladder.execute_adl(adl_id)

    assert ladder.liquidations.adls[adl_id].price_ticks == 8_001
    assert ladder.collateral(LONG_ID) == 0
    assert ladder.venue.totals().pot_quote == LOTS - 1


def test_execute_adl__nominated_less_than_settle_lag_ago__is_passed_over(ladder: Ladder) -> None:
    """Nobody closes himself a second after he was filled: what was matched before the nomination settles first."""
    ladder.put_price(BANKRUPT)
    adl_id = ladder.open_adl(LONG_ID)
    ladder.wait(601)
    ladder.nominate(adl_id, SHORT_ID)
    ladder.wait(300)
    with refused("liquidations: nobody nominated"):
        ladder.execute_adl(adl_id)
    ladder.wait(1)

    assert ladder.execute_adl(adl_id) == LOTS


def test_open_adl__solvent_account__refused_until_an_hour_after_its_flag(ladder: Ladder) -> None:
    """And then only as far as a liquidation would go, at its price: the account keeps its surplus."""
    ladder.put_price(8_888)
    with refused("liquidations: not bankrupt"):
        ladder.open_adl(LONG_ID)
    flag_and_wait(ladder, seconds=HOUR_S)
    with refused("liquidations: not bankrupt"):
        ladder.open_adl(LONG_ID)
    ladder.wait(1)

    adl_id = open_and_nominate(ladder, SHORT_ID)
    ladder.wait(901)
    closed = ladder.execute_adl(adl_id)

    # 7.5 % off: 8,222; no fee
    least = Fraction(Fraction(15, 100) * LOTS * 8_888 - 888_000_000) / (Fraction(15, 100) * 8_888 - 666)
    assert ladder.named("AdlExecuted")[0]["price_ticks"] == 8_222
    assert closed == -(-least // 10) * 10
    assert ladder.equity(LONG_ID) == 888_000_000 - 666 * closed > 0


def test_open_adl__bankrupt_at_the_mark_alone__refused(ladder: Ladder) -> None:
    ladder.put_price(BANKRUPT, 8_001)

    with refused("liquidations: not bankrupt"):
        ladder.open_adl(LONG_ID)


def test_open_adl__healthy_or_no_position__refused(ladder: Ladder) -> None:
    with refused("liquidations: healthy"):
        ladder.open_adl(LONG_ID)
    with refused("liquidations: no position"):
        ladder.open_adl(LONG_ID, 2)


def test_open_adl__while_one_is_open__refused(ladder: Ladder) -> None:
    ladder.put_price(BANKRUPT)
    ladder.open_adl(LONG_ID)
    with refused("liquidations: adl open"):
        ladder.open_adl(LONG_ID)
    ladder.wait(7_200)
    with refused("liquidations: adl open"):
        ladder.open_adl(LONG_ID)
    ladder.wait(1)

    assert ladder.open_adl(LONG_ID) == 2
    with refused("liquidations: no adl"):
        ladder.nominate(1, SHORT_ID)


def test_execute_adl__recovered_meanwhile__refused(ladder: Ladder) -> None:
    ladder.put_price(BANKRUPT)
    adl_id = open_and_nominate(ladder, SHORT_ID)
    ladder.deposit(LONG_ID, 1_000 * USDC)
    ladder.wait(901)

    with refused("liquidations: healthy"):
        ladder.execute_adl(adl_id)


def test_execute_adl__mark_fell_further__the_winner_pays_no_more_than_recorded(ladder: Ladder) -> None:
    ladder.put_price(BANKRUPT)
    adl_id = open_and_nominate(ladder, SHORT_ID)
    ladder.venue.wait(901)
    ladder.put_price(7_000)

    ladder.execute_adl(adl_id)

    assert ladder.collateral(SHORT_ID) == 22_000 * USDC


def test_nominate__wrong_side_no_profit_no_position__refused(ladder: Ladder) -> None:
    ladder.deposit(OTHER_ID, 100_000 * USDC)
    ladder.put_price(BANKRUPT)
    # opened at the price of now: a short without profit, and a long
    ladder.trade(KEEPER, OTHER, 10_000, BANKRUPT)
    adl_id = ladder.open_adl(LONG_ID)

    with refused("liquidations: no profit"):
        ladder.nominate(adl_id, OTHER_ID)
    with refused("liquidations: no profit"):
        ladder.nominate(adl_id, KEEPER_ID)
    with refused("liquidations: no position"):
        ladder.nominate(adl_id, account_of(key_of("nobody")))
    with refused("liquidations: no adl"):
        ladder.nominate(adl_id + 1, SHORT_ID)


def test_nominate__again_while_richer__the_higher_score_stays(ladder: Ladder) -> None:
    """Profit 2,100 of 10,000 paid = 21 %; notional 7,900 of equity 22,100 USDC: 75,067 ppm. Rich for a moment, half."""
    ladder.put_price(BANKRUPT)
    adl_id = open_and_nominate(ladder, SHORT_ID)
    assert ladder.liquidations.adls[adl_id].nominees == ((SHORT_ID, 2_100 * 7_900 * 10**6 // (22_100 * 10_000), 0),)
    ladder.deposit(SHORT_ID, 22_100 * USDC)

    with refused("liquidations: not among best"):
        ladder.nominate(adl_id, SHORT_ID)

    assert ladder.named("AdlNominated")[0]["score"] == 75_067


def test_adl__shrinks_after_nomination__closed_as_far_as_it_reaches(ladder: Ladder) -> None:
    """T49: who slips away by size is closed with the rest of it, and what is left can be opened again at once."""
    ladder.put_price(BANKRUPT)
    adl_id = open_and_nominate(ladder, SHORT_ID)
    ladder.trade(SHORT, KEEPER, 900_000, BANKRUPT)
    ladder.wait(901)

    assert ladder.execute_adl(adl_id) == 100_000

    assert ladder.venue.position(SHORT_ID).size_lots == 0
    assert ladder.venue.position(LONG_ID).size_lots == 900_000
    again = ladder.open_adl(LONG_ID)
    with refused("liquidations: no profit"):
        ladder.nominate(again, KEEPER_ID)


def test_adl__winner_that_cannot_pay__closed_only_as_far_as_it_can() -> None:
    """A short that won 2,100 a lot but holds 40 USDC beside another loss pays 100 a lot for 400,000 lots."""
    ladder = open_pair(long_quote=2_000 * USDC, short_quote=20_000 * USDC)
    # in market 2 the winner is long and loses 22,060 USDC
    ladder.trade(SHORT, KEEPER, 5 * LOTS, market=2)
    ladder.put_price(BANKRUPT)
    ladder.put_price(5_588, market=2)
    assert ladder.equity(SHORT_ID) == 40 * USDC
    adl_id = open_and_nominate(ladder, SHORT_ID)
    ladder.wait(901)

    assert ladder.execute_adl(adl_id) == 400_000

    assert ladder.equity(SHORT_ID) == 0
    assert ladder.venue.position(SHORT_ID).size_lots == -600_000


def rival(number: int) -> tuple[int, int]:
    """Return an account and its collateral: forty shorts of 20,000 lots, each richer than the one before."""
    return account_of(key_of(f"rival{number}")), (100 + 7 * number) * USDC


def test_adl__forty_winners__the_best_32_by_score_whatever_the_order() -> None:
    """Equal profit and size: the poorer, the more leverage. Ten thousand more nominations change nothing (T50)."""
    ladder = open_pair(lots=10_000, long_quote=1_620 * USDC)
    for number in range(40):
        account, quote = rival(number)
        ladder.deposit(account, quote)
        ladder.trade(key_of("long"), key_of(f"rival{number}"), 20_000)
    ladder.put_price(BANKRUPT)
    # 810,000 lots lost 2,100 each
    assert ladder.equity(LONG_ID) == -81 * USDC

    adl_id = ladder.open_adl(LONG_ID)
    # the rich first, so that the list is full when the poor come: 8 of them leave again
    for number in range(39, -1, -1):
        ladder.nominate(adl_id, rival(number)[0])
    assert {account for account, *_ in ladder.liquidations.adls[adl_id].nominees} == {rival(n)[0] for n in range(32)}
    with refused("liquidations: not among best"):
        ladder.nominate(adl_id, rival(32)[0])

    chain = ladder.venue.chain
    calls = [encode_call("Liquidations", "nominate", adl_id, rival(n)[0]) for n in range(40)]
    for round_number in range(10_000):
        # within a fixed sum of gas, each refused for its score and not for gas
        with pytest.raises(RuntimeError) as caught:
            chain.evm.message_call(caller=OUTSIDER, to=ladder.address, calldata=calls[round_number % 40], gas=150_000)
        assert "Revert {" in str(caught.value)
    ladder.compare()

    ladder.wait(901)
    assert ladder.execute_adl(adl_id) == 32 * 20_000
    closed = {rival(n)[0] for n in range(40) if not ladder.venue.position(rival(n)[0]).size_lots}
    assert closed == {rival(n)[0] for n in range(32)}


def test_adl__more_winners_than_needed__best_first() -> None:
    ladder = open_pair(lots=20_000, long_quote=40 * USDC, short_quote=10_000 * USDC)
    for number in range(3):
        account, quote = rival(number)
        ladder.deposit(account, quote)
        ladder.trade(KEEPER, key_of(f"rival{number}"), 20_000)
    ladder.put_price(BANKRUPT)
    adl_id = open_and_nominate(ladder, SHORT_ID, rival(2)[0], rival(0)[0], rival(1)[0])
    ladder.wait(901)

    assert ladder.execute_adl(adl_id) == 20_000

    assert ladder.named("AdlExecuted")[0]["n_counterparties"] == 1
    assert ladder.venue.position(rival(0)[0]).size_lots == 0
    assert ladder.venue.position(rival(1)[0]).size_lots == -20_000


# Spread.


def test_execute_adl__nobody_nominated__spread_an_hour_later_over_both_sides(ladder: Ladder) -> None:
    """The long is given 200 USDC and owes 100 of them by its own share: the short pays the 100 that were missing."""
    ladder.put_price(BANKRUPT)
    adl_id = ladder.open_adl(LONG_ID)
    ladder.wait(HOUR_S)
    with refused("liquidations: nobody nominated"):
        ladder.execute_adl(adl_id)
    ladder.wait(1)
    before = ladder.equity(SHORT_ID)

    assert ladder.execute_adl(adl_id) == 0

    assert ladder.named("LossSpread") == [
        {"market": 1, "account": LONG_ID, "quote": 2 * LOSS, "index_step_e12": 100 * 10**12}
    ]
    assert ladder.equity(LONG_ID) == 0
    assert ladder.equity(SHORT_ID) == before - LOSS
    index = ladder.state.index(1)
    assert (index.long_index_e12, index.short_index_e12) == (100 * 10**12, -100 * 10**12)
    assert ladder.venue.totals().pot_quote == -2 * LOSS
    # touched, both have paid: the pot is even again
    ladder.deposit(LONG_ID, 5_000 * USDC)
    ladder.trade(SHORT, key_of("long"), 10_000, BANKRUPT)
    assert ladder.venue.totals().pot_quote == 0


def test_execute_adl__nobody_nominated__insurance_pays_first(ladder: Ladder) -> None:
    ladder.deposit(ladder.insurance_id(), 3 * LOSS)
    ladder.put_price(BANKRUPT)
    adl_id = ladder.open_adl(LONG_ID)
    ladder.wait(HOUR_S + 1)

    ladder.execute_adl(adl_id)

    # a fifth of 300; the other 40 are spread, the long's share in advance
    assert ladder.collateral(ladder.insurance_id()) == 240 * USDC
    assert ladder.named("LossSpread")[0]["quote"] == 80 * USDC
    assert ladder.equity(LONG_ID) == 0


def close_at(ladder: Ladder, price: int, *, lots: int = LOTS) -> None:
    """Close the pair as CorporateActions would: at a final price, whatever becomes of the long."""
    deltas = [(LONG_ID, -lots, -lots * price, 0), (SHORT_ID, lots, lots * price, 0)]
    with ladder.as_corporate_actions() as sender:
        ladder.venue.chain.call("Clearinghouse", "apply_deltas", 1, sorted(deltas), 0, sender=sender)
    ladder.sync()


def test_cover__market_still_held__insurance_then_both_sides(ladder: Ladder) -> None:
    """60 USDC are left to 250,000 longs and as many shorts: 120 ticks a lot, 30 USDC each."""
    ladder.deposit(ladder.insurance_id(), 200 * USDC)
    ladder.deposit(OTHER_ID, 10_000 * USDC)
    ladder.trade(OTHER, KEEPER, 250_000)
    close_at(ladder, BANKRUPT)
    before = (ladder.equity(OTHER_ID), ladder.equity(KEEPER_ID))

    ladder.cover(LONG_ID)

    assert ladder.collateral(LONG_ID) == 0
    assert ladder.collateral(ladder.insurance_id()) == 160 * USDC
    assert ladder.state.index(1).long_index_e12 == 120 * 10**12
    assert (ladder.equity(OTHER_ID), ladder.equity(KEEPER_ID)) == (before[0] - 30 * USDC, before[1] - 30 * USDC)
    assert ladder.venue.totals().pot_quote == -60 * USDC
    with refused("liquidations: nothing to cover"):
        ladder.cover(LONG_ID)


def test_cover__spread_that_does_not_divide__rounds_up() -> None:
    """A USDC over 20,020 lots is no whole number of 1e-12 units: up, so that nothing is missing."""
    ladder = open_pair()
    ladder.deposit(OTHER_ID, 10_000 * USDC)
    ladder.trade(OTHER, KEEPER, 10_010)
    close_at(ladder, 7_999)
    chain = ladder.venue.chain
    assert ladder.collateral(LONG_ID) == -USDC

    ladder.cover(LONG_ID)

    assert ladder.state.index(1).long_index_e12 == -(-USDC * 10**12 // 20_020)
    assert chain.call("Clearinghouse", "index_word", 1) >> 192 == ladder.state.indices[1] >> 192


@pytest.mark.parametrize(("held", "left", "pot"), [(200, 100, 0), (100, 0, 0), (60, 0, -40)])
def test_cover__nobody_holds_the_market__insurance_beyond_its_cap_then_the_pot(
    ladder: Ladder, held: int, left: int, pot: int
) -> None:
    ladder.deposit(ladder.insurance_id(), held * USDC)
    close_at(ladder, BANKRUPT)

    ladder.cover(LONG_ID)

    assert ladder.collateral(LONG_ID) == 0
    assert ladder.collateral(ladder.insurance_id()) == left * USDC
    assert ladder.venue.totals().pot_quote == pot * USDC
    assert ladder.state.indices.get(1, 0) & (1 << 192) - 1 == 0


def test_cover__loss_beyond_what_the_market_is_worth__a_step_of_one_price_the_rest_in_the_pot(ladder: Ladder) -> None:
    """100 USDC over 5,000 lots a side would be 10,000 ticks a lot; 7,000 is all they are worth."""
    ladder.deposit(OTHER_ID, 10_000 * USDC)
    ladder.trade(OTHER, KEEPER, 5_000)
    close_at(ladder, BANKRUPT)
    ladder.put_price(7_000)

    ladder.cover(LONG_ID)

    assert ladder.state.index(1).long_index_e12 == 7_000 * 10**12
    assert ladder.venue.totals().pot_quote == -LOSS


def test_cover__account_with_positions_or_money__refused(ladder: Ladder) -> None:
    with refused("liquidations: nothing to cover"):
        ladder.cover(LONG_ID)
    with refused("liquidations: nothing to cover"):
        ladder.cover(KEEPER_ID)


def test_cover__anybody_else__refused(ladder: Ladder) -> None:
    with refused("caller: not corporate actions"):
        ladder.venue.chain.call("Liquidations", "cover", LONG_ID, 1)


# Attacks.


def test_self_liquidation__by_a_second_owner__earns_nothing(ladder: Ladder) -> None:
    """T44: a second account of the same people takes the first over at the widest discount: they lose the fee."""
    ladder.put_price(8_888)
    flag_and_wait(ladder, seconds=HOUR_S)
    before = sum_wealth(ladder, LONG_ID, KEEPER_ID)

    ladder.liquidate(LONG_ID)

    fee = ladder.named("AccountLiquidated")[0]["fee_quote"]
    assert fee > 0
    assert sum_wealth(ladder, LONG_ID, KEEPER_ID) == before - fee


def test_two_account_drain__price_times_four__insurance_loses_nothing_and_adl_fires() -> None:
    """JELLY (T42, T60): short and long of one attacker, one fails by 28,000 USDC; insurance of 10,000 may pay 2,000."""
    ladder = open_pair(long_quote=2_000 * USDC, short_quote=2_000 * USDC, insurance_quote=10_000 * USDC)
    before = sum_wealth(ladder, LONG_ID, SHORT_ID)
    ladder.put_price(40_000)
    flag_and_wait(ladder, SHORT_ID)

    with refused("liquidations: bankrupt"):
        ladder.liquidate(SHORT_ID, taker=LONG_ID)
    adl_id = ladder.open_adl(SHORT_ID)
    ladder.nominate(adl_id, LONG_ID)
    ladder.wait(901)
    ladder.execute_adl(adl_id)

    assert ladder.collateral(ladder.insurance_id()) == 10_000 * USDC
    assert sum_wealth(ladder, LONG_ID, SHORT_ID) == before
    assert ladder.collateral(SHORT_ID) == 0


@pytest.mark.parametrize("step", [12_010, 12_100, 12_500, 14_000, 15_000])
def test_two_account_drain__caught_just_beyond_bankruptcy__costs_at_most_the_cap(step: int) -> None:
    """Where the loss is within the day's cap, insurance pays it once; never more, whatever is tried that day."""
    ladder = open_pair(long_quote=2_000 * USDC, short_quote=2_000 * USDC, insurance_quote=10_000 * USDC)
    before = sum_wealth(ladder, LONG_ID, SHORT_ID)
    ladder.put_price(step)
    flag_and_wait(ladder, SHORT_ID)
    missing = (step - 12_000) * LOTS

    if missing <= 2_000 * USDC:
        ladder.liquidate(SHORT_ID, taker=LONG_ID)
        assert sum_wealth(ladder, LONG_ID, SHORT_ID) == before + missing
        assert ladder.collateral(ladder.insurance_id()) == 10_000 * USDC - missing
    else:
        with refused("liquidations: bankrupt"):
            ladder.liquidate(SHORT_ID, taker=LONG_ID)


def test_adl__list_filled_by_those_who_leave__spreads_nothing_and_the_winner_is_next() -> None:
    """32 small shorts with the best scores keep the big one out, close before the execution, and would have all pay."""
    ladder = open_pair(short_quote=200_000 * USDC)
    small = [key_of(f"small {number}") for number in range(32)]
    for key in small:
        ladder.deposit(account_of(key), 60 * USDC)
        ladder.trade(KEEPER, key, 10_000)
    ladder.put_price(BANKRUPT)
    adl_id = ladder.open_adl(LONG_ID)
    for key in small:
        ladder.nominate(adl_id, account_of(key))
    with refused("liquidations: not among best"):
        ladder.nominate(adl_id, SHORT_ID)
    for key in small:
        ladder.trade(key, KEEPER, 10_000, BANKRUPT)
    ladder.wait(HOUR_S + 1)

    with refused("liquidations: nobody nominated"):
        ladder.execute_adl(adl_id)

    ladder.wait(HOUR_S)
    adl_id = ladder.open_adl(LONG_ID)
    ladder.nominate(adl_id, SHORT_ID)
    ladder.wait(901)
    assert ladder.execute_adl(adl_id) == LOTS
    assert ladder.named("LossSpread") == []
