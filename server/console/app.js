// The supervisor's page: alerts, floor, one call. A client of the public protocol and of nothing else.

import { h, httpsOnly, marked } from "./dom.js";
import { AlertStream } from "./stream.js";
import { clock, language, setLanguage, t, translatePage } from "./words.js";

const RANK = { none: 0, notice: 1, warning: 2, escalate: 3, critical: 4 };
const SHAPE = { none: "·", notice: "○", warning: "△", escalate: "◆", critical: "■" };
const STEPS = ["caution", "first_warning", "final_warning", "may_end"];
const CLOSED = new Set(["resolved", "retracted", "expired"]);
const ENDED_LINGER_MS = 8000;

const alerts = new Map();
const calls = new Map();
const segments = new Map();
const rows = new Map();
let queue = "";
let focused = null;
let watched = null;
let connected = false;
let degraded = "";
let sound = false;
let painting = false;
const $ = (id) => document.getElementById(id);

const stream = new AlertStream({
  onMessage: receive,
  onState: (state) => { connected = state === "connected"; paint(); },
});

function receive(message) {
  switch (message.type) {
    case "reset": alerts.clear(); break;
    case "snapshot":
      alerts.clear();
      for (const alert of message.alerts) alerts.set(alert.alert_id, alert);
      break;
    case "call.status":
      calls.set(message.call_id, message);
      if (message.ended) setTimeout(() => { if (calls.get(message.call_id)?.ended) { calls.delete(message.call_id); paint(); } }, ENDED_LINGER_MS);
      break;
    case "monitoring.degraded": degraded = message.reason; break;
    case "monitoring.restored": degraded = ""; break;
    case "call.transcript":
      if (message.call_id === watched) { segments.clear(); for (const item of message.segments) segments.set(item.segment_id, item); }
      break;
    case "segment":
      if (message.call_id === watched && !(segments.get(message.segment.segment_id)?.is_final && !message.segment.is_final)) segments.set(message.segment.segment_id, message.segment);
      break;
    case "segment.redacted": { const item = segments.get(message.segment_id); if (item) item.text = message.text; break; }
    default:
      if (message.alert) changed(message);
  }
  paint();
}

function changed(message) {
  const alert = message.alert;
  if (CLOSED.has(alert.state)) alerts.delete(alert.alert_id);
  else alerts.set(alert.alert_id, { ...alert, fresh: message.type === "alert.raised" });
  const rose = message.type === "alert.raised" || (message.changed ?? []).includes("level");
  if (rose && sound && RANK[alert.level] >= RANK.warning) beep(alert.level);
}

function beep(level) {
  const context = new AudioContext();
  const tone = context.createOscillator();
  const gain = context.createGain();
  tone.frequency.value = level === "critical" ? 880 : 587;
  gain.gain.value = 0.08;
  tone.connect(gain).connect(context.destination);
  tone.start();
  tone.stop(context.currentTime + 0.25);
  tone.onended = () => context.close();
}

function paint() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => { painting = false; paintAll(); });
}

function paintAll() {
  $("connection").textContent = connected ? t("connected") : t("lost");
  $("connection").classList.toggle("off", !connected);
  const banner = $("banner");
  banner.hidden = connected && !degraded;
  banner.textContent = connected ? `${t("degraded")}: ${degraded}` : t("lost");
  $("language").textContent = t("other");
  paintQueues();
  paintAlerts();
  paintFloor();
  paintCall();
}

const shown = (item) => queue === "" || item === queue;
const badge = (level) => h("span", { class: `badge ${level}` }, `${SHAPE[level]} ${t(level)}`);

function paintQueues() {
  const names = [...new Set([...calls.values()].map((call) => call.queue))].filter(Boolean).sort();
  const select = $("queue");
  const wanted = ["", ...names].join("\n") + language;
  if (select.dataset.names === wanted) return;
  select.dataset.names = wanted;
  select.replaceChildren(h("option", { value: "" }, t("all")), ...names.map((name) => h("option", { value: name }, name)));
  select.value = names.includes(queue) ? queue : "";
}

function ordered() {
  const waiting = (alert) => (alert.state === "open" ? 1 : 0);
  return [...alerts.values()].filter((alert) => shown(alert.call.queue)).sort((a, b) =>
    waiting(b) - waiting(a) || RANK[b.level] - RANK[a.level] || a.raised_at.localeCompare(b.raised_at));
}

function paintAlerts() {
  const list = $("alerts");
  const items = ordered();
  $("alert-count").textContent = items.length ? String(items.length) : "";
  const old = new Map([...list.children].map((node) => [node.dataset.id, node]));
  const nodes = items.map((alert) => {
    const stamp = `${alert.version}|${language}|${alert.problem ?? ""}`;
    const node = old.get(alert.alert_id);
    if (node?.dataset.stamp === stamp) return node;
    const fresh = card(alert);
    fresh.dataset.stamp = stamp;
    return fresh;
  });
  if (!items.length) nodes.push(h("li", { class: "soft" }, t("empty")));
  const active = document.activeElement?.closest?.("[data-id]")?.dataset.id;
  list.replaceChildren(...nodes);
  if (active) list.querySelector(`[data-id="${CSS.escape(active)}"]`)?.focus({ preventScroll: true });
}

// The operator reads to the caller: in the call's language, whatever the supervisor's.
const spoken = (alert) => alert.suggestion.operator_phrase[alert.call.language === "en" ? "en" : "ja"];

function card(alert) {
  const phrase = spoken(alert);
  return h("li", { class: `card ${alert.level} ${alert.state} ${alert.fresh ? "fresh" : ""}`, "data-id": alert.alert_id, tabindex: "0", onfocus: () => { focused = alert.alert_id; } },
    h("header", {}, badge(alert.level), h("strong", {}, t(alert.kind)),
      alert.provisional && h("span", { class: "tag" }, t("provisional")), alert.late && h("span", { class: "tag" }, t("late")),
      h("span", { class: "soft end" }, clock(alert.call.elapsed_ms))),
    h("div", {}, alert.labels.map((label) => h("span", { class: "tag" }, t(label)))),
    h("div", { class: "soft" }, `${alert.call_id} · ${alert.call.queue} · ${alert.call.agent_id}`),
    h("div", {}, alert.reason_text[language] || alert.reason),
    alert.evidence.slice(0, 3).map((piece) => h("blockquote", {}, ...marked(piece.text, piece.spans), h("span", { class: "soft" }, ` ${clock(piece.at_ms)}`))),
    alert.guideline.length > 0 && h("div", { class: "soft" }, `${t("refer")}: ${alert.guideline.map((item) => item[language]).join("、")}`),
    h("div", { class: "suggest" }, h("strong", {}, t("supervisor")), alert.suggestion.supervisor[language]),
    h("div", { class: "suggest" }, h("strong", {}, t("phrase")), phrase),
    alert.acknowledged_by && h("div", { class: "soft" }, `${t("by")} ${alert.acknowledged_by}`),
    alert.problem && h("div", { class: "badge escalate", role: "alert" }, alert.problem),
    h("div", { class: "actions" },
      alert.state !== "acknowledged" && h("button", { type: "button", class: "primary", onclick: () => command(alert.alert_id, "acknowledge") }, t("acknowledge")),
      h("button", { type: "button", onclick: () => command(alert.alert_id, "snooze", { for_s: 300 }) }, t("snooze")),
      h("button", { type: "button", onclick: () => askOutcome(alert.alert_id) }, t("resolve")),
      h("button", { type: "button", onclick: () => openCall(alert.call_id) }, t("call")),
      httpsOnly(alert.links).map((link) => h("a", { href: link.href, rel: "noreferrer", target: "_blank" }, link.rel))));
}

async function command(id, type, fields = {}) {
  const alert = alerts.get(id);
  if (!alert) return;
  const answer = await stream.send({ type, alert_id: id, version: alert.version, ...fields });
  if (answer.type === "error") {
    const now = alerts.get(id);
    if (now) alerts.set(id, { ...now, problem: answer.first?.by ? `${t("first")} ${answer.first.by}` : t("error") });
    paint();
  }
}

function askOutcome(id) {
  const dialog = $("resolve");
  const set = $("outcomes");
  set.replaceChildren(set.firstElementChild, ...["harassment", "complaint", "false_alarm"].map((name, index) =>
    h("label", { class: "field" }, h("input", { type: "radio", name: "outcome", value: name, checked: index === 0 }), t(name))));
  $("note").value = "";
  dialog.returnValue = "cancel";
  dialog.onclose = () => {
    if (dialog.returnValue !== "ok") return;
    const outcome = set.querySelector("input:checked").value;
    command(id, "resolve", { outcome, note: $("note").value });
  };
  dialog.showModal();
}

function paintFloor() {
  const items = [...calls.values()].filter((call) => shown(call.queue)).sort((a, b) => RANK[b.level] - RANK[a.level] || b.risk - a.risk || a.call_id.localeCompare(b.call_id));
  $("call-count").textContent = String(items.length);
  const body = document.querySelector("#floor tbody");
  const nodes = items.map((call) => {
    const stamp = JSON.stringify(call) + language;
    let row = rows.get(call.call_id);
    if (row?.dataset.stamp !== stamp) {
      const cells = floorCells(call);
      if (row) row.replaceChildren(...cells); else row = h("tr", { "data-call": call.call_id }, ...cells);
      row.className = call.monitoring.state === "ok" ? "" : "lost";
      row.dataset.stamp = stamp;
      rows.set(call.call_id, row);
    }
    return row;
  });
  for (const id of rows.keys()) if (!calls.has(id)) rows.delete(id);
  nodes.forEach((node, index) => { if (body.children[index] !== node) body.insertBefore(node, body.children[index] ?? null); });
  while (body.children.length > nodes.length) body.lastElementChild.remove();
}

function floorCells(call) {
  const state = { degraded: "degraded_state", lost: "lost_state" }[call.monitoring.state] ?? call.monitoring.state;
  return [
    h("td", {}, badge(call.level)),
    h("td", {}, h("button", { type: "button", class: "link", onclick: () => openCall(call.call_id) }, call.call_id), h("div", { class: "soft" }, `${call.queue} ${call.agent_id}`)),
    h("td", {}, call.labels.map((label) => h("span", { class: "tag" }, t(label)))),
    h("td", {}, h("progress", { max: String(call.limit_ms), value: String(Math.min(call.talk_ms, call.limit_ms)), "aria-label": t("talk") }), ` ${clock(call.talk_ms)} / ${clock(call.limit_ms)}`),
    h("td", {}, String(call.rounds)),
    h("td", {}, t(state)),
  ];
}

function openCall(id) {
  watched = id;
  segments.clear();
  stream.watch(id);
  $("call").hidden = false;
  paint();
  $("close-call").focus();
}

function closeCall() {
  watched = null;
  stream.watch(null);
  $("call").hidden = true;
  paint();
}

function paintCall() {
  if (!watched) return;
  const call = calls.get(watched);
  const own = [...alerts.values()].filter((alert) => alert.call_id === watched).sort((a, b) => RANK[b.level] - RANK[a.level]);
  const top = own[0];
  $("call-title").textContent = watched;
  const spans = new Map();
  for (const alert of own) for (const piece of alert.evidence) spans.set(piece.segment_id, piece.spans);
  const reached = STEPS.indexOf(call?.step || top?.step || "");
  const talk = h("ol", { class: "talk", tabindex: "0" }, [...segments.values()].map((item) =>
    h("li", { class: `${item.speaker} ${item.is_final ? "" : "partial"}` }, h("span", { class: "soft" }, `${t(item.speaker)} ${clock(item.start_ms)} `), ...marked(item.text, spans.get(item.segment_id) ?? []))));
  const parts = [
    call ? h("p", {}, badge(call.level), ` ${clock(call.talk_ms)} · ${t("rounds")} ${call.rounds}`) : null,
    h("ol", { class: "steps" }, STEPS.map((step, index) => h("li", { class: index <= reached ? "done" : "" }, t(step)))),
    top ? phraseBox(top) : null,
    top && top.suggestion.law_may_apply.length ? h("p", { class: "soft" }, `${t("law")}: ${top.suggestion.law_may_apply.join(" / ")}`) : null,
    talk,
  ];
  $("call-body").replaceChildren(...parts.filter(Boolean));
  talk.scrollTop = talk.scrollHeight;
}

function phraseBox(alert) {
  const words = spoken(alert);
  const button = h("button", { type: "button", onclick: async () => { await navigator.clipboard.writeText(words); button.textContent = t("copied"); } }, t("copy"));
  return h("div", { class: "suggest" }, h("strong", {}, t("phrase")), words, " ", button);
}

function onKey(event) {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const items = ordered().map((alert) => alert.alert_id);
  const at = items.indexOf(focused);
  const go = (index) => document.querySelector(`[data-id="${CSS.escape(items[index] ?? "")}"]`)?.focus();
  const key = event.key.toLowerCase();
  if (key === "j") go(Math.min(items.length - 1, at + 1));
  else if (key === "k") go(Math.max(0, at - 1));
  else if (key === "escape" && watched) closeCall();
  else if (at < 0) return;
  else if (key === "a") command(focused, "acknowledge");
  else if (key === "s") command(focused, "snooze", { for_s: 300 });
  else if (key === "r") { event.preventDefault(); askOutcome(focused); }
  else if (key === "enter" && event.target.matches("[data-id]")) openCall(alerts.get(focused).call_id);
}

$("queue").addEventListener("change", (event) => { queue = event.target.value; paint(); });
$("language").addEventListener("click", () => { setLanguage(language === "ja" ? "en" : "ja"); translatePage(); paint(); });
$("sound").addEventListener("click", (event) => { sound = !sound; event.target.setAttribute("aria-pressed", String(sound)); });
$("close-call").addEventListener("click", closeCall);
document.addEventListener("keydown", onKey);
translatePage();
paint();
stream.open();
