"""The page's files: all there, nothing from elsewhere, every module and every element they name exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from afterbell.gateway.routes.page import PAGE_FOLDER, VENDOR_FILES, find_node_modules
from tests.gateway.venue import Venue

Play = Callable[..., Any]
MODULES = sorted(PAGE_FOLDER.glob("*.js"))
needs_node_packages = pytest.mark.skipif(
    not find_node_modules().is_dir(), reason="the page's libraries come from npm: run `make install`"
)


def test_page__asked_for__served_with_a_policy_and_its_type(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return [await venue.http.get(path) for path in ("/", "/page/app.js", "/page/theme.css", "/favicon.ico")]

    responses = play(scenario)

    assert [response.status_code for response in responses] == [200] * 4
    kinds = [response.headers["content-type"].split(";")[0] for response in responses]
    assert kinds == ["text/html", "text/javascript", "text/css", "image/svg+xml"]
    assert all("default-src 'self'" in response.headers["content-security-policy"] for response in responses)


@needs_node_packages
def test_libraries__asked_for__served_from_this_machine(play: Play) -> None:
    async def scenario(venue: Venue) -> Any:
        return [await venue.http.get(f"/vendor/{name}") for name in VENDOR_FILES]

    responses = play(scenario)

    assert [response.status_code for response in responses] == [200] * len(VENDOR_FILES)
    assert all(len(response.content) > 100_000 for response in responses)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_module__imports_and_exports__exist(module: Any) -> None:
    text = module.read_text(encoding="utf-8")
    for names, source in re.findall(r"import \{([^}]*)\} from \"([^\"]+)\"", text):
        folder, _, name = source.lstrip("/").partition("/")
        assert folder in ("page", "vendor"), source
        if folder == "vendor":
            assert name in VENDOR_FILES
            continue
        exported = (PAGE_FOLDER / name).read_text(encoding="utf-8")
        for wanted in filter(None, (part.strip() for part in names.split(","))):
            assert re.search(rf"export (const|function|async function|class) {wanted}\b", exported), (source, wanted)
            assert len(re.findall(rf"\b{wanted}\b", text)) > 1, f"{module.name} does not use {wanted}"


def test_page__elements_the_modules_ask_for__stand_in_the_document() -> None:
    document = (PAGE_FOLDER / "index.html").read_text(encoding="utf-8")
    ids = set(re.findall(r"\bid=\"([^\"]+)\"", document))
    asked = {name for module in MODULES for name in re.findall(r"byId\(\"([^\"]+)\"\)", module.read_text("utf-8"))}

    assert asked - ids == set()


def test_page__all_files__name_no_other_origin() -> None:
    for path in PAGE_FOLDER.iterdir():
        if path.suffix in (".html", ".js", ".css", ".svg"):
            found = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text(encoding="utf-8")))
            assert found <= {"http://www.w3.org/2000/svg"}, path.name
