# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title margin
@license AGPL-3.0-only
@notice Freshness, funding and margin of packed words. Stateless. Twins: offchain/afterbell/domain/margin.py and words.py.
"""

from . import fixed_point

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
# a tier: edge in whole USDC 48 | added rate 20
TIER_BITS: constant(uint256) = 68
N_TIERS: constant(uint256) = 3


@internal
@pure
def _is_fresh(price: uint256, rules: uint256, matched_at_s: uint256) -> bool:
    """
    @notice Tells whether a market has a mark and an external price young enough to open on, in a session stated until now.
    @param price Price word.
    @param rules Rules word of the session now.
    @param matched_at_s Time of the batch.
    @return Whether it is fresh.
    """
    if rules == 0 or price & M40 == 0 or (price >> 80) & M40 == 0:
        return False
    external_time_s: uint256 = (price >> 120) & M40
    if matched_at_s >= unsafe_add(external_time_s, unsafe_mul(price >> 240, 60)):
        return False
    max_age_s: uint256 = (rules >> 96) & M16
    return max_age_s == 0 or unsafe_add(external_time_s, max_age_s) >= matched_at_s


@internal
@pure
def _pending_quote(position: uint256, index: uint256) -> int256:
    """
    @notice Computes the funding a position owes since its last touch, rounded up.
    @param position Position word.
    @param index Index word.
    @return ceil(lots x (index of its side − snapshot) / 1e12) in quote units.
    """
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    side_index: uint256 = index
    if size_lots < 0:
        side_index >>= 96
    accrued: int256 = fixed_point._lane96(side_index, 0) - fixed_point._lane96(position, 160)
    return fixed_point._div_up(size_lots * accrued, fixed_point.E12)


@internal
@pure
def _value(position: uint256, price: uint256, index: uint256) -> (int256, uint256):
    """
    @notice Values a position at the worse of mark and external price, for a short with what is reserved for a dividend.
    @param position Position word.
    @param price Price word.
    @param index Index word.
    @return What it adds to equity, and its notional.
    """
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    if size_lots == 0:
        return 0, 0
    mark_ticks: uint256 = price & M40
    external_ticks: uint256 = (price >> 80) & M40
    ticks: uint256 = min(mark_ticks, external_ticks)
    if size_lots < 0:
        ticks = max(mark_ticks, external_ticks) + (index >> 232)
    # < 2^40 x 2^34
    value_quote: int256 = size_lots * convert(ticks, int256)
    return (
        value_quote - fixed_point._lane96(position, 64) - self._pending_quote(position, index),
        convert(max(value_quote, -value_quote), uint256),
    )


@internal
@pure
def _tier_ppm_quote(notional_quote: uint256, tiers: uint256) -> uint256:
    """
    @notice Computes what tiers add to a margin of weight 1, still in ppm.
    @param notional_quote Notional, < 2^73.
    @param tiers Tier word.
    @return sum add_ppm x max(0, notional − edge).
    """
    added: uint256 = 0
    word: uint256 = tiers
    for _: uint256 in range(N_TIERS):
        # < 2^68
        edge_quote: uint256 = unsafe_mul(word & M48, 1_000_000)
        if notional_quote > edge_quote:
            added = unsafe_add(added, unsafe_mul((word >> 48) & M20, unsafe_sub(notional_quote, edge_quote)))
        word >>= TIER_BITS
    return added


@internal
@pure
def _tiered_margins(notional_quote: uint256, rules: uint256, tiers: uint256) -> uint256:
    """
    @notice Computes settlement and maintenance margin of a notional in a market with tiers.
    @param notional_quote Notional, < 2^73.
    @param rules Rules word.
    @param tiers Tier word.
    @return settlement margin << 80 + maintenance margin, each rounded up.
    """
    added: uint256 = self._tier_ppm_quote(notional_quote, tiers)
    settlement: uint256 = unsafe_add(unsafe_mul(notional_quote, (rules >> 20) & M20), unsafe_mul(added, 2))
    maintenance: uint256 = unsafe_add(unsafe_mul(notional_quote, (rules >> 40) & M20), added)
    return (unsafe_div(unsafe_add(settlement, 999_999), 1_000_000) << 80) | unsafe_div(
        unsafe_add(maintenance, 999_999), 1_000_000
    )


@internal
@pure
def _initial_quote(notional_quote: uint256, rules: uint256, tiers: uint256) -> uint256:
    """
    @notice Computes the initial margin of a notional.
    @param notional_quote Notional, < 2^73.
    @param rules Rules word.
    @param tiers Tier word, 0 for none.
    @return The margin in quote units, rounded up.
    """
    added: uint256 = unsafe_mul(self._tier_ppm_quote(notional_quote, tiers), 2)
    return unsafe_div(unsafe_add(unsafe_add(unsafe_mul(notional_quote, rules & M20), added), 999_999), 1_000_000)
