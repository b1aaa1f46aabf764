// Kept streams of AI models: the slowest ones as a waterfall, one line each with a tick for each read, and ttft against
// the tokens of the prompt. Only the report has them; the live page does not.

import { drawing, element, say, show } from "./dom.js";
import { clock_text, counted, grouped, ms_text, share_text } from "./format.js";
import { scatter } from "./spectrum.js";
import { name_of } from "./table.js";

const WIDE = 1000; // units of a line's drawing, which is stretched to the width of the page
const HIGH = 22;
const SPANS = [
  ["waiting", "waited since due"],
  ["sending", "until it was sent"],
  ["first", "until the first token"],
  ["tokens", "tokens: a tick for each read"],
  ["rest", "until the end"],
];

/** Returns {element, update(history)}; hidden if the document has no kept streams. */
export function kept_group(board) {
  const note = element("p", { class: "note" });
  const rows = element("ol", { class: "waterfall" });
  const scale = element("div", { class: "scale", "aria-hidden": "true" });
  const legend = element("ul", { class: "legend key" }, ...SPANS.map(([name, text]) => element("li", { class: "line" }, element("span", { class: `swatch span-${name}` }), text)));
  const slow = element("figure", { class: "chart wide", id: "waterfall" },
    element("figcaption", {}, element("h3", {}, "Slowest kept streams"), element("span", { class: "note" }, "by time to first token from due; all lines have one time axis")),
    legend, rows, scale);
  const points = scatter({
    id: "prompt-ttft", title: "Time to first token against prompt tokens", x_label: "tokens of the prompt",
    note: "kept streams, one point each; both axes are logarithmic", points: () => board.history.kept_streams?.points ?? [],
  });
  const made = element("section", { class: "kept", hidden: true }, note, slow, points.element);
  let before = "";

  function update(history) {
    const kept = history.kept_streams ?? null;
    show(made, kept !== null);
    if (kept === null) return;
    say(note, kept_text(kept));
    show(slow, kept.slowest.length > 0);
    show(points.element, kept.points.length > 0);
    if (kept.points.length) points.update();
    const now = JSON.stringify(kept.slowest);
    if (now === before) return;
    before = now;
    const before_ms = kept.slowest.reduce((all, one) => Math.max(all, one.wait_ms ?? 0), 0);
    const whole = { from: -before_ms, to: kept.slowest.reduce((all, one) => Math.max(all, one.end_ms), 0) };
    const places = places_of(whole);
    rows.replaceChildren(...kept.slowest.map((one) => line_of(one, whole, places)));
    scale.replaceChildren(axis_of_lines(whole, places));
  }

  return { element: made, update };
}

function kept_text({ share, kept, of, left_out, points, points_of }) {
  return [
    `${counted(kept, "stream")}${of ? ` of ${counted(of, "request")}` : ""} ${kept === 1 ? "was" : "were"} kept, chosen with a chance of ${share_text(share)}, and the slowest of each interval.`,
    left_out ? `${counted(left_out, "chosen stream")} more reached a limit.` : "",
    points_of > points.length ? `${counted(points.length, "point")} of ${grouped(points_of)} are drawn.` : "",
    "loadgen report --convention computes their times by the definitions of other tools.",
  ].filter(Boolean).join(" ");
}

function line_of(one, whole, places) {
  const at = (ms) => Math.round(((ms - whole.from) / (whole.to - whole.from || 1)) * WIDE * 100) / 100;
  const sent = one.sent_ms ?? 0;
  const last = one.reads.at(-1) ?? one.ttft_ms;
  const span = (name, from, to) => (to > from ? drawing("rect", { class: `span-${name}`, x: at(from), width: Math.max(at(to) - at(from), 0.5), y: 4, height: HIGH - 8 }) : null);
  const ticks = (name, times) => (times.length ? drawing("path", { class: name, d: times.map((ms) => `M${at(ms)} 2V${HIGH - 2}`).join("") }) : null);
  return element("li", {},
    element("p", { class: "about" },
      element("strong", {}, `${ms_text(one.ttft_ms + (one.wait_ms ?? 0))}`), ` ${stream_text(one)}`),
    drawing("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      drawing("path", { class: "grid-line", d: places.map((ms) => `M${at(ms)} 0V${HIGH}`).join("") }),
      span("waiting", -(one.wait_ms ?? 0), 0), span("sending", 0, sent), span("first", sent, one.ttft_ms), span("tokens", one.ttft_ms, last), span("rest", last, one.end_ms),
      ticks("tick other", one.others), ticks("tick", one.reads), ticks("tick begin", one.wait_ms ? [-one.wait_ms, 0] : [0]), ticks("tick end", [one.end_ms])));
}

function stream_text(one) {
  const tokens = (count) => (count < 0 ? "unknown" : grouped(count));
  return [
    one.wait_ms === null ? "to the first token" : `to the first token from due, ${ms_text(one.ttft_ms)} from the call`,
    `${ms_text(one.end_ms)} to the end`, name_of(one), one.outcome, `at ${clock_text(one.at_s, 0.1)}`,
    `tokens ${tokens(one.prompt_tokens)} in, ${tokens(one.output_tokens)} out`,
    `${counted(one.reads_of, "read")}${one.reads_of > one.reads.length + one.others.length ? ", not all drawn" : ""}`,
    [...new Set([one.agent, one.region])].filter(Boolean).join(", "), `${one.clock}'s clock`, one.trace_id ? `trace ${one.trace_id}` : "",
  ].filter(Boolean).join(" · ");
}

/** Round times on the common axis, at most five. */
function places_of({ from, to }) {
  const rough = (to - from) / 4 || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * size).find((one) => one >= rough);
  const found = [];
  for (let ms = Math.ceil(from / step) * step; ms <= to; ms += step) found.push(ms);
  return found;
}

function axis_of_lines(whole, places) {
  const percent = (ms) => ((ms - whole.from) / (whole.to - whole.from || 1)) * 100;
  return drawing("svg", { width: "100%", height: 18 }, ...places.map((ms) => {
    const at = percent(ms);
    return drawing("text", { x: `${at}%`, y: 13, "text-anchor": at < 6 ? "start" : at > 94 ? "end" : "middle" }, ms === 0 ? "call" : ms_text(ms));
  }));
}
