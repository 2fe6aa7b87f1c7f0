"""Publishers as processes' cores, over HTTP, and the evidence that comes of them, judged by the domain's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import httpx
import pytest

from afterbell.adapters.history import read_bundled_bars
from afterbell.adapters.publishers import (
    HttpRootFetcher,
    LastTimeBroken,
    LastTimeFile,
    build_publisher_app,
    format_signed_root,
    parse_signed_root,
)
from afterbell.domain.evidence import PriceReport, build_root, decode_evidence, split_sections
from afterbell.domain.oracle import OracleMarket, OracleState, SignedSource, compute_external_ticks, observe
from afterbell.domain.session import Session
from afterbell.keepers.collection import PriceCollector, PricesUnavailable, PublisherUnavailable
from afterbell.keepers.history import PriceHistory, build_history
from afterbell.keepers.publisher import Publisher, SignedRoot, TimeRefused
from afterbell.signing.keys import SigningKey, recover
from afterbell.signing.typed_data import PriceRoot, digest, price_domain

SYMBOLS = ("AAPL", "MSFT", "IBM", "GOOG", "TSLA")
MARKET_IDS = {symbol: index + 1 for index, symbol in enumerate(SYMBOLS)}
DOMAIN = price_domain(31337, bytes.fromhex("5f" * 20))
CENTS = {market_id: OracleMarket(ticks_per_usd=100, max_confidence_ppm=20_000) for market_id in MARKET_IDS.values()}
KEYS = tuple(SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
PUBLISHERS = frozenset(key.address for key in KEYS)


class MemoryTime:
    """LastTimeStore in memory."""

    def __init__(self) -> None:
        self.time_s = 0

    def read_s(self) -> int:
        return self.time_s

    def write_s(self, time_s: int) -> None:
        self.time_s = time_s


class BrokenFetcher:
    """A publisher that fails as told."""

    def __init__(self, problem: str) -> None:
        self.name = "http://broken"
        self._problem = problem

    async def fetch_root(self, time_s: int) -> SignedRoot:
        raise PublisherUnavailable(self._problem)


class FixedFetcher:
    """A publisher that answers what it is given."""

    def __init__(self, name: str, signed: SignedRoot) -> None:
        self.name = name
        self._signed = signed

    async def fetch_root(self, time_s: int) -> SignedRoot:
        return self._signed


@pytest.fixture(scope="module")
def history() -> PriceHistory:
    return build_history(SYMBOLS, read_bundled_bars())


def _publisher(history: PriceHistory, key: SigningKey = KEYS[0], store: MemoryTime | None = None) -> Publisher:
    return Publisher(history=history, market_ids=MARKET_IDS, key=key, domain=DOMAIN, last_time=store or MemoryTime())


def _fetcher(publisher: Publisher) -> HttpRootFetcher:
    app = build_publisher_app(publisher)
    return HttpRootFetcher(f"http://{publisher.address.hex()[:8]}", http_transport=httpx.ASGITransport(app=app))


def _collector(fetchers: Sequence[object], **changes: int) -> PriceCollector:
    return PriceCollector(
        fetchers=fetchers,  # type: ignore[arg-type]
        publishers=PUBLISHERS,
        threshold=2,
        domain=DOMAIN,
        **changes,
    )


def observed(evidence: bytes, time_s: int) -> list[tuple[int, int]]:
    """Return (market, ticks) of every report that passes the guards of its source."""
    source = SignedSource(publishers=PUBLISHERS, threshold=2, domain_separator=DOMAIN.separator(), recover=recover)
    oracle = OracleState(markets=dict(CENTS), sources={0: source})
    kept, ignored = observe(oracle, split_sections(evidence), time_s)
    assert not ignored
    return [
        (market, compute_external_ticks(oracle.primaries[market].price_e8, CENTS[market])) for market in sorted(kept)
    ]


def test_publisher__at_the_open__signs_the_root_of_every_market(history: PriceHistory) -> None:
    """2005-03-01 opens: AAPL 44.99, MSFT 25.20, IBM 92.64, GOOG 189.29 (bundled CSV)."""
    signed = _publisher(history).sign_root(history.start_s)

    assert [(report.market_id, report.price_e8) for report in signed.reports][:4] == [
        (1, 4_499_000_000),
        (2, 2_520_000_000),
        (3, 9_264_000_000),
        (4, 18_929_000_000),
    ]
    assert {report.session for report in signed.reports} == {Session.REGULAR}
    assert signed.root == build_root(signed.reports, history.start_s)
    root_digest = digest(PriceRoot(root=signed.root, publish_time_s=history.start_s), DOMAIN.separator())
    assert recover(root_digest, signed.r, signed.vs) == KEYS[0].address


def test_publisher__three_readings__agree_on_the_root(history: PriceHistory) -> None:
    other_reading = build_history(SYMBOLS, read_bundled_bars())

    roots = {
        _publisher(reading, key).sign_root(history.start_s + 12_345).root
        for reading, key in ((history, KEYS[0]), (other_reading, KEYS[1]))
    }

    assert len(roots) == 1


def test_publisher__time_before_its_last__is_refused_also_after_a_restart(history: PriceHistory) -> None:
    store = MemoryTime()
    publisher = _publisher(history, store=store)
    publisher.sign_root(history.start_s + 600)

    with pytest.raises(TimeRefused, match="the last one signed"):
        publisher.sign_root(history.start_s)
    with pytest.raises(TimeRefused, match="the last one signed"):
        _publisher(history, store=store).sign_root(history.start_s)


def test_publisher__same_time_again__gives_the_same_bytes(history: PriceHistory) -> None:
    publisher = _publisher(history)

    assert publisher.sign_root(history.start_s) == publisher.sign_root(history.start_s)


@pytest.mark.parametrize("offset_s", [-1, 10**9])
def test_publisher__time_outside_the_history__is_refused(history: PriceHistory, offset_s: int) -> None:
    with pytest.raises(TimeRefused, match="history covers"):
        _publisher(history).sign_root(history.start_s + offset_s)


def test_publisher__split_day__reports_halted_at_the_close_before() -> None:
    history = build_history(SYMBOLS, read_bundled_bars(), start=date(2005, 2, 24))
    monday_open_s = 1_109_601_000  # 2005-02-28 14:30 UTC

    signed = _publisher(history).sign_root(monday_open_s)

    assert signed.reports[0] == PriceReport(market_id=1, session=Session.HALTED, price_e8=8_899_000_000)
    assert signed.reports[2].session == Session.REGULAR


def test_last_time_file__broken__refuses_to_guess(tmp_path: Path) -> None:
    store = LastTimeFile(tmp_path / "publisher-0.last")
    assert store.read_s() == 0
    store.write_s(1_109_687_400)
    assert store.read_s() == 1_109_687_400

    (tmp_path / "publisher-0.last").write_text("garbage")
    with pytest.raises(LastTimeBroken, match="one number of seconds"):
        store.read_s()


async def _get(publisher: Publisher, query: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=build_publisher_app(publisher))
    async with httpx.AsyncClient(transport=transport, base_url="http://publisher") as client:
        return await client.get(f"/root{query}")


@pytest.mark.parametrize("query", ["", "?time_s=", "?time_s=-1", "?time_s=1e9", "?time_s=abc", "?time_s=1109687400.5"])
@pytest.mark.anyio
async def test_publisher_http__malformed_time__answers_400(history: PriceHistory, query: str) -> None:
    assert (await _get(_publisher(history), query)).status_code == 400


@pytest.mark.anyio
async def test_publisher_http__time_it_will_not_sign__answers_409_saying_why(history: PriceHistory) -> None:
    response = await _get(_publisher(history), "?time_s=5")

    assert response.status_code == 409
    assert "history covers" in response.json()["error"]


def test_signed_root__json_and_back__is_the_same(history: PriceHistory) -> None:
    signed = _publisher(history).sign_root(history.start_s)

    assert parse_signed_root(format_signed_root(signed)) == signed


@pytest.mark.anyio
async def test_collector__three_agree__evidence_passes_the_oracles_rule(history: PriceHistory) -> None:
    """Two signatures suffice; AAPL at 44.99 USD is 4,499 ticks of a cent."""
    collector = _collector([_fetcher(_publisher(history, key)) for key in KEYS])

    prices = await collector.collect(history.start_s)

    assert observed(prices.evidence, history.start_s)[:4] == [(1, 4_499), (2, 2_520), (3, 9_264), (4, 18_929)]
    (section,) = split_sections(prices.evidence)
    assert len(decode_evidence(section).signatures) == 2


@pytest.mark.parametrize("dead", [0, 1, 2])
@pytest.mark.anyio
async def test_collector__one_publisher_dead__two_of_three_suffice(history: PriceHistory, dead: int) -> None:
    fetchers: list[object] = [_fetcher(_publisher(history, key)) for key in KEYS]
    fetchers[dead] = BrokenFetcher("ConnectError")

    prices = await _collector(fetchers).collect(history.start_s)

    assert len(observed(prices.evidence, history.start_s)) == 5


@pytest.mark.anyio
async def test_collector__two_publishers_dead__says_what_each_answered(history: PriceHistory) -> None:
    fetchers = [_fetcher(_publisher(history)), BrokenFetcher("ConnectError"), BrokenFetcher("HTTP 500")]

    with pytest.raises(PricesUnavailable, match=r"required 2 of 3 .*ConnectError.*HTTP 500") as caught:
        await _collector(fetchers).collect(history.start_s)

    assert "1 agree on root" in str(caught.value)


@pytest.mark.anyio
async def test_collector__one_publisher_disagrees__is_outvoted(history: PriceHistory) -> None:
    reports = (PriceReport(market_id=1, session=Session.REGULAR, price_e8=1),)
    root = build_root(reports, history.start_s)
    root_digest = digest(PriceRoot(root=root, publish_time_s=history.start_s), DOMAIN.separator())
    r, vs = KEYS[0].sign(root_digest)
    lie = SignedRoot(publisher=KEYS[0].address, time_s=history.start_s, root=root, reports=reports, r=r, vs=vs)
    fetchers = [FixedFetcher("liar", lie), *(_fetcher(_publisher(history, key)) for key in KEYS[1:])]

    prices = await _collector(fetchers).collect(history.start_s)

    assert observed(prices.evidence, history.start_s)[0] == (1, 4_499)


@pytest.mark.anyio
async def test_collector__one_publisher_twice__does_not_count_twice(history: PriceHistory) -> None:
    fetchers = [_fetcher(_publisher(history)), _fetcher(_publisher(history)), BrokenFetcher("ConnectError")]

    with pytest.raises(PricesUnavailable, match="different publishers"):
        await _collector(fetchers).collect(history.start_s)


@pytest.mark.anyio
async def test_collector__outsider_signs__is_left_out(history: PriceHistory) -> None:
    outsider = SigningKey(bytes([9]) * 32)
    fetchers = [_fetcher(_publisher(history, outsider)), _fetcher(_publisher(history, KEYS[1]))]

    with pytest.raises(PricesUnavailable, match="registered publisher"):
        await _collector(fetchers).collect(history.start_s)


@pytest.mark.anyio
async def test_collector__leaves_that_do_not_hash_to_the_root__are_left_out(history: PriceHistory) -> None:
    signed = _publisher(history).sign_root(history.start_s)
    tampered = SignedRoot(
        publisher=signed.publisher,
        time_s=signed.time_s,
        root=signed.root,
        reports=(PriceReport(market_id=1, session=Session.REGULAR, price_e8=1), *signed.reports[1:]),
        r=signed.r,
        vs=signed.vs,
    )
    fetchers = [FixedFetcher("tampered", tampered), _fetcher(_publisher(history, KEYS[1]))]

    with pytest.raises(PricesUnavailable, match="do not hash"):
        await _collector(fetchers).collect(history.start_s)
