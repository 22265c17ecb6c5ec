// What the console asks a supervisor: the outcome of an alert, a person to assign it to, what was missed.

import { html, useState } from "./vendor/preact/index.js";
import { Badge, Dialog } from "./parts.js";
import { t } from "./words.js";

const OUTCOMES = ["harassment", "complaint", "false_alarm"];
const LABELS = ["verbal_abuse", "threat", "exposure", "excessive_demand", "authority", "discrimination", "sexual", "intrusion"];
const MAX_NOTE = 4000;

export function Asked({ desk }) {
  const asked = desk.asked;
  if (!asked) return null;
  const pages = { outcome: Outcome, person: Person, flag: Flag, keys: Keys };
  return html`<${pages[asked.what]} key=${asked.what + (asked.alert?.alert_id ?? "")} desk=${desk} ...${asked} />`;
}

const Buttons = ({ desk, save }) => html`<menu><button type="button" onClick=${() => desk.ask(null)}>${t("cancel")}</button><button class="primary">${save}</button></menu>`;

const Note = () => html`<label class="field">${t("note")}<textarea name="note" rows="3" maxlength=${MAX_NOTE}></textarea></label>`;

// Number keys choose, Enter records. Nothing is chosen beforehand: a default would end up in the figures of what was a false alarm.
function Outcome({ desk, alert }) {
  const [outcome, choose] = useState(null);
  const onKeyDown = (event) => {
    const at = Number(event.key) - 1;
    if (event.target.tagName !== "TEXTAREA" && OUTCOMES[at]) choose(OUTCOMES[at]);
  };
  const onSubmit = (event) => {
    event.preventDefault();
    const note = new FormData(event.target).get("note");
    desk.ask(null);
    desk.command(alert, "resolve", { outcome, note });
  };
  return html`<${Dialog} title=${t("resolve")} onClose=${() => desk.ask(null)}><form id="resolve" onSubmit=${onSubmit} onKeyDown=${onKeyDown}>
    <p><${Badge} level=${alert.level} /> ${t(alert.kind)} — ${alert.call.agent_id} <span class="soft">${alert.call.queue}</span></p>
    <fieldset><legend>${t("outcome")}</legend>${OUTCOMES.map((name, index) => html`<label key=${name}><input type="radio" name="outcome" value=${name} required checked=${outcome === name} onChange=${() => choose(name)} /> <kbd>${index + 1}</kbd> ${t(`outcome_${name}`)}</label>`)}</fieldset>
    <${Note} /><${Buttons} desk=${desk} save=${t("save")} /></form></${Dialog}>`;
}

function Person({ desk, alert }) {
  const onSubmit = (event) => {
    event.preventDefault();
    const to = new FormData(event.target).get("to").trim();
    desk.ask(null);
    if (to) desk.command(alert, "assign", { to });
  };
  return html`<${Dialog} title=${t("assign")} onClose=${() => desk.ask(null)}><form onSubmit=${onSubmit}>
    <label class="field">${t("assign_to")}<input name="to" list="people" required maxlength="256" autofocus /></label>
    <datalist id="people">${desk.people.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist><${Buttons} desk=${desk} save=${t("assign")} /></form></${Dialog}>`;
}

function Flag({ desk, segment, callId }) {
  const onSubmit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    desk.ask(null);
    desk.flag(callId, { segment_id: segment.segment_id, labels: form.getAll("label"), note: form.get("note") });
  };
  return html`<${Dialog} title=${t("flag")} onClose=${() => desk.ask(null)}><form id="flag" onSubmit=${onSubmit}><p class="soft">${t("flag_why")}</p><blockquote>${segment.text}</blockquote>
    <fieldset class="two"><legend>${t("flag_labels")}</legend>${LABELS.map((name) => html`<label key=${name}><input type="checkbox" name="label" value=${name} /> ${t(name)}</label>`)}</fieldset>
    <${Note} /><${Buttons} desk=${desk} save=${t("send")} /></form></${Dialog}>`;
}

function Keys({ desk }) {
  const keys = [["J / K", "key_move"], ["A", "key_ack"], ["S", "key_snooze"], ["R", "key_resolve"], ["Enter", "key_open"], ["Esc", "key_back"], ["C", "key_copy"], ["M", "key_sound"], ["1 2 3", "key_pages"], ["?", "key_help"]];
  return html`<${Dialog} title=${t("help_title")} onClose=${() => desk.ask(null)}><dl class="keys">${keys.map(([key, words]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${t(words)}</dd>`)}</dl>
    <menu><button type="button" class="primary" onClick=${() => desk.ask(null)}>${t("close")}</button></menu></${Dialog}>`;
}
