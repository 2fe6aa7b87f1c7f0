"""Carry a change through the Timelock: build the call, say what it would do, schedule, make or cancel it.

Whoever signs sees the decoded call and its effect first, from the chain as it is: before -> after, and whether the call
would succeed if it were made now. A scheduled call is found again by its id alone, in the events of the Timelock.

    GovernanceError
    ├── BadCall             the words do not make a call of a governed contract
    └── GovernanceFailed    the Timelock refuses, or a transaction failed

Must not: hold keys (a Sender does), or call a governed contract past the Timelock, rotating the sequencer excepted.
Twin: contracts/Timelock.vy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import ABITypeError, EncodingError
from eth_utils.abi import function_abi_to_4byte_selector
from web3 import Web3
from web3.contract.contract import Contract
from web3.exceptions import ContractLogicError, Web3Exception
from web3.types import EventData, TxParams

from afterbell.adapters.deployment import Sender, send_and_wait
from afterbell.adapters.deployment_steps import GOVERNED, SOURCE_NAMES, build_listing
from afterbell.adapters.market_changes import (
    describe_caps,
    describe_fields,
    describe_impact,
    describe_listing,
    describe_tiers,
    read_holders,
)
from afterbell.adapters.vyper_compiler import Artifacts
from afterbell.domain.calendar import unpack_boundaries
from afterbell.domain.errors import AfterbellError, FieldOutOfRange
from afterbell.domain.hashing import keccak
from afterbell.domain.manifest import Manifest, ManifestMarket, ManifestRules, compute_abi_hash
from afterbell.domain.session import Session
from afterbell.domain.words import RULES_FLAG_TIERED, RulesWord, TierWord

MAX_CALLDATA: Final = 1_024
"""Bytes of a scheduled call (contracts/Timelock.vy)."""
MAX_MARKETS: Final = 32
NO_PREDECESSOR: Final = bytes(32)
NO_SOURCE: Final = 256
"""In place of a second source (contracts/PriceOracle.vy)."""
_TARGETS: Final = (*GOVERNED, "timelock")
_ROLES: Final = ("DEFAULT_ADMIN_ROLE", "PROPOSER_ROLE", "EXECUTOR_ROLE", "CANCELLER_ROLE")


class GovernanceError(AfterbellError):
    """Nothing was changed by this run."""


class BadCall(GovernanceError):
    """The words do not make a call of a governed contract."""


class GovernanceFailed(GovernanceError):
    """The Timelock refuses, or a transaction failed."""


class CallState(IntEnum):
    """What has become of a scheduled call."""

    CANCELLED = 0
    WAITING = 1
    READY = 2
    DONE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call the Timelock may make. Addresses 20, hashes 32 bytes."""

    target: bytes
    calldata: bytes
    predecessor: bytes = NO_PREDECESSOR
    """A call that must have been made before."""
    salt: bytes = bytes(32)
    """How often the same call was scheduled before: the same change may be needed again."""

    @property
    def call_id(self) -> bytes:
        """Return the id under which the Timelock keeps it."""
        types = ["address", "uint256", "bytes", "bytes32", "bytes32"]
        return keccak(abi_encode(types, [self.target, 0, self.calldata, self.predecessor, self.salt]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledCall:
    """A call the Timelock has heard of."""

    call: Call
    state: CallState
    ready_at_s: int
    """UNIX seconds from which it may be made; 0 when done or cancelled."""


class Governance:
    """The Timelock of one deployment."""

    def __init__(self, web3: Web3, manifest: Manifest, artifacts: Artifacts) -> None:
        abi_hash = compute_abi_hash({name: artifacts[source].abi for name, source in SOURCE_NAMES.items()})
        if abi_hash != manifest.abi_hash:
            raise BadCall(
                f"contracts of the manifest's ABI {manifest.abi_hash} are required, this checkout compiles to "
                f"{abi_hash}: check out the version that was deployed"
            )
        self._web3 = web3
        self._manifest = manifest
        self._contracts: dict[str, Contract] = {
            name: web3.eth.contract(address=Web3.to_checksum_address(address), abi=artifacts[SOURCE_NAMES[name]].abi)
            for name, address in manifest.addresses.items()
        }
        self._timelock = self._contracts["timelock"]

    def read_session(self, time_s: int) -> Session | None:
        """Return the session the chain's calendar has for a time, None for one it no longer looks back to."""
        try:
            session, _, _ = self._contracts["price_oracle"].functions.window_at(time_s).call()
        except ContractLogicError:
            return None
        return Session(session)

    def read_calendar_end_s(self) -> int:
        """Return where the chain's calendar ends, 0 if it has none."""
        oracle = self._contracts["price_oracle"].functions
        n_boundaries = int(oracle.n_boundaries().call())
        return int(oracle.boundary(n_boundaries - 1).call()[0]) if n_boundaries else 0

    # ------------------------------------------------------------ building

    def build_call(self, name: str, words: Sequence[str], *, predecessor: bytes = NO_PREDECESSOR) -> Call:
        """Return a call from words: `MarketRegistry.set_guardian` and its arguments as text.

        Lists are words joined by commas. set_rules takes a market and SESSION:field=number,… for each session (ALL: for
        every one); fields left out stay as they are. set_tiers takes a market and EDGE+ADD,… or none. Raises: BadCall.
        """
        contract, function = self._find_function(name)
        if name == "MarketRegistry.set_rules":
            arguments: list[Any] = self._parse_rules(words)
        elif name == "MarketRegistry.set_tiers":
            arguments = _parse_tiers(words)
        else:
            if len(words) != len(function["inputs"]):
                expected = ", ".join(f"{one['name']}: {one['type']}" for one in function["inputs"]) or "none"
                raise BadCall(f"{name} requires the arguments {expected}; found {len(words)}")
            arguments = [_parse_word(word, one["type"]) for word, one in zip(words, function["inputs"], strict=True)]
        return self._build(name, contract, arguments, predecessor)

    def build_listing(self, market: ManifestMarket) -> Call:
        """Return the call that lists a market of a plan. Raises: BadCall."""
        name = "MarketRegistry.list_market"
        return self._build(name, self._contracts["market_registry"], build_listing(market), NO_PREDECESSOR)

    def _build(self, name: str, contract: Contract, arguments: Sequence[Any], predecessor: bytes) -> Call:
        try:
            calldata = bytes.fromhex(contract.encode_abi(name.partition(".")[2], args=arguments)[2:])
        except (Web3Exception, EncodingError, ABITypeError, TypeError, ValueError) as error:
            raise BadCall(f"{name}: {error}") from error
        if len(calldata) > MAX_CALLDATA:
            raise BadCall(
                f"{name}: at most {MAX_CALLDATA} bytes may be scheduled, found {len(calldata)}: split the change"
            )
        target = bytes.fromhex(contract.address[2:])
        n_before = sum(
            (one.call.target, one.call.calldata, one.call.predecessor) == (target, calldata, predecessor)
            for one in self.list_calls()
        )
        return Call(target=target, calldata=calldata, predecessor=predecessor, salt=n_before.to_bytes(32, "big"))

    def _find_function(self, name: str) -> tuple[Contract, dict[str, Any]]:
        source, _, wanted = name.partition(".")
        found = [
            (self._contracts[target], dict(entry))
            for target in _TARGETS
            if SOURCE_NAMES[target] == source
            for entry in self._contracts[target].abi
            if entry["type"] == "function" and entry["name"] == wanted and entry["stateMutability"] == "nonpayable"
        ]
        if not found:
            known = ", ".join(SOURCE_NAMES[target] for target in _TARGETS)
            raise BadCall(f"CONTRACT.FUNCTION of {known} is required, a function that writes; found {name!r}")
        return found[0]

    def _parse_rules(self, words: Sequence[str]) -> list[Any]:
        if len(words) < 2 or not words[0].isdigit():
            raise BadCall("set_rules requires a market id and SESSION:field=number,… at least once")
        market_id = int(words[0])
        entries = []
        named = [word.partition(":") for word in words[1:]]
        everywhere = [changes for session_name, _, changes in named if session_name == "ALL"]
        if everywhere:
            named = [(name, ":", ",".join(everywhere)) for name in Session.__members__] + [
                one for one in named if one[0] != "ALL"
            ]
        for session_name, _, changes in named:
            if session_name not in Session.__members__:
                raise BadCall(f"a session of {', '.join(Session.__members__)} is required, found {session_name!r}")
            session = int(Session[session_name])
            fields = _read_rules(self._latest_rules(market_id, session))
            for change in changes.split(","):
                field, _, number = change.partition("=")
                if field not in fields or not number.isdigit():
                    raise BadCall(f"FIELD=NUMBER with a field of {', '.join(fields)} is required, found {change!r}")
                fields[field] = type(fields[field])(int(number))
            entries.append((session, RulesWord(**fields).pack()))
        return [market_id, entries]

    # ------------------------------------------------------------ telling

    def describe_call(self, call: Call) -> list[str]:
        """Return the decoded call, what it changes, and whether it would succeed now, in lines."""
        contract, function, arguments = self._decode(call)
        shown = ", ".join(f"{name}={_show(value)}" for name, value in arguments.items())
        lines = [f"call    {contract}.{function}({shown})"]
        lines += [f"effect  {line}" for line in self._describe_effect(contract, function, arguments)]
        transaction: TxParams = {
            "from": self._timelock.address,
            "to": Web3.to_checksum_address(call.target),
            "data": Web3.to_hex(call.calldata),
        }
        try:
            self._web3.eth.call(transaction)
            lines.append("now     it would succeed")
        except ContractLogicError as error:
            lines.append(f"now     it would fail: {error.message}")
        return [*lines, f"id      0x{call.call_id.hex()}"]

    def _decode(self, call: Call) -> tuple[str, str, dict[str, Any]]:
        for name in _TARGETS:
            contract = self._contracts[name]
            if contract.address == Web3.to_checksum_address(call.target):
                for entry in contract.abi:
                    if entry["type"] == "function" and function_abi_to_4byte_selector(entry) == call.calldata[:4]:
                        _, arguments = contract.decode_function_input(call.calldata)
                        return SOURCE_NAMES[name], str(entry["name"]), arguments
        return f"0x{call.target.hex()}", f"unknown function 0x{call.calldata[:4].hex()}", {}

    def _describe_effect(self, contract: str, function: str, arguments: dict[str, Any]) -> Iterator[str]:
        """Yield what a known call changes, before -> after."""
        registry, source = (
            self._contracts["market_registry"].functions,
            self._contracts["signed_price_source"].functions,
        )
        match contract, function:
            case "MarketRegistry", "set_rules":
                words = {entry["session"]: entry["rules"] for entry in arguments["session_rules"]}
                tiers = int(registry.latest_tiers(arguments["market"]).call())
                yield from self._describe_rules(arguments["market"], words, tiers)
            case "MarketRegistry", "set_tiers":
                yield from self._describe_rules(arguments["market"], {}, arguments["tiers"])
            case "MarketRegistry", "set_reference":
                was = int(registry.reference_ticks(arguments["market"]).call())
                yield describe_caps(self._name_market(arguments["market"]), was, arguments["reference_ticks"])
            case "MarketRegistry", "list_market":
                rules = {Session(session).name: _read_rules(word) for session, word in enumerate(arguments["rules"])}
                yield from describe_listing(arguments, rules)
            case "PriceOracle", "set_market_sources":
                yield from self._describe_sources(arguments)
            case "PriceOracle", "append_windows" | "replace_windows":
                found = unpack_boundaries(arguments["words"])
                first, last = (datetime.fromtimestamp(one.start_s, tz=UTC) for one in (found[0], found[-1]))
                how = "added to" if function == "append_windows" else "in place of all later ones in"
                yield f"{len(found)} boundaries from {first} to {last} {how} the session calendar"
            case "CorporateActions", "set_announcer":
                was = self._contracts["corporate_actions"].functions.announcer().call()
                yield f"announcer of corporate actions: {was} -> {arguments['announcer']}"
            case "MarketRegistry", "set_guardian":
                yield f"guardian of the registry: {registry.guardian().call()} -> {arguments['guardian']}"
                yield "the Timelock's canceller is a role of its own: Timelock.grantRole, Timelock.revokeRole"
            case "MarketRegistry", "approve_sequencer" | "revoke_sequencer":
                was = registry.is_standby(arguments["sequencer"]).call()
                yield f"standby {arguments['sequencer']}: {was} -> {function == 'approve_sequencer'}"
            case "MarketRegistry", "rotate_sequencer":
                yield f"sequencer: {self.read_sequencer()} -> {arguments['sequencer']}"
            case "PriceOracle", "set_source":
                was = self._contracts["price_oracle"].functions.source(arguments["source_id"]).call()
                yield f"price source {arguments['source_id']}: {was} -> {arguments['source']}"
            case "SignedPriceSource", "set_publishers":
                yield f"threshold: {source.threshold().call()} -> {arguments['threshold']}"
                before, after = set(source.get_publishers().call()), set(arguments["publishers"])
                yield from (f"publisher {one}: removed" for one in sorted(before - after))
                yield from (f"publisher {one}: added" for one in sorted(after - before))
            case _, "propose_governor":
                yield f"{contract} is offered to {arguments['pending_governor']}, who must accept"
            case "Timelock", "grantRole" | "revokeRole":
                names = {self._timelock.functions[name]().call(): name for name in _ROLES}
                was = self._timelock.functions.hasRole(arguments["role"], arguments["account"]).call()
                role = names.get(arguments["role"], "unknown role")
                yield f"{role} of {arguments['account']}: {was} -> {function == 'grantRole'}"
            case _:
                yield "not known to this tool: read the call itself"

    def _describe_rules(self, market: int, words: Mapping[int, int], tiers: int) -> Iterator[str]:
        """Yield what a market's rules and tiers become, and where its accounts stand then. words: by session."""
        where = self._name_market(market)
        old_tiers = int(self._contracts["market_registry"].functions.latest_tiers(market).call())
        yield from describe_tiers(where, old_tiers, tiers)
        holders = read_holders(
            self._contracts["clearinghouse"],
            self._contracts["lens"],
            first_block=self._manifest.deployed_at_block,
            market_id=market,
        )
        for session in sorted(words) if tiers == old_tiers else Session:
            name = f"{where} {Session(session).name}"
            old = self._latest_rules(market, session)
            new = words.get(session, old)
            yield from describe_fields(name, _read_rules(old), _read_rules(new))
            yield from describe_impact(name, holders, (old, old_tiers), (new, tiers))

    def _describe_sources(self, arguments: dict[str, Any]) -> Iterator[str]:
        """Yield who prices a market now and afterwards."""
        oracle = self._contracts["price_oracle"].functions
        before = tuple(oracle.sources_of(arguments["market"]).call())
        after = (arguments["source_id"], arguments["second_source_id"])
        for what, *ids in zip(("primary source", "second source"), before, after, strict=True):
            was, will = ("none" if one == NO_SOURCE else f"{one} at {oracle.source(one).call()}" for one in ids)
            yield f"{self._name_market(arguments['market'])} {what}: {was} -> {will}"
        if after[1] == NO_SOURCE:
            yield "its price is the word of one source alone: TRUSTED PRICE, at most 2,000,000 USDC of open interest"
        yield "what counted before counts for matches of 10 minutes besides"

    def _name_market(self, market: int) -> str:
        return str(self._contracts["market_registry"].functions.symbols(market).call()) or f"market {market}"

    def _latest_rules(self, market_id: int, session: int) -> int:
        word = int(self._contracts["market_registry"].functions.latest_rules(market_id << 8 | session).call())
        if word == 0:
            raise BadCall(f"market {market_id} must be listed, it has no rules")
        return word

    def find_market(self, name: str) -> int:
        """Return a market's id from its id or symbol. Raises: BadCall."""
        registry = self._contracts["market_registry"].functions
        symbols = {market: str(registry.symbols(market).call()) for market in range(1, MAX_MARKETS + 1)}
        for market, symbol in symbols.items():
            if symbol and name in (symbol, str(market)):
                return market
        listed = ", ".join(symbol for symbol in symbols.values() if symbol)
        raise BadCall(f"a listed market is required ({listed}), found {name}")

    def read_sequencer(self) -> str:
        """Return who may settle now."""
        word = self._contracts["clearinghouse"].functions.operator_word().call()
        return Web3.to_checksum_address((word & ((1 << 160) - 1)).to_bytes(20, "big"))

    def read_delay_s(self) -> int:
        """Return the shortest time between scheduling and making a call."""
        return int(self._timelock.functions.get_minimum_delay().call())

    # ------------------------------------------------------------ the Timelock's memory

    def list_calls(self) -> list[ScheduledCall]:
        """Return every call ever scheduled, in that order, the latest time of each."""
        first = self._manifest.deployed_at_block
        salts = {
            event["args"]["id"]: event["args"]["salt"]
            for event in self._timelock.events.CallSalt().get_logs(from_block=first)
        }
        found = {
            event["args"]["id"]: self._read_call(event, salts.get(event["args"]["id"], bytes(32)))
            for event in self._timelock.events.CallScheduled().get_logs(from_block=first)
        }
        return list(found.values())

    def must_find(self, call_id: bytes) -> ScheduledCall:
        """Return the scheduled call of an id. Raises: BadCall."""
        for one in self.list_calls():
            if one.call.call_id == call_id:
                return one
        raise BadCall(
            f"the id of a scheduled call is required, found 0x{call_id.hex()}: `ape run govern list` shows them"
        )

    def _read_call(self, event: EventData, salt: bytes) -> ScheduledCall:
        arguments = event["args"]
        ready_at_s = int(self._timelock.functions.get_timestamp(arguments["id"]).call())
        # One bit a state: 1 unset, 2 waiting, 4 ready, 8 done; a call that was scheduled and is unset was cancelled.
        bits = int(self._timelock.functions.get_operation_state(arguments["id"]).call())
        return ScheduledCall(
            call=Call(
                target=bytes.fromhex(arguments["target"][2:]),
                calldata=bytes(arguments["payload"]),
                predecessor=bytes(arguments["predecessor"]),
                salt=bytes(salt),
            ),
            state=CallState(bits.bit_length() - 1),
            ready_at_s=ready_at_s if ready_at_s > 1 else 0,
        )

    # ------------------------------------------------------------ sending

    def schedule(self, sender: Sender, call: Call, *, delay_s: int | None = None) -> None:
        """Schedule a call; the sender must be a proposer. Raises: GovernanceFailed."""
        delay_s = self.read_delay_s() if delay_s is None else delay_s
        arguments = (*self._build_arguments(call), delay_s)
        self._send(sender, "timelock", "schedule", arguments)

    def execute(self, sender: Sender, call: Call) -> None:
        """Make a call that is ready; the sender must be an executor. Raises: GovernanceFailed."""
        self._send(sender, "timelock", "execute", self._build_arguments(call))

    def cancel(self, sender: Sender, call_id: bytes) -> None:
        """Cancel a call that was not made yet; the sender must be the guardian. Raises: GovernanceFailed."""
        self._send(sender, "timelock", "cancel", (call_id,))

    def rotate_sequencer(self, sender: Sender, to: bytes) -> None:
        """Let a standby settle from now on; guardian, sequencer or governor may. Raises: GovernanceFailed."""
        self._send(sender, "market_registry", "rotate_sequencer", (Web3.to_checksum_address(to),))

    def revoke_sequencer(self, sender: Sender, sequencer: bytes) -> None:
        """Take an address off the standbys; guardian or governor may. Raises: GovernanceFailed."""
        self._send(sender, "market_registry", "revoke_sequencer", (Web3.to_checksum_address(sequencer),))

    def is_standby(self, sequencer: bytes) -> bool:
        """Tell whether an address may be rotated to."""
        registry = self._contracts["market_registry"].functions
        return bool(registry.is_standby(Web3.to_checksum_address(sequencer)).call())

    @staticmethod
    def _build_arguments(call: Call) -> tuple[Any, ...]:
        return Web3.to_checksum_address(call.target), 0, call.calldata, call.predecessor, call.salt

    def _send(self, sender: Sender, contract: str, function: str, arguments: Sequence[Any]) -> None:
        title = f"{SOURCE_NAMES[contract]}.{function}"
        calldata = self._contracts[contract].encode_abi(function, args=arguments)
        address = Web3.to_checksum_address(sender.address)
        try:
            receipt = send_and_wait(
                self._web3,
                sender,
                to=self._manifest.get_address(contract),
                calldata=bytes.fromhex(calldata[2:]),
                nonce=self._web3.eth.get_transaction_count(address, "pending"),
            )
        except (Web3Exception, OSError) as error:
            raise GovernanceFailed(f"{title} by {address} must succeed: {error}") from error
        if receipt["status"] != 1:
            raise GovernanceFailed(f"{title} by {address} must succeed, its transaction reverted")


def _read_rules(word: int) -> dict[str, Any]:
    """Return the fields of a rules word a governor sets, without those only the Clearinghouse does."""
    rules = RulesWord.unpack(word & ~RULES_FLAG_TIERED)
    return {name: getattr(rules, name) for name in ManifestRules.__struct_fields__}


def _parse_tiers(words: Sequence[str]) -> list[Any]:
    """Return market and tier word from `1 100000+25000,250000+25000` or `1 none`."""
    try:
        market, text = words
        pairs = [] if text == "none" else [tuple(map(int, one.split("+"))) for one in text.split(",")]
        return [int(market), TierWord(tiers=tuple((edge, add) for edge, add in pairs)).pack()]
    except (ValueError, FieldOutOfRange) as error:
        raise BadCall(
            f"set_tiers requires a market id and EDGE+ADD,… in USDC and ppm, or none; found {' '.join(words)!r}"
        ) from error


def _parse_word(word: str, kind: str) -> Any:
    """Return an argument from text; lists are joined by commas."""
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return [_parse_word(one, inner) for one in word.split(",") if one]
    try:
        if kind.startswith("uint"):
            return int(word, 0)
        if kind == "address":
            return Web3.to_checksum_address(word)
        if kind.startswith("bytes"):
            return bytes.fromhex(word.removeprefix("0x"))
    except ValueError as error:
        raise BadCall(f"{kind} is required, found {word!r}") from error
    return word


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return "[" + ", ".join(_show(one) for one in value) + "]" if isinstance(value, list | tuple) else str(value)
