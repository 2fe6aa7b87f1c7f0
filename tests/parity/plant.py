"""Plant one bug at a time in a copy of the model or of the contracts, and show that the parity suite sees it.

    python -m tests.parity.plant                 every plant, about half a minute each for the contracts
    python -m tests.parity.plant fee-model ...   only these

Exits 0 when the untouched copy passes and every plant makes the suite fail; 1 otherwise. The checkout is never changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("contracts", "offchain/afterbell", "tests/__init__.py", "tests/support", "tests/parity", "pyproject.toml")
N_BATCHES = 300
MODEL, CONTRACTS = "offchain/afterbell/domain", "contracts"


@dataclass(frozen=True, slots=True)
class Plant:
    """One wrong character or two."""

    why: str
    path: str
    right: str
    wrong: str


PLANTS = {
    "fee-model": Plant(
        "the model rounds a fee down: at most one quote unit a fill",
        f"{MODEL}/fees.py",
        "return Quote(mul_div_up(notional_quote, rate_ppm, PPM))",
        "return Quote(notional_quote * rate_ppm // PPM)",
    ),
    "fee-contract": Plant(
        "the contract rounds a fee down",
        f"{CONTRACTS}/Clearinghouse.vy",
        "unsafe_div(unsafe_add(unsafe_mul(notional_quote, fee_ppm), 999_999), 1_000_000)",
        "unsafe_div(unsafe_mul(notional_quote, fee_ppm), 1_000_000)",
    ),
    "funding-model": Plant(
        "the model rounds pending funding toward zero, so a payer may pay one unit less",
        f"{MODEL}/position.py",
        "div_up(position.size_lots * growth_e12, INDEX_SCALE)",
        "int(div_toward_zero(position.size_lots * growth_e12, INDEX_SCALE))",
    ),
    "funding-contract": Plant(
        "the contract truncates pending funding as Vyper's division does by itself",
        f"{CONTRACTS}/modules/fixed_point.vy",
        "if numerator > 0 and quotient * denominator != numerator:",
        "if numerator > 0 and quotient * denominator > numerator:",
    ),
    "margin-contract": Plant(
        "a withdrawal may leave one quote unit too little",
        f"{CONTRACTS}/Operations.vy",
        "(notional_quote + 9) // 10",
        "notional_quote // 10",
    ),
    "initial-contract": Plant(
        "initial margin rounds down",
        f"{CONTRACTS}/modules/margin.vy",
        "unsafe_div(unsafe_add(unsafe_add(unsafe_mul(notional_quote, rules & M20), added), 999_999), 1_000_000)",
        "unsafe_div(unsafe_add(unsafe_mul(notional_quote, rules & M20), added), 1_000_000)",
    ),
    "settlement-contract": Plant(
        "a fill must leave more than the settlement margin, not as much",
        f"{CONTRACTS}/Clearinghouse.vy",
        "if equity_quote >= convert((moved >> 80) & M80, int256):",
        "if equity_quote > convert((moved >> 80) & M80, int256):",
    ),
    "settlement-model": Plant(
        "a fill may leave one quote unit less than the settlement margin",
        f"{MODEL}/margin.py",
        "if after.equity_quote >= after.settlement_margin_quote:",
        "if after.equity_quote + 1 >= after.settlement_margin_quote:",
    ),
    "lane-contract": Plant(
        "orders that share a lane no longer share what is filled",
        f"{CONTRACTS}/Clearinghouse.vy",
        "if lane == recorded_lane:",
        "if lane == recorded_lane and j < 3:",
    ),
    "key-notional-contract": Plant(
        "a session key may not sign an order of exactly its maximum notional",
        f"{CONTRACTS}/Clearinghouse.vy",
        "        > (word >> 40) & M64\n",
        "        >= (word >> 40) & M64\n",
    ),
    "key-revoked-contract": Plant(
        "a revocation on chain binds one second before SETTLE_LAG has passed",
        f"{CONTRACTS}/modules/session_key.vy",
        "matched_at_s > unsafe_add(revoked_at_s, SETTLE_LAG_S)",
        "matched_at_s >= unsafe_add(revoked_at_s, SETTLE_LAG_S)",
    ),
    "key-seq-contract": Plant(
        "a session key may spend a seq one millisecond further in the future",
        f"{CONTRACTS}/modules/session_key.vy",
        "return unsafe_mul(unsafe_sub(unsafe_add(matched_at_s, SETTLE_LAG_S), genesis_s), 1000)",
        "return unsafe_add(unsafe_mul(unsafe_sub(unsafe_add(matched_at_s, SETTLE_LAG_S), genesis_s), 1000), 1)",
    ),
    "approval-model": Plant(
        "a digest that somebody else approved stands for the owner's signature",
        f"{MODEL}/authority.py",
        "is_approved = (message.owner, digest) in state.approvals",
        "is_approved = any(digest == known for _, known in state.approvals)",
    ),
    "late-link-model": Plant(
        "a mirror that hears late of a direct link forgets what a batch linked meanwhile",
        f"{MODEL}/direct.py",
        "state.session_keys.setdefault(_key_id(account_id, subject), word)",
        "state.session_keys[_key_id(account_id, subject)] = word",
    ),
    "tier-contract": Plant(
        "a tier of the margin begins one quote unit a USDC late",
        f"{CONTRACTS}/modules/margin.vy",
        "unsafe_mul(word & M48, 1_000_000)",
        "unsafe_mul(word & M48, 1_000_001)",
    ),
    "tier-model": Plant(
        "settlement margin counts a tier once, not twice",
        f"{MODEL}/margin.py",
        "compute_margin_quote(notional_quote, rules.settlement_margin_ppm, rules.tiers, OPENING_TIER_WEIGHT),",
        "compute_margin_quote(notional_quote, rules.settlement_margin_ppm, rules.tiers, MAINTENANCE_TIER_WEIGHT),",
    ),
    "account-cap-contract": Plant(
        "an account may not grow to its cap, only below it",
        f"{CONTRACTS}/Clearinghouse.vy",
        "if max(new_lots, unsafe_sub(0, new_lots)) > convert(cap_lots, int256):",
        "if max(new_lots, unsafe_sub(0, new_lots)) >= convert(cap_lots, int256):",
    ),
    "account-cap-model": Plant(
        "the cap of one account is rounded up",
        f"{MODEL}/words.py",
        "return cap_lots * self.account_share >> 16 if self.account_share else cap_lots",
        "return cap_lots * self.account_share + 65_535 >> 16 if self.account_share else cap_lots",
    ),
    "transfer-contract": Plant(
        "a transfer ends with the owner whose address has the last bit cleared",
        f"{CONTRACTS}/Operations.vy",
        "(account_id >> 80 << 80) | operand",
        "(account_id >> 81 << 81) | operand",
    ),
    "transfer-model": Plant(
        "a transfer is bounded as nothing: it may take the margin of open positions",
        f"{MODEL}/operations.py",
        "message.to_account_id)\n    code = _check_leaving(bench, message.account_id, message.quote)\n",
        "message.to_account_id)\n    code = StatusCode.OK\n",
    ),
    "proof-model": Plant(
        "the tree of orders hashes a node before its sibling, whichever is smaller",
        f"{MODEL}/digests.py",
        "        node = hash_pair(node, sibling)\n",
        "        node = keccak(node + sibling)\n",
    ),
    "funding-step-model": Plant(
        "funding of negative rates is rounded down, not toward zero",
        f"{MODEL}/funding.py",
        "div_toward_zero(compute_rate_ppb(premium_ppb) * index_ticks * INDEX_SCALE * seconds, _PPB * MAX_FUNDING_S)",
        "(compute_rate_ppb(premium_ppb) * index_ticks * INDEX_SCALE * seconds) // (_PPB * MAX_FUNDING_S)",
    ),
    "session-minutes-contract": Plant(
        "a session counts one second longer than it was stated",
        f"{CONTRACTS}/modules/margin.vy",
        "if matched_at_s >= unsafe_add(external_time_s, unsafe_mul(price >> 240, 60)):",
        "if matched_at_s > unsafe_add(external_time_s, unsafe_mul(price >> 240, 60)):",
    ),
    "session-minutes-model": Plant(
        "a session counts one minute longer than it was stated",
        f"{MODEL}/market.py",
        "price.external_time_s + 60 * price.session_minutes",
        "price.external_time_s + 60 * (price.session_minutes + 1)",
    ),
    "reserve-model": Plant(
        "shorts are valued as if no dividend were announced",
        f"{MODEL}/margin.py",
        "position.size_lots, price.mark_ticks, price.external_ticks, index.reserve_ticks\n",
        "position.size_lots, price.mark_ticks, price.external_ticks, 0\n",
    ),
    "liquidation-size-model": Plant(
        "a liquidation order may not take all it needs",
        f"{MODEL}/liquidations.py",
        "record.size_lots > reading.size_lots(worst_ticks, ORDER_FEE_PPM)",
        "record.size_lots >= reading.size_lots(worst_ticks, ORDER_FEE_PPM)",
    ),
    "liquidation-seq-model": Plant(
        "a minimum seq makes an account nobody can liquidate",
        f"{MODEL}/execution.py",
        "        if record.is_liquidation:\n",
        "        if record.is_liquidation and record.seq >= self._bench.account(account_id).effective_min_seq():\n",
    ),
    "deltas-model": Plant(
        "funding touched by a delta never reaches the pot",
        f"{MODEL}/deltas.py",
        " + sum(move.pending_quote for move in moves)",
        "",
    ),
    "mode-model": Plant(
        "exit mode lets positions open",
        f"{MODEL}/working.py",
        " and self.state.mode == Mode.NORMAL",
        "",
    ),
    "step-model": Plant(
        "the model lets the mark move one second early",
        f"{MODEL}/prices.py",
        "div_down(matched_at_s - price.mark_time_s, MARK_STEP_S)",
        "div_down(matched_at_s - price.mark_time_s + 1, MARK_STEP_S)",
    ),
}


def copy_checkout(target: Path) -> None:
    """Copy what the suite needs, and the compiler's cache so that untouched contracts are not compiled again."""
    for name in COPIED:
        source, destination = ROOT / name, target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, destination)
    builds = ROOT / ".build" / "contracts"
    if builds.is_dir():
        shutil.copytree(builds, target / ".build" / "contracts")


def apply_plant(target: Path, plant: Plant) -> None:
    """Replace the right text by the wrong one, exactly once."""
    path = target / plant.path
    text = path.read_text()
    if text.count(plant.right) != 1:
        raise SystemExit(f"the sources moved on: rewrite this plant. {plant.path} must contain once: {plant.right}")
    text = text.replace(plant.right, plant.wrong)
    if "div_toward_zero" in plant.wrong:
        text = text.replace("import INDEX_SCALE, Quote, div_up", "import INDEX_SCALE, Quote, div_toward_zero")
    path.write_text(text)


def run_suite(target: Path) -> tuple[int, str]:
    """Run one seed over the copy; return its exit code and last line."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.parity.run", "--seed", "1", "--batches", str(N_BATCHES)],
        cwd=target,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(target), str(target / "offchain")))},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def main() -> int:
    """Run the untouched copy, then each plant."""
    names = sys.argv[1:] or list(PLANTS)
    is_good = True
    with tempfile.TemporaryDirectory(prefix="afterbell-plant-") as folder:
        for name in ("(nothing planted)", *names):
            target = Path(folder) / name.strip("()").replace(" ", "-")
            copy_checkout(target)
            plant = PLANTS.get(name)
            if plant is not None:
                apply_plant(target, plant)
            code, line = run_suite(target)
            seen = code == 0 if plant is None else code == 1 and line.startswith("DIFFERENT")
            is_good = is_good and seen
            why = plant.why if plant is not None else "the copy as it is"
            sys.stdout.write(f"{'ok ' if seen else 'BAD'} exit {code}  {name}: {why}\n      {line[:200]}\n")
            sys.stdout.flush()
            shutil.rmtree(target)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
