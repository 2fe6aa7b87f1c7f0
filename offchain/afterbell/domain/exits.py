"""Let users leave without a sequencer: forced withdrawals, auctions of positions, exit mode.

Every function does what the call of the same name does: checks first, then moves the words; a refusal leaves both
states as they were. Stale or halted markets count at the edge of a band that widens with the age of their price, so
that a dead oracle stops nobody. Must not: look at a clock; callers pass now_s. Twin: contracts/Exits.vy, PROTOCOL §5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from afterbell.domain.account_risk import (
    UNLIQUIDATED_SESSIONS,
    Basis,
    Holding,
    Risk,
    compute_holding_ticks,
    compute_risk,
    read_holding,
    read_holdings,
    try_trade,
)
from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.deltas import Delta, apply_deltas, set_mode, withdraw_to_claim
from afterbell.domain.errors import DirectRefused
from afterbell.domain.exit_requests import (
    AUCTION_S,
    WITHDRAWAL,
    Cause,
    ExitsState,
    RequestWord,
    check_account,
    check_not_settled,
    must_open_request,
    store_request,
)
from afterbell.domain.ids import owner_of
from afterbell.domain.position import is_reducing
from afterbell.domain.units import PPM, QUOTE_PER_USDC, div_down, mul_div_down

WAIT_S: Final = 23 * 3_600
"""A close that nobody takes at its last price for this long is overdue: 30 h after the request at the earliest."""
MAX_STANDSTILL_S: Final = 14 * 86_400
"""A halt stops an auction's clock no longer than this."""
MIN_OVERDUE_QUOTE: Final = 100 * QUOTE_PER_USDC
"""A smaller close is nobody's profit, so nobody's not taking it proves anything."""
SILENCE_S: Final = 86_400
ALIVE_S: Final = 3_600
EXIT_MODE_S: Final = 7 * 86_400
MAX_STALE_BAND_PPM: Final = 500_000
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """What the uptime feed of the chain says."""

    is_up: bool
    since_s: int


# Prices and risk.


def is_halted(session: int) -> bool:
    """Tell whether a session stops auctions."""
    return session in UNLIQUIDATED_SESSIONS


def _compute_band_ticks(holding: Holding, now_s: int) -> int:
    """Return half the width of the band: the session's, once more for each whole day a stale price is old."""
    ppm = holding.rules.band_ppm if holding.rules else 0
    if not holding.is_fresh:
        days = div_down(max(now_s - holding.external_time_s, 0), _DAY_S)
        ppm = max(ppm, min(ppm * (1 + days), MAX_STALE_BAND_PPM))
    return mul_div_down(holding.external_ticks, ppm, PPM)


def value_conservatively(holding: Holding, now_s: int) -> Holding:
    """Return a holding with the external price of a stale or halted market at the edge that is worse for it."""
    if holding.is_fresh and not is_halted(holding.session):
        return holding
    stale = replace(holding, is_fresh=False)
    band_ticks = _compute_band_ticks(stale, now_s)
    shift_ticks = -band_ticks if holding.size_lots > 0 else band_ticks
    return replace(stale, external_ticks=stale.external_ticks + shift_ticks)


def compute_exit_risk(state: ChainState, account_id: int, now_s: int) -> Risk:
    """Sum an account, stale markets at their conservative prices."""
    holdings = [value_conservatively(holding, now_s) for holding in read_holdings(state, account_id, now_s)]
    return compute_risk(state.account(account_id).collateral_quote, holdings, Basis.WORSE)


def compute_withdrawable_quote(state: ChainState, account_id: int, now_s: int) -> int:
    """Return the most a forced withdrawal would pay."""
    risk = compute_exit_risk(state, account_id, now_s)
    return max(risk.equity_quote - risk.withdrawal_margin_quote, 0)


def _read_holding(state: ChainState, account_id: int, market_id: int, now_s: int) -> Holding:
    """Return a position; a halted market's price counts as stale."""
    holding = read_holding(state, account_id, market_id, now_s)
    return replace(holding, is_fresh=holding.is_fresh and not is_halted(holding.session))


def _compute_band(holding: Holding, now_s: int) -> tuple[int, int]:
    band_ticks = _compute_band_ticks(holding, now_s)
    return max(holding.external_ticks - band_ticks, 1), holding.external_ticks + band_ticks


def _compute_bearable_quote(state: ChainState, account_id: int, holding: Holding, lots: int, now_s: int) -> int:
    """Return what an account may lose by closing lots, against what they are valued at, the worse of mark and external.

    Formula: the greater of equity - settlement margin' and equity x (maintenance - maintenance') / maintenance, so that
    a close never takes from the positions that stay. A bankrupt account must gain what it lacks (negative): who has no
    position never owes. Rounding: down.
    """
    collateral_quote = state.account(account_id).collateral_quote
    holdings = read_holdings(state, account_id, now_s)
    before = compute_risk(collateral_quote, holdings, Basis.WORSE)
    if before.equity_quote <= 0:
        return before.equity_quote
    change_lots = -lots if holding.size_lots > 0 else lots
    valuation_ticks = compute_holding_ticks(holding, Basis.WORSE)
    after = compute_risk(collateral_quote, try_trade(holdings, holding, change_lots, valuation_ticks), Basis.WORSE)
    bearable_quote = before.equity_quote - after.settlement_margin_quote
    if before.maintenance_margin_quote == 0:
        return max(bearable_quote, 0)
    freed_quote = before.maintenance_margin_quote - after.maintenance_margin_quote
    return max(bearable_quote, mul_div_down(before.equity_quote, freed_quote, before.maintenance_margin_quote))


def compute_price_ticks(
    state: ChainState, account_id: int, holding: Holding, request: RequestWord, lots: int, *, now_s: int
) -> int:
    """Return the auction's price for these lots; 0 when its hour is over or no price inside the band will do.

    request: its clock moved to now. The price runs in an hour from the external price, in a stale market from the
    band's edge that is better for the owner, to the worst price, inside the band, and no further than the account
    bears. Rounding: for the owner.
    """
    low_ticks, high_ticks = _compute_band(holding, now_s)
    per_lot_ticks = div_down(_compute_bearable_quote(state, account_id, holding, lots, now_s), lots)
    valuation_ticks = compute_holding_ticks(holding, Basis.WORSE)
    is_over = request.elapsed_s == AUCTION_S
    if request.is_long:
        last_ticks = max(request.worst_ticks, low_ticks, valuation_ticks - per_lot_ticks)
        if last_ticks > high_ticks or (is_over and request.worst_ticks > low_ticks):
            return 0
        first_ticks = max(holding.external_ticks, last_ticks) if holding.is_fresh else high_ticks
        return first_ticks - mul_div_down(first_ticks - last_ticks, request.elapsed_s, AUCTION_S)
    last_ticks = min(request.worst_ticks, high_ticks, valuation_ticks + per_lot_ticks)
    if last_ticks < low_ticks or (is_over and request.worst_ticks < high_ticks):
        return 0
    first_ticks = min(holding.external_ticks, last_ticks) if holding.is_fresh else low_ticks
    return first_ticks + mul_div_down(last_ticks - first_ticks, request.elapsed_s, AUCTION_S)


def _check_taker(
    state: ChainState, taker_id: int, market_id: int, change_lots: int, price_ticks: int, now_s: int
) -> None:
    """Refuse a taker without initial margin afterwards, stale markets at their conservative prices, or beyond its cap.

    Who only lowers its own risk is held to the rule of the other side instead. Raises: DirectRefused.
    """
    collateral_quote = state.account(taker_id).collateral_quote
    held = _read_holding(state, taker_id, market_id, now_s)
    old_lots, new_lots = held.size_lots, held.size_lots + change_lots
    plain = read_holdings(state, taker_id, now_s)
    traded = try_trade(plain, held, change_lots, price_ticks)
    # After the trade: a stale price counts at the edge that is worse for the side the taker ends on.
    valued = [value_conservatively(holding, now_s) for holding in traded]
    after = compute_risk(collateral_quote, valued, Basis.WORSE)
    if after.equity_quote >= after.initial_margin_quote:
        cap_lots = held.rules.account_cap_lots if held.rules else 0
        if abs(new_lots) > abs(old_lots) and abs(new_lots) > cap_lots:
            raise DirectRefused("exits: account cap")
        return
    before, after = (compute_risk(collateral_quote, holdings, Basis.WORSE) for holdings in (plain, traded))
    keeps_ratio = (
        after.equity_quote * before.maintenance_margin_quote >= before.equity_quote * after.maintenance_margin_quote
    )
    is_covered = after.equity_quote >= 0 and (after.equity_quote >= after.settlement_margin_quote or keeps_ratio)
    if not is_reducing(old_lots, new_lots) or not is_covered:
        raise DirectRefused("exits: taker margin")


# Forcing.


def force_withdrawal(
    state: ChainState, exits: ExitsState, account_id: int, *, now_s: int, is_sequencer: bool = False
) -> int:
    """Pay what was requested as far as margin allows; return the quote moved to the claim, 0 if none could be.

    Raises: DirectRefused account id, settled, no request, too early.
    """
    check_account(account_id)
    check_not_settled(state)
    request = must_open_request(exits, account_id, WITHDRAWAL)
    if request.is_dead(now_s):
        store_request(exits, account_id, WITHDRAWAL, replace(request, remaining=0))
        return 0
    if now_s < request.forceable_at_s and not is_sequencer:
        raise DirectRefused("exits: too early")
    quote = min(request.remaining, compute_withdrawable_quote(state, account_id, now_s))
    if quote:
        withdraw_to_claim(state, account_id, exits.recipients[account_id], quote)
        store_request(exits, account_id, WITHDRAWAL, replace(request, remaining=request.remaining - quote))
    return quote


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedClose:
    """What a forced close moved."""

    lots: int
    price_ticks: int


def force_close(
    state: ChainState, exits: ExitsState, account_id: int, market_id: int, lots: int, taker_id: int, *, now_s: int
) -> ForcedClose:
    """Let `taker_id` take lots of a request at the auction's price. Raises: DirectRefused, words unchanged."""
    check_account(account_id)
    check_not_settled(state)
    if owner_of(account_id) == owner_of(taker_id):
        raise DirectRefused("exits: own request")
    if now_s <= exits.taker_since_s.get(taker_id, now_s):
        raise DirectRefused("exits: not announced")
    request = must_open_request(exits, account_id, market_id)
    if now_s < request.forceable_at_s:
        raise DirectRefused("exits: too early")
    if request.is_dead(now_s):
        raise DirectRefused("exits: request dead")
    holding = _read_holding(state, account_id, market_id, now_s)
    if holding.size_lots == 0 or (holding.size_lots > 0) != request.is_long:
        raise DirectRefused("exits: no position")
    if is_halted(holding.session):
        raise DirectRefused("exits: halted")
    request = request.advance(now_s, is_halted=False)
    size_lots = min(lots, request.remaining, abs(holding.size_lots))
    if size_lots == 0:
        raise DirectRefused("exits: nothing asked")
    price_ticks = compute_price_ticks(state, account_id, holding, request, size_lots, now_s=now_s)
    if price_ticks == 0:
        raise DirectRefused("exits: no price")
    change_lots = -size_lots if request.is_long else size_lots
    _check_taker(state, taker_id, market_id, -change_lots, price_ticks, now_s)
    paid_quote = change_lots * price_ticks
    deltas = [
        Delta(account_id=account_id, size_lots=change_lots, entry_quote=paid_quote),
        Delta(account_id=taker_id, size_lots=-change_lots, entry_quote=-paid_quote),
    ]
    apply_deltas(state, market_id, sorted(deltas, key=lambda delta: delta.account_id))
    store_request(exits, account_id, market_id, replace(request, remaining=request.remaining - size_lots))
    return ForcedClose(lots=size_lots, price_ticks=price_ticks)


def observe(state: ChainState, exits: ExitsState, account_id: int, market_id: int, *, now_s: int) -> Cause:
    """Look at a close: move its clock, end it when it is over, tell whether it is overdue. Raises: DirectRefused."""
    check_account(account_id)
    check_not_settled(state)
    if market_id == WITHDRAWAL:
        raise DirectRefused("exits: no request")
    request = must_open_request(exits, account_id, market_id)
    holding = _read_holding(state, account_id, market_id, now_s)
    ended = _find_end(request, holding, now_s)
    if ended is None:
        if now_s < request.forceable_at_s:
            raise DirectRefused("exits: too early")
        request = request.advance(now_s, is_halted=is_halted(holding.session))
        request = replace(request, remaining=min(request.remaining, abs(holding.size_lots)))
        low_ticks, high_ticks = _compute_band(holding, now_s)
        takes_any = request.worst_ticks <= low_ticks if request.is_long else request.worst_ticks >= high_ticks
        if request.elapsed_s == AUCTION_S and not takes_any:
            ended = Cause.AUCTION_OVER
    if ended is not None:
        store_request(exits, account_id, market_id, replace(request, remaining=0))
        return ended
    was_overdue = request.is_overdue
    if takes_any and _is_waiting(state, account_id, holding, request, now_s):
        since_s = request.waiting_since_s or now_s
        request = replace(request, waiting_since_s=since_s, is_overdue=now_s >= since_s + WAIT_S)
    else:
        request = replace(request, waiting_since_s=0, is_overdue=False)
    exits.n_overdue += request.is_overdue - was_overdue
    store_request(exits, account_id, market_id, request)
    return Cause.OBSERVED


def _find_end(request: RequestWord, holding: Holding, now_s: int) -> Cause | None:
    if request.is_dead(now_s):
        return Cause.EXPIRED
    if holding.size_lots == 0 or (holding.size_lots > 0) != request.is_long:
        return Cause.NO_POSITION
    return None


def _is_waiting(state: ChainState, account_id: int, holding: Holding, request: RequestWord, now_s: int) -> bool:
    """Tell whether a close at any price has had its auction and should have found a taker."""
    if request.elapsed_s < AUCTION_S and now_s < request.forceable_at_s + MAX_STANDSTILL_S:
        return False
    if request.remaining * holding.external_ticks < MIN_OVERDUE_QUOTE:
        return False
    if not holding.is_fresh:
        return True
    risk = compute_exit_risk(state, account_id, now_s)
    return risk.equity_quote >= risk.maintenance_margin_quote


# Modes.


def _last_batch_s(state: ChainState) -> int:
    return max(state.batch.matched_at_s, state.genesis_s)


def is_alive(state: ChainState, now_s: int) -> bool:
    """Tell whether a batch was matched within the last hour."""
    return now_s < _last_batch_s(state) + ALIVE_S


def is_silent(state: ChainState, now_s: int, uptime: Uptime | None = None) -> bool:
    """Tell whether no batch was matched for a day in which the chain was up; the feed postpones it by a day at most."""
    last_s = _last_batch_s(state)
    if now_s <= last_s + SILENCE_S:
        return False
    if uptime is None or now_s > last_s + 2 * SILENCE_S:
        return True
    return uptime.is_up and now_s > max(last_s, uptime.since_s) + SILENCE_S


def enter_exit_mode(state: ChainState, exits: ExitsState, *, now_s: int, uptime: Uptime | None = None) -> None:
    """Stop everything but reductions and withdrawals. Raises: DirectRefused mode, not due."""
    if state.mode != Mode.NORMAL:
        raise DirectRefused("exits: mode")
    if exits.n_overdue == 0 and not is_silent(state, now_s, uptime):
        raise DirectRefused("exits: not due")
    set_mode(state, Mode.EXIT)
    exits.exit_mode_since_s = now_s


def leave_exit_mode(state: ChainState, exits: ExitsState, *, now_s: int) -> None:
    """Go back to trading. Raises: DirectRefused mode, not cleared."""
    if state.mode != Mode.EXIT:
        raise DirectRefused("exits: mode")
    if not is_alive(state, now_s) or exits.n_overdue:
        raise DirectRefused("exits: not cleared")
    set_mode(state, Mode.NORMAL)
    exits.exit_mode_since_s = 0


def start_final_settlement(state: ChainState, exits: ExitsState, *, now_s: int) -> None:
    """End trading for good. Raises: DirectRefused mode, not due."""
    if state.mode != Mode.EXIT:
        raise DirectRefused("exits: mode")
    if now_s < exits.exit_mode_since_s + EXIT_MODE_S:
        raise DirectRefused("exits: not due")
    set_mode(state, Mode.SETTLED)
