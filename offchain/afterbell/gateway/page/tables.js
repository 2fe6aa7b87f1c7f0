// The tables below the chart: positions, live orders, history, fills, transfers, keys, batches. Rows keep their nodes as
// long as they say the same. Must not: send anything; buttons call what the page hands in.

import { byId, el, hashButton, setText, updateRows, wireTabs } from "/page/dom.js";
import { LIFE, buildLife } from "/page/fill_life.js";
import { ORDER_STATUS, describeEnd, describeReason, triggerWords } from "/page/words.js";
import { formatMoment, formatPrice, formatQuote, formatSignedQuote, formatSize, shorten } from "/page/units.js";

const DRAW_MS = 100;
const cell = (label, content, kind = "", title = null) => el("td", { class: kind, title, "data-label": label }, content);
const button = (testid, text, onclick, label = null) => el("button", { class: "ghost", type: "button", "data-testid": testid, "aria-label": label, onclick }, text);

const TRANSFER_WORDS = {
  credited: ["good", "credited to the account"],
  accepted: ["warn", "accepted, waits for its batch"],
  sealed: ["warn", "in a sealed batch"],
  submitted: ["warn", "batch sent to the chain"],
  mined: ["calm", "mined"],
  claimable: ["calm", "waits in the vault: claim it"],
  paid: ["good", "paid to your wallet"],
  final: ["good", "final"],
  rejected: ["bad", "refused"],
};
const TRANSFER_KINDS = {
  deposit: "Deposit",
  withdrawal: "Withdrawal",
  sent: "To another subaccount",
  received: "From another subaccount",
  exit: "Withdrawal on chain",
};
const KEY_KINDS = { active: "good", linking: "warn", expired: "", revoked: "bad", rejected: "bad" };

export class Tables {
  /** context: {account, keys, clock, fillLife, wallet(), marketOf(symbol), symbols(), onClose(position), onCancel(order),
   *  onAmend(order), onRevoke(row)} */
  constructor(context) {
    this.context = context;
    this.table = "positions";
    this.isDue = false;
    wireTabs(byId("table-tabs"), (tab) => this.choose(tab.dataset.table));
    byId("more").addEventListener("click", () => this.readOlder());
    context.account.onChange(() => this.schedule());
  }

  choose(table) {
    this.table = table;
    this.draw();
  }

  /** Draws at most every 100 ms, whatever arrives. */
  schedule() {
    if (this.isDue) return;
    this.isDue = true;
    setTimeout(() => {
      this.isDue = false;
      this.draw();
    }, DRAW_MS);
  }

  async readOlder() {
    byId("more").disabled = true;
    try {
      await this.context.account.readOlder(this.historyName());
    } finally {
      byId("more").disabled = false;
    }
  }

  historyName() {
    return { history: "orders", fills: "fills", transfers: "transfers" }[this.table] ?? null;
  }

  draw() {
    const { account } = this.context;
    const count = (id, n) => setText(byId(id), n ? String(n) : "");
    count("n-positions", account.positions().length);
    count("n-orders", account.orders.size);
    byId("cancel-all").hidden = this.table !== "orders" || !account.orders.size;
    byId("cancel-all-on-chain").hidden = byId("cancel-all").hidden;
    const name = this.historyName();
    byId("more").hidden = !name || account.histories[name].nextBefore === null;
    const view = this.views()[this.table];
    this.show(view);
  }

  show({ name, heads, rows, nothing, key, print, build }) {
    let table = byId("tables").querySelector(`table[data-testid="${name}"]`);
    if (!rows.length) {
      const empty = byId("tables").firstElementChild;
      if (empty?.dataset.testid === `${name}-empty` && empty.textContent === nothing) return;
      byId("tables").replaceChildren(el("div", { class: "empty", "data-testid": `${name}-empty` }, nothing));
      return;
    }
    if (!table) {
      const head = heads.map((text) => el("th", { scope: "col", class: text.startsWith(">") ? "num" : "" }, text.replace(">", "")));
      table = el("table", { "data-testid": name }, el("thead", {}, el("tr", {}, ...head)), el("tbody"));
      byId("tables").replaceChildren(table);
    }
    updateRows(table.tBodies[0], rows, { key, print, build });
  }

  views() {
    const { account, keys } = this.context;
    const hasWallet = Boolean(this.context.wallet());
    const nobody = "Connect a wallet to see yours";
    return {
      positions: {
        name: "positions",
        heads: ["Market", "Size", ">Entry", ">Mark", ">Notional (USDC)", ">Unrealised PnL", ">Margin", ">Liquidation", ">"],
        rows: account.positions(),
        nothing: hasWallet ? "No open position" : nobody,
        key: (row) => row.symbol,
        print: (row) => row,
        build: (row) => this.buildPosition(row),
      },
      orders: {
        name: "orders",
        heads: ["Placed", "Market", "Side", ">Price", "Trigger", ">Filled / size", ">Worth (USDC)", "Terms", ">"],
        rows: account.liveOrders().sort((left, right) => (right.placed_at_ms ?? 0) - (left.placed_at_ms ?? 0)),
        nothing: hasWallet ? "No open or waiting order" : nobody,
        key: (row) => row.order_id,
        print: (row) => row,
        build: (row) => this.buildOrder(row),
      },
      history: {
        name: "history",
        heads: ["Placed", "Market", "Side", ">Price", "Trigger", ">Filled / size", "Terms", "What became of it", "Order id"],
        rows: account.histories.orders.newestFirst(),
        nothing: hasWallet ? "No order yet" : nobody,
        key: (row) => row.order_id,
        print: (row) => row,
        build: (row) => this.buildPast(row),
      },
      fills: {
        name: "fills",
        heads: ["Time", "Market", "Side", "Role", ">Price", ">Size", ">Notional", ">Fee", "Life", "Transaction"],
        rows: account.histories.fills.newestFirst(),
        nothing: hasWallet ? "No fill yet" : nobody,
        key: (row) => `${row.fill_id}.${row.role}`,
        print: (row) => row,
        build: (row) => this.buildFill(row),
      },
      transfers: {
        name: "transfers",
        heads: ["Time", "Kind", ">Sum (USDC)", "Status", ">Batch", ">Block", "Transaction", "Claim transaction"],
        rows: account.histories.transfers.newestFirst(),
        nothing: hasWallet ? "No deposit or withdrawal yet" : nobody,
        key: (row) => row.transfer_id,
        print: (row) => row,
        build: (row) => this.buildTransfer(row),
      },
      keys: {
        name: "keys",
        heads: ["Key", "Status", "Markets", ">Each order (USDC)", "Limits", "Ends", "Transaction", ">"],
        rows: keys.rows,
        nothing: hasWallet ? "No session key: orders are signed by your wallet" : nobody,
        key: (row) => row.key,
        print: (row) => [row, keys.ownRow(account.owner)?.key],
        build: (row) => this.buildKey(row),
      },
      batches: {
        name: "batches",
        heads: ["Batch", "Matched at", ">Fills", ">Operations", ">Failures", ">Gas", ">Block", "Life", "Transaction"],
        rows: [...account.batches.values()].sort((left, right) => right.sequence - left.sequence).slice(0, 60),
        nothing: "No batch yet",
        key: (row) => row.sequence,
        print: (row) => row,
        build: (row) => this.buildBatch(row),
      },
    };
  }

  buildPosition(row) {
    const market = this.context.marketOf(row.symbol);
    const pnl = BigInt(row.unrealised_pnl_quote);
    const isLong = row.size_lots > 0;
    const liquidation = row.liquidation_price_ticks;
    return el(
      "tr",
      { "data-testid": "position" },
      cell("Market", row.symbol),
      cell("Size", `${isLong ? "Long" : "Short"} ${formatSize(isLong ? row.size_lots : -row.size_lots, market)}`, isLong ? "up" : "down"),
      cell("Entry", formatPrice(row.entry_ticks, market), "num"),
      cell("Mark", formatPrice(row.mark_ticks, market), "num"),
      cell("Notional", formatQuote(BigInt(row.notional_quote)), "num"),
      cell("Unrealised PnL", formatSignedQuote(pnl), pnl >= 0n ? "num up" : "num down", "valued at the worse of mark and external, fees included"),
      cell("Margin", formatQuote(BigInt(row.initial_margin_quote)), "num"),
      cell("Liquidation", liquidation === null ? "none" : formatPrice(liquidation, market), "num", "mark below or above which the position may be liquidated, others unchanged"),
      el("td", { class: "num" }, button("close-position", "Close…", () => this.context.onClose(row), `Close ${row.symbol} position`)),
    );
  }

  orderCells(row) {
    const market = this.context.marketOf(row.symbol);
    const terms = [row.time_in_force, row.post_only ? "post-only" : "", row.reduce_only ? "reduce-only" : ""].filter(Boolean).join(", ");
    return {
      placed: cell("Placed", row.placed_at_ms ? formatMoment(row.placed_at_ms) : "", "muted"),
      symbol: cell("Market", row.symbol ?? ""),
      side: cell("Side", row.is_buy ? "Buy" : "Sell", row.is_buy ? "up" : "down"),
      price: cell("Price", formatPrice(row.limit_ticks, market), "num"),
      trigger: cell("Trigger", triggerWords(row.trigger_kind ?? 0, row.trigger_ticks ?? 0, market) || "–", "muted"),
      filled: cell("Filled / size", `${formatSize(row.filled_lots, market)} / ${formatSize(row.size_lots, market)}`, "num"),
      worth: cell("Worth", formatQuote(BigInt(row.size_lots) * BigInt(row.limit_ticks)), "num"),
      terms: cell("Terms", `${row.status === "WAITING" ? "waiting, " : ""}${terms}`, "muted"),
    };
  }

  buildOrder(row) {
    const cells = this.orderCells(row);
    const what = `${row.is_buy ? "buy" : "sell"} ${row.symbol}`;
    return el(
      "tr",
      { "data-testid": "order", "data-status": row.status },
      cells.placed, cells.symbol, cells.side, cells.price, cells.trigger, cells.filled, cells.worth, cells.terms,
      el(
        "td",
        { class: "num" },
        button("amend-order", "Change…", () => this.context.onAmend(row), `Change order to ${what}`),
        " ",
        button("cancel-order", "Cancel", () => this.context.onCancel(row), `Cancel order to ${what}`),
      ),
    );
  }

  buildPast(row) {
    const cells = this.orderCells(row);
    const market = this.context.marketOf(row.symbol);
    const isLive = row.status === "OPEN" || row.status === "WAITING";
    return el(
      "tr",
      { "data-testid": "past-order", "data-status": row.status },
      cells.placed, cells.symbol, cells.side, cells.price, cells.trigger, cells.filled, cells.terms,
      cell("What became of it", isLive ? ORDER_STATUS[row.status] : describeEnd(row, market)),
      cell("Order id", hashButton(row.order_id, "Order id")),
    );
  }

  buildFill(row) {
    const market = this.context.marketOf(row.symbol);
    const show = () => this.context.fillLife.show(row);
    return el(
      "tr",
      { class: "clickable", "data-testid": "fill", "data-status": row.status, onclick: show },
      cell("Time", formatMoment(row.time_ms), "muted"),
      cell("Market", row.symbol),
      cell("Side", row.is_buy ? "Buy" : "Sell", row.is_buy ? "up" : "down"),
      cell("Role", row.role, "muted"),
      cell("Price", formatPrice(row.price_ticks, market), "num"),
      cell("Size", formatSize(row.size_lots, market), "num"),
      cell("Notional", formatQuote(BigInt(row.notional_quote)), "num"),
      cell("Fee", formatQuote(BigInt(row.fee_quote), 4), "num"),
      cell("Life", el("button", { class: "plain", type: "button", "data-testid": "show-life", "aria-label": `${row.status}: show the life of this fill` }, buildLife(row.status)), "", row.code ? describeReason(row.code) : null),
      cell("Transaction", hashButton(row.transaction)),
    );
  }

  buildTransfer(row) {
    const isIncoming = row.kind === "deposit" || row.kind === "received";
    const [kind, words] = TRANSFER_WORDS[row.status] ?? ["warn", row.status];
    return el(
      "tr",
      { "data-testid": "transfer", "data-kind": row.kind, "data-status": row.status },
      cell("Time", formatMoment(row.time_ms), "muted"),
      cell("Kind", TRANSFER_KINDS[row.kind] ?? row.kind),
      cell("Sum", `${isIncoming ? "+" : "−"}${formatQuote(BigInt(row.quote))}`, `num ${isIncoming ? "up" : ""}`),
      cell("Status", el("span", { class: `badge ${kind}` }, row.code ? `${words}: ${describeReason(row.code)}` : words)),
      cell("Batch", row.sequence === null ? "–" : String(row.sequence), "num muted"),
      cell("Block", row.block === null ? "–" : String(row.block), "num muted"),
      cell("Transaction", hashButton(row.transaction)),
      cell("Claim transaction", hashButton(row.paid_transaction)),
    );
  }

  buildKey(row) {
    const { limits } = row;
    const isOwn = this.context.keys.ownRow(this.context.account.owner)?.key === row.key;
    const isDead = row.status === "revoked" || row.status === "rejected";
    const symbols = this.context.symbols();
    const names = limits.markets.map((market) => symbols.get(market) ?? String(market)).join(", ");
    const terms = [limits.isTradeOnly ? "trade only" : "may withdraw to you", limits.isReduceOnly ? "reduce-only" : ""].filter(Boolean).join(", ");
    return el(
      "tr",
      { "data-testid": "key", "data-status": row.status },
      cell("Key", el("span", {}, shorten(row.key, 8, 6), isOwn ? el("span", { class: "badge calm" }, "this browser") : null), "", row.key),
      cell("Status", el("span", { class: `badge ${KEY_KINDS[row.status] ?? ""}`, title: row.why }, row.why ? `${row.status}: ${row.why}` : row.status)),
      cell("Markets", isDead ? "–" : names),
      cell("Each order", isDead ? "–" : formatQuote(limits.maxNotionalQuote), "num"),
      cell("Limits", isDead ? "–" : terms, "muted"),
      cell("Ends", limits.keyExpiryS ? formatMoment(limits.keyExpiryS * 1000) : "–", "muted"),
      cell("Transaction", hashButton(row.transaction)),
      el("td", { class: "num" }, isDead ? "" : button("revoke-key", "Revoke…", () => this.context.onRevoke(row), `Revoke key ${row.key}`)),
    );
  }

  buildBatch(row) {
    return el(
      "tr",
      { "data-testid": "batch", "data-status": row.status },
      cell("Batch", String(row.sequence)),
      cell("Matched at", formatMoment(row.matched_at_s * 1000), "muted"),
      cell("Fills", String(row.n_fills), "num"),
      cell("Operations", String(row.n_operations), "num"),
      cell("Failures", String(row.n_failures), row.n_failures ? "num down" : "num muted"),
      cell("Gas", row.gas_used === null ? "–" : row.gas_used.toLocaleString("en-US"), "num"),
      cell("Block", row.block === null ? "–" : String(row.block), "num"),
      cell("Life", buildLife(LIFE.includes(row.status) ? row.status : "sealed")),
      cell("Transaction", hashButton(row.transaction)),
    );
  }
}
