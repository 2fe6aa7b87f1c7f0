"""SignedPriceSource: k distinct publishers or nothing, every byte of a report under the root, no proof by accident."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from afterbell.domain.hashing import keccak
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import price_domain
from tests.contracts.venue import PUBLISHERS, STRANGER, Report, T, address_of, build_evidence, refused
from tests.support.chain import CHAIN_ID, GOVERNOR, OUTSIDER, ZERO_ADDRESS, Chain

SOURCE = "SignedPriceSource"
REPORTS = [Report(market=market, price_e8=market * 10**8, confidence_e8=market) for market in range(1, 6)]


@pytest.fixture(scope="module")
def chain() -> Chain:
    """Return three publishers, two needed."""
    return Chain.deploy(publishers=[address_of(key) for key in PUBLISHERS[:3]], threshold=2)


def make(chain: Chain, reports: list[Report] | None = None, **changes: Any) -> bytearray:
    """Return one section, without the length that goes before it in a batch."""
    defaults: dict[str, Any] = {"publish_time_s": T, "domain_separator": chain.price_domain_separator}
    return build_evidence(REPORTS if reports is None else reports, **(defaults | changes))[2:]


def read(chain: Chain, evidence: bytes | bytearray) -> Any:
    return chain.call(SOURCE, "read_reports", bytes(evidence))


def as_read(report: Report) -> tuple[int, ...]:
    return report.market, report.session, report.price_e8, report.confidence_e8, T


# Publishers.


@pytest.mark.parametrize("signers", [*combinations(range(3), 2), (0, 1, 2)])
def test_reports__signed_by_enough_publishers__are_read_in_their_order(chain: Chain, signers: tuple[int, ...]) -> None:
    evidence = make(chain, signers=[PUBLISHERS[i] for i in signers], carried=[3, 0, 4])

    assert list(read(chain, evidence)) == [as_read(REPORTS[i]) for i in (3, 0, 4)]


@pytest.mark.parametrize("n_signers", [0, 1])
def test_reports__signed_by_too_few__revert(chain: Chain, n_signers: int) -> None:
    with refused("source: below threshold"):
        read(chain, make(chain, signers=PUBLISHERS[:n_signers]))


@pytest.mark.parametrize("places", [(0, 0), (1, 0), (0, 1, 1), (0, 2, 1), (2, 1, 0), (0, 0, 1)])
def test_reports__signers_twice_or_out_of_order__revert(chain: Chain, places: tuple[int, ...]) -> None:
    with refused("source: signer order"):
        read(chain, make(chain, signers=[PUBLISHERS[i] for i in places], sort=False))


@pytest.mark.parametrize("stranger", [STRANGER, PUBLISHERS[3]])
def test_reports__with_a_stranger_among_the_signers__revert(chain: Chain, stranger: Any) -> None:
    """Also beside enough publishers: an extra signature is not ignored."""
    with refused("source: not a publisher"):
        read(chain, make(chain, signers=[*PUBLISHERS[:2], stranger]))


@pytest.mark.parametrize("flaw", ["zero", "r zero", "high s", "wrong parity"])
def test_reports__signature_malformed__revert(chain: Chain, flaw: str) -> None:
    evidence = make(chain)
    r, vs = slice(39, 71), slice(71, 103)
    if flaw in ("zero", "r zero"):
        evidence[r] = bytes(32)
    if flaw == "zero":
        evidence[vs] = bytes(32)
    if flaw == "high s":
        evidence[vs] = b"\x7f" + b"\xff" * 31
    if flaw == "wrong parity":
        evidence[71] ^= 0x80
        # another key comes out of it: nobody's, or out of order
        with pytest.raises(Exception, match=r"source: (signer order|not a publisher|signature)"):
            read(chain, evidence)
        return

    with refused("source: signature"):
        read(chain, evidence)


def test_reports__more_signatures_than_publishers_can_be__revert(chain: Chain) -> None:
    with refused("source: not a publisher"):
        read(chain, make(chain, signers=[PUBLISHERS[0]] * 17, sort=False))


@pytest.mark.parametrize(
    "domain",
    [
        lambda here: price_domain(CHAIN_ID + 1, here).separator(),
        lambda here: price_domain(CHAIN_ID, b"\xc1" * 20).separator(),
        lambda here: bytes(32),
    ],
)
def test_reports__signed_for_another_chain_or_source__revert(chain: Chain, domain: Any) -> None:
    here = bytes.fromhex(chain.addresses[SOURCE][2:])
    assert price_domain(CHAIN_ID, here).separator() == chain.price_domain_separator

    # another digest recovers another address, anywhere in the order
    with pytest.raises(Exception, match=r"source: (not a publisher|signer order)"):
        read(chain, make(chain, domain_separator=domain(here)))


def test_reports__signed_under_the_exchange_domain__revert(chain: Chain) -> None:
    with pytest.raises(Exception, match=r"source: (not a publisher|signer order)"):
        read(chain, make(chain, domain_separator=chain.domain_separator))


# What they signed.


def test_reports__any_byte_changed__revert(chain: Chain) -> None:
    """Every byte of root, signatures, leaves and proofs, and of the time: nothing in evidence is decoration."""
    evidence = make(chain, carried=[0, 4])
    assert len(read(chain, evidence)) == 2
    for place in range(1, len(evidence)):
        damaged = bytearray(evidence)
        damaged[place] ^= 1
        with pytest.raises(Exception, match="source: "):
            read(chain, damaged)


def test_reports__source_byte_changed__revert(chain: Chain) -> None:
    """The source id is hashed into the leaf: evidence for source 0 proves nothing under another name."""
    evidence = make(chain)
    evidence[0] = 1

    with refused("source: proof"):
        read(chain, evidence)


def test_reports__leaf_tampered__revert(chain: Chain) -> None:
    evidence = make(chain, [Report(price_e8=100)])
    assert read(chain, evidence)[0][2] == 100
    evidence[-33 + 9] += 1  # the lowest byte of the price

    with refused("source: proof"):
        read(chain, evidence)


def test_reports__inner_node_as_a_leaf__reverts(chain: Chain) -> None:
    """Two leaves side by side are no leaf: leaves are hashed twice."""
    evidence = make(chain, REPORTS[:2], carried=[])
    moment = T.to_bytes(4, "big")
    leaves = sorted(keccak(keccak(report.pack() + b"\x00" + moment)) for report in REPORTS[:2])
    assert bytes(evidence[7:39]) == keccak(b"".join(leaves))
    evidence[6] = 1
    evidence += leaves[0] + b"\x01" + leaves[1]

    with refused("source: proof"):
        read(chain, evidence)


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 5, 8, 31, 32])
def test_reports__trees_of_every_shape__are_proven(chain: Chain, n_leaves: int) -> None:
    reports = [Report(market=1 + i, price_e8=10**8 + i) for i in range(n_leaves)]
    carried = [0, n_leaves // 2, n_leaves - 1]

    assert [found[0] for found in read(chain, make(chain, reports, carried=carried))] == [1 + i for i in carried]


@pytest.mark.parametrize(("n_proof", "reason"), [(16, "source: proof"), (17, "source: proof"), (255, "source: proof")])
def test_reports__proof_of_any_length__is_bounded(chain: Chain, n_proof: int, reason: str) -> None:
    evidence = make(chain, [Report()])
    evidence[-1] = n_proof
    evidence += bytes(32 * min(n_proof, 16))

    with refused(reason):
        read(chain, evidence)


def test_reports__no_report__reverts(chain: Chain) -> None:
    with refused("source: reports"):
        read(chain, make(chain, carried=[]))


def test_reports__more_than_32__revert(chain: Chain) -> None:
    evidence = make(chain)
    evidence[6] = 33

    with refused("source: reports"):
        read(chain, evidence)


def test_reports__cut_or_longer__revert(chain: Chain) -> None:
    evidence = make(chain, carried=[0, 1])
    for damaged in (evidence[:38], evidence[:100], evidence[: 39 + 128 + 20], evidence[:-1], evidence + b"\x00", b""):
        with refused("source: length"):
            read(chain, damaged)


# The set of publishers.


def test_publishers__replaced__old_ones_count_no_longer(chain: Chain) -> None:
    with chain.undone():
        new = [address_of(PUBLISHERS[3]), address_of(STRANGER)]
        chain.call(SOURCE, "set_publishers", new, 1, sender=GOVERNOR)
        assert [(event.name, event.args["threshold"]) for event in chain.events()] == [("PublishersSet", 1)]
        assert [address.lower() for address in chain.call(SOURCE, "get_publishers")] == [a.lower() for a in new]
        assert chain.call(SOURCE, "threshold") == 1
        assert [chain.call(SOURCE, "is_publisher", address_of(key)) for key in (*PUBLISHERS, STRANGER)] == [
            False, False, False, True, True
        ]  # fmt: skip
        assert chain.call(SOURCE, "valid_until_s", address_of(PUBLISHERS[0])) == T + 600
        assert len(read(chain, make(chain, signers=[STRANGER]))) == 5


@pytest.mark.parametrize(("later_s", "counts"), [(0, True), (599, True), (600, True), (601, False)])
def test_publishers__that_left__count_for_roots_of_ten_minutes_more(chain: Chain, later_s: int, counts: bool) -> None:
    """By publish time: what was matched before is not refused, and no clock of the block decides."""
    with chain.undone():
        chain.call(SOURCE, "set_publishers", [address_of(STRANGER)], 1, sender=GOVERNOR)
        chain.set_time(T + 10_000)
        evidence = make(chain, signers=PUBLISHERS[:2], publish_time_s=T + later_s)
        if counts:
            assert len(read(chain, evidence)) == 5
            return
        with refused("source: not a publisher"):
            read(chain, evidence)


@pytest.mark.parametrize(("later_s", "needed"), [(600, 2), (601, 3)])
def test_publishers__threshold_raised__the_lower_counts_for_ten_minutes_more(
    chain: Chain, later_s: int, needed: int
) -> None:
    three = [address_of(key) for key in PUBLISHERS[:3]]
    with chain.undone():
        chain.call(SOURCE, "set_publishers", three, 3, sender=GOVERNOR)
        chain.set_time(T + 300)
        # set again meanwhile: neither 3 nor a later end is what counted before
        chain.call(SOURCE, "set_publishers", three, 3, sender=GOVERNOR)
        assert (chain.call(SOURCE, "previous_threshold"), chain.call(SOURCE, "previous_until_s")) == (2, T + 900)
        chain.set_time(T + 2_000)
        chain.call(SOURCE, "set_publishers", three, 2, sender=GOVERNOR)
        chain.call(SOURCE, "set_publishers", three, 3, sender=GOVERNOR)
        enough = make(chain, signers=PUBLISHERS[:needed], publish_time_s=T + 2_000 + later_s)
        assert len(read(chain, enough)) == 5
        with refused("source: below threshold"):
            read(chain, make(chain, signers=PUBLISHERS[: needed - 1], publish_time_s=T + 2_000 + later_s))


def test_publishers__fresh_source__has_no_lower_threshold_of_before(chain: Chain) -> None:
    """Deployed a moment ago, nothing counted before: no root passes without signatures."""
    here = chain.addresses[SOURCE]
    with chain.undone():
        chain.create(SOURCE, GOVERNOR, [OUTSIDER], 1)
        try:
            with refused("source: below threshold"):
                read(chain, make(chain, signers=[]))
        finally:
            chain.addresses[SOURCE] = here


def test_publishers__back_after_leaving__count_for_good(chain: Chain) -> None:
    with chain.undone():
        for publishers in ([STRANGER], PUBLISHERS[:2], [PUBLISHERS[0]]):
            chain.call(SOURCE, "set_publishers", [address_of(key) for key in publishers], 1, sender=GOVERNOR)
        assert chain.call(SOURCE, "valid_until_s", address_of(PUBLISHERS[0])) == 2**256 - 1
        assert chain.call(SOURCE, "valid_until_s", address_of(PUBLISHERS[1])) == T + 600


@pytest.mark.parametrize(
    ("publishers", "threshold"),
    [
        ([], 0),
        ([], 1),
        ([OUTSIDER], 0),
        ([OUTSIDER], 2),
        ([OUTSIDER, OUTSIDER], 1),
        ([OUTSIDER, ZERO_ADDRESS], 1),
        ([ZERO_ADDRESS], 1),
    ],
)
def test_publishers__bad_set__reverts(chain: Chain, publishers: list[str], threshold: int) -> None:
    with refused("source: publisher set"):
        chain.call(SOURCE, "set_publishers", publishers, threshold, sender=GOVERNOR)
    with chain.undone(), refused("source: publisher set"):
        chain.create(SOURCE, GOVERNOR, publishers, threshold)


def test_publishers__sixteen_of_sixteen__is_the_largest_set(chain: Chain) -> None:
    keys = [SigningKey((900 + i).to_bytes(32, "big")) for i in range(16)]
    with chain.undone():
        chain.call(SOURCE, "set_publishers", [address_of(key) for key in keys], 16, sender=GOVERNOR)

        assert len(read(chain, make(chain, signers=keys))) == 5
        with refused("source: below threshold"):
            read(chain, make(chain, signers=keys[:15], publish_time_s=T + 601))


def test_source__governed_by_nobody__is_not_deployed(chain: Chain) -> None:
    with chain.undone(), refused("wiring: zero address"):
        chain.create(SOURCE, ZERO_ADDRESS, [OUTSIDER], 1)
