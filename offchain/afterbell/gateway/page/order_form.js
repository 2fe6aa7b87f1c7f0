// Read the order form into exact legs, or say in words what is missing. A leg is what gets signed; OCO has two.
// Must not: touch the network, or round in the signer's disfavour.

import {
  BadNumber,
  PPM,
  divUp,
  formatQuote,
  formatScaled,
  formatSize,
  larger,
  notional,
  parseDecimal,
  parsePrice,
  parseSize,
  priceDecimals,
  smaller,
} from "/page/units.js";
import { triggerKind } from "/page/words.js";

export const DAY_S = 86_400;
export const GTC_LIFETIME_S = 28 * DAY_S;
const SLIPPAGE_DECIMALS = 4;

/** Fields each kind of order has, beyond side and size. */
export const KINDS = {
  limit: { fields: ["price", "force"], title: "Limit" },
  market: { fields: ["slippage"], title: "Market" },
  stop: { fields: ["trigger", "price", "force"], title: "Stop" },
  take: { fields: ["trigger", "price", "force"], title: "Take-profit" },
  oco: { fields: ["trigger", "price", "stop-price"], title: "OCO" },
};

function checkPrice(ticks, market, what) {
  const step = BigInt(market.rules.price_step_ticks);
  if (ticks === 0n) throw new BadNumber(`The ${what} must be more than zero.`);
  if (ticks % step) throw new BadNumber(`The ${what} must be a multiple of ${formatScaled(step, priceDecimals(market), 2)} USD.`);
  return ticks;
}

function checkSize(sizeLots, limitTicks, isReduceOnly, market) {
  const step = BigInt(market.rules.size_step_lots);
  const minimum = BigInt(market.rules.min_notional_quote);
  if (sizeLots === 0n) throw new BadNumber("The size must be more than zero.");
  if (sizeLots % step) throw new BadNumber(`The size must be a multiple of ${formatSize(step, market, 0)} shares.`);
  if (!isReduceOnly && notional(sizeLots, limitTicks) < minimum) {
    throw new BadNumber(`The order must be worth at least ${formatQuote(minimum)} USDC.`);
  }
}

/** Which way a trigger points: stops follow the price, take-profits wait for a better one. */
const isTriggerAbove = (kind, isBuy) => (kind === "stop") === isBuy;

/** The worst price of a market order: so many percent beyond the best one, on a step, inside the band. */
export function worstTicks(bestTicks, isBuy, slippagePpm, market) {
  const step = BigInt(market.rules.price_step_ticks);
  const best = BigInt(bestTicks);
  const distance = best * slippagePpm;
  if (isBuy) {
    const ticks = (best * PPM + distance) / PPM;
    const inside = market.band_high_ticks ? smaller(ticks, BigInt(market.band_high_ticks)) : ticks;
    return inside - (inside % step);
  }
  const ticks = divUp(best * PPM - smaller(distance, best * PPM), PPM);
  const inside = market.band_low_ticks ? larger(ticks, BigInt(market.band_low_ticks)) : ticks;
  return divUp(inside, step) * step;
}

function checkTrigger(kind, isBuy, triggerTicks, source, market) {
  const now = BigInt(source === "index" ? market.index_ticks : market.mark_ticks);
  const isAbove = isTriggerAbove(kind, isBuy);
  if (now > 0n && (isAbove ? now >= triggerTicks : now <= triggerTicks)) {
    throw new BadNumber(
      `The ${source} is already ${isAbove ? "at or above" : "at or below"} that trigger: this ${kind === "stop" ? "stop" : "take-profit"} would act at once. ` +
        `A ${kind === "stop" ? "stop" : "take-profit"} to ${isBuy ? "buy" : "sell"} needs a trigger ${isAbove ? "above" : "below"} the ${source}.`,
    );
  }
}

/**
 * fields: {kind, isBuy, price, stopPrice, trigger, source, slippage, size, force, lifetimeS, isReduceOnly, isPostOnly};
 * state: {market, bestBid, bestAsk, nowS}. Returns {kind, legs}. Throws BadNumber in words.
 */
export function readLegs(fields, { market, bestBid, bestAsk, nowS }) {
  if (!market) throw new BadNumber("No market is chosen yet.");
  if (!market.rules) throw new BadNumber(`${market.symbol} cannot be traded in this session.`);
  const common = {
    market,
    isBuy: fields.isBuy,
    isReduceOnly: fields.isReduceOnly,
    isPostOnly: false,
    maxFeePpm: market.rules.taker_fee_ppm,
    triggerKind: 0,
    triggerTicks: 0n,
    timeInForce: "GTC",
    expiryS: nowS + GTC_LIFETIME_S,
  };
  const legs = fields.kind === "market" ? [readMarket(fields, common, bestBid, bestAsk, nowS)] : readPriced(fields, common, nowS);
  const sizeLots = parseSize(fields.size, market);
  for (const leg of legs) {
    leg.sizeLots = sizeLots;
    checkSize(sizeLots, leg.limitTicks, leg.isReduceOnly, market);
  }
  return { kind: fields.kind, legs };
}

function readMarket(fields, common, bestBid, bestAsk, nowS) {
  const best = fields.isBuy ? bestAsk : bestBid;
  if (best === null) throw new BadNumber(`Nobody ${fields.isBuy ? "sells" : "buys"} now: a market order would find nothing.`);
  const slippagePpm = parseDecimal(fields.slippage, SLIPPAGE_DECIMALS, "slippage");
  if (slippagePpm > 200_000n) throw new BadNumber("The slippage must be at most 20 %.");
  const limitTicks = worstTicks(best, fields.isBuy, slippagePpm, common.market);
  if (fields.isBuy ? limitTicks < BigInt(best) : limitTicks > BigInt(best)) {
    throw new BadNumber("The best price is outside the band: a market order would find nothing.");
  }
  return { ...common, limitTicks, timeInForce: "IOC", expiryS: nowS + DAY_S };
}

function readPriced(fields, common, nowS) {
  const { market } = common;
  const isTriggered = fields.kind === "stop" || fields.kind === "take";
  const hasTerms = fields.kind !== "oco";
  const timeInForce = hasTerms ? fields.force : "GTC";
  // A waiting order may act late: its life is that of a resting one, whatever it does then.
  const lifetimeS = timeInForce === "GTT" ? fields.lifetimeS : timeInForce === "GTC" || isTriggered ? GTC_LIFETIME_S : DAY_S;
  const base = { ...common, timeInForce, expiryS: nowS + lifetimeS };
  const limitTicks = checkPrice(parsePrice(fields.price, market), market, fields.kind === "oco" ? "profit price" : "price");
  if (fields.kind === "limit") return [{ ...base, limitTicks, isPostOnly: fields.isPostOnly }];
  const triggerTicks = checkPrice(parseDecimal(fields.trigger, priceDecimals(market), "trigger"), market, "trigger");
  const kind = fields.kind === "take" ? "take" : "stop";
  checkTrigger(kind, fields.isBuy, triggerTicks, fields.source, market);
  const trigger = { triggerTicks, triggerKind: triggerKind(fields.source, isTriggerAbove(kind, fields.isBuy)) };
  if (isTriggered) return [{ ...base, limitTicks, ...trigger, isPostOnly: fields.isPostOnly && timeInForce !== "IOC" && timeInForce !== "FOK" }];
  const stopTicks = checkPrice(parseDecimal(fields.stopPrice, priceDecimals(market), "stop price"), market, "stop price");
  return [
    { ...base, limitTicks, isPostOnly: fields.isPostOnly },
    { ...base, limitTicks: stopTicks, ...trigger },
  ];
}

/** The lowest lane of none of these orders and not taken a moment ago: each order needs its own, the two of an OCO share one. */
export function freeLane(liveOrders, takenLanes) {
  const MAX_LANE = 65_534;
  const used = new Set([...liveOrders.map((order) => order.lane), ...takenLanes]);
  for (let lane = 0; lane <= MAX_LANE; lane += 1) if (!used.has(lane)) return lane;
  throw new BadNumber("Every lane has a resting order; cancel some first.");
}
