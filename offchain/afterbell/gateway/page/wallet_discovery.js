// Find the wallets of this browser by EIP-6963 and remember which one was chosen.

const STORED = "afterbell.wallet";

export class WalletDiscovery {
  constructor() {
    this.found = new Map();
    this.listeners = new Set();
    window.addEventListener("eip6963:announceProvider", (event) => this.adopt(event.detail));
    this.ask();
  }

  ask() {
    window.dispatchEvent(new Event("eip6963:requestProvider"));
  }

  adopt(detail) {
    const { info, provider } = detail ?? {};
    if (typeof info?.uuid !== "string" || typeof provider?.request !== "function") return;
    const name = String(info.name ?? "").slice(0, 60) || "A wallet";
    this.found.set(info.uuid, { id: info.uuid, name, rdns: String(info.rdns ?? info.uuid), icon: safeIcon(info.icon), provider });
    for (const listener of this.listeners) listener();
  }

  /** Every announced wallet; a browser with an old wallet only gets that one. */
  wallets() {
    if (this.found.size || typeof window.ethereum?.request !== "function") return [...this.found.values()];
    return [{ id: "window.ethereum", name: "Browser wallet", rdns: "window.ethereum", icon: null, provider: window.ethereum }];
  }

  onChange(listener) {
    this.listeners.add(listener);
  }

  remembered() {
    return localStorage.getItem(STORED);
  }

  remember(rdns) {
    if (rdns) localStorage.setItem(STORED, rdns);
    else localStorage.removeItem(STORED);
  }
}

/** EIP-6963 icons are data URIs; anything else would leave this origin. An <img> never runs what it shows. */
function safeIcon(icon) {
  return typeof icon === "string" && /^data:image\/(png|svg\+xml|webp|jpeg|gif)[;,]/.test(icon) ? icon : null;
}
