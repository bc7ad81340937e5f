// Changes, one a row; a row opens to what was before and what is after, beside each other.
import { html, useState } from "../html.js";
import { gist, readable, span } from "../words.js";
import { Moment, Sides, Table } from "./small.js";

export function Changes({ events, empty, fresh = new Set() }) {
  const [open, setOpen] = useState(null);
  const toggle = (id) => setOpen((old) => (old === id ? null : id));
  const columns = [
    { name: "Seen", show: ({ event }) => html`<${Moment} at=${event.observedat} />` },
    { name: "Change", kind: "head", show: ({ event }) => html`<button class="opener" aria-expanded=${open === event.id}
      onClick=${() => toggle(event.id)}>${event.type}</button>` },
    { name: "Record", show: ({ event }) => html`<code>${event.subject}</code>` },
    { name: "Account", show: ({ event }) => html`<a
      href=${`#/accounts/${encodeURIComponent(event.account)}`}>${event.account}</a>` },
    { name: "What", kind: "wide", show: ({ event }) => gist(event) || "–" },
    { name: "Heard after", kind: "number", show: ({ event }) => delay(event) },
  ];
  const after = ({ event }) => open === event.id && html`<tr role="row" key=${`${event.id} opened`} class="opened"><td
    role="cell" colSpan=${columns.length}>
    <${Sides} data=${event.data} /><p><a href=${`#/events/${event.id}`}>Its whole story</a>
    <span class="soft"> version ${event.version}, ${event.vendor}</span></p></td></tr>`;
  return html`<div class="changes"><${Table} caption="Changes" columns=${columns}
    rows=${events.filter(readable)}
    id=${({ event }) => event.id} after=${after}
    mark=${({ event }) => (fresh.has(event.id) ? "fresh-row" : "")} empty=${empty} /></div>`;
}

function delay(event) {
  const seconds = (new Date(event.observedat) - new Date(event.time)) / 1000;
  return event.time && seconds > 0 ? span(seconds) : "–";
}
