// Small pieces that several pages show. All text goes in as text: the rendering library escapes, nothing is ever markup.

import { Component, html, useEffect, useRef, useState } from "./vendor/preact/index.js";
import { SHAPE, cut, httpsOnly } from "./format.js";
import { t } from "./words.js";

// Draws again only when one of `of` is another: rows of calls that did not change cost nothing.
export class Still extends Component {
  shouldComponentUpdate(next) {
    return next.of.some((item, index) => item !== this.props.of[index]);
  }

  render({ draw }) {
    return draw();
  }
}

export const Badge = ({ level }) => html`<span class="badge ${level}"><span aria-hidden="true">${SHAPE[level]}</span> ${t(level)}</span>`;

// Drawn, not typed: fonts without emoji show boxes.
const PATHS = {
  sound: "M3 8v4h3l4 4V4L6 8zM13 7a4 4 0 0 1 0 6M15.5 4.5a8 8 0 0 1 0 11",
  silent: "M3 8v4h3l4 4V4L6 8zM13 8l5 4M18 8l-5 4",
  push: "M5 14V9a5 5 0 0 1 10 0v5l1.5 1.5h-13zM8.5 17.5h3",
  quiet: "M5 14V9a5 5 0 0 1 10 0v5l1.5 1.5h-13zM8.5 17.5h3M3 3l14 14",
  auto: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  light: "M10 6.5a3.5 3.5 0 1 0 0 7a3.5 3.5 0 0 0 0-7zM10 1.5v2M10 16.500v2M1.500 10h2M16.500 10h2M4 4l1.400 1.400M14.600 14.600L16 16M16 4l-1.400 1.400M5.400 14.600L4 16",
  dark: "M15.500 12.500A6.500 6.500 0 0 1 7.500 4.500a6.500 6.500 0 1 0 8 8z",
};

export const Icon = ({ name }) => html`<svg class="icon ${name}" viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;

export const Tags = ({ labels }) => labels.map((label) => html`<span class="tag" key=${label}>${t(label)}</span>`);

export const Marked = ({ text, spans }) => cut(text, spans).map(([words, label], index) =>
  label === null ? words : html`<mark key=${index} title=${t(label)}>${words}</mark>`);

export function Copy({ text, id }) {
  const [done, setDone] = useState(false);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } catch { /* the page may not write: the words can still be marked by hand */ }
  }
  return html`<button type="button" class="small" id=${id} onClick=${copy} aria-live="polite">${done ? `✓ ${t("copied")}` : t("copy")}</button>`;
}

export const Links = ({ links }) => httpsOnly(links).filter((link) => link.rel !== "call").map((link) =>
  html`<a class="button" key=${link.rel} href=${link.href} target="_blank" rel="noopener noreferrer">${t(link.rel)} ↗</a>`);

export function Dialog({ title, onClose, children }) {
  const node = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    node.current.showModal();
    return () => before?.focus?.({ preventScroll: true });
  }, []);
  return html`<dialog ref=${node} aria-label=${title} onClose=${onClose} onCancel=${onClose}><h2>${title}</h2>${children}</dialog>`;
}

// A bar of how much of a limit is used, with the words beside it.
export function Bar({ value, limit, label }) {
  const over = value >= limit;
  return html`<progress class=${over ? "over" : ""} max=${limit || 1} value=${Math.min(value, limit)} aria-label=${label}></progress>`;
}

// The course of a call's risk over the last five minutes.
export function Trend({ points }) {
  if (!points || points.length < 2) return html`<span class="soft"><span aria-hidden="true">→</span><span class="unseen">${t("steady")}</span></span>`;
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const span = Math.max(6, last - first);
  const line = points.map(([slot, risk]) => `${(60 - (60 * (last - slot)) / span).toFixed(1)},${(18 - 16 * risk).toFixed(1)}`).join(" ");
  const back = points.findLast(([slot]) => slot <= last - 3) ?? points[0];
  const change = points.at(-1)[1] - back[1];
  const way = change > 0.08 ? "rising" : change < -0.08 ? "falling" : "steady";
  return html`<span class="trend ${way}"><svg viewBox="0 0 62 20" width="62" height="20" aria-hidden="true"><polyline points=${line} /></svg>
    <span aria-hidden="true">${{ rising: "↑", falling: "↓", steady: "→" }[way]}</span><span class="unseen">${t(way)}</span></span>`;
}
