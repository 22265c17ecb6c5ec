// The talk as it is recognised, with the evidence marked where it was said, and the rounds of a complaint side by side.

import { html, useEffect, useRef, useState } from "./vendor/preact/index.js";
import { clock } from "./format.js";
import { Marked, Still } from "./parts.js";
import { language, t } from "./words.js";

const NEAR_END_PX = 80;

// Evidence is dated by its end; beside the talk it has the time that its line has there.
export const begun = (piece, desk) => desk.store.segments.get(piece.segment_id)?.start_ms ?? piece.at_ms;

export function Transcript({ desk, alerts }) {
  const list = useRef(null);
  const [follows, setFollows] = useState(true);
  const segments = [...desk.store.segments.values()].sort((a, b) => a.start_ms - b.start_ms);
  const newest = segments.at(-1);
  useEffect(() => { if (follows && list.current) list.current.scrollTop = list.current.scrollHeight; }, [follows, segments.length, newest?.text]);
  const spans = new Map();
  const rounds = new Map();
  for (const alert of alerts) for (const piece of alert.evidence) {
    spans.set(piece.segment_id, [...(spans.get(piece.segment_id) ?? []), ...piece.spans]);
    if (piece.round) rounds.set(piece.segment_id, piece.round);
  }
  const stamp = [...spans].map(([id, cuts]) => id + cuts.length).join();
  const onScroll = () => setFollows(list.current.scrollHeight - list.current.scrollTop - list.current.clientHeight < NEAR_END_PX);
  return html`<div class="talk-box"><h2 class="unseen">${t("transcript")}</h2>
    <ol class="talk" ref=${list} tabindex="0" onScroll=${onScroll} aria-label=${t("transcript")}>
      ${segments.map((item) => html`<${Still} key=${item.segment_id} of=${[item, spans.has(item.segment_id) ? stamp : "", rounds.get(item.segment_id), language]}
        draw=${() => line(desk, item, spans.get(item.segment_id) ?? [], rounds.get(item.segment_id))} />`)}
    </ol>${segments.length ? null : html`<p class="empty">${t("no_words")}</p>`}
    ${follows ? null : html`<button type="button" class="newest" onClick=${() => setFollows(true)}>↓ ${t("newest")}</button>`}</div>`;
}

function line(desk, item, spans, round) {
  const speaker = item.said_by;
  return html`<li class="${speaker} ${item.is_final ? "" : "partial"} ${spans.length ? "evident" : ""}" data-segment=${item.segment_id}>
    <div class="soft">${t(speaker)} ${clock(item.start_ms)}${round ? html` <span class="tag round">${t("round_n", { n: round })}</span>` : null}${item.is_final ? null : html` <span class="tag partial">${t("partial")}…</span>`}
      ${item.is_final && speaker !== "agent" ? html`<button type="button" class="flag" title=${t("flag")} aria-label=${t("flag")} onClick=${() => desk.askFlag(item)}>⚑</button>` : null}</div>
    <${Marked} text=${item.text} spans=${spans} /></li>`;
}

// Each raising of the complaint with the answer that it came after.
export function Circles({ alerts, desk }) {
  const rounds = alerts.filter((alert) => alert.kind === "repetition").flatMap((alert) => alert.evidence).filter((piece) => piece.round).sort((a, b) => a.round - b.round);
  if (rounds.length < 2) return null;
  const show = (id) => {
    const line = document.querySelector(`[data-segment="${CSS.escape(id)}"]`);
    line?.scrollIntoView({ block: "center" });
    line?.classList.add("shown");
    setTimeout(() => line?.classList.remove("shown"), 1500);
  };
  return html`<section class="circles" aria-labelledby="circles-title"><h3 id="circles-title">↻ ${t("circles")}</h3><ol>${rounds.map((piece, index) => html`<li key=${piece.round}>
    ${index && piece.answer ? html`<div class="answer"><span class="soft">${t("answered")}</span> ${piece.answer}</div>` : null}
    <button type="button" class="link" onClick=${() => show(piece.segment_id)}><b>${t("round_n", { n: piece.round })}</b> <span class="soft">${clock(begun(piece, desk))}</span></button>
    <div><${Marked} text=${piece.text} spans=${piece.spans} /></div></li>`)}</ol></section>`;
}
