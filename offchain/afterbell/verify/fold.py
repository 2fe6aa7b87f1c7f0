"""Add up balances from the events alone: the second path, blind to calldata and to the model.

What events can rebuild: collateral, min_seq of cancel-alls, positions, open markets, prices, rules, the batch word,
claims and the Vault's tracked quote. Lanes and pots are not in events; replay.py has them. Every event that states a
resulting word is also checked against the word before it, so that a missing one is noticed where it is missing.
Must not: import the settlement rules. Twin: replay.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from afterbell.verify.chain_events import ChainEvent
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.layout import POSITION, POSITION_CHANGE, read_lane

FIRST_PRICE_WORD: Final = 1 << 208
"""The price word of a market just listed: epoch 1, no price."""


@dataclass(slots=True, kw_only=True)
class EventLedger:
    """What the events of all contracts add up to."""

    collateral_quote: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    min_seq: dict[int, int] = field(default_factory=dict)
    positions: dict[tuple[int, int], int] = field(default_factory=dict)
    prices: dict[int, int] = field(default_factory=dict)
    rules: dict[tuple[int, int], int] = field(default_factory=dict)
    claims_quote: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    governors: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Contract -> (governor, proposed successor)."""
    symbols: dict[int, str] = field(default_factory=dict)
    lot_exponents: dict[int, int] = field(default_factory=dict)
    publish_times_s: dict[int, int] = field(default_factory=dict)
    sequence: int = 0
    matched_at_s: int = 0
    fees_quote: int = 0
    head: bytes = bytes(32)
    direct_op: int = 0
    sequencer: bytes = b""
    deposited_quote: int = 0
    withdrawn_quote: int = 0
    vault_deposited_quote: int = 0
    vault_claimed_quote: int = 0
    vault_paid_quote: int = 0

    @property
    def tracked_quote(self) -> int:
        """Return what the Vault must count as its own: deposits less paid claims."""
        return self.vault_deposited_quote - self.vault_paid_quote

    def open_markets(self, account: int) -> tuple[int, ...]:
        """Return the markets in which the account holds lots, ascending."""
        return tuple(
            sorted(
                market
                for (holder, market), word in self.positions.items()
                if holder == account and read_lane(POSITION, "size_lots", word) != 0
            )
        )

    def accounts(self) -> set[int]:
        """Return every account an event names."""
        return set(self.collateral_quote) | set(self.min_seq) | {account for account, _ in self.positions}


def fold_events(events: Sequence[ChainEvent], findings: Findings) -> EventLedger:
    """Return what the events add up to; gaps and steps that do not fit go into `findings`."""
    ledger = EventLedger()
    fees_of_batch = 0
    for event in events:
        name = event.name
        if name == "PositionChanged":
            fees_of_batch += _fold_position(ledger, event, findings)
        elif name == "BatchSettled":
            _fold_batch(ledger, event, fees_of_batch, findings)
            fees_of_batch = 0
        elif name == "CollateralDeposited":
            _fold_deposit(ledger, event, findings)
        elif name == "CollateralWithdrawn":
            ledger.collateral_quote[event.number("account")] -= event.number("quote")
            ledger.withdrawn_quote += event.number("quote")
        elif name == "AllCancelled":
            ledger.min_seq[event.number("account")] = event.number("min_seq")
        elif name == "PriceChanged":
            ledger.prices[event.number("market")] = event.number("price")
        elif name == "SequencerSet":
            ledger.sequencer = event.content("sequencer")
        elif name == "MarketListed":
            market = event.number("market")
            ledger.prices.setdefault(market, FIRST_PRICE_WORD)
            ledger.symbols[market] = str(event.values["symbol"])
            ledger.lot_exponents[market] = event.number("lot_exponent")
        elif name == "GovernorChanged":
            ledger.governors[event.contract] = (event.content("governor"), bytes(20))
        elif name == "GovernorProposed":
            governor, _ = ledger.governors.get(event.contract, (bytes(20), bytes(20)))
            ledger.governors[event.contract] = (governor, event.content("pending_governor"))
        elif name == "MarketRulesSet":
            ledger.rules[event.number("market"), event.number("session")] = event.number("rules")
        elif name == "ReportAccepted":
            ledger.publish_times_s[event.number("market")] = event.number("publish_time_s")
        elif event.contract == "vault":
            _fold_vault(ledger, event)
    return ledger


def _fold_position(ledger: EventLedger, event: ChainEvent, findings: Findings) -> int:
    """Apply a PositionChanged; return its fees."""
    account, market = event.number("account"), event.number("market")
    change, word = event.number("change"), event.number("position")
    size_change_lots = read_lane(POSITION_CHANGE, "size_change_lots", change)
    before_lots = read_lane(POSITION, "size_lots", ledger.positions.get((account, market), 0))
    after_lots = read_lane(POSITION, "size_lots", word)
    findings.count("position changes")
    if before_lots + size_change_lots != after_lots:
        findings.add(
            Finding(
                what="event PositionChanged",
                account=account,
                market=market,
                sequence=ledger.sequence + 1,
                field="size_lots before",
                unit="lots",
                expected=f"{after_lots - size_change_lots} (this event: {size_change_lots:+} to {after_lots})",
                found=f"{before_lots} (events before it)",
                note="an event of this position is missing or was altered",
            )
        )
    ledger.positions[account, market] = word
    ledger.collateral_quote[account] += read_lane(POSITION_CHANGE, "realised_quote", change)
    return read_lane(POSITION_CHANGE, "fees_quote", change)


def _fold_batch(ledger: EventLedger, event: ChainEvent, fees_of_batch: int, findings: Findings) -> None:
    sequence = event.number("sequence")
    findings.count("batch sequences")
    for missing in range(ledger.sequence + 1, min(sequence, ledger.sequence + 6)):
        findings.add(
            Finding(
                what="event BatchSettled",
                sequence=missing,
                field="sequence",
                unit="batches",
                expected=f"batch {missing} after batch {missing - 1} (sequences have no gaps)",
                found=f"no event; the next one is batch {sequence}",
                note="an event is missing",
            )
        )
    if sequence == ledger.sequence + 1 and event.number("fees_quote") != fees_of_batch:
        findings.add(
            Finding(
                what="event BatchSettled",
                sequence=sequence,
                field="fees_quote",
                unit="quote",
                expected=f"{fees_of_batch} (sum of the batch's PositionChanged)",
                found=f"{event.number('fees_quote')} (BatchSettled)",
                note="an event of this batch is missing or was altered",
            )
        )
    ledger.sequence = max(sequence, ledger.sequence)
    ledger.matched_at_s = event.number("matched_at_s")
    ledger.head = event.content("head")
    ledger.fees_quote += event.number("fees_quote")


def _fold_deposit(ledger: EventLedger, event: ChainEvent, findings: Findings) -> None:
    direct_op = event.number("direct_op")
    findings.count("direct operations")
    for missing in range(ledger.direct_op + 1, min(direct_op, ledger.direct_op + 6)):
        findings.add(
            Finding(
                what="event CollateralDeposited",
                field="direct_op",
                unit="operations",
                expected=f"direct operation {missing} (they have no gaps)",
                found=f"no event; the next one is {direct_op}",
                note="an event is missing",
            )
        )
    ledger.direct_op = max(direct_op, ledger.direct_op)
    ledger.collateral_quote[event.number("account")] += event.number("quote")
    ledger.deposited_quote += event.number("quote")


def _fold_vault(ledger: EventLedger, event: ChainEvent) -> None:
    if event.name == "Deposited":
        ledger.vault_deposited_quote += event.number("quote")
        return
    recipient = event.content("recipient")
    if event.name == "ClaimAdded":
        ledger.claims_quote[recipient] += event.number("quote")
        ledger.vault_claimed_quote += event.number("quote")
    elif event.name == "ClaimPaid":
        ledger.claims_quote[recipient] -= event.number("quote")
        ledger.vault_paid_quote += event.number("quote")
