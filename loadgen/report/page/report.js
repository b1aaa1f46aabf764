// The entry point of the HTML report: the compressed document is in the page itself, and nothing is fetched.

import { element } from "./dom.js";
import { render } from "./render.js";

async function held(id) {
  const holder = document.getElementById(id);
  if (!holder) return null;
  const letters = atob(holder.textContent.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** Draw the report's documents. An error is shown on the page; an old browser has no DecompressionStream. */
export async function open_report() {
  const root = document.getElementById("page");
  try {
    const history = await held("history");
    const ready_made = (name) => document.getElementById(name)?.content ?? null;
    await render(root, history, { baseline: await held("baseline"), standing: ready_made("in-history"), why: ready_made("why-slow") });
    // Charts are painted in microtasks that are already in the queue.
    queueMicrotask(() => (document.documentElement.dataset.drawn = ""));
  } catch (error) {
    root.replaceChildren(element("p", { class: "fault", role: "alert" }, `This report cannot be shown: ${error.message}. Open it in a browser of 2024 or later.`));
    throw error;
  }
}

open_report();
