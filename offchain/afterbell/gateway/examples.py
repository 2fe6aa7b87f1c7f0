"""Show one body of every shape of the API, as /openapi.json prints them.

One story: an owner buys 10,000 lots (one share) of AAPL at most at 150.50 USD, 4,000 are filled at 150.40, the batch
is mined. Must not: be read by anything but the schema.
"""

from __future__ import annotations

from typing import Any, Final

from afterbell.domain.digests import (
    CANCEL_ALL_TYPE,
    CANCEL_ORDER_TYPE,
    DOMAIN_NAME,
    DOMAIN_VERSION,
    LINK_KEY_TYPE,
    ORDER_TYPE,
    REVOKE_KEY_TYPE,
    TRANSFER_TYPE,
    WITHDRAW_TYPE,
)

Example = dict[str, Any]

ACCOUNT_HEX: Final = "0x70997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000"
ADDRESS_HEX: Final = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
SIGNATURE_HEX: Final = "0x" + "1b" * 64 + "1c"
_ORDER_ID: Final = "0x" + "5a" * 32
_WITHDRAWAL_ID: Final = "0x" + "6b" * 32
_TRANSACTION: Final = "0x" + "7c" * 32
_OTHER_SIGNER: Final = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"
_SESSION_KEY: Final = "0x90f79bf6eb2c4f870365e785982e1f101e93b906"
_CLEARINGHOUSE: Final = "0xcf7ed3acca5a467e9e704c703e8d87f634fb0fc9"
_TIME_MS: Final = 1_199_286_400_250

# What comes in.

SIGNED_DOMAIN: Final[Example] = {"chain_id": 31_337, "verifying_contract": _CLEARINGHOUSE}
ORDER_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "market": 1,
    "epoch": 1,
    "is_buy": True,
    "size_lots": 10_000,
    "limit_ticks": 15_050,
    "max_fee_ppm": 500,
    "expiry_s": 1_200_000_000,
    "nonce": "86400000",
    "reduce_only": False,
    "post_only": False,
    "time_in_force": "GTC",
    "trigger_ticks": 0,
    "trigger_kind": 0,
}
PLACE_ORDER: Final[Example] = {"order": ORDER_FIELDS, "signature": SIGNATURE_HEX, "client_id": "my-order-1"}
AMEND_ORDER: Final[Example] = {
    "order_id": _ORDER_ID,
    "filled_lots": 4_000,
    "order": ORDER_FIELDS | {"size_lots": 8_000, "nonce": "86400400"},
    "signature": SIGNATURE_HEX,
    "client_id": "my-order-1b",
}
CANCEL_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "order_nonce": "86400000",
    "expiry_s": 1_200_000_000,
    "nonce": "72056494612700660",
}
CANCEL_ORDER: Final[Example] = {"cancel": CANCEL_FIELDS, "signature": SIGNATURE_HEX}
CANCEL_ALL_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "min_seq_ms": 86_400_001,
    "expiry_s": 1_200_000_000,
    "nonce": "72056494612700661",
}
CANCEL_ALL: Final[Example] = {"cancel_all": CANCEL_ALL_FIELDS, "signature": SIGNATURE_HEX}
BATCH_ITEM: Final[Example] = {"place": PLACE_ORDER}
ORDER_BATCH: Final[Example] = {"items": [{"cancel": CANCEL_ORDER}, BATCH_ITEM]}
WITHDRAW_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "quote": "250000000",
    "recipient": ADDRESS_HEX,
    "expiry_s": 1_200_000_000,
    "nonce": "72056494612700662",
}
WITHDRAW: Final[Example] = {"withdrawal": WITHDRAW_FIELDS, "signature": SIGNATURE_HEX}
TRANSFER_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "to_subaccount": "7",
    "quote": "250000000",
    "expiry_s": 1_200_000_000,
    "nonce": "72056494612700663",
}
SIGNED_TRANSFER: Final[Example] = {"transfer": TRANSFER_FIELDS, "signature": SIGNATURE_HEX}
LINK_KEY_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "key": _SESSION_KEY,
    "key_expiry_s": 1_200_600_000,
    "max_notional_quote": "5000000000",
    "markets": [1, 2],
    "trade_only": True,
    "reduce_only": False,
    "expiry_s": 1_200_000_000,
    "nonce": "72056494612700663",
}
LINK_KEY: Final[Example] = {"link_key": LINK_KEY_FIELDS, "signature": SIGNATURE_HEX}
REVOKE_KEY_FIELDS: Final[Example] = {
    "account": ACCOUNT_HEX,
    "key": _SESSION_KEY,
    "expiry_s": 1_200_000_000,
    "nonce": "72056494612700664",
}
REVOKE_KEY: Final[Example] = {"revoke_key": REVOKE_KEY_FIELDS, "signature": SIGNATURE_HEX}
CLAIM: Final[Example] = {"recipient": ADDRESS_HEX}
AUTHORIZATION_FIELDS: Final[Example] = {
    "sender": ADDRESS_HEX,
    "owner": ADDRESS_HEX,
    "subaccount": "0",
    "quote": "1250000000",
    "valid_after_s": 0,
    "valid_before_s": 1_200_000_000,
    "salt": "0x" + "2c" * 32,
    "key": "0x" + "00" * 20,
    "limits": "0",
}
DEPOSIT_AUTHORIZATION: Final[Example] = {"authorization": AUTHORIZATION_FIELDS, "signature": SIGNATURE_HEX}
FAUCET: Final[Example] = {"address": ADDRESS_HEX}
RPC: Final[Example] = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}

# What goes out.

ERROR_BODY: Final[Example] = {
    "code": "BAD_SIGNATURE",
    "message": "the signature is neither the owner's nor that of a session key of the account",
    "required": f"signer {ADDRESS_HEX} over digest {_ORDER_ID}",
    "found": f"signer {_OTHER_SIGNER}",
    "action": "sign the message with the account's own key, or link the signer, under the domain of /v1/venue",
    "details": {"digest": _ORDER_ID, "expected_signer": ADDRESS_HEX, "recovered_signer": _OTHER_SIGNER},
}
ERROR: Final[Example] = {"error": ERROR_BODY}
CLOCK: Final[Example] = {
    "venue_time_ms": _TIME_MS,
    "step": 12,
    "step_time_ms": 1_199_286_395_000,
    "next_step_ms": 1_199_286_455_000,
    "speed": "1",
    "mode": "replay",
}
BOUNDS: Final[Example] = {
    "max_orders": 112,
    "max_fills": 208,
    "max_accounts": 112,
    "max_operations": 16,
    "max_open_markets": 6,
    "max_subaccount": str(2**80 - 1),
    "max_order_lifetime_s": 2_592_000,
    "max_key_lifetime_s": 15_552_000,
    "max_batch_items": 20,
    "settle_lag_s": 300,
    "max_seq_ahead_ms": 1_000,
}
DOMAIN: Final[Example] = {"name": DOMAIN_NAME, "version": DOMAIN_VERSION} | SIGNED_DOMAIN
VENUE: Final[Example] = {
    "name": "Afterbell",
    "chain_id": 31_337,
    "is_local_chain": True,
    "genesis_s": 1_199_200_000,
    "confirmations_blocks": 2,
    "addresses": {
        "clearinghouse": _CLEARINGHOUSE,
        "token": "0x5fbdb2315678afecb367f032d93f642f64180aa3",
        "vault": "0xdc64a140aa3e981100a9beca4e685f962f0cf6c9",
    },
    "domain": DOMAIN,
    "types": {
        "Order": ORDER_TYPE,
        "Withdraw": WITHDRAW_TYPE,
        "CancelOrder": CANCEL_ORDER_TYPE,
        "CancelAll": CANCEL_ALL_TYPE,
        "Transfer": TRANSFER_TYPE,
        "LinkKey": LINK_KEY_TYPE,
        "RevokeKey": REVOKE_KEY_TYPE,
    },
    "bounds": BOUNDS,
    "labels": {"AAPL": "SYNTHETIC PRICE"},
    "quote_decimals": 6,
}
RULES: Final[Example] = {
    "initial_margin_ppm": 100_000,
    "maintenance_margin_ppm": 50_000,
    "band_ppm": 50_000,
    "max_age_s": 60,
    "open_interest_cap_lots": 1_000_000_000,
    "size_step_lots": 100,
    "price_step_ticks": 1,
    "min_notional_quote": "10000000",
    "max_fee_ppm": 1_000,
    "taker_fee_ppm": 450,
    "maker_fee_ppm": 100,
    "is_opening_allowed": True,
}
MARKET: Final[Example] = {
    "market": 1,
    "symbol": "AAPL",
    "epoch": 1,
    "lot_exponent": 4,
    "lots_per_share": 10_000,
    "ticks_per_usd": 100,
    "session": "REGULAR",
    "mark_ticks": 15_045,
    "index_ticks": 15_043,
    "external_ticks": 15_044,
    "external_time_s": 1_199_286_395,
    "is_fresh": True,
    "band_low_ticks": 14_292,
    "band_high_ticks": 15_796,
    "best_bid_ticks": 15_050,
    "best_ask_ticks": 15_060,
    "open_interest_lots": 4_000,
    "change_ticks": 145,
    "change_ppm": 9_731,
    "is_synthetic": True,
    "label": "SYNTHETIC PRICE",
    "is_halted": False,
    "halt_reason": "",
    "rules": RULES,
}
MARKETS: Final[Example] = {"markets": [MARKET]}
LEVEL: Final[Example] = {"price_ticks": 15_050, "size_lots": 6_000, "n_orders": 1}
BOOK: Final[Example] = {
    "symbol": "AAPL",
    "market": 1,
    "sequence": 4_211,
    "bids": [LEVEL],
    "asks": [{"price_ticks": 15_060, "size_lots": 20_000, "n_orders": 2}],
}
TRADE: Final[Example] = {
    "fill_id": 31,
    "symbol": "AAPL",
    "price_ticks": 15_040,
    "size_lots": 4_000,
    "taker_is_buy": True,
    "time_ms": _TIME_MS,
    "sequence": 7,
}
TRADES: Final[Example] = {"symbol": "AAPL", "trades": [TRADE]}
CANDLE: Final[Example] = {
    "time_s": 1_199_286_000,
    "open_ticks": 15_020,
    "high_ticks": 15_052,
    "low_ticks": 15_018,
    "close_ticks": 15_045,
    "volume_lots": 4_000,
    "volume_quote": "60160000",
    "n_trades": 1,
}
CANDLES: Final[Example] = {"symbol": "AAPL", "kind": "mark", "interval_s": 3_600, "candles": [CANDLE]}
FILL: Final[Example] = {
    "fill_id": 31,
    "order_id": _ORDER_ID,
    "account": ACCOUNT_HEX,
    "market": 1,
    "symbol": "AAPL",
    "role": "taker",
    "is_buy": True,
    "price_ticks": 15_040,
    "size_lots": 4_000,
    "notional_quote": "60160000",
    "fee_quote": "27072",
    "funding_quote": "0",
    "time_ms": _TIME_MS,
    "sequence": 7,
    "status": "mined",
    "code": None,
    "transaction": _TRANSACTION,
    "block": 120,
}
ORDER: Final[Example] = {
    "order_id": _ORDER_ID,
    "account": ACCOUNT_HEX,
    "market": 1,
    "symbol": "AAPL",
    "is_buy": True,
    "size_lots": 10_000,
    "limit_ticks": 15_050,
    "filled_lots": 4_000,
    "remaining_lots": 6_000,
    "status": "OPEN",
    "reason": None,
    "nonce": "86400000",
    "lane": 0,
    "seq_ms": 86_400_000,
    "time_in_force": "GTC",
    "reduce_only": False,
    "post_only": False,
    "expiry_s": 1_200_000_000,
    "max_fee_ppm": 500,
    "trigger_ticks": 0,
    "trigger_kind": 0,
    "signer": ADDRESS_HEX,
    "amends": None,
    "oco_order_id": None,
    "client_id": "my-order-1",
    "placed_at_ms": _TIME_MS,
    "updated_at_ms": _TIME_MS,
    "is_repeat": False,
    "fills": [FILL],
}
ORDERS: Final[Example] = {"account": ACCOUNT_HEX, "orders": [ORDER], "next_before": None}
FILLS: Final[Example] = {"account": ACCOUNT_HEX, "fills": [FILL], "next_before": 31}
CANCELLED: Final[Example] = {"account": ACCOUNT_HEX, "order_ids": [_ORDER_ID]}
BATCH_RESULT: Final[Example] = {"status": 200, "result": ORDER, "error": None}
ORDER_BATCH_ANSWER: Final[Example] = {
    "results": [
        {
            "status": 404,
            "result": None,
            "error": {
                "code": "UNKNOWN_ORDER",
                "message": "the cancellation is refused: UNKNOWN_ORDER",
                "required": "a live order with nonce 86400000",
                "found": "none",
                "action": "list open orders; it may have filled, expired or been cancelled",
                "details": {},
            },
        },
        BATCH_RESULT,
    ]
}
POSITION: Final[Example] = {
    "market": 1,
    "symbol": "AAPL",
    "size_lots": 4_000,
    "entry_quote": "60160000",
    "entry_ticks": 15_040,
    "mark_ticks": 15_045,
    "notional_quote": "60180000",
    "unrealised_pnl_quote": "20000",
    "pending_funding_quote": "0",
    "initial_margin_quote": "6018000",
    "maintenance_margin_quote": "3009000",
    "liquidation_price_ticks": None,
}
ACCOUNT: Final[Example] = {
    "account": ACCOUNT_HEX,
    "owner": ADDRESS_HEX,
    "subaccount": "0",
    "is_known": True,
    "collateral_quote": "1249972928",
    "equity_quote": "1249992928",
    "unrealised_pnl_quote": "20000",
    "initial_margin_quote": "6018000",
    "maintenance_margin_quote": "3009000",
    "order_margin_quote": "9030000",
    "free_quote": "1234944928",
    "withdrawable_quote": "1234924928",
    "pending_funding_quote": "0",
    "health_ppm": 415_418_055,
    "is_stale": False,
    "n_open_orders": 1,
    "sequence": 4_211,
    "positions": [POSITION],
}
POSITIONS: Final[Example] = {"account": ACCOUNT_HEX, "positions": [POSITION]}
TRANSFER_STEP: Final[Example] = {"status": "mined", "transaction": _TRANSACTION, "block": 121, "time_ms": None}
TRANSFER: Final[Example] = {
    "transfer_id": _WITHDRAWAL_ID,
    "account": ACCOUNT_HEX,
    "kind": "withdrawal",
    "quote": "250000000",
    "status": "claimable",
    "counterparty": ADDRESS_HEX,
    "other_account": None,
    "time_ms": 1_199_286_460_000,
    "sequence": 8,
    "transaction": _TRANSACTION,
    "block": 121,
    "paid_transaction": None,
    "code": None,
    "steps": [
        {"status": "accepted", "transaction": None, "block": None, "time_ms": 1_199_286_460_000},
        {"status": "sealed", "transaction": None, "block": None, "time_ms": 1_199_286_460_500},
        {"status": "submitted", "transaction": _TRANSACTION, "block": None, "time_ms": None},
        TRANSFER_STEP,
        {"status": "claimable", "transaction": None, "block": None, "time_ms": None},
    ],
}
TRANSFERS: Final[Example] = {"account": ACCOUNT_HEX, "transfers": [TRANSFER], "next_before": None}
FUNDING_PAYMENT: Final[Example] = {
    "market": 1,
    "symbol": "AAPL",
    "quote": "1250",
    "fill_id": 31,
    "time_ms": _TIME_MS,
    "sequence": 7,
    "direct_op": None,
}
FUNDING: Final[Example] = {"account": ACCOUNT_HEX, "payments": [FUNDING_PAYMENT], "next_before": None}
KEY: Final[Example] = {
    "account": ACCOUNT_HEX,
    "key": _SESSION_KEY,
    "status": "active",
    "key_expiry_s": 1_200_600_000,
    "max_notional_quote": "5000000000",
    "markets": [1, 2],
    "trade_only": True,
    "reduce_only": False,
    "operation_id": "0x" + "3d" * 32,
    "sequence": 7,
    "transaction": _TRANSACTION,
    "block": 120,
    "linked_at_ms": _TIME_MS,
    "revoked_at_ms": None,
    "revocation_id": None,
    "revocation_sequence": None,
    "revocation_transaction": None,
    "code": None,
}
KEYS: Final[Example] = {"account": ACCOUNT_HEX, "keys": [KEY]}
RELAYED: Final[Example] = {"transaction": _TRANSACTION}
FAUCET_GRANT: Final[Example] = {
    "address": ADDRESS_HEX,
    "usdc_quote": "10000000000",
    "gas_wei": "1000000000000000000",
    "transactions": ["0x" + "8d" * 32, "0x" + "9e" * 32],
}
BATCH: Final[Example] = {
    "sequence": 7,
    "status": "mined",
    "matched_at_s": 1_199_286_400,
    "sealed_at_ms": 1_199_286_400_500,
    "head": "0x" + "af" * 32,
    "n_operations": 0,
    "n_orders": 2,
    "n_fills": 1,
    "n_failures": 0,
    "codes": "0x000000",
    "payload_bytes": 712,
    "transaction": _TRANSACTION,
    "block": 120,
    "gas_used": 412_385,
}
BATCHES: Final[Example] = {"batches": [BATCH]}
BATCH_DETAIL: Final[Example] = BATCH | {"fills": [TRADE]}
PART: Final[Example] = {"name": "settlement", "ready": True, "reason": ""}
READY: Final[Example] = {
    "is_ready": True,
    "parts": [{"name": "sequencer", "ready": True, "reason": ""}, PART],
}
