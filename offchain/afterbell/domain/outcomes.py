"""Hold what a batch did, as values: fills, position changes, effects of operations. Must not: decide any of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import StatusCode
from afterbell.domain.ids import AccountId
from afterbell.domain.words import pack_change


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionChange:
    """One record of PositionsChanged: an (account, market) with at least one settled fill, or one delta."""

    account_id: AccountId
    market_id: int
    size_change_lots: int
    realised_quote: int
    fees_quote: int
    position_word: int

    @property
    def change_word(self) -> int:
        """Return the record's `change` word."""
        return pack_change(
            size_change_lots=self.size_change_lots, realised_quote=self.realised_quote, fees_quote=self.fees_quote
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """One CollateralWithdrawn event."""

    account_id: AccountId
    recipient: bytes
    quote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """One CollateralTransferred event."""

    account_id: AccountId
    receiver_id: AccountId
    quote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderKilled:
    """One OrderCancelled event."""

    account_id: AccountId
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllKilled:
    """One AllCancelled event; min_seq is the resulting one of the account word."""

    account_id: AccountId
    min_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanged:
    """One KeyChanged event; word is the resulting session key word."""

    account_id: AccountId
    key: bytes
    word: int


OperationEffect: TypeAlias = Withdrawn | Transferred | OrderKilled | AllKilled | KeyChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOrder:
    """An order of a batch with its account and the code it got before the fills."""

    account_id: AccountId
    record: OrderRecord
    code: int = StatusCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOutcome:
    """What a fill did, or the code why it did not. On failure every other field is zero."""

    code: int
    price_ticks: int = 0
    notional_quote: int = 0
    maker_fee_quote: int = 0
    taker_fee_quote: int = 0
    maker_funding_quote: int = 0
    """Funding touched by the fill; positive: the account pays."""
    taker_funding_quote: int = 0

    @property
    def is_settled(self) -> bool:
        """Tell whether the fill counts."""
        return self.code == StatusCode.OK
