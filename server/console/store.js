// What the console knows, folded from the messages of the stream. Knows nothing of the page.

import { RANK } from "./format.js";

export const CLOSED = new Set(["resolved", "retracted", "expired"]);
const ENDED_LINGER_MS = 8000;
const FIRST_STATUS_MS = 5000;
const TREND_STEP_MS = 10000;
const TREND_POINTS = 30;
const TREND_KEY = "mamori.trend";

export class Store {
  constructor() {
    this.calls = new Map();
    this.alerts = new Map();
    this.heard = new Map();
    this.segments = new Map();
    this.trend = new Map(remembered());
    this.watched = null;
    this.connection = "connecting";
    this.lostAt = null;
    this.degraded = "";
    this.muted = 0;
    this.problems = new Map();
    this.news = null;
    this.version = 0;
    this.sorted = null;
  }

  // Returns what deserves to be seen at once: false for the floor's steady ticking.
  apply(message) {
    this.version += 1;
    switch (message.type) {
      case "reset":
        this.alerts.clear();
        return true;
      case "snapshot":
        this.alerts.clear();
        for (const alert of message.alerts) this.alerts.set(alert.alert_id, alert);
        return true;
      case "call.status":
        return this.status(message);
      case "monitoring.degraded":
        this.degraded = message.reason;
        return true;
      case "monitoring.restored":
        this.degraded = "";
        return true;
      case "call.transcript":
        if (message.call_id !== this.watched) return false;
        this.segments = new Map(message.segments.map((item) => [item.segment_id, item]));
        return true;
      case "segment":
        return this.segment(message);
      case "segment.redacted": {
        const item = this.segments.get(message.segment_id);
        if (message.call_id === this.watched && item) this.segments.set(item.segment_id, { ...item, text: message.text });
        return true;
      }
      default:
        if (message.alert) this.changed(message);
        return true;
    }
  }

  status(message) {
    const before = this.calls.get(message.call_id);
    this.calls.set(message.call_id, message);
    this.sample(message);
    if (message.ended) setTimeout(() => { if (this.calls.get(message.call_id) === message) { this.calls.delete(message.call_id); this.version += 1; } }, ENDED_LINGER_MS);
    return !before || before.level !== message.level || before.monitoring.state !== message.monitoring.state || Boolean(message.ended);
  }

  sample(call) {
    const slot = Math.floor(call.elapsed_ms / TREND_STEP_MS);
    const points = this.trend.get(call.call_id) ?? [];
    const last = points.at(-1);
    if (!last || slot > last[0]) points.push([slot, call.risk]);
    else if (slot === last[0]) last[1] = call.risk;
    else points.length = 0;
    if (points.length > TREND_POINTS) points.shift();
    this.trend.set(call.call_id, points);
  }

  segment(message) {
    const { segment } = message;
    if (message.call_id !== this.watched) return false;
    const known = this.segments.get(segment.segment_id);
    if (!(known?.is_final && !segment.is_final)) this.segments.set(segment.segment_id, segment);
    return true;
  }

  changed(message) {
    const { alert } = message;
    if (message.attention) this.muted = message.attention.muted;
    this.news = message;
    this.heard.set(alert.call_id, Date.now());
    if (CLOSED.has(alert.state)) this.alerts.delete(alert.alert_id);
    else this.alerts.set(alert.alert_id, alert);
  }

  // Statuses come whole after every connect, so what was known before counts no more.
  connected() {
    this.connection = "connected";
    this.lostAt = null;
    this.calls.clear();
    this.version += 1;
  }

  lost() {
    if (this.connection === "connected") this.lostAt = new Date();
    this.connection = "lost";
  }

  watch(callId) {
    this.watched = callId;
    this.segments = new Map();
  }

  remember() {
    const live = [...this.trend].filter(([id]) => this.calls.has(id));
    try { sessionStorage.setItem(TREND_KEY, JSON.stringify(live)); } catch { /* no storage: the curves begin anew */ }
  }

  // One painting asks several times: what nothing has changed since is not sorted again.
  floor(queue) {
    if (this.sorted?.queue !== queue || this.sorted.version !== this.version) this.sorted = { queue, version: this.version, rows: this.sort(queue) };
    return this.sorted.rows;
  }

  // What the floor shows, the call that needs somebody most first. Calls change places only when their need does.
  sort(queue) {
    const open = new Map();
    for (const alert of this.alerts.values()) {
      const known = open.get(alert.call_id);
      if (!known || weight(alert) > weight(known)) open.set(alert.call_id, alert);
    }
    for (const known of [this.trend, this.heard]) for (const id of known.keys()) if (!this.calls.has(id) && !this.isLive(id)) known.delete(id);
    return [...this.calls.values()].filter((call) => !queue || call.queue === queue)
      .map((call) => seen(call, open.get(call.call_id) ?? null))
      .sort((a, b) => b.need - a.need || b.call.elapsed_ms - a.call.elapsed_ms || (a.call.call_id < b.call.call_id ? -1 : 1));
  }

  // A call's first alert may come before its first status.
  isLive(callId) {
    const call = this.calls.get(callId);
    return call ? !call.ended : Date.now() - (this.heard.get(callId) ?? 0) < FIRST_STATUS_MS;
  }

  // Alerts in three groups: of live calls and untaken, of live calls and taken, of calls that are over.
  inbox(queue) {
    const groups = { waiting: [], taken: [], over: [] };
    for (const alert of this.alerts.values()) {
      if (queue && alert.call.queue !== queue) continue;
      const live = this.isLive(alert.call_id);
      groups[!live ? "over" : alert.state === "open" ? "waiting" : "taken"].push(alert);
    }
    const place = new Map(this.floor(queue).map(({ call }, index) => [call.call_id, index]));
    const order = (a, b) => (place.get(a.call_id) ?? -1) - (place.get(b.call_id) ?? -1) || weight(b) - weight(a);
    groups.waiting.sort(order);
    groups.taken.sort(order);
    groups.over.sort((a, b) => (a.raised_at < b.raised_at ? 1 : -1));
    return groups;
  }
}

const weight = (alert) => (alert.state === "open" ? 100 : 0) + 10 * RANK[alert.level] + (alert.kind === "distress" ? 1 : 0);

const BLIND = new Set(["lost", "degraded", "unsupported_language"]);
export const isBlind = (call) => BLIND.has(call.monitoring.state);

// A row of the floor. An alert comes at once, a status once a second: the graver of the two counts. Quarters of risk, so that
// rows do not dance; an untaken alert outranks a taken one of the same level.
function seen(call, alert) {
  const level = alert && RANK[alert.level] > RANK[call.level] ? alert.level : call.level;
  const waits = alert && alert.state === "open" ? 50 : 0;
  const need = (call.ended ? 0 : 1000) + 100 * RANK[level] + waits + (alert?.kind === "distress" ? 5 : 0) + Math.round(call.risk * 4) + (isBlind(call) ? 1 : 0);
  return { call, alert, level, need };
}

function remembered() {
  try { return JSON.parse(sessionStorage.getItem(TREND_KEY) ?? "[]"); } catch { return []; }
}
