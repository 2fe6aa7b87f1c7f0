# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title MarketLens
@license AGPL-3.0-only
@notice Markets and the venue as a whole for people, pages and monitors; accounts: Lens. Holds nothing; every number follows
        from words of the Clearinghouse and records of its siblings.
@dev Prices are those stored; what a batch would see after its own price rows may differ.
@custom:security Nothing on chain reads from here.
@custom:invariants None of its own.
@custom:kill Deploy another.
"""

from interfaces import IClearinghouse
from interfaces import ICorporateActions
from interfaces import IMarketRegistry
from interfaces import IPriceOracle
from interfaces import IVault
from modules import account_risk
from modules import fixed_point
from modules import liquidation_terms
from modules import margin

MAX_MARKETS: constant(uint256) = 32
# candidates of one call
MAX_CANDIDATES: constant(uint256) = 64
# strictness of the sessions 0..8, a hexadecimal digit each (PriceOracle): 0x576321014
STRICTNESS: constant(uint256) = 23457828884

# what makes a session: the calendar, an override of the operator or the guardian, a report, a corporate action
BY_CALENDAR: constant(uint256) = 0
BY_OPERATOR: constant(uint256) = 1
BY_GUARDIAN: constant(uint256) = 2
BY_REPORT: constant(uint256) = 3
BY_CORPORATE_ACTION: constant(uint256) = 4

M8: constant(uint256) = 2**8 - 1
M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1
M80: constant(uint256) = 2**80 - 1
E8: constant(uint256) = 10**8


struct MarketSummary:
    epoch: uint256
    session: uint256
    mark_ticks: uint256
    index_ticks: uint256
    external_ticks: uint256
    external_time_s: uint256
    mark_time_s: uint256
    # until then, exclusively, session and price were stated
    stated_until_s: uint256
    is_fresh: bool
    is_opening_allowed: bool
    band_low_ticks: uint256
    band_high_ticks: uint256
    open_interest_lots: uint256
    open_interest_cap_lots: uint256
    # most one account may grow to
    account_cap_lots: uint256
    net_entry_quote: int256
    pot_quote: int256
    # 1e-12 quote per lot since listing
    long_index_e12: int256
    short_index_e12: int256
    funding_time_s: uint256
    # announced dividend per unit, by which shorts are valued higher
    reserve_ticks: uint256
    # the operator is the only price source of this market
    is_trusted_price: bool


struct Unit:
    symbol: String[16]
    # lot = 10^-k units
    lot_exponent: uint256
    # shares in one unit, an exact fraction
    multiplier_num: uint256
    multiplier_den: uint256
    # last external price of one share, 1e-8 USD, rounded down
    share_price_e8: uint256


struct SessionNow:
    # what a row of a batch would find, before new reports
    session: uint256
    # who says so: 0 calendar, 1 override of the operator, 2 of the guardian, 3 last report, 4 corporate action
    source: uint256
    calendar_session: uint256
    # window of the calendar, the end exclusive
    calendar_from_s: uint256
    calendar_until_s: uint256
    # halt of a corporate action announced or standing, 0 = none
    halt_from_s: uint256
    # as the last row found it; an order is judged by this until the next
    stored_session: uint256
    stated_until_s: uint256


struct Action:
    # 0 none, 1 SPLIT, 2 DIVIDEND, 3 CASH_SETTLEMENT, 4 STOCK_MERGER, 5 RENAME, 6 STEP
    kind: uint256
    # the market is halted from then on
    effective_s: uint256
    reserve_s: uint256
    # 0 = not yet
    activated_s: uint256
    # guardian or governor must confirm it before it counts
    is_waiting: bool
    # halts the market all the same until prices agree
    is_cancelled: bool
    terms: Terms


# as CorporateActions keeps them
struct Terms:
    digest: bytes32
    ex_date: uint256
    num: uint256
    den: uint256
    ticks: uint256
    source_id: uint256
    second_source_id: uint256
    symbol: String[16]


struct Adl:
    account_id: uint256
    market: uint256
    opened_at_s: uint256
    mark_ticks: uint256
    # bankruptcy price, at which nominees close
    price_ticks: uint256
    lots: uint256
    n_nominees: uint256
    is_done: bool


struct Rank:
    account_id: uint256
    # profit x notional over entry and equity in ppm at the mark; 0 = no profit, or not the opposite side
    score: uint256
    # 1 = closed first; 0 without a score
    place: uint256


interface IOracleViews:
    def window_at(time_s: uint256) -> (uint256, uint256, uint256): view
    def override_word(market: uint256) -> uint256: view
    def observation_words(market: uint256) -> (uint256, uint256): view


interface IActionViews:
    def state_words(market: uint256) -> uint256: view
    def terms(market: uint256) -> Terms: view


interface ILiquidationsViews:
    def adl_subjects(adl_id: uint256) -> uint256: view
    def adl_terms(adl_id: uint256) -> uint256: view
    def insurance_left_quote(market: uint256) -> uint256: view


struct Solvency:
    collateral_quote: int256
    net_entry_quote: int256
    pots_quote: int256
    fees_quote: uint256
    # collateral − net entry + pots + fees
    owed_quote: int256
    unpaid_claims_quote: uint256
    tracked_quote: uint256
    is_exact: bool
    # the part of the collateral that backs losses, by market from 1 on
    insurance_quote: DynArray[int256, MAX_MARKETS]


# whose words are read
CLEARINGHOUSE: public(immutable(address))
# whose books must match
VAULT: public(immutable(address))
# whose accounts are the insurance
LIQUIDATIONS: public(immutable(address))
# who knows sources and multipliers
ORACLE: public(immutable(address))
# who knows symbols and atoms
REGISTRY: public(immutable(address))
# who halts markets
CORPORATE_ACTIONS: public(immutable(address))


@deploy
def __init__(clearinghouse: address):
    """
    @notice Names what to look at: the Clearinghouse and what it names itself.
    @param clearinghouse The Clearinghouse.
    """
    CLEARINGHOUSE = clearinghouse
    VAULT = staticcall IClearinghouse(clearinghouse).VAULT()
    LIQUIDATIONS = staticcall IClearinghouse(clearinghouse).LIQUIDATIONS()
    ORACLE = staticcall IClearinghouse(clearinghouse).ORACLE()
    REGISTRY = staticcall IClearinghouse(clearinghouse).REGISTRY()
    CORPORATE_ACTIONS = staticcall IClearinghouse(clearinghouse).CORPORATE_ACTIONS()


@external
@view
def market_summary(market: uint256, at_s: uint256) -> MarketSummary:
    """
    @notice Shows a market.
    @param market 1..32.
    @param at_s Time of the batch to answer for.
    @return The summary; epoch 0 = not listed.
    """
    price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
    index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
    totals: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market)
    rules: uint256 = account_risk._rules(IClearinghouse(CLEARINGHOUSE), market, (price >> 200) & 255, at_s)[0]
    external_ticks: uint256 = (price >> 80) & M40
    external_time_s: uint256 = (price >> 120) & M40
    band_ticks: uint256 = external_ticks * ((rules >> 60) & M20) // 1_000_000
    cap_lots: uint256 = (rules >> 112) & M40
    share: uint256 = (rules >> 152) & M16
    account_cap_lots: uint256 = cap_lots
    if share != 0:
        account_cap_lots = (cap_lots * share) >> 16
    return MarketSummary(
        epoch=(price >> 208) & M32,
        session=(price >> 200) & 255,
        mark_ticks=price & M40,
        index_ticks=(price >> 40) & M40,
        external_ticks=external_ticks,
        external_time_s=external_time_s,
        mark_time_s=(price >> 160) & M40,
        stated_until_s=external_time_s + 60 * (price >> 240),
        is_fresh=margin._is_fresh(price, rules, at_s),
        is_opening_allowed=(rules >> 168) & 1 == 1,
        band_low_ticks=external_ticks - band_ticks,
        band_high_ticks=external_ticks + band_ticks,
        open_interest_lots=totals & M64,
        open_interest_cap_lots=cap_lots,
        account_cap_lots=account_cap_lots,
        net_entry_quote=fixed_point._lane96(totals, 64),
        pot_quote=fixed_point._lane96(totals, 160),
        long_index_e12=fixed_point._lane96(index, 0),
        short_index_e12=fixed_point._lane96(index, 96),
        funding_time_s=(index >> 192) & M40,
        reserve_ticks=index >> 232,
        is_trusted_price=staticcall IPriceOracle(ORACLE).is_trusted(market),
    )


@external
@view
def unit_summary(market: uint256) -> Unit:
    """
    @notice Shows what a size and a price of a market mean in shares.
    @param market A listed market; an empty symbol = not listed.
    @return Symbol, atoms, shares per unit and the price of a share.
    """
    unit: Unit = empty(Unit)
    unit.symbol = staticcall IMarketRegistry(REGISTRY).symbols(market)
    if len(unit.symbol) == 0:
        return unit
    unit.lot_exponent = staticcall IMarketRegistry(REGISTRY).lot_exponents(market)
    unit.multiplier_num, unit.multiplier_den = staticcall IPriceOracle(ORACLE).multiplier(market)
    external_ticks: uint256 = ((staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)) >> 80) & M40
    # < 2^32 x 2^64 x 1e8; a tick is 10^(k-6) USD a unit
    unit.share_price_e8 = (
        external_ticks * E8 * unit.multiplier_den // (unit.multiplier_num * 10 ** (6 - unit.lot_exponent))
    )
    return unit


@external
@view
def session_now(market: uint256, at_s: uint256) -> SessionNow:
    """
    @notice Shows the session of a market and who says so.
    @param market 1..32.
    @param at_s Time of the batch to answer for, not before the calendar's window of the last one.
    @return The strictest session of all that have one to name.
    """
    found: SessionNow = empty(SessionNow)
    found.calendar_session, found.calendar_from_s, found.calendar_until_s = (
        staticcall IOracleViews(ORACLE).window_at(at_s)
    )
    found.session = found.calendar_session
    word: uint256 = staticcall IOracleViews(ORACLE).override_word(market)
    for source: uint256 in range(BY_OPERATOR, BY_GUARDIAN + 1):
        if at_s >= (word >> 48) & M40 and at_s <= (word >> 8) & M40:
            if self._strictness(word & M8) > self._strictness(found.session):
                found.session = word & M8
                found.source = source
        word >>= 88
    found.halt_from_s = staticcall ICorporateActions(CORPORATE_ACTIONS).halt_from(market)
    if found.halt_from_s != 0 and at_s >= found.halt_from_s:
        found.session = 7
        found.source = BY_CORPORATE_ACTION
    observation: uint256 = (staticcall IOracleViews(ORACLE).observation_words(market))[0]
    reported: uint256 = (observation >> 120) & M8
    if reported != 0 and self._strictness(reported - 1) > self._strictness(found.session):
        found.session = reported - 1
        found.source = BY_REPORT
    price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
    found.stored_session = (price >> 200) & M8
    found.stated_until_s = ((price >> 120) & M40) + 60 * (price >> 240)
    return found


@external
@view
def corporate_action(market: uint256) -> Action:
    """
    @notice Shows what is announced or stands for a market.
    @param market 1..32.
    @return Kind 0 = nothing.
    """
    state: uint256 = staticcall IActionViews(CORPORATE_ACTIONS).state_words(market)
    if state == 0:
        return empty(Action)
    return Action(
        kind=(state >> 120) & M8,
        effective_s=state & M40,
        reserve_s=(state >> 40) & M40,
        activated_s=(state >> 80) & M40,
        is_waiting=(state >> 128) & 1 == 1,
        is_cancelled=(state >> 129) & 1 == 1,
        terms=staticcall IActionViews(CORPORATE_ACTIONS).terms(market),
    )


@external
@view
def adl(adl_id: uint256) -> Adl:
    """
    @notice Shows an auto-deleveraging.
    @param adl_id Counted from 1.
    @return What was recorded when it was opened; account 0 = none.
    """
    subject: uint256 = staticcall ILiquidationsViews(LIQUIDATIONS).adl_subjects(adl_id)
    terms: uint256 = staticcall ILiquidationsViews(LIQUIDATIONS).adl_terms(adl_id)
    return Adl(
        account_id=subject >> 16,
        market=subject & M16,
        opened_at_s=(terms >> 40) & M40,
        mark_ticks=(terms >> 80) & M40,
        price_ticks=terms & M40,
        lots=(terms >> 120) & M64,
        n_nominees=(terms >> 184) & M8,
        is_done=(terms >> 200) & 1 == 1,
    )


@external
@view
def adl_ranks(
    market: uint256, is_long: bool, account_ids: DynArray[uint256, MAX_CANDIDATES], at_s: uint256
) -> DynArray[Rank, MAX_CANDIDATES]:
    """
    @notice Ranks accounts as an auto-deleveraging opened at the present mark would.
    @param market 1..32.
    @param is_long Side that would be closed: true when a short went bankrupt.
    @param account_ids Candidates; who is not named here has no rank.
    @param at_s Time to answer for.
    @return A rank each, in the order given; equal scores in that order.
    """
    ranks: DynArray[Rank, MAX_CANDIDATES] = []
    for account_id: uint256 in account_ids:
        word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
        holdings: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = account_risk._holdings(
            IClearinghouse(CLEARINGHOUSE), account_id, word, at_s
        )
        score: uint256 = 0
        for holding: account_risk.Holding in holdings:
            if holding.market == market and (holding.size_lots > 0) == is_long:
                risk: account_risk.Risk = account_risk._risk(
                    account_risk._collateral_quote(word), holdings, account_risk.AT_MARK
                )
                score = liquidation_terms._score(holding, risk.equity_quote)
        ranks.append(Rank(account_id=account_id, score=score, place=0))
    for i: uint256 in range(len(ranks), bound=MAX_CANDIDATES):
        if ranks[i].score == 0:
            continue
        place: uint256 = 1
        for j: uint256 in range(len(ranks), bound=MAX_CANDIDATES):
            if ranks[j].score > ranks[i].score or (ranks[j].score == ranks[i].score and j < i):
                place += 1
        ranks[i].place = place
    return ranks


@external
@view
def insurance_quote(market: uint256) -> (int256, uint256):
    """
    @notice Shows what stands behind the losses of a market.
    @param market 1..32.
    @return Quote in the account of Liquidations whose subaccount is the market, and how much of it may still be drawn today.
    """
    return self._insurance_quote(market), staticcall ILiquidationsViews(LIQUIDATIONS).insurance_left_quote(market)


@external
@view
def solvency() -> Solvency:
    """
    @notice Shows both sides of the solvency identity.
    @return Sums of the Clearinghouse and what the Vault answers for; exact after every transaction.
    """
    batch: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).batch_word()
    sums: Solvency = empty(Solvency)
    sums.collateral_quote = fixed_point._lane96(batch, 160)
    sums.fees_quote = (batch >> 80) & M80
    for market: uint256 in range(1, MAX_MARKETS + 1):
        totals: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market)
        sums.net_entry_quote += fixed_point._lane96(totals, 64)
        sums.pots_quote += fixed_point._lane96(totals, 160)
        sums.insurance_quote.append(self._insurance_quote(market))
    sums.owed_quote = (
        sums.collateral_quote - sums.net_entry_quote + sums.pots_quote + convert(sums.fees_quote, int256)
    )
    sums.unpaid_claims_quote = staticcall IVault(VAULT).total_claims_quote()
    sums.tracked_quote = staticcall IVault(VAULT).tracked_quote()
    sums.is_exact = (
        sums.owed_quote + convert(sums.unpaid_claims_quote, int256) == convert(sums.tracked_quote, int256)
    )
    return sums


@internal
@view
def _insurance_quote(market: uint256) -> int256:
    """
    @notice Reads the insurance of a market.
    @param market 1..32.
    @return Collateral of its account.
    """
    account_id: uint256 = (convert(LIQUIDATIONS, uint256) << 80) | market
    return account_risk._collateral_quote(staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id))


@internal
@pure
def _strictness(session: uint256) -> uint256:
    """
    @notice Orders sessions as PriceOracle does.
    @param session 0..8.
    @return 0 for REGULAR up to 7 for CORPORATE_ACTION.
    """
    return (STRICTNESS >> (4 * session)) & 15
