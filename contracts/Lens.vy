# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Lens
@license AGPL-3.0-only
@notice Views for people, pages and monitors. Holds nothing; every number follows from words of the Clearinghouse.
@dev Prices are those stored; what a batch would see after its own price rows may differ.
@custom:security Nothing on chain reads from here.
@custom:invariants None of its own.
@custom:kill Deploy another.
"""

from interfaces import IClearinghouse
from interfaces import IVault
from modules import codes
from modules import fixed_point
from modules import session_key
from modules import typed_data

MAX_MARKETS: constant(uint256) = 32
MAX_OPEN_MARKETS: constant(uint256) = 6

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M64: constant(uint256) = 2**64 - 1
M80: constant(uint256) = 2**80 - 1

# parts of the Clearinghouse's rules map, as market offsets of rules_word
SUCCESSOR: constant(uint256) = 256
BINDS_AFTER: constant(uint256) = 512


struct PositionSummary:
    market: uint256
    size_lots: int256
    entry_quote: int256
    pending_funding_quote: int256
    # worse of mark and external for this side
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


struct MarketSummary:
    epoch: uint256
    session: uint256
    mark_ticks: uint256
    index_ticks: uint256
    external_ticks: uint256
    external_time_s: uint256
    mark_time_s: uint256
    is_fresh: bool
    is_opening_allowed: bool
    band_low_ticks: uint256
    band_high_ticks: uint256
    open_interest_lots: uint256
    open_interest_cap_lots: uint256
    net_entry_quote: int256
    pot_quote: int256
    # the operator is the only price source of this market so far
    is_trusted_price: bool


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
# whose books must match
VAULT: public(immutable(address))


@deploy
def __init__(clearinghouse: address, vault: address):
    """
    @notice Names what to look at.
    @param clearinghouse The Clearinghouse.
    @param vault Its Vault.
    """
    CLEARINGHOUSE = clearinghouse
    VAULT = vault


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
    summary.equity_quote = summary.collateral_quote
    summary.min_seq, summary.pending_min_seq, summary.pending_binds_after_s = self._min_seq(account_id, word, at_s)
    for slot: uint256 in range(MAX_OPEN_MARKETS):
        market: uint256 = (word >> (200 + 8 * slot)) & 255
        if market == 0:
            continue
        position: PositionSummary = self._position(account_id, market, at_s)
        summary.equity_quote += (
            self._signed_notional(position) - position.entry_quote - position.pending_funding_quote
        )
        summary.initial_margin_quote += position.initial_margin_quote
        summary.settlement_margin_quote += position.settlement_margin_quote
        summary.maintenance_margin_quote += position.maintenance_margin_quote
        summary.withdrawal_margin_quote += max(position.initial_margin_quote, (position.notional_quote + 9) // 10)
        summary.is_stale = summary.is_stale or not position.is_fresh
        summary.positions.append(position)
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
    return self._position(account_id, market, at_s)


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
    rules: uint256 = self._rules(market, (price >> 200) & 255, at_s)
    totals: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).totals_word(market)
    external_ticks: uint256 = (price >> 80) & M40
    band_ticks: uint256 = external_ticks * ((rules >> 60) & M20) // 1_000_000
    return MarketSummary(
        epoch=(price >> 208) & M32,
        session=(price >> 200) & 255,
        mark_ticks=price & M40,
        index_ticks=(price >> 40) & M40,
        external_ticks=external_ticks,
        external_time_s=(price >> 120) & M40,
        mark_time_s=(price >> 160) & M40,
        is_fresh=self._is_fresh(price, rules, at_s),
        is_opening_allowed=(rules >> 168) & 1 == 1,
        band_low_ticks=external_ticks - band_ticks,
        band_high_ticks=external_ticks + band_ticks,
        open_interest_lots=totals & M64,
        open_interest_cap_lots=(rules >> 112) & (2**56 - 1),
        net_entry_quote=fixed_point._lane96(totals, 64),
        pot_quote=fixed_point._lane96(totals, 160),
        is_trusted_price=True,
    )


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
    return self._rules(market, session, at_s)


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
    sums.owed_quote = (
        sums.collateral_quote - sums.net_entry_quote + sums.pots_quote + convert(sums.fees_quote, int256)
    )
    sums.unpaid_claims_quote = staticcall IVault(VAULT).total_claims_quote()
    sums.tracked_quote = staticcall IVault(VAULT).tracked_quote()
    sums.is_exact = (
        sums.owed_quote + convert(sums.unpaid_claims_quote, int256) == convert(sums.tracked_quote, int256)
    )
    return sums


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
    return typed_data._order_digest(
        staticcall IClearinghouse(CLEARINGHOUSE).domain_separator(), account_id << 16, epoch, order, trigger
    )


@external
@view
def operation_digest(
    account_id: uint256, kind: uint256, subject: uint256, recipient: address, expiry_s: uint256, seq: uint256
) -> bytes32:
    """
    @notice Computes what the owner of an operation signs, or approves in Operations.
    @param account_id owner << 80 | subaccount.
    @param kind 1 withdraw, 2 cancel order, 3 cancel all, 5 link key, 6 revoke key.
    @param subject Word 1: quote, order nonce, minimum seq, limits of a key, or nothing.
    @param recipient Who receives a withdrawal, or the key; not read for cancellations.
    @param expiry_s UNIX seconds.
    @param seq Seq in lane 65535.
    @return EIP-712 digest.
    """
    return typed_data._operation_digest(
        staticcall IClearinghouse(CLEARINGHOUSE).domain_separator(),
        account_id << 16,
        kind,
        subject,
        convert(recipient, uint256),
        expiry_s,
        seq,
    )


@internal
@view
def _rules(market: uint256, session: uint256, at_s: uint256) -> uint256:
    """
    @notice Reads the rules a batch is under.
    @param market 1..32.
    @param session 0..8.
    @param at_s Time of the batch.
    @return Rules word as it was set: the Clearinghouse's mark of a change under way is taken off.
    """
    rules: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market, session)
    if (rules >> 170) & 1 == 0:
        return rules
    if at_s > staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market + BINDS_AFTER, session):
        return staticcall IClearinghouse(CLEARINGHOUSE).rules_word(market + SUCCESSOR, session)
    return rules ^ (1 << 170)


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
def _position(account_id: uint256, market: uint256, at_s: uint256) -> PositionSummary:
    """
    @notice Reads and values a position.
    @param account_id owner << 80 | subaccount.
    @param market 1..32.
    @param at_s Time of the batch to answer for.
    @return The summary.
    """
    word: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).position_word(account_id, market)
    price: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).price_word(market)
    rules: uint256 = self._rules(market, (price >> 200) & 255, at_s)
    index: uint256 = staticcall IClearinghouse(CLEARINGHOUSE).index_word(market)
    summary: PositionSummary = empty(PositionSummary)
    summary.market = market
    summary.size_lots = fixed_point._as_signed(word << 192) >> 192
    summary.entry_quote = fixed_point._lane96(word, 64)
    summary.is_fresh = self._is_fresh(price, rules, at_s)
    if summary.size_lots > 0:
        summary.valuation_ticks = min(price & M40, (price >> 80) & M40)
        summary.pending_funding_quote = fixed_point._div_up(
            summary.size_lots * (fixed_point._lane96(index, 0) - fixed_point._lane96(word, 160)), fixed_point.E12
        )
    elif summary.size_lots < 0:
        summary.valuation_ticks = max(price & M40, (price >> 80) & M40)
        summary.pending_funding_quote = fixed_point._div_up(
            summary.size_lots * (fixed_point._lane96(index, 96) - fixed_point._lane96(word, 160)), fixed_point.E12
        )
    summary.notional_quote = convert(abs(summary.size_lots), uint256) * summary.valuation_ticks
    summary.initial_margin_quote = fixed_point._ceil_ppm(summary.notional_quote, rules & M20)
    summary.settlement_margin_quote = fixed_point._ceil_ppm(summary.notional_quote, (rules >> 20) & M20)
    summary.maintenance_margin_quote = fixed_point._ceil_ppm(summary.notional_quote, (rules >> 40) & M20)
    return summary


@internal
@pure
def _signed_notional(position: PositionSummary) -> int256:
    """
    @notice Returns size x price with the sign of the size.
    @param position The position.
    @return Quote units.
    """
    if position.size_lots < 0:
        return -convert(position.notional_quote, int256)
    return convert(position.notional_quote, int256)


@internal
@pure
def _is_fresh(price: uint256, rules: uint256, at_s: uint256) -> bool:
    """
    @notice Tells whether a market can be opened on.
    @param price Price word.
    @param rules Rules word of the session now.
    @param at_s Time to judge at.
    @return Whether it is fresh.
    """
    if rules == 0 or price & M40 == 0 or (price >> 80) & M40 == 0:
        return False
    max_age_s: uint256 = (rules >> 96) & M16
    return max_age_s == 0 or ((price >> 120) & M40) + max_age_s >= at_s
