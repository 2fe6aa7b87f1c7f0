// One WebSocket with many channels. It reconnects, resumes where it was, and notices gaps, silence and wrong books.
// Must not: hand a handler the same message twice, or one with a message missing before it.

import { checksumOf } from "/page/checksum.js";

const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 5_000;
const SILENCE_MS = 8_000;

/**
 * A handler gets (news, kind) with kind "snapshot" or "delta"; it may return the levels of its book to have them
 * compared with the message's checksum. onState gets "live" or "lost".
 */
export class Stream {
  constructor(onState) {
    this.onState = onState;
    this.handlers = new Map();
    this.sequences = new Map();
    this.streamId = null;
    this.nMessages = 0;
    this.nResumed = 0;
    this.nMismatches = 0;
    this.delayMs = FIRST_DELAY_MS;
    this.heardAt = performance.now();
    this.connect();
    setInterval(() => this.mustHear(), 1_000);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/stream`);
    this.socket = socket;
    this.heardAt = performance.now();
    socket.onopen = () => {
      this.delayMs = FIRST_DELAY_MS;
      this.heardAt = performance.now();
      if (this.handlers.size) this.send("subscribe", [...this.handlers.keys()], this.resumePoint());
      this.onState("live");
    };
    socket.onmessage = (event) => {
      this.heardAt = performance.now();
      this.receive(JSON.parse(event.data));
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.onState("lost");
      setTimeout(() => this.connect(), this.delayMs);
      this.delayMs = Math.min(this.delayMs * 2, MAX_DELAY_MS);
    };
  }

  /** A connection that died without a word is given up: the clock alone speaks every second. */
  mustHear() {
    if (this.socket.readyState !== WebSocket.OPEN || performance.now() - this.heardAt < SILENCE_MS) return;
    const silent = this.socket;
    silent.onmessage = null;
    silent.onclose = null;
    silent.close();
    this.onState("lost");
    this.connect();
  }

  resumePoint() {
    if (!this.streamId || !this.sequences.size) return null;
    const known = [...this.sequences].filter(([channel]) => this.handlers.has(channel));
    return { stream_id: this.streamId, ...Object.fromEntries(known) };
  }

  send(op, channels, resume = null) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify(resume ? { op, channels, resume } : { op, channels }));
  }

  receive(message) {
    this.nMessages += 1;
    if (message.kind === "hello") {
      this.streamId = message.stream_id;
      return;
    }
    const { channel } = message;
    const handler = this.handlers.get(channel);
    if (!handler) return;
    if (message.kind === "resumed") {
      this.nResumed += 1;
      if (message.sequence !== this.sequences.get(channel)) this.startOver(channel);
      return;
    }
    if (message.kind === "delta" && message.previous_sequence !== this.sequences.get(channel)) {
      this.startOver(channel);
      return;
    }
    this.sequences.set(channel, message.sequence);
    const levels = handler(message.data, message.kind);
    if (levels && message.checksum !== undefined && message.checksum !== checksumOf(levels)) {
      this.nMismatches += 1;
      this.startOver(channel);
    }
  }

  /** Asks for a new snapshot; deltas until then are dropped. */
  startOver(channel) {
    this.sequences.delete(channel);
    this.send("unsubscribe", [channel]);
    this.send("subscribe", [channel]);
  }

  subscribe(channel, handler) {
    const isNew = !this.handlers.has(channel);
    this.handlers.set(channel, handler);
    if (isNew) this.send("subscribe", [channel]);
  }

  unsubscribe(channel) {
    this.handlers.delete(channel);
    this.sequences.delete(channel);
    this.send("unsubscribe", [channel]);
  }
}
