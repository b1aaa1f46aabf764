// The whole page of a run, drawn from its document. This module makes no network requests.

import { Board, slot_text } from "./board.js";
import { log_limits, time_chart } from "./charts.js";
import { databases } from "./databases.js";
import { per_second } from "./document.js";
import { element, say, show, visible } from "./dom.js";
import { count_text, counted, each_text, figure, length_text, ms_text, rate_text, share_text } from "./format.js";
import { heatmap } from "./heatmap.js";
import { lanes } from "./lanes.js";
import { DASHES, PALETTE, percentile_lines, slot_line } from "./lines.js";
import { annex, examples } from "./lists.js";
import { message_group } from "./messages.js";
import { vitals_group } from "./vitals.js";
import { rate_curve, spectrum } from "./spectrum.js";
import { stream_group } from "./streams.js";
import { rows_table } from "./table.js";
import { watch_theme } from "./theme.js";
import { main_objective } from "./tiles.js";
import { details, summary } from "./verdict.js";

/**
 * Draw `history` into `root`. options: {live: boolean, baseline: document | null, bar: elements for the head, standing: the comparison with the run's history as an element, or null, why: why requests were slow, likewise}.
 * Returns {update(history), board} when everything is drawn; the first screen appears before the charts. A page is drawn once and then updated, and `apply` changes the document in place.
 */
export async function render(root, history, { live = false, baseline = null, bar = [], standing = null, why = null } = {}) {
  const board = new Board(history, baseline);
  const theme = element("button", { type: "button", id: "theme", onclick: () => switch_theme() }, "light / dark");
  const first = summary();
  const more = details(baseline);
  const table = rows_table(baseline);
  const shown = examples();
  const last = annex();
  const stores = databases();
  const key = ground_key(board);
  const regions = element("div", { class: "regions" });
  const charts = charts_of(board);
  const streams = stream_group(board);
  const messages = message_group();
  const vitals = vitals_group();
  const metrics = lanes(board);
  const parts = [first, more, ...Object.values(charts), streams, messages, vitals, metrics];
  const of_regions = small_multiples(board, regions);
  const cursor = cursor_line(board);
  const group = (id, title, ...children) => element("section", { id, class: "group" }, element("h2", {}, title), ...children);
  const page = {
    single: group("single", "Single requests", shown.element),
    regions: group("regions", "By region", regions),
    curve: group("capacity", "Response time by rate", element("div", { class: "grid" }, charts.curve.element)),
  };
  root.replaceChildren(
    element("header", { class: "top" },
      element("strong", {}, "loadgen"), element("span", { class: "run" }, history.run.id), ...bar, element("span", { class: "space" }), theme),
    element("main", {}, first.element,
      element("div", { class: "ground", id: "ground" }, key.element, cursor),
      element("section", { id: "front", class: "grid", "aria-label": "Response time and requests over time" }, charts.percentiles.element, charts.throughput.element),
      more.element,
      why && group("why", "Why slow", why),
      standing && group("standing", "In its history", standing),
      streams.element,
      messages.element,
      vitals.element,
      group("over-time", "Load, errors and distribution", element("div", { class: "grid" },
        charts.rates.element, charts.errors.element, charts.heat.element, charts.spectrum.element, charts.users.element, charts.connections.element)),
      metrics.element,
      stores.element,
      page.regions,
      group("names", "By name", table.element),
      group("where", "Where the time goes", element("div", { class: "grid" }, charts.service.element, charts.phases.element)),
      group("generator", "The generator", element("div", { class: "grid three" }, charts.lag.element, charts.cpu.element, charts.unfit.element)),
      page.curve,
      page.single,
      group("rest", "Agents, marks, notes", last.element)),
    element("p", { id: "voice", class: "unseen", "aria-live": "polite" }));
  const switch_theme = watch_theme(() => {
    board.redraw();
    update(board.history);
  });

  function update(next) {
    board.history = next;
    for (const part of parts) part.update(next);
    of_regions();
    // Update tables last: each chart reads its width, which would lay out a large table again each time.
    for (const part of [table, shown, stores, last]) part.update(next);
    key.update();
    show(page.curve, next.curve.length > 0 || (baseline?.curve.length ?? 0) > 0);
    show(charts.connections.element, CONNECTIONS.some(([name]) => is_used(next.slots[name])));
    show(page.single, next.exemplars.slowest.length + next.exemplars.failing.length > 0);
    show(page.regions, regions.children.length > 0);
    board.tell();
  }

  document.title = visible(`${history.run.title || history.run.scenario} · ${history.run.id}${live ? " · live" : ""}`);
  first.update(history);
  more.update(history);
  await next_frame();
  update(history);
  return { update, board };
}

/** Resolves at the next frame, or after 200 ms, because a hidden page gets no frames. */
function next_frame() {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, 200);
  });
}

function charts_of(board) {
  const of_slots = (history) => history.slots.length_s;
  const behind = (make) => (board.baseline ? make(board.baseline).map((line, i) => ({ ...line, label: `baseline ${line.label}`, colour: "ghost", dash: [[4, 3], [1.5, 2.5]][i % 2], width: 1.2 })) : []);
  const chooser = element("select", { "aria-label": "response time of", onchange: () => percentiles.update() });
  const chosen = (history) => (history.response.iterations[chooser.value] && chooser.value) || "";
  const lines_of = (history) => (chosen(history) ? history.response.iterations[chosen(history)] : history.response.requests);
  const percentiles = time_chart(board, {
    id: "percentiles", title: "Response time", is_log: true, head: chooser, format: ms_text,
    note: () => {
      const slot = board.slot();
      const { slots } = board.history;
      return slot === null ? `${each_text(slots.length_s)}, logarithmic` : `${counted(lines_of(board.history).count[slot], "value")} in ${slot_text(slots, slot)}, logarithmic`;
    },
    bars: () => limits_of(board.history, chosen(board.history)),
    lines: (history) => [
      ...behind((other) => percentile_lines(lines_of(other), of_slots(other), ["p50", "p99"])),
      ...percentile_lines(lines_of(history), of_slots(history)),
    ],
  });
  const choosing = {
    element: percentiles.element,
    update() {
      const names = Object.keys(board.history.response.iterations);
      if (chooser.options.length !== names.length + 1) {
        // The first choice is the journey with an objective, because its limit is in this chart.
        const slo = main_objective(board.history);
        const before = chooser.options.length ? chooser.value : slo && !slo.request && !slo.step ? (slo.journey ?? "") : "";
        chooser.replaceChildren(element("option", { value: "" }, "all requests"), ...names.map((name) => element("option", { value: name }, `${name}, from due`)));
        chooser.value = names.includes(before) ? before : "";
      }
      percentiles.update();
    },
  };
  return {
    rates: time_chart(board, {
      id: "rates", title: "Offered and achieved rate", note: "iterations per second", format: rate_text, least: 1,
      lines: (history) => [
        ...behind((other) => [slot_line(other, "started", "c1", { is_rate: true })]),
        ...(has(history.slots.offered_per_s) ? [{ label: "offered", column: history.slots.offered_per_s, length_s: of_slots(history), colour: "quiet", dash: [6, 3], width: 2.5 }] : []),
        slot_line(history, "started", "c1", { is_rate: true }),
        slot_line(history, "finished", "c2", { is_rate: true, dash: [8, 3] }),
        slot_line(history, "missed", "c4", { is_rate: true, dash: [1.5, 2] }),
        slot_line(history, "cut_off", "c5", { is_rate: true, dash: [4, 2], label: "cut off" }),
      ],
    }),
    percentiles: choosing,
    throughput: time_chart(board, {
      id: "throughput", title: "Requests per second", note: () => `finished, ${each_text(board.history.slots.length_s)}`, format: rate_text, least: 1,
      lines: (history) => [
        ...behind((other) => [slot_line(other, "requests", "c1", { is_rate: true })]),
        slot_line(history, "requests", "c1", { is_rate: true, label: "all" }),
        slot_line(history, "request_errors", "c4", { is_rate: true, dash: [4, 2], label: "failed" }),
      ],
    }),
    heat: heatmap(board, {
      id: "heatmap", title: "Number of requests by response time", note: "over time; response time is logarithmic", unit: "request",
      cells: (history) => history.heatmap.slots,
    }),
    spectrum: spectrum({
      id: "spectrum", title: "Percentile spectrum", note: "of the whole run; both axes are logarithmic",
      lines: () => [
        ...(board.baseline ? [{ label: "baseline requests", points: board.baseline.spectrum.requests, colour: "ghost", dash: [4, 3] }] : []),
        { label: "requests", points: board.history.spectrum.requests, colour: "c1", dash: null },
        ...Object.entries(board.history.spectrum.iterations).map(([name, points], i) => ({ label: `iterations of ${name}`, points, colour: PALETTE[(i + 2) % 8], dash: DASHES[(i + 1) % 8] })),
      ],
    }),
    errors: time_chart(board, {
      id: "errors", title: "Errors", note: "requests per second, stacked by kind", format: rate_text, least: 1, empty: "no errors",
      lines: (history) => [...stacked(history), ...behind((other) => [slot_line(other, "request_errors", "c1", { is_rate: true, label: "errors" })])],
    }),
    users: time_chart(board, {
      id: "users", title: "Users, in flight, waiting", note: () => `at the end of ${each_text(board.history.slots.length_s)}`, format: whole_text, least: 1,
      lines: (history) => [
        ...(has(history.slots.planned_users) ? [{ label: "planned users", column: history.slots.planned_users, length_s: of_slots(history), colour: "quiet", dash: [6, 3], width: 2.5 }] : []),
        slot_line(history, "users", "c1", {}),
        slot_line(history, "in_flight", "c2", { dash: [8, 3], label: "iterations in flight" }),
        slot_line(history, "waiting", "c4", { dash: [1.5, 2], label: "waiting for a user" }),
      ],
    }),
    connections: time_chart(board, {
      id: "connections", title: "Open connections", note: () => `at the end of ${each_text(board.history.slots.length_s)}`, format: whole_text, least: 1,
      lines: (history) => CONNECTIONS.filter(([name]) => is_used(history.slots[name])).map(([name, label, colour, dash]) => slot_line(history, name, colour, { dash, label })),
    }),
    service: time_chart(board, {
      id: "service", title: "Response time and service time", note: "of requests, logarithmic; between them: waiting for a connection, DNS, connect, TLS", is_log: true, format: ms_text,
      lines: (history) => [["p50", "c1"], ["p99", "c3"]].flatMap(([name, colour]) => [
        { label: `response ${name}`, column: history.response.requests[name], length_s: of_slots(history), colour, dash: null },
        { label: `service ${name}`, column: history.response.service[name], length_s: of_slots(history), colour, dash: [2, 2] },
      ]),
    }),
    phases: time_chart(board, {
      id: "phases", title: "Phases of requests", note: "p95 of each, logarithmic; percentiles do not add up", is_log: true, format: ms_text,
      lines: (history) => Object.entries(history.response.phases).map(([name, lines], i) => ({ label: name, column: lines.p95, length_s: of_slots(history), colour: PALETTE[(i + 1) % 8], dash: DASHES[i % 8] })),
    }),
    lag: time_chart(board, {
      id: "lag", title: "Generator lag", note: "p99 of the worst agent", height: 130, format: ms_text, least: 1,
      lines: (history) => [generator_line(history, "lag_p99_ms", "start lag", "c1", null), generator_line(history, "loop_lag_p99_ms", "loop lag", "c3", [4, 2]), ...(history.slots.generator.read_lag_p99_ms?.some((ms) => ms) ? [generator_line(history, "read_lag_p99_ms", "read lag", "c2", [1.5, 2])] : [])],
    }),
    cpu: time_chart(board, {
      id: "cpu", title: "CPU", note: "of the worst agent", height: 130, format: share_text, limits: () => [0, 1.05],
      lines: (history) => [generator_line(history, "cpu_share", "CPU", "c2", null)],
    }),
    unfit: time_chart(board, {
      id: "unfit", title: "Agents that could not measure correctly", height: 130, format: whole_text, least: 1,
      note: () => {
        const slot = board.slot();
        const slots = Object.keys(board.history.slots.unfit).length;
        return (slot !== null && board.history.slots.unfit[slot]) || (slots ? length_text(slots * board.history.slots.length_s) : "none");
      },
      lines: (history) => [generator_line(history, "agents_unfit", "invalid agents", "c4", null)],
    }),
    curve: rate_curve({
      id: "curve", title: "Response time of requests by achieved rate", note: "response time is logarithmic",
      sources: () => [
        ...(board.baseline?.curve.length ? [{ rows: board.baseline.curve, prefix: "baseline ", is_behind: true }] : []),
        { rows: board.history.curve, prefix: "", is_behind: false },
      ],
    }),
  };
}

/** The kinds of connections: the name of the column, the label, the colour and the dashes of its line. */
const CONNECTIONS = [
  ["http_connections", "HTTP", "c1", null],
  ["websockets", "WebSocket", "c3", [8, 3]],
  ["tcp_connections", "TCP", "c4", [2, 2]],
];

/** Runs of older versions have no such columns. */
function is_used(column) {
  return Boolean(column?.some((value) => value > 0));
}

function has(column) {
  return column.some((value) => value !== null && value !== undefined);
}

function whole_text(value) {
  return typeof value === "number" && !Number.isInteger(value) ? "" : count_text(value);
}

function generator_line({ slots }, name, label, colour, dash) {
  return { label, column: slots.generator[name], length_s: slots.length_s, colour, dash };
}

/** Stacked areas of error kinds, the most frequent kind at the bottom. */
function stacked({ errors, slots }) {
  const sum = (column) => column.reduce((all, count) => all + count, 0);
  const kinds = Object.entries(errors).map(([name, column], i) => ({ name, column, all: sum(column), i })).sort((a, b) => b.all - a.all || a.i - b.i);
  let base = new Array(slots.count).fill(0);
  return kinds.map(({ name, column }, i) => {
    const rates = per_second(column, slots.length_s);
    const line = { label: name, column: rates, base, is_area: true, length_s: slots.length_s, colour: PALETTE[i % 8], dash: null };
    base = base.map((value, slot) => value + (rates[slot] ?? 0));
    return line;
  });
}

/** One small chart per region, all with the same scale. Returns a function that updates them. */
function small_multiples(board, where) {
  let drawn = [];
  const scale = () => {
    const values = Object.values(board.history.response.regions).flatMap((lines) => [...lines.p50, ...lines.p99]).map((value) => figure(value).value).filter((value) => value !== null);
    if (values.length === 0) return [1, 10];
    return log_limits(values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b)));
  };
  let limits_now = [1, 10];
  return () => {
    const names = Object.keys(board.history.response.regions);
    limits_now = scale();
    if (drawn.map((one) => one.name).join("\n") !== names.join("\n")) {
      for (const { chart } of drawn) chart.close();
      drawn = names.map((name) => ({
        name,
        chart: time_chart(board, {
          id: null, title: name, height: 130, is_log: true, format: ms_text, limits: () => limits_now,
          note: () => {
            const slot = board.slot();
            const lines = board.history.response.regions[name];
            return slot === null ? counted(lines.count.reduce((all, n) => all + (n ?? 0), 0), "request") : `${counted(lines.count[slot], "request")} in ${slot_text(board.history.slots, slot)}`;
          },
          lines: (history) => percentile_lines(history.response.regions[name], history.slots.length_s, ["p50", "p99"]),
        }),
      }));
      where.replaceChildren(...drawn.map(({ chart }) => chart.element));
    }
    for (const { chart } of drawn) chart.update();
  };
}

/** The limits of objectives as lines for the chart of `journey`'s iterations; "": of requests. */
function limits_of({ slos, rows }, journey) {
  const single = rows.filter((row) => row.kind === "request").length === 1;
  const is_shown = (slo) => (journey ? !slo.request && !slo.step && (!slo.journey || slo.journey === journey) : Boolean(slo.request));
  const found = new Map();
  for (const slo of slos) {
    if (typeof slo.limit_ms !== "number" || (slo.metric ?? "response") !== "response" || !is_shown(slo)) continue;
    const whose = journey || single ? "" : ` of ${slo.request}`;
    const names = found.get(slo.limit_ms) ?? [];
    found.set(slo.limit_ms, [...names, `p${slo.percentile}${whose}`]);
  }
  return [...found].map(([value, names]) => ({ value, text: `limit ${ms_text(value)} for ${[...new Set(names)].join(", ")}` }));
}

/** The key to the shading of all charts, with the shaded time. */
function ground_key(board) {
  const made = element("ul", { class: "key" });
  function update() {
    const { slots, warmup_s, marks } = board.history;
    const unfit = Object.keys(slots.unfit).length;
    const long = (count) => length_text(count * slots.length_s);
    const partial = slots.reported.filter((reported, slot) => reported < slots.agents[slot]).length;
    const lines = [
      ["swatch-warmup", warmup_s ? "warm-up" : null],
      ["swatch-unfit", unfit ? `generator invalid: ${long(unfit)}` : null],
      ["swatch-partial", partial ? `not all agents reported: ${long(partial)}` : null],
      ["swatch-mark", marks.length ? "marks, numbered below" : null],
      ["swatch-ghost", board.baseline ? `baseline ${board.baseline.run.id}` : null],
    ].filter(([, text]) => text);
    if (made.textContent !== lines.map(([, text]) => text).join("")) made.replaceChildren(...lines.map(([kind, text]) => element("li", {}, element("span", { class: `swatch ${kind}` }), text)));
  }
  return { element: made, update };
}

/** The line with the figures of the time under the cursor, for all charts. */
function cursor_line(board) {
  const made = element("p", { class: "cursor", id: "cursor" });
  const idle = "Point at a chart to read its values; drag to zoom all charts, double-click to reset. Keys: arrows, + and −, Escape.";
  board.listeners.add(() => {
    const slot = board.slot();
    if (slot === null) return say(made, board.zoomed ? `${idle} Zoomed.` : idle);
    const { slots } = board.history;
    const unfit = slots.unfit[slot];
    return say(made, `${slot_text(slots, slot)} · ${counted(slots.requests[slot], "request")}, ${counted(slots.request_errors[slot], "error")} · ${counted(slots.started[slot], "iteration")} started · ${slots.reported[slot]} of ${counted(slots.agents[slot], "agent")} reported · ${unfit ? `generator invalid: ${unfit}` : "generator valid"}`);
  });
  return made;
}
