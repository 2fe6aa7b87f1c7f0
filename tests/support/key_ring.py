"""Session keys of a random world: who signs for whom, what owners link, and who stands on the edge of a limit."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from afterbell.domain.batch import SETTLE_LAG_S, OrderRecord
from afterbell.domain.session_keys import check_key
from afterbell.domain.settlement import ChainState
from afterbell.domain.words import PriceWord, SessionKeyWord
from afterbell.signing.keys import SigningKey

DAY_S = 86_400
ALL_MARKETS = 2**32 - 1
UNBOUNDED_QUOTE = 2**64 - 1


class KeyRing:
    """Two keys that any owner may link, one that nobody does, and addresses that are linked and never sign."""

    def __init__(self, random: Random) -> None:
        """Share the world's source of chance."""
        self.random = random
        self.keys = [SigningKey((0x5E55_1000 + i).to_bytes(32, "big")) for i in range(3)]
        self.linkable = self.keys[:2]
        self.strangers: list[tuple[int, bytes]] = []
        """(account, address): a mirror may hear of their link late, because no order waits for it."""
        self.signer_of: dict[bytes, bytes] = {}
        """r of a signature -> address of the session key that made it."""

    def choose_signer(self, account: int, state: ChainState, matched_at_s: int) -> SigningKey | None:
        """Choose a key for an order or None for the owner: mostly one that lives, at times one that does not."""
        if self.random.random() < 0.03:
            return self.random.choice(self.keys)
        if self.random.random() < 0.5:
            return None
        living = self.living(account, state, matched_at_s)
        return self.random.choice(living) if living else None

    def living(self, account: int, state: ChainState, matched_at_s: int) -> list[SigningKey]:
        """Return the keys that are linked and not expired."""
        words = [(key, state.session_key_word(account, key.address)) for key in self.linkable]
        return [key for key, word in words if check_key(word, matched_at_s) == 0]

    def sign(self, key: SigningKey, digest: bytes) -> tuple[bytes, bytes]:
        """Sign, and remember who did."""
        r, vs = key.sign(digest)
        self.signer_of[r] = key.address
        return r, vs

    def choose_address(self, account: int, owner: bytes) -> bytes:
        """Choose which key an owner links or revokes; at times none, itself, or a stranger."""
        strangers = [address for owned, address in self.strangers if owned == account]
        if strangers and self.random.random() < 0.5:
            return strangers[-1]
        return self.random.choice((*[key.address for key in self.linkable] * 12, bytes(20), owner))

    def make_limits(self, now_s: int) -> SessionKeyWord:
        """Return what a key may do: mostly everything, so that most of what it signs passes."""
        rng = self.random
        return SessionKeyWord(
            expiry_s=now_s + rng.choice((60, 3_000, DAY_S, DAY_S, 180 * DAY_S) * 4 + (180 * DAY_S + 1,)),
            max_notional_quote=rng.choice((UNBOUNDED_QUOTE,) * 16 + (20_000_000, 400_000_000, 0)),
            markets=rng.choice((ALL_MARKETS,) * 14 + (rng.getrandbits(32), 0b1011, 0)),
            trade_only=rng.random() < 0.3,
            reduce_only=rng.random() < 0.06,
        )

    def make_edge(self, record: OrderRecord, price: PriceWord, matched_at_s: int) -> SessionKeyWord:
        """Return a key that just allows this order, or just does not: by notional, by expiry, by revocation."""
        wide = SessionKeyWord(
            expiry_s=matched_at_s + 60, max_notional_quote=UNBOUNDED_QUOTE, markets=ALL_MARKETS, is_linked=True
        )
        step, edge = self.random.randint(0, 1), self.random.randrange(3)
        notional_quote = record.size_lots * max(record.limit_ticks, price.mark_ticks, price.external_ticks)
        if edge == 0 and step <= notional_quote < UNBOUNDED_QUOTE:
            return replace(wide, max_notional_quote=notional_quote - step)
        if edge == 1:
            return replace(wide, expiry_s=matched_at_s - step)
        return replace(wide, revoked_at_s=matched_at_s - SETTLE_LAG_S - step)
