# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title codes
@license AGPL-3.0-only
@notice Status codes of operations, orders and fills inside a batch. Twin: offchain/afterbell/domain/codes.py.
"""

# orders and operations
UNKNOWN_MARKET: constant(uint256) = 1
UNKNOWN_FLAGS: constant(uint256) = 2
BAD_SIGNATURE: constant(uint256) = 3
SEQ_BELOW_MINIMUM: constant(uint256) = 4
EXPIRED: constant(uint256) = 5
EXPIRY_TOO_FAR: constant(uint256) = 6
OFF_STEP: constant(uint256) = 7
BELOW_MINIMUM: constant(uint256) = 8
SIZE_TOO_LARGE: constant(uint256) = 9
FEE_ABOVE_MAXIMUM: constant(uint256) = 10
TRIGGER_NOT_MET: constant(uint256) = 11
ZERO_SIZE: constant(uint256) = 12
WRONG_EPOCH: constant(uint256) = 13
KEY_EXPIRED: constant(uint256) = 14
KEY_LIMIT: constant(uint256) = 15

# operations only: what stands above NONCE_CONSUMED consumes the nonce, what stands below does not
UNKNOWN_OPERATION: constant(uint256) = 16
NONCE_CONSUMED: constant(uint256) = 17
ZERO_WITHDRAWAL: constant(uint256) = 18
BAD_RECIPIENT: constant(uint256) = 19
BAD_CANCEL: constant(uint256) = 20
BAD_KEY: constant(uint256) = 21

# liquidation orders
NOT_LIQUIDATABLE: constant(uint256) = 22
LIQUIDATION_TERMS: constant(uint256) = 23

# fills
ORDER_INVALID: constant(uint256) = 32
ZERO_FILL: constant(uint256) = 33
MARKETS_DIFFER: constant(uint256) = 34
SIDES_EQUAL: constant(uint256) = 35
SELF_TRADE: constant(uint256) = 36
LIMITS_DO_NOT_CROSS: constant(uint256) = 37
POST_ONLY_TAKER: constant(uint256) = 38
DEAD_LANE: constant(uint256) = 40
OVERFILL: constant(uint256) = 41
PRICE_OUTSIDE_BAND: constant(uint256) = 42
REDUCE_ONLY: constant(uint256) = 43
TOO_MANY_MARKETS: constant(uint256) = 44
STALE_PRICE: constant(uint256) = 45
OPENING_NOT_ALLOWED: constant(uint256) = 46
OPEN_INTEREST_CAP: constant(uint256) = 47
MARGIN: constant(uint256) = 48
ACCOUNT_CAP: constant(uint256) = 49

# added to a fill's code when the taker's side failed
TAKER_SIDE: constant(uint256) = 64

# ignored price reports, event ReportIgnored of PriceOracle
NOT_POSITIVE: constant(uint256) = 1
FUTURE: constant(uint256) = 2
NOT_NEWER: constant(uint256) = 3
TOO_OLD: constant(uint256) = 4
CONFIDENCE: constant(uint256) = 5
UNKNOWN_SESSION: constant(uint256) = 6
REPORT_UNKNOWN_MARKET: constant(uint256) = 7
OUT_OF_RANGE: constant(uint256) = 8
UNCONFIRMED: constant(uint256) = 9
DISAGREES: constant(uint256) = 10
JUMP: constant(uint256) = 11
MARKET_HALTED: constant(uint256) = 12
