"""Random batches for the machine: mostly sensible trading between its actors, with one flaw of any kind now and then.

The sequencer of this module is free: it picks orders, fills, prices, premiums and operations as it likes. What users
sign is random but theirs. Every flaw that has a status code is here, so that a run reaches every code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from afterbell.domain.batch import (
    OPERATION_APPROVED,
    OPERATION_SESSION_KEY,
    AccountRecord,
    BatchHeader,
    FillRow,
    OperationRow,
    OrderRecord,
    Payload,
    PriceRow,
    build_liquidation_record,
    build_operation_row,
    build_order_record,
)
from afterbell.domain.digests import build_proof, build_tree, hash_order
from afterbell.domain.evidence import join_sections
from afterbell.domain.order import (
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
)
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import OrderTree, digest

DAY_S: Final = 86_400
MAX_EXPIRY_S: Final = 30 * DAY_S
LIQUIDATION_LANE: Final = 65_534
OPERATION_LANE: Final = 65_535


@dataclass(slots=True)
class Planned:
    """An order on its way into a batch."""

    account: int
    record: OrderRecord


@dataclass(slots=True)
class Trader:
    """An owner with its keys."""

    key: SigningKey
    session: SigningKey
    accounts: tuple[int, ...]


@dataclass(slots=True)
class Desk:
    """What making batches needs to know. `state` answers questions about words; see system.System."""

    random: Random
    traders: list[Trader]
    domain: bytes
    genesis_s: int
    seq: int = 1_000
    pool: list[Planned] = field(default_factory=list)
    nonces: list[int] = field(default_factory=list)

    def next_seq(self, time_s: int) -> int:
        """Return a seq later than any before: milliseconds since genesis, now at the latest."""
        self.seq = max(self.seq + 1, (time_s - self.genesis_s) * 1_000 - 10_000)
        return self.seq

    def trader_of(self, account: int) -> Trader:
        return next(trader for trader in self.traders if account in trader.accounts)


def make_order(
    desk: Desk,
    account: int,
    *,
    market: int,
    is_buy: bool,
    lots: int,
    mark: int,
    epoch: int,
    time_s: int,
    is_taker: bool,
) -> Planned:
    """Return a signed order that could trade, sometimes with one flaw."""
    rng = desk.random
    trader = desk.trader_of(account)
    slack = max(1, mark // 50)
    limit = mark + (slack if is_buy else -slack) if is_taker else mark + rng.randint(-slack // 4, slack // 4)
    limit = max(5, limit // 5 * 5)
    order = Order(
        owner=trader.key.address,
        subaccount=account & (1 << 80) - 1,
        market_id=market,
        epoch=epoch,
        is_buy=is_buy,
        size_lots=max(10, lots // 10 * 10),
        limit_ticks=limit,
        max_fee_ppm=500,
        expiry_s=time_s + rng.randint(60, 3_600),
        lane=rng.choice((0, 0, 1, 2, 3)),
        seq=desk.next_seq(time_s),
        time_in_force=TimeInForce.IOC if is_taker and rng.random() < 0.7 else TimeInForce.GTC,
        reduce_only=rng.random() < 0.08,
        post_only=not is_taker and rng.random() < 0.3,
    )
    flaw = rng.choice(_ORDER_FLAWS) if rng.random() < 0.06 else None
    options: dict[str, Any] = {}
    if flaw is not None:
        order, options = flaw(desk, order, mark, time_s)
    signer = trader.key
    is_by_key = options.pop("session_key", account == trader.accounts[0] and rng.random() < 0.1)
    if is_by_key:
        signer = trader.session
    signer = options.pop("signer", signer)
    changes = options.pop("record", {})
    proof: tuple[bytes, ...] | None = None
    if rng.random() < 0.08:
        leaves = [hash_order(order), *(rng.randbytes(32) for _ in range(rng.choice((0, 1, 2, 4))))]
        levels = build_tree(leaves)
        proof = build_proof(levels, 0)
        if rng.random() < 0.1 and proof:
            proof = (*proof[:-1], rng.randbytes(32))
        r, vs = signer.sign(digest(OrderTree(root=levels[-1][0]), desk.domain))
    else:
        r, vs = signer.sign(digest(order, desk.domain))
    record = build_order_record(
        SignedOrder(order=order, r=r, vs=vs, proof=proof),
        maker_fee_ppm=100,
        taker_fee_ppm=450,
        session_key=is_by_key,
        previous_epoch=options.pop("previous_epoch", False),
    )
    return Planned(account, replace(record, **changes))


Flaw = Callable[[Desk, Order, int, int], tuple[Order, dict[str, Any]]]


def _record(**changes: Any) -> Flaw:
    return lambda desk, order, mark, time_s: (order, {"record": changes})


_ORDER_FLAWS: Final[tuple[Flaw, ...]] = (
    lambda desk, order, mark, time_s: (replace(order, expiry_s=time_s - 400), {}),
    lambda desk, order, mark, time_s: (replace(order, expiry_s=time_s + MAX_EXPIRY_S + 500), {}),
    lambda desk, order, mark, time_s: (replace(order, size_lots=order.size_lots + 3), {}),
    lambda desk, order, mark, time_s: (replace(order, size_lots=10, limit_ticks=5), {}),
    lambda desk, order, mark, time_s: (replace(order, size_lots=0), {}),
    lambda desk, order, mark, time_s: (replace(order, size_lots=10**10), {}),
    lambda desk, order, mark, time_s: (replace(order, max_fee_ppm=50), {}),
    lambda desk, order, mark, time_s: (replace(order, seq=1), {}),
    lambda desk, order, mark, time_s: (replace(order, market_id=20), {}),
    lambda desk, order, mark, time_s: (replace(order, epoch=order.epoch + 1), {}),
    lambda desk, order, mark, time_s: (
        replace(order, epoch=max(1, order.epoch - 1), reduce_only=True),
        {"previous_epoch": True},
    ),
    lambda desk, order, mark, time_s: (replace(order, epoch=max(1, order.epoch - 1)), {"previous_epoch": True}),
    lambda desk, order, mark, time_s: (
        replace(order, trigger_kind=TriggerKind.MARK_AT_OR_ABOVE, trigger_ticks=mark * 2),
        {},
    ),
    lambda desk, order, mark, time_s: (
        replace(order, trigger_kind=TriggerKind.INDEX_AT_OR_BELOW, trigger_ticks=mark + 50),
        {},
    ),
    lambda desk, order, mark, time_s: (order, {"signer": desk.random.choice(desk.traders).key}),
    lambda desk, order, mark, time_s: (
        order,
        {"session_key": True, "signer": desk.random.choice(desk.traders).session},
    ),
    lambda desk, order, mark, time_s: (replace(order, size_lots=2_000_000), {"session_key": True}),
    lambda desk, order, mark, time_s: (replace(order, lane=LIQUIDATION_LANE), {}),
    _record(r=bytes(32)),
    _record(flags=1 << 15),
)


def make_operation(desk: Desk, account: int, *, time_s: int, collateral_quote: int, vault: bytes) -> OperationRow:
    """Return an operation of an account, sometimes wrong."""
    rng = desk.random
    trader = desk.trader_of(account)
    common: dict[str, Any] = {
        "owner": trader.key.address,
        "subaccount": account & (1 << 80) - 1,
        "expiry_s": time_s
        + (rng.choice((60, 3_600)) if rng.random() < 0.9 else rng.choice((-400, MAX_EXPIRY_S + 900))),
        "seq": desk.next_seq(time_s) if rng.random() < 0.9 else 1,
    }
    quote = rng.choice((0, 1, max(0, collateral_quote), max(1, collateral_quote // 4), 10**6))
    message: Operation
    kind = rng.randrange(6)
    if kind == 0:
        recipient = rng.choice(
            (trader.key.address, trader.key.address, rng.choice(desk.traders).key.address, bytes(20), vault)
        )
        message = Withdraw(quote=quote, recipient=recipient, **common)
    elif kind == 1:
        nonce = rng.choice(desk.nonces) if desk.nonces and rng.random() < 0.8 else OPERATION_LANE << 40 | 5
        message = CancelOrder(order_nonce=nonce, **common)
    elif kind == 2:
        message = CancelAll(min_seq=desk.seq - rng.randint(0, 5), **common)
    elif kind == 3:
        to_subaccount = rng.choice([other & (1 << 80) - 1 for other in trader.accounts])
        message = Transfer(quote=quote, to_subaccount=to_subaccount, **common)
    elif kind == 4:
        message = LinkKey(
            key=rng.choice((trader.session.address, trader.session.address, bytes(20))),
            key_expiry_s=time_s + 10 * DAY_S,
            max_notional_quote=10**10,
            markets=0b1111,
            trade_only=rng.random() < 0.5,
            reduce_only=rng.random() < 0.2,
            **common,
        )
    else:
        message = RevokeKey(key=rng.choice(desk.traders if rng.random() < 0.8 else [trader]).session.address, **common)
    flags = 0
    signer = trader.key
    if rng.random() < 0.15:
        flags, signer = OPERATION_SESSION_KEY, trader.session
    elif rng.random() < 0.05:
        flags = OPERATION_APPROVED
    elif rng.random() < 0.05:
        signer = rng.choice(desk.traders).key
    r, vs = signer.sign(digest(message, desk.domain))
    row = build_operation_row(message, r=r, vs=vs, flags=flags)
    return replace(row, kind=9) if rng.random() < 0.03 else row


def make_liquidation(
    desk: Desk, account: int, *, market: int, lots: int, sequence: int, mark: int, time_s: int
) -> Planned:
    """Return a liquidation order of an account, whether or not it may be liquidated."""
    rng = desk.random
    worst = mark - mark // 100 if lots > 0 else mark + mark // 100
    record = build_liquidation_record(
        market_id=market,
        is_buy=lots < 0,
        sequence=sequence,
        size_lots=max(10, abs(lots) // rng.choice((1, 1, 2, 4)) // 10 * 10),
        limit_ticks=max(5, worst // 5 * 5 + (5 if lots > 0 else 0)),
        fee_ppm=rng.choice((0, 450, 1_000, 2_000)),
        expiry_s=time_s + 600,
    )
    return Planned(account, record)


def assemble(
    planned: list[Planned],
    pairs: list[tuple[int, int, int]],
    *,
    header: BatchHeader,
    rows: tuple[PriceRow, ...],
    sections: list[bytes],
    operations: tuple[OperationRow, ...],
) -> Payload:
    """Return the batch: accounts ascending, their orders by lane, fills renumbered."""
    order_of = sorted(range(len(planned)), key=lambda place: (planned[place].account, planned[place].record.lane))
    number = {place: index for index, place in enumerate(order_of)}
    accounts: dict[int, list[OrderRecord]] = {}
    for place in order_of:
        accounts.setdefault(planned[place].account, []).append(planned[place].record)
    return Payload(
        header=header,
        fills=tuple(FillRow(maker_order=number[m], taker_order=number[t], size_lots=lots) for m, t, lots in pairs),
        rows=rows,
        evidence=join_sections(sections),
        operations=operations,
        accounts=tuple(AccountRecord(account_id=account, orders=tuple(orders)) for account, orders in accounts.items()),  # type: ignore[arg-type]
    )
