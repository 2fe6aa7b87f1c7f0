"""The model and the deployed contracts side by side: every step is done to both, then compared word by word.

The chain is pyrevm: the real bytecode of contracts/*.vy, without a node. Storage is read by slot, so nothing the
contract keeps escapes the comparison; what no function writes yet (funding indices, epochs) is injected into both.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from eth_utils import keccak, to_checksum_address

from afterbell.domain.ids import lane_key, position_key, rules_key
from afterbell.domain.settlement import AllKilled, BatchResult, OrderKilled, Withdrawn
from afterbell.domain.words import MAX_OPEN_MARKETS, AccountWord
from tests.support.chain import Chain, Event, artifacts
from tests.support.world import N_MARKETS, Batch, World

SLOT_BITS_OF_MARKETS = (1 << 48) - 1 << 200


@cache
def slot_of(contract: str, variable: str) -> int:
    """Return the storage slot of a variable."""
    return int(artifacts()[contract].layout["storage_layout"][variable]["slot"])


@cache
def slot_of_key(contract: str, variable: str, key: int) -> int:
    """Return the storage slot of one entry of a mapping."""
    position = slot_of(contract, variable).to_bytes(32, "big")
    return int.from_bytes(keccak(position + key.to_bytes(32, "big")), "big")


class Pair:
    """A world, its model and its chain."""

    def __init__(self, seed: int, *, is_huge: bool = False) -> None:
        publishers = World(0, domain_separator=b"", price_domain_separator=b"").publishers
        self.chain = Chain.deploy(
            publishers=[to_checksum_address(key.address) for key in publishers], threshold=2
        )
        address = {name: bytes.fromhex(text[2:]) for name, text in self.chain.addresses.items()}
        self.world = World(
            seed,
            domain_separator=self.chain.domain_separator,
            price_domain_separator=self.chain.price_domain_separator,
            forbidden_recipients=(address["Vault"], address["Clearinghouse"], address["token"]),
            is_huge=is_huge,
        )
        self._list_markets()

    def _list_markets(self) -> None:
        written = self.world.list_markets()
        words = {(market_id, session): word for market_id, session, word in written}
        for market_id in range(1, N_MARKETS + 1):
            # The registry wants rules for all nine sessions; the hole of market 5 is cut afterwards.
            rules = [words.get((market_id, session), words[market_id, 2]) for session in range(9)]
            self.chain.list_market(market_id, rules)
            for session in range(9):
                if (market_id, session) not in words:
                    self.chain.write_word("rules", rules_key(market_id, session), 0)

    def word(self, variable: str, key: int, contract: str = "Clearinghouse") -> int:
        """Return an entry of a mapping on chain."""
        return int(self.chain.evm.storage(self.chain.addresses[contract], slot_of_key(contract, variable, key)))

    def value(self, variable: str, contract: str = "Clearinghouse") -> int:
        """Return a plain storage variable on chain."""
        return int(self.chain.evm.storage(self.chain.addresses[contract], slot_of(contract, variable)))

    # Steps done to both.

    def deposit(self, account: int, quote: int) -> None:
        """Deposit through the vault, and in the model."""
        self.world.deposit(account, quote)
        self.chain.deposit(account, quote)

    def inject_index(self, market_id: int, word: int) -> None:
        """Move a funding index in both."""
        self.world.state.indices[market_id] = word
        self.chain.write_word("indices", market_id, word)

    def put_on_edge(self, batch: Batch) -> int | None:
        """Take an account's collateral down until a fill of the batch just passes its margin, or just fails.

        Return the account, or None if no fill of the batch opens.
        """
        edge = self.world.find_edge(batch)
        if edge is None:
            return None
        account, slack_quote = edge
        self.world.nudge_collateral(account, -slack_quote - self.world.random.randint(0, 1))
        state, key = self.world.state, account << 16
        # The slots of open markets may stand in another order on chain: only the collateral is replaced.
        collateral_bits = (1 << 72) - 1
        word = self.word("accounts", key) & ~collateral_bits | state.accounts[key] & collateral_bits
        self.chain.write_word("accounts", key, word)
        self.chain.write_value("batch", state.batch_word)
        vault = self.chain.addresses["Vault"]
        self.chain.evm.insert_account_storage(vault, slot_of("Vault", "tracked_quote"), state.tracked_quote)
        return account

    def bump_epoch(self, market_id: int) -> None:
        """Begin a new epoch in both."""
        price = self.world.state.price(market_id)
        word = replace(price, epoch=price.epoch + 1).pack()
        self.world.state.prices[market_id] = word
        self.chain.write_word("prices", market_id, word)

    def settle_on_chain(self, batch: Batch) -> list[Event]:
        """Send a batch; return its events."""
        self.chain.set_time(batch.block_time_s)
        self.chain.settle(batch.payload, previous_head=batch.previous_head)
        return self.chain.events()

    def settle(self, batch: Batch) -> BatchResult:
        """Settle in both and compare everything the batch could have touched."""
        result = self.world.settle(batch)
        events = self.settle_on_chain(batch)
        self.compare_events(batch, result, events)
        self.compare_touched(batch)
        return result

    # Comparison.

    def compare_events(
        self, batch: Batch, result: BatchResult, events: list[Event]
    ) -> None:
        """Hold every event of the Clearinghouse and the Vault against the model's result."""
        by_name: dict[str, list[dict[str, object]]] = {}
        for event in events:
            by_name.setdefault(event.name, []).append(event.args)
        failures = by_name.pop("BatchFailures", [])
        codes = failures[0]["codes"] if failures else bytes(len(result.codes))
        expect("codes", codes, result.codes)
        expect("failures logged", len(failures), int(any(result.codes)))
        expect(
            "BatchSettled",
            by_name.pop("BatchSettled"),
            [
                {
                    "sequence": result.sequence, "head": result.head, "payload_hash": result.payload_hash,
                    "journal_hash": result.journal_hash, "matched_at_s": result.matched_at_s,
                    "direct_op": result.direct_op, "n_failures": result.n_failures,
                    "volume_quote": result.volume_quote, "fees_quote": result.fees_quote,
                }
            ],
        )  # fmt: skip
        expect(
            "PositionChanged",
            sorted(
                (event["account"], event["market"], event["change"], event["position"])
                for event in by_name.pop("PositionChanged", [])
            ),
            sorted(
                (change.account_id, change.market_id, change.change_word, change.position_word)
                for change in result.changes
            ),
        )
        prices: dict[object, object] = {}
        for event in by_name.pop("PriceChanged", []):
            prices[event["market"]] = event["price"]
        expect("PriceChanged", prices, result.prices)
        operations: list[object] = []
        for _, name, fields in events:
            if name == "CollateralWithdrawn":
                recipient = bytes.fromhex(str(fields["recipient"])[2:])
                operations.append(
                    Withdrawn(account_id=fields["account"], recipient=recipient, quote=fields["quote"])
                )
                expect("sequence", fields["sequence"], result.sequence)
            elif name == "OrderCancelled":
                operations.append(OrderKilled(account_id=fields["account"], nonce=fields["nonce"]))
            elif name == "AllCancelled":
                operations.append(AllKilled(account_id=fields["account"], min_seq=fields["min_seq"]))
        expect("operations", operations, list(result.operations))
        accepted = [
            (event["market"], event["external_ticks"], event["publish_time_s"], event["session"])
            for event in by_name.pop("ReportAccepted", [])
        ]
        expect(
            "ReportAccepted",
            accepted,
            [(one.market_id, one.external_ticks, one.external_time_s, one.session) for one in batch.reports],
        )
        ignored = [(event["market"], event["code"]) for event in by_name.pop("ReportIgnored", [])]
        expect("ReportIgnored", ignored, [(one.report.market_id, int(one.code)) for one in batch.verdicts if one.code])
        expect(
            "other events",
            set(by_name) - {"CollateralWithdrawn", "OrderCancelled", "AllCancelled", "ClaimAdded"},
            set(),
        )

    def compare_touched(self, batch: Batch) -> None:
        """Compare every word an account, order or row of the batch could have moved."""
        markets = range(1, N_MARKETS + 1)
        for account in batch.table.accounts:
            account_id = account.account_id
            self.compare_account(account_id)
            lanes = {order.lane for order in account.orders} | {65_535}
            lanes |= {
                row.value >> 40
                for row in batch.table.operations
                if row.kind == 2 and row.value < 1 << 56 and batch.table.accounts[row.account_index] is account
            }
            for key in {lane_key(account_id, lane) for lane in lanes}:
                expect(f"lane {key:#x}", self.word("lanes", key), self.world.state.lanes.get(key, 0))
            for market_id in {order.market_id for order in account.orders if order.market_id in markets}:
                key = position_key(account_id, market_id)
                expect(f"position {key:#x}", self.word("positions", key), self.world.state.positions.get(key, 0))
        self.compare_markets()
        for row in batch.table.operations:
            self.compare_claim(row.address_word & (1 << 160) - 1)

    def compare_account(self, account_id: int) -> None:
        """Compare an account word: open markets as a set, every other bit as it is."""
        key = account_id << 16
        actual, expected = self.word("accounts", key), self.world.state.accounts.get(key, 0)
        expect(f"account {key:#x}", actual & ~SLOT_BITS_OF_MARKETS, expected & ~SLOT_BITS_OF_MARKETS)
        slots = [sorted(AccountWord.unpack(word).open_markets) for word in (actual, expected)]
        assert len(slots[0]) == MAX_OPEN_MARKETS
        expect(f"open markets of {key:#x}", slots[0], slots[1])

    def compare_markets(self) -> None:
        """Compare what is one word per market or one for all."""
        state = self.world.state
        for market_id in range(1, N_MARKETS + 1):
            for name, words in (("prices", state.prices), ("totals", state.totals), ("indices", state.indices)):
                expect(f"{name} {market_id}", self.word(name, market_id), words.get(market_id, 0))
        expect("batch word", self.value("batch"), state.batch_word)
        expect("head", self.value("head").to_bytes(32, "big"), state.head)
        expect("direct operations", self.value("operator") >> 160, state.direct_op)
        expect("tracked", self.value("tracked_quote", "Vault"), state.tracked_quote)
        expect("claims", self.value("total_claims_quote", "Vault"), sum(state.claims.values()))

    def compare_claim(self, recipient: int) -> None:
        """Compare what one recipient may claim."""
        actual = self.word("claims_quote", recipient, "Vault")
        expect(f"claim {recipient:#x}", actual, self.world.state.claims.get(recipient.to_bytes(20, "big"), 0))

    def compare_everything(self) -> None:
        """Compare every word the model ever wrote."""
        state = self.world.state
        self.compare_markets()
        for key in state.accounts:
            self.compare_account(key >> 16)
        for name, words in (("positions", state.positions), ("lanes", state.lanes), ("rules", state.rules)):
            for key, word in words.items():
                expect(f"{name} {key:#x}", self.word(name, key), word)
        for recipient in state.claims:
            self.compare_claim(int.from_bytes(recipient, "big"))


class Different(AssertionError):
    """Model and chain disagree."""


def expect(name: str, actual: object, expected: object) -> None:
    """Compare chain with model, telling what differs."""
    if actual != expected:
        raise Different(f"{name}: chain {_show(actual)}, model {_show(expected)}")


def _show(thing: object) -> str:
    if isinstance(thing, bytes):
        return thing.hex()
    return hex(thing) if type(thing) is int else repr(thing)
