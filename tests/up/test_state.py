"""What a data directory may be used for, and what `up` says when it may not."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from afterbell.adapters.history import write_replay_settings
from afterbell.supervisor.children import ChildFailed, start_child, stop_child, wait_for_address
from afterbell.supervisor.command import up
from afterbell.supervisor.progress import Progress, describe_now
from afterbell.supervisor.state import StateUnusable, erase_state, lock_directory, open_state
from afterbell.supervisor.venue import must_be_free

BARS = "Date,Open,High,Low,Close\n2010-06-29,19.0,25.0,17.54,23.89\n2010-06-30,25.79,30.42,23.30,23.83\n"


def _pretend_venue(folder: Path) -> None:
    """Leave what a stopped venue leaves, as far as open_state looks at it."""
    open_state(folder, files={}, start=None)
    (folder / "manifest.json").write_text("{}")
    (folder / "anvil-state.json").write_text("{}")


def test_open_state__empty_directory__prepares_a_new_venue(tmp_path: Path) -> None:
    state = open_state(tmp_path, files={}, start=None)

    assert not state.is_resumed
    assert state.history.days[0] == date(2005, 3, 1)
    assert [market.symbol for market in state.plan.markets if market.synthetic] == ["TSLA"]
    assert sorted(path.name for path in state.keys_dir.iterdir()) == [
        "announcer.key",
        "governor.key",
        "guardian.key",
        "publisher-1.key",
        "publisher-2.key",
        "publisher-3.key",
        "sequencer.key",
        "standby.key",
    ]
    assert {path.stat().st_mode & 0o777 for path in state.keys_dir.iterdir()} == {0o600}


def test_open_state__history_for_tsla__is_not_synthetic_and_decides_the_start(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text(BARS)

    state = open_state(tmp_path / "venue", files={"TSLA": source}, start=None)

    assert [market.symbol for market in state.plan.markets if market.synthetic] == []
    assert state.history.days[0] == date(2010, 6, 29)


def test_open_state__saved_venue__goes_on_with_the_same_plan(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text(BARS)
    folder = tmp_path / "venue"
    first = open_state(folder, files={"TSLA": source}, start=None)
    (folder / "manifest.json").write_text("{}")
    (folder / "anvil-state.json").write_text("{}")

    again = open_state(folder, files={}, start=None)

    assert again.is_resumed
    assert again.plan == first.plan


def test_open_state__saved_venue_with_another_start__is_refused(tmp_path: Path) -> None:
    _pretend_venue(tmp_path)

    with pytest.raises(StateUnusable, match=r"began on 2005-03-01.*--fresh"):
        open_state(tmp_path, files={}, start=date(2008, 9, 2))


def test_open_state__chain_state_gone__says_what_is_missing(tmp_path: Path) -> None:
    _pretend_venue(tmp_path)
    (tmp_path / "anvil-state.json").unlink()

    with pytest.raises(StateUnusable, match=r"without its anvil-state\.json.*--fresh"):
        open_state(tmp_path, files={}, start=None)


def test_erase_state__somebody_elses_files__stay(tmp_path: Path) -> None:
    _pretend_venue(tmp_path)
    write_replay_settings(tmp_path, ["AAPL"])
    (tmp_path / "publisher-1.last").write_text("5\n")
    (tmp_path / "thesis.txt").write_text("mine")

    erase_state(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_lock_directory__held_by_another__is_refused(tmp_path: Path) -> None:
    with lock_directory(tmp_path), pytest.raises(StateUnusable, match="another `afterbell up`"):
        lock_directory(tmp_path)
    lock_directory(tmp_path).close()


def test_must_be_free__port_taken__says_which_option_helps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ChildFailed, match=r"--port"):
        must_be_free(taken.getsockname()[1])
    must_be_free(0)


def _look(venue_time_s: int, *, session: str = "REGULAR", halt_reason: str = "") -> tuple[Any, Any, Any]:
    """Return clock, batch and markets as the API shows them, as far as the progress looks at them."""
    names = ("AAPL", "MSFT", "IBM", "TSLA")
    markets = [
        {"symbol": name, "mark_ticks": 4_499, "ticks_per_usd": 100, "session": session, "is_halted": False}
        | ({"is_halted": True, "halt_reason": halt_reason} if name == "TSLA" and halt_reason else {})
        for name in names
    ]
    return {"venue_time_ms": venue_time_s * 1000, "step": 7}, {"sequence": 12, "status": "confirmed"}, markets


def test_progress__not_a_terminal__says_each_trading_day_once() -> None:
    """1109687400 is 2005-03-01 14:30 UTC, the open in New York; a day later the next one."""
    console = Console(file=StringIO(), width=40)
    progress = Progress(console)

    progress.tell_day(*_look(1_109_687_400 - 3_600, session="CLOSED"))
    for after_s in (0, 600, 86_400):
        progress.tell_day(*_look(1_109_687_400 + after_s))

    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "Tue 2005-03-01  step 7  batch 12 confirmed  AAPL 44.99  MSFT 44.99  IBM 44.99",
        "Wed 2005-03-02  step 7  batch 12 confirmed  AAPL 44.99  MSFT 44.99  IBM 44.99",
    ]


def test_progress__market_halted__is_said_once_with_the_reason() -> None:
    console = Console(file=StringIO(), width=40)
    progress = Progress(console)

    for reason in ("", "looks like a 5:1 split", "looks like a 5:1 split"):
        progress.tell_halts(_look(1_109_687_400, halt_reason=reason)[2])

    assert console.file.getvalue() == "halted  TSLA: looks like a 5:1 split\n"  # type: ignore[attr-defined]


def test_describe_now__eighty_columns__keep_time_and_batch() -> None:
    shown = describe_now(*_look(1_109_687_400))

    assert shown[:80].startswith("Tue 2005-03-01 09:30 New York · batch 12 confirmed · REGULAR · AAPL 44.99")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--speed", "0"], "0.05 to 1000 trading days"),
        (["--speed", "fast"], "a number of trading days"),
        (["--speed", "nan"], "0.05 to 1000 trading days"),
        (["--start", "01.03.2005"], "YYYY-MM-DD"),
        (["--history", "TSLA"], "SYMBOL=FILE"),
        (["--history", "TSLA=/nowhere.csv"], "no file"),
        (["--port", "70000"], "65535"),
    ],
)
def test_up__option_that_makes_no_sense__says_what_is_required(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    answer = CliRunner().invoke(up, ["--data-dir", str(tmp_path), *arguments])

    assert answer.exit_code == 2
    assert complaint in answer.output


def test_up__history_that_breaks_a_rule__names_file_and_line(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("date,open,high,low,close\n2010-06-29,19,18,17,20\n")

    answer = CliRunner().invoke(up, ["--data-dir", str(tmp_path / "venue"), "--history", f"TSLA={source}"])

    assert answer.exit_code == 1
    assert "mine.csv line 2" in answer.output


@pytest.mark.anyio
async def test_child__that_ends_at_once__fails_with_its_last_lines(tmp_path: Path) -> None:
    child = await start_child(
        "publisher-1", ["publisher", "--index", "1", "--data-dir", str(tmp_path)], logs_dir=tmp_path
    )

    with pytest.raises(ChildFailed, match=r"publisher-1 ended with status 1[\s\S]*manifest\.json"):
        await wait_for_address(child, 60)
    assert await stop_child(child, 1)


def test_child__supervisor_killed__ends_too(tmp_path: Path) -> None:
    """The children of a killed supervisor must not hold ports and journal against the next one."""
    script = (
        "import asyncio, pathlib, sys\n"
        "from afterbell.supervisor.children import start_child\n"
        "async def main():\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    arguments = ['programs', '--url', 'http://127.0.0.1:9', '--data-dir', sys.argv[1]]\n"
        "    child = await start_child('programs', arguments, logs_dir=folder)\n"
        "    print(child.process.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()

    deadline_s = time.monotonic() + 60
    while _is_running(child):
        assert time.monotonic() < deadline_s, f"child {child} outlives its supervisor"
        time.sleep(0.1)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
