"""Fetch everything the chain says about an instance: logs, calldata of the transactions behind them, block times.

Its one job: collect, decode, keep the order of the chain. Must not: judge; replay.py and fold.py do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from afterbell.verify.chain_events import SHAPES, TOKEN, ChainEvent, UnreadableLog, decode_event, split_positions
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.instance import Instance
from afterbell.verify.progress import Steps
from afterbell.verify.rpc import BlockHeader, Log, RpcClient, Transaction

N_BLOCKS_PER_QUERY: Final = 2_000
N_TRANSACTIONS_PER_QUERY: Final = 200
_TIMED: Final = ("clearinghouse", "price_oracle", "price_source", "corporate_actions")
"""Contracts whose settings bind from a time on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything fetched, up to and including `block`.

    transactions: by hash, None where the node has none. block_times_s: of every block with an event.
    """

    block: int
    header: BlockHeader
    events: tuple[ChainEvent, ...]
    transactions: Mapping[bytes, Transaction | None]
    block_times_s: Mapping[int, int]

    def by_transaction(self) -> Iterator[tuple[bytes, list[ChainEvent]]]:
        """Yield (hash, its events) in chain order."""
        for transaction, events in groupby(self.events, key=lambda event: event.log.transaction):
            yield transaction, list(events)


def fetch_history(client: RpcClient, instance: Instance, block: int, steps: Steps, findings: Findings) -> History:
    """Fetch and decode. Logs that no event explains become findings. Raises: RpcFailed."""
    names = {address: name for name, address in instance.emitters().items()}
    logs: list[Log] = []
    n_blocks = block - instance.first_block + 1
    steps.begin("logs, blocks", n_blocks)
    for first in range(instance.first_block, block + 1, N_BLOCKS_PER_QUERY):
        last = min(first + N_BLOCKS_PER_QUERY - 1, block)
        logs += client.logs(list(names), [], first, last)
        logs += _fetch_token_moves(client, instance, first, last)
        steps.advance(last - first + 1)
    logs.sort(key=lambda log: (log.block, log.index))
    events = _decode(logs, names | {instance.token: "token"}, findings)
    hashes = list(dict.fromkeys(event.log.transaction for event in events if event.contract == "clearinghouse"))
    transactions: dict[bytes, Transaction | None] = {}
    steps.begin("transactions", len(hashes))
    for start in range(0, len(hashes), N_TRANSACTIONS_PER_QUERY):
        some = hashes[start : start + N_TRANSACTIONS_PER_QUERY]
        transactions.update(zip(some, client.transactions(some), strict=True))
        steps.advance(len(some))
    blocks = sorted({event.log.block for event in events if event.contract in _TIMED} | {block})
    headers = dict(zip(blocks, client.blocks(blocks), strict=True))
    return History(
        block=block,
        header=headers[block],
        events=tuple(events),
        transactions=transactions,
        block_times_s={number: header.time_s for number, header in headers.items()},
    )


def _fetch_token_moves(client: RpcClient, instance: Instance, first: int, last: int) -> list[Log]:
    """Return the token's transfers from and to the Vault: the token's own record of the money."""
    [transfer] = TOKEN
    topic = "0x" + transfer.hex()
    vault = "0x" + instance.vault.rjust(32, b"\0").hex()
    leaving = client.logs([instance.token], [topic, vault], first, last)
    arriving = client.logs([instance.token], [topic, None, vault], first, last)
    return leaving + [log for log in arriving if log not in leaving]


def _decode(logs: list[Log], names: Mapping[bytes, str], findings: Findings) -> list[ChainEvent]:
    events = []
    for log in logs:
        contract = names[log.address]
        findings.count("logs")
        try:
            events += split_positions(decode_event(contract, SHAPES[contract], log))
        except UnreadableLog as error:
            findings.add(
                Finding(
                    what=f"log {log.index} of block {log.block}, transaction 0x{log.transaction.hex()}",
                    field="shape",
                    unit="event",
                    expected="an event of contracts/README.md",
                    found=str(error),
                )
            )
    return events
