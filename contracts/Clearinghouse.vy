# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Clearinghouse
@license AGPL-3.0-only
@notice Holds every account, position and filled order, and settles batches of matched orders. The sequencer chooses which
        crossing signed orders meet and when; this contract bounds it by signatures, price reports and the clock.
@dev Words, payload, rules and codes: contracts/README.md. Specification: offchain/afterbell/domain/ (settle: batch.py).
     `settle` is one long function on purpose: Vyper passes memory arrays by copy, so the tables of a batch can only be
     worked on where they are declared. What needs no table stands in internal functions on plain words.
@custom:security No token is ever called from here. Foreign calls: PriceOracle (only with evidence), Operations.check (a view,
        only for an operation; reads session keys back), Vault.add_claim (only for a withdrawal); all addresses are immutable.
@custom:invariants sum of lots = 0 per market; sum collateral − sum net_entry + sum pots + fees = deposits − moved to claims.
@custom:kill A stopped sequencer stops settle; exits without it are a sibling contract (later). Rules with openings off make
        every market reduce-only, SETTLE_LAG after they are set.
"""

from modules import codes
from modules import errors
from modules import fixed_point
from modules import refusals
from modules import session_key
from modules import typed_data
from interfaces import IClearinghouse
from interfaces import IOperations
from interfaces import IPriceOracle
from interfaces import IVault


MAX_PAYLOAD: constant(uint256) = 16_384
MAX_EVIDENCE: constant(uint256) = 4_096
MAX_ACCOUNTS: constant(uint256) = 112
MAX_ORDERS: constant(uint256) = 112
MAX_FILLS: constant(uint256) = 208
MAX_OPERATIONS: constant(uint256) = 16
MAX_MARKETS: constant(uint256) = 32
MAX_OPEN_MARKETS: constant(uint256) = 6
# one byte per operation, order and fill, in whole words: 16 + 112 + 208 = 336 <= 11 x 32
CODE_WORDS: constant(uint256) = 11

MAX_EXPIRY_S: constant(uint256) = 30 * 86_400
MARK_STEP_S: constant(uint256) = 3
MAX_MARK_STEPS: constant(uint256) = 20
MAX_SESSION: constant(uint256) = 8
# external prices stay below, contracts/README.md "Why the lanes suffice"
MAX_EXTERNAL_TICKS: constant(uint256) = 2**32

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M64: constant(uint256) = 2**64 - 1
M72: constant(uint256) = 2**72 - 1
M80: constant(uint256) = 2**80 - 1
M88: constant(uint256) = 2**88 - 1
M96: constant(uint256) = 2**96 - 1
M160: constant(uint256) = 2**160 - 1

# order word, in the payload and in the order table of settle
IS_BUY: constant(uint256) = 1 << 232
REDUCE_ONLY: constant(uint256) = 1 << 233
POST_ONLY: constant(uint256) = 1 << 234
# time in force 2 and 3, IOC and FOK, share the upper of its two bits
IMMEDIATE: constant(uint256) = 1 << 236
PREVIOUS_EPOCH: constant(uint256) = 1 << 237
HAS_TRIGGER: constant(uint256) = 1 << 238
# signed by a session key
BY_KEY: constant(uint256) = 1 << 239
RESERVED_FLAGS: constant(uint256) = 255 << 240
MARKET_BITS: constant(uint256) = 255 << 248
# order table only: code and owner number stand where max_fee_ppm stood, the places where expiry stood
CODE_BITS: constant(uint256) = 255 << 72
OWNER_BITS: constant(uint256) = 255 << 80
ORDER_KEPT: constant(uint256) = (max_value(uint256) - (2**88 - 1)) | ((2**32 - 1) << 40)

# market table: flags of the bounds word
FRESH: constant(uint256) = 1 << 200
NO_OPENINGS: constant(uint256) = 1 << 201
LOADED: constant(uint256) = 1 << 202

# position table: what one fill adds to the count above size and entry
ONE_FILL: constant(uint256) = 1 << 160
ONE_CLOSING: constant(uint256) = 1 << 168
# outcome of a fill for one side
REDUCING: constant(uint256) = 1
OPENED: constant(uint256) = 2
CLOSED: constant(uint256) = 4
FLIPPED: constant(uint256) = 8

# lane table: this record is in storage already
WRITTEN: constant(uint256) = max_value(uint256)
# account table: places in the low 16 bits of the key
STALE_BITS: constant(uint256) = 15

RULES_OPENINGS: constant(uint256) = 1 << 168
# set here alone: the word at + SUCCESSOR replaces this one in batches matched later than the time at + BINDS_AFTER
RULES_CHANGING: constant(uint256) = 1 << 170
SUCCESSOR: constant(uint256) = 2**16
BINDS_AFTER: constant(uint256) = 2**17

# account word: an overflow word exists
HAS_OVERFLOW: constant(uint256) = 1 << 248
# kinds of direct operations
DIRECT_CANCEL_ALL: constant(uint256) = 1
DIRECT_RULES: constant(uint256) = 4

NAME_HASH: constant(bytes32) = keccak256("Afterbell")

# the stablecoin vault; the only caller of credit_deposit
VAULT: public(immutable(address))
# called with the evidence of a batch
ORACLE: public(immutable(address))
# the only writer of rules and the sequencer address
REGISTRY: public(immutable(address))
# checks operations; the only caller of record_direct
OPERATIONS: public(immutable(address))
# UNIX seconds at which order seqs count from zero
GENESIS_S: public(immutable(uint256))
CACHED_CHAIN_ID: immutable(uint256)
CACHED_DOMAIN: immutable(bytes32)

# account words by account_id << 16, overflow words at + 0xffff; written by settle, credit_deposit and record_direct
accounts: HashMap[uint256, uint256]
# position words by account_id << 16 | market; written by settle; sizes sum to zero per market
positions: HashMap[uint256, uint256]
# lane words by account_id << 16 | lane >> 1; written by settle; a lane's seq never falls
lanes: HashMap[uint256, uint256]
# price words by market; written by settle, epoch by list_market
prices: HashMap[uint256, uint256]
# rules words by market << 8 | session, with successors; written by set_market_rules
rules: HashMap[uint256, uint256]
# funding indices by market, 1e-12 quote per lot; no writer yet
indices: HashMap[uint256, uint256]
# open interest, sum of entries and pot by market; written by settle
totals: HashMap[uint256, uint256]
# sequence, matched_at, fees and sum of collateral; written by settle and credit_deposit
batch: uint256
# sequencer address and number of direct operations; written by set_sequencer and whatever is made directly
operator: uint256
# within one settle: twice the quote a position realised, bit 0 set when the side closed last was short; by position key
realised: transient(HashMap[uint256, uint256])
# commits to every batch and its status codes; written by settle
head: public(bytes32)
# session key words by account_id << 16 and key address; written by settle and record_direct
session_keys: HashMap[uint256, HashMap[uint256, uint256]]


@deploy
def __init__(
    vault: address,
    oracle: address,
    registry: address,
    operations: address,
    token: address,
    sequencer: address,
    genesis_s: uint256,
):
    """
    @notice Wires the immutable neighbours, all deployed before with the address predicted for this contract.
    @param vault Vault.
    @param oracle PriceOracle.
    @param registry MarketRegistry.
    @param operations Operations.
    @param token The stablecoin of the vault.
    @param sequencer First operator.
    @param genesis_s UNIX seconds at which seqs start, not in the future.
    """
    assert oracle != empty(address) and registry != empty(address) and sequencer != empty(address), errors.NO_ADDRESS
    assert staticcall IVault(vault).CLEARINGHOUSE() == self, errors.WRONG_WIRING
    assert staticcall IVault(vault).TOKEN() == token, errors.WRONG_WIRING
    assert staticcall IVault(vault).OPERATIONS() == operations, errors.WRONG_WIRING
    assert staticcall IOperations(operations).CLEARINGHOUSE() == self, errors.WRONG_WIRING
    assert staticcall IOperations(operations).VAULT() == vault, errors.WRONG_WIRING
    assert staticcall IPriceOracle(oracle).CLEARINGHOUSE() == self, errors.WRONG_WIRING
    assert genesis_s <= block.timestamp, errors.WRONG_MATCHED_AT
    VAULT = vault
    ORACLE = oracle
    REGISTRY = registry
    OPERATIONS = operations
    GENESIS_S = genesis_s
    CACHED_CHAIN_ID = chain.id
    CACHED_DOMAIN = typed_data._domain_separator(NAME_HASH)
    self.operator = convert(sequencer, uint256)
    log IClearinghouse.SequencerSet(sequencer=sequencer)


# ---------------------------------------------------------------- sequencer


@external
def settle(previous_head: bytes32, payload: Bytes[MAX_PAYLOAD]):
    """
    @notice Applies one batch: prices, then fills in order with operations between them.
    @dev Malformed encoding and header mismatch revert. A failed order, operation or fill is skipped alone with its code.
         Tables in memory (words):
           market    0 bounds: low 40 | high 40 | band low 40 | band high 40 | auction 40 | flags;  1 rules;  2 index;
                     3 open interest 64 | changes of the sum of entries 96 and of the pot, a signed sum;  4 price
           order     payload word 0 with owner number 8 | code 8 for max_fee and, for expiry: account place 13 | position place 13 | lane place 13
           account   0 key | first order 8 | stale positions 4;  1 account word;  2 risk: equity int96 | settlement 80 | maintenance 80
           position  0 fees << 176 + closings << 168 + fills << 160 + entry << 64 + size, a signed sum;  1 its share of the risk word
           lane      seq << 48 | filled: the greater record is the later state
         A packed word holding signed numbers is their sum with weights 2^k, so adding words adds every number in them as long
         as each stays inside its lane, which contracts/README.md proves for all of them.
    @param previous_head Head the batch was built on; a reorganised chain refuses it.
    @param payload The batch.
    """
    operator: uint256 = self.operator
    if convert(msg.sender, uint256) != operator & M160:
        self._refuse(convert(refusals.NOT_SEQUENCER, uint256))
    if previous_head != self.head:
        self._refuse(convert(refusals.WRONG_HEAD, uint256))
    length: uint256 = len(payload)
    if length < 64:
        self._refuse(convert(refusals.WRONG_LENGTH, uint256))
    batch: uint256 = self.batch
    header: uint256 = extract32(payload, 0, output_type=uint256)
    if header >> 248 != 1:
        self._refuse(convert(refusals.WRONG_VERSION, uint256))
    sequence: uint256 = (header >> 208) & M40
    if sequence != unsafe_add(batch & M40, 1):
        self._refuse(convert(refusals.WRONG_SEQUENCE, uint256))
    matched_at_s: uint256 = (header >> 168) & M40
    if (
        matched_at_s > block.timestamp
        or matched_at_s < (batch >> 40) & M40
        or unsafe_add(matched_at_s, session_key.SETTLE_LAG_S) < block.timestamp
    ):
        self._refuse(convert(refusals.WRONG_MATCHED_AT, uint256))
    if (header >> 128) & M40 > operator >> 160:
        self._refuse(convert(refusals.UNKNOWN_DIRECT_OP, uint256))
    n_rows: uint256 = (header >> 120) & 255
    n_operations: uint256 = (header >> 112) & 255
    n_accounts: uint256 = (header >> 104) & 255
    n_orders: uint256 = (header >> 96) & 255
    n_fills: uint256 = (header >> 80) & M16
    evidence_length: uint256 = (header >> 64) & M16
    if (
        n_fills > MAX_FILLS
        or n_orders > MAX_ORDERS
        or n_accounts > MAX_ACCOUNTS
        or n_operations > MAX_OPERATIONS
        or n_rows > MAX_MARKETS
        or evidence_length > MAX_EVIDENCE
    ):
        self._refuse(convert(refusals.TOO_MANY, uint256))
    # sections, each in whole words; all counts are bounded above, so nothing overflows
    rows_at: uint256 = unsafe_add(64, unsafe_add(n_fills, 3) >> 2 << 5)
    evidence_at: uint256 = unsafe_add(rows_at, unsafe_add(n_rows, 1) >> 1 << 5)
    operations_at: uint256 = unsafe_add(evidence_at, unsafe_add(evidence_length, 31) >> 5 << 5)
    offset: uint256 = unsafe_add(operations_at, unsafe_mul(n_operations, 160))
    if offset > length:
        self._refuse(convert(refusals.WRONG_LENGTH, uint256))
    domain: bytes32 = self._domain()

    # ---- 1. prices: reports first. Before the tables, so that its buffers and theirs share memory
    changed_markets: uint256 = 0
    if evidence_length != 0:
        reports: DynArray[uint256, MAX_MARKETS] = extcall IPriceOracle(ORACLE).accept_reports(
            slice(payload, evidence_at, evidence_length), matched_at_s
        )
        for report: uint256 in reports:
            self._apply_report(report)
            changed_markets |= 1 << (report & 255)

    n_failures: uint256 = 0
    volume_quote: uint256 = 0
    fees_quote: uint256 = 0
    # change of the sum of collateral: realised by fills, less withdrawals
    collateral_change: int256 = 0
    code_words: uint256[CODE_WORDS] = empty(uint256[CODE_WORDS])
    market_table: uint256[5][MAX_MARKETS + 1] = empty(uint256[5][MAX_MARKETS + 1])
    order_table: DynArray[uint256, MAX_ORDERS] = []
    account_table: DynArray[uint256, 3 * MAX_ACCOUNTS] = []
    lane_table: DynArray[uint256, MAX_ORDERS] = []
    position_table: DynArray[uint256, 2 * MAX_ORDERS] = []

    # then the sequencer's rows, inside their bounds
    previous_market: uint256 = 0
    for i: uint256 in range(n_rows, bound=MAX_MARKETS):
        # the header and a journal hash precede, so 16 bytes ahead of the row's end always exist
        row: uint256 = extract32(payload, unsafe_add(rows_at, unsafe_sub(i << 4, 16)), output_type=uint256)
        market: uint256 = (row >> 120) & 255
        if market <= previous_market:
            self._refuse(convert(refusals.PRICE_MARKET_ORDER, uint256))
        previous_market = market
        if self._apply_price_row(row, matched_at_s):
            changed_markets |= 1 << market
        market_table[market] = self._load_market(market, matched_at_s, row & M40)
    if changed_markets != 0:
        self._log_prices(changed_markets)

    # ---- 2. accounts and orders
    previous_key: uint256 = 0
    owner_number: uint256 = 0
    n_stale_positions: uint256 = 0
    has_shared_lane: bool = False
    # the market of the order before, unpacked
    current_market: uint256 = max_value(uint256)
    bounds: uint256 = 0
    rules: uint256 = 0
    index: uint256 = 0
    price: uint256 = 0
    for account_index: uint256 in range(n_accounts, bound=MAX_ACCOUNTS):
        if unsafe_add(offset, 32) > length:
            self._refuse(convert(refusals.WRONG_LENGTH, uint256))
        account_key: uint256 = extract32(payload, offset, output_type=uint256)
        n_account_orders: uint256 = account_key & M16
        account_key = unsafe_sub(account_key, n_account_orders)
        if account_key <= previous_key:
            self._refuse(convert(refusals.ACCOUNT_ORDER, uint256))
        # accounts of one owner are neighbours, so a running number tells owners apart; 112 at most
        if account_key >> 96 != previous_key >> 96:
            owner_number = unsafe_add(owner_number, 1)
        previous_key = account_key
        offset = unsafe_add(offset, 32)
        first_order: uint256 = len(order_table)
        if unsafe_add(first_order, n_account_orders) > n_orders:
            self._refuse(convert(refusals.ORDER_COUNT, uint256))

        account_word: uint256 = self.accounts[account_key]
        # the effective one: what was raised directly counts when it binds
        min_seq: uint256 = (account_word >> 72) & M40
        if account_word >= HAS_OVERFLOW:
            overflow: uint256 = self.accounts[account_key | M16]
            min_seq = max(min_seq, overflow >> 80)
            if matched_at_s > unsafe_add((overflow >> 40) & M40, session_key.SETTLE_LAG_S):
                min_seq = max(min_seq, overflow & M40)
        account_place: uint256 = unsafe_mul(account_index, 3)
        # per market one byte: number of this account's position in the table, plus one
        position_places: uint256 = 0
        n_stale: uint256 = 0
        # equity starts as collateral, sign-extended into its lane
        risk: uint256 = convert(
            convert((convert(convert(account_word << 184, bytes32), int256) >> 184) << 160, bytes32), uint256
        )
        last_lane: uint256 = 0
        # lane of this account's newest record in the lane table; 2^16 is no lane
        recorded_lane: uint256 = 2**16
        for j: uint256 in range(n_account_orders, bound=MAX_ORDERS):
            if unsafe_add(offset, 96) > length:
                self._refuse(convert(refusals.WRONG_LENGTH, uint256))
            order: uint256 = extract32(payload, offset, output_type=uint256)
            lane: uint256 = (order >> 216) & M16
            if lane < last_lane:
                self._refuse(convert(refusals.LANE_ORDER, uint256))
            trigger: uint256 = 0
            next_offset: uint256 = unsafe_add(offset, 96)
            if order & HAS_TRIGGER != 0:
                if unsafe_add(offset, 128) > length:
                    self._refuse(convert(refusals.WRONG_LENGTH, uint256))
                trigger = extract32(payload, next_offset, output_type=uint256)
                next_offset = unsafe_add(offset, 128)

            market: uint256 = order >> 248
            code: uint256 = codes.UNKNOWN_MARKET
            if market <= MAX_MARKETS:
                if market != current_market:
                    if market_table[market][0] == 0:
                        market_table[market] = self._load_market(market, matched_at_s, 0)
                    current_market = market
                    bounds = market_table[market][0]
                    rules = market_table[market][1]
                    index = market_table[market][2]
                    price = market_table[market][4]
                code = self._order_code(order, trigger, price, rules, matched_at_s, min_seq)
                if code == 0:
                    # epoch >= 1, and >= 2 with previous_epoch: WRONG_EPOCH otherwise
                    epoch: uint256 = unsafe_sub((price >> 208) & (2**32 - 1), (order >> 237) & 1)
                    signer: uint256 = convert(
                        typed_data._recovered(
                            typed_data._order_digest(domain, account_key, epoch, order, trigger),
                            extract32(payload, unsafe_add(offset, 32), output_type=uint256),
                            extract32(payload, unsafe_add(offset, 64), output_type=uint256),
                        ),
                        uint256,
                    )
                    # ordinary: the owner signed and no key is claimed; nobody, zero, wraps beyond 160 bits
                    if (signer ^ (account_key >> 96)) | (order & BY_KEY) | (unsafe_sub(signer, 1) >> 160) != 0:
                        code = self._order_key_code(account_key, signer, order, price, matched_at_s)
            if code == 0:
                # the market's position of this account, loaded at its first order
                place_bit: uint256 = unsafe_sub(market, 1) << 3
                place: uint256 = (position_places >> place_bit) & 255
                if place == 0:
                    place = unsafe_add(len(position_table) >> 1, 1)
                    position_places |= place << place_bit
                    sum_word: uint256 = 0
                    share: uint256 = 0
                    sum_word, share = self._value_position(
                        self.positions[account_key | market], bounds, rules, index
                    )
                    if bounds & FRESH == 0 and sum_word & M64 != 0:
                        n_stale = unsafe_add(n_stale, 1)
                    risk = unsafe_add(risk, share)
                    position_table.append(sum_word)
                    position_table.append(share)
                # orders come sorted by lane, so valid orders of one lane share the newest record
                if lane == recorded_lane:
                    has_shared_lane = True
                else:
                    lane_table.append(self._load_lane(account_key, account_word, lane))
                    recorded_lane = lane
                order_table.append(
                    (order & ORDER_KEPT)
                    | account_place
                    | (owner_number << 80)
                    | (unsafe_sub(place, 1) << 14)
                    | (unsafe_sub(len(lane_table), 1) << 26)
                )
            else:
                order_table.append(code << 72)
                n_failures = unsafe_add(n_failures, 1)
                at: uint256 = unsafe_add(n_operations, unsafe_sub(len(order_table), 1))
                code_words[at >> 5] |= code << unsafe_sub(248, (at & 31) << 3)
            last_lane = lane
            offset = next_offset

        # open positions no order of the batch trades count toward the account's risk all the same
        open_markets: uint256 = (account_word >> 200) & M48
        for _: uint256 in range(MAX_OPEN_MARKETS):
            if open_markets == 0:
                break
            market: uint256 = open_markets & 255
            open_markets >>= 8
            if (position_places >> (unsafe_sub(market, 1) << 3)) & 255 == 0:
                if market_table[market][0] == 0:
                    market_table[market] = self._load_market(market, matched_at_s, 0)
                sum_word: uint256 = 0
                share: uint256 = 0
                sum_word, share = self._value_position(
                    self.positions[account_key | market],
                    market_table[market][0],
                    market_table[market][1],
                    market_table[market][2],
                )
                if market_table[market][0] & FRESH == 0:
                    n_stale = unsafe_add(n_stale, 1)
                risk = unsafe_add(risk, share)
        n_stale_positions = unsafe_add(n_stale_positions, n_stale)
        account_table.append(account_key | (first_order << 4) | n_stale)
        account_table.append(account_word)
        account_table.append(risk)
    if len(order_table) != n_orders:
        self._refuse(convert(refusals.ORDER_COUNT, uint256))
    if offset != length:
        self._refuse(convert(refusals.WRONG_LENGTH, uint256))

    # ---- 3. fills in order, 4. operations before the fill they name
    n_operations_done: uint256 = 0
    is_seq_raised: bool = False
    for i: uint256 in range(n_fills + 1, bound=MAX_FILLS + 1):
        if n_operations_done != n_operations:
            for operation_index: uint256 in range(n_operations_done, n_operations, bound=MAX_OPERATIONS):
                operation_at: uint256 = unsafe_add(operations_at, unsafe_mul(n_operations_done, 160))
                operation: uint256 = extract32(payload, operation_at, output_type=uint256)
                if (operation >> 240) & 255 > i:
                    break
                if (operation >> 240) & 255 != i:
                    self._refuse(convert(refusals.OPERATION_ORDER, uint256))
                account_index: uint256 = (operation >> 232) & 255
                if account_index >= n_accounts:
                    self._refuse(convert(refusals.ACCOUNT_INDEX, uint256))
                account_place: uint256 = unsafe_mul(account_index, 3)
                account_key: uint256 = account_table[account_place]
                kind: uint256 = operation >> 248
                seq: uint256 = (operation >> 152) & M40
                subject: uint256 = extract32(payload, unsafe_add(operation_at, 32), output_type=uint256)
                recipient: uint256 = extract32(payload, unsafe_add(operation_at, 64), output_type=uint256)
                # immutable and checked when wired, so neither its code nor the length of its answer is asked for again
                code: uint256 = staticcall IOperations(OPERATIONS).check(
                    domain,
                    account_key,
                    operation,
                    subject,
                    recipient,
                    extract32(payload, unsafe_add(operation_at, 96), output_type=uint256),
                    extract32(payload, unsafe_add(operation_at, 128), output_type=uint256),
                    matched_at_s,
                    skip_contract_check=True,
                )
                # the signature holds: the nonce is consumed, whatever else fails
                if code == 0 or code > codes.NONCE_CONSUMED:
                    record: uint256 = self._load_lane(account_key, 0, typed_data.OPERATION_LANE)
                    if seq <= record >> 48:
                        code = codes.NONCE_CONSUMED
                    else:
                        self._store_lane(account_key, typed_data.OPERATION_LANE, self._consume_lane(record, seq))
                if code == 0:
                    if kind == typed_data.KIND_WITHDRAW:
                        account_word: uint256 = account_table[unsafe_add(account_place, 1)]
                        equity: int256 = convert(convert(account_table[unsafe_add(account_place, 2)], bytes32), int256) >> 160
                        if account_key & STALE_BITS != 0:
                            code = codes.STALE_PRICE
                        else:
                            # positions as they stand now: from the table where an order brought them there
                            required: uint256 = 0
                            open_markets: uint256 = (account_word >> 200) & M48
                            for _: uint256 in range(MAX_OPEN_MARKETS):
                                if open_markets == 0:
                                    break
                                market: uint256 = open_markets & 255
                                open_markets >>= 8
                                size: uint256 = self.positions[(account_key >> 16 << 16) | market]
                                for k: uint256 in range((account_key >> 4) & 255, n_orders, bound=MAX_ORDERS):
                                    order: uint256 = order_table[k]
                                    if order & CODE_BITS == 0:
                                        if order & 8191 != account_place:
                                            break
                                        if order >> 248 == market:
                                            size = position_table[(order >> 13) & 8191]
                                            break
                                required = unsafe_add(
                                    required,
                                    self._withdrawal_requirement(
                                        size, market_table[market][0], market_table[market][1]
                                    ),
                                )
                            if equity - convert(subject, int256) < convert(required, int256):
                                code = codes.MARGIN
                        if code == 0:
                            change: int256 = -convert(subject, int256)
                            account_table[unsafe_add(account_place, 1)] = self._add_collateral(account_word, change)
                            account_table[unsafe_add(account_place, 2)] = unsafe_sub(account_table[unsafe_add(account_place, 2)], subject << 160)
                            collateral_change += change
                            extcall IVault(VAULT).add_claim(convert(recipient, address), subject)
                            log IClearinghouse.CollateralWithdrawn(
                                account=account_key >> 16,
                                recipient=convert(recipient, address),
                                sequence=convert(sequence, uint64),
                                quote=subject,
                            )
                    elif kind == typed_data.KIND_CANCEL_ORDER:
                        cancelled_lane: uint256 = subject >> 40
                        is_in_table: bool = False
                        for k: uint256 in range((account_key >> 4) & 255, n_orders, bound=MAX_ORDERS):
                            order: uint256 = order_table[k]
                            if order & CODE_BITS == 0:
                                if order & 8191 != account_place:
                                    break
                                if (order >> 216) & M16 == cancelled_lane:
                                    lane_place: uint256 = (order >> 26) & 8191
                                    lane_table[lane_place] = self._consume_lane(lane_table[lane_place], subject & M40)
                                    is_in_table = True
                                    break
                        if not is_in_table:
                            word_at: uint256 = unsafe_add(account_place, 1)
                            record: uint256 = self._consume_lane(
                                self._load_lane(account_key, account_table[word_at], cancelled_lane), subject & M40
                            )
                            if cancelled_lane == 0:
                                account_table[word_at] = self._with_lane0(account_table[word_at], record)
                            else:
                                self._store_lane(account_key, cancelled_lane, record)
                        log IClearinghouse.OrderCancelled(account=account_key >> 16, nonce=convert(subject, uint64))
                    elif kind >= typed_data.KIND_LINK_KEY:
                        key: uint256 = account_key >> 16 << 16
                        word: uint256 = (
                            subject
                            | (self.session_keys[key][recipient] & session_key.REVOKED_MASK)
                            | session_key.LINKED
                        )
                        self.session_keys[key][recipient] = word
                        log IClearinghouse.KeyChanged(
                            account=account_key >> 16, key=convert(recipient, address), word=word
                        )
                    else:
                        account_word: uint256 = account_table[unsafe_add(account_place, 1)]
                        min_seq: uint256 = max((account_word >> 72) & M40, subject)
                        account_table[unsafe_add(account_place, 1)] = (account_word & ~(M40 << 72)) | (min_seq << 72)
                        is_seq_raised = True
                        log IClearinghouse.AllCancelled(account=account_key >> 16, min_seq=convert(min_seq, uint64))
                if code != 0:
                    n_failures = unsafe_add(n_failures, 1)
                    code_words[0] |= code << unsafe_sub(248, n_operations_done << 3)
                n_operations_done = unsafe_add(n_operations_done, 1)
        if i == n_fills:
            break

        fill: uint256 = extract32(payload, unsafe_add(64, i << 3), output_type=uint256)
        lots: uint256 = (fill >> 192) & M48
        if fill >> 248 >= n_orders or (fill >> 240) & 255 >= n_orders:
            self._refuse(convert(refusals.FILL_INDEX, uint256))
        maker: uint256 = order_table[fill >> 248]
        taker: uint256 = order_table[(fill >> 240) & 255]
        difference: uint256 = maker ^ taker
        # price: the maker's limit, or the auction's inside it
        price = (maker >> 88) & M40
        code: uint256 = 0
        market: uint256 = maker >> 248
        bounds = market_table[market][0]
        # one test for: one market, two sides, valid orders, no post-only taker; then two owners, not zero
        if (
            (difference & (MARKET_BITS | IS_BUY)) | ((maker | taker) & CODE_BITS) | (taker & POST_ONLY) != IS_BUY
            or difference & OWNER_BITS == 0
            or lots == 0
        ):
            code = self._pairing_code(maker, taker, lots)
        else:
            auction_ticks: uint256 = (bounds >> 160) & M40
            if auction_ticks != 0:
                if maker & IS_BUY != 0:
                    if auction_ticks > price:
                        code = codes.LIMITS_DO_NOT_CROSS
                elif auction_ticks < price:
                    code = codes.LIMITS_DO_NOT_CROSS
                price = auction_ticks
            if maker & IS_BUY != 0:
                if price < (taker >> 88) & M40:
                    code = codes.LIMITS_DO_NOT_CROSS
            elif price > (taker >> 88) & M40:
                code = codes.LIMITS_DO_NOT_CROSS
            if code == 0:
                if price < (bounds >> 80) & M40 or price > (bounds >> 120) & M40:
                    code = codes.PRICE_OUTSIDE_BAND
                elif is_seq_raised:
                    if (maker >> 176) & M40 < (account_table[unsafe_add(maker & 8191, 1)] >> 72) & M40:
                        code = codes.SEQ_BELOW_MINIMUM
                    elif (taker >> 176) & M40 < (account_table[unsafe_add(taker & 8191, 1)] >> 72) & M40:
                        code = codes.SEQ_BELOW_MINIMUM + codes.TAKER_SIDE

        if code == 0:
            # an older seq is replaced, a newer one or too many lots end beyond the order's size: 88 + 1 bits, no overflow
            maker_seq: uint256 = ((maker >> 176) & M40) << 48
            taker_seq: uint256 = ((taker >> 176) & M40) << 48
            maker_lane: uint256 = unsafe_add(max(lane_table[(maker >> 26) & 8191], maker_seq), lots)
            taker_lane: uint256 = unsafe_add(max(lane_table[(taker >> 26) & 8191], taker_seq), lots)
            if (
                unsafe_sub(maker_lane, maker_seq) > (maker >> 128) & M48
                or unsafe_sub(taker_lane, taker_seq) > (taker >> 128) & M48
            ):
                code = self._lane_code(
                    unsafe_sub(unsafe_sub(maker_lane, maker_seq), lots),
                    unsafe_sub(unsafe_sub(taker_lane, taker_seq), lots),
                    maker,
                    lots,
                )
            else:
                # lots < 2^40 and price < 2^33 from here on: size within the cap, price within the band
                notional_quote: uint256 = unsafe_mul(lots, price)
                rules = market_table[market][1]
                open_interest: uint256 = market_table[market][3]
                maker_account: uint256 = maker & 8191
                taker_account: uint256 = taker & 8191
                maker_at: uint256 = (maker >> 13) & 8191
                taker_at: uint256 = (taker >> 13) & 8191
                maker_old: uint256 = position_table[maker_at]
                taker_old: uint256 = position_table[taker_at]
                maker_sum: uint256 = 0
                maker_share: uint256 = 0
                maker_outcome: uint256 = 0
                taker_sum: uint256 = 0
                taker_share: uint256 = 0
                taker_outcome: uint256 = 0
                maker_sum, maker_share, maker_outcome = self._move_position(
                    maker_old, maker & IS_BUY, lots, notional_quote, (maker >> 40) & M16, bounds, rules
                )
                taker_sum, taker_share, taker_outcome = self._move_position(
                    taker_old, taker & IS_BUY, lots, notional_quote, (taker >> 56) & M16, bounds, rules
                )
                outcomes: uint256 = maker_outcome | taker_outcome
                # nothing here can stop an ordinary fill: no reduce-only order, openings allowed and fresh, nobody stale, no new position
                if (
                    ((maker | taker) & REDUCE_ONLY)
                    | ((bounds & (FRESH | NO_OPENINGS)) ^ FRESH)
                    | (outcomes & OPENED)
                    | n_stale_positions
                    != 0
                ):
                    code = self._opening_code(
                        maker,
                        maker_outcome,
                        bounds,
                        account_table[maker_account],
                        account_table[unsafe_add(maker_account, 1)],
                    )
                    if code == 0:
                        code = self._opening_code(
                            taker,
                            taker_outcome,
                            bounds,
                            account_table[taker_account],
                            account_table[unsafe_add(taker_account, 1)],
                        )
                        if code != 0:
                            code = unsafe_add(code, codes.TAKER_SIDE)
                # half the change of the sum of absolute sizes
                if outcomes & (REDUCING | FLIPPED) == 0:
                    open_interest = unsafe_add(open_interest, lots)
                    if code == 0 and open_interest & M64 > (rules >> 112) & (2**56 - 1):
                        code = codes.OPEN_INTEREST_CAP
                elif outcomes & FLIPPED != 0:
                    change: int256 = (
                        self._size_change(maker_old, maker_sum) + self._size_change(taker_old, taker_sum)
                    ) >> 1
                    open_interest = unsafe_add(open_interest, convert(convert(change, bytes32), uint256))
                    if code == 0 and change > 0 and open_interest & M64 > (rules >> 112) & (2**56 - 1):
                        code = codes.OPEN_INTEREST_CAP
                elif maker_outcome & taker_outcome & REDUCING != 0:
                    open_interest = unsafe_sub(open_interest, lots)
                if code == 0:
                    old: uint256 = account_table[unsafe_add(maker_account, 2)]
                    maker_risk: uint256 = unsafe_add(
                        unsafe_sub(old, position_table[unsafe_add(maker_at, 1)]), maker_share
                    )
                    if convert(convert(maker_risk, bytes32), int256) >> 160 < convert((maker_risk >> 80) & M80, int256):
                        if not self._lowers_risk(old, maker_risk, maker_outcome):
                            code = codes.MARGIN
                    old = account_table[unsafe_add(taker_account, 2)]
                    taker_risk: uint256 = unsafe_add(
                        unsafe_sub(old, position_table[unsafe_add(taker_at, 1)]), taker_share
                    )
                    if code == 0 and convert(convert(taker_risk, bytes32), int256) >> 160 < convert(
                        (taker_risk >> 80) & M80, int256
                    ):
                        if not self._lowers_risk(old, taker_risk, taker_outcome):
                            code = codes.MARGIN + codes.TAKER_SIDE
                    if code == 0:
                        # ---- both sides pass: write
                        volume_quote = unsafe_add(volume_quote, notional_quote)
                        lane_table[(maker >> 26) & 8191] = maker_lane
                        lane_table[(taker >> 26) & 8191] = taker_lane
                        account_table[unsafe_add(maker_account, 2)] = maker_risk
                        account_table[unsafe_add(taker_account, 2)] = taker_risk
                        market_table[market][3] = open_interest
                        # a position opened or closed moves the list of open markets, a closed one realises its entry
                        if outcomes & (OPENED | CLOSED) != 0:
                            for is_taker: bool in [False, True]:
                                outcome: uint256 = taker_outcome if is_taker else maker_outcome
                                if outcome & (OPENED | CLOSED) == 0:
                                    continue
                                account_place: uint256 = taker_account if is_taker else maker_account
                                account_word: uint256 = account_table[unsafe_add(account_place, 1)]
                                if outcome & OPENED != 0:
                                    account_table[unsafe_add(account_place, 1)] = self._opened(account_word, market)
                                    continue
                                moved: uint256 = taker_sum if is_taker else maker_sum
                                realised_quote: int256 = -self._entry_quote(moved)
                                account_table[unsafe_add(account_place, 1)] = self._closed(
                                    self._add_collateral(account_word, realised_quote), market
                                )
                                if bounds & FRESH == 0:
                                    account_table[account_place] = unsafe_sub(account_table[account_place], 1)
                                key: uint256 = (account_table[account_place] >> 16 << 16) | market
                                # doubled, so that bit 0 can tell the side that was closed
                                self.realised[key] = unsafe_add(
                                    self.realised[key] >> 1 << 1,
                                    convert(convert(realised_quote << 1, bytes32), uint256),
                                ) | (((taker_old if is_taker else maker_old) >> 63) & 1)
                                collateral_change += realised_quote
                                # fees and count stay
                                moved = unsafe_add(
                                    unsafe_add(moved, ONE_CLOSING),
                                    convert(convert(realised_quote << 64, bytes32), uint256),
                                )
                                if is_taker:
                                    taker_sum = moved
                                    taker_share = 0
                                else:
                                    maker_sum = moved
                                    maker_share = 0
                        position_table[maker_at] = maker_sum
                        position_table[taker_at] = taker_sum
                        position_table[unsafe_add(maker_at, 1)] = maker_share
                        position_table[unsafe_add(taker_at, 1)] = taker_share
        if code != 0:
            n_failures = unsafe_add(n_failures, 1)
            at: uint256 = unsafe_add(unsafe_add(n_operations, n_orders), i)
            code_words[at >> 5] |= code << unsafe_sub(248, (at & 31) << 3)
    if n_operations_done != n_operations:
        self._refuse(convert(refusals.OPERATION_ORDER, uint256))

    # ---- 5. consumption, 6. write once
    if has_shared_lane:
        # a shared lane is written at its first order, so all of its orders are consumed before
        for order: uint256 in order_table:
            if order & (IMMEDIATE | CODE_BITS) == IMMEDIATE:
                lane_place: uint256 = (order >> 26) & 8191
                lane_table[lane_place] = self._consume_lane(lane_table[lane_place], (order >> 176) & M40)
    touched_markets: uint256 = 0
    for order: uint256 in order_table:
        if order & CODE_BITS != 0:
            continue
        account_place: uint256 = order & 8191
        account_key: uint256 = account_table[account_place] >> 16 << 16
        lane_place: uint256 = (order >> 26) & 8191
        record: uint256 = lane_table[lane_place]
        if record != WRITTEN:
            lane_table[lane_place] = WRITTEN
            if order & IMMEDIATE != 0:
                record = max(record, (((order >> 176) & M40) << 48) | M48)
            lane: uint256 = (order >> 216) & M16
            if lane == 0:
                account_place = unsafe_add(account_place, 1)
                account_table[account_place] = self._with_lane0(account_table[account_place], record)
            else:
                self._store_lane(account_key, lane, record)
        position_at: uint256 = (order >> 13) & 8191
        sum_word: uint256 = position_table[position_at]
        # what lies above the 160 bits of size and entry: fills 8 | closings 8 | fees 80
        counters: uint256 = (
            unsafe_sub(
                sum_word,
                convert(convert(convert(convert(sum_word << 96, bytes32), int256) >> 96, bytes32), uint256),
            )
            >> 160
        )
        if counters != 0:
            position_table[position_at] = 0
            market: uint256 = order >> 248
            touched_markets |= 1 << market
            fees_quote = unsafe_add(fees_quote, counters >> 16)
            market_table[market][3] = unsafe_add(
                market_table[market][3],
                self._write_position(
                    account_key | market,
                    sum_word,
                    counters,
                    market_table[market][2],
                ),
            )
    for i: uint256 in range(n_accounts, bound=MAX_ACCOUNTS):
        account_place: uint256 = unsafe_mul(i, 3)
        self.accounts[account_table[account_place] >> 16 << 16] = account_table[unsafe_add(account_place, 1)]
    for market: uint256 in range(1, MAX_MARKETS + 1):
        if touched_markets == 0:
            break
        if (touched_markets >> market) & 1 != 0:
            touched_markets ^= 1 << market
            self._write_totals(market, market_table[market][3])

    # ---- 7. head
    payload_hash: bytes32 = keccak256(payload)
    codes_hash: bytes32 = empty(bytes32)
    if n_failures != 0:
        failures: Bytes[352] = slice(abi_encode(code_words), 0, n_operations + n_orders + n_fills)
        codes_hash = keccak256(failures)
        log IClearinghouse.BatchFailures(sequence=convert(sequence, uint64), codes=failures)
    head: bytes32 = keccak256(concat(previous_head, payload_hash, codes_hash))
    self.head = head
    self.batch = self._batch_word(batch, sequence, matched_at_s, fees_quote, collateral_change)
    log IClearinghouse.BatchSettled(
        sequence=convert(sequence, uint64),
        head=head,
        payload_hash=payload_hash,
        journal_hash=extract32(payload, 32),
        matched_at_s=convert(matched_at_s, uint64),
        direct_op=convert((header >> 128) & M40, uint64),
        n_failures=n_failures,
        volume_quote=volume_quote,
        fees_quote=fees_quote,
    )


# ---------------------------------------------------------------- vault, operations and registry


@external
def credit_deposit(account_id: uint256, sender: address, quote: uint256) -> uint256:
    """
    @notice Adds a deposit the vault has received to an account.
    @param account_id Account, owner << 80 | subaccount, < 2^240 by the vault's types.
    @param sender Who paid.
    @param quote Sum in quote units, 1..2^64 - 1 by the vault.
    @return Number of this direct operation.
    """
    if msg.sender != VAULT:
        self._refuse(convert(refusals.NOT_VAULT, uint256))
    change: int256 = convert(quote, int256)
    key: uint256 = account_id << 16
    self.accounts[key] = self._add_collateral(self.accounts[key], change)
    batch: uint256 = self.batch
    self.batch = self._batch_word(batch, batch & M40, (batch >> 40) & M40, 0, change)
    direct_op: uint256 = self._next_direct_op()
    log IClearinghouse.CollateralDeposited(
        account=account_id, direct_op=convert(direct_op, uint64), sender=sender, quote=quote
    )
    return direct_op


@external
def record_direct(kind: uint256, account_id: uint256, key: uint256, word: uint256) -> uint256:
    """
    @notice Writes what an owner did directly: an overflow word or a session key word, made and checked by Operations.
    @param kind 1 cancel all, 2 link key, 3 revoke key.
    @param account_id owner << 80 | subaccount, < 2^240 by Operations.
    @param key Session key, 0 for kind 1.
    @param word The resulting word.
    @return Number of this direct operation.
    """
    if msg.sender != OPERATIONS:
        self._refuse(convert(refusals.NOT_OPERATIONS, uint256))
    account_key: uint256 = account_id << 16
    if kind == DIRECT_CANCEL_ALL:
        self.accounts[account_key | M16] = word
        self.accounts[account_key] |= HAS_OVERFLOW
    else:
        self.session_keys[account_key][key] = word
    return self._log_direct(kind, account_id, key, word)


@external
def list_market(market: uint256):
    """
    @notice Opens a market at epoch 1.
    @param market Market id, 1..32, checked by the registry.
    """
    self._check_registry()
    if self.prices[market] != 0:
        self._refuse(convert(refusals.MARKET_LISTED, uint256))
    # epoch 1, nothing else
    price: uint256 = 1 << 208
    self.prices[market] = price
    log IClearinghouse.PriceChanged(market=convert(market, uint8), price=price)


@external
def set_market_rules(market: uint256, session: uint256, rules: uint256):
    """
    @notice Gives a market its first rules in one session, or replaces them: the word before stays beside its successor, which
            batches matched later than now + SETTLE_LAG use.
    @param market Market id, checked by the registry.
    @param session 0..8, checked by the registry.
    @param rules Rules word, validated by the registry, without the flag of change.
    """
    self._check_registry()
    key: uint256 = (market << 8) | session
    current: uint256 = self.rules[key]
    if current == 0:
        self.rules[key] = rules
        log IClearinghouse.MarketRulesSet(
            market=convert(market, uint8), session=convert(session, uint8), rules=rules
        )
        return
    if current & RULES_CHANGING != 0:
        # until then a batch may still come that the word before binds
        if block.timestamp <= unsafe_add(self.rules[key | BINDS_AFTER], session_key.SETTLE_LAG_S):
            self._refuse(convert(refusals.RULES_PENDING, uint256))
        current = self.rules[key | SUCCESSOR]
    self.rules[key] = current | RULES_CHANGING
    self.rules[key | SUCCESSOR] = rules
    self.rules[key | BINDS_AFTER] = unsafe_add(block.timestamp, session_key.SETTLE_LAG_S)
    self._log_direct(DIRECT_RULES, 0, key, rules)


@external
def set_sequencer(sequencer: address):
    """
    @notice Replaces the only address that may settle.
    @param sequencer The new operator, not zero.
    """
    self._check_registry()
    if sequencer == empty(address):
        self._refuse(convert(refusals.NO_ADDRESS, uint256))
    self.operator = (self.operator >> 160 << 160) | convert(sequencer, uint256)
    log IClearinghouse.SequencerSet(sequencer=sequencer)


# ---------------------------------------------------------------- views


@external
@view
def account_word(account_id: uint256) -> uint256:
    """
    @notice Returns the account word.
    @param account_id owner << 80 | subaccount.
    @return The word, zero for an account never used.
    """
    return self.accounts[account_id << 16]


@external
@view
def overflow_word(account_id: uint256) -> uint256:
    """
    @notice Returns the overflow word of an account: its direct cancel-all.
    @param account_id owner << 80 | subaccount.
    @return The word, zero without one.
    """
    return self.accounts[(account_id << 16) | M16]


@external
@view
@reentrant
def session_key_word(account_id: uint256, key: address) -> uint256:
    """
    @notice Returns the session key word of an account.
    @dev Reentrant because Operations.check asks while settle runs; it reads one word that settle writes in one step.
    @param account_id owner << 80 | subaccount.
    @param key Address of the key.
    @return The word, zero for an address that never was a key.
    """
    return self.session_keys[account_id << 16][convert(key, uint256)]


@external
@view
def position_word(account_id: uint256, market: uint256) -> uint256:
    """
    @notice Returns the position word of an account in a market.
    @param account_id owner << 80 | subaccount.
    @param market 1..32.
    @return The word.
    """
    return self.positions[(account_id << 16) | market]


@external
@view
def lane_word(account_id: uint256, lane: uint256) -> uint256:
    """
    @notice Returns the word that holds a lane and its neighbour; lane 0 stands in the account word.
    @param account_id owner << 80 | subaccount.
    @param lane 0..65535.
    @return The word.
    """
    return self.lanes[(account_id << 16) | (lane >> 1)]


@external
@view
def price_word(market: uint256) -> uint256:
    """
    @notice Returns the price word of a market.
    @param market 1..32.
    @return The word; epoch 0 means not listed.
    """
    return self.prices[market]


@external
@view
def rules_word(market: uint256, session: uint256) -> uint256:
    """
    @notice Returns the rules of a market in a session.
    @param market 1..32; + 256 for the word that follows a changing one, + 512 for the time after which it binds.
    @param session 0..8.
    @return The word.
    """
    return self.rules[(market << 8) | session]


@external
@view
def index_word(market: uint256) -> uint256:
    """
    @notice Returns the funding indices of a market.
    @param market 1..32.
    @return The word.
    """
    return self.indices[market]


@external
@view
def totals_word(market: uint256) -> uint256:
    """
    @notice Returns open interest, sum of entries and pot of a market.
    @param market 1..32.
    @return The word.
    """
    return self.totals[market]


@external
@view
def batch_word() -> uint256:
    """
    @notice Returns sequence and time of the last batch, fees and sum of collateral.
    @return The word.
    """
    return self.batch


@external
@view
def operator_word() -> uint256:
    """
    @notice Returns the sequencer's address and the number of direct operations.
    @return The word.
    """
    return self.operator


@external
@view
def domain_separator() -> bytes32:
    """
    @notice Returns the EIP-712 domain separator orders and operations are signed under.
    @return The separator for the chain this runs on.
    """
    return self._domain()


# ---------------------------------------------------------------- refusals


@internal
@pure
def _refuse(reason: uint256):
    """
    @notice Reverts.
    @dev Instead of an assert with a reason at every place, which is far longer each and would not fit the size limit.
    @param reason One of modules/refusals.vy, its text right-aligned.
    """
    text: uint256 = reason
    length: uint256 = 32
    for _: uint256 in range(32):
        if text >> 248 != 0:
            break
        text <<= 8
        length = unsafe_sub(length, 1)
    raise convert(slice(convert(text, bytes32), 0, length), String[32])


@internal
@view
def _check_registry():
    """
    @notice Reverts unless the caller is the MarketRegistry.
    """
    if msg.sender != REGISTRY:
        self._refuse(convert(refusals.NOT_REGISTRY, uint256))


@internal
def _next_direct_op() -> uint256:
    """
    @notice Counts an operation made directly on chain.
    @return Its number.
    """
    # 2^40 of them do not happen
    operator: uint256 = unsafe_add(self.operator, 1 << 160)
    self.operator = operator
    return operator >> 160


@internal
def _log_direct(kind: uint256, account_id: uint256, key: uint256, word: uint256) -> uint256:
    """
    @notice Counts and logs a direct operation other than a deposit.
    @param kind 1 to 4.
    @param account_id Account, 0 for a change of rules.
    @param key Session key, market << 8 | session, or 0.
    @param word The resulting word.
    @return Number of this direct operation.
    """
    direct_op: uint256 = self._next_direct_op()
    log IClearinghouse.DirectOperation(
        account=account_id,
        direct_op=convert(direct_op, uint64),
        kind=convert(kind, uint8),
        key=key,
        value=word,
        time_s=convert(block.timestamp, uint64),
    )
    return direct_op


# ---------------------------------------------------------------- prices and markets


@internal
def _apply_report(report: uint256):
    """
    @notice Takes an accepted report into the price word.
    @param report market 8 | external_ticks 40 | time 40 | session 8, from bit 0.
    """
    market: uint256 = report & 255
    word: uint256 = self.prices[market]
    if word == 0:
        self._refuse(convert(refusals.PRICE_UNKNOWN_MARKET, uint256))
    external_ticks: uint256 = (report >> 8) & M40
    session: uint256 = (report >> 88) & 255
    # the width proof and rule lookups rest on these, so they are not left to the oracle alone
    if not (external_ticks - 1 < MAX_EXTERNAL_TICKS - 1 and session <= MAX_SESSION):
        self._refuse(convert(refusals.EXTERNAL_OUT_OF_RANGE, uint256))
    kept: uint256 = word & (M80 | (M40 << 160) | (max_value(uint256) - (2**208 - 1)))
    self.prices[market] = kept | (external_ticks << 80) | (((report >> 48) & M40) << 120) | (session << 200)


@internal
def _apply_price_row(row: uint256, matched_at_s: uint256) -> bool:
    """
    @notice Moves mark and index of a market as far as the band around the external price and the elapsed time allow.
    @param row market 8 | mark_ticks 40 | index_ticks 40 | auction_ticks 40 in the low 128 bits.
    @param matched_at_s Time of the batch.
    @return Whether the price word changed.
    """
    market: uint256 = (row >> 120) & 255
    word: uint256 = 0
    if market <= MAX_MARKETS:
        word = self.prices[market]
    if word == 0:
        self._refuse(convert(refusals.PRICE_UNKNOWN_MARKET, uint256))
    external_ticks: uint256 = (word >> 80) & M40
    if external_ticks == 0:
        self._refuse(convert(refusals.NO_EXTERNAL_PRICE, uint256))
    rules: uint256 = self._rules_at((market << 8) | ((word >> 200) & 255), matched_at_s)
    # lanes of at most 40, 20, 16 and 5 bits: no product or sum below reaches 2^82
    band_ticks: uint256 = unsafe_div(unsafe_mul(external_ticks, (rules >> 60) & M20), 1_000_000)
    low: uint256 = unsafe_sub(external_ticks, min(band_ticks, external_ticks))
    high: uint256 = unsafe_add(external_ticks, band_ticks)
    target: uint256 = fixed_point._clamp((row >> 80) & M40, low, high)
    mark_ticks: uint256 = word & M40
    mark_time_s: uint256 = (word >> 160) & M40
    if mark_ticks == 0:
        mark_ticks = target
        mark_time_s = matched_at_s
    else:
        # mark_time_s was a matched_at_s, and those never fall
        n_steps: uint256 = min(unsafe_div(unsafe_sub(matched_at_s, mark_time_s), MARK_STEP_S), MAX_MARK_STEPS)
        move_ticks: uint256 = unsafe_div(
            unsafe_mul(unsafe_mul(mark_ticks, (rules >> 80) & M16), n_steps), 1_000_000
        )
        if move_ticks > 0:
            mark_ticks = fixed_point._clamp(
                target, unsafe_sub(mark_ticks, min(move_ticks, mark_ticks)), unsafe_add(mark_ticks, move_ticks)
            )
            mark_time_s = matched_at_s
    index_ticks: uint256 = external_ticks
    if not self._is_fresh((word >> 40 << 40) | mark_ticks, rules, matched_at_s):
        index_ticks = fixed_point._clamp((row >> 40) & M40, low, high)
    moved: uint256 = (
        (word & ~(M80 | (M40 << 160))) | mark_ticks | (index_ticks << 40) | (mark_time_s << 160)
    )
    if moved == word:
        return False
    self.prices[market] = moved
    return True


@internal
def _log_prices(markets: uint256):
    """
    @notice Logs the price words of a set of markets.
    @param markets Bit m is set for market m.
    """
    for market: uint256 in range(1, MAX_MARKETS + 1):
        if (markets >> market) & 1 != 0:
            log IClearinghouse.PriceChanged(market=convert(market, uint8), price=self.prices[market])


@internal
@pure
def _is_fresh(price: uint256, rules: uint256, matched_at_s: uint256) -> bool:
    """
    @notice Tells whether a market has a mark and an external price young enough to open on.
    @param price Price word.
    @param rules Rules word of the session now.
    @param matched_at_s Time of the batch.
    @return Whether it is fresh.
    """
    if rules == 0 or price & M40 == 0 or (price >> 80) & M40 == 0:
        return False
    max_age_s: uint256 = (rules >> 96) & M16
    return max_age_s == 0 or unsafe_add((price >> 120) & M40, max_age_s) >= matched_at_s


@internal
@view
def _rules_at(key: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Reads the rules a batch is under.
    @param key market << 8 | session.
    @param matched_at_s Time of the batch.
    @return The word, or its successor if that binds.
    """
    rules: uint256 = self.rules[key]
    if rules & RULES_CHANGING != 0:
        if matched_at_s > self.rules[key | BINDS_AFTER]:
            return self.rules[key | SUCCESSOR]
    return rules


@internal
@view
def _load_market(market: uint256, matched_at_s: uint256, auction_ticks: uint256) -> uint256[5]:
    """
    @notice Builds a market's record for the market table.
    @param market 0..32; one that is not listed has neither price nor rules, and nothing passes.
    @param matched_at_s Time of the batch.
    @param auction_ticks Auction price of this batch, 0 for none.
    @return bounds, rules, index, open interest, price.
    """
    price: uint256 = self.prices[market]
    rules: uint256 = self._rules_at((market << 8) | ((price >> 200) & 255), matched_at_s)
    mark_ticks: uint256 = price & M40
    external_ticks: uint256 = (price >> 80) & M40
    flags: uint256 = LOADED
    if self._is_fresh(price, rules, matched_at_s):
        flags |= FRESH
    if rules & RULES_OPENINGS == 0:
        flags |= NO_OPENINGS
    # external < 2^32 and a 20-bit rate: no overflow. No external price: an empty range, nothing is inside
    band_ticks: uint256 = unsafe_div(unsafe_mul(external_ticks, (rules >> 60) & M20), 1_000_000)
    band_low: uint256 = 1
    band_high: uint256 = 0
    if external_ticks != 0:
        band_low = unsafe_sub(external_ticks, min(band_ticks, external_ticks))
        band_high = unsafe_add(external_ticks, band_ticks)
    return [
        min(mark_ticks, external_ticks)
        | (max(mark_ticks, external_ticks) << 40)
        | (band_low << 80)
        | (band_high << 120)
        | (auction_ticks << 160)
        | flags,
        rules,
        self.indices[market],
        self.totals[market] & M64,
        price,
    ]


@internal
def _write_totals(market: uint256, running: uint256):
    """
    @notice Writes the totals word of a market.
    @param market Market id.
    @param running open interest 64 | change of sum of entries << 64 | change of pot << 160, a signed sum.
    """
    word: uint256 = self.totals[market]
    # read from the top down after taking the lanes below away
    entry_change: int256 = fixed_point._lane96(running, 64)
    pot_change: int256 = (
        convert(convert(unsafe_sub(running, convert(convert(entry_change << 64, bytes32), uint256)), bytes32), int256) >> 160
    )
    net_entry_quote: int256 = fixed_point._lane96(word, 64) + entry_change
    pot_quote: int256 = fixed_point._lane96(word, 160) + pot_change
    if not (self._fits(net_entry_quote, 95) and self._fits(pot_quote, 95)):
        self._refuse(convert(refusals.TOTALS_RANGE, uint256))
    self.totals[market] = (
        (running & M64)
        | ((convert(convert(net_entry_quote, bytes32), uint256) & M96) << 64)
        | (convert(convert(pot_quote, bytes32), uint256) << 160)
    )


@internal
@pure
def _batch_word(
    batch: uint256, sequence: uint256, matched_at_s: uint256, fees_quote: uint256, collateral_change: int256
) -> uint256:
    """
    @notice Packs the next batch word.
    @param batch Current word.
    @param sequence New sequence.
    @param matched_at_s New time.
    @param fees_quote Fees to add.
    @param collateral_change Change of the sum of collateral.
    @return The word.
    """
    fees: uint256 = ((batch >> 80) & M80) + fees_quote
    collateral_quote: int256 = (convert(convert(batch, bytes32), int256) >> 160) + collateral_change
    if not (fees <= M80 and self._fits(collateral_quote, 95)):
        self._refuse(convert(refusals.BATCH_RANGE, uint256))
    return sequence | (matched_at_s << 40) | (fees << 80) | (convert(convert(collateral_quote, bytes32), uint256) << 160)


@internal
@pure
def _fits(x: int256, n_bits: uint256) -> bool:
    """
    @notice Tells whether a signed number fits n_bits bits and a sign.
    @param x The number.
    @param n_bits Bits without the sign, < 255.
    @return Whether −2^n <= x < 2^n.
    """
    # −1 or 0 is all that is left of a number that fits
    return convert(convert(unsafe_add(x >> n_bits, 1), bytes32), uint256) < 2


# ---------------------------------------------------------------- orders and lanes


@internal
@view
def _domain() -> bytes32:
    """
    @notice Returns the domain separator, recomputed when the chain id is not the one of deployment.
    @return The separator.
    """
    if chain.id == CACHED_CHAIN_ID:
        return CACHED_DOMAIN
    return typed_data._domain_separator(NAME_HASH)


@internal
@pure
def _order_code(
    order: uint256, trigger: uint256, price: uint256, rules: uint256, matched_at_s: uint256, min_seq: uint256
) -> uint256:
    """
    @notice Checks everything about an order that needs no signature and no fill.
    @param order Word 0.
    @param trigger Word 3, zero without has_trigger.
    @param price Price word of its market after the batch's rows.
    @param rules Rules word of its market.
    @param matched_at_s Time of the batch.
    @param min_seq Effective minimum of its account at the start of the batch.
    @return Code of the first failure, 0 for none.
    """
    # the registry gives rules to listed markets alone
    if rules == 0:
        return codes.UNKNOWN_MARKET
    if (
        order & RESERVED_FLAGS != 0
        or order & (POST_ONLY | IMMEDIATE) == POST_ONLY | IMMEDIATE
        or (order >> 216) & M16 == typed_data.OPERATION_LANE
    ):
        return codes.UNKNOWN_FLAGS
    if order & (PREVIOUS_EPOCH | HAS_TRIGGER) != 0:
        # kinds 1 to 4, so that zero wraps beyond
        if order & HAS_TRIGGER != 0 and unsafe_sub(trigger >> 248, 1) > 3:
            return codes.UNKNOWN_FLAGS
        if order & PREVIOUS_EPOCH != 0 and (order & REDUCE_ONLY == 0 or (price >> 208) & (2**32 - 1) == 1):
            return codes.WRONG_EPOCH
    size_lots: uint256 = (order >> 128) & M48
    limit_ticks: uint256 = (order >> 88) & M40
    if size_lots == 0:
        return codes.ZERO_SIZE
    # the registry lets no step of zero through
    if (size_lots % ((rules >> 176) & M16)) | (limit_ticks % ((rules >> 192) & M16)) != 0:
        return codes.OFF_STEP
    # 48 + 40 bits
    if unsafe_mul(size_lots, limit_ticks) < (rules >> 208) & (2**32 - 1) and order & REDUCE_ONLY == 0:
        return codes.BELOW_MINIMUM
    if size_lots > (rules >> 112) & (2**56 - 1):
        return codes.SIZE_TOO_LARGE
    if max((order >> 56) & M16, (order >> 40) & M16) > min((order >> 72) & M16, rules >> 240):
        return codes.FEE_ABOVE_MAXIMUM
    expiry_s: uint256 = order & M40
    if matched_at_s > expiry_s:
        return codes.EXPIRED
    if expiry_s > unsafe_add(matched_at_s, MAX_EXPIRY_S):
        return codes.EXPIRY_TOO_FAR
    if order & HAS_TRIGGER != 0:
        # kinds 1, 2 read the mark, 3, 4 the index; odd kinds want it at or above, even ones at or below
        kind: uint256 = trigger >> 248
        ticks: uint256 = price & M40
        if kind > 2:
            ticks = (price >> 40) & M40
        trigger_ticks: uint256 = (trigger >> 208) & M40
        if kind & 1 == 1:
            if ticks < trigger_ticks:
                return codes.TRIGGER_NOT_MET
        elif ticks > trigger_ticks:
            return codes.TRIGGER_NOT_MET
    if (order >> 176) & M40 < min_seq:
        return codes.SEQ_BELOW_MINIMUM
    return 0


@internal
@view
def _order_key_code(
    account_key: uint256, signer: uint256, order: uint256, price: uint256, matched_at_s: uint256
) -> uint256:
    """
    @notice Names what is wrong with an order whose owner did not sign it, if it is not a session key's.
    @param account_key Account id << 16.
    @param signer Who signed, an address as a number, 0 for nobody: an owner or a key of zero never does.
    @param order Word 0, its size, limit and market already checked.
    @param price Price word of its market after the batch's rows.
    @param matched_at_s Time of the batch.
    @return BAD_SIGNATURE, KEY_EXPIRED, KEY_LIMIT or 0.
    """
    if signer == 0 or order & BY_KEY == 0:
        return codes.BAD_SIGNATURE
    word: uint256 = self.session_keys[account_key][signer]
    code: uint256 = session_key._code(word, matched_at_s)
    if code != 0:
        return code
    # no seq of the future, which would outlive the key; markets start at bit 104 with market 1; order bit 233 over key bit 137; a size below 2^48 and ticks below 2^40
    if (
        (order >> 176) & M40 > session_key._latest_seq(matched_at_s, GENESIS_S)
        or (word >> unsafe_add(103, order >> 248)) & 1 == 0
        or word & session_key.REDUCE_ONLY & ~(order >> 96) != 0
        or unsafe_mul((order >> 128) & M48, max((order >> 88) & M40, max(price & M40, (price >> 80) & M40)))
        > (word >> 40) & M64
    ):
        return codes.KEY_LIMIT
    return 0


@internal
@view
def _load_lane(account_key: uint256, account_word: uint256, lane: uint256) -> uint256:
    """
    @notice Builds a lane's record for the lane table.
    @param account_key Account id << 16, low bits ignored.
    @param account_word Its word, which holds lane 0.
    @param lane 0..65535.
    @return seq << 48 | filled: the greater record is the later state.
    """
    state: uint256 = account_word >> 112
    if lane != 0:
        # the odd lane of a word starts at bit 88
        state = self.lanes[(account_key >> 16 << 16) | (lane >> 1)] >> unsafe_mul(lane & 1, 88)
    return ((state & M40) << 48) | ((state >> 40) & M48)


@internal
def _store_lane(account_key: uint256, lane: uint256, record: uint256):
    """
    @notice Writes a lane's half of its word.
    @param account_key Account id << 16, low bits ignored.
    @param lane 1..65535.
    @param record seq << 48 | filled.
    """
    key: uint256 = (account_key >> 16 << 16) | (lane >> 1)
    bit: uint256 = unsafe_mul(lane & 1, 88)
    self.lanes[key] = (self.lanes[key] & ~(M88 << bit)) | (((record >> 48) | ((record & M48) << 40)) << bit)


@internal
@pure
def _with_lane0(account_word: uint256, record: uint256) -> uint256:
    """
    @notice Puts lane 0 back into the account word.
    @param account_word Account word.
    @param record seq << 48 | filled.
    @return The account word.
    """
    return (account_word & ~(M88 << 112)) | (((record >> 48) | ((record & M48) << 40)) << 112)


@internal
@pure
def _consume_lane(record: uint256, seq: uint256) -> uint256:
    """
    @notice Leaves nothing to fill for a seq and everything before it.
    @dev Consumed is all ones in filled; a fill on top ends beyond any order's size and is refused, never stored.
    @param record seq << 48 | filled.
    @param seq Seq to consume.
    @return The record, unchanged if the lane is already beyond seq.
    """
    return max(record, (seq << 48) | M48)


@internal
@pure
def _lane_code(maker_filled: uint256, taker_filled: uint256, maker: uint256, lots: uint256) -> uint256:
    """
    @notice Names the first failure of two lanes, of which one failed: dead before overfilled, maker before taker.
    @param maker_filled The lane's record less the order's seq << 48: filled lots, or 2^48 and more for a later seq.
    @param taker_filled The same of the taker.
    @param maker Order-table word of the maker.
    @param lots Lots of the fill.
    @return The fill's code.
    """
    if maker_filled > M48:
        return codes.DEAD_LANE
    if taker_filled > M48:
        return codes.DEAD_LANE + codes.TAKER_SIDE
    if unsafe_add(maker_filled, lots) > (maker >> 128) & M48:
        return codes.OVERFILL
    return codes.OVERFILL + codes.TAKER_SIDE


@internal
@pure
def _pairing_code(maker: uint256, taker: uint256, lots: uint256) -> uint256:
    """
    @notice Names the first reason why two orders cannot meet. Only called when there is one.
    @param maker Order-table word.
    @param taker Order-table word.
    @param lots Lots of the fill.
    @return The fill's code.
    """
    if lots == 0:
        return codes.ZERO_FILL
    if maker & CODE_BITS != 0:
        return codes.ORDER_INVALID
    if taker & CODE_BITS != 0:
        return codes.ORDER_INVALID + codes.TAKER_SIDE
    if (maker ^ taker) & MARKET_BITS != 0:
        return codes.MARKETS_DIFFER
    if (maker ^ taker) & IS_BUY == 0:
        return codes.SIDES_EQUAL
    if (maker ^ taker) & OWNER_BITS == 0:
        return codes.SELF_TRADE
    return codes.POST_ONLY_TAKER


# ---------------------------------------------------------------- positions and margin


@internal
@pure
def _pending_quote(position: uint256, index: uint256) -> int256:
    """
    @notice Computes the funding a position owes since its last touch, rounded up.
    @param position Position word.
    @param index Index word.
    @return ceil(lots x (index of its side − snapshot) / 1e12) in quote units.
    """
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    side_index: uint256 = index
    if size_lots < 0:
        side_index >>= 96
    accrued: int256 = fixed_point._lane96(side_index, 0) - fixed_point._lane96(position, 160)
    return fixed_point._div_up(size_lots * accrued, fixed_point.E12)


@internal
@pure
def _value_position(position: uint256, bounds: uint256, rules: uint256, index: uint256) -> (uint256, uint256):
    """
    @notice Brings a stored position into the tables: funding settled into the entry, share of the account's risk.
    @dev Valued at the worse of mark and external: the lower for a long, the higher for a short.
    @param position Position word, |size| < 2^40, |entry| < 2^92.
    @param bounds Bounds word of its market.
    @param rules Rules word of its market.
    @param index Index word of its market.
    @return entry << 64 + size and equity << 160 + settlement margin << 80 + maintenance margin, signed sums.
    """
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    if size_lots == 0:
        return 0, 0
    entry_quote: int256 = convert(convert(position << 96, bytes32), int256) >> 160
    # |size| x price < 2^40 x 2^33
    value_quote: int256 = 0
    notional: uint256 = 0
    side_index: uint256 = index
    if size_lots > 0:
        value_quote = unsafe_mul(size_lots, convert(bounds & M40, int256))
        notional = convert(convert(value_quote, bytes32), uint256)
    else:
        value_quote = unsafe_mul(size_lots, convert((bounds >> 40) & M40, int256))
        notional = convert(convert(unsafe_sub(0, value_quote), bytes32), uint256)
        side_index >>= 96
    # ordinary: nothing has accrued since the last touch
    if (side_index & M96) != position >> 160:
        entry_quote = unsafe_add(entry_quote, self._pending_quote(position, index))
    return (
        unsafe_add(
            convert(convert(entry_quote << 64, bytes32), uint256), convert(convert(size_lots, bytes32), uint256)
        ),
        unsafe_add(
            convert(convert(unsafe_sub(value_quote, entry_quote) << 160, bytes32), uint256),
            (unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 20) & M20), 999_999), 1_000_000) << 80)
            | unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 40) & M20), 999_999), 1_000_000),
        ),
    )


@internal
@pure
def _move_position(
    position: uint256,
    is_buy: uint256,
    lots: uint256,
    notional_quote: uint256,
    fee_ppm: uint256,
    bounds: uint256,
    rules: uint256,
) -> (uint256, uint256, uint256):
    """
    @notice Computes one side of a fill.
    @dev Twice per fill, so it repeats the last lines of _value_position instead of sharing a call.
    @param position fees << 176 + closings << 168 + fills << 160 + entry << 64 + size, a signed sum.
    @param is_buy Not zero for the buyer.
    @param lots Lots of the fill, < 2^40.
    @param notional_quote lots x price, < 2^73.
    @param fee_ppm Rate of this side, < 2^16.
    @param bounds Bounds word.
    @param rules Rules word.
    @return The moved position, its entry not yet realised when size is zero; its share of the risk word; and the outcome:
            REDUCING, OPENED, CLOSED, FLIPPED.
    """
    old_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    new_lots: int256 = 0
    # rounded up: what an account owes; < 2^70
    fee_quote: uint256 = unsafe_div(unsafe_add(unsafe_mul(notional_quote, fee_ppm), 999_999), 1_000_000)
    moved: uint256 = unsafe_add(unsafe_add(position, ONE_FILL), fee_quote << 176)
    outcome: uint256 = 0
    if is_buy != 0:
        new_lots = unsafe_add(old_lots, convert(convert(lots, bytes32), int256))
        moved = unsafe_add(unsafe_add(moved, lots), unsafe_add(notional_quote, fee_quote) << 64)
        if old_lots < 0:
            outcome = REDUCING
    else:
        new_lots = unsafe_sub(old_lots, convert(convert(lots, bytes32), int256))
        moved = unsafe_sub(unsafe_sub(moved, lots), unsafe_sub(notional_quote, fee_quote) << 64)
        if old_lots > 0:
            outcome = REDUCING
    # what the position is worth at the worse of mark and external: the lower for a long, the higher for a short
    value_quote: int256 = 0
    notional_after_quote: int256 = 0
    if new_lots > 0:
        value_quote = unsafe_mul(new_lots, convert(bounds & M40, int256))
        notional_after_quote = value_quote
        if old_lots < 0:
            outcome = FLIPPED
    elif new_lots < 0:
        value_quote = unsafe_mul(new_lots, convert((bounds >> 40) & M40, int256))
        notional_after_quote = unsafe_sub(0, value_quote)
        if old_lots > 0:
            outcome = FLIPPED
    else:
        outcome = REDUCING | CLOSED
    if old_lots == 0:
        outcome = OPENED
    notional: uint256 = convert(convert(notional_after_quote, bytes32), uint256)
    entry_quote: int256 = (
        convert(convert(unsafe_sub(moved, convert(convert(new_lots, bytes32), uint256)) << 96, bytes32), int256) >> 160
    )
    # equity << 160 + settlement margin << 80 + maintenance margin: < 2^73 x 2^20 each before the division
    share: uint256 = unsafe_add(
        convert(convert(unsafe_sub(value_quote, entry_quote) << 160, bytes32), uint256),
        (unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 20) & M20), 999_999), 1_000_000) << 80)
        | unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 40) & M20), 999_999), 1_000_000),
    )
    return moved, share, outcome


@internal
@pure
def _entry_quote(position: uint256) -> int256:
    """
    @notice Reads the entry of a position of the table.
    @param position fees << 176 + closings << 168 + fills << 160 + entry << 64 + size, a signed sum.
    @return The entry.
    """
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    return convert(convert(unsafe_sub(position, convert(convert(size_lots, bytes32), uint256)) << 96, bytes32), int256) >> 160


@internal
@pure
def _size_change(old: uint256, moved: uint256) -> int256:
    """
    @notice Computes by how much the absolute size of a position of the table changed.
    @param old Before.
    @param moved After.
    @return |new| − |old|.
    """
    old_lots: int256 = convert(convert(old << 192, bytes32), int256) >> 192
    new_lots: int256 = convert(convert(moved << 192, bytes32), int256) >> 192
    # 64 bits: no negation overflows
    return unsafe_sub(max(new_lots, unsafe_sub(0, new_lots)), max(old_lots, unsafe_sub(0, old_lots)))


@internal
@pure
def _opening_code(
    order: uint256, outcome: uint256, bounds: uint256, account_key: uint256, account_word: uint256
) -> uint256:
    """
    @notice Checks the side of a fill that does not reduce.
    @param order Order-table word.
    @param outcome Outcome of _move_position.
    @param bounds Bounds word of the market.
    @param account_key Account-table word 0, with the number of stale positions.
    @param account_word Account word as it stands.
    @return Code of the first failure, 0 for none.
    """
    if outcome & REDUCING != 0:
        return 0
    if order & REDUCE_ONLY != 0:
        return codes.REDUCE_ONLY
    if bounds & NO_OPENINGS != 0:
        return codes.OPENING_NOT_ALLOWED
    if bounds & FRESH == 0 or account_key & STALE_BITS != 0:
        return codes.STALE_PRICE
    # the list has no holes, so its last slot tells whether it is full
    if outcome & OPENED != 0 and (account_word >> 240) & 255 != 0:
        return codes.TOO_MANY_MARKETS
    return 0


@internal
@pure
def _lowers_risk(old: uint256, moved: uint256, outcome: uint256) -> bool:
    """
    @notice Tells whether a fill that ends below settlement margin may stand because it lowers the account's risk.
    @param old Risk word before the fill.
    @param moved Risk word after it.
    @param outcome Outcome of _move_position.
    @return True when reducing, with equity left, and equity per maintenance margin not falling.
    """
    equity_quote: int256 = convert(convert(moved, bytes32), int256) >> 160
    if outcome & REDUCING == 0 or equity_quote < 0:
        return False
    # 96 x 80 bits
    return unsafe_mul(equity_quote, convert(old & M80, int256)) >= unsafe_mul(
        convert(convert(old, bytes32), int256) >> 160, convert(moved & M80, int256)
    )


@internal
@pure
def _add_collateral(account_word: uint256, change_quote: int256) -> uint256:
    """
    @notice Moves the collateral of an account.
    @param account_word Account word.
    @param change_quote Signed change.
    @return The account word.
    """
    collateral_quote: int256 = (convert(convert(account_word << 184, bytes32), int256) >> 184) + change_quote
    if not self._fits(collateral_quote, 71):
        self._refuse(convert(refusals.COLLATERAL_RANGE, uint256))
    return (account_word >> 72 << 72) | (convert(convert(collateral_quote, bytes32), uint256) & M72)


@internal
@pure
def _opened(account_word: uint256, market: uint256) -> uint256:
    """
    @notice Appends a market to the list of open markets, which has room.
    @param account_word Account word.
    @param market Market id.
    @return The account word.
    """
    for slot: uint256 in range(MAX_OPEN_MARKETS):
        bit: uint256 = unsafe_add(200, slot << 3)
        if (account_word >> bit) & 255 == 0:
            return account_word | (market << bit)
    return account_word


@internal
@pure
def _closed(account_word: uint256, market: uint256) -> uint256:
    """
    @notice Takes a market out of the list of open markets; the last one moves into its slot.
    @param account_word Account word.
    @param market Market id, in the list.
    @return The account word.
    """
    found: uint256 = 0
    last: uint256 = 0
    for slot: uint256 in range(MAX_OPEN_MARKETS):
        bit: uint256 = unsafe_add(200, slot << 3)
        id: uint256 = (account_word >> bit) & 255
        if id == 0:
            break
        last = bit
        if id == market:
            found = bit
    moved: uint256 = (account_word >> last) & 255
    without: uint256 = account_word & ~(255 << last)
    if found == last:
        return without
    return (without & ~(255 << found)) | (moved << found)


@internal
def _write_position(key: uint256, position: uint256, counters: uint256, index: uint256) -> uint256:
    """
    @notice Writes and logs a position touched by a fill.
    @param key Account id << 16 | market.
    @param position counters << 160 + entry << 64 + size, a signed sum.
    @param counters Fills 8 | closings 8 | fees of this position in this batch.
    @param index Index word of the market.
    @return change of the sum of entries << 64 + change of the pot << 160, a signed sum.
    """
    old: uint256 = self.positions[key]
    realised: uint256 = 0
    if (counters >> 8) & 255 != 0:
        realised = self.realised[key]
        self.realised[key] = 0
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    entry_quote: int256 = (
        convert(convert(unsafe_sub(position, convert(convert(size_lots, bytes32), uint256)) << 96, bytes32), int256) >> 160
    )
    if unsafe_add(entry_quote, 2**92) >> 93 != 0:
        self._refuse(convert(refusals.ENTRY_RANGE, uint256))
    # the index of the side held now, or last
    snapshot: uint256 = index & M96
    if size_lots < 0:
        snapshot = (index >> 96) & M96
    elif size_lots == 0:
        if realised & 1 != 0:
            snapshot = (index >> 96) & M96
    word: uint256 = (
        (position & M64) | ((convert(convert(entry_quote, bytes32), uint256) & M96) << 64) | (snapshot << 160)
    )
    self.positions[key] = word
    log IClearinghouse.PositionChanged(
        account=key >> 16,
        market=convert(key & 255, uint8),
        change=(counters >> 16 << 160) | (((realised >> 1) & M96) << 64) | (unsafe_sub(position, old) & M64),
        position=word,
    )
    totals_change: uint256 = convert(
        convert(unsafe_sub(entry_quote, convert(convert(old << 96, bytes32), int256) >> 160) << 64, bytes32), uint256
    )
    # funding went into the entry when the position was loaded; the pot got the other end of it
    old_side_index: uint256 = index
    if old & (1 << 63) != 0:
        old_side_index >>= 96
    if old_side_index & M96 != old >> 160:
        totals_change = unsafe_add(
            totals_change, convert(convert(self._pending_quote(old, index) << 160, bytes32), uint256)
        )
    return totals_change


# ---------------------------------------------------------------- operations


@internal
@pure
def _withdrawal_requirement(position: uint256, bounds: uint256, rules: uint256) -> uint256:
    """
    @notice Computes what a position keeps from being withdrawn.
    @param position Any word with the size in its low 64 bits.
    @param bounds Bounds word of its market.
    @param rules Rules word of its market.
    @return max(ceil(notional x initial margin), ceil(notional / 10)) in quote units.
    """
    size_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    price_ticks: uint256 = bounds & M40
    if size_lots < 0:
        price_ticks = (bounds >> 40) & M40
    # < 2^40 x 2^33
    notional_quote: uint256 = unsafe_mul(
        convert(convert(max(size_lots, unsafe_sub(0, size_lots)), bytes32), uint256), price_ticks
    )
    return max(fixed_point._ceil_ppm(notional_quote, rules & M20), unsafe_div(unsafe_add(notional_quote, 9), 10))
