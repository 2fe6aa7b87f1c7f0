"""Client is AsyncClient that waits: same names, same parameters, same words."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from typing import Any, get_type_hints

import pytest

import afterbell
from afterbell.sdk import AsyncClient, Client

OWN_NAMES = {"aclose": "close"}


def public_names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_clients__public_names__are_the_same() -> None:
    expected = {OWN_NAMES.get(name, name) for name in public_names(AsyncClient)}

    assert public_names(Client) == expected
    assert len(expected) > 50


@pytest.mark.parametrize("name", sorted(public_names(Client) - {"close"} | {"__init__"}))
def test_clients__each_call__has_the_same_signature_and_words(name: str) -> None:
    ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
    if isinstance(ours, property):
        assert isinstance(theirs, property) and ours.fget.__annotations__ == theirs.fget.__annotations__
        assert ours.__doc__ and theirs.__doc__
        return

    assert inspect.signature(ours) == inspect.signature(theirs)
    assert ours.__doc__ and theirs.__doc__
    if name != "__init__":
        assert ours.__doc__ == theirs.__doc__
        assert not inspect.iscoroutinefunction(ours) and not inspect.isasyncgenfunction(ours)
        assert inspect.iscoroutinefunction(theirs) or inspect.isasyncgenfunction(theirs)


def test_signature_check__a_parameter_missing__is_caught() -> None:
    """The comparison above can fail: a wrapper that forgets a parameter has another signature."""

    def book(self: Client, symbol: str) -> Any:
        return self.book(symbol)

    assert inspect.signature(book) != inspect.signature(AsyncClient.book)


def test_public_calls__each__says_what_it_does_in_a_sentence() -> None:
    for name in public_names(AsyncClient):
        call = getattr(AsyncClient, name)
        first_line = (call.__doc__ or "").strip().splitlines()[0]
        assert first_line.endswith((".", ":")), name


def test_iterators__types__async_there_and_plain_here() -> None:
    hints = get_type_hints(AsyncClient.live_book)

    assert hints["return"].__origin__ is AsyncGenerator
    assert inspect.isgeneratorfunction(Client.live_book)


def test_package__names__come_from_the_sdk() -> None:
    assert afterbell.Client is Client and afterbell.AsyncClient is AsyncClient
