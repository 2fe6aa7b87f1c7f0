"""A session key spends no seq of the future: its owner's lanes and nonces live on after it is gone."""

from __future__ import annotations

from typing import Final

import pytest

from afterbell.domain.order import TimeInForce
from tests.contracts.desk import OPERATIONS, SETTLE_LAG_S, Desk, order_nonce, signing_key
from tests.support.chain import GENESIS_S

KEY: Final = signing_key("session")
LAST_SEQ: Final = (1 << 40) - 1


def link(desk: Desk) -> int:
    """Link KEY to the taker's account; return the latest seq it may spend in a batch of this second."""
    assert desk.settle(operations=[desk.link_key(desk.taker, KEY, trade_only=True)]).operations == [0]
    return (desk.chain.time_s + SETTLE_LAG_S - GENESIS_S) * 1_000


def test_operation__of_a_key_with_the_last_nonce__leaves_the_owner_every_nonce(desk: Desk) -> None:
    """Else a key that may only trade would lock the collateral in for ever: no withdrawal has a greater nonce."""
    link(desk)

    codes = desk.settle(operations=[desk.cancel_all(desk.taker, 0, by_key=KEY, seq=LAST_SEQ)]).operations

    assert codes == [15]
    withdrawal = desk.withdraw(desk.taker, 5, desk.taker.address)
    assert desk.settle(operations=[withdrawal]).operations == [0]
    assert desk.lane(desk.taker, OPERATIONS)[0] == withdrawal.seq


@pytest.mark.parametrize(("beyond_ms", "code"), [(0, 0), (1, 15)])
@pytest.mark.parametrize("what", ["nonce", "min_seq", "order_nonce"])
def test_operation__of_a_key__spends_seqs_up_to_the_lag_after_the_match(
    desk: Desk, what: str, beyond_ms: int, code: int
) -> None:
    seq = link(desk) + beyond_ms
    operation = {
        "nonce": lambda: desk.cancel_all(desk.taker, 0, by_key=KEY, seq=seq),
        "min_seq": lambda: desk.cancel_all(desk.taker, seq, by_key=KEY),
        "order_nonce": lambda: desk.cancel_order(desk.taker, order_nonce(3, seq), by_key=KEY),
    }[what]()

    assert desk.settle(operations=[operation]).operations == [code]


def test_operation__of_the_owner__spends_what_it_likes(desk: Desk) -> None:
    operations = [
        desk.cancel_order(desk.taker, order_nonce(3, LAST_SEQ)),
        desk.cancel_all(desk.taker, LAST_SEQ, seq=LAST_SEQ),
    ]

    assert desk.settle(operations=operations).operations == [0, 0]


@pytest.mark.parametrize(("beyond_ms", "code"), [(0, 0), (1, 15)])
def test_order__of_a_key__spends_seqs_up_to_the_lag_after_the_match(desk: Desk, beyond_ms: int, code: int) -> None:
    seq = link(desk) + beyond_ms
    order = desk.order(desk.taker, buy=True, by_key=KEY, seq=seq, time_in_force=TimeInForce.IOC)

    assert desk.settle([order]).orders == [code]
    assert (desk.lane(desk.taker)[0] == seq) is (code == 0)


def test_order__of_the_owner__spends_what_it_likes(desk: Desk) -> None:
    assert desk.settle([desk.order(desk.taker, buy=True, seq=LAST_SEQ)]).orders == [0]


def test_key_seqs__matched_as_late_as_settles__count_from_the_match(desk: Desk) -> None:
    """The bound is of the batch's own second, not of the block: the sequencer knows it when it matches."""
    latest = link(desk)
    matched_at_s = desk.chain.time_s
    desk.age_prices(SETTLE_LAG_S)
    operations = [
        desk.cancel_all(desk.taker, latest + 1, by_key=KEY),
        desk.cancel_all(desk.taker, latest, by_key=KEY),
    ]

    assert desk.settle(operations=operations, matched_at_s=matched_at_s).operations == [15, 0]
