#!/usr/bin/env bash
# Long runs of one folder of tests/, or of all: more examples, more rounds, and the tests marked `deep`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder="tests/${1:-}"
[ -d "$folder" ] || { echo "deep: PART must be a folder of tests/, found ${1:-}" >&2; exit 2; }
export AFTERBELL_PROFILE=deep

ran=0
for selection in "alone" "not alone"; do
    workers=2
    if [ "$selection" = alone ]; then workers=0; fi
    status=0
    pytest -n "$workers" --dist loadfile -m "$selection" "$folder" || status=$?
    # 5: no test of this kind here, which is fine for one of the two.
    case "$status" in 0) ran=1 ;; 5) ;; *) exit "$status" ;; esac
done
[ "$ran" = 1 ] || { echo "deep: no test in $folder" >&2; exit 5; }
