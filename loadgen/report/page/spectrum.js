// Three charts that are not over time: the percentile spectrum (the response time of the slowest 1 in n), response time by
// rate, and the throughput of all users by that of one. All have log axes.

import { axis_label, axis_look, forget, kept, log_limits, log_places, sample, value_axis } from "./charts.js";
import { element, say } from "./dom.js";
import { count_text, counted, figure, grouped, ms_text, rate_text } from "./format.js";
import { colours } from "./theme.js";

/** what: {id, title, note, lines(): [{label, points: [[percentile, ms, count]], colour, dash}]}. */
export function spectrum(what) {
  return plane({
    ...what, is_log_x: true, is_level: true, x_label: "share of the values that took at most as long",
    lines: () => what.lines().map((line) => ({ ...line, points: placed(line.points) })),
    x_places: (low, high, width_px) => [1, ...(has_room(low, high, width_px) ? [2] : []), ...log_places(10, Math.max(high, 10), 1)].filter((place) => place >= low && place <= high),
    x_text: (place) => (place <= 1 ? "0 %" : `${percent_text(place)} %`),
    where: (x) => `at ${percent_text(x)} %: 1 in ${count_text(x)} is slower`,
    value: (point) => `${ms_text(point.text)} (${counted(point.count, "value")} up to it)`,
  });
}

/** what: {id, title, note, sources(): [{rows, prefix, is_behind}]}. */
export function rate_curve(what) {
  const names = [["p50", "c1", null], ["p95", "c3", [6, 3]], ["p99", "c4", [2, 2]]];
  return plane({
    ...what, is_log_x: false, is_level: false, x_label: "finished iterations per second",
    lines: () => what.sources().flatMap(({ rows, prefix, is_behind }) => names.map(([name, colour, dash]) => ({
      label: prefix + name, colour: is_behind ? "ghost" : colour, dash: is_behind ? [3, 3] : dash,
      points: rows.map((row) => ({ x: row.rate_per_s, text: row[name], count: row.count, errors: row.errors })).sort((a, b) => a.x - b.x),
    }))),
    x_text: (place) => rate_text(place),
    where: (x) => `near ${rate_text(x)}`,
    value: (point) => `${ms_text(point.text)} at ${rate_text(point.x)} (${count_text(point.count)}, ${counted(point.errors, "error")})`,
  });
}

/** what: {id, title, note, levels(): [{level, unit, a_user, in_all, is_best, is_saturated}]}. */
export function trade_off(what) {
  const kinds = [
    ["best levels", "c1", null, (one) => one.is_best],
    ["other levels", "c2", [2, 2], (one) => !one.is_best && !one.is_saturated],
    ["saturated", "c4", [6, 3], (one) => one.is_saturated],
  ];
  return plane({
    ...what, is_log_x: false, is_level: false, from_zero: true, x_label: "output tokens/s of one user (1/tpot p50)", y_text: rate_text,
    lines: () => kinds.map(([label, colour, dash, test]) => ({
      label, colour, dash, points: what.levels().map((one, order) => ({ ...one, order })).filter(test).map((one) => ({ x: one.a_user, text: one.in_all, name: one.level, unit: one.unit, order: one.order })).sort((a, b) => a.x - b.x),
    })).filter((line) => line.points.length),
    x_text: (place) => rate_text(place),
    where: (x) => `near ${rate_text(x)} a user`,
    value: (point) => `${point.name}${point.unit === "users" ? " users" : ""}: ${rate_text(point.text)} in all, ${rate_text(point.x)} a user`,
  });
}

/** what: {id, title, note, x_label, points(): [[x, ms, is ok]]}. */
export function scatter(what) {
  const kinds = [["ended ok", "c1", (ok) => ok], ["failed", "c4", (ok) => !ok]];
  return plane({
    ...what, is_log_x: true, is_level: false, has_dots: true,
    lines: () => kinds.map(([label, colour, test]) => ({
      label, colour, dash: [1.5, 3], points: what.points().filter(([, , ok]) => test(ok)).map(([x, text]) => ({ x, text })).sort((a, b) => a.x - b.x),
    })).filter((line) => line.points.length),
    x_places: (low, high) => log_places(low, high, 8),
    x_text: (place) => count_text(place),
    where: (x) => `near ${count_text(x)}`,
    value: (point) => `${ms_text(point.text)} at ${count_text(point.x)}`,
  });
}

/** Whether the labels of 0 % and 50 % fit side by side. */
function has_room(low, high, width_px) {
  return (Math.log10(2) / Math.log10(high / low)) * width_px >= 30;
}

/** Percentiles as 1 in n: 99 % is 1 in 100. The largest of n values is 1 in n, at the right end. */
function placed(points) {
  let furthest = 1;
  return points.map(([percentile, text, count]) => {
    const x = percentile >= 100 ? Math.max(count, furthest) : 1 / (1 - percentile / 100);
    furthest = Math.max(furthest, x);
    return { x, text, count };
  });
}

/** 1 in 1,000 as "99.9", with all its nines. */
function percent_text(n) {
  const digits = Math.max(0, Math.ceil(Math.log10(n)) - 2);
  return grouped(100 - 100 / n, Math.min(digits, 8)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

function plane(what) {
  const legend = element("ul", { class: "legend" });
  const note = element("span", { class: "note" }, what.note);
  const host = element("div", { class: "plot", tabindex: 0, role: "group", "aria-roledescription": "chart", "aria-label": `${what.title}. Arrow keys move along it.` });
  const made = element("figure", { class: "chart", id: what.id },
    element("figcaption", {}, element("h3", {}, what.title), note), legend, host);
  let plot = null;
  let lines = [];
  let xs = [];
  let shape = "";

  function update() {
    lines = what.lines();
    xs = [...new Set(lines.flatMap((line) => line.points.map((point) => point.x)))].sort((a, b) => a - b);
    const data = [xs, ...lines.map((line) => column_of(line, xs))];
    const now = JSON.stringify(lines.map((line) => [line.label, line.colour]));
    if (now !== shape) {
      shape = now;
      if (plot) forget(null, plot);
      plot = kept(null, new uPlot(options(), data, host), host);
      legend.replaceChildren(...lines.map((line) => element("li", { class: "line" }, sample(line), element("span", { class: "label" }, line.label), element("span", { class: "value" }))));
    } else {
      plot.setData(data, true);
    }
  }

  function options() {
    return {
      width: Math.max(host.clientWidth, 200), height: what.height ?? 206, legend: { show: false }, padding: [8, 18, 0, 0],
      cursor: { points: { show: false }, y: false, drag: { x: true, y: false } },
      scales: {
        x: { time: false, distr: what.is_log_x ? 3 : 1, range: (_, low, high) => (low === null ? [1, 10] : what.from_zero ? [0, high * 1.15] : low === high ? [low / 2, low * 2] : [low, high]) },
        y: { distr: 3, range: (_, low, high) => (low === null ? [1, 10] : log_limits(...(what.has_dots ? extent(lines) : [low, high]))) },
      },
      series: [{}, ...lines.map((line, i) => ({
        width: 1.5, dash: line.dash, stroke: () => colours[line.colour], points: { show: false },
        paths: (drawn, index) => (what.has_dots ? null : what.is_level ? level(drawn, index) : joined(drawn, index)),
      }))],
      axes: [
        { ...axis_look(), ...axis_label(what.x_label), size: 26, space: 60, values: (_, places) => places.map((place) => what.x_text(place)), ...(what.x_places ? { splits: (drawn, _a, low, high) => what.x_places(low, high, drawn.bbox.width / devicePixelRatio), filter: (_, places) => places } : {}) },
        value_axis({ format: what.y_text ?? ms_text, is_log: true }),
      ],
      hooks: { draw: [(drawn) => marks_of(drawn, lines, what)], setCursor: [read] },
    };
  }

  function read(drawn) {
    const { left } = drawn.cursor;
    const x = left === undefined || left === null || left < 0 ? null : drawn.posToVal(left, "x");
    say(note, x === null ? what.note : what.where(x));
    lines.forEach((line, i) => {
      const point = x === null ? null : nearest(line.points, x, what.is_level);
      say(legend.children[i].querySelector(".value"), point ? what.value(point) : "");
    });
  }

  host.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key) || !plot || xs.length === 0) return;
    event.preventDefault();
    const at = Math.max(0, plot.cursor.left ?? 0) + (event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 30 : 6);
    plot.setCursor({ left: Math.min(Math.max(at, 0), plot.over.clientWidth), top: 10 });
    say(document.getElementById("voice"), `${note.textContent}: ${[...legend.children].map((item) => item.textContent).join(", ")}`);
  });
  return { element: made, update };
}

function column_of(line, xs) {
  const at = new Map(line.points.map((point) => [point.x, point]));
  return xs.map((x) => {
    const point = at.get(x);
    if (!point) return undefined;
    return typeof point.text === "number" ? Math.max(point.text, 0.001) : null;
  });
}

/** Draw steps: a percentile's value holds from the percentile before it. */
function level(plot, index) {
  const path = new Path2D();
  let before = null;
  plot.data[0].forEach((value, i) => {
    const y = plot.data[index][i];
    if (y === undefined) return;
    const x = plot.valToPos(value, "x", true);
    if (y !== null) {
      const top = plot.valToPos(y, "y", true);
      if (before === null) path.moveTo(x, top);
      else path.lineTo(before, top);
      path.lineTo(x, top);
    }
    before = y === null ? null : x;
  });
  return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 0 };
}

function joined(plot, index) {
  const path = new Path2D();
  let is_open = false;
  plot.data[0].forEach((value, i) => {
    const y = plot.data[index][i];
    if (y === undefined) return;
    if (y !== null) path[is_open ? "lineTo" : "moveTo"](plot.valToPos(value, "x", true), plot.valToPos(y, "y", true));
    is_open = y !== null;
  });
  return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 0 };
}

/** Draw dots for values and triangles for lower bounds, with the names of points that have one. */
function marks_of(plot, lines, { is_level, has_dots = false }) {
  const { ctx } = plot;
  const size = (has_dots ? 2.6 : 3.5) * devicePixelRatio;
  const named = [];
  ctx.globalAlpha = has_dots ? 0.55 : 1;
  for (const line of lines) {
    ctx.fillStyle = colours[line.colour];
    for (const point of line.points) {
      const { value, is_bound } = figure(point.text);
      if (value === null || (is_level && !is_bound)) continue;
      const x = plot.valToPos(point.x, "x", true);
      const y = plot.valToPos(Math.max(value, 0.001), "y", true);
      ctx.beginPath();
      if (is_bound) {
        ctx.moveTo(x - size, y);
        ctx.lineTo(x + size, y);
        ctx.lineTo(x, y - 1.6 * size);
      } else {
        ctx.arc(x, y, 0.8 * size, 0, 2 * Math.PI);
      }
      ctx.fill();
      if (point.name) named.push({ x, y, name: point.name, order: point.order, colour: line.colour });
    }
  }
  ctx.globalAlpha = 1;
  if (named.length) names_of(plot, named, size);
}

/** The least and the greatest value of all points; a plot's column has only one of those with equal x. */
function extent(lines) {
  const values = lines.flatMap((line) => line.points.map((point) => point.text));
  return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
}

/** Write the names of points beside them; points that are nearly at one place get one text, such as "4, 8, 16". */
function names_of({ ctx, bbox }, named, size) {
  const groups = [];
  for (const one of named.sort((a, b) => a.order - b.order)) {
    const near = groups.find(([first]) => Math.abs(first.x - one.x) < 8 * size && Math.abs(first.y - one.y) < 3.5 * size);
    if (near) near.push(one);
    else groups.push([one]);
  }
  ctx.font = axis_look().font.replace(/[\d.]+px/, (size_text) => `${parseFloat(size_text) * devicePixelRatio}px`);
  ctx.textBaseline = "middle";
  for (const group of groups) {
    const [{ x, y, colour }] = group;
    const text = group.map((one) => one.name).join(", ");
    const is_left = x + 2 * size + ctx.measureText(text).width > bbox.left + bbox.width;
    ctx.fillStyle = colours[colour];
    ctx.textAlign = is_left ? "right" : "left"; // uPlot leaves the alignment of its axes
    ctx.fillText(text, is_left ? x - 2 * size : x + 2 * size, y - size);
  }
}

function nearest(points, x, is_level) {
  if (is_level) return points.find((point) => point.x >= x) ?? null;
  return points.reduce((best, point) => (best === null || Math.abs(point.x - x) < Math.abs(best.x - x) ? point : best), null);
}
