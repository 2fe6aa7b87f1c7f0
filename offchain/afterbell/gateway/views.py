"""Turn what engine and read model answer into the shapes of the API, once for HTTP and stream alike.

Must not: compute anything the engine did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol, cast

from afterbell.domain.codes import describe_code
from afterbell.domain.events import FillMatched, OrderAccepted, OrderCancelled
from afterbell.domain.ids import (
    MAX_MARKETS,
    account_bytes,
    account_hex,
    address_hex,
    lane_of,
    owner_of,
    seq_of,
    subaccount_of,
)
from afterbell.domain.market import compute_band
from afterbell.domain.order import TimeInForce
from afterbell.domain.session import Session
from afterbell.domain.units import PPM, compute_notional_quote, div_toward_zero, lots_per_unit
from afterbell.engine.queries import AccountSummary, MarketView, OpenOrderView, PositionView
from afterbell.gateway.schemas import (
    AccountOut,
    BatchOut,
    CandleOut,
    FillOut,
    FillStatus,
    FundingPaymentOut,
    KeyOut,
    KeyStatusName,
    LevelOut,
    MarketOut,
    OrderOut,
    OrderStatusName,
    PositionOut,
    RulesOut,
    TimeInForceName,
    TradeOut,
    TransferKindName,
    TransferOut,
    TransferStatusName,
    TransferStepOut,
)
from afterbell.ports import Frame
from afterbell.readmodel.queries import BatchView, Candle, FillView, FundingView, KeyView, OrderView, TransferView

_N_ADDRESS_BYTES: Final = 20
SYNTHETIC_LABEL: Final = "SYNTHETIC PRICE"
TRUSTED_LABEL: Final = "TRUSTED PRICE"
"""Every source of this instance is run by its operator (DESIGN §3, "Prices")."""


def to_hex(digest: bytes | None) -> str | None:
    """Return "0x" and hex digits."""
    return None if digest is None else "0x" + digest.hex()


def time_in_force_name(time_in_force: int) -> TimeInForceName:
    """Return the word of the API."""
    return cast(TimeInForceName, TimeInForce(time_in_force).name)


def session_name(session: int) -> str:
    """Return the word of the API."""
    return Session(session).name


def build_market(view: MarketView, *, day_ago_ticks: int | None) -> MarketOut:
    """Show one market. `day_ago_ticks`: mark 24 hours of venue time ago."""
    band: tuple[int, int] | None = None
    if view.band_ppm and view.external_ticks:
        band = compute_band(view.external_ticks, view.band_ppm)
    has_rules = view.size_step_lots > 0
    change_ticks = None if not day_ago_ticks or not view.mark_ticks else view.mark_ticks - day_ago_ticks
    change_ppm = None
    if change_ticks is not None and day_ago_ticks:
        change_ppm = div_toward_zero(change_ticks * PPM, day_ago_ticks)
    return MarketOut(
        market=view.market,
        symbol=view.symbol,
        epoch=view.epoch,
        lot_exponent=view.lot_exponent,
        lots_per_share=lots_per_unit(view.lot_exponent),
        ticks_per_usd=view.ticks_per_usd,
        session=session_name(view.session),
        mark_ticks=view.mark_ticks,
        index_ticks=view.index_ticks,
        external_ticks=view.external_ticks,
        external_time_s=view.external_time_s,
        is_fresh=view.is_fresh,
        band_low_ticks=None if band is None else band[0],
        band_high_ticks=None if band is None else band[1],
        best_bid_ticks=view.best_bid_ticks,
        best_ask_ticks=view.best_ask_ticks,
        open_interest_lots=view.open_interest_lots,
        change_ticks=change_ticks,
        change_ppm=change_ppm,
        is_synthetic=view.synthetic,
        label=SYNTHETIC_LABEL if view.synthetic else TRUSTED_LABEL,
        is_halted=view.is_halted,
        halt_reason=view.halt_reason,
        rules=_build_rules(view) if has_rules else None,
    )


def _build_rules(view: MarketView) -> RulesOut:
    return RulesOut(
        initial_margin_ppm=view.initial_margin_ppm,
        maintenance_margin_ppm=view.maintenance_margin_ppm,
        band_ppm=view.band_ppm,
        max_age_s=view.max_age_s,
        open_interest_cap_lots=view.open_interest_cap_lots,
        size_step_lots=view.size_step_lots,
        price_step_ticks=view.price_step_ticks,
        min_notional_quote=str(view.min_notional_quote),
        max_fee_ppm=view.max_fee_ppm,
        taker_fee_ppm=view.taker_fee_ppm,
        maker_fee_ppm=view.maker_fee_ppm,
        is_opening_allowed=view.is_opening_allowed,
    )


def build_levels(levels: Iterable[object]) -> list[LevelOut]:
    """Show aggregated levels of engine.queries or engine.book_view."""
    return [LevelOut.model_validate(level, from_attributes=True) for level in levels]


def build_account(summary: AccountSummary, symbols: Mapping[int, str], *, sequence: int) -> AccountOut:
    """Show the money and positions of one account."""
    return AccountOut(
        account=account_hex(summary.account),
        owner=address_hex(owner_of(summary.account)),
        subaccount=str(subaccount_of(summary.account)),
        is_known=summary.is_known,
        collateral_quote=str(summary.collateral_quote),
        equity_quote=str(summary.equity_quote),
        unrealised_pnl_quote=str(summary.unrealised_pnl_quote),
        pending_funding_quote=str(summary.pending_funding_quote),
        initial_margin_quote=str(summary.initial_margin_quote),
        maintenance_margin_quote=str(summary.maintenance_margin_quote),
        order_margin_quote=str(summary.order_margin_quote),
        free_quote=str(summary.free_collateral_quote),
        withdrawable_quote=str(summary.withdrawable_quote),
        health_ppm=summary.health_ppm,
        is_stale=summary.is_stale,
        n_open_orders=summary.n_open_orders,
        sequence=sequence,
        positions=[build_position(position, symbols) for position in summary.positions],
    )


def build_position(view: PositionView, symbols: Mapping[int, str]) -> PositionOut:
    """Show one position."""
    return PositionOut(
        market=view.market,
        symbol=symbols[view.market],
        size_lots=view.size_lots,
        entry_quote=str(view.entry_quote),
        entry_ticks=view.entry_price_ticks,
        mark_ticks=view.mark_ticks,
        notional_quote=str(compute_notional_quote(view.size_lots, view.mark_ticks)),
        unrealised_pnl_quote=str(view.unrealised_pnl_quote),
        pending_funding_quote=str(view.pending_funding_quote),
        initial_margin_quote=str(view.initial_margin_quote),
        maintenance_margin_quote=str(view.maintenance_margin_quote),
        liquidation_price_ticks=view.liquidation_price_ticks,
    )


def build_fill(view: FillView, role: Literal["maker", "taker"], symbols: Mapping[int, str]) -> FillOut:
    """Show one fill from one of its two sides."""
    is_maker = role == "maker"
    return FillOut(
        fill_id=view.fill_id,
        order_id="0x" + (view.maker_order_id if is_maker else view.taker_order_id).hex(),
        account="0x" + (view.maker_account if is_maker else view.taker_account).hex(),
        market=view.market,
        symbol=symbols[view.market],
        role=role,
        is_buy=view.taker_is_buy != is_maker,
        price_ticks=view.price_ticks,
        size_lots=view.size_lots,
        notional_quote=str(compute_notional_quote(view.size_lots, view.price_ticks)),
        fee_quote=str(view.maker_fee_quote if is_maker else view.taker_fee_quote),
        funding_quote=str(view.maker_funding_quote if is_maker else view.taker_funding_quote),
        time_ms=view.time_ms,
        sequence=view.sequence,
        status=cast(FillStatus, view.status),
        code=None if view.code is None else describe_code(view.code),
        transaction=to_hex(view.transaction),
        block=view.block,
    )


def build_account_fills(views: Iterable[FillView], account: bytes, symbols: Mapping[int, str]) -> list[FillOut]:
    """Show fills from the side of an account; both sides where it met itself."""
    fills = []
    for view in views:
        if view.taker_account == account:
            fills.append(build_fill(view, "taker", symbols))
        if view.maker_account == account:
            fills.append(build_fill(view, "maker", symbols))
    return fills


def build_order_fills(views: Iterable[FillView], order_id: bytes, symbols: Mapping[int, str]) -> list[FillOut]:
    """Show fills from the side of an order."""
    return [build_fill(view, "maker" if view.maker_order_id == order_id else "taker", symbols) for view in views]


def build_matched_fill(event: FillMatched, time_ms: int) -> FillView:
    """Show a fill that has just been matched, before the read model has it."""
    return FillView(
        fill_id=event.fill_id,
        sequence=event.sequence,
        market=event.market,
        price_ticks=event.price_ticks,
        size_lots=event.size_lots,
        maker_order_id=event.maker_order_id,
        taker_order_id=event.taker_order_id,
        maker_account=account_bytes(event.maker_account),
        taker_account=account_bytes(event.taker_account),
        taker_is_buy=event.taker_is_buy,
        maker_fee_quote=event.maker_fee_quote,
        taker_fee_quote=event.taker_fee_quote,
        maker_funding_quote=event.maker_funding_quote,
        taker_funding_quote=event.taker_funding_quote,
        time_ms=time_ms,
        status="matched",
        code=None,
        transaction=None,
        block=None,
    )


def build_trade(view: FillView, symbols: Mapping[int, str]) -> TradeOut:
    """Show a fill to everybody."""
    return TradeOut(
        fill_id=view.fill_id,
        symbol=symbols[view.market],
        price_ticks=view.price_ticks,
        size_lots=view.size_lots,
        taker_is_buy=view.taker_is_buy,
        time_ms=view.time_ms,
        sequence=view.sequence,
    )


class _OrderFields(Protocol):
    """What engine, event and read model call the same of an order."""

    @property
    def order_id(self) -> bytes: ...
    @property
    def market(self) -> int: ...
    @property
    def is_buy(self) -> bool: ...
    @property
    def size_lots(self) -> int: ...
    @property
    def limit_ticks(self) -> int: ...
    @property
    def filled_lots(self) -> int: ...
    @property
    def nonce(self) -> int: ...
    @property
    def time_in_force(self) -> int: ...
    @property
    def reduce_only(self) -> bool: ...
    @property
    def post_only(self) -> bool: ...
    @property
    def expiry_s(self) -> int: ...
    @property
    def max_fee_ppm(self) -> int: ...
    @property
    def trigger_ticks(self) -> int: ...
    @property
    def trigger_kind(self) -> int: ...
    @property
    def signer(self) -> bytes: ...
    @property
    def client_id(self) -> str: ...


def _build_order_out(
    fields: _OrderFields,
    symbols: Mapping[int, str],
    *,
    account: bytes,
    status: str,
    remaining_lots: int,
    times_ms: tuple[int, int],
    reason: str | None = None,
    amends: bytes | None = None,
    partner_id: bytes | None = None,
    fills: Sequence[FillOut] = (),
    is_repeat: bool = False,
) -> OrderOut:
    """Show an order, wherever it comes from. times_ms: placed, updated."""
    return OrderOut(
        order_id="0x" + fields.order_id.hex(),
        account="0x" + account.hex(),
        market=fields.market,
        symbol=symbols.get(fields.market, ""),
        is_buy=fields.is_buy,
        size_lots=fields.size_lots,
        limit_ticks=fields.limit_ticks,
        filled_lots=fields.filled_lots,
        remaining_lots=remaining_lots,
        status=cast(OrderStatusName, status),
        reason=reason,
        nonce=str(fields.nonce),
        lane=lane_of(fields.nonce),
        seq_ms=seq_of(fields.nonce),
        time_in_force=time_in_force_name(fields.time_in_force),
        reduce_only=fields.reduce_only,
        post_only=fields.post_only,
        expiry_s=fields.expiry_s,
        max_fee_ppm=fields.max_fee_ppm,
        trigger_ticks=fields.trigger_ticks,
        trigger_kind=fields.trigger_kind,
        signer=address_hex(fields.signer or account[:_N_ADDRESS_BYTES]),
        amends=to_hex(amends or None),
        oco_order_id=to_hex(partner_id or None),
        client_id=fields.client_id,
        placed_at_ms=times_ms[0],
        updated_at_ms=times_ms[1],
        is_repeat=is_repeat,
        fills=list(fills),
    )


def build_order(
    view: OrderView, fills: Sequence[FillOut], symbols: Mapping[int, str], *, is_repeat: bool = False
) -> OrderOut:
    """Show one order of the read model."""
    return _build_order_out(
        view,
        symbols,
        account=view.account,
        status=view.status,
        remaining_lots=view.remaining_lots,
        times_ms=(view.placed_at_ms, view.updated_at_ms),
        reason=view.reason,
        amends=view.amends,
        partner_id=view.oco_order_id,
        fills=fills,
        is_repeat=is_repeat,
    )


def build_open_order(view: OpenOrderView, symbols: Mapping[int, str]) -> OrderOut:
    """Show one live order of the engine; its fills and what it replaced are told by /v1/orders/{order_id}."""
    return _build_order_out(
        view,
        symbols,
        account=account_bytes(view.account),
        status="WAITING" if view.is_waiting else "OPEN",
        remaining_lots=view.remaining_lots,
        times_ms=(view.accepted_ms, view.accepted_ms),
        partner_id=view.partner_id,
    )


def build_accepted_order(
    event: OrderAccepted,
    *,
    cancelled: OrderCancelled | None,
    live: OpenOrderView | None,
    fills: Sequence[FillOut],
    frame: Frame,
    symbols: Mapping[int, str],
) -> OrderOut:
    """Show an order right after it was applied. `live`: what the engine holds of it now, if anything."""
    status = "WAITING" if event.is_waiting else "OPEN"
    if cancelled is not None:
        status = "CANCELLED"
    elif event.filled_lots >= event.size_lots:
        status = "FILLED"
    is_live = status in ("OPEN", "WAITING")
    remaining_lots = event.size_lots - event.filled_lots if event.is_waiting else event.resting_lots
    return _build_order_out(
        event,
        symbols,
        account=account_bytes(event.account),
        status=status,
        remaining_lots=remaining_lots if is_live else 0,
        times_ms=(frame.time_ms, frame.time_ms),
        reason=None if cancelled is None else cancelled.reason,
        amends=event.amends,
        partner_id=None if live is None else live.partner_id,
        fills=fills,
    )


def build_batch(view: BatchView) -> BatchOut:
    """Show one batch."""
    return BatchOut(
        sequence=view.sequence,
        status=cast(Literal["sealed", "submitted", "mined", "final"], view.status),
        matched_at_s=view.matched_at_s,
        sealed_at_ms=view.sealed_at_ms,
        head="0x" + view.head.hex(),
        n_operations=view.n_operations,
        n_orders=view.n_orders,
        n_fills=view.n_fills,
        n_failures=sum(1 for code in view.codes if code),
        codes="0x" + view.codes.hex(),
        payload_bytes=view.payload_bytes,
        transaction=to_hex(view.transaction),
        block=view.block,
        gas_used=view.gas_used,
    )


def build_transfer(view: TransferView) -> TransferOut:
    """Show collateral that came or went."""
    return TransferOut(
        transfer_id=view.transfer_id,
        account="0x" + view.account.hex(),
        kind=cast(TransferKindName, view.kind),
        quote=str(view.quote),
        status=cast(TransferStatusName, view.status),
        counterparty=address_hex(view.counterparty),
        other_account=to_hex(view.other_account),
        time_ms=view.time_ms,
        sequence=view.sequence,
        transaction=to_hex(view.transaction),
        block=view.block,
        paid_transaction=to_hex(view.paid_transaction),
        code=view.code,
        steps=list(_build_steps(view)),
    )


def _build_steps(view: TransferView) -> Iterator[TransferStepOut]:
    """Yield the steps behind a transfer, in order; a refused one ends where it was refused."""
    transaction, block = to_hex(view.transaction), view.block
    if view.kind == "deposit":
        yield TransferStepOut(status="credited", transaction=transaction, block=block, time_ms=view.time_ms)
        return
    if view.kind == "exit":
        yield TransferStepOut(status="mined", transaction=transaction, block=block, time_ms=view.time_ms)
        yield TransferStepOut(status="claimable", transaction=transaction, block=block, time_ms=None)
        if view.status == "paid":
            yield _build_paid_step(view)
        return
    if view.status == "rejected" and view.sequence is None:
        yield TransferStepOut(status="rejected", transaction=None, block=None, time_ms=view.time_ms)
        return
    yield TransferStepOut(status="accepted", transaction=None, block=None, time_ms=view.time_ms)
    if view.sealed_at_ms is not None:
        yield TransferStepOut(status="sealed", transaction=None, block=None, time_ms=view.sealed_at_ms)
    if transaction is not None:
        yield TransferStepOut(status="submitted", transaction=transaction, block=None, time_ms=None)
    if block is not None:
        yield TransferStepOut(status="mined", transaction=transaction, block=block, time_ms=view.mined_at_ms)
    if view.status == "rejected":
        yield TransferStepOut(status="rejected", transaction=transaction, block=block, time_ms=view.sealed_at_ms)
    if view.status in ("claimable", "paid"):
        yield TransferStepOut(status="claimable", transaction=transaction, block=block, time_ms=None)
    if view.status == "final":
        yield TransferStepOut(status="final", transaction=transaction, block=block, time_ms=None)
    if view.status == "paid":
        yield _build_paid_step(view)


def _build_paid_step(view: TransferView) -> TransferStepOut:
    return TransferStepOut(
        status="paid", transaction=to_hex(view.paid_transaction), block=view.paid_block, time_ms=None
    )


def build_funding_payment(view: FundingView, symbols: Mapping[int, str]) -> FundingPaymentOut:
    """Show one funding payment."""
    return FundingPaymentOut(
        market=view.market,
        symbol=symbols[view.market],
        quote=str(view.quote),
        fill_id=view.fill_id,
        time_ms=view.time_ms,
        sequence=view.sequence,
        direct_op=view.direct_op,
    )


def build_key(view: KeyView, now_s: int) -> KeyOut:
    """Show one session key; whether it has expired depends on venue time."""
    status: KeyStatusName = "active"
    if view.link_code is not None:
        status = "rejected"
    elif view.revoked_at_ms is not None:
        status = "revoked"
    elif now_s > view.expiry_s:
        status = "expired"
    elif view.link_operation_id is not None and view.link_batch_status not in ("mined", "final"):
        status = "linking"
    return KeyOut(
        account="0x" + view.account.hex(),
        key=address_hex(view.key),
        status=status,
        key_expiry_s=view.expiry_s,
        max_notional_quote=str(view.max_notional_quote),
        markets=[market for market in range(1, MAX_MARKETS + 1) if view.markets >> (market - 1) & 1],
        trade_only=view.trade_only,
        reduce_only=view.reduce_only,
        operation_id=to_hex(view.link_operation_id),
        sequence=view.link_sequence,
        transaction=to_hex(view.link_transaction),
        block=view.link_block,
        linked_at_ms=view.linked_at_ms,
        revoked_at_ms=view.revoked_at_ms,
        revocation_id=to_hex(view.revoke_operation_id),
        revocation_sequence=view.revoke_sequence,
        revocation_transaction=to_hex(view.revoke_transaction),
        code=view.link_code,
    )


def build_candle(candle: Candle) -> CandleOut:
    """Show one candle."""
    return CandleOut(
        time_s=candle.time_s,
        open_ticks=candle.open_ticks,
        high_ticks=candle.high_ticks,
        low_ticks=candle.low_ticks,
        close_ticks=candle.close_ticks,
        volume_lots=candle.volume_lots,
        volume_quote=str(candle.volume_quote),
        n_trades=candle.n_trades,
    )
