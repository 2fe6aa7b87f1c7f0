"""One order, many fills, many batches: where batches are cut changes nothing but the cuts."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from afterbell.domain.batch import decode
from afterbell.domain.events import BatchSealed, FillMatched
from afterbell.domain.order import TimeInForce
from afterbell.engine.queries import find_order
from tests.engine.contract import Contract
from tests.engine.outcomes import accepted_of, fills_of
from tests.engine.support import Venue, account, open_venue

LANE = 3


@dataclass(frozen=True)
class Take:
    """A taker's order and what happens after it."""

    size_lots: int
    is_buy: bool
    is_sealed: bool
    is_priced: bool


takes = st.lists(
    st.builds(
        Take,
        size_lots=st.integers(20, 60).map(lambda steps: steps * 10),
        is_buy=st.booleans(),
        is_sealed=st.booleans(),
        is_priced=st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


def run(history: list[Take], size_lots: int, *, are_cut: bool) -> tuple[Venue, bytes]:
    """Quote an ask at 10,010 and a bid at 9,990 by participant 1; 2 buys, 3 sells. Return the ask's id."""
    venue = open_venue()
    ask = accepted_of(venue.place(1, "sell", size_lots, 10_010, lane=LANE))
    venue.place(1, "buy", size_lots, 9_990, lane=LANE + 1)
    for take in history:
        venue.place(
            2 if take.is_buy else 3,
            "buy" if take.is_buy else "sell",
            take.size_lots,
            10_010 if take.is_buy else 9_990,
            time_in_force=TimeInForce.IOC,
        )
        if are_cut and take.is_sealed and venue.state.has_open_batch:
            venue.seal()
        if take.is_priced:
            venue.time_ms += 3_000
            if are_cut:
                venue.prices(10_000)
    venue.seal()
    return venue, ask.order_id


@settings(max_examples=40, deadline=None)
@given(history=takes, size_steps=st.integers(20, 200))
def test_order__cut_anywhere_into_batches__fills_add_up_and_the_accounts_end_the_same(
    history: list[Take], size_steps: int
) -> None:
    """Each take fills what is left of the ask (or bid): worked out here by subtraction, in money by hand.

    A buyer of lots at 10,010 pays ceil(lots x 10,010 x 400 / 1e6), the maker ceil(lots x 10,010 x 100 / 1e6), per fill.
    """
    size_lots = size_steps * 10
    expected: list[tuple[int, int]] = []
    left = {True: size_lots, False: size_lots}
    for take in history:
        lots = min(take.size_lots, left[take.is_buy])
        left[take.is_buy] -= lots
        if lots:
            expected.append((10_010 if take.is_buy else 9_990, lots))

    venue, ask_id = run(history, size_lots, are_cut=True)
    uncut, _ = run(history, size_lots, are_cut=False)

    assert fills_of(venue.events) == fills_of(uncut.events) == expected
    filled_lots = size_lots - left[True]
    view = find_order(venue.state, ask_id)
    assert (view.filled_lots, view.remaining_lots) == (filled_lots, left[True]) if view else left[True] == 0
    assert venue.state.chain.lane(account(1), LANE)[1] == filled_lots
    fees_quote = sum(-(-price * lots * rate // 1_000_000) for price, lots in expected for rate in (100, 400))
    assert venue.state.chain.batch.fees_quote == fees_quote
    for number in (1, 2, 3):
        assert venue.state.chain.account(account(number)) == uncut.state.chain.account(account(number))
        assert venue.state.chain.position(account(number), 1) == uncut.state.chain.position(account(number), 1)
    must_settle_on_chain(venue, ask_id)


def must_settle_on_chain(venue: Venue, ask_id: bytes) -> None:
    """Every batch passes a contract that recovers signatures; the ask stands once in each batch it fills in."""
    contract = Contract()
    fill_batches: set[int] = set()
    for (_, _, command), events in zip(venue.frames, venue.outcomes, strict=True):
        contract.follow(command, events)
        for event in events:
            if isinstance(event, FillMatched) and event.maker_order_id == ask_id:
                fill_batches.add(event.sequence)
            if isinstance(event, BatchSealed):
                assert not any(event.codes)
                n_asks = sum(
                    (order.lane, order.is_buy) == (LANE, False)
                    for record in decode(event.payload).accounts
                    for order in record.orders
                )
                assert n_asks == (event.sequence in fill_batches)
    assert contract.chain == venue.state.chain
