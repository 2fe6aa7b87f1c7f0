"""A stolen sequencer key, end to end: the guardian rotates, the old key is dead, the standby settles the next batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from afterbell.domain.batch import Payload, encode
from tests.contracts.government import FORTNIGHT_S, GUARDIAN, STANDBY, Call, execute, hand_over, schedule, wait
from tests.contracts.venue import MAKER, Venue, account_of, refused
from tests.support.chain import OUTSIDER, SEQUENCER

REGISTRY = "MarketRegistry"


@pytest.fixture(scope="module")
def opened() -> Venue:
    venue = Venue.open(n_markets=1)
    hand_over(venue.chain)
    return venue


@pytest.fixture
def venue(opened: Venue) -> Iterator[Venue]:
    with opened.chain.undone():
        yield opened


def build_trade(venue: Venue) -> Payload:
    return venue.table(venue.pair(), [(0, 1, 1_000)])


def test_rotation__by_the_guardian__old_key_refused_and_the_standby_goes_on(venue: Venue) -> None:
    chain = venue.chain
    venue.trade()
    sequence, head = chain.sequence, chain.head
    batch = encode(build_trade(venue))
    with refused("batch: not sequencer"):
        chain.settle(batch, sender=STANDBY)

    chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=GUARDIAN)

    assert [(event.name, event.args) for event in chain.events()] == [("SequencerSet", {"sequencer": STANDBY.lower()})]
    # Sequence and head stand: nothing that was acknowledged is lost, and the very batch the old key had ready settles.
    assert (chain.sequence, chain.head) == (sequence, head)
    with refused("batch: not sequencer"):
        chain.settle(batch, sender=SEQUENCER)
    chain.settle(batch, sender=STANDBY)
    assert chain.sequence == sequence + 1
    # Two sales of 1,000 lots: the maker sells to the taker.
    assert venue.position(account_of(MAKER)).size_lots == -2_000


def test_rotation__back_to_the_old_machine__needs_an_approval_of_a_fortnight(venue: Venue) -> None:
    chain = venue.chain
    chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=GUARDIAN)
    with refused("sequencer: not standby"):
        chain.call(REGISTRY, "rotate_sequencer", SEQUENCER, sender=GUARDIAN)

    approval = Call.of(chain, REGISTRY, "approve_sequencer", SEQUENCER)
    schedule(chain, approval)
    wait(chain, FORTNIGHT_S - 1)
    with refused("timelock_controller: operation is not ready"):
        execute(chain, approval)
    wait(chain, 1)
    execute(chain, approval)
    chain.call(REGISTRY, "rotate_sequencer", SEQUENCER, sender=STANDBY)

    with refused("batch: not sequencer"):
        chain.settle(encode(venue.table()), sender=STANDBY)
    chain.settle(encode(venue.table()), sender=SEQUENCER)


def test_rotation__to_a_stranger_through_a_cancelled_approval__never(venue: Venue) -> None:
    chain = venue.chain
    approval = Call.of(chain, REGISTRY, "approve_sequencer", OUTSIDER)
    schedule(chain, approval)
    chain.call("Timelock", "cancel", approval.call_id, sender=GUARDIAN)
    wait(chain, 2 * FORTNIGHT_S)

    with refused("timelock_controller: operation is not ready"):
        execute(chain, approval)
    with refused("sequencer: not standby"):
        chain.call(REGISTRY, "rotate_sequencer", OUTSIDER, sender=GUARDIAN)


@pytest.mark.parametrize("thief", [SEQUENCER, STANDBY])
def test_rotation__by_a_thief_of_a_machines_key__brings_an_approved_machine_at_most(venue: Venue, thief: str) -> None:
    """A key of a machine can only step aside for another that the governor approved."""
    chain = venue.chain
    if thief == STANDBY:
        with refused("caller: may not rotate"):
            chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=thief)
        return

    with refused("sequencer: not standby"):
        chain.call(REGISTRY, "rotate_sequencer", OUTSIDER, sender=thief)
