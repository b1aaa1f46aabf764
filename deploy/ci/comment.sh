#!/usr/bin/env bash
# Write or update the comment on the pull request. It never fails the job.
set -uo pipefail
if [[ -f loadgen-ci/comment.md ]]; then
  loadgen ci comment loadgen-ci/comment.md --name "${COMMAND:?}" || true
else
  echo "no comment: the test wrote no result"
fi
