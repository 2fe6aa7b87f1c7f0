// Build and sign the venue's EIP-712 messages. Types come from the venue, field by field as the contract hashes them.

import { Wallet } from "/vendor/ethers.js";

const OPERATION_LANE = 65535n;

/** Turns "Order(address owner,uint80 subaccount,…)" into what signTypedData wants. */
function parseType(typeString) {
  const name = typeString.slice(0, typeString.indexOf("("));
  const fields = typeString.slice(name.length + 1, -1).split(",");
  return { name, types: { [name]: fields.map((field) => ({ type: field.split(" ")[0], name: field.split(" ")[1] })) } };
}

export class Signer {
  constructor(venue, privateKey) {
    this.venue = venue;
    this.wallet = new Wallet(privateKey);
    this.address = this.wallet.address.toLowerCase();
    this.account = this.address + "0".repeat(20);
    this.domain = {
      name: venue.domain.name,
      version: venue.domain.version,
      chainId: BigInt(venue.domain.chain_id),
      verifyingContract: venue.domain.verifying_contract,
    };
    this.lastSeq = 0n;
  }

  /** Returns a seq nobody has used: milliseconds of venue time since genesis, always higher than the last. */
  nextSeq(nowMs) {
    const seq = BigInt(nowMs) - BigInt(this.venue.genesis_s) * 1000n;
    this.lastSeq = seq > this.lastSeq ? seq : this.lastSeq + 1n;
    return this.lastSeq;
  }

  async sign(typeName, message) {
    const { types } = parseType(this.venue.types[typeName]);
    return this.wallet.signTypedData(this.domain, types, message);
  }

  /** order: market, epoch, isBuy, sizeLots, limitTicks, maxFeePpm, expiry, lane, reduceOnly, postOnly, timeInForce. */
  async buildOrder(order, nowMs) {
    const forces = { GTC: 0, GTT: 1, IOC: 2, FOK: 3 };
    const nonce = (BigInt(order.lane) << 40n) | this.nextSeq(nowMs);
    const signature = await this.sign("Order", {
      owner: this.address,
      subaccount: 0n,
      market: order.market,
      epoch: order.epoch,
      isBuy: order.isBuy,
      sizeLots: order.sizeLots,
      limitTicks: order.limitTicks,
      maxFeePpm: order.maxFeePpm,
      expiry: order.expiry,
      nonce,
      reduceOnly: order.reduceOnly,
      postOnly: order.postOnly,
      timeInForce: forces[order.timeInForce],
      triggerTicks: 0n,
      triggerKind: 0,
    });
    return {
      order: {
        account: this.account,
        market: order.market,
        epoch: order.epoch,
        is_buy: order.isBuy,
        size_lots: Number(order.sizeLots),
        limit_ticks: Number(order.limitTicks),
        max_fee_ppm: order.maxFeePpm,
        expiry_s: order.expiry,
        nonce: nonce.toString(),
        reduce_only: order.reduceOnly,
        post_only: order.postOnly,
        time_in_force: order.timeInForce,
      },
      signature,
      domain: { chain_id: this.venue.domain.chain_id, verifying_contract: this.venue.domain.verifying_contract },
    };
  }

  operationNonce(nowMs) {
    return (OPERATION_LANE << 40n) | this.nextSeq(nowMs);
  }

  async buildCancel(orderNonce, expiry, nowMs) {
    const nonce = this.operationNonce(nowMs);
    const message = { owner: this.address, subaccount: 0n, orderNonce: BigInt(orderNonce), expiry, nonce };
    const signature = await this.sign("CancelOrder", message);
    return {
      cancel: { account: this.account, order_nonce: orderNonce, expiry_s: expiry, nonce: nonce.toString() },
      signature,
    };
  }

  async buildCancelAll(expiry, nowMs) {
    const minSeq = this.nextSeq(nowMs);
    const nonce = this.operationNonce(nowMs);
    const message = { owner: this.address, subaccount: 0n, minSeq, expiry, nonce };
    const signature = await this.sign("CancelAll", message);
    return {
      cancel_all: {
        account: this.account,
        min_seq_ms: Number(minSeq),
        expiry_s: expiry,
        nonce: nonce.toString(),
      },
      signature,
    };
  }

  async buildWithdrawal(quote, expiry, nowMs) {
    const nonce = this.operationNonce(nowMs);
    const message = { owner: this.address, subaccount: 0n, quote, recipient: this.address, expiry, nonce };
    const signature = await this.sign("Withdraw", message);
    return {
      withdrawal: {
        account: this.account,
        quote: quote.toString(),
        recipient: this.address,
        expiry_s: expiry,
        nonce: nonce.toString(),
      },
      signature,
    };
  }
}
