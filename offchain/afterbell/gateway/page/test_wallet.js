// A test wallet on the local chain: a key in this browser's storage, funded by the faucet, sending its own transactions.
// Must not: exist on a chain with real money.

import { Wallet } from "/vendor/ethers.js";
import { rpc } from "/page/api.js";

export class TestWallet {
  constructor(venue, privateKey) {
    this.venue = venue;
    this.key = new Wallet(privateKey);
    this.address = this.key.address.toLowerCase();
    this.name = "Test wallet";
    this.rdns = "test";
    this.icon = "/page/favicon.svg";
    this.isTest = true;
    this.onChange = () => {};
  }

  /** The key belongs to one instance: another chain or deployment starts with another wallet. */
  static storageKey(venue) {
    return `afterbell.test-wallet.${venue.chain_id}.${venue.domain.verifying_contract}`;
  }

  /** Returns the wallet of this browser, made now if there is none. */
  static open(venue) {
    const name = TestWallet.storageKey(venue);
    const stored = localStorage.getItem(name) ?? Wallet.createRandom().privateKey;
    localStorage.setItem(name, stored);
    return new TestWallet(venue, stored);
  }

  static isKnown(venue) {
    return localStorage.getItem(TestWallet.storageKey(venue)) !== null;
  }

  isOnChain() {
    return true;
  }

  disconnect() {}

  sign(message) {
    return this.key.signTypedData(message.domain, message.types, message.values);
  }

  async send({ to, data }) {
    const [nonce, gasPrice, gas] = await Promise.all([
      rpc("eth_getTransactionCount", this.address, "pending"),
      rpc("eth_gasPrice"),
      rpc("eth_estimateGas", { from: this.address, to, data }),
    ]);
    const raw = await this.key.signTransaction({
      type: 2,
      chainId: this.venue.chain_id,
      nonce: Number(nonce),
      to,
      data,
      value: 0n,
      gasLimit: (BigInt(gas) * 3n) / 2n,
      maxFeePerGas: BigInt(gasPrice) * 2n,
      maxPriorityFeePerGas: 0n,
    });
    return rpc("eth_sendRawTransaction", raw);
  }
}
