// The alerts beside the floor: what waits, what is being handled, and which ended calls still lack their outcome.

import { html } from "./vendor/preact/index.js";
import { clock, lawIn, timeOfDay } from "./format.js";
import { Badge, Copy, Icon, Links, Marked, Still, Tags } from "./parts.js";
import { begun } from "./transcript.js";
import { language, t } from "./words.js";

const OVER_SHOWN = 30;

export function Inbox({ desk }) {
  const { waiting, taken, over } = desk.store.inbox(desk.queue);
  const card = (alert, first) => html`<${Still} key=${alert.alert_id} of=${[alert, language, first, desk.focused === alert.alert_id, desk.store.problems.get(alert.alert_id), desk.store.calls.get(alert.call_id)?.links]}
    draw=${() => html`<${Card} desk=${desk} alert=${alert} first=${first} open=${first || desk.focused === alert.alert_id} />`} />`;
  return html`<section class="panel inbox" aria-labelledby="alerts-title">
    <div class="head"><h2 id="alerts-title">${t("waiting")} <span class="count" id="alert-count">${waiting.length}</span></h2><${Muted} desk=${desk} /></div>
    <ol class="cards" id="alerts" aria-live="polite" aria-relevant="additions">${waiting.map((alert, index) => card(alert, index === 0))}</ol>
    ${waiting.length ? null : html`<p class="empty">✓ ${t("nothing_waits")}</p>`}
    ${taken.length ? html`<h2>${t("taken")} <span class="count">${taken.length}</span></h2><ol class="cards" id="taken">${taken.map((alert) => card(alert, false))}</ol>` : null}
    ${over.length ? html`<details class="over" open=${!waiting.length && !taken.length}><summary>${t("over")} <span class="count" id="over-count">${over.length}</span></summary>
      <ol class="cards lines">${over.slice(0, OVER_SHOWN).map((alert) => html`<${Still} key=${alert.alert_id} of=${[alert, language, desk.store.problems.get(alert.alert_id)]} draw=${() => line(desk, alert)} />`)}</ol></details>` : null}
    <p class="hint">${t("keys")}</p>
  </section>`;
}

function Muted({ desk }) {
  if (!desk.store.muted) return null;
  return html`<span class="tag muted" title=${t("muted_why")} tabindex="0"><${Icon} name="silent" /> ${t("muted_n", { n: desk.store.muted })}</span>`;
}

// One line for an alert whose call is over.
function line(desk, alert) {
  return html`<li class="line ${alert.level}" data-id=${alert.alert_id} tabindex="0" onFocus=${() => desk.focus(alert.alert_id)}>
    <${Badge} level=${alert.level} /> <span>${alert.call.agent_id}</span> <span class="soft">${timeOfDay(alert.raised_at, language)} ${alert.labels.slice(0, 2).map(t).join("・") || t(alert.kind)}</span>
    <button type="button" class="small end" onClick=${() => desk.askOutcome(alert)}>${t("resolve")}</button>
    <${Problem} desk=${desk} alert=${alert} />
  </li>`;
}

export function Problem({ desk, alert }) {
  const words = desk.store.problems.get(alert.alert_id);
  return words ? html`<div class="problem" role="alert">⚠ ${words}</div>` : null;
}

// The operator reads to the caller: in the call's language, whatever the supervisor's.
export const spoken = (alert) => alert.suggestion.operator_phrase[alert.call.language === "en" ? "en" : "ja"];

export function Card({ desk, alert, first, open, inCall }) {
  const links = desk.store.calls.get(alert.call_id)?.links ?? alert.links;
  return html`<li class="card ${alert.level} ${alert.state} ${first ? "first" : ""}" data-id=${alert.alert_id} tabindex="0" aria-label="${t(alert.level)} ${t(alert.kind)} ${alert.call.agent_id}" onFocus=${() => desk.focus(alert.alert_id)}>
    ${first ? html`<p class="join">▶ ${t("join_first")}</p>` : null}
    <header><${Badge} level=${alert.level} />${inCall ? html`<b>${t(alert.kind)}</b>` : html`<b>${alert.call.agent_id || alert.call_id}</b><span class="soft">${alert.call.queue}</span>`}
      <span class="soft end">${timeOfDay(alert.raised_at, language)}</span></header>
    <div class="labels">${inCall ? null : html`<span class="tag kind">${t(alert.kind)}</span>`}<${Tags} labels=${alert.labels} />${alert.provisional ? html`<span class="tag partial">${t("provisional")}</span>` : null}${
      alert.late ? html`<span class="tag">${t("late")}</span>` : null}${alert.tier ? html`<span class="tag alarm">${t("passed_on", { n: alert.tier })}</span>` : null}</div>
    ${alert.evidence.slice(0, open ? 3 : 1).map((piece) => html`<${Evidence} key=${piece.segment_id + piece.at_ms} piece=${piece} at_ms=${inCall ? begun(piece, desk) : piece.at_ms} />`)}
    ${open ? html`<${Detail} alert=${alert} inCall=${inCall} />` : null}
    ${alert.state !== "open" ? html`<p class="soft">${alert.assigned_to ? t("assigned_to", { name: alert.assigned_to }) : alert.acknowledged_by ? t("by", { name: alert.acknowledged_by }) : t(alert.state)}</p>` : null}
    <${Problem} desk=${desk} alert=${alert} />
    <div class="actions">${inCall ? null : html`<button type="button" class=${first ? "primary" : ""} onClick=${() => desk.openCall(alert.call_id)}>${t("open_call")}</button>`}
      ${alert.state !== "acknowledged" ? html`<button type="button" class="take ${inCall ? "primary" : ""}" onClick=${() => desk.command(alert, "acknowledge")}>${t("acknowledge")}</button>` : null}
      ${open ? html`<button type="button" onClick=${() => desk.askPerson(alert)}>${t("assign")}</button>
        ${alert.state !== "snoozed" ? html`<button type="button" onClick=${() => desk.command(alert, "snooze", { for_s: 300 })}>${t("snooze")}</button>` : null}` : null}
      <button type="button" onClick=${() => desk.askOutcome(alert)}>${t("resolve")}</button>
      ${open && !inCall ? html`<${Links} links=${links} />` : null}</div>
  </li>`;
}

export const Evidence = ({ piece, at_ms = piece.at_ms }) => html`<blockquote><span class="soft">${clock(at_ms)}</span> <${Marked} text=${piece.text} spans=${piece.spans} /></blockquote>`;

// Reasons name labels by their ids; people read words.
export const reason = (alert) => (alert.reason_text[language] || alert.reason).replace(/\b[a-z]+(?:_[a-z]+)+\b/g, (id) => (t(id) === id ? id : t(id).toLowerCase()));

function Detail({ alert, inCall }) {
  const why = reason(alert);
  return html`<p><span class="soft">${t("why")}</span> ${why}${alert.call.earlier_calls ? html` <span class="tag">${t("earlier_calls", { n: alert.call.earlier_calls })}</span>` : null}</p>
    <div class="suggest"><strong>${t("supervisor")}</strong>${alert.suggestion.supervisor[language]}</div>
    ${inCall ? null : html`<div class="suggest say"><strong>${t("phrase")}</strong><span lang=${alert.call.language}>${spoken(alert)}</span> <${Copy} text=${spoken(alert)} /></div>`}
    ${alert.guideline.length ? html`<p class="soft">${t("refer")}: ${alert.guideline.map((item) => item[language]).join(language === "ja" ? "、" : ", ")}</p>` : null}
    ${inCall && alert.suggestion.law_may_apply.length ? html`<p class="soft">${t("law")}: ${alert.suggestion.law_may_apply.map((item) => lawIn(item, language)).join(" ／ ")}</p>` : null}
    ${inCall && alert.told.length ? html`<p class="soft">${t("told", { names: alert.told.join(", ") })}</p>` : null}`;
}
