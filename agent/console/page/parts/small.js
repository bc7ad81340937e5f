// The small pieces that every view is made of.
import { html, useEffect, useRef } from "../html.js";
import { clock, moved, overview, use } from "../state.js";
import { freshness, moment, span, value } from "../words.js";

const MARKS = { good: "●", warn: "▲", bad: "■", quiet: "○" };

// A state in a word. The mark says it too, so that it does not rest on colour.
export const Badge = ({ level, children }) =>
  html`<span class="badge ${level}"><span class="mark" aria-hidden="true">${MARKS[level]}</span>${children}</span>`;

export const Moment = ({ at }) =>
  at ? html`<time dateTime=${at} title=${new Date(at).toUTCString()}>${moment(at)}</time>` : "–";

// Seconds that grow while one looks: `seconds` as of the moment `heard`.
export function Ago({ seconds, heard }) {
  const now = use(clock);
  return seconds == null ? "–" : span(Math.max(1, Math.round(seconds + (Math.max(now, heard) - heard) / 1000)));
}

// How long until a moment, by the server's own clock: the reader's may be off.
export function Until({ at, asOf, heard, past = "now" }) {
  const now = use(clock);
  if (!at) return "–";
  const left = (new Date(at) - new Date(asOf)) / 1000 - (Math.max(now, heard) - heard) / 1000;
  return html`<time dateTime=${at} title=${new Date(at).toUTCString()}>${left < 1 ? past : `in ${span(left)}`}</time>`;
}

// Age against interval: the bar is full at three intervals, the line in it is one.
export function Fresh({ resource, heard, paused }) {
  const now = use(clock);
  const { age, interval } = resource;
  const grown = age == null ? null : age + (Math.max(now, heard) - heard) / 1000;
  const { level, word } = paused ? { level: "quiet", word: "paused" } : freshness(grown, interval);
  const full = grown == null || !interval ? 0 : Math.min(1, grown / (3 * interval)) * 60;
  return html`<span class="fresh ${level}">
    <svg width="60" height="8" viewBox="0 0 60 8" aria-hidden="true" focusable="false">
      <rect class="groove" width="60" height="8" rx="2" /><rect class="fill" width=${full} height="8" rx="2" />
      <rect class="tick" x="20" width="1" height="8" />
    </svg>
    <span><b>${grown == null ? word : span(grown)}</b> <span class="soft">every ${span(interval)}</span>
    ${level === "good" || grown == null ? "" : html` <span class="word">${word}</span>`}</span>
  </span>`;
}

// Polls a slot as small bars, failures on top of them. Two paths however many bars there are.
export function Spark({ polls = [], failed = [] }) {
  const total = polls.reduce((sum, count) => sum + (count ?? 0), 0);
  const bad = failed.reduce((sum, count) => sum + (count ?? 0), 0);
  const most = Math.max(1, ...polls.map((count) => count ?? 0));
  const step = 90 / Math.max(1, polls.length);
  const bar = (count, slot, foot) => {
    const height = (Math.max(0, count) / most) * 18;
    return `M${(slot * step).toFixed(2)} ${20 - foot}v${-height.toFixed(2)}h${(step * 0.72).toFixed(2)}v${height.toFixed(2)}z`;
  };
  const good = polls.map((count, slot) => (count ? bar(count, slot, 0) : "")).join("");
  const red = failed.map((count, slot) => (count ? bar(count, slot, 0) : "")).join("");
  const words = total ? `${total} polls, ${bad || "none"} failed` : "no polls yet";
  return html`<svg class="spark" width="90" height="20" viewBox="0 0 90 20" role="img" aria-label=${words}>
    <title>${words}</title><path class="groove" d="M0 19.5h90" /><path class="ok" d=${good} /><path class="no" d=${red} />
  </svg>`;
}

// A table that a phone shows as cards. The roles are said because a browser forgets them with the layout of a table.
// columns: {name, show(row), kind: "number" | "wide" | "head" | "does", spans(row): how many rows a head is for, 0 for none}
export function Table({ name, caption, columns, rows, id, after = () => null, mark = () => "", empty = "Nothing here." }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`<table role="table" class=${name} aria-label=${caption}>
    <thead role="rowgroup">
      <tr role="row">
        ${columns.map((column) => html`<th role="columnheader" scope="col" class=${column.kind}>${column.name}</th>`)}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${rows.map((row) => [
        html`<tr role="row" key=${id(row)} class=${mark(row)}>
          ${columns.map((column) => html`<${Cell} column=${column} row=${row} />`)}
        </tr>`,
        after(row),
      ])}
    </tbody>
  </table>`;
}

const Cell = ({ column, row }) =>
  column.kind === "head"
    ? column.spans?.(row) !== 0 && html`<th role="rowheader" scope=${column.spans ? "rowgroup" : "row"}
      rowSpan=${column.spans?.(row)} class="head">${column.show(row)}</th>`
    : html`<td role="cell" class=${column.kind} data-name=${column.name}>${column.show(row)}</td>`;

// Each changed field with what it was and what it is, beside each other.
export function Sides({ data }) {
  const changes = Object.entries(data?.changes ?? {});
  const rows = changes.length
    ? changes.map(([field, sides]) => ({ field, ...sides }))
    : Object.entries(data?.record ?? data ?? {}).map(([field, now]) => ({ field, after: now }));
  const compared = changes.length > 0;
  const columns = [
    { name: "Field", kind: "head", show: (row) => row.field.replaceAll("_", " ") },
    compared && { name: "Before", kind: "wide before", show: (row) => html`<${Value} of=${row.before} />` },
    { name: compared ? "After" : "Value", kind: "wide after", show: (row) => html`<${Value} of=${row.after} />` },
  ].filter(Boolean);
  return html`<div class="sides"><${Table} caption=${compared ? "Before and after" : "The record"} columns=${columns}
    rows=${rows} id=${(row) => row.field} empty="The event holds no fields." /></div>`;
}

const Value = ({ of }) =>
  of !== null && typeof of === "object" && value(of).length > 60
    ? html`<pre>${JSON.stringify(of, null, 1)}</pre>`
    : html`<span>${value(of)}</span>`;

// What a view says while it has nothing to show yet, or could not read it.
export function Waiting({ answer }) {
  if (answer.error)
    return html`<div class="notice ${answer.data ? "warn" : "bad"}"><p>${answer.error.message}</p>
      <button onClick=${answer.again}>Ask again</button></div>`;
  return answer.data ? null : html`<p class="empty" role="status">Reading …</p>`;
}

// The heading of a view takes the focus when one comes from another view, as a new page would.
export function Heading({ children, title, acts }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${title} · Vendorwire`;
  }, [title]);
  useEffect(() => {
    if (moved.get()) heading.current?.focus();
  }, []);
  return html`<div class="heading"><h1 tabIndex="-1" ref=${heading}>${children ?? title}</h1>${acts}</div>`;
}

// The accounts, vendors and routes that are known, for suggestions while typing.
export function Known() {
  const now = use(overview);
  const list = (id, values) =>
    html`<datalist id=${id}>${[...new Set(values)].sort().slice(0, 500).map((each) => html`<option
      value=${each} />`)}</datalist>`;
  const accounts = now?.accounts ?? [];
  return html`${list("known-vendors", accounts.map((each) => each.vendor))}
    ${list("known-accounts", accounts.map((each) => each.account))}
    ${list("known-resources", accounts.flatMap((each) => each.resources.map((resource) => resource.resource)))}`;
}
