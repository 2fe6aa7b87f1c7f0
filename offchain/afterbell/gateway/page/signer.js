// Decide who signs: the session key of this browser without a prompt, the test wallet, or the wallet after a question in
// words. Must not: let a wallet's prompt appear that was not explained first.

import { askFirst } from "/page/prompts.js";
import { venueLine } from "/page/words.js";

export class Signer {
  /** context: {venue, wallet(), keys} */
  constructor(context) {
    this.context = context;
  }

  /** Signs as the owner. Returns the request to post. */
  async byOwner(message, { title, lines, what }) {
    const wallet = this.context.wallet();
    if (wallet.isTest) return message.toRequest(await wallet.sign(message, what));
    const signature = await askFirst(
      { title, lines: [...lines, venueLine(this.context.venue)], details: message.payload(), walletName: wallet.name },
      () => wallet.sign(message, what),
    );
    return message.toRequest(signature);
  }

  /** Signs with a session key that may, else as the owner. */
  async byKeyOrOwner(message, found, explanation) {
    if (!found.wallet) return this.byOwner(message, explanation);
    return message.toRequest(await found.wallet.signTypedData(message.domain, message.types, message.values));
  }

  /** Sends a transaction of the owner after telling what it does. Returns its hash. */
  send(transaction, { title, lines, what }) {
    const wallet = this.context.wallet();
    if (wallet.isTest) return wallet.send(transaction, what);
    return askFirst({ title, lines, details: transaction, walletName: wallet.name, verb: "Send" }, () => wallet.send(transaction, what));
  }

  /** Who would sign this order, as a sentence. */
  describe(found) {
    const wallet = this.context.wallet();
    if (found.wallet) return "Signed by your session key, without a prompt.";
    const manner = wallet.isTest ? "Signed by the test wallet of this browser, without a prompt." : `${wallet.name} will ask you to sign.`;
    return found.why ? `${found.why}` : manner;
  }
}
