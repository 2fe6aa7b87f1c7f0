"""Hold what an owner or a session key signs: orders, withdrawals, cancellations; and how an owner links keys.

Every field is exactly what the digest commits to, so a value here means the same in a wallet, the engine and the
contract. Must not: hold engine state (remaining size, priority). Twin: contracts/README.md, "Typed data".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final, TypeAlias

from afterbell.domain.errors import FieldOutOfRange
from afterbell.domain.ids import (
    MAX_LANE,
    MAX_SEQ,
    MAX_SUBACCOUNT,
    N_ADDRESS_BYTES,
    OPERATION_LANE,
    AccountId,
    Nonce,
    build_account_id,
    build_nonce,
    lane_of,
    seq_of,
)
from afterbell.domain.words import SessionKeyWord

MAX_LIFETIME_S: Final = 30 * 24 * 3600
"""A signature never reaches further than 30 days past the match."""
MAX_KEY_LIFETIME_S: Final = 180 * 24 * 3600
"""A session key never lives longer than 180 days past the match that links it."""
UINT8_MAX: Final = (1 << 8) - 1
UINT16_MAX: Final = (1 << 16) - 1
UINT32_MAX: Final = (1 << 32) - 1
UINT40_MAX: Final = (1 << 40) - 1
UINT48_MAX: Final = (1 << 48) - 1
UINT56_MAX: Final = (1 << 56) - 1
UINT64_MAX: Final = (1 << 64) - 1

FLAG_IS_BUY: Final = 1 << 0
FLAG_REDUCE_ONLY: Final = 1 << 1
FLAG_POST_ONLY: Final = 1 << 2
TIME_IN_FORCE_SHIFT: Final = 3
FLAG_PREVIOUS_EPOCH: Final = 1 << 5
FLAG_HAS_TRIGGER: Final = 1 << 6
FLAG_SESSION_KEY: Final = 1 << 7
FLAG_LIQUIDATION: Final = 1 << 8
FLAG_BULK: Final = 1 << 9
KNOWN_FLAGS: Final = (1 << 10) - 1


@unique
class Side(IntEnum):
    """Side of an order in a book."""

    BID = 0
    ASK = 1

    @property
    def opposite(self) -> Side:
        """Return the other side."""
        return Side.ASK if self is Side.BID else Side.BID

    @property
    def sign(self) -> int:
        """Return +1 for a bid and -1 for an ask: the sign of the lots its fills add to a position."""
        return 1 if self is Side.BID else -1


@unique
class TimeInForce(IntEnum):
    """How long an order may rest."""

    GTC = 0
    GTT = 1
    IOC = 2
    FOK = 3

    @property
    def is_immediate(self) -> bool:
        """Tell whether the order may never rest."""
        return self >= TimeInForce.IOC


@unique
class TriggerKind(IntEnum):
    """Condition under which a triggered order lives."""

    NONE = 0
    MARK_AT_OR_ABOVE = 1
    MARK_AT_OR_BELOW = 2
    INDEX_AT_OR_ABOVE = 3
    INDEX_AT_OR_BELOW = 4


def is_trigger_met(trigger_kind: int, trigger_ticks: int, *, mark_ticks: int, index_ticks: int) -> bool:
    """Tell whether the prices satisfy a trigger; an order without one always lives."""
    if trigger_kind == TriggerKind.MARK_AT_OR_ABOVE:
        return mark_ticks >= trigger_ticks
    if trigger_kind == TriggerKind.MARK_AT_OR_BELOW:
        return mark_ticks <= trigger_ticks
    if trigger_kind == TriggerKind.INDEX_AT_OR_ABOVE:
        return index_ticks >= trigger_ticks
    if trigger_kind == TriggerKind.INDEX_AT_OR_BELOW:
        return index_ticks <= trigger_ticks
    return trigger_kind == TriggerKind.NONE


def _must_fit(name: str, number: int, high: int) -> None:
    if not 0 <= number <= high:
        raise FieldOutOfRange(name, number, 0, high)


def _must_be_address(name: str, address: bytes) -> None:
    if len(address) != N_ADDRESS_BYTES:
        raise FieldOutOfRange(f"{name} length", len(address), N_ADDRESS_BYTES, N_ADDRESS_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order as signed. Not range-checked when built: call `validate_ranges` on what comes from outside."""

    owner: bytes
    subaccount: int = 0
    market_id: int
    epoch: int = 1
    is_buy: bool
    size_lots: int
    limit_ticks: int
    max_fee_ppm: int
    expiry_s: int
    lane: int = 0
    seq: int
    reduce_only: bool = False
    post_only: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    trigger_ticks: int = 0
    trigger_kind: TriggerKind = TriggerKind.NONE

    @property
    def account_id(self) -> AccountId:
        """Return owner and subaccount as one number."""
        return build_account_id(self.owner, self.subaccount)

    @property
    def nonce(self) -> Nonce:
        """Return lane << 40 | seq."""
        return build_nonce(self.lane, self.seq)

    @property
    def side(self) -> Side:
        """Return the side of the book."""
        return Side.BID if self.is_buy else Side.ASK

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("market", self.market_id, UINT8_MAX)
        _must_fit("epoch", self.epoch, UINT32_MAX)
        _must_fit("size_lots", self.size_lots, UINT48_MAX)
        _must_fit("limit_ticks", self.limit_ticks, UINT40_MAX)
        _must_fit("max_fee_ppm", self.max_fee_ppm, UINT16_MAX)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("lane", self.lane, MAX_LANE)
        _must_fit("seq", self.seq, MAX_SEQ)
        _must_fit("time_in_force", self.time_in_force, max(TimeInForce))
        _must_fit("trigger_ticks", self.trigger_ticks, UINT40_MAX)
        _must_fit("trigger_kind", self.trigger_kind, max(TriggerKind))

    def flags(self, *, previous_epoch: bool = False, session_key: bool = False, bulk: bool = False) -> int:
        """Return the 16-bit flags of the order record of a batch."""
        return pack_flags(
            is_buy=self.is_buy,
            reduce_only=self.reduce_only,
            post_only=self.post_only,
            time_in_force=self.time_in_force,
            previous_epoch=previous_epoch,
            has_trigger=self.trigger_kind != TriggerKind.NONE,
            session_key=session_key,
            bulk=bulk,
        )


def pack_flags(
    *,
    is_buy: bool,
    reduce_only: bool = False,
    post_only: bool = False,
    time_in_force: int = TimeInForce.GTC,
    previous_epoch: bool = False,
    has_trigger: bool = False,
    session_key: bool = False,
    liquidation: bool = False,
    bulk: bool = False,
) -> int:
    """Return flags of an order record.

    Bit 0 buy, 1 reduce_only, 2 post_only, 3-4 TIF, 5 epoch, 6 trigger, 7 key, 8 liquidation, 9 bulk.
    """
    return (
        is_buy * FLAG_IS_BUY
        | reduce_only * FLAG_REDUCE_ONLY
        | post_only * FLAG_POST_ONLY
        | time_in_force << TIME_IN_FORCE_SHIFT
        | previous_epoch * FLAG_PREVIOUS_EPOCH
        | has_trigger * FLAG_HAS_TRIGGER
        | session_key * FLAG_SESSION_KEY
        | liquidation * FLAG_LIQUIDATION
        | bulk * FLAG_BULK
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOrder:
    """An order with its 64-byte signature (EIP-2098: r, then s with the parity in its top bit)."""

    order: Order
    r: bytes
    vs: bytes
    proof: tuple[bytes, ...] | None = None
    """Path from the order's struct hash to the root of the OrderTree that was signed; None: the order itself was."""


class _Operation:
    """What every signed operation shares: its account and a nonce in lane 65535."""

    __slots__ = ()
    owner: bytes
    subaccount: int
    seq: int

    @property
    def account_id(self) -> AccountId:
        """Return owner and subaccount as one number."""
        return build_account_id(self.owner, self.subaccount)

    @property
    def nonce(self) -> Nonce:
        """Return 65535 << 40 | seq."""
        return build_nonce(OPERATION_LANE, self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw(_Operation):
    """Move `quote` from an account's collateral to a claim of `recipient`."""

    owner: bytes
    subaccount: int = 0
    quote: int
    recipient: bytes
    expiry_s: int
    seq: int

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_be_address("recipient", self.recipient)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("quote", self.quote, UINT64_MAX)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("seq", self.seq, MAX_SEQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder(_Operation):
    """Kill one order: its lane is consumed at its seq."""

    owner: bytes
    subaccount: int = 0
    order_nonce: int
    expiry_s: int
    seq: int

    @property
    def order_lane(self) -> int:
        """Return the lane of the order to kill."""
        return lane_of(self.order_nonce)

    @property
    def order_seq(self) -> int:
        """Return the seq of the order to kill."""
        return seq_of(self.order_nonce)

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("order_nonce", self.order_nonce, UINT56_MAX)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("seq", self.seq, MAX_SEQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAll(_Operation):
    """Kill every order with a seq below min_seq."""

    owner: bytes
    subaccount: int = 0
    min_seq: int
    expiry_s: int
    seq: int

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("min_seq", self.min_seq, MAX_SEQ)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("seq", self.seq, MAX_SEQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(_Operation):
    """Move `quote` from an account's collateral to another subaccount of the same owner."""

    owner: bytes
    subaccount: int = 0
    quote: int
    to_subaccount: int
    expiry_s: int
    seq: int

    @property
    def to_account_id(self) -> AccountId:
        """Return the account that receives."""
        return build_account_id(self.owner, self.to_subaccount)

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("quote", self.quote, UINT64_MAX)
        _must_fit("to_subaccount", self.to_subaccount, MAX_SUBACCOUNT)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("seq", self.seq, MAX_SEQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkKey(_Operation):
    """Let `key` sign for the account, within limits, until it expires. Only the owner may link."""

    owner: bytes
    subaccount: int = 0
    key: bytes
    key_expiry_s: int
    max_notional_quote: int
    """Of one order, at the worst of limit, mark and external."""
    markets: int
    """Bit m - 1 allows market m."""
    trade_only: bool = False
    """Without it the key may also withdraw, to the owner's own address alone."""
    reduce_only: bool = False
    expiry_s: int
    seq: int

    @property
    def limits_word(self) -> int:
        """Return bits 0-137 of the session key word."""
        return SessionKeyWord(
            expiry_s=self.key_expiry_s,
            max_notional_quote=self.max_notional_quote,
            markets=self.markets,
            trade_only=self.trade_only,
            reduce_only=self.reduce_only,
        ).pack()

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_be_address("key", self.key)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("key_expiry", self.key_expiry_s, UINT40_MAX)
        _must_fit("max_notional_quote", self.max_notional_quote, UINT64_MAX)
        _must_fit("markets", self.markets, UINT32_MAX)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("seq", self.seq, MAX_SEQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey(_Operation):
    """Take every limit from `key`, from the next order on. It may be linked again."""

    owner: bytes
    subaccount: int = 0
    key: bytes
    expiry_s: int
    seq: int

    def validate_ranges(self) -> None:
        """Check that every field fits its signed type. Raises: FieldOutOfRange."""
        _must_be_address("owner", self.owner)
        _must_be_address("key", self.key)
        _must_fit("subaccount", self.subaccount, MAX_SUBACCOUNT)
        _must_fit("expiry", self.expiry_s, UINT40_MAX)
        _must_fit("seq", self.seq, MAX_SEQ)


Operation: TypeAlias = Withdraw | CancelOrder | CancelAll | Transfer | LinkKey | RevokeKey
