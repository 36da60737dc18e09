#!/usr/bin/env bash
# Makes sure that a Docker engine answers, and prints the path of a docker client that can build with BuildKit:
#
#     docker=$(byoc_vision/local/engine.sh)
#     DOCKER_BUILDKIT=1 "$docker" build ...
#
# Where no engine answers and this runs as root on Debian or Ubuntu, it installs and starts one, and says so; elsewhere it
# says what to install. Messages go to stderr.
set -euo pipefail

log=/var/log/dockerd.log

say() { echo "engine.sh: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

can_build() { # a client has BuildKit in its buildx plugin, or, from 18.09 until 23, built in
    local version
    "$1" buildx version >/dev/null 2>&1 && return
    version=$("$1" --version 2>/dev/null | sed -n 's/^Docker version \([0-9]*\)\..*/\1/p')
    [[ -n $version && $version -ge 18 && $version -lt 23 ]]
}

client() { # the first on PATH is not always the one: a new client without the plugin may stand before an older one
    local candidate
    while IFS= read -r candidate; do
        if [[ -x $candidate ]] && can_build "$candidate"; then
            echo "$candidate"
            return
        fi
    done < <(type -aP docker; echo /usr/bin/docker)
    return 1
}

answers() { "$docker" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

can_install() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

install() { # those of the named packages that this release has
    local package available=()
    [[ -n ${updated:-} ]] || apt-get -qq update
    updated=yes
    for package in "$@"; do
        if [[ -n $(apt-cache search --names-only "^$package\$") ]]; then
            available+=("$package")
        fi
    done
    [[ ${#available[@]} -gt 0 ]] || return 0
    say "installing ${available[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${available[@]}" >/dev/null
    hash -r
}

start() {
    if [[ -d /run/systemd/system ]]; then
        systemctl start docker
        say "started the Docker engine; 'systemctl stop docker' stops it"
    else
        # Detached, so that it outlives this script and holds none of its streams.
        setsid nohup dockerd </dev/null >>"$log" 2>&1 &
        say "started the Docker engine (log: $log); 'kill \$(cat /var/run/docker.pid)' stops it"
    fi
    for _ in {1..60}; do
        answers && return
        sleep 1
    done
    fail "the Docker engine does not answer after a minute; see $log (last line: $(tail -n 1 "$log" 2>/dev/null))."
}

if ! docker=$(client); then
    can_install || fail "no docker client with BuildKit found; install Docker Desktop, or Docker Engine with its buildx plugin."
    install docker.io docker-buildx
    docker=$(client) || fail "the docker client of this release cannot use BuildKit; install Docker's buildx plugin."
fi

if ! answers; then
    reason=$("$docker" version 2>&1 >/dev/null | tail -n 1 || true)
    if ! can_install || [[ -n ${DOCKER_HOST:-} ]]; then
        fail "no Docker engine answers (${reason:-no reason given}); start Docker, or let your user reach it (on Linux: through the group docker), and try again."
    fi
    command -v dockerd >/dev/null || install docker.io docker-buildx
    answers || start
fi

echo "$docker"
