"""Initial margin in the worst case, in numbers worked out by hand.

One market, mark and external 10,000 ticks unless said otherwise, initial margin 10 %, fees 400 ppm in the worst case.
"""

from __future__ import annotations

import pytest

from afterbell.domain.events import Event, FillMatched, OrderAccepted, OrderRejected
from afterbell.domain.ids import AccountId
from afterbell.engine.risk import compute_account_risk
from tests.engine.support import USDC, Venue, account, open_venue


def required_quote(venue: Venue, number: int) -> int:
    execution = venue.state.read_execution(venue.time_s)
    orders = venue.state.account_orders.get(AccountId(account(number)), {}).values()
    return compute_account_risk(venue.state, execution, AccountId(account(number)), orders).required_quote


def is_accepted(events: list[Event]) -> bool:
    return isinstance(events[-1], OrderAccepted)


def test_risk__one_bid_below_the_price__reserves_margin_and_fee() -> None:
    """1,000 lots: margin at the price 10,000 = 10,000,000 x 10 % = 1,000,000; fee 9,900,000 x 400 ppm = 3,960."""
    venue = open_venue()

    venue.place(1, "buy", 1_000, 9_900)

    assert required_quote(venue, 1) == 1_000_000 + 3_960


def test_risk__one_bid_above_the_price__reserves_the_loss_too() -> None:
    """Loss 1,000 x 100 ticks = 100,000; fee 10,100,000 x 400 ppm = 4,040."""
    venue = open_venue()

    venue.place(1, "buy", 1_000, 10_100)

    assert required_quote(venue, 1) == 1_000_000 + 100_000 + 4_040


def test_risk__mark_and_external_differ__each_side_takes_the_worse() -> None:
    """Mark 9,950 (10,000 - one step of 5,000 ppm), external 10,000 after 3 s: a long is worth 9,950, a short 10,000.

    Bid 1,000 at 10,000: margin 995,000, loss 50,000, fee 4,000. Ask 1,000 at 10,001: margin 1,000,000, fee 4,000.4.
    """
    venue = open_venue()
    venue.time_ms += 3_000
    venue.prices(10_000, mark_ticks=9_900)

    venue.place(1, "buy", 1_000, 10_000)
    assert required_quote(venue, 1) == 995_000 + 50_000 + 4_000

    venue.cancel_all(1)
    venue.place(2, "sell", 1_000, 10_001)
    assert required_quote(venue, 2) == 1_000_000 + 4_001


def test_risk__bids_and_asks__the_worse_side_counts_once() -> None:
    """Bids 3,000 at 9,900: 3,000,000 + 11,880. Asks 1,000 at 10,100: 1,000,000 + 4,040. The bids are worse."""
    venue = open_venue()
    venue.place(1, "buy", 1_000, 9_900, lane=1)
    venue.place(1, "buy", 2_000, 9_900, lane=2)
    venue.place(1, "sell", 1_000, 10_100, lane=3)

    assert required_quote(venue, 1) == 3_000_000 + 3_960 + 7_920


def test_risk__order_needs_all_the_equity__one_quote_unit_decides() -> None:
    """The bid of 1,000 at 9,900 needs 1,003,960 quote."""
    rich = open_venue(n_participants=1, deposit_quote=1_003_960)
    poor = open_venue(n_participants=1, deposit_quote=1_003_959)

    assert is_accepted(rich.place(1, "buy", 1_000, 9_900))
    (rejected,) = poor.place(1, "buy", 1_000, 9_900)
    assert isinstance(rejected, OrderRejected)
    assert rejected.reason == "INSUFFICIENT_MARGIN"
    assert "1003960 quote" in rejected.required
    assert rejected.found == "1003959 quote"


def test_risk__replacement__does_not_count_the_order_it_replaces() -> None:
    venue = open_venue(n_participants=1, deposit_quote=1_010_000)
    assert is_accepted(venue.place(1, "buy", 1_000, 9_900, lane=1))

    assert not is_accepted(venue.place(1, "buy", 1_000, 9_900, lane=2))
    assert is_accepted(venue.place(1, "buy", 1_000, 9_901, lane=1))


def lose_money() -> Venue:
    """Participant 5 deposits 2 USDC, is long 1,000 lots from 10,000, and the price falls to 9,000.

    Equity 2,000,000 - 1,000,000 loss - 4,000 fee = 996,000; initial margin 9,000,000 x 10 % = 900,000.
    """
    venue = open_venue()
    venue.deposit(5, 2 * USDC)
    venue.place(1, "sell", 1_000, 10_000)
    venue.place(5, "buy", 1_000, 10_000)
    for ticks in (9_700, 9_400, 9_000):
        venue.time_ms += 60_000
        venue.prices(ticks)
    return venue


def test_risk__little_margin_left__a_closing_order_needs_none() -> None:
    venue = lose_money()

    assert not is_accepted(venue.place(5, "buy", 1_000, 8_900, lane=1))
    assert is_accepted(venue.place(5, "sell", 600, 9_100, lane=2))
    assert is_accepted(venue.place(5, "sell", 400, 9_100, lane=3))


def test_risk__closing_orders_beyond_the_position__need_margin_for_the_rest() -> None:
    """Asks of 1,600 against 1,000 long: the short of 600 that may result fits; one of 2,000 does not.

    600 short: 540,000 + fees 5,824 < 996,000. 2,000 short: 1,800,000 > 996,000.
    """
    venue = lose_money()
    assert is_accepted(venue.place(5, "sell", 1_000, 9_100, lane=1))

    assert is_accepted(venue.place(5, "sell", 600, 9_100, lane=2))
    assert not is_accepted(venue.place(5, "sell", 2_000, 9_100, lane=3))


def test_risk__reduce_only_order__reserves_nothing() -> None:
    venue = lose_money()
    before = required_quote(venue, 5)

    assert is_accepted(venue.place(5, "sell", 1_000, 9_100, reduce_only=True))
    assert required_quote(venue, 5) == before == 900_000


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_risk__accepted_order_fills_at_its_limit__account_still_meets_initial_margin(side: str) -> None:
    """The reservation covers the worst fill: equity after it is exactly margin or more."""
    venue = open_venue()
    limit_ticks = 10_100 if side == "buy" else 9_900
    # Margin 1,000,000; loss 100,000; fee ceil(10,100,000 or 9,900,000 x 400 ppm) = 4,040 or 3,960.
    deposit_quote = 1_100_000 + (4_040 if side == "buy" else 3_960)
    venue.deposit(9, deposit_quote)
    venue.place(1, "sell" if side == "buy" else "buy", 1_000, limit_ticks)

    events = venue.place(9, side, 1_000, limit_ticks)

    assert isinstance(events[0], FillMatched)
    health = venue.state.read_execution(venue.time_s).health(account(9))
    assert health.equity_quote == health.initial_margin_quote == 1_000_000
