"""Keep PriceOracle's state while the history is replayed: sources, publishers, markets, calendar, overrides, halts.

What the governor and others set is read from events; every batch is judged by the oracle's model. Must not: read
storage. Twin: domain/oracle.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from afterbell.domain.batch import PriceRow
from afterbell.domain.calendar import Calendar, unpack_boundaries
from afterbell.domain.chain_state import ChainState
from afterbell.domain.codes import ReportCode
from afterbell.domain.oracle import OracleMarket, OracleState, Override, SignedSource, forget_observations
from afterbell.domain.prices import MarketUpdate, move_markets, state_markets
from afterbell.signing.keys import recover
from afterbell.verify.chain_events import ChainEvent, split_addresses
from afterbell.verify.event_differences import ExpectedEvent, expect
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.instance import Instance

NO_SOURCE: Final = 256
_DIVIDEND, _STEP = 2, 6
_REOPENING: Final = (1, 4, 5)
"""Kinds of actions that halt their market until it reopens, cancelled ones too: split, merger for stock, new name."""


class OracleReplay:
    """The oracle at one moment of the replay."""

    def __init__(self, instance: Instance, price_domain: bytes, findings: Findings) -> None:
        self._instance = instance
        self._price_domain = price_domain
        self._findings = findings
        self.state = OracleState()
        self.source_ids: dict[int, bytes] = {}
        """Source id -> contract."""
        self.known_publishers: set[bytes] = set()
        self._guardian = b""

    @property
    def signed(self) -> SignedSource:
        """Return the manifest's signed source as it stands."""
        for source in self.state.sources.values():
            if isinstance(source, SignedSource):
                return source
        return self._publishers

    _publishers = SignedSource(publishers=frozenset(), threshold=0, domain_separator=b"", recover=recover)

    # ------------------------------------------------------------------------ settings

    def apply(self, events: Sequence[ChainEvent], time_s: int) -> None:
        """Take over what one transaction set."""
        is_merger = any(event.name == "ActionActivated" for event in events)
        for event in events:
            self._apply_event(event, time_s, is_merger=is_merger)

    def _apply_event(self, event: ChainEvent, time_s: int, *, is_merger: bool) -> None:
        state = self.state
        match event.name:
            case "GuardianSet":
                self._guardian = event.content("guardian")
            case "SourceSet":
                source_id, source = event.number("source_id"), event.content("source")
                self.source_ids[source_id] = source
                if source == self._instance.price_source:
                    state.sources[source_id] = self._publishers
            case "CalendarChanged":
                self._change_calendar(event)
            case "PublishersSet":
                self._set_publishers(event, time_s)
            case "MarketPriced":
                self.price_market(event, multiplier_num=event.number("multiplier_num"),
                                  multiplier_den=event.number("multiplier_den"))  # fmt: skip
            case "MarketSourcesSet":
                market_id = event.number("market")
                first, second = event.number("source_id"), event.number("second_source_id")
                second_id = None if second == NO_SOURCE else second
                if is_merger:
                    forget_observations(state, market_id)
                    state.markets[market_id] = replace(
                        state.markets[market_id], source_id=first, second_source_id=second_id, previous_source_id=None,
                        previous_until_s=0, previous_second_id=None, second_changed_until_s=0,
                    )  # fmt: skip
                else:
                    state.markets[market_id] = state.markets[market_id].with_sources(first, second_id, time_s)
            case "MultiplierSet":
                market_id = event.number("market")
                state.markets[market_id] = replace(
                    state.markets[market_id],
                    multiplier_num=event.number("multiplier_num"),
                    multiplier_den=event.number("multiplier_den"),
                )
                forget_observations(state, market_id)
            case "SessionOverridden":
                place = event.number("market"), event.content("by") == self._guardian
                state.overrides.pop(place, None)
                if event.number("until_s"):
                    state.overrides[place] = Override(
                        session=event.number("session"),
                        from_s=event.number("from_s"),
                        until_s=event.number("until_s"),
                    )
            case _:
                self._apply_action(event)

    def _apply_action(self, event: ChainEvent) -> None:
        """Follow the halts of corporate actions."""
        halts = self.state.halts_from_s
        match event.name:
            case "ActionAnnounced":
                # into the halt of a cancelled one, which goes on
                market_id, effective_s = event.number("market"), event.number("effective_s")
                halts[market_id] = min(halts.get(market_id, effective_s), effective_s)
            case "MarketReopened":
                halts.pop(event.number("market"), None)
            case "ActionCancelled" if event.number("kind") not in _REOPENING:
                halts.pop(event.number("market"), None)
            case "ActionActivated" if event.number("kind") in (_DIVIDEND, _STEP):
                halts.pop(event.number("market"), None)
            case _:
                pass

    def price_market(self, event: ChainEvent, *, multiplier_num: int, multiplier_den: int) -> None:
        """Take over how a listed market is priced."""
        self.state.markets[event.number("market")] = OracleMarket(
            source_id=event.number("source_id"),
            multiplier_num=multiplier_num,
            multiplier_den=multiplier_den,
            ticks_per_usd=event.number("ticks_per_usd"),
            max_confidence_ppm=event.number("max_confidence_ppm"),
        )

    def _set_publishers(self, event: ChainEvent, time_s: int) -> None:
        publishers = frozenset(split_addresses(event.content("publishers")))
        threshold = event.number("threshold")
        self.known_publishers |= publishers
        if self._publishers.threshold:
            changed = self._publishers.with_publishers(publishers, threshold, time_s)
        else:
            changed = SignedSource(
                publishers=publishers, threshold=threshold, domain_separator=self._price_domain, recover=recover
            )
        self._publishers = changed
        for source_id, source in self.source_ids.items():
            if source == self._instance.price_source:
                self.state.sources[source_id] = changed

    def _change_calendar(self, event: ChainEvent) -> None:
        """Put the boundaries of a change in the place of everything from its first on."""
        content, from_s = event.content("words"), event.number("from_s")
        words = [int.from_bytes(content[at : at + 32], "big") for at in range(0, len(content), 32)]
        boundaries = unpack_boundaries(words)
        first_s = boundaries[0].start_s if boundaries else 0
        if first_s != from_s:
            self._findings.add(
                Finding(
                    what="event CalendarChanged",
                    field="from_s",
                    unit="UNIX s",
                    expected=f"{first_s} (its first boundary)",
                    found=f"{from_s} (logs)",
                )
            )
        kept = tuple(boundary for boundary in self.state.calendar.boundaries if boundary.start_s < first_s)
        self.state.calendar = Calendar((*kept, *boundaries))

    # ------------------------------------------------------------------------ batches

    def update(
        self, chain: ChainState, rows: Sequence[PriceRow], evidence: bytes, matched_at_s: int
    ) -> tuple[Sequence[MarketUpdate], list[ExpectedEvent]]:
        """Judge a batch's rows and evidence; return (what changes, what the oracle must log).

        The oracle has changed when this returns. Raises: as domain.prices.update.
        """
        seconds: Mapping[int, object] = dict(self.state.seconds)
        stated = state_markets(self.state, chain, [row.market_id for row in rows], evidence, matched_at_s)
        updates = move_markets(chain, stated.markets, rows, matched_at_s)
        self.state = stated.oracle
        sessions = {market.market_id: market for market in stated.markets}
        events: list[ExpectedEvent] = []
        for verdict in stated.verdicts:
            report = verdict.report
            if verdict.code is ReportCode.ACCEPTED:
                market = sessions[report.market_id]
                events.append(
                    expect(
                        "ReportAccepted",
                        contract="price_oracle",
                        market=report.market_id,
                        external_ticks=market.external_ticks,
                        publish_time_s=report.publish_time_s,
                        session=market.session,
                    )
                )
                continue
            events.append(
                expect(
                    "ReportIgnored",
                    contract="price_oracle",
                    market=report.market_id,
                    code=int(verdict.code),
                    price_e8=report.price_e8,
                    publish_time_s=report.publish_time_s,
                )
            )
        for market_id, second in self.state.seconds.items():
            if seconds.get(market_id) != second:
                events.append(
                    expect(
                        "SecondReported",
                        contract="price_oracle",
                        market=market_id,
                        price_e8=second.price_e8,
                        publish_time_s=second.publish_time_s,
                    )
                )
        return updates, events
