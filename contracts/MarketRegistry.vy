# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title MarketRegistry
@license AGPL-3.0-only
@notice Lists markets, sets their rules, replaces the sequencer. Everything is validated here once and then pushed to where it is
        used, so a batch reads one word per market and session and trusts it.
@custom:security The governor (the Timelock) decides; the guardian may only tighten, without waiting, and never so far that
                 somebody could not close a position or becomes liquidatable by it; the sequencer may only step aside.
@custom:invariants Every rules word in the Clearinghouse passed `_validate_rules`; a listed market has rules in all sessions.
                   The sequencer is the first one or was approved by the governor.
@custom:kill halt_market makes a market reduce-only.
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
# what the guardian leaves at least. Inside no band nobody could close; a mark that stands still hides gains that hold losses of
# another market; a price that is never fresh lets nobody withdraw; a cap is also the largest order, and its steps stay few
MIN_GUARDIAN_BAND_PPM: constant(uint256) = 10_000
MIN_GUARDIAN_MARK_STEP_PPM: constant(uint256) = 1_000
MIN_GUARDIAN_AGE_S: constant(uint256) = 30
MIN_GUARDIAN_CAP_STEPS: constant(uint256) = 1_000
# flag "openings allowed" of a rules word
OPENINGS: constant(uint256) = 1 << 168


event MarketListed:
    market: indexed(uint8)
    symbol: String[16]
    lot_exponent: uint8
    ticks_per_usd: uint256
    source_id: uint8
    max_confidence_ppm: uint256


event GuardianSet:
    guardian: indexed(address)


event SequencerApproved:
    sequencer: indexed(address)


event SequencerRevoked:
    sequencer: indexed(address)


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
# who may tighten and rotate without waiting, zero = nobody; written by set_guardian
guardian: public(address)
# who may become sequencer; written by approve_sequencer and revoke_sequencer
is_standby: public(HashMap[address, bool])
# rules words set last, by market << 8 | session: in force, or about to be within SETTLE_LAG; written with the Clearinghouse's
latest_rules: public(HashMap[uint256, uint256])


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
        self._set_rules(market, session, rules[session])


@external
def set_rules(market: uint256, session_rules: DynArray[SessionRules, N_SESSIONS]):
    """
    @notice Replaces the rules of some sessions of a market. They bind batches matched more than SETTLE_LAG later.
    @param market A listed market.
    @param session_rules Session and rules word, at least one.
    """
    governed._check_governor()
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    assert len(session_rules) > 0, errors.RULES_COUNT
    for entry: SessionRules in session_rules:
        assert entry.session < N_SESSIONS, errors.RULES_SESSION
        self._set_rules(market, entry.session, entry.rules)


@external
def set_guardian(guardian: address):
    """
    @notice Names who may tighten rules, halt markets and rotate the sequencer without waiting.
    @param guardian Not zero; whoever held the role loses it.
    """
    governed._check_governor()
    assert guardian != empty(address), errors.NO_ADDRESS
    self.guardian = guardian
    log GuardianSet(guardian=guardian)


@external
def approve_sequencer(sequencer: address):
    """
    @notice Makes an address a standby, which may be rotated to from then on.
    @param sequencer Not zero.
    """
    governed._check_governor()
    assert sequencer != empty(address), errors.NO_ADDRESS
    self.is_standby[sequencer] = True
    log SequencerApproved(sequencer=sequencer)


@external
def revoke_sequencer(sequencer: address):
    """
    @notice Takes an address off the standbys. Governor or guardian. The sequencer that settles now goes on.
    @param sequencer The address.
    """
    assert msg.sender == self.guardian or msg.sender == governed.governor, errors.NOT_GUARDIAN
    self.is_standby[sequencer] = False
    log SequencerRevoked(sequencer=sequencer)


@external
def rotate_sequencer(sequencer: address):
    """
    @notice Lets a standby settle from now on, and nobody else. Guardian, governor or the sequencer that settles now.
    @dev Both stay standbys if they were: a healthy machine may be rotated back to, a stolen key is revoked besides.
    @param sequencer A standby.
    """
    current: address = convert(staticcall IClearinghouse(CLEARINGHOUSE).operator_word() & (2**160 - 1), address)
    assert (
        msg.sender == self.guardian or msg.sender == current or msg.sender == governed.governor
    ), errors.NOT_ROTATOR
    assert self.is_standby[sequencer], errors.NOT_STANDBY
    extcall IClearinghouse(CLEARINGHOUSE).set_sequencer(sequencer)


@external
def tighten_rules(market: uint256, session: uint256, rules: uint256):
    """
    @notice Makes the rules of a market in one session stricter. Only the guardian.
    @param market A listed market.
    @param session 0..8.
    @param rules Rules word, at least as strict in every field as the one set last.
    """
    assert msg.sender == self.guardian, errors.NOT_GUARDIAN
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    assert session < N_SESSIONS, errors.RULES_SESSION
    open_interest_lots: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market) & (2**64 - 1)
    self._check_tighter(self.latest_rules[(market << 8) | session], rules, open_interest_lots)
    self._set_rules(market, session, rules)


@external
def halt_market(market: uint256):
    """
    @notice Switches openings off in every session of a market: it becomes reduce-only. Only the guardian.
    @dev All sessions or none: one that changed less than 2 x SETTLE_LAG ago makes the call revert, the others can be tightened
         one by one meanwhile.
    @param market A listed market.
    """
    assert msg.sender == self.guardian, errors.NOT_GUARDIAN
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    for session: uint256 in range(N_SESSIONS):
        rules: uint256 = self.latest_rules[(market << 8) | session]
        if rules & OPENINGS != 0:
            self._set_rules(market, session, rules ^ OPENINGS)


@external
@view
def check_rules(rules: uint256):
    """
    @notice Reverts if a rules word would be refused, with the reason.
    @param rules Rules word.
    """
    self._validate_rules(rules)


@internal
def _set_rules(market: uint256, session: uint256, rules: uint256):
    """
    @notice Validates rules, keeps them and hands them to the Clearinghouse.
    @param market A listed market.
    @param session 0..8.
    @param rules Rules word.
    """
    self._validate_rules(rules)
    self.latest_rules[(market << 8) | session] = rules
    extcall IClearinghouse(CLEARINGHOUSE).set_market_rules(market, session, rules)


@internal
@pure
def _check_tighter(old: uint256, new: uint256, open_interest_lots: uint256):
    """
    @notice Reverts unless a rules word is at least as strict as another in every field.
    @dev Maintenance margin, steps and fee stay as they are: a guardian limits new risk, liquidates nobody and stops no order that
         reduces. What is switched off by openings needs no limit near zero besides, which would keep people in.
    @param old Rules word set last.
    @param new Rules word that may follow.
    @param open_interest_lots Open interest of the market now.
    """
    # initial and settlement margin not lower; maintenance margin, steps, minimum notional and fee the same
    assert new & M20 >= old & M20, errors.RULES_LOOSER
    assert (new >> 20) & M20 >= (old >> 20) & M20, errors.RULES_LOOSER
    assert (new >> 40) & M20 == (old >> 40) & M20, errors.RULES_LOOSER
    assert new >> 176 == old >> 176, errors.RULES_LOOSER
    # band, mark step, age and cap not higher; an age of 0 is no limit
    band_ppm: uint256 = (new >> 60) & M20
    assert band_ppm <= (old >> 60) & M20, errors.RULES_LOOSER
    mark_step_ppm: uint256 = (new >> 80) & M16
    assert mark_step_ppm <= (old >> 80) & M16, errors.RULES_LOOSER
    max_age_s: uint256 = (new >> 96) & M16
    old_max_age_s: uint256 = (old >> 96) & M16
    assert old_max_age_s == 0 or (max_age_s > 0 and max_age_s <= old_max_age_s), errors.RULES_LOOSER
    cap_lots: uint256 = (new >> 112) & (2**56 - 1)
    old_cap_lots: uint256 = (old >> 112) & (2**56 - 1)
    assert cap_lots <= old_cap_lots, errors.RULES_LOOSER
    # flags may only be switched off
    assert new & ~old & (255 << 168) == 0, errors.RULES_LOOSER
    # whoever is in must be able to get out
    assert band_ppm == (old >> 60) & M20 or band_ppm >= MIN_GUARDIAN_BAND_PPM, errors.RULES_BAND
    assert mark_step_ppm == (old >> 80) & M16 or mark_step_ppm >= MIN_GUARDIAN_MARK_STEP_PPM, errors.RULES_MARK_STEP
    assert max_age_s == old_max_age_s or max_age_s >= MIN_GUARDIAN_AGE_S, errors.RULES_AGE
    # positions may still be opened until the cap binds: it is no smaller than what closes them in a few orders
    assert cap_lots == old_cap_lots or cap_lots >= max(
        open_interest_lots, ((new >> 176) & M16) * MIN_GUARDIAN_CAP_STEPS
    ), errors.RULES_CAP


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
