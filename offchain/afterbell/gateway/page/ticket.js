// The order form: exact numbers in, words of what is signed, and the order out.

import { inWords, postSigned } from "/page/api.js";
import { activate, byId, setText, showMessage, toast } from "/page/dom.js";
import {
  BadNumber,
  PPM,
  formatDay,
  formatPpm,
  formatPrice,
  formatQuote,
  formatScaled,
  formatSize,
  notional,
  parsePrice,
  parseSize,
  partOf,
  priceDecimals,
  shorten,
} from "/page/units.js";

const DAY_S = 86_400;
const LIFETIME_S = { GTC: 28 * DAY_S, IOC: DAY_S };
const MAX_LANE = 65_534;

export class Ticket {
  /** context: {venue, clock, wallet(), market(), bestBid(), bestAsk(), account(), openOrders()} */
  constructor(context) {
    this.context = context;
    this.isBuy = true;
    this.force = "GTC";
    this.isBusy = false;
    byId("side-buy").addEventListener("click", () => this.setSide(true));
    byId("side-sell").addEventListener("click", () => this.setSide(false));
    for (const button of byId("force-tabs").querySelectorAll("button")) {
      button.addEventListener("click", () => this.setForce(button.dataset.force));
    }
    for (const button of byId("quick-prices").querySelectorAll("button")) {
      button.addEventListener("click", () => this.fillPrice(button.dataset.price));
    }
    for (const button of byId("quick-sizes").querySelectorAll("button")) {
      button.addEventListener("click", () => this.fillSize(BigInt(button.dataset.part)));
    }
    for (const id of ["price", "size", "post-only", "reduce-only"]) {
      byId(id).addEventListener("input", () => this.refresh());
    }
    byId("ticket").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.refresh();
  }

  setSide(isBuy) {
    this.isBuy = isBuy;
    byId("side-buy").classList.toggle("active", isBuy);
    byId("side-sell").classList.toggle("active", !isBuy);
    this.refresh();
  }

  setForce(force) {
    this.force = force;
    activate(byId("force-tabs"), byId("force-tabs").querySelector(`[data-force="${force}"]`));
    byId("post-only").disabled = force === "IOC";
    if (force === "IOC") byId("post-only").checked = false;
    this.refresh();
  }

  setPrice(ticks) {
    const market = this.context.market();
    byId("price").value = formatPrice(ticks, market).replace(/,/g, "");
    this.refresh();
  }

  setSize(lots) {
    const market = this.context.market();
    byId("size").value = formatScaled(lots, market.lot_exponent, 0).replace(/,/g, "");
    this.refresh();
  }

  fillPrice(kind) {
    const market = this.context.market();
    const ticks = { bid: this.context.bestBid(), ask: this.context.bestAsk(), mark: market.mark_ticks }[kind];
    if (ticks) this.setPrice(BigInt(ticks));
  }

  /** Sets the size to a part of what free collateral carries at the price. Units: percent. */
  fillSize(percent) {
    const market = this.context.market();
    const account = this.context.account();
    if (!market?.rules || !account) return;
    let ticks;
    try {
      ticks = parsePrice(byId("price").value, market);
    } catch {
      ticks = BigInt(market.mark_ticks);
    }
    const free = BigInt(account.free_quote);
    const perLot = ticks * (BigInt(market.rules.initial_margin_ppm) + BigInt(market.rules.taker_fee_ppm));
    if (free <= 0n || perLot <= 0n) return;
    const lots = (free * percent * PPM) / (100n * perLot);
    const step = BigInt(market.rules.size_step_lots);
    this.setSize(lots - (lots % step));
  }

  /** Prefills the opposite of a position. */
  prefillClose(position) {
    const lots = BigInt(position.size_lots);
    this.setSide(lots < 0n);
    this.setForce("IOC");
    byId("reduce-only").checked = true;
    this.setSize(lots < 0n ? -lots : lots);
    const best = lots < 0n ? this.context.bestAsk() : this.context.bestBid();
    const market = this.context.market();
    this.setPrice(BigInt(best ?? market.mark_ticks));
    byId("submit").focus();
  }

  /** Reads the form. Throws BadNumber in words. */
  read() {
    const market = this.context.market();
    if (!market) throw new BadNumber("No market is chosen yet.");
    const limitTicks = parsePrice(byId("price").value, market);
    const sizeLots = parseSize(byId("size").value, market);
    const rules = market.rules;
    if (!rules) throw new BadNumber(`${market.symbol} cannot be traded in this session.`);
    const priceStep = BigInt(rules.price_step_ticks);
    const sizeStep = BigInt(rules.size_step_lots);
    if (limitTicks === 0n) throw new BadNumber("The price must be more than zero.");
    if (sizeLots === 0n) throw new BadNumber("The size must be more than zero.");
    if (limitTicks % priceStep) {
      throw new BadNumber(`The price must be a multiple of ${formatScaled(priceStep, priceDecimals(market), 2)} USD.`);
    }
    if (sizeLots % sizeStep) {
      throw new BadNumber(`The size must be a multiple of ${formatSize(sizeStep, market, 0)} shares.`);
    }
    const isReduceOnly = byId("reduce-only").checked;
    const minimum = BigInt(rules.min_notional_quote);
    if (!isReduceOnly && notional(sizeLots, limitTicks) < minimum) {
      throw new BadNumber(`The order must be worth at least ${formatQuote(minimum)} USDC.`);
    }
    return { market, rules, limitTicks, sizeLots, isReduceOnly, isPostOnly: byId("post-only").checked };
  }

  /** Shows what the form means now. */
  refresh() {
    const market = this.context.market();
    const button = byId("submit");
    button.className = `submit ${this.isBuy ? "buy" : "sell"}`;
    setText(button, `${this.isBuy ? "Buy" : "Sell"} ${market ? market.symbol : ""}`);
    button.disabled = this.isBusy || !this.context.wallet();
    let order;
    try {
      order = this.read();
    } catch (error) {
      if (!(error instanceof BadNumber)) throw error;
      for (const id of ["sum-notional", "sum-fee", "sum-margin"]) setText(byId(id), "–");
      const isUntouched = !byId("price").value && !byId("size").value;
      const hint = this.context.wallet()
        ? "Enter price and size. What you sign will stand here in words."
        : "Create a test wallet below to trade. What you sign will stand here in words.";
      setText(byId("signing"), isUntouched ? hint : error.message);
      return;
    }
    const worth = notional(order.sizeLots, order.limitTicks);
    setText(byId("sum-notional"), `${formatQuote(worth)} USDC`);
    setText(
      byId("sum-fee"),
      `${formatQuote(partOf(worth, order.rules.taker_fee_ppm), 4)} USDC (${formatPpm(order.rules.taker_fee_ppm)})`,
    );
    setText(
      byId("sum-margin"),
      order.isReduceOnly ? "none, it only reduces" : `${formatQuote(partOf(worth, order.rules.initial_margin_ppm))} USDC`,
    );
    setText(byId("signing"), this.describe(order));
  }

  describe(order) {
    const { venue, clock } = this.context;
    const until = formatDay((clock.nowS() + LIFETIME_S[this.force]) * 1000);
    const side = this.isBuy ? "buy" : "sell";
    const limit = this.isBuy ? "or less" : "or more";
    const manner =
      this.force === "IOC" ? "at once, what does not fill is cancelled" : `in the book until ${until} or until you cancel`;
    const extras = [
      order.isPostOnly ? "never as a taker" : "",
      order.isReduceOnly ? "only to make your position smaller" : "",
    ].filter(Boolean);
    return (
      `You sign: ${side} ${formatSize(order.sizeLots, order.market, 0)} shares of ${order.market.symbol} at ` +
      `${formatPrice(order.limitTicks, order.market)} USD ${limit}, ${manner}, ` +
      (extras.length ? extras.join(", ") + ", " : "") +
      `fee at most ${formatPpm(order.rules.taker_fee_ppm)}, on chain ${venue.chain_id} ` +
      `for contract ${shorten(venue.domain.verifying_contract)}.`
    );
  }

  /** Each resting order needs a lane of its own: the lowest nobody rests in. */
  freeLane() {
    const used = new Set(this.context.openOrders().map((order) => order.lane));
    for (let lane = 0; lane <= MAX_LANE; lane += 1) if (!used.has(lane)) return lane;
    throw new BadNumber("Every lane has a resting order; cancel some first.");
  }

  async submit() {
    if (this.isBusy) return;
    const { clock } = this.context;
    const wallet = this.context.wallet();
    this.isBusy = true;
    showMessage(byId("ticket-error"), "");
    try {
      const order = this.read();
      const body = await wallet.signer.buildOrder(
        {
          market: order.market.market,
          epoch: order.market.epoch,
          isBuy: this.isBuy,
          sizeLots: order.sizeLots,
          limitTicks: order.limitTicks,
          maxFeePpm: order.rules.taker_fee_ppm,
          expiry: clock.nowS() + LIFETIME_S[this.force],
          lane: this.freeLane(),
          reduceOnly: order.isReduceOnly,
          postOnly: order.isPostOnly,
          timeInForce: this.force,
        },
        clock.nowMs(),
      );
      const placed = await postSigned("/v1/orders", body);
      this.announce(placed, order.market);
    } catch (error) {
      showMessage(byId("ticket-error"), inWords(error));
    } finally {
      this.isBusy = false;
      this.refresh();
    }
  }

  announce(placed, market) {
    const side = placed.is_buy ? "Bought" : "Sold";
    const filled = BigInt(placed.filled_lots);
    if (filled > 0n) {
      const worth = placed.fills.reduce((sum, fill) => sum + BigInt(fill.notional_quote), 0n);
      const average = (worth + filled / 2n) / filled;
      const rest = placed.status === "OPEN" ? `, ${formatSize(placed.remaining_lots, market)} rest in the book` : "";
      toast(
        `${side} ${formatSize(filled, market)} ${market.symbol}`,
        `average ${formatPrice(average, market)} USD${rest}`,
        "good",
      );
    } else if (placed.status === "OPEN") {
      toast("Order in the book", `${formatSize(placed.remaining_lots, market)} ${market.symbol} at ${formatPrice(placed.limit_ticks, market)} USD`);
    } else {
      toast("Nothing filled", placed.reason === "IOC" ? "nobody was on the other side at this price" : String(placed.reason));
    }
  }
}
