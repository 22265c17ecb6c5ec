// The supervisor's desk: connects stream, store and page, and carries out what somebody presses.

import { session, request, signOut } from "./api.js";
import { Attention } from "./attention.js";
import { timeOfDay } from "./format.js";
import { watchHealth } from "./health.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { language, setLanguage, t } from "./words.js";

const STEADY_MS = 250;
const STEADY_MOST_MS = 2000;
const STEADY_SHARE = 8;
const PROBLEM_MS = 8000;
const THEMES = ["auto", "light", "dark"];

export class Desk {
  constructor(paint) {
    this.store = new Store();
    this.attention = new Attention();
    this.stream = new Stream({ address: (cursor) => `/v1/alerts?calls=1&batch=1${cursor === null ? "" : `&after=${cursor}`}`, onMessage: (message) => this.receive(message), onState: (state) => this.state(state) });
    this.draw = paint;
    this.who = null;
    this.methods = null;
    this.people = [];
    this.queue = "";
    this.only = "";
    this.focused = null;
    this.asked = null;
    this.said = "";
    this.unwell = [];
    this.theme = document.documentElement.dataset.theme ?? "auto";
    this.painting = false;
  }

  async begin() {
    this.route();
    try {
      this.who = await session();
      this.methods = null;
    } catch (refused) {
      if (refused.status === 401) this.methods = refused.methods ?? ["password"];
      else setTimeout(() => this.begin(), 2000);
      this.paint();
      return;
    }
    this.paint();
    if (!["supervisor", "lead", "admin"].includes(this.who.role)) return;
    if (!this.stream.socket) this.stream.open();
    this.health ??= watchHealth((unwell) => { this.unwell = unwell; this.paint(); });
    request("/v1/routing").then((table) => { this.people = [...new Set(table.routes.flatMap((route) => route.tiers.flatMap((tier) => tier.people)))]; }, () => {});
  }

  receive(message) {
    const before = this.store.calls.get(this.callId)?.speakers;
    const urgent = this.store.apply(message);
    const now = this.store.calls.get(this.callId)?.speakers;
    if (before && now && now !== before) this.stream.again();
    if (message.alert) this.attention.hear(message, (id) => this.openCall(id));
    if (urgent) this.paint();
    else this.paintSoon();
  }

  state(state) {
    if (state === "connected") this.store.connected();
    else this.store.lost();
    if (state === "refused") {
      this.said = t("signed_out");
      this.begin();
    }
    this.paint();
  }

  // What somebody waits for is drawn in the next frame; the floor's ticking four times a second, or as often as takes an
  // eighth of this machine's time, so that a slow one still answers at once.
  paint() {
    if (this.painting) return;
    this.painting = true;
    requestAnimationFrame((began) => {
      this.painting = false;
      this.draw(this);
      requestAnimationFrame(() => { this.cost = performance.now() - began; });
    });
  }

  paintSoon() {
    const wait = Math.min(STEADY_MOST_MS, Math.max(STEADY_MS, STEADY_SHARE * (this.cost ?? 0)));
    this.soon ??= setTimeout(() => { this.soon = null; this.paint(); }, wait);
  }

  // Where we are, from the address: #/floor, #/call/ID, #/alerts, #/reports.
  route() {
    const [, page, id] = location.hash.split("/");
    this.page = ["floor", "call", "alerts", "reports"].includes(page) ? page : "floor";
    this.callId = null;
    if (this.page === "call") {
      try { this.callId = decodeURIComponent(id ?? ""); } catch { this.page = "floor"; }
    }
    if (this.store.watched !== this.callId) {
      this.store.watch(this.callId);
      this.stream.watch(this.callId);
    }
    this.paint();
  }

  go(page) { location.hash = `#/${page}`; }
  openCall(id) { location.hash = `#/call/${encodeURIComponent(id)}`; }
  focus(id) { if (this.focused !== id) { this.focused = id; this.paint(); } }
  show(level) { this.only = this.only === level ? "" : level; this.paint(); }
  setQueue(name) { this.queue = name; this.paint(); }
  ask(asked) { this.asked = asked; this.paint(); }
  askOutcome(alert) { this.ask({ what: "outcome", alert }); }
  askPerson(alert) { this.ask({ what: "person", alert }); }
  askFlag(segment) { this.ask({ what: "flag", segment, callId: this.callId }); }

  async command(alert, type, fields = {}) {
    const answer = await this.stream.send({ type, alert_id: alert.alert_id, version: this.store.alerts.get(alert.alert_id)?.version ?? alert.version, ...fields });
    if (answer.type === "ok") this.store.problems.delete(alert.alert_id);
    else this.problem(alert.alert_id, explain(answer));
    this.paint();
    return answer;
  }

  problem(id, words) {
    this.store.problems.set(id, words);
    this.say(words);
    setTimeout(() => { if (this.store.problems.get(id) === words) { this.store.problems.delete(id); this.paint(); } }, PROBLEM_MS);
  }

  say(words) {
    this.said = words;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => { this.said = ""; this.paint(); }, PROBLEM_MS);
    this.paint();
  }

  async flag(callId, body) {
    try {
      await request(`/v1/calls/${encodeURIComponent(callId)}/flag`, { method: "POST", body });
      this.say(`✓ ${t("flagged")}`);
    } catch { this.say(t("error")); }
  }

  async leave() {
    this.stream.close();
    await signOut().catch(() => {});
    location.reload();
  }

  toggleLanguage() { setLanguage(language === "ja" ? "en" : "ja"); this.paint(); }
  toggleSound() { this.attention.toggleSound(); this.paint(); }
  async togglePush() { await this.attention.togglePush(); this.paint(); }

  toggleTheme() {
    this.theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length];
    document.documentElement.dataset.theme = this.theme;
    try { localStorage.setItem("mamori.theme", this.theme); } catch { /* it lasts for this page */ }
    this.paint();
  }
}

function explain(answer) {
  if (answer.code === "unavailable") return t("error_connection");
  if (answer.code === "conflict" && answer.first?.by) return t("first", { name: answer.first.by, time: answer.first.at ? timeOfDay(answer.first.at, language) : "" });
  if (answer.code === "closed") return t("first_closed", { name: answer.first?.by ?? "" });
  return answer.code === "not_found" || answer.code === "forbidden" ? t(answer.code) : t("error");
}
