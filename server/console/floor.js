// The floor: every live call, the one that needs somebody most at the top.

import { html, useEffect, useRef, useState } from "./vendor/preact/index.js";
import { LEVELS, RANK, SHAPE, STEPS, clock } from "./format.js";
import { Inbox } from "./inbox.js";
import { Badge, Bar, Still, Tags, Trend } from "./parts.js";
import { isBlind } from "./store.js";
import { language, t } from "./words.js";

const ROWS = 30;

export function Floor({ desk }) {
  const rows = desk.store.floor(desk.queue);
  const live = rows.filter(({ call }) => !call.ended);
  return html`<div class="page floor-page">
    <section class="panel" aria-labelledby="floor-title">
      <div class="head"><h2 id="floor-title">${t("live_calls")} <span class="count" id="call-count">${live.length}</span></h2><${Counts} desk=${desk} rows=${live} /></div>
      <${Table} desk=${desk} rows=${rows} />
    </section>
    <${Inbox} desk=${desk} />
  </div>`;
}

function Counts({ desk, rows }) {
  const count = (test) => rows.filter(test).length;
  const chips = [...LEVELS.map((level) => [level, `${SHAPE[level]} ${t(level)}`, count((item) => item.level === level)]),
    ["blind", `⚠ ${t("blind")}`, count(({ call }) => isBlind(call))]];
  return html`<div class="chips" role="group" aria-label=${t("show")}>${chips.map(([name, words, number]) =>
    html`<button type="button" key=${name} class="chip ${name} ${number ? "" : "nil"}" aria-pressed=${String(desk.only === name)} onClick=${() => desk.show(name)}>${words} <b>${number}</b></button>`)}</div>`;
}

function Table({ desk, rows }) {
  const fits = ({ call, level }) => !desk.only || (desk.only === "blind" ? isBlind(call) : level === desk.only);
  const found = rows.filter(fits);
  const [most, setMost] = useState(ROWS);
  const end = useRef(null);
  const shown = found.slice(0, most);
  const more = found.length > most;
  // Further rows are made when somebody scrolls to them: what needs somebody is at the top.
  useEffect(() => {
    if (!end.current) return undefined;
    const seen = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) setMost((rows) => rows + ROWS); }, { rootMargin: "200px" });
    seen.observe(end.current);
    return () => seen.disconnect();
  }, [more, most]);
  if (!found.length) return html`<p class="empty">${rows.length ? t("no_match") : t("no_calls")}
    ${rows.length ? html` <button type="button" class="small" onClick=${() => desk.show("")}>${t("clear_filter")}</button>` : null}</p>`;
  return html`<div class="scroll"><table id="floor" class="calls">
    <thead><tr><th scope="col">${t("level")}</th><th scope="col">${t("operator")}</th><th scope="col">${t("what")}</th><th scope="col">${t("trend")}</th>
      <th scope="col">${t("talk")}</th><th scope="col">${t("rounds")}</th><th scope="col">${t("step")}</th><th scope="col">${t("care")}</th></tr></thead>
    <tbody>${shown.map(({ call, alert, level }) => html`<${Still} key=${rowKey(call)} of=${[call, alert, language]} draw=${() => row(desk, call, alert, level)} />`)}</tbody>
  </table>${more ? html`<p class="soft" ref=${end}>… ${found.length - most}</p>` : null}</div>`;
}

// A row that goes blind or whose call ends is made anew: Chromium (seen in 156) at times leaves a row's cells in their old style
// when the row's class changes.
const rowKey = (call) => `${call.call_id} ${isBlind(call)} ${Boolean(call.ended)}`;

function row(desk, call, alert, level) {
  const blind = isBlind(call);
  return html`<tr class="${level} ${blind ? "blind" : ""} ${call.ended ? "over" : ""}" data-call=${call.call_id} onClick=${() => desk.openCall(call.call_id)}>
    <td class="edge ${level}"><${Badge} level=${level} /></td>
    <td class="operator" title="${call.agent_id} ${call.queue}"><button type="button" class="link who" onClick=${(event) => { event.stopPropagation(); desk.openCall(call.call_id); }}>${call.agent_id || call.call_id}</button> <span class="soft">${call.queue}</span></td>
    <td class="what">${blind || call.monitoring.state !== "ok" ? html`<span class="tag alarm">⚠ ${monitoring(call)}</span>` : null}${call.ended ? html`<span class="tag">${t("ended")}</span>` : null}<${Tags} labels=${call.labels.length ? call.labels : alert?.labels ?? []} />${
      alert && !alert.labels.length ? html`<span class="tag">${t(alert.kind)}</span>` : null}${alert?.evidence.length && !call.ended ? html`<div class="snippet soft">${alert.evidence[0].text}</div>` : null}</td>
    <td><${Trend} points=${desk.store.trend.get(call.call_id)} /></td>
    <td class="time"><${Bar} value=${call.talk_ms} limit=${call.limit_ms} label="${t("talk")} ${clock(call.talk_ms)} / ${clock(call.limit_ms)}" /><span>${clock(call.talk_ms)}<span class="soft"> / ${Math.round(call.limit_ms / 60000)}:00</span></span>${
      call.hold_ms ? html`<div class="soft">${t("hold", { time: clock(call.hold_ms) })}</div>` : null}</td>
    <td class="number ${call.rounds >= 3 ? "many" : ""}">${call.rounds > 1 ? html`<span class="phone">${t("rounds")} </span>` : null}${call.rounds > 1 ? t("rounds_n", { n: call.rounds }) : ""}</td>
    <td>${call.step || RANK[level] >= RANK.warning ? html`<${StepDots} step=${call.step} />` : null}</td>
    <td>${care(alert)}</td>
  </tr>`;
}

export function monitoring(call) {
  return t({ degraded: "degraded_state", lost: "lost_state" }[call.monitoring.state] ?? call.monitoring.state);
}

export function StepDots({ step }) {
  const reached = STEPS.indexOf(step) + 1;
  const words = reached ? t(step) : "–";
  return html`<span class="dots" title=${words}><span aria-hidden="true">${STEPS.map((_, index) => (index < reached ? "●" : "○")).join("")}</span><span class="unseen">${words}</span></span>`;
}

export function care(alert) {
  if (!alert) return "";
  if (alert.state === "open") return html`<span class="tag alarm">${t("untaken")}</span>`;
  if (alert.state === "snoozed") return html`<span class="soft">${t("snoozed_short")}</span>`;
  return html`<span class="soft">✓ ${alert.assigned_to || alert.acknowledged_by}</span>`;
}
