"""Run the whole history again through the executable specification: the first path, from calldata and direct calls.

Deposits and direct operations are direct_operations.py's, paid claims are taken from the token's transfer and the
Vault's event, everything else from the bytes of `settle()`: signatures of owners and session keys, approvals, evidence,
margins, all. What a batch should have logged is compared with what it did log.
After a batch that differs, the chain's head is adopted, so that one fault is reported once; a batch that cannot be run
at all ends the replay, and only the second path goes on. Must not: read storage. Twin: fold.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from afterbell.domain.batch import PriceRow
from afterbell.domain.chain_state import ChainState, list_market, pay_claim, set_rules
from afterbell.domain.digests import DOMAIN_NAME, PRICE_DOMAIN_NAME, build_domain_separator
from afterbell.domain.errors import AfterbellError
from afterbell.domain.ids import MAX_MARKETS, rules_key, tier_key
from afterbell.domain.outcomes import AllKilled, KeyChanged, OperationEffect, OrderKilled, Transferred
from afterbell.domain.prices import MarketUpdate
from afterbell.domain.settlement import BatchResult, apply_batch
from afterbell.signing.keys import recover
from afterbell.verify.batch_calldata import SETTLE_SELECTOR, UnreadableCalldata, decode_settle
from afterbell.verify.chain_events import ChainEvent
from afterbell.verify.direct_operations import DirectRunner, listed, pair_events
from afterbell.verify.event_differences import ExpectedEvent, compare_events, expect
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.fold import FIRST_PRICE_WORD
from afterbell.verify.history import History
from afterbell.verify.instance import Instance
from afterbell.verify.oracle_replay import OracleReplay
from afterbell.verify.progress import Steps

_ONLY_IN_BATCHES: Final = frozenset(
    {"BatchSettled", "BatchFailures", "OrderCancelled", "AllCancelled", "KeyChanged", "CollateralTransferred"}
)
_EXPECTED_IN_BATCHES: Final = _ONLY_IN_BATCHES | {
    "PositionChanged",
    "CollateralWithdrawn",
    "PriceChanged",
    "IndexChanged",
    "ClaimAdded",
    "ReportAccepted",
    "ReportIgnored",
    "SecondReported",
}


@dataclass(slots=True, kw_only=True)
class Replay:
    """The state after all events, and where the replay had to stop, if it had to."""

    state: ChainState
    oracle: OracleReplay
    sequencer: bytes = b""
    n_batches: int = 0
    stopped_at: str = ""

    @property
    def is_whole(self) -> bool:
        """Tell whether every batch could be run."""
        return not self.stopped_at


def replay_history(history: History, instance: Instance, findings: Findings, steps: Steps) -> Replay:
    """Return the state the history leads to; everything that does not fit goes into `findings`."""
    replay = Replay(
        state=ChainState(
            genesis_s=instance.genesis_s,
            forbidden_recipients=frozenset({instance.vault, instance.clearinghouse, instance.token}),
        ),
        oracle=OracleReplay(
            instance,
            build_domain_separator(
                name=PRICE_DOMAIN_NAME, chain_id=instance.chain_id, verifying_contract=instance.price_source
            ),
            findings,
        ),
    )
    runner = _Runner(history, instance, replay, findings)
    groups = list(history.by_transaction())
    steps.begin("transactions replayed", len(groups))
    for transaction, events in groups:
        runner.run(transaction, events)
        steps.advance()
    return replay


class _Runner:
    """Apply one transaction after the other."""

    def __init__(self, history: History, instance: Instance, replay: Replay, findings: Findings) -> None:
        self._history = history
        self._instance = instance
        self._replay = replay
        self._findings = findings
        self._order_domain = build_domain_separator(
            name=DOMAIN_NAME, chain_id=instance.chain_id, verifying_contract=instance.clearinghouse
        )
        self._direct = DirectRunner(replay.state, instance, history.block_times_s, findings)

    def run(self, transaction: bytes, events: Sequence[ChainEvent]) -> None:
        """Apply what one transaction did."""
        self._direct.run(events)
        self._apply_settings(events)
        if self._is_batch(transaction, events):
            self._run_batch(transaction, events)
        self._apply_paid_claims(events)

    def _is_batch(self, transaction: bytes, events: Sequence[ChainEvent]) -> bool:
        if any(event.contract == "clearinghouse" and event.name in _ONLY_IN_BATCHES for event in events):
            return True
        call = self._history.transactions.get(transaction)
        return call is not None and call.to == self._instance.clearinghouse and call.input[:4] == SETTLE_SELECTOR

    # Claims: each has two witnesses.

    def _apply_paid_claims(self, events: Sequence[ChainEvent]) -> None:
        paid = [event for event in events if event.name == "ClaimPaid"]
        moved = [
            event for event in events if event.contract == "token" and event.content("sender") == self._instance.vault
        ]
        for payment, move in pair_events(paid, moved, _payment):
            witness = move or payment
            if witness is None:
                continue
            recipient, quote = _payment(witness)
            owed_quote = pay_claim(self._replay.state, recipient)
            self._findings.count("claims paid")
            if owed_quote != quote:
                # What was paid is paid: the rest of the history counts it, the difference is reported.
                self._replay.state.tracked_quote += owed_quote - quote
                self._findings.add(
                    Finding(
                        what="claim paid",
                        recipient=recipient,
                        field="quote",
                        unit="quote",
                        expected=f"{owed_quote} (replay)",
                        found=f"{quote} (logs)",
                    )
                )
            wanted = expect("ClaimPaid", contract="vault", recipient=recipient, quote=quote)
            compare_events([wanted], listed(payment), None, self._findings)
            transfer = expect(
                "Transfer", contract="token", sender=self._instance.vault, receiver=recipient, quote=quote
            )
            compare_events([transfer], listed(move), None, self._findings)

    # What the governor set. Only the events tell; a listing has three witnesses, the rest is compared with storage.

    def _apply_settings(self, events: Sequence[ChainEvent]) -> None:
        timed = [event for event in events if event.log.block in self._history.block_times_s]
        time_s = self._history.block_times_s[timed[0].log.block] if timed else 0
        self._replay.oracle.apply(events, time_s)
        for event in events:
            if event.name == "MarketRulesSet":
                self._set_first_rules(event)
            elif event.name == "SequencerSet":
                self._replay.sequencer = event.content("sequencer")
        if not any(event.name in _ONLY_IN_BATCHES for event in events):
            self._apply_listing(events)

    def _set_first_rules(self, event: ChainEvent) -> None:
        """Write first rules; their tiers are direct operations of their own and stand already."""
        market, session, state = event.number("market"), event.number("session"), self._replay.state
        tier_word = state.rules.get(tier_key(rules_key(market, session)), 0)
        set_rules(state, market, session, event.number("rules"), tier_word)

    def _apply_listing(self, events: Sequence[ChainEvent]) -> None:
        """List a market if the registry's or the Clearinghouse's event says so; each stands in for the others."""
        listed = {event.number("market"): event for event in events if event.name == "MarketListed"}
        opened = [
            event for event in events if event.name == "PriceChanged" and event.number("price") == FIRST_PRICE_WORD
        ]
        priced = [event for event in events if event.name == "MarketPriced"]
        for market in sorted({*listed, *(event.number("market") for event in opened)}):
            if market in self._replay.state.prices or not 1 <= market <= MAX_MARKETS:
                continue
            list_market(self._replay.state, market)
            wanted = [expect("PriceChanged", market=market, price=FIRST_PRICE_WORD)]
            compare_events(
                wanted, [event for event in opened if event.number("market") == market], None, self._findings
            )
            if market not in listed:
                self._report_missing("MarketListed", market)
                continue
            listing = listed[market]
            mine = [event for event in priced if event.number("market") == market]
            if not mine:
                self._replay.oracle.price_market(listing, multiplier_num=1, multiplier_den=1)
            pricing = expect(
                "MarketPriced",
                contract="price_oracle",
                market=market,
                source_id=listing.number("source_id"),
                ticks_per_usd=listing.number("ticks_per_usd"),
                max_confidence_ppm=listing.number("max_confidence_ppm"),
                multiplier_num=1,
                multiplier_den=1,
            )
            compare_events([pricing], mine, None, self._findings)

    def _report_missing(self, name: str, market: int) -> None:
        self._findings.add(
            Finding(
                what=f"event {name}",
                market=market,
                field="event",
                unit="event",
                expected=f"{name}, logged by every listing (replay)",
                found="no such event (logs)",
            )
        )

    # Batches.

    def _run_batch(self, transaction: bytes, events: Sequence[ChainEvent]) -> None:
        sequence = self._replay.state.batch.sequence + 1
        if not self._replay.is_whole:
            return
        call = self._history.transactions.get(transaction)
        if call is None:
            self._stop(sequence, transaction, "the transaction", "the node has no such transaction")
            return
        if call.to != self._instance.clearinghouse:
            self._stop(
                sequence,
                transaction,
                "a call of settle() sent to the Clearinghouse itself",
                f"sent to 0x{call.to.hex()}",
            )
            return
        try:
            previous_head, payload = decode_settle(call.input)
            block_time_s = self._history.block_times_s[call.block]
            oracle_events: list[ExpectedEvent] = []

            def update_prices(
                chain: ChainState, rows: Sequence[PriceRow], evidence: bytes, matched_at_s: int
            ) -> Sequence[MarketUpdate]:
                updates, logged = self._replay.oracle.update(chain, rows, evidence, matched_at_s)
                oracle_events.extend(logged)
                return updates

            result = apply_batch(
                self._replay.state,
                payload,
                previous_head=previous_head,
                block_time_s=block_time_s,
                update_prices=update_prices,
                domain_separator=self._order_domain,
                recover=recover,
            )
        except (UnreadableCalldata, AfterbellError) as error:
            self._stop(sequence, transaction, "a batch that the specification settles", f"it refuses: {error}")
            return
        self._replay.n_batches += 1
        found = [event for event in events if event.contract != "token" and event.name in _EXPECTED_IN_BATCHES]
        compare_events([*_expect_events(result), *oracle_events], found, sequence, self._findings)
        for event in events:
            if event.name == "BatchSettled" and event.number("sequence") == sequence:
                self._replay.state.head = event.content("head")

    def _stop(self, sequence: int, transaction: bytes, required: str, found: str) -> None:
        self._replay.stopped_at = f"batch {sequence}, transaction 0x{transaction.hex()}: {found}"
        self._findings.add(
            Finding(
                what="batch",
                sequence=sequence,
                field=f"transaction 0x{transaction.hex()}",
                unit="batch",
                expected=required,
                found=found,
                note="the replay ends here; from here on only events and storage are compared",
            )
        )


def _payment(event: ChainEvent) -> tuple[bytes, int]:
    return event.content("receiver" if event.name == "Transfer" else "recipient"), event.number("quote")


def _expect_events(result: BatchResult) -> list[ExpectedEvent]:
    """Return every event a batch must log beside its oracle's, in no particular order."""
    events = [
        expect(
            "PositionChanged",
            sequence=result.sequence,
            account=change.account_id,
            market=change.market_id,
            change=change.change_word,
            position=change.position_word,
        )
        for change in result.changes
    ]
    events += [expect("PriceChanged", market=market_id, price=word) for market_id, word in result.prices.items()]
    events += [expect("IndexChanged", market=market_id, index=word) for market_id, word in result.indices.items()]
    for effect in result.operations:
        events += _expect_operation(effect, result.sequence)
    if result.n_failures:
        events.append(expect("BatchFailures", sequence=result.sequence, codes=result.codes))
    events.append(
        expect(
            "BatchSettled",
            sequence=result.sequence,
            head=result.head,
            payload_hash=result.payload_hash,
            journal_hash=result.journal_hash,
            matched_at_s=result.matched_at_s,
            direct_op=result.direct_op,
            n_failures=result.n_failures,
            volume_quote=result.volume_quote,
            fees_quote=result.fees_quote,
        )
    )
    return events


def _expect_operation(effect: OperationEffect, sequence: int) -> list[ExpectedEvent]:
    by = "operations"
    if isinstance(effect, OrderKilled):
        return [expect("OrderCancelled", contract=by, account=effect.account_id, nonce=effect.nonce)]
    if isinstance(effect, AllKilled):
        return [expect("AllCancelled", contract=by, account=effect.account_id, min_seq=effect.min_seq)]
    if isinstance(effect, KeyChanged):
        return [expect("KeyChanged", contract=by, account=effect.account_id, key=effect.key, word=effect.word)]
    if isinstance(effect, Transferred):
        return [
            expect(
                "CollateralTransferred",
                contract=by,
                account=effect.account_id,
                receiver=effect.receiver_id,
                sequence=sequence,
                quote=effect.quote,
            )
        ]
    return [
        expect(
            "CollateralWithdrawn",
            account=effect.account_id,
            recipient=effect.recipient,
            sequence=sequence,
            quote=effect.quote,
        ),
        expect("ClaimAdded", contract="vault", recipient=effect.recipient, quote=effect.quote),
    ]
