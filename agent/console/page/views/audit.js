// Who did what, from this page and from the command line.
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { Badge, Heading, Moment, Table, Waiting } from "../parts/small.js";

export function Audit() {
  const answer = useAnswer("/api/audit?limit=200", 3);
  const columns = [
    { name: "When", show: (row) => html`<${Moment} at=${row.at} />` },
    { name: "Who", kind: "head", show: (row) => html`${row.who}<span class="soft under">${row.from}</span>` },
    { name: "Did", show: (row) => row.act },
    { name: "To", show: (row) => row.target || "–" },
    { name: "What came of it", kind: "wide", show: (row) => html`${row.outcome === "done" ? "" : html`<${Badge}
      level="warn">${row.outcome}<//> `}${row.detail || "–"}` },
  ];
  return html`<${Heading} title="Audit" /><p
    class="lead">Every action, from this page, the API and the command line, kept for a year.</p>
    <${Waiting} answer=${answer} />
    ${answer.data && html`<${Table} caption="Actions" columns=${columns} rows=${answer.data.acts}
      id=${(row) => `${row.at} ${row.act} ${row.target}`} empty="Nobody has done anything yet." />`}`;
}
