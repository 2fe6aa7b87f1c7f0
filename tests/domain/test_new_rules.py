"""Rules of a batch that came with payload version 2: caps, trees of orders, transfers, modes, whose lane is whose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import StatusCode, describe_code
from afterbell.domain.digests import build_proof, build_tree, hash_order
from afterbell.domain.errors import BatchReverted, DirectRefused, Faulted
from afterbell.domain.ids import build_account_id
from afterbell.domain.order import Transfer
from afterbell.domain.settlement import Execution, Mode, TableOrder, Transferred, apply_deposit
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import OrderTree, digest
from tests.domain.scenario import DOMAIN, MAKER, OUTSIDER, TAKER, USDC, Scenario, T

RICH = 10_000 * USDC
C = StatusCode


def code_of_trade(scenario: Scenario, **trade: object) -> str:
    return describe_code(scenario.trade(**trade).fill_codes[0])


# The cap of one account.


def test_account_cap__growing_to_it_then_beyond__is_refused_for_the_side_that_grows() -> None:
    """A quarter of 8,000 lots is 2,000."""
    scenario = Scenario()
    scenario.set_rules(open_interest_cap_lots=8_000, account_share=1 << 14)

    assert code_of_trade(scenario, lots=1_000) == "OK"
    assert code_of_trade(scenario, lots=1_000) == "OK"
    assert code_of_trade(scenario, lots=10) == "ACCOUNT_CAP"
    apply_deposit(scenario.state, scenario.account_of(MAKER, 1), RICH)
    assert code_of_trade(scenario, lots=10, maker={"subaccount": 1}) == "ACCOUNT_CAP/taker"


def test_account_cap__lowered_below_a_position__lets_it_shrink_and_flip_to_less() -> None:
    """2,000 long under a cap of 1,000: 500 may go, and so may a flip from 1,500 long to 500 short."""
    scenario = Scenario()
    scenario.trade()
    scenario.trade()
    scenario.set_rules(open_interest_cap_lots=4_000, account_share=1 << 14)

    assert code_of_trade(scenario, lots=500, maker_buys=True) == "OK"
    flip = {"size_lots": 2_000}
    assert code_of_trade(scenario, lots=2_000, maker_buys=True, maker=flip, taker=flip) == "OK"
    assert scenario.size_of(scenario.taker) == -500


# Trees of orders.


def sign_tree(
    scenario: Scenario, key: SigningKey, *, n_other: int = 2, signer: SigningKey | None = None
) -> tuple[int, OrderRecord]:
    """Return an order of `key` signed as the first leaf of a tree."""
    account, record = scenario.order(key, is_buy=key is TAKER)
    leaf = hash_order(record.to_order(account, 1))
    levels = build_tree([leaf, *(bytes([number]) * 32 for number in range(n_other))])
    r, vs = (signer or key).sign(digest(OrderTree(root=levels[-1][0]), DOMAIN))
    return account, replace(record, flags=record.flags | 1 << 9, r=r, vs=vs, proof=build_proof(levels, 0))


@pytest.mark.parametrize("n_other", [0, 1, 2, 255])
def test_tree__order_proven_in_it__is_as_good_as_signed(n_other: int) -> None:
    scenario = Scenario()
    maker, taker = sign_tree(scenario, MAKER, n_other=n_other), sign_tree(scenario, TAKER, n_other=n_other)

    assert scenario.settle([maker, taker], [(0, 1, 1_000)]).codes == bytes(3)


def test_tree__wrong_proof_signer_or_flag__is_bad_signature() -> None:
    scenario = Scenario()
    account, good = sign_tree(scenario, MAKER)
    bad = [
        replace(good, proof=good.proof[::-1]),
        replace(good, proof=good.proof[1:]),
        replace(good, proof=()),
        replace(good, size_lots=good.size_lots + 10),
        replace(good, flags=good.flags ^ 1 << 9, proof=()),
        sign_tree(scenario, MAKER, signer=OUTSIDER)[1],
    ]

    for record in bad:
        assert list(scenario.settle([(account, record)]).codes) == [C.BAD_SIGNATURE]


# Transfers.


def transfer(quote: int, to_subaccount: int = 5, seq: int = 1) -> Transfer:
    return Transfer(owner=TAKER.address, quote=quote, to_subaccount=to_subaccount, expiry_s=T, seq=seq)


def test_transfer__within_what_may_leave__moves_to_the_owners_other_account_and_nowhere_else() -> None:
    scenario = Scenario()
    other = build_account_id(TAKER.address, 5)

    result = scenario.settle(operations=[scenario.operation(transfer(400))])

    assert result.codes == bytes(1)
    assert result.operations == (Transferred(account_id=scenario.taker, receiver_id=other, quote=400),)
    assert scenario.state.account(scenario.taker).collateral_quote == RICH - 400
    assert scenario.state.account(other).collateral_quote == 400
    assert scenario.state.claims == {}
    scenario.state.validate_invariants()


def test_transfer__with_an_open_position__leaves_what_a_withdrawal_leaves() -> None:
    """10 USDC long: a tenth is 1 USDC and the fee 4,500, so RICH - 1,004,500 may go."""
    scenario = Scenario()
    scenario.trade()
    limit = RICH - 1_004_500

    assert list(scenario.settle(operations=[scenario.operation(transfer(limit + 1))]).codes) == [C.MARGIN]
    assert list(scenario.settle(operations=[scenario.operation(transfer(limit, seq=2))]).codes) == [C.OK]


@pytest.mark.parametrize(
    ("message", "code"), [(transfer(0), C.ZERO_WITHDRAWAL), (transfer(1, to_subaccount=0), C.BAD_RECIPIENT)]
)
def test_transfer__of_nothing_or_to_itself__spends_its_nonce_and_moves_nothing(message: Transfer, code: int) -> None:
    scenario = Scenario()

    assert list(scenario.settle(operations=[scenario.operation(message)]).codes) == [code]
    assert scenario.state.account(scenario.taker).collateral_quote == RICH
    assert scenario.state.lane(scenario.taker, 65_535)[0] == 1


# Operations come first.


def fill_in(scenario: Scenario, execution: Execution) -> None:
    """Fill maker and taker in an open batch."""
    tables = [
        TableOrder(account_id=account, record=record)
        for account, record in (scenario.order(MAKER, is_buy=False), scenario.order(TAKER, is_buy=True))
    ]
    assert execution.apply_fill(*tables, 10).is_settled


def test_open_batch__operation_after_a_fill_of_its_account__is_a_fault() -> None:
    scenario = Scenario()
    execution = Execution(scenario.state, T)
    row = scenario.operation(transfer(1))
    assert not execution.has_fills(scenario.taker)
    fill_in(scenario, execution)

    assert execution.has_fills(scenario.taker)
    with pytest.raises(Faulted, match="seal the batch"):
        execution.apply_operation(row, domain_separator=None, recover=None)


def test_open_batch__transfer_to_an_account_with_a_fill__is_a_fault() -> None:
    scenario = Scenario()
    apply_deposit(scenario.state, scenario.account_of(TAKER, 5), RICH)
    execution = Execution(scenario.state, T)
    fill_in(scenario, execution)
    message = replace(transfer(1, to_subaccount=0), subaccount=5)

    with pytest.raises(Faulted, match="seal the batch"):
        execution.apply_operation(scenario.operation(message), domain_separator=None, recover=None)


# Whose lane is whose.


def test_order__in_the_lane_of_liquidations__is_unknown() -> None:
    scenario = Scenario()

    assert list(scenario.settle([scenario.order(MAKER, is_buy=False, lane=65_534)]).codes) == [C.UNKNOWN_FLAGS]


# Modes.


def test_exit_mode__nothing_opens_and_what_reduces_still_does() -> None:
    scenario = Scenario()
    scenario.trade()
    scenario.state.mode = Mode.EXIT

    assert code_of_trade(scenario, lots=10) == "OPENING_NOT_ALLOWED"
    assert code_of_trade(scenario, lots=10, maker_buys=True) == "OK"


def test_settled__no_batch_and_no_deposit() -> None:
    scenario = Scenario()
    scenario.state.mode = Mode.SETTLED
    before = scenario.state.copy()

    with pytest.raises(BatchReverted, match="clearinghouse: settled"):
        scenario.settle()
    with pytest.raises(DirectRefused, match="clearinghouse: settled"):
        apply_deposit(scenario.state, scenario.taker, 1)
    assert scenario.state == before
