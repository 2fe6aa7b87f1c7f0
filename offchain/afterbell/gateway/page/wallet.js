// A test wallet on the local chain: a key in this browser's storage, funded by the faucet, sending its own transactions.
// Must not: exist on a chain with real money.

import { Interface, Wallet } from "/vendor/ethers.js";
import { post, rpc } from "/page/api.js";
import { Signer } from "/page/sign.js";

const TOKEN = new Interface([
  "function balanceOf(address) view returns (uint256)",
  "function allowance(address,address) view returns (uint256)",
  "function approve(address,uint256) returns (bool)",
]);
const VAULT = new Interface([
  "function deposit(address,uint80,uint256) returns (uint256)",
  "function claim(address) returns (uint256)",
  "function claims_quote(address) view returns (uint256)",
]);
const RECEIPT_TRIES = 150;
const RECEIPT_DELAY_MS = 200;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class TestWallet {
  constructor(venue, privateKey) {
    this.venue = venue;
    this.signer = new Signer(venue, privateKey);
    this.address = this.signer.address;
    this.account = this.signer.account;
  }

  /** The key belongs to one instance: another chain or deployment starts with another wallet. */
  static storageKey(venue) {
    return `afterbell.test-wallet.${venue.chain_id}.${venue.domain.verifying_contract}`;
  }

  static load(venue) {
    const stored = localStorage.getItem(TestWallet.storageKey(venue));
    return stored ? new TestWallet(venue, stored) : null;
  }

  static create(venue) {
    const key = Wallet.createRandom().privateKey;
    localStorage.setItem(TestWallet.storageKey(venue), key);
    return new TestWallet(venue, key);
  }

  fund() {
    return post("/v1/faucet", { address: this.address });
  }

  async call(contract, abi, name, ...values) {
    const data = abi.encodeFunctionData(name, values);
    const answer = await rpc("eth_call", { to: this.venue.addresses[contract], data }, "latest");
    return abi.decodeFunctionResult(name, answer)[0];
  }

  usdcQuote() {
    return this.call("token", TOKEN, "balanceOf", this.address);
  }

  claimQuote() {
    return this.call("vault", VAULT, "claims_quote", this.address);
  }

  /** Sends a transaction and waits for its receipt; throws in words when the chain refuses it. */
  async send(contract, abi, name, ...values) {
    const to = this.venue.addresses[contract];
    const data = abi.encodeFunctionData(name, values);
    const [nonce, gasPrice, gas] = await Promise.all([
      rpc("eth_getTransactionCount", this.address, "pending"),
      rpc("eth_gasPrice"),
      rpc("eth_estimateGas", { from: this.address, to, data }),
    ]);
    const raw = await this.signer.wallet.signTransaction({
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
    const transaction = await rpc("eth_sendRawTransaction", raw);
    for (let attempt = 0; attempt < RECEIPT_TRIES; attempt += 1) {
      const receipt = await rpc("eth_getTransactionReceipt", transaction);
      if (receipt) {
        if (BigInt(receipt.status) !== 1n) throw new Error(`The transaction ${transaction} was refused by the contract.`);
        return receipt;
      }
      await pause(RECEIPT_DELAY_MS);
    }
    throw new Error(`The transaction ${transaction} is not mined yet; look again later.`);
  }

  /** Approves what is missing, then deposits into this wallet's own account. */
  async deposit(quote, tell) {
    const allowance = await this.call("token", TOKEN, "allowance", this.address, this.venue.addresses.vault);
    if (allowance < quote) {
      tell("1 of 2: approving the vault…");
      await this.send("token", TOKEN, "approve", this.venue.addresses.vault, quote);
    }
    tell("2 of 2: depositing…");
    return this.send("vault", VAULT, "deposit", this.address, 0n, quote);
  }

  claim() {
    return this.send("vault", VAULT, "claim", this.address);
  }
}
