"""Feeds of others on the chain of a test: Pyth's and Chainlink's own stand-ins, and sources of ours that read them."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode as abi_encode

from afterbell.domain.hashing import keccak
from afterbell.signing.keys import SigningKey
from tests.support.chain import GAS, GOVERNOR, OUTSIDER, Chain, encode_call
from tests.support.counterparts import compiled

VERIFIER_KEY = SigningKey(b"\x5d" * 32)
PRICE_TYPES = "(int64,uint64,int32,uint256)"


def selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


def create_aggregator(chain: Chain, decimals: int = 8, answer: int = 0) -> str:
    """Return Chainlink's MockV3Aggregator."""
    made = compiled("Aggregator").creation_code
    return chain.create_code(made + abi_encode(["uint8", "int256"], [decimals, answer]))


def set_round(chain: Chain, feed: str, answer: int, time_s: int, *, round_id: int = 1) -> None:
    calldata = selector("updateRoundData(uint80,int256,uint256,uint256)") + abi_encode(
        ["uint80", "int256", "uint256", "uint256"], [round_id, answer, time_s, time_s]
    )
    chain.transact(OUTSIDER, feed, calldata)


def create_pyth(chain: Chain, *, fee_wei: int = 0) -> str:
    """Return Pyth's MockPyth; every update costs fee_wei."""
    made = compiled("Pyth").creation_code
    return chain.create_code(made + abi_encode(["uint256", "uint256"], [60, fee_wei]))


def pyth_update(feed: bytes, price: int, time_s: int, *, conf: int = 0, exponent: int = -5) -> bytes:
    """Return what MockPyth takes as a signed update."""
    said = (price, conf, exponent, time_s)
    return abi_encode([f"(bytes32,{PRICE_TYPES},{PRICE_TYPES})", "uint64"], [(feed, said, said), 0])


def refresh(chain: Chain, updates: list[bytes], value_wei: int, sender: str = OUTSIDER) -> None:
    """Send updates through PythSource with ether."""
    try:
        chain.evm.message_call(
            caller=sender, to=chain.addresses["PythSource"],
            calldata=encode_call("PythSource", "refresh", updates), value=value_wei, gas=GAS,
        )  # fmt: skip
    except RuntimeError as error:
        raise chain.read_revert(error) from error
    finally:
        chain.evm.reset_transient_storage()


def read_reports(chain: Chain, source: str, markets: list[int], source_id: int = 1) -> list[tuple[int, ...]]:
    """Return (market, session, price_e8, confidence_e8, publish_time_s) of each."""
    found = chain.call(source, "read_reports", bytes([source_id, len(markets), *markets]))
    return [tuple(report) for report in found]


def create_streams(chain: Chain) -> str:
    """Return ChainlinkStreamsSource on a verifier that knows one signer."""
    signer = "0x" + VERIFIER_KEY.address.hex()
    verifier = chain.create_code(compiled("VerifierProxy").creation_code + abi_encode(["address"], [signer]))
    return chain.create("ChainlinkStreamsSource", GOVERNOR, verifier, OUTSIDER)


def sign_stream(data: bytes, key: SigningKey = VERIFIER_KEY) -> bytes:
    """Return report data as Data Streams answers it."""
    context = [b"\x01" * 32, b"\x02" * 32, b"\x03" * 32]
    r, vs = key.sign(keccak(keccak(data) + b"".join(context)))
    number = int.from_bytes(vs, "big")
    s, parity = number & (1 << 255) - 1, number >> 255
    return abi_encode(
        ["bytes32[3]", "bytes", "bytes32[]", "bytes32[]", "bytes32"],
        [context, data, [r], [s.to_bytes(32, "big")], bytes([parity]) + bytes(31)],
    )


def report_v8(feed: bytes, mid: int, time_s: int, status: int, *, observed_s: int | None = None) -> bytes:
    types = ["bytes32", "uint32", "uint32", "uint192", "uint192", "uint32", "uint64", "int192", "uint32"]
    observed_s = time_s if observed_s is None else observed_s
    fields: list[Any] = [feed, time_s, observed_s, 0, 0, time_s + 86_400, time_s * 10**9, mid, status]
    return abi_encode(types, fields)


def report_v11(feed: bytes, mid: int, time_s: int, status: int) -> bytes:
    types = [
        "bytes32",
        "uint32",
        "uint32",
        "uint192",
        "uint192",
        "uint32",
        "int192",
        "uint64",
        *["int192"] * 5,
        "uint32",
    ]
    fields: list[Any] = [feed, time_s, time_s, 0, 0, time_s + 86_400, mid, time_s * 10**9, 1, 2, 3, 4, 5, status]
    return abi_encode(types, fields)
