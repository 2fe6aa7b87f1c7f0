"""What owners do directly on chain: words, logs, and that nothing made directly binds before SETTLE_LAG is over.

Changes of rules, which the registry makes: test_changes_of_rules.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain.session import Session
from tests.contracts.desk import (
    DAY_S,
    LOTS,
    MARKET,
    RULES,
    SETTLE_LAG_S,
    Desk,
    Placed,
    address_of,
    signing_key,
)
from tests.contracts.venue import refused
from tests.support.chain import GENESIS_S, GOVERNOR, START_S, ZERO_ADDRESS

KEY: Final = signing_key("session")
LINKED: Final = 1 << 255


def limits(**changes: int) -> int:
    """Return the limits of a key: a day, 100 USDC, every market."""
    fields = {"expiry_s": START_S + DAY_S, "quote": 100_000_000, "markets": 2**32 - 1, "flags": 0} | changes
    return fields["expiry_s"] | fields["quote"] << 40 | fields["markets"] << 104 | fields["flags"] << 136


def overflow_word(desk: Desk) -> int:
    return int(desk.chain.call("Clearinghouse", "overflow_word", desk.account(desk.taker)))


def account_word(desk: Desk) -> int:
    return int(desk.chain.call("Clearinghouse", "account_word", desk.account(desk.taker)))


def direct_op(desk: Desk) -> int:
    return int(desk.chain.call("Clearinghouse", "operator_word")) >> 160


# Cancel all.


def test_cancel_all__first__writes_the_overflow_word_and_logs_it(desk: Desk) -> None:
    before, number = account_word(desk), direct_op(desk)

    assert desk.direct(desk.taker, "cancel_all", 0, 2_000) == number + 1

    word = 2_000 | desk.chain.time_s << 40
    assert overflow_word(desk) == word
    assert account_word(desk) == before | 1 << 248
    assert direct_op(desk) == number + 1
    assert [event.name for event in desk.logged] == ["DirectOperation"]
    assert desk.logged[0].args == {
        "account": desk.account(desk.taker),
        "direct_op": number + 1,
        "kind": 1,
        "key": 0,
        "value": word,
        "time_s": desk.chain.time_s,
    }


@pytest.mark.parametrize(("late_s", "dead"), [(0, 0), (1, 4)])
def test_cancel_all__lower_seqs__die_when_it_binds(desk: Desk, late_s: int, dead: int) -> None:
    orders = [desk.order(desk.taker, buy=True, seq=seq, lane=lane) for lane, seq in ((2, 1_999), (3, 2_000))]
    desk.direct(desk.taker, "cancel_all", 0, 2_000)
    desk.age_prices(SETTLE_LAG_S + late_s)

    assert desk.settle(orders).orders == [dead, 0]


def test_cancel_all__of_one_account__leaves_the_others(desk: Desk) -> None:
    orders = [
        desk.order(desk.taker, buy=True, seq=5, subaccount=1),
        desk.order(desk.maker, buy=True, seq=5),
        desk.order(desk.taker, buy=True, seq=5),
    ]
    desk.direct(desk.taker, "cancel_all", 0, 2_000)
    desk.age_prices(SETTLE_LAG_S + 1)

    assert desk.settle(orders).orders == [0, 0, 4]


def test_cancel_all__again__waits_until_every_batch_sees_the_first(desk: Desk) -> None:
    desk.direct(desk.taker, "cancel_all", 0, 2_000)
    first_s = desk.chain.time_s
    for wait_s in (0, 1, 2 * SETTLE_LAG_S - 1):
        desk.age_prices(wait_s)
        with refused("operations: cancel pending"):
            desk.direct(desk.taker, "cancel_all", 0, 3_000)
    assert desk.chain.time_s == first_s + 2 * SETTLE_LAG_S
    desk.age_prices(1)
    desk.direct(desk.taker, "cancel_all", 0, 3_000)

    assert overflow_word(desk) == 3_000 | desk.chain.time_s << 40 | 2_000 << 80


def test_cancel_all__pending_again__the_first_binds_meanwhile_and_never_falls(desk: Desk) -> None:
    """1,500 after 2,000 changes nothing; a third keeps 2,000 as what is bound."""
    desk.direct(desk.taker, "cancel_all", 0, 2_000)
    desk.age_prices(2 * SETTLE_LAG_S + 1)
    desk.direct(desk.taker, "cancel_all", 0, 1_500)
    orders = [desk.order(desk.taker, buy=True, seq=seq, lane=lane) for lane, seq in ((2, 1_999), (3, 2_000))]

    # the earliest batch that can still come
    assert desk.settle(orders, matched_at_s=desk.chain.time_s - SETTLE_LAG_S).orders == [4, 0]
    desk.age_prices(SETTLE_LAG_S + 1)
    assert desk.settle(orders).orders == [4, 0]
    desk.age_prices(SETTLE_LAG_S)
    desk.direct(desk.taker, "cancel_all", 0, 2_100)
    assert overflow_word(desk) >> 80 == 2_000


@pytest.mark.parametrize(("beyond_ms", "reason"), [(0, None), (1, "operations: min seq")])
def test_cancel_all__seq_of_now_and_the_lag__then_later(desk: Desk, beyond_ms: int, reason: str | None) -> None:
    """A later one would kill orders nobody has signed yet."""
    latest = (desk.chain.time_s + SETTLE_LAG_S - GENESIS_S) * 1_000
    if reason is None:
        desk.direct(desk.taker, "cancel_all", 0, latest)
        assert overflow_word(desk) & 2**40 - 1 == latest
        return

    with refused(reason):
        desk.direct(desk.taker, "cancel_all", 0, latest + beyond_ms)


def test_cancel_all__in_a_batch_and_directly__the_greater_counts(desk: Desk) -> None:
    desk.direct(desk.taker, "cancel_all", 0, 2_000)
    desk.age_prices(SETTLE_LAG_S + 1)
    assert desk.settle(operations=[desk.cancel_all(desk.taker, 1_900)]).operations == [0]
    assert desk.events("AllCancelled")[0].args["min_seq"] == 1_900
    orders = [desk.order(desk.taker, buy=True, seq=seq, lane=lane) for lane, seq in ((2, 1_999), (3, 2_000))]
    assert desk.settle(orders).orders == [4, 0]
    assert desk.settle(operations=[desk.cancel_all(desk.taker, 2_001)]).operations == [0]

    assert desk.settle(orders).orders == [4, 4]


def test_cancel_all__account_word__keeps_its_flag_through_batches_and_deposits(desk: Desk) -> None:
    desk.direct(desk.taker, "cancel_all", 0, 500)
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    desk.chain.deposit(desk.account(desk.taker), 5)

    assert account_word(desk) >> 248 == 1
    assert (account_word(desk) >> 200) & 2**48 - 1 == MARKET


def test_cancel_all__flag_beside_six_open_markets__hides_none(desk: Desk) -> None:
    """The flag stands right above the sixth slot: six markets open and close, a seventh is refused as ever."""
    desk.direct(desk.taker, "cancel_all", 0, 500)
    for market in range(1, 7):
        assert desk.settle(desk.pair(lots=600, market_id=market), [(0, 1, 600)]).fills == [0]
    buyer = signing_key("seventh")
    desk.chain.deposit(desk.account(buyer), 10**9)
    seventh = [
        desk.order(buyer, buy=False, market_id=7, lots=600),
        desk.order(desk.taker, buy=True, market_id=7, lots=600),
    ]
    assert desk.settle(seventh, [(0, 1, 600)]).fills == [44 + 64]
    sixth = [
        desk.order(desk.maker, buy=True, market_id=6, lots=600),
        desk.order(desk.taker, buy=False, market_id=6, lots=600),
    ]
    assert desk.settle(sixth, [(0, 1, 600)]).fills == [0]

    assert account_word(desk) >> 200 == 1 << 48 | 5 << 32 | 4 << 24 | 3 << 16 | 2 << 8 | 1


# Linking.


def test_link_key__unused__signs_at_once_and_is_logged(desk: Desk) -> None:
    number, allowed = direct_op(desk), limits(flags=3)
    order = desk.order(desk.taker, buy=True, by_key=KEY, reduce_only=True)

    assert desk.direct(desk.taker, "link_key", 0, address_of(KEY), allowed) == number + 1

    assert desk.key_word(desk.taker, KEY) == allowed | LINKED
    assert [(event.name, event.args) for event in desk.logged] == [
        (
            "DirectOperation",
            {
                "account": desk.account(desk.taker),
                "direct_op": number + 1,
                "kind": 2,
                "key": int.from_bytes(KEY.address, "big"),
                "value": allowed | LINKED,
                "time_s": desk.chain.time_s,
            },
        )
    ]
    assert desk.settle([order]).orders == [0]


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        (ZERO_ADDRESS, limits()),
        ("taker", limits()),
        (address_of(KEY), limits(markets=0)),
        (address_of(KEY), limits(quote=0)),
        (address_of(KEY), limits(expiry_s=START_S + 180 * DAY_S + 1)),
        (address_of(KEY), limits() | 1 << 138),
        (address_of(KEY), limits() | 1 << 144),
        (address_of(KEY), limits() | 1 << 255),
    ],
)
def test_link_key__bad_limits__refused(desk: Desk, key: str, allowed: int) -> None:
    with refused("operations: bad key"):
        desk.direct(desk.taker, "link_key", 0, address_of(desk.taker) if key == "taker" else key, allowed)


def test_link_key__limits_at_their_bounds__linked(desk: Desk) -> None:
    allowed = limits(markets=1, quote=1, expiry_s=desk.chain.time_s + 180 * DAY_S)

    desk.direct(desk.taker, "link_key", 0, address_of(KEY), allowed)
    desk.direct(desk.taker, "link_key", 2**80 - 1, address_of(KEY), limits(quote=2**64 - 1, markets=1 << 31))

    assert desk.key_word(desk.taker, KEY) == allowed | LINKED
    assert desk.key_word(desk.taker, KEY, 2**80 - 1) == limits(quote=2**64 - 1, markets=1 << 31) | LINKED


LIVES: Final[dict[str, Callable[[Desk], Any]]] = {
    "linked directly": lambda desk: desk.direct(desk.taker, "link_key", 0, address_of(KEY), limits()),
    "linked in a batch": lambda desk: desk.settle(operations=[desk.link_key(desk.taker, KEY)]),
    "revoked in a batch": lambda desk: desk.settle(operations=[desk.revoke_key(desk.taker, KEY)]),
    "revoked directly": lambda desk: desk.direct(desk.taker, "revoke_key", 0, address_of(KEY)),
}


@pytest.mark.parametrize("life", LIVES)
def test_link_key__word_not_zero__refused(desk: Desk, life: str) -> None:
    LIVES[life](desk)

    with refused("operations: key in use"):
        desk.direct(desk.taker, "link_key", 0, address_of(KEY), limits())


# Revoking.


def test_revoke_key__linked__keeps_limits_and_logs_the_word(desk: Desk) -> None:
    desk.direct(desk.taker, "link_key", 0, address_of(KEY), limits())
    number = direct_op(desk)

    assert desk.direct(desk.taker, "revoke_key", 0, address_of(KEY)) == number + 1

    word = limits() | LINKED | desk.chain.time_s << 144
    assert desk.key_word(desk.taker, KEY) == word
    assert desk.logged[0].args == {
        "account": desk.account(desk.taker),
        "direct_op": number + 1,
        "kind": 3,
        "key": int.from_bytes(KEY.address, "big"),
        "value": word,
        "time_s": desk.chain.time_s,
    }


@pytest.mark.parametrize(("late_s", "code"), [(0, 0), (1, 14)])
def test_revoke_key__orders_and_operations_of_the_key__die_when_it_binds(desk: Desk, late_s: int, code: int) -> None:
    desk.direct(desk.taker, "link_key", 0, address_of(KEY), limits())
    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))
    desk.age_prices(SETTLE_LAG_S + late_s)

    codes = desk.settle(
        [desk.order(desk.taker, buy=True, by_key=KEY)], operations=[desk.cancel_all(desk.taker, 5, by_key=KEY)]
    )

    assert (codes.orders, codes.operations) == ([code], [code])


def test_revoke_key__twice__refused(desk: Desk) -> None:
    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))
    desk.age_prices(1)

    with refused("operations: key revoked"):
        desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))


def test_revoke_key__before_any_link__a_later_batch_links_it_dead(desk: Desk) -> None:
    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))
    revoked_at_s = desk.chain.time_s
    order = desk.order(desk.taker, buy=True, by_key=KEY)
    assert desk.settle([order]).orders == [3]
    link = desk.link_message(desk.taker, KEY)
    assert desk.settle(operations=[desk.operation(link, desk.taker)]).operations == [0]

    assert desk.key_word(desk.taker, KEY) == link.limits_word | LINKED | revoked_at_s << 144
    assert desk.settle([order]).orders == [0]
    desk.age_prices(SETTLE_LAG_S + 1)
    assert desk.settle([order]).orders == [14]


# Direct and batched changes commute.


@pytest.mark.parametrize("batched", ["link_key", "revoke_key"])
def test_key__revoked_directly_before_or_after_a_batch__ends_with_one_word(desk: Desk, batched: str) -> None:
    row = getattr(desk, batched)(desk.taker, KEY)
    words = []
    for is_direct_first in (True, False):
        with desk.chain.undone():
            for is_direct in (is_direct_first, not is_direct_first):
                if is_direct:
                    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))
                else:
                    assert desk.settle(operations=[row]).operations == [0]
            words.append(desk.key_word(desk.taker, KEY))

    assert words[0] == words[1]
    assert words[0] & LINKED
    assert words[0] >> 144 & 2**40 - 1 == desk.chain.time_s


@pytest.mark.parametrize("batched", ["link_key", "revoke_key"])
def test_key__linked_directly_before_a_batch_or_never__ends_with_the_batchs_word(desk: Desk, batched: str) -> None:
    """A mirror that settled first in its own books ignores the direct link, and has the chain's word."""
    row = getattr(desk, batched)(desk.taker, KEY)
    with desk.chain.undone():
        desk.settle(operations=[row])
        word = desk.key_word(desk.taker, KEY)
    desk.direct(desk.taker, "link_key", 0, address_of(KEY), limits(quote=5))

    desk.settle(operations=[row])

    assert desk.key_word(desk.taker, KEY) == word


# Nothing direct voids what was matched before the sequencer could have read of it.


def close_openings(desk: Desk) -> None:
    closed = replace(RULES, is_opening_allowed=False).pack()
    desk.chain.call("MarketRegistry", "set_rules", MARKET, [(Session.REGULAR, closed)], sender=GOVERNOR)


DIRECT: Final[dict[str, tuple[Callable[[Desk], Any], int]]] = {
    "cancel_all": (lambda desk: desk.direct(desk.taker, "cancel_all", 0, 10**9), 32 + 64),
    "revoke_key": (lambda desk: desk.direct(desk.taker, "revoke_key", 0, address_of(KEY)), 32 + 64),
    "link_key": (lambda desk: desk.direct(desk.taker, "link_key", 0, address_of(desk.maker), limits()), 0),
    "rules": (close_openings, 46),
    "deposit": (lambda desk: desk.chain.deposit(desk.account(desk.maker), 1), 0),
}


def matched_pair(desk: Desk) -> list[Placed]:
    desk.settle(operations=[desk.link_key(desk.taker, KEY)])
    return [desk.order(desk.maker, buy=False), desk.order(desk.taker, buy=True, by_key=KEY)]


@pytest.mark.parametrize("name", DIRECT)
@pytest.mark.parametrize("matched_after_s", [-SETTLE_LAG_S, -1, 0, 1, SETTLE_LAG_S])
@pytest.mark.parametrize("settled_after_s", [0, 1, SETTLE_LAG_S])
def test_direct__up_to_the_lag_before_a_match__voids_no_fill(
    desk: Desk, name: str, matched_after_s: int, settled_after_s: int
) -> None:
    """Whenever the batch arrives: matched at most SETTLE_LAG after the call, it settles as if nobody had called."""
    orders = matched_pair(desk)
    act, _ = DIRECT[name]
    matched_at_s = desk.chain.time_s + SETTLE_LAG_S
    desk.chain.set_time(matched_at_s - matched_after_s)
    act(desk)
    desk.chain.set_time(max(matched_at_s + settled_after_s, desk.chain.time_s))

    assert desk.settle(orders, [(0, 1, LOTS)], matched_at_s=matched_at_s).fills == [0]


@pytest.mark.parametrize("name", DIRECT)
def test_direct__more_than_the_lag_before_a_match__binds(desk: Desk, name: str) -> None:
    """The negative of the one above: the same calls do bind, one second later."""
    orders = matched_pair(desk)
    act, code = DIRECT[name]
    act(desk)
    desk.age_prices(SETTLE_LAG_S + 1)

    assert desk.settle(orders, [(0, 1, LOTS)]).fills == [code]


# Who may.


def test_record_direct__called_by_an_owner__refused(desk: Desk) -> None:
    """Nobody but Operations; every other role is in the role matrix."""
    with refused("caller: not operations"):
        desk.chain.call(
            "Clearinghouse", "record_direct", 2, desk.account(desk.taker), 1, 1, sender=address_of(desk.taker)
        )


def test_link_key_for__called_by_another__refused(desk: Desk) -> None:
    with refused("caller: not vault"):
        desk.direct(desk.taker, "link_key_for", desk.account(desk.taker), address_of(KEY), limits())


def test_deposit_and_link__two_numbers_in_a_row(desk: Desk) -> None:
    number, owner = direct_op(desk), address_of(desk.taker)
    desk.chain.call("token", "mint", owner, 7)
    desk.chain.call("token", "approve", desk.chain.addresses["Vault"], 7, sender=owner)

    desk.chain.call("Vault", "deposit_and_link", 0, 7, address_of(KEY), limits(), sender=owner)

    numbers = [event.args["direct_op"] for event in desk.chain.events() if "direct_op" in event.args]
    assert numbers == [number + 1, number + 2]
    assert desk.key_word(desk.taker, KEY) == limits() | LINKED
