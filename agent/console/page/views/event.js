// One event's whole story: when it was seen and published, what changed, and each attempt to deliver it.
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { Act } from "../parts/ask.js";
import { dropDead, replayDead } from "../parts/actions.js";
import { Reveal, useReveal } from "../parts/reveal.js";
import { Badge, Heading, Moment, Sides, Table, Waiting } from "../parts/small.js";
import { span } from "../words.js";

export function Event({ id }) {
  const reveal = useReveal();
  const answer = useAnswer(`/api/events/${encodeURIComponent(id)}${reveal.query}`, reveal.shown ? 3600 : 3);
  const story = answer.data;
  const event = story?.event;
  return html`<${Heading} title=${event ? `${event.type} ${event.subject}` : `Event ${id}`} acts=${event &&
    html`<${Reveal} reveal=${reveal} />`} />
    <${Waiting} answer=${answer} />
    ${story && html`<${Facts} story=${story} event=${event} />
      ${event && html`<section aria-labelledby="sides"><h2
        id="sides">${event.data?.changes ? "Before and after" : "The record"}</h2><${Sides} data=${event.data} /></section>`}
      ${event?.data?.changes && event.data.record && html`<details class="whole"><summary>The whole record</summary>
        <${Sides} data=${event.data.record} /></details>`}
      <section aria-labelledby="deliveries"><h2 id="deliveries">What became of it</h2>
        ${story.routes?.length ? story.routes.map((route) => html`<${OnRoute} key=${route.route} route=${route} />`)
          : html`<p class="empty">No route takes this event.</p>`}</section>`}`;
}

function Facts({ story, event }) {
  const fact = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  if (!event) return html`<p class="empty">The event itself is gone from the ledger; what is left of it follows.</p>`;
  const late = (new Date(event.observedat) - new Date(event.time)) / 1000;
  const wait = story.published_at ? (new Date(story.published_at) - new Date(event.observedat)) / 1000 : null;
  return html`<ol class="steps">
    <li><b>At the vendor</b> <${Moment} at=${event.time} /></li>
    <li><b>Seen by a poll</b> <${Moment} at=${event.observedat} /> <span
      class="soft">${late > 0 ? `${span(late)} later` : ""}</span></li>
    <li><b>Published</b> <${Moment} at=${story.published_at} /> <span
      class="soft">${wait > 0 ? `${span(wait)} later` : ""}</span></li>
  </ol><dl class="facts">
    ${fact("Account", html`<a
      href=${`#/accounts/${encodeURIComponent(event.account)}`}>${event.account}</a> (${event.vendor})`)}
    ${fact("Record", html`<code>${event.subject}</code>, version ${event.version}`)}
    ${fact("Id", html`<code>${event.id}</code>`)}
    ${event.pollid && fact("Poll", html`<code>${event.pollid}</code>`)}
    ${story.sequence != null && fact("Number in the ledger", story.sequence)}
  </dl>`;
}

const LEVELS = { delivered: "good", dead: "bad", retrying: "warn", waiting: "warn", refused: "bad", stopped: "bad" };

function OnRoute({ route }) {
  const columns = [
    { name: "Attempt", kind: "head", show: (row) => `${row.attempt}${row.replay ? ", replay" : ""}` },
    { name: "Ended", show: (row) => html`<${Moment} at=${row.ended_at} />` },
    { name: "Took", kind: "number", show: (row) => span(row.seconds) },
    { name: "Outcome", show: (row) => row.outcome },
    { name: "Answer", show: (row) => row.status || "–" },
    { name: "Next due", show: (row) => html`<${Moment} at=${row.next_at} />` },
  ];
  return html`<div class="route-story"><h3><a href=${`#/routes/${encodeURIComponent(route.route)}`}>${route.route}</a>
      ${" "}<${Badge} level=${LEVELS[route.state] ?? "quiet"}>${route.state}<//></h3><p>${route.detail}</p>
    ${route.attempts.length > 0 && html`<${Table} caption=${`Attempts on ${route.route}`} columns=${columns}
      rows=${route.attempts} id=${(row) => `${row.attempt} ${row.ended_at}`} />`}
    ${route.dead?.id && html`<div class="acts"><${Act} action=${replayDead([route.dead.id], route.route)} /><${Act}
      action=${dropDead([route.dead.id], route.route)} /></div>`}</div>`;
}
