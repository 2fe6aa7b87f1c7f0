"""Add up balances from the events alone: the second path, blind to calldata and to the model.

What events can rebuild: collateral, min_seq of cancel-alls, overflow and session key words, positions, open markets,
prices, funding indices, pots, rules, tiers and what follows them, the batch word, claims, the mode and the Vault's
tracked quote. Lanes are not in events; replay.py has them. A pot follows from its market's positions: it is what their
entries gained beyond what they gave to collateral and fees. Every event that states a resulting word is also checked
against the word before it, so that a missing one is noticed where it is missing.
Must not: import the settlement rules. Twin: replay.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from afterbell.verify.chain_events import ChainEvent
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.layout import OVERFLOW, POSITION, POSITION_CHANGE, read_lane

FIRST_PRICE_WORD: Final = 1 << 208
"""The price word of a market just listed: epoch 1, no price."""
# contracts/README.md, "Direct operations" and "Words", read anew: this path shares no rule with the replay.
_CANCEL_ALL: Final = 1
_LINK_KEY: Final = 2
_REVOKE_KEY: Final = 3
_CHANGE_RULES: Final = 4
_SET_MODE: Final = 8
_TIERS: Final = 1 << 18
"""Rules keys from here on name tier words."""
_SETTLE_LAG_S: Final = 300
_RULES_CHANGING: Final = 1 << 170
_REVOKED_AT: Final = ((1 << 40) - 1) << 144


@dataclass(slots=True, kw_only=True)
class EventLedger:
    """What the events of all contracts add up to."""

    collateral_quote: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    min_seq: dict[int, int] = field(default_factory=dict)
    overflows: dict[int, int] = field(default_factory=dict)
    session_keys: dict[tuple[int, bytes], int] = field(default_factory=dict)
    positions: dict[tuple[int, int], int] = field(default_factory=dict)
    given_quote: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Market -> what its positions have given to collateral and fees."""
    prices: dict[int, int] = field(default_factory=dict)
    indices: dict[int, int] = field(default_factory=dict)
    tiers: dict[int, int] = field(default_factory=dict)
    """Rules key + 2^18 -> tier word, successors' among them."""
    mode: int = 0
    rules: dict[tuple[int, int], int] = field(default_factory=dict)
    successors: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(market, session) -> (rules word that follows, second after which it binds)."""
    approvals: set[tuple[bytes, bytes]] = field(default_factory=set)
    """(owner, digest)."""
    claims_quote: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    governors: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Contract -> (governor, proposed successor)."""
    first_governors: dict[str, bytes] = field(default_factory=dict)
    guardian: bytes = bytes(20)
    standbys: dict[bytes, bool] = field(default_factory=dict)
    """Sequencer -> whether it may be rotated to."""
    symbols: dict[int, str] = field(default_factory=dict)
    lot_exponents: dict[int, int] = field(default_factory=dict)
    references: dict[int, int] = field(default_factory=dict)
    """Market -> reference price, ticks."""
    announcer: bytes = bytes(20)
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

    def pot_quote(self, market: int) -> int:
        """Return a market's pot: what its entries gained beyond what its positions have given away."""
        entries = (word for (_, held), word in self.positions.items() if held == market)
        return sum(read_lane(POSITION, "entry_quote", word) for word in entries) - self.given_quote[market]

    def accounts(self) -> set[int]:
        """Return every account an event names."""
        named = {account for account, _ in self.positions} | {account for account, _ in self.session_keys}
        return named | set(self.collateral_quote) | set(self.min_seq) | set(self.overflows)


def fold_events(events: Sequence[ChainEvent], findings: Findings) -> EventLedger:
    """Return what the events add up to; gaps and steps that do not fit go into `findings`."""
    ledger = EventLedger()
    fees_of_batch = 0
    for event in events:
        name = event.name
        if name == "PositionChanged":
            fees_of_batch += _fold_position(ledger, event, findings)
        elif name == "IndexChanged":
            ledger.indices[event.number("market")] = event.number("index")
        elif name == "CollateralTransferred":
            ledger.collateral_quote[event.number("account")] -= event.number("quote")
            ledger.collateral_quote[event.number("receiver")] += event.number("quote")
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
        elif name == "ReferenceSet":
            ledger.references[event.number("market")] = event.number("reference_ticks")
        elif name == "AnnouncerSet":
            ledger.announcer = event.content("announcer")
        elif name == "MarketRenamed":
            ledger.symbols[event.number("market")] = str(event.values["symbol"])
        elif name in ("GovernorChanged", "GovernorProposed"):
            _fold_governor(ledger, event, findings)
        elif name == "GuardianSet":
            ledger.guardian = event.content("guardian")
        elif name in ("SequencerApproved", "SequencerRevoked"):
            ledger.standbys[event.content("sequencer")] = name == "SequencerApproved"
        elif name == "KeyChanged":
            ledger.session_keys[event.number("account"), event.content("key")] = event.number("word")
        elif name == "DirectOperation":
            _fold_direct(ledger, event, findings)
        elif name == "DigestApproved":
            ledger.approvals.add((event.content("owner"), event.content("digest")))
        elif name == "MarketRulesSet":
            ledger.rules[event.number("market"), event.number("session")] = event.number("rules")
        elif name == "ReportAccepted":
            ledger.publish_times_s[event.number("market")] = event.number("publish_time_s")
        elif event.contract == "vault":
            _fold_vault(ledger, event)
    return ledger


def _fold_governor(ledger: EventLedger, event: ChainEvent, findings: Findings) -> None:
    """Apply an offer or an acceptance of a governorship; whoever accepts is the one it was offered to."""
    findings.count("governors")
    known = ledger.governors.get(event.contract)
    if event.name == "GovernorProposed":
        if known is None:
            findings.add(_governor_finding(event, "a governor who offers", "none"))
        governor = bytes(20) if known is None else known[0]
        ledger.governors[event.contract] = (governor, event.content("pending_governor"))
        return
    governor = event.content("governor")
    if known is None:
        # The first one comes with the contract, offered by nobody, and is the same everywhere: who deployed it.
        deployer = next(iter(ledger.first_governors.values()), governor)
        ledger.first_governors[event.contract] = governor
        if governor != deployer:
            findings.add(_governor_finding(event, f"0x{deployer.hex()}, the others' first", f"0x{governor.hex()}"))
    elif known[1] != governor:
        findings.add(_governor_finding(event, f"0x{known[1].hex()}, to whom it was offered", f"0x{governor.hex()}"))
    ledger.governors[event.contract] = (governor, bytes(20))


def _governor_finding(event: ChainEvent, expected: str, found: str) -> Finding:
    return Finding(
        what=f"event {event.name}",
        field="governor",
        unit="address",
        expected=f"{expected} (events)",
        found=f"{found} (events)",
        note=event.contract,
    )


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
                sequence=event.number("sequence") or None,
                field="size_lots before",
                unit="lots",
                expected=f"{after_lots - size_change_lots} (this event: {size_change_lots:+} to {after_lots})",
                found=f"{before_lots} (events before it)",
                note="an event of this position is missing or was altered",
            )
        )
    ledger.positions[account, market] = word
    realised_quote = read_lane(POSITION_CHANGE, "realised_quote", change)
    fees_quote = read_lane(POSITION_CHANGE, "fees_quote", change)
    ledger.collateral_quote[account] += realised_quote
    ledger.given_quote[market] += realised_quote + fees_quote
    # What siblings do directly takes no fee of a batch.
    return fees_quote if event.number("sequence") else 0


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
    _count_direct_op(ledger, event, findings)
    ledger.collateral_quote[event.number("account")] += event.number("quote")
    ledger.deposited_quote += event.number("quote")


def _fold_direct(ledger: EventLedger, event: ChainEvent, findings: Findings) -> None:
    """Take over the word a direct operation left, and check what it says of the word before."""
    _count_direct_op(ledger, event, findings)
    kind, account, subject, word = (event.number(name) for name in ("kind", "account", "key", "value"))
    if kind == _CANCEL_ALL:
        before = ledger.overflows.get(account, 0)
        bound = max(read_lane(OVERFLOW, name, before) for name in ("bound_min_seq", "pending_min_seq"))
        found = read_lane(OVERFLOW, "bound_min_seq", word)
        if bound != found:
            findings.add(_step_finding(event, "bound_min_seq", "ms since genesis", bound, found))
        ledger.overflows[account] = word
    elif kind == _CHANGE_RULES and subject >= _TIERS:
        ledger.tiers[subject] = word
    elif kind == _CHANGE_RULES:
        place = subject >> 8, subject & 0xFF
        current = ledger.successors[place][0] if place in ledger.successors else ledger.rules.get(place, 0)
        ledger.rules[place] = current | _RULES_CHANGING
        ledger.successors[place] = word, event.number("time_s") + _SETTLE_LAG_S
    elif kind == _SET_MODE:
        ledger.mode = word
    elif kind in (_LINK_KEY, _REVOKE_KEY):
        key = (subject % (1 << 160)).to_bytes(20, "big")
        before = ledger.session_keys.get((account, key), 0)
        kept = 0 if kind == _LINK_KEY else word & ~_REVOKED_AT
        if before != kept:
            findings.add(_step_finding(event, "session key word before", "word", before, kept))
        ledger.session_keys[account, key] = word


def _step_finding(event: ChainEvent, field_name: str, unit: str, before: int, told: int) -> Finding:
    return Finding(
        what="event DirectOperation",
        account=event.number("account"),
        field=field_name,
        unit=unit,
        expected=f"{told:#x} (this event)",
        found=f"{before:#x} (events before it)",
        note="an event of this word is missing or was altered",
    )


def _count_direct_op(ledger: EventLedger, event: ChainEvent, findings: Findings) -> None:
    direct_op = event.number("direct_op")
    findings.count("direct operations")
    for missing in range(ledger.direct_op + 1, min(direct_op, ledger.direct_op + 6)):
        findings.add(
            Finding(
                what="event CollateralDeposited or DirectOperation",
                field="direct_op",
                unit="operations",
                expected=f"direct operation {missing} (they have no gaps)",
                found=f"no event; the next one is {direct_op}",
                note="an event is missing",
            )
        )
    ledger.direct_op = max(direct_op, ledger.direct_op)


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
