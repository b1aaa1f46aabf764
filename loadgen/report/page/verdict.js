// The first screen, for people who decide about a release: what was tested, the verdict, its reasons, what it means and
// does not say, what to do next; and the objectives, each with its margin and error budget.

import { element, items, say, show } from "./dom.js";
import { badge_of, objective_verdict } from "./badges.js";
import { clock_text, count_text, counted, length_text, share_text } from "./format.js";

/** Returns {element, update(history)}. `baseline` is a document or null. */
export function summary(baseline) {
  const head = element("div", { class: "headline" });
  const tested = element("dl", { class: "tested" });
  const said = element("div", { class: "said" });
  const slos = objectives();
  const made = element("section", { id: "summary", "aria-label": "Summary" }, head, tested, said, slos.element);
  let shape = "";

  function update(history) {
    const { verdict, run } = history;
    const facts = facts_of(history, baseline);
    if (tested.children.length !== facts.length) {
      tested.replaceChildren(...facts.map(([name]) => element("div", {}, element("dt", {}, name), element("dd", {}))));
    }
    facts.forEach(([name, text], i) => {
      say(tested.children[i].querySelector("dt"), name);
      say(tested.children[i].querySelector("dd"), text);
    });
    const now = JSON.stringify([verdict, run.phase, history.notes, verdict ? null : headline_of(history)]);
    if (now !== shape) {
      shape = now;
      const [kind, text] = badge_of(verdict, run.phase);
      head.replaceChildren(
        element("span", { class: `badge ${kind}` }, text),
        element("h1", { class: (verdict?.headline.length ?? 0) > 140 ? "long" : null }, verdict ? verdict.headline : headline_of(history)));
      said.replaceChildren(...(verdict ? parts_of(verdict) : part_of(["Notes", history.notes, "notes"])));
    }
    slos.update(history);
  }

  return { element: made, update };
}

function headline_of({ run, slots }) {
  const sum = (column) => column.reduce((all, count) => all + (count ?? 0), 0);
  const requests = sum(slots.requests);
  const errors = sum(slots.request_errors);
  const of = run.duration_s === null ? "" : ` of ${clock_text(run.duration_s)}`;
  const share = requests ? ` (${share_text(errors / requests)})` : "";
  return `${clock_text(run.clock_s)}${of}: ${counted(requests, "request")}, ${counted(errors, "error")}${share}`;
}

function facts_of({ run, slots, warmup_s, agents }, baseline) {
  const regions = [...new Set(agents.map((agent) => agent.region))];
  const began = run.started_at ? new Date(run.started_at) : null;
  return [
    ["What was tested", `${run.scenario}, plan ${run.plan}`],
    ["Load", `${run.load} (${run.open ? "open" : "closed"})`],
    ["From", run.placement === "embedded" ? `this machine, ${counted(run.agents, "agent")}` : `${counted(run.agents, "agent")} in ${counted(regions.length, "region")}${regions.length ? `: ${regions.slice(0, 6).join(", ")}${regions.length > 6 ? " …" : ""}` : ""}`],
    ["When", began && !Number.isNaN(began.valueOf()) ? `${began.toISOString().slice(0, 19).replace("T", " ")} UTC, ${length_text(Math.round(run.clock_s))}` : "not started"],
    ["Figures", `all values of all agents, merged into slots of ${length_text(slots.length_s)}${warmup_s ? `; warm-up ${clock_text(warmup_s[0])}–${clock_text(warmup_s[1])}` : ""}`],
    ["Run", run.id],
    ...(baseline ? [["Baseline", `${baseline.run.id}, ${baseline.run.scenario}, ${baseline.run.load}${baseline.verdict ? `, ${baseline.verdict.result}` : ""}`]] : []),
  ];
}

function parts_of(verdict) {
  const { validity } = verdict;
  // Do not repeat a text: reasons often contain the advice.
  const doubts = new Set(validity?.reasons ?? []);
  const why = (verdict.reasons ?? []).filter((text) => !doubts.has(text));
  const said = [...why];
  const anew = [...(validity?.reasons ?? []), ...(validity?.advice ?? [])].filter((text) => {
    const is_new = !said.some((other) => other.includes(text));
    said.push(text);
    return is_new;
  });
  const fit = validity ? [`The measurement is ${validity.verdict}.`, ...anew] : [];
  return [
    ["Why", why, "why"],
    ["What it means", verdict.sentences, "means"],
    ["What it does not say", verdict.excludes, "excludes"],
    ["Next", verdict.next, "next"],
    ["Are the figures reliable?", fit, "fit"],
  ].flatMap(part_of);
}

function part_of([title, texts, kind]) {
  return texts?.length ? [element("section", { class: kind }, element("h2", {}, title), items("ul", texts))] : [];
}

function objectives() {
  const columns = [
    ["objective", (slo) => slo.objective], ["of", (slo) => slo.journey ?? ""], ["verdict", (slo, history) => objective_verdict(slo, history)[0]],
    ["observed", (slo) => slo.observed], ["95 % interval", (slo) => (slo.low && slo.high ? `${slo.low} – ${slo.high}` : "–")],
    ["margin", (slo) => slo.margin], ["budget", (slo) => slo.budget], ["window", (slo) => slo.window], ["count", (slo) => count_text(slo.count)], ["", (slo) => slo.reason],
  ];
  const body = element("tbody", {});
  const made = element("div", { class: "scroll", id: "slos", tabindex: 0, role: "region", "aria-label": "objectives" },
    element("table", {}, element("thead", {}, element("tr", {}, ...columns.map(([title]) => element("th", { scope: "col", class: title === "count" ? "number" : null }, title)))), body));

  function update(history) {
    const { slos } = history;
    show(made, slos.length > 0);
    while (body.children.length > slos.length) body.lastElementChild.remove();
    while (body.children.length < slos.length) body.append(element("tr", {}, ...columns.map(() => element("td", {}))));
    slos.forEach((slo, i) => {
      const line = body.children[i];
      columns.forEach(([, text], k) => say(line.children[k], text(slo, history) ?? ""));
      line.children[2].className = objective_verdict(slo, history)[1];
      line.children[8].className = "number";
    });
  }

  return { element: made, update };
}
