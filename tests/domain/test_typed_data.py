import json
from dataclasses import fields, replace
from pathlib import Path
from random import Random

import pytest
from eth_account.messages import encode_typed_data
from eth_utils import keccak as reference_keccak

from afterbell.domain import digests
from afterbell.domain.order import (
    CancelAll,
    CancelOrder,
    LinkKey,
    Order,
    RevokeKey,
    TimeInForce,
    Transfer,
    TriggerKind,
    Withdraw,
)
from afterbell.signing.keys import recover_signature
from afterbell.signing.typed_data import (
    Message,
    OrderTree,
    PriceRoot,
    TypedDataDomain,
    digest,
    eth_typed_data,
    exchange_domain,
    price_domain,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "typed_data.json").read_text())
README = (Path(__file__).parents[2] / "contracts" / "README.md").read_text()


def random_order(rng: Random) -> Order:
    return Order(
        owner=rng.randbytes(20),
        subaccount=rng.getrandbits(rng.choice((1, 53, 80))),
        market_id=rng.getrandbits(8),
        epoch=rng.getrandbits(32),
        is_buy=rng.random() < 0.5,
        size_lots=rng.getrandbits(48),
        limit_ticks=rng.getrandbits(40),
        max_fee_ppm=rng.getrandbits(16),
        expiry_s=rng.getrandbits(40),
        lane=rng.getrandbits(16),
        seq=rng.getrandbits(40),
        reduce_only=rng.random() < 0.5,
        post_only=rng.random() < 0.5,
        time_in_force=rng.choice(tuple(TimeInForce)),
        trigger_ticks=rng.getrandbits(40),
        trigger_kind=rng.choice(tuple(TriggerKind)),
    )


def random_link(rng: Random, **fields: object) -> LinkKey:
    return LinkKey(
        key=rng.randbytes(20),
        key_expiry_s=rng.getrandbits(40),
        max_notional_quote=rng.getrandbits(64),
        markets=rng.getrandbits(32),
        trade_only=rng.random() < 0.5,
        reduce_only=rng.random() < 0.5,
        **fields,
    )


def reference_digest(message: Message | PriceRoot, domain: TypedDataDomain) -> bytes:
    """Hash through eth_account, which builds everything from the JSON a wallet gets."""
    encoded = encode_typed_data(full_message=eth_typed_data(message, domain))
    return reference_keccak(b"\x19" + encoded.version + encoded.header + encoded.body)


def test_order_digest__three_hundred_random_orders__equals_eth_account() -> None:
    rng = Random(20)
    for _ in range(300):
        domain = exchange_domain(rng.getrandbits(rng.choice((8, 64))), rng.randbytes(20))
        order = random_order(rng)

        assert digest(order, domain.separator()) == reference_digest(order, domain)


def test_operation_digests__a_hundred_random_ones__equal_eth_account() -> None:
    rng = Random(21)
    domain = exchange_domain(31_337, rng.randbytes(20))
    for _ in range(100):
        account = {"owner": rng.randbytes(20), "subaccount": rng.getrandbits(80)}
        tail = {"expiry_s": rng.getrandbits(40), "seq": rng.getrandbits(40)}
        for message in (
            Withdraw(**account, quote=rng.getrandbits(64), recipient=rng.randbytes(20), **tail),
            CancelOrder(**account, order_nonce=rng.getrandbits(56), **tail),
            CancelAll(**account, min_seq=rng.getrandbits(40), **tail),
            random_link(rng, **account, **tail),
            RevokeKey(**account, key=rng.randbytes(20), **tail),
            Transfer(**account, quote=rng.getrandbits(64), to_subaccount=rng.getrandbits(80), **tail),
            OrderTree(root=rng.randbytes(32)),
        ):
            assert digest(message, domain.separator()) == reference_digest(message, domain)


def test_price_root_digest__random_roots__equals_eth_account_under_its_own_domain() -> None:
    rng = Random(22)
    domain = price_domain(31_337, rng.randbytes(20))
    for _ in range(20):
        root = PriceRoot(root=rng.randbytes(32), publish_time_s=rng.getrandbits(40))

        assert digest(root, domain.separator()) == reference_digest(root, domain)


@pytest.mark.parametrize(
    "field",
    ["owner", "subaccount", "market_id", "epoch", "is_buy", "size_lots", "limit_ticks", "max_fee_ppm", "expiry_s",
     "lane", "seq", "reduce_only", "post_only", "time_in_force", "trigger_ticks", "trigger_kind"],
)  # fmt: skip
def test_order_digest__one_field_changed__is_another_digest(field: str) -> None:
    order = replace(random_order(Random(23)), time_in_force=TimeInForce.GTC, trigger_kind=TriggerKind.NONE)
    changed = {"owner": bytes(20), "time_in_force": TimeInForce.IOC, "trigger_kind": TriggerKind.INDEX_AT_OR_BELOW}
    value = changed[field] if field in changed else getattr(order, field) ^ 1
    other = replace(order, **{field: value})

    assert digests.hash_order(other) != digests.hash_order(order)


@pytest.mark.parametrize("field", [field.name for field in fields(LinkKey)])
def test_link_digest__one_field_changed__is_another_digest(field: str) -> None:
    link = random_link(Random(24), owner=b"\1" * 20, expiry_s=5, seq=6)
    value = bytes(20) if field in ("owner", "key") else getattr(link, field) ^ 1

    assert digests.hash_link_key(replace(link, **{field: value})) != digests.hash_link_key(link)


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 5, 8, 255, 256])
def test_tree_of_orders__every_leaf__leads_to_one_root_by_at_most_eight_words(n_leaves: int) -> None:
    leaves = [reference_keccak(bytes([number])) for number in range(n_leaves)]
    levels = digests.build_tree(leaves)

    for place, leaf in enumerate(leaves):
        proof = digests.build_proof(levels, place)
        assert digests.compute_root_of(leaf, proof) == levels[-1][0]
        assert len(proof) <= 8


def test_tree_of_three_orders__by_hand__third_moves_up_alone() -> None:
    a, b, c = (reference_keccak(bytes([number])) for number in range(3))
    pair = reference_keccak(min(a, b) + max(a, b))

    assert digests.build_tree([a, b, c])[-1][0] == reference_keccak(min(pair, c) + max(pair, c))


def read_message(kind: str, signed: dict) -> Message | PriceRoot:
    """Build our value from the signed names of a vector."""

    def number(name: str) -> int:
        return int(signed[name])

    def raw(name: str) -> bytes:
        return bytes.fromhex(signed[name][2:])

    if kind == "PRICE_ROOT":
        return PriceRoot(root=raw("root"), publish_time_s=number("publishTime"))
    if kind == "ORDER_TREE":
        return OrderTree(root=raw("root"))
    owner = {"owner": raw("owner"), "subaccount": number("subaccount"), "expiry_s": number("expiry")}
    if kind == "ORDER":
        return Order(
            **owner, market_id=number("market"), epoch=number("epoch"), is_buy=signed["isBuy"],
            size_lots=number("sizeLots"), limit_ticks=number("limitTicks"), max_fee_ppm=number("maxFeePpm"),
            lane=number("nonce") >> 40, seq=number("nonce") & 2**40 - 1, reduce_only=signed["reduceOnly"],
            post_only=signed["postOnly"], time_in_force=TimeInForce(number("timeInForce")),
            trigger_ticks=number("triggerTicks"), trigger_kind=TriggerKind(number("triggerKind")),
        )  # fmt: skip
    owner["seq"] = number("nonce") & 2**40 - 1
    if kind == "WITHDRAW":
        return Withdraw(**owner, quote=number("quote"), recipient=raw("recipient"))
    if kind == "CANCEL_ORDER":
        return CancelOrder(**owner, order_nonce=number("orderNonce"))
    if kind == "CANCEL_ALL":
        return CancelAll(**owner, min_seq=number("minSeq"))
    if kind == "TRANSFER":
        return Transfer(**owner, quote=number("quote"), to_subaccount=number("toSubaccount"))
    if kind == "REVOKE_KEY":
        return RevokeKey(**owner, key=raw("key"))
    return LinkKey(
        **owner, key=raw("key"), key_expiry_s=number("keyExpiry"), max_notional_quote=number("maxNotionalQuote"),
        markets=number("markets"), trade_only=signed["tradeOnly"], reduce_only=signed["reduceOnly"],
    )  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS["digests"], ids=lambda vector: vector["name"])
def test_digest__golden_vector__is_what_we_hash_and_recovers_to_its_signer(vector: dict) -> None:
    domain = TypedDataDomain(
        name=vector["domain"]["name"],
        chain_id=vector["domain"]["chain_id"],
        verifying_contract=bytes.fromhex(vector["domain"]["verifying_contract"][2:]),
    )

    actual = digest(read_message(vector["type"], vector["message"]), domain.separator())

    assert domain.separator().hex() == vector["domain_separator"][2:]
    assert actual.hex() == vector["digest"][2:]
    signer = recover_signature(actual, bytes.fromhex(vector["signature"][2:]))
    assert signer == bytes.fromhex(VECTORS["signer"][2:])


@pytest.mark.parametrize(
    "name",
    [
        "ORDER",
        "ORDER_TREE",
        "WITHDRAW",
        "CANCEL_ORDER",
        "CANCEL_ALL",
        "TRANSFER",
        "LINK_KEY",
        "REVOKE_KEY",
        "PRICE_ROOT",
    ],
)
def test_type_string__in_the_readme__is_the_one_we_hash(name: str) -> None:
    type_string = getattr(digests, f"{name}_TYPE")

    assert type_string in README
    assert getattr(digests, f"{name}_TYPE_HASH") == reference_keccak(text=type_string)
    assert VECTORS["type_hashes"][name] == "0x" + getattr(digests, f"{name}_TYPE_HASH").hex()
