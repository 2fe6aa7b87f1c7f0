"""Measure gas and calldata per settled fill on a real anvil, steady state, whole transactions.

Accounts are funded by real deposits, prices arrive by a batch with signed evidence; a first round of every scenario
opens the positions and a second one is measured: receipt.gasUsed of `settle()`, which includes the 21,000 intrinsic gas
and the calldata. Beside each runs its floor (floor.py) on the same anvil: same calldata, same signatures, as many cold
words.
Must not: write storage by any other way than transactions.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from afterbell.bench.around import measure_around
from afterbell.bench.floor import build_creation_code, build_floor_runtime
from afterbell.bench.local_venue import LocalVenue, Mined, build_settle_calldata
from afterbell.bench.measurement import Measurement, compare
from afterbell.bench.scenarios import (
    FULL_SUBACCOUNT,
    Scenario,
    Venue,
    build_keys,
    build_payload,
    build_scenarios,
    compute_signature_offsets,
    session_key_of,
)
from afterbell.domain.batch import Payload, encode
from afterbell.domain.errors import InvariantBroken
from afterbell.signing.keys import SigningKey

PRICE_TICKS: Final = 10_000
DEPOSIT_QUOTE: Final = 10**10
N_ROUNDS: Final = 2
_N_CALL_HEAD_BYTES: Final = 4 + 3 * 32


def settle_whole(venue: LocalVenue, scenario: Scenario, payload: Payload) -> Mined:
    """Settle a batch in which nothing may fail. Raises: InvariantBroken."""
    settled = venue.settle(encode(payload))
    if settled.codes:
        raise InvariantBroken(f"{scenario.name}: required fills without failure, found {settled.codes.hex()}")
    return settled


def create_floor(venue: LocalVenue, scenario: Scenario, payload: Payload) -> bytes:
    """Deploy the floor of a scenario; return its address."""
    offsets = [_N_CALL_HEAD_BYTES + offset for offset in compute_signature_offsets(payload)]
    return venue.create(build_creation_code(build_floor_runtime(offsets, scenario.n_words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GasOfScenario:
    """What one scenario cost."""

    scenario: Scenario
    gas: int
    floor_gas: int
    n_calldata_bytes: int


def measure_gas(seed: int) -> list[Measurement]:
    """Return gas and calldata bytes per fill of every scenario."""
    measurements: list[Measurement] = []
    calldata: list[Measurement] = []
    for measured in measure_scenarios(seed):
        scenario, n_fills = measured.scenario, len(measured.scenario.fills)
        measurements.append(
            compare(
                f"gas.{scenario.name}",
                round(measured.gas / n_fills, 1),
                "gas/fill",
                reference=round(measured.floor_gas / n_fills, 1),
                limit=scenario.limit_gas,
                beside="same calldata, ecrecover an order, one cold SSTORE a changed word; nothing else",
                quoted=scenario.quoted,
            )
        )
        n_floor_bytes = _count_irreducible_bytes(scenario)
        calldata.append(
            compare(
                f"calldata.{scenario.name}",
                round(measured.n_calldata_bytes / n_fills, 1),
                "bytes/fill",
                reference=round(n_floor_bytes / n_fills, 1),
                limit=scenario.limit_calldata_bytes,
                beside="64 bytes of signature an order, 8 a fill: what cannot be compressed",
            )
        )
    gas_around, store_gas = measure_around(seed)
    around = [
        compare(name, gas, "gas", reference=store_gas, beside="a bare transaction that writes one new word")
        for name, gas in gas_around.items()
    ]
    return measurements + calldata + around


def _count_irreducible_bytes(scenario: Scenario) -> int:
    return 64 * len(scenario.orders) + 8 * len(scenario.fills)


def measure_scenarios(seed: int) -> list[GasOfScenario]:
    """Return what every scenario cost; those of the first trade's scope on a venue without margin tiers."""
    found = []
    for is_full in (False, True):
        with open_venue(seed, is_full=is_full) as (venue, ready):
            found += [_measure(venue, scenario, keys, signing) for scenario, keys, signing in ready]
    return found


@contextmanager
def open_venue(
    seed: int, *, is_full: bool = False
) -> Iterator[tuple[LocalVenue, list[tuple[Scenario, list[SigningKey], Venue]]]]:
    """Yield a fresh venue with prices; and every scenario with keys of funded accounts and what signing needs."""
    source = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="afterbell-bench-") as folder,
        LocalVenue.start(Path(folder), is_tiered=is_full) as venue,
    ):
        scenarios = [one for one in build_scenarios(venue.market_ids) if one.is_full == is_full]
        keys_of = {scenario.name: build_keys(source, scenario.n_traders) for scenario in scenarios}
        for scenario in scenarios:
            for key in keys_of[scenario.name] if not scenario.is_full else ():
                venue.deposit(key, DEPOSIT_QUOTE)
        for scenario in scenarios:
            if scenario.is_full:
                for key in keys_of[scenario.name]:
                    venue.deposit(key, DEPOSIT_QUOTE, subaccount=FULL_SUBACCOUNT)
                    venue.link_key(key, session_key_of(key), subaccount=FULL_SUBACCOUNT)
        venue.set_prices(dict.fromkeys(venue.market_ids, PRICE_TICKS))
        signing = Venue(
            domain_separator=venue.domain_separator,
            epochs=dict.fromkeys(venue.market_ids, 1),
            limit_ticks=dict.fromkeys(venue.market_ids, PRICE_TICKS),
        )
        yield venue, [(scenario, keys_of[scenario.name], signing) for scenario in scenarios]


def _measure(venue: LocalVenue, scenario: Scenario, keys: list[SigningKey], signing: Venue) -> GasOfScenario:
    gas = 0
    calldata = b""
    floor = b""
    for market_id in scenario.held_market_ids:
        venue.set_prices(dict.fromkeys(venue.market_ids, PRICE_TICKS))
        held = build_payload(scenario.in_market(market_id), keys, signing, venue.next_header(), first_seq=1)
        settle_whole(venue, scenario, held)
    if not scenario.is_full:
        venue.set_prices(dict.fromkeys(venue.market_ids, PRICE_TICKS))
    for number in range(N_ROUNDS):
        payload = build_payload(scenario, keys, signing, venue.next_header(), first_seq=1_000 * (number + 1))
        if scenario.is_full:
            prices = dict.fromkeys(scenario.priced_market_ids, PRICE_TICKS)
            rows, evidence = venue.build_prices(prices, payload.header.matched_at_s, is_funding=True)
            payload = replace(payload, rows=rows, evidence=evidence)
        calldata = build_settle_calldata(venue.head, encode(payload))
        gas = settle_whole(venue, scenario, payload).gas_used
        floor = floor or create_floor(venue, scenario, payload)
    venue.transact(venue.sequencer, floor, calldata)
    return GasOfScenario(
        scenario=scenario,
        gas=gas,
        floor_gas=venue.transact(venue.sequencer, floor, calldata).gas_used,
        n_calldata_bytes=len(calldata),
    )
