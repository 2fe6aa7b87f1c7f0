"""No log can be dropped, and no bit of a log or of a batch be altered, without a finding.

Random alterations of a true history. The answers of the node are fetched once and altered in memory, so that a run
takes milliseconds; the same lies through a real proxy stand in test_verify.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from afterbell.verify.batch_calldata import SETTLE_SELECTOR
from afterbell.verify.compare import Comparison
from afterbell.verify.findings import Finding, Findings
from afterbell.verify.fold import fold_events
from afterbell.verify.history import fetch_history
from afterbell.verify.instance import Instance, choose_block, read_instance
from afterbell.verify.progress import Steps
from afterbell.verify.replay import replay_history
from afterbell.verify.rpc import Log, RpcClient, Transaction
from afterbell.verify.storage import StorageReader
from tests.verify.conftest import Traded

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SEED = 20_050_301


class AlteringClient(RpcClient):
    """A client that remembers the node's answers and alters them on the way to the verifier."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._answers: dict[str, list[object]] = {}
        self.alter_log: Callable[[Log], Log | None] = lambda log: log
        self.alter_call: Callable[[bytes, Transaction | None], Transaction | None] = lambda _, call: call

    def call_many(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[object]:
        key = repr(calls)
        if key not in self._answers:
            self._answers[key] = super().call_many(calls)
        return self._answers[key]

    def logs(self, addresses: Sequence[bytes], topics: Sequence[object], first: int, last: int) -> list[Log]:
        altered = map(self.alter_log, super().logs(addresses, topics, first, last))
        return [log for log in altered if log is not None]

    def transactions(self, hashes: Sequence[bytes]) -> list[Transaction | None]:
        calls = super().transactions(hashes)
        return [self.alter_call(digest, call) for digest, call in zip(hashes, calls, strict=True)]


def verify(client: RpcClient, instance: Instance) -> list[Finding]:
    findings, steps = Findings(), Steps(None)
    block = choose_block(client, instance, None)
    history = fetch_history(client, instance, block, steps, findings)
    replay = replay_history(history, instance, findings, steps)
    ledger = fold_events(history.events, findings)
    Comparison(StorageReader(client, block, steps), instance, replay, ledger, findings).compare_all()
    return findings.entries


def flip(content: bytes, source: random.Random) -> bytes:
    """Return the bytes with one bit flipped."""
    altered = bytearray(content)
    altered[source.randrange(len(altered))] ^= 1 << source.randrange(8)
    return bytes(altered)


def flip_log(log: Log, source: random.Random) -> Log:
    """Return the log with one bit of its topics or its data flipped."""
    n_topic_bytes = 32 * len(log.topics)
    altered = flip(b"".join(log.topics) + log.data, source)
    topics = tuple(altered[start : start + 32] for start in range(0, n_topic_bytes, 32))
    return replace(log, topics=topics, data=altered[n_topic_bytes:])


def test_verify__any_log_dropped_or_any_bit_flipped__is_found(traded: Traded, profile: str) -> None:
    # Every log and many bits in `make deep`; else one log in three, one bit of each.
    log_stride, n_bits_per_log, n_bits_per_call = (1, 10, 300) if profile == "deep" else (3, 1, 6)
    instance = read_instance(traded.venue.manifest_path)
    source = random.Random(SEED)
    with AlteringClient(traded.venue.anvil.url) as client:
        logs: dict[tuple[int, int], Log] = {}
        calls: dict[bytes, Transaction] = {}

        def see_log(log: Log) -> Log:
            logs[log.block, log.index] = log
            return log

        def see_call(digest: bytes, call: Transaction | None) -> Transaction | None:
            if call is not None and call.to == instance.clearinghouse and call.input[:4] == SETTLE_SELECTOR:
                calls[digest] = call
            return call

        client.alter_log, client.alter_call = see_log, see_call
        assert verify(client, instance) == []
        assert (len(logs) > 100, len(calls)) == (True, 9)

        unnoticed = []
        client.alter_call = lambda _, call: call
        for place, log in list(logs.items())[source.randrange(log_stride) :: log_stride]:
            lies: list[Log | None] = [None, *(flip_log(log, source) for _ in range(n_bits_per_log))]
            for lie in lies:
                client.alter_log = lambda log, place=place, lie=lie: lie if (log.block, log.index) == place else log
                if not verify(client, instance):
                    unnoticed.append((place, lie))
        client.alter_log = lambda log: log
        for digest, call in calls.items():
            for _ in range(n_bits_per_call):
                altered = replace(call, input=flip(call.input, source))
                client.alter_call = lambda one, found, digest=digest, altered=altered: (
                    altered if one == digest else found
                )
                if not verify(client, instance):
                    unnoticed.append((digest, altered))

    assert unnoticed == []
