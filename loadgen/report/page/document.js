// The report document and the function that applies a change to it. No page, no network.

/**
 * Apply a change to the document in place and return the document. A change of slots has `from` and `to`; late data may
 * change a slot again. Any other change replaces the parts that are not per slot.
 */
export function apply(history, change) {
  if (!("from" in change)) return Object.assign(history, change);
  const { from, to } = change;
  const { unfit, ...columns } = change.slots;
  spliced(history.slots, columns, from, to);
  spliced(history.response, change.response ?? {}, from, to);
  spliced(history.errors, change.errors ?? {}, from, to);
  spliced(history.heatmap, change.heatmap ?? {}, from, to);
  if (unfit) {
    for (let slot = from; slot < to; slot++) delete history.slots.unfit[slot];
    Object.assign(history.slots.unfit, unfit);
  }
  history.slots.count = Math.max(history.slots.count, to);
  const { count } = history.slots;
  filled_up(history.slots, count, null);
  filled_up(history.response, count, null);
  for (const column of Object.values(history.errors)) lengthen(column, count, 0);
  lengthen(history.heatmap.slots, count, []);
  for (const cells of Object.values(history.heatmap.streams ?? {})) {
    for (let slot = 0; slot < count; slot++) cells[slot] ??= []; // requests to models may begin late in a run
  }
  history.seq = change.seq;
  return history;
}

/** Copy the columns of `part` into [from, to) of the columns of `whole`. Missing columns are created. */
function spliced(whole, part, from, to) {
  for (const [name, value] of Object.entries(part)) {
    if (Array.isArray(value)) {
      const column = (whole[name] ??= []);
      lengthen(column, from, null);
      for (let i = 0; i < Math.min(value.length, to - from); i++) column[from + i] = value[i];
    } else if (value !== null && typeof value === "object") {
      spliced((whole[name] ??= {}), value, from, to);
    }
  }
}

/** Fill columns that the change lacks with `nothing` up to `count` slots. */
function filled_up(whole, count, nothing) {
  for (const value of Object.values(whole)) {
    if (Array.isArray(value)) lengthen(value, count, nothing);
    else if (value !== null && typeof value === "object") filled_up(value, count, nothing);
  }
}

function lengthen(column, count, nothing) {
  while (column.length < count) column.push(nothing);
}

/** The seconds from T0 that the charts show: all slots; of a running run at least 10, or its whole planned time. */
export function span_s(history) {
  const { length_s, count } = history.slots;
  const least = history.verdict ? 1 : Math.min(10, Math.ceil((history.run.duration_s ?? Infinity) / length_s));
  return Math.max(count, least, 1) * length_s;
}

/** The slot at `at_s`, or null outside of the run. */
export function slot_at(slots, at_s) {
  const slot = Math.floor(at_s / slots.length_s + 1e-9);
  return slot >= 0 && slot < slots.count ? slot : null;
}

/** Convert counts per slot to numbers per second. */
export function per_second(column, length_s) {
  return column.map((count) => (count === null || count === undefined ? null : count / length_s));
}

/** Runs of adjoining slots for which `is_so` is true, as [first, one after the last]. */
export function stretches(count, is_so) {
  const found = [];
  for (let slot = 0; slot < count; slot++) {
    if (!is_so(slot)) continue;
    const last = found.at(-1);
    if (last && last[1] === slot) last[1] = slot + 1;
    else found.push([slot, slot + 1]);
  }
  return found;
}
