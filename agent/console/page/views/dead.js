// Events that could not be delivered: why, what they say, and whether to try again or to let them go.
import { query, useAnswer } from "../api.js";
import { html, useState } from "../html.js";
import { Act, NoActions } from "../parts/ask.js";
import { dropDead, replayDead } from "../parts/actions.js";
import { Reveal, useReveal } from "../parts/reveal.js";
import { Heading, Moment, Sides, Table, Waiting } from "../parts/small.js";
import { overview, use } from "../state.js";
import { number } from "../words.js";

const NO_EVENT = "It is no event. Show personal data to see it.";

export function Dead({ search }) {
  const [route, setRoute] = useState(search.get("route") ?? "");
  const routes = use(overview)?.routes ?? [];
  const names = [...new Set([...routes.map((each) => each.route), route].filter(Boolean))];
  const count = routes.find((each) => each.route === route)?.dead;
  return html`<${Heading} title="Dead letters" />
    <p class="lead">Events that a route gave up on. First see to the receiver, then replay them; drop only what nobody wants.</p>
    <form class="filters" onSubmit=${(event) => event.preventDefault()}><label>Route <select data-search value=${route}
      onChange=${(event) => setRoute(event.target.value)}>
      <option value="">all</option>${names.map((name) => html`<option key=${name}
        value=${name}>${name}</option>`)}</select></label>
      ${route && count > 0 && html`<span class="acts"><${Act} action=${replayDead(null, route)} /><${Act}
        action=${dropDead(null, route)} /></span>`}
    </form><${NoActions} />
    <${Letters} key=${route} route=${route} limit=${100} chosen=${true} />`;
}

export function Letters({ route, limit, chosen }) {
  const answer = useAnswer(`/api/dead${query({ route, limit })}`, 3);
  const [picked, setPicked] = useState(new Set());
  const letters = answer.data?.dead ?? [];
  const chosenIds = letters.filter((each) => picked.has(each.id)).map((each) => each.id);
  const pick = (id) => setPicked((old) => new Set(old.has(id) ? [...old].filter((each) => each !== id) : [...old, id]));
  const done = () => setPicked(new Set());
  const columns = [
    chosen && { name: "Choose", show: (row) => html`<input type="checkbox"
      aria-label=${`Choose ${row.event?.type ?? ""} ${row.id}`} checked=${picked.has(row.id)}
      onChange=${() => pick(row.id)} />` },
    { name: "Event", kind: "head", show: (row) => html`<a
      href=${`#/letters/${encodeURIComponent(row.id)}`}>${row.event?.type ?? "no event"}</a>
      <span class="soft under">${[row.event?.account, row.event?.subject].filter(Boolean).join(" ")}</span>` },
    !route && { name: "Route", show: (row) => html`<a href=${`#/routes/${encodeURIComponent(row.route)}`}>${row.route}</a>` },
    { name: "Given up", show: (row) => html`<${Moment} at=${row.at} />` },
    { name: "Attempts", kind: "number", show: (row) => number(row.attempts) },
    { name: "Why", kind: "wide", show: (row) => row.reason },
    { name: "Do", kind: "does", show: (row) => html`<div class="acts"><${Act} quiet
      action=${replayDead([row.id], row.route, done)} /><${Act} quiet action=${dropDead([row.id], row.route, done)} /></div>` },
  ].filter(Boolean);
  return html`<${Waiting} answer=${answer} />
    ${chosenIds.length > 0 && html`<div class="chosen"><span>${number(chosenIds.length)} chosen</span><${Act}
      action=${replayDead(chosenIds, "", done)} /><${Act} action=${dropDead(chosenIds, "", done)} /></div>`}
    ${answer.data && html`<${Table} caption="Dead letters" columns=${columns} rows=${letters} id=${(row) => row.id}
      empty="None: everything was delivered, or is still being tried." />
      ${answer.data.total > letters.length && html`<p
        class="soft">The newest ${number(letters.length)} of ${number(answer.data.total)}. Replay or drop these,
        or all of a route, to see others.</p>`}`}`;
}

export function Letter({ id }) {
  const reveal = useReveal();
  const answer = useAnswer(`/api/dead/${encodeURIComponent(id)}${reveal.query}`, 3600);
  const letter = answer.data;
  const event = letter?.body ?? letter?.event;
  const payload = letter?.body ? JSON.stringify(letter.body, null, 2) : (letter?.text ?? NO_EVENT);
  const back = () => (location.hash = "#/dead");
  const fact = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<${Heading} title=${event?.type ? `Dead letter: ${event.type} ${event.subject}` : "Dead letter"}
    acts=${letter && html`<div class="acts">
      <${Reveal} reveal=${reveal} /><${Act} action=${replayDead([id], letter.route, back)} /><${Act}
        action=${dropDead([id], letter.route, back)} /></div>`} />
    <${Waiting} answer=${answer} />
    ${letter && html`<div class="notice bad"><p><b>${letter.reason}</b>
      <br />after ${number(letter.attempts)} attempts, the last at <${Moment} at=${letter.at} /></p></div>
      <dl class="facts">${fact("Route", html`<a href=${`#/routes/${encodeURIComponent(letter.route)}`}>${letter.route}</a>`)}
        ${event?.account && fact("Account", html`<a
          href=${`#/accounts/${encodeURIComponent(event.account)}`}>${event.account}</a>`)}
        ${fact("Event", html`<a href=${`#/events/${encodeURIComponent(letter.event_id)}`}>its whole story</a>`)}</dl>
      ${event?.data && html`<section aria-labelledby="sides"><h2
        id="sides">${event.data.changes ? "Before and after" : "The record"}</h2><${Sides} data=${event.data} /></section>`}
      <details class="whole"><summary>The payload as it was to be delivered</summary><pre
        tabIndex="0">${payload}</pre></details>`}`;
}
