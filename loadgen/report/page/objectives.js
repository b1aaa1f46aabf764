// The table of objectives. The verdict is the first column, so that a narrow screen shows it first.

import { element, say, show } from "./dom.js";
import { count_text } from "./format.js";

const INCOMPLETE = { incomplete: "is incomplete", interrupted: "was interrupted", error: "ended with an error" };

export const SIGNS = { passed: "✓", pass: "✓", failed: "✗", fail: "✗" };

const COLUMNS = [
  ["verdict", (slo, history) => objective_verdict(slo.verdict, history)[0] + (slo.sure === false && SIGNS[slo.verdict] ? ", not sure" : "")],
  ["objective", (slo) => slo.objective], ["of", (slo) => slo.journey ?? ""],
  ["observed", (slo) => slo.observed], ["95 % interval", (slo) => (slo.low && slo.high ? `${slo.low} – ${slo.high}` : "–")],
  ["margin", (slo) => slo.margin], ["budget", (slo) => slo.budget], ["window", (slo) => slo.window], ["count", (slo) => count_text(slo.count)], ["why", (slo) => slo.reason],
];

export function kind_of(result) {
  return { passed: "good", pass: "good", valid: "good", failed: "bad", fail: "bad", invalid: "bad" }[result] ?? "doubt";
}

/**
 * The text and the class of an objective's verdict. A run without a verdict is not over, so its objectives may still
 * change. An invalid run does not judge its target, so its objectives get no sign and no colour of success.
 */
export function objective_verdict(verdict, history) {
  const result = history.verdict?.result;
  if (result === "invalid" && SIGNS[verdict]) return [`? ${verdict}, but the run is invalid`, "doubt"];
  if (["incomplete", "interrupted", "error"].includes(result) && kind_of(verdict) === "good") return [`? ${verdict}, but the run ${INCOMPLETE[result]}`, "doubt"];
  const so_far = !history.verdict && SIGNS[verdict] ? " so far" : "";
  return [`${SIGNS[verdict] ?? "?"} ${verdict}${so_far}`, kind_of(verdict)];
}

/** Returns {element, update(history)}. */
export function objectives() {
  const heads = COLUMNS.map(([title]) => element("th", { scope: "col", class: title === "count" ? "number" : null }, title));
  const body = element("tbody", {});
  const made = element("div", { class: "scroll", id: "slos", tabindex: 0, role: "region", "aria-label": "objectives" },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));

  function update(history) {
    const { slos } = history;
    show(made, slos.length > 0);
    while (body.children.length > slos.length) body.lastElementChild.remove();
    while (body.children.length < slos.length) body.append(element("tr", {}, ...COLUMNS.map(([title]) => element("td", { class: title === "count" ? "number" : null, "data-name": title }))));
    slos.forEach((slo, i) => {
      const line = body.children[i];
      COLUMNS.forEach(([, text], k) => say(line.children[k], text(slo, history) ?? ""));
      line.children[0].className = objective_verdict(slo.verdict, history)[1];
    });
    COLUMNS.forEach(([, text], k) => {
      const is_empty = slos.every((slo) => !text(slo, history));
      for (const cell of [heads[k], ...[...body.children].map((line) => line.children[k])]) show(cell, !is_empty);
    });
  }

  return { element: made, update };
}
