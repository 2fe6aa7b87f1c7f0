"""An upgrade is a new instance (contracts/README.md, "Upgrade"): rehearsed from the notice to the last claim, on anvil.

The old venue is made reduce-only by its Timelock after a fortnight's notice, its market is settled at a regular close,
its owners take their money out by their own signatures, and carry it to a venue deployed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hexbytes import HexBytes
from web3 import Web3
from web3.contract.contract import Contract

from afterbell.adapters.deployment import connect
from afterbell.adapters.governance import Governance
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.bench.local_venue import LocalVenue, deploy_venue
from afterbell.domain.batch import (
    AccountRecord,
    FillRow,
    Payload,
    build_operation_row,
    build_order_record,
    encode,
)
from afterbell.domain.ids import AccountId, build_account_id
from afterbell.domain.order import Order, SignedOrder, TimeInForce, Withdraw
from afterbell.domain.words import AccountWord, BatchWord, PositionWord, TotalsWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import digest

DAY_S: Final = 86_400
FORTNIGHT_S: Final = 14 * DAY_S
LAG_S: Final = 300
USDC: Final = 10**6
DEPOSIT_QUOTE: Final = 1_000 * USDC
LOTS: Final = 10_000
PRICE_TICKS, CLOSE_TICKS = 10_000, 10_200
MARKET: Final = 1
MAKER, TAKER = SigningKey(b"\x11" * 32), SigningKey(b"\x22" * 32)
BAD_SIGNATURE, ORDER_INVALID, OPENING_NOT_ALLOWED = 3, 32, 46


class Impersonator:
    """deployment.Sender for an address whose key nobody needs on a development chain."""

    def __init__(self, web3: Web3, address: str) -> None:
        self._web3 = web3
        self.address = bytes.fromhex(address[2:])

    def send(self, *, to: bytes | None, calldata: bytes, nonce: int) -> bytes:
        assert to is not None
        transaction: Any = {
            "from": Web3.to_checksum_address(self.address), "to": Web3.to_checksum_address(to),
            "data": Web3.to_hex(calldata), "nonce": nonce,
        }  # fmt: skip
        return bytes(self._web3.eth.send_transaction(transaction))


class Instance:
    """One venue, its contracts by name, and the people whose signature or address acts."""

    def __init__(self, venue: LocalVenue) -> None:
        self.venue = venue
        self.web3 = connect(venue.anvil.url)
        self.governance = Governance(self.web3, venue.manifest, compile_contracts())
        roles = self._read_people()
        for address in (*roles.values(), venue.manifest.announcer, venue.manifest.guardian):
            venue.anvil.call("anvil_setBalance", address, hex(10**20))
        self.proposer = Impersonator(self.web3, roles["PROPOSER_ROLE"])
        self.executor = Impersonator(self.web3, roles["EXECUTOR_ROLE"])
        self._seq = 0

    def contract(self, name: str) -> Contract:
        return self.governance._contracts[name]

    def _read_people(self) -> dict[str, str]:
        """Return who was given the Timelock's roles, from its events."""
        timelock = self.contract("timelock")
        granted = timelock.events.RoleGranted().get_logs(from_block=0)
        return {
            role: next(
                event["args"]["account"]
                for event in granted
                if event["args"]["role"] == timelock.functions[role]().call()
            )
            for role in ("PROPOSER_ROLE", "EXECUTOR_ROLE")
        }

    def transact(self, sender: str, contract: str, function: str, *arguments: Any) -> None:
        """Make a call as somebody and see it pass."""
        transaction = (
            self.contract(contract).functions[function](*arguments).transact({"from": Web3.to_checksum_address(sender)})
        )
        assert self.web3.eth.wait_for_transaction_receipt(HexBytes(transaction), poll_latency=0.02)["status"] == 1

    def wait_until(self, time_s: int) -> None:
        self.venue.pass_time(time_s)
        self.venue.anvil.call("evm_mine")

    def price(self, ticks: int) -> None:
        """Report a price until the mark is there: it walks by steps."""
        for _ in range(3):
            self.wait_until(self.venue.time_s + 60)
            self.venue.set_prices({MARKET: ticks})

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def trade(self, *, maker_buys: bool, lots: int, ticks: int, reduce_only: bool = False) -> list[int]:
        """Settle one fill between maker and taker; return the codes, maker's order first, the fill last."""
        header = self.venue.next_header()
        records = {}
        for key, is_buy in ((MAKER, maker_buys), (TAKER, not maker_buys)):
            order = Order(
                owner=key.address, market_id=MARKET, is_buy=is_buy, size_lots=lots, limit_ticks=ticks, max_fee_ppm=500,
                expiry_s=header.matched_at_s + 60, lane=0, seq=self.next_seq(), reduce_only=reduce_only,
                time_in_force=TimeInForce.GTC if key is MAKER else TimeInForce.IOC,
            )  # fmt: skip
            r, vs = key.sign(digest(order, self.venue.domain_separator))
            signed = SignedOrder(order=order, r=r, vs=vs)
            records[order.account_id] = build_order_record(signed, taker_fee_ppm=450, maker_fee_ppm=150)
        accounts = sorted(records)
        places = {account_id: place for place, account_id in enumerate(accounts)}
        payload = Payload(
            header=header,
            fills=(
                FillRow(maker_order=places[account_of(MAKER)], taker_order=places[account_of(TAKER)], size_lots=lots),
            ),
            accounts=tuple(AccountRecord(account_id=AccountId(one), orders=(records[one],)) for one in accounts),
        )
        return list(self.venue.settle(encode(payload)).codes) or [0, 0, 0]

    def withdrawal(self, key: SigningKey, quote: int, domain: bytes) -> Payload:
        """Return a batch with a withdrawal to the owner, signed under a domain."""
        header = self.venue.next_header()
        message = Withdraw(
            owner=key.address, quote=quote, recipient=key.address, expiry_s=header.matched_at_s + DAY_S,
            seq=self.next_seq(),
        )  # fmt: skip
        r, vs = key.sign(digest(message, domain))
        return Payload(header=header, operations=(build_operation_row(message, r=r, vs=vs),))

    # Reading.

    def collateral_of(self, key: SigningKey) -> int:
        word = self.contract("clearinghouse").functions.account_word(account_of(key)).call()
        return AccountWord.unpack(word).collateral_quote

    def size_of(self, key: SigningKey) -> int:
        word = self.contract("clearinghouse").functions.position_word(account_of(key), MARKET).call()
        return PositionWord.unpack(word).size_lots


def account_of(key: SigningKey) -> AccountId:
    return build_account_id(key.address, 0)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Instance]:
    """Yield a venue where MAKER is long and TAKER short 1 share at 100 USD."""
    with LocalVenue.start(tmp_path) as venue:
        instance = Instance(venue)
        for key in (MAKER, TAKER):
            venue.deposit(key, DEPOSIT_QUOTE)
        instance.price(PRICE_TICKS)
        assert instance.trade(maker_buys=True, lots=LOTS, ticks=PRICE_TICKS) == [0, 0, 0]
        yield instance


def test_upgrade__new_instance__everybody_carries_his_own_money_over(old: Instance, tmp_path: Path) -> None:
    """MAKER gains 2 USD on his share, TAKER loses them; each paid a fee on 100 USD: 150 and 450 ppm."""
    venue = old.venue

    # 1. Notice: every market reduce-only, proposed and seen for a fortnight.
    calls = []
    for market in venue.market_ids:
        call = old.governance.build_call("MarketRegistry.set_rules", [str(market), "ALL:is_opening_allowed=0"])
        shown = old.governance.describe_call(call)
        assert any("is_opening_allowed: 1 -> 0  (positions may only be reduced)" in line for line in shown)
        old.governance.schedule(old.proposer, call)
        calls.append(call)
    assert old.trade(maker_buys=True, lots=LOTS, ticks=PRICE_TICKS) == [0, 0, 0]
    old.wait_until(venue.time_s + FORTNIGHT_S + 1)
    for call in calls:
        old.governance.execute(old.executor, call)
    old.wait_until(venue.time_s + LAG_S + 1)
    old.price(CLOSE_TICKS)
    codes = old.trade(maker_buys=True, lots=LOTS, ticks=CLOSE_TICKS)
    assert codes[-1] == OPENING_NOT_ALLOWED
    assert old.trade(maker_buys=False, lots=LOTS, ticks=CLOSE_TICKS, reduce_only=True) == [0, 0, 0]
    assert (old.size_of(MAKER), old.size_of(TAKER)) == (LOTS, -LOTS)

    # 2. A regular close: the last external price there is final.
    close_s = venue.time_s + 2 * DAY_S
    announcement = (MARKET, 3, close_s // DAY_S, close_s, 0, 0, 0, 0, 0, 0, "")
    old.transact(venue.manifest.announcer, "corporate_actions", "announce", announcement)
    (announced,) = old.contract("corporate_actions").events.ActionAnnounced().get_logs(from_block=0)
    assert announced["args"]["needs_confirmation"]
    old.transact(venue.manifest.guardian, "corporate_actions", "confirm", MARKET, announced["args"]["digest"])
    old.wait_until(close_s - 1)
    venue.set_prices({MARKET: CLOSE_TICKS})
    old.wait_until(close_s + LAG_S + 1)
    anybody = "0x" + "0a" * 20
    venue.anvil.call("anvil_setBalance", anybody, hex(10**20))
    old.transact(anybody, "corporate_actions", "activate", MARKET)
    old.transact(anybody, "corporate_actions", "settle_positions", MARKET, sorted(map(account_of, (MAKER, TAKER))))
    assert (old.size_of(MAKER), old.size_of(TAKER)) == (0, 0)

    # Opened 2 x LOTS at 100.00, closed half at 102.00 by a trade and half by settlement. Fees on 2 x 100 and 102 USD.
    maker_fees = 2 * 15_000 + 15_300
    taker_fees = 2 * 45_000 + 45_900
    expected = {MAKER: DEPOSIT_QUOTE + 4 * USDC - maker_fees, TAKER: DEPOSIT_QUOTE - 4 * USDC - taker_fees}
    funding = {key: old.collateral_of(key) - quote for key, quote in expected.items()}
    assert funding == {MAKER: 0, TAKER: 0}

    # 3. The new instance stands beside it, from the same sources.
    new_folder = tmp_path / "new"
    new_folder.mkdir()
    manifest, publishers = deploy_venue(venue.anvil, new_folder)
    assert not set(manifest.addresses.values()) & set(venue.manifest.addresses.values())
    new = Instance(LocalVenue(venue.anvil, manifest, publishers, new_folder))

    # 4. Nobody moves an owner's money but by the owner's signature for this instance.
    forged = old.withdrawal(MAKER, USDC, new.venue.domain_separator)
    assert list(venue.settle(encode(forged)).codes) == [BAD_SIGNATURE]
    stolen = old.withdrawal(MAKER, USDC, venue.domain_separator)
    (row,) = stolen.operations
    elsewhere = replace(stolen, operations=(replace(row, operand=int(anybody, 16)),))
    assert list(venue.settle(encode(elsewhere)).codes) == [BAD_SIGNATURE]
    for key, quote in expected.items():
        assert not venue.settle(encode(old.withdrawal(key, quote, venue.domain_separator))).codes
        owner = Web3.to_checksum_address(key.address)
        # Anybody may have a claim paid, and it goes to its owner.
        old.transact(anybody, "vault", "claim", owner)
        token = old.contract("token").functions
        assert token.balanceOf(owner).call() == quote

    # 5. What stays is what nobody owns: fees, and the pots' dust.
    batch = BatchWord.unpack(old.contract("clearinghouse").functions.batch_word().call())
    totals = TotalsWord.unpack(old.contract("clearinghouse").functions.totals_word(MARKET).call())
    assert (totals.open_interest_lots, totals.net_entry_quote) == (0, 0)
    assert batch.fees_quote == maker_fees + taker_fees
    assert old.contract("vault").functions.tracked_quote().call() == batch.fees_quote + totals.pot_quote
    assert old.contract("vault").functions.total_claims_quote().call() == 0

    # 6. A venue that is governed, priced and trades.
    for key in (MAKER, TAKER):
        new.venue.deposit(key, DEPOSIT_QUOTE)
    new.price(CLOSE_TICKS)
    assert new.trade(maker_buys=True, lots=LOTS, ticks=CLOSE_TICKS) == [0, 0, 0]
    assert (new.size_of(MAKER), new.size_of(TAKER)) == (LOTS, -LOTS)
    # An old withdrawal is nothing here.
    assert list(new.venue.settle(encode(new.withdrawal(MAKER, USDC, venue.domain_separator))).codes) == [BAD_SIGNATURE]


def test_configure__rules_that_liquidate__names_who(old: Instance) -> None:
    """MAKER keeps 29.985 USDC beside 100 USD of position: above 20 %, below 30 %. TAKER has 999.955.

    A share of 1 in 65,536 of 100,000,000 lots is 1,525 lots: both hold 10,000.
    """
    domain = old.venue.domain_separator
    assert not old.venue.settle(encode(old.withdrawal(MAKER, 970 * USDC, domain))).codes
    changes = "initial_margin_ppm=400000,settlement_margin_ppm=300000,maintenance_margin_ppm=300000,account_share=1"

    lines = old.governance.describe_call(
        old.governance.build_call("MarketRegistry.set_rules", ["1", f"REGULAR:{changes}"])
    )

    assert (
        "effect  AAPL REGULAR: of 2 accounts with a position: liquidatable 0 -> 1; below initial margin 0 -> 1; "
        "over the cap 0 -> 2"
    ) in lines
    assert f"effect  AAPL REGULAR: would be liquidatable: 0x{MAKER.address.hex()}/0" in lines
    assert "now     it would succeed" in lines
