// The table of objectives. The verdict is the first column, so that a narrow screen shows it first.

import { objective_verdict } from "./badges.js";
import { element, say, show } from "./dom.js";
import { count_text } from "./format.js";

const COLUMNS = [
  ["verdict", (slo, history) => objective_verdict(slo, history)[0]],
  ["objective", (slo) => slo.objective], ["of", (slo) => slo.journey ?? ""],
  ["observed", (slo) => slo.observed], ["95 % interval", (slo) => (slo.low && slo.high ? `${slo.low} – ${slo.high}` : "–")],
  ["margin", (slo) => slo.margin], ["budget", (slo) => slo.budget], ["window", (slo) => slo.window], ["traces", (slo) => slo.traces], ["count", (slo) => count_text(slo.count)], ["why", (slo) => slo.reason],
];

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
      line.children[0].className = objective_verdict(slo, history)[1];
    });
    COLUMNS.forEach(([, text], k) => {
      const is_empty = slos.every((slo) => !text(slo, history));
      for (const cell of [heads[k], ...[...body.children].map((line) => line.children[k])]) show(cell, !is_empty);
    });
  }

  return { element: made, update };
}
