// Changes as they happen: filtered by the server, paused by a key, opened by a click.
import { query, useAnswer } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { follow } from "../live.js";
import { Changes } from "../parts/changes.js";
import { Heading, Waiting } from "../parts/small.js";
import { link, use } from "../state.js";
import { counted, readable } from "../words.js";

const SHOWN = 100; // rows; the stream itself is the place for more
const FIELDS = [
  ["vendor", "Vendor", "known-vendors"],
  ["account", "Account", "known-accounts"],
  ["resource", "Resource", "known-resources"],
  ["change", "Change", "known-changes"],
];
const CHANGES = [
  ...["created", "modified", "deleted", "restored", "confirmed", "cancelled", "checked_in", "checked_out", "no_show"],
  ...["reactivated", "withdrawn", "suspended", "reinstated", "changed", "offline", "online", "deregistered"],
  ...["control_changed", "batch", "completed", "degraded", "recovered"],
];

const WORD = /^[A-Za-z0-9_-]{0,80}$/; // as the API takes them: another word would have it refuse all there is
const of = (value) => Object.fromEntries(FIELDS.map(([name]) => [name, value(name)]));

export function Live({ search }) {
  const [typed, setTyped] = useState(of((name) => search.get(name) ?? ""));
  const filter = of((name) => (WORD.test(typed[name]) ? typed[name] : ""));
  const [cleared, setCleared] = useState(0);
  const [rows, setRows] = useState([]);
  const [held, setHeld] = useState(null); // while paused: what has come since
  const paused = useRef(false);
  const path = `/api/events${query({ limit: SHOWN, ...filter })}`;
  const answer = useAnswer(path, 3600);
  const { state } = use(link);
  const began = useRef(state);
  useEffect(() => {
    let batch = [];
    let drawn = null;
    setRows([]);
    // a burst is drawn once: the eye takes in no more, and the page stays quick
    function heard(change) {
      batch.unshift(change);
      drawn ??= setTimeout(() => {
        const news = batch;
        batch = [];
        drawn = null;
        if (paused.current) setHeld((old) => [...news, ...(old ?? [])].slice(0, SHOWN));
        else setRows((old) => merge(news, old));
      }, 150);
    }
    follow({ ...filter }, heard);
    return () => {
      clearTimeout(drawn);
      follow(null);
    };
  }, [path]);
  useEffect(() => answer.data && setRows((old) => merge(old, answer.data.events)), [answer.data]);
  useEffect(() => {
    if (state === "up" && began.current === "lost") answer.again(); // what was missed meanwhile
    began.current = state;
  }, [state]);
  function pause() {
    paused.current = !paused.current;
    setRows((old) => merge(held ?? [], old));
    setHeld(paused.current ? [] : null);
  }
  const change = (name) => (event) => {
    const value = event.target.value.trim();
    setTyped((old) => ({ ...old, [name]: value }));
  };
  // what is being typed stays, however often the rows are drawn meanwhile: the fields are made anew only to be emptied
  function showAll() {
    setTyped(of(() => ""));
    setCleared(cleared + 1);
  }
  const filtered = Object.values(typed).some(Boolean);
  const newest = state === "up" ? `The newest ${counted(rows.length, "change")}, as they come.` : "Waiting for the connection.";
  const told = held ? "Paused: what comes is kept back." : newest;
  const none = answer.data ? `Nothing ${filtered ? "of the kind " : ""}has changed lately.` : "Reading …";
  const acts = html`<div class="acts"><button data-pause aria-pressed=${held !== null}
    onClick=${pause}>${held ? `Go on${held.length ? ` (${held.length} new)` : ""}` : "Pause"}</button></div>`;
  return html`<${Heading} title="Live changes" acts=${acts} />
    <form class="filters" role="search" aria-label="Changes" key=${cleared} onSubmit=${(event) => event.preventDefault()}>
      ${FIELDS.map(([name, title, list], index) => html`<span class="filter" key=${name}><label>${title} <input name=${name}
        list=${list} data-search=${index ? undefined : true} defaultValue=${typed[name]} onChange=${change(name)}
        placeholder="any" autocomplete="off" spellcheck=${false} aria-describedby=${`${name}-hint`}
        aria-invalid=${WORD.test(typed[name]) ? undefined : "true"} /></label>
        <span class="warn-text" id=${`${name}-hint`} role="status">${WORD.test(typed[name]) ? ""
          : "Letters, digits, - and _ only: it is left out."}</span></span>`)}
      ${filtered && html`<button type="button" onClick=${showAll}>Show all</button>`}
    </form>
    <datalist id="known-changes">${CHANGES.map((each) => html`<option value=${each} />`)}</datalist>
    ${answer.error && html`<${Waiting} answer=${answer} />`}
    <p class="soft">${told} Personal data is masked; an event’s own page shows it.</p>
    <${Changes} events=${rows}
      empty=${none} />`;
}

// The newest first, each once.
function merge(newer, older) {
  const seen = new Set();
  return [...newer, ...older]
    .filter(readable)
    .filter(({ event }) => !seen.has(event.id) && seen.add(event.id))
    .sort((one, other) => (other.seq ?? 0) - (one.seq ?? 0))
    .slice(0, SHOWN);
}
