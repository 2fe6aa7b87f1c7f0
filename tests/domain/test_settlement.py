from dataclasses import replace

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.codes import TAKER_SIDE, RejectReason, StatusCode, describe_code
from afterbell.domain.errors import BatchReverted, Faulted, InvariantBroken
from afterbell.domain.order import CancelAll, CancelOrder, TimeInForce, TriggerKind, Withdraw
from afterbell.domain.settlement import (
    AllKilled,
    Execution,
    OrderKilled,
    TableOrder,
    Withdrawn,
    apply_deposit,
    pay_claim,
)
from afterbell.domain.words import CONSUMED_LOTS, IndexWord
from tests.domain.scenario import MAKER, OUTSIDER, TAKER, USDC, VAULT, Scenario, T
from tests.support.world import World

RICH = 10_000 * USDC
C = StatusCode


def test_fill__taker_buys_1000_lots_at_10000__moves_exactly_this_money() -> None:
    """Notional 1,000 x 10,000 = 10 USDC. The taker pays 450 ppm = 4,500, the maker 100 ppm = 1,000; nobody realises."""
    scenario = Scenario()

    result = scenario.trade()

    assert result.codes == bytes(3)
    taker, maker = (scenario.state.position(account, 1) for account in (scenario.taker, scenario.maker))
    assert (taker.size_lots, taker.entry_quote) == (1_000, 10_004_500)
    assert (maker.size_lots, maker.entry_quote) == (-1_000, -9_999_000)
    assert scenario.state.account(scenario.taker).collateral_quote == RICH
    assert scenario.state.account(scenario.taker).open_markets == (1, 0, 0, 0, 0, 0)
    assert (result.volume_quote, result.fees_quote) == (10_000_000, 5_500)
    assert scenario.state.batch.fees_quote == 5_500
    assert scenario.state.totals_of(1).open_interest_lots == 1_000
    assert scenario.state.totals_of(1).net_entry_quote == 5_500
    assert scenario.state.compute_conservation_gap_quote() == 0


def test_fill__closed_at_a_profit__realises_at_once_and_frees_the_slot() -> None:
    """Taker bought at 10,000, sells at 10,100: gains 0.1 USDC less 4,500 + 4,545; maker loses it and 1,000 + 1,010."""
    scenario = Scenario()
    scenario.trade()

    result = scenario.trade(maker_buys=True, maker={"limit_ticks": 10_100}, taker={"limit_ticks": 10_100})

    assert scenario.state.account(scenario.taker).collateral_quote == RICH + 100_000 - 4_500 - 4_545
    assert scenario.state.account(scenario.maker).collateral_quote == RICH - 100_000 - 1_000 - 1_010
    assert scenario.state.account(scenario.taker).open_markets == (0, 0, 0, 0, 0, 0)
    assert {change.account_id: change.realised_quote for change in result.changes} == {
        scenario.taker: 90_955,
        scenario.maker: -102_010,
    }
    assert scenario.state.compute_conservation_gap_quote() == 0


def test_fill__funding_pending__lands_in_entry_and_pot() -> None:
    """Long index +0.75, short index +0.25 quote a lot: the long owes 750, the short receives 250; the pot keeps 500."""
    scenario = Scenario()
    scenario.trade()
    scenario.state.indices[1] = IndexWord(long_index_e12=75 * 10**10, short_index_e12=25 * 10**10).pack()

    scenario.trade(lots=10)

    assert scenario.state.totals_of(1).pot_quote == 500
    # 10 more lots at 10,000 cost 100,000 and fees of 45 and 10.
    assert scenario.state.position(scenario.taker, 1).entry_quote == 10_004_500 + 750 + 100_000 + 45
    assert scenario.state.position(scenario.maker, 1).entry_quote == -9_999_000 - 250 - 100_000 + 10
    assert scenario.state.compute_conservation_gap_quote() == 0


def test_fill__auction_price__replaces_the_makers_limit() -> None:
    scenario = Scenario()
    orders = [
        scenario.order(MAKER, is_buy=False, limit_ticks=9_900),
        scenario.order(TAKER, is_buy=True, limit_ticks=10_200),
    ]
    row = PriceRow(market_id=1, mark_ticks=10_000, index_ticks=10_000, auction_ticks=10_055)

    result = scenario.settle(orders, [(0, 1, 100)], rows=(row,))

    assert result.volume_quote == 100 * 10_055


BAD_ORDERS = {
    C.UNKNOWN_MARKET: {"market_id": 9},
    C.UNKNOWN_FLAGS: {"record_changes": {"flags": 1 << 10 | 1}},
    C.WRONG_EPOCH: {"record_changes": {"flags": 1 << 5 | 1}},
    C.ZERO_SIZE: {"size_lots": 0},
    C.OFF_STEP: {"size_lots": 1_001},
    C.BELOW_MINIMUM: {"size_lots": 10, "limit_ticks": 5},
    C.SIZE_TOO_LARGE: {"size_lots": 1_000_010},
    C.FEE_ABOVE_MAXIMUM: {"max_fee_ppm": 449},
    C.EXPIRED: {"expiry_s": T - 1},
    C.EXPIRY_TOO_FAR: {"expiry_s": T + 30 * 86_400 + 1},
    C.TRIGGER_NOT_MET: {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_001},
    C.BAD_SIGNATURE: {"signer": OUTSIDER},
}


@pytest.mark.parametrize("code", list(BAD_ORDERS), ids=lambda code: code.name)
def test_order__one_flaw__carries_its_code_and_its_fill_fails(code: StatusCode) -> None:
    scenario = Scenario()

    result = scenario.trade(taker=BAD_ORDERS[code])

    assert scenario.order_code(result, 1) == code
    assert result.fill_codes == bytes([C.ORDER_INVALID + TAKER_SIDE])
    assert result.n_failures == 2
    assert scenario.size_of(scenario.taker) == 0


ALMOST_BAD_ORDERS = {
    "step": {"size_lots": 1_010},
    "cap": {"size_lots": 1_000_000},
    "signed fee maximum": {"max_fee_ppm": 450},
    "expires this second": {"expiry_s": T},
    "thirty days": {"expiry_s": T + 30 * 86_400},
    "trigger met": {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_000},
    "index trigger": {"trigger_kind": TriggerKind.INDEX_AT_OR_BELOW, "trigger_ticks": 10_000},
}


@pytest.mark.parametrize("name", list(ALMOST_BAD_ORDERS))
def test_order__just_inside_the_rule__passes(name: str) -> None:
    assert Scenario().trade(taker=ALMOST_BAD_ORDERS[name]).codes == bytes(3)


FLAG_FLAWS = {
    "post-only and IOC": {"post_only": True, "time_in_force": TimeInForce.IOC},
    "post-only and FOK": {"post_only": True, "time_in_force": TimeInForce.FOK},
    "trigger of kind 0": {"record_changes": {"flags": 1 << 6, "trigger_kind": 0}},
    "trigger of kind 5": {"record_changes": {"flags": 1 << 6, "trigger_kind": 5}},
    "lane of operations": {"lane": 65_535},
}


@pytest.mark.parametrize("name", list(FLAG_FLAWS))
def test_order__contradicts_itself__is_unknown_flags(name: str) -> None:
    scenario = Scenario()

    result = scenario.trade(maker=FLAG_FLAWS[name])

    assert scenario.order_code(result, 0) == C.UNKNOWN_FLAGS
    assert result.fill_codes == bytes([C.ORDER_INVALID])


def test_order__market_without_rules_in_this_session__is_unknown_market() -> None:
    scenario = Scenario()
    scenario.set_price(session=6)

    assert scenario.order_code(scenario.trade(), 0) == C.UNKNOWN_MARKET


def test_order__old_epoch__lives_on_only_to_reduce() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.set_price(epoch=2)

    stale = scenario.trade(taker={"epoch": 1})
    reducing = scenario.settle(
        [
            scenario.order(MAKER, is_buy=True, epoch=2, lane=3),
            scenario.order(TAKER, is_buy=False, epoch=1, reduce_only=True, record_changes={"flags": 1 << 5 | 1 << 1}),
        ],
        [(0, 1, 1_000)],
    )

    assert stale.order_codes.count(C.BAD_SIGNATURE) == 2
    assert reducing.codes == bytes(3)
    assert scenario.size_of(scenario.taker) == 0


def code_of_trade(scenario: Scenario, **changes: object) -> str:
    return describe_code(scenario.trade(**changes).fill_codes[0])


def test_fill__terms_do_not_fit__names_the_first_that_fails() -> None:
    scenario = Scenario()
    sell, buy = scenario.order(MAKER, is_buy=False, lane=7), scenario.order(TAKER, is_buy=True, lane=7)
    other_market = scenario.order(TAKER, is_buy=True, market_id=2, lane=8)
    same_side = scenario.order(TAKER, is_buy=False, lane=9)
    own_other_account = scenario.order(MAKER, is_buy=True, subaccount=5, lane=9)
    post_only = scenario.order(TAKER, is_buy=True, post_only=True, lane=10)
    too_low = scenario.order(TAKER, is_buy=True, limit_ticks=9_995, lane=11)

    result = scenario.settle(
        [sell, buy, other_market, same_side, own_other_account, post_only, too_low],
        [(0, 1, 0), (0, 2, 100), (0, 3, 100), (0, 4, 100), (0, 5, 100), (0, 6, 100), (0, 1, 100)],
    )

    assert list(result.fill_codes) == [
        C.ZERO_FILL, C.MARKETS_DIFFER, C.SIDES_EQUAL, C.SELF_TRADE, C.POST_ONLY_TAKER, C.LIMITS_DO_NOT_CROSS, C.OK,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "code"), [(11_000, "OK"), (11_005, "PRICE_OUTSIDE_BAND"), (8_995, "PRICE_OUTSIDE_BAND")]
)
def test_fill__price_at_and_past_the_band__ends_at_the_band(limit: int, code: str) -> None:
    assert code_of_trade(Scenario(), maker={"limit_ticks": limit}, taker={"limit_ticks": limit}) == code


def test_fill__lane_moved_on_or_used_up__is_dead_or_overfilled() -> None:
    scenario = Scenario()
    older = scenario.order(MAKER, is_buy=False, lane=3)
    newer = scenario.order(MAKER, is_buy=False, lane=3)
    taker = scenario.order(TAKER, is_buy=True, size_lots=5_000)

    result = scenario.settle([older, newer, taker], [(0, 2, 10), (1, 2, 10), (0, 2, 10), (1, 2, 1_000), (1, 2, 990)])

    assert [describe_code(code) for code in result.fill_codes] == ["OK", "OK", "DEAD_LANE", "OVERFILL", "OK"]
    assert scenario.state.lane(scenario.maker, 3) == (newer[1].seq, 1_000)


def test_fill__two_orders_of_one_lane_and_seq__share_what_is_filled() -> None:
    """One cancels the other, even when a dead order of the same lane lies between them in the table."""
    scenario = Scenario()
    first = scenario.order(MAKER, is_buy=False, lane=3, seq=50)
    dead = scenario.order(MAKER, is_buy=False, lane=3, seq=50, expiry_s=T - 1)
    second = scenario.order(MAKER, is_buy=False, lane=3, seq=50, limit_ticks=10_005)
    taker = scenario.order(TAKER, is_buy=True, size_lots=5_000, limit_ticks=10_005)

    result = scenario.settle([first, dead, second, taker], [(0, 3, 600), (2, 3, 600), (2, 3, 400)])

    assert [describe_code(code) for code in result.fill_codes] == ["OK", "OVERFILL", "OK"]


def test_fill__reduce_only_would_open_or_flip__is_refused() -> None:
    scenario = Scenario()
    assert code_of_trade(scenario, taker={"reduce_only": True}) == "REDUCE_ONLY/taker"
    scenario.trade()

    assert code_of_trade(scenario, lots=1_010, maker_buys=True, maker={"size_lots": 2_000, "reduce_only": True},
                         taker={"size_lots": 2_000}) == "REDUCE_ONLY"  # fmt: skip
    assert code_of_trade(scenario, maker_buys=True, maker={"reduce_only": True}, taker={"reduce_only": True}) == "OK"


def test_fill__openings_off__lets_only_reducing_pass() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.set_rules(is_opening_allowed=False)

    assert code_of_trade(scenario) == "OPENING_NOT_ALLOWED"
    assert code_of_trade(scenario, maker_buys=True) == "OK"


def test_fill__stale_price_in_any_open_market__lets_only_reducing_pass() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.set_price(external_time_s=T - 61)

    other = {"market_id": 2}
    assert code_of_trade(scenario, maker=other, taker=other) == "STALE_PRICE"
    assert code_of_trade(scenario, maker_buys=True) == "OK"
    assert code_of_trade(scenario, maker=other, taker=other) == "OK"
    assert code_of_trade(scenario) == "STALE_PRICE"


def test_fill__seventh_market__is_refused() -> None:
    scenario = Scenario()
    for market_id in range(1, 7):
        assert code_of_trade(scenario, maker={"market_id": market_id}, taker={"market_id": market_id}) == "OK"

    assert code_of_trade(scenario, maker={"market_id": 7}, taker={"market_id": 7}) == "TOO_MANY_MARKETS"
    assert scenario.state.account(scenario.maker).open_markets == (1, 2, 3, 4, 5, 6)


def test_fill__open_interest_cap__stops_growth_but_not_a_change_of_hands() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.set_rules(open_interest_cap_lots=1_000)
    for key in (MAKER, TAKER):
        apply_deposit(scenario.state, scenario.account_of(key, 1), RICH)

    assert code_of_trade(scenario, lots=10, maker={"subaccount": 1}, taker={"subaccount": 1}) == "OPEN_INTEREST_CAP"
    apply_deposit(scenario.state, scenario.account_of(OUTSIDER), RICH)
    hands = scenario.settle(
        [scenario.order(OUTSIDER, is_buy=False), scenario.order(MAKER, is_buy=True, reduce_only=True)], [(0, 1, 1_000)]
    )
    assert hands.codes == bytes(3)
    assert scenario.state.totals_of(1).open_interest_lots == 1_000


def test_fill__margin__is_judged_at_the_worse_of_mark_and_external() -> None:
    """10 USDC of notional at 6 % asks 0.6 USDC; fees 4,500. With 604,500 the taker passes, with one less it fails."""
    for collateral_quote, code in ((604_500, "OK"), (604_499, "MARGIN/taker")):
        scenario = Scenario()
        _set_collateral(scenario, scenario.taker, collateral_quote)
        assert code_of_trade(scenario) == code

    # The mark stands 1 % lower: the long is worth 9.9 USDC at once and needs 594,000; 100,000 + 594,000 + 4,500.
    for collateral_quote, code in ((698_500, "OK"), (698_499, "MARGIN/taker")):
        scenario = Scenario()
        scenario.set_price(mark_ticks=9_900)
        _set_collateral(scenario, scenario.taker, collateral_quote)
        assert code_of_trade(scenario) == code


def _set_collateral(scenario: Scenario, account: int, collateral_quote: int) -> None:
    word = scenario.state.account(account)
    apply_deposit(scenario.state, account, collateral_quote - word.collateral_quote)


def test_consumption__ioc_in_the_table__dies_even_when_its_fill_failed() -> None:
    scenario = Scenario()

    result = scenario.trade(lots=2_000)

    assert result.fill_codes == bytes([C.OVERFILL])
    assert scenario.state.lane(scenario.taker, 1)[1] == CONSUMED_LOTS
    assert scenario.state.lane(scenario.maker, 2) == (0, 0)


def withdraw(quote: int, *, recipient: bytes = b"\x55" * 20, seq: int = 1, expiry_s: int = T) -> Withdraw:
    return Withdraw(owner=TAKER.address, quote=quote, recipient=recipient, expiry_s=expiry_s, seq=seq)


def test_withdraw__idle_collateral__becomes_a_claim_that_is_paid_once() -> None:
    scenario = Scenario()

    result = scenario.settle(operations=[scenario.operation(withdraw(RICH))])

    assert result.codes == bytes(1)
    assert result.operations == (Withdrawn(account_id=scenario.taker, recipient=b"\x55" * 20, quote=RICH),)
    assert scenario.state.account(scenario.taker).collateral_quote == 0
    assert scenario.state.compute_conservation_gap_quote() == 0
    assert pay_claim(scenario.state, b"\x55" * 20) == RICH
    assert pay_claim(scenario.state, b"\x55" * 20) == 0
    assert scenario.state.tracked_quote == RICH


WITHDRAWALS = {
    C.ZERO_WITHDRAWAL: withdraw(0),
    C.BAD_RECIPIENT: withdraw(1, recipient=VAULT),
    C.MARGIN: withdraw(RICH + 1),
}


@pytest.mark.parametrize("code", list(WITHDRAWALS), ids=lambda code: code.name)
def test_withdraw__refused_by_its_rule__still_spends_its_nonce(code: StatusCode) -> None:
    scenario = Scenario()

    result = scenario.settle(operations=[scenario.operation(WITHDRAWALS[code])])

    assert result.codes == bytes([code])
    assert scenario.state.lane(scenario.taker, 65_535) == (1, CONSUMED_LOTS)
    assert scenario.settle(operations=[scenario.operation(withdraw(1))]).codes == bytes([C.NONCE_CONSUMED])


REFUSED_OPERATIONS = {
    C.EXPIRED: withdraw(1, expiry_s=T - 1),
    C.EXPIRY_TOO_FAR: withdraw(1, expiry_s=T + 30 * 86_400 + 1),
    C.NONCE_CONSUMED: withdraw(1, seq=0),
}


@pytest.mark.parametrize("code", list(REFUSED_OPERATIONS), ids=lambda code: code.name)
def test_operation__refused_before_its_nonce__spends_nothing(code: StatusCode) -> None:
    scenario = Scenario()

    assert scenario.settle(operations=[scenario.operation(REFUSED_OPERATIONS[code])]).codes == bytes([code])
    assert scenario.state.lane(scenario.taker, 65_535) == (0, 0)


def test_operation__signed_by_another__is_bad_signature() -> None:
    scenario = Scenario()

    assert scenario.settle(operations=[scenario.operation(withdraw(1), signer=MAKER)]).codes == bytes([C.BAD_SIGNATURE])


@pytest.mark.parametrize("changes", [{"kind": 0}, {"value": 2**64}, {"kind": 4, "operand": 2**80}])
def test_operation__unknown_kind_or_number_beyond_its_type__is_unknown(changes: dict) -> None:
    scenario = Scenario()
    row = scenario.operation(withdraw(1))

    assert scenario.settle(operations=[replace(row, **changes)]).codes == bytes([C.UNKNOWN_OPERATION])


def test_withdraw__with_an_open_position__leaves_a_tenth_and_waits_for_a_fresh_price() -> None:
    """10 USDC long: a tenth is 1 USDC and the fee 4,500, so RICH - 1,004,500 may go."""
    scenario = Scenario()
    scenario.trade()
    limit = RICH - 1_000_000 - 4_500

    assert scenario.settle(operations=[scenario.operation(withdraw(limit + 1, seq=1))]).codes == bytes([C.MARGIN])
    assert scenario.settle(
        operations=[scenario.operation(withdraw(1, seq=2, expiry_s=T + 61))], matched_at_s=T + 61
    ).codes == bytes([C.STALE_PRICE])
    scenario.set_price(external_time_s=T + 61)
    assert scenario.settle(
        operations=[scenario.operation(withdraw(limit, seq=3, expiry_s=T + 61))], matched_at_s=T + 61
    ).codes == bytes([C.OK])


def test_cancel_order__half_filled__kills_the_rest_of_the_lane_before_the_fills_of_its_batch() -> None:
    scenario = Scenario()
    maker, taker = scenario.order(MAKER, is_buy=False), scenario.order(TAKER, is_buy=True)
    assert scenario.settle([maker, taker], [(0, 1, 100)]).codes == bytes(3)
    nonce = maker[1].lane << 40 | maker[1].seq
    cancel = CancelOrder(owner=MAKER.address, order_nonce=nonce, expiry_s=T, seq=1)

    result = scenario.settle([maker, taker], [(0, 1, 100)], [scenario.operation(cancel)])

    assert list(result.fill_codes) == [C.OVERFILL]
    assert result.operations == (OrderKilled(account_id=scenario.maker, nonce=nonce),)


@pytest.mark.parametrize("lane", [65_534, 65_535])
def test_cancel_order__lane_of_operations_or_liquidations__is_bad_cancel(lane: int) -> None:
    scenario = Scenario()
    cancel = CancelOrder(owner=MAKER.address, order_nonce=lane << 40 | 9, expiry_s=T, seq=1)

    assert scenario.settle(operations=[scenario.operation(cancel)]).codes == bytes([C.BAD_CANCEL])


def test_cancel_order__lane_has_moved_on__changes_nothing() -> None:
    scenario = Scenario()
    scenario.trade(maker={"lane": 3, "seq": 500})
    cancel = CancelOrder(owner=MAKER.address, order_nonce=3 << 40 | 499, expiry_s=T, seq=1)

    assert scenario.settle(operations=[scenario.operation(cancel)]).codes == bytes(1)
    assert scenario.state.lane(scenario.maker, 3) == (500, 1_000)


def test_cancel_all__in_the_orders_own_batch__makes_it_invalid_there_and_later() -> None:
    scenario = Scenario()
    maker, taker = scenario.order(MAKER, is_buy=False), scenario.order(TAKER, is_buy=True)
    cancel = CancelAll(owner=MAKER.address, min_seq=maker[1].seq + 1, expiry_s=T, seq=1)

    result = scenario.settle([maker, taker], [(0, 1, 100)], [scenario.operation(cancel)])
    later = scenario.settle([maker, taker], [(0, 1, 100)])

    assert list(result.fill_codes) == [C.ORDER_INVALID]
    assert scenario.order_code(result, 0) == C.SEQ_BELOW_MINIMUM
    assert result.operations == (AllKilled(account_id=scenario.maker, min_seq=maker[1].seq + 1),)
    assert scenario.order_code(later, 0) == C.SEQ_BELOW_MINIMUM


HEADER_FLAWS = {
    "batch: head": {"previous_head": b"\x01" * 32},
    "batch: sequence": {"sequence": 2},
    "batch: matched at": {"block_time_s": T + 301},
    "batch: matched at, in the future": {"block_time_s": T - 1},
    "batch: direct op": {"direct_op": 3},
    "prices: unknown market": {"rows": (PriceRow(market_id=9, mark_ticks=1, index_ticks=1),)},
}


@pytest.mark.parametrize("name", list(HEADER_FLAWS))
def test_batch__header_does_not_fit__reverts_and_changes_nothing(name: str) -> None:
    scenario = Scenario()
    before = scenario.state.copy()

    with pytest.raises(BatchReverted) as caught:
        scenario.settle(**HEADER_FLAWS[name])

    assert caught.value.reason == name.split(",", maxsplit=1)[0]
    assert scenario.state == before


def test_batch__earlier_than_the_last__reverts() -> None:
    scenario = Scenario()
    scenario.settle(matched_at_s=T + 5)

    with pytest.raises(BatchReverted, match="batch: matched at"):
        scenario.settle(matched_at_s=T + 4, block_time_s=T + 6)


def test_batch__heartbeat__moves_sequence_time_and_head_only() -> None:
    scenario = Scenario()
    before = scenario.state.copy()

    result = scenario.settle(matched_at_s=T + 5, block_time_s=T + 305, direct_op=2)

    assert scenario.state.batch == replace(before.batch, sequence=1, matched_at_s=T + 5)
    assert scenario.state.head == result.head != before.head
    assert scenario.state.accounts == before.accounts


def test_batch__number_leaves_its_lane__reverts_whole() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.state.accounts[scenario.taker << 16] |= (1 << 71) - 1
    before = scenario.state.copy()

    with pytest.raises(BatchReverted, match="out of range"):
        scenario.trade(maker_buys=True, maker={"limit_ticks": 11_000}, taker={"limit_ticks": 11_000})

    assert scenario.state == before


def test_execution__checked_before_it_is_applied__says_the_same_and_changes_nothing() -> None:
    scenario = Scenario()
    maker, taker = scenario.order(MAKER, is_buy=False), scenario.order(TAKER, is_buy=True)
    execution = Execution(scenario.state, T)
    sides = [TableOrder(account_id=account, record=record) for account, record in (maker, taker)]

    checked = execution.check_fill(*sides, 1_000)

    assert execution.position(scenario.taker, 1).size_lots == 0
    assert execution.apply_fill(*sides, 1_000) == checked
    assert (checked.price_ticks, checked.maker_fee_quote, checked.taker_fee_quote) == (10_000, 1_000, 4_500)
    assert execution.positions(scenario.taker).keys() == {1}
    assert execution.lane(scenario.maker, maker[1].lane) == (maker[1].seq, 1_000)
    assert scenario.size_of(scenario.taker) == 0


def test_execution__deposit_while_the_batch_is_open__is_kept_by_the_commit() -> None:
    scenario = Scenario()
    sides = [
        TableOrder(account_id=account, record=record)
        for account, record in (scenario.order(MAKER, is_buy=False), scenario.order(TAKER, is_buy=True))
    ]
    execution = Execution(scenario.state, T)
    execution.apply_fill(*sides, 500)

    apply_deposit(scenario.state, scenario.taker, 77)
    execution.note_deposit(scenario.taker, 77)
    execution.commit(batch_sequence=1, head=b"\x01" * 32)

    assert scenario.state.account(scenario.taker).collateral_quote == RICH + 77
    scenario.state.validate_invariants()


def test_execution__prices_after_the_first_look__is_a_fault() -> None:
    scenario = Scenario()
    execution = Execution(scenario.state, T)
    execution.health(scenario.taker)

    with pytest.raises(Faulted, match="adopt them first"):
        execution.apply_prices((), ())


def test_invariants__one_unit_lost__is_found() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.state.validate_invariants()
    scenario.state.tracked_quote -= 1

    with pytest.raises(InvariantBroken, match="-1 quote units"):
        scenario.state.validate_invariants()


def make_world(seed: int) -> World:
    world = World(seed, domain_separator=b"\1" * 32, price_domain_separator=b"\2" * 32, forbidden_recipients=(VAULT,))
    world.list_markets()
    for _ in range(25):
        world.deposit(*world.random_deposit())
    return world


@pytest.mark.parametrize("seed", range(4))
def test_world__hundred_random_batches__conserves_every_unit(seed: int) -> None:
    world = make_world(seed)
    n_settled = 0
    for number in range(100):
        if number % 10 == 5:
            world.deposit(*world.random_deposit())
            for market_id in range(1, 10):
                world.state.indices[market_id] = world.random_index_word(market_id)
        result = world.settle(world.next_batch())
        n_settled += result.fill_codes.count(0)

        world.state.validate_invariants()
    assert n_settled > 100


def test_world__one_batch_cut_in_two__ends_with_the_same_positions_and_collateral() -> None:
    """D-005: realising at the fill makes the result independent of where batches are cut.

    Only what a cut does change is left out: IOC and FOK die with their batch, and operations look at their own batch.
    """
    n_compared = 0
    world = make_world(77)
    world.times_in_force, world.n_operations_choices = (TimeInForce.GTC, TimeInForce.GTT), (0,)
    for _ in range(150):
        batch = world.next_batch()
        fills = batch.table.fills
        orders = batch.table.list_orders()
        if len(fills) < 2 or any(order.time_in_force.is_immediate for _, order in orders) or batch.table.operations:
            world.settle(batch)
            continue
        planned = [(batch.table.accounts[index].account_id, order) for index, order in orders]
        pairs = [(fill.maker_order, fill.taker_order, fill.size_lots) for fill in fills]
        cut = len(pairs) // 2
        whole, halves, oracle = world.state, world.state.copy(), world.oracle
        codes = world.settle(batch).fill_codes
        world.state, world.oracle = halves, oracle
        split_codes = b""
        for part, prices in ((pairs[:cut], True), (pairs[cut:], False)):
            half = world.assemble(
                planned,
                part,
                rows=batch.table.rows if prices else (),
                evidence=batch.table.evidence if prices else b"",
                updates=batch.updates if prices else (),
                with_operations=False,
            )
            if any(row.auction_ticks for row in batch.table.rows):
                break
            split_codes += world.settle(half).fill_codes
        else:
            assert split_codes == codes
            assert halves.positions == whole.positions
            assert halves.lanes == whole.lanes
            assert halves.totals == whole.totals
            assert {key: word & ~(2**48 - 1 << 200) for key, word in halves.accounts.items()} == {
                key: word & ~(2**48 - 1 << 200) for key, word in whole.accounts.items()
            }
            n_compared += any(code == 0 for code in codes)
        world.state = whole
    assert n_compared >= 5


def test_reject_reason__every_status_code__has_the_same_word_where_the_rule_is_the_same() -> None:
    chain_only = {
        C.OK, C.ORDER_INVALID, C.ZERO_FILL, C.MARKETS_DIFFER, C.SIDES_EQUAL, C.LIMITS_DO_NOT_CROSS, C.POST_ONLY_TAKER,
    }  # fmt: skip

    assert {code for code in C if RejectReason.of_code(code) is None} == chain_only
    assert RejectReason.of_code(C.MARGIN + TAKER_SIDE) is RejectReason.MARGIN
