"""Direct operations: what the chain accepts, when it binds, and that a mirror that hears late has the same words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.codes import StatusCode
from afterbell.domain.direct import (
    DirectOperation,
    apply_direct,
    record_cancel_all,
    record_key_link,
    record_key_revocation,
    record_rules,
)
from afterbell.domain.errors import DirectRefused, Faulted
from afterbell.domain.order import CancelAll, LinkKey, RevokeKey
from afterbell.domain.settlement import ChainState, Execution
from afterbell.domain.words import OverflowWord, RulesWord, SessionKeyWord
from tests.domain.scenario import MAKER, RULES, TAKER, USDC, Scenario, T

C = StatusCode
KEY = b"\x44" * 20
LIMITS = SessionKeyWord(expiry_s=T + 3_600, max_notional_quote=USDC, markets=0b1)
LAG_S = 300


# Cancel-all.


def cancel_all(state: ChainState, account: int, min_seq: int, time_s: int) -> DirectOperation:
    return record_cancel_all(state, account, min_seq, time_s=time_s)


@pytest.mark.parametrize(("matched_at_s", "code"), [(T + LAG_S, C.OK), (T + LAG_S + 1, C.SEQ_BELOW_MINIMUM)])
def test_direct_cancel_all__match_at_and_after_the_lag__binds_after(matched_at_s: int, code: C) -> None:
    scenario = Scenario()
    cancel_all(scenario.state, scenario.taker, 101, T)
    scenario.seq = 99
    order = scenario.order(TAKER, is_buy=True, expiry_s=T + 600)

    assert list(scenario.settle([order], matched_at_s=matched_at_s).codes) == [code]


def test_direct_cancel_all__logged__is_the_overflow_word_and_sets_the_flag() -> None:
    scenario = Scenario()

    done = cancel_all(scenario.state, scenario.taker, 101, T)

    assert done == DirectOperation(
        direct_op=3, kind=1, account_id=scenario.taker, subject=0, time_s=T, word=T << 40 | 101
    )
    assert scenario.state.account(scenario.taker).flags == 1
    assert scenario.state.overflows == {scenario.taker << 16 | 0xFFFF: T << 40 | 101}


def test_direct_cancel_all__second_lower_one__keeps_what_the_first_bound() -> None:
    scenario = Scenario()
    cancel_all(scenario.state, scenario.taker, 500, T)

    second = cancel_all(scenario.state, scenario.taker, 200, T + 2 * LAG_S + 1)

    assert OverflowWord.unpack(second.word) == OverflowWord(
        pending_min_seq=200, pending_since_s=T + 601, bound_min_seq=500
    )
    third = cancel_all(scenario.state, scenario.taker, 100, T + 4 * LAG_S + 2)
    assert OverflowWord.unpack(third.word).bound_min_seq == 500
    assert scenario.state.effective_min_seq(scenario.taker, T + 4 * LAG_S + 2) == 500


@pytest.mark.parametrize(
    ("min_seq", "time_s", "reason"),
    [
        (1, T + 2 * LAG_S, "operations: cancel pending"),
        (2_901_001, T + 601 + 1_000, "operations: min seq"),
    ],
)
def test_direct_cancel_all__too_soon_or_too_far__is_refused(min_seq: int, time_s: int, reason: str) -> None:
    """Genesis is T - 1,000: at T + 1,601 the highest seq allowed is (1,601 + 1,000 + 300) s = 2,901,000 ms."""
    scenario = Scenario()
    cancel_all(scenario.state, scenario.taker, 500, T)
    before = scenario.state.copy()

    with pytest.raises(DirectRefused, match=reason):
        cancel_all(scenario.state, scenario.taker, min_seq, time_s)

    assert scenario.state == before
    cancel_all(scenario.state, scenario.taker, min_seq - 1, time_s + 1)


def test_batched_cancel_all__beside_a_direct_one__changes_the_account_word_alone() -> None:
    scenario = Scenario()
    cancel_all(scenario.state, scenario.taker, 500, T - LAG_S - 1)
    scenario.settle(operations=[scenario.operation(CancelAll(owner=TAKER.address, min_seq=200, expiry_s=T, seq=1))])

    account = scenario.state.account(scenario.taker)
    assert (account.min_seq, account.flags) == (200, 1)
    assert scenario.state.effective_min_seq(scenario.taker, T) == 500


# Keys.


def test_direct_link__then_revocation__are_the_words_logged() -> None:
    scenario = Scenario()
    account = scenario.taker

    linked = record_key_link(scenario.state, account, KEY, LIMITS.pack(), time_s=T)
    revoked = record_key_revocation(scenario.state, account, KEY, time_s=T + 7)

    assert SessionKeyWord.unpack(linked.word) == replace(LIMITS, is_linked=True)
    assert SessionKeyWord.unpack(revoked.word) == replace(LIMITS, is_linked=True, revoked_at_s=T + 7)
    assert (linked.direct_op, revoked.direct_op, scenario.state.direct_op) == (3, 4, 4)
    assert linked.subject == revoked.subject == int.from_bytes(KEY, "big")
    assert scenario.state.session_key_word(account, KEY) == revoked.word


@pytest.mark.parametrize(
    ("key", "limits"),
    [
        (bytes(20), LIMITS.pack()), (TAKER.address, LIMITS.pack()), (KEY, LIMITS.pack() | 1 << 138),
        (KEY, replace(LIMITS, markets=0).pack()), (KEY, replace(LIMITS, max_notional_quote=0).pack()),
        (KEY, replace(LIMITS, expiry_s=T + 180 * 86_400 + 1).pack()),
    ],
)  # fmt: skip
def test_direct_link__bad_key_or_limits__is_refused(key: bytes, limits: int) -> None:
    scenario = Scenario()

    with pytest.raises(DirectRefused, match="operations: bad key"):
        record_key_link(scenario.state, scenario.taker, key, limits, time_s=T)


def test_direct_link__word_not_zero__is_refused() -> None:
    for prepare in (
        lambda state, account: record_key_link(state, account, KEY, LIMITS.pack(), time_s=T),
        lambda state, account: record_key_revocation(state, account, KEY, time_s=T),
    ):
        scenario = Scenario()
        prepare(scenario.state, scenario.taker)

        with pytest.raises(DirectRefused, match="operations: key in use"):
            record_key_link(scenario.state, scenario.taker, KEY, LIMITS.pack(), time_s=T + 1)


def test_direct_revocation__twice__is_refused() -> None:
    scenario = Scenario()
    record_key_revocation(scenario.state, scenario.taker, KEY, time_s=T)

    with pytest.raises(DirectRefused, match="operations: key revoked"):
        record_key_revocation(scenario.state, scenario.taker, KEY, time_s=T + 10_000)


# Rules.


@pytest.mark.parametrize(("matched_at_s", "cap_lots"), [(T + LAG_S, 1_000_000), (T + LAG_S + 1, 7)])
def test_changed_rules__match_at_and_after_the_lag__bind_after(matched_at_s: int, cap_lots: int) -> None:
    scenario = Scenario()
    new = replace(RULES, open_interest_cap_lots=7)

    done = record_rules(scenario.state, 1, 2, new.pack(), time_s=T)

    rules = scenario.state.rules_of(1, 2, matched_at_s)
    assert rules is not None and rules.open_interest_cap_lots == cap_lots
    assert done == DirectOperation(direct_op=3, kind=4, account_id=0, subject=1 << 8 | 2, word=new.pack(), time_s=T)
    assert scenario.state.rules[0x102] == replace(RULES, is_changing=True).pack()
    assert (scenario.state.rules[0x1_0102], scenario.state.rules[0x2_0102]) == (new.pack(), T + LAG_S)


def test_changed_rules__band_of_a_price_row_and_of_a_fill__follow_the_successor() -> None:
    """The new band is 1 %: a fill at 10,500 passes until the new rules bind."""
    for matched_at_s, code in ((T + LAG_S, C.OK), (T + LAG_S + 1, C.PRICE_OUTSIDE_BAND)):
        scenario = Scenario()
        record_rules(scenario.state, 1, 2, replace(RULES, band_ppm=10_000).pack(), time_s=T)
        scenario.set_price(external_time_s=matched_at_s)
        orders = [
            scenario.order(key, is_buy=is_buy, limit_ticks=10_500, expiry_s=matched_at_s)
            for key, is_buy in ((TAKER, True), (MAKER, False))
        ]

        result = scenario.settle(orders, [(1, 0, 100)], matched_at_s=matched_at_s)

        assert list(result.codes) == [C.OK, C.OK, code]


@pytest.mark.parametrize(("matched_at_s", "mark_ticks"), [(T + LAG_S, 11_000), (T + LAG_S + 1, 10_020)])
def test_changed_rules__mark_of_a_price_row__steps_by_the_successor(matched_at_s: int, mark_ticks: int) -> None:
    """20 steps of 1 % reach the edge of the band; 20 steps of 100 ppm are 20 ticks."""
    scenario = Scenario()
    record_rules(scenario.state, 1, 2, replace(RULES, mark_step_ppm=100).pack(), time_s=T)

    scenario.settle(rows=(PriceRow(market_id=1, mark_ticks=11_000, index_ticks=10_000),), matched_at_s=matched_at_s)

    assert scenario.state.price(1).mark_ticks == mark_ticks


def test_changed_rules__again_once_the_first_bind_for_every_batch__move_up() -> None:
    scenario = Scenario()
    first, second = (replace(RULES, open_interest_cap_lots=lots) for lots in (7, 8))
    record_rules(scenario.state, 1, 2, first.pack(), time_s=T)

    with pytest.raises(DirectRefused, match="rules: pending"):
        record_rules(scenario.state, 1, 2, second.pack(), time_s=T + 2 * LAG_S)
    record_rules(scenario.state, 1, 2, second.pack(), time_s=T + 2 * LAG_S + 1)

    def cap_at(matched_at_s: int) -> int:
        rules = scenario.state.rules_of(1, 2, matched_at_s)
        assert rules is not None
        return rules.open_interest_cap_lots

    assert [cap_at(T + 601), cap_at(T + 901), cap_at(T + 902)] == [7, 7, 8]
    assert RulesWord.unpack(scenario.state.rules[0x102]) == replace(first, is_changing=True)


def test_changed_rules__another_session__are_not_touched() -> None:
    scenario = Scenario()
    scenario.set_rules(session=5)
    record_rules(scenario.state, 1, 2, replace(RULES, band_ppm=1).pack(), time_s=T)

    assert scenario.state.rules_of(1, 5, T + 10_000) == RULES
    assert scenario.state.rules_of(2, 2, T + 10_000) == RULES


# The mirror.


def test_apply_direct__unknown_kind__stops() -> None:
    scenario = Scenario()

    with pytest.raises(Faulted, match="kind"):
        apply_direct(scenario.state, 5, scenario.taker, 0, 0, T)


def test_mirror__everything_in_order__is_the_chain() -> None:
    chain = Scenario().state
    mirror, account = chain.copy(), TAKER_ACCOUNT
    done = [
        cancel_all(chain, account, 500, T),
        record_key_link(chain, account, KEY, LIMITS.pack(), time_s=T),
        record_key_revocation(chain, account, KEY, time_s=T + 1),
        record_rules(chain, 1, 2, replace(RULES, band_ppm=1).pack(), time_s=T + 2),
        cancel_all(chain, account, 600, T + 601),
        record_rules(chain, 1, 2, replace(RULES, band_ppm=2).pack(), time_s=T + 603),
    ]

    for one in done:
        assert hear(mirror, one) == one.direct_op

    assert mirror == chain


TAKER_ACCOUNT = Scenario.account_of(TAKER)


def hear(mirror: ChainState, done: DirectOperation) -> int:
    return apply_direct(mirror, done.kind, done.account_id, done.subject, done.word, done.time_s)


def link_message(seq: int) -> LinkKey:
    return LinkKey(
        owner=TAKER.address, key=KEY, key_expiry_s=T + 60, max_notional_quote=5, markets=0b10, expiry_s=T, seq=seq
    )


BATCHES: dict[str, Callable[[int], LinkKey | RevokeKey]] = {
    "link": link_message,
    "revoke": lambda seq: RevokeKey(owner=TAKER.address, key=KEY, expiry_s=T, seq=seq),
}
DIRECT: dict[str, Callable[[ChainState], DirectOperation]] = {
    "direct link": lambda state: record_key_link(state, TAKER_ACCOUNT, KEY, LIMITS.pack(), time_s=T),
    "direct revocation": lambda state: record_key_revocation(state, TAKER_ACCOUNT, KEY, time_s=T),
}
STORIES = [
    ("link", "direct revocation", "revoke"),
    ("revoke", "direct revocation", "link"),
    ("direct link", "link", "direct revocation"),
    ("direct link", "revoke", "direct revocation"),
    ("direct link", "direct revocation", "link"),
    ("direct link", "direct revocation", "revoke"),
    ("direct revocation", "link", "revoke"),
    ("direct revocation", "revoke", "link"),
]


def orders_a_mirror_may_see(story: tuple[str, ...]) -> list[list[int]]:
    """Return every order of the story's steps that keeps batches in order and direct operations in order."""
    places = range(len(story))
    direct = [place for place in places if story[place] in DIRECT]
    batched = [place for place in places if story[place] not in DIRECT]
    orders = []
    for slots in combinations(places, len(direct)):
        left = {True: iter(direct), False: iter(batched)}
        orders.append([next(left[place in slots]) for place in places])
    return orders


@pytest.mark.parametrize("story", STORIES, ids=" then ".join)
def test_mirror__any_order_of_batches_and_direct_operations__ends_with_the_chains_words(story: tuple[str, ...]) -> None:
    """The chain runs the story as written; a mirror runs its own batches and hears of direct operations whenever."""
    chain = Scenario()
    logs: dict[int, DirectOperation] = {}
    for place, step in enumerate(story):
        if step in DIRECT:
            logs[place] = DIRECT[step](chain.state)
        else:
            assert chain.settle(operations=[chain.operation(BATCHES[step](place + 1))]).codes == bytes(1)
    for order in orders_a_mirror_may_see(story):
        mirror = Scenario()
        for place in order:
            if place in logs:
                hear(mirror.state, logs[place])
            else:
                assert mirror.settle(operations=[mirror.operation(BATCHES[story[place]](place + 1))]).codes == bytes(1)

        assert mirror.state == chain.state, order


def test_open_batch__direct_operations_heard_meanwhile__survive_its_commit() -> None:
    scenario = Scenario()
    account = scenario.taker
    execution = Execution(scenario.state, T)
    row = scenario.operation(link_message(1))
    assert execution.apply_operation(row, domain_separator=None, recover=None) == C.OK
    assert execution.min_seq(account) == 0

    for direct in (
        cancel_all(scenario.state.copy(), account, 500, T),
        record_key_link(scenario.state.copy(), account, KEY, LIMITS.pack(), time_s=T),
        record_key_revocation(scenario.state.copy(), account, KEY, time_s=T + 1),
    ):
        hear(scenario.state, direct)
        execution.note_direct(account)
    execution.commit(batch_sequence=1, head=bytes(32))

    assert SessionKeyWord.unpack(scenario.state.session_key_word(account, KEY)) == SessionKeyWord(
        expiry_s=T + 60, max_notional_quote=5, markets=0b10, is_linked=True, revoked_at_s=T + 1
    )
    assert scenario.state.account(account).flags == 1
    assert scenario.state.effective_min_seq(account, T + LAG_S + 1) == 500
