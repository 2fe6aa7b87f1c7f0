"""What git carries must work on any machine: no address of a package index, no path of one machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Written in pieces, so that this file does not find itself.
_INDEX_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "registry.yarn" + "pkg.com")
_INDEX_ADDRESS = re.compile(
    "|".join(map(re.escape, _INDEX_HOSTS))
    + r"|--(extra-)?index-"
    + r"url\s*[= ]|--find-"
    + r'links\s*[= ]|"reso'
    + r'lved":'
)
# Absolute paths below a person's, a container's or a workspace's folder.
_MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:ro" + r"ot|wo" + r"rk|home|Users|workspace|builds)/[\w.-]")


def _tracked_files(root: Path) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    # A file deleted but not yet committed is still listed.
    return [root / name for name in listed.decode().split("\0") if name and (root / name).is_file()]


def _find(pattern: re.Pattern[str], paths: list[Path], root: Path) -> Iterator[str]:
    for path in paths:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{path.relative_to(root)}:{number}: {line.strip()[:160]}"


@pytest.mark.parametrize(("what", "pattern"), [("index address", _INDEX_ADDRESS), ("machine path", _MACHINE_PATH)])
def test_tracked_files__searched__hold_no_address_and_no_path(what: str, pattern: re.Pattern[str]) -> None:
    found = list(_find(pattern, _tracked_files(ROOT), ROOT))

    assert found == [], what


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (_INDEX_ADDRESS, "--extra-index-" + "url https://example.test/simple"),
        (_INDEX_ADDRESS, '"reso' + 'lved": "https://example.test/ws.tgz"'),
        (_INDEX_ADDRESS, "https://files.python" + "hosted.org/packages/x.whl"),
        (_MACHINE_PATH, 'open("/ro' + 'ot/.ape/accounts")'),
        (_MACHINE_PATH, "cd /ho" + "me/someone/afterbell"),
    ],
)
def test_search__planted_line__is_found(tmp_path: Path, pattern: re.Pattern[str], line: str) -> None:
    planted = tmp_path / "planted.txt"
    planted.write_text(f"first\n{line}\n")

    found = list(_find(pattern, [planted], tmp_path))

    assert found == [f"planted.txt:2: {line}"]


def test_locks__every_requirement__is_pinned_by_hash() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        logical_lines = lock.read_text().replace("\\\n", " ").splitlines()
        requirements = [line for line in logical_lines if line.strip() and not line.lstrip().startswith("#")]

        assert requirements, lock.name
        assert [line for line in requirements if "==" not in line or "--hash=sha256:" not in line] == [], lock.name


def test_locks__runtime__is_a_subset_of_dev() -> None:
    pins = {
        name: set(re.findall(r"^[a-z0-9._-]+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("runtime.txt", "dev.txt")
    }

    assert pins["runtime.txt"] - pins["dev.txt"] == set()
