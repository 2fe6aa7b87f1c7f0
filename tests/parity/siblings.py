"""Steps of siblings in a random history: the doors of the Clearinghouse they write through, and the loss ladder itself.

The doors are called from the siblings' addresses, with more kinds of numbers than their own rules let through.
Liquidations is called by its own functions, against domain/liquidations.py and deleveraging.py. Every step is done to
both; a refusal must have the same reason, everything else ends with the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from eth_utils import to_checksum_address
from pyrevm import AccountInfo

from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.deleveraging import execute_adl, nominate, open_adl
from afterbell.domain.deltas import Delta, apply_deltas, move_market, set_mode, withdraw_to_claim
from afterbell.domain.direct import DirectKind
from afterbell.domain.errors import DirectRefused, FieldOutOfRange
from afterbell.domain.ids import owner_of, subaccount_of
from afterbell.domain.liquidations import LiquidationsState, flag, liquidate, unflag
from afterbell.domain.outcomes import PositionChange
from afterbell.domain.words import IndexWord, PriceWord
from tests.parity.pair import Pair, expect, list_records, read_records
from tests.support.chain import OUTSIDER, Reverted
from tests.support.world import N_MARKETS

OUT_OF_RANGE = "word: "
"""How the reasons begin for a number that leaves its lane; the model names the lane, not the word."""
DOORS = ("deltas", "market", "claim", "mode")
STEPS = (*DOORS, "flag", "unflag", "liquidate", "open_adl", "nominate", "execute_adl")
_LAG_S = 300


@dataclass(slots=True)
class Siblings:
    """What the siblings of a pair keep in the model."""

    pair: Pair
    liquidations: LiquidationsState

    @classmethod
    def of(cls, pair: Pair) -> Siblings:
        """Begin with every account announced as one that takes positions on chain, the first excepted."""
        liquidations = LiquidationsState(address=bytes.fromhex(pair.chain.addresses["Liquidations"][2:]))
        for account in pair.world.accounts[1:]:
            owner = to_checksum_address(owner_of(account))
            pair.chain.call("Exits", "announce_taker", subaccount_of(account), sender=owner)
            liquidations.taker_since_s[account] = pair.chain.time_s + _LAG_S
        return cls(pair, liquidations)

    def step(self) -> list[tuple[str, str]]:
        """Do one thing, or climb the ladder with one account; return (step, reason of a refusal or "") of each call."""
        world = self.pair.world
        assert world.mirror is None, "a mirror hears of siblings as it does of owners: let it catch up first"
        if world.random.random() < 0.35:
            return self.climb()
        door = "mode" if world.state.mode else world.random.choice((*DOORS[:3] * 3, "mode"))
        return [(door, {"deltas": self.move_value, "market": self.move_market, "claim": self.claim,
                        "mode": self.change_mode}[door]())]  # fmt: skip

    # One call in both.

    def both(
        self,
        name: str,
        model: Callable[[ChainState], Any],
        contract: str,
        function: str,
        *args: Any,
        sender: str = OUTSIDER,
        time_s: int | None = None,
    ) -> tuple[str, Any]:
        """Call model and chain; return (reason of a refusal or "", the model's result). Compares all that may move."""
        pair, state = self.pair, self.pair.world.state
        pair.chain.set_time(pair.world.time_s if time_s is None else time_s)
        before, result, refused = state.direct_op, None, ""
        try:
            result = model(state)
        except DirectRefused as error:
            refused = error.reason
        except FieldOutOfRange:
            refused = OUT_OF_RANGE
        try:
            with self._without_code(sender):
                pair.chain.call(contract, function, *args, sender=sender)
        except Reverted as error:
            reason = OUT_OF_RANGE if error.reason.startswith(OUT_OF_RANGE) else error.reason
            expect(f"refusal of {name}", reason, refused)
            return refused, result
        expect(f"refusal of {name}", "", refused)
        events = pair.chain.events()
        logged = [event.args["direct_op"] for event in events if event.name == "DirectOperation"]
        expect(f"operations of {name}", logged, list(range(before + 1, state.direct_op + 1)))
        for account in pair.world.accounts:
            pair.compare_account(account)
            pair.compare_positions(account)
        for market_id in range(1, N_MARKETS + 1):
            pair.compare_account(self.liquidations.insurance_id(market_id))
        pair.compare_markets()
        return "", result

    @contextmanager
    def _without_code(self, sender: str) -> Iterator[None]:
        """Let a contract's address send a transaction, which one with code may not (EIP-3607)."""
        evm = self.pair.chain.evm
        code = bytes(evm.get_code(sender) or b"")
        if code:
            evm.insert_account_info(sender, AccountInfo(nonce=1))
        try:
            yield
        finally:
            if code:
                evm.insert_account_info(sender, AccountInfo(nonce=1, code=code))

    def direct_kinds(self) -> list[int]:
        """Return the kinds of the direct operations that the last call logged."""
        return [event.args["kind"] for event in self.pair.chain.events() if event.name == "DirectOperation"]

    def address_of(self, contract: str) -> str:
        """Return a sibling's address."""
        return self.pair.chain.addresses[contract]

    # Doors.

    def move_value(self) -> str:
        """Move positions and collateral between accounts and a pot; at times what does not add up."""
        rng, world = self.pair.world.random, self.pair.world
        market_id = rng.randint(1, N_MARKETS)
        deltas, pot_change_quote = self._make_deltas(market_id)
        refused, changes = self.both(
            "apply_deltas",
            lambda state: apply_deltas(state, market_id, deltas, pot_change_quote),
            "Clearinghouse",
            "apply_deltas",
            market_id,
            [(delta.account_id, delta.size_lots, delta.entry_quote, delta.collateral_quote) for delta in deltas],
            pot_change_quote,
            sender=self.address_of(rng.choice(("Liquidations", "Exits", "CorporateActions"))),
            time_s=world.time_s,
        )
        if not refused:
            self._compare_changes(changes)
            expect("kind", self.direct_kinds(), [DirectKind.APPLY_DELTAS])
        return refused

    def _compare_changes(self, changes: tuple[PositionChange, ...]) -> None:
        logged = [event.args for event in self.pair.chain.events() if event.name == "PositionsChanged"]
        expect("sequence of deltas", [event["sequence"] for event in logged], [0])
        expect("records of deltas", read_records(logged), list_records(changes))

    def _make_deltas(self, market_id: int) -> tuple[list[Delta], int]:
        rng, world = self.pair.world.random, self.pair.world
        sizes = {account: world.state.position(account, market_id).size_lots for account in world.accounts}
        chosen = dict.fromkeys(rng.sample(world.accounts, rng.randint(1, 4)), 0)
        longs = [account for account, lots in sizes.items() if lots > 0]
        shorts = [account for account, lots in sizes.items() if lots < 0]
        if longs and shorts and rng.random() < 0.8:
            long, short = rng.choice(longs), rng.choice(shorts)
            lots = min(sizes[long], -sizes[short])
            # Both are closed against each other, in part or whole, or one hands its position to somebody else.
            if rng.random() < 0.5:
                lots = rng.randint(1, lots)
                chosen |= {long: -lots, short: lots}
            else:
                giver = rng.choice((long, short))
                others = [account for account in world.accounts if account != giver]
                lots = rng.choice((sizes[giver], rng.randint(1, abs(sizes[giver])) * (1 if giver == long else -1)))
                chosen |= {giver: -lots, rng.choice(others): lots}
        ticks = max(world.state.price(market_id).mark_ticks, 1)
        deltas = [
            Delta(
                account_id=account,
                size_lots=lots,
                entry_quote=lots * ticks + rng.choice((0, rng.randint(-5_000, 5_000))),
                collateral_quote=rng.choice((0, 0, rng.randint(-5_000, 5_000))),
            )
            for account, lots in sorted(chosen.items())
        ]
        pot_change_quote = sum(delta.entry_quote - delta.collateral_quote for delta in deltas)
        flaw = rng.randrange(8)
        if flaw == 0:
            pot_change_quote += rng.choice((-1, 1))
        elif flaw == 1:
            deltas[0] = replace(deltas[0], size_lots=deltas[0].size_lots + 1)
        elif flaw == 2:
            deltas.append(deltas[0])
        elif flaw == 3 and len(deltas) > 1:
            # Somebody opens and somebody else opens the other side.
            deltas[0] = replace(deltas[0], size_lots=deltas[0].size_lots + 5)
            deltas[1] = replace(deltas[1], size_lots=deltas[1].size_lots - 5)
        return deltas, pot_change_quote

    def move_market(self) -> str:
        """Move prices, indices, epoch and reserve of a market, as a corporate action does; at times too far."""
        rng, state = self.pair.world.random, self.pair.world.state
        market_id = rng.randint(1, N_MARKETS)
        price, index = state.price(market_id), state.index(market_id)
        new_index = replace(
            IndexWord.unpack(self.pair.world.random_index_word(market_id)),
            funding_time_s=index.funding_time_s,
            reserve_ticks=rng.choice((0, 0, rng.randint(1, max(price.mark_ticks // 20, 1)))),
        )
        new_price = replace(price, epoch=price.epoch + rng.choice((0, 0, 1)))
        if price.mark_ticks and rng.random() < 0.3:
            new_price = replace(new_price, mark_ticks=max(price.mark_ticks + rng.randint(-9, 9), 1))
        flaws: dict[int, tuple[PriceWord, IndexWord]] = {
            0: (replace(new_price, external_ticks=2**32), new_index),
            1: (replace(new_price, mark_ticks=2**33), new_index),
            2: (replace(new_price, index_ticks=2**33), new_index),
            3: (replace(new_price, session=9), new_index),
            4: (replace(new_price, epoch=price.epoch - 1), new_index),
            5: (new_price, replace(new_index, long_index_e12=2**88)),
            6: (new_price, replace(new_index, short_index_e12=-(2**88) - 1)),
        }
        new_price, new_index = flaws.get(rng.randrange(60), (new_price, new_index))
        price_word, index_word = new_price.pack(), new_index.pack()
        is_index_alone = rng.random() < 0.3
        if is_index_alone:
            price_word = state.prices[market_id]
        refused, _ = self.both(
            "move_market",
            lambda state: move_market(state, market_id, price_word, index_word),
            "Clearinghouse",
            "move_market",
            market_id,
            price_word,
            index_word,
            sender=self.address_of("Liquidations" if is_index_alone else "CorporateActions"),
        )
        if not refused:
            expect("kind", self.direct_kinds(), [DirectKind.MOVE_MARKET])
        return refused

    def claim(self) -> str:
        """Turn collateral into a claim past the margin rule, which is Exits' to ask."""
        rng, world = self.pair.world.random, self.pair.world
        account, recipient = rng.choice(world.accounts), rng.randbytes(20)
        quote = rng.randint(0, 5_000)
        refused, _ = self.both(
            "withdraw_to_claim",
            lambda state: withdraw_to_claim(state, account, recipient, quote),
            "Clearinghouse",
            "withdraw_to_claim",
            account,
            to_checksum_address(recipient),
            quote,
            sender=self.address_of("Exits"),
        )
        self.pair.compare_claim(int.from_bytes(recipient, "big"))
        expect("kind", self.direct_kinds(), [DirectKind.WITHDRAW_TO_CLAIM])
        return refused

    def change_mode(self, mode: Mode | None = None) -> str:
        """Enter exit mode or leave it."""
        state = self.pair.world.state
        if mode is None:
            mode = Mode.NORMAL if state.mode == Mode.EXIT else Mode.EXIT
        refused, _ = self.both(
            "set_mode",
            lambda state: set_mode(state, mode),
            "Clearinghouse",
            "set_mode",
            int(mode),
            sender=self.address_of("Exits"),
        )
        if not refused:
            expect("kind", self.direct_kinds(), [DirectKind.SET_MODE])
        return refused

    # The loss ladder.

    def climb(self) -> list[tuple[str, str]]:
        """Make an account unhealthy, flag it, take it over after the lag, or deleverage what is left."""
        pair, world, rng = self.pair, self.pair.world, self.pair.world.random
        is_bankrupt = rng.random() < 0.5
        account = pair.make_unhealthy((110, 300) if is_bankrupt else rng.choice(((0, 10), (0, 60), (40, 150))))
        if account is None:
            return []
        market_id = rng.choice(list(world.state.open_positions(account)))
        done = []
        if rng.random() < 0.4:
            pair.deposit(self.liquidations.insurance_id(market_id), rng.randint(1, 10**9))
        now_s = world.time_s
        done.append(self._call_ladder("flag", account, time_s=now_s))
        if rng.random() < 0.15:
            done.append(self._call_ladder("unflag", account, time_s=now_s))
        now_s += _LAG_S + rng.choice((1, 1, 1, 1, 60, 0))
        done += [
            self._liquidate(account, market_id, now_s) for _ in range(rng.choice((0, 0, 1) if is_bankrupt else (1, 2)))
        ]
        if (is_bankrupt or rng.random() < 0.1) and market_id in world.state.open_positions(account):
            done += self._deleverage(account, market_id, now_s)
        pair.deposit(account, 60_000_000_000)
        if rng.random() < 0.9:
            done.append(self._call_ladder("unflag", account, time_s=now_s))
        return done

    def _call_ladder(self, name: str, account: int, *, time_s: int) -> tuple[str, str]:
        model = {"flag": flag, "unflag": unflag}[name]
        refused, _ = self.both(
            name, lambda state: model(state, account, time_s), "Liquidations", name, account, time_s=time_s
        )
        flagged_at_s = self.pair.chain.call("Liquidations", "flagged_at_s", account)
        expect("flag", flagged_at_s, self.pair.world.state.flagged_at_s(account))
        return name, refused

    def _liquidate(self, account: int, market_id: int, now_s: int) -> tuple[str, str]:
        rng, world = self.pair.world.random, self.pair.world
        held_lots = abs(world.state.position(account, market_id).size_lots)
        lots = rng.choice((held_lots, held_lots, held_lots // 12 * 6, rng.randint(0, held_lots)))
        taker = max(rng.sample(world.accounts, 5), key=lambda other: world.state.account(other).collateral_quote)

        def model(state: ChainState) -> Any:
            return liquidate(
                state,
                self.liquidations,
                taker_id=taker,
                account_id=account,
                market_id=market_id,
                lots=lots,
                now_s=now_s,
            )

        refused, _ = self.both(
            "liquidate",
            model,
            "Liquidations",
            "liquidate",
            account,
            market_id,
            lots,
            subaccount_of(taker),
            sender=to_checksum_address(owner_of(taker)),
            time_s=now_s,
        )
        return "liquidate", refused

    def _deleverage(self, account: int, market_id: int, now_s: int) -> list[tuple[str, str]]:
        rng, world = self.pair.world.random, self.pair.world
        refused, adl_id = self.both(
            "open_adl",
            lambda state: open_adl(state, self.liquidations, account, market_id, now_s),
            "Liquidations",
            "open_adl",
            account,
            market_id,
            time_s=now_s,
        )
        done = [("open_adl", refused)]
        if refused:
            return done
        for other in rng.sample(world.accounts, rng.choice((0, *(len(world.accounts),) * 4))):
            refused, _ = self.both(
                "nominate",
                lambda state, other=other: nominate(state, self.liquidations, adl_id, other, now_s),
                "Liquidations",
                "nominate",
                adl_id,
                other,
                time_s=now_s,
            )
            done.append(("nominate", refused))
        later_s = now_s + 600 + rng.choice((_LAG_S, _LAG_S + 1, _LAG_S + 1, _LAG_S + 1))
        refused, _ = self.both(
            "execute_adl",
            lambda state: execute_adl(state, self.liquidations, adl_id, later_s),
            "Liquidations",
            "execute_adl",
            adl_id,
            time_s=later_s,
        )
        return [*done, ("execute_adl", refused)]
