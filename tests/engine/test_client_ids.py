"""A client id stands for one order of an account."""

from __future__ import annotations

from afterbell.engine.client_ids import MAX_CLIENT_IDS
from afterbell.engine.state import compute_state_hash
from tests.engine.outcomes import accepted_of, cancels_of, reason_of
from tests.engine.support import open_venue


def test_client_id__used_by_another_order__is_a_duplicate() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=1, client_id="a"))

    events = venue.place(1, "buy", 500, 9_990, lane=2, client_id="a")

    assert reason_of(events) == "DUPLICATE_CLIENT_ID"
    assert first.order_id.hex() in events[0].found  # type: ignore[union-attr]


def test_client_id__order_over__is_still_taken() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=1, client_id="a"))
    assert cancels_of(venue.cancel(1, first.nonce))

    assert reason_of(venue.place(1, "buy", 500, 9_990, lane=1, client_id="a")) == "DUPLICATE_CLIENT_ID"


def test_client_id__of_another_account__is_free() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990, client_id="a")

    assert accepted_of(venue.place(2, "buy", 500, 9_990, client_id="a"))


def test_client_id__of_a_refused_order__stays_free() -> None:
    venue = open_venue()
    assert reason_of(venue.place(1, "buy", 505, 9_990, client_id="a")) == "OFF_STEP"

    assert accepted_of(venue.place(1, "buy", 500, 9_990, client_id="a"))


def test_client_id__empty__is_none() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990, lane=1)

    assert accepted_of(venue.place(1, "buy", 500, 9_990, lane=2))
    assert venue.state.client_ids == {}


def test_client_id__same_order_again__is_dead_not_duplicate() -> None:
    """The gateway answers repeats; what reaches the engine all the same is judged by its lane."""
    venue = open_venue()
    command = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_990, client_id="a")
    venue.send(command)

    assert reason_of(venue.send(command)) == "DEAD_LANE"


def test_client_id__older_than_the_last_thousand__is_forgotten() -> None:
    venue = open_venue()
    for number in range(MAX_CLIENT_IDS):
        venue.place(1, "buy", 500, 9_990, client_id=f"id {number}")
    assert reason_of(venue.place(1, "buy", 500, 9_990, client_id="id 0")) == "DUPLICATE_CLIENT_ID"

    venue.place(1, "buy", 500, 9_990, client_id="one more")

    assert accepted_of(venue.place(1, "buy", 500, 9_990, client_id="id 0"))
    assert reason_of(venue.place(1, "buy", 500, 9_990, client_id="id 2")) == "DUPLICATE_CLIENT_ID"


def test_state_hash__client_id_differs__differs_even_when_the_order_is_over() -> None:
    first, second = open_venue(), open_venue()
    for venue, client_id in ((first, "a"), (second, "b")):
        venue.place(1, "buy", 500, 9_990, client_id=client_id)
        venue.cancel_all(1)

    assert compute_state_hash(first.state) != compute_state_hash(second.state)
