"""Keep local private keys in files that only their owner may read, one key a file, 64 hex digits.

Meant for a venue on one machine; a venue with money at stake brings its own signer. Must not: print or log a key.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from afterbell.domain.errors import AfterbellError
from afterbell.signing.keys import SigningKey

_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077


class KeyUnusable(AfterbellError):
    """A key file is missing, open to others, or holds no key."""


def read_key(path: Path) -> bytes:
    """Return the 32 bytes of a private key. Raises: KeyUnusable, naming the file and what to do."""
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except OSError as error:
        raise KeyUnusable(f"a private key is required in {path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise KeyUnusable(f"{path} must be readable by its owner alone, found mode {mode & 0o777:o}: chmod 600 it")
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
        SigningKey(key)
    except ValueError as error:
        raise KeyUnusable(f"{path} must hold a private key as 64 hex digits") from error
    return key


def read_or_create_key(path: Path) -> bytes:
    """Return the key in `path`, making one first if there is none. Raises: KeyUnusable."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_bytes(32).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    return read_key(path)
