"""Lens: what people are shown equals the raw words and the model's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain import liquidation_terms
from afterbell.domain.account_risk import Basis, compute_risk, read_holdings
from afterbell.domain.batch import OrderRecord, PriceRow
from afterbell.domain.evidence import build_proof, build_tree
from afterbell.domain.hashing import keccak
from afterbell.domain.liquidation import compute_liquidation_ticks
from afterbell.domain.margin import compute_account_health, compute_position_health
from afterbell.domain.order import Transfer
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.words import IndexWord, PositionWord
from afterbell.signing.typed_data import digest, struct_hash
from tests.contracts.leaving import Exodus
from tests.contracts.lens import look
from tests.contracts.venue import MAKER, RULES, TAKER, TICKS, USDC, Venue, account_of, address_of

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
    return dict(zip(FIELDS, venue.chain.call("Lens", "position_summary", account, market, at_s), strict=True))


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


@pytest.mark.parametrize("lane", [0, 1, 2, 65_533])
def test_lane_state__filled_and_consumed__is_read_from_its_half(venue: Venue, lane: int) -> None:
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    venue.settle([ask, venue.order(TAKER, is_buy=True, lane=77)], [(0, 1, 300)])
    assert venue.chain.call("Lens", "lane_state", MAKER_ACCOUNT, lane) == (ask[1].seq, 300, False)

    venue.settle(operations=[venue.cancel(MAKER, ask[1])])

    assert venue.chain.call("Lens", "lane_state", MAKER_ACCOUNT, lane) == (ask[1].seq, 2**48 - 1, True)


# Tiers, reserve, liquidation.

TIERS: Final = ((5, 50_000), (8, 100_000))
"""Above 5 USDC of notional 5 % more maintenance margin, above 8 another 10 %."""


@pytest.fixture
def tiered() -> Venue:
    """Return a venue with tiers; MAKER short, TAKER long 1,000 lots in market 1 at a mark of 10,100, 500 in market 3.

    A dividend of 20 ticks is announced for market 1.
    """
    venue = Venue.open(n_markets=0)
    word = sum(edge << 68 * place | add << 68 * place + 48 for place, (edge, add) in enumerate(TIERS))
    for market in (1, 2, 3):
        venue.chain.list_market(market, RULES.pack(), tiers=word)
    venue.set_prices(dict.fromkeys((1, 2, 3), TICKS))
    for market, lots in ((1, 1_000), (3, 500)):
        assert venue.trade(lots, maker={"market_id": market}, taker={"market_id": market}).is_clean
    venue.wait(3)
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=11_000, index_ticks=TICKS)])
    venue.chain.write_word("indices", 1, IndexWord(reserve_ticks=20).pack())
    return venue


def test_position_summary__tiers_and_reserve__written_out(tiered: Venue) -> None:
    """Short 1,000 lots at 10,100 + 20: notional 10.12 USDC; 5.12 of it above the first edge, 2.12 above the second.

    Maintenance 5 % of 10.12 + 5 % of 5.12 + 10 % of 2.12; settlement 6 %, initial 10 %, both with twice that.
    """
    summary = position(tiered, MAKER_ACCOUNT, 1)

    added = 256_000 + 212_000
    assert (summary["valuation_ticks"], summary["notional_quote"]) == (10_120, 10_120_000)
    assert summary["maintenance_margin_quote"] == 506_000 + added
    assert summary["settlement_margin_quote"] == 607_200 + 2 * added
    assert summary["initial_margin_quote"] == 1_012_000 + 2 * added
    # The long is valued at the external price, without the dividend.
    assert position(tiered, TAKER_ACCOUNT, 1)["notional_quote"] == 10_000_000
    assert tiered.chain.call("Lens", "effective_tiers", 1, 2, tiered.chain.time_s) != 0


@pytest.mark.parametrize("account", [MAKER_ACCOUNT, TAKER_ACCOUNT])
@pytest.mark.parametrize("collateral_quote", [10_000 * USDC, 2 * USDC, 300_000, -3 * USDC])
def test_liquidation_summary__equals_the_model(tiered: Venue, account: int, collateral_quote: int) -> None:
    chain, at_s = tiered.chain, tiered.chain.time_s
    word = replace(tiered.account(account), collateral_quote=collateral_quote)
    chain.write_word("accounts", account << 16, word.pack())
    exodus = Exodus(tiered, accounts=[account])
    exodus.sync()
    holdings = read_holdings(exodus.state, account, at_s)
    at_mark = compute_risk(collateral_quote, holdings, Basis.MARK)
    at_external = compute_risk(collateral_quote, holdings, Basis.EXTERNAL)
    shares = liquidation_terms.allocate_quote(at_mark.equity_quote, holdings)

    summary = look(chain, "Lens", "liquidation_summary", account, at_s)

    assert (summary["flagged_at_s"], summary["takeable_from_s"]) == (0, 0)
    assert summary["equity_at_mark_quote"] == at_mark.equity_quote
    assert summary["maintenance_at_mark_quote"] == at_mark.maintenance_margin_quote
    assert summary["equity_at_external_quote"] == at_external.equity_quote
    assert summary["maintenance_at_external_quote"] == at_external.maintenance_margin_quote
    # The healthy one is not, the three poor ones are.
    assert summary["is_liquidatable"] is (
        at_mark.equity_quote < at_mark.maintenance_margin_quote
        and at_external.equity_quote < at_external.maintenance_margin_quote
    )
    assert summary["is_liquidatable"] is (collateral_quote < 2 * USDC)
    for holding, share_quote, shown in zip(holdings, shares, summary["positions"], strict=True):
        others = [one for one in holdings if one is not holding]
        rest = compute_risk(collateral_quote, others, Basis.MARK)
        held = PositionWord.unpack(chain.read_word("positions", account << 16 | holding.market_id))
        index = IndexWord.unpack(chain.read_word("indices", holding.market_id))
        ticks = compute_liquidation_ticks(
            held,
            pending_quote=compute_pending_quote(held, index),
            maintenance_margin_ppm=RULES.maintenance_margin_ppm,
            rest_quote=rest.equity_quote - rest.maintenance_margin_quote,
            tiers=TIERS,
            reserve_ticks=holding.reserve_ticks,
        )
        assert shown == {
            "market": holding.market_id,
            "liquidation_ticks": ticks or 0,
            "share_quote": share_quote,
            "bankruptcy_ticks": liquidation_terms.compute_bankruptcy_ticks(holding, share_quote),
        }


def test_liquidation_summary__price_shown__is_the_last_healthy_one(tiered: Venue) -> None:
    """TAKER with 2 USDC, long: at the mark shown the margin is kept, one tick lower it is not."""
    chain = tiered.chain
    word = replace(tiered.account(TAKER_ACCOUNT), collateral_quote=2 * USDC)
    chain.write_word("accounts", TAKER_ACCOUNT << 16, word.pack())
    shown = look(chain, "Lens", "liquidation_summary", TAKER_ACCOUNT, chain.time_s)["positions"][0]
    assert shown["liquidation_ticks"] > 0

    found = []
    for mark_ticks in (shown["liquidation_ticks"], shown["liquidation_ticks"] - 1):
        price = replace(tiered.price(1), mark_ticks=mark_ticks, external_ticks=mark_ticks)
        chain.write_word("prices", 1, price.pack())
        found.append(look(chain, "Lens", "liquidation_summary", TAKER_ACCOUNT, chain.time_s)["is_liquidatable"])

    assert found == [False, True]


def test_liquidation_summary__flagged__says_from_when_anybody_may_take_over(tiered: Venue) -> None:
    chain = tiered.chain
    word = replace(tiered.account(TAKER_ACCOUNT), collateral_quote=300_000)
    chain.write_word("accounts", TAKER_ACCOUNT << 16, word.pack())
    chain.call("Liquidations", "flag", TAKER_ACCOUNT)

    summary = look(chain, "Lens", "liquidation_summary", TAKER_ACCOUNT, chain.time_s)

    assert (summary["flagged_at_s"], summary["takeable_from_s"]) == (chain.time_s, chain.time_s + 300)


def test_liquidation_summary__nothing_held__is_zero(tiered: Venue) -> None:
    assert look(tiered.chain, "Lens", "liquidation_summary", 5, 1) == {
        "flagged_at_s": 0, "takeable_from_s": 0, "is_liquidatable": False, "equity_at_mark_quote": 0,
        "maintenance_at_mark_quote": 0, "equity_at_external_quote": 0, "maintenance_at_external_quote": 0,
        "positions": [],
    }  # fmt: skip


# Exits.


def test_exit_requests__withdrawal_and_close__are_shown_with_their_clocks(venue: Venue) -> None:
    chain = venue.chain
    owner = address_of(TAKER)
    assert look(chain, "Lens", "exit_requests", TAKER_ACCOUNT) == []
    begun_s = chain.time_s
    chain.call("Exits", "request_withdrawal", 0, 5 * USDC, owner, sender=owner)
    chain.call("Exits", "request_close", 0, 3, 500, 9_500, sender=owner)

    withdrawal, close = look(chain, "Lens", "exit_requests", TAKER_ACCOUNT)

    assert (withdrawal["market"], close["market"]) == (0, 3)
    assert withdrawal["request"]["recipient"] == owner.lower()
    assert (withdrawal["request"]["remaining"], withdrawal["quote_or_ticks"]) == (5 * USDC, 5 * USDC)
    assert (close["request"]["remaining"], close["request"]["worst_ticks"]) == (500, 9_500)
    for entry in (withdrawal, close):
        assert entry["request"]["requested_at_s"] == begun_s
        assert entry["request"]["forceable_at_s"] == begun_s + 6 * 3_600
        assert entry["request"]["dies_at_s"] == begun_s + 30 * 86_400
    assert close["quote_or_ticks"] == chain.call("Exits", "close_price_ticks", TAKER_ACCOUNT, 3, 500) != 0
    chain.call("Exits", "cancel_request", 0, 0, sender=owner)
    assert [entry["market"] for entry in look(chain, "Lens", "exit_requests", TAKER_ACCOUNT)] == [3]


# Digests.


def test_operation_digest__transfer__equals_the_wallets(venue: Venue) -> None:
    message = Transfer(owner=MAKER.address, subaccount=1, quote=7, to_subaccount=9, expiry_s=11, seq=13)

    found = venue.chain.call("Lens", "operation_digest", message.account_id, 4, 7, 9, 11, 13)

    assert found == digest(message, venue.chain.domain_separator)


def record_word(record: OrderRecord) -> int:
    """Return word 0 of an order, packed here by hand."""
    fields = (
        (record.market_id, 1), (record.flags, 2), (record.lane, 2), (record.seq, 5), (record.size_lots, 6),
        (record.limit_ticks, 5), (record.max_fee_ppm, 2), (record.taker_fee_ppm, 2), (record.maker_fee_ppm, 2),
        (record.expiry_s, 5),
    )  # fmt: skip
    return int.from_bytes(b"".join(number.to_bytes(n_bytes, "big") for number, n_bytes in fields), "big")


def test_order_tree_digest__each_leaf_of_five__gives_what_the_owner_signs(venue: Venue) -> None:
    orders = [venue.order(MAKER, is_buy=False, lane=lane) for lane in range(2, 7)]
    leaves = [struct_hash(record.to_order(account, 1)) for account, record in orders]
    levels = build_tree(leaves)
    root = keccak(keccak(b"OrderTree(bytes32 root)") + levels[-1][0])
    expected = keccak(b"\x19\x01" + venue.chain.domain_separator + root)

    for place, (account, record) in enumerate(orders):
        proof = build_proof(levels, place)
        assert venue.chain.call("Lens", "order_tree_digest", account, 1, record_word(record), 0, proof) == expected
    assert venue.chain.call("Lens", "order_tree_digest", orders[0][0], 1, record_word(orders[0][1]), 0, []) != expected
