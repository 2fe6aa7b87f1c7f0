"""No function anywhere takes a user's money: every writing function of every ABI, every role, hostile arguments.

Single calls first, each from the same venue: whatever passes, the victims' words, claims and the vault are untouched.
Then random histories of such calls with time passing, less than the delay of the Timelock: nobody has a unit more than
he came with, and the victims' collateral, entries and claims are what they were. Batches are test_hostile_sequencer's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import pytest
from eth_abi.exceptions import EncodingError

from tests.contracts.government import EXECUTOR, FORTNIGHT_S, GUARDIAN, PROPOSER, ROLES, hand_over
from tests.contracts.venue import MAKER, RULES, TAKER, USDC, Venue, account_of, address_of
from tests.support.chain import DEPLOYER, GOVERNOR, OUTSIDER, SEQUENCER, Chain, Reverted, artifacts, encode_call

ANNOUNCER: Final = "0x" + "ac" * 20
ROLES_TRIED: Final = {
    "outsider": OUTSIDER, "deployer": DEPLOYER, "sequencer": SEQUENCER, "guardian": GUARDIAN, "proposer": PROPOSER,
    "executor": EXECUTOR, "first_governor": GOVERNOR, "announcer": ANNOUNCER,
}  # fmt: skip
MOCKS: Final = {"TestStablecoin", "AwkwardToken"}
VICTIMS: Final = (account_of(MAKER), account_of(TAKER))
MARKETS: Final = (1, 2)
CLAIM_QUOTE: Final = 20 * USDC
SEED: Final = 20_261_122
N_TRIES: Final = 20
N_STEPS: Final = 400


@pytest.fixture(scope="module")
def opened() -> Venue:
    """Return a venue handed over to its Timelock: victims with positions and a claim, each role with its own money."""
    venue = Venue.open(n_markets=2)
    chain = venue.chain
    chain.call("CorporateActions", "set_announcer", ANNOUNCER, sender=GOVERNOR)
    for market in MARKETS:
        assert venue.trade(1_000, maker={"market_id": market}, taker={"market_id": market}).is_clean
    assert venue.settle(operations=[venue.withdraw(MAKER, CLAIM_QUOTE)]).is_clean
    for person in ROLES_TRIED.values():
        chain.deposit(int(person, 16) << 80, 1_000 * USDC)
    hand_over(chain)
    return venue


@pytest.fixture
def venue(opened: Venue) -> Iterator[Venue]:
    with opened.chain.undone():
        yield opened


def list_writing(chain: Chain) -> list[tuple[str, dict[str, Any]]]:
    """Return every function that writes, of every contract of the venue."""
    return sorted(
        (
            (name, entry)
            for name in set(chain.contracts.values()) - MOCKS
            for entry in artifacts()[name].abi
            if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
        ),
        key=lambda one: (one[0], one[1]["name"]),
    )


def draw(source: random.Random, part: dict[str, Any], chain: Chain, person: str) -> Any:
    """Return a hostile argument: victims' accounts and addresses, the caller's own, bounds, and nothing."""
    kind = part["type"]
    if kind.endswith("]"):
        inner = part | {"type": kind[: kind.rindex("[")]}
        return [draw(source, inner, chain, person) for _ in range(source.randrange(4))]
    if kind == "tuple":
        return tuple(draw(source, one, chain, person) for one in part["components"])
    if kind == "address":
        return source.choice([person, address_of(MAKER), *chain.addresses.values(), "0x" + "00" * 20])
    if kind == "bool":
        return source.random() < 0.5
    if kind == "bytes32":
        return source.choice([bytes(32), *ROLES.values(), source.randbytes(32)])
    if kind == "bytes":
        return source.choice([b"", source.randbytes(64)])
    if kind == "string":
        return source.choice(["", "HOSTILE"])
    n_bits = int(kind.removeprefix("uint").removeprefix("int") or 256)
    numbers = [
        0, 1, 2, 3, 7, 300, 10_000, 9_500, 10_500, 1_000, CLAIM_QUOTE, 10_000 * USDC, chain.time_s, chain.time_s + 1,
        chain.time_s + 86_400, 2**n_bits - 1, RULES.pack(), *VICTIMS, int(person, 16) << 80, VICTIMS[0] << 16 | 1,
    ]  # fmt: skip
    return source.choice([number for number in numbers if number < 2**n_bits])


def try_call(venue: Venue, source: random.Random, name: str, entry: dict[str, Any], person: str) -> bool:
    """Make one hostile call; tell whether it passed."""
    chain = venue.chain
    arguments = [draw(source, part, chain, person) for part in entry["inputs"]]
    try:
        calldata = encode_call(name, entry["name"], *arguments)
    except EncodingError:
        return False
    try:
        chain.transact(person, chain.addresses[name], calldata)
    except Reverted:
        return False
    return True


def read_victims(venue: Venue) -> dict[str, int]:
    """Return what the victims have: collateral, positions, claims."""
    chain = venue.chain
    found = {"claims": venue.claim_of(address_of(MAKER)) + venue.balance_of(address_of(MAKER))}
    for account in VICTIMS:
        found[f"collateral {account:#x}"] = venue.account(account).collateral_quote
        for market in MARKETS:
            found[f"position {account:#x} {market}"] = chain.call("Clearinghouse", "position_word", account, market)
    return found


def read_attackers(venue: Venue) -> int:
    """Return everything the roles have in accounts, claims and wallets."""
    return sum(
        venue.account(int(person, 16) << 80).collateral_quote + venue.claim_of(person) + venue.balance_of(person)
        for person in ROLES_TRIED.values()
    )


@pytest.mark.parametrize("role", ROLES_TRIED)
def test_funds__any_function_called_alone__victims_keep_everything(venue: Venue, role: str) -> None:
    source = random.Random(f"{SEED} {role}")
    before = read_victims(venue)
    vault_before = venue.balance_of(venue.chain.addresses["Vault"])
    n_passed = 0

    for name, entry in list_writing(venue.chain):
        for _ in range(N_TRIES):
            with venue.chain.undone():
                if try_call(venue, source, name, entry, ROLES_TRIED[role]):
                    n_passed += 1
                    assert read_victims(venue) == before, (name, entry["name"])
                    paid = vault_before - venue.balance_of(venue.chain.addresses["Vault"])
                    # Only Vault.claim pays, and the victim alone is paid his claim.
                    assert paid in (0, CLAIM_QUOTE) or paid < 0, (name, entry["name"])
                    assert paid <= 0 or venue.balance_of(address_of(MAKER)) == CLAIM_QUOTE

    assert n_passed > 0


@pytest.mark.parametrize("seed", range(6))
def test_funds__random_histories_within_the_delay__nobody_has_more_than_he_came_with(venue: Venue, seed: int) -> None:
    source = random.Random(f"{SEED} {seed}")
    functions = list_writing(venue.chain)
    before, owned = read_victims(venue), read_attackers(venue)
    begun_s = venue.chain.time_s
    n_passed = 0

    for _ in range(N_STEPS):
        person = source.choice(list(ROLES_TRIED.values()))
        n_passed += try_call(venue, source, *source.choice(functions), person)
        if source.random() < 0.1:
            left_s = begun_s + FORTNIGHT_S - 1 - venue.chain.time_s
            venue.wait(min(source.choice([1, 301, 3_600, 86_400]), left_s))

    found = read_victims(venue)
    assert {key: found[key] for key in before if "position" not in key} == {
        key: before[key] for key in before if "position" not in key
    }
    assert [found[key] & (1 << 160) - 1 for key in before if "position" in key] == [
        before[key] & (1 << 160) - 1 for key in before if "position" in key
    ]
    assert read_attackers(venue) <= owned
    assert n_passed > 10
