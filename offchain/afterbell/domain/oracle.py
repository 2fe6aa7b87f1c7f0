"""Judge price reports as PriceOracle does, and keep what it keeps of markets, sources, overrides and halts.

A report passes the guards of its own source and becomes an observation; an observation of the primary source becomes
the external price if the second source agrees, or, without one, if it is no jump. Must not: move a price; prices.py
does. Twin: contracts/PriceOracle.vy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.calendar import FOREVER_S, Calendar
from afterbell.domain.codes import ReportCode
from afterbell.domain.errors import DirectRefused, EvidenceRefused
from afterbell.domain.evidence import decode_evidence, verify_evidence
from afterbell.domain.session import MAX_SESSION, Session, is_stricter
from afterbell.domain.units import PPM, PRICE_SCALE, Ticks, div_down

MAX_REPORT_AGE_S: Final = 60
"""A report is refused when it was published longer than this before the match."""
MAX_EXTERNAL_TICKS: Final = (1 << 32) - 1
"""Part of the proof that the lanes suffice (contracts/README.md)."""
MAX_PRICE_E8: Final = (1 << 64) - 1
MAX_DIFFERENCE_PPM: Final = 20_000
"""How far the second source may be away from the primary, and a jump from what confirms it."""
MAX_JUMP_PPM: Final = 100_000
CONFIRM_S: Final = 60
MAX_OVERRIDE_S: Final = 86_400
SOURCE_OVERLAP_S: Final = 2 * SETTLE_LAG_S
"""A source or publisher that leaves counts this much longer, so that no batch matched before is refused."""
NO_SESSION: Final = 256
"""What a source that knows no sessions reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """One market's price as a source hands it to PriceOracle: per share, USD x 1e8."""

    market_id: int
    session: int = NO_SESSION
    price_e8: int
    confidence_e8: int = 0
    publish_time_s: int


class PriceSource(Protocol):
    """What reads one section of evidence."""

    @property
    def is_ageless_while_closed(self) -> bool:
        """Tell whether reports have no age limit while the market is closed."""
        ...

    def read_reports(self, section: bytes) -> Sequence[SourceReport]:
        """Return the reports of a section. Raises: EvidenceRefused with the contract's reason."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSource:
    """SignedPriceSource: publishers, how many must sign, and those who left lately."""

    publishers: frozenset[bytes]
    threshold: int
    domain_separator: bytes
    recover: Callable[[bytes, bytes, bytes], bytes | None]
    left_until_s: dict[bytes, int] = field(default_factory=dict)
    """Publishers that left, by the last publish time they count for."""
    previous_threshold: int = 0
    previous_until_s: int = 0
    """A lower threshold that counts for publish times up to then."""
    is_ageless_while_closed: bool = False

    def read_reports(self, section: bytes) -> Sequence[SourceReport]:
        """Check signatures and proofs, and return the reports in their order."""
        decoded = decode_evidence(section)
        time_s = decoded.publish_time_s
        threshold = self.threshold_at(time_s)
        left = {publisher for publisher, until_s in self.left_until_s.items() if time_s <= until_s}
        verify_evidence(
            decoded,
            publishers=self.publishers | left,
            threshold=threshold,
            domain_separator=self.domain_separator,
            recover=self.recover,
        )
        reports = [proven.report for proven in decoded.reports]
        return [
            SourceReport(
                market_id=report.market_id,
                session=report.session,
                price_e8=report.price_e8,
                confidence_e8=report.confidence_e8,
                publish_time_s=time_s,
            )
            for report in reports
        ]

    def threshold_at(self, publish_time_s: int) -> int:
        """Return how many signatures a root of this time needs."""
        if publish_time_s <= self.previous_until_s:
            return min(self.threshold, self.previous_threshold)
        return self.threshold

    def with_publishers(self, publishers: frozenset[bytes], threshold: int, now_s: int) -> SignedSource:
        """Return the source under another set; who leaves and a lower threshold stay valid for 2 x SETTLE_LAG."""
        left = {publisher: until_s for publisher, until_s in self.left_until_s.items() if publisher not in publishers}
        left |= dict.fromkeys(self.publishers - publishers, now_s + SOURCE_OVERLAP_S)
        return replace(
            self,
            publishers=publishers,
            threshold=threshold,
            left_until_s=left,
            previous_threshold=self.threshold_at(now_s),
            previous_until_s=now_s + SOURCE_OVERLAP_S,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleMarket:
    """How PriceOracle reads one market: shares per unit as num / den, ticks per USD, tolerated confidence, sources."""

    multiplier_num: int = 1
    multiplier_den: int = 1
    ticks_per_usd: int
    max_confidence_ppm: int
    source_id: int = 0
    second_source_id: int | None = None
    previous_source_id: int | None = None
    previous_until_s: int = 0
    """The source before counts for matches until then."""
    previous_second_id: int | None = None
    second_changed_until_s: int = 0
    """So does the second source before; if there was none, the first is required for matches later than this."""

    @property
    def is_trusted(self) -> bool:
        """Tell whether the price rests on one source alone: TRUSTED PRICE."""
        return self.second_source_id is None

    def is_primary(self, source_id: int, matched_at_s: int) -> bool:
        """Tell whether a source prices the market in a batch."""
        return source_id == self.source_id or (
            source_id == self.previous_source_id and matched_at_s <= self.previous_until_s
        )

    def is_second(self, source_id: int, matched_at_s: int) -> bool:
        """Tell whether a source's agreement counts in a batch."""
        return source_id == self.second_source_id or (
            source_id == self.previous_second_id and matched_at_s <= self.second_changed_until_s
        )

    def needs_second(self, matched_at_s: int) -> bool:
        """Tell whether a batch needs the second source's agreement."""
        if self.second_source_id is None:
            return False
        return self.previous_second_id is not None or matched_at_s > self.second_changed_until_s

    def with_sources(self, source_id: int, second_source_id: int | None, now_s: int) -> OracleMarket:
        """Return the market under other sources, chosen by the governor at a time."""
        changed = self
        if source_id != self.source_id:
            changed = replace(
                changed,
                source_id=source_id,
                previous_source_id=self.source_id,
                previous_until_s=now_s + SOURCE_OVERLAP_S,
            )
        if second_source_id != self.second_source_id:
            changed = replace(
                changed,
                second_source_id=second_source_id,
                previous_second_id=self.second_source_id,
                second_changed_until_s=now_s + SOURCE_OVERLAP_S,
            )
        return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The last report of one role that passed the guards of its own source."""

    price_e8: int = 0
    """0 = none since the last split."""
    publish_time_s: int = 0
    source_id: int = 0
    session: int | None = None
    accepted_session: int | None = None
    """What the last one that became the external price named; it counts until the next that does."""
    jump_price_e8: int = 0
    jump_time_s: int = 0
    """The first of a run of jumps that agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A stricter session that the operator or the guardian set."""

    session: int
    from_s: int
    until_s: int


@dataclass(slots=True, kw_only=True)
class OracleState:
    """What PriceOracle keeps, its sources, and the halts of CorporateActions that it asks for."""

    markets: dict[int, OracleMarket] = field(default_factory=dict)
    sources: dict[int, PriceSource] = field(default_factory=dict)
    calendar: Calendar = field(default_factory=Calendar)
    primaries: dict[int, Observation] = field(default_factory=dict)
    seconds: dict[int, Observation] = field(default_factory=dict)
    overrides: dict[tuple[int, bool], Override] = field(default_factory=dict)
    """By market and whether the guardian's."""
    halts_from_s: dict[int, int] = field(default_factory=dict)
    """First second of the halt that stands or is announced for a market."""

    def copy(self) -> OracleState:
        """Return an independent copy."""
        return replace(
            self,
            markets=dict(self.markets),
            sources=dict(self.sources),
            primaries=dict(self.primaries),
            seconds=dict(self.seconds),
            overrides=dict(self.overrides),
            halts_from_s=dict(self.halts_from_s),
        )

    def is_halted(self, market_id: int, matched_at_s: int) -> bool:
        """Tell whether a corporate action halts a market in a batch."""
        return 0 < self.halts_from_s.get(market_id, 0) <= matched_at_s

    def is_overridden(self, market_id: int, matched_at_s: int) -> bool:
        """Tell whether an override makes a market's session stricter than the calendar's in a batch."""
        return any(self._list_overrides(market_id, matched_at_s))

    def _list_overrides(self, market_id: int, matched_at_s: int) -> Iterator[Override]:
        """Yield the overrides that are stricter than the calendar and all before, the operator's first."""
        session = self.calendar.window_at(matched_at_s).session
        for is_guardian in (False, True):
            override = self.overrides.get((market_id, is_guardian))
            if override is None or not override.from_s <= matched_at_s <= override.until_s:
                continue
            if is_stricter(override.session, session):
                session = override.session
                yield override

    def find_base_session(self, market_id: int, matched_at_s: int) -> tuple[int, int]:
        """Return (session without reports, until when it is stated): calendar, overrides, corporate actions."""
        window = self.calendar.window_at(matched_at_s)
        session, until_s = window.session, window.end_s
        halt_from_s = self.halts_from_s.get(market_id, 0)
        if self.is_halted(market_id, matched_at_s):
            return Session.CORPORATE_ACTION, until_s
        for override in self._list_overrides(market_id, matched_at_s):
            session, until_s = override.session, min(window.end_s, override.until_s + 1)
        return session, min(until_s, halt_from_s or FOREVER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportVerdict:
    """What became of one report, or of an observation kept before."""

    report: SourceReport
    code: ReportCode


def compute_external_ticks(price_e8: int, market: OracleMarket) -> Ticks:
    """Return the price of one unit in ticks.

    Formula: price_e8 x num x ticks_per_usd // (den x 1e8). Rounding: down.
    """
    return Ticks(div_down(price_e8 * market.multiplier_num * market.ticks_per_usd, market.multiplier_den * PRICE_SCALE))


def keep_report(
    oracle: OracleState,
    report: SourceReport,
    *,
    source_id: int,
    is_ageless: bool,
    is_on_chain: bool,
    matched_at_s: int,
) -> ReportCode:
    """Hold a report against the guards of its own source and keep it; return the first that fails, or ACCEPTED.

    What a feed of the chain says is read when the batch settles: whoever brings it an update in between, as anybody
    may, would otherwise keep its market without a price.
    """
    market = oracle.markets.get(report.market_id)
    if market is None:
        return ReportCode.UNKNOWN_MARKET
    is_primary = market.is_primary(source_id, matched_at_s)
    if not is_primary and not market.is_second(source_id, matched_at_s):
        return ReportCode.UNKNOWN_MARKET
    if report.price_e8 == 0:
        return ReportCode.NOT_POSITIVE
    if report.publish_time_s > matched_at_s + (SETTLE_LAG_S if is_on_chain else 0):
        return ReportCode.FUTURE
    kept = (oracle.primaries if is_primary else oracle.seconds).get(report.market_id, Observation())
    if report.publish_time_s <= kept.publish_time_s:
        return ReportCode.NOT_NEWER
    if matched_at_s - report.publish_time_s > MAX_REPORT_AGE_S and not is_ageless:
        return ReportCode.TOO_OLD
    if report.confidence_e8 * PPM > report.price_e8 * market.max_confidence_ppm:
        return ReportCode.CONFIDENCE
    if report.session > MAX_SESSION and report.session != NO_SESSION:
        return ReportCode.UNKNOWN_SESSION
    ticks = compute_external_ticks(report.price_e8, market)
    if report.price_e8 > MAX_PRICE_E8 or not 0 < ticks <= MAX_EXTERNAL_TICKS:
        return ReportCode.OUT_OF_RANGE
    observed = Observation(price_e8=report.price_e8, publish_time_s=report.publish_time_s, source_id=source_id)
    if is_primary:
        oracle.primaries[report.market_id] = replace(
            kept,
            price_e8=report.price_e8,
            publish_time_s=report.publish_time_s,
            source_id=source_id,
            session=None if report.session == NO_SESSION else report.session,
        )
    else:
        oracle.seconds[report.market_id] = observed
    return ReportCode.ACCEPTED


def observe(oracle: OracleState, sections: Iterable[bytes], matched_at_s: int) -> tuple[set[int], list[ReportVerdict]]:
    """Read every section; return (markets of which something new is kept, the reports that are not).

    Raises: EvidenceRefused; the oracle may have changed by then.
    """
    observed: set[int] = set()
    ignored: list[ReportVerdict] = []
    is_closed = oracle.calendar.window_at(matched_at_s).session == Session.CLOSED
    for section in sections:
        source = oracle.sources.get(section[0])
        if source is None:
            raise EvidenceRefused("source: unknown")
        for report in source.read_reports(section):
            code = keep_report(
                oracle,
                report,
                source_id=section[0],
                is_ageless=is_closed and source.is_ageless_while_closed,
                is_on_chain=source.is_ageless_while_closed,
                matched_at_s=matched_at_s,
            )
            if code is ReportCode.ACCEPTED:
                observed.add(report.market_id)
            else:
                ignored.append(ReportVerdict(report=report, code=code))
    return observed, ignored


def judge_observation(
    oracle: OracleState,
    market_id: int,
    *,
    external_ticks: int,
    session: int,
    max_second_age_s: int,
    matched_at_s: int,
) -> tuple[ReportCode, Observation]:
    """Ask of the primary's observation what other observations must say; return (first guard that fails, what is kept).

    `session` is the one it would put the market in, `max_second_age_s` that session's age limit, 0 = none.
    """
    market, observation = oracle.markets[market_id], oracle.primaries[market_id]
    price_e8 = observation.price_e8
    if matched_at_s - observation.publish_time_s > MAX_REPORT_AGE_S and (
        session != Session.CLOSED or not oracle.sources[observation.source_id].is_ageless_while_closed
    ):
        return ReportCode.TOO_OLD, observation
    calm = replace(observation, jump_price_e8=0, jump_time_s=0)
    if market.needs_second(matched_at_s):
        second = oracle.seconds.get(market_id, Observation())
        if not second.price_e8 or not market.is_second(second.source_id, matched_at_s):
            return ReportCode.UNCONFIRMED, observation
        if max_second_age_s and second.publish_time_s + max_second_age_s < matched_at_s:
            return ReportCode.UNCONFIRMED, observation
        if abs(price_e8 - second.price_e8) * PPM > second.price_e8 * MAX_DIFFERENCE_PPM:
            return ReportCode.DISAGREES, observation
        return ReportCode.ACCEPTED, calm
    ticks = compute_external_ticks(price_e8, market)
    if not external_ticks or abs(ticks - external_ticks) * PPM <= external_ticks * MAX_JUMP_PPM:
        return ReportCode.ACCEPTED, calm
    first_e8 = observation.jump_price_e8
    if first_e8 and abs(price_e8 - first_e8) * PPM <= first_e8 * MAX_DIFFERENCE_PPM:
        if observation.publish_time_s >= observation.jump_time_s + CONFIRM_S:
            return ReportCode.ACCEPTED, calm
        return ReportCode.JUMP, observation
    return ReportCode.JUMP, replace(observation, jump_price_e8=price_e8, jump_time_s=observation.publish_time_s)


def override_session(
    oracle: OracleState, market_id: int, session: int, until_s: int, *, is_guardian: bool, now_s: int
) -> None:
    """Put a market under a stricter session for at most a day. Raises: DirectRefused with the contract's reason.

    The operator's counts for matches from now on, the guardian's for those later than SETTLE_LAG from now.
    """
    if market_id not in oracle.markets:
        raise DirectRefused("market: not listed")
    if session > MAX_SESSION or not is_stricter(session, oracle.calendar.window_at(now_s).session):
        raise DirectRefused("override: not stricter")
    if not now_s <= until_s <= now_s + MAX_OVERRIDE_S:
        raise DirectRefused("override: until")
    from_s = now_s + SETTLE_LAG_S + 1 if is_guardian else now_s
    oracle.overrides[market_id, is_guardian] = Override(session=session, from_s=from_s, until_s=until_s)


def apply_split(oracle: OracleState, market_id: int, num: int, den: int) -> None:
    """Multiply the shares in a unit and forget what was observed. Raises: DirectRefused with the contract's reason."""
    market = oracle.markets[market_id]
    if not 0 < num <= MAX_PRICE_E8 or not 0 < den <= MAX_PRICE_E8:
        raise DirectRefused("market: multiplier")
    new_num, new_den = market.multiplier_num * num, market.multiplier_den * den
    divisor = _find_divisor(new_num, new_den)
    new_num, new_den = div_down(new_num, divisor), div_down(new_den, divisor)
    if max(new_num, new_den) > MAX_PRICE_E8:
        raise DirectRefused("market: multiplier")
    oracle.markets[market_id] = replace(market, multiplier_num=new_num, multiplier_den=new_den)
    forget_observations(oracle, market_id)


def _find_divisor(left: int, right: int) -> int:
    """Return the greatest common divisor of two positive numbers."""
    while right:
        left, right = right, left - right * div_down(left, right)
    return left


def forget_observations(oracle: OracleState, market_id: int) -> None:
    """Drop what was observed of a market; times and the session stay."""
    for kept in (oracle.primaries, oracle.seconds):
        if market_id in kept:
            old = kept[market_id]
            kept[market_id] = Observation(publish_time_s=old.publish_time_s, accepted_session=old.accepted_session)
