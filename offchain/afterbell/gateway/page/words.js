// Say in plain words what is signed, what a session means and why an order ended. Must not: round anything that is signed.

import { formatMoment, formatPpm, formatPrice, formatQuote, formatScaled, formatSize, notional, partOf, shorten } from "/page/units.js";

export const TRIGGERS = {
  1: { source: "mark", way: "at or above" },
  2: { source: "mark", way: "at or below" },
  3: { source: "index", way: "at or above" },
  4: { source: "index", way: "at or below" },
};

/** kind of a trigger, as the contract numbers it; 0 is none. */
export function triggerKind(source, isAbove) {
  return { mark: isAbove ? 1 : 2, index: isAbove ? 3 : 4 }[source];
}

export const triggerWords = (kind, ticks, market) =>
  kind ? `${TRIGGERS[kind].source} ${TRIGGERS[kind].way} ${formatPrice(ticks, market)}` : "";

const MANNERS = {
  GTC: "rests in the book until it fills, you cancel it, or it expires",
  GTT: "rests in the book until it fills, you cancel it, or its time is over",
  IOC: "fills at once, what does not fill is given up",
  FOK: "fills whole at once, or not at all",
};

/** One sentence about one leg of an order. */
export function describeOrder(draft) {
  const { market } = draft;
  const trigger = draft.triggerKind ? `When the ${triggerWords(draft.triggerKind, draft.triggerTicks, market)} USD: ` : "";
  const extras = [draft.isPostOnly ? "never as a taker" : "", draft.isReduceOnly ? "only to make your position smaller" : ""];
  return (
    `${trigger}${draft.isBuy ? "buy" : "sell"} ${formatSize(draft.sizeLots, market, 0)} shares of ${market.symbol} at ` +
    `${formatPrice(draft.limitTicks, market)} USD ${draft.isBuy ? "or less" : "or more"}; ${MANNERS[draft.timeInForce]}` +
    extras.filter(Boolean).map((text) => `; ${text}`).join("") +
    `; fee at most ${formatPpm(draft.maxFeePpm)}; valid until ${formatMoment(draft.expiryS * 1000)} UTC`
  );
}

/** The same, line by line, for the question before a wallet's prompt. */
export function orderLines(draft) {
  const { market } = draft;
  const worth = notional(draft.sizeLots, draft.limitTicks);
  const lines = [
    ["You", `${draft.isBuy ? "buy" : "sell"} ${formatSize(draft.sizeLots, market, 0)} shares of ${market.symbol}`],
    ["Worst price", `${formatPrice(draft.limitTicks, market)} USD ${draft.isBuy ? "or less" : "or more"} a share`],
    ["Worth at most", `${formatQuote(worth)} USDC`],
    ["Fee at most", `${formatQuote(partOf(worth, draft.maxFeePpm), 4)} USDC (${formatPpm(draft.maxFeePpm)})`],
    ["Manner", MANNERS[draft.timeInForce]],
    ["Valid until", `${formatMoment(draft.expiryS * 1000)} UTC, venue time`],
  ];
  if (draft.triggerKind) lines.splice(1, 0, ["Only when", `the ${triggerWords(draft.triggerKind, draft.triggerTicks, market)} USD`]);
  if (draft.isReduceOnly) lines.push(["Reduce-only", "it can only make your position smaller"]);
  if (draft.isPostOnly) lines.push(["Post-only", "it never takes from the book"]);
  return lines;
}

export const venueLine = (venue) => ["For", `${venue.domain.name} on chain ${venue.chain_id}, contract ${shorten(venue.domain.verifying_contract)}`];

/** limits: those of typed_data.packLimits; symbols: market id → symbol. */
export function describeKeyLimits(limits, symbols) {
  const markets = limits.markets.map((market) => symbols.get(market) ?? `market ${market}`);
  return [
    ["May", `${limits.isReduceOnly ? "place reduce-only orders" : "place orders"}, amend and cancel them, in your name, without asking you`],
    ["In", markets.length ? markets.join(", ") : "no market"],
    ["Each order", `worth at most ${formatQuote(limits.maxNotionalQuote)} USDC; there is no limit on how many`],
    ["Until", `${formatMoment(limits.keyExpiryS * 1000)} UTC, venue time, or until you revoke it`],
    ["Money", limits.isTradeOnly ? "it can never withdraw" : "it may also withdraw, but only to your own address"],
  ];
}

export const KEY_STORAGE_WORDS =
  "The key is made here and kept in this browser's storage. Whoever can use this browser profile can trade with it inside " +
  "these limits until it ends. Clearing site data forgets it; revoke it when you stop using this device.";

const percentOf = (ppm) => `${formatScaled(BigInt(ppm) / 100n, 2, 0)}%`;

const SESSIONS = {
  PRE: ["Before the bell", "quotes are thin"],
  REGULAR: ["Stock market open", "the price follows the stock"],
  POST: ["After the bell", "late trading is thin"],
  OVERNIGHT: ["Overnight", "only overnight venues trade the stock"],
  CLOSED: ["Stock market closed", "the last close stands; you can trade around it"],
  HALTED: ["Stock halted", "positions stay as they are"],
  CORPORATE_ACTION: ["Corporate action", "a split or dividend is being worked in; orders signed before are dead"],
  DISRUPTED: ["Prices disrupted", "the price sources are silent or disagree"],
  UNKNOWN: ["Session unknown", "no price report has said yet what the stock market does"],
};

/** Returns [title, text] of what the stock market does and what that means here and now. */
export function describeSession(market) {
  const [title, text] = SESSIONS[market.session] ?? SESSIONS.UNKNOWN;
  if (market.is_halted) return ["Halted here", `${market.symbol} is halted: ${market.halt_reason}. Orders are refused; positions stay.`];
  const { rules } = market;
  if (!rules) return [title, `${text} · no rules for this session, so nothing can be traded`];
  const facts = [
    rules.is_opening_allowed ? `margin ${percentOf(rules.initial_margin_ppm)}` : "orders may only make positions smaller",
    `fills within ${percentOf(rules.band_ppm)} of external`,
    market.is_fresh ? "price fresh" : "price too old to take new risk",
  ];
  return [title, `${text} · ${facts.join(" · ")}`];
}

const REASONS = {
  USER: "you cancelled it",
  IOC: "the rest could not fill at once",
  REPLACED: "a newer order took its lane",
  AMENDED: "you amended it",
  OCO: "its other order filled",
  EXPIRED: "its time was over",
  BATCH_FULL: "it met more orders than one batch holds; send the rest again",
  MARKET_HALTED: "the market was halted",
  KEY_REVOKED: "the session key that signed it was revoked",
  KEY_EXPIRED: "the session key that signed it has expired",
  KEY_LIMIT: "it is outside the limits of the session key that signed it",
  CANNOT_FILL: "it could not fill whole, and a fill-or-kill takes nothing less",
  MARGIN: "the account had too little margin for the fill",
  INSUFFICIENT_MARGIN: "the account had too little margin",
  SELF_TRADE: "it would have met your own order",
  WOULD_TAKE: "post-only, and it would have taken",
  PRICE_OUTSIDE_BAND: "its price left the allowed band",
  STALE_PRICE: "the price was too old to take new risk",
  OPENING_NOT_ALLOWED: "positions may only get smaller in this session",
  OPEN_INTEREST_CAP: "the market's open interest is at its cap",
  REDUCE_ONLY: "it would not have made a position smaller",
  SEQ_BELOW_MINIMUM: "a cancel-all stood against it",
  WRONG_EPOCH: "a corporate action made its price mean something else",
  DEAD_LANE: "its lane had moved on",
};

/** Returns why an order ended, in words; codes nobody foresaw are shown as they are. */
export const describeReason = (reason) => (reason ? (REASONS[reason.replace(/\/.*$/, "")] ?? reason) : "");

export const ORDER_STATUS = { OPEN: "open", WAITING: "waiting", FILLED: "filled", CANCELLED: "ended", REJECTED: "refused" };

/** How much of an order that ended was filled decides what to call it. */
export function describeEnd(order, market) {
  if (order.status === "FILLED") return "filled";
  const part = order.filled_lots > 0 ? `${formatSize(order.filled_lots, market)} filled, then ` : "";
  return part + (describeReason(order.reason) || ORDER_STATUS[order.status] || order.status.toLowerCase());
}

