"""Turn messages into digests, and into the JSON a wallet shows before it signs.

The type strings and struct hashes stand in domain/digests.py, once; here they meet a chain and a contract. Must not:
hold keys. Source: EIP-712, eth_signTypedData_v4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from afterbell.domain.digests import (
    CANCEL_ALL_TYPE,
    CANCEL_ORDER_TYPE,
    DOMAIN_NAME,
    DOMAIN_TYPE,
    DOMAIN_VERSION,
    LINK_KEY_TYPE,
    ORDER_TREE_TYPE,
    ORDER_TYPE,
    PRICE_DOMAIN_NAME,
    PRICE_ROOT_TYPE,
    REVOKE_KEY_TYPE,
    TRANSFER_TYPE,
    WITHDRAW_TYPE,
    build_digest,
    build_domain_separator,
    hash_operation,
    hash_order,
    hash_order_tree,
    hash_price_root,
)
from afterbell.domain.ids import address_hex
from afterbell.domain.order import CancelAll, CancelOrder, LinkKey, Operation, Order, RevokeKey, Transfer, Withdraw

JsonValue: TypeAlias = str | int | bool | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRoot:
    """What a publisher signs: the root of a tree of reports, and when it was published."""

    root: bytes
    publish_time_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTree:
    """What an owner or a key signs for many orders at once: the root of the tree over their struct hashes."""

    root: bytes


Message: TypeAlias = Order | OrderTree | Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedDataDomain:
    """The EIP-712 domain of one contract on one chain."""

    name: str = DOMAIN_NAME
    chain_id: int
    verifying_contract: bytes

    def separator(self) -> bytes:
        """Return the domain separator. Keep it: it costs three hashes."""
        return build_domain_separator(
            name=self.name, chain_id=self.chain_id, verifying_contract=self.verifying_contract
        )


def exchange_domain(chain_id: int, clearinghouse: bytes) -> TypedDataDomain:
    """Return the domain of orders and operations."""
    return TypedDataDomain(name=DOMAIN_NAME, chain_id=chain_id, verifying_contract=clearinghouse)


def price_domain(chain_id: int, price_source: bytes) -> TypedDataDomain:
    """Return the domain of price roots."""
    return TypedDataDomain(name=PRICE_DOMAIN_NAME, chain_id=chain_id, verifying_contract=price_source)


def struct_hash(message: Message | PriceRoot) -> bytes:
    """Return the struct hash of any message."""
    if isinstance(message, Order):
        return hash_order(message)
    if isinstance(message, OrderTree):
        return hash_order_tree(message.root)
    if isinstance(message, PriceRoot):
        return hash_price_root(message.root, message.publish_time_s)
    return hash_operation(message)


def digest(message: Message | PriceRoot, domain_separator: bytes) -> bytes:
    """Return the 32 bytes to sign. An order's digest is its order id."""
    return build_digest(domain_separator, struct_hash(message))


def parse_type(type_string: str) -> tuple[str, list[dict[str, str]]]:
    """Return the struct's name and its fields as wallets want them: [{"name", "type"}, …]."""
    name, _, rest = type_string.partition("(")
    fields = [field.rsplit(" ", 1) for field in rest.rstrip(")").split(",")]
    return name, [{"name": field_name, "type": field_type} for field_type, field_name in fields]


_TYPES: Final[dict[type, str]] = {
    Order: ORDER_TYPE,
    OrderTree: ORDER_TREE_TYPE,
    Withdraw: WITHDRAW_TYPE,
    CancelOrder: CANCEL_ORDER_TYPE,
    CancelAll: CANCEL_ALL_TYPE,
    Transfer: TRANSFER_TYPE,
    LinkKey: LINK_KEY_TYPE,
    RevokeKey: REVOKE_KEY_TYPE,
    PriceRoot: PRICE_ROOT_TYPE,
}


def message_fields(message: Message | PriceRoot) -> dict[str, JsonValue]:
    """Return the message under its signed names. Numbers above 2^53 cannot occur as JSON numbers: they are strings."""
    if isinstance(message, PriceRoot):
        return {"root": "0x" + message.root.hex(), "publishTime": message.publish_time_s}
    if isinstance(message, OrderTree):
        return {"root": "0x" + message.root.hex()}
    account: dict[str, JsonValue] = {"owner": address_hex(message.owner), "subaccount": str(message.subaccount)}
    if isinstance(message, Order):
        return account | {
            "market": message.market_id,
            "epoch": message.epoch,
            "isBuy": message.is_buy,
            "sizeLots": message.size_lots,
            "limitTicks": message.limit_ticks,
            "maxFeePpm": message.max_fee_ppm,
            "expiry": message.expiry_s,
            "nonce": str(message.nonce),
            "reduceOnly": message.reduce_only,
            "postOnly": message.post_only,
            "timeInForce": int(message.time_in_force),
            "triggerTicks": message.trigger_ticks,
            "triggerKind": int(message.trigger_kind),
        }
    tail: dict[str, JsonValue] = {"expiry": message.expiry_s, "nonce": str(message.nonce)}
    if isinstance(message, Withdraw):
        return account | {"quote": str(message.quote), "recipient": address_hex(message.recipient)} | tail
    if isinstance(message, CancelOrder):
        return account | {"orderNonce": str(message.order_nonce)} | tail
    if isinstance(message, CancelAll):
        return account | {"minSeq": message.min_seq} | tail
    if isinstance(message, Transfer):
        return account | {"quote": str(message.quote), "toSubaccount": str(message.to_subaccount)} | tail
    account["key"] = address_hex(message.key)
    if isinstance(message, RevokeKey):
        return account | tail
    return (
        account
        | {
            "keyExpiry": message.key_expiry_s,
            "maxNotionalQuote": str(message.max_notional_quote),
            "markets": message.markets,
            "tradeOnly": message.trade_only,
            "reduceOnly": message.reduce_only,
        }
        | tail
    )


def eth_typed_data(message: Message | PriceRoot, domain: TypedDataDomain) -> dict[str, JsonValue]:
    """Return the argument of eth_signTypedData_v4: types, primaryType, domain, message."""
    name, fields = parse_type(_TYPES[type(message)])
    domain_name, domain_fields = parse_type(DOMAIN_TYPE)
    types: dict[str, JsonValue] = {
        domain_name: [dict[str, JsonValue](field) for field in domain_fields],
        name: [dict[str, JsonValue](field) for field in fields],
    }
    return {
        "types": types,
        "primaryType": name,
        "domain": {
            "name": domain.name,
            "version": DOMAIN_VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": address_hex(domain.verifying_contract),
        },
        "message": message_fields(message),
    }
