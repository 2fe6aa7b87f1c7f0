"""Random calls that owners and the governor make directly on chain: most are accepted, some refused for one reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.direct import (
    DirectKind,
    DirectOperation,
    record_cancel_all,
    record_key_link,
    record_key_revocation,
    record_rules,
    record_tiers,
)
from afterbell.domain.ids import owner_of, subaccount_of
from afterbell.domain.settlement import ChainState
from afterbell.domain.words import RULES_FLAG_TIERED, TierWord

if TYPE_CHECKING:
    from tests.support.world import World


OWN_KINDS = (DirectKind.CANCEL_ALL, DirectKind.LINK_KEY, DirectKind.REVOKE_KEY, DirectKind.CHANGE_RULES)
"""What owners and the governor do; siblings do the others."""
TIERS = {
    2: TierWord(tiers=((500, 7_001), (2_000, 15_003))),
    4: TierWord(tiers=((50, 3_000),)),
    7: TierWord(tiers=((20, 1_001), (400, 10_007), (3_000, 40_001))),
}
"""By market; edges in whole USDC, within what orders of a random world are worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectCall:
    """One call, as the chain is asked and as the model is."""

    kind: DirectKind
    sender: bytes
    """Empty: the governor."""
    contract: str
    function: str
    args: tuple[Any, ...]
    time_s: int
    record: Callable[[ChainState], list[DirectOperation]]


def random_direct(world: World, *, is_late: bool) -> DirectCall:
    """Choose a call. is_late: a mirror will hear of it later, so a link is given to an address that never signs."""
    rng = world.random
    account = rng.choice(world.accounts)
    owner, subaccount = owner_of(account), subaccount_of(account)
    time_s = world.time_s + rng.choice((0, 0, 1, 200, SETTLE_LAG_S))
    kind = rng.choice(OWN_KINDS)
    common = {"kind": kind, "sender": owner, "contract": "Operations", "time_s": time_s}
    if kind == DirectKind.CHANGE_RULES:
        market_id, session, word = _make_rules(world)
        return DirectCall(
            **common | {"sender": b"", "contract": "MarketRegistry"},
            function="set_rules",
            args=(market_id, [(session, word)]),
            record=lambda state: _change_rules(state, market_id, session, word, time_s),
        )
    if kind == DirectKind.CANCEL_ALL:
        highest = (time_s + SETTLE_LAG_S - world.state.genesis_s) * 1_000
        min_seq = rng.choice((world.seq - 200, world.seq - 60, world.seq - 20, world.seq, 0, highest + 1))
        if rng.random() < 0.5:
            # Few accounts, so that some call again while the last one waits.
            account = world.accounts[0]
            owner, subaccount = owner_of(account), subaccount_of(account)
        return DirectCall(
            **common | {"sender": owner},
            function="cancel_all",
            args=(subaccount, min_seq),
            record=lambda state: [record_cancel_all(state, account, min_seq, time_s=time_s)],
        )
    key = world.ring.choose_address(account, owner)
    if kind == DirectKind.LINK_KEY:
        if is_late or rng.random() < 0.3:
            key = rng.randbytes(20)
            world.ring.strangers = [*world.ring.strangers[-5:], (account, key)]
        limits = world.ring.make_limits(time_s).pack() | (1 << 138 if rng.random() < 0.05 else 0)
        return DirectCall(
            **common,
            function="link_key",
            args=(subaccount, key, limits),
            record=lambda state: [record_key_link(state, account, key, limits, time_s=time_s)],
        )
    if rng.random() < 0.7:
        # A key dies for good: mostly strangers, or soon nobody could sign any more.
        owned = [address for linked, address in world.ring.strangers if linked == account]
        key = owned[-1] if owned else bytes([account & 1]) * 20
    return DirectCall(
        **common,
        function="revoke_key",
        args=(subaccount, key),
        record=lambda state: [record_key_revocation(state, account, key, time_s=time_s)],
    )


def _change_rules(state: ChainState, market_id: int, session: int, word: int, time_s: int) -> list[DirectOperation]:
    """Do what the registry does: tiers beside both words, then the rules; each is an operation of its own."""
    tier_word = TIERS[market_id].pack() if market_id in TIERS else 0
    word |= RULES_FLAG_TIERED if tier_word else 0
    record_rules(state.copy(), market_id, session, word, time_s=time_s)  # raises before anything is written
    done = [
        record_tiers(state, market_id, session, tier_word, is_successor=is_successor, time_s=time_s)
        for is_successor in (False, True)
    ]
    done.append(record_rules(state, market_id, session, word, time_s=time_s))
    return [one for one in done if one is not None]


def _make_rules(world: World) -> tuple[int, int, int]:
    """Return (market, session, word): the market's ordinary rules with a little changed, as the registry allows."""
    rng = world.random
    market_id, session = rng.choice((1, 1, 2, 4, 6, 8)), rng.choice((2, 2, 2, 5, 3))
    rules = world.rules_for(market_id, session)
    assert rules is not None
    changed = replace(
        rules,
        band_ppm=rules.band_ppm + rng.randint(-9_000, 9_000),
        mark_step_ppm=rng.randint(3_000, 9_000),
        maintenance_margin_ppm=rules.maintenance_margin_ppm - rng.randint(0, 900),
        max_age_s=rules.max_age_s and rules.max_age_s + rng.randint(-50, 50),
        is_opening_allowed=rules.is_opening_allowed and rng.random() < 0.98,
        account_share=rules.account_share and rng.choice((rules.account_share, 12)),
    )
    return market_id, session, changed.pack()
