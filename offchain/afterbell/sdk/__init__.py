"""The public SDK: what a program imports to trade on Afterbell.

    from afterbell import AsyncClient, Client

Signatures here are final: later versions only add. Everything a client signs carries venue time, never local time.
Must not: import anything of afterbell but domain and signing.
"""

from afterbell.sdk.client import AsyncClient
from afterbell.sdk.errors import (
    ApiRejected,
    ApiUnavailable,
    InsufficientMargin,
    NotFinalInTime,
    SdkError,
    UnknownOrder,
    WalletFailed,
)
from afterbell.sdk.sync import Client
from afterbell.sdk.values import (
    AccountSnapshot,
    Book,
    Candle,
    ClockReading,
    Fill,
    Level,
    Market,
    MarketRules,
    PlacedOrder,
    Position,
    StreamMessage,
    Trade,
    Transfer,
    Venue,
)

__all__ = [
    "AccountSnapshot",
    "ApiRejected",
    "ApiUnavailable",
    "AsyncClient",
    "Book",
    "Candle",
    "Client",
    "ClockReading",
    "Fill",
    "InsufficientMargin",
    "Level",
    "Market",
    "MarketRules",
    "NotFinalInTime",
    "PlacedOrder",
    "Position",
    "SdkError",
    "StreamMessage",
    "Trade",
    "Transfer",
    "UnknownOrder",
    "Venue",
    "WalletFailed",
]
