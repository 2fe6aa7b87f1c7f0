#!/usr/bin/env bash
# Resolve requirements/*.txt and the node locks again: names, versions and hashes, no address of any index.
# Existing pins are kept where they still fit; UPGRADE=1 takes the newest that resolve.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="$PWD/.build/lock"
[ -x "$tools/bin/uv" ] || { "${PYTHON:-python3.11}" -m venv "$tools" && "$tools/bin/python" -m pip install --quiet uv; }

resolve() {
    "$tools/bin/uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 --custom-compile-command "make lock" \
        ${UPGRADE:+--upgrade} "$@"
}
resolve requirements/installer.in --output-file requirements/installer.txt
resolve requirements/node.in --output-file requirements/node.txt
resolve pyproject.toml --extra dev --output-file requirements/dev.txt
# runtime is a subset of dev at the same versions, so that both can live in one venv.
resolve pyproject.toml --constraints requirements/dev.txt --output-file requirements/runtime.txt
for folder in . browser; do
    (cd "$folder" && npm install --package-lock-only --ignore-scripts)
done
