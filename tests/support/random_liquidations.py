"""Random liquidation orders of a random world: as large and as bad as they may be, one lot more, one tick worse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from afterbell.domain.batch import OrderRecord, build_liquidation_record
from afterbell.domain.liquidation_terms import draw_into_band
from afterbell.domain.liquidations import ORDER_FEE_PPM, read_account
from afterbell.domain.settlement import ChainState, Execution

if TYPE_CHECKING:
    from tests.support.world import World

MAX_LIQUIDATED = 3
_FLAWS = ("sequence", "lane", "lots", "limit", "fee", "flags", "side", "market")


def find_slack_quote(state: ChainState, account: int, at_s: int, preview: Execution | None = None) -> int:
    """Return how much more an account has than makes it liquidatable: below zero it is, at both prices."""
    reading = read_account(preview.before_fills() if preview else state, account, 0, at_s)
    return max(risk.equity_quote - risk.maintenance_margin_quote for risk in (reading.at_mark, reading.at_external))


def plan_liquidations(world: World, preview: Execution, matched_at_s: int) -> list[tuple[int, OrderRecord]]:
    """Return liquidation orders for accounts unhealthy at the prices of the batch, at times for one that may not be."""
    rng = world.random
    accounts = [account for account in world.accounts if preview.positions(account)]
    words = preview.before_fills()
    unhealthy = [account for account in accounts if read_account(words, account, 0, matched_at_s).is_liquidatable]
    chosen = rng.sample(unhealthy, min(len(unhealthy), MAX_LIQUIDATED))
    if accounts and rng.random() < 0.03:
        chosen.append(rng.choice(accounts))
    planned = []
    for account in chosen:
        markets = list(preview.positions(account))
        for market_id in rng.sample(markets, min(len(markets), rng.choice((1, 1, 2)))):
            record = _make_order(world, preview, account, market_id, matched_at_s)
            if record is not None:
                planned.append((account, record))
    return planned


def _make_order(
    world: World, preview: Execution, account: int, market_id: int, matched_at_s: int
) -> OrderRecord | None:
    rng = world.random
    reading = read_account(preview.before_fills(), account, market_id, matched_at_s)
    holding = reading.must_hold()
    if holding.rules is None:
        return None
    worst_ticks, _ = draw_into_band(holding, reading.worst_ticks)
    step_ticks = holding.rules.price_step_ticks
    is_buy = holding.size_lots < 0
    # On the side of the worst price that is allowed.
    limit_ticks = worst_ticks - worst_ticks % step_ticks if is_buy else worst_ticks + -worst_ticks % step_ticks
    lots = reading.size_lots(worst_ticks, ORDER_FEE_PPM)
    if rng.random() < 0.2:
        lots = max(lots // 2 // holding.rules.size_step_lots * holding.rules.size_step_lots, 1)
    record = build_liquidation_record(
        market_id=market_id,
        is_buy=is_buy,
        sequence=world.state.batch.sequence + 1,
        size_lots=lots,
        limit_ticks=limit_ticks,
        fee_ppm=rng.choice((0, 0, 450, 900)),
        expiry_s=matched_at_s,
    )
    return _break(world, record, step_ticks) if rng.random() < 0.2 else record


def _break(world: World, record: OrderRecord, step_ticks: int) -> OrderRecord:
    """Return the order with one flaw."""
    rng = world.random
    flaw = rng.choice(_FLAWS)
    if flaw == "sequence":
        return replace(record, seq=record.seq + rng.choice((-1, 1)))
    if flaw == "lane":
        return replace(record, lane=rng.choice((0, 65_533)))
    if flaw == "lots":
        return replace(record, size_lots=record.size_lots + 6)
    if flaw == "limit":
        worse_ticks = step_ticks if record.is_buy else -step_ticks
        return replace(record, limit_ticks=max(record.limit_ticks + worse_ticks, 0))
    if flaw == "fee":
        return replace(record, max_fee_ppm=ORDER_FEE_PPM + rng.randint(0, 1))
    if flaw == "flags":
        return replace(record, flags=record.flags ^ 1 << rng.choice((1, 3, 4, 7)))
    if flaw == "side":
        return replace(record, flags=record.flags ^ 1)
    return replace(record, market_id=record.market_id % 9 + 1)
