// Say in plain words what a wallet answered, and what to do about it (EIP-1193 and EIP-1474 codes).

export class WalletError extends Error {
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

/** The person closed the page's own question: nothing to report. */
export class Abandoned extends Error {}

/** Wallets wrap the node's error in different places. */
function findCode(error) {
  for (const place of [error, error?.data?.originalError, error?.data, error?.error, error?.cause]) {
    if (Number.isInteger(place?.code)) return place.code;
  }
  return null;
}

export const isUnknownChain = (error) =>
  findCode(error) === 4902 || /unrecognized chain|unknown chain|4902/i.test(String(error?.message ?? ""));

/** what: "sign the order", "connect", …; asset names come from the venue. */
export function walletErrorInWords(error, wallet, what) {
  if (error instanceof WalletError || error instanceof Abandoned) return error;
  const code = findCode(error);
  const text = String(error?.message ?? error ?? "");
  const words = {
    4001: `You rejected the request in ${wallet}. Nothing was signed or sent; press the button again to ${what}.`,
    4100: `${wallet} is locked, or does not let this page use the account. Unlock it, choose the account, then connect again.`,
    4200: `${wallet} cannot do this (${text}). Choose another wallet, or trade with a session key linked by another way.`,
    4900: `${wallet} has lost its connection to every chain. Check its network settings, then try again.`,
    4901: `${wallet} is not connected to this chain. Check its network settings, then try again.`,
    4902: `${wallet} does not know this chain. Add it in the wallet's network settings, then try again.`,
    "-32002": `${wallet} already shows a request. Open its window, answer it there, then try again here.`,
  };
  if (words[code]) return new WalletError(words[code], code);
  if (/user (rejected|denied|cancel)/i.test(text)) return new WalletError(words[4001], 4001);
  if (/insufficient funds|exceeds balance.*gas/i.test(text)) {
    return new WalletError(`The account has too little of the chain's own coin to pay for gas. Send it some, then try again to ${what}.`, code);
  }
  if (/revert/i.test(text)) return new WalletError(`The contract refuses this transaction: ${text}`, code);
  return new WalletError(`${wallet} could not ${what}: ${text || "it gave no reason"}${code === null ? "" : ` (code ${code})`}.`, code);
}

export const lockedWords = (wallet) =>
  `${wallet} is locked or shares no account with this page. Unlock it, allow this page to see an account, then connect again.`;
