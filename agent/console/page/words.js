// Figures as people say them. Pure: no part of the page, no clock of its own.

const NUMBER = new Intl.NumberFormat("en-GB");
const PLURAL = new Intl.PluralRules("en-GB");

export const number = (value) => (value == null ? "–" : NUMBER.format(value));

export const counted = (count, one, many = `${one}s`) =>
  `${number(count)} ${PLURAL.select(count) === "one" ? one : many}`;

// A length of time in at most two units.
export function span(seconds) {
  if (seconds == null) return "–";
  seconds = Math.max(0, seconds);
  if (seconds < 0.995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95 && seconds % 1 >= 0.05) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return two(whole, 60, "min", 1, "s", 600);
  if (whole < 172800) return two(whole, 3600, "h", 60, "min", 36000);
  return two(whole, 86400, "d", 3600, "h", 864000);
}

function two(seconds, size, unit, smaller, name, exact) {
  const big = Math.floor(seconds / size);
  const rest = Math.floor((seconds % size) / smaller);
  return rest && seconds < exact ? `${big} ${unit} ${rest} ${name}` : `${Math.round(seconds / size)} ${unit}`;
}

// A length of time in one unit, for the axis of a chart.
export function rough(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [0.001, "ms"]];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Number((seconds / size).toPrecision(3))} ${unit}`;
}

export function bytes(count) {
  if (count == null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export const percent = (share) =>
  share == null ? "–" : `${share > 0.99 && share < 1 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

// A moment in the reader's zone, no longer than it needs to be.
export function moment(instant, now = new Date()) {
  if (!instant) return "–";
  const at = new Date(instant);
  if (Number.isNaN(at.getTime())) return String(instant);
  if (at.toDateString() === now.toDateString()) return CLOCK.format(at);
  return `${(at.getFullYear() === now.getFullYear() ? DAY : YEAR).format(at)} ${CLOCK.format(at)}`;
}

// A field's value in one line.
export function value(what) {
  if (what === undefined || what === null || what === "") return "–";
  if (typeof what === "object") {
    const names = Object.keys(what);
    if (names.length === 2 && "amount" in what && "currency" in what) return `${what.amount} ${what.currency}`;
    return JSON.stringify(what);
  }
  return String(what);
}

const isObject = (what) => what !== null && typeof what === "object" && !Array.isArray(what);

// Whether a change is one that can be shown: a row that cannot must not take the others with it.
export function readable(change) {
  const { event } = change ?? {};
  const words = [event?.id, event?.type, event?.subject, event?.account];
  if (!words.every((each) => typeof each === "string") || !isObject(event.data)) return false;
  const { record = {}, changes = {} } = event.data;
  return isObject(record) && isObject(changes) && Object.values(changes).every(isObject);
}

// What a change did, in a few words: `status confirmed → cancelled, and 2 more fields`.
export function gist(event) {
  const { data = {}, type = "" } = event;
  const changes = Object.entries(data.changes ?? {});
  if (changes.length) {
    const [field, sides] = changes.find(([name]) => name === "status") ?? changes[0];
    const first = `${field.replaceAll("_", " ")} ${steps(sides)}`;
    return changes.length > 1 ? `${first}, and ${counted(changes.length - 1, "more field")}` : first;
  }
  if (Array.isArray(data.measurements)) return counted(data.measurements.length, "measurement");
  if (type.endsWith(".created")) return "new";
  if (type.endsWith(".deleted")) return "gone at the vendor";
  return "";
}

function steps({ before, after }) {
  const plain = [before, after].every((side) => typeof side !== "object" || (side && "amount" in side));
  return plain ? `${short(before)} → ${short(after)}` : "changed";
}

function short(what) {
  const text = value(what);
  return text.length > 28 ? `${text.slice(0, 27)}…` : text;
}

// How fresh a resource is: the worst of it colours the row.
export function freshness(age, interval) {
  if (age == null) return { level: "warn", word: "never read" };
  if (!interval || age <= interval * 1.5 + 5) return { level: "good", word: "fresh" };
  return age <= interval * 3 + 60 ? { level: "warn", word: "late" } : { level: "bad", word: "stale" };
}
