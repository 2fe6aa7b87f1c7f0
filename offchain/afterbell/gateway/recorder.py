"""Tell read model and stream together what the journal does not hold: what the chain did with a batch.

Must not: decide when something is final; the indexer does.
"""

from __future__ import annotations

from afterbell.gateway.stream import StreamHub
from afterbell.readmodel.projector import Projector


class LiveRecorder:
    """Tell read model and stream what only the chain knows; implements what settler and indexer ask for."""

    def __init__(self, projector: Projector, hub: StreamHub) -> None:
        self._projector = projector
        self._hub = hub

    async def wait_for(self, sequence: int) -> None:
        """Return when the rows of this frame are written."""
        await self._projector.wait_for(sequence)

    async def read_chain_cursor(self) -> int:
        """Return the last block recorded."""
        return await self._projector.read_chain_cursor()

    async def record_chain_cursor(self, block: int, block_hash: bytes) -> None:
        """Note that the logs up to `block` are recorded."""
        await self._projector.record_chain_cursor(block, block_hash)

    async def record_batch_submitted(self, sequence: int, transaction: bytes) -> None:
        """Note that a batch is on its way."""
        await self._projector.record_batch_submitted(sequence, transaction)
        self._hub.note_submitted(sequence, transaction)

    async def record_final_block(self, block: int) -> None:
        """Note that everything up to `block` is final."""
        await self._projector.record_final_block(block)
        self._hub.note_final(block)

    async def record_claim_paid(self, recipient: bytes, transaction: bytes, block: int) -> None:
        """Note that the vault paid a recipient's claims."""
        await self._projector.record_claim_paid(recipient, transaction, block)
        self._hub.note_claim_paid(recipient, transaction)
