"""Say what a change of a market does, field by field and to whom, before anybody proposes it.

Whoever holds the market is found in the events of the Clearinghouse and weighed with the model's own margin: before and
after, in every session that changes, at the prices that stand now. Must not: send, or decide anything.
Twin: contracts/MarketRegistry.vy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from web3.contract.contract import Contract

from afterbell.domain.margin import compute_margins_quote
from afterbell.domain.session import Session
from afterbell.domain.units import div_up
from afterbell.domain.words import PositionWord, RulesWord, TierWord

MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "initial_margin_ppm": ("new risk and withdrawals need more margin", "new risk and withdrawals need less margin"),
    "settlement_margin_ppm": ("fewer fills survive a moving mark", "the contract lets more risk pass"),
    "maintenance_margin_ppm": ("accounts are liquidated sooner", "accounts are liquidated later"),
    "band_ppm": ("trades and mark may lie further from the external price", "trades and mark lie closer to it"),
    "mark_step_ppm": ("the mark may move faster", "the mark moves slower"),
    "max_age_s": ("older prices still carry new risk", "prices go stale sooner"),
    "open_interest_cap_lots": ("more may be open", "less may be open; a single order may be no larger"),
    "account_share": (
        "one account may hold more of the cap",
        "one account may hold less; who holds more may only reduce",
    ),
    "is_opening_allowed": ("positions may be opened", "positions may only be reduced"),
    "is_funding_on": ("funding accrues", "funding stands still"),
    "size_step_lots": ("sizes are multiples of more lots: resting orders off the step fail", "sizes may be finer"),
    "price_step_ticks": ("limits are multiples of more ticks: resting orders off the step fail", "limits may be finer"),
    "min_notional_quote": ("orders must be larger", "orders may be smaller"),
    "max_fee_ppm": ("orders may be charged more, within what they sign", "orders may be charged less at most"),
}
"""Field of a rules word -> what a higher and what a lower number means."""
_N_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An account with a position in the market, as Lens shows it now."""

    account_id: int
    size_lots: int
    notional_quote: int
    equity_quote: int
    initial_margin_quote: int
    """Of all its positions; so is the next."""
    maintenance_margin_quote: int
    own_initial_quote: int
    """Of the position in the market; so is the next."""
    own_maintenance_quote: int


def describe_fields(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each field that changes: old, new, and what that means."""
    for field, old in before.items():
        new = after[field]
        if old != new:
            # No age limit and no share are the loosest there are, and written as zero.
            is_higher = _rank(field, new) > _rank(field, old)
            meaning = MEANINGS[field][0 if is_higher else 1]
            yield f"{where} {field}: {int(old)} -> {int(new)}  ({meaning})"


def _rank(field: str, number: Any) -> int:
    return 1 << 16 if field in ("max_age_s", "account_share") and number == 0 else int(number)


def describe_tiers(where: str, before: int, after: int) -> Iterator[str]:
    """Yield the tiers that change."""
    if before != after:
        yield f"{where} tiers: {show_tiers(before)} -> {show_tiers(after)}  (edge in USDC + maintenance ppm above it)"


def show_tiers(word: int) -> str:
    """Return a tier word for people."""
    return ", ".join(f"{edge}+{add}" for edge, add in TierWord.unpack(word).tiers) or "none"


def describe_caps(where: str, before_ticks: int, after_ticks: int) -> str:
    """Return the line of a reference price."""
    return f"{where} reference_ticks: {before_ticks} -> {after_ticks}  (caps are held against quote at it)"


def read_holders(clearinghouse: Contract, lens: Contract, *, first_block: int, market_id: int) -> list[Holder]:
    """Return everybody with a position in a market, from the Clearinghouse's events and words."""
    account_ids: dict[int, None] = {}
    for event in clearinghouse.events.PositionsChanged().get_logs(from_block=first_block):
        records = event["args"]["records"]
        for key in records[::3]:
            if key & 0xFFFF == market_id:
                account_ids[key >> 16] = None
    now_s = int(clearinghouse.w3.eth.get_block("latest")["timestamp"])
    found = []
    for account_id in account_ids:
        position = PositionWord.unpack(clearinghouse.functions.position_word(account_id, market_id).call())
        if position.size_lots:
            found.append(_read_holder(lens, account_id, market_id, now_s))
    return found


def _read_holder(lens: Contract, account_id: int, market_id: int, now_s: int) -> Holder:
    account = _name_fields(lens, "account_summary", lens.functions.account_summary(account_id, now_s).call())
    position = _name_fields(
        lens, "position_summary", lens.functions.position_summary(account_id, market_id, now_s).call()
    )
    return Holder(
        account_id=account_id,
        size_lots=position["size_lots"],
        notional_quote=position["notional_quote"],
        equity_quote=account["equity_quote"],
        initial_margin_quote=account["initial_margin_quote"],
        maintenance_margin_quote=account["maintenance_margin_quote"],
        own_initial_quote=position["initial_margin_quote"],
        own_maintenance_quote=position["maintenance_margin_quote"],
    )


def _name_fields(contract: Contract, function: str, answer: Any) -> dict[str, Any]:
    """Return a struct a view answers by the names of its fields."""
    entry = next(entry for entry in contract.abi if entry["type"] == "function" and entry["name"] == function)
    parts: Any = entry["outputs"][0]
    return dict(zip([part["name"] for part in parts["components"]], answer, strict=True))


def describe_impact(
    where: str, holders: list[Holder], before: tuple[int, int], after: tuple[int, int]
) -> Iterator[str]:
    """Yield how many holders stand where under rules and tier words before and after, in one session."""
    counts: dict[str, list[set[int]]] = {name: [] for name in ("liquidatable", "below initial margin", "over the cap")}
    for rules_word, tier_word in (before, after):
        rules = replace(RulesWord.unpack(rules_word), tiers=TierWord.unpack(tier_word).tiers)
        hit: dict[str, set[int]] = {name: set() for name in counts}
        for holder in holders:
            initial, _, maintenance = compute_margins_quote(holder.notional_quote, rules)
            if holder.equity_quote < holder.maintenance_margin_quote - holder.own_maintenance_quote + maintenance:
                hit["liquidatable"].add(holder.account_id)
            if holder.equity_quote < holder.initial_margin_quote - holder.own_initial_quote + initial:
                hit["below initial margin"].add(holder.account_id)
            if abs(holder.size_lots) > rules.account_cap_lots:
                hit["over the cap"].add(holder.account_id)
        for name, accounts in hit.items():
            counts[name].append(accounts)
    said = "; ".join(f"{name} {len(was)} -> {len(will)}" for name, (was, will) in counts.items())
    yield f"{where}: of {len(holders)} accounts with a position: {said}"
    newly = sorted(counts["liquidatable"][1] - counts["liquidatable"][0])
    for account_id in newly[:_N_SHOWN]:
        yield f"{where}: would be liquidatable: {show_account(account_id)}"
    if len(newly) > _N_SHOWN:
        yield f"{where}: and {len(newly) - _N_SHOWN} more"


def show_account(account_id: int) -> str:
    """Return owner and subaccount."""
    return f"0x{account_id >> 80:040x}/{account_id & (1 << 80) - 1}"


def describe_listing(arguments: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield everything a new market starts with. fields: session name -> fields of its rules."""
    where = f"market {arguments['market']} {arguments['symbol']}"
    lot_exponent = arguments["lot_exponent"]
    yield f"{where}: not listed -> listed"
    yield f"{where} lot 10^-{lot_exponent} units, {10 ** (6 - lot_exponent)} ticks a USD"
    for field in ("source_id", "max_confidence_ppm", "reference_ticks"):
        yield f"{where} {field}: {arguments[field]}"
    yield f"{where} tiers {show_tiers(arguments['tiers'])}"
    for name, rules in fields.items():
        yield f"{where} {name}: " + ", ".join(f"{field} {int(number)}" for field, number in rules.items())
    regular = fields[Session.REGULAR.name]
    cap_quote = regular["open_interest_cap_lots"] * arguments["reference_ticks"]
    yield f"{where} open interest at the reference price at most {div_up(cap_quote, 10**6)} USDC in REGULAR"
