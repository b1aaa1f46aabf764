// Elements made of data. What comes in as text stays text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg"; // the name of a language: nothing is fetched from it

/** An element. `attributes`: `on…` are listeners, true is an empty attribute, null and false are left out. */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function drawing(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set the text, if it is another: what stands does not have to be laid out again. */
export function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

export function show(what, is_shown) {
  what.hidden = !is_shown;
}

/** A list of paragraphs or items; empty where there is nothing to say. */
export function items(tag, texts, attributes = {}) {
  return element(tag, attributes, ...texts.map((text) => element("li", {}, text)));
}
