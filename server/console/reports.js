// Reports: how often it happens, how long it takes, and how much single people had to bear.

import { html, useEffect, useState } from "./vendor/preact/index.js";
import { request } from "./api.js";
import { Bars, Columns } from "./charts.js";
import { LEVELS, clock, share } from "./format.js";
import { language, t } from "./words.js";

const PERIODS = [1, 7, 30, 90, 365];
const SHIFT_HOURS = 8;

export function Reports({ desk }) {
  const [days, setDays] = useState(30);
  const [found, setFound] = useState(null);
  const [failed, setFailed] = useState(false);
  const queue = desk.queue ? `&queue=${encodeURIComponent(desk.queue)}` : "";
  const address = `/v1/reports/prevalence?days=${days}${queue}`;
  const load = () => request(address).then((answer) => { setFound(answer); setFailed(false); }, () => setFailed(true));
  useEffect(() => { load(); }, [address]);
  return html`<div class="page"><section class="panel" aria-labelledby="reports-title"><div class="head"><h2 id="reports-title">${t("reports")} <span class="soft">${desk.queue} ${t("days_n", { n: days })}${found ? ` ・ ${found.timezone}` : ""}</span></h2>
    <label class="field"><span>${t("period")}</span><select id="period" value=${String(days)} onChange=${(event) => setDays(Number(event.target.value))}>${PERIODS.map((n) => html`<option key=${n} value=${String(n)}>${t("days_n", { n })}</option>`)}</select></label>
    <span class="end actions no-print"><a class="button" href="${address}&format=csv" download>${t("csv")}</a><a class="button" href=${address} download="prevalence.json">${t("json")}</a><button type="button" onClick=${() => window.print()}>${t("print")}</button></span></div>
    ${failed ? html`<p class="problem" role="alert">${t("failed")} <button type="button" class="small" onClick=${load}>${t("refresh")}</button></p>` : null}
    ${found ? html`<${Prevalence} found=${found} theme=${desk.theme} />` : html`<p class="empty">${t("loading")}…</p>`}</section>
    <${Load} queue=${queue} /></div>`;
}

const minutes = (ms) => (ms === null || ms === undefined ? "–" : clock(ms));

function Prevalence({ found, theme }) {
  const figures = [
    ["calls_n", found.calls], ["calls_warned", found.calls_with_warning], ["share_warned", share(found.share)], ["alerts_n", found.alerts],
    ["handle", minutes(found.handle_ms), t("typical", { half: minutes(found.handle_p50_ms), most: minutes(found.handle_p90_ms) })],
    ["ack_time", minutes(found.acknowledge_ms), t("typical", { half: minutes(found.acknowledge_p50_ms), most: minutes(found.acknowledge_p90_ms) })],
    ["false_share", share(found.false_alarm_share), t("of_resolved")],
  ];
  const days = Object.keys(found.days);
  const hours = Array.from({ length: 24 }, (_, hour) => String(hour).padStart(2, "0"));
  const stamp = JSON.stringify([found.since_ms, found.until_ms, found.alerts, language, theme]);
  const perQueue = Object.fromEntries(Object.entries(found.queues).map(([name, item]) => [name, `${share(item.share)} ・ ${minutes(item.handle_ms)}`]));
  return html`<div class="figures">${figures.map(([name, value, more]) => html`<div key=${name}>${t(name)}<b>${value}</b>${more ? html`<span class="soft">${more}</span>` : null}</div>`)}</div>
    <div class="charts"><div class="wide"><${Columns} title=${t("by_day")} names=${days} stamp=${stamp} series=${[{ label: t("alerts_n"), hue: "accent", values: days.map((day) => found.days[day].alerts) }]} /></div>
      <div class="wide"><${Columns} title=${t("by_hour")} names=${hours} stamp=${stamp} series=${[{ label: t("alerts_n"), hue: "accent", values: hours.map((hour) => found.by_hour[hour] ?? 0) }]} /></div>
      <${Bars} title=${t("by_label")} counts=${found.by_label} /><${Bars} title="${t("by_queue")}（${t("share_warned")} ・ ${t("handle")}）" counts=${found.by_queue} words=${(name) => name} extra=${perQueue} />
      <${Bars} title=${t("by_level")} counts=${found.by_level} order=${LEVELS} /><${Bars} title=${t("by_kind")} counts=${found.by_kind} />
      <${Bars} title=${t("outcome")} counts=${found.by_outcome} order=${["harassment", "complaint", "false_alarm"]} /></div>`;
}

// Load, never a ranking: groups for everybody, single people for whoever leads them, in the order of their ids.
function Load({ queue }) {
  const [found, setFound] = useState(null);
  useEffect(() => { request(`/v1/reports/exposure?hours=${SHIFT_HOURS}${queue}`).then(setFound, () => setFound(null)); }, [queue]);
  if (!found) return null;
  const groups = Object.entries(found.groups);
  const shown = groups.filter(([, group]) => !group.hidden);
  return html`<section class="panel load" aria-labelledby="load-title"><div class="head"><h2 id="load-title">${t("load")} <span class="soft">${t("last_hours", { n: found.hours })}</span></h2></div><p class="soft">${t("load_why")}</p>
    ${shown.length ? html`<table><thead><tr><th scope="col">${t("queue")}</th><th scope="col">${t("agents_n")}</th><th scope="col">${t("calls_n")}</th><th scope="col">${t("exposed_calls")}</th><th scope="col">${t("break_n")}</th></tr></thead>
      <tbody>${shown.map(([name, group]) => html`<tr key=${name}><th scope="row">${name}</th><td>${group.agents}</td><td>${group.calls}</td><td>${group.calls_with_warning}</td><td>${group.break_suggested}</td></tr>`)}</tbody></table>` : null}
    ${groups.length > shown.length ? html`<p class="soft">${t("hidden_group")}</p>` : null}
    ${found.agents ? html`<table id="agents"><thead><tr><th scope="col">${t("operator")}</th><th scope="col">${t("calls_n")}</th><th scope="col">${t("exposed_calls")}</th><th scope="col">${t("exposed_time")}</th><th scope="col">${t("hint")}</th></tr></thead>
      <tbody>${found.agents.map((agent) => html`<tr key=${agent.agent_id}><th scope="row">${agent.agent_id}</th><td>${agent.calls}</td><td>${agent.calls_with_warning}</td><td>${clock(agent.talk_ms_with_warning)}</td><td>${agent.break_suggested ? html`<span class="tag alarm">${t("break_hint")}</span>` : ""}</td></tr>`)}</tbody></table>` : html`<p class="soft">${t("names_lead")}</p>`}</section>`;
}
