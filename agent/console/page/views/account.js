// One account: how it is, each of its resources with what can be done, and its last hours.
import { query, useAnswer } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Act, NoActions } from "../parts/ask.js";
import { interval, pause, poll, rebaseline, resume, rewind } from "../parts/actions.js";
import { Resources, Token } from "../parts/accounts.js";
import { Changes } from "../parts/changes.js";
import { History } from "../parts/chart.js";
import { Badge, Heading, Moment, Waiting } from "../parts/small.js";

export function Account({ id }) {
  const answer = useAnswer(`/api/overview${query({ accounts: "0,50", q: id })}`, 2);
  const [page, setPage] = useState(null);
  useEffect(() => answer.data && setPage({ ...answer.data, heard: performance.now() }), [answer.data]);
  const account = page?.accounts.find((each) => each.account === id);
  const acts = account && html`<div class="acts">
    <${Act} action=${account.paused ? resume(id) : pause(id)} /></div>`;
  const troubles = page?.troubles.filter((each) => each.link === `#/accounts/${id}`) ?? [];
  return html`<${Heading} title=${id} acts=${acts} /><${Waiting} answer=${answer} />
    ${page && !account && html`<p class="empty">No account has this name. <a href="#/">To the overview</a></p>`}
    ${account && html`<${State} account=${account} troubles=${troubles} />
      <section aria-labelledby="resources"><h2 id="resources">Resources</h2>
        <${Resources} accounts=${[account]} page=${page} named=${false}
          acts=${({ resource }) => Acts(id, resource.resource)} /><${NoActions} /></section>
      <section aria-labelledby="charts"><h2 id="charts">The last six hours</h2><div class="charts">
        <${History} of="polls" title="Polls a minute" where=${{ account: id }} />
        <${History} of="changes" title="Changes a minute" where=${{ account: id }} />
        <${History} of="requests" title="Requests to the vendor a minute" where=${{ account: id }} /></div></section>
      <section aria-labelledby="changes"><h2 id="changes">Last changes</h2><${Latest} account=${id} /></section>`}`;
}

const Acts = (account, resource) => html`<div class="acts"><${Act} quiet action=${poll(account, resource)} />
  <${Act} quiet action=${interval(account, resource)} /><${Act} quiet action=${rewind(account, resource)} />
  <${Act} quiet action=${rebaseline(account, resource)} /></div>`;

function State({ account, troubles }) {
  const { paused, token } = account;
  return html`<dl class="facts">
    <div><dt>Vendor</dt><dd>${account.vendor}</dd></div>
    <div><dt>State</dt><dd>${paused
      ? html`<${Badge} level="quiet">paused<//> by ${paused.by} since <${Moment} at=${paused.since} />${paused.until &&
        html`, until <${Moment} at=${paused.until} />`}`
      : account.status === "degraded" ? html`<${Badge} level="bad">degraded<//> ${account.worst || account.reason}`
        : html`<${Badge} level="good">well<//>`}</dd></div>
    <div><dt>Sign-in</dt><dd><${Token} token=${token} />${token?.expires_at && html`, until <${Moment}
      at=${token.expires_at} />`}</dd></div>
  </dl>
  ${troubles.map((each) => html`<div class=${`notice ${each.severity}`}><p><b>${each.what}</b><br />${each.do}</p></div>`)}`;
}

function Latest({ account }) {
  const answer = useAnswer(`/api/events${query({ account, limit: 20 })}`, 3);
  return html`<${Waiting} answer=${answer} />${answer.data && html`<${Changes} events=${answer.data.events}
    empty="Nothing has changed here lately." /><p><a
      href=${`#/live?account=${encodeURIComponent(account)}`}>Follow this account’s changes</a></p>`}`;
}
