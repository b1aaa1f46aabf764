// The table of journeys, steps and requests. It can be sorted by any column, by mouse or keyboard, and filtered. Each row
// has small charts over time. With a baseline, its figure and the difference are beside ours. Below a row are the lines
// of its tags, which a button opens and closes; many are closed at first.

import { drawing, element, say, visible } from "./dom.js";
import { count_text, counted, figure, grouped, length_text, ms_text, share_text } from "./format.js";

const WHY_AT_LEAST = "a lower bound: iterations waited for a free user, and only the journey's row contains this wait";
const MOST_OPEN = 12; // with more lines of tags in all rows, they are closed at first
const SPARK = { width: 72, height: 18 };

/**
 * history, baseline (or null): documents. Returns {element, update(history)}.
 */
export function rows_table(baseline) {
  const columns = columns_of(baseline);
  let order = { column: columns.find((one) => one.key === "count"), is_down: true };
  let is_sorted = false; // until the user sorts, rows keep the order of the document
  let history = null;
  const drawn = new Map(); // lines by their row's name
  const stood = new Map(); // the data of each drawn line, so that an unchanged row is not drawn again
  const chosen = new Map(); // whether the user opened or closed the lines of a row's tags, by the row's name
  const box = element("input", { type: "search", placeholder: "filter names", "aria-label": "filter rows by name", oninput: () => update(history) });
  const shown = element("span", { class: "note", role: "status" });
  const heads = columns.map((column) => element("th", { scope: "col", class: column.kind },
    column.value ? element("button", { type: "button", title: column.about ?? null, onclick: () => sort(column) }, column.title) : element("span", { title: column.about ?? null }, column.title)));
  const body = element("tbody", {});
  const made = element("section", { class: "wide", id: "rows" },
    element("div", { class: "bar" }, element("h3", {}, "Journeys, steps and requests"), box, shown),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "table of rows" },
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body)));

  function sort(column) {
    order = { column, is_down: order.column === column && is_sorted ? !order.is_down : column.kind === "number" };
    is_sorted = true;
    update(history);
  }

  function update(next) {
    history = next;
    const words = box.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const there = history.rows.map((row, i) => ({ row, was: baseline ? before(baseline, row) : null, place: i }));
    const kept = there.filter(({ row }) => words.every((word) => searched(row).includes(word)));
    if (is_sorted) kept.sort((a, b) => compared(order, a, b));
    const lines = there.reduce((all, { row }) => all + (row.tags?.length ?? 0), 0);
    const wanted = kept.flatMap((entry) => {
      const is_open = Boolean(entry.row.tags?.length) && (chosen.get(key_of(entry.row)) ?? lines <= MOST_OPEN);
      return [row_of(entry, is_open), ...(is_open ? tag_lines(entry) : [])];
    });
    if (wanted.length !== body.children.length || wanted.some((line, i) => body.children[i] !== line)) {
      const focused = document.activeElement; // a button of a row loses the focus when its row is put in again
      body.replaceChildren(...wanted);
      if (focused !== document.activeElement && body.contains(focused)) focused.focus({ preventScroll: true });
    }
    say(shown, kept.length === there.length ? counted(there.length, "row") : `${count_text(kept.length)} of ${counted(there.length, "row")}`);
    columns.forEach((column, i) => {
      const is_it = is_sorted && column === order.column;
      heads[i].setAttribute("aria-sort", is_it ? (order.is_down ? "descending" : "ascending") : "none");
    });
  }

  /** The lines of a row's tags, and one for values without a line. */
  function tag_lines({ row, was }) {
    const found = row.tags.map((one) => {
      const earlier = was?.tags?.find((other) => other.tag === one.tag && other.value === one.value) ?? null;
      return row_of({ row: { ...one, kind: "tag", of: key_of(row), bound: row.bound }, was: earlier });
    });
    for (const [tag, left] of Object.entries(row.more_tags ?? {})) found.push(rest_line(key_of(row), tag, left));
    return found;
  }

  function rest_line(of, tag, left) {
    const key = JSON.stringify([of, tag]);
    if (!drawn.has(key)) drawn.set(key, element("tr", { class: "tag" }, element("td", { class: "word" }), element("th", { class: "name", scope: "row" })));
    say(drawn.get(key).lastElementChild, `${tag}: ${counted(left, "more value")}`);
    return drawn.get(key);
  }

  function row_of(entry, is_open = false) {
    const key = key_of(entry.row);
    let line = drawn.get(key);
    if (!line) {
      line = element("tr", { class: entry.row.kind }, ...columns.map((column) => element(column.kind === "name" ? "th" : "td", { class: column.kind, scope: column.kind === "name" ? "row" : null })));
      drawn.set(key, line);
    }
    const now = JSON.stringify([entry.row, is_open]);
    if (stood.get(key) === now) return line;
    stood.set(key, now);
    columns.forEach((column, i) => {
      const cell = line.children[i];
      if (column.spark) {
        if (entry.row.kind !== "tag") spark(cell, column.spark(entry), history.spark_length_s);
      } else if (column.kind === "name" && entry.row.tags?.length) name_with_tags(cell, entry.row, is_open);
      else say(cell, column.text(entry));
      if (column.about_cell) cell.title = visible(column.about_cell(entry));
      if (column.is_bad) cell.classList.toggle("bad", column.is_bad(entry));
    });
    return line;
  }

  /** The row's name, and the button that opens and closes the lines of its tags. It stays, so that it keeps the focus. */
  function name_with_tags(cell, row, is_open) {
    if (!cell.querySelector("button")) {
      const toggle = element("button", { type: "button", class: "toggle", onclick: () => {
        chosen.set(key_of(row), toggle.getAttribute("aria-expanded") !== "true");
        update(history);
      } });
      cell.replaceChildren(element("span", {}), " ", toggle);
    }
    const [name, toggle] = cell.children;
    say(name, name_of(row));
    const tags = [...new Set(row.tags.map((one) => one.tag))];
    say(toggle, `${is_open ? "▾" : "▸"} ${counted(tags.length, "tag")}`);
    toggle.title = visible(`split by ${tags.join(", ")}`);
    toggle.setAttribute("aria-expanded", String(is_open));
  }

  return { element: made, update };
}

function key_of(row) {
  return JSON.stringify(row.kind === "tag" ? [row.of, row.tag, row.value] : [row.kind, row.journey, row.step, row.request]);
}

/** What the filter searches: the name of a row and its tags, in lower case. */
function searched(row) {
  return [name_of(row), ...(row.tags ?? []).map(tag_text)].join("\n").toLowerCase();
}

function tag_text({ tag, value }) {
  return `${tag}: ${value || "(empty)"}`;
}

function columns_of(baseline) {
  const ms = (name) => ({
    key: name, title: `${name} ms`, kind: "number", about: "response time",
    value: ({ row }) => figure(row.response_ms?.[name]).value,
    text: ({ row }) => (row.bound === "lower" && typeof row.response_ms?.[name] === "number" ? "≥ " : "") + plain_ms(row.response_ms?.[name]),
    about_cell: ({ row }) => [row.bound === "lower" ? WHY_AT_LEAST : "", interval_text(row.ci_ms?.[name])].filter(Boolean).join("; "),
  });
  const beside = ["p50", "p95", "p99"].flatMap((name) => [
    ms(name),
    { key: `was ${name}`, title: "baseline", kind: "number was", about: `${name} of the baseline`, value: ({ was }) => figure(was?.response_ms?.[name]).value, text: ({ was }) => plain_ms(was?.response_ms?.[name]) },
    { key: `change ${name}`, title: "change", kind: "number was", about: `${name} against the baseline; no test of significance`, value: (entry) => change(entry, name), text: (entry) => change_text(change(entry, name)), is_bad: (entry) => (change(entry, name) ?? 0) > 0.1 },
  ]);
  return [
    { key: "kind", title: "kind", kind: "word", value: ({ row }) => row.kind, text: ({ row }) => row.kind },
    { key: "name", title: "name", kind: "name", value: ({ row }) => name_of(row), text: ({ row }) => name_of(row), about_cell: ({ row }) => name_of(row) },
    { key: "count", title: "count", kind: "number", value: ({ row }) => row.count, text: ({ row }) => count_text(row.count), about_cell: ({ row }) => (row.censored ? `${counted(row.censored, "value")} with only a lower bound` : "") },
    ...(baseline ? [{ key: "was count", title: "baseline", kind: "number was", about: "count of the baseline", value: ({ was }) => was?.count ?? null, text: ({ was }) => count_text(was?.count) }] : []),
    { key: "errors", title: "errors", kind: "number", value: ({ row }) => row.errors, text: ({ row }) => count_text(row.errors), is_bad: ({ row }) => row.errors > 0 },
    { key: "share", title: "errors %", kind: "number", value: ({ row }) => (row.count ? row.errors / row.count : null), text: ({ row }) => (row.count ? share_text(row.errors / row.count).replace(" %", "") : "–") },
    ...(baseline ? beside : ["p50", "p90", "p95", "p99", "p99.9", "max"].map(ms)),
    { key: "service p95", title: "service p95", kind: "number", about: "of requests, from sent to done, ms", value: ({ row }) => figure(row.service_ms?.p95).value, text: ({ row }) => plain_ms(row.service_ms?.p95) },
    { key: "rate over time", title: "count over time", kind: "spark", spark: ({ row }) => ({ column: row.spark?.count, text: count_text, word: "count" }) },
    { key: "p95 over time", title: "p95 over time", kind: "spark", spark: ({ row }) => ({ column: row.spark?.p95, text: ms_text, word: "p95" }) },
  ];
}

/** Journey, step and request as one name, as in the terminal. */
export function name_of(row) {
  if (row.kind === "tag") return tag_text(row);
  return [row.journey, row.step, row.request].filter((part) => part !== null && part !== undefined && part !== "").join(" › ");
}

/** At most three decimals, without a unit, which is in the column's head. */
function plain_ms(value) {
  const found = figure(value);
  if (found.value === null) return "–";
  const digits = found.value >= 100 ? 0 : found.value >= 10 ? 1 : 2;
  return (found.is_bound ? "> " : "") + grouped(found.value, digits);
}

function interval_text(ends) {
  if (!ends) return "";
  return typeof ends === "string" ? `no interval: ${ends}` : `95 % interval ${ms_text(ends[0])} to ${ms_text(ends[1])}`;
}

function before(baseline, row) {
  return baseline.rows.find((one) => one.kind === row.kind && one.journey === row.journey && one.step === row.step && one.request === row.request) ?? null;
}

/** The share by which ours is slower; null if one value is only a lower bound. */
function change({ row, was }, name) {
  const ours = figure(row.response_ms?.[name]);
  const theirs = figure(was?.response_ms?.[name]);
  if (!ours.value || !theirs.value || ours.is_bound || theirs.is_bound) return null;
  return ours.value / theirs.value - 1;
}

function change_text(share) {
  return share === null ? "–" : `${share >= 0 ? "+" : "−"}${grouped(Math.abs(share * 100), 1)} %`;
}

/** Rows without a figure come last in both directions. */
function compared({ column, is_down }, a, b) {
  const [one, other] = [column.value(a), column.value(b)];
  const has_one = one !== null && one !== undefined;
  const has_other = other !== null && other !== undefined;
  if (!has_one || !has_other) return has_one === has_other ? a.place - b.place : has_one ? -1 : 1;
  const way = typeof one === "string" ? one.localeCompare(other) : one - other;
  return (is_down ? -way : way) || a.place - b.place;
}

/** A line from 0 to the row's own largest value; as steps, with gaps. */
function spark(cell, { column, text, word }, length_s) {
  const values = (column ?? []).map((value) => figure(value).value);
  const most = Math.max(0, ...values.map((value) => value ?? 0));
  const wide = SPARK.width / Math.max(values.length, 1);
  let path = "";
  values.forEach((value, i) => {
    if (value === null) return;
    const y = (SPARK.height - 1 - (most ? value / most : 0) * (SPARK.height - 2)).toFixed(1);
    const is_open = i > 0 && values[i - 1] !== null;
    path += `${is_open ? "L" : "M"}${(i * wide).toFixed(1)} ${y}H${((i + 1) * wide).toFixed(1)}`;
  });
  const label = values.length ? `${word}, ${length_text(length_s)} each, at most ${text(most)}` : "no data yet";
  let picture = cell.firstElementChild;
  if (!picture) {
    picture = drawing("svg", { class: "spark", viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, width: SPARK.width, height: SPARK.height, role: "img" }, drawing("path", {}));
    cell.append(picture);
  }
  if (picture.firstElementChild.getAttribute("d") === path) return;
  picture.firstElementChild.setAttribute("d", path);
  picture.setAttribute("aria-label", label);
  cell.title = visible(label);
}
