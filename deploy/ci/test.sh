#!/usr/bin/env bash
# Run $COMMAND on $SCENARIO; write the outputs of the step, the job's summary, and the files that later steps use to
# loadgen-ci/. $FAIL_ON decides which results fail the step.
set -uo pipefail
kept=loadgen-ci
mkdir -p "$kept"
words=(--runs-dir "$kept/runs" --quiet)
if [[ -n ${TARGET:-} ]]; then words+=(--target "$TARGET"); fi
case ${COMMAND:?} in
  gate)
    if [[ -n ${STORE:-} ]]; then words+=(--store "$STORE"); fi
    loadgen gate "${SCENARIO:?}" "${words[@]}" --confirm 2 --add \
      --junit "$kept/gate.xml" --json "$kept/gate.json" --markdown "$kept/comment.md"
    code=$?
    ;;
  run)
    loadgen run "${SCENARIO:?}" "${words[@]}" --json "$kept/summary.json"
    code=$?
    ;;
  check)
    words=()
    if [[ -n ${TARGET:-} ]]; then words+=(--target "$TARGET"); fi
    loadgen check "${SCENARIO:?}" "${words[@]}" > "$kept/check.txt"
    code=$?
    cat "$kept/check.txt"
    ;;
  *)
    echo "command: invalid value \"$COMMAND\"; use gate, run or check" >&2
    exit 2
    ;;
esac

case $code in
  0) result=passed ;;
  1) result=failed ;;
  3) result=inconclusive ;;
  4) result=invalid ;;
  *) result=error ;;
esac
run_id=$(cd "$kept/runs" 2> /dev/null && for run in */summary.json; do echo "${run%/summary.json}"; done | sort | tail -n 1)
report=
if [[ -n $run_id && $run_id != '*' ]]; then
  report=$kept/$run_id.html
  loadgen report "$run_id" --runs-dir "$kept/runs" --output "$report" > /dev/null || report=
  if [[ $COMMAND == run ]]; then
    loadgen report "$run_id" --runs-dir "$kept/runs" --format markdown --output "$kept/comment.md" > /dev/null
  fi
  loadgen ci annotate "${SCENARIO:?}" "$run_id" --runs-dir "$kept/runs"
else
  run_id=
fi
if [[ $COMMAND == check ]]; then
  # Four spaces make a code block, which no text of a target can end.
  { echo "### loadgen check: $result"; echo; cut -c 1-300 "$kept/check.txt" | sed 's/^/    /'; } > "$kept/comment.md"
fi
if [[ -f $kept/comment.md ]]; then cat "$kept/comment.md" >> "${GITHUB_STEP_SUMMARY:?}"; fi
{
  echo "result=$result"
  echo "exit-code=$code"
  echo "run-id=$run_id"
  echo "report=$report"
} >> "${GITHUB_OUTPUT:?}"

if [[ $result == passed || ($result != error && ,${FAIL_ON// /}, != *,$result,*) ]]; then exit 0; fi
exit "$code"
