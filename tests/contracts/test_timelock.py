"""The Timelock: nothing sooner than a fortnight, nobody above it, what was cancelled stays dead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.contracts.government import (
    EXECUTOR,
    FORTNIGHT_S,
    GOVERNED,
    GUARDIAN,
    PROPOSER,
    ROLES,
    STANDBY,
    Call,
    execute,
    hand_over,
    schedule,
    wait,
)
from tests.contracts.venue import RULES, refused
from tests.support.chain import DEPLOYER, GOVERNOR, OUTSIDER, ZERO_ADDRESS, Chain, artifacts

REGISTRY: Final = "MarketRegistry"
UNSET, WAITING, READY, DONE = 1, 2, 4, 8
NOT_READY: Final = "timelock_controller: operation is not ready"
MISSING_ROLE: Final = "access_control: account is missing role"


@pytest.fixture(scope="module")
def deployed() -> Chain:
    chain = Chain.deploy()
    chain.list_market(1, RULES.pack())
    return hand_over(chain)


@pytest.fixture
def chain(deployed: Chain) -> Iterator[Chain]:
    # A Timelock that a test creates is forgotten again.
    addresses = dict(deployed.addresses)
    with deployed.undone():
        yield deployed
    deployed.addresses = addresses


@pytest.fixture
def approval(chain: Chain) -> Call:
    return Call.of(chain, REGISTRY, "approve_sequencer", OUTSIDER)


def state_of(chain: Chain, call: Call) -> int:
    return int(chain.call("Timelock", "get_operation_state", call.call_id))


# The constructor.


@pytest.mark.parametrize("delay_s", [0, 1, FORTNIGHT_S - 1])
def test_timelock__delay_below_a_fortnight__is_not_deployed(chain: Chain, delay_s: int) -> None:
    with refused("timelock: delay below 14 days"):
        chain.create("Timelock", delay_s, [PROPOSER], [EXECUTOR], GUARDIAN)


def test_timelock__exit_ladder__is_the_one_of_exits_and_shorter_than_every_delay() -> None:
    """Forced from 6 h on; an hour of auction and 23 h without a taker make it overdue; 7 days of exit mode."""
    contracts = Path(__file__).resolve().parents[2] / "contracts"

    def read(contract: str, name: str) -> int:
        found = re.search(
            rf"^{name}: constant\(uint256\) = ([0-9_ *+()]+)$", (contracts / contract).read_text(), re.MULTILINE
        )
        assert found is not None
        return int(eval(found[1]))

    steps = [read("Exits.vy", name) for name in ("FORCE_DELAY_S", "AUCTION_S", "WAIT_S", "EXIT_MODE_S")]

    assert sum(steps) == read("Timelock.vy", "EXIT_LADDER_S") == 712_800
    assert read("Timelock.vy", "EXIT_LADDER_S") < FORTNIGHT_S == read("Timelock.vy", "MIN_DELAY_S")


@pytest.mark.parametrize("delay_s", [FORTNIGHT_S, 10 * FORTNIGHT_S])
def test_timelock__delay_of_a_fortnight_or_more__is_kept(chain: Chain, delay_s: int) -> None:
    chain.create("Timelock", delay_s, [PROPOSER], [EXECUTOR], GUARDIAN)

    assert chain.call("Timelock", "get_minimum_delay") == delay_s


@pytest.mark.parametrize(
    ("proposers", "executors", "guardian"),
    [
        ([], [EXECUTOR], GUARDIAN),
        ([PROPOSER], [], GUARDIAN),
        ([PROPOSER, ZERO_ADDRESS], [EXECUTOR], GUARDIAN),
        # To snekmate the zero address as executor means everybody.
        ([PROPOSER], [ZERO_ADDRESS], GUARDIAN),
        ([PROPOSER], [EXECUTOR], ZERO_ADDRESS),
    ],
)
def test_timelock__role_for_nobody__is_not_deployed(
    chain: Chain, proposers: list[str], executors: list[str], guardian: str
) -> None:
    with refused("wiring: zero address"):
        chain.create("Timelock", FORTNIGHT_S, proposers, executors, guardian)


def test_timelock__deployed__each_holds_one_role_and_nobody_is_admin(chain: Chain) -> None:
    people = {
        "proposer": PROPOSER, "executor": EXECUTOR, "guardian": GUARDIAN, "deployer": DEPLOYER, "first": GOVERNOR,
        "outsider": OUTSIDER, "everybody": ZERO_ADDRESS, "itself": chain.addresses["Timelock"],
    }  # fmt: skip

    held = {
        name: [role for role, role_id in ROLES.items() if chain.call("Timelock", "hasRole", role_id, person)]
        for name, person in people.items()
    }

    assert held == {
        "proposer": ["PROPOSER_ROLE"], "executor": ["EXECUTOR_ROLE"], "guardian": ["CANCELLER_ROLE"], "deployer": [],
        "first": [], "outsider": [], "everybody": [], "itself": ["DEFAULT_ADMIN_ROLE"],
    }  # fmt: skip
    assert {chain.call("Timelock", name): name for name in ROLES} == {role_id: name for name, role_id in ROLES.items()}
    assert {chain.call("Timelock", "getRoleAdmin", role_id) for role_id in ROLES.values()} == {bytes(32)}


def test_timelock__created__tells_every_role_it_gave(chain: Chain) -> None:
    """snekmate lets proposers cancel too; the constructor takes that back, in the same transaction."""
    both = "0x" + "ab" * 20
    chain.create("Timelock", FORTNIGHT_S, [PROPOSER, both], [EXECUTOR], both)

    balance: dict[tuple[str, str], int] = {}
    for event in chain.events():
        if event.name in ("RoleGranted", "RoleRevoked"):
            name = next(name for name, role_id in ROLES.items() if role_id == event.args["role"])
            key = (name, event.args["account"])
            balance[key] = balance.get(key, 0) + (1 if event.name == "RoleGranted" else -1)
    assert {key for key, n_held in balance.items() if n_held} == {
        ("DEFAULT_ADMIN_ROLE", chain.addresses["Timelock"].lower()),
        ("PROPOSER_ROLE", PROPOSER.lower()),
        ("PROPOSER_ROLE", both),
        ("EXECUTOR_ROLE", EXECUTOR.lower()),
        ("CANCELLER_ROLE", both),
    }
    assert [event.args for event in chain.events() if event.name == "MinimumDelayChange"] == [
        {"old_duration": 0, "new_duration": FORTNIGHT_S}
    ]


def test_timelock__abi__has_nothing_that_changes_the_delay_or_the_admins() -> None:
    names = {entry["name"] for entry in artifacts()["Timelock"].abi if entry["type"] == "function"}

    assert not names & {"update_delay", "set_role_admin", "schedule_batch", "execute_batch"}


# A call's life.


def test_call__from_word_to_deed__takes_a_fortnight_to_the_second(chain: Chain, approval: Call) -> None:
    begun_s = chain.time_s
    schedule(chain, approval)
    assert [(event.name, event.args) for event in chain.events()] == [
        (
            "CallScheduled",
            {
                "id": approval.call_id, "index": 0, "target": chain.addresses[REGISTRY].lower(), "amount": 0,
                "payload": approval.calldata, "predecessor": bytes(32), "delay": FORTNIGHT_S,
            },
        )
    ]  # fmt: skip
    assert chain.call("Timelock", "get_timestamp", approval.call_id) == begun_s + FORTNIGHT_S
    assert chain.call("Timelock", "hash_operation", *approval.arguments) == approval.call_id

    wait(chain, FORTNIGHT_S - 1)
    assert state_of(chain, approval) == WAITING
    with refused(NOT_READY):
        execute(chain, approval)
    assert not chain.call(REGISTRY, "is_standby", OUTSIDER)
    wait(chain, 1)
    assert state_of(chain, approval) == READY
    execute(chain, approval)

    assert [event.name for event in chain.events()] == ["SequencerApproved", "CallExecuted"]
    assert chain.call(REGISTRY, "is_standby", OUTSIDER)
    assert state_of(chain, approval) == DONE
    with refused(NOT_READY):
        execute(chain, approval)
    with refused("timelock_controller: operation already scheduled"):
        schedule(chain, approval)


def test_schedule__delay_below_the_least__reverts(chain: Chain, approval: Call) -> None:
    with refused("timelock_controller: insufficient delay"):
        schedule(chain, approval, delay_s=FORTNIGHT_S - 1)


def test_schedule__longer_delay__holds(chain: Chain, approval: Call) -> None:
    schedule(chain, approval, delay_s=2 * FORTNIGHT_S)

    wait(chain, 2 * FORTNIGHT_S - 1)
    with refused(NOT_READY):
        execute(chain, approval)


def test_execute__other_calldata_than_was_shown__reverts(chain: Chain, approval: Call) -> None:
    schedule(chain, approval)
    wait(chain, FORTNIGHT_S)

    with refused(NOT_READY):
        execute(chain, Call.of(chain, REGISTRY, "approve_sequencer", PROPOSER))


def test_execute__after_another_call__waits_for_it(chain: Chain, approval: Call) -> None:
    second = Call.of(chain, REGISTRY, "rotate_sequencer", OUTSIDER, predecessor=approval.call_id, salt=b"\x01" * 32)
    schedule(chain, approval)
    schedule(chain, second)
    assert [event.args for event in chain.events() if event.name == "CallSalt"] == [
        {"id": second.call_id, "salt": b"\x01" * 32}
    ]
    wait(chain, FORTNIGHT_S)

    with refused("timelock_controller: missing dependency"):
        execute(chain, second)
    execute(chain, approval)
    execute(chain, second)

    assert chain.call("Clearinghouse", "operator_word") & (1 << 160) - 1 == int(OUTSIDER, 16)


def test_execute__call_that_reverts__tells_its_reason_and_may_be_tried_again(chain: Chain) -> None:
    rules = RULES.pack()
    call = Call.of(chain, REGISTRY, "set_rules", 1, [(2, rules)])
    schedule(chain, call)
    wait(chain, FORTNIGHT_S)
    chain.call(REGISTRY, "tighten_rules", 1, 2, rules, sender=GUARDIAN)

    with refused("rules: pending"):
        execute(chain, call)

    # 2 x 300 s after a change in the same session, and not sooner.
    wait(chain, 600)
    with refused("rules: pending"):
        execute(chain, call)
    wait(chain, 1)
    execute(chain, call)
    assert state_of(chain, call) == DONE


# Cancelling.


@pytest.mark.parametrize("waited_s", [0, FORTNIGHT_S])
def test_cancel__by_the_guardian__the_call_stays_dead(chain: Chain, approval: Call, waited_s: int) -> None:
    schedule(chain, approval)
    wait(chain, waited_s)

    chain.call("Timelock", "cancel", approval.call_id, sender=GUARDIAN)

    assert [(event.name, event.args) for event in chain.events()] == [("Cancelled", {"id": approval.call_id})]
    assert state_of(chain, approval) == UNSET
    wait(chain, 10 * FORTNIGHT_S)
    with refused(NOT_READY):
        execute(chain, approval)
    assert not chain.call(REGISTRY, "is_standby", OUTSIDER)
    # Proposed anew it waits anew.
    schedule(chain, approval)
    with refused(NOT_READY):
        execute(chain, approval)


def test_cancel__what_nobody_scheduled_or_what_is_done__reverts(chain: Chain, approval: Call) -> None:
    reason = "timelock_controller: operation cannot be cancelled"
    with refused(reason):
        chain.call("Timelock", "cancel", approval.call_id, sender=GUARDIAN)
    schedule(chain, approval)
    wait(chain, FORTNIGHT_S)
    execute(chain, approval)

    with refused(reason):
        chain.call("Timelock", "cancel", approval.call_id, sender=GUARDIAN)


# Its own roles, and what it governs.


def test_roles__changed_by_a_call_to_itself__after_a_fortnight_only(chain: Chain, approval: Call) -> None:
    grant = Call.of(chain, "Timelock", "grantRole", ROLES["PROPOSER_ROLE"], OUTSIDER)
    revoke = Call.of(chain, "Timelock", "revokeRole", ROLES["PROPOSER_ROLE"], PROPOSER)
    for call in (grant, revoke):
        schedule(chain, call)
    with refused(MISSING_ROLE):
        schedule(chain, approval, sender=OUTSIDER)
    wait(chain, FORTNIGHT_S)
    for call in (grant, revoke):
        execute(chain, call)

    with refused(MISSING_ROLE):
        schedule(chain, approval)
    schedule(chain, approval, sender=OUTSIDER)


@pytest.mark.parametrize("contract", GOVERNED)
def test_governorship__once_taken__leaves_through_the_timelock_alone(chain: Chain, contract: str) -> None:
    timelock = chain.addresses["Timelock"]
    assert chain.call(contract, "governor") == timelock.lower()
    with refused("caller: not governor"):
        chain.call(contract, "propose_governor", OUTSIDER, sender=GOVERNOR)
    offer = Call.of(chain, contract, "propose_governor", OUTSIDER)
    schedule(chain, offer)
    wait(chain, FORTNIGHT_S)
    execute(chain, offer)

    # Nobody can make the Timelock take it back, and only the one named may take it.
    chain.call("Timelock", "accept", chain.addresses[contract])
    chain.call(contract, "accept_governor", sender=OUTSIDER)
    assert chain.call(contract, "governor") == OUTSIDER.lower()
    with refused("caller: not pending governor"):
        chain.call("Timelock", "accept", chain.addresses[contract])


def test_accept__called_by_a_stranger_first__the_deployments_own_call_passes(chain: Chain) -> None:
    spare = chain.create("SignedPriceSource", GOVERNOR, [OUTSIDER], 1)
    chain.call("SignedPriceSource", "propose_governor", chain.addresses["Timelock"], sender=GOVERNOR)

    chain.call("Timelock", "accept", spare, sender=OUTSIDER)
    chain.call("Timelock", "accept", spare, sender=DEPLOYER)

    assert chain.events() == []
    assert chain.call("SignedPriceSource", "governor") == chain.addresses["Timelock"].lower()


def test_accept__of_a_contract_that_offered_nothing__reverts(chain: Chain) -> None:
    spare = chain.create("SignedPriceSource", GOVERNOR, [OUTSIDER], 1)

    with refused("caller: not pending governor"):
        chain.call("Timelock", "accept", spare)


# The sequencer, end to end on the registry; a batch of each key stands in test_sequencer_rotation.py.


def test_rotation__planned_by_the_governor__needs_no_guardian(chain: Chain) -> None:
    call = Call.of(chain, REGISTRY, "rotate_sequencer", STANDBY)
    schedule(chain, call)
    wait(chain, FORTNIGHT_S)
    execute(chain, call)

    assert chain.call("Clearinghouse", "operator_word") & (1 << 160) - 1 == int(STANDBY, 16)
