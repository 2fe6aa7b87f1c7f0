"""A venue whose companies do things to their shares: an announcer, a guardian, and the days that pass between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address

from afterbell.domain.batch import PriceRow
from afterbell.domain.corporate_actions import ActionKind, Announcement
from afterbell.domain.hashing import keccak
from afterbell.domain.margin import AccountHealth, compute_account_health, compute_position_health
from afterbell.domain.words import IndexWord, RulesWord
from tests.contracts.venue import MAKER, REGULAR, TAKER, THIRD, Report, Settled, Venue, account_of
from tests.support.chain import GOVERNOR, Event

DAY_S: Final = 86_400
LAG_S: Final = 300
ANNOUNCER, GUARDIAN = (to_checksum_address(bytes([number]) * 20) for number in (0xAC, 0xA3))
TUPLE: Final = "(uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,string)"
KEYS: Final = (MAKER, TAKER, THIRD)


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

    def equities(self, accounts: Sequence[int] = tuple(account_of(key) for key in KEYS)) -> dict[int, int]:
        return {account: self.health(account).equity_quote for account in accounts}


def digest_of(announcement: Announcement) -> bytes:
    """Return what `confirm` takes."""
    return keccak(abi_encode([TUPLE], [astuple(announcement)]))
