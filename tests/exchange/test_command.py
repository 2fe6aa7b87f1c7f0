"""`afterbell exchange` and its keys where they must refuse: every refusal says what is wrong and what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from afterbell.adapters.keys import KeyUnusable, read_key, read_or_create_key
from afterbell.bootstrap.exchange import exchange


def test_command__no_manifest__says_how_to_get_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(exchange, ["--data-dir", str(tmp_path), "--port", "0"])

    assert result.exit_code == 1
    assert "a manifest is required at" in result.output
    assert "afterbell up" in result.output


def test_command__port_in_use__names_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        result = CliRunner().invoke(exchange, ["--data-dir", str(tmp_path), "--port", str(port)])

    assert result.exit_code == 1
    assert f"127.0.0.1:{port} cannot be used" in result.output


def test_command__setting_out_of_range__names_it(tmp_path: Path) -> None:
    result = CliRunner(env={"AFTERBELL_SEAL_INTERVAL_MS": "1"}).invoke(exchange, ["--data-dir", str(tmp_path)])

    assert result.exit_code == 1
    assert "seal_interval_ms: input should be greater than or equal to 10, found '1'" in result.output
    assert "pydantic" not in result.output


def test_key__made_once__is_the_owners_alone_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "sequencer.key"

    made = read_or_create_key(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_create_key(path) == made == read_key(path)


def test_key__readable_by_others__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sequencer.key"
    read_or_create_key(path)
    path.chmod(0o644)

    with pytest.raises(KeyUnusable, match="found mode 644: chmod 600 it"):
        read_key(path)


def test_key__garbage__is_refused_without_being_shown(tmp_path: Path) -> None:
    path = tmp_path / "sequencer.key"
    path.write_text("not a key")
    path.chmod(0o600)

    with pytest.raises(KeyUnusable) as raised:
        read_key(path)
    assert "not a key" not in str(raised.value)
