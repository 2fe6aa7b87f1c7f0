import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain import ids

OWNER = bytes.fromhex("00112233445566778899aabbccddeeff01020304")


def test_account_id__owner_and_subaccount__lie_side_by_side() -> None:
    account = ids.build_account_id(OWNER, 5)

    assert account == 0x00112233445566778899AABBCCDDEEFF01020304_00000000000000000005
    assert ids.account_hex(account) == "0x00112233445566778899aabbccddeeff0102030400000000000000000005"
    assert (ids.owner_of(account), ids.subaccount_of(account)) == (OWNER, 5)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 2**80 - 1))
def test_account_hex__there_and_back__is_the_same_account(owner: bytes, subaccount: int) -> None:
    account = ids.build_account_id(owner, subaccount)

    assert ids.parse_account_hex(ids.account_hex(account)) == account
    assert ids.account_bytes(account) == owner + subaccount.to_bytes(10, "big")


@pytest.mark.parametrize(
    "text", ["", "0x", "0x" + "0" * 59, "0x" + "0" * 61, "00" + "0" * 60, "0x" + "A" * 60, "0x" + "g" * 60]
)
def test_account_hex__another_spelling__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"account|hex"):
        ids.parse_account_hex(text)


@pytest.mark.parametrize(("owner", "subaccount"), [(b"\1" * 19, 0), (b"\1" * 21, 0), (OWNER, -1), (OWNER, 2**80)])
def test_account_id__part_out_of_range__is_refused(owner: bytes, subaccount: int) -> None:
    with pytest.raises(ValueError, match="must"):
        ids.build_account_id(owner, subaccount)


def test_address__mixed_case__is_read() -> None:
    assert ids.parse_address_hex("0x00112233445566778899AABBCCDDEEFF01020304") == OWNER
    assert ids.address_hex(OWNER) == "0x00112233445566778899aabbccddeeff01020304"


def test_address__wrong_length__is_refused() -> None:
    with pytest.raises(ValueError, match="40 hex digits"):
        ids.parse_address_hex("0x00")


def test_nonce__lane_and_seq__lie_side_by_side() -> None:
    nonce = ids.build_nonce(3, 7)

    assert nonce == 0x0003_0000000007
    assert (ids.lane_of(nonce), ids.seq_of(nonce)) == (3, 7)


@pytest.mark.parametrize(("lane", "seq"), [(-1, 0), (65_536, 0), (0, -1), (0, 2**40)])
def test_nonce__part_out_of_range__is_refused(lane: int, seq: int) -> None:
    with pytest.raises(ValueError, match="must lie"):
        ids.build_nonce(lane, seq)


def test_storage_keys__account_one_market_two_lane_five__follow_the_readme() -> None:
    assert ids.account_key(1) == 0x1_0000
    assert ids.position_key(1, 2) == 0x1_0002
    assert ids.lane_key(1, 5) == ids.lane_key(1, 4) == 0x1_0002
    assert ids.rules_key(2, 3) == 0x203
    assert ids.rules_successor_key(2, 3) == 0x1_0203
    assert ids.rules_binds_after_key(2, 3) == 0x2_0203
    assert ids.overflow_key(1) == 0x1_FFFF
    assert ids.session_key_id(1, OWNER) == 1 << 160 | int.from_bytes(OWNER, "big")
    with pytest.raises(ValueError, match="20 bytes"):
        ids.session_key_id(1, b"")
