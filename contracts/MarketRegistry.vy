# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title MarketRegistry
@license Apache-2.0
@notice Lists markets and sets their rules. Everything is validated here once and then pushed to where it is used, so a batch
        reads one word per market and session and trusts it.
@custom:security Only the governor; a timelock in production.
@custom:invariants Every rules word in the Clearinghouse passed `_validate_rules`; a listed market has rules in all sessions.
@custom:kill Rules with openings off make a market reduce-only.
"""

from interfaces import IClearinghouse
from interfaces import IPriceOracle
from modules import errors
from modules import governed

initializes: governed
exports: (governed.governor, governed.pending_governor, governed.propose_governor, governed.accept_governor)

MAX_MARKETS: constant(uint256) = 32
# sessions 0..8
N_SESSIONS: constant(uint256) = 9
# lot = 10^-k units, tick = 10^(k-6) USD per unit: lot x tick is 1e-6 USD in every market
MAX_LOT_EXPONENT: constant(uint256) = 6
MILLION: constant(uint256) = 1_000_000

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
# contracts/README.md, "Why the lanes suffice"
MAX_OPEN_INTEREST_LOTS: constant(uint256) = 2**40 - 1
# 20 steps, the most one batch takes, then never exceed the mark itself
MAX_MARK_STEP_PPM: constant(uint256) = 50_000


event MarketListed:
    market: indexed(uint8)
    symbol: String[16]
    lot_exponent: uint8
    ticks_per_usd: uint256
    source_id: uint8
    max_confidence_ppm: uint256


struct SessionRules:
    # 0..8, contracts/README.md
    session: uint256
    # rules word
    rules: uint256


CLEARINGHOUSE: public(immutable(address))
ORACLE: public(immutable(address))

# symbol by market, empty = not listed; written by list_market
symbols: public(HashMap[uint256, String[16]])
# k by market: lot = 10^-k units; written by list_market, never changed
lot_exponents: public(HashMap[uint256, uint256])


@deploy
def __init__(governor: address, clearinghouse: address, oracle: address):
    """
    @notice Wires the registry.
    @param governor Who lists and sets rules.
    @param clearinghouse Address the Clearinghouse will have.
    @param oracle Address of the PriceOracle.
    """
    assert clearinghouse != empty(address) and oracle != empty(address), errors.NO_ADDRESS
    governed.__init__(governor)
    CLEARINGHOUSE = clearinghouse
    ORACLE = oracle


@external
def list_market(
    market: uint256,
    symbol: String[16],
    lot_exponent: uint256,
    source_id: uint256,
    max_confidence_ppm: uint256,
    rules: DynArray[uint256, N_SESSIONS],
):
    """
    @notice Opens a market at epoch 1 with multiplier 1/1.
    @param market 1..32, not yet listed.
    @param symbol Ticker, not empty.
    @param lot_exponent k, 0..6: lot = 10^-k units, ticks per USD = 10^(6-k).
    @param source_id Price source known to the PriceOracle.
    @param max_confidence_ppm Largest accepted confidence of a report as a share of its price, 1..1e6.
    @param rules Rules words of sessions 0 to 8, in this order.
    """
    governed._check_governor()
    assert market > 0 and market <= MAX_MARKETS, errors.MARKET_OUT_OF_RANGE
    assert len(symbol) > 0, errors.MARKET_SYMBOL
    assert len(self.symbols[market]) == 0, errors.MARKET_LISTED
    assert lot_exponent <= MAX_LOT_EXPONENT, errors.MARKET_LOT
    assert max_confidence_ppm > 0 and max_confidence_ppm <= MILLION, errors.MARKET_CONFIDENCE
    assert len(rules) == N_SESSIONS, errors.RULES_COUNT
    ticks_per_usd: uint256 = 10 ** (MAX_LOT_EXPONENT - lot_exponent)
    self.symbols[market] = symbol
    self.lot_exponents[market] = lot_exponent
    log MarketListed(
        market=convert(market, uint8),
        symbol=symbol,
        lot_exponent=convert(lot_exponent, uint8),
        ticks_per_usd=ticks_per_usd,
        source_id=convert(source_id, uint8),
        max_confidence_ppm=max_confidence_ppm,
    )
    extcall IPriceOracle(ORACLE).set_market(market, source_id, ticks_per_usd, max_confidence_ppm, 1, 1)
    extcall IClearinghouse(CLEARINGHOUSE).list_market(market)
    for session: uint256 in range(N_SESSIONS):
        self._validate_rules(rules[session])
        extcall IClearinghouse(CLEARINGHOUSE).set_market_rules(market, session, rules[session])


@external
def set_rules(market: uint256, session_rules: DynArray[SessionRules, N_SESSIONS]):
    """
    @notice Replaces the rules of some sessions of a market.
    @param market A listed market.
    @param session_rules Session and rules word, at least one.
    """
    governed._check_governor()
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    assert len(session_rules) > 0, errors.RULES_COUNT
    for entry: SessionRules in session_rules:
        assert entry.session < N_SESSIONS, errors.RULES_SESSION
        self._validate_rules(entry.rules)
        extcall IClearinghouse(CLEARINGHOUSE).set_market_rules(market, entry.session, entry.rules)


@external
def set_sequencer(sequencer: address):
    """
    @notice Replaces the address that may settle.
    @param sequencer Not zero.
    """
    governed._check_governor()
    extcall IClearinghouse(CLEARINGHOUSE).set_sequencer(sequencer)


@external
@view
def check_rules(rules: uint256):
    """
    @notice Reverts if a rules word would be refused, with the reason.
    @param rules Rules word.
    """
    self._validate_rules(rules)


@internal
@pure
def _validate_rules(rules: uint256):
    """
    @notice Reverts unless a rules word keeps what the Clearinghouse builds on.
    @dev 0 < maintenance <= settlement, settlement + 2 mark steps <= initial <= 100 %: an honest fill survives a moving mark.
         band < 100 %: prices stay positive. Cap < 2^40 lots: the width proof. Steps positive: no division by zero.
    @param rules Rules word, laid out in contracts/README.md.
    """
    initial_margin_ppm: uint256 = rules & M20
    settlement_margin_ppm: uint256 = (rules >> 20) & M20
    maintenance_margin_ppm: uint256 = (rules >> 40) & M20
    mark_step_ppm: uint256 = (rules >> 80) & M16
    assert maintenance_margin_ppm > 0, errors.RULES_MARGIN_ORDER
    assert maintenance_margin_ppm <= settlement_margin_ppm, errors.RULES_MARGIN_ORDER
    assert initial_margin_ppm <= MILLION, errors.RULES_MARGIN_ORDER
    assert settlement_margin_ppm + 2 * mark_step_ppm <= initial_margin_ppm, errors.RULES_MARGIN_GAP
    assert (rules >> 60) & M20 < MILLION, errors.RULES_BAND
    assert mark_step_ppm <= MAX_MARK_STEP_PPM, errors.RULES_MARK_STEP
    assert (rules >> 112) & (2**56 - 1) <= MAX_OPEN_INTEREST_LOTS, errors.RULES_CAP
    assert (rules >> 168) & 255 <= 3, errors.RULES_FLAGS
    assert (rules >> 176) & M16 > 0 and (rules >> 192) & M16 > 0, errors.RULES_STEPS
