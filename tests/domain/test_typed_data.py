import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from eth_account.messages import encode_typed_data
from eth_utils import keccak as reference_keccak

from afterbell.domain import digests
from afterbell.domain.order import CancelAll, CancelOrder, Order, TimeInForce, TriggerKind, Withdraw
from afterbell.signing.typed_data import (
    Message,
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


@pytest.mark.parametrize("vector", VECTORS["digests"], ids=lambda vector: vector["name"])
def test_digest__golden_vector__is_unchanged(vector: dict) -> None:
    separator = bytes.fromhex(vector["domain_separator"][2:])
    struct_hash = bytes.fromhex(vector["struct_hash"][2:])

    assert digests.build_digest(separator, struct_hash).hex() == vector["digest"][2:]


@pytest.mark.parametrize("name", ["ORDER", "WITHDRAW", "CANCEL_ORDER", "CANCEL_ALL", "PRICE_ROOT"])
def test_type_string__in_the_readme__is_the_one_we_hash(name: str) -> None:
    type_string = getattr(digests, f"{name}_TYPE")

    assert type_string in README
    assert getattr(digests, f"{name}_TYPE_HASH") == reference_keccak(text=type_string)
    assert VECTORS["type_hashes"][name] == "0x" + getattr(digests, f"{name}_TYPE_HASH").hex()
