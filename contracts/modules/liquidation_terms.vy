# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title liquidation_terms
@license AGPL-3.0-only
@notice What a liquidation may cost and how large it may be, in numbers alone: worst price, least sufficient size, allocation
        of equity to positions, bankruptcy price, score of a counterparty. Stateless. Twin: the upper half of
        offchain/afterbell/domain/liquidations.py.
"""

from . import account_risk
from . import fixed_point
from . import margin

# the discount of a liquidation: one percent at the flag, one basis point more every second
DISCOUNT_START_PPM: constant(uint256) = 10_000
DISCOUNT_PPM_PER_S: constant(uint256) = 100

# caps of what is liquidated in one market in a minute: 100,000, 50,000 and 10,000 USDC a second
CAP_REGULAR_QUOTE: constant(uint256) = 6_000_000_000_000
CAP_EXTENDED_QUOTE: constant(uint256) = 3_000_000_000_000
CAP_CLOSED_QUOTE: constant(uint256) = 600_000_000_000

REGULAR: constant(uint256) = 2
PRE: constant(uint256) = 1
POST: constant(uint256) = 3
OVERNIGHT: constant(uint256) = 4

MILLION: constant(uint256) = 1_000_000
M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1


@internal
@pure
def _cap_quote(session: uint256) -> uint256:
    """
    @notice Throttles liquidations by session: thin books take less.
    @param session Session of the market.
    @return Notional that may be liquidated in a minute.
    """
    if session == REGULAR:
        return CAP_REGULAR_QUOTE
    if session == PRE or session == POST or session == OVERNIGHT:
        return CAP_EXTENDED_QUOTE
    return CAP_CLOSED_QUOTE


@internal
@pure
def _allocations(
    quote: int256, holdings: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS]
) -> DynArray[int256, account_risk.MAX_HOLDINGS]:
    """
    @notice Allocates a sum to positions by their maintenance margin at the mark.
    @dev floor(quote x margin_i / sum of margins); the last market in ascending order takes the remainder.
    @param quote Equity, or a loss.
    @param holdings Positions of an account whose margins are not all zero.
    @return One share a holding; they sum to `quote`.
    """
    sum_quote: uint256 = 0
    last: uint256 = 0
    for i: uint256 in range(len(holdings), bound=account_risk.MAX_HOLDINGS):
        sum_quote += account_risk._maintenance_margin_quote(holdings[i], account_risk.AT_MARK)
        if holdings[i].market > holdings[last].market:
            last = i
    shares: DynArray[int256, account_risk.MAX_HOLDINGS] = []
    rest_quote: int256 = quote
    for holding: account_risk.Holding in holdings:
        margin_quote: int256 = convert(
            account_risk._maintenance_margin_quote(holding, account_risk.AT_MARK), int256
        )
        # floor x = −ceil −x; < 2^96 x 2^77
        share: int256 = -fixed_point._div_up(-quote * margin_quote, convert(max(sum_quote, 1), int256))
        shares.append(share)
        rest_quote -= share
    shares[last] += rest_quote
    return shares


@internal
@pure
def _discounted_ticks(holding: account_risk.Holding, age_s: uint256, share_quote: int256) -> uint256:
    """
    @notice Finds the worst price a solvent account may be liquidated at.
    @dev Never beyond the bankruptcy price: the discount is the account's own money, insurance pays for none of it.
    @param holding The position.
    @param age_s Age of the account's flag, 0 without one.
    @param share_quote What of the account's equity, not negative, is allocated to the position.
    @return Ticks: a long sells at least, a short buys at most at this price.
    """
    discount_ppm: uint256 = min(
        DISCOUNT_START_PPM + DISCOUNT_PPM_PER_S * age_s, ((holding.rules >> 40) & M20) * 3 // 4
    )
    room_ticks: uint256 = convert(share_quote, uint256) // convert(abs(holding.size_lots), uint256)
    discount_ticks: uint256 = holding.mark_ticks * discount_ppm // MILLION
    if holding.size_lots > 0:
        return holding.mark_ticks - min(discount_ticks, room_ticks)
    return holding.mark_ticks + min(discount_ticks, holding.reserve_ticks + room_ticks)


@internal
@pure
def _worst_ticks(
    holding: account_risk.Holding, age_s: uint256, equity_quote: int256, share_quote: int256
) -> uint256:
    """
    @notice Finds the worst price an account may be liquidated at, before the band.
    @dev With nothing left the account is closed at whichever of mark and external is better for it: who takes it over earns
         nothing by it at either price, whatever insurance pays.
    @param holding The position.
    @param age_s Age of the account's flag, 0 without one.
    @param equity_quote Equity at the mark.
    @param share_quote What of it is allocated to the position.
    @return Ticks.
    """
    if equity_quote > 0:
        return self._discounted_ticks(holding, age_s, max(share_quote, 0))
    if holding.size_lots > 0:
        return max(holding.mark_ticks, holding.external_ticks)
    return min(holding.mark_ticks, holding.external_ticks)


@internal
@pure
def _into_band(holding: account_risk.Holding, worst_ticks: uint256) -> (uint256, bool):
    """
    @notice Draws the worst price into the band of the market.
    @param holding The position.
    @param worst_ticks What `_worst_ticks` found.
    @return The price, and False when the band holds no price that is good enough.
    """
    width_ticks: uint256 = holding.external_ticks * ((holding.rules >> 60) & M20) // MILLION
    low_ticks: uint256 = holding.external_ticks - width_ticks
    high_ticks: uint256 = holding.external_ticks + width_ticks
    if holding.size_lots > 0:
        ticks: uint256 = max(worst_ticks, low_ticks)
        return ticks, ticks <= high_ticks
    capped: uint256 = min(worst_ticks, high_ticks)
    return capped, capped >= low_ticks


@internal
@pure
def _bankruptcy_ticks(holding: account_risk.Holding, share_quote: int256) -> uint256:
    """
    @notice Finds the price at which a bankrupt account's position takes exactly its share of the loss with it.
    @dev Rounded against the counterparties, what they pay too much ends in the pot. Long mark − E_i / lots, up; short
         mark + E_i / lots, down, at least 1; what is lost below 1 is covered like any loss.
    @param holding The position.
    @param share_quote What of the equity is allocated to it; negative for a bankrupt account, but for rounding.
    @return Ticks, < 2^40.
    """
    lots: int256 = abs(holding.size_lots)
    mark: int256 = convert(holding.mark_ticks, int256)
    if holding.size_lots > 0:
        return convert(min(max(mark + fixed_point._div_up(-share_quote, lots), 1), convert(M40, int256)), uint256)
    reserve: int256 = convert(holding.reserve_ticks, int256)
    return convert(max(mark + reserve - fixed_point._div_up(-share_quote, lots), 1), uint256)


@internal
@pure
def _is_sufficient(
    holding: account_risk.Holding,
    lots: uint256,
    price_ticks: uint256,
    fee_ppm: uint256,
    rest_equity_quote: int256,
    rest_margin_quote: uint256,
) -> bool:
    """
    @notice Tells whether closing so many lots leaves equity >= settlement margin, both at the worse of mark and external.
    @param holding The position.
    @param lots How many are closed, at most all.
    @param price_ticks At which price.
    @param fee_ppm Fee on what is closed.
    @param rest_equity_quote Collateral and all other positions at the worse price, with this one's cushion.
    @param rest_margin_quote Settlement margin of all other positions.
    @return True = sufficient.
    """
    valuation_ticks: uint256 = account_risk._valuation_ticks(holding, account_risk.AT_WORSE)
    left_lots: uint256 = convert(abs(holding.size_lots), uint256) - lots
    # the closed lots bring the price, the others their value
    worth_quote: int256 = convert(lots * price_ticks + left_lots * valuation_ticks, int256)
    if holding.size_lots < 0:
        worth_quote = -worth_quote
    fee_quote: uint256 = fixed_point._ceil_ppm(lots * price_ticks, fee_ppm)
    margins: uint256 = margin._tiered_margins(left_lots * valuation_ticks, holding.rules, holding.tiers)
    return rest_equity_quote + worth_quote >= convert(rest_margin_quote + (margins >> 80) + fee_quote, int256)


@internal
@pure
def _size_lots(
    holding: account_risk.Holding,
    equity_quote: int256,
    settlement_margin_quote: uint256,
    price_ticks: uint256,
    fee_ppm: uint256,
) -> uint256:
    """
    @notice Finds how much of a position may be liquidated: the fewest whole steps that suffice.
    @dev Sufficiency grows with the size wherever settlement margin exceeds discount and fee; the search ends at the whole
         position otherwise. At most 41 tries of about 2,000 gas.
    @param holding The position.
    @param equity_quote Equity of the account at the worse of mark and external.
    @param settlement_margin_quote Settlement margin of the account at that price.
    @param price_ticks Worst price of the liquidation.
    @param fee_ppm Fee on what is closed.
    @return Lots; all when none suffices, or when what is left would be below the minimum notional.
    """
    lots: uint256 = convert(abs(holding.size_lots), uint256)
    valuation_ticks: uint256 = account_risk._valuation_ticks(holding, account_risk.AT_WORSE)
    rest_equity_quote: int256 = equity_quote - holding.size_lots * convert(valuation_ticks, int256)
    own_margins: uint256 = margin._tiered_margins(lots * valuation_ticks, holding.rules, holding.tiers)
    rest_margin_quote: uint256 = settlement_margin_quote - (own_margins >> 80)
    step_lots: uint256 = max((holding.rules >> 176) & M16, 1)
    low: uint256 = 1
    high: uint256 = lots // step_lots
    if high == 0 or not self._is_sufficient(
        holding, high * step_lots, price_ticks, fee_ppm, rest_equity_quote, rest_margin_quote
    ):
        return lots
    for _: uint256 in range(41):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        if self._is_sufficient(
            holding, middle * step_lots, price_ticks, fee_ppm, rest_equity_quote, rest_margin_quote
        ):
            high = middle
        else:
            low = middle + 1
    return self._without_dust(holding, high * step_lots)


@internal
@pure
def _without_dust(holding: account_risk.Holding, lots: uint256) -> uint256:
    """
    @notice Takes the rest too when it would be below the minimum notional.
    @param holding The position.
    @param lots How many are to be closed, at most all.
    @return Lots.
    """
    all_lots: uint256 = convert(abs(holding.size_lots), uint256)
    if (all_lots - lots) * holding.mark_ticks < (holding.rules >> 208) & M32:
        return all_lots
    return lots


@internal
@pure
def _score(holding: account_risk.Holding, equity_quote: int256) -> uint256:
    """
    @notice Ranks a counterparty of an auto-deleveraging: the share of profit in what was paid times leverage.
    @dev profit x notional x 1e6 / (max(equity, 1) x max(abs(entry), 1)), at the holding's mark. < 2^94 x 2^75 x 2^20.
    @param holding The opposite position, with the recorded mark as its mark.
    @param equity_quote Equity of its account at that mark.
    @return Score in ppm, at most 2^64 − 1; 0 = no profit.
    """
    ticks: int256 = convert(account_risk._valuation_ticks(holding, account_risk.AT_MARK), int256)
    profit_quote: int256 = holding.size_lots * ticks + holding.cushion_quote
    if profit_quote <= 0:
        return 0
    notional_quote: int256 = abs(holding.size_lots) * ticks
    divisor: int256 = max(equity_quote, 1) * max(abs(holding.cushion_quote), 1)
    score: int256 = profit_quote * notional_quote * 1_000_000 // divisor
    # 1 at least: zero means no profit
    return min(max(convert(score, uint256), 1), M64)
