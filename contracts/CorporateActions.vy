# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title CorporateActions
@license AGPL-3.0-only
@notice Takes what companies do to their shares into the markets: splits, dividends, mergers, delistings, new names. Announced a day
        ahead by an announcer, halted from the effective time on, activated by anybody once no earlier match can come.
@dev Specification: contracts/PROTOCOL.md section 6, offchain/afterbell/domain/corporate_actions.py. A split changes the shares in a
     unit (PriceOracle) and nothing else. Words stand in the Clearinghouse; moved here are prices and indices, and the positions of
     a market that ends.
@custom:security Alone, a stolen announcer can make a dividend of at most 2 % of the price, one in 20 days a market, void resting
        orders and halt a market until the guardian cancels. All else needs the guardian or the governor besides. What is
        announced halts, confirmed or not, and a market that was to have other shares in a unit opens again only where prices
        agree: neither a forgotten confirmation nor a wrong cancellation lets a split reach anybody as a fall of the price.
@custom:invariants An (market, kind, ex-date) is activated once. At most one action stands a market. A dividend moves the same sum a
        lot from shorts to longs and lowers every price by it; a split and a change of name move nothing.
@custom:kill The guardian dismisses the announcer and cancels what is announced.
"""

from interfaces import IClearinghouse
from interfaces import ICorporateActions
from interfaces import ILiquidations
from interfaces import IMarketRegistry
from interfaces import IPriceOracle
from modules import errors
from modules import fixed_point
from modules import governed

implements: ICorporateActions
initializes: governed
exports: (governed.governor, governed.pending_governor, governed.propose_governor, governed.accept_governor)

# kinds
SPLIT: constant(uint256) = 1
DIVIDEND: constant(uint256) = 2
CASH_SETTLEMENT: constant(uint256) = 3
STOCK_MERGER: constant(uint256) = 4
RENAME: constant(uint256) = 5
STEP: constant(uint256) = 6

MILLION: constant(uint256) = 1_000_000
E8: constant(uint256) = 100_000_000
DAY_S: constant(uint256) = 86_400
SETTLE_LAG_S: constant(uint256) = 300
MAX_AHEAD_S: constant(uint256) = 90 * DAY_S
# whoever does not like it is out in time
NOTICE_S: constant(uint256) = DAY_S
# for a dividend above the maintenance margin: it ends accounts that a smaller one leaves alive
LARGE_NOTICE_S: constant(uint256) = 5 * DAY_S
# for a final price outside the band
FAR_NOTICE_S: constant(uint256) = 7 * DAY_S
# a long weekend lies between the close before and the ex-date
MAX_RESERVE_S: constant(uint256) = 5 * DAY_S
# shorts that cannot bear the dividend are liquidated before the halt
MIN_RESERVE_S: constant(uint256) = 3_600
# what an announcer may do alone
MAX_ALONE_PPM: constant(uint256) = 20_000
ALONE_EVERY_S: constant(uint256) = 20 * DAY_S
MAX_RATIO: constant(uint256) = 100
MAX_TERM: constant(uint256) = 1_000_000_000
# reserve_ticks is a u24
MAX_DIVIDEND_TICKS: constant(uint256) = 2**24 - 1
# external prices stay below (PriceOracle)
MAX_EXTERNAL_TICKS: constant(uint256) = 2**32 - 1
MAX_PRICE_E8: constant(uint256) = 2**64 - 1
# how far a reopening price may be from the last one before the halt, and how old its report
MAX_CONTINUITY_PPM: constant(uint256) = 200_000
MAX_OBSERVATION_AGE_S: constant(uint256) = 2 * SETTLE_LAG_S
# the most deltas the Clearinghouse takes
MAX_DELTAS: constant(uint256) = 34
REGULAR: constant(uint256) = 2
CORPORATE_ACTION: constant(uint256) = 7
MODE_SETTLED: constant(uint256) = 2

# lanes of words of the Clearinghouse, contracts/README.md
M8: constant(uint256) = 2**8 - 1
M20: constant(uint256) = 2**20 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M96: constant(uint256) = 2**96 - 1
# of a state word: effective_s u40 | reserve_s u40 | activated_s u40 | kind u8 | waiting u1 | cancelled u1 | 6 zero bits | halted_s u40,
# when an action halted the market that was cancelled and replaced by this one, 0 = none did
RESERVE_BIT: constant(uint256) = 40
ACTIVATED_BIT: constant(uint256) = 80
KIND_BIT: constant(uint256) = 120
WAITING: constant(uint256) = 1 << 128
CANCELLED: constant(uint256) = 1 << 129
HALTED_BIT: constant(uint256) = 136


# what an announced action does, beside its times
struct Terms:
    # keccak of the announcement, which whoever confirms names
    digest: bytes32
    # days since 1970-01-01
    ex_date: uint256
    # new shares for `den` old ones
    num: uint256
    den: uint256
    # dividend or final price of one unit, in ticks; 0 = the external price at activation
    ticks: uint256
    # sources that follow, 256 = no second one
    source_id: uint256
    second_source_id: uint256
    # ticker that follows
    symbol: String[16]


CLEARINGHOUSE: public(immutable(address))
ORACLE: public(immutable(address))
REGISTRY: public(immutable(address))
LIQUIDATIONS: public(immutable(address))

# who announces, zero = the governor alone; written by set_announcer and dismiss_announcer
announcer: public(address)
# state word by market, 0 = nothing stands; written by everything below
state_words: public(HashMap[uint256, uint256])
# terms by market of the action that stands; written by announce, and by activate for a final price
terms: public(HashMap[uint256, Terms])
# actions that were activated, by action_id; written by activate, never cleared
is_activated: public(HashMap[bytes32, bool])
# effective time of a market's last dividend; written by activate
last_dividend_s: public(HashMap[uint256, uint256])


@deploy
def __init__(governor: address, clearinghouse: address, oracle: address, registry: address, liquidations: address):
    """
    @notice Wires the neighbours. Nobody announces until the governor names an announcer.
    @param governor Who names the announcer and corrects ratios.
    @param clearinghouse Address the Clearinghouse will have.
    @param oracle Address of the PriceOracle.
    @param registry Address of the MarketRegistry.
    @param liquidations Address of Liquidations.
    """
    assert clearinghouse != empty(address) and oracle != empty(address), errors.NO_ADDRESS
    assert registry != empty(address) and liquidations != empty(address), errors.NO_ADDRESS
    governed.__init__(governor)
    CLEARINGHOUSE = clearinghouse
    ORACLE = oracle
    REGISTRY = registry
    LIQUIDATIONS = liquidations


# ---------------------------------------------------------------- announcer, guardian, governor


@external
def announce(action: ICorporateActions.Announcement):
    """
    @notice Announces an action of a market. The announcer or the governor.
    @dev Where a split was cancelled the halt stands, and the right one may be announced into it.
    @param action What is to happen; what is not meant for its kind is zero or empty.
    """
    is_governor: bool = msg.sender == governed.governor
    assert is_governor or msg.sender == self.announcer, errors.NOT_ANNOUNCER
    self._check_mode()
    market: uint256 = action.market
    before: uint256 = self.state_words[market]
    is_free: bool = before == 0 or (before & CANCELLED != 0 and self._is_reopening(action.kind))
    assert is_free, errors.ACTION_STANDS
    assert action.kind >= SPLIT and action.kind <= STEP, errors.ACTION_KIND
    assert not self.is_activated[self._action_id(market, action.kind, action.ex_date)], errors.ACTION_DONE
    self._check_fields(action)
    assert action.effective_s >= block.timestamp + NOTICE_S, errors.ACTION_NOTICE
    assert action.effective_s <= block.timestamp + MAX_AHEAD_S, errors.ACTION_NOTICE
    # one ex-date has one action: an effective time belongs to it alone, give or take the time zone
    assert action.ex_date <= M40, errors.ACTION_EX_DATE
    assert action.effective_s + DAY_S >= action.ex_date * DAY_S, errors.ACTION_EX_DATE
    assert action.effective_s <= (action.ex_date + 1) * DAY_S, errors.ACTION_EX_DATE
    external_ticks: uint256 = (staticcall IClearinghouse(CLEARINGHOUSE).price_word(market) >> 80) & M40
    assert external_ticks > 0, errors.ACTION_NO_PRICE

    ticks: uint256 = 0
    is_waiting: bool = action.kind != STEP
    if action.kind == SPLIT or action.kind == STOCK_MERGER:
        self._check_ratio(action.num, action.den)
    elif action.kind == DIVIDEND:
        ticks = self._ticks_of(market, action.price_e8)
        assert ticks > 0 and ticks <= MAX_DIVIDEND_TICKS, errors.ACTION_DIVIDEND
        assert 2 * ticks <= external_ticks, errors.ACTION_DIVIDEND
        assert action.reserve_s >= block.timestamp, errors.ACTION_RESERVE
        assert action.reserve_s <= action.effective_s - MIN_RESERVE_S, errors.ACTION_RESERVE
        assert action.reserve_s + MAX_RESERVE_S >= action.effective_s, errors.ACTION_RESERVE
        maintenance_ppm: uint256 = (self._regular_rules(market) >> 40) & M20
        if ticks * MILLION > external_ticks * maintenance_ppm:
            assert action.effective_s >= block.timestamp + LARGE_NOTICE_S, errors.ACTION_NOTICE
        is_waiting = (
            ticks * MILLION > external_ticks * MAX_ALONE_PPM
            or action.effective_s < self.last_dividend_s[market] + ALONE_EVERY_S
        )
    elif action.kind == CASH_SETTLEMENT and action.price_e8 != 0:
        ticks = self._ticks_of(market, action.price_e8)
        assert ticks > 0 and ticks <= MAX_EXTERNAL_TICKS, errors.ACTION_FINAL_PRICE
        band_ppm: uint256 = (self._regular_rules(market) >> 60) & M20
        if self._distance(ticks, external_ticks) * MILLION > external_ticks * band_ppm:
            assert action.effective_s >= block.timestamp + FAR_NOTICE_S, errors.ACTION_NOTICE
    # the timelock has shown it for its whole delay
    is_waiting = is_waiting and not is_governor

    state: uint256 = (
        action.effective_s | (action.reserve_s << RESERVE_BIT) | (action.kind << KIND_BIT)
    )
    if is_waiting:
        state |= WAITING
    if before != 0:
        state |= self._halt_from(before) << HALTED_BIT
    digest: bytes32 = keccak256(abi_encode(action))
    self.state_words[market] = state
    self.terms[market] = Terms(
        digest=digest,
        ex_date=action.ex_date,
        num=action.num,
        den=action.den,
        ticks=ticks,
        source_id=action.source_id,
        second_source_id=action.second_source_id,
        symbol=action.symbol,
    )
    log ICorporateActions.ActionAnnounced(
        market=market,
        kind=action.kind,
        ex_date=action.ex_date,
        effective_s=action.effective_s,
        reserve_s=action.reserve_s,
        num=action.num,
        den=action.den,
        price_e8=action.price_e8,
        ticks=ticks,
        source_id=action.source_id,
        second_source_id=action.second_source_id,
        symbol=action.symbol,
        needs_confirmation=is_waiting,
        digest=digest,
    )


@external
def confirm(market: uint256, digest: bytes32):
    """
    @notice Says that an announcement is true. The guardian or the governor; the halt waits for it.
    @param market Where it stands.
    @param digest keccak of the announcement: another one in its place is not confirmed by it.
    """
    self._check_guardian()
    state: uint256 = self._must_stand(market)
    assert state & WAITING != 0, errors.ACTION_CONFIRMED
    assert self.terms[market].digest == digest, errors.ACTION_DIGEST
    self.state_words[market] = state ^ WAITING
    log ICorporateActions.ActionConfirmed(market=market, digest=digest)


@external
def cancel(market: uint256):
    """
    @notice Takes back an announcement that is not activated. The guardian or the governor.
    @dev Also within the halt: what cannot be activated must not halt a market for the delay of the timelock. A split, a merger for stock
         or a change of name halts its market all the same and reopens as if activated, only without effect: if it was true, no
         price agrees, and nobody is liquidated on the new one.
    @param market Where it stands.
    """
    self._check_guardian()
    self._check_mode()
    state: uint256 = self._must_stand(market)
    assert (state >> ACTIVATED_BIT) & M40 == 0, errors.ACTION_ACTIVATED
    kind: uint256 = (state >> KIND_BIT) & M8
    self.state_words[market] = ((state & ~WAITING) | CANCELLED) if self._is_reopening(kind) else 0
    index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
    if index >> 232 != 0:
        extcall IClearinghouse(CLEARINGHOUSE).move_market(
            market, staticcall IClearinghouse(CLEARINGHOUSE).price_word(market), index & (2**232 - 1)
        )
    log ICorporateActions.ActionCancelled(market=market, kind=kind, ex_date=self.terms[market].ex_date)


@external
def dismiss_announcer():
    """
    @notice Leaves announcements to the governor until it names another announcer. The guardian or the governor.
    """
    self._check_guardian()
    self.announcer = empty(address)
    log ICorporateActions.AnnouncerSet(announcer=empty(address))


@external
def set_announcer(announcer: address):
    """
    @notice Names who announces. Only the governor.
    @param announcer Not zero; whoever had the role loses it.
    """
    governed._check_governor()
    assert announcer != empty(address), errors.NO_ADDRESS
    self.announcer = announcer
    log ICorporateActions.AnnouncerSet(announcer=announcer)


@external
def correct_split(market: uint256, num: uint256, den: uint256):
    """
    @notice Multiplies the shares in a unit once more, a split or merger that waits to reopen having had a wrong ratio. Governor alone.
    @param market Where it stands.
    @param num Numerator of the correction.
    @param den Denominator of the correction.
    """
    governed._check_governor()
    self._check_mode()
    state: uint256 = self._must_stand(market)
    assert (state >> ACTIVATED_BIT) & M40 != 0, errors.ACTION_NOT_ACTIVATED
    kind: uint256 = (state >> KIND_BIT) & M8
    assert kind == SPLIT or kind == STOCK_MERGER, errors.ACTION_KIND
    self._check_ratio(num, den)
    # reports of before were read with the wrong ratio
    self.state_words[market] = (state & ~(M40 << ACTIVATED_BIT)) | (block.timestamp << ACTIVATED_BIT)
    extcall IPriceOracle(ORACLE).apply_split(market, num, den)
    log ICorporateActions.SplitCorrected(market=market, num=num, den=den, activated_s=block.timestamp)


# ---------------------------------------------------------------- anybody


@external
def reserve(market: uint256):
    """
    @notice Values shorts without the dividend they are about to pay. Anybody, later than SETTLE_LAG after reserve_s.
    @dev The sequencer counts it for matches from reserve_s on, so that no acknowledged fill fails for it.
    @param market Where a dividend stands.
    """
    self._check_mode()
    state: uint256 = self._must_stand(market)
    assert (state >> KIND_BIT) & M8 == DIVIDEND, errors.ACTION_KIND
    assert state & WAITING == 0, errors.ACTION_UNCONFIRMED
    assert block.timestamp > ((state >> RESERVE_BIT) & M40) + SETTLE_LAG_S, errors.ACTION_TOO_EARLY
    index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
    assert index >> 232 == 0, errors.ACTION_RESERVED
    ticks: uint256 = self.terms[market].ticks
    extcall IClearinghouse(CLEARINGHOUSE).move_market(
        market, staticcall IClearinghouse(CLEARINGHOUSE).price_word(market), index | (ticks << 232)
    )
    log ICorporateActions.DividendReserved(market=market, ticks=ticks)


@external
def activate(market: uint256):
    """
    @notice Makes an announced action happen. Anybody, later than SETTLE_LAG after its effective time.
    @dev From then on the Clearinghouse refuses every batch matched before the halt, whatever the sequencer does.
    @param market Where it stands.
    """
    self._check_mode()
    state: uint256 = self._must_stand(market)
    assert (state >> ACTIVATED_BIT) & M40 == 0, errors.ACTION_ACTIVATED
    assert state & WAITING == 0, errors.ACTION_UNCONFIRMED
    effective_s: uint256 = state & M40
    assert block.timestamp > effective_s + SETTLE_LAG_S, errors.ACTION_TOO_EARLY
    kind: uint256 = (state >> KIND_BIT) & M8
    terms: Terms = self.terms[market]
    self.is_activated[self._action_id(market, kind, terms.ex_date)] = True
    self.state_words[market] = state | (block.timestamp << ACTIVATED_BIT)
    price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
    index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
    if kind == SPLIT or kind == STOCK_MERGER:
        extcall IPriceOracle(ORACLE).apply_split(market, terms.num, terms.den)
    if kind == STOCK_MERGER or kind == RENAME:
        extcall IPriceOracle(ORACLE).replace_sources(market, terms.source_id, terms.second_source_id)
        # a market that loses its second source must not keep the caps of one that has it
        assert staticcall IMarketRegistry(REGISTRY).check_caps(market)  # dev: it reverts itself
        extcall IMarketRegistry(REGISTRY).set_symbol(market, terms.symbol)
    if kind == DIVIDEND:
        self.state_words[market] = 0
        self.last_dividend_s[market] = effective_s
        price = self._lower(price, terms.ticks, effective_s)
        index = self._pay(index, terms.ticks)
    elif kind == STEP:
        self.state_words[market] = 0
    elif kind == CASH_SETTLEMENT:
        if terms.ticks == 0:
            terms.ticks = (price >> 80) & M40
            self.terms[market].ticks = terms.ticks
        # never fresh again: nothing opens at a price that is no longer one
        price = (
            terms.ticks
            | (terms.ticks << 40)
            | (terms.ticks << 80)
            | (price & ((2**80 - 1) << 120))
            | (CORPORATE_ACTION << 200)
            | (price & (M32 << 208))
        )
    if kind != SPLIT:
        # the next epoch: every signed price of before has lost its meaning; 2^32 epochs are never reached
        extcall IClearinghouse(CLEARINGHOUSE).move_market(market, price + (1 << 208), index)
    log ICorporateActions.ActionActivated(
        market=market, kind=kind, ex_date=terms.ex_date, ticks=terms.ticks, activated_s=block.timestamp
    )


@external
def reopen(market: uint256):
    """
    @notice Ends the halt of a split, a merger for stock or a change of name. Anybody, once a report published after activation, or after
            the halt began if it was cancelled, agrees with the price from before; the governor without.
    @param market Where it stands.
    """
    self._check_mode()
    state: uint256 = self._must_wait_to_reopen(market)
    observed_ticks: uint256 = 0
    publish_time_s: uint256 = 0
    if msg.sender != governed.governor:
        observed_ticks, publish_time_s = staticcall IPriceOracle(ORACLE).last_observation(market)
        since_s: uint256 = max(self._halt_from(state), (state >> ACTIVATED_BIT) & M40)
        assert observed_ticks > 0 and publish_time_s > since_s, errors.ACTION_NO_REPORT
        assert publish_time_s + MAX_OBSERVATION_AGE_S >= block.timestamp, errors.ACTION_NO_REPORT
        frozen_ticks: uint256 = (staticcall IClearinghouse(CLEARINGHOUSE).price_word(market) >> 80) & M40
        # prices are below 2^104, the product does not overflow
        assert (
            self._distance(observed_ticks, frozen_ticks) * MILLION <= frozen_ticks * MAX_CONTINUITY_PPM
        ), errors.ACTION_DISCONTINUOUS
    self.state_words[market] = 0
    log ICorporateActions.MarketReopened(
        market=market, observed_ticks=observed_ticks, publish_time_s=publish_time_s, reopened_s=block.timestamp
    )


@external
def settle_positions(market: uint256, account_ids: DynArray[uint256, MAX_DELTAS]):
    """
    @notice Closes positions of a market that ended at its final price, longs against shorts, in the order named, as far as there are
            as many of both. Anybody; who named whom, and how many at once, moves nobody's quote.
    @dev An account that has no position left then and owes is handed to Liquidations.
    @param market A market settled in cash.
    @param account_ids Accounts, strictly ascending; one without a position is passed over.
    """
    self._check_mode()
    state: uint256 = self.state_words[market]
    assert (state >> KIND_BIT) & M8 == CASH_SETTLEMENT, errors.ACTION_KIND
    assert (state >> ACTIVATED_BIT) & M40 != 0, errors.ACTION_NOT_ACTIVATED
    final_ticks: int256 = convert(self.terms[market].ticks, int256)
    sizes: DynArray[int256, MAX_DELTAS] = []
    long_lots: int256 = 0
    short_lots: int256 = 0
    for account_id: uint256 in account_ids:
        word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).position_word(account_id, market)
        size_lots: int256 = fixed_point._as_signed(word << 192) >> 192
        sizes.append(size_lots)
        if size_lots > 0:
            long_lots += size_lots
        else:
            short_lots -= size_lots
    longs_left: int256 = min(long_lots, short_lots)
    shorts_left: int256 = longs_left
    assert longs_left > 0, errors.ACTION_NO_PAIR
    deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS] = []
    for i: uint256 in range(len(sizes), bound=MAX_DELTAS):
        change_lots: int256 = 0
        if sizes[i] > 0:
            change_lots = -min(sizes[i], longs_left)
            longs_left += change_lots
        else:
            change_lots = min(-sizes[i], shorts_left)
            shorts_left -= change_lots
        if change_lots != 0:
            deltas.append(
                IClearinghouse.Delta(
                    account_id=account_ids[i],
                    size_lots=change_lots,
                    # what is sold is received, what is bought back is paid
                    entry_quote=change_lots * final_ticks,
                    collateral_quote=0,
                )
            )
    extcall IClearinghouse(CLEARINGHOUSE).apply_deltas(market, deltas, 0)
    for delta: IClearinghouse.Delta in deltas:
        account_word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(delta.account_id)
        # bit 71 is the sign of the collateral
        if (account_word >> 200) & M48 == 0 and (account_word >> 71) & 1 == 1:
            extcall ILiquidations(LIQUIDATIONS).cover(delta.account_id, market)


# ---------------------------------------------------------------- views


@external
@view
@reentrant
def halt_from(market: uint256) -> uint256:
    """
    @notice Says from when on a market is halted, or will be.
    @param market Market id.
    @return First second of the halt that stands or is announced, 0 for none.
    """
    return self._halt_from(self.state_words[market])


@external
@view
def action_id(market: uint256, kind: uint256, ex_date: uint256) -> bytes32:
    """
    @notice Names an action: what can happen once.
    @param market Market id.
    @param kind 1 to 6.
    @param ex_date Days since 1970-01-01.
    @return keccak of the three.
    """
    return self._action_id(market, kind, ex_date)


# ---------------------------------------------------------------- internal


@internal
@pure
def _action_id(market: uint256, kind: uint256, ex_date: uint256) -> bytes32:
    """
    @notice Names an action.
    @param market Market id.
    @param kind 1 to 6.
    @param ex_date Days since 1970-01-01.
    @return keccak of the three.
    """
    return keccak256(abi_encode(market, kind, ex_date))


@internal
@pure
def _is_reopening(kind: uint256) -> bool:
    """
    @notice Tells whether a market stays halted after activation until prices agree.
    @param kind 1 to 6.
    @return Whether shares, source or name of a unit change.
    """
    return kind == SPLIT or kind == STOCK_MERGER or kind == RENAME


@internal
@pure
def _halt_from(state: uint256) -> uint256:
    """
    @notice Reads when the halt of an action begins, or of what it replaces.
    @param state State word.
    @return UNIX seconds, 0 for none.
    """
    halted_s: uint256 = (state >> HALTED_BIT) & M40
    if halted_s == 0:
        return state & M40
    return min(halted_s, state & M40)


@internal
@view
def _must_stand(market: uint256) -> uint256:
    """
    @notice Reads what is announced and not cancelled, and reverts if nothing is.
    @param market Market id.
    @return State word.
    """
    state: uint256 = self.state_words[market]
    assert state != 0 and state & CANCELLED == 0, errors.ACTION_NONE
    return state


@internal
@view
def _must_wait_to_reopen(market: uint256) -> uint256:
    """
    @notice Reads an action that halts its market until it reopens, activated or cancelled, and reverts without one.
    @param market Market id.
    @return State word.
    """
    state: uint256 = self.state_words[market]
    assert state != 0, errors.ACTION_NONE
    assert (state >> ACTIVATED_BIT) & M40 != 0 or state & CANCELLED != 0, errors.ACTION_NOT_ACTIVATED
    assert (state >> KIND_BIT) & M8 != CASH_SETTLEMENT, errors.ACTION_KIND
    return state


@internal
@view
def _check_guardian():
    """
    @notice Reverts unless the caller is the guardian or the governor.
    """
    if msg.sender != governed.governor:
        assert msg.sender == staticcall IMarketRegistry(REGISTRY).guardian(), errors.NOT_GUARDIAN


@internal
@view
def _check_mode():
    """
    @notice Reverts once the final settlement has begun: it counts words that must not move under it.
    """
    mode: uint256 = (staticcall IClearinghouse(CLEARINGHOUSE).operator_word() >> 200) & M8
    assert mode != MODE_SETTLED, errors.ACTION_SETTLED


@internal
@pure
def _check_fields(action: ICorporateActions.Announcement):
    """
    @notice Reverts unless what a kind does not use is zero or empty, so that a record says what happens and nothing else.
    @param action The announcement.
    """
    has_ratio: bool = action.kind == SPLIT or action.kind == STOCK_MERGER
    has_price: bool = action.kind == DIVIDEND or action.kind == CASH_SETTLEMENT
    has_feeds: bool = action.kind == STOCK_MERGER or action.kind == RENAME
    assert has_ratio or (action.num == 0 and action.den == 0), errors.ACTION_FIELDS
    assert has_price or action.price_e8 == 0, errors.ACTION_FIELDS
    assert action.price_e8 <= MAX_PRICE_E8, errors.ACTION_FIELDS
    assert action.kind == DIVIDEND or action.reserve_s == 0, errors.ACTION_FIELDS
    assert has_feeds or (action.source_id == 0 and action.second_source_id == 0), errors.ACTION_FIELDS
    assert has_feeds == (len(action.symbol) > 0), errors.ACTION_FIELDS
    assert action.source_id < 256 and action.second_source_id <= 256, errors.ACTION_FIELDS


@internal
@pure
def _check_ratio(num: uint256, den: uint256):
    """
    @notice Reverts unless a ratio is one of real splits.
    @param num New shares.
    @param den Old shares.
    """
    assert num > 0 and num <= MAX_TERM and den > 0 and den <= MAX_TERM, errors.ACTION_RATIO
    assert num != den and num <= MAX_RATIO * den and den <= MAX_RATIO * num, errors.ACTION_RATIO


@internal
@view
def _regular_rules(market: uint256) -> uint256:
    """
    @notice Reads the rules of the regular session that were set last.
    @param market Market id.
    @return Rules word.
    """
    return staticcall IMarketRegistry(REGISTRY).latest_rules((market << 8) | REGULAR)


@internal
@view
def _ticks_of(market: uint256, price_e8: uint256) -> uint256:
    """
    @notice Turns a sum of USD a share into ticks a unit, rounded half up.
    @param market Market id.
    @param price_e8 1e-8 USD a share, < 2^64.
    @return Ticks: price_e8 x num x ticks_per_usd / (den x 1e8).
    """
    num: uint256 = 0
    den: uint256 = 0
    num, den = staticcall IPriceOracle(ORACLE).multiplier(market)
    ticks_per_usd: uint256 = 10 ** (6 - staticcall IMarketRegistry(REGISTRY).lot_exponents(market))
    # below 2^64 x 2^64 x 2^20 x 2
    whole: uint256 = den * E8
    return (2 * price_e8 * num * ticks_per_usd + whole) // (2 * whole)


@internal
@pure
def _distance(x: uint256, y: uint256) -> uint256:
    """
    @notice Says how far two numbers are apart.
    @param x One.
    @param y The other.
    @return abs(x - y).
    """
    return max(x, y) - min(x, y)


@internal
@pure
def _lower(price: uint256, ticks: uint256, effective_s: uint256) -> uint256:
    """
    @notice Takes a dividend out of every price of a market.
    @dev The external price counts as of the effective time, so that no report published before, with the dividend, follows it; until
         when it is stated is for the next row to say. The index, the operator's word during a halt, becomes the external price.
    @param price Price word.
    @param ticks The dividend of one unit, positive.
    @param effective_s When the halt began.
    @return The price word.
    """
    mark_ticks: uint256 = price & M40
    external_ticks: uint256 = (price >> 80) & M40
    assert min(mark_ticks, external_ticks) > ticks, errors.ACTION_ABOVE_PRICE
    external_time_s: uint256 = max((price >> 120) & M40, effective_s)
    return (
        (mark_ticks - ticks)
        | ((external_ticks - ticks) << 40)
        | ((external_ticks - ticks) << 80)
        | (external_time_s << 120)
        # time of the mark, session and epoch stay; session_minutes 0
        | (price & ((2**80 - 1) << 160))
    )


@internal
@pure
def _pay(index: uint256, ticks: uint256) -> uint256:
    """
    @notice Moves a dividend from shorts to longs, and drops what was reserved for it.
    @dev pending = ceil(lots x (index - snapshot) / 1e12): whole ticks move it by exactly lots x ticks.
    @param index Index word.
    @param ticks The dividend of one unit.
    @return The index word.
    """
    step: int256 = convert(ticks, int256) * fixed_point.E12
    long_index: uint256 = fixed_point._as_word(fixed_point._lane96(index, 0) - step) & M96
    short_index: uint256 = fixed_point._as_word(fixed_point._lane96(index, 96) - step) & M96
    return long_index | (short_index << 96) | (index & (M40 << 192))
