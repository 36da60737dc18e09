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
    local gpus=() client status=0 cid
    # shellcheck disable=SC2034 # the caller reads it
    stopped=''
    if nvidia-smi >/dev/null 2>&1; then
        gpus=(--gpus all)
    fi
    cid=$(mktemp -d)/id || return 1 # it has said why
    set -m # a process group of its own, so that the terminal's Ctrl-C stops here
    docker run --rm --cidfile "$cid" ${gpus[@]+"${gpus[@]}"} "$@" </dev/null &
    client=$!
    set +m
    trap 'stopped=1' INT TERM HUP
    while kill -0 "$client" 2>/dev/null; do
        status=0
        if [[ -z $stopped ]]; then
            wait "$client" || status=$?
        else # again and again: what has not started yet, or listens to no signal yet, does not hear it
            docker kill --signal TERM "$(cat "$cid" 2>/dev/null)" >/dev/null 2>&1 || true
            sleep 0.5
        fi
    done
    wait "$client" 2>/dev/null || status=$?
    trap - INT TERM HUP
    rm -r "${cid%/id}"
    return "$status"
}

give_to_caller() { # what the container, running as root, left in a folder
    if [[ $(id -u) != 0 && -n $(find "$1" ! -user "$(id -u)" | head -n 1) ]]; then
        docker run --rm --network none --mount "$(mount "$1" /folder)" "$2" chown -R "$(id -u):$(id -g)" /folder
    fi
}
