"""Shapes of what comes in: checked here once. Twin: schemas.py, what goes out.

Lots, ticks and times are JSON integers (< 2^53); `*_quote` and nonces come in as strings or integers. Must not: hold
rules of the exchange; ranges here are those of the signed types (contracts/README.md, "Typed data").
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from afterbell.domain.ids import MAX_MARKETS, MAX_SUBACCOUNT
from afterbell.domain.order import UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT40_MAX, UINT48_MAX, UINT56_MAX, UINT64_MAX
from afterbell.gateway import examples
from afterbell.gateway.schemas import TimeInForceName, shown_as

MAX_BATCH_ITEMS: Final = 20
CLIENT_ID_PATTERN: Final = r"^[A-Za-z0-9_.:\-]{0,36}$"


def _read_decimal(found: Any) -> Any:
    """Read a decimal string as the integer it spells; leave everything else to the field's own check."""
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 42:
        return int(found)
    return found


Account = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-f]{60}$")]
Address = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-fA-F]{40}$")]
Hash = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-f]{64}$")]
SignatureHex = Annotated[str, StringConstraints(strict=True, pattern=r"^0x([0-9a-fA-F]{128}|[0-9a-fA-F]{130})$")]
ClientId = Annotated[str, StringConstraints(strict=True, pattern=CLIENT_ID_PATTERN)]
Flag = Annotated[bool, Field(strict=True)]
Uint8 = Annotated[int, Field(strict=True, ge=0, le=UINT8_MAX)]
Uint16 = Annotated[int, Field(strict=True, ge=0, le=UINT16_MAX)]
Uint32 = Annotated[int, Field(strict=True, ge=0, le=UINT32_MAX)]
Uint40 = Annotated[int, Field(strict=True, ge=0, le=UINT40_MAX)]
Uint48 = Annotated[int, Field(strict=True, ge=0, le=UINT48_MAX)]
Uint56 = Annotated[int, BeforeValidator(_read_decimal), Field(strict=True, ge=0, le=UINT56_MAX)]
Uint64 = Annotated[int, BeforeValidator(_read_decimal), Field(strict=True, ge=0, le=UINT64_MAX)]
Uint80 = Annotated[int, BeforeValidator(_read_decimal), Field(strict=True, ge=0, le=MAX_SUBACCOUNT)]
Uint138 = Annotated[int, BeforeValidator(_read_decimal), Field(strict=True, ge=0, lt=1 << 138)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DomainIn(_In):
    """The EIP-712 domain the client signed under; optional, lets a wrong chain be told from a wrong key."""

    model_config = shown_as(examples.SIGNED_DOMAIN)

    chain_id: Annotated[int, Field(strict=True, ge=0, le=UINT64_MAX)] | None = None
    verifying_contract: Address | None = None


class OrderIn(_In):
    """The signed fields of an order."""

    model_config = shown_as(examples.ORDER_FIELDS)

    account: Account
    market: Uint8
    epoch: Uint32
    is_buy: Flag
    size_lots: Uint48
    limit_ticks: Uint40
    max_fee_ppm: Uint16
    expiry_s: Uint40
    nonce: Uint56
    reduce_only: Flag = False
    post_only: Flag = False
    time_in_force: TimeInForceName = "GTC"
    trigger_ticks: Uint40 = 0
    trigger_kind: Annotated[int, Field(strict=True, ge=0, le=4)] = 0


class PlaceOrderIn(_In):
    model_config = shown_as(examples.PLACE_ORDER)

    order: OrderIn
    signature: SignatureHex | None = None
    client_id: ClientId = ""
    domain: DomainIn | None = None


class CancelIn(_In):
    model_config = shown_as(examples.CANCEL_FIELDS)

    account: Account
    order_nonce: Uint56
    expiry_s: Uint40
    nonce: Uint56


class CancelOrderIn(_In):
    model_config = shown_as(examples.CANCEL_ORDER)

    cancel: CancelIn
    signature: SignatureHex | None = None
    domain: DomainIn | None = None


class CancelEverythingIn(_In):
    model_config = shown_as(examples.CANCEL_ALL_FIELDS)

    account: Account
    min_seq_ms: Uint40
    expiry_s: Uint40
    nonce: Uint56


class CancelAllIn(_In):
    model_config = shown_as(examples.CANCEL_ALL)

    cancel_all: CancelEverythingIn
    signature: SignatureHex | None = None
    domain: DomainIn | None = None


class AmendOrderIn(_In):
    """Replace a live order of the same lane; refused if more has filled than the client knows."""

    model_config = shown_as(examples.AMEND_ORDER)

    order_id: Hash = Field(description="the order to replace")
    filled_lots: Uint48 = Field(description="what the client believes it has filled")
    order: OrderIn
    signature: SignatureHex | None = None
    client_id: ClientId = ""
    domain: DomainIn | None = None


class BatchItemIn(_In):
    """Exactly one of the four, with the body of its own route."""

    model_config = shown_as(examples.BATCH_ITEM)

    place: PlaceOrderIn | None = None
    amend: AmendOrderIn | None = None
    cancel: CancelOrderIn | None = None
    cancel_all: CancelAllIn | None = None

    @model_validator(mode="after")
    def _must_be_one(self) -> BatchItemIn:
        if sum(body is not None for body in (self.place, self.amend, self.cancel, self.cancel_all)) != 1:
            raise ValueError("an item has exactly one of place, amend, cancel, cancel_all")
        return self

    @property
    def request(self) -> PlaceOrderIn | AmendOrderIn | CancelOrderIn | CancelAllIn:
        """Return the body."""
        request = self.place or self.amend or self.cancel or self.cancel_all
        assert request is not None  # _must_be_one
        return request

    @property
    def is_cancel(self) -> bool:
        """Tell whether it only cancels."""
        return self.place is None and self.amend is None


class OrderBatchIn(_In):
    model_config = shown_as(examples.ORDER_BATCH)

    items: Annotated[list[BatchItemIn], Field(min_length=1, max_length=MAX_BATCH_ITEMS)]


class WithdrawFieldsIn(_In):
    model_config = shown_as(examples.WITHDRAW_FIELDS)

    account: Account
    quote: Uint64
    recipient: Address
    expiry_s: Uint40
    nonce: Uint56


class WithdrawIn(_In):
    model_config = shown_as(examples.WITHDRAW)

    withdrawal: WithdrawFieldsIn
    signature: SignatureHex | None = None
    approved: Flag = Field(default=False, description="instead of a signature: Operations.approve(digest) is mined")
    domain: DomainIn | None = None


class TransferFieldsIn(_In):
    model_config = shown_as(examples.TRANSFER_FIELDS)

    account: Account
    to_subaccount: Uint80 = Field(description="the subaccount of the same owner that receives")
    quote: Uint64
    expiry_s: Uint40
    nonce: Uint56


class TransferIn(_In):
    model_config = shown_as(examples.SIGNED_TRANSFER)

    transfer: TransferFieldsIn
    signature: SignatureHex | None = None
    approved: Flag = Field(default=False, description="instead of a signature: Operations.approve(digest) is mined")
    domain: DomainIn | None = None


class LinkKeyFieldsIn(_In):
    """The signed limits of a session key."""

    model_config = shown_as(examples.LINK_KEY_FIELDS)

    account: Account
    key: Address
    key_expiry_s: Uint40
    max_notional_quote: Uint64 = Field(description="of one order, at the worst of limit, mark and external price")
    markets: Annotated[list[Annotated[int, Field(strict=True, ge=1, le=MAX_MARKETS)]], Field(max_length=MAX_MARKETS)]
    trade_only: Flag = False
    reduce_only: Flag = False
    expiry_s: Uint40
    nonce: Uint56


class LinkKeyIn(_In):
    model_config = shown_as(examples.LINK_KEY)

    link_key: LinkKeyFieldsIn
    signature: SignatureHex | None = None
    approved: Flag = False
    domain: DomainIn | None = None


class RevokeKeyFieldsIn(_In):
    model_config = shown_as(examples.REVOKE_KEY_FIELDS)

    account: Account
    key: Address
    expiry_s: Uint40
    nonce: Uint56


class RevokeKeyIn(_In):
    model_config = shown_as(examples.REVOKE_KEY)

    revoke_key: RevokeKeyFieldsIn
    signature: SignatureHex | None = None
    approved: Flag = False
    domain: DomainIn | None = None


class ClaimIn(_In):
    model_config = shown_as(examples.CLAIM)

    recipient: Address


class AuthorizationIn(_In):
    """What the sender signed with EIP-3009: the token's nonce is keccak(abi_encode(account, key, limits, salt))."""

    model_config = shown_as(examples.AUTHORIZATION_FIELDS)

    sender: Address
    owner: Address
    subaccount: Uint80 = 0
    quote: Uint64
    valid_after_s: Uint64
    valid_before_s: Uint64
    salt: Hash
    key: Address = Field(
        default="0x" + "00" * 20, description="session key to link in the same transaction; zero: none"
    )
    limits: Uint138 = Field(default=0, description="bits 0-137 of its session key word")


class DepositAuthorizationIn(_In):
    model_config = shown_as(examples.DEPOSIT_AUTHORIZATION)

    authorization: AuthorizationIn
    signature: SignatureHex


class FaucetIn(_In):
    model_config = shown_as(examples.FAUCET)

    address: Address


class RpcIn(_In):
    """One JSON-RPC request to the local node; only a few methods pass."""

    model_config = shown_as(examples.RPC)

    jsonrpc: Literal["2.0"] = "2.0"
    id: int | Annotated[str, StringConstraints(max_length=64)] | None = None
    method: Annotated[str, StringConstraints(strict=True, max_length=64)]
    params: Annotated[list[Any], Field(max_length=8)] = []
