# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title SignedPriceSource
@license AGPL-3.0-only
@notice Reads price reports signed by k of a set of publishers. One signature set covers the Merkle root of many markets'
        reports, so a batch carries only the markets it needs.
@dev Layout of the evidence: contracts/README.md. 
@custom:security Stateless toward callers: it proves who said what, PriceOracle decides what counts.
@custom:invariants At least `threshold` distinct publishers of its time signed every root that passes.
@custom:kill The governor replaces publishers, or moves markets to another source.
"""

from interfaces import IPriceSource
from modules import errors
from modules import governed
from modules import typed_data

implements: IPriceSource
initializes: governed
exports: (governed.governor, governed.pending_governor, governed.propose_governor, governed.accept_governor)

MAX_EVIDENCE: constant(uint256) = 5_120
MAX_REPORTS: constant(uint256) = 32
MAX_PUBLISHERS: constant(uint256) = 16
MAX_PROOF: constant(uint256) = 16
HEAD_BYTES: constant(uint256) = 39
SETTLE_LAG: constant(uint256) = 300
# until when who is a publisher now counts
FOREVER: constant(uint256) = max_value(uint256)

NAME_HASH: constant(bytes32) = keccak256("Afterbell Prices")


event PublishersSet:
    publishers: DynArray[address, MAX_PUBLISHERS]
    threshold: uint256


# distinct signatures a root needs; written by set_publishers
threshold: public(uint256)
# last publish time a publisher's signature counts for, 0 = never was one; written by set_publishers
valid_until_s: public(HashMap[address, uint256])
# the publishers as a list, to end their time with
publishers: DynArray[address, MAX_PUBLISHERS]
# threshold before the last change, and the last publish time it counts for; written by set_publishers
previous_threshold: public(uint256)
previous_until_s: public(uint256)


@deploy
def __init__(governor: address, publishers: DynArray[address, MAX_PUBLISHERS], threshold: uint256):
    """
    @notice Sets the first publishers.
    @param governor Who may replace them.
    @param publishers Distinct, not zero.
    @param threshold Signatures needed, 1..number of publishers.
    """
    governed.__init__(governor)
    self._set_publishers(publishers, threshold)


@external
def set_publishers(publishers: DynArray[address, MAX_PUBLISHERS], threshold: uint256):
    """
    @notice Replaces the publisher set. Who leaves, and a lower threshold, count for roots published within 2 x SETTLE_LAG from now,
            so that no batch matched before is refused.
    @param publishers Distinct, not zero.
    @param threshold Signatures needed, 1..number of publishers.
    """
    governed._check_governor()
    self._set_publishers(publishers, threshold)


@external
def read_reports(evidence: Bytes[MAX_EVIDENCE]) -> DynArray[IPriceSource.Report, MAX_REPORTS]:
    """
    @notice Checks signatures and proofs and returns the reports, in the order of the evidence.
    @dev Not a view only because of the lock; it writes nothing.
    @param evidence publish_time u40 | n_signatures u8 | n_reports u8 | root | signatures | reports.
    @return The reports.
    """
    length: uint256 = len(evidence)
    assert length >= HEAD_BYTES, errors.EVIDENCE_LENGTH
    head: uint256 = extract32(evidence, 0, output_type=uint256)
    # byte 0 is the source id, PriceOracle's; a second signed source may live beside this one
    publish_time_s: uint256 = (head >> 216) & (2**32 - 1)
    n_signatures: uint256 = (head >> 208) & 255
    n_reports: uint256 = (head >> 200) & 255
    root: bytes32 = extract32(evidence, 7)
    assert n_signatures >= self._threshold_at(publish_time_s), errors.EVIDENCE_THRESHOLD
    assert n_signatures <= MAX_PUBLISHERS, errors.EVIDENCE_PUBLISHER
    assert n_reports > 0 and n_reports <= MAX_REPORTS, errors.EVIDENCE_REPORTS
    assert HEAD_BYTES + n_signatures * 64 <= length, errors.EVIDENCE_LENGTH

    digest: bytes32 = typed_data._digest(
        self._domain(), keccak256(abi_encode(typed_data.PRICE_ROOT_TYPEHASH, root, publish_time_s))
    )
    offset: uint256 = HEAD_BYTES
    previous: uint256 = 0
    for i: uint256 in range(n_signatures, bound=MAX_PUBLISHERS):
        signer: address = typed_data._recovered(
            digest,
            extract32(evidence, offset, output_type=uint256),
            extract32(evidence, offset + 32, output_type=uint256),
        )
        assert signer != empty(address), errors.EVIDENCE_SIGNATURE
        # ascending, so nobody counts twice
        assert convert(signer, uint256) > previous, errors.EVIDENCE_SIGNER_ORDER
        assert publish_time_s <= self.valid_until_s[signer], errors.EVIDENCE_PUBLISHER
        previous = convert(signer, uint256)
        offset += 64

    reports: DynArray[IPriceSource.Report, MAX_REPORTS] = []
    for i: uint256 in range(n_reports, bound=MAX_REPORTS):
        assert offset + 33 <= length, errors.EVIDENCE_LENGTH
        leaf_word: bytes32 = extract32(evidence, offset)
        n_proof: uint256 = convert(slice(evidence, offset + 32, 1), uint256)
        offset += 33
        assert n_proof <= MAX_PROOF, errors.EVIDENCE_PROOF
        assert offset + n_proof * 32 <= length, errors.EVIDENCE_LENGTH
        # hashed twice, so that no inner node can pass for a leaf
        node: bytes32 = keccak256(keccak256(concat(leaf_word, slice(evidence, 0, 5))))
        for j: uint256 in range(n_proof, bound=MAX_PROOF):
            sibling: bytes32 = extract32(evidence, offset)
            if convert(node, uint256) < convert(sibling, uint256):
                node = keccak256(concat(node, sibling))
            else:
                node = keccak256(concat(sibling, node))
            offset += 32
        assert node == root, errors.EVIDENCE_PROOF
        word: uint256 = convert(leaf_word, uint256)
        reports.append(
            IPriceSource.Report(
                market=word >> 248,
                session=(word >> 240) & 255,
                price_e8=(word >> 176) & (2**64 - 1),
                confidence_e8=(word >> 112) & (2**64 - 1),
                publish_time_s=publish_time_s,
            )
        )
    assert offset == length, errors.EVIDENCE_LENGTH
    return reports


@external
@view
def is_ageless_while_closed() -> bool:
    """
    @notice Tells that publishers sign around the clock.
    @return False.
    """
    return False


@external
@view
def is_publisher(publisher: address) -> bool:
    """
    @notice Tells whether an address is a publisher now, not one that leaves.
    @param publisher The address.
    @return Whether it is.
    """
    return self.valid_until_s[publisher] == FOREVER


@external
@view
def domain_separator() -> bytes32:
    """
    @notice Returns the EIP-712 domain separator roots are signed under.
    @return The separator for the chain this runs on.
    """
    return self._domain()


@external
@view
def get_publishers() -> DynArray[address, MAX_PUBLISHERS]:
    """
    @notice Lists the publishers.
    @return Their addresses.
    """
    return self.publishers


@internal
@view
def _threshold_at(publish_time_s: uint256) -> uint256:
    """
    @notice Says how many signatures a root needs.
    @param publish_time_s When it was published.
    @return The threshold, or the one before if that is lower and still counts.
    """
    if publish_time_s <= self.previous_until_s:
        return min(self.threshold, self.previous_threshold)
    return self.threshold


@internal
@view
def _domain() -> bytes32:
    """
    @notice Computes the domain separator.
    @return The separator for the chain this runs on.
    """
    return typed_data._domain_separator(NAME_HASH)


@internal
def _set_publishers(publishers: DynArray[address, MAX_PUBLISHERS], threshold: uint256):
    """
    @notice Replaces map, list and threshold.
    @param publishers Distinct, not zero.
    @param threshold Signatures needed.
    """
    assert threshold > 0 and threshold <= len(publishers), errors.PUBLISHER_SET
    until_s: uint256 = block.timestamp + 2 * SETTLE_LAG
    if self.threshold > 0:
        self.previous_threshold = self._threshold_at(block.timestamp)
        self.previous_until_s = until_s
    for publisher: address in self.publishers:
        self.valid_until_s[publisher] = until_s
    for publisher: address in publishers:
        assert publisher != empty(address) and self.valid_until_s[publisher] != FOREVER, errors.PUBLISHER_SET
        self.valid_until_s[publisher] = FOREVER
    self.publishers = publishers
    self.threshold = threshold
    log PublishersSet(publishers=publishers, threshold=threshold)
