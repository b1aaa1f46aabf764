// The buttons for a running run: pause, resume, scale, stop, kill. Only roles that may use them see them; the server
// checks every request anyway.

import { element, say, show } from "./dom.js";

/** deed(name, body) sends a request and returns the lines of the reply, or throws. Returns {element, update(role, phase)}. */
export function controls(deed) {
  const told = element("span", { class: "told", role: "status" });
  const factor = element("input", { type: "text", inputmode: "decimal", placeholder: "1.5 or 200/s", "aria-label": "factor or rate to scale to", size: 10 });
  const button = (name, title, act, kind = null) => element("button", { type: "button", class: kind, title, id: `do-${name}`, onclick: act }, name);
  const pause = button("pause", "start no new iterations until the run is resumed", () => act("pause", {}));
  const resume = button("resume", "continue from where the run was paused", () => act("resume", {}));
  const stop = button("stop", "start no new iterations; running ones may finish", () => act("stop", {}));
  const kill = button("kill", "stop at once and cut off running iterations", () => question.showModal(), "grave");
  const scale = element("form", { class: "controls", onsubmit: (event) => {
    event.preventDefault();
    const body = scale_of(factor.value);
    if (body === null) fault("invalid scale; enter a factor such as 1.5 or 50%, or a rate such as 200/s");
    else act("scale", body);
  } }, factor, element("button", { type: "submit", id: "do-scale", title: "change the rest of the load" }, "scale"));
  const question = element("dialog", { "aria-labelledby": "kill-question" },
    element("p", { id: "kill-question" }, "Kill the run? Requests in flight are cut off, and the verdict will mention it. Use stop to let running iterations finish."),
    element("div", {},
      element("button", { type: "button", autofocus: true, onclick: () => question.close() }, "keep it running"),
      element("button", { type: "button", class: "grave", id: "kill-yes", onclick: () => {
        question.close();
        act("kill", {});
      } }, "kill the run")));
  const made = element("span", { class: "controls", id: "controls" }, pause, resume, scale, stop, kill, told, question);

  async function act(name, body) {
    const all = [...made.querySelectorAll("button, input")];
    for (const one of all) one.disabled = true;
    say(told, `${name} …`);
    told.classList.remove("bad");
    try {
      say(told, (await deed(name, body)).join("; "));
    } catch (error) {
      fault(error.message + (error.hint ? `: ${error.hint}` : ""));
    } finally {
      for (const one of all) one.disabled = false;
    }
  }

  function fault(text) {
    told.classList.add("bad");
    say(told, text);
  }

  function update(role, run) {
    const may = ["run", "admin"].includes(role) && !is_ended(run.phase);
    for (const one of [pause, resume, scale, stop, kill]) show(one, may);
    show(made, ["run", "admin"].includes(role));
  }

  return { element: made, update };
}

export function is_ended(phase) {
  return ["done", "ended by force"].includes(phase);
}

/** {factor: 1.5} of "1.5", "1.5x", "150%"; {rate: 200} (per second) of "200/s", "12000/m"; else null. */
export function scale_of(text) {
  const found = /^([0-9]+(?:\.[0-9]+)?)\s*(x|%|\/s|\/m|\/h)?$/.exec(text.trim());
  if (!found || Number(found[1]) <= 0) return null;
  const number = Number(found[1]);
  const per = { "/s": 1, "/m": 60, "/h": 3600 }[found[2]];
  if (per) return { rate: number / per };
  return { factor: found[2] === "%" ? number / 100 : number };
}
