"""Read from Operations which digests owners approved on chain. Must not: cache; an approval comes, and never goes."""

from __future__ import annotations

from afterbell.ports import Chain
from afterbell.settlement.calldata import build_view_calldata


class ChainApprovals:
    """Implements ports.ApprovalReader."""

    def __init__(self, *, chain: Chain, operations: bytes) -> None:
        self._chain = chain
        self._operations = operations

    async def is_approved(self, owner: bytes, digest: bytes) -> bool:
        """Ask the latest block. Raises: ChainUnavailable."""
        calldata = build_view_calldata(
            b"is_approved(address,bytes32)", int.from_bytes(owner, "big"), int.from_bytes(digest, "big")
        )
        return any(await self._chain.call(self._operations, calldata))
