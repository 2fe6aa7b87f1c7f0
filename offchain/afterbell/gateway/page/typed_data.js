// Build the venue's EIP-712 messages and the request that carries each. Types come from the venue, field by field as the
// contract hashes them. Must not: sign, or ask anybody.

import { TypedDataEncoder, hexlify, keccak256, randomBytes, AbiCoder } from "/vendor/ethers.js";

const OPERATION_LANE = 65535n;
const FORCES = { GTC: 0, GTT: 1, IOC: 2, FOK: 3 };
const LIVE_LIFETIME_S = 3_600;
// A replay runs a trading day in a minute: a person reading a wallet's window must not be overtaken.
const REPLAY_LIFETIME_S = 7 * 86_400;

export const NO_KEY = "0x0000000000000000000000000000000000000000";

/** Turns "Order(address owner,uint80 subaccount,…)" into what ethers wants. */
function parseType(typeString) {
  const name = typeString.slice(0, typeString.indexOf("("));
  const fields = typeString.slice(name.length + 1, -1).split(",");
  return { [name]: fields.map((field) => ({ type: field.split(" ")[0], name: field.split(" ")[1] })) };
}

/** One signable message: what a wallet gets (payload), its digest, and the request once it is signed. */
export class TypedMessage {
  constructor(domain, types, values, toRequest) {
    this.domain = domain;
    this.types = types;
    this.values = values;
    this.toRequest = toRequest;
    this.name = Object.keys(types)[0];
  }

  /** The JSON of eth_signTypedData_v4. */
  payload() {
    return TypedDataEncoder.getPayload(this.domain, this.types, this.values);
  }

  digest() {
    return TypedDataEncoder.hash(this.domain, this.types, this.values);
  }
}

/** Session key limits as bits 0-137 of a session key word. */
export function packLimits({ keyExpiryS, maxNotionalQuote, markets, isTradeOnly, isReduceOnly }) {
  return (
    BigInt(keyExpiryS) |
    (BigInt(maxNotionalQuote) << 40n) |
    (packMarkets(markets) << 104n) |
    (isTradeOnly ? 1n << 136n : 0n) |
    (isReduceOnly ? 1n << 137n : 0n)
  );
}

export const packMarkets = (markets) => markets.reduce((bits, market) => bits | (1n << BigInt(market - 1)), 0n);

export class MessageBuilder {
  constructor(venue, clock, owner) {
    this.venue = venue;
    this.clock = clock;
    this.owner = owner;
    this.account = owner + "0".repeat(20);
    this.domain = {
      name: venue.domain.name,
      version: venue.domain.version,
      chainId: BigInt(venue.domain.chain_id),
      verifyingContract: venue.domain.verifying_contract,
    };
    this.lastSeq = 0n;
  }

  /** Returns a seq this page has not used: milliseconds of venue time since genesis, always higher than the last. */
  nextSeq() {
    const seq = BigInt(this.clock.nowMs()) - BigInt(this.venue.genesis_s) * 1000n;
    this.lastSeq = seq > this.lastSeq ? seq : this.lastSeq + 1n;
    return this.lastSeq;
  }

  orderNonce(lane) {
    return (BigInt(lane) << 40n) | this.nextSeq();
  }

  /** How long something that acts at once may wait, in venue time. */
  lifetimeS() {
    return this.clock.status?.mode === "replay" ? REPLAY_LIFETIME_S : LIVE_LIFETIME_S;
  }

  message(typeName, values, toRequest) {
    const shown = { owner: this.owner, subaccount: 0n, ...values };
    const domain = { chain_id: this.venue.domain.chain_id, verifying_contract: this.venue.domain.verifying_contract };
    return new TypedMessage(this.domain, parseType(this.venue.types[typeName]), shown, (signature) => ({
      ...toRequest,
      signature,
      domain,
    }));
  }

  operation(typeName, values, name, fields) {
    const expiry = this.clock.nowS() + this.lifetimeS();
    const nonce = (OPERATION_LANE << 40n) | this.nextSeq();
    const body = { account: this.account, ...fields, expiry_s: expiry, nonce: nonce.toString() };
    return this.message(typeName, { ...values, expiry, nonce }, { [name]: body });
  }

  /** draft: a leg of order_form.js; nonce decides the lane. Units: lots, ticks, seconds of venue time. */
  order(draft, nonce) {
    const values = {
      market: draft.market.market,
      epoch: draft.market.epoch,
      isBuy: draft.isBuy,
      sizeLots: draft.sizeLots,
      limitTicks: draft.limitTicks,
      maxFeePpm: draft.maxFeePpm,
      expiry: draft.expiryS,
      nonce,
      reduceOnly: draft.isReduceOnly,
      postOnly: draft.isPostOnly,
      timeInForce: FORCES[draft.timeInForce],
      triggerTicks: draft.triggerTicks,
      triggerKind: draft.triggerKind,
    };
    return this.message("Order", values, {
      order: {
        account: this.account,
        market: draft.market.market,
        epoch: draft.market.epoch,
        is_buy: draft.isBuy,
        size_lots: Number(draft.sizeLots),
        limit_ticks: Number(draft.limitTicks),
        max_fee_ppm: draft.maxFeePpm,
        expiry_s: draft.expiryS,
        nonce: nonce.toString(),
        reduce_only: draft.isReduceOnly,
        post_only: draft.isPostOnly,
        time_in_force: draft.timeInForce,
        trigger_ticks: Number(draft.triggerTicks),
        trigger_kind: draft.triggerKind,
      },
    });
  }

  cancel(orderNonce) {
    return this.operation("CancelOrder", { orderNonce: BigInt(orderNonce) }, "cancel", { order_nonce: String(orderNonce) });
  }

  cancelAll() {
    const minSeq = this.nextSeq();
    return this.operation("CancelAll", { minSeq }, "cancel_all", { min_seq_ms: Number(minSeq) });
  }

  withdrawal(quote) {
    const fields = { quote: quote.toString(), recipient: this.owner };
    return this.operation("Withdraw", { quote, recipient: this.owner }, "withdrawal", fields);
  }

  linkKey(key, limits) {
    const values = {
      key,
      keyExpiry: limits.keyExpiryS,
      maxNotionalQuote: limits.maxNotionalQuote,
      markets: packMarkets(limits.markets),
      tradeOnly: limits.isTradeOnly,
      reduceOnly: limits.isReduceOnly,
    };
    return this.operation("LinkKey", values, "link_key", {
      key,
      key_expiry_s: limits.keyExpiryS,
      max_notional_quote: limits.maxNotionalQuote.toString(),
      markets: limits.markets,
      trade_only: limits.isTradeOnly,
      reduce_only: limits.isReduceOnly,
    });
  }

  revokeKey(key) {
    return this.operation("RevokeKey", { key }, "revoke_key", { key });
  }

  /** EIP-3009, in the token's own domain. The nonce names account and key, so nobody can bend the deposit elsewhere. */
  authorization(tokenDomain, quote, key, limits, validBeforeS) {
    const salt = hexlify(randomBytes(32));
    const owner = BigInt(this.owner) << 80n;
    const nonce = keccak256(
      AbiCoder.defaultAbiCoder().encode(["uint256", "address", "uint256", "bytes32"], [owner, key, limits, salt]),
    );
    const types = parseType(
      "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)",
    );
    const values = { from: this.owner, to: this.venue.addresses.vault, value: quote, validAfter: 0n, validBefore: BigInt(validBeforeS), nonce };
    return new TypedMessage(tokenDomain, types, values, (signature) => ({
      authorization: {
        sender: this.owner,
        owner: this.owner,
        subaccount: "0",
        quote: quote.toString(),
        valid_after_s: 0,
        valid_before_s: validBeforeS,
        salt,
        key,
        limits: limits.toString(),
      },
      signature,
    }));
  }

  /** EIP-2612, in the token's own domain. */
  permit(tokenDomain, quote, nonce, deadlineS) {
    const types = parseType("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    const values = { owner: this.owner, spender: this.venue.addresses.vault, value: quote, nonce, deadline: BigInt(deadlineS) };
    return new TypedMessage(tokenDomain, types, values, (signature) => ({ signature }));
  }
}
