"""Every command the README shows is run here, or is shown to be run by `make test` itself.

A command added to the README without a line in this file fails the first test.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
START_TIMEOUT_S = 180
pytestmark = pytest.mark.alone

DRY_RUN = {
    # command -> what make would run. The venue and the suite themselves cannot be started from inside the suite.
    "make up": "exec afterbell up",
    "make test": "scripts/test.sh",
    "make up-check": "scripts/up_check.sh",
    "make lint": "ruff check .",
    "make bench": "afterbell bench all",
    "make deep PART=crash": "scripts/deep.sh crash",
}
RUN_FOR_REAL = {
    'make up ARGS="--speed 3 --start 2008-09-01 --fresh"',
    'make up ARGS="--history TSLA=bars.csv --fresh"',
    ".venv/bin/afterbell verify --rpc RPC --manifest var/manifest.json",
    ".venv/bin/afterbell bench gas --json gas.json",
}
TYPED = [
    # while the venue runs, in this order
    ".venv/bin/afterbell status",
    ".venv/bin/afterbell keys new trader.key",
    ".venv/bin/afterbell account --key-file trader.key faucet",
    ".venv/bin/afterbell account --key-file trader.key deposit 1000 --method authorization",
    ".venv/bin/afterbell account --key-file trader.key order AAPL buy 2 --slippage 0.02",
    ".venv/bin/afterbell account --key-file trader.key show",
    ".venv/bin/afterbell account --key-file trader.key withdraw 100",
]
BARS = "Date,Open,High,Low,Close,Volume\n" + "".join(
    f"2008-09-{day:02d},{20 + day}.10,{21 + day}.40,{19 + day}.55,{20 + day}.90,1000\n"
    for day in (2, 3, 4, 5, 8, 9, 10)
)


def list_commands() -> set[str]:
    """Return every command in the README: code blocks without their comments, and the left column of tables."""
    blocks = re.findall(r"^```\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    rows = re.findall(r"^\| (`.+?) \|", README, flags=re.MULTILINE)
    cells = [cell for row in rows for cell in re.findall("`([^`]+)`", row)]
    return {text for text in lines + cells if re.match(r"make |\.venv/bin/", text)}


def test_readme__every_command__is_known_to_this_test() -> None:
    assert list_commands() == set(DRY_RUN) | RUN_FOR_REAL | set(TYPED)


@pytest.mark.parametrize(("command", "expected"), DRY_RUN.items())
def test_readme__make_target__runs_what_it_says(command: str, expected: str) -> None:
    plan = subprocess.run(
        [*shlex.split(command), "--dry-run", "--always-make"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert expected in plan.stdout


def test_readme__up_verify_and_stop__work_as_written(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text(BARS)
    rows = [shlex.split(command)[2].removeprefix("ARGS=") for command in sorted(RUN_FOR_REAL) if "ARGS" in command]
    # Both rows of the table in one venue.
    arguments = [word for row in rows for word in shlex.split(row)]
    assert set(arguments) == {"--history", "TSLA=bars.csv", "--speed", "3", "--start", "2008-09-01", "--fresh"}
    output = tmp_path / "up.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [ROOT / ".venv/bin/afterbell", "up", *arguments, "--port", "0"],
            cwd=tmp_path,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        rpc = wait_for(process, output, r"anvil at (http://\S+)")
        wait_for(process, output, r"(Ctrl-C stops)")
        (url,) = set(re.findall(r"http://127.0.0.1:\d+", output.read_text())) - {rpc}
        manifest = json.loads((tmp_path / "var/manifest.json").read_text())
        assert not any(market["synthetic"] for market in manifest["markets"] if market["symbol"] == "TSLA")

        for typed in TYPED:
            typing = subprocess.run(
                shlex.split(typed.replace(".venv", str(ROOT / ".venv"))),
                cwd=tmp_path,
                env={**os.environ, "AFTERBELL_URL": url},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert typing.returncode == 0, (typed, typing.stdout, typing.stderr)

        verify = ".venv/bin/afterbell verify --rpc RPC --manifest var/manifest.json"
        command = shlex.split(verify.replace("RPC", rpc).replace(".venv", str(ROOT / ".venv")))
        verdict = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert verdict.returncode == 0, verdict.stdout + verdict.stderr

        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0, output.read_text()
        assert "chain saved" in output.read_text()
    finally:
        process.kill()
        process.wait()


def test_readme__bench_gas__writes_the_figures(tmp_path: Path) -> None:
    command = shlex.split(".venv/bin/afterbell bench gas --json gas.json".replace(".venv", str(ROOT / ".venv")))

    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=300)

    # it exits 1 while a limit is missed and says which: tests/bench lists those that are
    missed = done.stderr.decode().splitlines()
    assert done.returncode == bool(missed)
    assert all(": required at most " in line for line in missed), missed
    figures = json.loads((tmp_path / "gas.json").read_text())
    assert {"gas.one_fill", "gas.distinct_50", "gas.makers_5x50", "gas.mixed_200"} <= {row["name"] for row in figures}
    assert all(set(row) == {"name", "value", "unit", "reference", "ratio"} for row in figures)


def wait_for(process: subprocess.Popen[bytes], output: Path, pattern: str) -> str:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        found = re.search(pattern, output.read_text())
        if found is not None:
            return found.group(1)
        assert process.poll() is None, output.read_text()
        time.sleep(0.2)
    raise AssertionError(f"no {pattern!r} within {START_TIMEOUT_S} s:\n{output.read_text()}")
