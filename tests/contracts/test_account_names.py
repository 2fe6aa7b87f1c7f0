"""An account has one name: a number beyond 240 bits, which the keys of words cut to the same account, is refused.

Under a second name an account was nominated twice, so that nobody could execute the ADL; kept a flag its owner could
not clear; was taken over by its own owner; and was settled twice at the end of a market, a long of 10 turned short.
"""

from __future__ import annotations

from typing import Final

import pytest

from afterbell.domain import deleveraging
from afterbell.domain.errors import FieldOutOfRange
from tests.contracts.corporate import Exchange
from tests.contracts.ladder import LONG, LONG_ID, LOTS, OTHER, OTHER_ID, SHORT_ID, Ladder, open_pair, owner_address
from tests.contracts.test_corporate_actions_ending import end_book
from tests.contracts.venue import USDC, refused

SECOND_NAME: Final = 1 << 240
BANKRUPT: Final = 7_900


@pytest.fixture
def ladder() -> Ladder:
    """Two shorts against one long, which is worth less than nothing."""
    opened = open_pair(lots=LOTS // 2, long_quote=2_000 * USDC)
    opened.deposit(OTHER_ID, 20_000 * USDC)
    opened.trade(LONG, OTHER, LOTS // 2)
    opened.put_price(BANKRUPT)
    return opened


def test_nominate__an_account_by_a_second_name__refused_and_the_adl_executes(ladder: Ladder) -> None:
    ladder.flag(LONG_ID)
    adl_id = ladder.open_adl(LONG_ID)
    for account in (SHORT_ID, OTHER_ID):
        ladder.nominate(adl_id, account)

    with refused(""):
        ladder.venue.chain.call("Liquidations", "nominate", adl_id, SHORT_ID + SECOND_NAME)
    with pytest.raises(FieldOutOfRange):
        deleveraging.nominate(ladder.state, ladder.liquidations, adl_id, SHORT_ID + SECOND_NAME, ladder.now_s)

    ladder.wait(1_000)
    assert ladder.execute_adl(adl_id) == LOTS
    assert ladder.venue.totals().open_interest_lots == 0


def test_flag__an_account_by_a_second_name__refused(ladder: Ladder) -> None:
    with refused(""):
        ladder.venue.chain.call("Liquidations", "flag", LONG_ID + SECOND_NAME)
    assert ladder.venue.chain.call("Liquidations", "flagged_at_s", LONG_ID + SECOND_NAME) == 0


def test_liquidate__an_own_account_by_a_second_name__not_even_flagged(ladder: Ladder) -> None:
    """Its owner's other subaccount would pass for a stranger's."""
    ladder.flag(LONG_ID)
    ladder.wait(301)

    with refused("liquidations: too early"):
        ladder.venue.chain.call(
            "Liquidations", "liquidate", LONG_ID + SECOND_NAME, 1, LOTS, 1, sender=owner_address(LONG_ID)
        )
    with refused("liquidations: own account"):
        ladder.liquidate(LONG_ID, taker=LONG_ID + 1)


def test_settle_positions__an_account_named_twice__refused_and_nobody_turns_short() -> None:
    exchange = Exchange.open()
    accounts, _ = end_book(exchange, 1)
    sizes = {account: exchange.venue.position(account).size_lots for account in accounts}
    long = min((account for account in accounts if sizes[account] > 0), key=sizes.__getitem__)
    short = min(accounts, key=sizes.__getitem__)
    assert -sizes[short] > 2 * sizes[long]

    with refused("deltas: account order"):
        exchange.call("settle_positions", 1, sorted([short, long, long + SECOND_NAME]))
    exchange.call("settle_positions", 1, sorted([short, long]))

    assert exchange.venue.position(long).size_lots == 0
