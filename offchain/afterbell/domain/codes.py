"""Name every status code of the chain and every reason a request is refused.

The same word means the same rule on chain, in Python and in the API. Must not: renumber or reuse a value, ever.
Twin: the table "Status codes" of contracts/README.md and contracts/modules (codes).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum, unique
from typing import Final

TAKER_SIDE: Final = 64
"""Added to a fill's code when it is the taker's side that failed."""


@unique
class StatusCode(IntEnum):
    """One byte per operation, order and fill of a batch; 0 is success."""

    OK = 0
    # Orders.
    UNKNOWN_MARKET = 1
    UNKNOWN_FLAGS = 2
    BAD_SIGNATURE = 3
    SEQ_BELOW_MINIMUM = 4
    EXPIRED = 5
    EXPIRY_TOO_FAR = 6
    OFF_STEP = 7
    BELOW_MINIMUM = 8
    SIZE_TOO_LARGE = 9
    FEE_ABOVE_MAXIMUM = 10
    TRIGGER_NOT_MET = 11
    ZERO_SIZE = 12
    WRONG_EPOCH = 13
    KEY_EXPIRED = 14
    KEY_LIMIT = 15
    # Operations.
    UNKNOWN_OPERATION = 16
    NONCE_CONSUMED = 17
    ZERO_WITHDRAWAL = 18
    BAD_RECIPIENT = 19
    BAD_CANCEL = 20
    BAD_KEY = 21
    # Liquidation orders.
    NOT_LIQUIDATABLE = 22
    LIQUIDATION_TERMS = 23
    # Fills.
    ORDER_INVALID = 32
    ZERO_FILL = 33
    MARKETS_DIFFER = 34
    SIDES_EQUAL = 35
    SELF_TRADE = 36
    LIMITS_DO_NOT_CROSS = 37
    POST_ONLY_TAKER = 38
    DEAD_LANE = 40
    OVERFILL = 41
    PRICE_OUTSIDE_BAND = 42
    REDUCE_ONLY = 43
    TOO_MANY_MARKETS = 44
    STALE_PRICE = 45
    OPENING_NOT_ALLOWED = 46
    OPEN_INTEREST_CAP = 47
    MARGIN = 48
    ACCOUNT_CAP = 49


SIDED_CODES: Final = frozenset(
    {
        StatusCode.ORDER_INVALID,
        StatusCode.DEAD_LANE,
        StatusCode.OVERFILL,
        StatusCode.REDUCE_ONLY,
        StatusCode.TOO_MANY_MARKETS,
        StatusCode.STALE_PRICE,
        StatusCode.OPENING_NOT_ALLOWED,
        StatusCode.ACCOUNT_CAP,
        StatusCode.MARGIN,
    }
)
"""Codes of a fill that name one side and so may carry TAKER_SIDE."""


def describe_code(code: int) -> str:
    """Return the name of a code byte, with its side when it names one (`DEAD_LANE/taker`)."""
    if code >= TAKER_SIDE:
        return f"{StatusCode(code - TAKER_SIDE).name}/taker"
    return StatusCode(code).name


class ReportCode(IntEnum):
    """Why PriceOracle ignored one report; 0 means accepted."""

    ACCEPTED = 0
    NOT_POSITIVE = 1
    FUTURE = 2
    NOT_NEWER = 3
    TOO_OLD = 4
    CONFIDENCE = 5
    UNKNOWN_SESSION = 6
    UNKNOWN_MARKET = 7
    OUT_OF_RANGE = 8
    # An observation that fails one of these is kept: it may count later, or confirm another.
    UNCONFIRMED = 9
    DISAGREES = 10
    JUMP = 11
    MARKET_HALTED = 12


@unique
class RejectReason(StrEnum):
    """Why the engine or the API refused a request; the value is the stable word sent to clients."""

    # Same rule as the StatusCode of the same name. No request is refused with OVERFILL, BAD_CANCEL or TRIGGER_NOT_MET:
    # the engine never makes such a fill or operation, and an order whose trigger is not met waits.
    UNKNOWN_MARKET = "UNKNOWN_MARKET"
    UNKNOWN_FLAGS = "UNKNOWN_FLAGS"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    SEQ_BELOW_MINIMUM = "SEQ_BELOW_MINIMUM"
    EXPIRED = "EXPIRED"
    EXPIRY_TOO_FAR = "EXPIRY_TOO_FAR"
    OFF_STEP = "OFF_STEP"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    SIZE_TOO_LARGE = "SIZE_TOO_LARGE"
    FEE_ABOVE_MAXIMUM = "FEE_ABOVE_MAXIMUM"
    TRIGGER_NOT_MET = "TRIGGER_NOT_MET"
    ZERO_SIZE = "ZERO_SIZE"
    WRONG_EPOCH = "WRONG_EPOCH"
    KEY_EXPIRED = "KEY_EXPIRED"
    KEY_LIMIT = "KEY_LIMIT"
    UNKNOWN_OPERATION = "UNKNOWN_OPERATION"
    NONCE_CONSUMED = "NONCE_CONSUMED"
    ZERO_WITHDRAWAL = "ZERO_WITHDRAWAL"
    BAD_RECIPIENT = "BAD_RECIPIENT"
    BAD_CANCEL = "BAD_CANCEL"
    BAD_KEY = "BAD_KEY"
    NOT_LIQUIDATABLE = "NOT_LIQUIDATABLE"
    LIQUIDATION_TERMS = "LIQUIDATION_TERMS"
    SELF_TRADE = "SELF_TRADE"
    DEAD_LANE = "DEAD_LANE"
    OVERFILL = "OVERFILL"
    PRICE_OUTSIDE_BAND = "PRICE_OUTSIDE_BAND"
    REDUCE_ONLY = "REDUCE_ONLY"
    TOO_MANY_MARKETS = "TOO_MANY_MARKETS"
    STALE_PRICE = "STALE_PRICE"
    OPENING_NOT_ALLOWED = "OPENING_NOT_ALLOWED"
    OPEN_INTEREST_CAP = "OPEN_INTEREST_CAP"
    MARGIN = "MARGIN"
    ACCOUNT_CAP = "ACCOUNT_CAP"
    # Only off chain.
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    UNKNOWN_BATCH = "UNKNOWN_BATCH"
    INSUFFICIENT_MARGIN = "INSUFFICIENT_MARGIN"
    WRONG_CHAIN = "WRONG_CHAIN"
    WOULD_TAKE = "WOULD_TAKE"
    SEQ_TOO_FAR_AHEAD = "SEQ_TOO_FAR_AHEAD"
    TOO_MANY_ORDERS = "TOO_MANY_ORDERS"
    MARKET_HALTED = "MARKET_HALTED"
    RATE_LIMITED = "RATE_LIMITED"
    UNSUPPORTED = "UNSUPPORTED"
    OVERLOADED = "OVERLOADED"
    NOT_READY = "NOT_READY"
    CANNOT_FILL = "CANNOT_FILL"
    SETTLED = "SETTLED"
    FILLED_MEANWHILE = "FILLED_MEANWHILE"
    DUPLICATE_CLIENT_ID = "DUPLICATE_CLIENT_ID"
    NOT_AMENDABLE = "NOT_AMENDABLE"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    NOT_APPROVED = "NOT_APPROVED"
    NOTHING_TO_CLAIM = "NOTHING_TO_CLAIM"
    TOKEN_REFUSED = "TOKEN_REFUSED"
    # Reserved: nothing is refused with these today; clients may know the words, so they keep their meaning.
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    NO_LIQUIDITY = "NO_LIQUIDITY"
    DUPLICATE_ORDER = "DUPLICATE_ORDER"
    LANE_IN_USE = "LANE_IN_USE"
    CANCEL_ONLY = "CANCEL_ONLY"
    POST_ONLY_MARKET = "POST_ONLY_MARKET"
    UNAUTHORIZED = "UNAUTHORIZED"

    @classmethod
    def of_code(cls, code: int) -> RejectReason | None:
        """Return the reason of the same name as a status code (side ignored), or None if only the chain knows it."""
        name = StatusCode(code - TAKER_SIDE if code >= TAKER_SIDE else code).name
        return cls.__members__.get(name)
