"""Say what does not agree: which account and market, which field in which unit, what was expected and what was found.

Must not: look anything up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from afterbell.domain.ids import account_hex, address_hex, owner_of, subaccount_of

SETTINGS: Final = frozenset({"rules", "publishers", "oracle", "registry", "governance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement. `expected` and `found` say which of the sources (replay, events, storage) they come from."""

    what: str
    field: str
    unit: str
    expected: str
    found: str
    account: int | None = None
    market: int | None = None
    recipient: bytes | None = None
    sequence: int | None = None
    note: str = ""

    def subject(self, symbols: dict[int, str]) -> str:
        """Return whose field it is, for people."""
        parts = [self.what]
        if self.account is not None:
            parts.append(f"owner {address_hex(owner_of(self.account))} / subaccount {subaccount_of(self.account)}")
        if self.recipient is not None:
            parts.append(f"recipient {address_hex(self.recipient)}")
        if self.market is not None:
            parts.append(f"market {self.market} ({symbols.get(self.market, 'unlisted')})")
        if self.sequence is not None:
            parts.append(f"batch {self.sequence}")
        return ", ".join(parts)

    def to_json(self, symbols: dict[int, str]) -> dict[str, object]:
        """Return the finding as the report file holds it."""
        return {
            "what": self.what,
            "account": None if self.account is None else account_hex(self.account),
            "owner": None if self.account is None else address_hex(owner_of(self.account)),
            "subaccount": None if self.account is None else str(subaccount_of(self.account)),
            "recipient": None if self.recipient is None else address_hex(self.recipient),
            "market": self.market,
            "symbol": None if self.market is None else symbols.get(self.market),
            "batch": self.sequence,
            "field": self.field,
            "unit": self.unit,
            "expected": self.expected,
            "found": self.found,
            "note": self.note,
        }


@dataclass(slots=True, kw_only=True)
class Findings:
    """Everything that does not agree, in the order in which it was found, and how much was compared."""

    _entries: dict[Finding, None] = field(default_factory=dict)
    n_compared: dict[str, int] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Keep a finding unless the very same one stands there already."""
        self._entries[finding] = None

    @property
    def entries(self) -> list[Finding]:
        """Return every finding once, settings first: batches run under wrong ones differ in all that follows."""
        return sorted(self._entries, key=lambda finding: finding.what not in SETTINGS)

    def count(self, what: str, n_values: int = 1) -> None:
        """Count values compared, whether they agreed or not."""
        self.n_compared[what] = self.n_compared.get(what, 0) + n_values
