"""Nobody can void an acknowledged fill: every way a user might try, between match and batch, with 63 other fills.

A batch of 64 fills was matched; before it settles, one user acts on chain or hands the sequencer an operation. Direct
acts bind SETTLE_LAG after they are made, so the whole batch lands. What a user signs for a batch goes into a later one:
the sealer cuts where an operation follows a fill of its own account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import pytest
from pyrevm import AccountInfo

from afterbell.domain.batch import OperationRow, OrderRecord, encode
from afterbell.domain.codes import StatusCode
from afterbell.domain.order import CancelAll, CancelOrder, Operation, RevokeKey, Withdraw
from afterbell.signing.keys import SigningKey
from tests.contracts.ladder import KEEPER, LONG_ID, open_pair
from tests.contracts.venue import USDC, Venue, account_of, address_of, refused
from tests.support.chain import GOVERNOR, OUTSIDER, SEQUENCER

N_FILLS: Final = 64
SETTLE_LAG_S: Final = 300
ORDER_INVALID_TAKER: Final = 32 + 64
N_TRADERS: Final = 16
VICTIM: Final = SigningKey(b"\x51" * 32)
KEY: Final = SigningKey(b"\x52" * 32)
LIMITS: Final = (2**32 - 1) << 104 | (10**12) << 40


def trader(number: int) -> SigningKey:
    return SigningKey(bytes([0x60 + number]) * 32)


@dataclass(slots=True)
class Match:
    """A venue and what it matched, the victim's order among it."""

    venue: Venue
    orders: list[tuple[int, OrderRecord]] = field(default_factory=list)
    matched_at_s: int = 0


@cache
def opened() -> Venue:
    """Return one venue for all tests, its traders funded and the victim's key linked; each test undoes what it did."""
    venue = Venue.open()
    for key in (*(trader(number) for number in range(N_TRADERS)), VICTIM):
        venue.chain.deposit(account_of(key), 1_000 * USDC)
    limits = LIMITS | venue.chain.time_s + 86_400
    venue.chain.call("Operations", "link_key", 0, address_of(KEY), limits, sender=address_of(VICTIM))
    return venue


@pytest.fixture
def match() -> Iterator[Match]:
    """Match 32 pairs of orders of 16 traders; the first buyer is the victim, whose key signed."""
    venue = opened()
    with venue.chain.undone():
        made = Match(venue, matched_at_s=venue.chain.time_s)
        seqs = iter(range(1_000, 10_000))
        lanes = dict.fromkeys(range(N_TRADERS), 0)
        for place in range(N_FILLS // 2):
            seller, buyer = place % N_TRADERS, (place + 1 + place // N_TRADERS) % N_TRADERS
            for number, is_buy in ((seller, False), (buyer, True)):
                lanes[number] += 1
                made.orders.append(venue.order(trader(number), is_buy=is_buy, lane=lanes[number], seq=next(seqs)))
        made.orders[1] = venue.order(
            VICTIM, is_buy=True, lane=0, seq=next(seqs), expiry_s=made.matched_at_s, signer=KEY,
            record_changes={"flags": 1 | 1 << 7},
        )  # fmt: skip
        yield made


def list_fills(made: Match) -> list[tuple[int, int, int]]:
    """List 64 fills: the victim's first, then the other pairs again and again."""
    pairs = [(2 * place, 2 * place + 1, 100) for place in range(len(made.orders) // 2)]
    return [pairs[0], *(pairs[1 + place % (len(pairs) - 1)] for place in range(N_FILLS - 1))]


def settle(made: Match) -> None:
    """Settle the batch as it was matched: all 64 fills land, the victim's among them."""
    settled = made.venue.settle(made.orders, list_fills(made), matched_at_s=made.matched_at_s)
    assert (settled.orders, settled.fills) == ([0] * len(made.orders), [0] * N_FILLS)
    assert made.venue.position(account_of(VICTIM)).size_lots == 100


def as_victim(made: Match, contract: str, function: str, *arguments: Any) -> None:
    made.venue.chain.call(contract, function, *arguments, sender=address_of(VICTIM))


def test_fill__of_a_batch_nobody_acted_against__lands(match: Match) -> None:
    settle(match)


def test_fill__user_cancels_everything_directly__lands_until_the_lag_is_over(match: Match) -> None:
    as_victim(match, "Operations", "cancel_all", 0, 9_999)
    match.venue.wait(SETTLE_LAG_S)

    settle(match)

    match.venue.wait(1)
    late = match.venue.order(VICTIM, is_buy=True, lane=0, seq=9_998)
    assert match.venue.settle([late]).orders == [4]


def test_fill__user_revokes_the_key_that_signed__lands_until_the_lag_is_over(match: Match) -> None:
    as_victim(match, "Operations", "revoke_key", 0, address_of(KEY))
    match.venue.wait(SETTLE_LAG_S)

    settle(match)

    match.venue.wait(1)
    late = match.venue.order(
        VICTIM, is_buy=True, lane=0, seq=9_999, signer=KEY, record_changes={"flags": 1 | 1 << 7}
    )  # fmt: skip
    assert match.venue.settle([late]).orders == [14]


def test_fill__order_expires_before_it_settles__lands(match: Match) -> None:
    """Its last second was the second of the match."""
    match.venue.wait(SETTLE_LAG_S)

    settle(match)


def test_fill__user_demands_the_money_from_exits__lands(match: Match) -> None:
    """A request for a withdrawal is only a request: it moves nothing before the delay is over."""
    as_victim(match, "Exits", "request_withdrawal", 0, 1_000 * USDC, address_of(VICTIM))
    match.venue.wait(SETTLE_LAG_S)

    settle(match)


def test_fill__user_signs_a_withdrawal_of_everything__lands_and_the_withdrawal_waits_behind_it(match: Match) -> None:
    withdrawal = _operation(match, "withdraw", 1_000 * USDC)

    settle(match)

    # its margin is in use now
    assert match.venue.settle(operations=[withdrawal]).operations == [48]


@pytest.mark.parametrize("kind", ["cancel_order", "cancel_all", "revoke_key"])
def test_fill__user_signs_a_cancellation__lands_and_the_cancellation_behind_it_ends_the_rest(
    match: Match, kind: str
) -> None:
    operation = _operation(match, kind, 0)

    settle(match)

    assert match.venue.settle(operations=[operation]).operations == [0]
    match.venue.wait(1)
    again = match.venue.settle([match.orders[0], match.orders[1]], [(0, 1, 100)])
    assert again.fills != [0]


def test_fill__user_liquidates_itself__cannot_take_the_position_away_before_it_exists(match: Match) -> None:
    with refused("liquidations: healthy"):
        as_victim(match, "Liquidations", "flag", account_of(VICTIM))
    match.venue.wait(SETTLE_LAG_S)

    settle(match)


def test_fill__session_changes_after_the_match__lands(match: Match) -> None:
    """The market is halted the second after: what was matched before was matched in an open market."""
    match.venue.wait(1)
    match.venue.chain.call("PriceOracle", "override_session", 1, 6, match.venue.chain.time_s + 3_600, sender=SEQUENCER)
    match.venue.wait(SETTLE_LAG_S - 1)

    settle(match)


def test_fill__guardian_halts_the_market_after_the_match__lands(match: Match) -> None:
    match.venue.chain.call("MarketRegistry", "set_guardian", OUTSIDER, sender=GOVERNOR)
    match.venue.chain.call("MarketRegistry", "halt_market", 1, sender=OUTSIDER)
    match.venue.wait(SETTLE_LAG_S)

    settle(match)


def test_fill__token_stops_and_freezes_everybody__lands(match: Match) -> None:
    """Settlement never touches the token: here the token has no code any more that answers."""
    address = match.venue.chain.addresses["token"]
    match.venue.chain.evm.insert_account_info(address, AccountInfo(nonce=1, code=b"\x5f\x5f\xfd"))
    match.venue.wait(SETTLE_LAG_S)

    table = match.venue.table(match.orders, list_fills(match), matched_at_s=match.matched_at_s)

    # the books would ask the token for a balance, so only the words are asked here
    match.venue.chain.settle(encode(table))

    assert not [event for event in match.venue.chain.events() if event.name == "BatchFailures"]
    assert match.venue.position(account_of(VICTIM)).size_lots == 100


def test_fill__user_becomes_a_contract_by_eip_7702__lands(match: Match) -> None:
    """An owner is an address that signed; what code it has today is nobody's question."""
    match.venue.chain.evm.insert_account_info(
        address_of(VICTIM), AccountInfo(nonce=1, code=bytes.fromhex("ef0100") + b"\x11" * 20)
    )

    settle(match)


def _operation(made: Match, kind: str, quote: int) -> OperationRow:
    """Return an operation the victim hands in after the match, signed for any later batch."""
    common: dict[str, Any] = {"owner": VICTIM.address, "expiry_s": made.venue.chain.time_s + 3_600, "seq": 77_777}
    builders: dict[str, Callable[[], Operation]] = {
        "withdraw": lambda: Withdraw(quote=quote, recipient=VICTIM.address, **common),
        "cancel_order": lambda: CancelOrder(order_nonce=made.orders[1][1].seq, **common),
        "cancel_all": lambda: CancelAll(min_seq=9_999, **common),
        "revoke_key": lambda: RevokeKey(key=KEY.address, **common),
    }
    return made.venue.operation(builders[kind](), signer=VICTIM)


def test_fill__against_a_liquidation_order__stands_only_once_settled() -> None:
    """Nobody signed the order: money paid in after the match heals the account, and nothing is sold any more.

    So a sequencer promises whoever is filled against one nothing before the batch has settled (PROTOCOL.md §4).
    """
    ladder = open_pair()
    ladder.put_price(8_800)
    with ladder.venue.chain.undone():
        settled = ladder.lent().liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_800)
    assert (settled.orders, settled.fills) == ([0, 0], [0])

    # by anybody, the one who was filled among them
    ladder.deposit(LONG_ID, 100 * USDC)
    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_800)

    assert (settled.orders, settled.fills) == ([0, StatusCode.NOT_LIQUIDATABLE], [ORDER_INVALID_TAKER])
