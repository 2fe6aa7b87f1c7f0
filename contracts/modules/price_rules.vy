# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title price_rules
@license AGPL-3.0-only
@notice How far a row of a batch may move mark, index and funding indices. Pure: words in, words out.
@dev Words are laid out in contracts/README.md. Twins: offchain/afterbell/domain/prices.py and funding.py.
"""

from . import fixed_point

MARK_STEP_S: constant(uint256) = 3
MAX_MARK_STEPS: constant(uint256) = 20
HALTED: constant(uint256) = 6
CORPORATE_ACTION: constant(uint256) = 7
FUNDING_ON: constant(uint256) = 1 << 169
MAX_PREMIUM_PPB: constant(int256) = 40_000_000
MAX_RATE_PPB: constant(int256) = 20_000_000
# 4.5 % a year in 8 hours
CARRY_PPB: constant(int256) = 41_095
CARRY_CLAMP_PPB: constant(int256) = 500_000
MAX_FUNDING_S: constant(uint256) = 28_800
# 1e9 x 28,800: parts per billion of eight hours
RATE_SCALE: constant(int256) = 28_800_000_000_000
E12: constant(int256) = 1_000_000_000_000
MAX_INDEX: constant(int256) = 2**88
M8: constant(uint256) = 2**8 - 1
M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1
M80: constant(uint256) = 2**80 - 1
M96: constant(uint256) = 2**96 - 1


@internal
@pure
def _is_fresh(price: uint256, rules: uint256, matched_at_s: uint256) -> bool:
    """
    @notice Tells whether a market's prices may carry risk: set, young enough, their session stated beyond this second.
    @param price Price word.
    @param rules Rules word of the session now.
    @param matched_at_s Time of the batch.
    @return Whether it is fresh.
    """
    if rules == 0 or price & M40 == 0 or (price >> 80) & M40 == 0:
        return False
    external_time_s: uint256 = (price >> 120) & M40
    if matched_at_s >= external_time_s + 60 * (price >> 240):
        return False
    max_age_s: uint256 = (rules >> 96) & M16
    return max_age_s == 0 or external_time_s + max_age_s >= matched_at_s


@internal
@pure
def _moved(price: uint256, rules: uint256, row: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Moves mark and index as far as the band around the external price and the elapsed time allow.
    @dev While HALTED or in a CORPORATE_ACTION the mark stands.
    @param price Price word with external price and session as of now, external not zero.
    @param rules Rules word of that session.
    @param row Row word of the batch.
    @param matched_at_s Time of the batch.
    @return The price word after the row.
    """
    external_ticks: uint256 = (price >> 80) & M40
    # lanes of at most 40, 20, 16 and 5 bits: no product or sum below reaches 2^82
    band_ticks: uint256 = unsafe_div(unsafe_mul(external_ticks, (rules >> 60) & M20), 1_000_000)
    low: uint256 = unsafe_sub(external_ticks, min(band_ticks, external_ticks))
    high: uint256 = unsafe_add(external_ticks, band_ticks)
    target: uint256 = fixed_point._clamp((row >> 208) & M40, low, high)
    mark_ticks: uint256 = price & M40
    mark_time_s: uint256 = (price >> 160) & M40
    session: uint256 = (price >> 200) & M8
    if mark_ticks == 0:
        mark_ticks = target
        mark_time_s = matched_at_s
    elif session != HALTED and session != CORPORATE_ACTION:
        # mark_time_s was a matched_at_s, and those never fall
        n_steps: uint256 = min(unsafe_div(unsafe_sub(matched_at_s, mark_time_s), MARK_STEP_S), MAX_MARK_STEPS)
        move_ticks: uint256 = unsafe_div(
            unsafe_mul(unsafe_mul(mark_ticks, (rules >> 80) & M16), n_steps), 1_000_000
        )
        if move_ticks > 0:
            mark_ticks = fixed_point._clamp(
                target, unsafe_sub(mark_ticks, min(move_ticks, mark_ticks)), unsafe_add(mark_ticks, move_ticks)
            )
            mark_time_s = matched_at_s
    index_ticks: uint256 = external_ticks
    if not self._is_fresh((price >> 40 << 40) | mark_ticks, rules, matched_at_s):
        index_ticks = fixed_point._clamp((row >> 168) & M40, low, high)
    return (price & ~(M80 | (M40 << 160))) | mark_ticks | (index_ticks << 40) | (mark_time_s << 160)


@internal
@pure
def _accrued(
    index: uint256, price: uint256, rules: uint256, totals: uint256, row: uint256, window_start_s: uint256,
    matched_at_s: uint256,
) -> uint256:
    """
    @notice Adds the funding of the time since it was last added to both indices.
    @param index Index word.
    @param price Price word after the row.
    @param rules Rules word of the session now.
    @param totals Totals word.
    @param row Row word of the batch, which carries the premium.
    @param window_start_s Start of the calendar's window: what lay before it is not made up for.
    @param matched_at_s Time of the batch.
    @return The index word with the funding time of now.
    """
    kept: uint256 = index & ~(M40 << 192)
    timed: uint256 = kept | (matched_at_s << 192)
    last_s: uint256 = (index >> 192) & M40
    if last_s == 0 or rules & FUNDING_ON == 0 or totals & M64 == 0:
        return timed
    if not self._is_fresh(price, rules, matched_at_s):
        return timed
    # funding time and the window's start were both reached by an earlier or by this batch
    dt_s: int256 = convert(min(unsafe_sub(matched_at_s, max(last_s, window_start_s)), MAX_FUNDING_S), int256)
    # int32 of the row
    premium_ppb: int256 = fixed_point._as_signed(row << 128) >> 224
    premium_ppb = max(-MAX_PREMIUM_PPB, min(premium_ppb, MAX_PREMIUM_PPB))
    rate_ppb: int256 = premium_ppb + max(-CARRY_CLAMP_PPB, min(CARRY_PPB - premium_ppb, CARRY_CLAMP_PPB))
    rate_ppb = max(-MAX_RATE_PPB, min(rate_ppb, MAX_RATE_PPB))
    # below 2^25 x 2^40 x 2^40 x 2^15
    step: int256 = rate_ppb * convert((price >> 40) & M40, int256) * E12 * dt_s // RATE_SCALE
    long_index: int256 = fixed_point._lane96(index, 0) + step
    short_index: int256 = fixed_point._lane96(index, 96) + step
    # contracts/README.md, "Why the lanes suffice": nobody moves an index out of this range, so it stands still at its end
    if max(long_index, short_index) >= MAX_INDEX or min(long_index, short_index) <= -MAX_INDEX:
        return timed
    lanes: uint256 = (fixed_point._as_word(long_index) & M96) | ((fixed_point._as_word(short_index) & M96) << 96)
    return (timed >> 192 << 192) | lanes
