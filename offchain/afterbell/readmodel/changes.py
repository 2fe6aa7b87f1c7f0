"""Fold the events of a group of frames into rows, and write each table once.

Rows of orders and session keys are read before, changed in memory event by event and written back whole, so that one
group and one frame at a time end the same. Must not: open a transaction or move a cursor; the projector does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, tuple_, update

from afterbell.domain.codes import describe_code
from afterbell.domain.commands import PlaceOrder
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    CollateralExited,
    DepositCredited,
    Event,
    FillMatched,
    FillRejected,
    KeyLinked,
    KeyRevoked,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    OrderWaiting,
    PositionAdjusted,
    PricesAdopted,
    TransferAccepted,
    TransferRejected,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import account_bytes
from afterbell.domain.words import SessionKeyWord
from afterbell.ports import Frame
from afterbell.readmodel.candles import CandleKeeper
from afterbell.readmodel.sql import Row, execute_many, insert_missing, upsert
from afterbell.readmodel.tables import (
    LIVE_ORDER_STATUSES,
    N_ADDRESS_BYTES,
    AccountRow,
    BatchRow,
    BatchStatus,
    FillRow,
    FundingRow,
    OrderRow,
    OrderStatus,
    PriceRow,
    SessionKeyRow,
    TransferKind,
    TransferRow,
)

_MAX_NAMED: Final = 500
"""Keys of one IN: far below what either database takes."""
_NO_ADDRESS: Final = bytes(N_ADDRESS_BYTES)
_PAYMENT_BITS: Final = 12
"""A frame settles far fewer funding payments than 4,096."""


class Changes:
    """Rows of one group."""

    def __init__(self, connection: Connection, candles: CandleKeeper) -> None:
        self._connection = connection
        self._candles = candles
        self._accounts: dict[bytes, Row] = {}
        self._orders: dict[bytes, Row] = {}
        self._changed_orders: dict[bytes, None] = {}
        self._keys: dict[tuple[bytes, bytes], Row] = {}
        self._changed_keys: dict[tuple[bytes, bytes], None] = {}
        self._fills: list[Row] = []
        self._fill_codes: list[Row] = []
        self._funding: list[Row] = []
        self._n_payments = (0, 0)
        """(journal frame, its funding payments so far)"""
        self._batches: list[Row] = []
        self._confirmed: list[Row] = []
        self._prices: list[Row] = []
        self._transfers: dict[str, Row] = {}
        self._operation_codes: dict[bytes, str] = {}

    def fold_group(self, group: Sequence[tuple[Frame, Sequence[Event]]]) -> None:
        """Adopt frames in order."""
        self._read_rows([event for _, events in group for event in events])
        for frame, events in group:
            for event in events:
                self._fold(frame, event)

    def _read_rows(self, events: Sequence[Event]) -> None:
        """Read the orders and keys these events are about."""
        order_ids = list({order_id: None for event in events for order_id in _name_orders(event)})
        for chunk in _split(order_ids):
            statement = select(OrderRow.__table__).where(OrderRow.order_id.in_(chunk))
            for found in self._connection.execute(statement):
                self._orders[found.order_id] = dict(found._mapping)
        keys = list({_key_of(event): None for event in events if isinstance(event, KeyLinked | KeyRevoked)})
        for chunk in _split(keys):
            statement = select(SessionKeyRow.__table__).where(
                tuple_(SessionKeyRow.account, SessionKeyRow.key).in_(chunk)
            )
            for found in self._connection.execute(statement):
                self._keys[found.account, found.key] = dict(found._mapping)

    def _fold(self, frame: Frame, event: Event) -> None:
        match event:
            case OrderAccepted():
                self._accept_order(frame, event)
            case OrderRejected():
                self._reject_order(frame, event)
            case OrderTriggered() | OrderWaiting() | OrderReduced() | OrderCancelled():
                self._move_order(frame, event)
            case FillMatched():
                self._match_fill(frame, event)
            case FillRejected():
                self._fill_codes.append({"b_fill_id": event.fill_id, "b_code": event.code})
            case PricesAdopted():
                self._adopt_prices(frame, event)
            case DepositCredited() | WithdrawalAccepted() | WithdrawalRejected() | CollateralExited():
                self._move_collateral(frame, event)
            case TransferAccepted() | TransferRejected():
                self._move_between(frame, event)
            case PositionAdjusted():
                self._adjust_position(frame, event)
            case KeyLinked():
                self._link_key(frame, event)
            case KeyRevoked():
                self._revoke_key(frame, event)
            case BatchSealed():
                self._seal_batch(frame, event)
            case BatchConfirmed():
                self._confirmed.append(
                    {
                        "b_sequence": event.sequence,
                        "b_transaction": event.transaction,
                        "b_block": event.block,
                        "b_gas_used": event.gas_used,
                        "b_mined_at_ms": frame.time_ms,
                    }
                )
            case _:
                pass

    def _see(self, account: int, time_ms: int) -> bytes:
        key = account_bytes(account)
        self._accounts.setdefault(key, {"account": key, "first_seen_ms": time_ms})
        return key

    # ---------------------------------------------------------------- orders

    def _accept_order(self, frame: Frame, event: OrderAccepted) -> None:
        """Write a new order; it comes after the fills of its own frame and already counts them."""
        status = OrderStatus.WAITING if event.is_waiting else OrderStatus.OPEN
        if event.filled_lots >= event.size_lots:
            status = OrderStatus.FILLED
        unfilled_lots = event.size_lots - event.filled_lots
        account = self._see(event.account, frame.time_ms)
        self._put_order(
            {
                "order_id": event.order_id,
                "account": account,
                "market": event.market,
                "is_buy": event.is_buy,
                "size_lots": event.size_lots,
                "limit_ticks": event.limit_ticks,
                "filled_lots": event.filled_lots,
                # An OCO whose other order has filled rests with less than it has unfilled.
                "remaining_lots": unfilled_lots if event.is_waiting else event.resting_lots,
                "status": status.value,
                "reason": None,
                "nonce": event.nonce,
                "time_in_force": event.time_in_force,
                "reduce_only": event.reduce_only,
                "post_only": event.post_only,
                "expiry_s": event.expiry_s,
                "max_fee_ppm": event.max_fee_ppm,
                "trigger_ticks": event.trigger_ticks,
                "trigger_kind": event.trigger_kind,
                "signer": event.signer or account[:N_ADDRESS_BYTES],
                "amends": event.amends or None,
                "client_id": event.client_id,
                "placed_sequence": frame.sequence,
                "placed_at_ms": frame.time_ms,
                "updated_at_ms": frame.time_ms,
            }
        )

    def _reject_order(self, frame: Frame, event: OrderRejected) -> None:
        command = frame.command
        if not isinstance(command, PlaceOrder) or event.order_id in self._orders:
            return
        # Not `_see`: a refused order does not make an account known.
        account = account_bytes(event.account)
        self._put_order(
            {
                "order_id": event.order_id,
                "account": account,
                "market": event.market,
                "is_buy": command.is_buy,
                "size_lots": command.size_lots,
                "limit_ticks": command.limit_ticks,
                "filled_lots": 0,
                "remaining_lots": 0,
                "status": OrderStatus.REJECTED.value,
                "reason": event.reason,
                "nonce": command.nonce,
                "time_in_force": command.time_in_force,
                "reduce_only": command.reduce_only,
                "post_only": command.post_only,
                "expiry_s": command.expiry_s,
                "max_fee_ppm": command.max_fee_ppm,
                "trigger_ticks": command.trigger_ticks,
                "trigger_kind": command.trigger_kind,
                "signer": command.signer or account[:N_ADDRESS_BYTES],
                "amends": command.amends or None,
                "client_id": command.client_id,
                "placed_sequence": frame.sequence,
                "placed_at_ms": frame.time_ms,
                "updated_at_ms": frame.time_ms,
            }
        )

    def _put_order(self, row: Row) -> None:
        self._orders[row["order_id"]] = row
        self._changed_orders[row["order_id"]] = None

    def _touch_order(self, order_id: bytes, time_ms: int) -> Row | None:
        """Return a live order to change; one that has ended, or that its own frame accepts only later, is none."""
        row = self._orders.get(order_id)
        if row is None or row["status"] not in LIVE_ORDER_STATUSES:
            return None
        self._changed_orders[order_id] = None
        row["updated_at_ms"] = time_ms
        return row

    def _move_order(self, frame: Frame, event: OrderTriggered | OrderWaiting | OrderReduced | OrderCancelled) -> None:
        row = self._touch_order(event.order_id, frame.time_ms)
        if row is None:
            return
        match event:
            case OrderTriggered():
                row["status"] = OrderStatus.OPEN.value
            case OrderWaiting():
                row |= {"status": OrderStatus.WAITING.value, "remaining_lots": event.remaining_lots}
            case OrderReduced():
                row["remaining_lots"] = event.remaining_lots
            case OrderCancelled():
                row |= {"status": OrderStatus.CANCELLED.value, "reason": event.reason, "remaining_lots": 0}

    def _match_fill(self, frame: Frame, event: FillMatched) -> None:
        for order_id in (event.maker_order_id, event.taker_order_id):
            row = self._touch_order(order_id, frame.time_ms)
            if row is not None:
                row["filled_lots"] += event.size_lots
                row["remaining_lots"] -= event.size_lots
                if row["remaining_lots"] <= 0:
                    row["status"] = OrderStatus.FILLED.value
        maker, taker = self._see(event.maker_account, frame.time_ms), self._see(event.taker_account, frame.time_ms)
        self._fills.append(
            {
                "fill_id": event.fill_id,
                "sequence": event.sequence,
                "market": event.market,
                "price_ticks": event.price_ticks,
                "size_lots": event.size_lots,
                "maker_order_id": event.maker_order_id,
                "taker_order_id": event.taker_order_id,
                "maker_account": maker,
                "taker_account": taker,
                "taker_is_buy": event.taker_is_buy,
                "maker_fee_quote": event.maker_fee_quote,
                "taker_fee_quote": event.taker_fee_quote,
                "maker_funding_quote": event.maker_funding_quote,
                "taker_funding_quote": event.taker_funding_quote,
                "time_ms": frame.time_ms,
                "code": None,
            }
        )
        for account, quote in ((maker, event.maker_funding_quote), (taker, event.taker_funding_quote)):
            self._pay_funding(frame, account, event.market, quote, fill_id=event.fill_id, sequence=event.sequence)
        self._candles.add_fill(self._connection, event.market, frame.time_ms, event.price_ticks, event.size_lots)

    def _adjust_position(self, frame: Frame, event: PositionAdjusted) -> None:
        account = self._see(event.account, frame.time_ms)
        self._pay_funding(frame, account, event.market, event.funding_quote, direct_op=event.direct_op)

    def _pay_funding(
        self,
        frame: Frame,
        account: bytes,
        market: int,
        quote: int,
        *,
        fill_id: int | None = None,
        sequence: int | None = None,
        direct_op: int | None = None,
    ) -> None:
        if not quote:
            return
        n_before = self._n_payments[1] if self._n_payments[0] == frame.sequence else 0
        self._n_payments = frame.sequence, n_before + 1
        self._funding.append(
            {
                "account": account,
                "payment_id": frame.sequence << _PAYMENT_BITS | n_before,
                "fill_id": fill_id,
                "direct_op": direct_op,
                "market": market,
                "quote": quote,
                "sequence": sequence,
                "time_ms": frame.time_ms,
            }
        )

    def _adopt_prices(self, frame: Frame, event: PricesAdopted) -> None:
        for market, mark_ticks, index_ticks, external_ticks, session in event.prices:
            self._prices.append(
                {
                    "market": market,
                    "journal_sequence": frame.sequence,
                    "time_ms": frame.time_ms,
                    "mark_ticks": mark_ticks,
                    "index_ticks": index_ticks,
                    "external_ticks": external_ticks,
                    "session": session,
                }
            )
            self._candles.add_mark(self._connection, market, frame.time_ms, mark_ticks)

    # -------------------------------------------------------- money and keys

    def _move_collateral(
        self,
        frame: Frame,
        event: DepositCredited | WithdrawalAccepted | WithdrawalRejected | CollateralExited,
    ) -> None:
        row = self._begin_transfer(frame, event.account, event.quote)
        match event:
            case DepositCredited():
                sender = getattr(frame.command, "sender", _NO_ADDRESS)
                row |= {"transfer_id": f"d{event.direct_op}", "kind": TransferKind.DEPOSIT.value}
                row |= {"counterparty": sender, "transaction_hash": event.transaction, "block": event.block}
            case CollateralExited():
                row |= {"transfer_id": f"x{event.direct_op}", "kind": TransferKind.EXIT.value}
                row |= {"counterparty": event.recipient, "transaction_hash": event.transaction, "block": event.block}
            case WithdrawalAccepted():
                row |= {"transfer_id": "0x" + event.withdrawal_id.hex(), "kind": TransferKind.WITHDRAWAL.value}
                row |= {"counterparty": event.recipient, "sequence": event.sequence}
            case WithdrawalRejected():
                recipient = getattr(frame.command, "recipient", _NO_ADDRESS)
                row |= {"transfer_id": "0x" + event.withdrawal_id.hex(), "kind": TransferKind.WITHDRAWAL.value}
                row |= {"counterparty": recipient, "code": event.reason}
        self._put_transfer(row)

    def _move_between(self, frame: Frame, event: TransferAccepted | TransferRejected) -> None:
        """Write a transfer for who sends it and, once taken, for who receives it."""
        row = self._begin_transfer(frame, event.account, event.quote)
        row |= {"transfer_id": "0x" + event.transfer_id.hex(), "kind": TransferKind.SENT.value}
        row |= {"counterparty": row["account"][:N_ADDRESS_BYTES], "other_account": account_bytes(event.receiver)}
        if isinstance(event, TransferRejected):
            self._put_transfer(row | {"code": event.reason})
            return
        row |= {"sequence": event.sequence}
        self._put_transfer(row)
        received = row | {"transfer_id": "r" + event.transfer_id.hex(), "kind": TransferKind.RECEIVED.value}
        received |= {"account": self._see(event.receiver, frame.time_ms), "other_account": row["account"]}
        self._put_transfer(received)

    def _begin_transfer(self, frame: Frame, account: int, quote: int) -> Row:
        return {
            "account": self._see(account, frame.time_ms),
            "quote": quote,
            "counterparty": _NO_ADDRESS,
            "other_account": None,
            "sequence": None,
            "code": None,
            "transaction_hash": None,
            "block": None,
            "placed_sequence": frame.sequence,
            "time_ms": frame.time_ms,
        }

    def _put_transfer(self, row: Row) -> None:
        previous = self._transfers.get(row["transfer_id"])
        if previous is None or previous["code"] is not None:
            self._transfers[row["transfer_id"]] = row

    def _link_key(self, frame: Frame, event: KeyLinked) -> None:
        word = SessionKeyWord.unpack(int.from_bytes(event.word, "big"))
        account, key = _key_of(event)
        row: Row = {
            "account": account,
            "key": key,
            "expiry_s": word.expiry_s,
            "max_notional_quote": word.max_notional_quote,
            "markets": word.markets,
            "trade_only": word.trade_only,
            "reduce_only": word.reduce_only,
            "link_operation_id": event.operation_id or None,
            "link_sequence": event.sequence if event.operation_id else None,
            "link_transaction_hash": event.transaction or None,
            "link_code": None,
            "linked_at_ms": frame.time_ms,
            "revoke_operation_id": None,
            "revoke_sequence": None,
            "revoke_transaction_hash": None,
            "revoked_at_ms": None,
        }
        previous = self._keys.get((account, key))
        if previous is not None and word.revoked_at_s:
            # Revoked on chain: new limits do not bring it back.
            row |= {name: found for name, found in previous.items() if name.startswith("revoke")}
        self._see(event.account, frame.time_ms)
        self._keys[account, key] = row
        self._changed_keys[account, key] = None

    def _revoke_key(self, frame: Frame, event: KeyRevoked) -> None:
        named = _key_of(event)
        if named not in self._keys:
            # Revoked before anything was linked: that also is for good.
            self._link_key(
                frame,
                KeyLinked(operation_id=b"", sequence=event.sequence, account=event.account, key=event.key, word=b""),
            )
        self._keys[named] |= {
            "revoke_operation_id": event.operation_id or None,
            "revoke_sequence": event.sequence if event.operation_id else None,
            "revoke_transaction_hash": event.transaction or None,
            "revoked_at_ms": frame.time_ms,
        }
        self._changed_keys[named] = None

    def _seal_batch(self, frame: Frame, event: BatchSealed) -> None:
        self._batches.append(
            {
                "sequence": event.sequence,
                "status": BatchStatus.SEALED.value,
                "matched_at_s": event.matched_at_s,
                "sealed_at_ms": frame.time_ms,
                "head": event.head,
                "codes": event.codes,
                "n_operations": event.n_operations,
                "n_orders": event.n_orders,
                "n_fills": len(event.fill_ids),
                "payload_bytes": len(event.payload),
            }
        )
        # Codes start with the operations, in payload order.
        for operation_id, code in zip(event.operation_ids, event.codes, strict=False):
            if code:
                self._operation_codes[operation_id] = describe_code(code)

    # ----------------------------------------------------------------- write

    def write(self) -> None:
        """Write everything; the order keeps a row's insert before its updates."""
        connection = self._connection
        insert_missing(connection, AccountRow, list(self._accounts.values()))
        upsert(connection, OrderRow, [self._orders[order_id] for order_id in self._changed_orders])
        insert_missing(connection, FillRow, self._fills)
        insert_missing(connection, FundingRow, self._funding)
        execute_many(connection, _SET_FILL_CODE, self._fill_codes)
        insert_missing(connection, PriceRow, self._prices)
        self._candles.write(connection)
        for refused in self._fill_codes:
            self._candles.take_out(connection, refused["b_fill_id"])
        self._write_batches()
        upsert(connection, SessionKeyRow, [self._keys[named] for named in self._changed_keys])
        rejected = [row for row in self._transfers.values() if row["code"] is not None]
        accepted = [row for row in self._transfers.values() if row["code"] is None]
        insert_missing(connection, TransferRow, rejected)
        upsert(connection, TransferRow, accepted)
        self._write_operation_codes()

    def _write_batches(self) -> None:
        insert_missing(self._connection, BatchRow, self._batches)
        execute_many(self._connection, _CONFIRM_BATCH, self._confirmed)

    def _write_operation_codes(self) -> None:
        """Note what the chain's rule refused: a withdrawal, a link; a refused revocation did not happen."""
        codes, connection = self._operation_codes, self._connection
        transfers = [
            {"b_transfer_id": prefix + digest.hex(), "b_code": code}
            for digest, code in codes.items()
            for prefix in ("0x", "r")
        ]
        execute_many(connection, _SET_TRANSFER_CODE, transfers)
        execute_many(
            connection, _SET_LINK_CODE, [{"b_operation_id": digest, "b_code": code} for digest, code in codes.items()]
        )
        execute_many(connection, _UNDO_REVOCATION, [{"b_operation_id": digest} for digest in codes])


_SET_FILL_CODE: Final = (
    update(FillRow).where(FillRow.fill_id == bindparam("b_fill_id")).values(code=bindparam("b_code"))
)
_CONFIRM_BATCH: Final = (
    update(BatchRow)
    .where(
        BatchRow.sequence == bindparam("b_sequence"),
        # Not IN: many rows at once cannot expand it.
        BatchRow.status != BatchStatus.MINED.value,
        BatchRow.status != BatchStatus.FINAL.value,
    )
    .values(
        status=BatchStatus.MINED.value,
        transaction=bindparam("b_transaction"),
        block=bindparam("b_block"),
        gas_used=bindparam("b_gas_used"),
        mined_at_ms=bindparam("b_mined_at_ms"),
    )
)
_SET_TRANSFER_CODE: Final = (
    update(TransferRow).where(TransferRow.transfer_id == bindparam("b_transfer_id")).values(code=bindparam("b_code"))
)
_SET_LINK_CODE: Final = (
    update(SessionKeyRow)
    .where(SessionKeyRow.link_operation_id == bindparam("b_operation_id"))
    .values(link_code=bindparam("b_code"))
)
_UNDO_REVOCATION: Final = (
    update(SessionKeyRow)
    .where(SessionKeyRow.revoke_operation_id == bindparam("b_operation_id"))
    .values(revoke_operation_id=None, revoke_sequence=None, revoked_at_ms=None)
)


def _name_orders(event: Event) -> Iterator[bytes]:
    match event:
        case FillMatched():
            yield event.maker_order_id
            yield event.taker_order_id
        case OrderAccepted() | OrderRejected() | OrderTriggered() | OrderWaiting() | OrderReduced() | OrderCancelled():
            yield event.order_id


def _key_of(event: KeyLinked | KeyRevoked) -> tuple[bytes, bytes]:
    return account_bytes(event.account), event.key


def _split(keys: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (keys[start : start + _MAX_NAMED] for start in range(0, len(keys), _MAX_NAMED))
