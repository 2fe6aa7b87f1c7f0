import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from afterbell.domain.codes import ReportCode
from afterbell.domain.digests import compute_root_of
from afterbell.domain.errors import EvidenceRefused
from afterbell.domain.evidence import (
    Evidence,
    PriceReport,
    build_proven_reports,
    build_root,
    decode_evidence,
    encode_evidence,
    hash_leaf,
    join_sections,
    split_sections,
)
from afterbell.domain.oracle import (
    Observation,
    OracleMarket,
    OracleState,
    ReportVerdict,
    SignedSource,
    compute_external_ticks,
    observe,
)
from afterbell.signing.keys import SigningKey, recover
from afterbell.signing.typed_data import PriceRoot, digest, price_domain

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "evidence.json").read_text())
T = 1_900_000_000
SEPARATOR = price_domain(31_337, b"\x50" * 20).separator()
PUBLISHERS = sorted((SigningKey(bytes([number]) * 32) for number in (1, 2, 3)), key=lambda key: key.address)
OUTSIDER = SigningKey(b"\x09" * 32)
MARKET = OracleMarket(ticks_per_usd=100, max_confidence_ppm=5_000)
REPORT = PriceReport(market_id=1, session=2, price_e8=15_000_000_000, confidence_e8=75_000_000)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def make_oracle() -> OracleState:
    source = SignedSource(
        publishers=frozenset(key.address for key in PUBLISHERS),
        threshold=2,
        domain_separator=SEPARATOR,
        recover=recover,
    )
    return OracleState(markets={1: MARKET, 2: MARKET}, sources={0: source})


def make_evidence(
    reports: tuple[PriceReport, ...] = (REPORT,), *, signers: list[SigningKey] | None = None, publish_time_s: int = T
) -> Evidence:
    root, proven = build_proven_reports(reports, publish_time_s)
    message = digest(PriceRoot(root=root, publish_time_s=publish_time_s), SEPARATOR)
    return Evidence(
        publish_time_s=publish_time_s,
        root=root,
        signatures=tuple(key.sign(message) for key in (PUBLISHERS[:2] if signers is None else signers)),
        reports=proven,
    )


def ignored(evidence: Evidence | bytes, oracle: OracleState, matched_at_s: int = T) -> list[ReportVerdict]:
    """Let the oracle observe one section; return the reports it ignores."""
    section = evidence if isinstance(evidence, bytes) else encode_evidence(evidence)
    return observe(oracle, split_sections(join_sections([section])), matched_at_s)[1]


def test_evidence__laid_out_by_hand__reads_and_writes_the_same_bytes() -> None:
    evidence = decode_evidence(unhex(VECTOR["evidence"]))

    assert encode_evidence(evidence) == unhex(VECTOR["evidence"])
    assert evidence.root == unhex(VECTOR["root"])
    assert build_root([proven.report for proven in evidence.reports], T) == unhex(VECTOR["root"])
    assert [hash_leaf(proven.leaf_word, T).hex() for proven in evidence.reports] == [
        leaf[2:] for leaf in VECTOR["leaves"]
    ]


def test_evidence__golden_vector__is_observed_under_its_publisher() -> None:
    source = SignedSource(
        publishers=frozenset({unhex(VECTOR["publisher"])}),
        threshold=1,
        domain_separator=unhex(VECTOR["domain_separator"]),
        recover=recover,
    )
    oracle = OracleState(markets=dict.fromkeys((1, 2, 3), MARKET), sources={0: source})

    assert ignored(unhex(VECTOR["evidence"]), oracle) == []
    assert {market: (seen.price_e8, seen.session) for market, seen in oracle.primaries.items()} == {
        1: (15_000_000_000, 2),
        2: (9_999_999_999, 2),
        3: (123_456_789, 5),
    }


@pytest.mark.parametrize("vector", VECTOR["external_ticks"])
def test_external_ticks__worked_out_by_hand__rounds_down(vector: dict) -> None:
    market = OracleMarket(
        multiplier_num=vector["num"], multiplier_den=vector["den"], ticks_per_usd=vector["ticks_per_usd"],
        max_confidence_ppm=0,
    )  # fmt: skip

    assert compute_external_ticks(int(vector["price_e8"]), market) == vector["ticks"]


@pytest.mark.parametrize("n_reports", range(1, 33))
def test_tree__any_number_of_leaves__proves_each_of_them(n_reports: int) -> None:
    rng = Random(n_reports)
    reports = [
        PriceReport(market_id=market_id + 1, session=2, price_e8=rng.getrandbits(64)) for market_id in range(n_reports)
    ]
    root, proven = build_proven_reports(reports, T)

    assert root == build_root(reports, T)
    for item in proven:
        assert compute_root_of(hash_leaf(item.leaf_word, T), item.proof) == root
        assert compute_root_of(hash_leaf(item.leaf_word, T + 1), item.proof) != root


def test_observe__two_of_three_publishers__takes_every_report_once() -> None:
    oracle = make_oracle()
    evidence = make_evidence((REPORT, replace(REPORT, market_id=2)))

    assert ignored(evidence, oracle) == []
    assert [verdict.code for verdict in ignored(evidence, oracle)] == [ReportCode.NOT_NEWER, ReportCode.NOT_NEWER]


REFUSED = {
    "source: below threshold": make_evidence(signers=PUBLISHERS[:1]),
    "source: signer order": make_evidence(signers=[PUBLISHERS[1], PUBLISHERS[0]]),
    "source: signer order, twice": make_evidence(signers=[PUBLISHERS[0], PUBLISHERS[0]]),
    "source: not a publisher": make_evidence(signers=sorted([PUBLISHERS[0], OUTSIDER], key=lambda key: key.address)),
    "source: signature": replace(make_evidence(), signatures=((bytes(32), bytes(32)), (bytes(32), bytes(32)))),
    "source: proof": replace(
        make_evidence(), reports=(replace(make_evidence().reports[0], leaf_word=replace(REPORT, price_e8=1).pack()),)
    ),
    "source: length": encode_evidence(make_evidence()) + b"\0",
    "source: length, cut": encode_evidence(make_evidence())[:-1],
    "source: length, empty": b"",
    "source: unknown": b"\x01" + encode_evidence(make_evidence())[1:],
    "source: reports": encode_evidence(replace(make_evidence(), reports=())),
    "source: proof, too long": replace(
        make_evidence(), reports=(replace(make_evidence().reports[0], proof=(bytes(32),) * 17),)
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_observe__evidence_with_one_flaw__is_refused_whole(name: str) -> None:
    oracle = make_oracle()

    with pytest.raises(EvidenceRefused) as caught:
        ignored(REFUSED[name], oracle)

    assert caught.value.reason == name.split(",", maxsplit=1)[0]
    assert oracle.primaries == {}


GUARDS = [
    (ReportCode.ACCEPTED, REPORT, T, T),
    (ReportCode.NOT_POSITIVE, replace(REPORT, price_e8=0, confidence_e8=0), T, T),
    (ReportCode.FUTURE, REPORT, T + 1, T),
    (ReportCode.NOT_NEWER, REPORT, T - 40, T),
    (ReportCode.ACCEPTED, REPORT, T, T + 60),
    (ReportCode.TOO_OLD, REPORT, T, T + 61),
    (ReportCode.CONFIDENCE, replace(REPORT, confidence_e8=75_000_001), T, T),
    (ReportCode.UNKNOWN_SESSION, replace(REPORT, session=9), T, T),
    (ReportCode.OUT_OF_RANGE, replace(REPORT, price_e8=999_999, confidence_e8=0), T, T),
    (ReportCode.OUT_OF_RANGE, replace(REPORT, price_e8=2**64 - 1, confidence_e8=0), T, T),
]


@pytest.mark.parametrize(("code", "report", "publish_time_s", "matched_at_s"), GUARDS)
def test_observe__one_guard_at_a_time__gives_its_code(
    code: ReportCode, report: PriceReport, publish_time_s: int, matched_at_s: int
) -> None:
    oracle = make_oracle()
    oracle.primaries[1] = Observation(price_e8=1, publish_time_s=T - 40)

    found = ignored(make_evidence((report,), publish_time_s=publish_time_s), oracle, matched_at_s)

    assert [verdict.code for verdict in found] == ([] if code is ReportCode.ACCEPTED else [code])


def test_observe__market_nobody_set__is_unknown() -> None:
    found = ignored(make_evidence((replace(REPORT, market_id=31),)), make_oracle())

    assert [verdict.code for verdict in found] == [ReportCode.UNKNOWN_MARKET]
