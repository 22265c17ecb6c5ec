// Builds elements; text only ever goes in as text, so nothing a caller says can become markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

// Spans count Unicode code points; JavaScript strings count UTF-16 units.
export function marked(text, spans) {
  const points = Array.from(text);
  const cuts = spans.filter((span) => span.end > span.start).sort((a, b) => a.start - b.start);
  const parts = [];
  let at = 0;
  for (const span of cuts) {
    if (span.start < at) continue;
    parts.push(points.slice(at, span.start).join(""), h("mark", { "data-label": span.label }, points.slice(span.start, span.end).join("")));
    at = span.end;
  }
  parts.push(points.slice(at).join(""));
  return parts.filter((part) => part !== "");
}

export const httpsOnly = (links) => links.filter((link) => /^https:\/\//i.test(link.href));
