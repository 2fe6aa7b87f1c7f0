"""Compare the words on chain with the engine's mirror; a difference is a fault that names the account and both words.

The mirror is what the contract will hold after the last sealed batch, so a comparison is possible whenever that batch
is mined; what earlier batches touched waits for it. Direct operations run beside batches: of those that only one side
has seen yet, deposits are read from the chain's log and set off, and what others write is compared next time; while one
of a sibling (liquidation, exit, corporate action) is among them, everything is. Must not: correct anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Final

import structlog

from afterbell.domain.batch import OperationKind, decode
from afterbell.domain.chain_state import ChainState
from afterbell.domain.direct import DirectKind
from afterbell.domain.errors import Faulted
from afterbell.domain.events import BatchSealed
from afterbell.domain.ids import (
    MAX_SUBACCOUNT,
    N_ADDRESS_BYTES,
    OPERATION_LANE,
    account_hex,
    account_key,
    build_account_id,
    lane_key,
    overflow_key,
    owner_of,
    position_key,
    session_key_id,
)
from afterbell.domain.words import (
    AccountWord,
    BatchWord,
    IndexWord,
    LaneWord,
    OverflowWord,
    PositionWord,
    PriceWord,
    SessionKeyWord,
    TotalsWord,
    read_unsigned,
)
from afterbell.ports import Chain, ChainUnavailable
from afterbell.settlement.calldata import DEPOSITED_TOPIC, DIRECT_OPERATION_TOPIC, build_view_calldata

_log = structlog.get_logger(__name__)

_MAX_CALLS_PER_REQUEST: Final = 400
_N_RECENT_BLOCKS: Final = 1_000
_Word = (
    AccountWord
    | OverflowWord
    | SessionKeyWord
    | PositionWord
    | LaneWord
    | PriceWord
    | IndexWord
    | TotalsWord
    | BatchWord
)
_ADDRESS_MASK: Final = (1 << 160) - 1


class StateDiverged(Faulted):
    """Chain and engine hold different words."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Place:
    """One word: a kind, an account (0 for markets), and a market, lane, session key or rules key."""

    kind: str
    account: int = 0
    number: int = 0


_SIGNATURES: Final = {
    "account": b"account_word(uint256)",
    "overflow": b"overflow_word(uint256)",
    "session key": b"session_key_word(uint256,address)",
    "rules": b"rules_word(uint256,uint256)",
    "position": b"position_word(uint256,uint256)",
    "lane": b"lane_word(uint256,uint256)",
    "price": b"price_word(uint256)",
    "index": b"index_word(uint256)",
    "totals": b"totals_word(uint256)",
    "batch": b"batch_word()",
}
_LAYOUTS: Final[dict[str, type[_Word]]] = {
    "account": AccountWord,
    "overflow": OverflowWord,
    "session key": SessionKeyWord,
    "position": PositionWord,
    "lane": LaneWord,
    "price": PriceWord,
    "index": IndexWord,
    "totals": TotalsWord,
    "batch": BatchWord,
}
_BATCH: Final = _Place(kind="batch")


@dataclass(slots=True, kw_only=True)
class _Unsettled:
    """Direct operations that only one of chain and mirror has seen."""

    offsets_quote: dict[int, int] = field(default_factory=dict)
    """account -> deposits the chain has and the engine lacks (negative: the other way round)."""
    accounts: set[int] = field(default_factory=set)
    """Accounts whose flags, overflow word and session keys moved."""
    rules: set[int] = field(default_factory=set)
    """Rules keys that moved, without what marks successors and tiers."""
    has_sibling: bool = False
    """Something that may have moved any word: nothing can be compared now."""

    def hides(self, place: _Place) -> bool:
        """Tell whether a word cannot be compared now."""
        if self.has_sibling:
            return True
        if place.kind == "rules":
            return place.number & 0xFFFF in self.rules
        return place.kind in ("overflow", "session key") and place.account in self.accounts


class Reconciler:
    """Check mined batches (settler's ResultChecker), or everything at once."""

    def __init__(
        self, *, chain: Chain, clearinghouse: bytes, genesis_block: int, mirror: Callable[[], ChainState]
    ) -> None:
        self._chain = chain
        self._clearinghouse = clearinghouse
        self._genesis_block = genesis_block
        self._mirror = mirror
        self._touched: set[_Place] = set()

    async def check_batch(self, batch: BatchSealed, block: int) -> None:
        """Compare every word the batch may have touched. Raises: StateDiverged, ChainUnavailable."""
        self._touched |= _list_touched(batch.payload)
        mirror = self._mirror()
        if mirror.batch.sequence != batch.sequence:
            return  # the engine has sealed more since; the next batch is compared together with this one
        self._touched = await self._compare(sorted(self._touched), mirror, block)

    async def check_all(self) -> int:
        """Compare every word of the mirror at the latest block; return how many.

        The caller makes sure that no batch is under way. Raises: StateDiverged, ChainUnavailable.
        """
        mirror = self._mirror()
        places = {_Place(kind="account", account=key >> 16) for key in mirror.accounts}
        places |= {_Place(kind="position", account=key >> 16, number=key & 0xFFFF) for key in mirror.positions}
        places |= {_Place(kind="lane", account=key >> 16, number=(key & 0xFFFF) << 1) for key in mirror.lanes}
        places |= {_Place(kind="overflow", account=key >> 16) for key in mirror.overflows}
        places |= {
            _Place(kind="session key", account=key >> 160, number=key & _ADDRESS_MASK) for key in mirror.session_keys
        }
        places |= {_Place(kind="rules", number=key) for key in mirror.rules}
        places |= _list_market_places(mirror.prices)
        places.add(_BATCH)
        self._touched |= await self._compare(sorted(places), mirror, (await self._chain.get_block()).number)
        return len(places)

    async def _compare(self, places: list[_Place], mirror: ChainState, block: int) -> set[_Place]:
        """Compare; return the places that must wait for a direct operation under way."""
        # Before the first await: the mirror moves on meanwhile.
        expected = {place: _read_mirror(mirror, place) for place in places}
        direct_op, head, sequence = mirror.direct_op, mirror.head, mirror.batch.sequence
        operator_word, mined_head = await self._chain.call_many(
            [
                (self._clearinghouse, build_view_calldata(b"operator_word()")),
                (self._clearinghouse, build_view_calldata(b"head()")),
            ],
            block,
        )
        if mined_head != head:
            raise StateDiverged(
                f"after batch {sequence} the head is 0x{mined_head.hex()} on chain and 0x{head.hex()} in the engine"
            )
        mined_direct_op = read_unsigned(int.from_bytes(operator_word, "big"), 40, 160)
        unsettled = await self._read_direct_between(direct_op, mined_direct_op, block)
        hidden = {place for place in places if unsettled.hides(place)}
        places = [place for place in places if place not in hidden]
        for start in range(0, len(places), _MAX_CALLS_PER_REQUEST):
            part = places[start : start + _MAX_CALLS_PER_REQUEST]
            words = await self._chain.call_many(
                [(self._clearinghouse, _build_calldata(place)) for place in part], block
            )
            for place, found in zip(part, words, strict=True):
                _must_agree(place, expected[place], int.from_bytes(found, "big"), unsettled, block)
        return hidden

    async def _read_direct_between(self, ours: int, theirs: int, block: int) -> _Unsettled:
        """Read the logs of the direct operations that lie between the two counts."""
        unsettled = _Unsettled()
        if ours == theirs:
            return unsettled
        wanted = range(min(ours, theirs) + 1, max(ours, theirs) + 1)
        topics = [[DEPOSITED_TOPIC, DIRECT_OPERATION_TOPIC], [], [number.to_bytes(32, "big") for number in wanted]]
        last = (await self._chain.get_block()).number
        for first in (max(self._genesis_block, block - _N_RECENT_BLOCKS), self._genesis_block):
            logs = await self._chain.get_logs([self._clearinghouse], topics, first, last)
            if len(logs) == len(wanted):
                break
        else:
            raise ChainUnavailable(
                f"the chain counts direct operations {wanted.start} to {wanted.stop - 1}, logs are missing"
            )
        for log in logs:
            account = int.from_bytes(log.topics[1], "big")
            if log.topics[0] == DEPOSITED_TOPIC:
                quote = int.from_bytes(log.payload[32:64], "big")
                offset_quote = quote if theirs > ours else -quote
                unsettled.offsets_quote[account] = unsettled.offsets_quote.get(account, 0) + offset_quote
            elif int.from_bytes(log.payload[:32], "big") > DirectKind.CHANGE_RULES:
                unsettled.has_sibling = True
            elif account:
                unsettled.accounts.add(account)
            else:
                unsettled.rules.add(int.from_bytes(log.payload[32:64], "big") & 0xFFFF)
        return unsettled


def _list_touched(payload: bytes) -> set[_Place]:
    """Return every word a batch may write."""
    batch = decode(payload)
    places = {_BATCH} | _list_market_places(row.market_id for row in batch.rows)
    for account in batch.accounts:
        places.add(_Place(kind="account", account=account.account_id))
        for order in account.orders:
            places.add(_Place(kind="position", account=account.account_id, number=order.market_id))
            places.add(_Place(kind="lane", account=account.account_id, number=order.lane & ~1))
            places |= _list_market_places([order.market_id])
    for operation in batch.operations:
        account_id = operation.account_id
        places.add(_Place(kind="account", account=account_id))
        if operation.kind == OperationKind.TRANSFER and operation.operand <= MAX_SUBACCOUNT:
            receiver_id = build_account_id(owner_of(account_id), operation.operand)
            places.add(_Place(kind="account", account=receiver_id))
        places.add(_Place(kind="lane", account=account_id, number=OPERATION_LANE & ~1))
        if operation.kind in (OperationKind.LINK_KEY, OperationKind.REVOKE_KEY):
            places.add(_Place(kind="session key", account=account_id, number=operation.operand))
    return places


def _list_market_places(markets: Iterable[int]) -> set[_Place]:
    return {_Place(kind=kind, number=market) for market in markets for kind in ("price", "index", "totals")}


def _read_mirror(mirror: ChainState, place: _Place) -> int:
    match place.kind:
        case "account":
            return mirror.accounts.get(account_key(place.account), 0)
        case "overflow":
            return mirror.overflows.get(overflow_key(place.account), 0)
        case "session key":
            key = place.number.to_bytes(N_ADDRESS_BYTES, "big")
            return mirror.session_keys.get(session_key_id(place.account, key), 0)
        case "rules":
            return mirror.rules.get(place.number, 0)
        case "position":
            return mirror.positions.get(position_key(place.account, place.number), 0)
        case "lane":
            return mirror.lanes.get(lane_key(place.account, place.number), 0)
        case "price":
            return mirror.prices.get(place.number, 0)
        case "index":
            return mirror.indices.get(place.number, 0)
        case "totals":
            return mirror.totals.get(place.number, 0)
        case _:
            return mirror.batch_word


def _build_calldata(place: _Place) -> bytes:
    signature = _SIGNATURES[place.kind]
    if place.kind == "batch":
        return build_view_calldata(signature)
    if place.kind == "rules":
        # A successor's marks stand above the market: with the session they reach the same key.
        return build_view_calldata(signature, place.number >> 8 & 0xFF, place.number & ~0xFF00)
    if place.kind in ("position", "lane", "session key"):
        return build_view_calldata(signature, place.account, place.number)
    return build_view_calldata(signature, place.account or place.number)


def _must_agree(place: _Place, expected: int, found: int, unsettled: _Unsettled, block: int) -> None:
    """Compare one word, direct operations under way set off, open markets as a set. Raises: StateDiverged."""
    if expected == found and not unsettled.offsets_quote:
        return
    where = f"{account_hex(place.account)} " if place.account else ""
    where += f"{place.number:#x}" if place.kind in ("session key", "rules") else str(place.number or "")
    layout = _LAYOUTS.get(place.kind)
    if layout is None:
        if expected != found:
            raise StateDiverged(
                f"{place.kind} {where} differ at block {block}: {expected:#066x} expected, {found:#066x} found; "
                "trading stops"
            )
        return
    ours, theirs = layout.unpack(expected), layout.unpack(found)
    if isinstance(ours, AccountWord) and isinstance(theirs, AccountWord):
        ours = replace(
            ours,
            collateral_quote=ours.collateral_quote + unsettled.offsets_quote.get(place.account, 0),
            open_markets=tuple(sorted(ours.open_markets)),
            flags=theirs.flags if place.account in unsettled.accounts else ours.flags,
        )
        theirs = replace(theirs, open_markets=tuple(sorted(theirs.open_markets)))
    elif isinstance(ours, BatchWord):
        ours = replace(ours, collateral_quote=ours.collateral_quote + sum(unsettled.offsets_quote.values()))
    if ours == theirs:
        return
    left, right = asdict(ours), asdict(theirs)
    differences = ", ".join(
        f"{name} {left[name]} expected, {right[name]} found" for name in left if left[name] != right[name]
    )
    raise StateDiverged(
        f"{place.kind} {where} differs at block {block}: {differences}; trading stops".replace("  ", " ")
    )
