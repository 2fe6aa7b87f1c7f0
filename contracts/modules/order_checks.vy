# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title order_checks
@license AGPL-3.0-only
@notice The word of an order, and the names of what is wrong with an order or a fill. settle asks one question of all that an
        ordinary one passes and comes here, through Operations, only when the answer is no. Stateless. Twins:
        offchain/afterbell/domain/order_checks.py and fills.py.
"""

from . import codes
from . import errors
from . import typed_data

MAX_EXPIRY_S: constant(uint256) = 30 * 86_400

M16: constant(uint256) = 2**16 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1

# order word, in the payload and in the order table of settle
IS_BUY: constant(uint256) = 1 << 232
REDUCE_ONLY: constant(uint256) = 1 << 233
POST_ONLY: constant(uint256) = 1 << 234
# time in force 2 and 3, IOC and FOK, share the upper of its two bits
IMMEDIATE: constant(uint256) = 1 << 236
PREVIOUS_EPOCH: constant(uint256) = 1 << 237
HAS_TRIGGER: constant(uint256) = 1 << 238
# signed by a session key
BY_KEY: constant(uint256) = 1 << 239
# nobody signed: Liquidations judges it
LIQUIDATION: constant(uint256) = 1 << 240
# the root of a tree of orders is signed
BULK: constant(uint256) = 1 << 241
RESERVED_FLAGS: constant(uint256) = 63 << 242
MARKET_BITS: constant(uint256) = 255 << 248
# order place only: code and owner number stand where max_fee_ppm stood, the places where expiry stood
CODE_BITS: constant(uint256) = 255 << 72
# word of an account's place: no order, and no code of one
NO_ORDER: constant(uint256) = 255 << 72
OWNER_BITS: constant(uint256) = 255 << 80


@internal
@pure
def _order_code(
    order: uint256, trigger: uint256, price: uint256, rules: uint256, matched_at_s: uint256, min_seq: uint256
) -> uint256:
    """
    @notice Checks everything about an order that needs no signature and no fill.
    @param order Word 0.
    @param trigger Word 3, zero without has_trigger.
    @param price Price word of its market after the batch's rows.
    @param rules Rules word of its market.
    @param matched_at_s Time of the batch.
    @param min_seq Effective minimum of its account at the start of the batch.
    @return Code of the first failure, 0 for none.
    """
    # the registry gives rules to listed markets alone
    if rules == 0:
        return codes.UNKNOWN_MARKET
    lane: uint256 = (order >> 216) & M16
    if (
        order & RESERVED_FLAGS != 0
        # 65535 is for operations, 65534 for liquidations alone, so that nobody can use up what liquidates them
        or lane == typed_data.OPERATION_LANE
        or (lane == typed_data.LIQUIDATION_LANE and order & LIQUIDATION == 0)
        or order & (POST_ONLY | IMMEDIATE) == POST_ONLY | IMMEDIATE
    ):
        return codes.UNKNOWN_FLAGS
    if order & (PREVIOUS_EPOCH | HAS_TRIGGER) != 0:
        # kinds 1 to 4, so that zero wraps beyond
        if order & HAS_TRIGGER != 0 and unsafe_sub(trigger >> 248, 1) > 3:
            return codes.UNKNOWN_FLAGS
        if order & PREVIOUS_EPOCH != 0 and (order & REDUCE_ONLY == 0 or (price >> 208) & M32 == 1):
            return codes.WRONG_EPOCH
    size_lots: uint256 = (order >> 128) & M48
    limit_ticks: uint256 = (order >> 88) & M40
    if size_lots == 0:
        return codes.ZERO_SIZE
    # the registry lets no step of zero through
    if (size_lots % ((rules >> 176) & M16)) | (limit_ticks % ((rules >> 192) & M16)) != 0:
        return codes.OFF_STEP
    # 48 + 40 bits
    if unsafe_mul(size_lots, limit_ticks) < (rules >> 208) & M32 and order & REDUCE_ONLY == 0:
        return codes.BELOW_MINIMUM
    if size_lots > (rules >> 112) & M40:
        return codes.SIZE_TOO_LARGE
    if max((order >> 56) & M16, (order >> 40) & M16) > min((order >> 72) & M16, rules >> 240):
        return codes.FEE_ABOVE_MAXIMUM
    expiry_s: uint256 = order & M40
    if matched_at_s > expiry_s:
        return codes.EXPIRED
    if expiry_s > unsafe_add(matched_at_s, MAX_EXPIRY_S):
        return codes.EXPIRY_TOO_FAR
    if order & HAS_TRIGGER != 0:
        # kinds 1, 2 read the mark, 3, 4 the index; odd kinds want it at or above, even ones at or below
        kind: uint256 = trigger >> 248
        ticks: uint256 = price & M40
        if kind > 2:
            ticks = (price >> 40) & M40
        trigger_ticks: uint256 = (trigger >> 208) & M40
        if kind & 1 == 1:
            if ticks < trigger_ticks:
                return codes.TRIGGER_NOT_MET
        elif ticks > trigger_ticks:
            return codes.TRIGGER_NOT_MET
    # an owner's cancellation ends the owner's orders, no liquidation
    if (order >> 176) & M40 < min_seq and order & LIQUIDATION == 0:
        return codes.SEQ_BELOW_MINIMUM
    return 0


@internal
@pure
def _fill_code(
    maker: uint256,
    taker: uint256,
    lots: uint256,
    crossing: uint256,
    price: uint256,
    bounds: uint256,
    maker_filled: uint256,
    taker_filled: uint256,
) -> uint256:
    """
    @notice Names the first reason why two orders cannot meet. Only called when there is one.
    @param maker Word of the maker's place.
    @param taker Word of the taker's place.
    @param lots Lots of the fill.
    @param crossing Bit 255 when a limit does not reach the price.
    @param price Price of the fill.
    @param bounds Bounds word of the market.
    @param maker_filled The lane's record less the order's seq << 48, after the fill: lots filled, 2^48 and more for a later seq.
    @param taker_filled The same of the taker.
    @return The fill's code.
    """
    if maker == NO_ORDER or taker == NO_ORDER:
        raise errors.FILL_INDEX
    if lots == 0:
        return codes.ZERO_FILL
    if maker & CODE_BITS != 0:
        return codes.ORDER_INVALID
    if taker & CODE_BITS != 0:
        return codes.ORDER_INVALID + codes.TAKER_SIDE
    if (maker ^ taker) & MARKET_BITS != 0:
        return codes.MARKETS_DIFFER
    if (maker ^ taker) & IS_BUY == 0:
        return codes.SIDES_EQUAL
    if (maker ^ taker) & OWNER_BITS == 0:
        return codes.SELF_TRADE
    if taker & POST_ONLY != 0:
        return codes.POST_ONLY_TAKER
    if crossing >> 255 != 0:
        return codes.LIMITS_DO_NOT_CROSS
    if price < (bounds >> 80) & M40 or price > (bounds >> 120) & M40:
        return codes.PRICE_OUTSIDE_BAND
    # dead before overfilled, maker before taker
    if unsafe_sub(maker_filled, lots) > M48:
        return codes.DEAD_LANE
    if unsafe_sub(taker_filled, lots) > M48:
        return codes.DEAD_LANE + codes.TAKER_SIDE
    if maker_filled > (maker >> 128) & M48:
        return codes.OVERFILL
    return codes.OVERFILL + codes.TAKER_SIDE
