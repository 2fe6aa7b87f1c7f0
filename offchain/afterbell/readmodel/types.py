"""Store wide integers and identifiers exactly, on SQLite and on PostgreSQL.

SQLite has no exact number above 64 bits (NUMERIC turns into a float there), so wide integers are decimal text in SQLite
and NUMERIC in PostgreSQL. Must not: accept anything but int and bytes.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, LargeBinary, Numeric, String
from sqlalchemy.types import TypeDecorator, TypeEngine

MAX_UINT256: Final = (1 << 256) - 1
MAX_QUOTE: Final = (1 << 127) - 1


class _ExactInteger(TypeDecorator[int]):
    """An integer of at most `n_digits`, never a float on the way."""

    impl = String
    cache_ok = True
    n_digits = 78
    low = 0
    high = MAX_UINT256

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(self.n_digits, 0))
        return dialect.type_descriptor(String(self.n_digits + 1))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueError(f"{type(self).__name__} must be an int in [{self.low}, {self.high}], found {value!r}")
        return value if dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


class Uint256(_ExactInteger):
    """An unsigned word of the chain."""

    cache_ok = True


class Quote(_ExactInteger):
    """Signed stablecoin base units. Compared and summed in Python only: SQLite holds them as text."""

    cache_ok = True
    n_digits = 39
    low = -MAX_QUOTE
    high = MAX_QUOTE


class FixedBytes(TypeDecorator[bytes]):
    """Exactly `length` bytes: a hash, an account, an address."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        if value is not None and len(value) != self.length:
            raise ValueError(f"required {self.length} bytes, found {len(value)}")
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else bytes(value)


Int64: Final = BigInteger
"""Lots, ticks, times: below 2^63 by their lanes."""
