"""Who may call what: every external function that can write, against every role. A function missing here fails.

For each cell the call is made for real: a role that may must not meet a "caller" revert; every other must meet exactly
the one named.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from pyrevm import AccountInfo

from tests.contracts.venue import RULES
from tests.support.chain import (
    DEPLOYER,
    GOVERNOR,
    OUTSIDER,
    SEQUENCER,
    ZERO_ADDRESS,
    Chain,
    Reverted,
    artifacts,
    encode_call,
)

MOCKS: Final = {"TestStablecoin", "AwkwardToken"}
CONTRACTS: Final = ("Clearinghouse", "Vault", "PriceOracle", "SignedPriceSource", "MarketRegistry", "Lens")
ROLES: Final = (
    "outsider", "deployer", "sequencer", "governor", "pending_governor", "publisher", "Clearinghouse", "Vault",
    "PriceOracle", "SignedPriceSource", "MarketRegistry", "token",
)  # fmt: skip
PENDING: Final = "0x" + "9e" * 20
PUBLISHER: Final = "0x" + "b0" * 20
EVERYBODY: Final = frozenset(ROLES)
WORD: Final = RULES.pack()

# (contract, function) -> arguments, who may, what the others are told
Row = tuple[list[Any], frozenset[str], str]
GOVERNED: Final[dict[str, Row]] = {
    "propose_governor": ([OUTSIDER], frozenset({"governor"}), "caller: not governor"),
    "accept_governor": ([], frozenset({"pending_governor"}), "caller: not pending governor"),
}
MATRIX: Final[dict[tuple[str, str], Row]] = {
    ("Clearinghouse", "settle"): ([bytes(32), b""], frozenset({"sequencer"}), "batch: not sequencer"),
    ("Clearinghouse", "credit_deposit"): ([1 << 80, OUTSIDER, 1], frozenset({"Vault"}), "caller: not vault"),
    ("Clearinghouse", "list_market"): ([9], frozenset({"MarketRegistry"}), "caller: not registry"),
    ("Clearinghouse", "set_market_rules"): ([9, 0, WORD], frozenset({"MarketRegistry"}), "caller: not registry"),
    ("Clearinghouse", "set_sequencer"): ([OUTSIDER], frozenset({"MarketRegistry"}), "caller: not registry"),
    ("Vault", "deposit"): ([OUTSIDER, 0, 1], EVERYBODY, ""),
    ("Vault", "deposit_and_link"): ([0, 1, OUTSIDER, 1], EVERYBODY, ""),
    ("Vault", "deposit_with_permit"): (
        [OUTSIDER, 0, 1, 0, 27, bytes(32), bytes(32), ZERO_ADDRESS, 0], EVERYBODY, ""
    ),
    ("Vault", "deposit_with_authorization"): (
        [OUTSIDER, OUTSIDER, 0, 1, 0, 0, bytes(32), 27, bytes(32), bytes(32), ZERO_ADDRESS, 0], EVERYBODY, ""
    ),
    ("Vault", "add_claim"): ([OUTSIDER, 1], frozenset({"Clearinghouse"}), "caller: not clearinghouse"),
    ("Vault", "claim"): ([OUTSIDER], EVERYBODY, ""),
    ("PriceOracle", "accept_reports"): ([b"\xff", 1], frozenset({"Clearinghouse"}), "caller: not clearinghouse"),
    ("PriceOracle", "set_market"): ([9, 0, 1, 1, 1, 1], frozenset({"MarketRegistry"}), "caller: not registry"),
    ("PriceOracle", "set_source"): ([5, OUTSIDER], frozenset({"governor"}), "caller: not governor"),
    ("SignedPriceSource", "set_publishers"): ([[OUTSIDER], 1], frozenset({"governor"}), "caller: not governor"),
    # proves who said what to anyone; writes nothing
    ("SignedPriceSource", "read_reports"): ([b""], EVERYBODY, ""),
    ("MarketRegistry", "list_market"): (
        [9, "X", 4, 0, 1, [WORD] * 9], frozenset({"governor"}), "caller: not governor"
    ),
    ("MarketRegistry", "set_rules"): ([9, [(0, WORD)]], frozenset({"governor"}), "caller: not governor"),
    ("MarketRegistry", "set_sequencer"): ([OUTSIDER], frozenset({"governor"}), "caller: not governor"),
} | {
    (contract, function): row
    for contract in ("PriceOracle", "SignedPriceSource", "MarketRegistry")
    for function, row in GOVERNED.items()
}  # fmt: skip


def list_writing_functions(contract: str) -> set[str]:
    return {
        entry["name"]
        for entry in artifacts()[contract].abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }


@pytest.fixture(scope="module")
def chain() -> Chain:
    chain = Chain.deploy(publishers=[PUBLISHER])
    for contract in ("PriceOracle", "SignedPriceSource", "MarketRegistry"):
        chain.call(contract, "propose_governor", PENDING, sender=GOVERNOR)
    return chain


def address_of_role(chain: Chain, role: str) -> str:
    people = {
        "outsider": OUTSIDER, "deployer": DEPLOYER, "sequencer": SEQUENCER, "governor": GOVERNOR,
        "pending_governor": PENDING, "publisher": PUBLISHER,
    }  # fmt: skip
    return people.get(role) or chain.addresses[role]


def call_as(chain: Chain, role: str, contract: str, function: str, arguments: list[Any]) -> str | None:
    """Return the reason of the revert, None if it passed.

    A sender with code is refused by the chain itself (EIP-3607): a contract lends its address without its code.
    """
    sender = address_of_role(chain, role)
    calldata = encode_call(contract, function, *arguments)
    account = chain.evm.basic(sender)
    with chain.undone():
        try:
            chain.evm.insert_account_info(sender, AccountInfo(nonce=1))
            chain.transact(sender, chain.addresses[contract], calldata)
        except Reverted as error:
            return error.reason
        finally:
            # undone() does not know of this write
            chain.evm.insert_account_info(sender, account)
    return None


def test_matrix__has_every_writing_function_and_no_other() -> None:
    assert set(MATRIX) == {
        (contract, function) for contract in CONTRACTS for function in list_writing_functions(contract)
    }


def test_matrix__has_every_contract_that_is_not_a_mock() -> None:
    assert {name for name in artifacts().contracts if name not in MOCKS} == set(CONTRACTS)


def test_lens__writes_nothing() -> None:
    assert list_writing_functions("Lens") == set()


def test_abi__no_function_takes_ether() -> None:
    """Nothing of ours is paid in ether; what arrives would be stuck."""
    for contract in CONTRACTS:
        for entry in artifacts()[contract].abi:
            assert entry.get("stateMutability") != "payable", (contract, entry.get("name"))
            assert entry["type"] not in ("fallback", "receive")


@pytest.mark.parametrize(("contract", "function"), sorted(MATRIX))
def test_role__each_one__may_or_is_told_why_not(chain: Chain, contract: str, function: str) -> None:
    arguments, allowed, reason = MATRIX[contract, function]
    told = {}
    for role in ROLES:
        if address_of_role(chain, role) == chain.addresses[contract]:
            continue  # a contract calling itself: none of ours does, and the lock would stop it
        told[role] = call_as(chain, role, contract, function, arguments)

    refusals = {role: answer for role, answer in told.items() if role not in allowed}
    assert refusals == dict.fromkeys(refusals, reason)
    for role in told.keys() & allowed:
        answer = told[role] or ""
        assert answer != reason or not reason
        assert not answer.startswith("caller:")
        assert answer != "batch: not sequencer"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_views__called_by_anybody__never_ask_who(chain: Chain, contract: str) -> None:
    samples = {
        "uint256": 1, "address": OUTSIDER, "bytes32": bytes(32), "uint80": 0,
    }  # fmt: skip
    for entry in artifacts()[contract].abi:
        if entry["type"] == "function" and entry["stateMutability"] in ("view", "pure"):
            arguments = [samples[part["type"]] for part in entry["inputs"]]
            if entry["name"] == "check_rules":
                arguments = [WORD]
            chain.call(contract, entry["name"], *arguments, sender=PUBLISHER)
