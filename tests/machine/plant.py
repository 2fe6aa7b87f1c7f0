"""Plant one bug of each kind of security.md in a copy of the contracts, and show which test sees it and how fast.

    python -m tests.machine.plant                 all of them
    python -m tests.machine.plant zero-signer …   only these

Prints a table; exits 0 when the untouched copy passes every test named here and each plant makes its test fail. The
tests are those of `make test`; the checkout is never changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("contracts", "offchain", "scripts", "tests", "pyproject.toml", "package.json", "Makefile")
MACHINE: Final = "tests/machine/test_machine.py::test_invariants__seeded_run__hold"


@dataclass(frozen=True, slots=True)
class Plant:
    """One wrong line and the tests that must see it. threat: row of security.md."""

    threat: str
    why: str
    path: str
    right: str
    wrong: str
    tests: tuple[str, ...]


PLANTS: Final = {
    "zero-signer": Plant(
        "T1",
        "nobody's signature passes for a key that was never linked",
        "contracts/Clearinghouse.vy",
        "if signer == 0 or order & BY_KEY == 0:",
        "if signer != 0 and order & BY_KEY == 0:",
        ("tests/contracts/test_signatures.py", "tests/contracts/test_session_keys.py"),
    ),
    "unsigned-fee": Plant(
        "T4",
        "the highest fee is not part of what is signed",
        "contracts/modules/typed_data.vy",
        "(order >> 72) & (2**16 - 1)",
        "(order >> 72) & 0",
        ("tests/contracts/test_signatures.py",),
    ),
    "open-door": Plant(
        "T18",
        "anybody may move a claim out of any account",
        "contracts/Clearinghouse.vy",
        "        self._check_caller(OPERATIONS, refusals.NOT_OPERATIONS)\n",
        "        pass\n",
        ("tests/contracts/test_role_matrix.py", "tests/contracts/test_user_funds.py"),
    ),
    "two-heads": Plant(
        "T39",
        "a batch built on another history settles",
        "contracts/Clearinghouse.vy",
        "if previous_head != self.head:",
        "if previous_head == empty(bytes32) and self.head == previous_head and False:",
        ("tests/contracts/test_header.py",),
    ),
    "short-deposit": Plant(
        "T22",
        "a deposit counts what was asked for, not what arrived",
        "contracts/Vault.vy",
        "== before_quote + quote",
        ">= before_quote",
        ("tests/contracts/test_awkward_tokens.py",),
    ),
    "funding-down": Plant(
        "T51",
        "who owes funding pays the part of a unit less",
        "contracts/modules/fixed_point.vy",
        "if numerator > 0 and quotient * denominator != numerator:",
        "if numerator > 0 and quotient * denominator > numerator:",
        (MACHINE,),
    ),
    "thin-withdrawal": Plant(
        "T45",
        "a withdrawal leaves a twentieth of the notional where it must leave a tenth",
        "contracts/Operations.vy",
        "(notional_quote + 9) // 10",
        "(notional_quote + 9) // 20",
        ("tests/contracts/test_operations.py", "tests/parity/test_parity.py"),
    ),
    "one-price": Plant(
        "T66",
        "the mark alone decides who is liquidated",
        "contracts/modules/account_risk.vy",
        "        and at_external.equity_quote < convert(at_external.maintenance_margin_quote, int256)\n",
        "",
        ("tests/contracts/test_liquidations.py",),
    ),
    "no-lag": Plant(
        "T38",
        "a direct liquidation does not wait for what was acknowledged before the flag",
        "contracts/Liquidations.vy",
        "flagged_at_s != 0 and block.timestamp > flagged_at_s + SETTLE_LAG_S",
        "flagged_at_s != 0",
        ("tests/contracts/test_liquidations.py",),
    ),
    "old-price": Plant(
        "T62",
        "a price is fresh one second too long",
        "contracts/modules/margin.vy",
        "unsafe_add(external_time_s, max_age_s) >= matched_at_s",
        "unsafe_add(external_time_s, max_age_s) + 1 >= matched_at_s",
        ("tests/contracts/test_prices.py", "tests/parity/test_parity.py"),
    ),
    "old-epoch": Plant(
        "T69",
        "a dividend leaves orders signed at the price before alive",
        "contracts/CorporateActions.vy",
        "price + (1 << 208), index",
        "price, index",
        ("tests/contracts/test_corporate_actions_dividend.py",),
    ),
    "early-exit": Plant(
        "T36",
        "anybody forces a withdrawal at once",
        "contracts/Exits.vy",
        "block.timestamp >= request.requested_at_s + FORCE_DELAY_S or msg.sender",
        "block.timestamp >= request.requested_at_s or msg.sender",
        ("tests/contracts/test_exits_withdrawals.py",),
    ),
    "fast-mark": Plant(
        "T68",
        "the mark may move twenty times faster",
        "contracts/modules/price_rules.vy",
        "MARK_STEP_S: constant(uint256) = 3",
        "MARK_STEP_S: constant(uint256) = 1",
        ("tests/contracts/test_prices.py", "tests/parity/test_parity.py"),
    ),
    "funding-cap": Plant(
        "T53",
        "the sequencer's premium moves funding ten times faster than its cap",
        "contracts/modules/price_rules.vy",
        "MAX_RATE_PPB: constant(int256) = 20_000_000",
        "MAX_RATE_PPB: constant(int256) = 200_000_000",
        ("tests/contracts/test_funding.py", MACHINE),
    ),
}


def copy_checkout(target: Path) -> None:
    """Copy what the tests need, and the compiler's cache so that untouched contracts are not compiled again."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy(source, target / name)
    builds = ROOT / ".build" / "contracts"
    if builds.is_dir():
        shutil.copytree(builds, target / ".build" / "contracts")
    for name in ("node_modules", ".venv"):
        if (ROOT / name).is_dir():
            (target / name).symlink_to(ROOT / name)


def apply_plant(target: Path, plant: Plant) -> None:
    """Replace the right text by the wrong one, exactly once."""
    path = target / plant.path
    text = path.read_text()
    if text.count(plant.right) != 1:
        raise SystemExit(f"the sources moved on: rewrite this plant. {plant.path} must contain once: {plant.right}")
    path.write_text(text.replace(plant.right, plant.wrong))


def run_tests(target: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests over the copy until one fails; return pytest's exit code and the first failure."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "alone or not alone", *tests],
        cwd=target,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(target), str(target / "offchain")))},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, failed[0].split(" - ")[0] if failed else (done.stdout + done.stderr).strip()[-200:]


def main() -> int:
    """Run the untouched copy, then each plant."""
    names = sys.argv[1:] or list(PLANTS)
    every_test = tuple(dict.fromkeys(test for name in names for test in PLANTS[name].tests))
    is_good = True
    with tempfile.TemporaryDirectory(prefix="afterbell-plant-") as folder:
        for name in ("nothing", *names):
            target = Path(folder) / name
            target.mkdir()
            copy_checkout(target)
            plant = PLANTS.get(name)
            if plant is not None:
                apply_plant(target, plant)
            started = time.perf_counter()
            code, found = run_tests(target, plant.tests if plant else every_test)
            seconds = time.perf_counter() - started
            is_seen = code == (1 if plant else 0)
            is_good = is_good and is_seen
            threat, why = (plant.threat, plant.why) if plant else ("-", "the copy as it is")
            sys.stdout.write(
                f"{'ok ' if is_seen else 'BAD'} {threat:<4} {seconds:>6.0f} s  {name}: {why}\n      {found}\n"
            )
            sys.stdout.flush()
            shutil.rmtree(target)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
