// The markets: what each is doing, which one is shown, and what its session means. Must not: know about accounts.

import { get } from "/page/api.js";
import { byId, el, setText, updateRows } from "/page/dom.js";
import { describeSession } from "/page/words.js";
import { absolute, formatPpm, formatPrice, formatQuote, formatSize, notional } from "/page/units.js";

const SESSION_KINDS = { REGULAR: "good", PRE: "warn", POST: "warn", OVERNIGHT: "calm", CLOSED: "", HALTED: "bad" };

function describeChange(market) {
  if (market.change_ticks === null || !market.mark_ticks) return { text: "–", short: "–", kind: "" };
  const before = BigInt(market.mark_ticks - market.change_ticks);
  const change = BigInt(market.change_ticks);
  const ppm = before > 0n ? (absolute(change) * 1_000_000n) / before : 0n;
  const sign = change > 0n ? "+" : change < 0n ? "−" : "";
  const short = `${sign}${formatPpm(ppm)}`;
  return { text: `${sign}${formatPrice(absolute(change), market)} (${short})`, short, kind: change > 0n ? "up" : change < 0n ? "down" : "" };
}

export class Markets {
  /** onChoose(symbol) when a person picks a market; onRules() when rules or prices changed. */
  constructor(markets, { onChoose, onPrices }) {
    this.bySymbol = new Map(markets.map((market) => [market.symbol, market]));
    this.onChoose = onChoose;
    this.onPrices = onPrices;
    this.symbol = this.fromAddress();
    byId("selector-button").addEventListener("click", () => this.toggle());
    byId("selector").addEventListener("keydown", (event) => this.move(event));
    document.addEventListener("click", (event) => {
      if (!byId("selector").contains(event.target)) this.toggle(false);
    });
    window.addEventListener("hashchange", () => {
      const wanted = this.fromAddress();
      if (wanted !== this.symbol) this.onChoose(wanted);
    });
  }

  fromAddress() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    return this.bySymbol.has(wanted) ? wanted : [...this.bySymbol.keys()][0];
  }

  current() {
    return this.bySymbol.get(this.symbol);
  }

  all() {
    return [...this.bySymbol.values()];
  }

  choose(symbol) {
    this.symbol = symbol;
    history.replaceState(null, "", `#${encodeURIComponent(symbol)}`);
    this.show();
  }

  /** Rules depend on the session and the change on the day: read again when they may have moved. */
  async refresh() {
    try {
      const answer = await get("/v1/markets");
      for (const market of answer.markets) this.bySymbol.set(market.symbol, market);
      this.show();
      this.onPrices();
    } catch {
      return; // The connection already says it.
    }
  }

  adoptPrices(news) {
    let isRulesOld = false;
    for (const price of news.prices) {
      const market = this.bySymbol.get(price.symbol);
      if (!market) {
        isRulesOld = true;
        continue;
      }
      isRulesOld ||= market.session !== price.session || market.epoch !== price.epoch;
      if (market.change_ticks !== null) market.change_ticks += price.mark_ticks - market.mark_ticks;
      Object.assign(market, price);
      if (market.rules && market.external_ticks) {
        const width = (BigInt(market.external_ticks) * BigInt(market.rules.band_ppm)) / 1_000_000n;
        market.band_low_ticks = Number(BigInt(market.external_ticks) - width);
        market.band_high_ticks = Number(BigInt(market.external_ticks) + width);
      }
    }
    this.show();
    if (isRulesOld) this.refresh();
    else this.onPrices();
  }

  // ------------------------------------------------------------------ showing

  show() {
    const market = this.current();
    if (!market) return;
    const price = (ticks) => (ticks ? formatPrice(ticks, market) : "–");
    setText(byId("selector-symbol"), market.symbol);
    setText(byId("stat-mark"), price(market.mark_ticks));
    setText(byId("stat-index"), price(market.index_ticks));
    setText(byId("stat-external"), price(market.external_ticks));
    const { text, kind } = describeChange(market);
    setText(byId("stat-change"), text);
    byId("stat-change").className = kind;
    const interest = notional(BigInt(market.open_interest_lots), BigInt(market.mark_ticks));
    setText(byId("stat-open-interest"), `${formatSize(market.open_interest_lots, market)} · $${formatQuote(interest, 0)}`);
    const band = market.band_low_ticks ? `${price(market.band_low_ticks)} – ${price(market.band_high_ticks)}` : "–";
    setText(byId("stat-band"), band);
    this.showSession(market);
    byId("stat-label").hidden = !market.label;
    setText(byId("stat-label"), market.label);
    byId("stat-label").className = `badge ${market.is_synthetic ? "warn" : ""}`;
    byId("stat-label").title = market.is_synthetic
      ? "The price of this market is made up: no history of the stock was given."
      : "The price comes from publishers this venue trusts; no independent source checks them.";
    document.title = market.mark_ticks ? `${price(market.mark_ticks)} ${market.symbol} · Afterbell` : "Afterbell";
    if (!byId("selector-list").hidden) this.draw();
  }

  showSession(market) {
    const [title, words] = describeSession(market);
    const badge = byId("stat-session");
    setText(badge, market.session);
    badge.className = `badge ${SESSION_KINDS[market.session] ?? "warn"}`;
    setText(byId("session-words"), `${title}: ${words}`);
    byId("session").className = `session ${market.is_halted ? "bad" : ""}`;
    byId("halted").hidden = !market.is_halted;
    setText(byId("halted"), market.is_halted ? words : "");
  }

  // ------------------------------------------------------------------ picking

  toggle(isOpen = byId("selector-list").hidden) {
    if (byId("selector-list").hidden === !isOpen) return;
    byId("selector-list").hidden = !isOpen;
    byId("selector-button").setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) return;
    this.draw();
    byId("selector-list").querySelector(".active")?.focus();
  }

  move(event) {
    if (byId("selector-list").hidden) return;
    const options = [...byId("selector-list").children];
    const at = options.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      options[(next + options.length) % options.length].focus();
    }
    if (event.key === "Escape") {
      this.toggle(false);
      byId("selector-button").focus();
    }
  }

  draw() {
    updateRows(byId("selector-list"), this.all(), {
      key: (market) => market.symbol,
      print: (market) => [market.symbol === this.symbol, market.session, market.is_halted, market.mark_ticks, market.change_ticks],
      build: (market) => this.buildOption(market),
    });
  }

  buildOption(market) {
    const { short, kind } = describeChange(market);
    const isNow = market.symbol === this.symbol;
    return el(
      "button",
      {
        class: `selector-row ${isNow ? "active" : ""}`,
        role: "option",
        type: "button",
        "aria-selected": String(isNow),
        "data-testid": `market-${market.symbol}`,
        onclick: () => {
          this.toggle(false);
          byId("selector-button").focus();
          this.onChoose(market.symbol);
        },
      },
      el("b", {}, market.symbol),
      el(
        "span",
        {},
        el("span", { class: `badge ${market.is_halted ? "bad" : (SESSION_KINDS[market.session] ?? "warn")}` }, market.is_halted ? "HALTED" : market.session),
        market.is_synthetic ? el("span", { class: "badge warn" }, "SYNTHETIC") : null,
      ),
      el("span", {}, market.mark_ticks ? formatPrice(market.mark_ticks, market) : "–"),
      el("span", { class: kind }, short),
    );
  }
}
