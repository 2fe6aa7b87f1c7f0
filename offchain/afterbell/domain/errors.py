"""Name everything that can go wrong, in one tree.

    AfterbellError
    ├── Rejected            expected; carries a RejectReason, becomes an event and an answer to the client
    ├── Faulted             a bug or a broken invariant: stop the process
    │   ├── FieldOutOfRange     a number does not fit the lane of its word or field
    │   │   └── RecordOutOfRange    … found while a whole record is encoded
    │   └── InvariantBroken     an identity that must hold does not
    ├── Unavailable         the outside failed; the caller that owns the retry policy retries
    ├── BatchReverted       the contract would revert; `reason` is its revert string
    │   └── MalformedBatch      … because the encoding or the header is wrong
    ├── DirectRefused       Operations or MarketRegistry would revert; `reason` is the revert string
    └── EvidenceRefused     the price source would revert; `reason` is its revert string

Other packages add their own leaves under Rejected, Faulted and Unavailable. Must not: import anything but codes.
"""

from __future__ import annotations

from afterbell.domain.codes import RejectReason


class AfterbellError(Exception):
    """Root of every error we raise on purpose."""


class Rejected(AfterbellError):
    """Refuse a request for a reason the client can act on."""

    def __init__(self, reason: RejectReason, message: str = "") -> None:
        super().__init__(f"{reason.value}: {message}" if message else reason.value)
        self.reason = reason
        self.message = message


class Faulted(AfterbellError):
    """Stop: something that cannot happen did."""


class FieldOutOfRange(Faulted):
    """A number does not fit its lane; the contract reverts here, it never wraps."""

    def __init__(self, name: str, number: int, low: int, high: int) -> None:
        super().__init__(f"{name} must lie in [{low}, {high}], found {number}")
        self.name = name


class RecordOutOfRange(FieldOutOfRange):
    """Some number of a record does not fit when it is encoded whole; `cause` is struct's sentence about it."""

    def __init__(self, record: str, cause: Exception) -> None:
        Faulted.__init__(self, f"every number of a {record} must fit its field: {cause}")
        self.name = record


class InvariantBroken(Faulted):
    """An identity that holds after every call does not."""


class Unavailable(AfterbellError):
    """The outside (chain, database, feed) did not answer as it should."""


class BatchReverted(AfterbellError):
    """The contract would revert the whole batch; nothing changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedBatch(BatchReverted):
    """The payload's encoding or header breaks the format; `reason` equals the contract's revert string."""


class DirectRefused(AfterbellError):
    """The chain would revert on what an owner or the registry does directly."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EvidenceRefused(AfterbellError):
    """The price source would revert on this evidence as a whole."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
