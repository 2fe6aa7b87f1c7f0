"""Lens: what people are shown equals the raw words and the model's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.margin import compute_account_health, compute_position_health
from afterbell.domain.words import IndexWord, PositionWord
from tests.contracts.venue import MAKER, RULES, TAKER, TICKS, USDC, Report, Venue, account_of

MAKER_ACCOUNT, TAKER_ACCOUNT = account_of(MAKER), account_of(TAKER)
FIELDS: Final = (
    "market", "size_lots", "entry_quote", "pending_funding_quote", "valuation_ticks", "notional_quote",
    "initial_margin_quote", "settlement_margin_quote", "maintenance_margin_quote", "is_fresh",
)  # fmt: skip


@pytest.fixture
def venue() -> Venue:
    """Return a venue where MAKER is short and TAKER long in markets 1 and 3, mark above external in 1.

    Market 1: mark 10,100, external 10,000; market 3: mark and external 10,000, with funding.
    """
    venue = Venue.open(n_markets=3)
    for market, lots in ((1, 1_000), (3, 500)):
        assert venue.trade(lots, maker={"market_id": market}, taker={"market_id": market}).is_clean
    venue.wait(3)
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=11_000, index_ticks=TICKS)])
    index = IndexWord(long_index_e12=1_500_000_000_001, short_index_e12=-2_000_000_000_000)
    venue.chain.write_word("indices", 3, index.pack())
    return venue


def position(venue: Venue, account: int, market: int, at_s: int | None = None) -> dict[str, Any]:
    at_s = venue.chain.time_s if at_s is None else at_s
    return dict(
        zip(FIELDS, venue.chain.call("Lens", "position_summary", account, market, at_s), strict=True)
    )


def test_position_summary__short_above_external__is_valued_at_the_mark(venue: Venue) -> None:
    """1,000 lots at 10,100: notional 10.1 USDC; margins 10, 6 and 5 %. Entry: 10 USDC less 100 ppm, received."""
    assert position(venue, MAKER_ACCOUNT, 1) == {
        "market": 1, "size_lots": -1_000, "entry_quote": -9_999_000, "pending_funding_quote": 0,
        "valuation_ticks": 10_100, "notional_quote": 10_100_000, "initial_margin_quote": 1_010_000,
        "settlement_margin_quote": 606_000, "maintenance_margin_quote": 505_000, "is_fresh": True,
    }  # fmt: skip


def test_position_summary__long_below_mark__is_valued_at_the_external_price(venue: Venue) -> None:
    summary = position(venue, TAKER_ACCOUNT, 1)

    assert (summary["valuation_ticks"], summary["notional_quote"]) == (10_000, 10_000_000)
    assert summary["entry_quote"] == 10_004_500


def test_position_summary__funding__is_rounded_up_for_both_sides(venue: Venue) -> None:
    """Long 500 x 1.500000000001 = 750.0000000005 -> 751 owed; short -500 x -2 = 1,000 owed."""
    assert position(venue, TAKER_ACCOUNT, 3)["pending_funding_quote"] == 751
    assert position(venue, MAKER_ACCOUNT, 3)["pending_funding_quote"] == 1_000


def test_position_summary__nothing_held__is_empty(venue: Venue) -> None:
    summary = position(venue, MAKER_ACCOUNT, 2)

    assert (summary["size_lots"], summary["notional_quote"], summary["initial_margin_quote"]) == (0, 0, 0)


@pytest.mark.parametrize("account", [MAKER_ACCOUNT, TAKER_ACCOUNT])
def test_account_summary__equals_the_models_health(venue: Venue, account: int) -> None:
    chain, at_s = venue.chain, venue.chain.time_s
    word = venue.account(account)
    healths = [
        compute_position_health(
            PositionWord.unpack(chain.read_word("positions", account << 16 | market)),
            venue.price(market), RULES, IndexWord.unpack(chain.read_word("indices", market)), at_s,
        )
        for market in (1, 3)
    ]  # fmt: skip
    expected = compute_account_health(word.collateral_quote, healths)

    summary = chain.call("Lens", "account_summary", account, at_s)

    assert summary[:7] == (
        word.collateral_quote, expected.equity_quote, expected.initial_margin_quote,
        expected.settlement_margin_quote, expected.maintenance_margin_quote, expected.withdrawal_margin_quote,
        expected.is_stale,
    )  # fmt: skip
    assert summary[7] == word.min_seq
    assert [dict(zip(FIELDS, one, strict=True)) for one in summary[-1]] == [
        position(venue, account, market) for market in (1, 3)
    ]


def test_account_summary__equity__written_out(venue: Venue) -> None:
    """TAKER: 10,000 USDC; market 1: 10.000000 - 10.004500; market 3: 5.000000 - 5.002250 - funding 0.000751."""
    summary = venue.chain.call("Lens", "account_summary", TAKER_ACCOUNT, venue.chain.time_s)

    assert summary[1] == 10_000 * USDC - 4_500 - 2_250 - 751


def test_account_summary__what_may_be_withdrawn__is_what_settle_lets_pass(venue: Venue) -> None:
    summary = venue.chain.call("Lens", "account_summary", MAKER_ACCOUNT, venue.chain.time_s)
    most = summary[1] - summary[5]
    with venue.chain.undone():
        assert venue.settle(operations=[venue.withdraw(MAKER, most + 1)]).operations != [0]

    assert venue.settle(operations=[venue.withdraw(MAKER, most)]).operations == [0]


def test_account_summary__debt_and_min_seq__are_read_with_their_signs(venue: Venue) -> None:
    word = replace(venue.account(MAKER_ACCOUNT), collateral_quote=-5 * USDC, min_seq=2**40 - 1)
    venue.chain.write_word("accounts", MAKER_ACCOUNT << 16, word.pack())

    summary = venue.chain.call("Lens", "account_summary", MAKER_ACCOUNT, venue.chain.time_s)

    assert (summary[0], summary[7]) == (-5 * USDC, 2**40 - 1)


def test_account_summary__never_used__is_zero(venue: Venue) -> None:
    assert venue.chain.call("Lens", "account_summary", 5, 1) == (0, 0, 0, 0, 0, 0, False, 0, 0, 0, ())


@pytest.mark.parametrize(("age_s", "is_fresh"), [(60, True), (61, False)])
def test_freshness__at_its_last_second__is_the_same_everywhere(venue: Venue, age_s: int, is_fresh: bool) -> None:
    at_s = venue.price().external_time_s + age_s

    assert position(venue, MAKER_ACCOUNT, 1, at_s)["is_fresh"] is is_fresh
    assert venue.chain.call("Lens", "market_summary", 1, at_s)[7] is is_fresh
    assert venue.chain.call("Lens", "account_summary", MAKER_ACCOUNT, at_s)[6] is not is_fresh


def test_market_summary__equals_the_words(venue: Venue) -> None:
    """Band 10 % around 10,000; 1,000 lots open; entries - 9.999 and + 10.0045 USDC."""
    price, totals = venue.price(), venue.totals()

    summary = venue.chain.call("Lens", "market_summary", 1, venue.chain.time_s)

    assert summary == (
        1, 2, 10_100, price.index_ticks, 10_000, price.external_time_s, price.mark_time_s, True, True, 9_000, 11_000,
        1_000, 1_000_000, 5_500, 0, True,
    )  # fmt: skip
    assert (totals.open_interest_lots, totals.net_entry_quote) == (1_000, 5_500)


@pytest.mark.parametrize("market", [0, 9, 32, 255])
def test_market_summary__not_listed__has_epoch_zero_and_is_not_fresh(venue: Venue, market: int) -> None:
    summary = venue.chain.call("Lens", "market_summary", market, 1)

    assert (summary[0], summary[2], summary[7], summary[8]) == (0, 0, False, False)


def test_market_summary__listed_without_a_price__is_not_fresh() -> None:
    venue = Venue.open(n_markets=1, is_priced=False, deposit_quote=0)

    summary = venue.chain.call("Lens", "market_summary", 1, venue.chain.time_s)

    assert (summary[0], summary[4], summary[7], summary[9], summary[10]) == (1, 0, False, 0, 0)


def test_market_summary__session_reported__shows_its_rules() -> None:
    venue = Venue.open(n_markets=0, deposit_quote=0)
    closed = replace(RULES, is_opening_allowed=False, band_ppm=50_000, max_age_s=0)
    venue.chain.list_market(1, [RULES.pack()] * 5 + [closed.pack()] + [RULES.pack()] * 3)
    venue.settle(evidence=venue.evidence([Report(session=5)]))
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)])

    summary = venue.chain.call("Lens", "market_summary", 1, venue.chain.time_s + 10**6)

    assert (summary[1], summary[7], summary[8], summary[9], summary[10]) == (5, True, False, 9_500, 10_500)


def test_solvency__after_trades_withdrawals_and_claims__is_exact(venue: Venue) -> None:
    """20,000 USDC in; fees 5,500 + 2,750; 30 USDC withdrawn, 10 of them paid."""
    venue.settle(operations=[venue.withdraw(MAKER, 20 * USDC), venue.withdraw(TAKER, 10 * USDC)])
    venue.chain.call("Vault", "claim", "0x" + TAKER.address.hex())

    collateral, net_entry, pots, fees, owed, unpaid, tracked, is_exact = venue.chain.call("Lens", "solvency")

    assert (collateral, fees, unpaid, tracked) == (19_970 * USDC, 8_250, 20 * USDC, 19_990 * USDC)
    assert owed == collateral - net_entry + pots + fees
    assert is_exact


def test_solvency__one_unit_missing__is_seen(venue: Venue) -> None:
    for change in (1, -1):
        with venue.chain.undone():
            batch = venue.batch()
            venue.chain.write_value("batch", replace(batch, fees_quote=batch.fees_quote + change).pack())

            assert venue.chain.call("Lens", "solvency")[7] is False
    assert venue.chain.call("Lens", "solvency")[7] is True


@pytest.mark.parametrize("lane", [0, 1, 2, 65_534])
def test_lane_state__filled_and_consumed__is_read_from_its_half(venue: Venue, lane: int) -> None:
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    venue.settle([ask, venue.order(TAKER, is_buy=True, lane=77)], [(0, 1, 300)])
    assert venue.chain.call("Lens", "lane_state", MAKER_ACCOUNT, lane) == (ask[1].seq, 300, False)

    venue.settle(operations=[venue.cancel(MAKER, ask[1])])

    assert venue.chain.call("Lens", "lane_state", MAKER_ACCOUNT, lane) == (ask[1].seq, 2**48 - 1, True)
