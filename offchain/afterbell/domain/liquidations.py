"""Climb the loss ladder: flag, take over, insurance, spread; and judge liquidation orders of batches.

Every function does what the call of the same name does: checks first, then moves words through deltas.py; a refusal
leaves both states as they were. deleveraging.py has the rung between insurance and spread. Must not: look at a clock;
callers pass now_s. Twin: contracts/Liquidations.vy, PROTOCOL.md §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from afterbell.domain.account_risk import (
    Basis,
    Holding,
    Risk,
    Words,
    compute_risk,
    is_all_fresh,
    is_open_to_liquidation,
    read_holdings,
    read_market,
    try_trade,
)
from afterbell.domain.batch import SETTLE_LAG_S, OrderRecord
from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.codes import StatusCode
from afterbell.domain.deltas import N_INDEX_BITS, Delta, apply_deltas, move_market
from afterbell.domain.errors import DirectRefused, FieldOutOfRange
from afterbell.domain.ids import LIQUIDATION_LANE, MAX_ACCOUNT_ID, build_account_id, owner_of
from afterbell.domain.liquidation_terms import (
    allocate_quote,
    compute_cap_quote,
    compute_size_lots,
    compute_worst_ticks,
    draw_into_band,
    rules_in_use,
    skip_dust,
)
from afterbell.domain.order import TimeInForce, pack_flags
from afterbell.domain.units import INDEX_SCALE, PPM, div_down, div_up, mul_div_down, mul_div_up
from afterbell.domain.words import IndexWord

FLAG_LIFE_S: Final = 10_800
"""An older flag counts as none, so that no discount waits for an account that has recovered."""
LIQUIDATION_FEE_PPM: Final = 5_000
ORDER_FEE_PPM: Final = 1_000
DRAW_PERCENT: Final = 20
_DAY_S: Final = 86_400
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a market's insurance may still pay on a day."""

    day: int
    left_quote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """What was liquidated directly in a market within a minute."""

    minute: int
    notional_quote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adl:
    """One opened auto-deleveraging of a position."""

    account_id: int
    market_id: int
    price_ticks: int
    mark_ticks: int
    lots: int
    is_short: bool
    opened_at_s: int
    nominees: tuple[tuple[int, int, int], ...] = ()
    """(account id, score, seconds from the opening to its nomination) by place."""
    is_done: bool = False


@dataclass(slots=True, kw_only=True)
class LiquidationsState:
    """Every word of Liquidations but the flags, which stand in the ChainState. adls: ids count from 1."""

    address: bytes
    taker_since_s: dict[int, int] = field(default_factory=dict)
    """Of Exits, which is asked: account id -> since when it may take positions on chain."""
    draws: dict[int, Draw] = field(default_factory=dict)
    throttles: dict[int, Throttle] = field(default_factory=dict)
    adls: dict[int, Adl] = field(default_factory=dict)
    last_adl: dict[tuple[int, int], int] = field(default_factory=dict)

    def insurance_id(self, market_id: int) -> int:
        """Return the account that holds a market's insurance."""
        return build_account_id(self.address, market_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An account as it stands, valued with one of its positions in question."""

    account_id: int
    collateral_quote: int
    holdings: tuple[Holding, ...]
    at_mark: Risk
    at_external: Risk
    at_worse: Risk
    age_s: int
    """Of its flag, 0 without one."""
    holding: Holding | None = None
    share_quote: int = 0
    """What of the equity at the mark is allocated to the holding."""

    @property
    def is_unhealthy(self) -> bool:
        """Tell whether it is below maintenance margin at both prices."""
        return all(risk.equity_quote < risk.maintenance_margin_quote for risk in (self.at_mark, self.at_external))

    @property
    def is_liquidatable(self) -> bool:
        """Tell whether it may be liquidated now."""
        return self.is_unhealthy and is_open_to_liquidation(self.holdings)

    @property
    def shortfall_quote(self) -> int:
        """Return what it lacks to be worth nothing at the better of both prices; not positive: nothing."""
        return -max(self.at_mark.equity_quote, self.at_external.equity_quote)

    @property
    def worst_ticks(self) -> int:
        """Return the worst price of a liquidation, before the band."""
        return compute_worst_ticks(
            self.must_hold(), age_s=self.age_s, equity_quote=self.at_mark.equity_quote, share_quote=self.share_quote
        )

    def must_hold(self) -> Holding:
        """Return the position in question. Raises: DirectRefused when there is none."""
        if self.holding is None:
            raise DirectRefused("liquidations: no position")
        return self.holding

    def size_lots(self, price_ticks: int, fee_ppm: int) -> int:
        """Return how much of the position may be liquidated."""
        return compute_size_lots(
            self.collateral_quote, self.holdings, self.must_hold(), price_ticks=price_ticks, fee_ppm=fee_ppm
        )


def read_flag_s(words: Words, account_id: int, at_s: int) -> int:
    """Return when an account was flagged; 0 = not, later than `at_s`, or more than three hours ago."""
    flagged_at_s = words.flagged_at_s(account_id)
    return flagged_at_s if flagged_at_s <= at_s <= flagged_at_s + FLAG_LIFE_S else 0


def read_account(words: Words, account_id: int, market_id: int, at_s: int) -> Reading:
    """Read an account; market 0: with no position in question."""
    if account_id > MAX_ACCOUNT_ID:
        raise FieldOutOfRange("account_id", account_id, 0, MAX_ACCOUNT_ID)
    collateral_quote = words.account(account_id).collateral_quote
    holdings = read_holdings(words, account_id, at_s)
    flagged_at_s = read_flag_s(words, account_id, at_s)
    reading = Reading(
        account_id=account_id,
        collateral_quote=collateral_quote,
        holdings=holdings,
        at_mark=compute_risk(collateral_quote, holdings, Basis.MARK),
        at_external=compute_risk(collateral_quote, holdings, Basis.EXTERNAL),
        at_worse=compute_risk(collateral_quote, holdings, Basis.WORSE),
        age_s=at_s - flagged_at_s if flagged_at_s else 0,
    )
    for place, holding in enumerate(holdings):
        if holding.market_id == market_id:
            shares = allocate_quote(reading.at_mark.equity_quote, holdings)
            reading = replace(reading, holding=holding, share_quote=shares[place])
    return reading


def trade(reading: Reading, change_lots: int, price_ticks: int) -> Reading:
    """Return the reading as a trade of the position in question would leave it; its share is of no use then."""
    holdings = try_trade(reading.holdings, reading.must_hold(), change_lots, price_ticks)
    return replace(
        reading,
        holdings=holdings,
        at_mark=compute_risk(reading.collateral_quote, holdings, Basis.MARK),
        at_external=compute_risk(reading.collateral_quote, holdings, Basis.EXTERNAL),
        at_worse=compute_risk(reading.collateral_quote, holdings, Basis.WORSE),
    )


def check_not_settled(state: ChainState) -> None:
    """Refuse to move anything once everybody's share is counted."""
    if state.mode == Mode.SETTLED:
        raise DirectRefused("clearinghouse: settled")


# Flags.


def flag(state: ChainState, account_id: int, now_s: int) -> None:
    """Start the clock of a liquidation. Raises: DirectRefused flagged, healthy."""
    if read_flag_s(state, account_id, now_s):
        raise DirectRefused("liquidations: flagged")
    if not read_account(state, account_id, 0, now_s).is_liquidatable:
        raise DirectRefused("liquidations: healthy")
    state.flags[account_id] = now_s


def unflag(state: ChainState, account_id: int, now_s: int) -> None:
    """Stop the clock of an account that is healthy at one of both prices. Raises: DirectRefused."""
    if not state.flagged_at_s(account_id):
        raise DirectRefused("liquidations: not flagged")
    if read_account(state, account_id, 0, now_s).is_unhealthy:
        raise DirectRefused("liquidations: liquidatable")
    state.flags.pop(account_id)


# Orders of batches.


def check_order(words: Words, account_id: int, record: OrderRecord, *, sequence: int, matched_at_s: int) -> StatusCode:
    """Judge a liquidation order of a batch on the words after prices and operations, before the fills."""
    reading = read_account(words, account_id, record.market_id, matched_at_s)
    if not reading.is_liquidatable:
        return StatusCode.NOT_LIQUIDATABLE
    flags = pack_flags(is_buy=record.is_buy, reduce_only=True, time_in_force=TimeInForce.IOC, liquidation=True)
    if (
        reading.holding is None
        or record.flags != flags
        or record.lane != LIQUIDATION_LANE
        or record.seq != sequence
        or record.max_fee_ppm > ORDER_FEE_PPM
        or record.is_buy != (reading.holding.size_lots < 0)
    ):
        return StatusCode.LIQUIDATION_TERMS
    worst_ticks, is_inside = draw_into_band(reading.holding, reading.worst_ticks)
    is_beyond = record.limit_ticks > worst_ticks if record.is_buy else record.limit_ticks < worst_ticks
    if (
        not is_inside
        or is_beyond
        or record.size_lots > reading.size_lots(worst_ticks, ORDER_FEE_PPM)
        or record.size_lots * worst_ticks > compute_cap_quote(reading.holding.session)
    ):
        return StatusCode.LIQUIDATION_TERMS
    return StatusCode.OK


# Insurance.


def compute_available_quote(
    state: ChainState, liquidations: LiquidationsState, market_id: int, now_s: int
) -> tuple[int, int]:
    """Return what a market's insurance holds, and what of it may be paid today: a fifth of a day's first sight."""
    held_quote = max(state.account(liquidations.insurance_id(market_id)).collateral_quote, 0)
    draw = liquidations.draws.get(market_id)
    if draw is None or draw.day != div_down(now_s, _DAY_S):
        return held_quote, mul_div_down(held_quote, DRAW_PERCENT, 100)
    return held_quote, min(draw.left_quote, held_quote)


def plan_draw(
    state: ChainState, liquidations: LiquidationsState, market_id: int, quote: int, now_s: int, *, is_capped: bool
) -> tuple[int, Draw | None]:
    """Return what insurance pays of a sum, and its allowance afterwards; None = as it was."""
    held_quote, left_quote = compute_available_quote(state, liquidations, market_id, now_s)
    paid_quote = min(quote, left_quote if is_capped else held_quote)
    if paid_quote == 0:
        return 0, None
    return paid_quote, Draw(day=div_down(now_s, _DAY_S), left_quote=left_quote - min(left_quote, paid_quote))


# Liquidation.


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidation:
    """What a call of liquidate did."""

    taken_lots: int
    price_ticks: int
    fee_quote: int
    insurance_quote: int


def liquidate(
    state: ChainState,
    liquidations: LiquidationsState,
    *,
    taker_id: int,
    account_id: int,
    market_id: int,
    lots: int,
    now_s: int,
) -> Liquidation:
    """Take over an unhealthy account's position, or a part of it, at the worst price of its liquidation.

    Raises: DirectRefused, FieldOutOfRange; both states unchanged.
    """
    check_not_settled(state)
    if owner_of(account_id) == owner_of(taker_id):
        raise DirectRefused("liquidations: own account")
    flagged_at_s = read_flag_s(state, account_id, now_s)
    if not flagged_at_s or now_s <= flagged_at_s + SETTLE_LAG_S:
        raise DirectRefused("liquidations: too early")
    reading = read_account(state, account_id, market_id, now_s)
    if not reading.is_liquidatable:
        raise DirectRefused("liquidations: healthy")
    holding = reading.must_hold()
    price_ticks, is_inside = draw_into_band(holding, reading.worst_ticks)
    if not is_inside:
        raise DirectRefused("liquidations: outside band")
    taken_lots = min(lots, reading.size_lots(price_ticks, LIQUIDATION_FEE_PPM))
    is_all = taken_lots == abs(holding.size_lots)
    is_whole = taken_lots % max(rules_in_use(holding).size_step_lots, 1) == 0
    if not is_all and (not taken_lots or not is_whole or skip_dust(holding, taken_lots) != taken_lots):
        raise DirectRefused("liquidations: lots")
    change_lots = -taken_lots if holding.size_lots > 0 else taken_lots
    after = trade(reading, change_lots, price_ticks)
    deltas: list[Delta] = []
    draws: dict[int, Draw] = {}
    throttle, fee_quote, is_flag_cleared = liquidations.throttles.get(market_id), 0, False
    paid_quote = max(after.shortfall_quote, 0)
    if paid_quote:
        if not is_all:
            raise DirectRefused("liquidations: lots")
        for one, share_quote in zip(reading.holdings, allocate_quote(-paid_quote, reading.holdings), strict=True):
            wanted_quote = max(-share_quote, 0)
            drawn_quote, draw = plan_draw(state, liquidations, one.market_id, wanted_quote, now_s, is_capped=True)
            if drawn_quote != wanted_quote:
                raise DirectRefused("liquidations: bankrupt")
            if draw:
                draws[one.market_id] = draw
            deltas.append(Delta(account_id=liquidations.insurance_id(one.market_id), collateral_quote=share_quote))
        is_flag_cleared = len(reading.holdings) == 1
    else:
        throttle = _plan_throttle(liquidations, holding, taken_lots * price_ticks, now_s)
        fee_quote = min(
            mul_div_up(taken_lots * price_ticks, LIQUIDATION_FEE_PPM, PPM), max(after.at_worse.equity_quote, 0)
        )
        if fee_quote:
            deltas.append(Delta(account_id=liquidations.insurance_id(market_id), collateral_quote=fee_quote))
        is_flag_cleared = after.at_worse.equity_quote >= after.at_worse.maintenance_margin_quote + fee_quote
    given_quote = paid_quote - fee_quote
    deltas.append(build_delta(account_id, change_lots, price_ticks, given_quote))
    deltas.append(build_delta(taker_id, -change_lots, price_ticks))
    since_s = liquidations.taker_since_s.get(taker_id, 0)
    if not since_s or now_s <= since_s:
        raise DirectRefused("liquidations: taker unannounced")
    _check_taker(state, taker_id, holding, -change_lots, price_ticks, now_s)
    apply_deltas(state, market_id, sort_deltas(deltas))
    liquidations.draws |= draws
    if throttle:
        liquidations.throttles[market_id] = throttle
    if is_flag_cleared:
        state.flags.pop(account_id, None)
    return Liquidation(taken_lots=taken_lots, price_ticks=price_ticks, fee_quote=fee_quote, insurance_quote=paid_quote)


def _plan_throttle(liquidations: LiquidationsState, holding: Holding, notional_quote: int, now_s: int) -> Throttle:
    minute = div_down(now_s, _MINUTE_S)
    throttle = liquidations.throttles.get(holding.market_id)
    if throttle and throttle.minute == minute:
        notional_quote += throttle.notional_quote
    if notional_quote > compute_cap_quote(holding.session):
        raise DirectRefused("liquidations: throttled")
    return Throttle(minute=minute, notional_quote=notional_quote)


def _check_taker(
    state: ChainState, taker_id: int, market: Holding, change_lots: int, price_ticks: int, now_s: int
) -> None:
    """Refuse a taker beyond the account cap, stale, or below initial margin afterwards."""
    before = read_holdings(state, taker_id, now_s)
    held_lots = sum(holding.size_lots for holding in before if holding.market_id == market.market_id)
    after_lots = held_lots + change_lots
    if abs(after_lots) > abs(held_lots) and abs(after_lots) > rules_in_use(market).account_cap_lots:
        raise DirectRefused("liquidations: taker cap")
    after = try_trade(before, market, change_lots, price_ticks)
    risk = compute_risk(state.account(taker_id).collateral_quote, after, Basis.WORSE)
    if not is_all_fresh(after) or risk.equity_quote < risk.initial_margin_quote:
        raise DirectRefused("liquidations: taker margin")


def build_delta(account_id: int, change_lots: int, price_ticks: int, collateral_quote: int = 0) -> Delta:
    """Return one account's part of a trade and what is added to its collateral."""
    return Delta(
        account_id=account_id,
        size_lots=change_lots,
        entry_quote=change_lots * price_ticks,
        collateral_quote=collateral_quote,
    )


def sort_deltas(deltas: Sequence[Delta]) -> list[Delta]:
    """Return them ascending by account, as apply_deltas wants them."""
    return sorted(deltas, key=lambda delta: delta.account_id)


# Spread.


def cover(state: ChainState, liquidations: LiquidationsState, account_id: int, market_id: int, now_s: int) -> None:
    """Take what an account without positions owes off it, for corporate actions. Raises: DirectRefused."""
    check_not_settled(state)
    reading = read_account(state, account_id, 0, now_s)
    if reading.holdings or reading.collateral_quote >= 0:
        raise DirectRefused("liquidations: nothing to cover")
    lost_quote = -reading.collateral_quote
    account = Delta(account_id=account_id, collateral_quote=lost_quote)
    apply_loss(state, liquidations, [account], read_market(state, market_id, now_s), lost_quote, now_s)


def apply_loss(
    state: ChainState,
    liquidations: LiquidationsState,
    deltas: Sequence[Delta],
    holding: Holding,
    lost_quote: int,
    now_s: int,
) -> None:
    """Apply deltas whose last account gains `lost_quote` that no other gives; negative: it goes to the pot.

    Insurance pays first, beyond its cap when nobody holds the market any more. The rest comes from the pot, which both
    sides owe back: long index += x, short index -= x, x = ceil(rest x 1e12 / (2 x open interest - the account's lots)),
    at most the mark, and 0 when an index would leave its range. The account is given its own share in advance.
    holding: its position afterwards.
    """
    market_id = holding.market_id
    if lost_quote <= 0:
        apply_deltas(state, market_id, sort_deltas(deltas), -lost_quote)
        return
    *others, account = deltas
    own_lots = abs(holding.size_lots)
    interest_lots = state.totals_of(market_id).open_interest_lots - abs(account.size_lots)
    paid_quote, draw = plan_draw(state, liquidations, market_id, lost_quote, now_s, is_capped=interest_lots != 0)
    rest_quote, index = lost_quote - paid_quote, state.index(market_id)
    step_e12 = 0
    if rest_quote and interest_lots:
        step_e12 = div_up(rest_quote * INDEX_SCALE, 2 * interest_lots - own_lots)
        step_e12 = min(step_e12, holding.mark_ticks * INDEX_SCALE)
        limit_e12 = 1 << N_INDEX_BITS
        if index.long_index_e12 + step_e12 >= limit_e12 or index.short_index_e12 - step_e12 <= -limit_e12:
            step_e12 = 0
    own_quote = mul_div_up(own_lots, step_e12, INDEX_SCALE)
    applied = [*others, replace(account, collateral_quote=account.collateral_quote + own_quote)]
    if paid_quote:
        applied.append(Delta(account_id=liquidations.insurance_id(market_id), collateral_quote=-paid_quote))
    apply_deltas(state, market_id, sort_deltas(applied), -(rest_quote + own_quote))
    if draw:
        liquidations.draws[market_id] = draw
    if step_e12:
        moved: IndexWord = replace(
            index,
            long_index_e12=index.long_index_e12 + step_e12,
            short_index_e12=index.short_index_e12 - step_e12,
        )
        move_market(state, market_id, state.prices[market_id], moved.pack())
