"""Say which of the three witnesses (replay, events, storage) stands alone in a field. Must not: fetch anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from afterbell.verify.findings import Finding, Findings
from afterbell.verify.layout import Lane, show_lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose word is compared."""

    what: str
    account: int | None = None
    market: int | None = None
    recipient: bytes | None = None
    note: str = ""


def say_difference(replay: str | None, events: str | None, storage: str) -> tuple[str, str] | None:
    """Return (expected, found) with the witnesses named, or None if all who speak agree."""
    if replay in (None, storage) and events in (None, storage):
        return None
    if replay is None:
        return f"{events} (events)", f"{storage} (storage)"
    if events is None:
        return f"{replay} (replay)", f"{storage} (storage)"
    if replay == storage:
        return f"{replay} (replay and storage)", f"{events} (events)"
    if replay == events:
        return f"{replay} (replay and events)", f"{storage} (storage)"
    if events == storage:
        return f"{replay} (replay)", f"{storage} (events and storage)"
    return f"{replay} (replay)", f"{events} (events), {storage} (storage)"


class Witnesses:
    """Compare word by word; differences go into the findings."""

    def __init__(self, findings: Findings, *, is_replay_whole: bool) -> None:
        self._findings = findings
        self._is_replay_whole = is_replay_whole

    def compare(
        self,
        subject: Subject,
        lanes: tuple[Lane, ...],
        replay_word: int,
        events: Mapping[str, str],
        storage_word: int,
    ) -> None:
        """Compare one word; `events` has the fields that events tell."""
        self._findings.count(f"{subject.what} words")
        for lane in lanes:
            said = say_difference(
                show_lane(lane, replay_word) if self._is_replay_whole else None,
                events.get(lane.name),
                show_lane(lane, storage_word),
            )
            if said is not None:
                self._findings.add(
                    Finding(
                        what=subject.what,
                        account=subject.account,
                        market=subject.market,
                        recipient=subject.recipient,
                        field=lane.name,
                        unit=lane.unit,
                        expected=said[0],
                        found=said[1],
                        note=subject.note,
                    )
                )
