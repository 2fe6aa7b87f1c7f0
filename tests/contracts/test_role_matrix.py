"""Who may call what: every external function of every contract, drawn from the ABIs, against every role.

For each cell the call is made for real. Whoever may must get exactly the outcome named, everybody else exactly the
refusal named. A function without a row fails, one that writes and one that only reads alike.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pytest
from pyrevm import AccountInfo

from afterbell.adapters.project import find_project_root
from tests.contracts.government import (
    EXECUTOR,
    FORTNIGHT_S,
    GOVERNED,
    GUARDIAN,
    PROPOSER,
    ROLES,
    STANDBY,
    Call,
    hand_over,
    schedule,
    wait,
)
from tests.contracts.venue import RULES
from tests.support.chain import (
    DEPLOYER,
    GOVERNOR,
    OUTSIDER,
    SEQUENCER,
    START_S,
    ZERO_ADDRESS,
    Chain,
    Reverted,
    artifacts,
    encode_call,
)

PENDING, PUBLISHER, OWNER, KEY, ANNOUNCER = ("0x" + digits * 20 for digits in ("9e", "b0", "0e", "ce", "ac"))
PEOPLE: Final = {
    "outsider": OUTSIDER, "deployer": DEPLOYER, "owner": OWNER, "session_key": KEY, "sequencer": SEQUENCER,
    "standby": STANDBY, "guardian": GUARDIAN, "first_governor": GOVERNOR, "pending_governor": PENDING,
    "proposer": PROPOSER, "executor": EXECUTOR, "publisher": PUBLISHER, "announcer": ANNOUNCER,
}  # fmt: skip
FEED_SOURCES: Final = ("PythSource", "ChainlinkSource", "ChainlinkStreamsSource")
# The governor is the Timelock.
CONTRACTS: Final = (
    "Clearinghouse", "Vault", "Operations", "PriceOracle", "SignedPriceSource", "MarketRegistry", "Lens", "MarketLens",
    "Timelock", "CorporateActions", "Liquidations", "Exits", *FEED_SOURCES,
)  # fmt: skip
EVERY_ROLE: Final = (*PEOPLE, *CONTRACTS, "token")
WORD: Final = RULES.pack()
LIMITS: Final = 1_905_000_000 | 10**9 << 40 | 1 << 104
MISSING_ROLE: Final = "access_control: account is missing role"


class Row(NamedTuple):
    """Arguments; who may (None: everybody); what the others are told; what happens to those who may (None: done)."""

    arguments: list[Any]
    may: set[str] | None
    refusal: str = ""
    outcome: str | None = None


def governed_by(contract: str) -> dict[tuple[str, str], Row]:
    return {
        (contract, "propose_governor"): Row([OUTSIDER], {"Timelock"}, "caller: not governor"),
        (contract, "accept_governor"): Row([], {"pending_governor"}, "caller: not pending governor"),
    }


NOT_ROTATOR: Final = "caller: may not rotate"
NOT_GUARDIAN: Final = "caller: not guardian"
# a step of market 1, two days after the venue is handed over
ACTION_S: Final = START_S + FORTNIGHT_S + 2 * 86_400
ACTION: Final = (1, 6, ACTION_S // 86_400, ACTION_S, 0, 0, 0, 0, 0, 0, "")
MATRIX: Final[dict[tuple[str, str], Row]] = {
    ("Clearinghouse", "settle"): Row([b"\x01" * 32, b""], {"sequencer"}, "batch: not sequencer", "batch: head"),
    ("Clearinghouse", "credit_deposit"): Row([1 << 80, OUTSIDER, 1], {"Vault"}, "caller: not vault"),
    ("Clearinghouse", "record_direct"): Row([2, 1 << 80, 7, 1], {"Operations"}, "caller: not operations"),
    ("Clearinghouse", "list_market"): Row([9], {"MarketRegistry"}, "caller: not registry"),
    ("Clearinghouse", "set_rules_word"): Row([9, 0, WORD, 0, 0], {"MarketRegistry"}, "caller: not registry"),
    ("Clearinghouse", "set_sequencer"): Row([OUTSIDER], {"MarketRegistry"}, "caller: not registry"),
    ("Clearinghouse", "write_operation"): Row([3, 1 << 80, 7, 1], {"Operations"}, "caller: not operations"),
    ("Clearinghouse", "withdraw_to_claim"): Row(
        [1 << 80, OUTSIDER, 0], {"Operations", "Exits"}, "caller: not operations"
    ),
    ("Clearinghouse", "transfer"): Row([1 << 80, 2 << 80, 0], {"Operations"}, "caller: not operations"),
    ("Clearinghouse", "apply_deltas"): Row(
        [1, [], 0], {"Liquidations", "Exits", "CorporateActions"}, "caller: not a sibling"
    ),
    ("Clearinghouse", "move_market"): Row(
        [1, 1 << 208, 0], {"Liquidations", "CorporateActions"}, "caller: not a sibling"
    ),
    ("Clearinghouse", "set_mode"): Row([1], {"Exits"}, "caller: not exits"),
    ("Vault", "deposit"): Row([OWNER, 0, 1], None, outcome="test token: allowance"),
    ("Vault", "deposit_and_link"): Row([0, 1, OUTSIDER, LIMITS], None, outcome="test token: allowance"),
    ("Vault", "deposit_with_permit"): Row(
        [OWNER, 0, 1, 0, 27, bytes(32), bytes(32), ZERO_ADDRESS, 0], None, outcome="deposit: allowance"
    ),
    ("Vault", "deposit_with_authorization"): Row(
        [OWNER, OWNER, 0, 1, 0, 0, bytes(32), 27, bytes(32), bytes(32), ZERO_ADDRESS, 0], None,
        outcome="test token: authorization expired",
    ),
    ("Vault", "add_claim"): Row([OUTSIDER, 1], {"Clearinghouse"}, "caller: not clearinghouse"),
    ("Vault", "claim"): Row([OWNER], None, outcome="claim: nothing"),
    # On the caller's own account, whoever it is.
    ("Operations", "cancel_all"): Row([0, 1], None),
    ("Operations", "link_key"): Row([5, STANDBY[:-1] + "1", LIMITS], None),
    ("Operations", "revoke_key"): Row([0, KEY], None),
    ("Operations", "approve"): Row([bytes(32)], None),
    ("Operations", "link_key_for"): Row([1 << 80, KEY, LIMITS], {"Vault"}, "caller: not vault"),
    ("Operations", "run"): Row([bytes(32), b"", 1, 1], {"Clearinghouse"}, "caller: not clearinghouse"),
    ("PriceOracle", "update"): Row([b"", 0, 1], {"Clearinghouse"}, "caller: not clearinghouse"),
    ("PriceOracle", "set_market"): Row([9, 0, 1, 1, 1, 1], {"MarketRegistry"}, "caller: not registry"),
    ("PriceOracle", "set_source"): Row([0, OUTSIDER], {"Timelock"}, "caller: not governor", "source: taken"),
    ("PriceOracle", "set_market_sources"): Row([1, 0, 256], {"Timelock"}, "caller: not governor"),
    ("PriceOracle", "replace_sources"): Row([1, 0, 256], {"CorporateActions"}, "caller: not corporate actions"),
    ("PriceOracle", "apply_split"): Row([1, 2, 1], {"CorporateActions"}, "caller: not corporate actions"),
    ("PriceOracle", "override_session"): Row(
        [1, 6, START_S + FORTNIGHT_S + 3_600], {"sequencer", "guardian"}, NOT_GUARDIAN
    ),
    ("PriceOracle", "clear_override"): Row([1], {"sequencer", "guardian"}, NOT_GUARDIAN),
    ("PriceOracle", "append_windows"): Row([[]], {"Timelock"}, "caller: not governor", "calendar: order"),
    ("PriceOracle", "replace_windows"): Row([0, []], {"Timelock"}, "caller: not governor", "calendar: too early"),
    **governed_by("PriceOracle"),
    # a Pyth and a verifier that are none: what they are asked fails
    ("PythSource", "set_feed"): Row([0, bytes(32)], {"Timelock"}, "caller: not governor", "market: out of range"),
    ("PythSource", "refresh"): Row([[]], None, outcome=""),
    ("PythSource", "read_reports"): Row([b""], None, outcome="source: length"),
    **governed_by("PythSource"),
    ("ChainlinkSource", "set_feed"): Row([0, OUTSIDER], {"Timelock"}, "caller: not governor", "market: out of range"),
    ("ChainlinkSource", "read_reports"): Row([b""], None, outcome="source: length"),
    **governed_by("ChainlinkSource"),
    ("ChainlinkStreamsSource", "set_feed"): Row(
        [0, bytes(32), []], {"Timelock"}, "caller: not governor", "market: out of range"
    ),
    ("ChainlinkStreamsSource", "refresh"): Row([b""], None, outcome=""),
    ("ChainlinkStreamsSource", "read_reports"): Row([b""], None, outcome="source: length"),
    **governed_by("ChainlinkStreamsSource"),
    ("SignedPriceSource", "set_publishers"): Row([[OUTSIDER], 1], {"Timelock"}, "caller: not governor"),
    # proves who said what to anyone; writes nothing
    ("SignedPriceSource", "read_reports"): Row([b""], None, outcome="source: length"),
    **governed_by("SignedPriceSource"),
    ("MarketRegistry", "list_market"): Row(
        [9, "X", 4, 0, 1, 10_000, 0, [WORD] * 9], {"Timelock"}, "caller: not governor"
    ),
    ("MarketRegistry", "set_tiers"): Row([1, 0], {"Timelock"}, "caller: not governor"),
    ("MarketRegistry", "set_reference"): Row([1, 10_000], {"Timelock"}, "caller: not governor"),
    ("MarketRegistry", "set_symbol"): Row([1, "X"], {"CorporateActions"}, "caller: not corporate actions"),
    ("MarketRegistry", "set_rules"): Row([1, [(0, WORD)]], {"Timelock"}, "caller: not governor"),
    ("MarketRegistry", "set_guardian"): Row([OUTSIDER], {"Timelock"}, "caller: not governor"),
    ("MarketRegistry", "approve_sequencer"): Row([OUTSIDER], {"Timelock"}, "caller: not governor"),
    ("MarketRegistry", "revoke_sequencer"): Row([STANDBY], {"Timelock", "guardian"}, "caller: not guardian"),
    ("MarketRegistry", "rotate_sequencer"): Row([STANDBY], {"Timelock", "guardian", "sequencer"}, NOT_ROTATOR),
    ("MarketRegistry", "tighten_rules"): Row([1, 0, WORD], {"guardian"}, "caller: not guardian"),
    ("MarketRegistry", "halt_market"): Row([1], {"guardian"}, "caller: not guardian"),
    **governed_by("MarketRegistry"),
    # market 1 has no price, and nothing stands there
    ("CorporateActions", "announce"): Row(
        [ACTION], {"Timelock", "announcer"}, "caller: not announcer", "action: no external price"
    ),
    ("CorporateActions", "confirm"): Row([1, bytes(32)], {"Timelock", "guardian"}, NOT_GUARDIAN, "action: none"),
    ("CorporateActions", "cancel"): Row([1], {"Timelock", "guardian"}, NOT_GUARDIAN, "action: none"),
    ("CorporateActions", "dismiss_announcer"): Row([], {"Timelock", "guardian"}, NOT_GUARDIAN),
    ("CorporateActions", "set_announcer"): Row([OUTSIDER], {"Timelock"}, "caller: not governor"),
    ("CorporateActions", "correct_split"): Row([1, 2, 1], {"Timelock"}, "caller: not governor", "action: none"),
    ("CorporateActions", "reserve"): Row([1], None, outcome="action: none"),
    ("CorporateActions", "activate"): Row([1], None, outcome="action: none"),
    ("CorporateActions", "reopen"): Row([1], None, outcome="action: none"),
    ("CorporateActions", "settle_positions"): Row([1, []], None, outcome="action: kind"),
    **governed_by("CorporateActions"),
    # anybody, on accounts that are not healthy
    # On the caller's own account, whoever it is.
    ("Exits", "request_withdrawal"): Row([0, 1, OWNER], None),
    ("Exits", "request_close"): Row([0, 1, 1, 1], None, outcome="exits: no position"),
    ("Exits", "cancel_request"): Row([0, 0], None, outcome="exits: no request"),
    ("Exits", "announce_taker"): Row([0], None),
    # On anybody's, by rules and clocks alone; nobody can stop an exit.
    ("Exits", "force_withdrawal"): Row([1 << 80], None, outcome="exits: no request"),
    ("Exits", "force_close"): Row([1 << 80, 1, 1, 0], None, outcome="exits: not announced"),
    ("Exits", "observe"): Row([1 << 80, 1], None, outcome="exits: no request"),
    ("Exits", "enter_exit_mode"): Row([], None),
    ("Exits", "leave_exit_mode"): Row([], None, outcome="exits: mode"),
    ("Exits", "start_final_settlement"): Row([], None, outcome="exits: mode"),
    ("Exits", "tally"): Row([[]], None, outcome="exits: not settled"),
    ("Exits", "claim"): Row([1 << 80], None, outcome="exits: nothing to claim"),
    ("Liquidations", "flag"): Row([1 << 80], None, outcome="liquidations: healthy"),
    ("Liquidations", "unflag"): Row([1 << 80], None, outcome="liquidations: not flagged"),
    ("Liquidations", "liquidate"): Row([1 << 80, 1, 1, 0], None, outcome="liquidations: too early"),
    ("Liquidations", "open_adl"): Row([1 << 80, 1], None, outcome="liquidations: no position"),
    ("Liquidations", "nominate"): Row([1, 1 << 80], None, outcome="liquidations: no adl"),
    ("Liquidations", "execute_adl"): Row([1], None, outcome="liquidations: no adl"),
    ("Liquidations", "cover"): Row(
        [1 << 80, 1], {"CorporateActions"}, "caller: not corporate actions", "liquidations: nothing to cover"
    ),
    # The Timelock itself may through `execute` alone, shown in test_timelock.py.
    ("Timelock", "grantRole"): Row([ROLES["PROPOSER_ROLE"], OUTSIDER], set(), MISSING_ROLE),
    ("Timelock", "revokeRole"): Row([ROLES["PROPOSER_ROLE"], PROPOSER], set(), MISSING_ROLE),
    ("Timelock", "renounceRole"): Row(
        [ROLES["CANCELLER_ROLE"], GUARDIAN], {"guardian"}, "access_control: can only renounce roles for itself"
    ),
}  # fmt: skip


def rows_of_the_timelock(chain: Chain) -> dict[tuple[str, str], Row]:
    """Return the rows whose arguments are only known on a chain."""
    waiting, ready = calls(chain)
    return {
        ("Timelock", "schedule"): Row(
            [*calls(chain, b"\x09" * 32)[0].arguments, FORTNIGHT_S], {"proposer"}, MISSING_ROLE
        ),
        ("Timelock", "execute"): Row([*ready.arguments], {"executor"}, MISSING_ROLE),
        ("Timelock", "cancel"): Row([waiting.call_id], {"guardian"}, MISSING_ROLE),
        ("Timelock", "accept"): Row([chain.addresses["spare"]], None),
    }


WRITING: Final = (*MATRIX, *(("Timelock", name) for name in ("schedule", "execute", "cancel", "accept")))
VIEWS: Final = {
    "Clearinghouse": {
        "account_word", "overflow_word", "session_key_word", "position_word", "lane_word", "price_word", "rules_word",
        "index_word", "totals_word", "batch_word", "operator_word", "domain_separator", "VAULT", "ORACLE", "REGISTRY",
        "OPERATIONS", "LIQUIDATIONS", "EXITS", "CORPORATE_ACTIONS", "GENESIS_S", "head", "eip712Domain",
    },
    "Vault": {"TOKEN", "CLEARINGHOUSE", "OPERATIONS", "tracked_quote", "total_claims_quote", "claims_quote"},
    "Operations": {
        "check", "refuse", "describe_domain", "order_code", "fill_code", "CLEARINGHOUSE", "VAULT", "is_approved",
    },
    "PriceOracle": {
        "governor", "pending_governor", "CLEARINGHOUSE", "REGISTRY", "CORPORATE_ACTIONS", "source", "sources_of",
        "pricings", "is_trusted", "multiplier", "last_publish_time_s", "last_observation", "observation_words",
        "override_word", "window_at", "boundary", "n_boundaries",
    },
    "SignedPriceSource": {
        "governor", "pending_governor", "domain_separator", "get_publishers", "threshold", "is_publisher",
        "valid_until_s", "previous_threshold", "previous_until_s", "is_ageless_while_closed",
    },
    "PythSource": {"governor", "pending_governor", "PYTH", "feeds", "is_ageless_while_closed"},
    "ChainlinkSource": {"governor", "pending_governor", "feeds", "decimals", "is_ageless_while_closed"},
    "ChainlinkStreamsSource": {
        "governor", "pending_governor", "VERIFIER", "FEE_TOKEN", "feeds", "statuses", "stored",
        "is_ageless_while_closed",
    },
    "MarketRegistry": {
        "governor", "pending_governor", "check_rules", "CLEARINGHOUSE", "ORACLE", "symbols", "lot_exponents",
        "guardian", "is_standby", "latest_rules", "latest_tiers", "reference_ticks", "check_caps",
    },
    "Lens": {
        "account_summary", "position_summary", "liquidation_summary", "exit_requests", "effective_rules",
        "effective_tiers", "session_key_summary", "lane_state", "order_digest", "order_tree_digest", "operation_digest",
        "CLEARINGHOUSE", "LIQUIDATIONS", "EXITS",
    },
    "MarketLens": {
        "market_summary", "unit_summary", "session_now", "corporate_action", "adl", "adl_ranks", "insurance_quote",
        "solvency", "CLEARINGHOUSE", "VAULT", "LIQUIDATIONS", "ORACLE", "REGISTRY", "CORPORATE_ACTIONS",
    },
    "CorporateActions": {
        "governor", "pending_governor", "CLEARINGHOUSE", "ORACLE", "REGISTRY", "LIQUIDATIONS", "announcer",
        "state_words", "terms", "is_activated", "last_dividend_s", "halt_from", "action_id",
    },
    "Exits": {
        "request_word", "request_state", "withdrawable_quote", "close_price_ticks", "mode_clock", "tally_progress",
        "claimable_quote", "recipients", "taker_since_s", "n_overdue", "exit_mode_since_s", "tallies",
        "tallied_collateral_quote", "market_tallies", "positive_equity_quote", "assets_quote", "is_ratio_fixed",
        "CLEARINGHOUSE", "VAULT", "UPTIME_FEED",
    },
    "Liquidations": {
        "check_order", "insurance_account", "insurance_left_quote", "flagged_at_s", "draws", "throttles", "n_adls",
        "last_adl", "adl_subjects", "adl_terms", "nominees", "scores", "nominee_places", "CLEARINGHOUSE",
        "CORPORATE_ACTIONS",
    },
    "Timelock": {
        "hasRole", "getRoleAdmin", "DEFAULT_ADMIN_ROLE", "PROPOSER_ROLE", "EXECUTOR_ROLE", "CANCELLER_ROLE",
        "get_minimum_delay", "get_timestamp", "get_operation_state", "hash_operation",
    },
}  # fmt: skip
# The registry asks the Clearinghouse who settles, and one that lends its address has no code to answer with.
UNTRIED: Final = {
    # Operations holds the texts the Clearinghouse refuses with: without its code there is none
    *(
        ("Clearinghouse", function, "Operations")
        for function in (
            "settle",
            "credit_deposit",
            "list_market",
            "set_rules_word",
            "set_sequencer",
            "apply_deltas",
            "move_market",
            "set_mode",
        )
    ),
    ("MarketRegistry", "rotate_sequencer", "Clearinghouse"),
    # nor, asked who CorporateActions is
    ("MarketRegistry", "set_symbol", "Clearinghouse"),
    # nor, asked who settles; nor has a registry that is asked for the guardian
    *(
        ("PriceOracle", function, contract)
        for function in ("override_session", "clear_override")
        for contract in ("Clearinghouse", "MarketRegistry")
    ),
    # nor, asked for an account's words
    *(
        ("Liquidations", function, "Clearinghouse")
        for function in ("flag", "liquidate", "open_adl", "nominate", "execute_adl", "cover")
    ),
    # nor has a registry that is asked for the guardian
    *(("CorporateActions", function, "MarketRegistry") for function in ("confirm", "cancel", "dismiss_announcer")),
}
SAMPLES: Final = {
    "uint256": 1, "uint8": 1, "address": OUTSIDER, "bytes32": bytes(32), "bytes": b"", "bool": True, "uint256[]": [1],
    "bytes32[]": [],
}  # fmt: skip


def list_functions(contract: str, *, is_writing: bool) -> set[str]:
    return {
        entry["name"]
        for entry in artifacts()[contract].abi
        if entry["type"] == "function" and (entry["stateMutability"] not in ("view", "pure")) == is_writing
    }


def calls(chain: Chain, salt: bytes = bytes(32)) -> list[Call]:
    """Return two calls of the Timelock: one that waits and one that is ready, as `chain` makes them."""
    return [
        Call.of(chain, "MarketRegistry", "approve_sequencer", address, salt=salt) for address in (PUBLISHER, OUTSIDER)
    ]


@pytest.fixture(scope="module")
def chain() -> Chain:
    """A venue handed over: a market, an owner's key, a governor to come, a call that waits and one that is ready."""
    chain = Chain.deploy(publishers=[PUBLISHER])
    chain.list_market(1, WORD)
    chain.call("CorporateActions", "set_announcer", ANNOUNCER, sender=GOVERNOR)
    hand_over(chain)
    chain.call("Operations", "link_key", 0, KEY, LIMITS, sender=OWNER)
    source = chain.addresses["SignedPriceSource"]
    chain.addresses["spare"] = chain.create("SignedPriceSource", GOVERNOR, [PUBLISHER], 1)
    chain.addresses["SignedPriceSource"] = source
    chain.transact(
        GOVERNOR, chain.addresses["spare"],
        encode_call("SignedPriceSource", "propose_governor", chain.addresses["Timelock"]),
    )  # fmt: skip
    chain.create("PythSource", GOVERNOR, OUTSIDER)
    chain.create("ChainlinkSource", GOVERNOR)
    chain.create("ChainlinkStreamsSource", GOVERNOR, OUTSIDER, ZERO_ADDRESS)
    for feed_source in FEED_SOURCES:
        chain.call(feed_source, "propose_governor", chain.addresses["Timelock"], sender=GOVERNOR)
        chain.call("Timelock", "accept", chain.addresses[feed_source])
    handing_on = [Call.of(chain, contract, "propose_governor", PENDING) for contract in (*GOVERNED, *FEED_SOURCES)]
    waiting, ready = calls(chain)
    for call in (ready, *handing_on):
        schedule(chain, call)
    wait(chain, FORTNIGHT_S)
    for call in handing_on:
        chain.call("Timelock", "execute", *call.arguments, sender=EXECUTOR)
    schedule(chain, waiting)
    return chain


def address_of_role(chain: Chain, role: str) -> str:
    return PEOPLE.get(role) or chain.addresses[role]


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
    assert set(WRITING) == {
        (contract, function) for contract in CONTRACTS for function in list_functions(contract, is_writing=True)
    }


@pytest.mark.parametrize("contract", CONTRACTS)
def test_matrix__has_every_reading_function_and_no_other(contract: str) -> None:
    assert VIEWS[contract] == list_functions(contract, is_writing=False)


def test_matrix__has_every_contract_that_is_not_a_mock() -> None:
    assert {path.stem for path in (find_project_root() / "contracts").glob("*.vy")} == set(CONTRACTS)


def test_abi__no_function_takes_ether_but_two_that_hand_it_on() -> None:
    """Nothing of ours is paid in ether; what arrives would be stuck. The Timelock hands on what a call says."""
    found = [
        (contract, entry.get("name", entry["type"]))
        for contract in CONTRACTS
        for entry in artifacts()[contract].abi
        if entry.get("stateMutability") == "payable" or entry["type"] in ("fallback", "receive")
    ]

    # and what Pyth charges, whose rest goes back: tests/contracts/test_feed_sources.py
    assert sorted(found) == [("PythSource", "refresh"), ("Timelock", "execute")]


@pytest.mark.parametrize(("contract", "function"), sorted(WRITING))
def test_role__each_one__may_or_is_told_why_not(chain: Chain, contract: str, function: str) -> None:
    row = (MATRIX | rows_of_the_timelock(chain))[contract, function]
    told = {
        role: call_as(chain, role, contract, function, row.arguments)
        for role in EVERY_ROLE
        # A contract calling itself: none of ours does, the Timelock through `execute` excepted.
        if role != contract and (contract, function, role) not in UNTRIED
    }

    if row.may is None:
        # A contract that lends its address lends no code: what the call then finds missing is no refusal of the caller.
        assert {role: told[role] for role in PEOPLE} == dict.fromkeys(PEOPLE, row.outcome)
        assert not [answer for answer in told.values() if answer and answer.startswith(("caller", "access_control"))]
    else:
        assert told == {role: row.outcome if role in row.may else row.refusal for role in told}


@pytest.mark.parametrize("contract", CONTRACTS)
def test_views__called_by_anybody__answer_all_alike(chain: Chain, contract: str) -> None:
    for entry in artifacts()[contract].abi:
        # one answers what no ABI of Vyper can say (EIP-5267), the other always refuses
        if entry.get("name") in ("eip712Domain", "refuse"):
            continue
        if entry["type"] == "function" and entry["name"] in VIEWS[contract]:
            arguments = [chain.time_s if part["name"] == "at_s" else SAMPLES[part["type"]] for part in entry["inputs"]]
            if entry["name"] == "check_rules":
                arguments = [WORD, 0]
            answers = {
                role: chain.call(contract, entry["name"], *arguments, sender=person) for role, person in PEOPLE.items()
            }
            assert answers == dict.fromkeys(PEOPLE, answers["outsider"]), entry["name"]
