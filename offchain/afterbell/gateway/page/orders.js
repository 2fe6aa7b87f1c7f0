// Send signed orders, amends and cancels, and say what came of them. Must not: read the form or draw tables.

import { inWords, postSigned } from "/page/api.js";
import { toast } from "/page/dom.js";
import { freeLane } from "/page/order_form.js";
import { OPERATIONS } from "/page/chain.js";
import { describeEnd, describeOrder, orderLines } from "/page/words.js";
import { formatPrice, formatSize } from "/page/units.js";
import { Abandoned } from "/page/wallet_errors.js";

const LANE_REST_MS = 10_000;

export class Orders {
  /** context: {signer, keys, chain, builder(), account, owner(), marketOf(symbol)} */
  constructor(context) {
    this.context = context;
    this.takenAt = new Map();
  }

  /** A lane just used may hold an order the stream has not shown yet: a second one there would replace it. */
  lane() {
    const now = performance.now();
    for (const [lane, takenAt] of this.takenAt) if (now - takenAt > LANE_REST_MS) this.takenAt.delete(lane);
    return freeLane(this.context.account.liveOrders(), this.takenAt.keys());
  }

  /** The message a leg would be signed as now; the lane is the lowest free one. */
  draftMessage(leg, nonce = null) {
    const builder = this.context.builder();
    return builder.order(leg, nonce ?? builder.orderNonce(this.lane()));
  }

  /** Signs and places one leg, or the two of an OCO under one nonce: both are signed before the first is sent. */
  async place(legs) {
    const lane = this.lane();
    this.takenAt.set(lane, performance.now());
    const nonce = this.context.builder().orderNonce(lane);
    const requests = [];
    for (const [index, leg] of legs.entries()) {
      const part = legs.length > 1 ? ` (${index + 1} of ${legs.length})` : "";
      requests.push(await this.signLeg(leg, nonce, `Sign an order${part}`));
    }
    if (requests.length === 1) {
      const placed = await postSigned("/v1/orders", requests[0]);
      this.announce(placed, legs[0].market);
      return [placed];
    }
    return this.placePair(requests, legs[0].market);
  }

  signLeg(leg, nonce, title) {
    const { signer, keys, owner } = this.context;
    return signer.byKeyOrOwner(this.draftMessage(leg, nonce), keys.findFor(owner(), leg), {
      title,
      lines: orderLines(leg),
      what: "sign the order",
    });
  }

  /** Half an OCO is worse than none: if the second leg is refused, the first is taken back. */
  async placePair(requests, market) {
    const { results } = await postSigned("/v1/orders/batch", { items: requests.map((place) => ({ place })) });
    const refused = results.find((result) => result.error);
    if (refused) {
      const placed = results.find((result) => result.result);
      if (placed) await this.cancel(placed.result, { isQuiet: true });
      throw new Error(
        `${refused.error.message}${refused.error.action ? ` – ${refused.error.action}` : ""} (${refused.error.code}). ` +
          (placed ? "The other half was taken back; nothing of the pair is left." : "Nothing of the pair was placed."),
      );
    }
    toast("Pair placed", `${market.symbol}: when one fills, the other ends.`, "good");
    return results.map((result) => result.result);
  }

  /** Replaces a live order: same lane, higher seq, refused if it has filled meanwhile. */
  async amend(order, leg) {
    const builder = this.context.builder();
    this.takenAt.set(order.lane, performance.now());
    const request = await this.signLeg(leg, builder.orderNonce(order.lane), "Sign the changed order");
    const placed = await postSigned("/v1/orders/amend", { order_id: order.order_id, filled_lots: order.filled_lots, ...request });
    this.announce(placed, leg.market, "Order changed");
  }

  async cancel(order, { isQuiet = false } = {}) {
    const { signer, keys, builder, owner } = this.context;
    const market = this.context.marketOf(order.symbol);
    const words = `${order.is_buy ? "buy" : "sell"} ${formatSize(order.remaining_lots, market, 0)} ${order.symbol} at ${formatPrice(order.limit_ticks, market)} USD`;
    const request = await signer.byKeyOrOwner(builder().cancel(order.nonce), keys.find(owner()), {
      title: "Sign a cancel",
      lines: [["You cancel", words]],
      what: "sign the cancel",
    });
    await postSigned("/v1/orders/cancel", request);
    if (!isQuiet) toast("Order cancelled");
  }

  async cancelAll() {
    const { signer, keys, builder, owner } = this.context;
    const request = await signer.byKeyOrOwner(builder().cancelAll(), keys.find(owner()), {
      title: "Sign a cancel of all orders",
      lines: [["You cancel", "every order signed before now, open or waiting, in every market"]],
      what: "sign the cancel",
    });
    const answer = await postSigned("/v1/orders/cancel-all", request);
    toast(`${answer.order_ids.length} orders cancelled`);
  }

  /** The same without the venue's help: a transaction of the owner's own. */
  async cancelAllOnChain() {
    const { signer, builder, chain, account } = this.context;
    const minSeq = builder().nextSeq();
    const hash = await signer.send(chain.transaction("operations", OPERATIONS, "cancel_all", 0n, minSeq), {
      title: "Cancel all orders on chain",
      lines: [
        ["You cancel", "every order signed before now, open or waiting, in every market"],
        ["How", "a transaction of your own; the contract enforces it five minutes after it is mined, whatever the venue does"],
      ],
      what: "cancel all orders on chain",
    });
    toast("Cancel on its way", `transaction ${hash}`);
    await chain.mustBeMined(hash);
    toast("Cancel-all mined", "The venue drops your orders as soon as it reads the block.", "good");
    account.refresh();
  }

  announce(placed, market, title = null) {
    const filled = BigInt(placed.filled_lots);
    const rest = `${formatSize(placed.remaining_lots, market)} ${market.symbol} at ${formatPrice(placed.limit_ticks, market)} USD`;
    if (filled > 0n && placed.fills.length) {
      const worth = placed.fills.reduce((sum, fill) => sum + BigInt(fill.notional_quote), 0n);
      const bought = placed.fills.reduce((sum, fill) => sum + BigInt(fill.size_lots), 0n);
      const average = (worth + bought / 2n) / bought;
      const left = placed.status === "OPEN" ? `, ${formatSize(placed.remaining_lots, market)} rest in the book` : "";
      toast(`${placed.is_buy ? "Bought" : "Sold"} ${formatSize(filled, market)} ${market.symbol}`, `average ${formatPrice(average, market)} USD${left}`, "good");
    } else if (placed.status === "WAITING") {
      toast(title ?? "Order waits for its trigger", rest);
    } else if (placed.status === "OPEN") {
      toast(title ?? "Order in the book", rest);
    } else {
      toast("Nothing filled", describeEnd(placed, market));
    }
  }
}

/** Runs an action of a button; a closed question is no failure. */
export async function runQuietly(title, action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Abandoned)) toast(title, inWords(error), "bad");
  }
}

export const describeLegs = (legs) => legs.map(describeOrder);
