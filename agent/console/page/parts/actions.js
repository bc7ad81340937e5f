// Every action there is: what it is called, what it will do, what it asks for.
import { counted } from "../words.js";

const at = (account, act) => `/api/accounts/${encodeURIComponent(account)}/${act}`;
const of = (account, resource, act) => at(account, `${encodeURIComponent(resource)}/${act}`);
const instant = (text) => (text ? new Date(text).toISOString() : undefined);
const local = (date) => new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

export const pause = (account) => ({
  name: "Pause…",
  title: `Pause ${account}?`,
  means: [
    "Nothing of this account is polled until it is resumed or the time is over. Its figures grow old meanwhile.",
    "No change is lost: the first poll afterwards finds what is different then.",
  ],
  fields: [{
    name: "for",
    label: "For how long",
    options: [["1h", "1 hour"], ["2h", "2 hours"], ["8h", "8 hours"], ["24h", "1 day"], ["", "Until somebody resumes it"]],
  }],
  path: at(account, "pause"),
  body: (form) => (form.get("for") ? { for: form.get("for") } : {}),
});

export const resume = (account) => ({ name: "Resume", asks: false, path: at(account, "resume"), label: `Resume ${account}` });

export const poll = (account, resource) => ({
  name: "Poll now",
  asks: false,
  path: of(account, resource, "poll"),
  label: `Poll ${resource} of ${account} now`,
});

export const rebaseline = (account, resource) => ({
  name: "Re-baseline…",
  label: `Re-baseline ${resource} of ${account}`,
  title: `Read ${account} ${resource} anew?`,
  means: [
    "What is known of these records is set aside, and the next poll takes what the vendor says for the truth.",
    "Silently means: what is different is stored and subscribers are not told of it. This cannot be undone.",
  ],
  danger: true,
  fields: [{
    name: "events",
    label: "What is different is",
    options: [["", "stored silently"], ["yes", "told to subscribers as events"]],
  }],
  path: of(account, resource, "rebaseline"),
  body: (form) => ({ events: form.get("events") === "yes" }),
});

export const rewind = (account, resource, now = new Date()) => ({
  name: "Rewind…",
  label: `Rewind ${resource} of ${account}`,
  title: `Read ${account} ${resource} again from an earlier time?`,
  means: ["The next poll asks the vendor for everything since then. What was told before is not told twice."],
  fields: [{
    name: "to",
    label: "Back to",
    type: "datetime-local",
    required: true,
    value: local(new Date(now - 3_600_000)),
    hint: "In your own time zone.",
  }],
  path: of(account, resource, "rewind"),
  body: (form) => ({ to: instant(form.get("to")) }),
});

export const interval = (account, resource) => ({
  name: "Interval…",
  label: `Change how often ${resource} of ${account} is polled`,
  title: `How often is ${account} ${resource} polled?`,
  means: ["Holds until the agents start again. Then the configuration counts."],
  fields: [{
    name: "every",
    label: "Every",
    placeholder: "30s",
    pattern: "\\d+(s|m|h|d)",
    hint: "Such as 30s, 15m or 2h. Leave it empty for what the configuration says.",
  }],
  verb: "Set",
  path: of(account, resource, "interval"),
  body: (form) => ({ every: form.get("every") || null }),
});

export const approve = (held) => ({
  name: "Approve…",
  label: `Approve the deletes of ${held.account} ${held.resource}`,
  title: `Delete ${counted(held.count, "record")} of ${held.account} ${held.resource}?`,
  means: [
    `Subscribers are told that ${held.count === 1 ? "this record is" : "these records are"} gone.`,
    "Look at the vendor first: much that vanishes at once is more often a fault there than a wish. This cannot be undone.",
  ],
  danger: true,
  verb: "Delete them",
  path: `/api/deletes/${encodeURIComponent(held.account)}/${encodeURIComponent(held.resource)}/approve`,
});

export const startRoute = (route) => ({
  name: "Start again",
  label: `Start route ${route} again`,
  asks: false,
  path: `/api/routes/${encodeURIComponent(route)}/resume`,
});

export const replay = (route, now = new Date()) => ({
  name: "Replay…",
  label: `Deliver past events to ${route} again`,
  title: `Deliver past events to ${route} again?`,
  means: ["They come with the ids they had, marked as replays, beside the live ones. The receiver must know them by their ids."],
  fields: [
    { name: "since", label: "Published since", type: "datetime-local", required: true,
      value: local(new Date(now - 3_600_000)) },
    { name: "until", label: "Until", type: "datetime-local", hint: "Leave it empty for now." },
    { name: "events", label: "Only these", placeholder: "booking.*", hint: "Leave it empty for all of the route's events." },
  ],
  verb: "Replay",
  path: `/api/routes/${encodeURIComponent(route)}/replay`,
  body: (form) => ({
    since: instant(form.get("since")),
    until: instant(form.get("until")),
    events: (form.get("events") || "").split(",").map((each) => each.trim()).filter(Boolean),
  }),
});

const chosen = (ids, route) => (ids ? { ids } : { route });
const these = (ids, route) => (ids ? counted(ids.length, "dead letter") : `all dead letters of ${route}`);

export const replayDead = (ids, route, then) => ({
  name: ids ? "Replay…" : "Replay all…",
  label: ids ? `Replay ${these(ids)}` : `Replay all of ${route}`,
  title: `Deliver ${these(ids, route)} again?`,
  means: ["They go to their route once more, with a full count of attempts. What fails again comes back here."],
  verb: "Replay",
  path: "/api/dead/replay",
  body: () => chosen(ids, route),
  then,
});

export const dropDead = (ids, route, then) => ({
  name: ids ? "Drop…" : "Drop all…",
  label: ids ? `Drop ${these(ids)}` : `Drop all of ${route}`,
  title: `Drop ${these(ids, route)}?`,
  means: ["Their receiver will never get these events from here. This cannot be undone."],
  danger: true,
  verb: "Drop for good",
  path: "/api/dead/drop",
  body: () => chosen(ids, route),
  then,
});
