"""Session keys in batches: what a key may sign, what it may not, and how owners link and revoke."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from eth_keys.datatypes import Signature

from afterbell.domain.batch import OperationRow
from afterbell.domain.ids import AccountId
from afterbell.domain.order import TimeInForce
from afterbell.signing.typed_data import digest
from tests.contracts.desk import (
    DAY_S,
    LOTS,
    MARKET,
    MARKETS,
    OPERATIONS,
    PRICE_TICKS,
    RULES,
    SETTLE_LAG_S,
    Desk,
    address_of,
    order_nonce,
    signing_key,
)

KEY: Final = signing_key("session")
OTHER_KEY: Final = signing_key("session2")
RECIPIENT: Final = b"\xaa" * 20
NOTIONAL_QUOTE: Final = LOTS * PRICE_TICKS
MAX_KEY_LIFE_S: Final = 180 * DAY_S
ALL_ONES: Final = (1 << 48) - 1
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def link(desk: Desk, **changes: Any) -> None:
    """Link KEY to the taker's account by a batch."""
    assert desk.settle(operations=[desk.link_key(desk.taker, KEY, **changes)]).operations == [0]


def order_code(desk: Desk, **changes: Any) -> int:
    """Return the code of the taker's order signed by KEY."""
    return desk.settle([desk.order(desk.taker, buy=True, **({"by_key": KEY} | changes))]).orders[0]


# Linking.


def test_link_key__signed_by_the_owner__writes_and_logs_the_word(desk: Desk) -> None:
    expiry_s = desk.chain.time_s + DAY_S
    operation = desk.link_key(
        desk.taker, KEY, key_expiry_s=expiry_s, max_notional_quote=7, markets=0b101, trade_only=True, reduce_only=True
    )

    assert desk.settle(operations=[operation]).operations == [0]

    word = 1 << 255 | 1 << 137 | 1 << 136 | 0b101 << 104 | 7 << 40 | expiry_s
    assert desk.key_word(desk.taker, KEY) == word
    assert desk.events("KeyChanged")[0].args == {
        "account": desk.account(desk.taker),
        "key": address_of(KEY).lower(),
        "word": word,
    }
    assert desk.lane(desk.taker, OPERATIONS) == (operation.seq, ALL_ONES)
    assert (
        desk.key_word(desk.maker, KEY) == desk.key_word(desk.taker, KEY, 1) == desk.key_word(desk.taker, OTHER_KEY) == 0
    )


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (21, {"session_key": bytes(20)}),
        (21, {"session_key": signing_key("taker")}),
        (0, {"session_key": signing_key("maker")}),
        (21, {"markets": 0}),
        (0, {"markets": 1 << 31}),
        (21, {"max_notional_quote": 0}),
        (0, {"max_notional_quote": 1}),
        (0, {"max_notional_quote": 2**64 - 1}),
        (0, {"key_expiry_s": 0}),
    ],
)
def test_link_key__limits__are_checked_after_the_nonce(desk: Desk, code: int, changes: dict[str, Any]) -> None:
    operation = desk.link_key(desk.taker, **({"session_key": KEY} | changes))

    assert desk.settle(operations=[operation, operation]).operations == [code, 17]
    assert bool(desk.events("KeyChanged")) is (code == 0)


@pytest.mark.parametrize(("beyond_s", "code"), [(0, 0), (1, 21)])
def test_link_key__life_of_180_days_after_the_match__then_longer(desk: Desk, beyond_s: int, code: int) -> None:
    matched_at_s = desk.chain.time_s
    desk.age_prices(20)
    operation = desk.link_key(desk.taker, KEY, key_expiry_s=matched_at_s + MAX_KEY_LIFE_S + beyond_s)

    assert desk.settle(operations=[operation], matched_at_s=matched_at_s).operations == [code]


@pytest.mark.parametrize("bit", [138, 143, 144, 183, 184, 254, 255])
def test_link_key__bit_beyond_the_limits__unknown(desk: Desk, bit: int) -> None:
    """Nobody links a key already revoked, or sets what the chain sets."""
    row = desk.link_key(desk.taker, KEY)

    assert desk.settle(operations=[replace(row, value=row.value | 1 << bit)]).operations == [16]


def test_revoke_key__with_a_word_1__unknown(desk: Desk) -> None:
    row = desk.revoke_key(desk.taker, KEY)

    assert desk.settle(operations=[replace(row, value=1)]).operations == [16]


def test_revoke_key__in_a_batch__leaves_nothing_and_may_be_linked_again(desk: Desk) -> None:
    link(desk)
    assert desk.settle(operations=[desk.revoke_key(desk.taker, KEY)]).operations == [0]

    assert desk.key_word(desk.taker, KEY) == desk.events("KeyChanged")[0].args["word"] == 1 << 255
    assert order_code(desk) == 14
    link(desk)
    assert order_code(desk) == 0


def test_revoke_key__never_linked__is_expired_not_unknown(desk: Desk) -> None:
    desk.settle(operations=[desk.revoke_key(desk.taker, KEY)])

    assert order_code(desk) == 14


@pytest.mark.parametrize("build", [Desk.link_key, Desk.revoke_key])
def test_key_operation__forged_or_of_another_owner__bad_signature(desk: Desk, build: Callable[..., Any]) -> None:
    row = build(desk, desk.maker, KEY)
    taker = desk.account(desk.taker)

    operations = [replace(row, account_id=taker), replace(row, account_id=taker, r=bytes(32))]
    assert desk.settle(operations=operations).operations == [3, 3]
    assert desk.key_word(desk.taker, KEY) == 0


# Orders.


def test_order__signed_by_a_key__fills_for_its_owner(desk: Desk) -> None:
    """1,000 lots at 10,000 ticks: the taker pays 10,000,000 quote and holds the position; the key holds nothing."""
    link(desk)
    orders = [desk.order(desk.maker, buy=False), desk.order(desk.taker, buy=True, by_key=KEY)]

    codes = desk.settle(orders, [(0, 1, LOTS)])

    assert (codes.orders, codes.fills) == ([0, 0], [0])
    assert desk.position(desk.taker) == (LOTS, NOTIONAL_QUOTE)
    assert desk.position(KEY) == (0, 0)
    assert desk.is_solvent()


def test_order__of_a_key__finds_its_owner_across_batches_and_against_itself(desk: Desk) -> None:
    """A key's order and its owner's are one account's: they cannot meet."""
    link(desk)
    orders = [desk.order(desk.taker, buy=False, lane=2), desk.order(desk.taker, buy=True, by_key=KEY)]

    assert desk.settle(orders, [(0, 1, LOTS)]).fills == [36]


def test_order__flag_and_signer_do_not_agree__bad_signature(desk: Desk) -> None:
    link(desk)

    assert order_code(desk, by_key=None, signer=KEY) == 3
    assert order_code(desk, by_key=desk.taker) == 3
    assert order_code(desk, by_key=OTHER_KEY) == 3
    assert order_code(desk) == 0


def test_order__key_of_another_account__bad_signature(desk: Desk) -> None:
    """Linked for the taker's account 0: neither the maker's account nor the taker's account 1 knows it."""
    link(desk)

    assert desk.settle([desk.order(desk.maker, buy=True, by_key=KEY)]).orders == [3]
    assert order_code(desk, subaccount=1) == 3
    assert order_code(desk) == 0


def test_order__signature_nobody_made__bad_signature(desk: Desk) -> None:
    link(desk)
    good = desk.order(desk.taker, buy=True, by_key=KEY)
    flaws: list[dict[str, Any]] = [{"r": bytes(32)}, {"r": bytes(32), "vs": bytes(32)}, {"vs": bytes(32)}]
    flawed = [replace(good, record=replace(good.record, **flaw)) for flaw in flaws]

    assert desk.settle([*flawed, good]).orders == [3, 3, 3, 0]


@pytest.mark.parametrize(("above", "code"), [(0, 0), (1, 3)])
def test_order__s_at_half_the_curve_order__then_above(desk: Desk, above: int, code: int) -> None:
    """Any r and s recover somebody; that somebody becomes the key. Only above half the order is s refused."""
    order = desk.order(desk.taker, buy=True, by_key=KEY)
    s = CURVE_ORDER // 2 + above
    signed = digest(order.record.to_order(order.account_id, 1), desk.chain.domain_separator)
    somebody = Signature(vrs=(0, int.from_bytes(order.record.r, "big"), s)).recover_public_key_from_msg_hash(signed)
    link_somebody = desk.link_key(desk.taker, somebody.to_canonical_address())
    assert desk.settle(operations=[link_somebody]).operations == [0]

    odd = replace(order, record=replace(order.record, vs=s.to_bytes(32, "big")))

    assert desk.settle([odd]).orders == [code]


def test_order__nobody_signed_and_key_zero_was_revoked__bad_signature(desk: Desk) -> None:
    """The word of address zero may say linked: what nobody signed is nobody's all the same."""
    assert desk.settle(operations=[desk.revoke_key(desk.taker, bytes(20))]).operations == [0]
    good = desk.order(desk.taker, buy=True, by_key=KEY)

    assert desk.settle([replace(good, record=replace(good.record, r=bytes(32), vs=bytes(32)))]).orders == [3]


def test_order__of_owner_zero__never_passes(desk: Desk) -> None:
    """What nobody signed recovers to address zero, which must not count as its own signature."""
    good = desk.order(desk.taker, buy=True)
    nobody = replace(good.record, r=bytes(32), vs=bytes(32))
    account = AccountId(5)

    orders = [
        replace(good, account_id=account, record=record) for record in (nobody, replace(nobody, flags=1 | 1 << 7))
    ]

    assert desk.settle(orders).orders == [3, 3]


@pytest.mark.parametrize(("late_s", "code"), [(0, 0), (1, 14)])
def test_order__at_the_keys_expiry__then_after(desk: Desk, late_s: int, code: int) -> None:
    link(desk, key_expiry_s=desk.chain.time_s + 100)
    desk.age_prices(100 + late_s)

    assert order_code(desk) == code


def test_order__matched_before_the_expiry__settled_after_it(desk: Desk) -> None:
    link(desk, key_expiry_s=desk.chain.time_s + 100)
    desk.age_prices(100)
    matched_at_s = desk.chain.time_s
    order = desk.order(desk.taker, buy=True, by_key=KEY)
    desk.age_prices(SETTLE_LAG_S)

    assert desk.settle([order], matched_at_s=matched_at_s).orders == [0]


@pytest.mark.parametrize(("less_quote", "code"), [(0, 0), (1, 15)])
@pytest.mark.parametrize(
    ("limit_ticks", "mark_ticks", "external_ticks"),
    [(10_000, 9_000, 9_500), (10_000, 12_000, 11_000), (10_000, 11_000, 13_005), (10_000, 0, 0)],
)
def test_order__notional_at_the_worst_price__up_to_the_maximum(
    desk: Desk, limit_ticks: int, mark_ticks: int, external_ticks: int, less_quote: int, code: int
) -> None:
    """1,000 lots at the highest of limit, mark and external, on both sides: 10, 12, 13.005 and 10 USDC."""
    worst_quote = 1_000 * max(limit_ticks, mark_ticks, external_ticks)
    price = desk.chain.read_word("prices", MARKET)
    price = price >> 40 << 40 | mark_ticks
    price = price & ~((1 << 40) - 1 << 80) | external_ticks << 80
    desk.chain.write_word("prices", MARKET, price)
    link(desk, max_notional_quote=worst_quote - less_quote)

    for buy in (True, False):
        order = desk.order(desk.taker, buy=buy, ticks=limit_ticks, by_key=KEY)
        assert desk.settle([order]).orders == [code]


def test_order__largest_notional_and_maximum__do_not_wrap(desk: Desk) -> None:
    """10^8 lots, the cap, at 2^40 - 6 ticks: about 1.1e20, beyond 2^64."""
    link(desk, max_notional_quote=2**64 - 1)

    assert order_code(desk, lots=10**8, ticks=2**40 - 6) == 15
    assert order_code(desk, lots=10**8, ticks=PRICE_TICKS) == 0


@pytest.mark.parametrize("allowed", MARKETS)
def test_order__markets__only_where_the_bit_is_set(desk: Desk, allowed: int) -> None:
    link(desk, markets=1 << allowed - 1)
    orders = [desk.order(desk.taker, buy=True, market_id=market, by_key=KEY) for market in MARKETS]

    assert desk.settle(orders).orders == [0 if market == allowed else 15 for market in MARKETS]


@pytest.mark.parametrize(("markets", "code"), [(1 << 31, 0), (2**31 - 1, 15)])
def test_order__last_market__has_the_last_bit(desk: Desk, markets: int, code: int) -> None:
    desk.chain.list_market(32, RULES.pack())
    link(desk, markets=markets)

    assert order_code(desk, market_id=32) == code


def test_order__reduce_only_key__signs_reduce_only_orders_alone(desk: Desk) -> None:
    link(desk, reduce_only=True)

    assert order_code(desk) == 15
    assert order_code(desk, reduce_only=True) == 0


def test_order__trade_only_key__trades(desk: Desk) -> None:
    link(desk, trade_only=True)

    assert order_code(desk) == 0
    assert order_code(desk, reduce_only=True) == 0


def test_order__several_flaws__the_earlier_code_wins(desk: Desk) -> None:
    link(desk, key_expiry_s=desk.chain.time_s - 1, markets=2)

    assert order_code(desk, expiry_s=desk.chain.time_s - 1) == 5
    assert order_code(desk, by_key=OTHER_KEY) == 3
    assert order_code(desk) == 14
    link(desk, markets=2)
    assert order_code(desk) == 15


def test_order__in_the_batch_that_links_or_revokes__sees_keys_as_they_then_are(desk: Desk) -> None:
    order = desk.order(desk.taker, buy=True, by_key=KEY)

    assert desk.settle([order], operations=[desk.link_key(desk.taker, KEY)]).orders == [0]
    assert desk.settle([order], operations=[desk.revoke_key(desk.taker, KEY)]).orders == [14]
    assert desk.settle([order]).orders == [14]


# Operations.


def test_operation__of_a_key__may_cancel(desk: Desk) -> None:
    link(desk, trade_only=True, reduce_only=True, markets=1 << 30)
    order = desk.order(desk.taker, buy=True)
    operations = [
        desk.cancel_order(desk.taker, order_nonce(0, order.record.seq), by_key=KEY),
        desk.cancel_all(desk.taker, 77, by_key=KEY),
    ]

    assert desk.settle(operations=operations).operations == [0, 0]
    assert desk.lane(desk.taker) == (order.record.seq, ALL_ONES)
    assert desk.events("AllCancelled")[0].args["min_seq"] == 77
    assert desk.lane(desk.taker, OPERATIONS) == (operations[1].seq, ALL_ONES)


def test_operation__of_a_key__withdraws_to_its_owner_alone(desk: Desk) -> None:
    link(desk)
    owner = desk.taker.address
    operations = [
        desk.withdraw(desk.taker, 5, KEY.address, by_key=KEY),
        desk.withdraw(desk.taker, 5, RECIPIENT, by_key=KEY),
        desk.withdraw(desk.taker, 5, bytes(20), by_key=KEY),
        desk.withdraw(desk.taker, 5, owner, by_key=KEY),
    ]

    assert desk.settle(operations=operations).operations == [15, 15, 15, 0]
    assert desk.chain.call("Vault", "claims_quote", address_of(desk.taker)) == 5
    assert desk.chain.call("Vault", "total_claims_quote") == 5
    assert desk.is_solvent()


def test_operation__of_a_trade_only_key__withdraws_nowhere(desk: Desk) -> None:
    link(desk, trade_only=True)

    assert desk.settle(operations=[desk.withdraw(desk.taker, 5, desk.taker.address, by_key=KEY)]).operations == [15]
    assert desk.chain.call("Vault", "total_claims_quote") == 0


def test_operation__of_a_key__never_links_nor_revokes(desk: Desk) -> None:
    link(desk)
    operations = [
        desk.link_key(desk.taker, OTHER_KEY, by_key=KEY),
        desk.link_key(desk.taker, KEY, by_key=KEY),
        desk.revoke_key(desk.taker, KEY, by_key=KEY),
    ]

    assert desk.settle(operations=operations).operations == [15, 15, 15]


def test_operation__refused_key__keeps_the_nonce(desk: Desk) -> None:
    link(desk, trade_only=True)
    withdrawal = desk.withdraw(desk.taker, 5, desk.taker.address, by_key=KEY)
    other = desk.withdraw(desk.taker, 5, desk.taker.address, seq=withdrawal.seq)

    assert desk.settle(operations=[withdrawal, other]).operations == [15, 0]


def test_operation__not_this_accounts_key__bad_signature(desk: Desk) -> None:
    link(desk)
    operations: list[OperationRow] = [
        desk.cancel_all(desk.taker, 5, by_key=OTHER_KEY),
        desk.cancel_all(desk.taker, 5, by_key=desk.taker),
        desk.cancel_all(desk.maker, 5, by_key=KEY),
        desk.cancel_all(desk.taker, 5, by_key=KEY, subaccount=1),
    ]
    row = desk.cancel_all(desk.taker, 5, by_key=KEY)
    operations += [replace(row, flags=0), replace(row, r=bytes(32), vs=bytes(32))]

    assert desk.settle(operations=operations).operations == [3] * 6


@pytest.mark.parametrize("flags", [0, 1])
def test_operation__of_owner_zero__never_passes(desk: Desk, flags: int) -> None:
    """What nobody signed recovers to address zero, which must not count as its own signature."""
    row = desk.cancel_all(desk.taker, 5)
    nobody = replace(row, r=bytes(32), vs=bytes(32), flags=flags)

    assert desk.settle(operations=[replace(nobody, account_id=AccountId(5))]).operations == [3]


def test_operation__nobody_signed_and_key_zero_was_revoked__bad_signature(desk: Desk) -> None:
    assert desk.settle(operations=[desk.revoke_key(desk.taker, bytes(20))]).operations == [0]
    row = desk.cancel_all(desk.taker, 5, by_key=KEY)

    assert desk.settle(operations=[replace(row, r=bytes(32), vs=bytes(32))]).operations == [3]


@pytest.mark.parametrize(("late_s", "code"), [(0, 0), (1, 14)])
def test_operation__at_the_keys_expiry__then_after(desk: Desk, late_s: int, code: int) -> None:
    link(desk, key_expiry_s=desk.chain.time_s + 100)
    desk.age_prices(100 + late_s)

    assert desk.settle(operations=[desk.cancel_all(desk.taker, 5, by_key=KEY)]).operations == [code]


def test_operation__within_the_batch__sees_keys_as_they_stand(desk: Desk) -> None:
    operations = [
        desk.cancel_all(desk.taker, 5, by_key=KEY),
        desk.link_key(desk.taker, KEY),
        desk.cancel_all(desk.taker, 6, by_key=KEY),
        desk.revoke_key(desk.taker, KEY),
        desk.cancel_all(desk.taker, 7, by_key=KEY),
    ]

    assert desk.settle(operations=operations).operations == [3, 0, 0, 0, 14]


def test_key__whole_life__ioc_order_of_a_key_is_consumed_like_any(desk: Desk) -> None:
    link(desk)
    order = desk.order(desk.taker, buy=True, by_key=KEY, time_in_force=TimeInForce.IOC)
    desk.settle([desk.order(desk.maker, buy=False), order], [(0, 1, 10)])

    assert desk.lane(desk.taker) == (order.record.seq, ALL_ONES)
