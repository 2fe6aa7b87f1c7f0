"""Read AdoptPrices: what the oracle will find, completed with the premiums the engine has sampled.

The keeper judges reports and sessions by the oracle's model. One the chain judges differently shows in its words and
stops the venue (settlement/reconciler.py). Must not: judge a report.
"""

from __future__ import annotations

from afterbell.domain.batch import MAX_EVIDENCE_BYTES, PriceRow
from afterbell.domain.commands import AdoptPrices
from afterbell.domain.prices import StatedMarket
from afterbell.domain.session import MAX_SESSION
from afterbell.domain.settlement import Execution
from afterbell.engine.adopted_prices import AdoptedPrices
from afterbell.engine.funding import is_accrual_due
from afterbell.engine.state import EngineState


def read_prices(state: EngineState, command: AdoptPrices, time_s: int) -> AdoptedPrices | str:
    """Return what a command adopts, with the engine's premiums, or why it is no such thing."""
    rows = tuple(
        PriceRow(
            market_id=market,
            mark_ticks=mark_ticks,
            index_ticks=index_ticks,
            auction_ticks=auction_ticks,
            premium_ppb=premium_ppb,
            funding=funding,
        )
        for market, mark_ticks, index_ticks, auction_ticks in command.rows
        for premium_ppb, funding in [_accrue_row(state, market, time_s)]
    )
    for name, table in (("rows", command.rows), ("stated prices", command.stated)):
        markets = [one[0] for one in table]
        if any(left >= right for left, right in zip(markets, markets[1:], strict=False)):
            return f"{name} must ascend by market, found {markets}"
    if len(command.evidence) > MAX_EVIDENCE_BYTES:
        return f"evidence must be at most {MAX_EVIDENCE_BYTES} bytes, found {len(command.evidence)}"
    missing = sorted({row[0] for row in command.rows} - {one[0] for one in command.stated})
    if missing:
        return f"the session of every market with a row must be stated, missing {missing}"
    if any(not 0 <= one[3] <= MAX_SESSION for one in command.stated):
        return f"sessions must lie in [0, {MAX_SESSION}], found {[one[3] for one in command.stated]}"
    stated = tuple(
        StatedMarket(
            market_id=market,
            external_ticks=external_ticks,
            external_time_s=external_time_s,
            session=session,
            session_minutes=session_minutes,
            window_start_s=window_start_s,
        )
        for market, external_ticks, external_time_s, session, session_minutes, window_start_s in command.stated
    )
    return AdoptedPrices(rows=rows, evidence=command.evidence, stated=stated)


def _accrue_row(state: EngineState, market: int, time_s: int) -> tuple[int, int]:
    """Return (premium_ppb, funding) of a row."""
    if market not in state.markets or not is_accrual_due(state, market, time_s):
        return 0, 0
    samples = state.premiums.get(market)
    return (0 if samples is None else samples.mean_ppb), 1


def build_execution(state: EngineState, prices: AdoptedPrices, matched_at_s: int) -> Execution:
    """Return the machine of a batch that begins with these prices. Raises: BatchReverted, FieldOutOfRange."""
    execution = Execution(state.chain, matched_at_s)
    execution.apply_prices(prices.compute_updates(state.chain, matched_at_s), prices.rows)
    return execution
