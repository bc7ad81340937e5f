// The keyboard: one letter goes somewhere, two dialogs deep nothing is caught, and all of it can be switched off.
import { html, useEffect, useRef, useState } from "../html.js";
import { remembered } from "../state.js";

const GO = { o: ["", "Overview"], l: ["live", "Live changes"], d: ["dead", "Dead letters"],
  h: ["deletes", "Held deletes"], q: ["quarantine", "Quarantine"], a: ["audit", "Audit"] };
const OTHERS = [
  ["/", "Search or filter"],
  ["p", "Pause or go on, among the live changes"],
  ["c", "Change the colours"],
  ["?", "This list"],
];

const off = () => remembered.get("shortcuts") === "off";
const show = () => document.getElementById("help")?.showModal();

function press(event) {
  const typing = event.target.closest?.("input, select, textarea, dialog, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || off()) return;
  const acts = {
    "/": () => document.querySelector("main [data-search]")?.focus(),
    p: () => document.querySelector("main [data-pause]")?.click(),
    c: () => document.getElementById("theme")?.click(),
    "?": show,
  };
  if (GO[event.key]) location.hash = `#/${GO[event.key][0]}`;
  else if (acts[event.key]) acts[event.key]();
  else return;
  event.preventDefault();
}

export function useShortcuts(on) {
  useEffect(() => {
    if (!on) return undefined;
    const clicked = (event) => event.target.closest?.("[data-help]") && show();
    addEventListener("keydown", press);
    addEventListener("click", clicked);
    return () => {
      removeEventListener("keydown", press);
      removeEventListener("click", clicked);
    };
  }, [on]);
}

export function Help() {
  const dialog = useRef(null);
  const [silent, setSilent] = useState(off);
  function toggle(event) {
    remembered.set("shortcuts", event.target.checked ? null : "off");
    setSilent(!event.target.checked);
  }
  const key = (letter, does) => html`<div><dt><kbd>${letter}</kbd></dt><dd>${does}</dd></div>`;
  return html`<dialog id="help" ref=${dialog} aria-labelledby="help-title">
    <h2 id="help-title">Keyboard shortcuts</h2>
    <dl class="keys-list">${Object.entries(GO).map(([letter, [, title]]) => key(letter, title))}
      ${OTHERS.map(([letter, does]) => key(letter, does))}</dl>
    <p><label><input type="checkbox" checked=${!silent} onChange=${toggle} /> Single keys do something</label></p>
    <div class="buttons"><button class="primary" onClick=${() => dialog.current.close()}>Close</button></div>
  </dialog>`;
}
