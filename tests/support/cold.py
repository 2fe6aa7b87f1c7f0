"""One transaction on a machine where nothing is warm: py-evm at Prague rules, for gas that is exact to the unit.

Slow (a second or two for a large batch), so only for measurements. Confirmed against anvil by `afterbell bench gas`.
"""

from __future__ import annotations

from typing import Any

from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.chain_context import ChainContext
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction

GAS = 16_000_000
CHAIN_ID = 31_337


def transact_once(
    *,
    contracts: dict[bytes, tuple[bytes, dict[int, int]]],
    to: bytes,
    sender: bytes,
    calldata: bytes,
    time_s: int,
) -> int:
    """Run one call as a transaction on a fresh chain and return its gas. Raises: AssertionError if it reverts.

    contracts: code and storage by address.
    """

    # py-evm types ids and addresses by NewType and its spoofed transaction by nothing; Any keeps that out of here
    chain_class: Any = MiningChain.configure("PragueChain", vm_configuration=((0, PragueVM),), chain_id=CHAIN_ID)
    account: dict[str, Any] = {"balance": 0, "nonce": 0, "code": b"", "storage": {}}
    chain: Any = chain_class.from_genesis(
        AtomicDB(),
        {"difficulty": 0, "gas_limit": 2 * GAS, "timestamp": time_s - 1, "base_fee_per_gas": 0},
        {
            **{
                address: {**account, "nonce": 1, "code": code, "storage": storage}
                for address, (code, storage) in contracts.items()
            },
            sender: {**account, "balance": 10**20},
        },
    )
    machine = chain.get_vm()
    header = machine.get_header().copy(timestamp=time_s, gas_limit=2 * GAS)
    state: Any = PragueVM.build_state(chain.chaindb.db, header, ChainContext(CHAIN_ID))
    transaction = SpoofTransaction(
        machine.create_unsigned_transaction(nonce=0, gas_price=0, gas=GAS, to=to, value=0, data=calldata),
        from_=sender,
    )
    computation = state.apply_transaction(transaction)
    computation.raise_if_error()
    used = int(GAS - computation.get_gas_remaining())
    return used - min(int(computation.get_gas_refund()), used // 5)
