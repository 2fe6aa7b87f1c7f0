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
from interfaces import IMarketRegistry
from interfaces import IPriceOracle
from interfaces import IVault
from modules import account_risk
from modules import fixed_point
from modules import margin

MAX_MARKETS: constant(uint256) = 32

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
def insurance_quote(market: uint256) -> int256:
    """
    @notice Shows what stands behind the losses of a market.
    @param market 1..32.
    @return Quote in the account of Liquidations whose subaccount is the market.
    """
    return self._insurance_quote(market)


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
