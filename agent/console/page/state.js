// Values that several parts of the page share, and what keeps a part in step with them.
import { useEffect, useState } from "./html.js";

export function shared(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const listener of [...listeners]) listener();
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function use(source) {
  const [, redraw] = useState(0);
  const shown = source.get();
  useEffect(() => {
    const again = () => redraw((count) => count + 1);
    if (source.get() !== shown) again(); // effects come after the drawing: it may have changed in between
    return source.listen(again);
  }, [source]);
  return shown;
}

// What the browser remembers of this person's choices; nothing where storage is forbidden.
export const remembered = {
  get(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(name);
      else localStorage.setItem(name, value);
    } catch {
      // then it holds until the page is left
    }
  },
};

export const session = shared(null); // as /api/session answers
export const overview = shared(null); // the last one, with `heard`: the moment of performance.now() it came
export const link = shared({ state: "connecting" }); // up | lost (since, retry: moments of Date.now()) | connecting
export const pulse = shared(0); // counts what may have changed on the server: views read anew
export const moved = shared(false); // whether the reader has gone from one view to another
export const said = shared(null); // the sentence about the last action

// One clock for all ages on the page: a tick a second, none while nobody looks.
export const clock = shared(performance.now());
setInterval(() => {
  if (!document.hidden) clock.set(performance.now());
}, 1000);
