// Session keys of this browser: made here, kept here, used to sign orders without a wallet's prompt.
// Must not: sign what the key's limits do not allow, or leave this browser.

import { Wallet } from "/vendor/ethers.js";
import { formatMoment, formatQuote, larger } from "/page/units.js";
import { describeReason } from "/page/words.js";

/** A key as the API lists it, with numbers the page counts in. */
export function readKey(row) {
  return {
    key: row.key.toLowerCase(),
    status: row.status,
    transaction: row.revocation_transaction ?? row.transaction,
    why: describeReason(row.code),
    limits: {
      keyExpiryS: Number(row.key_expiry_s),
      maxNotionalQuote: BigInt(row.max_notional_quote),
      markets: row.markets,
      isTradeOnly: row.trade_only,
      isReduceOnly: row.reduce_only,
    },
  };
}

export class SessionKeys {
  constructor(venue, clock) {
    this.venue = venue;
    this.clock = clock;
    this.rows = [];
  }

  storageKey(owner) {
    return `afterbell.session-key.${this.venue.chain_id}.${this.venue.domain.verifying_contract}.${owner}`;
  }

  /** Makes a key; it is kept when `keep` is called, so that an abandoned link leaves nothing behind. */
  make() {
    return Wallet.createRandom();
  }

  keep(owner, wallet) {
    localStorage.setItem(this.storageKey(owner), wallet.privateKey);
  }

  forget(owner) {
    localStorage.removeItem(this.storageKey(owner));
  }

  /** Returns the key of this browser for an owner, or null. */
  own(owner) {
    const stored = owner && localStorage.getItem(this.storageKey(owner));
    return stored ? new Wallet(stored) : null;
  }

  adopt(rows) {
    this.rows = rows.map(readKey);
  }

  /** Returns what the venue says about this browser's key, or null. */
  ownRow(owner) {
    const address = this.own(owner)?.address.toLowerCase();
    return (address && this.rows.find((row) => row.key === address)) ?? null;
  }

  /** Returns {wallet} if this browser's key may sign, else {why} in words, else {} when there is none. */
  find(owner) {
    const wallet = this.own(owner);
    if (!wallet) return {};
    const row = this.ownRow(owner);
    if (!row) return { why: "This browser's session key is not linked (yet); the wallet signs." };
    if (row.status === "revoked") return { why: "Your session key is revoked. Make a new one, or sign with the wallet." };
    if (row.status === "rejected") return { why: `The chain refused to link your session key: ${row.why || "no reason given"}. Make a new one, or sign with the wallet.` };
    if (row.status === "expired" || row.limits.keyExpiryS < this.clock.nowS()) {
      return { why: `Your session key expired on ${formatMoment(row.limits.keyExpiryS * 1000)} UTC. Make a new one, or sign with the wallet.` };
    }
    return { wallet, row };
  }

  /** The same for one order: its market, manner and size must be inside the limits. */
  findFor(owner, draft) {
    const found = this.find(owner);
    if (!found.wallet) return found;
    const { limits } = found.row;
    const { market } = draft;
    const worst = larger(larger(draft.limitTicks, BigInt(market.mark_ticks)), BigInt(market.external_ticks));
    if (!limits.markets.includes(market.market)) return { why: `Your session key may not trade ${market.symbol}; the wallet signs.` };
    if (limits.isReduceOnly && !draft.isReduceOnly) return { why: "Your session key signs reduce-only orders alone; the wallet signs this one." };
    if (draft.sizeLots * worst > limits.maxNotionalQuote) {
      return { why: `Your session key signs orders up to ${formatQuote(limits.maxNotionalQuote)} USDC; this one is larger, the wallet signs it.` };
    }
    return found;
  }
}
