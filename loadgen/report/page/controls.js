// What may be done to a run that goes on: pause, resume, scale, stop, kill; shown to whom the server lets do it. The
// server decides; what is not shown here is refused there.

import { element, say, show } from "./dom.js";

/** deed(name, body) asks the server and gives its lines, or throws. Returns {element, update(role, phase)}. */
export function controls(deed) {
  const told = element("span", { class: "told", role: "status" });
  const factor = element("input", { type: "text", inputmode: "decimal", placeholder: "1.5 or 200/s", "aria-label": "factor or rate to scale to", size: 10 });
  const button = (name, title, act, kind = null) => element("button", { type: "button", class: kind, title, id: `do-${name}`, onclick: act }, name);
  const pause = button("pause", "no new iterations until it is resumed", () => act("pause", {}));
  const resume = button("resume", "go on where it was paused", () => act("resume", {}));
  const stop = button("stop", "no new iterations; those that go on may end", () => act("stop", {}));
  const kill = button("kill", "nothing more is sent, at once", () => question.showModal(), "grave");
  const scale = element("form", { class: "controls", onsubmit: (event) => {
    event.preventDefault();
    const body = scale_of(factor.value);
    if (body === null) fault("write a factor, as in 1.5 or 50%, or a rate, as in 200/s");
    else act("scale", body);
  } }, factor, element("button", { type: "submit", id: "do-scale", title: "all that is left of the load" }, "scale"));
  const question = element("dialog", { "aria-labelledby": "kill-question" },
    element("p", { id: "kill-question" }, "Kill the run? Nothing more is sent, what is in flight is cut off, and the verdict will say so. Stop lets it end in order."),
    element("div", {},
      element("button", { type: "button", autofocus: true, onclick: () => question.close() }, "let it go on"),
      element("button", { type: "button", class: "grave", id: "kill-yes", onclick: () => {
        question.close();
        act("kill", {});
      } }, "kill it")));
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
