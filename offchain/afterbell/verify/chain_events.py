"""Decode the event logs of the contracts into plain values, and refuse logs that are not shaped as promised.

Its one job: contracts/README.md, "Events", as data. A log of our contracts that no shape knows is an error, not noise:
an auditor that skips what it does not understand proves nothing. Twin: contracts/interfaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from afterbell.domain.hashing import keccak
from afterbell.verify.rpc import Log

Value = int | bytes | str
"""A list of addresses or words is their bytes, joined."""


class UnreadableLog(Exception):
    """A log does not have the shape of any known event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of an event."""

    name: str
    kind: str
    is_indexed: bool

    @property
    def is_dynamic(self) -> bool:
        """Tell whether the value stands behind the words, at an offset."""
        return self.kind in ("bytes", "string", "address[]", "uint256[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventShape:
    """Name and arguments of an event."""

    name: str
    arguments: tuple[Argument, ...]

    @property
    def topic(self) -> bytes:
        """Return the hash of the signature: topic 0."""
        return keccak(f"{self.name}({','.join(argument.kind for argument in self.arguments)})".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEvent:
    """One decoded log with its place on the chain."""

    contract: str
    name: str
    values: Mapping[str, Value]
    log: Log

    def number(self, name: str) -> int:
        """Return a numeric argument."""
        value = self.values[name]
        if not isinstance(value, int):
            raise TypeError(f"{self.name}.{name} is not a number")
        return value

    def content(self, name: str) -> bytes:
        """Return an argument of bytes (address, bytes32, bytes)."""
        value = self.values[name]
        if not isinstance(value, bytes):
            raise TypeError(f"{self.name}.{name} is not bytes")
        return value

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, Value], ...]]:
        """Return name and values, for comparison with an event the model expects."""
        return self.name, tuple(sorted(self.values.items()))


def parse_shape(signature: str) -> EventShape:
    """Read `Name(kind [indexed] name, ...)`."""
    name, _, rest = signature.partition("(")
    arguments = []
    for text in rest.rstrip(")").split(","):
        words = text.split()
        arguments.append(Argument(name=words[-1], kind=words[0], is_indexed="indexed" in words))
    return EventShape(name=name, arguments=tuple(arguments))


def decode_event(contract: str, shapes: Mapping[bytes, EventShape], log: Log) -> ChainEvent:
    """Decode a log. Raises: UnreadableLog."""
    shape = shapes.get(log.topics[0]) if log.topics else None
    if shape is None:
        raise UnreadableLog(
            f"{contract}: topic 0x{log.topics[0].hex() if log.topics else ''} is no event of contracts/README.md"
        )
    n_indexed = sum(argument.is_indexed for argument in shape.arguments)
    if len(log.topics) != n_indexed + 1:
        raise UnreadableLog(f"{contract}.{shape.name}: required {n_indexed + 1} topics, found {len(log.topics)}")
    values: dict[str, Value] = {}
    topic_position, head = 1, 0
    tail = 32 * (len(shape.arguments) - n_indexed)
    for argument in shape.arguments:
        if argument.is_indexed:
            word = log.topics[topic_position]
            topic_position += 1
        else:
            word = log.data[head : head + 32]
            head += 32
        if len(word) != 32:
            raise UnreadableLog(f"{contract}.{shape.name}: data ends before {argument.name}")
        if argument.is_dynamic:
            values[argument.name], tail = _decode_tail(contract, shape, argument, word, log.data, tail)
        else:
            values[argument.name] = _decode_word(contract, shape, argument, word)
    if len(log.data) != tail:
        raise UnreadableLog(f"{contract}.{shape.name}: required {tail} bytes of data, found {len(log.data)}")
    return ChainEvent(contract=contract, name=shape.name, values=values, log=log)


def _decode_word(contract: str, shape: EventShape, argument: Argument, word: bytes) -> Value:
    """Return a value of one word, refusing bits its type does not have: the contracts never set them."""
    if argument.kind == "bytes32":
        return word
    if argument.kind == "int256":
        return int.from_bytes(word, "big", signed=True)
    widths = {"address": 160, "bool": 1}
    n_bits = widths.get(argument.kind) or int(argument.kind.removeprefix("uint"))
    number = int.from_bytes(word, "big")
    if number >> n_bits:
        raise UnreadableLog(f"{contract}.{shape.name}.{argument.name}: 0x{word.hex()} is no {argument.kind}")
    return word[12:] if argument.kind == "address" else number


def _decode_tail(
    contract: str, shape: EventShape, argument: Argument, word: bytes, data: bytes, tail: int
) -> tuple[Value, int]:
    """Return a value of changing length and where the next one begins; it must lie right here, padded with zeros."""
    where = f"{contract}.{shape.name}.{argument.name}"
    length = int.from_bytes(data[tail : tail + 32], "big")
    n_bytes = 32 * length if argument.kind.endswith("[]") else length
    end = tail + 32 + n_bytes + -n_bytes % 32
    if int.from_bytes(word, "big") != tail or end > len(data):
        raise UnreadableLog(f"{where}: required {n_bytes} bytes at {tail}, found {len(data) - tail - 32}")
    content, padding = data[tail + 32 : tail + 32 + n_bytes], data[tail + 32 + n_bytes : end]
    if any(padding):
        raise UnreadableLog(f"{where}: padding is not zero")
    if argument.kind in ("bytes", "uint256[]"):
        return content, end
    if argument.kind == "string":
        return content.decode("utf-8", "replace"), end
    words = [content[start : start + 32] for start in range(0, n_bytes, 32)]
    if any(any(one[:12]) for one in words):
        raise UnreadableLog(f"{where}: an address has more than 20 bytes")
    return b"".join(one[12:] for one in words), end


def split_addresses(joined: bytes) -> list[bytes]:
    """Return the addresses of a list."""
    return [joined[start : start + 20] for start in range(0, len(joined), 20)]


def split_positions(event: ChainEvent) -> list[ChainEvent]:
    """Return a PositionsChanged as one PositionChanged a position: what the auditor compares. Others stay whole.

    Raises: UnreadableLog.
    """
    if event.name != "PositionsChanged":
        return [event]
    content = event.content("records")
    if len(content) % 96:
        raise UnreadableLog(f"PositionsChanged: three words a position, found {len(content) >> 5} words")
    positions = []
    for start in range(0, len(content), 96):
        place, change, position = (int.from_bytes(content[at : at + 32], "big") for at in range(start, start + 96, 32))
        values: dict[str, Value] = {
            "sequence": event.number("sequence"),
            "account": place >> 16,
            "market": place & 0xFFFF,
            "change": change,
            "position": position,
        }
        positions.append(ChainEvent(contract=event.contract, name="PositionChanged", values=values, log=event.log))
    return positions


def build_shapes(*signatures: str) -> dict[bytes, EventShape]:
    """Return shapes by topic."""
    shapes = [parse_shape(signature) for signature in signatures]
    return {shape.topic: shape for shape in shapes}


_GOVERNED: Final = (
    "GovernorProposed(address indexed pending_governor)",
    "GovernorChanged(address indexed governor)",
)
CLEARINGHOUSE: Final = build_shapes(
    "PositionsChanged(uint64 indexed sequence, uint256[] records)",
    "BatchSettled(uint64 indexed sequence, bytes32 head, bytes32 payload_hash, bytes32 journal_hash, "
    "uint64 matched_at_s, uint64 direct_op, uint256 n_failures, uint256 volume_quote, uint256 fees_quote)",
    "BatchFailures(uint64 indexed sequence, bytes codes)",
    "PriceChanged(uint8 indexed market, uint256 price)",
    "IndexChanged(uint8 indexed market, uint256 index)",
    "CollateralDeposited(uint256 indexed account, uint64 indexed direct_op, address sender, uint256 quote)",
    "CollateralWithdrawn(uint256 indexed account, address indexed recipient, uint64 sequence, uint256 quote)",
    "DirectOperation(uint256 indexed account, uint64 indexed direct_op, uint8 kind, uint256 key, uint256 value, "
    "uint64 time_s)",
    "MarketRulesSet(uint8 indexed market, uint8 indexed session, uint256 rules)",
    "SequencerSet(address indexed sequencer)",
)
VAULT: Final = build_shapes(
    "Deposited(address indexed sender, uint256 indexed account, uint256 quote)",
    "ClaimAdded(address indexed recipient, uint256 quote)",
    "ClaimPaid(address indexed recipient, uint256 quote)",
)
OPERATIONS: Final = build_shapes(
    "DigestApproved(address indexed owner, bytes32 indexed digest)",
    "CollateralTransferred(uint256 indexed account, uint256 indexed receiver, uint64 sequence, uint256 quote)",
    "OrderCancelled(uint256 indexed account, uint64 nonce)",
    "AllCancelled(uint256 indexed account, uint64 min_seq)",
    "KeyChanged(uint256 indexed account, address indexed key, uint256 word)",
)
LIQUIDATIONS: Final = build_shapes(
    "AccountFlagged(uint256 indexed account, uint64 flagged_at_s)",
    "AccountUnflagged(uint256 indexed account)",
    "AccountLiquidated(uint256 indexed account, uint256 indexed taker, uint8 indexed market, int256 size_lots, "
    "uint256 price_ticks, uint256 fee_quote, uint256 insurance_quote)",
    "InsurancePaid(uint8 indexed market, uint256 indexed account, uint256 quote, uint256 left_quote)",
    "AdlOpened(uint256 indexed adl_id, uint256 indexed account, uint8 indexed market, uint256 lots, "
    "uint256 mark_ticks, uint256 price_ticks)",
    "AdlNominated(uint256 indexed adl_id, uint256 indexed account, uint256 score)",
    "AdlExecuted(uint256 indexed adl_id, uint256 lots, uint256 price_ticks, uint256 n_counterparties)",
    "LossSpread(uint8 indexed market, uint256 indexed account, uint256 quote, uint256 index_step_e12)",
)
EXITS: Final = build_shapes(
    "RequestChanged(uint256 indexed account, uint8 indexed market, uint8 cause, uint256 word, address recipient)",
    "WithdrawalForced(uint256 indexed account, address indexed recipient, uint256 quote)",
    "WithdrawalFailed(uint256 indexed account, uint8 code, int256 equity_quote, uint256 margin_quote)",
    "CloseForced(uint256 indexed account, uint256 indexed taker, uint8 indexed market, uint256 lots, "
    "uint256 price_ticks)",
    "TakerAnnounced(uint256 indexed account, uint256 time_s)",
    "ModeChanged(uint8 indexed mode, uint256 time_s)",
    "AccountTallied(uint256 indexed account, int256 equity_quote)",
    "RatioFixed(uint256 assets_quote, uint256 positive_equity_quote)",
    "SettlementClaimed(uint256 indexed account, address indexed owner, uint256 quote)",
)
PRICE_ORACLE: Final = build_shapes(
    "ReportAccepted(uint8 indexed market, uint256 external_ticks, uint256 publish_time_s, uint256 session)",
    "ReportIgnored(uint256 indexed market, uint256 indexed code, uint256 price_e8, uint256 publish_time_s)",
    "SourceSet(uint8 indexed source_id, address indexed source)",
    "MarketPriced(uint8 indexed market, uint8 source_id, uint256 ticks_per_usd, uint256 max_confidence_ppm, "
    "uint256 multiplier_num, uint256 multiplier_den)",
    "MarketSourcesSet(uint8 indexed market, uint256 source_id, uint256 second_source_id)",
    "SecondReported(uint8 indexed market, uint256 price_e8, uint256 publish_time_s)",
    "SessionOverridden(uint8 indexed market, address indexed by, uint256 session, uint256 from_s, uint256 until_s)",
    "MultiplierSet(uint8 indexed market, uint256 multiplier_num, uint256 multiplier_den)",
    "CalendarChanged(uint256 from_s, uint256[] words)",
    *_GOVERNED,
)
PRICE_SOURCE: Final = build_shapes(
    "PublishersSet(address[] publishers, uint256 threshold)",
    *_GOVERNED,
)
MARKET_REGISTRY: Final = build_shapes(
    "MarketListed(uint8 indexed market, string symbol, uint8 lot_exponent, uint256 ticks_per_usd, uint8 source_id, "
    "uint256 max_confidence_ppm)",
    "MarketRenamed(uint8 indexed market, string symbol)",
    "ReferenceSet(uint8 indexed market, uint256 reference_ticks)",
    "GuardianSet(address indexed guardian)",
    "SequencerApproved(address indexed sequencer)",
    "SequencerRevoked(address indexed sequencer)",
    *_GOVERNED,
)
CORPORATE_ACTIONS: Final = build_shapes(
    "ActionAnnounced(uint256 indexed market, uint256 indexed kind, uint256 indexed ex_date, uint256 effective_s, "
    "uint256 reserve_s, uint256 num, uint256 den, uint256 price_e8, uint256 ticks, uint256 source_id, "
    "uint256 second_source_id, string symbol, bool needs_confirmation, bytes32 digest)",
    "ActionConfirmed(uint256 indexed market, bytes32 digest)",
    "ActionCancelled(uint256 indexed market, uint256 indexed kind, uint256 indexed ex_date)",
    "DividendReserved(uint256 indexed market, uint256 ticks)",
    "ActionActivated(uint256 indexed market, uint256 indexed kind, uint256 indexed ex_date, uint256 ticks, "
    "uint256 activated_s)",
    "SplitCorrected(uint256 indexed market, uint256 num, uint256 den, uint256 activated_s)",
    "MarketReopened(uint256 indexed market, uint256 observed_ticks, uint256 publish_time_s, uint256 reopened_s)",
    "AnnouncerSet(address indexed announcer)",
    *_GOVERNED,
)
TOKEN: Final = build_shapes("Transfer(address indexed sender, address indexed receiver, uint256 quote)")
SHAPES: Final[Mapping[str, Mapping[bytes, EventShape]]] = {
    "clearinghouse": CLEARINGHOUSE,
    "operations": OPERATIONS,
    "liquidations": LIQUIDATIONS,
    "exits": EXITS,
    "corporate_actions": CORPORATE_ACTIONS,
    "vault": VAULT,
    "price_oracle": PRICE_ORACLE,
    "price_source": PRICE_SOURCE,
    "market_registry": MARKET_REGISTRY,
    "token": TOKEN,
}
