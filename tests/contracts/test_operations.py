"""Signed operations: withdrawals, cancellations, their nonces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import OperationRow
from tests.contracts.desk import (
    DAY_S,
    DEPOSIT_QUOTE,
    LOTS,
    OPERATIONS,
    RULES,
    Desk,
    order_nonce,
    signing_key,
)

ALL_ONES = (1 << 48) - 1
RECIPIENT = b"\xaa" * 20


def test_withdraw__free_collateral__becomes_a_claim(desk: Desk) -> None:
    """5 quote leave the maker's account, are claimable, and are paid to the recipient alone."""
    codes = desk.settle(operations=[desk.withdraw(desk.maker, 5, RECIPIENT)])

    assert codes.operations == [0]
    assert desk.collateral(desk.maker) == DEPOSIT_QUOTE - 5
    assert desk.events("CollateralWithdrawn")[0].args["quote"] == 5
    assert desk.chain.call("Vault", "claims_quote", "0x" + RECIPIENT.hex()) == 5
    assert desk.is_solvent()
    assert desk.chain.call("Vault", "claim", "0x" + RECIPIENT.hex()) == 5
    assert desk.chain.call("token", "balanceOf", "0x" + RECIPIENT.hex()) == 5
    assert desk.is_solvent()


def test_withdraw__refusals__named(desk: Desk) -> None:
    stuck = [bytes.fromhex(desk.chain.addresses[name][2:]) for name in ("Vault", "Clearinghouse", "token")]
    operations = [
        desk.withdraw(desk.maker, 0, RECIPIENT),
        *(desk.withdraw(desk.maker, 5, recipient) for recipient in [bytes(20), *stuck]),
        desk.withdraw(desk.maker, DEPOSIT_QUOTE + 1, RECIPIENT),
        desk.withdraw(desk.maker, DEPOSIT_QUOTE, RECIPIENT),
    ]

    assert desk.settle(operations=operations).operations == [18, 19, 19, 19, 19, 48, 0]


def test_withdraw__open_position__keeps_initial_margin(desk: Desk) -> None:
    """1,000 lots at 10,000: notional 10,000,000, initial margin 20 % = 2,000,000 stays."""
    orders = desk.pair()
    free_quote = DEPOSIT_QUOTE - 2_000_000
    operations = [
        desk.withdraw(desk.taker, free_quote + 1, RECIPIENT),
        desk.withdraw(desk.taker, free_quote, RECIPIENT),
    ]

    assert desk.settle(orders, [(0, 1, LOTS)]).fills == [0]
    assert desk.settle(operations=operations).operations == [48, 0]


def test_withdraw__low_initial_margin__a_tenth_of_notional_stays(desk: Desk) -> None:
    low = replace(
        RULES,
        initial_margin_ppm=60_000,
        settlement_margin_ppm=40_000,
        maintenance_margin_ppm=30_000,
        mark_step_ppm=1_000,
    )
    desk.set_rules(low)
    desk.settle(desk.pair(), [(0, 1, LOTS)])

    operations = [
        desk.withdraw(desk.taker, DEPOSIT_QUOTE - 999_999, RECIPIENT),
        desk.withdraw(desk.taker, DEPOSIT_QUOTE - 1_000_000, RECIPIENT),
    ]

    assert desk.settle(operations=operations).operations == [48, 0]


def test_withdraw__before_the_fill__the_fill_finds_it_gone(desk: Desk) -> None:
    codes = desk.settle(desk.pair(), [(0, 1, LOTS)], operations=[desk.withdraw(desk.taker, DEPOSIT_QUOTE, RECIPIENT)])

    assert (codes.operations, codes.fills) == ([0], [48 + 64])


def test_withdraw__stale_position__refused(desk: Desk) -> None:
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    desk.age_prices(RULES.max_age_s + 1)

    assert desk.settle(operations=[desk.withdraw(desk.taker, 1, RECIPIENT)]).operations == [45]


def test_operation__checks__in_order(desk: Desk) -> None:
    good = desk.withdraw(desk.maker, 1, RECIPIENT)
    expired = desk.withdraw(desk.maker, 1, RECIPIENT, expiry_s=desk.chain.time_s - 1)
    far = desk.withdraw(desk.maker, 1, RECIPIENT, expiry_s=desk.chain.time_s + 30 * DAY_S + 1)
    forged = desk.withdraw(desk.maker, 1, RECIPIENT, signer=desk.outsider)

    def changed(**changes: object) -> OperationRow:
        return replace(good, **changes)  # type: ignore[arg-type]

    unknown = [
        changed(kind=0),
        changed(kind=7),
        changed(kind=255, value=0),
        changed(value=1 << 64),
        changed(kind=4, operand=1 << 80),
        replace(desk.cancel_order(desk.maker, 1), value=1 << 56),
        replace(desk.cancel_all(desk.maker, 1), value=1 << 40),
    ]

    codes = desk.settle(operations=[*unknown, expired, far, forged, changed(value=2)])

    assert codes.operations == [16] * 7 + [5, 6, 3, 3]


def test_operation__nonce__consumed_by_success_and_by_failure(desk: Desk) -> None:
    works = desk.withdraw(desk.maker, 1, RECIPIENT)
    fails = desk.withdraw(desk.maker, 0, RECIPIENT)

    assert desk.settle(operations=[works, works, fails, fails, works]).operations == [0, 17, 18, 17, 17]
    assert desk.lane(desk.maker, OPERATIONS) == (fails.seq, ALL_ONES)


@pytest.mark.parametrize("lane", [0, 1, 2, 3, 65_533])
@pytest.mark.parametrize("is_in_table", [True, False])
def test_cancel_order__then_its_fill__lane_is_consumed(desk: Desk, lane: int, is_in_table: bool) -> None:
    taker = desk.order(desk.taker, buy=True, lane=lane)
    maker = desk.order(desk.maker, buy=False, lots=2 * LOTS)
    cancel = desk.cancel_order(desk.taker, order_nonce(lane, taker.record.seq))
    if not is_in_table:
        assert desk.settle(operations=[cancel]).operations == [0]
        assert desk.settle([maker, taker], [(0, 1, 10)]).fills == [41 + 64]
    else:
        codes = desk.settle([maker, taker], [(0, 1, 10)], operations=[cancel])
        assert (codes.operations, codes.fills) == ([0], [41 + 64])

    assert desk.lane(desk.taker, lane) == (taker.record.seq, ALL_ONES)
    assert desk.lane(desk.taker, lane ^ 1) == (0, 0)


def test_cancel_order__lane_moved_on__stays(desk: Desk) -> None:
    old, new = desk.order(desk.taker, buy=True), desk.order(desk.taker, buy=True)
    desk.settle([desk.order(desk.maker, buy=False), new], [(0, 1, 10)])

    codes = desk.settle(operations=[desk.cancel_order(desk.taker, order_nonce(0, old.record.seq))])

    assert codes.operations == [0]
    assert desk.events("OrderCancelled")[0].args["nonce"] == old.record.seq
    assert desk.lane(desk.taker) == (new.record.seq, 10)


def test_cancel_order__lane_of_operations__refused(desk: Desk) -> None:
    assert desk.settle(operations=[desk.cancel_order(desk.taker, order_nonce(OPERATIONS, 5))]).operations == [20]


def test_cancel_all__in_the_batch__orders_below_it_die(desk: Desk) -> None:
    orders = desk.pair(lots=2 * LOTS)
    cancel_taker = desk.cancel_all(desk.taker, orders[1].record.seq + 1)
    cancel_maker = desk.cancel_all(desk.maker, orders[0].record.seq + 1)

    codes = desk.settle(orders, [(0, 1, 10)], operations=[cancel_taker, cancel_maker])

    assert (codes.operations, codes.orders, codes.fills) == ([0, 0], [4, 4], [32])
    assert desk.settle(orders).orders == [4, 4]


def test_cancel_all__lower_seq_later__min_seq_never_falls(desk: Desk) -> None:
    desk.settle(operations=[desk.cancel_all(desk.taker, 900)])
    desk.settle(operations=[desk.cancel_all(desk.taker, 800)])

    assert desk.events("AllCancelled")[0].args["min_seq"] == 900
    orders = [desk.order(desk.taker, buy=True, seq=seq, lane=lane) for lane, seq in ((2, 899), (3, 900))]
    assert desk.settle(orders).orders == [4, 0]


def test_cancel_all__operations_go_on__nonce_lane_untouched_by_min_seq(desk: Desk) -> None:
    desk.settle(operations=[desk.cancel_all(desk.maker, desk.seq + 10_000)])

    assert desk.settle(operations=[desk.withdraw(desk.maker, 1, RECIPIENT)]).operations == [0]


def test_operation__account_never_used__own_signature_only(desk: Desk) -> None:
    stranger = signing_key("stranger")

    codes = desk.settle(operations=[desk.cancel_all(stranger, 1), desk.withdraw(stranger, 1, RECIPIENT)])

    assert codes.operations == [0, 48]
