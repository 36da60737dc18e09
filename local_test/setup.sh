#!/usr/bin/env bash
# Makes this machine ready: a Docker engine that answers, docker compose, curl, and a Python environment (.venv in the
# checkout) that holds the packages of requirements.txt. What is ready already is left alone.
#
# usage: local_test/setup.sh [REQUIREMENTS...]      further requirements files to install
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
    exit
fi
cd "$(dirname "$0")/.."

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

need() { # a program, from the Debian package that has it
    if ! command -v "$1" >/dev/null; then
        if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
            fail "$1 is not installed; install it and try again."
        fi
        echo "installing the package $2"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes "$2"; } >/dev/null
    fi
}

for file in "$@"; do
    [[ -f $file ]] || fail "there is no file $file in the checkout; name one of requirements."
done
byoc_vision/local/engine.sh >/dev/null
need curl curl
need pgrep procps # local mode stops an endpoint with it

python=
for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[[ -n $python ]] || fail "Python 3.11 or newer is not installed; install it and try again."

if ! docker compose version >/dev/null 2>&1; then # SageMaker's local mode works with either; not every release has both
    package=$(apt-cache search --names-only '^docker-compose-v2$' 2>/dev/null || true)
    need docker-compose "${package:+docker-compose-v2}${package:-docker-compose}"
fi

if ! .venv/bin/python -c '' 2>/dev/null; then
    "$python" -c 'import ensurepip' 2>/dev/null || need "$python-venv" "$python-venv"
    "$python" -m venv --clear .venv
fi

missing=()
for file in requirements.txt "$@"; do
    cmp -s "$file" ".venv/${file//\//-}" || missing+=("$file")
done
if [[ ${#missing[@]} -gt 0 ]]; then
    echo "installing ${missing[*]} into .venv (a minute)"
    # uv takes a fifth of pip's time, and less where it links what its cache holds (it copies from another disk).
    .venv/bin/python -m pip install -qq --disable-pip-version-check "$(grep -om1 '^uv==[0-9.]*' tests/requirements.txt)"
    PATH=$PWD/.venv/bin:$PATH docker/install.sh uv pip install --quiet --link-mode hardlink \
        --python .venv/bin/python "${missing[@]/#/--requirement=}"
    for file in "${missing[@]}"; do
        cp "$file" ".venv/${file//\//-}"
    done
fi
if ! cmp -s pyproject.toml .venv/pyproject.toml; then # the library and the command byoc, from here
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
    cp pyproject.toml .venv/
fi
