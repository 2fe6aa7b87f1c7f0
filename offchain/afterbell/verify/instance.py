"""Name the instance to verify, and make sure that the node is on its chain and has its contracts.

Must not: compare balances; whatever is wrong here means that verification cannot begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from afterbell.domain.errors import AfterbellError
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import address_hex
from afterbell.domain.manifest import BadManifest, parse_manifest
from afterbell.verify.rpc import RpcClient


class UnusableInput(AfterbellError):
    """Verification cannot begin: says what was required, what was found, what to do."""

    def __init__(self, required: str, found: str, action: str) -> None:
        super().__init__(f"required {required}; found {found}; {action}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One deployed instance. Addresses are 20 bytes."""

    chain_id: int
    first_block: int
    genesis_s: int
    token: bytes
    vault: bytes
    clearinghouse: bytes
    operations: bytes
    liquidations: bytes
    exits: bytes
    corporate_actions: bytes
    price_oracle: bytes
    price_source: bytes
    market_registry: bytes
    timelock: bytes
    code_hashes: dict[bytes, bytes]
    symbols: dict[int, str]

    def emitters(self) -> dict[str, bytes]:
        """Return the contracts whose every log is read."""
        return {
            "vault": self.vault,
            "clearinghouse": self.clearinghouse,
            "operations": self.operations,
            "liquidations": self.liquidations,
            "exits": self.exits,
            "corporate_actions": self.corporate_actions,
            "price_oracle": self.price_oracle,
            "price_source": self.price_source,
            "market_registry": self.market_registry,
        }

    def governed(self) -> dict[str, bytes]:
        """Return the contracts that have a governor."""
        return {
            "corporate_actions": self.corporate_actions,
            "price_oracle": self.price_oracle,
            "price_source": self.price_source,
            "market_registry": self.market_registry,
        }


def read_instance(path: Path) -> Instance:
    """Read the manifest. Raises: UnusableInput."""
    action = "name the manifest.json that the deployment wrote with --manifest"
    try:
        manifest = parse_manifest(path.read_bytes())
    except OSError as error:
        raise UnusableInput(f"a manifest at {path}", error.strerror or str(error), action) from error
    except BadManifest as error:
        raise UnusableInput(f"a manifest at {path}", str(error), action) from error
    return Instance(
        chain_id=manifest.chain_id,
        first_block=manifest.deployed_at_block,
        genesis_s=manifest.genesis_s,
        token=manifest.get_address("token"),
        vault=manifest.get_address("vault"),
        clearinghouse=manifest.get_address("clearinghouse"),
        operations=manifest.get_address("operations"),
        liquidations=manifest.get_address("liquidations"),
        exits=manifest.get_address("exits"),
        corporate_actions=manifest.get_address("corporate_actions"),
        price_oracle=manifest.get_address("price_oracle"),
        price_source=manifest.get_address("signed_price_source"),
        market_registry=manifest.get_address("market_registry"),
        timelock=manifest.get_address("timelock"),
        code_hashes={
            address: digest for address, digest in manifest.build_code_hashes().values() if digest is not None
        },
        symbols={market.market_id: market.symbol for market in manifest.markets},
    )


def choose_block(client: RpcClient, instance: Instance, to_block: int | None) -> int:
    """Return the block to verify at, once chain, range and code fit. Raises: UnusableInput, RpcFailed."""
    chain_id = client.chain_id()
    if chain_id != instance.chain_id:
        raise UnusableInput(
            f"chain {instance.chain_id}, the manifest's",
            f"chain {chain_id} at {client.url}",
            "use a node of that chain",
        )
    latest = client.block_number()
    block = latest if to_block is None else to_block
    if not instance.first_block <= block <= latest:
        raise UnusableInput(
            f"a block from {instance.first_block} (deployment) to {latest} (latest)",
            f"block {block}",
            "choose another --to-block, or a node that has caught up",
        )
    for address, expected in instance.code_hashes.items():
        code = client.code(address, block)
        if keccak(code) != expected:
            found = f"code with hash 0x{keccak(code).hex()}" if code else "no code"
            raise UnusableInput(
                f"code with hash 0x{expected.hex()} at {address_hex(address)}, block {block}",
                found,
                "use the manifest of this deployment, or a node of its chain",
            )
    return block
