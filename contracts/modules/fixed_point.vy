# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title fixed_point
@license AGPL-3.0-only
@notice Rounding with a name, and the two casts Vyper has no free form of. Twin: offchain/afterbell/domain/units.py.
"""

MILLION: constant(uint256) = 1_000_000
# index units per quote unit
E12: constant(int256) = 1_000_000_000_000


@internal
@pure
def _as_signed(word: uint256) -> int256:
    """
    @notice Reads the same 256 bits as two's complement.
    @dev convert(uint256, int256) would clamp; through bytes32 it costs nothing.
    @param word Any word.
    @return The signed reading.
    """
    return convert(convert(word, bytes32), int256)


@internal
@pure
def _as_word(signed: int256) -> uint256:
    """
    @notice Writes a signed number as 256 bits of two's complement.
    @param signed Any number.
    @return The word.
    """
    return convert(convert(signed, bytes32), uint256)


@internal
@pure
def _lane96(word: uint256, bit: uint256) -> int256:
    """
    @notice Reads an int96 lane.
    @param word A packed word.
    @param bit Lowest bit of the lane, 0..160.
    @return The sign-extended lane.
    """
    # bit <= 160, so the subtraction cannot underflow
    return convert(convert(word << unsafe_sub(160, bit), bytes32), int256) >> 160


@internal
@pure
def _ceil_ppm(quote: uint256, rate_ppm: uint256) -> uint256:
    """
    @notice Takes a share of a sum, rounded up: what an account owes or must hold.
    @param quote Sum in quote units, < 2^90.
    @param rate_ppm Rate, < 2^20.
    @return ceil(quote x rate_ppm / 1e6) in quote units.
    """
    # < 2^110 + 2^20, so neither step can overflow
    return unsafe_div(unsafe_add(unsafe_mul(quote, rate_ppm), 999_999), MILLION)


@internal
@pure
def _div_up(numerator: int256, denominator: int256) -> int256:
    """
    @notice Divides toward plus infinity.
    @dev Vyper truncates toward zero, which is up already for a negative quotient.
    @param numerator Any number.
    @param denominator Positive.
    @return ceil(numerator / denominator).
    """
    quotient: int256 = numerator // denominator
    if numerator > 0 and quotient * denominator != numerator:
        return quotient + 1
    return quotient


@internal
@pure
def _clamp(x: uint256, low: uint256, high: uint256) -> uint256:
    """
    @notice Draws a number into a closed range.
    @param x The number.
    @param low Lower end.
    @param high Upper end, not below the lower.
    @return The nearest number inside.
    """
    return max(low, min(x, high))
