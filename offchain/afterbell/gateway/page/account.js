// What an account has and did: money, live orders, and pages of orders, fills, transfers and keys. Snapshots replace,
// deltas add, every row has a key: nothing doubles after a reconnect. Must not: draw.

import { get } from "/page/api.js";

const PAGE_ROWS = 50;
const LIVE = new Set(["OPEN", "WAITING"]);
const MAX_BATCHES = 200;
// How far a fill, an order or a transfer has come. An answer that was slow on its way never takes a row back.
const PROGRESS = ["OPEN", "WAITING", "matched", "accepted", "sealed", "submitted", "mined", "claimable", "final", "paid", "credited", "rejected"];
const progressOf = (row) => (PROGRESS.includes(row.status) ? Math.max(PROGRESS.indexOf(row.status), 1) : PROGRESS.length);

/** One history that is read page by page, newest first. */
class History {
  constructor(name, keyOf, orderOf) {
    this.name = name;
    this.keyOf = keyOf;
    this.orderOf = orderOf;
    this.clear();
  }

  clear() {
    this.rows = new Map();
    this.nextBefore = null;
    this.isRead = false;
  }

  adopt(rows) {
    for (const row of rows) {
      const known = this.rows.get(this.keyOf(row));
      const isOld = known && progressOf(row) < progressOf(known);
      this.rows.set(this.keyOf(row), isOld ? { ...row, ...known } : { ...known, ...row });
    }
  }

  newestFirst() {
    return [...this.rows.values()].sort((left, right) => {
      const [a, b] = [this.orderOf(left), this.orderOf(right)];
      return a < b ? 1 : a > b ? -1 : 0;
    });
  }

  /** Reads the newest page again, or the one before the oldest known. */
  async read(account, { isOlder = false } = {}) {
    if (isOlder && this.nextBefore === null) return;
    const before = isOlder ? `&before=${encodeURIComponent(this.nextBefore)}` : "";
    const answer = await get(`/v1/accounts/${account}/${this.name}?limit=${PAGE_ROWS}${before}`);
    this.adopt(answer[this.name]);
    if (isOlder || !this.isRead) this.nextBefore = answer.next_before ?? null;
    this.isRead = true;
  }
}

export class Account {
  /** context: {keys, chain}; listeners hear (what, news) of every change. */
  constructor(context) {
    this.context = context;
    this.listeners = new Set();
    this.histories = {
      orders: new History("orders", (row) => row.order_id, (row) => row.placed_at_ms ?? 0),
      fills: new History("fills", (row) => `${row.fill_id}.${row.role}`, (row) => row.fill_id),
      transfers: new History("transfers", (row) => row.transfer_id, (row) => row.time_ms),
    };
    this.batches = new Map();
    this.turn = 0;
    this.clear();
  }

  clear() {
    this.turn += 1;
    this.owner = null;
    this.account = null;
    this.money = null;
    this.orders = new Map();
    this.usdcQuote = null;
    this.claimQuote = 0n;
    this.context.keys.adopt([]);
    for (const history of Object.values(this.histories)) history.clear();
  }

  onChange(listener) {
    this.listeners.add(listener);
  }

  tell(what, news = null) {
    for (const listener of this.listeners) listener(what, news);
  }

  /** Shows another owner, or nobody. */
  async show(owner) {
    this.clear();
    this.owner = owner;
    this.account = owner && owner + "0".repeat(20);
    this.tell("cleared");
    if (owner) await this.refresh();
  }

  /** Reads everything the stream does not repeat; after a reconnect it fills what was missed. */
  async refresh() {
    const { account, turn } = this;
    if (!account) return;
    const reads = [...Object.values(this.histories).map((history) => history.read(account)), this.refreshKeys(), this.refreshWallet()];
    const answers = await Promise.allSettled(reads);
    if (turn !== this.turn) return;
    this.tell("history");
    // What could be read is shown; what could not is told.
    const failed = answers.find((answer) => answer.status === "rejected");
    if (failed) throw failed.reason;
  }

  async readOlder(name) {
    await this.histories[name].read(this.account, { isOlder: true });
    this.tell("history");
  }

  async refreshHistory(name) {
    if (!this.account) return;
    await this.histories[name].read(this.account);
    this.tell("history");
  }

  async refreshKeys() {
    const { account, turn } = this;
    if (!account) return;
    const answer = await get(`/v1/accounts/${account}/keys`);
    if (turn !== this.turn) return;
    this.context.keys.adopt(answer.keys);
    this.tell("keys");
  }

  /** Reads what only the chain knows: USDC in the wallet and claims in the vault. */
  async refreshWallet() {
    const { owner, turn } = this;
    if (!owner) return;
    try {
      const [usdc, claim] = await Promise.all([this.context.chain.usdcQuote(owner), this.context.chain.claimQuote(owner)]);
      if (turn !== this.turn) return;
      const isSame = usdc === this.usdcQuote && claim === this.claimQuote;
      [this.usdcQuote, this.claimQuote] = [usdc, claim];
      if (!isSame) this.tell("money");
    } catch {
      return; // The node is asked again in a moment; what is shown stays until then.
    }
  }

  liveOrders() {
    return [...this.orders.values()];
  }

  positions() {
    return this.money?.positions ?? [];
  }

  /** Adopts a message of the account's channel. */
  adopt(news, kind) {
    if (news.account) this.money = news.account;
    if (kind === "snapshot") {
      this.orders = new Map();
      // A snapshot has no history: what happened while nobody listened is read.
      if (this.histories.fills.isRead) this.refresh().catch(() => {});
    }
    for (const order of news.orders ?? []) this.adoptOrder(order, kind);
    for (const fill of news.fills ?? []) {
      this.histories.fills.adopt([fill]);
      this.tell("fill", fill);
    }
    for (const step of news.life ?? []) this.adoptLife(step);
    if (news.transfers) this.adoptTransfers(news.transfers);
    if (news.keys || news.key) this.refreshKeys().catch(() => {});
    this.tell("account");
  }

  adoptOrder(order, kind) {
    const known = this.orders.get(order.order_id);
    if (LIVE.has(order.status)) this.orders.set(order.order_id, order);
    else this.orders.delete(order.order_id);
    if (this.histories.orders.isRead && (order.placed_at_ms || this.histories.orders.rows.has(order.order_id))) {
      this.histories.orders.adopt([order]);
    }
    if (kind === "delta" && !LIVE.has(order.status)) {
      this.refreshSoon("orders");
      this.tell("ended", { ...known, ...order });
    } else if (kind === "delta" && known && known.status !== order.status) this.tell("moved", order);
  }

  adoptLife(step) {
    for (const fillId of step.fill_ids) {
      for (const role of ["maker", "taker"]) {
        const fill = this.histories.fills.rows.get(`${fillId}.${role}`);
        if (!fill) continue;
        this.histories.fills.adopt([
          {
            ...fill,
            status: step.status,
            code: step.code ?? null,
            transaction: step.transaction ?? fill.transaction,
            block: step.block ?? fill.block,
          },
        ]);
      }
      if (step.status === "rejected") this.tell("rejected", { fillId, code: step.code });
    }
  }

  adoptTransfers(changes) {
    for (const change of changes) this.tell("transfer", change);
    this.refreshSoon("transfers");
    this.refreshWallet();
  }

  /** Rows have more than the news says: they are read again, once for many news. */
  refreshSoon(name) {
    this.due ??= new Set();
    if (this.due.has(name)) return;
    this.due.add(name);
    setTimeout(() => {
      this.due.delete(name);
      this.refreshHistory(name).catch(() => {});
    }, 150);
  }

  adoptBatches(batches) {
    for (const batch of batches) this.batches.set(batch.sequence, batch);
    if (this.batches.size > MAX_BATCHES) {
      this.batches = new Map([...this.batches].sort((left, right) => right[0] - left[0]).slice(0, MAX_BATCHES / 2));
    }
    const isMoving = [...this.histories.transfers.rows.values()].some(
      (row) => row.kind === "withdrawal" && !["paid", "rejected"].includes(row.status),
    );
    if (isMoving) {
      this.refreshSoon("transfers");
      this.refreshWallet();
    }
    if (this.context.keys.rows.some((row) => row.status === "linking")) this.refreshKeys().catch(() => {});
    this.tell("batches");
  }
}
