"""A venue whose companies do things to their shares: an announcer, a guardian, and the days that pass between."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address

from afterbell.domain.batch import PriceRow
from afterbell.domain.corporate_actions import ActionKind, Announcement
from afterbell.domain.hashing import keccak
from afterbell.domain.margin import AccountHealth, compute_account_health, compute_position_health
from afterbell.domain.words import IndexWord, RulesWord
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import MAKER, REGULAR, TAKER, THIRD, Report, Settled, Venue, account_of
from tests.support.chain import GOVERNOR, Event

DAY_S: Final = 86_400
LAG_S: Final = 300
ANNOUNCER, GUARDIAN = (to_checksum_address(bytes([number]) * 20) for number in (0xAC, 0xA3))
TUPLE: Final = "(uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,string)"
ACCOUNTS: Final = tuple(account_of(key) for key in (MAKER, TAKER, THIRD))


@dataclass(slots=True)
class Exchange:
    """A Venue and what corporate actions need of it. Market 1, 100 USD, ticks of 0.01 USD a unit."""

    venue: Venue

    @classmethod
    def open(cls, **changes: Any) -> Exchange:
        venue = Venue.open(**({"n_markets": 2} | changes))
        venue.chain.call("MarketRegistry", "set_guardian", GUARDIAN, sender=GOVERNOR)
        venue.chain.call("CorporateActions", "set_announcer", ANNOUNCER, sender=GOVERNOR)
        return cls(venue)

    @property
    def now_s(self) -> int:
        return self.venue.chain.time_s

    # Announcing.

    def announcement(self, kind: ActionKind, /, **changes: Any) -> Announcement:
        """Return a plain action of market 1 in two days, with changes; `ahead_s` replaces the two days."""
        effective_s = self.now_s + changes.pop("ahead_s", 2 * DAY_S)
        plain: dict[str, Any] = {
            ActionKind.SPLIT: {"num": 2, "den": 1},
            ActionKind.DIVIDEND: {"price_e8": 10**8, "reserve_s": effective_s - 4 * 3_600},
            ActionKind.CASH_SETTLEMENT: {"price_e8": 101 * 10**8},
            ActionKind.STOCK_MERGER: {"num": 3, "den": 2, "second_source_id": 256, "symbol": "OTHER"},
            ActionKind.RENAME: {"second_source_id": 256, "symbol": "NEW"},
            ActionKind.STEP: {},
        }.get(kind, {})
        whole = Announcement(
            market_id=1, kind=kind, effective_s=effective_s, ex_date=(effective_s + DAY_S // 2) // DAY_S, **plain
        )
        return replace(whole, **changes)

    def announce(self, kind: ActionKind, /, *, sender: str = ANNOUNCER, **changes: Any) -> Announcement:
        """Announce, and leave it at that."""
        announcement = self.announcement(kind, **changes)
        self.call("announce", astuple(announcement), sender=sender)
        return announcement

    def schedule(self, kind: ActionKind, **changes: Any) -> Announcement:
        """Announce, and have the guardian confirm if that is needed."""
        announcement = self.announce(kind, **changes)
        (announced,) = (event for event in self.venue.chain.events() if event.name == "ActionAnnounced")
        if announced.args["needs_confirmation"]:
            self.call("confirm", announcement.market_id, digest_of(announcement), sender=GUARDIAN)
        return announcement

    def activate_after(self, announcement: Announcement) -> list[Event]:
        """Wait until the action may happen and make it."""
        self.venue.chain.set_time(announcement.effective_s + LAG_S + 1)
        self.call("activate", announcement.market_id)
        return self.venue.chain.events()

    def call(self, function: str, *arguments: Any, **sender: str) -> Any:
        return self.venue.chain.call("CorporateActions", function, *arguments, **sender)

    # Prices.

    def report(
        self, price_e8: int, *, market: int = 1, mark_ticks: int = 0, publish_time_s: int | None = None, **header: Any
    ) -> Settled:
        """Settle a batch with a report of this price a share and a row, whose mark follows it unless named."""
        ticks = mark_ticks or price_e8 // 10**6
        evidence = self.venue.evidence(
            [Report(market=market, price_e8=price_e8)], publish_time_s=publish_time_s or self.now_s
        )
        rows = [PriceRow(market_id=market, mark_ticks=ticks, index_ticks=ticks)]
        return self.venue.settle(rows=rows, evidence=evidence, **header)

    # Reading.

    def index(self, market: int = 1) -> IndexWord:
        return IndexWord.unpack(self.venue.chain.call("Clearinghouse", "index_word", market))

    def multiplier(self, market: int = 1) -> tuple[int, int]:
        num, den = self.venue.chain.call("PriceOracle", "multiplier", market)
        return num, den

    def health(self, account: int) -> AccountHealth:
        """Return an account's health from raw words, at the worse of mark and external."""
        word = self.venue.account(account)
        healths = []
        for market in word.open_markets:
            if market:
                price = self.venue.price(market)
                rules = RulesWord.unpack(
                    self.venue.chain.call("Clearinghouse", "rules_word", market, price.session or REGULAR)
                )
                healths.append(
                    compute_position_health(
                        self.venue.position(account, market), price, rules, self.index(market), self.now_s
                    )
                )
        return compute_account_health(word.collateral_quote, healths)

    def equities(self, accounts: Sequence[int] = ACCOUNTS) -> dict[int, int]:
        return {account: self.health(account).equity_quote for account in accounts}


def digest_of(announcement: Announcement) -> bytes:
    """Return what `confirm` takes."""
    return keccak(abi_encode([TUPLE], [astuple(announcement)]))


def fill_book(exchange: Exchange, random: Random, *, n_fills: int = 12, ticks: int = 10_000) -> list[int]:
    """Trade at random between six rich accounts around a price, accrue odd funding, and return the accounts."""
    venue = exchange.venue
    keys = [SigningKey(bytes([0x40 + number]) * 32) for number in range(6)]
    for key in keys:
        venue.chain.deposit(account_of(key), random.randrange(5_000, 20_000) * 10**6 + random.randrange(10**6))
    for _ in range(n_fills):
        maker, taker = random.sample(keys, 2)
        lots, is_buy = 10 * random.randrange(50, 8_000), random.random() < 0.5
        limit_ticks = ticks * random.randrange(960, 1_040) // 5_000 * 5
        terms: dict[str, Any] = {"size_lots": lots, "limit_ticks": limit_ticks}
        pair = [venue.order(maker, is_buy=is_buy, **terms), venue.order(taker, is_buy=not is_buy, **terms)]
        assert venue.settle(pair, [(0, 1, lots)]).is_clean
    for _ in range(2):
        venue.wait(random.randrange(1_000, 20_000))
        premium_ppb = random.randrange(-30_000_000, 30_000_000)
        row = PriceRow(market_id=1, mark_ticks=ticks, index_ticks=ticks, premium_ppb=premium_ppb, funding=1)
        evidence = venue.evidence([Report(price_e8=ticks * 10**6)])
        venue.settle(rows=[row], evidence=evidence)
    assert exchange.index().long_index_e12 % 10**12
    return [account_of(key) for key in keys]


def read_words(exchange: Exchange, accounts: Sequence[int], market: int = 1) -> dict[str, Any]:
    """Return every word of some accounts and of a market, as the chain holds them."""
    chain = exchange.venue.chain
    return {
        "price": chain.call("Clearinghouse", "price_word", market),
        "index": chain.call("Clearinghouse", "index_word", market),
        "totals": chain.call("Clearinghouse", "totals_word", market),
        "accounts": [chain.call("Clearinghouse", "account_word", account) for account in accounts],
        "positions": [chain.call("Clearinghouse", "position_word", account, market) for account in accounts],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of a stock, prices a share in 1e-8 USD as they were paid then."""

    date: str
    open_e8: int
    close_e8: int


def read_history(ticker: str) -> list[Day]:
    """Return the unadjusted days of a stock in bokeh_sampledata, oldest first."""
    found = find_spec("bokeh_sampledata")
    assert found is not None and found.origin is not None
    with gzip.open(Path(found.origin).parent / "_data" / "stocks.csv.gz", "rt") as file:
        return [
            Day(date=row["Date"], open_e8=to_e8(row["Open"]), close_e8=to_e8(row["Close"]))
            for row in csv.DictReader(file)
            if row["Ticker"] == ticker
        ]


def to_e8(text: str) -> int:
    """Return a decimal price exactly in 1e-8."""
    return int(Decimal(text) * 10**8)


def find_day(days: Sequence[Day], date: str) -> int:
    """Return the place of a date."""
    (place,) = (place for place, day in enumerate(days) if day.date == date)
    return place
