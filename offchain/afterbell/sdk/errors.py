"""Everything a client call can raise.

    AfterbellError
    └── SdkError
        ├── ApiRejected             the venue refused; `code` is stable (RejectReason), with required, found, action
        │   ├── InsufficientMargin      code INSUFFICIENT_MARGIN
        │   └── UnknownOrder            code UNKNOWN_ORDER
        ├── ApiUnavailable          no answer, or an answer that is none of ours; the request may have been carried out
        ├── NotFinalInTime          a wait ran out; `last` is the order as last seen
        └── WalletFailed            a transaction on chain was refused or reverted

A TypeError or ValueError means that the call itself is wrong (a float for a price, a price off the market's atoms).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from afterbell.domain.errors import AfterbellError

if TYPE_CHECKING:
    from afterbell.sdk.values import PlacedOrder


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


class InsufficientMargin(ApiRejected):
    """Free collateral does not cover the order; `required` and `found` say by how much, in quote units."""


class UnknownOrder(ApiRejected):
    """The venue knows no such order, or it is not open any more."""


class ApiUnavailable(SdkError):
    """The venue did not answer as a venue; whether the request took effect is unknown.

    `order_id` names the order concerned, if any: ask for it with `order()` when the venue is back.
    """

    def __init__(self, message: str, *, order_id: str = "") -> None:
        super().__init__(message)
        self.order_id = order_id


class NotFinalInTime(SdkError):
    """A wait ran out of time."""

    def __init__(self, message: str, last: PlacedOrder) -> None:
        super().__init__(message)
        self.last = last


class WalletFailed(SdkError):
    """A transaction of the wallet was refused or reverted."""


_BY_CODE: Final[dict[str, type[ApiRejected]]] = {
    "INSUFFICIENT_MARGIN": InsufficientMargin,
    "UNKNOWN_ORDER": UnknownOrder,
}


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
