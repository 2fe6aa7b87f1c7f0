"""Publishers over HTTP: the server each of them runs on loopback, and the replay keeper's way to it.

    GET /root?time_s=N   {"publisher", "time_s", "root", "reports": [{"market", "session", "price_e8",
    "confidence_e8"}], "r", "vs"}
                         409 {"error"} for a time before the last or outside the history, 400 for no time
    GET /healthz         {"publisher", "last_time_s"}

Prices are decimal strings: 64 bits do not fit a JSON number everywhere. Must not: decide what is signed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from afterbell.domain.errors import AfterbellError
from afterbell.domain.evidence import PriceReport
from afterbell.keepers.collection import PublisherUnavailable
from afterbell.keepers.publisher import Publisher, SignedRoot, TimeRefused

_log = structlog.get_logger(__name__)
_TIMEOUT_S: Final = 3.0


class LastTimeBroken(AfterbellError):
    """The file with a publisher's last time cannot be read: signing without it could rewrite the past."""


class LastTimeFile:
    """Keeps a publisher's last signed time in a file, replaced whole and synced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_s(self) -> int:
        """Return the last time, 0 before the first. Raises: LastTimeBroken."""
        try:
            return int(self._path.read_text())
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            raise LastTimeBroken(f"{self._path} must hold one number of seconds: {error}") from error

    def write_s(self, time_s: int) -> None:
        """Make a new last time durable before anything is signed with it."""
        partial = self._path.with_suffix(".partial")
        with partial.open("w") as file:
            file.write(f"{time_s}\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)


def build_publisher_app(publisher: Publisher) -> Starlette:
    """Return the HTTP side of one publisher."""

    async def get_root(request: Request) -> JSONResponse:
        text = request.query_params.get("time_s", "")
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            return JSONResponse({"error": f"time_s: a number of seconds is required, found {text[:40]!r}"}, 400)
        try:
            signed = publisher.sign_root(int(text))
        except TimeRefused as error:
            _log.warning("root.refused", problem=str(error))
            return JSONResponse({"error": str(error)}, 409)
        return JSONResponse(format_signed_root(signed))

    async def get_health(_: Request) -> JSONResponse:
        return JSONResponse({"publisher": "0x" + publisher.address.hex(), "last_time_s": publisher.last_time_s})

    return Starlette(routes=[Route("/root", get_root), Route("/healthz", get_health)])


def format_signed_root(signed: SignedRoot) -> dict[str, Any]:
    """Return the JSON form of a signed root."""
    return {
        "publisher": "0x" + signed.publisher.hex(),
        "time_s": signed.time_s,
        "root": "0x" + signed.root.hex(),
        "reports": [
            {
                "market": report.market_id,
                "session": int(report.session),
                "price_e8": str(report.price_e8),
                "confidence_e8": str(report.confidence_e8),
            }
            for report in signed.reports
        ],
        "r": "0x" + signed.r.hex(),
        "vs": "0x" + signed.vs.hex(),
    }


def parse_signed_root(document: Any) -> SignedRoot:
    """Read what format_signed_root writes. Raises: ValueError."""
    try:
        return SignedRoot(
            publisher=_parse_hex(document["publisher"], 20),
            time_s=int(document["time_s"]),
            root=_parse_hex(document["root"], 32),
            reports=tuple(
                PriceReport(
                    market_id=int(report["market"]),
                    session=int(report["session"]),
                    price_e8=int(report["price_e8"]),
                    confidence_e8=int(report["confidence_e8"]),
                )
                for report in document["reports"]
            ),
            r=_parse_hex(document["r"], 32),
            vs=_parse_hex(document["vs"], 32),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no signed root: {error!r}") from error


def _parse_hex(text: str, n_bytes: int) -> bytes:
    parsed = bytes.fromhex(text.removeprefix("0x"))
    if len(parsed) != n_bytes:
        raise ValueError(f"{n_bytes} bytes are required, found {len(parsed)}")
    return parsed


class HttpRootFetcher:
    """Implements keepers.collection.RootFetcher."""

    def __init__(self, url: str, *, http_transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take a publisher's address, e.g. http://127.0.0.1:8731."""
        self._url = url.rstrip("/")
        # A proxy of the environment must not be asked for a loopback address.
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, transport=http_transport)

    @property
    def name(self) -> str:
        """Name it in logs by its address."""
        return self._url

    async def fetch_root(self, time_s: int) -> SignedRoot:
        """Return what the publisher signs for a second. Raises: PublisherUnavailable."""
        try:
            response = await self._http.get(f"{self._url}/root", params={"time_s": time_s})
        except httpx.HTTPError as error:
            raise PublisherUnavailable(f"{type(error).__name__} {error}".rstrip()) from error
        try:
            if response.status_code != httpx.codes.OK:
                raise PublisherUnavailable(f"HTTP {response.status_code}: {_read_problem(response)}")
            return parse_signed_root(response.json())
        except ValueError as error:
            raise PublisherUnavailable(f"no signed root: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _read_problem(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return response.text[:200]
