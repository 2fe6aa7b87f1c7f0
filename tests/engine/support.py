"""A venue in memory for engine tests: markets, prices, accounts, orders with true digests and signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from afterbell.domain.commands import (
    AdoptDirectOperation,
    AdoptPrices,
    CancelAll,
    CancelOrder,
    Command,
    CreditDeposit,
    LinkKey,
    ListMarket,
    PlaceOrder,
    RequestTransfer,
    RequestWithdrawal,
    RevokeKey,
    SealBatch,
    SetMarketRules,
)
from afterbell.domain.digests import build_digest, hash_operation, hash_order
from afterbell.domain.direct import DirectOperation
from afterbell.domain.events import Event
from afterbell.domain.ids import AccountId, build_account_id, build_nonce, lane_of, seq_of
from afterbell.domain.order import LinkKey as SignedLinkKey
from afterbell.domain.order import Operation, Order, TimeInForce, Transfer, TriggerKind, Withdraw
from afterbell.domain.order import RevokeKey as SignedRevokeKey
from afterbell.domain.session import Session
from afterbell.domain.words import RulesWord
from afterbell.engine.apply import apply
from afterbell.engine.batching import needs_seal_before
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.signing.keys import SigningKey

GENESIS_S = 1_700_000_000
START_MS = (GENESIS_S + 1_000) * 1_000
USDC = 1_000_000
SESSION_MINUTES = 1_440
"""How long the oracle states a session in these tests, unless one is about that."""

CONFIG = EngineConfig(
    chain_id=31337, clearinghouse=b"\xc1" * 20, vault=b"\xc2" * 20, token=b"\xc3" * 20, genesis_s=GENESIS_S
)

RULES = RulesWord(
    initial_margin_ppm=100_000,
    settlement_margin_ppm=75_000,
    maintenance_margin_ppm=50_000,
    band_ppm=50_000,
    mark_step_ppm=5_000,
    max_age_s=60,
    open_interest_cap_lots=10_000_000,
    is_opening_allowed=True,
    is_funding_on=False,
    size_step_lots=10,
    price_step_ticks=1,
    min_notional_quote=1_000_000,
    max_fee_ppm=1_000,
)


@cache
def signing_key(number: int) -> SigningKey:
    """Return the key of a participant."""
    return SigningKey(number.to_bytes(32, "big"))


def owner(number: int) -> bytes:
    """Return the address of a participant."""
    return signing_key(number).address


def account(number: int, subaccount: int = 0) -> AccountId:
    """Return the account of a participant."""
    return build_account_id(owner(number), subaccount)


@dataclass
class Venue:
    """An engine with a clock of its own. Every command goes through `send`, which keeps them for replays."""

    state: EngineState = field(default_factory=lambda: EngineState(CONFIG))
    time_ms: int = START_MS
    head_hash: bytes = bytes(32)
    frames: list[tuple[int, bytes, Command]] = field(default_factory=list)
    outcomes: list[list[Event]] = field(default_factory=list)
    """Events of each frame."""
    events: list[Event] = field(default_factory=list)
    n_deposits: int = 0

    @property
    def time_s(self) -> int:
        return self.time_ms // 1_000

    def send(self, command: Command) -> list[Event]:
        """Apply a command as the sequencer would, sealing first where it would."""
        while needs_seal_before(self.state, command):
            self.seal()
        events = apply(self.state, command, time_ms=self.time_ms, previous_hash=self.head_hash)
        self.frames.append((self.time_ms, self.head_hash, command))
        self.outcomes.append(events)
        self.head_hash = sha256(self.head_hash + repr(command).encode()).digest()
        self.events += events
        return events

    def seal(self) -> list[Event]:
        return self.send(SealBatch(journal_hash=self.head_hash))

    def list_market(self, market: int = 1, rules: RulesWord = RULES, session: Session = Session.REGULAR) -> None:
        self.send(
            ListMarket(market=market, symbol=f"S{market}", epoch=1, lot_exponent=4, ticks_per_usd=100, synthetic=False)
        )
        self.set_rules(market, rules, session)

    def set_rules(self, market: int = 1, rules: RulesWord = RULES, session: Session = Session.REGULAR) -> None:
        self.send(SetMarketRules(market=market, session=session, rules_word=rules.pack().to_bytes(32, "big")))

    def prices(
        self, ticks: int, *, mark_ticks: int | None = None, market: int = 1, session: Session = Session.REGULAR
    ) -> list[Event]:
        """Adopt a report of this price now, the mark with it."""
        return self.prices_of([(market, mark_ticks or ticks, ticks)], session)

    def prices_of(self, rows: Sequence[tuple[int, int, int]], session: Session = Session.REGULAR) -> list[Event]:
        return self.send(
            AdoptPrices(
                rows=tuple((market, mark, external, 0) for market, mark, external in rows),
                stated=tuple(
                    (market, external, self.time_s, int(session), SESSION_MINUTES, GENESIS_S)
                    for market, _, external in rows
                ),
                evidence=b"evidence",
            )
        )

    def deposit(self, number: int, quote: int, subaccount: int = 0) -> list[Event]:
        self.n_deposits += 1
        return self.send(
            CreditDeposit(
                direct_op=self.n_deposits,
                account=account(number, subaccount),
                quote=quote,
                sender=owner(number),
                block=self.n_deposits,
                transaction=bytes(32),
            )
        )

    def now_seq(self) -> int:
        return self.time_ms - GENESIS_S * 1_000

    def build_order(
        self,
        number: int,
        *,
        is_buy: bool,
        size_lots: int,
        limit_ticks: int,
        market: int = 1,
        lane: int = 0,
        seq: int | None = None,
        subaccount: int = 0,
        max_fee_ppm: int = 500,
        lifetime_s: int = 3_600,
        epoch: int = 1,
        reduce_only: bool = False,
        post_only: bool = False,
        time_in_force: TimeInForce = TimeInForce.GTC,
        trigger_kind: TriggerKind = TriggerKind.NONE,
        trigger_ticks: int = 0,
        client_id: str = "",
        key: int | None = None,
    ) -> PlaceOrder:
        """Build an order with a true digest, signed by the participant or by the session key of this number."""
        order = Order(
            owner=owner(number),
            subaccount=subaccount,
            market_id=market,
            epoch=epoch,
            is_buy=is_buy,
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            max_fee_ppm=max_fee_ppm,
            expiry_s=self.time_s + lifetime_s,
            lane=lane,
            seq=self.now_seq() if seq is None else seq,
            reduce_only=reduce_only,
            post_only=post_only,
            time_in_force=time_in_force,
            trigger_kind=trigger_kind,
            trigger_ticks=trigger_ticks,
        )
        order_id = build_digest(self.state.domain_separator, hash_order(order))
        r, vs = signing_key(number if key is None else key).sign(order_id)
        return PlaceOrder(
            order_id=order_id,
            owner=order.owner,
            subaccount=subaccount,
            market=market,
            epoch=epoch,
            is_buy=is_buy,
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            max_fee_ppm=max_fee_ppm,
            expiry_s=order.expiry_s,
            nonce=order.nonce,
            reduce_only=reduce_only,
            post_only=post_only,
            time_in_force=int(time_in_force),
            trigger_ticks=trigger_ticks,
            trigger_kind=int(trigger_kind),
            r=r,
            vs=vs,
            client_id=client_id,
            signer=b"" if key is None else owner(key),
        )

    def place(self, number: int, side: str, size_lots: int, limit_ticks: int, **fields: object) -> list[Event]:
        """Place an order one millisecond later, so that its seq is new. side: "buy" or "sell"."""
        self.time_ms += 1
        command = self.build_order(
            number,
            is_buy=side == "buy",
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            **fields,  # type: ignore[arg-type]
        )
        return self.send(command)

    def cancel(self, number: int, nonce: int, *, lifetime_s: int = 60, key: int | None = None) -> list[Event]:
        self.time_ms += 1
        return self.send(
            CancelOrder(
                account=account(number),
                order_nonce=nonce,
                expiry_s=self.time_s + lifetime_s,
                nonce=build_nonce(65535, self.now_seq()),
                r=b"\x01" * 32,
                vs=b"\x02" * 32,
                signer=b"" if key is None else owner(key),
            )
        )

    def cancel_all(self, number: int, min_seq: int | None = None, *, key: int | None = None) -> list[Event]:
        self.time_ms += 1
        return self.send(
            CancelAll(
                account=account(number),
                min_seq_ms=self.now_seq() if min_seq is None else min_seq,
                expiry_s=self.time_s + 60,
                nonce=build_nonce(65535, self.now_seq()),
                r=b"\x01" * 32,
                vs=b"\x02" * 32,
                signer=b"" if key is None else owner(key),
            )
        )

    def withdraw(
        self,
        number: int,
        quote: int,
        *,
        recipient: bytes | None = None,
        nonce: int | None = None,
        lifetime_s: int = 60,
        key: int | None = None,
        is_approved: bool = False,
    ) -> list[Event]:
        """Request a signed withdrawal one millisecond later; approved: without a signature."""
        self.time_ms += 1
        nonce = build_nonce(65535, self.now_seq()) if nonce is None else nonce
        recipient = owner(number) if recipient is None else recipient
        message = Withdraw(
            owner=owner(number),
            quote=quote,
            recipient=recipient,
            expiry_s=self.time_s + lifetime_s,
            seq=seq_of(nonce),
        )
        assert lane_of(nonce) == 65535
        withdrawal_id, r, vs = self._sign(message, number if key is None else key, is_approved)
        return self.send(
            RequestWithdrawal(
                withdrawal_id=withdrawal_id,
                account=account(number),
                quote=quote,
                recipient=recipient,
                expiry_s=message.expiry_s,
                nonce=nonce,
                r=r,
                vs=vs,
                signer=b"" if key is None else owner(key),
                is_approved=is_approved,
            )
        )

    def transfer(
        self,
        number: int,
        quote: int,
        to_subaccount: int,
        *,
        subaccount: int = 0,
        seq: int | None = None,
        is_approved: bool = False,
    ) -> list[Event]:
        """Request a signed transfer to another subaccount one millisecond later."""
        self.time_ms += 1
        message = Transfer(
            owner=owner(number),
            subaccount=subaccount,
            quote=quote,
            to_subaccount=to_subaccount,
            expiry_s=self.time_s + 60,
            seq=self.now_seq() if seq is None else seq,
        )
        digest, r, vs = self._sign(message, number, is_approved)
        return self.send(
            RequestTransfer(
                transfer_id=digest,
                account=account(number, subaccount),
                to_subaccount=to_subaccount,
                quote=quote,
                expiry_s=message.expiry_s,
                nonce=message.nonce,
                r=r,
                vs=vs,
                is_approved=is_approved,
            )
        )

    def _sign(self, message: Operation, number: int, is_approved: bool) -> tuple[bytes, bytes, bytes]:
        digest = build_digest(self.state.domain_separator, hash_operation(message))
        r, vs = (bytes(32), bytes(32)) if is_approved else signing_key(number).sign(digest)
        return digest, r, vs

    def link_key(
        self,
        number: int,
        key: int,
        *,
        lifetime_s: int = 86_400,
        max_notional_quote: int = 1_000 * USDC,
        markets: int = 0b11,
        trade_only: bool = False,
        reduce_only: bool = False,
        expiry_s: int | None = None,
        seq: int | None = None,
        is_approved: bool = False,
    ) -> list[Event]:
        """Link the session key of this number one millisecond later; lifetime_s is the key's."""
        self.time_ms += 1
        message = SignedLinkKey(
            owner=owner(number),
            key=owner(key),
            key_expiry_s=self.time_s + lifetime_s,
            max_notional_quote=max_notional_quote,
            markets=markets,
            trade_only=trade_only,
            reduce_only=reduce_only,
            expiry_s=self.time_s + 60 if expiry_s is None else expiry_s,
            seq=self.now_seq() if seq is None else seq,
        )
        digest, r, vs = self._sign(message, number, is_approved)
        return self.send(
            LinkKey(
                operation_id=digest,
                account=account(number),
                key=message.key,
                key_expiry_s=message.key_expiry_s,
                max_notional_quote=max_notional_quote,
                markets=markets,
                trade_only=trade_only,
                reduce_only=reduce_only,
                expiry_s=message.expiry_s,
                nonce=message.nonce,
                r=r,
                vs=vs,
                is_approved=is_approved,
            )
        )

    def revoke_key(self, number: int, key: int, *, is_approved: bool = False) -> list[Event]:
        """Revoke the session key of this number one millisecond later."""
        self.time_ms += 1
        message = SignedRevokeKey(owner=owner(number), key=owner(key), expiry_s=self.time_s + 60, seq=self.now_seq())
        digest, r, vs = self._sign(message, number, is_approved)
        return self.send(
            RevokeKey(
                operation_id=digest,
                account=account(number),
                key=message.key,
                expiry_s=message.expiry_s,
                nonce=message.nonce,
                r=r,
                vs=vs,
                is_approved=is_approved,
            )
        )

    def adopt(self, done: DirectOperation) -> list[Event]:
        """Adopt what a model of the contract has recorded directly; it must be next, deposits counted."""
        self.n_deposits += 1
        return self.send(
            AdoptDirectOperation(
                direct_op=done.direct_op,
                kind=int(done.kind),
                account=done.account_id,
                subject=done.subject.to_bytes(32, "big"),
                word=done.word.to_bytes(32, "big"),
                time_s=done.time_s,
                block=self.n_deposits,
                transaction=b"\x77" * 32,
            )
        )


def open_venue(*, n_participants: int = 4, deposit_quote: int = 100_000 * USDC, ticks: int = 10_000) -> Venue:
    """One market at 100.00 USD (10,000 ticks), participants 1..n funded."""
    venue = Venue()
    venue.list_market()
    for number in range(1, n_participants + 1):
        venue.deposit(number, deposit_quote)
    venue.prices(ticks)
    return venue
