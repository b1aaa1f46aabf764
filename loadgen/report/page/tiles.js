// The three figures of the first page: the response time of the main journey or request, requests per second, errors.
// Each has its unit, the count of its values, and its interval if there is one.

import { objective_verdict } from "./badges.js";
import { element, say, show } from "./dom.js";
import { count_text, counted, figure, length_text, ms_text, rate_text, share_text } from "./format.js";

/** Returns {element, update(history)}. */
export function tiles() {
  const made = element("div", { class: "tiles", id: "tiles" }, ...[0, 1, 2].map(() => element("div", { class: "tile" },
    element("p", { class: "name" }), element("p", { class: "figure" }), element("p", { class: "of" }))));

  function update(history) {
    [time_tile(history), limit_tile(history) ?? rate_tile(history), error_tile(history)].forEach(({ name, figure: text, of, kind }, i) => {
      const [title, value, rest] = made.children[i].children;
      say(title, name);
      say(value, text);
      value.className = `figure ${kind ?? ""}`.trim();
      say(rest, of.filter(Boolean).join(" · "));
    });
    show(made, history.slots.count > 0 || history.verdict !== null);
  }

  return { element: made, update };
}

/** The objective that the first page shows: the first one over the whole run with a time limit. */
export function main_objective({ slos }) {
  return slos.find((slo) => typeof slo.limit_ms === "number" && !slo.window) ?? slos.find((slo) => typeof slo.limit_ms === "number") ?? null;
}

function time_tile(history) {
  const slo = main_objective(history);
  const row = row_of(history, slo);
  const wanted = `p${slo?.percentile ?? 95}`;
  const name = row?.response_ms && wanted in row.response_ms ? wanted : "p95";
  if (!row) return { name: "Response time", figure: "–", of: ["no values yet"] };
  const ends = row.ci_ms?.[name];
  const interval = Array.isArray(ends) ? `95 % interval ${ms_text(ends[0])} to ${ms_text(ends[1])}` : null;
  const is_same = slo && name === wanted;
  return {
    name: `Response time, ${name} of ${row.request ?? row.step ?? row.journey}`,
    figure: ms_text(row.response_ms?.[name]),
    of: [counted(row.count, row.kind === "journey" ? "iteration" : row.kind), interval, is_same ? `limit ${ms_text(slo.limit_ms)}` : null],
    kind: is_same ? objective_verdict(slo, history)[1] : null,
  };
}

/** The row of the objective; without one, the journey with the most iterations, or else the most frequent request. */
function row_of({ rows }, slo) {
  if (slo) {
    const kind = slo.request ? "request" : slo.step ? "step" : "journey";
    const found = rows.find((row) => row.kind === kind && (!slo.journey || row.journey === slo.journey)
      && (!slo.step || row.step === slo.step) && (!slo.request || row.request === slo.request));
    if (found) return found;
  }
  const most = (kind) => rows.filter((row) => row.kind === kind && figure(row.response_ms?.p95).value !== null)
    .reduce((best, row) => (best === null || row.count > best.count ? row : best), null);
  return most("journey") ?? most("request");
}

/** The limit that a search found, or the rate that a hold held; null for other runs. */
function limit_tile({ verdict }) {
  const one = verdict?.limits?.find(({ rate_per_s }) => typeof rate_per_s === "number");
  if (!one) return null;
  const is_held = typeof one.held_per_s === "number" && one.verdict === "found";
  return {
    name: is_held ? "Held rate" : { found: "Limit found", "not reached": "Limit not reached, up to" }[one.verdict] ?? "Limit not decided, about",
    figure: rate_text(is_held ? one.held_per_s : one.rate_per_s),
    of: [
      "iterations per second",
      typeof one.low === "number" && typeof one.high === "number" ? `90 % interval ${rate_text(one.low)} to ${rate_text(one.high)}` : null,
      is_held ? `limit about ${rate_text(one.rate_per_s)}` : null,
    ],
  };
}

function rate_tile({ slots, run }) {
  const requests = sum(slots.requests);
  const lasted_s = run.clock_s || slots.count * slots.length_s;
  const highest = slots.requests.reduce((most, count) => Math.max(most, count ?? 0), 0) / slots.length_s;
  return {
    name: "Requests per second",
    figure: lasted_s > 0 && requests ? rate_text(requests / lasted_s) : "–",
    of: [`${counted(requests, "request")} in ${length_text(lasted_s)}`, requests ? `highest ${rate_text(highest)}` : null],
  };
}

function error_tile(history) {
  const { slots, slos } = history;
  const requests = sum(slots.requests);
  const errors = sum(slots.request_errors);
  const slo = slos.find((one) => one.objective.startsWith("error_ratio(") && !one.detail && one.low && one.high && !one.window);
  return {
    name: "Errors",
    figure: requests ? (errors ? share_text(errors / requests) : "none") : "–",
    of: [
      `${count_text(errors)} of ${counted(requests, "request")}`,
      slo ? `failed iterations${slo.journey ? ` of ${slo.journey}` : ""}: ${slo.observed}, 95 % interval ${slo.low} to ${slo.high}` : null,
    ],
    kind: errors && slo ? objective_verdict(slo, history)[1] : null,
  };
}

function sum(column) {
  return column.reduce((all, count) => all + (count ?? 0), 0);
}
