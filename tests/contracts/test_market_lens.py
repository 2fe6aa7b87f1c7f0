"""MarketLens: what people are shown of a market equals the raw words, and what siblings keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.corporate_actions import ActionKind
from afterbell.domain.session import Session
from afterbell.domain.words import IndexWord
from tests.contracts.corporate import ANNOUNCER, GUARDIAN, Exchange
from tests.contracts.lens import look
from tests.contracts.venue import MAKER, RULES, TAKER, TICKS, USDC, Report, Venue, account_of
from tests.support.chain import GOVERNOR, SEQUENCER

MAKER_ACCOUNT, TAKER_ACCOUNT = account_of(MAKER), account_of(TAKER)
DAY_S: Final = 86_400
BY_CALENDAR, BY_OPERATOR, BY_GUARDIAN, BY_REPORT, BY_CORPORATE_ACTION = range(5)


def see(venue: Venue, function: str, *args: Any) -> Any:
    return look(venue.chain, "MarketLens", function, *args)


@pytest.fixture
def venue() -> Venue:
    """Return a venue where MAKER is short and TAKER long 1,000 lots in market 1, mark 10,100 above external 10,000."""
    venue = Venue.open(n_markets=3, rules=replace(RULES, account_share=16_384))
    assert venue.trade(1_000).is_clean
    venue.wait(3)
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=11_000, index_ticks=TICKS)])
    return venue


def test_market_summary__equals_the_words(venue: Venue) -> None:
    """Band 10 % around 10,000; 1,000 lots open; entries - 9.999 and + 10.0045 USDC; a quarter of the cap an account."""
    index = IndexWord(long_index_e12=5, short_index_e12=-7, funding_time_s=11, reserve_ticks=13)
    venue.chain.write_word("indices", 1, index.pack())
    price = venue.price()

    summary = see(venue, "market_summary", 1, venue.chain.time_s)

    assert summary == {
        "epoch": 1, "session": 2, "mark_ticks": 10_100, "index_ticks": price.index_ticks, "external_ticks": 10_000,
        "external_time_s": price.external_time_s, "mark_time_s": price.mark_time_s,
        "stated_until_s": price.external_time_s + 60 * price.session_minutes, "is_fresh": True,
        "is_opening_allowed": True, "band_low_ticks": 9_000, "band_high_ticks": 11_000, "open_interest_lots": 1_000,
        "open_interest_cap_lots": 1_000_000, "account_cap_lots": 250_000, "net_entry_quote": 5_500, "pot_quote": 0,
        "long_index_e12": 5, "short_index_e12": -7, "funding_time_s": 11, "reserve_ticks": 13,
        "is_trusted_price": True,
    }  # fmt: skip
    assert price.session_minutes > 0


@pytest.mark.parametrize(("age_s", "is_fresh"), [(60, True), (61, False)])
def test_freshness__at_its_last_second__is_the_same_everywhere(venue: Venue, age_s: int, is_fresh: bool) -> None:
    at_s = venue.price().external_time_s + age_s

    assert look(venue.chain, "Lens", "position_summary", MAKER_ACCOUNT, 1, at_s)["is_fresh"] is is_fresh
    assert see(venue, "market_summary", 1, at_s)["is_fresh"] is is_fresh
    assert look(venue.chain, "Lens", "account_summary", MAKER_ACCOUNT, at_s)["is_stale"] is not is_fresh


@pytest.mark.parametrize("market", [0, 9, 32, 255])
def test_market_summary__not_listed__has_epoch_zero_and_is_not_fresh(venue: Venue, market: int) -> None:
    summary = see(venue, "market_summary", market, 1)

    assert (summary["epoch"], summary["mark_ticks"], summary["is_fresh"]) == (0, 0, False)
    assert see(venue, "unit_summary", market)["symbol"] == ""


def test_market_summary__listed_without_a_price__is_not_fresh() -> None:
    venue = Venue.open(n_markets=1, is_priced=False, deposit_quote=0)

    summary = see(venue, "market_summary", 1, venue.chain.time_s)

    assert (summary["epoch"], summary["external_ticks"], summary["is_fresh"]) == (1, 0, False)
    assert (summary["band_low_ticks"], summary["band_high_ticks"]) == (0, 0)


def test_market_summary__session_reported__shows_its_rules() -> None:
    venue = Venue.open(n_markets=0, deposit_quote=0)
    closed = replace(RULES, is_opening_allowed=False, band_ppm=50_000, max_age_s=0)
    venue.chain.list_market(1, [RULES.pack()] * 5 + [closed.pack()] + [RULES.pack()] * 3)
    venue.settle(
        rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)], evidence=venue.evidence([Report(session=5)])
    )

    summary = see(venue, "market_summary", 1, venue.chain.time_s + 10**6)

    assert (summary["session"], summary["is_fresh"], summary["is_opening_allowed"]) == (5, True, False)
    assert (summary["band_low_ticks"], summary["band_high_ticks"]) == (9_500, 10_500)


# Solvency and insurance.


def test_solvency__after_trades_withdrawals_and_claims__is_exact(venue: Venue) -> None:
    """20,000 USDC in; fees 5,500; 30 USDC withdrawn, 10 of them paid; 7 USDC of insurance in market 3."""
    assert venue.settle(operations=[venue.withdraw(MAKER, 20 * USDC), venue.withdraw(TAKER, 10 * USDC)]).is_clean
    venue.chain.call("Vault", "claim", "0x" + TAKER.address.hex())
    insurance = int(venue.chain.addresses["Liquidations"], 16) << 80 | 3
    venue.chain.deposit(insurance, 7 * USDC)

    sums = see(venue, "solvency")

    assert (sums["collateral_quote"], sums["fees_quote"]) == (19_977 * USDC, 5_500)
    assert (sums["unpaid_claims_quote"], sums["tracked_quote"]) == (20 * USDC, 19_997 * USDC)
    assert sums["owed_quote"] == 19_977 * USDC - 5_500 + sums["pots_quote"] + 5_500
    assert sums["is_exact"]
    assert sums["insurance_quote"] == [0, 0, 7 * USDC, *[0] * 29]
    # A fifth of what the fund held may go in a day.
    assert venue.chain.call("MarketLens", "insurance_quote", 3) == (7 * USDC, 7 * USDC // 5)


def test_solvency__one_unit_missing__is_seen(venue: Venue) -> None:
    for change in (1, -1):
        with venue.chain.undone():
            batch = venue.batch()
            venue.chain.write_value("batch", replace(batch, fees_quote=batch.fees_quote + change).pack())

            assert see(venue, "solvency")["is_exact"] is False
    assert see(venue, "solvency")["is_exact"] is True


# Units.


def test_unit_summary__before_and_after_a_split__price_of_a_share_follows() -> None:
    """lot 0.0001 unit, 100 ticks a USD: 10,000 ticks are 100 USD a unit; after 2 for 3 a unit is 2/3 of a share."""
    exchange = Exchange.open()
    venue = exchange.venue
    assert see(venue, "unit_summary", 1) == {
        "symbol": "STOCK1", "lot_exponent": 4, "multiplier_num": 1, "multiplier_den": 1,
        "share_price_e8": 100 * 10**8,
    }  # fmt: skip
    exchange.activate_after(exchange.schedule(ActionKind.SPLIT, num=2, den=3))

    unit = see(venue, "unit_summary", 1)

    # The price of a unit stands until the next report: a share is worth 150 USD of it.
    assert (unit["multiplier_num"], unit["multiplier_den"], unit["share_price_e8"]) == (2, 3, 150 * 10**8)


# Sessions.


def test_session_now__each_source_in_turn__names_the_strictest(venue: Venue) -> None:
    chain = venue.chain
    chain.call("MarketRegistry", "set_guardian", GUARDIAN, sender=GOVERNOR)

    def now() -> tuple[int, int]:
        found = see(venue, "session_now", 1, chain.time_s)
        return found["session"], found["source"]

    assert now() == (Session.REGULAR, BY_CALENDAR)
    venue.settle(evidence=venue.evidence([Report(session=Session.OVERNIGHT)]))
    assert now() == (Session.OVERNIGHT, BY_REPORT)
    chain.call("PriceOracle", "override_session", 1, Session.CLOSED, chain.time_s + 100, sender=SEQUENCER)
    assert now() == (Session.CLOSED, BY_OPERATOR)
    chain.call("PriceOracle", "override_session", 1, Session.HALTED, chain.time_s + 1_000, sender=GUARDIAN)
    begun_s = chain.time_s

    # The operator's binds at once for 100 s, the guardian's matches more than SETTLE_LAG later.
    expected = {
        100: (Session.CLOSED, BY_OPERATOR), 101: (Session.OVERNIGHT, BY_REPORT), 300: (Session.OVERNIGHT, BY_REPORT),
        301: (Session.HALTED, BY_GUARDIAN), 1_000: (Session.HALTED, BY_GUARDIAN), 1_001: (Session.OVERNIGHT, BY_REPORT),
    }  # fmt: skip
    found = {late_s: see(venue, "session_now", 1, begun_s + late_s) for late_s in expected}
    assert {late_s: (one["session"], one["source"]) for late_s, one in found.items()} == expected
    assert found[100]["calendar_session"] == Session.REGULAR
    assert found[100]["calendar_from_s"] <= begun_s < found[100]["calendar_until_s"]


def test_session_now__equals_what_the_next_row_finds(venue: Venue) -> None:
    chain = venue.chain
    chain.call("PriceOracle", "override_session", 1, Session.CLOSED, chain.time_s + 100, sender=SEQUENCER)
    expected = see(venue, "session_now", 1, chain.time_s)
    assert (expected["session"], expected["stored_session"]) == (Session.CLOSED, Session.REGULAR)

    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)])

    assert venue.price().session == expected["session"]
    after = see(venue, "session_now", 1, chain.time_s)
    assert after["stored_session"] == Session.CLOSED
    assert after["stated_until_s"] == venue.price().external_time_s + 60 * venue.price().session_minutes


# Corporate actions.


def test_corporate_action__announced_and_halted__is_shown_with_its_terms() -> None:
    exchange = Exchange.open()
    venue = exchange.venue
    assert see(venue, "corporate_action", 1)["kind"] == 0
    announcement = exchange.announce(ActionKind.DIVIDEND)

    action = see(venue, "corporate_action", 1)

    assert (action["kind"], action["effective_s"]) == (ActionKind.DIVIDEND, announcement.effective_s)
    assert (action["reserve_s"], action["activated_s"], action["is_waiting"]) == (announcement.reserve_s, 0, False)
    # 1 USD a share, a share a unit, 100 ticks a USD.
    assert (action["terms"]["ticks"], action["terms"]["ex_date"]) == (100, announcement.ex_date)
    before = see(venue, "session_now", 1, announcement.effective_s - 1)
    halted = see(venue, "session_now", 1, announcement.effective_s)
    assert before["source"] == BY_CALENDAR
    assert (halted["session"], halted["source"]) == (Session.CORPORATE_ACTION, BY_CORPORATE_ACTION)
    assert halted["halt_from_s"] == announcement.effective_s
    assert ANNOUNCER != GUARDIAN


# Auto-deleveraging.


def test_adl_ranks__longs_with_profit__best_first(venue: Venue) -> None:
    """TAKER is long 1,000 lots at 10,000, mark 10,100: entry 10.0045 USDC, profit 0.0955 USDC, equity 10,000.0955 - …

    score = profit x notional x 1e6 // (equity x entry) = 95,500 x 10,100,000 x 1e6 // (10,000,095,500 x 10,004,500).
    """
    ranks = see(venue, "adl_ranks", 1, True, [MAKER_ACCOUNT, TAKER_ACCOUNT, 5], venue.chain.time_s)

    assert ranks == [
        {"account_id": MAKER_ACCOUNT, "score": 0, "place": 0},
        {
            "account_id": TAKER_ACCOUNT,
            "score": 95_500 * 10_100_000 * 10**6 // (10_000_095_500 * 10_004_500),
            "place": 1,
        },
        {"account_id": 5, "score": 0, "place": 0},
    ]
    shorts = see(venue, "adl_ranks", 1, False, [MAKER_ACCOUNT, TAKER_ACCOUNT], venue.chain.time_s)
    assert [rank["score"] for rank in shorts] == [0, 0]
    assert see(venue, "adl", 1)["account_id"] == 0
