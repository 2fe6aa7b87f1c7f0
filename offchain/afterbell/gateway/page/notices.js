// Tell what happens to the account while nobody looks at the table.

import { toast } from "/page/dom.js";
import { describeReason } from "/page/words.js";
import { formatPrice, formatQuote, formatSize } from "/page/units.js";

const EXPECTED_ENDS = new Set(["USER", "IOC", "AMENDED", "REPLACED"]);

/** marketOf(symbol) → market. */
export function tellNews(account, marketOf) {
  account.onChange((what, news) => {
    if (what === "fill" && news.role === "maker") {
      const market = marketOf(news.symbol);
      toast(`${news.is_buy ? "Bought" : "Sold"} ${formatSize(news.size_lots, market)} ${news.symbol}`, `your order met a taker at ${formatPrice(news.price_ticks, market)} USD`, "good");
    }
    if (what === "ended" && news.status !== "FILLED" && news.reason && !EXPECTED_ENDS.has(news.reason)) {
      toast("Order ended", `${news.symbol ? `${news.symbol}: ` : ""}${describeReason(news.reason)}`);
    }
    if (what === "moved") {
      toast(news.status === "WAITING" ? "Order waits again" : "Trigger met", `${news.symbol}: ${news.status === "WAITING" ? "its trigger is not met any more" : "your order is in the book"}`);
    }
    if (what === "rejected") toast(`Fill ${news.fillId} was refused by the chain`, describeReason(news.code), "bad");
    if (what === "transfer" && news.status === "credited") toast("Deposit credited", `${formatQuote(BigInt(news.quote))} USDC`, "good");
  });
}
