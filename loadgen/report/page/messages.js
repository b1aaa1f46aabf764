// Messages of calls (gRPC, WebSocket): the time of the first one, gaps, answers, ages, and their number, in one table. The part is shown
// when the document has such calls, and not before.

import { element, say, show } from "./dom.js";
import { count_text, ms_text } from "./format.js";
import { table_box } from "./lists.js";
import { name_of } from "./table.js";

const TIMES = { first_message: "first message", message_gap: "gap", answer: "answer", message_age: "age" };
const MEANINGS = {
  first_message: "First message: from the call to the first message of the target, one value a call.",
  message_gap: "Gap: between two of its messages.",
  answer: "Answer: from a message of ours to its answer, if the call has key=.",
  message_age: "Age: from the time that the target wrote into a message (stamp=) to its arrival, by the clocks of both machines. "
    + "The error of the target's clock is unknown, so ages have no error bound, unless target and agent share a machine.",
};

/** Returns {element, update(history)}. */
export function message_group() {
  const table = table_box("Messages", "message-rows", ["request", "time", "count", "mean", "p50", "p95", "p99", "max"], 2);
  const about = element("p", { class: "note" });
  const made = element("section", { class: "group", id: "messages", hidden: true },
    element("h2", {}, "Messages of calls"), element("div", { class: "wide streams" }, table.element, about));

  function update(history) {
    const rows = history.rows.filter((row) => row.message_ms);
    const found = rows.flatMap(lines_of);
    const meanings = Object.keys(MEANINGS).filter((metric) => rows.some((row) => row.message_ms[metric]));
    say(about, ["Calls of all outcomes.", ...meanings.map((metric) => MEANINGS[metric])].join(" "));
    show(made, found.length > 0);
    table.fill(found, (cells) => cells);
  }

  return { element: made, update };
}

function lines_of(row) {
  const of = row.message_ms;
  const lines = Object.keys(TIMES).filter((metric) => of[metric]).map((metric) => [
    TIMES[metric], count_text(of[metric].count), ...["mean", "p50", "p95", "p99", "max"].map((name) => ms_text(of[metric][name])),
  ]);
  const count = (of.first_message?.count ?? 0) + (of.message_gap?.count ?? 0);
  return [...lines, ["messages", count_text(count), "–", "–", "–", "–", "–"]].map((line, i) => [i ? "" : name_of(row), ...line]);
}
