"""Withdrawals without a sequencer: when they may be forced, what they pay, what they leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.contracts.leaving import CLOSED, DAY_S, HALTED, HOUR_S, Exodus, open_exodus
from tests.contracts.venue import MAKER, REGULAR, RULES, TAKER, TICKS, USDC, account_of, address_of, refused
from tests.support.chain import DEPLOYER, OUTSIDER, SEQUENCER, encode_call

USER = account_of(TAKER)
"""Long 100,000 lots at 10,000 ticks: 1,000 USDC of notional, 10,000 USDC of collateral, 0.45 USDC of fee."""
FEE = 450_000
ISSUER = DEPLOYER
"""Who may pause the token."""
MARGIN = 100 * USDC


@pytest.fixture(scope="module")
def shared() -> Exodus:
    return open_exodus(lots=100_000)


@pytest.fixture
def exodus(shared: Exodus) -> Iterator[Exodus]:
    with shared.venue.chain.undone():
        yield shared.lent()


def test_request_withdrawal__made__is_shown_with_its_times(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, 5 * USDC, address_of(MAKER))

    state = exodus.venue.chain.call("Exits", "request_state", USER, 0)
    now = exodus.now_s
    assert state == (
        True, 5 * USDC, 0, False, address_of(MAKER).lower(), now, now + 6 * HOUR_S, now + 30 * DAY_S, 0, 0, 0, False
    )  # fmt: skip
    assert [(event.name, event.args["cause"]) for event in exodus.logged] == [("RequestChanged", 1)]


@pytest.mark.parametrize("name", ["Vault", "Clearinghouse", "token", "zero"])
def test_request_withdrawal__recipient_that_cannot_use_it__is_refused(exodus: Exodus, name: str) -> None:
    recipient = "0x" + "00" * 20 if name == "zero" else exodus.venue.chain.addresses[name]
    with refused("exits: recipient"):
        exodus.request_withdrawal(USER, 1, recipient)


def test_request_withdrawal__of_nothing__is_refused(exodus: Exodus) -> None:
    with refused("exits: nothing asked"):
        exodus.request_withdrawal(USER, 0)


def test_request_withdrawal__while_one_is_open__is_refused_until_it_is_cancelled(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, 1)
    with refused("exits: request open"):
        exodus.request_withdrawal(USER, 2)
    exodus.cancel(USER)
    exodus.request_withdrawal(USER, 2)


def test_cancel_request__without_one__is_refused(exodus: Exodus) -> None:
    with refused("exits: no request"):
        exodus.cancel(USER)


def test_force_withdrawal__one_second_before_six_hours__is_too_early(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, 5 * USDC)
    exodus.wait(6 * HOUR_S - 1)
    with refused("exits: too early"):
        exodus.force_withdrawal(USER)
    exodus.wait(1)

    assert exodus.force_withdrawal(USER) == 5 * USDC
    assert exodus.venue.claim_of(address_of(TAKER)) == 5 * USDC
    assert exodus.exits.requests == {}
    names = [event.name for event in exodus.logged]
    assert names == ["RequestChanged", "WithdrawalForced", "DirectOperation", "ClaimAdded", "CollateralWithdrawn"]
    forced = exodus.logged[1].args
    assert forced == {"account": USER, "recipient": address_of(TAKER).lower(), "quote": 5 * USDC}


def test_force_withdrawal__by_the_sequencer__pays_at_once(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, 5 * USDC)

    assert exodus.force_withdrawal(USER, sender=SEQUENCER) == 5 * USDC


def test_force_withdrawal__of_everything__leaves_margin_at_the_far_edge_of_a_stale_band(exodus: Exodus) -> None:
    """10,000 USDC less fee, less 10 % band on 1,000, less the margin of what is then worth 900."""
    exodus.request_withdrawal(USER, 2**64 - 1)
    exodus.wait(6 * HOUR_S)

    expected = 10_000 * USDC - FEE - 100 * USDC - 90 * USDC
    assert exodus.venue.chain.call("Exits", "withdrawable_quote", USER) == expected
    assert exodus.force_withdrawal(USER) == expected
    assert exodus.word(USER).remaining == 2**64 - 1 - expected
    assert exodus.force_withdrawal(USER) == 0
    failed = [event.args for event in exodus.logged if event.name == "WithdrawalFailed"]
    assert failed == [{"account": USER, "code": 48, "equity_quote": 90 * USDC, "margin_quote": 90 * USDC}]


def test_force_withdrawal__fresh_price__leaves_the_margin_of_a_batch(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, 2**64 - 1)
    exodus.wait(6 * HOUR_S)
    exodus.set_prices({1: TICKS})

    assert exodus.force_withdrawal(USER) == 10_000 * USDC - FEE - MARGIN


@pytest.mark.parametrize(("initial_ppm", "left"), [(70_000, 100), (100_000, 100), (250_000, 250)])
def test_force_withdrawal__initial_margin_below_a_tenth__leaves_a_tenth_and_above_it_the_margin(
    exodus: Exodus, initial_ppm: int, left: int
) -> None:
    rules = replace(RULES, initial_margin_ppm=initial_ppm)
    exodus.venue.chain.write_word("rules", 1 << 8 | REGULAR, rules.pack())
    exodus.state.rules = {}
    exodus.request_withdrawal(USER, 2**64 - 1)
    exodus.wait(6 * HOUR_S)
    exodus.set_prices({1: TICKS})

    assert exodus.force_withdrawal(USER) == 10_000 * USDC - FEE - left * USDC


def test_force_withdrawal__fresh_price_in_a_halt__counts_as_stale(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, 2**64 - 1)
    exodus.wait(6 * HOUR_S)
    exodus.set_prices({1: TICKS}, session=HALTED)

    assert exodus.force_withdrawal(USER) == 10_000 * USDC - FEE - 190 * USDC


@pytest.mark.parametrize(
    ("age_s", "band_percent"),
    [(DAY_S - 1, 10), (DAY_S, 20), (2 * DAY_S - 1, 20), (2 * DAY_S, 30), (4 * DAY_S, 50), (29 * DAY_S, 50)],
)
def test_force_withdrawal__oracle_dead_for_days__band_widens_daily_up_to_half_the_price(
    exodus: Exodus, age_s: int, band_percent: int
) -> None:
    """A long is worth 1,000 USDC x (1 - band) and leaves a tenth of that; the oracle's death stops nobody."""
    exodus.request_withdrawal(USER, 2**64 - 1)
    exodus.venue.chain.set_time(exodus.venue.price().external_time_s + age_s)

    value = 10 * USDC * (100 - band_percent)
    expected = 10_000 * USDC - FEE - 1_000 * USDC + value - value // 10
    assert exodus.force_withdrawal(USER) == expected


def test_force_withdrawal__of_a_short_in_a_stale_market__counts_the_upper_edge(exodus: Exodus) -> None:
    """The maker is short: worth -1,100 of 1,000 received less 0.1 fee; margin 110."""
    short = account_of(MAKER)
    exodus.request_withdrawal(short, 2**64 - 1)
    exodus.wait(6 * HOUR_S)

    assert exodus.force_withdrawal(short) == 10_000 * USDC - 100_000 - 100 * USDC - 110 * USDC


def test_force_withdrawal__after_thirty_days__ends_with_a_code_and_can_be_asked_again(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, USDC)
    exodus.wait(30 * DAY_S + 1)

    assert exodus.venue.chain.call("Exits", "request_state", USER, 0)[0] is False
    assert exodus.force_withdrawal(USER) == 0
    assert [(event.name, event.args["cause"]) for event in exodus.logged] == [("RequestChanged", 5)]
    exodus.request_withdrawal(USER, USDC)


def test_request_withdrawal__over_a_dead_one__replaces_it(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, USDC)
    exodus.wait(30 * DAY_S)
    with refused("exits: request open"):
        exodus.request_withdrawal(USER, 2 * USDC)
    exodus.wait(1)
    exodus.request_withdrawal(USER, 2 * USDC)
    assert exodus.word(USER).remaining == 2 * USDC


def test_force_withdrawal__on_the_last_second_of_thirty_days__pays(exodus: Exodus) -> None:
    exodus.request_withdrawal(USER, USDC)
    exodus.wait(30 * DAY_S)
    assert exodus.force_withdrawal(USER) == USDC


def test_force_withdrawal__without_a_request__is_refused(exodus: Exodus) -> None:
    with refused("exits: no request"):
        exodus.force_withdrawal(USER)


@pytest.mark.parametrize("function", ["force_withdrawal", "withdrawable_quote", "claimable_quote", "claim"])
def test_account_id__beyond_240_bits__is_refused_not_read_as_another_account(exodus: Exodus, function: str) -> None:
    with refused("exits: account id"):
        exodus.venue.chain.call("Exits", function, USER | 1 << 240)


def test_force_withdrawal__money_all_gone_by_a_batch__pays_nothing_and_keeps_the_request(exodus: Exodus) -> None:
    """Poison: asked for, then everything withdrawn by the sequencer's batch."""
    exodus.request_withdrawal(USER, 9_000 * USDC)
    exodus.set_prices({1: TICKS})
    free = 10_000 * USDC - FEE - MARGIN
    settled = exodus.venue.settle(operations=[exodus.venue.withdraw(TAKER, free)])
    assert settled.is_clean
    exodus.sync()
    exodus.wait(6 * HOUR_S)

    assert exodus.force_withdrawal(USER) == 0
    assert exodus.word(USER).remaining == 9_000 * USDC


def test_force_withdrawal__too_little_gas__consumes_nothing(exodus: Exodus) -> None:
    """T34: whoever starves the call of gas reverts it whole; the request stands as before, and pays with enough."""
    exodus.request_withdrawal(USER, 5 * USDC)
    exodus.wait(6 * HOUR_S)
    chain = exodus.venue.chain
    data = encode_call("Exits", "force_withdrawal", USER)
    for gas in range(30_000, 260_000, 10_000):
        with chain.undone():
            try:
                chain.evm.message_call(caller=OUTSIDER, to=chain.addresses["Exits"], calldata=data, gas=gas)
            except RuntimeError:
                exodus.compare()
            else:
                assert exodus.venue.claim_of(address_of(TAKER)) == 5 * USDC
    assert exodus.force_withdrawal(USER) == 5 * USDC


def test_force_withdrawal__blacklisted_recipient__stops_that_claim_alone(exodus: Exodus) -> None:
    chain, (first, second) = exodus.venue.chain, (address_of(TAKER), address_of(MAKER))
    exodus.request_withdrawal(USER, 5 * USDC)
    exodus.request_withdrawal(account_of(MAKER), 7 * USDC)
    exodus.wait(6 * HOUR_S)
    chain.call("token", "set_blacklisted", first, True, sender=ISSUER)

    assert exodus.force_withdrawal(USER) == 5 * USDC
    assert exodus.force_withdrawal(account_of(MAKER)) == 7 * USDC
    with refused("test token: blacklisted"):
        chain.call("Vault", "claim", first)
    assert chain.call("Vault", "claim", second) == 7 * USDC
    chain.call("token", "set_blacklisted", first, False, sender=ISSUER)
    assert chain.call("Vault", "claim", first) == 5 * USDC


def test_force_withdrawal__paused_token__moves_the_money_to_a_claim_that_waits(exodus: Exodus) -> None:
    chain = exodus.venue.chain
    exodus.request_withdrawal(USER, 5 * USDC)
    exodus.wait(6 * HOUR_S)
    chain.call("token", "set_paused", True, sender=ISSUER)

    assert exodus.force_withdrawal(USER) == 5 * USDC
    with refused("test token: paused"):
        chain.call("Vault", "claim", address_of(TAKER))
    chain.call("token", "set_paused", False, sender=ISSUER)
    assert chain.call("Vault", "claim", address_of(TAKER)) == 5 * USDC


def test_force_withdrawal__closed_market_with_a_price_that_has_no_age_limit__uses_it_as_it_is(exodus: Exodus) -> None:
    """All sessions of this venue have an age of 60 s: CLOSED is stale after it like the others."""
    exodus.request_withdrawal(USER, 2**64 - 1)
    exodus.wait(6 * HOUR_S)
    exodus.set_prices({1: TICKS}, session=CLOSED)
    exodus.wait(60)
    assert exodus.venue.chain.call("Exits", "withdrawable_quote", USER) == 10_000 * USDC - FEE - MARGIN
    exodus.wait(1)
    assert exodus.force_withdrawal(USER) == 10_000 * USDC - FEE - 190 * USDC
