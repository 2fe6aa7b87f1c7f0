// Keep the order book from its snapshot and deltas, and draw book and trades. Rows are reused, so nothing flickers.

import { byId, el, updateRows, wireTabs } from "/page/dom.js";
import { formatPpm, formatPrice, formatSize, formatTime, larger } from "/page/units.js";

const LEVEL_HEIGHT = 19;
const MAX_TRADES = 60;

class Side {
  constructor(isBid) {
    this.isBid = isBid;
    this.levels = new Map();
    this.sorted = null;
  }

  adopt(changes) {
    for (const [priceTicks, sizeLots, nOrders] of changes) {
      if (sizeLots === 0) this.levels.delete(priceTicks);
      else this.levels.set(priceTicks, { priceTicks, sizeLots, nOrders });
    }
    if (changes.length) this.sorted = null;
  }

  /** All levels, the best first. */
  all() {
    if (this.sorted) return this.sorted;
    const direction = this.isBid ? -1 : 1;
    this.sorted = [...this.levels.values()].sort((left, right) => direction * (left.priceTicks - right.priceTicks));
    return this.sorted;
  }
}

export class Book {
  /** onPrice(ticks) when a person takes a price; onChange() when the best prices moved. */
  constructor(onPrice, onChange) {
    this.onPrice = onPrice;
    this.onChange = onChange;
    this.market = null;
    this.ownPrices = new Set();
    this.isDue = false;
    this.trades = [];
    this.clear();
    wireTabs(byId("book-tabs"), (button) => {
      byId("book-panel").classList.toggle("tape-first", button.dataset.tab === "trades");
      this.schedule();
    });
    byId("book").addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.schedule()).observe(byId("asks"));
  }

  show(market) {
    this.market = market;
    this.trades = [];
    this.chosen = null;
    this.clear();
    this.draw();
    this.drawTrades();
  }

  clear() {
    this.bids = new Side(true);
    this.asks = new Side(false);
  }

  levels() {
    return { bids: this.bids.all(), asks: this.asks.all() };
  }

  /** Returns the levels, for the stream to check. */
  adopt(book, kind) {
    if (kind === "snapshot") this.clear();
    this.bids.adopt(book.bids);
    this.asks.adopt(book.asks);
    this.schedule();
    return this.levels();
  }

  adoptTrades(trades, kind) {
    this.trades = (kind === "snapshot" ? trades : [...trades, ...this.trades]).slice(0, MAX_TRADES);
    this.drawTrades();
  }

  bestBid() {
    return this.bids.all()[0]?.priceTicks ?? null;
  }

  bestAsk() {
    return this.asks.all()[0]?.priceTicks ?? null;
  }

  /** Draws at most once a frame, whatever arrives. */
  schedule() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
      this.onChange();
    });
  }

  draw() {
    if (!this.market) return;
    const nRows = Math.max(3, Math.floor(byId("asks").clientHeight / LEVEL_HEIGHT));
    this.shownAsks = this.asks.all().slice(0, nRows);
    this.shownBids = this.bids.all().slice(0, nRows);
    const total = (levels) => levels.reduce((sum, level) => sum + BigInt(level.sizeLots), 0n);
    const deepest = larger(larger(total(this.shownAsks), total(this.shownBids)), 1n);
    this.drawSide(byId("asks"), this.shownAsks, deepest, true);
    this.drawSide(byId("bids"), this.shownBids, deepest, false);
    this.drawSpread(this.shownBids[0], this.shownAsks[0]);
  }

  drawSide(parent, levels, deepest, isAsk) {
    let sum = 0n;
    const rows = levels.map((level) => {
      sum += BigInt(level.sizeLots);
      return { ...level, sum, depth: `${Number((sum * 1000n) / deepest) / 10}%` };
    });
    if (isAsk) rows.reverse();
    if (!rows.length) rows.push({ priceTicks: null });
    updateRows(parent, rows, {
      key: (row) => row.priceTicks,
      print: (row) => [row, this.ownPrices.has(row.priceTicks), this.chosen === row.priceTicks, this.market.symbol],
      build: (row) => (row.priceTicks === null ? el("div", { class: "empty" }, isAsk ? "Nobody sells" : "Nobody buys") : this.buildLevel(row, isAsk)),
    });
  }

  buildLevel(row, isAsk) {
    const price = formatPrice(row.priceTicks, this.market);
    const isOwn = this.ownPrices.has(row.priceTicks);
    const node = el(
      "div",
      {
        class: `row level${isOwn ? " own" : ""}${this.chosen === row.priceTicks ? " chosen" : ""}`,
        "data-testid": isAsk ? "ask" : "bid",
        title: `${row.nOrders} order${row.nOrders === 1 ? "" : "s"}${isOwn ? ", yours among them" : ""}`,
        onclick: () => this.onPrice(BigInt(row.priceTicks)),
      },
      el("span", {}, price),
      el("span", {}, formatSize(row.sizeLots, this.market)),
      el("span", {}, formatSize(row.sum, this.market)),
    );
    node.style.setProperty("--depth", row.depth);
    return node;
  }

  /** Arrow keys choose a level, Enter takes its price. */
  move(event) {
    const shown = [...[...(this.shownAsks ?? [])].reverse(), ...(this.shownBids ?? [])];
    if (!shown.length) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const at = shown.findIndex((level) => level.priceTicks === this.chosen);
    if (step) {
      event.preventDefault();
      const start = this.shownAsks.length - (step > 0 ? 1 : 0);
      const next = at < 0 ? start : at + step;
      this.chosen = shown[Math.max(0, Math.min(shown.length - 1, next))].priceTicks;
      byId("book-chosen").textContent = `${formatPrice(this.chosen, this.market)} USD`;
      this.draw();
    }
    if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      this.onPrice(BigInt(this.chosen));
    }
  }

  drawSpread(bid, ask) {
    const node = byId("spread");
    if (!bid || !ask) {
      node.replaceChildren(el("span", {}, "Spread"), el("span", {}, "–"));
      return;
    }
    const spread = ask.priceTicks - bid.priceTicks;
    const ppm = (BigInt(spread) * 1_000_000n) / BigInt(ask.priceTicks);
    node.replaceChildren(el("span", {}, "Spread"), el("b", {}, formatPrice(spread, this.market)), el("span", {}, formatPpm(ppm, 3)));
  }

  drawTrades() {
    if (!this.market) return;
    const rows = this.trades.length ? this.trades : [null];
    updateRows(byId("trades"), rows, {
      key: (trade) => trade?.fill_id ?? "none",
      print: (trade) => [trade, this.market.symbol],
      build: (trade) =>
        trade === null
          ? el("div", { class: "empty" }, "No trade yet")
          : el(
              "div",
              { class: `row ${trade.taker_is_buy ? "buy" : "sell"}`, "data-testid": "trade" },
              el("span", {}, formatPrice(trade.price_ticks, this.market)),
              el("span", {}, formatSize(trade.size_lots, this.market)),
              el("span", {}, formatTime(trade.time_ms)),
            ),
    });
  }

  /** Marks the prices of own orders. */
  showOwn(prices) {
    this.ownPrices = prices;
    this.schedule();
  }
}
