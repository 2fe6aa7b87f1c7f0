// Keep the order book from its snapshot and deltas, and draw book and trades.

import { activate, byId, el } from "/page/dom.js";
import { formatPpm, formatPrice, formatSize, formatTime, larger } from "/page/units.js";

const LEVEL_HEIGHT = 19;
const MAX_TRADES = 60;

class Side {
  constructor(isBid) {
    this.isBid = isBid;
    this.levels = new Map();
  }

  adopt(changes) {
    for (const [priceTicks, sizeLots, nOrders] of changes) {
      if (sizeLots === 0) this.levels.delete(priceTicks);
      else this.levels.set(priceTicks, { priceTicks, sizeLots, nOrders });
    }
  }

  best(n) {
    const sorted = [...this.levels.values()].sort((left, right) => left.priceTicks - right.priceTicks);
    return this.isBid ? sorted.reverse().slice(0, n) : sorted.slice(0, n);
  }
}

export class Book {
  constructor(onPrice) {
    this.onPrice = onPrice;
    this.market = null;
    this.ownPrices = new Set();
    this.isDue = false;
    this.trades = [];
    this.clear();
    for (const button of byId("book-tabs").querySelectorAll("button")) {
      button.addEventListener("click", () => {
        activate(byId("book-tabs"), button);
        const target = button.dataset.tab === "trades" ? byId("tape") : byId("book");
        target.scrollIntoView({ block: "nearest" });
        byId("book").style.flexGrow = button.dataset.tab === "trades" ? 0.4 : "";
        byId("tape").style.flexGrow = button.dataset.tab === "trades" ? 2 : "";
        this.draw();
      });
    }
    new ResizeObserver(() => this.schedule()).observe(byId("asks"));
  }

  show(market) {
    this.market = market;
    this.trades = [];
    this.clear();
    this.draw();
    this.drawTrades();
  }

  clear() {
    this.bids = new Side(true);
    this.asks = new Side(false);
  }

  adopt(book, kind) {
    if (kind === "snapshot") this.clear();
    this.bids.adopt(book.bids);
    this.asks.adopt(book.asks);
    this.schedule();
  }

  adoptTrades(trades, kind) {
    this.trades = (kind === "snapshot" ? trades : [...trades, ...this.trades]).slice(0, MAX_TRADES);
    this.drawTrades();
  }

  bestBid() {
    return this.bids.best(1)[0]?.priceTicks ?? null;
  }

  bestAsk() {
    return this.asks.best(1)[0]?.priceTicks ?? null;
  }

  /** Draws at most once a frame, whatever arrives. */
  schedule() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  draw() {
    if (!this.market) return;
    const nRows = Math.max(3, Math.floor(byId("asks").clientHeight / LEVEL_HEIGHT));
    const asks = this.asks.best(nRows);
    const bids = this.bids.best(nRows);
    const total = (levels) => levels.reduce((sum, level) => sum + BigInt(level.sizeLots), 0n);
    const deepest = larger(larger(total(asks), total(bids)), 1n);
    this.drawSide(byId("asks"), asks, deepest, true);
    this.drawSide(byId("bids"), bids, deepest, false);
    this.drawSpread(bids[0], asks[0]);
  }

  drawSide(parent, levels, deepest, isAsk) {
    let sum = 0n;
    const rows = levels.map((level) => {
      sum += BigInt(level.sizeLots);
      const row = el(
        "div",
        {
          class: "row level" + (this.ownPrices.has(level.priceTicks) ? " own" : ""),
          "data-testid": isAsk ? "ask" : "bid",
          title: `${level.nOrders} order${level.nOrders === 1 ? "" : "s"}`,
        },
        el("span", {}, formatPrice(level.priceTicks, this.market)),
        el("span", {}, formatSize(level.sizeLots, this.market)),
        el("span", {}, formatSize(sum, this.market)),
      );
      row.style.setProperty("--depth", `${Number((sum * 1000n) / deepest) / 10}%`);
      row.addEventListener("click", () => this.onPrice(BigInt(level.priceTicks)));
      return row;
    });
    if (isAsk) rows.reverse();
    if (!rows.length) rows.push(el("div", { class: "empty" }, isAsk ? "Nobody sells" : "Nobody buys"));
    parent.replaceChildren(...rows);
  }

  drawSpread(bid, ask) {
    const node = byId("spread");
    if (!bid || !ask) {
      node.replaceChildren(el("span", {}, "Spread"), el("span", {}, "–"));
      return;
    }
    const spread = ask.priceTicks - bid.priceTicks;
    const ppm = (BigInt(spread) * 1_000_000n) / BigInt(ask.priceTicks);
    node.replaceChildren(
      el("span", {}, "Spread"),
      el("b", {}, formatPrice(spread, this.market)),
      el("span", {}, formatPpm(ppm, 3)),
    );
  }

  drawTrades() {
    if (!this.market) return;
    const rows = this.trades.map((trade) =>
      el(
        "div",
        { class: `row ${trade.taker_is_buy ? "buy" : "sell"}`, "data-testid": "trade" },
        el("span", {}, formatPrice(trade.price_ticks, this.market)),
        el("span", {}, formatSize(trade.size_lots, this.market)),
        el("span", {}, formatTime(trade.time_ms)),
      ),
    );
    byId("trades").replaceChildren(...(rows.length ? rows : [el("div", { class: "empty" }, "No trade yet")]));
  }

  /** Marks the prices of own orders. */
  showOwn(prices) {
    this.ownPrices = prices;
    this.schedule();
  }
}

