// Light and dark theme, and the colours of canvases from style.css. Colour-blind people can distinguish them (after Okabe
// and Ito), and every line also has its own dash pattern.

const KEPT = "loadgen theme";
const NAMES = [
  "ink", "quiet", "grid", "paper", "panel", "good", "bad", "doubt", "ghost", "unfit", "warmup",
  "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8",
];
const RAMPS = {
  light: ["#e4eef8", "#b9d4ea", "#86b6da", "#4e92c6", "#2270ac", "#0d4c86", "#062a55"],
  dark: ["#0b2a4e", "#173f6d", "#4f5a6c", "#7b7a78", "#a89d72", "#d4bf5c", "#fee838"],
};

/** The canvases' colours by name; updated by `read_colours`. */
export const colours = {};

export function is_dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Read the current colours of the style sheet. */
export function read_colours() {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
}

/** The heatmap's colour for a share in 0..1, in 64 steps. */
export function ramp() {
  const stops = RAMPS[is_dark() ? "dark" : "light"].map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
  const steps = Array.from({ length: 64 }, (_, i) => {
    const at = (i / 63) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return `rgb(${stops[low].map((from, k) => Math.round(from + (stops[low + 1][k] - from) * (at - low))).join(",")})`;
  });
  return (share) => steps[Math.max(0, Math.min(63, Math.round(share * 63)))];
}

/** Apply the stored theme, and call `changed` at each change, also before and after printing. */
export function watch_theme(changed) {
  try {
    set_theme(localStorage.getItem(KEPT));
  } catch {
    // A page opened from a disk may not store anything; it then follows the system's theme.
  }
  read_colours();
  const again = () => {
    read_colours();
    changed();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme ?? null;
    set_theme("light");
    again();
  });
  addEventListener("afterprint", () => {
    set_theme(before);
    again();
  });
  return () => {
    const chosen = is_dark() ? "light" : "dark";
    set_theme(chosen);
    try {
      localStorage.setItem(KEPT, chosen);
    } catch {
      // As above.
    }
    again();
  };
}

function set_theme(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}
