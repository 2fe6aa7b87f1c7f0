// A wallet of the browser, behind EIP-1193. Every failure leaves here in words. Must not: keep a key.

import { toQuantity } from "/vendor/ethers.js";
import { WalletError, isUnknownChain, lockedWords, walletErrorInWords } from "/page/wallet_errors.js";

export class InjectedWallet {
  constructor(venue, choice) {
    this.venue = venue;
    this.name = choice.name;
    this.icon = choice.icon;
    this.rdns = choice.rdns;
    this.provider = choice.provider;
    this.isTest = false;
    this.address = null;
    this.chainId = null;
    this.onChange = () => {};
    this.hearAccounts = (accounts) => this.adoptAccounts(accounts);
    this.hearChain = (chainId) => {
      this.chainId = Number(chainId);
      this.onChange("chain");
    };
  }

  async request(what, method, params = []) {
    try {
      return await this.provider.request({ method, params });
    } catch (error) {
      throw walletErrorInWords(error, this.name, what);
    }
  }

  /** Asks the person for an account, or, silently, takes one this page was given before. Returns whether there is one. */
  async connect({ isSilent = false } = {}) {
    const accounts = await this.request("connect", isSilent ? "eth_accounts" : "eth_requestAccounts");
    if (!accounts?.length) {
      if (isSilent) return false;
      throw new WalletError(lockedWords(this.name), 4100);
    }
    this.address = accounts[0].toLowerCase();
    this.chainId = Number(await this.request("name its chain", "eth_chainId"));
    this.provider.on?.("accountsChanged", this.hearAccounts);
    this.provider.on?.("chainChanged", this.hearChain);
    return true;
  }

  disconnect() {
    this.provider.removeListener?.("accountsChanged", this.hearAccounts);
    this.provider.removeListener?.("chainChanged", this.hearChain);
  }

  adoptAccounts(accounts) {
    const address = accounts[0]?.toLowerCase() ?? null;
    if (address === this.address) return;
    this.address = address;
    this.onChange(address ? "account" : "locked");
  }

  isOnChain() {
    return this.chainId === this.venue.chain_id;
  }

  /** Moves the wallet to the venue's chain, adding it where the wallet does not know it. */
  async mustBeOnChain() {
    this.chainId = Number(await this.request("name its chain", "eth_chainId"));
    if (this.isOnChain()) return;
    const chainId = toQuantity(this.venue.chain_id);
    const before = this.chainId;
    try {
      await this.provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
    } catch (error) {
      if (!isUnknownChain(error) || !this.venue.is_local_chain) throw walletErrorInWords(error, this.name, `switch to chain ${this.venue.chain_id}`);
      await this.addChain(chainId);
      await this.request(`switch to chain ${this.venue.chain_id}`, "wallet_switchEthereumChain", [{ chainId }]);
    }
    this.chainId = Number(await this.request("name its chain", "eth_chainId"));
    this.onChange("chain");
    if (!this.isOnChain()) {
      throw new WalletError(
        `${this.name} is still on chain ${this.chainId ?? before}; this venue is on chain ${this.venue.chain_id}. Choose it in the wallet, then try again.`,
      );
    }
  }

  addChain(chainId) {
    return this.request(`add chain ${this.venue.chain_id}`, "wallet_addEthereumChain", [
      {
        chainId,
        chainName: `${this.venue.name} (local chain ${this.venue.chain_id})`,
        nativeCurrency: { name: "Test ether", symbol: "ETH", decimals: 18 },
        rpcUrls: [`${location.origin}/v1/rpc`],
      },
    ]);
  }

  /** The account must still be the one this page shows: a wallet may have changed it without a word. */
  async mustHaveAccount() {
    const accounts = await this.request("show its accounts", "eth_accounts");
    if (!accounts?.length) throw new WalletError(lockedWords(this.name), 4100);
    if (!accounts.some((address) => address.toLowerCase() === this.address)) {
      throw new WalletError(`${this.name} now shows another account than this page. Choose ${this.address} in it, or connect again.`);
    }
  }

  /** message: TypedMessage. Returns the signature, 0x + 130 digits. */
  async sign(message, what) {
    await this.mustHaveAccount();
    await this.mustBeOnChain();
    return this.request(what, "eth_signTypedData_v4", [this.address, JSON.stringify(message.payload())]);
  }

  /** Returns the hash of a transaction on its way. */
  async send({ to, data }, what) {
    await this.mustHaveAccount();
    await this.mustBeOnChain();
    return this.request(what, "eth_sendTransaction", [{ from: this.address, to, data, value: "0x0" }]);
  }
}
