"""Measure the four scenarios of `afterbell bench gas` in pyrevm: exact, without a node, in a second.

A transaction's gas is what revm charges for the whole of it: 21,000, calldata at 4 and 16 a byte, execution from cold
storage. Two rounds: the first opens every position and writes every word once, the second is the steady state.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from afterbell.bench.scenarios import (
    Scenario,
    Venue,
    account_of,
    build_keys,
    build_payload,
    build_scenarios,
)
from afterbell.domain.batch import BatchHeader, Payload, PriceRow, encode
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence, join_sections
from afterbell.domain.session import Session
from afterbell.domain.words import RulesWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest
from tests.support.chain import Chain, encode_call, intrinsic_gas

MARKETS: Final = (1, 2, 3)
PRICE_TICKS: Final = 10_000
E8_PER_TICK: Final = 10**6
DEPOSIT_QUOTE: Final = 10**10
SEED: Final = 7

RULES: Final = RulesWord(
    initial_margin_ppm=200_000,
    settlement_margin_ppm=150_000,
    maintenance_margin_ppm=100_000,
    band_ppm=100_000,
    mark_step_ppm=10_000,
    max_age_s=60,
    open_interest_cap_lots=10**8,
    is_opening_allowed=True,
    is_funding_on=True,
    size_step_lots=100,
    price_step_ticks=1,
    min_notional_quote=5_000_000,
    max_fee_ppm=1_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gas:
    """One scenario's second round."""

    scenario: Scenario
    total: int
    intrinsic: int
    n_calldata_bytes: int

    @property
    def per_fill(self) -> float:
        """Return total gas over fills."""
        return self.total / len(self.scenario.fills)


def build_chain() -> tuple[Chain, SigningKey]:
    """Return a chain with three markets listed and priced, and its publisher."""
    publisher = SigningKey((0xFEED).to_bytes(32, "big"))
    chain = Chain.deploy(publishers=["0x" + publisher.address.hex()])
    for market in MARKETS:
        chain.list_market(market, RULES.pack())
    return chain, publisher


def next_header(chain: Chain) -> BatchHeader:
    """Return the header of the next batch, matched now, having seen every direct operation."""
    direct_op = int(chain.call("Clearinghouse", "operator_word")) >> 160 & (1 << 40) - 1
    return BatchHeader(
        sequence=chain.sequence + 1, matched_at_s=chain.time_s, direct_op=direct_op, journal_hash=b"\x5a" * 32
    )


def build_price_payload(chain: Chain, publisher: SigningKey) -> bytes:
    """Return a batch that prices every market at PRICE_TICKS."""
    reports = [
        PriceReport(market_id=market, session=Session.REGULAR, price_e8=PRICE_TICKS * E8_PER_TICK, confidence_e8=0)
        for market in MARKETS
    ]
    root, proven = build_proven_reports(reports, chain.time_s)
    message = digest(PriceRoot(root=root, publish_time_s=chain.time_s), chain.price_domain_separator)
    evidence = encode_evidence(
        Evidence(publish_time_s=chain.time_s, root=root, signatures=(publisher.sign(message),), reports=proven)
    )
    rows = tuple(PriceRow(market_id=market, mark_ticks=PRICE_TICKS, index_ticks=PRICE_TICKS) for market in MARKETS)
    return encode(Payload(header=next_header(chain), rows=rows, evidence=join_sections([evidence])))


def measure() -> list[Gas]:
    """Measure every scenario on one chain."""
    source = random.Random(SEED)
    chain, publisher = build_chain()
    # with everything on they are measured on anvil, `afterbell bench gas`
    scenarios = [scenario for scenario in build_scenarios(MARKETS) if not scenario.is_full]
    keys_of = {scenario.name: build_keys(source, scenario.n_traders) for scenario in scenarios}
    for keys in keys_of.values():
        for key in keys:
            chain.deposit(account_of(key), DEPOSIT_QUOTE)
    chain.settle(build_price_payload(chain, publisher))
    venue = Venue(
        domain_separator=chain.domain_separator,
        epochs=dict.fromkeys(MARKETS, 1),
        limit_ticks=dict.fromkeys(MARKETS, PRICE_TICKS),
    )
    return [_measure(chain, scenario, keys_of[scenario.name], venue) for scenario in scenarios]


def _measure(chain: Chain, scenario: Scenario, keys: list[SigningKey], venue: Venue) -> Gas:
    total = 0
    calldata = b""
    for number in (1, 2):
        chain.set_time(chain.time_s + 1)
        table = build_payload(scenario, keys, venue, next_header(chain), first_seq=1_000 * number)
        payload = encode(table)
        calldata = encode_call("Clearinghouse", "settle", chain.head, payload)
        total = chain.measure_settle(payload, list_words(table))
        chain.settle(payload)
        failures = [event.args["codes"].hex() for event in chain.events() if event.name == "BatchFailures"]
        assert not failures, f"{scenario.name}: {failures}"
    return Gas(scenario=scenario, total=total, intrinsic=intrinsic_gas(calldata), n_calldata_bytes=len(calldata))


def list_words(table: Payload) -> list[tuple[str, int]]:
    """List every word a batch without evidence may touch, if accounts hold positions in their orders' markets only."""
    words = [
        (variable, key)
        for market in MARKETS
        for variable, key in (
            ("prices", market),
            ("indices", market),
            ("totals", market),
            ("rules", market << 8 | Session.REGULAR),
        )
    ]
    for account in table.accounts:
        key = account.account_id << 16
        words.append(("accounts", key))
        words += [("positions", key | market) for market in MARKETS]
        words += [("lanes", key | order.lane >> 1) for order in account.orders if order.lane]
    return words
