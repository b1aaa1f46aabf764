// Heatmaps: time by response time, or by another time of requests, on a log axis. A cell's shade shows its number of values.

import { paint_ground, paint_over, paint_unfit, slot_text } from "./board.js";
import { cursor_of, keys, kept, time_axis, time_hooks, value_axis } from "./charts.js";
import { element, say } from "./dom.js";
import { counted, grouped, ms_text, share_text } from "./format.js";
import { ramp } from "./theme.js";

/**
 * what: {id, title, note, height, unit: what is counted, such as "request",
 *   cells(history): by slot [bucket, count, bucket, count, ...]}.
 * Returns {element, update()}.
 */
export function heatmap(board, what) {
  const note = element("span", { class: "note" });
  const key = element("canvas", { class: "ramp", width: 128, height: 8, "aria-hidden": "true" });
  const most = element("span", {});
  const host = element("div", {
    class: "plot", tabindex: 0, role: "group", "aria-roledescription": "heatmap",
    "aria-label": `${what.title}. Arrow keys move the cursor, plus and minus zoom, Escape shows all.`,
  });
  const made = element("figure", { class: "chart", id: what.id },
    element("figcaption", {}, element("h3", {}, what.title), note),
    element("div", { class: "legend key" }, element("span", {}, "1"), key, most), host);
  const found_in = (history) => ({ edges_ms: history.heatmap.edges_ms, slots: what.cells(history) });
  let plot = null;

  function update() {
    const { slots } = board.history;
    const found = found_in(board.history);
    const xs = Array.from({ length: slots.count }, (_, i) => i * slots.length_s);
    const data = [xs, xs.map(() => null)];
    say(most, `${counted(largest(found.slots), what.unit)} in a cell, logarithmic`);
    if (plot) plot.setData(data, true);
    else plot = made_plot(data);
    paint_key(key);
    read();
  }

  function made_plot(data) {
    const options = {
      width: Math.max(host.clientWidth, 200), height: what.height ?? 206, legend: { show: false }, padding: [8, 18, 0, 0],
      cursor: { ...cursor_of(board), y: true },
      scales: { x: { time: false, range: () => board.range() }, y: { distr: 3, range: () => shown_ms(found_in(board.history)) } },
      series: [{}, { points: { show: false }, paths: () => null }],
      axes: [time_axis(board), value_axis({ format: ms_text, is_log: true })],
      hooks: {
        drawClear: [(drawn) => paint_ground(board, drawn)],
        draw: [(drawn) => {
          paint_cells(board.history.slots, found_in(board.history), drawn);
          paint_unfit(board, drawn);
          paint_over(board, drawn);
        }],
        ...time_hooks(board),
      },
    };
    options.hooks.setCursor = [...options.hooks.setCursor, read];
    return kept(board, new uPlot(options, data, host), host);
  }

  /** Describe the cell under the cursor; with the cursor on another chart, the slot's number of values. */
  function read() {
    if (!plot) return;
    const slot = board.slot();
    if (slot === null) return say(note, what.note);
    const { slots } = board.history;
    const found = found_in(board.history);
    const cells = found.slots[slot] ?? [];
    let all = 0;
    for (let i = 1; i < cells.length; i += 2) all += cells[i];
    const { left, top } = plot.cursor;
    const bucket = left >= 0 && top >= 0 ? bucket_of(found.edges_ms, plot.posToVal(top, "y")) : null;
    if (bucket === null) return say(note, `${slot_text(slots, slot)}: ${counted(all, what.unit)}`);
    const at = cells.findIndex((value, i) => i % 2 === 0 && value === bucket);
    const count = at < 0 ? 0 : cells[at + 1];
    const is_open = bucket === found.edges_ms.length - 2;
    const range = `${ms_text(found.edges_ms[bucket])}${is_open ? " and more" : `–${ms_text(found.edges_ms[bucket + 1])}`}`;
    say(note, `${slot_text(slots, slot)}, ${range}: ${grouped(count)} of ${counted(all, what.unit)}${all ? ` (${share_text(count / all)})` : ""}`);
  }

  board.listeners.add(read);
  keys(board, host, () => note.textContent);
  return { element: made, update };
}

function largest(slots) {
  let most = 0;
  for (const cells of slots) for (let i = 1; i < cells.length; i += 2) most = Math.max(most, cells[i]);
  return most;
}

/** The buckets with values, and one more on each side. */
function shown_ms({ edges_ms, slots }) {
  let [low, high] = [Infinity, -1];
  for (const cells of slots) {
    for (let i = 0; i < cells.length; i += 2) {
      low = Math.min(low, cells[i]);
      high = Math.max(high, cells[i]);
    }
  }
  if (high < 0) return [1, 1000];
  const least = edges_ms[Math.max(0, low - 1)] || edges_ms[1] / 2;
  return [least, edges_ms[Math.min(edges_ms.length - 1, high + 2)]];
}

function bucket_of(edges_ms, ms) {
  for (let i = 0; i < edges_ms.length - 1; i++) if (ms >= edges_ms[i] && ms < edges_ms[i + 1]) return i;
  return ms >= edges_ms.at(-1) ? edges_ms.length - 2 : null;
}

function paint_cells(slots, found, plot) {
  const { ctx, bbox } = plot;
  const colour = ramp();
  const whole = Math.log(Math.max(2, largest(found.slots)));
  const lowest = found.edges_ms.find((edge) => edge > 0) / 2;
  const ys = found.edges_ms.map((edge) => Math.round(plot.valToPos(Math.max(edge, lowest), "y", true)));
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  found.slots.forEach((cells, slot) => {
    const left = Math.round(plot.valToPos(slot * slots.length_s, "x", true));
    const right = Math.round(plot.valToPos((slot + 1) * slots.length_s, "x", true));
    if (right < bbox.left || left > bbox.left + bbox.width) return;
    for (let i = 0; i < cells.length; i += 2) {
      ctx.fillStyle = colour(Math.log(cells[i + 1]) / whole);
      const top = ys[cells[i] + 1];
      ctx.fillRect(left, top, Math.max(right - left, 1), ys[cells[i]] - top);
    }
  });
  ctx.restore();
}

function paint_key(key) {
  const pen = key.getContext("2d");
  const colour = ramp();
  for (let x = 0; x < key.width; x++) {
    pen.fillStyle = colour(x / key.width);
    pen.fillRect(x, 0, 1, key.height);
  }
}
