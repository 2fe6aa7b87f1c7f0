# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title refusals
@license AGPL-3.0-only
@notice Numbers of the reasons the Clearinghouse refuses for while it runs. Operations holds the texts of errors.vy and reverts
        with them on its behalf: ten bytes of code at every place instead of 90.
"""

from . import errors

NOT_SEQUENCER: constant(uint256) = 1
WRONG_HEAD: constant(uint256) = 2
WRONG_VERSION: constant(uint256) = 3
WRONG_SEQUENCE: constant(uint256) = 4
WRONG_MATCHED_AT: constant(uint256) = 5
UNKNOWN_DIRECT_OP: constant(uint256) = 6
WRONG_LENGTH: constant(uint256) = 7
TOO_MANY: constant(uint256) = 8
ACCOUNT_ORDER: constant(uint256) = 9
LANE_ORDER: constant(uint256) = 10
ORDER_COUNT: constant(uint256) = 11
FILL_INDEX: constant(uint256) = 12
IS_SETTLED: constant(uint256) = 13
PRICE_UNKNOWN_MARKET: constant(uint256) = 14
MARKET_RANGE: constant(uint256) = 15
COLLATERAL_RANGE: constant(uint256) = 16
ENTRY_RANGE: constant(uint256) = 17
TOTALS_RANGE: constant(uint256) = 18
BATCH_RANGE: constant(uint256) = 19
NOT_VAULT: constant(uint256) = 20
NOT_REGISTRY: constant(uint256) = 21
NOT_OPERATIONS: constant(uint256) = 22
NOT_EXITS: constant(uint256) = 23
NOT_SIBLING: constant(uint256) = 24
NO_ADDRESS: constant(uint256) = 25
MARKET_LISTED: constant(uint256) = 26
DELTA_ORDER: constant(uint256) = 27
DELTA_MARKETS: constant(uint256) = 28
DELTA_SIZES: constant(uint256) = 29
DELTA_VALUE: constant(uint256) = 30


@internal
@pure
def _text(reason: uint256) -> String[32]:
    """
    @notice Gives the text of a reason.
    @param reason Its number.
    @return The text of errors.vy, empty for a number that is none.
    """
    if reason == NOT_SEQUENCER:
        return errors.NOT_SEQUENCER
    if reason == WRONG_HEAD:
        return errors.WRONG_HEAD
    if reason == WRONG_VERSION:
        return errors.WRONG_VERSION
    if reason == WRONG_SEQUENCE:
        return errors.WRONG_SEQUENCE
    if reason == WRONG_MATCHED_AT:
        return errors.WRONG_MATCHED_AT
    if reason == UNKNOWN_DIRECT_OP:
        return errors.UNKNOWN_DIRECT_OP
    if reason == WRONG_LENGTH:
        return errors.WRONG_LENGTH
    if reason == TOO_MANY:
        return errors.TOO_MANY
    if reason == ACCOUNT_ORDER:
        return errors.ACCOUNT_ORDER
    if reason == LANE_ORDER:
        return errors.LANE_ORDER
    if reason == ORDER_COUNT:
        return errors.ORDER_COUNT
    if reason == FILL_INDEX:
        return errors.FILL_INDEX
    if reason == IS_SETTLED:
        return errors.IS_SETTLED
    if reason == PRICE_UNKNOWN_MARKET:
        return errors.PRICE_UNKNOWN_MARKET
    if reason == MARKET_RANGE:
        return errors.MARKET_RANGE
    if reason == COLLATERAL_RANGE:
        return errors.COLLATERAL_RANGE
    if reason == ENTRY_RANGE:
        return errors.ENTRY_RANGE
    if reason == TOTALS_RANGE:
        return errors.TOTALS_RANGE
    if reason == BATCH_RANGE:
        return errors.BATCH_RANGE
    if reason == NOT_VAULT:
        return errors.NOT_VAULT
    if reason == NOT_REGISTRY:
        return errors.NOT_REGISTRY
    if reason == NOT_OPERATIONS:
        return errors.NOT_OPERATIONS
    if reason == NOT_EXITS:
        return errors.NOT_EXITS
    if reason == NOT_SIBLING:
        return errors.NOT_SIBLING
    if reason == NO_ADDRESS:
        return errors.NO_ADDRESS
    if reason == MARKET_LISTED:
        return errors.MARKET_LISTED
    if reason == DELTA_ORDER:
        return errors.DELTA_ORDER
    if reason == DELTA_MARKETS:
        return errors.DELTA_MARKETS
    if reason == DELTA_SIZES:
        return errors.DELTA_SIZES
    if reason == DELTA_VALUE:
        return errors.DELTA_VALUE
    return ""
