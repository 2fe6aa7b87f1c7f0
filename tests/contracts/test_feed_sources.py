"""Sources that read feeds of others: every answer at its edge, fees to the wei, and no feed that stops a batch.

Decimals by hand: 187.25 USD is 18,725,000,000 in 1e-8. Data Streams carry 18 decimals, Pyth an exponent.
"""

from __future__ import annotations

import pytest

from afterbell.domain.codes import ReportCode
from afterbell.domain.evidence import join_sections
from afterbell.signing.keys import SigningKey
from tests.contracts.feeds import (
    create_aggregator,
    create_pyth,
    create_streams,
    pyth_update,
    read_reports,
    refresh,
    report_v8,
    report_v11,
    selector,
    set_round,
    sign_stream,
)
from tests.contracts.venue import RULES, Report, T, Venue, refused
from tests.support.chain import GOVERNOR, OUTSIDER, ZERO_ADDRESS, Chain, Reverted

FEED = b"\xfe" * 32
USD = 10**8
NO_SESSION = 256
V8, V11 = b"\x00\x08" + b"\xab" * 30, b"\x00\x0b" + b"\xab" * 30
US_HOURS = [0, 1, 2, 3, 4, 5]
"""24/5 streams: unknown, pre, regular, post, overnight, closed."""
STANDARD = [0, 5, 2]
"""Standard streams: unknown, closed, open."""


@pytest.fixture
def chain() -> Chain:
    return Chain.deploy()


def open_pyth(chain: Chain, fee_wei: int = 0) -> Chain:
    pyth = create_pyth(chain, fee_wei=fee_wei)
    chain.create("PythSource", GOVERNOR, pyth)
    chain.call("PythSource", "set_feed", 1, FEED, sender=GOVERNOR)
    return chain


# Pyth.


@pytest.mark.parametrize(
    ("price", "exponent", "price_e8"),
    [
        (18_725_000, -5, 18_725_000_000),
        (187, 0, 18_700_000_000),
        (187_250_000_000_000, -12, 18_725_000_000),
        (18_725_000_009, -8, 18_725_000_009),
        (19_999, -12, 1),  # rounded down
        (9_999, -12, 0),
        (1, 1, 0),
        (1, 2, 0),
        (1, -13, 0),
        (1, -20, 0),
        (0, -5, 0),
        (-1, -5, 0),
        (2**63 - 1, 0, (2**63 - 1) * USD),
    ],
)
def test_pyth__price_and_exponent__in_1e8(chain: Chain, price: int, exponent: int, price_e8: int) -> None:
    refresh(open_pyth(chain), [pyth_update(FEED, price, T - 3, exponent=exponent)], 0)

    assert read_reports(chain, "PythSource", [1]) == [(1, NO_SESSION, price_e8, 0, T - 3)]


def test_pyth__confidence__rounded_up(chain: Chain) -> None:
    refresh(open_pyth(chain), [pyth_update(FEED, 10**12, T, conf=10_001, exponent=-12)], 0)

    assert read_reports(chain, "PythSource", [1])[0][3] == 2


def test_pyth__feed_nobody_set_or_updated__reads_zero_and_stops_nobody(chain: Chain) -> None:
    refresh(open_pyth(chain), [pyth_update(FEED, 5 * 10**5, T)], 0)
    chain.call("PythSource", "set_feed", 3, b"\x01" * 32, sender=GOVERNOR)

    assert read_reports(chain, "PythSource", [2, 1, 3]) == [
        (2, NO_SESSION, 0, 0, 0),
        (1, NO_SESSION, 5 * USD, 0, T),
        (3, NO_SESSION, 0, 0, 0),
    ]


@pytest.mark.parametrize(("sent_wei", "back_wei"), [(14, 0), (15, 1), (1_000, 986)])
def test_pyth__fee_of_two_updates__is_paid_and_the_rest_returned(chain: Chain, sent_wei: int, back_wei: int) -> None:
    """7 wei an update."""
    open_pyth(chain, fee_wei=7)
    chain.evm.set_balance(OUTSIDER, 10_000)

    refresh(chain, [pyth_update(FEED, 1, T), pyth_update(b"\x02" * 32, 1, T)], sent_wei)

    assert chain.evm.get_balance(OUTSIDER) == 10_000 - sent_wei + back_wei
    assert chain.evm.get_balance(chain.addresses["PythSource"]) == 0
    assert chain.evm.get_balance(chain.call("PythSource", "PYTH")) == 14


@pytest.mark.parametrize("sent_wei", [0, 6])
def test_pyth__fee_too_small__reverts(chain: Chain, sent_wei: int) -> None:
    open_pyth(chain, fee_wei=7)
    chain.evm.set_balance(OUTSIDER, 10_000)

    with refused("source: fee"):
        refresh(chain, [pyth_update(FEED, 1, T)], sent_wei)


def test_pyth__ether_forced_in__leaves_with_the_next_refresh(chain: Chain) -> None:
    open_pyth(chain)
    chain.evm.set_balance(chain.addresses["PythSource"], 99)

    refresh(chain, [], 0)

    assert chain.evm.get_balance(chain.addresses["PythSource"]) == 0


def test_pyth__older_update__does_not_take_the_price_back(chain: Chain) -> None:
    refresh(open_pyth(chain), [pyth_update(FEED, 200_000, T)], 0)
    refresh(chain, [pyth_update(FEED, 100_000, T - 1)], 0)

    assert read_reports(chain, "PythSource", [1])[0][2:] == (2 * USD, 0, T)


# Chainlink.


@pytest.mark.parametrize(
    ("decimals", "answer", "price_e8"),
    [
        (8, 18_725_000_000, 18_725_000_000),
        (18, 187_250_000_000_000_000_000, 18_725_000_000),
        (0, 187, 18_700_000_000),
        (18, 10**10 - 1, 0),
        (8, 0, 0),
        (8, -1, 0),
        (8, 2**255 - 1, 2**128 - 1),
    ],
)
def test_chainlink__answer_and_decimals__in_1e8(chain: Chain, decimals: int, answer: int, price_e8: int) -> None:
    chain.create("ChainlinkSource", GOVERNOR)
    feed = create_aggregator(chain, decimals)
    chain.call("ChainlinkSource", "set_feed", 1, feed, sender=GOVERNOR)
    set_round(chain, feed, answer, T - 9)

    assert read_reports(chain, "ChainlinkSource", [1]) == [(1, NO_SESSION, price_e8, 0, T - 9)]


def test_chainlink__round_never_updated_or_no_contract__reads_zero(chain: Chain) -> None:
    chain.create("ChainlinkSource", GOVERNOR)
    feed = create_aggregator(chain)
    chain.call("ChainlinkSource", "set_feed", 1, feed, sender=GOVERNOR)
    set_round(chain, feed, 5 * USD, 0)

    assert read_reports(chain, "ChainlinkSource", [1, 2]) == [(1, NO_SESSION, 0, 0, 0), (2, NO_SESSION, 0, 0, 0)]


def test_chainlink__feed_of_19_decimals__is_refused(chain: Chain) -> None:
    chain.create("ChainlinkSource", GOVERNOR)
    chain.call("ChainlinkSource", "set_feed", 1, create_aggregator(chain, 18), sender=GOVERNOR)

    with refused("source: decimals"):
        chain.call("ChainlinkSource", "set_feed", 2, create_aggregator(chain, 19), sender=GOVERNOR)


# Data Streams.


@pytest.mark.parametrize(("schema", "build"), [(V8, report_v8), (V11, report_v11)])
@pytest.mark.parametrize(
    ("table", "status", "session"),
    [
        *((US_HOURS, status, status) for status in range(6)),
        (US_HOURS, 6, 0),
        (STANDARD, 1, 5),
        (STANDARD, 2, 2),
        (STANDARD, 3, 0),
        ([7] * 9, 8, 7),
        ([7] * 9, 9, 0),
        ([7] * 9, 2**32 - 1, 0),
    ],
)
def test_streams__status__means_what_the_feeds_table_says(
    chain: Chain, schema: bytes, build: object, table: list[int], status: int, session: int
) -> None:
    create_streams(chain)
    chain.call("ChainlinkStreamsSource", "set_feed", 4, schema, table, sender=GOVERNOR)
    data = build(schema, 187_250_000_000_000_000_000, T - 2, status)  # type: ignore[operator]

    chain.call("ChainlinkStreamsSource", "refresh", sign_stream(data))

    assert read_reports(chain, "ChainlinkStreamsSource", [4]) == [(4, session, 18_725_000_000, 0, T - 2)]


@pytest.mark.parametrize("mid", [0, -1, 10**10 - 1, 2**64 * 10**10])
def test_streams__mid_that_is_no_price__is_refused(chain: Chain, mid: int) -> None:
    """A fresh report of price 0 is a documented hazard; 2^64 in 1e-8 USD is the first that does not fit."""
    create_streams(chain)

    with refused("source: no price"):
        chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v8(V8, mid, T, 2)))
    chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v8(V8, 10**10, T, 2)))
    chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v8(V8, 2**64 * 10**10 - 1, T + 1, 2)))


@pytest.mark.parametrize("later_s", [-1, 0])
def test_streams__price_seen_earlier__is_refused(chain: Chain, later_s: int) -> None:
    """Last seen times of streams may go backward."""
    create_streams(chain)
    chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v11(V11, 10**18, T, 2)))

    with refused("source: not newer"):
        chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v11(V11, 10**18, T + later_s, 2)))


def test_streams__price_older_than_its_report__has_its_own_age(chain: Chain) -> None:
    create_streams(chain)
    chain.call("ChainlinkStreamsSource", "set_feed", 1, V8, STANDARD, sender=GOVERNOR)
    chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v8(V8, 10**18, T - 400, 2, observed_s=T)))
    assert read_reports(chain, "ChainlinkStreamsSource", [1])[0][4] == T - 400

    chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v8(V8, 10**18, T + 9, 2, observed_s=T)))
    assert read_reports(chain, "ChainlinkStreamsSource", [1])[0][4] == T


def test_streams__signed_by_another__is_not_verified(chain: Chain) -> None:
    create_streams(chain)

    with pytest.raises(Reverted, match="bad verification"):
        chain.call("ChainlinkStreamsSource", "refresh", sign_stream(report_v8(V8, 1, T, 2), SigningKey(b"\x01" * 32)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "source: length"),
        (b"\x00\x08" * 15, "source: length"),
        (report_v8(V8, 10**18, T, 2)[:-32], "source: length"),
        (report_v8(V8, 10**18, T, 2) + bytes(32), "source: length"),
        (report_v11(V11, 10**18, T, 2)[:-32], "source: length"),
        (report_v8(b"\x00\x03" + bytes(30), 10**18, T, 2), "source: feed"),
    ],
)
def test_streams__data_of_another_shape__is_refused(chain: Chain, data: bytes, reason: str) -> None:
    create_streams(chain)

    with refused(reason):
        chain.call("ChainlinkStreamsSource", "refresh", sign_stream(data))


def test_streams__table__takes_sessions_alone(chain: Chain) -> None:
    create_streams(chain)

    with refused("calendar: session"):
        chain.call("ChainlinkStreamsSource", "set_feed", 1, V8, [0, 9], sender=GOVERNOR)
    with refused("source: feed"):
        chain.call("ChainlinkStreamsSource", "set_feed", 1, b"\x00\x09" + bytes(30), [], sender=GOVERNOR)


# All.


@pytest.mark.parametrize("source", ["PythSource", "ChainlinkSource", "ChainlinkStreamsSource"])
@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (b"", "source: length"),
        (b"\x01\x01", "source: length"),
        (b"\x01\x00\x01", "source: reports"),
        (b"\x01\x21" + bytes(33), "source: reports"),
        (b"\x01\x02\x01", "source: length"),
        (b"\x01\x01\x01\x01", "source: length"),
    ],
)
def test_feeds__malformed_evidence__reverts(chain: Chain, source: str, evidence: bytes, reason: str) -> None:
    chain.create("ChainlinkSource", GOVERNOR)
    create_streams(open_pyth(chain))

    with refused(reason):
        chain.call(source, "read_reports", evidence)


def test_feeds__named_once_in_range_and_by_the_governor__or_refused(chain: Chain) -> None:
    chain.create("ChainlinkSource", GOVERNOR)
    create_streams(open_pyth(chain))
    feed = create_aggregator(chain)
    named: dict[str, list[object]] = {
        "PythSource": [FEED],
        "ChainlinkSource": [feed],
        "ChainlinkStreamsSource": [V8, []],
    }
    for source, arguments in named.items():
        assert chain.call(source, "is_ageless_while_closed")
        for market in (0, 33):
            with refused("market: out of range"):
                chain.call(source, "set_feed", market, *arguments, sender=GOVERNOR)
        with refused("caller: not governor"):
            chain.call(source, "set_feed", 5, *arguments)
        chain.call(source, "set_feed", 5, *arguments, sender=GOVERNOR)
        with refused("source: feed"):
            chain.call(source, "set_feed", 5, *arguments, sender=GOVERNOR)
    with refused("source: feed"):
        chain.call("PythSource", "set_feed", 6, bytes(32), sender=GOVERNOR)
    with refused("source: feed"):
        chain.call("ChainlinkSource", "set_feed", 6, ZERO_ADDRESS, sender=GOVERNOR)


@pytest.mark.parametrize("source", ["PythSource", "ChainlinkStreamsSource"])
def test_feeds__wired_to_nobody__are_not_deployed(chain: Chain, source: str) -> None:
    with refused("wiring: zero address"):
        chain.create(source, GOVERNOR, *([ZERO_ADDRESS, OUTSIDER] if "Streams" in source else [ZERO_ADDRESS]))


def test_feeds__price_a_market_in_a_batch__beside_signed_ones() -> None:
    """Market 1 by publishers, market 5 by Pyth: two sections of one batch. Exponent -20 is ignored."""
    venue = Venue.open(n_markets=2, is_priced=False, deposit_quote=0)
    chain = open_pyth(venue.chain)
    chain.call("PriceOracle", "set_source", 1, chain.addresses["PythSource"], sender=GOVERNOR)
    chain.list_market(5, RULES.pack(), source_id=1)
    chain.call("PythSource", "set_feed", 5, b"\x05" * 32, sender=GOVERNOR)
    refresh(chain, [pyth_update(b"\x05" * 32, 300_000, T, conf=1_500)], 0)

    settled = venue.settle(evidence=venue.evidence([Report()]) + join_sections([bytes([1, 1, 5])]))

    assert [(event["market"], event["external_ticks"]) for event in settled.named("ReportAccepted")] == [
        (1, 10_000),
        (5, 300),
    ]
    venue.wait(30)
    refresh(chain, [pyth_update(b"\x05" * 32, 1, T + 30, exponent=-20)], 0)
    settled = venue.settle(evidence=venue.evidence([Report()]) + join_sections([bytes([1, 1, 5])]))
    assert [(event["market"], event["code"]) for event in settled.named("ReportIgnored")] == [
        (5, ReportCode.NOT_POSITIVE)
    ]
    assert [event["market"] for event in settled.named("ReportAccepted")] == [1]
    assert selector("getPriceUnsafe(bytes32)").hex() == "96834ad3"
