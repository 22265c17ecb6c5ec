// The alerts page: every alert, closed ones too, with its evidence and what became of it.

import { html, useEffect, useState } from "./vendor/preact/index.js";
import { request } from "./api.js";
import { LEVELS, clock, dayAndTime } from "./format.js";
import { Card, reason } from "./inbox.js";
import { Badge, Marked, Tags } from "./parts.js";
import { CLOSED } from "./store.js";
import { language, t } from "./words.js";

const PAGE = 100;
const MOST = 1000;
const STATES = ["open", "acknowledged", "snoozed", "resolved", "expired", "retracted"];
const KINDS = ["abuse", "repetition", "overlong", "distress"];

export function History({ desk }) {
  const [found, setFound] = useState(null);
  const [failed, setFailed] = useState(false);
  const [limit, setLimit] = useState(PAGE);
  const [wanted, setWanted] = useState({ state: "", level: "", kind: "", text: "" });
  const [chosen, setChosen] = useState(null);
  const load = () => request(`/v1/alerts?state=all&limit=${limit}`).then((answer) => { setFound(answer.alerts); setFailed(false); }, () => setFailed(true));
  useEffect(() => { load(); }, [limit]);
  // What the stream says since then is newer than what was loaded.
  const news = desk.store.news?.alert;
  useEffect(() => { if (news && found) setFound([...(found.some((item) => item.alert_id === news.alert_id) ? [] : [news]), ...found.map((item) => (item.alert_id === news.alert_id ? news : item))]); }, [news]);
  const fits = (alert) => (!desk.queue || alert.call.queue === desk.queue) && ["state", "level", "kind"].every((field) => !wanted[field] || alert[field] === wanted[field]) && matches(alert, wanted.text);
  const shown = (found ?? []).filter(fits);
  const select = (field, names) => html`<label class="field"><span>${t(field)}</span><select id="filter-${field}" value=${wanted[field]} onChange=${(event) => setWanted({ ...wanted, [field]: event.target.value })}><option value="">${t("all")}</option>${names.map((name) => html`<option key=${name} value=${name}>${t(name)}</option>`)}</select></label>`;
  return html`<div class="page"><section class="panel" aria-labelledby="history-title"><div class="head"><h2 id="history-title">${t("history")}</h2>
    ${select("state", STATES)}${select("level", LEVELS.slice(0, 4))}${select("kind", KINDS)}
    <label class="field"><span>${t("filter_text")}</span><input type="search" id="filter-text" value=${wanted.text} onInput=${(event) => setWanted({ ...wanted, text: event.target.value })} /></label>
    <span class="soft end">${t("shown_n", { n: shown.length })}</span></div>
    ${failed ? html`<p class="problem" role="alert">${t("failed")} <button type="button" class="small" onClick=${load}>${t("refresh")}</button></p>` : null}
    ${found === null && !failed ? html`<p class="empty">${t("loading")}…</p>` : null}
    ${found !== null && !shown.length ? html`<p class="empty">${t("none_found")}</p>` : null}
    ${shown.length ? html`<div class="scroll"><table class="history"><thead><tr><th scope="col">${t("when")}</th><th scope="col">${t("level")}</th><th scope="col">${t("operator")}</th><th scope="col">${t("what")}</th><th scope="col">${t("evidence")}</th><th scope="col">${t("state")}</th></tr></thead>
      <tbody>${shown.map((alert) => [row(alert, chosen === alert.alert_id, setChosen), chosen === alert.alert_id ? html`<tr key="${alert.alert_id}-more" class="more"><td colspan="6">${more(desk, alert)}</td></tr>` : null])}</tbody></table></div>` : null}
    ${found && found.length >= limit && limit < MOST ? html`<p><button type="button" onClick=${() => setLimit(Math.min(MOST, limit * 3))}>${t("load_more")}</button></p>` : null}</section></div>`;
}

function matches(alert, text) {
  const wanted = text.trim().toLowerCase();
  return !wanted || [alert.call_id, alert.call.agent_id, alert.call.queue, alert.acknowledged_by, alert.note, ...alert.evidence.map((piece) => piece.text)].some((item) => item.toLowerCase().includes(wanted));
}

function row(alert, open, choose) {
  const first = alert.evidence[0];
  return html`<tr key=${alert.alert_id} class=${CLOSED.has(alert.state) ? "closed" : ""} data-alert=${alert.alert_id}>
    <td><button type="button" class="link" aria-expanded=${String(open)} onClick=${() => choose(open ? null : alert.alert_id)}>${dayAndTime(alert.raised_at, language)}</button></td>
    <td><${Badge} level=${alert.level} /></td><td>${alert.call.agent_id}<div class="soft">${alert.call.queue}</div></td>
    <td><span class="tag kind">${t(alert.kind)}</span><${Tags} labels=${alert.labels} /></td>
    <td class="words">${first ? html`<${Marked} text=${first.text} spans=${first.spans} />` : ""}</td>
    <td>${t(alert.state)}${alert.outcome ? html`<div class="tag">${t(alert.outcome)}</div>` : null}<div class="soft">${alert.resolved_by || alert.acknowledged_by}</div></td></tr>`;
}

function more(desk, alert) {
  const links = html`<p class="actions"><a class="button" href="#/call/${encodeURIComponent(alert.call_id)}">${t("call")} ${alert.call_id} (${clock(alert.raised_at_ms)})</a>
    <a class="button" href="/v1/calls/${encodeURIComponent(alert.call_id)}/incident?language=${language}" target="_blank" rel="noopener">${t("incident")}</a></p>`;
  return html`${alert.note ? html`<p>${t("note")}: ${alert.note}</p>` : null}${CLOSED.has(alert.state)
    ? html`${alert.evidence.map((piece) => html`<blockquote key=${piece.segment_id}><span class="soft">${clock(piece.at_ms)}</span> <${Marked} text=${piece.text} spans=${piece.spans} /></blockquote>`)}<p class="soft">${reason(alert)}</p>`
    : html`<ol class="cards"><${Card} desk=${desk} alert=${alert} open=${true} inCall=${true} /></ol>`}${links}`;
}
