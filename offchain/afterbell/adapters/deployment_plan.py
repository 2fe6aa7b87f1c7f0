"""Read what is to be deployed: a YAML plan (scripts/plans/) and the addresses of the roles.

Must not: know contracts or chains; deployment.py carries the plan out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from afterbell.adapters.project import find_project_root
from afterbell.domain.calendar import Boundary
from afterbell.domain.errors import AfterbellError
from afterbell.domain.manifest import ManifestMarket, ManifestRules
from afterbell.domain.session import Session
from afterbell.domain.units import PPM
from afterbell.domain.words import MAX_TIERS

_LOCAL_PLAN: Final = Path("scripts/plans/local.yaml")
MIN_TIMELOCK_DELAY_S: Final = 14 * 86_400
"""The Timelock's own bound (contracts/Timelock.vy)."""
_MAX_TIMELOCK_DELAY_S: Final = 365 * 86_400
"""Beyond it somebody wrote another unit, and the delay of a Timelock never changes."""
_MAX_GOVERNORS: Final = 16
_ALWAYS_REGULAR: Final = (
    Boundary(start_s=1, session=Session.REGULAR),
    Boundary(start_s=4_102_444_800, session=Session.UNKNOWN),
)
"""Until 2100: the stricter session of calendar and report counts, so that the publishers' reports name it alone."""
MAX_TRUSTED_QUOTE: Final = 2_000_000 * 10**6
"""Most open interest of a market whose price one source alone says (contracts/MarketRegistry.vy)."""


class BadPlan(AfterbellError):
    """The plan's text does not say what a deployment needs."""


class _Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The YAML document."""

    token: str | None
    uptime_feed: str | None
    threshold: int
    timelock_delay_s: int
    calendar: str | None
    sessions: dict[str, ManifestRules]
    defaults: dict[str, Any]
    markets: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who may do what at this venue; addresses of 20 bytes. contracts/README.md, Roles."""

    sequencer: bytes
    publishers: tuple[bytes, ...]
    proposers: tuple[bytes, ...]
    """Who schedules calls of the Timelock."""
    executors: tuple[bytes, ...]
    """Who makes them when their time has come."""
    announcer: bytes
    """Who announces corporate actions, a day ahead at least."""
    guardian: bytes
    """Who tightens, halts, rotates and cancels without waiting: none of the others, or one stolen key is two."""
    standbys: tuple[bytes, ...] = ()
    """Sequencers that may be rotated to from the first day; a later one waits for the Timelock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """What to deploy. Addresses are 20 bytes."""

    token: bytes | None
    """None: a test stablecoin is deployed too."""
    uptime_feed: bytes
    """Chainlink's record of when the L2 was down, whose time counts towards no exit; zero where there is none."""
    roles: Roles
    """Publishers, proposers, executors and standbys ascending."""
    threshold: int
    timelock_delay_s: int
    boundaries: tuple[Boundary, ...]
    """The session calendar of the first months, ending in UNKNOWN; what follows is the governor's to append."""
    markets: tuple[ManifestMarket, ...]

    def compute_hash(self) -> str:
        """Return a hash of everything the plan says: two runs with the same one mean the same venue."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def find_local_plan() -> Path:
    """Return the plan `make up` deploys."""
    return find_project_root() / _LOCAL_PLAN


def read_plan(path: Path, *, roles: Roles, with_history: Collection[str] = ()) -> DeploymentPlan:
    """Read a plan and give it the roles of this venue.

    with_history: symbols whose prices come from a history after all, so that they are not synthetic. Raises: BadPlan.
    """
    plan, markets = _read(path, with_history)
    symbols = [market.symbol for market in markets]
    ids = [market.market_id for market in markets]
    if len(set(symbols)) < len(symbols) or ids != sorted(set(ids)):
        raise BadPlan(f"{path.name}: symbols must differ and market ids ascend, found {symbols} and {ids}")
    unknown = set(with_history) - set(symbols)
    if unknown:
        raise BadPlan(f"a history is given for {', '.join(sorted(unknown))}, listed are {', '.join(symbols)}")
    _validate_roles(roles, plan.threshold)
    if not MIN_TIMELOCK_DELAY_S <= plan.timelock_delay_s <= _MAX_TIMELOCK_DELAY_S:
        raise BadPlan(
            f"{path.name}: timelock_delay_s must be {MIN_TIMELOCK_DELAY_S} (14 days) to {_MAX_TIMELOCK_DELAY_S} s "
            f"(a year), found {plan.timelock_delay_s} s"
        )
    return DeploymentPlan(
        token=None if plan.token is None else bytes.fromhex(plan.token.removeprefix("0x")),
        uptime_feed=bytes(20) if plan.uptime_feed is None else bytes.fromhex(plan.uptime_feed.removeprefix("0x")),
        roles=Roles(
            sequencer=roles.sequencer,
            publishers=tuple(sorted(roles.publishers)),
            proposers=tuple(sorted(roles.proposers)),
            executors=tuple(sorted(roles.executors)),
            announcer=roles.announcer,
            guardian=roles.guardian,
            standbys=tuple(sorted(roles.standbys)),
        ),
        threshold=plan.threshold,
        timelock_delay_s=plan.timelock_delay_s,
        boundaries=_ALWAYS_REGULAR if plan.calendar is None else read_calendar(path.parent / plan.calendar),
        markets=markets,
    )


def read_markets(path: Path) -> tuple[ManifestMarket, ...]:
    """Read the markets of a plan alone. Raises: BadPlan."""
    return _read(path, ())[1]


def _read(path: Path, with_history: Collection[str]) -> tuple[_Plan, tuple[ManifestMarket, ...]]:
    try:
        plan = msgspec.convert(yaml.safe_load(path.read_text()), _Plan)
        return plan, tuple(
            _build_market({**plan.defaults, **market}, plan.sessions, with_history) for market in plan.markets
        )
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadPlan(f"{path.name}: {error}") from error


def read_calendar(path: Path) -> tuple[Boundary, ...]:
    """Read boundaries, a line each: UNIX second and session. Ascending, the last UNKNOWN. Raises: BadPlan."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
        boundaries = tuple(Boundary(start_s=int(start_s), session=Session[name]) for start_s, name in lines)
    except (OSError, ValueError, KeyError) as error:
        raise BadPlan(f"{path.name}: lines of a UNIX second and a session's name are required: {error!r}") from error
    starts_s = [boundary.start_s for boundary in boundaries]
    if not boundaries or starts_s != sorted(set(starts_s)) or boundaries[-1].session != Session.UNKNOWN:
        raise BadPlan(f"{path.name}: ascending boundaries that end in UNKNOWN are required")
    return boundaries


def _validate_roles(roles: Roles, threshold: int) -> None:
    for name, addresses in (("proposers", roles.proposers), ("executors", roles.executors)):
        if not 1 <= len(set(addresses)) == len(addresses) <= _MAX_GOVERNORS:
            raise BadPlan(f"1 to {_MAX_GOVERNORS} different {name} are required, found {len(addresses)}")
    n_publishers = len(set(roles.publishers))
    if n_publishers < len(roles.publishers) or not 1 <= threshold <= n_publishers:
        raise BadPlan(f"{threshold} of {n_publishers} different publishers cannot sign a price")
    sequencers = (roles.sequencer, *roles.standbys)
    if len(set(sequencers)) < len(sequencers):
        raise BadPlan("sequencer and standbys must be different addresses")
    if roles.guardian in (*roles.proposers, *roles.executors, *sequencers, roles.announcer):
        raise BadPlan(
            f"the guardian 0x{roles.guardian.hex()} must be an address of its own, found among proposers, executors, "
            "sequencers or as the announcer: it is there to stop them"
        )


def _build_market(
    fields: dict[str, Any], sessions: dict[str, ManifestRules], with_history: Collection[str]
) -> ManifestMarket:
    market = msgspec.convert({"rules": sessions, **fields}, ManifestMarket)
    if set(market.rules) != set(Session.__members__):
        raise BadPlan(f"{market.symbol}: rules of every session are required, found {', '.join(market.rules)}")
    # One lot x one tick = one quote unit (contracts/README.md, D-002).
    if market.lot_exponent + market.tick_exponent != 6 or market.ticks_per_usd != 10**market.tick_exponent:
        raise BadPlan(
            f"{market.symbol}: lot and tick exponents must add up to 6 and ticks_per_usd be 10^tick_exponent, found "
            f"{market.lot_exponent}, {market.tick_exponent} and {market.ticks_per_usd}"
        )
    _validate_tiers(market)
    for name, rules in market.rules.items():
        _validate_rules(f"{market.symbol} {name}", rules, market)
    return msgspec.structs.replace(market, synthetic=market.synthetic and market.symbol not in with_history)


def _validate_tiers(market: ManifestMarket) -> None:
    edges = [0, *(tier.edge_usdc for tier in market.tiers)]
    if len(market.tiers) > MAX_TIERS or edges != sorted(set(edges)) or any(tier.add_ppm < 1 for tier in market.tiers):
        raise BadPlan(
            f"{market.symbol}: at most {MAX_TIERS} tiers with ascending edges above zero and an add each are required, "
            f"found {[(tier.edge_usdc, tier.add_ppm) for tier in market.tiers]}"
        )


def _validate_rules(where: str, rules: ManifestRules, market: ManifestMarket) -> None:
    """Refuse what the registry would: a deployment must not stop half way. Twin: MarketRegistry._validate_rules."""
    highest = rules.initial_margin_ppm - 2 * rules.mark_step_ppm
    if not 0 < rules.maintenance_margin_ppm <= rules.settlement_margin_ppm <= highest:
        raise BadPlan(
            f"{where}: settlement margin must lie between maintenance ({rules.maintenance_margin_ppm} ppm) and two "
            f"mark steps below initial ({highest} ppm), found {rules.settlement_margin_ppm} ppm"
        )
    adds_ppm = sum(tier.add_ppm for tier in market.tiers)
    base_ppm = rules.initial_margin_ppm if rules.is_opening_allowed else rules.settlement_margin_ppm
    if base_ppm + 2 * adds_ppm > PPM:
        raise BadPlan(f"{where}: margin in the last tier must be at most 1000000 ppm, found {base_ppm + 2 * adds_ppm}")
    # Only the publishers' source is deployed, so every market's price is the operator's word alone.
    cap_quote = rules.open_interest_cap_lots * market.reference_ticks
    if cap_quote > MAX_TRUSTED_QUOTE:
        raise BadPlan(
            f"{where}: a market without a second source may hold {MAX_TRUSTED_QUOTE} quote units at its reference "
            f"price, found {rules.open_interest_cap_lots} lots x {market.reference_ticks} ticks = {cap_quote}"
        )
    rules.build_word().pack()
