// The target's metrics as lanes: one small chart for each metric. They have the width, the time axis, the zoom and the
// cursor of the response chart, so that equal times are below each other.

import { time_chart } from "./charts.js";
import { element, say, show } from "./dom.js";
import { counted, length_text, short } from "./format.js";

const COLOURS = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];

/** Returns {element, update(history)}. Lanes are drawn when their names are first known. */
export function lanes(board) {
  const stack = element("div", { class: "lanes grid" });
  const rest = element("p", { class: "note" });
  const made = element("section", { class: "group", id: "lanes" }, element("h2", {}, "Metrics of the target"), stack, rest);
  let drawn = [];
  let shape = "";

  function update(history) {
    const found = history.metrics ?? null;
    show(made, found !== null);
    const now = JSON.stringify(found?.lanes.map((lane) => [lane.name, lane.statistic, lane.unit]) ?? []);
    if (now !== shape) {
      shape = now;
      for (const chart of drawn) chart.close();
      drawn = (found?.lanes ?? []).map((lane, i) => lane_chart(board, lane, i));
      stack.replaceChildren(...drawn.map((chart) => chart.element));
    }
    for (const chart of drawn) chart.update();
    say(rest, found ? rest_text(found) : "");
  }

  return { element: made, update };
}

function lane_chart(board, { name, statistic, unit }, i) {
  const now = () => board.history.metrics?.lanes[i];
  return time_chart(board, {
    id: null, title: name, height: 104, format: (value) => value_text(value, unit), tick: (value) => value_text(value, ""), is_free: true,
    note: () => [[statistic, unit].filter(Boolean).join(", "), now() ? about(now()) : null].filter(Boolean).join(" · "),
    lines: () => {
      const lane = now();
      return lane ? [{ label: "value", column: lane.values, times: lane.at_s, length_s: lane.stretch_s, colour: COLOURS[i % COLOURS.length], dash: null }] : [];
    },
  });
}

function about({ values, period_s, stretch_s }) {
  const missing = values.filter((value) => value === null).length;
  const each = stretch_s > period_s ? `highest of each ${length_text(stretch_s)}` : `each ${length_text(period_s)}`;
  return missing ? `${each}; ${counted(missing, "value")} missing` : each;
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
