"""Collect signed roots from publishers until enough of them say the same, and make the evidence a batch carries.

Every answer is checked as the contract will check it: leaves hash to the root, the signer is a publisher. A dead, slow
or disagreeing publisher is logged and left out as long as k others agree. Must not: fetch; a RootFetcher does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from afterbell.domain.errors import Unavailable
from afterbell.domain.evidence import (
    Evidence,
    build_proven_reports,
    build_root,
    encode_evidence,
    join_sections,
)
from afterbell.keepers.publisher import SignedRoot
from afterbell.signing.keys import recover
from afterbell.signing.typed_data import PriceRoot, TypedDataDomain, digest
from afterbell.waiting import within_ms

_log = structlog.get_logger(__name__)


class PricesUnavailable(Unavailable):
    """Fewer than k publishers agree; the message says what each of them answered."""


class PublisherUnavailable(Unavailable):
    """One publisher did not answer, refused, or answered something that is no signed root."""


class RootFetcher(Protocol):
    """The way to one publisher."""

    @property
    def name(self) -> str:
        """Name it in logs."""

    async def fetch_root(self, time_s: int) -> SignedRoot:
        """Return what it signs for a second. Raises: PublisherUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedPrices:
    """Evidence of one second, for a batch."""

    time_s: int
    evidence: bytes


class PriceCollector:
    """Ask all publishers at once; answer when `threshold` agree."""

    def __init__(
        self,
        *,
        fetchers: Sequence[RootFetcher],
        publishers: frozenset[bytes],
        threshold: int,
        domain: TypedDataDomain,
        timeout_ms: int = 3_000,
        grace_ms: int = 100,
    ) -> None:
        """Take the publishers registered on chain. `grace_ms`: how long to wait for the others once enough agree."""
        self._fetchers = tuple(fetchers)
        self._publishers = publishers
        self._threshold = threshold
        self._separator = domain.separator()
        self._timeout_ms = timeout_ms
        self._grace_ms = grace_ms
        self._silent: set[str] = set()

    async def collect(self, time_s: int) -> CollectedPrices:
        """Return evidence for a second with k signatures. Raises: PricesUnavailable."""
        groups: dict[bytes, list[SignedRoot]] = {}
        problems: list[str] = []

        async def ask(fetcher: RootFetcher) -> None:
            try:
                signed = await within_ms(self._timeout_ms, fetcher.fetch_root(time_s))
                self._must_be_genuine(signed, time_s)
            except (PublisherUnavailable, TimeoutError) as error:
                text = str(error) or f"no answer within {self._timeout_ms} ms"
                problems.append(f"{fetcher.name}: {text}")
                if fetcher.name not in self._silent:
                    self._silent.add(fetcher.name)
                    _log.warning("publisher.lost", publisher=fetcher.name, problem=text, venue_time_s=time_s)
                return
            if fetcher.name in self._silent:
                self._silent.remove(fetcher.name)
                _log.info("publisher.returned", publisher=fetcher.name, venue_time_s=time_s)
            groups.setdefault(signed.root, []).append(signed)

        tasks = [asyncio.ensure_future(ask(fetcher)) for fetcher in self._fetchers]
        try:
            await self._wait_for_agreement(tasks, groups)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for signed in groups.values():
            problems += [f"{len(signed)} agree on root 0x{signed[0].root.hex()[:16]}"]
        chosen = max(groups.values(), key=len, default=[])
        if len(groups) > 1:
            _log.error("publishers.disagreed", venue_time_s=time_s, found=problems)
        if len(chosen) < self._threshold:
            raise PricesUnavailable(
                f"required {self._threshold} of {len(self._fetchers)} publishers to agree on {time_s} s, "
                f"found {'; '.join(problems) or 'no answer'}"
            )
        return self._build(chosen, time_s)

    async def _wait_for_agreement(
        self, tasks: Sequence[asyncio.Future[None]], groups: Mapping[bytes, Sequence[SignedRoot]]
    ) -> None:
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if any(len(signed) >= self._threshold for signed in groups.values()):
                if pending:
                    await self._give_grace(pending)
                return

    async def _give_grace(self, pending: set[asyncio.Future[None]]) -> None:
        """Wait a moment for the others, so that a slow one is not taken for a dead one."""
        with contextlib.suppress(TimeoutError):
            await within_ms(self._grace_ms, asyncio.shield(asyncio.gather(*pending)))

    def _must_be_genuine(self, signed: SignedRoot, time_s: int) -> None:
        if signed.time_s != time_s:
            raise PublisherUnavailable(f"required reports for {time_s} s, found {signed.time_s} s")
        if not signed.reports or build_root(signed.reports, time_s) != signed.root:
            raise PublisherUnavailable("the reports do not hash to the signed root")
        root_digest = digest(PriceRoot(root=signed.root, publish_time_s=time_s), self._separator)
        signer = recover(root_digest, signed.r, signed.vs)
        if signer is None or signer not in self._publishers:
            found = "no signature" if signer is None else "0x" + signer.hex()
            raise PublisherUnavailable(f"required the signature of a registered publisher, found {found}")
        if signer != signed.publisher:
            raise PublisherUnavailable(f"it names 0x{signed.publisher.hex()} but 0x{signer.hex()} signed")

    def _build(self, agreed: Sequence[SignedRoot], time_s: int) -> CollectedPrices:
        """Encode k signatures, signers ascending, as the one section of the evidence."""
        chosen = sorted({signed.publisher: signed for signed in agreed}.values(), key=lambda signed: signed.publisher)
        if len(chosen) < self._threshold:
            raise PricesUnavailable(f"required {self._threshold} different publishers, found {len(chosen)}")
        chosen = chosen[: self._threshold]
        root, proven = build_proven_reports(chosen[0].reports, time_s)
        section = encode_evidence(
            Evidence(
                publish_time_s=time_s,
                root=root,
                signatures=tuple((signed.r, signed.vs) for signed in chosen),
                reports=proven,
            )
        )
        return CollectedPrices(time_s=time_s, evidence=join_sections([section]))
