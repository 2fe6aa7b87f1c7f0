#!/usr/bin/env bash
# Run the whole venue until a fill is final on chain, in a folder of its own, and leave nothing behind but logs on failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p .build
folder="$(mktemp -d .build/up-check.XXXXXX)"
# Any free port: a venue of the user may run beside it.
if afterbell up --check --port 0 --data-dir "$folder" "$@"; then
    rm -rf "$folder"
else
    status=$?
    echo "up-check: failed with status $status; state and logs are kept in $folder" >&2
    exit "$status"
fi
