"""What siblings may write into the Clearinghouse, and what it refuses even to them: value moves, it is never made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyrevm import AccountInfo

from afterbell.domain.order import Transfer
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, Venue, account_of, refused
from tests.support.chain import OUTSIDER

MAKER_ACCOUNT, TAKER_ACCOUNT, THIRD_ACCOUNT = (account_of(key) for key in (MAKER, TAKER, THIRD))


@pytest.fixture(scope="module")
def opened() -> Venue:
    """Return a venue where the maker is 1,000 lots short and the taker as many long; siblings may send."""
    venue = Venue.open()
    assert venue.trade().is_clean
    for name in ("Liquidations", "Exits", "CorporateActions"):
        # a sender with code is no sender (EIP-3607)
        venue.chain.evm.insert_account_info(venue.chain.addresses[name], AccountInfo(nonce=1, code=b""))
    return venue


@pytest.fixture
def venue(opened: Venue) -> Iterator[Venue]:
    with opened.chain.undone():
        yield opened


def move(venue: Venue, *deltas: tuple[int, int, int, int], pot: int = 0, sender: str = "Liquidations") -> Any:
    address = venue.chain.addresses.get(sender, OUTSIDER)
    ordered = sorted(deltas)
    return venue.chain.call("Clearinghouse", "apply_deltas", 1, ordered, pot, sender=address)


@pytest.mark.parametrize("sender", ["Liquidations", "Exits", "CorporateActions"])
def test_apply_deltas__half_a_position_to_another_account__books_and_open_interest_stand(
    venue: Venue, sender: str
) -> None:
    """500 of the maker's 1,000 short lots at 10,000 ticks go to THIRD, who is paid 1 USDC for them."""
    value = 5_000_000
    before = venue.position(MAKER_ACCOUNT).entry_quote
    move(
        venue, (MAKER_ACCOUNT, 500, value, -USDC), (THIRD_ACCOUNT, -500, -value, USDC), sender=sender
    )  # fmt: skip

    events = {event.name: event.args for event in venue.chain.events()}
    assert (venue.position(MAKER_ACCOUNT).size_lots, venue.position(THIRD_ACCOUNT).size_lots) == (-500, -500)
    assert venue.position(MAKER_ACCOUNT).entry_quote == before + value
    assert venue.account(THIRD_ACCOUNT).collateral_quote == USDC
    assert 1 in venue.account(THIRD_ACCOUNT).open_markets
    assert venue.totals().open_interest_lots == 1_000
    assert events["PositionsChanged"]["sequence"] == 0
    assert (events["DirectOperation"]["kind"], events["DirectOperation"]["key"]) == (5, 1)
    venue.check_books()


def test_apply_deltas__both_sides_closed__entries_realised_and_markets_left(venue: Venue) -> None:
    maker, taker = venue.position(MAKER_ACCOUNT), venue.position(TAKER_ACCOUNT)

    move(venue, (MAKER_ACCOUNT, 1_000, 10_000_000, 0), (TAKER_ACCOUNT, -1_000, -10_000_000, 0))

    assert venue.account(MAKER_ACCOUNT).collateral_quote == 10_000 * USDC - maker.entry_quote - 10_000_000
    assert venue.account(TAKER_ACCOUNT).collateral_quote == 10_000 * USDC - taker.entry_quote + 10_000_000
    assert not any(venue.account(MAKER_ACCOUNT).open_markets)
    assert venue.totals().open_interest_lots == 0
    venue.check_books()


def test_apply_deltas__anybody_else__refused(venue: Venue) -> None:
    with refused("caller: not a sibling"):
        move(venue, (MAKER_ACCOUNT, 0, 0, 0), sender="OUTSIDER")


def test_apply_deltas__sizes_that_do_not_cancel_or_that_grow__refused(venue: Venue) -> None:
    for deltas in (
        [(MAKER_ACCOUNT, 1, 0, 0)],
        [(MAKER_ACCOUNT, -1, 0, 0), (TAKER_ACCOUNT, 1, 0, 0)],  # open interest would grow
    ):
        with refused("deltas: sizes"):
            move(venue, *deltas)


@pytest.mark.parametrize(("collateral", "entry", "pot"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)])
def test_apply_deltas__value_made_of_nothing__refused(venue: Venue, collateral: int, entry: int, pot: int) -> None:
    with refused("deltas: value"):
        move(venue, (MAKER_ACCOUNT, 0, entry, collateral), pot=pot)


def test_apply_deltas__an_account_twice__refused(venue: Venue) -> None:
    with refused("deltas: account order"):
        move(venue, (MAKER_ACCOUNT, 0, 0, 0), (MAKER_ACCOUNT, 0, 0, 0))


def test_apply_deltas__a_seventh_market__refused(venue: Venue) -> None:
    venue.chain.write_word("accounts", THIRD_ACCOUNT << 16, 0x070605040302 << 200)

    with refused("deltas: open markets"):
        move(venue, (MAKER_ACCOUNT, 500, 0, 0), (THIRD_ACCOUNT, -500, 0, 0))


def test_move_market__by_liquidations__only_the_indices(venue: Venue) -> None:
    price = venue.chain.call("Clearinghouse", "price_word", 1)
    sender = venue.chain.addresses["Liquidations"]

    venue.chain.call("Clearinghouse", "move_market", 1, price, 7, sender=sender)

    assert venue.chain.call("Clearinghouse", "index_word", 1) == 7
    with refused("caller: not a sibling"):
        venue.chain.call("Clearinghouse", "move_market", 1, price + 1, 7, sender=sender)


def test_set_mode__settled__is_never_left_and_stops_batches(venue: Venue) -> None:
    sender = venue.chain.addresses["Exits"]
    venue.chain.call("Clearinghouse", "set_mode", 1, sender=sender)
    assert venue.settle(venue.pair(), [(0, 1, 100)]).fills == [46]
    venue.chain.call("Clearinghouse", "set_mode", 2, sender=sender)

    with refused("clearinghouse: settled"):
        venue.chain.call("Clearinghouse", "set_mode", 0, sender=sender)
    with refused("clearinghouse: settled"):
        venue.settle()


def test_transfer__between_subaccounts_of_one_owner__moves_the_sum_and_is_logged(venue: Venue) -> None:
    message = Transfer(
        owner=MAKER.address, quote=3 * USDC, to_subaccount=9, expiry_s=venue.chain.time_s + 60, seq=50_000
    )

    settled = venue.settle(operations=[venue.operation(message)])

    assert settled.operations == [0]
    assert venue.account(account_of(MAKER, 9)).collateral_quote == 3 * USDC
    assert settled.named("CollateralTransferred") == [
        {
            "account": MAKER_ACCOUNT, "receiver": account_of(MAKER, 9), "sequence": venue.chain.sequence,
            "quote": 3 * USDC,
        }
    ]  # fmt: skip
