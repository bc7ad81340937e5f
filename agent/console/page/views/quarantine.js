// Records that could not be read. The rest of their page was.
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { Heading, Moment, Table, Waiting } from "../parts/small.js";

export function Quarantine() {
  const answer = useAnswer("/api/quarantine", 3);
  const columns = [
    { name: "Account", kind: "head", show: (row) => html`<a
      href=${`#/accounts/${encodeURIComponent(row.account)}`}>${row.account}</a>` },
    { name: "Resource", show: (row) => row.resource },
    { name: "Record", show: (row) => html`<code>${row.key || "–"}</code>` },
    { name: "What could not be read", kind: "wide", show: (row) => row.path || "–" },
    { name: "Seen", show: (row) => html`<${Moment} at=${row.at} />` },
  ];
  return html`<${Heading} title="Quarantine" />
    <p class="lead">Records the vendor sent that could not be read. All others went on.
      They are read again with every poll, and leave this list once they can be.</p>
    <${Waiting} answer=${answer} />
    ${answer.data && html`<${Table} caption="Quarantined records" columns=${columns} rows=${answer.data.records}
      id=${(row) => `${row.account}/${row.resource}/${row.key}/${row.path}`} empty="None: every record could be read." />`}`;
}
