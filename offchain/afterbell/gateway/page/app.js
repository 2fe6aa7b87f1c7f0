// Join the parts: one venue, one market shown, one stream, one wallet at most.

import { Account } from "/page/account.js";
import { Stream, get, inWords } from "/page/api.js";
import { Book } from "/page/book.js";
import { Chart } from "/page/chart.js";
import { VenueClock } from "/page/clock.js";
import { byId, el, setText, toast } from "/page/dom.js";
import { Ticket } from "/page/ticket.js";
import { absolute, formatPpm, formatPrice, formatQuote, formatSize, formatVenueTime, notional, shorten } from "/page/units.js";
import { TestWallet } from "/page/wallet.js";

const SESSION_KINDS = { REGULAR: "good", PRE: "warn", POST: "warn", OVERNIGHT: "calm", CLOSED: "", HALTED: "bad" };
const RULES_REFRESH_MS = 30_000;
const WALLET_REFRESH_MS = 5_000;

class Page {
  constructor(venue, markets) {
    this.venue = venue;
    this.clock = new VenueClock();
    this.markets = new Map(markets.map((market) => [market.symbol, market]));
    this.symbol = this.chooseFirst();
    this.wallet = venue.is_local_chain ? TestWallet.load(venue) : null;
    this.chart = new Chart();
    this.book = new Book((ticks) => this.ticket.setPrice(ticks));
    this.account = new Account({
      venue,
      clock: this.clock,
      wallet: () => this.wallet,
      marketOf: (symbol) => this.markets.get(symbol),
      onMoney: () => this.showOwnLines(),
      onOrders: () => this.showOwnLines(),
      onClose: (position) => {
        this.show(position.symbol);
        this.ticket.prefillClose(position);
      },
    });
    this.ticket = new Ticket({
      venue,
      clock: this.clock,
      wallet: () => this.wallet,
      market: () => this.market(),
      bestBid: () => this.book.bestBid(),
      bestAsk: () => this.book.bestAsk(),
      account: () => this.account.money,
      openOrders: () => this.account.openOrders(),
    });
    this.stream = new Stream((state) => this.showConnection(state));
    this.stream.subscribe("clock", (clock) => this.hearClock(clock));
    this.stream.subscribe("prices", (news) => this.adoptPrices(news));
    this.stream.subscribe("batches", (news) => this.account.adoptBatches(news.batches));
    this.bind();
  }

  market() {
    return this.markets.get(this.symbol);
  }

  chooseFirst() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    return this.markets.has(wanted) ? wanted : [...this.markets.keys()][0];
  }

  bind() {
    byId("selector-button").addEventListener("click", () => this.toggleSelector());
    document.addEventListener("click", (event) => {
      if (!byId("selector").contains(event.target)) this.toggleSelector(false);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.toggleSelector(false);
    });
    byId("create-wallet").addEventListener("click", () => this.createWallet());
    byId("fund-wallet").addEventListener("click", () => this.fundWallet());
    byId("address").addEventListener("click", () => this.copyAddress());
    window.addEventListener("hashchange", () => {
      const wanted = this.chooseFirst();
      if (wanted !== this.symbol) this.show(wanted);
    });
    setInterval(() => this.refreshMarkets(), RULES_REFRESH_MS);
    setInterval(() => this.account.refreshWallet(), WALLET_REFRESH_MS);
    setInterval(() => this.showClock(), 250);
  }

  async begin() {
    if (!this.venue.is_local_chain) byId("create-wallet").disabled = true;
    await this.show(this.symbol);
    await this.showWallet();
  }

  // ------------------------------------------------------------------ market

  async show(symbol) {
    if (this.shown) {
      this.stream.unsubscribe(`book:${this.shown}`);
      this.stream.unsubscribe(`trades:${this.shown}`);
    }
    this.symbol = symbol;
    this.shown = symbol;
    history.replaceState(null, "", `#${encodeURIComponent(symbol)}`);
    const market = this.market();
    this.book.show(market);
    byId("price").value = "";
    byId("size").value = "";
    this.ticket.refresh();
    this.showStats();
    this.stream.subscribe(`book:${symbol}`, (news, kind) => this.book.adopt(news, kind));
    this.stream.subscribe(`trades:${symbol}`, (news, kind) => {
      this.book.adoptTrades(news.trades, kind);
      if (kind === "delta") for (const trade of news.trades) this.chart.adoptTrade(trade.size_lots);
    });
    try {
      await this.chart.show(market);
    } catch (error) {
      toast("Chart", inWords(error), "bad");
    }
    this.showOwnLines();
  }

  /** Rules depend on the session and the change on the day: read again when they may have moved. */
  async refreshMarkets() {
    try {
      const answer = await get("/v1/markets");
      for (const market of answer.markets) this.markets.set(market.symbol, market);
      this.showStats();
      this.ticket.refresh();
    } catch {
      return; // The connection dot already says it.
    }
  }

  adoptPrices(news) {
    let isRulesOld = false;
    for (const price of news.prices) {
      const market = this.markets.get(price.symbol);
      if (!market) {
        isRulesOld = true;
        continue;
      }
      isRulesOld ||= market.session !== price.session || market.epoch !== price.epoch;
      if (market.change_ticks !== null) market.change_ticks += price.mark_ticks - market.mark_ticks;
      Object.assign(market, price);
      if (price.symbol === this.symbol) this.chart.adoptMark(price.mark_ticks, Math.floor(news.time_ms / 1000));
    }
    this.showStats();
    if (!byId("selector-list").hidden) this.drawSelector();
    if (isRulesOld) this.refreshMarkets();
  }

  showStats() {
    const market = this.market();
    if (!market) return;
    const price = (ticks) => (ticks ? formatPrice(ticks, market) : "–");
    setText(byId("selector-symbol"), market.symbol);
    setText(byId("stat-mark"), price(market.mark_ticks));
    setText(byId("stat-external"), price(market.external_ticks));
    const change = byId("stat-change");
    const { text, kind } = this.describeChange(market);
    setText(change, text);
    change.className = kind;
    const interest = notional(BigInt(market.open_interest_lots), BigInt(market.mark_ticks));
    setText(byId("stat-open-interest"), `${formatSize(market.open_interest_lots, market)} · $${formatQuote(interest, 0)}`);
    const band = market.rules && market.external_ticks ? this.describeBand(market) : "–";
    setText(byId("stat-band"), band);
    const session = byId("stat-session");
    setText(session, market.session);
    session.className = `badge ${SESSION_KINDS[market.session] ?? "warn"}`;
    const label = byId("stat-label");
    byId("stat-label-box").hidden = !market.label;
    setText(label, market.label);
    label.className = `badge ${market.is_synthetic ? "warn" : ""}`;
    label.title = market.is_synthetic
      ? "The price of this market is made up: no history of the stock was given."
      : "The price comes from publishers this venue trusts; no independent source checks them.";
    const halted = byId("halted");
    halted.hidden = !market.is_halted;
    setText(halted, market.is_halted ? `${market.symbol} is halted: ${market.halt_reason}. Orders are refused; positions stay.` : "");
    document.title = market.mark_ticks ? `${price(market.mark_ticks)} ${market.symbol} · Afterbell` : "Afterbell";
  }

  describeChange(market) {
    if (market.change_ticks === null || !market.mark_ticks) return { text: "–", kind: "" };
    const before = BigInt(market.mark_ticks - market.change_ticks);
    const change = BigInt(market.change_ticks);
    const ppm = before > 0n ? (absolute(change) * 1_000_000n) / before : 0n;
    const sign = change > 0n ? "+" : change < 0n ? "−" : "";
    const text = `${sign}${formatPrice(absolute(change), market)} (${sign}${formatPpm(ppm)})`;
    return { text, kind: change > 0n ? "up" : change < 0n ? "down" : "" };
  }

  describeBand(market) {
    const external = BigInt(market.external_ticks);
    const width = (external * BigInt(market.rules.band_ppm)) / 1_000_000n;
    return `${formatPrice(external - width, market)} – ${formatPrice(external + width, market)}`;
  }

  toggleSelector(isOpen = byId("selector-list").hidden) {
    byId("selector-list").hidden = !isOpen;
    byId("selector-button").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.drawSelector();
  }

  drawSelector() {
    const rows = [...this.markets.values()].map((market) => {
      const { text, kind } = this.describeChange(market);
      const row = el(
        "button",
        { class: `selector-row ${market.symbol === this.symbol ? "active" : ""}`, role: "option", "data-testid": `market-${market.symbol}` },
        el("b", {}, market.symbol),
        el("span", {}, el("span", { class: `badge ${market.is_halted ? "bad" : (SESSION_KINDS[market.session] ?? "warn")}` }, market.is_halted ? "HALTED" : market.session), market.is_synthetic ? el("span", { class: "badge warn" }, "SYNTHETIC") : null),
        el("span", {}, market.mark_ticks ? formatPrice(market.mark_ticks, market) : "–"),
        el("span", { class: kind }, text.replace(/^.*\(/, "").replace(")", "")),
      );
      row.addEventListener("click", () => {
        this.toggleSelector(false);
        this.show(market.symbol);
      });
      return row;
    });
    byId("selector-list").replaceChildren(...rows);
  }

  /** Own orders and positions, in chart and book. */
  showOwnLines() {
    const market = this.market();
    if (!market || !this.chart.intervalS) return;
    const orders = this.account.openOrders().filter((order) => order.symbol === market.symbol);
    const positions = (this.account.money?.positions ?? []).filter((position) => position.symbol === market.symbol);
    const lines = orders.slice(0, 12).map((order) => ({
      ticks: order.limit_ticks,
      title: `${order.is_buy ? "buy" : "sell"} ${formatSize(order.remaining_lots, market, 0)}`,
      color: order.is_buy ? "#2fbf8a" : "#f0566b",
    }));
    for (const position of positions) {
      lines.push({ ticks: position.entry_ticks, title: "entry", color: "#93a1ff" });
      if (position.liquidation_ticks !== null) lines.push({ ticks: position.liquidation_ticks, title: "liquidation", color: "#e3b04b" });
    }
    const key = JSON.stringify(lines.map((line) => [String(line.ticks), line.title]));
    if (key !== this.linesKey || this.linesMarket !== market.symbol) {
      this.linesKey = key;
      this.linesMarket = market.symbol;
      this.chart.showLines(lines);
    }
    this.book.showOwn(new Set(orders.map((order) => order.limit_ticks)));
  }

  // ------------------------------------------------------------------ clock and connection

  hearClock(status) {
    this.clock.hear(status);
    this.showClock();
  }

  showClock() {
    const status = this.clock.status;
    if (!status) return;
    setText(byId("venue-time"), formatVenueTime(this.clock.nowMs()));
    const isLost = byId("connection").classList.contains("lost");
    const replay = status.step === null ? "Venue time" : `Venue time · replay step ${status.step}`;
    setText(byId("clock-label"), isLost ? "Connection lost, trying again" : replay);
    byId("clock-label").title = status.mode === "replay" ? `History is replayed, ${status.speed} trading days a minute.` : "";
  }

  showConnection(state) {
    const dot = byId("connection");
    dot.className = `dot ${state}`;
    dot.title = state === "live" ? "connected" : "connection lost, trying again";
    this.showClock();
    if (state === "live") this.mustBeSameVenue();
  }

  /** Another instance may have started under the same address: nothing shown here would be true. */
  async mustBeSameVenue() {
    try {
      const found = await get("/v1/venue");
      const isSame =
        found.genesis_s === this.venue.genesis_s &&
        found.domain.verifying_contract === this.venue.domain.verifying_contract;
      if (!isSame) location.reload();
    } catch {
      return; // The next connection asks again.
    }
  }

  // ------------------------------------------------------------------ wallet

  async createWallet() {
    this.wallet = TestWallet.create(this.venue);
    await Promise.all([this.fundWallet(), this.showWallet()]);
  }

  async fundWallet() {
    byId("fund-wallet").disabled = true;
    try {
      const grant = await this.wallet.fund();
      await this.account.refreshWallet();
      toast(`${formatQuote(BigInt(grant.usdc_quote), 0)} test USDC in the wallet`, "Deposit some of it to trade.", "good");
    } catch (error) {
      toast("The faucet gave nothing", inWords(error), "bad");
    } finally {
      byId("fund-wallet").disabled = false;
    }
  }

  async showWallet() {
    byId("wallet-empty").hidden = this.wallet !== null;
    byId("wallet-full").hidden = this.wallet === null;
    byId("fund-wallet").hidden = this.wallet === null;
    this.ticket.refresh();
    if (!this.wallet) return;
    setText(byId("address"), shorten(this.wallet.address));
    byId("address").title = `${this.wallet.address} – click to copy`;
    this.stream.subscribe(`account:${this.wallet.account}`, (news, kind) => this.account.adopt(news, kind));
    await this.account.begin();
  }

  async copyAddress() {
    try {
      await navigator.clipboard.writeText(this.wallet.address);
      toast("Address copied");
    } catch {
      toast("Your address", this.wallet.address);
    }
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

const { venue, markets } = await findVenue();
const page = new Page(venue, markets);
window.afterbell = page; // for the console and for tests
try {
  await page.begin();
} catch (error) {
  toast("A part of the page is missing", inWords(error), "bad");
}
