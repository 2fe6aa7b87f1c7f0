"""A model of the contracts that sees what the chain would see: listings, transactions, payloads, true signatures."""

from __future__ import annotations

from collections import deque

from afterbell.domain.commands import AdoptPrices, Command, ConfirmBatch, CreditDeposit, ListMarket, SetMarketRules
from afterbell.domain.direct import (
    DirectOperation,
    approve,
    record_cancel_all,
    record_key_link,
    record_key_revocation,
    record_rules,
)
from afterbell.domain.events import BatchSealed, Event
from afterbell.domain.prices import StatedMarket, move_markets
from afterbell.domain.settlement import ChainState, apply_batch, apply_deposit, list_market, set_rules
from afterbell.domain.words import SessionKeyWord
from afterbell.engine.state import EngineState
from afterbell.signing.keys import recover
from tests.engine.support import CONFIG, GENESIS_S, account, owner


class Contract:
    """The chain: settles what was sealed when it is told to, so that direct calls may come in between."""

    def __init__(self) -> None:
        self.chain = ChainState(
            genesis_s=GENESIS_S,
            forbidden_recipients=frozenset({CONFIG.vault, CONFIG.clearinghouse, CONFIG.token}),
        )
        self.separator = EngineState(CONFIG).domain_separator
        self.time_s = 0
        """Time of the last block."""
        self.unsettled: deque[tuple[BatchSealed, tuple[StatedMarket, ...]]] = deque()
        self._stated: tuple[StatedMarket, ...] = ()

    def hear(self, command: Command, events: list[Event]) -> None:
        """Follow one frame: genesis happens at once, sealed batches wait for `settle`. Deposits: `deposit`."""
        if isinstance(command, ListMarket):
            list_market(self.chain, command.market)
        elif isinstance(command, SetMarketRules):
            set_rules(self.chain, command.market, command.session, int.from_bytes(command.rules_word, "big"))
        for event in events:
            if isinstance(event, BatchSealed):
                self.unsettled.append((event, self._stated))
                self._stated = ()
        if isinstance(command, AdoptPrices):
            self._stated = tuple(
                StatedMarket(
                    market_id=market,
                    external_ticks=ticks,
                    external_time_s=time_s,
                    session=session,
                    session_minutes=minutes,
                    window_start_s=start_s,
                )
                for market, ticks, time_s, session, minutes, start_s in command.stated
            )

    def follow(self, command: Command, events: list[Event]) -> None:
        """Hear a frame of a venue without direct operations, and settle at once."""
        self.hear(command, events)
        if isinstance(command, CreditDeposit):
            apply_deposit(self.chain, command.account, command.quote)
        self.settle()

    def settle(self) -> list[ConfirmBatch]:
        """Mine the sealed batches; each must do what its seal predicted. Return what the settler would journal."""
        confirmations: list[ConfirmBatch] = []
        while self.unsettled:
            sealed, stated = self.unsettled.popleft()
            self.time_s = max(self.time_s, sealed.matched_at_s)
            result = apply_batch(
                self.chain,
                sealed.payload,
                previous_head=sealed.previous_head,
                block_time_s=self.time_s,
                update_prices=lambda chain, rows, _, matched_at_s, stated=stated: move_markets(
                    chain, stated, rows, matched_at_s
                ),
                domain_separator=self.separator,
                recover=recover,
            )
            assert (result.head, result.codes) == (sealed.head, sealed.codes)
            confirmations.append(
                ConfirmBatch(
                    sequence=sealed.sequence,
                    head=result.head,
                    codes=result.codes,
                    block=sealed.sequence,
                    transaction=bytes(32),
                    gas_used=1,
                )
            )
        return confirmations

    def cancel_all(self, number: int, min_seq: int, time_s: int) -> DirectOperation:
        return record_cancel_all(self.chain, account(number), min_seq, time_s=self._mine(time_s))

    def link_key(self, number: int, key: int, time_s: int, *, lifetime_s: int = 86_400) -> DirectOperation:
        limits = SessionKeyWord(expiry_s=time_s + lifetime_s, max_notional_quote=1_000_000_000, markets=0b11).pack()
        return record_key_link(self.chain, account(number), owner(key), limits, time_s=self._mine(time_s))

    def revoke_key(self, number: int, key: int, time_s: int) -> DirectOperation:
        return record_key_revocation(self.chain, account(number), owner(key), time_s=self._mine(time_s))

    def change_rules(self, market: int, session: int, word: int, time_s: int) -> DirectOperation:
        return record_rules(self.chain, market, session, word, time_s=self._mine(time_s))

    def approve(self, number: int, digest: bytes) -> None:
        approve(self.chain, owner(number), digest)

    def deposit(self, number: int, quote: int, time_s: int) -> int:
        self._mine(time_s)
        return apply_deposit(self.chain, account(number), quote)

    def _mine(self, time_s: int) -> int:
        self.time_s = max(self.time_s, time_s)
        return self.time_s
