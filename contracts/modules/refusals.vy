# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title refusals
@license AGPL-3.0-only
@notice The reasons of errors.vy that the Clearinghouse gives while it runs, as bytes of their own length: 30 bytes of code at
        every place instead of 90. tests/contracts/test_every_revert_is_tested.py holds both files equal.
"""

# batch: not sequencer
NOT_SEQUENCER: constant(bytes20) = 0x62617463683a206e6f742073657175656e636572
# batch: head
WRONG_HEAD: constant(bytes11) = 0x62617463683a2068656164
# batch: version
WRONG_VERSION: constant(bytes14) = 0x62617463683a2076657273696f6e
# batch: sequence
WRONG_SEQUENCE: constant(bytes15) = 0x62617463683a2073657175656e6365
# batch: matched at
WRONG_MATCHED_AT: constant(bytes17) = 0x62617463683a206d617463686564206174
# batch: direct op
UNKNOWN_DIRECT_OP: constant(bytes16) = 0x62617463683a20646972656374206f70
# batch: length
WRONG_LENGTH: constant(bytes13) = 0x62617463683a206c656e677468
# batch: too many
TOO_MANY: constant(bytes15) = 0x62617463683a20746f6f206d616e79
# batch: account order
ACCOUNT_ORDER: constant(bytes20) = 0x62617463683a206163636f756e74206f72646572
# batch: lane order
LANE_ORDER: constant(bytes17) = 0x62617463683a206c616e65206f72646572
# batch: order count
ORDER_COUNT: constant(bytes18) = 0x62617463683a206f7264657220636f756e74
# batch: fill index
FILL_INDEX: constant(bytes17) = 0x62617463683a2066696c6c20696e646578
# batch: operation order
OPERATION_ORDER: constant(bytes22) = 0x62617463683a206f7065726174696f6e206f72646572
# batch: account index
ACCOUNT_INDEX: constant(bytes20) = 0x62617463683a206163636f756e7420696e646578
# prices: market order
PRICE_MARKET_ORDER: constant(bytes20) = 0x7072696365733a206d61726b6574206f72646572
# prices: unknown market
PRICE_UNKNOWN_MARKET: constant(bytes22) = 0x7072696365733a20756e6b6e6f776e206d61726b6574
# prices: no external
NO_EXTERNAL_PRICE: constant(bytes19) = 0x7072696365733a206e6f2065787465726e616c
# prices: external out of range
EXTERNAL_OUT_OF_RANGE: constant(bytes29) = 0x7072696365733a2065787465726e616c206f7574206f662072616e6765
# word: collateral range
COLLATERAL_RANGE: constant(bytes22) = 0x776f72643a20636f6c6c61746572616c2072616e6765
# word: entry range
ENTRY_RANGE: constant(bytes17) = 0x776f72643a20656e7472792072616e6765
# word: totals range
TOTALS_RANGE: constant(bytes18) = 0x776f72643a20746f74616c732072616e6765
# word: batch range
BATCH_RANGE: constant(bytes17) = 0x776f72643a2062617463682072616e6765
# caller: not vault
NOT_VAULT: constant(bytes17) = 0x63616c6c65723a206e6f74207661756c74
# caller: not registry
NOT_REGISTRY: constant(bytes20) = 0x63616c6c65723a206e6f74207265676973747279
# caller: not operations
NOT_OPERATIONS: constant(bytes22) = 0x63616c6c65723a206e6f74206f7065726174696f6e73
# wiring: zero address
NO_ADDRESS: constant(bytes20) = 0x776972696e673a207a65726f2061646472657373
# market: listed
MARKET_LISTED: constant(bytes14) = 0x6d61726b65743a206c6973746564
# rules: pending
RULES_PENDING: constant(bytes14) = 0x72756c65733a2070656e64696e67
