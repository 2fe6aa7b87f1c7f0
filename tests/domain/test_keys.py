import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from afterbell.signing import keys

OWNER = keys.SigningKey(b"\x11" * 32)
DIGESTS = st.binary(min_size=32, max_size=32)


def high_form(vs: bytes) -> tuple[int, int]:
    """Return (s', parity') of the same signature's other form."""
    number = int.from_bytes(vs, "big")
    return keys.CURVE_ORDER - (number & (1 << 255) - 1), 1 - (number >> 255)


@settings(max_examples=50)
@given(DIGESTS)
def test_sign__any_digest__recovers_to_the_owner_and_agrees_with_eth_account(digest: bytes) -> None:
    r, vs = OWNER.sign(digest)

    assert keys.recover(digest, r, vs) == OWNER.address
    reference = Account.unsafe_sign_hash(digest, b"\x11" * 32)
    assert keys.join_signature(r, vs) == reference.signature


def test_address__known_key__is_the_published_one() -> None:
    """The first account of the well-known test mnemonic of development chains."""
    key = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")

    assert keys.address_of(key).hex() == "f39fd6e51aad88f6f4ce6ab8827279cfffb92266"


@settings(max_examples=30)
@given(DIGESTS)
def test_recover__65_bytes_in_every_v__is_the_owner(digest: bytes) -> None:
    r, vs = OWNER.sign(digest)
    joined = keys.join_signature(r, vs)

    assert keys.recover_signature(digest, joined) == OWNER.address
    assert keys.recover_signature(digest, joined[:64] + bytes([joined[64] - 27])) == OWNER.address
    assert keys.recover_signature(digest, r + vs) == OWNER.address


@settings(max_examples=30)
@given(DIGESTS)
def test_recover__high_s__is_refused(digest: bytes) -> None:
    r, vs = OWNER.sign(digest)
    s, parity = high_form(vs)

    assert keys.recover_signature(digest, r + s.to_bytes(32, "big") + bytes([27 + parity])) is None
    if s < 1 << 255:
        assert keys.recover(digest, r, (parity << 255 | s).to_bytes(32, "big")) is None


@pytest.mark.parametrize(
    ("r", "vs"),
    [
        (bytes(32), bytes(32)),
        (bytes(31) + b"\1", bytes(32)),
        (bytes(32), bytes(31) + b"\1"),
        (keys.CURVE_ORDER.to_bytes(32, "big"), bytes(31) + b"\1"),
        (b"\xff" * 32, b"\xff" * 32),
        ((5).to_bytes(32, "big"), bytes(31) + b"\1"),  # 5 is no x of a curve point
    ],
)
def test_recover__no_signature__is_none_and_never_zero(r: bytes, vs: bytes) -> None:
    assert keys.recover(b"\x22" * 32, r, vs) is None


@pytest.mark.parametrize("length", [0, 63, 66])
def test_recover__wrong_length__is_none(length: int) -> None:
    assert keys.recover_signature(b"\x22" * 32, bytes(length)) is None
    with pytest.raises(ValueError, match="64 or 65"):
        keys.split_signature(bytes(length))


def test_split__v_out_of_range__raises() -> None:
    with pytest.raises(ValueError, match="v must"):
        keys.split_signature(bytes(64) + b"\x1d")


@pytest.mark.parametrize("key", [bytes(32), keys.CURVE_ORDER.to_bytes(32, "big"), bytes(31)])
def test_signing_key__not_a_key__raises(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"private key|Secret|secret|scalar|range"):
        keys.SigningKey(key)
