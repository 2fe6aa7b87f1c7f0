// The dialogs for session keys: choose limits, read them in words, link, revoke. Must not: sign by itself.

import { inWords, postSigned } from "/page/api.js";
import { OPERATIONS } from "/page/chain.js";
import { el, openDialog, setText, showMessage, toast } from "/page/dom.js";
import { buildLines } from "/page/prompts.js";
import { packLimits } from "/page/typed_data.js";
import { BadNumber, formatDay, formatMoment, formatQuote, parseDecimal, shorten } from "/page/units.js";
import { KEY_STORAGE_WORDS, describeKeyLimits } from "/page/words.js";
import { Abandoned } from "/page/wallet_errors.js";

const DAY_S = 86_400;
const LIFETIMES = [["1 day", DAY_S], ["7 days", 7 * DAY_S], ["30 days", 30 * DAY_S], ["90 days", 90 * DAY_S], ["179 days", 179 * DAY_S]];
const DEFAULT_LIFETIME_S = 30 * DAY_S;

export class KeysPanel {
  /** context: {venue, clock, account, keys, chain, signer, wallet(), owner(), builder(), markets()} */
  constructor(context) {
    this.context = context;
  }

  symbols() {
    return new Map(this.context.markets().map((market) => [market.market, market.symbol]));
  }

  hasLivingKey() {
    const row = this.context.keys.ownRow(this.context.owner());
    return row !== null && ["active", "linking"].includes(row.status);
  }

  /** Opens the form; resolves with {wallet, key, limits, lines, isOnChain} or raises Abandoned. */
  askLimits({ verb = "Use these limits", hasWay = false } = {}) {
    return new Promise((resolve, reject) => {
      let isChosen = false;
      const { body, close } = openDialog("Session key", {
        testid: "key-form",
        onClose: () => {
          if (!isChosen) reject(new Abandoned("No session key was made."));
        },
      });
      const form = this.buildForm(verb, hasWay);
      body.append(form.node);
      form.node.addEventListener("submit", (event) => {
        event.preventDefault();
        try {
          const limits = form.read();
          const wallet = this.context.keys.make();
          const key = wallet.address.toLowerCase();
          isChosen = true;
          close();
          resolve({ wallet, key, limits, lines: [["Session key", shorten(key)], ...describeKeyLimits(limits, this.symbols())], isOnChain: form.isOnChain() });
        } catch (error) {
          showMessage(form.error, inWords(error));
        }
      });
      form.node.querySelector("input").focus();
    });
  }

  buildForm(verb, hasWay) {
    const markets = this.context.markets();
    const check = (testid, text, isChecked, value = "") =>
      el("label", {}, el("input", { type: "checkbox", "data-testid": testid, checked: isChecked, value }), el("span", {}, text));
    const notional = el("input", { inputmode: "decimal", value: "10000", "data-testid": "key-notional", id: "key-notional" });
    const lifetime = el("select", { "data-testid": "key-lifetime" }, ...LIFETIMES.map(([text, seconds]) => el("option", { value: seconds, selected: seconds === DEFAULT_LIFETIME_S }, text)));
    const boxes = markets.map((market) => check(`key-market-${market.symbol}`, market.symbol, true, market.market));
    const tradeOnly = check("key-trade-only", "Trade only: it can never withdraw", true);
    const reduceOnly = check("key-reduce-only", "Reduce-only: it can only make positions smaller", false);
    const way = el("select", { "data-testid": "key-way" }, el("option", { value: "venue" }, "Through the venue: one signature, no gas"), el("option", { value: "chain" }, "On chain: one transaction of yours"));
    const words = el("div", { class: "words", "data-testid": "key-words", "aria-live": "polite" });
    const error = el("p", { class: "error", role: "alert", hidden: true, "data-testid": "key-error" });
    const read = () => {
      const limits = {
        keyExpiryS: this.context.clock.nowS() + Number(lifetime.value),
        maxNotionalQuote: parseDecimal(notional.value, 6, "largest order"),
        markets: boxes.map((box) => box.querySelector("input")).filter((box) => box.checked).map((box) => Number(box.value)),
        isTradeOnly: tradeOnly.querySelector("input").checked,
        isReduceOnly: reduceOnly.querySelector("input").checked,
      };
      if (limits.maxNotionalQuote === 0n) throw new BadNumber("The largest order must be more than zero.");
      if (!limits.markets.length) throw new BadNumber("Choose at least one market.");
      return limits;
    };
    const refresh = () => {
      try {
        words.replaceChildren(buildLines(describeKeyLimits(read(), this.symbols())));
        showMessage(error, "");
      } catch (problem) {
        words.replaceChildren(el("p", {}, problem.message));
      }
    };
    const node = el(
      "form",
      { class: "stack", autocomplete: "off", oninput: refresh },
      el("p", { class: "muted" }, "A session key signs your orders in this page without a wallet's prompt, inside limits the contract enforces."),
      el("label", { class: "field" }, el("span", {}, "Largest order"), notional, el("em", {}, "USDC")),
      el("label", { class: "field" }, el("span", {}, "Ends after"), lifetime, el("em", {}, "venue time")),
      el("fieldset", { class: "checks" }, el("legend", {}, "Markets"), ...boxes),
      el("div", { class: "checks column" }, tradeOnly, reduceOnly),
      hasWay ? el("label", { class: "field" }, el("span", {}, "Link"), way) : null,
      words,
      el("p", { class: "note" }, KEY_STORAGE_WORDS),
      error,
      el("button", { class: "primary", type: "submit", "data-testid": "key-submit" }, verb),
    );
    refresh();
    return { node, error, read, isOnChain: () => hasWay && way.value === "chain" };
  }

  /** Keeps the key before its link leaves: a link that arrives is never without its key. */
  keep(link) {
    this.context.keys.keep(this.context.owner(), link.wallet);
  }

  forget() {
    this.context.keys.forget(this.context.owner());
  }

  async create() {
    const link = await this.askLimits({ verb: "Create and link", hasWay: true });
    await (link.isOnChain ? this.linkOnChain(link) : this.linkThroughVenue(link));
    await this.context.account.refreshKeys();
  }

  async linkThroughVenue(link) {
    const { builder, signer } = this.context;
    const request = await signer.byOwner(builder().linkKey(link.key, link.limits), {
      title: "Sign a session key",
      lines: link.lines,
      what: "sign the session key",
    });
    const before = this.context.keys.own(this.context.owner());
    this.keep(link);
    try {
      await postSigned("/v1/keys", request);
    } catch (error) {
      // Refused: the key would never sign anything.
      if (before) this.context.keys.keep(this.context.owner(), before);
      else this.context.keys.forget(this.context.owner());
      throw error;
    }
    toast("Session key linked", "It signs your orders from now on, without a prompt.", "good");
  }

  async linkOnChain(link) {
    const { chain, signer } = this.context;
    const hash = await signer.send(chain.transaction("operations", OPERATIONS, "link_key", 0n, link.key, packLimits(link.limits)), {
      title: "Link a session key on chain",
      lines: link.lines,
      what: "link the session key",
    });
    this.keep(link);
    toast("Session key on its way", `transaction ${hash}`);
    await chain.mustBeMined(hash);
    toast("Session key mined", "It signs your orders as soon as the venue has read the block.", "good");
  }

  /** Asks how to revoke a key; the venue's way ends it at once, the chain's way needs nobody. */
  revoke(row) {
    const { body, close } = openDialog("Revoke a session key", { testid: "revoke" });
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const act = (work) => async () => {
      showMessage(error, "");
      try {
        await work();
        close();
        await this.context.account.refreshKeys();
      } catch (problem) {
        if (!(problem instanceof Abandoned)) showMessage(error, inWords(problem));
      }
    };
    body.append(
      el("p", {}, `Key ${shorten(row.key, 10, 8)} can sign orders up to ${formatQuote(row.limits.maxNotionalQuote)} USDC until ${formatMoment(row.limits.keyExpiryS * 1000)} UTC.`),
      el("p", { class: "muted" }, "Through the venue it ends with the next batch and its live orders are cancelled at once. On chain it needs nobody's help: the contract refuses it five minutes after your transaction is mined. A revoked key never comes back."),
      error,
      el(
        "div",
        { class: "actions" },
        el("button", { class: "ghost", type: "button", "data-testid": "revoke-chain", onclick: act(() => this.revokeOnChain(row)) }, "On chain"),
        el("button", { class: "primary", type: "button", "data-testid": "revoke-venue", onclick: act(() => this.revokeThroughVenue(row)) }, "Through the venue"),
      ),
    );
    body.querySelector("[data-testid=revoke-venue]").focus();
  }

  async revokeThroughVenue(row) {
    const { builder, signer } = this.context;
    const request = await signer.byOwner(builder().revokeKey(row.key), {
      title: "Sign a revocation",
      lines: [["You revoke", `session key ${shorten(row.key, 10, 8)}, for good`]],
      what: "sign the revocation",
    });
    await postSigned("/v1/keys/revoke", request);
    toast("Session key revoked", "Its live orders are cancelled; your wallet signs again.");
  }

  async revokeOnChain(row) {
    const { chain, signer } = this.context;
    const hash = await signer.send(chain.transaction("operations", OPERATIONS, "revoke_key", 0n, row.key), {
      title: "Revoke a session key on chain",
      lines: [["You revoke", `session key ${shorten(row.key, 10, 8)}, for good`]],
      what: "revoke the session key",
    });
    toast("Revocation on its way", `transaction ${hash}`);
    await chain.mustBeMined(hash);
    toast("Revocation mined", "The venue drops the key as soon as it reads the block.", "good");
  }

  /** One line beside the account: what signs now. */
  showStatus(node) {
    const { keys, wallet } = this.context;
    if (!wallet()) return;
    const found = keys.find(this.context.owner());
    const row = keys.ownRow(this.context.owner());
    if (found.wallet) {
      setText(node, `Session key signs orders up to ${formatQuote(row.limits.maxNotionalQuote, 0)} USDC until ${formatDay(row.limits.keyExpiryS * 1000)}.`);
    } else setText(node, found.why ?? (wallet().isTest ? "The test wallet signs each order itself." : `${wallet().name} asks you for each order. A session key signs without asking.`));
  }
}
