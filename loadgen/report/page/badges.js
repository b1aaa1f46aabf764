// Words, signs and colours of verdicts: the badge of a run, and the verdict of an objective in a run.

const INCOMPLETE = { incomplete: "is incomplete", interrupted: "was interrupted", error: "ended with an error" };
const KINDS = { passed: "good", pass: "good", valid: "good", failed: "bad", fail: "bad", invalid: "bad", suspect: "suspect" };

const SIGNS = { passed: "✓", pass: "✓", failed: "✗", fail: "✗" };

/** The class of a result: "good", "bad", "suspect" or "doubt". */
function kind_of(result) {
  return KINDS[result] ?? "doubt";
}

/** The class and the text of a run's badge. A suspect run has a badge of its own, whether it passed or failed. */
export function badge_of(verdict, phase) {
  if (!verdict) return [kind_of(), `● ${phase}`];
  const { result, shown = result } = verdict;
  if (shown === "suspect") return ["suspect", `● ${result}, but suspect`];
  return [kind_of(result), `${SIGNS[result] ?? "●"} ${result}`];
}

/**
 * The text and the class of an objective's verdict. A run without a verdict is not over, so its objectives may still
 * change. An invalid run does not judge its target, so its objectives get no sign and no colour.
 */
export function objective_verdict({ verdict, sure }, history) {
  const result = history.verdict?.result;
  if (result === "invalid") return ["not judged", "was"];
  if (["incomplete", "interrupted", "error"].includes(result) && kind_of(verdict) === "good") return [`? ${verdict}, but the run ${INCOMPLETE[result]}${sure === false ? ", not sure" : ""}`, "doubt"];
  const so_far = !history.verdict && SIGNS[verdict] ? " so far" : "";
  const unsure = sure === false && SIGNS[verdict] ? ", not sure" : "";
  return [`${SIGNS[verdict] ?? "?"} ${verdict}${so_far}${unsure}`, kind_of(verdict)];
}
