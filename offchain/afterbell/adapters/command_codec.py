"""Turn commands into journal payloads and back: msgpack maps, tagged by the command's name under "type".

MessagePack integers end at 64 bits, an account id has 240: under "account" stand its 30 bytes, as everywhere on chain.
Must not: know frames. Twin: domain/commands.py, whose fields these are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from afterbell.domain.commands import (
    CancelAll,
    CancelOrder,
    Command,
    CreditDeposit,
    RequestWithdrawal,
)
from afterbell.domain.ids import account_bytes

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(dict[str, Any])
_WITH_ACCOUNT: Final = (CancelOrder, CancelAll, RequestWithdrawal, CreditDeposit)


def encode_command(command: Command) -> bytes:
    """Return the payload. Raises: ValueError for a number no command may carry."""
    try:
        if isinstance(command, _WITH_ACCOUNT):
            fields = {"type": type(command).__name__, **msgspec.structs.asdict(command)}
            return _ENCODER.encode(fields | {"account": account_bytes(command.account)})
        return _ENCODER.encode(command)
    except OverflowError as error:
        raise ValueError(f"a number of {type(command).__name__} does not fit the journal: {error}") from error


def decode_command(payload: bytes) -> Command:
    """Read what encode_command wrote. Raises: msgspec.DecodeError, for unknown commands and fields too."""
    fields = _DECODER.decode(payload)
    account = fields.get("account")
    if isinstance(account, bytes):
        fields["account"] = int.from_bytes(account, "big")
    # The alias of a union is no class to the checker; msgspec reads it as the tagged union it is.
    command: Command = msgspec.convert(fields, Command, builtin_types=(bytes,))
    return command
