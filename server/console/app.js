// The console's page: the bar, what is loudly wrong, and the page that the address names.

import { html, render } from "./vendor/preact/index.js";
import { CallPage } from "./call.js";
import { Desk } from "./desk.js";
import { Asked } from "./dialogs.js";
import { Floor } from "./floor.js";
import { timeOfDay } from "./format.js";
import { Health } from "./health.js";
import { History } from "./history.js";
import { onKey } from "./keys.js";
import { Icon } from "./parts.js";
import { Reports } from "./reports.js";
import { SignIn } from "./signin.js";
import { language, t } from "./words.js";

const root = document.getElementById("app");

function App({ desk }) {
  if (desk.methods) return html`<${SignIn} desk=${desk} methods=${desk.methods} />`;
  if (!desk.who) return html`<p class="empty">${t("connecting")}…</p>`;
  if (!["supervisor", "lead", "admin"].includes(desk.who.role)) return html`<p class="empty">${t("no_role")} <button type="button" onClick=${() => desk.leave()}>${t("sign_out")}</button></p>`;
  const page = { floor: Floor, call: CallPage, alerts: History, reports: Reports }[desk.page];
  return html`<a class="skip" href="#content">${t("skip")}</a><${Bar} desk=${desk} /><${Banner} desk=${desk} /><${Health} unwell=${desk.unwell} />
    <main id="content" tabindex="-1"><${page} desk=${desk} id=${desk.callId} key=${desk.page + (desk.callId ?? "")} /></main>
    <div class="said" role="status" aria-live="polite">${desk.said ? html`<p>${desk.said}</p>` : null}</div><${Asked} desk=${desk} />`;
}

function Bar({ desk }) {
  const { store, attention } = desk;
  const waiting = store.inbox(desk.queue).waiting.length;
  const queues = [...new Set([...[...store.calls.values()].map((call) => call.queue), ...[...store.alerts.values()].map((alert) => alert.call.queue)])].filter(Boolean).sort();
  if (desk.queue && !queues.includes(desk.queue)) queues.push(desk.queue);
  const on = store.connection === "connected";
  const link = (page, words, count) => html`<a href="#/${page}" aria-current=${desk.page === page ? "page" : null}>${words}${count ? html` <span class="count loud">${count}</span>` : null}</a>`;
  return html`<header class="bar"><h1><span class="mark" aria-hidden="true">守</span><span class="brand"> Mamori</span></h1>
    <nav aria-label=${t("main")}>${link("floor", t("floor"), waiting)}${link("alerts", t("alerts"))}${link("reports", t("reports"))}</nav>
    <p id="connection" class="connection ${on ? "" : "off"}" role="status">${on ? t("connected") : store.connection === "connecting" ? t("connecting") : t("lost_short")}</p>
    <label class="field"><span>${t("queue")}</span><select id="queue" value=${desk.queue} onChange=${(event) => desk.setQueue(event.target.value)}><option value="">${t("all")}</option>
      ${queues.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
    <div class="tools"><button type="button" id="sound" aria-pressed=${String(attention.sound)} title=${t(attention.sound ? "sound_on" : "sound_off")} onClick=${() => desk.toggleSound()}><${Tool} name=${attention.sound ? "sound" : "silent"} words=${t(attention.sound ? "sound_on" : "sound_off")} /></button>
      <button type="button" id="push" aria-pressed=${String(attention.push)} title=${t(attention.push ? "push_on" : "push_off")} onClick=${() => desk.togglePush()}><${Tool} name=${attention.push ? "push" : "quiet"} words=${t(attention.push ? "push_on" : "push_off")} /></button>
      <button type="button" id="theme" title=${t(`theme_${desk.theme}`)} onClick=${() => desk.toggleTheme()}><${Tool} name=${desk.theme} words=${t(`theme_${desk.theme}`)} /></button>
      <button type="button" id="language" lang=${t("other_code")} onClick=${() => desk.toggleLanguage()}>${t("other")}</button>
      ${desk.who.signed_in ? html`<button type="button" id="leave" title=${desk.who.name} onClick=${() => desk.leave()}>${t("sign_out")}</button>` : null}</div></header>`;
}

const Tool = ({ name, words }) => html`<${Icon} name=${name} /><span class="unseen">${words}</span>`;

// Silence must never look like safety.
function Banner({ desk }) {
  const { store } = desk;
  if (store.connection === "lost") {
    const why = store.lostAt ? t("lost_why", { time: timeOfDay(store.lostAt, language) }) : t("lost_never");
    return html`<div id="banner" class="banner" role="alert"><strong>⚠ ${t("lost")}</strong> ${why}</div>`;
  }
  if (store.degraded) return html`<div id="banner" class="banner" role="alert"><strong>⚠ ${t("degraded")}</strong> ${t("degraded_why", { reason: store.degraded })}</div>`;
  return null;
}

function paint(desk) {
  render(html`<${App} desk=${desk} />`, root);
  const { waiting } = desk.store.inbox(desk.queue);
  const off = desk.store.connection === "lost" || desk.store.degraded;
  document.title = `${off ? `⚠ ${t("lost")} ` : waiting.length ? `(${waiting.length}) ` : ""}Mamori`;
  document.body.classList.toggle("unwatched", Boolean(off));
}

document.documentElement.lang = language;
const desk = new Desk(paint);
addEventListener("hashchange", () => desk.route());
addEventListener("pagehide", () => desk.store.remember());
document.addEventListener("keydown", (event) => onKey(desk, event));
desk.begin();
