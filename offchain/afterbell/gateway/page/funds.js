// The dialog for money: deposit, withdraw, claim, each step shown with its transaction. Must not: decide how money moves;
// deposits.js and the contracts do.

import { get, inWords, post, postSigned } from "/page/api.js";
import { VAULT } from "/page/chain.js";
import { activate, byId, el, setText, showMessage, toast, wireTabs } from "/page/dom.js";
import { WAYS } from "/page/deposits.js";
import { Steps } from "/page/steps.js";
import { Abandoned, WalletError } from "/page/wallet_errors.js";
import { BadNumber, formatQuote, formatScaled, parseQuote, shorten } from "/page/units.js";

const POLL_MS = 400;
const MAX_POLLS = 600;
const WITHDRAWAL_STEPS = ["Sign the withdrawal", "Accepted by the venue", "Batch on chain", "Waits in the vault", "Claimed"];

export class Funds {
  /** context: {venue, account, chain, signer, deposits, keysPanel, wallet(), builder()} */
  constructor(context) {
    this.context = context;
    this.kind = "deposit";
    this.isBusy = false;
    this.steps = new Steps(byId("funds-steps"));
    wireTabs(byId("funds-tabs"), (button) => this.setKind(button.dataset.kind));
    byId("funds-close").addEventListener("click", () => byId("funds").close());
    byId("funds").addEventListener("click", (event) => {
      if (event.target === byId("funds")) byId("funds").close();
    });
    byId("funds-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("funds-max").addEventListener("click", () => this.fillMax());
    byId("claim-own").addEventListener("click", () => this.run(() => this.claim({ isRelayed: false })));
    context.account.onChange((what) => this.hear(what));
  }

  async open(kind = "deposit") {
    if (!this.context.wallet()) return;
    this.setKind(kind);
    if (!byId("funds").open) byId("funds").showModal();
    (kind === "claim" ? byId("funds-submit") : byId("funds-quote")).focus();
    await this.showWays();
  }

  hear(what) {
    if (what === "cleared" && !this.isBusy) this.steps.clear();
    if (byId("funds").open) this.show();
  }

  async showWays() {
    const select = byId("funds-way");
    try {
      const ways = await this.context.deposits.ways();
      const chosen = ways.includes(select.value) ? select.value : ways[0];
      select.replaceChildren(...ways.map((way) => el("option", { value: way }, WAYS[way])));
      select.value = chosen;
    } catch (error) {
      showMessage(byId("funds-error"), inWords(error));
    }
  }

  setKind(kind) {
    this.kind = kind;
    activate(byId("funds-tabs"), byId("funds-tabs").querySelector(`[data-kind="${kind}"]`));
    showMessage(byId("funds-error"), "");
    if (!this.isBusy) this.steps.clear();
    this.show();
  }

  show() {
    const { money, usdcQuote, claimQuote } = this.context.account;
    const isDeposit = this.kind === "deposit";
    byId("funds-field").hidden = this.kind === "claim";
    byId("funds-way-field").hidden = !isDeposit;
    const canLink = isDeposit && !this.context.keysPanel.hasLivingKey();
    byId("funds-link-field").hidden = !canLink;
    if (!canLink) byId("funds-link").checked = false;
    const texts = {
      deposit: usdcQuote === null ? "" : `${formatQuote(usdcQuote)} USDC in your wallet.`,
      withdraw: money
        ? `Up to ${formatQuote(BigInt(money.withdrawable_quote))} USDC now. You sign; the batch carries it; then you claim it from the vault.`
        : "You sign; the batch carries it; then you claim it from the vault.",
      claim: claimQuote > 0n ? `${formatQuote(claimQuote)} USDC wait in the vault for you.` : "Nothing waits in the vault for you.",
    };
    setText(byId("funds-text"), texts[this.kind]);
    setText(byId("funds-submit"), { deposit: "Deposit", withdraw: "Withdraw", claim: "Claim; the venue pays the gas" }[this.kind]);
    byId("funds-submit").disabled = this.isBusy || (this.kind === "claim" && claimQuote === 0n);
    byId("claim-own").hidden = this.kind !== "claim";
    byId("claim-own").disabled = byId("funds-submit").disabled;
  }

  fillMax() {
    const { money, usdcQuote } = this.context.account;
    const most = this.kind === "deposit" ? usdcQuote : money && BigInt(money.withdrawable_quote);
    if (most) byId("funds-quote").value = formatScaled(most, 6, 0).replace(/,/g, "");
  }

  submit() {
    return this.run(() => ({ deposit: this.deposit, withdraw: this.withdraw, claim: this.claim })[this.kind].call(this));
  }

  async run(work) {
    if (this.isBusy) return;
    this.isBusy = true;
    showMessage(byId("funds-error"), "");
    this.steps.clear();
    this.show();
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Abandoned)) showMessage(byId("funds-error"), inWords(error));
      else this.steps.clear();
    } finally {
      this.isBusy = false;
      this.show();
      this.context.account.refreshWallet();
    }
  }

  readQuote(most, where) {
    const quote = parseQuote(byId("funds-quote").value);
    if (quote === 0n) throw new BadNumber("The sum must be more than zero.");
    if (most !== null && quote > most) throw new BadNumber(`${where} ${formatQuote(most)} USDC; enter less.`);
    return quote;
  }

  async deposit() {
    const { account, deposits, keysPanel } = this.context;
    const quote = this.readQuote(account.usdcQuote, "Your wallet holds");
    // Pressed before the token has said what it can do: then it is asked first.
    if (!byId("funds-way").value) await this.showWays();
    const link = byId("funds-link").checked ? await keysPanel.askLimits() : null;
    const way = byId("funds-way").value;
    const { account: name } = account;
    this.steps.begin(deposits.titles(way));
    if (link) keysPanel.keep(link);
    const hash = await this.depositOrForget(way, quote, link);
    byId("funds-quote").value = "";
    await this.steps.run(3, "the venue waits for the block to settle", async () => {
      await this.poll(async () => {
        const { transfers } = await get(`/v1/accounts/${name}/transfers?limit=20`);
        return transfers.find((row) => row.transaction === hash && row.status === "credited");
      });
      return { text: link ? "you can trade; the session key signs from now on" : "you can trade" };
    });
    if (link) await account.refreshKeys();
  }

  /** A key whose deposit never left the wallet would never sign anything. */
  async depositOrForget(way, quote, link) {
    try {
      return await this.context.deposits.run(way, quote, link, this.steps);
    } catch (error) {
      if (link && (error instanceof Abandoned || error instanceof WalletError)) this.context.keysPanel.forget();
      throw error;
    }
  }

  async withdraw() {
    const { account, builder, signer } = this.context;
    const quote = this.readQuote(account.money ? BigInt(account.money.withdrawable_quote) : null, "You can withdraw up to");
    const message = builder().withdrawal(quote);
    const { steps } = this;
    steps.begin(WITHDRAWAL_STEPS);
    const { request } = await steps.run(0, "your wallet signs", async () => ({
      request: await signer.byOwner(message, {
        title: "Sign a withdrawal",
        lines: [
          ["You withdraw", `${formatQuote(quote, 6)} USDC from your account`],
          ["To", `your own address ${shorten(account.owner)}`],
        ],
        what: "sign the withdrawal",
      }),
    }));
    const taken = await steps.run(1, "", async () => {
      const answer = await postSigned("/v1/withdrawals", request);
      return { ...answer, text: answer.sequence === null ? "" : `batch ${answer.sequence}` };
    });
    byId("funds-quote").value = "";
    const mined = await steps.run(2, "waiting for the batch", async () => {
      const row = await this.poll(() => this.withdrawalAt(taken.transfer_id, ["mined", "claimable", "paid"]));
      return { ...row, text: `block ${row.block}` };
    });
    steps.done(3, `${formatQuote(quote, 6)} USDC, yours alone`, mined.transaction);
    steps.set(4, { state: "waiting", text: "press Claim, or leave it there as long as you like" });
    await account.refreshWallet();
    activate(byId("funds-tabs"), byId("funds-tabs").querySelector('[data-kind="claim"]'));
    this.kind = "claim";
  }

  async withdrawalAt(id, statuses) {
    const row = await get(`/v1/withdrawals/${id}`);
    if (row.status === "rejected") throw new Error(`The chain refused the withdrawal: ${row.code}. Your collateral is as it was.`);
    return statuses.includes(row.status) ? row : null;
  }

  async claim({ isRelayed = true } = {}) {
    const { account, chain, signer } = this.context;
    const { owner, claimQuote } = account;
    this.steps.begin([isRelayed ? "The venue sends the claim" : "Send the claim", "Paid into your wallet"]);
    const { transaction } = await this.steps.run(0, "", async () =>
      isRelayed
        ? post("/v1/claims", { recipient: owner })
        : {
            transaction: await signer.send(chain.transaction("vault", VAULT, "claim", owner), {
              title: "Claim from the vault",
              lines: [["You claim", `${formatQuote(claimQuote, 6)} USDC into your own wallet ${shorten(owner)}`]],
              what: "send the claim",
            }),
          },
    );
    await this.steps.run(1, "waiting for a block", async () => {
      const receipt = await chain.mustBeMined(transaction);
      return { text: `block ${Number(receipt.blockNumber)}`, transaction };
    });
    await account.refreshWallet();
    account.refreshSoon("transfers");
    toast("Claim paid", `${formatQuote(claimQuote)} USDC are in your wallet.`, "good");
  }

  /** Asks until there is an answer that is not null. */
  async poll(ask) {
    for (let turn = 0; turn < MAX_POLLS; turn += 1) {
      try {
        const answer = await ask();
        if (answer) return answer;
      } catch (error) {
        // A venue that restarts or is busy is asked again; a refusal is final.
        if (error.message.startsWith("The chain refused")) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new Error("It takes longer than usual. The Transfers table tells when it is through; nothing is lost.");
  }
}
