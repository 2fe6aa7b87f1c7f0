# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title errors
@license AGPL-3.0-only
@notice Revert reasons, one per broken condition: "subject: problem", at most 32 bytes, unique. Off chain the same strings
        are keys. A fill, order or operation that fails inside a batch never reverts: it carries a code of codes.vy.
"""

# Clearinghouse.settle: header and encoding
NOT_SEQUENCER: constant(String[32]) = "batch: not sequencer"
WRONG_HEAD: constant(String[32]) = "batch: head"
WRONG_VERSION: constant(String[32]) = "batch: version"
WRONG_SEQUENCE: constant(String[32]) = "batch: sequence"
WRONG_MATCHED_AT: constant(String[32]) = "batch: matched at"
UNKNOWN_DIRECT_OP: constant(String[32]) = "batch: direct op"
WRONG_LENGTH: constant(String[32]) = "batch: length"
TOO_MANY: constant(String[32]) = "batch: too many"
ACCOUNT_ORDER: constant(String[32]) = "batch: account order"
LANE_ORDER: constant(String[32]) = "batch: lane order"
ORDER_COUNT: constant(String[32]) = "batch: order count"
FILL_INDEX: constant(String[32]) = "batch: fill index"
OPERATION_ORDER: constant(String[32]) = "batch: operation order"
ACCOUNT_INDEX: constant(String[32]) = "batch: account index"
PRICE_MARKET_ORDER: constant(String[32]) = "prices: market order"
PRICE_UNKNOWN_MARKET: constant(String[32]) = "prices: unknown market"
NO_EXTERNAL_PRICE: constant(String[32]) = "prices: no external"
EXTERNAL_OUT_OF_RANGE: constant(String[32]) = "prices: external out of range"

# Words that do not fit their lane
COLLATERAL_RANGE: constant(String[32]) = "word: collateral range"
ENTRY_RANGE: constant(String[32]) = "word: entry range"
TOTALS_RANGE: constant(String[32]) = "word: totals range"
BATCH_RANGE: constant(String[32]) = "word: batch range"

# Who may call, how contracts are wired
NOT_VAULT: constant(String[32]) = "caller: not vault"
NOT_REGISTRY: constant(String[32]) = "caller: not registry"
NOT_OPERATIONS: constant(String[32]) = "caller: not operations"
NOT_CLEARINGHOUSE: constant(String[32]) = "caller: not clearinghouse"
NOT_GOVERNOR: constant(String[32]) = "caller: not governor"
NOT_PENDING_GOVERNOR: constant(String[32]) = "caller: not pending governor"
NOT_GUARDIAN: constant(String[32]) = "caller: not guardian"
NOT_CORPORATE_ACTIONS: constant(String[32]) = "caller: not corporate actions"
NOT_ROTATOR: constant(String[32]) = "caller: may not rotate"
NO_ADDRESS: constant(String[32]) = "wiring: zero address"
WRONG_WIRING: constant(String[32]) = "wiring: not mutual"

# Operations
CANCEL_PENDING: constant(String[32]) = "operations: cancel pending"
CANCEL_MIN_SEQ: constant(String[32]) = "operations: min seq"
KEY_IN_USE: constant(String[32]) = "operations: key in use"
KEY_NOT_ALLOWED: constant(String[32]) = "operations: bad key"
KEY_REVOKED: constant(String[32]) = "operations: key revoked"

# Vault
ZERO_DEPOSIT: constant(String[32]) = "deposit: zero"
DEPOSIT_TOO_LARGE: constant(String[32]) = "deposit: too large"
DEPOSIT_OWNER: constant(String[32]) = "deposit: owner"
INEXACT_DEPOSIT: constant(String[32]) = "deposit: inexact"
DEPOSIT_ALLOWANCE: constant(String[32]) = "deposit: allowance"
DEPOSIT_KEY_OWNER: constant(String[32]) = "deposit: key of another"
NOTHING_TO_CLAIM: constant(String[32]) = "claim: nothing"
TOKEN_REFUSED: constant(String[32]) = "token: refused"

# MarketRegistry and PriceOracle
MARKET_OUT_OF_RANGE: constant(String[32]) = "market: out of range"
MARKET_LISTED: constant(String[32]) = "market: listed"
MARKET_NOT_LISTED: constant(String[32]) = "market: not listed"
MARKET_SYMBOL: constant(String[32]) = "market: symbol"
MARKET_LOT: constant(String[32]) = "market: lot exponent"
MARKET_CONFIDENCE: constant(String[32]) = "market: confidence"
MARKET_REFERENCE: constant(String[32]) = "market: reference price"
RULES_SESSION: constant(String[32]) = "rules: session"
RULES_COUNT: constant(String[32]) = "rules: count"
RULES_MARGIN_ORDER: constant(String[32]) = "rules: margin order"
RULES_MARGIN_GAP: constant(String[32]) = "rules: margin gap"
RULES_BAND: constant(String[32]) = "rules: band"
RULES_MARK_STEP: constant(String[32]) = "rules: mark step"
RULES_AGE: constant(String[32]) = "rules: max age"
RULES_CAP: constant(String[32]) = "rules: open interest cap"
RULES_FLAGS: constant(String[32]) = "rules: flags"
RULES_STEPS: constant(String[32]) = "rules: steps"
RULES_PENDING: constant(String[32]) = "rules: pending"
RULES_LOOSER: constant(String[32]) = "rules: looser"
RULES_TRUSTED_CAP: constant(String[32]) = "rules: trusted price cap"
TIERS_ORDER: constant(String[32]) = "tiers: order"
TIERS_MARGIN: constant(String[32]) = "tiers: margin"
NOT_STANDBY: constant(String[32]) = "sequencer: not standby"
TIMELOCK_DELAY: constant(String[32]) = "timelock: delay below 14 days"
SOURCE_OUT_OF_RANGE: constant(String[32]) = "source: out of range"
SOURCE_TAKEN: constant(String[32]) = "source: taken"
SOURCE_UNKNOWN: constant(String[32]) = "source: unknown"

# SignedPriceSource
EVIDENCE_LENGTH: constant(String[32]) = "source: length"
EVIDENCE_SIGNATURE: constant(String[32]) = "source: signature"
EVIDENCE_SIGNER_ORDER: constant(String[32]) = "source: signer order"
EVIDENCE_PUBLISHER: constant(String[32]) = "source: not a publisher"
EVIDENCE_THRESHOLD: constant(String[32]) = "source: below threshold"
EVIDENCE_PROOF: constant(String[32]) = "source: proof"
EVIDENCE_REPORTS: constant(String[32]) = "source: reports"
PUBLISHER_SET: constant(String[32]) = "source: publisher set"
