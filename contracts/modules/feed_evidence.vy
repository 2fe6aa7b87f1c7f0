# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title feed_evidence
@license AGPL-3.0-only
@notice Evidence of sources that read prices kept on chain: source id u8 | n u8 | n markets, a byte each. And their decimals.
"""

from . import errors

MAX_EVIDENCE: constant(uint256) = 5_120
MAX_REPORTS: constant(uint256) = 32
M128: constant(uint256) = 2**128 - 1


@internal
@pure
def _count(evidence: Bytes[MAX_EVIDENCE]) -> uint256:
    """
    @notice Counts the markets evidence names.
    @param evidence As above.
    @return Their number, 1..32.
    """
    assert len(evidence) > 2, errors.EVIDENCE_LENGTH
    n_markets: uint256 = convert(slice(evidence, 1, 1), uint256)
    assert n_markets > 0 and n_markets <= MAX_REPORTS, errors.EVIDENCE_REPORTS
    assert len(evidence) == 2 + n_markets, errors.EVIDENCE_LENGTH
    return n_markets


@internal
@pure
def _market_at(evidence: Bytes[MAX_EVIDENCE], i: uint256) -> uint256:
    """
    @notice Reads a market evidence names.
    @param evidence As above, counted.
    @param i From 0.
    @return The market.
    """
    return convert(slice(evidence, 2 + i, 1), uint256)


@internal
@pure
def _to_e8(amount: int256, decimals: uint256) -> uint256:
    """
    @notice Turns a price of some decimals into one of eight, rounded down.
    @param amount The price; what is not positive becomes 0, which no guard lets pass.
    @param decimals 0..18.
    @return The price in 1e-8; at most 2^128 x 1e8, so that no feed makes a batch overflow.
    """
    if amount <= 0:
        return 0
    return min(convert(amount, uint256), M128) * 10**8 // 10**decimals
