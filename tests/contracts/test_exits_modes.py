"""Exit mode: who may call it, what it stops, how it ends; and the one-way door behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from pyrevm import AccountInfo

from afterbell.domain.batch import encode
from afterbell.domain.chain_state import Mode
from afterbell.domain.exits import Uptime
from afterbell.domain.hashing import keccak
from tests.contracts.leaving import DAY_S, HOUR_S, Exodus, open_exodus
from tests.contracts.venue import MAKER, TAKER, THIRD, TICKS, USDC, account_of, address_of, refused
from tests.support.chain import GENESIS_S, GOVERNOR, OUTSIDER, SEQUENCER, Chain
from tests.support.counterparts import compiled

LONG, SHORT = account_of(TAKER), account_of(MAKER)
OPENING_NOT_ALLOWED = 46


@pytest.fixture(scope="module")
def shared() -> Exodus:
    return open_exodus(lots=100_000)


@pytest.fixture
def exodus(shared: Exodus) -> Iterator[Exodus]:
    with shared.venue.chain.undone():
        yield shared.lent()


def clock(exodus: Exodus) -> tuple[int, ...]:
    """Return mode, last batch, overdue, entry open, exit open, since, settlement from."""
    return tuple(exodus.venue.chain.call("Exits", "mode_clock"))


def test_enter_exit_mode__after_a_day_of_silence__opens_a_second_later_and_not_before(exodus: Exodus) -> None:
    last = exodus.state.batch.matched_at_s
    exodus.venue.chain.set_time(last + DAY_S)
    assert clock(exodus) == (0, last, 0, False, False, 0, 0)
    with refused("exits: not due"):
        exodus.enter()
    exodus.wait(1)
    assert clock(exodus) == (0, last, 0, True, False, 0, 0)
    exodus.enter()
    now = exodus.now_s
    assert clock(exodus) == (1, last, 0, False, False, now, now + 7 * DAY_S)
    assert [event.name for event in exodus.logged] == ["ModeChanged", "DirectOperation"]


def test_enter_exit_mode__heartbeats_alone__are_no_silence(exodus: Exodus) -> None:
    for _ in range(3):
        exodus.wait(DAY_S)
        exodus.heartbeat()
    with refused("exits: not due"):
        exodus.enter()


def test_enter_exit_mode__twice__is_refused(exodus: Exodus) -> None:
    exodus.wait(DAY_S + 1)
    exodus.enter()
    with refused("exits: mode"):
        exodus.enter()


def test_enter_exit_mode__no_batch_ever__counts_from_genesis() -> None:
    bare = open_exodus(deposit_quote=0, is_priced=False)
    assert bare.state.batch.matched_at_s == 0
    bare.venue.chain.set_time(GENESIS_S + DAY_S)
    with refused("exits: not due"):
        bare.enter()
    bare.wait(1)
    bare.enter()


def test_exit_mode__batches__open_nothing_and_reduce_and_pay(exodus: Exodus) -> None:
    exodus.wait(DAY_S + 1)
    exodus.enter()
    exodus.set_prices({1: TICKS})
    venue = exodus.venue

    opening = venue.trade(1_000)
    assert opening.fills == [OPENING_NOT_ALLOWED]
    size = {"size_lots": 1_000}
    reducing = venue.trade(1_000, maker_buys=True, maker=size, taker=size)
    assert reducing.is_clean
    assert venue.settle(operations=[venue.withdraw(TAKER, 5 * USDC)]).is_clean
    assert venue.claim_of(address_of(TAKER)) == 5 * USDC
    venue.chain.deposit(LONG, USDC)


def test_exit_mode__deposits_and_requests__go_on(exodus: Exodus) -> None:
    exodus.wait(DAY_S + 1)
    exodus.enter()
    exodus.deposit(LONG, USDC)
    exodus.request_withdrawal(LONG, 2 * USDC)
    exodus.wait(6 * HOUR_S)
    assert exodus.force_withdrawal(LONG) == 2 * USDC


def test_leave_exit_mode__sequencer_silent__is_refused_until_a_batch(exodus: Exodus) -> None:
    exodus.wait(DAY_S + 1)
    exodus.enter()
    with refused("exits: not cleared"):
        exodus.leave()
    exodus.heartbeat()
    exodus.wait(HOUR_S)
    with refused("exits: not cleared"):
        exodus.leave()
    exodus.venue.chain.set_time(exodus.now_s - 1)
    assert clock(exodus)[4] is True
    exodus.leave()
    assert exodus.state.mode is Mode.NORMAL
    exodus.set_prices({1: TICKS})
    assert exodus.venue.trade(1_000).is_clean


def test_leave_exit_mode__a_close_overdue__is_refused_until_it_is_cleared(exodus: Exodus) -> None:
    """A sequencer that lives and serves nobody: somebody takes the position, or trading stays shut."""
    exodus.deposit(THIRD, 10_000 * USDC)
    exodus.announce(account_of(THIRD))
    exodus.request_close(LONG, 100_000, 0)
    exodus.wait(6 * HOUR_S)
    exodus.observe(LONG)
    exodus.wait(HOUR_S)
    exodus.observe(LONG)
    exodus.wait(12 * HOUR_S)
    exodus.heartbeat()
    exodus.wait(11 * HOUR_S)
    exodus.observe(LONG)
    exodus.heartbeat()
    exodus.enter()
    with refused("exits: not cleared"):
        exodus.leave()
    exodus.force_close(LONG, account_of(THIRD))
    exodus.leave()


def test_set_mode__by_anybody_but_exits__is_refused(exodus: Exodus) -> None:
    for sender in (OUTSIDER, SEQUENCER, GOVERNOR):
        with refused("caller: not exits"):
            exodus.venue.chain.call("Clearinghouse", "set_mode", 2, sender=sender)


def test_leave_exit_mode__outside_it__is_refused(exodus: Exodus) -> None:
    with refused("exits: mode"):
        exodus.leave()


def test_start_final_settlement__one_second_before_seven_days__is_not_due(exodus: Exodus) -> None:
    exodus.wait(DAY_S + 1)
    exodus.enter()
    exodus.wait(7 * DAY_S - 1)
    with refused("exits: not due"):
        exodus.start_settlement()
    exodus.wait(1)
    exodus.start_settlement()
    assert clock(exodus)[0] == 2


def test_start_final_settlement__outside_exit_mode__is_refused(exodus: Exodus) -> None:
    exodus.wait(30 * DAY_S)
    with refused("exits: mode"):
        exodus.start_settlement()


def test_start_final_settlement__exit_mode_left_and_entered_again__counts_from_the_second(exodus: Exodus) -> None:
    exodus.wait(DAY_S + 1)
    exodus.enter()
    exodus.wait(6 * DAY_S)
    exodus.heartbeat()
    exodus.leave()
    exodus.wait(DAY_S + 1)
    exodus.enter()
    exodus.wait(6 * DAY_S)
    with refused("exits: not due"):
        exodus.start_settlement()


def test_final_settlement__everything_else__is_refused_for_good(exodus: Exodus) -> None:
    exodus.announce(account_of(THIRD))
    exodus.request_withdrawal(LONG, USDC)
    exodus.request_close(LONG, 1, 0)
    exodus.settle_finally()
    chain, venue = exodus.venue.chain, exodus.venue

    with refused("clearinghouse: settled"):
        chain.settle(encode(venue.table()))
    with refused("clearinghouse: settled"):
        chain.deposit(LONG, USDC)
    for step in (
        lambda: exodus.request_withdrawal(SHORT, USDC),
        lambda: exodus.request_close(SHORT, 1, 0),
        lambda: exodus.force_withdrawal(LONG),
        lambda: exodus.force_close(LONG, account_of(THIRD)),
        lambda: exodus.observe(LONG),
    ):
        with refused("exits: settled"):
            step()
    for step in (exodus.enter, exodus.leave, exodus.start_settlement):
        with refused("exits: mode"):
            step()
    with refused("clearinghouse: settled"):
        chain.call("Operations", "cancel_all", 0, 0, sender=address_of(TAKER))
    assert venue.price().external_ticks == TICKS


def test_final_settlement__siblings__move_nothing_that_is_tallied() -> None:
    """Their code is taken away, so that revm lets the test speak as them."""
    exodus = open_exodus(lots=100_000)
    chain = exodus.venue.chain
    price = chain.call("Clearinghouse", "price_word", 1)
    deltas = sorted([(LONG, -1, 0, 0), (SHORT, 1, 0, 0)])
    attempts: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
        ("Liquidations", "apply_deltas", (1, deltas, 0)),
        ("CorporateActions", "apply_deltas", (1, deltas, 0)),
        ("Liquidations", "move_market", (1, price, 1)),
        ("CorporateActions", "move_market", (1, price + 1, 0)),
    )
    for sibling in ("Liquidations", "CorporateActions"):
        chain.evm.insert_account_info(chain.addresses[sibling], AccountInfo())
    for sibling, function, arguments in attempts:
        with chain.undone():
            chain.call("Clearinghouse", function, *arguments, sender=chain.addresses[sibling])
    exodus.settle_finally()
    for sibling, function, arguments in attempts:
        with refused("clearinghouse: settled"):
            chain.call("Clearinghouse", function, *arguments, sender=chain.addresses[sibling])


# The uptime feed: Chainlink's own stand-in for the one of an L2.


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A venue on a chain with an uptime feed."""

    exodus: Exodus
    address: str

    def report(self, *, is_up: bool, since_s: int) -> None:
        """Say since when the chain is up or down; 0 = up."""
        words = abi_encode(["uint80", "int256", "uint256", "uint256"], [2, 0 if is_up else 1, since_s, since_s])
        selector = keccak(b"updateRoundData(uint80,int256,uint256,uint256)")[:4]
        self.exodus.venue.chain.transact(OUTSIDER, self.address, selector + words)
        self.exodus.uptime = Uptime(is_up=is_up, since_s=since_s)


def make_feed(chain: Chain) -> str:
    return chain.create_code(compiled("Aggregator").creation_code + abi_encode(["uint8", "int256"], [0, 0]))


@pytest.fixture(scope="module")
def shared_feed() -> Feed:
    made: list[str] = []

    def make(chain: Chain) -> str:
        made.append(make_feed(chain))
        return made[0]

    exodus = open_exodus(make_uptime_feed=make)
    return Feed(exodus=exodus, address=made[0])


@pytest.fixture
def feed(shared_feed: Feed) -> Iterator[Feed]:
    with shared_feed.exodus.venue.chain.undone():
        yield Feed(exodus=shared_feed.exodus.lent(), address=shared_feed.address)


def test_enter_exit_mode__chain_was_down__its_time_does_not_count_as_silence(feed: Feed) -> None:
    """Down for 20 h after the last batch, up again: the sequencer has a whole day from then."""
    exodus, last = feed.exodus, feed.exodus.state.batch.matched_at_s
    feed.report(is_up=True, since_s=last + 20 * HOUR_S)
    exodus.venue.chain.set_time(last + 44 * HOUR_S)
    with refused("exits: not due"):
        exodus.enter()
    exodus.wait(1)
    exodus.enter()


def test_enter_exit_mode__feed_says_down__waits_a_second_day_and_no_longer(feed: Feed) -> None:
    exodus, last = feed.exodus, feed.exodus.state.batch.matched_at_s
    feed.report(is_up=False, since_s=last)
    exodus.venue.chain.set_time(last + 2 * DAY_S)
    with refused("exits: not due"):
        exodus.enter()
    exodus.wait(1)
    exodus.enter()


def test_enter_exit_mode__chain_always_up__a_day_as_without_a_feed(feed: Feed) -> None:
    exodus, last = feed.exodus, feed.exodus.state.batch.matched_at_s
    feed.report(is_up=True, since_s=last - 100 * DAY_S)
    exodus.venue.chain.set_time(last + DAY_S)
    with refused("exits: not due"):
        exodus.enter()
    exodus.wait(1)
    exodus.enter()


def test_enter_exit_mode__feed_that_is_gone__stops_nobody_after_two_days() -> None:
    exodus = open_exodus(make_uptime_feed=lambda _: OUTSIDER)
    exodus.uptime = Uptime(is_up=False, since_s=0)
    exodus.venue.chain.set_time(exodus.state.batch.matched_at_s + 2 * DAY_S)
    with refused(""):
        exodus.venue.chain.call("Exits", "enter_exit_mode")
    exodus.wait(1)
    exodus.enter()
