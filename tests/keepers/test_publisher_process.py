"""`afterbell publisher` as real processes: what they sign over HTTP is evidence the oracle's rule accepts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from afterbell.adapters.keys import read_or_create_key
from afterbell.adapters.publishers import HttpRootFetcher
from afterbell.domain.evidence import split_sections
from afterbell.domain.manifest import CONTRACTS, Manifest, ManifestDomain, format_manifest
from afterbell.domain.oracle import OracleMarket, OracleState, SignedSource, compute_external_ticks, observe
from afterbell.keepers.collection import PriceCollector, PricesUnavailable
from afterbell.keepers.history import PriceHistory
from afterbell.signing.keys import SigningKey, recover
from afterbell.signing.typed_data import price_domain
from afterbell.supervisor.children import Child, start_child, stop_child, wait_for_address
from afterbell.supervisor.publisher_process import publisher_key_path
from afterbell.supervisor.state import VenueState, open_state

SOURCE = "0x" + "5f" * 20
DOMAIN = price_domain(31337, bytes.fromhex("5f" * 20))


def _write_manifest(state: VenueState) -> None:
    """Describe a deployment that publishers can read: they look at markets, chain id and the source's address."""
    addresses = dict.fromkeys(CONTRACTS, SOURCE)
    manifest = Manifest(
        version=3,
        chain_id=31337,
        genesis_s=state.history.start_s - 3_600,
        deployed_at_block=1,
        deployer=SOURCE,
        governor=SOURCE,
        guardian=SOURCE,
        announcer=SOURCE,
        sequencer=SOURCE,
        publishers=tuple("0x" + address.hex() for address in state.plan.roles.publishers),
        threshold=2,
        addresses=addresses,
        code_hashes=dict.fromkeys(CONTRACTS, "0x" + "00" * 32),
        abi_hash="0x" + "00" * 32,
        compiler="none",
        domains={"prices": ManifestDomain(name="Afterbell Prices", version="1", verifying_contract=SOURCE)},
        markets=state.plan.markets,
    )
    state.manifest_path.write_bytes(format_manifest(manifest))


@asynccontextmanager
async def _publishers(state: VenueState) -> AsyncIterator[tuple[list[Child], list[HttpRootFetcher]]]:
    children = [
        await start_child(
            f"publisher-{index}",
            ["publisher", "--index", str(index), "--data-dir", str(state.data_dir)],
            logs_dir=state.data_dir,
        )
        for index in (1, 2, 3)
    ]
    fetchers: list[HttpRootFetcher] = []
    try:
        fetchers += [HttpRootFetcher(await wait_for_address(child, 120)) for child in children]
        yield children, fetchers
    finally:
        for fetcher in fetchers:
            await fetcher.close()
        for child in children:
            await stop_child(child, 10)


def _collector(state: VenueState, fetchers: list[HttpRootFetcher]) -> PriceCollector:
    return PriceCollector(
        fetchers=fetchers,
        publishers=frozenset(state.plan.roles.publishers),
        threshold=2,
        domain=DOMAIN,
    )


def _accepted_by_the_oracle(state: VenueState, evidence: bytes, time_s: int) -> list[tuple[int, int]]:
    source = SignedSource(
        publishers=frozenset(state.plan.roles.publishers),
        threshold=2,
        domain_separator=DOMAIN.separator(),
        recover=recover,
    )
    market = OracleMarket(ticks_per_usd=100, max_confidence_ppm=10_000)
    markets = {listed.market_id: market for listed in state.plan.markets}
    oracle = OracleState(markets=markets, sources={0: source})
    kept, _ = observe(oracle, split_sections(evidence), time_s)
    return [(number, compute_external_ticks(oracle.primaries[number].price_e8, market)) for number in sorted(kept)]


@pytest.mark.anyio
async def test_three_processes__one_killed__evidence_of_the_others_is_accepted(tmp_path: Path) -> None:
    """2005-03-01, 14:30 UTC: AAPL opens at 44.99, IBM at 92.64 USD. No publisher signs for a time before its last."""
    state = open_state(tmp_path, files={}, start=None)
    _write_manifest(state)
    history: PriceHistory = state.history
    async with asyncio.timeout(180), _publishers(state) as (children, fetchers):
        collector = _collector(state, fetchers)
        prices = await collector.collect(history.start_s)
        assert _accepted_by_the_oracle(state, prices.evidence, history.start_s)[:3] == [
            (1, 4_499),
            (2, 2_520),
            (3, 9_264),
        ]

        children[0].process.kill()
        await children[0].process.wait()
        later = await collector.collect(history.start_s + 600)
        assert len(_accepted_by_the_oracle(state, later.evidence, history.start_s + 600)) == 5

        with pytest.raises(PricesUnavailable, match="the last one signed"):
            await collector.collect(history.start_s)
        async with httpx.AsyncClient(trust_env=False) as client:
            health = (await client.get(f"{fetchers[1].name}/healthz")).json()
        key = SigningKey(read_or_create_key(publisher_key_path(tmp_path, 2)))
        assert health == {"publisher": "0x" + key.address.hex(), "last_time_s": history.start_s + 600}

        assert await stop_child(children[1], 10)
        assert (tmp_path / "publisher-2.last").read_text() == f"{history.start_s + 600}\n"
