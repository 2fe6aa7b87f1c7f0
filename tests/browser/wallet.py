"""A wallet extension made of a real key: announced by EIP-6963, asked through EIP-1193, answering like the known ones.

It signs with eth-account, so that the page's own library is not its witness, and sends through the venue's node. It can
be told to refuse, to be locked and to stand on another chain. Must not: import anything of the page.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any, Final

from eth_account import Account
from eth_utils.address import to_checksum_address
from playwright.sync_api import Page

ICON: Final = (
    "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSIxIiBoZWlnaHQ9IjEiLz4="
)
USER_REJECTED: Final = {"code": 4001, "message": "The user did not approve."}
ALREADY_PENDING: Final = {"code": -32002, "message": "Request already pending. Please wait."}
UNKNOWN_CHAIN: Final = {"code": 4902, "message": "Try adding the chain first."}
MAINNET: Final = 1
_PROVIDER: Final = """
(([binding, name, rdns, icon]) => {
  const listeners = {};
  const provider = {
    async request({ method, params }) {
      const { result, error } = JSON.parse(await window[binding](method, JSON.stringify(params ?? [])));
      if (error) throw Object.assign(new Error(error.message), error);
      return result;
    },
    on(event, listener) { (listeners[event] ??= new Set()).add(listener); },
    removeListener(event, listener) { listeners[event]?.delete(listener); },
  };
  window[binding + "_tell"] = (event, news) => { for (const listener of listeners[event] ?? []) listener(news); };
  const info = { uuid: crypto.randomUUID?.() ?? binding, name, rdns, icon };
  const announce = () =>
    window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
  window.addEventListener("eip6963:requestProvider", announce);
  announce();
})
"""


class WalletRefused(Exception):
    """What EIP-1193 calls a ProviderRpcError."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


class InjectedWallet:
    """One announced wallet with one unlocked account."""

    def __init__(self, url: str, *, name: str = "Test Fox", rdns: str = "test.fox", chain_id: int = 31337) -> None:
        self.url = url
        self.name = name
        self.rdns = rdns
        self.binding = f"wallet_{rdns.replace('.', '_')}"
        self.keys = [Account.create()]
        self.chain_id = chain_id
        self.known_chains = {MAINNET, 31337}
        self.is_locked = False
        self.is_connected = False
        self.refusals: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[tuple[str, Any]] = []
        self.page: Page | None = None

    @property
    def address(self) -> str:
        return str(self.keys[0].address).lower()

    def install(self, page: Page) -> None:
        """Announce the wallet in every document of the page."""
        self.page = page
        page.expose_function(self.binding, self._answer)
        page.add_init_script(f"({_PROVIDER})({json.dumps([self.binding, self.name, self.rdns, ICON])})")

    def refuse_once(self, method: str, error: dict[str, Any]) -> None:
        """Answer the next request of this method with an error."""
        self.refusals.setdefault(method, []).append(error)

    def asked(self, method: str) -> list[Any]:
        """Parameters of every request of a method so far."""
        return [params for name, params in self.requests if name == method]

    def signed(self) -> list[dict[str, Any]]:
        """Return the typed data of every signature asked for."""
        return [json.loads(params[1]) for params in self.asked("eth_signTypedData_v4")]

    def tell(self, event: str, news: Any) -> None:
        """Let the wallet speak up by itself: accountsChanged, chainChanged."""
        assert self.page is not None
        self.page.evaluate("([name, event, news]) => window[name](event, news)", [f"{self.binding}_tell", event, news])

    def switch_account(self) -> None:
        self.keys.insert(0, Account.create())
        self.tell("accountsChanged", [self.keys[0].address])

    def lock(self) -> None:
        self.is_locked = True
        self.tell("accountsChanged", [])

    def leave_chain(self, chain_id: int) -> None:
        self.chain_id = chain_id
        self.tell("chainChanged", hex(chain_id))

    # What the page asks.

    def _answer(self, method: str, params_text: str) -> str:
        params = json.loads(params_text)
        self.requests.append((method, params))
        try:
            pending = self.refusals.get(method)
            if pending:
                raise WalletRefused(pending.pop(0))
            return json.dumps({"result": self._handle(method, params)})
        except WalletRefused as refusal:
            return json.dumps({"error": refusal.error})

    def _handle(self, method: str, params: list[Any]) -> Any:
        handlers: dict[str, Callable[[list[Any]], Any]] = {
            "eth_accounts": lambda _: self._accounts(),
            "eth_requestAccounts": lambda _: self._connect(),
            "eth_chainId": lambda _: hex(self.chain_id),
            "wallet_switchEthereumChain": self._switch,
            "wallet_addEthereumChain": self._add,
            "eth_signTypedData_v4": self._sign,
            "eth_sendTransaction": self._send,
        }
        return handlers[method](params) if method in handlers else self._node(method, params)

    def _accounts(self) -> list[str]:
        return [] if self.is_locked or not self.is_connected else [self.keys[0].address]

    def _connect(self) -> list[str]:
        if not self.is_locked:
            self.is_connected = True
        return self._accounts()

    def _switch(self, params: list[Any]) -> None:
        wanted = int(params[0]["chainId"], 16)
        if wanted not in self.known_chains:
            raise WalletRefused(UNKNOWN_CHAIN)
        self.leave_chain(wanted)

    def _add(self, params: list[Any]) -> None:
        assert params[0]["rpcUrls"] and params[0]["nativeCurrency"]["decimals"] == 18
        self.known_chains.add(int(params[0]["chainId"], 16))

    def _sign(self, params: list[Any]) -> str:
        typed_data = json.loads(params[1])
        assert params[0].lower() == self.address
        # As the known wallets do: typed data of another chain than the active one is refused.
        if int(str(typed_data["domain"]["chainId"]), 0) != self.chain_id:
            raise WalletRefused({"code": -32603, "message": "Provided chainId must match the active chainId"})
        return "0x" + bytes(self.keys[0].sign_typed_data(full_message=typed_data).signature).hex()

    def _send(self, params: list[Any]) -> str:
        wanted = params[0]
        assert wanted["from"].lower() == self.address
        try:
            gas = int(self._node("eth_estimateGas", [wanted]), 16)
        except WalletRefused as refusal:
            raise WalletRefused({"code": -32603, "message": refusal.error["message"]}) from refusal
        transaction = {
            "chainId": self.chain_id,
            "nonce": int(self._node("eth_getTransactionCount", [self.address, "pending"]), 16),
            "to": to_checksum_address(wanted["to"]),
            "data": wanted.get("data", "0x"),
            "value": int(wanted.get("value", "0x0"), 16),
            "gas": gas * 3 // 2,
            "maxFeePerGas": int(self._node("eth_gasPrice", []), 16) * 2,
            "maxPriorityFeePerGas": 0,
        }
        signed = self.keys[0].sign_transaction(transaction)
        return str(self._node("eth_sendRawTransaction", ["0x" + bytes(signed.raw_transaction).hex()]))

    def _node(self, method: str, params: list[Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(f"{self.url}/v1/rpc", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())
        if "error" in found:
            raise WalletRefused({"code": found["error"].get("code", -32603), "message": found["error"]["message"]})
        return found["result"]
