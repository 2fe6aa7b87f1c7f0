"""Money in and out at random, on every way there is: after each step the vault owes what it holds, less what was given.

Each step draws a way, a sum and actors; some are refused (zero, paused, blacklisted, nothing to claim), and a refusal
changes nothing. The expected numbers are kept here in plain sums, beside the contracts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

import pytest

from afterbell.signing.keys import SigningKey
from tests.contracts.tokens import Authorization, collateral_of, sign_authorization, sign_permit
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, Venue, address_of
from tests.support.chain import DEPLOYER, OUTSIDER, ZERO_ADDRESS, Reverted

ACTORS: Final = (MAKER, TAKER, THIRD)
N_STEPS: Final = 120
FUNDS: Final = 1_000 * USDC
STEPS: Final = ("deposit", "permit", "authorization", "withdraw", "claim", "donate", "pause", "blacklist")


@dataclass
class Books:
    """What every purse should hold."""

    venue: Venue
    random: random.Random
    wallet: dict[str, int] = field(default_factory=dict)
    collateral: dict[str, int] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    donated: int = 0
    is_paused: bool = False
    listed: str = ZERO_ADDRESS
    n_done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))

    @classmethod
    def open(cls, seed: int) -> Books:
        books = cls(Venue.open(deposit_quote=0, n_markets=1), random.Random(seed))
        for actor in ACTORS:
            address = address_of(actor)
            books.venue.chain.call("token", "mint", address, FUNDS)
            books.wallet[address], books.collateral[address], books.claims[address] = FUNDS, 0, 0
        return books

    def step(self) -> None:
        """Take one step; a refused one must be one of those that should be."""
        name = self.random.choice(STEPS)
        payer, owner = self.random.choice(ACTORS), self.random.choice(ACTORS)
        quote = self.random.choice((1, self.random.randint(1, 20 * USDC), self.wallet[address_of(payer)]))
        chain, venue = self.venue.chain, self.venue
        sender, receiver = address_of(payer), address_of(owner)
        is_moving = not self.is_paused and self.listed not in (sender, chain.addresses["Vault"])
        try:
            if name in ("deposit", "permit", "authorization"):
                self.bring(name, payer, receiver, quote)
                assert is_moving and 0 < quote <= self.wallet[sender]
                self.wallet[sender] -= quote
                self.collateral[receiver] += quote
            elif name == "withdraw":
                quote = self.random.randint(0, self.collateral[sender] + 1)
                codes = venue.settle(operations=[venue.withdraw(payer, quote, recipient=receiver)]).operations
                assert (codes == [0]) == (0 < quote <= self.collateral[sender])
                if codes == [0]:
                    self.collateral[sender] -= quote
                    self.claims[receiver] += quote
            elif name == "claim":
                paid = chain.call("Vault", "claim", sender, sender=OUTSIDER)
                assert is_moving and paid == self.claims[sender] > 0
                self.wallet[sender] += paid
                self.claims[sender] = 0
            elif name == "donate":
                chain.call("token", "transfer", chain.addresses["Vault"], 7, sender=sender)
                self.wallet[sender] -= 7
                self.donated += 7
            elif name == "pause":
                self.is_paused = not self.is_paused and self.random.random() < 0.3
                chain.call("token", "set_paused", self.is_paused, sender=DEPLOYER)
            else:
                self.change_blacklist()
            self.n_done[name] += 1
        except Reverted:
            if name in ("deposit", "permit", "authorization"):
                assert not is_moving or not 0 < quote <= self.wallet[sender]
            elif name == "claim":
                assert not is_moving or self.claims[sender] == 0
            else:
                assert name == "donate"

    def bring(self, name: str, payer: SigningKey, receiver: str, quote: int) -> None:
        """Deposit by one of the three ways."""
        chain = self.venue.chain
        sender, vault = address_of(payer), chain.addresses["Vault"]
        if name == "deposit":
            chain.call("token", "approve", vault, quote, sender=sender)
            chain.call("Vault", "deposit", receiver, 0, quote, sender=sender)
        elif name == "permit":
            chain.call("token", "approve", vault, 0, sender=sender)
            signature = sign_permit(payer, chain, quote)
            arguments = (receiver, 0, quote, chain.time_s, *signature, ZERO_ADDRESS, 0)
            chain.call("Vault", "deposit_with_permit", *arguments, sender=sender)
        else:
            salt = self.random.randbytes(32)
            authorization = Authorization(sender=sender, owner=receiver, quote=quote, salt=salt)
            authorization.carry(chain, sign_authorization(payer, chain, authorization), sender=OUTSIDER)

    def change_blacklist(self) -> None:
        """Put nobody, an actor or the vault on the blacklist, in place of who was."""
        chain = self.venue.chain
        chain.call("token", "set_blacklisted", self.listed, False, sender=DEPLOYER)
        everybody = [ZERO_ADDRESS] * 6 + [address_of(actor) for actor in ACTORS] + [chain.addresses["Vault"]]
        self.listed = self.random.choice(everybody)
        chain.call("token", "set_blacklisted", self.listed, True, sender=DEPLOYER)

    def check(self) -> None:
        """Hold every purse against the sums."""
        chain, venue = self.venue.chain, self.venue
        for actor in ACTORS:
            address = address_of(actor)
            assert venue.balance_of(address) == self.wallet[address]
            assert collateral_of(chain, actor) == self.collateral[address]
            assert venue.claim_of(address) == self.claims[address]
        tracked = sum(self.collateral.values()) + sum(self.claims.values())
        assert chain.call("Vault", "total_claims_quote") == sum(self.claims.values())
        assert chain.call("Vault", "tracked_quote") == tracked
        assert venue.balance_of(chain.addresses["Vault"]) == tracked + self.donated
        venue.check_books()


@pytest.mark.parametrize("seed", range(4))
def test_vault__money_in_and_out_at_random__every_purse_adds_up(seed: int) -> None:
    books = Books.open(seed)

    for _ in range(N_STEPS):
        books.step()
        books.check()

    assert all(books.n_done.values()), books.n_done
