# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Liquidations
@license AGPL-3.0-only
@notice The loss ladder: anybody may take over an unhealthy account's position, insurance pays what is missing, then winners are
        closed against the bankrupt account, and what nobody can take is spread over the market.
@dev Judges liquidation orders of batches (check_order) and moves value outside of them, through Clearinghouse.apply_deltas.
     Insurance of a market is the account of this contract with the market's number as subaccount: no key signs for it.
     Twin: offchain/afterbell/domain/liquidations.py; rules: contracts/PROTOCOL.md §4.
@custom:security Every function is for anybody but `cover`. Nothing is moved unless the account is below maintenance margin at
        the mark and at the external price, every open market of it fresh and none halted. No price or size is the caller's.
@custom:invariants A position only shrinks and never flips. Value moves between accounts, insurance and pot alone. No account is
        left without positions and negative. Insurance pays for losses, never for a discount.
@custom:kill None: a halted market is not liquidated, a settled venue neither.
"""

from interfaces import IClearinghouse
from interfaces import IExits
from interfaces import ILiquidations
from modules import account_risk
from modules import codes
from modules import errors
from modules import fixed_point
from modules import liquidation_terms

implements: ILiquidations

MAX_HOLDINGS: constant(uint256) = account_risk.MAX_HOLDINGS
MAX_NOMINEES: constant(uint256) = 32
# all nominees, the account, its insurance
MAX_DELTAS: constant(uint256) = 34
SCORES_A_WORD: constant(uint256) = 4

SETTLE_LAG_S: constant(uint256) = 300
DAY_S: constant(uint256) = 86_400
MINUTE_S: constant(uint256) = 60
# an older flag counts as none, so that no discount waits for an account that has recovered: an hour until a solvent account is
# auto-deleveraged and two that such an ADL lives
FLAG_LIFE_S: constant(uint256) = 10_800
# a solvent account that found no taker for so long after its flag is auto-deleveraged too
ADL_FLAG_AGE_S: constant(uint256) = 3_600
NOMINATION_S: constant(uint256) = 600
# when nobody who can pay was nominated for so long, the loss is spread
SPREAD_AGE_S: constant(uint256) = 3_600
ADL_LIFE_S: constant(uint256) = 7_200

LIQUIDATION_FEE_PPM: constant(uint256) = 5_000
ORDER_FEE_PPM: constant(uint256) = 1_000
# of what insurance held at a day's first draw
DRAW_PERCENT: constant(uint256) = 20

LIQUIDATION_LANE: constant(uint256) = 65_534
# reduce-only 2, IOC 2 << 3, liquidation 256; bit 0 is the side
ORDER_FLAGS: constant(uint256) = 274

MODE_BIT: constant(uint256) = 200
SETTLED: constant(uint256) = 2

M8: constant(uint256) = 2**8 - 1
M16: constant(uint256) = 2**16 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M64: constant(uint256) = 2**64 - 1
M96: constant(uint256) = 2**96 - 1
M128: constant(uint256) = 2**128 - 1
INDEX_LIMIT: constant(int256) = 2**88

# parts of an ADL's terms word
ADL_TIME_BIT: constant(uint256) = 40
ADL_MARK_BIT: constant(uint256) = 80
ADL_LOTS_BIT: constant(uint256) = 120
ADL_NOMINEES_BIT: constant(uint256) = 184
ADL_SHORT_BIT: constant(uint256) = 192
ADL_DONE_BIT: constant(uint256) = 200


# an account as it stands, valued with one of its positions in question
struct Reading:
    account_id: uint256
    collateral_quote: int256
    n_holdings: uint256
    equity_at_mark_quote: int256
    equity_at_external_quote: int256
    # equity and margins at the worse of both
    equity_quote: int256
    settlement_margin_quote: uint256
    maintenance_margin_quote: uint256
    # below maintenance margin at both prices
    is_unhealthy: bool
    # unhealthy, and every open market fresh and not halted
    is_liquidatable: bool
    # age of its flag, 0 without one
    age_s: uint256
    # the position in question; zero lots = none
    holding: account_risk.Holding
    # what of the equity at the mark is allocated to it
    share_quote: int256


# whose words are read and moved
CLEARINGHOUSE: public(immutable(address))
# the only caller of cover
CORPORATE_ACTIONS: public(immutable(address))

# seconds; 0 = not flagged; written by flag, unflag and liquidate
flagged_at_s: public(HashMap[uint256, uint256])
# per market: day 0-31 | what may still be paid that day in quote 32-127; written by every draw
draws: public(HashMap[uint256, uint256])
# per market: minute 0-63 | notional liquidated in it 64-191; written by liquidate
throttles: public(HashMap[uint256, uint256])
# ids count from 1
n_adls: public(uint256)
# per account << 16 | market: its last ADL
last_adl: public(HashMap[uint256, uint256])
# per id: account << 16 | market
adl_subjects: public(HashMap[uint256, uint256])
# per id: price 0-39 | opened_at_s 40-79 | mark 80-119 | lots 120-183 | n_nominees 184-191 | account is short 192 | done 200
adl_terms: public(HashMap[uint256, uint256])
# per id << 8 | place: account << 16 | seconds from the opening to its nomination
nominees: public(HashMap[uint256, uint256])
# per id << 8 | place // 4: four scores of 64 bits, place 4n at bit 0
scores: public(HashMap[uint256, uint256])
# per id, account: its place + 1; 0 = not among the nominees
nominee_places: public(HashMap[uint256, HashMap[uint256, uint256]])


@deploy
def __init__(clearinghouse: address, corporate_actions: address):
    """
    @notice Wires the neighbours, both deployed later; the Clearinghouse checks that it is named here.
    @param clearinghouse Address the Clearinghouse will have.
    @param corporate_actions Address CorporateActions will have.
    """
    assert clearinghouse != empty(address) and corporate_actions != empty(address), errors.NO_ADDRESS
    CLEARINGHOUSE = clearinghouse
    CORPORATE_ACTIONS = corporate_actions


# Flags.


@external
def flag(account_id: uint256):
    """
    @notice Starts the clock of a liquidation: the price improves with it, and SETTLE_LAG later anybody may take over.
    @param account_id owner << 80 | subaccount, liquidatable now.
    """
    self._check(self._flag_time(account_id, block.timestamp) == 0, errors.ALREADY_FLAGGED)
    reading: Reading = self._read(account_id, 0, block.timestamp)
    self._check(reading.is_liquidatable, errors.ACCOUNT_HEALTHY)
    self.flagged_at_s[account_id] = block.timestamp
    log ILiquidations.AccountFlagged(account=account_id, flagged_at_s=convert(block.timestamp, uint64))


@external
def unflag(account_id: uint256):
    """
    @notice Stops the clock for an account that is healthy again at the mark or at the external price.
    @param account_id owner << 80 | subaccount.
    """
    self._check(self.flagged_at_s[account_id] != 0, errors.NOT_FLAGGED)
    reading: Reading = self._read(account_id, 0, block.timestamp)
    self._check(not reading.is_unhealthy, errors.STILL_LIQUIDATABLE)
    self._clear_flag(account_id)


# Liquidation.


@external
@view
def check_order(account_id: uint256, order_word: uint256, sequence: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Judges a liquidation order of a batch in place of a signature.
    @dev Called by settle on the words after prices and operations. What other orders of the batch liquidate is not visible
         here: all orders of an account share one lane and so one filled size, and the throttle holds for each alone.
    @param account_id owner << 80 | subaccount.
    @param order_word Word 0 of the order.
    @param sequence Sequence of the batch.
    @param matched_at_s Time of the batch.
    @return Status code, 0 = may be filled.
    """
    market: uint256 = order_word >> 248
    reading: Reading = self._read(account_id, market, matched_at_s)
    if not reading.is_liquidatable:
        return codes.NOT_LIQUIDATABLE
    flags: uint256 = (order_word >> 232) & M16
    if (
        reading.holding.size_lots == 0
        or flags & ~convert(1, uint256) != ORDER_FLAGS
        or (order_word >> 216) & M16 != LIQUIDATION_LANE
        or (order_word >> 176) & M40 != sequence
        or (order_word >> 72) & M16 > ORDER_FEE_PPM
    ):
        return codes.LIQUIDATION_TERMS
    is_buy: bool = flags & 1 == 1
    worst_ticks: uint256 = 0
    is_inside: bool = False
    worst_ticks, is_inside = self._terms(reading)
    limit_ticks: uint256 = (order_word >> 88) & M40
    lots: uint256 = (order_word >> 128) & M48
    if (
        not is_inside
        or is_buy != (reading.holding.size_lots < 0)
        or (is_buy and limit_ticks > worst_ticks)
        or (not is_buy and limit_ticks < worst_ticks)
        or lots > self._size_lots(reading, worst_ticks, ORDER_FEE_PPM)
        or lots * worst_ticks > liquidation_terms._cap_quote(reading.holding.session)
    ):
        return codes.LIQUIDATION_TERMS
    return 0


@external
def liquidate(account_id: uint256, market: uint256, lots: uint256, subaccount: uint80) -> uint256:
    """
    @notice Takes over an unhealthy account's position, or a part of it, at the worst price of its liquidation.
    @dev From SETTLE_LAG after the flag. A fee of 0.5 % goes from what equity is left to the market's insurance. When the account
         is bankrupt at both prices, its whole position is taken and insurance pays what is missing, each market's its share.
    @param account_id owner << 80 | subaccount of the account that is liquidated, not of the caller.
    @param market Market id.
    @param lots How much the caller would take; never more than needed is taken.
    @param subaccount Subaccount of the caller that takes it, with initial margin for it afterwards.
    @return Lots taken.
    """
    self._check_not_settled()
    taker_id: uint256 = (convert(msg.sender, uint256) << 80) | convert(subaccount, uint256)
    self._check(account_id >> 80 != taker_id >> 80, errors.OWN_ACCOUNT)
    flagged_at_s: uint256 = self._flag_time(account_id, block.timestamp)
    self._check(flagged_at_s != 0 and block.timestamp > flagged_at_s + SETTLE_LAG_S, errors.LIQUIDATION_TOO_EARLY)
    reading: Reading = self._read(account_id, market, block.timestamp)
    self._check(reading.is_liquidatable, errors.ACCOUNT_HEALTHY)
    self._check(reading.holding.size_lots != 0, errors.LIQUIDATION_NO_POSITION)
    holding: account_risk.Holding = reading.holding
    worst_ticks: uint256 = 0
    is_inside: bool = False
    worst_ticks, is_inside = self._terms(reading)
    self._check(is_inside, errors.OUTSIDE_BAND)
    all_lots: uint256 = convert(abs(holding.size_lots), uint256)
    taken_lots: uint256 = min(lots, self._size_lots(reading, worst_ticks, LIQUIDATION_FEE_PPM))
    # whole steps, and no dust is left
    is_whole: bool = taken_lots % max((holding.rules >> 176) & M16, 1) == 0
    is_dustless: bool = liquidation_terms._without_dust(holding, taken_lots) == taken_lots
    self._check(
        taken_lots == all_lots or (taken_lots != 0 and is_whole and is_dustless), errors.LIQUIDATION_LOTS
    )

    change_lots: int256 = convert(taken_lots, int256)
    if holding.size_lots > 0:
        change_lots = -change_lots
    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS] = []
    fee_quote: uint256 = 0
    lost_quote: int256 = self._shortfall(reading, change_lots, worst_ticks)
    if lost_quote > 0:
        # recapitalised by insurance, so it keeps nothing of this position; at no discount, so the throttle has nothing to slow
        self._check(taken_lots == all_lots, errors.LIQUIDATION_LOTS)
        deltas = self._insured(account_id, lost_quote)
        if reading.n_holdings == 1:
            self._clear_flag(account_id)
    else:
        self._throttle(holding, taken_lots * worst_ticks)
        valuation_ticks: uint256 = account_risk._valuation_ticks(holding, account_risk.AT_WORSE)
        equity_quote: int256 = reading.equity_quote + change_lots * (
            convert(valuation_ticks, int256) - convert(worst_ticks, int256)
        )
        fee_quote = min(
            fixed_point._ceil_ppm(taken_lots * worst_ticks, LIQUIDATION_FEE_PPM), convert(max(equity_quote, 0), uint256)
        )
        if fee_quote != 0:
            deltas.append(self._delta(self._insurance_id(market), 0, 0, convert(fee_quote, int256)))
        # healthy again at both prices, or without a position: the clock starts anew next time
        margin_quote: uint256 = reading.maintenance_margin_quote - account_risk._maintenance_margin_quote(
            holding, account_risk.AT_WORSE
        )
        holding.size_lots += change_lots
        margin_quote += account_risk._maintenance_margin_quote(holding, account_risk.AT_WORSE) + fee_quote
        if equity_quote >= convert(margin_quote, int256):
            self._clear_flag(account_id)
    account_quote: int256 = max(lost_quote, 0) - convert(fee_quote, int256)
    deltas.append(self._delta(account_id, change_lots, worst_ticks, account_quote))
    deltas.append(self._delta(taker_id, -change_lots, worst_ticks, 0))
    self._check_taker(taker_id, reading.holding, -change_lots, worst_ticks)
    extcall IClearinghouse(CLEARINGHOUSE).apply_deltas(market, self._sorted(deltas), 0)
    log ILiquidations.AccountLiquidated(
        account=account_id,
        taker=taker_id,
        market=convert(market, uint8),
        size_lots=change_lots,
        price_ticks=worst_ticks,
        fee_quote=fee_quote,
        insurance_quote=convert(max(lost_quote, 0), uint256),
    )
    return taken_lots


# Auto-deleveraging.


@external
def open_adl(account_id: uint256, market: uint256) -> uint256:
    """
    @notice Opens the closing of a position against those who won by it: the account is bankrupt, or found no taker for an hour.
    @param account_id owner << 80 | subaccount.
    @param market Market id.
    @return Id of the ADL; accounts may be nominated at once.
    """
    key: uint256 = (account_id << 16) | market
    last_terms: uint256 = self.adl_terms[self.last_adl[key]]
    self._check(not self._is_alive(last_terms), errors.ADL_OPEN)
    reading: Reading = self._read(account_id, market, block.timestamp)
    self._check(reading.holding.size_lots != 0, errors.LIQUIDATION_NO_POSITION)
    lots: uint256 = 0
    ticks: uint256 = 0
    lots, ticks = self._due(reading)
    holding: account_risk.Holding = reading.holding
    adl_id: uint256 = self.n_adls + 1
    self.n_adls = adl_id
    self.last_adl[key] = adl_id
    self.adl_subjects[adl_id] = key
    self.adl_terms[adl_id] = (
        ticks
        | (block.timestamp << ADL_TIME_BIT)
        | (holding.mark_ticks << ADL_MARK_BIT)
        | (lots << ADL_LOTS_BIT)
        | (convert(holding.size_lots < 0, uint256) << ADL_SHORT_BIT)
    )
    log ILiquidations.AdlOpened(
        adl_id=adl_id,
        account=account_id,
        market=convert(market, uint8),
        lots=lots,
        mark_ticks=holding.mark_ticks,
        price_ticks=ticks,
    )
    return adl_id


@external
def nominate(adl_id: uint256, account_id: uint256):
    """
    @notice Names an account of the opposite side that profits; the best 32 by score stay until the ADL is executed.
    @dev Counts at an execution more than SETTLE_LAG later: who is closed could otherwise void what was acknowledged. A second nomination can only raise the score, so nobody talks an account down. Reads at most 6 markets and 8 words.
    @param adl_id Id of an open ADL.
    @param account_id owner << 80 | subaccount.
    """
    terms: uint256 = self.adl_terms[adl_id]
    self._check(self._is_alive(terms), errors.NO_ADL)
    reading: Reading = self._read(account_id, self.adl_subjects[adl_id] & M16, block.timestamp)
    self._check(reading.holding.size_lots != 0, errors.LIQUIDATION_NO_POSITION)
    score: uint256 = self._score(terms, reading)
    self._check(score != 0, errors.NO_PROFIT)
    n_nominees: uint256 = (terms >> ADL_NOMINEES_BIT) & M8
    place: uint256 = self.nominee_places[adl_id][account_id]
    if place != 0:
        place -= 1
        self._check(score > self._read_score(adl_id, place), errors.NOT_AMONG_BEST)
    elif n_nominees < MAX_NOMINEES:
        place = n_nominees
        self.adl_terms[adl_id] = terms + (1 << ADL_NOMINEES_BIT)
    else:
        lowest: uint256 = 0
        place, lowest = self._lowest(adl_id)
        self._check(score > lowest, errors.NOT_AMONG_BEST)
        outsider: uint256 = self.nominees[(adl_id << 8) | place] >> 16
        self.nominee_places[adl_id][outsider] = 0
        log ILiquidations.AdlNominated(adl_id=adl_id, account=outsider, score=0)
    if self.nominee_places[adl_id][account_id] == 0:
        after_s: uint256 = block.timestamp - ((terms >> ADL_TIME_BIT) & M40)
        self.nominees[(adl_id << 8) | place] = (account_id << 16) | after_s
    self.nominee_places[adl_id][account_id] = place + 1
    key: uint256 = (adl_id << 8) | (place // SCORES_A_WORD)
    bit: uint256 = 64 * (place % SCORES_A_WORD)
    self.scores[key] = (self.scores[key] & ~(M64 << bit)) | (score << bit)
    log ILiquidations.AdlNominated(adl_id=adl_id, account=account_id, score=score)


@external
def execute_adl(adl_id: uint256) -> uint256:
    """
    @notice Closes the position against the nominees, best first, each as far as it now reaches and can pay.
    @dev No fee. The price is never worse for them than what was recorded. Without anybody to close against, an hour after the
         opening, a bankrupt account's loss is covered by insurance and spread.
    @param adl_id Id of an ADL opened more than ten minutes and SETTLE_LAG ago.
    @return Lots closed.
    """
    self._check_not_settled()
    terms: uint256 = self.adl_terms[adl_id]
    self._check(self._is_alive(terms), errors.NO_ADL)
    opened_at_s: uint256 = (terms >> ADL_TIME_BIT) & M40
    self._check(block.timestamp > opened_at_s + NOMINATION_S + SETTLE_LAG_S, errors.LIQUIDATION_TOO_EARLY)
    subject: uint256 = self.adl_subjects[adl_id]
    market: uint256 = subject & M16
    reading: Reading = self._read(subject >> 16, market, block.timestamp)
    holding: account_risk.Holding = reading.holding
    is_short: bool = (terms >> ADL_SHORT_BIT) & 1 == 1
    self._check(
        holding.size_lots != 0 and is_short == (holding.size_lots < 0), errors.LIQUIDATION_NO_POSITION
    )
    lots: uint256 = 0
    ticks: uint256 = 0
    lots, ticks = self._due(reading)
    lots = min(lots, (terms >> ADL_LOTS_BIT) & M64)
    lost_quote: int256 = self._shortfall(reading, 0, 0)
    is_bankrupt: bool = lost_quote > 0
    if is_bankrupt:
        # whichever is better for the counterparties; those of a short account sell
        ticks = max(ticks, terms & M40) if is_short else min(ticks, terms & M40)
    self.adl_terms[adl_id] = terms | (1 << ADL_DONE_BIT)

    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS] = self._counterparties(adl_id, terms, lots, ticks)
    closed_lots: int256 = 0
    for delta: IClearinghouse.Delta in deltas:
        closed_lots -= delta.size_lots
    n_counterparties: uint256 = len(deltas)
    if n_counterparties == 0:
        # not where nominees filled the list and left: others get their turn in the next one
        is_empty: bool = (terms >> ADL_NOMINEES_BIT) & M8 == 0
        self._check(
            is_bankrupt and is_empty and block.timestamp > opened_at_s + SPREAD_AGE_S, errors.NOBODY_NOMINATED
        )
    else:
        lost_quote = 0
        if reading.n_holdings == 1 and closed_lots == -holding.size_lots:
            self._clear_flag(reading.account_id)
            if is_bankrupt:
                # what it still owes, or what rounding left it
                lost_quote = closed_lots * convert(ticks, int256) - holding.cushion_quote - reading.collateral_quote
    holding.size_lots += closed_lots
    deltas.append(self._delta(reading.account_id, closed_lots, ticks, lost_quote))
    self._apply_loss(market, deltas, reading.account_id, holding, lost_quote)
    log ILiquidations.AdlExecuted(
        adl_id=adl_id,
        lots=convert(abs(closed_lots), uint256),
        price_ticks=ticks,
        n_counterparties=n_counterparties,
    )
    return convert(abs(closed_lots), uint256)


# CorporateActions.


@external
def cover(account_id: uint256, market: uint256):
    """
    @notice Takes what an account without positions owes off it: insurance first, the rest is spread over the market.
    @param account_id owner << 80 | subaccount, negative and without a position.
    @param market Market the loss was made in.
    """
    self._check(msg.sender == CORPORATE_ACTIONS, errors.NOT_CORPORATE_ACTIONS)
    self._check_not_settled()
    reading: Reading = self._read(account_id, 0, block.timestamp)
    self._check(reading.n_holdings == 0 and reading.collateral_quote < 0, errors.NOTHING_TO_COVER)
    lost_quote: int256 = -reading.collateral_quote
    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS] = [self._delta(account_id, 0, 0, lost_quote)]
    nothing: account_risk.Holding = account_risk._market(IClearinghouse(CLEARINGHOUSE), market, block.timestamp)
    self._apply_loss(market, deltas, account_id, nothing, lost_quote)


# Views.


@external
@view
def insurance_account(market: uint256) -> uint256:
    """
    @notice Names the account that holds a market's insurance; anybody may deposit for it.
    @param market Market id.
    @return owner << 80 | subaccount.
    """
    return self._insurance_id(market)


@external
@view
def insurance_left_quote(market: uint256) -> uint256:
    """
    @notice Shows what a market's insurance would pay at most today.
    @param market Market id.
    @return Quote.
    """
    held_quote: uint256 = 0
    left_quote: uint256 = 0
    held_quote, left_quote = self._available(market)
    return left_quote


# Reading.


@internal
@pure
def _check(is_met: bool, reason: String[32]):
    """
    @notice Reverts unless a condition is met: in one place, which saves 1,500 bytes against asserts.
    @param is_met The condition.
    @param reason One of errors.vy.
    """
    assert is_met, reason


@internal
@view
def _read(account_id: uint256, market: uint256, at_s: uint256) -> Reading:
    """
    @notice Reads an account and values it three times: at the mark, at the external price, at the worse of both.
    @param account_id owner << 80 | subaccount.
    @param market The position in question, 0 = none.
    @param at_s UNIX seconds.
    @return The reading.
    """
    # a longer number would be another name of the same account: nominated twice, flagged apart, taken over by its own owner
    assert account_id >> 240 == 0  # dev: there is no room for a reason
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    holdings: DynArray[account_risk.Holding, MAX_HOLDINGS] = account_risk._holdings(
        IClearinghouse(CLEARINGHOUSE), account_id, word, at_s
    )
    reading: Reading = empty(Reading)
    reading.account_id = account_id
    reading.collateral_quote = account_risk._collateral_quote(word)
    reading.n_holdings = len(holdings)
    risk: account_risk.Risk = account_risk._risk(reading.collateral_quote, holdings, account_risk.AT_EXTERNAL)
    reading.equity_at_external_quote = risk.equity_quote
    reading.is_unhealthy = risk.equity_quote < convert(risk.maintenance_margin_quote, int256)
    risk = account_risk._risk(reading.collateral_quote, holdings, account_risk.AT_MARK)
    reading.equity_at_mark_quote = risk.equity_quote
    if risk.equity_quote >= convert(risk.maintenance_margin_quote, int256):
        reading.is_unhealthy = False
    reading.is_liquidatable = reading.is_unhealthy and account_risk._is_open_to_liquidation(holdings)
    risk = account_risk._risk(reading.collateral_quote, holdings, account_risk.AT_WORSE)
    reading.equity_quote = risk.equity_quote
    reading.settlement_margin_quote = risk.settlement_margin_quote
    reading.maintenance_margin_quote = risk.maintenance_margin_quote
    flagged_at_s: uint256 = self._flag_time(account_id, at_s)
    if flagged_at_s != 0:
        reading.age_s = at_s - flagged_at_s
    for i: uint256 in range(len(holdings), bound=MAX_HOLDINGS):
        if holdings[i].market == market:
            reading.holding = holdings[i]
            shares: DynArray[int256, MAX_HOLDINGS] = liquidation_terms._allocations(
                reading.equity_at_mark_quote, holdings
            )
            reading.share_quote = shares[i]
    return reading


@internal
@view
def _flag_time(account_id: uint256, at_s: uint256) -> uint256:
    """
    @notice Reads the flag of an account.
    @param account_id owner << 80 | subaccount.
    @param at_s UNIX seconds.
    @return When it was flagged; 0 = not, later than `at_s`, or more than three hours ago.
    """
    flagged_at_s: uint256 = self.flagged_at_s[account_id]
    if flagged_at_s > at_s or at_s > flagged_at_s + FLAG_LIFE_S:
        return 0
    return flagged_at_s


@internal
@view
def _terms(reading: Reading) -> (uint256, bool):
    """
    @notice Finds the worst price of a liquidation inside the band.
    @param reading The account, with its position.
    @return The price, and False when the band holds none that is good enough.
    """
    return liquidation_terms._into_band(reading.holding, self._worst_ticks(reading))


@internal
@pure
def _worst_ticks(reading: Reading) -> uint256:
    """
    @notice Finds the worst price of a liquidation before the band.
    @param reading The account, with its position.
    @return Ticks.
    """
    return liquidation_terms._worst_ticks(
        reading.holding, reading.age_s, reading.equity_at_mark_quote, reading.share_quote
    )


@internal
@pure
def _size_lots(reading: Reading, ticks: uint256, fee_ppm: uint256) -> uint256:
    """
    @notice Finds how much of the position may be liquidated.
    @param reading The account, with its position.
    @param ticks Worst price of the liquidation.
    @param fee_ppm Fee on what is closed.
    @return Lots.
    """
    return liquidation_terms._size_lots(
        reading.holding, reading.equity_quote, reading.settlement_margin_quote, ticks, fee_ppm
    )


@internal
@pure
def _shortfall(reading: Reading, change_lots: int256, ticks: uint256) -> int256:
    """
    @notice Computes what an account lacks after a trade to be worth nothing at the better of both prices: no loss is paid for that
            one kind of price alone shows.
    @dev equity' = equity + change x (value − price), exact also where the position ends.
    @param reading The account, with its position.
    @param change_lots Lots it receives, negative if given.
    @param ticks At which price.
    @return Quote; not positive = it lacks nothing.
    """
    at_mark: uint256 = account_risk._valuation_ticks(reading.holding, account_risk.AT_MARK)
    at_external: uint256 = account_risk._valuation_ticks(reading.holding, account_risk.AT_EXTERNAL)
    return -max(
        reading.equity_at_mark_quote + change_lots * (convert(at_mark, int256) - convert(ticks, int256)),
        reading.equity_at_external_quote + change_lots * (convert(at_external, int256) - convert(ticks, int256)),
    )


@internal
@view
def _due(reading: Reading) -> (uint256, uint256):
    """
    @notice Says what of a position is to be auto-deleveraged, and at which price.
    @dev Bankrupt at both prices: all of it, at the bankruptcy price. Solvent, but flagged for more than an hour: what a liquidation
         would take, at its worst price, so that the account keeps its surplus.
    @param reading The account, with its position.
    @return Lots and ticks.
    """
    self._check(reading.is_liquidatable, errors.ACCOUNT_HEALTHY)
    if self._shortfall(reading, 0, 0) > 0:
        return convert(abs(reading.holding.size_lots), uint256), liquidation_terms._bankruptcy_ticks(
            reading.holding, reading.share_quote
        )
    self._check(reading.age_s > ADL_FLAG_AGE_S, errors.NOT_BANKRUPT)
    ticks: uint256 = self._worst_ticks(reading)
    return self._size_lots(reading, ticks, 0), ticks


@internal
@view
def _is_alive(terms: uint256) -> bool:
    """
    @notice Tells whether an ADL takes nominations and may be executed.
    @param terms Its terms word.
    @return False = none, executed, or opened more than two hours ago.
    """
    return (
        terms != 0
        and terms >> ADL_DONE_BIT == 0
        and block.timestamp <= ((terms >> ADL_TIME_BIT) & M40) + ADL_LIFE_S
    )


@internal
@pure
def _score(terms: uint256, reading: Reading) -> uint256:
    """
    @notice Ranks a nominee at the recorded mark.
    @param terms Terms word of the ADL.
    @param reading The nominee, with its position.
    @return Score in ppm; 0 = no profit, or not the opposite side.
    """
    if (terms >> ADL_SHORT_BIT) & 1 != convert(reading.holding.size_lots > 0, uint256):
        return 0
    recorded: account_risk.Holding = reading.holding
    recorded.mark_ticks = (terms >> ADL_MARK_BIT) & M40
    moved_ticks: int256 = convert(recorded.mark_ticks, int256) - convert(reading.holding.mark_ticks, int256)
    return liquidation_terms._score(
        recorded, reading.equity_at_mark_quote + reading.holding.size_lots * moved_ticks
    )


@internal
@view
def _read_score(adl_id: uint256, place: uint256) -> uint256:
    """
    @notice Reads the score of a nominee.
    @param adl_id Id of the ADL.
    @param place 0..31.
    @return Score in ppm.
    """
    return (self.scores[(adl_id << 8) | (place // SCORES_A_WORD)] >> (64 * (place % SCORES_A_WORD))) & M64


@internal
@view
def _lowest(adl_id: uint256) -> (uint256, uint256):
    """
    @notice Finds who leaves a full list for a better one.
    @param adl_id Id of the ADL.
    @return Place and score of the first of the lowest.
    """
    lowest_place: uint256 = 0
    lowest: uint256 = max_value(uint256)
    for word_place: uint256 in range(MAX_NOMINEES // SCORES_A_WORD):
        word: uint256 = self.scores[(adl_id << 8) | word_place]
        for i: uint256 in range(SCORES_A_WORD):
            score: uint256 = (word >> (64 * i)) & M64
            if score < lowest:
                lowest = score
                lowest_place = SCORES_A_WORD * word_place + i
    return lowest_place, lowest


@internal
@view
def _counterparties(
    adl_id: uint256, terms: uint256, lots: uint256, ticks: uint256
) -> DynArray[IClearinghouse.Delta, MAX_DELTAS]:
    """
    @notice Closes nominees in memory, best first.
    @dev Each again as it stands now: still opposite and in profit at the recorded mark, no more than its size, and no more than
         its equity at the worse of mark and external can pay. About 20,000 gas a nominee and open market.
    @param adl_id Id of the ADL.
    @param terms Its terms word.
    @param lots How much there is to close.
    @param ticks At which price.
    @return Deltas of those closed.
    """
    market: uint256 = self.adl_subjects[adl_id] & M16
    n_nominees: uint256 = (terms >> ADL_NOMINEES_BIT) & M8
    # score << 8 | 255 − place, so that of equal scores the first nominated comes first
    ranks: uint256[MAX_NOMINEES] = empty(uint256[MAX_NOMINEES])
    for place: uint256 in range(n_nominees, bound=MAX_NOMINEES):
        ranks[place] = (self._read_score(adl_id, place) << 8) | (255 - place)
    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS] = []
    left_lots: uint256 = lots
    for _: uint256 in range(n_nominees, bound=MAX_NOMINEES):
        best: uint256 = 0
        for place: uint256 in range(n_nominees, bound=MAX_NOMINEES):
            best = max(best, ranks[place])
        best_place: uint256 = 255 - (best & M8)
        ranks[best_place] = 0
        nominee: uint256 = self.nominees[(adl_id << 8) | best_place]
        # as with every direct change, a match from before the nomination may settle until SETTLE_LAG after it
        if block.timestamp <= ((terms >> ADL_TIME_BIT) & M40) + (nominee & M16) + SETTLE_LAG_S:
            continue
        account_id: uint256 = nominee >> 16
        reading: Reading = self._read(account_id, market, block.timestamp)
        if self._score(terms, reading) == 0:
            continue
        closed_lots: uint256 = min(left_lots, self._payable_lots(reading, ticks))
        if closed_lots == 0:
            continue
        left_lots -= closed_lots
        change_lots: int256 = convert(closed_lots, int256)
        if reading.holding.size_lots > 0:
            change_lots = -change_lots
        deltas.append(self._delta(account_id, change_lots, ticks, 0))
        if left_lots == 0:
            break
    return deltas


@internal
@pure
def _payable_lots(reading: Reading, ticks: uint256) -> uint256:
    """
    @notice Finds how much of its position an account can close at a price without ending negative.
    @param reading The account, with its position.
    @param ticks The price.
    @return Lots, at most its size.
    """
    holding: account_risk.Holding = reading.holding
    lots: uint256 = convert(abs(holding.size_lots), uint256)
    valuation_ticks: uint256 = account_risk._valuation_ticks(holding, account_risk.AT_WORSE)
    loss_ticks: uint256 = 0
    if holding.size_lots > 0 and valuation_ticks > ticks:
        loss_ticks = valuation_ticks - ticks
    elif holding.size_lots < 0 and ticks > valuation_ticks:
        loss_ticks = ticks - valuation_ticks
    if loss_ticks == 0:
        return lots
    return min(lots, convert(max(reading.equity_quote, 0), uint256) // loss_ticks)


@internal
@view
def _check_taker(taker_id: uint256, market: account_risk.Holding, change_lots: int256, ticks: uint256):
    """
    @notice Refuses a taker that could not have traded so: not announced in Exits, stale, beyond the account cap, or below initial margin afterwards.
    @param taker_id Account of the caller.
    @param market The market, as the liquidated account holds it.
    @param change_lots What the taker receives.
    @param ticks At which price.
    """
    # taking a position uses margin that acknowledged fills may count on: known SETTLE_LAG ahead (D-024)
    exits: IExits = IExits(staticcall IClearinghouse(CLEARINGHOUSE).EXITS())
    since_s: uint256 = staticcall exits.taker_since_s(taker_id)
    self._check(since_s != 0 and block.timestamp > since_s, errors.TAKER_UNANNOUNCED)
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(taker_id)
    holdings: DynArray[account_risk.Holding, MAX_HOLDINGS] = account_risk._holdings(
        IClearinghouse(CLEARINGHOUSE), taker_id, word, block.timestamp
    )
    after: DynArray[account_risk.Holding, MAX_HOLDINGS] = account_risk._trade(holdings, market, change_lots, ticks)
    for holding: account_risk.Holding in after:
        if holding.market == market.market:
            cap_lots: uint256 = (market.rules >> 112) & M40
            share: uint256 = (market.rules >> 152) & M16
            if share != 0:
                cap_lots = (cap_lots * share) >> 16
            is_growing: bool = abs(holding.size_lots) > abs(holding.size_lots - change_lots)
            is_within: bool = abs(holding.size_lots) <= convert(cap_lots, int256)
            self._check(is_within or not is_growing, errors.TAKER_CAP)
    risk: account_risk.Risk = account_risk._risk(account_risk._collateral_quote(word), after, account_risk.AT_WORSE)
    is_covered: bool = risk.equity_quote >= convert(risk.initial_margin_quote, int256)
    self._check(is_covered and account_risk._is_fresh(after), errors.TAKER_MARGIN)


@internal
@view
def _check_not_settled():
    """
    @notice Refuses to move anything once the venue is settled: everybody's share is counted then.
    """
    operator: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).operator_word()
    self._check(operator >> MODE_BIT != SETTLED, errors.IS_SETTLED)


@internal
@view
def _insurance_id(market: uint256) -> uint256:
    """
    @notice Names the account of a market's insurance.
    @param market Market id.
    @return owner << 80 | subaccount.
    """
    return (convert(self, uint256) << 80) | market


@internal
@view
def _available(market: uint256) -> (uint256, uint256):
    """
    @notice Reads what a market's insurance holds and what of it may be paid today.
    @param market Market id.
    @return Both in quote.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(self._insurance_id(market))
    held_quote: uint256 = convert(max(account_risk._collateral_quote(word), 0), uint256)
    draw: uint256 = self.draws[market]
    left_quote: uint256 = draw >> 32
    if draw & (2**32 - 1) != block.timestamp // DAY_S:
        left_quote = held_quote * DRAW_PERCENT // 100
    return held_quote, min(left_quote, held_quote)


# Writing.


@internal
@pure
def _delta(account_id: uint256, change_lots: int256, ticks: uint256, collateral_quote: int256) -> IClearinghouse.Delta:
    """
    @notice Makes one account's part of apply_deltas.
    @param account_id owner << 80 | subaccount.
    @param change_lots Lots received, negative if given.
    @param ticks At which price.
    @param collateral_quote What is added to its collateral.
    @return The delta.
    """
    return IClearinghouse.Delta(
        account_id=account_id,
        size_lots=change_lots,
        entry_quote=change_lots * convert(ticks, int256),
        collateral_quote=collateral_quote,
    )


@internal
@pure
def _sorted(deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS]) -> DynArray[IClearinghouse.Delta, MAX_DELTAS]:
    """
    @notice Sorts deltas by account id, as apply_deltas wants them.
    @param deltas At most 34, no account twice.
    @return The same, ascending.
    """
    ordered: DynArray[IClearinghouse.Delta, MAX_DELTAS] = deltas
    for i: uint256 in range(len(deltas), bound=MAX_DELTAS):
        moved: IClearinghouse.Delta = ordered[i]
        place: uint256 = i
        for _: uint256 in range(i, bound=MAX_DELTAS):
            if ordered[place - 1].account_id < moved.account_id:
                break
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = moved
    return ordered


@internal
def _clear_flag(account_id: uint256):
    """
    @notice Forgets the flag of an account.
    @param account_id owner << 80 | subaccount.
    """
    if self.flagged_at_s[account_id] != 0:
        self.flagged_at_s[account_id] = 0
        log ILiquidations.AccountUnflagged(account=account_id)


@internal
def _throttle(holding: account_risk.Holding, notional_quote: uint256):
    """
    @notice Counts what is liquidated directly in a market within a minute, and refuses what exceeds the session's cap.
    @param holding The position, with its session.
    @param notional_quote What is about to be liquidated.
    """
    word: uint256 = self.throttles[holding.market]
    minute: uint256 = block.timestamp // MINUTE_S
    sum_quote: uint256 = notional_quote
    if word & M64 == minute:
        sum_quote += word >> 64
    self._check(sum_quote <= liquidation_terms._cap_quote(holding.session), errors.THROTTLED)
    self.throttles[holding.market] = (sum_quote << 64) | minute


@internal
def _draw(market: uint256, account_id: uint256, quote: uint256, is_capped: bool) -> uint256:
    """
    @notice Takes what insurance may pay off its day's allowance; the sum itself moves by a delta.
    @param market Whose insurance.
    @param account_id For whom.
    @param quote What is missing.
    @param is_capped False = beyond the day's cap too.
    @return What insurance pays.
    """
    held_quote: uint256 = 0
    left_quote: uint256 = 0
    held_quote, left_quote = self._available(market)
    paid_quote: uint256 = min(quote, left_quote if is_capped else held_quote)
    if paid_quote == 0:
        return 0
    left_quote -= min(left_quote, paid_quote)
    self.draws[market] = (left_quote << 32) | (block.timestamp // DAY_S)
    log ILiquidations.InsurancePaid(
        market=convert(market, uint8), account=account_id, quote=paid_quote, left_quote=left_quote
    )
    return paid_quote


@internal
def _insured(account_id: uint256, lost_quote: int256) -> DynArray[IClearinghouse.Delta, MAX_DELTAS]:
    """
    @notice Lets the insurance of each open market pay its share of a loss, all of it or nothing.
    @param account_id Whose loss.
    @param lost_quote Positive.
    @return Deltas of the insurance accounts.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    holdings: DynArray[account_risk.Holding, MAX_HOLDINGS] = account_risk._holdings(
        IClearinghouse(CLEARINGHOUSE), account_id, word, block.timestamp
    )
    shares: DynArray[int256, MAX_HOLDINGS] = liquidation_terms._allocations(-lost_quote, holdings)
    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS] = []
    for i: uint256 in range(len(shares), bound=MAX_HOLDINGS):
        # rounding may leave the last market some units the other way: it pays nothing then
        share_quote: uint256 = convert(max(-shares[i], 0), uint256)
        market: uint256 = holdings[i].market
        self._check(self._draw(market, account_id, share_quote, True) == share_quote, errors.BANKRUPT)
        deltas.append(self._delta(self._insurance_id(market), 0, 0, shares[i]))
    return deltas


@internal
def _apply_loss(
    market: uint256,
    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS],
    account_id: uint256,
    holding: account_risk.Holding,
    lost_quote: int256,
):
    """
    @notice Applies deltas of which one account gains `lost_quote` of collateral that no other gives.
    @dev Insurance pays first, beyond its cap when nobody holds the market any more. The rest comes from the pot, and both sides owe
         it back: long index += x, short index −= x, x = ceil(rest x 1e12 / (2 x open interest − the account's lots)), so that the
         others pay it all; the account is given its own share in advance. x is at most the mark. A negative sum goes to the pot.
    @param market Market id.
    @param deltas All but the insurance's; the account's last, with `lost_quote` in it.
    @param account_id The account.
    @param holding Its position afterwards, with its market.
    @param lost_quote What it is given; negative = what rounding left it, taken.
    """
    if lost_quote <= 0:
        extcall IClearinghouse(CLEARINGHOUSE).apply_deltas(market, self._sorted(deltas), -lost_quote)
        return
    # each counterparty closed as many lots as the account
    own_lots: uint256 = convert(abs(holding.size_lots), uint256)
    interest_lots: uint256 = (staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market)) & M64
    last: uint256 = len(deltas) - 1
    interest_lots -= convert(abs(deltas[last].size_lots), uint256)
    quote: uint256 = convert(lost_quote, uint256)
    paid_quote: uint256 = self._draw(market, account_id, quote, interest_lots != 0)
    rest_quote: int256 = convert(quote - paid_quote, int256)
    step_e12: int256 = 0
    index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
    long_index: int256 = fixed_point._lane96(index, 0)
    short_index: int256 = fixed_point._lane96(index, 96)
    if rest_quote != 0 and interest_lots != 0:
        step_e12 = min(
            fixed_point._div_up(rest_quote * fixed_point.E12, convert(2 * interest_lots - own_lots, int256)),
            convert(holding.mark_ticks, int256) * fixed_point.E12,
        )
        if long_index + step_e12 >= INDEX_LIMIT or short_index - step_e12 <= -INDEX_LIMIT:
            step_e12 = 0
    own_quote: int256 = fixed_point._div_up(convert(own_lots, int256) * step_e12, fixed_point.E12)
    applied: DynArray[IClearinghouse.Delta, MAX_DELTAS] = deltas
    applied[last].collateral_quote += own_quote
    if paid_quote != 0:
        applied.append(self._delta(self._insurance_id(market), 0, 0, -convert(paid_quote, int256)))
    extcall IClearinghouse(CLEARINGHOUSE).apply_deltas(market, self._sorted(applied), -(rest_quote + own_quote))
    if rest_quote == 0:
        return
    if step_e12 != 0:
        moved: uint256 = (
            ((index >> 192) << 192)
            | ((fixed_point._as_word(short_index - step_e12) & M96) << 96)
            | (fixed_point._as_word(long_index + step_e12) & M96)
        )
        price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
        extcall IClearinghouse(CLEARINGHOUSE).move_market(market, price, moved)
    log ILiquidations.LossSpread(
        market=convert(market, uint8),
        account=account_id,
        quote=convert(rest_quote + own_quote, uint256),
        index_step_e12=convert(step_e12, uint256),
    )
