// The report's entry: the document stands in the page itself, compressed, and nothing is fetched.

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

/** Draw the report's documents. What goes wrong is said on the page: an old browser has no DecompressionStream. */
export async function open_report() {
  const root = document.getElementById("page");
  try {
    const history = await held("history");
    const standing = document.getElementById("in-history")?.content ?? null;
    await render(root, history, { baseline: await held("baseline"), standing });
    // Charts are painted in microtasks that stand in the queue already.
    queueMicrotask(() => (document.documentElement.dataset.drawn = ""));
  } catch (error) {
    root.replaceChildren(element("p", { class: "fault", role: "alert" }, `This report cannot be shown: ${error.message}. A browser of 2024 or later can read it.`));
    throw error;
  }
}

open_report();
