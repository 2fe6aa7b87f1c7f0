"""Everything a client call can raise.

    AfterbellError
    └── SdkError
        ├── ApiRejected             the venue refused; `code` is stable (RejectReason), with required, found, action
        │   ├── MalformedRequest        a field is missing, out of its range or not what the venue knows
        │   ├── SignatureRefused        not signed by owner or key; `recovered_signer`, `digest` say what was signed
        │   ├── KeyRefused              the session key is unknown, expired, or this is beyond its limits
        │   ├── NotFound                no such market, batch, account
        │   │   └── UnknownOrder            no such order, or it is not live any more
        │   ├── Superseded              the nonce, client id or order is used, replaced or filled meanwhile
        │   ├── OrderRefused            the order breaks a rule by itself: steps, size, expiry, post-only, …
        │   ├── MarketRefused           the market does not take it now: halted, stale, closed, at its cap
        │   ├── InsufficientMargin      free collateral does not cover it
        │   ├── MoneyRefused            a withdrawal, claim or signed deposit cannot be carried out
        │   ├── RateLimited             too many requests; `retry_after_s`
        │   └── VenueBusy               overloaded or not ready, still so after the retries
        ├── ApiUnavailable          no answer, or an answer that is none of ours; the request may have been carried out
        │   └── OrderNotPlaced          the order never took effect and never will: its nonce is dead
        ├── NotFinalInTime          a wait ran out; `last` is the order or transfer as last seen
        └── WalletFailed            a transaction on chain was refused or reverted

A TypeError or ValueError means that the call itself is wrong (a float for a price, a price off the market's atoms).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from afterbell.domain.errors import AfterbellError

if TYPE_CHECKING:
    from afterbell.sdk.values import PlacedOrder, Transfer


class SdkError(AfterbellError):
    """Root of what a client raises."""


class ApiRejected(SdkError):
    """The venue refused the request; nothing was carried out, unless `is_repeat`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        required: str = "",
        found: str = "",
        action: str = "",
        details: Mapping[str, Any] | None = None,
        http_status: int = 0,
    ) -> None:
        parts = [f"{code}: {message}" if message else code]
        named = (("required", required), ("found", found), ("do", action))
        super().__init__("; ".join([*parts, *(f"{name}: {text}" for name, text in named if text)]))
        self.code = code
        self.message = message
        self.required = required
        self.found = found
        self.action = action
        self.details: Mapping[str, Any] = details or {}
        self.http_status = http_status
        self.is_repeat = False
        """An earlier copy of the same bytes was sent and its answer lost: that copy may have been carried out."""

    @property
    def reason(self) -> str:
        """Return the stable word of the refusal, the same as `code`."""
        return self.code


class MalformedRequest(ApiRejected):
    """A field is missing, out of its range, or not what the venue knows."""


class SignatureRefused(ApiRejected):
    """The signature is neither the owner's nor that of a session key of the account."""

    @property
    def recovered_signer(self) -> str:
        """Return the address that signed what arrived, "" if it was no signature at all."""
        return str(self.details.get("recovered_signer", ""))

    @property
    def expected_signer(self) -> str:
        """Return the owner whose signature was required."""
        return str(self.details.get("expected_signer", ""))

    @property
    def digest(self) -> str:
        """Return what had to be signed: the EIP-712 digest as the venue computes it."""
        return str(self.details.get("digest", ""))


class KeyRefused(ApiRejected):
    """The session key is not linked, has expired, or this is beyond its limits."""


class NotFound(ApiRejected):
    """The venue knows no such market, batch, account or route."""


class UnknownOrder(NotFound):
    """The venue knows no such order, or it is not live any more."""


class Superseded(ApiRejected):
    """The nonce or client id is used already, or the order was replaced or filled meanwhile."""


class OrderRefused(ApiRejected):
    """The order breaks a rule by itself: steps, size, expiry, fee, post-only, fill-or-kill, reduce-only."""


class MarketRefused(ApiRejected):
    """The market does not take it now: halted, price too old, openings closed, at its cap, too many markets."""


class InsufficientMargin(ApiRejected):
    """Free collateral does not cover it; `required` and `found` say by how much, in quote units."""


class MoneyRefused(ApiRejected):
    """A withdrawal, claim or signed deposit cannot be carried out."""


class RateLimited(ApiRejected):
    """Too many requests of their kind, still so after the retries."""

    retry_after_s: int = 0
    """Seconds after which there is room again, as the venue said."""


class VenueBusy(ApiRejected):
    """The venue is overloaded or not ready, still so after the retries; the same signed message counts once."""

    retry_after_s: int = 0


class ApiUnavailable(SdkError):
    """The venue did not answer as a venue; whether the request took effect is unknown.

    `order_id` names the order concerned, if any: `resolve_order(order_id)` finds out when the venue is back.
    """

    def __init__(self, message: str, *, order_id: str = "") -> None:
        super().__init__(message)
        self.order_id = order_id


class OrderNotPlaced(ApiUnavailable):
    """The order's answers were lost, it never took effect and never will: its nonce is dead. Placing anew is safe."""


class NotFinalInTime(SdkError):
    """A wait ran out of time."""

    def __init__(self, message: str, last: PlacedOrder | Transfer) -> None:
        super().__init__(message)
        self.last = last


class WalletFailed(SdkError):
    """A transaction of the wallet was refused or reverted."""


FAMILIES: Final[Mapping[type[ApiRejected], tuple[str, ...]]] = {
    MalformedRequest: (
        "MALFORMED_REQUEST", "METHOD_NOT_ALLOWED", "UNKNOWN_FLAGS", "UNKNOWN_OPERATION", "UNSUPPORTED", "BAD_CANCEL",
    ),
    SignatureRefused: ("BAD_SIGNATURE", "WRONG_CHAIN", "NOT_APPROVED", "UNAUTHORIZED"),
    KeyRefused: ("KEY_EXPIRED", "KEY_LIMIT", "UNKNOWN_KEY", "BAD_KEY"),
    NotFound: ("NOT_FOUND", "UNKNOWN_MARKET", "UNKNOWN_BATCH", "UNKNOWN_ACCOUNT"),
    UnknownOrder: ("UNKNOWN_ORDER",),
    Superseded: (
        "DEAD_LANE", "NONCE_CONSUMED", "SEQ_BELOW_MINIMUM", "DUPLICATE_ORDER", "DUPLICATE_CLIENT_ID", "LANE_IN_USE",
        "FILLED_MEANWHILE", "NOT_AMENDABLE", "OVERFILL",
    ),
    OrderRefused: (
        "EXPIRED", "EXPIRY_TOO_FAR", "OFF_STEP", "BELOW_MINIMUM", "SIZE_TOO_LARGE", "ZERO_SIZE", "FEE_ABOVE_MAXIMUM",
        "WRONG_EPOCH", "TRIGGER_NOT_MET", "REDUCE_ONLY", "WOULD_TAKE", "CANNOT_FILL", "SELF_TRADE",
        "PRICE_OUTSIDE_BAND", "SEQ_TOO_FAR_AHEAD", "TOO_MANY_ORDERS", "NO_LIQUIDITY", "NOT_LIQUIDATABLE",
        "LIQUIDATION_TERMS",
    ),
    MarketRefused: (
        "MARKET_HALTED", "STALE_PRICE", "OPENING_NOT_ALLOWED", "OPEN_INTEREST_CAP", "TOO_MANY_MARKETS", "CANCEL_ONLY",
        "POST_ONLY_MARKET", "ACCOUNT_CAP", "SETTLED",
    ),
    InsufficientMargin: ("INSUFFICIENT_MARGIN", "MARGIN"),
    MoneyRefused: ("ZERO_WITHDRAWAL", "BAD_RECIPIENT", "NOTHING_TO_CLAIM", "TOKEN_REFUSED"),
    RateLimited: ("RATE_LIMITED",),
    VenueBusy: ("OVERLOADED", "NOT_READY"),
}  # fmt: skip
"""Every reason of the venue, once. A reason of a newer venue is a plain ApiRejected."""

_BY_CODE: Final = {code: family for family, codes in FAMILIES.items() for code in codes}


def build_rejection(body: Mapping[str, Any], http_status: int) -> ApiRejected:
    """Turn the `error` object of an answer into the exception of its code."""
    code = str(body.get("code", "UNKNOWN"))
    details = body.get("details")
    return _BY_CODE.get(code, ApiRejected)(
        code,
        str(body.get("message", "")),
        required=str(body.get("required", "")),
        found=str(body.get("found", "")),
        action=str(body.get("action", "")),
        details=details if isinstance(details, Mapping) else None,
        http_status=http_status,
    )
