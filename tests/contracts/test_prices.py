"""Signed evidence, report guards, and how far a batch may move mark and index."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence, join_sections
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest
from tests.contracts.desk import PRICE_TICKS, RULES, Desk, signing_key
from tests.support.chain import GOVERNOR, Reverted


def _word(desk: Desk, market: int = 1) -> dict[str, int]:
    word = int(desk.chain.call("Clearinghouse", "price_word", market))
    lanes = ("mark", "index", "external", "external_time", "mark_time")
    return {name: word >> 40 * i & (1 << 40) - 1 for i, name in enumerate(lanes)} | {"session": word >> 200 & 255}


def _rows(mark: int, index: int = PRICE_TICKS) -> tuple[PriceRow, ...]:
    return (PriceRow(market_id=1, mark_ticks=mark, index_ticks=index),)


def test_evidence__one_signature_many_markets__external_time_and_session(desk: Desk) -> None:
    desk.age_prices(10)
    desk.settle(evidence=desk.evidence(10_100, session=4, markets=(1, 2)))

    word = _word(desk)
    assert (word["external"], word["external_time"], word["session"]) == (10_100, desk.chain.time_s, 4)
    assert (word["mark"], _word(desk, 3)["external"]) == (PRICE_TICKS, PRICE_TICKS)
    assert len(desk.events("ReportAccepted")) == len(desk.events("PriceChanged")) == 2


def test_report__guards__ignored_with_a_code(desk: Desk) -> None:
    desk.age_prices(100)
    now_s = desk.chain.time_s

    def code(**report: object) -> int:
        ticks = int(report.pop("ticks", PRICE_TICKS))  # type: ignore[call-overload]
        desk.settle(evidence=desk.evidence(ticks, markets=report.pop("markets", (1,)), **report))  # type: ignore[arg-type]
        ignored = desk.events("ReportIgnored")
        return int(ignored[0].args["code"]) if ignored else 0

    assert code(price_e8=0) == 1
    assert code(publish_time_s=now_s + 1) == 2
    assert code(publish_time_s=now_s - 100) == 3  # the time of the last one
    assert code(publish_time_s=now_s - 61) == 4
    assert code(price_e8=10**10, confidence_e8=5 * 10**7 + 1) == 5
    assert code(session=9) == 6
    assert code(markets=(20,)) == 7
    assert code(price_e8=1) == 8
    assert code(ticks=1 << 32) == 8
    assert code(publish_time_s=now_s - 60, price_e8=10**10, confidence_e8=5 * 10**7) == 0
    assert code(ticks=(1 << 32) - 1) == 11  # in range, and a jump
    assert code(publish_time_s=now_s) == 3


def test_source__signature_sets__exact(desk: Desk) -> None:
    second, stranger = signing_key("second publisher"), signing_key("stranger")
    addresses = ["0x" + key.address.hex() for key in (desk.publisher, second)]
    desk.chain.call("SignedPriceSource", "set_publishers", addresses, 2, sender=GOVERNOR)
    desk.age_prices(601)  # until then one signature is enough, as before
    now_s = desk.chain.time_s
    report = PriceReport(market_id=1, session=2, price_e8=10**10, confidence_e8=0)
    root, proven = build_proven_reports([report], now_s)
    message = digest(PriceRoot(root=root, publish_time_s=now_s), desk.chain.price_domain_separator)
    both = sorted((desk.publisher, second), key=lambda key: key.address)

    def reason(keys: list[SigningKey], **changes: object) -> str:
        evidence = Evidence(
            publish_time_s=now_s, root=root, signatures=tuple(k.sign(message) for k in keys), reports=proven
        )
        encoded = encode_evidence(replace(evidence, **changes))  # type: ignore[arg-type]
        with pytest.raises(Reverted) as caught:
            desk.settle(evidence=join_sections([encoded]))
        return caught.value.reason

    assert reason(both[:1]) == "source: below threshold"
    assert reason([both[0], both[0]]) == "source: signer order"
    assert reason(both[::-1]) == "source: signer order"
    with_stranger = sorted((both[0], stranger), key=lambda key: key.address)
    assert reason(with_stranger) == "source: not a publisher"
    assert reason(both, signatures=((bytes(32), bytes(32)),) * 2) == "source: signature"
    other = replace(proven[0], leaf_word=b"\x02" + proven[0].leaf_word[1:])
    assert reason(both, reports=(other,)) == "source: proof"
    assert reason(both, reports=()) == "source: reports"
    # another time is another digest: some other signer is recovered, in whatever order
    assert reason(both, publish_time_s=now_s - 1) in {"source: not a publisher", "source: signer order"}
    evidence = Evidence(
        publish_time_s=now_s, root=root, signatures=tuple(k.sign(message) for k in both), reports=proven
    )
    for broken in (encode_evidence(evidence)[:-1], encode_evidence(evidence) + b"\0", b"\0" * 38):
        with pytest.raises(Reverted, match="source: length"):
            desk.settle(evidence=join_sections([broken]))
    with pytest.raises(Reverted, match="source: unknown"):
        desk.settle(evidence=join_sections([b"\x01" + encode_evidence(evidence)[1:]]))
    desk.settle(evidence=join_sections([encode_evidence(evidence)]))


def test_mark__steps_by_elapsed_time__never_faster(desk: Desk) -> None:
    """Step 1 % each 3 s of 10,000: 100 ticks after 3 s, 20 steps at most."""
    desk.age_prices(2)
    desk.settle(rows=_rows(10_900))
    assert _word(desk)["mark"] == 10_000
    desk.age_prices(1)
    desk.settle(rows=_rows(10_900))
    assert (_word(desk)["mark"], _word(desk)["mark_time"]) == (10_100, desk.chain.time_s)
    desk.settle(rows=_rows(10_900))
    assert _word(desk)["mark"] == 10_100
    desk.age_prices(6)
    desk.settle(rows=_rows(10_150))
    assert _word(desk)["mark"] == 10_150


def test_mark__beyond_the_band__drawn_to_its_edge(desk: Desk) -> None:
    """Band 10 % of 10,000."""
    desk.age_prices(60)
    desk.settle(rows=_rows(20_000))
    assert _word(desk)["mark"] == 11_000
    desk.age_prices(60)
    desk.settle(rows=_rows(0))
    assert _word(desk)["mark"] == 9_000


def test_mark__external_jumped_away__step_wins_over_band(desk: Desk) -> None:
    """External falls to 5,300: target 5,830, but 3 s allow 100 ticks only."""
    desk.age_prices(3)
    desk.settle(rows=_rows(5_300), evidence=desk.evidence(5_300, markets=(1,)))

    assert _word(desk)["mark"] == 9_900


def test_index__fresh_follows_external__stale_drifts_inside_the_band(desk: Desk) -> None:
    desk.age_prices(RULES.max_age_s)
    desk.settle(rows=_rows(10_000, index=10_700))
    assert _word(desk)["index"] == 10_000
    desk.age_prices(1)
    desk.settle(rows=_rows(10_000, index=10_700))
    assert _word(desk)["index"] == 10_700
    desk.settle(rows=_rows(10_000, index=12_000))
    assert _word(desk)["index"] == 11_000


def test_report__market_not_listed_in_clearinghouse__reverts(desk: Desk) -> None:
    desk.age_prices(10)
    desk.chain.write_word("prices", 1, 0)

    with pytest.raises(Reverted, match="prices: unknown market"):
        desk.settle(evidence=desk.evidence(10_100, markets=(1,)))


def test_publishers__bad_sets__refused(desk: Desk) -> None:
    one = "0x" + desk.publisher.address.hex()
    for publishers, threshold in (([one], 0), ([one], 2), ([], 0), ([one, one], 1), (["0x" + "00" * 20], 1)):
        with pytest.raises(Reverted, match="source: publisher set"):
            desk.chain.call("SignedPriceSource", "set_publishers", publishers, threshold, sender=GOVERNOR)


def test_sources__ids__used_once(desk: Desk) -> None:
    source = desk.chain.addresses["SignedPriceSource"]
    for source_id, address, reason in (
        (0, source, "source: taken"),
        (256, source, "source: out of range"),
        (1, "0x" + "00" * 20, "wiring: zero address"),
    ):
        with pytest.raises(Reverted, match=reason):
            desk.chain.call("PriceOracle", "set_source", source_id, address, sender=GOVERNOR)
    desk.chain.call("PriceOracle", "set_source", 1, source, sender=GOVERNOR)
