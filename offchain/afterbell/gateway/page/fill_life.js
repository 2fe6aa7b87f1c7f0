// Show the life of one fill: matched, submitted, mined, final, with batch and transaction.

import { el, hashButton, openDialog } from "/page/dom.js";
import { formatMoment, formatPrice, formatQuote, formatSize, formatTime } from "/page/units.js";
import { describeReason } from "/page/words.js";

export const LIFE = ["matched", "submitted", "mined", "final"];

export function buildLife(status) {
  const reached = { rejected: 4, sealed: 1 }[status] ?? LIFE.indexOf(status) + 1;
  const bars = LIFE.map((_, step) => el("i", { class: step < reached ? "done" : "" }));
  return el("span", { class: `steps ${status}` }, ...bars, el("b", {}, status));
}

export class FillLife {
  /** context: {venue, account, marketOf(symbol)} */
  constructor(context) {
    this.context = context;
    this.open = null;
    context.account.onChange(() => this.draw());
  }

  show(fill) {
    this.key = `${fill.fill_id}.${fill.role}`;
    const market = this.context.marketOf(fill.symbol);
    const title = `${fill.is_buy ? "Buy" : "Sell"} ${formatSize(fill.size_lots, market)} ${fill.symbol} at ${formatPrice(fill.price_ticks, market)}`;
    this.open = openDialog(title, { testid: "life", onClose: () => (this.open = null) });
    this.shown = null;
    this.draw();
  }

  draw() {
    const fill = this.open && this.context.account.histories.fills.rows.get(this.key);
    if (!fill) return;
    const batch = this.context.account.batches.get(fill.sequence);
    const shown = JSON.stringify([fill.status, fill.transaction, fill.block, batch?.gas_used]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.open.body.replaceChildren(
      el("p", { class: "muted" }, `${fill.role}, fee ${formatQuote(BigInt(fill.fee_quote), 4)} USDC, ${formatMoment(fill.time_ms)} UTC`),
      el("ol", { class: "timeline", "data-testid": "timeline" }, ...this.buildSteps(fill, batch)),
      el("p", { class: "muted" }, "Order ", hashButton(fill.order_id, "Order id")),
    );
  }

  buildSteps(fill, batch) {
    const reached = LIFE.indexOf(fill.status) + 1;
    const { confirmations_blocks: confirmations } = this.context.venue;
    const step = (index, title, ...text) =>
      el("li", { class: `${index < reached ? "done" : ""} ${index === 3 && index < reached ? "end" : ""}` }, el("b", {}, title), el("small", {}, ...text));
    const gas = batch?.gas_used ? `, the whole batch took ${batch.gas_used.toLocaleString("en-US")} gas for ${batch.n_fills} fill${batch.n_fills === 1 ? "" : "s"}` : "";
    const steps = [
      step(0, "Matched", `fill ${fill.fill_id} at ${formatTime(fill.time_ms)} venue time, durable in the journal, in batch ${fill.sequence}`),
      step(1, "Submitted", ...(fill.transaction ? ["transaction ", el("span", { class: "mono" }, fill.transaction), " ", hashButton(fill.transaction)] : ["the batch is not sent to the chain yet"])),
      step(2, "Mined", fill.block === null ? "not in a block yet" : `block ${fill.block}${gas}`),
      step(3, "Final", `${confirmations} block${confirmations === 1 ? "" : "s"} hold it; nobody can take it back`),
    ];
    if (fill.status === "rejected") {
      const why = describeReason(fill.code);
      steps.push(el("li", { class: "done bad" }, el("b", {}, "Refused by the chain"), el("small", {}, `${why || fill.code} (${fill.code}); both sides were put back as they were`)));
    }
    return steps;
  }
}
