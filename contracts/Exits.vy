# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Exits
@license AGPL-3.0-only
@notice How users leave when the sequencer is silent or hostile: withdrawals and closes that anybody may force, exit mode, and
        final settlement with one fixed ratio for all.
@dev Reads words of the Clearinghouse by its views and writes through apply_deltas, withdraw_to_claim and set_mode alone. Prices
     are those stored there; a market without a fresh one is valued inside a band that widens with its age, so that no
     oracle's death stops an exit.
@custom:security A request is a record of its own: no list is walked, nobody's request stands before another's. A call that
        runs out of gas reverts whole and consumes nothing. The token is never touched: what leaves becomes a claim in the Vault.
@custom:invariants What a forced withdrawal pays depends on its account and the clock alone, what a claim pays on its account
        and the fixed ratio alone. The claims of final settlement never exceed the assets. n_overdue counts the requests whose
        word says overdue.
@custom:kill None: nobody can stop an exit.
"""

from modules import account_risk
from modules import codes
from modules import errors
from modules import fixed_point
from modules import margin
from interfaces import IClearinghouse
from interfaces import IExits
from interfaces import IVault

implements: IExits


interface IUptimeFeed:
    def latestRoundData() -> (uint80, int256, uint256, uint256, uint80): view


# a request as its word packs it
struct Request:
    # quote of a withdrawal, lots of a close
    remaining: uint256
    requested_at_s: uint256
    # of a close: worst price its owner takes
    worst_ticks: uint256
    # when the clock of the auction was last looked at, and what it showed then
    observed_at_s: uint256
    elapsed_s: uint256
    # since when a close has waited at its last price for a taker; 0 = it does not
    waiting_since_s: uint256
    is_long: bool
    # whether the clock has run since it was looked at
    is_running: bool
    is_overdue: bool


struct RequestState:
    is_open: bool
    remaining: uint256
    worst_ticks: uint256
    is_long: bool
    recipient: address
    requested_at_s: uint256
    # from then on anybody may force it
    forceable_at_s: uint256
    # after that second it is dead
    dies_at_s: uint256
    # what the auction's clock shows now, 0..3600
    elapsed_s: uint256
    waiting_since_s: uint256
    # when `observe` makes it overdue if it still waits then; 0 = not waiting
    overdue_at_s: uint256
    is_overdue: bool


struct ModeClock:
    mode: uint256
    # match of the last batch, or genesis
    last_batch_s: uint256
    n_overdue: uint256
    # whether enter_exit_mode or leave_exit_mode would pass now
    is_entry_open: bool
    is_exit_open: bool
    exit_mode_since_s: uint256
    # from then on anybody may start final settlement, if exit mode lasts; 0 = not in exit mode
    settlement_from_s: uint256


struct TallyProgress:
    tallied_collateral_quote: int256
    total_collateral_quote: int256
    n_incomplete_markets: uint256
    positive_equity_quote: uint256
    is_ratio_fixed: bool
    # payout = equity x min(1, assets / positive equity)
    assets_quote: uint256


# a request may be forced by anybody after this long
FORCE_DELAY_S: constant(uint256) = 6 * 3_600
REQUEST_LIFE_S: constant(uint256) = 30 * 86_400
AUCTION_S: constant(uint256) = 3_600
# a close that nobody takes at its last price for this long is overdue: 30 h after the request at the earliest
WAIT_S: constant(uint256) = 23 * 3_600
# a halt stops the auction's clock, but not for ever: after this long a close waits as if its hour were over
MAX_STANDSTILL_S: constant(uint256) = 14 * 86_400
# a smaller close makes nobody rich who takes it, so nobody's not taking it proves anything: 100 USDC
MIN_OVERDUE_QUOTE: constant(uint256) = 100 * 10**6
# silence of the sequencer that opens exit mode; the uptime feed of the chain can double it, no more
SILENCE_S: constant(uint256) = 86_400
ALIVE_S: constant(uint256) = 3_600
EXIT_MODE_S: constant(uint256) = 7 * 86_400
# what binds against acknowledged fills binds this much later
SETTLE_LAG_S: constant(uint256) = 300
# a stale market's band is no wider than half the price, unless its rules say so
MAX_STALE_BAND_PPM: constant(uint256) = 500_000
DAY_S: constant(uint256) = 86_400

MAX_MARKETS: constant(uint256) = 32
MAX_OPEN_MARKETS: constant(uint256) = 6
# accounts in one call of tally
MAX_TALLIED: constant(uint256) = 64

NORMAL: constant(uint256) = 0
EXIT_MODE: constant(uint256) = 1
SETTLED: constant(uint256) = 2
MODE_BIT: constant(uint256) = 200

# causes of RequestChanged
REQUESTED: constant(uint256) = 1
CANCELLED: constant(uint256) = 2
FORCED: constant(uint256) = 3
OBSERVED: constant(uint256) = 4
EXPIRED: constant(uint256) = 5
NO_POSITION: constant(uint256) = 6
AUCTION_OVER: constant(uint256) = 7

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1
M96: constant(uint256) = 2**96 - 1
M128: constant(uint256) = 2**128 - 1
MAX_ACCOUNT_ID: constant(uint256) = 2**240 - 1

# tally word of an account: 0-127 equity if positive | 254 claimed | 255 tallied
CLAIMED: constant(uint256) = 1 << 254
TALLIED: constant(uint256) = 1 << 255

# whose words are read and moved
CLEARINGHOUSE: public(immutable(address))
# what it holds and owes at final settlement
VAULT: public(immutable(address))
# Chainlink's sequencer uptime feed of the chain, zero where there is none
UPTIME_FEED: public(immutable(address))

# request words by account_id << 16 | market, market 0 for the withdrawal; written by request, cancel, force and observe
#   0-63    remaining        quote of a withdrawal, lots of a close; 0 = no request
#   64-103  requested_at_s
#   104-143 worst_ticks
#   144-183 observed_at_s    184-199 elapsed_s   clock of the auction; 0 = not started
#   200-239 waiting_since_s
#   240 is_long | 241 is_running | 242 is_overdue
requests: HashMap[uint256, uint256]
# who is paid, by account; written by request_withdrawal
recipients: public(HashMap[uint256, address])
# seconds since which an account may take positions here; written by announce_taker
taker_since_s: public(HashMap[uint256, uint256])
# requests whose word says overdue
n_overdue: public(uint256)
# when exit mode began; 0 outside it. Kept in final settlement
exit_mode_since_s: public(uint256)
# tally words by account; written by tally and claim
tallies: public(HashMap[uint256, uint256])
# sum of the collateral of tallied accounts
tallied_collateral_quote: public(int256)
# per market, of tallied accounts: 0-63 long lots | 64-127 short lots | 128-223 sum of entries int96
market_tallies: public(HashMap[uint256, uint256])
# sum of the positive equities of tallied users
positive_equity_quote: public(uint256)
# what there is for them; written once, with is_ratio_fixed
assets_quote: public(uint256)
is_ratio_fixed: public(bool)


@deploy
def __init__(clearinghouse: address, vault: address, uptime_feed: address):
    """
    @notice Wires the neighbours, both deployed later; the Clearinghouse checks that it is the one named here.
    @param clearinghouse Address the Clearinghouse will have.
    @param vault Address the Vault will have.
    @param uptime_feed The chain's sequencer uptime feed (AggregatorV3), zero for none.
    """
    assert clearinghouse != empty(address) and vault != empty(address), errors.NO_ADDRESS
    CLEARINGHOUSE = clearinghouse
    VAULT = vault
    UPTIME_FEED = uptime_feed


# ---------------------------------------------------------------- owners


@external
def request_withdrawal(subaccount: uint80, quote: uint64, recipient: address):
    """
    @notice Asks for collateral of the caller's account; force_withdrawal pays as much of it as the account can spare.
    @param subaccount Subaccount number.
    @param quote Sum in quote units, at least 1; more than there is asks for all.
    @param recipient Who may collect from the Vault: not zero, Vault, Clearinghouse or token.
    """
    assert (
        recipient != empty(address)
        and recipient != VAULT
        and recipient != CLEARINGHOUSE
        and recipient != staticcall IVault(VAULT).TOKEN()
    ), errors.EXIT_RECIPIENT
    account_id: uint256 = self._account_id(subaccount)
    self.recipients[account_id] = recipient
    self._request(account_id, 0, convert(quote, uint256), 0, False)


@external
def request_close(subaccount: uint80, market: uint8, lots: uint64, worst_ticks: uint40):
    """
    @notice Asks somebody to take a position of the caller's account, at a price between the external one and a worst one.
    @param subaccount Subaccount number.
    @param market Market id.
    @param lots How many, at least 1; more than the position has asks for all.
    @param worst_ticks Lowest price of a long, highest of a short. Beyond the band means any price inside it.
    """
    account_id: uint256 = self._account_id(subaccount)
    size_lots: int256 = self._size_lots(account_id, convert(market, uint256))
    assert size_lots != 0, errors.EXIT_NO_POSITION
    self._request(
        account_id,
        convert(market, uint256),
        min(convert(lots, uint256), convert(abs(size_lots), uint256)),
        convert(worst_ticks, uint256),
        size_lots > 0,
    )


@external
def cancel_request(subaccount: uint80, market: uint8):
    """
    @notice Takes a request of the caller's account back.
    @param subaccount Subaccount number.
    @param market Market of the close, 0 for the withdrawal.
    """
    account_id: uint256 = self._account_id(subaccount)
    self._end(account_id, convert(market, uint256), self._open_request(account_id, convert(market, uint256)), CANCELLED)


@external
def announce_taker(subaccount: uint80):
    """
    @notice Tells the sequencer that the caller's account will take positions here, from SETTLE_LAG on and for good.
    @dev A position taken on chain uses margin that a fill acknowledged off chain may count on. Told before, an honest
         sequencer no longer acknowledges fills this account could void.
    @param subaccount Subaccount number.
    """
    account_id: uint256 = self._account_id(subaccount)
    assert self.taker_since_s[account_id] == 0, errors.EXIT_ANNOUNCED
    self.taker_since_s[account_id] = block.timestamp + SETTLE_LAG_S
    log IExits.TakerAnnounced(account=account_id, time_s=block.timestamp)


# ---------------------------------------------------------------- anybody: requests


@external
def force_withdrawal(account_id: uint256) -> uint256:
    """
    @notice Pays what an account has requested, as far as its margin allows now: anybody after FORCE_DELAY, the sequencer at
            any time. What could not be paid stays requested.
    @param account_id owner << 80 | subaccount.
    @return Quote moved to the recipient's claim; 0 with a code in WithdrawalFailed, or when the request was dead.
    """
    self._check_account(account_id)
    self._check_not_settled()
    request: Request = self._open_request(account_id, 0)
    if block.timestamp > request.requested_at_s + REQUEST_LIFE_S:
        self._end(account_id, 0, request, EXPIRED)
        return 0
    assert (
        block.timestamp >= request.requested_at_s + FORCE_DELAY_S or msg.sender == self._sequencer()
    ), errors.EXIT_TOO_EARLY
    risk: account_risk.Risk = self._risk(account_id)
    free_quote: int256 = risk.equity_quote - convert(risk.withdrawal_margin_quote, int256)
    if free_quote <= 0:
        log IExits.WithdrawalFailed(
            account=account_id,
            code=convert(codes.MARGIN, uint8),
            equity_quote=risk.equity_quote,
            margin_quote=risk.withdrawal_margin_quote,
        )
        return 0
    quote: uint256 = min(request.remaining, convert(free_quote, uint256))
    recipient: address = self.recipients[account_id]
    request.remaining -= quote
    self._store(account_id, 0, request, FORCED)
    log IExits.WithdrawalForced(account=account_id, recipient=recipient, quote=quote)
    extcall IClearinghouse(CLEARINGHOUSE).withdraw_to_claim(account_id, recipient, quote)
    return quote


@external
def force_close(account_id: uint256, market: uint8, lots: uint256, subaccount: uint80) -> (uint256, uint256):
    """
    @notice Lets an account of the caller take a position whose owner asked to be rid of it, at the auction's price now.
    @dev The first call of anybody starts the auction, at its first price. No fee. The taker needs initial margin afterwards,
         unless it lowers its own risk.
    @param account_id Whose request.
    @param market Market id.
    @param lots At most so many.
    @param subaccount Subaccount of the caller that takes, announced SETTLE_LAG before.
    @return Lots taken and their price in ticks.
    """
    self._check_account(account_id)
    self._check_not_settled()
    taker_id: uint256 = self._account_id(subaccount)
    assert taker_id >> 80 != account_id >> 80, errors.EXIT_OWN_REQUEST
    since_s: uint256 = self.taker_since_s[taker_id]
    assert since_s != 0 and block.timestamp > since_s, errors.EXIT_NOT_ANNOUNCED
    request: Request = self._open_request(account_id, convert(market, uint256))
    assert block.timestamp >= request.requested_at_s + FORCE_DELAY_S, errors.EXIT_TOO_EARLY
    assert block.timestamp <= request.requested_at_s + REQUEST_LIFE_S, errors.EXIT_DEAD
    holding: account_risk.Holding = self._holding(account_id, convert(market, uint256))
    assert holding.size_lots != 0 and (holding.size_lots > 0) == request.is_long, errors.EXIT_NO_POSITION
    assert not self._is_halted(holding.session), errors.EXIT_HALTED
    request = self._advanced(request, False)
    size: uint256 = min(min(lots, request.remaining), convert(abs(holding.size_lots), uint256))
    assert size > 0, errors.EXIT_NOTHING_ASKED
    price_ticks: uint256 = self._price_ticks(account_id, holding, request, size)
    assert price_ticks > 0, errors.EXIT_NO_PRICE
    size_change: int256 = convert(size, int256)
    if request.is_long:
        size_change = -size_change
    self._check_taker(taker_id, convert(market, uint256), -size_change, price_ticks)
    request.remaining -= size
    self._store(account_id, convert(market, uint256), request, FORCED)
    log IExits.CloseForced(account=account_id, taker=taker_id, market=market, lots=size, price_ticks=price_ticks)
    paid_quote: int256 = size_change * convert(price_ticks, int256)
    closed: IClearinghouse.Delta = IClearinghouse.Delta(
        account_id=account_id, size_lots=size_change, entry_quote=paid_quote, collateral_quote=0
    )
    taken: IClearinghouse.Delta = IClearinghouse.Delta(
        account_id=taker_id, size_lots=-size_change, entry_quote=-paid_quote, collateral_quote=0
    )
    if account_id < taker_id:
        extcall IClearinghouse(CLEARINGHOUSE).apply_deltas(convert(market, uint256), [closed, taken], 0)
    else:
        extcall IClearinghouse(CLEARINGHOUSE).apply_deltas(convert(market, uint256), [taken, closed], 0)
    return size, price_ticks


@external
def observe(account_id: uint256, market: uint8):
    """
    @notice Looks at a close: starts, stops and resumes its clock, ends it when it is over, and says whether it is overdue.
    @dev What the clock did between two looks follows from both: it ran if the market was not halted at either.
    @param account_id Whose request.
    @param market Market id.
    """
    self._check_account(account_id)
    self._check_not_settled()
    # a withdrawal has no clock: force_withdrawal alone ends it
    assert market != 0, errors.EXIT_NO_REQUEST
    request: Request = self._open_request(account_id, convert(market, uint256))
    if block.timestamp > request.requested_at_s + REQUEST_LIFE_S:
        self._end(account_id, convert(market, uint256), request, EXPIRED)
        return
    holding: account_risk.Holding = self._holding(account_id, convert(market, uint256))
    if holding.size_lots == 0 or (holding.size_lots > 0) != request.is_long:
        self._end(account_id, convert(market, uint256), request, NO_POSITION)
        return
    assert block.timestamp >= request.requested_at_s + FORCE_DELAY_S, errors.EXIT_TOO_EARLY
    request = self._advanced(request, self._is_halted(holding.session))
    # lots that are gone do not come back into this request
    request.remaining = min(request.remaining, convert(abs(holding.size_lots), uint256))
    band_ticks: uint256 = self._band_ticks(holding)
    takes_any_price: bool = request.worst_ticks >= holding.external_ticks + band_ticks
    if request.is_long:
        takes_any_price = request.worst_ticks <= max(holding.external_ticks - band_ticks, 1)
    if request.elapsed_s == AUCTION_S and not takes_any_price:
        self._end(account_id, convert(market, uint256), request, AUCTION_OVER)
        return
    was_overdue: bool = request.is_overdue
    if takes_any_price and self._is_waiting(account_id, holding, request):
        if request.waiting_since_s == 0:
            request.waiting_since_s = block.timestamp
        request.is_overdue = block.timestamp >= request.waiting_since_s + WAIT_S
    else:
        request.waiting_since_s = 0
        request.is_overdue = False
    if request.is_overdue and not was_overdue:
        self.n_overdue += 1
    elif was_overdue and not request.is_overdue:
        self.n_overdue -= 1
    self._store(account_id, convert(market, uint256), request, OBSERVED)


# ---------------------------------------------------------------- anybody: modes


@external
def enter_exit_mode():
    """
    @notice Stops everything but reductions and withdrawals, when the sequencer has been silent for a day or a close is overdue.
    """
    assert self._mode() == NORMAL, errors.EXIT_MODE
    assert self.n_overdue > 0 or self._is_silent(), errors.EXIT_NOT_DUE
    self.exit_mode_since_s = block.timestamp
    self._set_mode(EXIT_MODE)


@external
def leave_exit_mode():
    """
    @notice Goes back to trading, when the sequencer is there and no close is overdue.
    """
    assert self._mode() == EXIT_MODE, errors.EXIT_MODE
    assert self._is_alive() and self.n_overdue == 0, errors.EXIT_NOT_CLEARED
    self.exit_mode_since_s = 0
    self._set_mode(NORMAL)


@external
def start_final_settlement():
    """
    @notice Ends trading for good after EXIT_MODE_S of exit mode: every position is worth its market's last external price.
    """
    assert self._mode() == EXIT_MODE, errors.EXIT_MODE
    assert block.timestamp >= self.exit_mode_since_s + EXIT_MODE_S, errors.EXIT_NOT_DUE
    self._set_mode(SETTLED)


# ---------------------------------------------------------------- anybody: final settlement


@external
def tally(account_ids: DynArray[uint256, MAX_TALLIED]) -> bool:
    """
    @notice Adds accounts to the sums of final settlement, each once, in any order; fixes the ratio when all are in.
    @dev Complete when the sums equal the running totals of the Clearinghouse: then nobody left out has a position, and who
         has none never owes, so that equal sums of collateral leave nobody with any.
    @param account_ids Accounts; those that are in already are passed over.
    @return Whether the ratio is fixed.
    """
    assert self._mode() == SETTLED, errors.EXIT_NOT_SETTLED
    assert not self.is_ratio_fixed, errors.EXIT_RATIO_FIXED
    collateral_quote: int256 = self.tallied_collateral_quote
    positive_quote: uint256 = self.positive_equity_quote
    insurance: address = staticcall IClearinghouse(CLEARINGHOUSE).LIQUIDATIONS()
    # by market, read when the first position of this call asks
    prices: uint256[MAX_MARKETS + 1] = empty(uint256[MAX_MARKETS + 1])
    indices: uint256[MAX_MARKETS + 1] = empty(uint256[MAX_MARKETS + 1])
    sums: uint256[MAX_MARKETS + 1] = empty(uint256[MAX_MARKETS + 1])
    for account_id: uint256 in account_ids:
        self._check_account(account_id)
        if self.tallies[account_id] != 0:
            continue
        word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
        equity_quote: int256 = account_risk._collateral_quote(word)
        collateral_quote += equity_quote
        for slot: uint256 in range(MAX_OPEN_MARKETS):
            market: uint256 = (word >> (200 + 8 * slot)) & 255
            if market == 0:
                continue
            if prices[market] == 0:
                prices[market] = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
                indices[market] = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
                sums[market] = self.market_tallies[market]
            position: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).position_word(account_id, market)
            size_lots: int256 = fixed_point._as_signed(position << 192) >> 192
            entry_quote: int256 = fixed_point._lane96(position, 64)
            equity_quote += (
                size_lots * convert((prices[market] >> 80) & M40, int256)
                - entry_quote
                - margin._pending_quote(position, indices[market])
            )
            sums[market] = self._with_position(sums[market], size_lots, entry_quote)
        payable_quote: uint256 = 0
        # insurance has paid what it had to: what it still holds is nobody's claim
        if equity_quote > 0 and convert(account_id >> 80, address) != insurance:
            payable_quote = convert(equity_quote, uint256)
        positive_quote += payable_quote
        self.tallies[account_id] = TALLIED | payable_quote
        log IExits.AccountTallied(account=account_id, equity_quote=equity_quote)
    self.tallied_collateral_quote = collateral_quote
    self.positive_equity_quote = positive_quote
    for market: uint256 in range(1, MAX_MARKETS + 1):
        if prices[market] != 0:
            self.market_tallies[market] = sums[market]
    # the markets are asked when the cheap sum fits
    if collateral_quote != self._total_collateral_quote() or self._n_incomplete_markets() != 0:
        return False
    assets_quote: uint256 = staticcall IVault(VAULT).tracked_quote() - staticcall IVault(VAULT).total_claims_quote()
    self.assets_quote = assets_quote
    self.is_ratio_fixed = True
    log IExits.RatioFixed(assets_quote=assets_quote, positive_equity_quote=positive_quote)
    return True


@external
def claim(account_id: uint256) -> uint256:
    """
    @notice Turns an account's share of final settlement into a claim of its owner in the Vault, once.
    @param account_id A tallied account.
    @return Quote.
    """
    self._check_account(account_id)
    quote: uint256 = self._claimable_quote(account_id)
    assert quote > 0, errors.EXIT_NOTHING_TO_CLAIM
    self.tallies[account_id] |= CLAIMED
    owner: address = convert(account_id >> 80, address)
    log IExits.SettlementClaimed(account=account_id, owner=owner, quote=quote)
    extcall IClearinghouse(CLEARINGHOUSE).withdraw_to_claim(account_id, owner, quote)
    return quote


# ---------------------------------------------------------------- views


@external
@view
def request_word(account_id: uint256, market: uint8) -> uint256:
    """
    @notice Shows a request as it is stored.
    @param account_id owner << 80 | subaccount.
    @param market Market of a close, 0 for the withdrawal.
    @return Request word, 0 = none.
    """
    return self.requests[self._key(account_id, convert(market, uint256))]


@external
@view
def request_state(account_id: uint256, market: uint8) -> RequestState:
    """
    @notice Shows a request and its times.
    @param account_id owner << 80 | subaccount.
    @param market Market of a close, 0 for the withdrawal.
    @return The state; dead requests are not open.
    """
    word: uint256 = self.requests[self._key(account_id, convert(market, uint256))]
    state: RequestState = empty(RequestState)
    if word == 0:
        return state
    request: Request = self._unpacked(word)
    state.is_open = block.timestamp <= request.requested_at_s + REQUEST_LIFE_S
    state.remaining = request.remaining
    state.worst_ticks = request.worst_ticks
    state.is_long = request.is_long
    if market == 0:
        state.recipient = self.recipients[account_id]
    state.requested_at_s = request.requested_at_s
    state.forceable_at_s = request.requested_at_s + FORCE_DELAY_S
    state.dies_at_s = request.requested_at_s + REQUEST_LIFE_S
    if request.observed_at_s != 0:
        session: uint256 = (staticcall IClearinghouse(CLEARINGHOUSE).price_word(convert(market, uint256)) >> 200) & 255
        state.elapsed_s = self._advanced(request, self._is_halted(session)).elapsed_s
    state.waiting_since_s = request.waiting_since_s
    if request.waiting_since_s != 0:
        state.overdue_at_s = request.waiting_since_s + WAIT_S
    state.is_overdue = request.is_overdue
    return state


@external
@view
def withdrawable_quote(account_id: uint256) -> uint256:
    """
    @notice Computes the most a forced withdrawal of an account would pay now.
    @param account_id owner << 80 | subaccount.
    @return Quote.
    """
    self._check_account(account_id)
    risk: account_risk.Risk = self._risk(account_id)
    return convert(max(risk.equity_quote - convert(risk.withdrawal_margin_quote, int256), 0), uint256)


@external
@view
def close_price_ticks(account_id: uint256, market: uint8, lots: uint256) -> uint256:
    """
    @notice Computes at what price force_close would take lots of a request now. Smaller lots may be bounded otherwise.
    @param account_id Whose request.
    @param market Market id.
    @param lots At most so many.
    @return Ticks; 0 when there is none: no request, no position, halted, dead, its hour over, or its worst price out of the band.
    """
    self._check_account(account_id)
    word: uint256 = self.requests[self._key(account_id, convert(market, uint256))]
    if word == 0 or market == 0:
        return 0
    request: Request = self._unpacked(word)
    holding: account_risk.Holding = self._holding(account_id, convert(market, uint256))
    size: uint256 = min(min(lots, request.remaining), convert(abs(holding.size_lots), uint256))
    if (
        size == 0
        or (holding.size_lots > 0) != request.is_long
        or self._is_halted(holding.session)
        or block.timestamp > request.requested_at_s + REQUEST_LIFE_S
    ):
        return 0
    return self._price_ticks(account_id, holding, self._advanced(request, False), size)


@external
@view
def mode_clock() -> ModeClock:
    """
    @notice Shows the mode of the venue and what could change it.
    @return Mode, clocks, and whether the next step is open to anybody now.
    """
    mode: uint256 = self._mode()
    clock: ModeClock = empty(ModeClock)
    clock.mode = mode
    clock.last_batch_s = self._last_batch_s()
    clock.n_overdue = self.n_overdue
    clock.is_entry_open = mode == NORMAL and (self.n_overdue > 0 or self._is_silent())
    clock.is_exit_open = mode == EXIT_MODE and self.n_overdue == 0 and self._is_alive()
    clock.exit_mode_since_s = self.exit_mode_since_s
    if mode == EXIT_MODE:
        clock.settlement_from_s = clock.exit_mode_since_s + EXIT_MODE_S
    return clock


@external
@view
def tally_progress() -> TallyProgress:
    """
    @notice Shows how far final settlement is.
    @return Sums tallied and sums to reach.
    """
    return TallyProgress(
        tallied_collateral_quote=self.tallied_collateral_quote,
        total_collateral_quote=self._total_collateral_quote(),
        n_incomplete_markets=self._n_incomplete_markets(),
        positive_equity_quote=self.positive_equity_quote,
        is_ratio_fixed=self.is_ratio_fixed,
        assets_quote=self.assets_quote,
    )


@external
@view
def claimable_quote(account_id: uint256) -> uint256:
    """
    @notice Computes what `claim` would pay.
    @param account_id owner << 80 | subaccount.
    @return Quote; 0 before the ratio is fixed and after the claim.
    """
    self._check_account(account_id)
    return self._claimable_quote(account_id)


# ---------------------------------------------------------------- internal: requests


@internal
@view
def _account_id(subaccount: uint80) -> uint256:
    """
    @notice Names an account of the caller.
    @param subaccount Subaccount number.
    @return owner << 80 | subaccount.
    """
    return (convert(msg.sender, uint256) << 80) | convert(subaccount, uint256)


@internal
@pure
def _check_account(account_id: uint256):
    """
    @notice Reverts for a number beyond 240 bits: the Clearinghouse would read another account's words for it.
    @param account_id What a caller gave.
    """
    assert account_id <= MAX_ACCOUNT_ID, errors.EXIT_ACCOUNT


@internal
@pure
def _key(account_id: uint256, market: uint256) -> uint256:
    """
    @notice Names the place of a request.
    @param account_id owner << 80 | subaccount, 240 bits.
    @param market Market of a close, 0 for the withdrawal.
    @return Key of `requests`.
    """
    return (account_id << 16) | market


@internal
@pure
def _unpacked(word: uint256) -> Request:
    """
    @notice Reads a request word.
    @param word The word.
    @return Its fields.
    """
    return Request(
        remaining=word & M64,
        requested_at_s=(word >> 64) & M40,
        worst_ticks=(word >> 104) & M40,
        observed_at_s=(word >> 144) & M40,
        elapsed_s=(word >> 184) & M16,
        waiting_since_s=(word >> 200) & M40,
        is_long=(word >> 240) & 1 == 1,
        is_running=(word >> 241) & 1 == 1,
        is_overdue=(word >> 242) & 1 == 1,
    )


@internal
@view
def _open_request(account_id: uint256, market: uint256) -> Request:
    """
    @notice Reads a request that was made and has neither ended nor been taken back; it may be dead.
    @param account_id owner << 80 | subaccount.
    @param market Market of a close, 0 for the withdrawal.
    @return The request.
    """
    word: uint256 = self.requests[self._key(account_id, market)]
    assert word != 0, errors.EXIT_NO_REQUEST
    return self._unpacked(word)


@internal
def _request(account_id: uint256, market: uint256, remaining: uint256, worst_ticks: uint256, is_long: bool):
    """
    @notice Opens a request where none lives.
    @param account_id Account of the caller.
    @param market Market of a close, 0 for the withdrawal.
    @param remaining Quote or lots, 64 bits.
    @param worst_ticks Worst price of a close.
    @param is_long Side of the position to close.
    """
    self._check_not_settled()
    assert remaining > 0, errors.EXIT_NOTHING_ASKED
    word: uint256 = self.requests[self._key(account_id, market)]
    if word != 0:
        old: Request = self._unpacked(word)
        assert block.timestamp > old.requested_at_s + REQUEST_LIFE_S, errors.EXIT_REQUEST_OPEN
        if old.is_overdue:
            self.n_overdue -= 1
    request: Request = empty(Request)
    request.remaining = remaining
    request.requested_at_s = block.timestamp
    request.worst_ticks = worst_ticks
    request.is_long = is_long
    self._store(account_id, market, request, REQUESTED)


@internal
def _store(account_id: uint256, market: uint256, request: Request, cause: uint256):
    """
    @notice Writes and logs a request. One with nothing left is gone, and overdue no more.
    @param account_id Whose.
    @param market Market of a close, 0 for the withdrawal.
    @param request The request as it is now.
    @param cause Why, for the event.
    """
    word: uint256 = 0
    if request.remaining != 0:
        word = (
            request.remaining
            | (request.requested_at_s << 64)
            | (request.worst_ticks << 104)
            | (request.observed_at_s << 144)
            | (request.elapsed_s << 184)
            | (request.waiting_since_s << 200)
            | (convert(request.is_long, uint256) << 240)
            | (convert(request.is_running, uint256) << 241)
            | (convert(request.is_overdue, uint256) << 242)
        )
    elif request.is_overdue:
        self.n_overdue -= 1
    self.requests[self._key(account_id, market)] = word
    recipient: address = empty(address)
    if market == 0:
        recipient = self.recipients[account_id]
    log IExits.RequestChanged(
        account=account_id, market=convert(market, uint8), cause=convert(cause, uint8), word=word, recipient=recipient
    )


@internal
def _end(account_id: uint256, market: uint256, request: Request, cause: uint256):
    """
    @notice Ends a request.
    @param account_id Whose.
    @param market Market of a close, 0 for the withdrawal.
    @param request The request as it was.
    @param cause Why, for the event.
    """
    ended: Request = request
    ended.remaining = 0
    self._store(account_id, market, ended, cause)


@internal
@view
def _advanced(request: Request, is_halted: bool) -> Request:
    """
    @notice Moves the clock of an auction to now. It starts when it is first looked at.
    @param request The request as it was seen last.
    @param is_halted Whether the market is halted now.
    @return The request with its clock looked at.
    """
    moved: Request = request
    if request.is_running and not is_halted:
        moved.elapsed_s = min(request.elapsed_s + block.timestamp - request.observed_at_s, AUCTION_S)
    moved.observed_at_s = block.timestamp
    moved.is_running = not is_halted
    return moved


@internal
@view
def _is_waiting(account_id: uint256, holding: account_risk.Holding, request: Request) -> bool:
    """
    @notice Tells whether a close at any price has had its auction and should have found a taker.
    @dev A small one is nobody's profit, and an account below its maintenance margin is for liquidation, which sells it.
    @param account_id Whose.
    @param holding The position.
    @param request The request, clock and lots as they are now.
    @return Whether it waits.
    """
    if (
        request.elapsed_s < AUCTION_S
        and block.timestamp < request.requested_at_s + FORCE_DELAY_S + MAX_STANDSTILL_S
    ):
        return False
    if request.remaining * holding.external_ticks < MIN_OVERDUE_QUOTE:
        return False
    if not holding.is_fresh:
        return True
    risk: account_risk.Risk = self._risk(account_id)
    return risk.equity_quote >= convert(risk.maintenance_margin_quote, int256)


# ---------------------------------------------------------------- internal: prices and risk


@internal
@pure
def _is_halted(session: uint256) -> bool:
    """
    @notice Tells whether a session stops auctions.
    @param session 0..8.
    @return True for HALTED and CORPORATE_ACTION.
    """
    return session == account_risk.HALTED or session == account_risk.CORPORATE_ACTION


@internal
@view
def _size_lots(account_id: uint256, market: uint256) -> int256:
    """
    @notice Reads the size of a position.
    @param account_id owner << 80 | subaccount.
    @param market 0..255.
    @return Lots, long > 0.
    """
    return fixed_point._as_signed(staticcall IClearinghouse(CLEARINGHOUSE).position_word(account_id, market) << 192) >> 192


@internal
@view
def _holding(account_id: uint256, market: uint256) -> account_risk.Holding:
    """
    @notice Reads a position; a halted market's price counts as stale.
    @param account_id owner << 80 | subaccount.
    @param market 0..255.
    @return The position at block time, zero lots if there is none.
    """
    holding: account_risk.Holding = account_risk._holding(
        IClearinghouse(CLEARINGHOUSE), account_id, market, block.timestamp
    )
    holding.is_fresh = holding.is_fresh and not self._is_halted(holding.session)
    return holding


@internal
@view
def _conservative(holding: account_risk.Holding) -> account_risk.Holding:
    """
    @notice Moves the external price of a stale or halted market to the edge of its band that is worse for the position.
    @param holding A position as the Clearinghouse has it.
    @return The position to be valued, at the worse of mark and external price.
    """
    moved: account_risk.Holding = holding
    moved.is_fresh = holding.is_fresh and not self._is_halted(holding.session)
    if moved.is_fresh:
        return moved
    band_ticks: uint256 = self._band_ticks(moved)
    if holding.size_lots > 0:
        moved.external_ticks -= band_ticks
    else:
        moved.external_ticks += band_ticks
    return moved


@internal
@view
def _band_ticks(holding: account_risk.Holding) -> uint256:
    """
    @notice Computes how far from the external price a position may be closed: the session's band, when the price is stale once
            more for each whole day it is old.
    @param holding The position, its external price not moved.
    @return Half the width of the band in ticks, not above the price itself.
    """
    ppm: uint256 = (holding.rules >> 60) & M20
    if not holding.is_fresh:
        # a price of the future does not happen; the difference is taken safely all the same
        age_s: uint256 = max(block.timestamp, holding.external_time_s) - holding.external_time_s
        ppm = max(ppm, min(ppm * (1 + age_s // DAY_S), MAX_STALE_BAND_PPM))
    return holding.external_ticks * ppm // 1_000_000


@internal
@view
def _risk(account_id: uint256) -> account_risk.Risk:
    """
    @notice Sums an account, stale markets at their conservative prices.
    @param account_id owner << 80 | subaccount.
    @return Equity and requirements in quote.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    holdings: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = account_risk._holdings(
        IClearinghouse(CLEARINGHOUSE), account_id, word, block.timestamp
    )
    for i: uint256 in range(len(holdings), bound=account_risk.MAX_HOLDINGS):
        holdings[i] = self._conservative(holdings[i])
    return account_risk._risk(account_risk._collateral_quote(word), holdings, account_risk.AT_WORSE)


@internal
@view
def _price_ticks(
    account_id: uint256, holding: account_risk.Holding, request: Request, size: uint256
) -> uint256:
    """
    @notice Computes the price of an auction: over an hour from the external price, in a stale market from the edge of the band
            that is better for the owner, to the owner's worst price, inside the band, and no further than the account bears.
    @dev Rounded for the owner. Prices are < 2^35, what a lot bears fits int256 by far.
    @param account_id Whose request.
    @param holding The position.
    @param request The request, its clock as it is now.
    @param size Lots to take, not more than the position.
    @return Ticks; 0 when the hour is over, the worst price lies beyond the band, or only a price beyond it would leave no debt.
    """
    band_ticks: uint256 = self._band_ticks(holding)
    low_ticks: int256 = convert(max(holding.external_ticks - band_ticks, 1), int256)
    high_ticks: int256 = convert(holding.external_ticks + band_ticks, int256)
    worst_ticks: int256 = convert(request.worst_ticks, int256)
    valuation_ticks: int256 = convert(account_risk._valuation_ticks(holding, account_risk.AT_WORSE), int256)
    # rounded down: a debt is covered whole
    per_lot_ticks: int256 = -fixed_point._div_up(-self._bearable_quote(account_id, holding, size), convert(size, int256))
    # seen from the other side a short's prices run like a long's
    sign: int256 = 1 if request.is_long else -1
    near_ticks: int256 = high_ticks if request.is_long else -low_ticks
    far_ticks: int256 = low_ticks if request.is_long else -high_ticks
    last_ticks: int256 = max(max(sign * worst_ticks, far_ticks), sign * valuation_ticks - per_lot_ticks)
    if last_ticks > near_ticks or (request.elapsed_s == AUCTION_S and sign * worst_ticks > far_ticks):
        return 0
    first_ticks: int256 = near_ticks
    if holding.is_fresh:
        first_ticks = max(sign * convert(holding.external_ticks, int256), last_ticks)
    fallen_ticks: int256 = (first_ticks - last_ticks) * convert(request.elapsed_s, int256) // convert(AUCTION_S, int256)
    return convert(sign * (first_ticks - fallen_ticks), uint256)


@internal
@view
def _bearable_quote(account_id: uint256, holding: account_risk.Holding, size: uint256) -> int256:
    """
    @notice Computes what an account may lose by closing lots, against what they are valued at, the worse of mark and external.
    @dev What leaves it its settlement margin, or the ratio of equity to maintenance margin it had: a close never takes from the
         positions that stay. A bankrupt account must gain what it lacks: who has no position never owes. A taker's stale
         prices are the conservative ones, so that nobody takes out through a second account what a withdrawal would leave.
    @param account_id Whose.
    @param holding The position.
    @param size Lots closed.
    @return Quote, not more than its equity.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    collateral_quote: int256 = account_risk._collateral_quote(word)
    holdings: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = account_risk._holdings(
        IClearinghouse(CLEARINGHOUSE), account_id, word, block.timestamp
    )
    before: account_risk.Risk = account_risk._risk(collateral_quote, holdings, account_risk.AT_WORSE)
    if before.equity_quote <= 0:
        return before.equity_quote
    change: int256 = convert(size, int256)
    if holding.size_lots > 0:
        change = -change
    # closed at its valuation: equity stays, requirements fall
    after: account_risk.Risk = account_risk._risk(
        collateral_quote,
        account_risk._trade(holdings, holding, change, account_risk._valuation_ticks(holding, account_risk.AT_WORSE)),
        account_risk.AT_WORSE,
    )
    bearable_quote: int256 = before.equity_quote - convert(after.settlement_margin_quote, int256)
    if before.maintenance_margin_quote == 0:
        return max(bearable_quote, 0)
    freed_quote: uint256 = before.maintenance_margin_quote - after.maintenance_margin_quote
    return max(
        bearable_quote,
        convert(
            convert(before.equity_quote, uint256) * freed_quote // before.maintenance_margin_quote, int256
        ),
    )


@internal
@view
def _check_taker(taker_id: uint256, market: uint256, size_change: int256, price_ticks: uint256):
    """
    @notice Reverts unless an account may take a position: with initial margin afterwards, stale markets at their conservative
            prices, and inside the account cap; or with less risk than before, by the rule its counterpart is held to.
    @param taker_id Account of the caller.
    @param market Market id.
    @param size_change Lots the taker buys, negative if it sells.
    @param price_ticks Price.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(taker_id)
    collateral_quote: int256 = account_risk._collateral_quote(word)
    held: account_risk.Holding = self._holding(taker_id, market)
    old_lots: int256 = held.size_lots
    new_lots: int256 = old_lots + size_change
    plain: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = account_risk._holdings(
        IClearinghouse(CLEARINGHOUSE), taker_id, word, block.timestamp
    )
    traded: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = account_risk._trade(
        plain, held, size_change, price_ticks
    )
    # after the trade: a stale price counts at the edge that is worse for the side the taker ends on
    valued: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = traded
    for i: uint256 in range(len(valued), bound=account_risk.MAX_HOLDINGS):
        valued[i] = self._conservative(valued[i])
    after: account_risk.Risk = account_risk._risk(collateral_quote, valued, account_risk.AT_WORSE)
    if after.equity_quote >= convert(after.initial_margin_quote, int256):
        if abs(new_lots) > abs(old_lots):
            assert convert(abs(new_lots), uint256) <= self._account_cap_lots(held.rules), errors.EXIT_ACCOUNT_CAP
        return
    # fewer lots on the same side, or none
    assert abs(new_lots) < abs(old_lots) and (
        new_lots == 0 or (new_lots > 0) == (old_lots > 0)
    ), errors.EXIT_TAKER_MARGIN
    before: account_risk.Risk = account_risk._risk(collateral_quote, plain, account_risk.AT_WORSE)
    after = account_risk._risk(collateral_quote, traded, account_risk.AT_WORSE)
    assert after.equity_quote >= 0 and (
        after.equity_quote >= convert(after.settlement_margin_quote, int256)
        or after.equity_quote * convert(before.maintenance_margin_quote, int256)
        >= before.equity_quote * convert(after.maintenance_margin_quote, int256)
    ), errors.EXIT_TAKER_MARGIN


@internal
@pure
def _account_cap_lots(rules: uint256) -> uint256:
    """
    @notice Reads how many lots one account may grow to.
    @param rules Rules word in use.
    @return Lots.
    """
    cap_lots: uint256 = (rules >> 112) & M40
    share: uint256 = (rules >> 152) & M16
    return (cap_lots * share) >> 16 if share != 0 else cap_lots


# ---------------------------------------------------------------- internal: modes


@internal
@view
def _mode() -> uint256:
    """
    @notice Reads the mode of the venue.
    @return 0 normal, 1 exit mode, 2 settled.
    """
    return (staticcall IClearinghouse(CLEARINGHOUSE).operator_word() >> MODE_BIT) & 255


@internal
@view
def _check_not_settled():
    """
    @notice Reverts in final settlement, which pays everybody by itself.
    """
    assert self._mode() != SETTLED, errors.EXIT_SETTLED


@internal
@view
def _sequencer() -> address:
    """
    @notice Reads who may settle.
    @return Address.
    """
    return convert(staticcall IClearinghouse(CLEARINGHOUSE).operator_word() & (2**160 - 1), address)


@internal
@view
def _last_batch_s() -> uint256:
    """
    @notice Reads when the last batch was matched.
    @return UNIX seconds; genesis before the first.
    """
    return max(
        (staticcall IClearinghouse(CLEARINGHOUSE).batch_word() >> 40) & M40,
        staticcall IClearinghouse(CLEARINGHOUSE).GENESIS_S(),
    )


@internal
@view
def _is_alive() -> bool:
    """
    @notice Tells whether a batch was matched within the last hour.
    @return Whether the sequencer is there.
    """
    return block.timestamp < self._last_batch_s() + ALIVE_S


@internal
@view
def _is_silent() -> bool:
    """
    @notice Tells whether no batch was matched for a day in which the chain was up.
    @dev The feed can postpone this by a day at most: whoever holds it stops no exit. A call it starves of gas reverts whole.
    @return Whether the sequencer is silent.
    """
    last_s: uint256 = self._last_batch_s()
    if block.timestamp <= last_s + SILENCE_S:
        return False
    if UPTIME_FEED == empty(address) or block.timestamp > last_s + 2 * SILENCE_S:
        return True
    round_id: uint80 = 0
    answer: int256 = 0
    started_at_s: uint256 = 0
    updated_at_s: uint256 = 0
    answered_in: uint80 = 0
    round_id, answer, started_at_s, updated_at_s, answered_in = staticcall IUptimeFeed(UPTIME_FEED).latestRoundData()
    # 0 = up, since started_at
    return answer == 0 and block.timestamp > max(last_s, started_at_s) + SILENCE_S


@internal
def _set_mode(mode: uint256):
    """
    @notice Writes and logs the mode.
    @param mode 0, 1 or 2.
    """
    log IExits.ModeChanged(mode=convert(mode, uint8), time_s=block.timestamp)
    extcall IClearinghouse(CLEARINGHOUSE).set_mode(mode)


# ---------------------------------------------------------------- internal: final settlement


@internal
@pure
def _with_position(sums: uint256, size_lots: int256, entry_quote: int256) -> uint256:
    """
    @notice Adds a position to the sums of its market.
    @param sums 0-63 long lots | 64-127 short lots | 128-223 sum of entries.
    @param size_lots Its lots.
    @param entry_quote Its entry.
    @return The sums. All lots of a market are < 2^41, all entries fit the totals word.
    """
    lots: uint256 = convert(abs(size_lots), uint256)
    if size_lots < 0:
        lots <<= 64
    entries: int256 = fixed_point._lane96(sums, 128) + entry_quote
    return ((sums & M128) + lots) | ((fixed_point._as_word(entries) & M96) << 128)


@internal
@view
def _total_collateral_quote() -> int256:
    """
    @notice Reads the sum of all collateral.
    @return Quote.
    """
    return fixed_point._lane96(staticcall IClearinghouse(CLEARINGHOUSE).batch_word(), 160)


@internal
@view
def _n_incomplete_markets() -> uint256:
    """
    @notice Counts the markets of which not every position is tallied.
    @return 0..32.
    """
    n_incomplete: uint256 = 0
    for market: uint256 in range(1, MAX_MARKETS + 1):
        totals: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market)
        sums: uint256 = self.market_tallies[market]
        # long lots and short lots both equal open interest, and the entries the net entry
        if sums != ((totals & M64) * (1 + 2**64)) | (((totals >> 64) & M96) << 128):
            n_incomplete += 1
    return n_incomplete


@internal
@view
def _claimable_quote(account_id: uint256) -> uint256:
    """
    @notice Computes an account's share: its equity, or less where the assets are less than all positive equities.
    @param account_id owner << 80 | subaccount.
    @return Quote, rounded down; 0 unless the ratio is fixed and the share unclaimed.
    """
    word: uint256 = self.tallies[account_id]
    if not self.is_ratio_fixed or word & CLAIMED != 0:
        return 0
    equity_quote: uint256 = word & M128
    if self.assets_quote >= self.positive_equity_quote:
        return equity_quote
    return equity_quote * self.assets_quote // self.positive_equity_quote
