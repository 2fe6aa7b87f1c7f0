"""Build and take apart identifiers and storage keys.

    account_id  240 bits   owner (20 bytes) << 80 | subaccount (80 bits)
    nonce        56 bits   lane (16 bits) << 40 | seq (40 bits, milliseconds since genesis)

Text form of an account: "0x" and 60 lower-case hex digits. Twin: section "Identifiers" of contracts/README.md.
"""

from __future__ import annotations

from typing import Final, NewType

AccountId = NewType("AccountId", int)
MarketId = NewType("MarketId", int)
Nonce = NewType("Nonce", int)

N_SUBACCOUNT_BITS: Final = 80
N_SEQ_BITS: Final = 40
N_ACCOUNT_BYTES: Final = 30
N_ADDRESS_BYTES: Final = 20
MAX_SUBACCOUNT: Final = (1 << N_SUBACCOUNT_BITS) - 1
MAX_ACCOUNT_ID: Final = (1 << 240) - 1
MAX_SEQ: Final = (1 << N_SEQ_BITS) - 1
MAX_LANE: Final = (1 << 16) - 1
MAX_MARKETS: Final = 32
OPERATION_LANE: Final = 65535
"""The lane whose seq counts signed operations; no order may use it."""
LIQUIDATION_LANE: Final = 65534
"""The lane of liquidation orders, whose seq is the batch's sequence; nobody's own order or cancellation may use it."""
ZERO_ADDRESS: Final = bytes(N_ADDRESS_BYTES)


def build_account_id(owner: bytes, subaccount: int) -> AccountId:
    """Join an owner's 20 bytes and a subaccount number below 2^80."""
    if len(owner) != N_ADDRESS_BYTES:
        raise ValueError(f"owner must be 20 bytes, found {len(owner)}")
    if not 0 <= subaccount <= MAX_SUBACCOUNT:
        raise ValueError(f"subaccount must lie in [0, 2^80), found {subaccount}")
    return AccountId(int.from_bytes(owner, "big") << N_SUBACCOUNT_BITS | subaccount)


def owner_of(account_id: int) -> bytes:
    """Return the owner's 20 bytes."""
    return (account_id >> N_SUBACCOUNT_BITS).to_bytes(N_ADDRESS_BYTES, "big")


def subaccount_of(account_id: int) -> int:
    """Return the subaccount number."""
    return account_id & MAX_SUBACCOUNT


def account_bytes(account_id: int) -> bytes:
    """Return the 30 bytes of an account as a batch carries them."""
    return account_id.to_bytes(N_ACCOUNT_BYTES, "big")


def account_hex(account_id: int) -> str:
    """Return "0x" and 60 lower-case hex digits."""
    return "0x" + account_bytes(account_id).hex()


def parse_account_hex(text: str) -> AccountId:
    """Read what account_hex writes; refuse every other spelling. Raises: ValueError."""
    if len(text) != 62 or not text.startswith("0x"):
        raise ValueError(f'an account is "0x" and 60 hex digits, found {len(text)} characters')
    if text != text.lower():
        raise ValueError("an account is written in lower case")
    return AccountId(int.from_bytes(bytes.fromhex(text[2:]), "big"))


def address_hex(address: bytes) -> str:
    """Return "0x" and 40 lower-case hex digits."""
    return "0x" + address.hex()


def parse_address_hex(text: str) -> bytes:
    """Read an address in any letter case. Raises: ValueError."""
    if len(text) != 42 or text[:2] not in ("0x", "0X"):
        raise ValueError(f'an address is "0x" and 40 hex digits, found {len(text)} characters')
    return bytes.fromhex(text[2:])


def build_nonce(lane: int, seq: int) -> Nonce:
    """Join a lane and a seq."""
    if not 0 <= lane <= MAX_LANE:
        raise ValueError(f"lane must lie in [0, 65535], found {lane}")
    if not 0 <= seq <= MAX_SEQ:
        raise ValueError(f"seq must lie in [0, 2^40), found {seq}")
    return Nonce(lane << N_SEQ_BITS | seq)


def lane_of(nonce: int) -> int:
    """Return the lane of a nonce."""
    return nonce >> N_SEQ_BITS


def seq_of(nonce: int) -> int:
    """Return the seq of a nonce."""
    return nonce & MAX_SEQ


def account_key(account_id: int) -> int:
    """Return the key of the account word in `accounts`."""
    return account_id << 16


def position_key(account_id: int, market_id: int) -> int:
    """Return the key of a position word in `positions`."""
    return account_id << 16 | market_id


def lane_key(account_id: int, lane: int) -> int:
    """Return the key of the lane word that holds `lane` in `lanes`; lane 0 lives in the account word."""
    return account_id << 16 | lane >> 1


def rules_key(market_id: int, session: int) -> int:
    """Return the key of a rules word: market << 8 | session."""
    return market_id << 8 | session


def rules_successor_key(market_id: int, session: int) -> int:
    """Return the key of the rules word that follows: rules_key + 2^16."""
    return rules_key(market_id, session) + (1 << 16)


def rules_binds_after_key(market_id: int, session: int) -> int:
    """Return the key of the second after which the successor binds: rules_key + 2^17."""
    return rules_key(market_id, session) + (1 << 17)


def tier_key(key: int) -> int:
    """Return the key of the tier word beside the rules word, or successor, at `key`: 2^18 further."""
    return key + (1 << 18)


def overflow_key(account_id: int) -> int:
    """Return the key of the overflow word in `accounts`: account_id << 16 | 0xffff."""
    return account_id << 16 | 0xFFFF


def session_key_id(account_id: int, key: bytes) -> int:
    """Return account_id << 160 | key: the model's name of an entry of the contract's nested map `session_keys`."""
    if len(key) != N_ADDRESS_BYTES:
        raise ValueError(f"a key is 20 bytes, found {len(key)}")
    return account_id << 160 | int.from_bytes(key, "big")
