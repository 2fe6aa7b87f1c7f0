"""Read, check and build the evidence of prices: its sections, and what publishers sign.

Evidence is sections of length u16 and bytes for one source. In a section of signed prices one signature set covers the
Merkle root of many markets' reports; a wrong or short set refuses the whole evidence (EvidenceRefused, the contract
reverts). Must not: hold keys, fetch, or judge a price; oracle.py does. Twin: contracts/SignedPriceSource.vy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from afterbell.domain.digests import build_digest, hash_price_root
from afterbell.domain.errors import EvidenceRefused, RecordOutOfRange
from afterbell.domain.hashing import keccak

SIGNED_SOURCE_ID: Final = 0
"""First byte of the evidence: which source of PriceOracle reads it."""
MAX_SIGNATURES: Final = 16
MAX_REPORTS: Final = 32
MAX_PROOF: Final = 16
MAX_SECTIONS: Final = 32
MAX_SECTION_BYTES: Final = 4_096

_HEAD: Final = Struct(">BIBB32s")
_LEAF: Final = Struct(">BBQQ14x")
_N_SIGNATURE_BYTES: Final = 64
_N_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceReport:
    """One market's price as publishers sign it: per share, USD x 1e8."""

    market_id: int
    session: int
    price_e8: int
    confidence_e8: int = 0

    def pack(self) -> bytes:
        """Return the leaf word: market u8 | session u8 | price u64 | confidence u64 | 14 zero bytes."""
        try:
            return _LEAF.pack(self.market_id, self.session, self.price_e8, self.confidence_e8)
        except struct.error as error:
            raise RecordOutOfRange("report", error) from error

    @classmethod
    def unpack(cls, leaf_word: bytes) -> PriceReport:
        """Read a leaf word."""
        market_id, session, price_e8, confidence_e8 = _LEAF.unpack(leaf_word)
        return cls(market_id=market_id, session=session, price_e8=price_e8, confidence_e8=confidence_e8)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenReport:
    """A report with the path from its leaf to the root. The leaf word is kept as sent: its hash covers every bit."""

    leaf_word: bytes
    proof: tuple[bytes, ...] = ()

    @property
    def report(self) -> PriceReport:
        """Return what the leaf word says."""
        return PriceReport.unpack(self.leaf_word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One set of signatures over one root, and the reports proven under it."""

    publish_time_s: int
    root: bytes
    signatures: tuple[tuple[bytes, bytes], ...]
    """(r, vs), by ascending signer address."""
    reports: tuple[ProvenReport, ...]
    source_id: int = SIGNED_SOURCE_ID
    """Which source of PriceOracle reads it; hashed into every leaf."""


def hash_leaf(leaf_word: bytes, publish_time_s: int, source_id: int = SIGNED_SOURCE_ID) -> bytes:
    """Return keccak(keccak(leaf word ‖ source_id u8 ‖ publish_time u32)): twice, so that no node passes for a leaf."""
    return keccak(keccak(leaf_word + bytes([source_id]) + publish_time_s.to_bytes(4, "big")))


def hash_pair(left: bytes, right: bytes) -> bytes:
    """Return the parent of two nodes, smaller one first."""
    return keccak(left + right) if left < right else keccak(right + left)


def build_tree(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the levels of the tree, leaves first, root last. A node without a partner moves up unchanged."""
    if not leaves:
        raise ValueError("a tree needs a leaf")
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        parents = [hash_pair(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        levels.append(parents + level[len(level) - len(level) % 2 :])
    return levels


def build_root(reports: Sequence[PriceReport], publish_time_s: int) -> bytes:
    """Return the root a publisher signs for these reports."""
    return build_tree([hash_leaf(report.pack(), publish_time_s) for report in reports])[-1][0]


def build_proof(levels: Sequence[Sequence[bytes]], leaf_index: int) -> tuple[bytes, ...]:
    """Return the siblings from a leaf to the root."""
    proof = []
    for level in levels[:-1]:
        sibling = leaf_index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        leaf_index >>= 1
    return tuple(proof)


def build_proven_reports(reports: Sequence[PriceReport], publish_time_s: int) -> tuple[bytes, tuple[ProvenReport, ...]]:
    """Return (root, every report with its proof)."""
    levels = build_tree([hash_leaf(report.pack(), publish_time_s) for report in reports])
    return levels[-1][0], tuple(
        ProvenReport(leaf_word=report.pack(), proof=build_proof(levels, index)) for index, report in enumerate(reports)
    )


def compute_root_of(leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the root that a leaf and its proof lead to."""
    node = leaf
    for sibling in proof:
        node = hash_pair(node, sibling)
    return node


def join_sections(sections: Sequence[bytes]) -> bytes:
    """Return the evidence of a batch. Formula: per section length u16 ‖ section."""
    return b"".join(len(section).to_bytes(2, "big") + section for section in sections)


def split_sections(evidence: bytes) -> Iterator[bytes]:
    """Yield the sections of a batch's evidence. Raises: EvidenceRefused `source: length` at a malformed one."""
    at = n_sections = 0
    while at < len(evidence):
        n_bytes = int.from_bytes(evidence[at : at + 2], "big")
        section = evidence[at + 2 : at + 2 + n_bytes]
        if not section or len(section) != n_bytes or n_bytes > MAX_SECTION_BYTES or n_sections == MAX_SECTIONS:
            raise EvidenceRefused("source: length")
        yield section
        n_sections += 1
        at += 2 + n_bytes


def encode_evidence(evidence: Evidence) -> bytes:
    """Return one section of signed prices. No padding."""
    parts = [
        _HEAD.pack(
            evidence.source_id,
            evidence.publish_time_s,
            len(evidence.signatures),
            len(evidence.reports),
            evidence.root,
        )
    ]
    parts += [r + vs for r, vs in evidence.signatures]
    for proven in evidence.reports:
        parts.append(proven.leaf_word + bytes([len(proven.proof)]) + b"".join(proven.proof))
    return b"".join(parts)


def decode_evidence(evidence: bytes) -> Evidence:
    """Read a section of signed prices. Raises: EvidenceRefused `source: length` unless it ends at the last byte."""
    try:
        source_id, publish_time_s, n_signatures, n_reports, root = _HEAD.unpack_from(evidence)
    except struct.error as error:
        raise EvidenceRefused("source: length") from error
    if not 0 < n_reports <= MAX_REPORTS:
        raise EvidenceRefused("source: reports")
    at = _HEAD.size

    def take(n_bytes: int) -> bytes:
        nonlocal at
        if at + n_bytes > len(evidence):
            raise EvidenceRefused("source: length")
        at += n_bytes
        return evidence[at - n_bytes : at]

    signatures = tuple((take(_N_HASH_BYTES), take(_N_HASH_BYTES)) for _ in range(n_signatures))
    reports = tuple(
        ProvenReport(leaf_word=take(_N_HASH_BYTES), proof=tuple(take(_N_HASH_BYTES) for _ in range(take(1)[0])))
        for _ in range(n_reports)
    )
    if any(len(proven.proof) > MAX_PROOF for proven in reports):
        raise EvidenceRefused("source: proof")
    if at != len(evidence):
        raise EvidenceRefused("source: length")
    return Evidence(
        publish_time_s=publish_time_s, root=root, signatures=signatures, reports=reports, source_id=source_id
    )


def verify_evidence(
    evidence: Evidence,
    *,
    publishers: frozenset[bytes],
    threshold: int,
    domain_separator: bytes,
    recover: Callable[[bytes, bytes, bytes], bytes | None],
) -> None:
    """Check signatures and proofs. Raises: EvidenceRefused with the contract's revert string.

    At least `threshold` signatures, every one by a publisher, signers strictly ascending so that none counts twice.
    """
    if len(evidence.signatures) < threshold:
        raise EvidenceRefused("source: below threshold")
    if len(evidence.signatures) > MAX_SIGNATURES:
        raise EvidenceRefused("source: not a publisher")
    digest = build_digest(domain_separator, hash_price_root(evidence.root, evidence.publish_time_s))
    previous = b""
    for r, vs in evidence.signatures:
        signer = recover(digest, r, vs)
        if signer is None:
            raise EvidenceRefused("source: signature")
        if signer <= previous:
            raise EvidenceRefused("source: signer order")
        if signer not in publishers:
            raise EvidenceRefused("source: not a publisher")
        previous = signer
    for proven in evidence.reports:
        leaf = hash_leaf(proven.leaf_word, evidence.publish_time_s, evidence.source_id)
        if compute_root_of(leaf, proven.proof) != evidence.root:
            raise EvidenceRefused("source: proof")
