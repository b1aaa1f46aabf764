// Lists and tables of text: single requests with their traces, agents, marks and notes.

import { element, items, show } from "./dom.js";
import { clock_text, count_text, length_text, ms_text } from "./format.js";
import { name_of } from "./table.js";

/** Slowest and failing requests. Returns {element, update(history)}. */
export function examples() {
  const slowest = list("Slowest requests", "slowest");
  const failing = list("Failing requests", "failing");
  const made = element("section", { class: "wide pair", id: "examples" }, slowest.element, failing.element);
  return {
    element: made,
    update(history) {
      slowest.update(history.exemplars.slowest, history.trace_url);
      failing.update(history.exemplars.failing, history.trace_url);
    },
  };
}

function list(title, id) {
  const made = table_box(title, id, ["at", "took", "request", "outcome", "agent", "trace"]);
  return {
    element: made.element,
    update(found, template) {
      made.fill(found, (one) => [
        clock_text(one.at_s), ms_text(one.ms), name_of(one), one.outcome, `${one.agent}`, trace(one.trace_id, one.trace_is_kept === false ? null : template),
      ], template);
    },
  };
}

/** A link to the trace if the template is an http(s) URL; otherwise, and for traces that are not kept, only the id. */
function trace(id, template) {
  if (!id) return "–";
  const address = template ? address_of(template.replaceAll("{trace_id}", encodeURIComponent(id))) : null;
  return address ? element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, id) : id;
}

function address_of(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:"].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

/** Agents, marks and notes. */
export function annex() {
  const agents = table_box("Agents", "agents", ["agent", "region", "state", "requests", "invalid s", "missing", "note"]);
  const marks = table_box("Marks", "marks", ["no.", "at", "what"]);
  const notes = element("section", { id: "notes" }, element("h3", {}, "Notes"));
  let noted = "";
  return {
    element: element("section", { class: "wide annex", id: "annex" }, agents.element, element("div", {}, marks.element, notes)),
    update(history) {
      agents.fill(history.agents, (one) => [one.id, one.region, one.state, count_text(one.requests), unfit_text(one.unfit_s), one.missing ?? "", one.note ?? ""]);
      marks.fill(history.marks, (mark, i) => [String(i + 1), mark_time(mark), mark.source ? `${mark.source}: ${mark.text}` : mark.text]);
      const now = JSON.stringify(history.notes);
      if (now !== noted) {
        noted = now;
        notes.replaceChildren(element("h3", {}, "Notes"), items("ul", history.notes));
      }
      show(notes, history.notes.length > 0);
    },
  };
}

/** The time of a mark, with the most by which it may be off. */
function mark_time({ at_s, error_s }) {
  return error_s >= 0.001 ? `${clock_text(at_s, error_s)} ± ${length_text(error_s)}` : clock_text(at_s);
}

/** How long an agent could not measure correctly: seconds, or [from, to) spans of seconds. */
function unfit_text(unfit) {
  return count_text(Array.isArray(unfit) ? unfit.reduce((all, [from, to]) => all + to - from, 0) : unfit);
}

/** A table below its title. From column `words` on, cells are numbers. Returns {element, fill(found, cells_of, beside)}. */
export function table_box(title, id, heads, words = heads.length) {
  const kind = (column) => (column < words ? null : "number");
  const body = element("tbody", {});
  const made = element("section", { id }, element("h3", {}, title),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
      element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head, column) => element("th", { scope: "col", class: kind(column) }, head)))), body)));
  let before = "";

  function fill(found, cells_of, beside = "") {
    show(made, found.length > 0);
    const now = JSON.stringify([found, beside]);
    if (now === before) return;
    before = now;
    body.replaceChildren(...found.map((one, i) => element("tr", {}, ...cells_of(one, i).map((cell, column) => element("td", { class: kind(column) }, cell)))));
  }

  return { element: made, fill };
}
