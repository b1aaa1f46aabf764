// Create elements from data. Text stays text: nothing here parses HTML.

// Invisible characters and those that change the reading direction are shown as codes, as in loadgen/outside_text.py.
// Line ends, tabs and the joiners in emojis are kept.
const HIDDEN = /(?![\n\t]|(?<=\p{Extended_Pictographic}\uFE0F?)[\u200D\uFE0E\uFE0F])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

const READ = new Set(["title", "aria-label", "placeholder"]); // attributes that people read
const SVG = "http://www.w3.org/2000/svg"; // an XML namespace; nothing is fetched from it

/** Return a text with its hidden characters as codes, such as \u202e. */
export function visible(text) {
  return text.replace(HIDDEN, (char) => {
    const code = char.codePointAt(0).toString(16);
    return code.length < 3 ? `\\x${code.padStart(2, "0")}` : code.length < 5 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  });
}

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
    else if (READ.has(name)) made.setAttribute(name, visible(String(value)));
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  const given = children.filter((child) => child !== null && child !== undefined);
  made.append(...given.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return made;
}

/** Set the text if it changed; an equal text needs no new layout. */
export function say(where, text) {
  const shown = visible(String(text));
  if (where.textContent !== shown) where.textContent = shown;
}

export function show(what, is_shown) {
  what.hidden = !is_shown;
}

/** A list of paragraphs or items; empty without texts. */
export function items(tag, texts, attributes = {}) {
  return element(tag, attributes, ...texts.map((text) => element("li", {}, text)));
}
