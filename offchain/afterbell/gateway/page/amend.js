// The dialog that changes a live order: price, size still wanted and trigger; the rest stays as it was signed.

import { inWords } from "/page/api.js";
import { el, openDialog, showMessage } from "/page/dom.js";
import { DAY_S, GTC_LIFETIME_S } from "/page/order_form.js";
import { BadNumber, formatPrice, formatScaled, parseDecimal, parsePrice, parseSize, priceDecimals } from "/page/units.js";
import { TRIGGERS, describeOrder } from "/page/words.js";
import { Abandoned } from "/page/wallet_errors.js";

const plain = (text) => text.replace(/,/g, "");

/** context: {orders, clock, marketOf(symbol)} */
export function openAmend(context, order) {
  const market = context.marketOf(order.symbol);
  const { body, close } = openDialog(`Change ${order.is_buy ? "buy" : "sell"} ${order.symbol}`, { testid: "amend" });
  const field = (testid, name, value, unit) => {
    const input = el("input", { inputmode: "decimal", value, "data-testid": testid });
    return { input, node: el("label", { class: "field" }, el("span", {}, name), input, el("em", {}, unit)) };
  };
  const price = field("amend-price", "Price", plain(formatPrice(order.limit_ticks, market)), "USD");
  const size = field("amend-size", "Size still wanted", plain(formatScaled(BigInt(order.size_lots - order.filled_lots), market.lot_exponent, 0)), "shares");
  const trigger = order.trigger_kind ? field("amend-trigger", `Trigger, ${TRIGGERS[order.trigger_kind].source} ${TRIGGERS[order.trigger_kind].way}`, plain(formatPrice(order.trigger_ticks, market)), "USD") : null;
  const words = el("p", { class: "signing", "data-testid": "amend-words" });
  const error = el("p", { class: "error", role: "alert", hidden: true, "data-testid": "amend-error" });
  const submit = el("button", { class: "primary", type: "submit", "data-testid": "amend-submit" }, "Change the order");

  const read = () => {
    const nowS = context.clock.nowS();
    const leg = {
      market,
      isBuy: order.is_buy,
      sizeLots: parseSize(size.input.value, market),
      limitTicks: parsePrice(price.input.value, market),
      maxFeePpm: order.max_fee_ppm,
      isReduceOnly: order.reduce_only,
      isPostOnly: order.post_only,
      timeInForce: order.time_in_force,
      // A chosen time stays; a GTC order gets its full life again.
      expiryS: order.time_in_force === "GTT" ? order.expiry_s : nowS + (order.trigger_kind || order.time_in_force === "GTC" ? GTC_LIFETIME_S : DAY_S),
      triggerKind: order.trigger_kind ?? 0,
      triggerTicks: trigger ? parseDecimal(trigger.input.value, priceDecimals(market), "trigger") : 0n,
    };
    if (leg.sizeLots === 0n) throw new BadNumber("The size must be more than zero; cancel the order instead.");
    if (leg.limitTicks === 0n) throw new BadNumber("The price must be more than zero.");
    return leg;
  };
  const refresh = () => {
    try {
      words.textContent = `You sign, instead of the old one: ${describeOrder(read())}.`;
      submit.disabled = false;
    } catch (problem) {
      if (!(problem instanceof BadNumber)) throw problem;
      words.textContent = problem.message;
      submit.disabled = true;
    }
  };
  const form = el(
    "form",
    {
      class: "stack",
      autocomplete: "off",
      oninput: refresh,
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        showMessage(error, "");
        try {
          await context.orders.amend(order, read());
          close();
        } catch (problem) {
          if (!(problem instanceof Abandoned)) showMessage(error, inWords(problem));
          submit.disabled = false;
        }
      },
    },
    price.node,
    size.node,
    trigger?.node,
    el("p", { class: "muted" }, "At the same price a smaller size keeps its place in the queue. If the order fills before the change arrives, nothing changes and you are told."),
    words,
    error,
    submit,
  );
  body.append(form);
  refresh();
  price.input.focus();
}
