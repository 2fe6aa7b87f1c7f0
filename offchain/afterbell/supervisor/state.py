"""State: what a data directory holds, whether a venue can go on from it, and how to begin again.

    keys/  manifest.json  history.json  history/  journal.log  readmodel.sqlite  anvil-state.json  publisher-N.last
    logs/

Journal and chain belong together: one without the other cannot go on, and is refused with what to do.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, TextIO

from afterbell.adapters.deployment_plan import DeploymentPlan, Roles, find_local_plan, read_plan
from afterbell.adapters.history import has_replay_settings, load_history, read_replay_settings, write_replay_settings
from afterbell.adapters.keys import read_or_create_key
from afterbell.domain.errors import AfterbellError
from afterbell.keepers.history import PriceHistory
from afterbell.signing.keys import SigningKey
from afterbell.supervisor.publisher_process import publisher_key_path

N_PUBLISHERS: Final = 3
_OURS: Final = (
    "keys",
    "history",
    "logs",
    "history.json",
    "manifest.json",
    "manifest.progress",
    "journal.log",
    "anvil-state.json",
    "anvil-state.partial",
)
_OUR_PATTERNS: Final = ("readmodel.sqlite*", "publisher-*.last", "publisher-*.partial", "journal.log.*")


class StateUnusable(AfterbellError):
    """The data directory cannot be used as it is; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueState:
    """A data directory ready to start from."""

    data_dir: Path
    history: PriceHistory
    plan: DeploymentPlan
    is_resumed: bool

    @property
    def manifest_path(self) -> Path:
        """Where the deployment is described."""
        return self.data_dir / "manifest.json"

    @property
    def chain_state_path(self) -> Path:
        """Where the chain is saved."""
        return self.data_dir / "anvil-state.json"

    @property
    def keys_dir(self) -> Path:
        """Where the private keys are."""
        return self.data_dir / "keys"

    @property
    def logs_dir(self) -> Path:
        """Where every process logs."""
        return self.data_dir / "logs"


def lock_directory(data_dir: Path) -> TextIO:
    """Hold the directory for this process until the file is closed. Raises: StateUnusable when another holds it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "logs").mkdir(exist_ok=True)
    file = (data_dir / "up.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StateUnusable(
            f"another `afterbell up` runs on {data_dir}: stop it, or choose another --data-dir"
        ) from error
    return file


def erase_state(data_dir: Path) -> None:
    """Remove what a venue wrote into its directory, and nothing else that may lie there."""
    paths = [data_dir / name for name in _OURS]
    paths += [path for pattern in _OUR_PATTERNS for path in data_dir.glob(pattern)]
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def open_state(data_dir: Path, *, files: Mapping[str, Path], start: date | None) -> VenueState:
    """Go on from a saved venue, or prepare a new one.

    Raises: StateUnusable, BadHistory, BadPlan.
    """
    is_resumed = (data_dir / "manifest.json").exists()
    if is_resumed:
        _must_go_on(data_dir, files, start)
    symbols = _read_plan(data_dir, files).markets
    if is_resumed:
        history = load_history(data_dir)
        files = read_replay_settings(data_dir).files  # type: ignore[assignment]  # only the symbols matter below
    else:
        history = write_replay_settings(data_dir, [market.symbol for market in symbols], files=files, start=start)
    return VenueState(data_dir=data_dir, history=history, plan=_read_plan(data_dir, files), is_resumed=is_resumed)


def _must_go_on(data_dir: Path, files: Mapping[str, Path], start: date | None) -> None:
    missing = [
        name
        for name, is_there in (
            ("anvil-state.json", (data_dir / "anvil-state.json").exists()),
            ("history.json", has_replay_settings(data_dir)),
        )
        if not is_there
    ]
    if missing:
        raise StateUnusable(
            f"{data_dir} holds a venue without its {' and '.join(missing)}: it was not stopped in order, and the "
            "chain it traded on is gone; begin again with --fresh, or choose another --data-dir"
        )
    begun = read_replay_settings(data_dir).start
    if files or (start is not None and start != begun):
        raise StateUnusable(
            f"{data_dir} holds a venue that began on {begun} with its own prices; --start and --history choose "
            "those of a new one: add --fresh to begin again, or leave them out to go on"
        )


def _read_plan(data_dir: Path, files: Mapping[str, object]) -> DeploymentPlan:
    def address_of(path: Path) -> bytes:
        return SigningKey(read_or_create_key(path)).address

    keys_dir = data_dir / "keys"
    governor = address_of(keys_dir / "governor.key")
    roles = Roles(
        sequencer=address_of(keys_dir / "sequencer.key"),
        publishers=tuple(address_of(publisher_key_path(data_dir, index)) for index in range(1, N_PUBLISHERS + 1)),
        proposers=(governor,),
        executors=(governor,),
        announcer=address_of(keys_dir / "announcer.key"),
        guardian=address_of(keys_dir / "guardian.key"),
        standbys=(address_of(keys_dir / "standby.key"),),
    )
    return read_plan(find_local_plan(), roles=roles, with_history=tuple(files))
