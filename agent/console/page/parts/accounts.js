// The table of accounts and their resources, page by page, the worst first: the server sorts and searches.
import { html, useRef } from "../html.js";
import { number } from "../words.js";
import { Badge, Fresh, Spark, Table, Until, Waiting } from "./small.js";

export function Accounts({ page, wanted, want, size, answer }) {
  const total = page.accounts_total;
  const typed = useRef(null);
  function search(event) {
    const q = event.target.value.trim();
    clearTimeout(typed.current);
    typed.current = setTimeout(() => want((old) => ({ ...old, q, offset: 0 })), 250);
  }
  const turn = (offset) => {
    want((old) => ({ ...old, offset }));
    document.getElementById("accounts").scrollIntoView();
  };
  const last = Math.min(wanted.offset + size, total);
  return html`<section aria-labelledby="accounts"><div class="over"><h2 id="accounts">Accounts</h2>
    <form class="filters" role="search" aria-label="Accounts" onSubmit=${(event) => event.preventDefault()}>
      <label>Search <input type="search" data-search onInput=${search} defaultValue=${wanted.q}
        placeholder="name or vendor" spellcheck=${false} /></label>
      <label>Show <select onChange=${(event) => want((old) => ({ ...old, state: event.target.value, offset: 0 }))}>
        <option value="">all</option><option value="bad">in trouble</option><option value="paused">paused</option>
          </select></label>
    </form></div>
    ${answer.error && html`<${Waiting} answer=${{ ...answer, data: page }} />`}
    <${Resources} accounts=${page.accounts} page=${page} />
    ${total > size && html`<nav class="pages" aria-label="Pages of accounts">
      <button disabled=${!wanted.offset} onClick=${() => turn(Math.max(0, wanted.offset - size))}>Earlier</button>
      <span role="status">${number(wanted.offset + 1)} to ${number(last)} of ${number(total)} accounts</span>
      <button disabled=${last >= total} onClick=${() => turn(wanted.offset + size)}>Later</button></nav>`}
  </section>`;
}

// One row a resource, each with its account's name, so that a row makes sense alone.
export function Resources({ accounts, page, acts, named = true }) {
  const rows = accounts.flatMap((account) => account.resources.map((resource, index) => ({ account, resource,
    first: named && !index })));
  const columns = [
    named && { name: "Account", kind: "head", spans: ({ account, first }) => (first ? account.resources.length : 0),
      show: Name },
    { name: "Resource", kind: named ? "resource" : "head", show: ({ resource }) => resource.resource },
    { name: "Last read", kind: "age", show: ({ account, resource }) => html`<${Fresh} resource=${resource}
      heard=${page.heard} paused=${account.paused} />` },
    { name: "Polls", kind: "sparks", show: ({ resource }) => html`<${Spark} polls=${resource.spark}
      failed=${resource.spark_failed} />` },
    { name: "Last outcome", kind: "wide outcome", show: Outcome },
    { name: "Next poll", show: ({ account, resource }) => (account.paused ? "paused" : resource.polling ? "under way"
      : html`<${Until} at=${resource.next_poll} asOf=${page.at} heard=${page.heard} />`) },
    { name: "Records", kind: "number", show: ({ resource }) => number(resource.records) },
    { name: "Changes/h", kind: "number", show: ({ resource }) => number(resource.changes_last_hour) },
    acts && { name: "Do", kind: "does", show: acts },
  ].filter(Boolean);
  return html`<${Table} name=${named ? "accounts" : "resources"} caption="Accounts and their resources" columns=${columns}
    rows=${rows}
    id=${(row) => `${row.account.account}/${row.resource.resource}`} mark=${mark} empty="No account fits." />`;
}

function mark({ account, first }) {
  if (!first) return "";
  if (account.status === "degraded" || account.stale) return "first bad";
  return account.worst ? "first warn" : "first";
}

const GOOD = new Set(["changed", "unchanged", "held"]);

const Name = ({ account }) => html`<a href=${`#/accounts/${encodeURIComponent(account.account)}`}>${account.account}</a>
  <span class="soft under">${account.vendor}</span>
  <span class="under"><span class="soft">Sign-in:</span> <${Token} token=${account.token} /></span>
  ${account.paused && html`<${Badge} level="quiet">paused<//> `}${account.status === "degraded" && html`<${Badge}
    level="bad">degraded<//>`}`;

export const Token = ({ token }) =>
  token && html`<span class=${`token ${token.healthy === false ? "bad" : "soft"}`}>${token.in_words}</span>`;

const Outcome = ({ resource }) => html`<span
  class=${!resource.outcome || GOOD.has(resource.outcome) ? "" : "warn-text"}>${resource.said || resource.outcome || "–"}</span>
  ${resource.held > 0 && html` <a class="under" href="#/deletes">${number(resource.held)} deletes held</a>`}
  ${resource.quarantined > 0 && html` <a class="under" href="#/quarantine">${number(resource.quarantined)} in quarantine</a>`}`;
