#!/usr/bin/env bash
# Install loadgen for the following steps: from the checkout of this action, or from $VERSION, a wheel file or git URL.
# Dependencies come from requirements.lock and are checked by hash. loadgen's name is never looked up at an index.
set -euo pipefail
folder=${RUNNER_TEMP:?}/loadgen-venv
root=${GITHUB_ACTION_PATH:?}
python3 -c 'import sys; sys.exit("loadgen needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes --only-binary :all: -r "$root/requirements.lock"
case ${VERSION:-} in
  '' | git+*)
    "${pip[@]}" install --require-hashes --only-binary :all: -r "$root/deploy/docker/requirements-build.txt"
    "${pip[@]}" install --no-deps --no-build-isolation "${VERSION:-$root}"
    ;;
  *.whl)
    if [[ $VERSION != *://* && ! -f $VERSION ]]; then
      echo "version: there is no file $VERSION; name a wheel file, or git+URL@COMMIT" >&2
      exit 2
    fi
    "${pip[@]}" install --no-deps "$VERSION"
    ;;
  *)
    echo "version: invalid value \"$VERSION\"; name a wheel file, or git+URL@COMMIT" >&2
    exit 2
    ;;
esac
echo "$folder/bin" >> "${GITHUB_PATH:?}"
"$folder/bin/loadgen" --version
