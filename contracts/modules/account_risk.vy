# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title account_risk
@license AGPL-3.0-only
@notice Reads an account's positions from the words of the Clearinghouse and sums equity and margins, at the mark, at the
        external price or at the worse of both. Twin: offchain/afterbell/domain/account_risk.py.
@dev Liquidations, Exits and Operations import it; batches sum the same numbers inside settle. Writes nothing. A trade that
        has not happened is tried on the holdings in memory: `_trade`.
"""

from interfaces import IClearinghouse
from . import fixed_point
from . import margin

# six open markets, and one that a trade would open: the Clearinghouse refuses a seventh
MAX_HOLDINGS: constant(uint256) = 7
MAX_OPEN_MARKETS: constant(uint256) = 6

# at which price positions are valued
AT_MARK: constant(uint256) = 0
AT_EXTERNAL: constant(uint256) = 1
# long lower, short higher
AT_WORSE: constant(uint256) = 2

# sessions in which nothing is liquidated
HALTED: constant(uint256) = 6
CORPORATE_ACTION: constant(uint256) = 7

# flags of a rules word
CHANGING: constant(uint256) = 1 << 170
TIERED: constant(uint256) = 1 << 171
# parts of the Clearinghouse's rules map, as market offsets of rules_word
SUCCESSOR: constant(uint256) = 256
BINDS_AFTER: constant(uint256) = 512
TIERS: constant(uint256) = 1024

M40: constant(uint256) = 2**40 - 1
M80: constant(uint256) = 2**80 - 1


# one open market of an account
struct Holding:
    market: uint256
    size_lots: int256
    # what the position adds to equity beside size x price: less entry, less pending funding
    cushion_quote: int256
    mark_ticks: uint256
    external_ticks: uint256
    external_time_s: uint256
    # announced dividend, by which shorts are valued higher
    reserve_ticks: uint256
    session: uint256
    # rules in use at the time asked for; 0 = none
    rules: uint256
    # tier word that goes with them; 0 = none
    tiers: uint256
    is_fresh: bool


# sums over an account
struct Risk:
    # collateral + size x price − entry − pending funding
    equity_quote: int256
    initial_margin_quote: uint256
    settlement_margin_quote: uint256
    maintenance_margin_quote: uint256
    # max(initial margin, a tenth of notional), position by position: what cannot be withdrawn
    withdrawal_margin_quote: uint256


@internal
@pure
def _collateral_quote(account_word: uint256) -> int256:
    """
    @notice Reads the collateral of an account.
    @param account_word Its account word.
    @return Quote, negative while losses of open positions have been realised.
    """
    return fixed_point._as_signed(account_word << 184) >> 184


@internal
@view
def _rules(clearinghouse: IClearinghouse, market: uint256, session: uint256, at_s: uint256) -> (uint256, uint256):
    """
    @notice Reads the rules that bind at a time, with their tiers.
    @param clearinghouse Whose words.
    @param market 1..32.
    @param session 0..8.
    @param at_s UNIX seconds: matched_at of a batch, or block time.
    @return Rules word and tier word; 0 = none.
    """
    key: uint256 = market
    rules: uint256 = staticcall clearinghouse.rules_word(key, session)
    if rules & CHANGING != 0 and at_s > staticcall clearinghouse.rules_word(market + BINDS_AFTER, session):
        key = market + SUCCESSOR
        rules = staticcall clearinghouse.rules_word(key, session)
    if rules & TIERED == 0:
        return rules, 0
    return rules, staticcall clearinghouse.rules_word(key + TIERS, session)


@internal
@view
def _market(clearinghouse: IClearinghouse, market: uint256, at_s: uint256) -> Holding:
    """
    @notice Reads a market as an account without a position in it sees it.
    @param clearinghouse Whose words.
    @param market 1..32.
    @param at_s UNIX seconds for which rules and freshness are judged.
    @return A holding of zero lots.
    """
    price: uint256 = staticcall clearinghouse.price_word(market)
    holding: Holding = empty(Holding)
    holding.market = market
    holding.mark_ticks = price & M40
    holding.external_ticks = (price >> 80) & M40
    holding.external_time_s = (price >> 120) & M40
    holding.session = (price >> 200) & 255
    holding.rules, holding.tiers = self._rules(clearinghouse, market, holding.session, at_s)
    holding.is_fresh = margin._is_fresh(price, holding.rules, at_s)
    holding.reserve_ticks = (staticcall clearinghouse.index_word(market)) >> 232
    return holding


@internal
@view
def _holding(clearinghouse: IClearinghouse, account_id: uint256, market: uint256, at_s: uint256) -> Holding:
    """
    @notice Reads one position with its market.
    @param clearinghouse Whose words.
    @param account_id owner << 80 | subaccount.
    @param market 1..32.
    @param at_s UNIX seconds for which rules and freshness are judged.
    @return The holding; zero lots without a position.
    """
    holding: Holding = self._market(clearinghouse, market, at_s)
    position: uint256 = staticcall clearinghouse.position_word(account_id, market)
    holding.size_lots = fixed_point._as_signed(position << 192) >> 192
    if holding.size_lots != 0:
        index: uint256 = staticcall clearinghouse.index_word(market)
        holding.cushion_quote = -fixed_point._lane96(position, 64) - margin._pending_quote(position, index)
    return holding


@internal
@view
def _holdings(
    clearinghouse: IClearinghouse, account_id: uint256, account_word: uint256, at_s: uint256
) -> DynArray[Holding, MAX_HOLDINGS]:
    """
    @notice Reads all open positions of an account.
    @dev About 16,000 gas an open market with cold slots.
    @param clearinghouse Whose words.
    @param account_id owner << 80 | subaccount.
    @param account_word Its account word.
    @param at_s UNIX seconds for which rules and freshness are judged.
    @return Up to six holdings, in the order of the account's list.
    """
    holdings: DynArray[Holding, MAX_HOLDINGS] = []
    for slot: uint256 in range(MAX_OPEN_MARKETS):
        market: uint256 = (account_word >> (200 + 8 * slot)) & 255
        if market != 0:
            holdings.append(self._holding(clearinghouse, account_id, market, at_s))
    return holdings


@internal
@pure
def _valuation_ticks(holding: Holding, basis: uint256) -> uint256:
    """
    @notice Values one lot.
    @param holding The position.
    @param basis AT_MARK, AT_EXTERNAL or AT_WORSE.
    @return Ticks; a short's with the announced dividend on top.
    """
    ticks: uint256 = holding.mark_ticks
    if basis == AT_EXTERNAL:
        ticks = holding.external_ticks
    if holding.size_lots >= 0:
        if basis == AT_WORSE:
            ticks = min(ticks, holding.external_ticks)
        return ticks
    if basis == AT_WORSE:
        ticks = max(ticks, holding.external_ticks)
    return ticks + holding.reserve_ticks


@internal
@pure
def _maintenance_margin_quote(holding: Holding, basis: uint256) -> uint256:
    """
    @notice Computes what one position needs to stay open.
    @param holding The position.
    @param basis AT_MARK, AT_EXTERNAL or AT_WORSE.
    @return Quote, rounded up.
    """
    notional_quote: uint256 = convert(abs(holding.size_lots), uint256) * self._valuation_ticks(holding, basis)
    return margin._tiered_margins(notional_quote, holding.rules, holding.tiers) & M80


@internal
@pure
def _risk(collateral_quote: int256, holdings: DynArray[Holding, MAX_HOLDINGS], basis: uint256) -> Risk:
    """
    @notice Sums an account.
    @param collateral_quote Its collateral, with what a trial adds to it.
    @param holdings Its positions.
    @param basis AT_MARK, AT_EXTERNAL or AT_WORSE, for equity and requirements alike.
    @return Equity and requirements in quote.
    """
    risk: Risk = empty(Risk)
    risk.equity_quote = collateral_quote
    for holding: Holding in holdings:
        ticks: uint256 = self._valuation_ticks(holding, basis)
        notional_quote: uint256 = convert(abs(holding.size_lots), uint256) * ticks
        # ticks < 2^34, lots < 2^41: every product is far below 2^255
        risk.equity_quote += holding.size_lots * convert(ticks, int256) + holding.cushion_quote
        initial_quote: uint256 = margin._initial_quote(notional_quote, holding.rules, holding.tiers)
        margins: uint256 = margin._tiered_margins(notional_quote, holding.rules, holding.tiers)
        risk.initial_margin_quote += initial_quote
        risk.settlement_margin_quote += margins >> 80
        risk.maintenance_margin_quote += margins & M80
        risk.withdrawal_margin_quote += max(initial_quote, (notional_quote + 9) // 10)
    return risk


@internal
@pure
def _is_fresh(holdings: DynArray[Holding, MAX_HOLDINGS]) -> bool:
    """
    @notice Tells whether every open market has a price that may carry risk.
    @param holdings Positions of an account.
    @return False = the account is stale.
    """
    for holding: Holding in holdings:
        if not holding.is_fresh:
            return False
    return True


@internal
@pure
def _is_open_to_liquidation(holdings: DynArray[Holding, MAX_HOLDINGS]) -> bool:
    """
    @notice Tells whether an account with these positions may be liquidated at all.
    @param holdings Positions of an account.
    @return False = it has none, or one of them is stale, halted or in a corporate action.
    """
    for holding: Holding in holdings:
        if not holding.is_fresh or holding.session == HALTED or holding.session == CORPORATE_ACTION:
            return False
    return len(holdings) != 0


@internal
@pure
def _is_liquidatable(collateral_quote: int256, holdings: DynArray[Holding, MAX_HOLDINGS]) -> bool:
    """
    @notice Tells whether an account may be liquidated: open to it, and equity below maintenance margin at both prices.
    @param collateral_quote Collateral of the account.
    @param holdings Its positions.
    @return True = liquidatable; never without a position.
    """
    at_mark: Risk = self._risk(collateral_quote, holdings, AT_MARK)
    at_external: Risk = self._risk(collateral_quote, holdings, AT_EXTERNAL)
    return (
        self._is_open_to_liquidation(holdings)
        and at_mark.equity_quote < convert(at_mark.maintenance_margin_quote, int256)
        and at_external.equity_quote < convert(at_external.maintenance_margin_quote, int256)
    )


@internal
@pure
def _trade(
    holdings: DynArray[Holding, MAX_HOLDINGS], market: Holding, size_change_lots: int256, price_ticks: uint256
) -> DynArray[Holding, MAX_HOLDINGS]:
    """
    @notice Tries a trade on holdings in memory.
    @dev The cushion keeps what a closed position realised, so that equity is exact at every size.
    @param holdings Positions of an account before.
    @param market The market traded in, as `_market` or `_holding` reads it.
    @param size_change_lots Lots bought, negative if sold.
    @param price_ticks At what price.
    @return Positions after; one more if the account had none in this market.
    """
    after: DynArray[Holding, MAX_HOLDINGS] = holdings
    paid_quote: int256 = size_change_lots * convert(price_ticks, int256)
    for i: uint256 in range(len(holdings), bound=MAX_HOLDINGS):
        if after[i].market == market.market:
            after[i].size_lots += size_change_lots
            after[i].cushion_quote -= paid_quote
            return after
    opened: Holding = market
    opened.size_lots = size_change_lots
    opened.cushion_quote = -paid_quote
    after.append(opened)
    return after
