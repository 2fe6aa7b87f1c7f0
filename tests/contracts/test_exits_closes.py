"""Closes without a sequencer: the auction's clock and price, who may take, what a close spares, when it is overdue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.contracts.leaving import CORPORATE_ACTION, DAY_S, HALTED, HOUR_S, Exodus, open_exodus
from tests.contracts.venue import MAKER, RULES, TAKER, THIRD, TICKS, USDC, account_of, refused
from tests.support.chain import GOVERNOR, OUTSIDER, encode_call

LONG, SHORT, OTHER = account_of(TAKER), account_of(MAKER), account_of(THIRD)
LOTS = 100_000
"""1,000 USDC at 10,000 ticks; the band is 9,000 to 11,000."""


def prepared(**venue: int) -> Exodus:
    exodus = open_exodus(lots=LOTS, **venue)
    exodus.deposit(THIRD, 10_000 * USDC)
    exodus.announce(OTHER)
    exodus.wait(301)
    return exodus


@pytest.fixture(scope="module")
def shared() -> Exodus:
    return prepared()


@pytest.fixture(scope="module")
def shared_leveraged() -> Exodus:
    """Both sides put up 61 USDC for 1,000."""
    return prepared(deposit_quote=61 * USDC)


def lent(shared: Exodus) -> Iterator[Exodus]:
    with shared.venue.chain.undone():
        exodus = shared.lent()
        exodus.exits = exodus.read_exits()
        yield exodus


@pytest.fixture
def exodus(shared: Exodus) -> Iterator[Exodus]:
    yield from lent(shared)


@pytest.fixture
def leveraged(shared_leveraged: Exodus) -> Iterator[Exodus]:
    yield from lent(shared_leveraged)


def freshen(exodus: Exodus, seconds: int = 0, ticks: int = TICKS) -> None:
    """Wait, then let the sequencer report the price."""
    exodus.wait(seconds)
    exodus.set_prices({1: ticks})


def start(exodus: Exodus, worst_ticks: int, *, account: int = LONG, lots: int = LOTS) -> None:
    """Ask for a close and start its auction six hours later, at a fresh price."""
    exodus.request_close(account, lots, worst_ticks)
    freshen(exodus, 6 * HOUR_S)
    assert exodus.observe(account) == 4


# Asking.


def test_request_close__of_more_than_there_is__asks_for_all_of_it(exodus: Exodus) -> None:
    exodus.request_close(LONG, 2**64 - 1, 2**40 - 1)
    word = exodus.word(LONG, 1)
    assert (word.remaining, word.worst_ticks, word.is_long) == (LOTS, 2**40 - 1, True)


@pytest.mark.parametrize("market", [0, 2, 9, 33, 255])
def test_request_close__without_a_position_there__is_refused(exodus: Exodus, market: int) -> None:
    with refused("exits: no position"):
        exodus.request_close(LONG, 1, TICKS, market=market)


def test_request_close__of_nothing__is_refused(exodus: Exodus) -> None:
    with refused("exits: nothing asked"):
        exodus.request_close(LONG, 0, TICKS)


def test_request_close__beside_a_withdrawal_and_another_market__all_stand_for_themselves(exodus: Exodus) -> None:
    exodus.request_withdrawal(LONG, USDC)
    exodus.request_close(LONG, 1, TICKS)
    with refused("exits: request open"):
        exodus.request_close(LONG, 1, TICKS)
    exodus.cancel(LONG, 1)
    assert exodus.word(LONG).remaining == USDC


# Price.


@pytest.mark.parametrize(("elapsed_s", "price"), [(0, 10_000), (1, 10_000), (8, 9_999), (1_800, 9_750), (3_599, 9_501)])
def test_force_close__fresh_price__falls_from_external_to_worst_within_the_hour(
    exodus: Exodus, elapsed_s: int, price: int
) -> None:
    """500 ticks in 3,600 s, rounded for the owner: 500 x 8 // 3,600 = 1."""
    start(exodus, 9_500)
    freshen(exodus, elapsed_s)

    assert exodus.force_close(LONG, OTHER) == (LOTS, price)
    assert exodus.venue.position(LONG).size_lots == 0
    assert exodus.venue.position(OTHER).size_lots == LOTS
    gain = LOTS * (price - TICKS) - 450_000
    assert exodus.venue.account(LONG).collateral_quote == 10_000 * USDC + gain


def test_force_close__hour_over_inside_the_band__has_no_price_and_ends_with_a_code(exodus: Exodus) -> None:
    start(exodus, 9_500)
    freshen(exodus, HOUR_S)
    with refused("exits: no price"):
        exodus.force_close(LONG, OTHER)
    assert exodus.observe(LONG) == 7
    with refused("exits: no request"):
        exodus.force_close(LONG, OTHER)
    exodus.request_close(LONG, LOTS, 9_000)


def test_force_close__hour_over_at_the_far_edge__goes_on_at_the_edge(exodus: Exodus) -> None:
    start(exodus, 9_000)
    freshen(exodus, HOUR_S)
    assert exodus.observe(LONG) == 4
    freshen(exodus, 5 * HOUR_S)
    assert exodus.force_close(LONG, OTHER, lots=1_000) == (1_000, 9_000)
    assert exodus.word(LONG, 1).remaining == LOTS - 1_000


@pytest.mark.parametrize(("elapsed_s", "price"), [(0, 10_000), (8, 10_001), (1_800, 10_250), (3_599, 10_499)])
def test_force_close__of_a_short__rises_from_external_to_worst(exodus: Exodus, elapsed_s: int, price: int) -> None:
    start(exodus, 10_500, account=SHORT)
    freshen(exodus, elapsed_s)

    assert exodus.force_close(SHORT, OTHER) == (LOTS, price)
    assert exodus.venue.position(OTHER).size_lots == -LOTS


@pytest.mark.parametrize(("elapsed_s", "price"), [(0, 11_000), (900, 10_500), (1_800, 10_000), (3_600, 9_000)])
def test_force_close__stale_price__is_found_from_the_better_edge_down(
    exodus: Exodus, elapsed_s: int, price: int
) -> None:
    exodus.request_close(LONG, LOTS, 1)
    exodus.wait(6 * HOUR_S)
    exodus.observe(LONG)
    exodus.wait(elapsed_s)

    assert exodus.force_close(LONG, OTHER) == (LOTS, price)


@pytest.mark.parametrize(
    ("days", "low", "high"), [(1, 8_000, 12_000), (3, 6_000, 14_000), (4, 5_000, 15_000), (29, 5_000, 15_000)]
)
def test_force_close__price_days_old__band_widens_to_half_the_price(
    exodus: Exodus, days: int, low: int, high: int
) -> None:
    exodus.wait(days * DAY_S - 6 * HOUR_S)
    exodus.request_close(SHORT, LOTS, 2**40 - 1)
    exodus.request_close(LONG, LOTS, 1)
    exodus.wait(6 * HOUR_S)
    exodus.observe(LONG)
    exodus.observe(SHORT)
    shown = exodus.venue.chain.call("Exits", "close_price_ticks", LONG, 1, LOTS)
    assert (shown, exodus.venue.chain.call("Exits", "close_price_ticks", SHORT, 1, LOTS)) == (high, low)
    exodus.wait(HOUR_S)
    assert exodus.force_close(LONG, OTHER) == (LOTS, low)
    assert exodus.force_close(SHORT, OTHER) == (LOTS, high)


@pytest.mark.parametrize(("account", "worst"), [(LONG, 11_001), (LONG, 2**40 - 1), (SHORT, 8_999), (SHORT, 0)])
def test_force_close__worst_price_beyond_the_band__has_no_price_and_ends(
    exodus: Exodus, account: int, worst: int
) -> None:
    """A poisonous request: nothing can fill it, it stops nobody, and it goes."""
    start(exodus, worst, account=account)
    with refused("exits: no price"):
        exodus.force_close(account, OTHER)
    freshen(exodus, HOUR_S)
    assert exodus.observe(account) == 7


@pytest.mark.parametrize(("account", "worst"), [(LONG, 11_000), (SHORT, 9_000)])
def test_force_close__worst_price_at_the_near_edge__stands_still_at_it(
    exodus: Exodus, account: int, worst: int
) -> None:
    """Better than the market: nobody sensible takes it, and whoever wants to may."""
    start(exodus, worst, account=account)
    freshen(exodus, 1_000)
    assert exodus.force_close(account, OTHER) == (LOTS, worst)


def test_force_close__leveraged_account__price_stops_where_its_equity_ends(leveraged: Exodus) -> None:
    """61 less 0.45 USDC of fee over 100,000 lots is 605 ticks; 0.05 USDC stay."""
    start(leveraged, 1)
    freshen(leveraged, HOUR_S)

    assert leveraged.force_close(LONG, OTHER) == (LOTS, 9_395)
    assert leveraged.venue.account(LONG).collateral_quote == 50_000


def test_force_close__half_of_a_leveraged_account__keeps_equity_over_maintenance(leveraged: Exodus) -> None:
    """Equity 60.55 of maintenance 50. Half closed, half of each may go: 30.275 USDC over 50,000 lots is 605 ticks.

    Or what is above the settlement margin of the rest, 30.55 USDC, which is 611.
    """
    start(leveraged, 1)
    freshen(leveraged, HOUR_S)

    assert leveraged.force_close(LONG, OTHER, lots=LOTS // 2) == (LOTS // 2, 9_389)


@pytest.mark.parametrize(("lots", "price", "left"), [(LOTS, 9_395, 50_000), (LOTS // 2, 9_489, 0)])
def test_force_close__bankrupt_account__only_at_a_price_that_leaves_no_debt(
    leveraged: Exodus, lots: int, price: int, left: int
) -> None:
    """At 9,300 the long has lost 70 of 60.55 USDC: 9.45 more than it had, 95 ticks a lot, 189 for half the lots.

    Nobody sensible pays that, and so liquidation, insurance and ADL have it; what they would do is not done here.
    """
    start(leveraged, 1)
    for _ in range(4):
        freshen(leveraged, HOUR_S // 4, 9_300)
    assert leveraged.venue.price().mark_ticks == 9_300

    assert leveraged.force_close(LONG, OTHER, lots=lots) == (lots, price)
    if left:
        assert leveraged.venue.account(LONG).collateral_quote == left


def test_force_close__debt_beyond_the_band__has_no_price(leveraged: Exodus) -> None:
    """At 8,500 it lacks 89.45 USDC; of 5,000 lots each would have to bring 17,890 ticks more than it is worth."""
    start(leveraged, 1)
    for _ in range(8):
        freshen(leveraged, HOUR_S // 4, 8_500)
    with refused("exits: no price"):
        leveraged.force_close(LONG, OTHER, lots=5_000)


# Clock.


def test_force_close__before_anybody_looked__starts_the_auction_at_its_first_price(exodus: Exodus) -> None:
    exodus.request_close(LONG, LOTS, 9_000)
    freshen(exodus, 20 * HOUR_S)
    assert exodus.force_close(LONG, OTHER, lots=10) == (10, 10_000)
    freshen(exodus, 1_800)
    assert exodus.force_close(LONG, OTHER, lots=10) == (10, 9_500)


def test_observe__one_second_before_six_hours__is_too_early(exodus: Exodus) -> None:
    exodus.request_close(LONG, LOTS, 9_000)
    exodus.wait(6 * HOUR_S - 1)
    with refused("exits: too early"):
        exodus.observe(LONG)
    with refused("exits: too early"):
        exodus.force_close(LONG, OTHER)
    exodus.wait(1)
    exodus.observe(LONG)


@pytest.mark.parametrize("session", [HALTED, CORPORATE_ACTION])
def test_observe__market_halted__clock_stands_still_until_it_reopens(exodus: Exodus, session: int) -> None:
    start(exodus, 9_000)
    freshen(exodus, 600)
    exodus.observe(LONG)
    halt(exodus, session)
    exodus.observe(LONG)
    assert exodus.word(LONG, 1).elapsed_s == 600
    with refused("exits: halted"):
        exodus.force_close(LONG, OTHER)
    exodus.wait(3 * DAY_S)
    freshen(exodus)
    exodus.observe(LONG)
    assert exodus.word(LONG, 1).elapsed_s == 600
    freshen(exodus, 300)
    assert exodus.force_close(LONG, OTHER) == (LOTS, 9_750)


def halt(exodus: Exodus, session: int) -> None:
    """Put market 1 into a halted session: by report; or as a corporate action leaves its word, for no report may."""
    if session == HALTED:
        exodus.wait(1)
        exodus.set_prices({1: TICKS}, session=HALTED)
        return
    word = replace(exodus.venue.price(), session=session).pack()
    exodus.venue.chain.write_word("prices", 1, word)
    exodus.sync()


def test_observe__halted_when_first_seen__starts_when_it_reopens(exodus: Exodus) -> None:
    exodus.request_close(LONG, LOTS, 9_000)
    exodus.wait(7 * HOUR_S)
    halt(exodus, HALTED)
    exodus.observe(LONG)
    freshen(exodus, HOUR_S)
    assert exodus.force_close(LONG, OTHER) == (LOTS, 10_000)


# Position and request apart.


def test_observe__position_closed_by_a_batch_meanwhile__ends_the_request(exodus: Exodus) -> None:
    start(exodus, 9_000)
    size = {"size_lots": LOTS}
    assert exodus.venue.trade(LOTS, maker_buys=True, maker=size, taker=size).is_clean
    exodus.sync()
    with refused("exits: no position"):
        exodus.force_close(LONG, OTHER)
    assert exodus.observe(LONG) == 6
    assert exodus.exits.requests == {}


def test_observe__position_turned_over__ends_the_request(exodus: Exodus) -> None:
    start(exodus, 9_000)
    size = {"size_lots": 2 * LOTS}
    assert exodus.venue.trade(2 * LOTS, maker_buys=True, maker=size, taker=size).is_clean
    exodus.sync()
    with refused("exits: no position"):
        exodus.force_close(LONG, OTHER)
    assert exodus.observe(LONG) == 6


def test_observe__position_shrunk_and_grown_again__closes_no_more_than_the_least(exodus: Exodus) -> None:
    """Nobody lets a request age with a lot behind it and then grows the position under it."""
    start(exodus, 9_000)
    size = {"size_lots": LOTS - 100}
    assert exodus.venue.trade(LOTS - 100, maker_buys=True, maker=size, taker=size).is_clean
    exodus.sync()
    exodus.observe(LONG)
    assert exodus.venue.trade(LOTS - 100, maker=size, taker=size).is_clean
    exodus.sync()
    freshen(exodus, 60)
    assert exodus.force_close(LONG, OTHER)[0] == 100


def test_force_close__after_thirty_days__is_dead_and_observe_ends_it(exodus: Exodus) -> None:
    exodus.request_close(LONG, LOTS, 9_000)
    exodus.wait(30 * DAY_S)
    freshen(exodus)
    with exodus.venue.chain.undone():
        exodus.venue.chain.call("Exits", "observe", LONG, 1)
    exodus.wait(1)
    with refused("exits: request dead"):
        exodus.force_close(LONG, OTHER)
    assert exodus.venue.chain.call("Exits", "close_price_ticks", LONG, 1, LOTS) == 0
    assert exodus.observe(LONG) == 5


@pytest.mark.parametrize("market", [0, 1])
def test_observe__without_a_close__is_refused(exodus: Exodus, market: int) -> None:
    exodus.request_withdrawal(LONG, 1)
    with refused("exits: no request"):
        exodus.observe(LONG, market)


@pytest.mark.parametrize(("function", "more"), [("observe", (1,)), ("force_close", (1, 1, 0))])
def test_account_id__beyond_240_bits__is_refused(exodus: Exodus, function: str, more: tuple[int, ...]) -> None:
    with refused("exits: account id"):
        exodus.venue.chain.call("Exits", function, LONG | 1 << 240, *more)


# Takers.


def test_announce_taker__twice__is_refused(exodus: Exodus) -> None:
    with refused("exits: announced"):
        exodus.announce(OTHER)


def test_force_close__taker_not_announced__is_refused(exodus: Exodus) -> None:
    start(exodus, 9_000)
    with refused("exits: not announced"):
        exodus.force_close(LONG, OTHER + 1)


def test_force_close__taker_announced_settle_lag_ago__may_take_a_second_later(exodus: Exodus) -> None:
    """Fills matched before the sequencer could hear of it have settled by then, or never will."""
    exodus.request_close(LONG, LOTS, 9_000)
    exodus.wait(6 * HOUR_S)
    exodus.announce(SHORT)
    assert [(event.name, event.args) for event in exodus.logged] == [
        ("TakerAnnounced", {"account": SHORT, "time_s": exodus.now_s})
    ]
    freshen(exodus, 300)
    with refused("exits: not announced"):
        exodus.force_close(LONG, SHORT)
    freshen(exodus, 1)
    assert exodus.force_close(LONG, SHORT) == (LOTS, 10_000)
    assert exodus.venue.totals().open_interest_lots == 0
    assert [event.name for event in exodus.logged] == [
        "RequestChanged", "CloseForced", "PositionsChanged", "DirectOperation"
    ]  # fmt: skip
    assert exodus.logged[1].args == {
        "account": LONG, "taker": SHORT, "market": 1, "lots": LOTS, "price_ticks": 10_000
    }  # fmt: skip


def test_force_close__by_the_owner_of_the_request__is_refused(exodus: Exodus) -> None:
    exodus.deposit(LONG + 1, 1_000 * USDC)
    exodus.announce(LONG + 1)
    start(exodus, 9_000)
    with refused("exits: own request"):
        exodus.force_close(LONG, LONG + 1)


def test_force_close__of_no_lots__is_refused(exodus: Exodus) -> None:
    start(exodus, 9_000)
    with refused("exits: nothing asked"):
        exodus.force_close(LONG, OTHER, lots=0)


def test_force_close__taker_with_exactly_the_initial_margin__takes_and_with_one_unit_less_does_not(
    exodus: Exodus,
) -> None:
    """100,000 lots at 10,000 need 100 USDC."""
    poor = exodus.deposit(OTHER + 1, 100 * USDC - 1)
    exodus.announce(poor)
    start(exodus, 9_000)
    with refused("exits: taker margin"):
        exodus.force_close(LONG, poor)
    exodus.deposit(poor, 1)
    assert exodus.force_close(LONG, poor) == (LOTS, 10_000)


def test_force_close__taker_in_a_stale_market__needs_margin_at_the_edge_of_its_band(exodus: Exodus) -> None:
    """Bought at 11,000, valued at 9,000: 200 USDC down, and 90 of initial margin."""
    poor = exodus.deposit(OTHER + 1, 290 * USDC - 1)
    exodus.announce(poor)
    exodus.request_close(LONG, LOTS, 9_000)
    exodus.wait(6 * HOUR_S)
    with refused("exits: taker margin"):
        exodus.force_close(LONG, poor)
    exodus.deposit(poor, 1)
    assert exodus.force_close(LONG, poor) == (LOTS, 11_000)


def test_force_close__both_sides_leave_at_once__each_takes_the_other(leveraged: Exodus) -> None:
    """No third party, 6 % of margin each, the oracle dead two days: who only lowers its risk needs no initial margin.

    The price falls from 13,000 to 9,395, where the long's equity ends; the short's 60.9 USDC are enough from 10,609 on.
    """
    leveraged.announce(SHORT)
    leveraged.request_close(LONG, LOTS, 1)
    leveraged.wait(2 * DAY_S)
    leveraged.observe(LONG)
    leveraged.wait(2_387)
    with refused("exits: taker margin"):
        leveraged.force_close(LONG, SHORT)
    leveraged.wait(1)

    assert leveraged.force_close(LONG, SHORT) == (LOTS, 10_609)
    assert leveraged.venue.totals().open_interest_lots == 0
    assert leveraged.venue.account(SHORT).collateral_quote == 0


def test_force_close__bankrupt_taker__may_not_shrink_its_position_and_keep_its_debt(leveraged: Exodus) -> None:
    """At 10,700 the short lacks 9.1 USDC. Half of it closed at 10,600 brings 5: better, and still a debt."""
    leveraged.announce(SHORT)
    start(leveraged, 10_500)
    for _ in range(2):
        freshen(leveraged, HOUR_S // 4, 10_700)
    assert leveraged.venue.price().mark_ticks == 10_700

    assert leveraged.venue.chain.call("Exits", "close_price_ticks", LONG, 1, LOTS // 2) == 10_600
    with refused("exits: taker margin"):
        leveraged.force_close(LONG, SHORT, lots=LOTS // 2)


def test_force_close__account_cap__holds_for_takers_that_grow(exodus: Exodus) -> None:
    """A cap of 1,000,000 lots and a share of 1/16: 62,500."""
    word = replace(RULES, account_share=4_096)
    chain = exodus.venue.chain
    chain.write_word("rules", 1 << 8 | 2, word.pack())
    exodus.state.rules = {}
    exodus.sync()
    start(exodus, 9_000)
    with refused("exits: account cap"):
        exodus.force_close(LONG, OTHER, lots=62_501)
    assert exodus.force_close(LONG, OTHER, lots=62_500) == (62_500, 10_000)
    with refused("exits: account cap"):
        exodus.force_close(LONG, OTHER, lots=1)


def test_force_close__thousands_of_requests_of_others__cost_this_one_nothing(exodus: Exodus) -> None:
    """No list is walked: gas is the same with 2 requests and with 2,002."""
    start(exodus, 9_000)
    chain = exodus.venue.chain

    def gas() -> int:
        with chain.undone():
            chain.call("Exits", "force_close", LONG, 1, LOTS, 0, sender="0x" + THIRD.address.hex())
            return int(chain.evm.result.gas_used)  # type: ignore[union-attr]

    alone = gas()
    for subaccount in range(2_000):
        chain.call("Exits", "request_withdrawal", subaccount + 100, 2**64 - 1, OUTSIDER, sender=OUTSIDER)
    assert gas() == alone


def test_force_close__too_little_gas__consumes_nothing(exodus: Exodus) -> None:
    """T34."""
    start(exodus, 9_000)
    chain = exodus.venue.chain
    data = encode_call("Exits", "force_close", LONG, 1, LOTS, 0)
    outcomes = set()
    for gas in range(40_000, 500_000, 20_000):
        with chain.undone():
            try:
                chain.evm.message_call(
                    caller="0x" + THIRD.address.hex(), to=chain.addresses["Exits"], calldata=data, gas=gas
                )
                outcomes.add("done")
            except RuntimeError:
                outcomes.add("reverted")
                exodus.compare()
    assert outcomes == {"done", "reverted"}


# Overdue.


def wait_out(exodus: Exodus, *, hours: int) -> None:
    """Let hours pass in which the sequencer sends heartbeats and nothing else."""
    for _ in range(hours):
        exodus.wait(HOUR_S)
        exodus.heartbeat()


def test_observe__nobody_takes_at_the_far_edge_for_23_hours__is_overdue(exodus: Exodus) -> None:
    start(exodus, 1)
    wait_out(exodus, hours=1)
    exodus.observe(LONG)
    since = exodus.now_s
    assert exodus.word(LONG, 1).waiting_since_s == since
    wait_out(exodus, hours=22)
    exodus.wait(HOUR_S - 1)
    exodus.observe(LONG)
    assert exodus.exits.n_overdue == 0
    with refused("exits: not due"):
        exodus.enter()
    exodus.wait(1)
    exodus.observe(LONG)
    assert (exodus.exits.n_overdue, exodus.word(LONG, 1).is_overdue) == (1, True)
    exodus.observe(LONG)
    assert exodus.exits.n_overdue == 1
    exodus.enter()


def make_overdue(exodus: Exodus, account: int = LONG, worst: int = 1) -> None:
    start(exodus, worst, account=account)
    wait_out(exodus, hours=1)
    exodus.observe(account)
    wait_out(exodus, hours=23)
    exodus.observe(account)


@pytest.mark.parametrize("how", ["cancelled", "taken", "closed", "expired", "replaced"])
def test_n_overdue__request_gone__counts_it_no_more(exodus: Exodus, how: str) -> None:
    make_overdue(exodus)
    assert exodus.exits.n_overdue == 1
    if how == "cancelled":
        exodus.cancel(LONG, 1)
    elif how == "taken":
        exodus.force_close(LONG, OTHER, lots=LOTS - 1)
        assert exodus.exits.n_overdue == 1
        exodus.force_close(LONG, OTHER)
    elif how == "closed":
        freshen(exodus)
        size = {"size_lots": LOTS}
        assert exodus.venue.trade(LOTS, maker_buys=True, maker=size, taker=size).is_clean
        exodus.sync()
        exodus.observe(LONG)
    elif how == "expired":
        exodus.wait(30 * DAY_S)
        exodus.observe(LONG)
    else:
        exodus.wait(30 * DAY_S)
        exodus.request_close(LONG, LOTS, 1)
    assert exodus.exits.n_overdue == 0


def test_observe__close_below_100_usdc__is_never_overdue(exodus: Exodus) -> None:
    """A dollar's worth in a thousand accounts stops no venue: 9,999 lots at 10,000 are a cent less than 100 USDC."""
    exodus.request_close(LONG, 9_999, 1)
    freshen(exodus, 6 * HOUR_S)
    exodus.observe(LONG)
    freshen(exodus, HOUR_S)
    exodus.observe(LONG)
    assert exodus.word(LONG, 1).waiting_since_s == 0
    exodus.cancel(LONG, 1)
    exodus.request_close(LONG, 10_000, 1)
    freshen(exodus, 6 * HOUR_S)
    exodus.observe(LONG)
    freshen(exodus, HOUR_S)
    exodus.observe(LONG)
    assert exodus.word(LONG, 1).waiting_since_s == exodus.now_s


def test_observe__below_maintenance_margin__is_for_liquidation(leveraged: Exodus) -> None:
    """Equity 60.55 - 15 at 9,850 is below 5 % of 985 = 49.25; at 9,900 it is 50.55 of 49.5."""
    start(leveraged, 1)
    freshen(leveraged, HOUR_S, 9_850)
    leveraged.observe(LONG)
    assert leveraged.word(LONG, 1).waiting_since_s == 0
    freshen(leveraged, 60, 9_900)
    leveraged.observe(LONG)
    assert leveraged.word(LONG, 1).waiting_since_s == leveraged.now_s


def test_observe__worst_price_inside_the_band_again__is_a_choice_and_ends(exodus: Exodus) -> None:
    """At an external price of 10,000 the edge is 9,000; at 9,900 it is 8,910."""
    start(exodus, 9_000)
    freshen(exodus, HOUR_S)
    exodus.observe(LONG)
    freshen(exodus, 23 * HOUR_S)
    exodus.observe(LONG)
    assert exodus.exits.n_overdue == 1
    freshen(exodus, 60, 9_900)
    assert exodus.observe(LONG) == 7
    assert exodus.exits.n_overdue == 0


def test_observe__overdue_position_too_small_now__is_overdue_no_more(exodus: Exodus) -> None:
    make_overdue(exodus)
    exodus.force_close(LONG, OTHER, lots=LOTS - 10_000)
    exodus.observe(LONG)
    assert exodus.exits.n_overdue == 1
    exodus.force_close(LONG, OTHER, lots=1)
    exodus.observe(LONG)
    assert exodus.exits.n_overdue == 0


@pytest.mark.parametrize(("seconds", "waits"), [(-1, False), (0, True)])
def test_observe__halted_for_fourteen_days__waits_all_the_same(exodus: Exodus, seconds: int, waits: bool) -> None:
    """A sequencer that halts a market for ever locks nobody in."""
    exodus.request_close(LONG, LOTS, 1)
    exodus.wait(6 * HOUR_S + 14 * DAY_S + seconds - 1)
    halt(exodus, HALTED)
    exodus.observe(LONG)
    assert (exodus.word(LONG, 1).waiting_since_s != 0) is waits
    assert exodus.word(LONG, 1).elapsed_s == 0


def test_governor__with_every_power__cannot_stop_a_forced_close(exodus: Exodus) -> None:
    """Invariant 21: halt_market by the guardian leaves exits as they are."""
    start(exodus, 9_000)
    chain = exodus.venue.chain
    chain.call("MarketRegistry", "set_guardian", GOVERNOR, sender=GOVERNOR)
    chain.call("MarketRegistry", "halt_market", 1, sender=GOVERNOR)
    freshen(exodus, 301)
    exodus.state.rules = {}
    exodus.sync()
    assert exodus.force_close(LONG, OTHER)[0] == LOTS
