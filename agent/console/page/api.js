// Asking the agent. Whatever goes wrong becomes a sentence that a person can act on.
import { useEffect, useRef, useState } from "./html.js";
import { pulse, session } from "./state.js";

export class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session.get()?.csrf) headers["X-CSRF"] = session.get().csrf;
  let reply;
  try {
    reply = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The agent does not answer. It is asked again by itself.", 0);
  }
  if (reply.status === 204) return null;
  const answer = await reply.json().catch(() => ({}));
  if (reply.ok) return answer;
  if (reply.status === 401 && session.get()?.signed_in) await readSession();
  throw new Refused(sentence(answer.error ?? `The agent answered ${reply.status}`, reply), reply.status);
}

// As it was said: it may begin with a name.
function sentence(told, reply) {
  const wait = reply.headers.get("Retry-After");
  return reply.status === 429 && wait && !/\d/.test(told) ? `${told}. Try again in ${wait} s.` : told;
}

export async function readSession() {
  session.set(await ask("/api/session"));
}

export function query(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}

// What `path` answers, read anew when the server says that something changed, but not more often than every `every`
// seconds. Until then, and while the agent does not answer, it stays as it was.
export function useAnswer(path, every = 5) {
  const [answer, setAnswer] = useState({ path: null, data: null, error: null });
  const again = useRef(() => {});
  useEffect(() => {
    if (path === null) return undefined;
    const stop = new AbortController();
    let last = -Infinity;
    let waiting = null;
    let under = false;
    async function read() {
      waiting = null;
      under = true;
      last = performance.now();
      try {
        const data = await ask(path, { signal: stop.signal });
        setAnswer({ path, data, error: null });
      } catch (error) {
        if (error.name !== "AbortError") setAnswer((old) => ({ path, data: old.path === path ? old.data : null, error }));
      }
      under = false;
    }
    function soon() {
      if (waiting !== null || under) return;
      waiting = setTimeout(read, Math.max(0, last + every * 1000 - performance.now()));
    }
    again.current = () => {
      clearTimeout(waiting);
      read();
    };
    read();
    const deaf = pulse.listen(soon);
    return () => {
      deaf();
      clearTimeout(waiting);
      stop.abort();
    };
  }, [path, every]);
  const fits = answer.path === path;
  return { data: fits ? answer.data : null, error: fits ? answer.error : null, again: () => again.current() };
}
