"""Random books, built by real batches; then everybody leaves, in any order, by every door, as the model says.

A seed makes one history: deposits, trades in eight markets, prices that move, funding, a sequencer that dies or limps.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain.account_risk import Basis, Risk, compute_risk, read_holdings
from afterbell.domain.batch import OrderRecord
from afterbell.domain.chain_state import Mode
from afterbell.domain.exits import compute_withdrawable_quote
from afterbell.domain.final_settlement import compute_final_equity_quote
from afterbell.domain.order import TimeInForce
from afterbell.domain.words import IndexWord
from afterbell.signing.keys import SigningKey
from tests.contracts.leaving import CLOSED, DAY_S, HALTED, HOUR_S, N_MARKETS, Exodus, insurance_account
from tests.contracts.venue import REGULAR, USDC, Venue, account_of, refused
from tests.support.chain import OUTSIDER, SEQUENCER, Reverted

KEYS = [SigningKey(bytes([0x40 + number]) * 32) for number in range(8)]
USERS = [account_of(key) for key in KEYS]
EVERYTHING = 2**64 - 1
REQUIRED = frozenset(
    {
        "withdrawal paid", "withdrawal 0", "close taken", "observed 4", "observed 7", "cancelled",
        "entered", "left", "exits: taker margin", "exits: no price", "exits: too early", "exits: no request",
        "exits: request open", "exits: not announced", "exits: no position", "exits: not due", "exits: halted",
        "exits: mode", "exits: not cleared", "exits: own request",
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Venue:
    return Venue.open(n_markets=N_MARKETS, deposit_quote=0)


class History:
    """One seed's history."""

    def __init__(self, venue: Venue, seed: int, seen: Counter[str] | None = None) -> None:
        self.random = Random(seed)
        self.seen: Counter[str] = Counter() if seen is None else seen
        self.exodus = Exodus(venue, accounts=list(USERS))
        self.exodus.sync()

    def build_book(self) -> None:
        """Deposit, trade, move prices and indices: each batch is the real thing."""
        pick, exodus = self.random, self.exodus
        for user in USERS:
            exodus.deposit(user, pick.choice([1, 30 * USDC, 120 * USDC, 500 * USDC, 5_000 * USDC]))
        if pick.random() < 0.5:
            exodus.deposit(insurance_account(exodus, 3), pick.randrange(1, 200) * USDC)
        for _ in range(pick.randrange(3, 7)):
            exodus.wait(pick.choice([4, 30, 61]))
            exodus.set_prices({market: pick.randrange(9_400, 10_600) for market in range(1, N_MARKETS + 1)})
            self.trade()
        if pick.random() < 0.7:
            self.move_indices()
        if pick.random() < 0.5:
            self.jump()
        for user in pick.sample(USERS, 6):
            exodus.announce(user)
        exodus.wait(301)

    def trade(self) -> None:
        """Settle a batch of random pairs at random prices inside the band; what margin refuses is simply not filled."""
        pick, venue = self.random, self.exodus.venue
        orders: list[tuple[int, OrderRecord]] = []
        fills: list[tuple[int, int, int]] = []
        for _ in range(pick.randrange(4, 14)):
            buyer, seller = pick.sample(KEYS, 2)
            market, lots = pick.randrange(1, N_MARKETS + 1), pick.randrange(100, 30_000, 10)
            price = pick.randrange(9_600, 10_400, 5)
            place = len(orders)
            for key, is_buy in ((buyer, True), (seller, False)):
                terms: dict[str, Any] = {
                    "market_id": market,
                    "size_lots": lots,
                    "limit_ticks": price,
                    "lane": place * 2 + is_buy + 1,
                }
                orders.append(venue.order(key, is_buy=is_buy, time_in_force=TimeInForce.GTC, **terms))
            fills.append((place, place + 1, lots))
        venue.settle(orders, fills)
        self.exodus.sync()

    def move_indices(self) -> None:
        """Move funding indices as batches would: longs pay what shorts get, or the other way round."""
        for market in range(1, N_MARKETS + 1):
            moved = self.random.randrange(-(10**14), 10**14)
            word = IndexWord(long_index_e12=moved, short_index_e12=moved).pack()
            self.exodus.venue.chain.write_word("indices", market, word)
        self.exodus.sync()

    def jump(self) -> None:
        """Let a market fall or rise further than anybody's margin: reported twice, as jumps are."""
        market, ticks = self.random.randrange(1, N_MARKETS + 1), self.random.choice([3_000, 6_000, 15_000, 30_000])
        for _ in range(2):
            self.exodus.wait(60)
            self.exodus.set_prices({market: ticks})

    def risk(self, user: int) -> Risk:
        """Sum an account at the worse of mark and last external prices."""
        state, now_s = self.exodus.state, self.exodus.now_s
        return compute_risk(state.account(user).collateral_quote, read_holdings(state, user, now_s), Basis.WORSE)

    # Leaving.

    def ask(self) -> None:
        """Let most users ask for most of what they have, and the six hours pass."""
        for user in USERS:
            if self.random.random() < 0.5:
                self.ask_money(user, user, 0)
            for market in self.exodus.state.account(user).open_markets:
                if market and self.random.random() < 0.7:
                    self.ask_close(user, user, market)
        self.exodus.wait(6 * HOUR_S - self.random.choice([0, 1]))

    def step(self) -> None:
        """Do one thing somebody might."""
        exodus, pick = self.exodus, self.random
        user, other, market = pick.choice(USERS), pick.choice(USERS), pick.randrange(1, N_MARKETS + 1)
        held = [m for m in exodus.state.account(user).open_markets if m]
        if held and pick.random() < 0.9:
            market = pick.choice(held)
        closes = sorted(key for key in exodus.exits.requests if key & 0xFFFF)
        actions = {
            self.ask_money: 3, self.ask_close: 5, self.cancel: 1, self.announce: 3, self.pay: 5, self.take: 14,
            self.look: 8, self.pass_time: 9, self.live: 2, self.change_mode: 2,
        }  # fmt: skip
        action = pick.choices(list(actions), list(actions.values()))[0]
        if action in (self.take, self.look, self.cancel) and closes and pick.random() < 0.8:
            user, market = divmod(pick.choice(closes), 1 << 16)
        try:
            self.seen[action(user, other, market)] += 1
        except Reverted as error:
            self.seen[error.reason] += 1

    def ask_money(self, user: int, _other: int, _market: int) -> str:
        self.exodus.request_withdrawal(user, self.random.choice([1, 5 * USDC, 100 * USDC, EVERYTHING]))
        return "asked"

    def ask_close(self, user: int, _other: int, market: int) -> str:
        worst = self.random.choice([0, 1, 8_000, 9_000, 9_900, 10_100, 11_000, 13_000, 2**40 - 1])
        lots = self.random.choice([1, 500, EVERYTHING])
        self.exodus.request_close(user, lots, worst, market=market)
        return "asked"

    def cancel(self, user: int, _other: int, market: int) -> str:
        self.exodus.cancel(user, self.random.choice([0, market]))
        return "cancelled"

    def announce(self, user: int, _other: int, _market: int) -> str:
        self.exodus.announce(user)
        return "announced"

    def pay(self, user: int, _other: int, _market: int) -> str:
        paid = self.exodus.force_withdrawal(user, sender=self.random.choice([OUTSIDER, OUTSIDER, SEQUENCER]))
        return "withdrawal paid" if paid else "withdrawal 0"

    def take(self, user: int, other: int, market: int) -> str:
        """A close takes nothing from the account it closes that its other positions stand on."""
        exodus = self.exodus
        size = exodus.state.position(user, market).size_lots
        opposite = [taker for taker in USERS if exodus.state.position(taker, market).size_lots * size < 0]
        if opposite and self.random.random() < 0.6:
            other = self.random.choice(opposite)
        before = self.risk(user)
        exodus.force_close(user, other, lots=self.random.choice([100, 5_000, EVERYTHING]), market=market)
        after = self.risk(user)
        assert after.equity_quote >= 0
        assert (
            after.equity_quote >= after.settlement_margin_quote
            or before.equity_quote <= 0
            or after.equity_quote * before.maintenance_margin_quote
            >= before.equity_quote * after.maintenance_margin_quote
        )
        for account in map(exodus.state.account, (user, other)):
            assert any(account.open_markets) or account.collateral_quote >= 0
        return "close taken"

    def look(self, user: int, _other: int, market: int) -> str:
        return f"observed {self.exodus.observe(user, market)}"

    def pass_time(self, _user: int, _other: int, _market: int) -> str:
        self.exodus.wait(self.random.choice([1, 299, 900, HOUR_S, 6 * HOUR_S, 6 * HOUR_S, 20 * HOUR_S, 3 * DAY_S]))
        return "waited"

    def live(self, _user: int, _other: int, market: int) -> str:
        """The sequencer is there after all, for one batch."""
        exodus, pick = self.exodus, self.random
        exodus.wait(1)
        if pick.random() < 0.3:
            exodus.heartbeat()
        elif pick.random() < 0.3:
            self.trade()
        else:
            session = pick.choice([REGULAR, REGULAR, CLOSED, HALTED])
            prices = {m: pick.randrange(9_500, 10_500) for m in sorted({market, pick.randrange(1, N_MARKETS + 1)})}
            exodus.set_prices(prices, session=session)
        return "batch"

    def change_mode(self, _user: int, _other: int, _market: int) -> str:
        if self.exodus.state.mode != Mode.EXIT and self.random.random() < 0.7:
            self.exodus.enter()
            return "entered"
        if self.random.random() < 0.6:
            self.exodus.heartbeat()
        self.exodus.leave()
        return "left"


def leave_in_order(exodus: Exodus, order: list[int]) -> dict[int, int]:
    """Force everybody's withdrawal in an order, undo it, and return what each got."""
    chain = exodus.venue.chain
    with chain.undone():
        paid = {user: chain.call("Exits", "force_withdrawal", user) for user in order}
        exodus.venue.check_books()
        return paid


@given(seed=st.integers(0, 2**32 - 1))
def test_exits__any_book_and_any_steps__contract_and_model_agree_on_every_word(shared: Venue, seed: int) -> None:
    with shared.chain.undone():
        history = History(shared, seed)
        history.build_book()
        history.ask()
        for _ in range(60):
            history.step()


@given(seed=st.integers(0, 2**32 - 1))
def test_forced_withdrawals__of_everybody_in_any_order__pay_each_the_same(shared: Venue, seed: int) -> None:
    """Invariant 18: nobody's amount depends on when others went; who has no position gets everything."""
    with shared.chain.undone():
        history = History(shared, seed)
        exodus = history.exodus
        history.build_book()
        for user in USERS:
            exodus.request_withdrawal(user, EVERYTHING)
        exodus.wait(history.random.choice([6 * HOUR_S, DAY_S, 5 * DAY_S, 30 * DAY_S]))
        expected = {user: compute_withdrawable_quote(exodus.state, user, exodus.now_s) for user in USERS}

        for _ in range(3):
            order = history.random.sample(USERS, len(USERS))
            assert leave_in_order(exodus, order) == expected
        for user in USERS:
            if not any(exodus.state.account(user).open_markets):
                assert expected[user] == exodus.state.account(user).collateral_quote


@given(seed=st.integers(0, 2**32 - 1))
def test_final_settlement__of_any_book_in_any_order__pays_equity_times_one_ratio(shared: Venue, seed: int) -> None:
    with shared.chain.undone():
        history = History(shared, seed)
        exodus, pick = history.exodus, history.random
        history.build_book()
        for _ in range(pick.choice([0, 25])):
            history.step()
        if exodus.state.mode == 0:
            exodus.wait(max(exodus.state.batch.matched_at_s + DAY_S + 1 - exodus.now_s, 0))
            exodus.enter()
        exodus.wait(7 * DAY_S)
        exodus.start_settlement()
        assets = exodus.state.tracked_quote - sum(exodus.state.claims.values())
        equities = {user: max(compute_final_equity_quote(exodus.state, user), 0) for user in USERS}
        total = sum(equities.values())

        order = pick.sample(exodus.accounts, len(exodus.accounts))
        while order:
            n = pick.randrange(1, len(order) + 1)
            # some come again: it changes nothing
            fixed = (
                exodus.tally([*order[:n], *pick.sample(exodus.accounts, 2)])
                if not exodus.exits.is_ratio_fixed
                else True
            )
            order = order[n:]
        assert fixed
        assert (exodus.exits.assets_quote, exodus.exits.positive_equity_quote) == (assets, total)

        paid = {}
        for user in pick.sample(USERS, len(USERS)):
            if exodus.venue.chain.call("Exits", "claimable_quote", user):
                paid[user] = exodus.claim(user)
            else:
                with refused("exits: nothing to claim"):
                    exodus.claim(user)
                paid[user] = 0
        for user, equity in equities.items():
            exact = equity if assets >= total else equity * assets / total
            assert exact - 1 <= paid[user] <= exact
        assert sum(paid.values()) <= assets
        assert exodus.state.tracked_quote - sum(exodus.state.claims.values()) == assets - sum(paid.values())


def test_random_histories__of_twenty_seeds__reach_every_outcome(shared: Venue) -> None:
    """A random test that never meets a case proves nothing about it."""
    seen: Counter[str] = Counter()
    for seed in range(20):
        with shared.chain.undone():
            history = History(shared, seed, seen)
            history.build_book()
            history.ask()
            for _ in range(60):
                history.step()
    assert set(seen) >= REQUIRED, REQUIRED - set(seen)
