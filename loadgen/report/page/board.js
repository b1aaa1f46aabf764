// The state that all charts over time share: document, zoom and cursor; and the shading below and above their lines:
// warm-up, invalid seconds, slots with missing agents, marks.

import { clock_text } from "./format.js";
import { slot_at, span_s, stretches } from "./document.js";
import { visible } from "./dom.js";
import { colours } from "./theme.js";

export class Board {
  constructor(history, baseline) {
    this.history = history;
    this.baseline = baseline;
    this.zoomed = null; // [from, to] in seconds from T0, or null for all
    this.at_s = null; // the cursor's time, or null
    this.plots = new Set();
    this.listeners = new Set(); // called without arguments when the cursor or the zoom changes
    this.key = "time";
  }

  range() {
    const whole = Math.max(span_s(this.history), this.baseline ? span_s(this.baseline) : 0);
    return this.zoomed ?? [0, whole];
  }

  /** Zoom every chart to [from, to), at least two slots. */
  zoom(from, to) {
    const { length_s } = this.history.slots;
    this.zoomed = null;
    const [low, high] = this.range();
    const middle = (from + to) / 2;
    const half = Math.max((to - from) / 2, length_s);
    const start = Math.max(low, middle - half);
    const end = Math.min(high, middle + half);
    this.zoomed = end - start >= high - low ? null : [start, end];
    this.stretch();
  }

  reset() {
    this.zoomed = null;
    this.stretch();
  }

  stretch() {
    const [min, max] = this.range();
    for (const plot of this.plots) plot.setScale("x", { min, max });
    this.tell();
  }

  /** Set the cursor to `at_s` (null: none). The chart under the mouse calls this. */
  point(at_s) {
    const { length_s } = this.history.slots;
    const slot_of_time = (at) => (at === null ? null : Math.floor(at / length_s));
    const is_same = slot_of_time(at_s) === slot_of_time(this.at_s);
    this.at_s = at_s;
    if (!is_same) this.tell();
  }

  /** Set the cursor in every chart, for keyboard control. */
  move(at_s) {
    const { length_s } = this.history.slots;
    const [min, max] = this.range();
    const at = (Math.floor(Math.min(Math.max(at_s, min), max - length_s / 2) / length_s) + 0.5) * length_s;
    for (const plot of this.plots) plot.setCursor({ left: plot.valToPos(at, "x"), top: plot.over.clientHeight / 2 }, true, false);
    this.point(at);
  }

  slot() {
    return this.at_s === null ? null : slot_at(this.history.slots, this.at_s);
  }

  tell() {
    for (const listener of this.listeners) listener();
  }

  redraw() {
    for (const plot of this.plots) plot.redraw(false, true);
  }
}

/** Shading below the lines: the warm-up, and hatched slots in which a generator could not measure correctly. */
export function paint_ground(board, plot) {
  const { slots, warmup_s } = board.history;
  if (warmup_s) band(plot, warmup_s[0], warmup_s[1], colours.warmup);
  paint_unfit(board, plot);
}

/** The hatching, separate for charts whose drawing would hide it. */
export function paint_unfit(board, plot) {
  const { slots } = board.history;
  const hatch = hatching(plot.ctx, colours.unfit);
  for (const [first, end] of stretches(slots.count, (slot) => slots.unfit[slot] !== undefined)) {
    band(plot, first * slots.length_s, end * slots.length_s, hatch);
  }
}

/** Shading above the lines: slots without reports of all agents are dimmed; marks are numbered lines, with the error of their time as width. */
export function paint_over(board, plot) {
  const { slots, marks } = board.history;
  plot.ctx.globalAlpha = 0.6;
  for (const [first, end] of stretches(slots.count, (slot) => slots.reported[slot] < slots.agents[slot])) {
    band(plot, first * slots.length_s, end * slots.length_s, colours.panel);
  }
  plot.ctx.globalAlpha = 1;
  let free = -Infinity; // a number is left out where it would cover the one before
  marks.forEach((mark, i) => {
    if (mark.error_s) {
      plot.ctx.globalAlpha = 0.25;
      band(plot, mark.at_s - mark.error_s, mark.at_s + mark.error_s, colours.quiet);
      plot.ctx.globalAlpha = 1;
    }
    free = mark_line(plot, mark.at_s, String(i + 1), free);
  });
}

function band(plot, from_s, to_s, fill) {
  const { ctx, bbox } = plot;
  const left = Math.max(plot.valToPos(from_s, "x", true), bbox.left);
  const right = Math.min(plot.valToPos(to_s, "x", true), bbox.left + bbox.width);
  if (right <= left) return;
  ctx.fillStyle = fill;
  ctx.fillRect(left, bbox.top, Math.max(right - left, devicePixelRatio), bbox.height);
}

/** Draw a mark, with its number if that is right of `free`. Return where the next number may begin. */
function mark_line(plot, at_s, label, free) {
  const { ctx, bbox } = plot;
  const x = Math.round(plot.valToPos(at_s, "x", true));
  if (x < bbox.left || x > bbox.left + bbox.width) return free;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colours.quiet;
  ctx.lineWidth = scale;
  ctx.setLineDash([2 * scale, 3 * scale]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.font = `${10 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  const has_room = x >= free;
  if (has_room) ctx.fillText(visible(label), x + 3 * scale, bbox.top + 1 * scale);
  const end = has_room ? x + 3 * scale + ctx.measureText(label).width : free;
  ctx.restore();
  return end;
}

function hatching(ctx, colour) {
  const size = 8 * devicePixelRatio;
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  pen.strokeStyle = colour;
  pen.lineWidth = 1.2 * devicePixelRatio;
  pen.beginPath();
  for (const from of [-size, 0, size]) {
    pen.moveTo(from, size);
    pen.lineTo(from + size, 0);
  }
  pen.stroke();
  return ctx.createPattern(tile, "repeat");
}

/** "3:20–3:21", the time of a slot. */
export function slot_text(slots, slot) {
  const { length_s } = slots;
  return `${clock_text(slot * length_s, length_s)}–${clock_text((slot + 1) * length_s, length_s)}`;
}
