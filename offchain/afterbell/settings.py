"""Settings of the exchange process: environment `AFTERBELL_…` over [exchange] of afterbell.toml, checked once.

Everything about an instance (addresses, markets, genesis) comes from the manifest in the data directory, not from here.
Must not: hold secrets; keys are files (adapters/keys.py).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from afterbell.configuration import read_table


class ExchangeSettings(BaseSettings):
    """What an operator may choose for one run; every field can be left alone."""

    model_config = SettingsConfigDict(env_prefix="AFTERBELL_", frozen=True, extra="ignore")

    data_dir: Path = Path("var")
    rpc_url: str = Field(default="http://127.0.0.1:8545", description="The chain's node.")
    rpc_timeout_ms: int = Field(default=5_000, ge=50)
    receipt_timeout_ms: int = Field(default=5_000, ge=50)
    settle_gas_limit: int = Field(default=16_700_000, ge=1_000_000, lt=1 << 24)
    max_batches_in_flight: int = Field(default=1, ge=1, le=64)
    seal_interval_ms: int = Field(default=500, ge=10)
    deposit_confirmations: int = Field(default=1, ge=1)
    final_confirmations: int = Field(default=2, ge=1)
    poll_ms: int = Field(default=100, ge=5)
    stop_timeout_ms: int = Field(default=30_000, ge=100)
    host: str = "127.0.0.1"
    port: int = Field(default=8720, ge=0, le=65_535)
    database_dsn: SecretStr = Field(default=SecretStr(""), description="Read model; empty: readmodel.sqlite, data_dir.")
    publisher_urls: tuple[str, ...] = Field(default=(), description="Price publishers; none: no replay runs.")
    speed_ppm: int = Field(default=1_000_000, ge=1, description="Replayed trading days a minute, in millionths.")
    log_level: str = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the configuration file below the environment."""
        table = dict(read_table("exchange", cls.model_fields))
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=table)

    @property
    def manifest_path(self) -> Path:
        """Where the deployment is described."""
        return self.data_dir / "manifest.json"

    @property
    def journal_path(self) -> Path:
        """Where the commands are."""
        return self.data_dir / "journal.log"

    @property
    def keys_dir(self) -> Path:
        """Where the local private keys are, each readable by its owner alone."""
        return self.data_dir / "keys"

    @property
    def log_path(self) -> Path:
        """Where the exchange's log lines go."""
        return self.data_dir / "logs" / "exchange.log"
