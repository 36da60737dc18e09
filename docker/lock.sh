#!/usr/bin/env bash
# Refreshes docker/*.lock from docker/*.in: exact versions with hashes for x86_64 Linux and Debian 12's Python 3.11.
#
# usage: docker/lock.sh
#
# Each lock holds only what the ones before it lack, so no version is pinned in two places. OpenVINO's telemetry, which
# reports to its makers, is left out: no image makes requests of its own.
set -euo pipefail
cd "$(dirname "$0")"

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
PATH=$venv/bin:$PATH
pip install --quiet --disable-pip-version-check uv

lock() { # NAME, then the locks that NAME.lock builds on
    local name=$1 earlier known=()
    shift
    for earlier in "$@"; do
        known+=(--constraint "$earlier.lock")
        while read -r package; do
            known+=(--no-emit-package "$package")
        done < <(sed -n 's/^\([a-z0-9._-]*\)==.*/\1/p' "$earlier.lock")
    done
    ./install.sh uv pip compile --quiet --upgrade --generate-hashes --no-annotate \
        --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
        --custom-compile-command docker/lock.sh --no-emit-package openvino-telemetry ${known[@]+"${known[@]}"} \
        "$name.in" --output-file "$name.lock"
    echo "$name.lock: $(grep -c == "$name.lock") packages"
}

lock tools
lock base
lock torch base
lock openvino base
lock train base torch openvino
lock serve base torch openvino
