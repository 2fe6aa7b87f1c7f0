# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title session_key
@license AGPL-3.0-only
@notice The session key word and the questions asked of it. Stateless: the words stand in the Clearinghouse. Twin:
        offchain/afterbell/domain/words.py.

        0-39    expiry_s             uint40
        40-103  max_notional_quote   uint64   of one order
        104-135 markets              bit m - 1 allows market m
        136     trade_only           no withdrawals
        137     reduce_only          orders must be reduce-only
        144-183 revoked_at_s         uint40, 0 = never revoked on chain
        255     linked               set by the first link or batched revocation
"""

from . import codes

# what its owner signs or sends: bits 0 to 137
N_LIMIT_BITS: constant(uint256) = 138
TRADE_ONLY: constant(uint256) = 1 << 136
REDUCE_ONLY: constant(uint256) = 1 << 137
REVOKED_BIT: constant(uint256) = 144
REVOKED_MASK: constant(uint256) = (2**40 - 1) << 144
LINKED: constant(uint256) = 1 << 255

M32: constant(uint256) = 2**32 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1

# a batch may be matched this long before it settles, so whatever takes a right away on chain binds this much later
SETTLE_LAG_S: constant(uint256) = 300
MAX_LIFE_S: constant(uint256) = 180 * 86_400


@internal
@pure
def _code(word: uint256, matched_at_s: uint256) -> uint256:
    """
    @notice Tells whether a key may sign anything at a time.
    @param word Session key word, zero for an address that is no key.
    @param matched_at_s Time of the batch.
    @return BAD_SIGNATURE when not linked, KEY_EXPIRED when expired or revoked, 0 for none.
    """
    if word & LINKED == 0:
        return codes.BAD_SIGNATURE
    if matched_at_s > word & M40:
        return codes.KEY_EXPIRED
    revoked_at_s: uint256 = (word >> REVOKED_BIT) & M40
    if revoked_at_s != 0 and matched_at_s > unsafe_add(revoked_at_s, SETTLE_LAG_S):
        return codes.KEY_EXPIRED
    return 0


@internal
@pure
def _latest_seq(matched_at_s: uint256, genesis_s: uint256) -> uint256:
    """
    @notice Computes the latest seq a key may spend, in an order, a nonce, or whatever it cancels.
    @param matched_at_s Time of the batch, 40 bits, at most SETTLE_LAG before genesis.
    @param genesis_s Second from which seqs count.
    @return Milliseconds since genesis of SETTLE_LAG after the match.
    """
    return unsafe_mul(unsafe_sub(unsafe_add(matched_at_s, SETTLE_LAG_S), genesis_s), 1000)


@internal
@pure
def _is_link(owner: uint256, key: uint256, limits: uint256, at_s: uint256) -> bool:
    """
    @notice Tells whether a key may be linked with these limits.
    @param owner Owner of the account, an address as a number.
    @param key The key, an address as a number.
    @param limits Bits 0 to 137 of the word, nothing above.
    @param at_s Now, or the time of the batch.
    @return False for no key, the owner itself, a life beyond 180 days, no market or no notional.
    """
    return (
        key != 0
        and key != owner
        and limits & M40 <= unsafe_add(at_s, MAX_LIFE_S)
        and (limits >> 40) & M64 != 0
        and (limits >> 104) & M32 != 0
    )
