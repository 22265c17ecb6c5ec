// One call: what is being said, how far the ending procedure has come, what to say and what to do.

import { html } from "./vendor/preact/index.js";
import { RANK, STEPS, clock } from "./format.js";
import { monitoring } from "./floor.js";
import { Card, spoken } from "./inbox.js";
import { Badge, Bar, Copy, Links, Still, Trend } from "./parts.js";
import { isBlind } from "./store.js";
import { Circles, Transcript } from "./transcript.js";
import { language, t } from "./words.js";

const OTHERS = 60;

export function CallPage({ desk, id }) {
  const call = desk.store.calls.get(id);
  const alerts = [...desk.store.alerts.values()].filter((alert) => alert.call_id === id).sort((a, b) => RANK[b.level] - RANK[a.level] || (a.kind < b.kind ? -1 : 1));
  return html`<div class="page call-page">
    <${Others} desk=${desk} id=${id} />
    <section class="panel talk-panel" id="call" aria-labelledby="call-title">
      <${Head} desk=${desk} id=${id} call=${call} />
      <${Circles} alerts=${alerts} desk=${desk} />
      <${Transcript} desk=${desk} alerts=${alerts} />
    </section>
    <aside class="panel guide" aria-label=${t("supervisor")}>
      <${Links} links=${call?.links ?? alerts[0]?.links} />
      <${Procedure} call=${call} alert=${alerts[0]} />
      ${alerts.length ? html`<ol class="cards">${alerts.map((alert) => html`<${Still} key=${alert.alert_id} of=${[alert, language, desk.store.problems.get(alert.alert_id), alert.evidence.filter((piece) => desk.store.segments.has(piece.segment_id)).length]}
        draw=${() => html`<${Card} desk=${desk} alert=${alert} open=${true} inCall=${true} />`} />`)}</ol>` : html`<p class="empty">${t("no_alerts_here")}</p>`}
      ${alerts[0] ? html`<p class="soft">${t("versions", { rules: alerts[0].rules_version, model: alerts[0].model_version })}</p>` : null}
    </aside>
  </div>`;
}

// The floor stays in sight, as a narrow list.
function Others({ desk, id }) {
  const rows = desk.store.floor(desk.queue).filter(({ call }) => !call.ended || call.call_id === id).slice(0, OTHERS);
  return html`<nav class="panel others" aria-label=${t("live_calls")}><button type="button" class="small" id="back" onClick=${() => desk.go("floor")}>← ${t("back")}</button>
    <ol>${rows.map(({ call, alert, level }) => html`<${Still} key=${call.call_id} of=${[level, call.agent_id, Math.floor(call.talk_ms / 10000), alert, language, call.call_id === id]}
      draw=${() => html`<li><button type="button" aria-current=${call.call_id === id ? "true" : null} onClick=${() => desk.openCall(call.call_id)}>
        <${Badge} level=${level} /><b>${call.agent_id || call.call_id}</b><span class="state">${alert?.state === "open" ? html`<span class="tag alarm" title=${t("untaken")}>!<span class="unseen">${t("untaken")}</span></span>` : null}<span class="soft">${clock(call.talk_ms)}</span></span></button></li>`} />`)}</ol></nav>`;
}

function Head({ desk, id, call }) {
  if (!call) return html`<div class="head"><h2 id="call-title">${id}</h2><span class="tag">${t("gone")}</span></div>`;
  const state = isBlind(call) || call.monitoring.state !== "ok";
  return html`<div class="head"><${Badge} level=${call.level} /><h2 id="call-title">${call.agent_id || id}</h2><span class="soft">${call.queue} ・ ${id}</span></div>
    ${state ? html`<p class="alarm-line" role="alert">⚠ ${monitoring(call)}${call.monitoring.reason ? html` <span class="soft">${call.monitoring.reason}</span>` : null}</p>` : null}
    ${call.speakers !== "as_labelled" ? html`<p class="soft">⇄ ${t("turned")}</p>` : null}
    <div class="facts"><span>${t("talk")} <b>${clock(call.talk_ms)}</b> / ${Math.round(call.limit_ms / 60000)}:00 <${Bar} value=${call.talk_ms} limit=${call.limit_ms} label=${t("talk")} /></span>
      ${call.hold_ms ? html`<span>${t("hold", { time: clock(call.hold_ms) })}</span>` : null}<span>${t("rounds")} <b>${call.rounds}</b></span>
      <span>${t("trend")} <${Trend} points=${desk.store.trend.get(id)} /></span>${call.ended ? html`<span class="tag">${t("ended")}</span>` : null}</div>`;
}

function Procedure({ call, alert }) {
  const reached = STEPS.indexOf(call?.step || alert?.step || "");
  const wanted = alert?.suggestion.step;
  // Who takes over may end the call if the operator has spoken up before; else a warning comes first, as in the words shown.
  const next = wanted === "takeover" ? STEPS.indexOf(reached < 0 ? "first_warning" : "may_end") : STEPS.indexOf(wanted);
  return html`<section aria-labelledby="steps-title"><h2 id="steps-title" title=${t("procedure_why")}>${t("procedure")}</h2>
    ${wanted === "takeover" ? html`<p class="alarm-line">■ ${t("step_takeover")}</p>` : null}
    <ol class="steps">${STEPS.map((step, index) => html`<li key=${step} class=${index <= reached ? "done" : index === next ? "next" : ""} aria-current=${index === next ? "step" : null}>
      <span aria-hidden="true">${index <= reached ? "✓" : index + 1}</span>${t(step)}<span class="soft">${index <= reached ? t("done") : index === next ? t("next") : ""}</span></li>`)}</ol>
    ${alert ? html`<div class="suggest say"><strong>${t("phrase")}</strong><span class="big" lang=${alert.call.language}>${spoken(alert)}</span> <${Copy} id="copy" text=${spoken(alert)} /></div>` : null}</section>`;
}
