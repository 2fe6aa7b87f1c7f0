"""What a session key may do and what it may not, each limit with its negative one step beyond."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import OPERATION_SESSION_KEY, OrderRecord
from afterbell.domain.codes import StatusCode
from afterbell.domain.direct import approve
from afterbell.domain.errors import Faulted
from afterbell.domain.order import CancelAll, CancelOrder, LinkKey, Operation, RevokeKey, TimeInForce, Withdraw
from afterbell.domain.settlement import Execution, KeyChanged, TableOrder
from afterbell.domain.words import SessionKeyWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import digest
from tests.domain.scenario import DOMAIN, MAKER, OUTSIDER, TAKER, USDC, Scenario, T

C = StatusCode
KEY, OTHER_KEY = SigningKey(b"\x44" * 32), SigningKey(b"\x55" * 32)
DAY_S = 86_400
# Market 1 alone, 10 USDC an order: exactly the order of the scenario.
LIMITS = SessionKeyWord(expiry_s=T + 60, max_notional_quote=10 * USDC, markets=0b1, is_linked=True)
LAG_S = 300


def with_key(key: SigningKey = KEY, **changes: object) -> Scenario:
    """Return a quiet market whose taker has linked a key."""
    scenario = Scenario()
    put_key(scenario, key, **changes)
    return scenario


def put_key(scenario: Scenario, key: SigningKey = KEY, **changes: object) -> None:
    word = replace(LIMITS, **changes).pack()
    scenario.state.session_keys[scenario.taker << 160 | int.from_bytes(key.address, "big")] = word


def key_word(scenario: Scenario, key: SigningKey = KEY) -> SessionKeyWord:
    return SessionKeyWord.unpack(scenario.state.session_key_word(scenario.taker, key.address))


def taker_code(scenario: Scenario, **changes: object) -> int:
    """Trade once, the taker's order signed by the key; return that order's code."""
    result = scenario.trade(taker={"session_key": KEY} | changes)
    code = scenario.order_code(result, 1)
    assert list(result.fill_codes) == [C.ORDER_INVALID + 64 if code else C.OK]
    return code


def test_key_order__inside_every_limit__trades_for_the_account() -> None:
    scenario = with_key()

    assert taker_code(scenario) == C.OK
    assert scenario.size_of(scenario.taker) == 1_000


@pytest.mark.parametrize(
    ("code", "word", "order"),
    [
        (C.BAD_SIGNATURE, {"is_linked": False}, {}),
        (C.BAD_SIGNATURE, {}, {"session_key": OTHER_KEY}),
        (C.BAD_SIGNATURE, {}, {"session_key": TAKER}),
        (C.BAD_SIGNATURE, {}, {"record_changes": {"r": bytes(32)}}),
        (C.KEY_EXPIRED, {"expiry_s": T - 1}, {}),
        (C.OK, {"expiry_s": T}, {}),
        (C.KEY_EXPIRED, {"revoked_at_s": T - LAG_S - 1}, {}),
        (C.OK, {"revoked_at_s": T - LAG_S}, {}),
        (C.KEY_LIMIT, {"markets": 0b10}, {}),
        (C.OK, {"markets": 2**32 - 1}, {}),
        (C.KEY_LIMIT, {"reduce_only": True}, {}),
        (C.KEY_LIMIT, {"max_notional_quote": 10 * USDC - 1}, {}),
        # Bid at half the price: what counts is what a market order of this size would cost.
        (C.KEY_LIMIT, {"max_notional_quote": 10 * USDC - 1}, {"limit_ticks": 5_000}),
        (C.KEY_LIMIT, {}, {"limit_ticks": 10_005}),
        (C.OK, {"trade_only": True}, {}),
    ],
)
def test_key_order__at_each_limit_and_one_beyond__has_this_code(code: C, word: dict, order: dict) -> None:
    scenario = with_key(**word)

    result = scenario.trade(taker={"session_key": KEY} | order)

    assert scenario.order_code(result, 1) == code


def test_key_order__flag_taken_away__needs_the_owner() -> None:
    scenario = with_key()

    result = scenario.trade(taker={"signer": KEY})

    assert scenario.order_code(result, 1) == C.BAD_SIGNATURE


def test_key_order__mark_above_limit__counts_at_the_mark_and_external_too() -> None:
    """1,000 lots x 10,001 ticks are 10.001 USDC."""
    for price in ({"mark_ticks": 10_001}, {"external_ticks": 10_001}):
        scenario = with_key()
        scenario.set_price(**price)

        assert taker_code(scenario) == C.KEY_LIMIT


def test_key_order__reduce_only_key__closes() -> None:
    scenario = with_key(reduce_only=True)
    scenario.trade()
    orders = [
        scenario.order(MAKER, is_buy=True),
        scenario.order(TAKER, is_buy=False, session_key=KEY, reduce_only=True, time_in_force=TimeInForce.IOC, lane=0),
    ]

    result = scenario.settle(orders, [(0, 1, 1_000)])

    assert result.codes == bytes(3)
    assert scenario.size_of(scenario.taker) == 0


def test_key_order__several_flaws__are_told_in_the_order_of_the_readme() -> None:
    scenario = with_key(expiry_s=T - 1, markets=0b10)

    assert taker_code(scenario, expiry_s=T - 1) == C.EXPIRED
    assert taker_code(scenario) == C.KEY_EXPIRED


def test_key_order__key_of_another_subaccount__is_nobody() -> None:
    scenario = with_key()
    for subaccount, code in ((0, C.OK), (1, C.BAD_SIGNATURE)):
        result = scenario.settle([scenario.order(TAKER, is_buy=True, session_key=KEY, subaccount=subaccount)])

        assert list(result.codes) == [code]


# Without a signature: how the engine asks.


def ask_engine(scenario: Scenario, record: OrderRecord, signer: bytes | None) -> StatusCode:
    execution = Execution(scenario.state, T)
    return execution.check_order(scenario.taker, record, domain_separator=None, recover=None, signer=signer)


def test_check_order__signer_named_by_the_caller__is_judged_like_a_recovered_one() -> None:
    scenario = with_key(max_notional_quote=10 * USDC - 1)
    record = scenario.order(TAKER, is_buy=True, session_key=KEY)[1]

    assert ask_engine(scenario, record, KEY.address) == C.KEY_LIMIT
    assert ask_engine(scenario, record, OTHER_KEY.address) == C.BAD_SIGNATURE
    assert ask_engine(scenario, scenario.order(TAKER, is_buy=True)[1], None) == C.OK
    with pytest.raises(Faulted, match="name the session key"):
        ask_engine(scenario, record, None)


# Operations.


def link(**changes: object) -> LinkKey:
    fields: dict = {
        "owner": TAKER.address, "key": KEY.address, "key_expiry_s": T + 60, "max_notional_quote": 10 * USDC,
        "markets": 0b1, "expiry_s": T, "seq": 1,
    }  # fmt: skip
    return LinkKey(**(fields | changes))


def revoke(**changes: object) -> RevokeKey:
    fields: dict = {"owner": TAKER.address, "key": KEY.address, "expiry_s": T, "seq": 1}
    return RevokeKey(**(fields | changes))


def withdraw(**changes: object) -> Withdraw:
    fields: dict = {"owner": TAKER.address, "quote": 1, "recipient": TAKER.address, "expiry_s": T, "seq": 1}
    return Withdraw(**(fields | changes))


CANCEL = CancelOrder(owner=TAKER.address, order_nonce=1 << 40 | 5, expiry_s=T, seq=1)
CANCEL_ALL = CancelAll(owner=TAKER.address, min_seq=5, expiry_s=T, seq=1)


def test_link_key__signed_by_the_owner__is_written_and_told() -> None:
    scenario = Scenario()

    result = scenario.settle(operations=[scenario.operation(link(trade_only=True))])

    assert result.codes == bytes(1)
    assert key_word(scenario) == replace(LIMITS, trade_only=True)
    assert result.operations == (
        KeyChanged(account_id=scenario.taker, key=KEY.address, word=replace(LIMITS, trade_only=True).pack()),
    )


def test_link_key__order_of_the_same_batch__is_judged_after_it() -> None:
    scenario = Scenario()
    orders = [scenario.order(TAKER, is_buy=True, session_key=KEY)]

    assert list(scenario.settle(orders, operations=[scenario.operation(link())]).codes) == [C.OK, C.OK]


def test_revoke_key__order_of_the_same_batch__is_dead_already() -> None:
    scenario = with_key()
    orders = [scenario.order(TAKER, is_buy=True, session_key=KEY)]

    assert list(scenario.settle(orders, operations=[scenario.operation(revoke())]).codes) == [C.OK, C.KEY_EXPIRED]
    assert key_word(scenario) == SessionKeyWord(is_linked=True)


@pytest.mark.parametrize("message", [link(max_notional_quote=7), revoke()], ids=["link", "revoke"])
def test_key_operation__key_revoked_on_chain__keeps_the_time_of_it(message: Operation) -> None:
    scenario = with_key(revoked_at_s=T - 5)

    scenario.settle(operations=[scenario.operation(message)])

    assert key_word(scenario).revoked_at_s == T - 5
    assert key_word(scenario).max_notional_quote == (7 if isinstance(message, LinkKey) else 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": bytes(20)}, {"key": TAKER.address}, {"markets": 0}, {"max_notional_quote": 0},
        {"key_expiry_s": T + 180 * DAY_S + 1},
    ],
)  # fmt: skip
def test_link_key__bad_key_or_limits__is_refused_and_spends_its_nonce(changes: dict) -> None:
    scenario = Scenario()

    result = scenario.settle(operations=[scenario.operation(link(**changes)), scenario.operation(link())])

    assert list(result.codes) == [C.BAD_KEY, C.NONCE_CONSUMED]
    assert scenario.state.session_keys == {}


def test_link_key__exactly_180_days__is_linked() -> None:
    scenario = Scenario()

    assert scenario.settle(operations=[scenario.operation(link(key_expiry_s=T + 180 * DAY_S))]).codes == bytes(1)


@pytest.mark.parametrize(
    ("code", "message", "word"),
    [
        (C.OK, CANCEL, {}),
        (C.OK, CANCEL_ALL, {"trade_only": True}),
        (C.OK, withdraw(), {}),
        (C.KEY_LIMIT, withdraw(), {"trade_only": True}),
        (C.KEY_LIMIT, withdraw(recipient=KEY.address), {}),
        (C.KEY_LIMIT, link(key=OTHER_KEY.address), {}),
        (C.KEY_LIMIT, link(), {}),
        (C.KEY_LIMIT, revoke(), {}),
        (C.KEY_EXPIRED, CANCEL, {"expiry_s": T - 1}),
        (C.KEY_EXPIRED, withdraw(), {"revoked_at_s": T - LAG_S - 1}),
        (C.OK, withdraw(), {"revoked_at_s": T - LAG_S}),
        (C.BAD_SIGNATURE, CANCEL, {"is_linked": False}),
        (C.EXPIRED, withdraw(expiry_s=T - 1), {"is_linked": False}),
    ],
)
def test_key_operation__each_kind_and_limit__has_this_code(code: C, message: Operation, word: dict) -> None:
    scenario = with_key(**word)

    result = scenario.settle(operations=[scenario.operation(message, session_key=KEY)])

    assert list(result.codes) == [code]
    is_spent = scenario.state.lane(scenario.taker, 65_535)[0] == 1
    assert is_spent == (code == C.OK), "a key's failed authority never spends the owner's nonce"


def test_operation__key_flag_with_the_owners_signature__is_nobody() -> None:
    scenario = with_key()
    row = scenario.operation(withdraw())

    result = scenario.settle(operations=[replace(row, flags=OPERATION_SESSION_KEY)])

    assert list(result.codes) == [C.BAD_SIGNATURE]


def test_operations__link_then_cancel_then_revoke_in_one_batch__see_the_key_of_their_moment() -> None:
    scenario = Scenario()

    result = scenario.settle(
        operations=[
            scenario.operation(link(seq=1)),
            scenario.operation(replace(CANCEL, seq=2), session_key=KEY),
            scenario.operation(revoke(seq=3)),
            scenario.operation(replace(CANCEL, seq=4), session_key=KEY),
        ]
    )

    assert list(result.codes) == [C.OK, C.OK, C.OK, C.KEY_EXPIRED]


# Approved digests.


def test_approved_operation__digest_known__needs_no_signature() -> None:
    scenario = Scenario()
    message = link()
    approve(scenario.state, TAKER.address, digest(message, DOMAIN))

    result = scenario.settle(operations=[scenario.operation(message, approved=True)])

    assert result.codes == bytes(1)
    assert key_word(scenario) == LIMITS


@pytest.mark.parametrize("approver", [MAKER, OUTSIDER], ids=["maker", "outsider"])
def test_approved_operation__digest_of_another_owner__is_bad_signature(approver: SigningKey) -> None:
    scenario = Scenario()
    message = withdraw()
    approve(scenario.state, approver.address, digest(message, DOMAIN))

    assert list(scenario.settle(operations=[scenario.operation(message, approved=True)]).codes) == [C.BAD_SIGNATURE]


def test_approved_operation__another_digest__is_bad_signature() -> None:
    scenario = Scenario()
    approve(scenario.state, TAKER.address, digest(withdraw(), DOMAIN))
    other = scenario.operation(withdraw(quote=2), approved=True)

    assert list(scenario.settle(operations=[other]).codes) == [C.BAD_SIGNATURE]


def test_approved_operation__brought_twice__is_consumed() -> None:
    scenario = Scenario()
    approve(scenario.state, TAKER.address, digest(withdraw(), DOMAIN))
    row = scenario.operation(withdraw(), approved=True)

    assert list(scenario.settle(operations=[row, row]).codes) == [C.OK, C.NONCE_CONSUMED]


# An open batch.


def test_open_batch__key_linked_in_it__signs_operations_and_orders() -> None:
    scenario = Scenario()
    execution = Execution(scenario.state, T)
    record = scenario.order(TAKER, is_buy=True, session_key=KEY)[1]
    row = scenario.operation(link())

    def judge() -> StatusCode:
        return execution.check_order(scenario.taker, record, domain_separator=None, recover=None, signer=KEY.address)

    assert judge() == C.BAD_SIGNATURE
    assert execution.apply_operation(row, domain_separator=None, recover=None) == C.OK

    assert judge() == C.OK
    assert execution.session_key_word(scenario.taker, KEY.address) == LIMITS.pack()


def test_fork__key_operations_before_and_after__are_kept_apart() -> None:
    scenario = Scenario()
    execution = Execution(scenario.state, T)
    rows = [scenario.operation(message) for message in (link(), link(key=OTHER_KEY.address, seq=2))]
    execution.apply_operation(rows[0], domain_separator=None, recover=None)
    tried = execution.fork()

    assert tried.apply_operation(rows[1], domain_separator=None, recover=None) == C.OK

    keys = (KEY.address, OTHER_KEY.address)
    assert [tried.session_key_word(scenario.taker, key) for key in keys] == [LIMITS.pack()] * 2
    assert [execution.session_key_word(scenario.taker, key) for key in keys] == [LIMITS.pack(), 0]
    assert scenario.state.session_keys == {}


def test_apply_fill__order_judged_invalid_for_its_key__is_named_on_its_side() -> None:
    scenario = Scenario()
    maker, taker = scenario.order(MAKER, is_buy=False), scenario.order(TAKER, is_buy=True, session_key=KEY)
    execution = Execution(scenario.state, T)
    tables = [
        TableOrder(
            account_id=account,
            record=record,
            code=execution.check_order(account, record, domain_separator=None, recover=None, signer=KEY.address),
        )
        for account, record in (maker, taker)
    ]

    assert execution.apply_fill(*tables, 10).code == C.ORDER_INVALID + 64


# Seqs: a key spends none of the far future, which would outlive it.


@pytest.mark.parametrize(("beyond_ms", "code"), [(0, C.OK), (1, C.KEY_LIMIT)])
def test_key_order__seq_up_to_the_lag_after_the_match__then_later(beyond_ms: int, code: StatusCode) -> None:
    scenario = with_key()

    assert taker_code(scenario, seq=1_300_000 + beyond_ms) == code


@pytest.mark.parametrize(("beyond_ms", "code"), [(0, C.OK), (1, C.KEY_LIMIT)])
@pytest.mark.parametrize("what", ["nonce", "min_seq", "order_nonce", "withdrawal"])
def test_key_operation__seq_up_to_the_lag_after_the_match__then_later(
    what: str, beyond_ms: int, code: StatusCode
) -> None:
    scenario = with_key()
    common = {"owner": TAKER.address, "subaccount": 0, "expiry_s": T + 60, "seq": 7}
    latest = 1_300_000 + beyond_ms
    message: Operation = {
        "nonce": CancelAll(**common | {"seq": latest}, min_seq=0),
        "min_seq": CancelAll(**common, min_seq=latest),
        "order_nonce": CancelOrder(**common, order_nonce=9 << 40 | latest),
        "withdrawal": Withdraw(**common | {"seq": latest}, quote=1, recipient=TAKER.address),
    }[what]

    result = scenario.settle(operations=[scenario.operation(message, session_key=KEY)])

    assert list(result.codes) == [code]


def test_key_operation__last_nonce_of_the_owner__is_the_owners_own() -> None:
    scenario = with_key()
    message = CancelAll(owner=TAKER.address, subaccount=0, expiry_s=T + 60, seq=2**40 - 1, min_seq=2**40 - 1)

    assert list(scenario.settle(operations=[scenario.operation(message)]).codes) == [C.OK]
