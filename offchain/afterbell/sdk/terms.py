"""Terms: what a caller asks for, in the caller's units, before it is signed.

    OrderTerms.limit("AAPL", "BUY", "1.5", "189.50", post_only=True)
    OrderTerms.stop("AAPL", "SELL", "1.5", "180", max_slippage="0.02")

An int is lots or ticks, a Decimal or text is shares or USD; a float is refused. Must not: know a venue or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.domain.units import PPM
from afterbell.sdk.values import Market, read_atoms

SideName: TypeAlias = Literal["BUY", "SELL"]
TimeInForceName: TypeAlias = Literal["GTC", "GTT", "IOC", "FOK"]
PriceKind: TypeAlias = Literal["mark", "index"]
Size: TypeAlias = Decimal | int | str
"""An int is lots; a Decimal or text is shares."""
Price: TypeAlias = Decimal | int | str
"""An int is ticks; a Decimal or text is USD."""
Slippage: TypeAlias = Decimal | int | str
"""An int is ppm (5_000 = 0.5 %); a Decimal or text is a fraction ("0.005" = 0.5 %)."""
Amount: TypeAlias = Decimal | str
"""USDC; an exact number of quote units (1e-6 USDC) goes into `quote=` instead."""

DEFAULT_LIFETIME_S: Final = 86_400
DEFAULT_KEY_LIFETIME_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The condition under which an order acts; part of what is signed, checked by the chain too."""

    price: Price
    is_above: bool
    """True: acts at this price or higher; False: at this price or lower."""
    kind: PriceKind = "mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """One order as its sender means it. Build it with one of the functions below.

    price: worst price, or None with max_slippage: then it is that far from the trigger's price, or from the mark when
    the order is signed, never worse after rounding. lifetime_s: venue seconds until it expires, at most 30 days;
    expiry_s sets the venue second itself. lane: by default one nobody else uses.
    """

    symbol: str
    side: SideName
    size: Size
    price: Price | None
    max_slippage: Slippage | None = None
    time_in_force: TimeInForceName = "GTC"
    post_only: bool = False
    reduce_only: bool = False
    trigger: Trigger | None = None
    lifetime_s: int = DEFAULT_LIFETIME_S
    expiry_s: int | None = None
    max_fee_ppm: int | None = None
    client_id: str = ""
    lane: int | None = None

    @classmethod
    def limit(
        cls,
        symbol: str,
        side: SideName,
        size: Size,
        price: Price,
        *,
        post_only: bool = False,
        reduce_only: bool = False,
        lifetime_s: int = DEFAULT_LIFETIME_S,
        client_id: str = "",
        lane: int | None = None,
    ) -> OrderTerms:
        """Return an order that rests until it is filled, cancelled or expired."""
        return cls(
            symbol=symbol, side=side, size=size, price=price, post_only=post_only, reduce_only=reduce_only,
            lifetime_s=lifetime_s, client_id=client_id, lane=lane,
        )  # fmt: skip

    @classmethod
    def market(
        cls,
        symbol: str,
        side: SideName,
        size: Size,
        *,
        worst_price: Price | None = None,
        max_slippage: Slippage | None = None,
        reduce_only: bool = False,
        client_id: str = "",
    ) -> OrderTerms:
        """Return an order that fills what it can at once, at worst_price or better, and gives up the rest."""
        must_be_one(worst_price, max_slippage, "worst_price", "max_slippage")
        return cls(
            symbol=symbol, side=side, size=size, price=worst_price, max_slippage=max_slippage, time_in_force="IOC",
            reduce_only=reduce_only, client_id=client_id,
        )  # fmt: skip

    @classmethod
    def stop(
        cls,
        symbol: str,
        side: SideName,
        size: Size,
        trigger_price: Price,
        *,
        price: Price | None = None,
        worst_price: Price | None = None,
        max_slippage: Slippage | None = None,
        on: PriceKind = "mark",
        reduce_only: bool = True,
        lifetime_s: int = 30 * 86_400,
        client_id: str = "",
    ) -> OrderTerms:
        """Return an order that acts when the price goes against a position: SELL at or below, BUY at or above.

        price: then it rests at that limit; worst_price or max_slippage: then it takes what there is, once. Exactly one.
        """
        return cls._triggered(
            symbol, side, size, Trigger(price=trigger_price, is_above=side == "BUY", kind=on),
            price=price, worst_price=worst_price, max_slippage=max_slippage, reduce_only=reduce_only,
            lifetime_s=lifetime_s, client_id=client_id,
        )  # fmt: skip

    @classmethod
    def take_profit(
        cls,
        symbol: str,
        side: SideName,
        size: Size,
        trigger_price: Price,
        *,
        price: Price | None = None,
        worst_price: Price | None = None,
        max_slippage: Slippage | None = None,
        on: PriceKind = "mark",
        reduce_only: bool = True,
        lifetime_s: int = 30 * 86_400,
        client_id: str = "",
    ) -> OrderTerms:
        """Return an order that acts when the price favours a position: SELL at or above, BUY at or below."""
        return cls._triggered(
            symbol, side, size, Trigger(price=trigger_price, is_above=side == "SELL", kind=on),
            price=price, worst_price=worst_price, max_slippage=max_slippage, reduce_only=reduce_only,
            lifetime_s=lifetime_s, client_id=client_id,
        )  # fmt: skip

    @classmethod
    def _triggered(
        cls,
        symbol: str,
        side: SideName,
        size: Size,
        trigger: Trigger,
        *,
        price: Price | None,
        worst_price: Price | None,
        max_slippage: Slippage | None,
        reduce_only: bool,
        lifetime_s: int,
        client_id: str,
    ) -> OrderTerms:
        if price is None:
            must_be_one(worst_price, max_slippage, "price, worst_price", "max_slippage")
        elif worst_price is not None or max_slippage is not None:
            raise TypeError("give one of price, worst_price and max_slippage, found price and another")
        return cls(
            symbol=symbol, side=side, size=size, price=worst_price if price is None else price,
            max_slippage=max_slippage, time_in_force="IOC" if price is None else "GTC", reduce_only=reduce_only,
            trigger=trigger, lifetime_s=lifetime_s, client_id=client_id,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTerms:
    """What a session key may do. Exactly one of max_notional (USDC, as text or Decimal) and max_notional_quote.

    key: its address. max_notional: the most one order may be worth, at the worst of limit, mark and external price.
    markets: symbols, None for all that are listed now. trade_only: else it may also withdraw, to the owner alone.
    lifetime_s: venue seconds, at most 180 days; expiry_s sets the venue second itself.
    """

    key: str
    max_notional: Amount | None = None
    max_notional_quote: int | None = None
    markets: tuple[str, ...] | None = None
    trade_only: bool = True
    reduce_only: bool = False
    lifetime_s: int = DEFAULT_KEY_LIFETIME_S
    expiry_s: int | None = None


def must_be_one(first: object, second: object, first_name: str, second_name: str) -> None:
    """Raise TypeError unless exactly one of two is given."""
    if (first is None) == (second is None):
        found = "neither" if first is None else "both"
        raise TypeError(f"give exactly one of {first_name} and {second_name}, found {found}")


def read_side(side: str) -> bool:
    """Return whether the side buys. Raises: ValueError."""
    if side not in ("BUY", "SELL"):
        raise ValueError(f"side must be BUY or SELL, found {side!r}")
    return side == "BUY"


def read_time_in_force(name: str) -> TimeInForce:
    """Return the value of a name. Raises: ValueError."""
    try:
        return TimeInForce[name]
    except KeyError:
        raise ValueError(f"time_in_force must be GTC, GTT, IOC or FOK, found {name!r}") from None


def read_slippage_ppm(slippage: Slippage) -> int:
    """Return ppm of an int of ppm or a fraction. Raises: TypeError for a float, ValueError outside [0, 100 %]."""
    ppm = read_atoms(slippage, PPM, "max_slippage is ppm as int or a fraction as Decimal or text, in steps of 1 ppm")
    if not 0 <= ppm <= PPM:
        raise ValueError(f"max_slippage must be between 0 and 1 (0 to {PPM} ppm), found {ppm} ppm")
    return ppm


def read_trigger(trigger: Trigger | None, market: Market) -> tuple[TriggerKind, int]:
    """Return kind and price in ticks, NONE and 0 without a trigger. Raises: ValueError."""
    if trigger is None:
        return TriggerKind.NONE, 0
    if trigger.kind not in ("mark", "index"):
        raise ValueError(f"a trigger watches mark or index, found {trigger.kind!r}")
    kinds = {
        ("mark", True): TriggerKind.MARK_AT_OR_ABOVE,
        ("mark", False): TriggerKind.MARK_AT_OR_BELOW,
        ("index", True): TriggerKind.INDEX_AT_OR_ABOVE,
        ("index", False): TriggerKind.INDEX_AT_OR_BELOW,
    }
    return kinds[trigger.kind, trigger.is_above], market.to_ticks(trigger.price)


def compute_worst_ticks(market: Market, reference_ticks: int, *, is_buy: bool, slippage_ppm: int) -> int:
    """Return the limit that is at most `slippage_ppm` worse than the reference: a step of the market, inside its band.

    Rounding: a buyer's down, a seller's up, so that no fill is worse than asked for. Fills outside the band are
    impossible, so a limit beyond it is moved to its edge.
    """
    step_ticks = 1 if market.rules is None else market.rules.price_step_ticks
    if is_buy:
        worst_ticks = reference_ticks * (PPM + slippage_ppm) // PPM
        if market.band_high_ticks is not None:
            worst_ticks = min(worst_ticks, market.band_high_ticks)
        return worst_ticks // step_ticks * step_ticks
    worst_ticks = -(-reference_ticks * (PPM - slippage_ppm) // PPM)
    if market.band_low_ticks is not None:
        worst_ticks = max(worst_ticks, market.band_low_ticks)
    return max(-(-worst_ticks // step_ticks) * step_ticks, step_ticks)
