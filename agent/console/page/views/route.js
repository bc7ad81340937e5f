// One route: how it delivers, its last hours, and what can be done about it.
import { query, useAnswer } from "../api.js";
import { html } from "../html.js";
import { Act, NoActions } from "../parts/ask.js";
import { dropDead, replay, replayDead, startRoute } from "../parts/actions.js";
import { History } from "../parts/chart.js";
import { Heading, Moment, Waiting } from "../parts/small.js";
import { overview, use } from "../state.js";
import { number, percent, span } from "../words.js";
import { Letters } from "./dead.js";
import { Circuit } from "./overview.js";

export function Route({ id }) {
  const streamed = use(overview);
  const answer = useAnswer(streamed ? null : `/api/overview${query({ accounts: "0,1" })}`, 2);
  const now = streamed ?? answer.data;
  const route = now?.routes.find((each) => each.route === id);
  const acts = route && html`<div class="acts">${route.circuit !== "closed" && html`<${Act} action=${startRoute(id)} />`}
    <${Act} action=${replay(id)} /></div>`;
  return html`<${Heading} title=${id} acts=${acts} />
    ${!streamed && html`<${Waiting} answer=${answer} />`}
    ${now && !route && html`<p class="empty">No route has this name. <a href="#/">To the overview</a></p>`}
    ${route && html`<${Facts} route=${route} />
      <${NoActions} /><section aria-labelledby="charts"><h2 id="charts">The last six hours</h2><div class="charts">
        <${History} of="deliveries" title="Attempts a minute" where=${{ route: id }} />
        <${History} of="lag" title="Lag, commit to receipt" kind="lines" where=${{ route: id }} /></div></section>
      <section aria-labelledby="dead"><div class="over"><h2 id="dead">Dead letters</h2>
        ${route.dead > 0 && html`<div class="acts"><${Act} action=${replayDead(null, id)} /><${Act}
          action=${dropDead(null, id)} /></div>`}</div>
        <${Letters} route=${id} limit=${20} /></section>`}`;
}

function Facts({ route }) {
  const fact = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<dl class="facts">
    ${fact("Delivers to", route.to)}
    ${fact("State", html`<${Circuit} route=${route} />${route.since && html` since <${Moment} at=${route.since} />`}`)}
    ${fact("Waiting", number(route.pending))}${fact("In flight", number(route.in_flight))}
    ${fact("Lag", route.lag_p50 == null ? "–" : `${span(route.lag_p50)}, 99 % below ${span(route.lag_p99)}`)}
    ${fact("Succeeded", percent(route.success_rate))}
    ${fact("Last success", html`<${Moment} at=${route.last_success} />`)}
    ${route.last_error && fact("Last error", route.last_error)}
  </dl>`;
}
