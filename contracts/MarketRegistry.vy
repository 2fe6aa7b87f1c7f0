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
@custom:invariants Every rules word in the Clearinghouse passed `_validate_rules` with the tiers beside it; a listed market has
                   rules in all sessions. While a market's prices have one source alone, its open interest is capped at the
                   reference price. The sequencer is the first one or was approved by the governor.
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
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
# parts of the Clearinghouse's rules map, as market offsets of rules_word; a tier word stands beside the word it belongs to
SUCCESSOR: constant(uint256) = 256
BINDS_AFTER: constant(uint256) = 512
TIERS: constant(uint256) = 1024
SETTLE_LAG_S: constant(uint256) = 300
# external prices stay below (PriceOracle)
MAX_REFERENCE_TICKS: constant(uint256) = 2**32 - 1
# quote at stake in one market at its reference price: whatever sums over a few markets fits 64 bits
MAX_OPEN_INTEREST_QUOTE: constant(uint256) = 2**62 - 1
# the same for a market whose price is the operator's word alone: 2,000,000 USDC
MAX_TRUSTED_QUOTE: constant(uint256) = 2_000_000 * 10**6
# of a tier word: edge u48 in whole USDC and add_ppm u20, three times
N_TIERS: constant(uint256) = 3
TIER_BITS: constant(uint256) = 68
# 20 steps, the most one batch takes, then never exceed the mark itself
MAX_MARK_STEP_PPM: constant(uint256) = 50_000
# what the guardian leaves at least. Inside no band nobody could close; a mark that stands still hides gains that hold losses of
# another market; a price that is never fresh lets nobody withdraw; a cap is also the largest order, and its steps stay few
MIN_GUARDIAN_BAND_PPM: constant(uint256) = 10_000
MIN_GUARDIAN_MARK_STEP_PPM: constant(uint256) = 1_000
MIN_GUARDIAN_AGE_S: constant(uint256) = 30
MIN_GUARDIAN_CAP_STEPS: constant(uint256) = 1_000
# flags of a rules word: "openings allowed"; "changing" and "tiered" are set here, never by who proposes the word
OPENINGS: constant(uint256) = 1 << 168
CHANGING: constant(uint256) = 1 << 170
TIERED: constant(uint256) = 1 << 171


event MarketListed:
    market: indexed(uint8)
    symbol: String[16]
    lot_exponent: uint8
    ticks_per_usd: uint256
    source_id: uint8
    max_confidence_ppm: uint256


event MarketRenamed:
    market: indexed(uint8)
    symbol: String[16]


event ReferenceSet:
    market: indexed(uint8)
    reference_ticks: uint256


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

# symbol by market, empty = not listed; written by list_market and set_symbol
symbols: public(HashMap[uint256, String[16]])
# k by market: lot = 10^-k units; written by list_market, never changed
lot_exponents: public(HashMap[uint256, uint256])
# who may tighten and rotate without waiting, zero = nobody; written by set_guardian
guardian: public(address)
# who may become sequencer; written by approve_sequencer and revoke_sequencer
is_standby: public(HashMap[address, bool])
# rules words set last, by market << 8 | session: in force, or about to be within SETTLE_LAG; written with the Clearinghouse's
latest_rules: public(HashMap[uint256, uint256])
# price at which caps are held against quote, by market; written by list_market and set_reference
reference_ticks: public(HashMap[uint256, uint256])
# tier word set last, by market, 0 = none; written by list_market and set_tiers
latest_tiers: public(HashMap[uint256, uint256])


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
    reference_ticks: uint256,
    tiers: uint256,
    rules: DynArray[uint256, N_SESSIONS],
):
    """
    @notice Opens a market at epoch 1 with multiplier 1/1.
    @param market 1..32, not yet listed.
    @param symbol Ticker, not empty.
    @param lot_exponent k, 0..6: lot = 10^-k units, ticks per USD = 10^(6-k).
    @param source_id Price source known to the PriceOracle.
    @param max_confidence_ppm Largest accepted confidence of a report as a share of its price, 1..1e6.
    @param reference_ticks Price now, roughly: caps are held against quote at it. Ticks per unit, 1..2^32 - 1.
    @param tiers Tier word, 0 = none.
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
    self._set_reference(market, reference_ticks)
    self._check_tiers(tiers)
    self.latest_tiers[market] = tiers
    for session: uint256 in range(N_SESSIONS):
        self._set_rules(market, session, rules[session], 0)


@external
def set_tiers(market: uint256, tiers: uint256):
    """
    @notice Replaces the margin tiers of a market in every session. They bind batches matched more than SETTLE_LAG later.
    @dev Governor alone: an add raises maintenance margin, and what liquidates is not the guardian's (D-013).
    @param market A listed market.
    @param tiers Three times edge u48 in whole USDC and add_ppm u20 from bit 0, edges ascending; 0 = none.
    """
    governed._check_governor()
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    self._check_tiers(tiers)
    old_tiers: uint256 = self.latest_tiers[market]
    self.latest_tiers[market] = tiers
    for session: uint256 in range(N_SESSIONS):
        self._set_rules(market, session, self.latest_rules[(market << 8) | session], old_tiers)


@external
def set_reference(market: uint256, reference_ticks: uint256):
    """
    @notice Replaces the price at which the caps of a market are held against quote.
    @dev Refused while a cap would be too high at it: the rules come first then.
    @param market A listed market.
    @param reference_ticks Price now, roughly, 1..2^32 - 1 ticks.
    """
    governed._check_governor()
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    self._set_reference(market, reference_ticks)
    self._check_caps(market)


@external
def set_symbol(market: uint256, symbol: String[16]):
    """
    @notice Renames a market. Only CorporateActions, which announced it.
    @param market A listed market.
    @param symbol New ticker, not empty.
    """
    assert (
        msg.sender == staticcall IClearinghouse(CLEARINGHOUSE).CORPORATE_ACTIONS()
    ), errors.NOT_CORPORATE_ACTIONS
    assert len(self.symbols[market]) > 0, errors.MARKET_NOT_LISTED
    assert len(symbol) > 0, errors.MARKET_SYMBOL
    self.symbols[market] = symbol
    log MarketRenamed(market=convert(market, uint8), symbol=symbol)


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
        self._set_rules(market, entry.session, entry.rules, self.latest_tiers[market])


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
    self._set_rules(market, session, rules, self.latest_tiers[market])


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
            self._set_rules(market, session, rules ^ OPENINGS, self.latest_tiers[market])


@external
@view
def check_rules(rules: uint256, tiers: uint256):
    """
    @notice Reverts if rules would be refused whatever the market, with the reason.
    @param rules Rules word.
    @param tiers Tier word, 0 = none.
    """
    self._check_tiers(tiers)
    self._validate_rules(rules, tiers)


@external
@view
def check_caps(market: uint256) -> bool:
    """
    @notice Reverts if a cap of a market is too high for what its price is worth. Before a source is taken away, for one.
    @param market A listed market.
    @return True: another contract's view must return something to be called.
    """
    self._check_caps(market)
    return True


@internal
def _set_rules(market: uint256, session: uint256, new_rules: uint256, old_tiers: uint256):
    """
    @notice Validates rules, keeps them and hands them to the Clearinghouse, the tiers beside them.
    @dev The word before stays beside its successor, which batches matched later than now + SETTLE_LAG use. Until as long after
         that again a batch may come that the word before binds, and a third word finds no place.
    @param market A listed market.
    @param session 0..8.
    @param new_rules Rules word; the flag of tiers follows from the market.
    @param old_tiers Tier word of the rules before.
    """
    tiers: uint256 = self.latest_tiers[market]
    rules: uint256 = new_rules & ~TIERED
    self._validate_rules(rules, tiers)
    if tiers != 0:
        rules |= TIERED
    self._check_cap(market, rules)
    key: uint256 = (market << 8) | session
    old_rules: uint256 = self.latest_rules[key]
    self.latest_rules[key] = rules
    if old_rules == 0:
        self._set_tier_word(market + TIERS, session, tiers)
        extcall IClearinghouse(CLEARINGHOUSE).set_rules_word(market, session, rules, 0, 0)
        return
    binds_after_s: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market + BINDS_AFTER, session)
    assert binds_after_s == 0 or block.timestamp > binds_after_s + SETTLE_LAG_S, errors.RULES_PENDING
    self._set_tier_word(market + TIERS, session, old_tiers)
    self._set_tier_word(market + TIERS + SUCCESSOR, session, tiers)
    extcall IClearinghouse(CLEARINGHOUSE).set_rules_word(
        market, session, old_rules | CHANGING, rules, block.timestamp + SETTLE_LAG_S
    )


@internal
def _set_tier_word(place: uint256, session: uint256, tiers: uint256):
    """
    @notice Writes a tier word where it differs: each write is a direct operation that everybody must read.
    @param place Market with the offset of what is written.
    @param session 0..8.
    @param tiers Tier word.
    """
    if staticcall IClearinghouse(CLEARINGHOUSE).rules_word(place, session) != tiers:
        extcall IClearinghouse(CLEARINGHOUSE).set_rules_word(place, session, tiers, 0, 0)


@internal
def _set_reference(market: uint256, reference_ticks: uint256):
    """
    @notice Keeps a reference price.
    @param market A listed market.
    @param reference_ticks Ticks, 1..2^32 - 1.
    """
    assert reference_ticks > 0 and reference_ticks <= MAX_REFERENCE_TICKS, errors.MARKET_REFERENCE
    self.reference_ticks[market] = reference_ticks
    log ReferenceSet(market=convert(market, uint8), reference_ticks=reference_ticks)


@internal
@view
def _check_caps(market: uint256):
    """
    @notice Reverts unless the caps of every session fit the reference price.
    @param market A listed market.
    """
    for session: uint256 in range(N_SESSIONS):
        self._check_cap(market, self.latest_rules[(market << 8) | session])


@internal
@view
def _check_cap(market: uint256, rules: uint256):
    """
    @notice Reverts unless the open-interest cap of a rules word fits the reference price.
    @dev One lot x one tick is one quote unit. cap < 2^40, reference < 2^32: the product does not overflow.
    @param market A listed market.
    @param rules Rules word.
    """
    cap_quote: uint256 = ((rules >> 112) & M40) * self.reference_ticks[market]
    assert cap_quote <= MAX_OPEN_INTEREST_QUOTE, errors.RULES_CAP
    if cap_quote > MAX_TRUSTED_QUOTE:
        assert not staticcall IPriceOracle(ORACLE).is_trusted(market), errors.RULES_TRUSTED_CAP


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
    # band, mark step, age, cap and an account's share of it not higher; an age of 0 is no limit, a share of 0 the whole cap
    band_ppm: uint256 = (new >> 60) & M20
    assert band_ppm <= (old >> 60) & M20, errors.RULES_LOOSER
    mark_step_ppm: uint256 = (new >> 80) & M16
    assert mark_step_ppm <= (old >> 80) & M16, errors.RULES_LOOSER
    max_age_s: uint256 = (new >> 96) & M16
    old_max_age_s: uint256 = (old >> 96) & M16
    assert old_max_age_s == 0 or (max_age_s > 0 and max_age_s <= old_max_age_s), errors.RULES_LOOSER
    cap_lots: uint256 = (new >> 112) & M40
    old_cap_lots: uint256 = (old >> 112) & M40
    assert cap_lots <= old_cap_lots, errors.RULES_LOOSER
    share: uint256 = (new >> 152) & M16
    old_share: uint256 = (old >> 152) & M16
    assert old_share == 0 or (share > 0 and share <= old_share), errors.RULES_LOOSER
    # flags may only be switched off; tiers follow from the market, not from this word
    assert new & ~old & (255 << 168) & ~TIERED == 0, errors.RULES_LOOSER
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
def _validate_rules(rules: uint256, tiers: uint256):
    """
    @notice Reverts unless a rules word keeps what the Clearinghouse builds on.
    @dev 0 < maintenance <= settlement, settlement + 2 mark steps <= initial <= 100 %: an honest fill survives a moving mark.
         Tiers add the same to settlement and initial, half of it to maintenance, so that order and gap hold at every size; in the
         last tier no more than 100 % is asked of what may be opened, and of what may be kept. band < 100 %: prices stay positive.
         Steps positive: no division by zero.
    @param rules Rules word, laid out in contracts/README.md.
    @param tiers Tier word, checked.
    """
    initial_margin_ppm: uint256 = rules & M20
    settlement_margin_ppm: uint256 = (rules >> 20) & M20
    maintenance_margin_ppm: uint256 = (rules >> 40) & M20
    mark_step_ppm: uint256 = (rules >> 80) & M16
    assert maintenance_margin_ppm > 0, errors.RULES_MARGIN_ORDER
    assert maintenance_margin_ppm <= settlement_margin_ppm, errors.RULES_MARGIN_ORDER
    assert initial_margin_ppm <= MILLION, errors.RULES_MARGIN_ORDER
    assert settlement_margin_ppm + 2 * mark_step_ppm <= initial_margin_ppm, errors.RULES_MARGIN_GAP
    adds_ppm: uint256 = 0
    for tier: uint256 in range(N_TIERS):
        adds_ppm += (tiers >> (TIER_BITS * tier + 48)) & M20
    assert settlement_margin_ppm + 2 * adds_ppm <= MILLION, errors.TIERS_MARGIN
    if rules & OPENINGS != 0:
        assert initial_margin_ppm + 2 * adds_ppm <= MILLION, errors.TIERS_MARGIN
    assert (rules >> 60) & M20 < MILLION, errors.RULES_BAND
    assert mark_step_ppm <= MAX_MARK_STEP_PPM, errors.RULES_MARK_STEP
    assert (rules >> 168) & 255 <= 3, errors.RULES_FLAGS
    assert (rules >> 176) & M16 > 0 and (rules >> 192) & M16 > 0, errors.RULES_STEPS


@internal
@pure
def _check_tiers(tiers: uint256):
    """
    @notice Reverts unless a tier word is one: edges above zero strictly ascending, each with an add, what is unused at the end.
    @dev Margin is the base rate on the whole notional and each add on what lies above its edge: continuous whatever the numbers.
    @param tiers Tier word, 0 = none.
    """
    assert tiers >> (TIER_BITS * N_TIERS) == 0, errors.TIERS_ORDER
    last_edge: uint256 = 0
    is_ended: bool = False
    for tier: uint256 in range(N_TIERS):
        edge: uint256 = (tiers >> (TIER_BITS * tier)) & M48
        add_ppm: uint256 = (tiers >> (TIER_BITS * tier + 48)) & M20
        if edge == 0 and add_ppm == 0:
            is_ended = True
            continue
        assert not is_ended and add_ppm > 0 and edge > last_edge, errors.TIERS_ORDER
        last_edge = edge
