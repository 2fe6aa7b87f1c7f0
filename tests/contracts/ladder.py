"""The loss ladder: every step is done on the deployed contracts and in the model, then every word of both is compared.

One lot at one tick is one quote unit. `put_price` writes a market's price word past the oracle: which prices a market
can reach is tested elsewhere, here every pair of mark and external counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pyrevm import AccountInfo

from afterbell.domain import deleveraging, liquidations
from afterbell.domain.batch import build_liquidation_record
from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.codes import StatusCode
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import account_key, position_key, rules_key
from afterbell.domain.liquidations import Adl, Draw, LiquidationsState, Throttle
from afterbell.domain.words import PriceWord, RulesWord
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import REGULAR, TICKS, USDC, Settled, Venue, account_of, address_of
from tests.support.chain import GENESIS_S, OUTSIDER, Event, Reverted

LAG_S: Final = 300
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
LOTS: Final = 1_000_000
"""10,000 USDC at 10,000 ticks."""
N_SESSIONS: Final = 9
RULES_OFFSETS: Final = (0, 1 << 16, 1 << 17, 1 << 18, (1 << 16) + (1 << 18))

LADDER_RULES: Final = RulesWord(
    initial_margin_ppm=200_000, settlement_margin_ppm=150_000, maintenance_margin_ppm=100_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=10**8, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=10, price_step_ticks=5, min_notional_quote=50 * USDC, max_fee_ppm=1_000,
)  # fmt: skip


def key_of(name: str) -> SigningKey:
    """Return the key of a role."""
    return SigningKey(name.encode().rjust(32, b"\x02"))


LONG, SHORT, KEEPER, OTHER = (key_of(name) for name in ("long", "short", "keeper", "other"))
LONG_ID, SHORT_ID, KEEPER_ID, OTHER_ID = (account_of(key) for key in (LONG, SHORT, KEEPER, OTHER))


def owner_address(account: int) -> str:
    """Return the owner's address of an account."""
    return "0x" + (account >> 80).to_bytes(20, "big").hex()


@dataclass(slots=True)
class Ladder:
    """A venue with its model beside it."""

    venue: Venue
    n_markets: int
    accounts: list[int] = field(default_factory=list)
    state: ChainState = field(default_factory=ChainState)
    liquidations: LiquidationsState = field(default_factory=lambda: LiquidationsState(address=bytes(20)))
    logged: list[Event] = field(default_factory=list)
    """Logs of the last step."""
    rules: dict[int, int] = field(default_factory=dict)

    @classmethod
    def open(cls, *, rules: RulesWord = LADDER_RULES, n_markets: int = 2, **venue: Any) -> Ladder:
        ladder = cls(Venue.open(rules=rules, n_markets=n_markets, deposit_quote=0, **venue), n_markets)
        address = bytes.fromhex(ladder.venue.chain.addresses["Liquidations"][2:])
        ladder.liquidations = LiquidationsState(address=address)
        ladder.accounts += [ladder.insurance_id(market) for market in range(1, n_markets + 1)]
        ladder.sync()
        return ladder

    def lent(self) -> Ladder:
        """Return another on the same chain, for a test that is undone."""
        ladder = Ladder(self.venue, self.n_markets, list(self.accounts), rules=self.rules)
        ladder.liquidations = LiquidationsState(
            address=self.liquidations.address, taker_since_s=dict(self.liquidations.taker_since_s)
        )
        ladder.sync()
        return ladder

    @property
    def now_s(self) -> int:
        return self.venue.chain.time_s

    @property
    def address(self) -> str:
        return str(self.venue.chain.addresses["Liquidations"])

    def insurance_id(self, market: int = 1) -> int:
        return self.liquidations.insurance_id(market)

    # The chain's words.

    def read(self) -> ChainState:
        chain = self.venue.chain
        operator = chain.call("Clearinghouse", "operator_word")
        if not self.rules:
            keys = [
                rules_key(market, session) + offset
                for market in range(1, self.n_markets + 1) for session in range(N_SESSIONS) for offset in RULES_OFFSETS
            ]  # fmt: skip
            self.rules = {key: word for key in keys if (word := chain.read_word("rules", key))}
        state = ChainState(
            batch_word=chain.call("Clearinghouse", "batch_word"),
            direct_op=operator >> 160 & (1 << 40) - 1,
            mode=Mode(operator >> 200),
            tracked_quote=chain.call("Vault", "tracked_quote"),
            genesis_s=GENESIS_S,
            rules=dict(self.rules),
        )
        for account in self.accounts:
            state.accounts[account_key(account)] = chain.read_word("accounts", account_key(account))
            if flagged_at_s := chain.call("Liquidations", "flagged_at_s", account):
                state.flags[account] = flagged_at_s
            for market in range(1, self.n_markets + 1):
                key = position_key(account, market)
                state.positions[key] = chain.read_word("positions", key)
        for market in range(1, self.n_markets + 1):
            state.prices[market] = chain.read_word("prices", market)
            state.indices[market] = chain.read_word("indices", market)
            state.totals[market] = chain.read_word("totals", market)
        for words in (state.accounts, state.positions, state.indices, state.totals):
            for key in [key for key, word in words.items() if not word]:
                del words[key]
        return state

    def sync(self) -> None:
        """Let the model take the words batches and deposits left."""
        self.state = self.read()

    def read_liquidations(self) -> LiquidationsState:
        """Return the words of Liquidations."""
        ask = self.venue.chain.call
        found = LiquidationsState(
            address=self.liquidations.address, taker_since_s=dict(self.liquidations.taker_since_s)
        )
        for market in range(1, self.n_markets + 1):
            if word := ask("Liquidations", "draws", market):
                found.draws[market] = Draw(day=word & (1 << 32) - 1, left_quote=word >> 32)
            if word := ask("Liquidations", "throttles", market):
                found.throttles[market] = Throttle(minute=word & (1 << 64) - 1, notional_quote=word >> 64)
        for adl_id in range(1, ask("Liquidations", "n_adls") + 1):
            terms, subject = ask("Liquidations", "adl_terms", adl_id), ask("Liquidations", "adl_subjects", adl_id)
            nominees = []
            for place in range(terms >> 184 & 0xFF):
                score = ask("Liquidations", "scores", adl_id << 8 | place // 4) >> 64 * (place % 4) & (1 << 64) - 1
                nominee = ask("Liquidations", "nominees", adl_id << 8 | place)
                nominees.append((nominee >> 16, score, nominee & 0xFFFF))
            found.adls[adl_id] = Adl(
                account_id=subject >> 16, market_id=subject & 0xFFFF, price_ticks=terms & (1 << 40) - 1,
                opened_at_s=terms >> 40 & (1 << 40) - 1, mark_ticks=terms >> 80 & (1 << 40) - 1,
                lots=terms >> 120 & (1 << 64) - 1, nominees=tuple(nominees), is_short=bool(terms >> 192 & 1),
                is_done=bool(terms >> 200),
            )  # fmt: skip
            found.last_adl[subject >> 16, subject & 0xFFFF] = adl_id
        return found

    def compare(self) -> None:
        """Hold every word of chain and model equal, and the books."""
        chain = self.read()
        for name in ("positions", "prices", "indices", "totals", "batch_word", "direct_op", "flags", "tracked_quote"):
            assert getattr(chain, name) == getattr(self.state, name), name
        assert {key: _unordered(word) for key, word in chain.accounts.items()} == {
            key: _unordered(word) for key, word in self.state.accounts.items()
        }
        assert self.read_liquidations() == self.liquidations
        self.venue.check_books()

    # Steps.

    def _do(self, model: Callable[[], Any], sender: str, function: str, *args: Any) -> Any:
        """Do a step on both. Raises: Reverted, if both refuse for the same reason."""
        model_reason, expected = None, None
        try:
            expected = model()
        except DirectRefused as error:
            model_reason = error.reason
        try:
            result = self.venue.chain.call("Liquidations", function, *args, sender=sender)
        except Reverted as error:
            assert error.reason == model_reason, (error.reason, model_reason)  # noqa: PT017 - both must say the same
            raise
        assert model_reason is None, f"the model refuses: {model_reason}"
        assert result == expected, (result, expected)
        self.logged = self.venue.chain.events()
        self.compare()
        return result

    def flag(self, account: int) -> None:
        self._do(lambda: liquidations.flag(self.state, account, self.now_s), OUTSIDER, "flag", account)

    def unflag(self, account: int) -> None:
        self._do(lambda: liquidations.unflag(self.state, account, self.now_s), OUTSIDER, "unflag", account)

    def liquidate(self, account: int, lots: int = 1 << 60, *, market: int = 1, taker: int = KEEPER_ID) -> int:
        """Return the lots taken."""

        def model() -> int:
            return liquidations.liquidate(
                self.state, self.liquidations, taker_id=taker, account_id=account, market_id=market, lots=lots,
                now_s=self.now_s,
            ).taken_lots  # fmt: skip

        subaccount = taker & (1 << 80) - 1
        return int(self._do(model, owner_address(taker), "liquidate", account, market, lots, subaccount))

    def open_adl(self, account: int, market: int = 1) -> int:
        return int(
            self._do(
                lambda: deleveraging.open_adl(self.state, self.liquidations, account, market, self.now_s),
                OUTSIDER, "open_adl", account, market,
            )
        )  # fmt: skip

    def nominate(self, adl_id: int, account: int) -> None:
        self._do(
            lambda: deleveraging.nominate(self.state, self.liquidations, adl_id, account, self.now_s),
            OUTSIDER, "nominate", adl_id, account,
        )  # fmt: skip

    def execute_adl(self, adl_id: int) -> int:
        """Return the lots closed."""
        return int(
            self._do(
                lambda: deleveraging.execute_adl(self.state, self.liquidations, adl_id, self.now_s),
                OUTSIDER, "execute_adl", adl_id,
            )
        )  # fmt: skip

    def cover(self, account: int, market: int = 1) -> None:
        """Call as CorporateActions."""
        with self.as_corporate_actions() as sender:
            self._do(
                lambda: liquidations.cover(self.state, self.liquidations, account, market, self.now_s),
                sender, "cover", account, market,
            )  # fmt: skip

    @contextmanager
    def as_corporate_actions(self) -> Iterator[str]:
        """Let a test call as CorporateActions: revm takes no transaction from an address with code."""
        address = self.venue.chain.addresses["CorporateActions"]
        account = self.venue.chain.evm.basic(address)
        self.venue.chain.evm.insert_account_info(address, AccountInfo(nonce=1))
        try:
            yield address
        finally:
            self.venue.chain.evm.insert_account_info(address, account)

    # Shortcuts.

    def put_price(
        self, mark: int, external: int | None = None, *, market: int = 1, session: int = REGULAR, age_s: int = 0
    ) -> None:
        """Write a market's prices, fresh now unless told otherwise."""
        word = replace(
            PriceWord.unpack(self.venue.chain.read_word("prices", market)),
            mark_ticks=mark, index_ticks=mark, external_ticks=external or mark, external_time_s=self.now_s - age_s,
            mark_time_s=self.now_s, session=session, session_minutes=60,
        )  # fmt: skip
        self.venue.chain.write_word("prices", market, word.pack())
        self.sync()

    def refresh(self) -> None:
        """Make every price fresh again as it stands."""
        for market in range(1, self.n_markets + 1):
            price = self.venue.price(market)
            self.put_price(price.mark_ticks, price.external_ticks, market=market, session=price.session)

    def wait(self, seconds: int) -> None:
        """Let time pass; prices stay, and stay fresh."""
        self.venue.wait(seconds)
        self.refresh()

    def announce(self, *accounts: int) -> None:
        """Announce takers long ago."""
        for account in accounts:
            subaccount = account & (1 << 80) - 1
            self.venue.chain.call("Exits", "announce_taker", subaccount, sender=owner_address(account))
            self.liquidations.taker_since_s[account] = self.now_s + LAG_S

    def deposit(self, account: int, quote: int) -> None:
        if account not in self.accounts:
            self.accounts.append(account)
        if quote:
            self.venue.chain.deposit(account, quote)
        self.sync()

    def trade(
        self, buyer: SigningKey, seller: SigningKey, lots: int = LOTS, ticks: int = TICKS, *, market: int = 1,
        buyer_subaccount: int = 0, seller_subaccount: int = 0,
    ) -> None:  # fmt: skip
        """Settle one fill without fees; both must have the margin for it."""
        terms: dict[str, Any] = {"size_lots": lots, "limit_ticks": ticks, "market_id": market, "fees": (0, 0)}
        orders = [
            self.venue.order(buyer, is_buy=True, subaccount=buyer_subaccount, **terms),
            self.venue.order(seller, is_buy=False, subaccount=seller_subaccount, **terms),
        ]
        for key, subaccount in ((buyer, buyer_subaccount), (seller, seller_subaccount)):
            if account_of(key, subaccount) not in self.accounts:
                self.accounts.append(account_of(key, subaccount))
        settled = self.venue.settle(orders, [(0, 1, lots)])
        assert settled.is_clean, settled
        self.sync()

    def liquidate_in_batch(
        self, account: int, against: SigningKey, lots: int, ticks: int, *, fill_lots: int | None = None,
        market: int = 1, changes: dict[str, Any] | None = None,
    ) -> Settled:  # fmt: skip
        """Settle a liquidation order of a long against a bid, or of a short against an offer."""
        is_buy = self.venue.position(account, market).size_lots < 0
        record = build_liquidation_record(
            market_id=market, is_buy=is_buy, sequence=self.venue.chain.sequence + 1, size_lots=lots, limit_ticks=ticks,
            fee_ppm=1_000, expiry_s=self.now_s + 60,
        )  # fmt: skip
        record = replace(record, **(changes or {}))
        resting = self.venue.order(
            against, is_buy=not is_buy, size_lots=lots, limit_ticks=ticks, market_id=market, fees=(0, 0), lane=7
        )
        judged = liquidations.check_order(
            self.state, account, record, sequence=self.venue.chain.sequence + 1, matched_at_s=self.now_s
        )
        settled = self.venue.settle([resting, (account, record)], [(0, 1, fill_lots or lots)])
        if settled.orders[1] in (0, StatusCode.NOT_LIQUIDATABLE, StatusCode.LIQUIDATION_TERMS):
            assert settled.orders[1] == judged
        self.sync()
        return settled

    # Reading.

    def collateral(self, account: int) -> int:
        return self.venue.account(account).collateral_quote

    def equity(self, account: int) -> int:
        """Return equity at the mark, added up here by hand."""
        equity = self.collateral(account)
        for market in range(1, self.n_markets + 1):
            position, index = self.venue.position(account, market), self.state.index(market)
            if position.size_lots:
                side = index.long_index_e12 if position.size_lots > 0 else index.short_index_e12
                pending = -(-position.size_lots * (side - position.index_snapshot_e12) // 10**12)
                equity += position.size_lots * self.venue.price(market).mark_ticks - position.entry_quote - pending
        return equity

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event.args for event in self.logged if event.name == name]


def _unordered(word: int) -> tuple[int, tuple[int, ...]]:
    slots = sorted(word >> 200 + 8 * slot & 255 for slot in range(6))
    return word & (1 << 200) - 1 | word >> 248 << 248, tuple(slots)


def write_rules(ladder: Ladder, rules: RulesWord) -> None:
    """Write rules of market 1 for every session past the registry, which caps a market with a trusted price."""
    for session in range(N_SESSIONS):
        ladder.venue.chain.write_word("rules", rules_key(1, session), rules.pack())
    ladder.rules = {}
    ladder.sync()


def open_pair(
    *, long_quote: int = 2_000 * USDC, short_quote: int = 20_000 * USDC, lots: int = LOTS, insurance_quote: int = 0,
    written_rules: RulesWord | None = None, **ladder: Any,
) -> Ladder:  # fmt: skip
    """Return a ladder with one long against one short at 10,000 ticks, and a rich keeper."""
    opened = Ladder.open(**ladder)
    if written_rules:
        write_rules(opened, written_rules)
    for account, quote in ((LONG_ID, long_quote), (SHORT_ID, short_quote), (KEEPER_ID, 100_000 * USDC)):
        opened.deposit(account, quote)
    opened.deposit(opened.insurance_id(), insurance_quote)
    opened.trade(LONG, SHORT, lots)
    opened.announce(KEEPER_ID, OTHER_ID, SHORT_ID, LONG_ID)
    return opened


__all__: Sequence[str] = ("Ladder", "address_of", "open_pair")
