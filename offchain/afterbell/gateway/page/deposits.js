// The ways money comes in: one signature the venue carries (EIP-3009), one signature and one own transaction (EIP-2612),
// or approve and deposit. Each way optionally links a session key. Must not: draw.

import { Signature } from "/vendor/ethers.js";
import { post } from "/page/api.js";
import { TOKEN, VAULT } from "/page/chain.js";
import { NO_KEY, packLimits } from "/page/typed_data.js";
import { formatQuote } from "/page/units.js";

const VALID_S = 3_600;
const REPLAY_VALID_S = 7 * 86_400;

export const WAYS = {
  authorization: "One signature; the venue sends it and pays the gas",
  permit: "One signature and one transaction of yours",
  approval: "Two transactions of yours: approve, then deposit",
};

export class Deposits {
  /** context: {venue, clock, chain, signer, wallet(), builder()} */
  constructor(context) {
    this.context = context;
    this.known = new Map();
  }

  /** Which ways this wallet and token have, best first. */
  async ways() {
    const { chain, wallet } = this.context;
    const { address } = wallet();
    if (!this.known.has(address)) this.known.set(address, await this.findWays(chain, address));
    return this.known.get(address).ways;
  }

  async findWays(chain, address) {
    const domain = (await chain.isContractWallet(address)) ? null : await chain.tokenDomain();
    const ways = ["approval"];
    if (domain) {
      const [hasPermit, hasAuthorization] = await Promise.all([
        chain.hasToken("nonces", address),
        chain.hasToken("authorizationState", address, `0x${"0".repeat(64)}`),
      ]);
      if (hasPermit) ways.unshift("permit");
      if (hasAuthorization) ways.unshift("authorization");
    }
    return { ways, domain };
  }

  titles(way) {
    return {
      authorization: ["Sign the deposit", "The venue sends it", "Mined", "Credited"],
      permit: ["Sign the permission", "Send the deposit", "Mined", "Credited"],
      approval: ["Approve the vault", "Send the deposit", "Mined", "Credited"],
    }[way];
  }

  /** link: {key, limits} or null. Runs every step but the credit; returns the transaction's hash. */
  async run(way, quote, link, steps) {
    const key = link?.key ?? NO_KEY;
    const limits = link ? packLimits(link.limits) : 0n;
    const lines = [["You deposit", `${formatQuote(quote, 6)} USDC into your own account`], ...(link ? link.lines : [])];
    const hash = await { authorization: this.authorize, permit: this.permit, approval: this.approve }[way].call(this, quote, key, limits, lines, steps);
    await steps.run(2, "waiting for a block", async () => {
      const receipt = await this.context.chain.mustBeMined(hash);
      return { text: `block ${Number(receipt.blockNumber)}`, transaction: hash };
    });
    return hash;
  }

  async validUntilS() {
    const isReplay = this.context.clock.status?.mode === "replay";
    return Math.max(await this.context.chain.nowS(), this.context.clock.nowS()) + (isReplay ? REPLAY_VALID_S : VALID_S);
  }

  async authorize(quote, key, limits, lines, steps) {
    const { builder, signer, wallet } = this.context;
    const { domain } = this.known.get(wallet().address);
    const message = builder().authorization(domain, quote, key, limits, await this.validUntilS());
    const signed = await steps.run(0, `${wallet().name} signs`, async () => ({
      request: await signer.byOwner(message, {
        title: "Sign a deposit",
        lines: [...lines, ["How", "the venue carries your signature to the vault and pays the gas; it can do nothing else with it"]],
        what: "sign the deposit",
      }),
    }));
    const sent = await steps.run(1, "the venue's relayer takes it to the chain", () => post("/v1/deposits/authorization", signed.request));
    return sent.transaction;
  }

  async permit(quote, key, limits, lines, steps) {
    const { builder, signer, wallet, chain } = this.context;
    const { address } = wallet();
    const { domain } = this.known.get(address);
    const deadline = await this.validUntilS();
    const message = builder().permit(domain, quote, await chain.call("token", TOKEN, "nonces", address), deadline);
    const signed = await steps.run(0, `${wallet().name} signs`, async () => ({
      request: await signer.byOwner(message, {
        title: "Sign a permission",
        lines: [["You allow", `the vault to take ${formatQuote(quote, 6)} USDC from your wallet, once`]],
        what: "sign the permission",
      }),
    }));
    const { v, r, s } = Signature.from(signed.request.signature);
    const transaction = chain.transaction("vault", VAULT, "deposit_with_permit", address, 0n, quote, BigInt(deadline), v, r, s, key, limits);
    return this.send(1, transaction, lines, steps);
  }

  async approve(quote, key, limits, lines, steps) {
    const { signer, wallet, chain, venue } = this.context;
    const { address } = wallet();
    const allowance = await chain.call("token", TOKEN, "allowance", address, venue.addresses.vault);
    if (allowance >= quote) steps.done(0, "already approved");
    else {
      await steps.run(0, `${wallet().name} sends the approval`, async () => {
        const hash = await signer.send(chain.transaction("token", TOKEN, "approve", venue.addresses.vault, quote), {
          title: "Approve the vault",
          lines: [["You allow", `the vault to take ${formatQuote(quote, 6)} USDC from your wallet`]],
          what: "approve the vault",
        });
        await chain.mustBeMined(hash);
        return { text: "mined", transaction: hash };
      });
    }
    const transaction =
      key === NO_KEY
        ? chain.transaction("vault", VAULT, "deposit", address, 0n, quote)
        : chain.transaction("vault", VAULT, "deposit_and_link", 0n, quote, key, limits);
    return this.send(1, transaction, lines, steps);
  }

  async send(index, transaction, lines, steps) {
    const { signer, wallet } = this.context;
    const sent = await steps.run(index, `${wallet().name} sends the deposit`, async () => ({
      transaction: await signer.send(transaction, { title: "Send the deposit", lines, what: "send the deposit" }),
    }));
    return sent.transaction;
  }
}
