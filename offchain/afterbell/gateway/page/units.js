// Numbers of the venue, exact: every price, size and sum is a BigInt of ticks, lots or quote units; text is made here only.
// One lot x one tick = one quote unit (1e-6 USDC). Must not: use floating point for anything that is signed or compared.

export const QUOTE_DECIMALS = 6;
export const PPM = 1_000_000n;

export class BadNumber extends Error {}

/** Returns 10^n. */
export const powerOfTen = (n) => 10n ** BigInt(n);

/** Returns the number of decimals of a price: ticksPerUsd is a power of ten. */
export const priceDecimals = (market) => String(market.ticks_per_usd).length - 1;

/** Groups thousands of a whole number's digits. */
function group(digits) {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Writes `scaled` / 10^decimals exactly, at least `shown` decimals, no others that are zero. */
export function formatScaled(scaled, decimals, shown = decimals) {
  const isNegative = scaled < 0n;
  const digits = (isNegative ? -scaled : scaled).toString().padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  let fraction = decimals ? digits.slice(-decimals) : "";
  while (fraction.length > shown && fraction.endsWith("0")) fraction = fraction.slice(0, -1);
  return (isNegative ? "−" : "") + group(whole) + (fraction ? "." + fraction : "");
}

/** Rounds down to `places` decimals, toward minus infinity: never shows more than there is. */
export function formatQuote(quote, places = 2) {
  const unit = powerOfTen(QUOTE_DECIMALS - places);
  const scaled = quote >= 0n ? quote / unit : -((-quote + unit - 1n) / unit);
  return formatScaled(scaled, places);
}

/** Writes a signed sum with its sign. */
export function formatSignedQuote(quote, places = 2) {
  return (quote > 0n ? "+" : "") + formatQuote(quote, places);
}

export const formatPrice = (ticks, market) => formatScaled(BigInt(ticks), priceDecimals(market));
export const formatSize = (lots, market, shown = 2) => formatScaled(BigInt(lots), market.lot_exponent, shown);

/** Writes ppm as a percentage with two decimals. */
export function formatPpm(ppm, places = 2) {
  const scaled = BigInt(ppm) / powerOfTen(4 - places);
  return formatScaled(scaled, places) + "%";
}

/** Reads a decimal text as an integer of 10^-decimals units. Throws BadNumber in words. */
export function parseDecimal(text, decimals, what) {
  const clean = text.trim().replace(/,/g, "");
  const found = /^(\d{1,15})(?:\.(\d*))?$/.exec(clean) || /^()\.(\d+)$/.exec(clean);
  if (!clean) throw new BadNumber(`Enter a ${what}.`);
  if (!found) throw new BadNumber(`The ${what} must be a plain number like 12.5.`);
  const fraction = (found[2] ?? "").replace(/0+$/, "");
  if (fraction.length > decimals) {
    throw new BadNumber(`The ${what} has more than ${decimals} decimals.`);
  }
  return BigInt((found[1] || "0") + fraction.padEnd(decimals, "0"));
}

export const parsePrice = (text, market) => parseDecimal(text, priceDecimals(market), "price");
export const parseSize = (text, market) => parseDecimal(text, market.lot_exponent, "size");
export const parseQuote = (text) => parseDecimal(text, QUOTE_DECIMALS, "sum");

/** Divides rounding up; both not negative. */
export const divUp = (numerator, denominator) => (numerator + denominator - 1n) / denominator;

export const absolute = (number) => (number < 0n ? -number : number);
export const smaller = (left, right) => (left < right ? left : right);
export const larger = (left, right) => (left > right ? left : right);

/** abs(size) x price, exact. */
export const notional = (lots, ticks) => absolute(lots) * ticks;
/** What a rate takes of a sum, rounded up as the contract does. */
export const partOf = (quote, ppm) => divUp(quote * BigInt(ppm), PPM);

/** Shortens 0x… text for a table. */
export const shorten = (hex, head = 6, tail = 4) => (hex ? `${hex.slice(0, head)}…${hex.slice(-tail)}` : "");

const two = (number) => String(number).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/** Times are venue times in UTC; never the browser's. */
export function formatTime(timeMs) {
  const time = new Date(Number(timeMs));
  return `${two(time.getUTCHours())}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())}`;
}
export function formatDay(timeMs) {
  const time = new Date(Number(timeMs));
  return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]} ${time.getUTCFullYear()}`;
}
export const formatMoment = (timeMs) => `${formatDay(timeMs)} ${formatTime(timeMs)}`;
export function formatVenueTime(timeMs) {
  return `${DAYS[new Date(Number(timeMs)).getUTCDay()]} ${formatDay(timeMs)}, ${formatTime(timeMs)} UTC`;
}
