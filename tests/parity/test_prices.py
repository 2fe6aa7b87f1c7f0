"""PriceOracle.update equals domain.prices.update: random words, rows, evidence of three sources, calendars, overrides.

Batches of rows and evidence alone are settled on words written into the Clearinghouse's own storage, so that far more
states are met than batches would reach. Compared after every batch: the words, every verdict in its order, what is
kept of both sources.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import pytest
from eth_abi.abi import encode as abi_encode
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrevm import AccountInfo

from afterbell.adapters.project import find_project_root
from afterbell.domain import calendar, funding, oracle, prices
from afterbell.domain.batch import SETTLE_LAG_S, BatchHeader, Payload, PriceRow, encode
from afterbell.domain.calendar import Boundary, Calendar, pack_boundaries
from afterbell.domain.chain_state import ChainState
from afterbell.domain.codes import ReportCode
from afterbell.domain.errors import BatchReverted, DirectRefused, EvidenceRefused
from afterbell.domain.evidence import MAX_SECTION_BYTES, MAX_SECTIONS, join_sections, split_sections
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import rules_binds_after_key, rules_key, rules_successor_key
from afterbell.domain.oracle import (
    Observation,
    OracleMarket,
    OracleState,
    PriceSource,
    SignedSource,
    SourceReport,
    apply_split,
    override_session,
)
from afterbell.domain.prices import PriceUpdate, update
from afterbell.domain.words import IndexWord, PriceWord, RulesWord, TotalsWord
from afterbell.signing.keys import recover
from tests.contracts.venue import PUBLISHERS, RULES, STRANGER, Report, address_of, build_evidence
from tests.support.chain import GOVERNOR, OUTSIDER, SEQUENCER, START_S, Chain, Reverted, artifacts
from tests.support.counterparts import compiled

MARKETS: Final = (1, 2, 31)
RULES_CHANGING: Final = 1 << 170
GUARDIAN: Final = "0x" + "9A" * 20
SEEN: Final[Counter[str]] = Counter()


@dataclass(slots=True)
class Feeds:
    """Twin of ChainlinkSource here: the latest round of every market, eight decimals."""

    rounds: dict[int, tuple[int, int]] = field(default_factory=dict)
    is_ageless_while_closed: bool = True

    def read_reports(self, section: bytes) -> list[SourceReport]:
        if len(section) < 3:
            raise EvidenceRefused("source: length")
        if not 0 < section[1] <= 32:
            raise EvidenceRefused("source: reports")
        if len(section) != 2 + section[1]:
            raise EvidenceRefused("source: length")
        reports = []
        for market in section[2:]:
            price, time_s = self.rounds.get(market, (0, 0))
            reports.append(SourceReport(market_id=market, price_e8=max(price, 0), publish_time_s=time_s))
        return reports


@dataclass(slots=True)
class Lab:
    """One oracle on chain and its model."""

    chain: Chain
    domains: dict[int, bytes]
    aggregators: dict[int, str]
    oracle: OracleState
    words: ChainState
    feeds: Feeds

    def call(self, contract: str, function: str, *args: Any, sender: str = GOVERNOR) -> Any:
        return self.chain.call(contract, function, *args, sender=sender)


def build_lab() -> Lab:
    """Deploy once: sources 0 and 1 signed, 2 Chainlink's."""
    chain = Chain.deploy(publishers=[address_of(key) for key in PUBLISHERS[:3]], threshold=2, calendar=())
    domains = {0: chain.price_domain_separator}
    first = chain.addresses["SignedPriceSource"]
    second = chain.create("SignedPriceSource", GOVERNOR, [address_of(STRANGER)], 1)
    domains[1] = chain.price_domain_separator
    chain.addresses["SignedPriceSource"] = first
    third = chain.create("ChainlinkSource", GOVERNOR)
    chain.call("PriceOracle", "set_source", 1, second, sender=GOVERNOR)
    chain.call("PriceOracle", "set_source", 2, third, sender=GOVERNOR)
    chain.call("MarketRegistry", "set_guardian", GUARDIAN, sender=GOVERNOR)
    aggregators = {}
    for market in MARKETS:
        made = compiled("Aggregator")
        aggregators[market] = chain.create_code(made.creation_code + abi_encode(["uint8", "int256"], [8, 0]))
        chain.call("ChainlinkSource", "set_feed", market, aggregators[market], sender=GOVERNOR)
    feeds = Feeds()
    sources: dict[int, PriceSource] = {
        0: SignedSource(
            publishers=frozenset(key.address for key in PUBLISHERS[:3]), threshold=2,
            domain_separator=domains[0], recover=recover,
        ),
        1: SignedSource(
            publishers=frozenset([STRANGER.address]), threshold=1, domain_separator=domains[1], recover=recover
        ),
        2: feeds,
    }  # fmt: skip
    return Lab(chain, domains, aggregators, OracleState(sources=sources), ChainState(), feeds)


@pytest.fixture(scope="module")
def shared_lab() -> Lab:
    return build_lab()


class Player:
    """One random history."""

    def __init__(self, lab: Lab, random: Random) -> None:
        self.lab = lab
        self.random = random
        self.time_s = START_S
        self.price_of = {market: random.randrange(10**8, 10**11) for market in MARKETS}
        lab.feeds.rounds.clear()
        self.lab.oracle = OracleState(sources=lab.oracle.sources)
        self.lab.words = ChainState()
        self._write_calendar()
        for market in MARKETS:
            self._list(market)

    def _write_calendar(self) -> None:
        at_s = START_S - self.random.randrange(3_000)
        boundaries = []
        for _ in range(self.random.randrange(1, 13)):
            boundaries.append(Boundary(start_s=at_s, session=self.random.choice([0, 1, 2, 2, 2, 3, 4, 5, 5])))
            at_s += self.random.randrange(1, 20_000)
        boundaries.append(Boundary(start_s=at_s, session=0))
        self.lab.oracle.calendar = Calendar().appended(boundaries, START_S)
        self.lab.call("PriceOracle", "append_windows", pack_boundaries(boundaries))

    def _rules(self) -> int:
        random = self.random
        return RulesWord(
            initial_margin_ppm=100_000, settlement_margin_ppm=60_000, maintenance_margin_ppm=50_000,
            band_ppm=random.choice([0, 1, 50_000, 100_000, 999_999]),
            mark_step_ppm=random.choice([0, 1, 5_000, 50_000]), max_age_s=random.choice([0, 0, 30, 60, 3_600]),
            open_interest_cap_lots=10**6, is_opening_allowed=True, is_funding_on=random.random() < 0.8,
            size_step_lots=1, price_step_ticks=1, min_notional_quote=0, max_fee_ppm=1_000,
        ).pack()  # fmt: skip

    def _write(self, variable: str, words: dict[int, int], key: int, word: int) -> None:
        words[key] = word
        self.lab.chain.write_word(variable, key, word)

    def _list(self, market: int) -> None:
        random, lab = self.random, self.lab
        terms = OracleMarket(
            ticks_per_usd=random.choice([1, 100, 10**6]), max_confidence_ppm=random.choice([1, 5_000, 10**6]),
            multiplier_num=random.choice([1, 3, 10**6]), multiplier_den=random.choice([1, 2, 10**4]),
            source_id=random.choice([0, 0, 1, 2]),
        )  # fmt: skip
        lab.oracle.markets[market] = replace(terms, multiplier_num=1, multiplier_den=1)
        lab.chain.list_market(
            market, RULES.pack(), lot_exponent={1: 6, 100: 4, 10**6: 0}[terms.ticks_per_usd],
            source_id=terms.source_id, max_confidence_ppm=terms.max_confidence_ppm,
        )  # fmt: skip
        self._split(market, terms.multiplier_num, terms.multiplier_den)
        if random.random() < 0.6:
            self._change_sources(market)
        for session in range(9):
            word = self._rules()
            if random.random() < 0.1:
                word = 0
            elif random.random() < 0.2:
                word |= RULES_CHANGING
                self._write("rules", lab.words.rules, rules_successor_key(market, session), self._rules())
                binds = self.time_s + random.randrange(0, 3_000)
                self._write("rules", lab.words.rules, rules_binds_after_key(market, session), binds)
            self._write("rules", lab.words.rules, rules_key(market, session), word)
        price = PriceWord(epoch=1)
        if random.random() < 0.9:
            ticks = random.randrange(1, 2**32)
            price = replace(
                price, external_ticks=ticks, external_time_s=self.time_s - random.randrange(100),
                mark_ticks=random.choice([0, 1, ticks, random.randrange(1, 2**33)]), index_ticks=ticks,
                mark_time_s=self.time_s - random.randrange(70), session=random.randrange(9), session_minutes=10,
            )  # fmt: skip
        self._write("prices", lab.words.prices, market, price.pack())
        edge = random.choice([0, 0, (1 << 88) - 1, 1 - (1 << 88)])
        index = IndexWord(
            long_index_e12=edge or random.randrange(-(10**20), 10**20),
            short_index_e12=random.randrange(-(10**20), 10**20),
            funding_time_s=random.choice([0, self.time_s - random.randrange(10**5)]),
            reserve_ticks=random.randrange(2**24),
        )  # fmt: skip
        self._write("indices", lab.words.indices, market, index.pack())
        totals = TotalsWord(open_interest_lots=random.choice([0, 5]), net_entry_quote=-7, pot_quote=3)
        self._write("totals", lab.words.totals, market, totals.pack())

    def _change_sources(self, market: int) -> None:
        source = self.random.choice([0, 1, 2])
        second = self.random.choice([None, *({0, 1, 2} - {source})])
        terms = self.lab.oracle.markets[market]
        self.lab.oracle.markets[market] = terms.with_sources(source, second, self.time_s)
        self.lab.call("PriceOracle", "set_market_sources", market, source, 256 if second is None else second)

    # What happens between batches.

    def stir(self) -> None:
        random, lab = self.random, self.lab
        self.time_s += random.choice([0, 1, 3, 59, 60, 61, 300, 601, 30_000])
        lab.chain.set_time(self.time_s)
        market = random.choice(MARKETS)
        match random.randrange(9):
            case 0:
                self._change_sources(market)
            case 1 | 2:
                self._override(market)
            case 3:
                halt = random.choice([0, 0, 0, self.time_s, self.time_s + 100, self.time_s - 9])
                lab.oracle.halts_from_s[market] = halt
                slot = int(artifacts()["CorporateActions"].layout["storage_layout"]["state_words"]["slot"])
                lab.chain.evm.insert_account_storage(
                    lab.chain.addresses["CorporateActions"], _map_slot(slot, market), halt
                )
            case 4:
                num, den = random.choice([(4, 1), (1, 10), (3, 2), (2**63, 1), (6, 4)])
                self._split(market, num, den)
            case 5:
                is_guardian = random.random() < 0.5
                lab.oracle.overrides.pop((market, is_guardian), None)
                lab.call("PriceOracle", "clear_override", market, sender=GUARDIAN if is_guardian else SEQUENCER)
            case _:
                pass

    def _split(self, market: int, num: int, den: int) -> None:
        """Multiply, called from the address of CorporateActions, whose code stands aside: no contract may begin."""
        chain, here = self.lab.chain, self.lab.chain.addresses["CorporateActions"]
        code = chain.evm.get_code(here)
        chain.evm.insert_account_info(here, AccountInfo(nonce=1))
        self._both(
            lambda: apply_split(self.lab.oracle, market, num, den),
            lambda: chain.call("PriceOracle", "apply_split", market, num, den, sender=here),
        )
        chain.evm.insert_account_info(here, AccountInfo(nonce=1, code=code))

    def _override(self, market: int) -> None:
        session, is_guardian = self.random.choice([1, 2, 3, 4, 5, 6, 7, 8, 9]), self.random.random() < 0.5
        until_s = self.time_s + self.random.choice([-1, 0, 100, 86_400, 86_401])
        self._both(
            lambda: override_session(
                self.lab.oracle, market, session, until_s, is_guardian=is_guardian, now_s=self.time_s
            ),
            lambda: self.lab.call(
                "PriceOracle", "override_session", market, session, until_s,
                sender=GUARDIAN if is_guardian else SEQUENCER,
            ),
        )  # fmt: skip

    @staticmethod
    def _both(model: Any, contract: Any) -> None:
        refused = reverted = ""
        try:
            model()
        except DirectRefused as error:
            refused = error.reason
        try:
            contract()
        except Reverted as error:
            reverted = error.reason
        assert refused == reverted
        SEEN[refused] += 1

    # A batch.

    def _prices(self, market: int) -> int:
        """Drift, jump, or stand; sometimes nonsense."""
        random = self.random
        moved = self.price_of[market]
        match random.randrange(10):
            case 0:
                moved = moved * random.choice([13, 2, 3]) // random.choice([1, 2, 4])
            case 1:
                return random.choice([0, 1, 2**64 - 1, 2**63])
            case 2 | 3:
                moved = moved * random.choice([98, 102, 110, 90]) // 100 + random.choice([-1, 0, 1])
            case _:
                pass
        self.price_of[market] = max(moved, 1) if moved < 2**62 else 10**9
        return self.price_of[market]

    def sections(self) -> list[bytes]:
        random, made = self.random, []
        for source in random.choices([0, 1, 2], k=random.choice([0, 1, 1, 2, 3])):
            served = [market for market, terms in self.lab.oracle.markets.items() if terms.source_id == source]
            markets = random.sample(served, random.randrange(1, len(served) + 1)) if served else [2]
            if random.random() < 0.1:
                markets = random.sample([*MARKETS, 4], 2)
            age_s = random.choice([0, 0, 1, 59, 60, 61, -1, 4_000])
            if source == 2:
                for market in set(markets) & set(MARKETS):
                    price, time_s = self._prices(market), max(self.time_s - age_s, 0)
                    self.lab.feeds.rounds[market] = (price, time_s)
                    calldata = bytes.fromhex("4aa2011f") + abi_encode(
                        ["uint80", "int256", "uint256", "uint256"], [1, price, time_s, time_s]
                    )
                    self.lab.chain.transact(OUTSIDER, self.lab.aggregators[market], calldata)
                made.append(bytes([2, len(markets), *markets]))
                continue
            reports = [
                Report(
                    market=market, session=random.choice([2, 2, 2, random.randrange(10), 255]),
                    price_e8=self._prices(market) if market in MARKETS else 10**9,
                    confidence_e8=random.choice([0, 0, 10**6, 2**64 - 1]),
                )
                for market in markets
            ]  # fmt: skip
            evidence = build_evidence(
                reports, publish_time_s=self.time_s - age_s, domain_separator=self.lab.domains[source],
                signers=PUBLISHERS[:2] if source == 0 else [STRANGER], source_id=source,
            )  # fmt: skip
            made.extend(split_sections(bytes(evidence)))
        if random.random() < 0.02:
            made.append(bytes([random.choice([7, 2]), random.choice([0, 33, 3]), 1]))
        return made

    def rows(self) -> list[PriceRow]:
        random = self.random
        markets = sorted(random.sample(MARKETS, random.randrange(4)))
        if random.random() < 0.03:
            markets = random.choice([[2, 1], [1, 1], [1, 33], [5]])
        rows = []
        for market in markets:
            external = self.lab.words.price(market).external_ticks or 1_000
            rows.append(
                PriceRow(
                    market_id=market, mark_ticks=random.choice([0, external, external * 11 // 10, 2**40 - 1]),
                    index_ticks=random.choice([0, external, external * 9 // 10, 2**40 - 1]), auction_ticks=1,
                    premium_ppb=random.choice(
                        [0, 41_095, 541_095, 541_096, -458_906, random.randrange(-(2**31), 2**31)]
                    ),
                    funding=random.choice([0, 1, 1, 2]),
                )
            )  # fmt: skip
        return rows

    def settle(self) -> None:
        lab, rows, sections = self.lab, self.rows(), self.sections()
        evidence = join_sections(sections)
        if self.random.random() < 0.02:
            evidence += self.random.choice([b"\x00", b"\x00\x00", b"\x00\x05ab"])
        refused, result = "", None
        try:
            result = update(lab.oracle, lab.words, rows, evidence, self.time_s)
        except (BatchReverted, EvidenceRefused) as error:
            refused = error.reason
        payload = Payload(
            header=BatchHeader(sequence=lab.chain.sequence + 1, matched_at_s=self.time_s),
            rows=tuple(rows), evidence=evidence,
        )  # fmt: skip
        reverted = self._settle(encode(payload))
        assert reverted == refused, (rows, evidence.hex())
        SEEN[reverted] += 1
        if reverted:
            return
        assert result is not None, refused
        self._compare_events(result)
        for moved in result.markets:
            before = lab.words.index(moved.market_id)
            SEEN["funding"] += before.long_index_e12 != moved.index.long_index_e12
            lab.words.prices[moved.market_id] = moved.price.pack()
            lab.words.indices[moved.market_id] = moved.index.pack()
        for market in MARKETS:
            assert PriceWord.unpack(lab.chain.read_word("prices", market)) == lab.words.price(market)
            assert IndexWord.unpack(lab.chain.read_word("indices", market)) == lab.words.index(market)
        lab.oracle = result.oracle
        for market in MARKETS:
            kept = lab.call("PriceOracle", "observation_words", market)
            assert tuple(kept) == (
                _pack_observation(lab.oracle.primaries.get(market, Observation())),
                _pack_observation(lab.oracle.seconds.get(market, Observation())),
            )
        SEEN.update(verdict.code.name for verdict in result.verdicts)
        SEEN.update(f"session {moved.price.session}" for moved in result.markets)

    def _settle(self, payload: bytes) -> str:
        try:
            self.lab.chain.settle(payload)
        except Reverted as error:
            return error.reason
        return ""

    def _compare_events(self, result: PriceUpdate) -> None:
        logged = [
            (event.args["market"], int(event.args.get("code", 0)), event.args["publish_time_s"])
            for event in self.lab.chain.events()
            if event.name in ("ReportIgnored", "ReportAccepted")
        ]
        assert logged == [
            (verdict.report.market_id, int(verdict.code), verdict.report.publish_time_s) for verdict in result.verdicts
        ]


def _map_slot(slot: int, key: int) -> int:

    return int.from_bytes(keccak(slot.to_bytes(32, "big") + key.to_bytes(32, "big")), "big")


def _pack_observation(kept: Observation) -> int:
    session = 0 if kept.session is None else kept.session + 1
    accepted = 0 if kept.accepted_session is None else kept.accepted_session + 1
    return (
        kept.price_e8
        | kept.publish_time_s << 64
        | kept.source_id << 104
        | session << 112
        | accepted << 120
        | kept.jump_price_e8 << 128
        | kept.jump_time_s << 192
    )


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_update__random_words_rows_and_evidence__equals_the_model(shared_lab: Lab, random: Random) -> None:
    with shared_lab.chain.undone():
        player = Player(shared_lab, random)
        for _ in range(12):
            player.stir()
            player.settle()


def test_update__of_many_seeds__met_every_verdict_and_reason(shared_lab: Lab) -> None:
    """A comparison that never met a rule says nothing about it."""
    for seed in range(30):
        with shared_lab.chain.undone():
            player = Player(shared_lab, Random(seed))
            for _ in range(25):
                player.stir()
                player.settle()
    codes = {code.name for code in ReportCode}
    sessions = {f"session {session}" for session in range(9)}
    reasons = {
        "prices: market order", "prices: unknown market", "prices: no external", "source: length", "source: unknown",
        "source: reports", "market: multiplier", "override: until", "override: not stricter",
    }  # fmt: skip
    missing = {"funding", *codes, *sessions, *reasons} - set(SEEN)
    assert not missing, SEEN


# name in Vyper -> the model's number; `SETTLE_LAG` and `MAX_MARKETS` stand in several places and mean the same in all
CONSTANTS: Final[dict[str, dict[str, int]]] = {
    "PriceOracle.vy": {
        "MAX_REPORT_AGE_S": oracle.MAX_REPORT_AGE_S,
        "MAX_EXTERNAL_TICKS": oracle.MAX_EXTERNAL_TICKS + 1,
        "MAX_OVERRIDE_S": oracle.MAX_OVERRIDE_S,
        "SETTLE_LAG": SETTLE_LAG_S,
        "MAX_DIFFERENCE_PPM": oracle.MAX_DIFFERENCE_PPM,
        "MAX_JUMP_PPM": oracle.MAX_JUMP_PPM,
        "CONFIRM_S": oracle.CONFIRM_S,
        "NO_SESSION": oracle.NO_SESSION,
        "MAX_SECTIONS": MAX_SECTIONS,
        "MAX_EVIDENCE": MAX_SECTION_BYTES,
    },
    "modules/price_rules.vy": {
        "MARK_STEP_S": prices.MARK_STEP_S,
        "MAX_MARK_STEPS": prices.MAX_MARK_STEPS,
        "MAX_PREMIUM_PPB": funding.MAX_PREMIUM_PPB,
        "MAX_RATE_PPB": funding.MAX_RATE_PPB,
        "CARRY_PPB": funding.CARRY_PPB,
        "CARRY_CLAMP_PPB": funding.CARRY_CLAMP_PPB,
        "MAX_FUNDING_S": funding.MAX_FUNDING_S,
        "MAX_INDEX": funding.MAX_INDEX_E12,
    },
    "modules/calendar.vy": {
        "SETTLE_LAG": SETTLE_LAG_S,
        "FOREVER": calendar.FOREVER_S,
        "MAX_WORDS": calendar.MAX_CALL_WORDS,
    },
    "SignedPriceSource.vy": {"SETTLE_LAG": SETTLE_LAG_S},
}


@pytest.mark.parametrize("source", sorted(CONSTANTS))
def test_constants__of_contract_and_model__are_the_same(source: str) -> None:
    """Random histories seldom stand on the very second or millionth where one more would differ."""
    text = (find_project_root() / "contracts" / source).read_text()
    for name, number in CONSTANTS[source].items():
        found = re.search(rf"^{name}: constant\(u?int256\) = ([\d_*+ -]+)$", text, re.MULTILINE)
        assert found, name
        base, _, power = found[1].partition("**")
        exponent, _, less = power.partition(" - ")
        assert number == (int(base) ** int(exponent) - int(less or 0) if power else int(base)), name


def test_overlap__of_sources_and_publishers__is_twice_the_lag() -> None:
    assert oracle.SOURCE_OVERLAP_S == 2 * SETTLE_LAG_S
