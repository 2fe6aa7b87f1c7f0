"""CorporateActions against its model: random histories, call by call, on the deployed contracts.

What batches do is read back into the model; every call of CorporateActions is made on both. They agree on the reason of
a refusal, and otherwise on every word of the Clearinghouse, the multiplier, the halt and the state of the action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from functools import partial
from random import Random
from typing import Any, Final

from afterbell.domain import corporate_actions as model
from afterbell.domain.chain_state import ChainState
from afterbell.domain.corporate_actions import ActionKind, Announcement, CorporateActionsState, StandingAction
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import account_key, position_key, rules_key
from afterbell.domain.liquidations import LiquidationsState, cover
from afterbell.domain.oracle import Observation, OracleMarket, OracleState
from afterbell.domain.words import AccountWord
from afterbell.signing.keys import SigningKey
from tests.contracts.corporate import ANNOUNCER, DAY_S, GUARDIAN, LAG_S, Exchange, digest_of
from tests.contracts.venue import RULES, USDC, account_of
from tests.support.chain import GOVERNOR, Reverted

N_HISTORIES: Final = 16
N_STEPS: Final = 300
MARKETS: Final = (1, 2)
KEYS: Final = tuple(SigningKey(bytes([0x71 + number]) * 32) for number in range(6))
REACHED: Final = {
    "action: another stands", "action: none", "action: kind", "action: done", "action: fields", "action: notice",
    "action: ex date", "action: ratio", "action: dividend", "action: reserve time", "action: final price",
    "action: nothing to confirm", "action: unconfirmed", "action: digest", "action: too early", "action: reserved",
    "action: activated", "action: not activated", "action: no report", "action: discontinuous",
    "action: nothing cancels", "announce", "confirm", "cancel", "reserve", "activate", "reopen", "correct_split",
    "settle_positions", *(f"activate {kind.name}" for kind in ActionKind),
}  # fmt: skip


def ordered(word: int) -> AccountWord:
    """Return an account with its open markets sorted: their places mean nothing."""
    account = AccountWord.unpack(word)
    return replace(account, open_markets=tuple(sorted(account.open_markets)))


class Pair:
    """The contracts and the model beside them."""

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self.exchange = exchange
        self.random = Random(seed)
        self.seen: Counter[str] = Counter()
        self.chain = exchange.venue.chain
        self.insurance = [self.chain.call("Liquidations", "insurance_account", market) for market in MARKETS]
        self.accounts = [*(account_of(key) for key in KEYS), *self.insurance]
        self.venue = model.Venue(
            chain=ChainState(rules={rules_key(market, 2): RULES.pack() for market in MARKETS}),
            oracle=OracleState(
                markets={market: OracleMarket(ticks_per_usd=100, max_confidence_ppm=5_000) for market in MARKETS}
            ),
            actions=CorporateActionsState(),
        )
        address = bytes.fromhex(self.chain.addresses["Liquidations"][2:])
        self.liquidations = LiquidationsState(address=address)
        self.last: dict[int, Announcement] = {}
        self.n_steps = 0

    @property
    def now_s(self) -> int:
        return self.chain.time_s

    # Words.

    def read(self) -> dict[str, dict[int, int]]:
        call = partial(self.chain.call, "Clearinghouse")
        words = {
            "prices": {market: call("price_word", market) for market in MARKETS},
            "indices": {market: call("index_word", market) for market in MARKETS},
            "totals": {market: call("totals_word", market) for market in MARKETS},
            "accounts": {account_key(account): call("account_word", account) for account in self.accounts},
            "positions": {
                position_key(account, market): call("position_word", account, market)
                for account in self.accounts
                for market in MARKETS
            },
        }
        return {name: {key: word for key, word in part.items() if word} for name, part in words.items()}

    def sync(self) -> None:
        """Take into the model what a batch did."""
        for name, part in self.read().items():
            setattr(self.venue.chain, name, part)
        self.venue.chain.batch_word = self.chain.call("Clearinghouse", "batch_word")
        for market in MARKETS:
            word = self.chain.call("PriceOracle", "observation_words", market)[0]
            self.venue.oracle.primaries[market] = Observation(
                price_e8=word & 2**64 - 1, publish_time_s=word >> 64 & 2**40 - 1
            )

    def compare(self) -> None:
        """Hold every word against the model's."""
        for name, part in self.read().items():
            held = {key: word for key, word in getattr(self.venue.chain, name).items() if word}
            given: dict[int, Any] = dict(part)
            if name == "accounts":
                given, held = ({key: ordered(word) for key, word in words.items()} for words in (part, held))
            assert given == held, name
        assert self.venue.chain.batch_word == self.chain.call("Clearinghouse", "batch_word")
        for market in MARKETS:
            oracle_market = self.venue.oracle.markets[market]
            multiplier = (oracle_market.multiplier_num, oracle_market.multiplier_den)
            assert self.exchange.multiplier(market) == multiplier
            halt_from_s = self.venue.actions.halt_from_s(market)
            assert self.exchange.call("halt_from", market) == halt_from_s
            action = self.venue.actions.actions.get(market)
            word = 0
            if action:
                said = action.announcement
                word = said.effective_s | said.reserve_s << 40 | action.activated_s << 80 | said.kind << 120
                word |= action.is_waiting << 128 | action.is_cancelled << 129 | action.halted_s << 136
            assert self.exchange.call("state_words", market) == word
        self.exchange.venue.check_books()

    def both(self, name: str, on_model: Callable[[], Any], *arguments: Any, sender: str) -> bool:
        """Make a call on both; return whether it passed."""
        reason = None
        try:
            on_model()
        except DirectRefused as error:
            reason = error.reason
        told = None
        try:
            self.exchange.call(name, *arguments, sender=sender)
        except Reverted as error:
            told = error.reason
        assert told == reason, f"{name}{arguments}: the contract says {told}, the model {reason}"
        self.seen[reason or name] += 1
        if reason is None:
            self.compare()
        return reason is None

    # Steps.

    def pick(self, is_meant: Callable[[StandingAction | None], bool]) -> int:
        """Return a market, mostly one in whose state a call makes sense."""
        meant = [market for market in MARKETS if is_meant(self.venue.actions.actions.get(market))]
        return self.random.choice(meant if meant and self.random.random() < 0.8 else MARKETS)

    def announce(self) -> None:
        random, market = self.random, self.pick(lambda action: action is None or action.is_cancelled)
        # a market that ends says nothing more
        weights = [2, 5, 9 if self.n_steps > N_STEPS * 6 // 10 else 0, 1, 1, 1]
        (kind,) = random.choices(list(ActionKind), weights)
        unit_e8 = self.venue.chain.price(market).external_ticks * 10**6
        oracle_market = self.venue.oracle.markets[market]
        share_e8 = unit_e8 * oracle_market.multiplier_den // oracle_market.multiplier_num
        changes: dict[str, Any] = {"market_id": market, "ahead_s": random.choice([1, 1, 2, 5, 8]) * DAY_S}
        if kind in model.WITH_RATIO:
            changes |= {"num": random.choice([1, 2, 3, 7]), "den": random.choice([1, 1, 2, 5])}
        if kind is ActionKind.DIVIDEND:
            changes["price_e8"] = share_e8 * random.choice([3, 15, 60, 250]) // 1_000 + random.randrange(10**6)
        if kind is ActionKind.CASH_SETTLEMENT:
            changes["price_e8"] = random.choice([0, share_e8, share_e8 * 13 // 10])
            changes["ahead_s"] = random.choice([2, 8]) * DAY_S
        announcement = self.exchange.announcement(kind, **changes)
        if random.random() < 0.4:
            announcement = self.spoil(announcement)
        sender = random.choice([ANNOUNCER, ANNOUNCER, GOVERNOR])
        is_made = self.both(
            "announce",
            lambda: model.announce(self.venue, announcement, is_governor=sender == GOVERNOR, now_s=self.now_s),
            astuple(announcement),
            sender=sender,
        )
        if is_made:
            self.last[market] = announcement

    def spoil(self, announcement: Announcement) -> Announcement:
        random = self.random
        change: dict[str, Any] = random.choice(
            [
                {"kind": random.choice([0, 7])}, {"num": 5}, {"den": 0}, {"num": 101, "den": 1}, {"num": 1, "den": 1},
                {"price_e8": 1}, {"price_e8": 2**64 - 1}, {"price_e8": 2**64}, {"symbol": "X"}, {"symbol": ""},
                {"second_source_id": 257}, {"source_id": 256}, {"reserve_s": 0}, {"reserve_s": self.now_s - 1},
                {"reserve_s": announcement.effective_s - random.choice([3_599, 3_600])},
                {"effective_s": self.now_s + DAY_S - random.randrange(2)}, {"effective_s": self.now_s + 91 * DAY_S},
                {"ex_date": announcement.ex_date + random.choice([-2, -1, 1, 2])},
            ]
        )  # fmt: skip
        return replace(announcement, **change)

    def repeat(self) -> None:
        """Announce once more what was announced last, perhaps a day later."""
        if not self.last:
            return
        announcement = self.random.choice(list(self.last.values()))
        later_s = self.now_s + DAY_S + self.random.randrange(100)
        if self.random.random() < 0.7:
            reserve_s = later_s - 3_600 if announcement.reserve_s else 0
            announcement = replace(announcement, effective_s=later_s, reserve_s=reserve_s)
        self.both(
            "announce",
            lambda: model.announce(self.venue, announcement, is_governor=False, now_s=self.now_s),
            astuple(announcement),
            sender=ANNOUNCER,
        )

    def confirm(self) -> None:
        market = self.pick(lambda action: action is not None and action.is_waiting)
        action = self.venue.actions.actions.get(market)
        announcement = action.announcement if action else self.exchange.announcement(ActionKind.STEP)
        if self.random.random() < 0.1:
            announcement = replace(announcement, price_e8=announcement.price_e8 + 1)
        self.both(
            "confirm",
            lambda: model.confirm(self.venue, market, announcement),
            market,
            digest_of(announcement),
            sender=GUARDIAN,
        )

    def cancel(self) -> None:
        market = self.random.choice(MARKETS)
        self.both("cancel", lambda: model.cancel(self.venue, market), market, sender=GUARDIAN)

    def reserve(self) -> None:
        market = self.pick(lambda action: action is not None and action.announcement.kind == ActionKind.DIVIDEND)
        self.both("reserve", lambda: model.reserve(self.venue, market, now_s=self.now_s), market, sender=GUARDIAN)

    def activate(self) -> None:
        market = self.pick(lambda action: action is not None and not action.activated_s)
        action = self.venue.actions.actions.get(market)
        if self.both("activate", lambda: model.activate(self.venue, market, now_s=self.now_s), market, sender=GUARDIAN):
            assert action is not None
            self.seen[f"activate {ActionKind(action.announcement.kind).name}"] += 1
            # sources were replaced or splits applied: what was observed is forgotten on both sides
            self.sync()

    def reopen(self) -> None:
        market = self.pick(lambda action: action is not None and (action.activated_s > 0 or action.is_cancelled))
        sender = self.random.choice([GUARDIAN, GUARDIAN, GUARDIAN, GOVERNOR])
        self.both(
            "reopen",
            lambda: model.reopen(self.venue, market, is_governor=sender == GOVERNOR, now_s=self.now_s),
            market,
            sender=sender,
        )

    def correct(self) -> None:
        market, num, den = self.random.choice(MARKETS), self.random.choice([1, 2]), self.random.choice([1, 3])
        self.both(
            "correct_split",
            lambda: model.correct_split(self.venue, market, num, den, now_s=self.now_s),
            market,
            num,
            den,
            sender=GOVERNOR,
        )

    def settle_positions(self) -> None:
        market = self.pick(lambda action: action is not None and action.activated_s > 0)
        group = sorted(self.random.sample(self.accounts, self.random.randrange(1, len(self.accounts) + 1)))

        def on_model() -> None:
            model.settle_positions(
                self.venue,
                market,
                group,
                cover=lambda account, at: cover(self.venue.chain, self.liquidations, account, at, self.now_s),
            )

        self.both("settle_positions", on_model, market, group, sender=GUARDIAN)

    def trade(self) -> None:
        """Try a fill at the market's price, reporting it first; whatever becomes of it."""
        market = self.random.choice(MARKETS)
        self.report(market, [100, 100, 101, 98])
        price = self.venue.chain.price(market)
        limit_ticks = max(price.external_ticks // 5 * 5, 5)
        lots = 10 * self.random.randrange(200, 4_000)
        buyer, seller = self.random.sample(KEYS, 2)
        terms: dict[str, Any] = {
            "market_id": market, "size_lots": lots, "limit_ticks": limit_ticks, "epoch": price.epoch,
        }  # fmt: skip
        make = self.exchange.venue.order
        pair = [make(seller, is_buy=False, **terms), make(buyer, is_buy=True, **terms)]
        settled = self.exchange.venue.settle(pair, [(0, 1, lots)])
        self.seen["trade" if settled.is_clean else "no trade"] += 1
        self.sync()

    def report(self, market: int = 0, factors: Sequence[int] = (100, 100, 101, 98, 104, 95, 130, 80, 500)) -> None:
        """Report a price a share that agrees with the market's, mostly."""
        market = market or self.random.choice(MARKETS)
        oracle_market = self.venue.oracle.markets[market]
        unit_ticks = self.venue.chain.price(market).external_ticks
        factor = self.random.choice(factors)
        unit_e8 = unit_ticks * 10**6 * factor // 100
        share_e8 = max(unit_e8 * oracle_market.multiplier_den // oracle_market.multiplier_num, 10**6)
        self.exchange.venue.wait(1)
        self.exchange.report(share_e8, market=market, mark_ticks=unit_ticks)
        self.sync()

    def wait(self) -> None:
        """Let time pass, often to where something changes."""
        places = [self.now_s + self.random.choice([1, 60, 301, 3_600, DAY_S])]
        for action in self.venue.actions.actions.values():
            said = action.announcement
            edges = [said.effective_s, said.effective_s + LAG_S, said.effective_s + LAG_S + 1]
            if said.reserve_s:
                edges += [said.reserve_s + LAG_S, said.reserve_s + LAG_S + 1]
            places += [edge + self.random.choice([-1, 0, 0, 0]) for edge in edges]
        later = [place for place in places if place >= self.now_s]
        self.chain.set_time(min(later) if self.random.random() < 0.6 else self.random.choice(later))

    def run(self) -> None:
        steps: list[tuple[int, Callable[[], None]]] = [
            (10, self.announce), (3, self.repeat), (10, self.confirm), (2, self.cancel), (10, self.reserve),
            (14, self.activate), (8, self.reopen), (2, self.correct), (7, self.settle_positions), (12, self.trade),
            (6, self.report), (24, self.wait),
        ]  # fmt: skip
        weights = [weight for weight, _ in steps]
        for _ in range(12):
            self.trade()
        for self.n_steps in range(N_STEPS):
            self.random.choices([step for _, step in steps], weights)[0]()


def test_histories__random_ones__contract_and_model_agree_on_every_call_and_word() -> None:
    exchange = Exchange.open(deposit_quote=0)
    chain = exchange.venue.chain
    seen: Counter[str] = Counter()
    for key in KEYS[:-1]:
        chain.deposit(account_of(key), 5_000 * USDC)
    # one that a gap can ruin, and an insurance that can pay for it
    chain.deposit(account_of(KEYS[-1]), 30 * USDC)
    for market in MARKETS:
        chain.deposit(chain.call("Liquidations", "insurance_account", market), 500 * USDC)

    for seed in range(N_HISTORIES):
        with chain.undone():
            pair = Pair(exchange, seed)
            pair.sync()
            pair.run()
            seen += pair.seen

    assert REACHED - set(seen) == set(), seen
    assert seen["trade"] > N_HISTORIES * 10
