// Read the contracts and follow transactions: through the venue on a local chain, through the wallet elsewhere.
// Must not: hold a key.

import { Interface, TypedDataEncoder } from "/vendor/ethers.js";
import { rpc } from "/page/api.js";

export const TOKEN = new Interface([
  "function balanceOf(address) view returns (uint256)",
  "function allowance(address,address) view returns (uint256)",
  "function approve(address,uint256) returns (bool)",
  "function name() view returns (string)",
  "function version() view returns (string)",
  "function nonces(address) view returns (uint256)",
  "function authorizationState(address,bytes32) view returns (bool)",
  "function DOMAIN_SEPARATOR() view returns (bytes32)",
]);
export const VAULT = new Interface([
  "function deposit(address,uint80,uint256) returns (uint256)",
  "function deposit_and_link(uint80,uint256,address,uint256) returns (uint256)",
  "function deposit_with_permit(address,uint80,uint256,uint256,uint8,bytes32,bytes32,address,uint256) returns (uint256)",
  "function claim(address) returns (uint256)",
  "function claims_quote(address) view returns (uint256)",
]);
export const OPERATIONS = new Interface([
  "function cancel_all(uint80,uint40)",
  "function link_key(uint80,address,uint256)",
  "function revoke_key(uint80,address)",
]);

const RECEIPT_TRIES = 300;
const RECEIPT_DELAY_MS = 300;

export class Chain {
  /** wallet(): the connected wallet or null. */
  constructor(venue, wallet) {
    this.venue = venue;
    this.wallet = wallet;
  }

  request(method, ...params) {
    if (this.venue.is_local_chain) return rpc(method, ...params);
    return this.wallet().request("read the chain", method, params);
  }

  async call(contract, abi, name, ...values) {
    const to = this.venue.addresses[contract];
    const answer = await this.request("eth_call", { to, data: abi.encodeFunctionData(name, values) }, "latest");
    return abi.decodeFunctionResult(name, answer)[0];
  }

  transaction(contract, abi, name, ...values) {
    return { to: this.venue.addresses[contract], data: abi.encodeFunctionData(name, values) };
  }

  /** Waits until a transaction is mined; throws in words when the chain refused it. */
  async mustBeMined(hash) {
    for (let attempt = 0; attempt < RECEIPT_TRIES; attempt += 1) {
      const receipt = await this.request("eth_getTransactionReceipt", hash);
      if (receipt) {
        if (BigInt(receipt.status) !== 1n) throw new Error(`The contract refused transaction ${hash}.`);
        return receipt;
      }
      await new Promise((resolve) => setTimeout(resolve, RECEIPT_DELAY_MS));
    }
    throw new Error(`Transaction ${hash} is not mined yet. It may still be; look again later before you send another.`);
  }

  usdcQuote(address) {
    return this.call("token", TOKEN, "balanceOf", address);
  }

  claimQuote(address) {
    return this.call("vault", VAULT, "claims_quote", address);
  }

  async nowS() {
    return Number((await this.request("eth_getBlockByNumber", "latest", false)).timestamp);
  }

  /** Accounts with code of their own (a Safe, say) sign otherwise; an EIP-7702 account still has its key. */
  async isContractWallet(address) {
    const code = await this.request("eth_getCode", address, "latest");
    return code !== "0x" && !code.startsWith("0xef0100");
  }

  /** Returns the token's EIP-712 domain if its separator proves it, else null: then nothing can be signed for it. */
  async tokenDomain() {
    try {
      const [name, version, separator] = await Promise.all([
        this.call("token", TOKEN, "name"),
        this.call("token", TOKEN, "version"),
        this.call("token", TOKEN, "DOMAIN_SEPARATOR"),
      ]);
      const domain = { name, version, chainId: BigInt(this.venue.chain_id), verifyingContract: this.venue.addresses.token };
      return TypedDataEncoder.hashDomain(domain) === separator ? domain : null;
    } catch {
      return null;
    }
  }

  /** Whether a view of the token answers at all. */
  async hasToken(name, ...values) {
    try {
      await this.call("token", TOKEN, name, ...values);
      return true;
    } catch {
      return false;
    }
  }
}
