// Databases: statements by the time that the load has added, lock chains as trees with the blocking session first, and
// active sessions by what they wait for. The document has all figures; nothing is computed here but shares of a bar.

import { element, items, show } from "./dom.js";
import { clock_text, count_text, length_text, share_text, short } from "./format.js";

/** Returns {element, update(history)}. A database without findings is not in the document. */
export function databases() {
  const body = element("div", { class: "databases" });
  const made = element("section", { class: "group", id: "databases", hidden: true }, element("h2", {}, "Databases"), body);
  let before = "";
  return {
    element: made,
    update({ databases: found }) {
      const now = JSON.stringify(found ?? []);
      if (now === before) return;
      before = now;
      show(made, Boolean(found?.length));
      body.replaceChildren(...(found ?? []).flatMap((one) => database_parts(one, found.length > 1)));
    },
  };
}

function database_parts(one, is_named) {
  const of = is_named ? `${one.probe}: ` : "";
  return [statement_part(one, of), lock_part(one, of), deadlock_part(one, of), session_part(one, of)].filter(Boolean);
}

function database_part(title, ...children) {
  return element("section", { class: "database" }, element("h3", {}, title), ...children);
}

function database_table(title, heads, rows, words = 1) {
  const kind = (column) => (column < words ? null : "number");
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
    element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((head, column) => element("th", { scope: "col", class: kind(column) }, head)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell, column) => element("td", { class: kind(column) }, cell)))))));
}

function note_list(texts) {
  return texts.length ? items("ul", texts, { class: "note" }) : null;
}

// -- statements ----------------------------------------------------------------------------------

function statement_part(one, of) {
  const rows = one.statements.map((line) => [statement_cell(line), count_text(line.calls), short(line.mean_ms), short(line.added_ms / 1000), share_text(line.share)]);
  const { others } = one;
  if (others) rows.push(["all others", count_text(others.calls), "–", short(others.added_ms / 1000), share_text(others.share)]);
  if (!rows.length && !one.notes.length) return null;
  const title = `${of}Statements by added time`;
  return database_part(title, rows.length ? database_table(title, ["statement", "calls", "mean ms", "added s", "share"], rows) : null, note_list(one.notes));
}

/** The text of a statement, with its plan in words below it. */
function statement_cell(line) {
  const text = element("code", {}, line.text || `statement ${line.query_id}, text unknown`);
  const of = line.is_search ? "plan of its search" : "plan";
  const plan = line.plan.length ? `${of}: ${line.plan.join("; ")}` : line.why_no_plan ? `no plan, because ${line.why_no_plan}` : "";
  return element("div", { class: "statement" }, text, plan ? element("p", { class: "note" }, plan) : null);
}

// -- locks ---------------------------------------------------------------------------------------

function lock_part(one, of) {
  if (!one.chains.length && !one.trees.length) return null;
  const title = `${of}Lock chains`;
  const rows = one.chains.map((chain) => [chain.text, count_text(chain.waited), count_text(chain.most), short(chain.longest_s)]);
  const chains = rows.length ? database_table(title, ["who waits for whom", "samples × sessions", "most", "longest s"], rows) : null;
  return database_part(title, chains, ...one.trees.map(chain_tree));
}

/** A tree of one sample: rows come in the order of reading, each with its depth. */
function chain_tree(one) {
  const seen = one.samples > 1 ? `, one of ${count_text(one.samples)} such samples` : "";
  const left = one.left_out ? `${count_text(one.left_out)} more are not listed.` : "";
  const root = element("ul", {});
  const open = [root];
  for (const row of one.rows) {
    const inner = element("ul", {});
    open.length = Math.min(row.depth, open.length - 1) + 1;
    open.at(-1).append(element("li", {}, ...tree_session(row), inner));
    open.push(inner);
  }
  return element("figure", { class: "locks" },
    element("figcaption", { class: "note" }, `At ${clock_text(one.at_s, 0.1)}${seen}: ${count_text(one.waiting)} waiting, the longest for ${length_text(one.longest_s)}. ${left}`), root);
}

function tree_session(row) {
  const time = (seconds) => (seconds === null || seconds === undefined ? "" : ` for ${length_text(seconds)}`);
  const state = row.in_deadlock ? "in a deadlock" : `${row.state}${row.depth === 0 ? time(row.in_state_s) : ""}`;
  const waits = row.depth > 0 ? `waits${row.relation ? ` for a lock of ${row.relation}` : ""}${time(row.waits_s)}` : "";
  const is_last = row.state.startsWith("idle");
  const line = (word, text) => element("p", {}, element("span", { class: "note" }, word), element("code", {}, text));
  return [
    element("p", {}, element("strong", {}, row.application || "a session"), ` (${row.pid}) ${[state, waits].filter(Boolean).join(", ")}`),
    ...row.earlier.map((text) => line("before: ", text)),
    row.statement ? line(is_last ? "its last statement: " : "", row.statement) : null,
    row.holds.length ? line("holds: ", row.holds.join(", ")) : null,
  ];
}

function deadlock_part(one, of) {
  const seen = one.deadlocks.map((found) => `${clock_text(found.at_s, 0.1)}: ${found.sessions.join(" and ")}${found.statements.length ? `: ${found.statements.join("; ")}` : ""}`);
  const counted = one.deadlock_count ? [`The server counted ${count_text(one.deadlock_count)}.`] : [];
  return seen.length + counted.length ? database_part(`${of}Deadlocks`, items("ul", [...counted, ...seen])) : null;
}

// -- sessions ------------------------------------------------------------------------------------

function session_part(one, of) {
  if (!one.waits.length) return null;
  const all = one.waits.reduce((sum, wait) => sum + wait.sessions, 0);
  const title = `${of}Active sessions by wait event`;
  const rows = one.waits.map((wait) => [
    wait.event || "no wait: on a CPU, or ready to run", short(wait.sessions),
    element("span", { class: "share" }, element("meter", { min: 0, max: 1, value: wait.sessions / all, "aria-hidden": "true" }), share_text(wait.sessions / all)),
  ]);
  return database_part(title, database_table(title, ["wait event", "mean", "share"], rows), note_list(one.sessions_note ? [one.sessions_note] : []));
}
