# Sourced by the scripts beside it: a container as SageMaker runs one, and a machine left clean.
# shellcheck shell=bash
export DOCKER_DEFAULT_PLATFORM=linux/amd64 # on every machine

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }

folder() { (cd "$1" && pwd); }

mount() { # SOURCE TARGET [readonly]: docker's option; unlike --volume, it takes every character of a path
    echo "type=bind,\"source=$1\",target=$2${3:+,$3}"
}

need_image() {
    "$(dirname "${BASH_SOURCE[0]}")/../byoc_vision/local/engine.sh" >/dev/null || exit 1 # it has said what is missing
    docker image inspect "$1" >/dev/null 2>&1 || fail "there is no image $1; build it with ./build.sh"
}

run_container() { # docker run's arguments; Ctrl-C sets `stopped` and reaches the container as SIGTERM, as SageMaker does
    local gpus=() client status=0
    # shellcheck disable=SC2034 # the caller reads it
    stopped=''
    if nvidia-smi >/dev/null 2>&1; then
        gpus=(--gpus all)
    fi
    set -m # a process group of its own, so that the terminal's Ctrl-C stops here
    docker run --rm ${gpus[@]+"${gpus[@]}"} "$@" </dev/null &
    client=$!
    set +m
    trap 'stopped=1; kill -TERM "$client" 2>/dev/null' INT TERM HUP
    while kill -0 "$client" 2>/dev/null; do
        status=0
        wait "$client" || status=$?
    done
    trap - INT TERM HUP
    return "$status"
}

give_to_caller() { # what the container, running as root, left in a folder
    if [[ $(id -u) != 0 && -n $(find "$1" ! -user "$(id -u)" | head -n 1) ]]; then
        docker run --rm --network none --mount "$(mount "$1" /folder)" "$2" chown -R "$(id -u):$(id -g)" /folder
    fi
}
