// The token of `http.admin_token`, given once; the browser then holds a session that no script can read.
import { ask, readSession } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { session, use } from "../state.js";

const LOCAL = ", or open this page on the machine itself, by http://127.0.0.1";

export function SignIn({ search, locked }) {
  const now = use(session);
  const token = useRef(null);
  const [state, setState] = useState({ busy: false, error: "" });
  useEffect(() => {
    document.title = "Sign in · Vendorwire";
    token.current?.focus();
  }, []);
  async function send(event) {
    event.preventDefault();
    setState({ busy: true, error: "" });
    try {
      await ask("/api/session", { method: "POST", body: { token: token.current.value } });
      await readSession();
      if (!locked) location.hash = search.get("to")?.startsWith("#/") ? search.get("to") : "#/";
    } catch (error) {
      setState({ busy: false, error: error.message });
      token.current?.select();
    }
  }
  if (!now.actions)
    return html`<div class="sign-in"><h1 tabIndex="-1">Sign in</h1>
      <p>No token is configured, so nobody can sign in. Set <code>http.admin_token</code> in
      <code>vendorwire.yaml</code> and start the agent anew${now.needed ? LOCAL : ""}.</p></div>`;
  return html`<form class="sign-in" onSubmit=${send}><h1 tabIndex="-1">Sign in</h1>
    <p>${locked ? "This page is open to those who have the admin token." : "Whoever acts gives the admin token first."}</p>
    <p class="field"><label for="token">Admin token</label>
      <input id="token" ref=${token} type="password" required autocomplete="current-password" spellcheck=${false}
        aria-describedby=${state.error ? "token-hint token-error" : "token-hint"}
          aria-invalid=${state.error ? "true" : undefined} />
      <span class="soft" id="token-hint">It is <code>http.admin_token</code> in the agent’s configuration.</span></p>
    ${state.error && html`<p class="notice bad" role="alert" id="token-error">${state.error}</p>`}
    <button class="primary" disabled=${state.busy}>${state.busy ? "One moment …" : "Sign in"}</button></form>`;
}
