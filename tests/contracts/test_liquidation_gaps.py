"""Days the market opens far away: weekend gaps of 20 %, and Apple's profit warning of 2000-09-28 as it was.

Everything happens as it would: reports end with the session, come back with a gap, the guard against jumps holds the
first one back, the mark walks, a keeper flags, takes over, opens and executes ADLs until nobody is sick. After every
call the books are compared with the Vault and the model with the chain (Ladder.compare).
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Final

import pytest

from afterbell.domain.batch import PriceRow
from tests.contracts.ladder import KEEPER_ID, LADDER_RULES, Ladder, key_of
from tests.contracts.venue import E8_PER_TICK, REGULAR, TICKS, USDC, Report, account_of
from tests.support.chain import Reverted

CLOSED: Final = 5
WEEKEND_S: Final = 65 * 3_600
LOTS: Final = 100_000
PERCENTS: Final = (95, 50, 34, 26, 21)
"""Collateral of each long and each short, in percent of what it holds."""


def read_day(ticker: str, day: str) -> dict[str, str]:
    """Return a row of the public price history in bokeh_sampledata."""
    path = files("bokeh_sampledata") / "_data" / "stocks.csv.gz"
    with gzip.open(str(path), "rt") as file:
        return next(row for row in csv.DictReader(file) if (row["Ticker"], row["Date"]) == (ticker, day))


@dataclass(slots=True)
class Crowd:
    """Five longs and five shorts of one size and many leverages, and a keeper."""

    ladder: Ladder
    accounts: list[int]
    insured_quote: int

    @classmethod
    def open(cls, *, price_ticks: int = TICKS, insurance_quote: int = 100 * USDC) -> Crowd:
        ladder = Ladder.open(
            rules=replace(LADDER_RULES, min_notional_quote=USDC),
            n_markets=1,
        )
        crowd = cls(ladder, [], insurance_quote)
        if price_ticks != TICKS:
            crowd.walk(price_ticks)
        for percent in PERCENTS:
            for side in ("long", "short"):
                account = account_of(key_of(f"{side}{percent}"))
                ladder.deposit(account, LOTS * price_ticks * percent // 100)
                crowd.accounts.append(account)
            ladder.trade(key_of(f"long{percent}"), key_of(f"short{percent}"), LOTS, price_ticks // 5 * 5)
        ladder.deposit(KEEPER_ID, 100_000 * USDC)
        ladder.announce(KEEPER_ID)
        ladder.deposit(ladder.insurance_id(), insurance_quote)
        return crowd

    def report(self, ticks: int, session: int = REGULAR) -> None:
        """Settle a batch with a signed report and a row that wants the mark there."""
        self.ladder.venue.settle(
            rows=[PriceRow(market_id=1, mark_ticks=ticks, index_ticks=ticks)],
            evidence=self.ladder.venue.evidence([Report(price_e8=ticks * E8_PER_TICK, session=session)]),
        )
        self.ladder.sync()

    def walk(self, ticks: int) -> None:
        """Report a price every minute until external and mark have come to it."""
        for _ in range(40):
            self.ladder.venue.wait(61)
            self.report(ticks)
            price = self.ladder.venue.price()
            if price.mark_ticks == price.external_ticks == ticks:
                return
        raise AssertionError(f"the mark must reach {ticks}, found {price}")

    def tend(self) -> set[str]:
        """Do once what a keeper does for everybody; return which steps passed."""
        ladder, done = self.ladder, set()
        for account in self.accounts:
            for step in (self.flag, self.liquidate, self.open_adl):
                try:
                    step(account)
                except Reverted:
                    continue
                done.add(step.__name__)
        for adl_id, adl in ladder.liquidations.adls.items():
            if adl.is_done:
                continue
            for account in self.accounts:
                try:
                    ladder.nominate(adl_id, account)
                except Reverted:
                    continue
                done.add("nominate")
            try:
                ladder.execute_adl(adl_id)
            except Reverted:
                continue
            done.add("execute_adl")
        return done

    def flag(self, account: int) -> None:
        self.ladder.flag(account)

    def liquidate(self, account: int) -> None:
        self.ladder.liquidate(account)

    def open_adl(self, account: int) -> None:
        self.ladder.open_adl(account)

    def sick(self) -> list[int]:
        call = self.ladder.venue.chain.call
        return [one for one in self.accounts if call("Liquidations", "check_order", one, 0, 1, self.ladder.now_s) != 22]

    def ride_out(self, ticks: int) -> set[str]:
        """Report the price every minute and tend until nobody is sick at it; return which steps were taken."""
        done: set[str] = set()
        for _ in range(40):
            self.ladder.venue.wait(61)
            self.report(ticks)
            done |= self.tend()
            price = self.ladder.venue.price()
            if price.mark_ticks == price.external_ticks == ticks and not self.sick():
                return done
        raise AssertionError(
            f"everybody must be well in 40 minutes, found {self.sick()} at {self.ladder.venue.price()}"
        )

    def check_end(self) -> None:
        """Nobody without a position owes, nobody is below zero at the end, insurance lost at most a day's cap."""
        for account in self.accounts:
            assert self.ladder.equity(account) >= 0
            if not self.ladder.venue.position(account).size_lots:
                assert self.ladder.collateral(account) >= 0
        left_quote = self.ladder.collateral(self.ladder.insurance_id())
        assert left_quote >= self.insured_quote - self.insured_quote * 20 // 100
        pot = self.ladder.venue.totals().pot_quote
        assert 0 <= pot < LOTS * len(self.accounts)


@pytest.mark.parametrize("percent", [80, 120])
def test_weekend_gap__a_fifth__solvent_at_every_step(percent: int) -> None:
    """Two longs, or shorts, of five are below maintenance at the open; the thinnest has a percent left."""
    crowd = Crowd.open()
    ladder = crowd.ladder
    crowd.report(TICKS, CLOSED)
    ladder.venue.wait(WEEKEND_S)
    # nobody is liquidated on Friday's price
    assert crowd.sick() == []
    total = sum(ladder.equity(account) for account in ladder.accounts)
    gap = TICKS * percent // 100

    done = crowd.ride_out(gap)

    assert {"flag", "liquidate"} <= done
    crowd.check_end()
    # everything that was there is there, but for quotes in the pot
    pot = ladder.venue.totals().pot_quote
    assert sum(ladder.equity(account) for account in ladder.accounts) + pot == total


def test_apple_profit_warning__minus_47_percent_overnight__nobody_else_pays() -> None:
    """2000-09-28 closed at 53.50 USD, 2000-09-29 opened at 28.19: three longs of five are bankrupt at the open."""
    close, opening = (
        round(float(read_day("AAPL", day)[column]) * 100)
        for day, column in (("2000-09-28", "Close"), ("2000-09-29", "Open"))
    )
    assert (close, opening) == (5_350, 2_819)
    crowd = Crowd.open(price_ticks=close)
    ladder = crowd.ladder
    crowd.report(close, CLOSED)
    ladder.venue.wait(11 * 3_600)
    total = sum(ladder.equity(account) for account in ladder.accounts)
    before = {account: ladder.equity(account) for account in crowd.accounts}

    done = crowd.ride_out(opening)

    assert {"flag", "liquidate", "open_adl", "nominate", "execute_adl"} <= done
    crowd.check_end()
    pot = ladder.venue.totals().pot_quote
    assert sum(ladder.equity(account) for account in ladder.accounts) + pot == total
    # the long that had 95 % is poorer by its own loss alone
    long95 = crowd.accounts[0]
    assert ladder.equity(long95) == before[long95] - (close - opening) * LOTS
    # no short is worse off than it was
    for account in crowd.accounts[1::2]:
        assert ladder.equity(account) >= before[account]
