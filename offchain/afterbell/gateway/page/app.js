// Join the parts: one venue, one market shown, one stream, one wallet at most.

import { Account } from "/page/account.js";
import { openAmend } from "/page/amend.js";
import { get, inWords } from "/page/api.js";
import { Book } from "/page/book.js";
import { Chain } from "/page/chain.js";
import { Chart } from "/page/chart.js";
import { VenueClock } from "/page/clock.js";
import { Connection } from "/page/connection.js";
import { Deposits } from "/page/deposits.js";
import { byId, el, openDialog, toast } from "/page/dom.js";
import { FillLife } from "/page/fill_life.js";
import { Funds } from "/page/funds.js";
import { KeysPanel } from "/page/keys_panel.js";
import { Markets } from "/page/markets.js";
import { tellNews } from "/page/notices.js";
import { Orders, runQuietly } from "/page/orders.js";
import { SessionKeys } from "/page/session_keys.js";
import { Shortcuts } from "/page/shortcuts.js";
import { Signer } from "/page/signer.js";
import { Tables } from "/page/tables.js";
import { beginTheme, toggleTheme } from "/page/theme.js";
import { Ticket } from "/page/ticket.js";
import { MessageBuilder } from "/page/typed_data.js";
import { formatSize } from "/page/units.js";
import { WalletPanel } from "/page/wallet_panel.js";

const RULES_REFRESH_MS = 30_000;
const WALLET_REFRESH_MS = 5_000;
const MAX_LINES = 12;

class Page {
  constructor(venue, markets) {
    this.venue = venue;
    this.clock = new VenueClock();
    this.builder = null;
    const wallet = () => this.walletPanel?.wallet ?? null;
    const owner = () => wallet()?.address ?? null;
    const builder = () => this.builder;
    const marketOf = (symbol) => this.markets.bySymbol.get(symbol);
    this.keys = new SessionKeys(venue, this.clock);
    this.chain = new Chain(venue, wallet);
    this.account = new Account({ keys: this.keys, chain: this.chain });
    this.signer = new Signer({ venue, wallet, keys: this.keys });
    const shared = { venue, clock: this.clock, wallet, owner, builder, marketOf, keys: this.keys, chain: this.chain, account: this.account, signer: this.signer };
    this.markets = new Markets(markets, { onChoose: (symbol) => this.show(symbol), onPrices: () => this.ticket?.refresh() });
    this.chart = new Chart();
    this.book = new Book((ticks) => this.ticket.setPrice(ticks), () => this.ticket?.refresh());
    this.orders = new Orders(shared);
    this.keysPanel = new KeysPanel({ ...shared, markets: () => this.markets.all() });
    this.walletPanel = new WalletPanel({ ...shared, keysPanel: this.keysPanel, onWallet: (found) => this.useWallet(found) });
    this.ticket = new Ticket({ ...shared, market: () => this.markets.current(), book: this.book, orders: this.orders });
    this.funds = new Funds({ ...shared, deposits: new Deposits(shared), keysPanel: this.keysPanel });
    this.tables = new Tables({
      ...shared,
      fillLife: new FillLife(shared),
      symbols: () => this.keysPanel.symbols(),
      onClose: (position) => this.closePosition(position),
      onCancel: (order) => runQuietly("Not cancelled", () => this.orders.cancel(order)),
      onAmend: (order) => openAmend({ ...shared, orders: this.orders }, order),
      onRevoke: (row) => this.keysPanel.revoke(row),
    });
    tellNews(this.account, marketOf);
    this.connection = new Connection(venue, this.clock);
    this.stream = this.connection.stream;
    this.stream.subscribe("clock", (clock) => this.clock.hear(clock));
    this.stream.subscribe("prices", (news) => this.adoptPrices(news));
    this.stream.subscribe("batches", (news) => this.account.adoptBatches(news.batches));
    this.bind();
  }

  bind() {
    byId("open-deposit").addEventListener("click", () => this.funds.open("deposit"));
    byId("open-withdraw").addEventListener("click", () => this.funds.open("withdraw"));
    byId("open-claim").addEventListener("click", () => this.funds.open("claim"));
    byId("open-key").addEventListener("click", () => this.createKey());
    byId("connect-here").addEventListener("click", () => this.walletPanel.openChoices());
    byId("cancel-all").addEventListener("click", () => runQuietly("Not cancelled", () => this.orders.cancelAll()));
    byId("cancel-all-on-chain").addEventListener("click", () => this.confirmCancelOnChain());
    this.account.onChange(() => {
      this.showOwnLines();
      this.ticket.refresh();
    });
    setInterval(() => this.markets.refresh(), RULES_REFRESH_MS);
    setInterval(() => this.account.refreshWallet(), WALLET_REFRESH_MS);
    const focus = (id) => () => byId(id).focus();
    const table = (name) => () => byId("table-tabs").querySelector(`[data-table="${name}"]`).click();
    this.shortcuts = new Shortcuts([
      ["b", "buy", () => this.ticket.setSide(true)],
      ["s", "sell", () => this.ticket.setSide(false)],
      ["q", "go to the size", focus("size")],
      ["p", "go to the price", () => (byId("price").offsetParent ? byId("price") : byId("size")).focus()],
      ["l", "limit order", () => this.ticket.setKind("limit")],
      ["m", "market order", () => this.ticket.setKind("market")],
      ["o", "show open orders", table("orders")],
      ["f", "show fills", table("fills")],
      ["x", "cancel all orders", () => this.account.orders.size && byId("cancel-all").click()],
      ["g", "choose a market", () => this.markets.toggle(true)],
      ["d", "deposit", () => this.funds.open("deposit")],
      ["w", "wallet", () => this.walletPanel.openChoices()],
      ["k", "session key", () => this.createKey()],
      ["t", "dark or light", toggleTheme],
    ]);
    byId("help").addEventListener("click", () => this.shortcuts.show());
  }

  async begin() {
    await this.show(this.markets.symbol);
    await this.walletPanel.begin();
  }

  // ------------------------------------------------------------------ market

  async show(symbol) {
    if (this.shown) {
      this.stream.unsubscribe(`book:${this.shown}`);
      this.stream.unsubscribe(`trades:${this.shown}`);
    }
    this.shown = symbol;
    this.markets.choose(symbol);
    this.book.show(this.markets.current());
    this.ticket.clear();
    this.stream.subscribe(`book:${symbol}`, (news, kind) => this.book.adopt(news, kind));
    this.stream.subscribe(`trades:${symbol}`, (news, kind) => {
      this.book.adoptTrades(news.trades, kind);
      if (kind === "delta") for (const trade of news.trades) this.chart.adoptTrade(trade);
    });
    try {
      await this.chart.show(this.markets.current());
    } catch (error) {
      toast("Chart", inWords(error), "bad");
    }
    this.showOwnLines();
  }

  adoptPrices(news) {
    this.markets.adoptPrices(news);
    const market = this.markets.current();
    if (market && this.chart.market?.symbol === market.symbol) this.chart.adoptMark(market.mark_ticks, Math.floor(news.time_ms / 1000));
  }

  /** Own orders and positions, in chart and book. */
  showOwnLines() {
    const market = this.markets.current();
    if (!market || !this.chart.intervalS || this.chart.market?.symbol !== market.symbol) return;
    const orders = this.account.liveOrders().filter((order) => order.symbol === market.symbol);
    const lines = orders.slice(0, MAX_LINES).map((order) => ({
      ticks: order.status === "WAITING" ? order.trigger_ticks : order.limit_ticks,
      title: `${order.status === "WAITING" ? "stop " : ""}${order.is_buy ? "buy" : "sell"} ${formatSize(order.remaining_lots, market, 0)}`,
      tone: order.is_buy ? "buy" : "sell",
    }));
    for (const position of this.account.positions().filter((found) => found.symbol === market.symbol)) {
      lines.push({ ticks: position.entry_ticks, title: "entry", tone: "accent" });
      if (position.liquidation_price_ticks !== null) lines.push({ ticks: position.liquidation_price_ticks, title: "liquidation", tone: "warn" });
    }
    const key = JSON.stringify([market.symbol, ...lines.map((line) => [String(line.ticks), line.title])]);
    if (key === this.linesKey) return;
    this.linesKey = key;
    this.chart.showLines(lines);
    this.book.showOwn(new Set(orders.filter((order) => order.status === "OPEN").map((order) => order.limit_ticks)));
  }

  async closePosition(position) {
    if (position.symbol !== this.shown) await this.show(position.symbol);
    this.ticket.prefillClose(position);
  }

  // ------------------------------------------------------------------ account

  async useWallet(wallet) {
    if (this.account.account) this.stream.unsubscribe(`account:${this.account.account}`);
    this.builder = wallet ? new MessageBuilder(this.venue, this.clock, wallet.address) : null;
    const shown = this.account.show(wallet?.address ?? null);
    if (this.account.account) this.stream.subscribe(`account:${this.account.account}`, (news, kind) => this.account.adopt(news, kind));
    try {
      await shown;
    } catch (error) {
      toast("History", inWords(error), "bad");
    }
  }

  createKey() {
    if (!this.walletPanel.wallet) return this.walletPanel.openChoices();
    return runQuietly("No session key", () => this.keysPanel.create());
  }

  confirmCancelOnChain() {
    const { body, close } = openDialog("Cancel all orders on chain", { testid: "cancel-on-chain" });
    body.append(
      el("p", {}, "A transaction of your own ends every order you have signed until now. The venue drops them as soon as it reads the block, and the contract refuses them five minutes later whatever the venue does."),
      el("p", { class: "muted" }, "It costs gas and can be repeated every ten minutes. The button “Cancel all” does the same at once, without gas, through the venue."),
      el("div", { class: "actions" }, el("button", { class: "primary", type: "button", "data-testid": "cancel-on-chain-agree", onclick: () => {
        close();
        runQuietly("Not cancelled", () => this.orders.cancelAllOnChain());
      } }, "Cancel all on chain")),
    );
  }
}

const RETRY_MS = 2_000;

/** Asks until the venue is there: it may still be starting. */
async function findVenue() {
  for (;;) {
    try {
      const [venue, markets] = await Promise.all([get("/v1/venue"), get("/v1/markets")]);
      if (markets.markets.length) return { venue, markets: markets.markets };
      toast("Not ready", "No market is listed yet.");
    } catch (error) {
      toast("Not ready", inWords(error), "bad");
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

beginTheme();
const { venue, markets } = await findVenue();
const page = new Page(venue, markets);
window.afterbell = page; // for the console and for tests
try {
  await page.begin();
} catch (error) {
  toast("A part of the page is missing", inWords(error), "bad");
}
