// What charts of several parts of the page share: the columns of a document as lines, with their colours and dashes.

import { per_second } from "./document.js";

const PERCENTILES = [["p50", "c1", null], ["p95", "c2", [8, 3]], ["p99", "c3", [4, 2]], ["p99.9", "c4", [1.5, 2]]];
export const PALETTE = ["c4", "c1", "c3", "c2", "c5", "c6", "c7", "c8"];
export const DASHES = [null, [8, 3], [4, 2], [1.5, 2], [8, 2, 2, 2], [12, 4], [3, 3], [6, 2, 1, 2, 1, 2]];

/** A column of slots as a line. */
export function slot_line({ slots }, name, colour, { is_rate = false, dash = null, label = name }) {
  return column_line(slots[name], slots.length_s, colour, { is_rate, dash, label });
}

/** A column with one value per slot as a line; is_rate: its counts as numbers per second. */
export function column_line(column, length_s, colour, { is_rate = false, dash = null, label }) {
  return { label, column: is_rate ? per_second(column, length_s) : column, length_s, colour, dash };
}

/** The percentiles of some values over time as lines. */
export function percentile_lines(lines, length_s, names = null) {
  return PERCENTILES.filter(([name]) => !names || names.includes(name)).map(([name, colour, dash]) => ({ label: name, column: lines[name], length_s, colour, dash }));
}
