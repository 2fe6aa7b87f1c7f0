// The order form: fields for each kind of order, the words of what will be signed, a preview of what it costs.

import { inWords } from "/page/api.js";
import { activate, byId, el, setText, showMessage, wireTabs } from "/page/dom.js";
import { KINDS, readLegs } from "/page/order_form.js";
import { describeLegs } from "/page/orders.js";
import { previewLeg } from "/page/preview.js";
import { showDetails } from "/page/prompts.js";
import { orderLines, venueLine } from "/page/words.js";
import { Abandoned } from "/page/wallet_errors.js";
import { BadNumber, PPM, formatPpm, formatPrice, formatQuote, formatScaled, formatSize, larger, parsePrice } from "/page/units.js";

export class Ticket {
  /** context: {venue, clock, wallet(), owner(), market(), book, account, signer, keys, orders} */
  constructor(context) {
    this.context = context;
    this.isBuy = true;
    this.kind = "limit";
    this.isBusy = false;
    byId("side-buy").addEventListener("click", () => this.setSide(true));
    byId("side-sell").addEventListener("click", () => this.setSide(false));
    wireTabs(byId("kind-tabs"), (button) => this.setKind(button.dataset.kind));
    byId("quick-prices").addEventListener("click", (event) => this.fillPrice(event.target.dataset.price));
    byId("quick-sizes").addEventListener("click", (event) => this.fillSize(event.target.dataset.part));
    byId("ticket").addEventListener("input", () => this.refresh());
    byId("ticket").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("ticket-details").addEventListener("click", () => this.showDetails());
    this.setKind("limit");
  }

  setSide(isBuy) {
    this.isBuy = isBuy;
    for (const [id, isActive] of [["side-buy", isBuy], ["side-sell", !isBuy]]) {
      byId(id).classList.toggle("active", isActive);
      byId(id).setAttribute("aria-pressed", String(isActive));
    }
    this.refresh();
  }

  setKind(kind) {
    this.kind = kind;
    activate(byId("kind-tabs"), byId("kind-tabs").querySelector(`[data-kind="${kind}"]`));
    const { fields } = KINDS[kind];
    for (const node of byId("ticket").querySelectorAll("[data-field]")) node.hidden = !fields.includes(node.dataset.field);
    setText(byId("price-label"), { stop: "Worst price", take: "Worst price", oco: "Profit price" }[kind] ?? "Price");
    setText(byId("trigger-label"), { take: "Profit trigger" }[kind] ?? "Stop trigger");
    showMessage(byId("ticket-error"), "");
    this.refresh();
  }

  setPrice(ticks) {
    if (this.kind === "market") this.setKind("limit");
    byId("price").value = formatPrice(ticks, this.context.market()).replace(/,/g, "");
    this.refresh();
  }

  setSize(lots) {
    byId("size").value = formatScaled(lots, this.context.market().lot_exponent, 0).replace(/,/g, "");
    this.refresh();
  }

  clear() {
    for (const id of ["trigger", "price", "stop-price", "size"]) byId(id).value = "";
    this.refresh();
  }

  fillPrice(kind) {
    const { book, market } = this.context;
    const ticks = { bid: book.bestBid(), ask: book.bestAsk(), mark: market().mark_ticks }[kind];
    if (ticks) this.setPrice(BigInt(ticks));
  }

  /** Sets the size to a part, in percent, of what free collateral carries at the price. */
  fillSize(part) {
    const market = this.context.market();
    const { money } = this.context.account;
    if (!part || !market?.rules || !money) return;
    let ticks = BigInt(market.mark_ticks);
    try {
      ticks = larger(ticks, parsePrice(byId("price").value, market));
    } catch {
      // Without a price of its own the mark is what it would fill near.
    }
    const free = BigInt(money.free_quote);
    const perLot = ticks * (BigInt(market.rules.initial_margin_ppm) + BigInt(market.rules.taker_fee_ppm));
    if (free <= 0n || perLot <= 0n) return;
    const lots = (free * BigInt(part) * PPM) / (100n * perLot);
    const step = BigInt(market.rules.size_step_lots);
    this.setSize(lots - (lots % step));
  }

  /** Prefills the opposite of a position: a market order that only reduces. */
  prefillClose(position) {
    const lots = BigInt(position.size_lots);
    this.setSide(lots < 0n);
    this.setKind("market");
    byId("reduce-only").checked = true;
    this.setSize(lots < 0n ? -lots : lots);
    byId("ticket").scrollIntoView({ block: "nearest" });
    byId("submit").focus();
  }

  read() {
    const value = (id) => byId(id).value;
    const { market, book, clock } = this.context;
    return readLegs(
      {
        kind: this.kind,
        isBuy: this.isBuy,
        price: value("price"),
        stopPrice: value("stop-price"),
        trigger: value("trigger"),
        source: value("trigger-source"),
        slippage: value("slippage"),
        size: value("size"),
        force: value("force"),
        lifetimeS: Number(value("lifetime")),
        isReduceOnly: byId("reduce-only").checked,
        isPostOnly: byId("post-only").checked && !byId("post-only").disabled,
      },
      { market: market(), bestBid: book.bestBid(), bestAsk: book.bestAsk(), nowS: clock.nowS() },
    );
  }

  /** Shows what the form means now. */
  refresh() {
    const market = this.context.market();
    const force = this.kind === "market" ? "IOC" : byId("force").value;
    byId("lifetime-field").hidden = byId("force-field").hidden || force !== "GTT";
    byId("post-only").disabled = force === "IOC" || force === "FOK";
    const button = byId("submit");
    button.className = `submit ${this.isBuy ? "buy" : "sell"}`;
    const kind = this.kind === "limit" ? "" : ` · ${KINDS[this.kind].title}`;
    setText(button, `${this.isBuy ? "Buy" : "Sell"} ${market ? market.symbol : ""}${kind}`);
    button.disabled = this.isBusy || !this.context.wallet();
    let read;
    try {
      read = this.read();
    } catch (error) {
      if (!(error instanceof BadNumber)) throw error;
      this.showNothing(error.message);
      return;
    }
    this.legs = read.legs;
    byId("ticket-details").hidden = !this.context.wallet();
    this.showSummary(read.legs);
    this.showWords(read.legs);
  }

  showNothing(message) {
    this.legs = null;
    byId("ticket-details").hidden = true;
    for (const id of ["sum-notional", "sum-estimate", "sum-fee", "sum-margin", "sum-liquidation"]) setText(byId(id), "–");
    const isUntouched = !byId("size").value && !byId("price").value && !byId("trigger").value;
    const hint = this.context.wallet()
      ? "Fill in the form. What you sign will stand here in words."
      : "Connect a wallet to trade. What you sign will stand here in words.";
    byId("signing-words").replaceChildren(el("span", {}, isUntouched ? hint : message));
  }

  showSummary(legs) {
    const { account, book, market } = this.context;
    const levels = this.isBuy ? book.levels().asks : book.levels().bids;
    const leg = legs[0];
    const seen = previewLeg(leg, { money: account.money, levels });
    setText(byId("sum-notional"), `${formatQuote(seen.worth)} USDC`);
    const estimate = seen.estimate
      ? `${formatSize(seen.estimate.lots, market(), 0)} now, about ${formatPrice(seen.estimate.averageTicks, market())}`
      : leg.triggerKind ? "after the trigger" : "rests first";
    setText(byId("sum-estimate"), leg.timeInForce === "IOC" && !seen.estimate && !leg.triggerKind ? "nothing at this price" : estimate);
    setText(byId("sum-fee"), `${formatQuote(seen.feeQuote, 4)} USDC (${formatPpm(leg.maxFeePpm)})`);
    setText(byId("sum-margin"), seen.opensLots === 0n ? "none, it only reduces" : `${formatQuote(seen.marginQuote)} USDC`);
    const price = seen.liquidationTicks;
    const liquidation = !seen.hasLiquidation ? "–" : price === null ? "none" : `${formatPrice(price, market())} USD`;
    setText(byId("sum-liquidation"), liquidation);
    const isNear = seen.hasLiquidation && price !== null && (leg.isBuy ? price >= leg.limitTicks : price <= leg.limitTicks);
    byId("sum-liquidation").className = isNear ? "down" : "";
  }

  showWords(legs) {
    const { signer, keys, owner, wallet } = this.context;
    const lines = describeLegs(legs).map((text, index) => el("span", {}, `${index ? "And, one ending the other: " : "You sign: "}${text}.`));
    const who = wallet() ? signer.describe(keys.findFor(owner(), legs[0])) : "Connect a wallet to sign it.";
    const [, chain] = venueLine(this.context.venue);
    byId("signing-words").replaceChildren(...lines, el("em", {}, `${who} For ${chain}.`));
  }

  showDetails() {
    if (!this.legs) return;
    const lines = this.legs.flatMap((leg) => orderLines(leg));
    const messages = this.legs.map((leg) => this.context.orders.draftMessage(leg).payload());
    showDetails("What you would sign", lines, messages.length === 1 ? messages[0] : messages);
  }

  async submit() {
    if (this.isBusy || !this.context.wallet()) return;
    this.isBusy = true;
    showMessage(byId("ticket-error"), "");
    this.refresh();
    try {
      await this.context.orders.place(this.read().legs);
    } catch (error) {
      if (!(error instanceof Abandoned)) showMessage(byId("ticket-error"), inWords(error));
    } finally {
      this.isBusy = false;
      this.refresh();
    }
  }
}
