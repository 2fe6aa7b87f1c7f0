"""Close a bankrupt account against those who won by it: the last rung of the loss ladder before the spread.

Opened with the price and the lots of the moment; for ten minutes and until somebody executes it anybody names winners,
the best 32 stay; executed best first, each as it then stands. Must not: look at a clock. Twin: Liquidations.vy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from afterbell.domain.account_risk import Basis, compute_holding_ticks
from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.chain_state import ChainState
from afterbell.domain.deltas import Delta
from afterbell.domain.errors import DirectRefused
from afterbell.domain.liquidation_terms import at_mark, compute_bankruptcy_ticks, compute_score
from afterbell.domain.liquidations import (
    Adl,
    LiquidationsState,
    Reading,
    apply_loss,
    build_delta,
    check_not_settled,
    read_account,
)
from afterbell.domain.units import div_down

MAX_NOMINEES: Final = 32
ADL_FLAG_AGE_S: Final = 3_600
"""A solvent account that found no taker for so long after its flag is closed this way too."""
NOMINATION_S: Final = 600
SPREAD_AGE_S: Final = 3_600
"""When nobody who can pay was nominated for so long, the loss is spread."""
ADL_LIFE_S: Final = 7_200


def is_alive(adl: Adl | None, now_s: int) -> bool:
    """Tell whether an ADL takes nominations and may be executed."""
    return adl is not None and not adl.is_done and now_s <= adl.opened_at_s + ADL_LIFE_S


def compute_due(reading: Reading) -> tuple[int, int]:
    """Return (lots, ticks) of what is to be auto-deleveraged. Raises: DirectRefused healthy, not bankrupt.

    Bankrupt at both prices: all of it, at the bankruptcy price. Solvent, but flagged for more than an hour: what a
    liquidation would take, at its worst price, so that the account keeps its surplus.
    """
    if not reading.is_liquidatable:
        raise DirectRefused("liquidations: healthy")
    holding = reading.must_hold()
    if reading.shortfall_quote > 0:
        return abs(holding.size_lots), compute_bankruptcy_ticks(holding, reading.share_quote)
    if reading.age_s <= ADL_FLAG_AGE_S:
        raise DirectRefused("liquidations: not bankrupt")
    return reading.size_lots(reading.worst_ticks, 0), reading.worst_ticks


def open_adl(state: ChainState, liquidations: LiquidationsState, account_id: int, market_id: int, now_s: int) -> int:
    """Open the closing of a position against the other side; return its id. Raises: DirectRefused."""
    last_id = liquidations.last_adl.get((account_id, market_id), 0)
    if is_alive(liquidations.adls.get(last_id), now_s):
        raise DirectRefused("liquidations: adl open")
    reading = read_account(state, account_id, market_id, now_s)
    holding = reading.must_hold()
    lots, price_ticks = compute_due(reading)
    adl_id = len(liquidations.adls) + 1
    liquidations.last_adl[account_id, market_id] = adl_id
    liquidations.adls[adl_id] = Adl(
        account_id=account_id,
        market_id=market_id,
        price_ticks=price_ticks,
        mark_ticks=holding.mark_ticks,
        lots=lots,
        is_short=holding.size_lots < 0,
        opened_at_s=now_s,
    )
    return adl_id


def score_nominee(adl: Adl, reading: Reading) -> int:
    """Rank a nominee at the recorded mark; 0 = no profit, or not the opposite side."""
    holding = reading.holding
    if holding is None or (holding.size_lots > 0) != adl.is_short:
        return 0
    moved_ticks = adl.mark_ticks - holding.mark_ticks
    return compute_score(
        at_mark(holding, adl.mark_ticks), reading.at_mark.equity_quote + holding.size_lots * moved_ticks
    )


def must_open_adl(liquidations: LiquidationsState, adl_id: int, now_s: int) -> Adl:
    """Return an ADL that is alive. Raises: DirectRefused."""
    adl = liquidations.adls.get(adl_id)
    if adl is None or not is_alive(adl, now_s):
        raise DirectRefused("liquidations: no adl")
    return adl


def nominate(state: ChainState, liquidations: LiquidationsState, adl_id: int, account_id: int, now_s: int) -> None:
    """Name an account of the opposite side that profits; a second time only to raise its score.

    It counts at an execution more than SETTLE_LAG later: who is closed could otherwise void what was acknowledged.

    Raises: DirectRefused no adl, no position, no profit, not among best.
    """
    adl = must_open_adl(liquidations, adl_id, now_s)
    reading = read_account(state, account_id, adl.market_id, now_s)
    reading.must_hold()
    score = score_nominee(adl, reading)
    if not score:
        raise DirectRefused("liquidations: no profit")
    nominees = list(adl.nominees)
    places = [place for place, (nominee, _, _) in enumerate(nominees) if nominee == account_id]
    after_s = now_s - adl.opened_at_s
    if not places and len(nominees) < MAX_NOMINEES:
        nominees.append((account_id, score, after_s))
    else:
        place = places[0] if places else min(range(MAX_NOMINEES), key=lambda at: nominees[at][1])
        if score <= nominees[place][1]:
            raise DirectRefused("liquidations: not among best")
        nominees[place] = (account_id, score, nominees[place][2] if places else after_s)
    liquidations.adls[adl_id] = replace(adl, nominees=tuple(nominees))


def compute_payable_lots(reading: Reading, price_ticks: int) -> int:
    """Return how much of its position an account can close at a price without ending negative."""
    holding = reading.must_hold()
    valuation_ticks = compute_holding_ticks(holding, Basis.WORSE)
    loss_ticks = valuation_ticks - price_ticks if holding.size_lots > 0 else price_ticks - valuation_ticks
    if loss_ticks <= 0:
        return abs(holding.size_lots)
    return min(abs(holding.size_lots), div_down(max(reading.at_worse.equity_quote, 0), loss_ticks))


def execute_adl(state: ChainState, liquidations: LiquidationsState, adl_id: int, now_s: int) -> int:
    """Close the position against the nominees, best first; return the lots closed.

    Without anybody to close against, an hour after the opening, a bankrupt account's loss is covered by insurance and
    spread. Raises: DirectRefused, FieldOutOfRange; both states unchanged.
    """
    check_not_settled(state)
    adl = must_open_adl(liquidations, adl_id, now_s)
    if now_s <= adl.opened_at_s + NOMINATION_S + SETTLE_LAG_S:
        raise DirectRefused("liquidations: too early")
    reading = read_account(state, adl.account_id, adl.market_id, now_s)
    holding = reading.must_hold()
    if adl.is_short != (holding.size_lots < 0):
        raise DirectRefused("liquidations: no position")
    lots, price_ticks = compute_due(reading)
    lost_quote = reading.shortfall_quote
    is_bankrupt = lost_quote > 0
    if is_bankrupt:
        # whichever is better for the counterparties; those of a short account sell
        price_ticks = (max if adl.is_short else min)(price_ticks, adl.price_ticks)
    deltas = _close_nominees(state, adl, min(lots, adl.lots), price_ticks, now_s)
    change_lots = -sum(delta.size_lots for delta in deltas)
    is_flag_cleared = False
    if not deltas:
        # not where nominees filled the list and left: others get their turn in the next one
        if not is_bankrupt or adl.nominees or now_s <= adl.opened_at_s + SPREAD_AGE_S:
            raise DirectRefused("liquidations: nobody nominated")
    else:
        lost_quote = 0
        if len(reading.holdings) == 1 and change_lots == -holding.size_lots:
            is_flag_cleared = True
            if is_bankrupt:
                # what it still owes, or what rounding left it
                lost_quote = change_lots * price_ticks - holding.cushion_quote - reading.collateral_quote
    account = build_delta(adl.account_id, change_lots, price_ticks, lost_quote)
    left = replace(holding, size_lots=holding.size_lots + change_lots)
    apply_loss(state, liquidations, [*deltas, account], left, lost_quote, now_s)
    liquidations.adls[adl_id] = replace(adl, is_done=True)
    if is_flag_cleared:
        state.flags.pop(adl.account_id, None)
    return abs(change_lots)


def _close_nominees(state: ChainState, adl: Adl, lots: int, price_ticks: int, now_s: int) -> list[Delta]:
    """Return deltas of the nominees closed, each as far as it now reaches and can pay."""
    ranked = sorted(range(len(adl.nominees)), key=lambda place: (-adl.nominees[place][1], place))
    deltas = []
    for place in ranked:
        account_id, _, after_s = adl.nominees[place]
        if now_s <= adl.opened_at_s + after_s + SETTLE_LAG_S:
            continue
        reading = read_account(state, account_id, adl.market_id, now_s)
        if not score_nominee(adl, reading):
            continue
        closed_lots = min(lots, compute_payable_lots(reading, price_ticks))
        if not closed_lots:
            continue
        lots -= closed_lots
        change_lots = -closed_lots if adl.is_short else closed_lots
        deltas.append(build_delta(account_id, change_lots, price_ticks))
        if not lots:
            break
    return deltas
