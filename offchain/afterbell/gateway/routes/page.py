"""Serve the web page and the two libraries it uses, from files of this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from afterbell.domain.codes import RejectReason
from afterbell.gateway.errors import ApiError

PAGE_FOLDER: Final = Path(__file__).resolve().parent.parent / "page"
VENDOR_FILES: Final = {
    "ethers.js": "ethers/dist/ethers.min.js",
    "lightweight-charts.js": "lightweight-charts/dist/lightweight-charts.standalone.production.mjs",
}
_MEDIA_TYPES: Final = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".html": "text/html",
    ".png": "image/png",
}
# Scripts from here only. Styles inline too: the chart library writes some.
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def find_node_modules() -> Path:
    """Return where npm puts packages of this checkout."""
    return PAGE_FOLDER.parents[3] / "node_modules"


def install_page(app: FastAPI, node_modules: Path | None) -> None:
    """Add /, /page/… and /vendor/…, the last from the checkout unless another folder is named."""
    libraries = node_modules or find_node_modules()
    files = {path.name: path for path in sorted(PAGE_FOLDER.iterdir()) if path.suffix in _MEDIA_TYPES}

    @app.get("/", include_in_schema=False)
    async def get_page() -> Response:
        return _send(files.get("index.html"), "index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def get_icon() -> Response:
        return _send(files.get("favicon.svg"), "favicon.svg")

    @app.get("/page/{name}", include_in_schema=False)
    async def get_page_file(name: str) -> Response:
        return _send(files.get(name), name)

    @app.get("/vendor/{name}", include_in_schema=False)
    async def get_vendor_file(name: str) -> Response:
        relative = VENDOR_FILES.get(name)
        path = None if relative is None else libraries / relative
        return _send(path, name, max_age_s=86_400)


def _send(path: Path | None, name: str, *, max_age_s: int = 0) -> Response:
    if path is None or not path.is_file():
        raise ApiError(
            RejectReason.NOT_FOUND,
            "no such file",
            required="a file of the page",
            found=name[:100],
            action="run `make install` if /vendor is missing",
        )
    cache = f"public, max-age={max_age_s}" if max_age_s else "no-cache"
    return FileResponse(
        path,
        media_type=_MEDIA_TYPES.get(path.suffix, "text/javascript"),
        headers=_SECURITY_HEADERS | {"Cache-Control": cache},
    )
