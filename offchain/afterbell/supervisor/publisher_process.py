"""`afterbell publisher --index N`: one publisher as a process, on loopback."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click
import structlog
import uvicorn

from afterbell.adapters.history import load_history
from afterbell.adapters.keys import read_or_create_key
from afterbell.adapters.log_lines import configure_logging
from afterbell.adapters.publishers import LastTimeFile, build_publisher_app
from afterbell.cli import data_dir_option
from afterbell.domain.errors import AfterbellError
from afterbell.domain.manifest import parse_manifest
from afterbell.keepers.publisher import Publisher
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import price_domain

_log = structlog.get_logger(__name__)
_HOST = "127.0.0.1"


def publisher_key_path(data_dir: Path, index: int) -> Path:
    """Return where a publisher's key is kept."""
    return data_dir / "keys" / f"publisher-{index}.key"


@click.command()
@click.option("--index", type=click.IntRange(1, 255), required=True, help="Which publisher this is, from 1.")
@data_dir_option
@click.option("--port", type=click.IntRange(0, 65_535), default=0, show_default=True, help="0 takes a free port.")
def publisher(index: int, data_dir: Path, port: int) -> None:
    """Serve signed price reports of one publisher until SIGTERM or Ctrl-C."""
    name = f"publisher-{index}"
    log_file = configure_logging(data_dir / "logs" / f"{name}.log", level="INFO", process=name)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        manifest = parse_manifest((data_dir / "manifest.json").read_bytes())
        served = Publisher(
            history=load_history(data_dir),
            market_ids={market.symbol: market.market_id for market in manifest.markets},
            key=SigningKey(read_or_create_key(publisher_key_path(data_dir, index))),
            domain=price_domain(manifest.chain_id, manifest.get_address("signed_price_source")),
            last_time=LastTimeFile(data_dir / f"{name}.last"),
        )
        listener.bind((_HOST, port))
    except (AfterbellError, OSError) as error:
        _log.critical("publisher.faulted", problem=str(error))
        click.echo(f"{name}: stopped: {error}", err=True)
        sys.exit(1)
    server = uvicorn.Server(
        uvicorn.Config(build_publisher_app(served), log_config=None, access_log=False, timeout_graceful_shutdown=2)
    )
    _log.info("publisher.started", address="0x" + served.address.hex(), last_time_s=served.last_time_s)
    # Connections are taken from here on, by the backlog at first: whoever reads this line may ask.
    listener.listen()
    click.echo(f"{name}: listening on http://{_HOST}:{listener.getsockname()[1]}")
    server.run(sockets=[listener])
    log_file.flush()
