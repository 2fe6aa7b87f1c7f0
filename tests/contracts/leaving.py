"""Users who leave: every step is done on the deployed contracts and in the model, then every word of both is compared.

Batches are the chain's; the model takes the words they left (`sync`) and from there on must find each answer by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from afterbell.domain import exit_requests, final_settlement
from afterbell.domain import exits as exits_model
from afterbell.domain.batch import PriceRow
from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.errors import DirectRefused
from afterbell.domain.exit_requests import ExitsState
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import account_key, position_key, rules_key
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import E8_PER_TICK, MAKER, REGULAR, TAKER, THIRD, USDC, Report, Venue, account_of
from tests.support.chain import GENESIS_S, OUTSIDER, SEQUENCER, Event, Reverted, artifacts

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
CLOSED: Final = 5
HALTED: Final = 6
CORPORATE_ACTION: Final = 7
N_MARKETS: Final = 8
N_SESSIONS: Final = 9
# where a rules word, its successor, binds_after and their tiers stand (contracts/README.md)
RULES_OFFSETS: Final = (0, 1 << 16, 1 << 17, 1 << 18, (1 << 16) + (1 << 18))


@cache
def slot_of(variable: str) -> int:
    """Return where a variable of Exits stands."""
    return int(artifacts()["Exits"].layout["storage_layout"][variable]["slot"])


@cache
def slot_of_key(variable: str, key: int) -> int:
    """Return where an entry of a map of Exits stands."""
    return int.from_bytes(keccak(slot_of(variable).to_bytes(32, "big") + key.to_bytes(32, "big")), "big")


def owner_address(account: int) -> str:
    """Return the owner's address of an account."""
    return "0x" + (account >> 80).to_bytes(20, "big").hex()


@dataclass(slots=True)
class Exodus:
    """A venue with its model beside it."""

    venue: Venue
    accounts: list[int] = field(default_factory=lambda: [account_of(key) for key in (MAKER, TAKER, THIRD)])
    payees: list[bytes] = field(default_factory=list)
    state: ChainState = field(default_factory=ChainState)
    exits: ExitsState = field(default_factory=ExitsState)
    uptime: exits_model.Uptime | None = None
    logged: list[Event] = field(default_factory=list)
    """Logs of the last step."""

    @property
    def now_s(self) -> int:
        return self.venue.chain.time_s

    def address(self, name: str) -> bytes:
        return bytes.fromhex(self.venue.chain.addresses[name][2:])

    def all_payees(self) -> set[bytes]:
        return {*self.payees, *((account >> 80).to_bytes(20, "big") for account in self.accounts)}

    def lent(self) -> Exodus:
        """Return another on the same chain, for a test that is undone."""
        state = self.read()
        state.rules = dict(self.state.rules)
        return Exodus(self.venue, accounts=list(self.accounts), state=state)

    # The chain's words.

    def read(self) -> ChainState:
        """Return the chain's words, read from storage."""
        chain = self.venue.chain
        operator = chain.call("Clearinghouse", "operator_word")
        state = ChainState(
            batch_word=chain.call("Clearinghouse", "batch_word"),
            direct_op=operator >> 160 & (1 << 40) - 1,
            mode=Mode(operator >> 200),
            tracked_quote=chain.call("Vault", "tracked_quote"),
            genesis_s=GENESIS_S,
            forbidden_recipients=frozenset(self.address(name) for name in ("Vault", "Clearinghouse", "token")),
        )
        for account in self.accounts:
            state.accounts[account_key(account)] = chain.read_word("accounts", account_key(account))
            for market in range(1, N_MARKETS + 1):
                key = position_key(account, market)
                state.positions[key] = chain.read_word("positions", key)
        for market in range(1, N_MARKETS + 1):
            state.prices[market] = chain.read_word("prices", market)
            state.indices[market] = chain.read_word("indices", market)
            state.totals[market] = chain.read_word("totals", market)
        for payee in self.all_payees():
            state.claims[payee] = chain.call("Vault", "claims_quote", "0x" + payee.hex())
        for words in (state.accounts, state.positions, state.indices, state.totals):
            _drop_zeros(words)
        state.claims = {payee: quote for payee, quote in state.claims.items() if quote}
        return state

    def read_rules(self) -> dict[int, int]:
        """Return all words of rules, which few tests change."""
        keys = [
            rules_key(market, session) + offset
            for market in range(1, N_MARKETS + 1)
            for session in range(N_SESSIONS)
            for offset in RULES_OFFSETS
        ]
        return {key: word for key in keys if (word := self.venue.chain.read_word("rules", key))}

    def sync(self) -> None:
        """Let the model take the words batches and deposits left. Its own words stay: no batch touches them."""
        rules = self.state.rules or self.read_rules()
        self.state = self.read()
        self.state.rules = rules

    def read_exits(self) -> ExitsState:
        """Return the chain's words of Exits, from storage."""
        tallied = self._exits_value("tallied_collateral_quote")
        requests = [account << 16 | market for account in self.accounts for market in range(N_MARKETS + 1)]
        recipients = self._exits_words("recipients", self.accounts)
        return ExitsState(
            requests=self._exits_words("requests", requests),
            recipients={account: word.to_bytes(20, "big") for account, word in recipients.items()},
            taker_since_s=self._exits_words("taker_since_s", self.accounts),
            n_overdue=self._exits_value("n_overdue"),
            exit_mode_since_s=self._exits_value("exit_mode_since_s"),
            tallies=self._exits_words("tallies", self.accounts),
            tallied_collateral_quote=tallied - (tallied >> 255 << 256),
            market_tallies=self._exits_words("market_tallies", range(1, N_MARKETS + 1)),
            positive_equity_quote=self._exits_value("positive_equity_quote"),
            assets_quote=self._exits_value("assets_quote"),
            is_ratio_fixed=bool(self._exits_value("is_ratio_fixed")),
        )

    def _exits_value(self, variable: str) -> int:
        chain = self.venue.chain
        return int(chain.evm.storage(chain.addresses["Exits"], slot_of(variable)))

    def _exits_words(self, variable: str, keys: Iterable[int]) -> dict[int, int]:
        chain = self.venue.chain
        found = ((key, chain.evm.storage(chain.addresses["Exits"], slot_of_key(variable, key))) for key in keys)
        return {key: int(word) for key, word in found if word}

    def compare(self) -> None:
        """Hold every word of chain and model equal, and the books."""
        chain = self.read()
        for name in ("accounts", "positions", "totals", "batch_word", "direct_op", "mode", "claims", "tracked_quote"):
            if name == "accounts":
                # the list of open markets is a set: its order is nobody's business
                assert {key: _unordered(word) for key, word in chain.accounts.items()} == {
                    key: _unordered(word) for key, word in self.state.accounts.items()
                }
            else:
                assert getattr(chain, name) == getattr(self.state, name), name
        assert self.read_exits() == self.exits
        self.venue.check_books()

    # Steps.

    def _do(self, model: Callable[[], Any], sender: str, function: str, *args: Any) -> Any:
        """Do a step on both. Raises: Reverted, if both refuse for the same reason."""
        model_reason = refusal = None
        expected: Any = None
        try:
            expected = model()
        except DirectRefused as error:
            model_reason = error.reason
        try:
            result = self.venue.chain.call("Exits", function, *args, sender=sender)
            self.logged = self.venue.chain.events()
        except Reverted as error:
            result, refusal = None, error
        assert (refusal and refusal.reason) == model_reason
        if refusal is not None:
            raise refusal
        if expected is not None:
            assert result == expected, (result, expected)
        self.compare()
        return result

    def request_withdrawal(self, account: int, quote: int, recipient: str | None = None) -> None:
        to = bytes.fromhex((recipient or owner_address(account))[2:])
        self.payees.append(to)
        self._do(
            lambda: exit_requests.request_withdrawal(
                self.state, self.exits, account, quote, to, now_s=self.now_s
            ),
            owner_address(account), "request_withdrawal", account & (1 << 80) - 1, quote, "0x" + to.hex(),
        )  # fmt: skip

    def request_close(self, account: int, lots: int, worst_ticks: int, *, market: int = 1) -> None:
        self._do(
            lambda: exit_requests.request_close(
                self.state, self.exits, account, market, lots, worst_ticks, now_s=self.now_s
            ),
            owner_address(account), "request_close", account & (1 << 80) - 1, market, lots, worst_ticks,
        )  # fmt: skip

    def cancel(self, account: int, market: int = 0) -> None:
        self._do(
            lambda: exit_requests.cancel_request(self.exits, account, market),
            owner_address(account), "cancel_request", account & (1 << 80) - 1, market,
        )  # fmt: skip

    def announce(self, account: int) -> None:
        self._do(
            lambda: exit_requests.announce_taker(self.exits, account, now_s=self.now_s),
            owner_address(account), "announce_taker", account & (1 << 80) - 1,
        )  # fmt: skip

    def force_withdrawal(self, account: int, *, sender: str = OUTSIDER) -> int:
        return int(
            self._do(
                lambda: exits_model.force_withdrawal(
                    self.state, self.exits, account, now_s=self.now_s, is_sequencer=sender == SEQUENCER
                ),
                sender, "force_withdrawal", account,
            )
        )  # fmt: skip

    def force_close(self, account: int, taker: int, *, lots: int = 1 << 64, market: int = 1) -> tuple[int, int]:
        """Return (lots, price)."""

        def model() -> tuple[int, int]:
            done = exits_model.force_close(self.state, self.exits, account, market, lots, taker, now_s=self.now_s)
            return done.lots, done.price_ticks

        shown = self.venue.chain.call("Exits", "close_price_ticks", account, market, lots)
        result = self._do(model, owner_address(taker), "force_close", account, market, lots, taker & (1 << 80) - 1)
        assert shown == result[1]
        return int(result[0]), int(result[1])

    def observe(self, account: int, market: int = 1) -> int:
        """Return the cause logged."""
        causes: list[int] = []

        def model() -> None:
            causes.append(exits_model.observe(self.state, self.exits, account, market, now_s=self.now_s))

        self._do(model, OUTSIDER, "observe", account, market)
        logged = [event.args["cause"] for event in self.logged if event.name == "RequestChanged"]
        assert logged == causes
        return int(logged[0])

    def enter(self) -> None:
        self._do(
            lambda: exits_model.enter_exit_mode(self.state, self.exits, now_s=self.now_s, uptime=self.uptime),
            OUTSIDER, "enter_exit_mode",
        )  # fmt: skip

    def leave(self) -> None:
        self._do(
            lambda: exits_model.leave_exit_mode(self.state, self.exits, now_s=self.now_s), OUTSIDER, "leave_exit_mode"
        )

    def start_settlement(self) -> None:
        self._do(
            lambda: exits_model.start_final_settlement(self.state, self.exits, now_s=self.now_s),
            OUTSIDER, "start_final_settlement",
        )  # fmt: skip

    def tally(self, accounts: Sequence[int]) -> bool:
        return bool(
            self._do(
                lambda: final_settlement.tally(
                    self.state, self.exits, accounts, insurance_owner=self.address("Liquidations")
                ),
                OUTSIDER, "tally", list(accounts),
            )
        )  # fmt: skip

    def claim(self, account: int) -> int:
        return int(
            self._do(lambda: final_settlement.claim(self.state, self.exits, account), OUTSIDER, "claim", account)
        )

    # Shortcuts.

    def heartbeat(self) -> None:
        """Settle a batch without anything in it."""
        self.venue.settle()
        self.sync()

    def set_prices(self, ticks: dict[int, int], *, session: int = REGULAR) -> None:
        """Report prices in a session, and move marks as far as they may."""
        reports = [Report(market=m, price_e8=price * E8_PER_TICK, session=session) for m, price in ticks.items()]
        rows = [PriceRow(market_id=market, mark_ticks=price, index_ticks=price) for market, price in ticks.items()]
        self.venue.settle(rows=rows, evidence=self.venue.evidence(reports))
        self.sync()

    def wait(self, seconds: int) -> None:
        self.venue.wait(seconds)

    def settle_finally(self) -> None:
        """Let the sequencer fall silent and everything run its course up to final settlement."""
        self.wait(DAY_S + 1)
        self.enter()
        self.wait(7 * DAY_S)
        self.start_settlement()

    def word(self, account: int, market: int = 0) -> exit_requests.RequestWord:
        """Return a request."""
        return exit_requests.RequestWord.unpack(self.exits.request_word(account, market))

    def tallied_equity(self, account: int) -> int:
        """Return the equity an account was tallied with, 0 if it was not positive."""
        return self.exits.tallies[account] & (1 << 128) - 1

    def deposit(self, key_or_account: SigningKey | int, quote: int) -> int:
        account = key_or_account if isinstance(key_or_account, int) else account_of(key_or_account)
        self.venue.chain.deposit(account, quote)
        if account not in self.accounts:
            self.accounts.append(account)
        self.sync()
        return account


def _drop_zeros(words: dict[int, int]) -> None:
    for key in [key for key, word in words.items() if not word]:
        del words[key]


def _unordered(word: int) -> tuple[int, tuple[int, ...]]:
    slots = sorted(word >> 200 + 8 * slot & 255 for slot in range(6))
    return word & (1 << 200) - 1 | word >> 248 << 248, tuple(slots)


def open_exodus(*, deposit_quote: int = 10_000 * USDC, lots: int = 0, **venue: Any) -> Exodus:
    """Return a venue where the taker is long and the maker short `lots` in market 1, at 10,000 ticks."""
    opened = Venue.open(deposit_quote=deposit_quote, **venue)
    if lots:
        sizes = {"size_lots": lots}
        opened.trade(lots, maker=sizes, taker=sizes)
    exodus = Exodus(opened)
    exodus.sync()
    return exodus


def insurance_account(exodus: Exodus, market: int = 1) -> int:
    """Return the insurance of a market: an account Liquidations owns."""
    return int.from_bytes(exodus.address("Liquidations"), "big") << 80 | market
