"""Run the machine without hypothesis, as long as asked.

    python -m tests.machine.run --calls 20000 --seed 1

prints calls per second and how often every action, refusal and status code was reached; exits 1 at the first broken
invariant, naming the seed, the step and the action.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random

from afterbell.domain.codes import describe_code
from tests.machine.books import Broken
from tests.machine.system import System, draw, leave_all, step

N_STEPS_PER_SYSTEM = 1_500
N_STEPS_AFTER_SETTLEMENT = 150


def run(n_calls: int, seed: int) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, int]], int]:
    """Make at least n_calls calls on as many fresh instances as that takes. Raises: Broken."""
    outcomes: Counter[tuple[str, str]] = Counter()
    codes: Counter[tuple[str, int]] = Counter()
    done = 0
    while done < n_calls:
        system = System.deploy(seed)
        rng, n_settled = Random(seed), 0
        for number in range(N_STEPS_PER_SYSTEM):
            name = draw(system, rng)
            try:
                step(system, name)
            except Broken as broken:
                raise Broken(f"seed {seed}, step {number}, {name}: {broken}") from broken
            n_settled += system.books.mode == 2
            # what is settled for good has little left to do
            if done + system.n_calls >= n_calls or n_settled > N_STEPS_AFTER_SETTLEMENT:
                break
        try:
            leave_all(system)
        except Broken as broken:
            raise Broken(f"seed {seed}, everybody leaves: {broken}") from broken
        done += system.n_calls
        outcomes += system.outcomes
        codes += system.codes
        seed += 1
    return outcomes, codes, done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        outcomes, codes, done = run(options.calls, options.seed)
    except Broken as broken:
        sys.stdout.write(f"{broken}\n")
        return 1
    seconds = time.perf_counter() - started
    for (name, refused), count in sorted(outcomes.items()):
        sys.stdout.write(f"  {name:<18} {refused or 'done':<44} {count:>7}" + "\n")
    for (kind, code), count in sorted(codes.items()):
        sys.stdout.write(f"  {kind:<18} {describe_code(code):<44} {count:>7}" + "\n")
    sys.stdout.write(f"{done} calls in {seconds:.0f} s, {done / seconds:.0f} a second, no invariant broken" + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
