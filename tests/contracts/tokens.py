"""Tokens of the vault's tests and what their holders sign, by eth_account: no line of ours makes these digests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_utils.address import to_checksum_address

from afterbell.domain.hashing import keccak
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import MAKER, STRANGER, TAKER, THIRD, USDC, account_of, address_of
from tests.support.chain import CHAIN_ID, DEPLOYER, ZERO_ADDRESS, Chain, encode_call
from tests.support.counterparts import compiled, published

ADMIN_SLOT: Final = int.from_bytes(keccak(b"eip1967.proxy.admin"), "big") - 1
SIGNED_TOKEN: Final = ("Signed Token", "1")
"""Name and version of the token of counterparts.sol."""
_PERMIT: Final = [
    ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"), ("deadline", "uint256")
]  # fmt: skip
_AUTHORIZATION: Final = [
    ("from", "address"), ("to", "address"), ("value", "uint256"), ("validAfter", "uint256"),
    ("validBefore", "uint256"), ("nonce", "bytes32"),
]  # fmt: skip
_CANCEL: Final = [("authorizer", "address"), ("nonce", "bytes32")]
_TYPES: Final = {
    "Permit": _PERMIT,
    "ReceiveWithAuthorization": _AUTHORIZATION,
    "TransferWithAuthorization": _AUTHORIZATION,
    "CancelAuthorization": _CANCEL,
}
SECRETS: Final = {
    key.address: bytes([number]) * 32 for key, number in ((MAKER, 0x11), (TAKER, 0x22), (THIRD, 0x33), (STRANGER, 0x77))
}

Signature = tuple[int, bytes, bytes]


# Tokens that are not simply created.


def make_signed_token(chain: Chain) -> str:
    """Create OpenZeppelin's token with permits and authorizations."""
    return chain.create_code(compiled("SignedToken").creation_code)


def make_proxied(chain: Chain) -> str:
    """Create the test stablecoin behind OpenZeppelin's transparent proxy; DEPLOYER administers both."""
    implementation = chain.create("TestStablecoin")
    arguments = (implementation, DEPLOYER, encode_call("TestStablecoin", "initialize", DEPLOYER))
    return chain.create_code(
        published("TransparentUpgradeableProxy").creation_code + abi_encode(["address", "address", "bytes"], arguments)
    )


def proxy_admin(chain: Chain) -> str:
    """Return the contract that alone may upgrade the proxy."""
    return str(to_checksum_address(chain.evm.storage(chain.addresses["token"], ADMIN_SLOT).to_bytes(20, "big")))


def upgrade(chain: Chain, implementation: str) -> None:
    """Put another implementation behind the proxied token."""
    selector = keccak(b"upgradeAndCall(address,address,bytes)")[:4]
    arguments = abi_encode(["address", "address", "bytes"], [chain.addresses["token"], implementation, b""])
    chain.transact(DEPLOYER, proxy_admin(chain), selector + arguments)


# What holders sign.


def sign(
    key: SigningKey, chain: Chain, struct: str, message: dict[str, Any], domain: tuple[str, str] | None = None
) -> Signature:
    """Return (v, r, s) over a struct of the chain's token."""
    name, version = domain or (chain.call("token", "name"), chain.call("token", "version"))
    signed = Account.sign_typed_data(
        SECRETS[key.address],
        {
            "name": name,
            "version": version,
            "chainId": CHAIN_ID,
            "verifyingContract": chain.addresses["token"],
        },
        {struct: [{"name": field, "type": kind} for field, kind in _TYPES[struct]]},
        message,
    )
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def sign_permit(
    key: SigningKey, chain: Chain, quote: int, *, domain: tuple[str, str] | None = None, **changes: Any
) -> Signature:
    """Return the holder's permit of `quote` for the vault, with changes."""
    message = {
        "owner": address_of(key),
        "spender": chain.addresses["Vault"],
        "value": quote,
        "nonce": chain.call("token", "nonces", address_of(key)),
        "deadline": chain.time_s,
    }
    return sign(key, chain, "Permit", message | changes, domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """Arguments of deposit_with_authorization without the signature, in the order of the function."""

    sender: str
    owner: str
    subaccount: int = 0
    quote: int = 100 * USDC
    valid_after: int = 0
    valid_before: int = 2**40
    salt: bytes = b"\x5a" * 32
    key: str = ZERO_ADDRESS
    limits: int = 0

    @property
    def nonce(self) -> bytes:
        """Return keccak(abi_encode(account_id, key, limits, salt)), encoded here by hand."""
        account_id = int(self.owner, 16) << 80 | self.subaccount
        return keccak(
            account_id.to_bytes(32, "big")
            + bytes.fromhex(self.key[2:]).rjust(32, b"\0")
            + self.limits.to_bytes(32, "big")
            + self.salt
        )

    def message(self, chain: Chain) -> dict[str, Any]:
        """Return what the sender signs."""
        return {
            "from": self.sender,
            "to": chain.addresses["Vault"],
            "value": self.quote,
            "validAfter": self.valid_after,
            "validBefore": self.valid_before,
            "nonce": self.nonce,
        }

    def changed(self, **changes: Any) -> Authorization:
        """Return a copy with changes."""
        return replace(self, **changes)

    def carry(self, chain: Chain, signature: Signature, *, sender: str) -> int:
        """Bring it to the vault."""
        return int(
            chain.call(
                "Vault", "deposit_with_authorization", self.sender, self.owner, self.subaccount, self.quote,
                self.valid_after, self.valid_before, self.salt, *signature, self.key, self.limits, sender=sender,
            )
        )  # fmt: skip


def sign_authorization(
    key: SigningKey, chain: Chain, authorization: Authorization, domain: tuple[str, str] | None = None
) -> Signature:
    """Return the holder's signature for a deposit."""
    return sign(key, chain, "ReceiveWithAuthorization", authorization.message(chain), domain)


# What the ledger says.


def collateral_of(chain: Chain, key: SigningKey, subaccount: int = 0) -> int:
    """Return the collateral lane of an account that owes nothing."""
    return int(chain.call("Clearinghouse", "account_word", account_of(key, subaccount))) & (1 << 72) - 1


def key_word_of(chain: Chain, owner: SigningKey, key: str, subaccount: int = 0) -> int:
    """Return a session key word."""
    return int(chain.call("Clearinghouse", "session_key_word", account_of(owner, subaccount), key))
