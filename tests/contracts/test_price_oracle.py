"""PriceOracle: every guard at its boundary, and which source may speak for which market."""

from __future__ import annotations

from typing import Any

import pytest

from afterbell.domain.codes import ReportCode
from tests.contracts.venue import (
    RULES,
    STRANGER,
    Report,
    T,
    Venue,
    address_of,
    build_evidence,
    refused,
)
from tests.support.chain import GOVERNOR, ZERO_ADDRESS

USD = 10**8


@pytest.fixture
def venue() -> Venue:
    """Return a venue whose markets 1 and 2 have no report yet; confidence up to 0.5 %."""
    return Venue.open(n_markets=2, is_priced=False, deposit_quote=0)


def judge(venue: Venue, report: Report, *, publish_time_s: int) -> int:
    """Send one report in a batch of its own; return its code, 0 for accepted."""
    settled = venue.settle(evidence=venue.evidence([report], publish_time_s=publish_time_s))
    ignored, accepted = settled.named("ReportIgnored"), settled.named("ReportAccepted")
    assert len(ignored) + len(accepted) == 1
    if accepted:
        assert settled.named("PriceChanged")
        return 0
    assert ignored[0]["market"] == report.market
    assert ignored[0]["price_e8"] == report.price_e8
    assert ignored[0]["publish_time_s"] == publish_time_s
    assert not settled.named("PriceChanged")
    return int(ignored[0]["code"])


def test_report__within_every_guard__moves_the_external_price_and_session(venue: Venue) -> None:
    """123.456789 USD at 100 ticks a USD: 12,345 ticks, rounded down."""
    settled = venue.settle(evidence=venue.evidence([Report(price_e8=12_345_678_900, session=3)], publish_time_s=T - 7))

    assert settled.named("ReportAccepted") == [
        {"market": 1, "external_ticks": 12_345, "publish_time_s": T - 7, "session": 3}
    ]
    price = venue.price()
    assert (price.external_ticks, price.external_time_s, price.session, price.epoch) == (12_345, T - 7, 3, 1)
    assert (price.mark_ticks, price.index_ticks) == (0, 0)
    assert venue.chain.call("PriceOracle", "last_publish_time_s", 1) == T - 7


@pytest.mark.parametrize(("age_s", "code"), [(0, 0), (59, 0), (60, 0), (61, 4), (62, 4), (10**6, 4)])
def test_report__age__counts_to_the_second(venue: Venue, age_s: int, code: int) -> None:
    assert judge(venue, Report(), publish_time_s=T - age_s) == code
    assert ReportCode.TOO_OLD == 4


@pytest.mark.parametrize("ahead_s", [1, 2, 60, 2**32 - 1 - T])
def test_report__from_the_future__is_ignored(venue: Venue, ahead_s: int) -> None:
    assert judge(venue, Report(), publish_time_s=T + ahead_s) == ReportCode.FUTURE


def test_report__future_by_the_match_but_not_by_the_block__is_ignored(venue: Venue) -> None:
    """The match counts: a sequencer that settles late may not use prices from after the match."""
    venue.wait(100)
    settled = venue.settle(evidence=venue.evidence([Report()], publish_time_s=T + 51), matched_at_s=T + 50)

    assert [event["code"] for event in settled.named("ReportIgnored")] == [ReportCode.FUTURE]


@pytest.mark.parametrize(("later_s", "code"), [(-1, 3), (0, 3), (1, 0)])
def test_report__time_of_the_last_one__must_be_passed(venue: Venue, later_s: int, code: int) -> None:
    assert judge(venue, Report(), publish_time_s=T - 5) == 0

    assert judge(venue, Report(price_e8=101 * USD), publish_time_s=T - 5 + later_s) == code
    assert venue.price().external_ticks == (10_100 if code == 0 else 10_000)


def test_report__of_one_market__does_not_age_the_other(venue: Venue) -> None:
    assert judge(venue, Report(market=1), publish_time_s=T) == 0

    assert judge(venue, Report(market=2), publish_time_s=T - 30) == 0


def test_report__twice_in_one_evidence__only_the_first_counts(venue: Venue) -> None:
    settled = venue.settle(evidence=venue.evidence([Report(price_e8=5 * USD), Report(price_e8=9 * USD)]))

    assert [event["external_ticks"] for event in settled.named("ReportAccepted")] == [500]
    assert [event["code"] for event in settled.named("ReportIgnored")] == [ReportCode.NOT_NEWER]


def test_report__ignored__does_not_move_the_last_time_and_stops_no_other(venue: Venue) -> None:
    reports = [Report(market=1, price_e8=0), Report(market=2, price_e8=5 * USD)]

    settled = venue.settle(evidence=venue.evidence(reports))

    assert [event["market"] for event in settled.named("ReportAccepted")] == [2]
    assert venue.chain.call("PriceOracle", "last_publish_time_s", 1) == 0
    assert judge(venue, Report(market=1), publish_time_s=T) == 0


# price 100 USD, limit 5,000 ppm: confidence up to 0.5 USD
@pytest.mark.parametrize(
    ("confidence_e8", "code"),
    [(0, 0), (USD // 2 - 1, 0), (USD // 2, 0), (USD // 2 + 1, 5), (2**64 - 1, 5)],
)
def test_report__confidence__counts_to_the_unit(venue: Venue, confidence_e8: int, code: int) -> None:
    assert judge(venue, Report(price_e8=100 * USD, confidence_e8=confidence_e8), publish_time_s=T) == code


@pytest.mark.parametrize(("session", "code"), [*((session, 0) for session in range(9)), (9, 6), (255, 6)])
def test_report__session__must_be_known(venue: Venue, session: int, code: int) -> None:
    assert judge(venue, Report(session=session), publish_time_s=T) == code
    if code == 0:
        assert venue.price().session == session


@pytest.mark.parametrize("market", [0, 3, 32, 33, 255])
def test_report__market_not_listed__is_ignored(venue: Venue, market: int) -> None:
    assert judge(venue, Report(market=market), publish_time_s=T) == ReportCode.UNKNOWN_MARKET


# 100 ticks a USD: a tick is 10^6 of the price's units
@pytest.mark.parametrize(
    ("price_e8", "code"),
    [
        (0, 1),
        (1, 8),
        (10**6 - 1, 8),
        (10**6, 0),
        (2**32 * 10**6 - 1, 0),
        (2**32 * 10**6, 8),
        (2**64 - 1, 8),
    ],
)
def test_report__price__must_be_one_tick_and_below_two_to_the_32(venue: Venue, price_e8: int, code: int) -> None:
    assert judge(venue, Report(price_e8=price_e8), publish_time_s=T) == code


def test_report__several_guards_failed__gives_the_first(venue: Venue) -> None:
    """UNKNOWN_MARKET is asked first, then by number."""
    flaws: list[tuple[dict[str, Any], int, int]] = [
        ({"market": 7, "price_e8": 0, "session": 9}, T + 1, 7),
        ({"price_e8": 0, "session": 9}, T + 1, 1),
        ({"price_e8": 1, "confidence_e8": 5, "session": 9}, T + 1, 2),
        ({"price_e8": 1, "confidence_e8": 5, "session": 9}, T - 61, 4),
        ({"price_e8": 1, "confidence_e8": 5, "session": 9}, T, 5),
        ({"price_e8": 1, "session": 9}, T, 6),
        ({"price_e8": 1}, T, 8),
    ]
    assert [judge(venue, Report(**changes), publish_time_s=time_s) for changes, time_s, _ in flaws] == [
        code for _, _, code in flaws
    ]


@pytest.mark.parametrize(("lot_exponent", "ticks"), [(0, 123_456_789), (2, 1_234_567), (6, 123)])
def test_report__lot_exponent__sets_the_ticks(lot_exponent: int, ticks: int) -> None:
    """123.456789 USD in ticks of 10^(k-6) USD."""
    venue = Venue.open(n_markets=0, deposit_quote=0)
    venue.chain.list_market(1, RULES.pack(), lot_exponent=lot_exponent)

    assert judge(venue, Report(price_e8=12_345_678_900), publish_time_s=T) == 0

    assert venue.price().external_ticks == ticks


# Sources.


def add_source(venue: Venue, source_id: int = 1) -> bytes:
    """Deploy a second SignedPriceSource under STRANGER alone; return its domain separator."""
    first = venue.chain.addresses["SignedPriceSource"]
    address = venue.chain.create("SignedPriceSource", GOVERNOR, [address_of(STRANGER)], 1)
    domain = venue.chain.price_domain_separator
    venue.chain.addresses["SignedPriceSource"] = first
    venue.chain.call("PriceOracle", "set_source", source_id, address, sender=GOVERNOR)
    event = venue.chain.events()[0]
    assert (event.name, event.args) == ("SourceSet", {"source_id": source_id, "source": address.lower()})
    return domain


@pytest.mark.parametrize("source_id", [1, 255])
def test_source__second_signed_one__prices_its_own_market(venue: Venue, source_id: int) -> None:
    domain = add_source(venue, source_id)
    venue.chain.list_market(5, RULES.pack(), source_id=source_id)
    evidence = build_evidence(
        [Report(market=5, price_e8=3 * USD)], publish_time_s=T, domain_separator=domain, signers=[STRANGER],
        source_id=source_id,
    )  # fmt: skip

    settled = venue.settle(evidence=bytes(evidence))

    assert [event["external_ticks"] for event in settled.named("ReportAccepted")] == [300]


def test_source__second_one__cannot_report_for_markets_of_the_first(venue: Venue) -> None:
    """Whoever runs source 1 must not price what source 0 prices, nor the other way round."""
    domain = add_source(venue)
    venue.chain.list_market(5, RULES.pack(), source_id=1)
    reports = [Report(market=1), Report(market=5)]
    evidence = build_evidence(reports, publish_time_s=T, domain_separator=domain, signers=[STRANGER], source_id=1)

    for sent, accepted, ignored in ((bytes(evidence), 5, 1), (venue.evidence(reports), 1, 5)):
        settled = venue.settle(evidence=sent)
        assert [event["market"] for event in settled.named("ReportAccepted")] == [accepted]
        assert [(event["market"], event["code"]) for event in settled.named("ReportIgnored")] == [
            (ignored, ReportCode.UNKNOWN_MARKET)
        ]


def test_source__evidence_of_the_first_under_the_name_of_the_second__reverts(venue: Venue) -> None:
    """Byte 0 is hashed into every leaf, and each source has its own domain and publishers."""
    add_source(venue)
    evidence = venue.evidence([Report()])

    with pytest.raises(Exception, match=r"source: (not a publisher|signer order)"):
        venue.settle(evidence=evidence[:2] + b"\x01" + evidence[3:])


def test_source__leaves_of_another_id_signed_here__revert(venue: Venue) -> None:
    evidence = venue.evidence([Report()], source_id=1)

    with refused("source: proof"):
        venue.settle(evidence=evidence[:2] + b"\x00" + evidence[3:])


@pytest.mark.parametrize("source_id", [1, 7, 255])
def test_source__unknown_id__reverts(venue: Venue, source_id: int) -> None:
    with refused("source: unknown"):
        venue.settle(evidence=venue.evidence([Report()], source_id=source_id))


@pytest.mark.parametrize(
    ("source_id", "source", "reason"),
    [
        (0, address_of(STRANGER), "source: taken"),
        (256, address_of(STRANGER), "source: out of range"),
        (2**256 - 1, address_of(STRANGER), "source: out of range"),
        (1, ZERO_ADDRESS, "wiring: zero address"),
    ],
)
def test_set_source__bad_argument__reverts(venue: Venue, source_id: int, source: str, reason: str) -> None:
    with refused(reason):
        venue.chain.call("PriceOracle", "set_source", source_id, source, sender=GOVERNOR)


def test_set_source__named_once__is_never_replaced(venue: Venue) -> None:
    add_source(venue)

    with refused("source: taken"):
        venue.chain.call("PriceOracle", "set_source", 1, address_of(STRANGER), sender=GOVERNOR)


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_oracle__wired_to_zero__is_not_deployed(venue: Venue, place: int) -> None:
    arguments = [GOVERNOR, venue.chain.addresses["SignedPriceSource"], *[address_of(STRANGER)] * 3]
    arguments[place] = ZERO_ADDRESS

    with refused("wiring: zero address"):
        venue.chain.create("PriceOracle", *arguments)


@pytest.mark.parametrize("damage", [b"\x00", b"\x00\x00", b"\x00\x05ab", b"\xff\xff", b"\x00\x00\x01"])
def test_update__evidence_that_does_not_end_with_a_section__reverts(venue: Venue, damage: bytes) -> None:
    with refused("source: length"):
        venue.settle(evidence=venue.evidence([Report()]) + damage)


def test_update__called_by_anybody_else__reverts(venue: Venue) -> None:
    with refused("caller: not clearinghouse"):
        venue.chain.call("PriceOracle", "update", b"", 0, T)
