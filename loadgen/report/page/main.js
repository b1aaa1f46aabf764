// The live page's entry point: the list of runs, or one run that is followed until it ends.

import { controls, is_ended } from "./controls.js";
import { apply } from "./document.js";
import { element, say } from "./dom.js";
import { ask, fetch_json, follow, token } from "./live.js";
import { render } from "./render.js";
import { watch_theme } from "./theme.js";

const root = document.getElementById("page");
const key = token();

async function open_page() {
  const found = /^\/runs\/([^/]+)\/?$/.exec(location.pathname);
  try {
    if (found) await open_run(decodeURIComponent(found[1]));
    else await open_list();
    document.documentElement.dataset.drawn = "";
  } catch (error) {
    root.replaceChildren(element("p", { class: "fault", role: "alert" }, [error.message, error.hint].filter(Boolean).join("\n")));
    if (error.status === undefined) throw error;
  }
}

async function open_run(id) {
  const path = `/api/runs/${encodeURIComponent(id)}`;
  const [whole, me] = await Promise.all([fetch_json(`${path}/history`, key), fetch_json("/api/me", key)]);
  const link = element("span", { class: "link", id: "link", role: "status" });
  const deeds = controls(async (name, body) => (await (await ask(`${path}/${name}`, { key, body })).json()).lines ?? []);
  let history = whole;
  const page = await render(root, history, { live: true, bar: [link, deeds.element] });
  let is_due = false;

  /** Draw at most once a frame, whatever the number of changes. A hidden page is drawn when it becomes visible. */
  function draw() {
    if (is_due) return;
    is_due = true;
    requestAnimationFrame(() => {
      is_due = false;
      performance.clearMeasures("change");
      const began = performance.now();
      page.update(history);
      deeds.update(me.role, history.run);
      // Measure after the charts, whose painting microtasks are already in the queue. For bench/page.py.
      queueMicrotask(() => performance.measure("change", { start: began }));
      root.dataset.seq = String(history.seq);
    });
  }

  draw();
  const is_over = () => history.verdict !== null || is_ended(history.run.phase);
  const say_link = (state, text) => {
    link.className = `link ${is_over() ? "over" : state}`;
    say(link, is_over() ? "the run has ended" : text);
  };
  say_link("", "connecting …");
  if (is_over()) return;
  follow(path, key, history.seq, {
    history: (anew) => {
      history = anew;
      draw();
    },
    change: (_, change) => {
      apply(history, change);
      draw();
      say_link("good", "live");
    },
    link: say_link,
  }, is_over);
}

async function open_list() {
  const found = await fetch_json("/api/runs", key);
  const runs = Array.isArray(found) ? found : found.runs;
  const heads = ["run", "scenario", "phase", "result", "started"];
  watch_theme(() => {});
  const lines = runs.map((run) => element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `/runs/${encodeURIComponent(run.id)}` }, run.id)),
    ...["scenario", "phase", "result", "started_at"].map((name) => element("td", {}, String(run[name] ?? "")))));
  const table = element("table", { id: "runs" },
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...lines));
  root.replaceChildren(
    element("header", { class: "top" }, element("strong", {}, "loadgen")),
    element("main", {}, element("section", { class: "runs" },
      element("h1", {}, runs.length ? "Runs" : "No runs yet"), element("div", { class: "scroll" }, table))));
  document.title = "loadgen: runs";
}

open_page();
