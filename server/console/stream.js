// A websocket to our server that comes back: with back-off, by cursor, so that nothing is lost and nothing comes twice.
// A connection that is open and dead is noticed, too: a ping that is not answered in time counts as a loss.

import { socketProtocols } from "./api.js";

const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 15000;
const PING_EVERY_MS = 10000;
const PING_WAIT_MS = 8000;
const REFUSED = 1008;

export class Stream {
  constructor({ address, onMessage, onState, pings = true }) {
    this.address = address;
    this.pings = pings;
    this.onMessage = onMessage;
    this.onState = onState;
    this.cursor = null;
    this.wait = FIRST_WAIT_MS;
    this.replies = new Map();
    this.ref = 0;
    this.watched = null;
    this.closed = false;
  }

  open() {
    this.closed = false;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${this.address(this.cursor)}`, socketProtocols());
    this.socket = socket;
    socket.onopen = () => {
      this.wait = FIRST_WAIT_MS;
      this.onState("connected");
      if (this.watched) this.send({ type: "watch", call_id: this.watched });
      if (this.pings) this.pinging = setInterval(() => this.ping(socket), PING_EVERY_MS);
    };
    socket.onmessage = (event) => {
      const told = JSON.parse(event.data);
      if (Array.isArray(told)) for (const message of told) this.take(message);
      else this.take(told);
    };
    socket.onclose = (event) => this.lost(socket, event.code);
  }

  lost(socket, code) {
    if (socket !== this.socket || this.closed) return;
    clearInterval(this.pinging);
    for (const answer of this.replies.values()) answer({ type: "error", code: "unavailable", message: "" });
    this.replies.clear();
    this.socket = null;
    if (code === REFUSED) {
      this.onState("refused");
      return;
    }
    this.onState("lost");
    setTimeout(() => { if (!this.socket && !this.closed) this.open(); }, this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(MAX_WAIT_MS, this.wait * 2);
  }

  close() {
    this.closed = true;
    clearInterval(this.pinging);
    this.socket?.close();
    this.socket = null;
  }

  async ping(socket) {
    const late = setTimeout(() => { this.lost(socket, 0); socket.close(); }, PING_WAIT_MS);
    await this.send({ type: "ping" });
    clearTimeout(late);
  }

  take(message) {
    if (message.type === "ok" || message.type === "error") {
      const answer = this.replies.get(message.ref);
      this.replies.delete(message.ref);
      answer?.(message);
      return;
    }
    if (typeof message.cursor === "number") {
      if (this.cursor !== null && message.type !== "snapshot" && message.cursor <= this.cursor) return;
      this.cursor = message.cursor;
    }
    this.onMessage(message);
  }

  send(command) {
    const ref = String(++this.ref);
    return new Promise((resolve) => {
      if (this.socket?.readyState !== WebSocket.OPEN) {
        resolve({ type: "error", code: "unavailable", message: "" });
        return;
      }
      this.replies.set(ref, resolve);
      this.socket.send(JSON.stringify({ ...command, ref }));
    });
  }

  watch(callId) {
    if (this.watched === callId) return;
    if (this.watched) this.send({ type: "unwatch", call_id: this.watched });
    this.watched = callId;
    if (callId) this.send({ type: "watch", call_id: callId });
  }
  // The server sends the whole talk again: what it knew of it is out of date.
  again() { if (this.watched) this.send({ type: "watch", call_id: this.watched }); }
}
