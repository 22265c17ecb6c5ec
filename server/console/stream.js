// The alert stream: reconnects by cursor with back-off, so that nothing is lost and nothing comes twice.

const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 15000;

export class AlertStream {
  constructor({ onMessage, onState }) {
    this.onMessage = onMessage;
    this.onState = onState;
    this.cursor = null;
    this.wait = FIRST_WAIT_MS;
    this.replies = new Map();
    this.ref = 0;
    this.watched = null;
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const after = this.cursor === null ? "" : `&after=${this.cursor}`;
    this.socket = new WebSocket(`${scheme}://${location.host}/v1/alerts?calls=1${after}`, this.protocols());
    this.socket.onopen = () => {
      this.wait = FIRST_WAIT_MS;
      this.onState("connected");
      if (this.watched) this.send({ type: "watch", call_id: this.watched });
    };
    this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
    this.socket.onclose = () => {
      this.onState("lost");
      for (const resolve of this.replies.values()) resolve({ type: "error", code: "unavailable", message: "" });
      this.replies.clear();
      setTimeout(() => this.open(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(MAX_WAIT_MS, this.wait * 2);
    };
  }

  protocols() {
    let token = null;
    try { token = sessionStorage.getItem("mamori.token"); } catch { /* no storage: open servers alone */ }
    return token ? ["mamori.v1", `bearer.${token}`] : ["mamori.v1"];
  }

  take(message) {
    if (message.type === "ok" || message.type === "error") {
      const resolve = this.replies.get(message.ref);
      this.replies.delete(message.ref);
      if (resolve) resolve(message);
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
      if (this.socket.readyState !== WebSocket.OPEN) {
        resolve({ type: "error", code: "unavailable", message: "" });
        return;
      }
      this.replies.set(ref, resolve);
      this.socket.send(JSON.stringify({ ...command, ref }));
    });
  }

  watch(callId) {
    if (this.watched) this.send({ type: "unwatch", call_id: this.watched });
    this.watched = callId;
    if (callId) this.send({ type: "watch", call_id: callId });
  }
}
