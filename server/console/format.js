// Numbers, times and marked words as the console shows them. Knows neither state nor page.

export const LEVELS = ["critical", "escalate", "warning", "notice", "none"];
export const RANK = { none: 0, notice: 1, warning: 2, escalate: 3, critical: 4 };
// A shape beside the colour and the word: nobody needs to tell red from green.
export const SHAPE = { none: "·", notice: "○", warning: "△", escalate: "◆", critical: "■" };
export const STEPS = ["caution", "first_warning", "final_warning", "may_end"];

export function clock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const rest = String(seconds % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function timeOfDay(utc, language) {
  return new Date(utc).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
}

export function dayAndTime(utc, language) {
  return new Date(utc).toLocaleString(language, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}

export const share = (part) => (part === null || part === undefined ? "–" : `${(part * 100).toFixed(1)} %`);

// Spans count Unicode code points; JavaScript's strings count UTF-16 units. Returns [words, label or null] in order.
export function cut(text, spans) {
  const points = Array.from(text);
  const parts = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const start = Math.max(at, span.start);
    const end = Math.min(points.length, span.end);
    if (end <= start) continue;
    if (start > at) parts.push([points.slice(at, start).join(""), null]);
    parts.push([points.slice(start, end).join(""), span.label]);
    at = end;
  }
  if (at < points.length) parts.push([points.slice(at).join(""), null]);
  return parts;
}

export const httpsOnly = (links) => (links ?? []).filter((link) => /^https:\/\//i.test(link.href));

// Law comes as "Japanese / English" in one text.
export const lawIn = (text, language) => text.split(" / ")[language === "en" ? 1 : 0] ?? text;
