"""Write the golden vectors. Run from the repository: `python -m tests.vectors.build`.

Expected values never come from the code under test. typed_data: eth_account and eth_abi. words, rounding, margin:
worked out by hand below, bit by bit or with fractions. batch, evidence: bytes laid out by hand from
contracts/README.md, hashed with eth_utils. Both languages read the files; numbers beyond 2^53 are strings.
"""

from __future__ import annotations

import json
from fractions import Fraction
from math import ceil, floor, trunc
from pathlib import Path
from random import Random

from eth_abi import encode as abi_encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak

HERE = Path(__file__).parent
OWNER_KEY = b"\x11" * 32
OWNER = Account.from_key(OWNER_KEY).address
CHAIN_ID = 31_337
CLEARINGHOUSE = "0x" + "c1" * 20
PRICE_SOURCE = "0x" + "50" * 20

TYPES = {
    "ORDER": "Order(address owner,uint80 subaccount,uint8 market,uint32 epoch,bool isBuy,uint48 sizeLots,uint40 limitTicks,uint16 maxFeePpm,uint40 expiry,uint56 nonce,bool reduceOnly,bool postOnly,uint8 timeInForce,uint40 triggerTicks,uint8 triggerKind)",  # noqa: E501
    "WITHDRAW": "Withdraw(address owner,uint80 subaccount,uint64 quote,address recipient,uint40 expiry,uint56 nonce)",
    "CANCEL_ORDER": "CancelOrder(address owner,uint80 subaccount,uint56 orderNonce,uint40 expiry,uint56 nonce)",
    "CANCEL_ALL": "CancelAll(address owner,uint80 subaccount,uint40 minSeq,uint40 expiry,uint56 nonce)",
    "TRANSFER": "Transfer(address owner,uint80 subaccount,uint64 quote,uint80 toSubaccount,uint40 expiry,uint56 nonce)",
    "ORDER_TREE": "OrderTree(bytes32 root)",
    "LINK_KEY": "LinkKey(address owner,uint80 subaccount,address key,uint40 keyExpiry,uint64 maxNotionalQuote,uint32 markets,bool tradeOnly,bool reduceOnly,uint40 expiry,uint56 nonce)",  # noqa: E501
    "REVOKE_KEY": "RevokeKey(address owner,uint80 subaccount,address key,uint40 expiry,uint56 nonce)",
    "PRICE_ROOT": "PriceRoot(bytes32 root,uint40 publishTime)",
}


def fields_of(type_string: str) -> list[tuple[str, str]]:
    inside = type_string[type_string.index("(") + 1 : -1]
    return [(name, kind) for kind, name in (field.split(" ") for field in inside.split(","))]


def hash_struct(name: str, message: dict) -> bytes:
    """Return the struct hash by the definition: keccak(abi.encode(type hash, fields))."""
    fields = fields_of(TYPES[name])
    values = [bytes.fromhex(message[key][2:]) if kind == "bytes32" else message[key] for key, kind in fields]
    return keccak(abi_encode(["bytes32"] + [kind for _, kind in fields], [keccak(text=TYPES[name]), *values]))


def separator_of(name: str, contract: str) -> bytes:
    return keccak(
        abi_encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak(text=name),
                keccak(text="1"),
                CHAIN_ID,
                contract,
            ],
        )
    )


def sign(digest: bytes) -> str:
    signature = Account.unsafe_sign_hash(digest, OWNER_KEY)
    return "0x" + (signature.r << 256 | (signature.v - 27) << 255 | signature.s).to_bytes(64, "big").hex()


def typed_data_vectors() -> dict:
    order = {
        "owner": OWNER, "subaccount": 7, "market": 1, "epoch": 1, "isBuy": True, "sizeLots": 12_345,
        "limitTicks": 15_000, "maxFeePpm": 500, "expiry": 1_900_000_000, "nonce": (3 << 40) + 99, "reduceOnly": False,
        "postOnly": True, "timeInForce": 0, "triggerTicks": 0, "triggerKind": 0,
    }  # fmt: skip
    largest = {
        "owner": OWNER, "subaccount": 2**80 - 1, "market": 255, "epoch": 2**32 - 1, "isBuy": True,
        "sizeLots": 2**48 - 1, "limitTicks": 2**40 - 1, "maxFeePpm": 2**16 - 1, "expiry": 2**40 - 1,
        "nonce": 2**56 - 1, "reduceOnly": True, "postOnly": True, "timeInForce": 3, "triggerTicks": 2**40 - 1,
        "triggerKind": 4,
    }  # fmt: skip
    account = {"owner": OWNER, "subaccount": 0}
    tail = {"expiry": 1_900_000_000, "nonce": (65_535 << 40) + 5}
    cases = [
        ("order", "ORDER", order),
        ("order, every lane full", "ORDER", largest),
        ("withdraw", "WITHDRAW", account | {"quote": 1_000_000, "recipient": "0x" + "ab" * 20} | tail),
        ("cancel order", "CANCEL_ORDER", account | {"orderNonce": (3 << 40) + 99} | tail),
        ("cancel all", "CANCEL_ALL", account | {"minSeq": 1_000} | tail),
        ("transfer", "TRANSFER", account | {"quote": 2**64 - 1, "toSubaccount": 2**80 - 1} | tail),
        ("tree of orders", "ORDER_TREE", {"root": "0x" + "7e" * 32}),
        (
            "link key", "LINK_KEY",
            account | {"key": "0x" + "e1" * 20, "keyExpiry": 1_907_776_000, "maxNotionalQuote": 5_000_000_000,
                       "markets": 0b101, "tradeOnly": True, "reduceOnly": False} | tail,
        ),
        (
            "link key, every lane full", "LINK_KEY",
            {"owner": OWNER, "subaccount": 2**80 - 1, "key": "0x" + "ff" * 20, "keyExpiry": 2**40 - 1,
             "maxNotionalQuote": 2**64 - 1, "markets": 2**32 - 1, "tradeOnly": False, "reduceOnly": True,
             "expiry": 2**40 - 1, "nonce": 2**56 - 1},
        ),
        ("revoke key", "REVOKE_KEY", account | {"key": "0x" + "e1" * 20} | tail),
        ("price root", "PRICE_ROOT", {"root": "0x" + "5e" * 32, "publishTime": 1_900_000_000}),
    ]  # fmt: skip
    digests = []
    for name, kind, message in cases:
        is_price = kind == "PRICE_ROOT"
        domain_name, contract = ("Afterbell Prices", PRICE_SOURCE) if is_price else ("Afterbell", CLEARINGHOUSE)
        struct_hash, separator = hash_struct(kind, message), separator_of(domain_name, contract)
        digest = keccak(b"\x19\x01" + separator + struct_hash)
        primary = TYPES[kind].split("(")[0]
        encoded = encode_typed_data(
            {"name": domain_name, "version": "1", "chainId": CHAIN_ID, "verifyingContract": contract},
            {primary: [{"name": field, "type": field_kind} for field, field_kind in fields_of(TYPES[kind])]},
            message,
        )
        assert digest == keccak(b"\x19" + encoded.version + encoded.header + encoded.body), name
        digests.append(
            {
                "name": name,
                "type": kind,
                "domain": {"name": domain_name, "chain_id": CHAIN_ID, "verifying_contract": contract},
                "message": {key: str(value) if type(value) is int else value for key, value in message.items()},
                "domain_separator": "0x" + separator.hex(),
                "struct_hash": "0x" + struct_hash.hex(),
                "digest": "0x" + digest.hex(),
                "signature": sign(digest),
            }
        )
    return {
        "private_key": "0x" + OWNER_KEY.hex(),
        "signer": OWNER,
        "type_hashes": {name: "0x" + keccak(text=text).hex() for name, text in TYPES.items()},
        "digests": digests,
    }


def word_vectors() -> dict:
    """Hex digits are grouped by lane from the top, as the tables of contracts/README.md read from the bottom."""
    cases = [
        (
            "long position", "PositionWord",
            {"size_lots": 100, "entry_quote": 1_500_000, "index_snapshot_e12": 7},
            # index 7 | entry 1,500,000 = 0x16e360 | size 100 = 0x64
            "000000000000000000000007 00000000000000000016e360 0000000000000064",
        ),
        (
            "short position, all lanes negative", "PositionWord",
            {"size_lots": -1, "entry_quote": -2, "index_snapshot_e12": -3},
            "fffffffffffffffffffffffd fffffffffffffffffffffffe ffffffffffffffff",
        ),
        (
            "account in debt with two markets", "AccountWord",
            {"collateral_quote": -1, "min_seq": 2, "lane0_seq": 3, "lane0_filled_lots": 4,
             "open_markets": [5, 0, 6, 0, 0, 0], "flags": 1},
            # flags | slots 5..0 | filled | seq | min_seq | collateral
            "01 000000060005 000000000004 0000000003 0000000002 ffffffffffffffffff",
        ),
        (
            "consumed lane 0", "AccountWord",
            {"collateral_quote": 1, "lane0_seq": 2**40 - 1, "lane0_filled_lots": 2**48 - 1},
            "00 000000000000 ffffffffffff ffffffffff 0000000000 000000000000000001",
        ),
        (
            "two lanes", "LaneWord",
            {"even_seq": 1, "even_filled_lots": 2, "odd_seq": 3, "odd_filled_lots": 2**48 - 1},
            "00000000000000000000 ffffffffffff 0000000003 000000000002 0000000001",
        ),
        (
            "regular session", "PriceWord",
            {"mark_ticks": 15_000, "index_ticks": 15_001, "external_ticks": 15_002, "external_time_s": 1_900_000_000,
             "mark_time_s": 1_900_000_003, "session": 2, "epoch": 1, "session_minutes": 390},
            # 390 minutes = 0x186; 15,000 = 0x3a98; 1,900,000,000 = 0x713fb300
            "0186 00000001 02 00713fb303 00713fb300 0000003a9a 0000003a99 0000003a98",
        ),
        (
            "rules", "RulesWord",
            {"initial_margin_ppm": 100_000, "settlement_margin_ppm": 60_000, "maintenance_margin_ppm": 50_000,
             "band_ppm": 80_000, "mark_step_ppm": 10_000, "max_age_s": 120, "open_interest_cap_lots": 1_000_000,
             "is_opening_allowed": 1, "is_funding_on": 0, "size_step_lots": 100, "price_step_ticks": 1,
             "min_notional_quote": 10_000_000, "max_fee_ppm": 1_000, "account_share": 2**14, "is_tiered": 1},
            # max fee 0x3e8 | minimum 0x989680 | price step | size step 0x64 | flags | share, a quarter | cap 0xf4240
            # | age 0x78 | step 0x2710 | band 0x13880 | maintenance 0xc350 | settlement 0xea60 | initial 0x186a0
            "03e8 00989680 0001 0064 09 4000 00000f4240 0078 2710 13880 0c350 0ea60 186a0",
        ),
        (
            "rules about to change, everything else zero but two steps", "RulesWord",
            {"initial_margin_ppm": 0, "settlement_margin_ppm": 0, "maintenance_margin_ppm": 0, "band_ppm": 0,
             "mark_step_ppm": 0, "max_age_s": 0, "open_interest_cap_lots": 0, "is_opening_allowed": 0,
             "is_funding_on": 1, "size_step_lots": 1, "price_step_ticks": 2, "min_notional_quote": 0,
             "max_fee_ppm": 0, "is_changing": 1},
            # flags 6: bit 2 changing, bit 1 funding
            "0000 00000000 0002 0001 06 00000000000000 0000 0000 00000 00000 00000 00000",
        ),
        (
            "two tiers: 3 % more from 1,000,000 USDC, 100 % from all that fits", "TierWord",
            {"tiers": [[1_000_000, 30_000], [2**48 - 1, 1_000_000]]},
            # third unused | 1,000,000 = 0xf4240 ppm | edge full | 30,000 = 0x7530 | edge 0xf4240
            "000000000000000000000000000000 f4240 ffffffffffff 07530 0000000f4240",
        ),
        (
            "two cancel-alls made on chain", "OverflowWord",
            {"pending_min_seq": 7, "pending_since_s": 1_900_000_000, "bound_min_seq": 5},
            # zero | bound | since 0x713fb300 | pending
            "0000000000000000000000000000000000 0000000005 00713fb300 0000000007",
        ),
        (
            "key for markets 1 and 3, trade only", "SessionKeyWord",
            {"expiry_s": 1_900_000_060, "max_notional_quote": 1_000_000, "markets": 5, "trade_only": 1,
             "reduce_only": 0, "revoked_at_s": 0, "is_linked": 1},
            # linked and zeros | revoked | bits 136 and 137 | markets | notional 0xf4240 | expiry
            "800000000000000000 0000000000 01 00000005 00000000000f4240 00713fb33c",
        ),
        (
            "key revoked on chain, every lane full", "SessionKeyWord",
            {"expiry_s": 2**40 - 1, "max_notional_quote": 2**64 - 1, "markets": 2**32 - 1, "trade_only": 1,
             "reduce_only": 1, "revoked_at_s": 2**40 - 1, "is_linked": 1},
            "800000000000000000 ffffffffff 03 ffffffff ffffffffffffffff ffffffffff",
        ),
        (
            "revoked before it was ever a key", "SessionKeyWord", {"revoked_at_s": 1_900_000_000, "is_linked": 0},
            "000000000000000000 00713fb300 00 00000000 0000000000000000 0000000000",
        ),
        (
            "indices of both signs, a dividend of 24 cents reserved", "IndexWord",
            {"long_index_e12": -1, "short_index_e12": 2, "funding_time_s": 1_900_000_000, "reserve_ticks": 24},
            # reserve 0x18 | time 0x713fb300 | short | long
            "000018 00713fb300 000000000000000000000002 ffffffffffffffffffffffff",
        ),
        (
            "totals with a negative pot", "TotalsWord",
            {"open_interest_lots": 9, "net_entry_quote": 10, "pot_quote": -11},
            "fffffffffffffffffffffff5 00000000000000000000000a 0000000000000009",
        ),
        (
            "batch", "BatchWord", {"sequence": 1, "matched_at_s": 2, "fees_quote": 3, "collateral_quote": -4},
            "fffffffffffffffffffffffc 00000000000000000003 0000000002 0000000001",
        ),
    ]  # fmt: skip
    for name, _, _, word in cases:
        assert len(word.replace(" ", "")) == 64, name
    return {
        "words": [
            {
                "name": name,
                "kind": kind,
                "fields": {key: value if isinstance(value, list) else str(value) for key, value in fields.items()},
                "word": "0x" + word.replace(" ", ""),
            }
            for name, kind, fields, word in cases
        ]
    }


def rounding_vectors() -> dict:
    rng = Random(5)
    cases = [(7, 2), (-7, 2), (1, 10**12), (-1, 10**12), (10**12, 10**12), (0, 3), (6, 3), (-6, 3)]
    cases += [(rng.randint(-(2**160), 2**160), rng.choice((10**6, 10**12, rng.randint(1, 2**64)))) for _ in range(60)]
    return {
        "divisions": [
            {
                "numerator": str(numerator),
                "denominator": str(denominator),
                "down": str(floor(Fraction(numerator, denominator))),
                "up": str(ceil(Fraction(numerator, denominator))),
                "toward_zero": str(trunc(Fraction(numerator, denominator))),
            }
            for numerator, denominator in cases
        ]
    }


def margin_vectors() -> dict:
    """Positions valued by hand; see each `why`."""
    cases = [
        {
            "why": "long 1000 lots bought at 100: worse price is the mark 90, so 90,000 - 100,000; 5 % of 90,000",
            "size_lots": 1_000, "entry_quote": 100_000, "mark_ticks": 90, "external_ticks": 95,
            "index_e12": 0, "snapshot_e12": 0, "margin_ppm": 50_000,
            "equity_quote": -10_000, "margin_quote": 4_500, "pending_quote": 0,
        },
        {
            "why": "short 1000 lots sold at 100: worse price is the external 95, so 100,000 - 95,000; 5 % of 95,000",
            "size_lots": -1_000, "entry_quote": -100_000, "mark_ticks": 90, "external_ticks": 95,
            "index_e12": 0, "snapshot_e12": 0, "margin_ppm": 50_000,
            "equity_quote": 5_000, "margin_quote": 4_750, "pending_quote": 0,
        },
        {
            "why": "3 lots, index grew by half a quote unit a lot: 1.5 owed, rounded up to 2; 1 ppm of 21 is 1",
            "size_lots": 3, "entry_quote": 21, "mark_ticks": 7, "external_ticks": 7,
            "index_e12": 500_000_000_000, "snapshot_e12": 0, "margin_ppm": 1,
            "equity_quote": -2, "margin_quote": 1, "pending_quote": 2,
        },
        {
            "why": "the short receives 1.5, rounded down to 1: pending is -1, the rest stays in the pot",
            "size_lots": -3, "entry_quote": -21, "mark_ticks": 7, "external_ticks": 7,
            "index_e12": 500_000_000_000, "snapshot_e12": 0, "margin_ppm": 1,
            "equity_quote": 1, "margin_quote": 1, "pending_quote": -1,
        },
        {
            "why": "index fell by 2.25 since the snapshot: the long receives 4 x 2.25 = 9; 4 x 50 = 200, 10 % is 20",
            "size_lots": 4, "entry_quote": 180, "mark_ticks": 50, "external_ticks": 60,
            "index_e12": -1_250_000_000_000, "snapshot_e12": 1_000_000_000_000, "margin_ppm": 100_000,
            "equity_quote": 29, "margin_quote": 20, "pending_quote": -9,
        },
    ]  # fmt: skip
    return {"positions": [{key: v if key == "why" else str(v) for key, v in case.items()} for case in cases]}


def batch_vectors() -> dict:
    """One batch with every section, laid out by hand in hex; comments name the fields."""
    r, vs = "a1" * 32, "b2" * 32
    parts = [
        # header: version, sequence, matched_at, direct_op, n rows, operations, accounts, orders, fills, evidence, zero
        "02 0000000009 00713fb300 0000000004 02 01 02 02 0001 0003 0000000000000000",
        "77" * 32,  # journal hash
        "01 03 000000000064" + "00" * 24,  # fill: maker at place 1, taker at place 3, 100 lots; padding
        # row: market 1, mark 15,000, index 15,001, no auction, premium -2 ppb, funding accrues
        "01 0000003a98 0000003a99 0000000000 fffffffe 01" + "00" * 11,
        "02 0000000064 0000000065 0000000066 00000000 00" + "00" * 11,  # market 2: mark 100, index 101, auction 102
        "abcdef" + "00" * 29,  # evidence, three bytes
        # operation: WITHDRAW, no flags, account 0x22…; expiry, seq 5, zeros, recipient; quote 1,000,000; r; vs
        "01 00" + "22" * 20 + "00" * 10, "00713fb33c 0000000005 0000" + "ab" * 20, "00" * 29 + "0f4240", r, vs,
        # account: owner 0x11…, subaccount 7, one order
        "11" * 20 + "00000000000000000007" + "0001",
        # order: market 1, flags buy + post-only + bulk, lane 3, seq 99, 200 lots, limit, fees max taker maker, expiry
        "01 0205 0003 0000000063 0000000000c8 0000003a98 01f4 01c2 0064 00713fb33c", r, vs,
        "00" * 31 + "02", "d1" * 32, "d2" * 32,  # proof of two words
        # account: owner 0x22…, subaccount 0, one order
        "22" * 20 + "00000000000000000000" + "0001",
        # order: market 1 | flags sell + IOC + trigger | lane 0 | seq 100 | 100 lots | … and its trigger word
        "01 0050 0000 0000000064 000000000064 0000003a98 01f4 01c2 0064 00713fb33c", r, vs,
        "01 0000003a98" + "00" * 26,  # trigger: mark >= 15,000
    ]  # fmt: skip
    payload = bytes.fromhex("".join(parts))
    assert len(payload) == 64 + 32 + 2 * 32 + 32 + 160 + (32 + 96 + 3 * 32) + (32 + 96 + 32)
    previous_head = b"\x99" * 32
    clean = keccak(previous_head + keccak(payload) + bytes(32))
    codes = bytes([0, 0, 13, 32 + 64])
    failed = keccak(previous_head + keccak(payload) + keccak(codes))
    return {
        "payload": "0x" + payload.hex(),
        "payload_hash": "0x" + keccak(payload).hex(),
        "previous_head": "0x" + previous_head.hex(),
        "head_without_failures": "0x" + clean.hex(),
        "codes": "0x" + codes.hex(),
        "head_with_codes": "0x" + failed.hex(),
        "payload_with_keys": "0x" + batch_with_keys().hex(),
    }


def batch_with_keys() -> bytes:
    """Lay out every kind of operation, by owner, key and approval, and one order signed by a key."""
    r, vs, key = "a1" * 32, "b2" * 32, "e1" * 20
    account = "11" * 20 + "00000000000000000007"
    when = "00713fb33c"  # expiry 1,900,000,060
    operations = [
        # kind, flags, account | expiry, seq, zeros, operand | word 2 | r | vs
        # LINK_KEY by the owner | zeros, flags of the key, markets 1 and 3, notional 1,000,000, expiry of the key
        "05 00" + account, when + "0000000005 0000" + key,
        "00" * 14 + "03 00000005 00000000000f4240" + when, r, vs,
        # REVOKE_KEY approved on chain: no signature
        "06 02" + account, when + "0000000006 0000" + key, "00" * 32, "00" * 32, "00" * 32,
        # WITHDRAW of 1,000,000 by a key, to the owner
        "01 01" + account, when + "0000000007 0000" + "11" * 20, "00" * 29 + "0f4240", r, vs,
        # CANCEL_ORDER by a key: lane 3, seq 99
        "02 01" + account, when + "0000000008 0000" + "00" * 20, "00" * 25 + "0003 0000000063", r, vs,
        # CANCEL_ALL by the owner: below 1,000
        "03 00" + account, when + "0000000009 0000" + "00" * 20, "00" * 30 + "03e8", r, vs,
        # TRANSFER of 1,000,000 to subaccount 11 by the owner
        "04 00" + account, when + "000000000a 0000" + "00" * 19 + "0b", "00" * 29 + "0f4240", r, vs,
    ]  # fmt: skip
    parts = [
        # header: version, sequence, matched_at, direct_op, n rows, operations, accounts, orders, fills, evidence, zero
        "02 0000000009 00713fb300 0000000004 00 06 01 01 0000 0000 0000000000000000",
        "77" * 32,
        *operations,
        "11" * 20 + "00000000000000000007" + "0001",
        # order: market 1, flags buy + reduce-only + session key, lane 3, seq 99, 200 lots, limit, fees, expiry
        "01 0083 0003 0000000063 0000000000c8 0000003a98 01f4 01c2 0064" + when, r, vs,
    ]  # fmt: skip
    payload = bytes.fromhex("".join(parts))
    assert len(payload) == 64 + 6 * 160 + 32 + 96
    return payload


def evidence_vectors() -> dict:
    """Three reports in a tree of three leaves: the third moves up a level without a partner."""
    publish_time = 1_900_000_000
    rows = [(1, 2, 15_000_000_000, 1_000_000), (2, 2, 9_999_999_999, 0), (3, 5, 123_456_789, 7)]
    leaf_words = [
        bytes([market, session]) + price.to_bytes(8, "big") + confidence.to_bytes(8, "big") + bytes(14)
        for market, session, price, confidence in rows
    ]
    leaves = [keccak(keccak(word + publish_time.to_bytes(5, "big"))) for word in leaf_words]
    pair = keccak(b"".join(sorted(leaves[:2])))
    root = keccak(b"".join(sorted([pair, leaves[2]])))
    proofs = [[leaves[1], leaves[2]], [leaves[0], leaves[2]], [pair]]
    struct_hash = hash_struct("PRICE_ROOT", {"root": "0x" + root.hex(), "publishTime": publish_time})
    digest = keccak(b"\x19\x01" + separator_of("Afterbell Prices", PRICE_SOURCE) + struct_hash)
    signature = sign(digest)
    encoded = publish_time.to_bytes(5, "big") + bytes([1, 3]) + root + bytes.fromhex(signature[2:])
    for word, proof in zip(leaf_words, proofs, strict=True):
        encoded += word + bytes([len(proof)]) + b"".join(proof)
    return {
        "publish_time_s": publish_time,
        "publisher": OWNER,
        "domain_separator": "0x" + separator_of("Afterbell Prices", PRICE_SOURCE).hex(),
        "leaves": ["0x" + leaf.hex() for leaf in leaves],
        "root": "0x" + root.hex(),
        "evidence": "0x" + encoded.hex(),
        # AAPL-like market, one tick is a cent: 150.00 USD = 15,000 ticks; 99.99999999 USD = 9,999.99 -> 9,999;
        # 1.23456789 USD with 3/2 shares a unit: 185.18… -> 185.
        "external_ticks": [
            {"price_e8": "15000000000", "num": 1, "den": 1, "ticks_per_usd": 100, "ticks": 15_000},
            {"price_e8": "9999999999", "num": 1, "den": 1, "ticks_per_usd": 100, "ticks": 9_999},
            {"price_e8": "123456789", "num": 3, "den": 2, "ticks_per_usd": 100, "ticks": 185},
        ],
    }


def main() -> None:
    for name, build in {
        "typed_data": typed_data_vectors,
        "words": word_vectors,
        "rounding": rounding_vectors,
        "margin": margin_vectors,
        "batch": batch_vectors,
        "evidence": evidence_vectors,
    }.items():
        (HERE / f"{name}.json").write_text(json.dumps(build(), indent=1) + "\n")


if __name__ == "__main__":
    main()
