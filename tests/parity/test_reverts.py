"""What the model calls malformed, the chain refuses too, with the same string; and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from afterbell.domain.batch import PriceRow, decode, encode
from afterbell.domain.errors import BatchReverted, EvidenceRefused
from afterbell.domain.evidence import decode_evidence, encode_evidence, join_sections, split_sections
from afterbell.domain.prices import update
from afterbell.domain.settlement import BatchResult, ChainState, MarketUpdate, apply_batch
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest
from tests.parity.pair import Pair
from tests.support.chain import Event, Reverted
from tests.support.world import Batch


@dataclass(slots=True)
class Outcome:
    """How an attempt ended: refused with a reason, or settled."""

    reason: str | None = None
    result: BatchResult | None = None
    events: list[Event] | None = None


def try_model(pair: Pair, payload: bytes, batch: Batch, block_time_s: int) -> tuple[Outcome, Batch]:
    """Settle a payload in copies of the model's states."""
    world, verdicts = pair.world, []

    def update_prices(
        words: ChainState, rows: tuple[PriceRow, ...], evidence: bytes, matched_at_s: int
    ) -> tuple[MarketUpdate, ...]:
        moved = update(world.oracle, words, rows, evidence, matched_at_s)
        verdicts.extend(moved.verdicts)
        return moved.markets

    try:
        result = apply_batch(
            world.state.copy(),
            payload,
            previous_head=batch.previous_head,
            block_time_s=block_time_s,
            update_prices=update_prices,
            domain_separator=world.domain_separator,
            recover=world.recover,
        )
    except (BatchReverted, EvidenceRefused) as error:
        return Outcome(reason=error.reason), batch
    tried = replace(batch, table=decode(payload), payload=payload, verdicts=tuple(verdicts), block_time_s=block_time_s)
    return Outcome(result=result), tried


def try_chain(pair: Pair, payload: bytes, batch: Batch, block_time_s: int) -> Outcome:
    """Settle a payload on chain and take it back."""
    with pair.chain.undone():
        pair.chain.set_time(block_time_s)
        try:
            pair.chain.settle(payload, previous_head=batch.previous_head)
        except Reverted as error:
            return Outcome(reason=error.reason)
        return Outcome(events=pair.chain.events())


def compare(pair: Pair, payload: bytes, batch: Batch, *, block_time_s: int | None = None) -> str | None:
    """Hold one attempt against the other; return the model's reason, None if it settled."""
    block_time_s = batch.block_time_s if block_time_s is None else block_time_s
    model, tried = try_model(pair, payload, batch, block_time_s)
    chain = try_chain(pair, payload, batch, block_time_s)
    assert (model.reason is None) == (chain.reason is None), f"model {model.reason}, chain {chain.reason}"
    if model.result is not None and chain.events is not None:
        pair.compare_events(tried, model.result, chain.events)
    return model.reason


def make_pair(seed: int) -> Pair:
    pair = Pair(seed)
    for _ in range(20):
        pair.deposit(*pair.world.random_deposit())
    for _ in range(30):
        pair.settle(pair.world.next_batch())
    return pair


def make_full_batch(pair: Pair) -> Batch:
    """Return a batch that has every section."""
    pair.world.n_operations_choices = (2,)
    while True:
        batch = pair.world.next_batch()
        table = batch.table
        several = [account for account in table.accounts if len({order.lane for order in account.orders}) > 1]
        if table.evidence and len(table.rows) > 1 and len(table.fills) > 1 and several and len(table.accounts) > 2:
            return batch
        pair.settle(batch)


def test_parity__a_thousand_damaged_payloads__refused_or_settled_alike() -> None:
    """Flip, cut and append bytes anywhere: header, tables, evidence, signatures."""
    pair, rng = make_pair(31), Random(31)
    n_refused = n_settled = 0
    for _ in range(20):
        batch = make_full_batch(pair)
        for _ in range(50):
            payload = bytearray(batch.payload)
            kind = rng.random()
            if kind < 0.85:
                for _ in range(rng.choice((1, 1, 1, 2, 4))):
                    # The header and the first tables are small; half of the damage goes there.
                    end = len(payload) if rng.random() < 0.5 else min(len(payload), 300)
                    payload[rng.randrange(end)] = rng.choice((0, 1, 255, rng.randrange(256)))
            elif kind < 0.95:
                del payload[rng.randrange(len(payload)) :]
            else:
                payload += rng.randbytes(rng.choice((1, 32)))
            if compare(pair, bytes(payload), batch) is None:
                n_settled += 1
            else:
                n_refused += 1
    assert n_refused > 150
    assert n_settled > 150


def test_parity__one_flaw_each__gives_the_same_revert_string() -> None:
    pair = make_pair(32)
    batch = make_full_batch(pair)
    table, payload = batch.table, batch.payload
    header = table.header
    first = max(table.accounts, key=lambda account: len({order.lane for order in account.orders}))
    place = table.accounts.index(first)

    def with_header(**changes: object) -> bytes:
        return encode(replace(table, header=replace(header, **changes)))

    def poke(offset: int, value: int) -> bytes:
        return payload[:offset] + bytes([value]) + payload[offset + 1 :]

    def with_proof(n_words: int) -> bytes:
        order = replace(first.orders[-1], flags=first.orders[-1].flags | 1 << 9, proof=(bytes(32),) * n_words)
        account = replace(first, orders=(*first.orders[:-1], order))
        return encode(
            replace(table, fills=(), accounts=(*table.accounts[:place], account, *table.accounts[place + 1 :]))
        )

    fill = table.fills[0]
    lanes_down = replace(first, orders=first.orders[::-1])
    bare = encode(replace(table, fills=(), operations=()))
    evidence = decode_evidence(next(iter(split_sections(table.evidence))))
    proven = evidence.reports[0]
    outsiders = sorted(pair.world.keys[:2], key=lambda key: key.address)
    root = digest(
        PriceRoot(root=evidence.root, publish_time_s=evidence.publish_time_s), pair.world.price_domain_separator
    )

    def sign_root(key: SigningKey) -> tuple[bytes, bytes]:
        return key.sign(root)

    def with_evidence(**changes: object) -> bytes:
        return encode(replace(table, evidence=join_sections([encode_evidence(replace(evidence, **changes))])))

    flawed = {
        "batch: version": poke(0, 1),
        "batch: sequence": with_header(sequence=header.sequence + 1),
        "batch: matched at": with_header(matched_at_s=batch.block_time_s + 1),
        "batch: direct op": with_header(direct_op=pair.world.state.direct_op + 1),
        "batch: length": payload + b"\0",
        "batch: length, cut": payload[:-1],
        "batch: length, header": payload[:63],
        "batch: too many": poke(16, 33),
        "batch: too many, operations": poke(17, 17),
        "batch: too many, accounts": poke(18, 113),
        "batch: too many, orders": poke(19, 113),
        "batch: too many, fills": poke(21, 209),
        "batch: too many, evidence": poke(22, 17),
        "batch: account order": encode(replace(table, accounts=table.accounts[::-1])),
        "batch: lane order": encode(
            replace(table, accounts=(*table.accounts[:place], lanes_down, *table.accounts[place + 1 :]))
        ),
        "batch: length, an order more than there is": poke(19, payload[19] + 1),
        "batch: order count, fewer": bare[:19] + bytes([bare[19] - 1]) + bare[20:],
        "batch: fill index": encode(
            replace(table, fills=(replace(fill, taker_order=table.n_orders), *table.fills[1:]))
        ),
        "batch: fill index, the place of an account": poke(64, 0),
        "batch: length, a proof of nine words": with_proof(9),
        "batch: length, a proof cut off": with_proof(8)[:-32],
        "prices: market order": encode(replace(table, rows=table.rows[::-1])),
        "prices: unknown market": encode(replace(table, rows=(*table.rows, replace(table.rows[0], market_id=32)))),
        "source: signature": with_evidence(signatures=((bytes(32), bytes(32)),) * 2),
        "source: below threshold": with_evidence(signatures=evidence.signatures[:1]),
        "source: signer order": with_evidence(signatures=evidence.signatures[1::-1]),
        "source: not a publisher": with_evidence(signatures=tuple(sign_root(key) for key in outsiders)),
        "source: proof": with_evidence(reports=(replace(proven, proof=(*proven.proof, bytes(32))),)),
        "source: proof, too long": with_evidence(reports=(replace(proven, proof=(bytes(32),) * 17),)),
        "source: reports": with_evidence(reports=()),
        "source: unknown": encode(replace(table, evidence=table.evidence[:2] + b"\1" + table.evidence[3:])),
        "source: length": encode(replace(table, evidence=table.evidence + b"\0")),
    }
    assert compare(pair, payload, batch) is None
    for name, damaged in flawed.items():
        expected = name.split(",", maxsplit=1)[0]
        model, _ = try_model(pair, damaged, batch, batch.block_time_s)
        chain = try_chain(pair, damaged, batch, batch.block_time_s)
        assert (model.reason, chain.reason) == (expected, expected), name


@pytest.mark.parametrize("delay_s", [-1, 0, 300, 301])
def test_parity__block_time_around_matched_at__same_bounds(delay_s: int) -> None:
    pair = make_pair(33)
    batch = pair.world.next_batch()

    reason = compare(pair, batch.payload, batch, block_time_s=batch.table.header.matched_at_s + delay_s)

    assert reason == (None if delay_s in (0, 300) else "batch: matched at")


def test_parity__previous_head_or_sender_wrong__same_string() -> None:
    pair = make_pair(34)
    batch = pair.world.next_batch()
    other = replace(batch, previous_head=b"\x01" * 32)

    assert compare(pair, batch.payload, other) == "batch: head"
    with pair.chain.undone(), pytest.raises(Reverted, match="batch: not sequencer"):
        pair.chain.settle(batch.payload, sender="0x" + "77" * 20)
