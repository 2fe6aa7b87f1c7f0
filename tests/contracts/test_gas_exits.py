"""What leaving costs: whole transactions, everything cold, with positions in six markets.

Limits are the measured numbers and five per cent: whoever makes leaving dearer, or cheaper, sees it here.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.contracts import leaving
from tests.contracts.leaving import HOUR_S, N_MARKETS, N_SESSIONS, RULES_OFFSETS, Exodus, open_exodus
from tests.contracts.venue import MAKER, TAKER, THIRD, USDC, account_of, address_of
from tests.support.chain import OUTSIDER, artifacts, encode_call
from tests.support.cold import transact_once

LONG, SHORT, OTHER = account_of(TAKER), account_of(MAKER), account_of(THIRD)
LIMITS: Final = {
    "force_withdrawal, six markets": 225_000,
    "force_withdrawal, no market": 114_000,
    "force_close, six markets, taker with none": 254_000,
    "force_close, six markets both": 277_000,
    "observe": 159_000,
    "tally, one account with six markets": 318_000,
    "tally, per further account with six markets": 59_000,
    "tally, per further account without": 30_000,
    "tally, the last one, which fixes the ratio": 300_000,
    "claim": 115_000,
}
CONTRACTS = ("Clearinghouse", "Vault", "Exits", "token", "Liquidations")


@pytest.fixture
def exodus() -> Exodus:
    """Two accounts with positions in six markets, one without any."""
    exodus = open_exodus()
    venue = exodus.venue
    for market in range(1, 7):
        terms: dict[str, Any] = {"size_lots": 100_000, "market_id": market}
        assert venue.trade(100_000, maker=terms, taker=terms).is_clean
    exodus.deposit(THIRD, 1_000 * USDC)
    exodus.announce(OTHER)
    exodus.announce(SHORT)
    exodus.wait(301)
    return exodus


def measure(exodus: Exodus, function: str, *args: Any, sender: str = OUTSIDER) -> int:
    """Return the gas of a call of Exits as a transaction of its own on a machine where nothing is warm."""
    chain = exodus.venue.chain
    clearinghouse = {
        chain._word_slot(variable, key)
        for variable, keys in {
            "accounts": [account << 16 for account in exodus.accounts],
            "positions": [account << 16 | market for account in exodus.accounts for market in range(1, N_MARKETS + 1)],
            "prices": range(1, N_MARKETS + 1),
            "indices": range(1, N_MARKETS + 1),
            "totals": range(1, N_MARKETS + 1),
            "rules": [
                (market << 8 | session) + offset
                for market in range(1, N_MARKETS + 1)
                for session in range(N_SESSIONS)
                for offset in RULES_OFFSETS
            ],
        }.items()
        for key in keys
    }
    clearinghouse |= {chain._slot(name) for name in ("batch", "operator", "head")}
    exits = {leaving.slot_of(name) for name in artifacts()["Exits"].layout["storage_layout"]}
    for account in exodus.accounts:
        exits |= {leaving.slot_of_key(name, account) for name in ("recipients", "taker_since_s", "tallies")}
        exits |= {leaving.slot_of_key("requests", account << 16 | market) for market in range(N_MARKETS + 1)}
    exits |= {leaving.slot_of_key("market_tallies", market) for market in range(1, N_MARKETS + 1)}
    vault = {entry["slot"] for entry in artifacts()["Vault"].layout["storage_layout"].values()}
    slots = {"Clearinghouse": clearinghouse, "Exits": exits, "Vault": vault}
    contracts = {}
    for name in CONTRACTS:
        address = chain.addresses[name]
        words = {slot: int(chain.evm.storage(address, slot)) for slot in slots.get(name, set())}
        storage = {slot: word for slot, word in words.items() if word}
        contracts[bytes.fromhex(address[2:])] = (bytes(chain.evm.get_code(address) or b""), storage)
    return transact_once(
        contracts=contracts,
        to=bytes.fromhex(chain.addresses["Exits"][2:]),
        sender=bytes.fromhex(sender[2:]),
        calldata=encode_call("Exits", function, *args),
        time_s=chain.time_s,
    )


def test_gas__of_leaving_with_six_markets__stays_what_it_is(exodus: Exodus) -> None:
    exodus.request_withdrawal(LONG, 2**64 - 1)
    exodus.request_withdrawal(OTHER, 2**64 - 1)
    exodus.request_close(LONG, 2**64 - 1, 0)
    exodus.wait(6 * HOUR_S)
    exodus.observe(LONG)
    exodus.wait(HOUR_S)
    exodus.set_prices(dict.fromkeys(range(1, 9), 10_000))

    found = {
        "force_withdrawal, six markets": measure(exodus, "force_withdrawal", LONG),
        "force_withdrawal, no market": measure(exodus, "force_withdrawal", OTHER),
        "force_close, six markets, taker with none": measure(
            exodus, "force_close", LONG, 1, 2**64, 0, sender=address_of(THIRD)
        ),
        "force_close, six markets both": measure(
            exodus, "force_close", LONG, 1, 2**64, 0, sender=address_of(MAKER)
        ),
        "observe": measure(exodus, "observe", LONG, 1),
    }  # fmt: skip
    exodus.settle_finally()
    one, two = measure(exodus, "tally", [LONG]), measure(exodus, "tally", [LONG, SHORT])
    found |= {
        "tally, one account with six markets": one,
        "tally, per further account with six markets": two - one,
        "tally, per further account without": measure(exodus, "tally", [LONG, OTHER]) - one,
    }
    exodus.tally([LONG, SHORT])
    found["tally, the last one, which fixes the ratio"] = measure(exodus, "tally", [OTHER])
    exodus.tally([OTHER])
    found["claim"] = measure(exodus, "claim", LONG)

    assert found.keys() == LIMITS.keys()
    assert {name: gas for name, gas in found.items() if not LIMITS[name] * 9 // 10 < gas <= LIMITS[name]} == {}
