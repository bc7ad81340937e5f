// Personal data is masked until somebody who may act asks for it; asking is written down in the audit.
import { html, useState } from "../html.js";
import { session, use } from "../state.js";

export function useReveal() {
  const [shown, show] = useState(false);
  return { shown, show, query: shown ? "?reveal=true" : "" };
}

export function Reveal({ reveal }) {
  const now = use(session);
  if (!now?.actions) return null;
  function turn() {
    if (now.may_act) reveal.show(!reveal.shown);
    else location.hash = `#/sign-in?to=${encodeURIComponent(location.hash)}`;
  }
  return html`<div class="acts"><button aria-pressed=${reveal.shown} onClick=${turn}
    title="That you asked is written down in the audit">
    ${reveal.shown ? "Mask personal data" : "Show personal data"}</button></div>`;
}
