"""Compare replay, events and storage: three witnesses of every field, and the sums that must hold between fields.

Where two of three agree the third is named as what was found; so a dropped event accuses the events, an altered word
the storage. Must not: fetch more than the words it compares.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.ids import MAX_MARKETS, account_key, lane_key, position_key
from afterbell.domain.oracle import OracleMarket
from afterbell.verify.compare_direct import compare_direct_words
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.fold import EventLedger
from afterbell.verify.instance import Instance
from afterbell.verify.layout import (
    ACCOUNT,
    BATCH,
    INDEX,
    LANES,
    POSITION,
    PRICE,
    TOTALS,
    Lane,
    read_lane,
    show_lane,
)
from afterbell.verify.oracle_replay import NO_SOURCE
from afterbell.verify.replay import Replay
from afterbell.verify.storage import StorageReader
from afterbell.verify.witnesses import Subject, Witnesses

OPERATOR: Final = (
    Lane(name="sequencer", unit="address", offset=0, n_bits=160),
    Lane(name="direct_op", unit="operations", offset=160, n_bits=40),
    Lane(name="mode", unit="mode", offset=200, n_bits=8),
    Lane(name="reserved", unit="bits", offset=208, n_bits=48),
)
BOUNDARY: Final = (
    Lane(name="start_s", unit="UNIX s", offset=0, n_bits=256),
    Lane(name="session", unit="session", offset=0, n_bits=256),
)
N_BOUNDARIES: Final = (Lane(name="n_boundaries", unit="boundaries", offset=0, n_bits=256),)
OVERRIDES: Final = tuple(
    Lane(name=f"{who}_{name}", unit=unit, offset=offset + first, n_bits=n_bits)
    for who, offset in (("sequencer", 0), ("guardian", 88))
    for name, unit, first, n_bits in (
        ("session", "session", 0, 8),
        ("until_s", "UNIX s", 8, 40),
        ("from_s", "UNIX s", 48, 40),
    )
)
PUBLISH_TIME: Final = (Lane(name="last_publish_time_s", unit="UNIX s", offset=0, n_bits=256),)
SOURCE: Final = (Lane(name="source", unit="address", offset=0, n_bits=256),)
THRESHOLD: Final = (Lane(name="threshold", unit="signatures", offset=0, n_bits=256),)
IS_PUBLISHER: Final = (Lane(name="is_publisher", unit="yes or no", offset=0, n_bits=256),)
PRICING: Final = tuple(
    Lane(name=name, unit=unit, offset=0, n_bits=256)
    for name, unit in (
        ("source_id", "source"),
        ("ticks_per_usd", "ticks"),
        ("max_confidence_ppm", "ppm"),
        ("multiplier_num", "shares"),
        ("multiplier_den", "units"),
        ("second_source_id", "source, 256 = none"),
        ("previous_source_id", "source, 256 = none"),
        ("previous_until_s", "UNIX s"),
        ("previous_second_id", "source, 256 = none"),
        ("second_changed_until_s", "UNIX s"),
    )
)
GOVERNANCE: Final = (
    Lane(name="governor", unit="address", offset=0, n_bits=256),
    Lane(name="pending_governor", unit="address", offset=0, n_bits=256),
)
GUARDIAN: Final = (Lane(name="guardian", unit="address", offset=0, n_bits=256),)
IS_STANDBY: Final = (Lane(name="is_standby", unit="yes or no", offset=0, n_bits=256),)
ANNOUNCER: Final = (Lane(name="announcer", unit="address", offset=0, n_bits=256),)
REFERENCE: Final = (Lane(name="reference_ticks", unit="ticks", offset=0, n_bits=256),)
LOT_EXPONENT: Final = (Lane(name="lot_exponent", unit="decimals", offset=0, n_bits=256),)
QUOTE_WORD: Final = (Lane(name="quote", unit="quote", offset=0, n_bits=256),)


class Comparison:
    """Compare word by word; keep what storage says for the sums."""

    def __init__(
        self, reader: StorageReader, instance: Instance, replay: Replay, ledger: EventLedger, findings: Findings
    ) -> None:
        self._reader = reader
        self._instance = instance
        self._replay = replay
        self._ledger = ledger
        self._findings = findings
        self._witnesses = Witnesses(findings, is_replay_whole=replay.is_whole)
        self._compare = self._witnesses.compare
        self._markets = sorted(set(replay.state.prices) | set(ledger.prices))
        self._accounts = sorted(ledger.accounts() | {key >> 16 for key in replay.state.accounts})
        self._collateral_quote = 0
        self._lots: dict[int, int] = dict.fromkeys(self._markets, 0)
        self._long_lots: dict[int, int] = dict.fromkeys(self._markets, 0)
        self._entry_quote: dict[int, int] = dict.fromkeys(self._markets, 0)
        self._totals: dict[int, int] = {}
        self._batch_word = 0
        self._claims_quote = 0

    def compare_all(self) -> None:
        """Compare every word of every account, position, lane, market, batch, claim and oracle, then the sums."""
        self._compare_accounts()
        self._compare_positions()
        self._compare_lanes()
        compare_direct_words(self._witnesses, self._reader, self._instance, self._replay, self._ledger, self._markets)
        self._compare_markets()
        self._compare_batch()
        self._compare_vault()
        self._compare_oracle()
        self._compare_governance()
        self._compare_sums()

    def _compare_accounts(self) -> None:
        words = self._reader.read_words(
            "account words", self._instance.clearinghouse, "account_word(uint256)", [(one,) for one in self._accounts]
        )
        for account, word in zip(self._accounts, words, strict=True):
            self._collateral_quote += read_lane(ACCOUNT, "collateral_quote", word)
            told = {
                "collateral_quote": str(self._ledger.collateral_quote.get(account, 0)),
                "min_seq": str(self._ledger.min_seq.get(account, 0)),
                "open_markets": " ".join(map(str, self._ledger.open_markets(account))) or "none",
                "flags": "1" if account in self._ledger.overflows else "0",
            }
            expected = self._replay.state.accounts.get(account_key(account), 0)
            self._compare(Subject(what="account", account=account), ACCOUNT, expected, told, word)

    def _compare_positions(self) -> None:
        keys = [(account, market) for account in self._accounts for market in self._markets]
        words = self._reader.read_words(
            "position words", self._instance.clearinghouse, "position_word(uint256,uint256)", keys
        )
        for (account, market), word in zip(keys, words, strict=True):
            size_lots = read_lane(POSITION, "size_lots", word)
            self._lots[market] += size_lots
            self._long_lots[market] += max(size_lots, 0)
            self._entry_quote[market] += read_lane(POSITION, "entry_quote", word)
            told_word = self._ledger.positions.get((account, market), 0)
            told = {lane.name: show_lane(lane, told_word) for lane in POSITION}
            expected = self._replay.state.positions.get(position_key(account, market), 0)
            self._compare(Subject(what="position", account=account, market=market), POSITION, expected, told, word)

    def _compare_lanes(self) -> None:
        keys = sorted(self._replay.state.lanes)
        lanes = [(key >> 16, 2 * (key & 0xFFFF)) for key in keys]
        # Lane 0 lives in the account word; its neighbour's word is asked for by the odd lane.
        arguments = [(account, lane or 1) for account, lane in lanes]
        words = self._reader.read_words(
            "lane words", self._instance.clearinghouse, "lane_word(uint256,uint256)", arguments
        )
        for (account, lane), word in zip(lanes, words, strict=True):
            expected = self._replay.state.lanes[lane_key(account, lane)]
            note = f"lanes {lane} and {lane + 1}"
            self._compare(Subject(what="lanes", account=account, note=note), LANES, expected, {}, word)

    def _compare_markets(self) -> None:
        contract, state = self._instance.clearinghouse, self._replay.state
        every = [(market,) for market in range(1, MAX_MARKETS + 1)]
        listed = [(market,) for market in self._markets]
        tables = (
            ("price", PRICE, "price_word(uint256)", state.prices),
            ("index", INDEX, "index_word(uint256)", state.indices),
            ("totals", TOTALS, "totals_word(uint256)", state.totals),
        )
        for what, lanes, view, expected in tables:
            # A market that is listed behind everybody's back shows in its price word; the rest would be dead words.
            asked = every if what == "price" else listed
            words = self._reader.read_words(f"{what} words", contract, view, asked)
            for (market,), word in zip(asked, words, strict=True):
                told = self._tell_market(what, market)
                self._compare(Subject(what=what, market=market), lanes, expected.get(market, 0), told, word)
                if what == "totals":
                    self._totals[market] = word

    def _tell_market(self, what: str, market: int) -> dict[str, str]:
        """Return what events say about a market's word."""
        if what == "price":
            return {lane.name: show_lane(lane, self._ledger.prices.get(market, 0)) for lane in PRICE}
        if what == "totals":
            words = [word for (_, held), word in self._ledger.positions.items() if held == market]
            longs = sum(max(read_lane(POSITION, "size_lots", word), 0) for word in words)
            entries = sum(read_lane(POSITION, "entry_quote", word) for word in words)
            pot_quote = self._ledger.pot_quote(market)
            return {"open_interest_lots": str(longs), "net_entry_quote": str(entries), "pot_quote": str(pot_quote)}
        if what == "index":
            return {lane.name: show_lane(lane, self._ledger.indices.get(market, 0)) for lane in INDEX}
        return {}

    def _compare_batch(self) -> None:
        contract, state, ledger = self._instance.clearinghouse, self._replay.state, self._ledger
        self._batch_word = self._reader.read_word(contract, "batch_word()")
        told = {
            "sequence": str(ledger.sequence),
            "matched_at_s": str(ledger.matched_at_s),
            "fees_quote": str(ledger.fees_quote),
            "collateral_quote": str(sum(ledger.collateral_quote.values())),
        }
        stored = read_lane(BATCH, "sequence", self._batch_word)
        note = f"no event of batch {stored} was found" if stored > ledger.sequence else ""
        self._compare(Subject(what="batch", note=note), BATCH, state.batch_word, told, self._batch_word)
        head = self._reader.read_word(contract, "head()")
        lane = (Lane(name="head", unit="hash", offset=0, n_bits=256),)
        told = {"head": "0x" + ledger.head.hex()}
        self._compare(Subject(what="head"), lane, int.from_bytes(state.head, "big"), told, head)
        operator = self._reader.read_word(contract, "operator_word()")
        sequencer = int.from_bytes(ledger.sequencer, "big")
        told = {
            "sequencer": show_lane(OPERATOR[0], sequencer),
            "direct_op": str(ledger.direct_op),
            "mode": str(ledger.mode),
        }
        expected = sequencer | state.direct_op << 160 | state.mode << 200
        self._compare(Subject(what="operator"), OPERATOR, expected, told, operator)

    def _compare_vault(self) -> None:
        vault, state, ledger = self._instance.vault, self._replay.state, self._ledger
        recipients = sorted(set(state.claims) | set(ledger.claims_quote))
        words = self._reader.read_words(
            "claims", vault, "claims_quote(address)", [(int.from_bytes(one, "big"),) for one in recipients]
        )
        for recipient, word in zip(recipients, words, strict=True):
            self._claims_quote += word
            told = {"quote": str(ledger.claims_quote.get(recipient, 0))}
            subject = Subject(what="unpaid claim", recipient=recipient)
            self._compare(subject, QUOTE_WORD, state.claims.get(recipient, 0), told, word)
        tracked = self._reader.read_word(vault, "tracked_quote()")
        told = {"quote": str(ledger.tracked_quote)}
        self._compare(Subject(what="tracked"), QUOTE_WORD, state.tracked_quote, told, tracked)
        claims = self._reader.read_word(vault, "total_claims_quote()")
        told = {"quote": str(sum(ledger.claims_quote.values()))}
        self._compare(Subject(what="total claims"), QUOTE_WORD, sum(state.claims.values()), told, claims)
        balance = self._reader.read_word(self._instance.token, "balanceOf(address)", int.from_bytes(vault, "big"))
        self._findings.count("sums")
        if balance < tracked:
            self._must_hold("token balance of the Vault", "at least tracked_quote", tracked, balance, "quote")
        owed = self._compute_owed_quote() + claims
        self._check_sum("solvency: collateral - net entry + pots + fees + unpaid claims", tracked, owed, "quote")

    def _compare_oracle(self) -> None:
        oracle, contract = self._replay.oracle, self._instance.price_oracle
        every = [(market,) for market in self._markets]
        times = self._reader.read_words("report times", contract, "last_publish_time_s(uint256)", every)
        for (market,), time_s in zip(every, times, strict=True):
            observed = oracle.state.primaries.get(market)
            expected = 0 if observed is None else observed.publish_time_s
            # What was reported last, accepted or not: no event tells it alone.
            self._compare(Subject(what="oracle", market=market), PUBLISH_TIME, expected, {}, time_s)
        structs = self._reader.read_structs("pricings", contract, "pricings(uint256)", every, n_words=len(PRICING))
        for (market,), struct in zip(every, structs, strict=True):
            found = [int.from_bytes(struct[start : start + 32], "big") for start in range(0, len(struct), 32)]
            words = _list_pricing(oracle.state.markets.get(market))
            for lane, expected, word in zip(PRICING, words, found, strict=True):
                # Known from events alone, whether or not every batch could be run.
                self._compare(
                    Subject(what="oracle", market=market), (lane,), expected, {lane.name: str(expected)}, word
                )
        sources = sorted({*oracle.source_ids, *(market.source_id for market in oracle.state.markets.values())})
        words = self._reader.read_words("sources", contract, "source(uint256)", [(one,) for one in sources])
        for source_id, word in zip(sources, words, strict=True):
            expected = int.from_bytes(oracle.source_ids.get(source_id, b""), "big")
            subject = Subject(what="oracle", note=f"source {source_id}")
            self._compare(subject, SOURCE, expected, {"source": show_lane(SOURCE[0], expected)}, word)
        self._compare_sessions(every)
        self._compare_publishers()

    def _compare_sessions(self, every: list[tuple[int]]) -> None:
        """Compare the calendar boundary by boundary, and what the sequencer and the guardian set besides."""
        oracle, contract = self._replay.oracle.state, self._instance.price_oracle
        boundaries = oracle.calendar.boundaries
        count = self._reader.read_word(contract, "n_boundaries()")
        told = {"n_boundaries": str(len(boundaries))}
        self._compare(Subject(what="calendar"), N_BOUNDARIES, len(boundaries), told, count)
        numbers = [(number,) for number in range(min(count, len(boundaries)))]
        found = self._reader.read_structs("boundaries", contract, "boundary(uint256)", numbers, n_words=2)
        for (number,), struct in zip(numbers, found, strict=True):
            expected = boundaries[number]
            subject = Subject(what="calendar", note=f"boundary {number}")
            for lane, value, start in zip(BOUNDARY, (expected.start_s, int(expected.session)), (0, 32), strict=True):
                word = int.from_bytes(struct[start : start + 32], "big")
                self._compare(subject, (lane,), value, {lane.name: str(value)}, word)
        words = self._reader.read_words("overrides", contract, "override_word(uint256)", every)
        for (market,), word in zip(every, words, strict=True):
            value = 0
            for is_guardian, offset in ((False, 0), (True, 88)):
                override = oracle.overrides.get((market, is_guardian))
                if override is not None:
                    value |= (override.session | override.until_s << 8 | override.from_s << 48) << offset
            told = {lane.name: show_lane(lane, value) for lane in OVERRIDES}
            self._compare(Subject(what="override", market=market), OVERRIDES, value, told, word)

    def _compare_governance(self) -> None:
        """Compare who governs, and what the registry says of its markets; only events tell."""
        for contract, address in self._instance.governed().items():
            told = self._ledger.governors.get(contract, (bytes(20), bytes(20)))
            for lane, view, expected in zip(GOVERNANCE, ("governor()", "pending_governor()"), told, strict=True):
                number = int.from_bytes(expected, "big")
                subject = Subject(what="governance", note=contract)
                word = self._reader.read_word(address, view)
                self._compare(subject, (lane,), number, {lane.name: show_lane(lane, number)}, word)
        registry = self._instance.market_registry
        guardian = int.from_bytes(self._ledger.guardian, "big")
        word = self._reader.read_word(registry, "guardian()")
        told_guardian = {"guardian": show_lane(GUARDIAN[0], guardian)}
        self._compare(Subject(what="governance", note="guardian"), GUARDIAN, guardian, told_guardian, word)
        announcer = int.from_bytes(self._ledger.announcer, "big")
        word = self._reader.read_word(self._instance.corporate_actions, "announcer()")
        told_announcer = {"announcer": show_lane(ANNOUNCER[0], announcer)}
        self._compare(Subject(what="governance", note="announcer"), ANNOUNCER, announcer, told_announcer, word)
        standbys = sorted(self._ledger.standbys)
        keys = [(int.from_bytes(one, "big"),) for one in standbys]
        words = self._reader.read_words("standbys", registry, "is_standby(address)", keys)
        for standby, word in zip(standbys, words, strict=True):
            is_standby = int(self._ledger.standbys[standby])
            subject = Subject(what="governance", note="standby 0x" + standby.hex())
            self._compare(subject, IS_STANDBY, is_standby, {"is_standby": str(is_standby)}, word)
        for market in self._markets:
            exponent = self._ledger.lot_exponents.get(market, 0)
            word = self._reader.read_word(registry, "lot_exponents(uint256)", market)
            told_exponent = {"lot_exponent": str(exponent)}
            self._compare(Subject(what="registry", market=market), LOT_EXPONENT, exponent, told_exponent, word)
            reference = self._ledger.references.get(market, 0)
            word = self._reader.read_word(registry, "reference_ticks(uint256)", market)
            told_reference = {"reference_ticks": str(reference)}
            self._compare(Subject(what="registry", market=market), REFERENCE, reference, told_reference, word)
            symbol = self._reader.read_string(registry, "symbols(uint256)", market)
            self._findings.count("symbols")
            expected_symbol = self._ledger.symbols.get(market, "")
            if symbol != expected_symbol:
                self._findings.add(
                    Finding(
                        what="registry",
                        market=market,
                        field="symbol",
                        unit="text",
                        expected=f"{expected_symbol!r} (events)",
                        found=f"{symbol!r} (storage)",
                    )
                )

    def _compare_publishers(self) -> None:
        contract, oracle = self._instance.price_source, self._replay.oracle
        signed = oracle.signed
        threshold = self._reader.read_word(contract, "threshold()")
        told = {"threshold": str(signed.threshold)}
        self._compare(Subject(what="publishers"), THRESHOLD, signed.threshold, told, threshold)
        publishers = sorted(oracle.known_publishers)
        words = self._reader.read_words(
            "publishers", contract, "is_publisher(address)", [(int.from_bytes(one, "big"),) for one in publishers]
        )
        for publisher, word in zip(publishers, words, strict=True):
            subject = Subject(what="publishers", note="0x" + publisher.hex())
            expected = int(publisher in signed.publishers)
            self._compare(subject, IS_PUBLISHER, expected, {"is_publisher": str(expected)}, word)

    def _compute_owed_quote(self) -> int:
        """Return what the words of storage say the Vault must hold for accounts, pots and fees."""
        return (
            read_lane(BATCH, "collateral_quote", self._batch_word)
            + read_lane(BATCH, "fees_quote", self._batch_word)
            - sum(read_lane(TOTALS, "net_entry_quote", word) for word in self._totals.values())
            + sum(read_lane(TOTALS, "pot_quote", word) for word in self._totals.values())
        )

    def _compare_sums(self) -> None:
        collateral = read_lane(BATCH, "collateral_quote", self._batch_word)
        self._check_sum("sum of collateral over accounts", collateral, self._collateral_quote, "quote")
        claims = self._reader.read_word(self._instance.vault, "total_claims_quote()")
        self._check_sum("sum of unpaid claims over recipients", claims, self._claims_quote, "quote")
        for market in self._markets:
            totals = self._totals.get(market, 0)
            self._check_sum("sum of lots over accounts", 0, self._lots[market], "lots", market)
            interest = read_lane(TOTALS, "open_interest_lots", totals)
            self._check_sum("sum of long lots", interest, self._long_lots[market], "lots", market)
            entry = read_lane(TOTALS, "net_entry_quote", totals)
            self._check_sum("sum of entries", entry, self._entry_quote[market], "quote", market)

    def _check_sum(self, what: str, expected: int, found: int, unit: str, market: int | None = None) -> None:
        self._findings.count("sums")
        if expected != found:
            self._must_hold(what, "the stored total", expected, found, unit, market)

    def _must_hold(self, what: str, kind: str, expected: int, found: int, unit: str, market: int | None = None) -> None:
        self._findings.add(
            Finding(
                what=what,
                market=market,
                field="sum",
                unit=unit,
                expected=f"{expected} ({kind})",
                found=f"{found} (recomputed from storage)",
            )
        )


def _list_pricing(market: OracleMarket | None) -> list[int]:
    """Return the words of MarketPricing, in its order."""
    if market is None:
        return [0, 0, 0, 0, 0, NO_SOURCE, NO_SOURCE, 0, NO_SOURCE, 0]
    ids = (market.second_source_id, market.previous_source_id, market.previous_second_id)
    second, previous, previous_second = (NO_SOURCE if one is None else one for one in ids)
    return [
        market.source_id, market.ticks_per_usd, market.max_confidence_ppm, market.multiplier_num, market.multiplier_den,
        second, previous, market.previous_until_s, previous_second, market.second_changed_until_s,
    ]  # fmt: skip
