# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title typed_data
@license AGPL-3.0-only
@notice EIP-712 type hashes, digests and the one way a signature is checked. Stateless: the contract that imports it keeps its
        domain separator. Twin: offchain/afterbell/domain/digests.py.
"""

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "Order(address owner,uint80 subaccount,uint8 market,uint32 epoch,bool isBuy,uint48 sizeLots,uint40 limitTicks,uint16 maxFeePpm,uint40 expiry,uint56 nonce,bool reduceOnly,bool postOnly,uint8 timeInForce,uint40 triggerTicks,uint8 triggerKind)"
)
WITHDRAW_TYPEHASH: constant(bytes32) = keccak256(
    "Withdraw(address owner,uint80 subaccount,uint64 quote,address recipient,uint40 expiry,uint56 nonce)"
)
CANCEL_ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "CancelOrder(address owner,uint80 subaccount,uint56 orderNonce,uint40 expiry,uint56 nonce)"
)
CANCEL_ALL_TYPEHASH: constant(bytes32) = keccak256(
    "CancelAll(address owner,uint80 subaccount,uint40 minSeq,uint40 expiry,uint56 nonce)"
)
LINK_KEY_TYPEHASH: constant(bytes32) = keccak256(
    "LinkKey(address owner,uint80 subaccount,address key,uint40 keyExpiry,uint64 maxNotionalQuote,uint32 markets,bool tradeOnly,bool reduceOnly,uint40 expiry,uint56 nonce)"
)
REVOKE_KEY_TYPEHASH: constant(bytes32) = keccak256(
    "RevokeKey(address owner,uint80 subaccount,address key,uint40 expiry,uint56 nonce)"
)
TRANSFER_TYPEHASH: constant(bytes32) = keccak256(
    "Transfer(address owner,uint80 subaccount,uint64 quote,uint80 toSubaccount,uint40 expiry,uint56 nonce)"
)
ORDER_TREE_TYPEHASH: constant(bytes32) = keccak256("OrderTree(bytes32 root)")
PRICE_ROOT_TYPEHASH: constant(bytes32) = keccak256("PriceRoot(bytes32 root,uint40 publishTime)")

# secp256k1 order / 2: EIP-2 low s, so that a signature has one form
HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
S_MASK: constant(uint256) = 2**255 - 1

OPERATION_LANE: constant(uint256) = 65_535
LIQUIDATION_LANE: constant(uint256) = 65_534
KIND_WITHDRAW: constant(uint256) = 1
KIND_CANCEL_ORDER: constant(uint256) = 2
KIND_CANCEL_ALL: constant(uint256) = 3
KIND_TRANSFER: constant(uint256) = 4
KIND_LINK_KEY: constant(uint256) = 5
KIND_REVOKE_KEY: constant(uint256) = 6


@internal
@view
def _domain_separator(name_hash: bytes32) -> bytes32:
    """
    @notice Computes the domain separator of this contract on this chain, version "1".
    @param name_hash keccak of the domain's name.
    @return The separator.
    """
    return keccak256(abi_encode(DOMAIN_TYPEHASH, name_hash, keccak256("1"), chain.id, self))


@internal
@pure
def _digest(domain: bytes32, struct_hash: bytes32) -> bytes32:
    """
    @notice Computes what is signed for a typed struct.
    @param domain Domain separator.
    @param struct_hash Hash of the struct.
    @return keccak(0x1901 ‖ domain ‖ struct hash).
    """
    return keccak256(concat(x"1901", domain, struct_hash))


@internal
@pure
def _order_hash(account: uint256, epoch: uint256, order: uint256, trigger: uint256) -> bytes32:
    """
    @notice Computes the struct hash of an order from its words in a batch.
    @dev Rates the sequencer charges are in the word but not in the struct; they are bounded by max_fee_ppm.
    @param account account id << 16, low bits ignored.
    @param epoch Epoch the order names.
    @param order Word 0 of the order.
    @param trigger Word 3 of the order, zero without has_trigger.
    @return The struct hash.
    """
    return keccak256(
        abi_encode(
            ORDER_TYPEHASH,
            account >> 96,
            (account >> 16) & (2**80 - 1),
            order >> 248,
            epoch,
            (order >> 232) & 1,
            (order >> 128) & (2**48 - 1),
            (order >> 88) & (2**40 - 1),
            (order >> 72) & (2**16 - 1),
            order & (2**40 - 1),
            # lane and seq lie side by side: together they are the nonce
            (order >> 176) & (2**56 - 1),
            (order >> 233) & 1,
            (order >> 234) & 1,
            (order >> 235) & 3,
            (trigger >> 208) & (2**40 - 1),
            trigger >> 248,
        )
    )


@internal
@pure
def _node(a: bytes32, b: bytes32) -> bytes32:
    """
    @notice Computes the parent of two nodes of a tree of orders. Hashes of 16 words are leaves, hashes of two are nodes.
    @param a One child.
    @param b The other.
    @return keccak of both, the smaller first.
    """
    if convert(a, uint256) < convert(b, uint256):
        return keccak256(concat(a, b))
    return keccak256(concat(b, a))


@internal
@pure
def _order_tree_hash(root: bytes32) -> bytes32:
    """
    @notice Computes the struct hash of a tree of orders.
    @param root Its root.
    @return The struct hash.
    """
    return keccak256(abi_encode(ORDER_TREE_TYPEHASH, root))


@internal
@pure
def _operation_digest(
    domain: bytes32, account: uint256, kind: uint256, subject: uint256, operand: uint256, expiry_s: uint256, seq: uint256
) -> bytes32:
    """
    @notice Computes the digest of an operation.
    @param domain Domain separator of the Clearinghouse.
    @param account account id << 16, low bits ignored.
    @param kind 1 withdraw, 2 cancel order, 3 cancel all, 4 transfer, 5 link key, 6 revoke key.
    @param subject Word 2: quote, order nonce, minimum seq, limits of a key, or nothing.
    @param operand Who receives a withdrawal, the receiving subaccount, or the key; not read for cancellations.
    @param expiry_s Expiry in UNIX seconds.
    @param seq Seq of the operation; its lane is 65535.
    @return The digest.
    """
    owner: uint256 = account >> 96
    subaccount: uint256 = (account >> 16) & (2**80 - 1)
    nonce: uint256 = (OPERATION_LANE << 40) | seq
    struct_hash: bytes32 = empty(bytes32)
    if kind == KIND_WITHDRAW:
        struct_hash = keccak256(abi_encode(WITHDRAW_TYPEHASH, owner, subaccount, subject, operand, expiry_s, nonce))
    elif kind == KIND_TRANSFER:
        struct_hash = keccak256(abi_encode(TRANSFER_TYPEHASH, owner, subaccount, subject, operand, expiry_s, nonce))
    elif kind == KIND_CANCEL_ORDER:
        struct_hash = keccak256(abi_encode(CANCEL_ORDER_TYPEHASH, owner, subaccount, subject, expiry_s, nonce))
    elif kind == KIND_CANCEL_ALL:
        struct_hash = keccak256(abi_encode(CANCEL_ALL_TYPEHASH, owner, subaccount, subject, expiry_s, nonce))
    elif kind == KIND_LINK_KEY:
        struct_hash = keccak256(
            abi_encode(
                LINK_KEY_TYPEHASH,
                owner,
                subaccount,
                operand,
                subject & (2**40 - 1),
                (subject >> 40) & (2**64 - 1),
                (subject >> 104) & (2**32 - 1),
                (subject >> 136) & 1,
                (subject >> 137) & 1,
                expiry_s,
                nonce,
            )
        )
    else:
        struct_hash = keccak256(abi_encode(REVOKE_KEY_TYPEHASH, owner, subaccount, operand, expiry_s, nonce))
    return self._digest(domain, struct_hash)


@internal
@view
def _recovered(digest: bytes32, r: uint256, vs: uint256) -> address:
    """
    @notice Recovers the signer of a digest from an EIP-2098 signature.
    @param digest What was signed.
    @param r First half.
    @param vs Parity in the top bit, s below it.
    @return The signer, or zero for a high s or a signature nobody made. A caller must refuse zero.
    """
    s: uint256 = vs & S_MASK
    if s > HALF_ORDER:
        return empty(address)
    return ecrecover(digest, unsafe_add(vs >> 255, 27), r, s)
