#!/usr/bin/env bash
# Everything a change must pass, cheapest first. Arguments go to pytest, and then only pytest runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    local started=$SECONDS
    echo "== $*"
    "$@" || return
    echo "== ok after $((SECONDS - started)) s"
}

if [ "$#" -gt 0 ]; then
    exec pytest "$@"
fi

step ruff check .
step mypy
step scripts/up_check.sh
# Tests that time things or start a whole venue run alone (exit status 5: there are none).
step pytest -m alone || [ "$?" -eq 5 ]
step pytest -n 2 --dist loadfile -m "not alone"
