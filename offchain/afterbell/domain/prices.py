"""Move the prices of the markets a batch touches: reports, sessions, then mark, index and funding by its rows.

The mark is drawn toward the row's mark, never outside the band around the external price, and never faster than one
step per 3 s since it last moved (D-004): the step wins over the band. Must not: check signatures; evidence.py does.
Twin: contracts/PriceOracle.vy `update`, contracts/modules/price_rules.vy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from afterbell.domain.batch import PriceRow
from afterbell.domain.codes import ReportCode
from afterbell.domain.errors import BatchReverted
from afterbell.domain.evidence import split_sections
from afterbell.domain.funding import accrue
from afterbell.domain.ids import MAX_MARKETS
from afterbell.domain.market import compute_band, is_fresh
from afterbell.domain.oracle import (
    NO_SESSION,
    OracleState,
    ReportVerdict,
    SourceReport,
    compute_external_ticks,
    judge_observation,
    observe,
)
from afterbell.domain.session import Session, is_stricter
from afterbell.domain.units import PPM, clamp, div_down, div_up, mul_div_down
from afterbell.domain.words import IndexWord, PriceWord, RulesWord, TotalsWord

MARK_STEP_S: Final = 3
MAX_MARK_STEPS: Final = 20
MAX_SESSION_MINUTES: Final = (1 << 16) - 1


class Words(Protocol):
    """The words that PriceOracle reads from the Clearinghouse; ChainState has them."""

    def price(self, market_id: int) -> PriceWord:
        """Return a market's price word."""
        ...

    def index(self, market_id: int) -> IndexWord:
        """Return a market's index word."""
        ...

    def totals_of(self, market_id: int) -> TotalsWord:
        """Return a market's totals word."""
        ...

    def rules_of(self, market_id: int, session: int, matched_at_s: int) -> RulesWord | None:
        """Return the rules that bind a batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedMarket:
    """What reports and clocks say of one market in a batch, before its row moves anything."""

    market_id: int
    external_ticks: int
    external_time_s: int
    session: int
    session_minutes: int
    window_start_s: int
    """Start of the calendar's window; funding reaches no further back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketUpdate:
    """What a batch makes of one market's words."""

    market_id: int
    price: PriceWord
    index: IndexWord


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPrices:
    """What `state_markets` makes of a batch's evidence."""

    oracle: OracleState
    """The oracle afterwards."""
    markets: tuple[StatedMarket, ...]
    """Every market with a row or a report that counts, ascending."""
    verdicts: tuple[ReportVerdict, ...]
    """What the guards of their source ignored, in their order; then, by market, what became of the primary's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceUpdate:
    """What `update` makes of a batch's rows and evidence."""

    oracle: OracleState
    """The oracle afterwards."""
    markets: tuple[MarketUpdate, ...]
    """Every market of which a word changed, ascending."""
    verdicts: tuple[ReportVerdict, ...]
    """As in StatedPrices."""


def update(
    oracle: OracleState, words: Words, rows: Sequence[PriceRow], evidence: bytes, matched_at_s: int
) -> PriceUpdate:
    """Apply the rows and the evidence of a batch: `state_markets`, then `move_markets`.

    Raises: BatchReverted `prices: market order`, `prices: unknown market`, `prices: no external`; EvidenceRefused.
    Neither the oracle given nor the words change.
    """
    stated = state_markets(oracle, words, [row.market_id for row in rows], evidence, matched_at_s)
    markets = move_markets(words, stated.markets, rows, matched_at_s)
    return PriceUpdate(oracle=stated.oracle, markets=markets, verdicts=stated.verdicts)


def state_markets(
    oracle: OracleState, words: Words, row_markets: Sequence[int], evidence: bytes, matched_at_s: int
) -> StatedPrices:
    """Judge the evidence and find the session of every market with a row or a report that counts.

    Raises: BatchReverted `prices: market order`, `prices: unknown market`; EvidenceRefused. Neither the oracle nor
    the words change.
    """
    oracle = oracle.copy()
    previous = 0
    for market_id in row_markets:
        if market_id <= previous:
            raise BatchReverted("prices: market order")
        if market_id > MAX_MARKETS:
            raise BatchReverted("prices: unknown market")
        previous = market_id
    observed, ignored = observe(oracle, split_sections(evidence), matched_at_s)
    verdicts = list(ignored)
    markets = []
    for market_id in sorted(observed.union(row_markets)):
        price = words.price(market_id)
        if not price.epoch:
            raise BatchReverted("prices: unknown market")
        is_stated = market_id in row_markets
        observation = oracle.primaries.get(market_id)
        if market_id in observed and observation and observation.publish_time_s > price.external_time_s:
            verdict, price = _judge(oracle, words, market_id, price, matched_at_s)
            verdicts.append(verdict)
            is_stated |= verdict.code is ReportCode.ACCEPTED
        if is_stated:
            markets.append(_state(oracle, words, market_id, price, matched_at_s))
    return StatedPrices(oracle=oracle, markets=tuple(markets), verdicts=tuple(verdicts))


def move_markets(
    words: Words, markets: Sequence[StatedMarket], rows: Sequence[PriceRow], matched_at_s: int
) -> tuple[MarketUpdate, ...]:
    """Move mark, index and funding of stated markets by their rows; return those of which a word changed.

    Raises: BatchReverted `prices: no external`.
    """
    row_of = {row.market_id: row for row in rows}
    updates = []
    for stated in markets:
        price, index = words.price(stated.market_id), words.index(stated.market_id)
        moved, accrued = (
            replace(
                price,
                external_ticks=stated.external_ticks,
                external_time_s=stated.external_time_s,
                session=stated.session,
                session_minutes=stated.session_minutes,
            ),
            index,
        )
        row = row_of.get(stated.market_id)
        if row is not None:
            rules = words.rules_of(stated.market_id, stated.session, matched_at_s)
            moved = apply_price_row(moved, rules, row, matched_at_s)
            if row.funding == 1:
                accrued = accrue(
                    index,
                    price=moved,
                    rules=rules,
                    totals=words.totals_of(stated.market_id),
                    premium_ppb=row.premium_ppb,
                    window_start_s=stated.window_start_s,
                    matched_at_s=matched_at_s,
                )
        if (moved, accrued) != (price, index):
            updates.append(MarketUpdate(market_id=stated.market_id, price=moved, index=accrued))
    return tuple(updates)


def _judge(
    oracle: OracleState, words: Words, market_id: int, price: PriceWord, matched_at_s: int
) -> tuple[ReportVerdict, PriceWord]:
    """Let the primary's observation become the external price, if it may."""
    observation = oracle.primaries[market_id]
    session = _stricter(oracle.find_base_session(market_id, matched_at_s)[0], observation.session)
    code = ReportCode.MARKET_HALTED
    if not oracle.is_halted(market_id, matched_at_s):
        rules = words.rules_of(market_id, session, matched_at_s)
        code, observation = judge_observation(
            oracle,
            market_id,
            external_ticks=price.external_ticks,
            session=session,
            max_second_age_s=rules.max_age_s if rules else 0,
            matched_at_s=matched_at_s,
        )
    if code is ReportCode.ACCEPTED:
        observation = replace(observation, accepted_session=observation.session)
        external_ticks = compute_external_ticks(observation.price_e8, oracle.markets[market_id])
        # no price is younger than the match it counts for
        external_time_s = min(observation.publish_time_s, matched_at_s)
        price = replace(price, external_ticks=external_ticks, external_time_s=external_time_s)
    oracle.primaries[market_id] = observation
    report = SourceReport(
        market_id=market_id,
        session=NO_SESSION if observation.session is None else observation.session,
        price_e8=observation.price_e8,
        publish_time_s=observation.publish_time_s,
    )
    return ReportVerdict(report=report, code=code), price


def _state(oracle: OracleState, words: Words, market_id: int, price: PriceWord, matched_at_s: int) -> StatedMarket:
    """Say in which session a market is and until when that is stated.

    Under an override no longer than the calendar's own session lets a price stand: nobody gets rid of an age limit by
    declaring the market closed.
    """
    session, until_s = oracle.find_base_session(market_id, matched_at_s)
    observation = oracle.primaries.get(market_id)
    minutes = clamp(div_down(until_s - price.external_time_s, 60), 0, MAX_SESSION_MINUTES)
    window = oracle.calendar.window_at(matched_at_s)
    if oracle.is_overridden(market_id, matched_at_s):
        rules = words.rules_of(market_id, window.session, matched_at_s)
        if rules is not None and rules.max_age_s:
            minutes = min(minutes, div_up(rules.max_age_s, 60))
    return StatedMarket(
        market_id=market_id,
        external_ticks=price.external_ticks,
        external_time_s=price.external_time_s,
        session=_stricter(session, observation.accepted_session if observation else None),
        session_minutes=minutes,
        window_start_s=window.start_s,
    )


def _stricter(session: int, reported: int | None) -> int:
    """Return the stricter of two sessions, the first when they are alike."""
    return reported if reported is not None and is_stricter(reported, session) else session


def compute_mark_ticks(
    price: PriceWord, rules: RulesWord | None, row_mark_ticks: int, matched_at_s: int
) -> tuple[int, int]:
    """Return (mark_ticks, mark_time_s) after a row.

    Formula: target = clamp(row, external -+ band); n_steps = min((matched_at - mark_time) // 3, 20);
    move = mark x step_ppm x n_steps // 1e6; mark = clamp(target, mark -+ move). Rounding: the move down. An unset mark
    jumps to the target; with no room to move, neither mark nor its time changes, nor in HALTED and CORPORATE_ACTION.
    """
    low_ticks, high_ticks = compute_band(price.external_ticks, rules.band_ppm if rules else 0)
    target_ticks = clamp(row_mark_ticks, low_ticks, high_ticks)
    if price.mark_ticks == 0:
        return target_ticks, matched_at_s
    n_steps = min(div_down(matched_at_s - price.mark_time_s, MARK_STEP_S), MAX_MARK_STEPS)
    if rules is None or price.session in (Session.HALTED, Session.CORPORATE_ACTION):
        n_steps = 0
    move_ticks = mul_div_down(price.mark_ticks, (rules.mark_step_ppm if rules else 0) * n_steps, PPM)
    if move_ticks == 0:
        return price.mark_ticks, price.mark_time_s
    return clamp(target_ticks, price.mark_ticks - move_ticks, price.mark_ticks + move_ticks), matched_at_s


def apply_price_row(price: PriceWord, rules: RulesWord | None, row: PriceRow, matched_at_s: int) -> PriceWord:
    """Return the prices after a row of the batch. Raises: BatchReverted `prices: no external`."""
    if price.external_ticks == 0:
        raise BatchReverted("prices: no external")
    mark_ticks, mark_time_s = compute_mark_ticks(price, rules, row.mark_ticks, matched_at_s)
    price = replace(price, mark_ticks=mark_ticks, mark_time_s=mark_time_s)
    if is_fresh(price, rules, matched_at_s):
        return replace(price, index_ticks=price.external_ticks)
    low_ticks, high_ticks = compute_band(price.external_ticks, rules.band_ppm if rules else 0)
    return replace(price, index_ticks=clamp(row.index_ticks, low_ticks, high_ticks))
