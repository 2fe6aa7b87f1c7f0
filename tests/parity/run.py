"""Run random batches through the model and the contracts, counting what they reach.

    python -m tests.parity.run --seed 1 --batches 600

prints one count per status code and exits 1 at the first difference. tests/parity/test_parity.py asserts the same;
tests/parity/plant.py runs it over copies with planted bugs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from afterbell.domain.batch import OrderRecord
from afterbell.domain.chain_state import Mode
from afterbell.domain.codes import SIDED_CODES, TAKER_SIDE, ReportCode, StatusCode, describe_code
from afterbell.domain.direct import DirectKind
from afterbell.domain.errors import BatchReverted, DirectRefused
from afterbell.domain.settlement import BatchResult
from tests.parity.pair import Different, Pair, expect
from tests.parity.siblings import STEPS, Siblings
from tests.support.chain import Reverted
from tests.support.random_direct import OWN_KINDS
from tests.support.world import Batch

ORDER_CODES = (
    *(code for code in StatusCode if 0 < code < StatusCode.UNKNOWN_OPERATION),
    StatusCode.NOT_LIQUIDATABLE, StatusCode.LIQUIDATION_TERMS,
)  # fmt: skip
SIBLING_OUTCOMES = (
    *((name, "") for name in STEPS),
    ("deltas", "deltas: account order"), ("deltas", "deltas: sizes"), ("deltas", "deltas: value"),
    ("market", "move: out of range"),
)  # fmt: skip
OPERATION_CODES = (
    StatusCode.BAD_SIGNATURE, StatusCode.EXPIRED, StatusCode.EXPIRY_TOO_FAR, StatusCode.UNKNOWN_OPERATION,
    StatusCode.NONCE_CONSUMED, StatusCode.ZERO_WITHDRAWAL, StatusCode.BAD_RECIPIENT, StatusCode.BAD_CANCEL,
    StatusCode.STALE_PRICE, StatusCode.MARGIN, StatusCode.KEY_EXPIRED, StatusCode.KEY_LIMIT, StatusCode.BAD_KEY,
)  # fmt: skip
REFUSALS = (
    (DirectKind.CANCEL_ALL, "operations: min seq"), (DirectKind.CANCEL_ALL, "operations: cancel pending"),
    (DirectKind.LINK_KEY, "operations: bad key"), (DirectKind.LINK_KEY, "operations: key in use"),
    (DirectKind.REVOKE_KEY, "operations: key revoked"), (DirectKind.CHANGE_RULES, "rules: pending"),
)  # fmt: skip
DIRECT_OUTCOMES = (*((kind, "") for kind in OWN_KINDS), *REFUSALS)
_FILL_CODES = tuple(code for code in StatusCode if code >= StatusCode.ORDER_INVALID)
FILL_CODES = tuple(side + code for code in _FILL_CODES for side in ((0, TAKER_SIDE) if code in SIDED_CODES else (0,)))
REPORT_CODES = tuple(code for code in ReportCode if 0 < code <= ReportCode.OUT_OF_RANGE)
"""Those of one source; what a second source says is the matter of test_prices.py."""


@dataclass(slots=True)
class Counts:
    """What a run reached."""

    n_batches: int = 0
    n_settled_fills: int = 0
    n_edges: int = 0
    """Batches in which one account was left with exactly the margin a fill needs, or one quote unit less."""
    operations: Counter[int] = field(default_factory=Counter)
    orders: Counter[int] = field(default_factory=Counter)
    fills: Counter[int] = field(default_factory=Counter)
    reports: Counter[int] = field(default_factory=Counter)
    direct: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(kind, reason of a refusal or "")."""
    siblings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(step, reason of a refusal or "")."""
    n_key_edges: int = 0
    """Batches in which the key of one order just allowed it, or just did not."""
    n_key_fills: int = 0
    """Settled fills with an order signed by a session key."""
    n_tree_fills: int = 0
    """Settled fills with an order signed in a tree."""
    n_liquidations: int = 0
    """Settled fills of liquidation orders."""
    n_liquidation_edges: int = 0
    """Batches in which one liquidated account had exactly its maintenance margin at one price, or one unit less."""
    n_mirrored: int = 0
    """Batches settled alike by a mirror that had not heard of the latest direct operations."""
    n_heard: int = 0

    def missing(self) -> list[str]:
        """Name every code the run did not reach."""
        tables = (
            ("order", ORDER_CODES, self.orders),
            ("operation", OPERATION_CODES, self.operations),
            ("fill", FILL_CODES, self.fills),
            ("report", REPORT_CODES, self.reports),
        )
        missing = [f"{name} {code}" for name, codes, counts in tables for code in codes if not counts[code]]
        missing += [f"direct {kind.name} {why}" for kind, why in DIRECT_OUTCOMES if not self.direct[kind, why]]
        missing += [f"sibling {name} {why}" for name, why in SIBLING_OUTCOMES if not self.siblings[name, why]]
        return missing

    def table(self) -> str:
        """Return one line per code."""
        lines = [f"{self.n_batches} batches, {self.n_settled_fills} settled fills, {self.n_edges} at a margin's edge"]
        for name, counts in (("order", self.orders), ("operation", self.operations), ("fill", self.fills)):
            lines += [f"  {name:<10} {describe_code(code):<26} {n:>6}" for code, n in sorted(counts.items())]
        lines += [f"  {'report':<10} {ReportCode(code).name:<26} {n:>6}" for code, n in sorted(self.reports.items())]
        for (kind, why), n in sorted(self.direct.items()):
            lines.append(f"  {'direct':<10} {why or DirectKind(kind).name:<26} {n:>6}")
        for (name, why), n in sorted(self.siblings.items()):
            lines.append(f"  {'sibling':<10} {f'{name}, {why}' if why else name:<26} {n:>6}")
        lines.append(
            f"  keys signed {self.n_key_fills} fills and stood {self.n_key_edges} times on the edge of a limit; "
            f"{self.n_tree_fills} fills of trees; {self.n_liquidations} of liquidation orders, "
            f"{self.n_liquidation_edges} times on their edge; "
            f"a mirror was behind for {self.n_mirrored} batches and caught up {self.n_heard} times"
        )
        return "\n".join(lines)


def run(seed: int, n_batches: int, *, is_huge: bool = False) -> Counts:
    """Settle batches in both until one differs. Raises: Different."""
    pair = Pair(seed, is_huge=is_huge)
    world, rng, counts, siblings = pair.world, pair.world.random, Counts(), Siblings.of(pair)
    for _ in range(25):
        pair.deposit(*world.random_deposit())
    for number in range(n_batches):
        if number % 3 == 0:
            pair.deposit(*world.random_deposit())
        if number % 8 == 2 and not is_huge:
            pair.hear()
            for _ in range(3):
                counts.siblings.update(siblings.step())
        elif number % 2:
            counts.direct[pair.call_directly(may_be_late=rng.random() < 0.5)] += 1
        victim = pair.make_unhealthy() if world.mirror is None and rng.random() < 0.3 else None
        batch = world.next_batch()
        # Words are injected only where no mirror would have to be told.
        is_free = world.mirror is None
        on_edge = pair.put_on_edge(batch) if is_free and rng.random() < 0.25 else None
        liquidation_edge = pair.put_liquidation_on_edge(batch) if is_free and rng.random() < 0.25 else None
        key_edge = pair.put_key_on_edge(batch) if is_free and rng.random() < 0.25 else None
        try:
            result = pair.settle(batch)
        except Exception as error:
            raise Different(f"seed {seed}, batch {number}: {type(error).__name__}: {error}") from error
        if on_edge is not None:
            counts.n_edges += 1
            pair.deposit(on_edge, 2**63 if is_huge else 60_000_000_000)
        for account in {victim, liquidation_edge} - {None}:
            pair.deposit(account, 2**63 if is_huge else 60_000_000_000)
        counts.n_liquidation_edges += liquidation_edge is not None
        counts.n_liquidations += count_fills(batch, result, lambda order: order.is_liquidation)
        if key_edge is not None:
            pair.restore_key(key_edge)
            counts.n_key_edges += 1
        counts.n_key_fills += count_fills(batch, result, lambda order: order.is_key_signed)
        counts.n_tree_fills += count_fills(batch, result, lambda order: order.is_bulk)
        counts.n_batches += 1
        counts.n_settled_fills += result.fill_codes.count(0)
        counts.operations.update(result.operation_codes)
        counts.orders.update(result.order_codes)
        counts.fills.update(result.fill_codes)
        counts.reports.update(verdict.code for verdict in batch.verdicts)
        if number % 100 == 99:
            world.state.validate_invariants()
    world.state.validate_invariants()
    pair.hear()
    pair.compare_everything()
    settle_for_good(pair, siblings)
    counts.n_mirrored, counts.n_heard = pair.n_mirrored, pair.n_heard
    return counts


def settle_for_good(pair: Pair, siblings: Siblings) -> None:
    """Set the last mode in both: no batch, no deposit and no other mode follow."""
    world = pair.world
    siblings.change_mode(Mode.SETTLED)
    expect("a mode after the last", siblings.change_mode(Mode.NORMAL), "clearinghouse: settled")
    batch = world.next_batch()
    for name, in_model, on_chain in (
        ("settle", lambda: world.settle(batch), lambda: pair.settle_on_chain(batch)),
        ("deposit", lambda: world.deposit(world.accounts[0], 1), lambda: pair.chain.deposit(world.accounts[0], 1)),
    ):
        reasons = []
        for call in (on_chain, in_model):
            try:
                call()
                reasons.append("")
            except (Reverted, BatchReverted, DirectRefused) as error:
                reasons.append(error.reason)
        expect(f"{name} when settled", reasons, ["clearinghouse: settled"] * 2)


def count_fills(batch: Batch, result: BatchResult, is_meant: Callable[[OrderRecord], bool]) -> int:
    """Count the settled fills with such an order on a side."""
    orders = [record for _, record in batch.table.list_orders()]
    return sum(
        not code and (is_meant(orders[fill.maker_order]) or is_meant(orders[fill.taker_order]))
        for fill, code in zip(batch.table.fills, result.fill_codes, strict=True)
    )


def main() -> int:
    """Run one seed from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--huge", action="store_true", help="numbers at the ends of their lanes")
    arguments = parser.parse_args()
    started_s = time.process_time()
    try:
        counts = run(arguments.seed, arguments.batches, is_huge=arguments.huge)
    except Different as difference:
        sys.stdout.write(f"DIFFERENT: {difference}\n")
        return 1
    elapsed_s = time.process_time() - started_s
    sys.stdout.write(f"{counts.table()}\nequal in {elapsed_s:.1f} s of one core; not reached: {counts.missing()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
