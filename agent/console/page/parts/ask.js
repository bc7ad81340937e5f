// What a person can do, each said in full before it is done: actions go through one dialog, and tell what came of them.
import { ask } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { pulse, said, session, shared, use } from "../state.js";

const open = shared(null);

// An action: {name, title, means: [sentences], path, body(form) → what is sent, fields, danger, asks: false for harmless ones}
export function Act({ action, quiet = false }) {
  const now = use(session);
  const [busy, setBusy] = useState(false);
  if (!now?.actions) return null;
  async function start() {
    if (!now.may_act) location.hash = `#/sign-in?to=${encodeURIComponent(location.hash || "#/")}`;
    else if (action.asks === false) {
      setBusy(true);
      await perform(action, new FormData()).catch((error) => said.set({ text: error.message, level: "bad" }));
      setBusy(false);
    } else open.set(action);
  }
  return html`<button class=${`${action.danger ? "danger" : ""} ${quiet ? "quiet" : ""}`} disabled=${busy} onClick=${start}
    aria-haspopup=${action.asks === false ? undefined : "dialog"}
    aria-label=${action.label}>${action.name}</button>`;
}

async function perform(action, form) {
  const answer = await ask(action.path, { method: "POST", body: action.body ? action.body(form) : {} });
  if (answer?.under_way) said.set({ text: answer.under_way, level: "warn" });
  else said.set({ text: answer?.done ?? "Done.", level: "good" });
  pulse.set(pulse.get() + 1);
  action.then?.();
}

export function Dialog() {
  const action = use(open);
  const dialog = useRef(null);
  const [state, setState] = useState({ busy: false, error: "" });
  useEffect(() => {
    setState({ busy: false, error: "" });
    if (!action) return undefined;
    dialog.current?.showModal();
    const leave = () => dialog.current?.close(); // a question does not follow to another view
    addEventListener("hashchange", leave);
    return () => removeEventListener("hashchange", leave);
  }, [action]);
  if (!action) return null;
  async function send(event) {
    event.preventDefault();
    setState({ busy: true, error: "" });
    try {
      await perform(action, new FormData(event.target));
      dialog.current.close();
    } catch (error) {
      setState({ busy: false, error: error.message });
    }
  }
  return html`<dialog ref=${dialog} aria-labelledby="ask-title" aria-describedby="ask-means" onClose=${() => open.set(null)}>
    <form onSubmit=${send}>
      <h2 id="ask-title">${action.title}</h2>
      <div id="ask-means">${action.means.map((sentence) => html`<p>${sentence}</p>`)}</div>
      ${(action.fields ?? []).map((field) => html`<${Field} key=${field.name} field=${field} />`)}
      ${state.error && html`<p class="notice bad" role="alert">${state.error}</p>`}
      <div class="buttons">
        <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        <button type="submit" class=${action.danger ? "danger sure" : "primary"} disabled=${state.busy}>
          ${state.busy ? "One moment …" : (action.verb ?? action.name.replace("…", ""))}</button>
      </div>
    </form>
  </dialog>`;
}

function Field({ field }) {
  const id = `ask-${field.name}`;
  const hint = field.hint && html`<span class="soft" id=${`${id}-hint`}>${field.hint}</span>`;
  const described = field.hint ? `${id}-hint` : undefined;
  if (field.options)
    return html`<p class="field"><label for=${id}>${field.label}</label>
      <select id=${id} name=${field.name} aria-describedby=${described}>
        ${field.options.map(([value, text]) => html`<option value=${value}>${text}</option>`)}
      </select>${hint}</p>`;
  return html`<p class="field"><label for=${id}>${field.label}</label>
    <input id=${id} name=${field.name} type=${field.type ?? "text"} required=${field.required} placeholder=${field.placeholder}
      pattern=${field.pattern} step=${field.step} defaultValue=${field.value} autocomplete="off" spellcheck=${false}
      aria-describedby=${described} />${hint}</p>`;
}

// What came of the last action, said once and kept in sight until it is put away.
export function Said() {
  const now = use(said);
  const timer = useRef(null);
  useEffect(() => {
    clearTimeout(timer.current);
    if (now?.level === "good") timer.current = setTimeout(() => said.set(null), 10_000);
  }, [now]);
  return html`<div class="said" role="status">
    ${now && html`<p class=${now.level}><span>${now.text}</span>
      <button class="quiet" onClick=${() => said.set(null)} aria-label="Put this message away">×</button></p>`}
  </div>`;
}

// Why there are no buttons, where there are none.
export const NoActions = () =>
  use(session)?.actions === false
    ? html`<p class="soft">To act from here, set <code>http.admin_token</code> and start the agent anew.</p>`
    : null;
