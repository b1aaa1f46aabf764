// The target's metrics as lanes: one small chart for each metric. They have the width, the time axis, the zoom and the
// cursor of the response chart, so that equal times are below each other. At first, those that changed most are shown.

import { time_chart } from "./charts.js";
import { element, say, show } from "./dom.js";
import { counted, length_text, short } from "./format.js";

const COLOURS = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
const ERROR_LEAST_S = 0.001; // smaller errors of the time are not worth a word

/** Returns {element, update(history)}. Lanes are drawn when their names are first known. */
export function lanes(board) {
  const stack = element("div", { class: "lanes grid" });
  const rest = element("p", { class: "note" });
  const choice = lane_choice(() => update(board.history));
  const made = element("section", { class: "group", id: "lanes" }, element("h2", {}, "Metrics of the target"), choice.element, stack, rest);
  const drawn = new Map(); // charts by lane
  let shape = "";

  function update(history) {
    const found = history.metrics ?? null;
    show(made, found !== null);
    const all = all_lanes(found);
    choice.update(all, found?.lanes.map(lane_key) ?? [], Boolean(history.verdict));
    const shown = all.filter((lane) => choice.shown.has(lane_key(lane)));
    const now = JSON.stringify(shown.map(lane_key));
    if (now !== shape) {
      shape = now;
      const kept = new Set(shown.map(lane_key));
      for (const [key, chart] of drawn) {
        if (kept.has(key)) continue;
        chart.close();
        drawn.delete(key);
      }
      for (const lane of shown) {
        if (!drawn.has(lane_key(lane))) drawn.set(lane_key(lane), lane_chart(board, lane, all.indexOf(lane)));
      }
      stack.replaceChildren(...shown.map((lane) => drawn.get(lane_key(lane)).element));
    }
    for (const chart of drawn.values()) chart.update();
    say(rest, found ? rest_text(found) : "");
  }

  return { element: made, update };
}

function all_lanes(metrics) {
  return metrics ? [...metrics.lanes, ...(metrics.more_lanes ?? [])] : [];
}

function lane_key({ name, statistic, unit }) {
  return JSON.stringify([name, statistic, unit]);
}

/** The control of the shown lanes: a box to tick for each lane. There is none if all lanes are shown at first. */
function lane_choice(changed) {
  const head = element("summary", {});
  const body = element("div", { class: "boxes" });
  const made = element("details", { class: "choice", id: "lane-choice", hidden: true }, head, body);
  const shown = new Set();
  let names = "";
  let is_chosen = false; // by the user; then nothing else changes it
  let was_over = false;

  function update(all, first, is_over) {
    const now = JSON.stringify(all.map(lane_key));
    // A running page keeps its first choice, because lanes that come and go cannot be read.
    if (!is_chosen && (now !== names || (is_over && !was_over))) {
      shown.clear();
      for (const key of first) shown.add(key);
    }
    if (now !== names) {
      names = now;
      body.replaceChildren(...all.map(box));
    }
    was_over = is_over;
    for (const one of body.querySelectorAll("input")) one.checked = shown.has(one.value);
    show(made, all.length > first.length || is_chosen);
    say(head, `${shown.size} of ${counted(all.length, "metric")} shown: choose`);
  }

  function box(lane) {
    const key = lane_key(lane);
    const input = element("input", {
      type: "checkbox", value: key,
      onchange: () => {
        is_chosen = true;
        if (!shown.delete(key)) shown.add(key);
        changed();
      },
    });
    return element("label", {}, input, lane.statistic ? `${lane.name} (${lane.statistic})` : lane.name);
  }

  return { element: made, shown, update };
}

function lane_chart(board, { name, statistic, unit }, i) {
  const key = lane_key({ name, statistic, unit });
  const now = () => all_lanes(board.history.metrics).find((lane) => lane_key(lane) === key);
  return time_chart(board, {
    id: null, title: name, height: 104, format: (value) => value_text(value, unit), tick: (value) => value_text(value, ""), is_free: true,
    error_s: () => now()?.error_s ?? 0,
    note: () => [[statistic, unit].filter(Boolean).join(", "), now() ? about(now()) : null].filter(Boolean).join(" · "),
    lines: () => {
      const lane = now();
      return lane ? [{ label: "value", column: lane.values, times: lane.at_s, length_s: lane.stretch_s, colour: COLOURS[i % COLOURS.length], dash: null }] : [];
    },
  });
}

function about({ values, period_s, stretch_s, error_s }) {
  const missing = values.filter((value) => value === null).length;
  const each = stretch_s > period_s ? `highest of each ${length_text(stretch_s)}` : `each ${length_text(period_s)}`;
  const timed = error_s >= ERROR_LEAST_S ? `${each} ± ${length_text(error_s)}` : each;
  return missing ? `${timed}; ${counted(missing, "value")} missing` : timed;
}

function rest_text({ source, rest, empty, fault }) {
  return [
    fault,
    rest.length ? `Not drawn: ${rest.join(", ")}. metrics.json has them.` : "",
    empty.length ? `Without any value: ${empty.join(", ")}.` : "",
    source ? `Source: ${source}. Times count from the start of the load.` : "",
  ].filter(Boolean).join(" ");
}

/** A value with its unit; units that are prefixed to large numbers are not known, so large values have k, M or G. */
function value_text(value, unit) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const [factor, prefix] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  return `${short(value / factor)}${prefix}${unit ? ` ${unit}` : ""}`;
}
