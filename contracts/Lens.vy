# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Lens
@license AGPL-3.0-only
@notice Accounts for people, pages and monitors; markets: MarketLens. Holds nothing; every number follows from words of the
        Clearinghouse.
@dev Prices are those stored; what a batch would see after its own price rows may differ.
@custom:security Nothing on chain reads from here.
@custom:invariants None of its own.
@custom:kill Deploy another.
"""

from interfaces import IClearinghouse
from modules import account_risk
from modules import codes
from modules import fixed_point
from modules import liquidation_terms
from modules import margin
from modules import session_key
from modules import typed_data

MAX_OPEN_MARKETS: constant(uint256) = 6
# no mark is higher: external < 2^32 and a band below 100 %
MAX_MARK_TICKS: constant(uint256) = 2**33 - 1
# halvings of that range
N_HALVINGS: constant(uint256) = 33
# a withdrawal and a close in every market
MAX_REQUESTS: constant(uint256) = 33
# depth of a tree of orders in a batch
MAX_PROOF: constant(uint256) = 8

M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M64: constant(uint256) = 2**64 - 1
M80: constant(uint256) = 2**80 - 1


struct PositionSummary:
    market: uint256
    size_lots: int256
    entry_quote: int256
    pending_funding_quote: int256
    # worse of mark and external for this side, a short's with the announced dividend on top
    valuation_ticks: uint256
    notional_quote: uint256
    initial_margin_quote: uint256
    settlement_margin_quote: uint256
    maintenance_margin_quote: uint256
    is_fresh: bool


struct AccountSummary:
    collateral_quote: int256
    # collateral + unrealised PnL − pending funding
    equity_quote: int256
    initial_margin_quote: uint256
    settlement_margin_quote: uint256
    maintenance_margin_quote: uint256
    # max(initial margin, a tenth of notional) summed: what cannot be withdrawn
    withdrawal_margin_quote: uint256
    is_stale: bool
    # orders with a lower seq are dead: what batches raised and what binds of a direct cancel-all
    min_seq: uint256
    # last direct cancel-all and the time after which it counts; 0 = none
    pending_min_seq: uint256
    pending_binds_after_s: uint256
    positions: DynArray[PositionSummary, MAX_OPEN_MARKETS]


struct PositionRisk:
    market: uint256
    # last mark at which the account is not liquidatable while nothing else moves, 0 = no such mark
    liquidation_ticks: uint256
    # equity allocated to the position by maintenance margin; its market's insurance answers when it is negative
    share_quote: int256
    # price at which that share is used up: what an auto-deleveraging closes at
    bankruptcy_ticks: uint256


struct LiquidationSummary:
    # 0 = not flagged
    flagged_at_s: uint256
    # from then on anybody may take the position over, if the account is liquidatable then; 0 = not flagged
    takeable_from_s: uint256
    # at mark and at external, every open market fresh and not halted
    is_liquidatable: bool
    equity_at_mark_quote: int256
    maintenance_at_mark_quote: uint256
    equity_at_external_quote: int256
    maintenance_at_external_quote: uint256
    positions: DynArray[PositionRisk, MAX_OPEN_MARKETS]


# as Exits shows it
struct RequestState:
    is_open: bool
    # quote of a withdrawal, lots of a close
    remaining: uint256
    worst_ticks: uint256
    is_long: bool
    recipient: address
    requested_at_s: uint256
    forceable_at_s: uint256
    dies_at_s: uint256
    elapsed_s: uint256
    waiting_since_s: uint256
    overdue_at_s: uint256
    is_overdue: bool


struct ExitRequest:
    # 0 = the withdrawal
    market: uint256
    request: RequestState
    # what forcing it now would pay, or the price it would close all of it at; 0 = nothing, or not now
    quote_or_ticks: uint256


interface IExitsViews:
    def request_state(account_id: uint256, market: uint8) -> RequestState: view
    def withdrawable_quote(account_id: uint256) -> uint256: view
    def close_price_ticks(account_id: uint256, market: uint8, lots: uint256) -> uint256: view


interface ILiquidationsViews:
    def flagged_at_s(account_id: uint256) -> uint256: view


struct SessionKey:
    # "active", "not linked", "expired", "revoking" until the revocation binds, then "revoked"
    status: String[10]
    # whether a batch matched at the time asked for takes what the key signs
    is_active: bool
    expiry_s: uint256
    # of one order
    max_notional_quote: uint256
    # bit m - 1 allows market m
    markets: uint256
    is_trade_only: bool
    is_reduce_only: bool
    # 0 = never on chain
    revoked_at_s: uint256


struct LaneState:
    seq: uint256
    filled_lots: uint256
    is_consumed: bool


# whose words are read
CLEARINGHOUSE: public(immutable(address))
# whose flags are shown
LIQUIDATIONS: public(immutable(address))
# whose requests are shown
EXITS: public(immutable(address))


@deploy
def __init__(clearinghouse: address):
    """
    @notice Names what to look at: the Clearinghouse and what it names itself.
    @param clearinghouse The Clearinghouse.
    """
    CLEARINGHOUSE = clearinghouse
    LIQUIDATIONS = staticcall IClearinghouse(clearinghouse).LIQUIDATIONS()
    EXITS = staticcall IClearinghouse(clearinghouse).EXITS()


@external
@view
def account_summary(account_id: uint256, at_s: uint256) -> AccountSummary:
    """
    @notice Shows an account's positions, equity and margins.
    @param account_id owner << 80 | subaccount.
    @param at_s Time of the batch to answer for, UNIX seconds: freshness, rules and minimum seq are judged at it.
    @return The summary.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    summary: AccountSummary = empty(AccountSummary)
    summary.collateral_quote = fixed_point._as_signed(word << 184) >> 184
    summary.min_seq, summary.pending_min_seq, summary.pending_binds_after_s = self._min_seq(account_id, word, at_s)
    holdings: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = self._holdings(account_id, word, at_s)
    risk: account_risk.Risk = account_risk._risk(summary.collateral_quote, holdings, account_risk.AT_WORSE)
    summary.equity_quote = risk.equity_quote
    summary.initial_margin_quote = risk.initial_margin_quote
    summary.settlement_margin_quote = risk.settlement_margin_quote
    summary.maintenance_margin_quote = risk.maintenance_margin_quote
    summary.withdrawal_margin_quote = risk.withdrawal_margin_quote
    summary.is_stale = not account_risk._is_fresh(holdings)
    for holding: account_risk.Holding in holdings:
        summary.positions.append(self._position(account_id, holding))
    return summary


@external
@view
def position_summary(account_id: uint256, market: uint256, at_s: uint256) -> PositionSummary:
    """
    @notice Shows one position.
    @param account_id owner << 80 | subaccount.
    @param market 1..32.
    @param at_s Time of the batch to answer for.
    @return The summary.
    """
    return self._position(
        account_id, account_risk._holding(IClearinghouse(CLEARINGHOUSE), account_id, market, at_s)
    )


@external
@view
def liquidation_summary(account_id: uint256, at_s: uint256) -> LiquidationSummary:
    """
    @notice Shows how far an account is from liquidation, and where each of its positions would end.
    @param account_id owner << 80 | subaccount.
    @param at_s Time to answer for: of a batch, or of a direct call.
    @return The summary; everything zero without a position.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)
    collateral_quote: int256 = account_risk._collateral_quote(word)
    holdings: DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS] = self._holdings(account_id, word, at_s)
    at_mark: account_risk.Risk = account_risk._risk(collateral_quote, holdings, account_risk.AT_MARK)
    at_external: account_risk.Risk = account_risk._risk(collateral_quote, holdings, account_risk.AT_EXTERNAL)
    summary: LiquidationSummary = empty(LiquidationSummary)
    summary.flagged_at_s = staticcall ILiquidationsViews(LIQUIDATIONS).flagged_at_s(account_id)
    if summary.flagged_at_s != 0:
        summary.takeable_from_s = summary.flagged_at_s + session_key.SETTLE_LAG_S
    summary.is_liquidatable = (
        len(holdings) > 0
        and account_risk._is_open_to_liquidation(holdings)
        and at_mark.equity_quote < convert(at_mark.maintenance_margin_quote, int256)
        and at_external.equity_quote < convert(at_external.maintenance_margin_quote, int256)
    )
    summary.equity_at_mark_quote = at_mark.equity_quote
    summary.maintenance_at_mark_quote = at_mark.maintenance_margin_quote
    summary.equity_at_external_quote = at_external.equity_quote
    summary.maintenance_at_external_quote = at_external.maintenance_margin_quote
    if len(holdings) == 0:
        return summary
    shares: DynArray[int256, account_risk.MAX_HOLDINGS] = liquidation_terms._allocations(
        at_mark.equity_quote, holdings
    )
    spare_quote: int256 = at_mark.equity_quote - convert(at_mark.maintenance_margin_quote, int256)
    for i: uint256 in range(len(holdings), bound=MAX_OPEN_MARKETS):
        summary.positions.append(
            PositionRisk(
                market=holdings[i].market,
                # what the rest of the account has to spare: all of it less this position's part
                liquidation_ticks=self._liquidation_ticks(
                    holdings[i], spare_quote - self._excess_quote(holdings[i], holdings[i].mark_ticks)
                ),
                share_quote=shares[i],
                bankruptcy_ticks=liquidation_terms._bankruptcy_ticks(holdings[i], shares[i]),
            )
        )
    return summary


@external
@view
def exit_requests(account_id: uint256) -> DynArray[ExitRequest, MAX_REQUESTS]:
    """
    @notice Shows everything an account has asked Exits for, with its clocks, and what forcing it now would give.
    @param account_id owner << 80 | subaccount.
    @return Open requests, the withdrawal first, then by market.
    """
    found: DynArray[ExitRequest, MAX_REQUESTS] = []
    for market: uint256 in range(MAX_REQUESTS):
        entry: ExitRequest = empty(ExitRequest)
        entry.market = market
        entry.request = staticcall IExitsViews(EXITS).request_state(account_id, convert(market, uint8))
        if not entry.request.is_open:
            continue
        if market == 0:
            entry.quote_or_ticks = min(
                staticcall IExitsViews(EXITS).withdrawable_quote(account_id), entry.request.remaining
            )
        else:
            entry.quote_or_ticks = staticcall IExitsViews(EXITS).close_price_ticks(
                account_id, convert(market, uint8), entry.request.remaining
            )
        found.append(entry)
    return found


@external
@view
def effective_rules(market: uint256, session: uint256, at_s: uint256) -> uint256:
    """
    @notice Shows the rules a batch is under.
    @param market 1..32.
    @param session 0..8.
    @param at_s Time of the batch to answer for.
    @return Rules word, without the mark of a change under way; 0 = not listed.
    """
    return account_risk._rules(IClearinghouse(CLEARINGHOUSE), market, session, at_s)[0] & ~account_risk.CHANGING


@external
@view
def effective_tiers(market: uint256, session: uint256, at_s: uint256) -> uint256:
    """
    @notice Shows the margin tiers a batch is under.
    @param market 1..32.
    @param session 0..8.
    @param at_s Time of the batch to answer for.
    @return Tier word; 0 = none.
    """
    return account_risk._rules(IClearinghouse(CLEARINGHOUSE), market, session, at_s)[1]


@external
@view
def session_key_summary(account_id: uint256, key: address, at_s: uint256) -> SessionKey:
    """
    @notice Shows what a key may do for an account.
    @param account_id owner << 80 | subaccount.
    @param key Address of the key.
    @param at_s Time of the batch to answer for.
    @return Limits and status.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).session_key_word(account_id, key)
    code: uint256 = session_key._code(word, at_s)
    revoked_at_s: uint256 = (word >> session_key.REVOKED_BIT) & M40
    status: String[10] = "active"
    if code == codes.BAD_SIGNATURE:
        status = "not linked"
    elif revoked_at_s != 0 and at_s > revoked_at_s + session_key.SETTLE_LAG_S:
        status = "revoked"
    elif code == codes.KEY_EXPIRED:
        status = "expired"
    elif revoked_at_s != 0:
        status = "revoking"
    return SessionKey(
        status=status,
        is_active=code == 0,
        expiry_s=word & M40,
        max_notional_quote=(word >> 40) & M64,
        markets=(word >> 104) & M32,
        is_trade_only=word & session_key.TRADE_ONLY != 0,
        is_reduce_only=word & session_key.REDUCE_ONLY != 0,
        revoked_at_s=revoked_at_s,
    )


@external
@view
def lane_state(account_id: uint256, lane: uint256) -> LaneState:
    """
    @notice Shows what a lane remembers: orders with a lower seq are dead, an equal one has filled_lots behind it.
    @param account_id owner << 80 | subaccount.
    @param lane 0..65535.
    @return The state.
    """
    bits: uint256 = 0
    if lane == 0:
        bits = (staticcall IClearinghouse(CLEARINGHOUSE).account_word(account_id)) >> 112
    else:
        bits = (staticcall IClearinghouse(CLEARINGHOUSE).lane_word(account_id, lane)) >> (88 * (lane & 1))
    return LaneState(seq=bits & M40, filled_lots=(bits >> 40) & M48, is_consumed=(bits >> 40) & M48 == M48)


@external
@view
def order_digest(account_id: uint256, epoch: uint256, order: uint256, trigger: uint256) -> bytes32:
    """
    @notice Computes what the owner of an order signs.
    @param account_id owner << 80 | subaccount.
    @param epoch Epoch the order names.
    @param order Word 0 of the order as in a batch.
    @param trigger Word 3, zero without has_trigger.
    @return EIP-712 digest.
    """
    return typed_data._digest(
        staticcall IClearinghouse(CLEARINGHOUSE).domain_separator(),
        typed_data._order_hash(account_id << 16, epoch, order, trigger),
    )


@external
@view
def order_tree_digest(
    account_id: uint256, epoch: uint256, order: uint256, trigger: uint256, proof: DynArray[bytes32, MAX_PROOF]
) -> bytes32:
    """
    @notice Computes what the owner of a tree of orders signs, from one of them.
    @param account_id owner << 80 | subaccount.
    @param epoch Epoch the order names.
    @param order Word 0 of the order as in a batch.
    @param trigger Its trigger word, zero without has_trigger.
    @param proof Siblings from the order up to the root.
    @return EIP-712 digest.
    """
    node: bytes32 = typed_data._order_hash(account_id << 16, epoch, order, trigger)
    for sibling: bytes32 in proof:
        node = typed_data._node(node, sibling)
    return typed_data._digest(
        staticcall IClearinghouse(CLEARINGHOUSE).domain_separator(), typed_data._order_tree_hash(node)
    )


@external
@view
def operation_digest(
    account_id: uint256, kind: uint256, subject: uint256, operand: uint256, expiry_s: uint256, seq: uint256
) -> bytes32:
    """
    @notice Computes what the owner of an operation signs, or approves in Operations.
    @param account_id owner << 80 | subaccount.
    @param kind 1 withdraw, 2 cancel order, 3 cancel all, 4 transfer, 5 link key, 6 revoke key.
    @param subject Word 2: quote, order nonce, minimum seq, limits of a key, or nothing.
    @param operand Who receives a withdrawal, the receiving subaccount, or the key; not read for cancellations.
    @param expiry_s UNIX seconds.
    @param seq Seq in lane 65535.
    @return EIP-712 digest.
    """
    return typed_data._operation_digest(
        staticcall IClearinghouse(CLEARINGHOUSE).domain_separator(),
        account_id << 16,
        kind,
        subject,
        operand,
        expiry_s,
        seq,
    )


@internal
@view
def _min_seq(account_id: uint256, word: uint256, at_s: uint256) -> (uint256, uint256, uint256):
    """
    @notice Reads the lowest seq that is alive.
    @param account_id owner << 80 | subaccount.
    @param word Its account word.
    @param at_s Time of the batch.
    @return The seq, and of the last direct cancel-all its seq and the time after which it counts.
    """
    overflow: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).overflow_word(account_id)
    min_seq: uint256 = max((word >> 72) & M40, overflow >> 80)
    if overflow == 0:
        return min_seq, 0, 0
    pending_min_seq: uint256 = overflow & M40
    binds_after_s: uint256 = ((overflow >> 40) & M40) + session_key.SETTLE_LAG_S
    if at_s > binds_after_s:
        min_seq = max(min_seq, pending_min_seq)
    return min_seq, pending_min_seq, binds_after_s


@internal
@view
def _holdings(
    account_id: uint256, word: uint256, at_s: uint256
) -> DynArray[account_risk.Holding, account_risk.MAX_HOLDINGS]:
    """
    @notice Reads the positions of an account.
    @param account_id owner << 80 | subaccount.
    @param word Its account word.
    @param at_s Time of the batch to answer for.
    @return Its holdings.
    """
    return account_risk._holdings(IClearinghouse(CLEARINGHOUSE), account_id, word, at_s)


@internal
@view
def _position(account_id: uint256, holding: account_risk.Holding) -> PositionSummary:
    """
    @notice Shows a position.
    @param account_id owner << 80 | subaccount.
    @param holding The position as read.
    @return The summary.
    """
    summary: PositionSummary = empty(PositionSummary)
    summary.market = holding.market
    summary.size_lots = holding.size_lots
    summary.is_fresh = holding.is_fresh
    if holding.size_lots == 0:
        return summary
    summary.entry_quote = fixed_point._lane96(
        staticcall IClearinghouse(CLEARINGHOUSE).position_word(account_id, holding.market), 64
    )
    summary.pending_funding_quote = -holding.cushion_quote - summary.entry_quote
    summary.valuation_ticks = account_risk._valuation_ticks(holding, account_risk.AT_WORSE)
    summary.notional_quote = convert(abs(holding.size_lots), uint256) * summary.valuation_ticks
    summary.initial_margin_quote = margin._initial_quote(summary.notional_quote, holding.rules, holding.tiers)
    margins: uint256 = margin._tiered_margins(summary.notional_quote, holding.rules, holding.tiers)
    summary.settlement_margin_quote = margins >> 80
    summary.maintenance_margin_quote = margins & M80
    return summary


@internal
@pure
def _liquidation_ticks(holding: account_risk.Holding, rest_quote: int256) -> uint256:
    """
    @notice Finds the last mark at which an account keeps its maintenance margin while only this market's mark moves.
    @dev What a position adds less what it requires never falls in the price for a long and never rises for a short, no margin
         with its tiers being above 100 %: the edge is found by halving. Twin: domain/liquidation.py.
    @param holding The position, not zero.
    @param rest_quote Collateral plus equity less maintenance margin of every other position.
    @return Ticks; 0 = every mark is healthy, or none is.
    """
    is_long: bool = holding.size_lots > 0
    if (rest_quote + self._excess_quote(holding, 1) >= 0) == (
        rest_quote + self._excess_quote(holding, MAX_MARK_TICKS) >= 0
    ):
        return 0
    low: uint256 = 1
    high: uint256 = MAX_MARK_TICKS
    for _: uint256 in range(N_HALVINGS):
        if high - low <= 1:
            break
        middle: uint256 = (low + high) // 2
        if (rest_quote + self._excess_quote(holding, middle) >= 0) == is_long:
            high = middle
        else:
            low = middle
    if is_long:
        return high
    return high - 1


@internal
@pure
def _excess_quote(holding: account_risk.Holding, mark_ticks: uint256) -> int256:
    """
    @notice Computes what a position adds to equity at a mark, less the maintenance margin it needs there.
    @param holding The position.
    @param mark_ticks The mark, external price aside.
    @return Quote units.
    """
    moved: account_risk.Holding = holding
    moved.mark_ticks = mark_ticks
    ticks: uint256 = account_risk._valuation_ticks(moved, account_risk.AT_MARK)
    return (
        moved.size_lots * convert(ticks, int256)
        + moved.cushion_quote
        - convert(account_risk._maintenance_margin_quote(moved, account_risk.AT_MARK), int256)
    )
