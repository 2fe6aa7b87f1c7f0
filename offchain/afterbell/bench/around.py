"""Measure gas of what happens around batches, on a real anvil: price refresh, margin checks, liquidation, ADL, exits.

Six markets as the local plan has them, tiers included. One story: prices are refreshed, accounts open one market after
another, prices fall by a fifth, an account is liquidated while it holds one market and another while it holds six, two
bankrupt ones are deleveraged against one and two counterparties, and owners leave by force. Whole transactions, or what
one more market or counterparty adds. Must not: write storage by any other way than transactions.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from afterbell.bench.floor import build_creation_code, build_floor_runtime
from afterbell.bench.local_venue import LocalVenue, Mined, build_call
from afterbell.bench.scenarios import build_keys
from afterbell.domain.batch import AccountRecord, FillRow, Payload, build_order_record, encode
from afterbell.domain.errors import InvariantBroken
from afterbell.domain.ids import AccountId, build_account_id
from afterbell.domain.order import Order, SignedOrder, TimeInForce
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import digest

START_TICKS: Final = 10_000
LOTS: Final = 10_000
_USDC: Final = 10**6
_RICH_QUOTE: Final = 100_000 * _USDC
_LAG_S: Final = 300
_FORCE_DELAY_S: Final = 6 * 3_600
_NOMINATIONS_S: Final = 600
_NOMINATION_COUNTS_S: Final = 300
"""A nomination counts SETTLE_LAG after it was made."""
_WORST_STEP_S: Final = 60
_FALL: Final = (9_300, 8_700, 8_300, 7_800)
"""No more than a tenth at once, or the report is a jump."""


class Around:
    """The story, step by step; each number by its name."""

    def __init__(self, venue: LocalVenue, seed: int) -> None:
        self._venue = venue
        self._keys = build_keys(random.Random(seed), 10)
        self._liquidations = venue.manifest.get_address("liquidations")
        self._exits = venue.manifest.get_address("exits")
        self._seq = 0
        self.gas: dict[str, float] = {}

    def measure(self) -> dict[str, float]:
        """Return gas by name."""
        self._price(START_TICKS)
        self._measure_refresh()
        one, six, bankrupt, worse, rich, *shorts = self._keys
        for key, quote in ((one, 22), (six, 135), (bankrupt, 21), (worse, 21)):
            self._venue.deposit(key, quote * _USDC)
        for key in (rich, *shorts):
            self._venue.deposit(key, _RICH_QUOTE)
        first = self._venue.market_ids[0]
        self._trade(one, rich, first, LOTS)
        self._trade(bankrupt, shorts[0], first, LOTS)
        self._trade(worse, shorts[1], first, LOTS // 2)
        self._trade(worse, shorts[2], first, LOTS // 2)
        self._measure_margin_checks(six, rich)
        self._measure_exits(shorts[0], rich, first)
        self._measure_fall(one, six, rich, first)
        return self.gas | self._measure_adl((bankrupt, shorts[:1]), (worse, shorts[1:3]), first)

    # ---------------------------------------------------------------- steps

    def _measure_refresh(self) -> None:
        """Measure a batch of prices of one market less an empty one, and what each further market adds."""
        venue, ids = self._venue, self._venue.market_ids
        costs = []
        for n_markets in (0, 1, len(ids)):
            self._wait(_WORST_STEP_S)
            header = venue.next_header()
            prices = dict.fromkeys(ids[:n_markets], START_TICKS)
            rows, evidence = venue.build_prices(prices, header.matched_at_s, is_funding=True) if prices else ((), b"")
            costs.append(venue.settle(encode(Payload(header=header, rows=rows, evidence=evidence))).gas_used)
        self.gas["gas.price_refresh"] = costs[1] - costs[0]
        self.gas["gas.price_refresh_further_market"] = round((costs[2] - costs[1]) / (len(ids) - 1), 1)

    def _measure_margin_checks(self, key: SigningKey, rich: SigningKey) -> None:
        """Measure the same fill by an account that holds one market, and all of them."""
        first, *others = self._venue.market_ids
        self._trade(key, rich, first, LOTS // 2)
        alone = self._trade(key, rich, first, LOTS // 2).gas_used
        for market_id in others:
            self._trade(key, rich, market_id, LOTS)
        # rich holds as many by now: half of what is added is his.
        self._trade(rich, key, first, LOTS // 2)
        among = self._trade(key, rich, first, LOTS // 2).gas_used
        self.gas["gas.margin_check_further_market"] = round((among - alone) / (2 * len(others)), 1)

    def _measure_exits(self, owner: SigningKey, taker: SigningKey, market_id: int) -> None:
        venue, account_id = self._venue, account_of(owner)
        recipient = int.from_bytes(owner.address, "big")
        call = build_call("request_withdrawal(uint80,uint64,address)", 0, 5 * _USDC, recipient)
        venue.transact(owner.address, self._exits, call)
        # A short buys back at 105 at most.
        call = build_call("request_close(uint80,uint8,uint64,uint40)", 0, market_id, LOTS // 10, 10_500)
        venue.transact(owner.address, self._exits, call)
        self._wait(_FORCE_DELAY_S + 1)
        self._price(START_TICKS)
        self.gas["gas.forced_withdrawal"] = venue.transact(
            taker.address, self._exits, build_call("force_withdrawal(uint256)", account_id)
        ).gas_used
        venue.transact(taker.address, self._exits, build_call("announce_taker(uint80)", 0))
        call = build_call("force_close(uint256,uint8,uint256,uint80)", account_id, market_id, LOTS // 10, 0)
        self._wait(_LAG_S + 1)
        self._price(START_TICKS)
        self.gas["gas.forced_close"] = venue.transact(taker.address, self._exits, call).gas_used

    def _measure_fall(self, one: SigningKey, six: SigningKey, rich: SigningKey, market_id: int) -> None:
        venue = self._venue
        for ticks in _FALL[:3]:
            self._price(ticks)
        for name, key in (("gas.liquidation_1_market", one), ("gas.liquidation_6_markets", six)):
            account_id = account_of(key)
            venue.transact(rich.address, self._liquidations, build_call("flag(uint256)", account_id))
            self._wait(_LAG_S + 1)
            self._price(_FALL[2])
            call = build_call("liquidate(uint256,uint256,uint256,uint80)", account_id, market_id, LOTS, 0)
            self.gas[name] = venue.transact(rich.address, self._liquidations, call).gas_used

    def _measure_adl(
        self,
        first: tuple[SigningKey, Sequence[SigningKey]],
        second: tuple[SigningKey, Sequence[SigningKey]],
        market: int,
    ) -> dict[str, float]:
        """Deleverage two accounts of the same size, against one counterparty and against two."""
        venue, costs = self._venue, []
        self._price(_FALL[3])
        for adl_id, (key, others) in enumerate((first, second), 1):
            account_id = account_of(key)
            caller = others[0].address
            venue.transact(caller, self._liquidations, build_call("open_adl(uint256,uint256)", account_id, market))
            for other in others:
                nominate = build_call("nominate(uint256,uint256)", adl_id, account_of(other))
                venue.transact(caller, self._liquidations, nominate)
            self._wait(_NOMINATIONS_S + _NOMINATION_COUNTS_S + 1)
            self._price(_FALL[3])
            call = build_call("execute_adl(uint256)", adl_id)
            costs.append(venue.transact(caller, self._liquidations, call).gas_used)
        return {"gas.adl_1_counterparty": costs[0], "gas.adl_further_counterparty": costs[1] - costs[0]}

    # ---------------------------------------------------------------- small parts

    def _wait(self, seconds: int) -> None:
        self._venue.pass_time(self._venue.time_s + seconds)
        self._venue.anvil.call("evm_mine")

    def _price(self, ticks: int) -> None:
        """Report a price everywhere until every mark is there."""
        for _ in range(2):
            self._wait(_WORST_STEP_S)
            self._venue.set_prices(dict.fromkeys(self._venue.market_ids, ticks))

    def _trade(self, buyer: SigningKey, seller: SigningKey, market_id: int, lots: int) -> Mined:
        """Settle one fill at fresh prices; the seller makes."""
        venue = self._venue
        venue.set_prices(dict.fromkeys(venue.market_ids, START_TICKS))
        header = venue.next_header()
        self._seq += 1
        records = {}
        for key, is_buy in ((buyer, True), (seller, False)):
            order = Order(
                owner=key.address,
                market_id=market_id,
                is_buy=is_buy,
                size_lots=lots,
                limit_ticks=START_TICKS,
                max_fee_ppm=500,
                expiry_s=header.matched_at_s + 60,
                lane=0,
                seq=self._seq,
                time_in_force=TimeInForce.IOC if is_buy else TimeInForce.GTC,
            )
            r, vs = key.sign(digest(order, venue.domain_separator))
            signed = SignedOrder(order=order, r=r, vs=vs)
            records[order.account_id] = build_order_record(signed, taker_fee_ppm=450, maker_fee_ppm=150)
        accounts = sorted(records)
        fill = FillRow(
            maker_order=accounts.index(account_of(seller)),
            taker_order=accounts.index(account_of(buyer)),
            size_lots=lots,
        )
        table = tuple(AccountRecord(account_id=AccountId(one), orders=(records[one],)) for one in accounts)
        settled = venue.settle(encode(Payload(header=header, fills=(fill,), accounts=table)))
        if settled.codes:
            raise InvariantBroken(f"a trade of {lots} lots must settle, found codes {settled.codes.hex()}")
        return settled


def account_of(key: SigningKey) -> AccountId:
    """Return the account of a key's owner."""
    return build_account_id(key.address, 0)


def measure_around(seed: int) -> tuple[dict[str, float], int]:
    """Return gas by name on one fresh venue with six markets, and what a bare transaction that writes a word costs."""
    with (
        tempfile.TemporaryDirectory(prefix="afterbell-bench-") as folder,
        LocalVenue.start(Path(folder), n_markets=6) as venue,
    ):
        floor = venue.create(build_creation_code(build_floor_runtime([], 1)))
        return Around(venue, seed).measure(), venue.transact(venue.sequencer, floor, b"").gas_used
