// The first screen, for people who decide about a release: title and owner, the result as one sentence, three figures.
// Below the first charts: objectives, reasons, meaning, limits, what to do next, and what was tested.

import { badge_of } from "./badges.js";
import { element, items, say, show } from "./dom.js";
import { clock_text, counted, length_text, share_text } from "./format.js";
import { objectives } from "./objectives.js";
import { tiles } from "./tiles.js";

/** The title, the owner, the sentence and the figures. Returns {element, update(history)}. */
export function summary() {
  const badge = element("span", { class: "badge" });
  const title = element("h1", {});
  const owner = element("span", { class: "owner" });
  const sentence = element("p", { class: "plain" });
  const figures = tiles();
  const made = element("section", { id: "summary", "aria-label": "Summary" },
    element("div", { class: "headline" }, badge, title, owner), sentence, figures.element);

  function update(history) {
    const { verdict, run } = history;
    const [kind, text] = badge_of(verdict, run.phase);
    badge.className = `badge ${kind}`;
    say(badge, text);
    say(title, run.title || run.scenario);
    say(owner, run.owner ? `Owner: ${run.owner}` : "");
    show(owner, Boolean(run.owner));
    say(sentence, verdict ? (verdict.plain ?? verdict.headline) : progress_of(history));
    figures.update(history);
  }

  return { element: made, update };
}

function progress_of({ run, slots }) {
  if (run.clock_s < 0) return `Starts in ${Math.ceil(-run.clock_s)} s`;
  const sum = (column) => column.reduce((all, count) => all + (count ?? 0), 0);
  const requests = sum(slots.requests);
  const errors = sum(slots.request_errors);
  const of = run.duration_s === null ? "" : ` of ${clock_text(run.duration_s)}`;
  const share = requests ? ` (${share_text(errors / requests)})` : "";
  return `${clock_text(run.clock_s)}${of}: ${counted(requests, "request")}, ${counted(errors, "error")}${share}`;
}

/** Objectives, reasons and facts. Returns {element, update(history)}. `baseline` is a document or null. */
export function details(baseline) {
  const tested = element("dl", { class: "tested" });
  const said = element("div", { class: "said" });
  const slos = objectives();
  const made = element("section", { id: "details", "aria-label": "Details of the verdict" }, slos.element, said, tested);
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
    const now = JSON.stringify([verdict, run.phase, history.notes, history.slos]);
    if (now !== shape) {
      shape = now;
      said.replaceChildren(...(verdict ? parts_of(history) : part_of(["Notes", history.notes, "notes"])));
    }
    slos.update(history);
  }

  return { element: made, update };
}

function facts_of({ run, slots, warmup_s, agents, verdict }, baseline) {
  const regions = [...new Set(agents.map((agent) => agent.region))];
  const began = run.started_at ? new Date(run.started_at) : null;
  const labels = Object.entries(run.labels ?? {}).map(([name, text]) => `${name}=${text}`);
  return [
    ["What was tested", named(run)],
    ["Load", `${run.load} (${run.open ? "open" : "closed"})`],
    ["From", run.placement === "embedded" ? `this machine, ${counted(run.agents, "agent")}` : `${counted(run.agents, "agent")} in ${counted(regions.length, "region")}${regions.length ? `: ${regions.slice(0, 6).join(", ")}${regions.length > 6 ? " …" : ""}` : ""}`],
    ["When", began && !Number.isNaN(began.valueOf()) ? `${began.toISOString().slice(0, 19).replace("T", " ")} UTC, ${length_text(Math.max(0, Math.round(run.clock_s)))}` : "not started"],
    ["Figures", `all values of all agents, in steps of ${length_text(slots.length_s)}${warmup_s ? `; warm-up ${clock_text(warmup_s[0])}–${clock_text(warmup_s[1])}` : ""}`],
    ...(run.clock ? [["Clock", `${run.clock === "loop" ? "the event loop" : run.clock === "kernel" ? "the kernel" : "the kernel and the event loop"} timed the answers`]] : []),
    ["Run", verdict ? `${run.id}, exit code ${verdict.exit_code}` : run.id],
    ...(labels.length ? [["Labels", labels.join(", ")]] : []),
    ...(baseline ? [["Baseline", `${baseline.run.id}, ${baseline.run.scenario}, ${baseline.run.load}${baseline.verdict ? `, ${baseline.verdict.result}` : ""}`]] : []),
  ];
}

/** The scenario's file, with the plan's name if it is not just "plan". */
function named({ scenario, plan }) {
  return plan && plan !== "plan" ? `${scenario}, plan ${plan}` : scenario;
}

function parts_of({ verdict, slos }) {
  const { validity } = verdict;
  // Do not repeat a text: the table has the objectives, and reasons often contain the advice.
  const doubts = new Set(validity?.reasons ?? []);
  const limits = (verdict.limits ?? []).map((one) => one.text);
  const why = [...limits, ...(verdict.reasons ?? []).filter((text) => !doubts.has(text) && !is_shown(text, slos, verdict.limits ?? []))];
  const said = [...why];
  const anew = [...(validity?.reasons ?? []), ...(validity?.advice ?? [])].filter((text) => {
    const is_new = !said.some((other) => other.includes(text));
    said.push(text);
    return is_new;
  });
  const fit = validity ? [`The measurement is ${validity.verdict}.`, ...anew] : [];
  return [
    ...(verdict.levels ?? []).map(level_table),
    ...[
      ["Why", why, "why"],
      ["What it means", verdict.means ?? verdict.sentences, "means"],
      ["What it does not say", verdict.excludes, "excludes"],
      ["Next", verdict.next, "next"],
      ["Are the figures reliable?", fit, "fit"],
    ].flatMap(part_of),
  ];
}

/** A table of the levels of a load, as the terminal shows it. */
function level_table({ title, columns, rows, notes }) {
  const cells = (tag, texts) => element("tr", {}, ...texts.map((text, k) => element(tag, { class: k ? "number" : null }, text)));
  return element("section", { class: "levels" }, element("h2", {}, title),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
      element("table", {}, element("thead", {}, cells("th", columns)), element("tbody", {}, ...rows.map((row) => cells("td", row))))),
    items("ul", notes));
}

/** Whether the table of objectives or the limit has a reason. */
function is_shown(text, slos, limits) {
  return slos.some((slo) => text.includes(slo.objective)) || limits.some((one) => one.objectives.some((objective) => text.includes(objective)));
}

function part_of([title, texts, kind]) {
  return texts?.length ? [element("section", { class: kind }, element("h2", {}, title), items("ul", texts))] : [];
}
