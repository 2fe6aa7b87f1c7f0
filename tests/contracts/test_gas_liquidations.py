"""What liquidating costs, whole transactions on a cold machine: may fall, never rise (gas_liquidations.json).

After an improvement run with AFTERBELL_UPDATE_SNAPSHOTS=1 and commit the smaller numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from afterbell.domain.hashing import keccak
from afterbell.domain.ids import LIQUIDATION_LANE
from tests.contracts.ladder import (
    KEEPER,
    KEEPER_ID,
    LADDER_RULES,
    LAG_S,
    LONG,
    LONG_ID,
    SHORT,
    SHORT_ID,
    Ladder,
    key_of,
    owner_address,
)
from tests.contracts.venue import USDC, account_of
from tests.support.chain import OUTSIDER, artifacts, encode_call
from tests.support.cold import transact_once

SNAPSHOT: Final = Path(__file__).parent.parent / "snapshots" / "gas_liquidations.json"


def measure(ladder: Ladder, function: str, *args: Any, sender: str, keys: Iterable[tuple[str, tuple[int, ...]]]) -> int:
    """Return the gas of a call of Liquidations with every slot cold.

    keys: the words of Liquidations it may touch, by variable; of the Clearinghouse all that the ladder knows.
    """
    chain = ladder.venue.chain
    state = ladder.state
    clearinghouse = {
        chain._word_slot(variable, key): word
        for variable, words in (
            ("accounts", state.accounts), ("positions", state.positions), ("prices", state.prices),
            ("indices", state.indices), ("totals", state.totals), ("rules", state.rules),
        )
        for key, word in words.items()
    }  # fmt: skip
    for variable in ("batch", "operator", "head"):
        slot = chain._slot(variable)
        clearinghouse[slot] = int(chain.evm.storage(chain.addresses["Clearinghouse"], slot))
    storages = {"Clearinghouse": clearinghouse, "Liquidations": {}, "Exits": {}}
    for contract, variable, path in (
        *(("Liquidations", variable, path) for variable, path in keys), ("Exits", "taker_since_s", (KEEPER_ID,)),
    ):  # fmt: skip
        slot = int(artifacts()[contract].layout["storage_layout"][variable]["slot"])
        for key in path:
            slot = int.from_bytes(keccak(slot.to_bytes(32, "big") + key.to_bytes(32, "big")), "big")
        storages[contract][slot] = int(chain.evm.storage(chain.addresses[contract], slot))
    contracts: dict[bytes, tuple[bytes, dict[int, int]]] = {}
    for name, storage in storages.items():
        address = chain.addresses[name]
        contracts[bytes.fromhex(address[2:])] = (chain.evm.get_code(address) or b"", storage)
    return transact_once(
        contracts=contracts,
        to=bytes.fromhex(ladder.address[2:]),
        sender=bytes.fromhex(sender[2:]),
        calldata=encode_call("Liquidations", function, *args),
        time_s=ladder.now_s,
    )


def sick_in(n_markets: int) -> Ladder:
    """Return a flagged long with equal positions in so many markets; it was traded, taken over and insured before."""
    ladder = Ladder.open(n_markets=6, rules=LADDER_RULES)
    for account, quote in ((LONG_ID, 2_000 * n_markets), (SHORT_ID, 200_000), (KEEPER_ID, 200_000)):
        ladder.deposit(account, quote * USDC)
    for market in range(1, n_markets + 1):
        ladder.trade(LONG, SHORT, market=market)
        ladder.trade(KEEPER, SHORT, 10_000, market=market)
        ladder.deposit(ladder.insurance_id(market), 100 * USDC)
    ladder.announce(KEEPER_ID)
    for market in range(1, n_markets + 1):
        ladder.put_price(8_888, market=market)
    ladder.flag(LONG_ID)
    ladder.wait(LAG_S + 1)
    return ladder


def measure_liquidate(n_markets: int) -> int:
    ladder = sick_in(n_markets)
    keys = [("flagged_at_s", (LONG_ID,)), ("throttles", (1,)), ("draws", (1,))]
    used = measure(ladder, "liquidate", LONG_ID, 1, 10_000, 0, sender=owner_address(KEEPER_ID), keys=keys)
    assert ladder.liquidate(LONG_ID, 10_000) == 10_000
    return used


def measure_order(n_markets: int) -> int:
    """Return what check_order costs by itself: a batch pays it once a liquidation order."""
    ladder = sick_in(n_markets)
    # market 1, selling, reduce-only, IOC, 10,000 lots at 8,600
    word = 1 << 248 | 274 << 232 | LIQUIDATION_LANE << 216 | 9 << 176 | 10_000 << 128 | 8_600 << 88
    assert ladder.venue.chain.call("Liquidations", "check_order", LONG_ID, word, 9, ladder.now_s) == 0
    return measure(
        ladder, "check_order", LONG_ID, word, 9, ladder.now_s, sender=OUTSIDER, keys=[("flagged_at_s", (LONG_ID,))]
    )  # fmt: skip


def measure_adl(n_counterparties: int) -> int:
    """Return what executing an ADL against so many costs, each with one open market."""
    lots = 20_000 * n_counterparties
    ladder = Ladder.open(n_markets=1)
    ladder.deposit(LONG_ID, lots * 2_000)
    for number in range(n_counterparties):
        key = key_of(f"rival{number}")
        ladder.deposit(account_of(key), 1_000 * USDC)
        ladder.trade(LONG, key, 20_000)
    ladder.put_price(7_900)
    adl_id = ladder.open_adl(LONG_ID)
    for number in range(n_counterparties):
        ladder.nominate(adl_id, account_of(key_of(f"rival{number}")))
    ladder.wait(901)
    keys = [("flagged_at_s", (LONG_ID,)), ("adl_terms", (adl_id,)), ("adl_subjects", (adl_id,)), ("draws", (1,))]
    keys += [("nominees", (adl_id << 8 | place,)) for place in range(n_counterparties)]
    keys += [("scores", (adl_id << 8 | place,)) for place in range(8)]
    used = measure(ladder, "execute_adl", adl_id, sender=OUTSIDER, keys=keys)
    assert ladder.execute_adl(adl_id) == lots
    return used


def test_gas__liquidations__not_above_the_snapshot() -> None:
    one, six = measure_liquidate(1), measure_liquidate(6)
    few, many = measure_adl(2), measure_adl(32)
    actual = {
        "liquidate_1_market": one,
        "liquidate_6_markets": six,
        "liquidate_per_further_market": (six - one) // 5,
        "check_order_1_market": measure_order(1),
        "check_order_6_markets": measure_order(6),
        "execute_adl_2_counterparties": few,
        "execute_adl_32_counterparties": many,
        "adl_per_counterparty": (many - few) // 30,
    }
    if os.environ.get("AFTERBELL_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(actual, indent=2) + "\n")

    expected = json.loads(SNAPSHOT.read_text())

    assert actual.keys() == expected.keys()
    assert all(actual[name] <= expected[name] for name in expected), (actual, expected)
