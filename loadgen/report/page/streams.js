// Requests to AI models: time to first token, gaps between tokens, tokens per second, and a table. The part is drawn when
// the document has such requests, and not before.

import { slot_text } from "./board.js";
import { time_chart } from "./charts.js";
import { element, say, show } from "./dom.js";
import { count_text, counted, each_text, figure, grouped, ms_text, rate_text, share_text, short } from "./format.js";
import { heatmap } from "./heatmap.js";
import { column_line, DASHES, PALETTE, percentile_lines } from "./lines.js";
import { table_box } from "./lists.js";
import { spectrum, trade_off } from "./spectrum.js";
import { name_of } from "./table.js";
import { kept_group } from "./waterfall.js";

const METRICS = {
  ttft: "ttft: time to first token",
  ttft_due: "ttft from due",
  ttfo: "ttfo: time to first token that is no reasoning",
  itl: "itl: gap before each token",
  icl: "icl: gap between reads with tokens",
  tpot: "tpot: mean gap of a request",
  stall: "stall: longest gap of a request",
};
const OURS = "All figures are by loadgen's own definitions, which docs/llm-conventions.md compares with those of other tools. "
  + "The table has requests that ended ok; charts have all requests. A request that failed before its first token is in no "
  + "chart, except if a time limit or the drain stopped it: its time is then a lower bound.";

/** Returns {element, update(history)}. */
export function stream_group(board) {
  const made = element("section", { class: "group", id: "streams", hidden: true }, element("h2", {}, "Requests to AI models"));
  let parts = null;

  function update(history) {
    const is_there = Boolean(history.streams && history.response.streams);
    show(made, is_there);
    if (!is_there) return;
    if (!parts) {
      parts = drawn_streams(board);
      made.append(parts.tables.element, element("div", { class: "grid" }, ...parts.charts.map((chart) => chart.element)), parts.kept.element);
    }
    for (const chart of parts.charts) chart.update();
    parts.tables.update(history);
    parts.kept.update(history);
  }

  return { element: made, update };
}

function drawn_streams(board) {
  const length_of = (history) => history.slots.length_s;
  const of = (history, metric) => history.response.streams?.[metric];
  const cells = (metric) => (history) => history.heatmap.streams?.[metric] ?? [];
  const tokens = (history, name) => history.slots.tokens?.[name] ?? [];
  const chooser = element("select", { "aria-label": "time of requests to models", onchange: () => times.update() });
  const times = time_chart(board, {
    id: "stream-times", title: "Times of streams", is_log: true, head: chooser, format: ms_text,
    note: () => {
      const slot = board.slot();
      const { slots } = board.history;
      const counts = of(board.history, chooser.value)?.count ?? [];
      return slot === null ? `${each_text(slots.length_s)}, logarithmic` : `${counted(counts[slot] ?? 0, "value")} in ${slot_text(slots, slot)}, logarithmic`;
    },
    bars: () => metric_limits(board.history, chooser.value),
    lines: (history) => (of(history, chooser.value) ? percentile_lines(of(history, chooser.value), length_of(history)) : []),
  });
  const choosing = {
    element: times.element,
    update() {
      const names = Object.keys(METRICS).filter((name) => of(board.history, name));
      if (chooser.options.length !== names.length) {
        const before = chooser.value;
        chooser.replaceChildren(...names.map((name) => element("option", { value: name }, METRICS[name])));
        chooser.value = names.includes(before) ? before : names[0];
      }
      times.update();
    },
  };
  const charts = [
    choosing,
    time_chart(board, {
      id: "tokens", title: "Output tokens per second", format: rate_text, least: 1,
      note: () => `counted when their request ends, ${each_text(board.history.slots.length_s)}`,
      lines: (history) => [
        column_line(tokens(history, "output"), length_of(history), "c1", { is_rate: true, label: "ended ok" }),
        column_line(tokens(history, "wasted"), length_of(history), "c4", { is_rate: true, dash: [4, 2], label: "failed (wasted)" }),
      ],
    }),
    heatmap(board, { id: "heat-ttft", title: "Number of requests by time to first token", note: "over time; ttft is logarithmic", unit: "request", cells: cells("ttft") }),
    heatmap(board, { id: "heat-itl", title: "Number of tokens by the gap before them", note: "over time; itl is logarithmic", unit: "token", cells: cells("itl") }),
    time_chart(board, {
      id: "in-flight", title: "Requests in flight", least: 1,
      format: (value) => (typeof value === "number" && !Number.isInteger(value) ? "" : count_text(value)),
      note: () => `all requests of the plan, at the end of ${each_text(board.history.slots.length_s)}`,
      lines: (history) => [column_line(in_flight(history.slots), length_of(history), "c1", { label: "requests" })],
    }),
    spectrum({
      id: "stream-spectrum", title: "Percentile spectrum of streams", note: "of the whole run; both axes are logarithmic",
      lines: () => Object.entries(board.history.streams?.spectrum ?? {}).filter(([, points]) => points.length).map(([name, points], i) => ({
        label: name === "ttft_due" ? "ttft from due" : name, points, colour: PALETTE[(i + 1) % 8], dash: DASHES[i % 8],
      })),
    }),
  ];
  return { charts: [...charts, trade_off_chart(board)], tables: tables(), kept: kept_group(board) };
}

/** The throughput of all users by that of one; hidden if the run has no levels. */
function trade_off_chart(board) {
  const levels = () => board.history.verdict?.trade_off ?? [];
  const chart = trade_off({ id: "trade-off", title: "Throughput in all against throughput a user", note: "one point for each level, output tokens/s; throughput in all is logarithmic", levels });
  show(chart.element, false);
  return {
    element: chart.element,
    update() {
      const is_there = levels().length > 0;
      show(chart.element, is_there); // before it is drawn: a hidden chart has no width
      if (is_there) chart.update();
    },
  };
}

/** The limits of objectives on a metric as lines for its chart. */
function metric_limits({ slos }, metric) {
  return slos.filter((slo) => slo.metric === metric && typeof slo.limit_ms === "number").map((slo) => ({ value: slo.limit_ms, text: `limit ${ms_text(slo.limit_ms)} for p${slo.percentile}` }));
}

/** Requests that had begun and not ended at the end of each slot. */
function in_flight({ requests_started: started = [], requests }) {
  let now = 0;
  return started.map((count, slot) => (now = Math.max(0, now + (count ?? 0) - (requests[slot] ?? 0))));
}

function tables() {
  const times = table_box("Streams that ended ok", "stream-rows", [
    "request", "count", "ttft p50 ms", "p95 ms", "p99 ms", "from due p95 ms", "itl p50 ms", "p99 ms", "tpot p50 ms", "stall p99 ms",
    "in", "cached", "out", "output tokens", "output tok/s",
  ], 1);
  const failed = table_box("Streams that failed", "stream-failures", ["request", "outcome", "count", "with a token", "wasted tokens"], 2);
  const total = element("p", { class: "note" });
  const ours = element("p", { class: "note" }, OURS);
  return {
    element: element("div", { class: "wide streams" }, times.element, total, failed.element, ours),
    update({ streams }) {
      const measured_s = streams.totals?.measured_s ?? null;
      times.fill(streams.rows.filter((row) => row.is_ok), (row) => cells_of(row, measured_s), measured_s);
      failed.fill(streams.rows.filter((row) => !row.is_ok), failed_cells);
      say(total, total_text(streams.totals));
    },
  };
}

function cells_of(row, measured_s) {
  const ms = (metric, name) => plain(row.stream_ms[metric]?.[name]);
  const { prompt, cached, output } = row.tokens;
  return [
    name_of(row), count_text(row.stream_ms.ttft?.count), ms("ttft", "p50"), ms("ttft", "p95"), ms("ttft", "p99"), ms("ttft_due", "p95"),
    ms("itl", "p50"), ms("itl", "p99"), ms("tpot", "p50"), ms("stall", "p99"),
    mean(prompt), cached && prompt?.sum ? share_text(cached.sum / prompt.sum) : "–", mean(output), count_text(output?.sum),
    measured_s && output ? short(output.sum / measured_s) : "–",
  ];
}

function failed_cells(row) {
  const { count = 0, censored = 0 } = row.stream_ms.ttft ?? {};
  return [name_of(row), row.outcome, count_text(count), count_text(count - censored), count_text(row.tokens.output?.sum ?? 0)];
}

function mean(tokens) {
  return typeof tokens?.mean === "number" ? short(tokens.mean) : "–";
}

/** A time without its unit, which is in the column's head. */
function plain(value) {
  const found = figure(value);
  return found.value === null ? "–" : (found.is_bound ? "> " : "") + grouped(found.value, found.value >= 99.95 ? 0 : found.value >= 9.995 ? 1 : 2);
}

function total_text(totals) {
  if (!totals) return "";
  const { requests, ok, tokens, cached_share, wasted_output_tokens, output_tokens_per_s } = totals;
  return [
    `${count_text(ok)} of ${counted(requests, "request")} ended ok`,
    `${count_text(tokens.prompt)} prompt tokens${typeof cached_share === "number" ? `, ${share_text(cached_share)} of them cached` : ""}`,
    `${count_text(tokens.output)} output tokens${typeof output_tokens_per_s === "number" ? `, ${short(output_tokens_per_s)}/s` : ""}`,
    `${count_text(wasted_output_tokens)} output tokens wasted on failed requests`,
  ].join(" · ");
}
