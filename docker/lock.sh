#!/usr/bin/env bash
# Refreshes docker/*.lock from docker/*.in: exact versions with hashes for x86_64 Linux and Debian 12's Python 3.11.
# Afterwards it asks OSV (api.osv.dev) which of them have known advisories.
#
# usage: docker/lock.sh [--audit]      --audit: refresh nothing, only tell
#
# Each lock holds only what the ones before it lack, so no version is pinned in two places. OpenVINO's telemetry, which
# reports to its makers, is left out: no image makes requests of its own.
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
cd "$(dirname "$0")"

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' lock.sh; }

case ${1:-} in
"" | --audit) ;;
-h | --help) usage; exit ;;
*)
    echo "lock.sh: unknown option '$1'" >&2
    usage >&2
    exit 2
    ;;
esac

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
PATH=$venv/bin:$PATH
pip install --quiet --disable-pip-version-check pip-audit uv

lock() { # NAME, then the locks that NAME.lock builds on
    local name=$1 earlier known=()
    shift
    for earlier in "$@"; do
        known+=(--constraint "$earlier.lock")
        while read -r package; do
            known+=(--no-emit-package "$package")
        done < <(sed -n 's/^\([a-z0-9._-]*\)==.*/\1/p' "$earlier.lock")
    done
    # What training and serving both need, they have in the same version.
    [[ $name != serve ]] || known+=(--constraint train.lock)
    ./install.sh uv pip compile --quiet --upgrade --generate-hashes --no-annotate \
        --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
        --custom-compile-command docker/lock.sh --no-emit-package openvino-telemetry ${known[@]+"${known[@]}"} \
        "$name.in" --output-file "$name.lock"
    echo "$name.lock: $(grep -c == "$name.lock") packages"
}

audit() { # NAME...: of these locks
    local name locks=() report
    for name in "$@"; do
        locks+=(--requirement "$name.lock")
    done
    # Not of the package index: a mirror of it may know no advisories, and pip-audit then says that there are none.
    if report=$(pip-audit -s osv --disable-pip --progress-spinner off "${locks[@]}" 2>"$venv/log"); then
        echo "no advisories are known for the locked packages"
    elif [[ -n $report ]]; then
        echo "$report"
    else
        echo "advisories could not be looked up at api.osv.dev ($(tail -n 1 "$venv/log" | cut -d : -f 1))"
    fi
}

if [[ ${1:-} != --audit ]]; then
    lock tools
    lock base
    lock torch base
    lock openvino base
    lock train base torch openvino
    lock serve base torch openvino
fi
audit tools base torch openvino train serve
