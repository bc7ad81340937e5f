// The page: which view is shown, what stands around it, and the line to the agent. Read this file first.
import { ask, readSession } from "./api.js";
import { html, render, useEffect, useState } from "./html.js";
import { keepConnected, retry } from "./live.js";
import { Dialog, Said } from "./parts/ask.js";
import { Help, useShortcuts } from "./parts/help.js";
import { Ago, Known } from "./parts/small.js";
import { clock, link, moved, overview, remembered, said, session, use } from "./state.js";
import { Account } from "./views/account.js";
import { Audit } from "./views/audit.js";
import { Dead, Letter } from "./views/dead.js";
import { Deletes } from "./views/deletes.js";
import { Event } from "./views/event.js";
import { Live } from "./views/live.js";
import { Overview } from "./views/overview.js";
import { Quarantine } from "./views/quarantine.js";
import { Route } from "./views/route.js";
import { SignIn } from "./views/signin.js";
import { number, span } from "./words.js";

const VIEWS = {
  "": Overview,
  accounts: Account,
  routes: Route,
  live: Live,
  events: Event,
  dead: Dead,
  letters: Letter,
  deletes: Deletes,
  quarantine: Quarantine,
  audit: Audit,
  "sign-in": SignIn,
};
const PLACES = [
  ["", "Overview", (now) => now?.troubles?.length],
  ["live", "Live changes"],
  ["dead", "Dead letters", (now) => now?.counts.dead],
  ["deletes", "Held deletes", (now) => now?.counts.held],
  ["quarantine", "Quarantine", (now) => now?.counts.quarantined],
  ["audit", "Audit"],
];

function place() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name = "", ...rest] = path.split("/").map(decoded);
  return { name, id: rest.join("/"), search: new URLSearchParams(search) };
}

function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word; // typed by hand, with a stray %
  }
}

function App() {
  const [at, setAt] = useState(place);
  const now = use(session);
  useEffect(() => {
    const go = () => {
      moved.set(true);
      setAt(place());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", go);
    return () => removeEventListener("hashchange", go);
  }, []);
  const locked = now?.needed && !now.signed_in;
  useShortcuts(!locked);
  const View = locked ? SignIn : (Object.hasOwn(VIEWS, at.name) ? VIEWS[at.name] : Missing);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header><${Bar} at=${at.name} locked=${locked} /><${Line} locked=${locked} /></header>
    <main id="main" tabIndex="-1">${now && html`<${View} key=${`${at.name}/${at.id}`} id=${at.id} search=${at.search}
      locked=${locked} />`}</main>
    <footer>${!locked && html`<${Foot} />`}</footer>
    <${Said} /><${Dialog} /><${Help} />${!locked && html`<${Known} />`}`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

const Missing = () => html`<h1 tabIndex="-1">There is no such page</h1><p><a href="#/">To the overview</a></p>`;

function Bar({ at, locked }) {
  const now = use(overview);
  return html`<div class="bar">
    <a class="brand" href="#/"><svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" /><path d="M5 19h6l3-9 4 13 3-8h6" /></svg>Vendorwire</a>
    ${!locked && html`<nav aria-label="Views"><ul>${PLACES.map(([name, title, count]) => {
      const many = count?.(now);
      return html`<li key=${name}><a href=${`#/${name}`} aria-current=${at === name ? "page" : undefined}>${title}
        ${many ? html` <span class="count">${number(many)}</span>` : ""}</a></li>`;
    })}</ul></nav>`}
    <div class="tools"><${Theme} /><${Who} /></div>
  </div>`;
}

const NEXT = { "": "light", light: "dark", dark: "" };
const COLOURS = { "": "Colours: system", light: "Colours: light", dark: "Colours: dark" };

function Theme() {
  const [theme, setTheme] = useState(remembered.get("theme") ?? "");
  function turn() {
    const next = NEXT[theme];
    remembered.set("theme", next || null);
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    setTheme(next);
  }
  return html`<button class="quiet" id="theme" onClick=${turn}>${COLOURS[theme]}</button>`;
}

function Who() {
  const now = use(session);
  if (!now?.actions) return null;
  if (!now.signed_in) return html`<a class="button quiet" href="#/sign-in">Sign in</a>`;
  async function out() {
    try {
      await ask("/api/session", { method: "DELETE" });
      said.set({ text: "Signed out.", level: "good" });
    } catch (error) {
      said.set({ text: error.message, level: "bad" });
    }
    await readSession();
    if (session.get().needed) overview.set(null);
  }
  return html`<button class="quiet" onClick=${out}>Sign out</button>`;
}

// The line to the agent. Silent while all is well.
function Line({ locked }) {
  const { state, since, detail, retry: next } = use(link);
  const now = use(overview);
  use(clock);
  const lost = state === "lost" && !locked;
  return html`<div class="line" role="alert">${lost && html`<p>
    <strong>${detail ? "The agent refuses." : "No connection to the agent."}</strong>
    ${" "}${detail || `What you see is ${now ? "from" : "empty since"} ${new Date(since).toLocaleTimeString("en-GB")}.`}
    ${" "}<span
      aria-live="off">Trying again ${next > Date.now() ? `in ${span(Math.ceil((next - Date.now()) / 1000))}` : "now"}.</span>
    ${" "}<button onClick=${retry}>Try now</button></p>`}</div>`;
}

function Foot() {
  const now = use(overview);
  const { state } = use(link);
  const away = now && !now.bus.connected; // then the figures are older than the answer they came with
  const told = state !== "up" ? "As of the last connection" : away ? "The bus is away" : "Live";
  return html`<p>${now && html`<span>${told}, figures <${Ago}
    seconds=${(new Date(now.at) - new Date(now.as_of)) / 1000} heard=${now.heard} /> old</span>`}
    <span>${now?.agents?.[0]?.version ? `Version ${now.agents[0].version}` : ""}</span>
    <a href="/metrics">Metrics</a><a href="/api/openapi.json">API</a><button
      class="quiet" data-help>Keyboard shortcuts</button></p>`;
}

async function begin() {
  for (let wait = 500; session.get() === null; wait = Math.min(wait * 2, 8000)) {
    try {
      await readSession();
    } catch (error) {
      link.set({ state: "lost", since: Date.now(), detail: error.status ? error.message : "", retry: Date.now() + wait });
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  keepConnected();
}

document.getElementById("app").replaceChildren();
render(html`<${App} />`, document.getElementById("app"));
begin();
