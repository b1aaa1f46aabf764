// Formatting of numbers: with unit, thousands separators and at most three significant digits.

/** A value of the document: a number, null (no data), or "> 1234.5" for a lower bound. */
export function figure(value) {
  if (typeof value === "number") return { value, is_bound: false };
  if (typeof value === "string" && value.startsWith(">")) {
    const bound = Number(value.slice(1));
    if (Number.isFinite(bound)) return { value: bound, is_bound: true };
  }
  return { value: null, is_bound: false };
}

const writers = []; // by number of digits; creating one is slow

export function grouped(number, digits = 0) {
  writers[digits] ??= new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return writers[digits].format(number);
}

export function count_text(number) {
  return number === null || number === undefined ? "–" : grouped(Math.round(number));
}

/** "1 request", "1,234 requests". */
export function counted(number, word) {
  return `${count_text(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** Three significant digits: 0.123, 1.23, 12.3, 123, 1,234. */
export function short(number) {
  const size = Math.abs(number);
  if (size === 0) return "0";
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return grouped(number, digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** A time in ms as "0.12 ms", "264 ms", "1.23 s", "2 min 5 s"; "> 264 ms" for a lower bound. */
export function ms_text(value) {
  const found = figure(value);
  if (found.value === null) return "–";
  return (found.is_bound ? "> " : "") + span_text(found.value);
}

function span_text(ms) {
  if (ms < 1000) return `${short(ms)} ms`;
  if (ms < 120_000) return `${short(ms / 1000)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function rate_text(value) {
  return value === null || value === undefined ? "–" : `${short(value)}/s`;
}

export function share_text(value) {
  return value === null || value === undefined ? "–" : `${short(value * 100)} %`;
}

/** Time since T0: "3:20", "1:02:03"; with tenths if `step` (s) is below 1. */
export function clock_text(seconds, step = 1) {
  if (seconds < 0) return `-${clock_text(-seconds, step)}`;
  const tenths = step < 1;
  const whole = tenths ? Math.floor(seconds) : Math.round(seconds);
  const s = whole % 60;
  const m = Math.floor(whole / 60) % 60;
  const h = Math.floor(whole / 3600);
  const two = (n) => String(n).padStart(2, "0");
  const end = two(s) + (tenths ? `.${Math.floor((seconds - whole) * 10 + 1e-6)}` : "");
  return h > 0 ? `${h}:${two(m)}:${end}` : `${m}:${end}`;
}

/** A step of time in a sentence: "each second", "each 5 s". */
export function each_text(seconds) {
  return seconds === 1 ? "each second" : `each ${length_text(seconds)}`;
}

/** A length of time: "0.5 s", "45 s", "10 min", "1 h 5 min". */
export function length_text(seconds) {
  if (seconds < 60) return `${short(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const rest = Math.round(seconds % 60);
  if (minutes < 60) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}
