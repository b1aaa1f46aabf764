// Lines over time: uPlot with our own legend. A value is for a whole slot, so lines are steps. Without a value there is
// no line, and a triangle marks a value that is only a lower bound. Nothing is interpolated.

import { paint_ground, paint_over } from "./board.js";
import { slot_at } from "./document.js";
import { drawing, element, say, show, visible } from "./dom.js";
import { clock_text, figure, length_text } from "./format.js";
import { colours } from "./theme.js";

const FONT = "11px system-ui, sans-serif";
const AXIS = 58; // px, the same for all charts, so that their times are aligned
const TIME_STEPS = [0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const SMALLEST = 0.001; // the least value of a log axis: one microsecond, in ms

/**
 * A chart over time.
 *
 * what: {id, title, note, height, format(value), is_log, limits: () => [low, high] | null, head: element | null,
 *   lines(history): [{label, column, length_s, colour, dash, width, base, is_area, is_behind, times}],
 *   bars(): [{value, text}], empty: text, is_free: boolean, tick(value), error_s()}.
 *   `column` has one value per slot; `base` is the lower edge of an area; `times` are the starts of the values if they
 *   are not those of the slots. `bars` are horizontal lines, such as the limit of an objective. `empty` is shown if
 *   there is nothing but zeros. `is_free`: the y axis need not begin at 0. `tick` is the text at the y axis, if
 *   it is not `format`. `error_s` is the most by which the times may be off; it is drawn as the width of a mark.
 * Returns {element, update(), close()}.
 */
export function time_chart(board, what) {
  const legend = element("ul", { class: "legend" });
  const host = element("div", {
    class: "plot", tabindex: 0, role: "group", "aria-roledescription": "chart",
    "aria-label": `${what.title}. Arrow keys move the cursor, plus and minus zoom, Escape shows all.`,
  });
  const note = element("span", { class: "note" });
  const nothing = element("p", { class: "nothing", hidden: true }, what.empty ?? "");
  const made = element("figure", { class: "chart", id: what.id },
    element("figcaption", {}, element("h3", {}, what.title), what.head ?? null, note), legend, host, nothing);
  const hidden = new Set();
  let plot = null;
  let lines = [];
  let shape = "";

  function update() {
    lines = what.lines(board.history);
    const now = JSON.stringify(lines.map((line) => [line.label, line.colour, line.dash, line.length_s]));
    const data = table_of(lines, what.is_log);
    if (now !== shape) {
      shape = now;
      if (plot) forget(board, plot);
      plot = time_plot(board, host, what, () => lines, data, hidden);
      fill_legend();
    } else {
      plot.setData(data, true);
    }
    const is_empty = Boolean(what.empty) && !lines.some((line) => line.column.some((value) => value));
    show(nothing, is_empty);
    host.classList.toggle("bare", is_empty);
    read();
  }

  function fill_legend() {
    legend.replaceChildren(...lines.map((line, i) => {
      const button = element("button", {
        type: "button", class: "line", "aria-pressed": String(!hidden.has(line.label)), title: "show or hide",
        onclick: () => {
          const is_shown = hidden.delete(line.label) || !hidden.add(line.label);
          plot.setSeries(i + 1, { show: is_shown });
          button.setAttribute("aria-pressed", String(is_shown));
        },
      }, sample(line), element("span", { class: "label" }, line.label), element("span", { class: "value" }));
      return element("li", {}, button);
    }));
  }

  function read() {
    const at = board.at_s;
    say(note, [typeof what.note === "function" ? what.note() : what.note, bounds_text(lines)].filter(Boolean).join(" · "));
    lines.forEach((line, i) => {
      const value = at === null ? null : value_at(line, at);
      say(legend.children[i].querySelector(".value"), at === null ? "" : what.format(value ?? null));
    });
  }

  board.listeners.add(read);
  keys(board, host, () => `${what.title}: ${[...legend.children].map((item) => item.textContent).join(", ")}`);
  function close() {
    board.listeners.delete(read);
    if (plot) forget(board, plot);
  }

  return { element: made, update, close };
}

/** Columns for uPlot, from lines whose slots may have two lengths (the baseline's and ours). */
function table_of(lines, is_log) {
  const tables = new Map();
  for (const line of lines) {
    if (!tables.has(line.length_s)) tables.set(line.length_s, []);
    tables.get(line.length_s).push(line);
  }
  if (tables.size < 2) {
    const longest = Math.max(0, ...lines.map((line) => line.column.length));
    const xs = lines[0]?.times ?? Array.from({ length: longest }, (_, i) => i * (lines[0]?.length_s ?? 1));
    return [xs, ...lines.map((line) => numbers(line, is_log))];
  }
  const parts = [...tables.values()].map((some) => {
    const longest = Math.max(...some.map((line) => line.column.length));
    return [Array.from({ length: longest }, (_, i) => i * some[0].length_s), ...some.map((line) => numbers(line, is_log))];
  });
  const joined = uPlot.join(parts, parts.map((part) => part.map(() => 1)));
  const order = [...tables.values()].flat();
  return [joined[0], ...lines.map((line) => joined[1 + order.indexOf(line)])];
}

/** The value of a line at a time in seconds from T0; null in a gap. */
function value_at(line, at_s) {
  if (!line.times) return line.column[Math.floor(at_s / line.length_s + 1e-9)];
  const after = line.times.findIndex((from) => from > at_s);
  const i = (after < 0 ? line.times.length : after) - 1;
  return i >= 0 && at_s < line.times[i] + line.length_s ? line.column[i] : null;
}

function numbers(line, is_log) {
  const top = line.base ? line.column.map((value, i) => (value ?? 0) + (line.base[i] ?? 0)) : line.column;
  return top.map((value) => (typeof value !== "number" ? null : is_log ? Math.max(value, SMALLEST) : value));
}

function time_plot(board, host, what, lines_now, data, hidden) {
  const options = {
    width: Math.max(host.clientWidth, 200), height: what.height ?? 206, legend: { show: false }, padding: [8, 18, 0, 0],
    cursor: cursor_of(board),
    scales: {
      x: { time: false, range: () => board.range() },
      y: { distr: what.is_log ? 3 : 1, range: (plot, low, high) => what.limits?.() ?? limits(board.range(), low, high, what, lines_now()) },
    },
    series: [{}, ...lines_now().map((line, i) => ({
      show: !hidden.has(line.label), width: line.is_area ? 0 : (line.width ?? 1.5), dash: line.dash,
      stroke: () => colours[line.colour], fill: () => (line.is_area ? colours[line.colour] : null),
      points: { show: false }, paths: (plot, index) => steps(plot, index, lines_now()[i]),
    }))],
    axes: [time_axis(board), value_axis(what)],
    hooks: {
      drawClear: [(plot) => paint_ground(board, plot)],
      draw: [(plot) => {
        bounds(plot, lines_now(), hidden);
        paint_bars(plot, what.bars?.() ?? []);
        paint_error(plot, what.error_s?.() ?? 0);
        paint_over(board, plot);
      }],
      ...time_hooks(board),
    },
  };
  return kept(board, new uPlot(options, data, host), host);
}

/** Drag zooms and a double click resets; all charts follow. */
export function cursor_of(board) {
  return {
    sync: { key: board.key, setSeries: false }, points: { show: false }, y: false,
    drag: { x: true, y: false, setScale: false },
    bind: { dblclick: () => () => board.reset() },
  };
}

export function time_hooks(board) {
  return {
    setCursor: [(plot) => {
      const { left } = plot.cursor;
      board.point(left === undefined || left === null || left < 0 ? null : plot.posToVal(left, "x"));
    }],
    setSelect: [(plot) => {
      const { left, width } = plot.select;
      if (width < 4) return;
      const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      board.zoom(from, to);
    }],
  };
}

/** Make the plot follow its host's width, and add it to the board. */
export function kept(board, plot, host) {
  if (board) board.plots.add(plot);
  plot.watcher = new ResizeObserver(() => {
    const width = host.clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: plot.height });
  });
  plot.watcher.observe(host);
  return plot;
}

export function forget(board, plot) {
  plot.watcher.disconnect();
  board?.plots.delete(plot);
  plot.destroy();
}

export function time_axis(board) {
  return {
    ...axis_look(), ...axis_label("time since the start, min:s"), size: 26, space: 56, incrs: TIME_STEPS,
    values: (_, places) => places.map((place) => clock_text(place, places.length > 1 && places[1] - places[0] < 1 ? 0.1 : 1)),
  };
}

export function value_axis(what) {
  return {
    ...axis_look(), size: AXIS, space: 24, values: (_, places) => places.map((place) => (what.tick ?? what.format)(place)),
    ...(what.is_log ? { splits: (plot, _, low, high) => log_places(low, high, plot.height / 34), filter: (_, places) => places } : {}),
  };
}

export function axis_look() {
  return {
    font: FONT, stroke: () => colours.quiet, gap: 4,
    grid: { stroke: () => colours.grid, width: 1 }, ticks: { stroke: () => colours.grid, width: 1, size: 4 },
  };
}

/** The title of an x axis. */
export function axis_label(text) {
  return { label: text, labelSize: 15, labelGap: 0, labelFont: FONT };
}

/** 1, 2 and 5 of each power of ten within [low, high], or only the powers if there is only room for `most`. */
export function log_places(low, high, most) {
  const within = (digits) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const digit of digits) {
        const place = Number(`${digit}e${power}`);
        if (place >= low * 0.999999 && place <= high * 1.000001) found.push(place);
      }
    }
    return found;
  };
  for (const digits of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3]]) {
    const found = within(digits);
    if (found.length <= most) return found;
  }
  return within([1]);
}

/** The y range for the shown times; not of the plot's x scale, which may still be that before the last change. */
function limits([from, to], low, high, what, lines) {
  for (const line of lines) {
    line.column.forEach((value, slot) => {
      const at = slot * line.length_s;
      const found = typeof value === "string" ? figure(value).value : null;
      if (found === null || at < from || at > to) return;
      low = low === null ? found : Math.min(low, found);
      high = high === null ? found : Math.max(high, found);
    });
  }
  for (const { value } of low === null ? [] : (what.bars?.() ?? [])) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low === null || high === null) return what.is_log ? [1, 10] : [0, 1];
  if (what.is_log) return log_limits(low, high);
  return what.is_free ? free_limits(low, high) : [0, Math.max(high * 1.08, what.least ?? 1)];
}

/** From 0, except if the values are all far from it or below it; a level line is in the middle. */
function free_limits(low, high) {
  if (low >= 0 && (low < high / 2 || high === 0)) return [0, high * 1.08 || 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.5 || 1;
  return [low - room, high + room];
}

/** Round outward to a tenth of a decade, and to at least a third, so that noise does not look like a mountain. */
export function log_limits(low, high) {
  const least = Math.max(low, SMALLEST);
  const most = Math.max(high, least);
  const middle = Math.sqrt(least * most);
  return [Math.min(least / 1.12, middle / 1.8), Math.max(most * 1.12, middle * 1.8)];
}

/** Draw steps: level over each slot, vertical between adjoining slots. An area fills down to its base. */
function steps(plot, index, line) {
  const [xs] = plot.data;
  const ys = plot.data[index];
  const path = new Path2D();
  let is_open = false;
  for (let i = 0; i < xs.length; i++) {
    if (ys[i] === undefined) continue; // a time that only the other line's slots have
    if (line.times && i > 0 && xs[i] > xs[i - 1] + line.length_s * 1.01) is_open = false; // times without a value
    if (ys[i] === null) {
      is_open = false;
      continue;
    }
    const left = plot.valToPos(xs[i], "x", true);
    const right = plot.valToPos(xs[i] + line.length_s, "x", true);
    const top = plot.valToPos(ys[i], "y", true);
    if (line.is_area) {
      const x = Math.round(left);
      path.rect(x, top, Math.max(1, Math.round(right) - x), plot.valToPos(line.base[slot_of(xs[i], line)] ?? 0, "y", true) - top);
    } else {
      if (is_open) path.lineTo(left, top);
      else path.moveTo(left, top);
      path.lineTo(right, top);
      is_open = true;
    }
  }
  return { stroke: path, fill: line.is_area ? path : null, clip: null, band: null, gaps: null, flags: 0 };
}

function slot_of(at_s, line) {
  return slot_at({ length_s: line.length_s, count: line.column.length }, at_s);
}

/** Triangles on lower bounds. */
function bounds(plot, lines, hidden) {
  const { ctx, bbox } = plot;
  const size = 4 * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top - size, bbox.width, bbox.height + size);
  ctx.clip();
  for (const line of lines) {
    if (hidden.has(line.label)) continue;
    ctx.fillStyle = colours[line.colour];
    line.column.forEach((value, slot) => {
      if (typeof value !== "string") return;
      const x = plot.valToPos((slot + 0.5) * line.length_s, "x", true);
      const y = plot.valToPos(Math.max(figure(value).value ?? SMALLEST, SMALLEST), "y", true);
      ctx.beginPath();
      ctx.moveTo(x - size, y);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y - 1.6 * size);
      ctx.fill();
    });
  }
  ctx.restore();
}

/** Dashed horizontal lines with their text, such as the limit of an objective. */
function paint_bars(plot, bars) {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `600 ${11 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  for (const { value, text } of bars) {
    const y = Math.round(plot.valToPos(value, "y", true));
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.strokeStyle = ctx.fillStyle = colours.bad;
    ctx.lineWidth = 1.5 * scale;
    ctx.setLineDash([7 * scale, 3 * scale]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    // A text wider than the plot would cover the axis, so then only its first part is drawn: "limit 200 ms".
    const whole = visible(text);
    const shown = ctx.measureText(whole).width < bbox.width - 8 * scale ? whole : whole.split(" for ")[0];
    const right = bbox.left + bbox.width - 4 * scale;
    const top = y - bbox.top < 18 * scale ? y + 3 * scale : y - 17 * scale;
    const wide = ctx.measureText(shown).width;
    ctx.fillStyle = colours.panel;
    ctx.globalAlpha = 0.8;
    ctx.fillRect(right - wide - 3 * scale, top, wide + 6 * scale, 14 * scale);
    ctx.globalAlpha = 1;
    ctx.fillStyle = colours.bad;
    ctx.textBaseline = "top";
    ctx.fillText(shown, right, top + 1.5 * scale);
  }
  ctx.restore();
}

/** A bar whose width is the range in which a time may really be; nothing if it is narrower than a line. */
function paint_error(plot, error_s) {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  const wide = plot.valToPos(2 * error_s, "x", true) - plot.valToPos(0, "x", true);
  if (wide < 3 * scale) return;
  const [left, top, high] = [bbox.left + 4 * scale, bbox.top + 4 * scale, 6 * scale];
  const right = Math.min(left + wide, bbox.left + bbox.width);
  ctx.save();
  ctx.strokeStyle = colours.quiet;
  ctx.lineWidth = scale;
  ctx.beginPath();
  ctx.moveTo(left, top);
  ctx.lineTo(left, top + high);
  ctx.moveTo(left, top + high / 2);
  ctx.lineTo(right, top + high / 2);
  ctx.moveTo(right, top);
  ctx.lineTo(right, top + high);
  ctx.stroke();
  ctx.restore();
}

function bounds_text(lines) {
  const bounded = (line) => line.column.filter((value) => typeof value === "string").length * line.length_s;
  const most = lines.reduce((all, line) => Math.max(all, bounded(line)), 0);
  return most ? `▲ for ${length_text(most)} only a lower bound is known` : "";
}

/** A sample of the line for the legend. */
export function sample(line) {
  const attributes = line.is_area
    ? { class: `fill-${line.colour}`, d: "M0 1H22V9H0Z" }
    : { class: `stroke-${line.colour}`, d: "M0 5H22", "stroke-dasharray": line.dash?.join(" ") ?? null, "stroke-width": 2 };
  return drawing("svg", { class: "sample", viewBox: "0 0 22 10", width: 22, height: 10, "aria-hidden": "true" }, drawing("path", attributes));
}

/** Keyboard control of a chart over time, equal to the mouse. Screen readers get the values. */
export function keys(board, host, said) {
  host.addEventListener("keydown", (event) => {
    const { length_s } = board.history.slots;
    const [from, to] = board.range();
    const at = board.at_s ?? (from + to) / 2;
    const step = Math.max(length_s, (to - from) / 200) * (event.shiftKey ? 10 : 1);
    const acts = {
      ArrowLeft: () => board.move(at - step),
      ArrowRight: () => board.move(at + step),
      Home: () => board.move(from),
      End: () => board.move(to),
      "+": () => board.zoom(at - (to - from) / 4, at + (to - from) / 4),
      "=": () => board.zoom(at - (to - from) / 4, at + (to - from) / 4),
      "-": () => board.zoom(at - (to - from), at + (to - from)),
      Escape: () => board.reset(),
      0: () => board.reset(),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    // A zoomed chart is laid out before this, because the time is then at another place.
    if ("+=-".includes(event.key)) queueMicrotask(() => board.move(at));
    const voice = document.getElementById("voice");
    if (voice) say(voice, said());
  });
}
