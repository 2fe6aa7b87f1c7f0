"""Random histories of the loss ladder: chain and model agree word for word after every step, whatever comes.

Seven accounts hold positions in two markets while prices jump; everything anybody may call is called at random. After
each step, besides: only sizes of those liquidated, taken over or deleveraged changed, nobody without a position is
negative, insurance lost at most its caps, and what all own together is what the Vault holds (venue.check_books).
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from afterbell.domain.words import TierWord
from tests.contracts.ladder import DAY_S, LADDER_RULES, N_SESSIONS, Ladder, key_of
from tests.contracts.venue import USDC, account_of
from tests.support.chain import Reverted

N_ACCOUNTS: Final = 7
KEYS: Final = [key_of(f"trader{number}") for number in range(N_ACCOUNTS)]
IDS: Final = [account_of(key) for key in KEYS]
RICH: Final = key_of("rich")
RICH_ID: Final = account_of(RICH)
MARKETS: Final = (1, 2)
N_STEPS: Final = 350
SESSIONS: Final = (2, 2, 2, 2, 2, 2, 1, 4, 5, 6, 0)
# of all runs together: each of them must have been reached; what is rarer has a test of its own
OUTCOMES: Final = {
    "flag", "unflag", "liquidate", "open_adl", "nominate", "execute_adl", "cover", "InsurancePaid", "LossSpread",
    "liquidations: healthy", "liquidations: flagged", "liquidations: not flagged", "liquidations: liquidatable",
    "liquidations: too early", "liquidations: lots", "liquidations: taker margin",
    "liquidations: bankrupt", "liquidations: not bankrupt", "liquidations: adl open", "liquidations: no adl",
    "liquidations: no profit", "liquidations: not among best", "liquidations: nobody nominated",
    "liquidations: no position", "liquidations: nothing to cover", "liquidations: own account",
}  # fmt: skip


@dataclass(slots=True)
class Run:
    """One history."""

    ladder: Ladder
    source: random.Random
    reached: Counter[str] = field(default_factory=Counter)
    sick: list[int] = field(default_factory=list)
    closed_out: set[int] = field(default_factory=set)
    """By this test, as a cash settlement would: they may owe until they are covered."""

    def step(self) -> None:
        """Do something, expected to pass or not."""
        before = {(account, market): self.size(account, market) for account in IDS for market in MARKETS}
        self.ladder.logged = []
        self.sick = [account for account in IDS if self.is_sick(account)]
        action = self.source.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]
        if not self.sick and self.source.random() < 0.8:
            action = self.source.choice(["trade", "trade", "trade", "jump", "jump", "calm", "insure", "cover"])
        if self.open_adls() and self.source.random() < 0.6:
            action = self.source.choice(["nominate", "nominate", "nominate", "wait", "execute_adl", "cover"])
        try:
            getattr(self, action)()
        except Reverted as error:
            self.reached[error.reason] += 1
            # what cover() prepares is no part of the call
            assert action == "cover" or before == {key: self.size(*key) for key in before}
            return
        self.reached[action] += 1
        for event in self.ladder.logged:
            self.reached[event.name] += 1
        self.check(action, before)

    def check(self, action: str, before: dict[tuple[int, int], int]) -> None:
        for account in (*IDS, RICH_ID):
            if not any(self.size(account, market) for market in MARKETS):
                assert self.ladder.collateral(account) >= 0 or account in self.closed_out
        if action in ("liquidate", "execute_adl"):
            for event in self.ladder.named("AccountLiquidated"):
                old, new = before[event["account"], event["market"]], self.size(event["account"], event["market"])
                assert abs(new) < abs(old)
                assert old * new >= 0
            assert len([key for key, old in before.items() if abs(self.size(*key)) > abs(old)]) <= 1

    def size(self, account: int, market: int) -> int:
        return self.ladder.venue.position(account, market).size_lots

    def is_sick(self, account: int) -> bool:
        call = self.ladder.venue.chain.call
        return bool(call("Liquidations", "check_order", account, 0, 1, self.ladder.now_s) != 22)

    def pick(self) -> int:
        """Return an account, more often one that is sick."""
        return self.source.choice(self.sick if self.sick and self.source.random() < 0.9 else IDS)

    def open_adls(self) -> list[int]:
        adls = self.ladder.liquidations.adls.items()
        return [adl_id for adl_id, adl in adls if not adl.is_done and self.ladder.now_s <= adl.opened_at_s + 7_200]

    def market(self, account: int) -> int:
        held = [market for market in MARKETS if self.size(account, market)]
        return self.source.choice(held if held and self.source.random() < 0.95 else MARKETS)

    # Actions.

    def trade(self) -> None:
        """Give a pair new positions, straight through the Clearinghouse's rules: margin may refuse it."""
        buyer, seller = self.source.sample(KEYS, 2)
        market = self.source.choice(MARKETS)
        mark = self.ladder.venue.price(market).mark_ticks // 5 * 5
        terms: dict[str, Any] = {
            "size_lots": self.source.randrange(10_000, 300_000, 10), "limit_ticks": mark, "market_id": market,
            "fees": (0, 0),
        }  # fmt: skip
        orders = [
            self.ladder.venue.order(buyer, is_buy=True, **terms),
            self.ladder.venue.order(seller, is_buy=False, **terms),
        ]
        self.ladder.venue.settle(orders, [(0, 1, terms["size_lots"])])
        self.ladder.sync()

    def jump(self) -> None:
        """Prices jump, seldom far, and mark and external part."""
        market = self.source.choice(MARKETS)
        price = self.ladder.venue.price(market).mark_ticks
        spread = self.source.choice([3, 8, 8, 15, 30])
        mark = max(min(price * (100 + self.source.randint(-spread, spread)) // 100, 60_000), 1_500)
        external = mark * (1_000 + self.source.choice([0, 0, 0, 0, self.source.randint(-250, 250)])) // 1_000
        self.ladder.put_price(mark, external, market=market, session=self.source.choice(SESSIONS))
        if self.source.random() < 0.2:
            index = self.ladder.state.index(market)
            fund = self.source.randint(-(10**13), 10**13)
            moved = replace(
                index, long_index_e12=index.long_index_e12 + fund, short_index_e12=index.short_index_e12 + fund,
                reserve_ticks=self.source.choice([0, 0, 30]),
            )  # fmt: skip
            self.ladder.venue.chain.write_word("indices", market, moved.pack())
            self.ladder.sync()

    def calm(self) -> None:
        """Both prices meet in a regular session."""
        for market in MARKETS:
            self.ladder.put_price(self.ladder.venue.price(market).external_ticks, market=market)

    def wait(self) -> None:
        self.ladder.wait(self.source.choice([1, 50, 301, 901, 901, 3_601, DAY_S]))

    def deposit(self) -> None:
        self.ladder.deposit(self.source.choice(IDS), self.source.randint(1, 300 * USDC))

    def insure(self) -> None:
        market = self.source.choice(MARKETS)
        self.ladder.deposit(self.ladder.insurance_id(market), self.source.randint(1, 150 * USDC))

    def flag(self) -> None:
        self.ladder.flag(self.pick())

    def unflag(self) -> None:
        flagged = list(self.ladder.state.flags) or IDS
        self.ladder.unflag(self.source.choice(flagged))

    def liquidate(self) -> None:
        flagged = [account for account in self.ladder.state.flags if account in IDS]
        account = self.source.choice(flagged) if flagged and self.source.random() < 0.9 else self.pick()
        taker = self.source.choice([RICH_ID, RICH_ID, RICH_ID, *IDS])
        lots = self.source.choice([1 << 60, 1 << 60, self.source.randrange(0, 100_000, 10), 5])
        self.ladder.liquidate(account, lots, market=self.market(account), taker=taker)

    def open_adl(self) -> None:
        account = self.pick()
        self.ladder.open_adl(account, self.market(account))

    def nominate(self) -> None:
        adl_id = self.source.choice(self.open_adls() or [1])
        adl = self.ladder.liquidations.adls.get(adl_id)
        winners = [one for one in IDS if adl and self.size(one, adl.market_id) * (1 if adl.is_short else -1) > 0]
        self.ladder.nominate(adl_id, self.source.choice(winners if winners and self.source.random() < 0.8 else IDS))

    def execute_adl(self) -> None:
        self.ladder.execute_adl(self.source.choice(self.open_adls() or [1]))

    def cover(self) -> None:
        """Close somebody out as a cash settlement would, against whoever is on the other side, then cover."""
        market = self.source.choice(MARKETS)
        closed = [account for account in IDS if self.size(account, market)]
        negative = [account for account in IDS if self.ladder.collateral(account) < 0 and account in self.closed_out]
        if not negative and closed and self.source.random() < 0.7:
            account = min(closed, key=self.ladder.equity)
            others = [one for one in closed if self.size(one, market) * self.size(account, market) < 0]
            if len(self.ladder.state.open_positions(account)) == 1 and others:
                other, price = self.source.choice(others), self.ladder.venue.price(market).mark_ticks
                size = self.size(account, market)
                lots = min(abs(size), abs(self.size(other, market)))
                change = -lots if size > 0 else lots
                deltas = [(account, change, change * price, 0), (other, -change, -change * price, 0)]
                with self.ladder.as_corporate_actions() as sender:
                    self.ladder.venue.chain.call(
                        "Clearinghouse", "apply_deltas", market, sorted(deltas), 0, sender=sender
                    )
                self.ladder.sync()
                self.closed_out |= {account, other}
                negative = [one for one in (account, other) if self.ladder.collateral(one) < 0]
        self.ladder.cover(negative[0] if negative else self.source.choice(IDS), market)


ACTIONS: Final = {
    "trade": 6, "jump": 6, "calm": 6, "wait": 14, "deposit": 2, "insure": 1, "flag": 10, "unflag": 4, "liquidate": 16,
    "open_adl": 9, "nominate": 16, "execute_adl": 10, "cover": 4,
}  # fmt: skip


def play(seed: int) -> Counter[str]:
    """Play a history of one seed; every third with tiers."""
    source = random.Random(seed)
    ladder = Ladder.open(rules=replace(LADDER_RULES, is_tiered=seed % 3 == 0))
    if seed % 3 == 0:
        for market in MARKETS:
            for session in range(N_SESSIONS):
                word = TierWord(tiers=((1_000, 20_000), (3_000, 30_000))).pack()
                ladder.venue.chain.write_word("rules", (market << 8 | session) + (1 << 18), word)
        ladder.rules = {}
        ladder.sync()
    for account in IDS:
        ladder.deposit(account, source.randint(200 * USDC, 700 * USDC))
    ladder.deposit(RICH_ID, 10**6 * USDC)
    ladder.announce(RICH_ID, *IDS)
    run = Run(ladder, source)
    for _ in range(N_STEPS):
        run.step()
    return run.reached


@pytest.fixture(scope="module")
def reached() -> Counter[str]:
    total: Counter[str] = Counter()
    for seed in range(8):
        total += play(seed)
    return total


def test_random_histories__chain_and_model__agree_and_reach_everything(reached: Counter[str]) -> None:
    missing = OUTCOMES - set(reached)

    assert not missing, (missing, reached)
