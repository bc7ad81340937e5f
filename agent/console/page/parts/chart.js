// A small chart with its figures as a table beside it: for who would rather look, and for who cannot.
import { query, useAnswer } from "../api.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { moment, number, rough, span } from "../words.js";

const HEIGHT = 130;
const EVERY = 30; // seconds between two readings of the history
const LEAST = 30; // slots that are drawn however few of them are known
const TIMES = [
  ...[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20],
  ...[60, 120, 300, 600, 1200, 3600, 7200, 18000, 43200, 86400, 259200],
];
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const library = () => import("../vendor/uplot.js").then((module) => module.default);

// kind: "bars" (counts, stacked) or "lines" (seconds).
export function History({ of, title, kind = "bars", hours = 6, where = {} }) {
  const answer = useAnswer(`/api/history${query({ of, hours, ...where })}`, EVERY);
  const { error } = answer;
  const data = useMemo(() => answer.data && known(answer.data), [answer.data]);
  const some = kind === "lines" ? (value) => value != null : (value) => value > 0;
  const series = (data?.series ?? []).filter((each) => each.values.some(some));
  const words = data ? summary(series, kind, hours) : (error?.message ?? "Reading …");
  return html`<figure class="chart">
    <figcaption><b>${title}</b> <span class="soft">${words}</span></figcaption>
    ${series.length
      ? html`<${Drawing} data=${data} series=${series} kind=${kind} words=${`${title}: ${words}`} />
          <${Figures} data=${data} series=${series} kind=${kind} title=${title} />`
      : html`<div class="blank">${data ? "Nothing to draw yet." : ""}</div>`}
  </figure>`;
}

// Without the time before anything was known: a young installation has a young chart.
function known(data) {
  const slots = data.series[0]?.values.length ?? 0;
  const first = Math.min(...data.series.map((each) => each.values.findIndex((value) => value != null)).filter((at) => at >= 0));
  const start = Math.max(0, Math.min(first, slots - LEAST));
  const from = new Date(new Date(data.from).getTime() + start * data.slot * 1000).toISOString();
  return { ...data, from, series: data.series.map((each) => ({ ...each, values: each.values.slice(start) })) };
}

function summary(series, kind, hours) {
  const all = (each) => each.values.filter((value) => value != null);
  if (!series.length) return `none in the last ${hours} h`;
  if (kind === "lines") return series.map((each) => `${each.name} ${span(all(each).at(-1))}`).join(" · ");
  return series.map((each) => `${number(Math.round(all(each).reduce((a, b) => a + b, 0)))} ${each.name}`).join(" · ");
}

const COLOURS = {
  bad: /fail|dead|refus|degrad|error|5xx|throttled|unavail|unauth|forbid|unread/i,
  warn: /retr|held|p99|4xx|conflict|429/i,
};
function tone(name, place) {
  if (COLOURS.bad.test(name)) return "--bad-ink";
  if (COLOURS.warn.test(name)) return "--warn-ink";
  return place ? "--second" : "--first";
}

function Drawing({ data, series, kind, words }) {
  const place = useRef(null);
  const [scheme, setScheme] = useState(0);
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setScheme((count) => count + 1);
    const watch = new MutationObserver(changed);
    watch.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    dark.addEventListener("change", changed);
    return () => {
      watch.disconnect();
      dark.removeEventListener("change", changed);
    };
  }, []);
  useLayoutEffect(() => {
    let drawn = null;
    let over = false;
    const fit = new ResizeObserver(() => drawn?.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    library().then((UPlot) => {
      if (over) return;
      drawn = new UPlot(options(UPlot, place.current, series, kind), columns(data, series, kind), place.current);
      fit.observe(place.current);
    });
    return () => {
      over = true;
      fit.disconnect();
      drawn?.destroy();
    };
  }, [data, kind, scheme]);
  return html`<div class="drawing" role="img" aria-label=${words} ref=${place}></div>`;
}

function columns(data, series, kind) {
  const from = new Date(data.from).getTime() / 1000;
  const times = series[0].values.map((_, slot) => from + slot * data.slot);
  if (kind === "lines") return [times, ...series.map((each) => each.values)];
  const sums = times.map(() => 0); // stacked: the last series at the bottom, so that failures stand on the axis
  const stacked = [...series].reverse().map((each) => each.values.map((value, slot) => (sums[slot] += value ?? 0)));
  return [times, ...stacked.reverse()];
}

function options(UPlot, place, series, kind) {
  const styles = getComputedStyle(place);
  const colour = (name) => styles.getPropertyValue(name).trim();
  const resolved = (name) => {
    const probe = document.createElement("i");
    probe.className = name.slice(2);
    place.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found || colour(name);
  };
  const font = `11px ${styles.fontFamily}`;
  const axis = { stroke: resolved("--soft"), font, ticks: { show: false } };
  const grid = { stroke: resolved("--line"), width: 1 };
  return {
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 14, 0, 0],
    scales: { y: { range: (_, __, most) => [0, Math.max(most || 0, kind === "lines" ? 0.001 : 1) * 1.08] } },
    axes: [
      { ...axis, grid: { show: false }, space: 70, size: 24,
        values: (_, splits) => splits.map((at) => CLOCK.format(at * 1000)) },
      {
        ...axis,
        grid,
        size: 52,
        space: 34,
        incrs: kind === "lines" ? TIMES : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6],
        values: (_, splits) => splits.map((value) => (kind === "lines" ? rough(value) : number(value))),
      },
    ],
    series: [
      {},
      ...series.map((each, index) => {
        const stroke = resolved(tone(each.name, index));
        if (kind === "lines") return { stroke, width: 1.5, spanGaps: true,
          points: { show: each.values.filter((value) => value != null).length < 3, size: 5 } };
        return { stroke, fill: stroke, width: 0, points: { show: false }, paths: UPlot.paths.bars({ size: [0.8, 14] }) };
      }),
    ],
  };
}

function Figures({ data, series, kind, title }) {
  const [shown, setShown] = useState(false);
  return html`<details onToggle=${(event) => setShown(event.target.open)}>
    <summary><span class="keys">${series.map((each, index) =>
      html`<span class="key"><i class=${tone(each.name, index).slice(2)}></i>${each.name}</span>`)}</span>
      <span class="link">As a table</span></summary>
    ${shown && html`<${Rows} data=${data} series=${series} kind=${kind} title=${title} />`}
  </details>`;
}

// One row for a quarter of an hour: what a person reads, not what the chart draws.
function Rows({ data, series, kind, title }) {
  const per = Math.max(1, Math.round(900 / data.slot));
  const from = new Date(data.from).getTime();
  const rows = [];
  for (let slot = 0; slot < series[0].values.length; slot += per) {
    const parts = series.map((each) => each.values.slice(slot, slot + per).filter((value) => value != null));
    if (parts.some((part) => part.length)) rows.push({ at: new Date(from + slot * data.slot * 1000).toISOString(), parts });
  }
  const told = (part) => {
    if (!part.length) return "–";
    return kind === "lines" ? span(Math.max(...part)) : number(part.reduce((a, b) => a + b, 0));
  };
  return html`<div class="scroll" tabIndex="0" role="region" aria-label=${`${title} as a table`}><table aria-label=${title}>
    <thead><tr><th scope="col">From</th>${series.map((each) => html`<th scope="col"
      class="number">${each.name}</th>`)}</tr></thead>
    <tbody>${rows.reverse().map((row) => html`<tr key=${row.at}><th scope="row">${moment(row.at)}</th>
      ${row.parts.map((part) => html`<td class="number">${told(part)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}
