// Compute what an order would cost and change, from what the venue says of account, rules and book. An estimate before
// the fill: the venue and the contract decide. Integers only. Rounding: costs and requirements up, prices against the holder.

import { PPM, absolute, divUp, larger, notional, partOf, smaller } from "/page/units.js";

/** What a taker of `sizeLots` would pay now: {lots, quote} up to a limit; levels from the best. */
export function walkBook(levels, sizeLots, limitTicks, isBuy) {
  let lots = 0n;
  let quote = 0n;
  for (const level of levels) {
    const ticks = BigInt(level.priceTicks);
    if (lots === sizeLots || (isBuy ? ticks > limitTicks : ticks < limitTicks)) break;
    const taken = smaller(sizeLots - lots, BigInt(level.sizeLots));
    lots += taken;
    quote += taken * ticks;
  }
  return { lots, quote };
}

/**
 * The mark at which the account would meet maintenance margin after a fill, other positions unchanged; null: none.
 *
 * Without this market: equity E, maintenance M. With p lots at entry e: E + p x - e = M + |p| x mm, solved for x; a long
 * rounds up, a short down: never better than it is.
 */
export function liquidationAfter(money, leg, fillQuote, feeQuote) {
  const { market } = leg;
  const held = money.positions.find((position) => position.market === market.market);
  const equity = BigInt(money.equity_quote) - BigInt(held?.unrealised_pnl_quote ?? 0);
  const maintenance = BigInt(money.maintenance_margin_quote) - BigInt(held?.maintenance_margin_quote ?? 0);
  const side = leg.isBuy ? 1n : -1n;
  const lots = BigInt(held?.size_lots ?? 0) + side * leg.sizeLots;
  const entry = BigInt(held?.entry_quote ?? 0) + side * fillQuote + feeQuote;
  const ratio = BigInt(market.rules.maintenance_margin_ppm);
  if (lots === 0n) return null;
  if (lots > 0n) {
    const owed = maintenance + entry - equity;
    return owed <= 0n ? null : divUp(owed * PPM, lots * (PPM - ratio));
  }
  const left = equity - entry - maintenance;
  return left <= 0n ? 0n : (left * PPM) / (-lots * (PPM + ratio));
}

/** leg: of order_form.js. Returns numbers for the summary; estimate and liquidation are null where not computable. */
export function previewLeg(leg, { money, levels }) {
  const { market } = leg;
  const worth = notional(leg.sizeLots, leg.limitTicks);
  const feeQuote = partOf(worth, leg.maxFeePpm);
  const isTaking = !leg.triggerKind && !leg.isPostOnly;
  const met = isTaking ? walkBook(levels, leg.sizeLots, leg.limitTicks, leg.isBuy) : { lots: 0n, quote: 0n };
  const held = BigInt(money?.positions.find((position) => position.market === market.market)?.size_lots ?? 0);
  const isClosing = leg.isBuy ? held < 0n : held > 0n;
  const opened = leg.isReduceOnly ? 0n : isClosing ? larger(leg.sizeLots - absolute(held), 0n) : leg.sizeLots;
  const valued = leg.isBuy ? larger(leg.limitTicks, BigInt(market.mark_ticks)) : larger(leg.limitTicks, BigInt(market.mark_ticks));
  const rest = (leg.sizeLots - met.lots) * leg.limitTicks;
  return {
    worth,
    feeQuote,
    estimate: met.lots > 0n ? { lots: met.lots, averageTicks: divUp(met.quote, met.lots) } : null,
    marginQuote: partOf(opened * valued, market.rules.initial_margin_ppm),
    opensLots: opened,
    liquidationTicks: money ? liquidationAfter(money, leg, met.quote + rest, feeQuote) : null,
    hasLiquidation: Boolean(money?.is_known) && !(leg.isReduceOnly && absolute(held) <= leg.sizeLots),
  };
}
