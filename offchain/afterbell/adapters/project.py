"""Find the checkout the package runs from: contracts, node packages and built files live beside it, not inside it."""

from __future__ import annotations

from pathlib import Path

from afterbell.domain.errors import AfterbellError


class CheckoutMissing(AfterbellError):
    """The package is not where the rest of the project is."""


def find_project_root() -> Path:
    """Return the folder that holds contracts/ and offchain/.

    Raises: CheckoutMissing.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "contracts").is_dir() or not (root / "pyproject.toml").is_file():
        raise CheckoutMissing(f"afterbell runs from its checkout: contracts/ and pyproject.toml are required in {root}")
    return root
