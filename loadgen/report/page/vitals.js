// Web vitals of pages in browsers, in one table, at p75: the percentile by which they are judged. The part is shown when
// the document has such pages, and not before.

import { element, show } from "./dom.js";
import { count_text, ms_text } from "./format.js";
import { table_box } from "./lists.js";
import { name_of } from "./table.js";

const VITALS_COLUMNS = ["page", "count", "LCP p75", "p95", "INP p75", "count", "CLS p75", "FCP p75", "TTFB p75"];
const ABOUT_VITALS = "Pages that ended ok. LCP: until the largest element was painted. INP: the slowest interaction. "
  + "CLS: how far the layout moved, a score. FCP: until the first content. TTFB: until the first byte.";

/** Returns {element, update(history)}. */
export function vitals_group() {
  const table = table_box("Web vitals, ms", "vitals-rows", VITALS_COLUMNS, 1);
  const made = element("section", { class: "group", id: "vitals", hidden: true },
    element("h2", {}, "Pages in browsers"), element("div", { class: "wide streams" }, table.element, element("p", { class: "note" }, ABOUT_VITALS)));

  function update(history) {
    const found = history.rows.filter((row) => row.page_ms).map(vitals_of);
    show(made, found.length > 0);
    table.fill(found, (cells) => cells);
  }

  return { element: made, update };
}

function vitals_of(row) {
  const { lcp, inp, fcp, ttfb } = row.page_ms;
  const score = row.cls ? row.cls.p75.toFixed(3) : "–";
  return [name_of(row), count_text(lcp?.count ?? 0), ms_text(lcp?.p75), ms_text(lcp?.p95), ms_text(inp?.p75),
    count_text(inp?.count ?? 0), score, ms_text(fcp?.p75), ms_text(ttfb?.p75)];
}
