"""Lens: session keys in words, what binds of a direct cancel-all, rules a batch of a given time is under."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from afterbell.domain.session import Session
from tests.contracts.desk import MARKET, RULES, SETTLE_LAG_S, Desk, address_of, signing_key
from tests.contracts.lens import look
from tests.support.chain import GOVERNOR

KEY: Final = signing_key("session")
CHANGING: Final = 1 << 170


def status(desk: Desk, at_s: int) -> tuple[str, bool]:
    """Return (status, is_active) of KEY."""
    account = desk.account(desk.taker)
    found = desk.chain.call("Lens", "session_key_summary", account, address_of(KEY), at_s)
    return found[0], found[1]


def is_taken(desk: Desk) -> bool:
    """Tell whether a batch matched now takes an order of KEY."""
    with desk.chain.undone():
        return desk.settle([desk.order(desk.taker, buy=True, by_key=KEY)]).orders == [0]


def test_session_key__linked__shows_its_limits(desk: Desk) -> None:
    expiry_s = desk.chain.time_s + 100
    desk.settle(
        operations=[
            desk.link_key(desk.taker, KEY, key_expiry_s=expiry_s, max_notional_quote=7, markets=5, reduce_only=True)
        ]
    )

    found = desk.chain.call("Lens", "session_key_summary", desk.account(desk.taker), address_of(KEY), expiry_s)

    assert found == ("active", True, expiry_s, 7, 5, False, True, 0)
    desk.settle(operations=[desk.link_key(desk.taker, KEY, trade_only=True)])
    found = desk.chain.call("Lens", "session_key_summary", desk.account(desk.taker), address_of(KEY), expiry_s)
    assert found[5:] == (True, False, 0)


def test_session_key__status__is_what_a_batch_does_with_it(desk: Desk) -> None:
    """Linked at 0 for 1,000 s, revoked at 10: active, revoking until 310, then revoked."""
    start_s = desk.chain.time_s
    assert (status(desk, start_s), is_taken(desk)) == (("not linked", False), False)
    desk.settle(operations=[desk.link_key(desk.taker, KEY, key_expiry_s=start_s + 1_000)])
    assert (status(desk, start_s), is_taken(desk)) == (("active", True), True)
    desk.age_prices(10)
    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))
    assert (status(desk, desk.chain.time_s), is_taken(desk)) == (("revoking", True), True)
    desk.age_prices(SETTLE_LAG_S)
    assert (status(desk, desk.chain.time_s), is_taken(desk)) == (("revoking", True), True)
    desk.age_prices(1)
    assert (status(desk, desk.chain.time_s), is_taken(desk)) == (("revoked", False), False)


def test_session_key__past_its_expiry__is_expired(desk: Desk) -> None:
    expiry_s = desk.chain.time_s + 100
    desk.settle(operations=[desk.link_key(desk.taker, KEY, key_expiry_s=expiry_s)])

    assert status(desk, expiry_s) == ("active", True)
    assert status(desk, expiry_s + 1) == ("expired", False)


def test_session_key__revoked_directly_and_expired__names_the_expiry_until_the_revocation_binds(desk: Desk) -> None:
    expiry_s = desk.chain.time_s + 100
    desk.settle(operations=[desk.link_key(desk.taker, KEY, key_expiry_s=expiry_s)])
    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))

    assert status(desk, expiry_s + 1) == ("expired", False)
    assert status(desk, desk.chain.time_s + SETTLE_LAG_S + 1) == ("revoked", False)


def test_session_key__revoked_before_any_link__is_not_linked_yet(desk: Desk) -> None:
    desk.direct(desk.taker, "revoke_key", 0, address_of(KEY))

    assert status(desk, desk.chain.time_s) == ("not linked", False)
    desk.age_prices(SETTLE_LAG_S + 1)
    assert status(desk, desk.chain.time_s)[1] is False


def min_seqs(desk: Desk, at_s: int) -> tuple[int, int, int]:
    summary = desk.chain.call("Lens", "account_summary", desk.account(desk.taker), at_s)
    return summary[7], summary[8], summary[9]


def test_account_summary__min_seq__is_the_one_a_batch_judges_by(desk: Desk) -> None:
    """300 by a batch, then 500 directly, then 400 directly: 300 until the lag is over, 500 from then on."""
    desk.settle(operations=[desk.cancel_all(desk.taker, 300)])
    first_s = desk.chain.time_s
    desk.direct(desk.taker, "cancel_all", 0, 500)
    binds_s = first_s + SETTLE_LAG_S
    assert min_seqs(desk, binds_s) == (300, 500, binds_s)
    assert min_seqs(desk, binds_s + 1) == (500, 500, binds_s)
    desk.age_prices(2 * SETTLE_LAG_S + 1)
    desk.direct(desk.taker, "cancel_all", 0, 400)
    binds_s = desk.chain.time_s + SETTLE_LAG_S

    assert min_seqs(desk, binds_s) == (500, 400, binds_s)
    assert min_seqs(desk, binds_s + 1) == (500, 400, binds_s)
    desk.settle(operations=[desk.cancel_all(desk.taker, 600)])
    assert min_seqs(desk, binds_s) == (600, 400, binds_s)


def test_rules__of_a_change_under_way__follow_the_time_asked_for(desk: Desk) -> None:
    """The margins and the band people are shown change when a batch's do; the mark of the change never shows."""
    old, new = RULES, replace(RULES, band_ppm=50_000, initial_margin_ppm=300_000)
    desk.settle(desk.pair(), [(0, 1, 1_000)])
    desk.chain.call("MarketRegistry", "set_rules", MARKET, [(Session.REGULAR, new.pack())], sender=GOVERNOR)
    last_s = desk.chain.time_s + SETTLE_LAG_S

    for at_s, rules in ((last_s, old), (last_s + 1, new)):
        assert desk.chain.call("Lens", "effective_rules", MARKET, Session.REGULAR, at_s) == rules.pack()
        market = look(desk.chain, "MarketLens", "market_summary", MARKET, at_s)
        assert market["band_low_ticks"] == 10_000 - rules.band_ppm // 100
        assert market["band_high_ticks"] == 10_000 + rules.band_ppm // 100
        position = desk.chain.call("Lens", "position_summary", desk.account(desk.taker), MARKET, at_s)
        assert position[6] == 10 * rules.initial_margin_ppm
    assert desk.chain.call("Clearinghouse", "rules_word", MARKET, Session.REGULAR) == old.pack() | CHANGING
    assert desk.chain.call("Lens", "effective_rules", MARKET, Session.PRE, last_s + 1) == old.pack()
    assert desk.chain.call("Lens", "effective_rules", 31, Session.PRE, last_s + 1) == 0


@pytest.mark.parametrize("is_changing", [False, True])
def test_market_summary__openings_and_freshness__follow_the_rules_that_bind(desk: Desk, is_changing: bool) -> None:
    if is_changing:
        closed = replace(RULES, is_opening_allowed=False, max_age_s=10)
        desk.chain.call("MarketRegistry", "set_rules", MARKET, [(Session.REGULAR, closed.pack())], sender=GOVERNOR)

    market = look(desk.chain, "MarketLens", "market_summary", MARKET, desk.chain.time_s + SETTLE_LAG_S + 1)

    assert (market["is_fresh"], market["is_opening_allowed"]) == (not is_changing, not is_changing)
