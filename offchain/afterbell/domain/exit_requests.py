"""Hold the words of Exits, and take the requests of owners who want to leave.

Must not: force anything (exits.py) or divide the Vault (final_settlement.py). Twin: contracts/Exits.vy, PROTOCOL.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, unique
from typing import Final

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.chain_state import ChainState, Mode, store_word
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import MAX_ACCOUNT_ID, ZERO_ADDRESS
from afterbell.domain.words import read_unsigned, unsigned_lane

FORCE_DELAY_S: Final = 6 * 3_600
"""Anybody may force a request this old."""
REQUEST_LIFE_S: Final = 30 * 86_400
AUCTION_S: Final = 3_600
WITHDRAWAL: Final = 0
"""The "market" of a withdrawal request."""


@unique
class Cause(IntEnum):
    """Why a request changed; RequestChanged carries it."""

    REQUESTED = 1
    CANCELLED = 2
    FORCED = 3
    OBSERVED = 4
    EXPIRED = 5
    NO_POSITION = 6
    AUCTION_OVER = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWord:
    """One request.

    0-63 remaining | 64-103 requested_at_s | 104-143 worst_ticks | 144-183 observed_at_s | 184-199 elapsed_s
    200-239 waiting_since_s | 240 is_long | 241 is_running | 242 is_overdue
    """

    remaining: int
    """Quote of a withdrawal, lots of a close; never 0 in a stored word."""
    requested_at_s: int
    worst_ticks: int = 0
    observed_at_s: int = 0
    elapsed_s: int = 0
    """What the auction's clock showed when it was last looked at."""
    waiting_since_s: int = 0
    """Since when a close has waited at its last price for a taker."""
    is_long: bool = False
    is_running: bool = False
    is_overdue: bool = False

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.remaining, 64, 0, "remaining")
            | unsigned_lane(self.requested_at_s, 40, 64, "requested_at_s")
            | unsigned_lane(self.worst_ticks, 40, 104, "worst_ticks")
            | unsigned_lane(self.observed_at_s, 40, 144, "observed_at_s")
            | unsigned_lane(self.elapsed_s, 16, 184, "elapsed_s")
            | unsigned_lane(self.waiting_since_s, 40, 200, "waiting_since_s")
            | self.is_long << 240
            | self.is_running << 241
            | self.is_overdue << 242
        )

    @classmethod
    def unpack(cls, word: int) -> RequestWord:
        """Read the 256-bit word."""
        return cls(
            remaining=read_unsigned(word, 64, 0),
            requested_at_s=read_unsigned(word, 40, 64),
            worst_ticks=read_unsigned(word, 40, 104),
            observed_at_s=read_unsigned(word, 40, 144),
            elapsed_s=read_unsigned(word, 16, 184),
            waiting_since_s=read_unsigned(word, 40, 200),
            is_long=bool(word >> 240 & 1),
            is_running=bool(word >> 241 & 1),
            is_overdue=bool(word >> 242 & 1),
        )

    @property
    def forceable_at_s(self) -> int:
        """Return from when on anybody may force it."""
        return self.requested_at_s + FORCE_DELAY_S

    def is_dead(self, now_s: int) -> bool:
        """Tell whether its life is over."""
        return now_s > self.requested_at_s + REQUEST_LIFE_S

    def advance(self, now_s: int, *, is_halted: bool) -> RequestWord:
        """Return it with the auction's clock moved to now. The clock starts when it is first looked at."""
        elapsed_s = self.elapsed_s
        if self.is_running and not is_halted:
            elapsed_s = min(elapsed_s + now_s - self.observed_at_s, AUCTION_S)
        return replace(self, elapsed_s=elapsed_s, observed_at_s=now_s, is_running=not is_halted)


@dataclass(slots=True, kw_only=True)
class ExitsState:
    """Every word of Exits. Absent key = zero word, as in storage. tallies and what follows: final_settlement.py."""

    requests: dict[int, int] = field(default_factory=dict)
    """account_id << 16 | market (0 = the withdrawal) -> request word."""
    recipients: dict[int, bytes] = field(default_factory=dict)
    taker_since_s: dict[int, int] = field(default_factory=dict)
    n_overdue: int = 0
    exit_mode_since_s: int = 0
    tallies: dict[int, int] = field(default_factory=dict)
    tallied_collateral_quote: int = 0
    market_tallies: dict[int, int] = field(default_factory=dict)
    positive_equity_quote: int = 0
    assets_quote: int = 0
    is_ratio_fixed: bool = False

    def request_word(self, account_id: int, market_id: int) -> int:
        """Return a request's word, 0 for none."""
        return self.requests.get(_key(account_id, market_id), 0)


def _key(account_id: int, market_id: int) -> int:
    return account_id << 16 | market_id


def must_open_request(exits: ExitsState, account_id: int, market_id: int) -> RequestWord:
    """Return a request that has neither ended nor been taken back; it may be dead. Raises: DirectRefused no request."""
    word = exits.request_word(account_id, market_id)
    if not word:
        raise DirectRefused("exits: no request")
    return RequestWord.unpack(word)


def store_request(exits: ExitsState, account_id: int, market_id: int, request: RequestWord) -> None:
    """Write a request. One with nothing left is gone, and overdue no more."""
    if request.remaining == 0 and request.is_overdue:
        exits.n_overdue -= 1
    store_word(exits.requests, _key(account_id, market_id), request.pack() if request.remaining else 0)


def check_account(account_id: int) -> None:
    """Refuse a number beyond 240 bits: the chain would read another account's words for it."""
    if not 0 <= account_id <= MAX_ACCOUNT_ID:
        raise DirectRefused("exits: account id")


def check_not_settled(state: ChainState) -> None:
    """Refuse in final settlement, which pays everybody by itself."""
    if state.mode == Mode.SETTLED:
        raise DirectRefused("exits: settled")


# Requests of owners.


def request_withdrawal(
    state: ChainState, exits: ExitsState, account_id: int, quote: int, recipient: bytes, *, now_s: int
) -> None:
    """Ask for collateral. Raises: DirectRefused recipient, settled, nothing asked, request open."""
    if recipient == ZERO_ADDRESS or recipient in state.forbidden_recipients:
        raise DirectRefused("exits: recipient")
    _request(state, exits, account_id, WITHDRAWAL, RequestWord(remaining=quote, requested_at_s=now_s))
    exits.recipients[account_id] = recipient


def request_close(
    state: ChainState, exits: ExitsState, account_id: int, market_id: int, lots: int, worst_ticks: int, *, now_s: int
) -> None:
    """Ask somebody to take a position. Raises: DirectRefused no position, settled, nothing asked, request open."""
    size_lots = state.position(account_id, market_id).size_lots
    if size_lots == 0:
        raise DirectRefused("exits: no position")
    request = RequestWord(
        remaining=min(lots, abs(size_lots)), requested_at_s=now_s, worst_ticks=worst_ticks, is_long=size_lots > 0
    )
    _request(state, exits, account_id, market_id, request)


def _request(state: ChainState, exits: ExitsState, account_id: int, market_id: int, request: RequestWord) -> None:
    check_not_settled(state)
    if request.remaining == 0:
        raise DirectRefused("exits: nothing asked")
    word = exits.request_word(account_id, market_id)
    if word:
        old = RequestWord.unpack(word)
        if not old.is_dead(request.requested_at_s):
            raise DirectRefused("exits: request open")
        exits.n_overdue -= old.is_overdue
    store_request(exits, account_id, market_id, request)


def cancel_request(exits: ExitsState, account_id: int, market_id: int) -> None:
    """Take a request back. Raises: DirectRefused no request."""
    store_request(exits, account_id, market_id, replace(must_open_request(exits, account_id, market_id), remaining=0))


def announce_taker(exits: ExitsState, account_id: int, *, now_s: int) -> None:
    """Let an account take positions from SETTLE_LAG on. Raises: DirectRefused announced."""
    if account_id in exits.taker_since_s:
        raise DirectRefused("exits: announced")
    exits.taker_since_s[account_id] = now_s + SETTLE_LAG_S
