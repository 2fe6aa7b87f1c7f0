"""Take splits, dividends, mergers, delistings, new names and steps into the markets, as CorporateActions does.

A split changes the shares in a unit and nothing else; a dividend moves whole ticks from shorts to longs and out of all
prices; a market that ends is closed at its final price. Times are the block's. Each function checks everything, then
writes; a refusal leaves all three states as they were. Must not: judge who called.
Twin: contracts/CorporateActions.vy, contracts/PROTOCOL.md §6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, unique
from typing import Final

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.calendar import FOREVER_S
from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.deltas import Delta, apply_deltas, move_market
from afterbell.domain.errors import DirectRefused, InvariantBroken
from afterbell.domain.oracle import (
    MAX_EXTERNAL_TICKS,
    MAX_PRICE_E8,
    OracleMarket,
    OracleState,
    apply_split,
    compute_external_ticks,
    forget_observations,
)
from afterbell.domain.outcomes import PositionChange
from afterbell.domain.session import Session
from afterbell.domain.units import INDEX_SCALE, PPM, PRICE_SCALE, Ticks, div_down
from afterbell.domain.words import IndexWord, PriceWord, RulesWord

DAY_S: Final = 86_400
MAX_AHEAD_S: Final = 90 * DAY_S
NOTICE_S: Final = DAY_S
LARGE_NOTICE_S: Final = 5 * DAY_S
"""For a dividend above the maintenance margin: it ends accounts that a smaller one leaves alive."""
FAR_NOTICE_S: Final = 7 * DAY_S
"""For a final price outside the band."""
MIN_RESERVE_S: Final = 3_600
MAX_RESERVE_S: Final = 5 * DAY_S
MAX_ALONE_PPM: Final = 20_000
"""What an announcer may pay out without a second opinion."""
ALONE_EVERY_S: Final = 20 * DAY_S
MAX_RATIO: Final = 100
MAX_TERM: Final = 10**9
MAX_DIVIDEND_TICKS: Final = (1 << 24) - 1
MAX_CONTINUITY_PPM: Final = 200_000
MAX_OBSERVATION_AGE_S: Final = 2 * SETTLE_LAG_S


@unique
class ActionKind(IntEnum):
    """What a company does."""

    SPLIT = 1
    DIVIDEND = 2
    CASH_SETTLEMENT = 3
    STOCK_MERGER = 4
    RENAME = 5
    STEP = 6


WITH_RATIO: Final = frozenset({ActionKind.SPLIT, ActionKind.STOCK_MERGER})
WITH_PRICE: Final = frozenset({ActionKind.DIVIDEND, ActionKind.CASH_SETTLEMENT})
WITH_FEEDS: Final = frozenset({ActionKind.STOCK_MERGER, ActionKind.RENAME})
REOPENING: Final = frozenset({ActionKind.SPLIT, ActionKind.STOCK_MERGER, ActionKind.RENAME})
"""Halted after activation until a report agrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What is to happen; what is not meant for its kind is zero or empty.

    ex_date: days since 1970. num, den: new shares for old ones. price_e8: dividend or final price in USD x 1e8 a share,
    a final price of 0 is the external one at activation. second_source_id 256 = none.
    """

    market_id: int
    kind: int
    ex_date: int
    effective_s: int
    reserve_s: int = 0
    num: int = 0
    den: int = 0
    price_e8: int = 0
    source_id: int = 0
    second_source_id: int = 0
    symbol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingAction:
    """An announcement that stands, and how far it has come."""

    announcement: Announcement
    ticks: int
    """Dividend or final price of one unit; 0 for a final price not known yet."""
    is_waiting: bool
    """Needs a confirmation and has none."""
    activated_s: int = 0
    is_cancelled: bool = False
    """Halts its market all the same until prices agree."""
    halted_s: int = 0
    """When an action halted the market that was cancelled and replaced by this one; 0 = none did."""

    @property
    def halt_from_s(self) -> int:
        """Return the first second of the halt."""
        effective_s = self.announcement.effective_s
        return min(self.halted_s, effective_s) if self.halted_s else effective_s


@dataclass(slots=True, kw_only=True)
class CorporateActionsState:
    """What CorporateActions keeps."""

    actions: dict[int, StandingAction] = field(default_factory=dict)
    """By market."""
    activated: set[tuple[int, int, int]] = field(default_factory=set)
    """(market, kind, ex-date): what cannot happen again."""
    last_dividend_s: dict[int, int] = field(default_factory=dict)

    def halt_from_s(self, market_id: int) -> int:
        """Return the first second of the halt that stands or is announced, 0 = none."""
        action = self.actions.get(market_id)
        return action.halt_from_s if action else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """The three states that corporate actions move together."""

    chain: ChainState
    oracle: OracleState
    actions: CorporateActionsState

    def keep(self, market_id: int, action: StandingAction | None) -> None:
        """Let an action stand, or none, and tell the oracle what it would be answered from now on."""
        if action is None:
            del self.actions.actions[market_id]
            del self.oracle.halts_from_s[market_id]
        else:
            self.actions.actions[market_id] = action
            self.oracle.halts_from_s[market_id] = action.halt_from_s

    def must_move(self) -> None:
        """Raise once the final settlement has begun: it counts words that must not move under it."""
        if self.chain.mode == Mode.SETTLED:
            raise DirectRefused("action: venue settled")

    def must_stand(self, market_id: int) -> StandingAction:
        """Return what is announced and not cancelled. Raises: DirectRefused `action: none`."""
        action = self.actions.actions.get(market_id)
        if action is None or action.is_cancelled:
            raise DirectRefused("action: none")
        return action

    def must_wait_to_reopen(self, market_id: int) -> StandingAction:
        """Return an action, activated or cancelled, whose market will reopen. Raises: DirectRefused."""
        action = self.actions.actions.get(market_id)
        if action is None:
            raise DirectRefused("action: none")
        if not action.activated_s and not action.is_cancelled:
            raise DirectRefused("action: not activated")
        if action.announcement.kind == ActionKind.CASH_SETTLEMENT:
            raise DirectRefused("action: kind")
        return action


def compute_action_ticks(price_e8: int, market: OracleMarket) -> Ticks:
    """Return a sum of USD a share in ticks a unit.

    Formula: price_e8 x num x ticks_per_usd / (den x 1e8). Rounding: half up.
    """
    whole = market.multiplier_den * PRICE_SCALE
    return Ticks(div_down(2 * price_e8 * market.multiplier_num * market.ticks_per_usd + whole, 2 * whole))


def announce(venue: Venue, announcement: Announcement, *, is_governor: bool, now_s: int) -> StandingAction:
    """Let an announcement stand. Raises: DirectRefused with the contract's reason."""
    venue.must_move()
    market_id, kind = announcement.market_id, announcement.kind
    before = venue.actions.actions.get(market_id)
    if before is not None and not (before.is_cancelled and kind in REOPENING):
        raise DirectRefused("action: another stands")
    if not ActionKind.SPLIT <= kind <= ActionKind.STEP:
        raise DirectRefused("action: kind")
    if (market_id, kind, announcement.ex_date) in venue.actions.activated:
        raise DirectRefused("action: done")
    _check_fields(announcement)
    effective_s = announcement.effective_s
    if not now_s + NOTICE_S <= effective_s <= now_s + MAX_AHEAD_S:
        raise DirectRefused("action: notice")
    if not (announcement.ex_date - 1) * DAY_S <= effective_s <= (announcement.ex_date + 1) * DAY_S:
        raise DirectRefused("action: ex date")
    external_ticks = venue.chain.price(market_id).external_ticks
    if external_ticks == 0:
        raise DirectRefused("action: no external price")
    ticks, needs_confirmation = 0, kind != ActionKind.STEP
    if kind in WITH_RATIO:
        _check_ratio(announcement.num, announcement.den)
    elif kind == ActionKind.DIVIDEND:
        ticks, needs_confirmation = _judge_dividend(venue, announcement, external_ticks, now_s)
    elif kind == ActionKind.CASH_SETTLEMENT and announcement.price_e8:
        ticks = _judge_final_price(venue, announcement, external_ticks, now_s)
    action = StandingAction(
        announcement=announcement,
        ticks=ticks,
        is_waiting=needs_confirmation and not is_governor,
        halted_s=before.halt_from_s if before else 0,
    )
    venue.keep(market_id, action)
    return action


def confirm(venue: Venue, market_id: int, announcement: Announcement) -> None:
    """Say that an announcement is true. Raises: DirectRefused `action: none`, `nothing to confirm`, `digest`."""
    action = venue.must_stand(market_id)
    if not action.is_waiting:
        raise DirectRefused("action: nothing to confirm")
    if action.announcement != announcement:
        raise DirectRefused("action: digest")
    venue.keep(market_id, replace(action, is_waiting=False))


def cancel(venue: Venue, market_id: int) -> None:
    """Take back what is not activated, and what was reserved for it. Raises: DirectRefused.

    What changes a unit halts its market all the same and reopens as if activated, only without effect: if it was true,
    no price agrees.
    """
    venue.must_move()
    action = venue.must_stand(market_id)
    if action.activated_s:
        raise DirectRefused("action: activated")
    index = venue.chain.index(market_id)
    if index.reserve_ticks:
        _move(venue.chain, market_id, venue.chain.price(market_id), replace(index, reserve_ticks=0))
    is_halted = action.announcement.kind in REOPENING
    venue.keep(market_id, replace(action, is_waiting=False, is_cancelled=True) if is_halted else None)


def reserve(venue: Venue, market_id: int, *, now_s: int) -> None:
    """Value shorts without the dividend they are about to pay. Raises: DirectRefused with the contract's reason.

    It binds SETTLE_LAG after reserve_s: whoever matches counts it from reserve_s on.
    """
    venue.must_move()
    action = venue.must_stand(market_id)
    if action.announcement.kind != ActionKind.DIVIDEND:
        raise DirectRefused("action: kind")
    if action.is_waiting:
        raise DirectRefused("action: unconfirmed")
    if now_s <= action.announcement.reserve_s + SETTLE_LAG_S:
        raise DirectRefused("action: too early")
    index = venue.chain.index(market_id)
    if index.reserve_ticks:
        raise DirectRefused("action: reserved")
    _move(venue.chain, market_id, venue.chain.price(market_id), replace(index, reserve_ticks=action.ticks))


def activate(venue: Venue, market_id: int, *, now_s: int) -> None:
    """Make an announced action happen, no match from before its effective time being possible any more.

    Raises: DirectRefused with the contract's reason. That sources exist and caps fit, registry and oracle check.
    """
    venue.must_move()
    action = venue.must_stand(market_id)
    announcement = action.announcement
    kind = announcement.kind
    if action.activated_s:
        raise DirectRefused("action: activated")
    if action.is_waiting:
        raise DirectRefused("action: unconfirmed")
    if now_s <= announcement.effective_s + SETTLE_LAG_S:
        raise DirectRefused("action: too early")
    price, index = venue.chain.price(market_id), venue.chain.index(market_id)
    ticks = action.ticks
    if kind == ActionKind.DIVIDEND:
        price, index = _lower(price, ticks, announcement.effective_s), _pay(index, ticks)
    elif kind == ActionKind.CASH_SETTLEMENT:
        ticks = ticks or price.external_ticks
        price = _end(price, ticks)
    if kind in WITH_RATIO:
        apply_split(venue.oracle, market_id, announcement.num, announcement.den)
    if kind in WITH_FEEDS:
        _replace_sources(venue.oracle, announcement)
    if kind != ActionKind.SPLIT:
        _move(venue.chain, market_id, replace(price, epoch=price.epoch + 1), index)
    if kind == ActionKind.DIVIDEND:
        venue.actions.last_dividend_s[market_id] = announcement.effective_s
    venue.actions.activated.add((market_id, kind, announcement.ex_date))
    is_over = kind in (ActionKind.DIVIDEND, ActionKind.STEP)
    venue.keep(market_id, None if is_over else replace(action, ticks=ticks, activated_s=now_s))


def correct_split(venue: Venue, market_id: int, num: int, den: int, *, now_s: int) -> None:
    """Multiply the shares in a unit once more before reopening. Raises: DirectRefused with the contract's reason."""
    venue.must_move()
    action = venue.must_stand(market_id)
    if not action.activated_s:
        raise DirectRefused("action: not activated")
    if action.announcement.kind not in WITH_RATIO:
        raise DirectRefused("action: kind")
    _check_ratio(num, den)
    apply_split(venue.oracle, market_id, num, den)
    venue.keep(market_id, replace(action, activated_s=now_s))


def reopen(venue: Venue, market_id: int, *, is_governor: bool, now_s: int) -> None:
    """End a halt, a report from after activation agreeing with the price from before. Raises: DirectRefused.

    After a cancellation, a report from after the halt began.
    """
    venue.must_move()
    action = venue.must_wait_to_reopen(market_id)
    if not is_governor:
        observed = venue.oracle.primaries.get(market_id)
        if (
            observed is None
            or observed.price_e8 == 0
            or observed.publish_time_s <= max(action.halt_from_s, action.activated_s)
            or observed.publish_time_s + MAX_OBSERVATION_AGE_S < now_s
        ):
            raise DirectRefused("action: no report")
        observed_ticks = compute_external_ticks(observed.price_e8, venue.oracle.markets[market_id])
        frozen_ticks = venue.chain.price(market_id).external_ticks
        if abs(observed_ticks - frozen_ticks) * PPM > frozen_ticks * MAX_CONTINUITY_PPM:
            raise DirectRefused("action: discontinuous")
    venue.keep(market_id, None)


def settle_positions(
    venue: Venue, market_id: int, account_ids: Sequence[int], *, cover: Callable[[int, int], None]
) -> tuple[PositionChange, ...]:
    """Close positions of a market that ended, longs against shorts in the order named, as far as both last.

    cover(account, market) takes what an account without positions owes. Raises: DirectRefused with the contract's
    reason; account ids must ascend.
    """
    venue.must_move()
    action = venue.actions.actions.get(market_id)
    if action is None or action.announcement.kind != ActionKind.CASH_SETTLEMENT:
        raise DirectRefused("action: kind")
    if not action.activated_s:
        raise DirectRefused("action: not activated")
    sizes = [venue.chain.position(account_id, market_id).size_lots for account_id in account_ids]
    closing_lots = min(sum(max(lots, 0) for lots in sizes), sum(max(-lots, 0) for lots in sizes))
    if closing_lots == 0:
        raise DirectRefused("action: nothing cancels")
    left_lots = {True: closing_lots, False: closing_lots}
    deltas = []
    for account_id, size_lots in zip(account_ids, sizes, strict=True):
        closed_lots = min(abs(size_lots), left_lots[size_lots > 0])
        left_lots[size_lots > 0] -= closed_lots
        if closed_lots:
            change_lots = -closed_lots if size_lots > 0 else closed_lots
            deltas.append(Delta(account_id=account_id, size_lots=change_lots, entry_quote=change_lots * action.ticks))
    changes = apply_deltas(venue.chain, market_id, deltas)
    for delta in deltas:
        account = venue.chain.account(delta.account_id)
        if not any(account.open_markets) and account.collateral_quote < 0:
            cover(delta.account_id, market_id)
    return changes


def _check_fields(announcement: Announcement) -> None:
    """Raise unless what a kind does not use is zero, so that a record says what happens and nothing else."""
    kind = announcement.kind
    if (
        (kind not in WITH_RATIO and (announcement.num or announcement.den))
        or (kind not in WITH_PRICE and announcement.price_e8)
        or (kind != ActionKind.DIVIDEND and announcement.reserve_s)
        or (kind not in WITH_FEEDS and (announcement.source_id or announcement.second_source_id))
        or ((kind in WITH_FEEDS) != bool(announcement.symbol))
        or announcement.source_id > 255
        or announcement.second_source_id > 256
        or announcement.price_e8 > MAX_PRICE_E8
    ):
        raise DirectRefused("action: fields")


def _check_ratio(num: int, den: int) -> None:
    if not 0 < num <= MAX_TERM or not 0 < den <= MAX_TERM or num == den:
        raise DirectRefused("action: ratio")
    if num > MAX_RATIO * den or den > MAX_RATIO * num:
        raise DirectRefused("action: ratio")


def _judge_dividend(venue: Venue, announcement: Announcement, external_ticks: int, now_s: int) -> tuple[Ticks, bool]:
    """Return (dividend of one unit, whether it needs a confirmation). Raises: DirectRefused."""
    market_id, effective_s = announcement.market_id, announcement.effective_s
    ticks = compute_action_ticks(announcement.price_e8, venue.oracle.markets[market_id])
    if not 0 < ticks <= MAX_DIVIDEND_TICKS or 2 * ticks > external_ticks:
        raise DirectRefused("action: dividend")
    if not now_s <= announcement.reserve_s <= effective_s - MIN_RESERVE_S:
        raise DirectRefused("action: reserve time")
    if announcement.reserve_s + MAX_RESERVE_S < effective_s:
        raise DirectRefused("action: reserve time")
    maintenance_ppm = _latest_rules(venue.chain, market_id).maintenance_margin_ppm
    if ticks * PPM > external_ticks * maintenance_ppm and effective_s < now_s + LARGE_NOTICE_S:
        raise DirectRefused("action: notice")
    is_large = ticks * PPM > external_ticks * MAX_ALONE_PPM
    return ticks, is_large or effective_s < venue.actions.last_dividend_s.get(market_id, 0) + ALONE_EVERY_S


def _judge_final_price(venue: Venue, announcement: Announcement, external_ticks: int, now_s: int) -> Ticks:
    """Return the final price of one unit. Raises: DirectRefused."""
    ticks = compute_action_ticks(announcement.price_e8, venue.oracle.markets[announcement.market_id])
    if not 0 < ticks <= MAX_EXTERNAL_TICKS:
        raise DirectRefused("action: final price")
    band_ppm = _latest_rules(venue.chain, announcement.market_id).band_ppm
    is_far = abs(ticks - external_ticks) * PPM > external_ticks * band_ppm
    if is_far and announcement.effective_s < now_s + FAR_NOTICE_S:
        raise DirectRefused("action: notice")
    return ticks


def _latest_rules(chain: ChainState, market_id: int) -> RulesWord:
    """Return the rules of the regular session that were set last; a listed market has them."""
    rules = chain.rules_of(market_id, Session.REGULAR, FOREVER_S)
    if rules is None:
        raise InvariantBroken(f"market {market_id} is listed without rules")
    return rules


def _lower(price: PriceWord, ticks: int, effective_s: int) -> PriceWord:
    """Return the prices without a dividend, the external one as of the halt, so that no report from before follows.

    The index, the operator's word during a halt, becomes the external price.
    """
    if min(price.mark_ticks, price.external_ticks) <= ticks:
        raise DirectRefused("action: dividend above price")
    return replace(
        price,
        mark_ticks=price.mark_ticks - ticks,
        index_ticks=price.external_ticks - ticks,
        external_ticks=price.external_ticks - ticks,
        external_time_s=max(price.external_time_s, effective_s),
        session_minutes=0,
    )


def _pay(index: IndexWord, ticks: int) -> IndexWord:
    """Return the indices after shorts have paid longs whole ticks a lot: pending moves by exactly lots x ticks."""
    return replace(
        index,
        long_index_e12=index.long_index_e12 - ticks * INDEX_SCALE,
        short_index_e12=index.short_index_e12 - ticks * INDEX_SCALE,
        reserve_ticks=0,
    )


def _end(price: PriceWord, ticks: int) -> PriceWord:
    """Return the prices of a market that ended: never fresh again, so that nothing opens."""
    return replace(
        price,
        mark_ticks=ticks,
        index_ticks=ticks,
        external_ticks=ticks,
        session=Session.CORPORATE_ACTION,
        session_minutes=0,
    )


def _replace_sources(oracle: OracleState, announcement: Announcement) -> None:
    """Give a market other sources at once; what the old ones said is forgotten."""
    second = announcement.second_source_id
    oracle.markets[announcement.market_id] = replace(
        oracle.markets[announcement.market_id],
        source_id=announcement.source_id,
        second_source_id=None if second == 256 else second,
        previous_source_id=None,
        previous_until_s=0,
        previous_second_id=None,
        second_changed_until_s=0,
    )
    forget_observations(oracle, announcement.market_id)


def _move(chain: ChainState, market_id: int, price: PriceWord, index: IndexWord) -> None:
    move_market(chain, market_id, price.pack(), index.pack())
