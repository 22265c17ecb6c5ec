// Charts: columns over time on a canvas, each with a table for whoever cannot see it.

import uPlot from "./vendor/uplot/uplot.js";
import { html, useEffect, useRef } from "./vendor/preact/index.js";
import { t } from "./words.js";

const HEIGHT = 190;
const columns = uPlot.paths.bars({ size: [0.7, 46] });

// A canvas knows no custom properties: a colour is read from an element that has it.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function options(names, series, width) {
  const [soft, line] = [colour("soft"), colour("line")];
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const whole = (_plot, splits) => splits.map((value) => (Number.isInteger(value) ? String(value) : ""));
  return {
    width, height: HEIGHT, padding: [8, 8, 0, 0], cursor: { points: { show: false }, drag: { x: false, y: false } }, legend: { show: true, live: true },
    scales: { x: { time: false, range: (_plot, low, high) => [low - 0.6, high + 0.6] }, y: { range: (_plot, _low, high) => [0, Math.max(4, high * 1.1)] } },
    axes: [{ ...axis, grid: { show: false }, space: 52, size: 26, values: (_plot, splits) => splits.map((value) => (Number.isInteger(value) ? names[value]?.replace(/^\d{4}-/, "").replace("-", "/") ?? "" : "")) }, { ...axis, size: 44, values: whole }],
    series: [{ label: t("when"), value: (_plot, value) => (value === null ? "–" : names[value]) },
      ...series.map(({ label, hue }) => ({ label, paths: columns, fill: colour(hue), stroke: colour(hue), width: 0, points: { show: false }, value: (_plot, value) => (value === null ? "–" : String(value)) }))],
  };
}

// names: along the axis; series: [{ label, hue, values }], the larger behind the smaller.
export function Columns({ title, names, series, stamp }) {
  const box = useRef(null);
  useEffect(() => {
    const width = () => Math.max(240, box.current.clientWidth);
    const plot = new uPlot(options(names, series, width()), [names.map((_, index) => index), ...series.map(({ values }) => values)], box.current);
    const watching = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
    watching.observe(box.current);
    return () => { watching.disconnect(); plot.destroy(); };
  }, [stamp]);
  return html`<figure><figcaption><h3>${title}</h3></figcaption><div class="chart" ref=${box} aria-hidden="true"></div>
    <details><summary class="soft">${t("as_table")}</summary><table><thead><tr><th scope="col">${title}</th>${series.map(({ label }) => html`<th scope="col" key=${label}>${label}</th>`)}</tr></thead>
      <tbody>${names.map((name, index) => html`<tr key=${name} class=${series.some(({ values }) => values[index]) ? "" : "nil"}><th scope="row">${name}</th>${series.map(({ label, values }) => html`<td key=${label}>${values[index]}</td>`)}</tr>`)}</tbody></table></details></figure>`;
}

// Counts by name, longest bar first unless an order is given.
export function Bars({ title, counts, order, words = t, extra = {} }) {
  const rows = order ? order.filter((name) => counts[name]).map((name) => [name, counts[name]]) : Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...rows.map(([, count]) => count));
  return html`<figure><figcaption><h3>${title}</h3></figcaption>${rows.length ? html`<table class="bars"><tbody>${rows.map(([name, count]) =>
    html`<tr key=${name}><th scope="row">${words(name)}</th><td><progress max=${most} value=${count} aria-hidden="true"></progress></td><td class="number">${count}</td>${extra[name] ? html`<td class="soft">${extra[name]}</td>` : null}</tr>`)}</tbody></table>` : html`<p class="empty">${t("no_data")}</p>`}</figure>`;
}
