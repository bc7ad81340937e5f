// The one stream from the agent: overviews and changes, over server-sent events. Read with fetch and not EventSource, because
// that tells a refusal from a loss, gives up on refusals, and does not see the heartbeats by which a dead line is noticed.
import { query, readSession } from "./api.js";
import { link, overview, pulse, session } from "./state.js";

const SILENCE = 25_000; // ms without a byte, heartbeats included, after which the line is dead
const WAITS = [500, 1000, 2000, 4000, 8000, 15_000];

let wanted = { only: "overview" };
let onChange = () => {};
let lastId = "";
let stop = null;
let failures = 0;
let wake = () => {};

// Which changes to send from now on, and who takes them.
export function follow(filter, listener) {
  wanted = filter ?? { only: "overview" };
  onChange = listener ?? (() => {});
  lastId = "";
  failures = 0;
  stop?.abort();
  wake();
}

export const retry = () => wake();

export async function keepConnected() {
  addEventListener("online", retry);
  document.addEventListener("visibilitychange", () => document.hidden || retry());
  for (;;) {
    const asked = wanted;
    let detail = "";
    try {
      await read(asked);
    } catch (error) {
      if (error.status === 401 && (await signedIn())) continue;
      detail = error.detail ?? "";
    }
    if (asked !== wanted) continue; // somebody asked for other changes
    const wait = WAITS[Math.min(failures, WAITS.length - 1)] * (0.75 + Math.random() / 2);
    failures += 1;
    const since = link.get().since ?? Date.now();
    link.set({ state: "lost", since, detail, retry: Date.now() + wait });
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, wait);
    });
  }
}

// A refusal for want of a session: wait until there is one. False where that was not what was wrong.
async function signedIn() {
  await readSession().catch(() => {});
  if (!session.get()?.needed || session.get()?.signed_in) return false;
  link.set({ state: "connecting" });
  await new Promise((resolve) => {
    const deaf = session.listen(() => {
      deaf();
      resolve();
    });
  });
  return true;
}

async function read(asked) {
  stop = new AbortController();
  let watchdog = setTimeout(() => stop.abort(), SILENCE);
  try {
    const headers = lastId ? { "Last-Event-ID": lastId } : {};
    const reply = await fetch(`/api/live${query(asked)}`, { headers, signal: stop.signal });
    if (!reply.ok) {
      const { error } = await reply.json().catch(() => ({}));
      throw Object.assign(new Error("refused"), { status: reply.status, detail: error });
    }
    const again = link.get().state === "lost";
    link.set({ state: "up" });
    failures = 0;
    if (again) pulse.set(pulse.get() + 1);
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stop.abort(), SILENCE);
      const blocks = (text + value).split(/\r?\n\r?\n/);
      text = blocks.pop();
      for (const block of blocks) if (asked === wanted) take(block);
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function take(block) {
  const fields = { event: "message", data: [] };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([a-z]*): ?(.*)$/.exec(line) ?? [];
    if (name === "data") fields.data.push(value);
    else if (name) fields[name] = value;
  }
  if (fields.id !== undefined) lastId = fields.id;
  if (!fields.data.length) return;
  const data = JSON.parse(fields.data.join("\n"));
  if (fields.event === "overview") {
    overview.set({ ...data, heard: performance.now() });
    pulse.set(pulse.get() + 1);
  } else if (fields.event === "change") {
    onChange(data);
  }
}
