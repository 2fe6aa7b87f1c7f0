"""Encode and decode the payload of one batch, byte for byte.

`decode` refuses what the contract reverts on because of the encoding (MalformedBatch carries its revert string);
whatever else may be wrong with an order or a fill is a status code of settlement.py. Reserved bytes and padding are
ignored when read and zero when written. Must not: judge signatures, prices or margins. Twin: contracts/README.md,
"Batch payload".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from itertools import pairwise
from struct import Struct
from typing import Final

from afterbell.domain.errors import MalformedBatch, RecordOutOfRange
from afterbell.domain.hashing import EMPTY_HASH, keccak
from afterbell.domain.ids import (
    LIQUIDATION_LANE,
    MAX_MARKETS,
    MAX_SUBACCOUNT,
    AccountId,
    build_nonce,
    owner_of,
    subaccount_of,
)
from afterbell.domain.order import (
    FLAG_BULK,
    FLAG_HAS_TRIGGER,
    FLAG_IS_BUY,
    FLAG_LIQUIDATION,
    FLAG_POST_ONLY,
    FLAG_PREVIOUS_EPOCH,
    FLAG_REDUCE_ONLY,
    FLAG_SESSION_KEY,
    TIME_IN_FORCE_SHIFT,
    CancelAll,
    CancelOrder,
    LinkKey,
    Operation,
    Order,
    RevokeKey,
    SignedOrder,
    TimeInForce,
    Transfer,
    TriggerKind,
    Withdraw,
    pack_flags,
)
from afterbell.domain.words import KEY_LIMITS_MASK, SessionKeyWord

BATCH_VERSION: Final = 2
MAX_ACCOUNTS: Final = 112
MAX_ORDERS: Final = 112
MAX_FILLS: Final = 208
MAX_OPERATIONS: Final = 16
MAX_ROWS: Final = MAX_MARKETS
MAX_PAYLOAD_BYTES: Final = 16_384
MAX_EVIDENCE_BYTES: Final = 4_096
MAX_PROOF_WORDS: Final = 8
"""A tree of orders has at most 2^8 leaves."""
SETTLE_LAG_S: Final = 300
"""A batch settles at most this long after its match; what is made directly on chain binds this much later."""

N_WORD_BYTES: Final = 32
N_HEADER_BYTES: Final = 64
N_FILL_BYTES: Final = 8
N_ROW_BYTES: Final = 32
N_OPERATION_BYTES: Final = 160
N_ACCOUNT_BYTES: Final = 32
N_ORDER_BYTES: Final = 96
N_TRIGGER_BYTES: Final = 32

# uint40 and uint48 have no struct code: a uint40 is "BI", a uint48 is "HI", high part first.
_HEADER: Final = Struct(">BBIBIBIBBBBHH8x32s")
_FILL: Final = Struct(">BBHI")
_ROW: Final = Struct(">BBIBIBIiB11x")
_OPERATION: Final = Struct(">BB30sBIBI2x20s32s32s32s")
_ACCOUNT: Final = Struct(">30sH")
_ORDER: Final = Struct(">BHHBIHIBIHHHBI32s32s")
_TRIGGER: Final = Struct(">BBI26x")
_LOW: Final = (1 << 32) - 1


@unique
class OperationKind(IntEnum):
    """What a signed operation does."""

    WITHDRAW = 1
    CANCEL_ORDER = 2
    CANCEL_ALL = 3
    TRANSFER = 4
    LINK_KEY = 5
    REVOKE_KEY = 6


OPERATION_SESSION_KEY: Final = 1
"""Flag: a session key signed."""
OPERATION_APPROVED: Final = 2
"""Flag: the owner approved the digest on chain; r and vs are ignored. Not together with the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHeader:
    """What a batch says about itself; the counts of its tables follow from the tables."""

    sequence: int
    matched_at_s: int
    direct_op: int = 0
    journal_hash: bytes = EMPTY_HASH


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """One fill between two orders of the table, by index over all accounts."""

    maker_order: int
    taker_order: int
    size_lots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """Prices of one market for this batch. auction_ticks 0 = fills happen at the maker's limit.

    premium_ppb: the 8 h premium that funding is computed from. funding: 1 = accrue funding up to this batch.
    """

    market_id: int
    mark_ticks: int
    index_ticks: int
    auction_ticks: int = 0
    premium_ppb: int = 0
    funding: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """One signed or approved operation. Operations run before every order and fill of their batch (D-016).

    `operand` is 160 bits (recipient, key or receiving subaccount), `value` word 2, 256 bits wide as the chain reads it.
    """

    kind: int
    account_id: AccountId
    expiry_s: int
    seq: int
    flags: int = 0
    operand: int = 0
    value: int
    r: bytes
    vs: bytes

    def to_message(self) -> Operation | None:
        """Return what was signed, or None for an unknown kind or flags, or a number beyond its signed type."""
        owner, subaccount = owner_of(self.account_id), subaccount_of(self.account_id)
        if self.flags > OPERATION_APPROVED:
            return None
        if self.kind == OperationKind.CANCEL_ORDER and self.value < 1 << 56:
            return CancelOrder(
                owner=owner, subaccount=subaccount, order_nonce=self.value, expiry_s=self.expiry_s, seq=self.seq
            )
        if self.kind == OperationKind.CANCEL_ALL and self.value < 1 << 40:
            return CancelAll(
                owner=owner, subaccount=subaccount, min_seq=self.value, expiry_s=self.expiry_s, seq=self.seq
            )
        if self.kind == OperationKind.TRANSFER and self.value < 1 << 64 and self.operand <= MAX_SUBACCOUNT:
            return Transfer(
                owner=owner,
                subaccount=subaccount,
                quote=self.value,
                to_subaccount=self.operand,
                expiry_s=self.expiry_s,
                seq=self.seq,
            )
        address = self.operand.to_bytes(20, "big")
        if self.kind == OperationKind.WITHDRAW and self.value < 1 << 64:
            return Withdraw(
                owner=owner,
                subaccount=subaccount,
                quote=self.value,
                recipient=address,
                expiry_s=self.expiry_s,
                seq=self.seq,
            )
        if self.kind == OperationKind.LINK_KEY and self.value <= KEY_LIMITS_MASK:
            limits = SessionKeyWord.unpack(self.value)
            return LinkKey(
                owner=owner,
                subaccount=subaccount,
                key=address,
                key_expiry_s=limits.expiry_s,
                max_notional_quote=limits.max_notional_quote,
                markets=limits.markets,
                trade_only=limits.trade_only,
                reduce_only=limits.reduce_only,
                expiry_s=self.expiry_s,
                seq=self.seq,
            )
        if self.kind == OperationKind.REVOKE_KEY and self.value == 0:
            return RevokeKey(owner=owner, subaccount=subaccount, key=address, expiry_s=self.expiry_s, seq=self.seq)
        return None


def build_operation_row(message: Operation, *, r: bytes, vs: bytes, flags: int = 0) -> OperationRow:
    """Return the row that carries an operation. An approved one has 32 zero bytes each for r and vs."""
    kind, value, operand = _split_operation(message)
    return OperationRow(
        kind=kind,
        account_id=message.account_id,
        expiry_s=message.expiry_s,
        seq=message.seq,
        flags=flags,
        operand=operand,
        value=value,
        r=r,
        vs=vs,
    )


def _split_operation(message: Operation) -> tuple[OperationKind, int, int]:
    """Return (kind, word 2, operand)."""
    if isinstance(message, Withdraw):
        return OperationKind.WITHDRAW, message.quote, int.from_bytes(message.recipient, "big")
    if isinstance(message, CancelOrder):
        return OperationKind.CANCEL_ORDER, message.order_nonce, 0
    if isinstance(message, CancelAll):
        return OperationKind.CANCEL_ALL, message.min_seq, 0
    if isinstance(message, Transfer):
        return OperationKind.TRANSFER, message.quote, message.to_subaccount
    if isinstance(message, LinkKey):
        return OperationKind.LINK_KEY, message.limits_word, int.from_bytes(message.key, "big")
    return OperationKind.REVOKE_KEY, 0, int.from_bytes(message.key, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """One order as a batch carries it: without owner (its account record has it) and epoch (hashed in)."""

    market_id: int
    flags: int
    lane: int
    seq: int
    size_lots: int
    limit_ticks: int
    max_fee_ppm: int
    taker_fee_ppm: int
    maker_fee_ppm: int
    expiry_s: int
    r: bytes
    vs: bytes
    trigger_kind: int = 0
    trigger_ticks: int = 0
    proof: tuple[bytes, ...] = ()
    """Siblings from the order's struct hash to the signed root; only with the flag bulk."""

    @property
    def is_buy(self) -> bool:
        """Tell the side."""
        return bool(self.flags & FLAG_IS_BUY)

    @property
    def reduce_only(self) -> bool:
        """Tell whether the order may only shrink a position."""
        return bool(self.flags & FLAG_REDUCE_ONLY)

    @property
    def post_only(self) -> bool:
        """Tell whether the order may only make."""
        return bool(self.flags & FLAG_POST_ONLY)

    @property
    def time_in_force(self) -> TimeInForce:
        """Return the two bits."""
        return TimeInForce(self.flags >> TIME_IN_FORCE_SHIFT & 3)

    @property
    def is_previous_epoch(self) -> bool:
        """Tell whether the order was signed for the market's previous epoch."""
        return bool(self.flags & FLAG_PREVIOUS_EPOCH)

    @property
    def has_trigger(self) -> bool:
        """Tell whether word 3 follows."""
        return bool(self.flags & FLAG_HAS_TRIGGER)

    @property
    def is_key_signed(self) -> bool:
        """Tell whether a session key signed instead of the owner."""
        return bool(self.flags & FLAG_SESSION_KEY)

    @property
    def is_liquidation(self) -> bool:
        """Tell whether nobody signed and Liquidations judges."""
        return bool(self.flags & FLAG_LIQUIDATION)

    @property
    def is_bulk(self) -> bool:
        """Tell whether a tree of orders was signed and a proof follows."""
        return bool(self.flags & FLAG_BULK)

    def to_order(self, account_id: int, epoch: int) -> Order:
        """Return what the owner signed, for the market's epoch (the caller subtracts one under previous_epoch).

        The trigger kind must be known: settlement.py answers UNKNOWN_FLAGS before it asks.
        """
        return Order(
            owner=owner_of(account_id),
            subaccount=subaccount_of(account_id),
            market_id=self.market_id,
            epoch=epoch,
            is_buy=self.is_buy,
            size_lots=self.size_lots,
            limit_ticks=self.limit_ticks,
            max_fee_ppm=self.max_fee_ppm,
            expiry_s=self.expiry_s,
            lane=self.lane,
            seq=self.seq,
            reduce_only=self.reduce_only,
            post_only=self.post_only,
            time_in_force=self.time_in_force,
            trigger_ticks=self.trigger_ticks,
            trigger_kind=TriggerKind(self.trigger_kind),
        )


def build_order_record(
    signed: SignedOrder,
    *,
    taker_fee_ppm: int,
    maker_fee_ppm: int,
    previous_epoch: bool = False,
    session_key: bool = False,
) -> OrderRecord:
    """Return the record that carries a signed order with the rates this batch charges."""
    order = signed.order
    return OrderRecord(
        market_id=order.market_id,
        flags=order.flags(previous_epoch=previous_epoch, session_key=session_key, bulk=signed.proof is not None),
        lane=order.lane,
        seq=order.seq,
        size_lots=order.size_lots,
        limit_ticks=order.limit_ticks,
        max_fee_ppm=order.max_fee_ppm,
        taker_fee_ppm=taker_fee_ppm,
        maker_fee_ppm=maker_fee_ppm,
        expiry_s=order.expiry_s,
        r=signed.r,
        vs=signed.vs,
        trigger_kind=order.trigger_kind,
        trigger_ticks=order.trigger_ticks,
        proof=signed.proof or (),
    )


def build_liquidation_record(
    *, market_id: int, is_buy: bool, sequence: int, size_lots: int, limit_ticks: int, fee_ppm: int, expiry_s: int
) -> OrderRecord:
    """Return the record of a liquidation order of batch `sequence`: reduce-only, IOC, signed by nobody."""
    return OrderRecord(
        market_id=market_id,
        flags=pack_flags(is_buy=is_buy, reduce_only=True, time_in_force=TimeInForce.IOC, liquidation=True),
        lane=LIQUIDATION_LANE,
        seq=sequence,
        size_lots=size_lots,
        limit_ticks=limit_ticks,
        max_fee_ppm=fee_ppm,
        taker_fee_ppm=fee_ppm,
        maker_fee_ppm=0,
        expiry_s=expiry_s,
        r=EMPTY_HASH,
        vs=EMPTY_HASH,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """One account and its orders, sorted by lane. May have none."""

    account_id: AccountId
    orders: tuple[OrderRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One batch. Shapes: rows ascend by market, accounts by id, orders by lane; operations stand as they run."""

    header: BatchHeader
    fills: tuple[FillRow, ...] = ()
    rows: tuple[PriceRow, ...] = ()
    evidence: bytes = b""
    operations: tuple[OperationRow, ...] = ()
    accounts: tuple[AccountRecord, ...] = ()

    @property
    def n_orders(self) -> int:
        """Count the orders over all accounts."""
        return sum(len(account.orders) for account in self.accounts)

    def list_orders(self) -> list[tuple[int, OrderRecord]]:
        """Return (account index, order) in table order: the position is the order index of a fill."""
        return [(index, order) for index, account in enumerate(self.accounts) for order in account.orders]


def _pad(section: bytes) -> bytes:
    """Return a section filled up with zeros to whole words."""
    return section + bytes(-len(section) % N_WORD_BYTES)


def _split40(number: int) -> tuple[int, int]:
    return number >> 32, number & _LOW


def _encode_order(order: OrderRecord) -> bytes:
    record = _ORDER.pack(
        order.market_id,
        order.flags,
        order.lane,
        order.seq >> 32,
        order.seq & _LOW,
        order.size_lots >> 32,
        order.size_lots & _LOW,
        order.limit_ticks >> 32,
        order.limit_ticks & _LOW,
        order.max_fee_ppm,
        order.taker_fee_ppm,
        order.maker_fee_ppm,
        order.expiry_s >> 32,
        order.expiry_s & _LOW,
        order.r,
        order.vs,
    )
    if order.flags & FLAG_HAS_TRIGGER:
        record += _TRIGGER.pack(order.trigger_kind, *_split40(order.trigger_ticks))
    if order.flags & FLAG_BULK:
        record += len(order.proof).to_bytes(N_WORD_BYTES, "big") + b"".join(order.proof)
    return record


def _list_places(payload: Payload) -> list[int]:
    """Return the place of every order: accounts and orders count alike, in the order of the payload."""
    return [account_index + 1 + index for index, (account_index, _) in enumerate(payload.list_orders())]


def _find_place(places: list[int], order_index: int, n_accounts: int) -> int:
    """Return an order's place; an index beyond the table gets a place beyond it, for the contract to refuse."""
    return places[order_index] if order_index < len(places) else n_accounts + order_index


def encode(payload: Payload) -> bytes:
    """Return the bytes of a batch. Checks ranges of fields, not the sense of the tables.

    Raises: RecordOutOfRange.
    """
    header, places, n_accounts = payload.header, _list_places(payload), len(payload.accounts)
    try:
        parts = [
            _HEADER.pack(
                BATCH_VERSION,
                *_split40(header.sequence),
                *_split40(header.matched_at_s),
                *_split40(header.direct_op),
                len(payload.rows),
                len(payload.operations),
                len(payload.accounts),
                payload.n_orders,
                len(payload.fills),
                len(payload.evidence),
                header.journal_hash,
            ),
            _pad(
                b"".join(
                    _FILL.pack(
                        _find_place(places, fill.maker_order, n_accounts),
                        _find_place(places, fill.taker_order, n_accounts),
                        fill.size_lots >> 32,
                        fill.size_lots & _LOW,
                    )
                    for fill in payload.fills
                )
            ),
            b"".join(
                _ROW.pack(
                    row.market_id,
                    *_split40(row.mark_ticks),
                    *_split40(row.index_ticks),
                    *_split40(row.auction_ticks),
                    row.premium_ppb,
                    row.funding,
                )
                for row in payload.rows
            ),
            _pad(payload.evidence),
        ]
        parts += [
            _OPERATION.pack(
                row.kind,
                row.flags,
                row.account_id.to_bytes(30, "big"),
                *_split40(row.expiry_s),
                *_split40(row.seq),
                row.operand.to_bytes(20, "big"),
                row.value.to_bytes(32, "big"),
                row.r,
                row.vs,
            )
            for row in payload.operations
        ]
        for account in payload.accounts:
            parts.append(_ACCOUNT.pack(account.account_id.to_bytes(30, "big"), len(account.orders)))
            parts += map(_encode_order, account.orders)
    except (struct.error, OverflowError) as error:
        raise RecordOutOfRange("batch", error) from error
    return b"".join(parts)


def compute_encoded_bytes(
    *,
    n_fills: int,
    n_rows: int,
    n_evidence_bytes: int,
    n_operations: int,
    n_accounts: int,
    n_orders: int,
    n_triggers: int,
    n_proof_words: int = 0,
) -> int:
    """Return the length of the encoding from its counts, so that a batch can be cut before it is too long.

    n_proof_words: one for each bulk order and one for each hash of its proof.
    """
    return (
        N_HEADER_BYTES
        + _round_up_to_word(n_fills * N_FILL_BYTES)
        + n_rows * N_ROW_BYTES
        + _round_up_to_word(n_evidence_bytes)
        + n_operations * N_OPERATION_BYTES
        + n_accounts * N_ACCOUNT_BYTES
        + n_orders * N_ORDER_BYTES
        + n_triggers * N_TRIGGER_BYTES
        + n_proof_words * N_WORD_BYTES
    )


def _round_up_to_word(n_bytes: int) -> int:
    return n_bytes + -n_bytes % N_WORD_BYTES


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise MalformedBatch(reason)


def decode_header(payload: bytes) -> BatchHeader:
    """Read the header alone. Raises: MalformedBatch `batch: length`, `batch: version`."""
    _require(len(payload) >= N_HEADER_BYTES, "batch: length")
    fields = _HEADER.unpack_from(payload)
    _require(fields[0] == BATCH_VERSION, "batch: version")
    return BatchHeader(
        sequence=fields[1] << 32 | fields[2],
        matched_at_s=fields[3] << 32 | fields[4],
        direct_op=fields[5] << 32 | fields[6],
        journal_hash=fields[13],
    )


def decode(payload: bytes) -> Payload:
    """Read a batch. Raises: MalformedBatch with the contract's revert string.

    Length is checked first, then bounds, then each table in its own order; a payload with one flaw gets the string of
    that flaw. State (sequence, head, clock, listed markets) is settlement.py's to check.
    """
    _require(len(payload) <= MAX_PAYLOAD_BYTES, "batch: length")
    header = decode_header(payload)
    n_rows, n_operations, n_accounts, n_orders, n_fills, n_evidence = _HEADER.unpack_from(payload)[7:13]
    _require(
        n_rows <= MAX_ROWS
        and n_operations <= MAX_OPERATIONS
        and n_accounts <= MAX_ACCOUNTS
        and n_orders <= MAX_ORDERS
        and n_fills <= MAX_FILLS
        and n_evidence <= MAX_EVIDENCE_BYTES,
        "batch: too many",
    )
    rows_at = N_HEADER_BYTES + _round_up_to_word(n_fills * N_FILL_BYTES)
    evidence_at = rows_at + n_rows * N_ROW_BYTES
    operations_at = evidence_at + _round_up_to_word(n_evidence)
    accounts_at = operations_at + n_operations * N_OPERATION_BYTES
    # what is left beside accounts and orders is for triggers and proofs
    surplus_bytes = len(payload) - accounts_at - n_accounts * N_ACCOUNT_BYTES - n_orders * N_ORDER_BYTES
    _require(surplus_bytes >= 0, "batch: length")

    rows = tuple(
        PriceRow(
            market_id=market_id,
            mark_ticks=mark_high << 32 | mark_low,
            index_ticks=index_high << 32 | index_low,
            auction_ticks=auction_high << 32 | auction_low,
            premium_ppb=premium_ppb,
            funding=funding,
        )
        for (
            market_id, mark_high, mark_low, index_high, index_low, auction_high, auction_low, premium_ppb, funding,
        ) in _ROW.iter_unpack(payload[rows_at:evidence_at])
    )  # fmt: skip
    _require(
        all(left.market_id < right.market_id for left, right in pairwise(rows)),
        "prices: market order",
    )
    operations = _decode_operations(payload[operations_at:accounts_at])
    accounts = _decode_accounts(
        payload, accounts_at, n_accounts=n_accounts, n_orders=n_orders, surplus_bytes=surplus_bytes
    )
    return Payload(
        header=header,
        fills=_decode_fills(payload[N_HEADER_BYTES : N_HEADER_BYTES + n_fills * N_FILL_BYTES], accounts),
        rows=rows,
        evidence=payload[evidence_at : evidence_at + n_evidence],
        operations=operations,
        accounts=accounts,
    )


def _decode_fills(section: bytes, accounts: tuple[AccountRecord, ...]) -> tuple[FillRow, ...]:
    """Read fills, whose places count accounts and orders alike. A place that holds no order is refused."""
    order_at: dict[int, int] = {}
    place = 0
    for account in accounts:
        for at in range(place + 1, place + 1 + len(account.orders)):
            order_at[at] = len(order_at)
        place += 1 + len(account.orders)
    fills = []
    for maker, taker, high, low in _FILL.iter_unpack(section):
        _require(maker in order_at and taker in order_at, "batch: fill index")
        fills.append(FillRow(maker_order=order_at[maker], taker_order=order_at[taker], size_lots=high << 32 | low))
    return tuple(fills)


def _decode_operations(section: bytes) -> tuple[OperationRow, ...]:
    return tuple(
        OperationRow(
            kind=fields[0],
            flags=fields[1],
            account_id=AccountId(int.from_bytes(fields[2], "big")),
            expiry_s=fields[3] << 32 | fields[4],
            seq=fields[5] << 32 | fields[6],
            operand=int.from_bytes(fields[7], "big"),
            value=int.from_bytes(fields[8], "big"),
            r=fields[9],
            vs=fields[10],
        )
        for fields in _OPERATION.iter_unpack(section)
    )


def _decode_accounts(
    payload: bytes, at: int, *, n_accounts: int, n_orders: int, surplus_bytes: int
) -> tuple[AccountRecord, ...]:
    accounts = []
    previous_id = 0  # account zero has no owner who could sign: the contract reverts on it
    n_orders_read = 0
    for _ in range(n_accounts):
        _require(len(payload) >= at + N_ACCOUNT_BYTES, "batch: length")
        account_bytes, n_own = _ACCOUNT.unpack_from(payload, at)
        at += N_ACCOUNT_BYTES
        account_id = AccountId(int.from_bytes(account_bytes, "big"))
        _require(account_id > previous_id, "batch: account order")
        previous_id = account_id
        n_orders_read += n_own
        _require(n_orders_read <= n_orders, "batch: order count")
        orders = []
        previous_lane = 0
        for _ in range(n_own):
            order, end = _decode_order(payload, at)
            surplus_bytes -= end - at - N_ORDER_BYTES
            _require(surplus_bytes >= 0, "batch: length")
            at = end
            _require(order.lane >= previous_lane, "batch: lane order")
            previous_lane = order.lane
            orders.append(order)
        accounts.append(AccountRecord(account_id=account_id, orders=tuple(orders)))
    _require(n_orders_read == n_orders, "batch: order count")
    _require(len(payload) == at, "batch: length")
    return tuple(accounts)


def _decode_order(payload: bytes, at: int) -> tuple[OrderRecord, int]:
    """Return the order at `at` and the offset after it."""
    _require(len(payload) >= at + N_ORDER_BYTES, "batch: length")
    fields = _ORDER.unpack_from(payload, at)
    flags = fields[1]
    trigger_kind = trigger_ticks = 0
    end = at + N_ORDER_BYTES
    if flags & FLAG_HAS_TRIGGER:
        _require(len(payload) >= end + N_TRIGGER_BYTES, "batch: length")
        trigger_kind, high, low = _TRIGGER.unpack_from(payload, end)
        trigger_ticks = high << 32 | low
        end += N_TRIGGER_BYTES
    proof: tuple[bytes, ...] = ()
    if flags & FLAG_BULK:
        proof, end = _decode_proof(payload, end)
    order = OrderRecord(
        market_id=fields[0],
        flags=flags,
        lane=fields[2],
        seq=fields[3] << 32 | fields[4],
        size_lots=fields[5] << 32 | fields[6],
        limit_ticks=fields[7] << 32 | fields[8],
        max_fee_ppm=fields[9],
        taker_fee_ppm=fields[10],
        maker_fee_ppm=fields[11],
        expiry_s=fields[12] << 32 | fields[13],
        r=fields[14],
        vs=fields[15],
        trigger_kind=trigger_kind,
        trigger_ticks=trigger_ticks,
        proof=proof,
    )
    return order, end


def _decode_proof(payload: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """Return the proof of a bulk order at `at` and the offset after it."""
    _require(len(payload) >= at + N_WORD_BYTES, "batch: length")
    n_proof = int.from_bytes(payload[at : at + N_WORD_BYTES], "big")
    end = at + (1 + n_proof) * N_WORD_BYTES
    _require(n_proof <= MAX_PROOF_WORDS and len(payload) >= end, "batch: length")
    return tuple(payload[i : i + N_WORD_BYTES] for i in range(at + N_WORD_BYTES, end, N_WORD_BYTES)), end


def build_order_nonce(record: OrderRecord) -> int:
    """Return lane << 40 | seq of an order record."""
    return build_nonce(record.lane, record.seq)


def hash_payload(payload: bytes) -> bytes:
    """Return payload_hash. It omits the previous head, so that pipelined batches can predict it."""
    return keccak(payload)


def hash_codes(codes: bytes) -> bytes:
    """Return codes_hash: zero when nothing failed."""
    return keccak(codes) if any(codes) else EMPTY_HASH


def compute_head(previous_head: bytes, payload_hash: bytes, codes: bytes) -> bytes:
    """Return the head after a batch: keccak(previous_head ‖ payload_hash ‖ codes_hash)."""
    return keccak(previous_head + payload_hash + hash_codes(codes))
