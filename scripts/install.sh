#!/usr/bin/env bash
# Install what the project needs, into the checkout alone: install.sh PART...
#   runtime   the venv with what `make up` needs           dev      the venv with what the tests and the deployer need
#   node      local chain and vendored page libraries       node-dev the same with wallets, tokens and solc for tests
#   browser   Chromium, only where the machine has none
# Every package is pinned by hash. A part is done again only when its lock changes: the stamps in .build/ carry the lock's hash.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
venv="$root/.venv"
stamps="$root/.build/stamps"
# make puts the venv first on PATH; here the machine's own python and node are meant until the venv exists.
PATH="$(echo ":$PATH:" | sed "s#:$venv/bin:#:#g; s#^:##; s#:\$##")"
mkdir -p "$stamps"

# Two `make` at once must not install into each other.
exec 9>"$root/.build/install.lock"
if ! flock --nonblock 9; then
    echo "install: waiting for another installation in this checkout" >&2
    flock 9
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# npm's cache stays in the checkout: the home directory may be missing or read-only.
export npm_config_cache="$root/.build/npm-cache"
# A node from a wheel brings its own list of authorities; add the machine's, as pip and the system's npm use them.
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r /etc/ssl/certs/ca-certificates.crt ]; then
    export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
fi

say() { echo "install: $*" >&2; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "required: Python 3.11 with venv; found none on PATH. Set PYTHON=/path/to/python3.11"
    return 1
}

make_venv() {
    if "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        return
    fi
    local python
    python="$(find_python)"
    say "making .venv with $python"
    rm -rf "$venv" "$stamps"/python-* "$stamps"/node-*
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        say "python -m venv failed: on Debian and Ubuntu it comes with the package python3.11-venv"
        return 1
    fi
}

# key FILE...: one hash over the named files and where the checkout is (an editable install holds that path).
key() { { cat "$@" "$root/scripts/install.sh"; echo "$root"; } | sha256sum | cut -c1-16; }

# once NAME KEY COMMAND...: run the command unless it succeeded before with this key.
once() {
    local name="$1" stamp="$stamps/$1-$2"
    shift 2
    if [ -e "$stamp" ]; then return; fi
    rm -f "$stamps/$name"-*
    "$@"
    touch "$stamp"
}

pip() { "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation "$@"; }

install_lock() {
    say "installing requirements/$1.txt into .venv"
    pip --require-hashes --requirement "requirements/$1.txt"
}

install_self() { pip --editable .; }

install_python() {
    make_venv
    once python-installer "$(key requirements/installer.txt)" install_lock installer
    # dev holds everything of runtime at the same versions.
    if [ "$1" = dev ] || ! [ -e "$stamps/python-dev-$(key requirements/dev.txt)" ]; then
        once "python-$1" "$(key "requirements/$1.txt")" install_lock "$1"
    fi
    once python-self "$(key pyproject.toml)" install_self
}

find_npm() {
    if command -v npm >/dev/null && command -v node >/dev/null; then return; fi
    make_venv
    once python-installer "$(key requirements/installer.txt)" install_lock installer
    once node-wheel "$(key requirements/node.txt)" install_lock node
    export PATH="$venv/bin:$PATH"
}

npm_ci() {
    say "installing $1/package-lock.json"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error "${@:2}" >&2)
}

install_node() {
    local lock
    lock="$(key package.json package-lock.json)"
    # node-dev holds everything of node.
    local packages
    for packages in "$1" node-dev; do
        if [ -e "$stamps/$packages-packages-$lock" ] && [ -d node_modules ]; then return; fi
    done
    rm -f "$stamps"/node-packages-* "$stamps"/node-dev-packages-*
    find_npm
    if [ "$1" = node ]; then
        once node-packages "$lock" npm_ci . --omit=dev
    else
        once node-dev-packages "$lock" npm_ci .
    fi
}

unpack_browser() {
    npm_ci browser
    node browser/unpack.mjs .build/browser
}

install_browser() {
    if [ -x "${CHROMIUM:-/usr/bin/chromium}" ]; then return; fi
    local lock
    lock="$(key browser/package-lock.json browser/unpack.mjs)"
    if [ -e "$stamps/browser-$lock" ] && [ -x .build/browser/chromium ]; then return; fi
    rm -f "$stamps"/browser-*
    find_npm
    once browser "$lock" unpack_browser
}

for part in "$@"; do
    case "$part" in
        runtime | dev) install_python "$part" ;;
        node | node-dev) install_node "$part" ;;
        browser) install_browser ;;
        *) say "unknown part $part: runtime, dev, node, node-dev or browser"; exit 2 ;;
    esac
done
