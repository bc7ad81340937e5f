// What is wrong and what to do about it; then everything, the worst first.
import { query, useAnswer } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Accounts } from "../parts/accounts.js";
import { History } from "../parts/chart.js";
import { Badge, Heading, Moment, Table, Waiting } from "../parts/small.js";
import { overview, use } from "../state.js";
import { bytes, counted, number, percent, span } from "../words.js";

const PAGE = 50; // accounts shown at a time

export function Overview() {
  const streamed = use(overview);
  const [wanted, setWanted] = useState({ offset: 0, q: "", state: "" });
  const enough = streamed && !wanted.q && !wanted.state && whole(streamed) && streamed.accounts.length <= PAGE;
  const asked = `/api/overview${query({ accounts: `${wanted.offset},${PAGE}`, q: wanted.q, state: wanted.state })}`;
  const answer = useAnswer(enough ? null : asked, 2);
  const [kept, setKept] = useState(null); // the page before, until the next one has come
  useEffect(() => answer.data && setKept({ ...answer.data, heard: performance.now() }), [answer.data]);
  const page = enough ? streamed : kept;
  const now = streamed ?? kept;
  if (!now || !page) return html`<${Heading} title="Overview" /><${Waiting} answer=${answer} />`;
  return html`<${Heading} title="Overview" />
    <${Troubles} troubles=${now.troubles} />
    <${Figures} counts=${now.counts} bus=${now.bus} />
    <section aria-labelledby="charts"><h2 id="charts">The last six hours</h2><div class="charts">
      <${History} of="polls" title="Polls a minute" /><${History} of="changes" title="Changes a minute" />
      <${History} of="deliveries" title="Deliveries a minute" /><${History} of="lag" title="Lag of deliveries" kind="lines" />
    </div></section>
    <${Accounts} page=${page} wanted=${wanted} want=${setWanted} size=${PAGE} answer=${enough ? {} : answer} />
    <section aria-labelledby="routes"><h2 id="routes">Routes</h2><${Routes} routes=${now.routes} /></section>
    <div class="columns">
      <section aria-labelledby="bus"><h2 id="bus">Bus</h2><${Bus} bus=${now.bus} /></section>
      <section aria-labelledby="agents"><h2 id="agents">Agents</h2><${Agents} agents=${now.agents} /></section>
    </div>`;
}

const whole = (now) => now.accounts_total === now.accounts.length;

// A new one is said aloud; that one grows older is not.
function Troubles({ troubles }) {
  return html`<section class="troubles" aria-labelledby="troubles-title" aria-live="polite" aria-relevant="additions">
    <h2 id="troubles-title"
      class=${troubles.length ? "" : "well"}>${troubles.length ? counted(troubles.length, "trouble") : "All is well"}</h2>
    ${troubles.length > 0 && html`<ul>${troubles.map((each) => html`<li
      key=${`${each.severity} ${each.where} ${each.link}`} class=${each.severity}>
      <${Badge} level=${each.severity}>${each.severity === "bad" ? "Broken" : "Watch"}<//>
      <div><p class="what">${each.link ? html`<a href=${each.link}>${each.where}</a>`
        : html`<b>${each.where}</b>`}: ${each.what}</p>
      <p class="do">${each.do}</p></div></li>`)}</ul>`}
  </section>`;
}

function Figures({ counts, bus }) {
  const figure = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<dl class="figures">
    ${figure("Accounts", number(counts.accounts))}${figure("Records stored", number(counts.records))}
    ${figure("Changes in the last hour", number(counts.events_last_hour))}
    ${figure("Waiting for delivery", number(counts.pending))}
    ${figure("Dead letters", number(counts.dead))}${figure("Bus", bus.connected ? "connected" : "lost")}
  </dl>`;
}

const CIRCUITS = { closed: ["good", "delivering"], open: ["warn", "resting"], stopped: ["bad", "stopped"] };

export function Circuit({ route }) {
  const [level, word] = CIRCUITS[route.circuit] ?? ["quiet", route.circuit ?? "unknown"];
  return html`<${Badge} level=${level}>${word}<//>`;
}

function Routes({ routes }) {
  const columns = [
    { name: "Route", kind: "head", show: (row) => html`<a href=${`#/routes/${encodeURIComponent(row.route)}`}>${row.route}</a>
      <span class="soft under">${row.to}</span>` },
    { name: "State", show: (row) => html`<${Circuit} route=${row} />` },
    { name: "Waiting", kind: "number", show: (row) => number(row.pending) },
    { name: "In flight", kind: "number", show: (row) => number(row.in_flight) },
    { name: "Lag, half below", kind: "number", show: (row) => span(row.lag_p50) },
    { name: "99 % below", kind: "number", show: (row) => span(row.lag_p99) },
    { name: "Succeeded", kind: "number", show: (row) => percent(row.success_rate) },
    { name: "Dead", kind: "number", show: (row) => (row.dead ? html`<a
      href=${`#/dead?route=${encodeURIComponent(row.route)}`}>${number(row.dead)}</a>` : "0") },
    { name: "Last success", show: (row) => html`<${Moment} at=${row.last_success} />` },
    { name: "Last error", kind: "wide", show: (row) => row.last_error ?? "–" },
  ];
  const mark = (row) => ({ open: "warn", stopped: "bad" })[row.circuit] ?? "";
  return html`<${Table} caption="Routes" columns=${columns} rows=${routes} id=${(row) => row.route} mark=${mark}
    empty="No route is configured: events stay on the bus for whoever reads it." />`;
}

function Bus({ bus }) {
  const columns = [
    { name: "Stream", kind: "head", show: (row) => row.stream },
    { name: "Size", kind: "number", show: (row) => bytes(row.bytes) },
    { name: "Full", kind: "number", show: (row) => (row.limit > 0 ? percent(row.bytes / row.limit) : "no limit") },
    { name: "Messages", kind: "number", show: (row) => number(row.messages) },
  ];
  return html`<p><${Badge} level=${bus.connected ? "good" : "bad"}>${bus.connected ? "connected" : "lost"}<//>
    ${" "}<span class="soft">${[bus.server, bus.version].filter(Boolean).join(", NATS ")}</span></p>
    <${Table} caption="Streams" columns=${columns} rows=${bus.streams ?? []} id=${(row) => row.stream}
      empty="Not known while the bus is lost." />`;
}

function Agents({ agents }) {
  const columns = [
    { name: "Agent", kind: "head", show: (row) => html`<code>${row.agent}</code><span class="soft under">${row.host}</span>` },
    { name: "Version", show: (row) => row.version },
    { name: "Does", show: (row) => [row.roles].flat().join(", ") },
    { name: "Since", show: (row) => html`<${Moment} at=${row.since} />` },
    { name: "Last heard", show: (row) => html`<${Moment} at=${row.seen} />` },
  ];
  return html`<${Table} caption="Agents" columns=${columns} rows=${agents ?? []} id=${(row) => row.agent}
    empty="No agent is heard." />`;
}
