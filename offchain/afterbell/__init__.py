"""Afterbell: perpetual futures on single stocks, matched off chain and settled on chain.

`from afterbell import Client, AsyncClient` is the public SDK; it is imported when asked for, so that commands start
quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afterbell.sdk import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from afterbell import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
