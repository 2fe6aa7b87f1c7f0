"""afterbell.toml: what it may say, what wins over it, and how a mistake in it is told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from afterbell.cli import COMMANDS, LazyGroup, main
from afterbell.configuration import CONFIG_VARIABLE
from afterbell.console.connection import client_options
from afterbell.settings import ExchangeSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "afterbell.example.toml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_VARIABLE, "")
    for name in ("AFTERBELL_URL", "AFTERBELL_SEAL_INTERVAL_MS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, arguments)


def test_config__url_of_the_file__is_used_by_status(here: Path) -> None:
    (here / "afterbell.toml").write_text('[client]\nurl = "http://127.0.0.1:9"\n')

    result = run("status")

    assert result.exit_code == 2
    assert "no answer from http://127.0.0.1:9" in result.output


def test_config__client_table_with_a_key_file__does_not_disturb_status(here: Path) -> None:
    (here / "afterbell.toml").write_text('[client]\nurl = "http://127.0.0.1:9"\nkey-file = "trader.key"\n')

    assert "no answer from http://127.0.0.1:9" in run("status").output


def test_config__environment__wins_over_the_file(here: Path) -> None:
    (here / "afterbell.toml").write_text('[client]\nurl = "http://127.0.0.1:9"\n')

    result = run("status", AFTERBELL_URL="http://127.0.0.1:11")

    assert "no answer from http://127.0.0.1:11" in result.output


def test_config__option__wins_over_environment_and_file(here: Path) -> None:
    (here / "afterbell.toml").write_text('[client]\nurl = "http://127.0.0.1:9"\n')

    result = run("status", "--url", "http://127.0.0.1:13", AFTERBELL_URL="http://127.0.0.1:11")

    assert "no answer from http://127.0.0.1:13" in result.output


def test_config__own_table__wins_over_the_shared_one(here: Path) -> None:
    (here / "afterbell.toml").write_text('[client]\nurl = "http://127.0.0.1:9"\n[status]\nurl = "http://127.0.0.1:7"\n')

    assert "no answer from http://127.0.0.1:7" in run("status").output


def test_config__named_file__is_read_instead_of_the_one_here(here: Path) -> None:
    (here / "afterbell.toml").write_text('[client]\nurl = "http://127.0.0.1:9"\n')
    other = here / "other.toml"
    other.write_text('[client]\nurl = "http://127.0.0.1:15"\n')

    assert "no answer from http://127.0.0.1:15" in run("--config", str(other), "status").output
    assert "no answer from http://127.0.0.1:15" in run("status", **{CONFIG_VARIABLE: str(other)}).output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[client]\nulr = 1\n", ["[client] has no setting 'ulr'", "did you mean 'url'?"]),
        ("[cleint]\nurl = 1\n", ["[cleint] is no table", "did you mean 'client'?"]),
        ("url = 1\n", ["'url' stands outside a table"]),
        ("[client\n", ["must be TOML", "afterbell.toml"]),
    ],
)
def test_config__mistake__is_named_and_nothing_runs(here: Path, text: str, words: list[str]) -> None:
    (here / "afterbell.toml").write_text(text)

    result = run("status")

    assert result.exit_code == 1
    assert all(word in result.output for word in words), result.output
    assert "no answer" not in result.output


def test_config__value_of_the_wrong_kind__is_refused_naming_the_file(here: Path) -> None:
    (here / "afterbell.toml").write_text('[up]\nport = "eighty"\n')

    result = run("up")

    assert result.exit_code == 2
    assert "'eighty' is not a valid int" in result.output
    assert "(set in afterbell.toml)" in result.output


def test_config__missing_file__is_refused(here: Path) -> None:
    result = run("--config", str(here / "nothing.toml"), "status")

    assert result.exit_code == 1
    assert "nothing.toml cannot be read: No such file" in result.output


def test_config__exchange_table__is_below_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "afterbell.toml").write_text("[exchange]\nseal_interval_ms = 250\npoll-ms = 20\n")

    assert ExchangeSettings().seal_interval_ms == 250
    assert ExchangeSettings().poll_ms == 20
    monkeypatch.setenv("AFTERBELL_SEAL_INTERVAL_MS", "300")
    assert ExchangeSettings().seal_interval_ms == 300
    assert ExchangeSettings(seal_interval_ms=400).seal_interval_ms == 400


def test_config__exchange_table_with_a_typo__refuses_to_start(here: Path) -> None:
    (here / "afterbell.toml").write_text("[exchange]\nseal_intervall_ms = 250\n")

    result = run("exchange", "--port", "0")

    assert result.exit_code == 1
    assert "did you mean 'seal-interval-ms'?" in result.output


def test_example__every_line__is_a_setting_with_its_default() -> None:
    """The example is documentation: an option added, renamed or changed must show in it."""
    uncommented = re.sub(r"(?m)^# ([a-z_-]+ = .*)$", r"\1", EXAMPLE.read_text())
    tables = tomllib.loads(uncommented)
    group = main
    assert isinstance(group, LazyGroup)
    context = click.Context(group)

    exchange = tables.pop("exchange")
    fields = ExchangeSettings.model_fields
    assert set(exchange) == set(fields)
    for name, value in exchange.items():
        default = fields[name].get_default()
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        assert str(list(shown) if isinstance(shown, tuple) else shown) == str(value), name

    @click.command()
    @client_options
    def client() -> None: ...

    for table, settings in tables.items():
        command = client if table == "client" else group.get_command(context, table)
        assert command is not None, table
        options = {option[2:]: parameter for parameter in command.params for option in parameter.opts}
        for name, value in settings.items():
            assert name in options, (table, name)
            default = options[name].get_default(context)
            # No default of its own: the help text tells it, the example shows it or a likely value.
            assert default is None or default == () or str(default) == str(value), (table, name)


def test_commands__each__has_help_without_a_traceback() -> None:
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0, (name, result.output)
        assert "Usage:" in result.output


def test_account__no_key_and_no_owner__names_both_options(here: Path) -> None:
    result = run("account", "--url", "http://127.0.0.1:1", "show")

    assert result.exit_code == 1
    assert "--key-file, --owner" in result.output
