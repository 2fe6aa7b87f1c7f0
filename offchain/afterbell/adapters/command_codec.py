"""Turn commands into journal payloads and back: msgpack maps, tagged by the command's name under "type".

MessagePack integers end at 64 bits, an account id has 240: under "account" stand its 30 bytes, as everywhere on chain.
Must not: know frames. Twin: domain/commands.py, whose fields these are.
"""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from afterbell.domain.commands import (
    AdoptDirectOperation,
    CancelAll,
    CancelOrder,
    Command,
    CreditDeposit,
    LinkKey,
    RequestTransfer,
    RequestWithdrawal,
    RevokeKey,
)
from afterbell.domain.ids import account_bytes

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(dict[str, Any])
_CLASSES: Final[dict[str, type[Command]]] = {command.__name__: command for command in get_args(Command)}
_WITH_ACCOUNT: Final = (
    CancelOrder,
    CancelAll,
    RequestWithdrawal,
    RequestTransfer,
    LinkKey,
    RevokeKey,
    AdoptDirectOperation,
    CreditDeposit,
)


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
    # By class: asked for the union, convert would build its type anew for every frame and triple the time of a start.
    command_class = _CLASSES.get(fields.get("type", ""))
    if command_class is None:
        raise msgspec.ValidationError(f"unknown command {fields.get('type')!r}")
    return msgspec.convert(fields, command_class, builtin_types=(bytes,))
