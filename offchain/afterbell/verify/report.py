"""Show what verification found: a table for people, JSON for machines. Must not: judge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from afterbell.domain.ids import address_hex
from afterbell.verify.findings import Findings
from afterbell.verify.instance import Instance

N_FINDINGS_SHOWN: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of one run."""

    instance: Instance
    url: str
    block: int
    block_hash: bytes
    n_batches: int
    n_accounts: int
    deposited_quote: int
    withdrawn_quote: int
    tracked_quote: int
    replay_stopped_at: str
    governors: dict[str, bytes]
    """Contract -> who governs it, by the events; compared with storage like everything else."""
    findings: Findings

    @property
    def is_verified(self) -> bool:
        """Tell whether everything agreed."""
        return not self.findings.entries

    def describe_governor(self, governor: bytes) -> str:
        """Return an address and whether it is the manifest's Timelock."""
        if governor == self.instance.timelock:
            return f"Timelock {address_hex(governor)}"
        return f"{address_hex(governor)}, not the Timelock {address_hex(self.instance.timelock)}"

    def to_json(self) -> dict[str, object]:
        """Return the report as the file holds it. Quote numbers are decimal strings, as in the API."""
        return {
            "verified": self.is_verified,
            "chain_id": self.instance.chain_id,
            "clearinghouse": address_hex(self.instance.clearinghouse),
            "from_block": self.instance.first_block,
            "to_block": self.block,
            "block_hash": "0x" + self.block_hash.hex(),
            "n_batches": self.n_batches,
            "n_accounts": self.n_accounts,
            "deposited_quote": str(self.deposited_quote),
            "withdrawn_quote": str(self.withdrawn_quote),
            "tracked_quote": str(self.tracked_quote),
            "replay_stopped_at": self.replay_stopped_at,
            "timelock": address_hex(self.instance.timelock),
            "governors": {contract: address_hex(governor) for contract, governor in self.governors.items()},
            "n_compared": dict(self.findings.n_compared),
            "findings": [finding.to_json(self.instance.symbols) for finding in self.findings.entries],
        }


def write_report(report: Report, path: Path) -> None:
    """Write the JSON form."""
    path.write_text(json.dumps(report.to_json(), indent=2) + "\n")


def print_report(report: Report, console: Console) -> None:
    """Print the summary and, if any, the findings: each with whose field, expected and found."""
    summary = Table(
        title=f"afterbell verify, chain {report.instance.chain_id}, block {report.block}", show_header=False
    )
    summary.add_column(no_wrap=True)
    summary.add_column(justify="right")
    for what, shown in (
        ("blocks", f"{report.instance.first_block} to {report.block}"),
        ("batches replayed", f"{report.n_batches:,}"),
        ("accounts", f"{report.n_accounts:,}"),
        ("deposited, quote", f"{report.deposited_quote:,}"),
        ("moved to claims, quote", f"{report.withdrawn_quote:,}"),
        ("tracked by the Vault, quote", f"{report.tracked_quote:,}"),
        *(
            (f"governor of {contract}", report.describe_governor(governor))
            for contract, governor in report.governors.items()
        ),
        *((f"compared: {name}", f"{count:,}") for name, count in report.findings.n_compared.items()),
    ):
        summary.add_row(what, shown)
    console.print(summary)
    if report.is_verified:
        console.print("verified: calldata, events and storage agree in every field", style="green", highlight=False)
        return
    n_findings = len(report.findings.entries)
    console.print(f"NOT verified: {n_findings} field(s) do not agree", style="bold red", highlight=False)
    for finding in report.findings.entries[:N_FINDINGS_SHOWN]:
        console.print(f"- {finding.subject(report.instance.symbols)}", highlight=False, soft_wrap=True, markup=False)
        console.print(
            f"    {finding.field} [{finding.unit}]: expected {finding.expected}; found {finding.found}"
            + (f"; {finding.note}" if finding.note else ""),
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    if n_findings > N_FINDINGS_SHOWN:
        console.print(f"… and {n_findings - N_FINDINGS_SHOWN} more: see --json FILE", highlight=False)
