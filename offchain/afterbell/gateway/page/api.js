// Talk to the gateway: requests that fail in words, and one stream that reconnects and notices gaps.

export class ApiError extends Error {
  constructor(error, status) {
    super(error.message);
    this.code = error.code;
    this.required = error.required;
    this.found = error.found;
    this.action = error.action;
    this.status = status;
  }

  /** One or two sentences for people. */
  inWords() {
    const parts = [this.message];
    if (this.required) parts.push(`required: ${this.required}`);
    if (this.found) parts.push(`found: ${this.found}`);
    return parts.join("; ") + (this.action ? ` – ${this.action}` : "") + ` (${this.code})`;
  }
}

/** Says any error in words. */
export function inWords(error) {
  if (error instanceof ApiError) return error.inWords();
  return error && error.message ? error.message : String(error);
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The venue does not answer; check that it is running.");
  }
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Error(`The venue answered ${response.status} without a message.`);
  }
  if (!response.ok) {
    throw body.error ? new ApiError(body.error, response.status) : new Error(`The venue answered ${response.status}.`);
  }
  return body;
}

export const get = (path) => request(path, { headers: { accept: "application/json" } });
export const post = (path, body) =>
  request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

const BUSY_CODES = ["NOT_READY", "OVERLOADED"];
const BUSY_TRIES = 6;
const BUSY_DELAY_MS = 500;

/** Posts a signed message; a venue that is busy for a moment (a step of the replay, say) is asked again. Sending the
 * same message twice is safe: it has one digest, and the second is refused as a duplicate. */
export async function postSigned(path, body) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await post(path, body);
    } catch (error) {
      if (!BUSY_CODES.includes(error.code) || attempt === BUSY_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_DELAY_MS));
    }
  }
}

let nextRpcId = 1;

/** Calls the local chain's node. */
export async function rpc(method, ...params) {
  const answer = await post("/v1/rpc", { jsonrpc: "2.0", id: nextRpcId++, method, params });
  if (answer.error) throw new Error(`The chain refused ${method}: ${answer.error.message}`);
  return answer.result;
}

/**
 * One WebSocket with many channels. A handler gets (data, kind) with kind "snapshot" or "delta"; a gap leads to a new
 * snapshot. onState gets "live" or "lost".
 */
export class Stream {
  constructor(onState) {
    this.onState = onState;
    this.handlers = new Map();
    this.sequences = new Map();
    this.nMessages = 0;
    this.delayMs = 250;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/v1/stream`);
    this.socket.onopen = () => {
      this.delayMs = 250;
      this.sequences.clear();
      if (this.handlers.size) this.send("subscribe", [...this.handlers.keys()]);
      this.onState("live");
    };
    this.socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    this.socket.onclose = () => {
      this.onState("lost");
      setTimeout(() => this.connect(), this.delayMs);
      this.delayMs = Math.min(this.delayMs * 2, 5_000);
    };
  }

  send(op, channels) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ op, channels }));
  }

  receive(message) {
    this.nMessages += 1;
    const handler = this.handlers.get(message.channel);
    if (!handler) return;
    const isGap = message.kind === "delta" && message.previous_sequence !== this.sequences.get(message.channel);
    if (isGap) {
      this.sequences.delete(message.channel);
      this.send("unsubscribe", [message.channel]);
      this.send("subscribe", [message.channel]);
      return;
    }
    this.sequences.set(message.channel, message.sequence);
    handler(message.data, message.kind);
  }

  subscribe(channel, handler) {
    this.handlers.set(channel, handler);
    this.send("subscribe", [channel]);
  }

  unsubscribe(channel) {
    this.handlers.delete(channel);
    this.sequences.delete(channel);
    this.send("unsubscribe", [channel]);
  }
}
