"""Publisher: sign what one reading of the history says about every market at a second of venue time.

Each publisher is a process with a key and a reading of its own; it never asks another. It never signs for a time before
its last, also after a restart, so nobody can have it rewrite the past. Must not: fetch or serve; adapters do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from afterbell.domain.errors import AfterbellError
from afterbell.domain.evidence import PriceReport, build_root
from afterbell.keepers.history import PriceHistory
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, TypedDataDomain, digest


class TimeRefused(AfterbellError):
    """The time asked for lies before the last one signed, or outside the history."""


class LastTimeStore(Protocol):
    """Keeps the last signed time of one publisher across restarts."""

    def read_s(self) -> int:
        """Return the last time, 0 if there is none."""

    def write_s(self, time_s: int) -> None:
        """Make a new last time durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoot:
    """What one publisher answers: every report it saw, and its signature over their root."""

    publisher: bytes
    time_s: int
    root: bytes
    reports: tuple[PriceReport, ...]
    r: bytes
    vs: bytes


class Publisher:
    """One publisher."""

    def __init__(
        self,
        *,
        history: PriceHistory,
        market_ids: Mapping[str, int],
        key: SigningKey,
        domain: TypedDataDomain,
        last_time: LastTimeStore,
    ) -> None:
        """Take a history and the ids under which the chain lists its markets. Shapes: market_ids: symbol to id."""
        self._history = history
        self._market_ids = sorted((market_id, symbol) for symbol, market_id in market_ids.items())
        self._key = key
        self._separator = domain.separator()
        self._last_time = last_time
        self._last_time_s = last_time.read_s()

    @property
    def address(self) -> bytes:
        """Return the address that signs."""
        return self._key.address

    @property
    def last_time_s(self) -> int:
        """Return the last time signed for, 0 if none."""
        return self._last_time_s

    def sign_root(self, time_s: int) -> SignedRoot:
        """Sign the reports of a second; the same second again gives the same bytes. Raises: TimeRefused."""
        history = self._history
        if not history.start_s <= time_s <= history.end_s:
            raise TimeRefused(
                f"required a time in [{history.start_s}, {history.end_s}] s, which the history covers, found {time_s} s"
            )
        if time_s < self._last_time_s:
            raise TimeRefused(
                f"required a time of at least {self._last_time_s} s, the last one signed, found {time_s} s"
            )
        reports = self._observe(time_s)
        if time_s > self._last_time_s:
            # Before the signature leaves: after a crash we may refuse what nobody has, never sign what somebody has
            # differently.
            self._last_time.write_s(time_s)
            self._last_time_s = time_s
        root = build_root(reports, time_s)
        r, vs = self._key.sign(digest(PriceRoot(root=root, publish_time_s=time_s), self._separator))
        return SignedRoot(publisher=self._key.address, time_s=time_s, root=root, reports=reports, r=r, vs=vs)

    def _observe(self, time_s: int) -> tuple[PriceReport, ...]:
        """Return one report per market that has a price, by market id."""
        seen = [(market_id, self._history.observe(symbol, time_s)) for market_id, symbol in self._market_ids]
        reports = tuple(
            PriceReport(market_id=market_id, session=observed.session, price_e8=observed.price_e8)
            for market_id, observed in seen
            if observed is not None
        )
        if not reports:
            raise TimeRefused(f"no market has a price at {time_s} s")
        return reports
