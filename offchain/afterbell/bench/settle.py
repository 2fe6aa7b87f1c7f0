"""Measure settlement: fills a second through the model, and through anvil with the real contracts.

The model runs beside a loop that only recovers the signers of the same orders with the same libsecp256k1: no model of
these rules can be faster. anvil's batches run beside the floor (floor.py) with the same calldata on the same node:
request, block and receipt are in both. Everything turn by turn in one process. Must not: count what builds and signs
the batches.
"""

from __future__ import annotations

import random
from time import perf_counter_ns
from typing import Final

from afterbell.bench.gas import create_floor, open_venue
from afterbell.bench.local_venue import LocalVenue, build_settle_calldata
from afterbell.bench.measurement import Measurement, compare
from afterbell.bench.scenarios import (
    Scenario,
    Venue,
    account_of,
    build_keys,
    build_payload,
    build_scenarios,
)
from afterbell.domain.batch import BatchHeader, Payload, PriceRow, encode
from afterbell.domain.digests import DOMAIN_NAME, build_domain_separator
from afterbell.domain.errors import InvariantBroken
from afterbell.domain.prices import StatedMarket, move_markets
from afterbell.domain.session import Session
from afterbell.domain.settlement import ChainState, apply_batch, apply_deposit, list_market, set_rules
from afterbell.domain.words import RulesWord
from afterbell.signing.keys import SigningKey, recover
from afterbell.signing.typed_data import digest

N_ROUNDS: Final = 5
MARKET_IDS: Final = (1, 2, 3)
PRICE_TICKS: Final = 10_000
DEPOSIT_QUOTE: Final = 10**12
GENESIS_S: Final = 1_110_000_000
_NS_PER_S: Final = 1_000_000_000
_SESSION_MINUTES: Final = 1_440
RULES: Final = RulesWord(
    initial_margin_ppm=100_000,
    settlement_margin_ppm=75_000,
    maintenance_margin_ppm=50_000,
    band_ppm=50_000,
    mark_step_ppm=10_000,
    max_age_s=3_600,
    open_interest_cap_lots=10**12,
    is_opening_allowed=True,
    is_funding_on=False,
    size_step_lots=1,
    price_step_ticks=1,
    min_notional_quote=5_000_000,
    max_fee_ppm=1_000,
)


def measure_settle(seed: int) -> list[Measurement]:
    """Return fills a second of model and anvil, per scenario."""
    # Without session keys and refreshed prices: what is compared is the rule, not what a batch may carry beside it.
    plain = [scenario for scenario in build_scenarios(MARKET_IDS) if not scenario.is_full]
    model = [_measure(scenario, random.Random(seed)) for scenario in plain]
    with open_venue(seed) as (venue, ready):
        return model + [_measure_on_anvil(venue, scenario, keys, signing) for scenario, keys, signing in ready]


def _measure_on_anvil(venue: LocalVenue, scenario: Scenario, keys: list[SigningKey], signing: Venue) -> Measurement:
    settle_ns = floor_ns = 0
    floor = b""
    for number in range(N_ROUNDS + 1):
        payload = build_payload(scenario, keys, signing, venue.next_header(), first_seq=1_000 * (number + 1))
        calldata = build_settle_calldata(venue.head, encode(payload))
        floor = floor or create_floor(venue, scenario, payload)
        started_ns = perf_counter_ns()
        settled = venue.transact(venue.sequencer, venue.clearinghouse, calldata)
        settled_ns = perf_counter_ns()
        venue.transact(venue.sequencer, floor, calldata)
        if settled.codes:
            raise InvariantBroken(f"{scenario.name}: required fills without failure, found {settled.codes.hex()}")
        # The first round opens positions and writes the floor's words for the first time.
        if number > 0:
            settle_ns += settled_ns - started_ns
            floor_ns += perf_counter_ns() - settled_ns
    n_fills = N_ROUNDS * len(scenario.fills)
    return compare(
        f"settle.anvil_{scenario.name}",
        round(n_fills * _NS_PER_S / settle_ns),
        "fills/s",
        reference=round(n_fills * _NS_PER_S / floor_ns),
        beside="the floor with the same calldata on the same anvil",
    )


def _measure(scenario: Scenario, source: random.Random) -> Measurement:
    separator = build_domain_separator(name=DOMAIN_NAME, chain_id=1, verifying_contract=source.randbytes(20))
    venue = Venue(
        domain_separator=separator,
        epochs=dict.fromkeys(MARKET_IDS, 1),
        limit_ticks=dict.fromkeys(MARKET_IDS, PRICE_TICKS),
    )
    keys = build_keys(source, scenario.n_traders)
    state = _open_venue()
    for key in keys:
        apply_deposit(state, account_of(key), DEPOSIT_QUOTE)
    _price(state, separator)
    model_ns = bare_ns = 0
    for number in range(N_ROUNDS + 1):
        header = BatchHeader(sequence=state.batch.sequence + 1, matched_at_s=GENESIS_S)
        payload = build_payload(scenario, keys, venue, header, first_seq=1_000 * (number + 1))
        encoded = encode(payload)
        started_ns = perf_counter_ns()
        result = apply_batch(
            state,
            encoded,
            previous_head=state.head,
            block_time_s=GENESIS_S,
            domain_separator=separator,
            recover=recover,
        )
        elapsed_ns = perf_counter_ns() - started_ns
        if result.n_failures:
            raise InvariantBroken(f"{scenario.name}: required fills without failure, found codes {result.codes.hex()}")
        # The first round opens positions; the steady state is what is measured.
        if number > 0:
            model_ns += elapsed_ns
            bare_ns += _recover_all(payload, venue)
    n_fills = N_ROUNDS * len(scenario.fills)
    return compare(
        f"settle.model_{scenario.name}",
        round(n_fills * _NS_PER_S / model_ns),
        "fills/s",
        reference=round(n_fills * _NS_PER_S / bare_ns),
        beside="only recovering the signers of the same orders",
    )


def _open_venue() -> ChainState:
    state = ChainState()
    for market_id in MARKET_IDS:
        list_market(state, market_id)
        set_rules(state, market_id, Session.REGULAR, RULES.pack())
    return state


def _price(state: ChainState, separator: bytes) -> None:
    """Give every market its first price with a batch of its own."""
    header = BatchHeader(sequence=1, matched_at_s=GENESIS_S)
    rows = tuple(PriceRow(market_id=one, mark_ticks=PRICE_TICKS, index_ticks=PRICE_TICKS) for one in MARKET_IDS)
    stated = [
        StatedMarket(
            market_id=market_id,
            external_ticks=PRICE_TICKS,
            external_time_s=GENESIS_S,
            session=Session.REGULAR,
            session_minutes=_SESSION_MINUTES,
            window_start_s=GENESIS_S,
        )
        for market_id in MARKET_IDS
    ]
    apply_batch(
        state,
        encode(Payload(header=header, rows=rows)),
        previous_head=state.head,
        block_time_s=GENESIS_S,
        update_prices=lambda chain, given, _, matched_at_s: move_markets(chain, stated, given, matched_at_s),
        domain_separator=separator,
        recover=recover,
    )


def _recover_all(payload: Payload, venue: Venue) -> int:
    """Return the time that bare recovery of all signers takes; digests are built outside of it."""
    orders = [
        (digest(record.to_order(account.account_id, 1), venue.domain_separator), record.r, record.vs)
        for account in payload.accounts
        for record in account.orders
    ]
    started_ns = perf_counter_ns()
    for order_digest, r, vs in orders:
        recover(order_digest, r, vs)
    return perf_counter_ns() - started_ns
