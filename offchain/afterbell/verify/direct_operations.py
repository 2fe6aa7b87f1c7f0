"""Replay what was done directly on chain: deposits and direct operations share one count, in the order of the logs.

A deposit has three witnesses (Clearinghouse, Vault, token). A direct operation has its log alone, because a contract
wallet may have made the call: what it asked for is read from the log, what must have come of it is worked out again by
the rules of Operations and compared. What a sibling did (liquidation, exit, corporate action) has the
logs beside it: positions must follow from those before by the Clearinghouse's own rule; a price, an index, a mode are
taken over and held against storage. A log that is missing shows as a gap in the count. Must not: read storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from afterbell.domain.chain_state import ChainState, Mode, apply_deposit
from afterbell.domain.delta_records import apply_records, read_records
from afterbell.domain.deltas import move_market, set_mode, withdraw_to_claim
from afterbell.domain.direct import (
    TIER_MARKETS,
    DirectKind,
    DirectOperation,
    apply_direct,
    approve,
    record_cancel_all,
    record_key_link,
    record_key_revocation,
    record_rules,
)
from afterbell.domain.errors import DirectRefused, FieldOutOfRange
from afterbell.domain.ids import MAX_ACCOUNT_ID, MAX_MARKETS, rules_successor_key, tier_key
from afterbell.domain.session import MAX_SESSION
from afterbell.domain.words import KEY_LINKED, OverflowWord
from afterbell.verify.chain_events import ChainEvent
from afterbell.verify.event_differences import compare_events, expect, show_values
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.instance import Instance

_MAX_ADDRESS: Final = (1 << 160) - 1
_MAX_RULES_KEY: Final = tier_key(rules_successor_key(MAX_MARKETS, MAX_SESSION))
_BESIDE: Final = ("PositionChanged", "PriceChanged", "IndexChanged")
"""Logs that tell what the direct operation after them moved."""


class DirectRunner:
    """Apply the deposits, direct operations and approvals of one transaction after the other."""

    def __init__(
        self, state: ChainState, instance: Instance, block_times_s: Mapping[int, int], findings: Findings
    ) -> None:
        self._state = state
        self._instance = instance
        self._block_times_s = block_times_s
        self._findings = findings
        self._arrived: list[ChainEvent] = []
        self._exits: list[tuple[int, int, int]] = []
        """(account, recipient, quote) of withdrawals by Exits whose other logs are still to come."""

    def run(self, events: Sequence[ChainEvent]) -> None:
        """Apply what one transaction did, in the order of its logs."""
        self._arrived = [
            event for event in events if event.contract == "token" and event.content("receiver") == self._instance.vault
        ]
        credited = [event for event in events if event.name == "CollateralDeposited"]
        received = [event for event in events if event.contract == "vault" and event.name == "Deposited"]
        steps: list[tuple[int, Callable[[], None]]] = []
        for credit, receipt in pair_events(credited, received, _deposit):
            place = credit or receipt
            if place is not None:
                steps.append((place.log.index, partial(self._deposit, credit, receipt)))
        beside: list[ChainEvent] = []
        for event in events:
            if event.name == "DirectOperation":
                steps.append((event.log.index, partial(self._operate, event, tuple(beside))))
                beside = []
            elif event.name in _BESIDE:
                beside.append(event)
            if event.name == "CollateralWithdrawn" and event.number("sequence") == 0:
                # Logged after the direct operation it belongs to.
                claimed = [one for one in events if one.name == "ClaimAdded"]
                steps.append((event.log.index, partial(self._compare_exit, event, claimed)))
            if event.name == "DigestApproved":
                approve(self._state, event.content("owner"), event.content("digest"))
        for _, step in sorted(steps, key=lambda entry: entry[0]):
            step()

    def _skip_gap(self, event: ChainEvent) -> None:
        """Go on after direct operations whose logs are missing; fold.py names them."""
        self._state.direct_op = max(self._state.direct_op, event.number("direct_op") - 1)

    # Deposits.

    def _deposit(self, credit: ChainEvent | None, receipt: ChainEvent | None) -> None:
        witness = receipt or credit
        if witness is None:
            return
        if credit is not None:
            self._skip_gap(credit)
        account, sender, quote = _deposit(witness)
        try:
            apply_deposit(self._state, account, quote)
        except FieldOutOfRange as error:
            self._refuse("Deposited", account, "quote", f"a deposit that fits the account word ({error})", str(quote))
            return
        direct_op = self._state.direct_op
        wanted = expect("CollateralDeposited", account=account, sender=sender, quote=quote, direct_op=direct_op)
        compare_events([wanted], listed(credit), None, self._findings)
        wanted = expect("Deposited", contract="vault", account=account, sender=sender, quote=quote)
        compare_events([wanted], listed(receipt), None, self._findings)
        moved = [
            event for event in self._arrived if (event.content("sender"), event.number("quote")) == (sender, quote)
        ]
        if moved:
            self._arrived.remove(moved[0])
            return
        wanted = expect("Transfer", contract="token", sender=sender, receiver=self._instance.vault, quote=quote)
        compare_events([wanted], [], None, self._findings)

    # Direct operations.

    def _operate(self, event: ChainEvent, beside: Sequence[ChainEvent]) -> None:
        self._skip_gap(event)
        if event.number("kind") > DirectKind.CHANGE_RULES:
            self._operate_sibling(event, beside)
            return
        account, kind, subject = event.number("account"), event.number("kind"), event.number("key")
        time_s = self._block_times_s[event.log.block]
        # The log says what was asked for; a number no call can carry is refused before the rules see it.
        highest = {1: 0, 2: _MAX_ADDRESS, 3: _MAX_ADDRESS, 4: _MAX_RULES_KEY}.get(kind, -1)
        if subject > highest or account > (0 if kind == DirectKind.CHANGE_RULES else MAX_ACCOUNT_ID):
            found = show_values(event.values)
            self._refuse("DirectOperation", account, "event", "a direct operation of contracts/README.md", found)
            self._state.direct_op += 1
            return
        try:
            done = self._record(kind, account, subject, event.number("value"), time_s)
        except DirectRefused as error:
            self._refuse("DirectOperation", account, "event", f"the chain refuses it: {error.reason}", "it was done")
            self._state.direct_op += 1
            return
        self._findings.count("direct operations replayed")
        wanted = expect(
            "DirectOperation",
            account=done.account_id,
            direct_op=done.direct_op,
            kind=done.kind,
            key=done.subject,
            value=done.word,
            time_s=done.time_s,
        )
        compare_events([wanted], [event], None, self._findings)

    def _record(self, kind: int, account: int, subject: int, word: int, time_s: int) -> DirectOperation:
        """Do it again by the rules. Raises: DirectRefused."""
        if kind == DirectKind.CANCEL_ALL:
            min_seq = OverflowWord.unpack(word).pending_min_seq
            return record_cancel_all(self._state, account, min_seq, time_s=time_s)
        if kind == DirectKind.CHANGE_RULES and subject >> 8 >= TIER_MARKETS:
            direct_op = apply_direct(self._state, kind, account, subject, word, time_s)
            return DirectOperation(
                direct_op=direct_op, kind=kind, account_id=account, subject=subject, word=word, time_s=time_s
            )
        if kind == DirectKind.CHANGE_RULES:
            return record_rules(self._state, subject >> 8, subject & 0xFF, word, time_s=time_s)
        key = subject.to_bytes(20, "big")
        if kind == DirectKind.LINK_KEY:
            return record_key_link(self._state, account, key, word & ~KEY_LINKED, time_s=time_s)
        return record_key_revocation(self._state, account, key, time_s=time_s)

    # Siblings.

    def _operate_sibling(self, event: ChainEvent, beside: Sequence[ChainEvent]) -> None:
        """Do again what a sibling did. A refusal leaves the words as they were: later differences follow from it."""
        kind, subject, word = event.number("kind"), event.number("key"), event.number("value")
        account, state = event.number("account"), self._state
        direct_op = state.direct_op
        try:
            if kind == DirectKind.APPLY_DELTAS:
                records = b"".join(_record_words(one) for one in beside if one.name == "PositionChanged")
                pot_change_quote = word - (1 << 256) if word >> 255 else word
                apply_records(state, subject, read_records(records), pot_change_quote)
            elif kind == DirectKind.MOVE_MARKET:
                told = {(one.name, one.number("market")): one for one in beside if one.name != "PositionChanged"}
                price, index = told.get(("PriceChanged", subject)), told.get(("IndexChanged", subject))
                move_market(
                    state,
                    subject,
                    state.prices.get(subject, 0) if price is None else price.number("price"),
                    state.indices.get(subject, 0) if index is None else index.number("index"),
                )
            elif kind == DirectKind.WITHDRAW_TO_CLAIM and subject <= _MAX_ADDRESS:
                withdraw_to_claim(state, account, subject.to_bytes(20, "big"), word)
            elif kind == DirectKind.SET_MODE and word in tuple(Mode):
                set_mode(state, Mode(word))
            else:
                raise DirectRefused(f"kind {kind} of key {subject:#x} and value {word:#x}")
        except (DirectRefused, FieldOutOfRange, ValueError) as error:
            expected = f"what a sibling may do on the words before it ({error})"
            self._refuse("DirectOperation", account, "event", expected, show_values(event.values))
            state.direct_op = direct_op + 1
        self._findings.count("direct operations replayed")
        wanted = expect(
            "DirectOperation",
            account=account,
            direct_op=state.direct_op,
            kind=kind,
            key=subject,
            value=word,
            time_s=self._block_times_s[event.log.block],
        )
        compare_events([wanted], [event], None, self._findings)
        if kind == DirectKind.WITHDRAW_TO_CLAIM:
            self._exits.append((account, subject, word))

    def _compare_exit(self, event: ChainEvent, claimed: Sequence[ChainEvent]) -> None:
        """Hold what a withdrawal by Exits logged against the direct operation that counted it."""
        if not self._exits:
            self._refuse(event.name, event.number("account"), "event", "a direct operation of kind 7 before it", "none")
            return
        account, subject, quote = self._exits.pop(0)
        recipient = subject.to_bytes(20, "big")
        wanted = expect("CollateralWithdrawn", account=account, recipient=recipient, sequence=0, quote=quote)
        compare_events([wanted], [event], None, self._findings)
        wanted = expect("ClaimAdded", contract="vault", recipient=recipient, quote=quote)
        mine = [one for one in claimed if one.content("recipient") == recipient][:1]
        compare_events([wanted], mine, None, self._findings)

    def _refuse(self, event_name: str, account: int, field: str, expected: str, found: str) -> None:
        self._findings.add(
            Finding(
                what=f"event {event_name}",
                account=account,
                field=field,
                unit="quote" if field == "quote" else "event",
                expected=expected,
                found=f"{found} (logs)",
            )
        )


def _record_words(event: ChainEvent) -> bytes:
    """Return the three words of a PositionChanged as PositionsChanged had them."""
    place = event.number("account") << 16 | event.number("market")
    words = (place, event.number("change"), event.number("position"))
    return b"".join(word.to_bytes(32, "big") for word in words)


def _deposit(event: ChainEvent) -> tuple[int, bytes, int]:
    return event.number("account"), event.content("sender"), event.number("quote")


def pair_events(
    left: Sequence[ChainEvent], right: Sequence[ChainEvent], key: Callable[[ChainEvent], object]
) -> list[tuple[ChainEvent | None, ChainEvent | None]]:
    """Return pairs of witnesses of one transaction: as many as the longer list has.

    Equally many: they belong together in order, whatever they say. Otherwise equal ones find each other.
    """
    if len(left) == len(right):
        return list(zip(left, right, strict=True))
    pairs: list[tuple[ChainEvent | None, ChainEvent | None]] = []
    alone = list(right)
    for event in left:
        partner = next((other for other in alone if key(other) == key(event)), None)
        if partner is not None:
            alone.remove(partner)
        pairs.append((event, partner))
    return pairs + [(None, other) for other in alone]


def listed(event: ChainEvent | None) -> list[ChainEvent]:
    """Return no event or one, as a list."""
    return [] if event is None else [event]
