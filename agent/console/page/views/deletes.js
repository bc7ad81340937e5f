// Deletes that wait for a person, because too much vanished at once.
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { Act, NoActions } from "../parts/ask.js";
import { approve } from "../parts/actions.js";
import { Heading, Moment, Waiting } from "../parts/small.js";
import { counted, number } from "../words.js";

export function Deletes() {
  const answer = useAnswer("/api/deletes", 3);
  return html`<${Heading} title="Held deletes" />
    <p class="lead">So many records vanished at once that they may not be gone at all.
      If the vendor shows them again, they are let go by themselves; if they are really gone, approve.</p>
    <${NoActions} /><${Waiting} answer=${answer} />
    ${answer.data && (answer.data.held.length ? answer.data.held.map((held) => html`<${Held}
      key=${`${held.account}/${held.resource}/${held.part ?? ""}`} held=${held} />`)
      : html`<p class="empty">None. Nothing vanished in a suspicious number.</p>`)}`;
}

function Held({ held }) {
  const { account, resource, part, count, keys, since } = held;
  return html`<section class="card" aria-label=${`${account} ${resource}`}><div class="over"><h2><a
    href=${`#/accounts/${encodeURIComponent(account)}`}>${account}</a> ${resource}${part ? ` ${part}` : ""}</h2>
    <div class="acts"><${Act} action=${approve(held)} /></div></div>
    <p>${counted(count, "record")} missing since <${Moment} at=${since} />.</p>
    <details><summary>Which ones</summary><ul class="keys-held">${keys.map((key) => html`<li key=${key}>
      <code>${key}</code></li>`)}</ul>
      ${count > keys.length && html`<p class="soft">and ${number(count - keys.length)} more</p>`}</details></section>`;
}
