"""The deployed protocol, its actors, and everything they may do, as actions drawn at random.

An action makes one call, or one batch. It may be refused; whatever it does, books.py must hold afterwards. Actors:
traders with session keys, a keeper that liquidates and forces, publishers, a sequencer that is honest or not, an
announcer, a guardian, a governor and a stranger who tries every function of every contract.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from afterbell.domain.batch import BatchHeader, Payload, PriceRow, encode
from afterbell.domain.calendar import Boundary
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import build_account_id
from afterbell.domain.session import Session
from afterbell.domain.words import RulesWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest
from tests.machine.batches import Desk, Planned, Trader, assemble, make_liquidation, make_operation, make_order
from tests.machine.books import N_MARKETS, Books, bits, require
from tests.support.chain import DEPLOYER, GENESIS_S, GOVERNOR, OUTSIDER, SEQUENCER, START_S, Chain, Reverted, artifacts

USDC: Final = 10**6
DAY_S: Final = 86_400
N_TRADERS: Final = 5
FIRST_TICKS: Final = 10_000
GUARDIAN: Final = to_checksum_address("0x" + "6a" * 20)
ANNOUNCER: Final = to_checksum_address("0x" + "a0" * 20)
STANDBY: Final = to_checksum_address("0x" + "5b" * 20)
SECOND_SOURCE: Final = 1
TIERS: Final = 2_000 | 20_000 << 48 | 8_000 << 68 | 30_000 << 116
DAY: Final = (
    (0, Session.OVERNIGHT),
    (8, Session.PRE),
    (13, Session.REGULAR),
    (20, Session.POST),
    (22, Session.CLOSED),
)
N_DAYS: Final = 120
_READ: Final = {
    "0x" + keccak(signature.encode()).hex(): (signature.partition("(")[0], types)
    for signature, types in (
        ("PositionsChanged(uint64,uint256[])", ["uint256[]"]),
        ("BatchFailures(uint64,bytes)", ["bytes"]),
        ("AdlExecuted(uint256,uint256,uint256,uint256)", ["uint256"]),
        ("LossSpread(uint8,uint256,uint256,uint256)", ["uint256", "uint256"]),
        ("Deposited(address,uint256,uint256)", ["uint256"]),
        ("ClaimPaid(address,uint256)", ["uint256"]),
    )
}
"""Logs the machine follows, by topic: their name and the types of their data."""


def key_of(name: str) -> SigningKey:
    return SigningKey(name.encode().rjust(32, b"\x07"))


def address_of(key: SigningKey) -> str:
    return str(to_checksum_address(key.address))


def owner_of(account: int) -> str:
    return str(to_checksum_address((account >> 80).to_bytes(20, "big")))


def rules_of(market: int, session: int) -> RulesWord:
    """Return rules like those of the local venue, tight enough for caps, bands and margins to matter."""
    is_trading = session in (Session.PRE, Session.REGULAR, Session.POST, Session.OVERNIGHT, Session.CLOSED)
    is_closed = session == Session.CLOSED
    return RulesWord(
        initial_margin_ppm=(200_000, 150_001, 330_000)[market % 3] if not is_closed else 500_000,
        settlement_margin_ppm=120_003,
        maintenance_margin_ppm=100_001,
        band_ppm=100_000 if session == Session.REGULAR else 70_000,
        mark_step_ppm=10_000 if not is_closed else 5_000,
        max_age_s=0 if is_closed else 900,
        open_interest_cap_lots=400_000 if market != 2 else 60_000,
        account_share=0 if market == 1 else 20_000,
        is_opening_allowed=is_trading,
        is_funding_on=is_trading and not is_closed,
        size_step_lots=10,
        price_step_ticks=5,
        min_notional_quote=USDC,
        max_fee_ppm=1_000,
    )


@dataclass(slots=True)
class System:
    """One deployed instance under attack."""

    random: Random
    chain: Chain
    desk: Desk
    first_publishers: list[SigningKey]
    second_publishers: list[SigningKey]
    price_domains: tuple[bytes, bytes]
    usd_ticks: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(1, N_MARKETS + 1), FIRST_TICKS))
    accounts: list[int] = field(default_factory=list)
    lane_keys: set[int] = field(default_factory=set)
    given_quote: int = 0
    is_donated: bool = False
    n_touches: Counter[int] = field(default_factory=Counter)
    spread_quote: Counter[int] = field(default_factory=Counter)
    """Losses paid out of a market's pot, which its index may bring back in part alone."""
    rounding_quote: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    books: Books = field(default_factory=Books)
    settled: tuple[Payload, bytes] | None = None
    """The last batch and its codes."""
    is_hostile: bool = False
    """The sequencer trades alone: no operations, any mark, auctions at will."""
    n_calls: int = 0
    plan: list[str] = field(default_factory=list)
    """Actions to come before anything is drawn again."""
    adl_ids: list[int] = field(default_factory=list)
    announced: int = 1
    """Market of the last announcement."""
    multipliers: dict[int, tuple[int, int]] = field(
        default_factory=lambda: dict.fromkeys(range(1, N_MARKETS + 1), (1, 1))
    )

    @classmethod
    def deploy(cls, seed: int) -> System:
        rng = Random(seed)
        first, second = ([key_of(f"publisher {which} {number}") for number in range(2)] for which in (1, 2))
        day0 = START_S // DAY_S * DAY_S
        calendar = [
            Boundary(start_s=day0 + day * DAY_S + hour * 3_600, session=session)
            for day in range(N_DAYS)
            for hour, session in DAY
        ]
        calendar.append(Boundary(start_s=day0 + N_DAYS * DAY_S, session=Session.UNKNOWN))
        chain = Chain.deploy(publishers=[address_of(key) for key in first], threshold=2, calendar=calendar)
        first_source = chain.addresses["SignedPriceSource"]
        chain.create("SignedPriceSource", GOVERNOR, [address_of(key) for key in second], 1)
        chain.addresses["SecondSource"] = chain.addresses["SignedPriceSource"]
        chain.contracts["SecondSource"] = "SignedPriceSource"
        chain.addresses["SignedPriceSource"] = first_source
        chain.call("PriceOracle", "set_source", SECOND_SOURCE, chain.addresses["SecondSource"], sender=GOVERNOR)
        chain.call("MarketRegistry", "set_guardian", GUARDIAN, sender=GOVERNOR)
        chain.call("MarketRegistry", "approve_sequencer", STANDBY, sender=GOVERNOR)
        chain.call("CorporateActions", "set_announcer", ANNOUNCER, sender=GOVERNOR)
        for market in range(1, N_MARKETS + 1):
            tiers = TIERS if market == 3 else 0
            chain.list_market(market, [rules_of(market, session).pack() for session in range(9)], tiers=tiers)
        chain.call("PriceOracle", "set_market_sources", 4, 0, SECOND_SOURCE, sender=GOVERNOR)
        traders = []
        for number in range(N_TRADERS):
            key = key_of(f"trader {number}")
            accounts = tuple(build_account_id(key.address, subaccount) for subaccount in (0, 1))
            traders.append(Trader(key=key, session=key_of(f"session {number}"), accounts=accounts))
        system = cls(
            random=rng,
            chain=chain,
            first_publishers=first,
            second_publishers=second,
            desk=Desk(random=rng, traders=traders, domain=chain.domain_separator, genesis_s=GENESIS_S),
            price_domains=(
                bytes(chain.call("SignedPriceSource", "domain_separator")),
                bytes(chain.call("SecondSource", "domain_separator")),
            ),
        )
        liquidations = int(chain.addresses["Liquidations"], 16)
        insurance = [liquidations << 80 | market for market in range(1, N_MARKETS + 1)]
        keeper = int(OUTSIDER, 16) << 80
        system.accounts = sorted([account for trader in traders for account in trader.accounts] + insurance + [keeper])
        system.lane_keys = {
            account << 16 | lane >> 1
            for trader in traders
            for account in trader.accounts
            for lane in (0, 1, 2, 3, 65_534, 65_535)
        }
        for account in system.accounts:
            quote = 400 * USDC if account not in insurance else 20 * USDC
            if account == keeper:
                quote = 50_000 * USDC
            chain.deposit(account, quote)
            system.given_quote += quote
        for trader in traders:
            chain.call(
                "Operations",
                "link_key",
                0,
                address_of(trader.session),
                START_S + 100 * DAY_S | 10**10 << 40 | 0b1111 << 104,
                sender=address_of(trader.key),
            )
        system.read()
        system.settle([], [], evidence=True)
        system.read()
        return system

    # Looking.

    def read(self) -> Books:
        self.books = Books.read(self.chain, self.accounts, self.lane_keys)
        return self.books

    def check(self, *, elapsed_s: int) -> None:
        """Read everything again and hold every invariant."""
        old = self.books
        books = self.read()
        books.check(
            given_quote=self.given_quote,
            n_touches=self.n_touches,
            is_donated=self.is_donated,
            spread_quote=self.spread_quote,
            rounding_quote=self.rounding_quote,
        )
        books.check_after(old, elapsed_s=elapsed_s)

    def mark(self, market: int) -> int:
        return bits(self.books.prices.get(market, 0), 0, 40) or self.usd_ticks[market]

    def epoch(self, market: int) -> int:
        return bits(self.books.prices.get(market, 1 << 208), 208, 32)

    def lots(self, account: int, market: int) -> int:
        position = self.books.positions.get((account, market))
        return position.lots if position else 0

    def trader_accounts(self) -> list[int]:
        return [account for trader in self.desk.traders for account in trader.accounts]

    def holders(self) -> list[tuple[int, int]]:
        """Return every (account, market) with a position."""
        return [place for place, position in self.books.positions.items() if position.lots]

    def sickest(self) -> tuple[int, int]:
        """Return a position of the account with the least equity for its notional, or any holder now and then."""
        holders = [place for place in self.holders() if place[0] in self.trader_accounts()]
        if not holders:
            return self.random.choice(self.trader_accounts()), 1
        if self.random.random() < 0.2:
            return self.random.choice(holders)
        marks = self.books.marks()

        def health(account: int) -> int:
            notional = sum(abs(self.lots(account, market)) * ticks for market, ticks in marks.items())
            return self.books.equity_quote(account, marks) * 10**6 // max(1, notional)

        account = min({account for account, _ in holders}, key=health)
        return self.random.choice([place for place in holders if place[0] == account])

    def name(self, account: int) -> int:
        """Return an account's id, now and then a number that the keys of words would cut to it."""
        return account if self.random.random() < 0.95 else account + (self.random.choice((1, 2, 2**15)) << 240)

    # Calling.

    def call(self, contract: str, function: str, *args: Any, sender: str = OUTSIDER) -> Any:
        """Call, count what was logged, and return the result. Raises: Reverted."""
        self.n_calls += 1
        try:
            result = self.chain.call(contract, function, *args, sender=sender)
        except DecodingError as error:
            raise AssertionError(f"{contract}.{function}{args} answers what its ABI does not allow: {error}") from error
        assert self.chain.evm.result is not None
        for log in self.chain.evm.result.logs:
            read = _READ.get(log.topics[0])
            if read is None:
                continue
            name, types = read
            values = abi_decode(types, bytes(log.data[1]))
            if name == "AdlExecuted":
                # the bankruptcy price is a whole tick: up to one unit a lot stays in the pot
                self.rounding_quote += values[0]
            elif name == "LossSpread":
                self.spread_quote[int(log.topics[1], 16)] += values[0]
            elif name == "PositionsChanged":
                for key in values[0][::3]:
                    self.n_touches[key & 0xFFFF] += 1
            elif name == "BatchFailures":
                self._codes = values[0]
            else:
                self.given_quote += values[0] if name == "Deposited" else -values[0]
        return result

    _codes: bytes = b""

    def sections(self, *, is_honest: bool = True) -> list[bytes]:
        """Return evidence of both publishers on today's prices, sometimes of the wrong kind."""
        rng, time_s = self.random, self.chain.time_s
        made = []
        for which, (keys, domain) in enumerate(
            zip((self.first_publishers, self.second_publishers), self.price_domains, strict=True)
        ):
            publish_time_s = time_s - (0 if is_honest else rng.choice((0, 30, 70, -5)))
            reports = []
            for market in range(1, N_MARKETS + 1):
                if which == 1 and market != 4:
                    continue
                num, den = self.multipliers[market]
                price_e8 = self.usd_ticks[market] * 10**6 * den // num
                if not is_honest and rng.random() < 0.2:
                    price_e8 = rng.choice((0, price_e8 * 13, price_e8 // 2, price_e8 * 1_015 // 1_000, 1, 2**63))
                confidence_e8 = price_e8 // 10 if not is_honest and rng.random() < 0.1 else 0
                reports.append(
                    PriceReport(
                        market_id=market,
                        session=rng.choice((2, 2, 2, 6, 8, 9)) if not is_honest else 2,
                        price_e8=price_e8,
                        confidence_e8=confidence_e8,
                    )
                )
            root, proven = build_proven_reports(reports, publish_time_s)
            message = digest(PriceRoot(root=root, publish_time_s=publish_time_s), domain)
            signers = sorted(keys, key=lambda key: key.address)
            evidence = encode_evidence(
                Evidence(
                    publish_time_s=publish_time_s,
                    root=root,
                    reports=proven,
                    signatures=tuple(signer.sign(message) for signer in signers),
                )
            )
            if which == 1:
                # the second source hashes its own id into the leaves
                evidence = self._as_second(reports, publish_time_s, signers, domain)
            made.append(evidence)
        return made[::-1]

    def _as_second(
        self, reports: list[PriceReport], publish_time_s: int, signers: list[SigningKey], domain: bytes
    ) -> bytes:
        from tests.contracts.venue import Report, build_evidence

        packed = [
            Report(market=r.market_id, session=r.session, price_e8=r.price_e8, confidence_e8=r.confidence_e8)
            for r in reports
        ]
        return bytes(
            build_evidence(
                packed, publish_time_s=publish_time_s, domain_separator=domain, signers=signers, source_id=SECOND_SOURCE
            )
        )[2:]

    def settle(
        self,
        planned: list[Planned],
        pairs: list[tuple[int, int, int]],
        *,
        evidence: bool,
        operations: tuple[Any, ...] = (),
        is_honest: bool = True,
        premium_ppb: int | None = None,
        matched_ago_s: int = 0,
        sender: str | None = None,
    ) -> None:
        """Settle one batch. Raises: Reverted."""
        rng, chain = self.random, self.chain
        rows: tuple[PriceRow, ...] = ()
        if evidence or premium_ppb is not None:
            rows = tuple(
                PriceRow(
                    market_id=market,
                    mark_ticks=self.usd_ticks[market]
                    if is_honest
                    else rng.choice((1, self.mark(market) * 2, 2**40 - 1)),
                    index_ticks=self.usd_ticks[market],
                    auction_ticks=self.mark(market) // 5 * 5
                    if rng.random() < (0.2 if self.is_hostile else 0.05)
                    else 0,
                    premium_ppb=premium_ppb or 0,
                    funding=int(premium_ppb is not None),
                )
                for market in range(1, N_MARKETS + 1)
            )
        books = self.books
        header = BatchHeader(
            sequence=books.sequence + 1,
            matched_at_s=max(bits(books.batch, 40, 40), chain.time_s - matched_ago_s),
            direct_op=books.direct_op,
        )
        sections = self.sections(is_honest=is_honest) if evidence else []
        payload = assemble(planned, pairs, header=header, rows=rows, sections=sections, operations=operations)
        self._codes = b""
        self.call("Clearinghouse", "settle", books.head, encode(payload), sender=sender or SEQUENCER)
        n_operations, n_orders, n_fills = len(payload.operations), payload.n_orders, len(payload.fills)
        codes = self._codes or bytes(n_operations + n_orders + n_fills)
        self.settled = (payload, codes)
        for place, code in enumerate(codes):
            kind = "operation" if place < n_operations else "order" if place < n_operations + n_orders else "fill"
            self.codes[kind, code] += 1

    # What may happen. Each returns nothing; refusals are Reverted.

    def act_trade(self) -> None:
        """Settle a batch of orders between traders, with flaws."""
        rng, desk = self.random, self.desk
        planned: list[Planned] = []
        pairs = []
        time_s = self.chain.time_s
        for _ in range(rng.choice((1, 1, 2, 4))):
            market = rng.randint(1, N_MARKETS)
            maker, taker = rng.sample(self.trader_accounts(), 2)
            if maker >> 80 == taker >> 80 and rng.random() < 0.9:
                continue
            lots = rng.choice((200, 1_000, 5_000, 5_000, 20_000, 60_000, 150_000))
            held = self.lots(taker, market)
            is_buy = rng.random() < 0.5
            if held and rng.random() < 0.4:
                is_buy, lots = held < 0, rng.choice((abs(held), abs(held) // 2 + 1, lots))
            for account, buys, takes in ((maker, not is_buy, False), (taker, is_buy, True)):
                if desk.pool and rng.random() < 0.05:
                    planned.append(rng.choice(desk.pool))
                    continue
                planned.append(
                    make_order(
                        desk,
                        account,
                        market=market,
                        is_buy=buys,
                        lots=lots,
                        mark=self.mark(market),
                        epoch=self.epoch(market),
                        time_s=time_s,
                        is_taker=takes,
                    )
                )
            size = min(planned[-1].record.size_lots, planned[-2].record.size_lots)
            pairs.append(
                (
                    len(planned) - 2,
                    len(planned) - 1,
                    rng.choice((size, size, size // 2) if rng.random() < 0.95 else (0, size + 10)),
                )
            )
        if len(planned) > 2 and rng.random() < 0.1:
            pairs.append((rng.randrange(len(planned)), rng.randrange(len(planned)), 10))
        n_operations = 0 if self.is_hostile else rng.choice((0, 0, 0, 1, 2))
        operations = tuple(self._operation() for _ in range(n_operations))
        desk.pool = (desk.pool + planned)[-40:]
        desk.nonces = (desk.nonces + [p.record.lane << 40 | p.record.seq for p in planned])[-40:]
        self.settle(
            planned,
            pairs,
            evidence=rng.random() < 0.8,
            operations=operations,
            is_honest=rng.random() < (0.85 if self.is_hostile else 0.95),
            matched_ago_s=rng.choice((0,) * 18 + (250, 400)),
        )

    def _operation(self) -> Any:
        account = self.random.choice(self.trader_accounts())
        return make_operation(
            self.desk,
            account,
            time_s=self.chain.time_s,
            collateral_quote=self.books.collateral_quote(account),
            vault=bytes.fromhex(self.chain.addresses["Vault"][2:]),
        )

    def act_prices(self) -> None:
        """Refresh every price; the stock moves a little, rarely a lot."""
        rng = self.random
        for market in self.usd_ticks:
            move = rng.choice((0, 0, 1, 2, 5)) if rng.random() < 0.97 else rng.choice((20, 35, 50, 90))
            ticks = self.usd_ticks[market]
            self.usd_ticks[market] = max(200, min(10**6, ticks + rng.choice((-1, 1)) * ticks * move // 100))
        self.settle([], [], evidence=True, is_honest=rng.random() < 0.95)

    def act_crash(self) -> None:
        """Move one stock by a third, and let the mark walk there while accounts are flagged and liquidated."""
        market = self.random.randint(1, N_MARKETS)
        ticks = self.usd_ticks[market]
        self.usd_ticks[market] = max(
            200,
            min(
                10**6, ticks * self.random.choice((60, 70, 80) if ticks > FIRST_TICKS // 2 else (125, 140, 170)) // 100
            ),
        )
        self.plan = list(CRASH)

    def act_funding(self) -> None:
        """Accrue funding at any premium."""
        premium = self.random.choice((0, 10**6, -(10**6), 2**31 - 1, -(2**31)))
        self.settle([], [], evidence=self.random.random() < 0.7, premium_ppb=premium)

    def act_liquidation_batch(self) -> None:
        """Liquidate through the book, healthy accounts included."""
        rng = self.random
        account, market = self.sickest()
        lots = self.lots(account, market)
        time_s, sequence = self.chain.time_s, self.books.sequence + 1
        order = make_liquidation(
            self.desk, account, market=market, lots=lots, sequence=sequence, mark=self.mark(market), time_s=time_s
        )
        others = [other for other in self.trader_accounts() if other >> 80 != account >> 80]
        maker = make_order(
            self.desk,
            rng.choice(others),
            market=market,
            is_buy=lots > 0,
            lots=abs(lots),
            mark=self.mark(market),
            epoch=self.epoch(market),
            time_s=time_s,
            is_taker=False,
        )
        maker.record = replace(maker.record)
        self.settle(
            [maker, order], [(0, 1, min(maker.record.size_lots, order.record.size_lots))], evidence=rng.random() < 0.8
        )

    def act_deposit(self) -> None:
        account = self.random.choice(self.accounts)
        quote = self.random.choice((1, 10 * USDC, 200 * USDC))
        self.chain.call("token", "mint", OUTSIDER, quote)
        self.chain.call("token", "approve", self.chain.addresses["Vault"], quote, sender=OUTSIDER)
        self.call("Vault", "deposit", owner_of(account), account & (1 << 80) - 1, quote, sender=OUTSIDER)

    def act_claim(self) -> None:
        self.call("Vault", "claim", owner_of(self.random.choice(self.accounts)))

    def act_donate(self) -> None:
        self.chain.call("token", "mint", OUTSIDER, 7)
        self.chain.call("token", "transfer", self.chain.addresses["Vault"], 7, sender=OUTSIDER)
        self.is_donated = True

    def act_cancel_all(self) -> None:
        trader = self.random.choice(self.desk.traders)
        self.call("Operations", "cancel_all", 0, self.desk.seq, sender=address_of(trader.key))

    def act_key(self) -> None:
        rng = self.random
        trader = rng.choice(self.desk.traders)
        if rng.random() < 0.3:
            self.call("Operations", "revoke_key", 1, address_of(trader.session), sender=address_of(trader.key))
        else:
            limits = self.chain.time_s + 10 * DAY_S | 10**9 << 40 | 0b1111 << 104
            self.call("Operations", "link_key", 1, address_of(trader.session), limits, sender=address_of(trader.key))

    def act_flag(self) -> None:
        self.call("Liquidations", self.random.choice(("flag", "flag", "flag", "unflag")), self.name(self.sickest()[0]))

    def act_liquidate(self) -> None:
        account, market = self.sickest()
        lots = self.random.choice((1_000, 10**9, 10**9))
        self.call("Liquidations", "liquidate", self.name(account), market, lots, 0, sender=OUTSIDER)

    def act_adl(self) -> None:
        rng = self.random
        step = rng.choice(("open", "nominate", "nominate", "nominate", "execute"))
        if step == "open" or not self.adl_ids:
            self.adl_ids.append(self.call("Liquidations", "open_adl", *self.sickest()))
        elif step == "nominate" and self.adl_ids:
            self.call("Liquidations", "nominate", rng.choice(self.adl_ids[-3:]), self.name(rng.choice(self.accounts)))
        elif self.adl_ids:
            self.call("Liquidations", "execute_adl", rng.choice(self.adl_ids[-3:]))

    def act_request(self) -> None:
        rng = self.random
        trader = rng.choice(self.desk.traders)
        sender = address_of(trader.key)
        if rng.random() < 0.5:
            recipient = rng.choice((sender, self.chain.addresses["Vault"], OUTSIDER))
            self.call(
                "Exits", "request_withdrawal", 0, rng.choice((1, 500 * USDC, 2**64 - 1)), recipient, sender=sender
            )
        else:
            market = rng.randint(1, N_MARKETS)
            worst = rng.choice(
                (1, self.mark(market), self.mark(market) * 9 // 10, self.mark(market) * 11 // 10, 2**40 - 1)
            )
            self.call("Exits", "request_close", 0, market, rng.choice((10, 10**6)), worst, sender=sender)

    def act_force(self) -> None:
        rng = self.random
        account = self.name(rng.choice([trader.accounts[0] for trader in self.desk.traders]))
        sender = rng.choice((OUTSIDER, SEQUENCER))
        if rng.random() < 0.5:
            self.call("Exits", "force_withdrawal", account, sender=sender)
        elif rng.random() < 0.3:
            self.call("Exits", "announce_taker", 0, sender=OUTSIDER)
        else:
            self.call(
                "Exits", "force_close", account, rng.randint(1, N_MARKETS), rng.choice((10, 10**6)), 0, sender=OUTSIDER
            )

    def act_cancel_request(self) -> None:
        trader = self.random.choice(self.desk.traders)
        self.call("Exits", "cancel_request", 0, self.random.randint(0, N_MARKETS), sender=address_of(trader.key))

    def act_observe(self) -> None:
        trader = self.random.choice(self.desk.traders)
        self.call("Exits", "observe", trader.accounts[0], self.random.randint(0, N_MARKETS))

    def act_exit_mode(self) -> None:
        self.call("Exits", self.random.choice(("enter_exit_mode", "leave_exit_mode", "start_final_settlement")))

    def act_tally(self) -> None:
        if self.books.mode == 2:
            accounts = self.random.sample(self.accounts, self.random.randint(1, len(self.accounts)))
            self.call("Exits", "tally", [self.name(account) for account in accounts])

    def act_exit_claim(self) -> None:
        if self.books.mode == 2:
            self.call("Exits", "claim", self.random.choice(self.accounts))

    def act_announce(self) -> None:
        rng, time_s = self.random, self.chain.time_s
        kinds = (1, 1, 1, 2, 2, 2, 4, 5, 6) if rng.random() < 0.9 else (3,)
        market, kind = rng.randint(1, N_MARKETS), rng.choice(kinds)
        effective_s = time_s + rng.choice((DAY_S, DAY_S + 60, 6 * DAY_S, 8 * DAY_S, 3_600))
        num, den = rng.choice(((2, 1), (1, 10), (3, 2), (101, 1), (1, 1))) if kind in (1, 4) else (0, 0)
        price_e8 = {
            2: rng.choice((1, 5 * 10**7, 10**9, 60 * 10**8)),
            3: rng.choice((0, self.mark(market) * 10**6)),
        }.get(kind, 0)
        source, second = ((0, SECOND_SOURCE) if market == 4 else (0, 256)) if kind in (4, 5) else (0, 0)
        action = (
            market,
            kind,
            effective_s // DAY_S,
            effective_s,
            effective_s - 8 * 3_600 if kind == 2 else 0,
            num,
            den,
            price_e8,
            source,
            second,
            f"NEW{rng.randrange(10**6)}" if kind in (4, 5) else "",
        )
        # what the governor announces needs nobody's confirmation
        self.call("CorporateActions", "announce", action, sender=rng.choice((ANNOUNCER, ANNOUNCER, GOVERNOR)))
        self.announced = market
        if rng.random() < 0.7:
            self.plan = list(ACTION)

    def act_corporate(self) -> None:
        rng = self.random
        market = self.announced if rng.random() < 0.8 else rng.randint(1, N_MARKETS)
        step = rng.choice(
            ("reserve", "activate", "activate", "reopen", "reopen", "cancel", "confirm", "settle_positions")
        )
        if step == "settle_positions":
            named = [self.name(account) for account in rng.sample(self.accounts, rng.randint(2, len(self.accounts)))]
            self.call("CorporateActions", step, market, sorted(named))
        elif step == "confirm":
            announced = bytes(self.chain.call("CorporateActions", "terms", market)[0])
            self.call("CorporateActions", step, market, rng.choice((announced, rng.randbytes(32))), sender=GUARDIAN)
        elif step == "cancel":
            if rng.random() < 0.2:
                self.call("CorporateActions", step, market, sender=GUARDIAN)
        else:
            self.call("CorporateActions", step, market)
            self.multipliers[market] = self.chain.call("PriceOracle", "multiplier", market)

    def act_until(self) -> None:
        """Let time pass until what was announced last may be reserved, or happen."""
        state = self.chain.call("CorporateActions", "state_words", self.announced)
        times_s = [bits(state, low, 40) + 301 for low in (40, 0)]
        if later := [time_s for time_s in times_s if time_s > self.chain.time_s]:
            self.chain.set_time(min(later))

    def act_rules(self) -> None:
        rng = self.random
        market, session = rng.randint(1, N_MARKETS), rng.randint(0, 8)
        rules = rules_of(market, session)
        changed = replace(
            rules, initial_margin_ppm=min(10**6, rules.initial_margin_ppm + rng.choice((0, 20_000))), band_ppm=50_000
        )
        if rng.random() < 0.5:
            self.call("MarketRegistry", "tighten_rules", market, session, changed.pack(), sender=GUARDIAN)
        else:
            self.call("MarketRegistry", "set_rules", market, [(session, changed.pack())], sender=GOVERNOR)

    def act_override(self) -> None:
        rng = self.random
        market, sender = rng.randint(1, N_MARKETS), rng.choice((SEQUENCER, GUARDIAN, OUTSIDER))
        if rng.random() < 0.4:
            self.call("PriceOracle", "clear_override", market, sender=sender)
        else:
            until_s = self.chain.time_s + rng.choice((600, 3_600, DAY_S + 1))
            self.call("PriceOracle", "override_session", market, rng.randint(0, 8), until_s, sender=sender)

    def act_rotate(self) -> None:
        self.call("MarketRegistry", "rotate_sequencer", self.random.choice((STANDBY, OUTSIDER)), sender=GUARDIAN)
        self.call("MarketRegistry", "approve_sequencer", SEQUENCER, sender=GOVERNOR)
        self.call("MarketRegistry", "rotate_sequencer", SEQUENCER, sender=GUARDIAN)

    def act_stranger(self) -> None:
        """Try a function of any contract with arguments that fit its types, as somebody without a role."""
        rng = self.random
        contract = rng.choice([name for name in self.chain.contracts if name not in ("token", "SecondSource")])
        # eip712Domain answers as EIP-5267 says, which Vyper's ABI cannot: bytes that are the encoded answer
        functions = [
            entry
            for entry in artifacts()[self.chain.contracts[contract]].abi
            if entry["type"] == "function" and entry["name"] != "eip712Domain"
        ]
        entry = rng.choice(functions)
        arguments = [self._argument(part) for part in entry["inputs"]]
        sender = rng.choice((OUTSIDER, address_of(rng.choice(self.desk.traders).key), GUARDIAN, ANNOUNCER, STANDBY))
        if entry["name"] in ("halt_market", "revoke_sequencer", "dismiss_announcer") and sender == GUARDIAN:
            return  # the guardian may, and the run would trade no more
        # anybody mints the test's token, to the vault too
        self.is_donated |= contract == "TestStablecoin"
        self.call(contract, entry["name"], *arguments, sender=sender)

    def _argument(self, part: dict[str, Any]) -> Any:
        rng, kind = self.random, part["type"]
        if kind.endswith("[]"):
            return [self._argument({**part, "type": kind[:-2]}) for _ in range(rng.randint(0, 2))]
        if kind.endswith("]"):
            inner, count = kind[:-1].rsplit("[", 1)
            return [self._argument({**part, "type": inner}) for _ in range(int(count))]
        if kind == "tuple":
            return tuple(self._argument(inner) for inner in part["components"])
        if kind == "address":
            return rng.choice((OUTSIDER, self.chain.addresses["Vault"], owner_of(rng.choice(self.accounts))))
        if kind == "bool":
            return rng.random() < 0.5
        if kind == "string":
            return "X"
        if kind.startswith("bytes"):
            return rng.randbytes(int(kind[5:] or 40))
        n_bits = int(kind.lstrip("uint") or 256)
        if kind.startswith("int"):
            return rng.choice((0, -1, 1, 1 << n_bits - 2))
        top = (1 << n_bits) - 1
        return min(top, rng.choice((0, 1, 2, rng.choice(self.accounts), self.chain.time_s, 10**9, top)))

    def act_pause(self) -> None:
        """Pause the token, or let it go."""
        self.chain.call("token", "set_paused", self.random.random() < 0.3, sender=DEPLOYER)

    def act_wait(self) -> None:
        rng = self.random
        self.chain.set_time(self.chain.time_s + rng.choice((1, 3, 30, 60, 301, 301, 601, 3_600, 7 * 3_600)))

    def act_pass(self) -> None:
        """Let a minute pass."""
        self.chain.set_time(self.chain.time_s + 61)

    def act_lag(self) -> None:
        """Let SETTLE_LAG pass."""
        self.chain.set_time(self.chain.time_s + 301)

    def act_silence(self) -> None:
        """The sequencer sleeps for a day, sometimes for long enough to end everything."""
        rng = self.random
        self.chain.set_time(self.chain.time_s + rng.choice((DAY_S + 1, DAY_S + 1, 2 * DAY_S, 8 * DAY_S)))


def leave_all(system: System) -> None:
    """Let the sequencer vanish for good: everybody leaves, in any order, with what the books say (I-14)."""
    rng, chain = system.random, system.chain
    chain.call("token", "set_paused", False, sender=DEPLOYER)
    is_new = system.books.mode != 2
    if is_new:
        chain.set_time(chain.time_s + 2 * DAY_S)
        if system.books.mode == 0:
            system.call("Exits", "enter_exit_mode")
        chain.set_time(chain.time_s + 7 * DAY_S)
        system.call("Exits", "start_final_settlement")
    books = system.read()
    ticks, insurance = books.externals(), int(chain.addresses["Liquidations"], 16)
    equities = {account: max(0, books.equity_quote(account, ticks)) for account in system.accounts}
    equities = {account: quote for account, quote in equities.items() if account >> 80 != insurance}
    accounts = rng.sample(system.accounts, len(system.accounts))
    for first in range(0, len(accounts), 5):
        with contextlib.suppress(Reverted):
            system.call("Exits", "tally", accounts[first : first + 5])
    require(chain.call("Exits", "tally_progress")[4], "I-14 the tally never completes")
    owed, assets = sum(equities.values()), books.tracked_quote - books.unpaid_quote
    for account in rng.sample(list(equities), len(equities)):
        share = equities[account] if owed <= assets else equities[account] * assets // owed
        paid = 0
        with contextlib.suppress(Reverted):
            paid = system.call("Exits", "claim", account)
        require(paid == share or not is_new, "I-14 share", hex(account), paid, share)
    system.check(elapsed_s=0)
    for owner in {owner_of(account) for account in system.accounts}:
        with contextlib.suppress(Reverted):
            system.call("Vault", "claim", owner)
    system.check(elapsed_s=0)
    system.outcomes["exit_mode", ""] += is_new
    require(system.books.unpaid_quote == 0, "I-14 an unpaid claim", system.books.unpaid_quote)


CRASH: Final = (
    *("pass", "prices") * 4,
    "liquidation_batch",
    "flag",
    *("pass", "prices") * 4,
    "flag",
    "liquidation_batch",
    "lag",
    "prices",
    "flag",
    "liquidate",
    "liquidation_batch",
    "prices",
    *("pass", "prices") * 5,
    "liquidate",
    "liquidate",
    "adl",
    "adl",
    "adl",
    "liquidate",
    "adl",
    "lag",
    "prices",
    "liquidate",
    "adl",
    "lag",
    "prices",
    "liquidate",
    "adl",
    "adl",
    "adl",
    "trade",
)
ACTION: Final = (
    *("corporate", "corporate", "trade", "corporate", "until", "prices"),
    *("corporate", "corporate", "trade", "corporate", "until", "prices"),
    *("corporate",) * 6,
    *("pass", "prices", "corporate", "corporate") * 4,
    *("trade", "prices"),
)
WEIGHTS: Final[dict[str, int]] = {
    "trade": 60,
    "prices": 24,
    "funding": 4,
    "liquidation_batch": 6,
    "deposit": 2,
    "claim": 2,
    "donate": 1,
    "cancel_all": 1,
    "key": 1,
    "flag": 8,
    "liquidate": 8,
    "adl": 8,
    "request": 3,
    "force": 4,
    "cancel_request": 1,
    "observe": 2,
    "exit_mode": 2,
    "tally": 2,
    "exit_claim": 2,
    "announce": 3,
    "corporate": 6,
    "until": 1,
    "rules": 1,
    "override": 2,
    "rotate": 1,
    "stranger": 6,
    "pause": 1,
    "wait": 30,
    "silence": 1,
    "crash": 3,
    "pass": 3,
    "lag": 3,
}
ACTIONS: Final = tuple(WEIGHTS)


def draw(system: System, rng: Random) -> str:
    """Return the next action: the next of a plan, or any."""
    return system.plan.pop(0) if system.plan else rng.choices(ACTIONS, weights=list(WEIGHTS.values()))[0]


def step(system: System, name: str) -> str:
    """Do one action and hold every invariant. Return "" or why it was refused."""
    before_s = system.chain.time_s
    action: Callable[[], None] = getattr(system, f"act_{name}")
    refused = ""
    try:
        action()
    except Reverted as error:
        refused = error.reason or "(bare)"
    system.outcomes[name, refused] += 1
    system.check(elapsed_s=system.chain.time_s - before_s)
    return refused
