// Connect, show and leave a wallet: the list of those announced, the banner of a wrong chain, the account's money.
// Must not: sign.

import { inWords, post } from "/page/api.js";
import { byId, copyText, el, openDialog, setText, showMessage, toast } from "/page/dom.js";
import { InjectedWallet } from "/page/injected_wallet.js";
import { TestWallet } from "/page/test_wallet.js";
import { WalletDiscovery } from "/page/wallet_discovery.js";
import { formatQuote, formatScaled, shorten } from "/page/units.js";

const SILENT_MS = 1_500;

export class WalletPanel {
  /** context: {venue, account, keysPanel, onWallet(wallet)} */
  constructor(context) {
    this.context = context;
    this.wallet = null;
    this.discovery = new WalletDiscovery();
    this.discovery.onChange(() => {
      this.drawChoices();
      this.reconnect();
    });
    byId("wallet-button").addEventListener("click", () => this.openChoices());
    byId("fund-wallet").addEventListener("click", () => this.fund());
    byId("address").addEventListener("click", () => copyText(this.wallet.address, "Address"));
    byId("chain-switch").addEventListener("click", () => this.switchChain());
    context.account.onChange(() => this.showMoney());
  }

  /** Takes up the wallet chosen last time, without a prompt. */
  async begin() {
    const { venue } = this.context;
    if (this.discovery.remembered() === "test" && venue.is_local_chain && TestWallet.isKnown(venue)) {
      await this.use(TestWallet.open(venue));
      return;
    }
    this.silentUntil = performance.now() + SILENT_MS;
    this.discovery.ask();
    await this.reconnect();
  }

  async reconnect() {
    const rdns = this.discovery.remembered();
    if (this.wallet || this.isReconnecting || !rdns || performance.now() > (this.silentUntil ?? 0)) return;
    const choice = this.discovery.wallets().find((found) => found.rdns === rdns);
    if (!choice) return;
    this.isReconnecting = true;
    try {
      const wallet = new InjectedWallet(this.context.venue, choice);
      if (await wallet.connect({ isSilent: true })) await this.use(wallet);
    } catch {
      return; // Asked silently: the person will press Connect, and then hears why.
    } finally {
      this.isReconnecting = false;
    }
  }

  // ------------------------------------------------------------------ choosing

  openChoices() {
    const { body, close } = openDialog(this.wallet ? "Your wallet" : "Connect a wallet", { testid: "wallets", onClose: () => (this.choices = null) });
    this.choices = { body, close };
    this.drawChoices();
    this.discovery.ask();
  }

  drawChoices() {
    if (!this.choices) return;
    const { venue } = this.context;
    const found = this.discovery.wallets();
    const choices = found.map((choice) =>
      this.buildChoice(choice.name, choice.icon, choice.rdns, () => this.connect(choice)),
    );
    if (venue.is_local_chain) {
      const name = TestWallet.isKnown(venue) ? "Test wallet of this browser" : "Create a test wallet";
      choices.push(this.buildChoice(name, "/page/favicon.svg", "test", () => this.useTestWallet(), "A key made in this browser, funded with test USDC. It has no value anywhere else."));
    }
    this.error = el("p", { class: "error", role: "alert", "data-testid": "wallet-error", hidden: true });
    this.note = el("p", { class: "progress", role: "status", "data-testid": "wallet-progress", hidden: true });
    this.choices.body.replaceChildren(
      found.length ? "" : el("p", { class: "note", "data-testid": "no-wallet" }, "No wallet was found in this browser. Install an Ethereum wallet extension, unlock it, and it appears here (EIP-6963); some need the page reloaded."),
      el("div", { class: "choices", role: "list" }, ...choices),
      this.note,
      this.error,
      this.wallet ? el("button", { class: "ghost", type: "button", "data-testid": "disconnect", onclick: () => this.leave() }, `Disconnect ${this.wallet.name}`) : "",
    );
    this.choices.body.querySelector("button")?.focus();
  }

  buildChoice(name, icon, rdns, onclick, text = null) {
    const isNow = this.wallet?.rdns === rdns;
    return el(
      "button",
      { class: "choice", type: "button", "data-testid": `wallet-${rdns}`, onclick },
      icon ? el("img", { src: icon, alt: "", width: 28, height: 28 }) : el("span", { class: "blank" }),
      el("span", {}, el("b", {}, name), el("small", {}, isNow ? `connected as ${shorten(this.wallet.address)}` : (text ?? rdns))),
    );
  }

  async connect(choice) {
    const wallet = new InjectedWallet(this.context.venue, choice);
    showMessage(this.error, "");
    showMessage(this.note, `Waiting for ${choice.name}: unlock it if it is locked, and allow this page to see an account.`);
    const { error, note } = this;
    try {
      await wallet.connect();
    } catch (problem) {
      showMessage(error, inWords(problem));
      return;
    } finally {
      showMessage(note, "");
    }
    this.choices?.close();
    await this.use(wallet);
    if (!wallet.isOnChain()) await this.switchChain();
  }

  async useTestWallet() {
    const { venue } = this.context;
    const isNew = !TestWallet.isKnown(venue);
    this.choices?.close();
    const wallet = TestWallet.open(venue);
    await Promise.all([this.use(wallet), isNew ? this.fund(wallet) : null]);
  }

  async use(wallet) {
    this.wallet?.disconnect();
    this.wallet = wallet;
    this.discovery.remember(wallet.rdns);
    wallet.onChange = (what) => this.hear(what);
    this.show();
    await this.context.onWallet(wallet);
  }

  async leave() {
    this.choices?.close();
    this.wallet?.disconnect();
    this.wallet = null;
    this.discovery.remember(null);
    this.show();
    await this.context.onWallet(null);
  }

  /** What the wallet did by itself. */
  async hear(what) {
    if (what === "chain") this.show();
    if (what === "account") {
      toast("Another account", `${this.wallet.name} now shows ${shorten(this.wallet.address)}.`);
      this.show();
      await this.context.onWallet(this.wallet);
    }
    if (what === "locked") {
      const { name } = this.wallet;
      this.wallet.disconnect();
      this.wallet = null;
      this.show();
      await this.context.onWallet(null);
      toast(`${name} is locked`, "Or it no longer shares an account with this page. Unlock it and connect again.", "bad");
    }
  }

  async switchChain() {
    try {
      await this.wallet.mustBeOnChain();
    } catch (error) {
      toast("Wrong chain", inWords(error), "bad");
    }
    this.show();
  }

  // ------------------------------------------------------------------ showing

  show() {
    const { wallet } = this;
    const { venue } = this.context;
    setText(byId("wallet-button"), wallet ? shorten(wallet.address) : "Connect wallet");
    byId("wallet-button").classList.toggle("connected", wallet !== null);
    byId("wallet-button").setAttribute("aria-label", wallet ? `${wallet.name}, ${wallet.address}` : "Connect wallet");
    byId("wallet-empty").hidden = wallet !== null;
    byId("wallet-full").hidden = wallet === null;
    byId("fund-wallet").hidden = wallet === null || !venue.is_local_chain;
    const isWrong = wallet !== null && !wallet.isOnChain();
    byId("chain-banner").hidden = !isWrong;
    if (isWrong) {
      setText(byId("chain-text"), `${wallet.name} is on chain ${wallet.chainId}; this venue is on chain ${venue.chain_id}. Nothing can be signed until it is on that chain.`);
    }
    setText(byId("address"), wallet ? shorten(wallet.address) : "");
    byId("address").hidden = wallet === null;
    if (wallet) {
      byId("address").title = `${wallet.address} – click to copy`;
      byId("address").setAttribute("aria-label", `Your address ${wallet.address}, copy`);
    }
    this.showMoney();
  }

  showMoney() {
    const { usdcQuote, claimQuote, money } = this.context.account;
    setText(byId("wallet-usdc"), usdcQuote === null ? "–" : `${formatQuote(usdcQuote)} USDC`);
    for (const name of ["collateral", "equity", "free"]) {
      setText(byId(name), money ? `${formatQuote(BigInt(money[`${name}_quote`]))} USDC` : "–");
    }
    setText(byId("open-claim"), claimQuote > 0n ? `Claim ${formatQuote(claimQuote)}` : "Claim");
    byId("open-claim").hidden = claimQuote === 0n;
    this.context.keysPanel.showStatus(byId("key-status"));
    const hasKey = this.context.keysPanel.hasLivingKey();
    setText(byId("open-key"), hasKey ? "New session key" : "Session key");
    if (!money) return;
    const equity = BigInt(money.equity_quote);
    const used = BigInt(money.initial_margin_quote) + BigInt(money.order_margin_quote);
    const percent = equity > 0n ? Number((used * 100n) / equity) : 0;
    byId("margin-meter").style.width = `${Math.min(percent, 100)}%`;
    const health = money.health_ppm === null ? "" : ` · health ${formatScaled(BigInt(money.health_ppm) / 10_000n, 2)}x`;
    setText(byId("margin-text"), `${percent}% of equity in margin${health}`);
    byId("margin-text").title = "Health is equity over maintenance margin; below 1x a position may be liquidated.";
  }

  async fund(wallet = this.wallet) {
    byId("fund-wallet").disabled = true;
    try {
      const grant = await post("/v1/faucet", { address: wallet.address });
      await this.context.account.refreshWallet();
      toast(`${formatQuote(BigInt(grant.usdc_quote), 0)} test USDC in the wallet`, "Deposit some of it to trade.", "good");
    } catch (error) {
      toast("The faucet gave nothing", inWords(error), "bad");
    } finally {
      byId("fund-wallet").disabled = false;
    }
  }
}
