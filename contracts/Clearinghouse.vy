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
@custom:security No token is ever called from here. Foreign calls: PriceOracle.update (only with rows or evidence), Operations.run
        (only with operations), both before settle reads an account; Liquidations.check_order (a view, only for a liquidation
        order); Vault.add_claim (only for a withdrawal). All addresses are immutable. What siblings read or write meanwhile is
        reentrant and names its callers; words are never kept across such a call.
@custom:invariants sum of lots = 0 per market; sum collateral − sum net_entry + sum pots + fees = deposits − moved to claims.
@custom:kill A stopped sequencer stops settle; Exits pays without it. Rules with openings off make every market reduce-only,
        SETTLE_LAG after they are set; so does exit mode.
"""

from modules import codes
from modules import errors
from modules import fixed_point
from modules import margin
from modules import order_checks
from modules import refusals
from modules import session_key
from modules import typed_data
from interfaces import IClearinghouse
from interfaces import ILiquidations
from interfaces import IOperations
from interfaces import IVault


MAX_PAYLOAD: constant(uint256) = 16_384
MAX_EVIDENCE: constant(uint256) = 4_096
MAX_ACCOUNTS: constant(uint256) = 112
MAX_ORDERS: constant(uint256) = 112
MAX_FILLS: constant(uint256) = 208
MAX_OPERATIONS: constant(uint256) = 16
MAX_MARKETS: constant(uint256) = 32
MAX_OPEN_MARKETS: constant(uint256) = 6
MAX_PROOF: constant(uint256) = 8
MAX_DELTAS: constant(uint256) = 34
# words of a log: three per position a batch can touch
MAX_RECORDS: constant(uint256) = 3 * MAX_ORDERS
MAX_PLACES: constant(uint256) = MAX_ACCOUNTS + MAX_ORDERS
# one byte per operation, order and fill, in whole words: 16 + 112 + 208 = 336 <= 11 x 32
CODE_WORDS: constant(uint256) = 11

MAX_EXPIRY_S: constant(uint256) = order_checks.MAX_EXPIRY_S
MAX_SESSION: constant(uint256) = 8

M16: constant(uint256) = 2**16 - 1
M20: constant(uint256) = 2**20 - 1
M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M48: constant(uint256) = 2**48 - 1
M64: constant(uint256) = 2**64 - 1
M72: constant(uint256) = 2**72 - 1
M80: constant(uint256) = 2**80 - 1
M88: constant(uint256) = 2**88 - 1
M96: constant(uint256) = 2**96 - 1
M160: constant(uint256) = 2**160 - 1

# order word, in the payload and in its place
IS_BUY: constant(uint256) = order_checks.IS_BUY
REDUCE_ONLY: constant(uint256) = order_checks.REDUCE_ONLY
POST_ONLY: constant(uint256) = order_checks.POST_ONLY
IMMEDIATE: constant(uint256) = order_checks.IMMEDIATE
PREVIOUS_EPOCH: constant(uint256) = order_checks.PREVIOUS_EPOCH
HAS_TRIGGER: constant(uint256) = order_checks.HAS_TRIGGER
BY_KEY: constant(uint256) = order_checks.BY_KEY
LIQUIDATION: constant(uint256) = order_checks.LIQUIDATION
BULK: constant(uint256) = order_checks.BULK
RESERVED_FLAGS: constant(uint256) = order_checks.RESERVED_FLAGS
MARKET_BITS: constant(uint256) = order_checks.MARKET_BITS
CODE_BITS: constant(uint256) = order_checks.CODE_BITS
NO_ORDER: constant(uint256) = order_checks.NO_ORDER
OWNER_BITS: constant(uint256) = order_checks.OWNER_BITS
# what is kept of it there
ORDER_KEPT: constant(uint256) = (max_value(uint256) - (2**88 - 1)) | (M32 << 40)
# what sends an order to the checks one by one
UNUSUAL_FLAGS: constant(uint256) = RESERVED_FLAGS | PREVIOUS_EPOCH | HAS_TRIGGER | LIQUIDATION

# market table: auction price and flags of the bounds word
AUCTION_BITS: constant(uint256) = M40 << 160
FRESH: constant(uint256) = 1 << 200
NO_OPENINGS: constant(uint256) = 1 << 201
LOADED: constant(uint256) = 1 << 202
# margins rise with size: the key of the tier word stands above
TIERED: constant(uint256) = 1 << 203
TIER_KEY_BIT: constant(uint256) = 208

# position table: what one fill adds to the count above size and entry
ONE_FILL: constant(uint256) = 1 << 160
ONE_CLOSING: constant(uint256) = 1 << 168
# outcome of a fill for one side
REDUCING: constant(uint256) = 1
OPENED: constant(uint256) = 2
CLOSED: constant(uint256) = 4
FLIPPED: constant(uint256) = 8

RULES_OPENINGS: constant(uint256) = 1 << 168
# set by the registry alone: the word at + SUCCESSOR replaces this one in batches matched later than the time at + BINDS_AFTER
RULES_CHANGING: constant(uint256) = 1 << 170
# the tier word stands at the key of the word in use + TIERS
RULES_TIERED: constant(uint256) = 1 << 171
RULES_ACCOUNT_SHARE: constant(uint256) = M16 << 152
SUCCESSOR: constant(uint256) = 2**16
BINDS_AFTER: constant(uint256) = 2**17
TIERS: constant(uint256) = 2**18
# set_rules_word: markets from here on name tier words
TIER_MARKETS: constant(uint256) = 1024

# operator word: mode
MODE_BIT: constant(uint256) = 200
EXIT_MODE: constant(uint256) = 1
SETTLED: constant(uint256) = 2

# account word: an overflow word exists
HAS_OVERFLOW: constant(uint256) = 1 << 248
# kinds of direct operations
DIRECT_CANCEL_ALL: constant(uint256) = 1
DIRECT_RULES: constant(uint256) = 4
DIRECT_DELTAS: constant(uint256) = 5
DIRECT_MARKET: constant(uint256) = 6
DIRECT_WITHDRAWAL: constant(uint256) = 7
DIRECT_MODE: constant(uint256) = 8
# kinds of words an operation of a batch writes
LANE_WORD: constant(uint256) = 1
ACCOUNT_WORD: constant(uint256) = 2
KEY_WORD: constant(uint256) = 3
# bits of the account word an operation may write: min_seq and lane 0
OPERATION_BITS: constant(uint256) = (2**128 - 1) << 72

NAME_HASH: constant(bytes32) = keccak256("Afterbell")


# a place of the payload: an account or an order. Signed sums as settle's @dev says
struct Place:
    # order: payload word 0 with owner number 8 | code 8 for max_fee and, for expiry, the places of lane 8, position 8 and account 8;
    # account: NO_ORDER
    word: uint256
    # order: lane record, seq << 48 | filled, the greater is the later state, kept at the first order of its lane; account: account word
    lane: uint256
    # order: fees << 176 + closings << 168 + fills << 160 + entry << 64 + size, kept at the first order of its position;
    # account: risk, equity int96 | settlement margin 80 | maintenance margin 80
    sum: uint256
    # order: the position's share of risk; account: number of stale positions
    share: uint256
    # order: position word in storage; account: account id << 16
    stored: uint256


# what every neighbour has
interface INeighbour:
    def CLEARINGHOUSE() -> address: view


# PriceOracle and Operations as settle calls them: a part of the payload is as wide as the payload to the compiler
interface IBatchPart:
    def update(data: Bytes[MAX_PAYLOAD], n_rows: uint256, matched_at_s: uint256) -> DynArray[uint256, 3 * MAX_MARKETS]: nonpayable
    def run(domain: bytes32, operations: Bytes[MAX_PAYLOAD], matched_at_s: uint256, sequence: uint256) -> uint256: nonpayable


# the stablecoin vault; the only caller of credit_deposit
VAULT: public(immutable(address))
# called with the rows and the evidence of a batch
ORACLE: public(immutable(address))
# the only writer of rules and the sequencer address
REGISTRY: public(immutable(address))
# runs operations; writes what owners change
OPERATIONS: public(immutable(address))
# judges liquidation orders; moves positions between accounts, and indices
LIQUIDATIONS: public(immutable(address))
# pays and closes without the sequencer; sets the mode
EXITS: public(immutable(address))
# moves prices, indices and positions of a market under a corporate action
CORPORATE_ACTIONS: public(immutable(address))
# UNIX seconds at which order seqs count from zero
GENESIS_S: public(immutable(uint256))
CACHED_CHAIN_ID: immutable(uint256)
CACHED_DOMAIN: immutable(bytes32)

# account words by account_id << 16, overflow words at + 0xffff; written by settle, operations, deposits and siblings
accounts: HashMap[uint256, uint256]
# position words by account_id << 16 | market; written by settle and apply_deltas; sizes sum to zero per market
positions: HashMap[uint256, uint256]
# lane words by account_id << 16 | lane >> 1; written by settle and write_operation; a lane's seq never falls
lanes: HashMap[uint256, uint256]
# price words by market; written by settle, move_market and list_market
prices: HashMap[uint256, uint256]
# rules words by market << 8 | session, with successors and tiers; written by set_rules_word
rules: HashMap[uint256, uint256]
# funding indices by market, 1e-12 quote per lot; written by settle and move_market
indices: HashMap[uint256, uint256]
# open interest, sum of entries and pot by market; written by settle and apply_deltas
totals: HashMap[uint256, uint256]
# sequence, matched_at, fees and sum of collateral; written by settle and whatever moves collateral
batch: uint256
# sequencer address, number of direct operations and mode; written by set_sequencer, set_mode and whatever is made directly
operator: uint256
# within one settle: twice the quote a position realised, bit 0 set when the side closed last was short; by position key
realised: transient(HashMap[uint256, uint256])
# commits to every batch and its status codes; written by settle
head: public(bytes32)
# session key words by account_id << 16 and key address; written by write_operation and record_direct
session_keys: HashMap[uint256, HashMap[uint256, uint256]]


@deploy
def __init__(
    vault: address,
    oracle: address,
    registry: address,
    operations: address,
    liquidations: address,
    exits: address,
    corporate_actions: address,
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
    @param liquidations Liquidations.
    @param exits Exits.
    @param corporate_actions CorporateActions.
    @param token The stablecoin of the vault.
    @param sequencer First operator.
    @param genesis_s UNIX seconds at which seqs start, not in the future.
    """
    assert oracle != empty(address) and registry != empty(address) and sequencer != empty(address), errors.NO_ADDRESS
    assert staticcall IVault(vault).CLEARINGHOUSE() == self, errors.WRONG_WIRING
    assert staticcall IVault(vault).TOKEN() == token, errors.WRONG_WIRING
    assert staticcall IVault(vault).OPERATIONS() == operations, errors.WRONG_WIRING
    assert staticcall IOperations(operations).VAULT() == vault, errors.WRONG_WIRING
    for neighbour: address in [oracle, operations, liquidations, exits, corporate_actions]:
        assert staticcall INeighbour(neighbour).CLEARINGHOUSE() == self, errors.WRONG_WIRING
    assert genesis_s <= block.timestamp, errors.WRONG_MATCHED_AT
    VAULT = vault
    ORACLE = oracle
    REGISTRY = registry
    OPERATIONS = operations
    LIQUIDATIONS = liquidations
    EXITS = exits
    CORPORATE_ACTIONS = corporate_actions
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
         Tables in memory: `places`, accounts and orders as the payload has them (struct Place), and per market five words:
           0 bounds: low 40 | high 40 | band low 40 | band high 40 | auction 40 | flags;  1 rules;  2 index;
           3 open interest 64 | changes of the sum of entries 96 and of the pot, a signed sum;  4 price
         A packed word holding signed numbers is their sum with weights 2^k, so adding words adds every number in them as long
         as each stays inside its lane, which contracts/README.md proves for all of them.
    @param previous_head Head the batch was built on; a reorganised chain refuses it.
    @param payload The batch.
    """
    operator: uint256 = self.operator
    if convert(msg.sender, uint256) != operator & M160:
        self._refuse(refusals.NOT_SEQUENCER)
    if previous_head != self.head:
        self._refuse(refusals.WRONG_HEAD)
    length: uint256 = len(payload)
    if length < 64:
        self._refuse(refusals.WRONG_LENGTH)
    batch: uint256 = self.batch
    header: uint256 = extract32(payload, 0, output_type=uint256)
    if header >> 248 != 2:
        self._refuse(refusals.WRONG_VERSION)
    sequence: uint256 = (header >> 208) & M40
    if sequence != unsafe_add(batch & M40, 1):
        self._refuse(refusals.WRONG_SEQUENCE)
    logged_sequence: uint64 = convert(sequence, uint64)
    matched_at_s: uint256 = (header >> 168) & M40
    if (
        matched_at_s > block.timestamp
        or matched_at_s < (batch >> 40) & M40
        or unsafe_add(matched_at_s, session_key.SETTLE_LAG_S) < block.timestamp
    ):
        self._refuse(refusals.WRONG_MATCHED_AT)
    if (header >> 128) & M40 > (operator >> 160) & M40:
        self._refuse(refusals.UNKNOWN_DIRECT_OP)
    mode: uint256 = operator >> MODE_BIT
    if mode == SETTLED:
        self._refuse(refusals.IS_SETTLED)
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
        self._refuse(refusals.TOO_MANY)
    # sections, each in whole words; all counts are bounded above, so nothing overflows
    rows_at: uint256 = unsafe_add(64, unsafe_add(n_fills, 3) >> 2 << 5)
    # rows and evidence side by side, as the oracle takes them
    prices_length: uint256 = unsafe_add(n_rows << 5, evidence_length)
    operations_at: uint256 = unsafe_add(rows_at, unsafe_add(prices_length, 31) >> 5 << 5)
    offset: uint256 = unsafe_add(operations_at, unsafe_mul(n_operations, 160))
    # what accounts and orders take at least; what is left is for triggers and proofs, to the last byte
    least: uint256 = unsafe_add(offset, unsafe_add(n_accounts << 5, unsafe_mul(n_orders, 96)))
    if least > length:
        self._refuse(refusals.WRONG_LENGTH)
    surplus: uint256 = unsafe_sub(length, least)
    domain: bytes32 = self._domain()

    # neighbours are immutable and checked when wired, so neither their code nor the length of an answer is asked for again
    # ---- 1. prices, then operations, on stored words. Before the tables and in one block: the compiler gives its memory, which is
    # as large as they are, to the tables
    operation_codes: uint256 = 0
    if prices_length | n_operations != 0:
        prices_part: Bytes[MAX_PAYLOAD] = slice(payload, rows_at, prices_length)
        operations_part: Bytes[MAX_PAYLOAD] = slice(payload, operations_at, unsafe_mul(n_operations, 160))
        if prices_length != 0:
            moved: DynArray[uint256, 3 * MAX_MARKETS] = extcall IBatchPart(ORACLE).update(
                prices_part, n_rows, matched_at_s, skip_contract_check=True
            )
            for i: uint256 in range(unsafe_div(len(moved), 3), bound=MAX_MARKETS):
                place: uint256 = unsafe_mul(i, 3)
                self._move_market(moved[place], moved[unsafe_add(place, 1)], moved[unsafe_add(place, 2)])
        if n_operations != 0:
            operation_codes = extcall IBatchPart(OPERATIONS).run(
                domain, operations_part, matched_at_s, sequence, skip_contract_check=True
            )
            # withdrawals moved the sum of collateral
            batch = self.batch

    n_failures: uint256 = operation_codes & M16
    volume_quote: uint256 = 0
    fees_quote: uint256 = 0
    # change of the sum of collateral: realised by fills
    collateral_change: int256 = 0
    code_words: uint256[CODE_WORDS] = empty(uint256[CODE_WORDS])
    code_words[0] = operation_codes >> 128 << 128
    # hashed here, so that its copy of the payload and the tables share memory; so do the tables and the copy of the records
    payload_hash: bytes32 = keccak256(payload)
    records: DynArray[uint256, MAX_RECORDS] = []
    if n_accounts | n_orders | n_fills != 0:
        market_table: uint256[5][MAX_MARKETS + 1] = empty(uint256[5][MAX_MARKETS + 1])
        places: DynArray[Place, MAX_PLACES] = []
        # auction prices hold for this batch alone
        for i: uint256 in range(n_rows, bound=MAX_MARKETS):
            row: uint256 = extract32(payload, unsafe_add(rows_at, i << 5), output_type=uint256)
            if (row >> 128) & M40 != 0:
                # the oracle has refused a market there is not
                market_table[row >> 248] = self._load_market(row >> 248, matched_at_s, (row >> 128) & M40, mode)

        # ---- 2. accounts and orders
        previous_key: uint256 = 0
        owner_number: uint256 = 0
        n_stale_positions: uint256 = 0
        # whether two orders of the batch share a lane, a position
        has_shared_lane: bool = False
        has_shared_position: bool = False
        # the market of the order or fill before, unpacked
        current_market: uint256 = max_value(uint256)
        bounds: uint256 = 0
        rules: uint256 = 0
        index: uint256 = 0
        price: uint256 = 0
        for account_index: uint256 in range(n_accounts, bound=MAX_ACCOUNTS):
            account_key: uint256 = extract32(payload, offset, output_type=uint256)
            n_account_orders: uint256 = account_key & M16
            account_key ^= n_account_orders
            if account_key <= previous_key:
                self._refuse(refusals.ACCOUNT_ORDER)
            # accounts of one owner are neighbours, so a running number tells owners apart; 112 at most
            if (account_key ^ previous_key) >> 96 != 0:
                owner_number = unsafe_add(owner_number, 1)
            previous_key = account_key
            offset = unsafe_add(offset, 32)
            account_place: uint256 = len(places)
            if unsafe_add(unsafe_sub(account_place, account_index), n_account_orders) > n_orders:
                self._refuse(refusals.ORDER_COUNT)

            account_word: uint256 = self.accounts[account_key]
            # the effective one: what was raised directly counts when it binds
            min_seq: uint256 = (account_word >> 72) & M40
            if account_word >= HAS_OVERFLOW:
                overflow: uint256 = self.accounts[account_key | M16]
                min_seq = max(min_seq, overflow >> 80)
                if matched_at_s > unsafe_add((overflow >> 40) & M40, session_key.SETTLE_LAG_S):
                    min_seq = max(min_seq, overflow & M40)
            places.append(Place(word=NO_ORDER, lane=account_word, sum=0, share=0, stored=account_key))
            # per market one byte: the place of this account's position
            position_places: uint256 = 0
            n_stale: uint256 = 0
            # market of the last valid order
            traded_market: uint256 = 0
            # equity starts as collateral, sign-extended into its lane
            risk: uint256 = convert(
                convert((convert(convert(account_word << 184, bytes32), int256) >> 184) << 160, bytes32), uint256
            )
            last_lane: uint256 = 0
            # this account's newest lane record and its place; 2^16 is no lane
            recorded_lane: uint256 = 2**16
            lane_place: uint256 = 0
            for j: uint256 in range(n_account_orders, bound=MAX_ORDERS):
                order: uint256 = extract32(payload, offset, output_type=uint256)
                lane: uint256 = (order >> 216) & M16
                if lane < last_lane:
                    self._refuse(refusals.LANE_ORDER)
                last_lane = lane
                trigger: uint256 = 0
                n_proof: uint256 = 0
                next_offset: uint256 = unsafe_add(offset, 96)
                if order & (HAS_TRIGGER | BULK) != 0:
                    # a trigger, then a proof behind its length
                    n_words: uint256 = unsafe_add((order >> 238) & 1, (order >> 241) & 1)
                    next_offset = unsafe_add(next_offset, n_words << 5)
                    if n_words << 5 > surplus:
                        self._refuse(refusals.WRONG_LENGTH)
                    if order & HAS_TRIGGER != 0:
                        trigger = extract32(payload, unsafe_add(offset, 96), output_type=uint256)
                    if order & BULK != 0:
                        n_proof = extract32(payload, unsafe_sub(next_offset, 32), output_type=uint256)
                        n_words = unsafe_add(n_words, n_proof)
                        next_offset = unsafe_add(next_offset, n_proof << 5)
                        if n_proof > MAX_PROOF or n_words << 5 > surplus:
                            self._refuse(refusals.WRONG_LENGTH)
                    surplus = unsafe_sub(surplus, n_words << 5)

                market: uint256 = order >> 248
                if market != current_market:
                    current_market = market
                    # what the table does not have stands as market 0, which is never listed
                    slot: uint256 = market
                    if market > MAX_MARKETS:
                        slot = 0
                    if market_table[slot][0] == 0:
                        market_table[slot] = self._load_market(slot, matched_at_s, 0, mode)
                    bounds = market_table[slot][0]
                    rules = market_table[slot][1]
                    index = market_table[slot][2]
                    price = market_table[slot][4]
                # the registry gives rules to listed markets alone
                code: uint256 = codes.UNKNOWN_MARKET
                if rules != 0:
                    code = 0
                    size_lots: uint256 = (order >> 128) & M48
                    limit_ticks: uint256 = (order >> 88) & M40
                    taker_ppm: uint256 = (order >> 56) & M16
                    maker_ppm: uint256 = (order >> 40) & M16
                    expiry_s: uint256 = order & M40
                    # one test for all that an ordinary order passes: a difference below zero ends in bit 255
                    if (
                        (order & UNUSUAL_FLAGS)
                        | (order & (order >> 2) & POST_ONLY)
                        | (size_lots % ((rules >> 176) & M16))
                        | (limit_ticks % ((rules >> 192) & M16))
                        | (
                            (
                                unsafe_sub(size_lots, 1)
                                | unsafe_sub(unsafe_mul(size_lots, limit_ticks), (rules >> 208) & M32)
                                | unsafe_sub((rules >> 112) & M40, size_lots)
                                | unsafe_sub((order >> 72) & M16, taker_ppm)
                                | unsafe_sub((order >> 72) & M16, maker_ppm)
                                | unsafe_sub(rules >> 240, taker_ppm)
                                | unsafe_sub(rules >> 240, maker_ppm)
                                | unsafe_sub(expiry_s, matched_at_s)
                                | unsafe_sub(unsafe_add(matched_at_s, MAX_EXPIRY_S), expiry_s)
                                | unsafe_sub((order >> 176) & M40, min_seq)
                                | unsafe_sub(typed_data.LIQUIDATION_LANE - 1, lane)
                            )
                            >> 255
                        )
                        != 0
                    ):
                        code = staticcall IOperations(OPERATIONS).order_code(
                            order, trigger, price, rules, matched_at_s, min_seq, skip_contract_check=True
                        )
                    if code == 0:
                        if order & LIQUIDATION != 0:
                            code = staticcall ILiquidations(LIQUIDATIONS).check_order(
                                account_key >> 16, order, sequence, matched_at_s, skip_contract_check=True
                            )
                        else:
                            # epoch >= 1, and >= 2 with previous_epoch: WRONG_EPOCH otherwise
                            hashed: bytes32 = typed_data._order_hash(
                                account_key, unsafe_sub((price >> 208) & M32, (order >> 237) & 1), order, trigger
                            )
                            if order & BULK != 0:
                                for k: uint256 in range(n_proof, bound=MAX_PROOF):
                                    sibling_at: uint256 = unsafe_sub(next_offset, unsafe_sub(n_proof, k) << 5)
                                    hashed = typed_data._node(hashed, extract32(payload, sibling_at))
                                hashed = typed_data._order_tree_hash(hashed)
                            signer: uint256 = convert(
                                typed_data._recovered(
                                    typed_data._digest(domain, hashed),
                                    extract32(payload, unsafe_add(offset, 32), output_type=uint256),
                                    extract32(payload, unsafe_add(offset, 64), output_type=uint256),
                                ),
                                uint256,
                            )
                            # ordinary: the owner signed and no key is claimed; nobody, zero, wraps beyond 160 bits
                            if (signer ^ (account_key >> 96)) | (order & BY_KEY) | (unsafe_sub(signer, 1) >> 160) != 0:
                                code = self._order_key_code(account_key, signer, order, price, matched_at_s)
                offset = next_offset
                place: uint256 = len(places)
                if code == 0:
                    # the market's position of this account, loaded at its first order
                    traded_market = market
                    place_bit: uint256 = unsafe_sub(market, 1) << 3
                    position_place: uint256 = (position_places >> place_bit) & 255
                    stored: uint256 = 0
                    sum_word: uint256 = 0
                    share: uint256 = 0
                    if position_place == 0:
                        position_place = place
                        position_places |= place << place_bit
                        stored = self.positions[account_key | market]
                        sum_word, share = self._value_position(stored, bounds, rules, index)
                        if bounds & FRESH == 0 and stored & M64 != 0:
                            n_stale = unsafe_add(n_stale, 1)
                        risk = unsafe_add(risk, share)
                    else:
                        has_shared_position = True
                    # orders come sorted by lane, so valid orders of one lane share the newest record
                    record: uint256 = 0
                    if lane == recorded_lane:
                        has_shared_lane = True
                    else:
                        recorded_lane = lane
                        lane_place = place
                        # lane 0 stands in the account word, the odd lane of a lane word from bit 88
                        record = account_word >> 112
                        if lane != 0:
                            record = self.lanes[account_key | (lane >> 1)] >> unsafe_mul(lane & 1, 88)
                        record = ((record & M40) << 48) | ((record >> 40) & M48)
                    places.append(
                        Place(
                            word=(order & ORDER_KEPT)
                            | account_place
                            | (position_place << 8)
                            | (lane_place << 16)
                            | (owner_number << 80),
                            lane=record,
                            sum=sum_word,
                            share=share,
                            stored=stored,
                        )
                    )
                else:
                    places.append(Place(word=code << 72, lane=0, sum=0, share=0, stored=0))
                    n_failures = unsafe_add(n_failures, 1)
                    # orders are numbered without the accounts before them
                    at: uint256 = unsafe_add(n_operations, unsafe_sub(place, unsafe_add(account_index, 1)))
                    code_words[at >> 5] |= code << unsafe_sub(248, (at & 31) << 3)

            # open positions no order of the batch trades count toward the account's risk all the same
            open_markets: uint256 = (account_word >> 200) & M48
            # ordinary: the one it trades
            if open_markets == traded_market:
                open_markets = 0
            for _: uint256 in range(MAX_OPEN_MARKETS):
                if open_markets == 0:
                    break
                market: uint256 = open_markets & 255
                open_markets >>= 8
                if (position_places >> (unsafe_sub(market, 1) << 3)) & 255 == 0:
                    if market_table[market][0] == 0:
                        market_table[market] = self._load_market(market, matched_at_s, 0, mode)
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
            places[account_place].sum = risk
            if n_stale != 0:
                places[account_place].share = n_stale
                n_stale_positions = unsafe_add(n_stale_positions, n_stale)
        n_places: uint256 = len(places)
        if n_places != unsafe_add(n_accounts, n_orders):
            self._refuse(refusals.ORDER_COUNT)

        # ---- 3. fills in order
        # open interest of the current market, with the changes market_table keeps above it
        running: uint256 = 0
        fills: uint256 = 0
        current_market = 0
        for i: uint256 in range(n_fills, bound=MAX_FILLS):
            if i & 3 == 0:
                fills = extract32(payload, unsafe_add(64, i << 3), output_type=uint256)
            maker_place: uint256 = fills >> 248
            taker_place: uint256 = (fills >> 240) & 255
            lots: uint256 = (fills >> 192) & M48
            fills <<= 64
            if max(maker_place, taker_place) >= n_places:
                self._refuse(refusals.FILL_INDEX)
            maker: Place = places[maker_place]
            taker: Place = places[taker_place]
            if has_shared_lane:
                maker.lane = places[(maker.word >> 16) & 255].lane
                taker.lane = places[(taker.word >> 16) & 255].lane
            if has_shared_position:
                at: uint256 = (maker.word >> 8) & 255
                maker.sum = places[at].sum
                maker.share = places[at].share
                at = (taker.word >> 8) & 255
                taker.sum = places[at].sum
                taker.share = places[at].share
            market: uint256 = maker.word >> 248
            if market != current_market:
                market_table[current_market][3] = running
                current_market = market
                bounds = market_table[market][0]
                rules = market_table[market][1]
                running = market_table[market][3]
            # price: the maker's limit, or the auction's inside it
            price = (maker.word >> 88) & M40
            if bounds & AUCTION_BITS != 0:
                price = (bounds >> 160) & M40
            # an older seq is replaced, a newer one or too many lots end beyond the order's size: 88 + 1 bits, no overflow
            maker_seq: uint256 = ((maker.word >> 176) & M40) << 48
            taker_seq: uint256 = ((taker.word >> 176) & M40) << 48
            maker_lane: uint256 = unsafe_add(max(maker.lane, maker_seq), lots)
            taker_lane: uint256 = unsafe_add(max(taker.lane, taker_seq), lots)
            # below zero when the limits do not reach the price
            crossing: uint256 = 0
            is_maker_buying: uint256 = (maker.word >> 232) & 1
            if is_maker_buying != 0:
                crossing = unsafe_sub(price, (taker.word >> 88) & M40) | unsafe_sub((maker.word >> 88) & M40, price)
            else:
                crossing = unsafe_sub((taker.word >> 88) & M40, price) | unsafe_sub(price, (maker.word >> 88) & M40)
            code: uint256 = 0
            difference: uint256 = maker.word ^ taker.word
            # one test for one market, two sides, valid orders, no post-only taker, two owners, lots, limits, band and lanes
            if (
                ((difference & (MARKET_BITS | IS_BUY)) ^ IS_BUY)
                | ((maker.word | taker.word) & CODE_BITS)
                | (taker.word & POST_ONLY)
                | (
                    (
                        crossing
                        | unsafe_sub(difference & OWNER_BITS, 1)
                        | unsafe_sub(lots, 1)
                        | unsafe_sub(price, (bounds >> 80) & M40)
                        | unsafe_sub((bounds >> 120) & M40, price)
                        | unsafe_sub(unsafe_add(maker_seq, (maker.word >> 128) & M48), maker_lane)
                        | unsafe_sub(unsafe_add(taker_seq, (taker.word >> 128) & M48), taker_lane)
                    )
                    >> 255
                )
                != 0
            ):
                code = staticcall IOperations(OPERATIONS).fill_code(
                    maker.word,
                    taker.word,
                    lots,
                    crossing,
                    price,
                    bounds,
                    unsafe_sub(maker_lane, maker_seq),
                    unsafe_sub(taker_lane, taker_seq),
                    skip_contract_check=True,
                )
            else:
                # lots < 2^40 and price < 2^33 from here on: size within the cap, price within the band
                notional_quote: uint256 = unsafe_mul(lots, price)
                # minus one for a selling maker, in two's complement
                sign: uint256 = unsafe_sub(is_maker_buying << 1, 1)
                maker_account: uint256 = maker.word & 255
                taker_account: uint256 = taker.word & 255
                maker_sum: uint256 = 0
                maker_share: uint256 = 0
                maker_outcome: uint256 = 0
                taker_sum: uint256 = 0
                taker_share: uint256 = 0
                taker_outcome: uint256 = 0
                maker_sum, maker_share, maker_outcome = self._move_position(
                    maker.sum, sign, lots, notional_quote, (maker.word >> 40) & M16, bounds, rules
                )
                taker_sum, taker_share, taker_outcome = self._move_position(
                    taker.sum, unsafe_sub(0, sign), lots, notional_quote, (taker.word >> 56) & M16, bounds, rules
                )
                outcomes: uint256 = maker_outcome | taker_outcome
                # half the change of the sum of absolute sizes: two that grow, one of each, two that shrink
                grown: uint256 = unsafe_add(
                    running,
                    unsafe_mul(
                        lots, unsafe_sub(1, unsafe_add(maker_outcome & REDUCING, taker_outcome & REDUCING))
                    ),
                )
                # nothing here can stop an ordinary fill: no reduce-only order, openings allowed and fresh, nobody stale, no new
                # position, no cap of an account, far from the market's (nobody holds more than all hold together)
                if (
                    ((maker.word | taker.word) & REDUCE_ONLY)
                    | ((bounds & (FRESH | NO_OPENINGS)) ^ FRESH)
                    | (outcomes & (OPENED | FLIPPED))
                    | (rules & RULES_ACCOUNT_SHARE)
                    | n_stale_positions
                    | (unsafe_sub((rules >> 112) & M40, unsafe_add(running & M64, lots)) >> 255)
                    != 0
                ):
                    if outcomes & FLIPPED != 0:
                        change: int256 = unsafe_add(
                            self._size_change(maker.sum, maker_sum), self._size_change(taker.sum, taker_sum)
                        )
                        grown = unsafe_add(running, convert(convert(change >> 1, bytes32), uint256))
                    code = self._opening_code(
                        maker.word,
                        maker_outcome,
                        bounds,
                        rules,
                        places[maker_account].share,
                        places[maker_account].lane,
                        maker.sum,
                        maker_sum,
                    )
                    if code == 0:
                        code = self._opening_code(
                            taker.word,
                            taker_outcome,
                            bounds,
                            rules,
                            places[taker_account].share,
                            places[taker_account].lane,
                            taker.sum,
                            taker_sum,
                        )
                        if code != 0:
                            code = unsafe_add(code, codes.TAKER_SIDE)
                        elif grown > running and grown & M64 > (rules >> 112) & M40:
                            code = codes.OPEN_INTEREST_CAP
                maker_old: uint256 = places[maker_account].sum
                taker_old: uint256 = places[taker_account].sum
                maker_risk: uint256 = unsafe_add(unsafe_sub(maker_old, maker.share), maker_share)
                taker_risk: uint256 = unsafe_add(unsafe_sub(taker_old, taker.share), taker_share)
                # equity below settlement margin on either side
                if (
                    unsafe_sub(
                        convert(convert(maker_risk, bytes32), int256) >> 160, convert((maker_risk >> 80) & M80, int256)
                    )
                    | unsafe_sub(
                        convert(convert(taker_risk, bytes32), int256) >> 160, convert((taker_risk >> 80) & M80, int256)
                    )
                    < 0
                ):
                    if code == 0 and not self._is_margined(maker_old, maker_risk, maker_outcome):
                        code = codes.MARGIN
                    if code == 0 and not self._is_margined(taker_old, taker_risk, taker_outcome):
                        code = codes.MARGIN + codes.TAKER_SIDE
                if code == 0:
                    # ---- both sides pass: write
                    volume_quote = unsafe_add(volume_quote, notional_quote)
                    running = grown
                    places[maker_account].sum = maker_risk
                    places[taker_account].sum = taker_risk
                    # a position opened or closed moves the list of open markets, a closed one realises its entry
                    if outcomes & (OPENED | CLOSED) != 0:
                        for is_taker: bool in [False, True]:
                            outcome: uint256 = taker_outcome if is_taker else maker_outcome
                            if outcome & (OPENED | CLOSED) == 0:
                                continue
                            account: Place = places[taker_account if is_taker else maker_account]
                            if outcome & OPENED != 0:
                                account.lane = self._opened(account.lane, market)
                            else:
                                moved: uint256 = taker_sum if is_taker else maker_sum
                                realised_quote: int256 = -self._entry_quote(moved)
                                account.lane = self._closed(self._add_collateral(account.lane, realised_quote), market)
                                if bounds & FRESH == 0:
                                    account.share = unsafe_sub(account.share, 1)
                                # doubled, so that bit 0 can tell the side that was closed
                                self.realised[account.stored | market] = unsafe_add(
                                    self.realised[account.stored | market] >> 1 << 1,
                                    convert(convert(realised_quote << 1, bytes32), uint256),
                                ) | (((taker.sum if is_taker else maker.sum) >> 63) & 1)
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
                            places[taker_account if is_taker else maker_account] = account
                    maker.lane = maker_lane
                    maker.sum = maker_sum
                    maker.share = maker_share
                    places[maker_place] = maker
                    taker.lane = taker_lane
                    taker.sum = taker_sum
                    taker.share = taker_share
                    places[taker_place] = taker
                    if has_shared_lane:
                        places[(maker.word >> 16) & 255].lane = maker_lane
                        places[(taker.word >> 16) & 255].lane = taker_lane
                    if has_shared_position:
                        at: uint256 = (maker.word >> 8) & 255
                        places[at].sum = maker_sum
                        places[at].share = maker_share
                        at = (taker.word >> 8) & 255
                        places[at].sum = taker_sum
                        places[at].share = taker_share
            if code != 0:
                n_failures = unsafe_add(n_failures, 1)
                at: uint256 = unsafe_add(unsafe_add(n_operations, n_orders), i)
                code_words[at >> 5] |= code << unsafe_sub(248, (at & 31) << 3)
        market_table[current_market][3] = running

        # ---- 5. consumption, 6. write once
        if has_shared_lane:
            # a shared lane is written at its first order, so all of its orders are consumed before
            for i: uint256 in range(n_places, bound=MAX_PLACES):
                order: uint256 = places[i].word
                if order & (IMMEDIATE | CODE_BITS) == IMMEDIATE:
                    lane_place: uint256 = (order >> 16) & 255
                    places[lane_place].lane = max(places[lane_place].lane, (((order >> 176) & M40) << 48) | M48)
        touched_markets: uint256 = 0
        # market 0 has no positions
        current_market = 0
        running = 0
        account_key: uint256 = 0
        account_word: uint256 = 0
        for i: uint256 in range(n_places, bound=MAX_PLACES):
            place: Place = places[i]
            if place.word & CODE_BITS != 0:
                if place.word == NO_ORDER:
                    # the account before is done; the first has none before
                    if i != 0:
                        self.accounts[account_key] = account_word
                    account_key = place.stored
                    account_word = place.lane
                continue
            # a lane and a position are written where they were read
            if (place.word >> 16) & 255 == i:
                if place.word & IMMEDIATE != 0:
                    place.lane = max(place.lane, (((place.word >> 176) & M40) << 48) | M48)
                lane: uint256 = (place.word >> 216) & M16
                if lane == 0:
                    account_word = (account_word & ~(M88 << 112)) | (
                        ((place.lane >> 48) | ((place.lane & M48) << 40)) << 112
                    )
                else:
                    self._store_lane(account_key, lane, place.lane)
            if (place.word >> 8) & 255 == i:
                # read from the low lane up, each without its sign from the one above
                size_lots: int256 = convert(convert(place.sum << 192, bytes32), int256) >> 192
                above: uint256 = unsafe_sub(place.sum, convert(convert(size_lots, bytes32), uint256))
                entry_quote: int256 = convert(convert(above << 96, bytes32), int256) >> 160
                # fills 8 | closings 8 | fees 80
                counters: uint256 = (
                    unsafe_sub(above, convert(convert(entry_quote << 64, bytes32), uint256)) >> 160
                )
                if counters != 0:
                    market: uint256 = place.word >> 248
                    if market != current_market:
                        market_table[current_market][3] = running
                        current_market = market
                        index = market_table[market][2]
                        running = market_table[market][3]
                        touched_markets |= 1 << market
                    fees_quote = unsafe_add(fees_quote, counters >> 16)
                    realised: uint256 = 0
                    side: int256 = size_lots
                    if (counters >> 8) & 255 != 0:
                        realised = self.realised[account_key | market]
                        self.realised[account_key | market] = 0
                        if size_lots == 0:
                            side = unsafe_sub(0, convert(convert(realised & 1, bytes32), int256))
                    word: uint256 = self._position_word(size_lots, entry_quote, index, side)
                    self.positions[account_key | market] = word
                    records.append(account_key | market)
                    records.append(
                        (counters >> 16 << 160)
                        | (((realised >> 1) & M96) << 64)
                        | (unsafe_sub(place.sum, place.stored) & M64)
                    )
                    records.append(word)
                    # funding went into the entry when the position was loaded; the pot gets the other end of it
                    totals_change: int256 = unsafe_sub(
                        entry_quote, convert(convert(place.stored << 96, bytes32), int256) >> 160
                    ) << 64
                    old_index: uint256 = index
                    if place.stored & (1 << 63) != 0:
                        old_index >>= 96
                    if old_index & M96 != place.stored >> 160:
                        totals_change = unsafe_add(totals_change, margin._pending_quote(place.stored, index) << 160)
                    running = unsafe_add(running, convert(convert(totals_change, bytes32), uint256))
        market_table[current_market][3] = running
        if account_key != 0:
            self.accounts[account_key] = account_word
        for market: uint256 in range(1, MAX_MARKETS + 1):
            if touched_markets == 0:
                break
            if (touched_markets >> market) & 1 != 0:
                touched_markets ^= 1 << market
                running = market_table[market][3]
                # read from the top down after taking the lanes below away
                entry_change: int256 = fixed_point._lane96(running, 64)
                self._write_totals(
                    market,
                    running & M64,
                    entry_change,
                    convert(
                        convert(unsafe_sub(running, convert(convert(entry_change << 64, bytes32), uint256)), bytes32),
                        int256,
                    )
                    >> 160,
                )
    if surplus != 0:
        self._refuse(refusals.WRONG_LENGTH)

    # ---- 7. head
    if len(records) != 0:
        log IClearinghouse.PositionsChanged(sequence=logged_sequence, records=records)
    codes_hash: bytes32 = empty(bytes32)
    if n_failures != 0:
        failures: Bytes[352] = slice(
            abi_encode(code_words), 0, unsafe_add(unsafe_add(n_operations, n_orders), n_fills)
        )
        codes_hash = keccak256(failures)
        log IClearinghouse.BatchFailures(sequence=logged_sequence, codes=failures)
    head: bytes32 = keccak256(concat(previous_head, payload_hash, codes_hash))
    self.head = head
    self.batch = self._batch_word(batch, sequence, matched_at_s, fees_quote, collateral_change)
    log IClearinghouse.BatchSettled(
        sequence=logged_sequence,
        head=head,
        payload_hash=payload_hash,
        journal_hash=extract32(payload, 32),
        matched_at_s=convert(matched_at_s, uint64),
        direct_op=convert((header >> 128) & M40, uint64),
        n_failures=n_failures,
        volume_quote=volume_quote,
        fees_quote=fees_quote,
    )


# ---------------------------------------------------------------- vault, operations, siblings and registry


@external
def credit_deposit(account_id: uint256, sender: address, quote: uint256) -> uint256:
    """
    @notice Adds a deposit the vault has received to an account.
    @param account_id Account, owner << 80 | subaccount, < 2^240 by the vault's types.
    @param sender Who paid.
    @param quote Sum in quote units, 1..2^64 - 1 by the vault.
    @return Number of this direct operation.
    """
    self._check_caller(VAULT, refusals.NOT_VAULT)
    self._move_collateral(account_id, convert(quote, int256))
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
    self._check_caller(OPERATIONS, refusals.NOT_OPERATIONS)
    account_key: uint256 = account_id << 16
    if kind == DIRECT_CANCEL_ALL:
        self.accounts[account_key | M16] = word
        self.accounts[account_key] |= HAS_OVERFLOW
    else:
        self.session_keys[account_key][key] = word
    return self._log_direct(kind, account_id, key, word)


@external
@reentrant
def write_operation(kind: uint256, account_id: uint256, key: uint256, word: uint256):
    """
    @notice Writes what a signed operation of the batch changes: a lane word, minimum seq and lane 0, or a session key word.
    @dev Reentrant because Operations.run is called by settle, which has read none of these words yet.
    @param kind 1 lane word, 2 account word, 3 session key word.
    @param account_id owner << 80 | subaccount, < 2^240 by Operations.
    @param key lane >> 1 for kind 1, session key for kind 3.
    @param word The resulting word; of an account word its bits 72 to 199 count.
    """
    self._check_caller(OPERATIONS, refusals.NOT_OPERATIONS)
    account_key: uint256 = account_id << 16
    if kind == LANE_WORD:
        self.lanes[account_key | key] = word
    elif kind == ACCOUNT_WORD:
        account_word: uint256 = self.accounts[account_key]
        self.accounts[account_key] = account_word ^ ((account_word ^ word) & OPERATION_BITS)
    else:
        self.session_keys[account_key][key] = word


@external
@reentrant
def withdraw_to_claim(account_id: uint256, recipient: address, quote: uint256):
    """
    @notice Moves collateral into a claim. Operations and Exits have asked for signature or request, and for margin.
    @dev Reentrant because Operations.run is called by settle, which has read no account yet.
    @param account_id owner << 80 | subaccount.
    @param recipient Who may collect from the Vault.
    @param quote Sum in quote units, < 2^64.
    """
    sequence: uint256 = 0
    if msg.sender == EXITS:
        self._log_direct(DIRECT_WITHDRAWAL, account_id, convert(recipient, uint256), quote)
    else:
        self._check_caller(OPERATIONS, refusals.NOT_OPERATIONS)
        # the batch that is being settled
        sequence = unsafe_add(self.batch & M40, 1)
    self._move_collateral(account_id, unsafe_sub(0, convert(quote, int256)))
    extcall IVault(VAULT).add_claim(recipient, quote, skip_contract_check=True)
    log IClearinghouse.CollateralWithdrawn(
        account=account_id, recipient=recipient, sequence=convert(sequence, uint64), quote=quote
    )


@external
@reentrant
def transfer(account_id: uint256, receiver_id: uint256, quote: uint256):
    """
    @notice Moves collateral between two accounts of one owner, as an operation of the batch.
    @dev Reentrant because Operations.run is called by settle, which has read no account yet.
    @param account_id Who gives, owner << 80 | subaccount.
    @param receiver_id Who gets.
    @param quote Sum in quote units, < 2^64.
    """
    self._check_caller(OPERATIONS, refusals.NOT_OPERATIONS)
    self._move_collateral(account_id, unsafe_sub(0, convert(quote, int256)))
    self._move_collateral(receiver_id, convert(quote, int256))


@external
def apply_deltas(
    market: uint256, deltas: DynArray[IClearinghouse.Delta, MAX_DELTAS], pot_change_quote: int256
) -> uint256:
    """
    @notice Moves positions of one market and collateral between accounts and the market's pot. Value is neither made nor lost,
            and open interest never grows.
    @param market Market id.
    @param deltas Per account what is added, account ids strictly ascending.
    @param pot_change_quote What is added to the pot.
    @return Number of this direct operation.
    """
    if msg.sender != LIQUIDATIONS and msg.sender != EXITS:
        self._check_caller(CORPORATE_ACTIONS, refusals.NOT_SIBLING)
    index: uint256 = self.indices[market]
    previous_id: uint256 = 0
    sum_lots: int256 = 0
    sum_value: int256 = pot_change_quote
    # changes: of open interest as the sum of long sizes, of the sums of entries and collateral, of the pot
    interest_change: int256 = 0
    entry_change: int256 = 0
    collateral_change: int256 = 0
    pot_change: int256 = pot_change_quote
    records: DynArray[uint256, 3 * MAX_DELTAS] = []
    for delta: IClearinghouse.Delta in deltas:
        if delta.account_id <= previous_id:
            self._refuse(refusals.DELTA_ORDER)
        previous_id = delta.account_id
        account_key: uint256 = delta.account_id << 16
        account_word: uint256 = self.accounts[account_key]
        word: uint256 = self.positions[account_key | market]
        old_lots: int256 = convert(convert(word << 192, bytes32), int256) >> 192
        size_lots: int256 = old_lots + delta.size_lots
        old_entry: int256 = fixed_point._lane96(word, 64)
        pending: int256 = margin._pending_quote(word, index)
        entry_quote: int256 = old_entry + pending + delta.entry_quote
        realised: int256 = delta.collateral_quote
        if size_lots == 0:
            realised -= entry_quote
            entry_quote = 0
            if old_lots != 0:
                account_word = self._closed(account_word, market)
        elif old_lots == 0:
            # the list has no holes, so its last slot tells whether it is full
            if (account_word >> 240) & 255 != 0:
                self._refuse(refusals.DELTA_MARKETS)
            account_word = self._opened(account_word, market)
        self.accounts[account_key] = self._add_collateral(account_word, realised)
        # a position that is nothing before and after keeps its word
        if size_lots | old_lots != 0:
            word = self._position_word(size_lots, entry_quote, index, size_lots if size_lots != 0 else old_lots)
            self.positions[account_key | market] = word
        # every number here has passed a range of its own, 34 of them stay far inside 256 bits
        sum_lots = unsafe_add(sum_lots, delta.size_lots)
        interest_change = unsafe_add(interest_change, unsafe_sub(max(size_lots, 0), max(old_lots, 0)))
        sum_value += delta.collateral_quote - delta.entry_quote
        entry_change = unsafe_add(entry_change, unsafe_sub(entry_quote, old_entry))
        pot_change = unsafe_add(pot_change, pending)
        collateral_change = unsafe_add(collateral_change, realised)
        records.append(account_key | market)
        records.append(
            (convert(convert(delta.size_lots, bytes32), uint256) & M64)
            | ((convert(convert(realised, bytes32), uint256) & M96) << 64)
        )
        records.append(word)
    # a longer number would be another name of the same account
    if previous_id >> 240 != 0:
        self._refuse(refusals.DELTA_ORDER)
    # nobody's position grows but by what another's shrinks
    if sum_lots != 0 or interest_change > 0:
        self._refuse(refusals.DELTA_SIZES)
    if sum_value != 0:
        self._refuse(refusals.DELTA_VALUE)
    self._write_totals(
        market,
        unsafe_add(self.totals[market] & M64, convert(convert(interest_change, bytes32), uint256)),
        entry_change,
        pot_change,
    )
    self._move_sum(collateral_change)
    log IClearinghouse.PositionsChanged(sequence=0, records=records)
    return self._log_direct(DIRECT_DELTAS, 0, market, convert(convert(pot_change_quote, bytes32), uint256))


@external
def move_market(market: uint256, price_word: uint256, index_word: uint256) -> uint256:
    """
    @notice Writes price and indices of a market, for a corporate action; for Liquidations the indices alone.
    @param market Market id.
    @param price_word The resulting price word.
    @param index_word The resulting index word.
    @return Number of this direct operation.
    """
    if msg.sender != LIQUIDATIONS or price_word != self.prices[market]:
        self._check_caller(CORPORATE_ACTIONS, refusals.NOT_SIBLING)
    self._move_market(market, price_word, index_word)
    return self._log_direct(DIRECT_MARKET, 0, market, 0)


@external
def set_mode(mode: uint256):
    """
    @notice Sets the mode: 1 exit mode, nothing opens; 2 settled, for good; 0 neither.
    @param mode 0, 1 or 2.
    """
    self._check_caller(EXITS, refusals.NOT_EXITS)
    operator: uint256 = self.operator
    if operator >> MODE_BIT == SETTLED:
        self._refuse(refusals.IS_SETTLED)
    self.operator = operator ^ (((operator >> MODE_BIT) ^ mode) << MODE_BIT)
    self._log_direct(DIRECT_MODE, 0, 0, mode)


@external
def list_market(market: uint256):
    """
    @notice Opens a market at epoch 1.
    @param market Market id, 1..32, checked by the registry.
    """
    self._check_caller(REGISTRY, refusals.NOT_REGISTRY)
    if self.prices[market] != 0:
        self._refuse(refusals.MARKET_LISTED)
    # epoch 1, nothing else
    self._write_price(market, 1 << 208)


@external
def set_rules_word(market: uint256, session: uint256, word: uint256, successor: uint256, binds_after_s: uint256):
    """
    @notice Writes a rules or tier word of a market in a session, and what follows it. The registry has validated all of it.
    @param market 1..32 for rules, + 1024 for their tiers, + 1280 for the successor's tiers.
    @param session 0..8.
    @param word The word; with the flag of change if there is a successor.
    @param successor What batches matched after binds_after_s use.
    @param binds_after_s UNIX seconds, 0 for no successor.
    """
    self._check_caller(REGISTRY, refusals.NOT_REGISTRY)
    key: uint256 = (market << 8) | session
    self.rules[key] = word
    if binds_after_s != 0:
        self.rules[key | SUCCESSOR] = successor
        self.rules[key | BINDS_AFTER] = binds_after_s
        self._log_direct(DIRECT_RULES, 0, key, successor)
    elif market >= TIER_MARKETS:
        self._log_direct(DIRECT_RULES, 0, key, word)
    else:
        log IClearinghouse.MarketRulesSet(market=convert(market, uint8), session=convert(session, uint8), rules=word)


@external
def set_sequencer(sequencer: address):
    """
    @notice Replaces the only address that may settle.
    @param sequencer The new operator, not zero.
    """
    self._check_caller(REGISTRY, refusals.NOT_REGISTRY)
    if sequencer == empty(address):
        self._refuse(refusals.NO_ADDRESS)
    self.operator = (self.operator >> 160 << 160) | convert(sequencer, uint256)
    log IClearinghouse.SequencerSet(sequencer=sequencer)


# ---------------------------------------------------------------- views
# reentrant: siblings ask while settle runs, which by then has written prices and operations and nothing else


@external
@view
@reentrant
def account_word(account_id: uint256) -> uint256:
    """
    @notice Returns the account word.
    @param account_id owner << 80 | subaccount.
    @return The word, zero for an account never used.
    """
    return self.accounts[account_id << 16]


@external
@view
@reentrant
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
    @param account_id owner << 80 | subaccount.
    @param key Address of the key.
    @return The word, zero for an address that never was a key.
    """
    return self.session_keys[account_id << 16][convert(key, uint256)]


@external
@view
@reentrant
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
@reentrant
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
@reentrant
def price_word(market: uint256) -> uint256:
    """
    @notice Returns the price word of a market.
    @param market 1..32.
    @return The word; epoch 0 means not listed.
    """
    return self.prices[market]


@external
@view
@reentrant
def rules_word(market: uint256, session: uint256) -> uint256:
    """
    @notice Returns the rules of a market in a session.
    @param market 1..32; + 256 for the word that follows a changing one, + 512 for the time after which it binds,
           + 1024 and + 1280 for the tier words of both.
    @param session 0..8.
    @return The word.
    """
    return self.rules[(market << 8) | session]


@external
@view
@reentrant
def index_word(market: uint256) -> uint256:
    """
    @notice Returns the funding indices of a market.
    @param market 1..32.
    @return The word.
    """
    return self.indices[market]


@external
@view
@reentrant
def totals_word(market: uint256) -> uint256:
    """
    @notice Returns open interest, sum of entries and pot of a market.
    @param market 1..32.
    @return The word.
    """
    return self.totals[market]


@external
@view
@reentrant
def batch_word() -> uint256:
    """
    @notice Returns sequence and time of the last batch, fees and sum of collateral.
    @return The word.
    """
    return self.batch


@external
@view
@reentrant
def operator_word() -> uint256:
    """
    @notice Returns the sequencer's address and the number of direct operations.
    @return The word.
    """
    return self.operator


@external
@view
@reentrant
def domain_separator() -> bytes32:
    """
    @notice Returns the EIP-712 domain separator orders and operations are signed under.
    @return The separator for the chain this runs on.
    """
    return self._domain()


@external
@view
@raw_return
def eip712Domain() -> Bytes[480]:
    """
    @notice Describes the domain orders and operations are signed under, EIP-5267. Operations holds the text.
    @return fields, name, version, chainId, verifyingContract, salt and extensions, encoded.
    """
    return staticcall IOperations(OPERATIONS).describe_domain(skip_contract_check=True)


# ---------------------------------------------------------------- refusals


@internal
@view
def _refuse(reason: uint256):
    """
    @notice Reverts with a reason.
    @dev Operations holds the texts and reverts with them, which reverts this too: a text at every place would not fit.
    @param reason One of modules/refusals.vy.
    """
    assert staticcall IOperations(OPERATIONS).refuse(reason, skip_contract_check=True)


@internal
@view
def _check_caller(caller: address, reason: uint256):
    """
    @notice Reverts unless one contract calls.
    @param caller Who may.
    @param reason One of modules/refusals.vy.
    """
    if msg.sender != caller:
        self._refuse(reason)


@internal
def _next_direct_op() -> uint256:
    """
    @notice Counts an operation made directly on chain. In final settlement only Exits makes any: what it tallies stands still.
    @return Its number.
    """
    # 2^40 of them do not happen
    operator: uint256 = unsafe_add(self.operator, 1 << 160)
    if operator >> MODE_BIT == SETTLED and msg.sender != EXITS:
        self._refuse(refusals.IS_SETTLED)
    self.operator = operator
    return (operator >> 160) & M40


@internal
def _log_direct(kind: uint256, account_id: uint256, key: uint256, word: uint256) -> uint256:
    """
    @notice Counts and logs a direct operation other than a deposit.
    @param kind 1 to 8, contracts/README.md.
    @param account_id Account, 0 where there is none.
    @param key Session key, market, key of a rules word, recipient, or 0.
    @param word The resulting word or number.
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
def _move_market(market: uint256, price_word: uint256, index_word: uint256):
    """
    @notice Writes and logs price and indices of a market, as they change.
    @dev The width proof and rule lookups rest on these ranges, so they are not left to the siblings alone.
    @param market Market id, listed.
    @param price_word The resulting price word.
    @param index_word The resulting index word.
    """
    old: uint256 = self.prices[market]
    if old == 0:
        self._refuse(refusals.PRICE_UNKNOWN_MARKET)
    if (
        (price_word & M40) | ((price_word >> 40) & M40) >= 2**33
        or (price_word >> 80) & M40 >= 2**32
        or (price_word >> 200) & 255 > MAX_SESSION
        or (price_word >> 208) & M32 < (old >> 208) & M32
        or not self._fits(fixed_point._lane96(index_word, 0), 88)
        or not self._fits(fixed_point._lane96(index_word, 96), 88)
    ):
        self._refuse(refusals.MARKET_RANGE)
    if price_word != old:
        self._write_price(market, price_word)
    if index_word != self.indices[market]:
        self.indices[market] = index_word
        log IClearinghouse.IndexChanged(market=convert(market, uint8), index=index_word)


@internal
def _write_price(market: uint256, price_word: uint256):
    """
    @notice Writes and logs a price word.
    @param market Market id.
    @param price_word The word.
    """
    self.prices[market] = price_word
    log IClearinghouse.PriceChanged(market=convert(market, uint8), price=price_word)


@internal
@view
def _load_market(market: uint256, matched_at_s: uint256, auction_ticks: uint256, mode: uint256) -> uint256[5]:
    """
    @notice Builds a market's record for the market table.
    @param market 0..32; one that is not listed has neither price nor rules, and nothing passes.
    @param matched_at_s Time of the batch.
    @param auction_ticks Auction price of this batch, 0 for none.
    @param mode Not 0: nothing opens.
    @return bounds, rules, index, open interest, price.
    """
    price: uint256 = self.prices[market]
    rules_key: uint256 = (market << 8) | ((price >> 200) & 255)
    rules: uint256 = self.rules[rules_key]
    if rules & RULES_CHANGING != 0:
        if matched_at_s > self.rules[rules_key | BINDS_AFTER]:
            rules_key |= SUCCESSOR
            rules = self.rules[rules_key]
    index: uint256 = self.indices[market]
    mark_ticks: uint256 = price & M40
    external_ticks: uint256 = (price >> 80) & M40
    flags: uint256 = LOADED
    if margin._is_fresh(price, rules, matched_at_s):
        flags |= FRESH
    if rules & RULES_OPENINGS == 0 or mode != 0:
        flags |= NO_OPENINGS
    if rules & RULES_TIERED != 0:
        flags |= TIERED | ((rules_key | TIERS) << TIER_KEY_BIT)
    # external < 2^32 and a 20-bit rate: no overflow. No external price: an empty range, nothing is inside
    band_ticks: uint256 = unsafe_div(unsafe_mul(external_ticks, (rules >> 60) & M20), 1_000_000)
    band_low: uint256 = 1
    band_high: uint256 = 0
    if external_ticks != 0:
        band_low = unsafe_sub(external_ticks, min(band_ticks, external_ticks))
        band_high = unsafe_add(external_ticks, band_ticks)
    return [
        # a dividend that is announced counts as what shorts owe
        min(mark_ticks, external_ticks)
        | (unsafe_add(max(mark_ticks, external_ticks), index >> 232) << 40)
        | (band_low << 80)
        | (band_high << 120)
        | (auction_ticks << 160)
        | flags,
        rules,
        index,
        self.totals[market] & M64,
        price,
    ]


@internal
def _write_totals(market: uint256, open_interest_lots: uint256, entry_change: int256, pot_change: int256):
    """
    @notice Writes the totals word of a market.
    @param market Market id.
    @param open_interest_lots The resulting open interest.
    @param entry_change Change of the sum of entries.
    @param pot_change Change of the pot.
    """
    word: uint256 = self.totals[market]
    net_entry_quote: int256 = fixed_point._lane96(word, 64) + entry_change
    pot_quote: int256 = fixed_point._lane96(word, 160) + pot_change
    if not (self._fits(net_entry_quote, 95) and self._fits(pot_quote, 95)):
        self._refuse(refusals.TOTALS_RANGE)
    self.totals[market] = (
        open_interest_lots
        | ((convert(convert(net_entry_quote, bytes32), uint256) & M96) << 64)
        | (convert(convert(pot_quote, bytes32), uint256) << 160)
    )


@internal
def _move_collateral(account_id: uint256, change_quote: int256):
    """
    @notice Moves the collateral of an account and the sum of all.
    @param account_id owner << 80 | subaccount.
    @param change_quote Signed change.
    """
    self.accounts[account_id << 16] = self._add_collateral(self.accounts[account_id << 16], change_quote)
    self._move_sum(change_quote)


@internal
def _move_sum(change_quote: int256):
    """
    @notice Moves the sum of collateral.
    @param change_quote Signed change.
    """
    batch: uint256 = self.batch
    self.batch = self._batch_word(batch, batch & M40, (batch >> 40) & M40, 0, change_quote)


@internal
@view
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
        self._refuse(refusals.BATCH_RANGE)
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
def _store_lane(account_key: uint256, lane: uint256, record: uint256):
    """
    @notice Writes a lane's half of its word.
    @param account_key Account id << 16.
    @param lane 1..65535.
    @param record seq << 48 | filled.
    """
    key: uint256 = account_key | (lane >> 1)
    bit: uint256 = unsafe_mul(lane & 1, 88)
    self.lanes[key] = (self.lanes[key] & ~(M88 << bit)) | (((record >> 48) | ((record & M48) << 40)) << bit)


# ---------------------------------------------------------------- positions and margin


@internal
@view
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
        entry_quote = unsafe_add(entry_quote, margin._pending_quote(position, index))
    margins: uint256 = 0
    if bounds & TIERED == 0:
        margins = (
            unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 20) & M20), 999_999), 1_000_000) << 80
        ) | unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 40) & M20), 999_999), 1_000_000)
    else:
        margins = margin._tiered_margins(notional, rules, self.rules[bounds >> TIER_KEY_BIT])
    return (
        unsafe_add(
            convert(convert(entry_quote << 64, bytes32), uint256), convert(convert(size_lots, bytes32), uint256)
        ),
        unsafe_add(
            convert(convert(unsafe_sub(value_quote, entry_quote) << 160, bytes32), uint256), margins
        ),
    )


@internal
@view
def _move_position(
    position: uint256,
    sign: uint256,
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
    @param sign 1 for the buyer, -1 in two's complement for the seller.
    @param lots Lots of the fill, < 2^40.
    @param notional_quote lots x price, < 2^73.
    @param fee_ppm Rate of this side, < 2^16.
    @param bounds Bounds word.
    @param rules Rules word.
    @return The moved position, its entry not yet realised when size is zero; its share of the risk word; and the outcome:
            REDUCING, OPENED, CLOSED | REDUCING, FLIPPED, or 0 for one that grows.
    """
    old_lots: int256 = convert(convert(position << 192, bytes32), int256) >> 192
    change_lots: uint256 = unsafe_mul(lots, sign)
    new_lots: int256 = unsafe_add(old_lots, convert(convert(change_lots, bytes32), int256))
    # rounded up: what an account owes; < 2^70
    fee_quote: uint256 = unsafe_div(unsafe_add(unsafe_mul(notional_quote, fee_ppm), 999_999), 1_000_000)
    moved: uint256 = unsafe_add(
        unsafe_add(unsafe_add(position, ONE_FILL), change_lots),
        unsafe_add(unsafe_add(unsafe_mul(notional_quote, sign), fee_quote) << 64, fee_quote << 176),
    )
    # REDUCING where position and change have different signs
    outcome: uint256 = (convert(convert(old_lots, bytes32), uint256) ^ change_lots) >> 255
    product: int256 = unsafe_mul(old_lots, new_lots)
    if product <= 0:
        if product < 0:
            outcome = FLIPPED
        elif old_lots == 0:
            outcome = OPENED
        else:
            outcome = CLOSED | REDUCING
    # worth at the worse of mark and external: a long at the lower, a short at the higher, 40 bits above
    size: uint256 = convert(convert(new_lots, bytes32), uint256)
    is_short: uint256 = size >> 255
    value_quote: uint256 = unsafe_mul(size, (bounds >> unsafe_mul(is_short, 40)) & M40)
    notional: uint256 = unsafe_mul(value_quote, unsafe_sub(1, is_short << 1))
    entry_quote: uint256 = convert(
        convert(convert(convert(unsafe_sub(moved, size) << 96, bytes32), int256) >> 160, bytes32), uint256
    )
    margins: uint256 = 0
    # < 2^73 x 2^20 before the division
    if bounds & TIERED == 0:
        margins = (
            unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 20) & M20), 999_999), 1_000_000) << 80
        ) | unsafe_div(unsafe_add(unsafe_mul(notional, (rules >> 40) & M20), 999_999), 1_000_000)
    else:
        margins = margin._tiered_margins(notional, rules, self.rules[bounds >> TIER_KEY_BIT])
    return moved, unsafe_add(unsafe_sub(value_quote, entry_quote) << 160, margins), outcome


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
    order: uint256,
    outcome: uint256,
    bounds: uint256,
    rules: uint256,
    n_stale: uint256,
    account_word: uint256,
    old: uint256,
    moved: uint256,
) -> uint256:
    """
    @notice Checks the side of a fill that does not reduce.
    @param order Word of the order's place.
    @param outcome Outcome of _move_position.
    @param bounds Bounds word of the market.
    @param rules Rules word of the market.
    @param n_stale Number of stale positions of the account.
    @param account_word Account word as it stands.
    @param old Position before, a signed sum.
    @param moved Position after.
    @return Code of the first failure, 0 for none.
    """
    if outcome & REDUCING != 0:
        return 0
    if order & REDUCE_ONLY != 0:
        return codes.REDUCE_ONLY
    if bounds & NO_OPENINGS != 0:
        return codes.OPENING_NOT_ALLOWED
    if bounds & FRESH == 0 or n_stale != 0:
        return codes.STALE_PRICE
    # the list has no holes, so its last slot tells whether it is full
    if outcome & OPENED != 0 and (account_word >> 240) & 255 != 0:
        return codes.TOO_MANY_MARKETS
    cap_lots: uint256 = (rules >> 112) & M40
    account_share: uint256 = (rules >> 152) & M16
    if account_share != 0:
        cap_lots = unsafe_mul(cap_lots, account_share) >> 16
    new_lots: int256 = convert(convert(moved << 192, bytes32), int256) >> 192
    if max(new_lots, unsafe_sub(0, new_lots)) > convert(cap_lots, int256):
        # a flip may end smaller than it began
        if self._size_change(old, moved) > 0:
            return codes.ACCOUNT_CAP
    return 0


@internal
@pure
def _is_margined(old: uint256, moved: uint256, outcome: uint256) -> bool:
    """
    @notice Tells whether an account may end a fill so: with settlement margin, or else with less risk than before.
    @param old Risk word before the fill.
    @param moved Risk word after it.
    @param outcome Outcome of _move_position.
    @return True when equity covers settlement margin; or when reducing, with equity left, and equity per maintenance margin not
            falling.
    """
    equity_quote: int256 = convert(convert(moved, bytes32), int256) >> 160
    if equity_quote >= convert((moved >> 80) & M80, int256):
        return True
    if outcome & REDUCING == 0 or equity_quote < 0:
        return False
    # 96 x 80 bits
    return unsafe_mul(equity_quote, convert(old & M80, int256)) >= unsafe_mul(
        convert(convert(old, bytes32), int256) >> 160, convert(moved & M80, int256)
    )


@internal
@view
def _add_collateral(account_word: uint256, change_quote: int256) -> uint256:
    """
    @notice Moves the collateral of an account.
    @param account_word Account word.
    @param change_quote Signed change.
    @return The account word.
    """
    collateral_quote: int256 = (convert(convert(account_word << 184, bytes32), int256) >> 184) + change_quote
    if not self._fits(collateral_quote, 71):
        self._refuse(refusals.COLLATERAL_RANGE)
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
@view
def _position_word(size_lots: int256, entry_quote: int256, index: uint256, side: int256) -> uint256:
    """
    @notice Packs a position.
    @param size_lots Size, 64 bits.
    @param entry_quote Entry; beyond 2^92 reverts.
    @param index Index word of the market.
    @param side Size held now, or last: below zero the short index is the snapshot.
    @return The word.
    """
    if unsafe_add(entry_quote, 2**92) >> 93 != 0:
        self._refuse(refusals.ENTRY_RANGE)
    side_index: uint256 = index
    if side < 0:
        side_index >>= 96
    return (
        (convert(convert(size_lots, bytes32), uint256) & M64)
        | ((convert(convert(entry_quote, bytes32), uint256) & M96) << 64)
        | (side_index << 160)
    )
