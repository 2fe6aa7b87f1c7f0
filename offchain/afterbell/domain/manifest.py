"""Hold what a deployment is: one document that sequencer, verifier, SDK and page read, and nobody else writes.

`deploy` (adapters/deployment.py) writes it once, after the last contract answers as it should; a manifest that exists
therefore names a complete venue. Must not: read or write files, talk to a chain.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from afterbell.domain.errors import AfterbellError
from afterbell.domain.session import Session
from afterbell.domain.words import RulesWord, TierWord

MANIFEST_VERSION: Final = 3
CONTRACTS: Final = (
    "token",
    "vault",
    "clearinghouse",
    "operations",
    "liquidations",
    "exits",
    "corporate_actions",
    "price_oracle",
    "signed_price_source",
    "market_registry",
    "lens",
    "market_lens",
    "timelock",
)
_N_ADDRESS_DIGITS: Final = 40
_N_HASH_DIGITS: Final = 64


class BadManifest(AfterbellError):
    """The document is not a manifest of this version."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the manifest's parts; the field names are the JSON keys."""


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    """The one field every version has."""

    version: int


class ManifestRules(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of one market in one session, the fields of the rules word (contracts/README.md, Words)."""

    initial_margin_ppm: int
    settlement_margin_ppm: int
    maintenance_margin_ppm: int
    band_ppm: int
    mark_step_ppm: int
    max_age_s: int
    open_interest_cap_lots: int
    account_share: int
    """Of the cap one account may grow to, in 65,536ths; 0 = all of it."""
    is_opening_allowed: bool
    is_funding_on: bool
    size_step_lots: int
    price_step_ticks: int
    min_notional_quote: int
    max_fee_ppm: int

    def build_word(self, *, is_tiered: bool = False) -> RulesWord:
        """Return the rules word the registry writes into the Clearinghouse."""
        return RulesWord(**msgspec.structs.asdict(self), is_tiered=is_tiered)


class ManifestTier(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every quote above an edge needs besides for maintenance; twice as much for settlement and initial margin."""

    edge_usdc: int
    """Notional in whole USDC."""
    add_ppm: int


class ManifestMarket(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One listed market. Lot 10^-lot_exponent units, tick 10^-tick_exponent USD, multiplier in shares per unit."""

    market_id: int
    symbol: str
    epoch: int
    lot_exponent: int
    tick_exponent: int
    ticks_per_usd: int
    multiplier_num: int
    multiplier_den: int
    source_id: int
    """Price source in the PriceOracle, the first byte of evidence; 0 is the publishers' signatures."""
    max_confidence_ppm: int
    reference_ticks: int
    """Price at listing, roughly: the registry holds caps against quote at it."""
    tiers: tuple[ManifestTier, ...]
    """Edges ascending, at most three."""
    synthetic: bool
    """No history was given: the path of the external price is made up, and everything that shows it must say so."""
    rules: dict[str, ManifestRules]
    """Session name -> rules."""

    def build_rules_words(self) -> dict[int, bytes]:
        """Return session number -> rules word, 32 bytes, as set on chain."""
        return {
            int(Session[name]): rules.build_word(is_tiered=bool(self.tiers)).pack().to_bytes(32, "big")
            for name, rules in self.rules.items()
        }

    def build_tier_word(self) -> int:
        """Return the tier word of the market, the same in every session; 0 = none."""
        return TierWord(tiers=tuple((tier.edge_usdc, tier.add_ppm) for tier in self.tiers)).pack()


class ManifestDomain(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One EIP-712 domain; the chain id is the manifest's."""

    name: str
    version: str
    verifying_contract: str


class Manifest(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployed instance. Addresses are checksummed 0x text, hashes 0x and 64 lower-case digits."""

    version: int
    chain_id: int
    genesis_s: int
    """Zero of every order's seq."""
    deployed_at_block: int
    """The block of the first deployment transaction: nothing of this instance is older."""
    deployer: str
    """Who sent the transactions; it holds no role afterwards."""
    governor: str
    """The Timelock."""
    guardian: str
    announcer: str
    """Who announces corporate actions."""
    sequencer: str
    """The first one. Who settles now stands in the Clearinghouse, who may be rotated to in the MarketRegistry."""
    publishers: tuple[str, ...]
    threshold: int
    addresses: dict[str, str]
    """One of CONTRACTS -> address."""
    code_hashes: dict[str, str]
    """Contract -> keccak of its runtime code, immutables included."""
    abi_hash: str
    """sha256 over the canonical JSON of every ABI."""
    compiler: str
    domains: dict[str, ManifestDomain]
    """`orders` and `prices`."""
    markets: tuple[ManifestMarket, ...]

    def get_address(self, contract: str) -> bytes:
        """Return a contract's 20 bytes. `contract` is one of CONTRACTS."""
        return bytes.fromhex(self.addresses[contract][2:])

    def build_code_hashes(self) -> dict[str, tuple[bytes, bytes | None]]:
        """Return contract -> (address, keccak of its code), the form the chain adapter checks."""
        return {name: (self.get_address(name), bytes.fromhex(self.code_hashes[name][2:])) for name in self.addresses}


def compute_abi_hash(abis: Mapping[str, object]) -> str:
    """Return sha256 over the ABIs as canonical JSON: keys sorted, no spaces, contracts by name."""
    text = json.dumps(abis, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "0x" + hashlib.sha256(text.encode()).hexdigest()


def parse_manifest(text: bytes | str) -> Manifest:
    """Read a manifest and check its shape.

    Raises: BadManifest.
    """
    try:
        version = msgspec.json.decode(text, type=_Version).version
        if version != MANIFEST_VERSION:
            raise BadManifest(
                f"a manifest of version {MANIFEST_VERSION} is required, found version {version}, of contracts this "
                "release does not speak to: run the one that deployed them, or deploy anew (locally: `up --fresh`)"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise BadManifest(f"a manifest of version {MANIFEST_VERSION} is required: {error}") from error
    for table in (manifest.addresses, manifest.code_hashes):
        if set(table) != set(CONTRACTS):
            raise BadManifest(f"contracts {', '.join(CONTRACTS)} are required, found {', '.join(sorted(table))}")
    people = (manifest.deployer, manifest.governor, manifest.guardian, manifest.announcer, manifest.sequencer)
    for address in (*manifest.addresses.values(), *manifest.publishers, *people):
        _must_be_hex(address, _N_ADDRESS_DIGITS)
    for code_hash in (*manifest.code_hashes.values(), manifest.abi_hash):
        _must_be_hex(code_hash, _N_HASH_DIGITS)
    for market in manifest.markets:
        unknown = set(market.rules) - set(Session.__members__)
        if unknown:
            raise BadManifest(f"{market.symbol}: unknown session {', '.join(sorted(unknown))}")
    return manifest


def format_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as indented JSON with a line end, the same bytes for the same manifest."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _must_be_hex(text: str, n_digits: int) -> None:
    if re.fullmatch(f"0x[0-9a-fA-F]{{{n_digits}}}", text) is None:
        raise BadManifest(f"0x and {n_digits} hexadecimal digits are required, found {text[:80]!r}")
