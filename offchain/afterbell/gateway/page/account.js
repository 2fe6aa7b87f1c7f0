// What an account has and did: money, positions, orders, fills with their life, transfers; and the batches of everybody.

import { get, inWords, postSigned } from "/page/api.js";
import { activate, byId, el, setText, showMessage, toast } from "/page/dom.js";
import {
  BadNumber,
  formatMoment,
  formatPrice,
  formatQuote,
  formatScaled,
  formatSignedQuote,
  formatSize,
  formatTime,
  parseQuote,
  shorten,
} from "/page/units.js";

const LIFE = ["matched", "submitted", "mined", "final"];
const OPERATION_LIFETIME_S = 86_400;
const HISTORY = 100;

const cell = (text, kind = "", title = null) => el("td", { class: kind, title }, text);

export class Account {
  /** context: {venue, clock, wallet(), marketOf(symbol), onMoney(), onOrders(), onClose(position)} */
  constructor(context) {
    this.context = context;
    this.money = null;
    this.orders = new Map();
    this.fills = new Map();
    this.transfers = [];
    this.batches = new Map();
    this.table = "positions";
    this.transferKind = "deposit";
    this.claimQuote = 0n;
    this.usdcQuote = null;
    this.isBusy = false;
    this.isDue = false;
    for (const button of byId("table-tabs").querySelectorAll("button")) {
      button.addEventListener("click", () => {
        activate(byId("table-tabs"), button);
        this.table = button.dataset.table;
        this.draw();
      });
    }
    for (const button of byId("transfer-tabs").querySelectorAll("button")) {
      button.addEventListener("click", () => this.setTransferKind(button.dataset.kind));
    }
    byId("transfer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submitTransfer();
    });
    byId("cancel-all").addEventListener("click", () => this.cancelAll());
    byId("life").addEventListener("click", (event) => {
      if (event.target === byId("life")) byId("life").close();
    });
    this.draw();
    this.setTransferKind("deposit");
  }

  // ------------------------------------------------------------------ what arrives

  /** Begins with a wallet: history over HTTP, everything new over the stream. */
  async begin() {
    await Promise.all([this.loadHistory(), this.refreshWallet()]);
  }

  async loadHistory() {
    const base = `/v1/accounts/${this.context.wallet().account}`;
    const [fills, transfers] = await Promise.all([
      get(`${base}/fills?limit=${HISTORY}`),
      get(`${base}/transfers?limit=${HISTORY}`),
    ]);
    for (const fill of fills.fills) this.fills.set(this.fillKey(fill), fill);
    this.transfers = transfers.transfers;
    this.schedule();
  }

  fillKey(fill) {
    return `${fill.fill_id}.${fill.role}`;
  }

  adopt(news, kind) {
    if (news.account) this.money = news.account;
    if (kind === "snapshot") this.orders = new Map();
    for (const order of news.orders ?? []) {
      if (order.status === "OPEN") this.orders.set(order.order_id, order);
      else {
        this.orders.delete(order.order_id);
        this.tellEnd(order);
      }
    }
    for (const fill of news.fills ?? []) {
      this.fills.set(this.fillKey(fill), fill);
      if (fill.role === "maker") this.tellFill(fill);
    }
    for (const step of news.life ?? []) this.adoptLife(step);
    if (news.transfers) this.adoptTransfers(news.transfers);
    this.showMoney();
    this.context.onOrders();
    this.schedule();
  }

  adoptLife(step) {
    for (const fillId of step.fill_ids) {
      for (const role of ["maker", "taker"]) {
        const fill = this.fills.get(`${fillId}.${role}`);
        if (!fill) continue;
        this.fills.set(`${fillId}.${role}`, {
          ...fill,
          status: step.status,
          code: step.code ?? null,
          transaction: step.transaction ?? fill.transaction,
          block: step.block ?? fill.block,
        });
      }
      if (step.status === "rejected") toast(`Fill ${fillId} was refused by the chain`, step.code, "bad");
    }
  }

  adoptTransfers(changes) {
    for (const change of changes) {
      if (change.status === "credited") {
        toast("Deposit credited", `${formatQuote(BigInt(change.quote))} USDC`, "good");
        if (this.transferKind === "deposit" && !this.isBusy) showMessage(byId("transfer-progress"), "");
      }
      if (change.status === "paid") toast("Claim paid", "The vault has sent your USDC.", "good");
    }
    // Rows have more than the news says: read them again.
    get(`/v1/accounts/${this.context.wallet().account}/transfers?limit=${HISTORY}`)
      .then((answer) => {
        this.transfers = answer.transfers;
        this.schedule();
      })
      .catch((error) => toast("Transfers", inWords(error), "bad"));
    this.refreshWallet();
  }

  adoptBatches(batches) {
    const waiting = this.transfers.some((row) => row.kind === "withdrawal" && !["paid", "rejected"].includes(row.status));
    for (const batch of batches) this.batches.set(batch.sequence, batch);
    if (this.batches.size > 200) {
      this.batches = new Map([...this.batches].sort((left, right) => right[0] - left[0]).slice(0, 100));
    }
    if (waiting && this.context.wallet()) this.adoptTransfers([]);
    this.schedule();
    if (byId("life").open) this.drawLife();
  }

  tellFill(fill) {
    const market = this.context.marketOf(fill.symbol);
    const verb = fill.is_buy ? "Bought" : "Sold";
    toast(`${verb} ${formatSize(fill.size_lots, market)} ${fill.symbol}`, `your order met a taker at ${formatPrice(fill.price_ticks, market)} USD`, "good");
  }

  tellEnd(order) {
    const silent = ["USER", "IOC", null, undefined];
    if (order.status === "CANCELLED" && !silent.includes(order.reason)) {
      toast("Order left the book", `${order.symbol ?? ""} ${order.reason}`.trim());
    }
  }

  /** Reads what only the chain knows: USDC in the wallet and claims in the vault. */
  async refreshWallet() {
    const wallet = this.context.wallet();
    if (!wallet) return;
    try {
      [this.usdcQuote, this.claimQuote] = await Promise.all([wallet.usdcQuote(), wallet.claimQuote()]);
    } catch {
      return; // The node is asked again with the next batch.
    }
    this.showMoney();
  }

  // ------------------------------------------------------------------ money

  showMoney() {
    if (this.usdcQuote !== null) setText(byId("wallet-usdc"), `${formatQuote(this.usdcQuote)} USDC`);
    const money = this.money;
    if (!money) return;
    for (const name of ["collateral", "equity", "free"]) {
      setText(byId(name), `${formatQuote(BigInt(money[`${name}_quote`]))} USDC`);
    }
    const equity = BigInt(money.equity_quote);
    const used = BigInt(money.initial_margin_quote) + BigInt(money.order_margin_quote);
    const percent = equity > 0n ? Number((used * 100n) / equity) : 0;
    byId("margin-meter").style.width = `${Math.min(percent, 100)}%`;
    const health = money.health_ppm === null ? "" : ` · health ${formatScaled(BigInt(money.health_ppm) / 10_000n, 2)}x`;
    setText(byId("margin-text"), `${percent}% of equity in margin${health}`);
    byId("margin-text").title = "Health is equity over maintenance margin; below 1x a position may be liquidated.";
    this.showTransferText();
    this.context.onMoney();
  }

  setTransferKind(kind) {
    this.transferKind = kind;
    activate(byId("transfer-tabs"), byId("transfer-tabs").querySelector(`[data-kind="${kind}"]`));
    byId("transfer-field").hidden = kind === "claim";
    showMessage(byId("transfer-error"), "");
    showMessage(byId("transfer-progress"), "");
    this.showTransferText();
  }

  showTransferText() {
    const button = byId("transfer-submit");
    const texts = {
      deposit: "Two transactions of your wallet: approve, deposit.",
      withdraw: this.money
        ? `Up to ${formatQuote(BigInt(this.money.withdrawable_quote))} USDC, claimed after the batch.`
        : "Claimed from the vault after the batch.",
      claim: `${formatQuote(this.claimQuote)} USDC wait in the vault for you.`,
    };
    setText(byId("transfer-text"), texts[this.transferKind]);
    setText(button, { deposit: "Deposit", withdraw: "Withdraw", claim: "Claim" }[this.transferKind]);
    button.disabled = this.isBusy || (this.transferKind === "claim" && this.claimQuote === 0n);
    const tab = byId("transfer-tabs").querySelector('[data-kind="claim"]');
    setText(tab, this.claimQuote > 0n ? `Claim (${formatQuote(this.claimQuote)})` : "Claim");
  }

  async submitTransfer() {
    if (this.isBusy) return;
    this.isBusy = true;
    showMessage(byId("transfer-error"), "");
    const tell = (text) => showMessage(byId("transfer-progress"), text);
    this.showTransferText();
    try {
      if (this.transferKind === "deposit") await this.deposit(tell);
      else if (this.transferKind === "withdraw") await this.withdraw(tell);
      else await this.claim(tell);
    } catch (error) {
      tell("");
      showMessage(byId("transfer-error"), inWords(error));
    } finally {
      this.isBusy = false;
      this.showTransferText();
      this.refreshWallet();
    }
  }

  async deposit(tell) {
    const quote = parseQuote(byId("transfer-quote").value);
    if (quote === 0n) throw new BadNumber("The sum must be more than zero.");
    if (this.usdcQuote !== null && quote > this.usdcQuote) {
      throw new BadNumber(`The wallet holds ${formatQuote(this.usdcQuote)} USDC.`);
    }
    const receipt = await this.context.wallet().deposit(quote, tell);
    tell(`Mined in block ${Number(receipt.blockNumber)}; the venue credits it as soon as it sees it.`);
    byId("transfer-quote").value = "";
  }

  async withdraw(tell) {
    const quote = parseQuote(byId("transfer-quote").value);
    if (quote === 0n) throw new BadNumber("The sum must be more than zero.");
    const { clock } = this.context;
    const body = await this.context
      .wallet()
      .signer.buildWithdrawal(quote, clock.nowS() + OPERATION_LIFETIME_S, clock.nowMs());
    const taken = await postSigned("/v1/withdrawals", body);
    tell(`Accepted into batch ${taken.sequence}. When it is mined, claim it from the vault.`);
    byId("transfer-quote").value = "";
  }

  async claim(tell) {
    tell("Claiming…");
    const receipt = await this.context.wallet().claim();
    tell(`Paid in block ${Number(receipt.blockNumber)}.`);
    await this.refreshWallet();
  }

  // ------------------------------------------------------------------ orders

  openOrders() {
    return [...this.orders.values()];
  }

  async cancel(order) {
    const { clock } = this.context;
    try {
      const body = await this.context
        .wallet()
        .signer.buildCancel(order.nonce, clock.nowS() + OPERATION_LIFETIME_S, clock.nowMs());
      await postSigned("/v1/orders/cancel", body);
      toast("Order cancelled");
    } catch (error) {
      toast("Not cancelled", inWords(error), "bad");
    }
  }

  async cancelAll() {
    const { clock } = this.context;
    try {
      const body = await this.context
        .wallet()
        .signer.buildCancelAll(clock.nowS() + OPERATION_LIFETIME_S, clock.nowMs());
      const answer = await postSigned("/v1/orders/cancel-all", body);
      toast(`${answer.order_ids.length} orders cancelled`);
    } catch (error) {
      toast("Not cancelled", inWords(error), "bad");
    }
  }

  // ------------------------------------------------------------------ tables

  /** Draws at most every 100 ms, whatever arrives. */
  schedule() {
    if (this.isDue) return;
    this.isDue = true;
    setTimeout(() => {
      this.isDue = false;
      this.draw();
    }, 100);
  }

  draw() {
    const positions = this.money ? this.money.positions : [];
    setText(byId("n-positions"), positions.length ? String(positions.length) : "");
    setText(byId("n-orders"), this.orders.size ? String(this.orders.size) : "");
    byId("cancel-all").hidden = this.table !== "orders" || !this.orders.size;
    const tables = {
      positions: () => this.buildPositions(positions),
      orders: () => this.buildOrders(),
      fills: () => this.buildFills(),
      transfers: () => this.buildTransfers(),
      batches: () => this.buildBatches(),
    };
    byId("tables").replaceChildren(tables[this.table]());
    if (byId("life").open) this.drawLife();
  }

  build(name, heads, rows, nothing) {
    if (!rows.length) return el("div", { class: "empty", "data-testid": `${name}-empty` }, nothing);
    const head = heads.map((text) => el("th", { class: text.startsWith(">") ? "num" : "" }, text.replace(">", "")));
    return el("table", { "data-testid": name }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  }

  buildPositions(positions) {
    const rows = positions.map((position) => {
      const market = this.context.marketOf(position.symbol);
      const pnl = BigInt(position.unrealised_pnl_quote);
      const isLong = position.size_lots > 0;
      return el(
        "tr",
        { "data-testid": "position" },
        cell(position.symbol),
        cell(`${isLong ? "Long" : "Short"} ${formatSize(isLong ? position.size_lots : -position.size_lots, market)}`, isLong ? "up" : "down"),
        cell(formatPrice(position.entry_ticks, market), "num"),
        cell(formatPrice(position.mark_ticks, market), "num"),
        cell(`${formatQuote(BigInt(position.notional_quote))}`, "num"),
        cell(formatSignedQuote(pnl), pnl >= 0n ? "num up" : "num down", "valued at the worse of mark and external, fees included"),
        cell(formatQuote(BigInt(position.initial_margin_quote)), "num"),
        cell(position.liquidation_ticks === null ? "none" : formatPrice(position.liquidation_ticks, market), "num"),
        el("td", { class: "num" }, el("button", { class: "ghost", "data-testid": "close-position", onclick: () => this.context.onClose(position) }, "Close…")),
      );
    });
    const heads = ["Market", "Size", ">Entry", ">Mark", ">Notional (USDC)", ">Unrealised PnL", ">Margin", ">Liquidation", ">"];
    return this.build("positions", heads, rows, this.context.wallet() ? "No open position" : "No wallet yet");
  }

  buildOrders() {
    const rows = this.openOrders()
      .sort((left, right) => (right.placed_at_ms ?? 0) - (left.placed_at_ms ?? 0))
      .map((order) => {
        const market = this.context.marketOf(order.symbol);
        const flags = [order.time_in_force, order.post_only ? "post-only" : "", order.reduce_only ? "reduce-only" : ""];
        return el(
          "tr",
          { "data-testid": "order" },
          cell(order.placed_at_ms ? formatMoment(order.placed_at_ms) : "", "muted"),
          cell(order.symbol),
          cell(order.is_buy ? "Buy" : "Sell", order.is_buy ? "up" : "down"),
          cell(formatPrice(order.limit_ticks, market), "num"),
          cell(`${formatSize(order.filled_lots, market)} / ${formatSize(order.size_lots, market)}`, "num"),
          cell(formatQuote(BigInt(order.size_lots) * BigInt(order.limit_ticks)), "num"),
          cell(flags.filter(Boolean).join(", "), "muted"),
          el("td", { class: "num" }, el("button", { class: "ghost", "data-testid": "cancel-order", onclick: () => this.cancel(order) }, "Cancel")),
        );
      });
    const heads = ["Placed", "Market", "Side", ">Price", ">Filled / size", ">Worth (USDC)", "Terms", ">"];
    return this.build("orders", heads, rows, "No open order");
  }

  buildLife(status) {
    const reached = { rejected: 4, sealed: 1 }[status] ?? LIFE.indexOf(status) + 1;
    const bars = LIFE.map((_, step) => el("i", { class: step < reached ? "done" : "" }));
    return el("span", { class: `steps ${status}` }, ...bars, el("b", {}, status));
  }

  buildFills() {
    const fills = [...this.fills.values()].sort((left, right) => right.fill_id - left.fill_id).slice(0, HISTORY);
    const rows = fills.map((fill) => {
      const market = this.context.marketOf(fill.symbol);
      return el(
        "tr",
        { class: "link", "data-testid": "fill", "data-status": fill.status, title: "show its life", onclick: () => this.showLife(fill) },
        cell(formatMoment(fill.time_ms), "muted"),
        cell(fill.symbol),
        cell(fill.is_buy ? "Buy" : "Sell", fill.is_buy ? "up" : "down"),
        cell(fill.role, "muted"),
        cell(formatPrice(fill.price_ticks, market), "num"),
        cell(formatSize(fill.size_lots, market), "num"),
        cell(formatQuote(BigInt(fill.notional_quote)), "num"),
        cell(formatQuote(BigInt(fill.fee_quote), 4), "num"),
        el("td", {}, this.buildLife(fill.status)),
        cell(shorten(fill.transaction, 8, 6), "mono", fill.transaction),
      );
    });
    const heads = ["Time", "Market", "Side", "Role", ">Price", ">Size", ">Notional", ">Fee", "Life", "Transaction"];
    return this.build("fills", heads, rows, "No fill yet");
  }

  buildTransfers() {
    const rows = this.transfers.map((row) => {
      const isDeposit = row.kind === "deposit";
      const kinds = { credited: "good", paid: "good", claimable: "calm", rejected: "bad" };
      return el(
        "tr",
        { "data-testid": "transfer", "data-kind": row.kind, "data-status": row.status },
        cell(formatMoment(row.time_ms), "muted"),
        cell(isDeposit ? "Deposit" : "Withdrawal"),
        cell(`${isDeposit ? "+" : "−"}${formatQuote(BigInt(row.quote))}`, `num ${isDeposit ? "up" : ""}`),
        el("td", {}, el("span", { class: `badge ${kinds[row.status] ?? "warn"}` }, row.code ? `${row.status}: ${row.code}` : row.status)),
        cell(row.sequence === null ? "" : String(row.sequence), "num muted"),
        cell(row.block === null ? "" : String(row.block), "num muted"),
        cell(shorten(row.paid_transaction ?? row.transaction, 10, 8), "mono", row.paid_transaction ?? row.transaction),
      );
    });
    const heads = ["Time", "Kind", ">Sum (USDC)", "Status", ">Batch", ">Block", "Transaction"];
    return this.build("transfers", heads, rows, "No deposit or withdrawal yet");
  }

  buildBatches() {
    const batches = [...this.batches.values()].sort((left, right) => right.sequence - left.sequence).slice(0, 60);
    const rows = batches.map((batch) =>
      el(
        "tr",
        { "data-testid": "batch", "data-status": batch.status },
        cell(String(batch.sequence)),
        cell(formatMoment(batch.matched_at_s * 1000), "muted"),
        cell(String(batch.n_fills), "num"),
        cell(String(batch.n_operations), "num"),
        cell(String(batch.n_failures), batch.n_failures ? "num down" : "num muted"),
        cell(batch.gas_used === null ? "" : batch.gas_used.toLocaleString("en-US"), "num"),
        cell(batch.block === null ? "" : String(batch.block), "num"),
        el("td", {}, this.buildLife(batch.status)),
        cell(shorten(batch.transaction, 10, 8), "mono", batch.transaction),
      ),
    );
    const heads = ["Batch", "Matched at", ">Fills", ">Operations", ">Failures", ">Gas", ">Block", "Life", "Transaction"];
    return this.build("batches", heads, rows, "No batch yet");
  }

  // ------------------------------------------------------------------ the life of a fill

  showLife(fill) {
    this.lifeKey = this.fillKey(fill);
    this.drawLife();
    byId("life").showModal();
  }

  drawLife() {
    const fill = this.fills.get(this.lifeKey);
    if (!fill) return;
    const market = this.context.marketOf(fill.symbol);
    const batch = this.batches.get(fill.sequence);
    const reached = LIFE.indexOf(fill.status) + 1;
    const step = (index, title, text) => {
      const isDone = index < reached;
      const isEnd = index === 3 && isDone;
      return el("li", { class: `${isDone ? "done" : ""} ${isEnd ? "end" : ""}` }, el("b", {}, title), el("small", {}, text));
    };
    const confirmations = this.context.venue.confirmations_blocks;
    const steps = [
      step(0, "Matched", `fill ${fill.fill_id} at ${formatTime(fill.time_ms)} venue time, durable in the journal, in batch ${fill.sequence}`),
      step(1, "Submitted", fill.transaction ? `transaction ${fill.transaction}` : "the batch is not sent to the chain yet"),
      step(2, "Mined", fill.block === null ? "not in a block yet" : `block ${fill.block}${batch && batch.gas_used ? `, the whole batch took ${batch.gas_used.toLocaleString("en-US")} gas for ${batch.n_fills === 1 ? "one fill" : `${batch.n_fills} fills`}` : ""}`),
      step(3, "Final", `${confirmations} block${confirmations === 1 ? "" : "s"} hold it; nobody can take it back`),
    ];
    if (fill.status === "rejected") {
      steps.push(el("li", { class: "done bad" }, el("b", {}, "Rejected by the chain"), el("small", {}, `${fill.code}: both sides were put back as they were`)));
    }
    const verb = fill.is_buy ? "Buy" : "Sell";
    byId("life").replaceChildren(
      el(
        "div",
        { class: "life-head" },
        el("div", {}, el("h3", {}, `${verb} ${formatSize(fill.size_lots, market)} ${fill.symbol} at ${formatPrice(fill.price_ticks, market)}`), el("span", { class: "muted" }, `${fill.role}, fee ${formatQuote(BigInt(fill.fee_quote), 4)} USDC, ${formatMoment(fill.time_ms)}`)),
        el("button", { class: "ghost", onclick: () => byId("life").close() }, "Close"),
      ),
      el("ol", { class: "timeline", "data-testid": "timeline" }, ...steps),
      el("div", { class: "muted" }, "Order"),
      el("div", { class: "mono" }, fill.order_id),
    );
  }
}
