# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title PriceOracle
@license AGPL-3.0-only
@notice Decides which price reports count, in which session a market is, and how far mark, index and funding may move in a batch.
        A report that fails a guard is ignored with a code, the others of the same evidence count.
@dev Only the Clearinghouse moves it, inside a batch, so that prices and fills stay in one order. It holds no price that anybody is
     filled at: words are read from the Clearinghouse and handed back changed. Rules: PROTOCOL.md section 2.
@custom:security A source is a contract the governor chose; it is called with evidence anyone may have made.
@custom:invariants The publish time of a market's last observation of a role never falls. Sessions from overrides and reports are
                   never milder than the calendar's.
@custom:kill The governor names another source; without reports markets go stale and nothing opens.
"""

from interfaces import IClearinghouse
from interfaces import ICorporateActions
from interfaces import IPriceOracle
from interfaces import IPriceSource
from modules import calendar
from modules import codes
from modules import errors
from modules import fixed_point
from modules import governed
from modules import price_rules

initializes: governed
initializes: calendar[governed := governed]
exports: (governed.governor, governed.pending_governor, governed.propose_governor, governed.accept_governor)
exports: (
    calendar.append_windows,
    calendar.replace_windows,
    calendar.window_at,
    calendar.boundary,
    calendar.n_boundaries,
)


interface IGuarded:
    def guardian() -> address: view


MAX_DATA: constant(uint256) = 5_120
MAX_EVIDENCE: constant(uint256) = 4_096
MAX_SECTIONS: constant(uint256) = 32
MAX_MARKETS: constant(uint256) = 32
MAX_REPORT_AGE_S: constant(uint256) = 60
MAX_EXTERNAL_TICKS: constant(uint256) = 2**32
MAX_OVERRIDE_S: constant(uint256) = 86_400
SETTLE_LAG: constant(uint256) = 300
E8: constant(uint256) = 100_000_000
MILLION: constant(uint256) = 1_000_000
# second source and primary may differ by 2 %; so may a jump and what confirms it, a minute earlier
MAX_DIFFERENCE_PPM: constant(uint256) = 20_000
MAX_JUMP_PPM: constant(uint256) = 100_000
CONFIRM_S: constant(uint256) = 60

CLOSED: constant(uint256) = 5
CORPORATE_ACTION: constant(uint256) = 7
MAX_SESSION: constant(uint256) = 8
# what a source that knows no sessions reports, and "no second source" as an id
NO_SESSION: constant(uint256) = 256
NO_SOURCE: constant(uint256) = 256
# strictness of the sessions 0..8, a digit each: UNKNOWN 4, PRE 1, REGULAR 0, POST 1, OVERNIGHT 2, CLOSED 3, HALTED 6,
# CORPORATE_ACTION 7, DISRUPTED 5: 0x576321014
STRICTNESS: constant(uint256) = 23457828884

# bit of a word in `sources`: a feed of the chain, read when the batch settles; its reports have no age limit while the market is closed
AGELESS: constant(uint256) = 1 << 160
# rules words that follow, as the Clearinghouse's view names them
RULES_CHANGING: constant(uint256) = 1 << 170
SUCCESSOR: constant(uint256) = 256
BINDS_AFTER: constant(uint256) = 512

M8: constant(uint256) = 2**8 - 1
M16: constant(uint256) = 2**16 - 1
M24: constant(uint256) = 2**24 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1
M128: constant(uint256) = 2**128 - 1


struct MarketPricing:
    # primary source
    source_id: uint256
    # 0 = market unknown
    ticks_per_usd: uint256
    # largest accepted confidence as a share of the price
    max_confidence_ppm: uint256
    # shares per unit, an exact rational
    multiplier_num: uint256
    multiplier_den: uint256
    # 256 = none
    second_source_id: uint256
    # 256 = none; the source before, which counts for matches until then
    previous_source_id: uint256
    previous_until_s: uint256
    # the second source before; after a first one was named it is required for matches later than this
    previous_second_id: uint256
    second_changed_until_s: uint256


# the only caller of update, and whose words are read
CLEARINGHOUSE: public(immutable(address))
# the only caller of set_market; knows the guardian
REGISTRY: public(immutable(address))
# halts markets, multiplies shares per unit
CORPORATE_ACTIONS: public(immutable(address))

# by id 0..255, 0 = the first signed reports: address | AGELESS; written by set_source, never replaced
sources: HashMap[uint256, uint256]
# by market: primary u8 at 0 | previous primary + 1 u16 at 8 | until u40 at 24 | second + 1 u16 at 64 | previous second + 1 u16 at
# 80 | changed until u40 at 96 | ticks_per_usd u24 at 136 | max_confidence_ppm u24 at 160; written by set_market and the changes
# of sources
pricing_words: HashMap[uint256, uint256]
# shares per unit by market: num u128 | den u128; written by set_market and apply_split
multipliers: HashMap[uint256, uint256]
# last observation of the primary source that passed its own guards: price_e8 u64 | publish time u40 at 64 | source u8 at 104 |
# session + 1 u8 at 112 | session + 1 u8 at 120 of the last that became the external price | first of a run of jumps: price_e8
# u64 at 128, publish time u40 at 192; written by update and apply_split
observations: HashMap[uint256, uint256]
# the same of the second source: price_e8 | publish time | source; written by update and apply_split
second_observations: HashMap[uint256, uint256]
# sessions the operator and the guardian set besides, by market; each 88 bits, the operator's at 0, the guardian's at 88:
# session u8 | until u40 at 8 | counts for matches from u40 at 48; written by override_session and clear_override
overrides: HashMap[uint256, uint256]


@deploy
def __init__(governor: address, source: address, clearinghouse: address, registry: address, corporate_actions: address):
    """
    @notice Wires the oracle.
    @param governor Who names sources and writes the calendar.
    @param source Source 0, the SignedPriceSource.
    @param clearinghouse Address the Clearinghouse will have.
    @param registry Address the MarketRegistry will have.
    @param corporate_actions Address CorporateActions will have.
    """
    assert (
        clearinghouse != empty(address) and registry != empty(address) and corporate_actions != empty(address)
    ), errors.NO_ADDRESS
    governed.__init__(governor)
    calendar.__init__()
    CLEARINGHOUSE = clearinghouse
    REGISTRY = registry
    CORPORATE_ACTIONS = corporate_actions
    self._set_source(0, source)


@external
def update(data: Bytes[MAX_DATA], n_rows: uint256, matched_at_s: uint256) -> DynArray[uint256, 3 * MAX_MARKETS]:
    """
    @notice Takes the reports of a batch, finds every touched market's session, and applies the batch's rows. Only the Clearinghouse.
    @param data The rows, 32 bytes each, then evidence: sections of length u16 and the bytes a source understands, the first its id.
    @param n_rows Number of rows.
    @param matched_at_s Time of the batch, UNIX seconds.
    @return market, price word, index word of every market of which one changed, markets ascending.
    """
    assert msg.sender == CLEARINGHOUSE, errors.NOT_CLEARINGHOUSE
    window: uint256 = calendar._enter(matched_at_s)
    # bit m: row or observation for market m
    touched: uint256 = 0
    previous: uint256 = 0
    for i: uint256 in range(n_rows, bound=MAX_MARKETS):
        market: uint256 = extract32(data, i * 32, output_type=uint256) >> 248
        assert market > previous, errors.PRICE_MARKET_ORDER
        assert market <= MAX_MARKETS, errors.PRICE_UNKNOWN_MARKET
        previous = market
        touched |= 1 << market
    observed: uint256 = self._observe(data, n_rows * 32, window >> 144, matched_at_s)
    touched |= observed

    changed: DynArray[uint256, 3 * MAX_MARKETS] = []
    i_row: uint256 = 0
    for market: uint256 in range(1, MAX_MARKETS + 1):
        if touched >> market == 0:
            break
        if (touched >> market) & 1 == 0:
            continue
        row: uint256 = 0
        if i_row < n_rows:
            row = extract32(data, i_row * 32, output_type=uint256)
            if row >> 248 == market:
                i_row += 1
            else:
                row = 0
        price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
        assert price != 0, errors.PRICE_UNKNOWN_MARKET
        index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
        moved: uint256 = price
        rules: uint256 = 0
        moved, rules = self._stated(market, price, window, (observed >> market) & 1 != 0, row != 0, matched_at_s)
        accrued: uint256 = index
        if row != 0:
            assert (moved >> 80) & M40 != 0, errors.NO_EXTERNAL_PRICE
            moved = price_rules._moved(moved, rules, row, matched_at_s)
            if (row >> 88) & M8 == 1:
                totals: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market)
                accrued = price_rules._accrued(
                    index, moved, rules, totals, row, (window >> 64) & M40, matched_at_s
                )
        if moved != price or accrued != index:
            changed.append(market)
            changed.append(moved)
            changed.append(accrued)
    return changed


@external
def set_market(
    market: uint256,
    source_id: uint256,
    ticks_per_usd: uint256,
    max_confidence_ppm: uint256,
    multiplier_num: uint256,
    multiplier_den: uint256,
):
    """
    @notice Sets how a market is priced, when it is listed. Only the MarketRegistry, which validates market, ticks and multiplier.
    @param market Market id.
    @param source_id Source that prices it, known here.
    @param ticks_per_usd Price ticks of one US dollar per unit.
    @param max_confidence_ppm Largest accepted confidence as a share of the price.
    @param multiplier_num Shares per unit, numerator.
    @param multiplier_den Shares per unit, denominator.
    """
    assert msg.sender == REGISTRY, errors.NOT_REGISTRY
    self._check_source(source_id)
    self.pricing_words[market] = source_id | (ticks_per_usd << 136) | (max_confidence_ppm << 160)
    self.multipliers[market] = multiplier_num | (multiplier_den << 128)
    log IPriceOracle.MarketPriced(
        market=convert(market, uint8),
        source_id=convert(source_id, uint8),
        ticks_per_usd=ticks_per_usd,
        max_confidence_ppm=max_confidence_ppm,
        multiplier_num=multiplier_num,
        multiplier_den=multiplier_den,
    )


@external
def set_source(source_id: uint256, source: address):
    """
    @notice Names a price source. An id is used once: replacing a source means moving its markets to a new id.
    @param source_id 1..255; 0 is taken since deployment.
    @param source The contract.
    """
    governed._check_governor()
    self._set_source(source_id, source)


@external
def set_market_sources(market: uint256, source_id: uint256, second_source_id: uint256):
    """
    @notice Changes who prices a market and who must agree. Only the governor. What counted before counts for matches of 2 x SETTLE_LAG
            besides, and a second source is required only after that: no batch matched before is refused by it.
    @param market A listed market.
    @param source_id The primary source.
    @param second_source_id The second source, 256 for none.
    """
    governed._check_governor()
    word: uint256 = self.pricing_words[market]
    assert word != 0, errors.MARKET_NOT_LISTED
    until_s: uint256 = block.timestamp + 2 * SETTLE_LAG
    changed: uint256 = word
    if word & M8 != source_id:
        changed = (changed & ~(2**64 - 1)) | (((word & M8) + 1) << 8) | (until_s << 24)
    if (word >> 64) & M16 != (second_source_id + 1) % (NO_SOURCE + 1):
        changed = (changed & ~(M16 << 80) & ~(M40 << 96)) | (((word >> 64) & M16) << 80) | (until_s << 96)
    self._write_sources(market, changed, source_id, second_source_id)


@external
def replace_sources(market: uint256, source_id: uint256, second_source_id: uint256):
    """
    @notice Gives a market other sources at once, its company having become another. Only CorporateActions.
    @param market A listed market, halted.
    @param source_id The primary source.
    @param second_source_id The second source, 256 for none.
    """
    assert msg.sender == CORPORATE_ACTIONS, errors.NOT_CORPORATE_ACTIONS
    word: uint256 = self.pricing_words[market]
    assert word != 0, errors.MARKET_NOT_LISTED
    self._forget(market)
    self._write_sources(market, word & ~(2**136 - 1), source_id, second_source_id)


@external
def apply_split(market: uint256, num: uint256, den: uint256):
    """
    @notice Multiplies the shares in a unit. Only CorporateActions. What was observed before is forgotten, its times stay.
    @param market A listed market, halted.
    @param num Numerator, 1..2^64 - 1.
    @param den Denominator, 1..2^64 - 1.
    """
    assert msg.sender == CORPORATE_ACTIONS, errors.NOT_CORPORATE_ACTIONS
    word: uint256 = self.multipliers[market]
    assert word != 0, errors.MARKET_NOT_LISTED
    assert num > 0 and den > 0 and num <= M64 and den <= M64, errors.MULTIPLIER_RANGE
    new_num: uint256 = (word & M128) * num
    new_den: uint256 = (word >> 128) * den
    divisor: uint256 = self._greatest_common_divisor(new_num, new_den)
    new_num = new_num // divisor
    new_den = new_den // divisor
    assert new_num <= M64 and new_den <= M64, errors.MULTIPLIER_RANGE
    self.multipliers[market] = new_num | (new_den << 128)
    self._forget(market)
    log IPriceOracle.MultiplierSet(market=convert(market, uint8), multiplier_num=new_num, multiplier_den=new_den)


@external
def override_session(market: uint256, session: uint256, until_s: uint256):
    """
    @notice Puts a market under a stricter session than the calendar's for at most a day. The sequencer, for matches from now on, or
            the guardian, for matches later than SETTLE_LAG from now. Neither touches the other's, the strictest counts.
    @param market A listed market.
    @param session 0..8.
    @param until_s Last second it counts for.
    """
    bit: uint256 = self._shift_of_caller()
    assert self.pricing_words[market] != 0, errors.MARKET_NOT_LISTED
    assert session <= MAX_SESSION, errors.OVERRIDE_SESSION
    now_session: uint256 = calendar._window_at(block.timestamp) >> 144
    assert self._strictness(session) > self._strictness(now_session), errors.OVERRIDE_SESSION
    assert until_s >= block.timestamp and until_s <= block.timestamp + MAX_OVERRIDE_S, errors.OVERRIDE_UNTIL
    from_s: uint256 = block.timestamp
    if bit != 0:
        # a match that was acknowledged before anybody could know of it keeps its session
        from_s += SETTLE_LAG + 1
    word: uint256 = session | (until_s << 8) | (from_s << 48)
    self.overrides[market] = (self.overrides[market] & ~((2**88 - 1) << bit)) | (word << bit)
    log IPriceOracle.SessionOverridden(
        market=convert(market, uint8), by=msg.sender, session=session, from_s=from_s, until_s=until_s
    )


@external
def clear_override(market: uint256):
    """
    @notice Ends the override the caller's role set.
    @param market The market.
    """
    bit: uint256 = self._shift_of_caller()
    self.overrides[market] &= ~((2**88 - 1) << bit)
    log IPriceOracle.SessionOverridden(market=convert(market, uint8), by=msg.sender, session=0, from_s=0, until_s=0)


# ---------------------------------------------------------------- views


@external
@view
def sources_of(market: uint256) -> (uint256, uint256):
    """
    @notice Returns who prices a market and who must agree.
    @param market The market.
    @return Primary and second source, 256 for none.
    """
    word: uint256 = self.pricing_words[market]
    return word & M8, self._id_of((word >> 64) & M16)


@external
@view
def source(source_id: uint256) -> address:
    """
    @notice Returns the contract of a source.
    @param source_id 0..255.
    @return Its address, zero for none.
    """
    return convert(self.sources[source_id] & (2**160 - 1), address)


@external
@view
def pricings(market: uint256) -> MarketPricing:
    """
    @notice Returns how a market is priced.
    @param market The market.
    @return Sources, ticks, confidence and multiplier.
    """
    word: uint256 = self.pricing_words[market]
    shares: uint256 = self.multipliers[market]
    return MarketPricing(
        source_id=word & M8,
        ticks_per_usd=(word >> 136) & M24,
        max_confidence_ppm=(word >> 160) & M24,
        multiplier_num=shares & M128,
        multiplier_den=shares >> 128,
        second_source_id=self._id_of((word >> 64) & M16),
        previous_source_id=self._id_of((word >> 8) & M16),
        previous_until_s=(word >> 24) & M40,
        previous_second_id=self._id_of((word >> 80) & M16),
        second_changed_until_s=(word >> 96) & M40,
    )


@external
@view
def is_trusted(market: uint256) -> bool:
    """
    @notice Tells whether a market's price rests on one source alone: TRUSTED PRICE.
    @param market The market.
    @return Whether no second source must agree.
    """
    return (self.pricing_words[market] >> 64) & M16 == 0


@external
@view
def multiplier(market: uint256) -> (uint256, uint256):
    """
    @notice Returns the shares in a unit.
    @param market The market.
    @return Numerator and denominator.
    """
    return self.multipliers[market] & M128, self.multipliers[market] >> 128


@external
@view
def last_publish_time_s(market: uint256) -> uint256:
    """
    @notice Returns when the primary source's last observation was published.
    @param market The market.
    @return UNIX seconds, 0 for none.
    """
    return (self.observations[market] >> 64) & M40


@external
@view
def last_observation(market: uint256) -> (uint256, uint256):
    """
    @notice Returns the primary source's last observation, also one that did not become the external price.
    @param market The market.
    @return Ticks (0 for none since the last split) and publish time.
    """
    observation: uint256 = self.observations[market]
    return self._ticks_of(market, observation & M64), (observation >> 64) & M40


@external
@view
def observation_words(market: uint256) -> (uint256, uint256):
    """
    @notice Returns what is kept of both sources.
    @param market The market.
    @return Words of the primary and of the second source.
    """
    return self.observations[market], self.second_observations[market]


@external
@view
def override_word(market: uint256) -> uint256:
    """
    @notice Returns the overrides of a market.
    @param market The market.
    @return The operator's in the low 88 bits, the guardian's in the next.
    """
    return self.overrides[market]


# ---------------------------------------------------------------- reports


@internal
def _observe(data: Bytes[MAX_DATA], start: uint256, session: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Reads every section of the evidence and keeps each report that passes the guards of its own source.
    @param data Rows and evidence.
    @param start Where the evidence starts.
    @param session The calendar's session now.
    @param matched_at_s Time of the batch.
    @return Bit m is set if something new was kept for market m.
    """
    observed: uint256 = 0
    offset: uint256 = start
    for i: uint256 in range(MAX_SECTIONS + 1):
        if offset == len(data):
            return observed
        assert offset + 2 < len(data), errors.EVIDENCE_LENGTH
        n_bytes: uint256 = convert(slice(data, offset, 2), uint256)
        offset += 2
        assert n_bytes > 0 and n_bytes <= MAX_EVIDENCE and offset + n_bytes <= len(data), errors.EVIDENCE_LENGTH
        source_id: uint256 = convert(slice(data, offset, 1), uint256)
        source_word: uint256 = self.sources[source_id]
        assert source_word != 0, errors.SOURCE_UNKNOWN
        reports: DynArray[IPriceSource.Report, MAX_MARKETS] = extcall IPriceSource(
            convert(source_word & (2**160 - 1), address)
        ).read_reports(slice(data, offset, n_bytes))
        offset += n_bytes
        is_ageless: bool = session == CLOSED and source_word & AGELESS != 0
        for report: IPriceSource.Report in reports:
            code: uint256 = self._keep(report, source_id, is_ageless, source_word & AGELESS != 0, matched_at_s)
            if code == 0:
                observed |= 1 << report.market
            else:
                log IPriceOracle.ReportIgnored(
                    market=report.market, code=code, price_e8=report.price_e8, publish_time_s=report.publish_time_s
                )
    raise errors.EVIDENCE_LENGTH


@internal
def _keep(
    report: IPriceSource.Report, source_id: uint256, is_ageless: bool, is_on_chain: bool, matched_at_s: uint256
) -> uint256:
    """
    @notice Holds a report against the guards of its own source and keeps it.
    @dev What a feed of the chain says is read when the batch settles: whoever brings it an update in between, as anybody may, would
         otherwise keep its market without a price.
    @param report The report.
    @param source_id Where it comes from.
    @param is_ageless Whether the source's reports have no age limit now.
    @param is_on_chain Whether the source reads the chain, not the evidence.
    @param matched_at_s Time of the batch.
    @return The code of the first failure, 0 for none.
    """
    pricing: uint256 = 0
    if report.market <= MAX_MARKETS:
        pricing = self.pricing_words[report.market]
    if pricing == 0:
        return codes.REPORT_UNKNOWN_MARKET
    is_primary: bool = self._is_primary(pricing, source_id, matched_at_s)
    if not is_primary and not self._is_second(pricing, source_id, matched_at_s):
        return codes.REPORT_UNKNOWN_MARKET
    if report.price_e8 == 0:
        return codes.NOT_POSITIVE
    if report.publish_time_s > (matched_at_s + SETTLE_LAG if is_on_chain else matched_at_s):
        return codes.FUTURE
    kept: uint256 = 0
    if is_primary:
        kept = self.observations[report.market]
    else:
        kept = self.second_observations[report.market]
    if report.publish_time_s <= (kept >> 64) & M40:
        return codes.NOT_NEWER
    if matched_at_s > report.publish_time_s + MAX_REPORT_AGE_S and not is_ageless:
        return codes.TOO_OLD
    # drawn in so that no source can make a batch overflow; nothing so large passes the last guard
    if min(report.confidence_e8, M128) * MILLION > min(report.price_e8, M128) * ((pricing >> 160) & M24):
        return codes.CONFIDENCE
    if report.session > MAX_SESSION and report.session != NO_SESSION:
        return codes.UNKNOWN_SESSION
    if report.price_e8 > M64:
        return codes.OUT_OF_RANGE
    ticks: uint256 = self._ticks_of(report.market, report.price_e8)
    if ticks == 0 or ticks >= MAX_EXTERNAL_TICKS:
        return codes.OUT_OF_RANGE
    observation: uint256 = report.price_e8 | (report.publish_time_s << 64) | (source_id << 104)
    if is_primary:
        session: uint256 = 0
        if report.session != NO_SESSION:
            session = report.session + 1
        self.observations[report.market] = (kept >> 120 << 120) | observation | (session << 112)
    else:
        self.second_observations[report.market] = observation
        log IPriceOracle.SecondReported(
            market=convert(report.market, uint8), price_e8=report.price_e8, publish_time_s=report.publish_time_s
        )
    return 0


@internal
def _stated(
    market: uint256, price: uint256, window: uint256, is_observed: bool, is_row: bool, matched_at_s: uint256
) -> (uint256, uint256):
    """
    @notice Lets a new observation become the external price, if it may, and states the session and until when it was stated.
    @param market The market.
    @param price Its price word.
    @param window The calendar's cursor.
    @param is_observed Whether an observation is new.
    @param is_row Whether the batch has a row for it.
    @param matched_at_s Time of the batch.
    @return The price word with external price, session and its minutes, and the rules word of that session.
    """
    session: uint256 = window >> 144
    until_s: uint256 = (window >> 104) & M40
    # overrides
    is_overridden: bool = False
    word: uint256 = self.overrides[market]
    for i: uint256 in range(2):
        if word & M8 != session and matched_at_s >= (word >> 48) & M40 and matched_at_s <= (word >> 8) & M40:
            if self._strictness(word & M8) > self._strictness(session):
                session = word & M8
                is_overridden = True
                until_s = min((window >> 104) & M40, ((word >> 8) & M40) + 1)
        word >>= 88
    # corporate actions
    halt_from_s: uint256 = staticcall ICorporateActions(CORPORATE_ACTIONS).halt_from(market)
    is_halted: bool = False
    if halt_from_s != 0:
        if matched_at_s >= halt_from_s:
            is_halted = True
            session = CORPORATE_ACTION
            until_s = (window >> 104) & M40
        else:
            until_s = min(until_s, halt_from_s)

    moved: uint256 = price
    is_stated: bool = is_row
    observation: uint256 = self.observations[market]
    if is_observed and (observation >> 64) & M40 > (price >> 120) & M40:
        ticks: uint256 = self._ticks_of(market, observation & M64)
        reported: uint256 = self._stricter(session, (observation >> 112) & M8)
        code: uint256 = codes.MARKET_HALTED
        judged: uint256 = observation
        if not is_halted:
            code, judged = self._judge(market, price, observation, ticks, reported, matched_at_s)
        if code == 0:
            # the session it names counts until the next that becomes the price
            judged = (judged & ~(M8 << 120)) | (((observation >> 112) & M8) << 120)
            # no price is younger than the match it counts for
            time_s: uint256 = min((observation >> 64) & M40, matched_at_s)
            moved = (moved & ~((2**80 - 1) << 80)) | (ticks << 80) | (time_s << 120)
            is_stated = True
            log IPriceOracle.ReportAccepted(
                market=convert(market, uint8),
                external_ticks=ticks,
                publish_time_s=(observation >> 64) & M40,
                session=reported,
            )
        else:
            log IPriceOracle.ReportIgnored(
                market=market, code=code, price_e8=observation & M64, publish_time_s=(observation >> 64) & M40
            )
        if judged != observation:
            self.observations[market] = judged
            observation = judged
    if not is_stated:
        return moved, 0
    session = self._stricter(session, (observation >> 120) & M8)
    external_time_s: uint256 = (moved >> 120) & M40
    minutes: uint256 = 0
    if until_s > external_time_s:
        minutes = min((until_s - external_time_s) // 60, M16)
    if is_overridden:
        # nobody gets rid of an age limit by declaring the market closed
        max_age_s: uint256 = (self._rules_at(market, window >> 144, matched_at_s) >> 96) & M16
        if max_age_s != 0:
            minutes = min(minutes, (max_age_s + 59) // 60)
    moved = (moved & ~((M8 << 200) | (M16 << 240))) | (session << 200) | (minutes << 240)
    return moved, self._rules_at(market, session, matched_at_s)


@internal
@view
def _judge(
    market: uint256, price: uint256, observation: uint256, ticks: uint256, session: uint256, matched_at_s: uint256
) -> (uint256, uint256):
    """
    @notice Asks of an observation of the primary source what other observations must say.
    @param market The market.
    @param price Its price word.
    @param observation The observation word, price set since the last split.
    @param ticks Its price.
    @param session The session it would put the market in.
    @param matched_at_s Time of the batch.
    @return The code of the first failure, 0 for none, and the observation word with the run of jumps it is part of.
    """
    pricing: uint256 = self.pricing_words[market]
    price_e8: uint256 = observation & M64
    time_s: uint256 = (observation >> 64) & M40
    is_old: bool = matched_at_s > time_s + MAX_REPORT_AGE_S
    if is_old and (session != CLOSED or self.sources[(observation >> 104) & M8] & AGELESS == 0):
        return codes.TOO_OLD, observation
    calm: uint256 = observation & (2**128 - 1)
    second_id: uint256 = (pricing >> 64) & M16
    is_required: bool = second_id != 0
    if is_required and (pricing >> 80) & M16 == 0:
        # the first second source of the market: for matches acknowledged before anybody knew, one is enough
        is_required = matched_at_s > (pricing >> 96) & M40
    if is_required:
        second: uint256 = self.second_observations[market]
        second_e8: uint256 = second & M64
        if second_e8 == 0 or not self._is_second(pricing, (second >> 104) & M8, matched_at_s):
            return codes.UNCONFIRMED, observation
        max_age_s: uint256 = (self._rules_at(market, session, matched_at_s) >> 96) & M16
        if max_age_s != 0 and ((second >> 64) & M40) + max_age_s < matched_at_s:
            return codes.UNCONFIRMED, observation
        if self._distance(price_e8, second_e8) * MILLION > second_e8 * MAX_DIFFERENCE_PPM:
            return codes.DISAGREES, observation
        return 0, calm
    external_ticks: uint256 = (price >> 80) & M40
    if external_ticks == 0 or self._distance(ticks, external_ticks) * MILLION <= external_ticks * MAX_JUMP_PPM:
        return 0, calm
    first_e8: uint256 = (observation >> 128) & M64
    first_time_s: uint256 = (observation >> 192) & M40
    if first_e8 != 0 and self._distance(price_e8, first_e8) * MILLION <= first_e8 * MAX_DIFFERENCE_PPM:
        if time_s >= first_time_s + CONFIRM_S:
            return 0, calm
        return codes.JUMP, observation
    return codes.JUMP, calm | (price_e8 << 128) | (time_s << 192)


# ---------------------------------------------------------------- small things


@internal
@view
def _rules_at(market: uint256, session: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Reads the rules a batch is under, as the Clearinghouse does.
    @param market The market.
    @param session 0..8.
    @param matched_at_s Time of the batch.
    @return The word, or its successor if that binds.
    """
    rules: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market, session)
    if rules & RULES_CHANGING != 0:
        if matched_at_s > staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market + BINDS_AFTER, session):
            return staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market + SUCCESSOR, session)
    return rules


@internal
@view
def _ticks_of(market: uint256, price_e8: uint256) -> uint256:
    """
    @notice Prices a unit.
    @param market The market.
    @param price_e8 Price of one share.
    @return price_e8 x num x ticks_per_usd // (den x 1e8), 0 for a market without a multiplier.
    """
    shares: uint256 = self.multipliers[market]
    if shares == 0:
        return 0
    # 64 + 64 + 24 bits
    return price_e8 * (shares & M128) * ((self.pricing_words[market] >> 136) & M24) // ((shares >> 128) * E8)


@internal
@pure
def _is_primary(pricing: uint256, source_id: uint256, matched_at_s: uint256) -> bool:
    """
    @notice Tells whether a source prices a market in a batch.
    @param pricing The market's pricing word.
    @param source_id The source.
    @param matched_at_s Time of the batch.
    @return Whether it is the primary source, or was until lately.
    """
    return pricing & M8 == source_id or (
        (pricing >> 8) & M16 == source_id + 1 and matched_at_s <= (pricing >> 24) & M40
    )


@internal
@pure
def _is_second(pricing: uint256, source_id: uint256, matched_at_s: uint256) -> bool:
    """
    @notice Tells whether a source's agreement counts for a market in a batch.
    @param pricing The market's pricing word.
    @param source_id The source.
    @param matched_at_s Time of the batch.
    @return Whether it is the second source, or was until lately.
    """
    return (pricing >> 64) & M16 == source_id + 1 or (
        (pricing >> 80) & M16 == source_id + 1 and matched_at_s <= (pricing >> 96) & M40
    )


@internal
@pure
def _strictness(session: uint256) -> uint256:
    """
    @notice Orders sessions.
    @param session 0..8.
    @return 0 for REGULAR up to 7 for CORPORATE_ACTION.
    """
    return (STRICTNESS >> (4 * session)) & 15


@internal
@pure
def _stricter(session: uint256, reported: uint256) -> uint256:
    """
    @notice Picks the stricter of two sessions, the first when they are alike.
    @param session 0..8.
    @param reported Session + 1, 0 for none.
    @return The session.
    """
    if reported != 0 and self._strictness(reported - 1) > self._strictness(session):
        return reported - 1
    return session


@internal
@pure
def _distance(a: uint256, b: uint256) -> uint256:
    """
    @notice Returns how far two numbers are apart.
    @param a One.
    @param b The other.
    @return abs(a - b).
    """
    if a > b:
        return a - b
    return b - a


@internal
@pure
def _greatest_common_divisor(a: uint256, b: uint256) -> uint256:
    """
    @notice Finds the greatest common divisor of two positive numbers below 2^128.
    @param a One.
    @param b The other.
    @return The divisor.
    """
    x: uint256 = a
    y: uint256 = b
    # Euclid takes at most 1.45 steps a bit
    for i: uint256 in range(200):
        if y == 0:
            break
        rest: uint256 = x % y
        x = y
        y = rest
    return x


@internal
@pure
def _id_of(lane: uint256) -> uint256:
    """
    @notice Reads a source lane that may be empty.
    @param lane Id + 1, 0 for none.
    @return The id, 256 for none.
    """
    if lane == 0:
        return NO_SOURCE
    return lane - 1


@internal
@view
def _shift_of_caller() -> uint256:
    """
    @notice Says whose override the caller may write.
    @return 0 for the sequencer, 88 for the guardian.
    """
    operator: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).operator_word()
    if msg.sender == convert(operator & (2**160 - 1), address):
        return 0
    assert msg.sender == staticcall IGuarded(REGISTRY).guardian(), errors.NOT_GUARDIAN
    return 88


@internal
@view
def _check_source(source_id: uint256):
    """
    @notice Reverts unless a source exists.
    @param source_id Its id.
    """
    assert source_id < NO_SOURCE and self.sources[source_id] != 0, errors.SOURCE_UNKNOWN


@internal
def _write_sources(market: uint256, word: uint256, source_id: uint256, second_source_id: uint256):
    """
    @notice Writes the present sources of a market.
    @param market The market.
    @param word Its pricing word with everything else in place.
    @param source_id The primary source.
    @param second_source_id The second, 256 for none.
    """
    self._check_source(source_id)
    second: uint256 = 0
    if second_source_id != NO_SOURCE:
        self._check_source(second_source_id)
        assert second_source_id != source_id, errors.SOURCE_TAKEN
        second = second_source_id + 1
    self.pricing_words[market] = (word & ~(M8 | (M16 << 64))) | source_id | (second << 64)
    log IPriceOracle.MarketSourcesSet(
        market=convert(market, uint8), source_id=source_id, second_source_id=second_source_id
    )


@internal
def _forget(market: uint256):
    """
    @notice Drops what was observed of a market; times and the session stay.
    @param market The market.
    """
    self.observations[market] &= (M40 << 64) | (M8 << 120)
    self.second_observations[market] &= M40 << 64


@internal
def _set_source(source_id: uint256, source: address):
    """
    @notice Names a price source under an unused id.
    @param source_id 0..255.
    @param source The contract.
    """
    assert source_id < NO_SOURCE, errors.SOURCE_OUT_OF_RANGE
    assert source != empty(address), errors.NO_ADDRESS
    assert self.sources[source_id] == 0, errors.SOURCE_TAKEN
    word: uint256 = convert(source, uint256)
    if staticcall IPriceSource(source).is_ageless_while_closed():
        word |= AGELESS
    self.sources[source_id] = word
    log IPriceOracle.SourceSet(source_id=convert(source_id, uint8), source=source)
