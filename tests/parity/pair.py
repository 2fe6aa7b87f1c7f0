"""The model and the deployed contracts side by side: every step is done to both, then compared word by word.

The chain is pyrevm: the real bytecode of contracts/*.vy, without a node. Storage is read by slot, so nothing the
contract keeps escapes the comparison; what no function writes yet (funding indices, epochs) is injected into both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from eth_utils import keccak, to_checksum_address

from afterbell.domain.batch import OperationKind
from afterbell.domain.chain_state import store_word
from afterbell.domain.direct import DirectKind, DirectOperation, approve
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import (
    OPERATION_LANE,
    lane_key,
    overflow_key,
    position_key,
    rules_key,
    session_key_id,
    tier_key,
)
from afterbell.domain.settlement import (
    AllKilled,
    BatchResult,
    Execution,
    KeyChanged,
    OrderKilled,
    PositionChange,
    Transferred,
    Withdrawn,
)
from afterbell.domain.words import MAX_OPEN_MARKETS, AccountWord
from tests.support.chain import GENESIS_S, GOVERNOR, Chain, Event, Reverted, artifacts
from tests.support.random_direct import TIERS, random_direct
from tests.support.random_liquidations import find_slack_quote
from tests.support.world import N_MARKETS, Batch, World, build_calendar

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


def slot_of_session_key(account_id: int, key: bytes) -> int:
    """Return the storage slot of a session key word: a map in a map."""
    outer = slot_of_key("Clearinghouse", "session_keys", account_id << 16)
    return int.from_bytes(keccak(outer.to_bytes(32, "big") + key.rjust(32, b"\0")), "big")


class Pair:
    """A world, its model and its chain."""

    def __init__(self, seed: int, *, is_huge: bool = False) -> None:
        publishers = World(0, domain_separator=b"", price_domain_separator=b"").publishers
        self.chain = Chain.deploy(
            publishers=[to_checksum_address(key.address) for key in publishers], threshold=2, calendar=build_calendar()
        )
        address = {name: bytes.fromhex(text[2:]) for name, text in self.chain.addresses.items()}
        self.world = World(
            seed,
            domain_separator=self.chain.domain_separator,
            price_domain_separator=self.chain.price_domain_separator,
            forbidden_recipients=(address["Vault"], address["Clearinghouse"], address["token"]),
            is_huge=is_huge,
        )
        self.world.state.genesis_s = GENESIS_S
        self.n_mirrored = 0
        """Batches settled by a mirror that was behind."""
        self.n_heard = 0
        self._list_markets()

    def _list_markets(self) -> None:
        written = self.world.list_markets()
        words = {(market_id, session): word for market_id, session, word in written}
        for market_id in range(1, N_MARKETS + 1):
            # The registry wants rules for all nine sessions; the hole of market 5 is cut afterwards.
            rules = [words.get((market_id, session), words[market_id, 2]) for session in range(9)]
            tiers = TIERS[market_id].pack() if market_id in TIERS else 0
            self.chain.list_market(market_id, rules, reference_ticks=1, tiers=tiers)
            for session in range(9):
                if (market_id, session) not in words:
                    self.chain.write_word("rules", rules_key(market_id, session), 0)
        # Tiers set in the model differ from none in no rules: the listing is no direct operation but tiers are.
        self.world.state.direct_op = self.value("operator") >> 160 & (1 << 40) - 1

    def word(self, variable: str, key: int, contract: str = "Clearinghouse") -> int:
        """Return an entry of a mapping on chain."""
        return int(self.chain.evm.storage(self.chain.addresses[contract], slot_of_key(contract, variable, key)))

    def value(self, variable: str, contract: str = "Clearinghouse") -> int:
        """Return a plain storage variable on chain."""
        return int(self.chain.evm.storage(self.chain.addresses[contract], slot_of(contract, variable)))

    def session_key(self, account_id: int, key: bytes) -> int:
        """Return a session key word on chain."""
        return int(self.chain.evm.storage(self.chain.addresses["Clearinghouse"], slot_of_session_key(account_id, key)))

    # Steps done to both.

    def deposit(self, account: int, quote: int) -> None:
        """Deposit through the vault, and in the model."""
        self.world.deposit(account, quote)
        self.chain.deposit(account, quote)

    def put_on_edge(self, batch: Batch) -> int | None:
        """Take an account's collateral down until a fill of the batch just passes its margin, or just fails.

        Return the account, or None if no fill of the batch opens.
        """
        edge = self.world.find_edge(batch)
        if edge is None:
            return None
        account, slack_quote = edge
        self.nudge(account, -slack_quote - self.world.random.randint(0, 1))
        return account

    def put_liquidation_on_edge(self, batch: Batch) -> int | None:
        """Give an account with a liquidation order just the maintenance margin at one price, or one unit less.

        Return the account, or None if the batch liquidates nobody.
        """
        world = self.world
        orders = [(batch.table.accounts[index].account_id, record) for index, record in batch.table.list_orders()]
        chosen = [account for account, record in orders if record.is_liquidation]
        if not chosen:
            return None
        account = world.random.choice(chosen)
        execution = world.execute_operations(batch)
        slack_quote = find_slack_quote(world.state, account, batch.table.header.matched_at_s, execution)
        self.nudge(account, -slack_quote - world.random.randint(0, 1))
        return account

    def make_unhealthy(self, percent: tuple[int, int] = (0, 50)) -> int | None:
        """Take an account's collateral down below its maintenance margin by these percents of it; return it."""
        world = self.world
        accounts = [account for account in world.accounts if world.state.open_positions(account)]
        if not accounts:
            return None
        account = world.random.choice(accounts)
        slack_quote = find_slack_quote(world.state, account, world.time_s)
        health = Execution(world.state, world.time_s).health(account)
        depth_quote = health.maintenance_margin_quote * world.random.randint(*percent) // 100
        self.nudge(account, -slack_quote - depth_quote)
        return account

    def nudge(self, account: int, change_quote: int) -> None:
        """Move an account's collateral in both, without a trace in events."""
        self.world.nudge_collateral(account, change_quote)
        state, key = self.world.state, account << 16
        # The slots of open markets may stand in another order on chain: only the collateral is replaced.
        collateral_bits = (1 << 72) - 1
        word = self.word("accounts", key) & ~collateral_bits | state.accounts[key] & collateral_bits
        self.chain.write_word("accounts", key, word)
        self.chain.write_value("batch", state.batch_word)
        vault = self.chain.addresses["Vault"]
        self.chain.evm.insert_account_storage(vault, slot_of("Vault", "tracked_quote"), state.tracked_quote)

    def put_key_on_edge(self, batch: Batch) -> KeyEdge | None:
        """Give the key that signed an order of the batch a word that just allows it, or just does not.

        Return what to restore, or None if no key of ours signed.
        """
        world, table = self.world, batch.table
        signed = [
            (table.accounts[index].account_id, record, world.ring.signer_of[record.r])
            for index, record in table.list_orders()
            if record.is_key_signed and record.r in world.ring.signer_of
        ]
        if not signed:
            return None
        account_id, record, key = world.random.choice(signed)
        execution = Execution(world.state, table.header.matched_at_s)
        execution.apply_prices(batch.updates, table.rows)
        word = world.ring.make_edge(record, execution.price(record.market_id), table.header.matched_at_s).pack()
        edge = KeyEdge(account_id=account_id, key=key, before=world.state.session_key_word(account_id, key), word=word)
        self.write_session_key(account_id, key, word)
        return edge

    def restore_key(self, edge: KeyEdge) -> None:
        """Take an injected word away again, unless the batch has changed it."""
        if self.world.state.session_key_word(edge.account_id, edge.key) == edge.word:
            self.write_session_key(edge.account_id, edge.key, edge.before)

    def write_session_key(self, account_id: int, key: bytes, word: int) -> None:
        """Set a session key word in both."""
        store_word(self.world.state.session_keys, session_key_id(account_id, key), word)
        self.chain.evm.insert_account_storage(
            self.chain.addresses["Clearinghouse"], slot_of_session_key(account_id, key), word
        )

    def call_directly(self, *, may_be_late: bool) -> tuple[DirectKind, str]:
        """Do something directly on chain and in the model; return (kind, reason of a refusal or "").

        may_be_late: the mirror may stay behind until `settle` makes it hear.
        """
        world = self.world
        is_late = world.mirror is not None or (may_be_late and world.random.random() < 0.5)
        call = random_direct(world, is_late=is_late)
        if is_late and world.mirror is None:
            world.mirror = world.state.copy()
        sender = to_checksum_address(call.sender) if call.sender else GOVERNOR
        args = [to_checksum_address(arg) if isinstance(arg, bytes) else arg for arg in call.args]
        self.chain.set_time(call.time_s)
        done: list[DirectOperation] = []
        refused = ""
        try:
            done = call.record(world.state)
        except DirectRefused as error:
            refused = error.reason
        try:
            self.chain.call(call.contract, call.function, *args, sender=sender)
        except Reverted as error:
            expect(f"refusal of {call.function}", error.reason, refused)
            return call.kind, refused
        expect(f"refusal of {call.function}", "", refused)
        logged = [event.args for event in self.chain.events() if event.name == "DirectOperation"]
        expect("DirectOperation", logged, [direct_event(one) for one in done])
        for one in done:
            self.compare_direct(one)
        if is_late:
            world.unheard += done
        return call.kind, ""

    def settle_on_chain(self, batch: Batch) -> list[Event]:
        """Send a batch; return its events."""
        self.chain.set_time(batch.block_time_s)
        self.chain.settle(batch.payload, previous_head=batch.previous_head)
        return self.chain.events()

    def settle(self, batch: Batch) -> BatchResult:
        """Settle in both, and in a mirror that is behind; compare everything the batch could have touched."""
        for owner, digest in batch.approvals:
            self.chain.call("Operations", "approve", digest, sender=to_checksum_address(owner))
            for state in self.world.states():
                approve(state, owner, digest)
        mirrored = self.settle_in_mirror(batch)
        result = self.world.settle(batch)
        if mirrored is not None:
            expect("codes in a mirror", mirrored.codes, result.codes)
        events = self.settle_on_chain(batch)
        self.compare_events(batch, result, events)
        self.compare_touched(batch)
        return result

    def settle_in_mirror(self, batch: Batch) -> BatchResult | None:
        """Let the mirror hear what it must by now, or settle the batch in it as it is."""
        world = self.world
        if world.mirror is None:
            return None
        if world.must_hear(batch.table.header.matched_at_s) or world.random.random() < 0.25:
            self.hear()
            return None
        self.n_mirrored += 1
        return world.settle(batch, world.mirror)

    def hear(self) -> None:
        """Let the mirror hear everything: it must be the chain then."""
        mirror = self.world.mirror
        if mirror is None:
            return
        self.world.hear()
        for name in ("accounts", "overflows", "session_keys", "rules", "direct_op"):
            expect(f"{name} in a mirror", getattr(mirror, name), getattr(self.world.state, name))
        expect("the mirror as a whole", mirror == self.world.state, True)
        self.world.mirror = None
        self.n_heard += 1

    # Comparison.

    def compare_events(self, batch: Batch, result: BatchResult, events: list[Event]) -> None:
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
        logged = by_name.pop("PositionsChanged", [])
        expect("logs of positions", [event["sequence"] for event in logged], [result.sequence] * bool(result.changes))
        expect("PositionsChanged", sorted(read_records(logged)), sorted(list_records(result.changes)))
        for name, field, expected in (
            ("PriceChanged", "price", result.prices), ("IndexChanged", "index", result.indices),
        ):  # fmt: skip
            expect(name, {event["market"]: event[field] for event in by_name.pop(name, [])}, expected)
        operations: list[object] = []
        for _, name, fields in events:
            if name == "CollateralWithdrawn":
                recipient = bytes.fromhex(str(fields["recipient"])[2:])
                operations.append(Withdrawn(account_id=fields["account"], recipient=recipient, quote=fields["quote"]))
                expect("sequence", fields["sequence"], result.sequence)
            elif name == "CollateralTransferred":
                operations.append(
                    Transferred(account_id=fields["account"], receiver_id=fields["receiver"], quote=fields["quote"])
                )
                expect("sequence", fields["sequence"], result.sequence)
            elif name == "OrderCancelled":
                operations.append(OrderKilled(account_id=fields["account"], nonce=fields["nonce"]))
            elif name == "AllCancelled":
                operations.append(AllKilled(account_id=fields["account"], min_seq=fields["min_seq"]))
            elif name == "KeyChanged":
                key = bytes.fromhex(str(fields["key"])[2:])
                operations.append(KeyChanged(account_id=fields["account"], key=key, word=fields["word"]))
        expect("operations", operations, list(result.operations))
        accepted = [(event["market"], event["publish_time_s"]) for event in by_name.pop("ReportAccepted", [])]
        expect(
            "ReportAccepted",
            accepted,
            [(one.report.market_id, one.report.publish_time_s) for one in batch.verdicts if not one.code],
        )
        ignored = [(event["market"], event["code"]) for event in by_name.pop("ReportIgnored", [])]
        expect("ReportIgnored", ignored, [(one.report.market_id, int(one.code)) for one in batch.verdicts if one.code])
        of_operations = {
            "CollateralWithdrawn", "CollateralTransferred", "OrderCancelled", "AllCancelled", "KeyChanged",
            "ClaimAdded",
        }  # fmt: skip
        expect("other events", set(by_name) - of_operations, set())

    def compare_touched(self, batch: Batch) -> None:
        """Compare every word an account, order or row of the batch could have moved."""
        markets = range(1, N_MARKETS + 1)
        for account in batch.table.accounts:
            account_id = account.account_id
            self.compare_account(account_id)
            for lane in {order.lane for order in account.orders}:
                self.compare_lane(account_id, lane)
            for market_id in {order.market_id for order in account.orders if order.market_id in markets}:
                key = position_key(account_id, market_id)
                expect(f"position {key:#x}", self.word("positions", key), self.world.state.positions.get(key, 0))
        self.compare_markets()
        for row in batch.table.operations:
            self.compare_account(row.account_id)
            self.compare_lane(row.account_id, OPERATION_LANE)
            if row.kind == OperationKind.CANCEL_ORDER and row.value < 1 << 56:
                self.compare_lane(row.account_id, row.value >> 40)
            if row.kind == OperationKind.TRANSFER:
                self.compare_account(row.account_id >> 80 << 80 | row.operand & (1 << 80) - 1)
            self.compare_claim(row.operand)
            self.compare_session_key(row.account_id, row.operand.to_bytes(20, "big"))

    def compare_lane(self, account_id: int, lane: int) -> None:
        """Compare the word that holds a lane."""
        key = lane_key(account_id, lane)
        expect(f"lane {key:#x}", self.word("lanes", key), self.world.state.lanes.get(key, 0))

    def compare_session_key(self, account_id: int, key: bytes) -> None:
        """Compare one session key word."""
        expected = self.world.state.session_key_word(account_id, key)
        expect(f"session key {account_id:#x} {key.hex()}", self.session_key(account_id, key), expected)

    def compare_direct(self, done: DirectOperation) -> None:
        """Compare every word a direct operation could have moved."""
        state = self.world.state
        if done.kind == DirectKind.CANCEL_ALL:
            self.compare_account(done.account_id)
            key = overflow_key(done.account_id)
            expect(f"overflow {key:#x}", self.word("accounts", key), state.overflows.get(key, 0))
        elif done.kind == DirectKind.CHANGE_RULES:
            first = done.subject & (1 << 16) - 1
            for key in (first, first + (1 << 16), first + (1 << 17), tier_key(first), tier_key(first + (1 << 16))):
                expect(f"rules {key:#x}", self.word("rules", key), state.rules.get(key, 0))
        else:
            self.compare_session_key(done.account_id, done.subject.to_bytes(20, "big"))
        self.compare_operator()

    def compare_operator(self) -> None:
        """Compare the number of direct operations and the mode."""
        operator = self.value("operator")
        expect("direct operations", operator >> 160 & (1 << 40) - 1, self.world.state.direct_op)
        expect("mode", operator >> 200, int(self.world.state.mode))

    def compare_account(self, account_id: int) -> None:
        """Compare an account word: open markets as a set, every other bit as it is."""
        key = account_id << 16
        actual, expected = self.word("accounts", key), self.world.state.accounts.get(key, 0)
        expect(f"account {key:#x}", actual & ~SLOT_BITS_OF_MARKETS, expected & ~SLOT_BITS_OF_MARKETS)
        slots = [sorted(AccountWord.unpack(word).open_markets) for word in (actual, expected)]
        assert len(slots[0]) == MAX_OPEN_MARKETS
        expect(f"open markets of {key:#x}", slots[0], slots[1])

    def compare_positions(self, account_id: int) -> None:
        """Compare every position word of an account."""
        for market_id in range(1, N_MARKETS + 1):
            key = position_key(account_id, market_id)
            expect(f"position {key:#x}", self.word("positions", key), self.world.state.positions.get(key, 0))

    def compare_markets(self) -> None:
        """Compare what is one word per market or one for all."""
        state = self.world.state
        for market_id in range(1, N_MARKETS + 1):
            for name, words in (("prices", state.prices), ("totals", state.totals), ("indices", state.indices)):
                expect(f"{name} {market_id}", self.word(name, market_id), words.get(market_id, 0))
        expect("batch word", self.value("batch"), state.batch_word)
        expect("head", self.value("head").to_bytes(32, "big"), state.head)
        self.compare_operator()
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
        for key, word in state.overflows.items():
            expect(f"overflow {key:#x}", self.word("accounts", key), word)
        for key in state.session_keys:
            self.compare_session_key(key >> 160, (key & (1 << 160) - 1).to_bytes(20, "big"))
        for recipient in state.claims:
            self.compare_claim(int.from_bytes(recipient, "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEdge:
    """A session key word injected for one batch."""

    account_id: int
    key: bytes
    before: int
    word: int


def read_records(logged: list[dict[str, object]]) -> list[tuple[int, int, int]]:
    """Return (account << 16 | market, change, position) of every record of PositionsChanged."""
    words = [word for event in logged for word in event["records"]]  # type: ignore[attr-defined]
    return [(words[i], words[i + 1], words[i + 2]) for i in range(0, len(words), 3)]


def list_records(changes: tuple[PositionChange, ...]) -> list[tuple[int, int, int]]:
    """Return the records that the model's changes stand for."""
    return [(position_key(one.account_id, one.market_id), one.change_word, one.position_word) for one in changes]


def direct_event(done: DirectOperation) -> dict[str, int]:
    """Return the fields of the log of a direct operation."""
    return {
        "account": done.account_id, "direct_op": done.direct_op, "kind": done.kind, "key": done.subject,
        "value": done.word, "time_s": done.time_s,
    }  # fmt: skip


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
