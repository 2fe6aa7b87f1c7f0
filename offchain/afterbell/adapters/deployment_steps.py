"""Say which transactions make a plan's venue, in order: the position of each is its nonce.

Nothing here meets a chain: the same plan, deployer and first nonce give the same steps and the same addresses, which is
what lets an interrupted run go on and a deployer read everything before the first transaction.
Must not: send. Twin: contracts/README.md, "Deployment order".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_checksum_address

from afterbell.adapters.deployment_plan import DeploymentPlan
from afterbell.domain.calendar import MAX_CALL_WORDS, Boundary, pack_boundaries
from afterbell.domain.hashing import keccak
from afterbell.domain.manifest import ManifestMarket
from afterbell.domain.session import Session

SOURCE_NAMES: Final[Mapping[str, str]] = {
    "token": "TestStablecoin",
    "vault": "Vault",
    "clearinghouse": "Clearinghouse",
    "operations": "Operations",
    "liquidations": "Liquidations",
    "exits": "Exits",
    "corporate_actions": "CorporateActions",
    "price_oracle": "PriceOracle",
    "signed_price_source": "SignedPriceSource",
    "market_registry": "MarketRegistry",
    "lens": "Lens",
    "market_lens": "MarketLens",
    "timelock": "Timelock",
}
"""Name in the manifest -> source file."""
GOVERNED: Final = ("signed_price_source", "price_oracle", "market_registry", "corporate_actions")
"""What the Timelock governs."""
_MAX_CALL_BOUNDARIES: Final = 5 * MAX_CALL_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transaction: a creation (`function` None) of `contract`, or a call on it."""

    contract: str
    function: str | None = None
    arguments: tuple[Any, ...] = ()
    note: str = ""
    """What the arguments mean, for people."""

    @property
    def title(self) -> str:
        """Return the step in a few words."""
        name = SOURCE_NAMES[self.contract]
        what = f"create {name}" if self.function is None else f"{name}.{self.function}"
        return f"{what} {self.note}".rstrip()


def describe_plan(plan: DeploymentPlan, deployer: bytes, first_nonce: int, *, n_done: int = 0) -> list[str]:
    """Return the whole deployment for people: who holds what afterwards, then a line a transaction."""
    addresses = compute_addresses(deployer, plan, first_nonce)
    roles = plan.roles
    people = [
        ("deployer", [deployer], "holds nothing afterwards"),
        ("governor", [addresses["timelock"]], f"the Timelock, {plan.timelock_delay_s} s from word to deed"),
        ("proposer", roles.proposers, "schedules calls of the Timelock"),
        ("executor", roles.executors, "makes them afterwards"),
        ("announcer", [roles.announcer], "announces corporate actions"),
        ("guardian", [roles.guardian], "tightens, halts, rotates and cancels at once"),
        ("sequencer", [roles.sequencer], "settles batches"),
        ("standby", roles.standbys, "may be rotated to"),
        ("publisher", roles.publishers, f"{plan.threshold} of {len(roles.publishers)} sign a price"),
    ]
    lines = [f"{name:<10} {to_checksum_address(one)}  {note}" for name, ones, note in people for one in ones]
    for index, step in enumerate(build_steps(plan, deployer, addresses, 0)):
        at = f" at {to_checksum_address(addresses[step.contract])}" if step.function is None else ""
        state = "done" if index < n_done else f"nonce {first_nonce + index}"
        lines.append(f"{index + 1:>3} {state:<10} {step.title}{at}")
    return lines


def compute_addresses(deployer: bytes, plan: DeploymentPlan, first_nonce: int) -> dict[str, bytes]:
    """Return where every contract will stand, by its name in the manifest."""
    addresses = {
        name: compute_create_address(deployer, first_nonce + offset)
        for offset, name in enumerate(_list_creations(plan))
    }
    return addresses if plan.token is None else {"token": plan.token, **addresses}


def compute_create_address(deployer: bytes, nonce: int) -> bytes:
    """Return where a contract of this account and nonce will stand: the end of keccak(rlp([deployer, nonce]))."""
    nonce_bytes = nonce.to_bytes((nonce.bit_length() + 7) >> 3, "big")
    rlp_nonce = nonce_bytes if 0 < nonce < 0x80 else bytes([0x80 + len(nonce_bytes)]) + nonce_bytes
    body = bytes([0x80 + len(deployer)]) + deployer + rlp_nonce
    return keccak(bytes([0xC0 + len(body)]) + body)[12:]


def build_steps(
    plan: DeploymentPlan, deployer: bytes, addresses: Mapping[str, bytes], genesis_s: int
) -> tuple[Step, ...]:
    """Return every transaction: creations, then what the first governor sets, then the hand-over."""
    arguments = _build_constructors(plan, deployer, addresses, genesis_s)
    creations = [Step(contract=name, arguments=arguments[name]) for name in _list_creations(plan)]
    return (*creations, *_build_settings(plan), *_build_hand_over(addresses))


def _list_creations(plan: DeploymentPlan) -> list[str]:
    """Return the contracts in the order of their nonces; a token that exists is not created."""
    # Neighbours stand before the Clearinghouse, whose constructor asks each of them for its own address.
    return [
        *(["token"] if plan.token is None else []),
        "signed_price_source",
        "price_oracle",
        "market_registry",
        "operations",
        "liquidations",
        "exits",
        "corporate_actions",
        "vault",
        "clearinghouse",
        "lens",
        "market_lens",
        "timelock",
    ]


def _build_constructors(
    plan: DeploymentPlan, deployer: bytes, addresses: Mapping[str, bytes], genesis_s: int
) -> dict[str, tuple[Any, ...]]:
    clearinghouse, vault, registry = (addresses[name] for name in ("clearinghouse", "vault", "market_registry"))
    oracle, operations, token = (addresses[name] for name in ("price_oracle", "operations", "token"))
    liquidations, exits, actions = (addresses[name] for name in ("liquidations", "exits", "corporate_actions"))
    roles = plan.roles
    return {
        "token": (),
        "signed_price_source": (deployer, list(roles.publishers), plan.threshold),
        "price_oracle": (deployer, addresses["signed_price_source"], clearinghouse, registry, actions),
        "market_registry": (deployer, clearinghouse, oracle),
        "operations": (clearinghouse, vault),
        "liquidations": (clearinghouse, actions),
        "exits": (clearinghouse, vault, plan.uptime_feed),
        "corporate_actions": (deployer, clearinghouse, oracle, registry, liquidations),
        "vault": (token, clearinghouse, operations),
        "clearinghouse": (
            *(vault, oracle, registry, operations, liquidations, exits, actions),
            *(token, roles.sequencer, genesis_s),
        ),
        "lens": (clearinghouse,),
        "market_lens": (clearinghouse,),
        "timelock": (plan.timelock_delay_s, list(roles.proposers), list(roles.executors), roles.guardian),
    }


def _build_settings(plan: DeploymentPlan) -> Iterator[Step]:
    """Yield what the deployer does as first governor."""
    for part in split_calendar(plan.boundaries):
        yield Step(
            contract="price_oracle",
            function="append_windows",
            arguments=(pack_boundaries(part),),
            note=f"{len(part)} boundaries",
        )
    for market in plan.markets:
        yield Step(
            contract="market_registry",
            function="list_market",
            arguments=build_listing(market),
            note=f"{market.market_id} {market.symbol}",
        )
    yield Step(
        contract="market_registry",
        function="set_guardian",
        arguments=(plan.roles.guardian,),
        note=to_checksum_address(plan.roles.guardian),
    )
    yield Step(
        contract="corporate_actions",
        function="set_announcer",
        arguments=(plan.roles.announcer,),
        note=to_checksum_address(plan.roles.announcer),
    )
    for standby in plan.roles.standbys:
        yield Step(
            contract="market_registry",
            function="approve_sequencer",
            arguments=(standby,),
            note=to_checksum_address(standby),
        )


def split_calendar(boundaries: Sequence[Boundary]) -> Iterator[Sequence[Boundary]]:
    """Yield a calendar in parts that a call of the Timelock can carry, each a whole one that ends in UNKNOWN.

    The end of a part is the first boundary of the next, which takes its place.
    """
    most = _MAX_CALL_BOUNDARIES - 1
    for first in range(0, max(len(boundaries) - 1, 1), most):
        part = boundaries[first : first + most + 1]
        end = Boundary(start_s=part[-1].start_s, session=Session.UNKNOWN)
        yield [*part[:-1], end]


def _build_hand_over(addresses: Mapping[str, bytes]) -> Iterator[Step]:
    """Yield what makes the Timelock the only governor; the deployer holds nothing after the last."""
    for name in GOVERNED:
        yield Step(contract=name, function="propose_governor", arguments=(addresses["timelock"],), note="Timelock")
    for name in GOVERNED:
        yield Step(contract="timelock", function="accept", arguments=(addresses[name],), note=SOURCE_NAMES[name])


def build_listing(market: ManifestMarket) -> tuple[Any, ...]:
    """Return the arguments of MarketRegistry.list_market."""
    words = market.build_rules_words()
    return (
        market.market_id,
        market.symbol,
        market.lot_exponent,
        market.source_id,
        market.max_confidence_ppm,
        market.reference_ticks,
        market.build_tier_word(),
        [int.from_bytes(words[session], "big") for session in sorted(words)],
    )
