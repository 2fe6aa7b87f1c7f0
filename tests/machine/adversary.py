"""A sequencer that wants its users' money: what may they lose, at most?

In each step the books of every user are valued at the external price before and after. What is lost beyond the move of
that price must be covered by what the user signed (distance of the limit from the external price, highest fee), by the
cap on funding, or, for an account that was below maintenance margin at the external price, by a liquidation inside
the band (I-16). The batches are made by the machine's own generator with every choice left to chance.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

from afterbell.domain.batch import Payload
from afterbell.domain.order import FLAG_IS_BUY, FLAG_LIQUIDATION
from tests.machine.books import FUNDING_CATCH_UP_S, MAX_RATE_PER_8H, N_MARKETS, Books, bits, require
from tests.machine.system import System, rules_of
from tests.support.chain import Reverted

PPM: Final = 10**6
MAX_BAND_PPM: Final = 100_000
LIQUIDATION_FEE_PPM: Final = 1_000
DRAWN: Final = (
    ("trade",) * 40 + ("prices",) * 6 + ("funding",) * 2 + ("liquidation_batch",) * 4 + ("pass",) * 4 + ("crash",)
)


def list_filled(payload: Payload, codes: bytes) -> Counter[int]:
    """Return the settled lots of each order, by its number in the batch."""
    filled: Counter[int] = Counter()
    first = len(payload.operations) + payload.n_orders
    for number, fill in enumerate(payload.fills):
        if codes[first + number] == 0:
            filled[fill.maker_order] += fill.size_lots
            filled[fill.taker_order] += fill.size_lots
    return filled


def compute_allowed_quote(books: Books, payload: Payload, codes: bytes) -> Counter[int]:
    """Return what each account may lose by the fills of a batch, beyond the move of the external price."""
    allowed: Counter[int] = Counter()
    filled = list_filled(payload, codes)
    number = -1
    for account in payload.accounts:
        for order in account.orders:
            number += 1
            lots = filled[number]
            if not lots:
                continue
            external = bits(books.prices[order.market_id], 80, 40)
            highest = external + external * MAX_BAND_PPM // PPM
            distance = order.limit_ticks - external if order.flags & FLAG_IS_BUY else external - order.limit_ticks
            fee_ppm = order.max_fee_ppm
            if order.flags & FLAG_LIQUIDATION:
                distance, fee_ppm = external * MAX_BAND_PPM // PPM, LIQUIDATION_FEE_PPM
            allowed[account.account_id] += (
                lots * max(0, distance) + lots * highest * fee_ppm // PPM + len(payload.fills)
            )
    return allowed


def list_liquidated(payload: Payload, codes: bytes) -> set[int]:
    """Return the accounts a settled liquidation order belongs to."""
    filled = list_filled(payload, codes)
    orders = [(account.account_id, order) for account in payload.accounts for order in account.orders]
    return {
        account for number, (account, order) in enumerate(orders) if order.flags & FLAG_LIQUIDATION and filled[number]
    }


def check_step(old: Books, system: System) -> None:
    """Hold I-16 for every account of every user."""
    books = system.books
    before, after = old.externals(), books.externals()
    allowed: Counter[int] = Counter()
    if system.settled is not None:
        allowed = compute_allowed_quote(books, *system.settled)
        for account in list_liquidated(*system.settled):
            # valued as it stood, at the prices the batch was judged by
            equity = old.equity_quote(account, after)
            maintenance = sum(
                abs(old.positions[account, market].lots) * after[market] * rules_of(market, 2).maintenance_margin_ppm
                for market in range(1, N_MARKETS + 1)
            )
            # tiers add at most their two steps
            require(equity * PPM < maintenance * 2, "I-16 a healthy account was liquidated", hex(account), equity)
    for account in system.trader_accounts():
        moved = sum(
            old.positions[account, market].lots * (after[market] - before[market]) for market in range(1, N_MARKETS + 1)
        )
        funding = 0
        for market in range(1, N_MARKETS + 1):
            dt = bits(books.indices[market], 192, 40) - bits(old.indices[market], 192, 40)
            rate = MAX_RATE_PER_8H * min(dt, FUNDING_CATCH_UP_S) / FUNDING_CATCH_UP_S
            funding += int(abs(old.positions[account, market].lots) * bits(books.prices[market], 40, 40) * rate) + 1
        change = books.equity_quote(account, after) - old.equity_quote(account, before)
        require(
            change >= moved - allowed[account] - funding,
            "I-16 a user lost more than signed", hex(account), change, moved, allowed[account], funding,
        )  # fmt: skip


def run(n_steps: int, seed: int) -> tuple[int, int]:
    """Let a hostile sequencer make n_steps steps. Return (settled fills, liquidations). Raises: Broken."""
    system, rng = System.deploy(seed), Random(seed)
    system.is_hostile = True
    n_fills = n_liquidated = 0
    for _ in range(n_steps):
        # what keepers do in a crash is not this sequencer's
        system.plan = [name for name in system.plan if name in DRAWN]
        old, system.settled = system.books, None
        name = system.plan.pop(0) if system.plan else rng.choice(DRAWN)
        try:
            getattr(system, f"act_{name}")()
        except Reverted:
            system.settled = None
        system.check(elapsed_s=0)
        check_step(old, system)
        if system.settled is not None:
            n_fills += sum(list_filled(*system.settled).values()) > 0
            n_liquidated += len(list_liquidated(*system.settled))
    return n_fills, n_liquidated
